//! `x NOT IN (SELECT y ...)` as an operator: the left rows of which no right row is, or may be, an equal.
//!
//! One rule: with no right row at all every left row is shown, whatever its key; else none while a right key is NULL; else those
//! whose key is neither NULL nor found on the right. The step's end decides, so that a right side that is replaced within
//! a step does not show all of the left in between.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, SchemaRef};

use crate::error::SqlError;

use super::super::aggregate::keys::Keys;
use super::super::net::{PART_ROWS, weighted};
use super::super::window::{from_weight_column, with_weight_column};
use super::super::{Operator, Ported, Sink, StepEnd};
use super::rows::{JoinRows, SideUse};
use crate::views::delta::{Delta, batch_of, schema_of};
use crate::views::expression::Expression;
use crate::views::memory::{Limits, batch_bytes};

#[derive(Clone, Debug)]
pub struct NotInSpec {
    /// The keys of the left rows and of the right ones.
    pub keys: [Expression; 2],
    pub key_type: DataType,
    /// Of the left rows.
    pub schema: SchemaRef,
    /// Left rows are never taken away.
    pub grows: bool,
    pub text: String,
}

/// The numbers that decide for all left rows at once.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct RightSide {
    rows: i64,
    nulls: i64,
}

pub struct NotIn {
    spec: Arc<NotInSpec>,
    keys: Keys,
    left: JoinRows,
    /// By key: right rows.
    counts: Vec<i64>,
    /// Keys whose right rows are gone, at most.
    gone: usize,
    right: RightSide,
    /// The number of the NULL key, if one came.
    null_key: Option<u32>,
    /// Left rows of this step.
    held: Vec<Delta>,
    held_bytes: usize,
    /// As it was before the step; by key that the step touched, the rows before it.
    right_before: RightSide,
    counts_before: HashMap<u32, i64>,
    limits: Limits,
}

impl NotIn {
    pub fn new(spec: Arc<NotInSpec>, limits: Limits) -> Result<NotIn, SqlError> {
        let budget = &limits.budget;
        let how = SideUse {
            grows: spec.grows,
            knows_keys: true,
            ..SideUse::default()
        };
        Ok(NotIn {
            keys: Keys::new(std::slice::from_ref(&spec.key_type), budget.clone())?,
            left: JoinRows::new(spec.schema.clone(), how, budget.clone())?,
            counts: Vec::new(),
            gone: 0,
            right: RightSide::default(),
            null_key: None,
            held: Vec::new(),
            held_bytes: 0,
            right_before: RightSide::default(),
            counts_before: HashMap::new(),
            spec,
            limits,
        })
    }

    /// The numbers of a delta's keys.
    fn number(&mut self, side: usize, delta: &Delta) -> Result<Vec<u32>, SqlError> {
        let key = self.spec.keys[side].evaluate(&delta.batch)?;
        self.intern(key, delta.rows())
    }

    fn intern(&mut self, key: ArrayRef, rows: usize) -> Result<Vec<u32>, SqlError> {
        let mut numbers = Vec::new();
        self.keys.intern(std::slice::from_ref(&key), rows, &mut numbers)?;
        if self.null_key.is_none()
            && let Some(nulls) = key.logical_nulls()
        {
            self.null_key = (0..rows).find(|row| nulls.is_null(*row)).map(|row| numbers[row]);
        }
        self.counts.resize(self.keys.len(), 0);
        Ok(numbers)
    }

    fn count(&mut self, key: u32, copies: i64) {
        let count = &mut self.counts[key as usize];
        self.counts_before.entry(key).or_insert(*count);
        *count += copies;
        self.right.rows += copies;
        if self.null_key == Some(key) {
            self.right.nulls += copies;
        }
    }

    fn is_shown(&self, key: u32, right: RightSide, count: i64) -> bool {
        right.rows == 0 || (right.nulls == 0 && self.null_key != Some(key) && count == 0)
    }

    fn was_shown(&self, key: u32) -> bool {
        let count = self.counts_before.get(&key).copied();
        self.is_shown(key, self.right_before, count.unwrap_or(self.counts[key as usize]))
    }

    fn is_shown_now(&self, key: u32) -> bool {
        self.is_shown(key, self.right, self.counts[key as usize])
    }

    /// Shows those left rows again of which the step's right rows change whether they are shown.
    fn show_changes(&self, out: &mut Sink<'_>) -> Result<(), SqlError> {
        let of_all = |right: RightSide| (right.rows == 0, right.nulls == 0);
        let mut changed: Vec<u32> = Vec::new();
        if of_all(self.right) != of_all(self.right_before) {
            let is_changed = |row: &u32| {
                let key = self.left.key(*row);
                self.was_shown(key) != self.is_shown_now(key)
            };
            changed.extend(self.left.live().into_iter().filter(is_changed));
        } else {
            let mut keys: Vec<u32> = self.counts_before.keys().copied().collect();
            keys.sort_unstable();
            keys.retain(|key| self.was_shown(*key) != self.is_shown_now(*key));
            changed = self.left.of_keys(keys.into_iter());
        }
        for rows in changed.chunks(PART_ROWS) {
            let copies = self.left.copies_of(rows).into_iter();
            let weights = rows
                .iter()
                .zip(copies)
                .map(|(row, copies)| match self.is_shown_now(self.left.key(*row)) {
                    true => copies,
                    false => -copies,
                });
            let batch = batch_of(self.spec.schema.clone(), self.left.columns(rows)?, rows.len())?;
            out(weighted(batch, weights.collect()))?;
        }
        Ok(())
    }

    /// Takes left rows, of which those that `shows` says are shown.
    fn take_left(&mut self, delta: &Delta, shows: fn(&NotIn, u32) -> bool, out: &mut Sink<'_>) -> Result<(), SqlError> {
        let numbers = self.number(0, delta)?;
        let keep = numbers.iter().map(|key| Some(shows(self, *key))).collect();
        let shown = delta.filter(&keep)?;
        if !shown.is_empty() {
            let weights = shown.listed_weights();
            out(weighted(shown.batch, weights))?;
        }
        self.left.apply(delta, &numbers, &[])?;
        Ok(())
    }

    fn compact(&mut self) {
        let mut used: Vec<bool> = self.counts.iter().map(|count| *count != 0).collect();
        self.left.mark_keys(&mut used);
        if let Some(key) = self.null_key {
            used[key as usize] = true;
        }
        let mut new_key = vec![u32::MAX; used.len()];
        let kept: Vec<u32> = (0..used.len() as u32).filter(|key| used[*key as usize]).collect();
        for (new, old) in kept.iter().enumerate() {
            new_key[*old as usize] = new as u32;
        }
        self.keys.keep(&kept);
        self.counts = kept.iter().map(|key| self.counts[*key as usize]).collect();
        self.null_key = self.null_key.map(|key| new_key[key as usize]);
        self.left.compact(&new_key, kept.len());
        self.gone = 0;
    }
}

impl Ported for NotIn {
    fn push(&mut self, side: usize, delta: Delta, _out: &mut Sink<'_>) -> Result<(), SqlError> {
        if side == 0 {
            self.held_bytes += batch_bytes(&delta.batch);
            self.held.push(delta);
            return Ok(());
        }
        let numbers = self.number(1, &delta)?;
        delta.each(|row, weight| self.count(numbers[row], weight));
        Ok(())
    }

    /// Of the left side.
    fn rows(&self) -> usize {
        self.left.rows()
    }
}

impl Operator for NotIn {
    fn finish(&mut self, _end: &StepEnd, out: &mut Sink<'_>) -> Result<(), SqlError> {
        let held = std::mem::take(&mut self.held);
        // Rows that leave are judged as before the step, rows that come as after it: none is shown for a moment only.
        for delta in &held {
            if let Some(taken) = part_of(delta, |weight| weight < 0)? {
                self.take_left(&taken, NotIn::was_shown, out)?;
            }
        }
        self.show_changes(out)?;
        let touched = std::mem::take(&mut self.counts_before);
        self.gone += touched.keys().filter(|key| self.counts[**key as usize] == 0).count();
        self.right_before = self.right;
        for delta in &held {
            if let Some(added) = part_of(delta, |weight| weight > 0)? {
                self.take_left(&added, NotIn::is_shown_now, out)?;
            }
        }
        self.held_bytes = 0;
        let keys_are_sparse = self.gone > PART_ROWS && self.gone > self.counts.len() / 2;
        if self.left.is_sparse() || keys_are_sparse {
            self.compact();
        }
        Ok(())
    }

    fn save(&self) -> Result<Vec<RecordBatch>, SqlError> {
        let keys: Vec<u32> = (0..self.counts.len() as u32)
            .filter(|key| self.counts[*key as usize] != 0)
            .collect();
        let counts = keys.iter().map(|key| self.counts[*key as usize]).collect();
        let batch = batch_of(self.key_schema(), self.keys.columns(&keys)?, keys.len())?;
        Ok(vec![with_weight_column(&weighted(batch, counts))?, self.left.save()?])
    }

    fn restore(&mut self, saved: &[RecordBatch]) -> Result<(), SqlError> {
        *self = NotIn::new(self.spec.clone(), self.limits.clone())?;
        let right = from_weight_column(&saved[0], self.key_schema())?;
        let numbers = self.intern(right.batch.column(0).clone(), right.rows())?;
        right.each(|row, weight| self.count(numbers[row], weight));
        self.counts_before = HashMap::new();
        self.right_before = self.right;
        let left = from_weight_column(&saved[1], self.spec.schema.clone())?;
        self.take_left(&left, NotIn::is_shown_now, &mut |_| Ok(()))
    }

    fn bytes(&self) -> usize {
        let before = self.counts_before.capacity() * (size_of::<(u32, i64)>() + 1);
        let counts = self.counts.capacity() * size_of::<i64>();
        self.keys.bytes() + self.left.bytes() + counts + before + self.held_bytes
    }
}

impl NotIn {
    fn key_schema(&self) -> SchemaRef {
        schema_of(vec![Arc::new(Field::new("key", self.spec.key_type.clone(), true))])
    }
}

/// The rows of a delta with such weights.
fn part_of(delta: &Delta, is_meant: fn(i64) -> bool) -> Result<Option<Delta>, SqlError> {
    let Some(weights) = delta.weight_values() else {
        return Ok(is_meant(1).then(|| delta.clone()));
    };
    let keep = weights.iter().map(|weight| Some(is_meant(*weight))).collect();
    Ok(Some(delta.filter(&keep)?).filter(|part| !part.is_empty()))
}
