//! Incremental maintenance: a logical plan compiled to a dataflow of operators over weighted deltas.
//!
//! One rule: a view at LSN N equals its defining SELECT run as a batch at N (V1).
//!
//! In reading order: what flows (`delta`), the operators, what a view is compiled to (`compile`, `dataflow`), views in
//! lockstep (`pipeline`) and the thread that keeps them (`driver`). [`Views`] is the facade.
//!
//! Not here: what SQL means (`sql`), batch queries (`query`). State is rebuilt from the log at start.

mod delta;
mod expression;

mod linear;
mod operator;
mod scan;
mod window;

mod aggregate;
mod output;

mod compile;
mod dataflow;
mod rules;

mod driver;
mod explain;
mod pipeline;

pub mod idle;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use crate::catalog;
use crate::error::{SqlError, state};
use crate::log::{Log, Lsn, Reader, TopicId};

use driver::{Driver, Published, REQUESTS_MAX, Request, not_maintained};
use pipeline::{Maintained, Pipeline};
use scan::{Source, seen_as};

pub use compile::{Compiled, compile};
pub use dataflow::Dataflow;
pub use pipeline::History;

/// A new view is handed to the driver once a step of its catching up brought it over fewer commits than this.
const HANDOVER_COMMITS: u64 = 256;
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
}

impl ViewStatus {
    pub fn name(self) -> &'static str {
        match self {
            ViewStatus::Building => "building",
            ViewStatus::Ready => "ready",
            ViewStatus::Failed => "failed",
        }
    }
}

/// What is known of a view's maintenance.
#[derive(Clone, Debug)]
pub struct ViewStats {
    pub oid: u32,
    pub status: ViewStatus,
    /// Why it failed: what a reader is told.
    pub reason: Option<SqlError>,
    /// LSN up to which it is complete.
    pub frontier: Lsn,
    /// Rows; what a filter over groups leaves out is counted too.
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

struct Registered {
    name: String,
    dataflow: Arc<Dataflow>,
}

/// All incremental views.
pub struct Views {
    history: Arc<dyn History>,
    published: Arc<Mutex<Published>>,
    /// By OID, in the order of creation: a view stands after those that it reads.
    registered: Mutex<Vec<(u32, Registered)>>,
    requests: mpsc::Sender<Request>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl History for Log {
    fn newest(&self) -> Lsn {
        Log::newest(self)
    }

    fn read(&self, reader: &Reader, after: Lsn, upto: Lsn) -> Result<Vec<crate::log::Chunk>, SqlError> {
        let extents = Log::read(self, reader, after, upto)?;
        let chunks = extents.iter().filter_map(|extent| extent.load().transpose());
        Ok(chunks.collect::<Result<_, _>>()?)
    }

    fn pause(&self, topics: &[TopicId], after: Lsn, upto: Lsn) -> Result<Lsn, SqlError> {
        Ok(Log::pause(self, topics, after, upto, STEP_ROWS)?)
    }

    fn watermark(&self, topic: TopicId, at: Lsn) -> Option<i64> {
        Log::watermark(self, topic, at)
    }
}

impl Views {
    /// Starts the driver's thread over a log.
    pub fn start(log: Arc<Log>) -> Arc<Views> {
        let newest = log.subscribe();
        Views::over(log, newest)
    }

    /// Over any history, with the channel on which it says what it has published.
    pub fn over(history: Arc<dyn History>, newest: watch::Receiver<Lsn>) -> Arc<Views> {
        let published = Arc::new(Mutex::new(Published::default()));
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        let driver = Driver::new(history.clone(), published.clone(), receiver, newest);
        let thread = std::thread::Builder::new()
            .name("views".to_string())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build()
                    .expect("a runtime without I/O needs nothing that could be missing");
                runtime.block_on(driver.run());
            })
            .expect("a thread can be started while the server starts");
        Arc::new(Views {
            history,
            published,
            registered: Mutex::new(Vec::new()),
            requests,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Builds a view's first rows and keeps it from then on. Writes go on meanwhile. If a row makes it fail, that is the
    /// error and there is no such view.
    pub async fn create(&self, oid: u32, view: Arc<catalog::View>, dataflow: Dataflow) -> Result<(), SqlError> {
        let dataflow = Arc::new(dataflow);
        let mut built = self.pipeline_for(&dataflow)?;
        built.add(Maintained::new(oid, view.name.clone(), dataflow.clone())?);
        let (done, wait) = oneshot::channel();
        let history = self.history.clone();
        std::thread::Builder::new()
            .name("view backfill".to_string())
            .spawn(move || {
                // The asker may have been cancelled; then nobody takes what was built.
                let _ = done.send(catch_up(built, &*history, oid));
            })
            .map_err(|error| {
                SqlError::new(
                    state::INSUFFICIENT_RESOURCES,
                    format!("could not start a thread: {error}"),
                )
            })?;
        let built = wait.await.map_err(|_| stopped())??;
        let (reply, wait) = oneshot::channel();
        let oids = vec![oid];
        let built = Box::new(built);
        self.ask(Request::Adopt { built, oids, reply }).await?;
        wait.await.map_err(|_| stopped())??;
        let name = view.name.clone();
        self.registered.lock().push((oid, Registered { name, dataflow }));
        Ok(())
    }

    /// At start: takes all views of the catalog, those that are read before those that read them. They are rebuilt from the
    /// log together; readers wait for that. One that fails stays, as failed.
    pub async fn restore(&self, views: Vec<(u32, Arc<catalog::View>, Dataflow)>) -> Result<(), SqlError> {
        let views: Vec<(u32, String, Arc<Dataflow>)> = views
            .into_iter()
            .map(|(oid, view, dataflow)| (oid, view.name.clone(), Arc::new(dataflow)))
            .collect();
        let registered = views.iter().map(|(oid, name, dataflow)| {
            let (name, dataflow) = (name.clone(), dataflow.clone());
            (*oid, Registered { name, dataflow })
        });
        self.registered.lock().extend(registered);
        self.ask(Request::Restore { views }).await
    }

    /// Empty copies of all that a dataflow reads.
    fn pipeline_for(&self, dataflow: &Dataflow) -> Result<Pipeline, SqlError> {
        let registered = self.registered.lock();
        let mut wanted = dataflow.views();
        for (oid, view) in registered.iter().rev() {
            if wanted.contains(oid) {
                wanted.extend(view.dataflow.views());
            }
        }
        let mut pipeline = Pipeline::new();
        for (oid, view) in registered.iter().filter(|(oid, _)| wanted.contains(oid)) {
            pipeline.add(Maintained::new(*oid, view.name.clone(), view.dataflow.clone())?);
        }
        match dataflow.views().into_iter().find(|oid| pipeline.view(*oid).is_none()) {
            Some(oid) => Err(not_maintained(oid)),
            None => Ok(pipeline),
        }
    }

    /// Stops keeping views, dependents included in the list.
    pub fn remove(&self, oids: &[u32]) {
        if oids.is_empty() {
            return;
        }
        self.registered.lock().retain(|(oid, _)| !oids.contains(oid));
        let oids = oids.to_vec();
        if let Err(error) = self.requests.try_send(Request::Drop { oids }) {
            // The queue is full: hand it in from a thread that may wait.
            let requests = self.requests.clone();
            let request = error.into_inner();
            let sender = std::thread::Builder::new()
                .name("view drop".to_string())
                .spawn(move || requests.blocking_send(request));
            if let Err(error) = sender {
                tracing::error!(%error, "a dropped view is kept until the server restarts");
            }
        }
    }

    /// The newest consistent reading of several views: an LSN not below `at_least`, and each view's rows there.
    pub async fn read_newest(&self, views: &[u32], at_least: Lsn) -> Result<(Lsn, HashMap<u32, ViewRows>), SqlError> {
        {
            let registered = self.registered.lock();
            let known = |oid: &u32| registered.iter().any(|(other, _)| other == oid);
            if let Some(gone) = views.iter().find(|oid| !known(oid)) {
                return Err(not_maintained(*gone));
            }
        }
        if let Some(reading) = self.published_reading(views, at_least) {
            return Ok(reading);
        }
        let (reply, wait) = oneshot::channel();
        let views = views.to_vec();
        self.ask(Request::ReadNewest { views, at_least, reply }).await?;
        wait.await.map_err(|_| stopped())?
    }

    /// Without asking the driver, if it has what is asked for at hand.
    fn published_reading(&self, views: &[u32], at_least: Lsn) -> Option<(Lsn, HashMap<u32, ViewRows>)> {
        let published = self.published.lock();
        if published.frontier < at_least {
            return None;
        }
        let rows = |oid: &u32| Some((*oid, published.views.get(oid)?.rows.clone()?));
        let rows: Option<HashMap<u32, ViewRows>> = views.iter().map(rows).collect();
        Some((published.frontier, rows?))
    }

    /// A view's rows exactly at `at`, or `None` if it has moved past it.
    pub async fn read_at(&self, view: u32, at: Lsn) -> Result<Option<ViewRows>, SqlError> {
        let (reply, wait) = oneshot::channel();
        self.ask(Request::ReadAt { view, at, reply }).await?;
        wait.await.map_err(|_| stopped())?
    }

    /// Returns once every view is complete up to `lsn`.
    pub async fn caught_up(&self, lsn: Lsn) -> Result<(), SqlError> {
        let (reply, wait) = oneshot::channel();
        self.ask(Request::CaughtUp { lsn, reply }).await?;
        wait.await.map_err(|_| stopped())
    }

    async fn ask(&self, request: Request) -> Result<(), SqlError> {
        self.requests.send(request).await.map_err(|_| stopped())
    }

    /// How many of these rows, just appended at `watermark` to the topic as it is now, come too late for a window of
    /// which views.
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
                Source::Topic { reader, event_time, .. }
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
                let is_of = matches!(&scan.source, Source::Topic { reader, .. } if reader.topic.0 == topic.oid);
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
        let published = self.published.lock();
        let registered = self.registered.lock();
        let of = |(oid, _): &(u32, Registered)| match published.views.get(oid) {
            Some(view) => view.stats.clone(),
            None => ViewStats {
                oid: *oid,
                status: ViewStatus::Building,
                reason: None,
                frontier: 0,
                rows: 0,
                state_bytes: 0,
                watermark: None,
                late_rows: 0,
                null_rows: 0,
            },
        };
        registered.iter().map(of).collect()
    }

    /// A view's dataflow as EXPLAIN shows it; with `analyze`, what went through it and what it holds.
    pub fn explain(&self, oid: u32, analyze: bool) -> Option<Vec<String>> {
        let published = self.published.lock();
        let registered = self.registered.lock();
        let (_, view) = registered.iter().find(|(other, _)| *other == oid)?;
        let state = published.views.get(&oid);
        let nodes = state.filter(|_| analyze).map(|state| state.nodes.as_slice());
        let mut lines = explain::lines(&view.dataflow, nodes);
        if let (true, Some(state)) = (analyze, state) {
            let stats = &state.stats;
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

    /// Ends the driver's thread; readers that wait are told so.
    pub async fn stop(&self) {
        // It may have ended by itself.
        let _ = self.requests.send(Request::Stop).await;
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && let Ok(Err(_)) = tokio::task::spawn_blocking(move || thread.join()).await
        {
            tracing::error!("the views' thread ended by a panic");
        }
    }
}

/// Steps a new view until it is about as far as the log.
fn catch_up(mut built: Pipeline, history: &dyn History, oid: u32) -> Result<Pipeline, SqlError> {
    loop {
        let before = built.frontier();
        built.advance(history, history.newest());
        if let Some(failure) = built.view(oid).and_then(|view| view.failure.as_ref()) {
            return Err(failure.report());
        }
        if built.frontier() - before < HANDOVER_COMMITS {
            return Ok(built);
        }
    }
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
