//! Views in lockstep: every view of a pipeline is complete up to one frontier, an LSN.
//!
//! One rule: a frontier never moves back, and all views stand at the same one (V3). A view that meets an error leaves the
//! lockstep before the commit that caused it; it and what depends on it are failed, everything else goes on.
//!
//! The driver keeps one pipeline for all views. Shorter-lived ones build a new view's state beside it, and find the commit
//! that made a view fail.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::error::{SqlError, state};
use crate::log::{Chunk, Lsn, Reader, TopicId};

use super::dataflow::{Dataflow, Instance, Saved};
use super::delta::Delta;
use super::operator::StepEnd;
use super::scan::Source;

/// What is read of the log: an exact range of commits, and the watermark after one.
pub trait History: Send + Sync + 'static {
    /// The newest published LSN.
    fn newest(&self) -> Lsn;
    /// Rows committed after `after` up to and including `upto`.
    fn read(&self, reader: &Reader, after: Lsn, upto: Lsn) -> Result<Vec<Chunk>, SqlError>;
    /// An LSN in `after + 1..=upto` up to which these topics have no more rows than a step takes.
    fn pause(&self, _topics: &[TopicId], _after: Lsn, upto: Lsn) -> Result<Lsn, SqlError> {
        Ok(upto)
    }
    /// W(at), microseconds.
    fn watermark(&self, topic: TopicId, at: Lsn) -> Option<i64>;
}

/// What was read for one step, by [`Reader::key`].
type Chunks = HashMap<(TopicId, u32, Option<i64>), Result<Vec<Chunk>, SqlError>>;

/// Where a view stopped, and why.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The first commit that it could not take.
    pub lsn: Lsn,
    pub error: SqlError,
    /// The row that it stopped at, if it was found: topic, partition, offset.
    pub place: Option<(String, u32, u64)>,
    /// Name of the view that met the error; dependents name it too.
    pub view: String,
}

impl Failure {
    /// What a reader of the view at or past that LSN is told.
    pub fn report(&self) -> SqlError {
        let place = match &self.place {
            Some((topic, partition, offset)) => {
                format!(", at topic \"{topic}\", partition {partition}, offset {offset}")
            }
            None => String::new(),
        };
        let mut error = self.error.clone();
        error.position = None;
        error.context = Some(format!(
            "materialized view \"{}\", stopped before LSN {}{place}",
            self.view, self.lsn
        ));
        if error.hint.is_none() {
            error.hint =
                Some("Drop the view and create it again with a definition that accepts these rows.".to_string());
        }
        error
    }
}

/// A view in a pipeline.
pub struct Maintained {
    pub oid: u32,
    pub name: String,
    pub instance: Instance,
    pub failure: Option<Failure>,
}

impl Maintained {
    pub fn new(oid: u32, name: String, dataflow: Arc<Dataflow>) -> Result<Maintained, SqlError> {
        Ok(Maintained {
            oid,
            name,
            instance: Instance::new(dataflow)?,
            failure: None,
        })
    }

    fn dataflow(&self) -> &Arc<Dataflow> {
        self.instance.dataflow()
    }
}

/// Views at one frontier.
#[derive(Default)]
pub struct Pipeline {
    /// Those that are read stand before those that read them.
    views: Vec<Maintained>,
    frontier: Lsn,
}

impl Pipeline {
    pub fn new() -> Pipeline {
        Pipeline::default()
    }

    pub fn frontier(&self) -> Lsn {
        self.frontier
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
        self.views.push(Maintained { failure, ..view });
    }

    /// Takes views out; those that they read stop to emit for nobody.
    pub fn remove(&mut self, oids: &[u32]) -> Vec<Maintained> {
        let (removed, kept) = std::mem::take(&mut self.views)
            .into_iter()
            .partition(|view| oids.contains(&view.oid));
        self.views = kept;
        let needed: Vec<u32> = self.views.iter().flat_map(|view| view.dataflow().views()).collect();
        for view in &mut self.views {
            view.instance.set_emits(needed.contains(&view.oid));
        }
        removed
    }

    /// Brings every view to `upto`, in steps that need not much memory. Views that fail on the way are marked; their
    /// first failing commit is found.
    pub fn advance(&mut self, history: &dyn History, upto: Lsn) {
        assert!(upto >= self.frontier, "V3: a frontier never moves back");
        while self.frontier < upto {
            let after = self.frontier;
            let next = self.pause(history, upto);
            for (index, error) in self.step(history, next) {
                let failure = self.locate(history, index, after, next, error);
                self.fail(index, failure);
            }
        }
    }

    /// Where the next step to `upto` ends.
    fn pause(&self, history: &dyn History, upto: Lsn) -> Lsn {
        let views = self.views.iter().filter(|view| view.failure.is_none());
        let mut topics: Vec<TopicId> = views.flat_map(|view| view.dataflow().topics()).collect();
        topics.sort_unstable();
        topics.dedup();
        // What cannot be read is met again in the step, by the views that need it.
        history.pause(&topics, self.frontier, upto).unwrap_or(upto)
    }

    /// One step of all views. Returns those that failed in it, with their errors; their state is spoilt.
    fn step(&mut self, history: &dyn History, upto: Lsn) -> Vec<(usize, SqlError)> {
        let after = self.frontier;
        let mut chunks = Chunks::new();
        let mut changes: HashMap<u32, Vec<Delta>> = HashMap::new();
        let mut failed: Vec<(usize, SqlError)> = Vec::new();
        let watermark = |topic: TopicId| history.watermark(topic, upto);
        let end = StepEnd { watermark: &watermark };
        for index in 0..self.views.len() {
            let view = &mut self.views[index];
            if view.failure.is_some() {
                continue;
            }
            let dataflow = view.dataflow().clone();
            for reader in dataflow.readers() {
                let read = || history.read(reader, after, upto);
                chunks.entry(reader.key()).or_insert_with(read);
            }
            // A broken invariant in one view must not end the others: its state is thrown away with it.
            let stepped = catch_unwind(AssertUnwindSafe(|| {
                step_view(&mut view.instance, &dataflow, &chunks, &changes, &end)
            }));
            match stepped.unwrap_or_else(|panic| Err(panicked(&view.name, &*panic))) {
                Ok(deltas) => {
                    if !deltas.is_empty() {
                        changes.insert(view.oid, deltas);
                    }
                }
                Err(error) => {
                    // Those that read it stop here too, before anything of this step reaches them.
                    let failure = Failure {
                        lsn: upto,
                        error: error.clone(),
                        place: None,
                        view: view.name.clone(),
                    };
                    failed.push((index, error));
                    self.fail(index, failure);
                }
            }
        }
        self.frontier = upto;
        failed
    }

    /// Marks a view and all that read it, at any depth, as failed. Their state is let go.
    fn fail(&mut self, index: usize, failure: Failure) {
        let mut oids = vec![self.views[index].oid];
        for at in index..self.views.len() {
            let reads = self.views[at].dataflow().views();
            if at == index || reads.iter().any(|oid| oids.contains(oid)) {
                let view = &mut self.views[at];
                if at != index && view.failure.as_ref().is_some_and(|old| old.lsn < failure.lsn) {
                    continue;
                }
                oids.push(view.oid);
                view.failure = Some(failure.clone());
                if let Ok(empty) = Instance::new(view.dataflow().clone()) {
                    view.instance = empty;
                }
            }
        }
    }

    /// The first commit in (after, upto] that the view at `index` cannot take, found by building it anew up to `after`
    /// and halving from there; then the row.
    fn locate(&self, history: &dyn History, index: usize, after: Lsn, upto: Lsn, error: SqlError) -> Failure {
        let view = &self.views[index];
        let mut failure = Failure {
            lsn: upto,
            error,
            place: None,
            view: view.name.clone(),
        };
        let Ok(mut copy) = self.copy_of(&[view.oid]) else {
            return failure;
        };
        while copy.frontier < after {
            let next = copy.pause(history, after);
            if !copy.step(history, next).is_empty() {
                // It took this before, in other steps; say what is known.
                return failure;
            }
        }
        let mut low = after;
        let mut high = upto;
        while high - low > 1 {
            let Ok(saved) = copy.save() else { return failure };
            let middle = low + (high - low) / 2;
            let failed = copy.step(history, middle);
            match failed.into_iter().find(|(index, _)| copy.views[*index].oid == view.oid) {
                None => low = middle,
                Some((_, error)) => {
                    high = middle;
                    failure.error = error;
                    if copy.restore(saved).is_err() {
                        return failure;
                    }
                }
            }
        }
        failure.lsn = high;
        failure.place = locate_row(history, view.dataflow(), high, &mut failure.error);
        failure
    }

    pub fn is_empty(&self) -> bool {
        self.views.is_empty()
    }

    /// An empty pipeline of these views and all that they read, at any depth.
    pub fn copy_of(&self, oids: &[u32]) -> Result<Pipeline, SqlError> {
        let mut wanted: Vec<u32> = oids.to_vec();
        for view in self.views.iter().rev() {
            if wanted.contains(&view.oid) {
                wanted.extend(view.dataflow().views());
            }
        }
        let mut copy = Pipeline::new();
        for view in self.views.iter().filter(|view| wanted.contains(&view.oid)) {
            copy.add(Maintained::new(view.oid, view.name.clone(), view.dataflow().clone())?);
        }
        Ok(copy)
    }

    pub fn save(&mut self) -> Result<(Lsn, Vec<Saved>), SqlError> {
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

/// A broken invariant, as an error.
fn panicked(view: &str, panic: &(dyn Any + Send)) -> SqlError {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or(panic.downcast_ref::<&str>().copied());
    let message = message.unwrap_or("no message");
    tracing::error!(view, message, "a view broke an invariant");
    SqlError::new(
        state::INTERNAL_ERROR,
        format!("internal error in materialized view \"{view}\": {message}"),
    )
}

fn step_view(
    instance: &mut Instance,
    dataflow: &Dataflow,
    chunks: &Chunks,
    changes: &HashMap<u32, Vec<Delta>>,
    end: &StepEnd,
) -> Result<Vec<Delta>, SqlError> {
    for (node, scan) in dataflow.scans() {
        match &scan.source {
            Source::Topic { reader, .. } => {
                let chunks = chunks[&reader.key()].as_ref().map_err(SqlError::clone)?;
                for batch in scan.topic_batches(chunks)? {
                    instance.push(node, Delta::added(batch))?;
                }
            }
            Source::View { oid, .. } => {
                for delta in changes.get(oid).into_iter().flatten() {
                    instance.push(node, scan.view_delta(delta)?)?;
                }
            }
        }
    }
    instance.finish(end)
}

/// The first row of commit `lsn` that the view's expressions fail on, and its error; else the commit's first row.
fn locate_row(
    history: &dyn History,
    dataflow: &Dataflow,
    lsn: Lsn,
    error: &mut SqlError,
) -> Option<(String, u32, u64)> {
    let mut first = None;
    for (node, scan) in dataflow.scans() {
        let Source::Topic { reader, name, .. } = &scan.source else {
            continue;
        };
        for chunk in history.read(reader, lsn - 1, lsn).ok()? {
            let rows = chunk.rows.num_rows();
            if rows == 0 {
                continue;
            }
            first.get_or_insert((name.clone(), chunk.partition, chunk.base_offset));
            let batches = scan.topic_batches(std::slice::from_ref(&chunk)).ok()?;
            let mut offset = chunk.base_offset;
            for batch in batches {
                if let Err(met) = dataflow.probe(node, batch.clone()) {
                    let (row, met) = first_failing(dataflow, node, &batch, met);
                    *error = met;
                    return Some((name.clone(), chunk.partition, offset + row as u64));
                }
                offset += batch.num_rows() as u64;
            }
        }
    }
    first
}

/// Halves a batch that fails down to its first row that does.
fn first_failing(dataflow: &Dataflow, scan: usize, batch: &RecordBatch, met: SqlError) -> (usize, SqlError) {
    let (mut start, mut rows, mut error) = (0, batch.num_rows(), met);
    while rows > 1 {
        let half = rows / 2;
        match dataflow.probe(scan, batch.slice(start, half)) {
            Err(met) => (rows, error) = (half, met),
            Ok(()) => (start, rows) = (start + half, rows - half),
        }
    }
    if let Err(met) = dataflow.probe(scan, batch.slice(start, rows)) {
        error = met;
    }
    (start, error)
}
