//! Assignment casts: the types that PostgreSQL lets a column take, and the conversion itself.
//!
//! Numbers round half away from zero (floats half to even) and are 22003 out of range; text takes any value as it
//! prints; VARCHAR(n) too long is 22001.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, ListArray, TimestampMicrosecondArray};
use arrow::compute::{self, CastOptions};
use arrow::datatypes::{DataType, Field, Float64Type, TimestampMicrosecondType};

use bytes::BytesMut;

use crate::error::{SqlError, state};
use crate::sql::error::out_of_range;
use crate::sql::functions::{casts, temporal, zone};
use crate::types::shaped::{ShapedArrays, of_lists, to_lists};
use crate::types::{ColumnBuilder, ColumnFormatter, PgType, TextStyle, TimeZone};

/// 42804 where PostgreSQL has no assignment cast from one type to the other.
pub fn check_assignment(column: &str, from: &PgType, to: &PgType) -> Result<(), SqlError> {
    if is_assignable(from, to) {
        return Ok(());
    }
    Err(SqlError::new(
        state::DATATYPE_MISMATCH,
        format!(
            "column \"{column}\" is of type {} but expression is of type {}",
            bare_name(to),
            bare_name(from)
        ),
    )
    .hint("You will need to rewrite or cast the expression."))
}

/// A type's name without its modifier.
fn bare_name(kind: &PgType) -> String {
    match kind {
        PgType::Array(item) | PgType::Shaped(item) => format!("{}[]", item.base_name()),
        other => other.base_name().to_string(),
    }
}

fn is_number(kind: &PgType) -> bool {
    matches!(
        kind,
        PgType::Int2 | PgType::Int4 | PgType::Int8 | PgType::Float4 | PgType::Float8 | PgType::Numeric(_)
    )
}

fn is_text(kind: &PgType) -> bool {
    matches!(
        kind,
        PgType::Text | PgType::Varchar(_) | PgType::Char(_) | PgType::Name | PgType::InternalChar
    )
}

fn is_oid(kind: &PgType) -> bool {
    *kind == PgType::Oid || kind.is_oid_alias()
}

fn is_assignable(from: &PgType, to: &PgType) -> bool {
    if from == to || *from == PgType::Unknown || is_text(to) {
        return true;
    }
    match (from, to) {
        (from, to) if is_number(from) && is_number(to) => true,
        (PgType::Int2 | PgType::Int4 | PgType::Int8, to) if is_oid(to) => true,
        (from, PgType::Int8 | PgType::Int4) if is_oid(from) => true,
        (from, to) if is_oid(from) && is_oid(to) => true,
        (PgType::Date, PgType::Timestamp | PgType::TimestampTz) => true,
        (PgType::Timestamp, PgType::TimestampTz | PgType::Date | PgType::Time) => true,
        (PgType::TimestampTz, PgType::Timestamp | PgType::Date | PgType::Time) => true,
        (PgType::Time, PgType::Interval) | (PgType::Interval, PgType::Time) => true,
        (PgType::Json, PgType::Jsonb) | (PgType::Jsonb, PgType::Json) => true,
        (PgType::Array(from) | PgType::Shaped(from), PgType::Array(to) | PgType::Shaped(to)) => is_assignable(from, to),
        _ => false,
    }
}

/// Converts an array to a column's type. The assignment has been checked.
pub fn assign(array: &ArrayRef, from: &PgType, to: &PgType, time_zone: &str) -> Result<ArrayRef, SqlError> {
    let array = &plain(array, from)?;
    if array.data_type().is_null() {
        return Ok(arrow::array::new_null_array(&to.arrow(), array.len()));
    }
    if from == to {
        return Ok(array.clone());
    }
    match (from, to) {
        // A text has no blanks of a CHAR.
        (PgType::Char(0), PgType::Text | PgType::Varchar(_)) => {
            let texts = array.as_string::<i32>().iter();
            let bare: arrow::array::StringArray = texts.map(|text| Some(text?.trim_end_matches(' '))).collect();
            assign(&(Arc::new(bare) as ArrayRef), &PgType::Text, to, time_zone)
        }
        (PgType::Unknown, _) | (PgType::Json, PgType::Jsonb) => through_text(array, from, to, time_zone),
        (_, PgType::Text | PgType::Varchar(None)) if is_text(from) || *from == PgType::Uuid => Ok(array.clone()),
        (PgType::Jsonb, PgType::Json) => Ok(array.clone()),
        (_, to) if is_text(to) => through_text(array, from, to, time_zone),
        (from, to) if is_number(from) && is_number(to) => number(array, to),
        (PgType::Timestamp, PgType::TimestampTz) => shifted(array, zone::from_local, time_zone, Some("UTC")),
        (PgType::TimestampTz, PgType::Timestamp) => shifted(array, zone::to_local, time_zone, None),
        (PgType::TimestampTz, PgType::Date | PgType::Time) => {
            let local = shifted(array, zone::to_local, time_zone, None)?;
            assign(&local, &PgType::Timestamp, to, time_zone)
        }
        (PgType::Date, PgType::Timestamp) => Ok(Arc::new(temporal::midnights(array, |local| local)?)),
        (PgType::Date, PgType::TimestampTz) => {
            let midnights: ArrayRef = Arc::new(temporal::midnights(array, |local| local)?);
            shifted(&midnights, zone::from_local, time_zone, Some("UTC"))
        }
        (PgType::Array(from_item), PgType::Array(to_item)) => {
            let lists = array.as_list::<i32>();
            let items = assign(lists.values(), from_item, to_item, time_zone)?;
            let field = to_item.field("item", true);
            Ok(Arc::new(ListArray::new(
                Arc::new(field),
                lists.offsets().clone(),
                items,
                lists.nulls().cloned(),
            )))
        }
        (PgType::Shaped(from_item), PgType::Shaped(to_item))
            if from_item.oid() == to_item.oid() && **to_item == to_item.bare() =>
        {
            Ok(array.clone())
        }
        (PgType::Shaped(from_item), PgType::Shaped(to_item)) => {
            let ShapedArrays { shapes, lists } = ShapedArrays::decode(array, from_item)?;
            let list = |item: &PgType| PgType::Array(Box::new(item.clone()));
            let lists: ArrayRef = Arc::new(lists);
            let lists = assign(&lists, &list(from_item), &list(to_item), time_zone)?;
            let lists = lists.as_list::<i32>().clone();
            Ok(Arc::new(ShapedArrays { shapes, lists }.encode(to_item)?))
        }
        (PgType::Shaped(from_item), to @ PgType::Array(_)) => {
            let from = PgType::Array(from_item.clone());
            assign(&to_lists(array, from_item)?, &from, to, time_zone)
        }
        (from @ PgType::Array(_), PgType::Shaped(to_item)) => {
            let lists = assign(array, from, &PgType::Array(to_item.clone()), time_zone)?;
            of_lists(&lists, to_item)
        }
        (_, to) => cast(array, &to.arrow(), to),
    }
}

/// The engine's own types, which no column has, as the Arrow type that holds `from`.
fn plain(array: &ArrayRef, from: &PgType) -> Result<ArrayRef, SqlError> {
    let held = from.arrow();
    if *array.data_type() == held || array.data_type().is_null() {
        return Ok(array.clone());
    }
    let same_family = matches!(
        (array.data_type(), &held),
        (
            DataType::Decimal128(..) | DataType::LargeBinary,
            DataType::Decimal128(..) | DataType::LargeBinary
        ) | (DataType::List(_), DataType::List(_))
    );
    if same_family {
        return Ok(array.clone());
    }
    cast(array, &held, from)
}

fn cast(array: &ArrayRef, data_type: &DataType, to: &PgType) -> Result<ArrayRef, SqlError> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    compute::cast_with_options(array, data_type, &options).map_err(|error| {
        let error = SqlError::from(error);
        match error.state {
            state::INTERNAL_ERROR => out_of_range(to.base_name()),
            _ => error,
        }
    })
}

fn number(array: &ArrayRef, to: &PgType) -> Result<ArrayRef, SqlError> {
    if *array.data_type() == to.arrow() {
        return Ok(array.clone());
    }
    let is_numeric = |data_type: &DataType| matches!(data_type, DataType::Decimal128(..) | DataType::LargeBinary);
    if is_numeric(array.data_type()) || is_numeric(&to.arrow()) {
        let from = Field::new("", array.data_type().clone(), true);
        return casts::cast(array, &from, &to.field("", true), TimeZone::UTC);
    }
    let whole = matches!(to, PgType::Int2 | PgType::Int4 | PgType::Int8);
    let overflow = |_| out_of_range(to.base_name());
    let rounded = match array.data_type() {
        DataType::Float32 | DataType::Float64 if whole => {
            let floats = compute::cast(array, &DataType::Float64)?;
            let floats: Float64Array = floats.as_primitive::<Float64Type>().unary(f64::round_ties_even);
            Arc::new(floats) as ArrayRef
        }
        _ => array.clone(),
    };
    cast(&rounded, &to.arrow(), to).map_err(overflow)
}

/// Prints and reads again.
fn through_text(array: &ArrayRef, from: &PgType, to: &PgType, time_zone: &str) -> Result<ArrayRef, SqlError> {
    let zone = TimeZone::of_setting(time_zone);
    let style = TextStyle {
        time_zone: zone,
        ..TextStyle::default()
    };
    let formatter = ColumnFormatter::new(from, array, &style)?;
    let mut builder = ColumnBuilder::new(to, array.len()).with_time_zone(zone);
    let mut text = BytesMut::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            builder.append_null();
            continue;
        }
        text.clear();
        // PostgreSQL casts a boolean to `true`, though it prints `t`.
        if *from == PgType::Bool {
            text.extend_from_slice(if array.as_boolean().value(row) {
                b"true"
            } else {
                b"false"
            });
        } else {
            formatter.write_text(row, &mut text);
        }
        let text = std::str::from_utf8(&text).expect("values print as UTF-8");
        builder.append_text(text)?;
    }
    Ok(builder.finish())
}

fn shifted(
    array: &ArrayRef,
    shift: impl Fn(i64, crate::types::TimeZone) -> i64,
    time_zone: &str,
    zone_name: Option<&str>,
) -> Result<ArrayRef, SqlError> {
    let zone = TimeZone::of_setting(time_zone);
    let times = array.as_primitive::<TimestampMicrosecondType>();
    let shifted: TimestampMicrosecondArray = times.unary(|time| shift(time, zone));
    Ok(Arc::new(shifted.with_timezone_opt(zone_name.map(str::to_owned))))
}
