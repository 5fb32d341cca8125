//! Expressions outside of a plan: made to agree in types, and evaluated where they are constant.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::Schema;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{Expr, ExprSchemable, Operator};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use super::keys;
use crate::sql::functions::casts;

/// The expression with the casts that its functions and operators need.
pub fn coerce(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let expr = keys::compare_all(expr, schema)?.data;
    let context = SimplifyContext::builder().with_schema(Arc::new(schema.clone())).build();
    let typed = expr.get_type(schema);
    let expr = match ExprSimplifier::new(context).coerce(expr, schema) {
        Ok(expr) => expr,
        // Asked for its type, an expression says which function does not take its arguments.
        Err(error) => return Err(typed.err().unwrap_or(error)),
    };
    let expr = casts::rewrite(expr, schema)?.data;
    Ok(expr.transform_up(|expr| write_out(expr, schema))?.data)
}

/// The engine runs some functions only in the form that its optimizer gives them: `coalesce` is a CASE.
fn write_out(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::ScalarFunction(call) = expr else {
        return Ok(Transformed::no(expr));
    };
    if !call.func.short_circuits() {
        return Ok(Transformed::no(Expr::ScalarFunction(call)));
    }
    let context = SimplifyContext::builder().with_schema(Arc::new(schema.clone())).build();
    Ok(match call.func.simplify(call.args, &context)? {
        ExprSimplifyResult::Simplified(expr) => Transformed::yes(expr),
        ExprSimplifyResult::Original(args) => Transformed::no(call.func.call(args)),
    })
}

/// Compiles a coerced expression over rows of `schema`.
pub fn compile(expr: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
    create_physical_expr(expr, schema, &ExecutionProps::new(), &Default::default())
}

/// Compiles a coerced expression for a session whose time zone its functions read.
pub fn compile_for(expr: &Expr, schema: &DFSchema, time_zone: &str) -> Result<Arc<dyn PhysicalExpr>> {
    let mut options = super::options().clone();
    options.execution.time_zone = Some(time_zone.to_string());
    let mut props = ExecutionProps::new();
    props.config_options = Some(Arc::new(options));
    create_physical_expr(expr, schema, &props, &Default::default())
}

/// A batch of one row without columns, to evaluate constants over.
pub fn one_row() -> RecordBatch {
    RecordBatch::try_new_with_options(
        Arc::new(Schema::empty()),
        vec![],
        &RecordBatchOptions::new().with_row_count(Some(1)),
    )
    .expect("a batch without columns fits the empty schema")
}

/// The value of an expression that names no column, as an array of length 1.
pub fn constant_array(expr: Expr) -> Result<ArrayRef> {
    if has_subquery(&expr) {
        return plan_err!("subqueries are not supported here");
    }
    let schema = DFSchema::empty();
    let expr = coerce(expr, &schema)?;
    compile(&expr, &schema)?.evaluate(&one_row())?.into_array(1)
}

/// The value of an expression that names no column.
pub fn constant(expr: Expr) -> Result<ScalarValue> {
    if let Expr::Literal(value, _) = expr {
        return Ok(value);
    }
    ScalarValue::try_from_array(&constant_array(expr)?, 0)
}

fn has_subquery(expr: &Expr) -> bool {
    let mut found = false;
    let walked = expr.apply(|node| {
        found |= matches!(
            node,
            Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_)
        );
        Ok(TreeNodeRecursion::Continue)
    });
    walked.is_ok() && found
}

/// Whether an operator compares two values, which it can for values of any type.
pub fn compares(op: Operator) -> bool {
    matches!(
        op,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
    )
}
