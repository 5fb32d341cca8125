//! The output of a view as readers get it: rows in immutable batches.
//!
//! One rule: a reader's batches never change under it; they are shared by reference.
//!
//! - [`OutputRows`]: an output that only grows is a list of batches.
//! - [`Bag`]: an output with retractions is a multiset, keyed by the whole row. Other views are told of its changes at the end
//!   of a step, when rows that came and went within it have cancelled.
//!
//! A view whose root is an aggregate, or the first few rows of partitions, stores nothing here: they are rendered when read
//! (`dataflow.rs`).

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute;
use arrow::datatypes::{DataType, Field, Int64Type, SchemaRef};

use crate::error::SqlError;

use super::delta::{Delta, batch_of, concat};
use super::memory::{Budget, batch_bytes};
use super::operators::aggregate::CHUNK_GROUPS;
use super::operators::aggregate::keys::Keys;
use super::operators::net::{exact_rows, weighted};
use super::operators::pinned::PinnedGroups;

/// Batches are merged until they have this many rows.
const BATCH_ROWS: usize = 65_536;
/// The same in bytes.
const BATCH_BYTES: usize = 64 << 20;

/// Rows of an append-only output.
pub struct OutputRows {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    /// Bytes of each batch.
    sizes: Vec<usize>,
    rows: usize,
    bytes: usize,
}

impl OutputRows {
    pub fn new(schema: SchemaRef) -> OutputRows {
        OutputRows {
            schema,
            batches: Vec::new(),
            sizes: Vec::new(),
            rows: 0,
            bytes: 0,
        }
    }

    /// Adds rows. Batches of like size are merged, so that there are few of them and each row is copied a few times at most.
    pub fn append(&mut self, delta: Delta) -> Result<(), SqlError> {
        assert!(
            delta
                .weight_values()
                .is_none_or(|weights| weights.iter().all(|weight| *weight > 0)),
            "V4: a row was taken away from an output that only grows"
        );
        let batch = match &delta.weights {
            None => delta.batch,
            Some(weights) => repeat(&delta.batch, weights.values())?,
        };
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.rows += batch.num_rows();
        let mut start = self.batches.len();
        let mut merged = batch.num_rows();
        let mut merged_bytes = batch_bytes(&batch);
        self.bytes += merged_bytes;
        self.sizes.push(merged_bytes);
        self.batches.push(batch);
        while start > 0 {
            let before = self.batches[start - 1].num_rows();
            let bytes = merged_bytes + self.sizes[start - 1];
            if before > merged || before + merged > BATCH_ROWS || bytes > BATCH_BYTES {
                break;
            }
            start -= 1;
            merged += before;
            merged_bytes = bytes;
        }
        if start + 1 < self.batches.len() {
            let one = concat(&self.schema, &self.batches[start..])?;
            let bytes = batch_bytes(&one);
            self.bytes = self.bytes - self.sizes[start..].iter().sum::<usize>() + bytes;
            self.batches.truncate(start);
            self.sizes.truncate(start);
            self.batches.push(one);
            self.sizes.push(bytes);
        }
        Ok(())
    }

    pub fn batches(&self) -> Vec<RecordBatch> {
        self.batches.clone()
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Rows of an output with retractions, each with the number of its copies.
pub struct Bag {
    schema: SchemaRef,
    keys: Keys,
    /// By distinct row.
    copies: Vec<i64>,
    /// Chunks of distinct rows as they were last read; `None` if they changed since.
    chunks: Vec<Option<RecordBatch>>,
    /// Bytes of those.
    chunk_bytes: usize,
    rows: i64,
    touched: Vec<u32>,
    /// By distinct row: its copies after the last step. Kept only if others want to be told of changes.
    told: Option<Vec<i64>>,
    gone: usize,
    /// The distinct rows of a reading under way, and the copies that those that have changed since had then.
    pinned: Option<(PinnedGroups, Vec<(u32, i64)>)>,
    budget: Arc<Budget>,
}

impl Bag {
    pub fn new(schema: SchemaRef, budget: Arc<Budget>) -> Result<Bag, SqlError> {
        Ok(Bag {
            keys: exact_rows(&schema, budget.clone())?,
            budget,
            copies: Vec::new(),
            chunks: Vec::new(),
            chunk_bytes: 0,
            rows: 0,
            touched: Vec::new(),
            told: None,
            gone: 0,
            pinned: None,
            schema,
        })
    }

    /// From the next step on, [`Bag::settle`] tells of changes, or no longer. The present rows count as told.
    pub fn tell(&mut self, tells: bool) {
        if tells != self.told.is_some() {
            self.told = tells.then(|| self.copies.clone());
        }
    }

    /// Adds and takes away rows; a count may be negative until the step's end.
    pub fn apply(&mut self, delta: &Delta) -> Result<(), SqlError> {
        let mut groups = Vec::new();
        self.keys.intern(delta.batch.columns(), delta.rows(), &mut groups)?;
        self.copies.resize(self.keys.len(), 0);
        self.chunks.resize(self.keys.len().div_ceil(CHUNK_GROUPS), None);
        if let Some((pinned, before)) = &mut self.pinned {
            let first = pinned.change(&groups).into_iter();
            before.extend(first.map(|group| (group, self.copies[group as usize])));
        }
        delta.each(|row, weight| {
            let group = groups[row] as usize;
            self.copies[group] += weight;
            self.rows += weight;
            if let Some(rendered) = self.chunks[group / CHUNK_GROUPS].take() {
                self.chunk_bytes -= batch_bytes(&rendered);
            }
        });
        self.touched.append(&mut groups);
        Ok(())
    }

    /// Ends a step: no row may be there less than zero times. Its changes go to `out`, each row once.
    pub fn settle(&mut self, out: &mut dyn FnMut(&Delta)) -> Result<(), SqlError> {
        let mut touched = std::mem::take(&mut self.touched);
        for group in &touched {
            let copies = self.copies[*group as usize];
            assert!(copies >= 0, "V4: a row was taken away more often than it was added");
            self.gone += usize::from(copies == 0);
        }
        if let Some(told) = &mut self.told {
            told.resize(self.copies.len(), 0);
            touched.sort_unstable();
            touched.dedup();
            touched.retain(|group| told[*group as usize] != self.copies[*group as usize]);
            for groups in touched.chunks(CHUNK_GROUPS) {
                let weights = groups.iter().map(|group| {
                    let (told, copies) = (&mut told[*group as usize], self.copies[*group as usize]);
                    copies - std::mem::replace(told, copies)
                });
                let weights = weights.collect();
                let rows = batch_of(self.schema.clone(), self.keys.columns(groups)?, groups.len())?;
                out(&weighted(rows, weights));
            }
        }
        // `gone` overcounts rows that come and go: it only says when looking is worth while.
        // Numbers stay as they are while they are read.
        if self.gone > CHUNK_GROUPS && self.gone > self.copies.len() / 2 && self.pinned.is_none() {
            let keep: Vec<u32> = (0..self.copies.len() as u32)
                .filter(|group| self.copies[*group as usize] > 0)
                .collect();
            if keep.len() < self.copies.len() / 2 {
                self.keys.keep(&keep);
                self.copies = keep.iter().map(|group| self.copies[*group as usize]).collect();
                if self.told.is_some() {
                    self.told = Some(self.copies.clone());
                }
                self.chunks = vec![None; keep.len().div_ceil(CHUNK_GROUPS)];
                self.chunk_bytes = 0;
            }
            self.gone = 0;
        }
        Ok(())
    }

    /// Between two steps: begins a reading of the present rows. Those that are rendered already are returned.
    pub fn pin(&mut self) -> Vec<RecordBatch> {
        let open = self.chunks.iter().map(Option::is_none).collect();
        self.pinned = Some((PinnedGroups::new(self.copies.len(), CHUNK_GROUPS, open), Vec::new()));
        self.chunks.iter().flatten().cloned().collect()
    }

    /// The rows of the next chunk of a reading that have not changed since.
    pub fn render_pinned(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        let Some(next) = self.pinned.as_mut().and_then(|(pinned, _)| pinned.next_chunk()) else {
            return Ok(None);
        };
        let groups = next.groups.into_iter();
        let rendered = self.render(groups.map(|group| (group, self.copies[group as usize])))?;
        if next.is_present {
            self.chunk_bytes += batch_bytes(&rendered);
            self.chunks[next.chunk] = Some(rendered.clone());
        }
        Ok(Some(rendered))
    }

    /// Ends a reading. The rows that have changed since it began, as they were.
    pub fn unpin(&mut self) -> Result<Vec<RecordBatch>, SqlError> {
        let before = self.pinned.take().map_or_else(Vec::new, |(_, before)| before);
        let parts = before.chunks(CHUNK_GROUPS);
        parts.map(|part| self.render(part.iter().copied())).collect()
    }

    /// Gives up a reading under way.
    pub fn end_reading(&mut self) {
        self.pinned = None;
    }

    /// Distinct rows, each with its copies.
    fn render(&self, rows: impl Iterator<Item = (u32, i64)>) -> Result<RecordBatch, SqlError> {
        let (groups, copies): (Vec<u32>, Vec<i64>) = rows.filter(|(_, copies)| *copies > 0).unzip();
        let rows = batch_of(self.schema.clone(), self.columns(&groups)?, groups.len())?;
        repeat(&rows, &copies)
    }

    fn columns(&self, groups: &[u32]) -> Result<Vec<ArrayRef>, SqlError> {
        self.keys.columns(groups)
    }

    pub fn rows(&self) -> usize {
        usize::try_from(self.rows).expect("V4: a number of rows is not negative")
    }

    pub fn bytes(&self) -> usize {
        let told = self.told.as_ref().map_or(0, Vec::capacity);
        let counts = (self.copies.capacity() + told) * size_of::<i64>();
        self.keys.bytes() + counts + self.touched.capacity() * size_of::<u32>()
    }

    pub fn rendered_bytes(&self) -> usize {
        self.chunk_bytes
    }

    pub fn forget_rendered(&mut self) {
        self.chunks.fill(None);
        self.chunk_bytes = 0;
    }
}

/// Each row as often as its weight says.
fn repeat(batch: &RecordBatch, weights: &[i64]) -> Result<RecordBatch, SqlError> {
    if weights.iter().all(|weight| *weight == 1) {
        return Ok(batch.clone());
    }
    let mut rows = Vec::new();
    for (row, weight) in weights.iter().enumerate() {
        rows.extend(std::iter::repeat_n(
            row as u32,
            usize::try_from(*weight).expect("V4: checked by the caller"),
        ));
    }
    let count = rows.len();
    let rows = UInt32Array::from(rows);
    let columns: Result<Vec<ArrayRef>, SqlError> = batch
        .columns()
        .iter()
        .map(|column| compute::take(column, &rows, None).map_err(SqlError::from))
        .collect();
    batch_of(batch.schema(), columns?, count)
}

/// A view's stored output.
#[allow(clippy::large_enum_variant, reason = "one per view, never moved about")]
pub enum ViewOutput {
    /// Rendered by the operator at this node, through the stateless steps above it.
    Rendered {
        node: usize,
        chunks: Vec<Option<RecordBatch>>,
        /// Bytes of those.
        chunk_bytes: usize,
        /// The stateless steps may fail: they are evaluated at each step, not only when someone reads.
        checks: bool,
    },
    Rows(OutputRows),
    Bag(Bag),
}

impl ViewOutput {
    pub fn save(&mut self) -> Result<Vec<RecordBatch>, SqlError> {
        match self {
            ViewOutput::Rendered { .. } => Ok(Vec::new()),
            ViewOutput::Rows(rows) => Ok(rows.batches()),
            ViewOutput::Bag(bag) => {
                let groups: Vec<u32> = (0..bag.copies.len() as u32).collect();
                let mut fields: Vec<_> = bag.schema.fields().iter().cloned().collect();
                fields.push(Arc::new(Field::new("_weight", DataType::Int64, false)));
                let mut columns = bag.columns(&groups)?;
                columns.push(Arc::new(Int64Array::from(bag.copies.clone())));
                let schema = super::delta::schema_of(fields);
                Ok(vec![batch_of(schema, columns, groups.len())?])
            }
        }
    }

    pub fn restore(&mut self, saved: &[RecordBatch]) -> Result<(), SqlError> {
        match self {
            ViewOutput::Rendered {
                chunks, chunk_bytes, ..
            } => {
                chunks.clear();
                *chunk_bytes = 0;
            }
            ViewOutput::Rows(rows) => {
                *rows = OutputRows::new(rows.schema.clone());
                for batch in saved {
                    rows.append(Delta::added(batch.clone()))?;
                }
            }
            ViewOutput::Bag(bag) => {
                let tells = bag.told.is_some();
                *bag = Bag::new(bag.schema.clone(), bag.budget.clone())?;
                for batch in saved {
                    let last = batch.num_columns() - 1;
                    let rows = batch_of(bag.schema.clone(), batch.columns()[..last].to_vec(), batch.num_rows())?;
                    let weights = batch.column(last).as_primitive::<Int64Type>().clone();
                    bag.apply(&Delta::weighted(rows, weights))?;
                    bag.settle(&mut |_| {})?;
                }
                bag.tell(tells);
            }
        }
        Ok(())
    }
}
