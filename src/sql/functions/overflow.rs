//! Errors of results that their type cannot hold, and the bounds of NUMERIC.
//!
//! One rule: PostgreSQL's SQLSTATE and words for the type (22003, 22008, 22012), for an operator here and for a kernel of
//! Arrow's.

use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use crate::error::{SqlError, state};
use crate::types::decimal::{self, division_by_zero};

/// Digits that a NUMERIC can have.
pub const NUMERIC_PRECISION: u8 = 38;
/// Largest magnitude of a NUMERIC's unscaled value.
pub const NUMERIC_MAX: i128 = 10i128.pow(NUMERIC_PRECISION as u32) - 1;

/// The error of a float operation whose finite operands gave an infinity.
pub fn float_overflow() -> SqlError {
    SqlError::new(state::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: overflow")
}

/// The error of an interval with a part that its field cannot hold.
pub fn interval_overflow() -> SqlError {
    SqlError::new(state::DATETIME_FIELD_OVERFLOW, "interval out of range")
}

/// 22003, worded for the type that was too small.
pub fn out_of_range(data_type: &DataType) -> SqlError {
    let name = match data_type {
        DataType::Decimal128(_, _) | DataType::LargeBinary => return decimal::overflow(),
        DataType::Float32 | DataType::Float64 => return float_overflow(),
        DataType::Interval(_) => return interval_overflow(),
        DataType::Int16 => "smallint",
        DataType::Int32 => "integer",
        _ => "bigint",
    };
    SqlError::new(state::NUMERIC_VALUE_OUT_OF_RANGE, format!("{name} out of range"))
}

/// The user's error for the refusal of an Arrow kernel.
pub fn of_arrow(error: ArrowError, result: &DataType) -> SqlError {
    match error {
        ArrowError::DivideByZero => division_by_zero(),
        ArrowError::ArithmeticOverflow(_) => out_of_range(result),
        ArrowError::ExternalError(error) => match error.downcast::<SqlError>() {
            Ok(error) => *error,
            Err(error) => SqlError::new(state::INTERNAL_ERROR, error.to_string()),
        },
        other => SqlError::new(state::INTERNAL_ERROR, other.to_string()),
    }
}

/// Carries a [`SqlError`] out of an Arrow kernel; [`of_arrow`] takes it back.
pub fn into_arrow(error: SqlError) -> ArrowError {
    ArrowError::ExternalError(Box::new(error))
}
