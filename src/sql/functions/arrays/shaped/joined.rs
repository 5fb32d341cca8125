//! Arrays of any dimensions made of others: beside each other, one inside the other, filled.

use arrow::array::{Array, ArrayRef, AsArray, ListArray};
use arrow::datatypes::Int32Type;

use super::super::NULL_NOT_ALLOWED;
use super::super::made::Picks;
use super::list_type;
use crate::error::{SqlError, SqlState, state};
use crate::sql::functions::arrays::shape::elements;
use crate::types::PgType;
use crate::types::shape::{ArrayShape, Dimension, subscript_error, too_many_dimensions};
use crate::types::shaped::ShapedArrays;

const DATA_EXCEPTION: SqlState = SqlState("22000");

/// One dimension more around a shape.
fn around(length: usize, inner: &ArrayShape) -> Result<ArrayShape, SqlError> {
    let outer = Dimension {
        lower: 1,
        length: length as i32,
    };
    let shape = ArrayShape(std::iter::once(outer).chain(inner.0.iter().copied()).collect());
    match shape.0.len() > crate::types::shape::DIMENSIONS_MAX {
        true => Err(too_many_dimensions(shape.0.len())),
        false => shape.count().map(|_| shape),
    }
}

/// `ARRAY[a, b]`: arrays of one shape as the elements of another. The result is empty if all are empty or NULL.
pub fn nested(parts: &[ShapedArrays], rows: usize, item: &PgType) -> Result<ShapedArrays, SqlError> {
    let mismatch = || subscript_error("multidimensional arrays must have array expressions with matching dimensions");
    let sources = parts.iter().map(|part| part.lists.values() as &dyn Array).collect();
    let mut picks = Picks::new(sources, rows);
    let mut shapes = Vec::with_capacity(rows);
    for row in 0..rows {
        let inner = &parts[0].shapes[row];
        if parts.iter().any(|part| part.shapes[row] != *inner) {
            return Err(mismatch());
        }
        if inner.0.is_empty() {
            shapes.push(ArrayShape::default());
            picks.end(true);
            continue;
        }
        for (source, part) in parts.iter().enumerate() {
            picks.pick_all(source, elements(&part.lists, row));
        }
        picks.end(true);
        shapes.push(around(parts.len(), inner)?);
    }
    Ok(ShapedArrays {
        shapes,
        lists: picks.finish_lists(&list_type(item))?,
    })
}

/// The arrays of each list as the elements of one more array.
pub fn gathered(lists: &ListArray, arrays: &ShapedArrays) -> Result<ShapedArrays, SqlError> {
    let mut picks = Picks::new(vec![arrays.lists.values()], lists.len());
    let mut shapes = Vec::with_capacity(lists.len());
    for row in 0..lists.len() {
        let members = elements(lists, row);
        let Some(first) = members.clone().next() else {
            shapes.push(ArrayShape::default());
            picks.end(lists.is_valid(row));
            continue;
        };
        for member in members.clone() {
            if arrays.lists.is_null(member) {
                return Err(SqlError::new(NULL_NOT_ALLOWED, "cannot accumulate null arrays"));
            }
            if arrays.shapes[member].0.is_empty() {
                return Err(subscript_error("cannot accumulate empty arrays"));
            }
            if arrays.shapes[member] != arrays.shapes[first] {
                return Err(subscript_error("cannot accumulate arrays of different dimensionality"));
            }
            picks.pick_all(0, elements(&arrays.lists, member));
        }
        shapes.push(around(members.len(), &arrays.shapes[first])?);
        picks.end(true);
    }
    Ok(ShapedArrays {
        shapes,
        lists: picks.finish_lists(arrays.lists.data_type())?,
    })
}

/// `array_cat(a, b)`, of arrays with as many dimensions, or one with one more.
pub fn concatenated(left: &ShapedArrays, right: &ShapedArrays, item: &PgType) -> Result<ShapedArrays, SqlError> {
    let rows = left.lists.len();
    let mut picks = Picks::new(vec![left.lists.values(), right.lists.values()], rows);
    let mut shapes = Vec::with_capacity(rows);
    for row in 0..rows {
        let (a, b) = (&left.shapes[row], &right.shapes[row]);
        let shape = match (left.lists.is_null(row), right.lists.is_null(row)) {
            (true, true) => {
                shapes.push(ArrayShape::default());
                picks.end(false);
                continue;
            }
            (true, false) => b.clone(),
            (false, true) => a.clone(),
            (false, false) => beside(a, b)?,
        };
        picks.pick_all(0, elements(&left.lists, row));
        picks.pick_all(1, elements(&right.lists, row));
        picks.end(true);
        shapes.push(shape);
    }
    Ok(ShapedArrays {
        shapes,
        lists: picks.finish_lists(&list_type(item))?,
    })
}

fn beside(a: &ArrayShape, b: &ArrayShape) -> Result<ArrayShape, SqlError> {
    let incompatible = |detail: String| subscript_error("cannot concatenate incompatible arrays").detail(detail);
    let (Some(first), Some(second)) = (a.0.first(), b.0.first()) else {
        return Ok(if a.0.is_empty() { b.clone() } else { a.clone() });
    };
    let (more, inner, outer) = match (a.0.len(), b.0.len()) {
        (m, n) if m == n => (second.length, &b.0[1..], a),
        (m, n) if m + 1 == n => (1, &a.0[..], b),
        (m, n) if m == n + 1 => (1, &b.0[..], a),
        (m, n) => {
            let detail = format!("Arrays of {m} and {n} dimensions are not compatible for concatenation.");
            return Err(incompatible(detail));
        }
    };
    if outer.0[1..] != *inner {
        let what = if a.0.len() == b.0.len() {
            "element dimensions"
        } else {
            "dimensions"
        };
        let detail = format!("Arrays with differing {what} are not compatible for concatenation.");
        return Err(incompatible(detail));
    }
    let mut made = outer.clone();
    let length = made.0[0].length.checked_add(more).filter(|_| first.length >= 0);
    made.0[0].length = length.unwrap_or(-1);
    made.count()?;
    Ok(made)
}

/// `array_append(a, element)`, or with the element in front.
pub fn extended(
    arrays: &ShapedArrays,
    element: &ArrayRef,
    item: &PgType,
    in_front: bool,
) -> Result<ShapedArrays, SqlError> {
    let rows = arrays.lists.len();
    let mut picks = Picks::new(vec![arrays.lists.values(), element], rows);
    let mut shapes = Vec::with_capacity(rows);
    for row in 0..rows {
        let mut shape = arrays.shapes[row].clone();
        match shape.0.as_mut_slice() {
            [] => shape = ArrayShape::plain(1),
            [only] => {
                let beyond = match in_front {
                    true => only.lower.checked_sub(1),
                    false => only.lower.checked_add(only.length),
                };
                if beyond.is_none() {
                    return Err(SqlError::new(state::NUMERIC_VALUE_OUT_OF_RANGE, "integer out of range"));
                }
                only.length += 1;
            }
            _ => {
                return Err(SqlError::new(
                    DATA_EXCEPTION,
                    "argument must be empty or one-dimensional array",
                ));
            }
        }
        shape.count()?;
        if in_front {
            picks.pick(1, row);
        }
        picks.pick_all(0, elements(&arrays.lists, row));
        if !in_front {
            picks.pick(1, row);
        }
        picks.end(true);
        shapes.push(shape);
    }
    Ok(ShapedArrays {
        shapes,
        lists: picks.finish_lists(&list_type(item))?,
    })
}

/// The shape that lists of extents and lower bounds say, for elements that are as many.
pub fn filled(lists: &ListArray, numbers: &[ArrayRef]) -> Result<ShapedArrays, SqlError> {
    let mut shapes = Vec::with_capacity(lists.len());
    for row in 0..lists.len() {
        let values = |column: &ArrayRef| {
            let values = column.as_list::<i32>().value(row);
            values.as_primitive::<Int32Type>().values().to_vec()
        };
        let extents = values(&numbers[0]);
        let lowers = numbers.get(1).map_or(vec![1; extents.len()], values);
        let dimensions = extents.into_iter().zip(lowers);
        let shape = ArrayShape(dimensions.map(|(length, lower)| Dimension { lower, length }).collect());
        shapes.push(match shape.count()? {
            0 => ArrayShape::default(),
            _ => shape,
        });
    }
    Ok(ShapedArrays {
        shapes,
        lists: lists.clone(),
    })
}
