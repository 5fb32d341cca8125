//! Calls of aggregates as the engine can run them: `functions::calls` says what of them. Those of a window are bounded by
//! what it writes out for each of its rows.
//!
//! One rule: runs when every column that a call names was found, and changes no name of a plan.

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan, WindowFunctionDefinition};

use crate::sql::functions::calls::settle_aggregate;
use crate::sql::functions::growth::bound_in_window;

/// Settles every call of a plan.
pub fn settle(plan: LogicalPlan) -> Result<LogicalPlan> {
    let settled = plan.transform_up_with_subqueries(|node| {
        crate::sql::functions::go_on()?;
        match node {
            LogicalPlan::Aggregate(_) => {}
            LogicalPlan::Window(_) => return node.map_expressions(|expr| expr.transform_up(bound_call)),
            _ => return Ok(Transformed::no(node)),
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

fn bound_call(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::WindowFunction(mut call) = expr else {
        return Ok(Transformed::no(expr));
    };
    let bounded = match &call.fun {
        WindowFunctionDefinition::AggregateUDF(function) => bound_in_window(function),
        WindowFunctionDefinition::WindowUDF(_) => None,
    };
    if let Some(function) = bounded {
        call.fun = WindowFunctionDefinition::AggregateUDF(function);
        return Ok(Transformed::yes(Expr::WindowFunction(call)));
    }
    Ok(Transformed::no(Expr::WindowFunction(call)))
}
