//! A client's stream with its buffers: whole messages in, answers out.
//!
//! One rule: what a client claims costs nothing. The input grows with the bytes that have come, the output is written
//! once it is full, and a buffer that a large message has grown is given up after it. Not here: what messages are.

use std::pin::pin;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures::FutureExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;

use super::connection::Ended;
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
/// A buffer that had to hold more is not kept.
const KEPT_BYTES: usize = 1 << 20;
/// How long a session works on end while others of its thread wait.
const TURN: Duration = Duration::from_millis(1);
/// How often a client that has sent more than is read ahead is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// A stream that can tell whether anybody is at its other end.
pub(super) trait Peer {
    /// The client has closed its side, whatever of it is still unread.
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

/// A message, taken out of the input.
pub(super) struct Incoming {
    /// 0 if the message has no type.
    pub kind: u8,
    /// What follows type and length; of a message without a type, all of it.
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
    pub fn kind_there(&self) -> Option<u8> {
        self.input.first().copied()
    }

    /// A message that is there already.
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

    /// Makes room for a read: what the message lacks, but no more than has come of it.
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

    /// Reads what comes next.
    async fn fill(&mut self) -> Result<(), Ended> {
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

    /// Writes what waits for the client.
    pub async fn flush(&mut self) -> Result<(), Ended> {
        if !self.output.is_empty() {
            let large = self.output.len() > KEPT_BYTES;
            self.stream.write_all_buf(&mut self.output).await?;
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
            self.turn = Instant::now();
        }
        Ok(())
    }

    /// Runs what the session does for a message, while reading ahead from the client: ends with it if it is gone.
    pub async fn while_connected<T>(&mut self, running: impl Future<Output = T>) -> Result<T, Ended> {
        let mut running = pin!(running);
        loop {
            let ahead = self.input.len() < AHEAD_BYTES;
            tokio::select! {
                biased;
                done = &mut running => return Ok(done),
                read = self.stream.read_buf(&mut self.input), if ahead => {
                    if read? == 0 {
                        return Err(Ended::Gone);
                    }
                }
                () = async { tokio::time::sleep(LOOK).await }, if !ahead => {
                    if self.stream.is_gone() {
                        return Err(Ended::Gone);
                    }
                }
            }
        }
    }

    /// Writes what waits, and says that nothing follows.
    pub async fn shutdown(&mut self) -> Result<(), Ended> {
        self.flush().await?;
        Ok(self.stream.shutdown().await?)
    }
}
