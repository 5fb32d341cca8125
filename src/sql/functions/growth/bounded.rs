//! [`Bounded`]: a function that measures its result before it makes it.

use std::hash::Hash;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{ExprSchema, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ExpressionPlacement, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature,
};

use super::account::{AccountScope, Claim, Mode, mode};
use super::estimate::{Arguments, Growth, scalar_bytes};
use super::regex::bound_match;
use super::{
    BATCH_BYTES_MAX, ELEMENTS_MAX, FOLDED_BYTES_MAX, SLICE_BYTES, SMALL_BYTES, VALUE_BYTES_MAX, fail,
    too_large_together, too_long, too_many_elements,
};

/// While it is made, a value takes its own size and that of its source.
const WORKING_FACTOR: u64 = 2;

/// A function that can grow its input.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Bounded {
    inner: Arc<ScalarUDF>,
    growth: Growth,
}

/// Whether calls of the function are measured.
pub fn is_bounded(function: &ScalarUDF) -> bool {
    function.inner().is::<Bounded>()
}

/// The function, measured if it can grow its input.
pub fn bound(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    if function.inner().is::<Bounded>() {
        return function;
    }
    match Growth::of(function.name()) {
        Some(growth) => Arc::new(ScalarUDF::from(Bounded {
            inner: function,
            growth,
        })),
        None => function,
    }
}

/// A cast to `to`, measured if it makes text, bytes or arrays.
pub fn bound_cast(cast: Arc<ScalarUDF>, to: &DataType) -> Arc<ScalarUDF> {
    let growth = match to {
        DataType::Utf8 | DataType::Binary => Growth::TextOf,
        DataType::List(_) => Growth::Read,
        _ => return cast,
    };
    Arc::new(ScalarUDF::from(Bounded { inner: cast, growth }))
}

/// The call, of the measured function if it can grow its input.
pub fn bound_call(call: ScalarFunction) -> Transformed<ScalarFunction> {
    if call.func.inner().is::<Bounded>() || Growth::of(call.func.name()).is_none() {
        return Transformed::no(call);
    }
    let ScalarFunction { func, args } = call;
    Transformed::yes(ScalarFunction::new_udf(bound(func), args))
}

impl Bounded {
    fn measure(&self, args: &ScalarFunctionArgs) -> Result<Option<Claim>> {
        let arguments = Arguments::new(&args.args, args.number_rows);
        // One value for all rows may become one for each of them further up.
        let copies = match mode() {
            Mode::Sliced if arguments.rows() == 1 => args.number_rows.max(1) as u64,
            _ => 1,
        };
        if self.growth.at_most(&arguments).saturating_mul(copies) <= SMALL_BYTES {
            return Ok(None);
        }
        let mut total = 0u64;
        for row in 0..arguments.rows() {
            let bytes = self.growth.of_row(&arguments, row);
            if bytes > VALUE_BYTES_MAX {
                return Err(fail(match self.growth.makes_arrays() && bytes > ELEMENTS_MAX * 8 {
                    true => too_many_elements(),
                    false => too_long(self.name(), bytes),
                }));
            }
            total = total.saturating_add(bytes);
        }
        match mode() {
            Mode::Sliced if args.number_rows > 1 && total.saturating_mul(copies) > SLICE_BYTES => {
                return Err(fail(too_large_together(self.name())));
            }
            Mode::Folded if total > FOLDED_BYTES_MAX => return Err(fail(too_large_together(self.name()))),
            _ if total > BATCH_BYTES_MAX => return Err(fail(too_large_together(self.name()))),
            _ => {}
        }
        // An array that was made before has a claim of its own, a single value has not.
        let held: u64 = args.args.iter().map(single_bytes).sum();
        let account = AccountScope::current().account;
        account
            .map(|account| account.claim(total.saturating_mul(WORKING_FACTOR).saturating_add(held)))
            .transpose()
    }
}

/// Bytes of a single value.
fn single_bytes(argument: &ColumnarValue) -> u64 {
    match argument {
        ColumnarValue::Scalar(value) => scalar_bytes(value),
        ColumnarValue::Array(_) => 0,
    }
}

/// Replaces functions that a simplification has named by measured ones.
fn rebound(result: ExprSimplifyResult) -> Result<ExprSimplifyResult> {
    let ExprSimplifyResult::Simplified(expr) = result else {
        return Ok(result);
    };
    let expr = expr.transform_up(|expr| match expr {
        Expr::ScalarFunction(call) => bound_call(call).map_data(|call| Ok(Expr::ScalarFunction(call))),
        Expr::BinaryExpr(binary) => match bound_match(&binary.left, binary.op, &binary.right) {
            Some(call) => Ok(Transformed::yes(call)),
            None => Ok(Transformed::no(Expr::BinaryExpr(binary))),
        },
        other => Ok(Transformed::no(other)),
    })?;
    Ok(ExprSimplifyResult::Simplified(expr.data))
}

impl ScalarUDFImpl for Bounded {
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.growth.check(&args)?;
        let claim = self.measure(&args)?;
        let made = self.growth.invoke(&self.inner, args)?;
        match (made, claim) {
            (ColumnarValue::Array(array), Some(claim)) => Ok(ColumnarValue::Array(claim.follow(array)?)),
            (ColumnarValue::Scalar(value), Some(claim)) => {
                // A running plan makes it anew for each batch; others keep it, at most for a statement.
                if !AccountScope::current().runs {
                    claim.until_settled();
                }
                Ok(ColumnarValue::Scalar(value))
            }
            (made, None) => Ok(made),
        }
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        rebound(self.inner.simplify(args, info)?)
    }

    fn with_updated_config(&self, config: &ConfigOptions) -> Option<ScalarUDF> {
        let inner = Arc::new(self.inner.inner().with_updated_config(config)?);
        Some(ScalarUDF::from(Bounded {
            inner,
            growth: self.growth,
        }))
    }

    // All else is the function's own.

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    #[allow(deprecated)]
    fn display_name(&self, args: &[Expr]) -> Result<String> {
        self.inner.inner().display_name(args)
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.inner.schema_name(args)
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arguments)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    #[allow(deprecated)]
    fn is_nullable(&self, args: &[Expr], schema: &dyn ExprSchema) -> bool {
        self.inner.inner().is_nullable(args, schema)
    }

    fn is_strict(&self) -> bool {
        self.inner.inner().is_strict()
    }

    fn preimage(&self, args: &[Expr], literal: &Expr, info: &SimplifyContext) -> Result<PreimageResult> {
        self.inner.inner().preimage(args, literal, info)
    }

    fn short_circuits(&self) -> bool {
        self.inner.short_circuits()
    }

    fn conditional_arguments<'a>(&self, args: &'a [Expr]) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.inner.conditional_arguments(args)
    }

    fn evaluate_bounds(&self, inputs: &[&Interval]) -> Result<Interval> {
        self.inner.evaluate_bounds(inputs)
    }

    fn propagate_constraints(&self, interval: &Interval, inputs: &[&Interval]) -> Result<Option<Vec<Interval>>> {
        self.inner.propagate_constraints(interval, inputs)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(inputs)
    }

    fn preserves_lex_ordering(&self, inputs: &[ExprProperties]) -> Result<bool> {
        self.inner.preserves_lex_ordering(inputs)
    }

    fn strictly_order_preserving(&self, inputs: &[ExprProperties]) -> Result<bool> {
        self.inner.inner().strictly_order_preserving(inputs)
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arguments)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn placement(&self, arguments: &[ExpressionPlacement]) -> ExpressionPlacement {
        self.inner.inner().placement(arguments)
    }
}
