//! The messages of clients, decoded: their ends, and their contents.
//!
//! One rule: trust nothing. A decoder checks a length before it waits for the bytes, and a count before it makes anything
//! for it; it must use a message up exactly, and refuses any other with 08P01 in PostgreSQL's words. Pure functions of bytes
//! that copy nothing. Not here: the meaning and the order of messages.

use crate::error::{SqlError, state};
use crate::types::utf8;

/// Bytes of a startup packet without its length, as PostgreSQL's.
const STARTUP_BYTES_MAX: usize = 10_000;
/// Bytes of a message of the login. PostgreSQL takes 64 KiB; the messages of SCRAM have some hundred.
const LOGIN_BYTES_MAX: usize = 10_000;
/// Bytes of a message that carries a statement or data.
const LARGE_BYTES_MAX: usize = 0x3fff_fffe;
/// Bytes of any other message.
const SMALL_BYTES_MAX: usize = 10_000;

const SSL_REQUEST: (u16, u16) = (1234, 5679);
const GSS_REQUEST: (u16, u16) = (1234, 5680);
const CANCEL_REQUEST: (u16, u16) = (1234, 5678);
/// Bytes of a key of cancellation.
const CANCEL_KEY_BYTES_MAX: usize = 256;

/// One message of a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frontend<'a> {
    Query(&'a str),
    Parse(Parse<'a>),
    Bind(Bind<'a>),
    Describe(Target<'a>),
    Close(Target<'a>),
    Execute { portal: &'a str, rows_max: i32 },
    Flush,
    Sync,
    Terminate,
    FunctionCall,
    CopyData(&'a [u8]),
    CopyDone,
    CopyFail(&'a str),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parse<'a> {
    pub name: &'a str,
    pub query: &'a str,
    types: &'a [u8],
}

impl Parse<'_> {
    /// OIDs of the types of its first parameters; 0 is one that the client leaves open.
    pub fn types(&self) -> impl ExactSizeIterator<Item = u32> {
        let (types, _) = self.types.as_chunks::<4>();
        types.iter().map(|oid| u32::from_be_bytes(*oid))
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bind<'a> {
    pub portal: &'a str,
    pub statement: &'a str,
    pub parameter_formats: Formats<'a>,
    pub parameters: Values<'a>,
    pub result_formats: Formats<'a>,
}

/// Format codes: none, one for all, or one for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Formats<'a>(&'a [u8]);

impl<'a> Formats<'a> {
    /// From the bytes of [`Formats::bytes`].
    pub fn of(bytes: &'a [u8]) -> Formats<'a> {
        Formats(bytes)
    }

    pub fn bytes(&self) -> &'a [u8] {
        self.0
    }

    pub fn len(&self) -> usize {
        self.0.len() / 2
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = i16> + use<'a> {
        let (codes, _) = self.0.as_chunks::<2>();
        codes.iter().map(|code| i16::from_be_bytes(*code))
    }
}

/// Values of parameters, `None` for NULL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Values<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl<'a> Values<'a> {
    /// `count` values from the bytes of [`Values::bytes`].
    pub fn of(count: usize, bytes: &'a [u8]) -> Values<'a> {
        Values { count, bytes }
    }

    /// As they came, from the first on.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn iter(&self) -> impl Iterator<Item = Option<&'a [u8]>> + use<'a> {
        let mut body = MessageBody(self.bytes);
        (0..self.count).map_while(move |_| body.value().ok())
    }
}

/// The object of a Describe or Close.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target<'a> {
    Statement(&'a str),
    Portal(&'a str),
}

/// The first packet of a connection, or the one after an answer to a request for encryption.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Opening<'a> {
    Ssl,
    Gss,
    Cancel { session: i32, key: &'a [u8] },
    Startup(Startup<'a>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Startup<'a> {
    pub major: u16,
    pub minor: u16,
    /// In the order in which they were sent. None if the major version is unknown.
    pub parameters: Vec<(&'a str, &'a str)>,
}

/// The phase of the protocol, which decides the messages that may come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Packets without a type: [`opening`].
    Opening,
    /// Messages of type `p`: [`sasl_initial_response`], and a response that is all data.
    Login,
    /// Messages of a session: [`decode`].
    Session,
}

/// Bytes of the message that `input` begins with, its type and length included; `None` while too little of it has come
/// to tell. An error is the end of the connection: the beginning of the next message is unknown.
pub fn length(phase: Phase, input: &[u8]) -> Result<Option<usize>, SqlError> {
    let (kind, head) = match phase {
        Phase::Opening => (0, input),
        Phase::Login | Phase::Session => match input.split_first() {
            None => return Ok(None),
            Some((kind, rest)) => (*kind, rest),
        },
    };
    let (least, most) = match (phase, kind) {
        (Phase::Opening, _) => (8, 4 + STARTUP_BYTES_MAX),
        (Phase::Login, b'p') => (4, 4 + LOGIN_BYTES_MAX),
        (Phase::Login, other) => {
            let message = format!("expected SASL response, got message type {other}");
            return Err(violation(message));
        }
        (Phase::Session, b'Q' | b'P' | b'B' | b'd' | b'F') => (4, 4 + LARGE_BYTES_MAX),
        (Phase::Session, b'C' | b'D' | b'E' | b'H' | b'S' | b'X' | b'c' | b'f') => (4, 4 + SMALL_BYTES_MAX),
        (Phase::Session, unknown) => return Err(violation(format!("invalid frontend message type {unknown}"))),
    };
    let Some(length) = head.first_chunk::<4>() else {
        return Ok(None);
    };
    // A negative length is a large one here.
    let length = u32::from_be_bytes(*length) as usize;
    if !(least..=most).contains(&length) {
        return Err(violation(match phase {
            Phase::Opening => "invalid length of startup packet",
            Phase::Login | Phase::Session => "invalid message length",
        }));
    }
    Ok(Some(length + (input.len() - head.len())))
}

/// A message of a session by its type and the bytes after its length. An error concerns this message alone.
pub fn decode(kind: u8, body: &[u8]) -> Result<Frontend<'_>, SqlError> {
    let mut body = MessageBody(body);
    let message = match kind {
        b'Q' => Frontend::Query(body.text()?),
        b'P' => {
            let (name, query) = (body.text()?, body.text()?);
            let types = body.u16()?;
            Frontend::Parse(Parse {
                name,
                query,
                types: body.bytes(4 * usize::from(types))?,
            })
        }
        b'B' => {
            let (portal, statement) = (body.text()?, body.text()?);
            Frontend::Bind(Bind {
                portal,
                statement,
                parameter_formats: body.formats()?,
                parameters: body.values()?,
                result_formats: body.formats()?,
            })
        }
        b'D' => Frontend::Describe(body.target("DESCRIBE")?),
        b'C' => Frontend::Close(body.target("CLOSE")?),
        b'E' => Frontend::Execute {
            portal: body.text()?,
            rows_max: body.i32()?,
        },
        b'H' => Frontend::Flush,
        b'S' => Frontend::Sync,
        // The rest of it matters to nobody.
        b'X' => return Ok(Frontend::Terminate),
        b'F' => return Ok(Frontend::FunctionCall),
        b'd' => return Ok(Frontend::CopyData(body.0)),
        b'c' => Frontend::CopyDone,
        b'f' => Frontend::CopyFail(body.text()?),
        unknown => return Err(violation(format!("invalid frontend message type {unknown}"))),
    };
    body.end()?;
    Ok(message)
}

/// A packet of [`Phase::Opening`], its length included. An error is the end of the connection.
pub fn opening(packet: &[u8]) -> Result<Opening<'_>, SqlError> {
    let mut body = MessageBody(packet);
    let _length = body.i32()?;
    let (major, minor) = (body.u16()?, body.u16()?);
    match (major, minor) {
        // Nothing follows; any bytes behind it are not part of it, as for PostgreSQL.
        SSL_REQUEST => return Ok(Opening::Ssl),
        GSS_REQUEST => return Ok(Opening::Gss),
        CANCEL_REQUEST => {
            let session = body.i32()?;
            let key = body.0;
            if !(4..=CANCEL_KEY_BYTES_MAX).contains(&key.len()) {
                return Err(violation("invalid length of cancel request packet"));
            }
            return Ok(Opening::Cancel { session, key });
        }
        _ => {}
    }
    let mut parameters = Vec::new();
    if major == 3 {
        let layout = || violation("invalid startup packet layout: expected terminator as last byte");
        loop {
            let name = body.text().map_err(|error| match error.state {
                state::PROTOCOL_VIOLATION => layout(),
                _ => error,
            })?;
            if name.is_empty() {
                break;
            }
            let value = body.text().map_err(|error| match error.state {
                state::PROTOCOL_VIOLATION => layout(),
                _ => error,
            })?;
            parameters.push((name, value));
        }
        if !body.0.is_empty() {
            return Err(layout());
        }
    }
    Ok(Opening::Startup(Startup {
        major,
        minor,
        parameters,
    }))
}

/// The first message of a login, without type and length: the mechanism and the client's first words.
pub fn sasl_initial_response(body: &[u8]) -> Result<(&str, Option<&[u8]>), SqlError> {
    let mut body = MessageBody(body);
    let mechanism = body.text()?;
    let data = body.value()?;
    body.end()?;
    Ok((mechanism, data))
}

/// The rest of a message.
struct MessageBody<'a>(&'a [u8]);

impl<'a> MessageBody<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], SqlError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(insufficient)?;
        self.0 = rest;
        Ok(taken)
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], SqlError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or_else(insufficient)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u16(&mut self) -> Result<u16, SqlError> {
        Ok(u16::from_be_bytes(self.chunk()?))
    }

    fn i32(&mut self) -> Result<i32, SqlError> {
        Ok(i32::from_be_bytes(self.chunk()?))
    }

    /// Text up to its zero byte.
    fn text(&mut self) -> Result<&'a str, SqlError> {
        let end = memchr::memchr(0, self.0).ok_or_else(|| violation("invalid string in message"))?;
        let text = utf8(&self.0[..end]).map_err(|error| error.hint("The client encoding is always UTF8."))?;
        self.0 = &self.0[end + 1..];
        Ok(text)
    }

    /// A value behind its length; -1 is NULL.
    fn value(&mut self) -> Result<Option<&'a [u8]>, SqlError> {
        match self.i32()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| insufficient())?;
                Ok(Some(self.bytes(length)?))
            }
        }
    }

    fn formats(&mut self) -> Result<Formats<'a>, SqlError> {
        let count = self.u16()?;
        Ok(Formats(self.bytes(2 * usize::from(count))?))
    }

    fn values(&mut self) -> Result<Values<'a>, SqlError> {
        let count = usize::from(self.u16()?);
        let all = self.0;
        for _ in 0..count {
            self.value()?;
        }
        let bytes = &all[..all.len() - self.0.len()];
        Ok(Values { count, bytes })
    }

    fn target(&mut self, message: &str) -> Result<Target<'a>, SqlError> {
        let [kind] = self.chunk().map_err(|_| violation("no data left in message"))?;
        let name = self.text()?;
        match kind {
            b'S' => Ok(Target::Statement(name)),
            b'P' => Ok(Target::Portal(name)),
            unknown => Err(violation(format!("invalid {message} message subtype {unknown}"))),
        }
    }

    fn end(&self) -> Result<(), SqlError> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(violation("invalid message format"))
    }
}

#[cold]
fn insufficient() -> SqlError {
    violation("insufficient data left in message")
}

#[cold]
fn violation(message: impl Into<String>) -> SqlError {
    SqlError::new(state::PROTOCOL_VIOLATION, message)
}

#[cfg(test)]
mod tests;
