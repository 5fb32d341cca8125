//! One connection: reads messages, lets the session answer, writes the answers.
//!
//! While a statement runs the socket is read ahead, a little, so that a client that is gone is noticed and its
//! statement ends; and between the messages of a pipeline the session gives way to others of its thread.

use std::time::Duration;

use hashbrown::HashMap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::frontend::Frontend;
use super::message;
use super::portal::Portal;
use super::socket::{Ended, Incoming, Peer, Socket};
use crate::error::{SqlError, state};
use crate::panics;
use crate::session::{Cancel, Session, TransactionStatus, terminated};

/// Time that a session that is terminated may take to end by itself.
const TERMINATION_LIMIT: Duration = Duration::from_secs(5);

/// The failure of the answer to a message.
pub(super) enum AnswerFailure {
    /// For the client (W1); the connection goes on.
    Error(SqlError),
    /// The connection is over.
    Ended(Ended),
}

impl From<SqlError> for AnswerFailure {
    fn from(error: SqlError) -> Self {
        AnswerFailure::Error(error)
    }
}

impl From<Ended> for AnswerFailure {
    fn from(ended: Ended) -> Self {
        AnswerFailure::Ended(ended)
    }
}

pub(super) struct Connection<S> {
    pub socket: Socket<S>,
    pub session: Session,
    pub portals: HashMap<String, Portal>,
    /// An error in an extended query: messages are skipped up to Sync (W1).
    pub skipping: bool,
    /// Messages of an extended query have run since the last Sync.
    pub in_pipeline: bool,
    stopped: watch::Receiver<bool>,
}

impl<S: AsyncRead + AsyncWrite + Peer + Unpin + Send> Connection<S> {
    pub fn new(socket: Socket<S>, session: Session, stopped: watch::Receiver<bool>) -> Connection<S> {
        Connection {
            socket,
            session,
            portals: HashMap::new(),
            skipping: false,
            in_pipeline: false,
            stopped,
        }
    }

    /// Serves the client to its end, or to that of a session that is terminated.
    pub async fn run(&mut self) -> Ended {
        let cancel = self.session.cancel_handle();
        tokio::select! {
            biased;
            ended = self.serve() => ended.err().unwrap_or(Ended::Gone),
            () = overdue(&cancel) => Ended::Gone,
        }
    }

    async fn serve(&mut self) -> Result<(), Ended> {
        loop {
            let message = self.next().await?;
            let status = self.session.status();
            let answered = {
                // Pinned where it is: the future is large, and would be moved for each message.
                let answering = std::pin::pin!(self.answer(&message));
                panics::caught(answering).await
            };
            match answered {
                Ok(answered) => answered?,
                Err(error) => self.give_up(message.kind, status, &error).await?,
            }
            drop(message);
            self.socket.give_way().await?;
            // Messages that have come already are taken before the look at it above.
            if *self.stopped.borrow() {
                return Err(Ended::Fatal(terminated()));
            }
        }
    }

    /// The next message; ends with the session's patience, too.
    async fn next(&mut self) -> Result<Incoming, Ended> {
        if let Some(message) = self.socket.take()? {
            return Ok(message);
        }
        self.session.waits();
        let cancel = self.session.cancel_handle();
        let limit = match self.in_pipeline {
            true => None,
            false => self.session.idle_limit(),
        };
        let idle_for_long = async {
            match limit {
                None => std::future::pending().await,
                Some((limit, error)) => {
                    tokio::time::sleep(limit).await;
                    error
                }
            }
        };
        let mut idle_for_long = std::pin::pin!(idle_for_long);
        let (told, inbox) = (!self.in_pipeline, self.session.inbox());
        let told = told && self.session.status() == TransactionStatus::Idle;
        loop {
            tokio::select! {
                biased;
                message = self.socket.read() => return message,
                () = stopping(&mut self.stopped) => return Err(Ended::Fatal(terminated())),
                () = cancel.stopped() => return Err(Ended::Fatal(terminated())),
                () = inbox.arrived(), if told => {}
                error = &mut idle_for_long => return Err(Ended::Fatal(error)),
            }
            self.send_notifications();
            self.socket.flush().await?;
        }
    }

    fn send_notifications(&mut self) {
        for notification in self.session.take_notifications() {
            message::notification(&mut self.socket.output, notification);
        }
    }

    async fn answer(&mut self, message: &Incoming) -> Result<(), Ended> {
        if self.skipping && !matches!(message.kind, b'S' | b'X') {
            return Ok(());
        }
        let decoded = match message.decode() {
            Ok(decoded) => decoded,
            Err(error) => return self.refuse(message.kind, error).await,
        };
        match decoded {
            Frontend::Query(text) => self.simple_query(text).await,
            Frontend::Sync => self.sync().await,
            Frontend::Terminate => Err(Ended::Gone),
            // The rest of a COPY that has failed already.
            Frontend::CopyData(_) | Frontend::CopyDone | Frontend::CopyFail(_) => Ok(()),
            Frontend::Flush => self.socket.flush().await,
            Frontend::FunctionCall => {
                let error = SqlError::unsupported(
                    "function calls of the protocol are not supported",
                    "Call the function in a SELECT.",
                );
                self.refuse(message.kind, error).await
            }
            decoded => match self.extended(decoded).await {
                Ok(()) => Ok(()),
                Err(AnswerFailure::Ended(ended)) => Err(ended),
                Err(AnswerFailure::Error(error)) => self.refuse(message.kind, error).await,
            },
        }
    }

    /// Answers a message of this type with an error (W1).
    async fn refuse(&mut self, kind: u8, error: SqlError) -> Result<(), Ended> {
        self.goes_on(&error)?;
        self.send_notices();
        message::error(&mut self.socket.output, &error);
        self.session.fail();
        match kind {
            b'Q' | b'F' => {
                self.skipping = false;
                self.ready().await
            }
            b'S' => {
                self.skipping = true;
                self.sync().await
            }
            _ => {
                self.skipping = true;
                // At once: a client in the middle of a COPY waits for it before it sends Sync.
                self.socket.flush().await
            }
        }
    }

    /// Answers a message whose work panicked: the work is discarded, the session goes on.
    async fn give_up(&mut self, kind: u8, status: TransactionStatus, error: &SqlError) -> Result<(), Ended> {
        message::cut(&mut self.socket.output);
        self.session.give_up(status);
        self.in_pipeline = false;
        self.refuse(kind, error.clone()).await
    }

    async fn sync(&mut self) -> Result<(), Ended> {
        if self.in_pipeline {
            self.in_pipeline = false;
            if let Err(error) = self.session.end_batch(!self.skipping).await {
                self.goes_on(&error)?;
                self.send_notices();
                message::error(&mut self.socket.output, &error);
            }
        }
        self.skipping = false;
        self.ready().await
    }

    /// Whether the connection outlives an error.
    pub fn goes_on(&self, error: &SqlError) -> Result<(), Ended> {
        match error.state == state::ADMIN_SHUTDOWN && self.session.is_terminated() {
            true => Err(Ended::Fatal(error.clone())),
            false => Ok(()),
        }
    }

    /// Notices, changed settings, ReadyForQuery.
    pub async fn ready(&mut self) -> Result<(), Ended> {
        self.send_notices();
        if self.session.status() == TransactionStatus::Idle {
            self.portals.clear();
            self.session.forget_portals();
        }
        self.send_notifications();
        self.session.answered();
        message::ready(&mut self.socket.output, self.session.status());
        self.socket.flush().await
    }

    pub fn send_notices(&mut self) {
        for notice in self.session.take_notices() {
            message::notice(&mut self.socket.output, &notice);
        }
        for (name, value) in self.session.take_parameter_changes() {
            message::parameter(&mut self.socket.output, name, value);
        }
    }
}

/// Resolves when a session that shall end has had its time to do so: its client may not read its answers.
async fn overdue(cancel: &Cancel) {
    cancel.stopped().await;
    tokio::time::sleep(TERMINATION_LIMIT).await;
}

/// Resolves when the server stops.
async fn stopping(stopped: &mut watch::Receiver<bool>) {
    // An error is the sender's end: the server is gone.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

#[cfg(test)]
mod tests;
