//! Bounds of a value and of a batch of values, asked before they are made.
//!
//! One rule: [`Bounded`] calls every function that can make more than its input, and knows the size of the result from the
//! arguments. A value larger than PostgreSQL's is 54000; a value that the statement's memory ([`account`]) has no room for is
//! 53200. Operators that can halve a batch that would be too large do so ([`slices`]).
//!
//! `estimate.rs` lists the functions that grow, `gathered.rs` bounds aggregates, `picked.rs` window functions, `regex.rs`
//! and `pattern.rs` patterns.

use arrow::error::ArrowError;
use datafusion::common::DataFusionError;

use super::fail;
use crate::error::{SqlError, state};

mod account;
mod bounded;
mod concatenation;
mod estimate;
mod gathered;
mod pattern;
mod picked;
mod refold;
pub mod regex;
mod slices;
mod width;

pub use account::{Account, AccountScope, Accounted, Claim, SettledOnDrop};
pub use account::{Mode, claim, hold, with_mode};
pub use bounded::{bound, bound_call, bound_cast, is_bounded};
pub use concatenation::concatenation;
pub use estimate::{bytes_between, scalar_bytes};
pub use gathered::{bound_aggregate, bound_in_window};
pub use pattern::{bound_like, ends_with_escape, open_ended};
pub use picked::bound_window;
pub use slices::{BatchSlices, spread};
pub use width::width;

/// Bytes of one value, at most: PostgreSQL's bound.
pub const VALUE_BYTES_MAX: u64 = (1 << 30) - 1;
/// Elements of an array: PostgreSQL's bound.
pub const ELEMENTS_MAX: u64 = VALUE_BYTES_MAX / 8;
/// Bytes of a column of one batch, at most: Arrow counts them in 31 bits.
pub const BATCH_BYTES_MAX: u64 = i32::MAX as u64;
/// Bytes that a batch should have where it can be made in slices.
pub const SLICE_BYTES: u64 = 8 << 20;
/// Results that are surely smaller than this are made at once, bytes.
pub const SMALL_BYTES: u64 = 1 << 20;
/// Bytes that may be made while a plan is optimized: larger constants are left to the run, where they count.
pub const FOLDED_BYTES_MAX: u64 = 1 << 20;

/// 54000 for a value of more than [`VALUE_BYTES_MAX`].
pub fn too_long(name: &str, bytes: u64) -> SqlError {
    SqlError::new(state::PROGRAM_LIMIT_EXCEEDED, "requested length too large").detail(format!(
        "A value may have {VALUE_BYTES_MAX} bytes; that of {name} would have up to {bytes}."
    ))
}

/// 54000 for an array of more than [`ELEMENTS_MAX`].
pub fn too_many_elements() -> SqlError {
    SqlError::new(
        state::PROGRAM_LIMIT_EXCEEDED,
        format!("array size exceeds the maximum allowed ({ELEMENTS_MAX})"),
    )
}

const TOO_LARGE_TOGETHER: &str = "values of a batch are too large together";

/// 54000 for values that are small enough each, and too large together. Operators that evaluate in slices try fewer
/// rows, the optimizer leaves the call to the run.
pub fn too_large_together(name: &str) -> SqlError {
    SqlError::new(state::PROGRAM_LIMIT_EXCEEDED, TOO_LARGE_TOGETHER)
        .detail(format!(
            "{name} would make more than {BATCH_BYTES_MAX} bytes for rows that are computed at once."
        ))
        .hint("Compute the large values in a subquery of their own, or for fewer rows.")
}

/// Whether a batch was refused for its size: fewer rows may do.
pub fn is_too_large(error: &SqlError) -> bool {
    error.state == state::PROGRAM_LIMIT_EXCEEDED && error.message == TOO_LARGE_TOGETHER
}

/// [`is_too_large`] of an error on its way through the engine.
pub fn engine_says_too_large(error: &DataFusionError) -> bool {
    match error {
        DataFusionError::External(inner) => match inner.downcast_ref::<SqlError>() {
            Some(error) => is_too_large(error),
            None => inner
                .downcast_ref::<DataFusionError>()
                .is_some_and(engine_says_too_large),
        },
        DataFusionError::ArrowError(inner, _) => match inner.as_ref() {
            ArrowError::ExternalError(inner) => inner.downcast_ref::<SqlError>().is_some_and(is_too_large),
            ArrowError::OffsetOverflowError(_) => true,
            _ => false,
        },
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => engine_says_too_large(inner),
        DataFusionError::Shared(inner) => engine_says_too_large(inner),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
