//! GROUP BY and aggregates: the node of the plan that computes them, and the expressions above it.
//!
//! One rule: above it, a column is a key of the groups or stands in an aggregate; anything else is 42803.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DataFusionError, ScalarValue};
use datafusion::logical_expr::expr::GroupingSet;
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, Projection};
use sqlparser::ast;

use super::operators::has;
use super::scope::{Clause, FromItem, Scope};
use super::typed::at;
use super::{Analyzer, Result};
use crate::error::{SqlError, state};
use crate::sql::error::visible_name;
use crate::sql::functions::{fail, functions, is_percentile};
use crate::sql::plan::names::fold;
use crate::sql::plan::subquery::held;
use crate::sql::statement::mark;

/// ROLLUP and CUBE within GROUPING SETS.
fn nested_sets(call: &ast::Function) -> Option<ast::Expr> {
    let [part] = call.name.0.as_slice() else { return None };
    let make = match part
        .as_ident()
        .filter(|name| name.quote_style.is_none())?
        .value
        .as_str()
    {
        "rollup" => ast::Expr::Rollup,
        "cube" => ast::Expr::Cube,
        _ => return None,
    };
    let ast::FunctionArguments::List(list) = &call.args else {
        return None;
    };
    let parts = list.args.iter().map(|arg| match arg {
        ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => Some(vec![expr.clone()]),
        _ => None,
    });
    Some(make(parts.collect::<Option<_>>()?))
}

/// Most sets that GROUPING SETS, CUBE and ROLLUP make together, as in PostgreSQL.
const SETS_MAX: usize = 4096;

/// Groups without the number of each row's grouping set, which is the engine's own: nothing above may name it, because it is gone
/// once grouping() is computed.
fn without_set_number(plan: LogicalPlan) -> Result<LogicalPlan> {
    let all = plan.schema().columns();
    let is_shown = |column: &Column| column.name != Aggregate::INTERNAL_GROUPING_ID;
    if all.iter().all(is_shown) {
        return Ok(plan);
    }
    let shown = all.into_iter().filter(is_shown).map(Expr::Column).collect();
    let shown = Projection::try_new(shown, Arc::new(plan))?;
    Ok(LogicalPlan::Projection(shown))
}

impl Analyzer<'_> {
    /// The sets of keys that GROUP BY asks for; `None` if there is no GROUP BY.
    pub fn grouping_sets(
        &self,
        group_by: &ast::GroupByExpr,
        targets: &[(String, Expr)],
        scope: &Scope,
    ) -> Result<Option<Vec<Vec<Expr>>>> {
        let ast::GroupByExpr::Expressions(items, modifiers) = group_by else {
            return Err(SqlError::new(state::SYNTAX_ERROR, "syntax error at or near \"ALL\""));
        };
        if !modifiers.is_empty() {
            return Err(SqlError::new(state::SYNTAX_ERROR, "syntax error at or near \"WITH\""));
        }
        if items.is_empty() {
            return Ok(None);
        }
        let is_mark =
            |item: &ast::Expr| matches!(item, ast::Expr::Identifier(name) if name.value == mark::DISTINCT_SETS);
        let distinct = is_mark(&items[0]);
        let mut sets: Vec<Vec<Expr>> = vec![vec![]];
        for item in &items[usize::from(distinct)..] {
            let choices = scope.within(Clause::GroupBy, || self.choices(item, targets, scope))?;
            if sets.len().saturating_mul(choices.len()) > SETS_MAX {
                return Err(SqlError::new(
                    state::STATEMENT_TOO_COMPLEX,
                    format!("too many grouping sets present (maximum {SETS_MAX})"),
                ));
            }
            let combine = |set: &Vec<Expr>, choice: &Vec<Expr>| {
                let mut both = set.clone();
                both.extend(choice.iter().filter(|key| !set.contains(key)).cloned());
                both
            };
            sets = sets
                .iter()
                .flat_map(|set| choices.iter().map(|choice| combine(set, choice)).collect::<Vec<_>>())
                .collect();
        }
        if distinct {
            let mut kept: Vec<Vec<Expr>> = Vec::with_capacity(sets.len());
            for set in sets {
                let same = |other: &Vec<Expr>| other.len() == set.len() && set.iter().all(|key| other.contains(key));
                if !kept.iter().any(same) {
                    kept.push(set);
                }
            }
            sets = kept;
        }
        Ok(Some(sets))
    }

    /// The sets that one item of GROUP BY stands for.
    fn choices(&self, item: &ast::Expr, targets: &[(String, Expr)], scope: &Scope) -> Result<Vec<Vec<Expr>>> {
        let keys = |exprs: &[ast::Expr]| -> Result<Vec<Expr>> {
            let mut all = Vec::with_capacity(exprs.len());
            for expr in exprs {
                all.extend(self.keys(expr, targets, scope)?);
            }
            Ok(all)
        };
        if let ast::Expr::Rollup(parts) | ast::Expr::Cube(parts) = item
            && parts.iter().any(Vec::is_empty)
        {
            return Err(SqlError::new(state::SYNTAX_ERROR, "syntax error at or near \")\""));
        }
        match item {
            ast::Expr::Rollup(parts) => {
                let parts = parts.iter().map(|part| keys(part)).collect::<Result<Vec<_>>>()?;
                Ok((0..=parts.len()).rev().map(|count| parts[..count].concat()).collect())
            }
            ast::Expr::Cube(parts) => {
                if parts.len() > 12 {
                    return Err(SqlError::new(state::TOO_MANY_COLUMNS, "CUBE is limited to 12 elements"));
                }
                let parts = parts.iter().map(|part| keys(part)).collect::<Result<Vec<_>>>()?;
                let sets = (0..1usize << parts.len()).rev();
                Ok(sets
                    .map(|chosen| {
                        let bit = |at: usize| chosen >> (parts.len() - 1 - at) & 1 == 1;
                        (0..parts.len())
                            .filter(|at| bit(*at))
                            .flat_map(|at| parts[at].clone())
                            .collect()
                    })
                    .collect())
            }
            ast::Expr::GroupingSets(sets) => {
                let mut all = Vec::with_capacity(sets.len());
                for set in sets {
                    match set.as_slice() {
                        // ROLLUP and CUBE may stand within: the parser takes them for calls.
                        [ast::Expr::Function(call)] if nested_sets(call).is_some() => {
                            let nested = nested_sets(call).expect("it was looked at");
                            all.extend(self.choices(&nested, targets, scope)?);
                        }
                        plain => all.push(keys(plain)?),
                    }
                }
                Ok(all)
            }
            ast::Expr::Tuple(parts) => Ok(vec![keys(parts)?]),
            plain => Ok(vec![self.keys(plain, targets, scope)?]),
        }
    }

    fn keys(&self, expr: &ast::Expr, targets: &[(String, Expr)], scope: &Scope) -> Result<Vec<Expr>> {
        use sqlparser::ast::Spanned;
        let position = self.position(expr.span());
        let target = |at: usize| {
            let key = targets[at].1.clone();
            self.check_key(&key, position)?;
            Ok(vec![key])
        };
        if let Some(constant) = super::number::written_constant(expr) {
            return target(self.place(&constant, position, targets.len(), "GROUP BY")?);
        }
        match expr {
            ast::Expr::Nested(inner) if matches!(inner.as_ref(), ast::Expr::Tuple(_)) => {
                return self.keys(inner, targets, scope);
            }
            ast::Expr::Tuple(parts) => {
                let mut all = Vec::new();
                for part in parts {
                    all.extend(self.keys(part, targets, scope)?);
                }
                return Ok(all);
            }
            // A column of FROM comes before an output name.
            ast::Expr::Identifier(ident) => {
                let name = fold(ident);
                let mut columns = scope
                    .items
                    .iter()
                    .filter(|item| item.bare)
                    .flat_map(|item| &item.columns);
                if !columns.any(|column| column.name == name) {
                    let mut found = targets.iter().enumerate().filter(|(_, (target, _))| *target == name);
                    if let Some((first, (_, expr))) = found.next() {
                        if found.any(|(_, (_, other))| other != expr) {
                            return Err(at(
                                SqlError::new(state::AMBIGUOUS_COLUMN, format!("GROUP BY \"{name}\" is ambiguous")),
                                position,
                            ));
                        }
                        return target(first);
                    }
                }
            }
            _ => {}
        }
        let typed = self.expr(expr, scope)?;
        if let Some(fields) = typed.fields() {
            return Ok(fields.iter().map(|(_, field)| field.expr.clone()).collect());
        }
        Ok(vec![self.settle(typed)?.expr])
    }

    /// An output column that groups is no aggregate.
    fn check_key(&self, key: &Expr, position: Option<usize>) -> Result<()> {
        let mut error = None;
        key.apply(|node| {
            error = match node {
                Expr::AggregateFunction(_) => Some(SqlError::new(
                    state::GROUPING_ERROR,
                    "aggregate functions are not allowed in GROUP BY",
                )),
                Expr::WindowFunction(_) => Some(SqlError::new(
                    state::WINDOWING_ERROR,
                    "window functions are not allowed in GROUP BY",
                )),
                _ => return Ok(TreeNodeRecursion::Continue),
            };
            Ok(TreeNodeRecursion::Stop)
        })?;
        error.map_or(Ok(()), |error| Err(at(error, position)))
    }

    /// Groups the rows of a plan; rewrites `exprs` to the columns of the result.
    pub fn grouped(
        &self,
        plan: LogicalPlan,
        sets: Vec<Vec<Expr>>,
        scope: &Scope,
        exprs: &mut [Expr],
    ) -> Result<LogicalPlan> {
        let mut sets = sets;
        if let [only] = sets.as_mut_slice() {
            add_dependent(only, &scope.items, exprs)?;
        }
        let mut calls: Vec<Expr> = Vec::new();
        for expr in exprs.iter() {
            expr.apply(|node| {
                if matches!(node, Expr::AggregateFunction(_)) {
                    if !calls.contains(node) {
                        calls.push(node.clone());
                    }
                    return Ok(TreeNodeRecursion::Jump);
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        let plan = self.rows_below(plan, &mut sets, exprs)?;
        let outer: Vec<Expr> = scope.aggregates.borrow().iter().cloned().map(Expr::unalias).collect();
        self.check_grouping(&calls, &sets)?;
        self.check_grouping(&outer, &sets)?;
        self.check_direct_arguments(&calls, &sets, scope)?;
        // A key over outer columns, or with a query in it, is renamed when the query is unnested.
        let is_outer = |key: &Expr| has(key, |node| matches!(node, Expr::OuterReferenceColumn(..)));
        // grouping(x) looks for x among the keys, which may change before the engine does.
        let is_grouping = |call: &Expr| matches!(call, Expr::AggregateFunction(call) if call.func.name() == "grouping");
        let is_query = |key: &Expr| has(key, |node| held(node).is_some());
        let moves = sets.len() > 1
            || sets.iter().flatten().any(|key| is_outer(key) || is_query(key))
            || calls.iter().any(is_grouping);
        let (plan, below) = match moves {
            true => self.keys_below(plan, &mut sets)?,
            false => (plan, vec![]),
        };
        let called: Vec<Expr> = calls
            .iter()
            .map(|call| over_columns(call.clone(), &below))
            .collect::<Result<_>>()?;
        let named = named_apart(&plan, &called);
        let mut aggregates: Vec<Expr> = named.iter().map(|(expr, _)| expr.clone()).collect();
        let outer = scope.aggregates.borrow().clone();
        aggregates.extend(outer.iter().cloned());
        let group_expr = match sets.len() {
            1 => sets.remove(0),
            _ => vec![Expr::GroupingSet(GroupingSet::GroupingSets(sets))],
        };
        if group_expr.is_empty() && aggregates.is_empty() {
            let count = functions().aggregate.get("count").expect("it is the engine's");
            let one = Expr::Literal(ScalarValue::Int64(Some(1)), None);
            aggregates.push(count.call(vec![one]).alias(self.internal_name("count")));
        }
        let group_expr = unclashing(group_expr, &aggregates);
        let keys: Vec<Expr> = grouping_set_to_exprlist(&group_expr)?
            .into_iter()
            .filter(|key| !matches!(key, Expr::GroupingSet(_)))
            .cloned()
            .collect();
        let input_schema = plan.schema().clone();
        let aggregate = Aggregate::try_new(Arc::new(plan), group_expr, aggregates)?;
        let plan = LogicalPlan::Aggregate(aggregate);
        let output_schema = plan.schema().clone();
        self.check_inlined(scope, &input_schema, &output_schema)?;
        let plan = without_set_number(plan)?;
        let columns: Vec<(Expr, Column)> = keys
            .into_iter()
            .map(|key| {
                let column = match &key {
                    Expr::Column(column) => column.clone(),
                    Expr::Alias(alias) => Column::from_name(&alias.name),
                    other => Column::from_name(other.schema_name().to_string()),
                };
                (key.unalias(), column)
            })
            .chain(below)
            .collect();
        for expr in exprs.iter_mut() {
            let replaced = std::mem::take(expr).transform_down(|node| {
                let column = match columns.iter().find(|(key, _)| *key == node) {
                    Some((_, column)) => Some(column.clone()),
                    None => calls
                        .iter()
                        .position(|call| *call == node)
                        .map(|at| named[at].1.clone()),
                };
                if let Some(column) = column {
                    return Ok(Transformed::new(Expr::Column(column), true, TreeNodeRecursion::Jump));
                }
                match &node {
                    Expr::Column(column) => Err(fail(self.ungrouped(column, scope))),
                    other => {
                        if let Some(subquery) = held(other) {
                            self.check_outer(&subquery.outer_ref_columns, &input_schema, &output_schema)?;
                        }
                        Ok(Transformed::no(node))
                    }
                }
            });
            *expr = replaced.map_err(SqlError::from)?.data;
        }
        Ok(plan)
    }

    /// Makes the rows of keys that return sets, before they are grouped by.
    fn rows_below(&self, plan: LogicalPlan, sets: &mut [Vec<Expr>], exprs: &mut [Expr]) -> Result<LogicalPlan> {
        let makes_rows = |key: &Expr| has(key, |node| super::rows::list_of(node).is_some());
        let mut keys: Vec<Expr> = Vec::new();
        for key in sets.iter().flatten() {
            if makes_rows(key) && !keys.contains(key) {
                keys.push(key.clone());
            }
        }
        if keys.is_empty() {
            return Ok(plan);
        }
        let mut made = keys.clone();
        let plan = super::rows::compute(self, plan, &mut made)?;
        let replace = |expr: &mut Expr| -> Result<()> {
            let replaced = std::mem::take(expr).transform_down(|node| {
                Ok(match keys.iter().position(|key| *key == node) {
                    Some(at) => Transformed::new(made[at].clone(), true, TreeNodeRecursion::Jump),
                    None => Transformed::no(node),
                })
            })?;
            *expr = replaced.data;
            Ok(())
        };
        sets.iter_mut().flatten().try_for_each(&replace)?;
        exprs.iter_mut().try_for_each(&replace)?;
        Ok(plan)
    }

    /// Computes keys before they are grouped by, so that each is a column: the engine names sets of expressions as it
    /// likes. Returns the keys as they were, and their columns.
    fn keys_below(&self, plan: LogicalPlan, sets: &mut [Vec<Expr>]) -> Result<(LogicalPlan, Vec<(Expr, Column)>)> {
        let mut below: Vec<(Expr, Column)> = Vec::new();
        for key in sets.iter_mut().flatten() {
            if matches!(key, Expr::Column(_)) {
                continue;
            }
            let column = match below.iter().find(|(known, _)| known == key) {
                Some((_, column)) => column.clone(),
                None => {
                    let column = Column::from_name(self.internal_name("key"));
                    below.push((key.clone(), column.clone()));
                    column
                }
            };
            *key = Expr::Column(column);
        }
        if below.is_empty() {
            return Ok((plan, below));
        }
        let mut exprs: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
        exprs.extend(below.iter().map(|(key, column)| key.clone().alias(&column.name)));
        let projected = Projection::try_new(exprs, Arc::new(plan))?;
        Ok((LogicalPlan::Projection(projected), below))
    }

    fn ungrouped(&self, column: &Column, scope: &Scope) -> SqlError {
        let item = scope.items.iter().find(|item| {
            let mut columns = item.columns.iter();
            item.name.is_some() && columns.any(|known| known.expr == Expr::Column(column.clone()))
        });
        let shown = item.and_then(|item| {
            let known = item
                .columns
                .iter()
                .find(|known| known.expr == Expr::Column(column.clone()))?;
            Some(format!("{}.{}", item.name.as_deref()?, known.name))
        });
        let shown = shown.unwrap_or_else(|| visible_name(&column.name).to_string());
        let message =
            format!("column \"{shown}\" must appear in the GROUP BY clause or be used in an aggregate function");
        at(
            SqlError::new(state::GROUPING_ERROR, message),
            self.positions.borrow().get(column).copied(),
        )
    }

    /// The fraction of `percentile_cont` is one of each group: over keys, which all sets must have.
    fn check_direct_arguments(&self, calls: &[Expr], sets: &[Vec<Expr>], scope: &Scope) -> Result<()> {
        for call in calls {
            let Expr::AggregateFunction(call) = call else {
                continue;
            };
            let [_, fraction] = call.params.args.as_slice() else {
                continue;
            };
            if !is_percentile(call.func.name()) || fraction.column_refs().is_empty() {
                continue;
            }
            fraction.apply(|node| {
                let keyed = sets.iter().filter(|set| set.contains(node)).count();
                match node {
                    _ if keyed > 0 && keyed == sets.len() => Ok(TreeNodeRecursion::Jump),
                    _ if keyed > 0 => Err(fail(SqlError::unsupported(
                        format!(
                            "a fraction of {} that not all grouping sets have is not supported",
                            call.func.name()
                        ),
                        "Group by it in a query for each set, and join these by UNION ALL.",
                    ))),
                    Expr::Column(column) => Err(fail(
                        self.ungrouped(column, scope)
                            .detail("Direct arguments of an ordered-set aggregate must use only grouped columns."),
                    )),
                    _ => Ok(TreeNodeRecursion::Continue),
                }
            })?;
        }
        Ok(())
    }

    /// A column of this query that a subquery names must be a key as well.
    fn check_outer(
        &self,
        outer: &[Expr],
        input: &DFSchema,
        output: &DFSchema,
    ) -> std::result::Result<(), DataFusionError> {
        for expr in outer {
            if let Expr::OuterReferenceColumn(_, column) = expr {
                self.check_outer_column(column, input, output).map_err(fail)?;
            }
        }
        Ok(())
    }

    fn check_outer_column(&self, column: &Column, input: &DFSchema, output: &DFSchema) -> Result<()> {
        if !input.has_column(column) || output.has_column(column) {
            return Ok(());
        }
        let shown = match &column.relation {
            Some(relation) => format!("{}.{}", visible_name(relation.table()), visible_name(&column.name)),
            None => visible_name(&column.name).to_string(),
        };
        let message = format!("subquery uses ungrouped column \"{shown}\" from outer query");
        let position = self.positions.borrow().get(column).copied();
        Err(at(SqlError::new(state::GROUPING_ERROR, message), position))
    }

    /// The same of a subquery that has become an expression: it is a key as a whole only where it stands in GROUP BY too.
    fn check_inlined(&self, scope: &Scope, input: &DFSchema, output: &DFSchema) -> Result<()> {
        let inlined = scope.inlined.borrow();
        for (expr, clause) in inlined.iter() {
            let shown = matches!(
                clause,
                Clause::Select | Clause::Having | Clause::OrderBy | Clause::DistinctOn
            );
            if !shown || inlined.contains(&(expr.clone(), Clause::GroupBy)) {
                continue;
            }
            let mut columns = Vec::new();
            expr.apply(|node| {
                if let Expr::Column(column) = node {
                    columns.push(column);
                }
                Ok(match node {
                    Expr::AggregateFunction(_) => TreeNodeRecursion::Jump,
                    _ => TreeNodeRecursion::Continue,
                })
            })?;
            for column in columns {
                self.check_outer_column(column, input, output)?;
            }
        }
        Ok(())
    }

    /// 42601 for GROUPING, which takes expressions and nothing else.
    pub fn misspelled_grouping(&self, call: &ast::Function) -> Option<SqlError> {
        let has_arguments = matches!(&call.args, ast::FunctionArguments::List(list) if !list.args.is_empty());
        let word = match () {
            () if !has_arguments => ")",
            () if call.over.is_some() => "over",
            () if call.filter.is_some() => "filter",
            () => return None,
        };
        Some(SqlError::new(
            state::SYNTAX_ERROR,
            format!("syntax error at or near \"{word}\""),
        ))
    }

    /// GROUPING takes keys.
    fn check_grouping(&self, calls: &[Expr], sets: &[Vec<Expr>]) -> Result<()> {
        for call in calls {
            if let Expr::AggregateFunction(call) = call
                && call.func.name() == "grouping"
            {
                let is_key = |argument: &Expr| sets.iter().any(|set| set.contains(argument));
                if !call.params.args.iter().all(is_key) {
                    return Err(SqlError::new(
                        state::GROUPING_ERROR,
                        "arguments to GROUPING must be grouping expressions of the associated query level",
                    ));
                }
            }
        }
        Ok(())
    }
}

/// All columns of a system relation follow from its `oid`.
fn add_dependent(keys: &mut Vec<Expr>, items: &[FromItem], exprs: &[Expr]) -> Result<()> {
    for item in items.iter().filter(|item| item.is_system && item.name.is_some()) {
        let is_key = item
            .columns
            .iter()
            .any(|column| column.name == "oid" && keys.contains(&column.expr));
        if !is_key {
            continue;
        }
        for expr in exprs {
            expr.apply(|node| {
                if matches!(node, Expr::AggregateFunction(_)) {
                    return Ok(TreeNodeRecursion::Jump);
                }
                let dependent = item.columns.iter().any(|column| column.expr == *node);
                if dependent && !keys.contains(node) {
                    keys.push(node.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
    }
    Ok(())
}

/// Keys that print like an aggregate, or like another key, under names of their own.
fn unclashing(keys: Vec<Expr>, aggregates: &[Expr]) -> Vec<Expr> {
    if keys.iter().any(|key| matches!(key, Expr::GroupingSet(_))) {
        return keys;
    }
    let columns = keys.iter().filter(|key| matches!(key, Expr::Column(_)));
    let mut used: Vec<String> = aggregates
        .iter()
        .chain(columns)
        .map(|expr| expr.schema_name().to_string())
        .collect();
    keys.into_iter()
        .enumerate()
        .map(|(at, key)| {
            if matches!(key, Expr::Column(_)) {
                return key;
            }
            let name = key.schema_name().to_string();
            if used.contains(&name) {
                return key.alias(format!("{name}\u{1}{at}"));
            }
            used.push(name);
            key
        })
        .collect()
}

/// Expressions that become columns beside those of a plan, and these columns: a name that would print alike gets a
/// mark.
pub fn named_apart(plan: &LogicalPlan, exprs: &[Expr]) -> Vec<(Expr, Column)> {
    let mut used: Vec<String> = plan
        .schema()
        .iter()
        .filter(|(qualifier, _)| qualifier.is_none())
        .map(|(_, field)| field.name().clone())
        .collect();
    exprs
        .iter()
        .enumerate()
        .map(|(at, expr)| {
            let name = expr.schema_name().to_string();
            if !used.contains(&name) {
                used.push(name.clone());
                return (expr.clone(), Column::from_name(name));
            }
            let name = format!("{name}\u{1}{at}");
            used.push(name.clone());
            (expr.clone().alias(&name), Column::from_name(name))
        })
        .collect()
}

/// `grouping(key)` of the column that its key has become.
fn over_columns(call: Expr, below: &[(Expr, Column)]) -> Result<Expr> {
    let made = call.transform_down(|node| match node {
        Expr::AggregateFunction(mut call) if call.func.name() == "grouping" => {
            for argument in &mut call.params.args {
                if let Some((_, column)) = below.iter().find(|(key, _)| key == argument) {
                    *argument = Expr::Column(column.clone());
                }
            }
            Ok(Transformed::new(
                Expr::AggregateFunction(call),
                true,
                TreeNodeRecursion::Jump,
            ))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(made.data)
}
