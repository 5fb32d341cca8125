//! The threads where computing runs: planning, folding, queries. Never those that talk to clients.
//!
//! One rule: however long a computation runs without giving way, the sessions, cancel requests and signals go on. Work
//! that nobody waits for any more is asked to stop (`stop`), and ends at its next check or where its operators give
//! way.
//!
//! Work begins on a thread of its own from a pool, so that it holds up no other; a query whose rows do not come at once
//! goes on, as a task, on the threads that queries share.

use std::any::Any;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::runtime::{JoinSetTracer, set_join_set_tracer};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::physical_plan::execute_stream;
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::Physical;
use super::output;
use crate::depth::STACK_BYTES;
use crate::error::{SqlError, state};
use crate::panics;
use crate::sql::functions::growth::{
    self, Account, AccountScope, Accounted, Claim, SMALL_BYTES, SettledOnDrop, bytes_between,
};
use crate::stop::{self, OnDrop, Stop, Within};

/// Threads for each way that one query is split into: a query that does not give way takes that many, and the system's
/// scheduler is fair between threads.
const THREADS_PER_WAY: usize = 8;
/// Threads that work begins on. Past them it waits for one, and can be cancelled while it does.
const BEGINNING_MAX: usize = 256;
/// Time that an idle thread is kept.
const IDLE_THREAD_LIMIT: Duration = Duration::from_secs(60);
/// Batches of rows that wait for the client, or are on their way to it, while the query goes on.
const BATCHES_AHEAD: u32 = 3;

pub struct Runner {
    /// Taken when dropped.
    runtime: Option<Runtime>,
    /// Of all queries together.
    memory: Arc<dyn MemoryPool>,
}

/// The context of a piece of work: its stop request, and the account of its memory.
#[derive(Clone, Default)]
struct Terms {
    stop: Stop,
    scope: AccountScope,
    /// Memory that the work takes counts until the work has ended and nobody waits for it: cancelled work keeps its
    /// memory until it stops. Tasks that the engine starts for it end before it does.
    counted: Option<Arc<SettledOnDrop>>,
}

/// Dropped by the caller that waited for work: it shall end.
struct Gone {
    _stop: OnDrop,
    _counted: Option<Arc<SettledOnDrop>>,
}

impl Terms {
    fn new(memory: &Arc<dyn MemoryPool>) -> (Terms, Gone) {
        let (stop, account) = (Stop::default(), Account::new(memory));
        let counted = Some(Arc::new(account.settled_on_drop()));
        let gone = Gone {
            _stop: stop.on_drop(),
            _counted: counted.clone(),
        };
        let scope = AccountScope {
            account: Some(account),
            runs: false,
        };
        let terms = Terms { stop, scope, counted };
        (terms, gone)
    }

    /// The terms that this thread works under.
    fn current() -> Option<Terms> {
        Some(Terms {
            stop: Stop::current()?,
            scope: AccountScope::current(),
            counted: None,
        })
    }

    fn apply<T>(&self, work: impl FnOnce() -> T) -> T {
        let _entered = self.scope.clone().enter();
        self.stop.scope(work)
    }

    fn within<T>(self, future: impl Future<Output = T> + Send + 'static) -> Accounted<Within<T>> {
        let counted = self.counted;
        let counted = async move {
            let _counted = counted;
            future.await
        };
        Accounted::new(self.scope.running(), self.stop.within(counted))
    }
}

impl Runner {
    /// `on_start` runs on each thread first.
    pub fn new(parallelism: usize, on_start: fn(), memory: Arc<dyn MemoryPool>) -> Result<Runner, SqlError> {
        // Fails if it is set already, by another engine of this process: it is the same one.
        let _ = set_join_set_tracer(&CarryTerms);
        let runtime = Builder::new_multi_thread()
            .worker_threads(parallelism.max(1) * THREADS_PER_WAY)
            .max_blocking_threads(BEGINNING_MAX)
            .thread_keep_alive(IDLE_THREAD_LIMIT)
            .thread_name("query")
            .thread_stack_size(STACK_BYTES)
            .on_thread_start(on_start)
            .enable_all()
            .build()
            .map_err(|error| {
                SqlError::new(
                    state::INSUFFICIENT_RESOURCES,
                    format!("cannot start the threads of queries: {error}"),
                )
            })?;
        Ok(Runner {
            runtime: Some(runtime),
            memory,
        })
    }

    fn handle(&self) -> Handle {
        let runtime = self.runtime.as_ref().expect("it is there until dropped");
        runtime.handle().clone()
    }

    /// Runs `work`, which may compute for as long as it likes. Dropping the future asks it to stop.
    pub fn compute<T, W>(&self, work: W) -> impl Future<Output = Result<T, SqlError>> + Send + 'static + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce() -> Result<T, SqlError> + Send + 'static,
    {
        let (handle, memory) = (self.handle(), self.memory.clone());
        async move {
            let (terms, _gone) = Terms::new(&memory);
            let (done, result) = oneshot::channel();
            handle.spawn_blocking(move || {
                // The caller may wait no more: then the result is dropped here, which may take long too.
                let _ = done.send(terms.apply(|| caught(work)));
            });
            result.await.unwrap_or_else(|_| Err(broken_off()))
        }
    }

    /// Begins a query: plans it, and lets its rows come as `schema` says. Resolves when it is planned; dropping the
    /// stream ends it.
    pub async fn stream(
        &self,
        schema: SchemaRef,
        plan: impl FnOnce() -> Result<(Physical, Arc<TaskContext>), SqlError> + Send + 'static,
    ) -> Result<QueryRows, SqlError> {
        let (terms, gone) = Terms::new(&self.memory);
        let (rows, received) = mpsc::channel(BATCHES_AHEAD as usize);
        let (planned, plans) = oneshot::channel();
        self.begin(terms, move || {
            let (plan, context) = match caught(plan) {
                Ok(made) => made,
                Err(error) => {
                    let _ = planned.send(Err(error));
                    return None;
                }
            };
            let _ = planned.send(Ok(()));
            Some(send_rows(plan, context, schema, rows))
        });
        plans.await.unwrap_or_else(|_| Err(broken_off()))?;
        Ok(QueryRows {
            received,
            on_its_way: None,
            _gone: gone,
        })
    }

    /// Runs a future that `work` makes to its end. Dropping the future ends it.
    pub async fn complete<T, F>(
        &self,
        work: impl FnOnce() -> Result<F, SqlError> + Send + 'static,
    ) -> Result<T, SqlError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, SqlError>> + Send + 'static,
    {
        let (terms, _gone) = Terms::new(&self.memory);
        let (mut done, result) = oneshot::channel();
        self.begin(terms, move || match caught(work) {
            Err(error) => {
                let _ = done.send(Err(error));
                None
            }
            Ok(future) => Some(async move {
                tokio::select! {
                    biased;
                    () = done.closed() => {}
                    result = caught_in(future) => {
                        let _ = done.send(result);
                    }
                }
            }),
        });
        result.await.unwrap_or_else(|_| Err(broken_off()))
    }

    /// `work` computes on a thread of its own, which also takes the first steps of its future.
    fn begin<F: Future<Output = ()> + Send + 'static>(
        &self,
        terms: Terms,
        work: impl FnOnce() -> Option<F> + Send + 'static,
    ) {
        let handle = self.handle();
        self.handle().spawn_blocking(move || {
            let Some(future) = terms.apply(work) else { return };
            let mut running = terms.within(future);
            // Most queries end here; threads that they would have to be handed to are not woken.
            let first = handle.block_on(std::future::poll_fn(|context| Poll::Ready(running.poll_unpin(context))));
            if first.is_pending() {
                handle.spawn(running);
            }
        });
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

/// The rows of a query that runs. It ends when they are dropped.
pub struct QueryRows {
    received: mpsc::Receiver<Result<SentRows, SqlError>>,
    /// Of the batch that was taken last.
    on_its_way: Option<OnItsWay>,
    _gone: Gone,
}

struct SentRows {
    batch: RecordBatch,
    on_its_way: OnItsWay,
}

/// Held until the client asks for the next batch. A large batch takes all places, and memory of queries.
struct OnItsWay {
    _places: OwnedSemaphorePermit,
    _claim: Option<Claim>,
}

impl OnItsWay {
    async fn of(batch: &RecordBatch, places: &Arc<Semaphore>) -> Result<OnItsWay, SqlError> {
        let bytes = large_bytes(batch);
        let many = if bytes > 0 { BATCHES_AHEAD } else { 1 };
        let places = places.clone().acquire_many_owned(many).await;
        Ok(OnItsWay {
            _places: places.expect("it is never closed"),
            _claim: growth::hold(bytes)?,
        })
    }
}

/// Bytes of the rows of a large batch, 0 of any other.
fn large_bytes(batch: &RecordBatch) -> u64 {
    // With the parts that the arrays share with others.
    if batch.get_array_memory_size() as u64 <= SMALL_BYTES {
        return 0;
    }
    let bytes = batch
        .columns()
        .iter()
        .map(|column| bytes_between(column, 0, column.len()));
    match bytes.sum() {
        bytes if bytes > SMALL_BYTES => bytes,
        _ => 0,
    }
}

impl Stream for QueryRows {
    type Item = Result<RecordBatch, SqlError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.on_its_way = None;
        let received = std::task::ready!(self.received.poll_recv(context));
        Poll::Ready(received.map(|sent| {
            let SentRows { batch, on_its_way } = sent?;
            self.on_its_way = Some(on_its_way);
            Ok(batch)
        }))
    }
}

/// Runs a plan until its rows have been sent, or nobody receives them.
async fn send_rows(
    plan: Physical,
    context: Arc<TaskContext>,
    schema: SchemaRef,
    rows: mpsc::Sender<Result<SentRows, SqlError>>,
) {
    let places = Arc::new(Semaphore::new(BATCHES_AHEAD as usize));
    let running = async {
        let mut batches = execute_stream(plan, context)?;
        while let Some(batch) = batches.next().await {
            let batch = output::conform(batch?, &schema)?;
            let on_its_way = OnItsWay::of(&batch, &places).await?;
            if rows.send(Ok(SentRows { batch, on_its_way })).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    let failed = tokio::select! {
        biased;
        () = rows.closed() => return,
        result = caught_in(running) => result.err(),
    };
    if let Some(error) = failed {
        let _ = rows.send(Err(error)).await;
    }
}

/// A panic is an error of the work that panicked.
fn caught<T>(work: impl FnOnce() -> Result<T, SqlError>) -> Result<T, SqlError> {
    stop::check()?;
    panics::catch(work).flatten()
}

async fn caught_in<T>(work: impl Future<Output = Result<T, SqlError>>) -> Result<T, SqlError> {
    panics::caught(work).await.flatten()
}

fn broken_off() -> SqlError {
    SqlError::new(state::INTERNAL_ERROR, "the query broke off")
}

/// Lets the tasks that the engine starts for a query run under the query's terms.
struct CarryTerms;

impl JoinSetTracer for CarryTerms {
    fn trace_future(&self, future: BoxFuture<'static, Box<dyn Any + Send>>) -> BoxFuture<'static, Box<dyn Any + Send>> {
        match Terms::current() {
            Some(terms) => terms.within(future).boxed(),
            None => future,
        }
    }

    fn trace_block(
        &self,
        work: Box<dyn FnOnce() -> Box<dyn Any + Send> + Send>,
    ) -> Box<dyn FnOnce() -> Box<dyn Any + Send> + Send> {
        match Terms::current() {
            Some(terms) => Box::new(move || terms.apply(work)),
            None => work,
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Schema;
    use datafusion::execution::SendableRecordBatchStream;
    use datafusion::execution::memory_pool::UnboundedMemoryPool;
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};

    use super::*;

    fn runner() -> Runner {
        Runner::new(1, || {}, Arc::new(UnboundedMemoryPool::default())).expect("threads can be started")
    }

    /// Computes until it is asked to stop, and says so.
    fn endless(began: oneshot::Sender<()>, ended: std::sync::mpsc::Sender<()>) -> Result<(), SqlError> {
        began.send(()).expect("the test waits");
        while !stop::is_requested() {
            std::thread::yield_now();
        }
        ended.send(()).expect("the test waits");
        stop::check()
    }

    /// Waits for the work until it has begun, and no longer.
    async fn give_up<T>(working: impl Future<Output = T>, begun: oneshot::Receiver<()>) {
        tokio::select! {
            _ = working => panic!("it does not end by itself"),
            begun = begun => begun.expect("it begins"),
        }
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_is_asked_to_stop() {
        let runner = runner();
        let (began, begun) = oneshot::channel();
        let (ended, end) = std::sync::mpsc::channel();
        give_up(runner.compute(move || endless(began, ended)), begun).await;
        end.recv().expect("it ends");
    }

    #[tokio::test]
    async fn tasks_of_the_engine_see_the_stop_of_their_query() {
        let runner = runner();
        let (began, begun) = oneshot::channel();
        let (ended, end) = std::sync::mpsc::channel();
        let work = || {
            Ok(async {
                let task = datafusion::common::runtime::SpawnedTask::spawn_blocking(|| endless(began, ended));
                task.join().await.expect("it does not panic")
            })
        };
        give_up(runner.complete(work), begun).await;
        end.recv().expect("it ends");
    }

    #[tokio::test]
    async fn work_that_computes_on_holds_up_no_other() {
        let runner = runner();
        let mut stuck = Vec::new();
        let (ended, end) = std::sync::mpsc::channel();
        for _ in 0..THREADS_PER_WAY * 2 {
            let ended = ended.clone();
            let (began, begun) = oneshot::channel();
            let mut working = Box::pin(runner.compute(move || endless(began, ended)));
            tokio::select! {
                _ = &mut working => panic!("it does not end by itself"),
                begun = begun => begun.expect("it begins"),
            }
            stuck.push(working);
        }
        assert_eq!(runner.compute(|| Ok(1)).await, Ok(1));
        drop(stuck);
        for _ in 0..THREADS_PER_WAY * 2 {
            end.recv().expect("it ends");
        }
    }

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
    async fn a_panic_is_an_error_of_its_work_and_the_next_one_runs() {
        let runner = runner();
        for _ in 0..2 * THREADS_PER_WAY {
            let plan = || Ok((panicking(), Arc::new(TaskContext::default())));
            let rows = runner.stream(Arc::new(Schema::empty()), plan).await;
            let failed = rows.expect("it begins").filter_map(async |batch| batch.err());
            let error = Box::pin(failed).next().await.expect("an error");
            assert_eq!(error.state, state::INTERNAL_ERROR);
            assert_eq!(error.message, "internal error: at a row");
        }
        let work = runner.complete::<(), _>(|| Ok(async { panic!("in its work") }));
        assert_eq!(
            work.await.expect_err("it panicked").message,
            "internal error: in its work"
        );
        let work = runner.compute::<(), _>(|| panic!("in its planning"));
        assert_eq!(
            work.await.expect_err("it panicked").message,
            "internal error: in its planning"
        );
        assert_eq!(runner.compute(|| Ok(1)).await, Ok(1));
    }
}
