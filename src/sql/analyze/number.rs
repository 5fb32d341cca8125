//! Numbers as they are written: INTEGER if it fits, else BIGINT, else NUMERIC of exactly those digits.

use datafusion::common::ScalarValue;

use super::Result;
use super::typed::{Typed, exact_numeric, literal};
use crate::error::{SqlError, state};
use crate::types::PgType;

/// A numeric constant.
pub fn number(text: &str, position: Option<usize>) -> Result<Typed> {
    if let Ok(value) = text.parse::<i64>() {
        return Ok(integer(value, position));
    }
    if let Some(value) = exact_numeric(text) {
        let pg_type = PgType::of_arrow(&value.data_type()).expect("a decimal is NUMERIC");
        return Ok(Typed::new(literal(value, &pg_type), pg_type, position));
    }
    // More than NUMERIC holds: a number with an exponent is taken as a float.
    if text.contains(['e', 'E'])
        && let Ok(value) = text.parse::<f64>()
        && value.is_finite()
    {
        let value = ScalarValue::Float64(Some(value));
        return Ok(Typed::new(literal(value, &PgType::Float8), PgType::Float8, position));
    }
    let error = SqlError::new(state::NUMERIC_VALUE_OUT_OF_RANGE, "value overflows numeric format")
        .detail("NUMERIC holds 38 digits.");
    Err(super::typed::at(error, position))
}

/// A whole number, of the smallest type that holds it.
pub fn integer(value: i64, position: Option<usize>) -> Typed {
    match i32::try_from(value) {
        Ok(small) => Typed::new(
            Typed::literal_of(ScalarValue::Int32(Some(small))),
            PgType::Int4,
            position,
        ),
        Err(_) => Typed::new(
            Typed::literal_of(ScalarValue::Int64(Some(value))),
            PgType::Int8,
            position,
        ),
    }
}

impl Typed {
    fn literal_of(value: ScalarValue) -> datafusion::logical_expr::Expr {
        datafusion::logical_expr::Expr::Literal(value, None)
    }
}
