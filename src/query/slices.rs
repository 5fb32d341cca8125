//! [`Sliced`]: a projection that makes large values, row by row if it must; and the optimizer rule that puts it in.
//!
//! One rule: its batches have about [`SLICE_BYTES`], or one row, so that they fit Arrow's offsets
//! and memory. Projections that cannot grow their input stay the engine's.

use std::fmt;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::{StreamExt, stream};

use crate::sql::functions::fail;
use crate::sql::functions::growth::{
    BatchSlices, SLICE_BYTES, engine_says_too_large, hold, is_bounded, scalar_bytes, too_large_together,
};

/// Literals of fewer bytes make no batch too large.
const LITERAL_BYTES_MIN: u64 = 1 << 10;

#[derive(Debug)]
pub struct SliceProjections;

impl PhysicalOptimizerRule for SliceProjections {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let optimized = plan.transform_up(|node| {
            if let Some(spread) = spread_below(&node)? {
                return Ok(Transformed::yes(spread));
            }
            let Some(projection) = node.downcast_ref::<ProjectionExec>() else {
                return Ok(Transformed::no(node));
            };
            let mut literal_bytes = 0;
            let mut grows = false;
            for column in projection.expr() {
                let (column_grows, bytes) = growth(&column.expr)?;
                grows |= column_grows;
                literal_bytes += bytes;
            }
            if !grows && literal_bytes < LITERAL_BYTES_MIN {
                return Ok(Transformed::no(node));
            }
            let step = (SLICE_BYTES / literal_bytes.max(1)).max(1);
            Ok(Transformed::yes(Arc::new(Sliced {
                projection: projection.clone(),
                step: usize::try_from(step).unwrap_or(usize::MAX),
                metrics: ExecutionPlanMetricsSet::new(),
            }) as Arc<dyn ExecutionPlan>))
        })?;
        Ok(optimized.data)
    }

    fn name(&self) -> &str {
        "slice_projections"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// A round robin over large values, put below the projection that makes them. Its channels hold any number of batches while
/// one consumer waits for a core: those batches must be small.
fn spread_below(node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(spread) = node.downcast_ref::<RepartitionExec>() else {
        return Ok(None);
    };
    let Partitioning::RoundRobinBatch(_) = spread.partitioning() else {
        return Ok(None);
    };
    let Some(sliced) = spread.input().downcast_ref::<Sliced>() else {
        return Ok(None);
    };
    if spread.preserve_order() {
        return Ok(None);
    }
    let input = sliced.projection.input().clone();
    let input = Arc::new(RepartitionExec::try_new(input, spread.partitioning().clone())?);
    sliced.over(input).map(Some)
}

/// Whether an expression calls functions that can grow their input, and the bytes of its large literals.
fn growth(expr: &Arc<dyn PhysicalExpr>) -> Result<(bool, u64)> {
    let (mut grows, mut bytes) = (false, 0);
    expr.apply(|node| {
        if let Some(call) = node.downcast_ref::<ScalarFunctionExpr>() {
            grows |= is_bounded(call.fun())
                && matches!(
                    call.return_type(),
                    DataType::Utf8 | DataType::Binary | DataType::List(_)
                );
        }
        if let Some(literal) = node.downcast_ref::<Literal>() {
            bytes += scalar_bytes(literal.value());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok((grows, bytes))
}

/// A projection whose batches are computed in parts.
#[derive(Debug)]
pub struct Sliced {
    projection: ProjectionExec,
    /// Rows of a part, at most.
    step: usize,
    metrics: ExecutionPlanMetricsSet,
}

impl Sliced {
    /// The same projection of another input.
    fn over(&self, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Sliced {
            projection: ProjectionExec::try_new(self.projection.expr().to_vec(), input)?,
            step: self.step,
            metrics: ExecutionPlanMetricsSet::new(),
        }))
    }
}

impl DisplayAs for Sliced {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        self.projection.fmt_as(format, f)
    }
}

impl ExecutionPlan for Sliced {
    fn name(&self) -> &str {
        self.projection.name()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.projection.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        self.projection.maintains_input_order()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.projection.children()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.projection.apply_expressions(f)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.over(children.into_iter().next().expect("a projection has one input"))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.projection.input().execute(partition, context)?;
        let schema = self.projection.schema();
        let columns: Arc<[Arc<dyn PhysicalExpr>]> = self
            .projection
            .expr()
            .iter()
            .map(|column| column.expr.clone())
            .collect();
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let step = self.step;
        let parts = {
            let schema = schema.clone();
            input.flat_map(move |batch| match batch {
                Err(error) => stream::iter(vec![Err(error)]).boxed(),
                Ok(batch) => {
                    let state = SlicedBatch {
                        slices: BatchSlices::new(batch.num_rows(), step),
                        batch,
                        columns: columns.clone(),
                        schema: schema.clone(),
                        metrics: metrics.clone(),
                    };
                    stream::unfold(state, |mut state| async move {
                        let part = state.next()?;
                        Some((part, state))
                    })
                    .boxed()
                }
            })
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, parts)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// A batch with parts that are still to be computed.
struct SlicedBatch {
    batch: RecordBatch,
    slices: BatchSlices,
    columns: Arc<[Arc<dyn PhysicalExpr>]>,
    schema: SchemaRef,
    metrics: BaselineMetrics,
}

impl SlicedBatch {
    fn next(&mut self) -> Option<Result<RecordBatch>> {
        let _timer = self.metrics.elapsed_compute().timer();
        let (batch, columns, schema) = (&self.batch, &self.columns, &self.schema);
        let compute = |start, rows| project(&batch.slice(start, rows), columns, schema);
        let part = self.slices.next(compute, engine_says_too_large);
        if let Some(Ok(part)) = &part {
            self.metrics.record_output(part.num_rows());
        }
        part
    }
}

fn project(batch: &RecordBatch, columns: &[Arc<dyn PhysicalExpr>], schema: &SchemaRef) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let values = columns.iter().map(|column| {
        let value = column.evaluate(batch)?;
        let ColumnarValue::Scalar(scalar) = &value else {
            return value.into_array(rows);
        };
        let bytes = scalar_bytes(scalar).saturating_mul(rows as u64);
        if bytes > SLICE_BYTES && rows > 1 {
            return Err(fail(too_large_together("the plan")));
        }
        match hold(bytes)? {
            None => value.into_array(rows),
            Some(claim) => claim.follow(value.into_array(rows)?),
        }
    });
    let values = values.collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema.clone(), values, &options)?)
}

#[cfg(test)]
mod tests {
    use datafusion::common::ScalarValue;
    use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;

    use super::*;

    #[test]
    fn large_values_are_made_above_a_round_robin() {
        let row = Arc::new(PlaceholderRowExec::new(Arc::new(arrow::datatypes::Schema::empty())));
        let text: Arc<dyn PhysicalExpr> = Arc::new(Literal::new(ScalarValue::Utf8(Some("x".repeat(100_000)))));
        let projection = ProjectionExec::try_new(vec![(text, "t".to_string())], row).expect("a projection");
        let spread = RepartitionExec::try_new(Arc::new(projection), Partitioning::RoundRobinBatch(2));
        let spread = Arc::new(spread.expect("a round robin"));
        let plan = SliceProjections.optimize(spread, &ConfigOptions::default());
        let plan = plan.expect("a plan");
        let sliced = plan.downcast_ref::<Sliced>().expect("the projection is on top");
        assert_eq!(plan.properties().output_partitioning().partition_count(), 2);
        assert!(sliced.projection.input().is::<RepartitionExec>());
    }
}
