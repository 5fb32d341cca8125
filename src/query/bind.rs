//! Binding of parameters and session values in a plan.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::ReadPoint;
use crate::error::{SqlError, state};
use crate::sql::functions::{fail, session};
use crate::sql::shared;

/// Replaces `$n` and the functions of the session by their values.
pub fn bind(plan: LogicalPlan, point: &ReadPoint) -> Result<LogicalPlan, SqlError> {
    shared::each(plan, |plan| bind_part(plan, point))
}

fn bind_part(plan: LogicalPlan, point: &ReadPoint) -> Result<LogicalPlan, SqlError> {
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
