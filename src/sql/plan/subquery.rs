//! The query within an expression, and the columns of queries around it that it names.
//!
//! One rule: all kinds of subqueries that an expression can hold are known here, so that a walk over a plan misses none.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, Subquery};

/// The query that an expression holds itself.
pub fn subquery(expr: &Expr) -> Option<&LogicalPlan> {
    Some(Arc::as_ref(&held(expr)?.subquery))
}

/// The same with the columns of queries around it that it names.
pub fn held(expr: &Expr) -> Option<&Subquery> {
    match expr {
        Expr::ScalarSubquery(subquery) => Some(subquery),
        Expr::Exists(exists) => Some(&exists.subquery),
        Expr::InSubquery(in_subquery) => Some(&in_subquery.subquery),
        Expr::SetComparison(comparison) => Some(&comparison.subquery),
        _ => None,
    }
}

/// Whether a plan calls a volatile function.
pub fn calls_volatile(plan: &LogicalPlan) -> bool {
    let mut found = false;
    let looked = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            found |= expr.is_volatile();
            Ok(TreeNodeRecursion::Continue)
        })
    });
    looked.is_ok() && found
}

/// The columns of queries around a plan that it names, in its subqueries too.
pub fn outer_references(plan: &LogicalPlan) -> Vec<Expr> {
    let mut found = plan.all_out_ref_exprs();
    let looked: Result<_> = plan.apply(|node| {
        let inputs = node.inputs();
        let is_own = |column: &Column| inputs.iter().any(|input| input.schema().has_column(column));
        node.apply_expressions(|expr| {
            expr.apply(|inner| {
                for reference in held(inner).iter().flat_map(|subquery| &subquery.outer_ref_columns) {
                    if let Expr::OuterReferenceColumn(_, column) = reference
                        && !is_own(column)
                        && !found.contains(reference)
                    {
                        found.push(reference.clone());
                    }
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    looked.expect("looking fails never");
    found
}
