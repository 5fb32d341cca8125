//! The partitioned operator of a dataflow: what is computed of the rows of each partition, in order.
//!
//! One rule: the output is the sum over partitions of a function of the partition's rows (`first.rs`, `kernel.rs`). A step shows,
//! when it ends, the difference between the function of the rows before it and of the rows after it, for the partitions that it
//! changed.
//!
//! Rows that the order leaves alike stand in the order of their other columns, so that the function has one value. Rows that come
//! and go within a step leave no trace; where keys can fail, the input is held until the step ends.
//!
//! Not here: how rows are kept (`rows.rs`).

mod first;
mod kernel;
mod over;
mod rows;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, SchemaRef};

use crate::error::{SqlError, state};

use super::aggregate::keys::Keys;
use super::delta::{Delta, batch_of, constant_weights};
use super::expression::Expression;
use super::memory::Limits;
use super::net::{Direction, Net, PART_ROWS, weighted};
use super::operator::{Operator, Ported, Sink, StepEnd};
use super::window::{from_weight_column, with_weight_column};
use first::ShownRow;
use rows::{PartitionedRows, RowKey};

pub use first::{FirstSpec, Ranking};
pub use kernel::{OrderedPartitions, PartitionKernel};
pub use over::WindowCalls;
pub use rows::{FirstRows, SortedBy};

/// What is computed of a partition.
#[derive(Clone, Debug)]
pub enum PartitionWork {
    First(FirstSpec),
    Kernel(Arc<dyn PartitionKernel>),
}

/// A partitioned operator as it is compiled.
#[derive(Clone, Debug)]
pub struct PartitionedSpec {
    pub keys: Vec<Expression>,
    pub key_types: Vec<DataType>,
    pub order: Arc<[SortedBy]>,
    pub input: SchemaRef,
    /// Of the output.
    pub schema: SchemaRef,
    pub work: PartitionWork,
    /// The input never takes rows away.
    pub grows: bool,
    /// Neither keys nor order can fail.
    pub is_infallible: bool,
    pub text: String,
}

impl PartitionedSpec {
    /// Whether rows of this schema in this order can be kept.
    pub fn takes(input: &SchemaRef, order: &[SortedBy]) -> bool {
        PartitionedRows::takes(input, order)
    }

    /// Keys and order are computed of no row that goes within its step.
    pub fn computes_of_kept_rows(&self) -> bool {
        self.is_infallible || self.holds_input()
    }

    fn holds_input(&self) -> bool {
        !self.is_infallible && !self.grows
    }
}

pub struct PartitionedOperator {
    spec: Arc<PartitionedSpec>,
    /// Of the partitions.
    keys: Keys,
    rows: PartitionedRows,
    /// The input of this step, where it is held.
    held: Option<Net>,
    /// The output without rows was shown, if there is any.
    begun: bool,
    limits: Limits,
}

impl PartitionedOperator {
    pub fn new(spec: Arc<PartitionedSpec>, limits: Limits) -> Result<PartitionedOperator, SqlError> {
        let first = match &spec.work {
            PartitionWork::First(first) if spec.grows => first.first,
            _ => None,
        };
        let held = spec
            .holds_input()
            .then(|| Net::new(spec.input.clone(), limits.budget.clone()));
        Ok(PartitionedOperator {
            keys: Keys::new(&spec.key_types, limits.budget.clone())?,
            rows: PartitionedRows::new(spec.input.clone(), spec.order.clone(), first)?,
            held: held.transpose()?,
            begun: false,
            spec,
            limits,
        })
    }

    fn take(&mut self, delta: &Delta) -> Result<(), SqlError> {
        let keys = self.spec.keys.iter().map(|key| key.evaluate(&delta.batch));
        let keys = keys.collect::<Result<Vec<ArrayRef>, SqlError>>()?;
        let mut numbers = Vec::new();
        self.keys.intern(&keys, delta.rows(), &mut numbers)?;
        self.rows.apply(delta, &numbers)
    }

    fn check_wanted(&self) -> Result<(), SqlError> {
        match self.limits.stop.is_set() {
            true => Err(SqlError::new(state::QUERY_CANCELED, "the view is no longer wanted")),
            false => Ok(()),
        }
    }

    fn show_first(&self, spec: &FirstSpec, changed: &[u32], out: &mut Sink<'_>) -> Result<(), SqlError> {
        let mut shown: Vec<ShownRow> = Vec::new();
        for partition in changed {
            let (old, new) = (self.rows.before(*partition), self.rows.now(*partition));
            shown.extend(first::change(spec.shown(old), spec.shown(new)));
            if shown.len() >= PART_ROWS {
                self.check_wanted()?;
                self.show_rows(spec, &std::mem::take(&mut shown), out)?;
            }
        }
        self.show_rows(spec, &shown, out)
    }

    fn show_rows(&self, spec: &FirstSpec, shown: &[ShownRow], out: &mut Sink<'_>) -> Result<(), SqlError> {
        for part in shown.chunks(PART_ROWS) {
            let input = self.rows.batch(part.iter().map(|shown| shown.row), part.len())?;
            let mut columns = input.columns().to_vec();
            for number in 0..spec.numbers.len() {
                let numbers = part.iter().map(|shown| shown.numbers[number]);
                columns.push(Arc::new(UInt64Array::from_iter_values(numbers)));
            }
            let batch = batch_of(self.spec.schema.clone(), columns, part.len())?;
            out(weighted(batch, part.iter().map(|shown| shown.copies).collect()))?;
        }
        Ok(())
    }

    fn show_kernel(&self, kernel: &dyn PartitionKernel, changed: &[u32], out: &mut Sink<'_>) -> Result<(), SqlError> {
        let mut net = Net::new(self.spec.schema.clone(), self.limits.budget.clone())?;
        let shows_empty = self.shows_empty(kernel);
        let (mut old, mut new) = (PartitionRun::default(), PartitionRun::default());
        for (at, partition) in changed.iter().enumerate() {
            old.add(self.rows.before(*partition), shows_empty);
            new.add(self.rows.now(*partition), shows_empty);
            if old.rows.len() + new.rows.len() < PART_ROWS && at + 1 < changed.len() {
                continue;
            }
            self.check_wanted()?;
            for (run, weight) in [(&mut old, -1), (&mut new, 1)] {
                let partitions = std::mem::take(run).partitions(&self.rows)?;
                if !partitions.ranges.is_empty() {
                    let batch = kernel.evaluate(&partitions)?;
                    let weights = constant_weights(weight, batch.num_rows());
                    net.add(&Delta::weighted(batch, weights))?;
                }
            }
            for direction in [Direction::Taken, Direction::Added] {
                net.part(direction, out)?;
            }
            net.clear()?;
        }
        Ok(())
    }

    fn shows_empty(&self, kernel: &dyn PartitionKernel) -> bool {
        self.spec.keys.is_empty() && kernel.shows_empty()
    }

    /// The output of the partition of all rows before it has any.
    fn begin(&mut self, kernel: &dyn PartitionKernel, out: &mut Sink<'_>) -> Result<(), SqlError> {
        let begins = self.shows_empty(kernel) && !self.begun;
        self.begun = true;
        if !begins {
            return Ok(());
        }
        let nothing = PartitionRun {
            rows: Vec::new(),
            ranges: std::iter::once(0..0).collect(),
        };
        out(Delta::added(kernel.evaluate(&nothing.partitions(&self.rows)?)?))
    }
}

/// Rows of some partitions, copies written out.
#[derive(Default)]
struct PartitionRun<'a> {
    rows: Vec<&'a RowKey>,
    ranges: Vec<std::ops::Range<usize>>,
}

impl<'a> PartitionRun<'a> {
    fn add(&mut self, rows: impl Iterator<Item = (&'a RowKey, i64)>, shows_empty: bool) {
        let from = self.rows.len();
        for (row, copies) in rows {
            let copies = usize::try_from(copies).expect("V4: a row was taken away more often than it was added");
            self.rows.extend(std::iter::repeat_n(row, copies));
        }
        if self.rows.len() > from || shows_empty {
            self.ranges.push(from..self.rows.len());
        }
    }

    fn partitions(self, kept: &PartitionedRows) -> Result<OrderedPartitions, SqlError> {
        Ok(OrderedPartitions {
            rows: kept.batch(self.rows.iter().copied(), self.rows.len())?,
            ranges: self.ranges,
        })
    }
}

impl Ported for PartitionedOperator {
    fn push(&mut self, _port: usize, delta: Delta, _out: &mut Sink<'_>) -> Result<(), SqlError> {
        match &mut self.held {
            Some(held) => held.add(&delta),
            None => self.take(&delta),
        }
    }

    fn rows(&self) -> usize {
        self.rows.rows()
    }
}

impl Operator for PartitionedOperator {
    fn finish(&mut self, _end: &StepEnd, out: &mut Sink<'_>) -> Result<(), SqlError> {
        if let Some(mut held) = self.held.take() {
            for direction in [Direction::Taken, Direction::Added] {
                held.part(direction, &mut |delta| self.take(&delta))?;
            }
            held.clear()?;
            self.held = Some(held);
        }
        let spec = self.spec.clone();
        if let PartitionWork::Kernel(kernel) = &spec.work {
            self.begin(&**kernel, out)?;
        }
        let changed = self.rows.changed();
        match &spec.work {
            PartitionWork::First(first) => self.show_first(first, &changed, out)?,
            PartitionWork::Kernel(kernel) => self.show_kernel(&**kernel, &changed, out)?,
        }
        self.rows.settle();
        if !spec.keys.is_empty() && self.rows.is_sparse() {
            let live = self.rows.live();
            self.keys.keep(&live);
            self.rows.keep(&live);
        }
        Ok(())
    }

    fn save(&self) -> Result<Vec<RecordBatch>, SqlError> {
        let mut saved = vec![with_weight_column(&self.rows.save()?)?];
        // A second batch says that the first step has ended.
        if self.begun {
            saved.push(RecordBatch::new_empty(self.spec.schema.clone()));
        }
        Ok(saved)
    }

    fn restore(&mut self, saved: &[RecordBatch]) -> Result<(), SqlError> {
        *self = PartitionedOperator::new(self.spec.clone(), self.limits.clone())?;
        self.begun = saved.len() > 1;
        let delta = from_weight_column(&saved[0], self.spec.input.clone())?;
        for offset in (0..delta.rows()).step_by(PART_ROWS) {
            self.take(&delta.slice(offset, PART_ROWS.min(delta.rows() - offset)))?;
        }
        self.rows.settle();
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.keys.bytes() + self.rows.bytes() + self.held.as_ref().map_or(0, Net::bytes)
    }
}
