//! Rows as values, and as text: `(1,"a b",)`, as PostgreSQL writes a composite value.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, AsArray, StringBuilder};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, StructFieldMapping,
    Volatility,
};

use super::{casts, over_columns, zone};
use crate::types::PgType;

/// The text of a row, which is a struct.
pub fn record_text() -> Arc<ScalarUDF> {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        Arc::new(ScalarUDF::from(RecordText {
            signature: Signature::any(1, Volatility::Stable),
        }))
    });
    FUNCTION.clone()
}

/// The engine's function of a row's names and values, whose fields say what is JSON.
pub fn row_value() -> Arc<ScalarUDF> {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        Arc::new(ScalarUDF::from(RowValue {
            engines: datafusion::functions::core::named_struct(),
        }))
    });
    FUNCTION.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct RowValue {
    engines: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for RowValue {
    fn name(&self) -> &str {
        self.engines.name()
    }

    fn signature(&self) -> &Signature {
        self.engines.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.engines.return_type(arguments)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let values = args.arg_fields.iter().skip(1).step_by(2).cloned().collect::<Vec<_>>();
        let made = self.engines.return_field_from_args(args)?;
        let DataType::Struct(fields) = made.data_type() else {
            return Ok(made);
        };
        let told = fields
            .iter()
            .zip(values)
            .map(|(field, value)| match PgType::of_field(&value) {
                Some(PgType::Json | PgType::Jsonb) => {
                    Arc::new(field.as_ref().clone().with_metadata(value.metadata().clone()))
                }
                _ => field.clone(),
            });
        let told = DataType::Struct(told.collect());
        Ok(Arc::new(made.as_ref().clone().with_data_type(told)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.engines.invoke_with_args(args)
    }

    fn struct_field_mapping(&self, literals: &[Option<ScalarValue>]) -> Option<StructFieldMapping> {
        self.engines.struct_field_mapping(literals)
    }
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
