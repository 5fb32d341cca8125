//! Tests that SQL files cannot express: crashes, random programs, processes, COPY, psql, wire bytes, the shape of the code.
//!
//! One binary, since every test binary links the whole engine's dependencies. Each module owns its servers.

#![allow(
    clippy::disallowed_methods,
    reason = "tests read files, spawn processes and take random seeds themselves"
)]

mod support;

mod backup;
mod consumers;
mod copy;
mod crash;
mod damage;
mod depth;
mod differential;
mod disk_full;
mod docs;
mod fuzz;
mod hostile;
mod memory;
mod nexmark;
mod oracle;
mod producers;
mod psql;
mod segments;
mod server;
mod sessions;
mod storm;
mod stress;
mod tidy;
mod tpch;
mod views;
mod wire;
