//! INTERSECT and EXCEPT as SQL counts them: the engine plans them as semi and anti joins, which keep or drop all
//! duplicates of a row at once.
//!
//! 1. With ALL, the duplicates of a row are numbered on both sides, and the number is one more column to join on: the
//!    n-th copy on the left meets the n-th copy on the right.
//! 2. Columns of different numeric types come out in the type that holds both.
//!
//! One rule: only a join that the planner made of a set operation is touched, and each only once.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{Column, JoinType, NullEquality, Result};
use datafusion::logical_expr::expr::{Cast, WindowFunction};
use datafusion::logical_expr::type_coercion::binary::type_union_coercion;
use datafusion::logical_expr::{
    Distinct, Expr, ExprFunctionExt, Join, LogicalPlan, LogicalPlanBuilder, WindowFunctionDefinition,
};

use crate::sql::functions::functions;

/// Names of the columns that number duplicates; no user can write them.
const LEFT_COPY: &str = "\u{1}left copy";
const RIGHT_COPY: &str = "\u{1}right copy";

/// Rewrites every INTERSECT and EXCEPT of a plan.
pub fn rewrite(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found |= matches!(node, LogicalPlan::Join(join) if is_set_operation(join));
        Ok(if found {
            TreeNodeRecursion::Stop
        } else {
            TreeNodeRecursion::Continue
        })
    })?;
    if !found {
        return Ok(plan);
    }
    let rewritten = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) if is_set_operation(&join) => Ok(Transformed::yes(rewrite_join(join)?)),
        // A column below may have another type now.
        node => Ok(Transformed::yes(node.recompute_schema()?)),
    })?;
    Ok(rewritten.data)
}

fn is_set_operation(join: &Join) -> bool {
    let numbered = |(left, _): &(Expr, Expr)| matches!(left, Expr::Column(column) if column.name == LEFT_COPY);
    matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
        && join.filter.is_none()
        && !join.on.iter().any(numbered)
}

fn rewrite_join(join: Join) -> Result<LogicalPlan> {
    let types: Vec<Option<DataType>> = {
        let (left, right) = (join.left.schema().fields(), join.right.schema().fields());
        left.iter()
            .zip(right)
            .map(|(left, right)| common_number(left.data_type(), right.data_type()))
            .collect()
    };
    let right = typed(Arc::unwrap_or_clone(join.right), &types)?;
    let left = match Arc::unwrap_or_clone(join.left) {
        // Each row is there once: how often it is on the right does not matter.
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let left = LogicalPlan::Distinct(Distinct::All(Arc::new(typed(Arc::unwrap_or_clone(input), &types)?)));
            return LogicalPlan::Join(Join {
                left: Arc::new(left),
                right: Arc::new(right),
                ..join
            })
            .recompute_schema();
        }
        left => typed(left, &types)?,
    };
    let columns = left.schema().columns();
    let mut on = join.on;
    on.push((
        Expr::Column(Column::from_name(LEFT_COPY)),
        Expr::Column(Column::from_name(RIGHT_COPY)),
    ));
    let joined = LogicalPlan::Join(Join {
        left: Arc::new(numbered(left, LEFT_COPY)?),
        right: Arc::new(numbered(right, RIGHT_COPY)?),
        on,
        ..join
    })
    .recompute_schema()?;
    LogicalPlanBuilder::from(joined)
        .project(columns.into_iter().map(Expr::Column))?
        .build()
}

/// The type that holds the numbers of two different types.
fn common_number(left: &DataType, right: &DataType) -> Option<DataType> {
    if left == right || !left.is_numeric() || !right.is_numeric() {
        return None;
    }
    type_union_coercion(left, right)
}

/// The plan with its columns cast to the given types, under their names.
fn typed(plan: LogicalPlan, types: &[Option<DataType>]) -> Result<LogicalPlan> {
    let schema = plan.schema().clone();
    let changes = |index: usize| {
        types[index]
            .as_ref()
            .filter(|to| *to != schema.field(index).data_type())
    };
    if (0..types.len()).all(|index| changes(index).is_none()) {
        return Ok(plan);
    }
    let exprs = schema.iter().enumerate().map(|(index, (qualifier, field))| {
        let column = Expr::Column(Column::from((qualifier, field)));
        match changes(index) {
            Some(to) => Expr::Cast(Cast {
                expr: Box::new(column),
                field: Arc::new(Field::new("", to.clone(), true)),
            })
            .alias_qualified(qualifier.cloned(), field.name()),
            None => column,
        }
    });
    LogicalPlanBuilder::from(plan)
        .project(exprs.collect::<Vec<_>>())?
        .build()
}

/// The plan's columns, and one that counts the copies of each row from 1.
fn numbered(plan: LogicalPlan, name: &str) -> Result<LogicalPlan> {
    let mut columns: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
    let row_number = functions()
        .window
        .get("row_number")
        .expect("row_number is a default window function");
    let number = Expr::from(WindowFunction::new(
        WindowFunctionDefinition::WindowUDF(row_number.clone()),
        vec![],
    ))
    .partition_by(columns.clone())
    .build()?;
    let windowed = LogicalPlanBuilder::from(plan).window(vec![number])?.build()?;
    let last = windowed.schema().fields().len() - 1;
    let number = Column::from(windowed.schema().qualified_field(last));
    columns.push(Expr::Column(number).alias(name));
    LogicalPlanBuilder::from(windowed).project(columns)?.build()
}
