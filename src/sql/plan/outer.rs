//! References from a subquery to the outer query's columns, brought up to date: they carry a type of their own, which
//! the typing of literals may have changed since (`VALUES (1)` is BIGINT to the planner, and INTEGER afterwards).

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ExprSchema, Result};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan};

/// Gives every reference to an outer column the type that the column has.
pub fn refresh(plan: LogicalPlan) -> Result<LogicalPlan> {
    let refreshed = plan.transform_down_with_subqueries(|node| {
        crate::sql::functions::go_on()?;
        let schema = merge_schema(&node.inputs());
        node.map_subqueries(|subquery| refresh_subquery(subquery, &schema))
    })?;
    Ok(refreshed.data)
}

fn refresh_subquery(subquery: LogicalPlan, outer: &DFSchema) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Subquery(mut holder) = subquery else {
        return Ok(Transformed::no(subquery));
    };
    let refreshed = holder.subquery.as_ref().clone().transform_up(|node| {
        let node = node.map_expressions(|expr| expr.transform_up(|expr| refresh_reference(expr, outer)))?;
        match node.transformed {
            true => node.map_data(LogicalPlan::recompute_schema),
            false => Ok(node),
        }
    })?;
    if !refreshed.transformed {
        return Ok(Transformed::no(LogicalPlan::Subquery(holder)));
    }
    holder.outer_ref_columns = refreshed.data.all_out_ref_exprs();
    holder.subquery = refreshed.data.into();
    Ok(Transformed::yes(LogicalPlan::Subquery(holder)))
}

fn refresh_reference(expr: Expr, outer: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::OuterReferenceColumn(field, column) = expr else {
        return Ok(Transformed::no(expr));
    };
    // A column of a query further out is not this one's.
    match outer.field_from_column(&column) {
        Ok(known) if known.data_type() != field.data_type() => {
            let known = known.clone();
            Ok(Transformed::yes(Expr::OuterReferenceColumn(known, column)))
        }
        _ => Ok(Transformed::no(Expr::OuterReferenceColumn(field, column))),
    }
}
