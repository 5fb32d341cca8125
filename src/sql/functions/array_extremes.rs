//! `min` and `max` of arrays of any dimensions, by their keys.
//!
//! One rule: of arrays that are equal the first one stays. Not here: other types (`extremes.rs`).

use std::collections::VecDeque;

use arrow::array::{Array, ArrayRef, AsArray};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;

use super::arrays::shaped_keys;
use super::fail;

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
