//! ASOF JOIN: each row of the left side with the nearest row of the right one.
//!
//! One rule: a left row meets the first right row of its key that stands at its time, or behind it, in the order of
//! `sql::asof::Nearest`. So a right row that comes or goes changes the answers of the left rows from the right row before it up to
//! its own time, and of no others. A step shows, when it ends, what changed of those and of the left rows that changed.
//!
//! Not here: how rows are kept in order (`partitioned/rows.rs`).

use std::ops::Bound;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute;
use arrow::datatypes::{DataType, SchemaRef};

use crate::error::{SqlError, state};

use super::super::aggregate::keys::Keys;
use super::super::net::{Direction, Net, PART_ROWS, weighted};
use super::super::partitioned::{PartitionedRows, RowKey, RowRange, SortedBy};
use super::super::window::{from_weight_column, with_weight_column};
use super::super::{Operator, Ported, Sink, StepEnd};
use super::all_valid;
use crate::views::delta::{Delta, batch_of};
use crate::views::expression::Expression;
use crate::views::memory::Limits;

#[derive(Clone, Debug)]
pub struct AsofSideSpec {
    pub keys: Vec<Expression>,
    /// The time, then what rows of one time are sorted by.
    pub order: Arc<[SortedBy]>,
    pub schema: SchemaRef,
    /// Keys or time may fail on rows that go within their step: these are held until it ends.
    pub holds: bool,
}

/// An ASOF JOIN as it is compiled: the left side, then the right one.
#[derive(Clone, Debug)]
pub struct AsofSpec {
    pub sides: [AsofSideSpec; 2],
    pub key_types: Vec<DataType>,
    /// Rows of the same time meet.
    pub meets_equal: bool,
    /// A left row that meets nothing is shown with NULLs.
    pub keeps_left: bool,
    /// Of the output.
    pub schema: SchemaRef,
    pub text: String,
}

pub struct AsofOperator {
    spec: Arc<AsofSpec>,
    /// Of both sides.
    keys: Keys,
    sides: [PartitionedRows; 2],
    held: [Option<Net>; 2],
    limits: Limits,
}

/// A left row, with what it meets, and how often more it is shown.
struct AsofChange<'a> {
    left: &'a RowKey,
    right: Option<&'a RowKey>,
    weight: i64,
}

/// The first row behind a place, for places that rise: it stays the first until the place is behind it.
#[derive(Default)]
struct NextRow<'a> {
    found: Option<Option<&'a RowKey>>,
}

impl<'a> NextRow<'a> {
    fn from(&mut self, place: &RowKey, find: impl FnOnce(RowRange) -> Option<(&'a RowKey, i64)>) -> Option<&'a RowKey> {
        match self.found {
            Some(None) => None,
            Some(Some(row)) if row >= place => Some(row),
            _ => {
                let found = find((Bound::Included(place), Bound::Unbounded)).map(|(row, _)| row);
                self.found = Some(found);
                found
            }
        }
    }
}

impl AsofOperator {
    pub fn new(spec: Arc<AsofSpec>, limits: Limits) -> Result<AsofOperator, SqlError> {
        let rows = |side: &AsofSideSpec| PartitionedRows::new(side.schema.clone(), side.order.clone(), 1, None);
        let held = |side: &AsofSideSpec| {
            let net = side.holds.then(|| Net::new(side.schema.clone(), limits.budget.clone()));
            net.transpose()
        };
        let [left, right] = &spec.sides;
        Ok(AsofOperator {
            keys: Keys::new(&spec.key_types, limits.budget.clone())?,
            sides: [rows(left)?, rows(right)?],
            held: [held(left)?, held(right)?],
            spec,
            limits,
        })
    }

    fn take(&mut self, side: usize, delta: &Delta) -> Result<(), SqlError> {
        let spec = &self.spec.sides[side];
        let keys = spec.keys.iter().map(|key| key.evaluate(&delta.batch));
        let mut keys = keys.collect::<Result<Vec<ArrayRef>, SqlError>>()?;
        let mut delta = delta.clone();
        // Rows without a key or time meet nothing: they are kept where they are shown all the same.
        if side == 1 || !self.spec.keeps_left {
            let time = spec.order[0].key.evaluate(&delta.batch)?;
            if let Some(valid) = all_valid(keys.iter().chain([&time])) {
                delta = delta.filter(&valid)?;
                for key in &mut keys {
                    *key = compute::filter(key, &valid)?;
                }
            }
        }
        let mut numbers = Vec::new();
        self.keys.intern(&keys, delta.rows(), &mut numbers)?;
        self.sides[side].apply(&delta, &numbers)
    }

    /// The left rows of a partition whose answers may have changed, in order.
    fn touched(&self, partition: u32) -> Vec<&RowKey> {
        let [left, right] = &self.sides;
        let mut touched = left.changed_in(partition);
        // The end of the rows that are touched so far.
        let mut reached: Option<RowKey> = None;
        let mut last: Option<&RowKey> = None;
        for row in right.changed_in(partition) {
            if last.is_some_and(|last| last.order() == row.order()) {
                continue;
            }
            last = Some(row);
            let before = right.leading(partition, &row.group_start()).next();
            let from = before.and_then(|(before, _)| self.place(before, !self.spec.meets_equal));
            let from = from.max(reached);
            let upto = self.place(row, !self.spec.meets_equal);
            let range = (
                from.as_ref().map_or(Bound::Unbounded, Bound::Included),
                upto.as_ref().map_or(Bound::Unbounded, Bound::Excluded),
            );
            if from.is_none() || upto.is_none() || from < upto {
                touched.extend(left.now(partition, range).map(|(row, _)| row));
            }
            if upto.is_none() {
                break;
            }
            reached = upto;
        }
        touched.sort_unstable();
        touched.dedup();
        touched
    }

    /// The place before the rows of a time, or the one behind them; `None` if that is behind all.
    fn place(&self, row: &RowKey, before: bool) -> Option<RowKey> {
        match before {
            true => Some(row.group_start()),
            false => row.group_end(),
        }
    }

    /// What changes of a partition.
    fn changes<'a>(&'a self, partition: u32, changes: &mut Vec<AsofChange<'a>>) {
        let [left, right] = &self.sides;
        let mut before = NextRow::default();
        let mut now = NextRow::default();
        for row in self.touched(partition) {
            let (copies_before, copies_now) = left.versions(partition, row);
            let from = self.place(row, self.spec.meets_equal);
            let met_before = match (copies_before, &from) {
                (0, _) | (_, None) => None,
                (_, Some(from)) => before.from(from, |range| right.before(partition, range).next()),
            };
            let met_now = match (copies_now, &from) {
                (0, _) | (_, None) => None,
                (_, Some(from)) => now.from(from, |range| right.now(partition, range).next()),
            };
            let mut show = |right: Option<&'a RowKey>, weight: i64| {
                if weight != 0 && (right.is_some() || self.spec.keeps_left) {
                    changes.push(AsofChange {
                        left: row,
                        right,
                        weight,
                    });
                }
            };
            match met_before == met_now || copies_before == 0 || copies_now == 0 {
                true => show(met_now.or(met_before), copies_now - copies_before),
                false => {
                    show(met_before, -copies_before);
                    show(met_now, copies_now);
                }
            }
        }
    }

    fn show(&self, changes: &[AsofChange], out: &mut Sink<'_>) -> Result<(), SqlError> {
        for part in changes.chunks(PART_ROWS) {
            let left = self.sides[0].batch(part.iter().map(|change| change.left), part.len())?;
            let met: Vec<&RowKey> = part.iter().filter_map(|change| change.right).collect();
            let right = self.sides[1].batch(met.iter().copied(), met.len())?;
            let mut next = 0u32..;
            let places: UInt32Array = part
                .iter()
                .map(|change| change.right.and_then(|_| next.next()))
                .collect();
            let mut columns = left.columns().to_vec();
            for column in right.columns() {
                columns.push(compute::take(column, &places, None)?);
            }
            let batch = batch_of(self.spec.schema.clone(), columns, part.len())?;
            out(weighted(batch, part.iter().map(|change| change.weight).collect()))?;
        }
        Ok(())
    }
}

impl Ported for AsofOperator {
    fn push(&mut self, side: usize, delta: Delta, _out: &mut Sink<'_>) -> Result<(), SqlError> {
        match &mut self.held[side] {
            Some(held) => held.add(&delta),
            None => self.take(side, &delta),
        }
    }

    /// Of both sides.
    fn rows(&self) -> usize {
        self.sides.iter().map(PartitionedRows::rows).sum()
    }
}

impl Operator for AsofOperator {
    fn finish(&mut self, _end: &StepEnd, out: &mut Sink<'_>) -> Result<(), SqlError> {
        let mut held = std::mem::take(&mut self.held);
        for direction in [Direction::Taken, Direction::Added] {
            for (side, net) in held.iter().enumerate() {
                if let Some(net) = net {
                    net.part(direction, &mut |delta| self.take(side, &delta))?;
                }
            }
        }
        for net in held.iter_mut().flatten() {
            net.clear()?;
        }
        self.held = held;
        let mut changed: Vec<u32> = self.sides.iter().flat_map(PartitionedRows::changed).collect();
        changed.sort_unstable();
        changed.dedup();
        let mut changes = Vec::new();
        for partition in changed {
            self.changes(partition, &mut changes);
            if changes.len() >= PART_ROWS {
                if self.limits.stop.is_set() {
                    return Err(SqlError::new(state::QUERY_CANCELED, "the view is no longer wanted"));
                }
                self.show(&std::mem::take(&mut changes), out)?;
            }
        }
        self.show(&changes, out)?;
        drop(changes);
        for side in &mut self.sides {
            side.settle();
        }
        if !self.spec.key_types.is_empty() && self.sides.iter().all(PartitionedRows::is_sparse) {
            let mut live: Vec<u32> = self.sides.iter().flat_map(PartitionedRows::live).collect();
            live.sort_unstable();
            live.dedup();
            self.keys.keep(&live);
            for side in &mut self.sides {
                side.keep(&live);
            }
        }
        Ok(())
    }

    fn save(&self) -> Result<Vec<RecordBatch>, SqlError> {
        let saved = self.sides.iter().map(|side| with_weight_column(&side.save()?));
        saved.collect()
    }

    fn restore(&mut self, saved: &[RecordBatch]) -> Result<(), SqlError> {
        *self = AsofOperator::new(self.spec.clone(), self.limits.clone())?;
        for (side, batch) in saved.iter().enumerate() {
            let delta = from_weight_column(batch, self.spec.sides[side].schema.clone())?;
            for offset in (0..delta.rows()).step_by(PART_ROWS) {
                self.take(side, &delta.slice(offset, PART_ROWS.min(delta.rows() - offset)))?;
            }
            self.sides[side].settle();
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        let held = self.held.iter().flatten().map(Net::bytes).sum::<usize>();
        self.keys.bytes() + self.sides.iter().map(PartitionedRows::bytes).sum::<usize>() + held
    }
}
