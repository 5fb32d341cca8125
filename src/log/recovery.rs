//! Recovery: reads the WAL back, from the newest metadata image's position on, and tells whole frames from torn and
//! damaged ones.
//!
//! One rule (L3): K is the highest `durable_lsn` in any valid frame. The first frame that is not valid is damage, and
//! an error, if it is at an LSN <= K; above K it was never acknowledged, and the log is cut before it.
//!
//! 1. Files are numbered without gaps, and each header names its predecessor's salt and end. All of a file below the
//!    end that its successor names was synced before the successor came to be: any damage there is an error.
//! 2. In the newest file, frames are read until one is not valid. The rest of the file is searched, at each sector,
//!    for frame headers, which bring their `durable_lsn`: groups start at multiples of 4 KiB, but a misdirected write
//!    may be at any sector. A header of a later group in its place also proves that the damaged group was synced, for a
//!    group is written only after the sync of the one before.
//!    A frame that then still may be an unfinished write is damage all the same if none of its sectors is missing, or
//!    one bit is all that is wrong with it (`torn`); and so is a file that is shorter than it was made, but for one
//!    that an orderly stop has cut.
//! 3. A transaction over several frames counts only if its last frame is there; the cut is before its first.
//!
//! Nothing is written while reading: [`NewestGroup::confirm`] writes and syncs the newest group again before the log
//! goes on.
//!
//! Not here: writing (a cut file gets no new frames; `wal` starts a new one).

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::buffer::{Buffer, MutableBuffer};
use hashbrown::HashMap;

use crate::storage::{Disk, DiskFile};

use super::damage::Damage;
use super::frame::{
    Block, BlockRun, FILE_HEADER_BYTES, FORMAT_VERSION, FRAME_ALIGNMENT, FRAME_BYTES_MAX, FRAME_HEADER_BYTES,
    FileHeader, FrameHeader, FrameKind, GROUP_ALIGNMENT, Placement, decode_blocks,
};
use super::image::Image;
use super::message::decode_message;
use super::offsets::GroupOffsets;
use super::producers::Producers;
use super::publish::{adopt_segment, apply_ddl, push_rows};
use super::retention::{ClockReading, Follower};
use super::rows::Decoder;
use super::runs::{chunk_runs, newer_event, newest_event};
use super::segment::Segment;
use super::spill::Adopted;
use super::tail::Tail;
use super::torn::{self, SECTOR_BYTES};
use super::wal::{Position, file_name, parse_name};
use super::{Chunk, LogError, Lsn, Run, TopicId};

/// Rows of small appends are gathered up to this many before they become a chunk.
const GATHER_ROWS: usize = 8192;

/// The findings of a recovery.
pub struct RecoveryOutcome {
    pub position: Position,
    pub catalog: Vec<(Lsn, Vec<u8>)>,
    pub producers: Producers,
    pub offsets: GroupOffsets,
    pub rows: u64,
    /// Sequence and bytes of each file.
    pub files: Vec<(u64, u64)>,
    /// The newest frame is the seal of an orderly stop (or there is nothing yet).
    pub clean: bool,
    /// Position of the retention clock.
    pub retention: Option<ClockReading>,
    /// Watermark of each topic that has one.
    pub watermarks: HashMap<TopicId, i64>,
    /// None if there is no file.
    pub newest_group: Option<NewestGroup>,
    /// Files with something behind their end that no write has put there; nothing reads it.
    pub strays: Vec<LogError>,
}

impl RecoveryOutcome {
    /// The newest file of the log in `dir`, and where the log ends in it.
    pub fn end(&self, dir: &Path) -> (PathBuf, u64) {
        let Position { sequence, end, .. } = self.position;
        match sequence {
            0 => (dir.to_path_buf(), 0),
            _ => (dir.join(file_name(sequence)), end),
        }
    }
}

/// The newest group as it was read, which nothing says was ever synced. From here on it counts, so it must be.
pub struct NewestGroup {
    path: PathBuf,
    offset: u64,
    bytes: Vec<u8>,
}

impl NewestGroup {
    /// Writes it again and syncs it. A process that was killed may have left it in the page cache alone, and one whose
    /// sync failed may have left it there as if it had been written: a sync alone would then do nothing.
    pub fn confirm(&self, disk: &dyn Disk) -> Result<(), LogError> {
        let file = disk.open(&self.path).map_err(LogError::io("open file", &self.path))?;
        if !self.bytes.is_empty() {
            file.write_at(self.offset, &[&self.bytes])
                .map_err(LogError::io("write file", &self.path))?;
        }
        file.sync_data().map_err(LogError::io("sync file", &self.path))
    }
}

/// One frame whose checksums fit and that follows the one before it.
struct Frame {
    header: FrameHeader,
    crc: u32,
    offset: usize,
    payload: Range<usize>,
}

/// The findings of a recovery up to damage.
pub struct Salvage {
    pub outcome: RecoveryOutcome,
    /// End of the outcome's position in its file, not rounded up to the next group.
    pub end: u64,
    /// Damage to acknowledged commits behind the position.
    pub damage: Option<LogError>,
}

/// Makes a segment of a file that a commit adopted, or returns its damage: then that commit is damaged.
pub type Adopt<'a> = &'a mut dyn FnMut(Adopted) -> Result<Arc<Segment>, LogError>;

/// Reads everything after the image's position into `tail`, which holds the image's content.
pub fn recover(
    disk: &dyn Disk,
    dir: &Path,
    tail: &Tail,
    image: Option<&Image>,
    adopt: Adopt<'_>,
) -> Result<RecoveryOutcome, LogError> {
    let salvage = salvage(disk, dir, tail, image, adopt)?;
    match salvage.damage {
        Some(damage) => Err(damage),
        None => Ok(salvage.outcome),
    }
}

/// The same as far as nothing is damaged.
pub fn salvage(
    disk: &dyn Disk,
    dir: &Path,
    tail: &Tail,
    image: Option<&Image>,
    adopt: Adopt<'_>,
) -> Result<Salvage, LogError> {
    let start = image.map(|image| image.position);
    let Files {
        older,
        files,
        mut damage,
    } = open_files(disk, dir, start)?;
    let topics = || image.iter().flat_map(|image| &image.topics);
    let offsets = topics().flat_map(|topic| topic.partitions.iter().map(|partition| partition.next_offset));
    let watermarks = topics().filter_map(|topic| Some((topic.spec.id, topic.watermark?)));
    let mut replay = Replay {
        tail,
        adopt,
        refused: None,
        gathered: HashMap::new(),
        moved: Vec::new(),
        clock: Follower::from(image.and_then(|image| image.retention)),
        outcome: RecoveryOutcome {
            position: start.unwrap_or_default(),
            catalog: image.map(|image| image.catalog.clone()).unwrap_or_default(),
            producers: image.iter().flat_map(|image| image.producers.iter().cloned()).collect(),
            offsets: image.iter().flat_map(|image| image.groups.iter().cloned()).collect(),
            rows: offsets.sum(),
            files: older,
            clean: files.is_empty(),
            retention: None,
            watermarks: watermarks.collect(),
            newest_group: None,
            strays: Vec::new(),
        },
    };
    let mut end = start.map_or(0, |start| start.end);
    for (index, file) in files.iter().enumerate() {
        let successor = files.get(index + 1).map(|next| next.header);
        let read = read_file(file, successor, &mut replay, &mut end)?;
        if read.is_some() {
            damage = read;
            break;
        }
    }
    if let Some(file) = files.last() {
        let end = replay.outcome.position;
        let corrupt = |damage: Damage| file.corrupt(end.end, end.last_lsn, damage);
        replay.flush_all().map_err(corrupt)?;
    }
    let outcome = RecoveryOutcome {
        retention: replay.clock.stood,
        ..replay.outcome
    };
    Ok(Salvage { outcome, end, damage })
}

struct WalFile {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    header: FileHeader,
}

/// A file of the log, open, and the length of its whole part.
pub struct Whole {
    pub sequence: u64,
    pub path: PathBuf,
    pub file: Arc<dyn DiskFile>,
    pub bytes: u64,
}

/// The files from `start` on and their present ends, while somebody may be writing the newest: every transaction that
/// was acknowledged before the call is in it. Only the newest file is read.
///
/// A file that is read while it grows may show a group and not yet the one before it. That is no damage: once the later
/// one is seen the earlier one exists, so a second look finds it.
pub fn survey(disk: &dyn Disk, dir: &Path, start: Option<Position>) -> Result<(Vec<Whole>, Position), LogError> {
    let Files { files, damage, .. } = open_files(disk, dir, start)?;
    if let Some(damage) = damage {
        return Err(damage);
    }
    let mut whole = Vec::with_capacity(files.len());
    for pair in files.windows(2) {
        whole.push((&pair[0], pair[1].header.predecessor_end));
    }
    let mut position = start.unwrap_or_default();
    if let Some(newest) = files.last() {
        let header = &newest.header;
        if position.sequence != header.sequence {
            position.last_lsn = header.last_lsn;
            position.last_timestamp_us = header.last_timestamp_us;
            position.last_crc = header.last_crc;
        }
        let mut seen = None;
        let end = loop {
            let content = newest.content()?;
            let start = newest.start(position, content.len() as u64)?;
            let scan = scan(&content, start, None, |_, _| Ok(()));
            let stop = scan
                .stop
                .expect("a file without successor ends at a frame that is not there");
            match check_cut(newest, &content, false, &stop, scan.position.last_lsn + 1) {
                Err(error) if seen == Some(stop.offset) => return Err(error),
                Err(_) => seen = Some(stop.offset),
                Ok(()) => {
                    position = scan.position;
                    break scan.end;
                }
            }
        };
        whole.push((newest, end as u64));
    }
    let whole = whole.into_iter().map(|(file, bytes)| Whole {
        sequence: file.header.sequence,
        path: file.path.clone(),
        file: Arc::clone(&file.file),
        bytes,
    });
    Ok((whole.collect(), position))
}

impl WalFile {
    fn corrupt(&self, offset: u64, lsn: Lsn, damage: impl ToString) -> LogError {
        LogError::Corrupt {
            file: self.path.clone(),
            offset,
            lsn,
            reason: damage.to_string(),
        }
    }

    fn content(&self) -> Result<MutableBuffer, LogError> {
        let io_error = |error| LogError::io("read file", &self.path)(error);
        loop {
            let bytes = self.file.len().map_err(io_error)?;
            let length = usize::try_from(bytes).expect("files fit the address space");
            let mut content = MutableBuffer::from_len_zeroed(length);
            match self.file.read_at(0, content.as_slice_mut()) {
                Ok(()) => return Ok(content),
                // An orderly stop trims its file, while a backup reads it.
                Err(_) if self.file.len().is_ok_and(|now| now < bytes) => {}
                Err(error) => return Err(io_error(error)),
            }
        }
    }

    /// The position where reading this file of `bytes` bytes begins, if everything before it ended at `before`.
    fn start(&self, before: Position, bytes: u64) -> Result<Position, LogError> {
        let header = &self.header;
        if before.sequence == header.sequence {
            // Frames before that position are in the metadata image.
            if bytes < before.end {
                let reason = "the file ends before what the metadata image says is there";
                return Err(self.corrupt(bytes, before.last_lsn, reason));
            }
            return Ok(before);
        }
        if header.last_lsn != before.last_lsn || header.last_crc != before.last_crc {
            let reason = "the file does not continue the one before it";
            return Err(self.corrupt(0, before.last_lsn + 1, reason));
        }
        Ok(Position {
            sequence: header.sequence,
            salt: header.salt,
            end: FILE_HEADER_BYTES,
            ..before
        })
    }
}

/// The files of a log.
struct Files {
    /// Sequence and size of those before the start's.
    older: Vec<(u64, u64)>,
    /// In order those from there on, whose headers form one chain.
    files: Vec<WalFile>,
    /// Damage that ends the chain before all files are in it.
    damage: Option<LogError>,
}

/// Opens the files from that of `start` on. Those before it are nobody's but an older image's.
fn open_files(disk: &dyn Disk, dir: &Path, start: Option<Position>) -> Result<Files, LogError> {
    let mut older = Vec::new();
    let mut damaged = None;
    let names = disk.list(dir).map_err(LogError::io("list directory", dir))?;
    let mut files: Vec<WalFile> = Vec::new();
    let mut sequences = Vec::new();
    for name in &names {
        if let Some(sequence) = parse_name(name) {
            sequences.push(sequence);
        }
    }
    sequences.sort_unstable();
    for sequence in sequences {
        let path = dir.join(file_name(sequence));
        let opened = disk.open_to_read(&path);
        let is_older = start.is_some_and(|start| sequence < start.sequence);
        if is_older
            && opened
                .as_ref()
                .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
        {
            // Given up by a server that has the directory open: a backup reads it then.
            continue;
        }
        let file = opened.map_err(LogError::io("open file", &path))?;
        let bytes = file.len().map_err(LogError::io("read file", &path))?;
        if is_older {
            older.push((sequence, bytes));
            continue;
        }
        let mut head = vec![0; usize::try_from(bytes.min(FILE_HEADER_BYTES)).expect("a header is small")];
        file.read_at(0, &mut head).map_err(LogError::io("read file", &path))?;
        let last = files.last().map(|file| file.header);
        let corrupt = |reason: String| LogError::Corrupt {
            file: path.clone(),
            offset: 0,
            lsn: last.map_or(0, |header| header.last_lsn) + 1,
            reason,
        };
        let header = match FileHeader::decode(&head) {
            Ok(header) => header,
            Err(Damage::NewerVersion(version)) => {
                return Err(LogError::NewerFormat {
                    file: path,
                    version,
                    supported: FORMAT_VERSION,
                });
            }
            Err(damage) => {
                damaged = Some(corrupt(damage.to_string()));
                break;
            }
        };
        let (before, before_salt) = match (last, start) {
            (Some(last), _) => (last.sequence, last.salt),
            (None, None) => (0, 0),
            // The first one is known by its salt.
            (None, Some(start)) if sequence == start.sequence && header.salt != start.salt => {
                damaged = Some(corrupt(
                    "the file is not the one that the metadata image names".to_string(),
                ));
                break;
            }
            (None, Some(start)) => (start.sequence - 1, header.predecessor_salt),
        };
        let wrong = if header.sequence != sequence {
            Some(format!("its header says that it is file {}", header.sequence))
        } else if header.predecessor != before || header.sequence != before + 1 {
            let missing = file_name(header.sequence - 1);
            Some(format!("file \"{missing}\" before it is missing"))
        } else if header.predecessor_salt != before_salt {
            let wrong = file_name(before);
            Some(format!("file \"{wrong}\" is not the one that came before it"))
        } else {
            None
        };
        if let Some(wrong) = wrong {
            damaged = Some(corrupt(wrong));
            break;
        }
        files.push(WalFile { path, file, header });
    }
    if let (Some(start), None, true) = (start, &damaged, files.is_empty()) {
        damaged = Some(LogError::Corrupt {
            file: dir.join(file_name(start.sequence)),
            offset: 0,
            lsn: start.last_lsn,
            reason: "the file is missing".to_string(),
        });
    }
    Ok(Files {
        older,
        files,
        damage: damaged,
    })
}

/// Reads the frame at `offset`, which must follow `position` and belong to the group that starts at `group`.
/// `continued` while a transaction goes on.
fn read_frame(
    content: &[u8],
    offset: usize,
    group: usize,
    position: &Position,
    continued: bool,
) -> Result<Frame, Damage> {
    let head = content.get(offset..).ok_or(Damage::NoFrame)?;
    let (header, crc) = FrameHeader::decode(head, position.salt)?;
    let length = header.payload_bytes as usize;
    if length + FRAME_HEADER_BYTES > FRAME_BYTES_MAX {
        return Err(Damage::FrameHeader);
    }
    let start = offset + FRAME_HEADER_BYTES;
    let payload = content.get(start..start + length).ok_or(Damage::Payload)?;
    if crc32c::crc32c(payload) != header.payload_crc {
        return Err(Damage::Payload);
    }
    let follows = match header.kind {
        FrameKind::Seal => header.first_lsn == position.last_lsn && header.last_lsn == position.last_lsn && !continued,
        // A continuation repeats its transaction's LSN, which counts with its last frame.
        FrameKind::Commits => header.first_lsn == position.last_lsn + 1 && header.last_lsn >= header.first_lsn,
    };
    if !follows
        || header.previous_crc != position.last_crc
        || header.group_offset != group as u64
        || header.timestamp_us < position.last_timestamp_us
    {
        return Err(Damage::Chain);
    }
    Ok(Frame {
        header,
        crc,
        offset,
        payload: start..start + length,
    })
}

fn to_page(offset: usize) -> usize {
    offset.next_multiple_of(GROUP_ALIGNMENT as usize)
}

/// The whole part of a file.
struct WalScan {
    /// Behind the last whole transaction.
    position: Position,
    /// The same in the file, behind the transaction's last frame: not rounded up to the next group.
    end: usize,
    /// The last group that has a whole transaction, or a seal.
    newest_group: Range<usize>,
    /// Whether the last frame is the seal of an orderly stop; `None` if there is no frame.
    clean: Option<bool>,
    /// `None` if the file goes on up to where its successor says that it ends.
    stop: Option<ScanStop>,
}

/// The frame that does not check.
#[derive(Clone, Copy, Debug)]
struct ScanStop {
    /// End of the last valid frame before it.
    valid_end: usize,
    offset: usize,
    /// Start of its group.
    group: usize,
    damage: Damage,
    /// Its checksums match, so that all of it was written: no write that was under way is the reason.
    synced: bool,
}

/// Replays one file: up to the end in its successor's header, or up to the cut if it is the newest. Sets `end` to
/// the position's place in the file. Returns damage, if it is not a cut.
fn read_file(
    file: &WalFile,
    successor: Option<FileHeader>,
    replay: &mut Replay<'_>,
    end: &mut u64,
) -> Result<Option<LogError>, LogError> {
    let content = file.content()?;
    let start = match file.start(replay.outcome.position, content.len() as u64) {
        Ok(start) => start,
        Err(damage) => return Ok(Some(damage)),
    };
    let made = file.header.made.map(|made| made.clock);
    match replay.outcome.position.sequence == file.header.sequence {
        true => replay.clock.resume(made),
        false => replay.clock.enter(made),
    }
    let apply = |payload: &[u8], header: &FrameHeader| replay.apply(payload, header);
    let scan = scan(&content, start, successor, apply);
    replay.outcome.position = scan.position;
    replay.outcome.clean = scan.clean.unwrap_or(replay.outcome.clean);
    replay.outcome.files.push((file.header.sequence, scan.position.end));
    if successor.is_none() {
        replay.outcome.newest_group = Some(NewestGroup {
            path: file.path.clone(),
            offset: scan.newest_group.start as u64,
            bytes: content.get(scan.newest_group).unwrap_or_default().to_vec(),
        });
    }
    *end = scan.end as u64;
    if let Some(refused) = replay.refused.take() {
        return Ok(Some(refused));
    }
    let lsn = scan.position.last_lsn + 1;
    let (made, length) = (file.header.made.map_or(0, |made| made.bytes), content.len() as u64);
    // Only a file's first group makes it larger.
    let size_max = made.max(scan.position.end);
    let mut stray = (made > 0 && length > size_max && scan.position.end > FILE_HEADER_BYTES).then_some(size_max);
    if successor.is_none() && scan.clean == Some(true) {
        // It was cut there, and nothing was written to it any more.
        let end = scan.position.end;
        let behind = content.get(end as usize..).unwrap_or_default();
        stray = behind.iter().any(|byte| *byte != 0).then_some(end);
    } else if let Some(stop) = &scan.stop {
        if let Err(damage) = check_cut(file, &content, successor.is_some(), stop, lsn) {
            return Ok(Some(damage));
        }
        let was_seal = torn::was_seal(&content, stop.offset, file.header.salt);
        if !was_seal && torn::is_damaged(&content, stop.offset, file.header.salt, stop.damage) {
            let reason = format!("{}, though all of it was written", stop.damage);
            return Ok(Some(file.corrupt(stop.offset as u64, lsn, reason)));
        }
        if length < made && !was_seal {
            let reason = format!("the file has {length} bytes, and was made with {made}");
            return Ok(Some(file.corrupt(length, lsn, reason)));
        }
    }
    replay.outcome.strays.extend(stray.map(|offset| LogError::Damaged {
        file: file.path.clone(),
        offset,
        reason: "there is something behind the end of the log".to_string(),
    }));
    Ok(None)
}

/// Reads the frames of one file from `start` on, and has the payloads of whole transactions applied. Damage ends it;
/// whether it may be there is the caller's question.
fn scan(
    content: &[u8],
    start: Position,
    successor: Option<FileHeader>,
    mut apply: impl FnMut(&[u8], &FrameHeader) -> Result<(), Damage>,
) -> WalScan {
    // The start of the next frame, and its group. `position` stands behind the last whole transaction but for
    // `last_crc`, which is the last frame's.
    let mut position = start;
    let at = usize::try_from(start.end).expect("files fit the address space");
    let (mut offset, mut group) = (at, at);
    let mut scan = WalScan {
        position: start,
        end: at,
        newest_group: at..at,
        clean: None,
        stop: None,
    };
    let mut parts: Vec<Frame> = Vec::new();
    // The end of the last valid frame, or of a header that may have been written into the padding before.
    let mut valid_end = at.saturating_sub(GROUP_ALIGNMENT as usize) + SECTOR_BYTES;
    'frames: loop {
        if let Some(next) = &successor
            && parts.is_empty()
            && to_page(offset) as u64 == next.predecessor_end
            && position.last_lsn == next.last_lsn
            && position.last_crc == next.last_crc
        {
            break;
        }
        let page = to_page(offset);
        let mut read = read_frame(content, offset, group, &position, !parts.is_empty());
        if read.is_err() && parts.is_empty() && page != group {
            // The group may end here: then a frame on the next page follows the last one, past any padding.
            let next_group = read_frame(content, page, page, &position, false);
            if next_group.is_ok() || matches!(read, Err(Damage::NoFrame)) {
                (offset, group) = (page, page);
                read = next_group;
            }
        }
        let frame = match read {
            Ok(frame) => frame,
            Err(damage) => {
                scan.stop = Some(ScanStop {
                    valid_end,
                    offset,
                    group,
                    damage,
                    synced: false,
                });
                break;
            }
        };
        let header = frame.header;
        offset = frame.payload.end.next_multiple_of(FRAME_ALIGNMENT);
        valid_end = offset;
        position.last_crc = frame.crc;
        if header.kind == FrameKind::Commits {
            parts.push(frame);
            if header.continued {
                continue;
            }
        }
        if header.kind == FrameKind::Seal {
            // It tells the time.
            let told = apply(&[], &header);
            assert!(told.is_ok(), "there is nothing in a seal");
        }
        position.last_lsn = header.last_lsn;
        position.last_timestamp_us = header.timestamp_us;
        position.end = to_page(offset) as u64;
        scan.newest_group = group..to_page(offset).min(content.len());
        for frame in parts.drain(..) {
            if let Err(damage) = apply(&content[frame.payload], &header) {
                scan.stop = Some(ScanStop {
                    valid_end,
                    offset: frame.offset,
                    group,
                    damage,
                    synced: true,
                });
                break 'frames;
            }
        }
        // Of a transaction that was cut, no frame counts.
        scan.clean = Some(header.kind == FrameKind::Seal && header.clean_stop);
        (scan.position, scan.end) = (position, offset);
    }
    scan
}

/// Decides whether the frame that does not check may be missing (L3). `lsn` is the one that it should have.
fn check_cut(file: &WalFile, content: &[u8], has_successor: bool, stop: &ScanStop, lsn: Lsn) -> Result<(), LogError> {
    let ScanStop {
        valid_end,
        offset,
        group,
        damage,
        synced,
    } = *stop;
    if has_successor || synced {
        return Err(file.corrupt(offset as u64, lsn, damage));
    }
    let mut torn = !matches!(damage, Damage::NoFrame);
    let start = valid_end.next_multiple_of(SECTOR_BYTES).min(content.len());
    for (index, sector) in content[start..].chunks(SECTOR_BYTES).enumerate() {
        let found = (start + index * SECTOR_BYTES) as u64;
        let Ok((header, _)) = FrameHeader::decode(sector, file.header.salt) else {
            torn |= found >= to_page(offset) as u64 && sector.iter().any(|byte| *byte != 0);
            continue;
        };
        let is_later_group = header.group_offset == found && found > group as u64;
        if header.durable_lsn >= lsn || is_later_group {
            return Err(file.corrupt(offset as u64, lsn, damage));
        }
        torn |= found >= to_page(offset) as u64;
    }
    if torn {
        tracing::warn!(
            file = %file.path.display(), offset, lsn, %damage,
            "the write-ahead log ends in an unfinished write; it is cut there, and nothing acknowledged is lost"
        );
    }
    Ok(())
}

/// Rows of small appends to one partition, not yet a chunk.
struct GatheredRows {
    place: Placement,
    decoder: Decoder,
    runs: Vec<Run>,
    /// Newest event time, and when it was appended.
    event: Option<(i64, i64)>,
}

struct Replay<'a> {
    tail: &'a Tail,
    adopt: Adopt<'a>,
    /// Damage in a file that a commit adopted.
    refused: Option<LogError>,
    gathered: HashMap<(TopicId, u32), GatheredRows>,
    /// Watermarks that the frame being applied may move: topic, LSN, watermark.
    moved: Vec<(TopicId, Lsn, i64)>,
    /// Position of the retention clock.
    clock: Follower,
    outcome: RecoveryOutcome,
}

impl Replay<'_> {
    /// Applies one frame's payload.
    fn apply(&mut self, payload: &[u8], header: &FrameHeader) -> Result<(), Damage> {
        let timestamp_us = header.timestamp_us;
        self.clock.frame(timestamp_us, header.up_us);
        for block in decode_blocks(payload)? {
            match block {
                Block::Rows {
                    place,
                    runs,
                    rows,
                    bytes,
                } => {
                    self.count(&place, &runs)?;
                    self.gather(place, &runs, rows, &payload[bytes], timestamp_us)?;
                }
                Block::Batch { place, run, bytes } => {
                    self.count(&place, &[run])?;
                    self.flush(place.topic, place.partition)?;
                    let topic = self.topic(&place)?;
                    // A copy of its own: aligned, and the file's bytes are not kept.
                    let message = Buffer::from_slice_ref(&payload[bytes]);
                    let batch = decode_message(&message, &topic.spec().schema, None)?;
                    if batch.num_rows() != run.rows as usize {
                        return Err(Damage::Contents("a batch has another number of rows"));
                    }
                    let runs = chunk_runs(&[run], timestamp_us);
                    self.push(place, batch, runs, newest_event(&[run], timestamp_us))?;
                }
                Block::Adopt { place, run, file } => {
                    self.count(&place, &[run])?;
                    self.flush(place.topic, place.partition)?;
                    let topic = self.topic(&place)?;
                    if place.base_offset != topic.next_offset(place.partition) {
                        return Err(Damage::Contents("offsets are not dense"));
                    }
                    let adopted = Adopted::new(&place, &run, &file, timestamp_us, &topic.spec().schema);
                    match (self.adopt)(adopted) {
                        Ok(segment) => adopt_segment(self.tail, segment, newest_event(&[run], timestamp_us)),
                        Err(error) => {
                            self.refused = Some(error);
                            return Err(Damage::Contents("a file that it adopts is damaged"));
                        }
                    }
                }
                Block::Ddl { lsn, record, topics } => {
                    self.flush_all()?;
                    apply_ddl(self.tail, lsn, &record, &topics, None);
                    self.outcome.catalog.push((lsn, record));
                }
                Block::Retire { retired } => {
                    self.flush_all()?;
                    self.tail.retire(&retired);
                    self.clock.record(retired.reading);
                }
                Block::Group(block) => self.outcome.offsets.apply(&block.change),
                Block::Produce { producer, outcome } => self.outcome.producers.note(producer, outcome),
                Block::Advance { lsn, topic, watermark } => self.moved.push((topic, lsn, watermark)),
            }
        }
        // Blocks are by partition, watermarks by topic.
        self.moved.sort_by_key(|(_, lsn, _)| *lsn);
        for (id, lsn, watermark) in self.moved.drain(..) {
            let current = self.outcome.watermarks.get(&id);
            if current.is_none_or(|current| watermark > *current)
                && let Ok(topic) = self.tail.topic(id)
            {
                topic.advance(lsn, watermark);
                self.outcome.watermarks.insert(id, watermark);
            }
        }
        Ok(())
    }

    fn topic(&self, place: &Placement) -> Result<Arc<super::tail::TopicTail>, Damage> {
        let topic = self.tail.topic(place.topic);
        let topic = topic.map_err(|_| Damage::Contents("rows of an unknown topic"))?;
        let spec = topic.spec();
        if spec.schema_id != place.schema_id || place.partition >= spec.partitions {
            return Err(Damage::Contents("rows of another schema"));
        }
        Ok(topic)
    }

    /// Rows and watermarks of some runs of one partition.
    fn count(&mut self, place: &Placement, runs: &[BlockRun]) -> Result<(), Damage> {
        let delay_us = self.topic(place)?.spec().event_time.map(|event| event.delay_us);
        for run in runs {
            self.outcome.rows += u64::from(run.rows);
            if let (Some(event_us), Some(delay_us)) = (run.event_us, delay_us) {
                self.moved
                    .push((place.topic, run.lsn, event_us.saturating_sub(delay_us)));
            }
        }
        Ok(())
    }

    fn gather(
        &mut self,
        place: Placement,
        runs: &[BlockRun],
        rows: usize,
        bytes: &[u8],
        timestamp_us: i64,
    ) -> Result<(), Damage> {
        let bad = |_| Damage::Contents("rows do not decode");
        let key = (place.topic, place.partition);
        if !self.gathered.contains_key(&key) {
            let schema = Arc::clone(&self.topic(&place)?.spec().schema);
            let gathered = GatheredRows {
                place,
                // A row takes a byte at least.
                decoder: Decoder::new(schema, rows.min(bytes.len())).map_err(bad)?,
                runs: Vec::new(),
                event: None,
            };
            self.gathered.insert(key, gathered);
        }
        let gathered = self.gathered.get_mut(&key).expect("it was put there");
        if gathered.place.base_offset + gathered.decoder.rows() as u64 != place.base_offset {
            return Err(Damage::Contents("offsets are not dense"));
        }
        gathered.decoder.decode(bytes, rows).map_err(bad)?;
        gathered.runs.extend(chunk_runs(runs, timestamp_us));
        gathered.event = newer_event(gathered.event, newest_event(runs, timestamp_us));
        if gathered.decoder.rows() >= GATHER_ROWS {
            self.flush(place.topic, place.partition)?;
        }
        Ok(())
    }

    fn flush(&mut self, topic: TopicId, partition: u32) -> Result<(), Damage> {
        let Some(gathered) = self.gathered.remove(&(topic, partition)) else {
            return Ok(());
        };
        let batch = gathered
            .decoder
            .finish()
            .map_err(|_| Damage::Contents("rows do not decode"))?;
        self.push(gathered.place, batch, gathered.runs, gathered.event)
    }

    fn flush_all(&mut self) -> Result<(), Damage> {
        let keys: Vec<(TopicId, u32)> = self.gathered.keys().copied().collect();
        keys.into_iter()
            .try_for_each(|(topic, partition)| self.flush(topic, partition))
    }

    fn push(
        &mut self,
        place: Placement,
        rows: arrow::array::RecordBatch,
        runs: Vec<Run>,
        event: Option<(i64, i64)>,
    ) -> Result<(), Damage> {
        let next_offset = self.topic(&place)?.next_offset(place.partition);
        if place.base_offset != next_offset {
            return Err(Damage::Contents("offsets are not dense"));
        }
        let chunk = Chunk {
            partition: place.partition,
            base_offset: place.base_offset,
            rows,
            runs: runs.into(),
        };
        push_rows(self.tail, place.topic, chunk, event);
        Ok(())
    }
}
