//! Subqueries that name columns of the query around them, as joins: any of them, by pushing the values of these columns (the
//! domain) down into the subquery, until nothing of it names them any more (Neumann and Kemper, 2015).
//!
//! 1. [`rewrite`] takes correlated subqueries out of the expressions of a plan, innermost first: a value becomes a left join,
//!    EXISTS a semi or anti join where it is a condition, else a left join with a mark.
//! 2. [`bind`] makes a plan that has the domain's columns beside its own, with rows for each value of the domain.
//! 3. Where an equality says what a column of the domain is, there is no domain: the subquery's own column stands for it.
//!
//! One rule: a value of the domain is compared as DISTINCT compares it, so that NULLs meet NULLs.

use std::cell::Cell;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType, NullEquality, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunction, Exists, GroupingSet, InSubquery, Sort};
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Case, Distinct, DistinctOn, Expr, ExprSchemable, Filter, Join, JoinConstraint, Limit,
    LogicalPlan, LogicalPlanBuilder, Operator, Projection, Sort as SortNode, Subquery, SubqueryAlias, Union, Window,
};

use super::operators::{binary, conjunction, truth};
use super::select::{has, reference};
use super::{Result, window};
use crate::error::SqlError;
use crate::sql::functions::functions;

thread_local! {
    /// Numbers the names that are made here.
    static NAMES: Cell<usize> = const { Cell::new(0) };
}

fn name(what: &str) -> String {
    NAMES.with(|names| {
        names.set(names.get() + 1);
        format!("\u{1}{what}{}", names.get())
    })
}

/// The columns of an outer plan that a subquery is over.
struct Domain {
    /// Of the outer plan.
    outer: Vec<Column>,
    /// Their names within the subquery.
    names: Vec<String>,
    /// Their values, each once.
    values: LogicalPlan,
}

impl Domain {
    /// Of those columns that `plan` names of `left`.
    fn of(plan: &LogicalPlan, left: &LogicalPlan) -> Result<Domain> {
        let mut outer: Vec<Column> = Vec::new();
        for reference in plan.all_out_ref_exprs() {
            if let Expr::OuterReferenceColumn(_, column) = reference
                && left.schema().has_column(&column)
                && !outer.contains(&column)
            {
                outer.push(column);
            }
        }
        let names: Vec<String> = outer.iter().map(|_| name("outer")).collect();
        let exprs = outer
            .iter()
            .zip(&names)
            .map(|(column, name)| Expr::Column(column.clone()).alias(name));
        let projected = Projection::try_new(exprs.collect(), Arc::new(left.clone()))?;
        let values = LogicalPlan::Distinct(Distinct::All(Arc::new(LogicalPlan::Projection(projected))));
        Ok(Domain { outer, names, values })
    }

    /// The values under a name of their own, and their columns.
    fn instance(&self) -> Result<(LogicalPlan, Vec<Column>)> {
        let alias = name("domain");
        let plan = SubqueryAlias::try_new(Arc::new(self.values.clone()), reference(&alias))?;
        let columns = self.names.iter().map(|name| Column::new(Some(reference(&alias)), name));
        Ok((LogicalPlan::SubqueryAlias(plan), columns.collect()))
    }

    fn names_one(&self, expr: &Expr) -> bool {
        has(
            expr,
            |node| matches!(node, Expr::OuterReferenceColumn(_, column) if self.outer.contains(column)),
        )
    }

    /// Whether anything of a plan names a column of the domain.
    fn is_in(&self, plan: &LogicalPlan) -> bool {
        plan.all_out_ref_exprs().iter().any(|expr| self.names_one(expr))
    }

    fn replace(&self, expr: Expr, columns: &[Column]) -> Result<Expr> {
        let replaced = expr.transform_up(|node| match node {
            Expr::OuterReferenceColumn(_, column) if self.outer.contains(&column) => {
                let at = self
                    .outer
                    .iter()
                    .position(|outer| *outer == column)
                    .expect("it is there");
                Ok(Transformed::yes(Expr::Column(columns[at].clone())))
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(replaced.data)
    }

    fn replace_all(&self, exprs: &[Expr], columns: &[Column]) -> Result<Vec<Expr>> {
        exprs.iter().map(|expr| self.replace(expr.clone(), columns)).collect()
    }

    fn replace_sorts(&self, sorts: &[Sort], columns: &[Column]) -> Result<Vec<Sort>> {
        sorts
            .iter()
            .map(|sort| {
                Ok(Sort {
                    expr: self.replace(sort.expr.clone(), columns)?,
                    ..sort.clone()
                })
            })
            .collect()
    }
}

fn not_supported(what: &str) -> SqlError {
    SqlError::unsupported(
        format!("{what} cannot name columns of the query around it"),
        "Join with it instead.",
    )
}

/// A plan with the domain's columns, whose places are returned. `optional`: a value for which there is no row may be left out,
/// because whoever reads it takes a row of NULLs for that.
fn bind(plan: &LogicalPlan, domain: &Domain, optional: bool) -> Result<(LogicalPlan, Vec<Column>)> {
    crate::stop::check()?;
    if !domain.is_in(plan) {
        let (values, columns) = domain.instance()?;
        let crossed = match plan {
            LogicalPlan::EmptyRelation(empty) if empty.produce_one_row && empty.schema.fields().is_empty() => values,
            other => super::from::join(values, other.clone(), JoinType::Inner, vec![], None)?,
        };
        return Ok((crossed, columns));
    }
    match plan {
        LogicalPlan::Projection(projection) => {
            let plain = projection.expr.iter().all(is_plain);
            let (input, columns) = bind(&projection.input, domain, optional && plain)?;
            let mut exprs = domain.replace_all(&projection.expr, &columns)?;
            exprs.extend(columns.iter().cloned().map(Expr::Column));
            // A reference to an outer column is under its own name.
            for (made, given) in exprs.iter_mut().zip(&projection.expr) {
                let named = given.schema_name().to_string();
                if !matches!(given, Expr::Column(_) | Expr::Alias(_)) && made.schema_name().to_string() != named {
                    *made = std::mem::take(made).alias(named);
                }
            }
            Ok((
                LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?),
                columns,
            ))
        }
        LogicalPlan::Filter(filter) => {
            if let Some(decoupled) = decouple(filter, domain)? {
                return Ok(decoupled);
            }
            let (input, columns) = bind(&filter.input, domain, false)?;
            let predicate = domain.replace(filter.predicate.clone(), &columns)?;
            Ok((
                LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(input))?),
                columns,
            ))
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let (input, columns) = bind(&alias.input, domain, optional)?;
            let columns = columns
                .into_iter()
                .map(|column| Column::new(Some(alias.alias.clone()), column.name))
                .collect();
            let made = SubqueryAlias::try_new(Arc::new(input), alias.alias.clone())?;
            Ok((LogicalPlan::SubqueryAlias(made), columns))
        }
        LogicalPlan::Aggregate(aggregate) => bind_aggregate(aggregate, domain, optional),
        LogicalPlan::Sort(sort) => {
            let (input, columns) = bind(&sort.input, domain, optional)?;
            let made = SortNode {
                expr: domain.replace_sorts(&sort.expr, &columns)?,
                input: Arc::new(input),
                fetch: None,
            };
            match sort.fetch {
                Some(_) => Err(not_supported("a sorted subquery with a limit")),
                None => Ok((LogicalPlan::Sort(made), columns)),
            }
        }
        LogicalPlan::Limit(limit) => bind_limit(limit, domain),
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let (input, columns) = bind(input, domain, optional)?;
            Ok((LogicalPlan::Distinct(Distinct::All(Arc::new(input))), columns))
        }
        LogicalPlan::Distinct(Distinct::On(on)) => {
            let (input, columns) = bind(&on.input, domain, optional)?;
            let keys = || columns.iter().cloned().map(Expr::Column);
            let mut on_expr: Vec<Expr> = keys().collect();
            on_expr.extend(domain.replace_all(&on.on_expr, &columns)?);
            let mut select = domain.replace_all(&on.select_expr, &columns)?;
            select.extend(keys());
            let sorts = match &on.sort_expr {
                Some(sorts) => {
                    let mut all: Vec<Sort> = keys().map(|key| Sort::new(key, true, false)).collect();
                    all.extend(domain.replace_sorts(sorts, &columns)?);
                    Some(all)
                }
                None => None,
            };
            let made = DistinctOn::try_new(on_expr, select, sorts, Arc::new(input))?;
            Ok((LogicalPlan::Distinct(Distinct::On(made)), columns))
        }
        LogicalPlan::Window(node) => {
            let (input, columns) = bind(&node.input, domain, false)?;
            let mut calls = Vec::with_capacity(node.window_expr.len());
            for call in &node.window_expr {
                let named = call.schema_name().to_string();
                let replaced = domain.replace(call.clone().unalias(), &columns)?;
                let Expr::WindowFunction(mut function) = replaced else {
                    return Err(not_supported("this window function"));
                };
                let keys = columns.iter().cloned().map(Expr::Column);
                function.params.partition_by.extend(keys);
                calls.push(Expr::WindowFunction(function).alias(named));
            }
            let made = Window::try_new(calls, Arc::new(input))?;
            Ok((LogicalPlan::Window(made), columns))
        }
        LogicalPlan::Union(union) => {
            let mut inputs = Vec::with_capacity(union.inputs.len());
            let names: Vec<String> = domain.names.iter().map(|_| name("outer")).collect();
            for input in &union.inputs {
                let own = input.schema().columns();
                let (input, columns) = bind(input, domain, false)?;
                let fields = union.schema.fields().iter();
                let mut exprs: Vec<Expr> = own
                    .into_iter()
                    .zip(fields)
                    .map(|(column, field)| Expr::Column(column).alias(field.name()))
                    .collect();
                exprs.extend(
                    columns
                        .into_iter()
                        .zip(&names)
                        .map(|(column, name)| Expr::Column(column).alias(name)),
                );
                let projected = Projection::try_new(exprs, Arc::new(input))?;
                inputs.push(Arc::new(LogicalPlan::Projection(projected)));
            }
            let made = Union::try_new_with_loose_types(inputs)?;
            let columns = names.into_iter().map(Column::from_name).collect();
            Ok((LogicalPlan::Union(made), columns))
        }
        LogicalPlan::Unnest(unnest) => {
            let (input, columns) = bind(&unnest.input, domain, optional)?;
            let made = LogicalPlanBuilder::from(input)
                .unnest_columns_with_options(unnest.exec_columns.clone(), unnest.options.clone())?
                .build()?;
            Ok((made, columns))
        }
        LogicalPlan::Join(join) => bind_join(join, domain),
        LogicalPlan::RecursiveQuery(_) => Err(not_supported("a recursive query")),
        LogicalPlan::Extension(_) => Err(not_supported("a window")),
        _ => Err(not_supported("this subquery")),
    }
}

/// Columns, and casts of them: NULL of what is not there.
fn is_plain(expr: &Expr) -> bool {
    match expr {
        Expr::Column(_) => true,
        Expr::Alias(alias) => is_plain(&alias.expr),
        Expr::Cast(cast) => is_plain(&cast.expr),
        _ => false,
    }
}

/// A filter whose equalities say what every column of the domain is.
fn decouple(filter: &Filter, domain: &Domain) -> Result<Option<(LogicalPlan, Vec<Column>)>> {
    if domain.is_in(&filter.input) {
        return Ok(None);
    }
    let mut found: Vec<Option<Expr>> = vec![None; domain.outer.len()];
    let mut rest = Vec::new();
    for part in split_conjunction_owned(filter.predicate.clone()) {
        let pair = match &part {
            Expr::BinaryExpr(BinaryExpr {
                left,
                op: Operator::Eq,
                right,
            }) => [(left, right), (right, left)].into_iter().find_map(|(outer, own)| {
                let Expr::OuterReferenceColumn(field, column) = outer.as_ref() else {
                    return None;
                };
                let at = domain.outer.iter().position(|known| known == column)?;
                let is_own = !domain.names_one(own) && !own.column_refs().is_empty();
                let same = own
                    .get_type(filter.input.schema())
                    .is_ok_and(|data_type| data_type == *field.data_type());
                (is_own && same && found[at].is_none()).then(|| (at, own.as_ref().clone()))
            }),
            _ => None,
        };
        match pair {
            Some((at, own)) => found[at] = Some(own),
            None => rest.push(part),
        }
    }
    let Some(found) = found.into_iter().collect::<Option<Vec<Expr>>>() else {
        return Ok(None);
    };
    let mut conditions: Vec<Expr> = Vec::with_capacity(rest.len() + found.len());
    for part in rest {
        let replaced = part.transform_up(|node| match node {
            Expr::OuterReferenceColumn(_, column) if domain.outer.contains(&column) => {
                let at = domain
                    .outer
                    .iter()
                    .position(|outer| *outer == column)
                    .expect("it is there");
                Ok(Transformed::yes(found[at].clone()))
            }
            other => Ok(Transformed::no(other)),
        })?;
        conditions.push(replaced.data);
    }
    // An equality holds for no NULL.
    for own in &found {
        if own.nullable(filter.input.schema()).unwrap_or(true) {
            conditions.push(Expr::IsNotNull(Box::new(own.clone())));
        }
    }
    let input = match conjunction(conditions) {
        Some(predicate) => LogicalPlan::Filter(Filter::try_new(predicate, filter.input.clone())?),
        None => filter.input.as_ref().clone(),
    };
    let names: Vec<String> = found.iter().map(|_| name("outer")).collect();
    let mut exprs: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
    exprs.extend(found.into_iter().zip(&names).map(|(own, name)| own.alias(name)));
    let projected = Projection::try_new(exprs, Arc::new(input))?;
    let columns = names.into_iter().map(Column::from_name).collect();
    Ok(Some((LogicalPlan::Projection(projected), columns)))
}

fn bind_aggregate(aggregate: &Aggregate, domain: &Domain, optional: bool) -> Result<(LogicalPlan, Vec<Column>)> {
    let (input, columns) = bind(&aggregate.input, domain, false)?;
    let keys = || columns.iter().cloned().map(Expr::Column);
    let mut group = domain.replace_all(&aggregate.group_expr, &columns)?;
    match group.as_mut_slice() {
        [Expr::GroupingSet(GroupingSet::GroupingSets(sets))] => {
            sets.iter_mut().for_each(|set| set.extend(keys()));
        }
        _ => group.extend(keys()),
    }
    let mut calls = Vec::with_capacity(aggregate.aggr_expr.len());
    for call in &aggregate.aggr_expr {
        let named = call.schema_name().to_string();
        let replaced = domain.replace(call.clone(), &columns)?;
        let same = replaced.schema_name().to_string() == named;
        calls.push(match same {
            true => replaced,
            false => replaced.unalias().alias(named),
        });
    }
    let defaults: Vec<Option<ScalarValue>> = aggregate
        .aggr_expr
        .iter()
        .map(|call| default_of(call, aggregate.input.schema()))
        .collect();
    let made = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(input), group, calls)?);
    let has_groups = !aggregate.group_expr.is_empty();
    if has_groups || (optional && defaults.iter().all(Option::is_none)) {
        return Ok((made, columns));
    }
    // A row for each value of the domain, also where nothing was aggregated.
    let (values, kept) = domain.instance()?;
    let on = kept.iter().zip(&columns);
    let on = on
        .map(|(left, right)| (Expr::Column(left.clone()), Expr::Column(right.clone())))
        .collect();
    let joined = null_safe_join(values, made, JoinType::Left, on, None)?;
    let mut exprs: Vec<Expr> = Vec::with_capacity(defaults.len() + kept.len());
    for (call, default) in aggregate.aggr_expr.iter().zip(defaults) {
        let named = call.schema_name().to_string();
        let column = Expr::Column(Column::from_name(&named));
        exprs.push(match default {
            Some(value) => {
                let coalesce = functions().scalar.get("coalesce").expect("it is the engine's");
                coalesce.call(vec![column, Expr::Literal(value, None)]).alias(named)
            }
            None => column,
        });
    }
    exprs.extend(kept.iter().cloned().map(Expr::Column));
    let projected = Projection::try_new(exprs, Arc::new(joined))?;
    Ok((LogicalPlan::Projection(projected), kept))
}

/// What an aggregate of nothing is, if that is not NULL.
fn default_of(call: &Expr, schema: &datafusion::common::DFSchema) -> Option<ScalarValue> {
    let Expr::AggregateFunction(AggregateFunction { func, .. }) = call.clone().unalias() else {
        return None;
    };
    let data_type = call.get_type(schema).ok()?;
    func.default_value(&data_type).ok().filter(|value| !value.is_null())
}

fn bind_limit(limit: &Limit, domain: &Domain) -> Result<(LogicalPlan, Vec<Column>)> {
    // Rows are counted for each value of the domain, in the order of the subquery.
    let (ordered, order) = match limit.input.as_ref() {
        LogicalPlan::Sort(sort) => (sort.input.as_ref(), sort.expr.clone()),
        other => (other, vec![]),
    };
    let own: Vec<Expr> = limit.input.schema().columns().into_iter().map(Expr::Column).collect();
    let (input, columns) = bind(ordered, domain, false)?;
    let order = domain.replace_sorts(&order, &columns)?;
    let number = name("number");
    let keys: Vec<Expr> = columns.iter().cloned().map(Expr::Column).collect();
    let numbered = window::row_number(input, keys.clone(), order, &number)?;
    let number = super::typed::cast_to(Expr::Column(Column::from_name(number)), &crate::types::PgType::Int8);
    let zero = Expr::Literal(ScalarValue::Int64(Some(0)), None);
    let skip = limit.skip.as_deref().cloned().unwrap_or(zero);
    let mut conditions = vec![binary(number.clone(), Operator::Gt, skip.clone())];
    if let Some(fetch) = limit.fetch.as_deref() {
        conditions.push(binary(
            number,
            Operator::LtEq,
            binary(skip, Operator::Plus, fetch.clone()),
        ));
    }
    let predicate = domain.replace(conjunction(conditions).expect("one is there"), &columns)?;
    let filtered = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(numbered))?);
    let mut exprs = own;
    exprs.extend(keys);
    Ok((
        LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(filtered))?),
        columns,
    ))
}

fn bind_join(node: &Join, domain: &Domain) -> Result<(LogicalPlan, Vec<Column>)> {
    let condition = |columns: &[Column]| -> Result<(Vec<(Expr, Expr)>, Option<Expr>)> {
        let on = node.on.iter().map(|(left, right)| {
            Ok((
                domain.replace(left.clone(), columns)?,
                domain.replace(right.clone(), columns)?,
            ))
        });
        let filter = node
            .filter
            .clone()
            .map(|filter| domain.replace(filter, columns))
            .transpose()?;
        Ok((on.collect::<Result<_>>()?, filter))
    };
    let in_condition = node.filter.as_ref().is_some_and(|filter| domain.names_one(filter))
        || node
            .on
            .iter()
            .any(|(left, right)| domain.names_one(left) || domain.names_one(right));
    let (in_left, in_right) = (domain.is_in(&node.left), domain.is_in(&node.right));
    let rebuilt =
        |left: LogicalPlan, right: LogicalPlan, on: Vec<(Expr, Expr)>, filter: Option<Expr>| -> Result<LogicalPlan> {
            Ok(LogicalPlan::Join(Join::try_new(
                Arc::new(left),
                Arc::new(right),
                on,
                filter,
                node.join_type,
                JoinConstraint::On,
                node.null_equality,
                node.null_aware,
            )?))
        };
    // One side alone has the domain, if its rows are there whatever the other side has.
    let left_only = match node.join_type {
        JoinType::Inner => in_left && !in_right || !in_left && !in_right,
        JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => !in_right,
        _ => false,
    };
    let right_only = match node.join_type {
        JoinType::Inner => in_right && !in_left,
        JoinType::Right => !in_left,
        _ => false,
    };
    if left_only {
        let (left, columns) = bind(&node.left, domain, false)?;
        let (on, filter) = condition(&columns)?;
        return Ok((rebuilt(left, node.right.as_ref().clone(), on, filter)?, columns));
    }
    if right_only {
        let (right, columns) = bind(&node.right, domain, false)?;
        let (on, filter) = condition(&columns)?;
        return Ok((rebuilt(node.left.as_ref().clone(), right, on, filter)?, columns));
    }
    let _ = in_condition;
    let (left, left_columns) = bind(&node.left, domain, false)?;
    let (right, right_columns) = bind(&node.right, domain, false)?;
    let (on, filter) = condition(&left_columns)?;
    let same = left_columns.iter().zip(&right_columns).map(|(left, right)| {
        binary(
            Expr::Column(left.clone()),
            Operator::IsNotDistinctFrom,
            Expr::Column(right.clone()),
        )
    });
    let filter = conjunction(same.chain(filter));
    let joined = rebuilt(left, right, on, filter)?;
    match node.join_type {
        JoinType::Inner | JoinType::Left => {
            // The right side's are the same.
            let exprs = joined.schema().columns().into_iter();
            let exprs = exprs.filter(|column| !right_columns.contains(column)).map(Expr::Column);
            let projected = Projection::try_new(exprs.collect(), Arc::new(joined))?;
            Ok((LogicalPlan::Projection(projected), left_columns))
        }
        JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => Ok((joined, left_columns)),
        JoinType::Right => {
            let exprs = joined.schema().columns().into_iter();
            let exprs = exprs.filter(|column| !left_columns.contains(column)).map(Expr::Column);
            let projected = Projection::try_new(exprs.collect(), Arc::new(joined))?;
            Ok((LogicalPlan::Projection(projected), right_columns))
        }
        JoinType::Full => {
            let coalesce = functions().scalar.get("coalesce").expect("it is the engine's");
            let names: Vec<String> = left_columns.iter().map(|_| name("outer")).collect();
            let mut exprs: Vec<Expr> = joined
                .schema()
                .columns()
                .into_iter()
                .filter(|column| !left_columns.contains(column) && !right_columns.contains(column))
                .map(Expr::Column)
                .collect();
            for ((left, right), name) in left_columns.iter().zip(&right_columns).zip(&names) {
                let both = vec![Expr::Column(left.clone()), Expr::Column(right.clone())];
                exprs.push(coalesce.call(both).alias(name));
            }
            let projected = Projection::try_new(exprs, Arc::new(joined))?;
            let columns = names.into_iter().map(Column::from_name).collect();
            Ok((LogicalPlan::Projection(projected), columns))
        }
        _ => Err(not_supported("this join")),
    }
}

fn null_safe_join(
    left: LogicalPlan,
    right: LogicalPlan,
    join_type: JoinType,
    on: Vec<(Expr, Expr)>,
    filter: Option<Expr>,
) -> Result<LogicalPlan> {
    let join = Join::try_new(
        Arc::new(left),
        Arc::new(right),
        on,
        filter,
        join_type,
        JoinConstraint::On,
        NullEquality::NullEqualsNull,
        false,
    )?;
    Ok(LogicalPlan::Join(join))
}

// ---- joins with what names their left side

/// Whether a plan names columns of another one as outer ones.
pub fn names_columns_of(right: &LogicalPlan, left: &LogicalPlan) -> bool {
    right
        .all_out_ref_exprs()
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
    let right = rewrite(right)?;
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

// ---- subqueries of expressions

/// Takes the correlated subqueries out of all expressions of a plan.
pub fn rewrite(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            found |= has(expr, |inner| subquery_of(inner).is_some_and(is_correlated));
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

fn subquery_of(expr: &Expr) -> Option<&Subquery> {
    match expr {
        Expr::ScalarSubquery(subquery) => Some(subquery),
        Expr::Exists(exists) => Some(&exists.subquery),
        Expr::InSubquery(call) => Some(&call.subquery),
        Expr::SetComparison(comparison) => Some(&comparison.subquery),
        _ => None,
    }
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
        correlated |= has(expr, |inner| subquery_of(inner).is_some());
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
            for part in split_conjunction_owned(filter.predicate) {
                match condition_join(input.clone(), &part)? {
                    Some(joined) => input = joined,
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
            // What is grouped and aggregated is computed below.
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
            super::from::aliased(
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
    !has(expr, |node| subquery_of(node).is_some())
}

/// Joins an input with the correlated subqueries of an expression, which then names their columns.
fn value_joins(input: LogicalPlan, expr: Expr) -> Result<(LogicalPlan, Expr)> {
    let mut input = input;
    let mut failed = None;
    let replaced = expr.transform_down(|node| {
        let Some(subquery) = subquery_of(&node) else {
            return Ok(Transformed::no(node));
        };
        // What is not correlated is the engine's to run, but for what is in it.
        if !is_correlated(subquery) {
            let plan = match inner_first(subquery) {
                Ok(plan) => plan,
                Err(error) => return Err(crate::sql::functions::fail(error)),
            };
            return Ok(Transformed::new(
                with_subquery(node, plan),
                true,
                TreeNodeRecursion::Jump,
            ));
        }
        match value_join(input.clone(), &node) {
            Ok((joined, value)) => {
                input = joined;
                Ok(Transformed::new(value, true, TreeNodeRecursion::Jump))
            }
            Err(error) => {
                failed = Some(error.clone());
                Err(crate::sql::functions::fail(error))
            }
        }
    });
    match (replaced, failed) {
        (Ok(replaced), _) => Ok((input, replaced.data)),
        (Err(_), Some(error)) => Err(error),
        (Err(error), None) => Err(error.into()),
    }
}

fn with_subquery(node: Expr, plan: LogicalPlan) -> Expr {
    let made = |subquery: Subquery| Subquery {
        outer_ref_columns: plan.all_out_ref_exprs(),
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

/// The join with one subquery, and what stands for it.
fn value_join(input: LogicalPlan, node: &Expr) -> Result<(LogicalPlan, Expr)> {
    let subquery = subquery_of(node).expect("the caller has looked");
    let plan = inner_first(subquery)?;
    let own = plan.schema().columns();
    let domain = Domain::of(&plan, &input)?;
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
        exprs.extend(keys());
        let projected = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(right))?);
        let right = super::from::aliased(projected, &alias)?;
        let joined = null_safe_join(input, right, JoinType::Left, on, None)?;
        return Ok((joined, of_right("\u{1}value")));
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
    let right = super::from::aliased(marked, &alias)?;
    let filter = value.map(|value| binary(value, Operator::Eq, of_right("\u{1}value")));
    let joined = null_safe_join(input, right, JoinType::Left, on, filter)?;
    let mark = of_right("\u{1}mark");
    let found = match negated {
        true => Expr::IsNull(Box::new(mark)),
        false => Expr::IsNotNull(Box::new(mark)),
    };
    Ok((joined, found))
}

/// A condition of WHERE, where NULL and false are alike: rows that match in a subquery need not be told from those that may.
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
