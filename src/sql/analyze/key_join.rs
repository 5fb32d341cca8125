//! Joins of two plans on keys that must be equal.
//!
//! One rule: the pairs of keys are over the left side and the right one, in this order; other conditions are the
//! filter.

use std::sync::Arc;

use datafusion::common::{JoinType, NullEquality};
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{BinaryExpr, Expr, Join, JoinConstraint, LogicalPlan, Operator};

use super::Result;
use super::operators::{conjunction, has};

/// Pairs of an expression over the left side of a join and its equal over the right side.
pub type EqualPairs = Vec<(Expr, Expr)>;

/// The pairs of a condition that must be equal on both sides, and the rest of it.
pub fn keys(condition: Expr, left: &LogicalPlan, right: &LogicalPlan) -> Result<(EqualPairs, Option<Expr>)> {
    let of = |expr: &Expr, plan: &LogicalPlan| {
        let columns = expr.column_refs();
        let volatile = has(expr, |node| matches!(node, Expr::OuterReferenceColumn(..)));
        !columns.is_empty() && !volatile && columns.iter().all(|column| plan.schema().has_column(column))
    };
    let mut on = Vec::new();
    let mut rest = Vec::new();
    for part in split_conjunction_owned(condition) {
        match part {
            Expr::BinaryExpr(BinaryExpr {
                left: a,
                op: Operator::Eq,
                right: b,
            }) if of(&a, left) && of(&b, right) => on.push((*a, *b)),
            Expr::BinaryExpr(BinaryExpr {
                left: a,
                op: Operator::Eq,
                right: b,
            }) if of(&a, right) && of(&b, left) => on.push((*b, *a)),
            other => rest.push(other),
        }
    }
    Ok((on, conjunction(rest)))
}

pub fn join(
    left: LogicalPlan,
    right: LogicalPlan,
    join_type: JoinType,
    on: EqualPairs,
    filter: Option<Expr>,
) -> Result<LogicalPlan> {
    join_by(left, right, join_type, (on, NullEquality::NullEqualsNothing), filter)
}

/// A join whose keys take NULLs for equal.
pub fn null_safe_join(
    left: LogicalPlan,
    right: LogicalPlan,
    join_type: JoinType,
    on: EqualPairs,
    filter: Option<Expr>,
) -> Result<LogicalPlan> {
    join_by(left, right, join_type, (on, NullEquality::NullEqualsNull), filter)
}

fn join_by(
    left: LogicalPlan,
    right: LogicalPlan,
    join_type: JoinType,
    (on, nulls): (EqualPairs, NullEquality),
    filter: Option<Expr>,
) -> Result<LogicalPlan> {
    let (left, right) = (Arc::new(left), Arc::new(right));
    let join = Join::try_new(left, right, on, filter, join_type, JoinConstraint::On, nulls, false)?;
    Ok(LogicalPlan::Join(join))
}
