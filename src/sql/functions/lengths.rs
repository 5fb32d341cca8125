//! Lengths that PostgreSQL counts otherwise than the engine: `octet_length` of text and bytea, `array_length`, which is
//! NULL for an empty array.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array};
use arrow::compute::kernels::length::length;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::casts::map;
use super::{fail, undefined_function};

/// One function per name.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    let signature = || Signature::user_defined(Volatility::Immutable);
    vec![
        Arc::new(ScalarUDF::from(OctetLength { signature: signature() })),
        Arc::new(ScalarUDF::from(ArrayLength { signature: signature() })),
    ]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OctetLength {
    signature: Signature,
}

impl ScalarUDFImpl for OctetLength {
    fn name(&self) -> &str {
        "octet_length"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        match arguments {
            [DataType::Utf8 | DataType::LargeUtf8 | DataType::Null] => Ok(vec![DataType::Utf8]),
            [DataType::Binary] => Ok(vec![DataType::Binary]),
            _ => Err(fail(undefined_function("octet_length", arguments))),
        }
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int32)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        map(&args.args[0], |column| Ok(length(column)?))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ArrayLength {
    signature: Signature,
}

impl ScalarUDFImpl for ArrayLength {
    fn name(&self) -> &str {
        "array_length"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        match arguments {
            [list @ DataType::List(_), dimension] if dimension.is_integer() || dimension.is_null() => {
                Ok(vec![list.clone(), DataType::Int64])
            }
            _ => Err(fail(undefined_function("array_length", arguments))),
        }
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int32)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let lists = args.args[0].to_array(args.number_rows)?;
        let dimensions = args.args[1].to_array(args.number_rows)?;
        let dimensions = dimensions.as_primitive::<Int64Type>();
        let lengths = (0..args.number_rows).map(|row| {
            let dimension = dimensions.is_valid(row).then(|| dimensions.value(row))?;
            extent(&lists, row, dimension)
        });
        Ok(ColumnarValue::Array(Arc::new(lengths.collect::<Int32Array>())))
    }
}

/// Elements of one dimension, from 1; `None` if there is none.
fn extent(lists: &ArrayRef, row: usize, dimension: i64) -> Option<i32> {
    let DataType::List(_) = lists.data_type() else {
        return None;
    };
    if dimension < 1 || lists.is_null(row) {
        return None;
    }
    let items = lists.as_list::<i32>().value(row);
    match dimension {
        _ if items.is_empty() => None,
        1 => i32::try_from(items.len()).ok(),
        _ => extent(&items, 0, dimension - 1),
    }
}
