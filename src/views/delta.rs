//! The data between operators: rows with weights, a Z-set in Arrow form.
//!
//! One rule: a delta is unordered, and a row with weight w means |w| copies of it added (w > 0) or taken away (w < 0).
//! No weights at all means that every row was added once: the append-only case pays nothing for the others.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute;
use arrow::datatypes::SchemaRef;

use crate::error::SqlError;

/// Changed rows of a relation.
#[derive(Clone, Debug)]
pub struct Delta {
    pub batch: RecordBatch,
    /// One per row, never null, never 0; `None`: all +1.
    pub weights: Option<Int64Array>,
}

impl Delta {
    /// Rows that were added once each.
    pub fn added(batch: RecordBatch) -> Delta {
        Delta { batch, weights: None }
    }

    pub fn weighted(batch: RecordBatch, weights: Int64Array) -> Delta {
        assert_eq!(batch.num_rows(), weights.len(), "one weight per row");
        assert_eq!(weights.null_count(), 0, "weights are never null");
        Delta {
            batch,
            weights: Some(weights),
        }
    }

    pub fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    pub fn is_empty(&self) -> bool {
        self.batch.num_rows() == 0
    }

    /// The weights as plain numbers, `None` if all are +1.
    pub fn weight_values(&self) -> Option<&[i64]> {
        self.weights.as_ref().map(|weights| weights.values().as_ref())
    }

    /// Whether rows are taken away.
    pub fn takes(&self) -> bool {
        self.weight_values()
            .is_some_and(|weights| weights.iter().any(|weight| *weight < 0))
    }

    /// A weight for each row.
    pub fn listed_weights(&self) -> Vec<i64> {
        match self.weight_values() {
            Some(weights) => weights.to_vec(),
            None => vec![1; self.rows()],
        }
    }

    /// The rows where `keep` is true (null counts as false).
    pub fn filter(&self, keep: &BooleanArray) -> Result<Delta, SqlError> {
        let batch = compute::filter_record_batch(&self.batch, keep)?;
        let weights = match &self.weights {
            None => None,
            Some(weights) => {
                let kept = compute::filter(weights, keep)?;
                Some(int64(&kept))
            }
        };
        Ok(Delta { batch, weights })
    }

    /// The rows at `rows`, in that order.
    pub fn take(&self, rows: &UInt32Array) -> Result<Delta, SqlError> {
        Ok(Delta {
            batch: take_rows(&self.batch, rows)?,
            weights: self.take_weights(rows)?,
        })
    }

    /// The weights of the rows at `rows`, in that order.
    pub fn take_weights(&self, rows: &UInt32Array) -> Result<Option<Int64Array>, SqlError> {
        match &self.weights {
            None => Ok(None),
            Some(weights) => {
                let taken = compute::take(weights, rows, None)?;
                Ok(Some(int64(&taken)))
            }
        }
    }

    pub fn slice(&self, offset: usize, length: usize) -> Delta {
        Delta {
            batch: self.batch.slice(offset, length),
            weights: self.weights.as_ref().map(|weights| weights.slice(offset, length)),
        }
    }

    /// The same rows under another schema of the same column types.
    pub fn with_columns(self, schema: SchemaRef, columns: Vec<ArrayRef>) -> Result<Delta, SqlError> {
        let batch = batch_of(schema, columns, self.batch.num_rows())?;
        Ok(Delta {
            batch,
            weights: self.weights,
        })
    }

    /// Calls `row(index, weight)` for each row.
    pub fn each(&self, mut row: impl FnMut(usize, i64)) {
        match self.weight_values() {
            None => (0..self.rows()).for_each(|index| row(index, 1)),
            Some(weights) => weights
                .iter()
                .enumerate()
                .for_each(|(index, weight)| row(index, *weight)),
        }
    }
}

/// A batch that may have no columns at all, then only a number of rows.
pub fn batch_of(schema: SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, SqlError> {
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema, columns, &options).map_err(SqlError::from)
}

/// The rows of a batch at `rows`, in that order.
pub fn take_rows(batch: &RecordBatch, rows: &UInt32Array) -> Result<RecordBatch, SqlError> {
    let columns = compute::take_arrays(batch.columns(), rows, None)?;
    batch_of(batch.schema(), columns, rows.len())
}

/// Concatenates batches of one schema; the given rows, if there is but one batch, are not copied.
pub fn concat(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<RecordBatch, SqlError> {
    match batches {
        [one] => Ok(one.clone()),
        _ => compute::concat_batches(schema, batches).map_err(SqlError::from),
    }
}

fn int64(array: &ArrayRef) -> Int64Array {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    array.as_primitive::<Int64Type>().clone()
}

/// Weights, all `weight`.
pub fn constant_weights(weight: i64, rows: usize) -> Int64Array {
    Int64Array::from(vec![weight; rows])
}

/// Each row as `a|b|c`, NULL as `-`.
#[cfg(test)]
pub fn display_rows(batch: &RecordBatch) -> Vec<String> {
    use arrow::util::display::{ArrayFormatter, FormatOptions};
    let options = FormatOptions::default().with_null("-");
    let formatters: Vec<_> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options).expect("printable"))
        .collect();
    (0..batch.num_rows())
        .map(|row| {
            let values: Vec<String> = formatters.iter().map(|f| f.value(row).to_string()).collect();
            values.join("|")
        })
        .collect()
}

/// A schema shared by reference, for brevity where fields are listed.
pub fn schema_of(fields: Vec<arrow::datatypes::FieldRef>) -> SchemaRef {
    Arc::new(arrow::datatypes::Schema::new(fields))
}
