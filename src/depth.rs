//! The limits on nesting of input, and the stack for it.
//!
//! One rule: code that walks input by recursion (text of JSON, types, expressions, queries, plans; their drop, too) runs on a
//! thread of [`STACK_BYTES`]. A check without recursion comes first and refuses input deeper than [`DEPTH_MAX`] (54001).
//! `tests/depth.rs` holds each kind at its limit against the stack.

use crate::error::{SqlError, state};

/// Deepest tree that is accepted, of any kind: expressions and chains of operators, queries, plans, JSON.
pub const DEPTH_MAX: usize = 1_000;

/// Deepest nesting of brackets and CASE in a statement: each level is several calls deep in the parser, and several levels
/// of the tree.
pub const NESTING_MAX: usize = 100;

/// Stack of each thread that parses, plans, compiles or runs statements and views, bytes; only touched pages take
/// memory.
pub const STACK_BYTES: usize = 128 << 20;

/// 54001 for input that nests deeper than it may, with an alternative.
pub fn too_deep(hint: impl Into<String>) -> SqlError {
    SqlError::new(state::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded").hint(hint)
}

/// Runs a test on a stack as the server's threads have it.
#[cfg(test)]
pub fn on_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        let running = thread.spawn_scoped(scope, work).expect("a thread starts");
        running.join().expect("it does not panic")
    })
}
