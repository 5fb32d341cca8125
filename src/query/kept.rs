//! [`Counted`]: a window operator of the engine whose rows count against the memory of queries; and the optimizer rule that
//! puts it in.
//!
//! The engine's window operators keep the rows of their input and ask for nothing. One rule: a row counts as soon as it
//! goes in, until the operator needs it no more.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::RecordBatch;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{WindowFrameBound, WindowFrameUnits};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::window::WindowExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::StreamExt;
use parking_lot::Mutex;

use super::Physical;
use crate::sql::functions::growth::bytes_between;

/// Window operators join the rows that they have with those that come, into a batch of both.
const COPIES: usize = 2;

pub const RECOMPUTE: ReplaceChildrenOptions = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);

#[derive(Debug)]
pub struct CountWindows;

impl PhysicalOptimizerRule for CountWindows {
    fn optimize(&self, plan: Physical, _config: &ConfigOptions) -> Result<Physical> {
        let optimized = plan.transform_up(|node| {
            let behind = match node.downcast_ref::<BoundedWindowAggExec>() {
                Some(window) => window.window_expr().iter().map(rows_behind).max().unwrap_or(0),
                None if node.downcast_ref::<WindowAggExec>().is_some() => 0,
                None => return Ok(Transformed::no(node)),
            };
            Ok(Transformed::yes(Arc::new(Counted::new(node, behind)?) as Physical))
        })?;
        Ok(optimized.data)
    }

    fn name(&self) -> &str {
        "count_windows"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Rows that a window expression keeps when they have come out: its frames begin with them. Their number is unknown for
/// frames by values; the memory of the process bounds these.
fn rows_behind(expr: &Arc<dyn WindowExpr>) -> usize {
    let frame = expr.get_window_frame();
    match (frame.units, &frame.start_bound) {
        (WindowFrameUnits::Rows, WindowFrameBound::Preceding(ScalarValue::UInt64(Some(rows)))) => {
            usize::try_from(*rows).unwrap_or(usize::MAX)
        }
        _ => 0,
    }
}

/// By partition: passes from [`Counted`] to its input when the window operator between them begins.
type Handed = Arc<Mutex<HashMap<usize, Arc<KeptRows>>>>;

/// A window operator, with an input that counts.
#[derive(Debug)]
struct Counted {
    window: Physical,
    /// Rows that it keeps when they have come out.
    behind: usize,
    handed: Handed,
}

/// The input of a window operator.
#[derive(Debug)]
struct CountedInput {
    rows: Physical,
    handed: Handed,
}

/// Rows that a window operator keeps.
#[derive(Debug)]
struct KeptRows {
    reservation: MemoryReservation,
    behind: usize,
    rows_in: AtomicUsize,
    /// Of the rows that went in, with their copies.
    bytes_in: AtomicUsize,
    rows_out: AtomicUsize,
}

impl KeptRows {
    /// 53200 if there is no room for it.
    fn enter(&self, batch: &RecordBatch) -> Result<()> {
        let columns = batch.columns().iter();
        let bytes: u64 = columns.map(|column| bytes_between(column, 0, column.len())).sum();
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).saturating_mul(COPIES);
        self.reservation.try_grow(bytes)?;
        self.rows_in.fetch_add(batch.num_rows(), Ordering::Relaxed);
        self.bytes_in.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn leave(&self, batch: &RecordBatch) {
        let rows_out = self.rows_out.fetch_add(batch.num_rows(), Ordering::Relaxed) + batch.num_rows();
        let rows_in = self.rows_in.load(Ordering::Relaxed);
        let bytes_in = self.bytes_in.load(Ordering::Relaxed);
        // Rows are taken to be of one size.
        let kept = rows_in.min(rows_in.saturating_sub(rows_out).saturating_add(self.behind));
        let left = kept as u128 * bytes_in as u128 / rows_in.max(1) as u128;
        let counted = self.reservation.size();
        self.reservation.shrink(counted.saturating_sub(left as usize));
    }
}

impl Counted {
    fn new(window: Physical, behind: usize) -> Result<Counted> {
        let handed = Handed::default();
        let inputs = window.children().into_iter().map(|rows| {
            Arc::new(CountedInput {
                rows: rows.clone(),
                handed: handed.clone(),
            }) as Physical
        });
        let inputs = inputs.collect();
        Ok(Counted {
            window: window.replace_children(inputs, RECOMPUTE)?,
            behind,
            handed,
        })
    }
}

impl DisplayAs for Counted {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        self.window.fmt_as(format, f)
    }
}

impl ExecutionPlan for Counted {
    fn name(&self) -> &str {
        self.window.name()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.window.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        self.window.maintains_input_order()
    }

    /// The inputs below those that count: plans do not show these.
    fn children(&self) -> Vec<&Physical> {
        let inputs = self.window.children().into_iter();
        inputs.flat_map(|input| input.children()).collect()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.window.apply_expressions(f)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Physical>) -> Result<Physical> {
        let window = self.window.clone().replace_children(children, RECOMPUTE)?;
        Ok(Arc::new(Counted::new(window, self.behind)?))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let kept = Arc::new(KeptRows {
            reservation: MemoryConsumer::new("window").register(context.memory_pool()),
            behind: self.behind,
            rows_in: AtomicUsize::new(0),
            bytes_in: AtomicUsize::new(0),
            rows_out: AtomicUsize::new(0),
        });
        self.handed.lock().insert(partition, kept.clone());
        let rows = self.window.execute(partition, context)?;
        let counted = rows.inspect(move |batch| {
            if let Ok(batch) = batch {
                kept.leave(batch);
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), counted)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        self.window.metrics()
    }
}

impl DisplayAs for CountedInput {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        self.rows.fmt_as(format, f)
    }
}

impl ExecutionPlan for CountedInput {
    fn name(&self) -> &str {
        self.rows.name()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.rows.properties()
    }

    fn children(&self) -> Vec<&Physical> {
        vec![&self.rows]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Physical>) -> Result<Physical> {
        let rows = children.into_iter().next().expect("it has one input");
        let handed = self.handed.clone();
        Ok(Arc::new(CountedInput { rows, handed }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let kept = self.handed.lock().remove(&partition);
        let rows = self.rows.execute(partition, context)?;
        let Some(kept) = kept else { return Ok(rows) };
        let counted = rows.map(move |batch| {
            let batch = batch?;
            kept.enter(&batch)?;
            Ok(batch)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), counted)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        self.rows.metrics()
    }
}
