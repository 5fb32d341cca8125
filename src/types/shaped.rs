//! Arrays of any dimensions and lower bounds, as bytes.
//!
//! One rule: a value is the array as PostgreSQL sends it in binary, with its own shape and the type of its elements.
//! Arrow holds such values as `BinaryView`, as it does nothing else. `docs/decisions/0010` has the reasons. Not here:
//! arrays of one dimension from 1, which are lists.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryViewArray, BinaryViewBuilder, ListArray, NullBufferBuilder};
use arrow::buffer::OffsetBuffer;
use bytes::{BufMut, BytesMut};

use super::array::BinaryItems;
use super::shape::ArrayShape;
use super::{ColumnBuilder, ColumnFormatter, PgType, TextStyle};
use crate::error::SqlError;

/// Arrays as their shapes and, one after another, their elements. A NULL has no shape.
pub struct ShapedArrays {
    pub shapes: Vec<ArrayShape>,
    pub lists: ListArray,
}

impl ShapedArrays {
    /// Of arrays of one dimension.
    pub fn of_lists(lists: &ListArray) -> ShapedArrays {
        let shapes = (0..lists.len()).map(|row| match lists.is_null(row) {
            true => ArrayShape::default(),
            false => ArrayShape::plain(lists.value_length(row) as usize),
        });
        ShapedArrays {
            shapes: shapes.collect(),
            lists: lists.clone(),
        }
    }

    /// Of values whose elements are read as a type.
    pub fn decode(column: &ArrayRef, item: &PgType) -> Result<ShapedArrays, SqlError> {
        let Some(values) = column.as_binary_view_opt() else {
            return Ok(ShapedArrays {
                shapes: vec![ArrayShape::default(); column.len()],
                lists: new_null_lists(item, column.len()),
            });
        };
        let mut items = ColumnBuilder::new(item, values.len());
        let mut shapes = Vec::with_capacity(values.len());
        let mut ends = Vec::with_capacity(values.len() + 1);
        let mut nulls = NullBufferBuilder::new(values.len());
        ends.push(0);
        for value in values {
            let shape = match value {
                None => ArrayShape::default(),
                Some(value) => {
                    let (shape, parts) = BinaryItems::any(value, None)?;
                    for part in parts {
                        match part? {
                            Some(bytes) => items.append_binary(bytes)?,
                            None => items.append_null(),
                        }
                    }
                    shape
                }
            };
            nulls.append(value.is_some());
            shapes.push(shape);
            ends.push(items.len() as i32);
        }
        let lists = ListArray::new(
            item.element().into(),
            OffsetBuffer::new(ends.into()),
            items.finish(),
            nulls.finish(),
        );
        Ok(ShapedArrays { shapes, lists })
    }

    /// The values, with elements of a type.
    pub fn encode(&self, item: &PgType) -> Result<BinaryViewArray, SqlError> {
        let items = ColumnFormatter::new(item, self.lists.values(), &TextStyle::default())?;
        let oid = item.oid();
        let offsets = self.lists.value_offsets();
        let mut made = BinaryViewBuilder::with_capacity(self.shapes.len());
        let mut value = BytesMut::new();
        for (row, shape) in self.shapes.iter().enumerate() {
            if self.lists.is_null(row) {
                made.append_null();
                continue;
            }
            let range = offsets[row] as usize..offsets[row + 1] as usize;
            value.clear();
            let has_nulls = range.clone().any(|at| items.is_null(at));
            value.put_i32(shape.0.len() as i32);
            value.put_i32(has_nulls.into());
            value.put_u32(oid);
            for dimension in &shape.0 {
                value.put_i32(dimension.length);
                value.put_i32(dimension.lower);
            }
            range.for_each(|at| items.write_field(at, true, &mut value));
            made.append_value(&value);
        }
        Ok(made.finish())
    }
}

fn new_null_lists(item: &PgType, rows: usize) -> ListArray {
    ListArray::new_null(item.element().into(), rows)
}

/// The type of elements that the values say; `None` if there are none that do.
pub fn item_type(column: &ArrayRef) -> Option<PgType> {
    let value = column.as_binary_view_opt()?.iter().flatten().next()?;
    let oid = value.get(8..12)?.try_into().ok()?;
    PgType::from_oid(u32::from_be_bytes(oid))
}

/// Whether an array in binary has another shape than one dimension from 1.
pub fn has_other_shape(value: &[u8], item: &PgType) -> bool {
    BinaryItems::any(value, Some(item)).is_ok_and(|(shape, _)| !shape.is_plain())
}

/// A column of lists as values of any shape.
pub fn of_lists(column: &ArrayRef, item: &PgType) -> Result<ArrayRef, SqlError> {
    match column.as_list_opt::<i32>() {
        Some(lists) => Ok(Arc::new(ShapedArrays::of_lists(lists).encode(item)?)),
        None => Ok(arrow::array::new_null_array(
            &arrow::datatypes::DataType::BinaryView,
            column.len(),
        )),
    }
}

/// Values of any shape as lists; 0A000 for shapes other than one dimension from 1.
pub fn to_lists(column: &ArrayRef, item: &PgType) -> Result<ArrayRef, SqlError> {
    let arrays = ShapedArrays::decode(column, item)?;
    match arrays.shapes.iter().all(ArrayShape::is_plain) {
        true => Ok(Arc::new(arrays.lists)),
        false => Err(super::multidimensional()),
    }
}
