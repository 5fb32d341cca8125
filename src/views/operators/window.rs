//! The window operator of a dataflow: TUMBLE, HOP and CUMULATE, with late rows skipped and counted.
//!
//! One rule: which rows are where, and which are late, is decided by `sql::window`, the same as in batch queries.
//! Under EMIT ON WINDOW CLOSE it holds rows back until their window has closed, unless the aggregate above does that.
//! It also knows the ends of the windows that are still open, so that an idle topic's watermark is only advanced when that
//! closes something.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};

use crate::error::SqlError;
use crate::log::TopicId;
use crate::sql::window::{Assigned, Assigner, Closing, WindowSlices};

use super::{Closes, Operator, Sink, StepEnd};
use crate::views::delta::{Delta, batch_of};
use crate::views::memory::batch_bytes;

/// The constants of a window operator.
#[derive(Clone, Debug)]
pub struct WindowSpec {
    pub assigner: Assigner,
    /// Topics whose watermarks close the windows; empty if they never close.
    pub topics: Vec<TopicId>,
    pub allowed_lateness_us: i64,
    /// Of a window, the longest.
    pub size_us: i64,
    /// Hold rows back until their window has closed.
    pub buffers: bool,
    pub text: String,
}

/// TUMBLE, HOP or CUMULATE.
pub struct WindowOperator {
    spec: Arc<WindowSpec>,
    late_rows: u64,
    null_rows: u64,
    /// Ends of windows with rows that were not closed at the last step.
    open_ends: BTreeSet<i64>,
    /// The last bounds that were added there: most rows come for the same ones again.
    last_start: i64,
    last_end: i64,
    /// Rows held back, by window end, and their bytes.
    held: BTreeMap<i64, HeldWindow>,
    held_bytes: usize,
}

#[derive(Default)]
struct HeldWindow {
    deltas: Vec<Delta>,
    bytes: usize,
}

/// Bytes of a delta beside its values: arrays, buffers and their counts.
const DELTA_BYTES: usize = 512;

impl WindowOperator {
    pub fn new(spec: Arc<WindowSpec>) -> WindowOperator {
        WindowOperator {
            spec,
            late_rows: 0,
            null_rows: 0,
            open_ends: BTreeSet::new(),
            last_start: i64::MIN,
            last_end: i64::MIN,
            held: BTreeMap::new(),
            held_bytes: 0,
        }
    }

    fn note_open(&mut self, batch: &RecordBatch) {
        if self.spec.topics.is_empty() {
            return;
        }
        let bound = |from_last: usize| batch.column(batch.num_columns() - from_last).as_primitive();
        let ends: &TimestampMicrosecondArray = bound(1);
        let Some(slide_us) = self.spec.assigner.span_slide_us() else {
            for end in ends.values() {
                if *end != self.last_end {
                    self.last_end = *end;
                    self.open_ends.insert(*end);
                }
            }
            return;
        };
        let starts: &TimestampMicrosecondArray = bound(2);
        for (start, end) in starts.values().iter().zip(ends.values()) {
            if (*start, *end) == (self.last_start, self.last_end) {
                continue;
            }
            (self.last_start, self.last_end) = (*start, *end);
            // The first of its windows is as long as all others.
            let mut open = *end;
            let first = start.saturating_add(self.spec.size_us);
            while open >= first {
                self.open_ends.insert(open);
                open = open.saturating_sub(slide_us);
            }
        }
    }

    /// Splits rows by window end and holds them.
    fn hold(&mut self, delta: Delta) -> Result<(), SqlError> {
        let ends = window_ends(&delta.batch);
        let mut order: Vec<u32> = (0..ends.len() as u32).collect();
        order.sort_by_key(|row| ends[*row as usize]);
        for rows in order.chunk_by(|one, other| ends[*one as usize] == ends[*other as usize]) {
            let end = ends[rows[0] as usize];
            let part = delta.take(&UInt32Array::from(rows.to_vec()))?;
            let bytes = batch_bytes(&part.batch) + DELTA_BYTES;
            let held = self.held.entry(end).or_default();
            held.deltas.push(part);
            held.bytes += bytes;
            self.held_bytes += bytes;
        }
        Ok(())
    }

    /// The windows of a delta's rows, in slices for [`WindowOperator::take`].
    pub fn slices(&self, delta: &Delta) -> WindowSlices {
        self.spec.assigner.slices(delta.batch.clone(), Closing::All)
    }

    /// Takes a slice of a delta; answers the rows that are not held back.
    pub fn take(&mut self, assigned: Assigned, delta: &Delta) -> Result<Option<Delta>, SqlError> {
        if !delta.takes() {
            // Rows that leave again, by a condition on time, were counted as they came.
            self.late_rows += assigned.late_rows;
            self.null_rows += assigned.null_rows;
        }
        let weights = match &assigned.sources {
            None => delta.weights.clone(),
            Some(sources) => delta.take_weights(sources)?,
        };
        let delta = Delta {
            batch: assigned.rows,
            weights,
        };
        if delta.is_empty() {
            return Ok(None);
        }
        self.note_open(&delta.batch);
        if self.spec.buffers {
            self.hold(delta)?;
            return Ok(None);
        }
        Ok(Some(delta))
    }
}

/// The last column of a window's output, microseconds.
fn window_ends(batch: &RecordBatch) -> Vec<i64> {
    let column = batch.column(batch.num_columns() - 1);
    column.as_primitive::<TimestampMicrosecondType>().values().to_vec()
}

impl Operator for WindowOperator {
    fn finish(&mut self, end: &StepEnd, out: &mut Sink<'_>) -> Result<(), SqlError> {
        let Some(watermark) = end.least_watermark(&self.spec.topics) else {
            return Ok(());
        };
        while let Some(first) = self.open_ends.first().copied() {
            if !self.spec.assigner.is_closed(first, Some(watermark)) {
                break;
            }
            self.open_ends.pop_first();
            if let Some(held) = self.held.remove(&first) {
                self.held_bytes -= held.bytes;
                held.deltas.into_iter().try_for_each(&mut *out)?;
            }
        }
        self.last_end = i64::MIN;
        Ok(())
    }

    fn save(&self) -> Result<Vec<RecordBatch>, SqlError> {
        let open: Vec<i64> = self.open_ends.iter().copied().collect();
        let schema = |name: &str| Arc::new(Schema::new(vec![Field::new(name, DataType::Int64, false)]));
        let counts = vec![self.late_rows as i64, self.null_rows as i64];
        let mut saved = vec![
            batch_of(schema("counts"), vec![Arc::new(Int64Array::from(counts))], 2)?,
            batch_of(
                schema("open"),
                vec![Arc::new(Int64Array::from(open.clone()))],
                open.len(),
            )?,
        ];
        for delta in self.held.values().flat_map(|held| &held.deltas) {
            saved.push(with_weight_column(delta)?);
        }
        Ok(saved)
    }

    fn restore(&mut self, saved: &[RecordBatch]) -> Result<(), SqlError> {
        let counts = saved[0].column(0).as_primitive::<Int64Type>().values();
        (self.late_rows, self.null_rows) = (counts[0] as u64, counts[1] as u64);
        let open = saved[1].column(0).as_primitive::<Int64Type>().values();
        self.open_ends = open.iter().copied().collect();
        self.last_end = i64::MIN;
        self.held.clear();
        self.held_bytes = 0;
        let schema = self.spec.assigner.schema().clone();
        for batch in &saved[2..] {
            self.hold(from_weight_column(batch, schema.clone())?)?;
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.open_ends.len() * size_of::<i64>() * 2 + self.held_bytes
    }

    fn closes(&self) -> Option<Closes<'_>> {
        let first = self.open_ends.first();
        Some(Closes {
            topics: &self.spec.topics,
            next: first.map(|end| end.saturating_add(self.spec.allowed_lateness_us)),
        })
    }

    fn skipped(&self) -> Option<(u64, u64)> {
        Some((self.late_rows, self.null_rows))
    }
}

/// A delta as one batch, its weights as a last column.
pub fn with_weight_column(delta: &Delta) -> Result<RecordBatch, SqlError> {
    let mut fields: Vec<_> = delta.batch.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("_weight", DataType::Int64, false)));
    let weights = match &delta.weights {
        Some(weights) => weights.clone(),
        None => crate::views::delta::constant_weights(1, delta.rows()),
    };
    let mut columns = delta.batch.columns().to_vec();
    columns.push(Arc::new(weights));
    batch_of(Arc::new(Schema::new(fields)), columns, delta.rows())
}

/// The inverse of [`with_weight_column`]; weights that are all +1 are left out again.
pub fn from_weight_column(batch: &RecordBatch, schema: SchemaRef) -> Result<Delta, SqlError> {
    let last = batch.num_columns() - 1;
    let weights = batch.column(last).as_primitive::<Int64Type>().clone();
    let rows = batch_of(schema, batch.columns()[..last].to_vec(), batch.num_rows())?;
    if compute::max(&weights) == Some(1) && compute::min(&weights) == Some(1) {
        return Ok(Delta::added(rows));
    }
    Ok(Delta::weighted(rows, weights))
}
