//! Millstream: a SQL streaming database. Start with ARCHITECTURE.md.

pub mod depth;
pub mod error;
pub mod log_limit;
pub mod panics;
pub mod relief;
pub mod stop;
pub mod types;

pub mod storage;

pub mod log;

pub mod catalog;

pub mod sql;

pub mod query;
pub mod views;

pub mod session;

pub mod wire;

pub mod config;
pub mod server;

pub mod demo;

/// Mutated inputs for the unit tests of decoders.
#[cfg(test)]
#[path = "../tests/support/fuzz.rs"]
mod fuzz;
