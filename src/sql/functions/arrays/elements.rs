//! Elements compared: where one is, and which two arrays share.
//!
//! One rule: equal values have equal keys. A NULL has a key, too, so that it can be searched for.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int32Builder, ListBuilder};
use arrow::datatypes::{DataType, Decimal128Type, Float32Type, Float64Type, Int32Type, IntervalMonthDayNanoType};
use arrow::row::{RowConverter, Rows, SortField};
use hashbrown::HashSet;

use super::NULL_NOT_ALLOWED;
use super::shape::{flat, range};
use crate::error::SqlError;
use crate::sql::functions::datetime::comparable;
use crate::sql::functions::overflow::of_arrow;
use crate::types::varying;

/// Keys of the values of some columns of one type: equal where the values are.
pub fn keys<const N: usize>(columns: [&ArrayRef; N]) -> Result<[Rows; N], SqlError> {
    let columns = columns.map(canonical);
    let data_type = columns[0].data_type().clone();
    let failed = |error| of_arrow(error, &data_type);
    let converter = RowConverter::new(vec![SortField::new(data_type.clone())]).map_err(failed)?;
    let mut made = Vec::with_capacity(N);
    for column in &columns {
        made.push(
            converter
                .convert_columns(std::slice::from_ref(column))
                .map_err(failed)?,
        );
    }
    made.try_into().map_err(|_| unreachable!("a key for each column"))
}

/// The column with equal values in one form: there is one zero, one NaN, one interval of a length.
pub fn canonical(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float32 => Arc::new(
            column
                .as_primitive::<Float32Type>()
                .unary::<_, Float32Type>(|value| if value.is_nan() { f32::NAN } else { value + 0.0 }),
        ),
        DataType::Float64 => Arc::new(
            column
                .as_primitive::<Float64Type>()
                .unary::<_, Float64Type>(|value| if value.is_nan() { f64::NAN } else { value + 0.0 }),
        ),
        DataType::Interval(_) => Arc::new(
            column
                .as_primitive::<IntervalMonthDayNanoType>()
                .unary::<_, Decimal128Type>(comparable),
        ),
        DataType::LargeBinary => {
            let values = column.as_binary::<i64>().iter();
            Arc::new(values.map(|value| value.map(varying::key)).collect::<BinaryArray>())
        }
        _ => column.clone(),
    }
}

fn flat_only(list: &ArrayRef, what: &str) -> Result<(), SqlError> {
    match list.data_type() {
        DataType::List(item) if matches!(item.data_type(), DataType::List(_)) => Err(SqlError::new(
            crate::error::state::FEATURE_NOT_SUPPORTED,
            format!("{what} in multidimensional arrays is not supported"),
        )),
        _ => Ok(()),
    }
}

/// `array_position(array, element[, start])`
pub fn position(columns: &[ArrayRef], rows: usize) -> Result<ArrayRef, SqlError> {
    flat_only(&columns[0], "searching for elements")?;
    let list = columns[0].as_list::<i32>();
    let [values, wanted] = keys([list.values(), &columns[1]])?;
    let starts = columns.get(2).map(|column| column.as_primitive::<Int32Type>());
    let mut made = Int32Builder::with_capacity(rows);
    for row in 0..rows {
        if list.is_null(row) {
            made.append_null();
            continue;
        }
        let start = match starts {
            None => 1,
            Some(starts) if starts.is_null(row) => {
                return Err(SqlError::new(NULL_NOT_ALLOWED, "initial position must not be null"));
            }
            Some(starts) => starts.value(row).max(1) as usize,
        };
        let range = range(list, row);
        let found = range
            .clone()
            .skip(start - 1)
            .find(|at| values.row(*at) == wanted.row(row))
            .map(|at| (at - range.start + 1) as i32);
        made.append_option(found);
    }
    Ok(Arc::new(made.finish()))
}

/// `array_positions(array, element)`
pub fn positions(list: &ArrayRef, wanted: &ArrayRef) -> Result<ArrayRef, SqlError> {
    flat_only(list, "searching for elements")?;
    let list = list.as_list::<i32>();
    let [values, wanted] = keys([list.values(), wanted])?;
    let mut made = ListBuilder::new(Int32Builder::new());
    for row in 0..list.len() {
        if list.is_null(row) {
            made.append_null();
            continue;
        }
        let range = range(list, row);
        for at in range.clone() {
            if values.row(at) == wanted.row(row) {
                made.values().append_value((at - range.start + 1) as i32);
            }
        }
        made.append(true);
    }
    Ok(Arc::new(made.finish()))
}

/// Calls `verdict` with the keys of two arrays' elements that are not NULL.
fn compared(
    left: &ArrayRef,
    right: &ArrayRef,
    verdict: impl Fn(&HashSet<&[u8]>, bool, &HashSet<&[u8]>, bool) -> bool,
) -> Result<ArrayRef, SqlError> {
    let (left, right) = (flat(left)?, flat(right)?);
    let (left, right) = (left.as_list::<i32>(), right.as_list::<i32>());
    let [left_keys, right_keys] = keys([left.values(), right.values()])?;
    let made: BooleanArray = (0..left.len())
        .map(|row| {
            if left.is_null(row) || right.is_null(row) {
                return None;
            }
            let (left_range, right_range) = (range(left, row), range(right, row));
            let has_null = |list: &arrow::array::ListArray, mut range: std::ops::Range<usize>| {
                range.any(|at| list.values().is_null(at))
            };
            let of = |list: &arrow::array::ListArray, keys, range: std::ops::Range<usize>| {
                let keys: &Rows = keys;
                range
                    .filter(|at| list.values().is_valid(*at))
                    .map(|at| keys.row(at).data())
                    .collect::<Vec<&[u8]>>()
            };
            let left_set: HashSet<&[u8]> = of(left, &left_keys, left_range.clone()).into_iter().collect();
            let right_set: HashSet<&[u8]> = of(right, &right_keys, right_range.clone()).into_iter().collect();
            let nulls = (has_null(left, left_range), has_null(right, right_range));
            Some(verdict(&left_set, nulls.0, &right_set, nulls.1))
        })
        .collect();
    Ok(Arc::new(made))
}

/// `&&`
pub fn overlap(left: &ArrayRef, right: &ArrayRef) -> Result<ArrayRef, SqlError> {
    compared(left, right, |left, _, right, _| !left.is_disjoint(right))
}

/// `@>`: a NULL is in no array.
pub fn contains(left: &ArrayRef, right: &ArrayRef) -> Result<ArrayRef, SqlError> {
    compared(left, right, |left, _, right, has_null| {
        !has_null && right.is_subset(left)
    })
}
