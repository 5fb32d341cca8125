//! Grouping sets: each row once for each set of keys, for the aggregate above, which groups by all keys and the set's number.
//!
//! One rule: a key that the set leaves out is NULL, and the number tells it from a key that is NULL itself. The row's own
//! columns stand behind, unchanged: aggregates are of them.

use std::sync::Arc;

use arrow::array::{ArrayRef, new_null_array};
use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;

use crate::error::SqlError;

use crate::views::delta::Delta;
use crate::views::expression::Expression;

#[derive(Clone, Debug)]
pub struct ExpandSpec {
    pub keys: Vec<Expression>,
    /// By set: whether it has a key, and its number.
    pub sets: Vec<(Vec<bool>, ScalarValue)>,
    /// Keys, the set's number, the columns of the input.
    pub schema: SchemaRef,
    /// No key can fail.
    pub is_infallible: bool,
    pub text: String,
}

impl ExpandSpec {
    /// The rows of each set, one set after another.
    pub fn parts(self: &Arc<Self>, delta: &Delta) -> Result<impl Iterator<Item = Result<Delta, SqlError>>, SqlError> {
        let keys = self.keys.iter().map(|key| key.evaluate(&delta.batch));
        let keys: Vec<ArrayRef> = keys.collect::<Result<_, _>>()?;
        let (spec, delta, rows) = (self.clone(), delta.clone(), delta.rows());
        Ok((0..self.sets.len()).map(move |set| {
            let (has, number) = &spec.sets[set];
            let mut columns = Vec::with_capacity(spec.schema.fields().len());
            for (key, has) in keys.iter().zip(has) {
                columns.push(match has {
                    true => key.clone(),
                    false => new_null_array(key.data_type(), rows),
                });
            }
            columns.push(number.to_array_of_size(rows)?);
            columns.extend(delta.batch.columns().iter().cloned());
            delta.clone().with_columns(spec.schema.clone(), columns)
        }))
    }

    /// One line for EXPLAIN.
    pub fn describe(&self) -> String {
        format!("Grouping sets: {}", self.text)
    }
}
