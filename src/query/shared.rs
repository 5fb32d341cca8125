//! [`SharedExec`]: a query that runs once for all places of a plan that read it.
//!
//! One rule: its rows are kept while the plan runs, and count against the memory of queries.

use std::fmt;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, execute_stream};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::OnceCell;

use super::Physical;
use crate::sql::functions::growth::bytes_between;
use crate::sql::shared::{SharedQuery, each_once};

/// The rows of one query, once they are computed.
#[derive(Debug, Default)]
struct SharedRows {
    rows: OnceCell<KeptBatches>,
}

#[derive(Debug)]
struct KeptBatches {
    batches: Vec<RecordBatch>,
    _memory: MemoryReservation,
}

impl SharedRows {
    async fn rows(&self, body: Physical, schema: SchemaRef, context: Arc<TaskContext>) -> Result<&KeptBatches> {
        let run = || async {
            let memory = MemoryConsumer::new("cte").register(context.memory_pool());
            let mut batches = Vec::new();
            let mut rows = execute_stream(body, context.clone())?;
            while let Some(batch) = rows.next().await {
                let batch = batch?;
                let columns = batch.columns().iter();
                let bytes: u64 = columns.map(|column| bytes_between(column, 0, column.len())).sum();
                memory.try_grow(usize::try_from(bytes).unwrap_or(usize::MAX))?;
                let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
                let columns = batch.columns().to_vec();
                batches.push(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?);
            }
            Ok(KeptBatches {
                batches,
                _memory: memory,
            })
        };
        self.rows.get_or_try_init(run).await
    }
}

#[derive(Clone, Debug)]
pub struct SharedExec {
    pub name: String,
    pub body: Physical,
    number: u64,
    state: Arc<SharedRows>,
    properties: Arc<PlanProperties>,
}

impl SharedExec {
    pub fn new(query: &SharedQuery, body: Physical) -> SharedExec {
        // The logical plan's schema: the physical one may know fewer columns that are never NULL.
        let schema = Arc::new(query.body.schema().as_arrow().clone());
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        SharedExec {
            name: query.name.clone(),
            body,
            number: query.number,
            state: Arc::default(),
            properties: Arc::new(properties),
        }
    }

    /// The shared queries that a plan reads, those that one reads before it, each once.
    pub fn all_of(plan: &Physical) -> Result<Vec<SharedExec>> {
        let read = SharedExec::read_by(plan)?;
        each_once(read, |shared| shared.number, |shared| SharedExec::read_by(&shared.body))
    }

    fn read_by(plan: &Physical) -> Result<Vec<SharedExec>> {
        let mut reads = Vec::new();
        plan.apply(|node| {
            reads.extend(node.downcast_ref::<SharedExec>().cloned());
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(reads)
    }
}

impl DisplayAs for SharedExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "CTE Scan: {}", self.name)
    }
}

impl ExecutionPlan for SharedExec {
    fn name(&self) -> &str {
        "CTE Scan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    /// None: the body is planned and optimized by itself, once.
    fn children(&self) -> Vec<&Physical> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Physical>) -> Result<Physical> {
        Ok(self)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        assert_eq!(partition, 0, "it has one partition");
        let (state, body, schema) = (self.state.clone(), self.body.clone(), self.schema());
        let rows = stream::once(async move {
            let kept = state.rows(body, schema, context).await?;
            Ok::<_, datafusion::common::DataFusionError>(stream::iter(kept.batches.clone().into_iter().map(Ok)))
        });
        let rows = rows.try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}
