//! The simple query protocol: a string of statements, each answered in turn; several are one implicit transaction.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::StreamExt;
use pgwire::messages::response::EmptyQueryResponse;
use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::{AnswerFailure, Connection};
use super::message;
use super::rows::RowEncoder;
use super::socket::{Ended, Peer};
use crate::session::{Batches, Outcome, Parameters};
use crate::sql::field::OutField;
use crate::sql::parse::Parsed;
use crate::sql::statement::Statement;

impl<S: AsyncRead + AsyncWrite + Peer + Unpin + Send> Connection<S> {
    pub(super) async fn simple_query(&mut self, text: &str) -> Result<(), Ended> {
        // The unnamed portal lasts until the next Bind or Query.
        self.portals.remove("");
        self.session.forget_portal("");
        match self.statements(text).await {
            Ok(()) => {}
            Err(AnswerFailure::Ended(ended)) => return Err(ended),
            Err(AnswerFailure::Error(error)) => {
                self.goes_on(&error)?;
                self.send_notices();
                message::error(&mut self.socket.output, &error);
            }
        }
        self.ready().await
    }

    async fn statements(&mut self, text: &str) -> Result<(), AnswerFailure> {
        let parsing = self.session.parse(text);
        let parsed = self.socket.while_connected(parsing).await?;
        let statements = parsed.inspect_err(|_| self.session.fail())?;
        if statements.is_empty() {
            message::put(&mut self.socket.output, &EmptyQueryResponse::new());
            return Ok(());
        }
        let several = statements.len() > 1;
        if several {
            self.session.begin_batch();
        }
        let mut result = Ok(());
        for statement in &statements {
            result = self.statement(statement).await;
            if result.is_err() {
                break;
            }
            self.socket.give_way().await?;
        }
        if matches!(result, Err(AnswerFailure::Error(_))) {
            self.session.fail();
        }
        if several {
            self.session.end_batch(result.is_ok()).await?;
        }
        result
    }

    async fn statement(&mut self, statement: &Parsed) -> Result<(), AnswerFailure> {
        let parameters = Parameters::default();
        let lent = self.lend_portal(Some(statement)).await?;
        let format = match &statement.statement {
            Statement::Fetch(fetch) => i16::from(self.session.is_binary_cursor(&fetch.cursor)),
            _ => 0,
        };
        let running = self.session.execute(statement, &parameters);
        let outcome = self.socket.while_connected(running).await?;
        self.take_back(lent);
        let outcome = outcome?;
        match outcome {
            Outcome::Rows {
                fields,
                mut batches,
                tag,
            } => {
                let formats = vec![format; fields.len()];
                // An error that comes before the first row comes instead of their description.
                let first = self.next_batch(&mut batches).await?;
                self.send_notices();
                message::row_description(&mut self.socket.output, &fields, &formats);
                let rows = self.send_rows(&fields, first, batches, &formats).await?;
                self.complete(tag.text(rows));
            }
            Outcome::Command(tag) => self.complete(tag),
            Outcome::CopyIn(copy) => self.copy_in(copy).await?,
            Outcome::CopyOut {
                fields,
                batches,
                format,
            } => self.copy_out(&fields, batches, &format).await?,
            Outcome::Empty => message::put(&mut self.socket.output, &EmptyQueryResponse::new()),
        }
        Ok(())
    }

    /// Notices come before the tag of the statement that they belong to.
    pub(super) fn complete(&mut self, tag: String) {
        self.send_notices();
        message::complete(&mut self.socket.output, tag);
    }

    async fn send_rows(
        &mut self,
        fields: &Arc<[OutField]>,
        first: Option<RecordBatch>,
        mut batches: Batches,
        formats: &[i16],
    ) -> Result<u64, AnswerFailure> {
        let mut encoder = Arc::new(RowEncoder::new(fields, formats, &self.session.row_style(fields)));
        let mut rows = 0;
        let mut next = first;
        while let Some(batch) = next {
            encoder = self.send_batch(encoder, &batch, 0..batch.num_rows()).await?;
            rows += batch.num_rows() as u64;
            next = self.next_batch(&mut batches).await?;
        }
        Ok(rows)
    }

    /// The next rows of a running query; 57014 if it is cancelled meanwhile.
    pub(super) async fn next_batch(&mut self, batches: &mut Batches) -> Result<Option<RecordBatch>, AnswerFailure> {
        let cancel = self.session.cancel_handle();
        let next = async {
            tokio::select! {
                biased;
                error = cancel.requested() => Some(Err(error)),
                batch = batches.next() => batch,
            }
        };
        let batch = self.socket.while_connected(next).await?;
        Ok(batch.transpose()?)
    }
}
