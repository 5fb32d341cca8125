//! Patterns of LIKE, ILIKE and SIMILAR TO, with the bounds of regular expressions: the engine turns them into such.

use std::hash::Hash;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::expr::{Like, ScalarFunction};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::regex;
use crate::sql::functions::fail;
use crate::sql::functions::regexes::limits;

/// The same pattern, if it is none too long to compile; 2201B else.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedPattern {
    signature: Signature,
}

fn checked() -> Arc<ScalarUDF> {
    static CHECKED: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        let signature = Signature::any(1, Volatility::Immutable);
        Arc::new(ScalarUDF::from(CheckedPattern { signature }))
    });
    CHECKED.clone()
}

/// The comparison with a pattern that is checked before it is used.
pub fn bound_like(like: Like) -> Result<Transformed<Like>> {
    match like.pattern.as_ref() {
        Expr::Literal(value, _) => {
            if let Some(Some(pattern)) = value.try_as_str() {
                limits::check(pattern).map_err(fail)?;
            }
            Ok(Transformed::no(like))
        }
        Expr::ScalarFunction(call) if call.func.inner().is::<CheckedPattern>() => Ok(Transformed::no(like)),
        _ => {
            let call = ScalarFunction::new_udf(checked(), vec![*like.pattern]);
            Ok(Transformed::yes(Like {
                pattern: Box::new(Expr::ScalarFunction(call)),
                ..like
            }))
        }
    }
}

impl ScalarUDFImpl for CheckedPattern {
    fn name(&self) -> &str {
        "pattern"
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(args[0].schema_name().to_string())
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments[0].clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<arrow::datatypes::FieldRef> {
        Ok(args.arg_fields[0].clone())
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [pattern] = args.args.as_slice() else {
            unreachable!("planned with one argument")
        };
        regex::check_values(pattern)?;
        Ok(pattern.clone())
    }
}
