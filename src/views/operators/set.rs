//! INTERSECT ALL and EXCEPT ALL as an operator: how often each row is on the left and on the right.
//!
//! One rule: of a row that is l times on the left and r times on the right, INTERSECT ALL shows min(l, r) copies and EXCEPT ALL
//! max(l - r, 0). The step's changes of these numbers come out when it ends.
//!
//! Not here: the forms without ALL, which are joins of distinct rows (`join`).

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::error::SqlError;

use super::aggregate::keys::Keys;
use super::net::{PART_ROWS, exact_rows, weighted};
use super::window::{from_weight_column, with_weight_column};
use super::{Operator, Ported, Sink, StepEnd};
use crate::views::delta::{Delta, batch_of};
use crate::views::memory::Budget;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetKind {
    IntersectAll,
    ExceptAll,
}

#[derive(Clone, Debug)]
pub struct SetSpec {
    pub kind: SetKind,
    pub schema: SchemaRef,
}

impl SetSpec {
    /// One line for EXPLAIN.
    pub fn describe(&self) -> String {
        match self.kind {
            SetKind::IntersectAll => "Intersect all".to_string(),
            SetKind::ExceptAll => "Except all".to_string(),
        }
    }
}

pub struct SetCounts {
    spec: Arc<SetSpec>,
    rows: Keys,
    /// By row: copies on the left, copies on the right.
    counts: Vec<[i64; 2]>,
    /// The rows that the step touched, with the copies that were shown before it.
    touched: HashMap<u32, i64>,
    /// Rows on neither side, at least so many.
    gone: usize,
    budget: Arc<Budget>,
}

impl SetCounts {
    pub fn new(spec: Arc<SetSpec>, budget: Arc<Budget>) -> Result<SetCounts, SqlError> {
        Ok(SetCounts {
            rows: exact_rows(&spec.schema, budget.clone())?,
            counts: Vec::new(),
            touched: HashMap::new(),
            gone: 0,
            spec,
            budget,
        })
    }

    /// Copies of a row that are shown.
    fn shown(&self, row: u32) -> i64 {
        let [left, right] = self.counts[row as usize];
        match self.spec.kind {
            SetKind::IntersectAll => left.min(right).max(0),
            SetKind::ExceptAll => (left - right.max(0)).max(0),
        }
    }

    fn drop_gone(&mut self) {
        let live: Vec<u32> = (0..self.counts.len() as u32)
            .filter(|row| self.counts[*row as usize] != [0, 0])
            .collect();
        if live.len() < self.counts.len() / 2 {
            self.rows.keep(&live);
            self.counts = live.iter().map(|row| self.counts[*row as usize]).collect();
        }
        self.gone = 0;
    }
}

impl Ported for SetCounts {
    fn push(&mut self, port: usize, delta: Delta, _out: &mut Sink<'_>) -> Result<(), SqlError> {
        let mut numbers = Vec::new();
        self.rows.intern(delta.batch.columns(), delta.rows(), &mut numbers)?;
        self.counts.resize(self.rows.len(), [0, 0]);
        delta.each(|at, weight| {
            let row = numbers[at];
            let shown = self.shown(row);
            self.touched.entry(row).or_insert(shown);
            self.counts[row as usize][port] += weight;
        });
        Ok(())
    }

    /// Distinct rows of both sides.
    fn rows(&self) -> usize {
        self.counts.len()
    }
}

impl Operator for SetCounts {
    fn finish(&mut self, _end: &StepEnd, out: &mut Sink<'_>) -> Result<(), SqlError> {
        let mut changed: Vec<(u32, i64)> = Vec::new();
        for (row, before) in std::mem::take(&mut self.touched) {
            let counts = self.counts[row as usize];
            assert!(
                counts.iter().all(|count| *count >= 0),
                "V4: a row was taken away more often than it was added"
            );
            self.gone += usize::from(counts == [0, 0]);
            match self.shown(row) - before {
                0 => {}
                change => changed.push((row, change)),
            }
        }
        changed.sort_unstable();
        for part in changed.chunks(PART_ROWS) {
            let rows: Vec<u32> = part.iter().map(|(row, _)| *row).collect();
            let weights = part.iter().map(|(_, change)| *change).collect();
            let batch = batch_of(self.spec.schema.clone(), self.rows.columns(&rows)?, rows.len())?;
            out(weighted(batch, weights))?;
        }
        if self.gone > PART_ROWS && self.gone > self.counts.len() / 2 {
            self.drop_gone();
        }
        Ok(())
    }

    fn save(&self) -> Result<Vec<RecordBatch>, SqlError> {
        let side = |side: usize| {
            let rows: Vec<u32> = (0..self.counts.len() as u32)
                .filter(|row| self.counts[*row as usize][side] != 0)
                .collect();
            let counts = rows.iter().map(|row| self.counts[*row as usize][side]).collect();
            let batch = batch_of(self.spec.schema.clone(), self.rows.columns(&rows)?, rows.len())?;
            with_weight_column(&weighted(batch, counts))
        };
        Ok(vec![side(0)?, side(1)?])
    }

    fn restore(&mut self, saved: &[RecordBatch]) -> Result<(), SqlError> {
        *self = SetCounts::new(self.spec.clone(), self.budget.clone())?;
        for (side, batch) in saved.iter().enumerate() {
            let delta = from_weight_column(batch, self.spec.schema.clone())?;
            self.push(side, delta, &mut |_| Ok(()))?;
        }
        self.touched = HashMap::new();
        Ok(())
    }

    fn bytes(&self) -> usize {
        let touched = self.touched.capacity() * (size_of::<(u32, i64)>() + 1);
        self.rows.bytes() + self.counts.capacity() * size_of::<[i64; 2]>() + touched
    }
}
