//! Subqueries over the catalog that the engine cannot decorrelate, and SELECTs that can have no rows.
//!
//! 1. A SELECT that joins a system relation which never has rows (`pg_index`, `pg_policy`, ...) has none either: its
//!    WHERE becomes false, and what of its list cannot be planned becomes NULL.
//! 2. A correlated scalar subquery over system relations becomes a LEFT JOIN. The catalog's keys make it find at most
//!    one row, where PostgreSQL would raise 21000 otherwise.
//! 3. EXISTS in a SELECT list becomes a count.
//! 4. `tableoid` becomes the OID of the relation that it is asked of, and `current_setting(s.name)` of `pg_settings s`
//!    its column `setting`.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use sqlparser::ast::{
    self, BinaryOperator, Expr, FunctionArguments, GroupByExpr, Ident, Join, JoinConstraint, JoinOperator, Query,
    Select, SelectItem, SetExpr, TableFactor, TableWithJoins, Value, VisitMut, VisitorMut,
};

use super::{CompatContext, boolean, call, fold, last_name, null_of, number, system_relation};
use crate::catalog::system;
use crate::error::SqlError;

pub(super) struct Subqueries<'a> {
    ctx: &'a CompatContext<'a>,
    /// Numbers the aliases of hoisted relations.
    hoisted: usize,
}

impl<'a> Subqueries<'a> {
    pub fn new(ctx: &'a CompatContext<'a>) -> Self {
        Subqueries { ctx, hoisted: 0 }
    }
}

impl VisitorMut for Subqueries<'_> {
    type Break = SqlError;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<SqlError> {
        drop_impossible_arms(select);
        if is_empty(select) {
            blank(select);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<SqlError> {
        self.table_oids(select);
        count_exists(select);
        self.hoist(select);
        ControlFlow::Continue(())
    }
}

// ---- rows that cannot be

/// Whether a SELECT's FROM and WHERE can have no rows.
fn is_empty(select: &Select) -> bool {
    select.from.iter().any(is_empty_join)
}

fn is_empty_join(table: &TableWithJoins) -> bool {
    let mut empty = is_empty_factor(&table.relation);
    for join in &table.joins {
        let right = is_empty_factor(&join.relation);
        empty = match &join.join_operator {
            JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_) => empty || right,
            JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => empty,
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) => right,
            JoinOperator::FullOuter(_) => empty && right,
            _ => false,
        };
    }
    empty
}

fn is_empty_factor(factor: &TableFactor) -> bool {
    match factor {
        TableFactor::Table { name, args: None, .. } => system_relation(name).is_some_and(system::never_has_rows),
        TableFactor::Derived { subquery, .. } => is_empty_query(subquery),
        TableFactor::NestedJoin { table_with_joins, .. } => is_empty_join(table_with_joins),
        _ => false,
    }
}

/// Whether a query can have no rows; an aggregate without GROUP BY has one.
fn is_empty_query(query: &Query) -> bool {
    fn is_empty_body(body: &SetExpr) -> bool {
        match body {
            SetExpr::Select(select) => is_empty(select) && (is_grouped(select) || !has_aggregate(select)),
            SetExpr::SetOperation { left, right, .. } => is_empty_body(left) && is_empty_body(right),
            SetExpr::Query(query) => is_empty_query(query),
            _ => false,
        }
    }
    is_empty_body(&query.body)
}

fn is_grouped(select: &Select) -> bool {
    match &select.group_by {
        GroupByExpr::All(_) => true,
        GroupByExpr::Expressions(exprs, _) => !exprs.is_empty(),
    }
}

fn has_aggregate(select: &Select) -> bool {
    let mut projection = select.projection.clone();
    let mut found = false;
    let _ = ast::visit_expressions_mut(&mut projection, |expr| {
        found |= is_aggregate(expr);
        ControlFlow::<()>::Continue(())
    });
    found || select.having.is_some()
}

fn is_aggregate(expr: &Expr) -> bool {
    const AGGREGATES: [&str; 19] = [
        "count",
        "sum",
        "avg",
        "min",
        "max",
        "array_agg",
        "string_agg",
        "bool_and",
        "bool_or",
        "every",
        "json_agg",
        "jsonb_agg",
        "first_value",
        "last_value",
        "stddev",
        "variance",
        "bit_and",
        "bit_or",
        "corr",
    ];
    match expr {
        Expr::Function(function) => {
            function.over.is_none() && last_name(&function.name).is_some_and(|name| AGGREGATES.contains(&name.as_str()))
        }
        _ => false,
    }
}

/// Makes a SELECT without rows one that can be planned.
fn blank(select: &mut Select) {
    select.selection = Some(boolean(false));
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item
            && is_hard(expr)
        {
            let type_name = likely_type(expr).unwrap_or_else(|| "text".to_string());
            *expr = null_of(&type_name);
        }
    }
    for table in &mut select.from {
        for join in &mut table.joins {
            let (JoinOperator::Join(constraint)
            | JoinOperator::Inner(constraint)
            | JoinOperator::Left(constraint)
            | JoinOperator::LeftOuter(constraint)) = &mut join.join_operator
            else {
                continue;
            };
            if let JoinConstraint::On(on) = constraint
                && is_hard(on)
            {
                *on = boolean(false);
            }
        }
    }
}

/// Subqueries, functions that return rows, fields of composite values: what may not be plannable.
fn is_hard(expr: &Expr) -> bool {
    let mut hard = false;
    let mut expr = expr.clone();
    let _ = ast::visit_expressions_mut(&mut expr, |expr| {
        hard |= match expr {
            Expr::Subquery(_)
            | Expr::Exists { .. }
            | Expr::InSubquery { .. }
            | Expr::CompoundFieldAccess { .. }
            | Expr::AnyOp { .. }
            | Expr::AllOp { .. } => true,
            Expr::Function(function) => matches!(
                last_name(&function.name).as_deref(),
                Some("unnest" | "generate_subscripts" | "_pg_expandarray")
            ),
            _ => false,
        };
        ControlFlow::<()>::Continue(())
    });
    hard
}

/// The type of an expression whose value never comes out, as far as its shape tells.
fn likely_type(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Nested(inner) => likely_type(inner),
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) if text.parse::<i32>().is_ok() => Some("integer".to_string()),
            Value::Boolean(_) => Some("boolean".to_string()),
            _ => None,
        },
        Expr::Identifier(ident) => column_type(&fold(ident)),
        Expr::CompoundIdentifier(idents) => column_type(&fold(idents.last()?)),
        Expr::Cast { data_type, .. } => Some(data_type.to_string()),
        Expr::Function(function) => match last_name(&function.name)?.as_str() {
            "array_agg" => {
                let item = first_argument(function).and_then(likely_type);
                Some(format!("{}[]", item.as_deref().unwrap_or("text")))
            }
            "coalesce" => first_argument(function).and_then(likely_type),
            "count" => Some("bigint".to_string()),
            "json_build_object" => Some("json".to_string()),
            "unnest" => {
                let array = first_argument(function).and_then(likely_type);
                Some(match array.as_deref().and_then(|array| array.strip_suffix("[]")) {
                    Some(item) => item.to_string(),
                    None => "integer".to_string(),
                })
            }
            "generate_subscripts" | "generate_series" | "_pg_expandarray" => Some("integer".to_string()),
            _ => None,
        },
        Expr::Subquery(query) => match query.body.as_ref() {
            SetExpr::Select(select) => only_item(select).and_then(likely_type),
            _ => None,
        },
        Expr::CompoundFieldAccess { .. } => Some("integer".to_string()),
        Expr::Exists { .. } | Expr::InSubquery { .. } | Expr::AnyOp { .. } | Expr::AllOp { .. } | Expr::IsNull(_) => {
            Some("boolean".to_string())
        }
        Expr::BinaryOp {
            op:
                BinaryOperator::And
                | BinaryOperator::Or
                | BinaryOperator::Eq
                | BinaryOperator::NotEq
                | BinaryOperator::Gt
                | BinaryOperator::Lt,
            ..
        } => Some("boolean".to_string()),
        Expr::Case {
            conditions,
            else_result,
            ..
        } => {
            let results = conditions.iter().map(|arm| &arm.result);
            results.chain(else_result.as_deref()).find_map(likely_type)
        }
        _ => None,
    }
}

fn first_argument(function: &ast::Function) -> Option<&Expr> {
    match &function.args {
        FunctionArguments::List(list) => match list.args.first()? {
            ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => Some(expr),
            _ => None,
        },
        _ => None,
    }
}

/// The type of a catalog column, by its name alone: they are the same wherever the name is used.
fn column_type(name: &str) -> Option<String> {
    let mut columns = system::all().iter().flat_map(|relation| &relation.columns);
    let column = columns.find(|column| column.name == name)?;
    Some(column.pg_type.name())
}

fn only_item(select: &Select) -> Option<&Expr> {
    match select.projection.as_slice() {
        [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] => Some(expr),
        _ => None,
    }
}

/// `CASE WHEN t.typtype = 'd' THEN (SELECT ...)`: there are no domains, enums, composite or range types, so the arm is
/// never taken, and its subquery need not be planned.
fn drop_impossible_arms(select: &mut Select) {
    const ABSENT: [&str; 5] = ["d", "c", "e", "r", "m"];
    let reads_types = select.from.iter().any(|table| {
        let joins = table.joins.iter().map(|join| &join.relation);
        std::iter::once(&table.relation)
            .chain(joins)
            .any(|factor| matches!(factor, TableFactor::Table { name, .. } if system_relation(name).is_some_and(|relation| relation.name == "pg_type")))
    });
    if !reads_types {
        return;
    }
    let is_absent = |condition: &Expr| {
        let Expr::BinaryOp {
            left,
            op: BinaryOperator::Eq,
            right,
        } = condition
        else {
            return false;
        };
        let column = match left.as_ref() {
            Expr::Identifier(ident) => fold(ident),
            Expr::CompoundIdentifier(idents) => idents.last().map(fold).unwrap_or_default(),
            _ => return false,
        };
        column == "typtype"
            && matches!(right.as_ref(), Expr::Value(value)
                if matches!(&value.value, Value::SingleQuotedString(kind) if ABSENT.contains(&kind.as_str())))
    };
    let _ = ast::visit_expressions_mut(&mut select.projection, |expr| {
        if let Expr::Case {
            operand: None,
            conditions,
            ..
        } = expr
        {
            for arm in conditions.iter_mut().filter(|arm| is_absent(&arm.condition)) {
                if is_hard(&arm.result) {
                    let type_name = likely_type(&arm.result).unwrap_or_else(|| "text".to_string());
                    arm.result = null_of(&type_name);
                }
            }
        }
        ControlFlow::<()>::Continue(())
    });
}

// ---- EXISTS in a list

/// EXISTS is only planned as a condition of WHERE; elsewhere a count says the same.
fn count_exists(select: &mut Select) {
    struct Lists {
        depth: usize,
    }
    impl VisitorMut for Lists {
        type Break = ();
        fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
            self.depth += 1;
            ControlFlow::Continue(())
        }
        fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
            self.depth -= 1;
            ControlFlow::Continue(())
        }
        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if self.depth > 0 {
                return ControlFlow::Continue(());
            }
            if let Expr::Exists { subquery, negated } = expr {
                if is_empty_query(subquery) {
                    *expr = boolean(*negated);
                } else if let SetExpr::Select(select) = subquery.body.as_mut()
                    && !is_grouped(select)
                    && !has_aggregate(select)
                    && subquery.limit_clause.is_none()
                {
                    select.distinct = None;
                    select.projection = vec![SelectItem::UnnamedExpr(call("count", vec![number(1)]))];
                    subquery.order_by = None;
                    let count = call(
                        "coalesce",
                        vec![
                            Expr::Subquery(std::mem::replace(subquery, Box::new(nothing()))),
                            number(0),
                        ],
                    );
                    *expr = Expr::BinaryOp {
                        left: Box::new(count),
                        op: if *negated {
                            BinaryOperator::Eq
                        } else {
                            BinaryOperator::Gt
                        },
                        right: Box::new(number(0)),
                    };
                }
            }
            ControlFlow::Continue(())
        }
    }
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            let _ = expr.visit(&mut Lists { depth: 0 });
        }
    }
}

fn nothing() -> Query {
    Query {
        with: None,
        body: Box::new(SetExpr::Values(ast::Values {
            explicit_row: false,
            value_keyword: false,
            rows: vec![],
        })),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: vec![],
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: vec![],
    }
}

// ---- correlated scalar subqueries

/// A scalar subquery taken apart, its relations renamed.
struct Hoisted {
    relation: TableFactor,
    on: Expr,
    value: Expr,
}

impl Subqueries<'_> {
    fn hoist(&mut self, select: &mut Select) {
        let whole = select
            .projection
            .iter()
            .any(|item| matches!(item, SelectItem::Wildcard(_)));
        let joinable = !whole && !is_grouped(select) && !has_aggregate(select) && !select.from.is_empty();
        let mut taken = Vec::new();
        {
            let mut hoister = Hoister {
                depth: 0,
                joinable,
                next: &mut self.hoisted,
                taken: &mut taken,
            };
            for item in &mut select.projection {
                if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                    let _ = expr.visit(&mut hoister);
                }
            }
            if let Some(selection) = &mut select.selection {
                let _ = selection.visit(&mut hoister);
            }
        }
        if taken.is_empty() {
            return;
        }
        let mut tables = std::mem::take(&mut select.from).into_iter();
        let mut first = tables.next().expect("a select without FROM is not joinable");
        for table in tables {
            first.joins.push(cross_join(table.relation));
            first.joins.extend(table.joins);
        }
        for hoisted in taken {
            first.joins.push(Join {
                relation: hoisted.relation,
                global: false,
                join_operator: JoinOperator::LeftOuter(JoinConstraint::On(hoisted.on)),
            });
        }
        select.from = vec![first];
    }

    /// `alias.tableoid` for relations of the catalog.
    fn table_oids(&mut self, select: &mut Select) {
        let mut oids = HashMap::new();
        let mut settings = HashSet::new();
        for table in &select.from {
            let joins = table.joins.iter().map(|join| &join.relation);
            for factor in std::iter::once(&table.relation).chain(joins) {
                let TableFactor::Table {
                    name,
                    alias,
                    args: None,
                    ..
                } = factor
                else {
                    continue;
                };
                let parts: Vec<String> = name.0.iter().filter_map(|part| part.as_ident().map(fold)).collect();
                let [schema, relation] = parts.as_slice() else { continue };
                let user = self.ctx.catalog.names.get(&(schema.clone(), relation.clone())).copied();
                let oid = user.or_else(|| system::lookup(schema, relation).map(|relation| relation.oid));
                let alias = alias
                    .as_ref()
                    .map_or_else(|| relation.clone(), |alias| fold(&alias.name));
                if (schema.as_str(), relation.as_str()) == ("pg_catalog", "pg_settings") {
                    settings.insert(alias.clone());
                }
                if let Some(oid) = oid {
                    oids.insert(alias, oid);
                }
            }
        }
        if oids.is_empty() {
            return;
        }
        let only = (oids.len() == 1).then(|| *oids.values().next().expect("one is there"));
        let rewrite = |expr: &mut Expr| {
            // current_setting(s.name) of pg_settings s is its own column.
            if let Expr::Function(function) = &*expr
                && last_name(&function.name).as_deref() == Some("current_setting")
                && let Some(Expr::CompoundIdentifier(idents)) = first_argument(function)
                && let [alias, column] = idents.as_slice()
                && settings.contains(&fold(alias))
                && fold(column) == "name"
            {
                *expr = Expr::CompoundIdentifier(vec![alias.clone(), Ident::new("setting")]);
                return ControlFlow::<()>::Continue(());
            }
            let oid = match expr {
                Expr::CompoundIdentifier(idents) => match idents.as_slice() {
                    [alias, column] if fold(column) == "tableoid" => oids.get(&fold(alias)).copied(),
                    _ => None,
                },
                Expr::Identifier(column) if fold(column) == "tableoid" => only,
                _ => None,
            };
            if let Some(oid) = oid {
                *expr = call("oid", vec![number(oid)]);
            }
            ControlFlow::<()>::Continue(())
        };
        let _ = ast::visit_expressions_mut(&mut select.projection, rewrite);
        let _ = ast::visit_expressions_mut(&mut select.selection, rewrite);
        let _ = ast::visit_expressions_mut(&mut select.from, rewrite);
    }
}

fn cross_join(relation: TableFactor) -> Join {
    Join {
        relation,
        global: false,
        join_operator: JoinOperator::CrossJoin(JoinConstraint::None),
    }
}

/// Finds the scalar subqueries of one SELECT's own expressions.
struct Hoister<'a> {
    depth: usize,
    joinable: bool,
    next: &'a mut usize,
    taken: &'a mut Vec<Hoisted>,
}

impl VisitorMut for Hoister<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        let Expr::Subquery(query) = expr else {
            return ControlFlow::Continue(());
        };
        if is_empty_query(query) {
            let type_name = likely_type(expr).unwrap_or_else(|| "text".to_string());
            *expr = null_of(&type_name);
            return ControlFlow::Continue(());
        }
        let Some(scope) = Scope::of(query) else {
            return ControlFlow::Continue(());
        };
        if self.joinable {
            let hoisted = scope.take_apart(query, *self.next);
            *self.next += 1;
            *expr = Expr::Nested(Box::new(hoisted.value.clone()));
            self.taken.push(hoisted);
        } else if let SetExpr::Select(select) = query.body.as_mut()
            && let [SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. }] =
                select.projection.as_mut_slice()
        {
            let value = std::mem::replace(item, boolean(false));
            *item = call("~first_value", vec![value]);
        }
        ControlFlow::Continue(())
    }
}

/// The relations of a correlated scalar subquery that reads system relations only.
struct Scope {
    /// Alias to the relation's columns.
    relations: Vec<(String, &'static system::SystemRelation)>,
}

impl Scope {
    /// `None` unless the query is a plain, correlated SELECT of one value from system relations.
    fn of(query: &Query) -> Option<Scope> {
        if query.with.is_some() || query.limit_clause.is_some() || query.fetch.is_some() {
            return None;
        }
        let SetExpr::Select(select) = query.body.as_ref() else {
            return None;
        };
        let plain = select.distinct.is_none() && !is_grouped(select) && !has_aggregate(select);
        if !plain || only_item(select).is_none() {
            return None;
        }
        let mut relations = Vec::new();
        for table in &select.from {
            let inner = |join: &Join| {
                matches!(
                    join.join_operator,
                    JoinOperator::Join(JoinConstraint::On(_))
                        | JoinOperator::Inner(JoinConstraint::On(_))
                        | JoinOperator::CrossJoin(_)
                )
            };
            if !table.joins.iter().all(inner) {
                return None;
            }
            let joins = table.joins.iter().map(|join| &join.relation);
            for factor in std::iter::once(&table.relation).chain(joins) {
                let TableFactor::Table {
                    name,
                    alias,
                    args: None,
                    ..
                } = factor
                else {
                    return None;
                };
                let relation = system_relation(name)?;
                let alias = alias
                    .as_ref()
                    .map_or_else(|| relation.name.to_string(), |alias| fold(&alias.name));
                relations.push((alias, relation));
            }
        }
        if relations.is_empty() {
            return None;
        }
        let scope = Scope { relations };
        scope.is_correlated(select).then_some(scope)
    }

    fn has_column(&self, name: &str) -> Option<&str> {
        let mut found = self.relations.iter();
        found
            .find(|(_, relation)| relation.columns.iter().any(|column| column.name == name))
            .map(|(alias, _)| alias.as_str())
    }

    fn is_correlated(&self, select: &Select) -> bool {
        let aliases: HashSet<&str> = self.relations.iter().map(|(alias, _)| alias.as_str()).collect();
        let mut select = select.clone();
        let mut outer = false;
        let mut nested = false;
        let mut look = |expr: &mut Expr| {
            match expr {
                Expr::CompoundIdentifier(idents) => outer |= !aliases.contains(fold(&idents[0]).as_str()),
                Expr::Identifier(ident) => outer |= self.has_column(&fold(ident)).is_none(),
                Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => nested = true,
                _ => {}
            }
            ControlFlow::<()>::Continue(())
        };
        let _ = ast::visit_expressions_mut(&mut select.projection, &mut look);
        let _ = ast::visit_expressions_mut(&mut select.selection, &mut look);
        let _ = ast::visit_expressions_mut(&mut select.from, &mut look);
        outer && !nested
    }

    /// Renames the relations, so that they can stand beside the outer ones, and takes the query apart.
    fn take_apart(&self, query: &mut Query, number: usize) -> Hoisted {
        let SetExpr::Select(select) = query.body.as_mut() else {
            unreachable!("a scope is only made of a SELECT")
        };
        let renamed = |alias: &str| format!("{alias}~{number}");
        let rename = |expr: &mut Expr| {
            match expr {
                Expr::CompoundIdentifier(idents) => {
                    let alias = fold(&idents[0]);
                    if self.relations.iter().any(|(known, _)| *known == alias) {
                        idents[0] = Ident::with_quote('"', renamed(&alias));
                    }
                }
                Expr::Identifier(ident) => {
                    if let Some(alias) = self.has_column(&fold(ident)) {
                        *expr = Expr::CompoundIdentifier(vec![Ident::with_quote('"', renamed(alias)), ident.clone()]);
                    }
                }
                _ => {}
            }
            ControlFlow::<()>::Continue(())
        };
        // Outermost first, and what was just written is not visited again as a plain identifier.
        let _ = ast::visit_expressions_mut(&mut select.projection, rename);
        let _ = ast::visit_expressions_mut(&mut select.selection, rename);
        let _ = ast::visit_expressions_mut(&mut select.from, rename);
        let mut conditions: Vec<Expr> = select.selection.take().into_iter().collect();
        let mut relations = Vec::new();
        for table in std::mem::take(&mut select.from) {
            relations.push(table.relation);
            for join in table.joins {
                if let JoinOperator::Join(JoinConstraint::On(on)) | JoinOperator::Inner(JoinConstraint::On(on)) =
                    join.join_operator
                {
                    conditions.push(on);
                }
                relations.push(join.relation);
            }
        }
        for ((alias, _), factor) in self.relations.iter().zip(&mut relations) {
            if let TableFactor::Table { alias: name, .. } = factor {
                *name = Some(ast::TableAlias {
                    explicit: true,
                    name: Ident::with_quote('"', renamed(alias)),
                    columns: vec![],
                    at: None,
                });
            }
        }
        let mut relations = relations.into_iter();
        let first = relations.next().expect("a scope has relations");
        let joins: Vec<Join> = relations.map(cross_join).collect();
        let relation = if joins.is_empty() {
            first
        } else {
            TableFactor::NestedJoin {
                table_with_joins: Box::new(TableWithJoins { relation: first, joins }),
                alias: None,
            }
        };
        let on = conditions
            .into_iter()
            .reduce(|left, right| Expr::BinaryOp {
                left: Box::new(left),
                op: BinaryOperator::And,
                right: Box::new(right),
            })
            .unwrap_or_else(|| boolean(true));
        let value = match select.projection.pop() {
            Some(SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) => expr,
            _ => unreachable!("a scope has one item"),
        };
        Hoisted { relation, on, value }
    }
}
