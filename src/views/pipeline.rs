//! A set of views that step together, and the history that they read.
//!
//! One rule: after a step every view that has not failed is complete up to the same LSN, each topic's rows having been
//! read once; a view that fails takes with it only those that read it.
//!
//! A step is read piece by piece, and the changes of a view go to the views that read it at once, so that neither a
//! large commit nor a view of many rows is ever held whole.
//!
//! The driver keeps one pipeline for all views. Shorter-lived ones build new views' states beside it, and look for the commit
//! that made a view fail (`search.rs`).

use std::sync::Arc;

use crate::error::SqlError;
use crate::log::{Chunk, Extent, Lsn, Reader, TopicId};

use super::dataflow::Dataflow;
use super::delta::Delta;
use super::failure::{ViewFailure, contained, has_place};
use super::instance::{Instance, Saved};
use super::memory::{Budget, Limits, ViewAccount, batch_bytes};
use super::operators::StepEnd;
use super::operators::join::Arrangements;
use super::scan::LeafSource;

/// Rows of a piece, about, if they lie in memory in small chunks.
const PIECE_ROWS: usize = 1 << 16;

/// The log as views read it: an exact range of commits, and the watermark after one.
pub trait History: Send + Sync + 'static {
    /// The newest published LSN.
    fn newest(&self) -> Lsn;
    /// Rows committed after `after` up to and including `upto`: to be loaded one after another.
    fn read(&self, reader: &Reader, after: Lsn, upto: Lsn) -> Result<Vec<Extent>, SqlError>;
    /// An LSN in `after + 1..=upto` up to which these topics have no more rows than a step takes.
    fn pause(&self, _topics: &[TopicId], _after: Lsn, upto: Lsn) -> Result<Lsn, SqlError> {
        Ok(upto)
    }
    /// W(at), microseconds.
    fn watermark(&self, topic: TopicId, at: Lsn) -> Option<i64>;
    /// The time of the commit at `at`, microseconds, or of one after it.
    fn time(&self, at: Lsn) -> i64;
}

/// A view in a pipeline.
pub struct Maintained {
    pub oid: u32,
    pub name: String,
    pub instance: Instance,
    pub failure: Option<ViewFailure>,
    /// It met this in the present step: its state is of no more use.
    spoilt: Option<SqlError>,
}

impl Maintained {
    pub fn new(oid: u32, name: String, dataflow: Arc<Dataflow>, limits: Limits) -> Result<Maintained, SqlError> {
        Ok(Maintained {
            oid,
            name,
            instance: Instance::new(dataflow, limits)?,
            failure: None,
            spoilt: None,
        })
    }

    pub fn dataflow(&self) -> &Arc<Dataflow> {
        self.instance.dataflow()
    }

    /// Whether it still takes rows.
    fn takes(&self) -> bool {
        self.failure.is_none() && self.spoilt.is_none()
    }

    /// Its failure as the error of its readers.
    pub fn report(&self) -> Option<SqlError> {
        self.failure.as_ref().map(|failure| failure.report(&self.name))
    }
}

/// A view that failed in a step.
pub struct Failed {
    pub oid: u32,
    /// The search for the place, if it has one.
    pub search: Option<FailureSearch>,
}

/// The input of the search for a failure's commit and row (`search.rs`).
pub struct FailureSearch {
    pub oid: u32,
    /// The failure as it is known without the search.
    pub known: ViewFailure,
    /// The view and all that it reads, at LSN 0.
    pub copy: Pipeline,
    /// LSN up to which `copy` is known to take all commits.
    pub after: Lsn,
    /// LSN up to which it is known to fail on one.
    pub upto: Lsn,
}

impl FailureSearch {
    /// The failure as it is known without the search.
    pub fn known_already(&self) -> ViewFailure {
        ViewFailure {
            searching: false,
            ..self.known.clone()
        }
    }
}

/// Views at one frontier.
pub struct Pipeline {
    /// In order: a view stands after those that it reads.
    views: Vec<Maintained>,
    frontier: Lsn,
    /// The rows that its views share.
    arrangements: Arc<Arrangements>,
    /// The part of the log that is loaded at the moment.
    loaded: ViewAccount,
}

impl Pipeline {
    pub fn new(budget: &Arc<Budget>) -> Pipeline {
        Pipeline::over(budget, Arc::default())
    }

    /// One whose views share rows with those of other pipelines, which step to the same LSNs, each at its time.
    pub fn over(budget: &Arc<Budget>, arrangements: Arc<Arrangements>) -> Pipeline {
        Pipeline {
            views: Vec::new(),
            frontier: 0,
            arrangements,
            loaded: ViewAccount::new(budget.clone()),
        }
    }

    pub fn frontier(&self) -> Lsn {
        self.frontier
    }

    pub fn views(&self) -> &[Maintained] {
        &self.views
    }

    pub fn views_mut(&mut self) -> &mut [Maintained] {
        &mut self.views
    }

    pub fn view(&self, oid: u32) -> Option<&Maintained> {
        self.views.iter().find(|view| view.oid == oid)
    }

    pub fn view_mut(&mut self, oid: u32) -> Option<&mut Maintained> {
        self.views.iter_mut().find(|view| view.oid == oid)
    }

    /// Adds a view whose state is that of this pipeline's frontier, after all that it reads.
    pub fn add(&mut self, view: Maintained) {
        assert!(self.view(view.oid).is_none(), "a view is maintained once");
        let mut failure = None;
        for oid in view.dataflow().views() {
            let read = self.view_mut(oid).expect("a view's inputs are maintained before it");
            read.instance.set_emits(true);
            failure = failure.or_else(|| read.failure.clone());
        }
        let failure = view.failure.clone().or(failure);
        let mut view = Maintained { failure, ..view };
        if view.takes() {
            let (known, at) = (self.arrangements.clone(), self.frontier);
            view.spoilt = contained(|| view.instance.share(&known, at)).err();
        }
        self.views.push(view);
        self.show_shared();
    }

    /// Those who share have other parts, now that one has come or gone.
    fn show_shared(&mut self) {
        let sharing = self.views.iter_mut().filter(|view| view.instance.shares());
        sharing.for_each(|view| view.instance.set_changed());
    }

    /// Takes all views of another pipeline, which share none with these, at the same frontier.
    pub fn merge(&mut self, other: Pipeline) {
        assert_eq!(
            self.frontier, other.frontier,
            "V3: views that step together stand at one LSN"
        );
        if !Arc::ptr_eq(&self.arrangements, &other.arrangements) {
            self.arrangements.take_over(&other.arrangements);
        }
        self.views.extend(other.views);
    }

    /// Takes views out; those that they read stop emitting for them.
    pub fn remove(&mut self, oids: &[u32]) -> Vec<Maintained> {
        let (removed, kept) = std::mem::take(&mut self.views)
            .into_iter()
            .partition(|view| oids.contains(&view.oid));
        self.views = kept;
        self.show_shared();
        let needed: Vec<u32> = self.views.iter().flat_map(|view| view.dataflow().views()).collect();
        for view in &mut self.views {
            view.instance.set_emits(needed.contains(&view.oid));
        }
        removed
    }

    /// One step towards `upto`, of not much more rows than a step takes; returns the views that failed in it. Views
    /// that read them are marked as well.
    pub fn advance_once(&mut self, history: &dyn History, upto: Lsn) -> Vec<Failed> {
        let after = self.frontier;
        let mut failed = Vec::new();
        for (oid, error) in self.step_to(history, upto) {
            let index = self.index(oid);
            let view = &self.views[index];
            let wanted = has_place(&error) && !view.instance.limits().stop.is_set();
            let known = ViewFailure {
                lsn: after + 1,
                error,
                place: None,
                view: view.name.clone(),
                searching: wanted,
            };
            self.fail(index, known.clone());
            let copy = wanted.then(|| self.copy_of(&[oid], &self.views[index].instance.limits().clone()));
            let search = match copy {
                Some(Ok(copy)) => Some(FailureSearch {
                    oid,
                    known,
                    copy,
                    after,
                    upto: self.frontier,
                }),
                Some(Err(_)) => {
                    let known = ViewFailure {
                        searching: false,
                        ..known
                    };
                    self.fail(index, known);
                    None
                }
                None => None,
            };
            failed.push(Failed { oid, search });
        }
        failed
    }

    /// All steps to `upto`.
    pub fn advance(&mut self, history: &dyn History, upto: Lsn) -> Vec<Failed> {
        let mut failed = Vec::new();
        while self.frontier < upto {
            failed.extend(self.advance_once(history, upto));
        }
        failed
    }

    fn index(&self, oid: u32) -> usize {
        let index = self.views.iter().position(|view| view.oid == oid);
        index.expect("a view of this pipeline")
    }

    /// One step towards `upto`. Returns the views that failed in it by themselves, with their errors; their state, and
    /// that of their readers, is spoilt.
    pub fn step_to(&mut self, history: &dyn History, upto: Lsn) -> Vec<(u32, SqlError)> {
        assert!(upto >= self.frontier, "V3: a frontier never moves back");
        if upto == self.frontier {
            return Vec::new();
        }
        let upto = self.pause(history, upto);
        self.begin(history.time(upto));
        self.take_topics(history, upto);
        self.finish(history, upto);
        self.frontier = upto;
        let mut failed = Vec::new();
        for index in 0..self.views.len() {
            let view = &mut self.views[index];
            if let Some(error) = view.spoilt.take()
                && view.failure.is_none()
            {
                failed.push((view.oid, error.clone()));
                let known = ViewFailure {
                    lsn: upto,
                    error,
                    place: None,
                    view: view.name.clone(),
                    searching: false,
                };
                // Views that read it stop here too.
                self.fail(index, known);
            }
        }
        failed
    }

    /// The end of the next step to `upto`.
    fn pause(&self, history: &dyn History, upto: Lsn) -> Lsn {
        let views = self.views.iter().filter(|view| view.failure.is_none());
        let mut topics: Vec<TopicId> = views.flat_map(|view| view.dataflow().topics()).collect();
        topics.sort_unstable();
        topics.dedup();
        // Damage is met again in the step, by the views that need the rows.
        history.pause(&topics, self.frontier, upto).unwrap_or(upto)
    }

    /// Pushes the rows of all topics up to `upto` through the views.
    fn take_topics(&mut self, history: &dyn History, upto: Lsn) {
        let after = self.frontier;
        for (reader, columns) in self.readers() {
            let extents = match contained(|| history.read(&reader, after, upto)) {
                Ok(extents) => extents,
                Err(error) => {
                    self.spoil_readers(&reader, &error);
                    continue;
                }
            };
            let mut extents = extents.into_iter().peekable();
            while extents.peek().is_some() && self.is_read(&reader) {
                match contained(|| self.load(&mut extents, &columns)) {
                    Ok(chunks) => self.take_chunks(&reader, &chunks, &columns),
                    Err(error) => self.spoil_readers(&reader, &error),
                }
            }
            let _ = self.loaded.set(0);
        }
    }

    /// The readers of topics, each once, with the columns that are needed, rising.
    fn readers(&self) -> Vec<(Reader, Vec<usize>)> {
        let mut readers: Vec<(Reader, Vec<usize>)> = Vec::new();
        for view in self.views.iter().filter(|view| view.takes()) {
            for (_, scan) in view.dataflow().scans() {
                let LeafSource::Topic { reader, .. } = &scan.source else {
                    continue;
                };
                let known = readers.iter().position(|(known, _)| known.key() == reader.key());
                let at = known.unwrap_or_else(|| {
                    readers.push((reader.clone(), Vec::new()));
                    readers.len() - 1
                });
                readers[at].1.extend(scan.topic_columns());
            }
        }
        for (_, columns) in &mut readers {
            columns.sort_unstable();
            columns.dedup();
        }
        readers
    }

    fn is_read(&self, reader: &Reader) -> bool {
        self.views
            .iter()
            .any(|view| view.takes() && view.dataflow().readers().any(|other| other.key() == reader.key()))
    }

    fn spoil_readers(&mut self, reader: &Reader, error: &SqlError) {
        for view in self.views.iter_mut().filter(|view| view.takes()) {
            if view.dataflow().readers().any(|other| other.key() == reader.key()) {
                view.spoilt = Some(error.clone());
            }
        }
    }

    /// The next piece: one batch of a file, or chunks in memory.
    fn load(
        &mut self,
        extents: &mut std::iter::Peekable<std::vec::IntoIter<Extent>>,
        columns: &[usize],
    ) -> Result<Vec<Chunk>, SqlError> {
        let mut chunks = Vec::new();
        let (mut rows, mut bytes) = (0, 0);
        while let Some(extent) = extents.next() {
            let in_memory = matches!(extent, Extent::Memory(_));
            if let Some(chunk) = extent.load_columns(columns)? {
                rows += chunk.rows.num_rows();
                if !in_memory {
                    bytes += batch_bytes(&chunk.rows);
                }
                chunks.push(chunk);
            }
            let goes_on = in_memory && rows < PIECE_ROWS && matches!(extents.peek(), Some(Extent::Memory(_)));
            if !goes_on {
                break;
            }
        }
        // One piece is taken in any case; a state that grows beside it may be refused.
        let _ = self.loaded.set(bytes);
        Ok(chunks)
    }

    /// Pushes a piece of a topic through all views that read it.
    fn take_chunks(&mut self, reader: &Reader, chunks: &[Chunk], columns: &[usize]) {
        for index in 0..self.views.len() {
            if !self.views[index].takes() {
                continue;
            }
            let dataflow = self.views[index].dataflow().clone();
            for (node, scan) in dataflow.scans() {
                if !matches!(&scan.source, LeafSource::Topic { reader: own, .. } if own.key() == reader.key()) {
                    continue;
                }
                match contained(|| scan.topic_batches(chunks, columns)) {
                    Ok(batches) => {
                        for batch in batches {
                            push(&mut self.views[index..], node, Delta::added(batch));
                        }
                    }
                    Err(error) => self.views[index].spoilt = Some(error),
                }
            }
        }
    }

    /// Begins the step of those views that change as time passes, inputs before their readers.
    fn begin(&mut self, time_us: i64) {
        for index in 0..self.views.len() {
            let Some((view, readers)) = self.views[index..].split_first_mut() else {
                continue;
            };
            if view.takes() && view.dataflow().is_timed() {
                let (oid, instance) = (view.oid, &mut view.instance);
                let begun = contained(|| instance.begin(time_us, &mut |change| spread(readers, oid, change)));
                view.spoilt = begun.err();
            }
        }
    }

    /// Ends the step of all views, inputs before their readers.
    fn finish(&mut self, history: &dyn History, upto: Lsn) {
        let watermark = |topic: TopicId| history.watermark(topic, upto);
        let end = StepEnd {
            lsn: upto,
            watermark: &watermark,
        };
        for index in 0..self.views.len() {
            let Some((view, readers)) = self.views[index..].split_first_mut() else {
                continue;
            };
            if view.takes() {
                let (oid, instance) = (view.oid, &mut view.instance);
                let finished = contained(|| instance.finish(&end, &mut |change| spread(readers, oid, change)));
                view.spoilt = finished.err();
            }
        }
    }

    /// Marks a view and all that read it, at any depth, as failed. Their state is let go.
    pub fn fail(&mut self, index: usize, failure: ViewFailure) {
        let mut oids = vec![self.views[index].oid];
        for at in index..self.views.len() {
            let reads = self.views[at].dataflow().views();
            if at == index || reads.iter().any(|oid| oids.contains(oid)) {
                let view = &mut self.views[at];
                let before = view.failure.as_ref().filter(|old| old.view != failure.view);
                if at != index && before.is_some_and(|old| old.lsn < failure.lsn) {
                    continue;
                }
                oids.push(view.oid);
                view.failure = Some(failure.clone());
                let limits = view.instance.limits().clone();
                if let Ok(empty) = Instance::new(view.dataflow().clone(), limits) {
                    view.instance = empty;
                }
            }
        }
    }

    /// Takes over the result of a search, for the view and for its readers.
    pub fn found(&mut self, oid: u32, failure: ViewFailure) -> bool {
        let index = self.views.iter().position(|view| view.oid == oid);
        if let Some(index) = index {
            self.fail(index, failure);
        }
        index.is_some()
    }

    pub fn is_empty(&self) -> bool {
        self.views.is_empty()
    }

    /// An empty pipeline of these views and all that they read, at any depth, all under the same limits.
    pub fn copy_of(&self, oids: &[u32], limits: &Limits) -> Result<Pipeline, SqlError> {
        let mut wanted: Vec<u32> = oids.to_vec();
        for view in self.views.iter().rev() {
            if wanted.contains(&view.oid) {
                wanted.extend(view.dataflow().views());
            }
        }
        let mut copy = Pipeline::new(&limits.budget);
        for view in self.views.iter().filter(|view| wanted.contains(&view.oid)) {
            let (name, dataflow) = (view.name.clone(), view.dataflow().clone());
            copy.add(Maintained::new(view.oid, name, dataflow, limits.clone())?);
        }
        Ok(copy)
    }

    pub fn save(&mut self) -> Result<(Lsn, Vec<Saved>), SqlError> {
        // The copy takes about as much again.
        let bytes: usize = self.views.iter().map(|view| view.instance.bytes()).sum();
        if let Some(view) = self.views.first() {
            let budget = &view.instance.limits().budget;
            if !budget.fits(bytes) {
                return Err(super::memory::exceeded(bytes * 2, budget.bytes_max()));
            }
        }
        let states: Result<Vec<Saved>, SqlError> = self.views.iter_mut().map(|view| view.instance.save()).collect();
        Ok((self.frontier, states?))
    }

    /// Goes back to a saved state, for looking for a failing commit only.
    pub fn restore(&mut self, saved: (Lsn, Vec<Saved>)) -> Result<(), SqlError> {
        for (view, state) in self.views.iter_mut().zip(&saved.1) {
            view.instance.restore(state)?;
            view.failure = None;
        }
        self.frontier = saved.0;
        Ok(())
    }
}

/// Pushes a delta into a scan of the first of these views; its changes go on to those behind it that read it. A view
/// that fails on it, or breaks an invariant, is spoilt, and no other.
fn push(views: &mut [Maintained], node: usize, delta: Delta) {
    let Some((view, readers)) = views.split_first_mut() else {
        return;
    };
    if view.takes() {
        let (oid, instance) = (view.oid, &mut view.instance);
        let pushed = contained(|| instance.push(node, delta, &mut |change| spread(readers, oid, change)));
        view.spoilt = pushed.err();
    }
}

/// Pushes a change of view `oid` into all that read it.
fn spread(views: &mut [Maintained], oid: u32, change: &Delta) {
    for index in 0..views.len() {
        if !views[index].takes() {
            continue;
        }
        let dataflow = views[index].dataflow().clone();
        for (node, scan) in dataflow.scans() {
            if !matches!(&scan.source, LeafSource::View { oid: read, .. } if *read == oid) {
                continue;
            }
            match scan.view_delta(change) {
                Ok(delta) => push(&mut views[index..], node, delta),
                Err(error) => views[index].spoilt = Some(error),
            }
        }
    }
}
