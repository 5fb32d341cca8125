//! Parts of valid JSON text, found without reading the rest: the results of JSON's accessors, in their original
//! spelling.
//!
//! One rule: nothing recurses and nothing is copied. Text of JSON and JSONB is checked where it comes in.

use std::borrow::Cow;

use memchr::memchr2;

use crate::error::SqlError;
use crate::types::json::unquote;

/// One value in text, without blanks around it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Raw<'a>(&'a str);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JsonKind {
    Null,
    Bool,
    Number,
    Text,
    Array,
    Object,
}

impl JsonKind {
    /// As `json_typeof` names it.
    pub fn name(self) -> &'static str {
        match self {
            JsonKind::Null => "null",
            JsonKind::Bool => "boolean",
            JsonKind::Number => "number",
            JsonKind::Text => "string",
            JsonKind::Array => "array",
            JsonKind::Object => "object",
        }
    }

    pub fn is_scalar(self) -> bool {
        !matches!(self, JsonKind::Array | JsonKind::Object)
    }
}

const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

impl<'a> Raw<'a> {
    pub fn new(text: &'a str) -> Raw<'a> {
        Raw(text.trim_matches(BLANKS))
    }

    pub fn as_str(self) -> &'a str {
        self.0
    }

    pub fn kind(self) -> JsonKind {
        match self.0.as_bytes().first() {
            Some(b'{') => JsonKind::Object,
            Some(b'[') => JsonKind::Array,
            Some(b'"') => JsonKind::Text,
            Some(b't' | b'f') => JsonKind::Bool,
            Some(b'n') => JsonKind::Null,
            _ => JsonKind::Number,
        }
    }

    /// The characters of a string, escapes resolved.
    pub fn unquoted(self) -> Result<Cow<'a, str>, SqlError> {
        unquote(self.0)
    }

    /// As `->>` shows it: a string without its quotes, no text for `null`.
    pub fn text(self) -> Result<Option<Cow<'a, str>>, SqlError> {
        match self.kind() {
            JsonKind::Null => Ok(None),
            JsonKind::Text => self.unquoted().map(Some),
            _ => Ok(Some(Cow::Borrowed(self.0))),
        }
    }

    /// Values of an array; none of anything else.
    pub fn elements(self) -> Elements<'a> {
        let parts = match self.kind() {
            JsonKind::Array => PartPlaces { text: self.0, at: 1 },
            _ => PartPlaces::NONE,
        };
        Elements(parts)
    }

    /// Keys, quoted, and values of an object; none of anything else.
    pub fn members(self) -> MemberPlaces<'a> {
        let parts = match self.kind() {
            JsonKind::Object => PartPlaces { text: self.0, at: 1 },
            _ => PartPlaces::NONE,
        };
        MemberPlaces(parts)
    }

    /// The value of a key; the last one, if there are several.
    pub fn member(self, key: &str) -> Option<Raw<'a>> {
        let is_key = |found: Raw<'a>| match found.unquoted() {
            Ok(found) => found == key,
            Err(_) => false,
        };
        self.members()
            .filter(|(found, _)| is_key(*found))
            .last()
            .map(|(_, value)| value)
    }

    /// The value at a place of an array, from its end if it is negative.
    pub fn element(self, at: i64) -> Option<Raw<'a>> {
        let at = match usize::try_from(at) {
            Ok(at) => at,
            Err(_) => {
                let from_end = usize::try_from(at.unsigned_abs()).ok()?;
                self.elements().count().checked_sub(from_end)?
            }
        };
        self.elements().nth(at)
    }
}

/// A place between the parts of an array or object.
#[derive(Clone)]
struct PartPlaces<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> PartPlaces<'a> {
    const NONE: PartPlaces<'static> = PartPlaces { text: "", at: 0 };

    /// The next value or key; `None` at the closing bracket.
    fn next(&mut self) -> Option<Raw<'a>> {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at)?, b' ' | b'\t' | b'\n' | b'\r' | b',' | b':') {
            self.at += 1;
        }
        let start = self.at;
        self.at = match bytes[start] {
            b']' | b'}' => return None,
            b'"' => end_of_text(bytes, start),
            b'[' | b'{' => end_of_nested(bytes, start),
            _ => end_of_word(bytes, start),
        };
        Some(Raw(&self.text[start..self.at]))
    }
}

/// Behind the closing quote of the string that begins at `at`.
fn end_of_text(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found;
        match bytes[at] {
            b'"' => return at + 1,
            // A letter after a backslash ends nothing.
            _ => at += 2,
        }
    }
    bytes.len()
}

/// Behind the bracket that closes the one at `at`.
fn end_of_nested(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = end_of_text(bytes, at);
                continue;
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

fn end_of_word(bytes: &[u8], at: usize) -> usize {
    let length = bytes[at..]
        .iter()
        .position(|byte| matches!(byte, b',' | b']' | b'}' | b':' | b' ' | b'\t' | b'\n' | b'\r'));
    length.map_or(bytes.len(), |length| at + length)
}

#[derive(Clone)]
pub struct Elements<'a>(PartPlaces<'a>);

impl<'a> Iterator for Elements<'a> {
    type Item = Raw<'a>;

    fn next(&mut self) -> Option<Raw<'a>> {
        self.0.next()
    }
}

#[derive(Clone)]
pub struct MemberPlaces<'a>(PartPlaces<'a>);

impl<'a> Iterator for MemberPlaces<'a> {
    type Item = (Raw<'a>, Raw<'a>);

    fn next(&mut self) -> Option<(Raw<'a>, Raw<'a>)> {
        let key = self.0.next()?;
        Some((key, self.0.next()?))
    }
}
