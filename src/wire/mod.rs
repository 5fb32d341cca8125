//! The Postgres protocol: startup, authentication, simple and extended query, COPY, cancel.
//!
//! One rule: one ErrorResponse per failure, then ReadyForQuery or skip to Sync (W1). Knows no SQL.
//!
//! Framing, SCRAM and TLS are libraries' (`pgwire`, `rustls`); the loop is ours, since a COPY, a pipeline and a
//! suspended portal need the connection and the session at once. What is written for the client is flushed when the
//! protocol says so (ReadyForQuery, Flush, COPY), not before: a CommandComplete cannot overtake the commit of the
//! implicit transaction that it belongs to (L1).

mod server;
mod threads;

mod startup;
mod tls;

mod cancel;
mod connection;
mod copy;
mod extended;
mod simple;

mod copy_binary;
mod copy_in;
mod copy_out;
mod message;
mod rows;

#[cfg(test)]
mod fuzz;

pub use server::{Options, Server};
