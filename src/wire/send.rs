//! Rows on their way to the client: encoded in portions, and written as the client takes them.
//!
//! One rule: portions are small, and between two of them other sessions have their turn. The threads for computing encode a
//! batch whose rows are large.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::{AnswerFailure, Connection};
use super::rows::RowEncoder;
use super::socket::Peer;
use crate::error::SqlError;
use crate::session::Cancel;

/// Rows that are encoded before others go on.
const ROWS_AT_ONCE: usize = 256;
/// Bytes of a batch above which it is encoded elsewhere: one of its rows may have as many.
const BATCH_BYTES: usize = 4 << 20;

/// An encoder of rows as messages.
pub(super) trait Encode: Send + 'static {
    /// Appends a message for each of `rows` until `out` is full; returns their number. After an error `out` ends with a
    /// whole message.
    fn encode(&mut self, batch: &RecordBatch, rows: Range<usize>, out: &mut BytesMut) -> Result<usize, SqlError>;
}

impl Encode for Arc<RowEncoder> {
    fn encode(&mut self, batch: &RecordBatch, rows: Range<usize>, out: &mut BytesMut) -> Result<usize, SqlError> {
        RowEncoder::encode(self, batch, rows, out)
    }
}

/// Whether the rows of a batch may be large.
fn is_large(batch: &RecordBatch) -> bool {
    // Its buffers take at least as much as its rows.
    if batch.get_array_memory_size() <= BATCH_BYTES {
        return false;
    }
    let columns = batch.columns().iter();
    let bytes = columns.map(|column| column.to_data().get_slice_memory_size().unwrap_or(usize::MAX));
    bytes.fold(0, usize::saturating_add) > BATCH_BYTES
}

/// Runs `work` to its end, or until the statement shall end before.
pub(super) async fn until<T>(cancel: &Cancel, work: impl Future<Output = Result<T, SqlError>>) -> Result<T, SqlError> {
    tokio::select! {
        biased;
        result = work => result,
        error = cancel.requested() => Err(error),
    }
}

impl<S: AsyncRead + AsyncWrite + Peer + Unpin + Send> Connection<S> {
    /// Writes rows, waiting for the client whenever it is behind. Gives the encoder back.
    pub(super) async fn send_batch<E: Encode>(
        &mut self,
        mut encoder: E,
        batch: &RecordBatch,
        mut rows: Range<usize>,
    ) -> Result<E, AnswerFailure> {
        let large = is_large(batch);
        let mut size = ROWS_AT_ONCE;
        while !rows.is_empty() {
            let portion = rows.start..rows.end.min(rows.start + size);
            let encoded = if large {
                self.socket.flush().await?;
                let batch = batch.clone();
                let encoding = self.session.compute(move || {
                    let mut out = BytesMut::new();
                    let encoded = encoder.encode(&batch, portion, &mut out);
                    Ok((encoder, out, encoded))
                });
                let cancel = self.session.cancel_handle();
                let (back, out, encoded) = self.socket.while_connected(until(&cancel, encoding)).await??;
                encoder = back;
                self.socket.output = out;
                encoded?
            } else {
                encoder.encode(batch, portion, &mut self.socket.output)?
            };
            rows.start += encoded;
            // Fewer at once where a few fill the output.
            size = (2 * encoded).clamp(1, ROWS_AT_ONCE);
            self.socket.give_way().await?;
        }
        Ok(encoder)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, StringArray};

    use super::*;

    #[test]
    fn a_part_of_a_large_batch_is_not_large() {
        let text = "x".repeat(10_000);
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..2000).map(|_| &text)));
        let batch = RecordBatch::try_from_iter([("a", texts)]).expect("one column");
        assert!(is_large(&batch));
        assert!(!is_large(&batch.slice(5, 2)));
    }
}
