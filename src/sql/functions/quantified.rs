//! `value op ANY (array)` and `value op ALL (array)`, with SQL's logic of NULLs.
//!
//! One rule: ANY is true if one comparison is, else NULL if one is NULL, else false; ALL is false if one is, else NULL if one
//! is NULL, else true. Of an array without elements ANY is false and ALL is true; of a NULL array both are NULL.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, BooleanBuilder, UInt32Array};
use arrow::compute::kernels::cmp;
use arrow::compute::{cast, ilike, like, nilike, nlike, take};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::arrays::canonical;
use super::bytes::is_like;
use super::growth::{self, regex};
use super::over_columns;
use crate::error::SqlError;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum QuantifiedComparison {
    Eq,
    NotEq,
    Lt,
    LtEq,
    Gt,
    GtEq,
    Like,
    NotLike,
    ILike,
    NotILike,
    Matches,
    MatchesNot,
    IMatches,
    IMatchesNot,
}

impl QuantifiedComparison {
    fn of(symbol: &str) -> Option<QuantifiedComparison> {
        Some(match symbol {
            "=" => QuantifiedComparison::Eq,
            "<>" | "!=" => QuantifiedComparison::NotEq,
            "<" => QuantifiedComparison::Lt,
            "<=" => QuantifiedComparison::LtEq,
            ">" => QuantifiedComparison::Gt,
            ">=" => QuantifiedComparison::GtEq,
            "~~" => QuantifiedComparison::Like,
            "!~~" => QuantifiedComparison::NotLike,
            "~~*" => QuantifiedComparison::ILike,
            "!~~*" => QuantifiedComparison::NotILike,
            "~" => QuantifiedComparison::Matches,
            "!~" => QuantifiedComparison::MatchesNot,
            "~*" => QuantifiedComparison::IMatches,
            "!~*" => QuantifiedComparison::IMatchesNot,
            _ => return None,
        })
    }

    fn run(self, values: &ArrayRef, elements: &ArrayRef) -> Result<BooleanArray, SqlError> {
        let (values, elements) = match values.data_type() {
            DataType::LargeBinary | DataType::Interval(_) | DataType::Float32 | DataType::Float64 => {
                (canonical(values), canonical(elements))
            }
            _ => (Arc::clone(values), Arc::clone(elements)),
        };
        let (values, elements) = (values.as_ref(), elements.as_ref());
        let compared = match self {
            QuantifiedComparison::Like | QuantifiedComparison::NotLike if *values.data_type() == DataType::Binary => {
                let wanted = self == QuantifiedComparison::Like;
                let pairs = values.as_binary::<i32>().iter().zip(elements.as_binary::<i32>());
                let verdicts = pairs.map(|pair| match pair {
                    (Some(bytes), Some(pattern)) => Ok(Some(is_like(bytes, pattern)? == wanted)),
                    _ => Ok(None),
                });
                return verdicts.collect();
            }
            QuantifiedComparison::Eq => cmp::eq(&values, &elements),
            QuantifiedComparison::NotEq => cmp::neq(&values, &elements),
            QuantifiedComparison::Lt => cmp::lt(&values, &elements),
            QuantifiedComparison::LtEq => cmp::lt_eq(&values, &elements),
            QuantifiedComparison::Gt => cmp::gt(&values, &elements),
            QuantifiedComparison::GtEq => cmp::gt_eq(&values, &elements),
            QuantifiedComparison::Like => like(&values, &elements),
            QuantifiedComparison::NotLike => nlike(&values, &elements),
            QuantifiedComparison::ILike => ilike(&values, &elements),
            QuantifiedComparison::NotILike => nilike(&values, &elements),
            QuantifiedComparison::Matches => return matches(values, elements, false, true),
            QuantifiedComparison::IMatches => return matches(values, elements, true, true),
            QuantifiedComparison::MatchesNot => return matches(values, elements, false, false),
            QuantifiedComparison::IMatchesNot => return matches(values, elements, true, false),
        };
        compared.map_err(|error| SqlError::from(datafusion::common::DataFusionError::from(error)))
    }
}

impl QuantifiedComparison {
    /// The comparisons that are errors.
    fn failed(self, values: &ArrayRef, elements: &ArrayRef) -> Result<Option<BooleanArray>, SqlError> {
        match self {
            QuantifiedComparison::Like | QuantifiedComparison::NotLike => growth::open_ended(values, elements, false),
            QuantifiedComparison::ILike | QuantifiedComparison::NotILike => growth::open_ended(values, elements, true),
            _ => Ok(None),
        }
    }
}

/// Matches of texts with the patterns beside them.
fn matches(texts: &dyn Array, patterns: &dyn Array, any_case: bool, wanted: bool) -> Result<BooleanArray, SqlError> {
    let pairs = texts.as_string::<i32>().iter().zip(patterns.as_string::<i32>());
    let verdicts = pairs.map(|pair| match pair {
        (Some(text), Some(pattern)) => Ok(Some(regex::compiled(pattern, any_case)?.is_match(text) == wanted)),
        _ => Ok(None),
    });
    verdicts.collect()
}

/// The function of an operator with ANY or ALL; `None` for an operator that it does not have.
pub fn function(symbol: &str, all: bool) -> Option<Arc<ScalarUDF>> {
    let comparison = QuantifiedComparison::of(symbol)?;
    Some(Arc::new(ScalarUDF::from(Quantified {
        comparison,
        all,
        signature: Signature::any(2, Volatility::Immutable),
    })))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Quantified {
    comparison: QuantifiedComparison,
    all: bool,
    signature: Signature,
}

impl ScalarUDFImpl for Quantified {
    fn name(&self) -> &str {
        match self.all {
            true => "all_of",
            false => "any_of",
        }
    }

    fn display_name(&self, args: &[datafusion::logical_expr::Expr]) -> Result<String> {
        Ok(format!(
            "{}({:?}, {}, {})",
            self.name(),
            self.comparison,
            args[0],
            args[1]
        ))
    }

    fn schema_name(&self, args: &[datafusion::logical_expr::Expr]) -> Result<String> {
        let (value, array) = (args[0].schema_name(), args[1].schema_name());
        Ok(format!("{}({:?}, {value}, {array})", self.name(), self.comparison))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if args.args.len() != 2 {
            return exec_err!("{} takes two arguments", self.name());
        }
        // The engine asks for the result of a column that is NULL.
        if args.args.iter().any(|value| value.data_type().is_null()) {
            return Ok(ColumnarValue::Scalar(ScalarValue::Boolean(None)));
        }
        over_columns(&args, |columns, rows| {
            let lists = columns[1].as_list::<i32>();
            let (first, last) = (lists.value_offsets()[0], lists.value_offsets()[rows]);
            let elements = lists.values().slice(first as usize, (last - first) as usize);
            let mut owners = Vec::with_capacity(elements.len());
            for row in 0..rows {
                let count = lists.value_length(row) as usize;
                owners.extend(std::iter::repeat_n(row as u32, count));
            }
            let convert = |error| SqlError::from(datafusion::common::DataFusionError::from(error));
            let values = take(&columns[0], &UInt32Array::from(owners), None).map_err(convert)?;
            let elements = match elements.data_type() == values.data_type() {
                true => elements,
                false => cast(&elements, values.data_type()).map_err(convert)?,
            };
            let compared = self.comparison.run(&values, &elements)?;
            let failed = self.comparison.failed(&values, &elements)?;
            let mut made = BooleanBuilder::with_capacity(rows);
            for row in 0..rows {
                if lists.is_null(row) {
                    made.append_null();
                    continue;
                }
                let start = (lists.value_offsets()[row] - first) as usize;
                let end = (lists.value_offsets()[row + 1] - first) as usize;
                let decides = !self.all;
                let mut open = false;
                let mut decided = false;
                for at in start..end {
                    // Elements behind the one that decides are not looked at.
                    if !decided
                        && failed
                            .as_ref()
                            .is_some_and(|failed| failed.is_valid(at) && failed.value(at))
                    {
                        return Err(growth::ends_with_escape());
                    }
                    match compared.is_null(at) {
                        true => open = true,
                        false => decided |= compared.value(at) == decides,
                    }
                }
                match (decided, open) {
                    (true, _) => made.append_value(decides),
                    (false, true) => made.append_null(),
                    (false, false) => made.append_value(!decides),
                }
            }
            Ok(Arc::new(made.finish()))
        })
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, ListArray};
    use arrow::datatypes::{Field, Int32Type};
    use datafusion::common::config::ConfigOptions;

    use super::*;

    fn run(symbol: &str, all: bool, value: Option<i32>, array: Option<Vec<Option<i32>>>) -> Option<bool> {
        let function = function(symbol, all).expect("it is there");
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([array]);
        let args = vec![
            ColumnarValue::Array(Arc::new(Int32Array::from(vec![value]))),
            ColumnarValue::Array(Arc::new(lists.clone())),
        ];
        let fields = vec![
            Arc::new(Field::new("", DataType::Int32, true)),
            Arc::new(Field::new("", lists.data_type().clone(), true)),
        ];
        let made = function.invoke_with_args(ScalarFunctionArgs {
            args,
            arg_fields: fields,
            number_rows: 1,
            return_field: Arc::new(Field::new("", DataType::Boolean, true)),
            config_options: Arc::new(ConfigOptions::new()),
        });
        let made = made.expect("it runs").into_array(1).expect("one row");
        let made = made.as_boolean();
        made.is_valid(0).then(|| made.value(0))
    }

    #[test]
    fn nulls_are_neither_true_nor_false() {
        let list = |values: &[Option<i32>]| Some(values.to_vec());
        assert_eq!(run("=", false, Some(1), list(&[Some(1), None])), Some(true));
        assert_eq!(run("=", false, Some(2), list(&[Some(1), None])), None);
        assert_eq!(run("=", false, Some(2), list(&[Some(1)])), Some(false));
        assert_eq!(run("=", false, None, list(&[Some(1)])), None);
        assert_eq!(run("=", false, None, list(&[])), Some(false));
        assert_eq!(run("=", false, Some(1), None), None);
        assert_eq!(run("<>", true, Some(1), list(&[Some(2), None])), None);
        assert_eq!(run("<>", true, Some(1), list(&[Some(1), None])), Some(false));
        assert_eq!(run("<>", true, Some(1), list(&[])), Some(true));
        assert_eq!(run(">", true, Some(5), list(&[Some(1), Some(2)])), Some(true));
    }
}
