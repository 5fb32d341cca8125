//! A compiled view: a graph of operators, without state.
//!
//! One rule: nodes stand in an order in which inputs come before their users; node 0 is a leaf, the last is the root. Each
//! node is there once, however many others take its output.
//!
//! Not here: the state of the nodes, and the flow of rows through them (`instance.rs`).

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::catalog;
use crate::error::SqlError;
use crate::log::{Reader, TopicId};
use crate::sql::window::Closing;

use super::delta::Delta;
use super::memory::Budget;
use super::operators::aggregate::{AggregateSpec, GroupBy};
use super::operators::expand::ExpandSpec;
use super::operators::join::{AsofSpec, JoinSpec, NotInSpec, RelationRows};
use super::operators::linear::Linear;
use super::operators::partitioned::{FirstFew, PartitionedSpec};
use super::operators::session::SessionSpec;
use super::operators::set::SetSpec;
use super::operators::temporal::TemporalSpec;
use super::operators::window::WindowSpec;
use super::scan::{LeafScan, LeafSource, seen_as};

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
    Asof(Arc<AsofSpec>),
    NotIn(Arc<NotInSpec>),
    Set(Arc<SetSpec>),
    Partitioned(Arc<PartitionedSpec>),
    Temporal(Arc<TemporalSpec>),
}

/// A node that takes the output of another, and which of its inputs that is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Consumer {
    pub node: usize,
    pub port: usize,
}

/// A node, and the consumers of its output: none is the view itself.
#[derive(Clone, Debug)]
pub struct DataflowNode {
    pub step: NodeWork,
    pub consumers: Vec<Consumer>,
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
    pub fn root(&self) -> usize {
        self.nodes.len() - 1
    }

    /// The nodes whose output a node takes, in the order of its inputs.
    pub fn inputs(&self, node: usize) -> Vec<usize> {
        let mut inputs: Vec<(usize, usize)> = Vec::new();
        for (input, other) in self.nodes.iter().enumerate() {
            let taken = other.consumers.iter().filter(|consumer| consumer.node == node);
            inputs.extend(taken.map(|consumer| (consumer.port, input)));
        }
        inputs.sort_unstable();
        inputs.into_iter().map(|(_, input)| input).collect()
    }

    /// The rows of a node by their definition, if they are rows of one topic behind stateless steps.
    pub fn relation_rows(&self, node: usize) -> Option<RelationRows> {
        match &self.nodes[node].step {
            NodeWork::Scan(scan) => scan.relation_rows(),
            NodeWork::Linear { linear, .. } => {
                let input = self.inputs(node).into_iter().next()?;
                self.relation_rows(input)?.through(linear)
            }
            _ => None,
        }
    }

    /// The inputs of its joins by their definition, with the join.
    pub fn joined_rows(&self) -> impl Iterator<Item = (usize, Vec<Option<RelationRows>>)> {
        let joins = self.nodes.iter().enumerate();
        let joins = joins.filter(|(_, node)| matches!(node.step, NodeWork::Join(_)));
        joins.map(|(node, _)| {
            let inputs = self.inputs(node).into_iter();
            (node, inputs.map(|input| self.relation_rows(input)).collect())
        })
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
        let crossed = crossed.map(|text| {
            format!("joins without equal columns ({text}): each row that changes meets all of the other side")
        });
        let unbounded = self.nodes.iter().filter_map(|node| match &node.step {
            NodeWork::Join(spec) if !spec.unbounded.is_empty() => Some(spec),
            _ => None,
        });
        let unbounded = unbounded.map(|spec| {
            let text = format!(
                "keeps all rows of a join by time: it could drop those that meet no later row WHERE {}",
                spec.unbounded.join(" AND ")
            );
            text.replace('\u{1}', "")
        });
        crossed.chain(unbounded).collect()
    }

    /// The operator that renders its rows for readers, if there is one that only stateless nodes with one input stand above. Nothing
    /// else takes its output.
    pub fn root_rendered(&self) -> Option<usize> {
        let mut at = self.root();
        loop {
            match &self.nodes[at].step {
                NodeWork::Aggregate(spec) => return spec.closes_by.is_none().then_some(at),
                NodeWork::Partitioned(spec) => return FirstFew::is_work_of(spec).then_some(at),
                NodeWork::Linear { linear, .. } if !matches!(linear, Linear::Unnest(_)) => {
                    at = self.inputs(at).into_iter().next()?;
                }
                _ => return None,
            }
        }
    }

    /// Whether one of the stateless nodes above what renders the root's rows can fail.
    pub fn may_fail_above(&self, rendered: usize) -> bool {
        self.nodes[rendered + 1..].iter().any(|node| {
            matches!(
                node.step,
                NodeWork::Linear {
                    is_infallible: false,
                    ..
                }
            )
        })
    }

    /// Takes a delta from `node`'s output through the stateless nodes above it; each that is left goes to `end`, with the node
    /// that takes it, or without one at the view itself.
    pub fn through_linear(
        &self,
        node: usize,
        delta: Delta,
        end: &mut dyn FnMut(Option<usize>, Delta) -> Result<(), SqlError>,
    ) -> Result<(), SqlError> {
        let consumers = &self.nodes[node].consumers;
        if consumers.is_empty() {
            return end(None, delta);
        }
        for Consumer { node, .. } in consumers {
            let passed = match &self.nodes[*node].step {
                NodeWork::Linear { linear, .. } => linear.apply(delta.clone())?,
                NodeWork::Union => Some(delta.clone()),
                _ => {
                    end(Some(*node), delta.clone())?;
                    continue;
                }
            };
            if let Some(passed) = passed {
                self.through_linear(*node, passed, end)?;
            }
        }
        Ok(())
    }

    /// Rows of the operator that renders them as the view shows them.
    pub fn shown(&self, rendered: usize, own: RecordBatch) -> Result<RecordBatch, SqlError> {
        let mut rows = RecordBatch::new_empty(self.schema.clone());
        self.through_linear(rendered, Delta::added(own), &mut |_, delta| {
            rows = delta.batch;
            Ok(())
        })?;
        Ok(rows)
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
            self.through_linear(node, delta, &mut |end, delta| {
                late += match end.map(|end| &self.nodes[end].step) {
                    Some(NodeWork::Window(spec)) => spec.assigner.late_rows(&delta.batch)?,
                    Some(NodeWork::Session(spec)) => spec.sessions.late_rows(&delta.batch)?,
                    _ => 0,
                };
                Ok(())
            })?;
        }
        Ok(late)
    }

    /// Whether a window stands above a scan, with only stateless nodes between.
    pub fn has_window(&self, scan: usize) -> bool {
        let mut consumers = self.nodes[scan].consumers.iter();
        consumers.any(|consumer| match &self.nodes[consumer.node].step {
            NodeWork::Linear { .. } | NodeWork::Union => self.has_window(consumer.node),
            NodeWork::Window(_) | NodeWork::Session(_) => true,
            _ => false,
        })
    }

    /// Evaluates the nodes above a scan over some rows, up to the end of the first aggregates, without keeping anything: for
    /// finding the row that fails.
    pub fn probe(&self, scan: usize, batch: RecordBatch) -> Result<(), SqlError> {
        self.through_linear(scan, Delta::added(batch), &mut |end, delta| {
            let Some(node) = end else { return Ok(()) };
            let NodeWork::Window(spec) = &self.nodes[node].step else {
                return self.probe_arguments(node, &delta);
            };
            for assigned in spec.assigner.slices(delta.batch, Closing::All) {
                let rows = Delta::added(assigned?.rows);
                self.through_linear(node, rows, &mut |end, delta| match end {
                    Some(end) => self.probe_arguments(end, &delta),
                    None => Ok(()),
                })?;
            }
            Ok(())
        })
    }

    fn probe_arguments(&self, node: usize, delta: &Delta) -> Result<(), SqlError> {
        match &self.nodes[node].step {
            // A fresh aggregate meets the errors of its expressions, and forgets the rows.
            NodeWork::Aggregate(spec) => GroupBy::new(spec.clone(), Budget::unlimited())?.push(delta),
            NodeWork::Expand(spec) => {
                for part in spec.parts(delta)? {
                    let part = part?;
                    for consumer in &self.nodes[node].consumers {
                        self.probe_arguments(consumer.node, &part)?;
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
