//! A dataflow as EXPLAIN shows it: one line per node, the root first, inputs indented below.
//!
//! Not here: the counts (`dataflow.rs`).

use super::dataflow::{Dataflow, DataflowNode, NodeStats, NodeWork};

/// The tree; with `stats`, each line has the rows through the node and its state.
pub fn lines(dataflow: &Dataflow, stats: Option<&[NodeStats]>) -> Vec<String> {
    let mut lines = Vec::with_capacity(dataflow.nodes.len());
    let root = dataflow.nodes.len() - 1;
    add(dataflow, stats, root, 0, &mut lines);
    lines
}

fn add(dataflow: &Dataflow, stats: Option<&[NodeStats]>, node: usize, depth: usize, lines: &mut Vec<String>) {
    let indent = if depth == 0 {
        String::new()
    } else {
        format!("{}-> ", "  ".repeat(depth))
    };
    let numbers = stats.and_then(|stats| stats.get(node)).map(numbers).unwrap_or_default();
    // Names that the planner made begin with a mark, which keeps them apart from those that a query can have.
    let described = describe(&dataflow.nodes[node].step).replace('\u{1}', "");
    lines.push(format!("{indent}{described}{numbers}"));
    for (input, other) in dataflow.nodes.iter().enumerate() {
        if other.consumer == Some(node) {
            add(dataflow, stats, input, depth + 1, lines);
        }
    }
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
    parts.push(format!("time={:.3} ms", stats.counts.work_ns as f64 / 1e6));
    format!("  ({})", parts.join(", "))
}

/// An operator of a view, with its counts so far.
#[derive(Clone, Debug)]
pub struct OperatorStats {
    pub view: u32,
    /// Numbered from the inputs to the root.
    pub number: usize,
    /// The operator that takes its output; `None` if that is the view.
    pub consumer: Option<usize>,
    pub description: String,
    pub rows_in: u64,
    pub rows_out: u64,
    /// Rows or groups that it keeps.
    pub state_rows: Option<u64>,
    pub state_bytes: u64,
    pub work_us: u64,
    /// Rows that came too late for its windows.
    pub late_rows: Option<u64>,
}

impl OperatorStats {
    pub fn all_of(view: u32, dataflow: &Dataflow, stats: &[NodeStats]) -> Vec<OperatorStats> {
        let nodes = dataflow.nodes.iter().zip(stats).enumerate();
        let of = |(number, (node, stats)): (usize, (&DataflowNode, &NodeStats))| OperatorStats {
            view,
            number,
            consumer: node.consumer,
            description: describe(&node.step).replace('\u{1}', ""),
            rows_in: stats.counts.rows_in,
            rows_out: stats.counts.rows_out,
            state_rows: stats.groups.or(stats.rows).map(|rows| rows as u64),
            state_bytes: stats.state_bytes as u64,
            work_us: stats.counts.work_ns / 1000,
            late_rows: stats.skipped.map(|(late, _)| late),
        };
        nodes.map(of).collect()
    }
}

impl Dataflow {
    /// The tree of a view that does not exist yet.
    pub fn explain(&self) -> Vec<String> {
        lines(self, None)
    }
}
