//! [`Marker`]: records the LSN that the log has reached in a file of its own, so that a start misses an end that is gone.
//!
//! One rule: the log syncs a commit before a mark names it. A thread of its own writes the mark at most once a second, and no
//! commit waits for it; at an orderly stop it names the newest commit. The file has two places, written in turn, so
//! that a write that is cut off costs nothing.
//!
//! ```text
//! DATA_DIR/reached      two places of 4096 bytes
//!
//!  0 8  magic "MILLMARK"
//!  8 4  format version
//! 12 4  CRC32C of bytes 0..12, 16..32
//! 16 8  number of the mark, from 1
//! 24 8  LSN that the log has reached
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::storage::{Disk, DiskFile};

use super::recovery::RecoveryOutcome;
use super::{LogError, Lsn};

/// Name in the data directory.
pub const NAME: &str = "reached";
pub const TEMPORARY_NAME: &str = "reached.tmp";
const MAGIC: [u8; 8] = *b"MILLMARK";
const FORMAT_VERSION: u32 = 1;
const PLACE_BYTES: usize = 4096;
const USED_BYTES: usize = 32;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Mark {
    number: u64,
    lsn: Lsn,
}

impl Mark {
    fn encode(self) -> [u8; PLACE_BYTES] {
        let mut bytes = [0; PLACE_BYTES];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.lsn.to_le_bytes());
        let crc = crc(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` if it is none, or one of a newer version.
    fn decode(bytes: &[u8]) -> Option<Mark> {
        let u32_at = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let u64_at = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let is_whole = bytes.len() >= USED_BYTES && bytes[0..8] == MAGIC && u32_at(12) == Some(crc(bytes));
        (is_whole && u32_at(8) == Some(FORMAT_VERSION)).then_some(Mark {
            number: u64_at(16)?,
            lsn: u64_at(24)?,
        })
    }
}

fn crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..USED_BYTES])
}

/// The newest of the marks in the bytes of the file.
fn newest(bytes: &[u8]) -> Option<Mark> {
    let marks = bytes.chunks(PLACE_BYTES).take(2).filter_map(Mark::decode);
    marks.max_by_key(|mark| mark.number)
}

fn read_mark(disk: &dyn Disk, dir: &Path) -> Result<Option<Mark>, LogError> {
    let path = dir.join(NAME);
    let file = match disk.open_to_read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(LogError::io("open file", &path))?,
    };
    let length = file.len().map_err(LogError::io("read file", &path))?;
    let mut bytes = vec![0; usize::try_from(length).map_or(2 * PLACE_BYTES, |length| length.min(2 * PLACE_BYTES))];
    file.read_at(0, &mut bytes).map_err(LogError::io("read file", &path))?;
    let damaged = |reason: &str| LogError::Damaged {
        file: path.clone(),
        offset: 0,
        reason: reason.to_string(),
    };
    let mark = newest(&bytes).ok_or_else(|| damaged("no mark in it is whole"))?;
    match length == 2 * PLACE_BYTES as u64 {
        true => Ok(Some(mark)),
        false => Err(damaged("it has another size")),
    }
}

/// The LSN that the log in `dir` is known to have reached; `None` if nothing tells. Damage is [`LogError::Damaged`].
pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Lsn>, LogError> {
    Ok(read_mark(disk, dir)?.map(|mark| mark.lsn))
}

/// The error of a log that ends at `newest`, if it is known to have reached further. `end`: its newest file, and
/// where it ends in it.
pub fn missing(reached: Option<Lsn>, newest: Lsn, end: (PathBuf, u64)) -> Option<LogError> {
    let reached = reached.filter(|reached| *reached > newest)?;
    Some(LogError::Corrupt {
        file: end.0,
        offset: end.1,
        lsn: newest + 1,
        reason: format!("the log ends at LSN {newest}, and is known to have reached LSN {reached}"),
    })
}

/// Compares the log of `wal_dir`, as a start found it, with the mark, and reports the part that is unknown.
pub fn check(disk: &dyn Disk, dir: &Path, outcome: &RecoveryOutcome, wal_dir: &Path) -> Result<(), LogError> {
    let newest = outcome.position.last_lsn;
    let reached = match read(disk, dir) {
        Err(error @ LogError::Damaged { .. }) => {
            tracing::warn!(%error, "how far the log has reached is not known");
            None
        }
        read => read?,
    };
    if let Some(missing) = missing(reached, newest, outcome.end(wal_dir)) {
        return Err(missing);
    }
    for stray in &outcome.strays {
        tracing::warn!(error = %stray, "it is not looked at");
    }
    if !outcome.clean && newest > 0 {
        let known = reached.unwrap_or(0);
        tracing::info!(
            lsn = newest,
            known,
            "the server was not stopped in order: the log ends at this LSN, and nothing tells of later ones"
        );
    }
    Ok(())
}

/// Makes the file anew, with one mark.
pub fn make(disk: &dyn Disk, dir: &Path, lsn: Lsn) -> Result<(), LogError> {
    make_file(disk, dir, Mark { number: 1, lsn }).map(|_| ())
}

fn make_file(disk: &dyn Disk, dir: &Path, mark: Mark) -> Result<Arc<dyn DiskFile>, LogError> {
    let (temporary, path) = (dir.join(TEMPORARY_NAME), dir.join(NAME));
    match disk.remove(&temporary) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(LogError::io("remove file", &temporary)(error));
        }
        _ => {}
    }
    let file = disk
        .create(&temporary)
        .map_err(LogError::io("create file", &temporary))?;
    let place = mark.encode();
    file.write_at(0, &[&place, &place])
        .and_then(|()| file.sync_data())
        .map_err(LogError::io("write file", &temporary))?;
    disk.rename(&temporary, &path)
        .map_err(LogError::io("rename file", &temporary))?;
    disk.sync_dir(dir).map_err(LogError::io("sync directory", dir))?;
    Ok(file)
}

/// The file and state that a [`Marker`] writes with.
pub struct Pencil {
    file: Arc<dyn DiskFile>,
    mark: Mark,
    /// A write has failed, and that was said.
    failed: bool,
}

impl Pencil {
    /// A mark that cannot be written is missed only if the end of the log is lost.
    fn write(&mut self, lsn: Lsn) {
        assert!(lsn >= self.mark.lsn, "the log does not go back");
        let mark = Mark {
            number: self.mark.number + 1,
            lsn,
        };
        let place = mark.number % 2 * PLACE_BYTES as u64;
        match self.file.write_synced(place, &[&mark.encode()]) {
            Ok(()) => (self.mark, self.failed) = (mark, false),
            Err(error) if !self.failed => {
                tracing::warn!(%error, "how far the log has reached could not be marked");
                self.failed = true;
            }
            Err(_) => {}
        }
    }
}

/// The place where marks are written: a thread of its own, or the caller's.
pub enum Marker {
    Thread {
        lsns: Option<SyncSender<Lsn>>,
        thread: Option<JoinHandle<Pencil>>,
    },
    Inline(Pencil),
}

impl Marker {
    /// Goes on from the present mark, or makes the file. The log is at `newest`.
    pub fn start(disk: &dyn Disk, dir: &Path, newest: Lsn, background: bool) -> Result<Marker, LogError> {
        let path = dir.join(NAME);
        // One that is damaged tells nothing, as a check says; it is made anew.
        let found = read_mark(disk, dir).ok().flatten();
        let (file, mark) = match found {
            Some(mark) => (disk.open(&path).map_err(LogError::io("open file", &path))?, mark),
            None => {
                let mark = Mark { number: 1, lsn: newest };
                (make_file(disk, dir, mark)?, mark)
            }
        };
        let mut pencil = Pencil {
            file,
            mark,
            failed: false,
        };
        if !background {
            return Ok(Marker::Inline(pencil));
        }
        let (lsns, marks): (SyncSender<Lsn>, Receiver<Lsn>) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("millstream-mark".to_string())
            .spawn(move || {
                while let Ok(lsn) = marks.recv() {
                    pencil.write(lsn);
                }
                pencil
            })
            .map_err(LogError::io("start a thread for", &path))?;
        Ok(Marker::Thread {
            lsns: Some(lsns),
            thread: Some(thread),
        })
    }

    /// Has it marked that the log has reached `lsn`; false if the one before is still being written.
    pub fn mark(&mut self, lsn: Lsn) -> bool {
        match self {
            Marker::Inline(pencil) => {
                pencil.write(lsn);
                true
            }
            Marker::Thread { lsns, .. } => lsns.as_ref().is_some_and(|lsns| lsns.try_send(lsn).is_ok()),
        }
    }

    /// Marks the end, in an orderly stop.
    pub fn finish(mut self, lsn: Lsn) {
        if let Some(mut pencil) = self.stop() {
            pencil.write(lsn);
        } else {
            self.mark(lsn);
        }
    }

    fn stop(&mut self) -> Option<Pencil> {
        let Marker::Thread { lsns, thread } = self else {
            return None;
        };
        *lsns = None;
        // A panic in it has been reported; only the log counts.
        thread.take()?.join().ok()
    }
}

impl Drop for Marker {
    fn drop(&mut self) {
        self.stop();
    }
}
