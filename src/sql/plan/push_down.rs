//! The engine's rule that moves conditions towards the rows, without a fault of it: it moves a condition that names no
//! column below an aggregate of all rows, which has a row even where there are none to aggregate. And the same for ASOF JOIN,
//! which the engine does not know.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Filter, LogicalPlan};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use crate::sql::asof::AsofJoin;

/// One rule: a condition over an aggregate of all rows stays above it; one over the left side of an ASOF JOIN goes there; others go
/// where the engine moves them.
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
        if aggregates_all(&plan) {
            return Ok(Transformed::no(plan));
        }
        match &plan {
            LogicalPlan::Filter(filter) if AsofJoin::of(&filter.input).is_some() => to_the_left(filter.clone()),
            _ => self.engines.rewrite(plan, config),
        }
    }
}

/// A condition over an ASOF JOIN: each row of its left side has an answer of its own.
fn to_the_left(filter: Filter) -> Result<Transformed<LogicalPlan>> {
    let Some(join) = AsofJoin::of(&filter.input) else {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    };
    let schema = join.left.schema();
    let is_left = |part: &Expr| {
        let columns = part.column_refs();
        !columns.is_empty() && !part.is_volatile() && columns.iter().all(|column| schema.has_column(column))
    };
    let parts = split_conjunction_owned(filter.predicate.clone());
    let (left, rest): (Vec<Expr>, Vec<Expr>) = parts.into_iter().partition(is_left);
    let Some(left) = conjunction(left) else {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    };
    let left = LogicalPlan::Filter(Filter::try_new(left, Arc::new(join.left.clone()))?);
    let joined = AsofJoin::new(left, join.right.clone(), join.condition.clone(), join.keeps_left)?.into_plan();
    Ok(Transformed::yes(match conjunction(rest) {
        Some(rest) => LogicalPlan::Filter(Filter::try_new(rest, Arc::new(joined))?),
        None => joined,
    }))
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
