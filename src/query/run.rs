//! The threads that queries run on: never those that talk to clients.
//!
//! One rule: however long an operator computes without giving way, the sessions, cancel requests and signals go on. A
//! query that nobody waits for any more ends where its operators next give way.

use std::mem::ManuallyDrop;
use std::sync::Arc;

use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use futures::StreamExt;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use super::engine::Physical;
use crate::error::{SqlError, state};
use crate::panics;

/// Threads for each way that one query is split into: a query that does not give way takes that many, and the system's
/// scheduler is fair between threads.
const THREADS_PER_WAY: usize = 8;
/// Batches of rows that wait for the client while the query goes on.
const BATCHES_AHEAD: usize = 2;
/// Operators are nested calls.
const STACK_BYTES: usize = 16 << 20;

pub struct Runner {
    /// Taken when dropped.
    runtime: Option<Runtime>,
}

impl Runner {
    pub fn new(parallelism: usize) -> Result<Runner, SqlError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(parallelism.max(1) * THREADS_PER_WAY)
            .thread_name("query")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
            .map_err(|error| {
                SqlError::new(
                    state::INSUFFICIENT_RESOURCES,
                    format!("cannot start the threads of queries: {error}"),
                )
            })?;
        Ok(Runner { runtime: Some(runtime) })
    }

    fn handle(&self) -> &tokio::runtime::Handle {
        self.runtime.as_ref().expect("it is there until dropped").handle()
    }

    /// Starts a plan; dropping the stream ends it. A panic in it is an error of the stream.
    pub fn stream(&self, plan: Physical, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStreamBuilder::new(plan.schema(), BATCHES_AHEAD);
        let batches = builder.tx();
        let running = async move {
            let rows = async {
                let mut rows = execute_stream(plan, context)?;
                while let Some(batch) = rows.next().await {
                    let failed = batch.is_err();
                    if batches.send(batch).await.is_err() || failed {
                        break;
                    }
                }
                Ok::<(), DataFusionError>(())
            };
            // Caught here: the stream would pass a panic on to the thread that reads it.
            let caught = panics::caught(rows).await;
            caught.unwrap_or_else(|error| Err(DataFusionError::External(Box::new(error))))
        };
        builder.spawn_on(running, self.handle());
        builder.build()
    }

    /// Runs `work` to its end; a panic in it is XX000; dropping the future ends it.
    pub async fn complete<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, SqlError>> + Send + 'static,
    ) -> Result<T, SqlError> {
        let mut tasks = JoinSet::new();
        tasks.spawn_on(work, self.handle());
        match tasks.join_next().await {
            Some(Ok(result)) => result,
            Some(Err(error)) if error.is_panic() => Err(panics::error(&*error.into_panic())),
            _ => Err(SqlError::new(state::INTERNAL_ERROR, "the query broke off")),
        }
    }
}

impl Drop for Runner {
    /// Does not wait for queries that compute on. Another thread does, and joins them: to detach a thread that is about
    /// to end is a use after free in glibc (its bug 19951), and these have stacks that are unmapped at once.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            let runtime = ManuallyDrop::new(runtime);
            let waiting = std::thread::Builder::new().name("query-end".to_string());
            // If there can be no more threads, those of the runtime live on until the process ends.
            let _ = waiting.spawn(move || drop(ManuallyDrop::into_inner(runtime)));
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::RecordBatch;
    use arrow::datatypes::{Schema, SchemaRef};
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};

    use super::*;

    /// Gives a batch, then panics.
    #[derive(Debug)]
    struct Panicking(SchemaRef);

    impl PartitionStream for Panicking {
        fn schema(&self) -> &SchemaRef {
            &self.0
        }

        fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
            let first = RecordBatch::new_empty(self.0.clone());
            let rows = futures::stream::iter([Ok(first)]).chain(futures::stream::once(async { panic!("at a row") }));
            Box::pin(RecordBatchStreamAdapter::new(self.0.clone(), rows))
        }
    }

    fn panicking() -> Physical {
        let schema = Arc::new(Schema::empty());
        let partition: Arc<dyn PartitionStream> = Arc::new(Panicking(schema.clone()));
        let plan = StreamingTableExec::try_new(schema, vec![partition], None, [], false, None);
        Arc::new(plan.expect("one partition with the plan's schema"))
    }

    #[tokio::test]
    async fn a_panic_of_an_operator_is_an_error_of_the_query_and_the_next_one_runs() {
        let runner = Runner::new(1).expect("threads can be started");
        for _ in 0..2 * THREADS_PER_WAY {
            let rows = runner.stream(panicking(), Arc::new(TaskContext::default()));
            let failed = rows.filter_map(async |batch| batch.err());
            let error = SqlError::from(Box::pin(failed).next().await.expect("an error"));
            assert_eq!(error.state, state::INTERNAL_ERROR);
            assert_eq!(error.message, "internal error: at a row");
        }
        let work = async { panic!("in its work") };
        let error = runner.complete::<()>(work).await.expect_err("it panicked");
        assert_eq!(error.message, "internal error: in its work");
        assert_eq!(runner.complete(async { Ok(1) }).await, Ok(1));
    }
}
