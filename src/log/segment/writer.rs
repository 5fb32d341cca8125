//! [`SegmentWriter`]: a segment's file while it is written.
//!
//! One rule: rows are written in order, batch by batch, under a temporary name; the file gets its own once it is synced.
//!
//! Not here: the layout of the file, reading it (`segment`).

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, UInt32Array, UInt64Array};
use arrow::buffer::Buffer;
use arrow::compute::{concat, concat_batches};
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::StreamWriter;

use crate::storage::{Disk, DiskFile};

use super::super::columns::nullable;
use super::super::encoding::{self, slice_bytes};
use super::super::message::MessageEncoder;
use super::super::tail::merge_runs;
use super::super::{Chunk, LogError};
use super::{
    ALIGNMENT, BlockPlace, Entry, FIXED_COLUMNS, FORMAT_VERSION, HEADER_BYTES, HEADER_MAGIC, Index, Layout, SYNC_BYTES,
    Segment, SegmentInfo, TRAILER_BYTES, TRAILER_MAGIC, encode_runs, extremes, file_name, header_crc, message, streams,
    temporary_name,
};

/// A column of a batch, as the index has it.
struct ColumnEntry {
    place: BlockPlace,
    nulls: u64,
    bounds: Option<(ArrayRef, ArrayRef)>,
}

/// A file that has been written and named.
pub struct Finished {
    pub info: SegmentInfo,
    pub trailer_crc: u32,
    pub index: Index,
}

/// Writes one segment.
pub struct SegmentWriter {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    file: Arc<dyn DiskFile>,
    info: SegmentInfo,
    schema: SchemaRef,
    layout: Layout,
    runs_encoder: Option<MessageEncoder>,
    position: u64,
    synced: u64,
    entries: Vec<Entry>,
    /// Of each batch.
    columns: Vec<Vec<ColumnEntry>>,
    /// Not written yet.
    pending: Vec<Chunk>,
    pending_rows: usize,
    pending_bytes: usize,
}

impl std::fmt::Debug for SegmentWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Writer({})", self.path().display())
    }
}

impl SegmentWriter {
    /// A new file under a temporary name. `info` names id, topic, partition, schema and base offset.
    pub fn create(
        disk: Arc<dyn Disk>,
        dir: &Path,
        info: SegmentInfo,
        schema: SchemaRef,
        layout: Layout,
    ) -> Result<SegmentWriter, LogError> {
        let path = dir.join(temporary_name(info.id));
        let file = disk.create(&path).map_err(LogError::io("create file", &path))?;
        let mut header = vec![0; HEADER_BYTES as usize];
        header[0..8].copy_from_slice(&HEADER_MAGIC);
        header[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        header[16..20].copy_from_slice(&info.topic.0.to_le_bytes());
        header[20..24].copy_from_slice(&info.partition.to_le_bytes());
        header[24..28].copy_from_slice(&info.schema_id.to_le_bytes());
        header[32..40].copy_from_slice(&info.base_offset.to_le_bytes());
        let crc = header_crc(&header);
        header[12..16].copy_from_slice(&crc.to_le_bytes());
        file.write_at(0, &[&header])
            .map_err(LogError::io("write file", &path))?;
        Ok(SegmentWriter {
            disk,
            dir: dir.to_path_buf(),
            file,
            info: SegmentInfo { rows: 0, ..info },
            schema,
            layout,
            runs_encoder: None,
            position: HEADER_BYTES,
            synced: 0,
            entries: Vec::new(),
            columns: Vec::new(),
            pending: Vec::new(),
            pending_rows: 0,
            pending_bytes: 0,
        })
    }

    fn path(&self) -> PathBuf {
        self.dir.join(temporary_name(self.info.id))
    }

    /// Bytes of the batches so far.
    pub fn bytes(&self) -> u64 {
        self.position + self.pending_bytes as u64
    }

    /// Adds rows, which follow those before them.
    pub fn push(&mut self, chunk: Chunk) -> Result<(), LogError> {
        assert_eq!(
            chunk.base_offset,
            self.info.end_offset(),
            "L2: offsets in a segment are dense"
        );
        self.info.rows += chunk.rows.num_rows() as u64;
        let mut chunk = chunk;
        loop {
            let rows = chunk.rows.num_rows();
            let room = self.layout.batch_rows - self.pending_rows;
            // A batch may be twice as large before a chunk is cut for it.
            let limit = if self.pending_rows == 0 { room * 2 } else { room };
            let taken = if rows <= limit { rows } else { room };
            let (now, later) = (chunk.slice(0, taken), rows - taken);
            self.pending_rows += taken;
            self.pending_bytes += slice_bytes(&now.rows);
            self.pending.push(now);
            if self.pending_rows >= self.layout.batch_rows || self.pending_bytes >= self.layout.batch_bytes {
                self.write_batch()?;
            }
            if later == 0 {
                return Ok(());
            }
            chunk = chunk.slice(taken, later);
        }
    }

    /// The offset after the rows so far.
    pub fn end_offset(&self) -> u64 {
        self.info.end_offset()
    }

    /// Writes the rows that have been added since, as one batch.
    pub fn write_batch(&mut self) -> Result<(), LogError> {
        let pending = std::mem::take(&mut self.pending);
        (self.pending_rows, self.pending_bytes) = (0, 0);
        let Some(first) = pending.first() else { return Ok(()) };
        let base_offset = first.base_offset;
        let runs = merge_runs(&pending);
        let rows = match pending.as_slice() {
            [one] => one.rows.clone(),
            many => {
                concat_batches(&nullable(&self.schema), many.iter().map(|chunk| &chunk.rows)).map_err(unwritable)?
            }
        };
        drop(pending);
        let position = self.position.next_multiple_of(ALIGNMENT);
        let mut pieces = Vec::new();
        let mut columns = Vec::with_capacity(rows.num_columns());
        let mut end = position;
        for column in rows.columns() {
            let bounds = extremes(column.as_ref());
            let mut stream = encoding::encode(column, bounds.as_ref(), self.layout.compression)?;
            stream.push(padding(stream.iter().map(Buffer::len).sum()));
            let place = BlockPlace {
                position: end,
                bytes: small(stream.iter().map(Buffer::len).sum()),
                crc: crc_of(&stream),
            };
            end = place.end();
            pieces.extend(stream);
            columns.push(ColumnEntry {
                place,
                nulls: column.logical_null_count() as u64,
                bounds,
            });
        }
        self.columns.push(columns);
        let runs_batch = encode_runs(&runs);
        let encoder = match &mut self.runs_encoder {
            Some(encoder) => encoder,
            none => none.insert(MessageEncoder::new(&runs_batch, self.layout.compression)?),
        };
        let (runs_pieces, runs_bytes) = message(encoder, &runs_batch)?;
        let (rows_bytes, crc) = (end - position, crc_of(&runs_pieces));
        pieces.extend(runs_pieces);
        let slices: Vec<&[u8]> = pieces.iter().map(Buffer::as_slice).collect();
        let path = self.path();
        self.file
            .write_at(position, &slices)
            .map_err(LogError::io("write file", &path))?;
        let (first, last) = (&runs[0], &runs[runs.len() - 1]);
        self.entries.push(Entry {
            position,
            rows_bytes: small(rows_bytes as usize),
            runs_bytes: small(runs_bytes),
            crc,
            rows: small(rows.num_rows()),
            base_offset,
            first_lsn: first.lsn,
            last_lsn: last.lsn,
            first_us: first.timestamp_us,
            last_us: last.timestamp_us,
        });
        self.position = end + runs_bytes as u64;
        if self.position - self.synced > SYNC_BYTES {
            self.file.sync_data().map_err(LogError::io("sync file", &path))?;
            self.synced = self.position;
        }
        Ok(())
    }

    /// Writes the rest, syncs and names the file. The caller syncs the directory.
    pub fn finish(self) -> Result<Segment, LogError> {
        let disk = Arc::clone(&self.disk);
        let (dir, schema) = (self.dir.clone(), Arc::clone(&self.schema));
        Ok(Segment::known(disk, &dir, self.finish_file()?.info, schema))
    }

    /// The same, without a segment of it.
    pub fn finish_file(mut self) -> Result<Finished, LogError> {
        self.write_batch()?;
        let path = self.path();
        let table = self.table().map_err(unwritable)?;
        let mut index = Vec::new();
        let mut writer = StreamWriter::try_new(&mut index, &table.schema()).map_err(unwritable)?;
        writer
            .write(&table)
            .and_then(|()| writer.finish())
            .map_err(unwritable)?;
        drop(writer);
        let position = self.position.next_multiple_of(ALIGNMENT);
        let mut trailer = [0; TRAILER_BYTES as usize];
        trailer[0..8].copy_from_slice(&position.to_le_bytes());
        trailer[8..16].copy_from_slice(&(index.len() as u64).to_le_bytes());
        trailer[16..20].copy_from_slice(&crc32c::crc32c(&index).to_le_bytes());
        let crc = crc32c::crc32c(&trailer[..20]);
        trailer[20..24].copy_from_slice(&crc.to_le_bytes());
        trailer[24..32].copy_from_slice(&TRAILER_MAGIC);
        self.file
            .write_at(position, &[&index, &trailer])
            .map_err(LogError::io("write file", &path))?;
        self.file.sync_data().map_err(LogError::io("sync file", &path))?;
        let (first, last) = (&self.entries[0], &self.entries[self.entries.len() - 1]);
        let info = SegmentInfo {
            first_lsn: first.first_lsn,
            last_lsn: last.last_lsn,
            first_us: first.first_us,
            last_us: last.last_us,
            bytes: position + index.len() as u64 + TRAILER_BYTES,
            ..self.info.clone()
        };
        let named = self.dir.join(file_name(info.id));
        self.disk
            .rename(&path, &named)
            .map_err(LogError::io("rename file", &path))?;
        Ok(Finished {
            info,
            trailer_crc: crc,
            index: Index {
                streams: streams(&table, self.schema.fields().len()),
                entries: self.entries,
                table,
            },
        })
    }

    fn table(&self) -> Result<RecordBatch, arrow::error::ArrowError> {
        let entries = &self.entries;
        let u64s = |value: fn(&Entry) -> u64| -> ArrayRef {
            Arc::new(entries.iter().map(|entry| Some(value(entry))).collect::<UInt64Array>())
        };
        let u32s = |value: fn(&Entry) -> u32| -> ArrayRef {
            Arc::new(entries.iter().map(|entry| Some(value(entry))).collect::<UInt32Array>())
        };
        let i64s = |value: fn(&Entry) -> i64| -> ArrayRef {
            Arc::new(entries.iter().map(|entry| Some(value(entry))).collect::<Int64Array>())
        };
        let mut columns: Vec<(String, ArrayRef)> = Vec::with_capacity(FIXED_COLUMNS + 5 * self.schema.fields().len());
        columns.push(("position".to_string(), u64s(|entry| entry.position)));
        columns.push(("rows_bytes".to_string(), u32s(|entry| entry.rows_bytes)));
        columns.push(("runs_bytes".to_string(), u32s(|entry| entry.runs_bytes)));
        columns.push(("crc".to_string(), u32s(|entry| entry.crc)));
        columns.push(("rows".to_string(), u32s(|entry| entry.rows)));
        columns.push(("base_offset".to_string(), u64s(|entry| entry.base_offset)));
        columns.push(("first_lsn".to_string(), u64s(|entry| entry.first_lsn)));
        columns.push(("last_lsn".to_string(), u64s(|entry| entry.last_lsn)));
        columns.push(("first_us".to_string(), i64s(|entry| entry.first_us)));
        columns.push(("last_us".to_string(), i64s(|entry| entry.last_us)));
        for column in 0..self.schema.fields().len() {
            let stored = || self.columns.iter().map(|batch| &batch[column]);
            let bytes: UInt32Array = stored().map(|stored| Some(stored.place.bytes)).collect();
            let crcs: UInt32Array = stored().map(|stored| Some(stored.place.crc)).collect();
            let nulls: UInt64Array = stored().map(|stored| Some(stored.nulls)).collect();
            columns.push((format!("bytes_{column}"), Arc::new(bytes)));
            columns.push((format!("crc_{column}"), Arc::new(crcs)));
            columns.push((format!("nulls_{column}"), Arc::new(nulls)));
            let bounds: Option<Vec<&(ArrayRef, ArrayRef)>> = stored().map(|stored| stored.bounds.as_ref()).collect();
            if let Some(bounds) = bounds {
                let min: Vec<&dyn Array> = bounds.iter().map(|(min, _)| min.as_ref()).collect();
                let max: Vec<&dyn Array> = bounds.iter().map(|(_, max)| max.as_ref()).collect();
                columns.push((format!("min_{column}"), concat(&min)?));
                columns.push((format!("max_{column}"), concat(&max)?));
            }
        }
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
    }
}

fn crc_of(pieces: &[Buffer]) -> u32 {
    pieces.iter().fold(0, |crc, piece| crc32c::crc32c_append(crc, piece))
}

fn small(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a batch is smaller than 4 GiB")
}

/// The zeros after `bytes` bytes up to a multiple of [`ALIGNMENT`].
fn padding(bytes: usize) -> Buffer {
    static ZEROS: OnceLock<Buffer> = OnceLock::new();
    let zeros = ZEROS.get_or_init(|| Buffer::from([0; ALIGNMENT as usize]));
    zeros.slice_with_length(0, bytes.next_multiple_of(ALIGNMENT as usize) - bytes)
}

fn unwritable(error: arrow::error::ArrowError) -> LogError {
    LogError::Unencodable {
        reason: error.to_string(),
    }
}
