//! [`SkippedRows`]: the rows that OFFSET skips are the first ones of the order below it.
//!
//! One rule: a limit that only skips rows takes its input in the order that it has when the plan is made, and no sort moves
//! through it. The engine knows that of limits with a number of rows alone.

use std::fmt;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{LexRequirement, OrderingRequirements};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, InputDistributionRequirements, PhysicalExpr,
    PlanProperties,
};

use super::kept::RECOMPUTE;

/// Stands before the rule that places sorts.
#[derive(Debug)]
pub struct SkippedRows;

impl PhysicalOptimizerRule for SkippedRows {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let ordered = plan.transform_up(|node| {
            let skip = match node.downcast_ref::<GlobalLimitExec>() {
                Some(limit) if limit.fetch().is_none() => limit.skip(),
                _ => return Ok(Transformed::no(node)),
            };
            let input = node.children()[0];
            let rows = match in_order(skip, input)? {
                Some(rows) => rows,
                None => Arc::new(Skip::new(skip, input.clone(), None)),
            };
            Ok(Transformed::yes(rows))
        })?;
        Ok(ordered.data)
    }

    fn name(&self) -> &str {
        "SkippedRows"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The rows of `input` after the first ones of its order, if it has one. A projection, which may leave out what the rows
/// are sorted by, goes above.
fn in_order(skip: usize, input: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(projection) = input.downcast_ref::<ProjectionExec>() {
        let rows = in_order(skip, projection.input())?;
        let above = rows.map(|rows| input.clone().replace_children(vec![rows], RECOMPUTE));
        return above.transpose();
    }
    let order = input
        .output_ordering()
        .map(|ordering| OrderingRequirements::new(LexRequirement::from(ordering.clone())));
    Ok(order.map(|order| Arc::new(Skip::new(skip, input.clone(), Some(order))) as _))
}

/// The rows after the first ones.
#[derive(Debug)]
struct Skip {
    limit: GlobalLimitExec,
    /// Of the rows as they come in.
    order: Option<OrderingRequirements>,
}

impl Skip {
    fn new(skip: usize, rows: Arc<dyn ExecutionPlan>, order: Option<OrderingRequirements>) -> Skip {
        Skip {
            limit: GlobalLimitExec::new(rows, skip, None),
            order,
        }
    }
}

impl DisplayAs for Skip {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        self.limit.fmt_as(format, f)
    }
}

impl ExecutionPlan for Skip {
    fn name(&self) -> &str {
        self.limit.name()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.limit.properties()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        self.limit.input_distribution_requirements()
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![self.order.clone()]
    }

    /// It does, but to say so would let sorts through.
    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.limit.children()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.limit.apply_expressions(f)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = children.remove(0);
        Ok(Arc::new(Skip::new(self.limit.skip(), rows, self.order.clone())))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.limit.execute(partition, context)
    }
}
