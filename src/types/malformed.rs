//! Errors of values in binary form that are none, as PostgreSQL words them.
//!
//! One rule: they name no type, since the client that sent the bytes knows it.

use crate::error::{SqlError, state};

/// It ends too early.
pub(super) fn insufficient_binary() -> SqlError {
    SqlError::new(state::PROTOCOL_VIOLATION, "insufficient data left in message")
}

/// Its bytes mean no value.
pub(super) fn incorrect_binary() -> SqlError {
    SqlError::new(state::INVALID_BINARY_REPRESENTATION, "incorrect binary data format")
}
