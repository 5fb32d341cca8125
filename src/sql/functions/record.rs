//! Rows as structs, and as text: `(1,"a b",)`, as PostgreSQL writes a composite value.
//!
//! One rule: a struct says of each of its fields which type of PostgreSQL's it has.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use bytes::BytesMut;
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::{casts, over_columns, zone};
use crate::error::SqlError;
use crate::types::TimeZone;
use crate::types::write_array_item;

/// The text of a row, which is a struct.
pub fn record_text() -> Arc<ScalarUDF> {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        Arc::new(ScalarUDF::from(RecordText {
            signature: Signature::any(1, Volatility::Stable),
        }))
    });
    FUNCTION.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct RecordText {
    signature: Signature,
}

impl ScalarUDFImpl for RecordText {
    fn name(&self) -> &str {
        "record_text"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let zone = zone::of_session(&args.config_options);
        let field = args.arg_fields[0].clone();
        over_columns(&args, |columns, _| {
            let texts = texts(&columns[0], &field, zone)?;
            Ok(Arc::new(texts))
        })
    }
}

/// Values as they stand in a row.
fn texts(column: &ArrayRef, field: &Field, zone: TimeZone) -> std::result::Result<StringArray, SqlError> {
    match column.data_type() {
        DataType::Struct(_) => rows_of(column, zone),
        DataType::List(item) if matches!(item.data_type(), DataType::Struct(_)) => lists_of(column, zone),
        DataType::Boolean => Ok(column
            .as_boolean()
            .iter()
            .map(|value| value.map(|value| if value { "t" } else { "f" }))
            .collect()),
        _ => casts::to_text(column, field, zone),
    }
}

/// `(1,abc)`
fn rows_of(column: &ArrayRef, zone: TimeZone) -> std::result::Result<StringArray, SqlError> {
    let row = column.as_struct();
    let fields = row.fields().iter().zip(row.columns());
    let texts = fields
        .map(|(field, column)| texts(column, field, zone))
        .collect::<std::result::Result<Vec<StringArray>, SqlError>>()?;
    let mut made = StringBuilder::with_capacity(row.len(), row.len() * 16);
    let mut text = String::new();
    for at in 0..row.len() {
        if row.is_null(at) {
            made.append_null();
            continue;
        }
        text.clear();
        text.push('(');
        for (number, column) in texts.iter().enumerate() {
            if number > 0 {
                text.push(',');
            }
            if column.is_valid(at) {
                write_field(&mut text, column.value(at));
            }
        }
        text.push(')');
        made.append_value(&text);
    }
    Ok(made.finish())
}

/// `{"(1,abc)"}`
fn lists_of(column: &ArrayRef, zone: TimeZone) -> std::result::Result<StringArray, SqlError> {
    let lists = column.as_list::<i32>();
    let items = rows_of(lists.values(), zone)?;
    let offsets = lists.value_offsets();
    let mut made = StringBuilder::with_capacity(lists.len(), lists.len() * 16);
    let mut text = BytesMut::new();
    for at in 0..lists.len() {
        if lists.is_null(at) {
            made.append_null();
            continue;
        }
        text.clear();
        text.extend_from_slice(b"{");
        for item in offsets[at] as usize..offsets[at + 1] as usize {
            if item > offsets[at] as usize {
                text.extend_from_slice(b",");
            }
            match items.is_valid(item) {
                true => write_array_item(items.value(item).as_bytes(), &mut text),
                false => text.extend_from_slice(b"NULL"),
            }
        }
        text.extend_from_slice(b"}");
        made.append_value(std::str::from_utf8(&text).expect("rows are texts"));
    }
    Ok(made.finish())
}

/// A row of values, whose fields say their types. It is NULL where `presence`, if there is one, is.
pub fn make_row(fields: Vec<FieldRef>, presence: Option<Expr>, values: Vec<Expr>) -> Expr {
    let function = ScalarUDF::from(MakeRow {
        fields,
        may_be_absent: presence.is_some(),
        signature: Signature::user_defined(Volatility::Immutable),
    });
    function.call(presence.into_iter().chain(values).collect())
}

/// Whether an expression makes a row.
pub fn is_row(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.inner().is::<MakeRow>())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct MakeRow {
    fields: Vec<FieldRef>,
    /// The first argument says where there is no row.
    may_be_absent: bool,
    signature: Signature,
}

impl MakeRow {
    /// The fields for values of these types, with the metadata of the types.
    fn fields_of(&self, given: &[FieldRef]) -> Fields {
        let given = &given[usize::from(self.may_be_absent)..];
        let fields =
            self.fields
                .iter()
                .zip(given)
                .map(|(declared, given)| match declared.data_type() == given.data_type() {
                    true => declared.clone(),
                    false => Arc::new(Field::new(declared.name(), given.data_type().clone(), true)),
                });
        fields.collect()
    }
}

impl ScalarUDFImpl for MakeRow {
    fn name(&self) -> &str {
        "row"
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let names = self.fields.iter().map(|field| field.name().as_str());
        let names: Vec<&str> = names.collect();
        let values: Vec<String> = args.iter().map(|arg| arg.schema_name().to_string()).collect();
        Ok(format!("row({} = {})", names.join(","), values.join(",")))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arguments.to_vec())
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        datafusion::common::plan_err!("a row is made of fields")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let fields = self.fields_of(args.arg_fields);
        Ok(Arc::new(Field::new(self.name(), DataType::Struct(fields), true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let DataType::Struct(fields) = args.return_field.data_type().clone() else {
            return datafusion::common::exec_err!("a row is a struct");
        };
        over_columns(&args, |columns, rows| {
            let (presence, values) = columns.split_at(usize::from(self.may_be_absent));
            let nulls = presence.first().and_then(|column| column.logical_nulls());
            let made = match values.is_empty() {
                true => StructArray::new_empty_fields(rows, nulls),
                false => {
                    let given = values.iter().zip(&fields);
                    let given = given.map(|(value, field)| match value.data_type() == field.data_type() {
                        true => Ok(value.clone()),
                        false => cast(value, field.data_type()),
                    });
                    let given = given.collect::<std::result::Result<Vec<ArrayRef>, _>>()?;
                    StructArray::try_new(fields, given, nulls)?
                }
            };
            Ok(Arc::new(made))
        })
    }
}

/// A field, quoted where its text would not be read back as it is.
fn write_field(out: &mut String, field: &str) {
    let special = |c: char| matches!(c, '"' | '\\' | '(' | ')' | ',') || c.is_ascii_whitespace();
    if !field.is_empty() && !field.contains(special) {
        out.push_str(field);
        return;
    }
    out.push('"');
    for c in field.chars() {
        if matches!(c, '"' | '\\') {
            out.push(c);
        }
        out.push(c);
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_as_postgresql_quotes_them() {
        for (field, expect) in [
            ("", "\"\""),
            ("abc", "abc"),
            ("a b", "\"a b\""),
            ("a\"b", "\"a\"\"b\""),
            ("a\\b", "\"a\\\\b\""),
            ("(x)", "\"(x)\""),
        ] {
            let mut out = String::new();
            write_field(&mut out, field);
            assert_eq!(out, expect);
        }
    }
}
