//! `||` of texts as a function, measured as others are.

use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, StringArray, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::bound;

#[derive(Debug, PartialEq, Eq, Hash)]
struct Concatenation {
    signature: Signature,
}

/// The function of `||` between two texts.
pub fn concatenation() -> Arc<ScalarUDF> {
    static CONCATENATION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        let signature = Signature::exact(vec![DataType::Utf8, DataType::Utf8], Volatility::Immutable);
        bound(Arc::new(ScalarUDF::from(Concatenation { signature })))
    });
    CONCATENATION.clone()
}

impl ScalarUDFImpl for Concatenation {
    fn name(&self) -> &str {
        "||"
    }

    #[allow(deprecated)]
    fn display_name(&self, args: &[Expr]) -> Result<String> {
        Ok(format!("{} || {}", args[0], args[1]))
    }

    /// Of names that are long a hash is left: the planner asks each node of a chain for the names of all below it.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        const NAME_BYTES_MAX: usize = 64;
        let name = format!("{} || {}", args[0].schema_name(), args[1].schema_name());
        if name.len() <= NAME_BYTES_MAX {
            return Ok(name);
        }
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Ok(format!("|| {:016x}", hasher.finish()))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = args.args.as_slice() else {
            unreachable!("planned with two operands")
        };
        let (left, right) = (Side::new(left), Side::new(right));
        if let (Side::One(left), Side::One(right)) = (&left, &right) {
            let joined = left.zip(*right).map(|(left, right)| [left, right].concat());
            return Ok(ColumnarValue::Scalar(ScalarValue::Utf8(joined)));
        }
        let rows = args.number_rows;
        let mut joined = StringBuilder::with_capacity(rows, left.bytes(rows) + right.bytes(rows));
        for row in 0..rows {
            match (left.value(row), right.value(row)) {
                (Some(left), Some(right)) => {
                    joined.write_str(left).expect("a builder takes all");
                    joined.append_value(right);
                }
                _ => joined.append_null(),
            }
        }
        Ok(ColumnarValue::Array(Arc::new(joined.finish())))
    }
}

/// One operand: a text for each row, or one for all.
enum Side<'a> {
    Each(&'a StringArray),
    One(Option<&'a str>),
}

impl<'a> Side<'a> {
    fn new(value: &'a ColumnarValue) -> Side<'a> {
        match value {
            ColumnarValue::Array(array) => Side::Each(
                array
                    .as_any()
                    .downcast_ref::<StringArray>()
                    .expect("operands are coerced to text"),
            ),
            ColumnarValue::Scalar(value) => Side::One(value.try_as_str().flatten()),
        }
    }

    fn value(&self, row: usize) -> Option<&str> {
        match self {
            Side::Each(texts) => texts.is_valid(row).then(|| texts.value(row)),
            Side::One(text) => *text,
        }
    }

    fn bytes(&self, rows: usize) -> usize {
        match self {
            Side::Each(texts) => {
                let offsets = texts.value_offsets();
                (offsets[texts.len()] - offsets[0]) as usize
            }
            Side::One(text) => text.map_or(0, str::len) * rows,
        }
    }
}
