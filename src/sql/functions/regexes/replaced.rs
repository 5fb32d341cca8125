//! `regexp_replace`.

use super::program::{RegexMatch, compiled};
use super::{Flags, Matches, byte_of, counted, invalid, refused, whole};
use crate::sql::functions::overload::{Row, RowResult};

/// `regexp_replace(text, pattern, replacement[, flags])`
pub fn plain<'a>(row: &Row<'a>) -> RowResult<'a> {
    let options = row.text_if(3).unwrap_or("");
    if let Some(first) = options.chars().next().filter(char::is_ascii_digit) {
        return Err(invalid(format!("invalid regular expression option: \"{first}\"")).hint(
            "If you meant to use regexp_replace() with a start parameter, cast the fourth argument to integer explicitly.",
        ));
    }
    let flags = Flags::parse(options)?;
    replace(row, flags, 0, if flags.global { 0 } else { 1 })
}

/// `regexp_replace(text, pattern, replacement, start[, n[, flags]])`: all of them if n is 0.
pub fn extended<'a>(row: &Row<'a>) -> RowResult<'a> {
    let start = counted(row, 3, "start")?;
    let n = match row.int_or(4, 1) {
        n @ 0.. => n as usize,
        other => return Err(refused("n", other)),
    };
    // A "global" has no effect beside n.
    let flags = Flags::parse(row.text_if(5).unwrap_or(""))?;
    match byte_of(row.text(0), start) {
        Some(from) => replace(row, flags, from, n),
        None => Ok(row.text(0).into()),
    }
}

fn replace<'a>(row: &Row<'a>, flags: Flags, from: usize, n: usize) -> RowResult<'a> {
    let (text, replacement) = (row.text(0), row.text(2));
    let program = compiled(row.text(1), Flags { global: false, ..flags })?;
    let mut made = String::new();
    let mut copied = 0;
    for (at, found) in Matches::new(&program, text, from).enumerate() {
        if n > 0 && at + 1 < n {
            continue;
        }
        let (start, end) = whole(&found);
        made.push_str(&text[copied..start]);
        put(replacement, text, &found, &mut made);
        copied = end;
        if n > 0 {
            break;
        }
    }
    if copied == 0 && made.is_empty() {
        return Ok(text.into());
    }
    made.push_str(&text[copied..]);
    Ok(made.into())
}

/// The replacement, with `\1` to `\9` and `\&` in it.
fn put(replacement: &str, text: &str, found: &RegexMatch, made: &mut String) {
    let mut rest = replacement;
    while let Some(at) = rest.find('\\') {
        made.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let group = match rest.as_bytes().first() {
            Some(digit @ b'1'..=b'9') => usize::from(digit - b'0'),
            Some(b'&') => 0,
            Some(b'\\') => {
                made.push('\\');
                rest = &rest[1..];
                continue;
            }
            _ => {
                made.push('\\');
                continue;
            }
        };
        rest = &rest[1..];
        if let Some(Some((start, end))) = found.get(group) {
            made.push_str(&text[*start..*end]);
        }
    }
    made.push_str(rest);
}
