//! [`JoinRows`]: the rows of one side of a join, found by the number of their key.
//!
//! One rule: a row that is taken away is the same in every column as one that was added. A side that only grows keeps its
//! rows as they came; one that does not keeps each distinct row once, with the number of its copies.
//!
//! Rows as they came may be kept for several joins together (`arrangement.rs`): each sees those that it has taken itself.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, SchemaRef};
use parking_lot::RwLock;

use crate::error::SqlError;
use crate::log::Lsn;

use super::super::SharedState;
use super::super::aggregate::keys::Keys;
use super::super::net::exact_rows;
use super::super::window::{from_weight_column, with_weight_column};
use super::chains::{KeyChains, MeetPlace, Pairs};
use super::column::{BLOCK_ROWS, StoredColumn, gather};
use super::expiry::Passed;
use crate::views::delta::{Delta, batch_of, schema_of};
use crate::views::memory::{Budget, row_bytes_max};

/// The way in which the rows of a side are kept.
#[derive(Clone, Copy, Default, Debug)]
pub struct SideUse {
    /// They are never taken away.
    pub grows: bool,
    /// Rows are dropped, or their keys asked for: rows have a key each.
    pub knows_keys: bool,
    /// [`JoinRows::apply`] tells which keys come to have rows, or to have none.
    pub tells_keys: bool,
    /// The rows of the other side that a row matches are counted.
    pub counts_matches: bool,
}

pub struct JoinRows {
    schema: SchemaRef,
    how: SideUse,
    store: RowStore,
    chains: Arc<RwLock<KeyChains>>,
    /// Rows of these that are this side's: all, unless others have more.
    taken: usize,
    /// By row: its key, where that is known.
    keys: Vec<u32>,
    /// By key: copies of its rows together, where rows can be taken away and `tells_keys` is asked.
    counts: Vec<i64>,
    /// By row: rows of the other side that it matches, where the side asks for them.
    matches: Vec<i64>,
    /// Rows that have no copies left.
    gone: usize,
    /// Of the largest row so far.
    row_bytes_max: usize,
}

enum RowStore {
    /// As they came.
    Grown(Vec<Arc<RwLock<StoredColumn>>>),
    Distinct(Box<Keys>),
}

/// A key that has come to have rows, or to have none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyChange {
    pub key: u32,
    /// It has rows now.
    pub has_rows: bool,
}

/// Rows as they came, for several joins.
#[derive(Clone)]
pub struct GrownRows {
    pub chains: Arc<RwLock<KeyChains>>,
    pub columns: Vec<Arc<RwLock<StoredColumn>>>,
}

impl JoinRows {
    pub fn new(schema: SchemaRef, how: SideUse, budget: Arc<Budget>) -> Result<JoinRows, SqlError> {
        let column = |field: &Arc<Field>| Arc::new(RwLock::new(StoredColumn::new(field.data_type())));
        let store = match how.grows {
            true => RowStore::Grown(schema.fields().iter().map(column).collect()),
            false => RowStore::Distinct(Box::new(exact_rows(&schema, budget)?)),
        };
        Ok(JoinRows {
            schema,
            how: SideUse {
                knows_keys: how.knows_keys || !how.grows,
                ..how
            },
            store,
            chains: Arc::default(),
            taken: 0,
            keys: Vec::new(),
            counts: Vec::new(),
            matches: Vec::new(),
            gone: 0,
            row_bytes_max: 0,
        })
    }

    pub fn row_bytes_max(&self) -> usize {
        self.row_bytes_max
    }

    /// Whether these keys have rows.
    pub fn have_rows(&self, keys: &[u32]) -> Vec<bool> {
        match self.store {
            RowStore::Grown(_) => {
                let chains = self.chains.read();
                keys.iter().map(|key| chains.has_rows(*key, self.taken)).collect()
            }
            RowStore::Distinct(_) => {
                assert!(self.how.tells_keys, "it counts rows by key");
                keys.iter().map(|key| self.count(*key) > 0).collect()
            }
        }
    }

    fn count(&self, key: u32) -> i64 {
        self.counts.get(key as usize).copied().unwrap_or(0)
    }

    /// Pairs rows that have these keys with those here, as [`KeyChains::meet`] does.
    pub fn meet(&self, keys: &[u32], place: &mut MeetPlace, pairs_max: usize, pairs: &mut Pairs) -> bool {
        self.chains.read().meet(keys, self.taken, place, pairs_max, pairs)
    }

    /// The rows of keys that have copies; of each key the newest first.
    pub fn of_keys(&self, keys: impl Iterator<Item = u32>) -> Vec<u32> {
        let chains = self.chains.read();
        keys.flat_map(|key| chains.of_key(key, self.taken)).collect()
    }

    /// All rows that have copies.
    pub fn live(&self) -> Vec<u32> {
        let chains = self.chains.read();
        let rows = 0..self.taken as u32;
        rows.filter(|row| chains.copies(*row) != 0).collect()
    }

    pub fn key(&self, row: u32) -> u32 {
        self.keys[row as usize]
    }

    pub fn copies_of(&self, rows: &[u32]) -> Vec<i64> {
        let chains = self.chains.read();
        rows.iter().map(|row| chains.copies(*row)).collect()
    }

    /// Rows of the other side that a row matches.
    pub fn matches(&self, row: u32) -> i64 {
        self.matches.get(row as usize).copied().unwrap_or(0)
    }

    pub fn add_matches(&mut self, row: u32, more: i64) {
        if self.how.counts_matches {
            self.matches[row as usize] += more;
        }
    }

    /// Adds and takes away rows with these keys, which match so many of the other side. Tells the keys that this gives rows to, or
    /// takes their last from, if it is asked to.
    pub fn apply(&mut self, delta: &Delta, keys: &[u32], matches: &[i64]) -> Result<Vec<KeyChange>, SqlError> {
        self.row_bytes_max = self.row_bytes_max.max(row_bytes_max(&delta.batch));
        match self.how.grows {
            true => self.grow(delta, keys, matches),
            false => self.change(delta, keys, matches),
        }
    }

    fn grow(&mut self, delta: &Delta, keys: &[u32], matches: &[i64]) -> Result<Vec<KeyChange>, SqlError> {
        let RowStore::Grown(columns) = &mut self.store else {
            panic!("a side that grows keeps rows as they came");
        };
        let upto = self.taken + delta.rows();
        for (column, values) in columns.iter().zip(delta.batch.columns()) {
            let is_there = column.read().rows() >= upto;
            if !is_there {
                column.write().append(self.taken, values)?;
            }
        }
        let mut changed: Vec<u32> = Vec::new();
        let is_there = {
            let chains = self.chains.read();
            if self.how.tells_keys {
                changed.extend(keys.iter().filter(|key| !chains.has_rows(**key, self.taken)));
            }
            chains.rows() >= upto
        };
        if !is_there {
            self.chains.write().append(self.taken, keys, delta.weight_values());
        }
        self.taken = upto;
        if self.how.knows_keys {
            self.keys.extend_from_slice(keys);
        }
        if self.how.counts_matches {
            self.matches.extend_from_slice(matches);
        }
        changed.sort_unstable();
        changed.dedup();
        let come = |key| KeyChange { key, has_rows: true };
        Ok(changed.into_iter().map(come).collect())
    }

    fn change(&mut self, delta: &Delta, keys: &[u32], matches: &[i64]) -> Result<Vec<KeyChange>, SqlError> {
        let RowStore::Distinct(rows) = &mut self.store else {
            panic!("a side whose rows may go keeps the distinct ones");
        };
        let mut numbers = Vec::new();
        rows.intern(delta.batch.columns(), delta.rows(), &mut numbers)?;
        let mut changed: Vec<KeyChange> = Vec::new();
        if self.how.tells_keys {
            let mut touched = keys.to_vec();
            touched.sort_unstable();
            touched.dedup();
            if let Some(last) = touched.last()
                && *last as usize >= self.counts.len()
            {
                self.counts.resize(*last as usize + 1, 0);
            }
            let as_before = |key| KeyChange {
                key,
                has_rows: self.count(key) > 0,
            };
            changed.extend(touched.into_iter().map(as_before));
            delta.each(|row, weight| self.counts[keys[row] as usize] += weight);
            changed.retain_mut(|change| {
                let had_rows = std::mem::replace(&mut change.has_rows, self.counts[change.key as usize] > 0);
                had_rows != change.has_rows
            });
        }
        let mut chains = self.chains.write();
        delta.each(|row, weight| {
            let number = numbers[row] as usize;
            let (before, after) = chains.change(number, keys[row], weight);
            if before.is_none() {
                self.keys.push(keys[row]);
            }
            if self.how.counts_matches {
                match before {
                    None => self.matches.push(matches[row]),
                    Some(0) => self.matches[number] = matches[row],
                    Some(_) => {}
                }
            }
            self.gone -= usize::from(before == Some(0));
            self.gone += usize::from(after == 0);
        });
        self.taken = chains.rows();
        Ok(changed)
    }

    /// The columns of rows, in that order.
    pub fn columns(&self, rows: &[u32]) -> Result<Vec<ArrayRef>, SqlError> {
        match &self.store {
            RowStore::Distinct(store) => store.columns(rows),
            RowStore::Grown(columns) => gather(columns.iter(), rows),
        }
    }

    /// Those columns of rows that stand at these places.
    pub fn columns_at(&self, places: &[usize], rows: &[u32]) -> Result<Vec<ArrayRef>, SqlError> {
        match &self.store {
            RowStore::Distinct(store) => {
                let all = store.columns(rows)?;
                Ok(places.iter().map(|place| all[*place].clone()).collect())
            }
            RowStore::Grown(columns) => gather(places.iter().map(|place| &columns[*place]), rows),
        }
    }

    /// Between steps: whether enough rows are gone for [`JoinRows::compact`] to be worth while.
    pub fn is_sparse(&self) -> bool {
        self.gone > BLOCK_ROWS && self.gone > self.taken / 2
    }

    /// Forgets rows without copies, and takes the keys' new numbers.
    pub fn compact(&mut self, new_key: &[u32], keys: usize) {
        let renumbered = |old: &u32| new_key[*old as usize];
        match &mut self.store {
            RowStore::Grown(_) => {
                self.chains.write().renumber(new_key, keys);
                self.keys = self.keys.iter().map(renumbered).collect();
            }
            RowStore::Distinct(store) => {
                let mut chains = self.chains.write();
                let live: Vec<u32> = (0..self.taken as u32).filter(|row| chains.copies(*row) != 0).collect();
                store.keep(&live);
                self.keys = live.iter().map(|row| renumbered(&self.keys[*row as usize])).collect();
                chains.rebuild(&live, &self.keys);
                if self.how.counts_matches {
                    self.matches = live.iter().map(|row| self.matches[*row as usize]).collect();
                }
                let mut counts = vec![0; if self.how.tells_keys { keys } else { 0 }];
                for (old, count) in self.counts.iter().enumerate().filter(|(_, count)| **count != 0) {
                    counts[new_key[old] as usize] = *count;
                }
                self.counts = counts;
                self.taken = live.len();
                self.gone = 0;
            }
        }
    }

    /// Keys that have rows, marked.
    pub fn mark_keys(&self, used: &mut [bool]) {
        match self.store {
            RowStore::Grown(_) => self.chains.read().mark_keys(used),
            RowStore::Distinct(_) => {
                for row in self.live() {
                    used[self.keys[row as usize] as usize] = true;
                }
            }
        }
    }

    /// Rows that have copies.
    pub fn rows(&self) -> usize {
        self.taken - self.gone
    }

    /// Of rows that others keep as well, an equal part.
    pub fn bytes(&self) -> usize {
        let store = match &self.store {
            RowStore::Grown(columns) => {
                let part = |column: &Arc<RwLock<StoredColumn>>| column.read().bytes() / Arc::strong_count(column);
                columns.iter().map(part).sum()
            }
            RowStore::Distinct(keys) => keys.bytes(),
        };
        let chains = self.chains.read().bytes() / Arc::strong_count(&self.chains);
        let counts = self.counts.capacity() + self.matches.capacity();
        store + chains + self.keys.capacity() * size_of::<u32>() + counts * size_of::<i64>()
    }

    /// Notes the end of a step, for those who share the rows.
    pub fn end_step(&self, lsn: Lsn) {
        self.chains.write().end(lsn, self.taken);
    }

    /// Its rows, if others can share them: each row is the same for all, and stays.
    pub fn shareable(&self) -> Option<GrownRows> {
        match &self.store {
            RowStore::Grown(columns) if !self.how.knows_keys && !self.how.counts_matches => Some(GrownRows {
                chains: self.chains.clone(),
                columns: columns.clone(),
            }),
            _ => None,
        }
    }

    /// Rows that are this side's, those without copies too.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// Goes over to rows that others keep as well, of which the first are the same.
    pub fn share(&mut self, rows: GrownRows) {
        assert!(self.shareable().is_some(), "they are as they came");
        self.chains = rows.chains;
        self.store = RowStore::Grown(rows.columns);
    }

    /// Whether nobody else has the rows.
    pub fn is_alone(&self) -> bool {
        Arc::strong_count(&self.chains) == 1
    }

    /// The rows, if others have them too.
    pub fn shared(&self) -> Option<SharedState> {
        let RowStore::Grown(columns) = &self.store else {
            return None;
        };
        let columns = columns.iter().map(|column| column.read().bytes());
        let bytes = self.chains.read().bytes() + columns.sum::<usize>();
        (!self.is_alone()).then(|| SharedState {
            id: Arc::as_ptr(&self.chains).addr(),
            bytes,
        })
    }

    /// All rows that have copies, with these as weights; behind their columns the matches, where they are counted.
    pub fn save(&self) -> Result<RecordBatch, SqlError> {
        let rows = self.live();
        let weights = self.copies_of(&rows);
        let mut columns = self.columns(&rows)?;
        if self.how.counts_matches {
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
        let matches = match self.how.counts_matches.then(|| columns.pop()).flatten() {
            Some(matches) => matches.as_primitive::<Int64Type>().values().to_vec(),
            None => vec![0; delta.rows()],
        };
        Ok((delta.with_columns(self.schema.clone(), columns)?, matches))
    }

    fn saved_schema(&self) -> SchemaRef {
        let mut fields: Vec<_> = self.schema.fields().iter().cloned().collect();
        if self.how.counts_matches {
            fields.push(Arc::new(Field::new("_matches", DataType::Int64, false)));
        }
        schema_of(fields)
    }

    /// Drops rows that have expired; answers whether there were any. [`JoinRows::compact`] must follow.
    pub fn expire(&mut self, passed: &Passed) -> Result<bool, SqlError> {
        assert!(self.how.knows_keys, "rows are dropped by their keys");
        let rows = self.taken as u32;
        let mut kept: Vec<bool> = Vec::with_capacity(rows as usize);
        for from in (0..rows).step_by(BLOCK_ROWS) {
            let block: Vec<u32> = (from..rows.min(from + BLOCK_ROWS as u32)).collect();
            kept.extend(passed.kept(&self.columns(&block)?, block.len()));
        }
        if kept.iter().all(|kept| *kept) {
            return Ok(false);
        }
        let rows: Vec<u32> = (0..rows).filter(|row| kept[*row as usize]).collect();
        match &mut self.store {
            RowStore::Grown(columns) => {
                for column in columns {
                    column.write().retain(&kept)?;
                }
            }
            RowStore::Distinct(store) => store.keep(&rows),
        }
        self.keys = rows.iter().map(|row| self.keys[*row as usize]).collect();
        if self.how.counts_matches {
            self.matches = rows.iter().map(|row| self.matches[*row as usize]).collect();
        }
        let mut chains = self.chains.write();
        chains.rebuild(&rows, &self.keys);
        self.taken = rows.len();
        let copies = (0..self.taken as u32).map(|row| chains.copies(row));
        self.gone = copies.clone().filter(|copies| *copies == 0).count();
        self.counts.fill(0);
        if !self.counts.is_empty() {
            for (key, copies) in self.keys.iter().zip(copies) {
                self.counts[*key as usize] += copies;
            }
        }
        Ok(true)
    }
}
