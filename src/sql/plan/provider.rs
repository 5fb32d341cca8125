//! What the planner asks while it plans: relations, functions, types, settings. Synchronous, over one snapshot.
//!
//! A topic, an incremental view or a system relation becomes a [`RelationSource`] leaf; a plain or recomputed view is
//! expanded in place, planned with its own search path.

use std::borrow::Cow;
use std::cell::{OnceCell, RefCell};
use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::TableFunctionArgs;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Column, Result, ScalarValue, TableReference, plan_err};
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::provider_as_source;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner, TypePlanner};
use datafusion::logical_expr::{
    AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, LogicalPlanBuilder, ScalarUDF, TableSource, TableType, WindowUDF,
};
use sqlparser::ast;

use super::literals::{self, LiteralPlanner};
use super::resolve::{Resolved, resolve};
use super::windows::WindowPlanner;
use super::{PlanContext, eval, expand, series, size};
use crate::catalog::{self, Relation};
use crate::error::{SqlError, state};
use crate::log::SystemColumn;
use crate::sql::error::external;
use crate::sql::functions::catalog::{Facts, catalog_function};
use crate::sql::functions::{Functions, functions, temporal, zone};
use crate::sql::source::{RelationKind, RelationSource};
use crate::types::PgType;

/// Most nodes of views' plans that the engine's planner may copy for one query.
const COPIED_NODES_MAX: u64 = 100 * size::NODES_MAX;
/// How deep views may stand on views.
const VIEW_DEPTH_MAX: usize = 64;

/// Leaves reached while planning, through every view expanded in place.
#[derive(Default, Debug)]
pub struct Reached {
    /// Topics and incremental views.
    pub relations: BTreeSet<u32>,
    /// Plain and recomputed views that were expanded.
    pub expanded: BTreeSet<u32>,
    /// Schema and name of system relations.
    pub system: BTreeSet<(String, String)>,
    /// Nodes of the expanded views' plans, each time that one is named.
    pub nodes: u64,
    /// About what planning takes, bytes.
    pub planning_bytes: u64,
}

/// The planner's view of the world, for one statement or one view's definition.
pub struct Provider<'a> {
    pub ctx: &'a PlanContext<'a>,
    /// Hidden columns that topics show in this statement.
    pub hidden: &'a [SystemColumn],
    pub depth: usize,
    pub reached: &'a RefCell<Reached>,
    /// Relations that the query reads with its CTEs in place.
    relations: u64,
    options: &'static ConfigOptions,
    functions: &'static Functions,
    facts: OnceCell<Arc<Facts>>,
}

impl<'a> Provider<'a> {
    pub fn new(
        ctx: &'a PlanContext<'a>,
        hidden: &'a [SystemColumn],
        depth: usize,
        reached: &'a RefCell<Reached>,
    ) -> Provider<'a> {
        Provider {
            ctx,
            hidden,
            depth,
            reached,
            relations: 1,
            options: options(),
            functions: functions(),
            facts: OnceCell::new(),
        }
    }

    /// For a query that reads so many relations.
    pub fn reading(mut self, relations: u64) -> Provider<'a> {
        self.relations = relations;
        self
    }

    /// The plan of a view in place of its name. The engine's planner copies it wherever a CTE that reads it is named: at most
    /// as often as the query reads relations.
    fn expanded(&self, plan: LogicalPlan) -> Result<Arc<dyn TableSource>, SqlError> {
        let nodes = {
            let mut reached = self.reached.borrow_mut();
            reached.nodes = reached.nodes.saturating_add(size::nodes(&plan)?);
            reached.nodes
        };
        if nodes.saturating_mul(self.relations) > COPIED_NODES_MAX {
            return Err(size::too_many_steps());
        }
        Ok(Arc::new(Expanded::new(plan)))
    }

    /// What catalog functions answer from; made when the first one is named.
    fn facts(&self) -> &Arc<Facts> {
        self.facts.get_or_init(|| Arc::new(super::catalog_facts(self.ctx)))
    }

    fn source(&self, parts: &[String]) -> Result<Arc<dyn TableSource>, SqlError> {
        match resolve(parts, self.ctx)? {
            Resolved::Relation(Relation::Topic(topic)) => {
                self.reached.borrow_mut().relations.insert(topic.oid);
                Ok(Arc::new(RelationSource {
                    kind: RelationKind::Topic(topic.clone()),
                    schema: topic_schema(topic, self.hidden),
                }))
            }
            Resolved::Relation(Relation::View(view)) if view.materialized && view.recomputed.is_none() => {
                self.reached.borrow_mut().relations.insert(view.oid);
                Ok(Arc::new(RelationSource {
                    kind: RelationKind::View(view.clone()),
                    schema: columns_schema(&view.columns),
                }))
            }
            Resolved::Relation(Relation::View(view)) => {
                self.check_depth()?;
                self.reached.borrow_mut().expanded.insert(view.oid);
                let plan = expand::expand_view(view, self.ctx, self.depth + 1, self.reached)?;
                self.expanded(plan)
            }
            Resolved::System(relation) => {
                let key = (relation.schema.to_string(), relation.name.to_string());
                self.reached.borrow_mut().system.insert(key);
                let Some(definition) = relation.definition else {
                    return Ok(Arc::new(RelationSource {
                        kind: RelationKind::System(relation.schema, relation.name),
                        schema: relation.arrow_schema().clone(),
                    }));
                };
                self.check_depth()?;
                let plan = expand::expand_system_view(relation, definition, self.ctx, self.depth + 1, self.reached)?;
                self.expanded(plan)
            }
        }
    }

    /// A bound of a series of instants as the engine counts it. Steps of days are days of the session's time zone; a
    /// series of dates is one of TIMESTAMPTZ.
    fn in_nanoseconds(&self, value: ScalarValue) -> std::result::Result<ScalarValue, SqlError> {
        let nanoseconds = |microseconds: Option<i64>| match microseconds.map(|value| value.checked_mul(1_000)) {
            Some(None) => Err(SqlError::new(
                state::DATETIME_FIELD_OVERFLOW,
                "timestamp out of range for generate_series",
            )),
            known => Ok(known.flatten()),
        };
        let session: Arc<str> = Arc::from(self.ctx.time_zone);
        Ok(match value {
            ScalarValue::TimestampMicrosecond(value, None) => {
                ScalarValue::TimestampNanosecond(nanoseconds(value)?, None)
            }
            ScalarValue::TimestampMicrosecond(value, Some(_)) => {
                ScalarValue::TimestampNanosecond(nanoseconds(value)?, Some(session))
            }
            ScalarValue::Date32(value) => {
                let zone = zone::parse(self.ctx.time_zone).unwrap_or(chrono_tz::Tz::UTC);
                let midnight = value.map(temporal::midnight).transpose()?;
                let instant = midnight.map(|local| zone::from_local(local, zone));
                ScalarValue::TimestampNanosecond(nanoseconds(instant)?, Some(session))
            }
            other => other,
        })
    }

    fn check_depth(&self) -> Result<(), SqlError> {
        if self.depth < VIEW_DEPTH_MAX {
            return Ok(());
        }
        Err(SqlError::new(
            state::STATEMENT_TOO_COMPLEX,
            "views are stacked too deeply",
        ))
    }
}

/// A topic's user columns, then the hidden ones that are shown.
pub fn topic_schema(topic: &catalog::Topic, hidden: &[SystemColumn]) -> SchemaRef {
    let mut fields: Vec<_> = topic
        .columns
        .iter()
        .map(|column| column.pg_type.field(&column.name, !column.not_null))
        .collect();
    for column in hidden {
        let pg_type = match column {
            SystemColumn::Partition => PgType::Int4,
            SystemColumn::Offset | SystemColumn::Lsn => PgType::Int8,
            SystemColumn::Timestamp => PgType::TimestampTz,
            SystemColumn::Watermark => watermark_type(topic),
        };
        // Rows that are not committed have no place yet.
        fields.push(pg_type.field(column.name(), true));
    }
    Arc::new(Schema::new(fields))
}

/// The type of `_watermark`: the event-time column's, or TIMESTAMP where there is none.
pub fn watermark_type(topic: &catalog::Topic) -> PgType {
    topic
        .watermark
        .as_ref()
        .and_then(|watermark| topic.columns.iter().find(|column| column.name == watermark.column))
        .map_or(PgType::Timestamp, |column| column.pg_type.clone())
}

fn columns_schema(columns: &[catalog::Column]) -> SchemaRef {
    let fields: Vec<_> = columns
        .iter()
        .map(|column| column.pg_type.field(&column.name, !column.not_null))
        .collect();
    Arc::new(Schema::new(fields))
}

/// A view expanded in place: the planner takes its plan instead of a scan.
#[derive(Debug)]
struct Expanded {
    plan: LogicalPlan,
    schema: SchemaRef,
}

impl Expanded {
    fn new(plan: LogicalPlan) -> Expanded {
        Expanded {
            schema: Arc::new(plan.schema().as_arrow().clone()),
            plan,
        }
    }
}

impl TableSource for Expanded {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn get_logical_plan(&'_ self) -> Option<Cow<'_, LogicalPlan>> {
        Some(Cow::Borrowed(&self.plan))
    }
}

/// The planner's settings. TIMESTAMPTZ is UTC inside; the session's time zone is bound where a query runs.
pub fn options() -> &'static ConfigOptions {
    static OPTIONS: LazyLock<ConfigOptions> = LazyLock::new(|| {
        let mut options = ConfigOptions::new();
        options.execution.time_zone = Some("UTC".to_string());
        options.sql_parser.enable_ident_normalization = true;
        options.sql_parser.map_string_types_to_utf8view = false;
        options.sql_parser.parse_float_as_decimal = true;
        options.sql_parser.collect_spans = true;
        options.sql_parser.support_varchar_with_length = true;
        options.sql_parser.default_null_ordering = "nulls_max".to_string();
        options
    });
    &OPTIONS
}

/// PostgreSQL's type names, with what Arrow alone cannot tell in the field's metadata.
#[derive(Debug)]
struct Types;

impl TypePlanner for Types {
    fn plan_type_field(&self, sql_type: &ast::DataType) -> Result<Option<FieldRef>> {
        let name = sql_type.to_string().to_lowercase();
        let name = name.strip_prefix("pg_catalog.").unwrap_or(&name);
        if let Some(known) = PgType::parse(name) {
            return Ok(Some(Arc::new(known.field("", true))));
        }
        match sql_type {
            ast::DataType::Interval { .. } | ast::DataType::Array(_) => Ok(None),
            _ => Err(external(SqlError::new(
                state::UNDEFINED_OBJECT,
                format!("type \"{name}\" does not exist"),
            ))),
        }
    }
}

static TYPES: LazyLock<Arc<dyn TypePlanner>> = LazyLock::new(|| Arc::new(Types));
static PLANNERS: LazyLock<Vec<Arc<dyn ExprPlanner>>> = LazyLock::new(|| {
    let mut planners: Vec<Arc<dyn ExprPlanner>> = vec![Arc::new(LiteralPlanner)];
    planners.extend(functions().planners.iter().cloned());
    planners
});
static RELATIONS: LazyLock<Vec<Arc<dyn RelationPlanner>>> = LazyLock::new(|| vec![Arc::new(WindowPlanner)]);

impl ContextProvider for Provider<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        match name {
            // Every relation was written out in full: a bare name is a CTE's, which the planner looks up itself.
            TableReference::Bare { table } => plan_err!("relation \"{table}\" is not a CTE"),
            TableReference::Partial { schema, table } => {
                self.source(&[schema.to_string(), table.to_string()]).map_err(external)
            }
            TableReference::Full { schema, table, .. } => {
                self.source(&[schema.to_string(), table.to_string()]).map_err(external)
            }
        }
    }

    fn get_table_function_source(&self, name: &str, args: Vec<Expr>) -> Result<Arc<dyn TableSource>> {
        let name = name.trim_matches('"').to_lowercase();
        let Some(function) = datafusion::execution::SessionStateDefaults::default_table_functions()
            .into_iter()
            .find(|function| function.name() == name && self.functions.scalar.contains_key(&name))
        else {
            return Err(external(
                SqlError::new(
                    state::UNDEFINED_FUNCTION,
                    format!("function {name} does not exist in FROM"),
                )
                .hint("Functions that return rows are generate_series and unnest; windows are TUMBLE and HOP."),
            ));
        };
        let args = args.into_iter().map(|arg| eval::constant(literals::narrowed(arg)));
        let args = series::bounds(&name, args.collect::<Result<_>>()?, self.ctx.time_zone).map_err(external)?;
        let args = args
            .into_iter()
            .map(|value| Ok(Expr::Literal(self.in_nanoseconds(value).map_err(external)?, None)))
            .collect::<Result<Vec<Expr>>>()?;
        // The function wants a session and reads nothing from it.
        static SESSION: LazyLock<SessionState> = LazyLock::new(|| SessionStateBuilder::new().build());
        let provider = function.create_table_provider_with_args(TableFunctionArgs::new(&args, &*SESSION))?;
        let source = provider_as_source(provider);
        let unit = match source.schema().field(0).data_type() {
            DataType::Timestamp(TimeUnit::Nanosecond, zone) => zone.as_ref().map(|_| Arc::from("UTC")),
            _ => return Ok(source),
        };
        let column = source.schema().field(0).name().clone();
        let microseconds = DataType::Timestamp(TimeUnit::Microsecond, unit);
        let cast = Expr::Cast(Cast::new(
            Box::new(Expr::Column(Column::from_name(&column))),
            microseconds,
        ));
        let plan = LogicalPlanBuilder::scan(name, source, None)?
            .project(vec![cast.alias(column)])?
            .build()?;
        Ok(Arc::new(Expanded::new(plan)))
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> Result<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &PLANNERS
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &RELATIONS
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(TYPES.clone())
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        let name = function_name(name);
        // Answered while planning, where FROM may need it: names are resolved along the same path.
        if name == "current_schemas" {
            return catalog_function(name, self.facts());
        }
        let known = self.functions.scalar.get(name).cloned();
        let known = known.or_else(|| catalog_function(name, self.facts()));
        known.or_else(|| {
            // `unnest` is a word of the planner's own.
            let elsewhere = name == "unnest"
                || self.functions.aggregate.contains_key(name)
                || self.functions.window.contains_key(name)
                || self.functions.higher_order.contains_key(name);
            (!elsewhere).then(|| super::checks::unknown_function(name))
        })
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.functions.higher_order.get(function_name(name)).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.functions.aggregate.get(function_name(name)).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.functions.window.get(function_name(name)).cloned()
    }

    fn get_variable_type(&self, _variable_names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.options
    }

    fn udf_names(&self) -> Vec<String> {
        self.functions.scalar.keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.functions.higher_order.keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.functions.aggregate.keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.functions.window.keys().cloned().collect()
    }
}

/// `pg_catalog.upper` is `upper`.
fn function_name(name: &str) -> &str {
    name.strip_prefix("pg_catalog.").unwrap_or(name)
}
