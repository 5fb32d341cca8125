//! Parts of a value as rows: keys, elements, members.

use arrow::array::ArrayRef;

use super::raw::{JsonKind, Raw};
use super::{JsonCall, JsonReturns, JsonSpec, Takes, invalid, spec};
use crate::error::SqlError;

pub(super) const SPECS: &[JsonSpec] = &[
    spec("json_object_keys", &[Takes::Text], JsonReturns::Texts, keys),
    spec("jsonb_object_keys", &[Takes::Text], JsonReturns::Texts, keys),
    spec("json_array_elements", &[Takes::Text], JsonReturns::Jsons, elements),
    spec("jsonb_array_elements", &[Takes::Text], JsonReturns::Jsonbs, elements),
    spec(
        "json_array_elements_text",
        &[Takes::Text],
        JsonReturns::Texts,
        elements_text,
    ),
    spec(
        "jsonb_array_elements_text",
        &[Takes::Text],
        JsonReturns::Texts,
        elements_text,
    ),
    spec("json_each", &[Takes::Text], JsonReturns::JsonPairs, each),
    spec("jsonb_each", &[Takes::Text], JsonReturns::JsonbPairs, each),
    spec("json_each_text", &[Takes::Text], JsonReturns::TextPairs, each_text),
    spec("jsonb_each_text", &[Takes::Text], JsonReturns::TextPairs, each_text),
];

fn is_jsonb(call: &JsonCall) -> bool {
    call.name.starts_with("jsonb")
}

fn keys(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    call.make_rows(|row, rows| {
        let json = call.json(0, row);
        match json.kind() {
            JsonKind::Object => json
                .members()
                .try_for_each(|(key, _)| rows.push(Some(&key.unquoted()?))),
            JsonKind::Array => Err(invalid(format!("cannot call {} on an array", call.name))),
            _ => Err(invalid(format!("cannot call {} on a scalar", call.name))),
        }
    })
}

fn array<'a>(call: &JsonCall<'a>, row: usize) -> Result<Raw<'a>, SqlError> {
    let json = call.json(0, row);
    Err(invalid(match (json.kind(), is_jsonb(call)) {
        (JsonKind::Array, _) => return Ok(json),
        (JsonKind::Object, true) => "cannot extract elements from an object".to_string(),
        (JsonKind::Object, false) => format!("cannot call {} on a non-array", call.name),
        (_, true) => "cannot extract elements from a scalar".to_string(),
        (_, false) => format!("cannot call {} on a scalar", call.name),
    }))
}

fn elements(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    call.make_rows(|row, rows| {
        let mut elements = array(call, row)?.elements();
        elements.try_for_each(|element| rows.push(Some(element.as_str())))
    })
}

fn elements_text(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    call.make_rows(|row, rows| {
        let mut elements = array(call, row)?.elements();
        elements.try_for_each(|element| rows.push(element.text()?.as_deref()))
    })
}

fn object<'a>(call: &JsonCall<'a>, row: usize) -> Result<Raw<'a>, SqlError> {
    let json = call.json(0, row);
    Err(invalid(match (json.kind(), is_jsonb(call)) {
        (JsonKind::Object, _) => return Ok(json),
        (_, true) => format!("cannot call {} on a non-object", call.name),
        (JsonKind::Array, false) => "cannot deconstruct an array as an object".to_string(),
        (_, false) => "cannot deconstruct a scalar".to_string(),
    }))
}

fn each(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    call.make_rows(|row, rows| {
        let mut members = object(call, row)?.members();
        members.try_for_each(|(key, value)| rows.push_pair(&key.unquoted()?, Some(value.as_str())))
    })
}

fn each_text(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    call.make_rows(|row, rows| {
        let mut members = object(call, row)?.members();
        members.try_for_each(|(key, value)| rows.push_pair(&key.unquoted()?, value.text()?.as_deref()))
    })
}
