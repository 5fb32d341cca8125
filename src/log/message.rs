//! Encapsulated Arrow IPC messages: rows without their schema.
//!
//! One rule: the buffers of a message are those of the arrays, so that large batches are not copied. Not here: whole streams
//! (`encoding`), and the check of bytes from a disk (`ipc`).

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::read_record_batch;
use arrow::ipc::root_as_message;
use arrow::ipc::writer::{IpcWriteOptions, StreamEncoder};

use super::LogError;
use super::damage::Damage;
use super::ipc::{check_message, contained};

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
}

pub fn unencodable(error: arrow::error::ArrowError) -> LogError {
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
