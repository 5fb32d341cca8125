//! Names quoted, and patterns with an escape character of their own.

use super::invalid;
use crate::catalog::quote_ident;
use crate::error::{SqlError, SqlState};

const ESCAPE_SEQUENCE: SqlState = SqlState("22025");

pub fn identifier(name: &str) -> String {
    quote_ident(name)
}

/// The one character of an escape string; `None` if it is empty.
fn escape_of(escape: &str) -> Result<Option<char>, SqlError> {
    let mut letters = escape.chars();
    match (letters.next(), letters.next()) {
        (first, None) => Ok(first),
        _ => Err(SqlError::new(ESCAPE_SEQUENCE, "invalid escape string")
            .hint("Escape string must be empty or one character.")),
    }
}

/// A pattern of LIKE with `\` for its escape character.
pub fn like_escape(pattern: &str, escape: &str) -> Result<String, SqlError> {
    let escape = escape_of(escape)?;
    if escape == Some('\\') {
        return Ok(pattern.to_string());
    }
    let mut made = String::with_capacity(pattern.len() * 2);
    let mut after_escape = false;
    for letter in pattern.chars() {
        if Some(letter) == escape && !after_escape {
            made.push('\\');
            after_escape = true;
            continue;
        }
        if letter == '\\' && !after_escape {
            made.push('\\');
        }
        made.push(letter);
        after_escape = false;
    }
    Ok(made)
}

/// The regular expression that a pattern of SIMILAR TO is; `None`: `\` escapes.
pub fn similar(pattern: &str, escape: Option<&str>) -> Result<String, SqlError> {
    let escape = match escape {
        None => Some('\\'),
        Some(escape) => escape_of(escape)?,
    };
    let mut made = String::with_capacity(pattern.len() * 2 + 6);
    made.push_str("^(?:");
    let (mut after_escape, mut separators) = (false, 0);
    // Letters into a set: `[`, a `^` after it, and a `]` first in it do not end it.
    let mut set: Option<usize> = None;
    for letter in pattern.chars() {
        if after_escape {
            match (letter, set) {
                ('"', None) => {
                    match separators {
                        0 => made.push_str("){1,1}?("),
                        1 => made.push_str("){1,1}(?:"),
                        _ => {
                            return Err(SqlError::new(
                                SqlState("2200C"),
                                "SQL regular expression may not contain more than two escape-double-quote separators",
                            ));
                        }
                    }
                    separators += 1;
                }
                _ => {
                    made.push('\\');
                    made.push(letter);
                }
            }
            after_escape = false;
        } else if Some(letter) == escape {
            after_escape = true;
        } else if let Some(place) = set {
            if letter == '\\' {
                made.push('\\');
            }
            made.push(letter);
            set = match (letter, place) {
                (']', 1..) => None,
                ('^', 0) => Some(0),
                _ => Some(place + 1),
            };
        } else {
            match letter {
                '[' => {
                    made.push('[');
                    set = Some(0);
                }
                '%' => made.push_str(".*"),
                '_' => made.push('.'),
                '(' => made.push_str("(?:"),
                '\\' | '.' | '^' | '$' => {
                    made.push('\\');
                    made.push(letter);
                }
                other => made.push(other),
            }
        }
    }
    made.push_str(")$");
    if after_escape && escape.is_none() {
        return Err(invalid("invalid escape string"));
    }
    Ok(made)
}
