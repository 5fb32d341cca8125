//! Numbers as they are written: INTEGER if it fits, else BIGINT, else NUMERIC of exactly those digits.

use datafusion::common::ScalarValue;

use super::Result;
use super::typed::{Typed, exact_numeric, literal};
use crate::types::PgType;

/// A numeric constant.
pub fn number(text: &str, position: Option<usize>) -> Result<Typed> {
    if let Ok(value) = text.parse::<i64>() {
        return Ok(integer(value, position));
    }
    let value = exact_numeric(text).map_err(|error| super::typed::at(error, position))?;
    let pg_type = PgType::of_arrow(&value.data_type()).expect("a number is NUMERIC");
    Ok(Typed::new(literal(value, &pg_type), pg_type, position))
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
