//! The keys of arrays of any dimensions: their elements, then their dimensions, then their bounds.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder};

use super::super::key::list_keys;
use crate::error::SqlError;
use crate::types::PgType;
use crate::types::shaped::{ShapedArrays, item_type};

/// Keys of arrays in either form, which compare byte by byte as the arrays do.
pub fn keys(column: &ArrayRef) -> Result<ArrayRef, SqlError> {
    let arrays = match column.as_list_opt::<i32>() {
        Some(lists) => ShapedArrays::of_lists(lists),
        None => ShapedArrays::decode(column, &item_type(column).unwrap_or(PgType::Text))?,
    };
    let lists: ArrayRef = Arc::new(arrays.lists);
    let elements = list_keys(&lists)?;
    let elements = elements.as_binary::<i32>();
    let mut made = BinaryBuilder::with_capacity(column.len(), elements.value_data().len());
    let mut key = Vec::new();
    for (elements, shape) in elements.iter().zip(&arrays.shapes) {
        let Some(elements) = elements else {
            made.append_null();
            continue;
        };
        // The key of a list says itself where it ends.
        key.clear();
        key.extend_from_slice(elements);
        key.push(shape.0.len() as u8);
        let mut put = |number: i32| key.extend_from_slice(&(number ^ i32::MIN).to_be_bytes());
        shape.0.iter().for_each(|dimension| put(dimension.length));
        shape.0.iter().for_each(|dimension| put(dimension.lower));
        made.append_value(&key);
    }
    Ok(Arc::new(made.finish()))
}
