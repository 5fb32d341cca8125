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
            let mut rows = execute_stream(plan, context)?;
            while let Some(batch) = rows.next().await {
                let failed = batch.is_err();
                if batches.send(batch).await.is_err() || failed {
                    break;
                }
            }
            Ok::<(), DataFusionError>(())
        };
        builder.spawn_on(running, self.handle());
        builder.build()
    }

    /// Runs `work` to its end; dropping the future ends it.
    pub async fn complete<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, SqlError>> + Send + 'static,
    ) -> Result<T, SqlError> {
        let mut tasks = JoinSet::new();
        tasks.spawn_on(work, self.handle());
        match tasks.join_next().await {
            Some(Ok(result)) => result,
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
