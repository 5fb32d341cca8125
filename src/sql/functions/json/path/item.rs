//! Values that a path finds: shared parts of documents, and where PostgreSQL's JSONB would have them.

use std::collections::HashMap;
use std::rc::Rc;

use crate::types::json::{Value, key_order, write_quoted};

/// A value whose parts can be held on their own.
#[derive(Debug)]
pub enum Item {
    Null,
    Bool(bool),
    Number(Rc<str>),
    Text(Rc<str>),
    Array(Vec<Rc<Item>>),
    /// In JSONB's order.
    Object(Vec<(Rc<str>, Rc<Item>)>),
}

impl Item {
    pub fn of_value(value: Value) -> Rc<Item> {
        Rc::new(match value {
            Value::Null => Item::Null,
            Value::Bool(value) => Item::Bool(value),
            Value::Number(digits) => Item::Number(digits.into()),
            Value::Text(text) => Item::Text(text.into()),
            Value::Array(items) => Item::Array(items.into_iter().map(Item::of_value).collect()),
            Value::Object(members) => {
                let members = members.into_iter();
                Item::Object(
                    members
                        .map(|(key, value)| (key.into(), Item::of_value(value)))
                        .collect(),
                )
            }
        })
    }

    /// As `.type()` names it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Item::Null => "null",
            Item::Bool(_) => "boolean",
            Item::Number(_) => "number",
            Item::Text(_) => "string",
            Item::Array(_) => "array",
            Item::Object(_) => "object",
        }
    }

    pub fn is_scalar(&self) -> bool {
        !matches!(self, Item::Array(_) | Item::Object(_))
    }

    pub fn member(&self, key: &str) -> Option<&Rc<Item>> {
        match self {
            Item::Object(members) => {
                let at = members.binary_search_by(|(found, _)| key_order(found, key)).ok()?;
                Some(&members[at].1)
            }
            _ => None,
        }
    }

    /// Elements of an array, values of an object.
    pub fn children(&self) -> Box<dyn Iterator<Item = &Rc<Item>> + '_> {
        match self {
            Item::Array(items) => Box::new(items.iter()),
            Item::Object(members) => Box::new(members.iter().map(|(_, value)| value)),
            _ => Box::new(std::iter::empty()),
        }
    }

    /// Appends JSONB's spelling.
    pub fn write(&self, out: &mut String) {
        match self {
            Item::Null => out.push_str("null"),
            Item::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Item::Number(digits) => out.push_str(digits),
            Item::Text(text) => write_quoted(text, out),
            Item::Array(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push_str(", ");
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Item::Object(members) => {
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

/// Where each array and object of a document is in PostgreSQL's binary JSONB, bytes: `.keyvalue()` tells them apart so.
///
/// ```text
/// header 4 | entry 4, for each element, key and value | keys, values: texts as they are; numbers and nested on 4 bytes
/// ```
#[derive(Debug)]
pub struct Offsets(HashMap<*const Item, u64>);

impl Offsets {
    pub fn of(root: &Item) -> Offsets {
        let mut offsets = Offsets(HashMap::new());
        offsets.add(root, 0);
        offsets
    }

    pub fn find(&self, item: &Rc<Item>) -> u64 {
        self.0.get(&Rc::as_ptr(item)).copied().unwrap_or(0)
    }

    /// Where the value ends that would begin at `at`.
    fn add(&mut self, item: &Item, at: u64) -> u64 {
        const ENTRY: u64 = 4;
        let aligned = at.next_multiple_of(4);
        match item {
            Item::Null | Item::Bool(_) => at,
            Item::Text(text) => at + text.len() as u64,
            Item::Number(digits) => aligned + numeric_bytes(digits),
            Item::Array(items) => {
                self.0.insert(item, aligned);
                let first = aligned + ENTRY + ENTRY * items.len() as u64;
                items.iter().fold(first, |at, item| self.add(item, at))
            }
            Item::Object(members) => {
                self.0.insert(item, aligned);
                let keys: u64 = members.iter().map(|(key, _)| key.len() as u64).sum();
                let first = aligned + ENTRY + 2 * ENTRY * members.len() as u64 + keys;
                members.iter().fold(first, |at, (_, value)| self.add(value, at))
            }
        }
    }
}

/// What PostgreSQL's NUMERIC takes: its length, a header, and two bytes for each group of four digits.
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
