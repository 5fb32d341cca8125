//! Rewrites of single expressions and FROM items, whatever stands around them.

use std::ops::ControlFlow;

use sqlparser::ast::{
    self, BinaryOperator, DataType, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName,
    ObjectNamePart, Query, SelectItem, SetExpr, TableFactor, UnaryOperator, Value, VisitorMut,
};

use super::{call, cast, fold, fromless, last_name};
use crate::error::{SqlError, state};

pub(super) struct Expressions;

impl VisitorMut for Expressions {
    type Break = SqlError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<SqlError> {
        fetch_as_limit(query);
        type_recursion(query);
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
        keywords(factor);
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
        fromless::inline(expr);
        match rewrite(expr) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn post_visit_select(&mut self, select: &mut ast::Select) -> ControlFlow<SqlError> {
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                set_returning(expr);
                keep_json(expr);
            }
        }
        ControlFlow::Continue(())
    }
}

fn rewrite(expr: &mut Expr) -> Result<(), SqlError> {
    match expr {
        Expr::Value(value) => {
            if let Value::Number(digits, _) = &value.value
                && let Some(rewritten) = number_literal(digits)?
            {
                *expr = rewritten;
            }
        }
        Expr::Collate { expr: inner, .. } => *expr = take(inner),
        Expr::Cast {
            expr: inner, data_type, ..
        } => {
            plain_type(data_type);
            if let Some(rewritten) = array_cast(inner, data_type) {
                *expr = rewritten;
            } else if let Some(rewritten) = catalog_cast(inner, data_type) {
                *expr = rewritten;
            }
        }
        Expr::TypedString(typed) => plain_type(&mut typed.data_type),
        Expr::AtTimeZone { timestamp, time_zone } => {
            *expr = call("timezone", vec![take(time_zone), take(timestamp)]);
        }
        // The engine reads `3 days`, not `3 days 02:47:33` or `P3D`: those are read as casts from text are.
        Expr::Interval(interval) if interval.leading_field.is_none() && is_clock_text(&interval.value) => {
            let text = take(&mut interval.value);
            *expr = cast(text, "interval");
        }
        // A sign belongs to the whole of what follows in an interval, and binds tighter than a power.
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr: inner,
        } => match inner.as_mut() {
            Expr::Interval(_) => **inner = Expr::Nested(Box::new(take(inner))),
            Expr::BinaryOp {
                left,
                op: BinaryOperator::PGExp,
                right,
            } => {
                let negated = Expr::UnaryOp {
                    op: UnaryOperator::Minus,
                    expr: Box::new(take(left)),
                };
                *expr = Expr::BinaryOp {
                    left: Box::new(negated),
                    op: BinaryOperator::PGExp,
                    right: Box::new(take(right)),
                };
            }
            _ => {}
        },
        Expr::UnaryOp {
            op: UnaryOperator::PGAbs,
            expr: inner,
        } => *expr = call("abs", vec![take(inner)]),
        Expr::UnaryOp {
            op: UnaryOperator::BitwiseNot,
            expr: inner,
        } => {
            *expr = call("bit_not", vec![take(inner)]);
        }
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
            order_by_constants(function);
            for_array_defaults(function);
            if let Some(rewritten) = size_of(function) {
                *expr = rewritten;
            }
        }
        Expr::Like {
            pattern, escape_char, ..
        }
        | Expr::ILike {
            pattern, escape_char, ..
        } => own_escape(pattern, escape_char),
        _ => {}
    }
    Ok(())
}

/// A number in the ORDER BY of an aggregate is a constant; the engine would take it for the place of a column.
fn order_by_constants(function: &mut ast::Function) {
    let FunctionArguments::List(arguments) = &mut function.args else {
        return;
    };
    for clause in &mut arguments.clauses {
        let ast::FunctionArgumentClause::OrderBy(order) = clause else {
            continue;
        };
        for order in order {
            if matches!(&order.expr, Expr::Value(value) if matches!(value.value, Value::Number(..))) {
                order.expr = Expr::Nested(Box::new(take(&mut order.expr)));
            }
        }
    }
}

fn is_clock_text(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => text.contains([':', '@']) || text.trim_start().starts_with(['P', 'p']),
            _ => false,
        },
        _ => false,
    }
}

/// A number with an exponent, written out where NUMERIC holds it, else as DOUBLE PRECISION; 22003 for more digits than
/// NUMERIC has.
fn number_literal(text: &str) -> Result<Option<Expr>, SqlError> {
    const DIGITS_MAX: usize = 38;
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    let Some(exponent) = exponent else {
        if whole.trim_start_matches('0').len() + fraction.len() > DIGITS_MAX {
            return Err(
                SqlError::new(state::NUMERIC_VALUE_OUT_OF_RANGE, "value overflows numeric format")
                    .detail(format!("NUMERIC holds {DIGITS_MAX} digits.")),
            );
        }
        return Ok(None);
    };
    let as_double = || Some(cast(super::text(text), "double precision"));
    let Ok(exponent) = exponent.parse::<i32>() else {
        return Ok(as_double());
    };
    let significant = digits.trim_start_matches('0');
    // Digits after the point.
    let scale = i64::try_from(fraction.len())
        .unwrap_or(i64::MAX)
        .saturating_sub(i64::from(exponent));
    let width = i64::try_from(significant.len()).unwrap_or(i64::MAX);
    let precision = width.saturating_add((-scale).max(0)).max(scale);
    if precision > DIGITS_MAX as i64 {
        return Ok(as_double());
    }
    let written = if scale <= 0 {
        format!("{significant}{}", "0".repeat(scale.unsigned_abs() as usize))
    } else {
        let scale = scale as usize;
        let padded = format!("{significant:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        format!("{whole}.{fraction}")
    };
    let written = if written.is_empty() { "0".to_string() } else { written };
    let data_type = DataType::Numeric(ast::ExactNumberInfo::PrecisionAndScale(
        precision.max(1) as u64,
        scale.max(0),
    ));
    Ok(Some(Expr::Cast {
        kind: ast::CastKind::DoubleColon,
        expr: Box::new(super::text(&written)),
        data_type,
        array: false,
        format: None,
    }))
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

/// `pg_table_size(x)` and its kind, as what `millstream.topics` says; a transaction's number, as the newest LSN. Views take no bytes of their own.
fn size_of(function: &mut ast::Function) -> Option<Expr> {
    let select = match last_name(&function.name)?.as_str() {
        "pg_relation_size" | "pg_table_size" | "pg_total_relation_size" => {
            "SELECT sized.bytes FROM \"millstream\".\"topics\" AS sized WHERE sized.oid = regclass(NULL)"
        }
        "pg_database_size" | "pg_tablespace_size" => {
            "SELECT CAST(sum(sized.bytes) AS bigint) FROM \"millstream\".\"topics\" AS sized"
        }
        "txid_current" | "pg_current_xact_id" => "SELECT wal.newest_lsn FROM \"millstream\".\"wal\" AS wal",
        _ => return None,
    };
    let FunctionArguments::List(list) = &mut function.args else {
        return None;
    };
    let parsed = sqlparser::parser::Parser::new(&sqlparser::dialect::PostgreSqlDialect {})
        .try_with_sql(select)
        .and_then(|mut parser| parser.parse_query());
    let mut query = parsed.expect("the template is a query");
    if let SetExpr::Select(select) = query.body.as_mut()
        && let Some(Expr::BinaryOp { right, .. }) = &mut select.selection
    {
        let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(relation))) = list.args.first_mut() else {
            return None;
        };
        **right = call("regclass", vec![take(relation)]);
    }
    Some(call("coalesce", vec![Expr::Subquery(query), super::number(0)]))
}

/// `'{1,2}'::int[]` with the items written out.
fn array_cast(inner: &Expr, data_type: &DataType) -> Option<Expr> {
    let DataType::Array(ast::ArrayElemTypeDef::SquareBracket(item, _)) = data_type else {
        return None;
    };
    let items = array_items(inner)?;
    let null = |item: &str| item.eq_ignore_ascii_case("null");
    let elem = items.into_iter().map(|text| Expr::Cast {
        kind: ast::CastKind::DoubleColon,
        expr: Box::new(if null(text) {
            Expr::Value(Value::Null.into())
        } else {
            super::text(text)
        }),
        data_type: (**item).clone(),
        array: false,
        format: None,
    });
    let array = Expr::Array(ast::Array {
        elem: elem.collect(),
        named: true,
    });
    Some(match &array {
        // Without items, the cast alone says what it would hold.
        Expr::Array(empty) if empty.elem.is_empty() => return None,
        _ => array,
    })
}

/// A pattern with an escape character of its own, written with the backslash that the engine knows.
fn own_escape(pattern: &mut Expr, escape: &mut Option<ast::ValueWithSpan>) {
    let Some(Value::SingleQuotedString(mark)) = escape.as_ref().map(|escape| &escape.value) else {
        return;
    };
    let literal = match pattern {
        Expr::Value(value) => match &mut value.value {
            Value::SingleQuotedString(text) => Some(text),
            _ => None,
        },
        _ => None,
    };
    let Some(text) = literal else {
        *pattern = call("like_escape", vec![take(pattern), super::text(mark)]);
        *escape = None;
        return;
    };
    let mark = mark.chars().next();
    if mark == Some('\\') {
        return;
    }
    *text = crate::sql::functions::catalog::like_escape(text, mark);
    *escape = None;
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
            *expr = call("~make_array", vec![]);
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
    if let Some(items) = unnested(query) {
        return Some(call("coalesce", vec![items, call("~make_array", vec![])]));
    }
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
        vec![Expr::Subquery(query), call("~make_array", vec![])],
    ))
}

/// The array that `SELECT f(x) FROM unnest(a) x` makes of `a`, which may be an outer query's.
fn unnested(query: &mut Query) -> Option<Expr> {
    if query.order_by.is_some() || query.limit_clause.is_some() {
        return None;
    }
    let SetExpr::Select(select) = query.body.as_mut() else {
        return None;
    };
    let [table] = select.from.as_mut_slice() else {
        return None;
    };
    if select.selection.is_some() || select.distinct.is_some() || !table.joins.is_empty() {
        return None;
    }
    as_unnest(&mut table.relation);
    let TableFactor::UNNEST {
        alias: Some(alias),
        array_exprs,
        ..
    } = &table.relation
    else {
        return None;
    };
    let [array] = array_exprs.as_slice() else { return None };
    let column = alias.columns.first().map_or(&alias.name, |column| &column.name);
    let [SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. }] = select.projection.as_slice()
    else {
        return None;
    };
    let is_column = |expr: &Expr| matches!(expr, Expr::Identifier(ident) if fold(ident) == fold(column));
    if is_column(item) {
        return Some(array.clone());
    }
    let lambda = Expr::Lambda(ast::LambdaFunction {
        params: ast::OneOrManyWithParens::One(ast::LambdaFunctionParameter {
            name: column.clone(),
            data_type: None,
        }),
        body: Box::new(item.clone()),
        syntax: ast::LambdaSyntax::Arrow,
    });
    Some(call("~array_transform", vec![array.clone(), lambda]))
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
        Some("generate_series") => {
            let small = match &function.args {
                FunctionArguments::List(list) => list.args.iter().all(is_small_number),
                _ => false,
            };
            let list = take(expr);
            let list = if small { cast(list, "integer[]") } else { list };
            *expr = call("unnest", vec![list]);
        }
        // Nothing is partitioned in PostgreSQL's sense, so nothing has an ancestor.
        Some("pg_partition_ancestors") => {
            *expr = call("unnest", vec![cast(call("~make_array", vec![]), "bigint[]")]);
        }
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

/// Numbers in the first part of a recursive CTE are INTEGER from the start: the other part is planned against them.
fn type_recursion(query: &mut Query) {
    let Some(with) = query.with.as_mut().filter(|with| with.recursive) else {
        return;
    };
    for cte in &mut with.cte_tables {
        let SetExpr::SetOperation { left, .. } = cte.query.body.as_mut() else {
            continue;
        };
        let SetExpr::Select(select) = left.as_mut() else {
            continue;
        };
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item
                && let Expr::Value(value) = &*expr
                && matches!(&value.value, Value::Number(text, _) if text.parse::<i32>().is_ok())
            {
                *expr = cast(take(expr), "integer");
            }
        }
    }
}

/// A CASE of JSON values is JSON: the engine sees text in all of its arms.
fn keep_json(expr: &mut Expr) {
    fn is_json(expr: &Expr) -> bool {
        match expr {
            Expr::Function(function) => matches!(
                last_name(&function.name).as_deref(),
                Some("json_build_object" | "json_agg" | "to_json")
            ),
            Expr::Cast { data_type, .. } => matches!(data_type, DataType::JSON),
            Expr::Subquery(query) => match query.body.as_ref() {
                SetExpr::Select(select) => match select.projection.as_slice() {
                    [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] => is_json(expr),
                    _ => false,
                },
                _ => false,
            },
            _ => false,
        }
    }
    if let Expr::Case { conditions, .. } = &*expr
        && conditions.iter().any(|arm| is_json(&arm.result))
    {
        *expr = cast(take(expr), "json");
    }
}

/// An argument that is an INTEGER literal.
fn is_small_number(arg: &FunctionArg) -> bool {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) => match &value.value {
            Value::Number(text, _) => text.parse::<i32>().is_ok(),
            _ => false,
        },
        _ => false,
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

/// `pg_get_keywords()` in FROM: the words that need quotes, as rows.
fn keywords(factor: &mut TableFactor) {
    let TableFactor::Table {
        name,
        alias,
        args: Some(_),
        ..
    } = factor
    else {
        return;
    };
    if last_name(name).as_deref() != Some("pg_get_keywords") {
        return;
    }
    let words = sqlparser::keywords::ALL_KEYWORDS.iter().map(|word| word.to_lowercase());
    let rows = words
        .filter(|word| crate::catalog::is_reserved(word))
        .map(|word| ast::Parens {
            content: vec![super::text(&word), super::text("R"), super::text("reserved")],
            opening_token: ast::helpers::attached_token::AttachedToken::empty(),
            closing_token: ast::helpers::attached_token::AttachedToken::empty(),
        });
    let mut query = empty_query();
    query.body = Box::new(SetExpr::Values(ast::Values {
        explicit_row: false,
        value_keyword: false,
        rows: rows.collect(),
    }));
    let columns = ["word", "catcode", "catdesc"].map(|name| ast::TableAliasColumnDef {
        name: Ident::new(name),
        data_type: None,
    });
    *factor = TableFactor::Derived {
        lateral: false,
        subquery: Box::new(query),
        alias: Some(ast::TableAlias {
            explicit: true,
            name: alias
                .as_ref()
                .map_or_else(|| Ident::new("pg_get_keywords"), |alias| alias.name.clone()),
            columns: columns.to_vec(),
            at: None,
        }),
        sample: None,
    };
}
