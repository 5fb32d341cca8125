//! What NUMERIC is compared, grouped, joined and sorted by: the value without its scale.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::column::Numbers;
use crate::sql::functions::casts::map;
use crate::types::varying;

/// The function of exact numbers whose results compare as the numbers do, byte by byte.
pub fn key() -> Arc<ScalarUDF> {
    static KEY: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        let signature = Signature::any(1, Volatility::Immutable);
        Arc::new(ScalarUDF::from(NumericKey { signature }))
    });
    KEY.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct NumericKey {
    signature: Signature,
}

impl ScalarUDFImpl for NumericKey {
    fn name(&self) -> &str {
        "numeric_key"
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(format!("numeric_key({})", args[0].schema_name()))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Binary)
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        map(&args.args[0], |column| Ok(keys(column)))
    }
}

fn keys(column: &ArrayRef) -> ArrayRef {
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
