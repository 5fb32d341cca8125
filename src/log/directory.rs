//! The data directory as a whole: its lock and its permissions.
//!
//! One rule: a process locks a directory before it writes to it, and only its owner can look into a directory that a server
//! has opened.
//!
//! Not here: the files in it (`wal`, `segment`, `image`).

use std::path::{Path, PathBuf};

use crate::storage::{Disk, DiskLock, Purpose};

use super::LogError;
use super::flusher::{LOST_DIR, META_DIR, SEGMENTS_DIR, WAL_DIR};

/// Holds other processes off the data directory `dir`.
pub fn lock(disk: &dyn Disk, dir: &Path, purpose: Purpose) -> Result<Box<dyn DiskLock>, LogError> {
    disk.lock(dir, purpose).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => LogError::Locked {
            dir: dir.to_path_buf(),
            holder: match error.to_string() {
                holder if holder.is_empty() => String::new(),
                holder => format!(" ({holder})"),
            },
        },
        _ => LogError::io("lock directory", dir)(error),
    })
}

/// Takes away other users' permissions on a data directory, which was made by a version that left them to the process's
/// mask or copied from elsewhere.
pub fn make_private(disk: &dyn Disk, dir: &Path) -> Result<(), LogError> {
    let private = |path: &Path| {
        disk.make_private(path)
            .map_err(LogError::io("take permissions of other users from", path))
    };
    let mut tightened = 0;
    for name in ["", WAL_DIR, META_DIR, SEGMENTS_DIR, LOST_DIR] {
        let inside = dir.join(name);
        let Ok(names) = disk.list(&inside) else {
            // There is nothing lost, as a rule.
            continue;
        };
        tightened += usize::from(private(&inside)?);
        for name in names {
            tightened += usize::from(private(&inside.join(name))?);
        }
    }
    if tightened > 0 {
        tracing::warn!(
            dir = %dir.display(),
            tightened,
            "other users could use files or directories of the data directory: they are their owner's alone now"
        );
    }
    Ok(())
}

/// The directory that `dir` is in.
pub fn parent(dir: &Path) -> PathBuf {
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}
