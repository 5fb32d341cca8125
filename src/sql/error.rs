//! The engine's errors in PostgreSQL's words: `DataFusionError` and `ArrowError` to [`SqlError`].
//!
//! One rule: an error that a user caused has PostgreSQL's SQLSTATE and wording; only an unforeseen error is XX000. Our
//! own errors travel through the engine inside [`external`] and come out unchanged. Positions: `plan::position`.

use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion::common::DataFusionError;

use crate::error::{SqlError, state};
use crate::panics;
use crate::sql::functions::growth::too_large_together;
use crate::types::PgType;
use crate::types::decimal::division_by_zero;

mod phrases;

/// Wraps an error of ours for a callback of the engine; `SqlError::from` takes it out again.
pub fn external(error: SqlError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

impl From<DataFusionError> for SqlError {
    fn from(error: DataFusionError) -> SqlError {
        match error {
            DataFusionError::ArrowError(arrow, _) => SqlError::from(*arrow),
            DataFusionError::External(inner) => from_boxed(inner),
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => SqlError::from(*inner),
            DataFusionError::Collection(errors) => match errors.into_iter().next() {
                Some(first) => SqlError::from(first),
                None => SqlError::new(state::INTERNAL_ERROR, "an empty list of errors"),
            },
            DataFusionError::Shared(shared) => from_shared(&shared),
            DataFusionError::ExecutionJoin(join) if join.is_cancelled() => cancelled(),
            DataFusionError::ExecutionJoin(join) if join.is_panic() => panics::error(&*join.into_panic()),
            DataFusionError::IoError(io) => SqlError::new(state::IO_ERROR, io.to_string()),
            other => from_engine(&other),
        }
    }
}

impl From<ArrowError> for SqlError {
    fn from(error: ArrowError) -> SqlError {
        match error {
            ArrowError::ExternalError(inner) => from_boxed(inner),
            other => from_arrow(&other),
        }
    }
}

/// An error of the engine's own.
fn from_engine(error: &DataFusionError) -> SqlError {
    match error {
        DataFusionError::ResourcesExhausted(message) => out_of_memory(message),
        DataFusionError::NotImplemented(message) => from_not_implemented(message),
        DataFusionError::Plan(message) | DataFusionError::Execution(message) => from_text(message),
        other => from_text(&other.strip_backtrace()),
    }
}

/// An error of a kernel's own.
fn from_arrow(error: &ArrowError) -> SqlError {
    match error {
        ArrowError::DivideByZero => division_by_zero(),
        ArrowError::ArithmeticOverflow(_) => SqlError::new(state::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range"),
        ArrowError::MemoryError(message) => out_of_memory(message),
        ArrowError::OffsetOverflowError(_) => too_large_together("the plan"),
        ArrowError::CastError(message)
        | ArrowError::ParseError(message)
        | ArrowError::ComputeError(message)
        | ArrowError::InvalidArgumentError(message) => from_text(message),
        ArrowError::NotYetImplemented(message) => from_not_implemented(message),
        other => from_text(&other.to_string()),
    }
}

/// An error that only its text tells from others.
fn from_text(text: &str) -> SqlError {
    let text = text.trim();
    // Arrow's builders panic where a column grows past 2 GiB.
    if text.contains("offset overflow") {
        return too_large_together("the plan");
    }
    phrases::read(text).unwrap_or_else(|| SqlError::new(state::INTERNAL_ERROR, lower_first(text)))
}

/// 57014
pub fn cancelled() -> SqlError {
    SqlError::new(state::QUERY_CANCELED, "canceling statement due to user request")
}

/// 42703 for a column as the user wrote it; `qualifier` is the relation's name or alias, if given.
pub fn undefined_column(qualifier: Option<&str>, name: &str) -> SqlError {
    let message = match qualifier {
        Some(qualifier) => format!("column {qualifier}.{name} does not exist"),
        None => format!("column \"{name}\" does not exist"),
    };
    SqlError::new(state::UNDEFINED_COLUMN, message)
}

/// 42P01
pub fn undefined_relation(name: &str) -> SqlError {
    SqlError::new(state::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist"))
}

fn out_of_memory(message: &str) -> SqlError {
    SqlError::new(state::OUT_OF_MEMORY, "out of memory")
        .detail(sentence(message))
        .hint("Ask for fewer groups or rows at once, or give the server more memory.")
}

fn from_boxed(error: Box<dyn std::error::Error + Send + Sync>) -> SqlError {
    let error = match error.downcast::<SqlError>() {
        Ok(ours) => return *ours,
        Err(other) => other,
    };
    let error = match error.downcast::<DataFusionError>() {
        Ok(inner) => return SqlError::from(*inner),
        Err(other) => other,
    };
    match error.downcast::<ArrowError>() {
        Ok(inner) => SqlError::from(*inner),
        Err(other) => from_text(&other.to_string()),
    }
}

/// A shared error cannot be moved out of: ours are cloned, and the engine's are read by reference.
fn from_shared(error: &DataFusionError) -> SqlError {
    match error {
        DataFusionError::External(inner) => from_shared_box(inner.as_ref()),
        DataFusionError::ArrowError(arrow, _) => match arrow.as_ref() {
            ArrowError::ExternalError(inner) => from_shared_box(inner.as_ref()),
            other => from_arrow(other),
        },
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => from_shared(inner),
        DataFusionError::Shared(inner) => from_shared(inner),
        other => from_engine(other),
    }
}

fn from_shared_box(error: &(dyn std::error::Error + Send + Sync + 'static)) -> SqlError {
    match (
        error.downcast_ref::<SqlError>(),
        error.downcast_ref::<DataFusionError>(),
    ) {
        (Some(ours), _) => ours.clone(),
        (None, Some(nested)) => from_shared(nested),
        (None, None) => from_text(&error.to_string()),
    }
}

/// The name as the user knows it: without the mark that keeps equal output names apart inside a plan.
pub fn visible_name(name: &str) -> &str {
    name.split('\u{1}').next().unwrap_or(name)
}

fn from_not_implemented(message: &str) -> SqlError {
    phrases::read(message).unwrap_or_else(|| {
        SqlError::new(
            state::FEATURE_NOT_SUPPORTED,
            format!("not supported: {}", lower_first(message)),
        )
        .hint("docs/sql.md says what works; most queries can be written with joins, CTEs and GROUP BY in its place.")
    })
}

/// 22P02, or 22007 for dates and times.
pub fn invalid_input(type_name: &str, value: &str) -> SqlError {
    let code = match type_name.split(' ').next().unwrap_or(type_name) {
        "date" | "time" | "timestamp" | "interval" => state::INVALID_DATETIME_FORMAT,
        _ => state::INVALID_TEXT_REPRESENTATION,
    };
    SqlError::new(code, format!("invalid input syntax for type {type_name}: \"{value}\""))
}

/// 22003 for a type by its name.
pub fn out_of_range(type_name: &str) -> SqlError {
    let subject = match type_name {
        "timestamp without time zone" | "timestamp with time zone" | "date" => "timestamp",
        name => name,
    };
    let code = if subject == "timestamp" {
        state::DATETIME_FIELD_OVERFLOW
    } else {
        state::NUMERIC_VALUE_OUT_OF_RANGE
    };
    SqlError::new(code, format!("{subject} out of range"))
}

/// An Arrow type as it prints itself, in PostgreSQL's words.
fn pg_name(arrow: &str) -> String {
    let arrow = arrow.trim().trim_end_matches(" type");
    let known = match arrow {
        "Boolean" => "boolean",
        "Int8" | "Int16" => "smallint",
        "Int32" => "integer",
        "Int64" | "UInt64" => "bigint",
        "Float32" => "real",
        "Float64" => "double precision",
        "Utf8" | "Utf8View" | "LargeUtf8" | "String" => "text",
        "Binary" | "LargeBinary" | "BinaryView" => "bytea",
        "Date32" | "Date64" => "date",
        "Null" => "unknown",
        _ if arrow.starts_with("Decimal") => "numeric",
        _ if arrow.starts_with("Time64") || arrow.starts_with("Time32") => "time without time zone",
        _ if arrow.starts_with("Interval") || arrow.starts_with("Duration") => "interval",
        _ if arrow.starts_with("Timestamp") && arrow.contains("UTC") => "timestamp with time zone",
        _ if arrow.starts_with("Timestamp") => "timestamp without time zone",
        _ => arrow,
    };
    known.to_string()
}

/// A data type in PostgreSQL's words, for messages.
pub fn type_name(data_type: &DataType) -> String {
    match PgType::of_arrow(data_type) {
        Some(known) => known.name(),
        None => pg_name(&data_type.to_string()),
    }
}

fn lower_first(text: &str) -> String {
    let text = text.trim().trim_end_matches('.');
    let mut chars = text.chars();
    match chars.next() {
        // An acronym or a type name keeps its capitals.
        Some(first) if !chars.as_str().starts_with(|c: char| c.is_ascii_uppercase()) => {
            first.to_lowercase().collect::<String>() + chars.as_str()
        }
        _ => text.to_string(),
    }
}

fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.ends_with('.') {
        text.to_string()
    } else {
        format!("{text}.")
    }
}

#[cfg(test)]
mod tests;
