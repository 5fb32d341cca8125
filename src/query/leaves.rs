//! The leaves of a plan, bound to a read point: topics, views and system relations become scans of their content at its
//! LSN; window nodes learn the watermark there.
//!
//! One rule: everything that a plan reads is taken here, while it is planned, at one LSN. Running reads no log.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan, UserDefinedLogicalNode};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};

use super::asof::{AsofExec, AsofExprs};
use super::prune::Pruning;
use super::scan::{ColumnSource, Piece, TopicScan};
use super::session::SessionExec;
use super::shared::SharedExec;
use super::statistics::reached;
use super::window::WindowExec;
use super::{OwnRows, OwnWrites, ReadPoint, SystemRows, Topics};
use crate::catalog::{self, system};
use crate::error::{SqlError, state};
use crate::log::{Adoption, AppendRows, Chunk, Extent, HiddenColumn, Lsn, Reader, Run, Stored, TopicId, conform};
use crate::sql::asof::AsofJoin;
use crate::sql::functions::fail;
use crate::sql::shared::SharedQuery;
use crate::sql::source::{RelationKind, RelationSource};
use crate::sql::statement::Emit;
use crate::sql::window::{Closing, Window};
use crate::views::ViewRows;

/// The sources of the leaves of one plan.
pub struct Leaves {
    log: Arc<dyn Topics>,
    lsn: Lsn,
    now_us: i64,
    retention_us: i64,
    own_writes: OwnWrites,
    inserted: Option<OwnRows>,
    views: HashMap<u32, ViewRows>,
    system: SystemRows,
    /// Queries that are computed once, by number.
    shared: Mutex<HashMap<u64, SharedExec>>,
}

impl Leaves {
    pub fn new(log: Arc<dyn Topics>, point: &ReadPoint) -> Leaves {
        Leaves {
            log,
            lsn: point.lsn,
            now_us: point.session.now_us,
            retention_us: point.retention_us,
            own_writes: point.own_writes.clone(),
            inserted: point.inserted.clone(),
            views: point.views.clone(),
            system: point.system.clone(),
            shared: Mutex::default(),
        }
    }

    /// Records the plan of a shared query for the places, planned later, that read it.
    pub fn share(&self, query: &SharedQuery, body: Arc<dyn ExecutionPlan>) {
        let exec = SharedExec::new(query, body);
        self.shared.lock().insert(query.number, exec);
    }

    fn topic(
        &self,
        topic: &catalog::Topic,
        source: &RelationSource,
        scan: &TopicScan,
        filters: &[Expr],
    ) -> Result<(Vec<Piece>, String), SqlError> {
        let own = self.own_writes.get(&topic.oid);
        let reader = topic.reader(topic.since_us(self.retention_us));
        let mut extents = match self.log.read(&reader, 0, self.lsn) {
            // The transaction made the topic: the log does not know it yet.
            Err(error) if own.is_some() && error.state == state::UNDEFINED_TABLE => Vec::new(),
            read => read.map_err(|error| changed(error, &topic.name))?,
        };
        if let Some(written) = own {
            self.overlay(&reader, &mut extents, written)?;
        }
        let pruning = Arc::new(Pruning::of(filters));
        let stored: Vec<&Stored> = extents
            .iter()
            .filter_map(|extent| match extent {
                Extent::Stored(stored) => Some(stored),
                Extent::Memory(_) => None,
            })
            .collect();
        let mut reached = reached(filters, &source.schema, topic.columns.len(), &stored).into_iter();
        let (all_batches, all_bytes) = (stored.len(), stored.iter().map(|stored| stored.bytes()).sum::<u64>());
        let (mut batches, mut bytes) = (0, 0);
        let (all_chunks, all_rows) = (extents.len() - all_batches, rows(&extents));
        let mut kept: Vec<Piece> = Vec::with_capacity(extents.len());
        let mut kept_rows = 0;
        for extent in extents {
            match extent {
                Extent::Memory(chunk) => {
                    if let Some(chunk) = pruning.cut(chunk) {
                        kept_rows += chunk.rows.num_rows();
                        kept.push(Piece::Chunk(chunk));
                    }
                }
                Extent::Stored(stored) => {
                    if reached.next().unwrap_or(true) && pruning.admits(&stored.bounds()) {
                        batches += 1;
                        bytes += stored.bytes();
                        kept_rows += stored.rows_max();
                        kept.push(Piece::Stored(stored, Arc::clone(&pruning)));
                    }
                }
            }
        }
        let mut note = format!("chunks={} of {all_chunks}", kept.len() - batches);
        if all_batches > 0 {
            note.push_str(&format!(
                ", segment batches={batches} of {all_batches}, bytes={bytes} of {all_bytes}"
            ));
        }
        note.push_str(&format!(", rows={kept_rows} of {all_rows}"));
        let bounds = pruning.to_string();
        if !bounds.is_empty() {
            note.push_str(&format!(", pruned by {bounds}"));
        }
        if let Some(limit) = scan.limit {
            note.push_str(&format!(", limit={limit}"));
        }
        Ok((kept, note))
    }

    /// Whether a plan that only chooses among the rows of one topic finds none, which a poll often does. It is cheaper to
    /// ask than to plan; false if it is not known.
    pub fn finds_nothing(&self, plan: &LogicalPlan, session: &dyn Session) -> Result<bool, SqlError> {
        let mut node = plan;
        loop {
            node = match node {
                LogicalPlan::Projection(projection) => &projection.input,
                LogicalPlan::Filter(filter) => &filter.input,
                LogicalPlan::Sort(sort) => &sort.input,
                LogicalPlan::SubqueryAlias(alias) => &alias.input,
                // Others are for planning to refuse.
                LogicalPlan::Limit(limit) if limit.skip.iter().chain(&limit.fetch).all(|count| is_count(count)) => {
                    &limit.input
                }
                LogicalPlan::TableScan(scan) => return self.reaches_nothing(scan, session),
                _ => return Ok(false),
            }
        }
    }

    fn reaches_nothing(&self, scan: &TableScan, session: &dyn Session) -> Result<bool, SqlError> {
        let Some(source) = scan.source.downcast_ref::<RelationSource>() else {
            return Ok(false);
        };
        let RelationKind::Topic(topic) = &source.kind else {
            return Ok(false);
        };
        let pruning = Pruning::of(&simplified(&scan.filters, &scan.projected_schema, session));
        if !pruning.bounds_something() || self.own_writes.contains_key(&topic.oid) {
            return Ok(false);
        }
        let reader = topic.reader(topic.since_us(self.retention_us));
        let extents = self.log.read(&reader, 0, self.lsn);
        let mut extents = extents.map_err(|error| changed(error, &topic.name))?.into_iter();
        Ok(extents.all(|extent| match extent {
            Extent::Memory(chunk) => pruning.cut(chunk).is_none(),
            Extent::Stored(stored) => !pruning.admits(&stored.bounds()),
        }))
    }

    /// A transaction's own rows come after those that are committed, as the next commit's would.
    fn overlay(&self, reader: &Reader, extents: &mut Vec<Extent>, written: &OwnRows) -> Result<(), SqlError> {
        let mut next: HashMap<u32, u64> = HashMap::new();
        for extent in extents.iter() {
            let known = next.entry(extent.partition()).or_default();
            *known = extent.end_offset().max(*known);
        }
        let watermark = self.log.watermark(reader.topic, self.lsn);
        for (partition, rows) in written.rows.iter().filter(|(_, rows)| rows.count() > 0) {
            let offset = next.entry(*partition).or_default();
            let rows = match rows {
                AppendRows::Memory(rows) => rows,
                AppendRows::Spilled(spilled) => {
                    let adoption = Adoption {
                        lsn: self.lsn + 1,
                        timestamp_us: self.now_us,
                        watermark,
                    };
                    extents.extend(spilled.read(reader, *offset, adoption)?);
                    *offset += spilled.rows();
                    continue;
                }
            };
            let run = Run {
                rows: rows.num_rows(),
                lsn: self.lsn + 1,
                timestamp_us: self.now_us,
                watermark,
            };
            extents.push(Extent::Memory(Chunk {
                partition: *partition,
                base_offset: *offset,
                rows: match written.schema_id == reader.schema_id {
                    true => rows.clone(),
                    false => conform(rows, &written.schema, &reader.schema),
                },
                runs: Arc::from([run]),
            }));
            *offset += rows.num_rows() as u64;
        }
        Ok(())
    }

    /// The rows that the statement is about to insert, counted from 0 in their partitions.
    fn inserted(&self, topic: &catalog::Topic) -> Result<Vec<Piece>, SqlError> {
        let mut extents = Vec::new();
        if let Some(inserted) = &self.inserted {
            let reader = topic.reader(topic.since_us(self.retention_us));
            self.overlay(&reader, &mut extents, inserted)?;
        }
        let pieces = extents.into_iter().map(|extent| match extent {
            Extent::Memory(chunk) => Piece::Chunk(chunk),
            Extent::Stored(stored) => Piece::Stored(stored, Arc::new(Pruning::of(&[]))),
        });
        Ok(pieces.collect())
    }

    fn view(&self, view: &catalog::View) -> Result<Vec<Piece>, SqlError> {
        let rows = self.views.get(&view.oid).ok_or_else(|| {
            SqlError::new(
                state::OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("materialized view \"{}\" was not read at this point", view.name),
            )
        })?;
        Ok(rows.batches.iter().cloned().map(Piece::Rows).collect())
    }

    fn system(&self, schema: &str, name: &str) -> Result<Vec<Piece>, SqlError> {
        let relation = system::lookup(schema, name).ok_or_else(|| {
            SqlError::new(
                state::UNDEFINED_TABLE,
                format!("relation \"{schema}.{name}\" does not exist"),
            )
        })?;
        Ok(vec![Piece::Rows((self.system)(relation)?)])
    }

    /// Sources of a scan's columns, by the relation's schema.
    fn sources(
        &self,
        source: &RelationSource,
        projected: &SchemaRef,
        projection: Option<&[usize]>,
    ) -> Vec<ColumnSource> {
        let user_columns = match &source.kind {
            RelationKind::Topic(topic) | RelationKind::Inserted(topic) => topic.columns.len(),
            RelationKind::View(_) | RelationKind::System(_, _) => source.schema.fields().len(),
        };
        let all: Vec<usize> = (0..source.schema.fields().len()).collect();
        let projection = projection.unwrap_or(&all);
        assert_eq!(
            projection.len(),
            projected.fields().len(),
            "a scan's schema is its projection's"
        );
        projection
            .iter()
            .map(|&index| {
                if index < user_columns {
                    return ColumnSource::Column(index);
                }
                let name = source.schema.field(index).name();
                let hidden = HiddenColumn::ALL.into_iter().find(|column| column.name() == name);
                ColumnSource::Hidden(hidden.expect("a topic's columns past its own are hidden ones"))
            })
            .collect()
    }

    /// W at the read point: the least over the topics, none while one of them has none.
    fn watermark(&self, topics: &[TopicId]) -> Option<i64> {
        let marks: Option<Vec<i64>> = topics
            .iter()
            .map(|topic| self.log.watermark(*topic, self.lsn))
            .collect();
        marks.and_then(|marks| marks.into_iter().min())
    }
}

/// Whether an expression is a number of rows to take or skip.
fn is_count(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Int64(count), _) if count.is_none_or(|count| count >= 0))
}

/// The log knows topics by number only.
fn changed(error: SqlError, topic: &str) -> SqlError {
    match error.state {
        state::SERIALIZATION_FAILURE => catalog::changed_concurrently(topic),
        state::UNDEFINED_TABLE => catalog::dropped_meanwhile(topic),
        _ => error,
    }
}

fn rows(extents: &[Extent]) -> usize {
    extents.iter().map(Extent::rows_max).sum()
}

/// Filters with their constants computed: a prepared plan was optimized before its parameters were known.
fn simplified(filters: &[Expr], schema: &datafusion::common::DFSchemaRef, session: &dyn Session) -> Vec<Expr> {
    let context = SimplifyContext::builder()
        .with_schema(schema.clone())
        .with_config_options(session.config().options().clone())
        .build();
    let simplifier = ExprSimplifier::new(context);
    filters
        .iter()
        .map(|filter| simplifier.simplify(filter.clone()).unwrap_or_else(|_| filter.clone()))
        .collect()
}

#[async_trait]
impl ExtensionPlanner for Leaves {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        planning: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if let Some(query) = node.as_any().downcast_ref::<SharedQuery>() {
            let shared = self.shared.lock().get(&query.number).cloned();
            return Ok(shared.map(|shared| Arc::new(shared) as Arc<dyn ExecutionPlan>));
        }
        if let (Some(join), [left, right]) = (node.as_any().downcast_ref::<AsofJoin>(), physical_inputs) {
            let condition = &join.condition;
            let compile = |exprs: Vec<&Expr>, schema: &DFSchema| -> Result<Vec<_>> {
                let exprs = exprs.into_iter();
                let compiled = exprs.map(|expr| planner.create_physical_expr(expr, schema, session, planning));
                compiled.collect()
            };
            let pairs = || condition.keys.iter().chain([&condition.times]);
            let exprs = AsofExprs {
                left: compile(pairs().map(|pair| &pair.0).collect(), join.left.schema())?,
                right: compile(pairs().map(|pair| &pair.1).collect(), join.right.schema())?,
                ties: compile(condition.ties.iter().collect(), join.right.schema())?,
                nearest: condition.nearest,
                keeps_left: join.keeps_left,
                text: join.text(),
            };
            let schema = Arc::new(node.schema().as_arrow().clone());
            let made = AsofExec::new(left.clone(), right.clone(), Arc::new(exprs), schema);
            return Ok(Some(Arc::new(made)));
        }
        let [input] = physical_inputs else {
            return Ok(None);
        };
        let Some(window) = node.as_any().downcast_ref::<Window>() else {
            return Ok(None);
        };
        let closing = match window.emit {
            Emit::OnChange => Closing::All,
            Emit::OnWindowClose => Closing::Closed(self.watermark(&window.topics)),
        };
        Ok(Some(match window.sessions() {
            Some(sessions) => Arc::new(SessionExec::new(window, sessions, input.clone(), closing)?),
            None => Arc::new(WindowExec::new(window, input.clone(), closing)),
        }))
    }

    async fn plan_table_scan(
        &self,
        _planner: &dyn PhysicalPlanner,
        scan: &TableScan,
        session: &dyn Session,
        _planning: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(source) = scan.source.downcast_ref::<RelationSource>() else {
            return Ok(None);
        };
        let schema: SchemaRef = Arc::new(scan.projected_schema.as_arrow().clone());
        let watermark_zone = match source.schema.field_with_name(HiddenColumn::Watermark.name()) {
            Ok(field) => match field.data_type() {
                DataType::Timestamp(_, zone) => zone.clone(),
                _ => None,
            },
            Err(_) => None,
        };
        let mut leaf = TopicScan {
            name: scan.table_name.table().to_string(),
            kind: "",
            note: String::new(),
            columns: self.sources(source, &schema, scan.projection.as_deref()),
            schema,
            watermark_zone,
            placed_upto: self.lsn,
            limit: scan.fetch,
            filters: Vec::new(),
            order: None,
        };
        let pieces = match &source.kind {
            RelationKind::Topic(topic) => {
                leaf.kind = "TopicScan";
                let filters = simplified(&scan.filters, &scan.projected_schema, session);
                let (pieces, note) = self.topic(topic, source, &leaf, &filters).map_err(fail)?;
                leaf.note = note;
                pieces
            }
            RelationKind::Inserted(topic) => {
                leaf.kind = "InsertedRows";
                leaf.placed_upto = Lsn::MAX;
                self.inserted(topic).map_err(fail)?
            }
            RelationKind::View(view) => {
                leaf.kind = "ViewScan";
                self.view(view).map_err(fail)?
            }
            RelationKind::System(schema, name) => {
                leaf.kind = "SystemScan";
                self.system(schema, name).map_err(fail)?
            }
        };
        let config = &session.config().options().execution;
        Ok(Some(Arc::new(leaf.into_plan(
            pieces,
            config.target_partitions,
            config.batch_size.get(),
        ))))
    }
}
