//! The commit log: the one place where a transaction becomes durable and gets its place in the one order, its LSN.
//!
//! One rule: nothing is visible to a reader, and nothing acknowledged, before the sync that covers it (L1).
//! Knows topics by id and Arrow schema; knows no SQL and no names.

mod backup;
mod check;
mod chunk;
mod claims;
mod columns;
mod damage;
mod directory;
mod encode;
mod encoding;
mod error;
mod events;
mod extent;
mod facade;
mod flusher;
mod frame;
mod image;
mod ipc;
mod mark;
mod merge;
mod message;
mod offsets;
mod options;
mod producers;
mod publish;
mod recovery;
mod repair;
mod retention;
mod rows;
mod runs;
mod segment;
mod sequencer;
mod space;
mod spill;
mod tail;
mod times;
mod torn;
mod wal;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

pub use backup::{BackedUp, backup};
pub use check::{Checked, check};
pub use columns::{Reader, column_field, conform, encode_value};
pub use encoding::expand;
pub use error::LogError;
pub use extent::{Bounds, Extent, Stored};
pub use facade::{Log, LogStats, Recovered};
pub use flusher::FlushOptions;
pub use merge::MergeOptions;
pub use offsets::{GroupChange, GroupId};
pub use options::LogOptions;
pub use producers::{PRODUCER_BYTES_MAX, Produced, ProducerStamp};
pub use repair::{LostCommits, LostRows, Repaired, repair};
pub use retention::{PIN_IDLE_US_MAX, Pin, Retention};
pub use segment::{Adoption, Layout, SegmentInfo};
pub use space::DiskStats;
pub use spill::{SpillWriter, Spilled};
pub use tail::{PartitionStats, TopicStats};

use facade::LogShared;

/// Position of a commit in the one commit log. 0 is before the first commit.
pub type Lsn = u64;

/// A topic's identity: its catalog OID. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct TopicId(pub u32);

/// The event-time column of a topic and the declared delay of its watermark.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EventTime {
    /// Index of the TIMESTAMP or TIMESTAMPTZ column in the topic's schema.
    pub column: usize,
    pub delay_us: i64,
    /// Event times further ahead of their append time than this do not move the watermark.
    pub ahead_us: i64,
}

/// Unless a topic says otherwise, event times may be this far ahead of the clock, microseconds.
pub const AHEAD_US: i64 = 24 * 60 * 60 * 1_000_000;

impl EventTime {
    /// Event times up to this may move the watermark by a commit at `now_us`.
    fn limit_us(&self, now_us: i64) -> i64 {
        // The last number is `infinity`, which is ahead of every clock.
        now_us.saturating_add(self.ahead_us).min(i64::MAX - 1)
    }
}

/// A topic's definition for the log.
#[derive(Clone, Debug)]
pub struct TopicSpec {
    pub id: TopicId,
    pub schema_id: u32,
    /// User columns only.
    pub schema: SchemaRef,
    pub partitions: u32,
    pub event_time: Option<EventTime>,
    pub retention: Retention,
}

/// Rows for one partition of one topic, validated; user columns only.
#[derive(Clone, Debug)]
pub struct Append {
    pub topic: TopicId,
    pub schema_id: u32,
    pub partition: u32,
    pub rows: AppendRows,
}

/// Rows that are to be appended: in memory, or in a file that the commit adopts.
#[derive(Clone, Debug)]
pub enum AppendRows {
    Memory(RecordBatch),
    Spilled(Arc<Spilled>),
}

impl AppendRows {
    pub fn count(&self) -> u64 {
        match self {
            AppendRows::Memory(rows) => rows.num_rows() as u64,
            AppendRows::Spilled(spilled) => spilled.rows(),
        }
    }

    /// Those in memory.
    pub fn memory(&self) -> Option<&RecordBatch> {
        match self {
            AppendRows::Memory(rows) => Some(rows),
            AppendRows::Spilled(_) => None,
        }
    }
}

impl From<RecordBatch> for AppendRows {
    fn from(rows: RecordBatch) -> AppendRows {
        AppendRows::Memory(rows)
    }
}

/// A change of the set of topics, in the same commit as the catalog record that caused it.
#[derive(Clone, Debug)]
pub enum TopicChange {
    Create(TopicSpec),
    Alter(TopicSpec),
    Drop(TopicId),
}

/// A catalog change: opaque to the log, but for the topics that it touches.
#[derive(Clone, Debug)]
pub struct Ddl {
    /// Catalog version that the change was planned against; stale ones are refused (40001).
    pub based_on: u64,
    /// `catalog::Change`s, serialized. Each commit with a `Ddl` makes the next catalog version.
    pub record: Vec<u8>,
    pub topics: Vec<TopicChange>,
}

impl Ddl {
    /// The definition that it gives a topic; the last, if it gives several.
    fn spec(&self, topic: TopicId) -> Option<&TopicSpec> {
        self.topics.iter().rev().find_map(|change| match change {
            TopicChange::Create(spec) | TopicChange::Alter(spec) if spec.id == topic => Some(spec),
            _ => None,
        })
    }
}

/// One transaction: atomic, across all topics that it touches (L5).
#[derive(Clone, Debug, Default)]
pub struct Commit {
    pub appends: Vec<Append>,
    pub ddl: Option<Ddl>,
    /// Watermark advances: topic and event time in microseconds (the watermark itself, delay already taken off).
    pub advances: Vec<(TopicId, i64)>,
    /// Topics whose catalog change rests on their never having had a row; the commit is refused if one has.
    pub empty: Vec<TopicId>,
    /// It is made even if it changes nothing: the time of the log goes on.
    pub tick: bool,
    /// Its place among the transactions of its producer. One that is there already is not made again, and is
    /// [`LogError::Repeated`].
    pub producer: Option<ProducerStamp>,
    /// Offsets of consumer groups; the commit is refused if a group does not stand where one goes on from.
    pub groups: Vec<GroupChange>,
    /// The topics that the commit's rows rest on as they were at an LSN; it is refused if another commit has changed one since.
    pub read: Option<(Lsn, Vec<TopicId>)>,
}

/// The moment at which a commit is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acknowledge {
    /// After the sync that covers it.
    Synced,
    /// As soon as it is queued in order (`synchronous_commit = off`); it becomes visible only once synced.
    Queued,
}

/// The place that the rows of one [`Append`] got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    pub base_offset: u64,
    /// The topic's watermark before this commit, microseconds.
    pub watermark: Option<i64>,
}

/// The place that a commit got in the log.
#[derive(Clone, Debug)]
pub struct Receipt {
    pub lsn: Lsn,
    pub timestamp_us: i64,
    /// One per append, in order.
    pub appended: Vec<Appended>,
}

/// Consecutive rows of one commit within a [`Chunk`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    pub rows: usize,
    pub lsn: Lsn,
    pub timestamp_us: i64,
    /// The topic's watermark before that commit, microseconds.
    pub watermark: Option<i64>,
}

/// Consecutive rows of one partition: user columns, and the runs that say which rows are which commit's.
#[derive(Clone, Debug)]
pub struct Chunk {
    pub partition: u32,
    pub base_offset: u64,
    pub rows: RecordBatch,
    /// Their row counts sum up to `rows.num_rows()`; LSNs do not fall.
    pub runs: Arc<[Run]>,
}

/// The hidden columns of a topic.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum HiddenColumn {
    /// `_partition`, Int32
    Partition,
    /// `_offset`, Int64
    Offset,
    /// `_timestamp`, Timestamp(µs, "UTC"): when committed
    Timestamp,
    /// `_lsn`, Int64
    Lsn,
    /// `_watermark`, of the event-time column's type
    Watermark,
}

impl HiddenColumn {
    pub const ALL: [HiddenColumn; 5] = [
        HiddenColumn::Partition,
        HiddenColumn::Offset,
        HiddenColumn::Timestamp,
        HiddenColumn::Lsn,
        HiddenColumn::Watermark,
    ];

    pub fn name(self) -> &'static str {
        match self {
            HiddenColumn::Partition => "_partition",
            HiddenColumn::Offset => "_offset",
            HiddenColumn::Timestamp => "_timestamp",
            HiddenColumn::Lsn => "_lsn",
            HiddenColumn::Watermark => "_watermark",
        }
    }
}

/// Called by the log at commit, after the sync and before publication, in LSN order, on the writer's thread.
pub trait DdlObserver: Send + Sync + 'static {
    /// `record` is the [`Ddl::record`] of the commit at `lsn`.
    fn apply(&self, lsn: Lsn, record: &[u8]);

    /// The operator's name of a topic.
    fn name(&self, _topic: TopicId) -> Option<String> {
        None
    }

    /// Rows of the topic that were appended at or after this, microseconds, are needed, even past its retention.
    fn needed_since(&self, _topic: TopicId) -> Option<i64> {
        None
    }
}
