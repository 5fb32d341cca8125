//! COPY over the connection: rows from the client into a session's COPY FROM STDIN, rows of a COPY TO STDOUT to it.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::BytesMut;
use pgwire::messages::copy::{CopyDone, CopyInResponse, CopyOutResponse};
use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::{AnswerFailure, Connection};
use super::copy_binary::{BinaryDecoder, BinaryEncoder};
use super::copy_in::CopyDecoder;
use super::copy_out::CopyEncoder;
use super::frontend::Frontend;
use super::message;
use super::send::{Encode, until};
use super::socket::{Ended, Peer};
use crate::error::{SqlError, state};
use crate::session::{Batches, CopyIn};
use crate::sql::field::OutField;
use crate::sql::statement::{CopyFormat, CopyKind};
use crate::types::TextStyle;

/// The decoder of one COPY's data.
enum FormatDecoder {
    Lines(CopyDecoder),
    Binary(BinaryDecoder),
}

impl FormatDecoder {
    fn new(copy: &CopyIn, style: &TextStyle) -> FormatDecoder {
        match copy.format.kind {
            CopyKind::Text | CopyKind::Csv => {
                FormatDecoder::Lines(CopyDecoder::new(&copy.table, &copy.columns, &copy.format, style))
            }
            CopyKind::Binary => FormatDecoder::Binary(BinaryDecoder::new(&copy.table, &copy.columns)),
        }
    }

    fn push(&mut self, data: &[u8]) -> Result<Option<RecordBatch>, SqlError> {
        match self {
            FormatDecoder::Lines(decoder) => decoder.push(data),
            FormatDecoder::Binary(decoder) => decoder.push(data),
        }
    }

    fn pending(&self) -> usize {
        match self {
            FormatDecoder::Lines(decoder) => decoder.pending(),
            FormatDecoder::Binary(decoder) => decoder.pending(),
        }
    }

    fn finish(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        match self {
            FormatDecoder::Lines(decoder) => decoder.finish(),
            FormatDecoder::Binary(decoder) => decoder.finish(),
        }
    }
}

/// Bytes that are decoded before other sessions have their turn.
const SLICE_BYTES: usize = 256 << 10;

/// The encoder of one COPY's rows.
enum Encoder {
    Lines(Box<CopyEncoder>),
    Binary(BinaryEncoder),
}

impl Encode for Encoder {
    fn encode(&mut self, batch: &RecordBatch, rows: Range<usize>, out: &mut BytesMut) -> Result<usize, SqlError> {
        match self {
            Encoder::Lines(encoder) => encoder.encode(batch, rows, out),
            Encoder::Binary(encoder) => encoder.encode(batch, rows, out),
        }
    }
}

/// The code of a format, as messages give it.
fn code(kind: CopyKind) -> i8 {
    match kind {
        CopyKind::Text | CopyKind::Csv => 0,
        CopyKind::Binary => 1,
    }
}

impl<S: AsyncRead + AsyncWrite + Peer + Unpin + Send> Connection<S> {
    pub(super) async fn copy_in(&mut self, mut copy: CopyIn) -> Result<(), AnswerFailure> {
        let columns = i16::try_from(copy.columns.len()).expect("a topic has at most 1600 columns");
        self.send_notices();
        let code = code(copy.format.kind);
        let response = CopyInResponse::new(code, columns, vec![i16::from(code); copy.columns.len()]);
        message::put(&mut self.socket.output, &response);
        self.socket.flush().await?;
        match self.receive(&mut copy).await {
            Ok(()) => {
                let tag = self.session.copy_finish(copy).await?;
                self.complete(tag);
                Ok(())
            }
            Err(failure) => {
                self.session.copy_abort(copy);
                Err(failure)
            }
        }
    }

    /// Decodes the client's data until CopyDone.
    async fn receive(&mut self, copy: &mut CopyIn) -> Result<(), AnswerFailure> {
        let mut decoder = Box::new(FormatDecoder::new(copy, self.session.text_style()));
        let cancel = self.session.cancel_handle();
        loop {
            let message = tokio::select! {
                biased;
                message = self.socket.read() => message?,
                error = cancel.requested() => return Err(error.into()),
            };
            match message.decode()? {
                Frontend::CopyData(data) => {
                    for slice in data.chunks(SLICE_BYTES) {
                        let rows;
                        (decoder, rows) = self.decode(decoder, slice).await?;
                        if let Some(rows) = rows {
                            until(&cancel, self.session.copy_append(copy, &rows)).await?;
                        }
                        self.socket.give_way().await?;
                    }
                }
                Frontend::CopyDone => {
                    let rows = if decoder.pending() <= SLICE_BYTES {
                        decoder.finish()?
                    } else {
                        let finished = self.session.compute(move || decoder.finish());
                        until(&cancel, finished).await?
                    };
                    if let Some(rows) = rows {
                        until(&cancel, self.session.copy_append(copy, &rows)).await?;
                    }
                    return Ok(());
                }
                Frontend::CopyFail(reason) => {
                    return Err(
                        SqlError::new(state::QUERY_CANCELED, format!("COPY from stdin failed: {reason}")).into(),
                    );
                }
                // Drivers send the Sync of the statement before its data.
                Frontend::Flush | Frontend::Sync => continue,
                Frontend::Terminate => return Err(Ended::Gone.into()),
                _ => {
                    return Err(SqlError::new(
                        state::PROTOCOL_VIOLATION,
                        format!("unexpected message type 0x{:02X} during COPY from stdin", message.kind),
                    )
                    .into());
                }
            }
        }
    }

    /// Decodes a slice of the data; elsewhere, if it may end a row that is longer than a slice.
    async fn decode(
        &mut self,
        mut decoder: Box<FormatDecoder>,
        slice: &[u8],
    ) -> Result<(Box<FormatDecoder>, Option<RecordBatch>), SqlError> {
        if decoder.pending() <= SLICE_BYTES {
            let rows = decoder.push(slice)?;
            return Ok((decoder, rows));
        }
        let cancel = self.session.cancel_handle();
        let slice = slice.to_vec();
        let decoding = self.session.compute(move || {
            let rows = decoder.push(&slice)?;
            Ok((decoder, rows))
        });
        until(&cancel, decoding).await
    }

    pub(super) async fn copy_out(
        &mut self,
        fields: &Arc<[OutField]>,
        mut batches: Batches,
        format: &CopyFormat,
    ) -> Result<(), AnswerFailure> {
        let columns = i16::try_from(fields.len())
            .map_err(|_| SqlError::new(state::PROGRAM_LIMIT_EXCEEDED, "too many columns for COPY"))?;
        self.send_notices();
        let code = code(format.kind);
        message::put(
            &mut self.socket.output,
            &CopyOutResponse::new(code, columns, vec![i16::from(code); fields.len()]),
        );
        let style = &self.session.row_style(fields);
        let mut encoder = match format.kind {
            CopyKind::Text | CopyKind::Csv => {
                let encoder = CopyEncoder::new(fields, format, style);
                encoder.header(&mut self.socket.output)?;
                Encoder::Lines(Box::new(encoder))
            }
            CopyKind::Binary => Encoder::Binary(BinaryEncoder::new(fields, style)),
        };
        let mut sent = 0u64;
        while let Some(batch) = self.next_batch(&mut batches).await? {
            encoder = self.send_batch(encoder, &batch, 0..batch.num_rows()).await?;
            sent += batch.num_rows() as u64;
        }
        if let Encoder::Binary(encoder) = encoder {
            encoder.finish(&mut self.socket.output)?;
        }
        message::put(&mut self.socket.output, &CopyDone::new());
        self.complete(format!("COPY {sent}"));
        Ok(())
    }
}
