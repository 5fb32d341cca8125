//! A value with a part of it changed: set, inserted, deleted, concatenated; without NULLs; over several lines.

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;

use super::access::place;
use super::{JsonCall, JsonReturns, JsonSpec, Takes, invalid, spec};
use crate::error::{SqlError, SqlState, state};
use crate::types::json::{JsonValue, key_order, object, read, read_as_written, write_quoted};

pub(super) const SPECS: &[JsonSpec] = &[
    spec(
        "jsonb_set",
        &[Takes::Text, Takes::Texts, Takes::Text, Takes::Bool],
        JsonReturns::Jsonb,
        set,
    )
    .optional(1),
    spec(
        "jsonb_set_lax",
        &[Takes::Text, Takes::Texts, Takes::Text, Takes::Bool, Takes::Text],
        JsonReturns::Jsonb,
        set_lax,
    )
    .optional(2),
    spec(
        "jsonb_insert",
        &[Takes::Text, Takes::Texts, Takes::Text, Takes::Bool],
        JsonReturns::Jsonb,
        insert,
    )
    .optional(1),
    spec("jsonb_delete", &[Takes::Text, Takes::Keys], JsonReturns::Jsonb, delete),
    spec(
        "jsonb_delete_path",
        &[Takes::Text, Takes::Texts],
        JsonReturns::Jsonb,
        delete_path,
    ),
    spec("jsonb_concat", &[Takes::Text, Takes::Text], JsonReturns::Jsonb, concat),
    spec("json_strip_nulls", &[Takes::Text], JsonReturns::Json, strip_nulls),
    spec("jsonb_strip_nulls", &[Takes::Text], JsonReturns::Jsonb, strip_nulls),
    spec("jsonb_pretty", &[Takes::Text], JsonReturns::Text, pretty),
];

/// 22004
const NULL_VALUE_NOT_ALLOWED: SqlState = SqlState("22004");

/// The change at the end of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum PathChange {
    /// Replaces the value, or adds it if there is none.
    Set,
    Replace,
    Before,
    After,
    Delete,
}

impl PathChange {
    /// Whether it adds missing members.
    fn adds(self) -> bool {
        matches!(self, PathChange::Set | PathChange::Before | PathChange::After)
    }

    fn inserts(self) -> bool {
        matches!(self, PathChange::Before | PathChange::After)
    }
}

/// A path into a value, and the change at its end.
struct ChangePath<'a> {
    steps: Vec<Option<&'a str>>,
    change: PathChange,
    new: JsonValue,
}

impl ChangePath<'_> {
    /// Changes the value that the steps from `level` on lead into.
    fn apply(&self, level: usize, value: &mut JsonValue) -> Result<(), SqlError> {
        let Some(step) = self.steps[level] else {
            return Err(SqlError::new(
                NULL_VALUE_NOT_ALLOWED,
                format!("path element at position {} is null", level + 1),
            ));
        };
        let is_last = level + 1 == self.steps.len();
        match value {
            JsonValue::Object(members) => self.apply_to_object(level, step, is_last, members),
            JsonValue::Array(items) => self.apply_to_array(level, step, is_last, items),
            _ => Ok(()),
        }
    }

    fn apply_to_object(
        &self,
        level: usize,
        step: &str,
        is_last: bool,
        members: &mut Vec<(String, JsonValue)>,
    ) -> Result<(), SqlError> {
        match members.binary_search_by(|(key, _)| key_order(key, step)) {
            Ok(at) if !is_last => self.apply(level + 1, &mut members[at].1),
            Ok(_) if self.change.inserts() => {
                Err(invalid("cannot replace existing key")
                    .hint("Try using the function jsonb_set to replace key value."))
            }
            Ok(at) if self.change == PathChange::Delete => {
                members.remove(at);
                Ok(())
            }
            Ok(at) => {
                members[at].1 = self.new.clone();
                Ok(())
            }
            Err(at) => {
                if is_last && self.change.adds() {
                    members.insert(at, (step.to_string(), self.new.clone()));
                }
                Ok(())
            }
        }
    }

    fn apply_to_array(
        &self,
        level: usize,
        step: &str,
        is_last: bool,
        items: &mut Vec<JsonValue>,
    ) -> Result<(), SqlError> {
        let Some(place) = place(step) else {
            return Err(SqlError::new(
                state::INVALID_TEXT_REPRESENTATION,
                format!("path element at position {} is not an integer: \"{step}\"", level + 1),
            ));
        };
        let distance = place.unsigned_abs() as usize;
        // `Err`: before the first or behind the last element.
        let at = match place < 0 {
            true => items.len().checked_sub(distance).ok_or(0),
            false if distance < items.len() => Ok(distance),
            false => Err(items.len()),
        };
        match (at, self.change) {
            (Ok(at), _) if !is_last => return self.apply(level + 1, &mut items[at]),
            (Ok(at), PathChange::Set | PathChange::Replace) => items[at] = self.new.clone(),
            (Ok(at), PathChange::Before) => items.insert(at, self.new.clone()),
            (Ok(at), PathChange::After) => items.insert(at + 1, self.new.clone()),
            (Ok(at), PathChange::Delete) => _ = items.remove(at),
            (Err(at), change) if is_last && change.adds() => items.insert(at, self.new.clone()),
            (Err(_), _) => {}
        }
        Ok(())
    }
}

fn is_scalar(value: &JsonValue) -> bool {
    !matches!(value, JsonValue::Array(_) | JsonValue::Object(_))
}

fn is_empty(value: &JsonValue) -> bool {
    match value {
        JsonValue::Array(items) => items.is_empty(),
        JsonValue::Object(members) => members.is_empty(),
        _ => false,
    }
}

fn path<'a>(call: &JsonCall<'a>, row: usize, change: PathChange, new: JsonValue) -> ChangePath<'a> {
    ChangePath {
        steps: call.texts(1, row).collect(),
        change,
        new,
    }
}

fn write_changed(target: &str, path: &ChangePath, out: &mut String) -> Result<(), SqlError> {
    let mut value = read(target)?;
    if is_scalar(&value) {
        return Err(invalid(match path.change {
            PathChange::Delete => "cannot delete path in scalar",
            _ => "cannot set path in scalar",
        }));
    }
    let left_alone = is_empty(&value) && !path.change.adds();
    if !path.steps.is_empty() && !left_alone {
        path.apply(0, &mut value)?;
    }
    value.write(out);
    Ok(())
}

fn set(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    call.make_texts(|row, out| {
        let change = match call.flag(3, row, true) {
            true => PathChange::Set,
            false => PathChange::Replace,
        };
        let path = path(call, row, change, read(call.text(2, row))?);
        write_changed(call.text(0, row), &path, out)?;
        Ok(true)
    })
}

/// `jsonb_set_lax`, with an argument for the effect of a NULL as the new value.
fn set_lax(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    const TREATMENTS: &str = "null_value_treatment must be \"delete_key\", \"return_target\", \"use_json_null\", \
                              or \"raise_exception\"";
    let is_null = |at: usize, row| call.columns.get(at).is_some_and(|column| column.is_null(row));
    call.make_any_texts(|row, out| {
        if is_null(0, row) || is_null(1, row) || is_null(3, row) {
            return Ok(false);
        }
        let (target, create) = (call.text(0, row), call.flag(3, row, true));
        let change = if create { PathChange::Set } else { PathChange::Replace };
        if !is_null(2, row) {
            let path = path(call, row, change, read(call.text(2, row))?);
            write_changed(target, &path, out)?;
            return Ok(true);
        }
        if is_null(4, row) {
            return Err(invalid(TREATMENTS));
        }
        let treatment = match call.columns.len() {
            5 => call.text(4, row),
            _ => "use_json_null",
        };
        match treatment {
            "raise_exception" => {
                let error = SqlError::new(NULL_VALUE_NOT_ALLOWED, "JSON value must not be null");
                return Err(error
                    .detail("Exception was raised because null_value_treatment is \"raise_exception\".")
                    .hint(
                        "To avoid, either change the null_value_treatment argument or ensure that an SQL NULL is not \
                         passed.",
                    ));
            }
            "use_json_null" => write_changed(target, &path(call, row, change, JsonValue::Null), out)?,
            "delete_key" => write_changed(target, &path(call, row, PathChange::Delete, JsonValue::Null), out)?,
            "return_target" => out.push_str(target),
            _ => return Err(invalid(TREATMENTS)),
        }
        Ok(true)
    })
}

fn insert(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    call.make_texts(|row, out| {
        let change = match call.flag(3, row, false) {
            true => PathChange::After,
            false => PathChange::Before,
        };
        let path = path(call, row, change, read(call.text(2, row))?);
        write_changed(call.text(0, row), &path, out)?;
        Ok(true)
    })
}

fn delete_path(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    call.make_texts(|row, out| {
        let path = path(call, row, PathChange::Delete, JsonValue::Null);
        write_changed(call.text(0, row), &path, out)?;
        Ok(true)
    })
}

/// Without a key, a place, or some keys.
fn delete(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    call.make_texts(|row, out| {
        let mut value = read(call.text(0, row))?;
        match (call.columns[1].data_type(), &mut value) {
            (DataType::Int32, JsonValue::Object(_)) => {
                return Err(invalid("cannot delete from object using integer index"));
            }
            (DataType::Int32, JsonValue::Array(items)) => {
                let place = i64::from(call.int(1, row));
                let at = if place < 0 { items.len() as i64 + place } else { place };
                if let Ok(at) = usize::try_from(at)
                    && at < items.len()
                {
                    items.remove(at);
                }
            }
            (DataType::List(_), value) if !is_scalar(value) => {
                let keys: hashbrown::HashSet<&str> = call.texts(1, row).flatten().collect();
                without(value, |key| keys.contains(key));
            }
            (_, value) if !is_scalar(value) => {
                let deleted = call.text(1, row);
                without(value, |key| key == deleted);
            }
            _ => return Err(invalid("cannot delete from scalar")),
        }
        value.write(out);
        Ok(true)
    })
}

/// Removes members of an object by key, texts of an array.
fn without(value: &mut JsonValue, is_deleted: impl Fn(&str) -> bool) {
    match value {
        JsonValue::Object(members) => members.retain(|(key, _)| !is_deleted(key)),
        JsonValue::Array(items) => items.retain(|item| !matches!(item, JsonValue::Text(text) if is_deleted(text))),
        _ => {}
    }
}

fn concat(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    call.make_texts(|row, out| {
        let (left, right) = (call.text(0, row), call.text(1, row));
        if left.starts_with('{') && right.starts_with('{') {
            let (JsonValue::Object(mut members), JsonValue::Object(more)) = (read(left)?, read(right)?) else {
                unreachable!("a brace begins an object")
            };
            members.extend(more);
            object(members).write(out);
            return Ok(true);
        }
        let (left, right) = (inside(left), inside(right));
        out.push('[');
        out.push_str(left);
        if !left.is_empty() && !right.is_empty() {
            out.push_str(", ");
        }
        out.push_str(right);
        out.push(']');
        Ok(true)
    })
}

/// The elements of an array; any other value is its one element.
fn inside(text: &str) -> &str {
    match text.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').unwrap_or(rest),
        None => text,
    }
}

/// Without members that are null. JSON is written anew, without blanks.
fn strip_nulls(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    let is_jsonb = call.name.starts_with("jsonb");
    call.make_texts(|row, out| {
        let text = call.text(0, row);
        let mut value = if is_jsonb { read(text)? } else { read_as_written(text)? };
        strip(&mut value);
        match is_jsonb {
            true => value.write(out),
            false => write_dense(&value, out),
        }
        Ok(true)
    })
}

fn strip(value: &mut JsonValue) {
    match value {
        JsonValue::Array(items) => items.iter_mut().for_each(strip),
        JsonValue::Object(members) => {
            members.retain(|(_, value)| *value != JsonValue::Null);
            members.iter_mut().for_each(|(_, value)| strip(value));
        }
        _ => {}
    }
}

fn write_dense(value: &JsonValue, out: &mut String) {
    match value {
        JsonValue::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_dense(item, out);
            }
            out.push(']');
        }
        JsonValue::Object(members) => {
            out.push('{');
            for (at, (key, value)) in members.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_quoted(key, out);
                out.push(':');
                write_dense(value, out);
            }
            out.push('}');
        }
        scalar => scalar.write(out),
    }
}

const INDENT: &str = "    ";

/// A piece of a value that is written over several lines.
enum PrettyPiece<'a> {
    Text(&'a str),
    /// A new line, indented this often.
    Line(usize),
}

/// Takes JSONB's text apart into lines.
fn pieces(text: &str, mut each: impl FnMut(PrettyPiece)) {
    let bytes = text.as_bytes();
    let (mut depth, mut from, mut at) = (0_usize, 0, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at += 1;
                while bytes[at] != b'"' {
                    at += 1 + usize::from(bytes[at] == b'\\');
                }
            }
            b'[' | b'{' => {
                depth += 1;
                each(PrettyPiece::Text(&text[from..=at]));
                from = at + 1;
                if !matches!(bytes.get(from), Some(b']' | b'}')) {
                    each(PrettyPiece::Line(depth));
                }
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                each(PrettyPiece::Text(&text[from..at]));
                each(PrettyPiece::Line(depth));
                from = at;
            }
            b',' => {
                each(PrettyPiece::Text(&text[from..=at]));
                each(PrettyPiece::Line(depth));
                // The blank is not written.
                at += 1;
                from = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    each(PrettyPiece::Text(&text[from..]));
}

fn pretty(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    call.make_texts(|row, out| {
        pieces(call.text(0, row), |piece| match piece {
            PrettyPiece::Text(text) => out.push_str(text),
            PrettyPiece::Line(depth) => {
                out.push('\n');
                out.extend(std::iter::repeat_n(INDENT, depth));
            }
        });
        Ok(true)
    })
}

/// Bytes of the result of `jsonb_pretty` for a text.
pub fn pretty_bytes(text: &str) -> u64 {
    let mut bytes = 0;
    pieces(text, |piece| {
        bytes += match piece {
            PrettyPiece::Text(text) => text.len() as u64,
            PrettyPiece::Line(depth) => 1 + (INDENT.len() * depth) as u64,
        };
    });
    bytes
}
