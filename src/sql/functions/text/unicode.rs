//! Unicode's escapes and normal forms.

use unicode_normalization::UnicodeNormalization;

use super::invalid;
use crate::error::{SqlError, state};
use crate::sql::functions::overload::{OverloadValue, Row, RowResult};

/// `unistr(text)`: `\XXXX`, `\+XXXXXX`, `\uXXXX`, `\UXXXXXXXX`, `\\`.
pub fn unescaped(text: &str) -> Result<String, SqlError> {
    let pair = || SqlError::new(state::SYNTAX_ERROR, "invalid Unicode surrogate pair");
    let mut made = String::with_capacity(text.len());
    let mut first: Option<u32> = None;
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        if first.is_some() && at > 0 {
            return Err(pair());
        }
        made.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('\\') {
            if first.is_some() {
                return Err(pair());
            }
            made.push('\\');
            rest = after;
            continue;
        }
        let (skipped, digits) = match rest.as_bytes().first() {
            Some(b'+') => (1, 6),
            Some(b'u') => (1, 4),
            Some(b'U') => (1, 8),
            _ => (0, 4),
        };
        let written = rest
            .get(skipped..skipped + digits)
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let Some(written) = written else {
            return Err(SqlError::new(state::SYNTAX_ERROR, "invalid Unicode escape")
                .hint("Unicode escapes must be \\XXXX, \\+XXXXXX, \\uXXXX, or \\UXXXXXXXX."));
        };
        rest = &rest[skipped + digits..];
        let number = u32::from_str_radix(written, 16).expect("they are hexadecimal digits");
        let is_second = (0xdc00..0xe000).contains(&number);
        let number = match first.take() {
            Some(first) if is_second => 0x10000 + ((first - 0xd800) << 10) + (number - 0xdc00),
            Some(_) => return Err(pair()),
            None if is_second => return Err(pair()),
            None if (0xd800..0xdc00).contains(&number) => {
                first = Some(number);
                continue;
            }
            None => number,
        };
        match char::from_u32(number).filter(|letter| *letter != '\0') {
            Some(letter) => made.push(letter),
            None => return Err(invalid(format!("invalid Unicode code point: {number:04X}"))),
        }
    }
    if first.is_some() {
        return Err(pair());
    }
    made.push_str(rest);
    Ok(made)
}

fn form(row: &Row) -> Result<String, SqlError> {
    let form = row.text_if(1).unwrap_or("NFC");
    let upper = form.to_ascii_uppercase();
    match upper.as_str() {
        "NFC" | "NFD" | "NFKC" | "NFKD" => Ok(upper),
        _ => Err(invalid(format!("invalid normalization form: {form}"))),
    }
}

fn normal(text: &str, form: &str) -> String {
    match form {
        "NFC" => text.nfc().collect(),
        "NFD" => text.nfd().collect(),
        "NFKC" => text.nfkc().collect(),
        _ => text.nfkd().collect(),
    }
}

/// `normalize(text[, form])`
pub fn normalize<'a>(row: &Row<'a>) -> RowResult<'a> {
    Ok(normal(row.text(0), &form(row)?).into())
}

/// `is_normalized(text[, form])`
pub fn is_normalized<'a>(row: &Row<'a>) -> RowResult<'a> {
    Ok(OverloadValue::Bool(normal(row.text(0), &form(row)?) == row.text(0)))
}
