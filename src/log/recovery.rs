//! Reads the WAL back, from the newest metadata image's position on: decides what is there, what is torn, and what is
//! damaged.
//!
//! One rule (L3): K is the highest `durable_lsn` in any valid frame. The first frame that is not valid is damage, and
//! an error, if it is at an LSN <= K; above K it was never acknowledged, and the log is cut there, whatever follows.
//!
//! 1. Files are numbered without gaps, and each header names its predecessor's salt and end. All of a file below the
//!    end that its successor names was synced before the successor came to be: any damage there is an error.
//! 2. In the newest file, frames are read until one is not valid. Groups start at multiples of 4 KiB, so what follows
//!    the damage is searched at those for frame headers, which bring their `durable_lsn`. A header of a later group
//!    also proves that the damaged group was synced, for a group is written only after the sync of the one before.
//! 3. A transaction over several frames counts only if its last frame is there; the cut is before its first.
//!
//! Nothing is written while reading: [`NewestGroup::confirm`] makes sure of what was found, where the log goes on.
//!
//! Not here: writing (a cut file gets no new frames; `wal` starts a new one).

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::buffer::{Buffer, MutableBuffer};
use hashbrown::HashMap;

use crate::storage::{Disk, DiskFile};

use super::encode::decode_message;
use super::frame::{
    Block, BlockRun, Damage, FILE_HEADER_BYTES, FORMAT_VERSION, FRAME_ALIGNMENT, FRAME_BYTES_MAX, FRAME_HEADER_BYTES,
    FileHeader, FrameHeader, FrameKind, GROUP_ALIGNMENT, Placement, decode_blocks,
};
use super::image::Image;
use super::retention::Reading;
use super::publish::{apply_ddl, chunk_runs, newer_event, newest_event, push_rows};
use super::rows::Decoder;
use super::tail::Tail;
use super::wal::{Position, file_name, parse_name};
use super::{Chunk, LogError, Lsn, Run, TopicId};

/// Rows of small appends are gathered up to this many before they become a chunk.
const GATHER_ROWS: usize = 8192;

/// What a recovery found.
pub struct Outcome {
    pub position: Position,
    pub catalog: Vec<(Lsn, Vec<u8>)>,
    pub rows: u64,
    /// Sequence and bytes of each file that is there.
    pub files: Vec<(u64, u64)>,
    /// The newest frame is the seal of an orderly stop (or there is nothing yet).
    pub clean: bool,
    /// Where the clock of retention stood.
    pub retention: Option<Reading>,
    /// Watermark of each topic that has one.
    pub watermarks: HashMap<TopicId, i64>,
    /// None if there is no file.
    pub newest_group: Option<NewestGroup>,
}

/// The newest group as it was read, which nothing says was ever synced. From here on it counts, so it must be.
pub struct NewestGroup {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    offset: u64,
    bytes: Vec<u8>,
}

impl NewestGroup {
    /// Writes it again and syncs it. A process that was killed may have left it in the page cache alone, and one whose
    /// sync failed may have left it there as if it had been written: a sync alone would then do nothing.
    pub fn confirm(&self) -> Result<(), LogError> {
        if !self.bytes.is_empty() {
            self.file
                .write_at(self.offset, &[&self.bytes])
                .map_err(LogError::io("write file", &self.path))?;
        }
        self.file.sync_data().map_err(LogError::io("sync file", &self.path))
    }
}

/// One frame whose checksums fit and that follows the one before it.
struct Frame {
    header: FrameHeader,
    crc: u32,
    offset: usize,
    payload: Range<usize>,
}

/// Reads everything after the image's position into `tail`, which holds what the image has.
pub fn recover(disk: &dyn Disk, dir: &Path, tail: &Tail, image: Option<&Image>) -> Result<Outcome, LogError> {
    let start = image.map(|image| image.position);
    let (older, files) = open_files(disk, dir, start)?;
    let topics = || image.iter().flat_map(|image| &image.topics);
    let offsets = topics().flat_map(|topic| topic.partitions.iter().map(|partition| partition.next_offset));
    let watermarks = topics().filter_map(|topic| Some((topic.spec.id, topic.watermark?)));
    let mut replay = Replay {
        tail,
        gathered: HashMap::new(),
        moved: Vec::new(),
        outcome: Outcome {
            position: start.unwrap_or_default(),
            catalog: image.map(|image| image.catalog.clone()).unwrap_or_default(),
            rows: offsets.sum(),
            files: older,
            clean: files.is_empty(),
            retention: image.and_then(|image| image.retention),
            watermarks: watermarks.collect(),
            newest_group: None,
        },
    };
    for (index, file) in files.iter().enumerate() {
        let successor = files.get(index + 1).map(|next| next.header);
        read_file(file, successor, &mut replay)?;
    }
    if let Some(file) = files.last() {
        let end = replay.outcome.position;
        let corrupt = |damage: Damage| file.corrupt(end.end, end.last_lsn, damage);
        replay.flush_all().map_err(corrupt)?;
    }
    Ok(replay.outcome)
}

struct WalFile {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    header: FileHeader,
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
}

/// Sequences and sizes of files before `start`'s, and in order those from there on, whose headers form one chain.
type Files = (Vec<(u64, u64)>, Vec<WalFile>);

/// Opens the files from that of `start` on. Those before it are nobody's but an older image's.
fn open_files(disk: &dyn Disk, dir: &Path, start: Option<Position>) -> Result<Files, LogError> {
    let mut older = Vec::new();
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
        let file = disk.open(&path).map_err(LogError::io("open file", &path))?;
        let bytes = file.len().map_err(LogError::io("read file", &path))?;
        if start.is_some_and(|start| sequence < start.sequence) {
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
            Err(damage) => return Err(corrupt(damage.to_string())),
        };
        let (before, before_salt) = match (last, start) {
            (Some(last), _) => (last.sequence, last.salt),
            (None, None) => (0, 0),
            // The first one is known by its salt.
            (None, Some(start)) if sequence == start.sequence && header.salt != start.salt => {
                return Err(corrupt(
                    "the file is not the one that the metadata image names".to_string(),
                ));
            }
            (None, Some(start)) => (start.sequence - 1, header.predecessor_salt),
        };
        if header.sequence != sequence {
            return Err(corrupt(format!("its header says that it is file {}", header.sequence)));
        }
        if header.predecessor != before || header.sequence != before + 1 {
            let missing = file_name(header.sequence - 1);
            return Err(corrupt(format!("file \"{missing}\" before it is missing")));
        }
        if header.predecessor_salt != before_salt {
            let wrong = file_name(before);
            return Err(corrupt(format!("file \"{wrong}\" is not the one that came before it")));
        }
        files.push(WalFile { path, file, header });
    }
    match start {
        Some(start) if files.is_empty() => Err(LogError::Corrupt {
            file: dir.join(file_name(start.sequence)),
            offset: 0,
            lsn: start.last_lsn,
            reason: "the file is missing".to_string(),
        }),
        _ => Ok((older, files)),
    }
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

/// Replays one file: exactly what its successor's header says, or up to the cut if it is the newest.
fn read_file(file: &WalFile, successor: Option<FileHeader>, replay: &mut Replay<'_>) -> Result<(), LogError> {
    let bytes = file.file.len().map_err(LogError::io("read file", &file.path))?;
    let mut content = MutableBuffer::from_len_zeroed(usize::try_from(bytes).expect("files fit the address space"));
    file.file
        .read_at(0, content.as_slice_mut())
        .map_err(LogError::io("read file", &file.path))?;

    let mut position = replay.outcome.position;
    let header = &file.header;
    if position.sequence == header.sequence {
        // What comes before is in the metadata image.
        if bytes < position.end {
            let reason = "the file ends before what the metadata image says is there";
            return Err(file.corrupt(bytes, position.last_lsn, reason));
        }
    } else {
        if header.last_lsn != position.last_lsn || header.last_crc != position.last_crc {
            let reason = "the file does not continue the one before it";
            return Err(file.corrupt(0, position.last_lsn + 1, reason));
        }
        position.sequence = header.sequence;
        position.salt = header.salt;
        position.end = FILE_HEADER_BYTES;
    }

    // Where the next frame starts, and its group. `position` stands behind the last whole transaction but for
    // `last_crc`, which is the last frame's.
    let start = usize::try_from(position.end).expect("files fit the address space");
    let (mut offset, mut group) = (start, start);
    let mut parts: Vec<Frame> = Vec::new();
    let mut newest_group = start..start;
    loop {
        if let Some(next) = &successor
            && parts.is_empty()
            && to_page(offset) as u64 == next.predecessor_end
            && position.last_lsn == next.last_lsn
            && position.last_crc == next.last_crc
        {
            break;
        }
        let page = to_page(offset);
        let mut read = read_frame(&content, offset, group, &position, !parts.is_empty());
        if read.is_err() && parts.is_empty() && page != group {
            // The group may end here: then a frame on the next page follows the last one, whatever the padding holds.
            let next_group = read_frame(&content, page, page, &position, false);
            if next_group.is_ok() || matches!(read, Err(Damage::NoFrame)) {
                (offset, group) = (page, page);
                read = next_group;
            }
        }
        let frame = match read {
            Ok(frame) => frame,
            Err(damage) => {
                let lsn = position.last_lsn + 1;
                check_cut(file, &content, successor.is_some(), (offset, group), lsn, damage)?;
                break;
            }
        };
        let header = frame.header;
        offset = frame.payload.end.next_multiple_of(FRAME_ALIGNMENT);
        position.last_crc = frame.crc;
        if header.kind == FrameKind::Commits {
            parts.push(frame);
            if header.continued {
                continue;
            }
        }
        position.last_lsn = header.last_lsn;
        position.last_timestamp_us = header.timestamp_us;
        position.end = to_page(offset) as u64;
        newest_group = group..to_page(offset).min(content.len());
        for frame in parts.drain(..) {
            replay
                .apply(&content[frame.payload], header.timestamp_us)
                .map_err(|damage| file.corrupt(frame.offset as u64, frame.header.first_lsn, damage))?;
        }
        replay.outcome.clean = header.kind == FrameKind::Seal && header.clean_stop;
        replay.outcome.position = position;
    }
    // Of a transaction that was cut, no frame counts.
    let counted = &mut replay.outcome.position;
    if counted.sequence != file.header.sequence {
        counted.sequence = file.header.sequence;
        counted.salt = file.header.salt;
        counted.end = FILE_HEADER_BYTES;
    }
    let end = replay.outcome.position.end;
    replay.outcome.files.push((file.header.sequence, end));
    if successor.is_none() {
        replay.outcome.newest_group = Some(NewestGroup {
            path: file.path.clone(),
            file: Arc::clone(&file.file),
            offset: newest_group.start as u64,
            bytes: content.get(newest_group).unwrap_or_default().to_vec(),
        });
    }
    Ok(())
}

/// Decides whether the frame that should be at `offset` in the group at `group` may be missing (L3). `lsn` is the one
/// that it should have.
fn check_cut(
    file: &WalFile,
    content: &[u8],
    has_successor: bool,
    (offset, group): (usize, usize),
    lsn: Lsn,
    damage: Damage,
) -> Result<(), LogError> {
    if has_successor {
        return Err(file.corrupt(offset as u64, lsn, damage));
    }
    let mut torn = !matches!(damage, Damage::NoFrame);
    let start = to_page(offset).min(content.len());
    for (index, page) in content[start..].chunks(GROUP_ALIGNMENT as usize).enumerate() {
        let Ok((header, _)) = FrameHeader::decode(page, file.header.salt) else {
            torn |= page.iter().any(|byte| *byte != 0);
            continue;
        };
        let found = (start + index * GROUP_ALIGNMENT as usize) as u64;
        let is_later_group = header.group_offset == found && found > group as u64;
        if header.durable_lsn >= lsn || is_later_group {
            return Err(file.corrupt(offset as u64, lsn, damage));
        }
        torn = true;
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
struct Gathered {
    place: Placement,
    decoder: Decoder,
    runs: Vec<Run>,
    /// Newest event time, and when it was appended.
    event: Option<(i64, i64)>,
}

struct Replay<'a> {
    tail: &'a Tail,
    gathered: HashMap<(TopicId, u32), Gathered>,
    /// Watermarks that the frame being applied may move: topic, LSN, watermark.
    moved: Vec<(TopicId, Lsn, i64)>,
    outcome: Outcome,
}

impl Replay<'_> {
    /// Applies one frame's payload.
    fn apply(&mut self, payload: &[u8], timestamp_us: i64) -> Result<(), Damage> {
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
                Block::Ddl { lsn, record, topics } => {
                    self.flush_all()?;
                    apply_ddl(self.tail, lsn, &record, &topics, None);
                    self.outcome.catalog.push((lsn, record));
                }
                Block::Retire { retired } => {
                    self.flush_all()?;
                    self.tail.retire(&retired);
                    self.outcome.retention = Some(retired.reading);
                }
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

    fn topic(&self, place: &Placement) -> Result<Arc<super::tail::Topic>, Damage> {
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
            let gathered = Gathered {
                place,
                decoder: Decoder::new(schema, rows).map_err(bad)?,
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
