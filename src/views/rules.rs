//! The logical rewrites that a view's plan goes through before it is compiled: our own list, pinned.
//!
//! One rule: a rewrite may not change the rows of any prefix of the log. So now() is not folded to the time of
//! creation, and no limit is pushed down. Additions to DataFusion's default list do not come in by themselves; a golden
//! test holds the list and its effect. Columns that nobody needs are dropped by `compile.rs`.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::eliminate_duplicated_expr::EliminateDuplicatedExpr;
use datafusion::optimizer::eliminate_filter::EliminateFilter;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion::optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{Optimizer, OptimizerContext, OptimizerRule};

use crate::error::SqlError;
use crate::sql::functions::growth::{Mode, with_mode};
use crate::sql::plan::push_down::PushDown;

/// Passes over the whole list: the rules reach their fixed point in two, as DataFusion's default of three allows for.
const PASSES_MAX: u8 = 3;

fn rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    vec![
        Arc::new(SimplifyExpressions::new()),
        Arc::new(ReplaceDistinctWithAggregate::new()),
        Arc::new(EliminateDuplicatedExpr::new()),
        Arc::new(EliminateFilter::new()),
        Arc::new(DecorrelatePredicateSubquery::new()),
        Arc::new(ScalarSubqueryToJoin::new()),
        Arc::new(EliminateCrossJoin::new()),
        Arc::new(PushDown::default()),
        Arc::new(ExtractEquijoinPredicate::new()),
    ]
}

/// Rewrites an analyzed plan.
pub fn rewrite(plan: LogicalPlan, options: Arc<ConfigOptions>) -> Result<LogicalPlan, SqlError> {
    let context = OptimizerContext::new_with_config_options(options)
        .without_query_execution_start_time()
        .with_skip_failing_rules(false)
        .with_max_passes(PASSES_MAX);
    // Large constants are left to the run, as everywhere.
    let optimizer = Optimizer::with_rules(rules());
    Ok(with_mode(Mode::Folded, || {
        optimizer.optimize(plan, &context, |_, _| {})
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_pinned() {
        let names: Vec<String> = rules().iter().map(|rule| rule.name().to_string()).collect();
        assert_eq!(
            names,
            [
                "simplify_expressions",
                "replace_distinct_aggregate",
                "eliminate_duplicated_expr",
                "eliminate_filter",
                "decorrelate_predicate_subquery",
                "scalar_subquery_to_join",
                "eliminate_cross_join",
                "push_down_filter",
                "extract_equijoin_predicate",
            ]
        );
    }
}
