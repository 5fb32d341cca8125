//! The engine's rule that moves conditions towards the rows, without a fault of it: it moves a condition that names no
//! column below an aggregate of all rows, which has a row even where there are none to aggregate.

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// One rule: a condition over an aggregate of all rows stays above it; others go where the engine moves them.
#[derive(Debug, Default)]
pub struct PushDown {
    engines: PushDownFilter,
}

impl OptimizerRule for PushDown {
    fn name(&self) -> &str {
        self.engines.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.engines.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        match aggregates_all(&plan) {
            true => Ok(Transformed::no(plan)),
            false => self.engines.rewrite(plan, config),
        }
    }
}

/// Whether a plan is a condition over an aggregate that has a group of all rows.
fn aggregates_all(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Filter(filter) = plan else {
        return false;
    };
    match filter.input.as_ref() {
        LogicalPlan::Aggregate(aggregate) => {
            aggregate.group_expr.is_empty() || matches!(aggregate.group_expr.as_slice(), [Expr::GroupingSet(_)])
        }
        _ => false,
    }
}
