//! A value with its type in metadata, for expressions that do not give it: a CASE, `coalesce`, the item of an array.
//!
//! One rule: the value stays the same. Types of one Arrow form (TEXT, JSONB, UUID) differ in the metadata of a field,
//! which an alias may have as well; but rules of the engine leave aliases out.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::types::PgType;

#[derive(Debug, PartialEq, Eq, Hash)]
struct Told {
    /// [`PgType::spelling`]
    name: String,
    data_type: DataType,
    signature: Signature,
}

/// The same value, of a type.
pub fn told(expr: Expr, pg_type: &PgType) -> Expr {
    let wanted = pg_type.arrow();
    let is_known = PgType::of_arrow(&wanted).as_ref() == Some(pg_type);
    let says = |known: &Expr| match known {
        Expr::ScalarFunction(call) => call
            .func
            .inner()
            .downcast_ref::<Told>()
            .is_some_and(|told| told.name == pg_type.spelling()),
        Expr::Literal(_, Some(metadata)) => {
            metadata.inner().get(crate::types::PG_TYPE_KEY) == Some(&pg_type.spelling())
        }
        _ => false,
    };
    if is_known || says(&expr) {
        return expr;
    }
    let told = Told {
        name: pg_type.spelling(),
        data_type: wanted,
        signature: Signature::any(1, Volatility::Immutable),
    };
    ScalarUDF::from(told).call(vec![expr])
}

impl ScalarUDFImpl for Told {
    fn name(&self) -> &str {
        "told"
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        Ok(args[0].to_string())
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(format!("{}::{}", args[0].schema_name(), self.name))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        internal_err!("its field says it")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let mut field = args.arg_fields[0].as_ref().clone();
        field.set_metadata([(crate::types::PG_TYPE_KEY.to_string(), self.name.clone())].into());
        match field.data_type().equals_datatype(&self.data_type) {
            true => Ok(Arc::new(field.with_data_type(self.data_type.clone()))),
            false => Ok(Arc::new(field)),
        }
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn preserves_lex_ordering(
        &self,
        _inputs: &[datafusion::logical_expr::sort_properties::ExprProperties],
    ) -> Result<bool> {
        Ok(true)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let wanted = args.return_field.data_type();
        match &args.args[0] {
            value if value.data_type() == *wanted => Ok(value.clone()),
            value => {
                let array = value.to_array(args.number_rows)?;
                Ok(ColumnarValue::Array(arrow::compute::cast(&array, wanted)?))
            }
        }
    }
}
