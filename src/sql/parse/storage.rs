//! PostgreSQL's storage parameters of tables and views, `USING` and `TABLESPACE`: how its own files are laid out and vacuumed.
//!
//! One rule: they are read and checked as PostgreSQL does. Parameters of the relation itself are kept with its definition, all
//! others are dropped; nothing here is laid out by them.

use super::super::statement::ObjectKind;
use super::cursor::Cursor;
use crate::error::{Result, SqlError, state};
use crate::types::parse_bool;

/// The values that a parameter takes.
#[derive(Clone, Copy)]
enum ParameterValues {
    Boolean,
    Integer(i64, i64),
    Real(f64, f64),
    /// Those that are accepted, and those that the message names.
    Words(&'static [&'static str], &'static str),
}

use ParameterValues::{Boolean, Integer, Real, Words};

const INT_MAX: i64 = i32::MAX as i64;
const CLEANUP: ParameterValues = Words(
    &["auto", "on", "off", "true", "false", "yes", "no", "1", "0"],
    "\"on\", \"off\", and \"auto\"",
);

/// Parameters of a table's heap, which a materialized view has too; whether the heap of its large values has them.
const OF_TABLES: [(&str, ParameterValues, bool); 22] = [
    ("fillfactor", Integer(10, 100), false),
    ("autovacuum_enabled", Boolean, true),
    ("autovacuum_vacuum_threshold", Integer(0, INT_MAX), true),
    ("autovacuum_vacuum_insert_threshold", Integer(-1, INT_MAX), true),
    ("autovacuum_analyze_threshold", Integer(0, INT_MAX), false),
    ("autovacuum_vacuum_cost_limit", Integer(1, 10_000), true),
    ("autovacuum_vacuum_cost_delay", Real(0.0, 100.0), true),
    ("autovacuum_vacuum_scale_factor", Real(0.0, 100.0), true),
    ("autovacuum_vacuum_insert_scale_factor", Real(0.0, 100.0), true),
    ("autovacuum_analyze_scale_factor", Real(0.0, 100.0), false),
    ("autovacuum_freeze_min_age", Integer(0, 1_000_000_000), true),
    ("autovacuum_freeze_max_age", Integer(100_000, 2_000_000_000), true),
    ("autovacuum_freeze_table_age", Integer(0, 2_000_000_000), true),
    ("autovacuum_multixact_freeze_min_age", Integer(0, 1_000_000_000), true),
    (
        "autovacuum_multixact_freeze_max_age",
        Integer(10_000, 2_000_000_000),
        true,
    ),
    ("autovacuum_multixact_freeze_table_age", Integer(0, 2_000_000_000), true),
    ("log_autovacuum_min_duration", Integer(-1, INT_MAX), true),
    ("parallel_workers", Integer(0, 1024), false),
    ("toast_tuple_target", Integer(128, 8160), false),
    ("user_catalog_table", Boolean, false),
    ("vacuum_index_cleanup", CLEANUP, true),
    ("vacuum_truncate", Boolean, true),
];

const OF_VIEWS: [(&str, ParameterValues, bool); 2] = [
    ("security_barrier", Boolean, false),
    ("security_invoker", Boolean, false),
];

/// A parameter that was read.
pub enum Storage {
    /// The definition keeps it.
    Kept,
    /// It is of something that is not there.
    Ignored,
    /// It is none of PostgreSQL's.
    Other,
}

/// Reads `name = value` if PostgreSQL has such a parameter for this kind.
pub fn parameter(kind: ObjectKind, name: &str, value: &str) -> Result<Storage> {
    let known: &[(&str, ParameterValues, bool)] = match kind {
        ObjectKind::View => &OF_VIEWS,
        _ => &OF_TABLES,
    };
    let (namespace, name) = match name.split_once('.') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, name),
    };
    match namespace {
        None => {}
        Some("toast") if kind != ObjectKind::View => {}
        Some(other) => return Err(invalid(format!("unrecognized parameter namespace \"{other}\""))),
    }
    if name == "oids" && namespace.is_none() && kind != ObjectKind::View {
        return match parse_bool(value) {
            Ok(false) => Ok(Storage::Ignored),
            _ => Err(SqlError::new(
                state::FEATURE_NOT_SUPPORTED,
                "tables declared WITH OIDS are not supported",
            )),
        };
    }
    let found = known
        .iter()
        .find(|(known, _, of_toast)| *known == name && (*of_toast || namespace.is_none()));
    let Some((_, values, _)) = found else {
        return match namespace {
            Some(_) => Err(invalid(format!("unrecognized parameter \"{name}\""))),
            None => Ok(Storage::Other),
        };
    };
    check(name, value, *values)?;
    Ok(match namespace {
        Some(_) => Storage::Ignored,
        None => Storage::Kept,
    })
}

/// Whether a table has a parameter of this name.
pub fn is_parameter(name: &str) -> bool {
    OF_TABLES.iter().any(|(known, ..)| *known == name)
}

fn check(name: &str, value: &str, values: ParameterValues) -> Result<()> {
    let bounds = |within: bool, low: String, high: String| match within {
        true => Ok(()),
        false => Err(invalid(format!("value {value} out of bounds for option \"{name}\""))
            .detail(format!("Valid values are between \"{low}\" and \"{high}\"."))),
    };
    let number = value.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    let malformed = |kind: &str| invalid(format!("invalid value for {kind} option \"{name}\": {value}"));
    match values {
        Boolean => parse_bool(value).map(|_| ()).map_err(|_| malformed("boolean")),
        Integer(low, high) => {
            let number = number.ok_or_else(|| malformed("integer"))?.round();
            let within = (low as f64..=high as f64).contains(&number);
            bounds(within, low.to_string(), high.to_string())
        }
        Real(low, high) => {
            let number = number.ok_or_else(|| malformed("floating point"))?;
            bounds(
                (low..=high).contains(&number),
                format!("{low:.6}"),
                format!("{high:.6}"),
            )
        }
        Words(words, named) => match words.contains(&value.to_ascii_lowercase().as_str()) {
            true => Ok(()),
            false => Err(malformed("enum").detail(format!("Valid values are {named}."))),
        },
    }
}

/// `USING heap`: the one access method of PostgreSQL's tables.
pub fn access_method(cursor: &mut Cursor) -> Result<()> {
    if !cursor.take(&["using"]) {
        return Ok(());
    }
    named(cursor, "heap", "access method")
}

/// `TABLESPACE pg_default`.
pub fn tablespace(cursor: &mut Cursor) -> Result<()> {
    if !cursor.take(&["tablespace"]) {
        return Ok(());
    }
    named(cursor, "pg_default", "tablespace")
}

fn named(cursor: &mut Cursor, only: &str, kind: &str) -> Result<()> {
    let name = cursor.identifier()?;
    match name == only {
        true => Ok(()),
        false => Err(SqlError::new(
            state::UNDEFINED_OBJECT,
            format!("{kind} \"{name}\" does not exist"),
        )),
    }
}

fn invalid(message: String) -> SqlError {
    SqlError::new(state::INVALID_PARAMETER_VALUE, message)
}
