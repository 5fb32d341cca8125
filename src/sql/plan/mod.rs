//! A SELECT to a logical plan: names, windows and hidden columns resolved, literals typed, output named as PostgreSQL
//! names it.
//!
//! 1. `bind.rs` rewrites the syntax tree: every relation by its full name, every output column named.
//! 2. The engine's planner turns it into a plan, asking `provider.rs` for relations, functions and types; windows are
//!    planned by `windows.rs`, views expanded by `expand.rs`.
//! 3. Literals are typed (`literals.rs`), then parameters, then the analyzer inserts the casts between types.
//!
//! One rule: a plan names relations by identity ([`RelationSource`]) and holds no data, so it may be kept and run at any
//! LSN of the catalog version that it was made for. Not here: how it runs (`query`), how it is maintained (`views`).

mod aggregates;
mod bind;
mod checks;
mod doubling;
mod entries;
pub mod eval;
mod expand;
mod lineage;
mod literals;
pub mod names;
mod outer;
pub mod position;
mod provider;
mod quantified;
mod resolve;
mod series;
mod set_operations;
mod size;
mod view;
mod windows;

use std::cell::RefCell;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::Field;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DataFusionError};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::Analyzer;
use datafusion::optimizer::analyzer::resolve_grouping_function::ResolveGroupingFunction;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion::sql::planner::{PlannerContext, SqlToRel};
use sqlparser::ast;

use super::compat::{self, CompatContext};
use super::error::visible_name;
use super::functions::casts::PostgresCasts;
use super::functions::catalog::{Facts, catalog_function};
use super::statement::Select;
use crate::catalog::Snapshot;
use crate::error::{SqlError, state};
use crate::sql::functions::growth;
use crate::types::PgType;

use lineage::Origin;
pub use literals::compares;
pub(in crate::sql) use provider::{Provider, Reached};
pub use provider::{options, topic_schema, watermark_type};
pub use view::{check_view_definition, column_names};

/// What a statement's meaning depends on, besides its text.
#[derive(Clone, Copy)]
pub struct PlanContext<'a> {
    pub catalog: &'a Snapshot,
    pub search_path: &'a [String],
    pub time_zone: &'a str,
    pub user: &'a str,
    pub database: &'a str,
    /// Types of `$1`, `$2`, ... where the client declared them.
    pub parameter_types: &'a [Option<PgType>],
    /// The statement's text, for the positions of errors; may be empty.
    pub text: &'a str,
}

/// One column of a result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutField {
    pub name: String,
    pub pg_type: PgType,
    /// The relation that the column is a plain column of, or 0.
    pub table_oid: u32,
    /// Its number there, from 1, or 0.
    pub column: u16,
}

/// A planned SELECT.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Analyzed; its leaves are `RelationSource`s.
    pub plan: LogicalPlan,
    pub fields: Vec<OutField>,
    /// OIDs of the topics and incremental views that it reads, through every view expanded in place.
    pub relations: Vec<u32>,
    /// OIDs of the relations that the text itself names: what a view made of it depends on.
    pub depends_on: Vec<u32>,
    /// System relations that it reads, by schema and name.
    pub system: Vec<(String, String)>,
    /// Types of `$1`, `$2`, ...
    pub parameter_types: Vec<PgType>,
    /// For each field whether it is a quoted string or a NULL without a type of its own.
    pub untyped: Vec<bool>,
    /// About what it takes while it is planned, bytes.
    pub planning_bytes: u64,
}

/// Plans a SELECT.
pub fn plan_select(select: &Select, ctx: &PlanContext) -> Result<Planned, SqlError> {
    let reached = RefCell::new(Reached::default());
    let raw = plan_query(select, ctx, 0, &reached)?;
    let untyped = untyped_columns(&raw.plan);
    let (plan, parameter_types) = type_parameters(raw.plan, ctx)?;
    let plan = analyze(plan).map_err(|error| position::locate(error, ctx.text))?;
    let plan = name_oid_aliases(plan, ctx)?;
    let fields = output_fields(&plan)?;
    let reached = reached.into_inner();
    Ok(Planned {
        plan,
        fields,
        relations: reached.relations.into_iter().collect(),
        depends_on: raw.direct,
        system: reached.system.into_iter().collect(),
        parameter_types,
        untyped,
        planning_bytes: reached.planning_bytes,
    })
}

/// Rows without columns are all alike: their order is left out, which the engine cannot make.
fn unordered(plan: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    if !plan.schema().fields().is_empty() {
        return Ok(plan);
    }
    let unordered = plan.transform_down(|node| match node {
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => Ok(Transformed::yes(Arc::unwrap_or_clone(sort.input))),
        LogicalPlan::Limit(_) | LogicalPlan::Projection(_) => Ok(Transformed::no(node)),
        _ => Ok(Transformed::new(node, false, TreeNodeRecursion::Jump)),
    })?;
    Ok(unordered.data)
}

/// A query before analysis.
pub(in crate::sql) struct RawPlan {
    pub plan: LogicalPlan,
    pub direct: Vec<u32>,
}

/// Binds and plans one query, the statement's own or a view's definition.
pub(in crate::sql) fn plan_query(
    select: &Select,
    ctx: &PlanContext,
    depth: usize,
    reached: &RefCell<Reached>,
) -> Result<RawPlan, SqlError> {
    let extent = entries::check(&select.query)?;
    growth::claim(extent.bytes)?;
    reached.borrow_mut().planning_bytes += extent.bytes;
    let attempt = |mark_columns: bool| -> Result<RawPlan, Result<SqlError, DataFusionError>> {
        let mut query = (*select.query).clone();
        let bound = bind::bind(&mut query, ctx, mark_columns).map_err(Ok)?;
        compat::rewrite(&mut query, &CompatContext { catalog: ctx.catalog }).map_err(Ok)?;
        let provider = Provider::new(ctx, &bound.hidden, depth, reached).reading(extent.relations);
        let declared = ctx
            .parameter_types
            .iter()
            .map(|known| known.as_ref().map(|known| Arc::new(known.field("", true))))
            .collect();
        let mut context = PlannerContext::new().with_prepare_param_data_types(declared);
        let plan = SqlToRel::new(&provider)
            .sql_statement_to_plan_with_context(ast::Statement::Query(Box::new(query)), &mut context)
            .map_err(Err)?;
        Ok(RawPlan {
            plan,
            direct: bound.direct.into_iter().collect(),
        })
    };
    let raw = match attempt(false) {
        // The engine wants unique names where a column stands beside the `*` that has it too.
        Err(Err(error)) if error.strip_backtrace().contains("require unique expression names") => attempt(true),
        first => first,
    };
    let raw = raw.map_err(|error| match error {
        Ok(ours) => ours,
        Err(engines) => position::locate(engines, ctx.text),
    })?;
    size::check(&raw.plan)?;
    let plan = quantified::rewrite(raw.plan)
        .and_then(|plan| literals::type_plan(plan, ctx.time_zone))
        .and_then(set_operations::rewrite)
        .and_then(aggregates::settle)
        .and_then(outer::refresh)
        .and_then(|plan| checks::check(&plan).map(|()| plan))
        .and_then(unordered)
        .map_err(|error| position::locate(error, ctx.text))?;
    Ok(RawPlan {
        plan: windows::set_emit(plan, select.emit)?,
        ..raw
    })
}

/// What the engine does not infer: `$1::bigint` is a BIGINT, and so are LIMIT and OFFSET.
fn infer_parameters(plan: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    let typed = plan.transform_up_with_subqueries(|node| {
        crate::sql::functions::go_on()?;
        let bounds_rows = matches!(node, LogicalPlan::Limit(_));
        node.map_expressions(|expr| {
            expr.transform_up(|expr| match expr {
                Expr::Cast(mut cast) => match *cast.expr {
                    Expr::Placeholder(Placeholder { id, field: None }) => {
                        cast.expr = Box::new(Expr::Placeholder(Placeholder::new_with_field(
                            id,
                            Some(cast.field.clone()),
                        )));
                        Ok(Transformed::yes(Expr::Cast(cast)))
                    }
                    inner => {
                        cast.expr = Box::new(inner);
                        Ok(Transformed::no(Expr::Cast(cast)))
                    }
                },
                Expr::Placeholder(Placeholder { id, field: None }) if bounds_rows => {
                    let field = Arc::new(PgType::Int8.field("", true));
                    Ok(Transformed::yes(Expr::Placeholder(Placeholder::new_with_field(
                        id,
                        Some(field),
                    ))))
                }
                other => Ok(Transformed::no(other)),
            })
        })
    })?;
    Ok(typed.data)
}

/// Gives every parameter a type: declared, else inferred from its use, else text.
fn type_parameters(plan: LogicalPlan, ctx: &PlanContext) -> Result<(LogicalPlan, Vec<PgType>), SqlError> {
    let plan = infer_parameters(plan)?;
    let found = plan.get_parameter_fields()?;
    let mut types: Vec<PgType> = ctx
        .parameter_types
        .iter()
        .map(|declared| declared.clone().unwrap_or(PgType::Text))
        .collect();
    for (id, field) in &found {
        let number: usize = id
            .trim_start_matches('$')
            .parse()
            .map_err(|_| SqlError::new(state::UNDEFINED_PARAMETER, format!("there is no parameter {id}")))?;
        if number == 0 {
            return Err(SqlError::new(state::UNDEFINED_PARAMETER, "there is no parameter $0"));
        }
        if types.len() < number {
            types.resize(number, PgType::Text);
        }
        let declared = ctx.parameter_types.get(number - 1).cloned().flatten();
        types[number - 1] = declared
            .or_else(|| field.as_ref().and_then(|field| PgType::of_field(field)))
            .unwrap_or(PgType::Text);
    }
    if found.is_empty() {
        return Ok((plan, types));
    }
    let typed = plan.transform_up_with_subqueries(|node| {
        crate::sql::functions::go_on()?;
        node.map_expressions(|expr| {
            expr.transform_up(|expr| match expr {
                Expr::Placeholder(Placeholder { id, .. }) => {
                    let number: usize = id.trim_start_matches('$').parse().expect("checked above");
                    let field = Arc::new(types[number - 1].field("", true));
                    Ok(Transformed::yes(Expr::Placeholder(Placeholder::new_with_field(
                        id,
                        Some(field),
                    ))))
                }
                other => Ok(Transformed::no(other)),
            })
        })?
        .map_data(LogicalPlan::recompute_schema)
    })?;
    Ok((typed.data, types))
}

/// Inserts the casts that functions, operators and set operations need.
fn analyze(plan: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    static ANALYZER: LazyLock<Analyzer> = LazyLock::new(|| {
        Analyzer::with_rules(vec![
            Arc::new(ResolveGroupingFunction::new()),
            Arc::new(TypeCoercion::new()),
            Arc::new(PostgresCasts),
        ])
    });
    ANALYZER.execute_and_check(plan, options(), |_, _| {})
}

/// OIDs of the `reg*` types are numbers within a plan; a client is sent the names that they stand for.
fn name_oid_aliases(plan: LogicalPlan, ctx: &PlanContext) -> Result<LogicalPlan, DataFusionError> {
    let out = |field: &Field| match PgType::of_field(field) {
        Some(PgType::Regclass) => Some("regclassout"),
        Some(PgType::Regtype) => Some("regtypeout"),
        Some(PgType::Regproc) => Some("regprocout"),
        Some(PgType::Regnamespace) => Some("regnamespaceout"),
        _ => None,
    };
    let schema = plan.schema().clone();
    if schema.fields().iter().all(|field| out(field).is_none()) {
        return Ok(plan);
    }
    let facts = Arc::new(catalog_facts(ctx));
    let exprs = schema.iter().map(|(qualifier, field)| {
        let column = Expr::Column(Column::from((qualifier, field)));
        match out(field).and_then(|name| catalog_function(name, &facts)) {
            Some(function) => function
                .call(vec![column])
                .alias_qualified(qualifier.cloned(), field.name()),
            None => column,
        }
    });
    LogicalPlanBuilder::from(plan)
        .project(exprs.collect::<Vec<_>>())?
        .build()
}

/// What catalog functions answer from.
fn catalog_facts(ctx: &PlanContext) -> Facts {
    Facts::new(Arc::new(ctx.catalog.clone()), ctx.search_path, ctx.user, ctx.database)
}

fn output_fields(plan: &LogicalPlan) -> Result<Vec<OutField>, SqlError> {
    let mut fields = Vec::with_capacity(plan.schema().fields().len());
    for (index, field) in plan.schema().fields().iter().enumerate() {
        let name = visible_name(field.name()).to_string();
        let pg_type = match PgType::of_field(field) {
            Some(known) => known,
            None => {
                return Err(SqlError::unsupported(
                    format!(
                        "column \"{name}\" has a type that no client can be sent: {}",
                        field.data_type()
                    ),
                    "Cast it to one of the types of the SQL reference.",
                ));
            }
        };
        let (table_oid, column) = match lineage::origin(plan, index) {
            Some(Origin::Stored(oid, column)) => (oid, column),
            _ => (0, 0),
        };
        fields.push(OutField {
            name,
            pg_type,
            table_oid,
            column,
        });
    }
    Ok(fields)
}

/// Which columns of a query are plain quoted strings or NULLs, whose type is whatever is asked for. `plan` is not analyzed yet.
fn untyped_columns(plan: &LogicalPlan) -> Vec<bool> {
    match plan {
        LogicalPlan::Sort(sort) => untyped_columns(&sort.input),
        LogicalPlan::Limit(limit) => untyped_columns(&limit.input),
        LogicalPlan::Projection(projection) => {
            // What the rows are ordered by and is not selected is taken off above the sort.
            let sorted = match projection.input.as_ref() {
                LogicalPlan::Sort(sort) => untyped_columns(&sort.input),
                _ => Vec::new(),
            };
            let is_untyped = |expr: &Expr| match expr.clone().unalias() {
                Expr::Literal(ScalarValue::Utf8(_) | ScalarValue::Null, _) => true,
                Expr::Column(column) => {
                    let index = projection.input.schema().maybe_index_of_column(&column);
                    index
                        .and_then(|index| sorted.get(index))
                        .is_some_and(|untyped| *untyped)
                }
                _ => false,
            };
            projection.expr.iter().map(is_untyped).collect()
        }
        other => vec![false; other.schema().fields().len()],
    }
}

/// Whether a query aggregates, in itself or in what it reads.
pub fn aggregates(planned: &Planned) -> bool {
    planned
        .plan
        .exists(|node| Ok(matches!(node, LogicalPlan::Aggregate(_))))
        .expect("looking fails never")
}

#[cfg(test)]
mod tests;
