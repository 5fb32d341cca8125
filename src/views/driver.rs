//! The thread that keeps the views: one for all of them.
//!
//! One rule: after each step all views stand at one LSN, and what is handed out to readers is of that LSN (V3).
//!
//! It wakes when the log publishes, and when someone asks. If nobody asks, it lets commits gather for [`LULL`] before it
//! steps: freshness is measured at reads, and those wake it at once. A reader that needs an exact LSN bounds the step, so
//! that the views do not run past it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::{SqlError, state};
use crate::log::{Lsn, TopicId};

use super::dataflow::{Dataflow, NodeStats};
use super::pipeline::{History, Maintained, Pipeline};
use super::{ViewRows, ViewStats, ViewStatus};

/// How long commits gather when nobody waits for the views.
const LULL: Duration = Duration::from_millis(5);
/// Requests that wait for the driver, at most; more wait at the senders.
pub const REQUESTS_MAX: usize = 1024;

/// A newest consistent reading of several views.
pub type Reading = Result<(Lsn, HashMap<u32, ViewRows>), SqlError>;

/// What the driver is asked.
pub enum Request {
    /// Take over views whose states were built beside it.
    Adopt {
        built: Box<Pipeline>,
        oids: Vec<u32>,
        reply: oneshot::Sender<Result<(), SqlError>>,
    },
    /// Build and take over views inside the driver: at start, before anybody reads.
    Restore {
        views: Vec<(u32, String, Arc<Dataflow>)>,
    },
    Drop {
        oids: Vec<u32>,
    },
    ReadNewest {
        views: Vec<u32>,
        at_least: Lsn,
        reply: oneshot::Sender<Reading>,
    },
    ReadAt {
        view: u32,
        at: Lsn,
        reply: oneshot::Sender<Result<Option<ViewRows>, SqlError>>,
    },
    CaughtUp {
        lsn: Lsn,
        reply: oneshot::Sender<()>,
    },
    Stop,
}

/// What anybody may look at without asking the driver.
#[derive(Default)]
pub struct Published {
    pub frontier: Lsn,
    pub views: HashMap<u32, PublishedView>,
}

/// A view as of the published frontier.
pub struct PublishedView {
    pub stats: ViewStats,
    /// Its rows there, if they were asked for.
    pub rows: Option<ViewRows>,
    pub nodes: Vec<NodeStats>,
    /// Topics and the watermark at which the next of their windows closes here.
    pub next_closes: Vec<(TopicId, i64)>,
}

/// The state of the driver's thread.
pub struct Driver {
    pub history: Arc<dyn History>,
    pub pipeline: Pipeline,
    pub published: Arc<Mutex<Published>>,
    pub requests: mpsc::Receiver<Request>,
    pub newest: watch::Receiver<Lsn>,
    waiting: Vec<Request>,
    stopping: bool,
}

impl Driver {
    pub fn new(
        history: Arc<dyn History>,
        published: Arc<Mutex<Published>>,
        requests: mpsc::Receiver<Request>,
        newest: watch::Receiver<Lsn>,
    ) -> Driver {
        Driver {
            history,
            pipeline: Pipeline::new(),
            published,
            requests,
            newest,
            waiting: Vec::new(),
            stopping: false,
        }
    }

    /// Until `Stop`, or until all senders are gone.
    pub async fn run(mut self) {
        while !self.stopping {
            self.newest.borrow_and_update();
            self.step();
            self.answer();
            if self.waits_for_more() {
                continue;
            }
            tokio::select! {
                biased;
                request = self.requests.recv() => self.take(request),
                // Without views nobody needs to know, and a wake-up at each commit costs as much as its sync.
                changed = self.newest.changed(), if !self.pipeline.is_empty() && self.newest.has_changed().is_ok() => {
                    if changed.is_ok() && self.waiting.is_empty() {
                        self.gather().await;
                    }
                }
            }
            while let Ok(request) = self.requests.try_recv() {
                self.take(Some(request));
            }
        }
    }

    /// Waits a little for more commits, unless somebody asks.
    async fn gather(&mut self) {
        tokio::select! {
            biased;
            request = self.requests.recv() => self.take(request),
            () = tokio::time::sleep(LULL) => {}
        }
    }

    /// Whether a step would bring somebody who waits further without anything being published first.
    fn waits_for_more(&self) -> bool {
        !self.waiting.is_empty() && self.target() > self.pipeline.frontier()
    }

    fn take(&mut self, request: Option<Request>) {
        match request {
            None | Some(Request::Stop) => self.stopping = true,
            Some(Request::Adopt { built, oids, reply }) => {
                let adopted = self.adopt(*built, &oids);
                // The asker may have gone; then the view is dropped by whoever did not see it come.
                let _ = reply.send(adopted);
            }
            Some(Request::Restore { views }) => self.restore(views),
            Some(Request::Drop { oids }) => {
                self.pipeline.remove(&oids);
                let mut published = self.published.lock();
                published.views.retain(|oid, _| !oids.contains(oid));
            }
            Some(request) => self.waiting.push(request),
        }
    }

    /// The newest LSN that no exact reader would miss.
    fn target(&self) -> Lsn {
        let frontier = self.pipeline.frontier();
        let exact = self.waiting.iter().filter_map(|request| match request {
            Request::ReadAt { at, .. } if *at > frontier => Some(*at),
            _ => None,
        });
        exact.fold(self.history.newest(), Lsn::min)
    }

    fn step(&mut self) {
        let target = self.target();
        if target > self.pipeline.frontier() {
            self.pipeline.advance(&*self.history, target);
            self.publish();
        }
    }

    /// Brings both to one LSN, then takes the new views.
    fn adopt(&mut self, mut built: Pipeline, oids: &[u32]) -> Result<(), SqlError> {
        let level = built.frontier().max(self.pipeline.frontier());
        built.advance(&*self.history, level);
        if self.pipeline.frontier() < level {
            self.pipeline.advance(&*self.history, level);
        }
        for oid in oids {
            if let Some(failure) = built.view(*oid).and_then(|view| view.failure.clone()) {
                self.publish();
                return Err(failure.report());
            }
        }
        let result = self.add_all(built, oids);
        self.publish();
        result
    }

    fn add_all(&mut self, mut built: Pipeline, oids: &[u32]) -> Result<(), SqlError> {
        for view in built.remove(oids) {
            let missing = view
                .instance
                .dataflow()
                .views()
                .into_iter()
                .find(|oid| self.pipeline.view(*oid).is_none());
            if missing.is_some() {
                return Err(SqlError::new(
                    state::UNDEFINED_TABLE,
                    format!("a relation that materialized view \"{}\" reads was dropped", view.name),
                ));
            }
            let needed = self.pipeline.view(view.oid).is_none();
            assert!(needed, "a view is created once");
            self.pipeline.add(view);
        }
        Ok(())
    }

    fn restore(&mut self, views: Vec<(u32, String, Arc<Dataflow>)>) {
        let oids: Vec<u32> = views.iter().map(|(oid, ..)| *oid).collect();
        let reads: Vec<u32> = views.iter().flat_map(|(_, _, dataflow)| dataflow.views()).collect();
        let built = self.pipeline.copy_of(&reads).and_then(|mut built| {
            for (oid, name, dataflow) in views {
                built.add(Maintained::new(oid, name, dataflow)?);
            }
            Ok(built)
        });
        let result = built.and_then(|mut built| {
            let level = self.history.newest().max(self.pipeline.frontier());
            built.advance(&*self.history, level);
            if self.pipeline.frontier() < level {
                self.pipeline.advance(&*self.history, level);
            }
            self.add_all(built, &oids)
        });
        if let Err(error) = result {
            tracing::error!(%error, "views could not be built from the log");
        }
        self.publish();
    }

    /// Makes the present frontier and statistics visible.
    fn publish(&mut self) {
        let frontier = self.pipeline.frontier();
        let mut published = self.published.lock();
        assert!(frontier >= published.frontier, "V3: a frontier never moves back");
        published.frontier = frontier;
        let history = &self.history;
        for view in self.pipeline.views_mut() {
            let changed = view.instance.take_changed();
            let (late_rows, null_rows) = view.instance.skipped_rows();
            let topics = view.instance.closing_topics();
            let watermarks = topics.iter().map(|topic| history.watermark(*topic, frontier));
            let watermark = watermarks.min().flatten();
            let old = published.views.remove(&view.oid);
            let (rows, nodes, state_bytes) = match old {
                Some(old) if !changed && view.failure.is_none() => (old.rows, old.nodes, old.stats.state_bytes),
                _ => (None, view.instance.stats(), view.instance.bytes() as u64),
            };
            let stats = ViewStats {
                oid: view.oid,
                status: match &view.failure {
                    None => ViewStatus::Ready,
                    Some(_) => ViewStatus::Failed,
                },
                reason: view.failure.as_ref().map(|failure| failure.report()),
                frontier: match &view.failure {
                    None => frontier,
                    Some(failure) => failure.lsn - 1,
                },
                rows: view.instance.row_count() as u64,
                state_bytes,
                watermark,
                late_rows,
                null_rows,
            };
            published.views.insert(
                view.oid,
                PublishedView {
                    stats,
                    rows,
                    nodes,
                    next_closes: view.instance.next_closes(),
                },
            );
        }
    }

    /// Answers all whose LSN has come.
    fn answer(&mut self) {
        let frontier = self.pipeline.frontier();
        for request in std::mem::take(&mut self.waiting) {
            match request {
                Request::ReadNewest { views, at_least, reply } if at_least <= frontier => {
                    // A reader that has gone needs no answer, here as below.
                    let _ = reply.send(self.reading(&views));
                }
                Request::ReadAt { view, at, reply } if at <= frontier => {
                    let _ = reply.send(self.read_at(view, at));
                }
                Request::CaughtUp { lsn, reply } if lsn <= frontier => {
                    let _ = reply.send(());
                }
                still => self.waiting.push(still),
            }
        }
    }

    fn read_at(&mut self, view: u32, at: Lsn) -> Result<Option<ViewRows>, SqlError> {
        if let Some(failure) = self.pipeline.view(view).and_then(|view| view.failure.as_ref()) {
            return if failure.lsn <= at {
                Err(failure.report())
            } else {
                Ok(None)
            };
        }
        if at < self.pipeline.frontier() {
            return Ok(None);
        }
        Ok(Some(self.rows(view)?))
    }

    fn reading(&mut self, views: &[u32]) -> Reading {
        let wanted: HashSet<u32> = views.iter().copied().collect();
        let mut rows = HashMap::with_capacity(wanted.len());
        for oid in wanted {
            rows.insert(oid, self.rows(oid)?);
        }
        Ok((self.pipeline.frontier(), rows))
    }

    /// The view's rows at the frontier, kept for the next reader while nothing changes.
    fn rows(&mut self, oid: u32) -> Result<ViewRows, SqlError> {
        let cached = self.published.lock().views.get(&oid).and_then(|view| view.rows.clone());
        if let Some(rows) = cached {
            return Ok(rows);
        }
        let view = self.pipeline.view_mut(oid).ok_or_else(|| not_maintained(oid))?;
        if let Some(failure) = &view.failure {
            return Err(failure.report());
        }
        let rows = ViewRows {
            schema: view.instance.dataflow().schema.clone(),
            batches: view.instance.rows()?,
        };
        if let Some(view) = self.published.lock().views.get_mut(&oid) {
            view.rows = Some(rows.clone());
        }
        Ok(rows)
    }
}

/// The catalog named a view that nobody maintains: it was dropped meanwhile.
pub fn not_maintained(oid: u32) -> SqlError {
    SqlError::new(
        state::UNDEFINED_TABLE,
        format!("materialized view with OID {oid} does not exist"),
    )
    .detail("It was dropped while the statement was being run.")
}
