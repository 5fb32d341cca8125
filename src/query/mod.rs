//! Batch SELECT on DataFusion: binds a plan's relations to what is readable at one LSN, and runs it.
//!
//! One rule: a query reads every relation at the LSN of its read point, and ends. Dropping the stream of its rows
//! cancels it.
//!
//! A plan goes through: session values and parameters become literals (`bind.rs`), the logical optimizer
//! (`engine.rs`), physical planning where each leaf becomes a scan of what is there at the LSN (`leaves.rs`), running on
//! threads of its own (`run.rs`), and the cast to the types that the client was told (`output.rs`).
//!
//! Not here: what a statement means (`sql`), which LSN to read at (`session`).

mod bind;
mod conjunction;
mod engine;
mod explain;
mod filter;
mod leaves;
mod output;
mod prune;
mod run;
mod scan;
mod slices;
mod statistics;
mod window;

use std::collections::HashMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::LogicalPlan;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};

use crate::catalog::system::SystemRelation;
use crate::error::SqlError;
use crate::log::{Extent, Log, Lsn, Reader, Rows, TopicId};
use crate::sql::plan::Planned;
use crate::views::ViewRows;

pub use crate::sql::functions::session::SessionInfo;

/// Rows that a transaction has written and not committed, by topic OID.
pub type OwnWrites = HashMap<u32, Written>;

/// Rows of one topic, not committed.
#[derive(Clone, Debug)]
pub struct Written {
    /// Of the rows, as the log has it.
    pub schema_id: u32,
    pub schema: SchemaRef,
    /// Partition and rows, in order.
    pub rows: Vec<(u32, Rows)>,
}

/// The rows of a system relation at the time of the statement.
pub type SystemRows = Arc<dyn Fn(&'static SystemRelation) -> Result<RecordBatch, SqlError> + Send + Sync>;

/// Where topics are read from: the log.
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

/// What a query sees.
#[derive(Clone)]
pub struct ReadPoint {
    /// Topics are read up to and including this commit.
    pub lsn: Lsn,
    /// Where the clock of retention stands, microseconds.
    pub retention_us: i64,
    pub own_writes: OwnWrites,
    /// Own rows count on from the committed ones of their partitions; else their hidden columns are NULL.
    pub own_places: bool,
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
    /// Where sorts and joins that do not fit may spill to; `None`: they fail with 53200.
    pub spill_directory: Option<PathBuf>,
    /// Ways that one query is split into.
    pub parallelism: usize,
    /// Rows of a batch.
    pub batch_rows: usize,
}

impl Default for QueryOptions {
    fn default() -> QueryOptions {
        QueryOptions {
            memory_bytes_max: 1 << 30,
            spill_directory: None,
            parallelism: std::thread::available_parallelism().map_or(2, |cores| cores.get()),
            batch_rows: 8192,
        }
    }
}

/// Runs SELECTs. One per server.
pub struct Query {
    log: Arc<dyn Topics>,
    engine: engine::Engine,
    runner: run::Runner,
}

/// A planned SELECT that the optimizer has seen: kept by a prepared statement, for one time zone.
#[derive(Clone, Debug)]
pub struct Optimized {
    plan: Arc<LogicalPlan>,
    schema: SchemaRef,
    depth: usize,
}

/// Rows as they come; each batch has the schema of the planned fields.
pub struct RowStream {
    pub schema: SchemaRef,
    batches: BoxStream<'static, Result<RecordBatch, SqlError>>,
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

impl Query {
    pub fn new(log: Arc<dyn Topics>, options: QueryOptions) -> Result<Query, SqlError> {
        Ok(Query {
            log,
            runner: run::Runner::new(options.parallelism)?,
            engine: engine::Engine::new(options)?,
        })
    }

    /// Optimizes a plan, to be run any number of times in sessions with this time zone.
    pub async fn prepare(&self, planned: &Planned, time_zone: &str) -> Result<Optimized, SqlError> {
        let depth = bind::depth(&planned.plan)?;
        let plan = self.engine.optimize(planned.plan.clone(), depth, time_zone).await?;
        Ok(Optimized {
            plan: Arc::new(plan),
            schema: output::schema(&planned.fields),
            depth,
        })
    }

    /// Runs a plan at a read point.
    pub async fn execute(&self, planned: &Planned, point: &ReadPoint) -> Result<RowStream, SqlError> {
        let physical = self.plan(planned, point).await?;
        self.run(physical, output::schema(&planned.fields), point)
    }

    /// Runs an optimized plan at a read point.
    pub async fn execute_optimized(&self, optimized: &Optimized, point: &ReadPoint) -> Result<RowStream, SqlError> {
        let plan = bind::bind((*optimized.plan).clone(), point)?;
        let leaves = leaves::Leaves::new(self.log.clone(), point);
        let physical = self
            .engine
            .physical(plan, optimized.depth, leaves, &point.session.time_zone)
            .await?;
        self.run(physical, optimized.schema.clone(), point)
    }

    /// The lines of EXPLAIN; with `analyze` the query is run and its operators tell what they did.
    pub async fn explain(
        &self,
        planned: &Planned,
        point: &ReadPoint,
        analyze: bool,
        verbose: bool,
    ) -> Result<Vec<String>, SqlError> {
        let physical = self.plan(planned, point).await?;
        let context = self.engine.task(&point.session.time_zone);
        if !analyze {
            return Ok(explain::plan(physical.as_ref(), verbose));
        }
        self.runner.complete(explain::analyze(physical, context, verbose)).await
    }

    async fn plan(&self, planned: &Planned, point: &ReadPoint) -> Result<engine::Physical, SqlError> {
        let depth = bind::depth(&planned.plan)?;
        let time_zone = &point.session.time_zone;
        let plan = bind::bind(planned.plan.clone(), point)?;
        let plan = self.engine.optimize(plan, depth, time_zone).await?;
        let leaves = leaves::Leaves::new(self.log.clone(), point);
        self.engine.physical(plan, depth, leaves, time_zone).await
    }

    fn run(&self, physical: engine::Physical, schema: SchemaRef, point: &ReadPoint) -> Result<RowStream, SqlError> {
        let stream = self.runner.stream(physical, self.engine.task(&point.session.time_zone));
        Ok(RowStream {
            schema: schema.clone(),
            batches: output::conform(stream, schema),
        })
    }
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
