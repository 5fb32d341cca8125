//! Array values: `{1,NULL,"a b"}` and their binary form, taken apart into items.
//!
//! Arrays have one dimension here; bounds are read and forgotten.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use super::builder::incorrect_binary;
use crate::error::{SqlError, state};

/// The items of an array literal; `None` is NULL.
pub fn parse(text: &str) -> Result<Vec<Option<Cow<'_, str>>>, SqlError> {
    let malformed = |detail: &str| {
        SqlError::new(
            state::INVALID_TEXT_REPRESENTATION,
            format!("malformed array literal: \"{text}\""),
        )
        .detail(detail)
    };
    let mut rest = text.trim_ascii();
    // Bounds as in `[0:2]={...}`.
    if rest.starts_with('[') {
        let (bounds, after) = rest
            .split_once('=')
            .ok_or_else(|| malformed("Missing \"=\" after array dimensions."))?;
        if bounds.matches('[').count() > 1 {
            return Err(multidimensional());
        }
        rest = after.trim_ascii_start();
    }
    let Some(inside) = rest.strip_prefix('{') else {
        return Err(malformed("Array value must start with \"{\" or dimension information."));
    };
    let bytes = inside.as_bytes();
    let mut items = Vec::new();
    let mut at = 0;
    let blank = |at: &mut usize| {
        while bytes.get(*at).is_some_and(u8::is_ascii_whitespace) {
            *at += 1;
        }
    };
    blank(&mut at);
    if bytes.get(at) == Some(&b'}') {
        at += 1;
    } else {
        loop {
            blank(&mut at);
            match bytes.get(at) {
                None => return Err(malformed("Unexpected end of input.")),
                Some(b'{') => return Err(multidimensional()),
                Some(b'"') => {
                    at += 1;
                    let start = at;
                    let mut unescaped: Option<String> = None;
                    let mut from = start;
                    loop {
                        match bytes.get(at) {
                            None => return Err(malformed("Unexpected end of input.")),
                            Some(b'"') => break,
                            Some(b'\\') => {
                                unescaped.get_or_insert_default().push_str(&inside[from..at]);
                                at += 1;
                                from = at;
                                at += inside[at..].chars().next().map_or(0, char::len_utf8);
                            }
                            Some(_) => at += 1,
                        }
                    }
                    items.push(Some(match unescaped {
                        None => Cow::Borrowed(&inside[start..at]),
                        Some(mut item) => {
                            item.push_str(&inside[from..at]);
                            Cow::Owned(item)
                        }
                    }));
                    at += 1;
                }
                Some(b',' | b'}') => {
                    let shown = char::from(bytes[at]);
                    return Err(malformed(&format!("Unexpected \"{shown}\" character.")));
                }
                Some(_) => {
                    let start = at;
                    let mut item = String::new();
                    let mut from = start;
                    let mut escaped = false;
                    while let Some(byte) = bytes.get(at) {
                        match byte {
                            b',' | b'}' => break,
                            b'"' | b'{' => return Err(malformed("Unexpected array element.")),
                            b'\\' => {
                                item.push_str(&inside[from..at]);
                                at += 1;
                                from = at;
                                at += inside[at..].chars().next().map_or(0, char::len_utf8);
                                escaped = true;
                            }
                            _ => at += 1,
                        }
                    }
                    items.push(if escaped {
                        item.push_str(inside[from..at].trim_ascii_end());
                        Some(Cow::Owned(item))
                    } else {
                        let plain = inside[start..at].trim_ascii_end();
                        (!plain.eq_ignore_ascii_case("null")).then_some(Cow::Borrowed(plain))
                    });
                }
            }
            blank(&mut at);
            match bytes.get(at) {
                Some(b',') => at += 1,
                Some(b'}') => {
                    at += 1;
                    break;
                }
                Some(_) => return Err(malformed("Unexpected array element.")),
                None => return Err(malformed("Unexpected end of input.")),
            }
        }
    }
    blank(&mut at);
    if at < bytes.len() {
        return Err(malformed("Junk after closing right brace."));
    }
    Ok(items)
}

fn multidimensional() -> SqlError {
    SqlError::unsupported(
        "arrays of more than one dimension are not supported",
        "Use an array of one dimension, or JSONB.",
    )
}

/// The items of an array in binary; `None` is NULL.
pub fn parse_binary(value: &[u8], item_oid: u32) -> Result<Vec<Option<&[u8]>>, SqlError> {
    let mut rest = value;
    let mut word = || -> Result<i32, SqlError> {
        let (head, tail) = rest.split_first_chunk::<4>().ok_or_else(incorrect_binary)?;
        rest = tail;
        Ok(i32::from_be_bytes(*head))
    };
    let dimensions = word()?;
    let _has_nulls = word()?;
    let oid = word()? as u32;
    if oid != item_oid {
        return Err(SqlError::new(
            state::DATATYPE_MISMATCH,
            format!("binary data has array element type {oid} instead of expected {item_oid}"),
        ));
    }
    match dimensions {
        0 => return Ok(Vec::new()),
        1 => {}
        2..=6 => return Err(multidimensional()),
        _ => return Err(incorrect_binary()),
    }
    let count = usize::try_from(word()?).map_err(|_| incorrect_binary())?;
    let _lower_bound = word()?;
    // Each item has at least its length.
    if count > rest.len() / 4 {
        return Err(incorrect_binary());
    }
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        let (head, tail) = rest.split_first_chunk::<4>().ok_or_else(incorrect_binary)?;
        rest = tail;
        match i32::from_be_bytes(*head) {
            -1 => items.push(None),
            length => {
                let length = usize::try_from(length).map_err(|_| incorrect_binary())?;
                let (item, tail) = rest.split_at_checked(length).ok_or_else(incorrect_binary)?;
                items.push(Some(item));
                rest = tail;
            }
        }
    }
    if rest.is_empty() {
        Ok(items)
    } else {
        Err(incorrect_binary())
    }
}

/// An item of an array literal, quoted if it must be.
pub fn write_item(text: &[u8], out: &mut BytesMut) {
    let plain = !text.is_empty()
        && !text.eq_ignore_ascii_case(b"null")
        && !text.iter().any(|byte| {
            matches!(byte, b'"' | b'\\' | b'{' | b'}' | b',') || byte.is_ascii_whitespace() || *byte == 0x0b
        });
    if plain {
        out.extend_from_slice(text);
        return;
    }
    out.put_u8(b'"');
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.put_u8(b'\\');
        }
        out.put_u8(*byte);
    }
    out.put_u8(b'"');
}
