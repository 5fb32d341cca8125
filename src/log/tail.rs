//! The rows of each topic partition in offset order: segments, and after them the memory tail: chunks of Arrow batches
//! that readers share, and last the fresh rows of small commits, encoded as the log holds them, which become a chunk when
//! someone reads them or enough have come.
//!
//! One rule: a chunk never changes once a reader can hold it. The writer alone appends rows, and replaces runs of small
//! chunks by one large one with the same rows; the flusher replaces the oldest chunks by a segment with the same rows.
//! Rows newer than the newest published LSN are never returned.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use hashbrown::HashMap;
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::columns::{Range, Reader, conform, position_of};
use super::encoding::slice_bytes;
use super::extent::{Extent, Stored};
use super::frame::{BlockRun, Placement};
use super::image::{PartitionImage, TopicImage};
use super::retention::{Held, Retention, Retired};
use super::runs::{chunk_runs, extend_runs, newer_event, newest_event};
use super::segment::Segment;
use super::{Chunk, LogError, Lsn, Run, TopicId, TopicSpec, rows};

mod partition;
mod places;

/// Chunks of at least this many rows are not merged further.
const CHUNK_ROWS_TARGET: usize = 8192;
/// This many neighbours of one size class become one chunk: each row is copied three times or so at most.
const MERGE_CHUNKS: usize = 16;
/// Chunks are not merged past this, even if they have few rows.
const MERGE_BYTES_MAX: usize = 16 << 20;
/// The fresh rows of a topic with one partition become a chunk at this number of rows or bytes. Several
/// partitions share them, so that a reader of all of them has little to decode, but each may have the least.
const FRESH_ROWS_MAX: usize = 512;
const FRESH_ROWS_MIN: usize = 16;
const FRESH_BYTES_MAX: usize = 128 << 10;
const FRESH_BYTES_MIN: usize = 4 << 10;
/// A chunk whose buffers are larger may share them with others.
const OWN_BUFFERS_BYTES_MAX: usize = 64 << 10;
/// So many moves of a watermark are known exactly; of those before, fewer and fewer are kept.
const WATERMARKS_EXACT: usize = 1 << 16;

/// Statistics of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionStats {
    /// Rows before it went by retention.
    pub start_offset: u64,
    pub next_offset: u64,
    pub rows: u64,
    /// In memory.
    pub bytes: u64,
    pub segments: u64,
    /// Of its segments' files.
    pub segment_bytes: u64,
}

/// Statistics of one topic at the newest published LSN. Times in microseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicStats {
    pub partitions: Vec<PartitionStats>,
    pub watermark: Option<i64>,
    /// Newest event time that counted for the watermark.
    pub newest_event_us: Option<i64>,
    /// When the newest event time was appended.
    pub newest_event_append_us: Option<i64>,
    /// When rows were last appended.
    pub newest_append_us: Option<i64>,
    /// Rows since the start whose event times were too far ahead to move the watermark.
    pub rows_ahead: u64,
}

/// Rows that nobody has read yet.
#[derive(Default)]
struct Fresh {
    /// By the row codec, for the newest schema.
    bytes: Vec<u8>,
    rows: usize,
    runs: Vec<Run>,
}

#[derive(Default)]
struct Partition {
    /// By offset. Adopted segments may have chunks before them.
    segments: Vec<Arc<Segment>>,
    /// By offset: rows that are in no segment.
    chunks: VecDeque<Chunk>,
    /// The last rows, after all chunks and segments.
    fresh: Fresh,
    /// Chunks have come that may be merged.
    merges: bool,
    next_offset: u64,
    /// Of the chunks and the fresh rows.
    bytes: usize,
    /// Chunks before this offset are being flushed, and not merged with those after it.
    flushing: u64,
    /// Rows before this offset are gone.
    start: u64,
}

struct TailState {
    spec: Arc<TopicSpec>,
    /// By schema id: those of segments, and the newest.
    schemas: Vec<(u32, SchemaRef)>,
    partitions: Vec<Partition>,
    /// The watermark after the commit at each LSN that moved it; not at all of them, far back.
    watermarks: Vec<(Lsn, i64)>,
    newest_event: Option<(i64, i64)>,
    newest_append_us: Option<i64>,
}

/// The rows of one topic.
pub struct TopicTail {
    state: RwLock<TailState>,
    /// Rows whose event times were too far ahead to move the watermark.
    ahead: AtomicU64,
    /// Bytes of all topics' chunks.
    total_bytes: Arc<AtomicUsize>,
}

fn bytes_of(chunk: &Chunk) -> usize {
    match chunk.rows.get_array_memory_size() {
        bytes if bytes <= OWN_BUFFERS_BYTES_MAX => bytes,
        _ => slice_bytes(&chunk.rows),
    }
}

fn end_of(chunk: &Chunk) -> u64 {
    chunk.base_offset + chunk.rows.num_rows() as u64
}

fn class(rows: usize) -> u32 {
    rows.max(1).ilog2() / MERGE_CHUNKS.ilog2()
}

impl Partition {
    /// The number of chunks at the end that should become one, or 0.
    fn mergeable(&self) -> usize {
        let Some(last) = self.chunks.back() else {
            return 0;
        };
        if last.rows.num_rows() >= CHUNK_ROWS_TARGET {
            return 0;
        }
        let class_of_last = class(last.rows.num_rows());
        let mut next = end_of(last);
        let alike = self
            .chunks
            .iter()
            .rev()
            .take_while(|chunk| {
                // A segment may lie between two chunks.
                let follows = end_of(chunk) == next;
                next = chunk.base_offset;
                follows && chunk.base_offset >= self.flushing && class(chunk.rows.num_rows()) <= class_of_last
            })
            .count();
        if alike < MERGE_CHUNKS {
            return 0;
        }
        let merged = self.chunks.range(self.chunks.len() - alike..);
        let bytes: usize = merged.map(|chunk| chunk.rows.get_array_memory_size()).sum();
        if bytes <= MERGE_BYTES_MAX { alike } else { 0 }
    }

    fn push(&mut self, chunk: Chunk) {
        self.bytes += bytes_of(&chunk);
        self.chunks.push_back(chunk);
        self.merges = true;
    }

    /// Makes the fresh rows of partition `number` a chunk.
    fn settle(&mut self, number: usize, schema: &SchemaRef) {
        let rows = self.fresh.rows;
        if rows == 0 {
            return;
        }
        let batch = decode(Arc::clone(schema), &self.fresh.bytes, rows);
        let Fresh { bytes, runs, .. } = std::mem::take(&mut self.fresh);
        self.bytes -= bytes.len();
        self.push(Chunk {
            partition: u32::try_from(number).expect("partitions are few"),
            base_offset: self.next_offset - rows as u64,
            rows: batch,
            runs: runs.into(),
        });
    }
}

impl Fresh {
    /// Whether some of the rows may have been committed after `after` up to and including `upto`.
    fn has(&self, after: Lsn, upto: Lsn) -> bool {
        let (first, last) = (self.runs.first(), self.runs.last());
        first.is_some_and(|run| run.lsn <= upto) && last.is_some_and(|run| run.lsn > after)
    }
}

impl TailState {
    /// Makes the fresh rows of a partition a chunk.
    fn settle(&mut self, number: usize, total_bytes: &AtomicUsize) -> &mut Partition {
        let partition = &mut self.partitions[number];
        let before = partition.bytes;
        partition.settle(number, &self.spec.schema);
        account(total_bytes, before, partition.bytes);
        partition
    }
}

/// A part of a total has changed.
fn account(total: &AtomicUsize, before: usize, after: usize) {
    if after >= before {
        total.fetch_add(after - before, Ordering::Relaxed);
    } else {
        total.fetch_sub(before - after, Ordering::Relaxed);
    }
}

fn decode(schema: SchemaRef, bytes: &[u8], rows: usize) -> RecordBatch {
    rows::decode(schema, bytes, rows).expect("they were encoded with this schema")
}

/// One chunk with the rows and runs of `chunks`, which follow one another.
fn merge(chunks: &[Chunk], schema: &SchemaRef) -> Option<Chunk> {
    let rows = concat_batches(schema, chunks.iter().map(|chunk| &chunk.rows)).ok()?;
    Some(Chunk {
        partition: chunks[0].partition,
        base_offset: chunks[0].base_offset,
        rows,
        runs: merge_runs(chunks).into(),
    })
}

/// The runs of chunks that follow one another, as of one chunk.
pub fn merge_runs(chunks: &[Chunk]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::with_capacity(chunks.iter().map(|chunk| chunk.runs.len()).sum());
    for run in chunks.iter().flat_map(|chunk| chunk.runs.iter()) {
        match runs.last_mut() {
            Some(last) if last.lsn == run.lsn => last.rows += run.rows,
            _ => runs.push(*run),
        }
    }
    runs
}

impl TopicTail {
    pub fn new(spec: Arc<TopicSpec>, total_bytes: Arc<AtomicUsize>) -> TopicTail {
        let partitions = (0..spec.partitions).map(|_| Partition::default()).collect();
        TopicTail {
            state: RwLock::new(TailState {
                schemas: vec![(spec.schema_id, Arc::clone(&spec.schema))],
                spec,
                partitions,
                watermarks: Vec::new(),
                newest_event: None,
                newest_append_us: None,
            }),
            ahead: AtomicU64::new(0),
            total_bytes,
        }
    }

    /// The topic of an image at `lsn`; `segment` finds a segment by its description and schema.
    pub fn from_image(
        image: &TopicImage,
        lsn: Lsn,
        total_bytes: Arc<AtomicUsize>,
        mut segment: impl FnMut(&super::segment::SegmentInfo, &SchemaRef) -> Arc<Segment>,
    ) -> TopicTail {
        let schema = |id: u32| {
            let found = image.schemas.iter().find(|(known, _)| *known == id);
            found.map_or(&image.spec.schema, |(_, schema)| schema)
        };
        let partitions: Vec<Partition> = image
            .partitions
            .iter()
            .map(|partition| Partition {
                segments: partition
                    .segments
                    .iter()
                    .map(|info| segment(info, schema(info.schema_id)))
                    .collect(),
                bytes: partition.chunks.iter().map(bytes_of).sum(),
                chunks: partition.chunks.iter().cloned().collect(),
                fresh: Fresh::default(),
                merges: false,
                next_offset: partition.next_offset,
                flushing: 0,
                start: partition.start,
            })
            .collect();
        total_bytes.fetch_add(
            partitions.iter().map(|partition| partition.bytes).sum(),
            Ordering::Relaxed,
        );
        TopicTail {
            state: RwLock::new(TailState {
                spec: Arc::clone(&image.spec),
                schemas: image.schemas.clone(),
                partitions,
                watermarks: image.watermark.map(|watermark| (lsn, watermark)).into_iter().collect(),
                newest_event: image.newest_event,
                newest_append_us: image.newest_append_us,
            }),
            ahead: AtomicU64::new(0),
            total_bytes,
        }
    }

    /// The state without fresh rows, to be changed.
    fn settle(&self) -> RwLockWriteGuard<'_, TailState> {
        let mut state = self.state.write();
        for number in 0..state.partitions.len() {
            state.settle(number, &self.total_bytes);
        }
        state
    }

    /// The state without fresh rows that were committed after `after` up to and including `upto`.
    fn settled(&self, after: Lsn, upto: Lsn) -> RwLockReadGuard<'_, TailState> {
        loop {
            let state = self.state.read();
            let partitions = state.partitions.iter().enumerate();
            let wanted = partitions.filter(|(_, partition)| partition.fresh.has(after, upto));
            let wanted: Vec<usize> = wanted.map(|(number, _)| number).collect();
            if wanted.is_empty() {
                return state;
            }
            drop(state);
            // The writer comes in between.
            for number in wanted {
                self.state.write().settle(number, &self.total_bytes);
            }
        }
    }

    /// The topic as it is now, for an image, with the segments themselves. From here on its present chunks stay as they
    /// are until [`TopicTail::replace`]. The caller is the one writer.
    pub fn capture(&self) -> (TopicImage, Vec<Vec<Arc<Segment>>>) {
        let mut state = self.settle();
        let state = &mut *state;
        let mut segments = Vec::with_capacity(state.partitions.len());
        let mut partitions = Vec::with_capacity(state.partitions.len());
        for partition in &mut state.partitions {
            partition.flushing = partition.next_offset;
            segments.push(partition.segments.clone());
            partitions.push(PartitionImage {
                start: partition.start,
                next_offset: partition.next_offset,
                segments: partition.segments.iter().map(|segment| segment.info.clone()).collect(),
                chunks: partition.chunks.iter().cloned().collect(),
            });
        }
        let in_use = |id: u32| segments.iter().flatten().any(|segment| segment.info.schema_id == id);
        state
            .schemas
            .retain(|(id, _)| *id == state.spec.schema_id || in_use(*id));
        let image = TopicImage {
            spec: Arc::clone(&state.spec),
            schemas: state.schemas.clone(),
            watermark: state.watermarks.last().map(|(_, watermark)| *watermark),
            newest_event: state.newest_event,
            newest_append_us: state.newest_append_us,
            partitions,
        };
        (image, segments)
    }

    /// The pieces that can go by retention, by partition.
    pub fn held(&self) -> Vec<Vec<Held>> {
        let state = self.settled(0, Lsn::MAX);
        let held = |partition: &Partition| {
            let segments = partition.segments.iter().map(|segment| Held {
                end_offset: segment.info.end_offset(),
                first_us: segment.info.first_us,
                last_us: segment.info.last_us,
                bytes: segment.info.bytes,
            });
            let chunks = partition.chunks.iter().map(|chunk| Held {
                end_offset: chunk.base_offset + chunk.rows.num_rows() as u64,
                first_us: chunk.runs[0].timestamp_us,
                last_us: chunk.runs[chunk.runs.len() - 1].timestamp_us,
                bytes: bytes_of(chunk) as u64,
            });
            let mut held: Vec<Held> = segments.chain(chunks).collect();
            held.sort_unstable_by_key(|held| held.end_offset);
            held
        };
        state.partitions.iter().map(held).collect()
    }

    /// Lets go of the rows before an offset. Whether segments went.
    pub fn retire(&self, partition: u32, start: u64) -> bool {
        let mut state = self.state.write();
        if partition as usize >= state.partitions.len() {
            return false;
        }
        let partition = state.settle(partition as usize, &self.total_bytes);
        let start = start.min(partition.next_offset);
        partition.start = partition.start.max(start);
        let whole = partition
            .segments
            .partition_point(|segment| segment.info.end_offset() <= start);
        partition.segments.drain(..whole);
        let before: usize = partition.bytes;
        while let Some(chunk) = partition.chunks.front()
            && chunk.base_offset < start
        {
            let chunk = partition.chunks.pop_front().expect("it was looked at");
            let (gone, rows) = (start - chunk.base_offset, chunk.rows.num_rows() as u64);
            partition.bytes -= bytes_of(&chunk);
            if gone < rows {
                // Chunks were put together in another way when the record was made.
                let rest = chunk.slice(gone as usize, (rows - gone) as usize);
                partition.bytes += bytes_of(&rest);
                partition.chunks.push_front(rest);
            }
        }
        let freed = before.saturating_sub(partition.bytes);
        self.total_bytes.fetch_sub(freed, Ordering::Relaxed);
        whole > 0
    }

    /// Puts a merged segment in the place of the segments that it was made of; some of them may have gone meanwhile.
    pub fn swap(&self, partition: u32, segment: Arc<Segment>) {
        let mut state = self.state.write();
        let partition = &mut state.partitions[partition as usize];
        let (base, end) = (segment.info.base_offset, segment.info.end_offset());
        let segments = &mut partition.segments;
        let first = segments.partition_point(|old| old.info.base_offset < base);
        let last = segments.partition_point(|old| old.info.end_offset() <= end);
        if first < last {
            segments.splice(first..last, [segment]);
        }
    }

    /// Puts a segment in the place of the chunks that it was made of.
    pub fn replace(&self, partition: u32, segment: Arc<Segment>) {
        let mut state = self.state.write();
        let partition = state.settle(partition as usize, &self.total_bytes);
        let end = segment.info.end_offset();
        let gone = partition.chunks.partition_point(|chunk| chunk.base_offset < end);
        let chunk = partition.chunks.get(gone).map(|chunk| chunk.base_offset);
        let index = partition
            .segments
            .partition_point(|other| other.info.base_offset < segment.info.base_offset);
        let adopted = partition.segments.get(index).map(|next| next.info.base_offset);
        let next = chunk.into_iter().chain(adopted).min().unwrap_or(partition.next_offset);
        // Rows that went by retention while they were flushed have left the tail already; a repair leaves gaps.
        assert!(
            end <= next || end <= partition.start,
            "L2: a segment ends before the rows after it begin: {end} is not {next}"
        );
        let freed: usize = partition.chunks.drain(..gone).map(|chunk| bytes_of(&chunk)).sum();
        if end > partition.start {
            partition.segments.insert(index, segment);
        }
        partition.bytes -= freed;
        self.total_bytes.fetch_sub(freed, Ordering::Relaxed);
    }

    pub fn spec(&self) -> Arc<TopicSpec> {
        Arc::clone(&self.state.read().spec)
    }

    pub fn next_offset(&self, partition: u32) -> u64 {
        self.state.read().partitions[partition as usize].next_offset
    }

    /// Next offset of every partition.
    pub fn next_offsets(&self) -> Vec<u64> {
        let state = self.state.read();
        state.partitions.iter().map(|partition| partition.next_offset).collect()
    }

    /// Appends a chunk, then merges small ones. The caller is the one writer. `event`: its newest event time, and when
    /// that was appended. A restart brings one partition after the other, so that times may come out of order.
    pub fn push(&self, chunk: Chunk, event: Option<(i64, i64)>) {
        let partition = chunk.partition as usize;
        let timestamp_us = chunk.runs[chunk.runs.len() - 1].timestamp_us;
        {
            let mut state = self.state.write();
            let state = &mut *state;
            state.newest_append_us = state.newest_append_us.max(Some(timestamp_us));
            state.newest_event = newer_event(state.newest_event, event);
            let partition = state.settle(partition, &self.total_bytes);
            assert_eq!(chunk.base_offset, partition.next_offset, "L2: offsets are dense");
            let before = partition.bytes;
            partition.next_offset += chunk.rows.num_rows() as u64;
            partition.push(chunk);
            account(&self.total_bytes, before, partition.bytes);
        }
        self.consolidate(partition);
    }

    /// Appends the rows of small commits, encoded for the newest schema, with their group's timestamp. The caller is the
    /// one writer.
    pub fn append(&self, place: &Placement, runs: &[BlockRun], rows: usize, bytes: &[u8], timestamp_us: i64) {
        if rows >= FRESH_ROWS_MAX || bytes.len() >= FRESH_BYTES_MAX {
            let chunk = Chunk {
                partition: place.partition,
                base_offset: place.base_offset,
                rows: decode(Arc::clone(&self.spec().schema), bytes, rows),
                runs: chunk_runs(runs, timestamp_us).into(),
            };
            return self.push(chunk, newest_event(runs, timestamp_us));
        }
        let number = place.partition as usize;
        let merges = {
            let mut state = self.state.write();
            let state = &mut *state;
            state.newest_append_us = state.newest_append_us.max(Some(timestamp_us));
            state.newest_event = newer_event(state.newest_event, newest_event(runs, timestamp_us));
            let partitions = state.partitions.len();
            let partition = &mut state.partitions[number];
            assert_eq!(place.base_offset, partition.next_offset, "L2: offsets are dense");
            assert_eq!(
                place.schema_id, state.spec.schema_id,
                "definitions are published in order"
            );
            let before = partition.bytes;
            partition.next_offset += rows as u64;
            partition.bytes += bytes.len();
            let fresh = &mut partition.fresh;
            fresh.rows += rows;
            fresh.bytes.extend_from_slice(bytes);
            extend_runs(&mut fresh.runs, runs, timestamp_us);
            if fresh.rows >= (FRESH_ROWS_MAX / partitions).max(FRESH_ROWS_MIN)
                || fresh.bytes.len() >= (FRESH_BYTES_MAX / partitions).max(FRESH_BYTES_MIN)
            {
                partition.settle(number, &state.spec.schema);
            }
            account(&self.total_bytes, before, partition.bytes);
            partition.merges
        };
        if merges {
            self.consolidate(number);
        }
    }

    /// Takes over a segment that a commit adopted, at the end of its partition. The caller is the one writer. `event` as
    /// for [`TopicTail::push`].
    pub fn adopt(&self, segment: Arc<Segment>, event: Option<(i64, i64)>) {
        let mut state = self.state.write();
        let state = &mut *state;
        state.newest_append_us = state.newest_append_us.max(Some(segment.info.last_us));
        state.newest_event = newer_event(state.newest_event, event);
        let partition = state.settle(segment.info.partition as usize, &self.total_bytes);
        assert_eq!(segment.info.base_offset, partition.next_offset, "L2: offsets are dense");
        partition.next_offset = segment.info.end_offset();
        partition.segments.push(segment);
    }

    /// Merges outside the write lock: others only add to the end of the list, or take chunks from its front that are
    /// not merged, so the chunks that the writer copied are still in it.
    fn consolidate(&self, partition: usize) {
        self.state.write().partitions[partition].merges = false;
        loop {
            let (count, merged) = {
                let state = self.state.read();
                let chunks = &state.partitions[partition].chunks;
                let count = state.partitions[partition].mergeable();
                if count == 0 {
                    return;
                }
                let alike: Vec<Chunk> = chunks.range(chunks.len() - count..).cloned().collect();
                match merge(&alike, &state.spec.schema) {
                    Some(merged) => (count, merged),
                    None => return,
                }
            };
            let mut state = self.state.write();
            let partition = &mut state.partitions[partition];
            let chunks = &mut partition.chunks;
            let start = chunks.partition_point(|chunk| chunk.base_offset < merged.base_offset);
            let before: usize = chunks.range(start..start + count).map(bytes_of).sum();
            let after = bytes_of(&merged);
            chunks.drain(start + 1..start + count);
            chunks[start] = merged;
            partition.bytes = partition.bytes - before + after;
            account(&self.total_bytes, before, after);
        }
    }

    /// Takes over a changed definition. Rows in memory take the new schema.
    pub fn alter(&self, spec: Arc<TopicSpec>) {
        let mut state = self.settle();
        let state = &mut *state;
        if state.spec.schema_id != spec.schema_id {
            for partition in &mut state.partitions {
                let before = partition.bytes;
                for chunk in &mut partition.chunks {
                    chunk.rows = conform(&chunk.rows, &state.spec.schema, &spec.schema);
                }
                partition.bytes = partition.chunks.iter().map(bytes_of).sum();
                account(&self.total_bytes, before, partition.bytes);
            }
        }
        if spec.schema_id != state.spec.schema_id {
            state.schemas.push((spec.schema_id, Arc::clone(&spec.schema)));
        }
        let partitions = spec.partitions as usize;
        if partitions > state.partitions.len() {
            state.partitions.resize_with(partitions, Partition::default);
        }
        state.spec = spec;
    }

    /// Records the watermark after the commit at `lsn`.
    pub fn advance(&self, lsn: Lsn, watermark: i64) {
        let mut state = self.state.write();
        assert!(
            state.watermarks.last().is_none_or(|(_, last)| *last < watermark),
            "a watermark never goes back"
        );
        state.watermarks.push((lsn, watermark));
        if state.watermarks.len() >= 2 * WATERMARKS_EXACT {
            // Every second one of the older half: a commit between has a watermark from before it.
            let mut index = 0;
            state.watermarks.retain(|_| {
                index += 1;
                index > WATERMARKS_EXACT || index % 2 == 0
            });
        }
    }

    /// The watermark after the commit at `at`.
    pub fn watermark(&self, at: Lsn) -> Option<i64> {
        let state = self.state.read();
        let later = state.watermarks.partition_point(|(lsn, _)| *lsn <= at);
        later.checked_sub(1).map(|last| state.watermarks[last].1)
    }

    /// The rows of a range, by partition, in offset order. Reads indexes of segments that have not been read yet.
    pub fn read(&self, reader: &Reader, range: Range) -> Result<Vec<Extent>, LogError> {
        let mut read = Vec::new();
        let mut stored: Vec<(usize, Range, Arc<Segment>)> = Vec::new();
        {
            let state = self.settled(range.after, range.upto);
            check_reader(reader, &state.spec)?;
            let adapt = |mut chunk: Chunk| {
                if reader.schema_id != state.spec.schema_id {
                    chunk.rows = conform(&chunk.rows, &state.spec.schema, &reader.schema);
                }
                Extent::Memory(chunk)
            };
            for partition in &state.partitions {
                let segments = &partition.segments;
                let range = Range {
                    start: partition.start,
                    ..range
                };
                let first = segments.partition_point(|segment| {
                    segment.info.last_lsn <= range.after
                        || range.since_us.is_some_and(|since_us| segment.info.last_us < since_us)
                });
                let wanted = segments[first..]
                    .iter()
                    .take_while(|segment| segment.info.first_lsn <= range.upto);
                let mut segments = wanted.peekable();
                let first = partition
                    .chunks
                    .partition_point(|chunk| chunk.last_lsn() <= range.after);
                let wanted = partition
                    .chunks
                    .range(first..)
                    .take_while(|chunk| chunk.first_lsn() <= range.upto);
                for chunk in wanted.filter_map(|chunk| chunk.within(&range)) {
                    let is_before = |segment: &&Arc<Segment>| segment.info.base_offset < chunk.base_offset;
                    while let Some(segment) = segments.next_if(is_before) {
                        stored.push((read.len(), range, Arc::clone(segment)));
                    }
                    read.push(adapt(chunk));
                }
                stored.extend(segments.map(|segment| (read.len(), range, Arc::clone(segment))));
            }
        }
        if stored.is_empty() {
            return Ok(read);
        }
        // Files are read without the lock.
        let mut all = Vec::with_capacity(read.len() + stored.len());
        let mut tail = read.into_iter();
        let mut taken = 0;
        for (before, range, segment) in stored {
            all.extend(tail.by_ref().take(before - taken));
            taken = before;
            let index = segment.index()?;
            for (batch, entry) in index.entries.iter().enumerate() {
                let is_wanted = entry.last_lsn > range.after
                    && entry.first_lsn <= range.upto
                    && entry.base_offset + u64::from(entry.rows) > range.start
                    && range.since_us.is_none_or(|since_us| entry.last_us >= since_us);
                if is_wanted {
                    let (segment, index) = (Arc::clone(&segment), Arc::clone(&index));
                    all.push(Extent::Stored(Stored::new(segment, index, batch, range, reader)));
                }
            }
        }
        all.extend(tail);
        Ok(all)
    }

    fn has_segments(&self) -> bool {
        let state = self.state.read();
        state.partitions.iter().any(|partition| !partition.segments.is_empty())
    }

    /// Segments of all partitions.
    pub fn segments(&self) -> Vec<Arc<Segment>> {
        let state = self.state.read();
        let partitions = state.partitions.iter();
        partitions
            .flat_map(|partition| partition.segments.iter().cloned())
            .collect()
    }

    pub fn stats(&self) -> TopicStats {
        let state = self.state.read();
        TopicStats {
            partitions: state
                .partitions
                .iter()
                .map(|partition| PartitionStats {
                    next_offset: partition.next_offset,
                    start_offset: partition.start,
                    rows: partition.next_offset - partition.start,
                    bytes: partition.bytes as u64,
                    segments: partition.segments.len() as u64,
                    segment_bytes: partition.segments.iter().map(|segment| segment.info.bytes).sum(),
                })
                .collect(),
            watermark: state.watermarks.last().map(|(_, watermark)| *watermark),
            newest_event_us: state.newest_event.map(|(event, _)| event),
            newest_event_append_us: state.newest_event.map(|(_, append)| append),
            newest_append_us: state.newest_append_us,
            rows_ahead: self.ahead.load(Ordering::Relaxed),
        }
    }

    /// Counts rows whose event times are too far ahead; returns the count before.
    pub fn count_ahead(&self, rows: u64) -> u64 {
        self.ahead.fetch_add(rows, Ordering::Relaxed)
    }
}

/// A statement planned before a column was dropped must not read NULLs in its place.
fn check_reader(reader: &Reader, spec: &TopicSpec) -> Result<(), LogError> {
    let is_older = reader.schema_id < spec.schema_id && !reader.ignores_dropped;
    let mut columns = 0..reader.schema.fields().len();
    if is_older && columns.any(|column| position_of(&spec.schema, &reader.schema, column).is_none()) {
        return Err(LogError::StaleSchema { topic: spec.id });
    }
    Ok(())
}

impl Drop for TopicTail {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        let bytes = state.partitions.iter().map(|partition| partition.bytes).sum();
        self.total_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// All topics.
#[derive(Default)]
pub struct Tail {
    /// Some topic has a retention, or had one.
    retains: AtomicBool,
    /// Segments have gone that images may still name.
    left: AtomicBool,
    topics: RwLock<HashMap<TopicId, Arc<TopicTail>>>,
    total_bytes: Arc<AtomicUsize>,
}

impl Tail {
    pub fn topic(&self, id: TopicId) -> Result<Arc<TopicTail>, LogError> {
        let topics = self.topics.read();
        let topic = topics.get(&id).ok_or(LogError::UnknownTopic { topic: id })?;
        Ok(Arc::clone(topic))
    }

    /// Whether something may go by retention.
    pub fn retains(&self) -> bool {
        self.retains.load(Ordering::Relaxed)
    }

    /// Whether segments have gone since this was last asked.
    pub fn take_left(&self) -> bool {
        self.left.swap(false, Ordering::Relaxed)
    }

    /// Takes note of a definition.
    pub fn note(&self, spec: &TopicSpec) {
        if spec.retention != Retention::default() {
            self.retains.store(true, Ordering::Relaxed);
        }
    }

    /// Drops the rows that a record of retention names.
    pub fn retire(&self, retired: &Retired) {
        for (id, partition, start) in &retired.starts {
            // One that was dropped meanwhile has nothing to lose.
            if let Ok(topic) = self.topic(*id)
                && topic.retire(*partition, *start)
            {
                self.left.store(true, Ordering::Relaxed);
            }
        }
    }

    pub fn create(&self, spec: Arc<TopicSpec>) {
        self.note(&spec);
        let topic = Arc::new(TopicTail::new(Arc::clone(&spec), Arc::clone(&self.total_bytes)));
        let previous = self.topics.write().insert(spec.id, topic);
        assert!(previous.is_none(), "topic ids are never reused");
    }

    /// Takes over a topic of an image.
    pub fn restore(
        &self,
        image: &TopicImage,
        lsn: Lsn,
        segment: impl FnMut(&super::segment::SegmentInfo, &SchemaRef) -> Arc<Segment>,
    ) {
        self.note(&image.spec);
        let topic = TopicTail::from_image(image, lsn, Arc::clone(&self.total_bytes), segment);
        self.topics.write().insert(image.spec.id, Arc::new(topic));
    }

    /// Readers that hold chunks keep them.
    pub fn remove(&self, id: TopicId) {
        let topic = self.topics.write().remove(&id);
        if topic.is_some_and(|topic| topic.has_segments()) {
            self.left.store(true, Ordering::Relaxed);
        }
    }

    /// In no order.
    pub fn topics(&self) -> Vec<(TopicId, Arc<TopicTail>)> {
        let topics = self.topics.read();
        topics.iter().map(|(id, topic)| (*id, Arc::clone(topic))).collect()
    }

    /// Bytes of the chunks of all topics.
    pub fn bytes(&self) -> usize {
        self.total_bytes.load(Ordering::Relaxed)
    }
}
