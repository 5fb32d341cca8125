//! `min`, `max`, `greatest` and `least` of arrays of any dimensions, by their keys.
//!
//! One rule: of arrays that are equal the first one stays. Not here: other types (`extremes.rs`).

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryViewArray};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    Accumulator, ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::arrays::shaped_keys;
use super::{fail, over_columns};

/// The least or greatest array of a frame of rows.
#[derive(Debug)]
pub struct ArrayExtremes {
    greatest: bool,
    /// Rows that came and rows that left again, from the front.
    came: u64,
    left: u64,
    /// The best row, then the best of those after it, and so on: number, key, value.
    best: VecDeque<(u64, Vec<u8>, Vec<u8>)>,
}

impl ArrayExtremes {
    pub fn new(greatest: bool) -> ArrayExtremes {
        ArrayExtremes {
            greatest,
            came: 0,
            left: 0,
            best: VecDeque::new(),
        }
    }
}

impl Accumulator for ArrayExtremes {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let keys = shaped_keys(&columns[0]).map_err(fail)?;
        let (keys, values) = (keys.as_binary::<i32>(), columns[0].as_binary_view());
        for row in 0..values.len() {
            let number = self.came;
            self.came += 1;
            if values.is_null(row) {
                continue;
            }
            let key = keys.value(row);
            while let Some((_, last, _)) = self.best.back()
                && match self.greatest {
                    true => last.as_slice() < key,
                    false => last.as_slice() > key,
                }
            {
                self.best.pop_back();
            }
            self.best.push_back((number, key.to_vec(), values.value(row).to_vec()));
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::BinaryView(
            self.best.front().map(|(_, _, value)| value.clone()),
        ))
    }

    fn size(&self) -> usize {
        let bytes = self.best.iter().map(|(_, key, value)| 56 + key.len() + value.len());
        size_of::<ArrayExtremes>() + bytes.sum::<usize>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn retract_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        self.left += columns[0].len() as u64;
        while self.best.front().is_some_and(|(row, ..)| *row < self.left) {
            self.best.pop_front();
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }
}

/// `greatest` or `least` of arrays.
pub fn array_extreme(name: &str) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(ArrayExtreme {
        greatest: name == "greatest",
        signature: Signature::variadic_any(Volatility::Immutable),
    }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ArrayExtreme {
    greatest: bool,
    signature: Signature,
}

impl ScalarUDFImpl for ArrayExtreme {
    fn name(&self) -> &str {
        if self.greatest { "greatest" } else { "least" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        over_columns(&args, |columns, rows| {
            let keys = columns.iter().map(shaped_keys).collect::<Result<Vec<ArrayRef>, _>>()?;
            let best = (0..rows).map(|row| {
                let mut best: Option<(&[u8], &[u8])> = None;
                for (keys, values) in keys.iter().zip(columns).filter(|(_, values)| values.is_valid(row)) {
                    let (key, value) = (keys.as_binary::<i32>().value(row), values.as_binary_view().value(row));
                    let wins = best.is_none_or(|(best, _)| match self.greatest {
                        true => key > best,
                        false => key < best,
                    });
                    if wins {
                        best = Some((key, value));
                    }
                }
                best.map(|(_, value)| value)
            });
            Ok(Arc::new(best.collect::<BinaryViewArray>()))
        })
    }
}
