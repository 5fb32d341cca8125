//! Text that clients build listings from: sizes, arrays.

use super::{Returns, Spec, strict};
use crate::catalog::system::SystemValue;

pub(super) const SPECS: &[Spec] = &[
    strict("pg_size_pretty", 1..=1, Returns::Text, |_, args| {
        Ok(args[0].as_int().map(size_pretty).into())
    }),
    // As PostgreSQL's output function of arrays.
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
