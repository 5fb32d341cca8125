//! [`Conjunction`]: an optimizer rule that has the conditions of a filter asked in turn.
//!
//! One rule: a condition that may fail, such as `6 / n = 3`, is asked only of rows that satisfy those written before it,
//! such as `n <> 0`. DataFusion asks all of them of all rows of a batch, unless few are left.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::{conjunction, split_conjunction};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};

use super::filter::never_fails;

#[derive(Debug)]
pub struct Conjunction;

/// The conditions in order, a new group before each one that may fail.
fn groups(filter: &FilterExec) -> Vec<Vec<Arc<dyn PhysicalExpr>>> {
    let mut groups: Vec<Vec<Arc<dyn PhysicalExpr>>> = Vec::new();
    for condition in split_conjunction(filter.predicate()) {
        match groups.last_mut() {
            Some(group) if never_fails(condition) => group.push(Arc::clone(condition)),
            _ => groups.push(vec![Arc::clone(condition)]),
        }
    }
    groups
}

impl PhysicalOptimizerRule for Conjunction {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let optimized = plan.transform_up(|node| {
            let Some(filter) = node.downcast_ref::<FilterExec>() else {
                return Ok(Transformed::no(node));
            };
            let mut groups = groups(filter);
            let Some(last) = groups.pop().filter(|_| !groups.is_empty()) else {
                return Ok(Transformed::no(node));
            };
            let mut input = Arc::clone(filter.input());
            for group in groups {
                let asked = FilterExecBuilder::new(conjunction(group), input)
                    .with_default_selectivity(filter.default_selectivity())
                    .with_batch_size(filter.batch_size());
                input = Arc::new(asked.build()?);
            }
            let asked = FilterExecBuilder::from(filter)
                .with_input(input)
                .with_predicate(conjunction(last));
            Ok(Transformed::yes(Arc::new(asked.build()?) as Arc<dyn ExecutionPlan>))
        })?;
        Ok(optimized.data)
    }

    fn name(&self) -> &str {
        "conjunction"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
