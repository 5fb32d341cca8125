//! [`Log`]: the log as sessions and views use it: opening, committing, reading, closing.
//!
//! One rule: a commit's future resolves after the sync that covers it (L1), or reports an unknown outcome (L4).

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use arrow::datatypes::SchemaRef;
use arrow::ipc::CompressionType;
use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::{Semaphore, oneshot, watch};

use crate::storage::{Disk, DiskLock, Purpose, SharedClock};

use super::columns::{Range, Reader};
use super::directory::{lock, make_private, parent};
use super::encode::{EncodedAppend, encode};
use super::extent::Extent;
use super::flusher::{FlushState, Flusher, Flushing, META_DIR, SEGMENTS_DIR, WAL_DIR};
use super::frame::{ROW_BYTES_MAX, RUN_BYTES};
use super::image::{self, Image};
use super::mark::{self, Marker};
use super::offsets::GroupOffsets;
use super::options::LogOptions;
use super::producers::{Produced, ProducerStamp};
use super::recovery::recover;
use super::retention::{Pin, Retention, RetentionClock, Retired, expired};
use super::segment::{Segment, SegmentInfo};
use super::sequencer::{BLOCK_BYTES, EncodedCommit, Sequencer, Standing, Start};
use super::space::{DiskStats, SpaceWatch};
use super::spill::next_segment;
use super::tail::{Tail, TopicStats};
use super::times::CommitTimes;
use super::wal::{self, Position, Wal, WalOptions};
use super::writer::{self, Pen, Unwinding};
use super::{Acknowledge, Appended, Commit, DdlObserver, GroupId, LogError, Lsn, Receipt, TopicId, TopicSpec};

/// The findings of a start.
#[derive(Clone, Debug)]
pub struct Recovered {
    pub newest: Lsn,
    /// All catalog records in commit order.
    pub catalog: Vec<(Lsn, Vec<u8>)>,
    pub rows: u64,
    pub wal_bytes: u64,
    /// The last stop was an orderly one (or the directory is new).
    pub clean: bool,
}

/// Statistics of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogStats {
    /// Newest published LSN.
    pub newest: Lsn,
    /// Newest LSN known synced: the same, for nothing is published before its sync.
    pub durable: Lsn,
    pub wal_files: u64,
    pub wal_bytes: u64,
    /// Since the start.
    pub commits: u64,
    pub syncs: u64,
    /// Measured when opening, microseconds.
    pub sync_latency_us: u64,
    /// Of the newest group's sync, microseconds.
    pub last_sync_us: u64,
    /// LSN of the newest metadata image.
    pub image_lsn: Option<Lsn>,
    /// Bytes of rows that are not in segments.
    pub memory_bytes: u64,
    /// Why the newest flush failed, if it did.
    pub flush_failure: Option<String>,
    pub disk: DiskStats,
}

/// Partitions that lose rows by one record.
const RETIRED_AT_ONCE: usize = 1 << 16;

/// The state that the facade and the writer share.
pub(super) struct LogShared {
    pub sequencer: Mutex<Sequencer>,
    /// Wakes the writer; goes with `sequencer`.
    pub work: Condvar,
    /// Taken before `sequencer`, never after it.
    pub pen: Mutex<Pen>,
    /// Something was written after the newest seal.
    pub unsealed: AtomicBool,
    /// The newest commit has not been marked yet.
    pub unmarked: AtomicBool,
    /// Several commits came together in the newest group.
    pub contended: AtomicBool,
    pub tail: Tail,
    pub options: LogOptions,
    pub clock: SharedClock,
    pub observer: RwLock<Option<Arc<dyn DdlObserver>>>,
    /// Catalog records in commit order, for the metadata image.
    pub catalog: Mutex<Vec<(Lsn, Vec<u8>)>>,
    pub failure: watch::Sender<Option<String>>,
    pub commits: AtomicU64,
    pub syncs: AtomicU64,
    pub last_sync_us: AtomicU64,
    pub flush: Arc<FlushState>,
    pub space: SpaceWatch,
    pub retention: Arc<RetentionClock>,
    pub times: CommitTimes,
    /// Of consumer groups, as published.
    pub offsets: Mutex<GroupOffsets>,
    newest: AtomicU64,
    published: watch::Sender<Lsn>,
}

impl LogShared {
    /// Moves the newest LSN: everything up to it can be read.
    pub fn publish(&self, lsn: Lsn) {
        let previous = self.newest.swap(lsn, Ordering::AcqRel);
        assert!(previous <= lsn, "the newest LSN never goes back");
        self.published.send_replace(lsn);
    }

    /// Whether something may go by retention, or files may go after it.
    pub fn retires(&self) -> bool {
        self.tail.retains() || self.flush.stale.load(Ordering::Acquire)
    }

    /// The rows that go by retention now; and the least retention of a topic that has rows which are not read any more, microseconds.
    pub fn retired(&self, newest_us: i64) -> (Retired, Option<i64>) {
        let reading = self.retention.released(newest_us);
        let observer = self.observer.read().clone();
        let mut starts = Vec::new();
        let mut least_us = None;
        for (id, topic) in self.tail.topics() {
            let Retention { us, bytes } = topic.spec().retention;
            // Before there is an observer, the rows that are needed are unknown.
            let (Some(observer), true) = (&observer, us.is_some() || bytes.is_some()) else {
                continue;
            };
            let before_us = us.map(|us| reading.at_us.saturating_sub(us));
            let held = topic.held();
            let oldest_us = held
                .iter()
                .filter_map(|held| held.first())
                .map(|held| held.first_us)
                .min();
            if oldest_us
                .zip(before_us)
                .is_some_and(|(oldest_us, before_us)| oldest_us < before_us)
            {
                least_us = least_us.into_iter().chain(us).min();
            }
            let gone = expired(&held, before_us, bytes, observer.needed_since(id));
            starts.extend(gone.into_iter().map(|(partition, start)| (id, partition, start)));
        }
        starts.truncate(RETIRED_AT_ONCE);
        (Retired { reading, starts }, least_us)
    }

    /// LSN of the newest metadata image.
    pub fn newest_image(&self) -> Option<Lsn> {
        self.flush.images.lock().last().copied()
    }
}

/// The commit log. Dropping it without [`Log::close`] is like a crash, except that queued commits are still written.
pub struct Log {
    pub(super) shared: Arc<LogShared>,
    /// For files of transactions.
    pub(super) disk: Arc<dyn Disk>,
    pub(super) segments_dir: PathBuf,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// Holds other processes off the data directory.
    lock: Mutex<Option<Box<dyn DiskLock>>>,
    /// Bytes of large commits under way, in KiB.
    budget: Semaphore,
    budget_kib: u32,
    sync_latency_us: u64,
}

/// Commits up to this many bytes do not ask for room in the queue: each has a session that waits for it.
const BUDGET_FREE_BYTES: usize = 64 << 10;

impl Log {
    /// Opens the data directory through `disk`, recovers, starts the writer's thread. Makes the directory if needed.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: LogOptions,
        clock: SharedClock,
    ) -> Result<(Arc<Log>, Recovered), LogError> {
        let [wal_dir, meta_dir, segments_dir] = [WAL_DIR, META_DIR, SEGMENTS_DIR].map(|name| dir.join(name));
        for made in [dir, &wal_dir, &meta_dir, &segments_dir] {
            disk.create_dir_all(made)
                .map_err(LogError::io("create directory", made))?;
        }
        let lock = lock(disk.as_ref(), dir, Purpose::Write)?;
        make_private(disk.as_ref(), dir)?;
        for made in [parent(dir), dir.to_path_buf()] {
            disk.sync_dir(&made).map_err(LogError::io("sync directory", &made))?;
        }

        let tail = Tail::default();
        let flush = Arc::new(FlushState::default());
        let images = image::load(disk.as_ref(), &meta_dir)?;
        let image = images.last();
        let saved = image.map(|image| image.position).unwrap_or_default();
        for topic in image.iter().flat_map(|image| &image.topics) {
            tail.restore(topic, image.map_or(0, Image::lsn), |info, schema| {
                let (disk, schema) = (Arc::clone(&disk), Arc::clone(schema));
                let segment = Segment::known(disk, &segments_dir, info.clone(), schema);
                flush.registry.register(segment)
            });
        }
        wal::remove_unfinished(disk.as_ref(), &wal_dir)?;
        let adopted = image.map(|image| image.adopted.clone()).unwrap_or_default();
        adopted.iter().for_each(|(lsn, id)| flush.spills.adopt(*lsn, *id));
        let outcome = recover(disk.as_ref(), &wal_dir, &tail, image, &mut |adopted| {
            let segment = adopted.checked(&disk, &segments_dir)?;
            flush.spills.adopt(segment.info.first_lsn, segment.info.id);
            Ok(flush.registry.register(segment))
        })?;
        let newest = outcome.position.last_lsn;
        image::check_newest(disk.as_ref(), &meta_dir, newest)?;
        mark::check(disk.as_ref(), dir, &outcome, &wal_dir)?;
        if let Some(group) = &outcome.newest_group {
            group.confirm(disk.as_ref())?;
        }
        let wal_bytes: u64 = outcome.files.iter().map(|(_, bytes)| bytes).sum();
        flush.wal_files.lock().extend(outcome.files.iter().copied());
        let next_segment = next_segment(disk.as_ref(), &segments_dir, &images)?;
        flush.next_segment.store(next_segment, Ordering::Relaxed);
        let flusher = Flusher::start(Arc::clone(&disk), dir, options.flush, Arc::clone(&flush), &images)?;
        flusher.look_for_merges(&tail);
        drop(images);
        let starts = tail.topics().into_iter().map(|(id, topic)| Start {
            spec: topic.spec(),
            next_offsets: topic.next_offsets(),
            watermark: outcome.watermarks.get(&id).copied(),
        });
        let sequencer = Sequencer::new(
            newest,
            outcome.catalog.len() as u64,
            starts.collect(),
            outcome.producers,
            outcome.offsets.clone(),
        );
        let budget_kib = u32::try_from(options.queued_bytes_max >> 10).unwrap_or(u32::MAX);
        let files = WalOptions {
            file_bytes_max: options.wal_file_bytes_max,
            prepare_ahead: options.background,
        };
        let budget_bytes = options.image_after_bytes.saturating_add(options.tail_bytes_max as u64);
        let reserve_bytes = options.disk_reserve_bytes;
        let space = SpaceWatch::start(Arc::clone(&disk), dir, Arc::clone(&clock), reserve_bytes, budget_bytes);
        let spill_disk = Arc::clone(&disk);
        let retention = RetentionClock::start(
            Arc::clone(&clock),
            outcome.retention,
            outcome.position.last_timestamp_us,
        );
        let retention = Arc::new(retention);
        let stood = Arc::clone(&retention);
        let marker = Marker::start(disk.as_ref(), dir, newest, options.background)?;
        let mut wal = Wal::start(disk, &wal_dir, stood, outcome.position, wal_bytes, files)?;
        let sync_latency_us =
            measure(&mut wal, options.measured_syncs).map_err(LogError::io("write file", &wal.path()))?;
        let position = wal.position();
        flush.wal_files.lock().insert(position.sequence, position.end);
        let unsaved_bytes = bytes_after(&flush.wal_files.lock(), saved);
        let flushing = Flushing::start(flusher, options.background)
            .map_err(LogError::io("start the flusher of", &segments_dir))?;
        let shared = Arc::new(LogShared {
            sequencer: Mutex::new(sequencer),
            work: Condvar::new(),
            unsealed: AtomicBool::new(!wal.is_sealed()),
            unmarked: AtomicBool::new(false),
            contended: AtomicBool::new(false),
            pen: Mutex::new(Pen::new(wal, flushing, marker, unsaved_bytes, clock.monotonic_us())),
            tail,
            clock,
            observer: RwLock::new(None),
            catalog: Mutex::new(outcome.catalog.clone()),
            failure: watch::Sender::new(None),
            commits: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            last_sync_us: AtomicU64::new(sync_latency_us),
            flush,
            space,
            retention,
            offsets: Mutex::new(outcome.offsets),
            times: CommitTimes::new(newest, position.last_timestamp_us),
            newest: AtomicU64::new(newest),
            published: watch::Sender::new(newest),
            options,
        });
        let writer = std::thread::Builder::new()
            .name("millstream-wal".to_string())
            .spawn({
                let shared = Arc::clone(&shared);
                move || writer::run(&shared)
            })
            .map_err(LogError::io("start the writer of", &wal_dir))?;
        let recovered = Recovered {
            newest,
            catalog: outcome.catalog,
            rows: outcome.rows,
            wal_bytes,
            clean: outcome.clean,
        };
        let log = Log {
            shared,
            disk: spill_disk,
            segments_dir,
            writer: Mutex::new(Some(writer)),
            lock: Mutex::new(Some(lock)),
            budget: Semaphore::new(budget_kib as usize),
            budget_kib,
            sync_latency_us,
        };
        Ok((Arc::new(log), recovered))
    }

    /// Names the observer of catalog changes. Once, before the first commit with a `Ddl`.
    pub fn observe_ddl(&self, observer: Arc<dyn DdlObserver>) {
        let previous = self.shared.observer.write().replace(observer);
        assert!(previous.is_none(), "there is one observer");
    }

    /// Commits a transaction: atomic and in order (L5). Resolves after the sync that covers it and its publication,
    /// or with [`Acknowledge::Queued`] once it is in order; its timestamp is not known then and is 0. A commit that
    /// changes nothing resolves at once with the newest LSN, unless it is a tick or a producer's.
    ///
    /// Dropping the future does not take the commit back. One that was refused may be tried again.
    pub async fn commit(&self, commit: impl Borrow<Commit>, acknowledge: Acknowledge) -> Result<Receipt, LogError> {
        let commit = commit.borrow();
        let adds = commit.appends.iter().any(|append| append.rows.count() > 0);
        let moves = !commit.advances.is_empty() || !commit.groups.is_empty();
        if !adds && !moves && commit.ddl.is_none() && !commit.tick && commit.producer.is_none() {
            return self.unchanged(commit);
        }
        // A commit without rows may free room, and takes next to none.
        if adds {
            self.admit_rows()?;
            self.wait_for_room().await?;
        }
        let commit = self.encode(commit)?;
        let ahead: Vec<(TopicId, u64)> = commit.events_ahead().collect();
        let _room = match commit.bytes {
            ..=BUDGET_FREE_BYTES => None,
            bytes => {
                let kib = u32::try_from(bytes >> 10).unwrap_or(u32::MAX).min(self.budget_kib);
                Some(self.budget.acquire_many(kib).await.map_err(|_| LogError::Closed)?)
            }
        };
        let receipt = match acknowledge {
            Acknowledge::Synced => {
                let (sender, receiver) = oneshot::channel();
                self.add_and_write(commit, sender)?;
                receiver.await.map_err(|_| LogError::Failed {
                    reason: "the writer of the write-ahead log ended".to_string(),
                })??
            }
            Acknowledge::Queued => self.add(commit, None)?,
        };
        for (topic, rows) in ahead {
            self.count_ahead(topic, rows);
        }
        Ok(receipt)
    }

    /// Counts rows whose event times are too far ahead to move the watermark; the first ones of a topic are logged.
    fn count_ahead(&self, id: TopicId, rows: u64) {
        let Ok(topic) = self.shared.tail.topic(id) else { return };
        if topic.count_ahead(rows) == 0 {
            let observer = self.shared.observer.read().clone();
            let name = observer.and_then(|observer| observer.name(id));
            tracing::warn!(
                topic = name.unwrap_or_else(|| id.0.to_string()),
                rows,
                max_ahead_us = topic.spec().event_time.map(|event| event.ahead_us),
                "event times too far ahead of the clock do not move the watermark; millstream.topics counts them in rows_ahead"
            );
        }
    }

    /// An error if the disk is so full that commits with rows are refused.
    pub fn admit_rows(&self) -> Result<(), LogError> {
        self.shared.space.admit()
    }

    /// Waits while the rows in memory take more than they may; an error if nothing becomes of that.
    async fn wait_for_room(&self) -> Result<(), LogError> {
        let shared = &self.shared;
        while shared.tail.bytes() > shared.options.tail_bytes_max {
            let flushed = shared.flush.flushed.notified();
            let failure = shared.flush.failure.lock().clone();
            if let Some(reason) = failure {
                // The writer tries again, even if nobody can commit any more.
                let mut sequencer = shared.sequencer.lock();
                if std::mem::take(&mut sequencer.writer_waits) {
                    shared.work.notify_one();
                }
                return Err(LogError::Unflushed { reason });
            }
            if !shared.flush.busy.load(Ordering::Acquire) {
                return Ok(());
            }
            flushed.await;
        }
        Ok(())
    }

    fn add(
        &self,
        commit: EncodedCommit,
        sender: Option<oneshot::Sender<Result<Receipt, LogError>>>,
    ) -> Result<Receipt, LogError> {
        let _unwinding = Unwinding(&self.shared);
        let mut sequencer = self.shared.sequencer.lock();
        let receipt = sequencer.add(commit, sender)?;
        let wake = sequencer.wakes();
        drop(sequencer);
        if wake {
            self.shared.work.notify_one();
        }
        Ok(receipt)
    }

    /// Puts a commit in order, and writes it at once if nobody else is about to and it does not take long.
    fn add_and_write(
        &self,
        commit: EncodedCommit,
        sender: oneshot::Sender<Result<Receipt, LogError>>,
    ) -> Result<(), LogError> {
        let shared = &self.shared;
        let _unwinding = Unwinding(shared);
        let sync_us = shared.last_sync_us.load(Ordering::Relaxed);
        let is_short = commit.ddl.is_none()
            && commit.bytes <= BUDGET_FREE_BYTES
            && shared.options.inline_sync_us_max.is_some_and(|max| sync_us <= max)
            && !shared.contended.load(Ordering::Relaxed);
        let pen = if is_short { shared.pen.try_lock() } else { None };
        let Some(mut pen) = pen.filter(|pen| pen.has_room(commit.bytes)) else {
            self.add(commit, Some(sender))?;
            return Ok(());
        };
        let group = {
            let mut sequencer = shared.sequencer.lock();
            if sequencer.has_work() {
                // Others have queued: all of it is the writer's.
                drop(sequencer);
                drop(pen);
                self.add(commit, Some(sender))?;
                return Ok(());
            }
            sequencer.add(commit, Some(sender))?;
            sequencer.take_group()
        };
        // Commits that queue from here on wake the writer's thread, which waits for the pen.
        pen.write_group(shared, group);
        Ok(())
    }

    /// The outcome of a producer's transaction, once it is durable and visible, if it is one of the newest.
    pub async fn produced(&self, stamp: &ProducerStamp) -> Result<Option<Produced>, LogError> {
        let outcome = self.shared.sequencer.lock().producers.outcome(stamp);
        if let Some(outcome) = outcome {
            self.wait_published(outcome.lsn).await?;
        }
        Ok(outcome)
    }

    /// The newest published transactions of each producer, by name.
    pub fn producers(&self) -> Vec<(String, Vec<Produced>)> {
        let newest = self.newest();
        self.shared.sequencer.lock().producers.known(newest)
    }

    /// The next offset of a partition that a consumer group consumes.
    pub fn group_offset(&self, group: GroupId, partition: u32) -> u64 {
        self.shared.offsets.lock().of(group, partition)
    }

    /// Rows of one partition from an offset on, up to `upto`, in offset order: whole extents, until they have about `rows_max` rows.
    pub fn read_partition(
        &self,
        reader: &Reader,
        (partition, from): (u32, u64),
        upto: Lsn,
        rows_max: usize,
    ) -> Result<Vec<Extent>, LogError> {
        assert!(upto <= self.newest(), "L1: only what is published is read");
        let range = Range {
            after: 0,
            upto,
            since_us: reader.since_us,
            start: from,
        };
        let topic = self.shared.tail.topic(reader.topic)?;
        topic.read_partition(reader, partition, range, rows_max)
    }

    fn unchanged(&self, commit: &Commit) -> Result<Receipt, LogError> {
        let mut appended = Vec::new();
        for append in &commit.appends {
            let topic = self.shared.tail.topic(append.topic)?;
            appended.push(Appended {
                base_offset: topic.next_offset(append.partition),
                watermark: topic.watermark(self.newest()),
            });
        }
        Ok(Receipt {
            lsn: self.newest(),
            timestamp_us: 0,
            appended,
        })
    }

    /// Encodes rows against the newest definitions, which the sequencer checks again.
    fn encode(&self, commit: &Commit) -> Result<EncodedCommit, LogError> {
        let Commit { appends, ddl, .. } = commit;
        let options = &self.shared.options;
        let compression = options.compress.then_some(CompressionType::LZ4_FRAME);
        let now_us = self.shared.clock.now_us();
        let mut bytes =
            ddl.as_ref().map_or(0, |ddl| ddl.record.len() + BLOCK_BYTES) + commit.groups.len() * BLOCK_BYTES;
        if bytes > ROW_BYTES_MAX / 2 {
            let bytes_max = ROW_BYTES_MAX / 2;
            return Err(LogError::TransactionTooBig { bytes, bytes_max });
        }
        let mut encoded: Vec<EncodedAppend> = Vec::with_capacity(appends.len());
        for append in appends {
            let made = ddl.as_ref().and_then(|ddl| ddl.spec(append.topic));
            let current;
            let spec = match made {
                Some(spec) => spec,
                None => {
                    current = self.shared.tail.topic(append.topic)?.spec();
                    &current
                }
            };
            if spec.schema_id != append.schema_id {
                return Err(LogError::StaleSchema { topic: append.topic });
            }
            let append = encode(append, spec, now_us, compression)?;
            bytes += append
                .parts
                .iter()
                .map(|part| part.body.bytes() + BLOCK_BYTES + RUN_BYTES)
                .sum::<usize>();
            let bytes_max = options.transaction_bytes_max;
            if bytes > bytes_max {
                return Err(LogError::TransactionTooBig { bytes, bytes_max });
            }
            encoded.push(append);
        }
        Ok(EncodedCommit {
            appends: encoded,
            ddl: ddl.clone(),
            advances: commit.advances.clone(),
            empty: commit.empty.clone(),
            read: commit.read.clone(),
            producer: commit.producer.clone(),
            groups: commit.groups.clone(),
            bytes,
        })
    }

    /// The columns of a topic in its newest published definition.
    pub fn schema(&self, topic: TopicId) -> Option<SchemaRef> {
        let topic = self.shared.tail.topic(topic).ok()?;
        Some(Arc::clone(&topic.spec().schema))
    }

    /// The newest published LSN.
    pub fn newest(&self) -> Lsn {
        self.shared.newest.load(Ordering::Acquire)
    }

    /// Resolves once `lsn`, which a receipt named, is published.
    pub async fn wait_published(&self, lsn: Lsn) -> Result<(), LogError> {
        if self.newest() >= lsn {
            return Ok(());
        }
        let wake = self.shared.sequencer.lock().hurry();
        if wake {
            self.shared.work.notify_one();
        }
        let mut published = self.shared.published.subscribe();
        let mut failure = self.shared.failure.subscribe();
        tokio::select! {
            biased;
            reached = published.wait_for(|newest| *newest >= lsn) => match reached {
                Ok(_) => Ok(()),
                Err(_) => Err(LogError::Closed),
            },
            failed = failure.wait_for(Option::is_some) => Err(LogError::Failed {
                reason: failed.ok().and_then(|reason| reason.clone()).unwrap_or_default(),
            }),
        }
    }

    /// The newest published LSN, as it moves.
    pub fn subscribe(&self) -> watch::Receiver<Lsn> {
        self.shared.published.subscribe()
    }

    /// Rows committed after `after` up to and including `upto`, exact, by partition and in offset order. Those in
    /// memory by reference, the others to be loaded. `upto` is at most [`Log::newest`].
    pub fn read(&self, reader: &Reader, after: Lsn, upto: Lsn) -> Result<Vec<Extent>, LogError> {
        assert!(upto <= self.newest(), "L1: only what is published is read");
        let since_us = reader.since_us;
        let range = Range {
            after,
            upto,
            since_us,
            start: 0,
        };
        self.shared.tail.topic(reader.topic)?.read(reader, range)
    }

    /// The periodic work of the writer's thread.
    #[cfg(test)]
    pub(super) fn look_after_retention(&self) {
        let mut pen = self.shared.pen.lock();
        assert!(pen.retire_in_time(&self.shared), "the log has not failed");
    }

    /// Holds the rows that retention keeps now until it is dropped.
    pub fn pin(&self) -> Pin {
        self.shared.retention.pin(self.shared.times.newest_us())
    }

    /// The topic's definition now.
    pub fn spec(&self, topic: TopicId) -> Result<Arc<TopicSpec>, LogError> {
        Ok(self.shared.tail.topic(topic)?.spec())
    }

    /// An LSN in `after + 1..=upto` up to which these topics have about `rows_max` rows: where a reader of much history
    /// may pause. It looks at no more than about that many rows' places, however many follow.
    pub fn pause(&self, topics: &[TopicId], after: Lsn, upto: Lsn, rows_max: usize) -> Result<Lsn, LogError> {
        let mut places: Vec<(Lsn, usize)> = Vec::new();
        for topic in topics {
            // A topic that was dropped meanwhile has no rows for anybody.
            if let Ok(topic) = self.shared.tail.topic(*topic) {
                places.extend(topic.places(after, upto, rows_max)?);
            }
        }
        places.sort_unstable();
        let mut rows = 0;
        for (last_lsn, more) in places {
            rows += more;
            if rows >= rows_max {
                return Ok(last_lsn);
            }
        }
        Ok(upto)
    }

    /// W(`at`): the `_watermark` that the next commit after `at` would carry, microseconds.
    pub fn watermark(&self, topic: TopicId, at: Lsn) -> Option<i64> {
        self.shared.tail.topic(topic).ok()?.watermark(at)
    }

    /// The time of the log at `at`: the `_timestamp` of the newest commit up to there, microseconds ([`CommitTimes::at`]).
    pub fn time(&self, at: Lsn) -> i64 {
        self.shared.times.at(at)
    }

    /// `None` if there is no such topic.
    pub fn topic_stats(&self, topic: TopicId) -> Option<TopicStats> {
        Some(self.shared.tail.topic(topic).ok()?.stats())
    }

    pub fn stats(&self) -> LogStats {
        let shared = &self.shared;
        let (wal_files, wal_bytes) = {
            let files = shared.flush.wal_files.lock();
            (files.len() as u64, files.values().sum())
        };
        LogStats {
            newest: self.newest(),
            durable: self.newest(),
            wal_files,
            wal_bytes,
            commits: shared.commits.load(Ordering::Relaxed),
            syncs: shared.syncs.load(Ordering::Relaxed),
            sync_latency_us: self.sync_latency_us,
            last_sync_us: shared.last_sync_us.load(Ordering::Relaxed),
            image_lsn: shared.newest_image(),
            memory_bytes: shared.tail.bytes() as u64,
            flush_failure: shared.flush.failure.lock().clone(),
            disk: {
                shared.space.look_in_time(None);
                shared.space.stats()
            },
        }
    }

    /// The segments of a topic, by partition and offset; none if there is no such topic.
    pub fn segments(&self, topic: TopicId) -> Vec<SegmentInfo> {
        let topic = self.shared.tail.topic(topic);
        topic.map_or_else(
            |_| Vec::new(),
            |topic| topic.segments().iter().map(|segment| segment.info.clone()).collect(),
        )
    }

    /// Median of the real appends and syncs made when opening, microseconds.
    pub fn sync_latency_us(&self) -> u64 {
        self.sync_latency_us
    }

    /// Writes the queue, flushes, saves the metadata image, seals, unlocks the data directory. Later commits are
    /// refused.
    pub async fn close(&self) -> Result<(), LogError> {
        self.stop(true);
        let writer = self.writer.lock().take();
        if let Some(writer) = writer {
            // It has contained its panics: they fail the log.
            let _ = tokio::task::spawn_blocking(move || writer.join()).await;
        }
        self.shared.flush.spills.close();
        self.lock.lock().take();
        match self.shared.failure.borrow().clone() {
            Some(reason) => Err(LogError::Failed { reason }),
            None => Ok(()),
        }
    }

    /// Resolves with the reason once a write or sync of the WAL has failed; the process should then exit, and a
    /// restart recovers.
    pub async fn failed(&self) -> String {
        let mut failure = self.shared.failure.subscribe();
        let failed = failure.wait_for(Option::is_some).await;
        failed.ok().and_then(|reason| reason.clone()).unwrap_or_default()
    }

    fn stop(&self, clean: bool) {
        let mut sequencer = self.shared.sequencer.lock();
        if sequencer.standing == Standing::Open {
            sequencer.standing = Standing::Closing { clean };
        }
        drop(sequencer);
        self.shared.work.notify_one();
    }
}

/// Test access to the schedule of the writer's thread.
#[cfg(test)]
impl Log {
    /// Nothing is written before the guard is dropped: commits that come meanwhile become one group.
    pub(super) fn hold(&self) -> parking_lot::MutexGuard<'_, Pen> {
        self.shared.pen.lock()
    }

    /// Returns once the writer's thread has nothing left to do. With `seal_after_ms` 0 that includes the seal.
    pub(super) fn settle(&self) {
        let shared = &self.shared;
        loop {
            let pen = shared.pen.lock();
            let sequencer = shared.sequencer.lock();
            let seals = shared.options.seal_after_ms == 0 && shared.unsealed.load(Ordering::Acquire);
            let is_idle = sequencer.writer_waits && !sequencer.has_work() && !seals;
            if is_idle || sequencer.standing != Standing::Open {
                return;
            }
            drop((sequencer, pen));
            std::thread::yield_now();
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.stop(false);
        if let Some(writer) = self.writer.get_mut().take() {
            let _ = writer.join();
        }
        self.shared.flush.spills.close();
    }
}

/// Bytes after `position` of files of the write-ahead log, by sequence.
fn bytes_after(files: &BTreeMap<u64, u64>, position: Position) -> u64 {
    let later = files.range(position.sequence..);
    let bytes = later.map(|(sequence, bytes)| match *sequence == position.sequence {
        true => bytes.saturating_sub(position.end),
        false => *bytes,
    });
    bytes.sum()
}

/// Median latency of `count` appends with sync: seals, which also close the gap behind the recovered commits.
fn measure(wal: &mut Wal, count: u32) -> std::io::Result<u64> {
    let mut latencies = Vec::new();
    for _ in 0..count {
        let started = Instant::now();
        wal.seal(false)?;
        latencies.push(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    latencies.sort_unstable();
    Ok(latencies.get(latencies.len() / 2).copied().unwrap_or(0))
}
