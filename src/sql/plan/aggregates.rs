//! Calls of aggregates as the engine can run them: `functions::calls` says what of them.
//!
//! One rule: runs when every column that a call names was found, and changes no name of a plan.

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan};

use crate::sql::functions::calls::settle_aggregate;

/// Settles every call of a plan.
pub fn settle(plan: LogicalPlan) -> Result<LogicalPlan> {
    let settled = plan.transform_up_with_subqueries(|node| {
        crate::sql::functions::go_on()?;
        if !matches!(node, LogicalPlan::Aggregate(_)) {
            return Ok(Transformed::no(node));
        }
        let names = NamePreserver::new(&node);
        let node = node.map_expressions(|expr| {
            let name = names.save(&expr);
            let settled = expr.transform_up(|expr| match expr {
                Expr::AggregateFunction(mut call) => {
                    let changed = settle_aggregate(&mut call)?;
                    let call = Expr::AggregateFunction(call);
                    Ok(if changed {
                        Transformed::yes(call)
                    } else {
                        Transformed::no(call)
                    })
                }
                other => Ok(Transformed::no(other)),
            })?;
            Ok(settled.update_data(|expr| name.restore(expr)))
        })?;
        match node.transformed {
            true => node.map_data(LogicalPlan::recompute_schema),
            false => Ok(node),
        }
    })?;
    Ok(settled.data)
}
