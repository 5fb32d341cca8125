//! The Postgres protocol: startup, authentication, simple and extended query, COPY, cancel.
//!
//! One rule: one ErrorResponse per failure, then ReadyForQuery or skip to Sync (W1). Knows no SQL.

mod copy_in;
mod copy_out;
mod rows;
