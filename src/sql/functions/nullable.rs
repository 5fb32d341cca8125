//! A value that may be NULL as far as a plan can tell.
//!
//! One rule: the value stays the same. The engine takes the columns without NULL in the first rows of a recursive query
//! for columns that have none, which need not hold for the later rows.

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::sync::{Arc, LazyLock};

#[derive(Debug, PartialEq, Eq, Hash)]
struct Nullable {
    signature: Signature,
}

/// The same value. As it is not computed while planning, a constant stays one that may be NULL.
pub fn nullable(expr: Expr) -> Expr {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        Arc::new(ScalarUDF::from(Nullable {
            signature: Signature::any(1, Volatility::Volatile),
        }))
    });
    FUNCTION.call(vec![expr])
}

/// Whether a function is that one, which is volatile for the planner alone.
pub fn is_nullable(function: &ScalarUDF) -> bool {
    function.inner().is::<Nullable>()
}

impl ScalarUDFImpl for Nullable {
    fn name(&self) -> &str {
        "nullable"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        internal_err!("its field says it")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(args.arg_fields[0].as_ref().clone().with_nullable(true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(args.args[0].clone())
    }
}
