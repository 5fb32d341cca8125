//! A SELECT to a logical plan that can be kept.
//!
//! 1. `analyze` makes a typed plan of the syntax tree; windows are made by `windows.rs`, views expanded by `expand.rs`.
//! 2. Comparisons with all rows of a subquery are written out (`quantified.rs`), correlated subqueries become joins.
//! 3. The engine puts in the casts that its own functions need, and `functions::casts` makes them PostgreSQL's.
//!
//! One rule: a plan names relations by identity ([`RelationSource`]) and holds no data, so it may be kept and run at any
//! LSN of the catalog version that it was made for. Not here: how it runs (`query`), how it is maintained (`views`).

mod aggregates;
pub(in crate::sql) mod context;
mod doubling;
mod entries;
pub mod eval;
pub(in crate::sql) mod expand;
mod keys;
mod lineage;
pub mod names;
mod partition_keys;
pub mod position;
pub(in crate::sql) mod provider;
pub mod push_down;
pub(in crate::sql) mod quantified;
pub(in crate::sql) mod resolve;
mod series;
pub(in crate::sql) mod size;
pub(in crate::sql) mod subquery;
mod view;
pub(in crate::sql) mod windows;

use std::cell::RefCell;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::Field;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DataFusionError};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::Analyzer as EngineAnalyzer;
use datafusion::optimizer::analyzer::resolve_grouping_function::ResolveGroupingFunction;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;

use super::analyze::unnest;
use super::analyze::{Analyzer, OutColumn};
use super::field::OutField;
use super::functions::casts::PostgresCasts;
use super::functions::catalog::{self, catalog_function};
use super::shared;
use super::statement::{Emit, Select};
use crate::catalog::Mention;
use crate::error::{SqlError, state};
use crate::sql::functions::growth;
use crate::types::{ObjectNames, PgType};

use context::catalog_facts;

pub use super::functions::catalog::ObjectOids;
pub use context::PlanContext;
pub use eval::compares;
use lineage::Origin;
pub(in crate::sql) use provider::Reached;
pub use provider::{options, topic_schema, watermark_type};
pub use view::{check_recomputed_definition, check_view_definition, column_names};

/// A planned SELECT.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Analyzed; its leaves are `RelationSource`s.
    pub plan: LogicalPlan,
    pub fields: Vec<OutField>,
    /// OIDs of the topics and incremental views that it reads, through every view expanded in place.
    pub relations: Vec<u32>,
    /// OIDs of the relations that the text itself names: a view made of it depends on these.
    pub depends_on: Vec<u32>,
    /// Where it names them as items of FROM.
    pub mentions: Vec<Mention>,
    /// System relations that it reads, by schema and name.
    pub system: Vec<(String, String)>,
    /// Types of `$1`, `$2`, ...
    pub parameter_types: Vec<PgType>,
    /// For each field whether it is a quoted string or a NULL without a type of its own.
    pub untyped: Vec<bool>,
    /// About the bytes that it takes while it is planned.
    pub planning_bytes: u64,
}

impl Planned {
    /// The plan with its shared queries in each place that reads them; 54001 if that is too much.
    pub fn inlined(&self) -> Result<LogicalPlan, SqlError> {
        inlined(self.plan.clone())
    }
}

fn inlined(plan: LogicalPlan) -> Result<LogicalPlan, SqlError> {
    shared::inlined(plan, size::NODES_MAX)?.ok_or_else(size::too_many_steps)
}

/// Plans a SELECT whose rows go to a client: OIDs of `regclass` and its like stay numbers, which are named as they are sent.
pub fn plan_answer(select: &Select, ctx: &PlanContext) -> Result<Planned, SqlError> {
    plan_rows(select, ctx, Ok)
}

/// Plans a SELECT whose rows are kept: OIDs of `regclass` and its like are the names that they stand for.
pub fn plan_select(select: &Select, ctx: &PlanContext) -> Result<Planned, SqlError> {
    plan_rows(select, ctx, |plan| name_oid_aliases(plan, ctx))
}

fn plan_rows(
    select: &Select,
    ctx: &PlanContext,
    finish: impl FnOnce(LogicalPlan) -> Result<LogicalPlan, DataFusionError>,
) -> Result<Planned, SqlError> {
    let reached = RefCell::new(Reached::default());
    let raw = plan_query(select, ctx, 0, &reached)?;
    let plan = finish(analyze(raw.plan)?)?;
    let fields = output_fields(&plan, &raw.columns)?;
    let reached = reached.into_inner();
    Ok(Planned {
        plan,
        fields,
        relations: reached.relations.into_iter().collect(),
        depends_on: raw.direct,
        mentions: raw.mentions,
        system: reached.system.into_iter().collect(),
        parameter_types: raw
            .parameters
            .into_iter()
            .enumerate()
            .map(|(at, kind)| {
                // Other parts of a statement whose WITH writes may give it one.
                let is_part = !select.given.is_empty();
                kind.or(is_part.then_some(PgType::Text)).ok_or_else(|| {
                    SqlError::new(
                        state::INDETERMINATE_DATATYPE,
                        format!("could not determine data type of parameter ${}", at + 1),
                    )
                })
            })
            .collect::<Result<_, _>>()?,
        untyped: raw.columns.iter().map(|column| column.untyped).collect(),
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

/// A query's plan before the engine's casts are put in.
pub(in crate::sql) struct RawPlan {
    pub plan: LogicalPlan,
    pub columns: Vec<OutColumn>,
    pub direct: Vec<u32>,
    pub mentions: Vec<Mention>,
    pub parameters: Vec<Option<PgType>>,
}

/// Analyzes one query, the statement's own or a view's definition.
pub(in crate::sql) fn plan_query(
    select: &Select,
    ctx: &PlanContext,
    depth: usize,
    reached: &RefCell<Reached>,
) -> Result<RawPlan, SqlError> {
    let extent = entries::check(&select.query)?;
    growth::claim(extent.bytes)?;
    reached.borrow_mut().planning_bytes += extent.bytes;
    let analyzer = Analyzer::new(ctx, depth, reached).with_given(select.given.clone());
    let analyzed = analyzer.analyze(&select.query, extent.relations)?;
    size::check(&analyzed.plan)?;
    let plan = shared::each(analyzed.plan, |plan| {
        let plan = unnest::rewrite(quantified::rewrite(plan)?)?;
        Ok::<_, SqlError>(partition_keys::below(aggregates::settle(keys::rewrite(plan)?)?)?)
    })?;
    let mut plan = unordered(plan)?;
    if select.emit != Emit::OnChange {
        // The close of windows is a matter of the whole plan.
        plan = inlined(plan)?;
    }
    Ok(RawPlan {
        plan: windows::set_emit(plan, select.emit)?,
        columns: analyzed.columns,
        direct: analyzed.direct,
        mentions: analyzed.mentions,
        parameters: analyzed.parameters,
    })
}

/// Inserts the casts that functions, operators and set operations need.
fn analyze(plan: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    static ANALYZER: LazyLock<EngineAnalyzer> = LazyLock::new(|| {
        EngineAnalyzer::with_rules(vec![
            Arc::new(ResolveGroupingFunction::new()),
            Arc::new(TypeCoercion::new()),
            Arc::new(PostgresCasts),
        ])
    });
    shared::each(plan, |plan| ANALYZER.execute_and_check(plan, options(), |_, _| {}))
}

/// OIDs of the `reg*` types as the names that they stand for.
fn name_oid_aliases(plan: LogicalPlan, ctx: &PlanContext) -> Result<LogicalPlan, DataFusionError> {
    let out = |field: &Field| match PgType::of_field(field) {
        Some(alias) if alias.is_oid_alias() => Some(format!("{}out", alias.base_name())),
        _ => None,
    };
    let schema = plan.schema().clone();
    if schema.fields().iter().all(|field| out(field).is_none()) {
        return Ok(plan);
    }
    let facts = Arc::new(catalog_facts(ctx));
    let exprs = schema.iter().map(|(qualifier, field)| {
        let column = Expr::Column(Column::from((qualifier, field)));
        match out(field).and_then(|name| catalog_function(&name, &facts)) {
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

/// Names of the objects that OIDs of `regclass` and its like stand for.
pub fn object_names(ctx: &PlanContext) -> ObjectNames {
    catalog::object_names(catalog_facts(ctx))
}

/// What the names of `regclass` and its like stand for.
pub fn object_oids(ctx: &PlanContext) -> ObjectOids {
    catalog::object_oids(catalog_facts(ctx))
}

fn output_fields(plan: &LogicalPlan, columns: &[OutColumn]) -> Result<Vec<OutField>, SqlError> {
    let mut fields = Vec::with_capacity(columns.len());
    for (index, (field, column)) in plan.schema().fields().iter().zip(columns).enumerate() {
        let pg_type = match column.pg_type.arrow() == *field.data_type() {
            true => Some(column.pg_type.clone()),
            false => PgType::of_field(field),
        };
        let Some(pg_type) = pg_type else {
            return Err(SqlError::unsupported(
                format!(
                    "column \"{}\" has a type that no client can be sent: {}",
                    column.name,
                    field.data_type()
                ),
                "Cast it to one of the types of the SQL reference.",
            ));
        };
        let (table_oid, number) = match lineage::origin(plan, index) {
            Some(Origin::Stored(oid, number)) => (oid, number),
            _ => (0, 0),
        };
        fields.push(OutField {
            name: column.name.clone(),
            pg_type,
            typmod: Some(column.told_typmod()),
            table_oid,
            column: number,
        });
    }
    Ok(fields)
}

#[cfg(test)]
mod tests;
