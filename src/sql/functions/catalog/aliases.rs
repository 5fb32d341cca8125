//! The types `regprocedure`, `regoper`, `regoperator`, `regrole` and `regcollation`: names to OIDs and back.
//!
//! One rule: an operator or function that shares its name is named with its schema, as PostgreSQL's output functions do.

use std::sync::LazyLock;

use super::names::{
    by_name_or_oid, check_name, function_by_oid, functions, known_role, out, parse_qualified, type_oid,
};
use super::{Returns, Spec, oid_of, strict, text_of};
use crate::catalog::quote_ident;
use crate::catalog::system::{SystemValue, role_name, static_rows, type_name, value_of};
use crate::error::{SqlError, state};

pub(super) const SPECS: &[Spec] = &[
    strict("regprocedure", 1..=1, Returns::Regprocedure, |_, args| {
        read(&args[0], procedure)
    }),
    strict("regoper", 1..=1, Returns::Regoper, |_, args| read(&args[0], operator)),
    strict("regoperator", 1..=1, Returns::Regoperator, |_, args| {
        read(&args[0], operator_of_types)
    }),
    strict("regcollation", 1..=1, Returns::Regcollation, |_, args| {
        read(&args[0], collation)
    }),
    strict("regrole", 1..=1, Returns::Regrole, |facts, args| {
        by_name_or_oid(facts, &args[0], known_role, |name| {
            SqlError::new(state::UNDEFINED_OBJECT, format!("role \"{name}\" does not exist"))
        })
    }),
    strict("regprocedureout", 1..=1, Returns::Text, |_, args| {
        Ok(out(&args[0], procedure_name))
    }),
    strict("regoperout", 1..=1, Returns::Text, |_, args| {
        Ok(operator_out(&args[0], operator_name))
    }),
    strict("regoperatorout", 1..=1, Returns::Text, |_, args| {
        Ok(operator_out(&args[0], operator_signature))
    }),
    strict("regcollationout", 1..=1, Returns::Text, |_, args| {
        Ok(out(&args[0], |oid| collation_name(oid).map(quote_ident)))
    }),
    strict("regroleout", 1..=1, Returns::Text, |facts, args| {
        Ok(out(&args[0], |oid| role_name(oid, &facts.user)))
    }),
    strict("to_regprocedure", 1..=1, Returns::Regprocedure, |_, args| {
        found(&args[0], procedure)
    }),
    strict("to_regoper", 1..=1, Returns::Regoper, |_, args| {
        found(&args[0], operator)
    }),
    strict("to_regoperator", 1..=1, Returns::Regoperator, |_, args| {
        found(&args[0], operator_of_types)
    }),
    strict("to_regcollation", 1..=1, Returns::Regcollation, |_, args| {
        found(&args[0], collation)
    }),
    strict("to_regrole", 1..=1, Returns::Regrole, |facts, args| {
        Ok(known_role(facts, text_of(&args[0])).into())
    }),
];

/// A name looked up, or a number taken as it is.
fn read(value: &SystemValue, find: fn(&str) -> Result<u32, SqlError>) -> Result<SystemValue, SqlError> {
    match value {
        SystemValue::Text(text) if text == "-" => Ok(SystemValue::Int(0)),
        SystemValue::Text(text) => match text.parse::<u32>() {
            Ok(oid) => Ok(oid.into()),
            Err(_) => find(text).map(SystemValue::from),
        },
        other => Ok(other.clone()),
    }
}

/// NULL for a name that nothing has; a text that is none is an error here as well.
fn found(value: &SystemValue, find: fn(&str) -> Result<u32, SqlError>) -> Result<SystemValue, SqlError> {
    match find(text_of(value)) {
        Ok(oid) => Ok(oid.into()),
        Err(error) if matches!(error.state, state::UNDEFINED_FUNCTION | state::AMBIGUOUS_FUNCTION) => {
            Ok(SystemValue::Null)
        }
        Err(error) if error.message.starts_with("collation") => Ok(SystemValue::Null),
        Err(error) => Err(error),
    }
}

/// `name(type, ...)` to its name and types; 0 is NONE.
fn name_and_types(text: &str) -> Result<(String, Vec<u32>), SqlError> {
    let malformed = |what: &str| {
        SqlError::new(
            state::INVALID_TEXT_REPRESENTATION,
            format!("expected a {what} parenthesis"),
        )
    };
    let (name, rest) = text.trim().split_once('(').ok_or_else(|| malformed("left"))?;
    let types = rest.strip_suffix(')').ok_or_else(|| malformed("right"))?;
    let given = types.split(',').map(str::trim);
    let known = given
        .filter(|name| !name.is_empty() || types.contains(','))
        .map(|name| match name {
            none if none.eq_ignore_ascii_case("none") => Ok(0),
            name => type_oid(name)
                .ok_or_else(|| SqlError::new(state::UNDEFINED_OBJECT, format!("type \"{name}\" does not exist"))),
        });
    Ok((name.trim().to_string(), known.collect::<Result<_, _>>()?))
}

fn procedure(text: &str) -> Result<u32, SqlError> {
    let (name, types) = name_and_types(text)?;
    let last = parse_qualified(&name).and_then(|mut parts| parts.pop());
    functions()
        .find(|function| Some(&function.name) == last.as_ref() && function.arguments == types)
        .map(|function| function.oid)
        .ok_or_else(|| SqlError::new(state::UNDEFINED_FUNCTION, format!("function \"{text}\" does not exist")))
}

fn procedure_name(oid: u32) -> Option<String> {
    let function = function_by_oid(oid)?;
    let types: Vec<String> = function.arguments.iter().map(|oid| type_of(*oid)).collect();
    Some(format!("{}({})", quote_ident(&function.name), types.join(",")))
}

fn type_of(oid: u32) -> String {
    match oid {
        0 => "NONE".to_string(),
        known => type_name(known).unwrap_or_else(|| known.to_string()),
    }
}

/// A row of `pg_operator`.
struct OperatorRow {
    oid: u32,
    name: String,
    left: u32,
    right: u32,
}

fn operators() -> impl Iterator<Item = &'static OperatorRow> {
    static OPERATORS: LazyLock<Vec<OperatorRow>> = LazyLock::new(|| {
        let rows = static_rows("pg_operator").unwrap_or_default().iter();
        let rows = rows.map(|row| {
            let get = |column: &str| value_of(row, column);
            OperatorRow {
                oid: get("oid").map_or(0, oid_of),
                name: get("oprname").map(text_of).unwrap_or_default().to_string(),
                left: get("oprleft").map_or(0, oid_of),
                right: get("oprright").map_or(0, oid_of),
            }
        });
        rows.collect()
    });
    OPERATORS.iter()
}

fn symbol(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix("pg_catalog.").unwrap_or(text).trim()
}

fn operator(text: &str) -> Result<u32, SqlError> {
    let mut same = operators().filter(|operator| operator.name == symbol(text));
    match (same.next(), same.next()) {
        (Some(only), None) => Ok(only.oid),
        (None, _) => Err(SqlError::new(
            state::UNDEFINED_FUNCTION,
            format!("operator does not exist: {text}"),
        )),
        _ => Err(SqlError::new(
            state::AMBIGUOUS_FUNCTION,
            format!("more than one operator named {text}"),
        )),
    }
}

fn operator_of_types(text: &str) -> Result<u32, SqlError> {
    let (name, types) = name_and_types(text)?;
    let [left, right] = types.as_slice() else {
        let error = match types.len() {
            1 => SqlError::new(state::UNDEFINED_PARAMETER, "missing argument")
                .hint("Use NONE to denote the missing argument of a unary operator."),
            _ => SqlError::new(state::TOO_MANY_ARGUMENTS, "too many arguments")
                .hint("Provide two argument types for operator."),
        };
        return Err(error);
    };
    operators()
        .find(|operator| operator.name == symbol(&name) && (operator.left, operator.right) == (*left, *right))
        .map(|operator| operator.oid)
        .ok_or_else(|| SqlError::new(state::UNDEFINED_FUNCTION, format!("operator does not exist: {text}")))
}

/// Operators show the OID 0 as "0", since they have no name for none.
fn operator_out(value: &SystemValue, name: fn(u32) -> Option<String>) -> SystemValue {
    match oid_of(value) {
        0 if !matches!(value, SystemValue::Text(_)) => "0".into(),
        _ => out(value, name),
    }
}

fn operator_name(oid: u32) -> Option<String> {
    let found = operators().find(|operator| operator.oid == oid)?;
    let is_only = operators().filter(|operator| operator.name == found.name).count() == 1;
    Some(match is_only {
        true => found.name.clone(),
        false => format!("pg_catalog.{}", found.name),
    })
}

pub(super) fn operator_signature(oid: u32) -> Option<String> {
    let found = operators().find(|operator| operator.oid == oid)?;
    Some(format!(
        "{}({},{})",
        found.name,
        type_of(found.left),
        type_of(found.right)
    ))
}

/// The rows of `pg_collation`: OID and name.
fn collations() -> impl Iterator<Item = (u32, &'static str)> {
    static_rows("pg_collation").unwrap_or_default().iter().map(|row| {
        let get = |column: &str| value_of(row, column);
        (
            get("oid").map_or(0, oid_of),
            get("collname").map(text_of).unwrap_or_default(),
        )
    })
}

fn collation(text: &str) -> Result<u32, SqlError> {
    check_name(text)?;
    let name = parse_qualified(text)
        .and_then(|mut parts| parts.pop())
        .unwrap_or_default();
    collations()
        .find(|(_, known)| *known == name)
        .map(|(oid, _)| oid)
        .ok_or_else(|| {
            let message = format!("collation \"{name}\" for encoding \"UTF8\" does not exist");
            SqlError::new(state::UNDEFINED_OBJECT, message)
        })
}

fn collation_name(oid: u32) -> Option<&'static str> {
    collations().find(|(known, _)| *known == oid).map(|(_, name)| name)
}
