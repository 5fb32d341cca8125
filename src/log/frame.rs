//! The bytes of a WAL file: its header, frames, and the blocks in them.
//!
//! One rule: no byte of a header or payload can change without a checksum saying so. Little-endian throughout; pure,
//! no I/O. `recovery` decides when a damaged frame is an error and when it is a torn tail.
//!
//! ```text
//! file     0 4096  file header, zero-padded
//!       4096 ....  groups, each starting at a multiple of 4096; a group is frames laid end to end, each padded to 8
//!
//! file header                              frame header (80 bytes), then the payload
//!   0 8  magic "MILLWAL\0"                   0 4  magic "MSFR"
//!   8 4  format version                      4 4  CRC32C of bytes 8..80
//!  12 4  CRC32C of bytes 0..12, 16..96       8 4  payload bytes
//!  16 8  sequence, from 1                   12 4  payload CRC32C
//!  24 8  salt                               16 8  salt of the file
//!  32 8  predecessor's sequence, 0 if none  24 8  first LSN
//!  40 8  predecessor's end offset           32 8  last LSN
//!  48 8  predecessor's salt                 40 8  durable LSN: newest known synced when this was built
//!  56 8  last LSN before this file          48 8  offset of the frame's group in the file
//!  64 8  last timestamp before this file    56 8  timestamp of the group, microseconds
//!  72 4  last frame's header CRC            64 4  previous frame's header CRC
//!  76 4  1: what follows is there           68 2  kind: 1 commits, 2 seal
//!  96 4  CRC32C of bytes 104..144           70 2  flags: 1 the transaction goes on in the next frame, 2 clean stop
//! 104 8  which start of the machine         72 8  how long the machine had been up, microseconds; 0: not known
//! 112 8  time since then, microseconds
//! 120 8  clock of retention, microseconds
//! 128 8  machine's clock, microseconds
//! 136 8  bytes that the file was made with
//!
//! block    tag 1 rows, 2 batch, 3 ddl, 4 advance, 5 retire, 6 adopt, 7 produce, 8 group, then
//!   rows     topic 4, schema id 4, partition 4, base offset 8, runs 4, rows 4, bytes 4; runs; the row codec's bytes
//!   batch    topic 4, schema id 4, partition 4, base offset 8, one run, bytes 4, padding to 8; Arrow IPC message
//!   ddl      LSN 8, based on 8, record bytes 4, record, changes 4, changes
//!   advance  LSN 8, topic 4, watermark 8
//!   retire   LSN 8, clock of retention 8, machine's clock 8, starts 4; for each topic 4, partition 4, first offset 8
//!   adopt    topic 4, schema id 4, partition 4, base offset 8, one run, segment id 8, file bytes 8, trailer's CRC32C 4
//!   produce  LSN 8, sequence 8, rows 8, bytes 4, the producer's name
//!   group    LSN 8, group 4, kind 1 (1 commit, 2 seek, 3 forget), partition 4, from 8, to 8
//! run      LSN 8, rows 4, flags 1 (1 watermark, 2 event time), watermark 8, newest event time 8
//! ```

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, FieldRef, Schema};
use arrow::ipc::convert::{IpcSchemaEncoder, fb_to_schema};
use arrow::ipc::root_as_schema;

use super::damage::Damage;
use super::ipc::contained;
use super::offsets::GroupBlock;
use super::retention::{ClockReading, Retention, Retired, Up};
use super::{AHEAD_US, EventTime, GroupChange, GroupId, Lsn, Produced, TopicChange, TopicId, TopicSpec};

/// 5: commits of producers, and of consumer groups.
pub const FORMAT_VERSION: u32 = 5;
pub const FILE_HEADER_BYTES: u64 = 4096;
/// Groups start at multiples of this.
pub const GROUP_ALIGNMENT: u64 = 4096;
pub const FRAME_HEADER_BYTES: usize = 80;
/// Frames are padded to multiples of this.
pub const FRAME_ALIGNMENT: usize = 8;
/// Header and payload together.
pub const FRAME_BYTES_MAX: usize = 16 << 20;
/// One row, encoded; leaves room for the frame's own fields.
pub const ROW_BYTES_MAX: usize = FRAME_BYTES_MAX - (64 << 10);

const FILE_MAGIC: [u8; 8] = *b"MILLWAL\0";
const FRAME_MAGIC: [u8; 4] = *b"MSFR";
/// Of the file header's first part, which all versions have.
const FILE_HEADER_USED: usize = 96;
/// The second part: its checksum, and the bytes that it covers.
const MADE_CRC_AT: usize = 96;
const MADE: Range<usize> = 104..144;

fn get<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&bytes[at..at + N]);
    value
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(get(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(get(bytes, at))
}

/// First block of a WAL file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileHeader {
    pub sequence: u64,
    pub salt: u64,
    pub predecessor: u64,
    pub predecessor_end: u64,
    pub predecessor_salt: u64,
    /// Of the last frame before this file.
    pub last_lsn: Lsn,
    pub last_timestamp_us: i64,
    pub last_crc: u32,
    /// `None` from versions that did not say.
    pub made: Option<FileOrigin>,
}

/// The circumstances of a file's making: start of the machine, clocks, size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileOrigin {
    /// Position of the retention clock.
    pub clock: ClockReading,
    /// The size that it was made with; a large group may have made it larger.
    pub bytes: u64,
}

impl FileOrigin {
    fn put(&self, out: &mut [u8]) {
        let up = self.clock.up.unwrap_or(Up { boot: 0, us: 0 });
        let fields = [
            up.boot,
            up.us as u64,
            self.clock.at_us as u64,
            self.clock.now_us as u64,
            self.bytes,
        ];
        for (place, field) in out.chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_le_bytes());
        }
    }

    fn get(bytes: &[u8]) -> FileOrigin {
        let (boot, us) = (u64_at(bytes, 0), u64_at(bytes, 8) as i64);
        FileOrigin {
            clock: ClockReading {
                at_us: u64_at(bytes, 16) as i64,
                now_us: u64_at(bytes, 24) as i64,
                up: (boot != 0).then_some(Up { boot, us }),
            },
            bytes: u64_at(bytes, 32),
        }
    }
}

impl FileHeader {
    /// [`FILE_HEADER_BYTES`] of it.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; FILE_HEADER_BYTES as usize];
        bytes[0..8].copy_from_slice(&FILE_MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.salt.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.predecessor.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.predecessor_end.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.predecessor_salt.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.last_lsn.to_le_bytes());
        bytes[64..72].copy_from_slice(&self.last_timestamp_us.to_le_bytes());
        bytes[72..76].copy_from_slice(&self.last_crc.to_le_bytes());
        if let Some(made) = &self.made {
            bytes[76] = 1;
            made.put(&mut bytes[MADE]);
            let crc = crc32c::crc32c(&bytes[MADE]);
            bytes[MADE_CRC_AT..MADE_CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        }
        let crc = FileHeader::crc(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn crc(bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..FILE_HEADER_USED])
    }

    pub fn decode(bytes: &[u8]) -> Result<FileHeader, Damage> {
        if bytes.len() < FILE_HEADER_USED || bytes[0..8] != FILE_MAGIC {
            return Err(Damage::NotAFile);
        }
        let crc_fits = u32_at(bytes, 12) == FileHeader::crc(bytes);
        let version = u32_at(bytes, 8);
        // A newer version's header may have another layout; that its checksum stands in the same place is promised.
        if version > FORMAT_VERSION {
            return Err(if crc_fits {
                Damage::NewerVersion(version)
            } else {
                Damage::FileHeader
            });
        }
        if !crc_fits || version == 0 {
            return Err(Damage::FileHeader);
        }
        let made = match u32_at(bytes, 76) {
            0 => None,
            _ => {
                let part = bytes.get(MADE).ok_or(Damage::FileHeader)?;
                if crc32c::crc32c(part) != u32_at(bytes, MADE_CRC_AT) {
                    return Err(Damage::FileHeader);
                }
                Some(FileOrigin::get(part))
            }
        };
        Ok(FileHeader {
            sequence: u64_at(bytes, 16),
            salt: u64_at(bytes, 24),
            predecessor: u64_at(bytes, 32),
            predecessor_end: u64_at(bytes, 40),
            predecessor_salt: u64_at(bytes, 48),
            last_lsn: u64_at(bytes, 56),
            last_timestamp_us: i64::from_le_bytes(get(bytes, 64)),
            last_crc: u32_at(bytes, 72),
            made,
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameKind {
    Commits,
    /// Empty; says that everything before it is synced.
    Seal,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHeader {
    pub payload_bytes: u32,
    pub payload_crc: u32,
    pub salt: u64,
    pub first_lsn: Lsn,
    pub last_lsn: Lsn,
    pub durable_lsn: Lsn,
    pub group_offset: u64,
    pub timestamp_us: i64,
    pub previous_crc: u32,
    pub kind: FrameKind,
    /// The transaction at `last_lsn` goes on in the next frame.
    pub continued: bool,
    /// A seal written by an orderly stop.
    pub clean_stop: bool,
    /// Time that the machine had been up, microseconds.
    pub up_us: Option<i64>,
}

impl FrameHeader {
    /// The bytes, and the CRC that the next frame names.
    pub fn encode(&self) -> ([u8; FRAME_HEADER_BYTES], u32) {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[0..4].copy_from_slice(&FRAME_MAGIC);
        bytes[8..12].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.payload_crc.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.salt.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first_lsn.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.last_lsn.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.durable_lsn.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.group_offset.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.timestamp_us.to_le_bytes());
        bytes[64..68].copy_from_slice(&self.previous_crc.to_le_bytes());
        let kind: u16 = match self.kind {
            FrameKind::Commits => 1,
            FrameKind::Seal => 2,
        };
        bytes[68..70].copy_from_slice(&kind.to_le_bytes());
        let flags = u16::from(self.continued) | u16::from(self.clean_stop) << 1;
        bytes[70..72].copy_from_slice(&flags.to_le_bytes());
        bytes[72..80].copy_from_slice(&self.up_us.unwrap_or(0).to_le_bytes());
        let crc = crc32c::crc32c(&bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        (bytes, crc)
    }

    /// The salt that a header names, whether or not the header is whole.
    pub fn salt_of(bytes: &[u8]) -> Option<u64> {
        let bytes = bytes.get(..FRAME_HEADER_BYTES)?;
        (bytes[0..4] == FRAME_MAGIC).then(|| u64_at(bytes, 16))
    }

    /// The header and its CRC. Says nothing of the payload.
    pub fn decode(bytes: &[u8], salt: u64) -> Result<(FrameHeader, u32), Damage> {
        let Some(bytes) = bytes.get(..FRAME_HEADER_BYTES) else {
            return Err(Damage::NoFrame);
        };
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(Damage::NoFrame);
        }
        let crc = crc32c::crc32c(&bytes[8..]);
        if bytes[0..4] != FRAME_MAGIC || u32_at(bytes, 4) != crc {
            return Err(Damage::FrameHeader);
        }
        if u64_at(bytes, 16) != salt {
            return Err(Damage::Salt);
        }
        let flags = u16::from_le_bytes(get(bytes, 70));
        let header = FrameHeader {
            payload_bytes: u32_at(bytes, 8),
            payload_crc: u32_at(bytes, 12),
            salt,
            first_lsn: u64_at(bytes, 24),
            last_lsn: u64_at(bytes, 32),
            durable_lsn: u64_at(bytes, 40),
            group_offset: u64_at(bytes, 48),
            timestamp_us: i64::from_le_bytes(get(bytes, 56)),
            previous_crc: u32_at(bytes, 64),
            kind: match u16::from_le_bytes(get(bytes, 68)) {
                1 => FrameKind::Commits,
                2 => FrameKind::Seal,
                _ => return Err(Damage::Contents("a frame has an unknown kind")),
            },
            continued: flags & 1 != 0,
            clean_stop: flags & 2 != 0,
            up_us: Some(i64::from_le_bytes(get(bytes, 72))).filter(|us| *us != 0),
        };
        Ok((header, crc))
    }
}

/// Rows of one commit within a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockRun {
    pub lsn: Lsn,
    pub rows: u32,
    /// The topic's watermark before that commit, microseconds.
    pub watermark: Option<i64>,
    /// Newest event time among the rows that may move the watermark, microseconds.
    pub event_us: Option<i64>,
}

/// The partition and the offset of a block's rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placement {
    pub topic: TopicId,
    pub schema_id: u32,
    pub partition: u32,
    pub base_offset: u64,
}

/// The segment file that a commit adopts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AdoptedFile {
    pub segment: u64,
    /// Size of the file.
    pub bytes: u64,
    /// The one in its trailer, which covers the index, and through it every batch.
    pub trailer_crc: u32,
}

/// A block as read; byte ranges are positions in the payload.
#[derive(Debug)]
pub enum Block {
    Rows {
        place: Placement,
        runs: Vec<BlockRun>,
        rows: usize,
        bytes: Range<usize>,
    },
    Batch {
        place: Placement,
        run: BlockRun,
        bytes: Range<usize>,
    },
    Adopt {
        place: Placement,
        run: BlockRun,
        file: AdoptedFile,
    },
    Ddl {
        lsn: Lsn,
        record: Vec<u8>,
        topics: Vec<TopicChange>,
    },
    Advance {
        lsn: Lsn,
        topic: TopicId,
        watermark: i64,
    },
    Retire {
        retired: Retired,
    },
    Produce {
        producer: Arc<str>,
        outcome: Produced,
    },
    Group(GroupBlock),
}

fn put_u32(value: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_u64(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Lengths in a frame are below 16 MiB.
fn put_length(length: usize, out: &mut Vec<u8>) {
    put_u32(u32::try_from(length).expect("a frame is at most 16 MiB"), out);
}

fn put_placement(place: &Placement, out: &mut Vec<u8>) {
    put_u32(place.topic.0, out);
    put_u32(place.schema_id, out);
    put_u32(place.partition, out);
    put_u64(place.base_offset, out);
}

fn put_run(run: &BlockRun, out: &mut Vec<u8>) {
    put_u64(run.lsn, out);
    put_u32(run.rows, out);
    out.push(u8::from(run.watermark.is_some()) | u8::from(run.event_us.is_some()) << 1);
    put_u64(run.watermark.unwrap_or(0) as u64, out);
    put_u64(run.event_us.unwrap_or(0) as u64, out);
}

/// Bytes that [`put_rows_header`] takes beside those of the rows.
pub const RUN_BYTES: usize = 29;

/// A rows block up to its rows' bytes, which must follow.
pub fn put_rows_header(place: &Placement, runs: &[BlockRun], rows: u32, bytes: usize, out: &mut Vec<u8>) {
    out.push(1);
    put_placement(place, out);
    put_length(runs.len(), out);
    put_u32(rows, out);
    put_length(bytes, out);
    for run in runs {
        put_run(run, out);
    }
}

/// A batch block up to its message's bytes, which must follow. `before` is the length of the payload before the
/// block: the message starts aligned.
pub fn put_batch_header(place: &Placement, run: &BlockRun, bytes: usize, before: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.push(2);
    put_placement(place, out);
    put_run(run, out);
    put_length(bytes, out);
    let end = before + out.len() - start;
    out.resize(out.len() + end.next_multiple_of(FRAME_ALIGNMENT) - end, 0);
}

pub fn put_adopt(place: &Placement, run: &BlockRun, file: &AdoptedFile, out: &mut Vec<u8>) {
    out.push(6);
    put_placement(place, out);
    put_run(run, out);
    put_u64(file.segment, out);
    put_u64(file.bytes, out);
    put_u32(file.trailer_crc, out);
}

pub fn put_advance(lsn: Lsn, topic: TopicId, watermark: i64, out: &mut Vec<u8>) {
    out.push(4);
    put_u64(lsn, out);
    put_u32(topic.0, out);
    put_u64(watermark as u64, out);
}

pub fn put_ddl(lsn: Lsn, based_on: u64, record: &[u8], topics: &[TopicChange], out: &mut Vec<u8>) {
    out.push(3);
    put_u64(lsn, out);
    put_u64(based_on, out);
    put_length(record.len(), out);
    out.extend_from_slice(record);
    put_length(topics.len(), out);
    for change in topics {
        match change {
            TopicChange::Create(spec) => {
                out.push(1);
                put_spec(spec, out);
            }
            TopicChange::Alter(spec) => {
                out.push(2);
                put_spec(spec, out);
            }
            TopicChange::Drop(topic) => {
                out.push(3);
                put_u32(topic.0, out);
            }
        }
    }
}

fn put_spec(spec: &TopicSpec, out: &mut Vec<u8>) {
    put_u32(spec.id.0, out);
    put_u32(spec.schema_id, out);
    put_u32(spec.partitions, out);
    let ahead = spec.event_time.map(|event| event.ahead_us).filter(|us| *us != AHEAD_US);
    let flags = [
        spec.event_time.is_some(),
        spec.retention.us.is_some(),
        spec.retention.bytes.is_some(),
        ahead.is_some(),
    ];
    out.push((0..).zip(flags).map(|(bit, is_set)| u8::from(is_set) << bit).sum());
    let (column, delay_us) = spec.event_time.map_or((0, 0), |event| (event.column, event.delay_us));
    put_length(column, out);
    put_u64(delay_us as u64, out);
    let schema = encode_schema(&spec.schema);
    put_length(schema.len(), out);
    out.extend_from_slice(&schema);
    // Only retention values that are set; version 1 had none.
    spec.retention.us.into_iter().for_each(|us| put_u64(us as u64, out));
    spec.retention.bytes.into_iter().for_each(|bytes| put_u64(bytes, out));
    ahead.into_iter().for_each(|us| put_u64(us as u64, out));
}

pub fn put_retire(lsn: Lsn, retired: &Retired, out: &mut Vec<u8>) {
    out.push(5);
    put_u64(lsn, out);
    put_u64(retired.reading.at_us as u64, out);
    put_u64(retired.reading.now_us as u64, out);
    put_length(retired.starts.len(), out);
    for (topic, partition, start) in &retired.starts {
        put_u32(topic.0, out);
        put_u32(*partition, out);
        put_u64(*start, out);
    }
}

pub fn put_produce(producer: &str, outcome: &Produced, out: &mut Vec<u8>) {
    out.push(7);
    put_u64(outcome.lsn, out);
    put_u64(outcome.sequence, out);
    put_u64(outcome.rows, out);
    put_length(producer.len(), out);
    out.extend_from_slice(producer.as_bytes());
}

pub fn put_group(block: &GroupBlock, out: &mut Vec<u8>) {
    out.push(8);
    put_u64(block.lsn, out);
    let (group, kind, partition, from, to) = match block.change {
        GroupChange::Commit {
            group,
            partition,
            from,
            to,
        } => (group, 1, partition, from, to),
        GroupChange::Seek { group, partition, to } => (group, 2, partition, 0, to),
        GroupChange::Forget { group } => (group, 3, 0, 0, 0),
    };
    put_u32(group.0, out);
    out.push(kind);
    put_u32(partition, out);
    put_u64(from, out);
    put_u64(to, out);
}

/// A schema as Arrow's flatbuffer.
pub fn encode_schema(schema: &Schema) -> Vec<u8> {
    IpcSchemaEncoder::new().schema_to_fb(schema).finished_data().to_vec()
}

/// The inverse of [`encode_schema`].
pub fn decode_schema(bytes: &[u8]) -> Result<Schema, Damage> {
    // A copy of its own, for flatbuffers are read aligned.
    let bytes = Buffer::from_slice_ref(bytes);
    contained(|| {
        let schema = root_as_schema(&bytes).map_err(|_| Damage::Contents("a schema is unreadable"))?;
        Ok(plain_elements(fb_to_schema(schema)))
    })
}

/// Elements of arrays without metadata: earlier files have their type there, where the array's own field says it today.
fn plain_elements(schema: Schema) -> Schema {
    let plain = |field: &FieldRef| match field.data_type() {
        DataType::List(item) if !item.metadata().is_empty() => {
            let item = item.as_ref().clone().with_metadata(HashMap::new());
            Arc::new(field.as_ref().clone().with_data_type(DataType::List(Arc::new(item))))
        }
        _ => Arc::clone(field),
    };
    let fields: Vec<FieldRef> = schema.fields().iter().map(plain).collect();
    Schema::new_with_metadata(fields, schema.metadata)
}

pub fn encode_spec(spec: &TopicSpec) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_spec(spec, &mut bytes);
    bytes
}

/// The inverse of [`encode_spec`].
pub fn decode_spec(bytes: &[u8]) -> Result<TopicSpec, Damage> {
    FrameBytes { bytes, at: 0 }.spec()
}

/// Reads a payload from its start.
struct FrameBytes<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> FrameBytes<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Damage> {
        let end = self
            .at
            .checked_add(length)
            .ok_or(Damage::Contents("a length is too large"))?;
        let taken = self.bytes.get(self.at..end);
        self.at = end;
        taken.ok_or(Damage::Contents("they end early"))
    }

    fn range(&mut self, length: usize) -> Result<Range<usize>, Damage> {
        let start = self.at;
        self.take(length)?;
        Ok(start..self.at)
    }

    fn u8(&mut self) -> Result<u8, Damage> {
        Ok(self.take(1)?[0])
    }

    fn u32(&mut self) -> Result<u32, Damage> {
        Ok(u32_at(self.take(4)?, 0))
    }

    fn u64(&mut self) -> Result<u64, Damage> {
        Ok(u64_at(self.take(8)?, 0))
    }

    fn i64(&mut self) -> Result<i64, Damage> {
        Ok(self.u64()? as i64)
    }

    fn length(&mut self) -> Result<usize, Damage> {
        Ok(self.u32()? as usize)
    }

    fn placement(&mut self) -> Result<Placement, Damage> {
        Ok(Placement {
            topic: TopicId(self.u32()?),
            schema_id: self.u32()?,
            partition: self.u32()?,
            base_offset: self.u64()?,
        })
    }

    fn run(&mut self) -> Result<BlockRun, Damage> {
        let (lsn, rows, flags) = (self.u64()?, self.u32()?, self.u8()?);
        let (watermark, event_us) = (self.i64()?, self.i64()?);
        Ok(BlockRun {
            lsn,
            rows,
            watermark: (flags & 1 != 0).then_some(watermark),
            event_us: (flags & 2 != 0).then_some(event_us),
        })
    }

    fn spec(&mut self) -> Result<TopicSpec, Damage> {
        let (id, schema_id, partitions) = (TopicId(self.u32()?), self.u32()?, self.u32()?);
        let flags = self.u8()?;
        let has_event_time = flags & 1 != 0;
        let (column, delay_us) = (self.length()?, self.i64()?);
        let schema_bytes = self.length()?;
        let schema = decode_schema(self.take(schema_bytes)?)?;
        if has_event_time && column >= schema.fields().len() {
            return Err(Damage::Contents("an event-time column does not exist"));
        }
        let mut value =
            |bit: u8| -> Result<Option<u64>, Damage> { (flags & 1 << bit != 0).then(|| self.u64()).transpose() };
        let retention = Retention {
            us: value(1)?.map(|us| us as i64),
            bytes: value(2)?,
        };
        let event_time = EventTime {
            column,
            delay_us,
            ahead_us: value(3)?.map_or(AHEAD_US, |us| us as i64),
        };
        Ok(TopicSpec {
            id,
            schema_id,
            schema: Arc::new(schema),
            partitions,
            event_time: has_event_time.then_some(event_time),
            retention,
        })
    }

    fn block(&mut self) -> Result<Block, Damage> {
        match self.u8()? {
            1 => {
                let place = self.placement()?;
                let (run_count, rows, bytes) = (self.length()?, self.length()?, self.length()?);
                let mut runs = Vec::new();
                for _ in 0..run_count {
                    runs.push(self.run()?);
                }
                if runs.iter().map(|run| run.rows as usize).sum::<usize>() != rows {
                    return Err(Damage::Contents("runs do not add up"));
                }
                Ok(Block::Rows {
                    place,
                    runs,
                    rows,
                    bytes: self.range(bytes)?,
                })
            }
            2 => {
                let (place, run, bytes) = (self.placement()?, self.run()?, self.length()?);
                self.at = self.at.next_multiple_of(FRAME_ALIGNMENT);
                Ok(Block::Batch {
                    place,
                    run,
                    bytes: self.range(bytes)?,
                })
            }
            3 => {
                let (lsn, _based_on, record_bytes) = (self.u64()?, self.u64()?, self.length()?);
                let record = self.take(record_bytes)?.to_vec();
                let mut topics = Vec::new();
                for _ in 0..self.length()? {
                    topics.push(match self.u8()? {
                        1 => TopicChange::Create(self.spec()?),
                        2 => TopicChange::Alter(self.spec()?),
                        3 => TopicChange::Drop(TopicId(self.u32()?)),
                        _ => return Err(Damage::Contents("a topic change has an unknown tag")),
                    });
                }
                Ok(Block::Ddl { lsn, record, topics })
            }
            4 => Ok(Block::Advance {
                lsn: self.u64()?,
                topic: TopicId(self.u32()?),
                watermark: self.i64()?,
            }),
            5 => {
                let _lsn = self.u64()?;
                let reading = ClockReading {
                    at_us: self.i64()?,
                    now_us: self.i64()?,
                    up: None,
                };
                let mut starts = Vec::new();
                for _ in 0..self.length()? {
                    starts.push((TopicId(self.u32()?), self.u32()?, self.u64()?));
                }
                Ok(Block::Retire {
                    retired: Retired { reading, starts },
                })
            }
            6 => Ok(Block::Adopt {
                place: self.placement()?,
                run: self.run()?,
                file: AdoptedFile {
                    segment: self.u64()?,
                    bytes: self.u64()?,
                    trailer_crc: self.u32()?,
                },
            }),
            7 => {
                let (lsn, sequence, rows, bytes) = (self.u64()?, self.u64()?, self.u64()?, self.length()?);
                let producer = str::from_utf8(self.take(bytes)?);
                let producer = producer.map_err(|_| Damage::Contents("a producer's name is unreadable"))?;
                Ok(Block::Produce {
                    producer: producer.into(),
                    outcome: Produced { sequence, lsn, rows },
                })
            }
            8 => {
                let (lsn, group, kind, partition) = (self.u64()?, GroupId(self.u32()?), self.u8()?, self.u32()?);
                let (from, to) = (self.u64()?, self.u64()?);
                let change = match kind {
                    1 => GroupChange::Commit {
                        group,
                        partition,
                        from,
                        to,
                    },
                    2 => GroupChange::Seek { group, partition, to },
                    3 => GroupChange::Forget { group },
                    _ => return Err(Damage::Contents("a change of a group has an unknown kind")),
                };
                Ok(Block::Group(GroupBlock { lsn, change }))
            }
            _ => Err(Damage::Contents("a block has an unknown tag")),
        }
    }
}

/// All blocks of a payload whose checksum fits.
pub fn decode_blocks(payload: &[u8]) -> Result<Vec<Block>, Damage> {
    let mut input = FrameBytes { bytes: payload, at: 0 };
    let mut blocks = Vec::new();
    while input.at < payload.len() {
        // Blocks are not padded but batches start aligned, and a frame's end is; tag 0 is padding.
        if payload[input.at] == 0 {
            input.at += 1;
            continue;
        }
        blocks.push(input.block()?);
    }
    Ok(blocks)
}
