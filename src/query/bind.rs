//! Parameters and session values into a plan, and the limit on how deep a plan may be.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::ReadPoint;
use crate::error::{SqlError, state};
use crate::sql::functions::{fail, session};

/// How deep expressions and plans may be nested.
const DEPTH_MAX: usize = 5000;

/// Replaces `$n` and the functions of the session by their values.
pub fn bind(plan: LogicalPlan, point: &ReadPoint) -> Result<LogicalPlan, SqlError> {
    let bound = plan.transform_up_with_subqueries(|node| {
        crate::sql::functions::go_on()?;
        let names = NamePreserver::new(&node);
        let node = node.map_expressions(|expr| {
            let name = names.save(&expr);
            let expr = bind_parameters(expr, &point.parameters)?;
            let bound = expr.transform_data(|expr| session::bind_expr(expr, &point.session))?;
            Ok(bound.update_data(|expr| name.restore(expr)))
        })?;
        if node.transformed {
            node.map_data(LogicalPlan::recompute_schema)
        } else {
            Ok(node)
        }
    })?;
    Ok(bound.data)
}

fn bind_parameters(expr: Expr, parameters: &[ScalarValue]) -> Result<Transformed<Expr>> {
    expr.transform_up(|expr| {
        let Expr::Placeholder(Placeholder { id, field }) = expr else {
            return Ok(Transformed::no(expr));
        };
        let missing = || {
            fail(SqlError::new(
                state::UNDEFINED_PARAMETER,
                format!("there is no parameter {id}"),
            ))
        };
        let number: usize = id.trim_start_matches('$').parse().map_err(|_| missing())?;
        let value = number
            .checked_sub(1)
            .and_then(|index| parameters.get(index))
            .ok_or_else(missing)?;
        let value = match &field {
            Some(field) if *field.data_type() != value.data_type() => value.cast_to(field.data_type())?,
            _ => value.clone(),
        };
        Ok(Transformed::yes(Expr::Literal(value, None)))
    })
}

/// The nesting depth of a plan and its expressions; 54001 past the limit.
pub fn depth(plan: &LogicalPlan) -> Result<usize, SqlError> {
    let mut deepest = 0;
    let mut levels: Vec<(&LogicalPlan, usize)> = vec![(plan, 1)];
    while let Some((node, level)) = levels.pop() {
        deepest = deepest.max(level);
        levels.extend(node.inputs().into_iter().map(|input| (input, level + 1)));
        node.apply_expressions(|expr| {
            deepest = deepest.max(level + expression_depth(expr));
            Ok(TreeNodeRecursion::Continue)
        })?;
        if deepest > DEPTH_MAX {
            return Err(
                SqlError::new(state::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded")
                    .hint("Nest the expressions of the statement less deeply."),
            );
        }
    }
    Ok(deepest)
}

/// Walks with a stack of its own: the expression may be too deep to recurse into.
fn expression_depth(expr: &Expr) -> usize {
    let mut deepest = 0;
    let mut levels: Vec<(&Expr, usize)> = vec![(expr, 1)];
    while let Some((node, level)) = levels.pop() {
        deepest = deepest.max(level);
        if let Expr::ScalarSubquery(subquery) = node {
            deepest = deepest.max(level + depth(&subquery.subquery).unwrap_or(DEPTH_MAX + 1));
        }
        node.apply_children(|child| {
            levels.push((child, level + 1));
            Ok(TreeNodeRecursion::Continue)
        })
        .expect("collecting children fails never");
    }
    deepest
}
