//! sqllogictest's view of a connection: one SQL text in, rows of text or an error with its SQLSTATE out.
//!
//! One rule: a connection that finds its target moved (the server was restarted) connects anew, and never else.
//! `\notices` instead of a statement answers the notices of the statement before it on the same connection.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use parking_lot::Mutex;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType};
use tokio_postgres::error::DbError;
use tokio_postgres::types::{FromSql, Type};
use tokio_postgres::{AsyncMessage, Client, NoTls, SimpleQueryMessage};

use crate::values;

pub type Output = DBOutput<DefaultColumnType>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// One Query message, values as text.
    Simple,
    /// Parse, Describe, Bind, Execute; values in binary.
    Extended,
}

/// The server of a file's connections; shared, so that a restart moves all of them.
#[derive(Clone)]
pub struct Target {
    pub address: SocketAddr,
    pub user: String,
    pub database: String,
    pub protocol: Protocol,
    /// Turns the corpus' SQL into another system's; identity for our own server.
    pub translate: fn(&str) -> String,
}

pub type SharedTarget = Arc<Mutex<Target>>;

pub struct Connection {
    target: SharedTarget,
    open: Option<Open>,
}

struct Open {
    address: SocketAddr,
    client: Client,
    notices: Arc<Mutex<Vec<DbError>>>,
    answered: Vec<DbError>,
}

#[derive(Debug)]
pub struct Failure {
    pub state: Option<String>,
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}",
            self.state.as_deref().unwrap_or("no SQLSTATE"),
            self.message
        )
    }
}

impl std::error::Error for Failure {}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(report) = error.as_db_error() else {
            return Failure::of(format!("{error}: {:?}", std::error::Error::source(&error)));
        };
        let mut message = report.message().to_string();
        for (name, text) in [
            ("DETAIL", report.detail()),
            ("HINT", report.hint()),
            ("CONTEXT", report.where_()),
        ] {
            if let Some(text) = text {
                message.push_str(&format!(" {name}: {text}"));
            }
        }
        Failure {
            state: Some(report.code().code().to_string()),
            message,
        }
    }
}

impl Failure {
    fn of(message: impl Into<String>) -> Failure {
        Failure {
            state: None,
            message: message.into(),
        }
    }
}

impl Connection {
    pub fn new(target: SharedTarget) -> Connection {
        Connection { target, open: None }
    }

    async fn open(&mut self, target: &Target) -> Result<&mut Open, Failure> {
        if self.open.as_ref().is_none_or(|open| open.address != target.address) {
            self.open = Some(Open::connect(target).await?);
        }
        Ok(self.open.as_mut().expect("just opened"))
    }
}

impl Open {
    async fn connect(target: &Target) -> Result<Open, Failure> {
        let mut config = tokio_postgres::Config::new();
        config
            .host(target.address.ip().to_string())
            .port(target.address.port())
            .user(&target.user)
            .dbname(&target.database);
        let (client, mut connection) = config.connect(NoTls).await?;
        let notices: Arc<Mutex<Vec<DbError>>> = Arc::default();
        let heard = notices.clone();
        // Ends with the client that it serves.
        tokio::spawn(async move {
            while let Some(message) = std::future::poll_fn(|context| connection.poll_message(context)).await {
                match message {
                    Ok(AsyncMessage::Notice(notice)) => heard.lock().push(notice),
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
        });
        Ok(Open {
            address: target.address,
            client,
            notices,
            answered: Vec::new(),
        })
    }

    async fn simple(&self, sql: &str) -> Result<Output, Failure> {
        let mut columns: Option<usize> = None;
        let mut rows = Vec::new();
        let mut count = 0;
        for message in self.client.simple_query(sql).await? {
            match message {
                SimpleQueryMessage::RowDescription(description) => {
                    columns = Some(description.len());
                    rows.clear();
                }
                SimpleQueryMessage::Row(row) => {
                    rows.push((0..row.len()).map(|at| cell(row.get(at).map(str::to_string))).collect());
                }
                SimpleQueryMessage::CommandComplete(affected) => count = affected,
                _ => {}
            }
        }
        Ok(match columns {
            Some(columns) => DBOutput::Rows {
                types: vec![DefaultColumnType::Any; columns],
                rows,
            },
            None => DBOutput::StatementComplete(count),
        })
    }

    async fn extended(&self, sql: &str) -> Result<Output, Failure> {
        let statement = self.client.prepare(sql).await?;
        // In binary such a value is a number, and a test expects its name.
        if statement
            .columns()
            .iter()
            .any(|column| values::is_named_oid(column.type_()))
        {
            return self.simple(sql).await;
        }
        let parameters: [&str; 0] = [];
        let mut stream = std::pin::pin!(self.client.query_raw(&statement, parameters).await?);
        let mut rows = Vec::new();
        while let Some(row) = stream.next().await {
            let row = row?;
            let mut cells = Vec::with_capacity(row.len());
            for (at, column) in row.columns().iter().enumerate() {
                let value: Option<Raw> = row.try_get(at)?;
                let text = value.map(|raw| values::text(column.type_(), raw.0)).transpose();
                cells.push(cell(
                    text.map_err(|error| Failure::of(format!("column {}: {error}", column.name())))?,
                ));
            }
            rows.push(cells);
        }
        let types = statement
            .columns()
            .iter()
            .map(|column| kind(column.type_()))
            .collect::<Vec<_>>();
        Ok(match types.is_empty() && rows.is_empty() {
            true => DBOutput::StatementComplete(stream.rows_affected().unwrap_or(0)),
            false => DBOutput::Rows { types, rows },
        })
    }
}

#[async_trait]
impl AsyncDB for Connection {
    type Error = Failure;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<Output, Failure> {
        let target = self.target.lock().clone();
        let open = self.open(&target).await?;
        if sql.trim() == "\\notices" {
            let rows = open.answered.iter().map(|notice| vec![written(notice)]).collect();
            return Ok(DBOutput::Rows {
                types: vec![DefaultColumnType::Text],
                rows,
            });
        }
        let sql = (target.translate)(sql);
        open.notices.lock().clear();
        let output = match target.protocol {
            Protocol::Simple => open.simple(&sql).await,
            Protocol::Extended => open.extended(&sql).await,
        };
        open.answered = std::mem::take(&mut *open.notices.lock());
        output
    }

    async fn shutdown(&mut self) {
        self.open = None;
    }

    fn error_sql_state(error: &Failure) -> Option<String> {
        error.state.clone()
    }
}

fn written(notice: &DbError) -> String {
    format!("{} {} {}", notice.severity(), notice.code().code(), notice.message())
}

/// NULL and the empty text as sqllogictest files write them.
fn cell(value: Option<String>) -> String {
    match value {
        None => "NULL".to_string(),
        Some(text) if text.is_empty() => "(empty)".to_string(),
        Some(text) => text,
    }
}

/// The letter that a file must give for a column of this type.
fn kind(ty: &Type) -> DefaultColumnType {
    match *ty {
        Type::INT2 | Type::INT4 | Type::INT8 | Type::OID => DefaultColumnType::Integer,
        Type::FLOAT4 | Type::FLOAT8 | Type::NUMERIC => DefaultColumnType::FloatingPoint,
        _ => DefaultColumnType::Text,
    }
}

/// A value's bytes, undecoded.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, bytes: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Raw(bytes))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
