//! A dataflow with state.
//!
//! One rule: an instance is a deterministic function of the deltas pushed into its scans, step by step. It reads
//! nothing by itself: the pipeline pushes (`pipeline.rs`). Its clock measures the work of each node and decides nothing.
//!
//! Rows flow through stateless nodes batch by batch, to one consumer after the other; aggregates swallow them and emit when
//! the step ends, joins answer at once, or hold their input or output until then. A step ends node by node: what the end of
//! one brings out reaches those behind it before theirs.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;

use crate::error::SqlError;
use crate::log::{Lsn, TopicId};

use super::clock::PendingRows;
use super::dataflow::{Consumer, Dataflow, NodeWork};
use super::delta::Delta;
use super::memory::{Limits, ViewAccount, batch_bytes};
use super::operators::aggregate::{CHUNK_GROUPS, GroupBy};
use super::operators::constant::ConstantRows;
use super::operators::join::{Arrangements, AsofOperator, JoinOperator, NotIn};
use super::operators::partitioned::{FirstFew, PartitionedOperator};
use super::operators::session::{LoneSessions, SessionOperator, ShownSession};
use super::operators::set::SetCounts;
use super::operators::temporal::Temporal;
use super::operators::window::WindowOperator;
use super::operators::{Operator, Ported, ReaderSource, SharedState, Sink, StepEnd};
use super::output::{Bag, OutputRows, ViewOutput};

/// Rows through one node so far, and the time that they took.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct NodeCounts {
    pub rows_in: u64,
    pub rows_out: u64,
    pub work_ns: u64,
}

/// Charges the time of a step to the node at work.
struct WorkMeter {
    /// `None` between two steps.
    node: Option<usize>,
    since: Instant,
}

impl WorkMeter {
    fn new() -> WorkMeter {
        WorkMeter {
            node: None,
            since: Instant::now(),
        }
    }

    /// From now on another node is at work; the one before is returned.
    fn switch(&mut self, to: Option<usize>, counts: &mut [NodeCounts]) -> Option<usize> {
        if self.node == to {
            return to;
        }
        let now = Instant::now();
        if let Some(node) = self.node {
            counts[node].work_ns += now.duration_since(self.since).as_nanos() as u64;
        }
        self.since = now;
        std::mem::replace(&mut self.node, to)
    }
}

/// The content of a node, for EXPLAIN.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct NodeStats {
    pub counts: NodeCounts,
    /// Of state that it shares with others, a part.
    pub state_bytes: usize,
    pub shared: Vec<SharedState>,
    /// Groups of an aggregate.
    pub groups: Option<usize>,
    /// Rows of a join's sides, of a set operation's, or of partitions.
    pub rows: Option<usize>,
    /// Rows that were computed anew.
    pub computed: Option<u64>,
    /// Late rows and rows without a time of a window.
    pub skipped: Option<(u64, u64)>,
}

/// Receives the changes of a view's rows.
pub type ChangeSink<'a> = dyn FnMut(&Delta) + 'a;

/// A dataflow with state.
pub struct Instance {
    dataflow: Arc<Dataflow>,
    /// By node: its state if it has any.
    states: Vec<KeptNodes>,
    counts: Vec<NodeCounts>,
    meter: WorkMeter,
    output: ViewOutput,
    emits: bool,
    /// Changed since `take_changed`; or others have begun to share its state, or ended.
    changed: bool,
    limits: Limits,
    account: ViewAccount,
    /// Bytes of the operators that are taken out of `states` while their output goes on.
    away_bytes: usize,
    /// Rows of a reading under way.
    reading: Option<Vec<RecordBatch>>,
}

#[allow(clippy::large_enum_variant, reason = "one per node, never moved about")]
enum KeptNodes {
    Nothing,
    Window(WindowOperator),
    Aggregate(GroupBy),
    FirstFew(FirstFew),
    Constant(ConstantRows),
    Ported(Box<dyn Ported>),
}

fn rendered_of(states: &mut [KeptNodes], node: usize) -> &mut dyn ReaderSource {
    let rendered = states[node].rendered();
    rendered.unwrap_or_else(|| panic!("node {node} renders its rows"))
}

impl KeptNodes {
    fn operator(&mut self) -> Option<&mut dyn Operator> {
        match self {
            KeptNodes::Nothing => None,
            KeptNodes::Window(window) => Some(window),
            KeptNodes::Aggregate(aggregate) => Some(aggregate),
            KeptNodes::FirstFew(few) => Some(few),
            KeptNodes::Constant(constant) => Some(constant),
            KeptNodes::Ported(ported) => Some(&mut **ported),
        }
    }

    fn shared(&self) -> Option<&dyn Operator> {
        match self {
            KeptNodes::Nothing => None,
            KeptNodes::Window(window) => Some(window),
            KeptNodes::Aggregate(aggregate) => Some(aggregate),
            KeptNodes::FirstFew(few) => Some(few),
            KeptNodes::Constant(constant) => Some(constant),
            KeptNodes::Ported(ported) => Some(&**ported),
        }
    }

    fn rendered(&mut self) -> Option<&mut dyn ReaderSource> {
        match self {
            KeptNodes::Aggregate(aggregate) => Some(aggregate),
            KeptNodes::FirstFew(few) => Some(few),
            _ => None,
        }
    }

    fn shared_rendered(&self) -> Option<&dyn ReaderSource> {
        match self {
            KeptNodes::Aggregate(aggregate) => Some(aggregate),
            KeptNodes::FirstFew(few) => Some(few),
            _ => None,
        }
    }

    fn bytes(&self) -> usize {
        self.shared().map_or(0, Operator::bytes)
    }
}

/// An instance's state between two steps, as Arrow batches.
pub struct Saved {
    nodes: Vec<Vec<RecordBatch>>,
    output: Vec<RecordBatch>,
}

impl Instance {
    pub fn new(dataflow: Arc<Dataflow>, limits: Limits) -> Result<Instance, SqlError> {
        let budget = &limits.budget;
        let mut states = Vec::with_capacity(dataflow.nodes.len());
        for node in &dataflow.nodes {
            states.push(match &node.step {
                NodeWork::Window(spec) => KeptNodes::Window(WindowOperator::new(spec.clone())),
                NodeWork::Session(spec) if spec.shown == ShownSession::Alone => {
                    KeptNodes::Ported(Box::new(LoneSessions::new(spec.clone())))
                }
                NodeWork::Session(spec) => {
                    KeptNodes::Ported(Box::new(SessionOperator::new(spec.clone(), budget.clone())?))
                }
                NodeWork::Aggregate(spec) => KeptNodes::Aggregate(GroupBy::new(spec.clone(), budget.clone())?),
                NodeWork::Constant(rows) => KeptNodes::Constant(ConstantRows::new(rows.clone())),
                NodeWork::Join(spec) => KeptNodes::Ported(Box::new(JoinOperator::new(spec.clone(), limits.clone())?)),
                NodeWork::Asof(spec) => KeptNodes::Ported(Box::new(AsofOperator::new(spec.clone(), limits.clone())?)),
                NodeWork::NotIn(spec) => KeptNodes::Ported(Box::new(NotIn::new(spec.clone(), limits.clone())?)),
                NodeWork::Set(spec) => KeptNodes::Ported(Box::new(SetCounts::new(spec.clone(), budget.clone())?)),
                NodeWork::Partitioned(spec) if FirstFew::is_work_of(spec) => {
                    KeptNodes::FirstFew(FirstFew::new(spec.clone(), limits.clone())?)
                }
                NodeWork::Partitioned(spec) => {
                    KeptNodes::Ported(Box::new(PartitionedOperator::new(spec.clone(), limits.clone())?))
                }
                NodeWork::Temporal(spec) => KeptNodes::Ported(Box::new(Temporal::new(spec.clone(), budget.clone())?)),
                NodeWork::Scan(_) | NodeWork::Linear { .. } | NodeWork::Union | NodeWork::Expand(_) => {
                    KeptNodes::Nothing
                }
            });
        }
        let output = match dataflow.root_rendered() {
            Some(node) => {
                let fails_at_end =
                    matches!(&dataflow.nodes[node].step, NodeWork::Aggregate(spec) if spec.may_fail_at_end());
                let checks = fails_at_end || dataflow.may_fail_above(node);
                if checks {
                    rendered_of(&mut states, node).note_groups();
                }
                ViewOutput::Rendered {
                    node,
                    chunks: Vec::new(),
                    chunk_bytes: 0,
                    checks,
                }
            }
            None if dataflow.append_only => ViewOutput::Rows(OutputRows::new(dataflow.schema.clone())),
            None => ViewOutput::Bag(Bag::new(dataflow.schema.clone(), budget.clone())?),
        };
        // Those below the root emit to the nodes above them.
        for (index, state) in states.iter_mut().enumerate() {
            if let Some(rendered) = state.rendered()
                && !matches!(&output, ViewOutput::Rendered { node, .. } if *node == index)
            {
                rendered.emit_changes();
            }
        }
        Ok(Instance {
            counts: vec![NodeCounts::default(); dataflow.nodes.len()],
            meter: WorkMeter::new(),
            states,
            output,
            emits: false,
            changed: true,
            account: ViewAccount::new(budget.clone()),
            away_bytes: 0,
            reading: None,
            limits,
            dataflow,
        })
    }

    pub fn dataflow(&self) -> &Arc<Dataflow> {
        &self.dataflow
    }

    /// From the next step on, hands out changes (or no longer): another view needs them.
    pub fn set_emits(&mut self, emits: bool) {
        if let (true, ViewOutput::Rendered { node, .. }) = (emits != self.emits, &self.output) {
            let rendered = rendered_of(&mut self.states, *node);
            match emits {
                true => rendered.emit_changes(),
                false => rendered.emit_nothing(),
            }
        }
        if let ViewOutput::Bag(bag) = &mut self.output {
            bag.tell(emits);
        }
        self.emits = emits;
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Pushes a delta into a scan. The changes go to `out` if [`Instance::set_emits`] says so.
    pub fn push(&mut self, scan: usize, delta: Delta, out: &mut ChangeSink<'_>) -> Result<(), SqlError> {
        self.counts[scan].rows_in += delta.rows() as u64;
        self.flow(scan, delta, out)
    }

    /// The node at work changes; the one before is returned.
    fn work_at(&mut self, node: Option<usize>) -> Option<usize> {
        self.meter.switch(node, &mut self.counts)
    }

    /// Takes a delta that `node` gave upward until something keeps it.
    fn flow(&mut self, node: usize, delta: Delta, out: &mut ChangeSink<'_>) -> Result<(), SqlError> {
        let caller = self.work_at(Some(node));
        let flowed = self.flow_up(node, delta, out);
        self.work_at(caller);
        flowed
    }

    fn flow_up(&mut self, node: usize, delta: Delta, out: &mut ChangeSink<'_>) -> Result<(), SqlError> {
        let mut at = node;
        let mut delta = delta;
        loop {
            if delta.is_empty() {
                return Ok(());
            }
            self.counts[at].rows_out += delta.rows() as u64;
            let Some(others) = self.dataflow.nodes[at].consumers.len().checked_sub(1) else {
                return self.store(delta, out);
            };
            for number in 0..others {
                let consumer = self.dataflow.nodes[at].consumers[number];
                if let Some(passed) = self.take(consumer, delta.clone(), out)? {
                    self.flow(consumer.node, passed, out)?;
                }
                self.work_at(Some(at));
            }
            let consumer = self.dataflow.nodes[at].consumers[others];
            match self.take(consumer, delta, out)? {
                Some(passed) => (at, delta) = (consumer.node, passed),
                None => return Ok(()),
            }
        }
    }

    /// Takes a delta into a node. One that it answers as a whole is returned, and has not gone further.
    fn take(
        &mut self,
        Consumer { node, port }: Consumer,
        delta: Delta,
        out: &mut ChangeSink<'_>,
    ) -> Result<Option<Delta>, SqlError> {
        self.counts[node].rows_in += delta.rows() as u64;
        self.work_at(Some(node));
        match (&self.dataflow.nodes[node].step, &mut self.states[node]) {
            (NodeWork::Linear { linear, .. }, _) => {
                let mut parts = linear.parts(&delta);
                let first = linear.part(&delta, &mut parts).transpose()?.flatten();
                let Some(second) = linear.part(&delta, &mut parts) else {
                    return Ok(first);
                };
                let dataflow = self.dataflow.clone();
                let NodeWork::Linear { linear, .. } = &dataflow.nodes[node].step else {
                    unreachable!("it is the same node");
                };
                let rest = std::iter::from_fn(|| linear.part(&delta, &mut parts));
                for part in [Ok(first), second].into_iter().chain(rest) {
                    if let Some(part) = part? {
                        self.flow(node, part, out)?;
                    }
                }
            }
            (NodeWork::Union, _) => return Ok(Some(delta)),
            (NodeWork::Expand(spec), _) => {
                for part in spec.clone().parts(&delta)? {
                    self.flow(node, part?, out)?;
                }
            }
            (_, KeptNodes::Window(_)) => self.assign(node, delta, out)?,
            (_, KeptNodes::Aggregate(aggregate)) => {
                self.changed = true;
                aggregate.push(&delta)?;
                self.account()?;
            }
            (_, KeptNodes::FirstFew(few)) => {
                self.changed = true;
                few.push(&delta)?;
                self.account()?;
            }
            (_, KeptNodes::Ported(_)) => self.enter(node, port, delta, out)?,
            (_, KeptNodes::Nothing | KeptNodes::Constant(_)) => panic!("node {node} takes no rows"),
        }
        Ok(None)
    }

    /// Takes a delta through a window, slice by slice: it may become any number of rows.
    fn assign(&mut self, node: usize, delta: Delta, out: &mut ChangeSink<'_>) -> Result<(), SqlError> {
        self.changed = true;
        for assigned in self.window(node).slices(&delta) {
            match self.window(node).take(assigned?, &delta)? {
                Some(rows) => self.flow(node, rows, out)?,
                None => self.account()?,
            }
        }
        Ok(())
    }

    /// Takes a delta into one input of several: each of its rows may become any number of rows.
    fn enter(&mut self, node: usize, port: usize, delta: Delta, out: &mut ChangeSink<'_>) -> Result<(), SqlError> {
        self.changed = true;
        // Its output goes through the nodes above it, which are others.
        let mut state = std::mem::replace(&mut self.states[node], KeptNodes::Nothing);
        let KeptNodes::Ported(ported) = &mut state else {
            panic!("node {node} has several inputs");
        };
        let bytes = ported.bytes();
        self.away_bytes += bytes;
        let pushed = ported.push(port, delta, &mut |delta| self.flow(node, delta, out));
        self.away_bytes -= bytes;
        self.states[node] = state;
        pushed?;
        self.account()
    }

    fn window(&mut self, node: usize) -> &mut WindowOperator {
        match &mut self.states[node] {
            KeptNodes::Window(window) => window,
            _ => panic!("node {node} is a window"),
        }
    }

    fn store(&mut self, delta: Delta, out: &mut ChangeSink<'_>) -> Result<(), SqlError> {
        self.changed = true;
        match &mut self.output {
            ViewOutput::Rendered { .. } => {}
            ViewOutput::Rows(rows) => rows.append(delta.clone())?,
            ViewOutput::Bag(bag) => {
                bag.apply(&delta)?;
                return self.account();
            }
        }
        if self.emits {
            out(&delta);
        }
        self.account()
    }

    /// Between two slices of rows: 53200 if the state is too large by now, 57014 if the view is no longer wanted.
    fn account(&mut self) -> Result<(), SqlError> {
        self.limits.check_wanted()?;
        self.account.set(self.state_bytes() + self.away_bytes)
    }

    /// Begins a step that ends at this time of the log. What that changes goes to `out`.
    pub fn begin(&mut self, time_us: i64, out: &mut ChangeSink<'_>) -> Result<(), SqlError> {
        for node in 0..self.states.len() {
            if matches!(self.dataflow.nodes[node].step, NodeWork::Temporal(_)) {
                self.changed = true;
                self.with_operator(node, |operator, sink| operator.begin(time_us, sink), out)?;
            }
        }
        Ok(())
    }

    /// Ends the step. The rest of the changes goes to `out`.
    pub fn finish(&mut self, end: &StepEnd, out: &mut ChangeSink<'_>) -> Result<(), SqlError> {
        for node in 0..self.states.len() {
            self.with_operator(node, |operator, sink| operator.finish(end, sink), out)?;
        }
        match &mut self.output {
            ViewOutput::Bag(bag) => bag.settle(out)?,
            ViewOutput::Rendered { node, checks: true, .. } if !self.emits => {
                // Nothing flowed through the expressions above it: meet a reader's errors now.
                let dataflow = self.dataflow.clone();
                for touched in rendered_of(&mut self.states, *node).touched_rows() {
                    dataflow.through_linear(*node, Delta::added(touched?), &mut |_, _| Ok(()))?;
                }
            }
            _ => {}
        }
        self.account()
    }

    /// Has the operator of a node do something, if it has one; its output flows on.
    fn with_operator(
        &mut self,
        node: usize,
        work: impl FnOnce(&mut dyn Operator, &mut Sink<'_>) -> Result<(), SqlError>,
        out: &mut ChangeSink<'_>,
    ) -> Result<(), SqlError> {
        // Its output goes through the nodes above it, which are others.
        let mut state = std::mem::replace(&mut self.states[node], KeptNodes::Nothing);
        if let Some(operator) = state.operator() {
            let bytes = operator.bytes();
            self.away_bytes += bytes;
            self.work_at(Some(node));
            let done = work(operator, &mut |delta| self.flow(node, delta, out));
            self.work_at(None);
            self.away_bytes -= bytes;
            done?;
        }
        self.states[node] = state;
        Ok(())
    }

    /// Shares rows that its joins keep with those that keep the same, from this LSN on.
    pub fn share(&mut self, known: &Arrangements, lsn: Lsn) -> Result<(), SqlError> {
        for (node, inputs) in self.dataflow.clone().joined_rows() {
            if let KeptNodes::Ported(join) = &mut self.states[node] {
                join.share(&inputs, known, lsn)?;
            }
        }
        Ok(())
    }

    /// Whether it shares state with others.
    pub fn shares(&self) -> bool {
        let mut ported = self.states.iter().filter_map(|state| match state {
            KeptNodes::Ported(ported) => Some(ported),
            _ => None,
        });
        ported.any(|ported| !ported.shared().is_empty())
    }

    /// Has its sizes looked at again.
    pub fn set_changed(&mut self) {
        self.changed = true;
    }

    /// Whether anything was pushed or came out since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// The view's rows after the last step. They stay rendered for the next reader, until they change or
    /// [`Instance::forget_rendered`].
    #[cfg(test)]
    pub fn rows(&mut self) -> Result<Vec<RecordBatch>, SqlError> {
        self.begin_reading()?;
        let rows = self.read_on(usize::MAX)?;
        Ok(rows.expect("none are left"))
    }

    /// Begins a reading of the rows after the last step: [`Instance::read_on`] makes them piece by piece, whatever steps come
    /// between. There is one at a time.
    pub fn begin_reading(&mut self) -> Result<(), SqlError> {
        self.end_reading();
        let rendered = match &mut self.output {
            ViewOutput::Rows(rows) => rows.batches(),
            ViewOutput::Bag(bag) => bag.pin(),
            ViewOutput::Rendered {
                node,
                chunks,
                chunk_bytes,
                ..
            } => {
                let rendered = rendered_of(&mut self.states, *node);
                rendered.catch_up()?;
                chunks.resize(rendered.chunks(), None);
                for (index, chunk) in chunks.iter_mut().enumerate() {
                    if rendered.is_stale(index) {
                        *chunk = None;
                    }
                }
                *chunk_bytes = chunks.iter().flatten().map(batch_bytes).sum();
                rendered.pin(chunks.iter().map(Option::is_none).collect());
                chunks.iter().flatten().cloned().collect()
            }
        };
        self.reading = Some(rendered);
        Ok(())
    }

    /// Whether a reading is under way.
    pub fn is_read(&self) -> bool {
        self.reading.is_some()
    }

    /// Goes on with a reading by about this many rows. All of its rows, once they are there; the reading has ended then.
    pub fn read_on(&mut self, rows_max: usize) -> Result<Option<Vec<RecordBatch>>, SqlError> {
        let reading = self.reading.as_mut().expect("a reading has begun");
        let mut made = 0;
        while made < rows_max {
            let rows = match &mut self.output {
                ViewOutput::Rows(_) => None,
                ViewOutput::Bag(bag) => bag.render_pinned()?,
                ViewOutput::Rendered {
                    node,
                    chunks,
                    chunk_bytes,
                    ..
                } => match rendered_of(&mut self.states, *node).render_pinned()? {
                    None => None,
                    Some((pinned, groups)) => {
                        let rows = self.dataflow.shown(*node, groups)?;
                        if pinned.is_present
                            && let Some(chunk) = chunks.get_mut(pinned.chunk)
                        {
                            *chunk_bytes += batch_bytes(&rows);
                            *chunk = Some(rows.clone());
                        }
                        Some(rows)
                    }
                },
            };
            match rows {
                Some(rows) => {
                    made += CHUNK_GROUPS;
                    reading.push(rows);
                }
                None => return self.close_reading().map(Some),
            }
        }
        Ok(None)
    }

    /// Ends a reading all of whose chunks are rendered.
    fn close_reading(&mut self) -> Result<Vec<RecordBatch>, SqlError> {
        let mut reading = self.reading.take().expect("a reading has begun");
        match &mut self.output {
            ViewOutput::Rows(_) => {}
            ViewOutput::Bag(bag) => reading.extend(bag.unpin()?),
            ViewOutput::Rendered { node, .. } => {
                for groups in rendered_of(&mut self.states, *node).unpin()? {
                    reading.push(self.dataflow.shown(*node, groups)?);
                }
            }
        }
        reading.retain(|rows| rows.num_rows() > 0);
        Ok(reading)
    }

    /// Gives up a reading under way.
    pub fn end_reading(&mut self) {
        if self.reading.take().is_some() {
            match &mut self.output {
                ViewOutput::Rows(_) => {}
                ViewOutput::Bag(bag) => bag.end_reading(),
                ViewOutput::Rendered { node, .. } => drop(rendered_of(&mut self.states, *node).unpin()),
            }
        }
    }

    /// Drops the rows rendered for readers.
    pub fn forget_rendered(&mut self) {
        match &mut self.output {
            ViewOutput::Rendered {
                chunks, chunk_bytes, ..
            } => {
                chunks.clear();
                *chunk_bytes = 0;
            }
            ViewOutput::Rows(_) => {}
            ViewOutput::Bag(bag) => bag.forget_rendered(),
        }
    }

    /// Rows of the view, about: the rows that a filter above the operator that renders them leaves out are unknown before it is
    /// read.
    pub fn row_count(&self) -> usize {
        match &self.output {
            ViewOutput::Rendered { node, .. } => self.rendered(*node).shown_rows(),
            ViewOutput::Rows(rows) => rows.rows(),
            ViewOutput::Bag(bag) => bag.rows(),
        }
    }

    /// Bytes of memory held, about.
    pub fn bytes(&self) -> usize {
        self.state_bytes() + self.rendered_bytes()
    }

    /// Bytes that it cannot do without.
    fn state_bytes(&self) -> usize {
        let states: usize = self.states.iter().map(KeptNodes::bytes).sum();
        states
            + match &self.output {
                ViewOutput::Rendered { .. } => 0,
                ViewOutput::Rows(rows) => rows.bytes(),
                ViewOutput::Bag(bag) => bag.bytes(),
            }
    }

    /// Bytes of the rows rendered for readers.
    pub fn rendered_bytes(&self) -> usize {
        match &self.output {
            ViewOutput::Rendered { node, chunk_bytes, .. } => *chunk_bytes + self.rendered(*node).pinned_bytes(),
            ViewOutput::Rows(_) => 0,
            ViewOutput::Bag(bag) => bag.rendered_bytes(),
        }
    }

    fn rendered(&self, node: usize) -> &dyn ReaderSource {
        let rendered = self.states[node].shared_rendered();
        rendered.unwrap_or_else(|| panic!("node {node} renders its rows"))
    }

    fn operators(&self) -> impl Iterator<Item = &dyn Operator> {
        self.states.iter().filter_map(KeptNodes::shared)
    }

    /// Rows that came too late for a window, and rows without an event time.
    pub fn skipped_rows(&self) -> (u64, u64) {
        let skipped = self.operators().filter_map(Operator::skipped);
        skipped.fold((0, 0), |(late, null), own| (late + own.0, null + own.1))
    }

    /// Topics and the watermark at which the next of their windows closes, microseconds.
    pub fn next_closes(&self) -> Vec<(TopicId, i64)> {
        let mut closes = Vec::new();
        for open in self.operators().filter_map(Operator::closes) {
            if let Some(at) = open.next {
                closes.extend(open.topics.iter().map(|topic| (*topic, at)));
            }
        }
        closes
    }

    /// The rows that time changes next.
    pub fn pending(&self) -> Vec<PendingRows> {
        self.operators().filter_map(Operator::pending).collect()
    }

    /// Topics whose watermarks close windows here.
    pub fn closing_topics(&self) -> Vec<TopicId> {
        let windows = self.operators().filter_map(Operator::closes);
        windows.flat_map(|open| open.topics.iter().copied()).collect()
    }

    pub fn stats(&self) -> Vec<NodeStats> {
        let of = |(state, counts): (&KeptNodes, &NodeCounts)| NodeStats {
            counts: *counts,
            state_bytes: state.bytes(),
            shared: match state {
                KeptNodes::Ported(ported) => ported.shared(),
                _ => Vec::new(),
            },
            groups: match state {
                KeptNodes::Aggregate(aggregate) => Some(aggregate.live_groups()),
                _ => None,
            },
            rows: match state {
                KeptNodes::Ported(ported) => Some(ported.rows()),
                KeptNodes::FirstFew(few) => Some(few.rows()),
                _ => None,
            },
            computed: match state {
                KeptNodes::Ported(ported) => ported.computed(),
                _ => None,
            },
            skipped: state.shared().and_then(Operator::skipped),
        };
        self.states.iter().zip(&self.counts).map(of).collect()
    }

    pub fn save(&mut self) -> Result<Saved, SqlError> {
        let mut nodes = Vec::with_capacity(self.states.len());
        for state in &mut self.states {
            if let KeptNodes::Aggregate(aggregate) = state {
                aggregate.catch_up()?;
            }
            nodes.push(match state.operator() {
                Some(operator) => operator.save()?,
                None => Vec::new(),
            });
        }
        Ok(Saved {
            nodes,
            output: self.output.save()?,
        })
    }

    /// Replaces the state by a saved one, from any state.
    pub fn restore(&mut self, saved: &Saved) -> Result<(), SqlError> {
        let mut fresh = Instance::new(self.dataflow.clone(), self.limits.clone())?;
        fresh.set_emits(self.emits);
        for (state, saved) in fresh.states.iter_mut().zip(&saved.nodes) {
            if let Some(operator) = state.operator() {
                operator.restore(saved)?;
            }
        }
        fresh.output.restore(&saved.output)?;
        *self = fresh;
        self.account()
    }
}
