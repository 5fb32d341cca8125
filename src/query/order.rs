//! [`Orders`]: a plan that lost an order on the way gets it back.
//!
//! One rule: an input that an operator needs sorted is sorted by the same expressions. The engine moves sorts about,
//! and its last check does not recognize every order: a column that is constant in one branch of a union, a comparison
//! of keys. The engine gives up there; this rule sorts the rows.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::{LexOrdering, LexRequirement};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::sanity_checker::check_plan_sanity;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::kept::RECOMPUTE;

/// Stands in the place of the engine's last check.
#[derive(Debug)]
pub struct Orders;

impl PhysicalOptimizerRule for Orders {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let ordered = plan.transform_up(|node| {
            let mut is_unknown = false;
            let mut children = Vec::with_capacity(node.children().len());
            for (child, required) in node.children().into_iter().zip(node.required_input_ordering()) {
                let mut child = child.clone();
                if let Some(required) = required.map(|required| required.into_single())
                    && !child
                        .equivalence_properties()
                        .ordering_satisfy_requirement(required.clone())?
                {
                    is_unknown = true;
                    child = sorted(child, required);
                }
                children.push(child);
            }
            if is_unknown {
                return Ok(Transformed::yes(node.replace_children(children, RECOMPUTE)?));
            }
            check_plan_sanity(&node, &config.optimizer)?;
            Ok(Transformed::no(node))
        })?;
        Ok(ordered.data)
    }

    fn name(&self) -> &str {
        "Orders"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The rows in the order that is required.
fn sorted(input: Arc<dyn ExecutionPlan>, required: LexRequirement) -> Arc<dyn ExecutionPlan> {
    let ordering = LexOrdering::from(required);
    if let Some(sort) = input.downcast_ref::<SortExec>()
        && sort.expr().len() >= ordering.len()
        && sort.expr().iter().zip(&ordering).all(|(known, wanted)| known == wanted)
    {
        return input;
    }
    let is_spread = input.output_partitioning().partition_count() > 1;
    Arc::new(SortExec::new(ordering, input).with_preserve_partitioning(is_spread))
}
