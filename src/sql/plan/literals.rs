//! Literals as PostgreSQL types them, before the engine coerces anything.
//!
//! A number without a point that fits is INTEGER (the engine says BIGINT). A quoted string has no type of its own: next
//! to a value of another type it is read as that type, and 22P02 says so if it cannot be.

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{BinaryExpr, InList};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Between, Expr, ExprSchemable, LogicalPlan, Operator};
use datafusion::optimizer::AnalyzerRule;

use crate::sql::error::{external, invalid_input};
use crate::types::PgType;

/// Types the numbers beside an operator before the operator is chosen, so that `$1 + 1` adds integers.
#[derive(Debug)]
pub struct LiteralPlanner;

impl ExprPlanner for LiteralPlanner {
    fn plan_binary_op(&self, expr: RawBinaryExpr, _schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        Ok(PlannerResult::Original(RawBinaryExpr {
            left: narrowed(expr.left),
            right: narrowed(expr.right),
            ..expr
        }))
    }
}

/// A number that fits is INTEGER.
fn narrowed(expr: Expr) -> Expr {
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(value)), metadata) => match i32::try_from(value) {
            Ok(small) => Expr::Literal(ScalarValue::Int32(Some(small)), metadata),
            Err(_) => Expr::Literal(ScalarValue::Int64(Some(value)), metadata),
        },
        other => other,
    }
}

/// The analyzer rule: every literal of a plan.
#[derive(Debug)]
pub struct TypeLiterals;

impl AnalyzerRule for TypeLiterals {
    fn name(&self) -> &str {
        "type_literals"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(type_plan)?.data)
    }
}

fn type_plan(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    // LIMIT and OFFSET are BIGINT; a VALUES list is typed by its columns.
    if matches!(plan, LogicalPlan::Limit(_) | LogicalPlan::Extension(_)) {
        return plan.recompute_schema().map(Transformed::yes);
    }
    let schema = merge_schema(&plan.inputs());
    let names = NamePreserver::new(&plan);
    let plan = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let typed = type_expr(expr, &schema)?;
        Ok(typed.update_data(|expr| name.restore(expr)))
    })?;
    plan.map_data(LogicalPlan::recompute_schema)
}

/// The literals of one expression.
pub fn type_literals(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    Ok(type_expr(expr, schema)?.data)
}

fn type_expr(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_down(|expr| match expr {
        // count(*) counts a constant: its type does not matter, and its name is better left alone.
        Expr::AggregateFunction(ref call) if call.func.name() == "count" && call.params.args.iter().all(is_literal) => {
            Ok(Transformed::new(expr, false, TreeNodeRecursion::Jump))
        }
        Expr::Literal(ScalarValue::Int64(Some(_)), _) => Ok(Transformed::yes(narrowed(expr))),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(op) => {
            let (left, right) = match (is_text_literal(&left), is_text_literal(&right)) {
                (false, true) => {
                    let right = read_as(*right, &left, schema)?;
                    (left, Box::new(right))
                }
                (true, false) => {
                    let left = read_as(*left, &right, schema)?;
                    (Box::new(left), right)
                }
                _ => (left, right),
            };
            Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right })))
        }
        Expr::Between(Between {
            expr,
            negated,
            low,
            high,
        }) => {
            let low = Box::new(read_as(*low, &expr, schema)?);
            let high = Box::new(read_as(*high, &expr, schema)?);
            Ok(Transformed::yes(Expr::Between(Between {
                expr,
                negated,
                low,
                high,
            })))
        }
        Expr::InList(InList { expr, list, negated }) => {
            let list = list
                .into_iter()
                .map(|item| read_as(item, &expr, schema))
                .collect::<Result<Vec<Expr>>>()?;
            Ok(Transformed::yes(Expr::InList(InList { expr, list, negated })))
        }
        other => Ok(Transformed::no(other)),
    })
}

fn compares(op: Operator) -> bool {
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

fn is_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(..))
}

fn is_text_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Utf8(Some(_)), _))
}

/// Reads a string literal as the type of what it stands beside.
fn read_as(literal: Expr, beside: &Expr, schema: &DFSchema) -> Result<Expr> {
    let Expr::Literal(ScalarValue::Utf8(Some(text)), metadata) = &literal else {
        return Ok(literal);
    };
    // An outer query's column is not in this schema: such a literal is left to the engine.
    let Ok((_, field)) = beside.to_field(schema) else {
        return Ok(literal);
    };
    let Some(pg_type) = PgType::of_field(&field) else {
        return Ok(literal);
    };
    let wanted = match pg_type {
        PgType::Numeric(_) => PgType::Numeric(None),
        known => known,
    };
    if matches!(wanted.arrow(), DataType::Utf8 | DataType::List(_)) {
        return Ok(literal);
    }
    let value = ScalarValue::Utf8(Some(text.trim().to_string()))
        .cast_to(&wanted.arrow())
        .map_err(|_| external(invalid_input(&wanted.name(), text)))?;
    Ok(Expr::Literal(value, metadata.clone()))
}
