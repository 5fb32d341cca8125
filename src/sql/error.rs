//! The engine's errors in PostgreSQL's words: `DataFusionError` and `ArrowError` to [`SqlError`].
//!
//! One rule: an error that a user caused has PostgreSQL's SQLSTATE and wording; only what nobody foresaw is XX000. Our
//! own errors travel through the engine inside [`external`] and come out unchanged. Positions: `plan::position`.

use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion::common::DataFusionError;

use crate::error::{SqlError, SqlState, state};
use crate::panics;
use crate::sql::functions::growth::too_large_together;
use crate::types::PgType;
use crate::types::decimal::division_by_zero;

mod execution;

use execution::{from_execution, overflow};

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
            DataFusionError::ResourcesExhausted(message) => out_of_memory(&message),
            DataFusionError::NotImplemented(message) => from_not_implemented(&message),
            DataFusionError::Plan(message) => from_plan(&message),
            DataFusionError::Execution(message) => from_execution(&message),
            DataFusionError::ExecutionJoin(join) if join.is_cancelled() => cancelled(),
            DataFusionError::ExecutionJoin(join) if join.is_panic() => panics::error(&*join.into_panic()),
            DataFusionError::IoError(io) => SqlError::new(state::IO_ERROR, io.to_string()),
            other => from_execution(&other.strip_backtrace()),
        }
    }
}

impl From<ArrowError> for SqlError {
    fn from(error: ArrowError) -> SqlError {
        match error {
            ArrowError::DivideByZero => division_by_zero(),
            ArrowError::ExternalError(inner) => from_boxed(inner),
            ArrowError::ArithmeticOverflow(message) => overflow(&message),
            ArrowError::MemoryError(message) => out_of_memory(&message),
            ArrowError::OffsetOverflowError(_) => too_large_together("the plan"),
            ArrowError::CastError(message)
            | ArrowError::ParseError(message)
            | ArrowError::ComputeError(message)
            | ArrowError::InvalidArgumentError(message) => from_execution(&message),
            ArrowError::NotYetImplemented(message) => from_not_implemented(&message),
            other => from_execution(&other.to_string()),
        }
    }
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
        Err(other) => from_execution(&other.to_string()),
    }
}

/// A shared error cannot be moved out of; ours are cloned, the engine's are read by their text.
fn from_shared(error: &DataFusionError) -> SqlError {
    match error {
        DataFusionError::External(inner) => match inner.downcast_ref::<SqlError>() {
            Some(ours) => ours.clone(),
            None => match inner.downcast_ref::<DataFusionError>() {
                Some(nested) => from_shared(nested),
                None => from_execution(&inner.to_string()),
            },
        },
        DataFusionError::ArrowError(arrow, _) => match arrow.as_ref() {
            ArrowError::DivideByZero => division_by_zero(),
            ArrowError::ArithmeticOverflow(message) => overflow(message),
            ArrowError::OffsetOverflowError(_) => too_large_together("the plan"),
            ArrowError::ExternalError(inner) => match inner.downcast_ref::<SqlError>() {
                Some(ours) => ours.clone(),
                None => from_execution(&inner.to_string()),
            },
            other => from_execution(&other.to_string()),
        },
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => from_shared(inner),
        DataFusionError::Shared(inner) => from_shared(inner),
        DataFusionError::ResourcesExhausted(message) => out_of_memory(message),
        other => from_execution(&other.strip_backtrace()),
    }
}

/// The name as the user knows it: without the mark that keeps equal output names apart inside a plan.
pub fn visible_name(name: &str) -> &str {
    name.split('\u{1}').next().unwrap_or(name)
}

fn from_not_implemented(message: &str) -> SqlError {
    let message = message.trim();
    for kind in ["ScalarSubquery(", "InSubquery(", "Exists(", "SetComparison("] {
        if message.contains("does not support logical expression") && message.contains(kind) {
            return SqlError::unsupported(
                "this correlated subquery is not supported",
                "Compare it with the outer query by equality (inner.x = outer.x), or write it as a join.",
            );
        }
    }
    // The rest of such a message is the engine's own notation.
    let message = match message.split_once("does not support logical expression") {
        Some((before, expression)) => {
            let kind = expression.trim().split('(').next().unwrap_or_default();
            format!("{before}does not support {kind}")
        }
        None => message.to_string(),
    };
    SqlError::new(
        state::FEATURE_NOT_SUPPORTED,
        format!("not supported: {}", lower_first(&message)),
    )
    .hint("docs/sql.md says what works; most queries can be written with joins, CTEs and GROUP BY in its place.")
}

const FUNCTION_HINT: &str =
    "No function matches the given name and argument types. You might need to add explicit type casts.";

/// Plans are checked before the engine sees them: what it says of one is of our functions' arguments, or is not there yet.
fn from_plan(message: &str) -> SqlError {
    let message = message.trim();
    let text = message.strip_prefix("Error during planning: ").unwrap_or(message);
    if text.contains(" user-defined coercion failed with: External error: ")
        && let Some(error) = from_coercion(text)
    {
        return error;
    }
    if text.contains("orrelated") || text.contains("not supported") || text.contains("Unsupported") {
        return SqlError::new(
            state::FEATURE_NOT_SUPPORTED,
            format!("not supported: {}", lower_first(text)),
        );
    }
    if text.starts_with("Step") && text.contains("zero") {
        return SqlError::new(state::INVALID_PARAMETER_VALUE, "step size cannot equal zero");
    }
    from_execution(text)
}

/// What our functions say of arguments that they are asked about while the engine plans.
const OF_ARGUMENTS: [SqlState; 8] = [
    state::UNDEFINED_FUNCTION,
    state::FEATURE_NOT_SUPPORTED,
    state::INVALID_PARAMETER_VALUE,
    state::DATATYPE_MISMATCH,
    state::INDETERMINATE_DATATYPE,
    state::PROGRAM_LIMIT_EXCEEDED,
    state::STATEMENT_TOO_COMPLEX,
    state::QUERY_CANCELED,
];

/// A function that does not take its arguments; an error of ours about them has become text on its way, its hint is lost.
fn from_coercion(text: &str) -> Option<SqlError> {
    let (function, reason) = match text.split_once(" user-defined coercion failed with: ") {
        Some(parts) => parts,
        None => text.split_once(" failed to match any signature, errors: ")?,
    };
    // What the engine adds of its own.
    let reason = reason
        .split(". No function matches the given name")
        .next()
        .unwrap_or(reason);
    if let Some((_, ours)) = reason.split_once("External error: ")
        && let Some((message, code)) = ours.strip_suffix(')').and_then(|ours| ours.rsplit_once(" ("))
        && let Some(known) = OF_ARGUMENTS.into_iter().find(|known| known.0 == code)
    {
        let error = SqlError::new(known, message);
        return Some(match known {
            state::UNDEFINED_FUNCTION => error.hint(FUNCTION_HINT),
            _ => error,
        });
    }
    let name = between(function, "'", "'").unwrap_or(function);
    let message = format!("function {name} does not exist with these arguments");
    let reason = reason.split("\nThis issue was likely").next().unwrap_or(reason);
    Some(
        SqlError::new(state::UNDEFINED_FUNCTION, message)
            .detail(sentence(reason))
            .hint(FUNCTION_HINT),
    )
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

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let rest = after(text, start)?;
    rest.find(end).map(|at| &rest[..at])
}

fn after<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    text.find(start).map(|at| &text[at + start.len()..])
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
mod tests {
    use super::*;

    fn check(error: impl Into<SqlError>, code: SqlState, message: &str) {
        let error = error.into();
        assert_eq!((error.state, error.message.as_str()), (code, message));
    }

    #[test]
    fn runtime_errors_read_as_postgresql_writes_them() {
        check(ArrowError::DivideByZero, state::DIVISION_BY_ZERO, "division by zero");
        check(
            ArrowError::ArithmeticOverflow("Overflow happened on: 2147483647 + 1".into()),
            state::NUMERIC_VALUE_OUT_OF_RANGE,
            "integer out of range",
        );
        check(
            ArrowError::ArithmeticOverflow("Overflow happened on: 9223372036854775807 + 1".into()),
            state::NUMERIC_VALUE_OUT_OF_RANGE,
            "bigint out of range",
        );
        check(
            ArrowError::CastError("Cannot cast string 'abc' to value of Int32 type".into()),
            state::INVALID_TEXT_REPRESENTATION,
            "invalid input syntax for type integer: \"abc\"",
        );
        check(
            ArrowError::ParseError("Error parsing timestamp from 'x': too short".into()),
            state::INVALID_DATETIME_FORMAT,
            "invalid input syntax for type timestamp: \"x\"",
        );
        let coercion = |reason: &str| {
            DataFusionError::Execution(format!("Function 'f' user-defined coercion failed with: {reason}"))
        };
        check(
            coercion("External error: function f() does not exist (42883)"),
            state::UNDEFINED_FUNCTION,
            "function f() does not exist",
        );
        check(
            coercion("External error: there is no (short) way (0A000)"),
            state::FEATURE_NOT_SUPPORTED,
            "there is no (short) way",
        );
        // The engine asks for the type of a call in two ways, and says the same of both.
        check(
            DataFusionError::Plan(
                "Execution error: Function 'f' user-defined coercion failed with: External error: no such part (22023). \
                 No function matches the given name and argument types 'f(Int64)'. You might need to add explicit type casts."
                    .into(),
            ),
            state::INVALID_PARAMETER_VALUE,
            "no such part",
        );
        check(
            DataFusionError::Internal(
                "Function 'f' failed to match any signature, errors: f expects 1 argument".into(),
            ),
            state::UNDEFINED_FUNCTION,
            "function f does not exist with these arguments",
        );
        check(
            coercion("Error during planning: f does not support type Boolean"),
            state::UNDEFINED_FUNCTION,
            "function f does not exist with these arguments",
        );
    }

    #[test]
    fn an_error_of_ours_comes_through_the_engine_unchanged() {
        let ours = SqlError::new(state::INVALID_PARAMETER_VALUE, "no").hint("Do.");
        let wrapped = external(ours.clone()).context("somewhere");
        assert_eq!(SqlError::from(wrapped), ours);
    }
}
