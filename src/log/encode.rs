//! Encoding of a [`Commit`]'s rows for a frame, in the committing task, before anything is ordered.
//!
//! One rule: nothing here depends on the commit's place in the order, so it runs in parallel. Few rows take the row
//! codec, many an Arrow IPC message whose buffers are those of the arrays: large appends are not copied.
//! Not here: LSNs, offsets, watermarks (`sequencer`).

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::read_record_batch;
use arrow::ipc::root_as_message;
use arrow::ipc::writer::{IpcWriteOptions, StreamEncoder};

use super::damage::Damage;
use super::events::Events;
use super::frame::ROW_BYTES_MAX;
use super::ipc::{check_message, contained};
use super::spill::Spilled;
use super::{Append, AppendRows, LogError, TopicId, TopicSpec, rows};

/// Appends of at most this many rows take the row codec, if their rows are small.
pub const ROW_CODEC_ROWS_MAX: usize = 128;
/// More bytes than this take Arrow IPC.
const ROW_CODEC_BYTES_MAX: usize = 256 << 10;
/// Larger IPC messages are split by rows, so that a frame holds at least one.
const MESSAGE_BYTES_TARGET: usize = 8 << 20;

/// Encoded rows.
pub enum Body {
    /// By the row codec.
    Rows(Vec<u8>),
    /// An encapsulated IPC message in pieces.
    Message(Vec<Buffer>, RecordBatch),
    /// They are in a file.
    Spilled(Arc<Spilled>),
}

impl Body {
    pub fn bytes(&self) -> usize {
        match self {
            Body::Rows(bytes) => bytes.len(),
            Body::Message(buffers, _) => buffers.iter().map(Buffer::len).sum(),
            Body::Spilled(_) => 0,
        }
    }
}

/// Consecutive rows of one append that go into one block.
pub struct EncodedPart {
    pub rows: u32,
    /// Newest event time that may move the watermark, microseconds.
    pub event_us: Option<i64>,
    pub body: Body,
}

/// An append, encoded; no parts if it has no rows.
pub struct EncodedAppend {
    pub topic: TopicId,
    pub schema_id: u32,
    pub partition: u32,
    pub parts: Vec<EncodedPart>,
    /// Rows whose event times are too far ahead to move the watermark.
    pub ahead: u64,
}

/// Encodes `append` for a topic with `spec`. `now_us` is the append time for the rule of event times far ahead.
pub fn encode(
    append: &Append,
    spec: &TopicSpec,
    now_us: i64,
    compression: Option<CompressionType>,
) -> Result<EncodedAppend, LogError> {
    let counted = |count: u64| u32::try_from(count).expect("an append has fewer rows");
    let mut encoded = EncodedAppend {
        topic: append.topic,
        schema_id: append.schema_id,
        partition: append.partition,
        parts: Vec::with_capacity(1),
        ahead: 0,
    };
    let mut batch = match &append.rows {
        AppendRows::Memory(batch) => batch,
        AppendRows::Spilled(spilled) => {
            let events = spilled.events(spec, now_us)?;
            encoded.ahead = events.ahead;
            encoded.parts.push(EncodedPart {
                rows: counted(spilled.rows()),
                event_us: events.newest_us,
                body: Body::Spilled(Arc::clone(spilled)),
            });
            return Ok(encoded);
        }
    };
    let fitted;
    if !Arc::ptr_eq(batch.schema_ref(), &spec.schema) {
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let columns = batch.columns().to_vec();
        fitted = RecordBatch::try_new_with_options(Arc::clone(&spec.schema), columns, &options).map_err(unencodable)?;
        batch = &fitted;
    }
    let count = batch.num_rows();
    if count == 0 {
        return Ok(encoded);
    }
    let events = |rows: &RecordBatch| match spec.event_time {
        Some(event) => Events::of(rows.columns().get(event.column), event.limit_us(now_us)),
        None => Events::default(),
    };
    if count <= ROW_CODEC_ROWS_MAX {
        let mut bytes = Vec::with_capacity(count * (8 + 12 * batch.num_columns()));
        if rows::encode(batch, &mut bytes) && bytes.len() <= ROW_CODEC_BYTES_MAX {
            let events = events(batch);
            encoded.ahead = events.ahead;
            encoded.parts.push(EncodedPart {
                rows: counted(count as u64),
                event_us: events.newest_us,
                body: Body::Rows(bytes),
            });
            return Ok(encoded);
        }
    }
    let mut encoder = MessageEncoder::new(batch, compression)?;
    encoder.split(batch.clone(), &mut |rows, buffers| {
        let events = events(&rows);
        encoded.ahead += events.ahead;
        encoded.parts.push(EncodedPart {
            rows: counted(rows.num_rows() as u64),
            event_us: events.newest_us,
            body: Body::Message(buffers, rows),
        });
    })?;
    Ok(encoded)
}

/// Makes encapsulated IPC messages of batches with one schema.
pub struct MessageEncoder(StreamEncoder);

impl MessageEncoder {
    /// For batches with the schema of `batch`.
    pub fn new(batch: &RecordBatch, compression: Option<CompressionType>) -> Result<MessageEncoder, LogError> {
        let options = IpcWriteOptions::default()
            .try_with_compression(compression)
            .map_err(unencodable)?;
        let mut encoder = StreamEncoder::try_new_with_options(&batch.schema(), options).map_err(unencodable)?;
        // The first message brings the schema along; the log never repeats it.
        encoder.encode(&batch.slice(0, 0)).map_err(unencodable)?;
        Ok(MessageEncoder(encoder))
    }

    /// A message in pieces; large ones are the buffers of the arrays.
    pub fn encode(&mut self, rows: &RecordBatch) -> Result<Vec<Buffer>, LogError> {
        self.0.encode(rows).map_err(unencodable)
    }

    /// Encodes `rows` whole, or in halves while a message is too large.
    fn split(&mut self, rows: RecordBatch, put: &mut impl FnMut(RecordBatch, Vec<Buffer>)) -> Result<(), LogError> {
        let buffers = self.encode(&rows)?;
        let bytes: usize = buffers.iter().map(Buffer::len).sum();
        let count = rows.num_rows();
        if bytes <= MESSAGE_BYTES_TARGET || (count == 1 && bytes <= ROW_BYTES_MAX) {
            put(rows, buffers);
            return Ok(());
        }
        if count == 1 {
            return Err(LogError::RowTooBig {
                bytes,
                bytes_max: ROW_BYTES_MAX,
            });
        }
        drop(buffers);
        self.split(rows.slice(0, count / 2), put)?;
        self.split(rows.slice(count / 2, count - count / 2), put)
    }
}

fn unencodable(error: arrow::error::ArrowError) -> LogError {
    LogError::Unencodable {
        reason: error.to_string(),
    }
}

/// The rows of an encapsulated IPC message, all columns or those; columns that are not compressed stay in `message`.
pub fn decode_message(message: &Buffer, schema: &SchemaRef, columns: Option<&[usize]>) -> Result<RecordBatch, Damage> {
    let damaged = |_| Damage::Contents("an Arrow message is unreadable");
    let short = Damage::Contents("an Arrow message is too short");
    let metadata = check_message(message)?.ok_or(short)?.metadata;
    let root = root_as_message(metadata).map_err(|_| Damage::Contents("an Arrow message is unreadable"))?;
    let batch = root
        .header_as_record_batch()
        .ok_or(Damage::Contents("an Arrow message is not a batch"))?;
    let body = message.slice(8 + metadata.len());
    let schema = Arc::clone(schema);
    contained(|| read_record_batch(&body, batch, schema, &HashMap::new(), columns, &root.version()).map_err(damaged))
}
