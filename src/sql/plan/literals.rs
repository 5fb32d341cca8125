//! Literals as PostgreSQL types them, before the engine coerces anything.
//!
//! A number without a point that fits is INTEGER (the engine says BIGINT). A quoted string has no type of its own: next
//! to a value of another type it is read as that type, and 22P02 says so if it cannot be.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{BinaryExpr, InList};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Between, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator, cast};

use crate::sql::error::external;
use crate::sql::functions::zone;
use crate::types::{InputStyle, PgType, scalar_from_text};

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
pub fn narrowed(expr: Expr) -> Expr {
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(value)), metadata) => match i32::try_from(value) {
            Ok(small) => Expr::Literal(ScalarValue::Int32(Some(small)), metadata),
            Err(_) => Expr::Literal(ScalarValue::Int64(Some(value)), metadata),
        },
        other => other,
    }
}

/// Types every literal of a plan. TIMESTAMPTZ literals without a zone are in `time_zone`.
pub fn type_plan(plan: LogicalPlan, time_zone: &str) -> Result<LogicalPlan> {
    let typed = plan.transform_up_with_subqueries(|node| {
        crate::sql::functions::go_on()?;
        type_node(node, time_zone)
    })?;
    Ok(typed.data)
}

fn type_node(node: LogicalPlan, time_zone: &str) -> Result<Transformed<LogicalPlan>> {
    // LIMIT and OFFSET are BIGINT.
    if matches!(node, LogicalPlan::Limit(_) | LogicalPlan::Extension(_)) {
        return node.recompute_schema().map(Transformed::yes);
    }
    let schema = merge_schema(&node.inputs());
    let names = NamePreserver::new(&node);
    let node = node.map_expressions(|expr| {
        let name = names.save(&expr);
        let typed = type_expr(expr, &schema, time_zone)?;
        Ok(typed.update_data(|expr| name.restore(expr)))
    })?;
    node.map_data(|node| match node {
        // The types of a VALUES list are its literals': it is made anew.
        LogicalPlan::Values(values) => match LogicalPlanBuilder::values(values.values.clone()) {
            Ok(builder) => builder.build(),
            Err(_) => Ok(LogicalPlan::Values(values)),
        },
        node => node.recompute_schema(),
    })
}

/// The literals of one expression.
pub fn type_literals(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    Ok(type_expr(expr, schema, "UTC")?.data)
}

fn type_expr(expr: Expr, schema: &DFSchema, time_zone: &str) -> Result<Transformed<Expr>> {
    expr.transform_down(|expr| match expr {
        // count(*) counts a constant: its type does not matter, and its name is better left alone.
        Expr::AggregateFunction(ref call) if call.func.name() == "count" && call.params.args.iter().all(is_literal) => {
            Ok(Transformed::new(expr, false, TreeNodeRecursion::Jump))
        }
        Expr::Literal(ScalarValue::Int64(Some(_)), _) => Ok(Transformed::yes(narrowed(expr))),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(op) => {
            let (left, right) = match (is_text_literal(&left), is_text_literal(&right)) {
                (false, true) => {
                    let right = read_as(*right, &left, schema, time_zone)?;
                    (left, Box::new(right))
                }
                (true, false) => {
                    let left = read_as(*left, &right, schema, time_zone)?;
                    (Box::new(left), right)
                }
                _ => {
                    let aligned = beside(*right.clone(), &left, schema);
                    (Box::new(beside(*left, &right, schema)), Box::new(aligned))
                }
            };
            Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right })))
        }
        Expr::Between(Between {
            expr,
            negated,
            low,
            high,
        }) => {
            let low = beside(read_as(*low, &expr, schema, time_zone)?, &expr, schema);
            let high = beside(read_as(*high, &expr, schema, time_zone)?, &expr, schema);
            let expr = Box::new(dated(dated(*expr, &low, schema), &high, schema));
            let (low, high) = (Box::new(low), Box::new(high));
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
                .map(|item| Ok(beside(read_as(item, &expr, schema, time_zone)?, &expr, schema)))
                .collect::<Result<Vec<Expr>>>()?;
            let expr = Box::new(list.iter().fold(*expr, |expr, item| dated(expr, item, schema)));
            Ok(Transformed::yes(Expr::InList(InList { expr, list, negated })))
        }
        other => Ok(Transformed::no(other)),
    })
}

/// Whether an operator compares two values, which it can whatever they are.
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

fn is_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(..))
}

fn is_text_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Utf8(Some(_)), _))
}

/// One side of a comparison, of the type that PostgreSQL gives it beside the other side.
fn beside(expr: Expr, other: &Expr, schema: &DFSchema) -> Expr {
    dated(as_float(expr, other, schema), other, schema)
}

/// A date beside a timestamp is its midnight; beside a TIMESTAMPTZ that of the session's time zone.
fn dated(expr: Expr, other: &Expr, schema: &DFSchema) -> Expr {
    match (expr.get_type(schema), other.get_type(schema)) {
        (Ok(DataType::Date32), Ok(DataType::Timestamp(_, zone))) => {
            cast(expr, DataType::Timestamp(TimeUnit::Microsecond, zone))
        }
        _ => expr,
    }
}

/// A NUMERIC that is compared with a floating-point number is taken as one, as in PostgreSQL; the engine would do it the
/// other way round, and refuse NaN.
fn as_float(expr: Expr, beside: &Expr, schema: &DFSchema) -> Expr {
    let is_float = matches!(beside.get_type(schema), Ok(DataType::Float32 | DataType::Float64));
    if !is_float || !matches!(expr.get_type(schema), Ok(DataType::Decimal128(..))) {
        return expr;
    }
    match &expr {
        Expr::Literal(value, metadata) => match value.cast_to(&DataType::Float64) {
            Ok(value) => Expr::Literal(value, metadata.clone()),
            Err(_) => expr,
        },
        _ => cast(expr, DataType::Float64),
    }
}

/// Reads a string literal as the type of what it stands beside.
fn read_as(literal: Expr, beside: &Expr, schema: &DFSchema, time_zone: &str) -> Result<Expr> {
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
    let style = InputStyle {
        time_zone: zone::parse(time_zone).unwrap_or(chrono_tz::Tz::UTC),
        ..InputStyle::default()
    };
    let array = scalar_from_text(&wanted, text, &style).map_err(external)?;
    let value = ScalarValue::try_from_array(&array, 0)?;
    Ok(Expr::Literal(value, metadata.clone()))
}
