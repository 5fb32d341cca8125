//! JSON and JSONB: the check that a text is valid, and JSONB's one spelling.
//!
//! One rule: text that nests deeper than [`DEPTH_MAX`] is refused (54001) before anything recurses over it.
//!
//! JSON keeps its text; JSONB is held as the text that PostgreSQL would print: keys by length, then bytes, the last of
//! equal ones; one blank after `:` and `,`; numbers as NUMERIC prints them. Not here: operators on them.

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::depth::{DEPTH_MAX, too_deep};
use crate::error::{SqlError, SqlState, state};

const INVALID: &str = "invalid input syntax for type json";

/// 22P02 unless `text` is one JSON value, 54001 if it nests too deep.
pub fn check(text: &str) -> Result<(), SqlError> {
    check_depth(text)?;
    serde_json::from_str::<serde::de::IgnoredAny>(text)
        .map(|_| ())
        .map_err(|error| {
            SqlError::new(state::INVALID_TEXT_REPRESENTATION, INVALID)
                .detail(format!("{}.", sentence(&error.to_string())))
                .context(format!(
                    "JSON data, line {}: {}",
                    error.line().max(1),
                    excerpt(text, error.line())
                ))
        })
}

/// Counts brackets outside of strings. Short texts, the most by far, need no count.
fn check_depth(text: &str) -> Result<(), SqlError> {
    if text.len() <= DEPTH_MAX {
        return Ok(());
    }
    let mut depth = 0_usize;
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(too_deep(format!("A JSON value may nest {DEPTH_MAX} levels.")));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => {
                // To the end of the string; a quote after a backslash ends none.
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'"' => break,
                        b'\\' => _ = bytes.next(),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

fn excerpt(text: &str, line: usize) -> String {
    const SHOWN: usize = 60;
    text.lines()
        .nth(line.max(1) - 1)
        .unwrap_or("")
        .chars()
        .take(SHOWN)
        .collect()
}

/// JSONB's spelling of `text`.
pub fn canonical(text: &str) -> Result<String, SqlError> {
    let value = read(text)?;
    let mut out = String::with_capacity(text.len());
    value.write(&mut out);
    Ok(out)
}

/// The value that `text` spells; 22P02 if it spells none, 54001 if it nests too deep.
pub fn read(text: &str) -> Result<JsonValue, SqlError> {
    read_with(text, false)
}

/// The same, with the digits of numbers and the members of objects as they are written.
pub fn read_as_written(text: &str) -> Result<JsonValue, SqlError> {
    read_with(text, true)
}

fn read_with(text: &str, as_written: bool) -> Result<JsonValue, SqlError> {
    check(text)?;
    let mut reader = JsonReader {
        bytes: text.as_bytes(),
        at: 0,
        as_written,
    };
    reader.value()
}

/// A value as JSONB has it.
#[derive(Clone, PartialEq, Debug)]
pub enum JsonValue {
    Null,
    Bool(bool),
    /// As NUMERIC prints it.
    Number(String),
    /// Without quotes and escapes.
    Text(String),
    Array(Vec<JsonValue>),
    /// Sorted by [`key_order`], each key once.
    Object(Vec<(String, JsonValue)>),
}

/// JSONB's order of an object's keys: by length, then by bytes.
pub fn key_order(a: &str, b: &str) -> Ordering {
    (a.len(), a).cmp(&(b.len(), b))
}

/// An object of members in any order: of equal keys, the last one.
pub fn object(mut members: Vec<(String, JsonValue)>) -> JsonValue {
    // Stable: of equal keys the last one is the last written, and it wins.
    members.sort_by(|(a, _), (b, _)| key_order(a, b));
    let mut unique: Vec<(String, JsonValue)> = Vec::with_capacity(members.len());
    for member in members {
        match unique.last_mut() {
            Some(last) if last.0 == member.0 => *last = member,
            _ => unique.push(member),
        }
    }
    JsonValue::Object(unique)
}

/// The characters of a valid string literal, escapes resolved; 22P05 for NUL, which text cannot have, and 22P02 for half a
/// surrogate pair.
pub fn unquote(quoted: &str) -> Result<Cow<'_, str>, SqlError> {
    const UNTRANSLATABLE_CHARACTER: SqlState = SqlState("22P05");
    let plain = &quoted[1..quoted.len() - 1];
    if !plain.contains('\\') {
        return Ok(Cow::Borrowed(plain));
    }
    let text: String = serde_json::from_str(quoted).map_err(|_| {
        SqlError::new(state::INVALID_TEXT_REPRESENTATION, INVALID)
            .detail("Unicode low surrogate must follow a high surrogate.")
    })?;
    if text.contains('\0') {
        let message = "unsupported Unicode escape sequence";
        return Err(SqlError::new(UNTRANSLATABLE_CHARACTER, message).detail("\\u0000 cannot be converted to text."));
    }
    Ok(Cow::Owned(text))
}

/// Reads text that [`check`] has found valid.
struct JsonReader<'a> {
    bytes: &'a [u8],
    at: usize,
    as_written: bool,
}

impl JsonReader<'_> {
    fn skip_blanks(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// The next byte that is not blank, taken.
    fn next(&mut self) -> u8 {
        self.skip_blanks();
        let byte = self.bytes[self.at];
        self.at += 1;
        byte
    }

    fn peek(&mut self) -> u8 {
        self.skip_blanks();
        self.bytes[self.at]
    }

    fn value(&mut self) -> Result<JsonValue, SqlError> {
        match self.peek() {
            b'"' => Ok(JsonValue::Text(self.text()?)),
            b'[' => {
                self.at += 1;
                let mut items = Vec::new();
                if self.peek() == b']' {
                    self.at += 1;
                    return Ok(JsonValue::Array(items));
                }
                loop {
                    items.push(self.value()?);
                    if self.next() == b']' {
                        return Ok(JsonValue::Array(items));
                    }
                }
            }
            b'{' => {
                self.at += 1;
                let mut members: Vec<(String, JsonValue)> = Vec::new();
                if self.peek() == b'}' {
                    self.at += 1;
                    return Ok(JsonValue::Object(members));
                }
                loop {
                    self.skip_blanks();
                    let key = self.text()?;
                    let colon = self.next();
                    assert_eq!(colon, b':', "checked JSON has a colon after a key");
                    members.push((key, self.value()?));
                    if self.next() == b'}' {
                        break;
                    }
                }
                match self.as_written {
                    true => Ok(JsonValue::Object(members)),
                    false => Ok(object(members)),
                }
            }
            _ => {
                let start = self.at;
                while self
                    .bytes
                    .get(self.at)
                    .is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.'))
                {
                    self.at += 1;
                }
                let word = std::str::from_utf8(&self.bytes[start..self.at]).expect("the word is ASCII");
                match word {
                    "null" => Ok(JsonValue::Null),
                    "true" => Ok(JsonValue::Bool(true)),
                    "false" => Ok(JsonValue::Bool(false)),
                    digits if self.as_written => Ok(JsonValue::Number(digits.to_string())),
                    digits => number(digits).map(JsonValue::Number),
                }
            }
        }
    }

    /// A string's characters, escapes resolved.
    fn text(&mut self) -> Result<String, SqlError> {
        let start = self.at;
        self.at += 1;
        while self.bytes[self.at] != b'"' {
            if self.bytes[self.at] == b'\\' {
                self.at += 1;
            }
            self.at += 1;
        }
        self.at += 1;
        let quoted = std::str::from_utf8(&self.bytes[start..self.at]).expect("cut at ASCII quotes");
        unquote(quoted).map(Cow::into_owned)
    }
}

/// A JSON number as NUMERIC prints it: no exponent, the digits after the point kept.
pub fn number(text: &str) -> Result<String, SqlError> {
    /// Digits of PostgreSQL's NUMERIC before the point, at most; after it 16383.
    const POWER_MAX: u64 = 16_383;
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let exponent: i64 = exponent.parse().unwrap_or(i64::MAX);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if exponent.unsigned_abs() > POWER_MAX {
        return Err(SqlError::new(
            state::NUMERIC_VALUE_OUT_OF_RANGE,
            "value overflows numeric format",
        ));
    }
    let digits = format!("{whole}{fraction}");
    // The place of the point among the digits.
    let point = whole.len() as i64 + exponent;
    let scale = (digits.len() as i64 - point).max(0) as usize;
    let padded = if point <= 0 {
        format!("{}{digits}", "0".repeat(1 + point.unsigned_abs() as usize))
    } else {
        format!("{digits}{}", "0".repeat((point - digits.len() as i64).max(0) as usize))
    };
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    };
    let is_zero = whole == "0" && fraction.bytes().all(|byte| byte == b'0');
    let sign = if negative && !is_zero { "-" } else { "" };
    let point = if fraction.is_empty() { "" } else { "." };
    Ok(format!("{sign}{whole}{point}{fraction}"))
}

impl JsonValue {
    /// Appends JSONB's spelling.
    pub fn write(&self, out: &mut String) {
        match self {
            JsonValue::Null => out.push_str("null"),
            JsonValue::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            JsonValue::Number(digits) => out.push_str(digits),
            JsonValue::Text(text) => write_quoted(text, out),
            JsonValue::Array(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push_str(", ");
                    }
                    item.write(out);
                }
                out.push(']');
            }
            JsonValue::Object(members) => {
                out.push('{');
                for (at, (key, value)) in members.iter().enumerate() {
                    if at > 0 {
                        out.push_str(", ");
                    }
                    write_quoted(key, out);
                    out.push_str(": ");
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// A JSON string literal, escaped as PostgreSQL's `escape_json`.
pub fn write_quoted(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As PostgreSQL 15 prints `'...'::jsonb`.
    #[test]
    fn jsonb_has_one_spelling() {
        for (text, expected) in [
            (r#" {"bb":1,"a":[1 ,2.50,1e2],"a":null} "#, r#"{"a": null, "bb": 1}"#),
            (r#"{"b":{},"a":[],"c":[{}]}"#, r#"{"a": [], "b": {}, "c": [{}]}"#),
            (r#""a\u0041\n\/\u00e9\u0001""#, "\"aA\\n/é\\u0001\""),
            ("1.50", "1.50"),
            ("1e2", "100"),
            ("1.5e-3", "0.0015"),
            ("-0", "0"),
            ("-0.0", "0.0"),
            ("12345678901234567890.5", "12345678901234567890.5"),
            ("12.5E1", "125"),
            ("true", "true"),
        ] {
            assert_eq!(canonical(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn depth_is_bounded_before_anything_recurses() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":[", "]}]")] {
            let levels = open.matches(['[', '{']).count();
            let text = |depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth));
            let deepest = DEPTH_MAX / levels;
            canonical(&text(deepest)).expect("just deep enough");
            for depth in [deepest + 1, 100_000] {
                assert_eq!(canonical(&text(depth)).expect_err("too deep").state.0, "54001");
                assert_eq!(check(&text(depth)).expect_err("too deep").state.0, "54001");
            }
            // A text that is not closed, or not JSON at all behind the depth, is refused for its depth.
            assert_eq!(check(&open.repeat(100_000)).expect_err("too deep").state.0, "54001");
        }
        let brackets = "[{".repeat(2 * DEPTH_MAX);
        check(&format!("[\"{brackets}\", \"\\\"{brackets}\"]")).expect("brackets in strings do not nest");
        check(&format!("[{}1]", "[],".repeat(2 * DEPTH_MAX))).expect("brackets side by side do not nest");
        assert_eq!(
            check(&"]".repeat(2 * DEPTH_MAX)).expect_err("not JSON").state.0,
            "22P02"
        );
    }

    #[test]
    fn invalid_json_is_refused() {
        for text in ["", "{", "{a:1}", "[1,]", "nul", "01", "\"\n\"", "1 2"] {
            let error = check(text).expect_err(text);
            assert_eq!(
                (error.state.0, error.message.as_str()),
                ("22P02", "invalid input syntax for type json"),
                "{text}"
            );
        }
        for text in ["1e16384", "-5e-9223372036854775808", "1e99999999999999999999"] {
            assert_eq!(canonical(text).expect_err(text).state.0, "22003", "{text}");
        }
        assert_eq!(canonical(r#""\u0000""#).expect_err("NUL").state.0, "22P05");
    }
}
