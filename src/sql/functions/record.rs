//! Rows as text: `(1,"a b",)`, as PostgreSQL writes a composite value.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, AsArray, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::{casts, over_columns, zone};

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
        over_columns(&args, |columns, rows| {
            let row = columns[0].as_struct();
            let fields = row.fields().iter().zip(row.columns());
            let texts = fields
                .map(|(field, column)| match column.data_type() {
                    DataType::Boolean => Ok(column
                        .as_boolean()
                        .iter()
                        .map(|value| value.map(|value| if value { "t" } else { "f" }))
                        .collect()),
                    _ => casts::to_text(column, field, zone),
                })
                .collect::<std::result::Result<Vec<arrow::array::StringArray>, _>>()?;
            let mut made = StringBuilder::with_capacity(rows, rows * 16);
            let mut text = String::new();
            for at in 0..rows {
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
            Ok(Arc::new(made.finish()))
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
