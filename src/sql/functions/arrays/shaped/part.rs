//! Parts of arrays of any dimensions: elements, slices, bounds.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, PrimitiveArray, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::Int32Type;

use super::super::made::Picks;
use super::super::shape::range;
use crate::error::SqlError;
use crate::sql::functions::overflow::of_arrow;
use crate::types::shape::{ArrayShape, Dimension, subscript_error};
use crate::types::shaped::ShapedArrays;

/// `a[1][2]`: NULL for a subscript that is out of range, and for fewer or more of them than there are dimensions.
pub fn element(arrays: &ShapedArrays, subscripts: &[ArrayRef]) -> Result<ArrayRef, SqlError> {
    let places = (0..arrays.lists.len()).map(|row| {
        let shape = &arrays.shapes[row];
        if arrays.lists.is_null(row) || shape.0.len() != subscripts.len() {
            return None;
        }
        let mut place = range(&arrays.lists, row).start;
        for ((dimension, stride), subscript) in shape.0.iter().zip(shape.strides()).zip(subscripts) {
            let subscript = subscript.as_primitive::<Int32Type>();
            if subscript.is_null(row) {
                return None;
            }
            place += dimension.place(subscript.value(row))? * stride;
        }
        Some(place as u64)
    });
    let places: UInt64Array = places.collect();
    take(arrays.lists.values(), &places, None).map_err(|error| of_arrow(error, arrays.lists.data_type()))
}

/// The elements between bounds of each dimension, from 1 on; none if a dimension has none between them.
fn between(shape: &ArrayShape, bounds: &[(Option<i32>, Option<i32>)]) -> (ArrayShape, Vec<usize>) {
    let nothing = (ArrayShape::default(), Vec::new());
    if bounds.len() > shape.0.len() {
        return nothing;
    }
    let mut made = ArrayShape::default();
    let mut places = vec![0];
    for (at, (dimension, stride)) in shape.0.iter().zip(shape.strides()).enumerate() {
        let (lower, upper) = bounds.get(at).copied().unwrap_or_default();
        let lower = lower.unwrap_or(dimension.lower).max(dimension.lower);
        let upper = upper.unwrap_or(dimension.upper()).min(dimension.upper());
        if lower > upper {
            return nothing;
        }
        let first = (i64::from(lower) - i64::from(dimension.lower)) as usize;
        let length = (i64::from(upper) - i64::from(lower) + 1) as usize;
        let steps = first..first + length;
        places = places
            .into_iter()
            .flat_map(|place| steps.clone().map(move |step| place + step * stride))
            .collect();
        made.0.push(Dimension {
            lower: 1,
            length: length as i32,
        });
    }
    (made, places)
}

/// `a[1:2][:3]`. `given` says which of the bounds are among the arguments.
pub fn slice(arrays: &ShapedArrays, given: &[(bool, bool)], subscripts: &[ArrayRef]) -> Result<ShapedArrays, SqlError> {
    let rows = arrays.lists.len();
    let mut picks = Picks::new(vec![arrays.lists.values()], rows);
    let mut shapes = Vec::with_capacity(rows);
    for row in 0..rows {
        let null = arrays.lists.is_null(row) || subscripts.iter().any(|subscript| subscript.is_null(row));
        if null {
            picks.end(false);
            shapes.push(ArrayShape::default());
            continue;
        }
        let mut values = subscripts
            .iter()
            .map(|subscript| subscript.as_primitive::<Int32Type>().value(row));
        let mut next = |is_given: bool| if is_given { values.next() } else { None };
        let bounds: Vec<_> = given
            .iter()
            .map(|(lower, upper)| (next(*lower), next(*upper)))
            .collect();
        let (shape, places) = between(&arrays.shapes[row], &bounds);
        let start = range(&arrays.lists, row).start;
        places.into_iter().for_each(|place| picks.pick(0, start + place));
        picks.end(true);
        shapes.push(shape);
    }
    Ok(ShapedArrays {
        shapes,
        lists: picks.finish_lists(arrays.lists.data_type())?,
    })
}

/// `trim_array(array, count)`
pub fn trimmed(arrays: &ShapedArrays, counts: &PrimitiveArray<Int32Type>) -> Result<ShapedArrays, SqlError> {
    let rows = arrays.lists.len();
    let mut uppers = Vec::with_capacity(rows);
    for row in 0..rows {
        if arrays.lists.is_null(row) || counts.is_null(row) {
            uppers.push(None);
            continue;
        }
        let first = arrays.shapes[row].0.first().copied();
        let length = first.map_or(0, |dimension| dimension.length);
        if !(0..=length).contains(&counts.value(row)) {
            let message = format!("number of elements to trim must be between 0 and {length}");
            return Err(subscript_error(&message));
        }
        let upper = first.map_or(0, |dimension| dimension.upper().wrapping_sub(counts.value(row)));
        uppers.push(Some(upper));
    }
    let uppers: ArrayRef = Arc::new(Int32Array::from(uppers));
    slice(arrays, &[(false, true)], &[uppers])
}

/// A property of the dimension that the second argument numbers.
pub fn bound(arrays: &ShapedArrays, numbers: &ArrayRef, of: impl Fn(Dimension) -> i32) -> ArrayRef {
    let numbers = numbers.as_primitive::<Int32Type>();
    let found = (0..arrays.lists.len()).map(|row| {
        if arrays.lists.is_null(row) || numbers.is_null(row) {
            return None;
        }
        let place = usize::try_from(numbers.value(row)).ok()?.checked_sub(1)?;
        arrays.shapes[row].0.get(place).map(|dimension| of(*dimension))
    });
    Arc::new(found.collect::<Int32Array>())
}
