//! The files of the write-ahead log: making them, writing groups of frames to the newest one, syncing.
//!
//! One rule: a file gets its final name only after its header is synced, and the directory is synced before anything
//! in it is acknowledged; so a file without a valid header is damage, never a crash. One writer; a group never spans
//! files; group N + 1 is written only after N's sync.
//!
//! ```text
//!  wal/00000001.wal   sealed off: its end is named by the header of the next file
//!  wal/00000002.wal   newest; zeroed up to its size, so that a sync changes no metadata
//!  wal/next.tmp       made ahead; removed at the next start
//! ```
//!
//! Not here: the content of frames (`writer`), reading them back (`recovery`).

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use arrow::buffer::Buffer;
use serde::{Deserialize, Serialize};

use crate::storage::{Disk, DiskFile};

use super::frame::{
    FILE_HEADER_BYTES, FRAME_ALIGNMENT, FRAME_BYTES_MAX, FRAME_HEADER_BYTES, FileHeader, FileOrigin, FrameHeader,
    FrameKind, GROUP_ALIGNMENT,
};
use super::retention::RetentionClock;
use super::{LogError, Lsn};

const WAL_FILE_BYTES_MIN: u64 = 1 << 20;
/// Buffers from this size on are handed to the disk as they are.
const SHARED_PIECE_BYTES_MIN: usize = 4 << 10;
/// The scratch buffer is given back when a group made it larger than this.
const SCRATCH_BYTES_KEPT: usize = 4 << 20;

/// Name of the WAL file with this sequence.
pub fn file_name(sequence: u64) -> String {
    format!("{sequence:08}.wal")
}

/// The sequence in a WAL file's name.
pub fn parse_name(name: &str) -> Option<u64> {
    name.strip_suffix(".wal")?.parse().ok()
}

/// Of a file that has no name yet.
pub const NEXT_NAME: &str = "next.tmp";

/// Removes the file that was being made ahead when the last process ended.
pub fn remove_unfinished(disk: &dyn Disk, dir: &Path) -> Result<(), LogError> {
    let names = disk.list(dir).map_err(LogError::io("list directory", dir))?;
    for name in names.iter().filter(|name| name.ends_with(".tmp")) {
        let path = dir.join(name);
        disk.remove(&path).map_err(LogError::io("remove file", &path))?;
    }
    Ok(())
}

/// The position of a log, which the next frame or file continues.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Position {
    /// 0 if there is no file yet.
    pub sequence: u64,
    pub salt: u64,
    pub end: u64,
    pub last_lsn: Lsn,
    pub last_timestamp_us: i64,
    pub last_crc: u32,
}

enum WalPiece {
    Scratch(Range<usize>),
    Shared(Buffer),
}

struct WalSlot {
    header_at: usize,
    header: FrameHeader,
}

/// Frames of one group under construction, not yet bound to a place in a file.
#[derive(Default)]
pub struct GroupBuffer {
    scratch: Vec<u8>,
    /// Start of the scratch bytes that no piece covers yet.
    pending: usize,
    pieces: Vec<WalPiece>,
    slots: Vec<WalSlot>,
    bytes: u64,
    /// Of the frame being built.
    payload_at: usize,
    crc: u32,
    payload_bytes: usize,
}

impl GroupBuffer {
    fn clear(&mut self) {
        self.scratch.clear();
        self.scratch.shrink_to(SCRATCH_BYTES_KEPT);
        self.pieces.clear();
        self.slots.clear();
        (self.pending, self.bytes) = (0, 0);
    }

    pub fn start_frame(&mut self) {
        let header_at = self.scratch.len();
        self.scratch.resize(header_at + FRAME_HEADER_BYTES, 0);
        let header = FrameHeader {
            payload_bytes: 0,
            payload_crc: 0,
            salt: 0,
            first_lsn: 0,
            last_lsn: 0,
            durable_lsn: 0,
            group_offset: 0,
            timestamp_us: 0,
            previous_crc: 0,
            kind: FrameKind::Commits,
            continued: false,
            clean_stop: false,
            up_us: None,
        };
        self.slots.push(WalSlot { header_at, header });
        (self.payload_at, self.crc, self.payload_bytes) = (self.scratch.len(), 0, 0);
    }

    /// Small bytes of the payload are put here.
    pub fn put(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        put(&mut self.scratch);
    }

    /// Bytes of the payload so far.
    pub fn payload_bytes(&mut self) -> usize {
        self.absorb();
        self.payload_bytes
    }

    /// Counts scratch bytes of the payload since the last call.
    fn absorb(&mut self) {
        let new = &self.scratch[self.payload_at..];
        self.crc = crc32c::crc32c_append(self.crc, new);
        self.payload_bytes += new.len();
        self.payload_at = self.scratch.len();
    }

    /// Bytes of the payload that need not be copied.
    pub fn put_message(&mut self, message: &[Buffer]) {
        for buffer in message {
            if buffer.len() < SHARED_PIECE_BYTES_MIN {
                self.scratch.extend_from_slice(buffer);
                continue;
            }
            self.absorb();
            self.crc = crc32c::crc32c_append(self.crc, buffer);
            self.payload_bytes += buffer.len();
            self.cut_scratch();
            self.bytes += buffer.len() as u64;
            self.pieces.push(WalPiece::Shared(buffer.clone()));
        }
    }

    fn cut_scratch(&mut self) {
        if self.pending < self.scratch.len() {
            self.bytes += (self.scratch.len() - self.pending) as u64;
            self.pieces.push(WalPiece::Scratch(self.pending..self.scratch.len()));
            self.pending = self.scratch.len();
        }
    }

    pub fn end_frame(&mut self, kind: FrameKind, lsns: (Lsn, Lsn), continued: bool, clean_stop: bool) {
        self.absorb();
        assert!(
            self.payload_bytes + FRAME_HEADER_BYTES <= FRAME_BYTES_MAX,
            "a frame is at most 16 MiB"
        );
        let slot = self.slots.last_mut().expect("a frame was started");
        slot.header.payload_bytes = u32::try_from(self.payload_bytes).expect("a frame is at most 16 MiB");
        slot.header.payload_crc = self.crc;
        (slot.header.first_lsn, slot.header.last_lsn) = lsns;
        slot.header.kind = kind;
        slot.header.continued = continued;
        slot.header.clean_stop = clean_stop;
        let padding = self.payload_bytes.next_multiple_of(FRAME_ALIGNMENT) - self.payload_bytes;
        self.scratch.resize(self.scratch.len() + padding, 0);
    }

    fn finish(&mut self) {
        self.cut_scratch();
        let padding = self.bytes.next_multiple_of(GROUP_ALIGNMENT) - self.bytes;
        self.scratch.resize(self.scratch.len() + padding as usize, 0);
        self.cut_scratch();
    }
}

/// A file made ahead: zeroed, synced, without header, under a temporary name.
struct PreparedFile {
    file: Arc<dyn DiskFile>,
    size: u64,
}

/// After an error nothing is left.
fn prepare(disk: &dyn Disk, dir: &Path, size: u64) -> io::Result<PreparedFile> {
    let path = dir.join(NEXT_NAME);
    let file = disk.create(&path)?;
    let fill = || -> io::Result<()> {
        // In steps, so that the syncs of the file in use are not held up behind one large one.
        let mut at = 0;
        while at < size {
            let end = (at + (4 << 20)).min(size);
            file.write_zeros(at, end)?;
            at = end;
        }
        Ok(())
    };
    match fill() {
        Ok(()) => Ok(PreparedFile { file, size }),
        Err(error) => {
            // It takes room that others need; the first error counts.
            let _ = disk.remove(&path);
            Err(error)
        }
    }
}

/// The same, but for a small file where there is no room for one of that size.
fn prepare_what_fits(disk: &dyn Disk, dir: &Path, size: u64) -> io::Result<PreparedFile> {
    match prepare(disk, dir, size) {
        Err(error) if error.kind() == io::ErrorKind::StorageFull && size > WAL_FILE_BYTES_MIN => {
            prepare(disk, dir, WAL_FILE_BYTES_MIN)
        }
        prepared => prepared,
    }
}

/// The thread that makes the next file.
struct Ahead {
    requests: Option<SyncSender<u64>>,
    prepared: Receiver<io::Result<PreparedFile>>,
    requested: bool,
    thread: Option<JoinHandle<()>>,
}

impl Ahead {
    fn start(disk: Arc<dyn Disk>, dir: PathBuf) -> io::Result<Ahead> {
        let (requests, sizes) = sync_channel::<u64>(1);
        let (results, prepared) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("millstream-wal-ahead".to_string())
            .spawn(move || {
                while let Ok(size) = sizes.recv() {
                    if results.send(prepare(disk.as_ref(), &dir, size)).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Ahead {
            requests: Some(requests),
            prepared,
            requested: false,
            thread: Some(thread),
        })
    }

    fn request(&mut self, size: u64) {
        if !self.requested
            && let Some(requests) = &self.requests
        {
            self.requested = requests.send(size).is_ok();
        }
    }

    /// The file that was requested; `None` if none was.
    fn take(&mut self) -> Option<io::Result<PreparedFile>> {
        if !std::mem::take(&mut self.requested) {
            return None;
        }
        self.prepared.recv().ok()
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.requests = None;
        // A result that nobody wants must not block the thread.
        let _ = self.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The write-ahead log, open for writing.
pub struct Wal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    retention: Arc<RetentionClock>,
    file: Arc<dyn DiskFile>,
    size: u64,
    position: Position,
    /// Newest LSN known synced.
    durable_lsn: Lsn,
    /// The newest frame is a seal.
    sealed: bool,
    file_bytes_max: u64,
    /// Bytes of frames and headers written so far, in present files and in removed ones.
    total_bytes: u64,
    buffer: GroupBuffer,
    ahead: Option<Ahead>,
}

/// Settings of the files.
#[derive(Clone, Copy)]
pub struct WalOptions {
    pub file_bytes_max: u64,
    /// Make files ahead on a thread of their own.
    pub prepare_ahead: bool,
}

impl Wal {
    /// Starts a new file after `position`, whose files hold `total_bytes`.
    pub fn start(
        disk: Arc<dyn Disk>,
        dir: &Path,
        retention: Arc<RetentionClock>,
        position: Position,
        total_bytes: u64,
        options: WalOptions,
    ) -> Result<Wal, LogError> {
        let io_error = LogError::io("create the write-ahead log in", dir);
        let start = || -> io::Result<Wal> {
            let size = file_size(total_bytes, options.file_bytes_max);
            let prepared = prepare_what_fits(disk.as_ref(), dir, size)?;
            let (salt, file) = (disk.salt(), Arc::clone(&prepared.file));
            let ahead = match options.prepare_ahead {
                true => Some(Ahead::start(Arc::clone(&disk), dir.to_path_buf())?),
                false => None,
            };
            let mut wal = Wal {
                disk,
                dir: dir.to_path_buf(),
                retention,
                file,
                size,
                position,
                durable_lsn: position.last_lsn,
                sealed: false,
                file_bytes_max: options.file_bytes_max,
                total_bytes,
                buffer: GroupBuffer::default(),
                ahead,
            };
            wal.enter(prepared, salt)?;
            if position.sequence > 0 {
                // It ended in a crash, with all that was allocated for it; its end is known for good now.
                trim(
                    wal.disk.as_ref(),
                    &wal.dir.join(file_name(position.sequence)),
                    position.end,
                )?;
            }
            Ok(wal)
        };
        start().map_err(io_error)
    }

    pub fn position(&self) -> Position {
        self.position
    }

    pub fn path(&self) -> PathBuf {
        self.dir.join(file_name(self.position.sequence))
    }

    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// Gives a prepared file its header and name, and makes it the one in use. The old one is synced to its end.
    fn enter(&mut self, prepared: PreparedFile, salt: u64) -> io::Result<()> {
        let header = FileHeader {
            sequence: self.position.sequence + 1,
            salt,
            predecessor: self.position.sequence,
            predecessor_end: self.position.end,
            predecessor_salt: self.position.salt,
            last_lsn: self.position.last_lsn,
            last_timestamp_us: self.position.last_timestamp_us,
            last_crc: self.position.last_crc,
            made: Some(FileOrigin {
                clock: self.retention.read(self.position.last_timestamp_us),
                bytes: prepared.size,
            }),
        };
        prepared.file.write_at(0, &[&header.encode()])?;
        prepared.file.sync_data()?;
        let path = self.dir.join(file_name(header.sequence));
        self.disk.rename(&self.dir.join(NEXT_NAME), &path)?;
        self.disk.sync_dir(&self.dir)?;
        self.file = prepared.file;
        self.size = prepared.size;
        self.position.sequence = header.sequence;
        self.position.salt = salt;
        self.position.end = FILE_HEADER_BYTES;
        self.total_bytes += FILE_HEADER_BYTES;
        Ok(())
    }

    fn roll(&mut self) -> io::Result<()> {
        let prepared = match self.ahead.as_mut().and_then(Ahead::take) {
            Some(Ok(prepared)) => prepared,
            // One that could not be made ahead is tried again: room may have come, or do for a smaller one.
            Some(Err(_)) | None => {
                let size = file_size(self.total_bytes, self.file_bytes_max);
                prepare_what_fits(self.disk.as_ref(), &self.dir, size)?
            }
        };
        let salt = self.disk.salt();
        self.enter(prepared, salt)
    }

    /// Whether a group of `bytes` bytes goes into the file in use.
    pub fn has_room(&self, bytes: u64) -> bool {
        self.position.end + bytes.next_multiple_of(GROUP_ALIGNMENT) + GROUP_ALIGNMENT <= self.size
    }

    /// A cleared buffer for the next group, to be given to [`Wal::write`].
    pub fn buffer(&mut self) -> GroupBuffer {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        buffer
    }

    /// Writes and syncs a group. After an error the log must not be used any more (L4).
    pub fn write(&mut self, group: GroupBuffer, timestamp_us: i64) -> io::Result<()> {
        self.put(group, timestamp_us, true)
    }

    /// The same for a canary, which syncs too late.
    #[cfg(test)]
    pub fn write_unsynced(&mut self, group: GroupBuffer, timestamp_us: i64) -> io::Result<()> {
        self.put(group, timestamp_us, false)
    }

    #[cfg(test)]
    pub fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn put(&mut self, mut group: GroupBuffer, timestamp_us: i64, synced: bool) -> io::Result<()> {
        group.finish();
        assert!(!group.slots.is_empty(), "a group has frames");
        assert!(
            timestamp_us >= self.position.last_timestamp_us,
            "timestamps never go back"
        );
        if self.position.end + group.bytes > self.size && self.position.end > FILE_HEADER_BYTES {
            self.roll()?;
        }
        let mut previous_crc = self.position.last_crc;
        let up_us = self.retention.up_us();
        for slot in &mut group.slots {
            slot.header.salt = self.position.salt;
            slot.header.durable_lsn = self.durable_lsn;
            slot.header.group_offset = self.position.end;
            slot.header.timestamp_us = timestamp_us;
            slot.header.previous_crc = previous_crc;
            slot.header.up_us = up_us;
            let (bytes, crc) = slot.header.encode();
            group.scratch[slot.header_at..slot.header_at + FRAME_HEADER_BYTES].copy_from_slice(&bytes);
            previous_crc = crc;
        }
        let pieces: Vec<&[u8]> = group
            .pieces
            .iter()
            .map(|piece| match piece {
                WalPiece::Scratch(range) => &group.scratch[range.clone()],
                WalPiece::Shared(buffer) => buffer.as_slice(),
            })
            .collect();
        match synced {
            true => self.file.write_synced(self.position.end, &pieces)?,
            false => self.file.write_at(self.position.end, &pieces)?,
        }
        drop(pieces);
        // Buffers of the arrays belong to the tail from here on.
        group.pieces.clear();
        let last = &group.slots[group.slots.len() - 1].header;
        assert!(!last.continued, "a group ends with a whole transaction");
        self.sealed = last.kind == FrameKind::Seal;
        self.position.end += group.bytes;
        self.position.last_lsn = last.last_lsn;
        self.position.last_timestamp_us = timestamp_us;
        self.position.last_crc = previous_crc;
        self.durable_lsn = self.position.last_lsn;
        self.total_bytes += group.bytes;
        if self.position.end > self.size / 2
            && let Some(ahead) = &mut self.ahead
        {
            ahead.request(file_size(self.total_bytes, self.file_bytes_max));
        }
        self.buffer = group;
        Ok(())
    }

    /// Writes and syncs a seal frame: everything before it is known to be synced.
    pub fn seal(&mut self, clean_stop: bool) -> io::Result<()> {
        let mut group = self.buffer();
        group.start_frame();
        let lsn = self.position.last_lsn;
        group.end_frame(FrameKind::Seal, (lsn, lsn), false, clean_stop);
        self.write(group, self.position.last_timestamp_us)
    }

    /// Gives back space that was allocated and not used. Only after the last write.
    pub fn trim(&mut self) -> io::Result<()> {
        self.file.set_len(self.position.end)?;
        self.file.sync_data()
    }
}

/// Gives back the space of a file beyond `end`. Nothing depends on whether that lasts.
fn trim(disk: &dyn Disk, path: &Path, end: u64) -> io::Result<()> {
    let file = disk.open(path)?;
    if file.len()? > end {
        file.set_len(end)?;
    }
    Ok(())
}

/// Seals a copy of a file that ends at `from`, where `position` is: all of it is synced from here on, so damage to any
/// of it must be told from a torn tail. The copy is shorter than the file was made.
pub fn seal_at(file: &dyn DiskFile, from: u64, position: &Position) -> io::Result<()> {
    let mut head = vec![0; FILE_HEADER_BYTES as usize];
    file.read_at(0, &mut head)?;
    if let Ok(copied) = FileHeader::decode(&head)
        && let Some(made) = copied.made
    {
        let made = Some(FileOrigin { bytes: 0, ..made });
        file.write_at(0, &[&FileHeader { made, ..copied }.encode()])?;
    }
    let header = FrameHeader {
        payload_bytes: 0,
        payload_crc: 0,
        salt: position.salt,
        first_lsn: position.last_lsn,
        last_lsn: position.last_lsn,
        durable_lsn: position.last_lsn,
        group_offset: position.end,
        timestamp_us: position.last_timestamp_us,
        previous_crc: position.last_crc,
        kind: FrameKind::Seal,
        continued: false,
        clean_stop: false,
        up_us: None,
    };
    file.write_zeros(from, position.end + GROUP_ALIGNMENT)?;
    file.write_at(position.end, &[&header.encode().0])?;
    file.sync_data()
}

/// Small databases have small files.
fn file_size(total_bytes: u64, file_bytes_max: u64) -> u64 {
    let wanted = total_bytes.next_multiple_of(WAL_FILE_BYTES_MIN);
    wanted.clamp(WAL_FILE_BYTES_MIN.min(file_bytes_max), file_bytes_max)
}
