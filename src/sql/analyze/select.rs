//! A SELECT: its list, its groups, windows and rows, DISTINCT, and the order of its output.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::Column;
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::{Distinct, DistinctOn, Expr, Filter, LogicalPlan, Projection};
use sqlparser::ast::{self, SelectItem, SelectItemQualifiedWildcardKind, Spanned};

use super::from_part::nothing;
use super::operators::has;
use super::output::{OutColumn, QueryOutput};
use super::query::{RowOrder, Wanted, order_items, sorted, with_ties};
use super::scope::{Clause, Scope};
use super::typed::{EQUALITY, ORDERING, Ty, Typed, at, cast_to, check_operator};
use super::{Analyzer, Result};
use crate::catalog;
use crate::error::{SqlError, state};
use crate::sql::functions::told::told;
use crate::sql::plan::names;
use crate::sql::statement::is_all_fields;
use crate::types::PgType;

/// An item of the list.
struct ListItem {
    name: String,
    typed: Typed,
    untyped: bool,
}

/// A sort key of rows: an item of the list, or an expression of its own.
enum OrderKey {
    Target(usize),
    Own(Typed),
}

impl Analyzer<'_> {
    pub fn select(
        &self,
        select: &ast::Select,
        query: &ast::Query,
        parent: Option<&Scope>,
        wanted: Wanted,
    ) -> Result<QueryOutput> {
        refuse_foreign(select)?;
        let is_branch = self.is_branch.take();
        let (mut plan, items) = match select.from.is_empty() {
            true => (nothing(true), vec![]),
            false => self.from(&select.from, parent)?,
        };
        let scope = Scope::new(items, parent);
        self.name_windows(select, &scope)?;
        // The clauses in PostgreSQL's order, which says which error comes first.
        let clause = match scope.items.iter().any(|item| item.inserted) {
            true => Clause::Returning,
            false => Clause::Select,
        };
        let mut targets = scope.within(clause, || self.targets(&select.projection, &scope))?;
        let mut condition_of_rows = None;
        if let Some(selection) = &select.selection {
            let typed = scope.within(Clause::Where, || self.expr(selection, &scope))?;
            let condition = self.condition(typed, "WHERE")?;
            condition_of_rows = Some(condition.clone());
            plan = LogicalPlan::Filter(Filter::try_new(super::unnest::simplified(condition), Arc::new(plan))?);
        }
        let having = match &select.having {
            Some(having) => {
                let typed = scope.within(Clause::Having, || self.expr(having, &scope))?;
                Some(self.condition(typed, "HAVING")?)
            }
            None => None,
        };
        let order = order_items(query)?;
        let mut keys = Vec::with_capacity(order.len());
        for by in order {
            let key = self.key(&by.expr, &targets, &scope)?;
            let typed = match &key {
                OrderKey::Target(at) => &targets[*at].typed,
                OrderKey::Own(typed) => typed,
            };
            check_operator(&typed.pg_type(), ORDERING, typed.position)?;
            keys.push((key, by.options));
        }
        // A parameter that nothing has given a type is text, but for one in a branch of a set operation.
        for target in targets.iter_mut().filter(|_| !is_branch) {
            if target.typed.is_unknown() {
                target.typed = self.settle(target.typed.clone())?;
            }
        }
        let shown: Vec<(String, Expr)> = targets
            .iter()
            .map(|target| (target.name.clone(), target.typed.expr.clone()))
            .collect();
        let mut sets = self.grouping_sets(&select.group_by, &shown, &scope)?;
        let distinct_on_exprs = match &select.distinct {
            Some(ast::Distinct::On(exprs)) => exprs.as_slice(),
            _ => &[],
        };
        let distinct_on = distinct_on_exprs
            .iter()
            .map(|expr| scope.within(Clause::DistinctOn, || self.key(expr, &targets, &scope)))
            .collect::<Result<Vec<_>>>()?;
        let is_distinct = matches!(select.distinct, Some(ast::Distinct::Distinct));
        let compared =
            |target: &&ListItem| is_distinct || sets.iter().flatten().flatten().any(|key| *key == target.typed.expr);
        for target in targets.iter().filter(compared) {
            check_operator(&target.typed.pg_type(), EQUALITY, target.typed.position)?;
        }
        if select.qualify.is_some() {
            return Err(SqlError::unsupported(
                "QUALIFY is not supported",
                "Filter on the window function's column in a query around it.",
            ));
        }

        // All expressions above FROM and WHERE: the list, then sort keys that are not in it, then HAVING.
        let mut exprs: Vec<Expr> = targets.iter().map(|target| target.typed.expr.clone()).collect();
        let mut types: Vec<PgType> = targets.iter().map(|target| target.typed.pg_type()).collect();
        let mut place_of = |key: &OrderKey| match key {
            OrderKey::Target(at) => *at,
            OrderKey::Own(typed) => match exprs.iter().position(|expr| *expr == typed.expr) {
                Some(at) => at,
                None => {
                    exprs.push(typed.expr.clone());
                    types.push(typed.pg_type());
                    exprs.len() - 1
                }
            },
        };
        let mut sorts: Vec<(usize, ast::OrderByOptions)> = Vec::with_capacity(keys.len());
        for (key, options) in &keys {
            let place = place_of(key);
            // A key that stands again decides nothing.
            if sorts.iter().all(|(at, _)| *at != place) {
                sorts.push((place, *options));
            }
        }
        let on: Vec<usize> = distinct_on.iter().map(&mut place_of).collect();
        let count = targets.len();
        if is_distinct && let Some(beyond) = keys.iter().position(|(key, _)| place_of(key) >= count) {
            return Err(at(
                SqlError::new(
                    state::INVALID_COLUMN_REFERENCE,
                    "for SELECT DISTINCT, ORDER BY expressions must appear in select list",
                ),
                self.position(order[beyond].expr.span()),
            ));
        }
        let on = sorted_keys(on, &mut sorts).map_err(|mismatch| {
            at(
                SqlError::new(
                    state::INVALID_COLUMN_REFERENCE,
                    "SELECT DISTINCT ON expressions must match initial ORDER BY expressions",
                ),
                self.position(distinct_on_exprs[mismatch].span()),
            )
        })?;
        let gaps = self.gaps(&mut sets, &mut exprs, condition_of_rows.as_ref())?;
        exprs.extend(having.clone());
        let aggregates = exprs
            .iter()
            .any(|expr| has(expr, |node| matches!(node, Expr::AggregateFunction(_))))
            || !scope.aggregates.borrow().is_empty();
        let is_grouped = sets.is_some() || having.is_some() || aggregates;
        if is_grouped {
            plan = self.grouped(plan, sets.unwrap_or_else(|| vec![vec![]]), &scope, &mut exprs)?;
        }
        if having.is_some() {
            let condition = exprs.pop().expect("it was put there");
            plan = LogicalPlan::Filter(Filter::try_new(condition, Arc::new(plan))?);
        }
        if let Some(gaps) = &gaps {
            plan = self.filled(plan, gaps, &mut exprs)?;
        }
        if let ([only], false) = (scope.items.as_slice(), is_grouped) {
            super::window::order_unordered(&mut exprs, &only.order)?;
        }
        plan = super::window::compute(self, plan, &mut exprs)?;
        plan = super::rows::compute(self, plan, &mut exprs)?;
        let (mut plan, columns) = self.project(plan, &targets, &exprs, &types)?;
        let sort_of = |place: usize, options: ast::OrderByOptions| {
            let typed = Typed::new(Expr::Column(columns[place].clone()), types[place].clone(), None);
            self.sort(typed, options)
        };
        let sorts: Vec<Sort> = sorts
            .into_iter()
            .map(|(place, options)| sort_of(place, options))
            .collect();
        let out = |count: usize| {
            targets
                .iter()
                .zip(&columns)
                .take(count)
                .map(|(target, column)| OutColumn {
                    name: target.name.clone(),
                    column: column.clone(),
                    pg_type: target.typed.pg_type(),
                    untyped: target.untyped,
                    row: target.typed.shape().of_rows(),
                    typmod: target.typed.typmod,
                })
        };
        let mut output_columns: Vec<OutColumn> = out(count).collect();
        let mut kept: Vec<Expr> = columns[..count].iter().cloned().map(Expr::Column).collect();
        if is_distinct {
            plan = LogicalPlan::Distinct(Distinct::All(Arc::new(plan)));
        }
        if !on.is_empty() {
            // As the rows are sorted: by the lengths of intervals.
            let keys = on
                .iter()
                .map(|at| sort_of(*at, ast::OrderByOptions::default()).expr)
                .collect();
            let all = columns.iter().cloned().map(Expr::Column).collect();
            let order = (!sorts.is_empty()).then(|| sorts.clone());
            let distinct = DistinctOn::try_new(keys, all, order, Arc::new(plan))?;
            plan = LogicalPlan::Distinct(Distinct::On(distinct));
        }
        if wanted == Wanted::Numbered {
            let name = self.internal_name("number");
            plan = super::window::row_number(plan, vec![], sorts.clone(), &name)?;
            kept.push(Expr::Column(Column::from_name(&name)));
            output_columns.push(OutColumn {
                name: name.clone(),
                column: Column::from_name(name),
                pg_type: PgType::Int8,
                untyped: false,
                row: None,
                typmod: None,
            });
        }
        if !sorts.is_empty() && !columns.is_empty() {
            plan = sorted(plan, sorts.clone());
        }
        if with_ties(query) && sorts.is_empty() {
            return Err(super::query::ties_without_order());
        }
        let extra = columns.len() > count;
        // The engine knows a limit over a sort, so sort keys that are not shown are taken off above both.
        let row_order = RowOrder {
            sorts: &sorts,
            ties: with_ties(query),
            own: Some(&scope),
        };
        plan = self.limited(plan, query, parent, &row_order)?;
        if extra {
            plan = LogicalPlan::Projection(Projection::try_new(kept, Arc::new(plan))?);
        }
        Ok(QueryOutput {
            plan,
            columns: output_columns,
        })
    }

    /// The list, with `*` written out.
    fn targets(&self, items: &[SelectItem], scope: &Scope) -> Result<Vec<ListItem>> {
        let mut targets = Vec::with_capacity(items.len());
        for item in items {
            match item {
                // `(row).*`
                SelectItem::UnnamedExpr(expr) if is_all_fields(expr) => {
                    let row = self.expr(expr, scope)?;
                    for (name, field) in row.fields().unwrap_or_default() {
                        targets.push(self.target(name.clone(), field.clone())?);
                    }
                }
                SelectItem::UnnamedExpr(expr) => {
                    let typed = self.expr(expr, scope)?;
                    targets.push(self.target_of(names::output_name(expr), typed)?);
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    self.check_label(alias)?;
                    let typed = self.expr(expr, scope)?;
                    targets.push(self.target_of(names::fold(alias), typed)?);
                }
                SelectItem::ExprWithAliases { .. } => {
                    return Err(SqlError::new(state::SYNTAX_ERROR, "a column has one name"));
                }
                SelectItem::Wildcard(options) => {
                    refuse_options(options)?;
                    if scope.items.is_empty() {
                        return Err(SqlError::new(
                            state::SYNTAX_ERROR,
                            "SELECT * with no tables specified is not valid",
                        ));
                    }
                    for column in self.star(&scope.items) {
                        self.note_star(&column.expr, None);
                        let typed = self.found(column, 0, None)?;
                        targets.push(self.target(column.name.clone(), typed)?);
                    }
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                    refuse_options(options)?;
                    let idents: Vec<ast::Ident> = name.0.iter().filter_map(|part| part.as_ident().cloned()).collect();
                    let row = self.item_row(&idents, scope)?;
                    for (name, field) in row.fields().unwrap_or_default() {
                        self.note_star(&field.expr, row.position);
                        targets.push(self.target(name.clone(), field.clone())?);
                    }
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::Expr(expr), options) => {
                    refuse_options(options)?;
                    self.row_targets(expr, scope, &mut targets)?;
                }
            }
        }
        Ok(targets)
    }

    /// The fields of a row as columns.
    fn row_targets(&self, row: &ast::Expr, scope: &Scope, targets: &mut Vec<ListItem>) -> Result<()> {
        let row = self.expr(row, scope)?;
        let Some(fields) = row.fields() else {
            return Err(at(
                SqlError::new(
                    state::WRONG_OBJECT_TYPE,
                    format!("type {} is not composite", row.type_name()),
                ),
                row.position,
            ));
        };
        for (name, field) in fields {
            targets.push(self.target(name.clone(), field.clone())?);
        }
        Ok(())
    }

    /// 42601 for a name without AS that is no bare label: a string, or a word that may go on an expression.
    fn check_label(&self, alias: &ast::Ident) -> Result<()> {
        let position = self.position(alias.span);
        if alias.quote_style == Some('\'') {
            let message = format!("syntax error at or near \"'{}'\"", alias.value);
            return Err(at(SqlError::new(state::SYNTAX_ERROR, message), position));
        }
        let Some(position) = position.filter(|_| alias.quote_style.is_none()) else {
            return Ok(());
        };
        if !catalog::requires_as(&alias.value.to_ascii_lowercase()) {
            return Ok(());
        }
        let before: String = self.ctx.text.chars().take(position - 1).collect();
        let before = before.trim_end();
        let word = before.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next();
        if word.is_some_and(|word| word.eq_ignore_ascii_case("as")) || before.ends_with("*/") {
            return Ok(());
        }
        let message = format!("syntax error at or near \"{}\"", alias.value);
        Err(at(SqlError::new(state::SYNTAX_ERROR, message), Some(position)))
    }

    fn note_star(&self, expr: &Expr, position: Option<usize>) {
        if let Expr::Column(column) = expr {
            self.note_position(column, position);
        }
    }

    /// A target that is written; a parameter without a type has none yet.
    fn target_of(&self, name: String, typed: Typed) -> Result<ListItem> {
        match typed.is_unknown() && matches!(typed.expr, Expr::Placeholder(_)) {
            true => Ok(ListItem {
                name,
                typed,
                untyped: true,
            }),
            false => self.target(name, typed),
        }
    }

    fn target(&self, name: String, typed: Typed) -> Result<ListItem> {
        let untyped = typed.is_unknown();
        let typed = match typed.ty {
            Ty::Row(_) => self.row_value(&typed)?,
            _ => self.settle(typed)?,
        };
        Ok(ListItem { name, typed, untyped })
    }

    /// The meaning of an item of ORDER BY or DISTINCT ON: the number or name of an output column, else an expression.
    fn key(&self, expr: &ast::Expr, targets: &[ListItem], scope: &Scope) -> Result<OrderKey> {
        let clause = match scope.clause.get() {
            Clause::DistinctOn => Clause::DistinctOn,
            _ => Clause::OrderBy,
        };
        if let Some(constant) = super::number::written_constant(expr) {
            return Ok(OrderKey::Target(self.place(
                &constant,
                self.position(expr.span()),
                targets.len(),
                clause.name(),
            )?));
        }
        if let ast::Expr::Identifier(ident) = expr {
            let name = names::fold(ident);
            let mut found = targets.iter().enumerate().filter(|(_, target)| target.name == name);
            if let Some((first, target)) = found.next() {
                if found.any(|(_, other)| other.typed.expr != target.typed.expr) {
                    return Err(at(
                        SqlError::new(
                            state::AMBIGUOUS_COLUMN,
                            format!("{} \"{name}\" is ambiguous", clause.name()),
                        ),
                        self.position(ident.span),
                    ));
                }
                return Ok(OrderKey::Target(first));
            }
        }
        let typed = scope.within(clause, || self.expr(expr, scope))?;
        let typed = match typed.ty {
            Ty::Row(_) => self.row_order(&typed)?,
            _ => self.settle(typed)?,
        };
        let same = targets.iter().position(|target| target.typed.expr == typed.expr);
        Ok(same.map_or(OrderKey::Own(typed), OrderKey::Target))
    }

    /// The projection of a SELECT, and its columns: the list's, then those that are only sort keys.
    fn project(
        &self,
        plan: LogicalPlan,
        targets: &[ListItem],
        exprs: &[Expr],
        types: &[PgType],
    ) -> Result<(LogicalPlan, Vec<Column>)> {
        let mut used: HashSet<String> = HashSet::new();
        let mut made = Vec::with_capacity(exprs.len());
        for (index, expr) in exprs.iter().enumerate() {
            let wanted = match targets.get(index) {
                Some(target) => target.name.clone(),
                None => self.internal_name("key"),
            };
            let name = match used.insert(wanted.clone()) {
                true => wanted,
                false => {
                    let marked = format!("{wanted}\u{1}{index}");
                    used.insert(marked.clone());
                    marked
                }
            };
            made.push((expr.clone(), name));
        }
        let aliased = |typed: &dyn Fn(usize) -> bool| -> Vec<Expr> {
            made.iter()
                .enumerate()
                .map(|(index, (expr, name))| match expr {
                    Expr::Column(column) if column.name == *name && !typed(index) => expr.clone(),
                    // A field without metadata is text: a cast suffices.
                    _ if typed(index) && matches!(types[index], PgType::Text | PgType::Varchar(None)) => {
                        cast_to(expr.clone(), &types[index]).alias(name)
                    }
                    _ if typed(index) => told(expr.clone(), &types[index]).alias(name),
                    _ => expr.clone().alias(name),
                })
                .collect()
        };
        let input = Arc::new(plan);
        let first = Projection::try_new(aliased(&|_| false), input.clone())?;
        // A field gets the metadata of its type if the expression does not give it.
        let untold: Vec<bool> = first
            .schema
            .fields()
            .iter()
            .zip(types)
            .map(|(field, pg_type)| {
                field.data_type() == &pg_type.arrow() && PgType::of_field(field).as_ref() != Some(pg_type)
            })
            .collect();
        let projection = match untold.contains(&true) {
            true => Projection::try_new(aliased(&|index| untold[index]), input)?,
            false => first,
        };
        let columns = projection.schema.columns();
        Ok((LogicalPlan::Projection(projection), columns))
    }
}

/// The keys of DISTINCT ON, each once, as rows are sorted by them: those of ORDER BY first, which gets the others at its
/// end. `Err` is the index of a key that ORDER BY has after another expression, or leaves out although it goes on.
fn sorted_keys(
    on: Vec<usize>,
    sorts: &mut Vec<(usize, ast::OrderByOptions)>,
) -> std::result::Result<Vec<usize>, usize> {
    let mut keys: Vec<usize> = sorts
        .iter()
        .map(|(at, _)| *at)
        .take_while(|at| on.contains(at))
        .collect();
    let late = sorts[keys.len()..]
        .iter()
        .find_map(|(at, _)| on.iter().position(|key| key == at));
    if let Some(late) = late {
        return Err(late);
    }
    let is_cut = keys.len() < sorts.len();
    let is_ordered = !sorts.is_empty();
    for (index, key) in on.into_iter().enumerate() {
        if keys.contains(&key) {
            continue;
        }
        if is_cut {
            return Err(index);
        }
        keys.push(key);
        if is_ordered {
            sorts.push((key, ast::OrderByOptions::default()));
        }
    }
    Ok(keys)
}

/// 42601 for clauses that other dialects put into a SELECT.
fn refuse_foreign(select: &ast::Select) -> Result<()> {
    let foreign = [
        (select.top.is_some(), "TOP"),
        (!select.lateral_views.is_empty(), "LATERAL VIEW"),
        (select.prewhere.is_some(), "PREWHERE"),
        (!select.connect_by.is_empty(), "CONNECT BY"),
        (!select.cluster_by.is_empty(), "CLUSTER BY"),
        (!select.distribute_by.is_empty(), "DISTRIBUTE BY"),
        (!select.sort_by.is_empty(), "SORT BY"),
        (select.value_table_mode.is_some(), "SELECT AS"),
        (select.exclude.is_some(), "EXCLUDE"),
    ];
    for (is_there, what) in foreign {
        if is_there {
            return Err(SqlError::new(
                state::SYNTAX_ERROR,
                format!("syntax error at or near \"{what}\""),
            ));
        }
    }
    if select.into.is_some() {
        return Err(SqlError::unsupported(
            "SELECT INTO is not supported yet",
            "Create a topic, and INSERT INTO it SELECT ...",
        ));
    }
    Ok(())
}

fn refuse_options(options: &ast::WildcardAdditionalOptions) -> Result<()> {
    let foreign = options.opt_ilike.is_some()
        || options.opt_exclude.is_some()
        || options.opt_except.is_some()
        || options.opt_replace.is_some()
        || options.opt_rename.is_some();
    match foreign {
        true => Err(SqlError::new(state::SYNTAX_ERROR, "syntax error after \"*\"").hint("Name the columns.")),
        false => Ok(()),
    }
}
