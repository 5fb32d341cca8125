//! The keys of arrays: element by element, a NULL element after all others, as PostgreSQL has it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, ListArray};
use arrow::compute::SortOptions;
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};

use super::elements::canonical;
use crate::error::SqlError;
use crate::sql::functions::overflow::of_arrow;

/// Keys of arrays, which compare byte by byte as the arrays do.
pub fn list_keys(column: &ArrayRef) -> Result<ArrayRef, SqlError> {
    let Some(lists) = column.as_list_opt::<i32>() else {
        return Ok(arrow::array::new_null_array(&DataType::Binary, column.len()));
    };
    let items = canonical(lists.values());
    let item = match lists.data_type() {
        DataType::List(item) => item.as_ref().clone().with_data_type(items.data_type().clone()),
        other => unreachable!("a list is of type {other}"),
    };
    let failed = |error| of_arrow(error, column.data_type());
    let item = Arc::new(item.with_nullable(true));
    let lists = ListArray::try_new(item, lists.offsets().clone(), items, lists.nulls().cloned()).map_err(failed)?;
    let last = SortOptions {
        descending: false,
        nulls_first: false,
    };
    let field = SortField::new_with_options(lists.data_type().clone(), last);
    let lists: ArrayRef = Arc::new(lists);
    let rows = RowConverter::new(vec![field])
        .and_then(|converter| converter.convert_columns(std::slice::from_ref(&lists)))
        .map_err(failed)?;
    let mut keys = BinaryBuilder::with_capacity(lists.len(), rows.size());
    for row in 0..lists.len() {
        match lists.is_null(row) {
            true => keys.append_null(),
            false => keys.append_value(rows.row(row)),
        }
    }
    Ok(Arc::new(keys.finish()))
}
