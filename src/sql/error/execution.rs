//! Errors that the engine's functions and kernels raise while they run, as PostgreSQL words them. Each is known by its text.

use super::{after, between, cancelled, from_coercion, invalid_input, lower_first, out_of_range, pg_name, sentence};
use crate::error::{SqlError, SqlState, state};
use crate::sql::functions::growth::{regex, too_large_together};
use crate::types::decimal::division_by_zero;

/// What the engine says of values that a user gave, in lower case; SQLSTATE and message of PostgreSQL.
const KNOWN: [(&str, &str, &str); 22] = [
    (
        "was not provided a value for execution",
        "0A000",
        "a parameter is not supported in this place",
    ),
    (
        "date_bin stride must be non-zero",
        "22008",
        "stride must be greater than zero",
    ),
    (
        "date_bin only supports literal values for the stride",
        "0A000",
        "the stride of date_bin must be a constant",
    ),
    (
        "array_concat expects at least one argument",
        "42883",
        "function array_cat() does not exist",
    ),
    (
        "cannot access field at argument",
        "42804",
        "array subscript must have type integer",
    ),
    (
        "ntile requires a positive",
        "22014",
        "argument of ntile must be greater than zero",
    ),
    (
        "second argument of nth_value must not be",
        "22016",
        "argument of nth_value must be greater than zero",
    ),
    (
        "literal for the second argument of nth_value",
        "0A000",
        "the second argument of nth_value must be a constant",
    ),
    (
        "negative count not allowed",
        "22011",
        "negative substring length not allowed",
    ),
    (
        "overlay start position must be",
        "22011",
        "negative substring length not allowed",
    ),
    (
        "field position must not be zero",
        "22023",
        "field position must not be zero",
    ),
    (
        "requires start to be 1",
        "22023",
        "invalid value for parameter \"start\": it must be greater than zero",
    ),
    (
        "zero raised to a negative power",
        "2201F",
        "zero raised to a negative power is undefined",
    ),
    (
        "factorial of a negative number",
        "22003",
        "factorial of a negative number is undefined",
    ),
    ("got invalid index", "22003", "integer out of range"),
    ("start_from out of bounds", "22003", "initial position is out of range"),
    (
        "to non-list data type",
        "0A000",
        "multidimensional arrays are not supported",
    ),
    ("unable to represent", "22008", "interval field value out of range"),
    ("exceeds the representable i64 range", "22008", "timestamp out of range"),
    (
        "encountered non utf-8 data",
        "22021",
        "invalid byte sequence for encoding \"UTF8\"",
    ),
    (
        "delimiter must be a string literal",
        "0A000",
        "the delimiter of string_agg must be a constant",
    ),
    (
        "cannot run range queries on datatype",
        "0A000",
        "RANGE with offset PRECEDING/FOLLOWING is not supported for this column type",
    ),
];

pub(super) fn from_execution(message: &str) -> SqlError {
    let text = message.trim();
    let text = [
        "Execution error: ",
        "Arrow error: ",
        "Cast error: ",
        "Parser error: ",
        "Compute error: ",
    ]
    .iter()
    .fold(text, |text, prefix| text.strip_prefix(prefix).unwrap_or(text));
    if let Some(error) = from_coercion(text) {
        return error;
    }
    let lower = text.to_lowercase();
    if lower.contains("divide by zero") || lower.contains("division by zero") {
        return division_by_zero();
    }
    if lower.contains("offset overflow") {
        return too_large_together("the plan");
    }
    if lower.contains("regular expression did not compile") || lower.contains("regex parse error") {
        return regex::of_message(text);
    }
    if let Some(known) = KNOWN.iter().find(|known| lower.contains(known.0)) {
        let (_, code, message) = known;
        return SqlError::new(SqlState(code), *message);
    }
    if lower.contains("more than one row") {
        return SqlError::new(
            state::CARDINALITY_VIOLATION,
            "more than one row returned by a subquery used as an expression",
        );
    }
    if let Some((value, kind)) = between(text, "Cannot cast string '", "' to value of ")
        .zip(after(text, "' to value of ").map(|rest| rest.trim_end_matches(" type")))
    {
        return invalid_input(&pg_name(kind), value);
    }
    if let Some(name) = between(text, "nvalid timezone \"", "\": failed to parse timezone") {
        return SqlError::new(
            state::INVALID_PARAMETER_VALUE,
            format!("time zone \"{name}\" not recognized"),
        );
    }
    if let Some(value) = between(text, "Cannot parse '", "' as ") {
        return invalid_input("date", value);
    }
    for (prefix, kind) in [
        ("Error parsing timestamp from '", "timestamp"),
        ("Error parsing date from '", "date"),
        ("Error parsing '", "interval"),
    ] {
        if let Some(value) = between(text, prefix, "'") {
            return SqlError::new(
                state::INVALID_DATETIME_FORMAT,
                format!("invalid input syntax for type {kind}: \"{value}\""),
            );
        }
    }
    if lower.contains("interval") && (lower.contains("pars") || lower.contains("invalid input")) {
        return SqlError::new(state::INVALID_DATETIME_FORMAT, "invalid input syntax for type interval")
            .detail(sentence(text));
    }
    if let Some(kind) = after(text, "Can't cast value ").and_then(|rest| after(rest, " to type ")) {
        return out_of_range(&pg_name(kind));
    }
    if lower.contains("too large to store in a decimal") || lower.contains("exceeds the maximum") {
        return SqlError::new(state::NUMERIC_VALUE_OUT_OF_RANGE, "numeric field overflow").detail(sentence(text));
    }
    if lower.contains("overflow") || lower.contains("out of range") {
        return overflow(text);
    }
    if lower.contains("cancel") {
        return cancelled();
    }
    if let Some((value, kind)) = between(text, "Cannot cast value '", "'")
        .or_else(|| between(text, "Cannot cast '", "'"))
        .zip(after(text, " to "))
    {
        return invalid_input(&pg_name(kind.split(' ').next().unwrap_or(kind)), value);
    }
    SqlError::new(state::INTERNAL_ERROR, lower_first(text))
}
/// 22003 where the message says only that something overflowed: `Overflow happened on: 1 + 2`.
pub(super) fn overflow(message: &str) -> SqlError {
    let operands = after(message, "Overflow happened on: ").unwrap_or("");
    let widest = operands
        .split(|c: char| !(c.is_ascii_digit() || c == '-'))
        .filter_map(|word| word.parse::<i128>().ok())
        .map(|value| value.unsigned_abs())
        .max();
    let kind = match widest {
        Some(value) if value > i64::MAX as u128 + 1 => "numeric",
        Some(value) if value > i32::MAX as u128 + 1 => "bigint",
        Some(_) => "integer",
        None if message.contains("Decimal") => "numeric",
        None => "value",
    };
    out_of_range(kind)
}
