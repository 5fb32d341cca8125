//! The first pass over a SELECT's syntax tree: names are resolved against the catalog and written out in full, so that
//! the planner behind it has nothing left to guess.
//!
//! 1. A relation's name becomes `"schema"."name" AS name`, unless a CTE of that name is in scope; a name that is
//!    nowhere is 42P01 with its position.
//! 2. An output column without a name gets PostgreSQL's (`names.rs`); equal names in one list are kept apart by a mark
//!    that [`visible_name`](crate::sql::error::visible_name) takes off again.
//! 3. Hidden columns that the statement names are noted, and every `*` that would show them leaves them out.
//!
//! Not here: what columns there are, types, and windows (`provider.rs`, `windows.rs`).

use std::collections::{BTreeSet, HashSet};
use std::ops::ControlFlow;

use sqlparser::ast::{
    self, Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, ObjectNamePart, Query, SelectItem, TableAlias,
    TableFactor, VisitMut, VisitorMut,
};

use super::PlanContext;
use super::names::{fold, output_name};
use super::position;
use super::resolve::{Resolved, resolve};
use crate::depth::{DEPTH_MAX, too_deep};
use crate::error::{SqlError, state};
use crate::log::SystemColumn;

/// What the pass learned.
#[derive(Debug, Default)]
pub struct Bound {
    /// Hidden columns that the statement names.
    pub hidden: Vec<SystemColumn>,
    /// OIDs of the relations named in the text itself.
    pub direct: BTreeSet<u32>,
}

/// Binds a query in place. With `mark_columns`, plain columns beside a `*` are marked too, so that a column may come
/// out twice; names are then only good for the outermost output.
pub fn bind(query: &mut Query, ctx: &PlanContext, mark_columns: bool) -> Result<Bound, SqlError> {
    let mut bound = Bound {
        hidden: hidden_columns(query),
        ..Bound::default()
    };
    let mut binder = Binder {
        ctx,
        scopes: vec![],
        withs: vec![],
        depth: 0,
        mark_columns,
        bound: &mut bound,
    };
    match query.visit(&mut binder) {
        ControlFlow::Continue(()) => Ok(bound),
        ControlFlow::Break(error) => Err(error),
    }
}

/// The hidden columns whose names stand anywhere in the query.
fn hidden_columns(query: &Query) -> Vec<SystemColumn> {
    let mut named = HashSet::new();
    let _ = ast::visit_expressions(query, |expr: &Expr| {
        match expr {
            Expr::Identifier(ident) => named.insert(fold(ident)),
            Expr::CompoundIdentifier(idents) => idents.last().is_some_and(|ident| named.insert(fold(ident))),
            _ => false,
        };
        ControlFlow::<()>::Continue(())
    });
    SystemColumn::ALL
        .into_iter()
        .filter(|column| named.contains(column.name()))
        .collect()
}

struct Binder<'a, 'b> {
    ctx: &'a PlanContext<'a>,
    /// Names of the CTEs in scope, innermost query last.
    scopes: Vec<HashSet<String>>,
    /// WITH clauses, taken off while their query is visited: they are bound before it, in order.
    withs: Vec<Option<ast::With>>,
    depth: usize,
    mark_columns: bool,
    bound: &'b mut Bound,
}

impl VisitorMut for Binder<'_, '_> {
    type Break = SqlError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<SqlError> {
        self.enter()?;
        self.scopes.push(HashSet::new());
        let mut with = query.with.take();
        if let Some(with) = &mut with {
            for cte in &mut with.cte_tables {
                let name = fold(&cte.alias.name);
                if with.recursive {
                    self.define(name.clone());
                }
                cte.query.visit(self)?;
                self.define(name);
            }
        }
        self.withs.push(with);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<SqlError> {
        query.with = self.withs.pop().expect("pushed by pre_visit_query");
        self.scopes.pop().expect("pushed by pre_visit_query");
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlError> {
        self.enter()?;
        if let Expr::CompoundIdentifier(idents) = expr {
            // schema.table.column: the table is known by its bare name.
            let extra = idents.len().saturating_sub(2);
            if extra > 0 && self.is_schema_path(&idents[..extra]) {
                idents.drain(..extra);
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, _expr: &mut Expr) -> ControlFlow<SqlError> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<SqlError> {
        match factor {
            TableFactor::Table {
                name,
                alias,
                args: None,
                ..
            } => {
                if let Some(written) = self.resolve_name(name)? {
                    alias.get_or_insert_with(|| bare_alias(&written));
                }
            }
            TableFactor::Table {
                name,
                alias,
                args: Some(args),
                ..
            } => {
                if let Some(last) = name.0.last().cloned() {
                    name.0 = vec![last];
                }
                if super::windows::is_window(name) {
                    self.bind_window_argument(args.args.first_mut())?;
                } else {
                    name_function_column(name, alias);
                }
            }
            TableFactor::TableFunction {
                expr: Expr::Function(function),
                ..
            } if super::windows::is_window(&function.name) => {
                if let ast::FunctionArguments::List(list) = &mut function.args {
                    self.bind_window_argument(list.args.first_mut())?;
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut ast::Select) -> ControlFlow<SqlError> {
        refuse_windows(select, self.ctx.text)?;
        self.hide_columns(select);
        name_columns(&mut select.projection, self.mark_columns);
        ControlFlow::Continue(())
    }
}

impl Binder<'_, '_> {
    fn enter(&mut self) -> ControlFlow<SqlError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return ControlFlow::Break(too_deep(
                "Split the statement, or use IN (...) or a join in place of long chains of operators.",
            ));
        }
        ControlFlow::Continue(())
    }

    fn define(&mut self, cte: String) {
        self.scopes.last_mut().expect("within a query").insert(cte);
    }

    fn is_cte(&self, name: &str) -> bool {
        self.scopes.iter().any(|scope| scope.contains(name))
    }

    fn is_schema_path(&self, idents: &[Ident]) -> bool {
        match idents {
            [schema] => self.ctx.catalog.schemas.contains_key(&fold(schema)),
            [database, schema] => {
                fold(database) == self.ctx.database && self.ctx.catalog.schemas.contains_key(&fold(schema))
            }
            _ => false,
        }
    }

    /// Writes out a relation's name; `None` if it names a CTE. Returns the bare name as an identifier.
    fn resolve_name(&mut self, name: &mut ObjectName) -> ControlFlow<SqlError, Option<Ident>> {
        let idents: Vec<Ident> = name.0.iter().filter_map(|part| part.as_ident().cloned()).collect();
        let Some(last) = idents.last().cloned() else {
            return ControlFlow::Break(SqlError::new(
                state::SYNTAX_ERROR,
                format!("improper relation name: {name}"),
            ));
        };
        if idents.len() == 1 && self.is_cte(&fold(&last)) {
            return ControlFlow::Continue(None);
        }
        let folded: Vec<String> = idents.iter().map(fold).collect();
        let position = idents
            .first()
            .and_then(|ident| position::of_span(self.ctx.text, ident.span));
        match resolve(&folded, self.ctx) {
            Ok(resolved) => {
                let (schema, relation) = resolved.full_name();
                match &resolved {
                    Resolved::Relation(relation) => self.bound.direct.insert(super::resolve::oid(relation)),
                    Resolved::System(_) => false,
                };
                name.0 = vec![quoted(&schema, &last), quoted(&relation, &last)]
                    .into_iter()
                    .map(ObjectNamePart::Identifier)
                    .collect();
                ControlFlow::Continue(Some(quoted(&relation, &last)))
            }
            Err(error) => ControlFlow::Break(match position {
                Some(position) => error.position(position),
                None => error,
            }),
        }
    }

    /// TUMBLE(rel, ...): `rel` stands where an expression stands, so its name is resolved here.
    fn bind_window_argument(&mut self, argument: Option<&mut FunctionArg>) -> ControlFlow<SqlError> {
        let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))) = argument else {
            return ControlFlow::Continue(());
        };
        let idents = match expr {
            Expr::Identifier(ident) => vec![ident.clone()],
            Expr::CompoundIdentifier(idents) => idents.clone(),
            _ => return ControlFlow::Continue(()),
        };
        let mut name = ObjectName(idents.into_iter().map(ObjectNamePart::Identifier).collect());
        if self.resolve_name(&mut name)?.is_some() {
            // The schema is kept: the visit of this expression must not take it for a column's table.
            let parts = name.0.iter().filter_map(|part| part.as_ident().cloned()).collect();
            *expr = Expr::CompoundIdentifier(parts);
        }
        ControlFlow::Continue(())
    }

    /// Takes hidden columns out of `*` where a FROM item is a topic.
    fn hide_columns(&mut self, select: &mut ast::Select) {
        if self.bound.hidden.is_empty() {
            return;
        }
        let mut items = vec![];
        for table in &select.from {
            self.add_items(table, &mut items);
        }
        let revealing: HashSet<String> = items
            .iter()
            .filter(|(_, hidden)| !hidden.is_empty())
            .filter_map(|(name, _)| name.clone())
            .collect();
        let mut projection = Vec::with_capacity(select.projection.len());
        for item in std::mem::take(&mut select.projection) {
            match item {
                SelectItem::Wildcard(options) if items.len() == 1 => {
                    projection.push(SelectItem::Wildcard(without(options, &items[0].1)));
                }
                SelectItem::Wildcard(options)
                    if !revealing.is_empty() && items.iter().all(|(name, _)| name.is_some()) =>
                {
                    for (name, hidden) in &items {
                        let name = Ident::with_quote('"', name.clone().expect("checked by the guard"));
                        let kind = ast::SelectItemQualifiedWildcardKind::ObjectName(name.into());
                        projection.push(SelectItem::QualifiedWildcard(kind, without(options.clone(), hidden)));
                    }
                }
                SelectItem::QualifiedWildcard(kind, options) => {
                    let hidden = match &kind {
                        ast::SelectItemQualifiedWildcardKind::ObjectName(name) => {
                            let table = name.0.last().and_then(|part| part.as_ident()).map(fold);
                            items
                                .iter()
                                .find(|(item, _)| *item == table)
                                .map(|(_, hidden)| hidden.clone())
                        }
                        ast::SelectItemQualifiedWildcardKind::Expr(_) => None,
                    };
                    projection.push(SelectItem::QualifiedWildcard(
                        kind,
                        without(options, &hidden.unwrap_or_default()),
                    ));
                }
                other => projection.push(other),
            }
        }
        select.projection = projection;
    }

    /// The names of FROM items, and the hidden columns that each brings.
    fn add_items(&self, table: &ast::TableWithJoins, items: &mut Vec<(Option<String>, Vec<SystemColumn>)>) {
        for factor in std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation)) {
            match factor {
                TableFactor::NestedJoin {
                    table_with_joins,
                    alias: None,
                } => self.add_items(table_with_joins, items),
                TableFactor::Table { name, alias, args, .. } => {
                    let hidden = match args {
                        None => self.hidden_of(name),
                        Some(args) if super::windows::is_window(name) => self.hidden_of_argument(args.args.first()),
                        Some(_) => vec![],
                    };
                    let alias = alias.as_ref().map(|alias| fold(&alias.name));
                    items.push((alias.or_else(|| name.0.last()?.as_ident().map(fold)), hidden));
                }
                TableFactor::Derived { alias, .. } => {
                    items.push((alias.as_ref().map(|alias| fold(&alias.name)), vec![]));
                }
                TableFactor::TableFunction { expr, alias } => {
                    let hidden = match expr {
                        Expr::Function(function) => match &function.args {
                            ast::FunctionArguments::List(list) => self.hidden_of_argument(list.args.first()),
                            _ => vec![],
                        },
                        _ => vec![],
                    };
                    items.push((alias.as_ref().map(|alias| fold(&alias.name)), hidden));
                }
                _ => items.push((None, vec![])),
            }
        }
    }

    fn hidden_of(&self, name: &ObjectName) -> Vec<SystemColumn> {
        let idents: Vec<String> = name.0.iter().filter_map(|part| part.as_ident().map(fold)).collect();
        if idents.len() == 1 && self.is_cte(&idents[0]) {
            return vec![];
        }
        match resolve(&idents, self.ctx) {
            Ok(Resolved::Relation(crate::catalog::Relation::Topic(_))) => self.bound.hidden.clone(),
            _ => vec![],
        }
    }

    /// A window takes `_watermark` away, the other hidden columns come through it.
    fn hidden_of_argument(&self, argument: Option<&FunctionArg>) -> Vec<SystemColumn> {
        let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::CompoundIdentifier(idents)))) = argument else {
            return vec![];
        };
        let name = ObjectName(idents.iter().cloned().map(ObjectNamePart::Identifier).collect());
        let mut hidden = self.hidden_of(&name);
        hidden.retain(|column| *column != SystemColumn::Watermark);
        hidden
    }
}

/// 42P20 for a window function where rows are still being chosen or grouped.
fn refuse_windows(select: &mut ast::Select, text: &str) -> ControlFlow<SqlError> {
    let check = |found: ControlFlow<Option<usize>>, place: &str| match found {
        ControlFlow::Continue(()) => ControlFlow::Continue(()),
        ControlFlow::Break(position) => {
            let message = format!("window functions are not allowed in {place}");
            let error = SqlError::new(state::WINDOWING_ERROR, message);
            ControlFlow::Break(match position {
                Some(position) => error.position(position),
                None => error,
            })
        }
    };
    let mut windows = WindowCalls { text, depth: 0 };
    for table in &mut select.from {
        for join in &mut table.joins {
            check(join.join_operator.visit(&mut windows), "JOIN conditions")?;
        }
    }
    check(select.selection.visit(&mut windows), "WHERE")?;
    check(select.group_by.visit(&mut windows), "GROUP BY")?;
    check(select.having.visit(&mut windows), "HAVING")
}

/// Stops at a call with OVER that is not in a subquery.
struct WindowCalls<'a> {
    text: &'a str,
    depth: usize,
}

impl VisitorMut for WindowCalls<'_> {
    type Break = Option<usize>;

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<Option<usize>> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Option<usize>> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Option<usize>> {
        match expr {
            Expr::Function(function) if self.depth == 0 && function.over.is_some() => {
                let name = function.name.0.first().and_then(|part| part.as_ident());
                ControlFlow::Break(name.and_then(|name| position::of_span(self.text, name.span)))
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

fn quoted(name: &str, like: &Ident) -> Ident {
    Ident {
        value: name.to_string(),
        quote_style: Some('"'),
        span: like.span,
    }
}

fn bare_alias(name: &Ident) -> TableAlias {
    TableAlias {
        explicit: true,
        name: name.clone(),
        columns: vec![],
        at: None,
    }
}

/// `generate_series(1, 3) g` has one column, named as the function's alias or the function.
fn name_function_column(name: &ObjectName, alias: &mut Option<TableAlias>) {
    let Some(function) = name.0.last().and_then(|part| part.as_ident()) else {
        return;
    };
    if !matches!(fold(function).as_str(), "generate_series") {
        return;
    }
    let alias = alias.get_or_insert_with(|| bare_alias(function));
    if alias.columns.is_empty() {
        alias.columns.push(ast::TableAliasColumnDef {
            name: alias.name.clone(),
            data_type: None,
        });
    }
}

fn without(mut options: ast::WildcardAdditionalOptions, hidden: &[SystemColumn]) -> ast::WildcardAdditionalOptions {
    if let Some((first, rest)) = hidden.split_first() {
        let ident = |column: &SystemColumn| Ident::new(column.name());
        options.opt_except = Some(ast::ExceptSelectItem {
            first_element: ident(first),
            additional_elements: rest.iter().map(ident).collect(),
        });
    }
    options
}

/// Names every output column that has no name, and marks repeated ones.
fn name_columns(projection: &mut [SelectItem], mark_columns: bool) {
    let wildcard = projection
        .iter()
        .any(|item| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)));
    let mut seen: HashSet<String> = HashSet::new();
    for (index, item) in projection.iter_mut().enumerate() {
        match item {
            SelectItem::UnnamedExpr(expr) => {
                let name = output_name(expr);
                let plain = matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
                let repeated = !seen.insert(name.clone()) || (wildcard && mark_columns);
                if plain && !repeated {
                    continue;
                }
                let alias = if repeated { marked(&name, index) } else { name };
                *item = SelectItem::ExprWithAlias {
                    expr: unnested(std::mem::replace(expr, Expr::Value(ast::Value::Null.into()))),
                    alias: Ident::with_quote('"', alias),
                };
            }
            SelectItem::ExprWithAlias { alias, .. } => {
                let name = fold(alias);
                if !seen.insert(name.clone()) || (wildcard && mark_columns) {
                    *alias = Ident::with_quote('"', marked(&name, index));
                }
            }
            _ => {}
        }
    }
}

/// A set-returning function in the select list makes rows.
fn unnested(expr: Expr) -> Expr {
    let series = matches!(&expr, Expr::Function(function)
        if function.over.is_none()
            && function.name.0.last().and_then(|part| part.as_ident()).is_some_and(|name| fold(name) == "generate_series"));
    if !series {
        return expr;
    }
    Expr::Function(ast::Function {
        name: Ident::new("unnest").into(),
        uses_odbc_syntax: false,
        parameters: ast::FunctionArguments::None,
        args: ast::FunctionArguments::List(ast::FunctionArgumentList {
            duplicate_treatment: None,
            args: vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))],
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

fn marked(name: &str, index: usize) -> String {
    format!("{name}\u{1}{index}")
}
