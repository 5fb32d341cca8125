//! Text that clients build statements and listings from: quoting, `format`, sizes, array bounds.

use super::{Facts, Returns, Spec, lenient, strict, text_of};
use crate::catalog::system::SystemValue;
use crate::catalog::{quote_ident, quote_literal};
use crate::error::{SqlError, state};

pub(super) const SPECS: &[Spec] = &[
    strict("quote_ident", 1..=1, Returns::Text, |_, args| {
        Ok(quote_ident(&plain(&args[0])).into())
    }),
    strict("quote_literal", 1..=1, Returns::Text, |_, args| {
        Ok(quote_literal(&plain(&args[0])).into())
    }),
    lenient("quote_nullable", 1..=1, Returns::Text, |_, args| {
        Ok(if args[0].is_null() {
            "NULL".into()
        } else {
            quote_literal(&plain(&args[0])).into()
        })
    }),
    lenient("format", 1..=100, Returns::Text, format),
    strict("pg_size_pretty", 1..=1, Returns::Text, |_, args| {
        Ok(args[0].as_int().map(size_pretty).into())
    }),
    strict("array_upper", 2..=2, Returns::Int4, |_, args| {
        Ok(bound(args, |length| length as i64))
    }),
    strict("array_lower", 2..=2, Returns::Int4, |_, args| Ok(bound(args, |_| 1))),
    strict("like_escape", 2..=2, Returns::Text, |_, args| {
        Ok(like_escape(text_of(&args[0]), text_of(&args[1]).chars().next()).into())
    }),
    strict("parse_ident", 1..=2, Returns::Names, |_, args| {
        let text = text_of(&args[0]);
        match super::parse_qualified(text) {
            Some(parts) => Ok(parts.into()),
            None => Err(SqlError::new(
                state::INVALID_PARAMETER_VALUE,
                format!("string is not a valid identifier: \"{text}\""),
            )),
        }
    }),
    // An array beside a literal of its text form: `sql/compat` writes both as text.
    strict("array_out", 1..=1, Returns::Text, |_, args| {
        Ok(array_text(&args[0]).into())
    }),
];

/// A value's text, as `::text` would give it.
fn plain(value: &SystemValue) -> String {
    match value {
        SystemValue::Null => String::new(),
        SystemValue::Bool(value) => if *value { "t" } else { "f" }.to_string(),
        SystemValue::Int(value) => value.to_string(),
        SystemValue::Float(value) => value.to_string(),
        SystemValue::Text(text) => text.clone(),
        SystemValue::List(_) => array_text(value),
    }
}

/// PostgreSQL's text form of an array.
fn array_text(value: &SystemValue) -> String {
    let SystemValue::List(items) = value else {
        return plain(value);
    };
    let items = items.iter().map(|item| match item {
        SystemValue::Null => "NULL".to_string(),
        SystemValue::Text(text) => {
            let special = |c: char| matches!(c, '{' | '}' | ',' | '"' | '\\') || c.is_whitespace();
            if text.is_empty() || text.eq_ignore_ascii_case("null") || text.contains(special) {
                format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
            } else {
                text.clone()
            }
        }
        other => array_text(other),
    });
    format!("{{{}}}", items.collect::<Vec<_>>().join(","))
}

/// A LIKE pattern whose escape character is `mark` (none: `None`), with the backslash in its place.
pub fn like_escape(pattern: &str, mark: Option<char>) -> String {
    let mut rewritten = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if Some(c) == mark {
            rewritten.push('\\');
            rewritten.extend(chars.next());
        } else if c == '\\' {
            rewritten.push_str("\\\\");
        } else {
            rewritten.push(c);
        }
    }
    rewritten
}

/// A bound of the first dimension; NULL for an empty array and for other dimensions.
fn bound(args: &[SystemValue], of: impl Fn(usize) -> i64) -> SystemValue {
    match (&args[0], args[1].as_int()) {
        (SystemValue::List(items), Some(1)) if !items.is_empty() => SystemValue::Int(of(items.len())),
        _ => SystemValue::Null,
    }
}

/// `%s`, `%I`, `%L`, `%%`, with `n$` positions.
fn format(_: &Facts, args: &[SystemValue]) -> Result<SystemValue, SqlError> {
    if args[0].is_null() {
        return Ok(SystemValue::Null);
    }
    let template = text_of(&args[0]);
    let mut out = String::with_capacity(template.len());
    let mut next = 1;
    let mut chars = template.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut digits = String::new();
        while let Some(digit) = chars.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        if !digits.is_empty() && chars.next_if_eq(&'$').is_some() {
            next = digits.parse().unwrap_or(usize::MAX);
        }
        let kind = chars.next();
        if kind == Some('%') {
            out.push('%');
            continue;
        }
        let Some(value) = args.get(next).filter(|_| next > 0) else {
            return Err(SqlError::new(
                state::INVALID_PARAMETER_VALUE,
                "too few arguments for format()",
            ));
        };
        next += 1;
        match kind {
            Some('s') => out.push_str(&plain(value)),
            Some('I') if value.is_null() => {
                return Err(SqlError::new(
                    state::INVALID_PARAMETER_VALUE,
                    "null values cannot be formatted as an SQL identifier",
                ));
            }
            Some('I') => out.push_str(&quote_ident(&plain(value))),
            Some('L') if value.is_null() => out.push_str("NULL"),
            Some('L') => out.push_str(&quote_literal(&plain(value))),
            other => {
                let other = other.map(String::from).unwrap_or_default();
                let error = SqlError::new(
                    state::INVALID_PARAMETER_VALUE,
                    format!("unrecognized format() type specifier \"{other}\""),
                );
                return Err(error.hint("For a single \"%\" use \"%%\"."));
            }
        }
    }
    Ok(out.into())
}

/// Bytes as PostgreSQL shows them: units change at 10 of the next one, halves round up.
fn size_pretty(bytes: i64) -> String {
    const LIMIT: i64 = 10 * 1024;
    if bytes.abs() < LIMIT {
        return format!("{bytes} bytes");
    }
    // One more bit is kept until the end, so that rounding happens once.
    let mut size = bytes / (1 << 9);
    for (index, unit) in ["kB", "MB", "GB", "TB", "PB"].into_iter().enumerate() {
        let last = index == 4;
        if last || size.abs() < LIMIT * 2 - 1 {
            return format!("{} {unit}", (size + size.signum()) / 2);
        }
        size /= 1 << 10;
    }
    unreachable!("the last unit always returns")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_postgresql_prints_them() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (8192, "8192 bytes"),
            (10239, "10239 bytes"),
            (10240, "10 kB"),
            (16384, "16 kB"),
            (1 << 20, "1024 kB"),
            (20 << 20, "20 MB"),
            (1_000_000_000, "954 MB"),
            (-20_000, "-20 kB"),
        ] {
            assert_eq!(size_pretty(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn arrays_are_written_as_postgresql_writes_them() {
        let list = SystemValue::List(vec![
            "a".into(),
            "b c".into(),
            "".into(),
            SystemValue::Null,
            SystemValue::Int(1),
        ]);
        assert_eq!(array_text(&list), "{a,\"b c\",\"\",NULL,1}");
        assert_eq!(array_text(&SystemValue::from(Vec::<i64>::new())), "{}");
    }
}
