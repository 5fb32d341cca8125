//! The server's state as the system relations show it: plain values that the session takes at one moment.

use std::sync::Arc;

use crate::catalog::Snapshot;

/// Everything that system relations are computed from. Times are microseconds since 1970 UTC.
#[derive(Clone, Debug)]
pub struct SystemState {
    pub snapshot: Arc<Snapshot>,
    pub database: String,
    pub user: String,
    /// Where names without a schema are looked for.
    pub search_path: Vec<String>,
    pub sessions: Vec<SessionState>,
    pub topics: Vec<TopicState>,
    pub views: Vec<ViewState>,
    /// By view, from the inputs to the root.
    pub operators: Vec<OperatorState>,
    pub settings: Vec<SettingState>,
    pub prepared: Vec<PreparedState>,
    pub cursors: Vec<CursorState>,
    pub locks: Vec<AdvisoryLockState>,
    pub groups: Vec<GroupState>,
    pub producers: Vec<ProducerState>,
    pub wal: WalState,
    pub disk: DiskState,
    /// Counters of the whole server, by name.
    pub metrics: Vec<(&'static str, u64)>,
}

impl SystemState {
    /// A state that knows the catalog and nothing of the running server.
    pub fn of(snapshot: Arc<Snapshot>, database: &str, user: &str) -> Self {
        SystemState {
            snapshot,
            database: database.to_string(),
            user: user.to_string(),
            search_path: Vec::new(),
            sessions: Vec::new(),
            topics: Vec::new(),
            views: Vec::new(),
            operators: Vec::new(),
            settings: Vec::new(),
            prepared: Vec::new(),
            cursors: Vec::new(),
            locks: Vec::new(),
            groups: Vec::new(),
            producers: Vec::new(),
            wal: WalState::default(),
            disk: DiskState::default(),
            metrics: Vec::new(),
        }
    }

    pub(super) fn topic(&self, oid: u32) -> Option<&TopicState> {
        self.topics.iter().find(|topic| topic.oid == oid)
    }

    pub(super) fn view(&self, oid: u32) -> Option<&ViewState> {
        self.views.iter().find(|view| view.oid == oid)
    }
}

#[derive(Clone, Debug, Default)]
pub struct SessionState {
    pub pid: i32,
    pub user: String,
    pub database: String,
    pub application_name: String,
    pub client_addr: Option<String>,
    pub client_port: Option<i32>,
    pub started_us: i64,
    /// `active`, `idle`, `idle in transaction`, `idle in transaction (aborted)`
    pub state: String,
    pub state_changed_us: Option<i64>,
    pub transaction_started_us: Option<i64>,
    pub query_started_us: Option<i64>,
    /// The running statement, or the last one.
    pub query: String,
}

#[derive(Clone, Debug, Default)]
pub struct TopicState {
    pub oid: u32,
    pub partitions: Vec<PartitionState>,
    pub segments: Vec<SegmentState>,
    pub watermark_us: Option<i64>,
    pub newest_event_us: Option<i64>,
    pub newest_append_us: Option<i64>,
    /// Rows since the start whose event times were too far ahead to move the watermark.
    pub rows_ahead: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct PartitionState {
    pub partition: u32,
    pub start_offset: u64,
    pub next_offset: u64,
    pub rows: u64,
    pub memory_bytes: u64,
    pub segments: u64,
    pub segment_bytes: u64,
}

impl PartitionState {
    /// In memory and in segments.
    pub fn bytes(&self) -> u64 {
        self.memory_bytes + self.segment_bytes
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub struct SegmentState {
    pub partition: u32,
    pub id: u64,
    pub base_offset: u64,
    pub rows: u64,
    pub bytes: u64,
    pub first_lsn: u64,
    pub last_lsn: u64,
    pub first_append_us: i64,
    pub last_append_us: i64,
    pub schema_id: u32,
}

#[derive(Clone, Debug, Default)]
pub struct ViewState {
    pub oid: u32,
    /// `ready`, `failed`, `backfilling`
    pub status: String,
    pub reason: Option<String>,
    pub frontier: Option<u64>,
    pub rows: Option<u64>,
    pub state_bytes: Option<u64>,
    pub watermark_us: Option<i64>,
    pub late_rows: u64,
}

/// An operator of a materialized view.
#[derive(Clone, Debug, Default)]
pub struct OperatorState {
    pub view: u32,
    pub number: usize,
    pub consumers: Vec<usize>,
    pub description: String,
    pub rows_in: u64,
    pub rows_out: u64,
    pub state_rows: Option<u64>,
    pub state_bytes: u64,
    /// Of the state that it shares, all.
    pub shared_bytes: Option<u64>,
    /// The views that it shares that with.
    pub shared_with: Vec<u32>,
    pub work_us: u64,
    pub late_rows: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub struct SettingState {
    pub name: String,
    pub value: Option<String>,
    pub unit: Option<String>,
    pub category: String,
    pub description: String,
    /// `user`, `postmaster`, `internal`, ... as PostgreSQL has them.
    pub context: String,
    /// `bool`, `enum`, `integer`, `real`, `string`
    pub kind: String,
    /// `default`, `session`, `client`, `command line`, ...
    pub source: String,
    pub default: Option<String>,
    /// The value that RESET restores.
    pub reset: Option<String>,
    pub min: Option<String>,
    pub max: Option<String>,
    pub allowed: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default)]
pub struct PreparedState {
    pub name: String,
    pub statement: String,
    pub prepared_us: i64,
    pub parameter_types: Vec<u32>,
    /// By PREPARE, not by a Parse message.
    pub from_sql: bool,
}

#[derive(Clone, Debug, Default)]
pub struct CursorState {
    pub name: String,
    pub statement: String,
    pub holdable: bool,
    pub binary: bool,
    pub scrollable: bool,
    pub created_us: i64,
}

/// An advisory lock that a session holds or waits for.
#[derive(Clone, Debug, Default)]
pub struct AdvisoryLockState {
    /// Of a key of one number the upper and the lower half, else the first and the second.
    pub key: (u32, u32),
    pub is_one_number: bool,
    pub pid: i32,
    pub is_shared: bool,
    pub is_granted: bool,
}

/// A consumer group.
#[derive(Clone, Debug)]
pub struct GroupState {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    pub topic_oid: u32,
    pub topic: String,
    pub members: u64,
    pub partitions: Vec<GroupPartitionState>,
}

/// A partition as a consumer group stands in it.
#[derive(Clone, Debug)]
pub struct GroupPartitionState {
    pub partition: u32,
    /// The next offset that it consumes; rows before the topic's first one are gone.
    pub committed_offset: u64,
    pub start_offset: u64,
    pub end_offset: u64,
    /// The session that has it.
    pub member: Option<i32>,
}

impl GroupPartitionState {
    /// Rows that are there to be consumed.
    pub fn lag(&self) -> u64 {
        self.end_offset
            .saturating_sub(self.committed_offset.max(self.start_offset))
    }

    /// Rows that retention removed before they were consumed.
    pub fn lost(&self) -> u64 {
        self.start_offset.saturating_sub(self.committed_offset)
    }
}

/// A producer and its newest transaction.
#[derive(Clone, Debug)]
pub struct ProducerState {
    pub name: String,
    pub sequence: u64,
    pub lsn: u64,
    pub rows: u64,
}

#[derive(Clone, Debug, Default)]
pub struct WalState {
    pub newest_lsn: u64,
    pub durable_lsn: u64,
    pub files: u64,
    pub bytes: u64,
    pub commits: u64,
    pub syncs: u64,
    pub sync_latency_us: u64,
    /// LSN of the newest metadata image.
    pub image_lsn: Option<u64>,
    pub memory_bytes: u64,
    pub flush_failure: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub struct DiskState {
    /// The data directory.
    pub path: String,
    /// Of its file system.
    pub total_bytes: Option<u64>,
    pub available_bytes: Option<u64>,
    /// INSERT and COPY are refused while less is available.
    pub mark_bytes: u64,
    pub refusing: bool,
}
