//! A compiled view: a tree of operators, and an instance of it with state.
//!
//! One rule: an instance is a deterministic function of the deltas pushed into its scans, step by step. It reads
//! nothing by itself: the pipeline pushes (`pipeline.rs`). Its clock measures the work of each node and decides nothing.
//!
//! Nodes stand in an order in which inputs come before their users; node 0 is a leaf, the last is the root. Rows flow
//! through stateless nodes batch by batch; aggregates swallow them and emit when the step ends, joins
//! answer at once, or hold their input or output until then.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::catalog;
use crate::error::{SqlError, state};
use crate::log::{Reader, TopicId};
use crate::sql::window::Closing;

use super::aggregate::{AggregateSpec, GroupBy};
use super::clock::PendingRows;
use super::constant::ConstantRows;
use super::delta::Delta;
use super::expand::ExpandSpec;
use super::join::{JoinOperator, JoinSpec, NotIn, NotInSpec};
use super::linear::Linear;
use super::memory::{Budget, Limits, ViewAccount, batch_bytes};
use super::operator::{Operator, Ported, Sink, StepEnd};
use super::output::{Bag, OutputRows, ViewOutput};
use super::partitioned::{PartitionedOperator, PartitionedSpec};
use super::scan::{LeafScan, LeafSource, seen_as};
use super::session::{SessionOperator, SessionSpec};
use super::set::{SetCounts, SetSpec};
use super::temporal::{Temporal, TemporalSpec};
use super::window::{WindowOperator, WindowSpec};

/// The work of a node.
#[derive(Clone, Debug)]
pub enum NodeWork {
    Scan(LeafScan),
    /// Rows that are there from the beginning.
    Constant(RecordBatch),
    Linear {
        linear: Linear,
        is_infallible: bool,
    },
    /// Rows of several inputs, of one schema.
    Union,
    Window(Arc<WindowSpec>),
    /// Each row once for each grouping set.
    Expand(Arc<ExpandSpec>),
    Session(Arc<SessionSpec>),
    Aggregate(Arc<AggregateSpec>),
    Join(Arc<JoinSpec>),
    NotIn(Arc<NotInSpec>),
    Set(Arc<SetSpec>),
    Partitioned(Arc<PartitionedSpec>),
    Temporal(Arc<TemporalSpec>),
}

/// A node, and the consumer of its output; `None` is the view itself.
#[derive(Clone, Debug)]
pub struct DataflowNode {
    pub step: NodeWork,
    pub consumer: Option<usize>,
    /// Which of the consumer's inputs it is.
    pub port: usize,
}

/// A compiled view, without state. Cheap to clone by `Arc`.
#[derive(Clone, Debug)]
pub struct Dataflow {
    pub nodes: Vec<DataflowNode>,
    /// Of the view's rows.
    pub schema: SchemaRef,
    /// The output never retracts.
    pub append_only: bool,
}

impl Dataflow {
    fn root(&self) -> usize {
        self.nodes.len() - 1
    }

    /// The leaves: node and scan.
    pub fn scans(&self) -> impl Iterator<Item = (usize, &LeafScan)> {
        self.nodes
            .iter()
            .enumerate()
            .filter_map(|(index, node)| match &node.step {
                NodeWork::Scan(scan) => Some((index, scan)),
                _ => None,
            })
    }

    /// Topics that it reads, each once.
    pub fn topics(&self) -> Vec<TopicId> {
        let mut topics: Vec<TopicId> = self
            .scans()
            .filter_map(|(_, scan)| match &scan.source {
                LeafSource::Topic { reader, .. } => Some(reader.topic),
                LeafSource::View { .. } => None,
            })
            .collect();
        topics.sort_unstable();
        topics.dedup();
        topics
    }

    /// Its readers of topics.
    pub fn readers(&self) -> impl Iterator<Item = &Reader> {
        self.scans().filter_map(|(_, scan)| match &scan.source {
            LeafSource::Topic { reader, .. } => Some(reader),
            LeafSource::View { .. } => None,
        })
    }

    /// Views that it reads, each once.
    pub fn views(&self) -> Vec<u32> {
        let mut views: Vec<u32> = self
            .scans()
            .filter_map(|(_, scan)| match &scan.source {
                LeafSource::View { oid, .. } => Some(*oid),
                LeafSource::Topic { .. } => None,
            })
            .collect();
        views.sort_unstable();
        views.dedup();
        views
    }

    /// Whether its rows change as time passes.
    pub fn is_timed(&self) -> bool {
        self.nodes.iter().any(|node| matches!(node.step, NodeWork::Temporal(_)))
    }

    /// Costs that a user should know of: each completes "materialized view ...".
    pub fn warnings(&self) -> Vec<String> {
        let crossed = self.nodes.iter().filter_map(|node| match &node.step {
            NodeWork::Join(spec) if spec.key_types.is_empty() && !spec.has_constant_side => Some(&spec.text),
            _ => None,
        });
        crossed
            .map(|text| {
                format!("joins without equal columns ({text}): each row that changes meets all of the other side")
            })
            .collect()
    }

    /// The aggregate that only stateless nodes with one input stand above, if there is one and it shows its groups.
    fn root_aggregate(&self) -> Option<usize> {
        let mut at = self.root();
        loop {
            match &self.nodes[at].step {
                NodeWork::Aggregate(spec) => return spec.closes_by.is_none().then_some(at),
                NodeWork::Linear { linear, .. } if !matches!(linear, Linear::Unnest(_)) => {
                    at = self.nodes.iter().position(|node| node.consumer == Some(at))?;
                }
                _ => return None,
            }
        }
    }

    /// The stateless nodes on the way from `node` (not included) upward, until one that is not.
    fn linear_above(&self, node: usize) -> impl Iterator<Item = &NodeWork> {
        let mut at = self.nodes[node].consumer;
        std::iter::from_fn(move || {
            let step = &self.nodes[at?].step;
            at = self.nodes[at?].consumer;
            Some(step)
        })
        .take_while(|step| matches!(step, NodeWork::Linear { .. } | NodeWork::Union))
    }

    /// Takes a delta from `node`'s output through the stateless nodes above it. Also the node where it ended.
    fn through_linear(&self, node: usize, delta: Delta) -> Result<(Option<usize>, Option<Delta>), SqlError> {
        let mut at = self.nodes[node].consumer;
        let mut delta = Some(delta);
        while let Some(index) = at {
            let Some(rows) = delta.take() else { break };
            match &self.nodes[index].step {
                NodeWork::Linear { linear, .. } => delta = linear.apply(rows)?,
                NodeWork::Union => delta = Some(rows),
                _ => return Ok((Some(index), Some(rows))),
            }
            at = self.nodes[index].consumer;
        }
        Ok((at, delta))
    }

    /// The number of `rows`, not committed yet, that would come late for a window here, were the topic's watermark this.
    pub fn late_rows(
        &self,
        topic: &catalog::Topic,
        rows: &RecordBatch,
        watermark: Option<i64>,
    ) -> Result<u64, SqlError> {
        let mut late = 0;
        for (node, scan) in self.scans() {
            let LeafSource::Topic { reader, .. } = &scan.source else {
                continue;
            };
            if reader.topic.0 != topic.oid || !self.has_window(node) {
                continue;
            }
            let rows = seen_as(reader, topic, rows);
            let delta = Delta::added(scan.topic_rows(&rows, watermark)?);
            if let (Some(end), Some(delta)) = self.through_linear(node, delta)? {
                late += match &self.nodes[end].step {
                    NodeWork::Window(spec) => spec.assigner.late_rows(&delta.batch)?,
                    NodeWork::Session(spec) => spec.sessions.late_rows(&delta.batch)?,
                    _ => 0,
                };
            }
        }
        Ok(late)
    }

    /// Whether a window stands above a scan, with only stateless nodes between.
    pub fn has_window(&self, scan: usize) -> bool {
        let mut at = self.nodes[scan].consumer;
        while let Some(index) = at {
            match &self.nodes[index].step {
                NodeWork::Linear { .. } | NodeWork::Union => at = self.nodes[index].consumer,
                NodeWork::Window(_) | NodeWork::Session(_) => return true,
                _ => return false,
            }
        }
        false
    }

    /// Evaluates the nodes above a scan over some rows, up to the end of the first aggregate, without keeping anything: for
    /// finding the row that fails.
    pub fn probe(&self, scan: usize, batch: RecordBatch) -> Result<(), SqlError> {
        let (end, delta) = self.through_linear(scan, Delta::added(batch))?;
        let (Some(node), Some(rows)) = (end, &delta) else {
            return Ok(());
        };
        if let NodeWork::Window(spec) = &self.nodes[node].step {
            for assigned in spec.assigner.slices(rows.batch.clone(), Closing::All) {
                let (end, delta) = self.through_linear(node, Delta::added(assigned?.rows))?;
                self.probe_arguments(end, delta)?;
            }
            return Ok(());
        }
        self.probe_arguments(end, delta)
    }

    fn probe_arguments(&self, node: Option<usize>, delta: Option<Delta>) -> Result<(), SqlError> {
        let (Some(node), Some(delta)) = (node, delta) else {
            return Ok(());
        };
        match &self.nodes[node].step {
            // A fresh aggregate meets the errors of its expressions, and forgets the rows.
            NodeWork::Aggregate(spec) => GroupBy::new(spec.clone(), Budget::unlimited())?.push(&delta),
            NodeWork::Expand(spec) => {
                let mut parts = spec.parts(&delta)?;
                parts.try_for_each(|part| self.probe_arguments(self.nodes[node].consumer, Some(part?)))
            }
            _ => Ok(()),
        }
    }
}

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
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct NodeStats {
    pub counts: NodeCounts,
    pub state_bytes: usize,
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
    /// Changed since `take_changed`.
    changed: bool,
    limits: Limits,
    account: ViewAccount,
    /// Bytes of the operators that are taken out of `states` while their output goes on.
    away_bytes: usize,
}

#[allow(clippy::large_enum_variant, reason = "one per node, never moved about")]
enum KeptNodes {
    Nothing,
    Window(WindowOperator),
    Aggregate(GroupBy),
    Constant(ConstantRows),
    Ported(Box<dyn Ported>),
}

impl KeptNodes {
    fn operator(&mut self) -> Option<&mut dyn Operator> {
        match self {
            KeptNodes::Nothing => None,
            KeptNodes::Window(window) => Some(window),
            KeptNodes::Aggregate(aggregate) => Some(aggregate),
            KeptNodes::Constant(constant) => Some(constant),
            KeptNodes::Ported(ported) => Some(&mut **ported),
        }
    }

    fn shared(&self) -> Option<&dyn Operator> {
        match self {
            KeptNodes::Nothing => None,
            KeptNodes::Window(window) => Some(window),
            KeptNodes::Aggregate(aggregate) => Some(aggregate),
            KeptNodes::Constant(constant) => Some(constant),
            KeptNodes::Ported(ported) => Some(&**ported),
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
                NodeWork::Session(spec) => {
                    KeptNodes::Ported(Box::new(SessionOperator::new(spec.clone(), budget.clone())?))
                }
                NodeWork::Aggregate(spec) => KeptNodes::Aggregate(GroupBy::new(spec.clone(), budget.clone())?),
                NodeWork::Constant(rows) => KeptNodes::Constant(ConstantRows::new(rows.clone())),
                NodeWork::Join(spec) => KeptNodes::Ported(Box::new(JoinOperator::new(spec.clone(), limits.clone())?)),
                NodeWork::NotIn(spec) => KeptNodes::Ported(Box::new(NotIn::new(spec.clone(), limits.clone())?)),
                NodeWork::Set(spec) => KeptNodes::Ported(Box::new(SetCounts::new(spec.clone(), budget.clone())?)),
                NodeWork::Partitioned(spec) => {
                    KeptNodes::Ported(Box::new(PartitionedOperator::new(spec.clone(), limits.clone())?))
                }
                NodeWork::Temporal(spec) => KeptNodes::Ported(Box::new(Temporal::new(spec.clone(), budget.clone())?)),
                NodeWork::Scan(_) | NodeWork::Linear { .. } | NodeWork::Union | NodeWork::Expand(_) => {
                    KeptNodes::Nothing
                }
            });
        }
        let output = match dataflow.root_aggregate() {
            Some(aggregate) => {
                let fails_at_end =
                    matches!(&dataflow.nodes[aggregate].step, NodeWork::Aggregate(spec) if spec.may_fail_at_end());
                let checks = fails_at_end
                    || dataflow.linear_above(aggregate).any(|step| {
                        matches!(
                            step,
                            NodeWork::Linear {
                                is_infallible: false,
                                ..
                            }
                        )
                    });
                if let (true, KeptNodes::Aggregate(aggregate)) = (checks, &mut states[aggregate]) {
                    aggregate.note_groups();
                }
                ViewOutput::Groups {
                    aggregate,
                    chunks: Vec::new(),
                    chunk_bytes: 0,
                    checks,
                }
            }
            None if dataflow.append_only => ViewOutput::Rows(OutputRows::new(dataflow.schema.clone())),
            None => ViewOutput::Bag(Bag::new(dataflow.schema.clone(), budget.clone())?),
        };
        // Aggregates below the root emit to the nodes above them.
        for (index, state) in states.iter_mut().enumerate() {
            if let KeptNodes::Aggregate(aggregate) = state
                && !matches!(&output, ViewOutput::Groups { aggregate: root, .. } if *root == index)
            {
                aggregate.emit_changes();
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
            limits,
            dataflow,
        })
    }

    pub fn dataflow(&self) -> &Arc<Dataflow> {
        &self.dataflow
    }

    /// From the next step on, hands out changes (or no longer): another view needs them.
    pub fn set_emits(&mut self, emits: bool) {
        if let (true, ViewOutput::Groups { aggregate, .. }) = (emits != self.emits, &self.output) {
            let aggregate = *aggregate;
            match emits {
                true => self.aggregate(aggregate).emit_changes(),
                false => self.aggregate(aggregate).emit_nothing(),
            }
        }
        if let ViewOutput::Bag(bag) = &mut self.output {
            bag.tell(emits);
        }
        self.emits = emits;
    }

    fn aggregate(&mut self, node: usize) -> &mut GroupBy {
        match &mut self.states[node] {
            KeptNodes::Aggregate(aggregate) => aggregate,
            _ => panic!("node {node} is an aggregate"),
        }
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
            let Some(next) = self.dataflow.nodes[at].consumer else {
                return self.store(delta, out);
            };
            self.counts[next].rows_in += delta.rows() as u64;
            self.work_at(Some(next));
            let kept = match (&self.dataflow.nodes[next].step, &mut self.states[next]) {
                (NodeWork::Linear { linear, .. }, _) => {
                    let mut parts = linear.parts(&delta);
                    let first = linear.part(&delta, &mut parts).transpose()?.flatten();
                    match linear.part(&delta, &mut parts) {
                        None => first,
                        Some(second) => {
                            let dataflow = self.dataflow.clone();
                            let NodeWork::Linear { linear, .. } = &dataflow.nodes[next].step else {
                                unreachable!("it is the same node");
                            };
                            let rest = std::iter::from_fn(|| linear.part(&delta, &mut parts));
                            for part in [Ok(first), second].into_iter().chain(rest) {
                                if let Some(part) = part? {
                                    self.flow(next, part, out)?;
                                }
                            }
                            return Ok(());
                        }
                    }
                }
                (NodeWork::Union, _) => Some(delta),
                (NodeWork::Expand(spec), _) => {
                    for part in spec.clone().parts(&delta)? {
                        self.flow(next, part?, out)?;
                    }
                    return Ok(());
                }
                (_, KeptNodes::Window(_)) => return self.assign(next, delta, out),
                (_, KeptNodes::Aggregate(aggregate)) => {
                    self.changed = true;
                    aggregate.push(&delta)?;
                    return self.account();
                }
                (_, KeptNodes::Ported(_)) => return self.enter(next, self.dataflow.nodes[at].port, delta, out),
                (_, KeptNodes::Nothing | KeptNodes::Constant(_)) => panic!("node {next} takes no rows"),
            };
            match kept {
                Some(kept) => (at, delta) = (next, kept),
                None => return Ok(()),
            }
        }
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
            ViewOutput::Groups { .. } => {}
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
        if self.limits.stop.is_set() {
            return Err(SqlError::new(state::QUERY_CANCELED, "the view is no longer wanted"));
        }
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
            ViewOutput::Groups {
                aggregate,
                checks: true,
                ..
            } if !self.emits => {
                // Nothing flowed through the expressions above the aggregate: meet a reader's errors now.
                let aggregate = *aggregate;
                let dataflow = self.dataflow.clone();
                for touched in self.aggregate(aggregate).touched_rows() {
                    dataflow.through_linear(aggregate, Delta::added(touched?))?;
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

    /// Whether anything was pushed or came out since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// The view's rows after the last step. They stay rendered for the next reader, until they change or
    /// [`Instance::forget_rendered`].
    pub fn rows(&mut self) -> Result<Vec<RecordBatch>, SqlError> {
        let ViewOutput::Groups {
            aggregate: node,
            chunks,
            chunk_bytes,
            ..
        } = &mut self.output
        else {
            return match &mut self.output {
                ViewOutput::Rows(rows) => Ok(rows.batches()),
                ViewOutput::Bag(bag) => bag.batches(),
                ViewOutput::Groups { .. } => unreachable!("handled above"),
            };
        };
        let KeptNodes::Aggregate(aggregate) = &mut self.states[*node] else {
            panic!("node {node} is an aggregate");
        };
        aggregate.catch_up()?;
        chunks.resize(aggregate.chunks(), None);
        let mut batches = Vec::with_capacity(chunks.len());
        for (index, chunk) in chunks.iter_mut().enumerate() {
            if chunk.is_none() || aggregate.is_stale(index) {
                *chunk = None;
                let groups = aggregate.render_chunk(index)?;
                let (_, delta) = self.dataflow.through_linear(*node, Delta::added(groups))?;
                *chunk = Some(match delta {
                    Some(delta) => delta.batch,
                    None => RecordBatch::new_empty(self.dataflow.schema.clone()),
                });
            }
            if let Some(rows) = chunk
                && rows.num_rows() > 0
            {
                batches.push(rows.clone());
            }
        }
        *chunk_bytes = chunks.iter().flatten().map(batch_bytes).sum();
        Ok(batches)
    }

    /// Drops the rows rendered for readers.
    pub fn forget_rendered(&mut self) {
        match &mut self.output {
            ViewOutput::Groups {
                chunks, chunk_bytes, ..
            } => {
                chunks.clear();
                *chunk_bytes = 0;
            }
            ViewOutput::Rows(_) => {}
            ViewOutput::Bag(bag) => bag.forget_rendered(),
        }
    }

    /// Rows of the view, about: the rows that a filter above the last aggregate leaves out are unknown before it is
    /// read.
    pub fn row_count(&self) -> usize {
        match &self.output {
            ViewOutput::Groups { aggregate, .. } => match &self.states[*aggregate] {
                KeptNodes::Aggregate(aggregate) => aggregate.live_groups(),
                _ => panic!("node {aggregate} is an aggregate"),
            },
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
                ViewOutput::Groups { .. } => 0,
                ViewOutput::Rows(rows) => rows.bytes(),
                ViewOutput::Bag(bag) => bag.bytes(),
            }
    }

    /// Bytes of the rows rendered for readers.
    pub fn rendered_bytes(&self) -> usize {
        match &self.output {
            ViewOutput::Groups { chunk_bytes, .. } => *chunk_bytes,
            ViewOutput::Rows(_) => 0,
            ViewOutput::Bag(bag) => bag.rendered_bytes(),
        }
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
            groups: match state {
                KeptNodes::Aggregate(aggregate) => Some(aggregate.live_groups()),
                _ => None,
            },
            rows: match state {
                KeptNodes::Ported(ported) => Some(ported.rows()),
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
