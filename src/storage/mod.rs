//! The only code that touches a disk: the [`Disk`] trait with a real and a fault-injecting implementation.
//!
//! One rule: nothing above this folder opens a file, and unsynced bytes do not count.
//! Not here: the meaning of the bytes (`log`).

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

mod fault;
mod machine;
mod real;

pub use fault::{Fault, FaultDisk, FaultKind};
pub use machine::{memory_bytes, resident_bytes};
pub use real::RealDisk;

/// Files and directories, as little of them as a log needs. Paths are as the caller gives them; errors are the
/// operating system's.
pub trait Disk: Send + Sync + 'static {
    /// Makes `dir` and its parents, its owner's alone; fine if it exists.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Names of the files in `dir`, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// A new, empty file, its owner's alone; `AlreadyExists` if there is one.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// An existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// An existing file for reading, also where nothing can be written.
    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path)
    }
    /// Takes away the permissions of users other than the owner of a file or directory; false if they had none.
    fn make_private(&self, _path: &Path) -> io::Result<bool> {
        Ok(false)
    }
    /// A second name for the same file; `AlreadyExists` if `to` is one. Fails if the file system has no hard links or
    /// `to` is on another one: callers copy then.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Whether nothing is at `path`, or an empty directory.
    fn is_vacant(&self, path: &Path) -> io::Result<bool>;
    /// Atomic; replaces `to`, which for a directory must be vacant. Durable after [`Disk::sync_dir`] of the directory.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// The one exclusive lock on the directory `dir`, held until dropped. `WouldBlock` if someone else holds it; its text
    /// names it, as far as it is known.
    fn lock(&self, dir: &Path, purpose: Purpose) -> io::Result<Box<dyn DiskLock>>;
    /// The room on the file system that `dir` is on.
    fn space(&self, dir: &Path) -> io::Result<Space>;
    /// A number that no earlier file was given: it tells a file's frames from those of another.
    fn salt(&self) -> u64;
}

/// The size of a file system, and the bytes of it that a user other than the superuser can still write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Space {
    pub total: u64,
    pub available: u64,
}

/// One open file. Methods take `&self`: offsets are explicit, and callers do not overlap their writes.
pub trait DiskFile: Send + Sync {
    fn len(&self) -> io::Result<u64>;
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Fills `buf` from `offset`; `UnexpectedEof` if the file ends before.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;
    /// Writes the pieces one after another from `offset`, growing the file where needed. Not durable before a sync.
    fn write_at(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()>;
    /// The same, durable when it returns, in a file whose earlier bytes are all synced.
    fn write_synced(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        self.write_at(offset, pieces)?;
        self.sync_data()
    }
    /// Writes zeros over `from..to`, durable when it returns, so that later syncs in that range change no metadata.
    fn write_zeros(&self, from: u64, to: u64) -> io::Result<()> {
        fill_zeros(self, from, to)
    }
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Content, and the metadata needed to find it (the size), to stable storage.
    fn sync_data(&self) -> io::Result<()>;
}

/// The purpose of a directory's lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// To write to it: the file [`LOCK_NAME`] names the process.
    Write,
    /// To look at it: nothing is written, so that it may be on a read-only file system.
    Look,
}

/// The file in a locked directory that names the holder of the lock.
pub const LOCK_NAME: &str = "lock";

/// Holds a lock until dropped.
pub trait DiskLock: Send + Sync {}

fn fill_zeros<F: DiskFile + ?Sized>(file: &F, from: u64, to: u64) -> io::Result<()> {
    static ZEROS: [u8; 256 << 10] = [0; 256 << 10];
    let mut at = from;
    while at < to {
        let bytes = usize::try_from(to - at).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
        file.write_at(at, &[&ZEROS[..bytes]])?;
        at += bytes as u64;
    }
    file.sync_data()
}

/// The source of time, an argument from `server` downward so that a test can own it.
pub trait Clock: Send + Sync + 'static {
    /// Microseconds since 1970-01-01 UTC. May step back.
    fn now_us(&self) -> i64;
    /// Microseconds since some moment: where [`Clock::boot`] is not 0, since the machine started. Never steps, back or
    /// forward.
    fn monotonic_us(&self) -> i64;
    /// Names the start of the machine that [`Clock::monotonic_us`] counts from, for processes that come one after the
    /// other; 0 if that is not known.
    fn boot(&self) -> u64 {
        0
    }
}

/// The machine's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now_us(&self) -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since
            .map(|d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX))
            .unwrap_or(0)
    }

    #[allow(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn monotonic_us(&self) -> i64 {
        static START: OnceLock<(Instant, i64)> = OnceLock::new();
        let (start, up_us) = START.get_or_init(|| (Instant::now(), up_us().unwrap_or(0)));
        let passed_us = i64::try_from(start.elapsed().as_micros()).unwrap_or(i64::MAX);
        passed_us.saturating_add(*up_us)
    }

    #[allow(clippy::disallowed_methods, reason = "storage is where files are read")]
    fn boot(&self) -> u64 {
        static BOOT: OnceLock<u64> = OnceLock::new();
        *BOOT.get_or_init(|| {
            let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
            let digits: String = id.chars().filter(char::is_ascii_hexdigit).take(16).collect();
            match up_us() {
                Some(_) => u64::from_str_radix(&digits, 16).unwrap_or(0),
                None => 0,
            }
        })
    }
}

/// Microseconds since the machine started, suspensions included, to a hundredth of a second. `None` if it does not say.
#[allow(clippy::disallowed_methods, reason = "storage is where files are read")]
fn up_us() -> Option<i64> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    let seconds: f64 = text.split_whitespace().next()?.parse().ok()?;
    Some((seconds * 1e6) as i64)
}

pub type SharedClock = Arc<dyn Clock>;

/// A small file of the user's, such as one with a password. Not part of a data directory.
#[allow(clippy::disallowed_methods, reason = "storage is where files are read")]
pub fn read_text(path: &Path) -> io::Result<String> {
    std::fs::read_to_string(path)
}

/// A new directory that is removed when the value is dropped.
pub fn temporary_dir(prefix: &str) -> io::Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix(prefix).tempdir()
}
