//! A function whose result has the type that it was planned with.
//!
//! The digits of some results depend on constant arguments. One that becomes a constant while the engine plans must not change
//! them any more: what stands around the call was typed before.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

/// The function with its result fixed.
pub fn fixed(function: Arc<ScalarUDF>, field: FieldRef) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Fixed { function, field }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Fixed {
    function: Arc<ScalarUDF>,
    field: FieldRef,
}

impl ScalarUDFImpl for Fixed {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn signature(&self) -> &Signature {
        self.function.signature()
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.function.coerce_types(arguments)
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.field.data_type().clone())
    }

    fn return_field_from_args(&self, _args: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(self.field.clone())
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        args.return_field = self.field.clone();
        self.function.invoke_with_args(args)
    }
}
