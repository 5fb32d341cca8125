//! Text to statements: PostgreSQL by `sqlparser`, our own DDL and EMIT by a token-level pass in front of it.

use crate::error::SqlError;

pub use super::statement::Parsed;

/// Splits a query string into its statements and parses each. Empty statements are dropped.
pub fn parse(_text: &str) -> Result<Vec<Parsed>, SqlError> {
    Err(SqlError::unsupported(
        "no statement is parsed yet",
        "Wait for the parser.",
    ))
}
