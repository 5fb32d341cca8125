//! Rewrites of single expressions and FROM items, whatever stands around them.

use std::ops::ControlFlow;

use sqlparser::ast::{
    self, BinaryOperator, DataType, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName,
    ObjectNamePart, Query, SelectItem, SetExpr, TableFactor, Value, VisitorMut,
};

use super::{call, cast, fold, last_name};
use crate::error::{SqlError, state};

pub(super) struct Expressions;

impl VisitorMut for Expressions {
    type Break = SqlError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<SqlError> {
        fetch_as_limit(query);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<SqlError> {
        match factor {
            // pg_catalog.unnest(...), pg_catalog.generate_series(...)
            TableFactor::Table {
                name, args: Some(_), ..
            }
            | TableFactor::Function { name, .. } => unqualify(name),
            _ => {}
        }
        as_unnest(factor);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlError> {
        // Before its children are visited: the array's items come from the outer query.
        if let Some(rewritten) = array_subquery(expr) {
            *expr = rewritten;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlError> {
        match rewrite(expr) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn post_visit_select(&mut self, select: &mut ast::Select) -> ControlFlow<SqlError> {
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                set_returning(expr);
            }
        }
        ControlFlow::Continue(())
    }
}

fn rewrite(expr: &mut Expr) -> Result<(), SqlError> {
    match expr {
        Expr::Collate { expr: inner, .. } => *expr = take(inner),
        Expr::Cast {
            expr: inner, data_type, ..
        } => {
            plain_type(data_type);
            if let Some(rewritten) = catalog_cast(inner, data_type) {
                *expr = rewritten;
            }
        }
        Expr::TypedString(typed) => plain_type(&mut typed.data_type),
        Expr::BinaryOp { left, op, right } => {
            if let BinaryOperator::PGCustomBinaryOperator(parts) = op {
                let symbol = parts.last().cloned().unwrap_or_default();
                match operator(&symbol) {
                    Some(Operator::Binary(known)) => *op = known,
                    Some(Operator::Like { negated, any_case }) => {
                        let (left, right) = (Box::new(take(left)), Box::new(take(right)));
                        *expr = like(left, right, negated, any_case);
                        return Ok(());
                    }
                    None => {
                        return Err(SqlError::new(
                            state::UNDEFINED_FUNCTION,
                            format!("operator does not exist: {}", parts.join(".")),
                        ));
                    }
                }
            }
            if matches!(op, BinaryOperator::Eq | BinaryOperator::NotEq) {
                // An array beside its text form.
                if is_array_text(right) && !is_text(left) {
                    **left = call("array_out", vec![take(left)]);
                } else if is_array_text(left) && !is_text(right) {
                    **right = call("array_out", vec![take(right)]);
                }
            }
        }
        Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } => {
            while let Expr::Nested(inner) = right.as_mut() {
                **right = take(inner);
            }
            if let Some(items) = text_array(right) {
                **right = items;
            }
        }
        Expr::Function(function) => {
            unqualify(&mut function.name);
            for_array_defaults(function);
        }
        _ => {}
    }
    Ok(())
}

/// Moves an expression out of its place.
fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::Value(Value::Null.into()))
}

enum Operator {
    Binary(BinaryOperator),
    Like { negated: bool, any_case: bool },
}

fn operator(symbol: &str) -> Option<Operator> {
    use BinaryOperator as B;
    Some(Operator::Binary(match symbol {
        "~" => B::PGRegexMatch,
        "~*" => B::PGRegexIMatch,
        "!~" => B::PGRegexNotMatch,
        "!~*" => B::PGRegexNotIMatch,
        "=" => B::Eq,
        "<>" | "!=" => B::NotEq,
        "<" => B::Lt,
        "<=" => B::LtEq,
        ">" => B::Gt,
        ">=" => B::GtEq,
        "+" => B::Plus,
        "-" => B::Minus,
        "*" => B::Multiply,
        "/" => B::Divide,
        "%" => B::Modulo,
        "||" => B::StringConcat,
        "@>" => B::AtArrow,
        "<@" => B::ArrowAt,
        "&&" => B::PGOverlap,
        "->" => B::Arrow,
        "->>" => B::LongArrow,
        "#>" => B::HashArrow,
        "#>>" => B::HashLongArrow,
        "~~" | "!~~" | "~~*" | "!~~*" => {
            return Some(Operator::Like {
                negated: symbol.starts_with('!'),
                any_case: symbol.ends_with('*'),
            });
        }
        _ => return None,
    }))
}

fn like(expr: Box<Expr>, pattern: Box<Expr>, negated: bool, any_case: bool) -> Expr {
    if any_case {
        Expr::ILike {
            negated,
            any: false,
            expr,
            pattern,
            escape_char: None,
        }
    } else {
        Expr::Like {
            negated,
            any: false,
            expr,
            pattern,
            escape_char: None,
        }
    }
}

/// `pg_catalog.f` is `f`; so is `"f"`.
fn unqualify(name: &mut ObjectName) {
    if let [ObjectNamePart::Identifier(schema), ObjectNamePart::Identifier(_)] = name.0.as_slice()
        && matches!(fold(schema).as_str(), "pg_catalog" | "information_schema")
    {
        name.0.remove(0);
    }
    if let [ObjectNamePart::Identifier(ident)] = name.0.as_mut_slice() {
        let lower = ident
            .value
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if ident.quote_style.is_some() && lower {
            ident.quote_style = None;
        }
    }
}

/// Takes `pg_catalog.` off a type, and gives types that only catalogs have the type that holds them.
fn plain_type(data_type: &mut DataType) {
    match data_type {
        DataType::Custom(name, _) => {
            if let [ObjectNamePart::Identifier(schema), ObjectNamePart::Identifier(_)] = name.0.as_slice()
                && matches!(fold(schema).as_str(), "pg_catalog" | "information_schema")
            {
                name.0.remove(0);
            }
            let held = match last_name(name).as_deref() {
                Some("text") => Some(DataType::Text),
                Some("pg_node_tree" | "aclitem" | "cstring" | "anyarray" | "inet" | "cidr") => Some(DataType::Text),
                Some("sql_identifier" | "character_data" | "yes_or_no") => Some(DataType::Text),
                Some("cardinal_number") => Some(DataType::Integer(None)),
                Some("xid" | "cid") => Some(custom("oid")),
                Some("int2vector") => Some(array_of(DataType::SmallInt(None))),
                Some("oidvector") => Some(array_of(custom("oid"))),
                // Array types by their internal names.
                Some(other) if other.len() > 1 && other.starts_with('_') => Some(array_of(custom(&other[1..]))),
                _ => None,
            };
            if let Some(held) = held {
                *data_type = held;
            }
        }
        DataType::Array(ast::ArrayElemTypeDef::SquareBracket(item, _) | ast::ArrayElemTypeDef::AngleBracket(item)) => {
            plain_type(item);
        }
        _ => {}
    }
}

fn custom(name: &str) -> DataType {
    DataType::Custom(ObjectName::from(Ident::new(name)), vec![])
}

fn array_of(item: DataType) -> DataType {
    DataType::Array(ast::ArrayElemTypeDef::SquareBracket(Box::new(item), None))
}

const REG_TYPES: [&str; 5] = ["regclass", "regtype", "regproc", "regnamespace", "regrole"];

/// A cast to or from an OID alias type, as the function that does it.
fn catalog_cast(inner: &mut Expr, data_type: &DataType) -> Option<Expr> {
    let target = match data_type {
        DataType::Custom(name, _) => last_name(name)?,
        DataType::Regclass => "regclass".to_string(),
        DataType::Text | DataType::Varchar(_) => "text".to_string(),
        _ => return None,
    };
    let target = match target.as_str() {
        "regprocedure" | "regoper" | "regoperator" => "regproc",
        other => other,
    };
    if REG_TYPES.contains(&target) {
        // A parameter of such a type is sent as the name.
        let argument = match inner {
            Expr::Value(value) if matches!(value.value, Value::Placeholder(_)) => cast(take(inner), "text"),
            _ => take(inner),
        };
        return Some(call(target, vec![argument]));
    }
    match target {
        // A parameter is left to the planner, which learns its type from the cast.
        "oid" if !matches!(inner, Expr::Value(_)) => Some(call("oid", vec![take(inner)])),
        "text" | "name" | "varchar" => {
            let Expr::Function(function) = &*inner else { return None };
            let name = last_name(&function.name)?;
            REG_TYPES
                .contains(&name.as_str())
                .then(|| call(&format!("{name}out"), vec![take(inner)]))
        }
        _ => None,
    }
}

/// `'{a,b}'`: a literal that is the text form of a flat array without quotes.
fn is_array_text(expr: &Expr) -> bool {
    array_items(expr).is_some()
}

fn is_text(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)))
}

fn array_items(expr: &Expr) -> Option<Vec<&str>> {
    let Expr::Value(value) = expr else { return None };
    let Value::SingleQuotedString(text) = &value.value else {
        return None;
    };
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    if inner.contains(['{', '}', '\\', ':']) {
        return None;
    }
    Some(match inner {
        "" => vec![],
        inner => inner.split(',').map(|item| item.trim().trim_matches('"')).collect(),
    })
}

/// `ANY ('{a,b}')` with the array written out.
fn text_array(expr: &Expr) -> Option<Expr> {
    let items = array_items(expr)?;
    Some(Expr::Array(ast::Array {
        elem: items.into_iter().map(super::text).collect(),
        named: true,
    }))
}

/// `coalesce(array, '{}')`: the literal is an array as well.
fn for_array_defaults(function: &mut ast::Function) {
    if last_name(&function.name).as_deref() != Some("coalesce") {
        return;
    }
    let FunctionArguments::List(list) = &mut function.args else {
        return;
    };
    for arg in &mut list.args {
        if let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = arg
            && array_items(expr).is_some_and(|items| items.is_empty())
        {
            *expr = call("make_array", vec![]);
        }
    }
}

/// `ARRAY(SELECT x FROM ... ORDER BY y)` as `coalesce((SELECT array_agg(x ORDER BY y) FROM ...), '{}')`.
fn array_subquery(expr: &mut Expr) -> Option<Expr> {
    let Expr::Function(function) = expr else { return None };
    if last_name(&function.name).as_deref() != Some("array") {
        return None;
    }
    let FunctionArguments::Subquery(query) = &mut function.args else {
        return None;
    };
    let mut query = std::mem::replace(query, Box::new(empty_query()));
    let order = match query.order_by.take() {
        Some(ast::OrderBy {
            kind: ast::OrderByKind::Expressions(exprs),
            ..
        }) => exprs,
        _ => vec![],
    };
    let simple = query.limit_clause.is_none() && query.fetch.is_none();
    let SetExpr::Select(select) = query.body.as_mut() else {
        return None;
    };
    if !simple || select.distinct.is_some() {
        return None;
    }
    let [item] = select.projection.as_mut_slice() else {
        return None;
    };
    let (SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. }) = item else {
        return None;
    };
    let value = take(item);
    let clauses = order
        .into_iter()
        .map(|mut by| {
            // ORDER BY 1 is the item itself.
            if matches!(&by.expr, Expr::Value(number) if matches!(number.value, Value::Number(..))) {
                by.expr = value.clone();
            }
            by
        })
        .collect::<Vec<_>>();
    let mut aggregate = call("array_agg", vec![value]);
    if let Expr::Function(function) = &mut aggregate
        && let FunctionArguments::List(list) = &mut function.args
        && !clauses.is_empty()
    {
        list.clauses = vec![ast::FunctionArgumentClause::OrderBy(clauses)];
    }
    *item = aggregate;
    Some(call(
        "coalesce",
        vec![Expr::Subquery(query), call("make_array", vec![])],
    ))
}

fn empty_query() -> Query {
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

/// Functions that return rows, in a SELECT list: the engine's return lists, which are unnested.
fn set_returning(expr: &mut Expr) {
    let Expr::Function(function) = expr else { return };
    match last_name(&function.name).as_deref() {
        Some("generate_series") => *expr = call("unnest", vec![take(expr)]),
        Some("generate_subscripts") => {
            let FunctionArguments::List(list) = &mut function.args else {
                return;
            };
            if let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(array))) = list.args.first_mut() {
                let length = call("array_length", vec![take(array)]);
                *expr = call(
                    "unnest",
                    vec![call("generate_series", vec![super::number(1), cast(length, "bigint")])],
                );
            }
        }
        _ => {}
    }
}

/// `FETCH FIRST n ROWS ONLY` is LIMIT n.
fn fetch_as_limit(query: &mut Query) {
    let Some(fetch) = &query.fetch else { return };
    if fetch.with_ties || fetch.percent {
        return;
    }
    let rows = fetch.quantity.clone().unwrap_or_else(|| super::number(1));
    match &mut query.limit_clause {
        None => {
            query.limit_clause = Some(ast::LimitClause::LimitOffset {
                limit: Some(rows),
                offset: None,
                limit_by: vec![],
            });
        }
        Some(ast::LimitClause::LimitOffset {
            limit: limit @ None, ..
        }) => *limit = Some(rows),
        Some(_) => return,
    }
    query.fetch = None;
}

/// `unnest(...)` in FROM, however it was parsed, as the engine's own UNNEST.
fn as_unnest(factor: &mut TableFactor) {
    let TableFactor::Table {
        name,
        alias,
        args: Some(args),
        with_ordinality,
        ..
    } = factor
    else {
        return;
    };
    if last_name(name).as_deref() != Some("unnest") {
        return;
    }
    let array_exprs = args.args.drain(..).filter_map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    *factor = TableFactor::UNNEST {
        alias: alias.take(),
        array_exprs: array_exprs.collect(),
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: *with_ordinality,
    };
}
