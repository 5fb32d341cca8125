//! The first few rows of each partition, of input that only grows: what LIMIT, DISTINCT ON and row_number() up to a small number
//! leave.
//!
//! One rule: after a step a partition has its first rows, so many as are asked for, in the order of `rows.rs`. A row behind all of
//! them goes by at the cost of one comparison: nothing is ever taken away, so it can never come back.
//!
//! Nobody but readers gets rows from here if that is all that the view shows; the rows stand in no other place then. To another
//! operator or view goes the difference of each partition, when the step ends.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};

use crate::error::SqlError;

use super::super::aggregate::CHUNK_GROUPS;
use super::super::aggregate::keys::Keys;
use super::super::net::{PART_ROWS, weighted};
use super::super::pinned::{PinnedChunk, PinnedGroups};
use super::super::window::{from_weight_column, with_weight_column};
use super::super::{Operator, ReaderSource, Sink, StepEnd};
use super::rows::{FirstRows, RowCoding, bytes_at, encoded};
use super::{FirstSpec, PartitionWork, PartitionedSpec, Ranking};
use crate::views::delta::{Delta, batch_of};
use crate::views::memory::Limits;

/// More rows of a partition than these are no few: each that comes moves those behind it.
const FEW_MAX: i64 = 256;

/// The rows of a partition as bytes that sort as they do (`rows.rs`), one behind the other.
#[derive(Clone, Default)]
struct FewRows {
    bytes: Vec<u8>,
    /// Where each ends, if they differ in length.
    ends: Vec<u32>,
}

impl FewRows {
    /// `width` is the length of all rows, if they have one.
    fn len(&self, width: Option<usize>) -> usize {
        width.map_or(self.ends.len(), |width| self.bytes.len() / width)
    }

    fn row(&self, at: usize, width: Option<usize>) -> &[u8] {
        let (start, end) = (self.start(at, width), self.start(at + 1, width));
        &self.bytes[start..end]
    }

    fn start(&self, at: usize, width: Option<usize>) -> usize {
        match (width, at.checked_sub(1)) {
            (Some(width), _) => at * width,
            (None, None) => 0,
            (None, Some(before)) => self.ends[before] as usize,
        }
    }

    /// The place behind all rows that are not behind this one.
    fn place(&self, row: &[u8], width: Option<usize>) -> usize {
        let (mut low, mut high) = (0, self.len(width));
        while low < high {
            let middle = (low + high) / 2;
            match self.row(middle, width) <= row {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low
    }

    /// Puts a row in its place; of more than `most` the last goes. Whether anything changed.
    fn insert(&mut self, row: &[u8], width: Option<usize>, most: usize) -> bool {
        assert!(width.is_none_or(|width| width == row.len()), "rows of one length");
        let place = self.place(row, width);
        if place >= most {
            return false;
        }
        if self.len(width) == most {
            self.bytes.truncate(self.start(most - 1, width));
            self.ends.truncate(most - 1);
        }
        let (at, end) = (self.start(place, width), self.bytes.len());
        if end + row.len() > self.bytes.capacity() {
            // Room for twice as many, but for no more than there will ever be.
            let count = self.len(width);
            self.bytes.reserve_exact(count.max(2).min(most - count) * row.len());
        }
        self.bytes.resize(end + row.len(), 0);
        self.bytes.copy_within(at..end, at + row.len());
        self.bytes[at..at + row.len()].copy_from_slice(row);
        if width.is_none() {
            self.ends.insert(place, at as u32);
            self.ends[place..].iter_mut().for_each(|end| *end += row.len() as u32);
        }
        true
    }

    /// Bytes beside the struct.
    fn heap_bytes(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<u32>()
    }
}

/// The beginning of a row: of two rows the one that sorts first has no greater one.
fn beginning(row: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let length = row.len().min(8);
    bytes[..length].copy_from_slice(&row[..length]);
    u64::from_be_bytes(bytes)
}

/// A row that is shown.
#[derive(Clone, Copy)]
struct FewShown<'a> {
    row: &'a [u8],
    number: u64,
}

/// A partition that the present step touched.
struct TouchedPartition {
    partition: u32,
    /// Its rows before, if changes are emitted.
    before: FewRows,
}

pub struct FirstFew {
    spec: Arc<PartitionedSpec>,
    first: FirstSpec,
    most: usize,
    /// Of the partitions.
    keys: Keys,
    coding: RowCoding,
    width: Option<usize>,
    partitions: Vec<FewRows>,
    /// By partition that is full: the beginning of its last row. Rows that begin with more are behind it.
    limits_of: Vec<u64>,
    /// Rows, those that are left out before the shown ones included.
    rows: usize,
    shown: usize,
    heap_bytes: usize,
    /// Emit deltas.
    emits: bool,
    /// Keep the list of partitions that a step touches.
    notes: bool,
    touched: Vec<TouchedPartition>,
    /// By partition. Kept only if `notes`.
    is_touched: Vec<bool>,
    /// The step has ended; the next call begins another.
    settled: bool,
    /// By chunk: touched since it was last rendered.
    stale_chunks: Vec<bool>,
    pinned: Option<PinnedGroups>,
    /// Rows of partitions that have changed since a reading began, as they were.
    pinned_rows: Vec<FewRows>,
    limits: Limits,
}

impl FirstFew {
    /// Whether this is what an operator computes.
    pub fn is_work_of(spec: &PartitionedSpec) -> bool {
        let PartitionWork::First(first) = &spec.work else {
            return false;
        };
        let numbers_rows = |ranking: &Ranking| *ranking == Ranking::RowNumber;
        spec.grows
            && matches!(first.first, Some(FirstRows::Numbered(1..=FEW_MAX)))
            && first.numbers.iter().all(numbers_rows)
    }

    pub fn new(spec: Arc<PartitionedSpec>, limits: Limits) -> Result<FirstFew, SqlError> {
        let PartitionWork::First(first) = &spec.work else {
            panic!("it was asked whether it is");
        };
        let Some(FirstRows::Numbered(most)) = first.first else {
            panic!("it was asked whether it is");
        };
        let coding = RowCoding::new(spec.input.clone(), &spec.order, spec.order.len())?;
        Ok(FirstFew {
            keys: Keys::new(&spec.key_types, limits.budget.clone())?,
            width: coding.width(),
            coding,
            first: first.clone(),
            most: most as usize,
            partitions: Vec::new(),
            limits_of: Vec::new(),
            rows: 0,
            shown: 0,
            heap_bytes: 0,
            emits: false,
            notes: false,
            touched: Vec::new(),
            is_touched: Vec::new(),
            settled: true,
            stale_chunks: Vec::new(),
            pinned: None,
            pinned_rows: Vec::new(),
            limits,
            spec,
        })
    }

    /// Partitions that are rendered together.
    fn chunk_partitions(&self) -> usize {
        (CHUNK_GROUPS / self.most).max(1)
    }

    /// The number of rows that it keeps.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Takes one delta of the current step.
    pub fn push(&mut self, delta: &Delta) -> Result<(), SqlError> {
        self.begin_step();
        let keys = self.spec.keys.iter().map(|key| key.evaluate(&delta.batch));
        let keys = keys.collect::<Result<Vec<ArrayRef>, SqlError>>()?;
        let mut numbers = Vec::new();
        self.keys.intern(&keys, delta.rows(), &mut numbers)?;
        let order = self.spec.order.iter().map(|by| by.key.evaluate(&delta.batch));
        let order = order.collect::<Result<Vec<ArrayRef>, SqlError>>()?;
        let order = encoded(&self.coding.order, &order)?;
        self.make_room();
        let mut taken: Vec<u32> = Vec::with_capacity(delta.rows());
        for (row, partition) in numbers.iter().enumerate() {
            // No more than the whole row begins with.
            if beginning(bytes_at(&order, row)) <= self.limits_of[*partition as usize] {
                taken.push(row as u32);
            }
        }
        if taken.is_empty() {
            return Ok(());
        }
        let taken_rows = delta.take(&taken.clone().into())?;
        let rest = self.coding.rest_columns.iter();
        let rest: Vec<ArrayRef> = rest.map(|column| taken_rows.batch.column(*column).clone()).collect();
        let rest = encoded(&self.coding.rest, &rest)?;
        let weights = taken_rows.listed_weights();
        let mut row = Vec::new();
        for (at, source) in taken.into_iter().enumerate() {
            row.clear();
            row.extend_from_slice(bytes_at(&order, source as usize));
            row.extend_from_slice(bytes_at(&rest, at));
            assert!(
                weights[at] > 0,
                "V4: a row was taken away from an input that only grows"
            );
            self.enter(numbers[source as usize], &row, weights[at]);
        }
        Ok(())
    }

    /// Brings all that is indexed by partition to their number.
    fn make_room(&mut self) {
        let partitions = self.keys.len();
        self.partitions.resize_with(partitions, FewRows::default);
        self.limits_of.resize(partitions, u64::MAX);
        self.stale_chunks
            .resize(partitions.div_ceil(self.chunk_partitions()), true);
        if self.notes {
            self.is_touched.resize(partitions, false);
        }
    }

    /// Takes copies of a row into a partition.
    fn enter(&mut self, partition: u32, row: &[u8], copies: i64) {
        let (index, width, most) = (partition as usize, self.width, self.most);
        if beginning(row) > self.limits_of[index] || self.partitions[index].place(row, width) >= most {
            return;
        }
        self.note(partition);
        let rows = &mut self.partitions[index];
        let (count, heap_bytes) = (rows.len(width), rows.heap_bytes());
        for _ in 0..copies {
            if !rows.insert(row, width, most) {
                break;
            }
        }
        let now = rows.len(width);
        if now == most {
            self.limits_of[index] = beginning(rows.row(most - 1, width));
        }
        self.heap_bytes = self.heap_bytes + rows.heap_bytes() - heap_bytes;
        self.rows += now - count;
        let skip = self.skip();
        self.shown += now.saturating_sub(skip) - count.saturating_sub(skip);
    }

    /// A partition changes.
    fn note(&mut self, partition: u32) {
        let index = partition as usize;
        if self.notes && !std::mem::replace(&mut self.is_touched[index], true) {
            let before = match self.emits {
                true => self.partitions[index].clone(),
                false => FewRows::default(),
            };
            self.touched.push(TouchedPartition { partition, before });
        }
        if let Some(pinned) = &mut self.pinned
            && !pinned.change(&[partition]).is_empty()
        {
            self.pinned_rows.push(self.partitions[index].clone());
        }
        let chunk = index / self.chunk_partitions();
        self.stale_chunks[chunk] = true;
    }

    fn begin_step(&mut self) {
        if std::mem::take(&mut self.settled) {
            for touched in std::mem::take(&mut self.touched) {
                self.is_touched[touched.partition as usize] = false;
            }
        }
    }

    fn skip(&self) -> usize {
        self.first.skip as usize
    }

    /// The rows that are shown of a partition.
    fn shown_of<'a>(&self, rows: &'a FewRows) -> impl Iterator<Item = FewShown<'a>> + use<'a> {
        let width = self.width;
        let shown = self.skip()..rows.len(width);
        shown.map(move |at| FewShown {
            row: rows.row(at, width),
            number: at as u64 + 1,
        })
    }

    fn batch(&self, shown: &[FewShown<'_>]) -> Result<RecordBatch, SqlError> {
        let input = self.coding.batch(shown.iter().map(|shown| shown.row), shown.len())?;
        let mut columns = input.columns().to_vec();
        for _ in &self.first.numbers {
            let numbers = shown.iter().map(|shown| shown.number);
            columns.push(Arc::new(UInt64Array::from_iter_values(numbers)));
        }
        batch_of(self.spec.schema.clone(), columns, shown.len())
    }

    /// The change from some shown rows to others, with weights.
    fn change<'a>(&self, before: &'a FewRows, now: &'a FewRows, add: &mut impl FnMut(FewShown<'a>, i64)) {
        let is_numbered = !self.first.numbers.is_empty();
        let (mut old, mut new) = (self.shown_of(before).peekable(), self.shown_of(now).peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) => match old.row.cmp(new.row) {
                    Ordering::Equal if is_numbered => old.number.cmp(&new.number),
                    order => order,
                },
            };
            let gone = old.next_if(|_| order != Ordering::Greater);
            let come = new.next_if(|_| order != Ordering::Less);
            match (gone, come) {
                (Some(gone), None) => add(gone, -1),
                (None, Some(come)) => add(come, 1),
                _ => {}
            }
        }
    }

    fn show_changes(&self, out: &mut Sink<'_>) -> Result<(), SqlError> {
        let (mut shown, mut weights): (Vec<FewShown>, Vec<i64>) = (Vec::new(), Vec::new());
        for (at, touched) in self.touched.iter().enumerate() {
            let now = &self.partitions[touched.partition as usize];
            self.change(&touched.before, now, &mut |row, weight| {
                shown.push(row);
                weights.push(weight);
            });
            let is_last = at + 1 == self.touched.len();
            if shown.len() >= PART_ROWS || (is_last && !shown.is_empty()) {
                self.limits.check_wanted()?;
                out(weighted(self.batch(&shown)?, std::mem::take(&mut weights)))?;
                shown.clear();
            }
        }
        Ok(())
    }
}

impl Operator for FirstFew {
    fn finish(&mut self, _end: &StepEnd, out: &mut Sink<'_>) -> Result<(), SqlError> {
        self.begin_step();
        self.settled = true;
        match self.emits {
            true => self.show_changes(out),
            false => Ok(()),
        }
    }

    fn save(&self) -> Result<Vec<RecordBatch>, SqlError> {
        let partitions = self.partitions.iter();
        let rows = partitions.flat_map(|rows| (0..rows.len(self.width)).map(|at| rows.row(at, self.width)));
        let rows = Delta::added(self.coding.batch(rows, self.rows)?);
        Ok(vec![with_weight_column(&rows)?])
    }

    fn restore(&mut self, saved: &[RecordBatch]) -> Result<(), SqlError> {
        let (emits, notes) = (self.emits, self.notes);
        *self = FirstFew::new(self.spec.clone(), self.limits.clone())?;
        let delta = from_weight_column(&saved[0], self.spec.input.clone())?;
        for offset in (0..delta.rows()).step_by(PART_ROWS) {
            self.push(&delta.slice(offset, PART_ROWS.min(delta.rows() - offset)))?;
        }
        self.settled = true;
        if notes {
            self.note_groups();
        }
        self.emits = emits;
        Ok(())
    }

    fn bytes(&self) -> usize {
        let touched = self.touched.iter().map(|touched| touched.before.heap_bytes());
        self.keys.bytes()
            + self.heap_bytes
            + self.partitions.capacity() * size_of::<FewRows>()
            + self.limits_of.capacity() * size_of::<u64>()
            + self.touched.capacity() * size_of::<TouchedPartition>()
            + touched.sum::<usize>()
    }
}

impl ReaderSource for FirstFew {
    fn emit_changes(&mut self) {
        self.note_groups();
        self.emits = true;
    }

    fn emit_nothing(&mut self) {
        self.emits = false;
    }

    fn note_groups(&mut self) {
        self.notes = true;
        self.is_touched.resize(self.partitions.len(), false);
    }

    fn catch_up(&mut self) -> Result<(), SqlError> {
        Ok(())
    }

    fn chunks(&self) -> usize {
        self.stale_chunks.len()
    }

    fn is_stale(&self, chunk: usize) -> bool {
        self.stale_chunks[chunk]
    }

    fn pin(&mut self, open: Vec<bool>) {
        let chunk_partitions = self.chunk_partitions();
        self.pinned = Some(PinnedGroups::new(self.partitions.len(), chunk_partitions, open));
        self.pinned_rows.clear();
    }

    fn render_pinned(&mut self) -> Result<Option<(PinnedChunk, RecordBatch)>, SqlError> {
        let Some(next) = self.pinned.as_mut().and_then(PinnedGroups::next_chunk) else {
            return Ok(None);
        };
        let partitions = next
            .groups
            .iter()
            .map(|partition| &self.partitions[*partition as usize]);
        let shown: Vec<FewShown> = partitions.flat_map(|rows| self.shown_of(rows)).collect();
        let rows = self.batch(&shown)?;
        if next.is_present {
            self.stale_chunks[next.chunk] = false;
        }
        Ok(Some((next, rows)))
    }

    fn unpin(&mut self) -> Result<Vec<RecordBatch>, SqlError> {
        self.pinned = None;
        let rows = std::mem::take(&mut self.pinned_rows);
        let parts = rows.chunks(self.chunk_partitions());
        let batch = |part: &[FewRows]| {
            let shown: Vec<FewShown> = part.iter().flat_map(|rows| self.shown_of(rows)).collect();
            self.batch(&shown)
        };
        parts.map(batch).collect()
    }

    fn pinned_bytes(&self) -> usize {
        let kept = self.pinned_rows.iter().map(FewRows::heap_bytes).sum::<usize>();
        kept + self.pinned_rows.capacity() * size_of::<FewRows>()
    }

    fn touched_rows(&self) -> Box<dyn Iterator<Item = Result<RecordBatch, SqlError>> + '_> {
        assert!(self.notes, "the list of touched partitions was asked for");
        let parts = self.touched.chunks(self.chunk_partitions());
        Box::new(parts.map(|part| {
            let partitions = part.iter().map(|touched| &self.partitions[touched.partition as usize]);
            let shown: Vec<FewShown> = partitions.flat_map(|rows| self.shown_of(rows)).collect();
            self.batch(&shown)
        }))
    }

    fn shown_rows(&self) -> usize {
        self.shown
    }
}
