//! `btrim`, `ltrim` and `rtrim` of text and bytes: in time linear in the text and in the characters to take off, which
//! the engine's multiply.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::{fail, over_columns, undefined_function};

/// One function per name.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    [("btrim", true, true), ("ltrim", true, false), ("rtrim", false, true)]
        .into_iter()
        .map(|(name, start, end)| {
            Arc::new(ScalarUDF::from(Trim {
                name,
                start,
                end,
                aliases: if start && end {
                    vec!["trim".to_string()]
                } else {
                    Vec::new()
                },
                signature: Signature::user_defined(Volatility::Immutable),
            }))
        })
        .collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Trim {
    name: &'static str,
    start: bool,
    end: bool,
    aliases: Vec<String>,
    signature: Signature,
}

impl ScalarUDFImpl for Trim {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let text = |kind: &DataType| matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Null);
        if let [DataType::Binary, DataType::Binary | DataType::Null] | [DataType::Null, DataType::Binary] = arguments {
            return Ok(vec![DataType::Binary; 2]);
        }
        match matches!(arguments.len(), 1 | 2) && arguments.iter().all(text) {
            true => Ok(vec![DataType::Utf8; arguments.len()]),
            false => Err(fail(undefined_function(self.name, arguments))),
        }
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(match arguments.contains(&DataType::Binary) {
            true => DataType::Binary,
            false => DataType::Utf8,
        })
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if *args.return_field.data_type() == DataType::Binary {
            return over_columns(&args, |columns, rows| {
                let (bytes, sets) = (columns[0].as_binary::<i32>(), columns[1].as_binary::<i32>());
                let made = (0..rows).map(|row| {
                    (bytes.is_valid(row) && sets.is_valid(row)).then(|| self.cut(bytes.value(row), sets.value(row)))
                });
                Ok(Arc::new(made.collect::<BinaryArray>()))
            });
        }
        let is_scalar = |value: &ColumnarValue| matches!(value, ColumnarValue::Scalar(_));
        let scalar = args.args.iter().all(is_scalar);
        let rows = if scalar { 1 } else { args.number_rows };
        let texts = args.args[0].to_array(rows)?;
        let texts = texts.as_string::<i32>();
        let sets = Sets::new(args.args.get(1), rows)?;
        let mut made = StringBuilder::with_capacity(rows, texts.values().len());
        for row in 0..rows {
            match sets.of(row).filter(|_| texts.is_valid(row)) {
                Some(set) => made.append_value(self.trimmed(texts.value(row), &set)),
                None => made.append_null(),
            }
        }
        let made = made.finish();
        match scalar {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&made, 0)?)),
            false => Ok(ColumnarValue::Array(Arc::new(made))),
        }
    }
}

impl Trim {
    fn cut<'a>(&self, mut bytes: &'a [u8], set: &[u8]) -> &'a [u8] {
        let mut is_in = [false; 256];
        set.iter().for_each(|byte| is_in[usize::from(*byte)] = true);
        while self.start
            && let Some((first, rest)) = bytes.split_first()
            && is_in[usize::from(*first)]
        {
            bytes = rest;
        }
        while self.end
            && let Some((last, rest)) = bytes.split_last()
            && is_in[usize::from(*last)]
        {
            bytes = rest;
        }
        bytes
    }

    fn trimmed<'a>(&self, text: &'a str, set: &HashSet<char>) -> &'a str {
        let is_in = |character: char| set.contains(&character);
        let text = if self.start {
            text.trim_start_matches(is_in)
        } else {
            text
        };
        if self.end { text.trim_end_matches(is_in) } else { text }
    }
}

/// The letters to take off each row.
enum Sets {
    /// The same of all; `None` is NULL.
    One(Option<Arc<HashSet<char>>>),
    Each(ArrayRef),
}

impl Sets {
    fn new(characters: Option<&ColumnarValue>, rows: usize) -> Result<Sets> {
        let one = |text: &str| Sets::One(Some(Arc::new(text.chars().collect())));
        Ok(match characters {
            None => one(" "),
            Some(ColumnarValue::Scalar(value)) => match value.try_as_str().flatten() {
                Some(text) => one(text),
                None => Sets::One(None),
            },
            Some(array) => Sets::Each(array.to_array(rows)?),
        })
    }

    fn of(&self, row: usize) -> Option<Arc<HashSet<char>>> {
        match self {
            Sets::One(set) => set.clone(),
            Sets::Each(texts) => texts
                .is_valid(row)
                .then(|| Arc::new(texts.as_string::<i32>().value(row).chars().collect())),
        }
    }
}
