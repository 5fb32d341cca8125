//! Arrays of JSON as the texts that arrays are read from.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use bytes::BytesMut;

use crate::error::SqlError;
use crate::types::json::{JsonValue, read_as_written};
use crate::types::write_array_item;

/// `[[1,"a"]]` as `{{1,a}}`. A value that is no array stays as it is.
pub fn literals(column: &ArrayRef) -> Result<ArrayRef, SqlError> {
    let texts = column.as_string::<i32>();
    let mut made = StringBuilder::with_capacity(texts.len(), texts.value_data().len());
    let mut literal = BytesMut::new();
    for text in texts {
        let Some(text) = text else {
            made.append_null();
            continue;
        };
        match read_as_written(text)? {
            JsonValue::Null => made.append_null(),
            JsonValue::Text(text) => made.append_value(text),
            value => {
                literal.clear();
                write(&value, &mut literal);
                made.append_value(std::str::from_utf8(&literal).expect("JSON is UTF-8"));
            }
        }
    }
    Ok(Arc::new(made.finish()))
}

fn write(value: &JsonValue, out: &mut BytesMut) {
    match value {
        JsonValue::Array(items) => {
            out.extend_from_slice(b"{");
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.extend_from_slice(b",");
                }
                write(item, out);
            }
            out.extend_from_slice(b"}");
        }
        JsonValue::Null => out.extend_from_slice(b"NULL"),
        JsonValue::Text(text) => write_array_item(text.as_bytes(), out),
        other => {
            let mut text = String::new();
            other.write(&mut text);
            write_array_item(text.as_bytes(), out);
        }
    }
}
