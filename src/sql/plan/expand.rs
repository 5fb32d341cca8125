//! A plain or recomputed view, expanded in place of its name: planned from its definition, with its own search path. So is one that
//! is kept, for a statement that reads where the view has been before; its now() is the time of the log there.

use std::cell::RefCell;
use std::sync::Arc;

use datafusion::common::{Column, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};

use super::provider::Reached;
use super::{PlanContext, plan_query};
use crate::catalog::{self, system::SystemRelation};
use crate::error::SqlError;
use crate::sql::error::visible_name;
use crate::sql::functions::session::of_kept_view;
use crate::sql::parse::parse;
use crate::sql::statement::{Emit, Select, Statement};

/// The plan of a view's definition, its columns named as the view names them.
pub fn expand_view(
    view: &catalog::View,
    ctx: &PlanContext,
    depth: usize,
    reached: &RefCell<Reached>,
) -> Result<LogicalPlan, SqlError> {
    let mut select = definition(view)?;
    if view.on_window_close {
        Arc::make_mut(&mut select).emit = Emit::OnWindowClose;
    }
    let seen = ctx.catalog.seen_by(view);
    let ctx = PlanContext {
        catalog: seen.as_ref().unwrap_or(ctx.catalog),
        search_path: &view.search_path,
        functions_path: &view.search_path,
        time_zone: &view.time_zone,
        parameter_types: &[],
        // An error in a definition has no position in the statement that names the view.
        text: "",
        ..*ctx
    };
    let mut plan = plan_query(&select, &ctx, depth, reached)?.plan;
    if view.is_expanded() {
        plan = of_kept_view(plan, &view.time_zone)?;
    }
    let names: Vec<&str> = view.columns.iter().map(|column| column.name.as_str()).collect();
    Ok(rename(plan, &names)?)
}

/// The plan of a system view's definition. Its names are `pg_catalog`'s unless written out; its functions see the session's
/// search path.
pub fn expand_system_view(
    relation: &SystemRelation,
    definition: &str,
    ctx: &PlanContext,
    depth: usize,
    reached: &RefCell<Reached>,
) -> Result<LogicalPlan, SqlError> {
    let select = only_select(definition)?;
    let ctx = PlanContext {
        search_path: &[],
        parameter_types: &[],
        text: "",
        ..*ctx
    };
    let planned = plan_query(&select, &ctx, depth, reached)?;
    let names: Vec<&str> = relation.columns.iter().map(|column| column.name).collect();
    Ok(rename(planned.plan, &names)?)
}

/// The SELECT of a stored definition.
pub fn definition(view: &catalog::View) -> Result<Arc<Select>, SqlError> {
    only_select(&view.definition)
}

fn only_select(definition: &str) -> Result<Arc<Select>, SqlError> {
    let mut parsed = parse(definition)?;
    match parsed.pop().map(|parsed| parsed.statement) {
        Some(Statement::Select(select)) if parsed.is_empty() => Ok(select),
        _ => panic!("a view's definition is one SELECT (C1): {definition}"),
    }
}

fn rename(plan: LogicalPlan, names: &[&str]) -> Result<LogicalPlan> {
    let schema = plan.schema().clone();
    assert_eq!(
        schema.fields().len(),
        names.len(),
        "a stored view has the columns of its definition (C1)"
    );
    let same = schema.iter().zip(names).all(|((_, field), name)| field.name() == name);
    let distinct = schema
        .fields()
        .iter()
        .all(|field| visible_name(field.name()) == field.name());
    if same && distinct {
        return Ok(plan);
    }
    let exprs: Vec<Expr> = schema
        .iter()
        .zip(names)
        .map(|((qualifier, field), name)| Expr::Column(Column::from((qualifier, field))).alias(*name))
        .collect();
    LogicalPlanBuilder::from(plan).project(exprs)?.build()
}
