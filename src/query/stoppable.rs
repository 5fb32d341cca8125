//! [`Stoppable`]: an optimizer rule of DataFusion that does not begin once nobody waits for its plan.
//!
//! Rules of the logical optimizer ask node by node, so that one pass over a large plan ends midway, too.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{JoinType, NullEquality, Result, internal_err};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::optimizer::{ApplyOrder, Optimizer};
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_optimizer::{PhysicalOptimizerContext, PhysicalOptimizerRule};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};

use super::absent::Absent;
use super::grouping::GroupedKeys;
use super::offset::SkippedRows;
use super::order::Orders;
use crate::sql::functions::fail;
use crate::sql::plan::push_down::PushDown;
use crate::stop;

#[derive(Debug)]
struct Stoppable<R: ?Sized>(Arc<R>);

pub fn logical_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let rules = Optimizer::new().rules.into_iter();
    let ours = |rule: Arc<dyn OptimizerRule + Send + Sync>| match rule.name() {
        "push_down_filter" => Arc::new(PushDown::default()) as Arc<dyn OptimizerRule + Send + Sync>,
        _ => rule,
    };
    let last = std::iter::once(Arc::new(Absent) as Arc<dyn OptimizerRule + Send + Sync>);
    let rules = rules.map(ours).chain(last);
    rules.map(|rule| Arc::new(Stoppable(rule)) as _).collect()
}

pub fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let rules = PhysicalOptimizer::new().rules.into_iter();
    let ours =
        |rule: Arc<dyn PhysicalOptimizerRule + Send + Sync>| -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
            match rule.name() {
                "EnsureRequirements" => vec![Arc::new(GroupedKeys) as _, Arc::new(SkippedRows) as _, rule],
                "SanityCheckPlan" => vec![Arc::new(Orders) as _],
                _ => vec![rule],
            }
        };
    rules
        .flat_map(ours)
        .map(|rule| Arc::new(Stoppable(rule)) as _)
        .collect()
}

impl OptimizerRule for Stoppable<dyn OptimizerRule + Send + Sync> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        stop::check().map_err(fail)?;
        // The rule takes the sum of sums to be of the same type, which ours is not.
        if self.0.name() == "single_distinct_aggregation_to_group_by"
            && let LogicalPlan::Aggregate(aggregate) = &plan
            && !aggregate.aggr_expr.iter().all(is_distinct)
        {
            return Ok(Transformed::no(plan));
        }
        // These rules make keys of all equalities of a join's condition: if NULLs are equal in the join, also of
        // equalities that do not take NULLs for equal.
        if matches!(self.0.name(), "extract_equijoin_predicate" | "eliminate_cross_join")
            && takes_nulls_for_equal(&plan)
        {
            return Ok(Transformed::no(plan));
        }
        self.0.rewrite(plan, config)
    }
}

/// Whether one of the joins that a plan begins with takes NULLs for equal.
fn takes_nulls_for_equal(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Filter(filter) => takes_nulls_for_equal(&filter.input),
        LogicalPlan::Join(join) => {
            join.null_equality == NullEquality::NullEqualsNull
                || (join.join_type == JoinType::Inner
                    && (takes_nulls_for_equal(&join.left) || takes_nulls_for_equal(&join.right)))
        }
        _ => false,
    }
}

/// Whether the rule would move a condition by the name of a column that two columns below have: it knows them by name.
fn is_misled(rule: &str, plan: &Arc<dyn ExecutionPlan>) -> bool {
    rule.starts_with("FilterPushdown") && moves_ambiguously(plan)
}

fn moves_ambiguously(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let mut names = Vec::new();
    let mut name = |expr: &Arc<dyn PhysicalExpr>| {
        names.extend(collect_columns(expr).iter().map(|column| column.name().to_string()));
    };
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        name(filter.predicate());
    } else if let Some(sort) = plan.downcast_ref::<SortExec>() {
        sort.expr().iter().for_each(|key| name(&key.expr));
    } else if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        for (left, right) in join.on() {
            name(left);
            name(right);
        }
    }
    let children = plan.children();
    !names.is_empty() && children.iter().any(|child| has_twice(child, &names))
        || children.iter().any(|child| moves_ambiguously(child))
}

/// Whether a plan or a part of it has two columns of one of the names.
fn has_twice(plan: &Arc<dyn ExecutionPlan>, names: &[String]) -> bool {
    let schema = plan.schema();
    let twice = |name: &String| {
        schema
            .fields()
            .iter()
            .filter(|field| field.name() == name)
            .nth(1)
            .is_some()
    };
    names.iter().any(twice) || plan.children().iter().any(|child| has_twice(child, names))
}

/// The plan, if its columns have the types that they had.
fn as_before(before: &SchemaRef, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let after = plan.schema();
    let (before_fields, after_fields) = (before.fields(), after.fields());
    let mut pairs = before_fields.iter().zip(after_fields);
    let is_same =
        before_fields.len() == after_fields.len() && pairs.all(|(l, r)| l.data_type().equals_datatype(r.data_type()));
    match is_same {
        true => Ok(plan),
        false => internal_err!("columns changed while planning: {before:?} to {after:?}"),
    }
}

fn is_distinct(call: &Expr) -> bool {
    match call {
        Expr::AggregateFunction(call) => call.params.distinct,
        Expr::Alias(alias) => is_distinct(&alias.expr),
        _ => false,
    }
}

impl Stoppable<dyn PhysicalOptimizerRule + Send + Sync> {
    fn guarded(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        run: impl FnOnce(Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        stop::check().map_err(fail)?;
        if is_misled(self.0.name(), &plan) {
            return Ok(plan);
        }
        let before = plan.schema();
        as_before(&before, run(plan)?)
    }
}

impl PhysicalOptimizerRule for Stoppable<dyn PhysicalOptimizerRule + Send + Sync> {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        self.guarded(plan, |plan| self.0.optimize(plan, config))
    }

    fn optimize_with_context(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        context: &dyn PhysicalOptimizerContext,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.guarded(plan, |plan| self.0.optimize_with_context(plan, context))
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    /// The metadata of a field beside its Arrow type goes with an alias, which rules leave out; the readers of the rows
    /// know their types. Arrow's are compared here.
    fn schema_check(&self) -> bool {
        false
    }
}
