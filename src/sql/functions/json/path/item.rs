//! Values that a path finds: shared parts of documents, and where PostgreSQL's JSONB would have them.

use std::collections::HashMap;
use std::rc::Rc;

use crate::types::json::{JsonValue, key_order, write_quoted};

/// A value whose parts can be held on their own.
#[derive(Debug)]
pub enum JsonItem {
    Null,
    Bool(bool),
    Number(Rc<str>),
    Text(Rc<str>),
    Array(Vec<Rc<JsonItem>>),
    /// In JSONB's order.
    Object(Vec<(Rc<str>, Rc<JsonItem>)>),
}

impl JsonItem {
    pub fn of_value(value: JsonValue) -> Rc<JsonItem> {
        Rc::new(match value {
            JsonValue::Null => JsonItem::Null,
            JsonValue::Bool(value) => JsonItem::Bool(value),
            JsonValue::Number(digits) => JsonItem::Number(digits.into()),
            JsonValue::Text(text) => JsonItem::Text(text.into()),
            JsonValue::Array(items) => JsonItem::Array(items.into_iter().map(JsonItem::of_value).collect()),
            JsonValue::Object(members) => {
                let members = members.into_iter();
                JsonItem::Object(
                    members
                        .map(|(key, value)| (key.into(), JsonItem::of_value(value)))
                        .collect(),
                )
            }
        })
    }

    /// As `.type()` names it.
    pub fn type_name(&self) -> &'static str {
        match self {
            JsonItem::Null => "null",
            JsonItem::Bool(_) => "boolean",
            JsonItem::Number(_) => "number",
            JsonItem::Text(_) => "string",
            JsonItem::Array(_) => "array",
            JsonItem::Object(_) => "object",
        }
    }

    pub fn is_scalar(&self) -> bool {
        !matches!(self, JsonItem::Array(_) | JsonItem::Object(_))
    }

    pub fn member(&self, key: &str) -> Option<&Rc<JsonItem>> {
        match self {
            JsonItem::Object(members) => {
                let at = members.binary_search_by(|(found, _)| key_order(found, key)).ok()?;
                Some(&members[at].1)
            }
            _ => None,
        }
    }

    /// Elements of an array, values of an object.
    pub fn children(&self) -> Box<dyn Iterator<Item = &Rc<JsonItem>> + '_> {
        match self {
            JsonItem::Array(items) => Box::new(items.iter()),
            JsonItem::Object(members) => Box::new(members.iter().map(|(_, value)| value)),
            _ => Box::new(std::iter::empty()),
        }
    }

    /// Appends JSONB's spelling.
    pub fn write(&self, out: &mut String) {
        match self {
            JsonItem::Null => out.push_str("null"),
            JsonItem::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            JsonItem::Number(digits) => out.push_str(digits),
            JsonItem::Text(text) => write_quoted(text, out),
            JsonItem::Array(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push_str(", ");
                    }
                    item.write(out);
                }
                out.push(']');
            }
            JsonItem::Object(members) => {
                out.push('{');
                for (at, (key, value)) in members.iter().enumerate() {
                    if at > 0 {
                        out.push_str(", ");
                    }
                    write_quoted(key, out);
                    out.push_str(": ");
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// The offset of each array and object of a document in PostgreSQL's binary JSONB, bytes: its identity for `.keyvalue()`.
///
/// ```text
/// header 4 | entry 4, for each element, key and value | keys, values: texts as they are; numbers and nested on 4 bytes
/// ```
#[derive(Debug)]
pub struct Offsets(HashMap<*const JsonItem, u64>);

impl Offsets {
    pub fn of(root: &JsonItem) -> Offsets {
        let mut offsets = Offsets(HashMap::new());
        offsets.add(root, 0);
        offsets
    }

    pub fn find(&self, item: &Rc<JsonItem>) -> u64 {
        self.0.get(&Rc::as_ptr(item)).copied().unwrap_or(0)
    }

    /// The end of the value that would begin at `at`.
    fn add(&mut self, item: &JsonItem, at: u64) -> u64 {
        const ENTRY: u64 = 4;
        let aligned = at.next_multiple_of(4);
        match item {
            JsonItem::Null | JsonItem::Bool(_) => at,
            JsonItem::Text(text) => at + text.len() as u64,
            JsonItem::Number(digits) => aligned + numeric_bytes(digits),
            JsonItem::Array(items) => {
                self.0.insert(item, aligned);
                let first = aligned + ENTRY + ENTRY * items.len() as u64;
                items.iter().fold(first, |at, item| self.add(item, at))
            }
            JsonItem::Object(members) => {
                self.0.insert(item, aligned);
                let keys: u64 = members.iter().map(|(key, _)| key.len() as u64).sum();
                let first = aligned + ENTRY + 2 * ENTRY * members.len() as u64 + keys;
                members.iter().fold(first, |at, (_, value)| self.add(value, at))
            }
        }
    }
}

/// Bytes of PostgreSQL's NUMERIC: its length, a header, and two bytes for each group of four digits.
fn numeric_bytes(digits: &str) -> u64 {
    const GROUP: usize = 4;
    let digits = digits.strip_prefix('-').unwrap_or(digits);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let width = whole.len().next_multiple_of(GROUP);
    let length = fraction.len().next_multiple_of(GROUP);
    let frame = format!("{whole:0>width$}{fraction:0<length$}");
    let groups: Vec<bool> = frame
        .as_bytes()
        .chunks(GROUP)
        .map(|group| group.iter().any(|digit| *digit != b'0'))
        .collect();
    let (Some(first), Some(last)) = (groups.iter().position(|is| *is), groups.iter().rposition(|is| *is)) else {
        return 6;
    };
    let weight = (width / GROUP) as i64 - 1 - first as i64;
    let is_short = fraction.len() <= 63 && (-64..=63).contains(&weight);
    let header = if is_short { 6 } else { 8 };
    header + 2 * (last - first + 1) as u64
}
