//! What the engine says went wrong, in PostgreSQL's words: `DataFusionError` and `ArrowError` to [`SqlError`].
//!
//! One rule: an error that a user caused has PostgreSQL's SQLSTATE and wording; only what nobody foresaw is XX000. Our
//! own errors travel through the engine inside [`external`] and come out unchanged. Positions: `plan::position`.

use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion::common::{Column, DataFusionError, SchemaError};

use crate::error::{SqlError, SqlState, state};
use crate::panics;
use crate::sql::functions::functions;
use crate::sql::functions::growth::too_large_together;
use crate::types::PgType;

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
            DataFusionError::SchemaError(schema, _) => from_schema(&schema),
            DataFusionError::ResourcesExhausted(message) => out_of_memory(&message),
            DataFusionError::NotImplemented(message) => from_not_implemented(&message),
            DataFusionError::Plan(message) => from_plan(&message),
            DataFusionError::SQL(parser, _) => SqlError::new(
                state::SYNTAX_ERROR,
                parser.to_string().trim_start_matches("sql parser error: "),
            ),
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

/// 22012
pub fn division_by_zero() -> SqlError {
    SqlError::new(state::DIVISION_BY_ZERO, "division by zero")
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

fn from_schema(error: &SchemaError) -> SqlError {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => missing_field(field, valid_fields),
        SchemaError::AmbiguousReference { field } => SqlError::new(
            state::AMBIGUOUS_COLUMN,
            format!("column reference \"{}\" is ambiguous", field.name),
        ),
        SchemaError::DuplicateQualifiedField { qualifier, .. } => SqlError::new(
            state::DUPLICATE_ALIAS,
            format!("table name \"{}\" specified more than once", qualifier.table()),
        )
        .hint("Give each of them an alias of its own."),
        SchemaError::DuplicateUnqualifiedField { name } => SqlError::new(
            state::DUPLICATE_COLUMN,
            format!("column \"{}\" specified more than once", visible_name(name)),
        ),
    }
}

/// The name as the user knows it: without the mark that keeps equal output names apart inside a plan.
pub fn visible_name(name: &str) -> &str {
    name.split('\u{1}').next().unwrap_or(name)
}

fn missing_field(field: &Column, valid: &[Column]) -> SqlError {
    let name = visible_name(&field.name);
    let Some(relation) = &field.relation else {
        let error = undefined_column(None, name);
        return match closest(name, valid) {
            Some(column) => error.hint(format!("Perhaps you meant to reference the column \"{column}\".")),
            None => error,
        };
    };
    if !valid.is_empty()
        && !valid.iter().any(|column| {
            column
                .relation
                .as_ref()
                .is_some_and(|known| known.resolved_eq(relation))
        })
    {
        return SqlError::new(
            state::UNDEFINED_TABLE,
            format!("missing FROM-clause entry for table \"{}\"", relation.table()),
        );
    }
    let error = undefined_column(Some(relation.table()), name);
    match closest(name, valid) {
        Some(column) => error.hint(format!("Perhaps you meant to reference the column \"{column}\".")),
        None => error,
    }
}

/// The nearest of the known columns, if it is near enough to be a slip of the finger.
fn closest(name: &str, valid: &[Column]) -> Option<String> {
    let limit = (name.chars().count() / 2).clamp(1, 3);
    let near = |column: &&Column| {
        datafusion::common::utils::datafusion_strsim::levenshtein(&column.name.to_lowercase(), &name.to_lowercase())
    };
    let best = valid.iter().min_by_key(near)?;
    (near(&best) <= limit).then(|| match &best.relation {
        Some(relation) => format!("{}.{}", relation.table(), visible_name(&best.name)),
        None => visible_name(&best.name).to_string(),
    })
}

fn from_not_implemented(message: &str) -> SqlError {
    let message = message.trim();
    if let Some(feature) = message.strip_prefix("Unsupported SQL type ") {
        return SqlError::new(
            state::UNDEFINED_OBJECT,
            format!("type \"{}\" does not exist", feature.to_lowercase()),
        );
    }
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

const OPERATOR_HINT: &str =
    "No operator matches the given name and argument types. You might need to add explicit type casts.";
const FUNCTION_HINT: &str =
    "No function matches the given name and argument types. You might need to add explicit type casts.";

fn from_plan(message: &str) -> SqlError {
    let message = message.trim();
    let text = message.strip_prefix("Error during planning: ").unwrap_or(message);
    if let Some(name) = between(text, "Invalid function '", "'") {
        if functions().window.contains_key(name) {
            return SqlError::new(
                state::WRONG_OBJECT_TYPE,
                format!("window function {name} requires an OVER clause"),
            );
        }
        return SqlError::new(state::UNDEFINED_FUNCTION, format!("function {name} does not exist"))
            .hint(function_hint(text));
    }
    if let Some(name) = after(text, "There is no window function named ") {
        return SqlError::new(
            state::UNDEFINED_FUNCTION,
            format!("window function {name} does not exist"),
        );
    }
    if let Some(column) = between(text, "While expanding wildcard, column \"", "\" must appear")
        .or_else(|| between(text, "HAVING clause references: ", " must appear"))
    {
        return SqlError::new(
            state::GROUPING_ERROR,
            format!(
                "column \"{}\" must appear in the GROUP BY clause or be used in an aggregate function",
                visible_name(column)
            ),
        );
    }
    if let Some(expression) = between(text, "Cannot coerce arithmetic expression ", " to valid types") {
        return operator_error(expression);
    }
    for prefix in [
        "Cannot infer common argument type for comparison operation ",
        "Cannot infer common argument type for logical boolean operation ",
        "Cannot get result type for arithmetic operation ",
        "Cannot infer common argument type for bitwise operation ",
        "Cannot infer common string type for string concat operation ",
        "Cannot infer common argument type for regex operation ",
    ] {
        if let Some(expression) = after(text, prefix) {
            return operator_error(expression);
        }
    }
    if text.contains(" user-defined coercion failed with: External error: ")
        && let Some(error) = from_coercion(text)
    {
        return error;
    }
    if let Some(call) = between(text, "No function matches the given name and argument types '", "'.") {
        return function_error(call);
    }
    if let Some((function, types)) = text
        .split_once("Failed to coerce arguments to satisfy a call to '")
        .and_then(|(_, rest)| rest.split_once("' function: coercion from "))
    {
        let types = types.split(" to the signature").next().unwrap_or(types);
        return function_error(&format!("{function}({types})"));
    }
    if let Some(name) = between(text, "unction '", "'")
        && (text.contains("expect") || text.contains("requires") || text.contains("does not support"))
    {
        return SqlError::new(
            state::UNDEFINED_FUNCTION,
            format!("function {name} does not exist with these arguments"),
        )
        .detail(sentence(text))
        .hint(FUNCTION_HINT);
    }
    if let Some(kind) = after(text, "Cannot create filter with non-boolean predicate '")
        .and_then(|rest| rest.rsplit_once("' returning "))
        .map(|(_, kind)| kind)
    {
        return SqlError::new(
            state::DATATYPE_MISMATCH,
            format!("argument of WHERE must be type boolean, not type {}", pg_name(kind)),
        );
    }
    if text.contains("different number of columns") || text.contains("Union schemas have different number of fields") {
        return SqlError::new(
            state::SYNTAX_ERROR,
            "each UNION query must have the same number of columns",
        );
    }
    if text.contains("INTERSECT/EXCEPT query must have the same number") {
        return SqlError::new(
            state::SYNTAX_ERROR,
            "each INTERSECT or EXCEPT query must have the same number of columns",
        );
    }
    if let Some(rest) = after(text, "Incompatible inputs for Union: Previous inputs were of type ")
        && let Some((left, rest)) = rest.split_once(", but got incompatible type ")
    {
        let right = rest.split(" on column").next().unwrap_or(rest);
        return SqlError::new(
            state::DATATYPE_MISMATCH,
            format!("UNION types {} and {} cannot be matched", pg_name(left), pg_name(right)),
        );
    }
    if let Some(qualifier) = after(text, "Invalid qualifier ") {
        return SqlError::new(
            state::UNDEFINED_TABLE,
            format!("missing FROM-clause entry for table \"{qualifier}\""),
        );
    }
    if let Some(rest) = after(text, "Cannot find column with position ") {
        let position = rest.split(' ').next().unwrap_or(rest);
        return SqlError::new(
            state::INVALID_COLUMN_REFERENCE,
            format!("GROUP BY position {position} is not in select list"),
        );
    }
    if let Some(rest) = after(text, "Order by column out of bounds, specified: ") {
        let position = rest.split(',').next().unwrap_or(rest);
        return SqlError::new(
            state::INVALID_COLUMN_REFERENCE,
            format!("ORDER BY position {position} is not in select list"),
        );
    }
    if text.starts_with("Aggregate functions are not allowed in the WHERE clause") {
        return SqlError::new(state::GROUPING_ERROR, "aggregate functions are not allowed in WHERE");
    }
    for (call, code, message) in [
        (
            "Aggregate function calls cannot be nested",
            state::GROUPING_ERROR,
            "aggregate function calls cannot be nested",
        ),
        (
            "Aggregate function calls cannot contain window",
            state::GROUPING_ERROR,
            "aggregate function calls cannot contain window function calls",
        ),
        (
            "Window function calls cannot be nested",
            state::WINDOWING_ERROR,
            "window function calls cannot be nested",
        ),
    ] {
        if text.starts_with(call) {
            return SqlError::new(code, message);
        }
    }
    if text.starts_with("RANGE requires exactly one ORDER BY column") {
        return SqlError::new(
            state::WINDOWING_ERROR,
            "RANGE with offset PRECEDING/FOLLOWING requires exactly one ORDER BY column",
        );
    }
    if text.starts_with("Step") && text.contains("zero") {
        return SqlError::new(state::INVALID_PARAMETER_VALUE, "step size cannot equal zero");
    }
    if text.starts_with("For SELECT DISTINCT, ORDER BY expressions") {
        return SqlError::new(
            state::INVALID_COLUMN_REFERENCE,
            "for SELECT DISTINCT, ORDER BY expressions must appear in select list",
        );
    }
    if text.starts_with("SELECT DISTINCT ON expressions must match") {
        return SqlError::new(
            state::INVALID_COLUMN_REFERENCE,
            "SELECT DISTINCT ON expressions must match initial ORDER BY expressions",
        );
    }
    if let Some(rest) = after(text, "WITH query name ") {
        return SqlError::new(state::DUPLICATE_ALIAS, format!("WITH query name {rest}"));
    }
    if text.starts_with("Inconsistent data length across values list") {
        return SqlError::new(state::SYNTAX_ERROR, "VALUES lists must all be the same length");
    }
    if let Some(counts) = after(text, "Source table contains ")
        && let Some((have, rest)) = counts.split_once(" columns but only ")
    {
        let given = rest.split(' ').next().unwrap_or(rest);
        return SqlError::new(
            state::INVALID_COLUMN_REFERENCE,
            format!("table has {have} columns available but {given} columns specified"),
        );
    }
    if text.contains("should only return one column") || text.contains("Scalar subquery should only project") {
        return SqlError::new(state::SYNTAX_ERROR, "subquery must return only one column");
    }
    if text.contains("require unique expression names") {
        return SqlError::new(state::DUPLICATE_COLUMN, "output column names are not unique")
            .detail(sentence(text))
            .hint("Give each of them an alias (AS) of its own.");
    }
    if text.contains("orrelated") || text.contains("not supported") || text.contains("Unsupported") {
        return SqlError::new(
            state::FEATURE_NOT_SUPPORTED,
            format!("not supported: {}", lower_first(text)),
        );
    }
    if text.starts_with("LIMIT must be") || text.starts_with("OFFSET must be") {
        let word = text.split(' ').next().unwrap_or("LIMIT");
        let code = if word == "LIMIT" { "2201W" } else { "2201X" };
        return SqlError::new(SqlState(code), format!("{word} must not be negative"));
    }
    if let Some(rest) = after(text, "Can not find compatible types to compare ") {
        return SqlError::new(
            state::DATATYPE_MISMATCH,
            format!("types cannot be compared: {}", replace_types(rest)),
        );
    }
    let runtime = from_execution(text);
    if runtime.state != state::INTERNAL_ERROR {
        return runtime;
    }
    SqlError::new(state::SYNTAX_ERROR, lower_first(text))
}

fn function_hint(text: &str) -> String {
    match between(text, "Did you mean '", "'") {
        Some(near) => format!("{FUNCTION_HINT} Perhaps you meant {near}."),
        None => FUNCTION_HINT.to_string(),
    }
}

/// `Int64 + Utf8` to `operator does not exist: bigint + text`.
fn operator_error(expression: &str) -> SqlError {
    SqlError::new(
        state::UNDEFINED_FUNCTION,
        format!("operator does not exist: {}", replace_types(expression.trim())),
    )
    .hint(OPERATOR_HINT)
}

/// `sum(Utf8)` to `function sum(text) does not exist`.
fn function_error(call: &str) -> SqlError {
    SqlError::new(
        state::UNDEFINED_FUNCTION,
        format!("function {} does not exist", replace_types(call)),
    )
    .hint(FUNCTION_HINT)
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

/// Replaces every Arrow type name in a message: `Int64 + Timestamp(Microsecond, None)`.
fn replace_types(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let word = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        if word == 0 {
            let next = rest.chars().next().map_or(1, char::len_utf8);
            out.push_str(&rest[..next]);
            rest = &rest[next..];
            continue;
        }
        let parameterized = ["Timestamp", "Decimal", "Time64", "Time32", "Interval", "Duration"]
            .iter()
            .any(|name| rest[..word].starts_with(name));
        let end = match rest[word..].strip_prefix('(').and_then(|inner| inner.find(')')) {
            Some(close) if parameterized => word + close + 2,
            _ => word,
        };
        out.push_str(&pg_name(&rest[..end]));
        rest = &rest[end..];
    }
    out
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

    #[test]
    fn type_names_inside_a_message_become_postgresqls() {
        assert_eq!(replace_types("Int64 + Utf8"), "bigint + text");
        assert_eq!(
            replace_types("Timestamp(µs, \"UTC\") = Decimal128(10, 2)"),
            "timestamp with time zone = numeric"
        );
    }
}
