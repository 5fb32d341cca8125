//! The Postgres protocol: startup, authentication, simple and extended query, COPY, cancel.
//!
//! One rule: one ErrorResponse per failure, then ReadyForQuery or skip to Sync (W1). Knows no SQL.
//!
//! The messages of the server, SCRAM and TLS are libraries' (`pgwire`, `rustls`); messages of clients are decoded here,
//! as untrusted bytes, and the loop is ours, since a COPY, a pipeline and a suspended portal need the connection and
//! the session at once. Answers are flushed when the protocol says so (ReadyForQuery, Flush, COPY), or when they have
//! become large. So a CommandComplete of a long pipeline may come before its Sync, and with it its commit; the
//! ReadyForQuery never does (L1).

mod server;
mod threads;

mod guests;

mod context;
mod startup;
mod tls;

mod cancel;
mod connection;
mod copy;
mod extended;
mod frontend;
mod portal;
mod simple;
mod socket;

mod copy_binary;
mod copy_in;
mod copy_out;
mod message;
mod rows;
mod send;

#[cfg(test)]
mod fuzz;

pub use server::{LEAVING_MAX, Options, WireServer};
