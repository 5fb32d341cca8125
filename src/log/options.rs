//! [`LogOptions`]: the settings of the log.

use arrow::ipc::CompressionType;

use super::flusher::FlushOptions;
use super::merge::MergeOptions;
use super::segment::Layout;

/// Settings of the log.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// WAL files grow up to this with the database.
    pub wal_file_bytes_max: u64,
    /// After this much quiet the writer seals the commits so far.
    pub seal_after_ms: u64,
    /// Commits that nobody waits for ([`Acknowledge::Queued`]) are written together after this much.
    pub linger_us: u64,
    /// A transaction with more encoded bytes is refused (54000).
    pub transaction_bytes_max: usize,
    /// Rows of a transaction that take more memory than this go to files that its commit adopts.
    pub spill_bytes: usize,
    /// Commits larger than 64 KiB wait while this much is queued or being written.
    pub queued_bytes_max: usize,
    /// lz4 for large appends: half the disk, more CPU.
    pub compress: bool,
    /// A committer without competition writes and syncs itself, if a sync takes no longer than this. `None`: never.
    pub inline_sync_us_max: Option<u64>,
    /// Syncs that are timed when opening; 0 leaves the latency unknown.
    pub measured_syncs: u32,
    /// Make WAL files ahead, and flush, on threads of their own.
    pub background: bool,
    /// Commits wait while the rows in memory take more bytes than this.
    pub tail_bytes_max: usize,
    /// Rows in memory are flushed when they take this many bytes.
    pub flush_bytes: usize,
    /// A flush that failed is tried again after this.
    pub flush_retry_after_ms: u64,
    /// A metadata image is written at the latest after this many bytes of WAL: a start reads no more than about two
    /// times that. `u64::MAX`: never.
    pub image_after_bytes: u64,
    pub flush: FlushOptions,
    /// Commits with rows are refused (53100) while the disk has fewer bytes left; 0: never. `None`: 2 GiB or twice what
    /// the log and the rows in memory may take, but no more than 5 % of the file system.
    pub disk_reserve_bytes: Option<u64>,
    /// Interval at which retention is looked after, microseconds.
    pub retire_every_us: i64,
    /// The end of the log is marked at most this often. `u64::MAX`: never.
    pub mark_every_ms: u64,
    /// Breaks L1: the canary of the disk tests.
    #[cfg(test)]
    pub(super) acknowledge_before_sync: bool,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions {
            wal_file_bytes_max: 64 << 20,
            seal_after_ms: 20,
            linger_us: 10_000,
            transaction_bytes_max: 1 << 30,
            spill_bytes: 8 << 20,
            queued_bytes_max: 256 << 20,
            compress: false,
            inline_sync_us_max: Some(500),
            measured_syncs: 5,
            background: true,
            tail_bytes_max: 256 << 20,
            flush_bytes: 64 << 20,
            flush_retry_after_ms: 1000,
            image_after_bytes: 256 << 20,
            flush: FlushOptions {
                segment_bytes_min: 1 << 20,
                segment_bytes_max: 256 << 20,
                image_rows_bytes_max: 16 << 20,
                layout: Layout {
                    batch_rows: 32 << 10,
                    batch_bytes: 8 << 20,
                    compression: None,
                },
                merge: MergeOptions {
                    bytes_min: 64 << 20,
                    segments_min: 8,
                    bytes_max: 256 << 20,
                    after_ms: 5000,
                    latest_ms: 30_000,
                    layout: Layout {
                        batch_rows: 64 << 10,
                        batch_bytes: 16 << 20,
                        compression: Some(CompressionType::ZSTD),
                    },
                },
            },
            retire_every_us: 10_000_000,
            mark_every_ms: 1000,
            disk_reserve_bytes: None,
            #[cfg(test)]
            acknowledge_before_sync: false,
        }
    }
}

impl LogOptions {
    /// With at most `bytes` bytes of rows in memory, all else in proportion.
    pub fn with_memory(bytes: usize) -> LogOptions {
        let mut options = LogOptions {
            tail_bytes_max: bytes,
            spill_bytes: bytes / 32,
            flush_bytes: bytes / 4,
            image_after_bytes: bytes as u64,
            ..LogOptions::default()
        };
        options.flush.image_rows_bytes_max = bytes / 16;
        options.flush.segment_bytes_min = bytes / 256;
        options
    }

    /// Batches of one row and segments of next to none: everything that is rare otherwise happens all the time.
    pub fn tiny() -> LogOptions {
        let options = LogOptions::default();
        LogOptions {
            wal_file_bytes_max: 64 << 10,
            spill_bytes: 4 << 10,
            tail_bytes_max: 64 << 10,
            flush_bytes: 128,
            image_after_bytes: 4 << 10,
            flush: FlushOptions {
                segment_bytes_min: 1,
                segment_bytes_max: 4 << 10,
                image_rows_bytes_max: 0,
                layout: Layout {
                    batch_rows: 1,
                    ..options.flush.layout
                },
                merge: MergeOptions {
                    bytes_min: 16 << 10,
                    bytes_max: 64 << 10,
                    after_ms: 0,
                    layout: Layout {
                        batch_rows: 2,
                        ..options.flush.merge.layout
                    },
                    ..options.flush.merge
                },
            },
            ..options
        }
    }
}
