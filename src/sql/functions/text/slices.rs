//! Pieces of a text, and texts filled up to a length.

use super::SUBSTRING;
use crate::error::SqlError;
use crate::sql::error::out_of_range;
use crate::sql::functions::overload::{Row, RowResult};

/// The byte at which a letter begins, counted from 0; the end of the text if it has fewer.
pub fn byte_of(text: &str, letter: usize) -> usize {
    if text.is_ascii() {
        return letter.min(text.len());
    }
    text.char_indices().nth(letter).map_or(text.len(), |(at, _)| at)
}

pub fn length(text: &str) -> usize {
    if text.is_ascii() {
        text.len()
    } else {
        text.chars().count()
    }
}

/// The first letters; of a negative count all but that many of the last.
pub fn left(text: &str, count: i64) -> &str {
    let kept = match usize::try_from(count) {
        Ok(count) => count,
        Err(_) => length(text).saturating_sub(count.unsigned_abs() as usize),
    };
    &text[..byte_of(text, kept)]
}

/// The last letters; of a negative count all but that many of the first.
pub fn right(text: &str, count: i64) -> &str {
    let left_out = match usize::try_from(count) {
        Ok(count) => length(text).saturating_sub(count),
        // PostgreSQL's negation of the smallest integer overflows.
        Err(_) if count == i64::from(i32::MIN) => 0,
        Err(_) => count.unsigned_abs() as usize,
    };
    &text[byte_of(text, left_out)..]
}

/// The range that `substring` takes, from 0, of a value that is counted from 1; its end may be past the value.
pub fn bounds(from: i64, count: Option<i64>) -> Result<std::ops::Range<usize>, SqlError> {
    let start = (from - 1).max(0) as usize;
    let end = match count {
        None => usize::MAX,
        Some(..=-1) => return Err(SqlError::new(SUBSTRING, "negative substring length not allowed")),
        Some(count) => (from - 1).saturating_add(count).max(0) as usize,
    };
    Ok(start..end.max(start))
}

fn slice(text: &str, range: std::ops::Range<usize>) -> &str {
    let start = byte_of(text, range.start);
    let rest = &text[start..];
    &rest[..byte_of(rest, range.end - range.start)]
}

/// `substring(text, from[, count])`
pub fn substring<'a>(row: &Row<'a>) -> RowResult<'a> {
    let count = (row.len() > 2).then(|| row.int(2));
    Ok(slice(row.text(0), bounds(row.int(1), count)?).into())
}

/// The cuts of `overlay`: the end of the letters that stay before, and the start of those after, both from 0.
pub fn cut(from: i64, count: i64) -> Result<(usize, usize), SqlError> {
    if from <= 0 {
        return Err(SqlError::new(SUBSTRING, "negative substring length not allowed"));
    }
    let after = i32::try_from(from + count).map_err(|_| out_of_range("integer"))?;
    Ok((from as usize - 1, (i64::from(after) - 1).max(0) as usize))
}

/// `overlay(text, inner, from[, count])`
pub fn overlay<'a>(row: &Row<'a>) -> RowResult<'a> {
    let (text, inner) = (row.text(0), row.text(1));
    let (before, after) = cut(row.int(2), row.int_or(3, length(inner) as i64))?;
    let (before, after) = (&text[..byte_of(text, before)], &text[byte_of(text, after)..]);
    Ok([before, inner, after].concat().into())
}

/// `lpad`, `rpad`
pub fn pad<'a>(row: &Row<'a>, before: bool) -> RowResult<'a> {
    let (text, wanted) = (row.text(0), row.int(1).max(0) as usize);
    let fill = row.text_if(2).unwrap_or(" ");
    let has = length(text);
    if has >= wanted {
        return Ok(text[..byte_of(text, wanted)].into());
    }
    if fill.is_empty() {
        return Ok(text.into());
    }
    let missing = wanted - has;
    let mut filling = String::with_capacity(text.len() + missing * fill.len() / length(fill) + fill.len());
    if !before {
        filling.push_str(text);
    }
    let fill_length = length(fill);
    for _ in 0..missing / fill_length {
        filling.push_str(fill);
    }
    filling.push_str(&fill[..byte_of(fill, missing % fill_length)]);
    if before {
        filling.push_str(text);
    }
    Ok(filling.into())
}
