//! Arrays made of others: elements put in, taken out, and exchanged.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanBufferBuilder, ListArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Int32Type};

use super::elements::keys;
use super::shape::{elements, range};
use super::{ARRAY_SUBSCRIPT, NULL_NOT_ALLOWED};
use crate::error::{SqlError, state};
use crate::sql::functions::overflow::of_arrow;
use crate::types::shape::{ArrayShape, DIMENSIONS_MAX, Dimension, too_many_dimensions};

/// The sources of the elements, by column and row, as far as arrays are made.
pub struct Picks<'a> {
    sources: Vec<&'a dyn Array>,
    picked: Vec<(usize, usize)>,
    ends: Vec<i32>,
    valid: BooleanBufferBuilder,
}

impl<'a> Picks<'a> {
    pub fn new(sources: Vec<&'a dyn Array>, rows: usize) -> Picks<'a> {
        let mut ends = Vec::with_capacity(rows + 1);
        ends.push(0);
        Picks {
            sources,
            picked: Vec::with_capacity(rows),
            ends,
            valid: BooleanBufferBuilder::new(rows),
        }
    }

    pub fn pick(&mut self, source: usize, at: usize) {
        self.picked.push((source, at));
    }

    pub fn pick_all(&mut self, source: usize, range: std::ops::Range<usize>) {
        self.picked.extend(range.map(|at| (source, at)));
    }

    /// The array of this row has no more elements, or is NULL.
    pub fn end(&mut self, valid: bool) {
        self.ends.push(self.picked.len() as i32);
        self.valid.append(valid);
    }

    fn finish(self, result: &DataType) -> Result<ArrayRef, SqlError> {
        Ok(Arc::new(self.finish_lists(result)?))
    }

    pub fn finish_lists(mut self, result: &DataType) -> Result<ListArray, SqlError> {
        let DataType::List(item) = result else {
            unreachable!("arrays are made")
        };
        let values = interleave(&self.sources, &self.picked).map_err(|error| of_arrow(error, result))?;
        Ok(ListArray::new(
            item.clone(),
            OffsetBuffer::new(self.ends.into()),
            values,
            Some(NullBuffer::new(self.valid.finish())),
        ))
    }
}

/// `array_append(array, element)`
pub fn append(list: &ArrayRef, element: &ArrayRef, result: &DataType) -> Result<ArrayRef, SqlError> {
    let list = list.as_list::<i32>();
    let mut picks = Picks::new(vec![list.values(), element], list.len());
    for row in 0..list.len() {
        picks.pick_all(0, elements(list, row));
        picks.pick(1, row);
        picks.end(true);
    }
    picks.finish(result)
}

/// `array_prepend(element, array)`
pub fn prepend(element: &ArrayRef, list: &ArrayRef, result: &DataType) -> Result<ArrayRef, SqlError> {
    let list = list.as_list::<i32>();
    let mut picks = Picks::new(vec![list.values(), element], list.len());
    for row in 0..list.len() {
        picks.pick(1, row);
        picks.pick_all(0, elements(list, row));
        picks.end(true);
    }
    picks.finish(result)
}

/// `array_cat(array, array)`: a NULL counts as absent.
pub fn concatenate(left: &ArrayRef, right: &ArrayRef, result: &DataType) -> Result<ArrayRef, SqlError> {
    if left.data_type() != right.data_type() {
        // One is an element of the other.
        return match left.data_type() == result {
            true => append(left, right, result),
            false => prepend(left, right, result),
        };
    }
    let (left, right) = (left.as_list::<i32>(), right.as_list::<i32>());
    let mut picks = Picks::new(vec![left.values(), right.values()], left.len());
    for row in 0..left.len() {
        picks.pick_all(0, elements(left, row));
        picks.pick_all(1, elements(right, row));
        picks.end(left.is_valid(row) || right.is_valid(row));
    }
    picks.finish(result)
}

fn flat_only(list: &ArrayRef, what: &str) -> Result<(), SqlError> {
    match list.as_list::<i32>().value_type() {
        DataType::List(_) => Err(SqlError::new(
            state::FEATURE_NOT_SUPPORTED,
            format!("{what} multidimensional arrays is not supported"),
        )),
        _ => Ok(()),
    }
}

/// `array_remove(array, element)`
pub fn remove(list: &ArrayRef, element: &ArrayRef, result: &DataType) -> Result<ArrayRef, SqlError> {
    flat_only(list, "removing elements from")?;
    let list = list.as_list::<i32>();
    let [values, wanted] = keys([list.values(), element])?;
    let mut picks = Picks::new(vec![list.values()], list.len());
    for row in 0..list.len() {
        let kept = elements(list, row).filter(|at| values.row(*at) != wanted.row(row));
        kept.for_each(|at| picks.pick(0, at));
        picks.end(list.is_valid(row));
    }
    picks.finish(result)
}

/// `array_replace(array, element, other)`
pub fn replace(list: &ArrayRef, element: &ArrayRef, other: &ArrayRef, result: &DataType) -> Result<ArrayRef, SqlError> {
    flat_only(list, "replacing elements of")?;
    let list = list.as_list::<i32>();
    let [values, wanted] = keys([list.values(), element])?;
    let mut picks = Picks::new(vec![list.values(), other], list.len());
    for row in 0..list.len() {
        for at in elements(list, row) {
            match values.row(at) == wanted.row(row) {
                true => picks.pick(1, row),
                false => picks.pick(0, at),
            }
        }
        picks.end(list.is_valid(row));
    }
    picks.finish(result)
}

/// `trim_array(array, count)`
pub fn trim(list: &ArrayRef, counts: &ArrayRef, result: &DataType) -> Result<ArrayRef, SqlError> {
    let list = list.as_list::<i32>();
    let counts = counts.as_primitive::<Int32Type>();
    let mut picks = Picks::new(vec![list.values()], list.len());
    for row in 0..list.len() {
        if list.is_null(row) || counts.is_null(row) {
            picks.end(false);
            continue;
        }
        let range = range(list, row);
        let count = usize::try_from(counts.value(row))
            .ok()
            .filter(|count| *count <= range.len());
        let Some(count) = count else {
            return Err(SqlError::new(
                ARRAY_SUBSCRIPT,
                format!("number of elements to trim must be between 0 and {}", range.len()),
            ));
        };
        picks.pick_all(0, range.start..range.end - count);
        picks.end(true);
    }
    picks.finish(result)
}

/// The elements of `array_fill(element, extents[, lower bounds])`.
pub fn fill(columns: &[ArrayRef], rows: usize, result: &DataType) -> Result<ArrayRef, SqlError> {
    let refused = |message: &str| SqlError::new(NULL_NOT_ALLOWED, message);
    let mut picks = Picks::new(vec![&columns[0]], rows);
    for row in 0..rows {
        let mut counts = Vec::new();
        for column in &columns[1..] {
            if column.is_null(row) {
                return Err(refused("dimension array or low bound array cannot be null"));
            }
            let values = column.as_list::<i32>().value(row);
            if values.null_count() > 0 {
                return Err(refused("dimension values cannot be null"));
            }
            counts.push(values.as_primitive::<Int32Type>().values().to_vec());
        }
        if let [extents, bounds] = counts.as_slice()
            && extents.len() != bounds.len()
        {
            return Err(SqlError::new(ARRAY_SUBSCRIPT, "wrong number of array subscripts")
                .detail("Low bound array has different size than dimensions array."));
        }
        let extents = counts[0].iter();
        if extents.len() > DIMENSIONS_MAX {
            return Err(too_many_dimensions(extents.len()));
        }
        let count = ArrayShape(
            extents
                .map(|length| Dimension {
                    lower: 1,
                    length: *length,
                })
                .collect(),
        )
        .count()?;
        picks.picked.extend(std::iter::repeat_n((0, row), count));
        picks.end(true);
    }
    picks.finish(result)
}
