//! Elements of arrays of any dimensions looked for, and taken out.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Builder, ListBuilder};
use arrow::datatypes::Int32Type;

use super::super::NULL_NOT_ALLOWED;
use super::super::elements::keys;
use super::super::made::Picks;
use super::list_type;
use crate::error::{SqlError, state};
use crate::sql::functions::arrays::shape::elements;
use crate::types::PgType;
use crate::types::shape::ArrayShape;
use crate::types::shaped::ShapedArrays;

/// 0A000 for an array of several dimensions.
fn one_dimension(shape: &ArrayShape, what: &str) -> Result<(), SqlError> {
    match shape.0.len() > 1 {
        true => Err(SqlError::new(
            state::FEATURE_NOT_SUPPORTED,
            format!("{what} multidimensional arrays is not supported"),
        )),
        false => Ok(()),
    }
}

/// `array_position(array, element[, start])`
pub fn position(arrays: &ShapedArrays, arguments: &[ArrayRef]) -> Result<ArrayRef, SqlError> {
    let [values, wanted] = keys([arrays.lists.values(), &arguments[0]])?;
    let starts = arguments.get(1).map(|column| column.as_primitive::<Int32Type>());
    let mut made = Int32Builder::with_capacity(arrays.lists.len());
    for row in 0..arrays.lists.len() {
        let shape = &arrays.shapes[row];
        one_dimension(shape, "searching for elements in")?;
        let Some(dimension) = shape.0.first() else {
            made.append_null();
            continue;
        };
        let start = match starts {
            None => dimension.lower,
            Some(starts) if starts.is_null(row) => {
                return Err(SqlError::new(NULL_NOT_ALLOWED, "initial position must not be null"));
            }
            Some(starts) => starts.value(row),
        };
        let numbered = elements(&arrays.lists, row).zip(dimension.lower..);
        let mut found = numbered.filter(|(at, number)| *number >= start && values.row(*at) == wanted.row(row));
        made.append_option(found.next().map(|(_, number)| number));
    }
    Ok(Arc::new(made.finish()))
}

/// `array_positions(array, element)`
pub fn positions(arrays: &ShapedArrays, wanted: &ArrayRef) -> Result<ArrayRef, SqlError> {
    let [values, wanted] = keys([arrays.lists.values(), wanted])?;
    let mut made = ListBuilder::new(Int32Builder::new());
    for row in 0..arrays.lists.len() {
        let shape = &arrays.shapes[row];
        one_dimension(shape, "searching for elements in")?;
        let lower = shape.0.first().map_or(1, |dimension| dimension.lower);
        for (at, number) in elements(&arrays.lists, row).zip(lower..) {
            if values.row(at) == wanted.row(row) {
                made.values().append_value(number);
            }
        }
        made.append(arrays.lists.is_valid(row));
    }
    Ok(Arc::new(made.finish()))
}

/// `array_remove(array, element)`
pub fn removed(arrays: &ShapedArrays, element: &ArrayRef, item: &PgType) -> Result<ShapedArrays, SqlError> {
    let [values, wanted] = keys([arrays.lists.values(), element])?;
    let rows = arrays.lists.len();
    let mut picks = Picks::new(vec![arrays.lists.values()], rows);
    let mut shapes = Vec::with_capacity(rows);
    for row in 0..rows {
        let mut shape = arrays.shapes[row].clone();
        one_dimension(&shape, "removing elements from")?;
        let kept: Vec<usize> = elements(&arrays.lists, row)
            .filter(|at| values.row(*at) != wanted.row(row))
            .collect();
        match (shape.0.first_mut(), kept.len()) {
            (Some(dimension), 1..) => dimension.length = kept.len() as i32,
            _ => shape = ArrayShape::default(),
        }
        kept.into_iter().for_each(|at| picks.pick(0, at));
        picks.end(arrays.lists.is_valid(row));
        shapes.push(shape);
    }
    Ok(ShapedArrays {
        shapes,
        lists: picks.finish_lists(&list_type(item))?,
    })
}
