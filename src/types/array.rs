//! Array values: `{1,NULL,"a b"}` and their binary form, taken apart into items.
//!
//! Arrays have one dimension here; bounds are read and forgotten.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use super::PgType;
use super::malformed::{incorrect_binary, insufficient_binary};
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

/// 0A000
pub fn multidimensional() -> SqlError {
    SqlError::unsupported(
        "arrays of more than one dimension are not supported",
        "Use an array of one dimension, or JSONB.",
    )
}

/// The items of an array in binary, one after another; `None` is NULL. Bytes after the last one are an error, too.
pub struct BinaryItems<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> BinaryItems<'a> {
    pub fn new(value: &'a [u8], item_type: &PgType) -> Result<BinaryItems<'a>, SqlError> {
        const DIMENSIONS_MAX: i32 = 6;
        const ITEMS_MAX: i32 = 134_217_727;
        let mut rest = value;
        let mut word = || -> Result<i32, SqlError> {
            let (head, tail) = rest.split_first_chunk::<4>().ok_or_else(insufficient_binary)?;
            rest = tail;
            Ok(i32::from_be_bytes(*head))
        };
        let invalid = |message: String| Err(SqlError::new(state::INVALID_BINARY_REPRESENTATION, message));
        let too_many = |message: String| Err(SqlError::new(state::PROGRAM_LIMIT_EXCEEDED, message));
        let dimensions = word()?;
        match dimensions {
            ..0 => return invalid(format!("invalid number of dimensions: {dimensions}")),
            0..=DIMENSIONS_MAX => {}
            _ => {
                return too_many(format!(
                    "number of array dimensions ({dimensions}) exceeds the maximum allowed ({DIMENSIONS_MAX})"
                ));
            }
        }
        if !matches!(word()?, 0 | 1) {
            return invalid("invalid array flags".to_string());
        }
        let (oid, expected) = (word()? as u32, item_type.oid());
        if oid != expected {
            let name = PgType::from_oid(oid).map_or("???".to_string(), |found| found.base_name().to_string());
            return Err(SqlError::new(
                state::DATATYPE_MISMATCH,
                format!(
                    "binary data has array element type {oid} ({name}) instead of expected {expected} ({})",
                    item_type.base_name()
                ),
            ));
        }
        match dimensions {
            0 => return Ok(BinaryItems { rest, left: 0 }),
            1 => {}
            _ => return Err(multidimensional()),
        }
        let count = word()?;
        let _lower_bound = word()?;
        match usize::try_from(count) {
            // Each item has at least its length.
            Ok(left) if left <= rest.len() / 4 => Ok(BinaryItems { rest, left }),
            Ok(_) if count <= ITEMS_MAX => Err(insufficient_binary()),
            _ => too_many(format!("array size exceeds the maximum allowed ({ITEMS_MAX})")),
        }
    }

    /// Items that are left.
    pub fn remaining(&self) -> usize {
        self.left
    }

    fn item(&mut self) -> Result<Option<&'a [u8]>, SqlError> {
        let (head, tail) = self.rest.split_first_chunk().ok_or_else(insufficient_binary)?;
        let length = i32::from_be_bytes(*head);
        if length == -1 {
            self.rest = tail;
            return Ok(None);
        }
        let item = usize::try_from(length)
            .ok()
            .and_then(|length| tail.split_at_checked(length));
        let Some((item, tail)) = item else {
            // Of another class than where a length is cut off, as PostgreSQL has it.
            return Err(SqlError::new(
                state::INVALID_BINARY_REPRESENTATION,
                "insufficient data left in message",
            ));
        };
        self.rest = tail;
        Ok(Some(item))
    }
}

impl<'a> Iterator for BinaryItems<'a> {
    type Item = Result<Option<&'a [u8]>, SqlError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Some(self.item())
            }
            None if self.rest.is_empty() => None,
            None => {
                self.rest = &[];
                Some(Err(incorrect_binary()))
            }
        }
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
