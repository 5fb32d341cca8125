//! The queries that a materialized view may not have.

use std::collections::HashSet;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};

use super::Planned;
use super::windows::limits_closed;
use crate::error::SqlError;
use crate::sql::functions::nullable::is_nullable;
use crate::sql::functions::session::{TransactionTime, transaction_time};
use crate::sql::shared;
use crate::sql::statement::Emit;
use crate::sql::window::Window;

/// Names of all columns that a plan mentions, of any relation.
pub fn column_names(plan: &LogicalPlan) -> Result<HashSet<String>, SqlError> {
    let mut names = HashSet::new();
    shared::apply(plan, |node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::Column(column) | Expr::OuterReferenceColumn(_, column) = expr {
                    names.insert(column.name.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(names)
}

/// 0A000 for a definition whose answer is not a function of the log and of time: volatile functions, the session, system relations.
/// Parameters cannot be stored either.
pub fn check_view_definition(planned: &Planned) -> Result<(), SqlError> {
    if let Some((schema, name)) = planned.system.first() {
        return Err(SqlError::unsupported(
            format!("materialized views cannot read the system relation \"{schema}.{name}\""),
            "Use a plain view (CREATE VIEW), which is computed when it is read.",
        ));
    }
    if !planned.parameter_types.is_empty() {
        return Err(SqlError::new(
            crate::error::state::UNDEFINED_PARAMETER,
            "there is no parameter $1",
        ));
    }
    let plan = planned.inlined()?;
    if limits_closed(&plan)? {
        return Err(SqlError::unsupported(
            "EMIT ON WINDOW CLOSE is not possible: LIMIT leaves out a row when another comes",
            "Leave the LIMIT out of the view, and read the view with it.",
        ));
    }
    let closes = plan.exists(|node| Ok(Window::of(node).is_some_and(|window| window.emit == Emit::OnWindowClose)))?;
    check_calls(&plan, |time| time.is_some() && !closes)
}

/// 0A000 for a definition that is recomputed when it is read, and whose time is another in each time zone.
pub fn check_recomputed_definition(planned: &Planned) -> Result<(), SqlError> {
    check_calls(&planned.inlined()?, |time| time == Some(TransactionTime::Instant))
}

/// 0A000 if the plan calls a function whose answer changes by itself, unless `may` says that it may ask for a time in this form.
fn check_calls(plan: &LogicalPlan, may: impl Fn(Option<TransactionTime>) -> bool) -> Result<(), SqlError> {
    let mut unstable: Option<(String, bool)> = None;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::ScalarFunction(call) = expr
                    && call.func.signature().volatility != Volatility::Immutable
                    && !is_nullable(&call.func)
                {
                    let time = transaction_time(&call.func);
                    if !may(time) {
                        unstable = Some((call.func.name().to_string(), time.is_some()));
                        return Ok(TreeNodeRecursion::Stop);
                    }
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    match unstable {
        Some((name, is_time)) => Err(SqlError::unsupported(
            format!("materialized views cannot call {name}(): its answer changes by itself"),
            match is_time {
                true => {
                    "Use a column of the topic in its place, or a plain view (CREATE VIEW). In WHERE a column may be compared with it."
                }
                false => "Use a column of the topic in its place, or a plain view (CREATE VIEW).",
            },
        )),
        None => Ok(()),
    }
}
