//! Subqueries that stand more than once in a query, such as in its select list and in its GROUP BY.
//!
//! One rule: the same text means the same expression, so that keys of GROUP BY and ORDER BY are found in the select list.
//! A volatile subquery is another one in each place; so is one that holds an aggregate of the query around it, whose place
//! decides whether it may stand there.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::Expr;
use sqlparser::ast;

use super::scope::Scope;
use super::typed::Typed;
use super::{Analyzer, Result};
use crate::sql::plan::subquery::{calls_volatile, subquery};

/// Whether an expression is one with a query of its own.
pub fn is_query(expr: &ast::Expr) -> bool {
    match expr {
        ast::Expr::Subquery(_) | ast::Expr::Exists { .. } | ast::Expr::InSubquery { .. } => true,
        ast::Expr::AnyOp { right, .. } | ast::Expr::AllOp { right, .. } => {
            matches!(right.as_ref(), ast::Expr::Subquery(_))
        }
        ast::Expr::Function(call) => matches!(call.args, ast::FunctionArguments::Subquery(_)),
        _ => false,
    }
}

impl Analyzer<'_> {
    /// An expression with a query of its own, analyzed once for all places of the scope that it stands in.
    pub fn repeated(&self, expr: &ast::Expr, scope: &Scope, position: Option<usize>) -> Result<Typed> {
        let known = |queries: &[(ast::Expr, Typed)]| {
            let known = queries.iter().find(|(text, _)| text == expr);
            known.map(|(_, typed)| typed.clone())
        };
        let known = known(&scope.queries.borrow());
        if let Some(typed) = known {
            let mut inlined = scope.inlined.borrow_mut();
            if inlined.iter().any(|(expr, _)| *expr == typed.expr) {
                inlined.push((typed.expr.clone(), scope.clause.get()));
            }
            return Ok(Typed { position, ..typed });
        }
        let before = aggregates(scope);
        let typed = self.analyzed(expr, scope)?;
        if aggregates(scope) == before && !is_volatile(&typed.expr)? {
            scope.queries.borrow_mut().push((expr.clone(), typed.clone()));
        }
        Ok(typed)
    }
}

/// The number of aggregates of queries around that stand in subqueries.
fn aggregates(scope: &Scope) -> usize {
    let around = std::iter::successors(Some(scope), |scope| scope.parent);
    around.map(|scope| scope.aggregates.borrow().len()).sum()
}

fn is_volatile(expr: &Expr) -> Result<bool> {
    let mut found = expr.is_volatile();
    expr.apply(|node| {
        found |= subquery(node).is_some_and(calls_volatile);
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}
