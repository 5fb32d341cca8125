//! Values of any type as JSON: `to_json`, `row_to_json`, and objects and arrays that are built from arguments.

use arrow::array::ArrayRef;

use super::writer::{Form, JsonWriter};
use super::{JsonCall, JsonReturns, JsonSpec, Takes, invalid, spec};
use crate::error::{SqlError, SqlState};
use crate::types::json::{key_order, write_quoted};

pub(super) const SPECS: &[JsonSpec] = &[
    spec("to_json", &[Takes::Any], JsonReturns::Json, to_json),
    spec("to_jsonb", &[Takes::Any], JsonReturns::Jsonb, to_json),
    spec("array_to_json", &[Takes::Any, Takes::Bool], JsonReturns::Json, to_json).optional(1),
    spec("row_to_json", &[Takes::Any, Takes::Bool], JsonReturns::Json, to_json).optional(1),
    spec("json_build_array", &[Takes::AnyRest], JsonReturns::Json, build_array),
    spec("jsonb_build_array", &[Takes::AnyRest], JsonReturns::Jsonb, build_array),
    spec("json_build_object", &[Takes::AnyRest], JsonReturns::Json, build_object),
    spec(
        "jsonb_build_object",
        &[Takes::AnyRest],
        JsonReturns::Jsonb,
        build_object,
    ),
    spec(
        "json_object",
        &[Takes::Texts, Takes::Texts],
        JsonReturns::Json,
        object_of_texts,
    )
    .optional(1),
    spec(
        "jsonb_object",
        &[Takes::Texts, Takes::Texts],
        JsonReturns::Jsonb,
        object_of_texts,
    )
    .optional(1),
];

/// 22004
const NULL_VALUE_NOT_ALLOWED: SqlState = SqlState("22004");
/// 2202E
const ARRAY_SUBSCRIPT_ERROR: SqlState = SqlState("2202E");

impl JsonCall<'_> {
    fn form(&self) -> Form {
        match self.returns_jsonb() {
            true => Form::Jsonb,
            false => Form::Json,
        }
    }

    fn returns_jsonb(&self) -> bool {
        self.name.contains("jsonb")
    }

    fn writers(&self) -> Result<Vec<JsonWriter>, SqlError> {
        let columns = self.columns.iter().zip(self.fields);
        columns
            .map(|(column, field)| JsonWriter::new(field, column, self.zone))
            .collect()
    }
}

/// The second argument, if there is one: a line for each element or member.
fn to_json(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    let mut value = JsonWriter::new(&call.fields[0], &call.columns[0], call.zone)?;
    let form = call.form();
    call.make_texts(|row, out| {
        match call.flag(1, row, false) {
            true => value.write_lines(row, out)?,
            false => value.write(row, form, out)?,
        }
        Ok(true)
    })
}

fn build_array(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    let mut values = call.writers()?;
    let form = call.form();
    call.make_any_texts(|row, out| {
        out.push('[');
        for (at, value) in values.iter_mut().enumerate() {
            if at > 0 {
                out.push_str(", ");
            }
            value.write(row, form, out)?;
        }
        out.push(']');
        Ok(true)
    })
}

fn build_object(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    if !call.columns.len().is_multiple_of(2) {
        let hint = format!(
            "The arguments of {}() must consist of alternating keys and values.",
            call.name
        );
        return Err(invalid("argument list must have even number of elements").hint(hint));
    }
    let mut values = call.writers()?;
    let form = call.form();
    call.make_any_texts(|row, out| {
        let mut members = ObjectMembers::new(form);
        for (at, pair) in values.chunks_exact_mut(2).enumerate() {
            let [key, value] = pair else {
                unreachable!("a chunk has two")
            };
            if key.is_null(row) {
                let argument = 2 * at + 1;
                return Err(match form {
                    Form::Json => {
                        invalid(format!("argument {argument} cannot be null")).hint("Object keys should be text.")
                    }
                    Form::Jsonb => invalid(format!("argument {argument}: key must not be null")),
                });
            }
            let mut text = String::new();
            value.write(row, form, &mut text)?;
            members.push(key.key(row)?, text);
        }
        members.write(out);
        Ok(true)
    })
}

/// Keys and written values of an object.
pub struct ObjectMembers {
    form: Form,
    members: Vec<(String, String)>,
}

impl ObjectMembers {
    pub fn new(form: Form) -> ObjectMembers {
        ObjectMembers {
            form,
            members: Vec::new(),
        }
    }

    pub fn push(&mut self, key: String, value: String) {
        self.members.push((key, value));
    }

    /// JSON keeps all members as they come; JSONB sorts them, and the last of equal keys wins.
    pub fn write(mut self, out: &mut String) {
        if self.form == Form::Jsonb {
            self.members.sort_by(|(a, _), (b, _)| key_order(a, b));
        }
        let is_last = |at: usize| {
            let next = self.members.get(at + 1);
            self.form == Form::Json || next.is_none_or(|(key, _)| *key != self.members[at].0)
        };
        out.push('{');
        let mut is_first = true;
        for (at, (key, value)) in self.members.iter().enumerate().filter(|(at, _)| is_last(*at)) {
            debug_assert!(at < self.members.len());
            if !is_first {
                out.push_str(", ");
            }
            is_first = false;
            write_quoted(key, out);
            out.push_str(self.form.colon());
            out.push_str(value);
        }
        out.push('}');
    }
}

/// An object of texts: keys and values in turn, or in two arrays.
fn object_of_texts(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    let form = call.form();
    let mismatch = |message: &str| SqlError::new(ARRAY_SUBSCRIPT_ERROR, message);
    call.make_texts(|row, out| {
        let first: Vec<Option<&str>> = call.texts(0, row).collect();
        let pairs: Vec<(Option<&str>, Option<&str>)> = match call.columns.len() {
            1 if !first.len().is_multiple_of(2) => return Err(mismatch("array must have even number of elements")),
            1 => first.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect(),
            _ => {
                let second = call.texts(1, row);
                if second.len() != first.len() {
                    return Err(mismatch("mismatched array dimensions"));
                }
                first.into_iter().zip(second).collect()
            }
        };
        let mut members = ObjectMembers::new(form);
        for (key, value) in pairs {
            let Some(key) = key else {
                return Err(SqlError::new(
                    NULL_VALUE_NOT_ALLOWED,
                    "null value not allowed for object key",
                ));
            };
            let mut text = String::new();
            match value {
                Some(value) => write_quoted(value, &mut text),
                None => text.push_str("null"),
            }
            members.push(key.to_string(), text);
        }
        members.write(out);
        Ok(true)
    })
}
