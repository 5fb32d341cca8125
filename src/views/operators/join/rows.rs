//! [`JoinRows`]: the rows of one side of a join, found by the number of their key.
//!
//! One rule: a row that is taken away is the same in every column as one that was added. A side that only grows keeps its
//! rows as they came; one that does not keeps each distinct row once, with the number of its copies.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute;
use arrow::datatypes::{DataType, Field, Int64Type, SchemaRef};

use crate::error::SqlError;

use super::super::aggregate::keys::Keys;
use super::super::net::exact_rows;
use super::super::window::{from_weight_column, with_weight_column};
use super::expiry::Passed;
use crate::views::delta::{Delta, batch_of, concat, schema_of, take_rows};
use crate::views::memory::{Budget, batch_bytes, row_bytes_max};

/// Rows of a block that is complete: a power of two, so that a row's number says where it stands.
const BLOCK_ROWS: usize = 8192;
/// The end of a chain.
const NONE: u32 = u32::MAX;

pub struct JoinRows {
    schema: SchemaRef,
    store: RowStore,
    /// By key: the row that came last, or [`NONE`].
    newest: Vec<u32>,
    /// By row: the one before it with the same key, or [`NONE`].
    before: Vec<u32>,
    /// By row: its key.
    keys: Vec<u32>,
    /// By row: copies. Shorter than the rows while all the rest have one.
    copies: Vec<i64>,
    /// By key: copies of its rows together.
    counts: Vec<i64>,
    /// By row: rows of the other side that it matches, where the side asks for them.
    matches: Option<Vec<i64>>,
    /// Rows that have no copies left.
    gone: usize,
    /// Of the largest row so far.
    row_bytes_max: usize,
}

enum RowStore {
    /// As they came: complete blocks, then batches of the last one.
    Grown {
        blocks: Vec<RecordBatch>,
        last: Vec<RecordBatch>,
        last_rows: usize,
        bytes: usize,
    },
    Distinct(Keys),
}

impl JoinRows {
    pub fn new(
        schema: SchemaRef,
        grows: bool,
        counts_matches: bool,
        budget: Arc<Budget>,
    ) -> Result<JoinRows, SqlError> {
        let store = match grows {
            true => RowStore::Grown {
                blocks: Vec::new(),
                last: Vec::new(),
                last_rows: 0,
                bytes: 0,
            },
            false => RowStore::Distinct(exact_rows(&schema, budget)?),
        };
        Ok(JoinRows {
            schema,
            store,
            newest: Vec::new(),
            before: Vec::new(),
            keys: Vec::new(),
            copies: Vec::new(),
            counts: Vec::new(),
            matches: counts_matches.then(Vec::new),
            gone: 0,
            row_bytes_max: 0,
        })
    }

    pub fn row_bytes_max(&self) -> usize {
        self.row_bytes_max
    }

    /// Makes room for keys up to this number.
    pub fn reach(&mut self, keys: usize) {
        self.newest.resize(keys, NONE);
        self.counts.resize(keys, 0);
    }

    /// Copies of rows with this key.
    pub fn count(&self, key: u32) -> i64 {
        self.counts[key as usize]
    }

    pub fn add_to_count(&mut self, key: u32, copies: i64) {
        self.counts[key as usize] += copies;
    }

    /// The rows of a key that have copies, newest first.
    pub fn of_key(&self, key: u32) -> impl Iterator<Item = u32> + '_ {
        let mut next = self.newest[key as usize];
        std::iter::from_fn(move || {
            while next != NONE {
                let row = next;
                next = self.before[row as usize];
                if self.copies(row) != 0 {
                    return Some(row);
                }
            }
            None
        })
    }

    /// All rows that have copies.
    pub fn live(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.before.len() as u32).filter(|row| self.copies(*row) != 0)
    }

    pub fn key(&self, row: u32) -> u32 {
        self.keys[row as usize]
    }

    pub fn copies(&self, row: u32) -> i64 {
        self.copies.get(row as usize).copied().unwrap_or(1)
    }

    /// Rows of the other side that a row matches.
    pub fn matches(&self, row: u32) -> i64 {
        self.matches.as_ref().map_or(0, |matches| matches[row as usize])
    }

    pub fn add_matches(&mut self, row: u32, more: i64) {
        if let Some(matches) = &mut self.matches {
            matches[row as usize] += more;
        }
    }

    /// Adds and takes away rows with these keys, which match so many of the other side.
    pub fn apply(&mut self, delta: &Delta, keys: &[u32], matches: &[i64]) -> Result<(), SqlError> {
        self.row_bytes_max = self.row_bytes_max.max(row_bytes_max(&delta.batch));
        match &mut self.store {
            RowStore::Grown {
                blocks,
                last,
                last_rows,
                bytes,
            } => {
                let first = self.before.len();
                *bytes += batch_bytes(&delta.batch);
                append(&self.schema, blocks, last, last_rows, &delta.batch)?;
                if delta.weights.is_some() {
                    self.copies.resize(first, 1);
                }
                delta.each(|row, weight| {
                    assert!(weight > 0, "V4: a row was taken away from an input that only grows");
                    let key = keys[row];
                    self.before.push(self.newest[key as usize]);
                    self.newest[key as usize] = (first + row) as u32;
                    if delta.weights.is_some() {
                        self.copies.push(weight);
                    }
                });
                self.keys.extend_from_slice(keys);
                if let Some(known) = &mut self.matches {
                    known.extend_from_slice(matches);
                }
            }
            RowStore::Distinct(rows) => {
                let mut numbers = Vec::new();
                rows.intern(delta.batch.columns(), delta.rows(), &mut numbers)?;
                delta.each(|row, weight| {
                    let number = numbers[row] as usize;
                    let is_new = number == self.before.len();
                    if is_new {
                        let key = keys[row];
                        self.before.push(self.newest[key as usize]);
                        self.newest[key as usize] = number as u32;
                        self.keys.push(key);
                        self.copies.push(0);
                        if let Some(known) = &mut self.matches {
                            known.push(matches[row]);
                        }
                    } else if let Some(known) = &mut self.matches
                        && self.copies[number] == 0
                    {
                        known[number] = matches[row];
                    }
                    let copies = &mut self.copies[number];
                    self.gone -= usize::from(*copies == 0 && !is_new);
                    *copies += weight;
                    self.gone += usize::from(*copies == 0);
                });
            }
        }
        Ok(())
    }

    /// The columns of rows, in that order.
    pub fn columns(&self, rows: &[u32]) -> Result<Vec<ArrayRef>, SqlError> {
        match &self.store {
            RowStore::Distinct(store) => store.columns(rows),
            RowStore::Grown { blocks, last, .. } => {
                let mut batches: Vec<&RecordBatch> = Vec::new();
                // By block, then by batch of the last one: where it stands in `batches`.
                let mut places: Vec<(u32, usize)> = Vec::new();
                let whole = blocks.len() * BLOCK_ROWS;
                let mut used = vec![u32::MAX; blocks.len()];
                let mut last_from = None;
                for row in rows {
                    let row = *row as usize;
                    if row < whole {
                        let block = row / BLOCK_ROWS;
                        if used[block] == u32::MAX {
                            used[block] = batches.len() as u32;
                            batches.push(&blocks[block]);
                        }
                        places.push((used[block], row % BLOCK_ROWS));
                        continue;
                    }
                    let from = *last_from.get_or_insert_with(|| {
                        let from = batches.len();
                        batches.extend(last);
                        from
                    });
                    let mut at = row - whole;
                    let mut batch = 0;
                    while at >= last[batch].num_rows() {
                        at -= last[batch].num_rows();
                        batch += 1;
                    }
                    places.push(((from + batch) as u32, at));
                }
                let places: Vec<(usize, usize)> = places.iter().map(|(batch, row)| (*batch as usize, *row)).collect();
                let columns = (0..self.schema.fields().len()).map(|column| {
                    if batches.is_empty() {
                        return Ok(arrow::array::new_empty_array(self.schema.field(column).data_type()));
                    }
                    if let [batch] = batches[..] {
                        let rows = UInt32Array::from_iter_values(places.iter().map(|(_, row)| *row as u32));
                        return Ok(compute::take(batch.column(column), &rows, None)?);
                    }
                    let arrays: Vec<&dyn Array> = batches.iter().map(|batch| batch.column(column).as_ref()).collect();
                    Ok(compute::interleave(&arrays, &places)?)
                });
                columns.collect()
            }
        }
    }

    /// Between steps: whether enough rows are gone for [`JoinRows::compact`] to be worth while.
    pub fn is_sparse(&self) -> bool {
        self.gone > BLOCK_ROWS && self.gone > self.before.len() / 2
    }

    /// Forgets rows without copies, and takes the keys' new numbers.
    pub fn compact(&mut self, new_key: &[u32], keys: usize) {
        if let RowStore::Distinct(store) = &mut self.store {
            let live: Vec<u32> = (0..self.before.len() as u32)
                .filter(|row| self.copies[*row as usize] != 0)
                .collect();
            store.keep(&live);
            self.keys = live.iter().map(|row| self.keys[*row as usize]).collect();
            self.copies = live.iter().map(|row| self.copies[*row as usize]).collect();
            if let Some(matches) = &mut self.matches {
                *matches = live.iter().map(|row| matches[*row as usize]).collect();
            }
            self.gone = 0;
        }
        self.newest = vec![NONE; keys];
        let mut counts = vec![0; keys];
        for (old, count) in self.counts.iter().enumerate() {
            if new_key[old] != NONE {
                counts[new_key[old] as usize] = *count;
            }
        }
        self.counts = counts;
        self.before.clear();
        for (row, key) in self.keys.iter_mut().enumerate() {
            *key = new_key[*key as usize];
            self.before.push(self.newest[*key as usize]);
            self.newest[*key as usize] = row as u32;
        }
    }

    /// Keys that have rows, marked.
    pub fn mark_keys(&self, used: &mut [bool]) {
        for row in self.live() {
            used[self.keys[row as usize] as usize] = true;
        }
    }

    /// Rows that have copies.
    pub fn rows(&self) -> usize {
        self.before.len() - self.gone
    }

    pub fn bytes(&self) -> usize {
        let store = match &self.store {
            RowStore::Grown { bytes, .. } => *bytes,
            RowStore::Distinct(keys) => keys.bytes(),
        };
        let words = self.newest.capacity() + self.before.capacity() + self.keys.capacity();
        let counts = self.copies.capacity() + self.counts.capacity();
        let matches = self.matches.as_ref().map_or(0, Vec::capacity);
        store + words * size_of::<u32>() + (counts + matches) * size_of::<i64>()
    }

    /// All rows that have copies, with these as weights; behind their columns the matches, where they are counted.
    pub fn save(&self) -> Result<RecordBatch, SqlError> {
        let rows: Vec<u32> = self.live().collect();
        let weights = rows.iter().map(|row| self.copies(*row)).collect::<Vec<i64>>();
        let mut columns = self.columns(&rows)?;
        if self.matches.is_some() {
            let matches = rows.iter().map(|row| self.matches(*row));
            columns.push(Arc::new(Int64Array::from_iter_values(matches)));
        }
        let batch = batch_of(self.saved_schema(), columns, rows.len())?;
        with_weight_column(&Delta::weighted(batch, weights.into()))
    }

    /// The inverse of [`JoinRows::save`]: rows, and the matches of each.
    pub fn saved(&self, batch: &RecordBatch) -> Result<(Delta, Vec<i64>), SqlError> {
        let delta = from_weight_column(batch, self.saved_schema())?;
        let mut columns = delta.batch.columns().to_vec();
        let matches = match self.matches.is_some().then(|| columns.pop()).flatten() {
            Some(matches) => matches.as_primitive::<Int64Type>().values().to_vec(),
            None => vec![0; delta.rows()],
        };
        Ok((delta.with_columns(self.schema.clone(), columns)?, matches))
    }

    fn saved_schema(&self) -> SchemaRef {
        let mut fields: Vec<_> = self.schema.fields().iter().cloned().collect();
        if self.matches.is_some() {
            fields.push(Arc::new(Field::new("_matches", DataType::Int64, false)));
        }
        schema_of(fields)
    }

    /// Drops rows that have expired; answers whether there were any. [`JoinRows::compact`] must follow.
    pub fn expire(&mut self, passed: &Passed) -> Result<bool, SqlError> {
        let rows = self.before.len() as u32;
        let mut kept: Vec<bool> = Vec::with_capacity(rows as usize);
        for from in (0..rows).step_by(BLOCK_ROWS) {
            let block: Vec<u32> = (from..rows.min(from + BLOCK_ROWS as u32)).collect();
            kept.extend(passed.kept(&self.columns(&block)?, block.len()));
        }
        if kept.iter().all(|kept| *kept) {
            return Ok(false);
        }
        match &mut self.store {
            RowStore::Grown {
                blocks,
                last,
                last_rows,
                bytes,
            } => {
                let all = std::mem::take(blocks).into_iter().chain(std::mem::take(last));
                (*last_rows, *bytes) = (0, 0);
                let mut from = 0;
                for batch in all.collect::<Vec<RecordBatch>>() {
                    let upto = from + batch.num_rows();
                    let mask = BooleanArray::from(kept[from..upto].to_vec());
                    let batch = compute::filter_record_batch(&batch, &mask)?;
                    *bytes += batch_bytes(&batch);
                    append(&self.schema, blocks, last, last_rows, &batch)?;
                    from = upto;
                }
            }
            RowStore::Distinct(store) => {
                let rows: Vec<u32> = (0..rows).filter(|row| kept[*row as usize]).collect();
                store.keep(&rows);
            }
        }
        retain(&mut self.keys, &kept);
        retain(&mut self.copies, &kept);
        if let Some(matches) = &mut self.matches {
            retain(matches, &kept);
        }
        self.before.truncate(self.keys.len());
        self.gone = self.copies.iter().filter(|copies| **copies == 0).count();
        self.counts.fill(0);
        for (row, key) in self.keys.iter().enumerate() {
            self.counts[*key as usize] += self.copies.get(row).copied().unwrap_or(1);
        }
        Ok(true)
    }
}

/// Leaves out what is not kept; the values may be fewer than the marks.
fn retain<T>(values: &mut Vec<T>, kept: &[bool]) {
    let mut kept = kept.iter();
    values.retain(|_| kept.next().is_some_and(|kept| *kept));
}

/// Adds rows to the last block; complete ones become one batch each.
fn append(
    schema: &SchemaRef,
    blocks: &mut Vec<RecordBatch>,
    last: &mut Vec<RecordBatch>,
    last_rows: &mut usize,
    batch: &RecordBatch,
) -> Result<(), SqlError> {
    let mut offset = 0;
    while offset < batch.num_rows() {
        let rows = (BLOCK_ROWS - *last_rows).min(batch.num_rows() - offset);
        last.push(batch.slice(offset, rows));
        *last_rows += rows;
        offset += rows;
        // Batches of like size are merged, so that there are few of them and each row is copied a few times at most.
        let mut start = last.len() - 1;
        let mut merged = last[start].num_rows();
        while start > 0 && (last[start - 1].num_rows() <= merged || *last_rows == BLOCK_ROWS) {
            start -= 1;
            merged += last[start].num_rows();
        }
        // A slice holds the whole batch that it is of: the rows are copied.
        let one = match (&last[start..], offset == rows && rows == batch.num_rows()) {
            ([one], true) => one.clone(),
            ([one], false) => take_rows(one, &UInt32Array::from_iter_values(0..one.num_rows() as u32))?,
            (several, _) => concat(schema, several)?,
        };
        last.truncate(start);
        last.push(one);
        if *last_rows == BLOCK_ROWS {
            blocks.append(last);
            *last_rows = 0;
        }
    }
    Ok(())
}
