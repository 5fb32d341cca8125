//! Keys: values are compared, grouped, joined and sorted by these if their own bytes do not show which are equal.
//!
//! One rule: keys compare as PostgreSQL compares the values. Not here: the places in a plan that need them
//! (`plan/keys.rs`).

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::datatypes::{DataType, Decimal128Type, IntervalMonthDayNanoType};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::{arrays, casts, datetime, numeric};

/// The values that keys are made of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum KeyKind {
    /// Exact numbers: their value without its scale.
    Numeric,
    /// Arrays: their elements, a NULL after all others.
    Array,
    /// Arrays of any dimensions: their elements, then their shape.
    Shaped,
    /// Intervals: their length in microseconds; a month has 30 days, a day 24 hours.
    Interval,
    /// BPCHAR: without the blanks at its end.
    Blanks,
}

impl KeyKind {
    /// The function of one argument that makes the keys.
    pub fn function(self) -> Arc<ScalarUDF> {
        static FUNCTIONS: LazyLock<[Arc<ScalarUDF>; 5]> = LazyLock::new(|| {
            let all = [
                KeyKind::Numeric,
                KeyKind::Array,
                KeyKind::Shaped,
                KeyKind::Interval,
                KeyKind::Blanks,
            ];
            all.map(|key| {
                let signature = Signature::any(1, Volatility::Immutable);
                Arc::new(ScalarUDF::from(KeyFunction { key, signature }))
            })
        });
        FUNCTIONS[self as usize].clone()
    }
}

/// Whether a function makes keys, which it can of every value.
pub fn makes_keys(function: &ScalarUDF) -> bool {
    function.inner().is::<KeyFunction>()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct KeyFunction {
    key: KeyKind,
    signature: Signature,
}

impl ScalarUDFImpl for KeyFunction {
    fn name(&self) -> &str {
        match self.key {
            KeyKind::Numeric => "numeric_key",
            KeyKind::Array => "array_key",
            KeyKind::Shaped => "shaped_array_key",
            KeyKind::Interval => "interval_length",
            KeyKind::Blanks => "bpchar_key",
        }
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(format!("{}({})", self.name(), args[0].schema_name()))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(match self.key {
            KeyKind::Numeric | KeyKind::Array | KeyKind::Shaped => DataType::Binary,
            KeyKind::Interval => DataType::Decimal128(38, 0),
            KeyKind::Blanks => DataType::Utf8,
        })
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        casts::map(&args.args[0], |column| match self.key {
            KeyKind::Numeric => Ok(numeric::keys(column)),
            KeyKind::Array => arrays::list_keys(column),
            KeyKind::Shaped => arrays::shaped_keys(column),
            KeyKind::Blanks => Ok(without_blanks(column)),
            KeyKind::Interval => {
                let lengths = column
                    .as_primitive::<IntervalMonthDayNanoType>()
                    .unary::<_, Decimal128Type>(datetime::comparable);
                Ok(Arc::new(lengths.with_data_type(DataType::Decimal128(38, 0))) as ArrayRef)
            }
        })
    }
}

/// Texts without the blanks at their ends.
pub fn without_blanks(column: &ArrayRef) -> ArrayRef {
    let texts = column.as_string::<i32>().iter();
    let bare: StringArray = texts.map(|text| Some(text?.trim_end_matches(' '))).collect();
    Arc::new(bare)
}
