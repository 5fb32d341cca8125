//! A dataflow as EXPLAIN shows it: one line per node, the root first, inputs indented below. A node that several take has its
//! inputs and its numbers in the first place, and a name for the others.
//!
//! Not here: the counts (`instance.rs`).

use super::dataflow::{Dataflow, DataflowNode, NodeWork};
use super::instance::NodeStats;
use super::operators::SharedState;

/// The lines; with `stats`, each has the rows through the node and its state.
pub fn lines(dataflow: &Dataflow, stats: Option<&[NodeStats]>) -> Vec<String> {
    let mut shown = OperatorLines {
        dataflow,
        stats,
        names: Vec::new(),
        lines: Vec::with_capacity(dataflow.nodes.len()),
    };
    shown.add(dataflow.root(), 0);
    shown.lines
}

/// The lines so far.
struct OperatorLines<'a> {
    dataflow: &'a Dataflow,
    stats: Option<&'a [NodeStats]>,
    /// Nodes that several take: the n-th of them is called `#n`.
    names: Vec<usize>,
    lines: Vec<String>,
}

impl OperatorLines<'_> {
    fn add(&mut self, node: usize, depth: usize) {
        let indent = if depth == 0 {
            String::new()
        } else {
            format!("{}-> ", "  ".repeat(depth))
        };
        let described = description(&self.dataflow.nodes[node].step);
        if let Some(name) = self.names.iter().position(|named| *named == node) {
            self.lines.push(format!("{indent}#{}", name + 1));
            return;
        }
        let name = match self.dataflow.nodes[node].consumers.len() {
            0 | 1 => String::new(),
            _ => {
                self.names.push(node);
                format!("#{} = ", self.names.len())
            }
        };
        let numbers = self.stats.and_then(|stats| stats.get(node)).map(numbers);
        self.lines
            .push(format!("{indent}{name}{described}{}", numbers.unwrap_or_default()));
        for input in self.dataflow.inputs(node) {
            self.add(input, depth + 1);
        }
    }
}

/// Names that the planner made begin with a mark, which keeps them apart from those that a query can have.
fn description(step: &NodeWork) -> String {
    describe(step).replace('\u{1}', "")
}

fn describe(step: &NodeWork) -> String {
    match step {
        NodeWork::Scan(scan) => scan.describe(),
        NodeWork::Constant(rows) => format!("Constants: {} row(s)", rows.num_rows()),
        NodeWork::Linear { linear, .. } => linear.describe(),
        NodeWork::Union => "Union".to_string(),
        NodeWork::Window(spec) => spec.text.clone(),
        NodeWork::Expand(spec) => spec.describe(),
        NodeWork::Session(spec) => spec.text.clone(),
        NodeWork::Join(spec) => spec.text.clone(),
        NodeWork::Asof(spec) => spec.text.clone(),
        NodeWork::NotIn(spec) => spec.text.clone(),
        NodeWork::Set(spec) => spec.describe(),
        NodeWork::Partitioned(spec) => spec.text.clone(),
        NodeWork::Temporal(spec) => format!("Temporal filter: {}", spec.text),
        NodeWork::Aggregate(spec) => {
            let emit = if spec.closes_by.is_some() {
                ", when its window has closed"
            } else {
                ""
            };
            let panes = match &spec.spread {
                Some(_) => ", by panes",
                None => "",
            };
            format!("Aggregate: {}{panes}{emit}", spec.text)
        }
    }
}

fn numbers(stats: &NodeStats) -> String {
    let mut parts = vec![
        format!("rows in={}", stats.counts.rows_in),
        format!("rows out={}", stats.counts.rows_out),
    ];
    if let Some(groups) = stats.groups {
        parts.push(format!("groups={groups}"));
    }
    if let Some(rows) = stats.rows {
        parts.push(format!("rows kept={rows}"));
    }
    if let Some(computed) = stats.computed {
        parts.push(format!("rows computed={computed}"));
    }
    if let Some((late, null)) = stats.skipped {
        parts.push(format!("late rows={late}"));
        if null > 0 {
            parts.push(format!("rows without a time={null}"));
        }
    }
    if stats.state_bytes > 0 {
        parts.push(format!("state={} bytes", stats.state_bytes));
    }
    if !stats.shared.is_empty() {
        parts.push(format!("shared={} bytes", bytes_of(&stats.shared)));
    }
    parts.push(format!("time={:.3} ms", stats.counts.work_ns as f64 / 1e6));
    format!("  ({})", parts.join(", "))
}

/// The bytes of state that an operator shares, each part of it once: a join may have the same on both sides.
fn bytes_of(shared: &[SharedState]) -> usize {
    let is_first = |at: &usize| shared[..*at].iter().all(|before| before.id != shared[*at].id);
    let distinct = (0..shared.len()).filter(is_first);
    distinct.map(|at| shared[at].bytes).sum()
}

/// An operator of a view, with its counts so far.
#[derive(Clone, Debug)]
pub struct OperatorStats {
    pub view: u32,
    /// Numbered from the inputs to the root.
    pub number: usize,
    /// The operators that take its output; none if that is the view.
    pub consumers: Vec<usize>,
    pub description: String,
    pub rows_in: u64,
    pub rows_out: u64,
    /// Rows or groups that it keeps.
    pub state_rows: Option<u64>,
    /// Of state that it shares, an equal part: so all operators together have the bytes of all state.
    pub state_bytes: u64,
    pub work_us: u64,
    /// Rows that came too late for its windows.
    pub late_rows: Option<u64>,
    shared: Vec<SharedState>,
}

impl OperatorStats {
    pub fn all_of(view: u32, dataflow: &Dataflow, stats: &[NodeStats]) -> Vec<OperatorStats> {
        let nodes = dataflow.nodes.iter().zip(stats).enumerate();
        let of = |(number, (node, stats)): (usize, (&DataflowNode, &NodeStats))| OperatorStats {
            view,
            number,
            consumers: node.consumers.iter().map(|consumer| consumer.node).collect(),
            description: description(&node.step),
            rows_in: stats.counts.rows_in,
            rows_out: stats.counts.rows_out,
            state_rows: stats.groups.or(stats.rows).map(|rows| rows as u64),
            state_bytes: stats.state_bytes as u64,
            work_us: stats.counts.work_ns / 1000,
            late_rows: stats.skipped.map(|(late, _)| late),
            shared: stats.shared.clone(),
        };
        nodes.map(of).collect()
    }

    /// Bytes of the state that it shares, all of it.
    pub fn shared_bytes(&self) -> Option<u64> {
        (!self.shared.is_empty()).then(|| bytes_of(&self.shared) as u64)
    }

    /// The views, one of them its own perhaps, whose other operators share state with it.
    pub fn shared_with(&self, all: &[OperatorStats]) -> Vec<u32> {
        let is_other = |other: &&OperatorStats| (other.view, other.number) != (self.view, self.number);
        let shares = |other: &&OperatorStats| {
            let mut ids = self.shared.iter().map(|shared| shared.id);
            ids.any(|id| other.shared.iter().any(|shared| shared.id == id))
        };
        let sharing = all.iter().filter(is_other).filter(shares);
        let mut views: Vec<u32> = sharing.map(|other| other.view).collect();
        views.dedup();
        views
    }
}

impl Dataflow {
    /// The operators of a view that does not exist yet.
    pub fn explain(&self) -> Vec<String> {
        lines(self, None)
    }
}
