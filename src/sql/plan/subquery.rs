//! The query within an expression.
//!
//! One rule: all kinds of subqueries that an expression can hold are known here, so that a walk over a plan misses none.

use std::sync::Arc;

use datafusion::logical_expr::{Expr, LogicalPlan};

/// The query that an expression holds itself.
pub fn subquery(expr: &Expr) -> Option<&LogicalPlan> {
    let held = match expr {
        Expr::ScalarSubquery(subquery) => subquery,
        Expr::Exists(exists) => &exists.subquery,
        Expr::InSubquery(in_subquery) => &in_subquery.subquery,
        Expr::SetComparison(comparison) => &comparison.subquery,
        _ => return None,
    };
    Some(Arc::as_ref(&held.subquery))
}
