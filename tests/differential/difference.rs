//! Differences between two answers to one statement.
//!
//! One rule: floats are equal within 1e-9, rows without an order are a bag, and where equal values that look different
//! (1.0 and 1.00) may stand for each other, numbers are compared by value.

use super::database::{Answer, Failure, Protocol};
use super::exceptions;
use super::tree::Rendered;

/// Sorted by how bad they are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// XX000, a panic or a connection that ended.
    Internal(String),
    OnlyOurs(String, String),
    OnlyPostgres(String),
    Both(String, String),
    Values,
    Names,
    Types,
    Modifiers,
    Parameters,
}

impl Kind {
    /// A smaller statement may have the other kind instead: of two errors at once one is left.
    pub fn leads_to(&self, other: &Kind) -> bool {
        match (self, other) {
            (Kind::Both(_, ours), Kind::OnlyOurs(state, _)) => state == ours,
            (Kind::Both(postgres, _), Kind::OnlyPostgres(state)) => state == postgres,
            _ => self == other,
        }
    }

    pub fn heading(&self) -> String {
        match self {
            Kind::Internal(message) => format!("internal error: {message}"),
            Kind::OnlyOurs(state, message) => format!("only Millstream fails: {state} {message}"),
            Kind::OnlyPostgres(state) => format!("only PostgreSQL fails: {state}"),
            Kind::Both(postgres, ours) => format!("PostgreSQL fails with {postgres}, Millstream with {ours}"),
            Kind::Values => "other values".to_string(),
            Kind::Names => "other names of columns".to_string(),
            Kind::Types => "other types of columns".to_string(),
            Kind::Modifiers => "other type modifiers".to_string(),
            Kind::Parameters => "other types of parameters".to_string(),
        }
    }

    /// The kind without what changes from statement to statement.
    pub fn class(&self) -> &'static str {
        match self {
            Kind::Internal(_) => "internal error",
            Kind::OnlyOurs(..) => "only Millstream fails",
            Kind::OnlyPostgres(_) => "only PostgreSQL fails",
            Kind::Both(..) => "other SQLSTATE",
            Kind::Values => "other values",
            Kind::Names => "other names",
            Kind::Types => "other types",
            Kind::Modifiers => "other modifiers",
            Kind::Parameters => "other parameters",
        }
    }
}

/// `None`: the answers are the same, or their difference is an exception, or one came too late.
pub fn between(postgres: &Answer, ours: &Answer, statement: &Rendered, protocol: Protocol) -> Option<Kind> {
    let kind = differ(postgres, ours, statement, protocol)?;
    (!exceptions::has(&kind, postgres, ours, &statement.text)).then_some(kind)
}

fn differ(postgres: &Answer, ours: &Answer, statement: &Rendered, protocol: Protocol) -> Option<Kind> {
    let is_late = |answer: &Answer| answer.failure.as_ref().is_some_and(|failure| failure.state == "57014");
    if is_late(postgres) || is_late(ours) {
        return None;
    }
    match (&postgres.failure, &ours.failure) {
        (_, Some(ours)) if ours.state == "XX000" => return Some(Kind::Internal(gist(ours))),
        (None, Some(ours)) => return Some(Kind::OnlyOurs(ours.state.clone(), gist(ours))),
        (Some(postgres), None) => return Some(Kind::OnlyPostgres(postgres.state.clone())),
        (Some(postgres), Some(ours)) => {
            let is_same = postgres.state == ours.state;
            return (!is_same).then(|| Kind::Both(postgres.state.clone(), ours.state.clone()));
        }
        (None, None) => {}
    }
    if postgres.parameters != ours.parameters {
        return Some(Kind::Parameters);
    }
    let each = |of: fn(&super::database::Column) -> String| {
        let all = |answer: &Answer| answer.columns.iter().map(of).collect::<Vec<_>>();
        all(postgres) != all(ours)
    };
    if each(|column| column.oid.to_string()) {
        return Some(Kind::Types);
    }
    if rows(postgres, statement, protocol) != rows(ours, statement, protocol) {
        return Some(Kind::Values);
    }
    if each(|column| column.name.clone()) {
        return Some(Kind::Names);
    }
    each(|column| column.modifier.to_string()).then_some(Kind::Modifiers)
}

/// The beginning of a message, without names, numbers and literals.
fn gist(failure: &Failure) -> String {
    if failure.state == "42601" {
        let is_literal = failure.message.chars().any(|c| c.is_ascii_digit() || c == '\'');
        let gist = if is_literal {
            "syntax error at or near a literal"
        } else {
            failure.message.as_str()
        };
        return gist.chars().take(60).collect();
    }
    let mut words = Vec::new();
    for word in failure.message.split_whitespace() {
        let is_special = word.chars().any(|c| c.is_ascii_digit() || "\"'`(){}[]$.".contains(c));
        words.push(if is_special { "_" } else { word });
    }
    words.truncate(6);
    words.join(" ")
}

fn rows(answer: &Answer, statement: &Rendered, protocol: Protocol) -> Vec<Vec<String>> {
    const MERGING: [&str; 7] = ["DISTINCT", "GROUP BY", "UNION", "INTERSECT", "EXCEPT", "LIMIT", "USING"];
    let is_loose = MERGING.iter().any(|word| statement.text.contains(word)) || statement.text.contains("NATURAL");
    let is_binary = protocol != Protocol::Simple;
    let mut rows: Vec<Vec<String>> = answer
        .rows
        .iter()
        .map(|row| {
            let cells = row.iter().zip(&answer.columns);
            cells
                .map(|(value, column)| match value {
                    None => "NULL".to_string(),
                    Some(value) if is_binary => binary(value, column.oid, is_loose),
                    Some(value) => text(&String::from_utf8_lossy(value), column.oid, is_loose),
                })
                .collect()
        })
        .collect();
    if !statement.is_ordered || is_loose {
        rows.sort();
    }
    rows
}

fn text(value: &str, oid: u32, is_loose: bool) -> String {
    match oid {
        700 | 701 => float(value.parse().unwrap_or(0.0)),
        1700 if is_loose && value.contains('.') => value.trim_end_matches('0').trim_end_matches('.').to_string(),
        1021 | 1022 => {
            let elements = value.trim_start_matches('{').trim_end_matches('}').split(',');
            let elements = elements.map(|element| element.parse().map_or(element.to_string(), float));
            elements.collect::<Vec<_>>().join(",")
        }
        _ => value.to_string(),
    }
}

fn binary(value: &[u8], oid: u32, is_loose: bool) -> String {
    match (oid, value.try_into()) {
        (701, Ok(bytes)) => float(f64::from_be_bytes(bytes)),
        // Compared as text already.
        (1021 | 1022, _) => String::new(),
        (1700, _) if is_loose => String::new(),
        _ => value.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

fn float(value: f64) -> String {
    if value == 0.0 {
        "0".to_string()
    } else {
        format!("{value:.9e}")
    }
}
