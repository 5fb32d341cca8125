//! The partitioned operator of a dataflow: what is computed of the rows of each partition, in order.
//!
//! One rule: the output is the sum over partitions of a function of the partition's rows (`first.rs`, `kernel.rs`). A step shows,
//! when it ends, the difference between the function of the rows before it and of the rows after it, for the partitions that it
//! changed.
//!
//! Rows that the order leaves alike stand in the order of their other columns, so that the function has one value. Rows that come
//! and go within a step leave no trace; where keys can fail, the input is held until the step ends.
//!
//! Not here: how rows are kept (`rows.rs`), and the first few rows of input that only grows (`few.rs`).

mod few;
mod first;
mod kernel;
mod over;
mod part;
mod rows;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, SchemaRef};

use crate::error::SqlError;

use super::aggregate::keys::Keys;
use super::net::{Direction, Net, PART_ROWS, weighted};
use super::window::{from_weight_column, with_weight_column};
use super::{Operator, Ported, Sink, StepEnd};
use crate::views::delta::{Delta, batch_of, constant_weights};
use crate::views::expression::Expression;
use crate::views::memory::Limits;
use first::ShownRow;
use over::WindowScope;
use part::{PartitionRun, WindowStates};
use rows::ALL_ROWS;

pub use few::FirstFew;
pub use first::{FirstSpec, Ranking};
pub use kernel::PartitionKernel;
pub use over::{Distance, OneWindowCall, WindowCalls, WindowReach};
pub use rows::{FirstRows, PartitionedRows, RowKey, RowRange, SortedBy};

/// What is computed of a partition.
#[derive(Clone, Debug)]
pub enum PartitionWork {
    First(FirstSpec),
    /// Run over whole partitions.
    Kernel(Arc<dyn PartitionKernel>),
    /// Run over what a step can change of a partition.
    Windows(Arc<WindowCalls>),
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
    states: WindowStates,
    /// Rows of kernels and window functions so far.
    computed: u64,
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
            rows: PartitionedRows::new(spec.input.clone(), spec.order.clone(), spec.order.len(), first)?,
            held: held.transpose()?,
            begun: false,
            states: WindowStates::default(),
            computed: 0,
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

    fn show_first(&self, spec: &FirstSpec, changed: &[u32], out: &mut Sink<'_>) -> Result<(), SqlError> {
        let mut shown: Vec<ShownRow> = Vec::new();
        // Where the rows that are kept are those that are shown, their changes are all that is shown.
        let keeps_shown = spec.skip == 0 && spec.numbers.is_empty() && self.rows.keeps_only(spec.first);
        for partition in changed {
            match keeps_shown {
                true => shown.extend(self.rows.changes(*partition).map(|(row, copies)| ShownRow {
                    row,
                    numbers: Vec::new(),
                    copies,
                })),
                false => {
                    let (old, new) = (
                        self.rows.before(*partition, ALL_ROWS),
                        self.rows.now(*partition, ALL_ROWS),
                    );
                    shown.extend(first::change(spec.shown(old), spec.shown(new)));
                }
            }
            if shown.len() >= PART_ROWS {
                self.limits.check_wanted()?;
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

    /// Over whole partitions; answers the number of rows that were computed.
    fn show_kernel(&self, kernel: &dyn PartitionKernel, changed: &[u32], out: &mut Sink<'_>) -> Result<u64, SqlError> {
        let mut net = Net::new(self.spec.schema.clone(), self.limits.budget.clone())?;
        let shows_empty = self.shows_empty(kernel);
        let mut computed = 0;
        let (mut old, mut new) = (PartitionRun::default(), PartitionRun::default());
        for (at, partition) in changed.iter().enumerate() {
            old.add(self.rows.before(*partition, ALL_ROWS), shows_empty);
            new.add(self.rows.now(*partition, ALL_ROWS), shows_empty);
            if old.rows.len() + new.rows.len() < PART_ROWS && at + 1 < changed.len() {
                continue;
            }
            self.limits.check_wanted()?;
            for (run, weight) in [(&mut old, -1), (&mut new, 1)] {
                let partitions = std::mem::take(run).partitions(&self.rows)?;
                if !partitions.ranges.is_empty() {
                    let batch = kernel.evaluate(&partitions)?;
                    computed += batch.num_rows() as u64;
                    let weights = constant_weights(weight, batch.num_rows());
                    net.add(&Delta::weighted(batch, weights))?;
                }
            }
            for direction in [Direction::Taken, Direction::Added] {
                net.part(direction, out)?;
            }
            net.clear()?;
        }
        Ok(computed)
    }

    /// Of a large partition only what the step can change is computed.
    fn show_windows(&mut self, calls: &WindowCalls, changed: &[u32], out: &mut Sink<'_>) -> Result<(), SqlError> {
        let scope = calls.scope();
        let is_partial = |partition: &u32| scope != WindowScope::Whole && part::is_large(&self.rows, *partition);
        let (large, small): (Vec<u32>, Vec<u32>) = changed.iter().copied().partition(is_partial);
        self.states.forget(&small);
        self.computed += self.show_kernel(calls, &small, out)?;
        let mut computed = 0;
        let mut net = Net::new(self.spec.schema.clone(), self.limits.budget.clone())?;
        for partition in large {
            self.limits.check_wanted()?;
            let mut add = |batch: RecordBatch, weight: i64| {
                computed += batch.num_rows() as u64;
                let weights = constant_weights(weight, batch.num_rows());
                net.add(&Delta::weighted(batch, weights))
            };
            match scope {
                WindowScope::Near => part::show_near(&self.rows, partition, calls, &mut add)?,
                WindowScope::Onward => {
                    let states = self.states.of(partition);
                    part::show_onward(&self.rows, partition, calls, states, &mut add)?;
                    self.states.count(partition);
                }
                WindowScope::Whole => unreachable!("its partitions are among the others"),
            }
            for direction in [Direction::Taken, Direction::Added] {
                net.part(direction, out)?;
            }
            net.clear()?;
        }
        self.computed += computed;
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
        let mut nothing = PartitionRun::default();
        nothing.add(std::iter::empty(), true);
        out(Delta::added(kernel.evaluate(&nothing.partitions(&self.rows)?)?))
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

    fn computed(&self) -> Option<u64> {
        match &self.spec.work {
            PartitionWork::First(_) => None,
            PartitionWork::Kernel(_) | PartitionWork::Windows(_) => Some(self.computed),
        }
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
            PartitionWork::Kernel(kernel) => self.computed += self.show_kernel(&**kernel, &changed, out)?,
            PartitionWork::Windows(calls) => self.show_windows(calls, &changed, out)?,
        }
        self.rows.settle();
        if !spec.keys.is_empty() && self.rows.is_sparse() {
            let live = self.rows.live();
            self.keys.keep(&live);
            self.rows.keep(&live);
            self.states = WindowStates::default();
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
        self.keys.bytes() + self.rows.bytes() + self.states.bytes() + self.held.as_ref().map_or(0, Net::bytes)
    }
}
