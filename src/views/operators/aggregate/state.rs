//! The interface of an aggregate's states, for all groups.
//!
//! One rule: a group is a number; what is kept for it, and how, is the state's own.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, LargeBinaryArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};

use crate::error::SqlError;

use super::sessions::JoinedGroups;

/// One aggregate's states.
pub trait AggregateState: Send {
    /// Makes room for `groups` groups, new ones empty.
    fn resize(&mut self, groups: usize);
    /// Adds the values of a batch's rows, in the columns of the arguments, to the states of the rows' groups.
    fn update(&mut self, groups: &[u32], columns: &[ArrayRef], weights: Option<&[i64]>) -> Result<(), SqlError>;
    /// Adds the states of other groups, each saved as a row, to those of `groups`. Only where [`merges`] says so.
    fn merge(&mut self, _groups: &[u32], _saved: &RecordBatch) -> Result<(), SqlError> {
        panic!("states that merge say so");
    }
    /// Adds states to others, which take their place, one after another. Only where [`merges`] says so.
    fn join(&mut self, _joined: &[JoinedGroups]) -> Result<(), SqlError> {
        panic!("states that merge say so");
    }
    /// The results of `groups`.
    fn finish(&self, groups: &[u32]) -> Result<ArrayRef, SqlError>;
    /// Keeps only `groups` (rising), renumbered from 0.
    fn keep(&mut self, groups: &[u32]);
    fn save(&self) -> Result<RecordBatch, SqlError>;
    /// Takes the state from `save`, for `groups` groups.
    fn restore(&mut self, saved: &RecordBatch, groups: usize) -> Result<(), SqlError>;
    /// Bytes of memory held, about.
    fn bytes(&self) -> usize;
}

pub fn batch(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch, SqlError> {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, column)| Field::new(*name, column.data_type().clone(), true))
        .collect();
    let arrays = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(SqlError::from)
}

/// A `Utf8`, `Binary` or `LargeBinary` array of values that came from one.
pub fn byte_array<'a>(
    data_type: &DataType,
    values: impl Iterator<Item = Option<&'a [u8]>>,
) -> Result<ArrayRef, SqlError> {
    if *data_type == DataType::Utf8 {
        let texts =
            values.map(|value| value.map(|bytes| std::str::from_utf8(bytes).expect("it came from a Utf8 array")));
        return Ok(Arc::new(StringArray::from_iter(texts)));
    }
    if *data_type == DataType::LargeBinary {
        return Ok(Arc::new(LargeBinaryArray::from_iter(values)));
    }
    Ok(Arc::new(BinaryArray::from_iter(values)))
}
