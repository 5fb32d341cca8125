//! Calls of aggregates as the engine can run them: `functions::calls` says what of them. Those of a window are bounded by
//! what it writes out for each of its rows. Rows are sorted by keys that the engine can compare.
//!
//! One rule: runs when every column that a call names was found, and changes no name of a plan.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
};

use super::keys;
use crate::sql::functions::calls::settle_aggregate;
use crate::sql::functions::casts;
use crate::sql::functions::functions;
use crate::sql::functions::growth::bound_in_window;
use crate::types::PgType;

/// Settles every call of a plan.
pub fn settle(plan: LogicalPlan) -> Result<LogicalPlan> {
    let settled = plan.transform_up_with_subqueries(|node| {
        crate::sql::functions::go_on()?;
        match node {
            LogicalPlan::Aggregate(_) => {}
            LogicalPlan::Window(_) => {
                let names = NamePreserver::new(&node);
                let schema = node.inputs()[0].schema().clone();
                return node.map_expressions(|expr| {
                    let name = names.save(&expr);
                    let bound = expr.transform_up(|expr| bound_call(expr, &schema))?;
                    Ok(bound.update_data(|expr| name.restore(expr)))
                });
            }
            LogicalPlan::Sort(_) => {
                let schema = node.inputs()[0].schema().clone();
                return node.map_expressions(|expr| Ok(Transformed::yes(key(expr, &schema))));
            }
            _ => return Ok(Transformed::no(node)),
        }
        let names = NamePreserver::new(&node);
        let schema = node.inputs()[0].schema().clone();
        let node = node.map_expressions(|expr| {
            let name = names.save(&expr);
            let settled = expr.transform_up(|expr| match expr {
                Expr::AggregateFunction(mut call) => {
                    // What is distinct is sorted by itself.
                    let by_keys = !call.params.distinct && sort_by_keys(&mut call.params.order_by, &schema);
                    let changed = settle_aggregate(&mut call)? | by_keys;
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

/// Whether one of them is sorted by something else now.
fn sort_by_keys(order_by: &mut [Sort], schema: &DFSchema) -> bool {
    let mut changed = false;
    for order in order_by {
        let by = key(order.expr.clone(), schema);
        changed |= by != order.expr;
        order.expr = by;
    }
    changed
}

/// What a value is sorted by: JSONB has an order of its own, and so has what is compared by keys.
fn key(expr: Expr, schema: &DFSchema) -> Expr {
    match expr.to_field(schema) {
        Ok((_, field)) if PgType::of_field(&field) == Some(PgType::Jsonb) => {
            let function = functions().scalar["jsonb_sort_key"].clone();
            function.call(vec![expr])
        }
        _ => keys::order(expr, schema),
    }
}

/// Whether a frame counts in the values that rows are sorted by.
fn counts_in_values(frame: &WindowFrame) -> bool {
    let is_offset = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::Preceding(offset) | WindowFrameBound::Following(offset) => !offset.is_null(),
        WindowFrameBound::CurrentRow => false,
    };
    frame.units == WindowFrameUnits::Range && (is_offset(&frame.start_bound) || is_offset(&frame.end_bound))
}

/// NUMERIC in which the distances of a frame are counted; 22003 for what has more digits before the point.
fn counted() -> FieldRef {
    Arc::new(Field::new("", DataType::Decimal128(38, 12), true))
}

fn bound_call(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::WindowFunction(mut call) = expr else {
        return Ok(Transformed::no(expr));
    };
    match counts_in_values(&call.params.window_frame) {
        false => {
            sort_by_keys(&mut call.params.order_by, schema);
        }
        true => {
            for order in &mut call.params.order_by {
                if order.expr.get_type(schema)? == DataType::LargeBinary {
                    order.expr = casts::cast_expr(order.expr.clone(), counted(), schema)?;
                }
            }
        }
    }
    let bounded = match &call.fun {
        WindowFunctionDefinition::AggregateUDF(function) => bound_in_window(function),
        WindowFunctionDefinition::WindowUDF(_) => None,
    };
    if let Some(function) = bounded {
        call.fun = WindowFunctionDefinition::AggregateUDF(function);
        return Ok(Transformed::yes(Expr::WindowFunction(call)));
    }
    Ok(Transformed::yes(Expr::WindowFunction(call)))
}
