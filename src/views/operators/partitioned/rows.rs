//! [`PartitionedRows`]: the rows of an operator's input by partition, each partition's in order, and the changes of the present
//! step.
//!
//! One rule: rows stand in the order of their keys, then of their other columns from left to right, so that the order is total
//! and the same whatever way the rows came. The rows before the step are those of now without the step's changes.
//!
//! A row is its bytes (`arrow::row`): the sort keys, then the columns that are no sort keys. A change costs the logarithm of its
//! partition's rows.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, btree_map};
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::ScalarValue;

use crate::error::SqlError;

use super::super::net::PART_ROWS;
use crate::views::delta::{Delta, batch_of};
use crate::views::expression::Expression;

/// Bytes of a row beside its own: its key in a tree, the counts of a shared allocation.
const ROW_BYTES: usize = 80;
/// Bytes of a partition that has rows, beside theirs.
const PARTITION_BYTES: usize = 200;

/// The rows that are asked for: up to this number, by a way of numbering.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FirstRows {
    /// row_number()
    Numbered(i64),
    /// rank(): the peers of the last one come too.
    Ranked(i64),
    /// dense_rank(): so many groups of peers.
    DenselyRanked(i64),
}

/// What rows are sorted by.
#[derive(Clone, Debug)]
pub struct SortedBy {
    pub key: Expression,
    pub data_type: DataType,
    pub options: SortOptions,
    /// The column of the input that it is, if it is no more than that.
    pub column: Option<usize>,
}

/// A row as bytes that sort as it does.
#[derive(Clone, Debug)]
pub struct RowKey {
    bytes: Arc<[u8]>,
    /// So many of them are its sort keys.
    order_bytes: u32,
}

impl RowKey {
    /// Rows with the same of this are peers.
    pub fn order(&self) -> &[u8] {
        &self.bytes[..self.order_bytes as usize]
    }

    /// Stands before its peers, and behind all others before them.
    pub fn group_start(&self) -> RowKey {
        RowKey {
            bytes: self.order().into(),
            order_bytes: self.order_bytes,
        }
    }

    /// Stands next behind its peers; `None` if nothing can stand there.
    pub fn group_end(&self) -> Option<RowKey> {
        let order = self.order();
        let last = order.iter().rposition(|byte| *byte < u8::MAX)?;
        let mut bytes = order[..=last].to_vec();
        bytes[last] += 1;
        Some(RowKey {
            order_bytes: bytes.len() as u32,
            bytes: bytes.into(),
        })
    }

    /// Stands next behind it.
    pub fn end(&self) -> RowKey {
        RowKey {
            bytes: [&self.bytes, &[0][..]].concat().into(),
            order_bytes: self.order_bytes,
        }
    }
}

/// Rows from one to another.
pub type RowRange<'a> = (Bound<&'a RowKey>, Bound<&'a RowKey>);

pub const ALL_ROWS: RowRange<'static> = (Bound::Unbounded, Bound::Unbounded);

impl PartialEq for RowKey {
    fn eq(&self, other: &RowKey) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for RowKey {}

impl PartialOrd for RowKey {
    fn partial_cmp(&self, other: &RowKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RowKey {
    fn cmp(&self, other: &RowKey) -> Ordering {
        self.bytes.cmp(&other.bytes)
    }
}

impl Borrow<[u8]> for RowKey {
    fn borrow(&self) -> &[u8] {
        &self.bytes
    }
}

/// Rows to bytes and back.
pub struct RowCoding {
    schema: SchemaRef,
    pub order: RowConverter,
    pub rest: RowConverter,
    both: RowConverter,
    /// Columns that are no sort keys.
    pub rest_columns: Vec<usize>,
    /// By column: its place among the sort keys and the rest.
    places: Vec<usize>,
    /// The types of all that is encoded.
    types: Vec<DataType>,
}

impl RowCoding {
    /// Rows that are alike in the first `peer_keys` sort keys are peers.
    pub fn new(schema: SchemaRef, order: &[SortedBy], peer_keys: usize) -> Result<RowCoding, SqlError> {
        let mut places = vec![usize::MAX; schema.fields().len()];
        for (at, by) in order.iter().enumerate() {
            if let Some(column) = by.column.filter(|column| places[*column] == usize::MAX) {
                places[column] = at;
            }
        }
        let mut rest_columns = Vec::new();
        for (column, place) in places.iter_mut().enumerate() {
            if *place == usize::MAX {
                *place = order.len() + rest_columns.len();
                rest_columns.push(column);
            }
        }
        let by_order = order
            .iter()
            .map(|by| SortField::new_with_options(by.data_type.clone(), by.options));
        let mut by_order: Vec<SortField> = by_order.collect();
        let by_ties = by_order.split_off(peer_keys);
        // As ORDER BY sorts if it says no more.
        let rising = SortOptions {
            descending: false,
            nulls_first: false,
        };
        let rest = rest_columns
            .iter()
            .map(|column| SortField::new_with_options(schema.field(*column).data_type().clone(), rising));
        let rest: Vec<SortField> = by_ties.into_iter().chain(rest).collect();
        let types = order.iter().map(|by| by.data_type.clone());
        let of_rest = rest_columns
            .iter()
            .map(|column| schema.field(*column).data_type().clone());
        Ok(RowCoding {
            types: types.chain(of_rest).collect(),
            both: RowConverter::new([by_order.clone(), rest.clone()].concat())?,
            order: RowConverter::new(by_order)?,
            rest: RowConverter::new(rest)?,
            schema,
            rest_columns,
            places,
        })
    }

    /// The length of each row, if all have the same.
    pub fn width(&self) -> Option<usize> {
        // A byte for NULL stands before each value.
        let width = |data_type: &DataType| match data_type {
            DataType::Boolean => Some(2),
            other => other.primitive_width().map(|width| width + 1),
        };
        let width = self.types.iter().map(width).sum::<Option<usize>>();
        width.filter(|width| *width > 0)
    }

    /// The columns of rows, in that order.
    pub fn batch<'a>(&self, rows: impl Iterator<Item = &'a [u8]>, count: usize) -> Result<RecordBatch, SqlError> {
        let columns = match self.schema.fields().is_empty() {
            true => Vec::new(),
            false => {
                let parser = self.both.parser();
                let decoded = self.both.convert_rows(rows.map(|row| parser.parse(row)))?;
                self.places.iter().map(|place| decoded[*place].clone()).collect()
            }
        };
        batch_of(self.schema.clone(), columns, count)
    }
}

/// Encoded columns; no columns have no bytes.
pub fn encoded(converter: &RowConverter, columns: &[ArrayRef]) -> Result<Option<Rows>, SqlError> {
    match columns.is_empty() {
        true => Ok(None),
        false => Ok(Some(converter.convert_columns(columns)?)),
    }
}

pub fn bytes_at(rows: &Option<Rows>, row: usize) -> &[u8] {
    rows.as_ref().map_or(&[], |rows| rows.row(row).data())
}

/// The rows of a partition.
#[derive(Default)]
struct OnePartition {
    /// Their copies.
    rows: BTreeMap<RowKey, i64>,
    copies: i64,
    /// Rows that differ in their order, where they are counted.
    peer_groups: i64,
}

impl OnePartition {
    fn has_peer(&self, key: &RowKey) -> bool {
        let before = self.rows.range::<RowKey, _>(..key).next_back();
        let from = (Bound::Excluded(key), Bound::Unbounded);
        let after = self.rows.range::<RowKey, _>(from).next();
        let is_peer = |row: Option<(&RowKey, &i64)>| row.is_some_and(|(row, _)| row.order() == key.order());
        is_peer(before) || is_peer(after)
    }

    /// Whether a row of this order stands behind all that are asked for.
    fn is_beyond(&self, first: FirstRows, order: &[u8]) -> bool {
        let found = match first {
            FirstRows::Numbered(rows) | FirstRows::Ranked(rows) => self.copies >= rows,
            FirstRows::DenselyRanked(groups) => self.peer_groups >= groups,
        };
        found && self.rows.last_key_value().is_none_or(|(last, _)| order > last.order())
    }

    /// The last rows, if they are behind those that are asked for.
    fn surplus(&self, first: FirstRows) -> Vec<(RowKey, i64)> {
        let Some((last, copies)) = self.rows.last_key_value() else {
            return Vec::new();
        };
        let peers = || {
            let peers = self
                .rows
                .iter()
                .rev()
                .take_while(|(row, _)| row.order() == last.order());
            peers.map(|(row, copies)| (row.clone(), *copies)).collect::<Vec<_>>()
        };
        match first {
            FirstRows::Numbered(rows) if self.copies > rows => vec![(last.clone(), (self.copies - rows).min(*copies))],
            FirstRows::DenselyRanked(groups) if self.peer_groups > groups => peers(),
            FirstRows::Ranked(rows) if self.copies - copies >= rows => {
                let peers = peers();
                let together: i64 = peers.iter().map(|(_, copies)| copies).sum();
                match self.copies - together >= rows {
                    true => peers,
                    false => Vec::new(),
                }
            }
            _ => Vec::new(),
        }
    }
}

/// The changes of a partition in the present step.
#[derive(Default)]
struct StepChanges {
    /// There were no rows before: all of now are changes.
    is_new: bool,
    rows: BTreeMap<RowKey, i64>,
}

pub struct PartitionedRows {
    coding: RowCoding,
    order: Arc<[SortedBy]>,
    peer_keys: usize,
    /// Rows behind these need not be kept: none is ever taken away.
    first: Option<FirstRows>,
    /// By number.
    partitions: Vec<OnePartition>,
    changes: HashMap<u32, StepChanges>,
    /// Partitions without rows.
    empty: usize,
    rows: usize,
    /// Of the rows, those that changed included.
    row_bytes: usize,
    change_bytes: usize,
}

impl PartitionedRows {
    /// Rows that are alike in the first `peer_keys` sort keys are peers.
    pub fn new(
        schema: SchemaRef,
        order: Arc<[SortedBy]>,
        peer_keys: usize,
        first: Option<FirstRows>,
    ) -> Result<PartitionedRows, SqlError> {
        Ok(PartitionedRows {
            coding: RowCoding::new(schema, &order, peer_keys)?,
            order,
            peer_keys,
            first,
            partitions: Vec::new(),
            changes: HashMap::new(),
            empty: 0,
            rows: 0,
            row_bytes: 0,
            change_bytes: 0,
        })
    }

    /// Whether the rows of a schema, sorted so, have bytes.
    pub fn takes(schema: &SchemaRef, order: &[SortedBy]) -> bool {
        RowCoding::new(schema.clone(), order, order.len()).is_ok()
    }

    /// Adds and takes away rows of these partitions.
    pub fn apply(&mut self, delta: &Delta, partitions: &[u32]) -> Result<(), SqlError> {
        let order = self.order[..self.peer_keys]
            .iter()
            .map(|by| by.key.evaluate(&delta.batch));
        let order = order.collect::<Result<Vec<ArrayRef>, SqlError>>()?;
        let order = encoded(&self.coding.order, &order)?;
        let reach = partitions.iter().max().map_or(0, |last| *last as usize + 1);
        if reach > self.partitions.len() {
            self.empty += reach - self.partitions.len();
            self.partitions.resize_with(reach, OnePartition::default);
        }
        // Most rows of a large input are behind the first ones: nothing more is done about these.
        let mut taken: Vec<u32> = (0..delta.rows() as u32).collect();
        if let Some(first) = self.first {
            taken.retain(|row| {
                let partition = &self.partitions[partitions[*row as usize] as usize];
                !partition.is_beyond(first, bytes_at(&order, *row as usize))
            });
        }
        if taken.is_empty() {
            return Ok(());
        }
        let taken_rows = delta.take(&taken.clone().into())?;
        let ties = self.order[self.peer_keys..].iter();
        let ties = ties.map(|by| by.key.evaluate(&taken_rows.batch));
        let mut rest = ties.collect::<Result<Vec<ArrayRef>, SqlError>>()?;
        let columns = self.coding.rest_columns.iter();
        rest.extend(columns.map(|column| taken_rows.batch.column(*column).clone()));
        let rest = encoded(&self.coding.rest, &rest)?;
        let weights = taken_rows.listed_weights();
        let mut bytes = Vec::new();
        for (at, row) in taken.into_iter().enumerate() {
            bytes.clear();
            bytes.extend_from_slice(bytes_at(&order, row as usize));
            let order_bytes = bytes.len() as u32;
            bytes.extend_from_slice(bytes_at(&rest, at));
            self.change(partitions[row as usize], &bytes, order_bytes, weights[at]);
        }
        Ok(())
    }

    fn change(&mut self, number: u32, bytes: &[u8], order_bytes: u32, weight: i64) {
        let known = self.partitions[number as usize].rows.get_key_value(bytes);
        let key = match known {
            Some((key, _)) => key.clone(),
            None => RowKey {
                bytes: bytes.into(),
                order_bytes,
            },
        };
        self.add(number, key, weight);
        if let Some(first) = self.first {
            assert!(weight > 0, "V4: a row was taken away from an input that only grows");
            // One more of the last peers pushes none of them out.
            let last = self.partitions[number as usize].rows.last_key_value();
            let is_peer = last.is_some_and(|(last, _)| last.order() == &bytes[..order_bytes as usize]);
            if is_peer && matches!(first, FirstRows::Ranked(_)) {
                return;
            }
            loop {
                let surplus = self.partitions[number as usize].surplus(first);
                if surplus.is_empty() {
                    break;
                }
                for (key, copies) in surplus {
                    self.add(number, key, -copies);
                }
            }
        }
    }

    fn add(&mut self, number: u32, key: RowKey, weight: i64) {
        let partition = &mut self.partitions[number as usize];
        let bytes = ROW_BYTES + key.bytes.len();
        let changes = self.changes.entry(number).or_insert_with(|| StepChanges {
            is_new: partition.rows.is_empty(),
            rows: BTreeMap::new(),
        });
        if !changes.is_new {
            *changes.rows.entry(key.clone()).or_insert_with(|| {
                self.change_bytes += ROW_BYTES;
                0
            }) += weight;
        }
        let counts_peers = matches!(self.first, Some(FirstRows::DenselyRanked(_)));
        self.empty -= usize::from(partition.rows.is_empty());
        partition.copies += weight;
        match partition.rows.entry(key) {
            btree_map::Entry::Occupied(mut copies) => {
                *copies.get_mut() += weight;
                if *copies.get() == 0 {
                    let (key, _) = copies.remove_entry();
                    self.rows -= 1;
                    self.row_bytes -= bytes;
                    if counts_peers && !partition.has_peer(&key) {
                        partition.peer_groups -= 1;
                    }
                }
            }
            btree_map::Entry::Vacant(vacant) => {
                let key = vacant.key().clone();
                vacant.insert(weight);
                self.rows += 1;
                self.row_bytes += bytes;
                if counts_peers && !partition.has_peer(&key) {
                    partition.peer_groups += 1;
                }
            }
        }
        self.empty += usize::from(partition.rows.is_empty());
    }

    /// The partitions that the step changed, rising.
    pub fn changed(&self) -> Vec<u32> {
        let is_changed = |(number, changes): (&u32, &StepChanges)| {
            let partition = &self.partitions[*number as usize];
            let changed = match changes.is_new {
                true => !partition.rows.is_empty(),
                false => changes.rows.values().any(|weight| *weight != 0),
            };
            changed.then_some(*number)
        };
        let mut changed: Vec<u32> = self.changes.iter().filter_map(is_changed).collect();
        changed.sort_unstable();
        changed
    }

    /// The rows that the step changed; `None` if there were none before it.
    pub fn changed_rows(&self, partition: u32) -> Option<Vec<&RowKey>> {
        let changes = self.changes.get(&partition).filter(|changes| !changes.is_new)?;
        let changed = changes.rows.iter().filter(|(_, weight)| **weight != 0);
        Some(changed.map(|(row, _)| row).collect())
    }

    /// Whether these rows are kept and no others.
    pub fn keeps_only(&self, first: Option<FirstRows>) -> bool {
        first.is_some() && self.first == first
    }

    /// The rows that the step added (copies above 0) and took away.
    pub fn changes(&self, partition: u32) -> impl Iterator<Item = (&RowKey, i64)> {
        let changes = self.changes.get(&partition);
        let (added, changed) = match changes {
            Some(changes) if changes.is_new => (self.range(partition, ALL_ROWS), None),
            Some(changes) => (None, Some(&changes.rows)),
            None => (None, None),
        };
        let rows = added.into_iter().flatten().chain(changed.into_iter().flatten());
        rows.map(|(row, copies)| (row, *copies))
            .filter(|(_, copies)| *copies != 0)
    }

    /// The rows that the step changed, those of a partition that is new included.
    pub fn changed_in(&self, partition: u32) -> Vec<&RowKey> {
        match (self.changed_rows(partition), self.changes.contains_key(&partition)) {
            (Some(changed), _) => changed,
            (None, true) => self.now(partition, ALL_ROWS).map(|(row, _)| row).collect(),
            (None, false) => Vec::new(),
        }
    }

    /// Copies of a row before the step and now.
    pub fn versions(&self, partition: u32, row: &RowKey) -> (i64, i64) {
        let rows = self.partitions.get(partition as usize);
        let now = rows.and_then(|rows| rows.rows.get(row)).copied().unwrap_or(0);
        let before = match self.changes.get(&partition) {
            None => now,
            Some(changes) if changes.is_new => 0,
            Some(changes) => now - changes.rows.get(row).copied().unwrap_or(0),
        };
        (before, now)
    }

    /// Copies of a partition's rows together.
    pub fn copies(&self, partition: u32) -> usize {
        let copies = self
            .partitions
            .get(partition as usize)
            .map_or(0, |partition| partition.copies);
        usize::try_from(copies).expect("V4: a number of rows is not negative")
    }

    /// The rows before a place, the nearest first.
    pub fn leading(&self, partition: u32, place: &RowKey) -> impl Iterator<Item = (&RowKey, i64)> {
        let rows = self.range(partition, (Bound::Unbounded, Bound::Excluded(place)));
        rows.into_iter().flatten().rev().map(|(row, copies)| (row, *copies))
    }

    /// The place as far behind a row's group of peers as a value of the only sort key is long, or before it, in the order of rows;
    /// `None` if there is no such value.
    pub fn moved(&self, row: &RowKey, by: &ScalarValue, onward: bool) -> Result<Option<RowKey>, SqlError> {
        let [order] = &*self.order else {
            return Ok(None);
        };
        let parser = self.coding.order.parser();
        let columns = self.coding.order.convert_rows([parser.parse(row.order())])?;
        let value = ScalarValue::try_from_array(&columns[0], 0)?;
        if value.is_null() {
            return Ok(Some(row.group_start()));
        }
        let moved = match onward != order.options.descending {
            true => value.add_checked(by),
            false => value.sub_checked(by),
        };
        let Some(moved) = moved.ok().filter(|moved| moved.data_type() == value.data_type()) else {
            return Ok(None);
        };
        let encoded = self.coding.order.convert_columns(&[moved.to_array()?])?;
        let bytes: Arc<[u8]> = encoded.row(0).data().into();
        Ok(Some(RowKey {
            order_bytes: bytes.len() as u32,
            bytes,
        }))
    }

    fn range(&self, partition: u32, range: RowRange) -> Option<btree_map::Range<'_, RowKey, i64>> {
        let partition = self.partitions.get(partition as usize)?;
        Some(partition.rows.range::<RowKey, _>(range))
    }

    /// The rows of a partition in order, with their copies.
    pub fn now(&self, partition: u32, range: RowRange) -> impl Iterator<Item = (&RowKey, i64)> {
        let rows = self.range(partition, range);
        rows.into_iter().flatten().map(|(row, copies)| {
            assert!(*copies > 0, "V4: a row was taken away more often than it was added");
            (row, *copies)
        })
    }

    /// The same before the step.
    pub fn before(&self, partition: u32, range: RowRange) -> impl Iterator<Item = (&RowKey, i64)> {
        let changes = self.changes.get(&partition);
        let is_new = changes.is_some_and(|changes| changes.is_new);
        let rows = self.range(partition, range).filter(|_| !is_new);
        let without = RowsWithout {
            rows: rows.map(Iterator::peekable),
            changes: changes.map(|changes| changes.rows.range::<RowKey, _>(range).peekable()),
        };
        without.filter(|(_, copies)| *copies != 0)
    }

    /// Rows as a batch of the input's schema.
    pub fn batch<'a>(&self, rows: impl Iterator<Item = &'a RowKey>, count: usize) -> Result<RecordBatch, SqlError> {
        self.coding.batch(rows.map(|row| &*row.bytes), count)
    }

    /// Ends the step.
    pub fn settle(&mut self) {
        self.changes = HashMap::new();
        self.change_bytes = 0;
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Between steps: whether so few partitions have rows that [`PartitionedRows::keep`] is worth while.
    pub fn is_sparse(&self) -> bool {
        self.empty > PART_ROWS && self.empty > self.partitions.len() / 2
    }

    /// Partitions that have rows, rising.
    pub fn live(&self) -> Vec<u32> {
        let live =
            (0..self.partitions.len() as u32).filter(|number| !self.partitions[*number as usize].rows.is_empty());
        live.collect()
    }

    /// Keeps only these partitions (rising), which become 0, 1, 2 ... in that order. It may have no rows of some.
    pub fn keep(&mut self, partitions: &[u32]) {
        let kept = partitions
            .iter()
            .map(|number| self.partitions.get_mut(*number as usize).map(std::mem::take));
        self.partitions = kept.map(Option::unwrap_or_default).collect();
        self.empty = self
            .partitions
            .iter()
            .filter(|partition| partition.rows.is_empty())
            .count();
    }

    /// All rows, with their copies as weights.
    pub fn save(&self) -> Result<Delta, SqlError> {
        let rows = || self.partitions.iter().flat_map(|partition| &partition.rows);
        let weights: Vec<i64> = rows().map(|(_, copies)| *copies).collect();
        let batch = self.batch(rows().map(|(row, _)| row), weights.len())?;
        Ok(Delta::weighted(batch, weights.into()))
    }

    pub fn bytes(&self) -> usize {
        let live = (self.partitions.len() - self.empty) * PARTITION_BYTES;
        let partitions = self.partitions.capacity() * size_of::<OnePartition>() + live;
        let changes = self.changes.capacity() * size_of::<(u32, StepChanges)>();
        partitions + changes + self.row_bytes + self.change_bytes
    }
}

/// Rows without some changes; copies may be 0.
struct RowsWithout<'a> {
    rows: Option<Peekable<btree_map::Range<'a, RowKey, i64>>>,
    changes: Option<Peekable<btree_map::Range<'a, RowKey, i64>>>,
}

impl<'a> Iterator for RowsWithout<'a> {
    type Item = (&'a RowKey, i64);

    fn next(&mut self) -> Option<(&'a RowKey, i64)> {
        let row = self.rows.as_mut().and_then(|rows| rows.peek().copied());
        let change = self.changes.as_mut().and_then(|changes| changes.peek().copied());
        let order = match (row, change) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((row, _)), Some((change, _))) => row.cmp(change),
        };
        let row = (order != Ordering::Greater)
            .then(|| self.rows.as_mut()?.next())
            .flatten();
        let change = (order != Ordering::Less)
            .then(|| self.changes.as_mut()?.next())
            .flatten();
        let copies = row.map_or(0, |(_, copies)| *copies) - change.map_or(0, |(_, weight)| *weight);
        let key = row.or(change).map(|(key, _)| key)?;
        Some((key, copies))
    }
}
