//! The errors of the log, and the SQLSTATE of each situation.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{SqlError, SqlState, state};

use super::{GroupId, Lsn, Produced, ProducerStamp, TopicId};

/// Situations of the log. Those of `open` concern the operator, the others a session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The append was planned against another schema (or number of partitions) of its topic.
    #[error("could not serialize access due to concurrent change of the topic with OID {}", topic.0)]
    StaleSchema { topic: TopicId },
    /// The catalog change was planned against an older catalog.
    #[error("could not serialize access due to concurrent catalog change")]
    StaleCatalog { based_on: u64, current: u64 },
    /// The commit rests on rows that have changed since it read them.
    #[error("could not serialize access due to read/write dependencies among transactions")]
    StaleRead { topic: TopicId },
    /// Another session has consumed the rows, or the group was set to another offset.
    #[error("could not serialize access due to concurrent consumption of partition {partition}")]
    StaleOffsets { group: GroupId, partition: u32 },
    /// The producer's transaction is in order already.
    #[error("the transaction was made before, at LSN {}", first.lsn)]
    Repeated { first: Produced },
    /// It is neither the producer's next transaction nor one of the newest; `known` are the first and the last of these.
    #[error("transaction {} of producer \"{}\" is out of sequence", stamp.sequence, stamp.producer)]
    OutOfSequence { stamp: ProducerStamp, known: (u64, u64) },
    #[error("topic with OID {} does not exist", topic.0)]
    UnknownTopic { topic: TopicId },
    #[error("row is too big: {bytes} bytes, maximum {bytes_max} bytes")]
    RowTooBig { bytes: usize, bytes_max: usize },
    #[error("transaction is too big: {bytes} bytes, maximum {bytes_max} bytes")]
    TransactionTooBig { bytes: usize, bytes_max: usize },
    /// The rows cannot be encoded: their types are not those of the topic.
    #[error("rows cannot be logged: {reason}")]
    Unencodable { reason: String },
    /// A write or sync of the WAL failed: the commits in flight may or may not exist after a restart (L4).
    #[error("transaction resolution unknown: {reason}")]
    Failed { reason: String },
    #[error("the log is closed")]
    Closed,
    #[error("data directory \"{}\" is in use by another server{holder}", dir.display())]
    Locked { dir: PathBuf, holder: String },
    /// Damage at or below an acknowledged commit (L3).
    #[error("the log is damaged: file \"{}\", offset {offset}, LSN {lsn}: {reason}", file.display())]
    Corrupt {
        file: PathBuf,
        offset: u64,
        lsn: Lsn,
        reason: String,
    },
    /// Rows in a file of their own cannot be read; everything else can.
    #[error("file \"{}\" is damaged at offset {offset}: {reason}", file.display())]
    Damaged { file: PathBuf, offset: u64, reason: String },
    /// The disk is nearly full. Bytes.
    #[error(
        "could not write rows: {} MiB are left on the disk of data directory \"{}\", and {} MiB are kept free",
        available >> 20, dir.display(), mark >> 20
    )]
    DiskFull { dir: PathBuf, available: u64, mark: u64 },
    /// Rows come faster than they can be flushed, or they cannot be flushed at all.
    #[error("could not flush rows to disk: {reason}")]
    Unflushed { reason: String },
    #[error("file \"{}\" has format version {version}, newer than {supported}, the newest that this server reads", file.display())]
    NewerFormat {
        file: PathBuf,
        version: u32,
        supported: u32,
    },
    /// A directory that should become something has something in it.
    #[error("directory \"{}\" exists and is not empty", dir.display())]
    Occupied { dir: PathBuf },
    #[error(
        "could not back up \"{}\": it changed faster than it could be copied, {attempts} times",
        dir.display()
    )]
    Overtaken { dir: PathBuf, attempts: usize },
    #[error("no metadata image in \"{}\" can be read, and its log does not go back to its beginning", dir.display())]
    Irreparable { dir: PathBuf },
    #[error("could not {doing} \"{}\": {reason}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        reason: String,
    },
    /// The disk, or this server's share of it, is full.
    #[error("could not {doing} \"{}\": {reason}", path.display())]
    NoSpace {
        doing: &'static str,
        path: PathBuf,
        reason: String,
    },
}

impl LogError {
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LogError {
        let path = path.to_path_buf();
        move |error| {
            let reason = error.to_string();
            match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => LogError::NoSpace { doing, path, reason },
                _ => LogError::Io { doing, path, reason },
            }
        }
    }

    pub fn state(&self) -> SqlState {
        match self {
            LogError::StaleSchema { .. }
            | LogError::StaleCatalog { .. }
            | LogError::StaleRead { .. }
            | LogError::StaleOffsets { .. } => state::SERIALIZATION_FAILURE,
            LogError::Repeated { .. } | LogError::OutOfSequence { .. } => state::OBJECT_NOT_IN_PREREQUISITE_STATE,
            LogError::UnknownTopic { .. } => state::UNDEFINED_TABLE,
            LogError::RowTooBig { .. } | LogError::TransactionTooBig { .. } => state::PROGRAM_LIMIT_EXCEEDED,
            LogError::Unencodable { .. } => state::INTERNAL_ERROR,
            LogError::Failed { .. } => state::CONNECTION_FAILURE_UNKNOWN,
            LogError::Closed => state::ADMIN_SHUTDOWN,
            LogError::Locked { .. } | LogError::Occupied { .. } | LogError::Overtaken { .. } => {
                state::OBJECT_NOT_IN_PREREQUISITE_STATE
            }
            LogError::Corrupt { .. } | LogError::Damaged { .. } | LogError::Irreparable { .. } => state::DATA_CORRUPTED,
            LogError::Unflushed { .. } | LogError::DiskFull { .. } | LogError::NoSpace { .. } => state::DISK_FULL,
            LogError::NewerFormat { .. } => state::FEATURE_NOT_SUPPORTED,
            LogError::Io { .. } => state::IO_ERROR,
        }
    }
}

impl From<LogError> for SqlError {
    fn from(error: LogError) -> SqlError {
        let sql = SqlError::new(error.state(), error.to_string());
        match error {
            LogError::StaleOffsets { .. } => sql
                .detail("The group's offset of the partition is no longer where this session consumed from.")
                .hint("Nothing of the transaction was kept: consume again."),
            LogError::StaleSchema { .. } | LogError::StaleCatalog { .. } | LogError::StaleRead { .. } => {
                sql.hint("The transaction might succeed if retried.")
            }
            LogError::OutOfSequence {
                stamp,
                known: (first, last),
            } => {
                let sql = sql.detail(match first == last {
                    true => format!("Its newest transaction is {last}."),
                    false => format!("Its newest transactions, those that can be sent again, are {first} to {last}."),
                });
                match stamp.sequence > last {
                    true => sql.hint(format!("Send transaction {} first.", last.saturating_add(1))),
                    false => sql.hint("It was made before, if the producer numbers its transactions without gaps."),
                }
            }
            LogError::RowTooBig { .. } => sql.hint("Store large values outside and keep a reference in the row."),
            LogError::TransactionTooBig { .. } => sql.hint("Load the rows in several smaller transactions."),
            LogError::Failed { .. } => sql
                .detail("Writing or syncing the write-ahead log failed. The transaction may or may not be committed.")
                .hint("Reconnect once the server has restarted, and check whether the rows are there."),
            LogError::Locked { .. } => sql.hint("Stop the other server, or start this one with another --data-dir."),
            LogError::Corrupt { .. } => sql
                .detail("Data that was acknowledged cannot be read, so the server does not start.")
                .hint("Restore the data directory from a backup, or see what millstream repair can save."),
            LogError::Damaged { .. } => sql.detail("Other rows are not concerned.").hint(
                "Restore the data directory from a backup, or stop the server and see what millstream repair can save.",
            ),
            LogError::Unflushed { .. } => sql
                .detail("Rows wait in memory for room on the disk, and there are too many of them.")
                .hint("Free space on the disk of the data directory."),
            LogError::DiskFull { .. } => sql
                .detail("Queries, DROP, ALTER and flushing go on; rows are taken again at 1.25 times that.")
                .hint("Free space on the disk, drop topics, or keep less free with --disk-reserve-mib."),
            LogError::NoSpace { .. } => sql.hint("Free space on the disk of the data directory."),
            LogError::NewerFormat { .. } => sql.hint("Start the newer version that wrote this data directory."),
            LogError::Repeated { .. }
            | LogError::UnknownTopic { .. }
            | LogError::Unencodable { .. }
            | LogError::Closed
            | LogError::Occupied { .. }
            | LogError::Overtaken { .. }
            | LogError::Irreparable { .. }
            | LogError::Io { .. } => sql,
        }
    }
}
