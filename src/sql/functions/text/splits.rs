//! Texts split at a delimiter.

use std::borrow::Cow;

use super::invalid;
use crate::error::SqlError;
use crate::sql::functions::overload::{OverloadValue, Row, RowResult};

/// `split_part(text, delimiter, field)`; from the end if the field is negative.
pub fn part<'a>(row: &Row<'a>) -> RowResult<'a> {
    let (text, delimiter, field) = (row.text(0), row.text(1), row.int(2));
    if field == 0 {
        return Err(invalid("field position must not be zero"));
    }
    let at = field.unsigned_abs() as usize - 1;
    let found = match (delimiter.is_empty(), field > 0) {
        (true, _) => (at == 0).then_some(text),
        (false, true) => text.split(delimiter).nth(at),
        // Counted from the front, as delimiters may overlap.
        (false, false) => text
            .split(delimiter)
            .count()
            .checked_sub(at + 1)
            .and_then(|at| text.split(delimiter).nth(at)),
    };
    Ok(found.unwrap_or("").into())
}

/// `string_to_array(text, delimiter[, null])`: letters apart without a delimiter, one element if it is empty.
pub fn array<'a>(row: &Row<'a>) -> RowResult<'a> {
    let Some(text) = row.text_if(0) else {
        return Ok(OverloadValue::Null);
    };
    let null = row.text_if(2);
    let item = |piece: &'a str| (Some(piece) != null).then_some(Cow::Borrowed(piece));
    Ok(OverloadValue::Texts(match row.text_if(1) {
        _ if text.is_empty() => Vec::new(),
        None => text
            .char_indices()
            .map(|(at, letter)| item(&text[at..at + letter.len_utf8()]))
            .collect(),
        Some("") => vec![item(text)],
        Some(delimiter) => text.split(delimiter).map(item).collect(),
    }))
}

/// `parse_ident(name[, strict])`
pub fn identifier<'a>(row: &Row<'a>) -> RowResult<'a> {
    let text = row.text(0);
    let strict = row.len() < 2 || row.bool(1);
    let refused = |detail: &str| -> SqlError {
        let error = invalid(format!("string is not a valid identifier: \"{text}\""));
        if detail.is_empty() { error } else { error.detail(detail) }
    };
    let blank = |letter: char| matches!(letter, ' ' | '\t' | '\n' | '\r' | '\x0c');
    let mut rest = text.trim_start_matches(blank);
    let mut parts = Vec::new();
    let mut after_dot = false;
    loop {
        let mut missing = true;
        if let Some(mut quoted) = rest.strip_prefix('"') {
            let mut name = String::new();
            loop {
                let Some(end) = quoted.find('"') else {
                    return Err(refused("String has unclosed double quotes."));
                };
                name.push_str(&quoted[..end]);
                quoted = &quoted[end + 1..];
                match quoted.strip_prefix('"') {
                    Some(after) => {
                        name.push('"');
                        quoted = after;
                    }
                    None => break,
                }
            }
            if name.is_empty() {
                return Err(refused("Quoted identifier must not be empty."));
            }
            parts.push(Some(Cow::Owned(name)));
            rest = quoted;
            missing = false;
        } else if rest.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_' || !first.is_ascii()) {
            let is_part =
                |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '$') || !letter.is_ascii();
            let end = rest.find(|letter| !is_part(letter)).unwrap_or(rest.len());
            parts.push(Some(Cow::Owned(rest[..end].to_ascii_lowercase())));
            rest = &rest[end..];
            missing = false;
        }
        if missing {
            return Err(match (rest.starts_with('.'), after_dot) {
                (true, _) => refused("No valid identifier before \".\"."),
                (false, true) => refused("No valid identifier after \".\"."),
                (false, false) => refused(""),
            });
        }
        rest = rest.trim_start_matches(blank);
        match rest.strip_prefix('.') {
            Some(after) => {
                after_dot = true;
                rest = after.trim_start_matches(blank);
            }
            None if rest.is_empty() || !strict => return Ok(OverloadValue::Texts(parts)),
            None => return Err(refused("")),
        }
    }
}
