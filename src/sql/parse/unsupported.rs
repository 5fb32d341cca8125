//! Statements of PostgreSQL that are refused by name, with a hint at an alternative.
//!
//! One rule: 0A000 is for well-known statements; an unknown word is a syntax error.

use crate::error::SqlError;

/// A statement by its first word.
pub fn statement(word: &str) -> Option<SqlError> {
    let (message, hint) = match word {
        "update" | "delete" | "merge" => {
            return Some(SqlError::unsupported(
                format!("{} is not supported yet", word.to_uppercase()),
                "Rows of a topic never change: append a row that supersedes the old one, and keep the newest per key in \
                 a materialized view.",
            ));
        }
        "truncate" => (
            "TRUNCATE is not supported yet",
            "DROP TOPIC and CREATE TOPIC again; SHOW CREATE TOPIC prints its definition.",
        ),
        "subscribe" => return Some(subscribe()),
        "grant" | "revoke" | "reassign" => (
            "privileges are not supported",
            "Whoever can connect can read and write everything; limit who can connect.",
        ),
        "do" | "call" => (
            "procedural code is not supported",
            "Run the statements one by one from the client.",
        ),
        "reindex" | "cluster" => (
            "there are no indexes to rebuild",
            "A materialized view answers what an index would speed up.",
        ),
        "load" => ("LOAD is not supported", "Everything that there is, is built in."),
        "import" => (
            "IMPORT FOREIGN SCHEMA is not supported",
            "Load data with COPY ... FROM STDIN or psql's \\copy.",
        ),
        "security" => ("SECURITY LABEL is not supported", "Leave it out."),
        "use" => (
            "USE is not supported",
            "There is one database. SET search_path chooses the schema.",
        ),
        "recover" | "kill" | "cancel" => (
            "this statement is not supported",
            "SELECT pg_cancel_backend(pid) or the client's cancel request stop a query.",
        ),
        _ => return None,
    };
    Some(SqlError::unsupported(message, hint))
}

/// CREATE of a kind of object that is not supported, by its first word.
pub fn create(word: &str) -> Option<SqlError> {
    let (what, hint) = match word {
        "index" | "unique" => (
            "CREATE INDEX",
            "A materialized view answers what an index would speed up.",
        ),
        "subscription" => return Some(subscribe()),
        "sequence" => (
            "CREATE SEQUENCE",
            "The hidden columns _partition and _offset number the rows of a topic.",
        ),
        "function" | "procedure" | "aggregate" | "trigger" | "rule" | "event" | "language" | "constraint" => {
            ("procedural code in the server", "Compute in a view, or in the client.")
        }
        "type" | "domain" => ("CREATE TYPE", "Use TEXT with a CHECK, or JSONB."),
        "role" | "user" | "group" | "policy" => (
            "CREATE ROLE",
            "Any name connects; limit who can connect where the server listens.",
        ),
        "database" => (
            "CREATE DATABASE",
            "Use CREATE SCHEMA, or start a server with another data directory.",
        ),
        "extension" => ("CREATE EXTENSION", "Everything that there is, is built in."),
        "source" | "sink" | "connection" | "secret" | "foreign" | "server" | "publication" => (
            "connecting to other systems",
            "CREATE TOPIC and load it with INSERT or COPY; read it from any PostgreSQL client.",
        ),
        "recursive" => ("CREATE RECURSIVE VIEW", "Use CREATE VIEW ... AS WITH RECURSIVE."),
        "cast" | "operator" | "collation" | "conversion" | "statistics" | "tablespace" | "access" | "text"
        | "transform" => ("this CREATE statement", "Leave it out."),
        "global" | "local" => (
            "CREATE TEMPORARY TABLE",
            "Create it without TEMPORARY and drop it when done.",
        ),
        _ => return None,
    };
    Some(SqlError::unsupported(format!("{what} is not supported"), hint))
}

/// ALTER of anything but relations and schemas.
pub fn alter(word: &str) -> SqlError {
    let hint = match word {
        "system" | "database" | "role" | "user" => "SET changes a setting for the session.",
        _ => "ALTER TOPIC, TABLE, VIEW, MATERIALIZED VIEW and SCHEMA are there.",
    };
    SqlError::unsupported(format!("ALTER {} is not supported", word.to_uppercase()), hint)
}

pub fn subscribe() -> SqlError {
    SqlError::unsupported(
        "SUBSCRIBE is not supported yet",
        "SELECT from the view again: it is always up to date. Rows of a topic can be read from an _offset on.",
    )
}
