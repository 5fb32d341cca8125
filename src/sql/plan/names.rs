//! The name of an output column that was given none: PostgreSQL's rule (`FigureColname`), over the syntax tree.
//!
//! `count(*)` is `count`, `a::text` is `a`, `1::int` is `int4`, a CASE takes its ELSE column's name or `case`, and an
//! expression without a better name is `?column?`.

use sqlparser::ast::{self, Expr, SetExpr};

use crate::sql::statement::mark;
use crate::types::PgType;

/// PostgreSQL's name of a column that it cannot name.
pub const ANONYMOUS: &str = "?column?";

/// The output name of an expression without an alias.
pub fn output_name(expr: &Expr) -> String {
    figure(expr)
        .map(|(name, _)| name)
        .unwrap_or_else(|| ANONYMOUS.to_string())
}

/// An identifier as SQL folds it.
pub fn fold(ident: &ast::Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_ascii_lowercase(),
    }
}

/// The strength of a name: a weak one gives way to the name of a cast's or CASE's own.
#[derive(PartialEq, Eq, Clone, Copy)]
enum Strength {
    Weak,
    Strong,
}

fn figure(expr: &Expr) -> Option<(String, Strength)> {
    let strong = |name: &str| Some((name.to_string(), Strength::Strong));
    match expr {
        Expr::Identifier(ident) => Some((fold(ident), Strength::Strong)),
        Expr::CompoundIdentifier(idents) => idents.last().map(|ident| (fold(ident), Strength::Strong)),
        Expr::CompoundFieldAccess { root, access_chain } => {
            let field = access_chain.iter().rev().find_map(|access| match access {
                ast::AccessExpr::Dot(Expr::Identifier(ident)) => Some((fold(ident), Strength::Strong)),
                _ => None,
            });
            field.or_else(|| figure(root))
        }
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => figure(inner),
        Expr::QualifiedWildcard(name, _) => last_part(name),
        Expr::Function(function) => {
            if let Some(row) = whole_row(function) {
                return last_part(row);
            }
            let name = function.name.0.last()?.as_ident();
            // The parser takes `(VALUES (1))` for a call.
            if name.is_some_and(|name| name.quote_style.is_none() && name.value == "values") {
                return strong("column1");
            }
            name.map(|ident| (fold(ident), Strength::Strong))
        }
        Expr::Cast { expr, data_type, .. } => match figure(expr) {
            Some((name, Strength::Strong)) => Some((name, Strength::Strong)),
            _ => Some((type_column_name(data_type), Strength::Weak)),
        },
        Expr::TypedString(typed) => Some((type_column_name(&typed.data_type), Strength::Weak)),
        Expr::Interval(_) => Some(("interval".to_string(), Strength::Weak)),
        Expr::Case { else_result, .. } => match else_result.as_deref().and_then(figure) {
            Some((name, Strength::Strong)) => Some((name, Strength::Strong)),
            _ => Some(("case".to_string(), Strength::Weak)),
        },
        Expr::Exists { negated: false, .. } => strong("exists"),
        Expr::BinaryOp {
            op: ast::BinaryOperator::Overlaps,
            ..
        } => strong("overlaps"),
        Expr::IsNormalized { negated: false, .. } => strong("is_normalized"),
        Expr::Subquery(query) => subquery(query),
        Expr::Array(_) => strong("array"),
        Expr::Tuple(_) => strong("row"),
        Expr::Extract { .. } => strong("extract"),
        Expr::Ceil { .. } => strong("ceil"),
        Expr::Floor { .. } => strong("floor"),
        Expr::Position { .. } => strong("position"),
        Expr::Substring { shorthand: true, .. } => strong("substr"),
        Expr::Substring { .. } => strong("substring"),
        Expr::Overlay { .. } => strong("overlay"),
        Expr::Trim { trim_where, .. } => strong(match trim_where {
            Some(ast::TrimWhereField::Leading) => "ltrim",
            Some(ast::TrimWhereField::Trailing) => "rtrim",
            _ => "btrim",
        }),
        Expr::AtTimeZone { .. } => strong("timezone"),
        _ => None,
    }
}

/// The item of `item.*` that stands for a row.
fn whole_row(function: &ast::Function) -> Option<&ast::ObjectName> {
    let is_mark = matches!(function.name.0.as_slice(), [part]
        if part.as_ident().is_some_and(|name| name.value == mark::WHOLE_ROW));
    match &function.args {
        ast::FunctionArguments::List(list) if is_mark => match list.args.as_slice() {
            [ast::FunctionArg::Unnamed(ast::FunctionArgExpr::QualifiedWildcard(name))] => Some(name),
            _ => None,
        },
        _ => None,
    }
}

fn last_part(name: &ast::ObjectName) -> Option<(String, Strength)> {
    let last = name.0.last()?.as_ident()?;
    Some((fold(last), Strength::Strong))
}

/// A scalar subquery is named after its only column.
fn subquery(query: &ast::Query) -> Option<(String, Strength)> {
    let mut body = query.body.as_ref();
    let select = loop {
        body = match body {
            SetExpr::Select(select) => break select,
            SetExpr::SetOperation { left, .. } => left,
            SetExpr::Query(query) => &query.body,
            SetExpr::Values(_) => return Some(("column1".to_string(), Strength::Strong)),
            _ => return None,
        };
    };
    match select.projection.first()? {
        // However weak its own name is.
        ast::SelectItem::UnnamedExpr(expr) => Some((output_name(expr), Strength::Strong)),
        ast::SelectItem::ExprWithAlias { alias, .. } => Some((fold(alias), Strength::Strong)),
        _ => None,
    }
}

/// A type by its internal name, `pg_type.typname`.
fn type_column_name(data_type: &ast::DataType) -> String {
    match PgType::parse_written(&data_type.to_string().to_lowercase()) {
        Some((known, _)) => internal_name(&known).to_string(),
        None => data_type.to_string().to_lowercase(),
    }
}

/// `pg_type.typname`, without the underscore of array types (as PostgreSQL names such columns).
pub fn internal_name(pg_type: &PgType) -> &'static str {
    match pg_type {
        PgType::Bool => "bool",
        PgType::Int2 => "int2",
        PgType::Int4 => "int4",
        PgType::Int8 => "int8",
        PgType::Float4 => "float4",
        PgType::Float8 => "float8",
        PgType::Numeric(_) => "numeric",
        PgType::Text => "text",
        PgType::Varchar(_) => "varchar",
        PgType::Char(_) => "bpchar",
        PgType::Bytea => "bytea",
        PgType::Date => "date",
        PgType::Time => "time",
        PgType::Timestamp => "timestamp",
        PgType::TimestampTz => "timestamptz",
        PgType::Interval => "interval",
        PgType::Uuid => "uuid",
        PgType::Json => "json",
        PgType::Jsonb => "jsonb",
        PgType::Array(item) | PgType::Shaped(item) => internal_name(item),
        PgType::Oid => "oid",
        PgType::Name => "name",
        PgType::InternalChar => "char",
        PgType::Regclass => "regclass",
        PgType::Regtype => "regtype",
        PgType::Regproc => "regproc",
        PgType::Regnamespace => "regnamespace",
        PgType::Unknown => "unknown",
        PgType::Void => "void",
        same => same.base_name(),
    }
}

#[cfg(test)]
mod tests {
    use sqlparser::dialect::PostgreSqlDialect;
    use sqlparser::parser::Parser;

    use super::*;

    fn check(expression: &str, name: &str) {
        let expr = Parser::new(&PostgreSqlDialect {})
            .try_with_sql(expression)
            .and_then(|mut parser| parser.parse_expr())
            .expect("the test's expression parses");
        assert_eq!(output_name(&expr), name, "{expression}");
    }

    #[test]
    fn columns_are_named_as_postgresql_names_them() {
        for (expression, name) in [
            ("a", "a"),
            ("t.A", "a"),
            ("\"Mixed\"", "Mixed"),
            ("1", "?column?"),
            ("a + 1", "?column?"),
            ("count(*)", "count"),
            ("pg_catalog.upper(a)", "upper"),
            ("sum(a)::bigint", "sum"),
            ("a::text", "a"),
            ("1::int", "int4"),
            ("'x'::varchar(3)", "varchar"),
            ("(a + 1)::double precision", "float8"),
            ("date '2020-01-01'", "date"),
            ("interval '1 day'", "interval"),
            ("case when a then b else c end", "c"),
            ("case when a then b end", "case"),
            ("coalesce(a, b)", "coalesce"),
            ("nullif(a, b)", "nullif"),
            ("exists (select 1)", "exists"),
            ("(select max(a) from t)", "max"),
            ("(select 1 as one)", "one"),
            ("array[1, 2]", "array"),
            ("a[1]", "a"),
            ("extract(hour from a)", "extract"),
            ("trim(a)", "btrim"),
            ("substring(a from 1)", "substring"),
            ("substr(a, 1)", "substr"),
            ("a is null", "?column?"),
            ("not a", "?column?"),
            ("not exists (select 1)", "?column?"),
            ("x is nfc normalized", "is_normalized"),
            ("x is not normalized", "?column?"),
            ("(select a from t union select b from t)", "a"),
            ("true", "?column?"),
            ("null", "?column?"),
            ("current_date", "current_date"),
            ("now()", "now"),
            ("a at time zone 'UTC'", "timezone"),
        ] {
            check(expression, name);
        }
    }
}
