//! `x > ANY (SELECT ...)` and `x > ALL (SELECT ...)` by the smallest and the largest value of the subquery: an order
//! that holds for these holds for all the others.
//!
//! `x IN (SELECT ...)` is left to the engine if only its being true counts, and is completed if NULL and false
//! are told apart: the engine says false for both.
//!
//! One rule: the answer is PostgreSQL's in all three values. With no rows, ANY is false and ALL is true; if the
//! values do not decide and one is NULL, the answer is NULL.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ExprSchema, Result, ScalarValue, TableReference};
use datafusion::logical_expr::expr::{InSubquery, SetComparison, SetQuantifier};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator, Subquery, and, lit, or, when,
};

use super::subquery::outer_references;
use crate::error::SqlError;
use crate::sql::error::external;
use crate::sql::functions::functions;

/// Answers of [`kind`]: no rows, some NULL, no NULL.
const EMPTY: i64 = 0;
const SOME_NULL: i64 = 1;
const NO_NULL: i64 = 2;

/// Rewrites every comparison with ANY or ALL rows of a subquery.
pub fn rewrite(plan: LogicalPlan) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|node| {
        crate::sql::functions::go_on()?;
        let names = NamePreserver::new(&node);
        let chooses = matches!(node, LogicalPlan::Filter(_));
        let schema = merge_schema(&node.inputs());
        let node = node.map_expressions(|expr| {
            let name = names.save(&expr);
            let rewritten = expr.transform_up(|expr| match expr {
                Expr::SetComparison(comparison) => Ok(Transformed::yes(rewrite_comparison(comparison)?)),
                other => Ok(Transformed::no(other)),
            })?;
            let completed = rewritten.transform_data(|expr| match chooses {
                true => complete_condition(expr, true, &schema),
                false => complete(expr, false, &schema),
            })?;
            Ok(completed.update_data(|expr| name.restore(expr)))
        })?;
        if node.transformed {
            node.map_data(LogicalPlan::recompute_schema)
        } else {
            Ok(node)
        }
    })?;
    Ok(rewritten.data)
}

fn rewrite_comparison(comparison: SetComparison) -> Result<Expr> {
    let SetComparison {
        expr,
        subquery,
        op,
        quantifier,
    } = comparison;
    let compare = |op: Operator, aggregate: &str| -> Result<Expr> {
        Ok(Expr::BinaryExpr(BinaryExpr::new(
            expr.clone(),
            op,
            Box::new(extreme(&subquery, aggregate)?),
        )))
    };
    let decided = match (op, &quantifier) {
        (Operator::Eq, SetQuantifier::Any) => return Ok(Expr::InSubquery(InSubquery::new(expr, subquery, false))),
        (Operator::NotEq, SetQuantifier::All) => return Ok(Expr::InSubquery(InSubquery::new(expr, subquery, true))),
        (Operator::Gt | Operator::GtEq, SetQuantifier::Any) | (Operator::Lt | Operator::LtEq, SetQuantifier::All) => {
            compare(op, "min")?
        }
        (Operator::Lt | Operator::LtEq, SetQuantifier::Any) | (Operator::Gt | Operator::GtEq, SetQuantifier::All) => {
            compare(op, "max")?
        }
        (Operator::NotEq, SetQuantifier::Any) => or(compare(op, "min")?, compare(op, "max")?),
        (Operator::Eq, SetQuantifier::All) => and(compare(op, "min")?, compare(op, "max")?),
        // Only comparisons are parsed before ANY and ALL; the engine reports others.
        _ => {
            return Ok(Expr::SetComparison(SetComparison::new(expr, subquery, op, quantifier)));
        }
    };
    let null = || Expr::Literal(ScalarValue::Boolean(None), None);
    Ok(match quantifier {
        SetQuantifier::Any => and(
            kind(&subquery)?.not_eq(lit(EMPTY)),
            or(decided, and(kind(&subquery)?.eq(lit(SOME_NULL)), null())),
        ),
        SetQuantifier::All => or(
            kind(&subquery)?.eq(lit(EMPTY)),
            and(decided, or(kind(&subquery)?.not_eq(lit(SOME_NULL)), null())),
        ),
    })
}

/// Completes an IN in a condition: NULL and false are alike there, but below a NOT. `conjunct`: only ANDs are
/// above, and the engine knows NOT IN there.
fn complete_condition(expr: Expr, conjunct: bool, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if matches!(op, Operator::And | Operator::Or) => {
            let conjunct = conjunct && op == Operator::And;
            let left = complete_condition(*left, conjunct, schema)?;
            let right = complete_condition(*right, conjunct, schema)?;
            let changed = left.transformed || right.transformed;
            let both = Expr::BinaryExpr(BinaryExpr::new(Box::new(left.data), op, Box::new(right.data)));
            Ok(Transformed::new_transformed(both, changed))
        }
        // The engine joins with NULLs in mind by columns only.
        Expr::InSubquery(ref call) if !call.negated || (conjunct && is_column(&call.expr)) => Ok(Transformed::no(expr)),
        Expr::Not(ref inner)
            if conjunct
                && matches!(inner.as_ref(), Expr::InSubquery(call) if !call.negated && is_column(&call.expr)) =>
        {
            Ok(Transformed::no(expr))
        }
        other => complete(other, true, schema),
    }
}

fn is_column(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(_))
}

/// Completes every IN of an expression. The engine runs IN in conditions only; elsewhere the equal rows are counted.
fn complete(expr: Expr, condition: bool, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_up(|expr| match expr {
        Expr::InSubquery(call) if !condition || may_be_null(&call, schema) => {
            let InSubquery {
                expr,
                subquery,
                negated,
            } = call;
            // NULL where there is one on the right, or on the left and anything on the right.
            let undecided = or(
                kind(&subquery)?.eq(lit(SOME_NULL)),
                and(expr.clone().is_null(), kind(&subquery)?.not_eq(lit(EMPTY))),
            );
            let found = match condition {
                true => Expr::InSubquery(InSubquery::new(expr, subquery, false)),
                false => is_found(*expr, &subquery, schema)?,
            };
            let answer = or(found, and(undecided, Expr::Literal(ScalarValue::Boolean(None), None)));
            Ok(Transformed::yes(match negated {
                true => Expr::Not(Box::new(answer)),
                false => answer,
            }))
        }
        other => Ok(Transformed::no(other)),
    })
}

/// Whether IN may be NULL, as far as is known.
fn may_be_null(call: &InSubquery, schema: &DFSchema) -> bool {
    let right = call.subquery.subquery.schema().field(0).is_nullable();
    right || call.expr.nullable(schema).unwrap_or(true)
}

/// Whether a subquery has a row that equals a value of the outer query.
fn is_found(value_outside: Expr, subquery: &Subquery, schema: &DFSchema) -> Result<Expr> {
    let names_outside: Vec<Option<TableReference>> = value_outside
        .column_refs()
        .into_iter()
        .map(|column| column.relation.clone())
        .collect();
    let outside = value_outside.transform_up(|expr| match expr {
        Expr::Column(column) => {
            let field = schema.field_from_column(&column)?.clone();
            Ok(Transformed::yes(Expr::OuterReferenceColumn(field, column)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    let inside = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone());
    let name_inside = inside.schema().qualified_field(0).0.cloned();
    // Inside and outside may be the same relation: a name of its own keeps them apart, if nothing inside refers out.
    let inside = match names_outside.contains(&name_inside) {
        false => inside,
        true if subquery.outer_ref_columns.is_empty() => inside.alias("in_subquery")?,
        true => {
            return Err(external(SqlError::unsupported(
                "IN with a correlated subquery over the same relation is not supported in a select list",
                "Give the relation another name inside: FROM t AS u.",
            )));
        }
    };
    let value_inside = Expr::Column(Column::from(inside.schema().qualified_field(0)));
    let counted = inside
        .filter(value_inside.eq(outside.data))?
        .aggregate(Vec::<Expr>::new(), vec![aggregate_of("count", lit(1i64))])?
        .build()?;
    Ok(or_zero(scalar(counted, subquery)).gt(lit(0i64)))
}

/// A correlated count without rows may come out as NULL.
fn or_zero(count: Expr) -> Expr {
    functions()
        .scalar
        .get("coalesce")
        .expect("coalesce is a default function")
        .call(vec![count, lit(0i64)])
}

/// The smallest or largest value of a subquery's column; NULL if there is none.
fn extreme(subquery: &Subquery, aggregate: &str) -> Result<Expr> {
    let plan = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone())
        .aggregate(Vec::<Expr>::new(), vec![aggregate_of(aggregate, value(subquery))])?
        .build()?;
    Ok(scalar(plan, subquery))
}

/// Whether a subquery has rows, and NULLs among them.
fn kind(subquery: &Subquery) -> Result<Expr> {
    let rows = aggregate_of("count", lit(1i64));
    let values = aggregate_of("count", value(subquery));
    let counted = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone())
        .aggregate(Vec::<Expr>::new(), vec![rows, values])?
        .build()?;
    let column = |index: usize| Expr::Column(Column::from(counted.schema().qualified_field(index)));
    let kind = when(column(0).eq(lit(0i64)), lit(EMPTY))
        .when(column(1).lt(column(0)), lit(SOME_NULL))
        .otherwise(lit(NO_NULL))?;
    let plan = LogicalPlanBuilder::from(counted)
        .project(vec![kind.alias("kind")])?
        .build()?;
    // EMPTY is 0.
    Ok(or_zero(scalar(plan, subquery)))
}

fn aggregate_of(name: &str, argument: Expr) -> Expr {
    functions()
        .aggregate
        .get(name)
        .expect("min, max and count are default aggregates")
        .call(vec![argument])
}

/// The one column of a subquery.
fn value(subquery: &Subquery) -> Expr {
    Expr::Column(Column::from(subquery.subquery.schema().qualified_field(0)))
}

fn scalar(plan: LogicalPlan, like: &Subquery) -> Expr {
    let outer_ref_columns = outer_references(&plan);
    Expr::ScalarSubquery(Subquery {
        subquery: Arc::new(plan),
        outer_ref_columns,
        spans: like.spans.clone(),
    })
}
