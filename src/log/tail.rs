//! The memory tail: per topic partition the rows in offset order, as chunks of Arrow batches that readers share.
//!
//! One rule: a chunk never changes once a reader can hold it. The writer alone appends, and replaces runs of small
//! chunks by one large one with the same rows. What is newer than the newest published LSN is never returned.
//!
//! In this step the tail is the whole history; [`Topic::read`] is the one place where segments will be joined in.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use hashbrown::HashMap;
use parking_lot::RwLock;

use super::{Chunk, LogError, Lsn, Run, TopicId, TopicSpec};

/// Chunks of at least this many rows are not merged further.
const CHUNK_ROWS_TARGET: usize = 8192;
/// This many neighbours of one size class become one chunk: each row is copied about four times in all.
const MERGE_CHUNKS: usize = 8;
/// Chunks are not merged past this, whatever their rows.
const MERGE_BYTES_MAX: usize = 16 << 20;

/// What is known of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionStats {
    pub next_offset: u64,
    pub rows: u64,
    /// Arrow bytes in memory; buffers shared between chunks count more than once.
    pub bytes: u64,
}

/// What is known of one topic at the newest published LSN. Times in microseconds.
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
}

#[derive(Default)]
struct Partition {
    chunks: Vec<Chunk>,
    next_offset: u64,
    bytes: u64,
}

struct State {
    spec: Arc<TopicSpec>,
    partitions: Vec<Partition>,
    /// The watermark after the commit at each LSN that moved it.
    watermarks: Vec<(Lsn, i64)>,
    newest_event: Option<(i64, i64)>,
    newest_append_us: Option<i64>,
}

/// The rows of one topic.
pub struct Topic {
    state: RwLock<State>,
}

fn class(rows: usize) -> u32 {
    rows.max(1).ilog2() / MERGE_CHUNKS.ilog2()
}

impl Partition {
    /// How many chunks at the end should become one, or 0.
    fn mergeable(&self) -> usize {
        let Some(last) = self.chunks.last() else {
            return 0;
        };
        if last.rows.num_rows() >= CHUNK_ROWS_TARGET {
            return 0;
        }
        let class_of_last = class(last.rows.num_rows());
        let alike = self
            .chunks
            .iter()
            .rev()
            .take_while(|chunk| class(chunk.rows.num_rows()) <= class_of_last)
            .count();
        if alike < MERGE_CHUNKS {
            return 0;
        }
        let merged = &self.chunks[self.chunks.len() - alike..];
        let bytes: usize = merged.iter().map(|chunk| chunk.rows.get_array_memory_size()).sum();
        if bytes <= MERGE_BYTES_MAX { alike } else { 0 }
    }
}

/// One chunk with the rows and runs of `chunks`, which follow one another.
fn merge(chunks: &[Chunk], schema: &SchemaRef) -> Option<Chunk> {
    let rows = concat_batches(schema, chunks.iter().map(|chunk| &chunk.rows)).ok()?;
    let mut runs: Vec<Run> = Vec::with_capacity(chunks.iter().map(|chunk| chunk.runs.len()).sum());
    for run in chunks.iter().flat_map(|chunk| chunk.runs.iter()) {
        match runs.last_mut() {
            Some(last) if last.lsn == run.lsn => last.rows += run.rows,
            _ => runs.push(*run),
        }
    }
    Some(Chunk {
        partition: chunks[0].partition,
        base_offset: chunks[0].base_offset,
        rows,
        runs: runs.into(),
    })
}

impl Topic {
    pub fn new(spec: Arc<TopicSpec>) -> Topic {
        let partitions = (0..spec.partitions).map(|_| Partition::default()).collect();
        Topic {
            state: RwLock::new(State {
                spec,
                partitions,
                watermarks: Vec::new(),
                newest_event: None,
                newest_append_us: None,
            }),
        }
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

    /// Appends a chunk, then merges small ones. The caller is the one writer.
    pub fn push(&self, chunk: Chunk, event_us: Option<i64>) {
        let partition = chunk.partition as usize;
        let timestamp_us = chunk.runs[chunk.runs.len() - 1].timestamp_us;
        {
            let mut state = self.state.write();
            let state = &mut *state;
            state.newest_append_us = Some(timestamp_us);
            if let Some(event_us) = event_us
                && state.newest_event.is_none_or(|(newest, _)| event_us > newest)
            {
                state.newest_event = Some((event_us, timestamp_us));
            }
            let partition = &mut state.partitions[partition];
            assert_eq!(chunk.base_offset, partition.next_offset, "L2: offsets are dense");
            partition.next_offset += chunk.rows.num_rows() as u64;
            partition.bytes += chunk.rows.get_array_memory_size() as u64;
            partition.chunks.push(chunk);
        }
        self.consolidate(partition);
    }

    /// Merges outside the write lock: only the writer changes the list, so what it copied is still there.
    fn consolidate(&self, partition: usize) {
        loop {
            let (start, merged) = {
                let state = self.state.read();
                let chunks = &state.partitions[partition].chunks;
                let count = state.partitions[partition].mergeable();
                if count == 0 {
                    return;
                }
                let start = chunks.len() - count;
                match merge(&chunks[start..], &state.spec.schema) {
                    Some(merged) => (start, merged),
                    None => return,
                }
            };
            let mut state = self.state.write();
            let partition = &mut state.partitions[partition];
            let bytes = |chunks: &[Chunk]| -> u64 {
                chunks
                    .iter()
                    .map(|chunk| chunk.rows.get_array_memory_size() as u64)
                    .sum()
            };
            partition.bytes = partition.bytes.saturating_sub(bytes(&partition.chunks[start..]));
            partition.bytes += bytes(std::slice::from_ref(&merged));
            partition.chunks.truncate(start);
            partition.chunks.push(merged);
        }
    }

    /// Takes over a changed definition. Rows of the older schema get NULLs in new columns and lose dropped ones.
    pub fn alter(&self, spec: Arc<TopicSpec>) {
        let mut state = self.state.write();
        let state = &mut *state;
        if state.spec.schema != spec.schema {
            for chunk in state.partitions.iter_mut().flat_map(|partition| &mut partition.chunks) {
                chunk.rows = conform(&chunk.rows, &spec.schema);
            }
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
    }

    /// The watermark after the commit at `at`.
    pub fn watermark(&self, at: Lsn) -> Option<i64> {
        let state = self.state.read();
        let later = state.watermarks.partition_point(|(lsn, _)| *lsn <= at);
        later.checked_sub(1).map(|last| state.watermarks[last].1)
    }

    /// Rows committed after `after` up to and including `upto`, by partition, in offset order.
    pub fn read(&self, after: Lsn, upto: Lsn) -> Vec<Chunk> {
        let state = self.state.read();
        let mut read = Vec::new();
        for partition in &state.partitions {
            let first = partition.chunks.partition_point(|chunk| chunk.last_lsn() <= after);
            let wanted = partition.chunks[first..]
                .iter()
                .take_while(|chunk| chunk.first_lsn() <= upto);
            read.extend(wanted.filter_map(|chunk| chunk.between(after, upto)));
        }
        read
    }

    pub fn stats(&self) -> TopicStats {
        let state = self.state.read();
        TopicStats {
            partitions: state
                .partitions
                .iter()
                .map(|partition| PartitionStats {
                    next_offset: partition.next_offset,
                    rows: partition.next_offset,
                    bytes: partition.bytes,
                })
                .collect(),
            watermark: state.watermarks.last().map(|(_, watermark)| *watermark),
            newest_event_us: state.newest_event.map(|(event, _)| event),
            newest_event_append_us: state.newest_event.map(|(_, append)| append),
            newest_append_us: state.newest_append_us,
        }
    }
}

/// `rows` with the columns of `schema`, by name.
fn conform(rows: &RecordBatch, schema: &SchemaRef) -> RecordBatch {
    let columns = schema
        .fields()
        .iter()
        .map(|field| match rows.column_by_name(field.name()) {
            Some(column) if column.data_type() == field.data_type() => Arc::clone(column),
            _ => new_null_array(field.data_type(), rows.num_rows()),
        })
        .collect();
    // Columns that are NOT NULL now may hold NULLs from before: the schema of old rows says so.
    let fields: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| field.as_ref().clone().with_nullable(true))
        .collect();
    let schema = Arc::new(arrow::datatypes::Schema::new_with_metadata(
        fields,
        schema.metadata().clone(),
    ));
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(schema, columns, &options).expect("columns have the types of the schema")
}

/// All topics.
#[derive(Default)]
pub struct Tail {
    topics: RwLock<HashMap<TopicId, Arc<Topic>>>,
}

impl Tail {
    pub fn topic(&self, id: TopicId) -> Result<Arc<Topic>, LogError> {
        let topics = self.topics.read();
        let topic = topics.get(&id).ok_or(LogError::UnknownTopic { topic: id })?;
        Ok(Arc::clone(topic))
    }

    pub fn create(&self, spec: Arc<TopicSpec>) {
        let previous = self.topics.write().insert(spec.id, Arc::new(Topic::new(spec)));
        assert!(previous.is_none(), "topic ids are never reused");
    }

    /// Readers that hold chunks keep them.
    pub fn remove(&self, id: TopicId) {
        self.topics.write().remove(&id);
    }

    /// In no order.
    pub fn topics(&self) -> Vec<(TopicId, Arc<Topic>)> {
        let topics = self.topics.read();
        topics.iter().map(|(id, topic)| (*id, Arc::clone(topic))).collect()
    }
}
