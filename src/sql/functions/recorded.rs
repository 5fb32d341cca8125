//! Calls and their results in PostgreSQL 15: every line of `recorded/*.txt` is a call, a tab, and the result.
//!
//! A result is the value's text with `\\` and `\n` escaped, `NULL`, or `!SQLSTATE message`. Functions that return rows
//! there return an array here.

use arrow::array::ArrayRef;
use arrow::datatypes::FieldRef;
use bytes::BytesMut;
use datafusion::common::ScalarValue;
use datafusion::common::config::ConfigOptions;
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs};
use std::sync::Arc;

use super::functions;
use crate::error::SqlError;
use crate::types::{ColumnBuilder, ColumnFormatter, PgType, TextStyle};

/// The arguments as they are written, apart.
fn arguments(mut text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    while !text.trim().is_empty() {
        let (mut depth, mut quoted, mut end) = (0, false, text.len());
        for (at, letter) in text.char_indices() {
            match letter {
                '\'' => quoted = !quoted,
                '(' if !quoted => depth += 1,
                ')' if !quoted => depth -= 1,
                ',' if !quoted && depth == 0 => {
                    end = at;
                    break;
                }
                _ => {}
            }
        }
        found.push(text[..end].trim());
        text = text.get(end + 1..).unwrap_or("");
    }
    found
}

/// `'text'::type`, `NULL::type`, or an integer.
fn value(written: &str) -> Result<(ArrayRef, FieldRef), SqlError> {
    let (text, kind) = match written.rsplit_once("::") {
        Some((text, kind)) => (text, kind),
        None => (written, "integer"),
    };
    let text = (text != "NULL").then(|| match text.strip_prefix('\'') {
        Some(inner) => inner.strip_suffix('\'').expect("a quote ends").replace("''", "'"),
        None => text.to_string(),
    });
    let known = PgType::parse(kind).unwrap_or_else(|| panic!("no type {kind}"));
    let mut column = ColumnBuilder::new(&known, 1);
    match &text {
        Some(text) => column.append_text(text)?,
        None => column.append_null(),
    }
    Ok((column.finish(), Arc::new(known.field("argument", true))))
}

fn result(call: &str) -> Result<String, SqlError> {
    let (name, rest) = call.split_once('(').expect("a call has arguments");
    let function = functions()
        .scalar
        .get(name)
        .unwrap_or_else(|| panic!("no function {name}"));
    let values: Vec<(ArrayRef, FieldRef)> = arguments(rest.strip_suffix(')').expect("a call ends"))
        .into_iter()
        .map(value)
        .collect::<Result<_, SqlError>>()?;
    let mut scalars: Vec<ScalarValue> = values
        .iter()
        .map(|(value, _)| ScalarValue::try_from_array(value, 0).expect("it has a row"))
        .collect();
    let mut fields: Vec<FieldRef> = values.into_iter().map(|(_, field)| field).collect();
    let coerced = fields_with_udf(&fields, function.as_ref()).map_err(SqlError::from)?;
    for ((scalar, field), wanted) in scalars.iter_mut().zip(&mut fields).zip(coerced) {
        if field.data_type() != wanted.data_type() {
            *scalar = scalar.cast_to(wanted.data_type()).map_err(SqlError::from)?;
            *field = wanted;
        }
    }
    let given: Vec<Option<&ScalarValue>> = scalars.iter().map(Some).collect();
    let return_field = function
        .return_field_from_args(ReturnFieldArgs {
            arg_fields: &fields,
            scalar_arguments: &given,
        })
        .map_err(SqlError::from)?;
    let made = function
        .invoke_with_args(ScalarFunctionArgs {
            args: scalars.into_iter().map(ColumnarValue::Scalar).collect(),
            arg_fields: fields,
            number_rows: 1,
            return_field: return_field.clone(),
            config_options: Arc::new(ConfigOptions::default()),
        })
        .map_err(SqlError::from)?;
    let made = made.into_array(1).map_err(SqlError::from)?;
    assert_eq!(made.data_type(), return_field.data_type(), "{call}");
    let known = PgType::of_field(&return_field).expect("a type of PostgreSQL's");
    let formatter = ColumnFormatter::new(&known, &made, &TextStyle::default())?;
    if formatter.is_null(0) {
        return Ok("NULL".to_string());
    }
    let mut text = BytesMut::new();
    formatter.write_text(0, &mut text);
    let text = String::from_utf8(text.to_vec()).expect("text");
    Ok(text.replace('\\', "\\\\").replace('\n', "\\n"))
}

fn wrong(recorded: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for line in recorded.lines() {
        let (call, expected) = line.split_once('\t').expect("a call and its result");
        let made = std::panic::catch_unwind(|| match result(call) {
            Ok(text) => text,
            Err(error) => format!("!{} {}", error.state.0, error.message.replace('\n', "\\n")),
        });
        let made = made.unwrap_or_else(|_| "a panic".to_string());
        if made != expected {
            wrong.push(format!("{call}\n  expected {expected}\n  made     {made}"));
        }
    }
    wrong
}

#[test]
fn calls_give_what_postgresql_gives() {
    let recorded = [
        include_str!("recorded/arrays.txt"),
        include_str!("recorded/bytes.txt"),
        include_str!("recorded/regexes.txt"),
        include_str!("recorded/date_patterns.txt"),
        include_str!("recorded/dates.txt"),
        include_str!("recorded/number_patterns.txt"),
        include_str!("recorded/numbers.txt"),
        include_str!("recorded/text.txt"),
    ];
    let wrong: Vec<String> = recorded.into_iter().flat_map(wrong).collect();
    assert!(wrong.is_empty(), "{} calls:\n{}", wrong.len(), wrong.join("\n"));
}
