//! [`ValueCounts`]: how often a group has each value: for count(DISTINCT x), and for the value of a group's only row, which
//! subqueries are read through.
//!
//! One rule: a value is there while its copies are more than 0, so that a row that is replaced leaves the other; more than one
//! row where one may be is an error only when the result is asked for, at the end of a step.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array, UInt64Array};
use arrow::compute;
use arrow::datatypes::{DataType, Int64Type, UInt32Type};

use crate::error::SqlError;
use crate::sql::functions::{SinglePart, more_than_one};

use super::super::memory::Budget;
use super::keys::Keys;
use super::states::{AggregateState, batch};

/// Values that no group has any more are dropped once there are more of them than this, and more than others.
const UNUSED_VALUES_MIN: usize = 1024;

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
    data_type: DataType,
    /// Each value once.
    values: Keys,
    /// By group: copies by the number of the value.
    groups: Vec<BTreeMap<u32, i64>>,
    entries: usize,
    budget: Arc<Budget>,
}

impl ValueCounts {
    pub fn new(shown: ShownValue, data_type: DataType, budget: Arc<Budget>) -> Result<ValueCounts, SqlError> {
        let types = std::slice::from_ref(&data_type);
        let values = match shown {
            ShownValue::Single(_) => Keys::exact(types, budget.clone())?,
            ShownValue::DistinctCount => Keys::new(types, budget.clone())?,
        };
        Ok(ValueCounts {
            values,
            shown,
            data_type,
            groups: Vec::new(),
            entries: 0,
            budget,
        })
    }

    fn rows(&self, group: u32) -> i64 {
        self.groups[group as usize].values().sum()
    }

    /// Forgets values that no group has.
    fn drop_unused(&mut self) {
        let mut used = vec![false; self.values.len()];
        for value in self.groups.iter().flat_map(BTreeMap::keys) {
            used[*value as usize] = true;
        }
        let kept: Vec<u32> = (0..used.len() as u32).filter(|value| used[*value as usize]).collect();
        self.values.keep(&kept);
        for group in &mut self.groups {
            let moved = std::mem::take(group).into_iter().map(|(value, copies)| {
                let new = kept.binary_search(&value).expect("it is used");
                (new as u32, copies)
            });
            *group = moved.collect();
        }
    }
}

impl AggregateState for ValueCounts {
    fn resize(&mut self, groups: usize) {
        self.groups.resize_with(groups, BTreeMap::new);
    }

    fn update(&mut self, groups: &[u32], values: &ArrayRef, weights: Option<&[i64]>) -> Result<(), SqlError> {
        if self.values.len() > UNUSED_VALUES_MIN && self.values.len() > 2 * self.entries {
            self.drop_unused();
        }
        let mut numbers = Vec::new();
        self.values
            .intern(std::slice::from_ref(values), values.len(), &mut numbers)?;
        let nulls = match self.shown {
            ShownValue::Single(_) => None,
            ShownValue::DistinctCount => values.logical_nulls(),
        };
        for (row, (group, value)) in groups.iter().zip(numbers).enumerate() {
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                continue;
            }
            let weight = weights.map_or(1, |weights| weights[row]);
            let group = &mut self.groups[*group as usize];
            let before = group.len();
            let copies = group.entry(value).or_insert(0);
            *copies += weight;
            if *copies == 0 {
                group.remove(&value);
            }
            self.entries = self.entries + group.len() - before;
        }
        Ok(())
    }

    fn finish(&self, groups: &[u32]) -> Result<ArrayRef, SqlError> {
        let part = match self.shown {
            ShownValue::Single(part) => part,
            ShownValue::DistinctCount => {
                let counts = groups.iter().map(|group| self.groups[*group as usize].len() as i64);
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
        let first = |group: &u32| self.groups[*group as usize].keys().next().copied();
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
        self.groups = groups
            .iter()
            .map(|group| std::mem::take(&mut self.groups[*group as usize]))
            .collect();
        self.entries = self.groups.iter().map(BTreeMap::len).sum();
    }

    fn save(&self) -> Result<RecordBatch, SqlError> {
        let (mut groups, mut values, mut counts) = (Vec::new(), Vec::new(), Vec::new());
        for (group, copies) in self.groups.iter().enumerate() {
            for (value, count) in copies {
                groups.push(group as u32);
                values.push(*value);
                counts.push(*count);
            }
        }
        batch(vec![
            ("group", Arc::new(UInt32Array::from(groups))),
            ("value", self.values.columns(&values)?.remove(0)),
            ("count", Arc::new(Int64Array::from(counts))),
        ])
    }

    fn restore(&mut self, saved: &RecordBatch, groups: usize) -> Result<(), SqlError> {
        *self = ValueCounts::new(self.shown, self.data_type.clone(), self.budget.clone())?;
        self.resize(groups);
        let of = saved.column(0).as_primitive::<UInt32Type>().values();
        let counts = saved.column(2).as_primitive::<Int64Type>().values();
        self.update(of, saved.column(1), Some(counts))
    }

    fn bytes(&self) -> usize {
        let entry = size_of::<(u32, i64)>();
        self.values.bytes() + self.groups.capacity() * size_of::<BTreeMap<u32, i64>>() + self.entries * entry
    }
}
