//! A session with either database, over one protocol: a statement in, columns and rows or an error out.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::tree::Rendered;
use crate::support::raw::{self, Message};

/// Longer than `statement_timeout`.
const PATIENCE: Duration = Duration::from_secs(60);

pub enum Address {
    Socket(PathBuf),
    Port(SocketAddr),
}

/// The protocol for a statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    Simple,
    /// With results in binary.
    Extended,
    /// The same with parameters in the places of literals without a type.
    Parameters,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub oid: u32,
    pub modifier: i32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub state: String,
    pub message: String,
}

#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Option<Vec<u8>>>>,
    /// The types of the parameters.
    pub parameters: Vec<u32>,
    pub failure: Option<Failure>,
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

pub struct Database {
    address: Address,
    user: String,
    database: String,
    /// The first statements of a new session.
    greeting: Vec<String>,
    stream: Option<Box<dyn Stream>>,
    /// Time that its answers took, and their number.
    pub spent: Duration,
    pub answers: u64,
}

impl Database {
    pub fn new(address: Address, user: &str, greeting: Vec<String>) -> Database {
        Database {
            address,
            user: user.to_string(),
            database: user.to_string(),
            greeting,
            stream: None,
            spent: Duration::ZERO,
            answers: 0,
        }
    }

    fn connect(&self) -> std::io::Result<Box<dyn Stream>> {
        Ok(match &self.address {
            Address::Socket(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Box::new(stream)
            }
            Address::Port(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
        })
    }

    fn open(&mut self) {
        let mut stream = self.connect().expect("the database takes connections");
        let startup = raw::startup(&["user", &self.user, "database", &self.database]);
        let greeted = answer(&mut *stream, &startup).expect("the database answers");
        assert_eq!(greeted.failure, None);
        for statement in &self.greeting {
            let done = answer(&mut *stream, &raw::query(statement)).expect("the database answers");
            assert_eq!(done.failure, None, "{statement}");
        }
        self.stream = Some(stream);
    }

    pub fn ask(&mut self, statement: &Rendered, protocol: Protocol) -> Answer {
        if self.stream.is_none() {
            self.open();
        }
        let messages = match protocol {
            Protocol::Simple => raw::query(&statement.text),
            Protocol::Extended | Protocol::Parameters => {
                let parameters: Vec<_> = statement
                    .parameters
                    .iter()
                    .map(|value| Some(value.as_bytes()))
                    .collect();
                [
                    raw::parse("", &statement.text, &[]),
                    raw::describe('S', ""),
                    raw::bind("", "", 0, &parameters, 1),
                    raw::execute("", 0),
                    raw::bare('S'),
                ]
                .concat()
            }
        };
        let stream = self.stream.as_deref_mut().expect("it was opened");
        let began = Instant::now();
        let answer = answer(stream, &messages);
        self.spent += began.elapsed();
        self.answers += 1;
        answer.unwrap_or_else(|error| {
            self.stream = None;
            Answer {
                failure: Some(Failure {
                    state: "XX000".to_string(),
                    message: format!("the connection ended: {error}"),
                }),
                ..Answer::default()
            }
        })
    }
}

fn answer(stream: &mut dyn Stream, messages: &[u8]) -> std::io::Result<Answer> {
    stream.write_all(messages)?;
    let mut answer = Answer::default();
    loop {
        let mut head = [0; 5];
        stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize - 4;
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        let message = Message {
            kind: char::from(head[0]),
            body,
        };
        match message.kind {
            'E' => {
                let field = |code| raw::field(&message, code).unwrap_or_default();
                answer.failure = answer.failure.or(Some(Failure {
                    state: field('C'),
                    message: field('M'),
                }));
            }
            'T' => answer.columns = columns(&message.body),
            'D' => answer.rows.push(raw::values(&message)),
            't' => {
                let oids = message.body[2..].chunks_exact(4);
                answer.parameters = oids
                    .map(|oid| u32::from_be_bytes([oid[0], oid[1], oid[2], oid[3]]))
                    .collect();
            }
            'Z' => return Ok(answer),
            _ => {}
        }
    }
}

/// The columns of a RowDescription.
fn columns(body: &[u8]) -> Vec<Column> {
    let mut columns = Vec::new();
    let mut rest = &body[2..];
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        let fields = &rest[end + 1..];
        let four = |at: usize| [fields[at], fields[at + 1], fields[at + 2], fields[at + 3]];
        columns.push(Column {
            name: String::from_utf8_lossy(&rest[..end]).into_owned(),
            oid: u32::from_be_bytes(four(6)),
            modifier: i32::from_be_bytes(four(12)),
        });
        rest = &fields[18..];
    }
    columns
}
