//! Claims on segment files that no image names: those of transactions, and those that commits have adopted since.
//!
//! One rule: a file stays while its transaction lives, and once its commit may be in the log, until both images that are kept
//! can do without it.
//!
//! Not here: the files (`spill`, `segment`), and the removal of those that nobody claims (`flusher`).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use hashbrown::HashSet;
use parking_lot::Mutex;

use crate::storage::Disk;

use super::Lsn;

/// Files that no image names, and that must stay all the same.
#[derive(Default)]
pub struct Spills {
    /// Ids of files that a transaction has, or whose commit has an unknown outcome.
    pending: Mutex<HashSet<u64>>,
    /// LSN of the commit and id of each file that an older image would find in the log.
    adopted: Mutex<Vec<(Lsn, u64)>>,
    /// The log is closed: files are the next start's.
    closed: AtomicBool,
}

impl Spills {
    /// Notes a file that was adopted.
    pub fn adopt(&self, lsn: Lsn, id: u64) {
        self.adopted.lock().push((lsn, id));
    }

    /// Files adopted up to that commit, which an image from before may need.
    pub fn adopted_upto(&self, lsn: Lsn) -> Vec<(Lsn, u64)> {
        let adopted = self.adopted.lock();
        adopted.iter().filter(|(at, _)| *at <= lsn).copied().collect()
    }

    /// Every image that is kept has all of up to that commit.
    pub fn release(&self, lsn: Lsn) {
        self.adopted.lock().retain(|(at, _)| *at > lsn);
    }

    /// Ids of files that stay. A file that becomes adopted meanwhile is in one of the two lists at any time.
    pub fn held(&self) -> HashSet<u64> {
        let mut held = self.pending.lock().clone();
        held.extend(self.adopted.lock().iter().map(|(_, id)| *id));
        held
    }

    /// From here on nothing is removed.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}

/// The transaction has the file.
const PENDING: u8 = 0;
/// Its commit is in order, and may be in the log.
const IN_ORDER: u8 = 1;
/// Its commit is published.
const ADOPTED: u8 = 2;

/// Keeps a file from being removed; dropped with the transaction, it removes it.
pub struct FileClaim {
    state: AtomicU8,
    id: u64,
    /// All names that it may have.
    files: [PathBuf; 2],
    disk: Arc<dyn Disk>,
    spills: Arc<Spills>,
}

impl std::fmt::Debug for FileClaim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FileClaim({})", self.id)
    }
}

impl FileClaim {
    /// The claim of a transaction. Taken before there is a file: the flusher lists files first.
    pub fn new(id: u64, files: [PathBuf; 2], disk: Arc<dyn Disk>, spills: Arc<Spills>) -> FileClaim {
        spills.pending.lock().insert(id);
        FileClaim {
            state: AtomicU8::new(PENDING),
            id,
            files,
            disk,
            spills,
        }
    }

    /// From here on the commit may be in the log, and the file stays.
    pub fn put_in_order(&self) {
        let before = self.state.swap(IN_ORDER, Ordering::AcqRel);
        assert_eq!(before, PENDING, "L5: a file is adopted once");
    }

    /// The commit with that LSN is published.
    pub fn adopted(&self, lsn: Lsn) {
        self.spills.adopt(lsn, self.id);
        self.state.store(ADOPTED, Ordering::Release);
    }
}

impl Drop for FileClaim {
    fn drop(&mut self) {
        let spills = &self.spills;
        match *self.state.get_mut() {
            PENDING if !spills.closed.load(Ordering::Acquire) => {
                for file in &self.files {
                    // One that cannot be removed is left to the flusher and the next start.
                    let _ = self.disk.remove(file);
                }
                spills.pending.lock().remove(&self.id);
            }
            // Nobody knows whether the log has the commit.
            IN_ORDER | PENDING => {}
            _ => {
                spills.pending.lock().remove(&self.id);
            }
        }
    }
}
