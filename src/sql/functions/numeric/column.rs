//! Columns of exact numbers, of any type, read as NUMERIC, and columns of NUMERIC made of values.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, LargeBinaryBuilder};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{DataType, Decimal128Type, Int16Type, Int32Type, Int64Type};

use crate::error::SqlError;
use crate::stop;
use crate::types::varying::Numeric;

/// The values of a column.
pub struct Numbers<'a> {
    column: &'a dyn Array,
    values: NumericValues<'a>,
}

enum NumericValues<'a> {
    Int2(&'a ScalarBuffer<i16>),
    Int4(&'a ScalarBuffer<i32>),
    Int8(&'a ScalarBuffer<i64>),
    Fixed(&'a ScalarBuffer<i128>, i8),
    Varying(&'a arrow::array::LargeBinaryArray),
}

impl<'a> Numbers<'a> {
    /// `None` for a column of other types.
    pub fn of(column: &'a dyn Array) -> Option<Numbers<'a>> {
        let values = match column.data_type() {
            DataType::Int16 => NumericValues::Int2(column.as_primitive::<Int16Type>().values()),
            DataType::Int32 => NumericValues::Int4(column.as_primitive::<Int32Type>().values()),
            DataType::Int64 => NumericValues::Int8(column.as_primitive::<Int64Type>().values()),
            DataType::Decimal128(_, scale) => {
                NumericValues::Fixed(column.as_primitive::<Decimal128Type>().values(), *scale)
            }
            DataType::LargeBinary => NumericValues::Varying(column.as_binary::<i64>()),
            _ => return None,
        };
        Some(Numbers { column, values })
    }

    /// The value of a row that is not NULL.
    pub fn value(&self, row: usize) -> Numeric {
        match &self.values {
            NumericValues::Int2(values) => Numeric::whole(values[row].into()),
            NumericValues::Int4(values) => Numeric::whole(values[row].into()),
            NumericValues::Int8(values) => Numeric::whole(values[row].into()),
            NumericValues::Fixed(values, scale) => Numeric::of_units(values[row], *scale),
            NumericValues::Varying(values) => Numeric::decode(values.value(row)),
        }
    }

    pub fn get(&self, row: usize) -> Option<Numeric> {
        self.column.is_valid(row).then(|| self.value(row))
    }
}

/// Whether [`Numbers`] reads columns of the type.
pub fn is_exact(data_type: &DataType) -> bool {
    use DataType::{Decimal128, Int16, Int32, Int64, LargeBinary};
    matches!(data_type, Int16 | Int32 | Int64 | Decimal128(_, _) | LargeBinary)
}

/// A column of values with scales of their own, by row.
pub fn collect(
    rows: usize,
    mut value: impl FnMut(usize) -> Result<Option<Numeric>, SqlError>,
) -> Result<ArrayRef, SqlError> {
    const BYTES: usize = 8;
    let mut column = LargeBinaryBuilder::with_capacity(rows, rows * BYTES);
    let mut bytes = Vec::new();
    for row in 0..rows {
        if row.is_multiple_of(1024) {
            stop::check()?;
        }
        match value(row)? {
            Some(number) => {
                bytes.clear();
                number.encode(&mut bytes);
                column.append_value(&bytes);
            }
            None => column.append_null(),
        }
    }
    Ok(Arc::new(column.finish()))
}
