//! [`SpaceWatch`]: the room on the disk, and the refusal of new rows when it is nearly full.
//!
//! One rule: below the mark no commit that only adds rows is taken, so that the rest serves work that frees room:
//! flushes, images, retention, DROP. Rows are taken again at 1.25 times the mark, so that the answer does not flicker.
//!
//! A look costs a system call: commits take one at most once a second, or after some bytes written.
//! Not here: a write that fails (`writer`), a flush that fails (`flusher`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::storage::{Disk, SharedClock, Space};

use super::LogError;

const LOOK_EVERY_US: i64 = 1_000_000;
const LOOK_EVERY_BYTES: u64 = 64 << 20;
/// The least mark, on a disk that is large enough.
const MARK_BYTES_MIN: u64 = 2 << 30;
/// Unless a mark is set, at most this share of the file system is kept free.
const SHARE_KEPT_FREE: u64 = 20;

/// The room that the data directory has. Bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskStats {
    pub path: PathBuf,
    /// Of the file system; `None` if it does not say.
    pub total: Option<u64>,
    pub available: Option<u64>,
    /// Rows are refused while less than this is available; 0: never.
    pub mark: u64,
    pub refusing: bool,
}

struct Look {
    space: Option<Space>,
    at_us: i64,
    written_bytes: u64,
}

/// Looks after the disk of a data directory.
pub struct SpaceWatch {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    clock: SharedClock,
    /// The mark, if one is set.
    reserve_bytes: Option<u64>,
    /// Bytes that the log and the rows in memory may come to take.
    budget_bytes: u64,
    look: Mutex<Look>,
    refusing: AtomicBool,
}

impl SpaceWatch {
    pub fn start(
        disk: Arc<dyn Disk>,
        dir: &Path,
        clock: SharedClock,
        reserve_bytes: Option<u64>,
        budget_bytes: u64,
    ) -> SpaceWatch {
        let watch = SpaceWatch {
            disk,
            dir: dir.to_path_buf(),
            clock,
            reserve_bytes,
            budget_bytes,
            look: Mutex::new(Look {
                space: None,
                at_us: 0,
                written_bytes: 0,
            }),
            refusing: AtomicBool::new(false),
        };
        watch.look(&mut watch.look.lock(), 0);
        watch
    }

    fn mark(&self, total: u64) -> u64 {
        let wanted = self.budget_bytes.saturating_mul(2).max(MARK_BYTES_MIN);
        self.reserve_bytes
            .unwrap_or_else(|| wanted.min(total / SHARE_KEPT_FREE))
    }

    fn look(&self, look: &mut Look, written_bytes: u64) {
        (look.at_us, look.written_bytes) = (self.clock.monotonic_us(), written_bytes);
        // A disk that cannot be asked does not stop writes: a write that fails says so.
        look.space = self.disk.space(&self.dir).ok();
        let Some(Space { total, available }) = look.space else {
            self.refusing.store(false, Ordering::Release);
            return;
        };
        let mark = self.mark(total);
        let was_refusing = self.refusing.load(Ordering::Acquire);
        let limit = if was_refusing {
            mark.saturating_add(mark / 4)
        } else {
            mark
        };
        let refusing = available < limit;
        self.refusing.store(refusing, Ordering::Release);
        let dir = self.dir.display();
        if refusing && !was_refusing {
            tracing::warn!(%dir, available, mark, "the disk is nearly full: INSERT and COPY are refused");
        } else if was_refusing && !refusing {
            tracing::info!(%dir, available, mark, "the disk has room again: INSERT and COPY are taken");
        }
    }

    /// Looks if it is time to. `written_bytes`: bytes written to the log so far, if the caller knows.
    pub fn look_in_time(&self, written_bytes: Option<u64>) {
        let Some(mut look) = self.look.try_lock() else { return };
        let passed_us = self.clock.monotonic_us() - look.at_us;
        let written_bytes = written_bytes.unwrap_or(look.written_bytes);
        if passed_us >= LOOK_EVERY_US || written_bytes.saturating_sub(look.written_bytes) >= LOOK_EVERY_BYTES {
            self.look(&mut look, written_bytes);
        }
    }

    /// Whether rows may be added.
    pub fn admit(&self) -> Result<(), LogError> {
        self.look_in_time(None);
        if !self.refusing.load(Ordering::Acquire) {
            return Ok(());
        }
        let stats = self.stats();
        Err(LogError::DiskFull {
            dir: stats.path,
            available: stats.available.unwrap_or(0),
            mark: stats.mark,
        })
    }

    /// The same after a look at the disk now: for a caller about to write much beside the log.
    pub fn admit_now(&self) -> Result<(), LogError> {
        {
            let mut look = self.look.lock();
            let written_bytes = look.written_bytes;
            self.look(&mut look, written_bytes);
        }
        self.admit()
    }

    pub fn stats(&self) -> DiskStats {
        let space = self.look.lock().space;
        DiskStats {
            path: self.dir.clone(),
            total: space.map(|space| space.total),
            available: space.map(|space| space.available),
            mark: space.map_or(0, |space| self.mark(space.total)),
            refusing: self.refusing.load(Ordering::Acquire),
        }
    }
}
