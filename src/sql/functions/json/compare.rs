//! Comparisons of JSONB values: order, containment, existence of keys.
//!
//! One rule: numbers are compared as numbers, everything else by bytes.

use std::cmp::Ordering;

use arrow::array::ArrayRef;

use super::number::compare_digits;
use super::raw::{JsonKind, Raw};
use super::{JsonCall, JsonReturns, JsonSpec, Takes, spec};
use crate::error::SqlError;
use crate::stop;
use crate::types::json::{JsonValue, key_order, read};

pub(super) const SPECS: &[JsonSpec] = &[
    spec("jsonb_compare", &[Takes::Text, Takes::Text], JsonReturns::Int4, compare),
    spec("jsonb_sort_key", &[Takes::Text], JsonReturns::Text, sort_key),
    spec("jsonb_cmp", &[Takes::Text, Takes::Text], JsonReturns::Int4, compare),
    spec("jsonb_eq", &[Takes::Text, Takes::Text], JsonReturns::Bool, equal),
    spec(
        "jsonb_contains",
        &[Takes::Text, Takes::Text],
        JsonReturns::Bool,
        contains,
    ),
    spec(
        "jsonb_contained",
        &[Takes::Text, Takes::Text],
        JsonReturns::Bool,
        contained,
    ),
    spec("jsonb_exists", &[Takes::Text, Takes::Text], JsonReturns::Bool, exists),
    spec(
        "jsonb_exists_any",
        &[Takes::Text, Takes::Texts],
        JsonReturns::Bool,
        exists_any,
    ),
    spec(
        "jsonb_exists_all",
        &[Takes::Text, Takes::Texts],
        JsonReturns::Bool,
        exists_all,
    ),
];

/// Two texts of JSONB in PostgreSQL's order.
pub fn compare_texts(a: &str, b: &str) -> Result<Ordering, SqlError> {
    match a == b {
        true => Ok(Ordering::Equal),
        false => Ok(compare_roots(&read(a)?, &read(b)?)),
    }
}

/// PostgreSQL holds a scalar as an array of one, which is less than other arrays of one.
fn compare_roots(a: &JsonValue, b: &JsonValue) -> Ordering {
    let is_scalar = |value: &JsonValue| !matches!(value, JsonValue::Array(_) | JsonValue::Object(_));
    match (a, b) {
        (JsonValue::Array(items), scalar) if is_scalar(scalar) => items.len().cmp(&1).then(Ordering::Greater),
        (scalar, JsonValue::Array(items)) if is_scalar(scalar) => 1.cmp(&items.len()).then(Ordering::Less),
        _ => compare_values(a, b),
    }
}

fn compare_values(a: &JsonValue, b: &JsonValue) -> Ordering {
    match (a, b) {
        (JsonValue::Bool(a), JsonValue::Bool(b)) => a.cmp(b),
        (JsonValue::Number(a), JsonValue::Number(b)) => compare_digits(a, b),
        (JsonValue::Text(a), JsonValue::Text(b)) => a.cmp(b),
        (JsonValue::Array(a), JsonValue::Array(b)) => {
            let by_length = a.len().cmp(&b.len());
            by_length.then_with(|| first_other(a.iter().zip(b).map(|(a, b)| compare_values(a, b))))
        }
        (JsonValue::Object(a), JsonValue::Object(b)) => {
            let by_length = a.len().cmp(&b.len());
            let members = a.iter().zip(b);
            let each = members.map(|((key, value), (other_key, other))| {
                key.cmp(other_key).then_with(|| compare_values(value, other))
            });
            by_length.then_with(|| first_other(each))
        }
        _ => rank(a).cmp(&rank(b)),
    }
}

fn first_other(mut each: impl Iterator<Item = Ordering>) -> Ordering {
    each.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

fn rank(value: &JsonValue) -> u8 {
    match value {
        JsonValue::Null => 0,
        JsonValue::Text(_) => 1,
        JsonValue::Number(_) => 2,
        JsonValue::Bool(_) => 3,
        JsonValue::Array(_) => 4,
        JsonValue::Object(_) => 5,
    }
}

fn compare(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    call.make_ints(|row| Ok(compare_texts(call.text(0, row), call.text(1, row))? as i32))
}

/// A text that stands among others, byte by byte, where its JSONB stands in PostgreSQL's order.
fn sort_key(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    call.make_texts(|row, out| {
        let value = read(call.text(0, row))?;
        match &value {
            JsonValue::Array(items) if items.is_empty() => out.push('0'),
            // A scalar is less than arrays of one.
            JsonValue::Array(_) | JsonValue::Object(_) => {
                out.push('2');
                push_key(&value, out);
            }
            _ => {
                out.push('1');
                push_key(&value, out);
            }
        }
        Ok(true)
    })
}

fn push_key(value: &JsonValue, out: &mut String) {
    out.push(char::from(b'0' + rank(value)));
    match value {
        JsonValue::Null => {}
        JsonValue::Bool(value) => out.push(if *value { '1' } else { '0' }),
        JsonValue::Text(text) => {
            out.push_str(text);
            out.push('\0');
        }
        JsonValue::Number(digits) => push_number(digits, out),
        JsonValue::Array(items) => {
            out.push_str(&format!("{:010}", items.len()));
            items.iter().for_each(|item| push_key(item, out));
        }
        JsonValue::Object(members) => {
            out.push_str(&format!("{:010}", members.len()));
            for (key, value) in members {
                out.push_str(key);
                out.push('\0');
                push_key(value, out);
            }
        }
    }
}

/// Sign, number of digits before the point, digits. Those of a negative number are turned round.
fn push_number(digits: &str, out: &mut String) {
    let (negative, digits) = match digits.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, digits),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all: String = whole.chars().chain(fraction.chars()).collect();
    let leading = all.len() - all.trim_start_matches('0').len();
    let significant = all.trim_matches('0');
    if significant.is_empty() {
        return out.push('1');
    }
    const MIDDLE: i64 = 5_000_000_000;
    let before_point = MIDDLE + whole.len() as i64 - leading as i64;
    let key = format!("{before_point:010}{significant}");
    match negative {
        false => {
            out.push('2');
            out.push_str(&key);
            out.push('\u{1}');
        }
        true => {
            out.push('0');
            out.extend(key.bytes().map(|digit| char::from(b'9' - digit + b'0')));
            out.push('\u{7f}');
        }
    }
}

fn equal(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    call.make_bools(|row| Ok(Some(compare_texts(call.text(0, row), call.text(1, row))?.is_eq())))
}

fn contains(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    call.make_bools(|row| {
        Ok(Some(root_contains(
            &read(call.text(0, row))?,
            &read(call.text(1, row))?,
        )?))
    })
}

fn contained(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    call.make_bools(|row| {
        Ok(Some(root_contains(
            &read(call.text(1, row))?,
            &read(call.text(0, row))?,
        )?))
    })
}

/// An array contains a scalar that is one of its elements, at the root only.
fn root_contains(whole: &JsonValue, part: &JsonValue) -> Result<bool, SqlError> {
    match (whole, part) {
        (JsonValue::Array(_), JsonValue::Object(_)) => Ok(false),
        (JsonValue::Array(items), part) if !matches!(part, JsonValue::Array(_)) => Ok(has_scalar(items, part)),
        _ => value_contains(whole, part),
    }
}

fn has_scalar(items: &[JsonValue], scalar: &JsonValue) -> bool {
    items.iter().any(|item| compare_values(item, scalar).is_eq())
}

fn value_contains(whole: &JsonValue, part: &JsonValue) -> Result<bool, SqlError> {
    match (whole, part) {
        (JsonValue::Object(whole), JsonValue::Object(part)) => {
            for (key, wanted) in part {
                let found = whole.binary_search_by(|(found, _)| key_order(found, key));
                let contains = match found {
                    Ok(at) => value_contains(&whole[at].1, wanted)?,
                    Err(_) => false,
                };
                if !contains {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (JsonValue::Array(whole), JsonValue::Array(part)) => {
            for wanted in part {
                stop::check()?;
                let mut contains = false;
                match wanted {
                    JsonValue::Array(_) | JsonValue::Object(_) => {
                        for item in whole {
                            contains = value_contains(item, wanted)?;
                            if contains {
                                break;
                            }
                        }
                    }
                    scalar => contains = has_scalar(whole, scalar),
                }
                if !contains {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        _ => Ok(rank(whole) == rank(part) && compare_values(whole, part).is_eq()),
    }
}

/// Whether a text is a key of an object, an element of an array, or the value itself.
fn has_key(json: Raw, key: &str) -> bool {
    let is_key = |text: Raw| text.kind() == JsonKind::Text && text.unquoted().is_ok_and(|text| text == key);
    match json.kind() {
        JsonKind::Object => json.members().any(|(text, _)| is_key(text)),
        JsonKind::Array => json.elements().any(is_key),
        _ => is_key(json),
    }
}

fn exists(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    call.make_bools(|row| Ok(Some(has_key(call.json(0, row), call.text(1, row)))))
}

fn exists_any(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    call.make_bools(|row| {
        Ok(Some(
            call.texts(1, row).flatten().any(|key| has_key(call.json(0, row), key)),
        ))
    })
}

fn exists_all(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    call.make_bools(|row| {
        Ok(Some(
            call.texts(1, row).flatten().all(|key| has_key(call.json(0, row), key)),
        ))
    })
}
