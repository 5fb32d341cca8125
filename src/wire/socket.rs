//! A client's stream with its buffers: whole messages in, answers out.
//!
//! One rule: a client's claims cost nothing. The input grows with the bytes that have come, the output is written
//! once it is full, and a buffer that a large message has grown is dropped after it. Not here: the meaning of messages.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures::FutureExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;

use super::frontend::{self, Frontend, Phase};
use crate::error::SqlError;

/// Room for one read of a session.
const READ_BYTES: usize = 16 << 10;
/// Room for one read of a client that has not logged in.
const READ_BYTES_BEFORE_LOGIN: usize = 1 << 10;
/// Bytes that are read ahead while a statement runs.
const AHEAD_BYTES: usize = 64 << 10;
/// Bytes waiting for the client above which they are written, though the answer is not complete.
pub(super) const OUTPUT_BYTES: usize = 64 << 10;
/// Bytes that are written before other sessions have their turn.
const WRITE_BYTES: usize = 256 << 10;

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("the client is gone")]
    Gone,
    #[error("the client took too long to introduce itself")]
    TimedOut,
    /// Before its login.
    #[error("the place was needed")]
    Displaced,
    /// The client gets the error, and the connection is closed.
    #[error("{0}")]
    Fatal(SqlError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}
/// A buffer that had to hold more is not kept.
const KEPT_BYTES: usize = 1 << 20;
/// Time that a session works on end while others of its thread wait.
const TURN: Duration = Duration::from_millis(1);
/// Time that a client may have sent more than is read ahead before the server asks whether it is still connected.
const LOOK: Duration = Duration::from_millis(100);

/// A stream that can tell whether anybody is at its other end.
pub(super) trait Peer {
    /// The client has closed its side, even if some of its bytes are still unread.
    fn is_gone(&self) -> bool;
}

impl Peer for TcpStream {
    fn is_gone(&self) -> bool {
        let ready = self.ready(Interest::READABLE).now_or_never();
        ready.is_some_and(|ready| ready.is_ok_and(|ready| ready.is_read_closed()))
    }
}

impl Peer for TlsStream<TcpStream> {
    fn is_gone(&self) -> bool {
        self.get_ref().0.is_gone()
    }
}

#[cfg(test)]
impl Peer for tokio::io::DuplexStream {
    fn is_gone(&self) -> bool {
        false
    }
}

/// A message, taken out of the input.
pub(super) struct Incoming {
    /// 0 if the message has no type.
    pub kind: u8,
    /// The bytes after type and length; of a message without a type, all of it.
    pub body: Bytes,
}

impl Incoming {
    pub fn decode(&self) -> Result<Frontend<'_>, SqlError> {
        frontend::decode(self.kind, &self.body)
    }
}

pub(super) struct Socket<S> {
    stream: S,
    input: BytesMut,
    pub output: BytesMut,
    phase: Phase,
    /// Bytes of the message at the start of the input that have not come.
    missing: usize,
    /// Bytes behind the input.
    surplus: Surplus,
    /// Since when more has come than is read ahead.
    full_since: Option<Instant>,
    /// Since when the session has worked without letting others go on.
    turn: Instant,
}

impl<S> Socket<S> {
    pub fn new(stream: S) -> Socket<S> {
        Socket {
            stream,
            input: BytesMut::new(),
            output: BytesMut::new(),
            phase: Phase::Opening,
            missing: 0,
            surplus: Surplus::default(),
            full_since: None,
            turn: Instant::now(),
        }
    }

    /// Messages of `phase` come from here on.
    pub fn enter(&mut self, phase: Phase) {
        self.phase = phase;
    }

    /// The stream, if nothing that came from it is unused.
    pub fn into_stream(self) -> Option<S> {
        self.input.is_empty().then_some(self.stream)
    }

    /// The type of the next message, which is not taken, if it has come.
    pub fn kind_there(&mut self) -> Option<u8> {
        if self.input.is_empty() {
            self.surplus.move_to(&mut self.input, 0);
        }
        self.input.first().copied()
    }

    /// Since when no more is read ahead, if that is so.
    fn full_since(&mut self) -> Option<Instant> {
        if self.input.len() < AHEAD_BYTES && self.surplus.bytes.is_empty() {
            return None;
        }
        Some(*self.full_since.get_or_insert_with(Instant::now))
    }

    /// A message that has come already.
    pub fn take(&mut self) -> Result<Option<Incoming>, Ended> {
        let length = frontend::length(self.phase, &self.input).map_err(Ended::Fatal)?;
        let Some(length) = length.filter(|length| *length <= self.input.len()) else {
            self.missing = length.map_or(0, |length| length - self.input.len());
            return Ok(None);
        };
        self.missing = 0;
        if self.phase == Phase::Opening {
            let body = self.input.split_to(length).freeze();
            return Ok(Some(Incoming { kind: 0, body }));
        }
        const HEAD: usize = 5;
        let kind = self.input[0];
        self.input.advance(HEAD);
        let body = match length - HEAD {
            0 => Bytes::new(),
            length => self.input.split_to(length).freeze(),
        };
        if length > KEPT_BYTES {
            // The body holds all of the large buffer, and is dropped first.
            self.input = BytesMut::from(&self.input[..]);
        }
        Ok(Some(Incoming { kind, body }))
    }

    /// Makes room for a read: for the rest of the message, but no more than has come of it.
    fn make_room(&mut self) {
        let usual = match self.phase {
            Phase::Session => READ_BYTES,
            Phase::Opening | Phase::Login => READ_BYTES_BEFORE_LOGIN,
        };
        if self.input.capacity() - self.input.len() < usual / 4 {
            let believed = self.input.len().max(usual);
            self.input.reserve(self.missing.clamp(usual, believed));
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Peer + Unpin> Socket<S> {
    /// The next message; waits for it. Cancel safe.
    pub async fn read(&mut self) -> Result<Incoming, Ended> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(message);
            }
            self.fill().await?;
        }
    }

    /// The type of the next message, which is not taken; waits for it. Cancel safe.
    pub async fn next_kind(&mut self) -> Result<u8, Ended> {
        loop {
            if let Some(kind) = self.kind_there() {
                return Ok(kind);
            }
            self.fill().await?;
        }
    }

    /// Reads the next bytes.
    async fn fill(&mut self) -> Result<(), Ended> {
        if !self.surplus.bytes.is_empty() {
            self.surplus.move_to(&mut self.input, self.missing);
            return Ok(());
        }
        self.full_since = None;
        self.make_room();
        let mut reading = pin!(self.stream.read_buf(&mut self.input));
        let read = match futures::poll!(&mut reading) {
            std::task::Poll::Ready(read) => read,
            std::task::Poll::Pending => {
                let read = reading.await;
                self.turn = Instant::now();
                read
            }
        };
        match read? {
            0 => Err(Ended::Gone),
            _ => Ok(()),
        }
    }

    /// Writes the bytes that wait for the client.
    pub async fn flush(&mut self) -> Result<(), Ended> {
        if !self.output.is_empty() {
            let large = self.output.len() > KEPT_BYTES;
            while !self.output.is_empty() {
                let slice = self.output.len().min(WRITE_BYTES);
                match self.stream.write(&self.output[..slice]).await? {
                    0 => return Err(Ended::Gone),
                    written => self.output.advance(written),
                }
                if !self.output.is_empty() {
                    // A client that takes as fast as this gives is not to keep others waiting.
                    tokio::task::yield_now().await;
                }
            }
            if large {
                self.output = BytesMut::new();
            }
        }
        Ok(self.stream.flush().await?)
    }

    /// Between two pieces of work: writes the output if it is full, and after a while of work lets others of the thread
    /// go on, and ends with a client that is gone.
    pub async fn give_way(&mut self) -> Result<(), Ended> {
        if self.output.len() >= OUTPUT_BYTES {
            self.flush().await?;
        }
        if self.turn.elapsed() >= TURN {
            tokio::task::yield_now().await;
            if self.stream.is_gone() {
                return Err(Ended::Gone);
            }
            if self.full_since().is_some_and(|since| since.elapsed() >= LOOK) {
                while let Some(read) = self.surplus.read(&mut self.stream).now_or_never() {
                    read?;
                }
            }
            self.turn = Instant::now();
        }
        Ok(())
    }

    /// Runs the session's work for a message, while reading ahead from the client: ends it if the client is gone.
    pub async fn while_connected<T>(&mut self, running: impl Future<Output = T>) -> Result<T, Ended> {
        let mut running = pin!(running);
        loop {
            let full_since = self.full_since();
            tokio::select! {
                biased;
                done = &mut running => return Ok(done),
                read = self.read_ahead(full_since) => read?,
            }
        }
    }

    /// Reads bytes that come while the session is busy: after a while also more than it can use. Cancel safe.
    async fn read_ahead(&mut self, full_since: Option<Instant>) -> Result<(), Ended> {
        if let Some(since) = full_since {
            tokio::time::sleep_until(since + LOOK).await;
            return self.surplus.read(&mut self.stream).await;
        }
        match self.stream.read_buf(&mut self.input).await? {
            0 => Err(Ended::Gone),
            _ => Ok(()),
        }
    }

    /// Writes the bytes that wait, and ends the stream.
    pub async fn shutdown(&mut self) -> Result<(), Ended> {
        self.flush().await?;
        Ok(self.stream.shutdown().await?)
    }
}

/// Bytes that a client sent ahead of a session that is busy: read only to find whether it is gone, since the end of the
/// stream comes behind them.
#[derive(Default)]
struct Surplus {
    bytes: BytesMut,
}

/// Bytes of one.
const SURPLUS_MAX: usize = 16 << 20;
/// Bytes of all connections, about.
const SURPLUS_ALL_MAX: usize = 64 << 20;
static SURPLUS_ALL: AtomicUsize = AtomicUsize::new(0);

impl Surplus {
    /// Reads some more, once there is room for it. Cancel safe.
    async fn read<S: AsyncRead + Peer + Unpin>(&mut self, stream: &mut S) -> Result<(), Ended> {
        while self.bytes.len() >= SURPLUS_MAX || SURPLUS_ALL.load(Ordering::Relaxed) >= SURPLUS_ALL_MAX {
            if stream.is_gone() {
                return Err(Ended::Gone);
            }
            tokio::time::sleep(LOOK).await;
        }
        if self.bytes.capacity() - self.bytes.len() < READ_BYTES {
            self.bytes.reserve(AHEAD_BYTES);
        }
        let read = stream.read_buf(&mut self.bytes).await?;
        SURPLUS_ALL.fetch_add(read, Ordering::Relaxed);
        match read {
            0 => Err(Ended::Gone),
            _ => Ok(()),
        }
    }

    /// Moves the missing bytes of a message to `input`, and some more.
    fn move_to(&mut self, input: &mut BytesMut, missing: usize) {
        let moved = missing.max(AHEAD_BYTES).min(self.bytes.len());
        input.extend_from_slice(&self.bytes[..moved]);
        self.bytes.advance(moved);
        SURPLUS_ALL.fetch_sub(moved, Ordering::Relaxed);
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
        }
    }
}

impl Drop for Surplus {
    fn drop(&mut self) {
        SURPLUS_ALL.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}
