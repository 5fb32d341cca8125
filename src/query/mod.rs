//! Batch SELECT on DataFusion: binds a plan's relations to their content at one LSN, and runs it.
//!
//! One rule: a query reads every relation at the LSN of its read point, and ends. Dropping the stream of its rows
//! cancels it.
//!
//! A plan goes through: session values and parameters become literals (`bind.rs`), the logical optimizer
//! (`engine.rs`), physical planning where each leaf becomes a scan of its content at the LSN (`leaves.rs`), running on
//! threads of its own (`run.rs`), and the cast to the types that the client was given (`output.rs`).
//!
//! Not here: the meaning of a statement (`sql`), the choice of the LSN (`session`).

mod absent;
mod asof;
mod bind;
mod conjunction;
mod engine;
mod explain;
mod filter;
mod grouping;
mod kept;
mod leaves;
mod memory;
mod offset;
mod order;
mod output;
mod prune;
mod reuse;
mod run;
mod scan;
mod session;
mod shared;
mod slices;
mod statistics;
mod stoppable;
mod width;
mod window;

use std::collections::HashMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use futures::{Stream, StreamExt};

use crate::catalog::system::SystemRelation;
use crate::error::SqlError;
use crate::log::{AppendRows, Extent, Log, Lsn, Reader, TopicId};
use crate::sql::functions::growth;
use crate::sql::plan::Planned;
use crate::views::ViewRows;

pub use crate::sql::functions::session::SessionInfo;
pub use memory::Process;
pub use reuse::Reuse;

/// A query ready to run.
type Physical = Arc<dyn ExecutionPlan>;

/// Rows that a transaction has written and not committed, by topic OID.
pub type OwnWrites = HashMap<u32, OwnRows>;

/// Rows of one topic, not committed.
#[derive(Clone, Debug)]
pub struct OwnRows {
    /// Of the rows, as the log has it.
    pub schema_id: u32,
    pub schema: SchemaRef,
    /// Partition and rows, in order.
    pub rows: Vec<(u32, AppendRows)>,
}

/// The rows of a system relation at the time of the statement.
pub type SystemRows = Arc<dyn Fn(&'static SystemRelation) -> Result<RecordBatch, SqlError> + Send + Sync>;

/// The source of topics' rows: the log.
pub trait Topics: Send + Sync {
    /// Rows committed after `after` up to and including `upto`, per partition in offset order.
    fn read(&self, reader: &Reader, after: Lsn, upto: Lsn) -> Result<Vec<Extent>, SqlError>;
    /// The `_watermark` that the next commit after `at` would carry, microseconds.
    fn watermark(&self, topic: TopicId, at: Lsn) -> Option<i64>;
}

impl Topics for Log {
    fn read(&self, reader: &Reader, after: Lsn, upto: Lsn) -> Result<Vec<Extent>, SqlError> {
        Ok(Log::read(self, reader, after, upto)?)
    }

    fn watermark(&self, topic: TopicId, at: Lsn) -> Option<i64> {
        Log::watermark(self, topic, at)
    }
}

/// The data that a query sees.
#[derive(Clone)]
pub struct ReadPoint {
    /// Topics are read up to and including this commit.
    pub lsn: Lsn,
    /// Position of the retention clock, microseconds.
    pub retention_us: i64,
    pub own_writes: OwnWrites,
    /// The rows that the statement is about to insert.
    pub inserted: Option<OwnRows>,
    /// Each incremental view of the plan at `lsn`, by OID.
    pub views: HashMap<u32, ViewRows>,
    pub system: SystemRows,
    /// Values of `$1`, `$2`, ...
    pub parameters: Vec<ScalarValue>,
    pub session: SessionInfo,
}

/// Limits and sizes, fixed at start.
#[derive(Clone, Debug)]
pub struct QueryOptions {
    /// Memory that all queries together may take, bytes.
    pub memory_bytes_max: usize,
    /// Directory for sorts and joins that do not fit memory; `None`: they fail with 53200.
    pub spill_directory: Option<PathBuf>,
    /// Ways that one query is split into.
    pub parallelism: usize,
    /// Rows of a batch.
    pub batch_rows: usize,
    /// Runs first on each query thread.
    pub on_thread_start: fn(),
    /// Memory limit of the process, queries included; `None`: only requests are counted.
    pub process: Option<Process>,
}

impl Default for QueryOptions {
    fn default() -> QueryOptions {
        QueryOptions {
            memory_bytes_max: 1 << 30,
            spill_directory: None,
            parallelism: std::thread::available_parallelism().map_or(2, |cores| cores.get()),
            batch_rows: 8192,
            on_thread_start: || {},
            process: None,
        }
    }
}

/// Runs SELECTs. One per server.
pub struct Query {
    log: Arc<dyn Topics>,
    engine: Arc<engine::QueryEngine>,
    runner: run::Runner,
}

/// Rows as they come; each batch has the schema of the planned fields.
pub struct RowStream {
    pub schema: SchemaRef,
    batches: run::QueryRows,
}

impl Stream for RowStream {
    type Item = Result<RecordBatch, SqlError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.batches.poll_next_unpin(context)
    }
}

impl RowStream {
    /// All rows; for callers that need them at once.
    pub async fn collect(self) -> Result<Vec<RecordBatch>, SqlError> {
        let mut batches = Vec::new();
        let mut stream = self.batches;
        while let Some(batch) = stream.next().await {
            batches.push(batch?);
        }
        Ok(batches)
    }
}

/// Memory of queries for rows that are kept; given back when it is dropped.
pub struct Keeping(MemoryReservation);

impl Keeping {
    /// Counts the rows; 53200 if there is no room.
    pub fn take(&self, rows: &RecordBatch) -> Result<(), SqlError> {
        Ok(self.0.try_grow(rows.get_array_memory_size())?)
    }
}

impl Query {
    pub fn new(log: Arc<dyn Topics>, options: QueryOptions) -> Result<Query, SqlError> {
        let (parallelism, on_thread_start) = (options.parallelism, options.on_thread_start);
        let engine = Arc::new(engine::QueryEngine::new(options)?);
        Ok(Query {
            log,
            runner: run::Runner::new(parallelism, on_thread_start, engine.memory())?,
            engine,
        })
    }

    /// Gives free memory back to the system, if the process is near its limit. To be called several times a second.
    pub fn relieve(&self) {
        self.engine.relieve();
    }

    /// Memory for rows that a statement keeps.
    pub fn keep(&self) -> Keeping {
        Keeping(MemoryConsumer::new("rows").register(&self.engine.memory()))
    }

    /// Runs `work` on a thread for computing: all planning, parsing, evaluating or compiling that a small message does
    /// not bound. Dropping the future asks it to stop (`stop`), and waits for nothing.
    pub fn compute<T, W>(&self, work: W) -> impl Future<Output = Result<T, SqlError>> + Send + 'static + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce() -> Result<T, SqlError> + Send + 'static,
    {
        self.runner.compute(work)
    }

    /// Runs a plan at a read point.
    pub async fn execute(&self, planned: Arc<Planned>, point: ReadPoint) -> Result<RowStream, SqlError> {
        self.execute_again(planned, None, point).await
    }

    /// Runs a plan that has run before, or may run again.
    pub async fn execute_again(
        &self,
        planned: Arc<Planned>,
        reuse: Option<Arc<Reuse>>,
        point: ReadPoint,
    ) -> Result<RowStream, SqlError> {
        let schema = output::schema(&planned.fields);
        let (engine, log) = (self.engine.clone(), self.log.clone());
        let plan = move || {
            let time_zone = &point.session.time_zone;
            let again = match &reuse {
                Some(reuse) => reuse.plan(&engine, &planned.plan, &point)?,
                None => None,
            };
            let plan = match again {
                Some(plan) => plan,
                None => optimized(&engine, &planned, &point)?,
            };
            let leaves = leaves::Leaves::new(log.clone(), &point);
            match engine.nothing(&plan, &leaves, time_zone)? {
                Some(nothing) => Ok((nothing, engine.task(time_zone, engine.batch_rows()))),
                None => physical(&engine, log, plan, &point),
            }
        };
        Ok(RowStream {
            batches: self.runner.stream(schema.clone(), plan).await?,
            schema,
        })
    }

    /// The lines of EXPLAIN; with `analyze` the query runs, and its operators report their work.
    pub async fn explain(
        &self,
        planned: Arc<Planned>,
        point: ReadPoint,
        analyze: bool,
        verbose: bool,
    ) -> Result<Vec<String>, SqlError> {
        let (engine, log) = (self.engine.clone(), self.log.clone());
        let work = move || {
            let (physical, context) = plan(&engine, log, &planned, &point)?;
            Ok(async move {
                match analyze {
                    true => explain::analyze(physical, context, verbose).await,
                    false => explain::plan(&physical, verbose),
                }
            })
        };
        self.runner.complete(work).await
    }
}

/// The plan that runs, and its context.
fn plan(
    engine: &engine::QueryEngine,
    log: Arc<dyn Topics>,
    planned: &Planned,
    point: &ReadPoint,
) -> Result<(Physical, Arc<TaskContext>), SqlError> {
    let plan = optimized(engine, planned, point)?;
    physical(engine, log, plan, point)
}

/// The plan with its values, as the optimizer leaves it.
fn optimized(engine: &engine::QueryEngine, planned: &Planned, point: &ReadPoint) -> Result<LogicalPlan, SqlError> {
    growth::claim(planned.planning_bytes)?;
    let plan = bind::bind(planned.plan.clone(), point)?;
    engine.optimize(plan, &point.session.time_zone)
}

/// The physical plan of an optimized one: in batches of few rows, if these are wide.
fn physical(
    engine: &engine::QueryEngine,
    log: Arc<dyn Topics>,
    plan: LogicalPlan,
    point: &ReadPoint,
) -> Result<(Physical, Arc<TaskContext>), SqlError> {
    let time_zone = &point.session.time_zone;
    let made = width::of_expressions(&plan)?;
    let mut batch_rows = width::batch_rows(engine.batch_rows(), made);
    let physical = |batch_rows| {
        let leaves = leaves::Leaves::new(log.clone(), point);
        engine.physical(plan.clone(), leaves, time_zone, batch_rows)
    };
    let mut chosen = physical(batch_rows)?;
    // The content of the scans is known now.
    let read = width::of_scans(&chosen)?;
    let fewer = width::batch_rows(engine.batch_rows(), made.saturating_add(read));
    if fewer < batch_rows {
        batch_rows = fewer;
        chosen = physical(batch_rows)?;
    }
    Ok((chosen, engine.task(time_zone, batch_rows)))
}

#[cfg(test)]
mod tests;

/// `$1`, `$2`, ... from arrays of one value.
pub fn scalars<'a>(values: impl Iterator<Item = &'a arrow::array::ArrayRef>) -> Vec<ScalarValue> {
    let scalars = values.map(|value| ScalarValue::try_from_array(value, 0));
    scalars
        .collect::<Result<_, _>>()
        .expect("a parameter is an array of one value of an SQL type")
}
