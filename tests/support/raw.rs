//! A connection that speaks the wire protocol message by message, for corners that no driver reaches.
//!
//! One rule: it sends exactly the bytes of a test and returns exactly the answer, decoded no further than type and
//! body.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::server::Server;

/// One message of the server.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    pub kind: char,
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.kind, String::from_utf8_lossy(&self.body))
    }
}

pub struct Raw {
    stream: TcpStream,
    /// Process id and secret of BackendKeyData.
    pub key: (i32, Vec<u8>),
}

impl Raw {
    /// Connects and goes through the startup until the first ReadyForQuery.
    pub fn connect(server: &Server) -> Raw {
        Raw::connect_as(server, 0, &[]).0
    }

    /// The same with this minor version of protocol 3 and further parameters; and the server's messages.
    pub fn connect_as(server: &Server, minor: i32, parameters: &[(&str, &str)]) -> (Raw, Vec<Message>) {
        let mut raw = Raw::open(server);
        raw.write(&greeting(minor, parameters));
        let messages = raw.until_ready();
        let key = messages
            .iter()
            .find(|message| message.kind == 'K')
            .expect("a backend key at startup");
        let id = key.body[..4].try_into().expect("a process id of four bytes");
        raw.key = (i32::from_be_bytes(id), key.body[4..].to_vec());
        (raw, messages)
    }

    /// A bare TCP connection to the server.
    pub fn open(server: &Server) -> Raw {
        let stream = TcpStream::connect(server.address()).expect("the server takes connections");
        stream
            .set_read_timeout(Some(Duration::from_secs(300)))
            .expect("a read timeout can be set");
        stream.set_nodelay(true).expect("nodelay can be set");
        Raw {
            stream,
            key: (0, Vec::new()),
        }
    }

    /// Writes bytes that the server may not take any more.
    pub fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the connection can be written");
    }

    /// The next message; `None` when the server has closed the connection.
    pub fn next(&mut self) -> Option<Message> {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let mut body = vec![0; length as usize - 4];
        self.stream.read_exact(&mut body).ok()?;
        Some(Message {
            kind: char::from(head[0]),
            body,
        })
    }

    /// All messages up to ReadyForQuery, it included.
    pub fn until_ready(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            let message = self
                .next()
                .unwrap_or_else(|| panic!("the connection ended after {messages:?}"));
            let ready = message.kind == 'Z';
            messages.push(message);
            if ready {
                return messages;
            }
        }
    }

    /// A simple query's messages.
    pub fn query(&mut self, sql: &str) -> Vec<Message> {
        self.write(&query(sql));
        self.until_ready()
    }

    /// A simple query; the SQLSTATE of its error, if it has one.
    pub fn answer(&mut self, sql: &str) -> Option<String> {
        self.write(&query(sql));
        self.drain()
    }

    /// Reads up to ReadyForQuery and keeps nothing; the SQLSTATE of the first error.
    pub fn drain(&mut self) -> Option<String> {
        let mut state = None;
        let mut skipped = vec![0; 64 << 10];
        loop {
            let mut head = [0; 5];
            self.stream.read_exact(&mut head).expect("the server answers");
            let mut left = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize - 4;
            let kind = char::from(head[0]);
            if kind == 'E' {
                let mut body = vec![0; left];
                self.stream.read_exact(&mut body).expect("the server answers");
                state = state.or_else(|| field(&Message { kind, body }, 'C'));
                continue;
            }
            while left > 0 {
                let piece = left.min(skipped.len());
                self.stream
                    .read_exact(&mut skipped[..piece])
                    .expect("the server answers");
                left -= piece;
            }
            if kind == 'Z' {
                return state;
            }
        }
    }

    /// Writes from another thread.
    pub fn writer(&self) -> impl FnMut(&[u8]) + Send + 'static {
        let mut stream = self.stream.try_clone().expect("a socket can be shared");
        move |bytes| stream.write_all(bytes).expect("the connection can be written")
    }

    /// The rest of the server's messages before it closes.
    pub fn until_closed(&mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

/// The types of messages in a row: `T D D C Z`.
pub fn kinds(messages: &[Message]) -> String {
    let spoken = messages.iter().filter(|message| !matches!(message.kind, 'N' | 'S'));
    spoken
        .map(|message| message.kind.to_string())
        .collect::<Vec<_>>()
        .join(" ")
}

/// SQLSTATE and message of an error.
pub fn error(messages: &[Message]) -> (String, String) {
    let error = messages
        .iter()
        .find(|message| message.kind == 'E')
        .expect("an error among the messages");
    (
        field(error, 'C').expect("a SQLSTATE"),
        field(error, 'M').expect("a message"),
    )
}

/// A field of an ErrorResponse or NoticeResponse.
pub fn field(message: &Message, code: char) -> Option<String> {
    let fields = message.body.split(|byte| *byte == 0);
    let mut found = fields.filter(|field| field.first() == u8::try_from(code).ok().as_ref());
    found
        .next()
        .map(|field| String::from_utf8_lossy(&field[1..]).into_owned())
}

/// Command tags among the messages.
pub fn tags(messages: &[Message]) -> Vec<String> {
    let complete = messages.iter().filter(|message| message.kind == 'C');
    complete
        .map(|message| {
            String::from_utf8_lossy(&message.body)
                .trim_end_matches('\0')
                .to_string()
        })
        .collect()
}

/// The transaction status of the last ReadyForQuery: I, T or E.
pub fn status(messages: &[Message]) -> char {
    let last = messages.last().expect("messages");
    assert_eq!(last.kind, 'Z');
    char::from(last.body[0])
}

/// The values of a DataRow.
pub fn values(message: &Message) -> Vec<Option<Vec<u8>>> {
    assert_eq!(message.kind, 'D', "a DataRow: {message:?}");
    let mut rest = &message.body[2..];
    let mut values = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>().expect("a length");
        rest = after;
        values.push(usize::try_from(i32::from_be_bytes(*length)).ok().map(|length| {
            let (value, after) = rest.split_at(length);
            rest = after;
            value.to_vec()
        }));
    }
    values
}

/// All DataRows as text, NULL as `NULL`.
pub fn rows(messages: &[Message]) -> Vec<Vec<String>> {
    let rows = messages.iter().filter(|message| message.kind == 'D');
    let cell = |value: Option<Vec<u8>>| value.map_or("NULL".to_string(), |v| String::from_utf8_lossy(&v).into_owned());
    rows.map(|row| values(row).into_iter().map(cell).collect()).collect()
}

/// A startup packet of protocol 3 with the usual user and database.
pub fn greeting(minor: i32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = (3 << 16 | minor).to_be_bytes().to_vec();
    let usual = [("user", "millstream"), ("database", "millstream")];
    for (name, value) in usual.iter().chain(parameters) {
        text(&mut body, name);
        text(&mut body, value);
    }
    body.push(0);
    framed(None, &body)
}

fn text(body: &mut Vec<u8>, text: &str) {
    body.extend_from_slice(text.as_bytes());
    body.push(0);
}

fn framed(kind: Option<char>, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("a message below 4 GiB");
    let mut bytes: Vec<u8> = kind.and_then(|kind| u8::try_from(kind).ok()).into_iter().collect();
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

fn count(body: &mut Vec<u8>, number: usize) {
    body.extend_from_slice(&u16::try_from(number).expect("a 16-bit count").to_be_bytes());
}

/// A startup message of protocol 3.0 with these names and values.
pub fn startup(words: &[&str]) -> Vec<u8> {
    let mut body = 196_608_i32.to_be_bytes().to_vec();
    words.iter().for_each(|word| text(&mut body, word));
    body.push(0);
    framed(None, &body)
}

pub fn query(sql: &str) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, sql);
    framed(Some('Q'), &body)
}

pub fn parse(name: &str, sql: &str, types: &[u32]) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, name);
    text(&mut body, sql);
    count(&mut body, types.len());
    types.iter().for_each(|oid| body.extend_from_slice(&oid.to_be_bytes()));
    framed(Some('P'), &body)
}

/// Binds with one format code for all parameters and one for all results: 0 is text, 1 is binary.
pub fn bind(portal: &str, statement: &str, format: u16, parameters: &[Option<&[u8]>], result_format: u16) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, portal);
    text(&mut body, statement);
    count(&mut body, 1);
    body.extend_from_slice(&format.to_be_bytes());
    count(&mut body, parameters.len());
    for parameter in parameters {
        match parameter {
            None => body.extend_from_slice(&(-1_i32).to_be_bytes()),
            Some(value) => {
                body.extend_from_slice(&i32::try_from(value.len()).expect("a short value").to_be_bytes());
                body.extend_from_slice(value);
            }
        }
    }
    count(&mut body, 1);
    body.extend_from_slice(&result_format.to_be_bytes());
    framed(Some('B'), &body)
}

/// `kind` is `S` for a statement, `P` for a portal; for Describe and Close.
pub fn named(message: char, kind: char, name: &str) -> Vec<u8> {
    let mut body = vec![u8::try_from(kind).expect("an ASCII letter")];
    text(&mut body, name);
    framed(Some(message), &body)
}

pub fn describe(kind: char, name: &str) -> Vec<u8> {
    named('D', kind, name)
}

/// `limit` 0 is all rows.
pub fn execute(portal: &str, limit: i32) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, portal);
    body.extend_from_slice(&limit.to_be_bytes());
    framed(Some('E'), &body)
}

/// A message without a body: Sync `S`, Flush `H`, Terminate `X`, CopyDone `c`.
pub fn bare(kind: char) -> Vec<u8> {
    framed(Some(kind), &[])
}

pub fn copy_data(data: &[u8]) -> Vec<u8> {
    framed(Some('d'), data)
}

pub fn copy_fail(reason: &str) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, reason);
    framed(Some('f'), &body)
}

/// A CancelRequest for the connection with this key.
pub fn cancel(key: &(i32, Vec<u8>)) -> Vec<u8> {
    let mut body = 80_877_102_i32.to_be_bytes().to_vec();
    body.extend_from_slice(&key.0.to_be_bytes());
    body.extend_from_slice(&key.1);
    framed(None, &body)
}

/// Sends a CancelRequest, and waits until the server has taken it.
pub fn send_cancel(address: std::net::SocketAddr, key: &(i32, Vec<u8>)) {
    let mut stream = TcpStream::connect(address).expect("the server takes connections");
    stream.write_all(&cancel(key)).expect("the connection can be written");
    let _ = stream.read(&mut [0]);
}

/// Any bytes as a message, also ones that are none.
pub fn odd(kind: char, body: &[u8]) -> Vec<u8> {
    framed(Some(kind), body)
}
