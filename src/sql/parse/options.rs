//! WITH (...) options and the values that they take: words, numbers, lengths of time, sizes.
//!
//! One rule: an unknown option is 22023, named, with the list of the known ones.

use std::collections::BTreeMap;

use sqlparser::ast::{self, Expr, Value};
use sqlparser::tokenizer::Token;

use super::super::statement::{ObjectKind, TopicOptions};
use super::cursor::Cursor;
use super::storage::{self, Storage};
use crate::error::{Result, SqlError, state};

/// Most partitions of a topic.
pub const PARTITIONS_MAX: u32 = 1024;

const TOPIC_OPTIONS: [&str; 4] = ["idle_timeout", "partitions", "retention", "retention_bytes"];

/// A value in an option, a setting or a list of either: a string, a number, a word.
pub fn value(cursor: &mut Cursor) -> Result<String> {
    let sign = if cursor.take_token(&Token::Minus) {
        "-"
    } else {
        cursor.take_token(&Token::Plus);
        ""
    };
    let value = match &cursor.parser.peek_token_ref().token {
        Token::Number(digits, _) => format!("{sign}{digits}"),
        _ if !sign.is_empty() => return Err(cursor.syntax_error()),
        Token::SingleQuotedString(text) => text.clone(),
        Token::Word(word) => word.value.clone(),
        _ => return Err(cursor.syntax_error()),
    };
    cursor.skip(1);
    Ok(value)
}

/// A flag's value; none is true.
pub fn boolean(name: &str, value: Option<&str>) -> Result<bool> {
    match value.map(str::to_lowercase).as_deref() {
        None | Some("true" | "on" | "1" | "yes") => Ok(true),
        Some("false" | "off" | "0" | "no") => Ok(false),
        Some(_) => Err(SqlError::new(
            state::SYNTAX_ERROR,
            format!("{name} requires a Boolean value"),
        )),
    }
}

/// `(name = value, ...)`, each name once, with its position.
fn list(cursor: &mut Cursor) -> Result<Vec<(String, String, usize)>> {
    let mut options: Vec<(String, String, usize)> = Vec::new();
    cursor.expect_token(&Token::LParen)?;
    loop {
        let position = cursor.position();
        let mut name = cursor.label()?;
        while cursor.take_token(&Token::Period) {
            name.push('.');
            name += &cursor.label()?;
        }
        let value = if cursor.take_token(&Token::Eq) {
            value(cursor)?
        } else {
            "true".to_string()
        };
        if options.iter().any(|(other, _, _)| *other == name) {
            return Err(SqlError::new(
                state::INVALID_PARAMETER_VALUE,
                format!("parameter \"{name}\" specified more than once"),
            )
            .position(position));
        }
        options.push((name, value, position));
        if !cursor.take_token(&Token::Comma) {
            break;
        }
    }
    cursor.expect_token(&Token::RParen)?;
    Ok(options)
}

/// The options of CREATE TOPIC, after WITH.
pub fn topic_options(cursor: &mut Cursor) -> Result<TopicOptions> {
    let mut options = TopicOptions::default();
    for (name, value, position) in list(cursor)? {
        let invalid = |hint: &str| {
            SqlError::new(
                state::INVALID_PARAMETER_VALUE,
                format!("invalid value for parameter \"{name}\": \"{value}\""),
            )
            .hint(hint)
            .position(position)
        };
        match name.as_str() {
            "partitions" => {
                let count = value.parse().ok().filter(|count| (1..=PARTITIONS_MAX).contains(count));
                let count = count.ok_or_else(|| invalid(&format!("Use a number from 1 to {PARTITIONS_MAX}.")))?;
                options.partitions = Some(count);
            }
            "retention" => {
                if !value.eq_ignore_ascii_case("forever") {
                    let length_us = positive_interval(&value);
                    let hint = "Use a length of time such as '7 days', or 'forever'.";
                    options.retention_us = Some(length_us.ok_or_else(|| invalid(hint))?);
                }
            }
            "retention_bytes" => {
                let bytes = parse_bytes(&value).filter(|bytes| *bytes > 0);
                options.retention_bytes = Some(bytes.ok_or_else(|| invalid("Use a size such as '100 GB'."))?);
            }
            "idle_timeout" => {
                let timeout_us =
                    positive_interval(&value).ok_or_else(|| invalid("Use a length of time such as '10 seconds'."))?;
                options.idle_timeout_us = Some(timeout_us);
            }
            _ => {
                match storage::parameter(ObjectKind::Table, &name, &value).map_err(|error| error.position(position))? {
                    Storage::Kept => {}
                    Storage::Ignored => continue,
                    Storage::Other => return Err(unknown(&name, &TOPIC_OPTIONS, "a topic").position(position)),
                }
            }
        }
        options.given.insert(name, value);
    }
    Ok(options)
}

/// The options of a watermark, after WITH: the time that events may be ahead of the clock, microseconds.
pub fn watermark_options(cursor: &mut Cursor) -> Result<Option<i64>> {
    let mut max_ahead_us = None;
    for (name, value, position) in list(cursor)? {
        if name != "max_ahead" {
            return Err(unknown(&name, &["max_ahead"], "a watermark").position(position));
        }
        max_ahead_us = Some(positive_interval(&value).ok_or_else(|| {
            SqlError::new(
                state::INVALID_PARAMETER_VALUE,
                format!("invalid value for parameter \"{name}\": \"{value}\""),
            )
            .hint("Use a length of time such as '1 minute'.")
            .position(position)
        })?);
    }
    Ok(max_ahead_us)
}

/// `(name, ...)` of ALTER TOPIC ... RESET.
pub fn topic_option_names(cursor: &mut Cursor) -> Result<Vec<String>> {
    let position = cursor.position();
    let names = cursor.identifiers_in_parentheses()?;
    for name in &names {
        if !TOPIC_OPTIONS.contains(&name.as_str()) && !storage::is_parameter(name) {
            return Err(unknown(name, &TOPIC_OPTIONS, "a topic").position(position));
        }
    }
    Ok(names)
}

/// The options of CREATE [MATERIALIZED] VIEW, after WITH.
pub fn view_options(cursor: &mut Cursor, materialized: bool) -> Result<BTreeMap<String, String>> {
    let mut given = BTreeMap::new();
    let kind = match materialized {
        true => ObjectKind::MaterializedView,
        false => ObjectKind::View,
    };
    for (name, value, position) in list(cursor)? {
        match name.as_str() {
            "retention" if materialized => {
                return Err(SqlError::unsupported(
                    "retention of a materialized view is not supported yet",
                    "Leave it out: the rows of closed windows are kept.",
                )
                .position(position));
            }
            // A view's reader may see all of its rows anyway: there is one owner.
            _ => match storage::parameter(kind, &name, &value).map_err(|error| error.position(position))? {
                Storage::Kept => {
                    given.insert(name, value);
                }
                Storage::Ignored => {}
                Storage::Other => {
                    let known: &[&str] = if materialized {
                        &["retention"]
                    } else {
                        &["security_barrier", "security_invoker"]
                    };
                    return Err(unknown(&name, known, "a view").position(position));
                }
            },
        }
    }
    Ok(given)
}

fn unknown(name: &str, known: &[&str], of: &str) -> SqlError {
    SqlError::new(
        state::INVALID_PARAMETER_VALUE,
        format!("unrecognized parameter \"{name}\""),
    )
    .hint(format!("The options of {of} are: {}.", known.join(", ")))
}

fn positive_interval(text: &str) -> Option<i64> {
    parse_interval_us(text).ok().filter(|us| *us > 0)
}

/// `100 GB`, `64kB`, `1048576`: bytes, units of 1024 as in PostgreSQL.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().ok()?;
    let shift = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" | "bytes" => 0,
        "kb" | "kib" => 10,
        "mb" | "mib" => 20,
        "gb" | "gib" => 30,
        "tb" | "tib" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

/// The microseconds of an interval literal: `INTERVAL '4 seconds'`, `INTERVAL '4' SECOND`, `'4 seconds'::interval`.
/// `None` if the expression is something else; an error if it is an interval without a fixed length.
pub fn interval_of(expr: &Expr) -> Result<Option<i64>> {
    let (value, unit) = match expr {
        Expr::Nested(inner) => return interval_of(inner),
        Expr::Interval(interval) if interval.last_field.is_none() => {
            (interval.value.as_ref(), interval.leading_field.as_ref())
        }
        Expr::Cast {
            expr,
            data_type: ast::DataType::Interval { .. },
            ..
        } => (expr.as_ref(), None),
        _ => return Ok(None),
    };
    let text = match value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => text.clone(),
            Value::Number(digits, _) => digits.clone(),
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    let text = match unit {
        Some(unit) => format!("{text} {unit}"),
        None => text,
    };
    parse_interval_us(&text).map(Some)
}

/// The length of a PostgreSQL interval's text in microseconds: `1 hour 30 minutes`, `00:00:04`, `@ 5 mins ago`. A number
/// without a unit is seconds. 22007 if it is none; 0A000 for months and years, which have no fixed length.
pub fn parse_interval_us(text: &str) -> Result<i64> {
    let invalid = || {
        SqlError::new(
            state::INVALID_DATETIME_FORMAT,
            format!("invalid input syntax for type interval: \"{text}\""),
        )
    };
    let overflow = || {
        SqlError::new(
            state::DATETIME_FIELD_OVERFLOW,
            format!("interval field value out of range: \"{text}\""),
        )
    };
    let lower = text.trim().to_ascii_lowercase();
    let words = interval_words(lower.strip_prefix('@').unwrap_or(&lower));
    let mut total_us: i128 = 0;
    let mut found = false;
    let mut at = 0;
    while at < words.len() {
        let word = words[at];
        at += 1;
        if word == "ago" && found && at == words.len() {
            total_us = -total_us;
            continue;
        }
        let us = if word.contains(':') {
            clock_us(word).ok_or_else(invalid)?
        } else {
            let unit_us = match words.get(at).copied() {
                Some(unit) if unit.bytes().all(|b| b.is_ascii_alphabetic()) && unit != "ago" => {
                    at += 1;
                    unit_us(unit)?.ok_or_else(invalid)?
                }
                _ => 1_000_000,
            };
            scaled(word, unit_us).ok_or_else(invalid)?
        };
        found = true;
        total_us = total_us.checked_add(us).ok_or_else(overflow)?;
    }
    if !found {
        return Err(invalid());
    }
    i64::try_from(total_us).map_err(|_| overflow())
}

/// Numbers, units and clock times, also where they are written together: `90s`.
fn interval_words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for part in text.split_ascii_whitespace() {
        let split = part.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(part.len());
        words.extend(
            [&part[..split], &part[split..]]
                .into_iter()
                .filter(|word| !word.is_empty()),
        );
    }
    words
}

/// Microseconds of one unit; `None` if there is none of that name.
fn unit_us(unit: &str) -> Result<Option<i128>> {
    Ok(Some(match unit {
        "us" | "usec" | "usecs" | "usecond" | "useconds" | "microsecond" | "microseconds" => 1,
        "ms" | "msec" | "msecs" | "msecond" | "mseconds" | "millisecond" | "milliseconds" => 1_000,
        "s" | "sec" | "secs" | "second" | "seconds" => 1_000_000,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000_000,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600_000_000,
        "d" | "day" | "days" => 86_400_000_000,
        "w" | "week" | "weeks" => 604_800_000_000,
        "mon" | "mons" | "month" | "months" | "y" | "yr" | "yrs" | "year" | "years" | "decade" | "decades"
        | "century" | "centuries" => {
            return Err(SqlError::unsupported(
                "an interval of months or years has no fixed length",
                "Use days, hours, minutes or seconds.",
            ));
        }
        _ => return Ok(None),
    }))
}

/// A decimal number of units, in microseconds, rounded to the nearest.
fn scaled(number: &str, unit_us: i128) -> Option<i128> {
    let (negative, number) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.len() <= 15 && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let scale = 10i128.pow(fraction.len() as u32);
    let value: i128 = format!("{whole}{fraction}").parse().ok()?;
    let us = (value * unit_us + scale / 2) / scale;
    Some(if negative { -us } else { us })
}

/// `hh:mm[:ss[.ffffff]]`.
fn clock_us(text: &str) -> Option<i128> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let parts: Vec<&str> = text.split(':').collect();
    if !(2..=3).contains(&parts.len()) || parts.iter().any(|part| part.starts_with(['-', '+'])) {
        return None;
    }
    let hours = scaled(parts[0], 3_600_000_000)?;
    let minutes = scaled(parts[1], 60_000_000).filter(|us| *us < 3_600_000_000)?;
    let seconds = match parts.get(2) {
        Some(seconds) => scaled(seconds, 1_000_000).filter(|us| *us < 60_000_000)?,
        None => 0,
    };
    let us = hours + minutes + seconds;
    Some(if negative { -us } else { us })
}
