//! [`GroupedKeys`]: what holds for the columns below GROUPING SETS does not hold for the keys above.
//!
//! One rule: a key is NULL in the sets that leave it out, so it is neither constant nor sorted nor equal to another key,
//! whatever its column is below. The engine keeps those properties for the keys: it drops sort keys, and an aggregate above
//! ends its groups too early. [`UnrelatedKeys`] stands between and says nothing of them.

use std::fmt;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PhysicalExpr, PlanProperties,
};

/// Stands before the rule that places sorts.
#[derive(Debug)]
pub struct GroupedKeys;

impl PhysicalOptimizerRule for GroupedKeys {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let hidden = plan.transform_up(|node| {
            let is_of_sets = node
                .downcast_ref::<AggregateExec>()
                .is_some_and(|aggregate| aggregate.group_expr().has_grouping_set());
            let is_known = !node.equivalence_properties().eq_group().is_empty() || node.output_ordering().is_some();
            match is_of_sets && is_known {
                true => Ok(Transformed::yes(Arc::new(UnrelatedKeys::new(node)) as _)),
                false => Ok(Transformed::no(node)),
            }
        })?;
        Ok(hidden.data)
    }

    fn name(&self) -> &str {
        "GroupedKeys"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The rows of an aggregate as they are.
#[derive(Debug)]
struct UnrelatedKeys {
    rows: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl UnrelatedKeys {
    fn new(rows: Arc<dyn ExecutionPlan>) -> UnrelatedKeys {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(rows.schema()),
            rows.output_partitioning().clone(),
            rows.pipeline_behavior(),
            rows.boundedness(),
        );
        UnrelatedKeys {
            rows,
            properties: Arc::new(properties),
        }
    }
}

impl DisplayAs for UnrelatedKeys {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "UnrelatedKeys")
    }
}

impl ExecutionPlan for UnrelatedKeys {
    fn name(&self) -> &str {
        "UnrelatedKeys"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.rows]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(UnrelatedKeys::new(children.remove(0))))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.rows.execute(partition, context)
    }
}
