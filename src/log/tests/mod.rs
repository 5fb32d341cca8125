//! Tests of the log as a whole: each opens one, over files or over a disk that forgets.

mod backup;
mod behaviour;
mod damage;
mod disk;
mod format;
mod fuzz;
mod panics;
mod repair;
mod restarts;
mod retention;
mod segments;
mod simulation;
mod space;
mod spill;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use futures::executor::block_on;

use crate::storage::{Clock, Disk, SharedClock};

use super::*;

/// A clock that a test sets: the machine's, the monotonic one, and the number of the machine's starts.
pub struct TestClock(AtomicI64, AtomicI64, AtomicU64);

impl TestClock {
    pub fn at(now_us: i64) -> Arc<TestClock> {
        let started_us = 1_000_000;
        Arc::new(TestClock(
            AtomicI64::new(now_us),
            AtomicI64::new(started_us),
            AtomicU64::new(1),
        ))
    }

    /// The machine starts again.
    pub fn reboot(&self) {
        self.1.store(1_000_000, Ordering::Relaxed);
        self.2.fetch_add(1, Ordering::Relaxed);
    }

    pub fn set(&self, now_us: i64) {
        self.0.store(now_us, Ordering::Relaxed);
    }

    /// Time goes on.
    pub fn pass(&self, us: i64) {
        self.0.fetch_add(us, Ordering::Relaxed);
        self.1.fetch_add(us, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now_us(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    fn monotonic_us(&self) -> i64 {
        self.1.load(Ordering::Relaxed)
    }

    fn boot(&self) -> u64 {
        self.2.load(Ordering::Relaxed)
    }
}

pub const DAY_US: i64 = 24 * 60 * 60 * 1_000_000;
pub const NOW_US: i64 = 1_800_000_000_000_000;

/// id BIGINT NOT NULL, name TEXT, at TIMESTAMP
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
    ]))
}

/// Topic `id` with 2 partitions and a watermark 1 s behind `at`.
pub fn spec(id: u32) -> TopicSpec {
    TopicSpec {
        id: TopicId(id),
        schema_id: 1,
        schema: schema(),
        partitions: 2,
        event_time: Some(EventTime {
            column: 2,
            delay_us: 1_000_000,
            ahead_us: AHEAD_US,
        }),
        retention: Retention::default(),
    }
}

/// One row per (id, event time).
pub fn rows(values: &[(i64, Option<i64>)]) -> RecordBatch {
    let ids: Int64Array = values.iter().map(|(id, _)| Some(*id)).collect();
    let names: StringArray = values
        .iter()
        .map(|(id, _)| (id % 5 != 0).then(|| format!("name {id}")))
        .collect();
    let at: TimestampMicrosecondArray = values.iter().map(|(_, at)| *at).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(ids), Arc::new(names), Arc::new(at)];
    RecordBatch::try_new(schema(), columns).expect("columns fit the schema")
}

pub fn append(topic: u32, partition: u32, values: &[(i64, Option<i64>)]) -> Append {
    Append {
        topic: TopicId(topic),
        schema_id: 1,
        partition,
        rows: rows(values).into(),
    }
}

pub fn insert(topic: u32, partition: u32, values: &[(i64, Option<i64>)]) -> Commit {
    Commit {
        appends: vec![append(topic, partition, values)],
        ..Commit::default()
    }
}

pub fn create(version: u64, ids: &[u32]) -> Commit {
    Commit {
        ddl: Some(Ddl {
            based_on: version,
            record: format!("create {ids:?}").into_bytes(),
            topics: ids.iter().map(|id| TopicChange::Create(spec(*id))).collect(),
        }),
        ..Commit::default()
    }
}

/// Seals only when told, makes files inline, never flushes, makes no marks: the disk operations of a workload are always the same.
pub fn steady() -> LogOptions {
    LogOptions {
        wal_file_bytes_max: 1 << 20,
        seal_after_ms: 1 << 40,
        measured_syncs: 0,
        inline_sync_us_max: None,
        background: false,
        flush_bytes: usize::MAX,
        image_after_bytes: u64::MAX,
        mark_every_ms: u64::MAX,
        ..LogOptions::default()
    }
}

pub fn open_with(disk: Arc<dyn Disk>, dir: &Path, options: LogOptions) -> Result<(Arc<Log>, Recovered), LogError> {
    let clock: SharedClock = TestClock::at(NOW_US);
    Log::open(disk, dir, options, clock)
}

/// The same with flushes all the time: segments of a few rows, batches of two, images that hold next to nothing.
pub fn tiny() -> LogOptions {
    LogOptions {
        flush_bytes: 512,
        image_after_bytes: 16 << 10,
        flush: FlushOptions {
            segment_bytes_min: 1 << 10,
            segment_bytes_max: 4 << 10,
            image_rows_bytes_max: 2 << 10,
            layout: Layout {
                batch_rows: 2,
                batch_bytes: 1 << 10,
                compression: None,
            },
            merge: MergeOptions {
                after_ms: u64::MAX,
                latest_ms: u64::MAX,
                ..LogOptions::default().flush.merge
            },
        },
        ..steady()
    }
}

/// The same, and segments are merged with each flush.
pub fn merging() -> LogOptions {
    let options = tiny();
    LogOptions {
        flush: FlushOptions {
            merge: MergeOptions {
                bytes_min: 32 << 10,
                segments_min: 3,
                bytes_max: 128 << 10,
                after_ms: 0,
                latest_ms: u64::MAX,
                layout: Layout {
                    batch_rows: 16,
                    ..options.flush.merge.layout
                },
            },
            ..options.flush
        },
        ..options
    }
}

/// Commits of every kind: topic 1, a small one, a large one of `many`, an advance, and `last` in the other partition.
pub fn commit_each_kind(log: &Log, many: &[(i64, Option<i64>)], last: &[(i64, Option<i64>)]) {
    let advance = Commit {
        advances: vec![(TopicId(1), NOW_US + 5)],
        ..Commit::default()
    };
    for commit in [
        create(0, &[1]),
        insert(1, 0, &[(1, Some(7))]),
        insert(1, 0, many),
        advance,
        insert(1, 1, last),
    ] {
        block_on(log.commit(commit, Acknowledge::Synced)).expect("committed");
    }
}

/// Closes the log, outside of any runtime.
pub fn close(log: &Log) -> Result<(), LogError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(log.close())
}

/// The number that an environment variable gives.
pub fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// Runs `case` with each seed below `seeds`, on all cores, until it has failed for more than `failures_max` of them.
pub fn each_seed<E: Send>(
    seeds: u64,
    failures_max: usize,
    case: impl Fn(u64) -> Result<(), E> + Sync,
) -> Vec<(u64, E)> {
    let (next, failures) = (AtomicU64::new(0), parking_lot::Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds || failures.lock().len() > failures_max {
                        return;
                    }
                    if let Err(failure) = case(seed) {
                        failures.lock().push((seed, failure));
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner();
    failures.sort_by_key(|(seed, _)| *seed);
    failures
}

pub fn reader(log: &Log, topic: u32) -> Reader {
    let spec = log.spec(TopicId(topic)).unwrap_or_else(|_| Arc::new(spec(topic)));
    Reader::of(&spec)
}

/// Rows committed after `after` up to `upto`, loaded.
pub fn read(log: &Log, topic: u32, after: Lsn, upto: Lsn) -> Vec<Chunk> {
    let extents = log.read(&reader(log, topic), after, upto).expect("the topic exists");
    let chunks = extents.iter().map(|extent| extent.load().expect("it is not damaged"));
    chunks.flatten().collect()
}

/// Offset, LSN and id of each row of a partition, checked to be dense and in order.
pub fn content(log: &Log, topic: u32, partition: u32) -> Vec<(u64, Lsn, i64)> {
    let mut found = Vec::new();
    let chunks = read(log, topic, 0, log.newest());
    let stats = log.topic_stats(TopicId(topic)).expect("the topic exists");
    let start = stats.partitions[partition as usize].start_offset;
    for chunk in chunks.iter().filter(|chunk| chunk.partition == partition) {
        assert_eq!(chunk.base_offset, start + found.len() as u64, "L2: offsets are dense");
        let ids = chunk.rows.column(0).as_primitive::<Int64Type>();
        let lsns = chunk.system_column(HiddenColumn::Lsn, None);
        let lsns = lsns.as_primitive::<Int64Type>();
        for row in 0..chunk.rows.num_rows() {
            found.push((start + found.len() as u64, lsns.value(row) as Lsn, ids.value(row)));
        }
    }
    assert!(found.is_sorted_by_key(|(_, lsn, _)| *lsn), "LSNs do not fall");
    found
}

pub fn ids(log: &Log, topic: u32, partition: u32) -> Vec<i64> {
    content(log, topic, partition)
        .into_iter()
        .map(|(_, _, id)| id)
        .collect()
}
