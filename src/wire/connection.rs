//! One connection: reads messages, lets the session answer, writes what it says.
//!
//! While a statement runs the socket is read ahead, a little, so that a client that is gone is noticed and its
//! statement ends.

use std::time::Duration;

use bytes::BytesMut;
use hashbrown::HashMap;
use pgwire::error::PgWireError;
use pgwire::messages::{DecodeContext, PgWireFrontendMessage, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

use super::extended::Portal;
use super::{message, startup};
use crate::error::{SqlError, state};
use crate::session::{Cancel, Session, TransactionStatus, terminated};

/// Bytes waiting for the client above which they are written, though the answer is not complete.
const OUTPUT_BYTES: usize = 64 << 10;
/// Bytes that are read ahead while a statement runs.
const AHEAD_BYTES: usize = 64 << 10;

/// How long a session that is terminated may take to end by itself.
const TERMINATION_LIMIT: Duration = Duration::from_secs(5);
/// How long the client may take to hear why its connection ends.
const LAST_WORDS_LIMIT: Duration = Duration::from_secs(5);

/// Why a connection is over, other than by the client's Terminate.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("the client is gone")]
    Gone,
    #[error("the client took too long to introduce itself")]
    TimedOut,
    #[error("protocol violation: {0}")]
    Protocol(String),
    /// The client is to be told why.
    #[error("{0}")]
    Fatal(SqlError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// A stream with its buffers.
pub(super) struct Socket<S> {
    pub stream: S,
    pub input: BytesMut,
    pub output: BytesMut,
    pub context: DecodeContext,
    /// The text of the Query or Parse that was decoded last is not UTF-8, and was decoded with losses.
    pub invalid_text: bool,
}

impl<S> Socket<S> {
    pub fn new(stream: S) -> Socket<S> {
        let context = DecodeContext::new(ProtocolVersion::default());
        Socket {
            stream,
            input: startup::buffer(),
            output: startup::buffer(),
            context,
            invalid_text: false,
        }
    }

    /// A message that is there already.
    pub fn decode(&mut self) -> Result<Option<PgWireFrontendMessage>, Ended> {
        self.invalid_text = has_invalid_text(&self.input);
        match PgWireFrontendMessage::decode(&mut self.input, &self.context) {
            Ok(message) => Ok(message),
            Err(PgWireError::IoError(error)) => Err(Ended::Io(error)),
            Err(error) => Err(Ended::Protocol(error.to_string())),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// The next message; waits for it. Cancel safe.
    pub async fn read(&mut self) -> Result<PgWireFrontendMessage, Ended> {
        loop {
            if let Some(message) = self.decode()? {
                return Ok(message);
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(Ended::Gone);
            }
        }
    }

    /// The type of the next message, which is not taken; waits for it. Cancel safe.
    pub async fn next_kind(&mut self) -> Result<u8, Ended> {
        loop {
            if let Some(kind) = self.input.first() {
                return Ok(*kind);
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(Ended::Gone);
            }
        }
    }

    /// Writes what waits for the client.
    pub async fn flush(&mut self) -> Result<(), Ended> {
        if !self.output.is_empty() {
            self.stream.write_all_buf(&mut self.output).await?;
        }
        Ok(self.stream.flush().await?)
    }

    /// Writes it if it has become much.
    pub async fn flush_if_full(&mut self) -> Result<(), Ended> {
        if self.output.len() >= OUTPUT_BYTES {
            return self.flush().await;
        }
        Ok(())
    }
}

/// How the answer to a message failed.
pub(super) enum Failure {
    /// For the client (W1); the connection goes on.
    Error(SqlError),
    /// The connection is over.
    Ended(Ended),
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Self {
        Failure::Error(error)
    }
}

impl From<Ended> for Failure {
    fn from(ended: Ended) -> Self {
        Failure::Ended(ended)
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

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
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
    pub async fn run(mut self) -> Result<(), Ended> {
        let cancel = self.session.cancel_handle();
        let served = tokio::select! {
            biased;
            served = self.serve() => served,
            () = overdue(&cancel) => return Err(Ended::Gone),
        };
        match served {
            Err(Ended::Fatal(error)) => {
                message::fatal(&mut self.socket.output, &error);
                let told = tokio::time::timeout(LAST_WORDS_LIMIT, self.socket.flush());
                told.await.unwrap_or(Err(Ended::Gone))
            }
            served => served,
        }
    }

    async fn serve(&mut self) -> Result<(), Ended> {
        loop {
            let message = match self.next().await {
                Err(Ended::Protocol(reason)) => {
                    return Err(Ended::Fatal(SqlError::new(state::PROTOCOL_VIOLATION, reason)));
                }
                message => message?,
            };
            if matches!(message, PgWireFrontendMessage::Terminate(_)) {
                return Ok(());
            }
            self.answer(message).await?;
        }
    }

    /// The next message; ends with the session's patience, too.
    async fn next(&mut self) -> Result<PgWireFrontendMessage, Ended> {
        if let Some(message) = self.socket.decode()? {
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
        tokio::select! {
            biased;
            message = self.socket.read() => message,
            () = stopping(&mut self.stopped) => Err(Ended::Fatal(terminated())),
            () = cancel.stopped() => Err(Ended::Fatal(terminated())),
            error = idle_for_long => Err(Ended::Fatal(error)),
        }
    }

    async fn answer(&mut self, message: PgWireFrontendMessage) -> Result<(), Ended> {
        match message {
            PgWireFrontendMessage::Query(query) => {
                self.skipping = false;
                if self.socket.invalid_text {
                    message::error(&mut self.socket.output, &invalid_encoding());
                    self.session.fail();
                    return self.ready().await;
                }
                self.simple_query(&query.query).await
            }
            PgWireFrontendMessage::Sync(_) => self.sync().await,
            _ if self.skipping => Ok(()),
            // What a client still sends of a COPY that has failed already.
            PgWireFrontendMessage::CopyData(_)
            | PgWireFrontendMessage::CopyDone(_)
            | PgWireFrontendMessage::CopyFail(_) => Ok(()),
            PgWireFrontendMessage::Flush(_) => self.socket.flush().await,
            message => match self.extended_text(message).await {
                Ok(()) => Ok(()),
                Err(Failure::Ended(ended)) => Err(ended),
                Err(Failure::Error(error)) => {
                    self.goes_on(&error)?;
                    self.send_notices();
                    message::error(&mut self.socket.output, &error);
                    self.session.fail();
                    self.skipping = true;
                    // At once: a client in the middle of a COPY waits for it before it sends Sync.
                    self.socket.flush().await
                }
            },
        }
    }

    async fn extended_text(&mut self, message: PgWireFrontendMessage) -> Result<(), Failure> {
        if self.socket.invalid_text {
            return Err(Failure::Error(invalid_encoding()));
        }
        self.extended(message).await
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
        }
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

/// Whether the message at the start of `input` is a whole Query or Parse whose text is not UTF-8.
fn has_invalid_text(input: &[u8]) -> bool {
    let Some((head, rest)) = input.split_first_chunk::<5>() else {
        return false;
    };
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let Some(body) = length.checked_sub(4).and_then(|length| rest.get(..length)) else {
        return false;
    };
    match head[0] {
        b'Q' => std::str::from_utf8(body).is_err(),
        // Name and text; type OIDs after them.
        b'P' => body
            .split(|byte| *byte == 0)
            .take(2)
            .any(|text| std::str::from_utf8(text).is_err()),
        _ => false,
    }
}

fn invalid_encoding() -> SqlError {
    SqlError::new(
        state::CHARACTER_NOT_IN_REPERTOIRE,
        "invalid byte sequence for encoding \"UTF8\"",
    )
    .hint("The client encoding is always UTF8.")
}

/// Resolves when a session that shall end has had its time to do so: its client may take nothing of what it is sent.
async fn overdue(cancel: &Cancel) {
    cancel.stopped().await;
    tokio::time::sleep(TERMINATION_LIMIT).await;
}

/// Resolves when the server stops.
async fn stopping(stopped: &mut watch::Receiver<bool>) {
    // An error is the sender's end: the server is gone.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Runs what the session does for a message, while reading ahead from the client: ends with it if it is gone.
pub(super) async fn while_connected<S, T>(
    stream: &mut S,
    input: &mut BytesMut,
    running: impl Future<Output = T>,
) -> Result<T, Ended>
where
    S: AsyncRead + Unpin,
{
    tokio::pin!(running);
    loop {
        tokio::select! {
            biased;
            done = &mut running => return Ok(done),
            read = stream.read_buf(input), if input.len() < AHEAD_BYTES => {
                if read? == 0 {
                    return Err(Ended::Gone);
                }
            }
        }
    }
}
