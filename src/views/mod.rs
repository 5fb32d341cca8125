//! Incremental maintenance: a logical plan compiled to a dataflow of operators over weighted deltas.
//!
//! One rule: a view at LSN N equals its defining SELECT run as a batch at N (V1).
//!
//! In reading order: the rows that flow (`delta`), the `operators`, the compiled view (`compile`, `dataflow`), its state
//! (`instance`) and memory (`memory`), views in lockstep (`pipeline`), failed views (`failure`), the threads that keep them
//! (`driver`, `keeper`) and their readers (`rendering`, `reading`), and the building of a new one (`build`). [`Views`] is the
//! facade.
//!
//! Not here: the meaning of SQL (`sql`), batch queries (`query`). State is rebuilt from the log at start.

mod clock;
mod delta;
mod expression;

mod operators;
mod output;
mod scan;

mod compile;
mod dataflow;
mod instance;
mod rules;

mod build;
mod driver;
mod explain;
mod failure;
mod keeper;
mod memory;
mod pipeline;
mod reading;
mod rendering;
mod search;

pub mod idle;
pub mod ticks;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use crate::catalog;
use crate::depth::STACK_BYTES;
use crate::error::{SqlError, state};
use crate::log::{Extent, Log, Lsn, Reader, TopicId};

use driver::{PublishedView, Request, Shared, ToBuild};
use keeper::Keeper;
use memory::{Budget, Limits, ViewStop};
use reading::families;
use scan::{LeafSource, seen_as};

pub use compile::{CompiledView, compile};
pub use dataflow::Dataflow;
pub use explain::OperatorStats;
pub use pipeline::History;

/// Rows that one step reads of the log, about.
const STEP_ROWS: usize = 1 << 20;

/// A view's rows at one LSN.
#[derive(Clone, Debug)]
pub struct ViewRows {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ViewStatus {
    /// Its first rows are being computed.
    Building,
    Ready,
    /// It stopped before a commit that it could not take.
    Failed,
    /// The server was started without views.
    Off,
}

impl ViewStatus {
    pub fn name(self) -> &'static str {
        match self {
            ViewStatus::Building => "building",
            ViewStatus::Ready => "ready",
            ViewStatus::Failed => "failed",
            ViewStatus::Off => "off",
        }
    }
}

/// Statistics of a view's maintenance.
#[derive(Clone, Debug)]
pub struct ViewStats {
    pub oid: u32,
    pub status: ViewStatus,
    /// Why it failed or is off.
    pub reason: Option<String>,
    /// There is no more to be found out about that.
    pub known: bool,
    /// LSN up to which it is complete.
    pub frontier: Lsn,
    /// Rows; those that a filter over groups leaves out count too.
    pub rows: u64,
    /// Bytes of memory, about.
    pub state_bytes: u64,
    /// The least watermark of the topics that close its windows, microseconds.
    pub watermark: Option<i64>,
    /// Rows that came too late for a window.
    pub late_rows: u64,
    /// Rows that had no event time.
    pub null_rows: u64,
}

impl ViewStats {
    /// Of a view that has no state.
    fn stateless(oid: u32, status: ViewStatus, reason: Option<String>) -> ViewStats {
        ViewStats {
            oid,
            status,
            reason,
            known: true,
            frontier: 0,
            rows: 0,
            state_bytes: 0,
            watermark: None,
            late_rows: 0,
            null_rows: 0,
        }
    }
}

/// Bytes of the views' states, and their limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ViewMemory {
    pub used: u64,
    pub max: u64,
}

/// A view that has failed, for sessions that write into a topic that it reads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FailedView {
    pub oid: u32,
    pub name: String,
    pub reason: String,
}

struct Registered {
    name: String,
    dataflow: Arc<Dataflow>,
    limits: Limits,
    keeper: Arc<Keeper>,
}

/// A view of the catalog that no thread keeps.
struct Unkept {
    name: String,
    status: ViewStatus,
    error: SqlError,
}

/// All incremental views.
pub struct Views {
    shared: Shared,
    newest: watch::Receiver<Lsn>,
    keepers: Mutex<Vec<Arc<Keeper>>>,
    /// Held while views come to a keeper or move between two.
    moves: tokio::sync::Mutex<()>,
    /// By OID, in the order of creation: a view stands after those that it reads.
    registered: Mutex<Vec<(u32, Registered)>>,
    /// Views that are being built beside the driver.
    building: Mutex<Vec<(u32, String, ViewStop)>>,
    unkept: Mutex<Vec<(u32, Unkept)>>,
    /// No view is kept.
    off: AtomicBool,
    stopping: AtomicBool,
}

impl History for Log {
    fn newest(&self) -> Lsn {
        Log::newest(self)
    }

    fn read(&self, reader: &Reader, after: Lsn, upto: Lsn) -> Result<Vec<Extent>, SqlError> {
        Ok(Log::read(self, reader, after, upto)?)
    }

    fn pause(&self, topics: &[TopicId], after: Lsn, upto: Lsn) -> Result<Lsn, SqlError> {
        Ok(Log::pause(self, topics, after, upto, STEP_ROWS)?)
    }

    fn watermark(&self, topic: TopicId, at: Lsn) -> Option<i64> {
        Log::watermark(self, topic, at)
    }

    fn time(&self, at: Lsn) -> i64 {
        Log::time(self, at)
    }
}

impl Views {
    /// Views over a log. The states of all, building them included, take no more than about `memory_bytes_max`.
    pub fn start(log: Arc<Log>, memory_bytes_max: usize) -> Arc<Views> {
        let newest = log.subscribe();
        Views::over(log, newest, memory_bytes_max)
    }

    /// Over any history, with the channel on which it announces published LSNs.
    pub fn over(history: Arc<dyn History>, newest: watch::Receiver<Lsn>, memory_bytes_max: usize) -> Arc<Views> {
        Arc::new(Views {
            shared: Shared {
                history,
                budget: Budget::new(memory_bytes_max),
                failures: Arc::new(AtomicU64::new(0)),
            },
            newest,
            keepers: Mutex::default(),
            moves: tokio::sync::Mutex::default(),
            registered: Mutex::default(),
            building: Mutex::default(),
            unkept: Mutex::default(),
            off: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        })
    }

    /// At start: takes all views of the catalog, each after those that it reads, or the reason why one could not be
    /// planned. They are rebuilt from the log together; readers wait for that. One that fails stays, as failed. The
    /// receiver gets their number when all are ready.
    pub async fn restore(
        &self,
        views: Vec<(u32, Arc<catalog::View>, Result<Dataflow, SqlError>)>,
    ) -> Result<oneshot::Receiver<usize>, SqlError> {
        let _moves = self.moves.lock().await;
        let mut built: Vec<(Arc<Keeper>, Vec<ToBuild>)> = Vec::new();
        for family in families(views) {
            let flows = family.iter().filter_map(|(_, _, dataflow)| dataflow.as_ref().ok());
            let keeper = self.keeper_for_more(&flows.collect::<Vec<_>>())?;
            let mut taken: Vec<ToBuild> = Vec::new();
            for (oid, view, dataflow) in family {
                let read = dataflow.as_ref().map_or_else(|_| Vec::new(), Dataflow::views);
                let dataflow = match (dataflow, self.unkept_of(&read)) {
                    (Ok(dataflow), None) => Arc::new(dataflow),
                    (Err(error), _) => {
                        tracing::error!(view = view.name, "a materialized view failed: {error}");
                        self.leave(oid, &view.name, ViewStatus::Failed, error);
                        continue;
                    }
                    (Ok(_), Some((name, mut error))) => {
                        error.message = format!("materialized view \"{name}\" that it reads failed: {}", error.message);
                        self.leave(oid, &view.name, ViewStatus::Failed, error);
                        continue;
                    }
                };
                let (name, limits) = (view.name.clone(), Limits::new(self.shared.budget.clone()));
                taken.push((oid, name.clone(), dataflow.clone(), limits.clone()));
                let registered = Registered {
                    name,
                    dataflow,
                    limits,
                    keeper: keeper.clone(),
                };
                self.registered.lock().push((oid, registered));
            }
            match built.iter_mut().find(|(other, _)| Arc::ptr_eq(other, &keeper)) {
                Some((_, views)) => views.extend(taken),
                None => built.push((keeper, taken)),
            }
        }
        let mut all_ready = Vec::with_capacity(built.len());
        for (keeper, views) in built {
            let (done, ready) = oneshot::channel();
            let sent = keeper.send(Request::Restore { views, done }).await;
            sent.ok_or_else(|| self.broken_off())?;
            all_ready.push(ready);
        }
        let (done, ready) = oneshot::channel();
        tokio::spawn(async move {
            let mut views = 0;
            for ready in all_ready {
                match ready.await {
                    Ok(number) => views += number,
                    Err(_) => return,
                }
            }
            // Nobody may want to know.
            let _ = done.send(views);
        });
        Ok(ready)
    }

    /// Keeps no view at all: those of the catalog can be listed and dropped. `why` is the error of a reader.
    pub fn turn_off(&self, views: Vec<(u32, String)>, why: &SqlError) {
        self.off.store(true, Ordering::Relaxed);
        for (oid, name) in views {
            let mut error = why.clone();
            error.message = format!("materialized view \"{name}\" is off: {}", why.message);
            self.leave(oid, &name, ViewStatus::Off, error);
        }
    }

    fn leave(&self, oid: u32, name: &str, status: ViewStatus, error: SqlError) {
        let name = name.to_string();
        self.unkept.lock().push((oid, Unkept { name, status, error }));
        if status == ViewStatus::Failed {
            self.shared.failures.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The first of these views that the driver does not keep: its name, and the error of a reader.
    fn unkept_of(&self, views: &[u32]) -> Option<(String, SqlError)> {
        let unkept = self.unkept.lock();
        let found = unkept.iter().find(|(oid, _)| views.contains(oid));
        found.map(|(_, view)| (view.name.clone(), view.error.clone()))
    }

    /// Stops keeping views, dependents included in the list.
    pub fn remove(&self, oids: &[u32]) {
        if oids.is_empty() {
            return;
        }
        self.end_build(oids);
        let mut keepers: Vec<Arc<Keeper>> = Vec::new();
        self.registered.lock().retain(|(oid, view)| {
            let is_kept = !oids.contains(oid);
            if !is_kept {
                view.limits.stop.set();
                if !keepers.iter().any(|keeper| Arc::ptr_eq(keeper, &view.keeper)) {
                    keepers.push(view.keeper.clone());
                }
            }
            is_kept
        });
        self.unkept.lock().retain(|(oid, _)| !oids.contains(oid));
        for keeper in keepers {
            keeper.send_now(Request::Drop { oids: oids.to_vec() });
        }
    }

    /// What messages call a view from now on.
    pub async fn rename(&self, oid: u32, name: &str) -> Result<(), SqlError> {
        let name = name.to_string();
        let _moves = self.moves.lock().await;
        let mut keeper = None;
        if let Some((_, view)) = self.registered.lock().iter_mut().find(|(other, _)| *other == oid) {
            view.name.clone_from(&name);
            keeper = Some(view.keeper.clone());
        }
        if let Some((_, view)) = self.unkept.lock().iter_mut().find(|(other, _)| *other == oid) {
            view.name.clone_from(&name);
        }
        if let Some((_, building, _)) = self.building.lock().iter_mut().find(|(other, ..)| *other == oid) {
            building.clone_from(&name);
        }
        match keeper {
            Some(keeper) => {
                let sent = keeper.send(Request::Rename { oid, name }).await;
                sent.ok_or_else(|| self.broken_off())
            }
            None => Ok(()),
        }
    }

    /// A thread of the views did not answer.
    fn broken_off(&self) -> SqlError {
        if self.stopping.load(Ordering::Relaxed) {
            return stopped();
        }
        SqlError::new(state::INTERNAL_ERROR, "the views did not answer")
            .hint("This is a defect of the server, whose log has the details.")
    }

    /// The number of failures whose searches have ended: while it stays the same, so does [`Views::failed_readers`].
    pub fn failures(&self) -> u64 {
        self.shared.failures.load(Ordering::Acquire)
    }

    /// The failed views that read a topic themselves.
    pub fn failed_readers(&self, topic: TopicId) -> Vec<FailedView> {
        let registered = self.registered.lock();
        let failed = registered.iter().filter_map(|(oid, view)| {
            let stats = view.published(*oid, |view| view.stats.clone())?;
            let reason = stats.reason.clone().filter(|_| stats.known)?;
            view.dataflow.topics().contains(&topic).then(|| FailedView {
                oid: *oid,
                name: view.name.clone(),
                reason,
            })
        });
        failed.collect()
    }

    /// The budget of all views together.
    pub fn budget(&self) -> Arc<Budget> {
        self.shared.budget.clone()
    }

    /// Bytes that the views' states take, and their limit.
    pub fn memory(&self) -> ViewMemory {
        ViewMemory {
            used: self.shared.budget.used() as u64,
            max: self.shared.budget.bytes_max() as u64,
        }
    }

    /// The number of these rows, just appended at `watermark` to the topic as it is now, that come too late for a
    /// window, by view.
    pub fn late_rows(&self, topic: &catalog::Topic, rows: &RecordBatch, watermark: Option<i64>) -> Vec<(u32, u64)> {
        let Some(behind) = watermark else { return Vec::new() };
        let flows: Vec<(u32, Arc<Dataflow>)> = {
            let registered = self.registered.lock();
            registered
                .iter()
                .map(|(oid, view)| (*oid, view.dataflow.clone()))
                .collect()
        };
        let mut late = Vec::new();
        for (oid, dataflow) in flows {
            let may_be_late = dataflow.scans().any(|(node, scan)| match &scan.source {
                LeafSource::Topic { reader, event_time, .. }
                    if reader.topic.0 == topic.oid && dataflow.has_window(node) =>
                {
                    let rows = seen_as(reader, topic, rows);
                    event_time.is_none_or(|column| any_before(&rows, column, behind))
                }
                _ => false,
            });
            if may_be_late {
                // A view that fails on these rows says so itself.
                let count = dataflow.late_rows(topic, rows, watermark).unwrap_or(0);
                if count > 0 {
                    late.push((oid, count));
                }
            }
        }
        late
    }

    /// Whether rows of the topic may come too late for a window of some view.
    pub fn closes_windows_of(&self, topic: &catalog::Topic) -> bool {
        let registered = self.registered.lock();
        registered.iter().any(|(_, view)| {
            view.dataflow.scans().any(|(node, scan)| {
                let is_of = matches!(&scan.source, LeafSource::Topic { reader, .. } if reader.topic.0 == topic.oid);
                is_of && view.dataflow.has_window(node)
            })
        })
    }

    /// Whether there is no view to keep.
    pub fn is_empty(&self) -> bool {
        self.registered.lock().is_empty()
    }

    /// Every view's status and sizes.
    pub fn stats(&self) -> Vec<ViewStats> {
        let registered = self.registered.lock();
        let kept = registered.iter().map(|(oid, view)| {
            let stats = view.published(*oid, |view| view.stats.clone());
            stats.unwrap_or_else(|| ViewStats::stateless(*oid, ViewStatus::Building, None))
        });
        let building = self.building.lock();
        let is_kept = |oid: u32| registered.iter().any(|(other, _)| *other == oid);
        let built = building.iter().filter(|(oid, ..)| !is_kept(*oid));
        let built = built.map(|(oid, ..)| ViewStats::stateless(*oid, ViewStatus::Building, None));
        let unkept = self.unkept.lock();
        let unkept = unkept
            .iter()
            .map(|(oid, view)| ViewStats::stateless(*oid, view.status, Some(view.error.to_string())));
        kept.chain(built).chain(unkept).collect()
    }

    /// The operators of every view that has rows by now.
    pub fn operators(&self) -> Vec<OperatorStats> {
        let registered = self.registered.lock();
        let of = |(oid, view): &(u32, Registered)| {
            view.published(*oid, |state| OperatorStats::all_of(*oid, &view.dataflow, &state.nodes))
        };
        registered.iter().filter_map(of).flatten().collect()
    }

    /// A view's dataflow as EXPLAIN shows it; with `analyze`, the rows that went through it and its state.
    pub fn explain(&self, oid: u32, analyze: bool) -> Option<Vec<String>> {
        let registered = self.registered.lock();
        let (_, view) = registered.iter().find(|(other, _)| *other == oid)?;
        let state = view.published(oid, |state| (state.nodes.clone(), state.stats.clone()));
        let nodes = state.as_ref().filter(|_| analyze).map(|(nodes, _)| nodes.as_slice());
        let mut lines = explain::lines(&view.dataflow, nodes);
        if let (true, Some((_, stats))) = (analyze, &state) {
            lines.push(format!(
                "{} at LSN {}: rows={}, memory={} bytes, late rows={}",
                stats.status.name(),
                stats.frontier,
                stats.rows,
                stats.state_bytes,
                stats.late_rows
            ));
            if let Some(reason) = &stats.reason {
                lines.push(format!("Failed: {reason}"));
            }
        }
        Some(lines)
    }

    /// Ends the threads and the builds; readers that wait get an error.
    pub async fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.building.lock().iter().for_each(|(.., stop)| stop.set());
        self.registered
            .lock()
            .iter()
            .for_each(|(_, view)| view.limits.stop.set());
        let keepers = self.keepers.lock().clone();
        for keeper in keepers {
            keeper.stop().await;
        }
    }
}

impl Registered {
    /// Of what is published of it, if it has rows by now.
    fn published<T>(&self, oid: u32, of: impl FnOnce(&PublishedView) -> T) -> Option<T> {
        self.keeper.published.lock().views.get(&oid).map(of)
    }
}

/// Runs work of a view on a thread of its own; a panic in it is its error.
async fn on_thread<T: Send + 'static>(
    name: &str,
    budget: &Budget,
    work: impl FnOnce() -> Result<T, SqlError> + Send + 'static,
) -> Result<T, SqlError> {
    let scope = budget.scope();
    let (done, wait) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name(name.to_string())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            let _scope = scope.enter();
            // The asker may have gone; then nobody takes the result.
            let _ = done.send(failure::contained(work));
        });
    thread.map_err(|error| {
        SqlError::new(
            state::INSUFFICIENT_RESOURCES,
            format!("could not start a thread: {error}"),
        )
    })?;
    wait.await.map_err(|_| stopped())?
}

fn any_before(rows: &RecordBatch, column: usize, watermark: i64) -> bool {
    let Some(times) = rows.column(column).as_primitive_opt::<TimestampMicrosecondType>() else {
        return true;
    };
    (0..times.len()).any(|row| times.is_valid(row) && times.value(row) < watermark)
}

fn stopped() -> SqlError {
    SqlError::new(
        state::ADMIN_SHUTDOWN,
        "terminating connection due to administrator command",
    )
    .detail("The views are no longer maintained: the server stops.")
}

/// 55000 for a view that has no rows to show yet.
fn is_building(name: &str) -> SqlError {
    SqlError::new(
        state::OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("materialized view \"{name}\" is still being built"),
    )
    .hint("Read it again once its status in millstream.materialized_views is ready; under consistency = 'strict' a SELECT waits for a build at the server's start.")
}
