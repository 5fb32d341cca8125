//! The running form of the window node: the kernel of `sql::window`, batch by batch.

use std::fmt;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::UserDefinedLogicalNodeCore;
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PhysicalExpr, PlanProperties,
};
use futures::{StreamExt, stream};

use crate::sql::window::{Assigner, Closing, Window};

#[derive(Debug)]
pub struct WindowExec {
    input: Arc<dyn ExecutionPlan>,
    assigner: Assigner,
    closing: Closing,
    /// The logical node as EXPLAIN shows it.
    described: String,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// A node as EXPLAIN shows it.
pub struct Described<'a>(pub &'a Window);

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt_for_explain(f)
    }
}

impl WindowExec {
    pub fn new(window: &Window, input: Arc<dyn ExecutionPlan>, closing: Closing) -> WindowExec {
        WindowExec::of(window.assigner(), input, closing, Described(window).to_string())
    }

    fn of(assigner: Assigner, input: Arc<dyn ExecutionPlan>, closing: Closing, described: String) -> WindowExec {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(assigner.schema().clone()),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        WindowExec {
            input,
            assigner,
            closing,
            described,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }
}

impl DisplayAs for WindowExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Window {}", self.described)?;
        if let Closing::Closed(None) = self.closing {
            write!(f, ", no watermark yet")?;
        }
        Ok(())
    }
}

impl ExecutionPlan for WindowExec {
    fn name(&self) -> &str {
        "Window"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        assert_eq!(children.len(), 1, "a window node has one input");
        let input = children.remove(0);
        Ok(Arc::new(WindowExec::of(
            self.assigner.clone(),
            input,
            self.closing,
            self.described.clone(),
        )))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let (assigner, closing) = (self.assigner.clone(), self.closing);
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let late_rows = MetricBuilder::new(&self.metrics).counter("late_rows", partition);
        let null_rows = MetricBuilder::new(&self.metrics).counter("null_rows", partition);
        let batches = input.flat_map(move |batch| {
            let (mut slices, mut failed) = match batch {
                Ok(batch) => (Some(assigner.slices(batch, closing)), None),
                Err(error) => (None, Some(error)),
            };
            let (metrics, late_rows, null_rows) = (metrics.clone(), late_rows.clone(), null_rows.clone());
            stream::iter(std::iter::from_fn(move || {
                if let Some(error) = failed.take() {
                    return Some(Err(error));
                }
                let _timer = metrics.elapsed_compute().timer();
                let assigned = match slices.as_mut()?.next()? {
                    Ok(assigned) => assigned,
                    Err(error) => return Some(Err(error.into())),
                };
                late_rows.add(assigned.late_rows as usize);
                null_rows.add(assigned.null_rows as usize);
                metrics.record_output(assigned.rows.num_rows());
                Some(Ok(assigned.rows))
            }))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.assigner.schema().clone(),
            batches,
        )))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
