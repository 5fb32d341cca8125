//! Rewrites of what clients say into what the engine's planner understands: `OPERATOR(pg_catalog.~)`, casts to the
//! `reg*` types, `ARRAY(SELECT ...)`, correlated subqueries over the catalog, and such.
//!
//! One rule: a rewrite never changes an answer. It works on names that are bound already (relations written out in
//! full, output columns named), so it may change an expression without renaming a column. What is rewritten only for
//! system relations rests on what they can hold, and is written so that no relation of a user's is touched.
//!
//! Not here: the functions that the rewrites call (`functions::catalog`), literals and types (`plan`).

mod expressions;
mod fromless;
mod subqueries;
#[cfg(test)]
mod tests;
mod using;

use std::ops::ControlFlow;

use sqlparser::ast::{self, Expr, Ident, ObjectName, ObjectNamePart, Query, VisitMut};

use crate::catalog::Snapshot;
use crate::catalog::system;
use crate::error::SqlError;

/// What a rewrite needs to know.
pub struct CompatContext<'a> {
    pub catalog: &'a Snapshot,
}

/// Rewrites a bound query in place.
pub fn rewrite(query: &mut Query, ctx: &CompatContext) -> Result<(), SqlError> {
    let mut expressions = expressions::Expressions;
    let mut subqueries = subqueries::Subqueries::new(ctx);
    let walked = match query.visit(&mut expressions) {
        ControlFlow::Continue(()) => query.visit(&mut subqueries),
        stopped => stopped,
    };
    let walked = match walked {
        ControlFlow::Continue(()) => query.visit(&mut using::Using),
        stopped => stopped,
    };
    match walked {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// `name(args)`
fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args = args
        .into_iter()
        .map(|arg| ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(arg)))
        .collect();
    Expr::Function(ast::Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]),
        uses_odbc_syntax: false,
        parameters: ast::FunctionArguments::None,
        args: ast::FunctionArguments::List(ast::FunctionArgumentList {
            duplicate_treatment: None,
            args,
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

fn number(value: impl ToString) -> Expr {
    Expr::Value(ast::Value::Number(value.to_string(), false).into())
}

fn text(value: &str) -> Expr {
    Expr::Value(ast::Value::SingleQuotedString(value.to_string()).into())
}

fn boolean(value: bool) -> Expr {
    Expr::Value(ast::Value::Boolean(value).into())
}

fn cast(expr: Expr, type_name: &str) -> Expr {
    let data_type = match type_name.strip_suffix("[]") {
        Some(item) => ast::DataType::Array(ast::ArrayElemTypeDef::SquareBracket(Box::new(custom_type(item)), None)),
        None => custom_type(type_name),
    };
    Expr::Cast {
        kind: ast::CastKind::DoubleColon,
        expr: Box::new(expr),
        data_type,
        array: false,
        format: None,
    }
}

fn custom_type(name: &str) -> ast::DataType {
    match name {
        "text" => ast::DataType::Text,
        "boolean" => ast::DataType::Boolean,
        "integer" => ast::DataType::Integer(None),
        "bigint" => ast::DataType::BigInt(None),
        "json" => ast::DataType::JSON,
        other => ast::DataType::Custom(ObjectName::from(Ident::new(other)), vec![]),
    }
}

fn null_of(type_name: &str) -> Expr {
    cast(Expr::Value(ast::Value::Null.into()), type_name)
}

/// An identifier as SQL folds it.
fn fold(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_ascii_lowercase(),
    }
}

/// The last part of a name, folded.
fn last_name(name: &ObjectName) -> Option<String> {
    name.0.last()?.as_ident().map(fold)
}

/// The system relation that a FROM item names. Names are bound, so a bare one is a CTE's.
fn system_relation(name: &ObjectName) -> Option<&'static system::SystemRelation> {
    let parts: Vec<String> = name.0.iter().filter_map(|part| part.as_ident().map(fold)).collect();
    match parts.as_slice() {
        [schema, name] => system::lookup(schema, name),
        _ => None,
    }
}
