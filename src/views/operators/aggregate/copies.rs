//! [`GroupCopies`]: how often each group has each value, or each row of several columns.
//!
//! One rule: a value is there while its copies are more than 0, so that a row that is replaced leaves the other. Copies may be
//! negative within a step, in which a row may be taken away before it is added (V4 holds at its end).

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Int64Type, UInt32Type};

use crate::error::SqlError;

use super::keys::Keys;
use crate::views::delta::{batch_of, schema_of};
use crate::views::memory::Budget;

/// Values that no group has any more are dropped once there are more of them than this, and more than others.
const UNUSED_VALUES_MIN: usize = 1024;

/// Whether values that are equal are one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sameness {
    Equal,
    /// No: each form is a value of its own, and comes back as it was.
    Exact,
}

pub struct GroupCopies {
    types: Vec<DataType>,
    sameness: Sameness,
    /// Each value once.
    values: Keys,
    /// By group: copies by the number of the value.
    groups: Vec<BTreeMap<u32, i64>>,
    entries: usize,
    budget: Arc<Budget>,
}

impl GroupCopies {
    pub fn new(types: &[DataType], sameness: Sameness, budget: Arc<Budget>) -> Result<GroupCopies, SqlError> {
        let values = match sameness {
            Sameness::Exact => Keys::exact(types, budget.clone())?,
            Sameness::Equal => Keys::new(types, budget.clone())?,
        };
        Ok(GroupCopies {
            types: types.to_vec(),
            sameness,
            values,
            groups: Vec::new(),
            entries: 0,
            budget,
        })
    }

    /// Makes room for `groups` groups.
    pub fn resize(&mut self, groups: usize) {
        self.groups.resize_with(groups, BTreeMap::new);
    }

    /// Adds and takes away values, but those that are `skipped`. Calls `change(row, copies before, copies after)` for each.
    pub fn update(
        &mut self,
        groups: &[u32],
        columns: &[ArrayRef],
        skipped: Option<&NullBuffer>,
        weights: Option<&[i64]>,
        mut change: impl FnMut(usize, i64, i64),
    ) -> Result<(), SqlError> {
        if self.values.len() > UNUSED_VALUES_MIN && self.values.len() > 2 * self.entries {
            self.drop_unused();
        }
        let mut numbers = Vec::new();
        self.values.intern(columns, groups.len(), &mut numbers)?;
        for (row, (group, value)) in groups.iter().zip(numbers).enumerate() {
            if skipped.is_some_and(|nulls| nulls.is_null(row)) {
                continue;
            }
            let weight = weights.map_or(1, |weights| weights[row]);
            let group = &mut self.groups[*group as usize];
            let entries = group.len();
            let copies = group.entry(value).or_insert(0);
            let before = *copies;
            *copies += weight;
            if *copies == 0 {
                group.remove(&value);
            }
            self.entries = self.entries + group.len() - entries;
            change(row, before, before + weight);
        }
        Ok(())
    }

    /// A group's values by number, in the order in which they first came, and their copies.
    pub fn of(&self, group: u32) -> &BTreeMap<u32, i64> {
        &self.groups[group as usize]
    }

    /// The columns of values.
    pub fn columns(&self, values: &[u32]) -> Result<Vec<ArrayRef>, SqlError> {
        self.values.columns(values)
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

    /// Keeps only `groups` (rising), renumbered from 0.
    pub fn keep(&mut self, groups: &[u32]) {
        self.groups = groups
            .iter()
            .map(|group| std::mem::take(&mut self.groups[*group as usize]))
            .collect();
        self.entries = self.groups.iter().map(BTreeMap::len).sum();
    }

    /// Group, columns and copies of each entry.
    pub fn save(&self) -> Result<RecordBatch, SqlError> {
        let (mut groups, mut values, mut counts) = (Vec::new(), Vec::new(), Vec::new());
        for (group, copies) in self.groups.iter().enumerate() {
            for (value, count) in copies {
                groups.push(group as u32);
                values.push(*value);
                counts.push(*count);
            }
        }
        let rows = groups.len();
        let mut columns: Vec<ArrayRef> = vec![Arc::new(UInt32Array::from(groups))];
        columns.extend(self.values.columns(&values)?);
        columns.push(Arc::new(Int64Array::from(counts)));
        let fields = columns
            .iter()
            .enumerate()
            .map(|(at, column)| Arc::new(Field::new(format!("c{at}"), column.data_type().clone(), true)));
        batch_of(schema_of(fields.collect()), columns, rows)
    }

    /// Takes the state from `save`, for `groups` groups.
    pub fn restore(&mut self, saved: &RecordBatch, groups: usize) -> Result<(), SqlError> {
        *self = GroupCopies::new(&self.types, self.sameness, self.budget.clone())?;
        self.resize(groups);
        let (of, columns, counts) = saved_entries(saved);
        self.update(of, columns, None, Some(counts), |_, _, _| {})
    }

    pub fn bytes(&self) -> usize {
        let entry = size_of::<(u32, i64)>();
        self.values.bytes() + self.groups.capacity() * size_of::<BTreeMap<u32, i64>>() + self.entries * entry
    }
}

/// The groups, columns and copies that [`GroupCopies::save`] wrote.
pub fn saved_entries(saved: &RecordBatch) -> (&[u32], &[ArrayRef], &[i64]) {
    let last = saved.num_columns() - 1;
    let groups = saved.column(0).as_primitive::<UInt32Type>().values();
    let counts = saved.column(last).as_primitive::<Int64Type>().values();
    (groups, &saved.columns()[1..last], counts)
}
