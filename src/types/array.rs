//! Array values: `{1,NULL,"a b"}` and their binary form, taken apart into items.
//!
//! One rule: values are read and refused as PostgreSQL's reader does. Not here: arrays of several
//! dimensions (`shaped.rs`).

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use super::PgType;
use super::malformed::{incorrect_binary, insufficient_binary};
use super::numeric::is_blank;
use super::shape::{self, ArrayShape, Dimension};
use crate::error::{SqlError, state};

/// The items of an array literal; `None` is NULL.
type LiteralItems<'a> = Vec<Option<Cow<'a, str>>>;

/// An array literal: its shape, and its items; `None` is NULL.
pub fn parse(text: &str) -> Result<(ArrayShape, LiteralItems<'_>), SqlError> {
    let inside = text.trim_matches(is_blank);
    if let Some(items) = inside.strip_prefix('{').and_then(one_dimension) {
        return Ok((ArrayShape::plain(items.len()), items));
    }
    let malformed = |detail: Option<String>| {
        let error = SqlError::new(
            state::INVALID_TEXT_REPRESENTATION,
            format!("malformed array literal: \"{text}\""),
        );
        match detail {
            Some(detail) => error.detail(detail),
            None => error,
        }
    };
    let (bounds, rest) = bounds(text, &malformed)?;
    if !rest.starts_with('{') {
        return Err(malformed(Some(match bounds.is_empty() {
            true => "Array value must start with \"{\" or dimension information.".to_string(),
            false => "Array contents must start with \"{\".".to_string(),
        })));
    }
    let extents = extents(rest, &malformed)?;
    let shape = match bounds.is_empty() {
        true => ArrayShape(
            extents
                .iter()
                .map(|length| Dimension {
                    lower: 1,
                    length: *length,
                })
                .collect(),
        ),
        false if bounds.iter().map(|bound| bound.length).eq(extents.iter().copied()) => ArrayShape(bounds),
        false => {
            let detail = "Specified array dimensions do not match array contents.";
            return Err(malformed(Some(detail.to_string())));
        }
    };
    let count = shape.count()?;
    let items = items(rest);
    match items.len() == count {
        true => Ok((shape, items)),
        false => Err(malformed(None)),
    }
}

/// Whether a text is an array, but none of one dimension from 1.
pub fn has_other_shape(text: &str) -> bool {
    let inside = text.trim_matches(is_blank);
    let is_likely = inside.starts_with('[') || inside.strip_prefix('{').is_some_and(|inside| inside.contains('{'));
    is_likely && parse(text).is_ok_and(|(shape, _)| !shape.is_plain())
}

/// `[0:2][3]=` before the braces, and the text after it.
fn bounds<'a>(
    text: &'a str,
    malformed: &impl Fn(Option<String>) -> SqlError,
) -> Result<(Vec<Dimension>, &'a str), SqlError> {
    let refused = |detail: &str| malformed(Some(detail.to_string()));
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(is_blank);
        let Some(inside) = rest.strip_prefix('[') else { break };
        if found.len() == shape::DIMENSIONS_MAX {
            return Err(shape::too_many_dimensions(found.len() + 1));
        }
        let digits = |text: &'a str| {
            let end = text.find(|c: char| !c.is_ascii_digit() && c != '-' && c != '+');
            text.split_at(end.unwrap_or(text.len()))
        };
        let (first, after) = digits(inside);
        if first.is_empty() {
            return Err(refused("\"[\" must introduce explicitly-specified array dimensions."));
        }
        let (lower, upper, after) = match after.strip_prefix(':') {
            None => (1, leading_integer(first), after),
            Some(after) => {
                let (second, after) = digits(after);
                if second.is_empty() {
                    return Err(refused("Missing array dimension value."));
                }
                (leading_integer(first), leading_integer(second), after)
            }
        };
        rest = after
            .strip_prefix(']')
            .ok_or_else(|| refused("Missing \"]\" after array dimensions."))?;
        if upper < lower {
            return Err(shape::subscript_error("upper bound cannot be less than lower bound"));
        }
        found.push(Dimension {
            lower,
            length: upper.wrapping_sub(lower).wrapping_add(1),
        });
    }
    if !found.is_empty() {
        rest = rest
            .strip_prefix('=')
            .ok_or_else(|| refused("Missing \"=\" after array dimensions."))?
            .trim_start_matches(is_blank);
    }
    Ok((found, rest))
}

/// As C's `atoi` reads it.
fn leading_integer(text: &str) -> i32 {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let end = unsigned.find(|c: char| !c.is_ascii_digit()).unwrap_or(unsigned.len());
    let value = unsigned[..end].bytes().fold(0_i64, |value, digit| {
        value.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'))
    });
    (if text.starts_with('-') { -value } else { value }) as i32
}

/// The number of items in each dimension of a text in braces, by the states that PostgreSQL's reader has.
fn extents(text: &str, malformed: &impl Fn(Option<String>) -> SqlError) -> Result<Vec<i32>, SqlError> {
    #[derive(Clone, Copy, PartialEq)]
    enum ReaderState {
        NoLevel,
        LevelStarted,
        ItemStarted,
        QuotedStarted,
        QuotedCompleted,
        ItemDelimited,
        LevelCompleted,
        LevelDelimited,
    }
    use ReaderState::{
        ItemDelimited, ItemStarted, LevelCompleted, LevelDelimited, LevelStarted, NoLevel, QuotedCompleted,
        QuotedStarted,
    };
    const MAX: usize = shape::DIMENSIONS_MAX;
    let refused = |detail: &str| Err(malformed(Some(detail.to_string())));
    let unexpected = |c: u8| Err(malformed(Some(format!("Unexpected \"{}\" character.", char::from(c)))));
    let (mut level, mut dimensions) = (0, 1);
    let mut counts = [0_i32; MAX];
    let (mut items, mut last_items) = ([1_i32; MAX], [0_i32; MAX]);
    let (mut in_quotes, mut is_empty) = (false, true);
    let mut state = NoLevel;
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        is_empty &= !matches!(state, ItemStarted | QuotedStarted);
        let Some(byte) = bytes.get(at) else {
            return refused("Unexpected end of input.");
        };
        match byte {
            b'\\' => {
                if !matches!(state, LevelStarted | ItemStarted | QuotedStarted | ItemDelimited) {
                    return unexpected(b'\\');
                }
                if state != QuotedStarted {
                    state = ItemStarted;
                }
                at += 1;
                if at == bytes.len() {
                    return refused("Unexpected end of input.");
                }
            }
            b'"' => {
                if !matches!(state, LevelStarted | QuotedStarted | ItemDelimited) {
                    return refused("Unexpected array element.");
                }
                in_quotes = !in_quotes;
                state = if in_quotes { QuotedStarted } else { QuotedCompleted };
                is_empty = false;
            }
            _ if in_quotes => {}
            b'{' => {
                if !matches!(state, NoLevel | LevelStarted | LevelDelimited) {
                    return unexpected(b'{');
                }
                state = LevelStarted;
                if level == MAX {
                    return Err(shape::too_many_dimensions(level + 1));
                }
                counts[level] = 0;
                level += 1;
                dimensions = dimensions.max(level);
            }
            b'}' => {
                let closes_nothing = level == 1 && state == LevelStarted;
                if !matches!(state, ItemStarted | QuotedCompleted | LevelCompleted) && !closes_nothing {
                    return unexpected(b'}');
                }
                state = LevelCompleted;
                level -= 1;
                if last_items[level] != 0 && items[level] != last_items[level] {
                    return refused("Multidimensional arrays must have sub-arrays with matching dimensions.");
                }
                last_items[level] = items[level];
                items[level] = 1;
                if level == 0 {
                    counts[dimensions - 1] += 1;
                    at += 1;
                    break;
                }
                counts[level - 1] += 1;
            }
            b',' => {
                if !matches!(state, ItemStarted | QuotedCompleted | LevelCompleted) {
                    return unexpected(b',');
                }
                state = if state == LevelCompleted {
                    LevelDelimited
                } else {
                    ItemDelimited
                };
                items[level - 1] += 1;
                counts[dimensions - 1] += 1;
            }
            blank if is_blank(char::from(*blank)) => {}
            _ => {
                if !matches!(state, LevelStarted | ItemStarted | ItemDelimited) {
                    return refused("Unexpected array element.");
                }
                state = ItemStarted;
            }
        }
        at += 1;
    }
    if !text[at..].trim_start_matches(is_blank).is_empty() {
        return refused("Junk after closing right brace.");
    }
    Ok(match is_empty {
        true => Vec::new(),
        false => counts[..dimensions].to_vec(),
    })
}

/// The items of a text in braces, which [`extents`] has checked.
fn items(text: &str) -> Vec<Option<Cow<'_, str>>> {
    let bytes = text.as_bytes();
    let mut items = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'{' | b'}' | b',' => at += 1,
            blank if is_blank(char::from(*blank)) => at += 1,
            _ => match item(text, at) {
                Some((item, after)) => {
                    items.push(item);
                    at = after;
                }
                None => break,
            },
        }
    }
    items
}

/// The items of one dimension after its `{`; `None` for anything less simple.
fn one_dimension(inside: &str) -> Option<Vec<Option<Cow<'_, str>>>> {
    let bytes = inside.as_bytes();
    let blank = |at: &mut usize| {
        while bytes.get(*at).is_some_and(|byte| is_blank(char::from(*byte))) {
            *at += 1;
        }
    };
    let mut items = Vec::new();
    let mut at = 0;
    blank(&mut at);
    if bytes.get(at) == Some(&b'}') {
        return (at + 1 == bytes.len()).then_some(items);
    }
    loop {
        blank(&mut at);
        let (item, after) = item(inside, at)?;
        items.push(item);
        at = after;
        blank(&mut at);
        match bytes.get(at)? {
            b',' => at += 1,
            b'}' => return (at + 1 == bytes.len()).then_some(items),
            _ => return None,
        }
    }
}

/// The item at a place, and its end; `None` if there is none.
fn item(text: &str, start: usize) -> Option<(Option<Cow<'_, str>>, usize)> {
    let bytes = text.as_bytes();
    let quoted = *bytes.get(start)? == b'"';
    let start = start + usize::from(quoted);
    let (mut at, mut from) = (start, start);
    let mut unescaped: Option<String> = None;
    loop {
        match bytes.get(at)? {
            b'"' if quoted => break,
            b',' | b'}' if !quoted => break,
            b'"' | b'{' if !quoted => return None,
            b'\\' => {
                unescaped.get_or_insert_default().push_str(&text[from..at]);
                from = at + 1;
                at = from + text[from..].chars().next()?.len_utf8();
            }
            _ => at += 1,
        }
    }
    let last = &text[from..at];
    // Blanks that are not escaped do not belong to an item without quotes.
    let last = if quoted { last } else { last.trim_end_matches(is_blank) };
    let after = at + usize::from(quoted);
    Some(match unescaped {
        Some(mut item) => {
            item.push_str(last);
            (Some(Cow::Owned(item)), after)
        }
        None if quoted => (Some(Cow::Borrowed(last)), after),
        None if last.is_empty() => return None,
        None => (
            (!last.eq_ignore_ascii_case("null")).then_some(Cow::Borrowed(last)),
            after,
        ),
    })
}

/// 0A000
pub fn multidimensional() -> SqlError {
    SqlError::unsupported(
        "an array of several dimensions, or that does not begin at 1, is not supported here",
        "Write the type of the column, or of the cast, with two pairs of brackets, as int[][].",
    )
}

/// The items of an array in binary, one after another; `None` is NULL. Bytes after the last one are an error, too.
pub struct BinaryItems<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> BinaryItems<'a> {
    /// Of an array of one dimension from 1; 0A000 for another.
    pub fn new(value: &'a [u8], item_type: &PgType) -> Result<BinaryItems<'a>, SqlError> {
        let (shape, items) = BinaryItems::any(value, Some(item_type))?;
        match shape.is_plain() {
            true => Ok(items),
            false => Err(multidimensional()),
        }
    }

    /// Of an array of any shape, and that. The items' type is checked if it is given.
    pub fn any(value: &'a [u8], item_type: Option<&PgType>) -> Result<(ArrayShape, BinaryItems<'a>), SqlError> {
        let mut rest = value;
        let mut word = || -> Result<i32, SqlError> {
            let (head, tail) = rest.split_first_chunk::<4>().ok_or_else(insufficient_binary)?;
            rest = tail;
            Ok(i32::from_be_bytes(*head))
        };
        let invalid = |message: String| Err(SqlError::new(state::INVALID_BINARY_REPRESENTATION, message));
        let dimensions = match usize::try_from(word()?) {
            Err(_) => {
                let dimensions = i32::from_be_bytes(value[..4].try_into().expect("it was read"));
                return invalid(format!("invalid number of dimensions: {dimensions}"));
            }
            Ok(dimensions) if dimensions > shape::DIMENSIONS_MAX => {
                return Err(shape::too_many_dimensions(dimensions));
            }
            Ok(dimensions) => dimensions,
        };
        if !matches!(word()?, 0 | 1) {
            return invalid("invalid array flags".to_string());
        }
        let oid = word()? as u32;
        if let Some(item_type) = item_type.filter(|item_type| item_type.oid() != oid) {
            let name = PgType::from_oid(oid).map_or("???".to_string(), |found| found.base_name().to_string());
            return Err(SqlError::new(
                state::DATATYPE_MISMATCH,
                format!(
                    "binary data has array element type {oid} ({name}) instead of expected {} ({})",
                    item_type.oid(),
                    item_type.base_name()
                ),
            ));
        }
        let mut shape = ArrayShape::default();
        for _ in 0..dimensions {
            let (length, lower) = (word()?, word()?);
            shape.0.push(Dimension { lower, length });
        }
        let left = shape.count()?;
        // Each item has at least its length.
        if left > rest.len() / 4 {
            return Err(insufficient_binary());
        }
        if left == 0 {
            shape = ArrayShape::default();
        }
        Ok((shape, BinaryItems { rest, left }))
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
