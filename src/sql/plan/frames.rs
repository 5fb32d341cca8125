//! Aggregates that windows call: those whose values may be large are bounded as windows write them out, for each row.

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan, WindowFunctionDefinition};

use crate::sql::functions::growth::bound_in_window;

/// Bounds the aggregates of every window of a plan.
pub fn bound(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found |= matches!(node, LogicalPlan::Window(_));
        Ok(if found {
            TreeNodeRecursion::Stop
        } else {
            TreeNodeRecursion::Continue
        })
    })?;
    if !found {
        return Ok(plan);
    }
    let bounded = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Window(_) => node.map_expressions(|expr| expr.transform_up(bound_call)),
        node => Ok(Transformed::no(node)),
    })?;
    Ok(bounded.data)
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
