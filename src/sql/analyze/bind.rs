//! A subquery's plan over the values of the outer columns that it names: the domain is pushed down, node by node, until nothing
//! names them any more.

use std::cell::Cell;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, JoinType, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunction, GroupingSet, Sort};
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Distinct, DistinctOn, Expr, ExprSchemable, Filter, Join, JoinConstraint, Limit, LogicalPlan,
    LogicalPlanBuilder, Operator, Projection, RecursiveQuery, Sort as SortNode, SubqueryAlias, Union, Window,
};

use super::key_join::{EqualPairs, null_safe_join};
use super::operators::{binary, conjunction, has};
use super::scope::reference;
use super::{Result, window};
use crate::error::SqlError;
use crate::sql::asof::AsofJoin;
use crate::sql::functions::functions;
use crate::sql::plan::provider::cte_work_table;
use crate::sql::plan::subquery::outer_references;
use crate::sql::shared::SharedQuery;

thread_local! {
    /// Numbers the names that are made here.
    static NAMES: Cell<usize> = const { Cell::new(0) };
}

pub fn name(what: &str) -> String {
    NAMES.with(|names| {
        names.set(names.get() + 1);
        format!("\u{1}{what}{}", names.get())
    })
}

/// The columns of an outer plan that a subquery is over.
pub struct Domain {
    /// Of the outer plan.
    pub outer: Vec<Column>,
    /// Their names within the subquery.
    pub names: Vec<String>,
    /// Their values, each once.
    values: LogicalPlan,
    /// Within a recursive query: the rows that it reads of itself have them, too.
    work: Option<WorkTable>,
}

/// The rows that a recursive query reads of itself, by its name, and with the domain's columns.
struct WorkTable {
    name: String,
    scan: LogicalPlan,
}

impl Domain {
    /// Of those columns that `plan` names of `left`.
    pub fn of(plan: &LogicalPlan, left: &LogicalPlan) -> Result<Domain> {
        let mut outer: Vec<Column> = Vec::new();
        for reference in outer_references(plan) {
            if let Expr::OuterReferenceColumn(_, column) = reference
                && left.schema().has_column(&column)
                && !outer.contains(&column)
            {
                outer.push(column);
            }
        }
        let names: Vec<String> = outer.iter().map(|_| name("outer")).collect();
        if outer.is_empty() {
            // It names columns of a query further out only.
            return Ok(Domain {
                outer,
                names,
                values: LogicalPlanBuilder::empty(true).build()?,
                work: None,
            });
        }
        let exprs = outer
            .iter()
            .zip(&names)
            .map(|(column, name)| Expr::Column(column.clone()).alias(name));
        let projected = Projection::try_new(exprs.collect(), Arc::new(left.clone()))?;
        let values = LogicalPlan::Distinct(Distinct::All(Arc::new(LogicalPlan::Projection(projected))));
        Ok(Domain {
            outer,
            names,
            values,
            work: None,
        })
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
        let is_work = |node: &LogicalPlan| {
            matches!((node, &self.work), (LogicalPlan::TableScan(scan), Some(work))
            if scan.table_name.table() == work.name)
        };
        if self.work.is_some() && plan.exists(|node| Ok(is_work(node))).unwrap_or(false) {
            return true;
        }
        outer_references(plan).iter().any(|expr| self.names_one(expr))
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

pub fn not_supported(what: &str) -> SqlError {
    SqlError::unsupported(
        format!("{what} cannot name columns of the query around it"),
        "Join with it instead.",
    )
}

/// A plan with the domain's columns, whose places are returned. `optional`: a value for which there is no row may be left out,
/// because the join above takes a row of NULLs for that.
pub fn bind(plan: &LogicalPlan, domain: &Domain, optional: bool) -> Result<(LogicalPlan, Vec<Column>)> {
    crate::stop::check()?;
    if !domain.is_in(plan) {
        let (values, columns) = domain.instance()?;
        let crossed = match plan {
            LogicalPlan::EmptyRelation(empty) if empty.produce_one_row && empty.schema.fields().is_empty() => values,
            other => super::key_join::join(values, other.clone(), JoinType::Inner, vec![], None)?,
        };
        return Ok((crossed, columns));
    }
    match plan {
        LogicalPlan::TableScan(_) => {
            let work = domain.work.as_ref().expect("a scan names no columns");
            Ok((
                work.scan.clone(),
                domain.names.iter().map(|name| column_in(&work.scan, name)).collect(),
            ))
        }
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
        LogicalPlan::RecursiveQuery(query) => bind_recursive(query, domain),
        // Its rows differ from one value of the domain to another.
        LogicalPlan::Extension(_) => match SharedQuery::of(plan) {
            Some(shared) => bind(&shared.body, domain, optional),
            None if AsofJoin::of(plan).is_some() => Err(not_supported("an ASOF JOIN")),
            None => Err(not_supported("a window")),
        },
        _ => Err(not_supported("this subquery")),
    }
}

/// The column of a scan by its name.
fn column_in(scan: &LogicalPlan, name: &str) -> Column {
    let schema = scan.schema();
    let at = schema
        .index_of_column_by_name(None, name)
        .expect("the scan was made with it");
    Column::from(schema.qualified_field(at))
}

/// A recursive query whose rows carry the domain's values along.
fn bind_recursive(query: &RecursiveQuery, domain: &Domain) -> Result<(LogicalPlan, Vec<Column>)> {
    let term = |plan: &LogicalPlan, domain: &Domain| -> Result<LogicalPlan> {
        let own = plan.schema().columns().into_iter();
        let fields = query.schema.fields().iter();
        let mut exprs: Vec<Expr> = own
            .zip(fields)
            .map(|(column, field)| Expr::Column(column).alias(field.name()))
            .collect();
        let (plan, columns) = bind(plan, domain, false)?;
        let named = columns.into_iter().zip(&domain.names);
        exprs.extend(named.map(|(column, name)| Expr::Column(column).alias(name)));
        Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?))
    };
    let first = term(&query.static_term, domain)?;
    let work = name("work");
    let fields = first
        .schema()
        .fields()
        .iter()
        .map(|field| field.as_ref().clone().with_nullable(true));
    let schema = Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>()));
    let scan = LogicalPlanBuilder::scan(work.as_str(), cte_work_table(&work, schema), None)?.build()?;
    let within = Domain {
        outer: domain.outer.clone(),
        names: domain.names.clone(),
        values: domain.values.clone(),
        work: Some(WorkTable {
            name: query.name.clone(),
            scan,
        }),
    };
    let next = term(&query.recursive_term, &within)?;
    let made = RecursiveQuery::try_new(work, Arc::new(first), Arc::new(next), query.is_distinct)?;
    let plan = LogicalPlan::RecursiveQuery(made);
    let columns = domain.names.iter().map(|name| column_in(&plan, name)).collect();
    Ok((plan, columns))
}

/// Whether an expression is a column or casts of one: NULL for an absent row.
fn is_plain(expr: &Expr) -> bool {
    match expr {
        Expr::Column(_) => true,
        Expr::Alias(alias) => is_plain(&alias.expr),
        Expr::Cast(cast) => is_plain(&cast.expr),
        _ => false,
    }
}

/// A filter whose equalities give every column of the domain.
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
    let empty_sets = match aggregate.group_expr.as_slice() {
        [Expr::GroupingSet(GroupingSet::GroupingSets(sets))] => sets.iter().filter(|set| set.is_empty()).count(),
        _ => 0,
    };
    if empty_sets > 1 {
        return Err(not_supported("a correlated subquery with several empty grouping sets"));
    }
    let has_groups = !aggregate.group_expr.is_empty() && empty_sets == 0;
    if has_groups || (optional && defaults.iter().all(Option::is_none)) {
        return Ok((made, columns));
    }
    // A row for each value of the domain, also where nothing was aggregated.
    let (values, kept) = domain.instance()?;
    let on = kept.iter().zip(&columns);
    let on = on
        .map(|(left, right)| (Expr::Column(left.clone()), Expr::Column(right.clone())))
        .collect();
    // The number of a row's grouping set is gone once grouping() is resolved: nothing above may name it.
    let mut shown = made.schema().columns();
    shown.retain(|column| column.name != Aggregate::INTERNAL_GROUPING_ID);
    let shown = shown.into_iter().map(Expr::Column).collect();
    let made = LogicalPlan::Projection(Projection::try_new(shown, Arc::new(made))?);
    let joined = null_safe_join(values, made, JoinType::Left, on, None)?;
    // The keys of the empty set are NULL.
    let keys = aggregate.schema.columns();
    let keys = keys
        .into_iter()
        .take(aggregate.schema.fields().len() - aggregate.aggr_expr.len());
    let mut exprs: Vec<Expr> = keys
        .filter(|key| key.name != Aggregate::INTERNAL_GROUPING_ID)
        .map(Expr::Column)
        .collect();
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

/// The value of an aggregate over no rows, if that is not NULL.
fn default_of(call: &Expr, schema: &datafusion::common::DFSchema) -> Option<ScalarValue> {
    let Expr::AggregateFunction(AggregateFunction { func, params }) = call.clone().unalias() else {
        return None;
    };
    if func.name() == "grouping" {
        let keys = params.args.len() as u32;
        return Some(ScalarValue::Int32(Some((1_i64 << keys).wrapping_sub(1) as i32)));
    }
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
    let condition = |columns: &[Column]| -> Result<(EqualPairs, Option<Expr>)> {
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
    // One side alone has the domain, if its rows do not depend on the other side.
    let left_only = match node.join_type {
        JoinType::Inner | JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => !in_right,
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
