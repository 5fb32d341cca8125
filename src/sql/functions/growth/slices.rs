//! [`BatchSlices`]: computes a batch in parts if its columns would be too large.
//!
//! One rule: a part of one row is made whole, or fails by its own bounds.

use arrow::array::ArrayRef;
use datafusion::common::Result;
use datafusion::logical_expr::ColumnarValue;

use super::account::{Mode, mode, with_mode};
use super::estimate::scalar_bytes;
use super::{BATCH_BYTES_MAX, SLICE_BYTES, fail, too_large_together};

/// The rows of a batch that are still to be computed.
#[derive(Debug)]
pub struct BatchSlices {
    next: usize,
    rows: usize,
    /// Rows that were not too many the last time.
    step: usize,
}

impl BatchSlices {
    /// `step` rows at a time at most.
    pub fn new(rows: usize, step: usize) -> BatchSlices {
        BatchSlices {
            next: 0,
            rows,
            step: step.clamp(1, rows.max(1)),
        }
    }

    /// Computes the next part: `compute` is given its first row and number of rows, fewer and fewer until they are not
    /// too many. `None` behind the last part; a batch without rows has one part.
    pub fn next<T, E>(
        &mut self,
        mut compute: impl FnMut(usize, usize) -> Result<T, E>,
        refused: impl Fn(&E) -> bool,
    ) -> Option<Result<T, E>> {
        if self.next == self.rows && self.next > 0 {
            return None;
        }
        loop {
            let length = self.step.min(self.rows - self.next);
            let made = with_mode(Mode::Sliced, || compute(self.next, length));
            match made {
                Err(error) if length > 1 && refused(&error) => self.step = length / 2,
                made => {
                    self.next += length;
                    if self.rows == 0 {
                        // The one part of an empty batch.
                        (self.next, self.rows) = (1, 1);
                    }
                    return Some(made);
                }
            }
        }
    }
}

/// A value as an array of `rows` rows, if they are not too large together.
pub fn spread(value: ColumnarValue, rows: usize) -> Result<ArrayRef> {
    if let ColumnarValue::Scalar(scalar) = &value {
        let most = match mode() {
            Mode::Sliced => SLICE_BYTES,
            Mode::Whole | Mode::Folded => BATCH_BYTES_MAX,
        };
        if rows > 1 && scalar_bytes(scalar).saturating_mul(rows as u64) > most {
            return Err(fail(too_large_together("the plan")));
        }
    }
    value.into_array(rows)
}
