//! Differences between two answers to one statement.
//!
//! One rule: floats are equal within 1e-9, rows are a bag, and come in the same order if they have one, and where equal values that look different
//! (1.0 and 1.00) may stand for each other, numbers are compared by value.

use super::database::{Answer, Column, Failure, Protocol};
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

    /// The kind without the parts that change from statement to statement.
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
    let each = |of: fn(&Column) -> String| {
        let all = |answer: &Answer| answer.columns.iter().map(of).collect::<Vec<_>>();
        all(postgres) != all(ours)
    };
    if each(|column| column.oid.to_string()) {
        return Some(Kind::Types);
    }
    if rows(postgres, statement, protocol) != rows(ours, statement, protocol)
        || order(postgres, statement, protocol) != order(ours, statement, protocol)
    {
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

/// Equal values that look different may stand for each other.
fn is_loose(statement: &Rendered) -> bool {
    const MERGING: [&str; 8] = [
        "DISTINCT",
        "GROUP BY",
        "UNION",
        "INTERSECT",
        "EXCEPT",
        "LIMIT",
        "USING",
        "NATURAL",
    ];
    MERGING.iter().any(|word| statement.text.contains(word))
}

/// The rows as they come, where that is fixed: equal intervals (a month and 30 days) look alike.
fn order(answer: &Answer, statement: &Rendered, protocol: Protocol) -> Vec<Vec<Option<String>>> {
    if !statement.is_ordered || is_loose(statement) {
        return Vec::new();
    }
    let is_binary = protocol != Protocol::Simple;
    let cell = |(value, column): (&Option<Vec<u8>>, &Column)| {
        let value = value.as_ref()?;
        Some(match column.oid {
            INTERVAL if is_binary => binary_length(value).to_string(),
            INTERVAL => text_length(&String::from_utf8_lossy(value)).to_string(),
            oid if is_binary => binary(value, oid, false),
            oid => text(&String::from_utf8_lossy(value), oid, false),
        })
    };
    let rows = answer.rows.iter();
    rows.map(|row| row.iter().zip(&answer.columns).map(cell).collect())
        .collect()
}

const INTERVAL: u32 = 1186;
const DAY_US: i128 = 86_400_000_000;

/// Microseconds of an interval, a month being 30 days.
fn binary_length(value: &[u8]) -> i128 {
    let bytes = value.try_into().expect("an interval has 16 bytes");
    let parts = i128::from_be_bytes(bytes);
    let (time, days, months) = ((parts >> 64) as i64, (parts >> 32) as i32, parts as i32);
    i128::from(time) + (i128::from(days) + 30 * i128::from(months)) * DAY_US
}

fn text_length(value: &str) -> i128 {
    let mut length = 0;
    let mut number = 0;
    for word in value.split_whitespace() {
        match word {
            "year" | "years" => length += number * 360 * DAY_US,
            "mon" | "mons" => length += number * 30 * DAY_US,
            "day" | "days" => length += number * DAY_US,
            time if time.contains(':') => {
                let sign = if time.starts_with('-') { -1 } else { 1 };
                let parts = time.trim_start_matches(['-', '+']).split(':');
                let seconds = parts.fold(0.0, |sum, part| sum * 60.0 + part.parse().unwrap_or(0.0));
                length += sign * (seconds * 1e6_f64).round() as i128;
            }
            digits => number = digits.parse().unwrap_or_default(),
        }
    }
    length
}

fn rows(answer: &Answer, statement: &Rendered, protocol: Protocol) -> Vec<Vec<String>> {
    let is_loose = is_loose(statement);
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
    rows.sort();
    rows
}

fn text(value: &str, oid: u32, is_loose: bool) -> String {
    match oid {
        700 | 701 => float(value.parse().unwrap_or(0.0)),
        INTERVAL if is_loose => text_length(value).to_string(),
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
        (INTERVAL, _) if is_loose => binary_length(value).to_string(),
        // That an array has NULLs is a hint, which PostgreSQL keeps in slices without one.
        (1007 | 1009, _) if value.len() > 8 => [&value[..4], &value[8..]].concat().iter().map(hex).collect(),
        _ => value.iter().map(hex).collect(),
    }
}

fn hex(byte: &u8) -> String {
    format!("{byte:02x}")
}

fn float(value: f64) -> String {
    if value == 0.0 {
        "0".to_string()
    } else {
        format!("{value:.9e}")
    }
}
