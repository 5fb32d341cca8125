//! [`Net`]: the changes of a step, each distinct row once.
//!
//! One rule: the output is the sum of the input. A row that came and went within the step does not come out, so that
//! nothing is computed of it: an expression may fail on a row that no query would ever see.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};

use crate::error::SqlError;

use super::Sink;
use super::aggregate::keys::Keys;
use crate::views::delta::{Delta, batch_of};
use crate::views::memory::Budget;

/// Rows that come out together, at most.
pub const PART_ROWS: usize = 8192;

/// Which of the changes are meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    Taken,
    Added,
}

/// Changes of the present step.
pub struct Net {
    schema: SchemaRef,
    rows: Keys,
    /// By distinct row.
    weights: Vec<i64>,
    budget: Arc<Budget>,
}

impl Net {
    pub fn new(schema: SchemaRef, budget: Arc<Budget>) -> Result<Net, SqlError> {
        Ok(Net {
            rows: exact_rows(&schema, budget.clone())?,
            weights: Vec::new(),
            schema,
            budget,
        })
    }

    pub fn add(&mut self, delta: &Delta) -> Result<(), SqlError> {
        let mut numbers = Vec::new();
        self.rows.intern(delta.batch.columns(), delta.rows(), &mut numbers)?;
        self.weights.resize(self.rows.len(), 0);
        delta.each(|row, weight| self.weights[numbers[row] as usize] += weight);
        Ok(())
    }

    /// The rows that are taken away, or those that are added.
    pub fn part(&self, direction: Direction, out: &mut Sink<'_>) -> Result<(), SqlError> {
        let is_meant = |weight: i64| match direction {
            Direction::Taken => weight < 0,
            Direction::Added => weight > 0,
        };
        let changed: Vec<u32> = (0..self.weights.len() as u32)
            .filter(|row| is_meant(self.weights[*row as usize]))
            .collect();
        for rows in changed.chunks(PART_ROWS) {
            let batch = batch_of(self.schema.clone(), self.rows.columns(rows)?, rows.len())?;
            let weights = rows.iter().map(|row| self.weights[*row as usize]);
            out(weighted(batch, weights.collect()))?;
        }
        Ok(())
    }

    /// All of them, those that are taken away first.
    pub fn all(&self, out: &mut Sink<'_>) -> Result<(), SqlError> {
        self.part(Direction::Taken, out)?;
        self.part(Direction::Added, out)
    }

    /// Begins the next step.
    pub fn clear(&mut self) -> Result<(), SqlError> {
        if !self.weights.is_empty() {
            *self = Net::new(self.schema.clone(), self.budget.clone())?;
        }
        Ok(())
    }

    pub fn bytes(&self) -> usize {
        self.rows.bytes() + self.weights.capacity() * size_of::<i64>()
    }
}

/// Numbers of whole rows.
pub fn exact_rows(schema: &SchemaRef, budget: Arc<Budget>) -> Result<Keys, SqlError> {
    let types: Vec<DataType> = schema.fields().iter().map(|field| field.data_type().clone()).collect();
    Keys::exact(&types, budget)
}

/// A delta of these rows, in the shortest form.
pub fn weighted(batch: RecordBatch, weights: Vec<i64>) -> Delta {
    match weights.iter().all(|weight| *weight == 1) {
        true => Delta::added(batch),
        false => Delta::weighted(batch, Int64Array::from(weights)),
    }
}
