//! Aggregates over how often a group has each value ([`GroupCopies`]): count(DISTINCT x), the value of a group's only row,
//! which subqueries are read through ([`ValueCounts`]), and other aggregates with DISTINCT ([`DistinctValues`]).
//!
//! One rule: more than one row where one may be is an error only when the result is asked for, at the end of a step.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, UInt32Array, UInt64Array};
use arrow::compute;
use arrow::datatypes::DataType;

use crate::error::SqlError;
use crate::sql::functions::{SinglePart, more_than_one};

use super::copies::{GroupCopies, Sameness, saved_entries};
use super::state::AggregateState;
use crate::views::memory::Budget;

/// The result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShownValue {
    /// Of the rows, NULLs included.
    Single(SinglePart),
    /// The number of values, NULL left out.
    DistinctCount,
}

pub struct ValueCounts {
    shown: ShownValue,
    values: GroupCopies,
}

impl ValueCounts {
    pub fn new(shown: ShownValue, data_type: DataType, budget: Arc<Budget>) -> Result<ValueCounts, SqlError> {
        let sameness = match shown {
            ShownValue::Single(_) => Sameness::Exact,
            ShownValue::DistinctCount => Sameness::Equal,
        };
        Ok(ValueCounts {
            values: GroupCopies::new(std::slice::from_ref(&data_type), sameness, budget)?,
            shown,
        })
    }

    fn rows(&self, group: u32) -> i64 {
        self.values.of(group).values().sum()
    }
}

impl AggregateState for ValueCounts {
    fn resize(&mut self, groups: usize) {
        self.values.resize(groups);
    }

    fn update(&mut self, groups: &[u32], columns: &[ArrayRef], weights: Option<&[i64]>) -> Result<(), SqlError> {
        let nulls = match self.shown {
            ShownValue::Single(_) => None,
            ShownValue::DistinctCount => columns[0].logical_nulls(),
        };
        self.values
            .update(groups, columns, nulls.as_ref(), weights, |_, _, _| {})
    }

    fn finish(&self, groups: &[u32]) -> Result<ArrayRef, SqlError> {
        let part = match self.shown {
            ShownValue::Single(part) => part,
            ShownValue::DistinctCount => {
                let counts = groups.iter().map(|group| self.values.of(*group).len() as i64);
                return Ok(Arc::new(Int64Array::from_iter_values(counts)));
            }
        };
        if part == SinglePart::Rows {
            let rows = groups.iter().map(|group| self.rows(*group).max(0) as u64);
            return Ok(Arc::new(UInt64Array::from_iter_values(rows)));
        }
        if part == SinglePart::Checked && groups.iter().any(|group| self.rows(*group) > 1) {
            return Err(more_than_one());
        }
        let first = |group: &u32| self.values.of(*group).keys().next().copied();
        let wanted: Vec<u32> = groups.iter().filter_map(first).collect();
        let values = self.values.columns(&wanted)?.remove(0);
        let mut next = 0;
        let places = groups.iter().map(|group| {
            first(group).map(|_| {
                next += 1;
                next - 1
            })
        });
        let places: UInt32Array = places.collect();
        Ok(compute::take(&values, &places, None)?)
    }

    fn keep(&mut self, groups: &[u32]) {
        self.values.keep(groups);
    }

    fn save(&self) -> Result<RecordBatch, SqlError> {
        self.values.save()
    }

    fn restore(&mut self, saved: &RecordBatch, groups: usize) -> Result<(), SqlError> {
        self.values.restore(saved, groups)
    }

    fn bytes(&self) -> usize {
        self.values.bytes()
    }
}

/// An aggregate of each value once: it is told of values that come or go.
pub struct DistinctValues {
    values: GroupCopies,
    of_each: Box<dyn AggregateState>,
}

impl DistinctValues {
    pub fn new(
        data_type: &DataType,
        of_each: Box<dyn AggregateState>,
        budget: Arc<Budget>,
    ) -> Result<DistinctValues, SqlError> {
        Ok(DistinctValues {
            values: GroupCopies::new(std::slice::from_ref(data_type), Sameness::Equal, budget)?,
            of_each,
        })
    }
}

impl AggregateState for DistinctValues {
    fn resize(&mut self, groups: usize) {
        self.values.resize(groups);
        self.of_each.resize(groups);
    }

    fn update(&mut self, groups: &[u32], columns: &[ArrayRef], weights: Option<&[i64]>) -> Result<(), SqlError> {
        let nulls = columns[0].logical_nulls();
        let (mut rows, mut changes) = (Vec::new(), Vec::new());
        self.values
            .update(groups, columns, nulls.as_ref(), weights, |row, before, after| {
                if (before > 0) != (after > 0) {
                    rows.push(row as u32);
                    changes.push(if after > 0 { 1 } else { -1 });
                }
            })?;
        if rows.is_empty() {
            return Ok(());
        }
        let of: Vec<u32> = rows.iter().map(|row| groups[*row as usize]).collect();
        let values = compute::take(&columns[0], &UInt32Array::from(rows), None)?;
        let changes = changes.contains(&-1).then_some(changes);
        self.of_each.update(&of, &[values], changes.as_deref())
    }

    fn finish(&self, groups: &[u32]) -> Result<ArrayRef, SqlError> {
        self.of_each.finish(groups)
    }

    fn keep(&mut self, groups: &[u32]) {
        self.values.keep(groups);
        self.of_each.keep(groups);
    }

    fn save(&self) -> Result<RecordBatch, SqlError> {
        self.values.save()
    }

    /// Into a fresh state.
    fn restore(&mut self, saved: &RecordBatch, groups: usize) -> Result<(), SqlError> {
        self.resize(groups);
        let (of, columns, counts) = saved_entries(saved);
        self.update(of, columns, Some(counts))
    }

    fn bytes(&self) -> usize {
        self.values.bytes() + self.of_each.bytes()
    }
}
