//! Views over a history held in memory: the promises of compiled views, pipelines and the driver.
//!
//! [`World`] has a catalog, a history and the views made so far. Two oracles: DataFusion's own execution of the same plan over
//! the same rows (for plans without windows), and values worked out by hand.

mod aggregates;
mod arrangements;
mod expiry;
mod failures;
mod flow;
mod functions;
mod grouping_sets;
mod joins;
mod memory;
mod partitioned;
mod readings;
mod rows;
mod sets;
mod shared;
mod subqueries;
mod temporal;
mod threads;
mod time;
mod windows;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::Schema;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DataFusionError, NullEquality};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{Optimizer, OptimizerConfig, OptimizerRule};
use datafusion::prelude::{SessionConfig, SessionContext};
use parking_lot::Mutex;

use crate::catalog::{Change, Column, Relation, Snapshot, Topic, View, Watermark};
use crate::error::SqlError;
use crate::log::{Chunk, Extent, HiddenColumn, Lsn, Reader, Run, TopicId};
use crate::sql::functions::session::{SessionInfo, bind};
use crate::sql::parse::parse;
use crate::sql::plan::push_down::PushDown;
use crate::sql::plan::{PlanContext, Planned, plan_select};
use crate::sql::source::{RelationKind, RelationSource};
use crate::sql::statement::Statement;
use crate::types::PgType;

use super::delta::display_rows;
use super::memory::{Budget, Limits};
use super::pipeline::{Maintained, Pipeline};
use super::search::locate;
use super::{CompiledView, Dataflow, History, compile};

const SECOND: i64 = 1_000_000;
/// The watermark's delay of topic `a`, and of `b`.
const DELAY_US: i64 = 4 * SECOND;

/// One row of topics `a` and `b`; `ts` in seconds.
#[derive(Clone, Debug)]
struct Row {
    k: Option<i64>,
    v: Option<i32>,
    x: Option<i64>,
    s: Option<&'static str>,
    f: Option<f64>,
    ts: Option<i64>,
}

/// A row with a key, a value and a time.
fn row(k: i64, v: i32, ts: i64) -> Row {
    Row {
        k: Some(k),
        v: Some(v),
        x: Some(i64::from(v) * 10),
        s: Some(["x", "y", "zebra", ""][(k.unsigned_abs() % 4) as usize]),
        f: Some(f64::from(v) / 2.0),
        ts: Some(ts),
    }
}

fn columns() -> Vec<Column> {
    let types = [
        ("k", PgType::Int8),
        ("v", PgType::Int4),
        ("x", PgType::Int8),
        ("s", PgType::Text),
        ("f", PgType::Float8),
        ("ts", PgType::Timestamp),
    ];
    let column = |(name, pg_type): (&str, PgType)| Column {
        name: name.to_string(),
        pg_type,
        not_null: false,
        default: None,
        generated: None,
        id: 0,
        missing: None,
        typmod: None,
    };
    types.into_iter().map(column).collect()
}

fn batch(rows: &[Row]) -> RecordBatch {
    let fields: Vec<_> = columns()
        .iter()
        .map(|column| column.pg_type.field(&column.name, true))
        .collect();
    let times = rows.iter().map(|row| row.ts.map(|ts| ts * SECOND));
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.k).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.v).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|row| row.x).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.s).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.f).collect::<Float64Array>()),
        Arc::new(times.collect::<TimestampMicrosecondArray>()),
    ];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("a batch")
}

/// Commits in memory: LSN n is the n-th.
#[derive(Default)]
struct MemoryHistory {
    inner: Mutex<Inner>,
    newest: tokio::sync::watch::Sender<Lsn>,
}

#[derive(Default)]
struct Inner {
    newest: Lsn,
    chunks: BTreeMap<TopicId, Vec<Chunk>>,
    /// By topic: watermark after a commit.
    watermarks: BTreeMap<TopicId, BTreeMap<Lsn, i64>>,
    /// The times of ticks, from which time goes on by a second at each commit.
    ticks: BTreeMap<Lsn, i64>,
}

impl Inner {
    fn time(&self, at: Lsn) -> i64 {
        let (tick, time_us) = self.ticks.range(..=at).next_back().unwrap_or((&0, &0));
        time_us + (at - tick) as i64 * SECOND
    }
}

impl MemoryHistory {
    /// Rows of one commit, by topic. Also watermark advances, in seconds.
    fn commit(&self, appends: &[(TopicId, &[Row])], advances: &[(TopicId, i64)]) -> Lsn {
        let mut inner = self.inner.lock();
        inner.newest += 1;
        let lsn = inner.newest;
        for (topic, rows) in appends {
            let before = inner
                .watermarks
                .get(topic)
                .and_then(|marks| marks.values().last().copied());
            let timestamp_us = inner.time(lsn);
            let chunks = inner.chunks.entry(*topic).or_default();
            let base_offset = chunks.iter().map(|chunk| chunk.rows.num_rows() as u64).sum();
            chunks.push(Chunk {
                partition: 0,
                base_offset,
                rows: batch(rows),
                runs: vec![Run {
                    rows: rows.len(),
                    lsn,
                    timestamp_us,
                    watermark: before,
                }]
                .into(),
            });
            let newest = rows.iter().filter_map(|row| row.ts).max();
            let after = before.max(newest.map(|ts| ts * SECOND - DELAY_US));
            if let Some(after) = after {
                inner.watermarks.entry(*topic).or_default().insert(lsn, after);
            }
        }
        for (topic, to) in advances {
            inner.watermarks.entry(*topic).or_default().insert(lsn, to * SECOND);
        }
        drop(inner);
        self.newest.send_replace(lsn);
        lsn
    }
}

impl MemoryHistory {
    /// An empty commit at this time, in seconds.
    fn tick(&self, time: i64) -> Lsn {
        let mut inner = self.inner.lock();
        let (lsn, time_us) = (inner.newest + 1, time * SECOND);
        assert!(time_us >= inner.time(inner.newest), "time goes on");
        inner.ticks.insert(lsn, time_us);
        drop(inner);
        self.commit(&[], &[])
    }
}

impl History for MemoryHistory {
    fn newest(&self) -> Lsn {
        self.inner.lock().newest
    }

    fn read(&self, reader: &Reader, after: Lsn, upto: Lsn) -> Result<Vec<Extent>, SqlError> {
        let inner = self.inner.lock();
        let chunks = inner.chunks.get(&reader.topic).into_iter().flatten();
        let chunks = chunks.filter_map(|chunk| chunk.between(after, upto));
        Ok(chunks.map(Extent::Memory).collect())
    }

    fn watermark(&self, topic: TopicId, at: Lsn) -> Option<i64> {
        let inner = self.inner.lock();
        let marks = inner.watermarks.get(&topic)?;
        marks.range(..=at).next_back().map(|(_, mark)| *mark)
    }

    fn time(&self, at: Lsn) -> i64 {
        self.inner.lock().time(at)
    }
}

const A: TopicId = TopicId(16_384);
const B: TopicId = TopicId(16_385);

struct World {
    /// Of the views and of their batch queries.
    time_zone: &'static str,
    snapshot: Snapshot,
    history: Arc<MemoryHistory>,
    views: Vec<(u32, Arc<View>, Dataflow)>,
    budget: Arc<Budget>,
    pipeline: Pipeline,
}

impl World {
    fn new() -> World {
        World::with_memory(usize::MAX)
    }

    /// A world whose views may take `bytes_max` bytes together.
    fn with_memory(bytes_max: usize) -> World {
        let budget = Budget::new(bytes_max);
        let mut snapshot = Snapshot::initial();
        for (topic, name) in [(A, "a"), (B, "b")] {
            snapshot = snapshot.apply(&[Change::CreateTopic(Topic {
                oid: topic.0,
                schema: "public".to_string(),
                name: name.to_string(),
                columns: columns(),
                checks: vec![],
                partition_by: vec![],
                partitions: 1,
                watermark: Some(Watermark {
                    column: "ts".to_string(),
                    delay_us: DELAY_US,
                    max_ahead_us: None,
                }),
                idle_timeout_us: None,
                retention_us: None,
                retention_bytes: None,
                options: BTreeMap::new(),
                is_table: false,
                schema_id: 1,
                columns_made: 0,
                pinned: None,
            })]);
        }
        World {
            time_zone: "UTC",
            snapshot,
            history: Arc::new(MemoryHistory::default()),
            views: Vec::new(),
            pipeline: Pipeline::new(&budget),
            budget,
        }
    }

    fn topic(&self, id: TopicId) -> Topic {
        match &self.snapshot.relations[&id.0] {
            Relation::Topic(topic) => (**topic).clone(),
            Relation::View(view) => panic!("{} is a view", view.name),
        }
    }

    fn plan(&self, sql: &str) -> Planned {
        let mut parsed = parse(sql).expect("it parses");
        let Statement::Select(select) = parsed.remove(0).statement else {
            panic!("a SELECT: {sql}");
        };
        let context = PlanContext {
            catalog: &self.snapshot,
            search_path: &["public".to_string()],
            functions_path: &["public".to_string()],
            time_zone: self.time_zone,
            user: "test",
            database: "test",
            parameter_types: &[],
            text: sql,
        };
        plan_select(&select, &context).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    fn compile(&self, sql: &str) -> CompiledView {
        compile(&self.plan(sql), self.time_zone).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    fn dataflow(&self, sql: &str) -> Dataflow {
        match self.compile(sql) {
            CompiledView::Incremental(dataflow) => dataflow,
            CompiledView::Recompute { reason } => panic!("{sql} is recomputed: {reason}"),
        }
    }

    /// Defines a view in the catalog, without keeping it.
    fn define(&mut self, name: &str, sql: &str) -> u32 {
        let planned = self.plan(sql);
        let dataflow = self.dataflow(sql);
        let oid = self.snapshot.next_oid;
        let view = View {
            oid,
            schema: "public".to_string(),
            name: name.to_string(),
            columns: planned
                .fields
                .iter()
                .map(|field| Column {
                    name: field.name.clone(),
                    pg_type: field.pg_type.clone(),
                    not_null: false,
                    default: None,
                    generated: None,
                    id: 0,
                    missing: None,
                    typmod: None,
                })
                .collect(),
            definition: sql.to_string(),
            on_window_close: false,
            materialized: true,
            depends_on: planned.depends_on.clone(),
            time_zone: self.time_zone.to_string(),
            search_path: vec!["public".to_string()],
            options: BTreeMap::new(),
            recomputed: None,
            inputs: Default::default(),
            names: Default::default(),
            mentions: Vec::new(),
        };
        self.snapshot = self.snapshot.apply(&[Change::CreateView(view.clone())]);
        self.views.push((oid, Arc::new(view), dataflow));
        oid
    }

    /// Defines a view and keeps it in the world's pipeline, which must still stand at LSN 0.
    fn view(&mut self, name: &str, sql: &str) -> u32 {
        assert_eq!(self.pipeline.frontier(), 0, "views are made first");
        let oid = self.define(name, sql);
        let (_, _, dataflow) = self.views.last().expect("just defined");
        let (dataflow, limits) = (Arc::new(dataflow.clone()), Limits::new(self.budget.clone()));
        let maintained = Maintained::new(oid, name.to_string(), dataflow, limits).expect("compiled");
        self.pipeline.add(maintained);
        oid
    }

    /// One commit of rows to `a`.
    fn insert(&self, rows: &[Row]) -> Lsn {
        self.history.commit(&[(A, rows)], &[])
    }

    fn advance(&mut self, upto: Lsn) {
        for failed in self.pipeline.advance(&*self.history, upto) {
            if let Some(search) = failed.search {
                let failure = locate(search, &*self.history);
                self.pipeline.found(failed.oid, failure);
            }
        }
    }

    /// The view's rows at the frontier, sorted.
    fn rows(&mut self, oid: u32) -> Vec<String> {
        let view = self.pipeline.view_mut(oid).expect("maintained");
        assert!(view.failure.is_none(), "{:?}", view.failure);
        sorted(&view.instance.rows().expect("rows"))
    }

    /// Steps to the newest commit, and compares with the rows expected, sorted.
    fn check(&mut self, oid: u32, expected: &[&str]) {
        self.advance(self.history.newest());
        assert_eq!(self.rows(oid), expected);
    }

    /// The same by DataFusion: the rows of a query at an LSN.
    fn batch_rows(&self, sql: &str, at: Lsn) -> Vec<String> {
        sorted(&self.batch_query(sql, at))
    }

    fn batch_query(&self, sql: &str, at: Lsn) -> Vec<RecordBatch> {
        let plan = self
            .plan(sql)
            .inlined()
            .expect("its parts fit")
            .transform_up_with_subqueries(|node| {
                let LogicalPlan::TableScan(mut scan) = node else {
                    return Ok(Transformed::no(node));
                };
                // A series of constants is the engine's.
                let Some(relation) = scan.source.downcast_ref::<RelationSource>() else {
                    return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
                };
                let batches = self.relation_rows(relation, at);
                let table = MemTable::try_new(relation.schema.clone(), vec![batches])?;
                scan.source = provider_as_source(Arc::new(table));
                Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
            })
            .expect("leaves are replaced")
            .data;
        let session = SessionInfo {
            time_zone: self.time_zone.into(),
            now_us: self.history.time(at),
            ..SessionInfo::default()
        };
        let plan = bind(plan, &session).expect("now() has a value");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let context = SessionContext::new_with_state(careful_engine(self.time_zone));
            let frame = context.execute_logical_plan(plan).await.expect("it plans");
            frame.collect().await.expect("it runs")
        })
    }

    fn relation_rows(&self, relation: &RelationSource, at: Lsn) -> Vec<RecordBatch> {
        match &relation.kind {
            RelationKind::Topic(topic) => {
                let chunks = self.history.read(&topic.reader(None), 0, at).expect("readable");
                let of = |extent: &Extent| {
                    let Extent::Memory(chunk) = extent else {
                        panic!("all is in memory here");
                    };
                    let mut columns = chunk.rows.columns().to_vec();
                    for field in relation.schema.fields().iter().skip(columns.len()) {
                        let system = HiddenColumn::ALL
                            .into_iter()
                            .find(|column| column.name() == field.name());
                        columns.push(chunk.system_column(system.expect("a system column"), None));
                    }
                    RecordBatch::try_new(relation.schema.clone(), columns).expect("fits")
                };
                chunks.iter().map(of).collect()
            }
            RelationKind::View(view) => {
                let batches = self.batch_query(&view.definition, at);
                let of = |batch: &RecordBatch| {
                    RecordBatch::try_new(relation.schema.clone(), batch.columns().to_vec()).expect("fits")
                };
                batches.iter().map(of).collect()
            }
            RelationKind::Inserted(_) | RelationKind::System(..) => panic!("topics and views only"),
        }
    }
}

/// The engine without what is known to be wrong of its rules.
fn careful_engine(time_zone: &str) -> SessionState {
    let wrong = ["eliminate_cross_join", "single_distinct_aggregation_to_group_by"];
    let rules = Optimizer::new().rules.into_iter();
    let rules = rules
        .filter(|rule| !wrong.contains(&rule.name()))
        .map(|rule| match rule.name() {
            "extract_equijoin_predicate" => Arc::new(KeysOfOneKind(rule)) as Arc<dyn OptimizerRule + Send + Sync>,
            "push_down_filter" => Arc::new(PushDown::default()),
            _ => rule,
        });
    let mut config = SessionConfig::new();
    config.options_mut().execution.time_zone = Some(time_zone.to_string());
    SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_optimizer_rules(rules.collect())
        .build()
}

/// The rule that makes keys of a join of its equalities, but for joins whose keys take NULLs for equal.
#[derive(Debug)]
struct KeysOfOneKind(Arc<dyn OptimizerRule + Send + Sync>);

impl OptimizerRule for KeysOfOneKind {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>, DataFusionError> {
        match &plan {
            LogicalPlan::Join(join) if join.null_equality == NullEquality::NullEqualsNull => Ok(Transformed::no(plan)),
            _ => self.0.rewrite(plan, config),
        }
    }
}

fn sorted(batches: &[RecordBatch]) -> Vec<String> {
    let mut rows: Vec<String> = batches.iter().flat_map(display_rows).collect();
    rows.sort();
    rows
}
