//! Statements that the parser reads or refuses. Here: the checks; the other files are by kind of statement.

mod definition;
mod fuzz;
mod statement;
mod text;

use super::super::statement::*;
use super::*;
use crate::catalog::{self, Relation, Topic};
use crate::error::SqlError;

fn one(text: &str) -> Statement {
    let mut parsed = parse(text).unwrap_or_else(|error| panic!("{text}: {error} at {:?}", error.position));
    assert_eq!(parsed.len(), 1, "{text}");
    parsed.remove(0).statement
}

fn error(text: &str) -> SqlError {
    match parse(text) {
        Err(error) => error,
        Ok(parsed) => panic!("{text}: parsed as {parsed:?}"),
    }
}

/// The statement is refused with this SQLSTATE, message and 1-based position.
fn refused(text: &str, state: &str, message: &str, position: usize) {
    let error = error(text);
    assert_eq!(
        (error.state.0, error.message.as_str(), error.position),
        (state, message, Some(position)),
        "{text}"
    );
}

/// 0A000, with a hint and a position.
fn unsupported(text: &str) {
    let error = error(text);
    assert_eq!(error.state.0, "0A000", "{text}: {error}");
    assert!(error.hint.is_some() && error.position.is_some(), "{text}: {error:?}");
}

fn topic(text: &str) -> Topic {
    match one(text) {
        Statement::CreateTopic(create) => {
            assert_eq!(create.name.name, create.topic.name);
            create.topic
        }
        other => panic!("{text}: {other:?}"),
    }
}

fn view(text: &str) -> CreateView {
    match one(text) {
        Statement::CreateView(create) => create,
        other => panic!("{text}: {other:?}"),
    }
}

/// The output of `Debug` starts like this: enough to tell small statements apart.
fn is(text: &str, debug: &str) {
    let statement = format!("{:?}", one(text));
    assert!(statement.starts_with(debug), "{text}: {statement}");
}

const BIDS: &str = "CREATE TOPIC bids (
    auction   BIGINT NOT NULL,
    bidder    BIGINT,
    price     NUMERIC(18,2) CHECK (price >= 0),
    channel   TEXT DEFAULT 'web',
    date_time TIMESTAMP,
    day       DATE GENERATED ALWAYS AS (date_time::date) STORED,
    WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) PARTITION BY (auction)
  WITH (partitions = 4, retention = '7 days', retention_bytes = '100 GB',
        idle_timeout = '10 seconds')";

/// The definition again, as a statement of its own.
fn parsed_again(topic: &Topic) -> Topic {
    let text = catalog::show_create(
        &Relation::Topic(std::sync::Arc::new(topic.clone())),
        &catalog::Snapshot::initial(),
    );
    let mut again = match one(&text) {
        Statement::CreateTopic(create) => {
            assert_eq!(create.name.schema.as_deref(), Some(topic.schema.as_str()), "{text}");
            create.topic
        }
        other => panic!("{text}: {other:?}"),
    };
    again.schema = topic.schema.clone();
    again.oid = topic.oid;
    again
}
