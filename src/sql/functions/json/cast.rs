//! JSONB as booleans and numbers: the functions of PostgreSQL's casts from it.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, LargeBinaryArray};

use super::raw::JsonKind;
use super::{JsonCall, JsonReturns, JsonSpec, Takes, invalid, spec};
use crate::error::{SqlError, state};
use crate::types::PgType;
use crate::types::float::{parse_f32, parse_f64};
use crate::types::numeric::{DecimalShape, parse_decimal};
use crate::types::varying::Numeric;

const JSONB: &[Takes] = &[Takes::Text];

pub(super) const SPECS: &[JsonSpec] = &[
    spec("jsonb_to_bool", JSONB, JsonReturns::Bool, bool_of),
    spec("jsonb_to_int2", JSONB, JsonReturns::Int2, int2_of),
    spec("jsonb_to_int4", JSONB, JsonReturns::Int4, int4_of),
    spec("jsonb_to_int8", JSONB, JsonReturns::Int8, int8_of),
    spec("jsonb_to_float4", JSONB, JsonReturns::Float4, float4_of),
    spec("jsonb_to_float8", JSONB, JsonReturns::Float8, float8_of),
    spec("jsonb_to_numeric", JSONB, JsonReturns::Numeric, numeric_of),
];

/// 22023 for a value of another kind.
fn no_cast(kind: JsonKind, to: &PgType) -> SqlError {
    let kind = match kind {
        JsonKind::Number => "numeric",
        other => other.name(),
    };
    invalid(format!("cannot cast jsonb {kind} to type {}", to.base_name()))
}

fn bool_of(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    call.make_bools(|row| {
        let json = call.json(0, row);
        match json.kind() {
            JsonKind::Bool => Ok(Some(json.as_str() == "true")),
            other => Err(no_cast(other, &PgType::Bool)),
        }
    })
}

/// The digits of a number.
fn digits<'a>(call: &JsonCall<'a>, row: usize, to: &PgType) -> Result<&'a str, SqlError> {
    let json = call.json(0, row);
    match json.kind() {
        JsonKind::Number => Ok(json.as_str()),
        other => Err(no_cast(other, to)),
    }
}

/// The nearest whole number, halves away from zero.
fn whole<T: TryFrom<i128>>(call: &JsonCall, row: usize, to: &PgType) -> Result<T, SqlError> {
    let shape = DecimalShape {
        precision: 38,
        scale: 0,
    };
    let whole = parse_decimal(digits(call, row, to)?, shape).ok();
    whole.and_then(|whole| T::try_from(whole).ok()).ok_or_else(|| {
        let message = format!("{} out of range", to.base_name());
        SqlError::new(state::NUMERIC_VALUE_OUT_OF_RANGE, message)
    })
}

fn int2_of(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    let values = call.make_values(|row| whole(call, row, &PgType::Int2))?;
    Ok(Arc::new(Int16Array::from(values)))
}

fn int4_of(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    let values = call.make_values(|row| whole(call, row, &PgType::Int4))?;
    Ok(Arc::new(Int32Array::from(values)))
}

fn int8_of(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    let values = call.make_values(|row| whole(call, row, &PgType::Int8))?;
    Ok(Arc::new(Int64Array::from(values)))
}

fn float4_of(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    let values = call.make_values(|row| parse_f32(digits(call, row, &PgType::Float4)?))?;
    Ok(Arc::new(Float32Array::from(values)))
}

fn float8_of(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    let values = call.make_values(|row| parse_f64(digits(call, row, &PgType::Float8)?))?;
    Ok(Arc::new(Float64Array::from(values)))
}

fn numeric_of(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    let values = call.make_values(|row| {
        let number = Numeric::parse(digits(call, row, &PgType::Numeric(None))?)?;
        Ok(number.encoded())
    })?;
    Ok(Arc::new(LargeBinaryArray::from_iter(values)))
}
