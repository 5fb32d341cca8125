//! The numbers of elements and dimensions of arrays, and their elements as one text.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, Int32Builder, ListArray, ListBuilder, StringArray, StringBuilder,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int32Type};
use bytes::BytesMut;

use crate::error::SqlError;
use crate::types::{ColumnFormatter, PgType, TextStyle};

/// Elements of each dimension from the first; none if there are no elements.
fn extents(lists: &ListArray, row: usize) -> Vec<usize> {
    let mut found = Vec::new();
    let mut items = lists.value(row);
    loop {
        if items.is_empty() {
            return if matches!(items.data_type(), DataType::List(_)) || found.is_empty() {
                Vec::new()
            } else {
                found
            };
        }
        found.push(items.len());
        let DataType::List(_) = items.data_type() else {
            return found;
        };
        let inner = items.as_list::<i32>();
        if inner.is_null(0) {
            return found;
        }
        items = inner.value(0);
        if items.is_empty() {
            return Vec::new();
        }
    }
}

fn extent(lists: &ArrayRef, dimensions: &ArrayRef, row: usize) -> Option<i32> {
    let dimensions = dimensions.as_primitive::<Int32Type>();
    if lists.is_null(row) || dimensions.is_null(row) || dimensions.value(row) < 1 {
        return None;
    }
    let place = dimensions.value(row) as usize - 1;
    extents(lists.as_list::<i32>(), row)
        .get(place)
        .map(|count| *count as i32)
}

/// `array_lower(array, dimension)`
pub fn lower(lists: &ArrayRef, dimensions: &ArrayRef) -> ArrayRef {
    let of = |row| extent(lists, dimensions, row).map(|_| 1);
    Arc::new((0..lists.len()).map(of).collect::<Int32Array>())
}

/// `array_upper(array, dimension)`, `array_length(array, dimension)`: the same where arrays count from 1.
pub fn upper(lists: &ArrayRef, dimensions: &ArrayRef) -> ArrayRef {
    let of = |row| extent(lists, dimensions, row);
    Arc::new((0..lists.len()).map(of).collect::<Int32Array>())
}

fn of_extents<T>(lists: &ArrayRef, of: impl Fn(Vec<usize>) -> Option<T>) -> impl Iterator<Item = Option<T>> {
    (0..lists.len()).map(move |row| match lists.is_null(row) {
        true => None,
        false => of(extents(lists.as_list::<i32>(), row)),
    })
}

/// `array_ndims(array)`
pub fn dimensions(lists: &ArrayRef) -> ArrayRef {
    let count = |extents: Vec<usize>| (!extents.is_empty()).then_some(extents.len() as i32);
    Arc::new(of_extents(lists, count).collect::<Int32Array>())
}

/// `array_dims(array)`
pub fn bounds(lists: &ArrayRef) -> ArrayRef {
    let shown = |extents: Vec<usize>| {
        let text: String = extents.iter().map(|count| format!("[1:{count}]")).collect();
        (!text.is_empty()).then_some(text)
    };
    Arc::new(of_extents(lists, shown).collect::<StringArray>())
}

/// `cardinality(array)`
pub fn cardinality(lists: &ArrayRef) -> ArrayRef {
    let count = |extents: Vec<usize>| {
        let all = extents.iter().product::<usize>() as i32;
        Some(if extents.is_empty() { 0 } else { all })
    };
    Arc::new(of_extents(lists, count).collect::<Int32Array>())
}

/// `generate_subscripts(array, dimension[, reverse])`
pub fn subscripts(columns: &[ArrayRef], rows: usize) -> ArrayRef {
    let mut made = ListBuilder::new(Int32Builder::new());
    for row in 0..rows {
        let reverse = columns.get(2).map(|column| column.as_boolean());
        if reverse.is_some_and(|reverse| reverse.is_null(row)) {
            made.append(true);
            continue;
        }
        let count = extent(&columns[0], &columns[1], row).unwrap_or(0);
        match reverse.is_some_and(|reverse| reverse.value(row)) {
            true => (1..=count).rev().for_each(|at| made.values().append_value(at)),
            false => (1..=count).for_each(|at| made.values().append_value(at)),
        }
        made.append(true);
    }
    Arc::new(made.finish())
}

/// The places of a row's elements among the values.
pub fn range(list: &ListArray, row: usize) -> std::ops::Range<usize> {
    let offsets = list.value_offsets();
    offsets[row] as usize..offsets[row + 1] as usize
}

/// The elements of a row: none of a NULL.
pub fn elements(list: &ListArray, row: usize) -> std::ops::Range<usize> {
    if list.is_null(row) { 0..0 } else { range(list, row) }
}

/// Arrays of one dimension with the elements of all.
pub fn flat(lists: &ArrayRef) -> Result<ArrayRef, SqlError> {
    let mut lists = lists.as_list::<i32>().clone();
    while let DataType::List(_) = lists.value_type() {
        let inner = lists.values().as_list::<i32>().clone();
        let ends: Vec<i32> = lists
            .value_offsets()
            .iter()
            .map(|end| inner.value_offsets()[*end as usize])
            .collect();
        let DataType::List(item) = inner.data_type().clone() else {
            unreachable!("it is a list")
        };
        lists = ListArray::new(
            item,
            OffsetBuffer::new(ends.into()),
            inner.values().clone(),
            lists.nulls().cloned(),
        );
    }
    Ok(Arc::new(lists))
}

/// `array_to_string(array, between[, for NULL])`
pub fn joined(columns: &[ArrayRef], array: &Field, rows: usize, style: &TextStyle) -> Result<ArrayRef, SqlError> {
    let lists = flat(&columns[0])?;
    let lists = lists.as_list::<i32>();
    let known = match PgType::of_field(array) {
        Some(PgType::Array(item)) if item.arrow() == lists.value_type() => *item,
        _ => PgType::of_arrow(&lists.value_type()).unwrap_or(PgType::Text),
    };
    let formatter = ColumnFormatter::new(&known, lists.values(), style)?;
    let between = columns[1].as_string::<i32>();
    let for_null = columns.get(2).map(|column| column.as_string::<i32>());
    let mut made = StringBuilder::with_capacity(rows, rows * 16);
    let mut text = BytesMut::new();
    for row in 0..rows {
        if lists.is_null(row) || between.is_null(row) {
            made.append_null();
            continue;
        }
        let for_null = for_null
            .filter(|texts| texts.is_valid(row))
            .map(|texts| texts.value(row));
        text.clear();
        let mut first = true;
        for at in range(lists, row) {
            let is_null = formatter.is_null(at);
            if is_null && for_null.is_none() {
                continue;
            }
            if !first {
                text.extend_from_slice(between.value(row).as_bytes());
            }
            first = false;
            match for_null {
                Some(for_null) if is_null => text.extend_from_slice(for_null.as_bytes()),
                _ => formatter.write_text(at, &mut text),
            }
        }
        made.append_value(std::str::from_utf8(&text).expect("values print as text"));
    }
    Ok(Arc::new(made.finish()))
}
