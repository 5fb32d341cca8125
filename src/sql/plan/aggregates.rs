//! Calls of aggregates as the engine can run them: `functions::calls` lists the changes. Aggregates of a window are
//! bounded by the output for each of its rows. Rows are sorted by keys that the engine can compare.
//!
//! One rule: runs when every column that a call names was found, and changes no name of a plan.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::expr::{Sort, WindowFunctionParams};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, Projection, WindowFrame, WindowFrameBound, WindowFrameUnits,
    WindowFunctionDefinition,
};

use super::keys;
use crate::sql::functions::calls::settle_aggregate;
use crate::sql::functions::casts;
use crate::sql::functions::growth::bound_in_window;

/// Settles every call of a plan.
pub fn settle(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(subqueries_below)?.data;
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
                return node.map_expressions(|expr| Ok(Transformed::yes(keys::sorted_by(expr, &schema))));
            }
            _ => return Ok(Transformed::no(node)),
        }
        let names = NamePreserver::new(&node);
        let schema = node.inputs()[0].schema().clone();
        let node = node.map_expressions(|expr| {
            let name = names.save(&expr);
            let settled = expr.transform_up(|expr| match expr {
                Expr::AggregateFunction(mut call) => {
                    // DISTINCT values are sorted by themselves.
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

/// Computes subqueries below a node that sorts by them: the engine does not sort rows without columns, and names a
/// field of a sort key by the value that a subquery does not have yet. Nor does it recognize a comparison in a key as
/// the order of a window's rows: such a key goes below as a whole.
fn subqueries_below(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    if !matches!(node, LogicalPlan::Aggregate(_) | LogicalPlan::Window(_)) {
        return Ok(Transformed::no(node));
    }
    let is_window = matches!(node, LogicalPlan::Window(_));
    let is_comparison = |expr: &Expr| matches!(expr, Expr::BinaryExpr(binary) if crate::sql::plan::compares(binary.op));
    let mut found: Vec<Expr> = Vec::new();
    let mut note = |expr: &Expr| -> Result<()> {
        let as_whole = is_window && expr.exists(|part| Ok(is_comparison(part)))?;
        expr.apply(|part| {
            let is_one = as_whole || matches!(part, Expr::ScalarSubquery(_));
            if is_one && !found.contains(part) {
                found.push(part.clone());
            }
            match is_one {
                true => Ok(TreeNodeRecursion::Jump),
                false => Ok(TreeNodeRecursion::Continue),
            }
        })
        .map(|_| ())
    };
    for expr in node.expressions() {
        expr.apply(|part| {
            match part {
                Expr::AggregateFunction(call) => call.params.order_by.iter().try_for_each(|by| note(&by.expr))?,
                Expr::WindowFunction(call) => {
                    call.params.partition_by.iter().try_for_each(&mut note)?;
                    call.params.order_by.iter().try_for_each(|by| note(&by.expr))?;
                }
                _ => {}
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    if found.is_empty() {
        return Ok(Transformed::no(node));
    }
    let input = node.inputs()[0].clone();
    let width = input.schema().fields().len();
    let value = |at: usize| format!("\u{1}subquery{width}.{at}");
    let mut exprs: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
    exprs.extend(found.iter().enumerate().map(|(at, expr)| expr.clone().alias(value(at))));
    let input = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?);
    let names = NamePreserver::new(&node);
    let shown = node.schema().columns();
    let exprs = node.expressions().into_iter().map(|expr| {
        let name = names.save(&expr);
        let over = expr.transform_down(|part| {
            Ok(match found.iter().position(|known| *known == part) {
                Some(at) => Transformed::yes(Expr::Column(Column::from_name(value(at)))),
                None => Transformed::no(part),
            })
        })?;
        Ok(name.restore(over.data))
    });
    let node = node.with_new_exprs(exprs.collect::<Result<Vec<_>>>()?, vec![input])?;
    Ok(Transformed::yes(match is_window {
        true => {
            let shown = shown.into_iter().map(Expr::Column).collect();
            LogicalPlan::Projection(Projection::try_new(shown, Arc::new(node))?)
        }
        false => node,
    }))
}

/// Whether one of them is sorted by something else now.
fn sort_by_keys(order_by: &mut [Sort], schema: &DFSchema) -> bool {
    let mut changed = false;
    for order in order_by {
        let by = keys::sorted_by(order.expr.clone(), schema);
        changed |= by != order.expr;
        order.expr = by;
    }
    changed
}

/// Whether a frame counts in the values that rows are sorted by.
fn counts_in_values(frame: &WindowFrame) -> bool {
    let is_offset = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::Preceding(offset) | WindowFrameBound::Following(offset) => !offset.is_null(),
        WindowFrameBound::CurrentRow => false,
    };
    frame.units == WindowFrameUnits::Range && (is_offset(&frame.start_bound) || is_offset(&frame.end_bound))
}

/// NUMERIC in which the distances of a frame are counted; 22003 for values with more digits before the point.
fn counted() -> FieldRef {
    Arc::new(Field::new("", DataType::Decimal128(38, 12), true))
}

/// Peers are a group: the engine finds those of every type, ranges of values only of some.
fn by_peers(params: &mut WindowFunctionParams, schema: &DFSchema) -> Result<()> {
    let frame = &params.window_frame;
    if frame.units != WindowFrameUnits::Range || counts_in_values(frame) {
        return Ok(());
    }
    for order in &params.order_by {
        let known = order.expr.get_type(schema)?;
        if !(known.is_numeric() || known.is_temporal() || known == DataType::Utf8) {
            let (start, end) = (frame.start_bound.clone(), frame.end_bound.clone());
            params.window_frame = WindowFrame::new_bounds(WindowFrameUnits::Groups, start, end);
            return Ok(());
        }
    }
    Ok(())
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
    by_peers(&mut call.params, schema)?;
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
