//! A thread that keeps views.
//!
//! One rule: after each step all its views stand at one LSN, and readers get rows of that LSN (V3).
//!
//! It wakes when the log publishes, and when someone asks. If nobody asks, it lets commits gather for [`LULL`] before
//! it steps: freshness is measured at reads, and those wake it at once. A reader that needs an exact LSN bounds the
//! step, so that the views do not run past it. Between two steps it takes its requests, so that no more than one step
//! delays a DROP, the server's end, or a reader of published rows.
//!
//! The rows of a view for its readers are made between steps, too, a chunk at a time (`rendering.rs`): a large view that is
//! read delays no step by more than that, of its own neither.
//!
//! A panic ends neither the thread nor anybody's wait: it fails the view that it came from, or all if that is unknown.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use crate::depth::STACK_BYTES;
use crate::error::{SqlError, state};
use crate::log::{Lsn, TopicId};
use crate::panics;

use super::clock::PendingRows;
use super::dataflow::Dataflow;
use super::failure::{ViewFailure, contained};
use super::instance::NodeStats;
use super::memory::{Budget, Limits, Rendered};
use super::operators::aggregate::CHUNK_GROUPS;
use super::pipeline::{Failed, FailureSearch, History, Maintained, Pipeline};
use super::rendering::{ReadRequest, Renderings, Turn};
use super::search::locate;
use super::{ViewRows, ViewStats, ViewStatus};

/// Time that commits gather when nobody waits for the views.
const LULL: Duration = Duration::from_millis(5);
/// Rows of a view that are made for its readers between two steps.
const TURN_ROWS: usize = 2 * CHUNK_GROUPS;
/// Requests that wait for the driver, at most; more wait at the senders.
pub const REQUESTS_MAX: usize = 1024;
/// Panics of its own after which the thread gives up.
const BREAKDOWNS_MAX: usize = 100;

/// Why a view that was built was not taken over.
pub struct Refused {
    pub error: SqlError,
    /// The search for the place of its failure.
    pub search: Option<FailureSearch>,
}

impl From<SqlError> for Refused {
    fn from(error: SqlError) -> Refused {
        Refused { error, search: None }
    }
}

/// A view to be built: its OID, name, dataflow, and limits.
pub type ToBuild = (u32, String, Arc<Dataflow>, Limits);

/// A request to the driver.
pub enum Request {
    /// Take over a view whose state was built beside it.
    Adopt {
        built: Box<Pipeline>,
        oid: u32,
        reply: oneshot::Sender<Result<(), Box<Refused>>>,
    },
    /// Build views inside the driver, and take them over: at start. `done` gets their number.
    Restore {
        views: Vec<ToBuild>,
        done: oneshot::Sender<usize>,
    },
    Drop {
        oids: Vec<u32>,
    },
    Rename {
        oid: u32,
        name: String,
    },
    Read(ReadRequest),
    CaughtUp {
        lsn: Lsn,
        reply: oneshot::Sender<()>,
    },
    /// Go no further than this bound, which is the frontier at first, while it lives.
    Hold {
        bound: Weak<AtomicU64>,
        reply: oneshot::Sender<Lsn>,
    },
    /// A hold has ended.
    Wake,
    /// Hand over all views, and end.
    Surrender {
        reply: oneshot::Sender<Box<Pipeline>>,
    },
    /// Take over all views of a thread that has ended.
    Merge {
        with: Box<Pipeline>,
        reply: oneshot::Sender<()>,
    },
    /// A search has ended.
    Found {
        oid: u32,
        failure: ViewFailure,
    },
    Stop,
}

/// The state that others read without asking the driver.
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
    /// The rows that time changes next.
    pub pending: Vec<PendingRows>,
}

/// Views that are being built at start.
struct Restoring {
    pipeline: Pipeline,
    oids: Vec<u32>,
    done: oneshot::Sender<usize>,
}

/// The part that all threads of views have in common.
#[derive(Clone)]
pub struct Shared {
    pub history: Arc<dyn History>,
    pub budget: Arc<Budget>,
    /// Failures that are completely known, so far.
    pub failures: Arc<AtomicU64>,
}

/// The state of a thread that keeps views.
pub struct Driver {
    history: Arc<dyn History>,
    budget: Arc<Budget>,
    pipeline: Pipeline,
    restoring: Option<Restoring>,
    published: Arc<Mutex<Published>>,
    failures: Arc<AtomicU64>,
    /// Bounds that no step may pass.
    holds: Vec<Weak<AtomicU64>>,
    rendered: Rendered,
    renderings: Renderings,
    /// Views whose rendering has panicked, and is tried again.
    shaken: HashSet<u32>,
    /// The views go to another thread once no reading is under way.
    leaves: bool,
    requests: mpsc::Receiver<Request>,
    /// For the searches' answers.
    answers: mpsc::WeakSender<Request>,
    newest: watch::Receiver<Lsn>,
    waiting: Vec<Request>,
    /// One search runs at a time.
    searches: VecDeque<FailureSearch>,
    searching: Option<(u32, JoinHandle<()>)>,
    /// Failures that were reported and are not published yet.
    unannounced: u64,
    stopping: bool,
}

impl Driver {
    pub fn new(
        shared: Shared,
        published: Arc<Mutex<Published>>,
        (sender, requests): (&mpsc::Sender<Request>, mpsc::Receiver<Request>),
        newest: watch::Receiver<Lsn>,
    ) -> Driver {
        Driver {
            history: shared.history,
            pipeline: Pipeline::new(&shared.budget),
            restoring: None,
            published,
            failures: shared.failures,
            holds: Vec::new(),
            rendered: Rendered::new(shared.budget.clone()),
            renderings: Renderings::default(),
            shaken: HashSet::new(),
            leaves: false,
            budget: shared.budget,
            requests,
            answers: sender.downgrade(),
            newest,
            waiting: Vec::new(),
            searches: VecDeque::new(),
            searching: None,
            unannounced: 0,
            stopping: false,
        }
    }

    /// The body of the thread: until `Stop`, or until all senders are gone.
    pub fn run(mut self) {
        let _scope = self.budget.scope().enter();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime without I/O needs nothing that could be missing");
        for _ in 0..BREAKDOWNS_MAX {
            match panics::catch(|| runtime.block_on(self.keep())) {
                Ok(()) => break,
                Err(error) => self.break_down(&error),
            }
        }
        self.searches.clear();
        if let Some((oid, thread)) = self.searching.take() {
            let restoring = self.restoring.iter().map(|restoring| &restoring.pipeline);
            for view in restoring.chain([&self.pipeline]).filter_map(|views| views.view(oid)) {
                view.instance.limits().stop.set();
            }
            // Nobody asks for its findings any more.
            let _ = thread.join();
        }
    }

    async fn keep(&mut self) {
        while !self.stopping {
            self.newest.borrow_and_update();
            let more = self.step();
            self.answer();
            let renders = self.render_on();
            let mut asked = false;
            while let Ok(request) = self.requests.try_recv() {
                self.take(Some(request));
                asked = true;
            }
            if more || renders || asked || self.waits_for_more() {
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

    /// Whether a step would bring a waiting reader further without anything being published first.
    fn waits_for_more(&self) -> bool {
        !self.waiting.is_empty() && self.target() > self.pipeline.frontier()
    }

    fn take(&mut self, request: Option<Request>) {
        match request {
            None | Some(Request::Stop) => self.stopping = true,
            Some(Request::Restore { views, done }) => self.restore(views, done),
            Some(Request::Drop { oids }) => {
                self.pipeline.remove(&oids);
                if let Some(restoring) = &mut self.restoring {
                    restoring.pipeline.remove(&oids);
                    restoring.oids.retain(|oid| !oids.contains(oid));
                }
                self.searches.retain(|search| !oids.contains(&search.oid));
                let mut published = self.published.lock();
                published.views.retain(|oid, _| !oids.contains(oid));
            }
            Some(Request::Rename { oid, name }) => {
                let restoring = self.restoring.iter_mut().map(|restoring| &mut restoring.pipeline);
                for pipeline in restoring.chain([&mut self.pipeline]) {
                    if let Some(view) = pipeline.view_mut(oid) {
                        view.name.clone_from(&name);
                    }
                }
            }
            Some(Request::Hold { bound, reply }) => {
                let frontier = self.pipeline.frontier();
                self.holds.retain(|held| held.strong_count() > 0);
                if let Some(held) = bound.upgrade() {
                    held.store(frontier, Ordering::Release);
                    self.holds.push(bound);
                }
                // A reader that has gone holds nothing.
                let _ = reply.send(frontier);
            }
            Some(Request::Wake) => {}
            Some(Request::Found { oid, failure }) => self.found(oid, failure),
            Some(request) => self.waiting.push(request),
        }
    }

    /// The newest LSN that no exact reader would miss.
    fn target(&self) -> Lsn {
        let frontier = self.pipeline.frontier();
        let exact = self.waiting.iter().filter_map(|request| match request {
            Request::Read(ReadRequest::At { at, .. }) if *at > frontier => Some(*at),
            // It waits for another reading of the view.
            Request::Read(ReadRequest::At { at, view, .. }) if *at == frontier && self.renderings.has(*view) => {
                Some(*at)
            }
            _ => None,
        });
        let holds = self.holds.iter().filter_map(Weak::upgrade);
        let held = holds.map(|bound| bound.load(Ordering::Acquire));
        exact.chain(held).fold(self.history.newest(), Lsn::min).max(frontier)
    }

    /// One step of the views that are kept, and one of those that are built at start. Whether either has further to go.
    fn step(&mut self) -> bool {
        let target = self.target();
        if target > self.pipeline.frontier() {
            let failed = self.pipeline.advance_once(&*self.history, target);
            self.note(failed);
            self.publish();
        }
        self.step_restoring() || target > self.pipeline.frontier()
    }

    /// Brings both to one LSN, then takes the new view.
    fn adopt(&mut self, mut built: Pipeline, oid: u32) -> Result<(), Box<Refused>> {
        let level = built.frontier().max(self.pipeline.frontier());
        let failed = built.advance(&*self.history, level);
        let kept_failed = self.pipeline.advance(&*self.history, level);
        self.note(kept_failed);
        let result = match built
            .view(oid)
            .map(|view| (view.report(), view.instance.limits().stop.is_set()))
        {
            Some((None, false)) => self.add_all(built, &[oid]).map_err(|error| Box::new(error.into())),
            Some((Some(error), false)) => {
                let search = failed.into_iter().filter(|failed| failed.oid == oid);
                let search = search.filter_map(|failed| failed.search).next();
                Err(Box::new(Refused { error, search }))
            }
            _ => Err(Box::new(dropped_while_built().into())),
        };
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

    /// Takes over the views of a thread that has ended. Both come to one LSN first.
    fn merge(&mut self, mut with: Pipeline) {
        let level = with.frontier().max(self.pipeline.frontier());
        let mut failed = with.advance(&*self.history, level);
        failed.extend(self.pipeline.advance(&*self.history, level));
        self.pipeline.merge(with);
        self.note(failed);
        self.publish();
    }

    /// Whether nothing that it began is under way.
    fn is_settled(&self) -> bool {
        self.renderings.is_empty() && self.has_begun_nothing()
    }

    /// The same but for readings.
    fn has_begun_nothing(&self) -> bool {
        self.restoring.is_none() && self.searching.is_none() && self.searches.is_empty()
    }

    fn restore(&mut self, views: Vec<ToBuild>, done: oneshot::Sender<usize>) {
        assert!(self.restoring.is_none(), "a start is made once");
        let reads: Vec<u32> = views.iter().flat_map(|(_, _, dataflow, _)| dataflow.views()).collect();
        let oids: Vec<u32> = views.iter().map(|(oid, ..)| *oid).collect();
        let limits = Limits::new(self.budget.clone());
        let built = self.pipeline.copy_of(&reads, &limits).and_then(|mut built| {
            for (oid, name, dataflow, limits) in views {
                built.add(Maintained::new(oid, name, dataflow, limits)?);
            }
            Ok(built)
        });
        match built {
            Ok(pipeline) => self.restoring = Some(Restoring { pipeline, oids, done }),
            Err(error) => tracing::error!(%error, "views could not be built from the log"),
        }
    }

    /// One step of the views that are built at start; once they are as far as the others they are taken over. Whether there is
    /// more to do.
    fn step_restoring(&mut self) -> bool {
        let Some(mut restoring) = self.restoring.take() else {
            return false;
        };
        let level = self.history.newest().max(self.pipeline.frontier());
        let failed = restoring.pipeline.advance_once(&*self.history, level);
        let built = restoring.pipeline.frontier() >= self.pipeline.frontier();
        let is_done = restoring.pipeline.frontier() == level && built;
        self.restoring = Some(restoring);
        self.note(failed);
        if !is_done {
            return true;
        }
        let failed = self.pipeline.advance(&*self.history, level);
        self.note(failed);
        let Some(Restoring { pipeline, oids, done }) = self.restoring.take() else {
            return false;
        };
        if let Err(error) = self.add_all(pipeline, &oids) {
            tracing::error!(%error, "views could not be built from the log");
        }
        self.publish();
        // Nobody may want to know.
        let _ = done.send(oids.len());
        false
    }

    /// Views that failed in a step: their searches are begun, one after another.
    fn note(&mut self, failed: Vec<Failed>) {
        for Failed { oid, search } in failed {
            match search {
                Some(search) => self.searches.push_back(search),
                None => self.report(oid),
            }
        }
        self.search_next();
    }

    fn search_next(&mut self) {
        while self.searching.is_none()
            && let Some(search) = self.searches.pop_front()
        {
            let (oid, known) = (search.oid, search.known_already());
            let (history, answers) = (self.history.clone(), self.answers.clone());
            let scope = self.budget.scope();
            let thread = std::thread::Builder::new()
                .name("view failure".to_string())
                .stack_size(STACK_BYTES)
                .spawn(move || {
                    let _scope = scope.enter();
                    let failure = locate(search, &*history);
                    drop(history);
                    if let Some(answers) = answers.upgrade() {
                        // If the driver has ended, the answer is not needed.
                        let _ = answers.blocking_send(Request::Found { oid, failure });
                    }
                });
            match thread {
                Ok(thread) => self.searching = Some((oid, thread)),
                Err(error) => {
                    tracing::warn!(%error, "the row that a view failed at is not looked for");
                    self.place(oid, known);
                }
            }
        }
    }

    fn found(&mut self, oid: u32, failure: ViewFailure) {
        if let Some((_, thread)) = self.searching.take() {
            // It has sent its answer, which is all that it had to do.
            let _ = thread.join();
        }
        self.place(oid, failure);
        self.publish();
        self.search_next();
    }

    /// All is known of a failure that will be.
    fn place(&mut self, oid: u32, failure: ViewFailure) {
        let mut known = self.pipeline.found(oid, failure.clone());
        if let Some(restoring) = &mut self.restoring {
            known |= restoring.pipeline.found(oid, failure);
        }
        if known {
            self.report(oid);
        }
    }

    /// Says in the server's log that a view has failed, once.
    fn report(&mut self, oid: u32) {
        let restoring = self.restoring.iter().map(|restoring| &restoring.pipeline);
        for pipeline in restoring.chain([&self.pipeline]) {
            let Some(view) = pipeline.view(oid) else { continue };
            let Some(failure) = &view.failure else { continue };
            if view.instance.limits().stop.is_set() {
                return;
            }
            let is_with_it = |other: &&Maintained| {
                other.oid != oid && other.failure.as_ref().is_some_and(|other| other.view == failure.view)
            };
            let others: Vec<&str> = pipeline
                .views()
                .iter()
                .filter(is_with_it)
                .map(|other| &*other.name)
                .collect();
            tracing::error!(
                view = view.name,
                stopped_before_lsn = failure.lsn,
                views_that_read_it = others.join(", "),
                "a materialized view failed: {}",
                failure.reason(&view.name)
            );
            self.unannounced += 1;
            return;
        }
    }

    /// Makes the present frontier and statistics visible.
    fn publish(&mut self) {
        self.forget_rendered(0);
        let frontier = self.pipeline.frontier();
        let published = self.published.clone();
        let mut published = published.lock();
        assert!(frontier >= published.frontier, "V3: a frontier never moves back");
        published.frontier = frontier;
        for index in 0..self.pipeline.views().len() {
            let view = &mut self.pipeline.views_mut()[index];
            let (oid, old) = (view.oid, published.views.remove(&view.oid));
            let history = &self.history;
            let shown = match contained(|| Ok(published_view(view, frontier, &**history, old))) {
                Ok(shown) => shown,
                Err(error) => {
                    self.pipeline
                        .fail(index, broken(&self.pipeline.views()[index], frontier, error));
                    self.report(oid);
                    let view = &mut self.pipeline.views_mut()[index];
                    published_view(view, frontier, &*self.history, None)
                }
            };
            published.views.insert(oid, shown);
        }
        // A reader that sees the number sees the failures that it counts.
        let announced = std::mem::take(&mut self.unannounced);
        if announced > 0 {
            self.failures.fetch_add(announced, Ordering::Release);
        }
    }

    /// Drops the rows rendered for readers if they, and `more` bytes more, have no room beside the states.
    fn forget_rendered(&mut self, more: usize) -> bool {
        let own = self.pipeline.views().iter().map(|view| view.instance.rendered_bytes());
        if self.rendered.fits(own.sum::<usize>() + more) {
            return false;
        }
        self.rendered.fits(0);
        for view in self.pipeline.views_mut() {
            view.instance.forget_rendered();
        }
        for view in self.published.lock().views.values_mut() {
            view.rows = None;
        }
        true
    }

    /// Answers all whose LSN has come.
    fn answer(&mut self) {
        let frontier = self.pipeline.frontier();
        let is_surrender = |request: &Request| matches!(request, Request::Surrender { .. });
        self.leaves = self.waiting.iter().any(is_surrender) && self.has_begun_nothing();
        for request in std::mem::take(&mut self.waiting) {
            match request {
                Request::Adopt { built, oid, reply } if self.restoring.is_none() => {
                    let adopted = self.adopt(*built, oid);
                    if reply.send(adopted).is_err() {
                        // The session that wanted it has gone.
                        self.take(Some(Request::Drop { oids: vec![oid] }));
                    }
                }
                Request::Surrender { reply } if self.is_settled() => {
                    let views = std::mem::replace(&mut self.pipeline, Pipeline::new(&self.budget));
                    match reply.send(Box::new(views)) {
                        Ok(()) => self.stopping = true,
                        Err(views) => self.pipeline = *views,
                    }
                }
                Request::Merge { with, reply } if self.restoring.is_none() => {
                    self.merge(*with);
                    let _ = reply.send(());
                }
                Request::Read(ReadRequest::At { view, at, reply }) if at < frontier && !self.is_open(view) => {
                    // A reader that has gone needs no answer, here as below.
                    let _ = reply.send(self.passed(view, at));
                }
                Request::Read(request) if self.can_read(&request) => self.read(request),
                Request::CaughtUp { lsn, reply } if lsn <= frontier && self.restoring.is_none() => {
                    let _ = reply.send(());
                }
                still => self.waiting.push(still),
            }
        }
        // Readers that were cancelled are not waited for.
        self.waiting.retain(|request| match request {
            Request::Read(request) => request.is_wanted(),
            Request::CaughtUp { reply, .. } => !reply.is_closed(),
            _ => true,
        });
        for oid in self.renderings.forget_unwanted() {
            if let Some(view) = self.pipeline.view_mut(oid) {
                view.instance.end_reading();
            }
        }
    }

    /// Whether the answer to readers of the view is still open: it is being built, or its failure is being searched.
    fn is_open(&self, oid: u32) -> bool {
        let restoring = self.restoring.iter();
        let is_built = restoring.filter(|restoring| restoring.oids.contains(&oid)).count() > 0;
        let failure = self.pipeline.view(oid).and_then(|view| view.failure.as_ref());
        is_built || failure.is_some_and(|failure| failure.searching)
    }

    /// Whether a reading can begin: its LSN is the frontier, the answers of its views are known, and no earlier reading of one is
    /// under way.
    fn can_read(&self, request: &ReadRequest) -> bool {
        let frontier = self.pipeline.frontier();
        let is_its_lsn = match request {
            ReadRequest::Newest { at_least, .. } => *at_least <= frontier,
            ReadRequest::At { at, .. } => *at == frontier,
        };
        let is_free = |oid: &u32| !self.is_open(*oid) && self.renderings.at(*oid).is_none_or(|at| at == frontier);
        is_its_lsn && !self.leaves && request.views().iter().all(is_free)
    }

    /// A view as of an LSN that the frontier has left: it has failed before that, or is no longer there.
    fn passed(&self, view: u32, at: Lsn) -> Result<Option<ViewRows>, SqlError> {
        match self.pipeline.view(view) {
            Some(view) => match &view.failure {
                Some(failure) if failure.lsn <= at => Err(failure.report(&view.name)),
                _ => Ok(None),
            },
            None => Ok(None),
        }
    }

    /// Begins a reading at the frontier, and answers it if all of its rows are there.
    fn read(&mut self, mut request: ReadRequest) {
        let frontier = self.pipeline.frontier();
        let views = request.views();
        let mut known = HashMap::with_capacity(views.len());
        let mut open = HashSet::new();
        for oid in views {
            match self.known_rows(oid) {
                Ok(Some(rows)) => {
                    known.insert(oid, rows);
                }
                Ok(None) => {
                    open.insert(oid);
                }
                Err(error) => return request.refuse(error),
            }
        }
        for oid in &open {
            if self.renderings.has(*oid) {
                continue;
            }
            let view = self.pipeline.view_mut(*oid).expect("its rows were asked for just now");
            match panics::catch(|| view.instance.begin_reading()) {
                Ok(Ok(())) => self.renderings.begin(*oid, frontier),
                Ok(Err(error)) => return request.refuse(error),
                Err(panic) => {
                    self.shake(*oid, panic);
                    self.waiting.push(Request::Read(request));
                    return;
                }
            }
        }
        request.begin();
        self.renderings.wait(request, frontier, known, open);
    }

    /// The view's rows at the frontier, if they were read there before; an error if it has none to show.
    fn known_rows(&mut self, oid: u32) -> Result<Option<ViewRows>, SqlError> {
        let cached = self.published.lock().views.get(&oid).and_then(|view| view.rows.clone());
        if cached.is_some() {
            return Ok(cached);
        }
        let view = self.pipeline.view(oid).ok_or_else(|| not_maintained(oid))?;
        view.report().map_or(Ok(None), Err)
    }

    /// Goes on with the readings under way, until one has more rows to make than a turn takes. Whether there were any.
    fn render_on(&mut self) -> bool {
        let renders = !self.renderings.is_empty();
        while let Some(turn) = self.renderings.next_turn()
            && self.render(turn)
        {}
        renders
    }

    /// A view's turn. Whether it has had its last.
    fn render(&mut self, Turn { oid, at }: Turn) -> bool {
        let view = self.pipeline.view_mut(oid).filter(|view| view.instance.is_read());
        let Some(view) = view else {
            // It has failed or gone meanwhile: its readers learn that as others do.
            self.wait_again(oid);
            return true;
        };
        match panics::catch(|| view.instance.read_on(TURN_ROWS)) {
            Ok(Ok(None)) => return false,
            Ok(Ok(Some(batches))) => {
                let rows = ViewRows {
                    schema: view.instance.dataflow().schema.clone(),
                    batches,
                };
                self.shaken.remove(&oid);
                self.keep_rendered(oid, at, &rows);
                self.renderings.finish(oid, &rows);
            }
            Ok(Err(error)) => {
                view.instance.end_reading();
                for request in self.renderings.give_up(oid) {
                    request.refuse(error.clone());
                }
            }
            Err(panic) => self.shake(oid, panic),
        }
        true
    }

    /// A view is no longer rendered for its readers: they wait for another reading.
    fn wait_again(&mut self, oid: u32) {
        let given_up = self.renderings.give_up(oid).into_iter();
        self.waiting.extend(given_up.map(Request::Read));
    }

    /// Keeps rows for the next reader while nothing changes and there is room.
    fn keep_rendered(&mut self, oid: u32, at: Lsn, rows: &ViewRows) {
        if !self.forget_rendered(0)
            && at == self.pipeline.frontier()
            && let Some(view) = self.published.lock().views.get_mut(&oid)
        {
            view.rows = Some(rows.clone());
        }
    }

    /// A view's rendering panicked: once more from nothing, and if that panics, too, the view has failed.
    fn shake(&mut self, oid: u32, panic: SqlError) {
        let frontier = self.pipeline.frontier();
        self.wait_again(oid);
        let Some(index) = self.pipeline.views().iter().position(|view| view.oid == oid) else {
            return;
        };
        let view = &mut self.pipeline.views_mut()[index];
        let again = contained(|| {
            view.instance.end_reading();
            view.instance.forget_rendered();
            Ok(())
        });
        if self.shaken.insert(oid) && again.is_ok() {
            return;
        }
        self.shaken.remove(&oid);
        let failure = broken(&self.pipeline.views()[index], frontier, panic);
        self.pipeline.fail(index, failure);
        self.report(oid);
        self.publish();
    }

    /// A panic that no view is known to have made: all of them are failed, since none is known to be whole.
    fn break_down(&mut self, error: &SqlError) {
        let restoring = self.restoring.iter_mut().map(|restoring| &mut restoring.pipeline);
        for pipeline in restoring.chain([&mut self.pipeline]) {
            for index in 0..pipeline.views().len() {
                if pipeline.views()[index].failure.is_none() {
                    let failure = broken(&pipeline.views()[index], pipeline.frontier(), error.clone());
                    pipeline.fail(index, failure);
                }
            }
        }
        let oids: Vec<u32> = self.pipeline.views().iter().map(|view| view.oid).collect();
        oids.into_iter().for_each(|oid| self.report(oid));
        if panics::catch(|| self.publish()).is_err() {
            tracing::error!("the state of the views cannot be shown");
        }
    }
}

/// A failure that is no row's fault.
fn broken(view: &Maintained, frontier: Lsn, error: SqlError) -> ViewFailure {
    ViewFailure {
        lsn: frontier + 1,
        error,
        place: None,
        view: view.name.clone(),
        searching: false,
    }
}

/// The published form of a view at the frontier.
fn published_view(
    view: &mut Maintained,
    frontier: Lsn,
    history: &dyn History,
    old: Option<PublishedView>,
) -> PublishedView {
    let changed = view.instance.take_changed();
    let (late_rows, null_rows) = view.instance.skipped_rows();
    // A view that has failed waits for none.
    let topics = match &view.failure {
        None => view.instance.closing_topics(),
        Some(_) => Vec::new(),
    };
    let watermarks = topics.iter().map(|topic| history.watermark(*topic, frontier));
    let watermark = watermarks.min().flatten();
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
        reason: view.failure.as_ref().map(|failure| failure.reason(&view.name)),
        known: view.failure.as_ref().is_none_or(|failure| !failure.searching),
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
    PublishedView {
        stats,
        rows,
        nodes,
        next_closes: view.instance.next_closes(),
        pending: view.instance.pending(),
    }
}

/// The error for a view of the catalog that the driver does not have: it was dropped meanwhile.
pub fn not_maintained(oid: u32) -> SqlError {
    SqlError::new(
        state::UNDEFINED_TABLE,
        format!("materialized view with OID {oid} does not exist"),
    )
    .detail("It was dropped while the statement was being run.")
}

/// 42P01: somebody dropped a view before it was complete.
pub fn dropped_while_built() -> SqlError {
    SqlError::new(
        state::UNDEFINED_TABLE,
        "the materialized view was dropped while it was being built",
    )
}
