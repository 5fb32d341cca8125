//! Values that are equal though their bytes differ (NUMERIC of any scale: 1.5 and 1.50; intervals: a day and 24 hours;
//! BPCHAR with any number of blanks at the end) are compared, grouped, joined and sorted by keys; so are the two zeros of floats, and arrays, where the engine sorts.
//!
//! One rule: runs when every column has its type, and changes no name of a plan. A group shows the least of its values,
//! byte by byte. Not here: how keys are made (`functions/keys.rs`).

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{
    AggregateFunction, Between, BinaryExpr, Case, GroupingSet, InList, WindowFunctionParams,
};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, ExprSchemable, LogicalPlan, Operator, Projection, ScalarUDF, when,
};

use crate::sql::asof::{AsofCondition, AsofJoin};
use crate::sql::functions::operator::ArithmeticOperator;
use crate::sql::functions::{KeyKind, arithmetic, functions};
use crate::types::PgType;

/// The function that makes keys of a column's values, if they need any.
fn function(field: &Field) -> Option<Arc<ScalarUDF>> {
    match field.data_type() {
        DataType::LargeBinary => Some(KeyKind::Numeric.function()),
        DataType::Interval(IntervalUnit::MonthDayNano) => Some(KeyKind::Interval.function()),
        DataType::BinaryView => Some(KeyKind::Shaped.function()),
        DataType::Utf8 if PgType::of_field(field) == Some(PgType::Char(0)) => Some(KeyKind::Blanks.function()),
        _ => None,
    }
}

/// Rewrites every comparison, group and join of a plan.
pub fn rewrite(plan: LogicalPlan) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|node| {
        crate::sql::functions::go_on()?;
        if let Some(join) = AsofJoin::of(&node) {
            return asof(join).map(Transformed::yes);
        }
        let schema = merge_schema(&node.inputs());
        let is_affected = |field: &Field| {
            needs(field) || field.data_type().is_floating() || matches!(field.data_type(), DataType::List(_))
        };
        let is_distinct_on = matches!(node, LogicalPlan::Distinct(Distinct::On(_)));
        if !is_distinct_on
            && !schema.fields().iter().any(|field| is_affected(field))
            && !node_makes_keyed(&node, &schema)
        {
            return Ok(Transformed::no(node));
        }
        let names = NamePreserver::new(&node);
        let node = node.map_expressions(|expr| {
            let name = names.save(&expr);
            Ok(compare_all(expr, &schema)?.update_data(|expr| name.restore(expr)))
        })?;
        let changed = node.transformed;
        let node = match node.data {
            LogicalPlan::Aggregate(aggregate) => return group(aggregate, &schema),
            LogicalPlan::Distinct(Distinct::All(input)) => return distinct(input),
            LogicalPlan::Distinct(Distinct::On(mut on)) => {
                for expr in &mut on.on_expr {
                    *expr = sorted_by(expr.clone(), &schema);
                }
                for order in on.sort_expr.iter_mut().flatten() {
                    order.expr = sorted_by(order.expr.clone(), &schema);
                }
                return Ok(Transformed::yes(LogicalPlan::Distinct(Distinct::On(on))));
            }
            LogicalPlan::Join(mut join) => {
                let (left, right) = (join.left.schema().clone(), join.right.schema().clone());
                for (l, r) in &mut join.on {
                    if is_keyed(l, &left) || is_keyed(r, &right) {
                        *l = keyed(l.clone(), &left)?;
                        *r = keyed(r.clone(), &right)?;
                    }
                }
                LogicalPlan::Join(join)
            }
            other => other,
        };
        match changed {
            true => Ok(Transformed::yes(node.recompute_schema()?)),
            false => Ok(Transformed::yes(node)),
        }
    })?;
    Ok(rewritten.data)
}

/// The same of the condition of an ASOF JOIN, whose right side is sorted as well.
fn asof(join: &AsofJoin) -> Result<LogicalPlan> {
    let (left, right) = (join.left.schema(), join.right.schema());
    let pair = |(one, other): &(Expr, Expr)| -> Result<(Expr, Expr)> {
        let (one, other) = match is_keyed(one, left) || is_keyed(other, right) {
            true => (keyed(one.clone(), left)?, keyed(other.clone(), right)?),
            false => (one.clone(), other.clone()),
        };
        Ok((order(one, left), order(other, right)))
    };
    let condition = AsofCondition {
        keys: join.condition.keys.iter().map(pair).collect::<Result<_>>()?,
        times: pair(&join.condition.times)?,
        nearest: join.condition.nearest,
        ties: join
            .condition
            .ties
            .iter()
            .map(|tie| sorted_by(tie.clone(), right))
            .collect(),
    };
    Ok(AsofJoin::new(join.left.clone(), join.right.clone(), condition, join.keeps_left)?.into_plan())
}

/// Rewrites every comparison of one expression.
pub fn compare_all(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_up(|expr| compare(expr, schema))
}

fn needs(field: &Field) -> bool {
    function(field).is_some()
}

/// Whether an expression of a node makes such values of others.
fn node_makes_keyed(node: &LogicalPlan, schema: &DFSchema) -> bool {
    node.expressions().iter().any(|expr| {
        expr.exists(|part| {
            Ok(
                matches!(part, Expr::ScalarFunction(_) | Expr::Literal(..) | Expr::Cast(_))
                    && (is_keyed(part, schema) || is_float(part, schema) || is_array(part, schema)),
            )
        })
        .unwrap_or(false)
    })
}

/// The sort key of a value: JSONB has an order of its own, and so have values that are compared by keys.
pub fn sorted_by(expr: Expr, schema: &DFSchema) -> Expr {
    match expr.to_field(schema) {
        Ok((_, field)) if PgType::of_field(&field) == Some(PgType::Jsonb) => {
            let function = functions().scalar["jsonb_sort_key"].clone();
            function.call(vec![expr])
        }
        _ => order(expr, schema),
    }
}

/// The key that a value is sorted by.
pub fn order(expr: Expr, schema: &DFSchema) -> Expr {
    match is_array(&expr, schema) {
        true => KeyKind::Array.function().call(vec![expr]),
        false => one_zero(key(expr, schema), schema),
    }
}

fn is_array(expr: &Expr, schema: &DFSchema) -> bool {
    matches!(expr.get_type(schema), Ok(DataType::List(_)))
}

fn is_float(expr: &Expr, schema: &DFSchema) -> bool {
    expr.get_type(schema).is_ok_and(|data_type| data_type.is_floating())
}

/// A float whose two zeros are one, which the engine tells apart where it sorts.
fn one_zero(expr: Expr, schema: &DFSchema) -> Expr {
    let zero = match expr.get_type(schema) {
        Ok(DataType::Float32) => ScalarValue::Float32(Some(0.0)),
        Ok(DataType::Float64) => ScalarValue::Float64(Some(0.0)),
        _ => return expr,
    };
    if matches!(&expr, Expr::ScalarFunction(call) if call.args.get(1) == Some(&Expr::Literal(zero.clone(), None))) {
        return expr;
    }
    let plus = arithmetic::function(ArithmeticOperator::Plus);
    plus.call(vec![expr, Expr::Literal(zero, None)])
}

fn is_keyed(expr: &Expr, schema: &DFSchema) -> bool {
    expr.to_field(schema).is_ok_and(|(_, field)| needs(&field))
}

/// The key of a value that needs one; any other value as it is.
pub fn key(expr: Expr, schema: &DFSchema) -> Expr {
    match expr.to_field(schema).ok().and_then(|(_, field)| function(&field)) {
        Some(function) => function.call(vec![expr]),
        None => expr,
    }
}

/// The value beside one that needs a key, as a key of the same kind.
fn keyed(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let (_, field) = expr.to_field(schema)?;
    Ok(match field.data_type() {
        DataType::Interval(_) | DataType::BinaryView => {
            function(&field).map_or(expr.clone(), |function| function.call(vec![expr]))
        }
        DataType::Utf8 => KeyKind::Blanks.function().call(vec![expr]),
        _ => KeyKind::Numeric.function().call(vec![expr]),
    })
}

fn compare(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    let any = |exprs: &[&Expr]| exprs.iter().any(|expr| is_keyed(expr, schema));
    let boxed = |expr: Box<Expr>| keyed(*expr, schema).map(Box::new);
    Ok(Transformed::yes(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if matches!(
                op,
                Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom
            ) && any(&[&left, &right]) =>
        {
            Expr::BinaryExpr(BinaryExpr {
                left: boxed(left)?,
                op,
                right: boxed(right)?,
            })
        }
        // The engine knows equal arrays as well.
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if matches!(op, Lt | LtEq | Gt | GtEq) && is_array(&left, schema) && is_array(&right, schema) =>
        {
            Expr::BinaryExpr(BinaryExpr {
                left: Box::new(KeyKind::Array.function().call(vec![*left])),
                op,
                right: Box::new(KeyKind::Array.function().call(vec![*right])),
            })
        }
        Expr::Between(Between {
            expr,
            negated,
            low,
            high,
        }) if is_array(&expr, schema) => {
            let keyed = |expr: Box<Expr>| Box::new(KeyKind::Array.function().call(vec![*expr]));
            Expr::Between(Between {
                expr: keyed(expr),
                negated,
                low: keyed(low),
                high: keyed(high),
            })
        }
        Expr::Between(Between {
            expr,
            negated,
            low,
            high,
        }) if any(&[&expr, &low, &high]) => Expr::Between(Between {
            expr: boxed(expr)?,
            negated,
            low: boxed(low)?,
            high: boxed(high)?,
        }),
        Expr::InList(InList { expr, list, negated }) if is_float(&expr, schema) => Expr::InList(InList {
            expr: Box::new(one_zero(*expr, schema)),
            list: list.into_iter().map(|item| one_zero(item, schema)).collect(),
            negated,
        }),
        Expr::InList(InList { expr, list, negated })
            if any(&[&expr]) || list.iter().any(|item| is_keyed(item, schema)) =>
        {
            Expr::InList(InList {
                expr: boxed(expr)?,
                list: list
                    .into_iter()
                    .map(|item| keyed(item, schema))
                    .collect::<Result<_>>()?,
                negated,
            })
        }
        Expr::Case(Case {
            expr: Some(expr),
            when_then_expr,
            else_expr,
        }) if any(&[&expr]) || when_then_expr.iter().any(|(when, _)| is_keyed(when, schema)) => {
            let branches = when_then_expr.into_iter().map(|(when, then)| Ok((boxed(when)?, then)));
            Expr::Case(Case {
                expr: Some(boxed(expr)?),
                when_then_expr: branches.collect::<Result<_>>()?,
                else_expr,
            })
        }
        Expr::AggregateFunction(mut call) if counts_distinct(&call) => {
            for argument in &mut call.params.args {
                *argument = key(argument.clone(), schema);
            }
            Expr::AggregateFunction(call)
        }
        Expr::WindowFunction(mut call) => {
            let WindowFunctionParams { partition_by, .. } = &mut call.params;
            for expr in partition_by {
                *expr = order(expr.clone(), schema);
            }
            Expr::WindowFunction(call)
        }
        other => return Ok(Transformed::no(other)),
    }))
}

fn counts_distinct(call: &AggregateFunction) -> bool {
    call.params.distinct && call.func.name() == "count"
}

/// Groups by keys, and shows a value of each group.
fn group(aggregate: Aggregate, schema: &DFSchema) -> Result<Transformed<LogicalPlan>> {
    let Aggregate {
        input,
        group_expr,
        aggr_expr,
        schema: shown,
        ..
    } = aggregate;
    let sets = datafusion::logical_expr::utils::grouping_set_to_exprlist(&group_expr)?;
    let sets: Vec<Expr> = sets.into_iter().cloned().collect();
    let by_key: Vec<&Expr> = sets.iter().filter(|expr| is_keyed(expr, schema)).collect();
    if by_key.is_empty() {
        let plan = LogicalPlan::Aggregate(Aggregate::try_new(input, group_expr, aggr_expr)?);
        return Ok(Transformed::yes(plan));
    }
    let replaced = |expr: &Expr| match by_key.contains(&expr) {
        true => key(expr.clone(), schema),
        false => expr.clone(),
    };
    let replace_all = |exprs: &Vec<Expr>| exprs.iter().map(replaced).collect::<Vec<Expr>>();
    let group_by: Vec<Expr> = group_expr
        .iter()
        .map(|expr| match expr {
            Expr::GroupingSet(GroupingSet::GroupingSets(sets)) => {
                Expr::GroupingSet(GroupingSet::GroupingSets(sets.iter().map(replace_all).collect()))
            }
            Expr::GroupingSet(GroupingSet::Cube(exprs)) => Expr::GroupingSet(GroupingSet::Cube(replace_all(exprs))),
            Expr::GroupingSet(GroupingSet::Rollup(exprs)) => Expr::GroupingSet(GroupingSet::Rollup(replace_all(exprs))),
            other => replaced(other),
        })
        .collect();
    // grouping(x) names a key.
    let mut calls = Vec::with_capacity(aggr_expr.len() + by_key.len());
    for expr in aggr_expr {
        let renamed = expr.transform_up(|part| match part {
            Expr::AggregateFunction(mut call) if call.func.name() == "grouping" => {
                call.params.args = call.params.args.iter().map(replaced).collect();
                Ok(Transformed::yes(Expr::AggregateFunction(call)))
            }
            other => Ok(Transformed::no(other)),
        })?;
        calls.push(renamed.data);
    }
    let minimum = &functions().aggregate["min"];
    for (index, expr) in by_key.iter().enumerate() {
        calls.push(minimum.call(vec![(*expr).clone()]).alias(least(index)));
    }
    let names: Vec<(Option<_>, String)> = shown
        .iter()
        .map(|(qualifier, field)| (qualifier.cloned(), field.name().clone()))
        .collect();
    let grouped = Aggregate::try_new(input, group_by, calls)?;
    let made = grouped.schema.clone();
    let mut values = Vec::with_capacity(names.len());
    for (index, (qualifier, name)) in names.into_iter().enumerate() {
        // The engine's own: it goes when grouping() is computed.
        if name == Aggregate::INTERNAL_GROUPING_ID {
            continue;
        }
        let column = Expr::Column(Column::from(made.qualified_field(index)));
        let value = match sets
            .get(index)
            .and_then(|expr| by_key.iter().position(|keyed| *keyed == expr))
        {
            // A key that a set leaves out is NULL.
            Some(at) => when(column.is_not_null(), Expr::Column(Column::from_name(least(at)))).end()?,
            None => column,
        };
        values.push(value.alias_qualified(qualifier, name));
    }
    let plan = Projection::try_new(values, Arc::new(LogicalPlan::Aggregate(grouped)))?;
    Ok(Transformed::yes(LogicalPlan::Projection(plan)))
}

fn least(index: usize) -> String {
    format!("~least{index}")
}

/// Distinct rows, as groups by all columns.
fn distinct(input: Arc<LogicalPlan>) -> Result<Transformed<LogicalPlan>> {
    let schema = input.schema().clone();
    if !schema.fields().iter().any(|field| needs(field)) {
        return Ok(Transformed::no(LogicalPlan::Distinct(Distinct::All(input))));
    }
    let columns = schema.columns().into_iter().map(Expr::Column).collect();
    group(Aggregate::try_new(input, columns, Vec::new())?, &schema)
}
