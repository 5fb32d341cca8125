//! Expressions that windows partition rows by, as columns below the windows.
//!
//! One rule: where a join or a condition makes two columns equal, PARTITION BY names columns only. The engine sorts by the
//! keys, and takes an expression over one of such columns for another than the same over the other.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, Projection, Window};

/// Puts the keys of all windows of a plan that need it into columns.
pub fn below(plan: LogicalPlan) -> Result<LogicalPlan> {
    let made = plan.transform_down_with_subqueries(|node| {
        crate::sql::functions::go_on()?;
        match node {
            LogicalPlan::Window(window) => over_columns(window),
            other => Ok(Transformed::no(other)),
        }
    })?;
    Ok(made.data)
}

/// A window, and those right below it, over columns.
fn over_columns(window: Window) -> Result<Transformed<LogicalPlan>> {
    let given = LogicalPlan::Window(window);
    let mut levels = Vec::new();
    let mut rows = &given;
    while let LogicalPlan::Window(window) = rows {
        levels.push(&window.window_expr);
        rows = window.input.as_ref();
    }
    let mut keys: Vec<Expr> = Vec::new();
    for call in levels.iter().flat_map(|calls| calls.iter()) {
        for key in partition_by(call) {
            if is_made_of(key, rows.schema()) && !keys.contains(key) {
                keys.push(key.clone());
            }
        }
    }
    if keys.is_empty() || !makes_columns_equal(rows) {
        return Ok(Transformed::no(given));
    }
    let mut exprs: Vec<Expr> = rows.schema().columns().into_iter().map(Expr::Column).collect();
    exprs.extend(keys.iter().enumerate().map(|(at, key)| key.clone().alias(name(at))));
    let mut plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(rows.clone()))?);
    let names = NamePreserver::new_for_projection();
    for calls in levels.into_iter().rev() {
        let calls = calls.iter().map(|call| {
            let named = names.save(call);
            let made = call.clone().transform_up(|expr| match expr {
                Expr::WindowFunction(mut call) => {
                    for key in &mut call.params.partition_by {
                        if let Some(at) = keys.iter().position(|known| known == key) {
                            *key = Expr::Column(Column::from_name(name(at)));
                        }
                    }
                    Ok(Transformed::yes(Expr::WindowFunction(call)))
                }
                other => Ok(Transformed::no(other)),
            })?;
            Ok(named.restore(made.data))
        });
        let calls = calls.collect::<Result<Vec<Expr>>>()?;
        plan = LogicalPlan::Window(Window::try_new(calls, Arc::new(plan))?);
    }
    let shown = given.schema().columns().into_iter().map(Expr::Column).collect();
    let shown = Projection::try_new(shown, Arc::new(plan))?;
    Ok(Transformed::yes(LogicalPlan::Projection(shown)))
}

fn name(at: usize) -> String {
    format!("~partition{at}")
}

fn partition_by(call: &Expr) -> &[Expr] {
    match call {
        Expr::Alias(alias) => partition_by(&alias.expr),
        Expr::WindowFunction(call) => &call.params.partition_by,
        _ => &[],
    }
}

/// Whether a key is computed of columns of the rows.
fn is_made_of(key: &Expr, rows: &DFSchema) -> bool {
    let columns = key.column_refs();
    !matches!(key, Expr::Column(_)) && !columns.is_empty() && columns.iter().all(|column| rows.has_column(column))
}

fn makes_columns_equal(rows: &LogicalPlan) -> bool {
    let is_equality = |expr: &Expr| {
        matches!(expr, Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right })
            if matches!((left.as_ref(), right.as_ref()), (Expr::Column(_), Expr::Column(_))))
    };
    let makes = |node: &LogicalPlan| match node {
        LogicalPlan::Join(_) => Ok(true),
        LogicalPlan::Filter(filter) => filter.predicate.exists(|expr| Ok(is_equality(expr))),
        _ => Ok(false),
    };
    rows.exists(makes).unwrap_or(true)
}
