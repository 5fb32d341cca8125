//! One part of a value: `->`, `->>`, `#>`, `#>>`, subscripts, `json_extract_path`; its type and length.

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;

use super::raw::{JsonKind, Raw};
use super::{JsonCall, JsonReturns, JsonSpec, Takes, invalid, spec};
use crate::error::SqlError;

pub(super) const SPECS: &[JsonSpec] = &[
    spec(
        "json_object_field",
        &[Takes::Text, Takes::Key],
        JsonReturns::Same,
        field,
    ),
    spec(
        "json_object_field_text",
        &[Takes::Text, Takes::Key],
        JsonReturns::Text,
        field_text,
    ),
    spec("json_extract", &[Takes::Text, Takes::Texts], JsonReturns::Same, extract),
    spec(
        "json_extract_text",
        &[Takes::Text, Takes::Texts],
        JsonReturns::Text,
        extract_text,
    ),
    spec(
        "jsonb_subscript",
        &[Takes::Text, Takes::Texts],
        JsonReturns::Jsonb,
        extract,
    ),
    spec(
        "json_extract_path",
        &[Takes::Text, Takes::TextRest],
        JsonReturns::Json,
        extract,
    ),
    spec(
        "json_extract_path_text",
        &[Takes::Text, Takes::TextRest],
        JsonReturns::Text,
        extract_text,
    ),
    spec(
        "jsonb_extract_path",
        &[Takes::Text, Takes::TextRest],
        JsonReturns::Jsonb,
        extract,
    ),
    spec(
        "jsonb_extract_path_text",
        &[Takes::Text, Takes::TextRest],
        JsonReturns::Text,
        extract_text,
    ),
    spec("json_typeof", &[Takes::Text], JsonReturns::Text, type_of),
    spec("jsonb_typeof", &[Takes::Text], JsonReturns::Text, type_of),
    spec("json_array_length", &[Takes::Text], JsonReturns::Int4, length),
    spec("jsonb_array_length", &[Takes::Text], JsonReturns::Int4, length),
];

fn field_of<'a>(call: &JsonCall<'a>, row: usize) -> Option<Raw<'a>> {
    let json = call.json(0, row);
    match call.columns[1].data_type() {
        // PostgreSQL holds a scalar of JSONB as an array of one.
        DataType::Int32 if json.kind().is_scalar() && call.is_jsonb(0) => {
            matches!(call.int(1, row), 0 | -1).then_some(json)
        }
        DataType::Int32 => json.element(call.int(1, row).into()),
        _ => json.member(call.text(1, row)),
    }
}

fn write_json(found: Option<Raw>, out: &mut String) -> bool {
    if let Some(found) = found {
        out.push_str(found.as_str());
    }
    found.is_some()
}

fn write_text(found: Option<Raw>, out: &mut String) -> Result<bool, SqlError> {
    let text = found.map(Raw::text).transpose()?.flatten();
    if let Some(text) = &text {
        out.push_str(text);
    }
    Ok(text.is_some())
}

fn field(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    call.make_texts(|row, out| Ok(write_json(field_of(call, row), out)))
}

fn field_text(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    call.make_texts(|row, out| write_text(field_of(call, row), out))
}

/// The value at the end of a path; a step into a scalar, or one that is NULL, leads nowhere.
fn walk<'a, 'b>(json: Raw<'a>, mut steps: impl Iterator<Item = Option<&'b str>>) -> Option<Raw<'a>> {
    steps.try_fold(json, |json, step| match json.kind() {
        JsonKind::Object => json.member(step?),
        JsonKind::Array => json.element(place(step?)?.into()),
        _ => None,
    })
}

/// A path's step as a place in an array.
pub fn place(step: &str) -> Option<i32> {
    let step = step.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
    step.parse().ok()
}

/// Follows the path of a row: an array of texts, or the texts of the other arguments.
fn walk_row<'a>(call: &JsonCall<'a>, row: usize) -> Option<Raw<'a>> {
    let json = call.json(0, row);
    match call.columns.get(1).map(|column| column.data_type()) {
        Some(DataType::List(_)) => walk(json, call.texts(1, row)),
        _ => walk(json, (1..call.columns.len()).map(|at| Some(call.text(at, row)))),
    }
}

fn extract(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    call.make_texts(|row, out| Ok(write_json(walk_row(call, row), out)))
}

fn extract_text(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    call.make_texts(|row, out| write_text(walk_row(call, row), out))
}

fn type_of(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    call.make_texts(|row, out| {
        out.push_str(call.json(0, row).kind().name());
        Ok(true)
    })
}

fn length(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    call.make_ints(|row| {
        let json = call.json(0, row);
        match json.kind() {
            // A value has fewer bytes than that.
            JsonKind::Array => Ok(i32::try_from(json.elements().count()).unwrap_or(i32::MAX)),
            JsonKind::Object => Err(invalid("cannot get array length of a non-array")),
            _ => Err(invalid("cannot get array length of a scalar")),
        }
    })
}
