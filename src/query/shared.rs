//! [`SharedExec`]: a query that runs once for all places of a plan that read it.
//!
//! One rule: its rows are kept while the plan runs, and count against the memory of queries.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, execute_stream};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::OnceCell;

use super::engine::Physical;
use crate::sql::functions::growth::bytes_between;

/// The rows of one query, once they are computed.
#[derive(Debug, Default)]
pub struct State {
    rows: OnceCell<KeptBatches>,
}

#[derive(Debug)]
struct KeptBatches {
    batches: Vec<RecordBatch>,
    _memory: MemoryReservation,
}

impl State {
    async fn rows(&self, input: Physical, context: Arc<TaskContext>) -> Result<&KeptBatches> {
        let run = || async {
            let memory = MemoryConsumer::new("cte").register(context.memory_pool());
            let mut batches = Vec::new();
            let mut rows = execute_stream(input, context.clone())?;
            while let Some(batch) = rows.next().await {
                let batch = batch?;
                let columns = batch.columns().iter();
                let bytes: u64 = columns.map(|column| bytes_between(column, 0, column.len())).sum();
                memory.try_grow(usize::try_from(bytes).unwrap_or(usize::MAX))?;
                batches.push(batch);
            }
            Ok(KeptBatches {
                batches,
                _memory: memory,
            })
        };
        self.rows.get_or_try_init(run).await
    }
}

#[derive(Debug)]
pub struct SharedExec {
    name: String,
    input: Physical,
    state: Arc<State>,
    properties: Arc<PlanProperties>,
}

impl SharedExec {
    pub fn new(name: String, input: Physical, state: Arc<State>) -> SharedExec {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        SharedExec {
            name,
            input,
            state,
            properties: Arc::new(properties),
        }
    }
}

impl DisplayAs for SharedExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "CTE: {}", self.name)
    }
}

impl ExecutionPlan for SharedExec {
    fn name(&self) -> &str {
        "CTE"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Physical> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Physical>) -> Result<Physical> {
        let input = children.into_iter().next().expect("it has one input");
        Ok(Arc::new(SharedExec::new(self.name.clone(), input, self.state.clone())))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        assert_eq!(partition, 0, "it has one partition");
        let (state, input) = (self.state.clone(), self.input.clone());
        let rows = stream::once(async move {
            let kept = state.rows(input, context).await?;
            Ok::<_, datafusion::common::DataFusionError>(stream::iter(kept.batches.clone().into_iter().map(Ok)))
        });
        let rows = rows.try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}
