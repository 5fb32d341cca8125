//! Loops of binary operators over two columns, either of which may be one value for all rows.
//!
//! One rule: a NULL on either side makes a NULL, and the operation is not called for it.

use arrow::array::{Array, ArrayRef, AsArray, Datum, PrimitiveArray, Scalar};
use arrow::compute::kernels::arity;
use arrow::datatypes::ArrowPrimitiveType;
use arrow::error::ArrowError;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::ColumnarValue;

use super::fail;
use crate::error::SqlError;

/// Runs a kernel over two values, each of which may be one value for all rows.
pub fn apply(
    left: &ColumnarValue,
    right: &ColumnarValue,
    kernel: impl FnOnce(&dyn Datum, &dyn Datum) -> Result<ArrayRef, SqlError>,
) -> Result<ColumnarValue> {
    match (left, right) {
        (ColumnarValue::Array(left), ColumnarValue::Array(right)) => {
            Ok(ColumnarValue::Array(kernel(left, right).map_err(fail)?))
        }
        (ColumnarValue::Array(left), ColumnarValue::Scalar(right)) => {
            let right = Scalar::new(right.to_array()?);
            Ok(ColumnarValue::Array(kernel(left, &right).map_err(fail)?))
        }
        (ColumnarValue::Scalar(left), ColumnarValue::Array(right)) => {
            let left = Scalar::new(left.to_array()?);
            Ok(ColumnarValue::Array(kernel(&left, right).map_err(fail)?))
        }
        (ColumnarValue::Scalar(left), ColumnarValue::Scalar(right)) => {
            let result = kernel(&left.to_array()?, &right.to_array()?).map_err(fail)?;
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?))
        }
    }
}

/// Applies `operation` to the pairs that are not NULL; either side may be one value for all rows.
pub fn binary_kernel<L: ArrowPrimitiveType, R: ArrowPrimitiveType, O: ArrowPrimitiveType>(
    left: &dyn Datum,
    right: &dyn Datum,
    operation: impl Fn(L::Native, R::Native) -> Result<O::Native, ArrowError>,
) -> Result<PrimitiveArray<O>, ArrowError> {
    let (left, left_is_scalar) = left.get();
    let (right, right_is_scalar) = right.get();
    let (left, right) = (left.as_primitive::<L>(), right.as_primitive::<R>());
    match (left_is_scalar, right_is_scalar) {
        (true, false) if left.is_null(0) => Ok(PrimitiveArray::new_null(right.len())),
        (false, true) if right.is_null(0) => Ok(PrimitiveArray::new_null(left.len())),
        (true, false) => {
            let value = left.value(0);
            right.try_unary(|other| operation(value, other))
        }
        (false, true) => {
            let value = right.value(0);
            left.try_unary(|other| operation(other, value))
        }
        _ => arity::try_binary(left, right, operation),
    }
}
