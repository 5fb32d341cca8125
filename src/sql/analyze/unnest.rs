//! Subqueries that name columns of the query around them, as joins: any of them, by pushing the values of these columns (the
//! domain) down into the subquery, until nothing of it names them any more (Neumann and Kemper, 2015).
//!
//! 1. [`rewrite`] takes correlated subqueries out of the expressions of a plan, innermost first: a value becomes a left join,
//!    EXISTS a semi or anti join where it is a condition, else a left join with a mark.
//! 2. [`bind`] makes a plan that has the domain's columns beside its own, with rows for each value of the domain.
//! 3. If an equality gives the value of a domain's column, there is no domain: the subquery's own column stands for it.
//!
//! One rule: a value of the domain is compared as DISTINCT compares it, so that NULLs meet NULLs.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType, ScalarValue};
use datafusion::logical_expr::expr::{Exists, InSubquery, Sort};
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{
    Aggregate, Case, Distinct, Expr, Filter, Limit, LogicalPlan, Operator, Projection, Sort as SortNode, Subquery,
    Window,
};

use super::Result;
use super::from_part::aliased;
use super::operators::{binary, conjunction, has, truth};
use super::scope::reference;
use crate::error::SqlError;
use crate::sql::functions::{only_value, single_value, some_value_and_rows};
use crate::sql::plan::quantified;
use crate::sql::plan::subquery::{held, outer_references};

use super::bind::{Domain, bind, name, not_supported};
use super::key_join::null_safe_join;

/// Whether a plan names columns of another one as outer ones.
pub fn names_columns_of(right: &LogicalPlan, left: &LogicalPlan) -> bool {
    outer_references(right)
        .iter()
        .any(|expr| matches!(expr, Expr::OuterReferenceColumn(_, column) if left.schema().has_column(column)))
}

/// A join whose right side names columns of the left: LATERAL.
pub fn dependent_join(
    left: LogicalPlan,
    right: LogicalPlan,
    join_type: JoinType,
    condition: Option<Expr>,
) -> Result<LogicalPlan> {
    if !matches!(join_type, JoinType::Inner | JoinType::Left) {
        return Err(SqlError::new(
            crate::error::state::INVALID_COLUMN_REFERENCE,
            "invalid reference to FROM-clause entry for a LATERAL item",
        )
        .detail("The combining JOIN type must be INNER or LEFT for a LATERAL reference."));
    }
    let right = rewrite(quantified::rewrite(right)?)?;
    let domain = Domain::of(&right, &left)?;
    let shown: Vec<Expr> = left
        .schema()
        .columns()
        .into_iter()
        .chain(right.schema().columns())
        .map(Expr::Column)
        .collect();
    let (right, columns) = bind(&right, &domain, false)?;
    let on = domain.outer.iter().zip(&columns);
    let on = on
        .map(|(outer, column)| (Expr::Column(outer.clone()), Expr::Column(column.clone())))
        .collect();
    let joined = null_safe_join(left, right, join_type, on, condition)?;
    Ok(LogicalPlan::Projection(Projection::try_new(shown, Arc::new(joined))?))
}

/// Takes the correlated subqueries out of all expressions of a plan.
pub fn rewrite(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            found |= has(expr, |inner| {
                matches!(inner, Expr::Exists(_)) || held(inner).is_some_and(is_correlated)
            });
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(match found {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    if !found {
        return Ok(plan);
    }
    let rewritten = plan.transform_up(|node| {
        rewrite_node(node)
            .map(Transformed::yes)
            .map_err(crate::sql::functions::fail)
    })?;
    Ok(rewritten.data)
}

fn is_correlated(subquery: &Subquery) -> bool {
    !subquery.outer_ref_columns.is_empty()
}

/// The subqueries within subqueries first.
fn inner_first(subquery: &Subquery) -> Result<LogicalPlan> {
    rewrite(subquery.subquery.as_ref().clone())
}

fn rewrite_node(node: LogicalPlan) -> Result<LogicalPlan> {
    let mut correlated = false;
    node.apply_expressions(|expr| {
        correlated |= has(expr, |inner| held(inner).is_some());
        Ok(TreeNodeRecursion::Continue)
    })?;
    if !correlated {
        return Ok(node);
    }
    match node {
        LogicalPlan::Filter(filter) => {
            let shown: Vec<Expr> = filter.input.schema().columns().into_iter().map(Expr::Column).collect();
            let mut input = filter.input.as_ref().clone();
            let mut rest = Vec::new();
            let parts = split_conjunction_owned(filter.predicate).into_iter();
            let (plain, asking): (Vec<Expr>, Vec<Expr>) = parts.partition(subquery_free);
            // The domain is that of the rows that meet the plain conditions: without them the items of FROM are all crossed.
            if let Some(predicate) = conjunction(plain) {
                input = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(input))?);
            }
            for part in asking {
                match condition_join(input.clone(), &part)? {
                    Some(joined) => input = joined,
                    // As a condition it is the engine's to run.
                    None if is_engines(&part) => rest.push(part),
                    None => {
                        let (joined, part) = value_joins(input, part)?;
                        input = joined;
                        rest.push(part);
                    }
                }
            }
            let plan = match conjunction(rest) {
                Some(predicate) => LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(input))?),
                None => input,
            };
            match plan.schema().fields().len() == shown.len() {
                true => Ok(plan),
                false => Ok(LogicalPlan::Projection(Projection::try_new(shown, Arc::new(plan))?)),
            }
        }
        LogicalPlan::Projection(projection) => {
            let mut input = projection.input.as_ref().clone();
            let mut exprs = Vec::with_capacity(projection.expr.len());
            for expr in projection.expr {
                let named = expr.schema_name().to_string();
                let is_column = matches!(expr, Expr::Column(_));
                let (joined, made) = value_joins(input, expr)?;
                input = joined;
                exprs.push(match is_column || made.schema_name().to_string() == named {
                    true => made,
                    false => made.alias(named),
                });
            }
            let made = Projection::try_new_with_schema(exprs, Arc::new(input), projection.schema)?;
            Ok(LogicalPlan::Projection(made))
        }
        LogicalPlan::Aggregate(aggregate) => {
            // Subqueries in groupings and aggregates are computed below.
            let mut input = aggregate.input.as_ref().clone();
            let mut replace = |exprs: Vec<Expr>| -> Result<Vec<Expr>> {
                let mut made = Vec::with_capacity(exprs.len());
                for expr in exprs {
                    let named = expr.schema_name().to_string();
                    let (joined, expr) = value_joins(input.clone(), expr)?;
                    input = joined;
                    made.push(
                        match expr.schema_name().to_string() == named || matches!(expr, Expr::GroupingSet(_)) {
                            true => expr,
                            false => expr.unalias().alias(named),
                        },
                    );
                }
                Ok(made)
            };
            let group = replace(aggregate.group_expr)?;
            let calls = replace(aggregate.aggr_expr)?;
            Ok(LogicalPlan::Aggregate(Aggregate::try_new(
                Arc::new(input),
                group,
                calls,
            )?))
        }
        LogicalPlan::Sort(sort) => {
            let shown: Vec<Expr> = sort.input.schema().columns().into_iter().map(Expr::Column).collect();
            let mut input = sort.input.as_ref().clone();
            let mut exprs = Vec::with_capacity(sort.expr.len());
            for key in sort.expr {
                let (joined, expr) = value_joins(input, key.expr.clone())?;
                input = joined;
                exprs.push(Sort { expr, ..key });
            }
            let plan = LogicalPlan::Sort(SortNode {
                expr: exprs,
                input: Arc::new(input),
                fetch: sort.fetch,
            });
            Ok(LogicalPlan::Projection(Projection::try_new(shown, Arc::new(plan))?))
        }
        LogicalPlan::Window(node) => {
            let mut shown: Vec<Expr> = node.input.schema().columns().into_iter().map(Expr::Column).collect();
            let mut input = node.input.as_ref().clone();
            let mut calls = Vec::with_capacity(node.window_expr.len());
            for call in node.window_expr {
                let named = call.schema_name().to_string();
                let (joined, call) = value_joins(input, call.unalias())?;
                input = joined;
                shown.push(Expr::Column(Column::from_name(&named)));
                calls.push(call.alias(named));
            }
            let plan = LogicalPlan::Window(Window::try_new(calls, Arc::new(input))?);
            Ok(LogicalPlan::Projection(Projection::try_new(shown, Arc::new(plan))?))
        }
        other => Ok(other),
    }
}

/// Whether a condition is EXISTS or IN of a subquery that names no column of the rows.
fn is_engines(part: &Expr) -> bool {
    let inner = match part {
        Expr::Not(inner) => inner.as_ref(),
        other => other,
    };
    match inner {
        Expr::Exists(exists) => !is_correlated(&exists.subquery),
        Expr::InSubquery(call) => !is_correlated(&call.subquery) && subquery_free(&call.expr),
        _ => false,
    }
}

/// EXISTS and IN as conditions that rows must meet.
fn condition_join(input: LogicalPlan, part: &Expr) -> Result<Option<LogicalPlan>> {
    let (negated, inner) = match part {
        Expr::Not(inner) => (true, inner.as_ref()),
        other => (false, other),
    };
    let (subquery, is_anti, value) = match inner {
        Expr::Exists(Exists { subquery, negated: not }) => (subquery, negated != *not, None),
        Expr::InSubquery(InSubquery {
            expr,
            subquery,
            negated: not,
        }) if subquery_free(expr) => (subquery, negated != *not, Some(expr.as_ref())),
        _ => return Ok(None),
    };
    if !is_correlated(subquery) {
        return Ok(None);
    }
    let plan = inner_first(subquery)?;
    let own = plan.schema().columns();
    let domain = Domain::of(&plan, &input)?;
    let (right, columns) = bind(&plan, &domain, false)?;
    let alias = name("exists");
    let mut on: Vec<(Expr, Expr)> = Vec::with_capacity(columns.len());
    // Under a name of its own: the subquery may have relations of the same names.
    let right = match right.schema().fields().is_empty() {
        true => right,
        false => {
            let mut exprs: Vec<Expr> = Vec::new();
            if value.is_some() {
                exprs.push(Expr::Column(own[0].clone()).alias("\u{1}value"));
            }
            exprs.extend(
                columns
                    .iter()
                    .zip(&domain.names)
                    .map(|(column, name)| Expr::Column(column.clone()).alias(name)),
            );
            if exprs.is_empty() {
                exprs.push(truth(Some(true)).alias("\u{1}mark"));
            }
            aliased(
                LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(right))?),
                &alias,
            )?
        }
    };
    let of_right = |name: &str| Expr::Column(Column::new(Some(reference(&alias)), name));
    for (outer, name) in domain.outer.iter().zip(&domain.names) {
        on.push((Expr::Column(outer.clone()), of_right(name)));
    }
    let filter = value.map(|value| {
        let equal = binary(value.clone(), Operator::Eq, of_right("\u{1}value"));
        match is_anti {
            // NULL on either side says nothing of the others.
            true => Expr::IsNotFalse(Box::new(equal)),
            false => equal,
        }
    });
    let join_type = if is_anti {
        JoinType::LeftAnti
    } else {
        JoinType::LeftSemi
    };
    Ok(Some(null_safe_join(input, right, join_type, on, filter)?))
}

fn subquery_free(expr: &Expr) -> bool {
    !has(expr, |node| held(node).is_some())
}

/// Joins an input with the correlated subqueries of an expression, which then names their columns.
fn value_joins(input: LogicalPlan, expr: Expr) -> Result<(LogicalPlan, Expr)> {
    let mut joins = Joins { input };
    let expr = joins.replace(expr, None)?;
    Ok((joins.input, expr))
}

struct Joins {
    input: LogicalPlan,
}

impl Joins {
    /// The expression with columns in the place of its subqueries. `guard`: it is looked at only where this holds, so that a
    /// subquery is not run with values for which it may fail.
    fn replace(&mut self, expr: Expr, guard: Option<&Expr>) -> Result<Expr> {
        if let Some(subquery) = held(&expr) {
            // The engine runs a subquery that is not correlated; subqueries inside it are joins.
            if !is_correlated(subquery) && !matches!(expr, Expr::Exists(_)) {
                let plan = inner_first(subquery)?;
                return Ok(with_subquery(expr, plan));
            }
            let (joined, value) = value_join(self.input.clone(), &expr, guard)?;
            self.input = joined;
            return Ok(value);
        }
        if let Expr::Case(case) = expr {
            return self.replace_case(case, guard);
        }
        let mut failed = None;
        let mapped = expr.map_children(|child| {
            let made = self.replace(child, guard);
            match made {
                Ok(made) => Ok(Transformed::yes(made)),
                Err(error) => {
                    failed = Some(error.clone());
                    Err(crate::sql::functions::fail(error))
                }
            }
        });
        match (mapped, failed) {
            (_, Some(error)) => Err(error),
            (mapped, None) => Ok(mapped?.data),
        }
    }

    /// An arm is looked at where its condition holds, and none before it.
    fn replace_case(&mut self, case: Case, guard: Option<&Expr>) -> Result<Expr> {
        let mut before = guard.cloned();
        let operand = case.expr.map(|operand| self.replace(*operand, guard)).transpose()?;
        let mut arms = Vec::with_capacity(case.when_then_expr.len());
        for (condition, result) in case.when_then_expr {
            let test = match &operand {
                Some(operand) => binary(operand.clone(), Operator::Eq, condition.as_ref().clone()),
                None => condition.as_ref().clone(),
            };
            let condition = self.replace(*condition, before.as_ref())?;
            let holds = conjunction(before.iter().cloned().chain([test.clone()]));
            let result = self.replace(*result, holds.as_ref())?;
            before = conjunction(before.into_iter().chain([Expr::IsNotTrue(Box::new(test))]));
            arms.push((Box::new(condition), Box::new(result)));
        }
        let otherwise = case
            .else_expr
            .map(|expr| self.replace(*expr, before.as_ref()))
            .transpose()?;
        Ok(Expr::Case(Case::new(
            operand.map(Box::new),
            arms,
            otherwise.map(Box::new),
        )))
    }
}

fn with_subquery(node: Expr, plan: LogicalPlan) -> Expr {
    let made = |subquery: Subquery| Subquery {
        outer_ref_columns: outer_references(&plan),
        subquery: Arc::new(plan.clone()),
        spans: subquery.spans,
    };
    match node {
        Expr::ScalarSubquery(subquery) => Expr::ScalarSubquery(made(subquery)),
        Expr::Exists(exists) => Expr::Exists(Exists {
            subquery: made(exists.subquery),
            ..exists
        }),
        Expr::InSubquery(call) => Expr::InSubquery(InSubquery {
            subquery: made(call.subquery),
            ..call
        }),
        other => other,
    }
}

/// A subquery that may have one row at most, as the value of any row and the number of rows: an error for more is
/// raised only where the value is used.
fn checked_later(plan: LogicalPlan) -> Result<(LogicalPlan, bool)> {
    let LogicalPlan::Aggregate(aggregate) = &plan else {
        return Ok((plan, false));
    };
    let ([], [call]) = (aggregate.group_expr.as_slice(), aggregate.aggr_expr.as_slice()) else {
        return Ok((plan, false));
    };
    let named = call.schema_name().to_string();
    let arguments = match call.clone().unalias() {
        Expr::AggregateFunction(call) if call.func == single_value() => call.params.args,
        _ => return Ok((plan, false)),
    };
    let [value, rows] = some_value_and_rows().map(|function| function.call(arguments.clone()));
    let calls = vec![value.alias(&named), rows.alias(format!("{named}\u{1}rows"))];
    let made = Aggregate::try_new(aggregate.input.clone(), vec![], calls)?;
    Ok((LogicalPlan::Aggregate(made), true))
}

/// The join with one subquery, and the expression that stands for it.
fn value_join(input: LogicalPlan, node: &Expr, guard: Option<&Expr>) -> Result<(LogicalPlan, Expr)> {
    let subquery = held(node).expect("the caller has looked");
    let (plan, is_checked) = checked_later(inner_first(subquery)?)?;
    let own = plan.schema().columns();
    let source = match guard {
        Some(guard) if subquery_free(guard) && !has(guard, |node| matches!(node, Expr::OuterReferenceColumn(..))) => {
            LogicalPlan::Filter(Filter::try_new(guard.clone(), Arc::new(input.clone()))?)
        }
        _ => input.clone(),
    };
    let domain = Domain::of(&plan, &source)?;
    let is_value = matches!(node, Expr::ScalarSubquery(_));
    let (right, columns) = bind(&plan, &domain, is_value)?;
    let alias = name("subquery");
    let keys = || {
        columns
            .iter()
            .zip(&domain.names)
            .map(|(column, name)| Expr::Column(column.clone()).alias(name))
    };
    let of_right = |name: &str| Expr::Column(Column::new(Some(reference(&alias)), name));
    let mut on: Vec<(Expr, Expr)> = Vec::with_capacity(columns.len());
    for (outer, name) in domain.outer.iter().zip(&domain.names) {
        on.push((Expr::Column(outer.clone()), of_right(name)));
    }
    if is_value {
        let mut exprs = vec![Expr::Column(own[0].clone()).alias("\u{1}value")];
        if is_checked {
            exprs.push(Expr::Column(own[1].clone()).alias("\u{1}rows"));
        }
        exprs.extend(keys());
        let projected = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(right))?);
        let right = aliased(projected, &alias)?;
        let joined = null_safe_join(input, right, JoinType::Left, on, None)?;
        let value = of_right("\u{1}value");
        let value = match is_checked {
            true => only_value().call(vec![value, of_right("\u{1}rows")]),
            false => value,
        };
        return Ok((joined, value));
    }
    let (negated, value) = match node {
        Expr::Exists(exists) => (exists.negated, None),
        Expr::InSubquery(call) => (call.negated, Some(call.expr.as_ref().clone())),
        _ => return Err(not_supported("a comparison with ANY or ALL rows of a subquery")),
    };
    // Each value of the domain once, with a mark.
    let mut exprs: Vec<Expr> = keys().collect();
    if value.is_some() {
        exprs.push(Expr::Column(own[0].clone()).alias("\u{1}value"));
    }
    let right = match exprs.is_empty() {
        true => LogicalPlan::Limit(Limit {
            skip: None,
            fetch: Some(Box::new(Expr::Literal(ScalarValue::Int64(Some(1)), None))),
            input: Arc::new(right),
        }),
        false => {
            let projected = LogicalPlan::Projection(Projection::try_new(exprs.clone(), Arc::new(right))?);
            LogicalPlan::Distinct(Distinct::All(Arc::new(projected)))
        }
    };
    let mut marked: Vec<Expr> = exprs
        .iter()
        .map(|expr| Expr::Column(Column::from_name(expr.schema_name().to_string())))
        .collect();
    marked.push(truth(Some(true)).alias("\u{1}mark"));
    let marked = LogicalPlan::Projection(Projection::try_new(marked, Arc::new(right))?);
    let right = aliased(marked, &alias)?;
    let filter = value.map(|value| binary(value, Operator::Eq, of_right("\u{1}value")));
    let joined = null_safe_join(input, right, JoinType::Left, on, filter)?;
    let mark = of_right("\u{1}mark");
    let found = match negated {
        true => Expr::IsNull(Box::new(mark)),
        false => Expr::IsNotNull(Box::new(mark)),
    };
    Ok((joined, found))
}

/// A condition of WHERE, in which NULL and false are alike: certain matches in a subquery need not be told from
/// possible ones.
pub fn simplified(condition: Expr) -> Expr {
    let parts = split_conjunction_owned(condition).into_iter().map(|part| match &part {
        Expr::Case(case) => match matches_of(case) {
            Some((matches, _)) => matches,
            None => part,
        },
        Expr::Not(inner) => match inner.as_ref() {
            Expr::Case(case) => match matches_of(case) {
                Some((matches, undecided)) => binary(
                    Expr::Not(Box::new(matches)),
                    Operator::And,
                    Expr::Not(Box::new(undecided)),
                ),
                None => part,
            },
            _ => part,
        },
        _ => part,
    });
    conjunction(parts).expect("a condition has a part")
}

/// Of `CASE WHEN matches THEN true WHEN undecided THEN NULL ELSE false END` the two conditions.
fn matches_of(case: &Case) -> Option<(Expr, Expr)> {
    let [(matches, yes), (undecided, open)] = case.when_then_expr.as_slice() else {
        return None;
    };
    let is = |expr: &Expr, value: Option<bool>| *expr == truth(value);
    let both = matches!(
        (matches.as_ref(), undecided.as_ref()),
        (Expr::Exists(_), Expr::Exists(_))
    );
    let decided = is(yes, Some(true)) && is(open, None);
    let otherwise = case.else_expr.as_ref().is_some_and(|expr| is(expr, Some(false)));
    (both && decided && otherwise && case.expr.is_none())
        .then(|| (matches.as_ref().clone(), undecided.as_ref().clone()))
}
