//! Encoding of a [`Commit`]'s rows for a frame, in the committing task, before anything is ordered.
//!
//! One rule: nothing here depends on the commit's place in the order, so it runs in parallel. Few rows take the row
//! codec, many an Arrow IPC message whose buffers are those of the arrays: large appends are not copied.
//! Not here: LSNs, offsets, watermarks (`sequencer`).

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::buffer::Buffer;
use arrow::ipc::CompressionType;

use super::events::Events;
use super::frame::ROW_BYTES_MAX;
use super::message::{MessageEncoder, unencodable};
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
    split(&mut encoder, batch.clone(), &mut |rows, buffers| {
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

/// Encodes `rows` whole, or in halves while a message is too large.
fn split(
    encoder: &mut MessageEncoder,
    rows: RecordBatch,
    put: &mut impl FnMut(RecordBatch, Vec<Buffer>),
) -> Result<(), LogError> {
    let buffers = encoder.encode(&rows)?;
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
    split(encoder, rows.slice(0, count / 2), put)?;
    split(encoder, rows.slice(count / 2, count - count / 2), put)
}
