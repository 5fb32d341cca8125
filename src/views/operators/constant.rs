//! [`ConstantRows`]: rows that stand in the definition itself, such as VALUES.
//!
//! One rule: they come with the first step, and never again.

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Field};

use std::sync::Arc;

use crate::error::SqlError;

use super::{Operator, Sink, StepEnd};
use crate::views::delta::{Delta, batch_of, schema_of};
use crate::views::memory::batch_bytes;

pub struct ConstantRows {
    rows: RecordBatch,
    /// They came.
    given: bool,
}

impl ConstantRows {
    pub fn new(rows: RecordBatch) -> ConstantRows {
        ConstantRows { rows, given: false }
    }
}

impl Operator for ConstantRows {
    fn finish(&mut self, _end: &StepEnd, out: &mut Sink<'_>) -> Result<(), SqlError> {
        match std::mem::replace(&mut self.given, true) {
            true => Ok(()),
            false => out(Delta::added(self.rows.clone())),
        }
    }

    fn save(&self) -> Result<Vec<RecordBatch>, SqlError> {
        let given: ArrayRef = Arc::new(BooleanArray::from(vec![self.given]));
        let schema = schema_of(vec![Arc::new(Field::new("given", DataType::Boolean, false))]);
        Ok(vec![batch_of(schema, vec![given], 1)?])
    }

    fn restore(&mut self, saved: &[RecordBatch]) -> Result<(), SqlError> {
        self.given = saved[0].column(0).as_boolean().value(0);
        Ok(())
    }

    fn bytes(&self) -> usize {
        batch_bytes(&self.rows)
    }
}
