//! `pg_sleep(seconds)`: waits without holding a thread, and ends with its query.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Float64Type};
use async_trait::async_trait;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

use super::fail;
use crate::error::{SqlError, state};

pub fn all() -> Vec<Arc<ScalarUDF>> {
    let signature = Signature::one_of(
        vec![TypeSignature::Exact(vec![DataType::Float64])],
        Volatility::Volatile,
    );
    let sleep = AsyncScalarUDF::new(Arc::new(Sleep { signature }));
    vec![Arc::new(sleep.into_scalar_udf())]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Sleep {
    signature: Signature,
}

impl ScalarUDFImpl for Sleep {
    fn name(&self) -> &str {
        "pg_sleep"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// PostgreSQL's is void, which prints as nothing.
    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, _arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(fail(SqlError::new(
            state::FEATURE_NOT_SUPPORTED,
            "pg_sleep() can only stand in a select list",
        )))
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Sleep {
    async fn invoke_async_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        let seconds = arguments.args[0].to_array(rows)?;
        for seconds in seconds.as_primitive::<Float64Type>().iter().flatten() {
            if let Ok(time) = Duration::try_from_secs_f64(seconds) {
                tokio::time::sleep(time).await;
            }
        }
        ScalarValue::Utf8(Some(String::new()))
            .to_array_of_size(rows)
            .map(ColumnarValue::Array)
    }
}
