//! The keys of NUMERIC: the value without its scale.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder};
use arrow::datatypes::DataType;

use super::column::Numbers;
use crate::types::varying;

/// Keys of exact numbers, which compare byte by byte as the numbers do.
pub fn keys(column: &ArrayRef) -> ArrayRef {
    if let Some(varying) = column.as_binary_opt::<i64>() {
        let keys = varying.iter().map(|value| value.map(varying::key));
        return Arc::new(keys.collect::<BinaryArray>());
    }
    let Some(numbers) = Numbers::of(column) else {
        return arrow::array::new_null_array(&DataType::Binary, column.len());
    };
    const BYTES: usize = 8;
    let mut keys = BinaryBuilder::with_capacity(column.len(), column.len() * BYTES);
    let mut bytes = Vec::new();
    for row in 0..column.len() {
        match numbers.get(row) {
            Some(number) => {
                bytes.clear();
                number.put_key(&mut bytes);
                keys.append_value(&bytes);
            }
            None => keys.append_null(),
        }
    }
    Arc::new(keys.finish())
}
