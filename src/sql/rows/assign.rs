//! Assignment casts: the types that PostgreSQL lets a column take, and the conversion itself.
//!
//! Numbers round half away from zero (floats half to even) and are 22003 out of range; text takes any value as it
//! prints; VARCHAR(n) too long is 22001.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringArray};
use arrow::compute::{self, CastOptions};
use arrow::datatypes::DataType;

use bytes::BytesMut;

use crate::error::{SqlError, state};
use crate::sql::analyze::{CastContext, can_coerce};
use crate::sql::error::out_of_range;
use crate::sql::functions::casts;
use crate::types::shaped::{ShapedArrays, of_lists, to_lists};
use crate::types::{ColumnBuilder, ColumnFormatter, ObjectNames, PgType, TextStyle, TimeZone};

/// 42804 where PostgreSQL has no assignment cast from one type to the other.
pub fn check_assignment(column: &str, from: &PgType, to: &PgType) -> Result<(), SqlError> {
    let is_assignable = *from == PgType::Unknown || can_coerce(from.oid(), to.oid(), CastContext::Assignment);
    if is_assignable {
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

pub(super) fn is_text(kind: &PgType) -> bool {
    matches!(
        kind,
        PgType::Text | PgType::Varchar(_) | PgType::Char(_) | PgType::Name | PgType::InternalChar
    )
}

/// Whether its values, or its elements, are shown by names that the catalog has.
pub(super) fn is_named(pg_type: &PgType) -> bool {
    pg_type.item().unwrap_or(pg_type).is_oid_alias()
}

/// OIDs that become texts as the names that they stand for, with the type that they then have.
pub fn named(
    array: &ArrayRef,
    from: &PgType,
    to: &PgType,
    names: Option<&ObjectNames>,
) -> Result<(ArrayRef, PgType), SqlError> {
    if !is_named(from) || !is_text(to.item().unwrap_or(to)) {
        return Ok((array.clone(), from.clone()));
    }
    let style = TextStyle {
        object_names: names.cloned(),
        ..TextStyle::default()
    };
    let texts = |array: &ArrayRef, from: &PgType| -> Result<ArrayRef, SqlError> {
        let formatter = ColumnFormatter::new(from, array, &style)?;
        Ok(Arc::new(
            (0..array.len()).map(|row| formatter.text(row)).collect::<StringArray>(),
        ))
    };
    match (from, to) {
        (PgType::Array(item), PgType::Array(_)) => {
            let lists = array.as_list::<i32>();
            let named = ListArray::new(
                Arc::new(PgType::Text.element()),
                lists.offsets().clone(),
                texts(lists.values(), item)?,
                lists.nulls().cloned(),
            );
            Ok((Arc::new(named), PgType::Array(Box::new(PgType::Text))))
        }
        (_, to) if to.item().is_none() => Ok((texts(array, from)?, PgType::Text)),
        _ => Ok((array.clone(), from.clone())),
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
    if let (Some(item), Some(_)) = (from.vector_item(), to.item()) {
        return assign(array, &PgType::Shaped(Box::new(item)), to, time_zone);
    }
    match (from, to) {
        // A text has no blanks of a CHAR.
        (PgType::Char(0), PgType::Text | PgType::Varchar(_)) => {
            let texts = array.as_string::<i32>().iter();
            let bare: arrow::array::StringArray = texts.map(|text| Some(text?.trim_end_matches(' '))).collect();
            assign(&(Arc::new(bare) as ArrayRef), &PgType::Text, to, time_zone)
        }
        (PgType::Unknown, _) => through_text(array, from, to, time_zone),
        (_, PgType::Text | PgType::Varchar(None)) if is_text(from) && *from != PgType::InternalChar => {
            Ok(array.clone())
        }
        // A CHAR(n) is held without blanks, which only a BPCHAR keeps.
        (PgType::Char(1..), to) if is_text(to) && *to != PgType::Char(0) => {
            through_text(array, &PgType::Text, to, time_zone)
        }
        (_, to) if is_text(to) => through_text(array, from, to, time_zone),
        (PgType::Array(from_item), PgType::Array(to_item)) => {
            let lists = array.as_list::<i32>();
            let items = assign(lists.values(), from_item, to_item, time_zone)?;
            Ok(Arc::new(ListArray::new(
                Arc::new(to_item.element()),
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
        (PgType::Numeric(_), to) if *array.data_type() == to.arrow() => Ok(array.clone()),
        (from, to) => {
            let zone = TimeZone::of_setting(time_zone);
            casts::cast(array, &from.field("", true), &to.field("", true), zone)
        }
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
        // PostgreSQL casts a boolean to `true`, though it prints `t`, and to a NAME as it prints it.
        if *from == PgType::Bool && *to != PgType::Name {
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
