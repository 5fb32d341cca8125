//! The operator of conditions on now(): rows enter or leave a view as the time of the log passes a time that each row has.
//!
//! One rule: after a step exactly those rows are shown whose condition holds at the time of the log, which is the `_timestamp` of
//! the step's last commit. So a replay shows the same. No clock of the machine is read: while no commits come, a tick (`ticks.rs`)
//! brings the time on.
//!
//! The condition compares a time of the row with an expression of now(), which has one value for all rows: a step changes the rows
//! whose time lies between its values before and after. These stand together in runs that are sorted by that time. Rows that have
//! been passed are let go, those aside that the value may fall back behind (the wall clock goes back in autumn).
//!
//! Not here: which conditions can be kept so (`compile/temporal.rs`).

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};

use crate::error::SqlError;

use super::net::{Net, PART_ROWS, weighted};
use super::window::{from_weight_column, with_weight_column};
use super::{Operator, Ported, Sink, StepEnd};
use crate::views::clock::{ClockExpression, NEVER, PendingRows, microseconds};
use crate::views::delta::{Delta, batch_of};
use crate::views::expression::Expression;
use crate::views::memory::{Budget, batch_bytes};

/// Runs with more rows, or more bytes, are not put together.
const RUN_ROWS_MAX: usize = 1 << 20;
const RUN_BYTES_MAX: usize = 64 << 20;
/// The side of its time on which a row is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShownUntil {
    /// Until the clock passes it.
    Passed,
    /// From then on.
    Ever,
}

#[derive(Clone, Debug)]
pub struct TemporalSpec {
    /// The time of a row.
    pub time: Expression,
    pub clock: Arc<ClockExpression>,
    pub shown: ShownUntil,
    /// A clock that is at a row's time has passed it.
    pub passes_equal: bool,
    /// The clock's value falls back by less than this, if ever, microseconds; `None`: nothing is known of that.
    pub falls_us: Option<i64>,
    /// Of the rows.
    pub schema: SchemaRef,
    /// Rows may be taken away.
    pub retracts: bool,
    /// Its output waits for the end of the step: something above could fail on a row that goes again.
    pub holds_output: bool,
    /// The time of a row can be computed of every row.
    pub is_infallible: bool,
    pub text: String,
}

impl TemporalSpec {
    /// With the value of the clock at which a row is passed as a last column.
    fn held_schema(&self) -> SchemaRef {
        let mut fields: Vec<_> = self.schema.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new("_passed_at", DataType::Int64, true)));
        Arc::new(Schema::new(fields))
    }

    /// The value of the clock at which each row is passed; NULL for those that are never shown.
    fn passed_at(&self, rows: &RecordBatch) -> Result<Int64Array, SqlError> {
        let times = microseconds(&self.time.evaluate(rows)?);
        Ok(match self.passes_equal {
            true => times,
            false => times.unary(|time| time.saturating_add(1)),
        })
    }
}

/// Rows that are held, sorted by the time at which they are passed.
struct HeldRun {
    rows: Delta,
    /// When it was made.
    made_rows: usize,
    bytes: usize,
}

impl HeldRun {
    fn new(rows: Delta) -> HeldRun {
        HeldRun {
            made_rows: rows.rows(),
            bytes: batch_bytes(&rows.batch)
                + rows
                    .weights
                    .as_ref()
                    .map_or(0, |weights| weights.len() * size_of::<i64>()),
            rows,
        }
    }

    fn passed_at(&self) -> &[i64] {
        passed_at(&self.rows)
    }

    /// The first row that is passed later than at `clock`.
    fn after(&self, clock: i64) -> usize {
        self.passed_at().partition_point(|at| *at <= clock)
    }
}

fn passed_at(held: &Delta) -> &[i64] {
    let columns = held.batch.columns();
    let last = columns.last().expect("it is the last column");
    last.as_primitive::<Int64Type>().values()
}

pub struct Temporal {
    spec: Arc<TemporalSpec>,
    /// The clock's value at the present step; `None` before the first.
    clock: Option<i64>,
    runs: Vec<HeldRun>,
    /// The output of this step, if it waits for the end.
    output: Option<Net>,
    budget: Arc<Budget>,
}

impl Temporal {
    pub fn new(spec: Arc<TemporalSpec>, budget: Arc<Budget>) -> Result<Temporal, SqlError> {
        let output = spec.holds_output.then(|| Net::new(spec.schema.clone(), budget.clone()));
        Ok(Temporal {
            output: output.transpose()?,
            spec,
            clock: None,
            runs: Vec::new(),
            budget,
        })
    }

    fn clock(&self) -> i64 {
        self.clock.expect("a step begins before it has rows")
    }

    /// Rows that are passed at or before this are not held.
    fn forgotten(&self) -> i64 {
        match self.spec.falls_us {
            Some(falls_us) => self.clock().saturating_sub(falls_us),
            None => i64::MIN,
        }
    }

    fn hold(&mut self, rows: Delta) -> Result<(), SqlError> {
        let mut run = HeldRun::new(sorted(rows)?);
        while let Some(before) = self.runs.last() {
            let (rows, bytes) = (run.rows.rows(), run.bytes);
            let fits = before.rows.rows() + rows <= RUN_ROWS_MAX && before.bytes + bytes <= RUN_BYTES_MAX;
            if before.rows.rows() > rows || !fits {
                break;
            }
            let before = self.runs.pop().expect("it was looked at");
            run = HeldRun::new(self.merged(before.rows, run.rows)?);
        }
        if run.made_rows > 0 {
            self.runs.push(run);
        }
        Ok(())
    }

    fn merged(&self, one: Delta, other: Delta) -> Result<Delta, SqlError> {
        let schema = one.batch.schema();
        let mut parts = vec![one, other];
        if self.spec.retracts {
            let mut net = Net::new(schema.clone(), self.budget.clone())?;
            parts.iter().try_for_each(|rows| net.add(rows))?;
            parts.clear();
            net.all(&mut |part| {
                parts.push(part);
                Ok(())
            })?;
        }
        let weights = parts.iter().flat_map(Delta::listed_weights).collect();
        let batches = parts.iter().map(|part| &part.batch);
        sorted(weighted(compute::concat_batches(&schema, batches)?, weights))
    }

    /// Shows the rows of `ranges`, by run, or takes them from sight.
    fn turn(&mut self, ranges: &[(usize, usize)], shows: bool, out: &mut Sink<'_>) -> Result<(), SqlError> {
        // Copies of a row that were added and taken away may be in several runs.
        let mut own = match self.spec.retracts && self.output.is_none() {
            true => Some(Net::new(self.spec.schema.clone(), self.budget.clone())?),
            false => None,
        };
        let mut net = own.as_mut().or(self.output.as_mut());
        for (run, (start, end)) in self.runs.iter().zip(ranges) {
            let mut start = *start;
            while start < *end {
                let rows = PART_ROWS.min(end - start);
                let part = run.rows.slice(start, rows);
                let weights = part.listed_weights();
                let weights = weights.into_iter().map(|weight| if shows { weight } else { -weight });
                let mut columns = part.batch.columns().to_vec();
                columns.pop();
                let part = batch_of(self.spec.schema.clone(), columns, rows)?;
                let part = weighted(part, weights.collect());
                match &mut net {
                    Some(net) => net.add(&part)?,
                    None => out(part)?,
                }
                start += rows;
            }
        }
        own.map_or(Ok(()), |net| net.all(out))
    }

    /// Lets go of rows that were passed for good.
    fn forget(&mut self) -> Result<(), SqlError> {
        let forgotten = self.forgotten();
        for run in &mut self.runs {
            let start = run.after(forgotten);
            if start > 0 {
                run.rows = run.rows.slice(start, run.rows.rows() - start);
            }
            if run.rows.rows() < run.made_rows / 2 {
                // The rest of its own: a slice keeps all of them.
                let all: UInt32Array = (0..run.rows.rows() as u32).collect();
                *run = HeldRun::new(run.rows.take(&all)?);
            }
        }
        self.runs.retain(|run| !run.rows.is_empty());
        Ok(())
    }
}

fn sorted(rows: Delta) -> Result<Delta, SqlError> {
    if passed_at(&rows).is_sorted() {
        return Ok(rows);
    }
    let last = rows.batch.columns().last().expect("it is the last column");
    let order = compute::sort_to_indices(last, None, None)?;
    rows.take(&order)
}

impl Operator for Temporal {
    fn begin(&mut self, time_us: i64, out: &mut Sink<'_>) -> Result<(), SqlError> {
        let now = self.spec.clock.at(time_us)?;
        let Some(before) = self.clock.replace(now) else {
            return Ok(());
        };
        let (low, high) = (before.min(now), before.max(now));
        let ranges: Vec<(usize, usize)> = self.runs.iter().map(|run| (run.after(low), run.after(high))).collect();
        self.turn(&ranges, (now > before) == (self.spec.shown == ShownUntil::Ever), out)?;
        self.forget()
    }

    fn finish(&mut self, _end: &StepEnd, out: &mut Sink<'_>) -> Result<(), SqlError> {
        match &mut self.output {
            Some(net) => {
                net.all(out)?;
                net.clear()
            }
            None => Ok(()),
        }
    }

    fn save(&self) -> Result<Vec<RecordBatch>, SqlError> {
        let schema = Arc::new(Schema::new(vec![Field::new("clock", DataType::Int64, true)]));
        let clock = Int64Array::from(vec![self.clock]);
        let mut saved = vec![batch_of(schema, vec![Arc::new(clock)], 1)?];
        for run in &self.runs {
            saved.push(with_weight_column(&run.rows)?);
        }
        Ok(saved)
    }

    fn restore(&mut self, saved: &[RecordBatch]) -> Result<(), SqlError> {
        let clock = saved[0].column(0).as_primitive::<Int64Type>();
        self.clock = clock.is_valid(0).then(|| clock.value(0));
        self.runs.clear();
        for run in &saved[1..] {
            self.runs
                .push(HeldRun::new(from_weight_column(run, self.spec.held_schema())?));
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        let runs: usize = self.runs.iter().map(|run| run.bytes).sum();
        runs + self.output.as_ref().map_or(0, Net::bytes)
    }

    fn pending(&self) -> Option<PendingRows> {
        let clock = self.clock?;
        let nexts = self.runs.iter().filter_map(|run| run.passed_at().get(run.after(clock)));
        let lasts = self
            .runs
            .iter()
            .filter_map(|run| run.passed_at()[..run.after(clock)].last());
        Some(PendingRows {
            next: nexts.min().copied(),
            last: lasts.max().copied(),
            clock: self.spec.clock.clone(),
        })
    }
}

impl Ported for Temporal {
    fn push(&mut self, _port: usize, delta: Delta, out: &mut Sink<'_>) -> Result<(), SqlError> {
        let (clock, forgotten) = (self.clock(), self.forgotten());
        let passed_at = self.spec.passed_at(&delta.batch)?;
        let shown = passed_at
            .iter()
            .map(|at| at.map(|at| (at <= clock) == (self.spec.shown == ShownUntil::Ever)));
        let shown = delta.filter(&shown.collect::<BooleanArray>())?;
        if !shown.is_empty() {
            match &mut self.output {
                Some(net) => net.add(&shown)?,
                None => out(shown)?,
            }
        }
        let held = passed_at.iter().map(|at| at.map(|at| at > forgotten && at < NEVER));
        let held: BooleanArray = held.collect();
        let mut columns = delta.batch.columns().to_vec();
        columns.push(Arc::new(passed_at));
        let held = delta.with_columns(self.spec.held_schema(), columns)?.filter(&held)?;
        match held.is_empty() {
            true => Ok(()),
            false => self.hold(held),
        }
    }

    fn rows(&self) -> usize {
        self.runs.iter().map(|run| run.rows.rows()).sum()
    }
}
