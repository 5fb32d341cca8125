//! LIKE of bytes: `%` stands for any of them, `_` for one, and `\` before a byte for that byte.
//!
//! One rule: a pattern that ends with `\` is 22025 once a match comes there with bytes left, as PostgreSQL reads it.

use crate::error::SqlError;
use crate::sql::functions::growth::ends_with_escape;
use crate::sql::functions::overload::{OverloadValue, Row, RowResult};
use crate::stop;

/// Steps between two looks at whether to go on.
const STEPS: u32 = 1 << 16;

/// Whether bytes are like a pattern.
pub fn is_like(bytes: &[u8], pattern: &[u8]) -> Result<bool, SqlError> {
    let (mut at, mut of) = (0, 0);
    // The place behind the last `%`, and the byte that the rest was compared with last.
    let mut back: Option<(usize, usize)> = None;
    let mut steps = 0_u32;
    while at < bytes.len() {
        steps = steps.wrapping_add(1);
        if steps.is_multiple_of(STEPS) {
            stop::check()?;
        }
        let fits = match pattern.get(of) {
            Some(b'%') => {
                of += 1;
                back = Some((of, at));
                continue;
            }
            Some(b'_') => Some(1),
            Some(b'\\') => match pattern.get(of + 1) {
                Some(escaped) => (*escaped == bytes[at]).then_some(2),
                None => return Err(ends_with_escape()),
            },
            Some(plain) => (*plain == bytes[at]).then_some(1),
            None => None,
        };
        match (fits, back) {
            (Some(length), _) => {
                at += 1;
                of += length;
            }
            (None, Some((behind, compared))) => {
                at = compared + 1;
                of = behind;
                back = Some((behind, at));
            }
            (None, None) => return Ok(false),
        }
    }
    Ok(pattern[of..].iter().all(|rest| *rest == b'%'))
}

pub fn like<'a>(row: &Row<'a>) -> RowResult<'a> {
    Ok(OverloadValue::Bool(is_like(row.bytes(0), row.bytes(1))?))
}

pub fn not_like<'a>(row: &Row<'a>) -> RowResult<'a> {
    Ok(OverloadValue::Bool(!is_like(row.bytes(0), row.bytes(1))?))
}

/// A pattern with an escape byte of its own as one with `\`.
pub fn escaped<'a>(row: &Row<'a>) -> RowResult<'a> {
    let (pattern, escape) = (row.bytes(0), row.bytes(1));
    let escape = match escape {
        [] => None,
        [b'\\'] => return Ok(pattern.into()),
        [only] => Some(*only),
        _ => {
            return Err(SqlError::new(crate::error::SqlState("22025"), "invalid escape string")
                .hint("Escape string must be empty or one character."));
        }
    };
    let mut made = Vec::with_capacity(pattern.len() * 2);
    let mut after_escape = false;
    for byte in pattern {
        if Some(*byte) == escape && !after_escape {
            made.push(b'\\');
            after_escape = true;
            continue;
        }
        if *byte == b'\\' && !after_escape {
            made.push(b'\\');
        }
        made.push(*byte);
        after_escape = false;
    }
    Ok(made.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_compared_with_patterns() {
        for (bytes, pattern, expect) in [
            ("", "", Some(true)),
            ("", "%", Some(true)),
            ("", "_", Some(false)),
            ("abc", "a%c", Some(true)),
            ("abcbc", "a%bc", Some(true)),
            ("abc", "a%b", Some(false)),
            ("abc", "___", Some(true)),
            ("abc", "__", Some(false)),
            ("a%", "a\\%", Some(true)),
            ("ab", "a\\%", Some(false)),
            ("ab", "a\\", None),
            ("b", "a\\", Some(false)),
            ("a", "a\\", Some(false)),
        ] {
            assert_eq!(
                is_like(bytes.as_bytes(), pattern.as_bytes()).ok(),
                expect,
                "{bytes} {pattern}"
            );
        }
    }
}
