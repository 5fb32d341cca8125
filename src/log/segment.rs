//! [`Segment`]: an immutable columnar file with consecutive rows of one topic partition; writing it, reading it back.
//!
//! One rule: a segment gets its name only after it is synced, and is never written to again; every byte of it is
//! covered by a checksum, and damage to a column of a batch is an error of its readers alone.
//!
//! ```text
//! file       0 64  header, zero-padded
//!           64 ..  batches, each at a multiple of 64: its columns, each an Arrow IPC stream (`encoding`) and zero-padded to
//!                  a multiple of 64, then its runs, an encapsulated Arrow IPC message
//!           .. ..  index: an Arrow IPC stream of one record batch, with one row for each batch of the file
//!      end-32 32  trailer
//!
//! header                                   trailer
//!   0 8  magic "MILLSEG\0"                   0 8  position of the index
//!   8 4  format version                      8 8  bytes of the index
//!  12 4  CRC32C of bytes 0..12, 16..64      16 4  CRC32C of the index
//!  16 4  topic                              20 4  CRC32C of bytes 0..20
//!  20 4  partition                          24 8  magic "MILLSEGE"
//!  24 4  schema id
//!  32 8  base offset
//!
//! runs   lsn UInt64, timestamp Int64 (us), watermark Int64 (us, null: none), rows UInt32
//! index  position UInt64, rows_bytes (of all columns), runs_bytes, crc (of the runs), rows UInt32, base_offset, first_lsn,
//!        last_lsn UInt64, first_us, last_us Int64; for column i of the topic bytes_i (with padding), crc_i UInt32,
//!        nulls_i UInt64 and, where its type has an order that filters can use, min_i and max_i of that type (null: not
//!        known)
//! ```
//!
//! Version 1 has all columns of a batch in one encapsulated Arrow IPC message, without bytes_i and crc_i: crc is of that
//! and the runs. It is read, and no longer written.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Int64Array, PrimitiveArray, RecordBatch,
    RecordBatchOptions, StringArray, UInt32Array, UInt64Array,
};
use arrow::buffer::{Buffer, MutableBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Int16Type, Int32Type, Int64Type, Schema, SchemaRef,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, UInt32Type, UInt64Type,
};
use arrow::ipc::CompressionType;
use serde::{Deserialize, Serialize};

use crate::storage::{Disk, DiskFile};

use super::claims::FileClaim;
use super::columns::nullable;
use super::damage::Damage;
use super::encoding::{self, of_numbers};
use super::ipc::read_stream;
use super::message::{MessageEncoder, decode_message};
use super::{Chunk, LogError, Lsn, Run, TopicId};

mod writer;

pub use writer::SegmentWriter;

const FORMAT_VERSION: u32 = 2;
const HEADER_BYTES: u64 = 64;
const TRAILER_BYTES: u64 = 32;
/// Batches start at multiples of this, so that their buffers are aligned once read.
const ALIGNMENT: u64 = 64;
const HEADER_MAGIC: [u8; 8] = *b"MILLSEG\0";
const TRAILER_MAGIC: [u8; 8] = *b"MILLSEGE";
/// Synced as it grows, so that the log's own syncs do not wait behind all of it.
const SYNC_BYTES: u64 = 8 << 20;
/// Longer strings bound from below by a prefix, and from above not at all.
const STATISTIC_STRING_BYTES_MAX: usize = 64;
/// Columns of the index before those of the topic's columns.
const FIXED_COLUMNS: usize = 10;

/// A segment's description, known without opening it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentInfo {
    /// Names the file. Never reused.
    pub id: u64,
    pub topic: TopicId,
    pub partition: u32,
    /// Of the schema that its rows have.
    pub schema_id: u32,
    pub base_offset: u64,
    pub rows: u64,
    pub first_lsn: Lsn,
    pub last_lsn: Lsn,
    /// Append time of the first row, microseconds; of the last one below.
    pub first_us: i64,
    pub last_us: i64,
    /// Size of the file.
    pub bytes: u64,
    /// Made of others, and compressed.
    #[serde(default)]
    pub is_merged: bool,
    /// Offset, LSN and times of an adopted file's rows, which the file itself does not have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adoption: Option<Adoption>,
}

/// The commit of all rows of a segment that was written before it. Times in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adoption {
    pub lsn: Lsn,
    pub timestamp_us: i64,
    /// The topic's watermark before that commit.
    pub watermark: Option<i64>,
}

impl SegmentInfo {
    /// One that is about to be written.
    pub fn begun(id: u64, topic: TopicId, partition: u32, schema_id: u32, base_offset: u64) -> SegmentInfo {
        SegmentInfo {
            id,
            topic,
            partition,
            schema_id,
            base_offset,
            rows: 0,
            first_lsn: 0,
            last_lsn: 0,
            first_us: 0,
            last_us: 0,
            bytes: 0,
            is_merged: false,
            adoption: None,
        }
    }

    /// The description of a file that was written before its commit, with the commit's place and time.
    pub fn adopted(self, base_offset: u64, adoption: Adoption) -> SegmentInfo {
        SegmentInfo {
            base_offset,
            first_lsn: adoption.lsn,
            last_lsn: adoption.lsn,
            first_us: adoption.timestamp_us,
            last_us: adoption.timestamp_us,
            adoption: Some(adoption),
            ..self
        }
    }

    /// The offset after its last row.
    pub fn end_offset(&self) -> u64 {
        self.base_offset + self.rows
    }
}

/// Name of the segment file with this id.
pub fn file_name(id: u64) -> String {
    format!("{id:016x}.seg")
}

/// The id of a segment file's name.
pub fn parse_name(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_suffix(".seg")?, 16).ok()
}

/// The id of a file that is being written.
pub fn parse_temporary_name(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_suffix(".tmp")?, 16).ok()
}

/// The layout of rows in a segment.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Chunks are put together up to this.
    pub batch_rows: usize,
    pub batch_bytes: usize,
    pub compression: Option<CompressionType>,
}

/// One batch of a segment, as the index has it.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    position: u64,
    rows_bytes: u32,
    runs_bytes: u32,
    crc: u32,
    pub rows: u32,
    pub base_offset: u64,
    pub first_lsn: Lsn,
    pub last_lsn: Lsn,
    pub first_us: i64,
    pub last_us: i64,
}

impl Entry {
    /// Of its rows and runs in the file.
    pub fn bytes(&self) -> u64 {
        u64::from(self.rows_bytes) + u64::from(self.runs_bytes)
    }
}

/// The batches of a segment and the bounds of their columns.
#[derive(Debug)]
pub struct Index {
    pub entries: Vec<Entry>,
    table: RecordBatch,
    /// Bytes and checksum of each column, one of each per batch; `None` if a batch is one message.
    streams: Option<Vec<(UInt32Array, UInt32Array)>>,
}

/// The place of a column of a batch.
#[derive(Clone, Copy, Debug)]
struct BlockPlace {
    position: u64,
    bytes: u32,
    crc: u32,
}

impl BlockPlace {
    fn end(&self) -> u64 {
        self.position.saturating_add(u64::from(self.bytes))
    }
}

impl Index {
    fn column(&self, prefix: &str, column: usize) -> Option<&ArrayRef> {
        self.table.column_by_name(&format!("{prefix}_{column}"))
    }

    /// The places of a batch's columns.
    fn places(&self, batch: usize, streams: &[(UInt32Array, UInt32Array)]) -> Vec<BlockPlace> {
        let mut position = self.entries[batch].position;
        let places = streams.iter().map(|(bytes, crcs)| {
            let place = BlockPlace {
                position,
                bytes: bytes.value(batch),
                crc: crcs.value(batch),
            };
            position = place.end();
            place
        });
        places.collect()
    }

    /// Least and greatest value of a column of the segment's schema, one of each per batch; null where not known.
    pub fn bounds(&self, column: usize) -> Option<(&ArrayRef, &ArrayRef)> {
        Some((self.column("min", column)?, self.column("max", column)?))
    }

    /// Newest value of an event-time column, per batch; `None` if that is not known.
    pub fn newest_events(&self, column: usize) -> Option<Vec<Option<i64>>> {
        let (_, newest) = self.bounds(column)?;
        let newest = newest.as_primitive_opt::<TimestampMicrosecondType>()?;
        Some(newest.iter().collect())
    }

    /// Nulls of a column, per batch: UInt64.
    pub fn nulls(&self, column: usize) -> Option<&ArrayRef> {
        self.column("nulls", column)
    }
}

/// An immutable file of rows.
pub struct Segment {
    pub info: SegmentInfo,
    /// Of its rows.
    pub schema: SchemaRef,
    /// The same without NOT NULL: rows from before a column was so may have NULLs.
    nullable: SchemaRef,
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// Read when first needed.
    index: OnceLock<Arc<Index>>,
    /// Keeps the file of a transaction that has not been committed.
    pub claim: Option<Arc<FileClaim>>,
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Segment({})", self.path.display())
    }
}

impl Segment {
    /// An existing segment. Nothing is read before it is needed.
    pub fn known(disk: Arc<dyn Disk>, dir: &Path, info: SegmentInfo, schema: SchemaRef) -> Segment {
        let path = dir.join(file_name(info.id));
        Segment {
            info,
            nullable: nullable(&schema),
            schema,
            disk,
            path,
            index: OnceLock::new(),
            claim: None,
        }
    }

    fn damaged(&self, offset: u64, reason: impl ToString) -> LogError {
        LogError::Damaged {
            file: self.path.clone(),
            offset,
            reason: reason.to_string(),
        }
    }

    fn open(&self) -> Result<Arc<dyn DiskFile>, LogError> {
        self.disk.open_to_read(&self.path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => self.damaged(0, "the file is missing"),
            _ => LogError::io("open file", &self.path)(error),
        })
    }

    fn read(&self, file: &dyn DiskFile, offset: u64, bytes: u64) -> Result<Buffer, LogError> {
        // Before there is memory for it: lengths come from the file.
        if offset.checked_add(bytes).is_none_or(|end| end > self.info.bytes) {
            return Err(self.damaged(offset, "the file ends early"));
        }
        let bytes = usize::try_from(bytes).map_err(|_| self.damaged(offset, "a length is too large"))?;
        let mut buffer = MutableBuffer::from_len_zeroed(bytes);
        file.read_at(offset, buffer.as_slice_mut())
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => self.damaged(offset, "the file ends early"),
                _ => LogError::io("read file", &self.path)(error),
            })?;
        Ok(buffer.into())
    }

    /// The index, read at the first call.
    pub fn index(&self) -> Result<Arc<Index>, LogError> {
        if let Some(index) = self.index.get() {
            return Ok(Arc::clone(index));
        }
        let index = Arc::new(self.read_index()?);
        Ok(Arc::clone(self.index.get_or_init(|| index)))
    }

    /// The same, whose index as it is in the file is known.
    pub fn with_index(self, index: &Index) -> Segment {
        let mut entries = index.entries.clone();
        adopt(&mut entries, &self.info);
        let set = self.index.set(Arc::new(Index {
            entries,
            table: index.table.clone(),
            streams: index.streams.clone(),
        }));
        assert!(set.is_ok(), "its index has not been read");
        self
    }

    /// Looks whether the file is the one whose trailer has that checksum; reads header and trailer alone.
    pub fn check_trailer(&self, crc: u32) -> Result<(), LogError> {
        let Opened { trailer, .. } = self.open_whole()?;
        match u32_at(&trailer, 20) == crc {
            true => Ok(()),
            false => Err(self.damaged(
                self.info.bytes - TRAILER_BYTES,
                "the trailer is not that of the commit's file",
            )),
        }
    }

    /// The file, if it is the one that it should be.
    fn open_whole(&self) -> Result<Opened, LogError> {
        let file = self.open()?;
        let size = file.len().map_err(LogError::io("read file", &self.path))?;
        if size != self.info.bytes || size < HEADER_BYTES + TRAILER_BYTES {
            return Err(self.damaged(0, format!("its size is {size}, not {}", self.info.bytes)));
        }
        let header = self.read(file.as_ref(), 0, HEADER_BYTES)?;
        let version = u32_at(&header, 8);
        if header[0..8] != HEADER_MAGIC || u32_at(&header, 12) != header_crc(&header) {
            return Err(self.damaged(0, "the header's checksum does not match"));
        }
        if version > FORMAT_VERSION {
            return Err(LogError::NewerFormat {
                file: self.path.clone(),
                version,
                supported: FORMAT_VERSION,
            });
        }
        let place = (u32_at(&header, 16), u32_at(&header, 20), u64_at(&header, 32));
        let base_offset = match self.info.adoption {
            Some(_) => 0,
            None => self.info.base_offset,
        };
        if place != (self.info.topic.0, self.info.partition, base_offset) {
            return Err(self.damaged(0, "it holds other rows than those of its name"));
        }
        let at = size - TRAILER_BYTES;
        let trailer = self.read(file.as_ref(), at, TRAILER_BYTES)?;
        if trailer[24..32] != TRAILER_MAGIC || u32_at(&trailer, 20) != crc32c::crc32c(&trailer[..20]) {
            return Err(self.damaged(at, "the trailer's checksum does not match"));
        }
        Ok(Opened { file, version, trailer })
    }

    fn read_index(&self) -> Result<Index, LogError> {
        let Opened { file, version, trailer } = self.open_whole()?;
        let at = self.info.bytes - TRAILER_BYTES;
        let (position, bytes) = (u64_at(&trailer, 0), u64_at(&trailer, 8));
        if position.checked_add(bytes) != Some(at) {
            return Err(self.damaged(at, "the trailer does not fit the file"));
        }
        let index = self.read(file.as_ref(), position, bytes)?;
        if crc32c::crc32c(&index) != u32_at(&trailer, 16) {
            return Err(self.damaged(position, "the index's checksum does not match"));
        }
        let table = read_stream(index).map_err(|damage| self.damaged(position, damage))?;
        let mut entries = entries(&table).ok_or_else(|| self.damaged(position, "the index has other columns"))?;
        adopt(&mut entries, &self.info);
        let streams = match version {
            1 => None,
            _ => {
                let streams = streams(&table, self.schema.fields().len());
                Some(streams.ok_or_else(|| self.damaged(position, "the index has other columns"))?)
            }
        };
        Ok(Index {
            entries,
            table,
            streams,
        })
    }

    /// Reads all of it, and returns the number of its rows.
    pub fn check(&self) -> Result<u64, LogError> {
        let index = self.index()?;
        let mut next = self.info.base_offset;
        for (batch, entry) in index.entries.iter().enumerate() {
            if entry.base_offset != next {
                return Err(self.damaged(entry.position, "offsets are not dense"));
            }
            self.load(batch, None)?;
            next += u64::from(entry.rows);
        }
        if next != self.info.end_offset() {
            return Err(self.damaged(0, "it has another number of rows than the metadata image says"));
        }
        Ok(self.info.rows)
    }

    /// The rows of one batch: those columns (of the segment's schema) in that order, or all of them. Nothing else of the
    /// batch is read.
    pub fn load(&self, batch: usize, columns: Option<&[usize]>) -> Result<Chunk, LogError> {
        self.load_by(batch, columns, encoding::decode)
    }

    /// The same, but columns that are stored as dictionaries remain so, and their fields say it.
    pub fn load_lazily(&self, batch: usize, columns: &[usize]) -> Result<Chunk, LogError> {
        self.load_by(batch, Some(columns), encoding::decode_lazily)
    }

    fn load_by(&self, batch: usize, columns: Option<&[usize]>, decode: Decode) -> Result<Chunk, LogError> {
        let index = self.index()?;
        let entry = &index.entries[batch];
        let (rows, runs) = match &index.streams {
            Some(streams) => {
                let places = index.places(batch, streams);
                self.load_columns(&index, batch, (places, columns), decode)?
            }
            None => self.load_message(entry, columns)?,
        };
        let damaged = |reason: &str| self.damaged(entry.position, reason);
        let runs = decode_message(&runs, &runs_schema(), None).map_err(|error| damaged(&error.to_string()))?;
        let runs = decode_runs(&runs);
        if rows.num_rows() != entry.rows as usize || runs.iter().map(|run| run.rows).sum::<usize>() != rows.num_rows() {
            return Err(damaged("a batch has another number of rows"));
        }
        let runs = match self.info.adoption {
            None => runs.into(),
            Some(adoption) => Arc::from([Run {
                rows: rows.num_rows(),
                lsn: adoption.lsn,
                timestamp_us: adoption.timestamp_us,
                watermark: adoption.watermark,
            }]),
        };
        Ok(Chunk {
            partition: self.info.partition,
            base_offset: entry.base_offset,
            rows,
            runs,
        })
    }

    /// Rows, and the message of the runs.
    fn load_columns(
        &self,
        index: &Index,
        batch: usize,
        (places, columns): (Vec<BlockPlace>, Option<&[usize]>),
        decode: Decode,
    ) -> Result<(RecordBatch, Buffer), LogError> {
        let entry = &index.entries[batch];
        let fields = self.nullable.fields();
        let runs = BlockPlace {
            position: entry.position.saturating_add(u64::from(entry.rows_bytes)),
            bytes: entry.runs_bytes,
            crc: entry.crc,
        };
        let file = self.open()?;
        // At once, if all of it is wanted.
        let all = match columns {
            None => Some(self.read(file.as_ref(), entry.position, entry.bytes())?),
            Some(_) => None,
        };
        let take = |place: &BlockPlace| {
            let (start, bytes) = (place.position - entry.position, place.bytes as usize);
            let content = match &all {
                Some(all) if start + bytes as u64 <= all.len() as u64 => all.slice_with_length(start as usize, bytes),
                Some(_) => return Err(self.damaged(place.position, "a column is not in its batch")),
                None => self.read(file.as_ref(), place.position, bytes as u64)?,
            };
            match crc32c::crc32c(&content) == place.crc {
                true => Ok(content),
                false => Err(self.damaged(place.position, "a batch's checksum does not match")),
            }
        };
        let column = |column: usize| {
            let (place, field) = (&places[column], &fields[column]);
            let least = index.bounds(column).map(|(least, _)| least.slice(batch, 1));
            let values = decode(take(place)?, field.data_type(), least.as_ref())
                .map_err(|error| self.damaged(place.position, error))?;
            match values.len() == entry.rows as usize {
                true => Ok(values),
                false => Err(self.damaged(place.position, "a batch has another number of rows")),
            }
        };
        let rows = match columns {
            None => {
                let arrays: Result<_, LogError> = (0..fields.len()).map(column).collect();
                // The batch may have no columns.
                let options = RecordBatchOptions::new().with_row_count(Some(entry.rows as usize));
                RecordBatch::try_new_with_options(Arc::clone(&self.nullable), arrays?, &options)
                    .expect("columns fit their fields")
            }
            Some(columns) => {
                let of = |index: &usize| Ok((fields[*index].as_ref().clone(), column(*index)?));
                let columns: Result<_, LogError> = columns.iter().map(of).collect();
                batch_of(columns?, entry.rows as usize)
            }
        };
        Ok((rows, take(&runs)?))
    }

    /// The same of version 1.
    fn load_message(&self, entry: &Entry, columns: Option<&[usize]>) -> Result<(RecordBatch, Buffer), LogError> {
        let file = self.open()?;
        let bytes = self.read(file.as_ref(), entry.position, entry.bytes())?;
        if crc32c::crc32c(&bytes) != entry.crc {
            return Err(self.damaged(entry.position, "a batch's checksum does not match"));
        }
        let message = bytes.slice_with_length(0, entry.rows_bytes as usize);
        let rows =
            decode_message(&message, &self.nullable, columns).map_err(|error| self.damaged(entry.position, error))?;
        Ok((rows, bytes.slice(entry.rows_bytes as usize)))
    }
}

/// The decoder of a column's stream.
type Decode = fn(Buffer, &DataType, Option<&ArrayRef>) -> Result<ArrayRef, Damage>;

/// Columns as one batch, with the types of the arrays.
pub fn batch_of(columns: Vec<(Field, ArrayRef)>, rows: usize) -> RecordBatch {
    let typed = |(field, array): (Field, ArrayRef)| (field.with_data_type(array.data_type().clone()), array);
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().map(typed).unzip();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options).expect("columns are as long")
}

/// A file that has the size, header and trailer of a segment.
struct Opened {
    file: Arc<dyn DiskFile>,
    version: u32,
    trailer: Buffer,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes were taken"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes were taken"))
}

/// Gives bytes that are to be taken for a segment of topic 1 their magics and the checksums of header, index and
/// trailer, for fuzzers.
#[cfg(test)]
pub fn mend(bytes: &mut [u8]) {
    let length = bytes.len();
    let (header, trailer) = (HEADER_BYTES as usize, TRAILER_BYTES as usize);
    if length < header + trailer {
        return;
    }
    bytes[..8].copy_from_slice(&HEADER_MAGIC);
    bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes[16..24].copy_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
    bytes[32..40].fill(0);
    let crc = header_crc(&bytes[..header]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    let at = length - trailer;
    let position = usize::try_from(u64_at(bytes, at)).map_or(at, |position| position.min(at));
    let crc = crc32c::crc32c(&bytes[position..at]);
    let end = &mut bytes[at..];
    end[0..8].copy_from_slice(&(position as u64).to_le_bytes());
    end[8..16].copy_from_slice(&((at - position) as u64).to_le_bytes());
    end[16..20].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32c::crc32c(&end[..20]);
    end[20..24].copy_from_slice(&crc.to_le_bytes());
    end[24..32].copy_from_slice(&TRAILER_MAGIC);
}

fn header_crc(header: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&header[..12]), &header[16..HEADER_BYTES as usize])
}

fn runs_schema() -> SchemaRef {
    static SCHEMA: OnceLock<SchemaRef> = OnceLock::new();
    let schema = SCHEMA.get_or_init(|| {
        Arc::new(Schema::new(vec![
            Field::new("lsn", DataType::UInt64, false),
            Field::new("timestamp", DataType::Int64, false),
            Field::new("watermark", DataType::Int64, true),
            Field::new("rows", DataType::UInt32, false),
        ]))
    });
    Arc::clone(schema)
}

/// Runs as a record batch.
pub fn encode_runs(runs: &[Run]) -> RecordBatch {
    let lsn: UInt64Array = runs.iter().map(|run| Some(run.lsn)).collect();
    let timestamp: Int64Array = runs.iter().map(|run| Some(run.timestamp_us)).collect();
    let watermark: Int64Array = runs.iter().map(|run| run.watermark).collect();
    let rows = runs
        .iter()
        .map(|run| Some(u32::try_from(run.rows).expect("a chunk has fewer rows")));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(lsn),
        Arc::new(timestamp),
        Arc::new(watermark),
        Arc::new(rows.collect::<UInt32Array>()),
    ];
    RecordBatch::try_new(runs_schema(), columns).expect("columns fit the schema")
}

/// Runs from a record batch of [`encode_runs`].
pub fn decode_runs(batch: &RecordBatch) -> Vec<Run> {
    let lsn = batch.column(0).as_primitive::<UInt64Type>();
    let timestamp = batch.column(1).as_primitive::<Int64Type>();
    let watermark = batch.column(2).as_primitive::<Int64Type>();
    let rows = batch.column(3).as_primitive::<UInt32Type>();
    (0..batch.num_rows())
        .map(|row| Run {
            rows: rows.value(row) as usize,
            lsn: lsn.value(row),
            timestamp_us: timestamp.value(row),
            watermark: watermark.is_valid(row).then(|| watermark.value(row)),
        })
        .collect()
}

/// A message's pieces and their bytes.
fn message(encoder: &mut MessageEncoder, batch: &RecordBatch) -> Result<(Vec<Buffer>, usize), LogError> {
    let pieces = encoder.encode(batch)?;
    let bytes = pieces.iter().map(Buffer::len).sum();
    Ok((pieces, bytes))
}

/// Rows and runs of a chunk as one run of bytes, for the metadata image: message lengths and the bytes.
pub fn encode_chunk(chunk: &Chunk) -> Result<(usize, Vec<u8>), LogError> {
    let (rows, rows_bytes) = message(&mut MessageEncoder::new(&chunk.rows, None)?, &chunk.rows)?;
    let runs = encode_runs(&chunk.runs);
    let (runs, _) = message(&mut MessageEncoder::new(&runs, None)?, &runs)?;
    let bytes = rows
        .iter()
        .chain(&runs)
        .flat_map(|piece| piece.iter().copied())
        .collect();
    Ok((rows_bytes, bytes))
}

/// The inverse of [`encode_chunk`].
pub fn decode_chunk(
    (partition, base_offset): (u32, u64),
    rows_bytes: usize,
    bytes: &[u8],
    schema: &SchemaRef,
) -> Result<Chunk, Damage> {
    let short = Damage::Contents("rows end early");
    let rows = bytes.get(..rows_bytes).ok_or(short)?;
    let rows = decode_message(&Buffer::from_slice_ref(rows), &nullable(schema), None)?;
    let runs = Buffer::from_slice_ref(&bytes[rows_bytes..]);
    let runs = decode_runs(&decode_message(&runs, &runs_schema(), None)?);
    if runs.iter().map(|run| run.rows).sum::<usize>() != rows.num_rows() || runs.is_empty() {
        return Err(Damage::Contents("runs do not add up"));
    }
    Ok(Chunk {
        partition,
        base_offset,
        rows,
        runs: runs.into(),
    })
}

/// Gives the batches of a file that was written before its commit the offsets, LSN and times that they have with it.
fn adopt(entries: &mut [Entry], info: &SegmentInfo) {
    let Some(adoption) = info.adoption else { return };
    for entry in entries {
        entry.base_offset += info.base_offset;
        (entry.first_lsn, entry.last_lsn) = (adoption.lsn, adoption.lsn);
        (entry.first_us, entry.last_us) = (adoption.timestamp_us, adoption.timestamp_us);
    }
}

fn entries(table: &RecordBatch) -> Option<Vec<Entry>> {
    let u64s = |name: &str| table.column_by_name(name)?.as_primitive_opt::<UInt64Type>();
    let i64s = |name: &str| table.column_by_name(name)?.as_primitive_opt::<Int64Type>();
    let u32s = |name: &str| table.column_by_name(name)?.as_primitive_opt::<UInt32Type>();
    let (position, base_offset) = (u64s("position")?, u64s("base_offset")?);
    let (first_lsn, last_lsn) = (u64s("first_lsn")?, u64s("last_lsn")?);
    let (first_us, last_us) = (i64s("first_us")?, i64s("last_us")?);
    let (rows_bytes, runs_bytes) = (u32s("rows_bytes")?, u32s("runs_bytes")?);
    let (crc, rows) = (u32s("crc")?, u32s("rows")?);
    let entry = |row| Entry {
        position: position.value(row),
        rows_bytes: rows_bytes.value(row),
        runs_bytes: runs_bytes.value(row),
        crc: crc.value(row),
        rows: rows.value(row),
        base_offset: base_offset.value(row),
        first_lsn: first_lsn.value(row),
        last_lsn: last_lsn.value(row),
        first_us: first_us.value(row),
        last_us: last_us.value(row),
    };
    Some((0..table.num_rows()).map(entry).collect())
}

/// Bytes and checksums of the first columns, by batch.
fn streams(table: &RecordBatch, columns: usize) -> Option<Vec<(UInt32Array, UInt32Array)>> {
    let numbers = |name: String| table.column_by_name(&name)?.as_primitive_opt::<UInt32Type>().cloned();
    let stream = |column| Some((numbers(format!("bytes_{column}"))?, numbers(format!("crc_{column}"))?));
    (0..columns).map(stream).collect()
}

/// Least and greatest value as arrays of one; `None` for types whose order filters do not use.
pub fn extremes(column: &dyn Array) -> Option<(ArrayRef, ArrayRef)> {
    fn of<T: ArrowPrimitiveType>(column: &dyn Array) -> (ArrayRef, ArrayRef)
    where
        T::Native: PartialOrd,
    {
        let values = column.as_primitive::<T>();
        let one = |value: Option<T::Native>| -> ArrayRef {
            let array: PrimitiveArray<T> = std::iter::once(value).collect();
            Arc::new(array.with_data_type(column.data_type().clone()))
        };
        (one(arrow::compute::min(values)), one(arrow::compute::max(values)))
    }
    type Extremes = fn(&dyn Array) -> (ArrayRef, ArrayRef);
    let numbers: Option<Extremes> = of_numbers!(column.data_type(), of);
    match column.data_type() {
        _ if numbers.is_some() => numbers.map(|of| of(column)),
        DataType::Boolean => {
            let values = column.as_boolean();
            let one = |value: Option<bool>| -> ArrayRef { Arc::new(BooleanArray::from(vec![value])) };
            let (min, max) = (arrow::compute::min_boolean(values), arrow::compute::max_boolean(values));
            Some((one(min), one(max)))
        }
        DataType::Utf8 => {
            let mut values = column.as_string::<i32>().iter().flatten();
            let one = |value: Option<&str>| -> ArrayRef { Arc::new(StringArray::from(vec![value])) };
            let first = values.next();
            // Both in one pass: it is the comparisons that take the time.
            let (min, max) = values.fold((first, first), |(min, max), value| match Some(value) {
                less if less < min => (less, max),
                greater if greater > max => (min, greater),
                _ => (min, max),
            });
            let min = min.map(|min| &min[..min.floor_char_boundary(STATISTIC_STRING_BYTES_MAX)]);
            let max = max.filter(|max| max.len() <= STATISTIC_STRING_BYTES_MAX);
            Some((one(min), one(max)))
        }
        _ => None,
    }
}

/// Name of the file while it is written.
pub fn temporary_name(id: u64) -> String {
    format!("{id:016x}.tmp")
}
