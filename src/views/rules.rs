//! The logical rewrites that a view's plan goes through before it is compiled: our own list, pinned.
//!
//! One rule: a rewrite may not change the rows of any prefix of the log. So now() is not folded to the time of
//! creation, and no limit is pushed down. Additions to DataFusion's default list do not come in by themselves; a golden
//! test holds the list and its effect. Columns that nobody needs are dropped by `compile.rs`, which also makes equalities of
//! a join's condition its keys.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType, NullEquality, Result};
use datafusion::logical_expr::expr::{WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, Filter, Join, LogicalPlan, Projection, SortExpr, Window, WindowFrame,
    WindowFunctionDefinition, lit,
};
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::eliminate_duplicated_expr::EliminateDuplicatedExpr;
use datafusion::optimizer::eliminate_filter::EliminateFilter;
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion::optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{Optimizer, OptimizerConfig, OptimizerContext, OptimizerRule};

use crate::error::SqlError;
use crate::sql::functions::functions;
use crate::sql::functions::growth::{Mode, with_mode};
use crate::sql::plan::push_down::PushDown;

/// Passes over the whole list: the rules reach their fixed point in two, as DataFusion's default of three allows for.
const PASSES_MAX: u8 = 3;

fn rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    vec![
        Arc::new(FirstOfEach),
        Arc::new(SimplifyExpressions::new()),
        Arc::new(ReplaceDistinctWithAggregate::new()),
        Arc::new(EliminateDuplicatedExpr::new()),
        Arc::new(EliminateFilter::new()),
        Arc::new(DecorrelatePredicateSubquery::new()),
        Arc::new(ValuesBelowAggregates),
        Arc::new(ScalarSubqueryToJoin::new()),
        Arc::new(CrossJoins::default()),
        Arc::new(PushDown::default()),
    ]
}

/// The engine's rule that orders the items of FROM by their equal columns, without a fault of it: it takes equalities of a
/// condition for keys of joins whose keys take NULLs for equal.
#[derive(Debug, Default)]
struct CrossJoins {
    engines: EliminateCrossJoin,
}

impl OptimizerRule for CrossJoins {
    fn name(&self) -> &str {
        self.engines.name()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let takes_nulls_for_equal = |node: &LogicalPlan| {
            let is_inner = |join: &Join| join.join_type == JoinType::Inner;
            Ok(
                matches!(node, LogicalPlan::Join(join) if is_inner(join) && join.null_equality == NullEquality::NullEqualsNull),
            )
        };
        match plan.exists(takes_nulls_for_equal)? {
            true => Ok(Transformed::no(plan)),
            false => self.engines.rewrite(plan, config),
        }
    }
}

/// DISTINCT ON as the first row of each partition. (The engine's rule, which makes aggregates of it, looks up functions that
/// views have no registry for.)
#[derive(Debug)]
struct FirstOfEach;

impl OptimizerRule for FirstOfEach {
    fn name(&self) -> &str {
        "first_of_each"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Distinct(Distinct::On(on)) = plan else {
            return Ok(Transformed::no(plan));
        };
        let order = on.sort_expr.into_iter().flatten();
        let order_by: Vec<SortExpr> = order.filter(|sort| !on.on_expr.contains(&sort.expr)).collect();
        let call = Expr::WindowFunction(Box::new(WindowFunction {
            fun: WindowFunctionDefinition::WindowUDF(functions().window["row_number"].clone()),
            params: WindowFunctionParams {
                args: vec![],
                partition_by: on.on_expr,
                window_frame: WindowFrame::new((!order_by.is_empty()).then_some(false)),
                order_by,
                filter: None,
                null_treatment: None,
                distinct: false,
            },
        }));
        let number = config.alias_generator().next("__number");
        let numbered = Window::try_new(vec![call.alias(&number)], on.input)?;
        let is_first = Expr::Column(Column::from_name(number)).lt_eq(lit(1u64));
        let first = Filter::try_new(is_first, Arc::new(LogicalPlan::Window(numbered)))?;
        let shown = Projection::try_new_with_schema(on.select_expr, Arc::new(LogicalPlan::Filter(first)), on.schema)?;
        Ok(Transformed::yes(LogicalPlan::Projection(shown)))
    }
}

/// Subqueries that are values within aggregates and their keys, as columns of a projection below: there they become joins.
#[derive(Debug)]
struct ValuesBelowAggregates;

impl OptimizerRule for ValuesBelowAggregates {
    fn name(&self) -> &str {
        "values_below_aggregates"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let is_value = |expr: &Expr| Ok(matches!(expr, Expr::ScalarSubquery(_)));
        let LogicalPlan::Aggregate(aggregate) = plan else {
            return Ok(Transformed::no(plan));
        };
        let exprs = aggregate.group_expr.iter().chain(&aggregate.aggr_expr);
        if !exprs
            .map(|expr| expr.exists(is_value))
            .collect::<Result<Vec<bool>>>()?
            .contains(&true)
        {
            return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
        }
        let mut below: Vec<Expr> = aggregate
            .input
            .schema()
            .columns()
            .into_iter()
            .map(Expr::Column)
            .collect();
        let mut replace = |expr: Expr| -> Result<Expr> {
            let named = expr.schema_name().to_string();
            let replaced = expr.transform(|inner| match inner {
                Expr::ScalarSubquery(_) => {
                    let name = config.alias_generator().next("__value");
                    below.push(inner.alias(&name));
                    Ok(Transformed::new(
                        Expr::Column(Column::from_name(name)),
                        true,
                        TreeNodeRecursion::Jump,
                    ))
                }
                other => Ok(Transformed::no(other)),
            })?;
            Ok(match replaced.transformed {
                true => replaced.data.unalias().alias(named),
                false => replaced.data,
            })
        };
        let group = aggregate
            .group_expr
            .into_iter()
            .map(&mut replace)
            .collect::<Result<_>>()?;
        let calls = aggregate
            .aggr_expr
            .into_iter()
            .map(&mut replace)
            .collect::<Result<_>>()?;
        let input = Projection::try_new(below, aggregate.input)?;
        let made = Aggregate::try_new(Arc::new(LogicalPlan::Projection(input)), group, calls)?;
        Ok(Transformed::yes(LogicalPlan::Aggregate(made)))
    }
}

/// Rewrites an analyzed plan.
pub fn rewrite(plan: LogicalPlan, options: Arc<ConfigOptions>) -> std::result::Result<LogicalPlan, SqlError> {
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
                "first_of_each",
                "simplify_expressions",
                "replace_distinct_aggregate",
                "eliminate_duplicated_expr",
                "eliminate_filter",
                "decorrelate_predicate_subquery",
                "values_below_aggregates",
                "scalar_subquery_to_join",
                "eliminate_cross_join",
                "push_down_filter",
            ]
        );
    }
}
