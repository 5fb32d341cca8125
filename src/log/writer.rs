//! Writing: takes the commits that queued during the last sync, writes them as one group, syncs, publishes,
//! acknowledges. The holder of the [`Pen`] does it: a thread of its own, or the committer, if nobody else commits and a
//! sync is short.
//!
//! One rule: write, then sync, then publish, then acknowledge (L1); and after a failed write or sync nothing is
//! written, published or acknowledged any more (L4).
//!
//! ```text
//!  committers --add--> Sequencer.group --take--> frames --write, fdatasync--> tail, newest LSN --> waiters
//! ```
//!
//! Not here: the order of commits (`sequencer`), the choice of the file (`wal`).

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::panics;

use super::flusher::{Capture, Flushing};
use super::frame::{
    FrameKind, put_adopt, put_advance, put_batch_header, put_ddl, put_group, put_produce, put_retire, put_rows_header,
};
use super::mark::Marker;
use super::merge::MergeOptions;
use super::publish::{adopt_segment, append_rows, apply_ddl, push_rows};
use super::runs::{chunk_runs, newest_event};
use super::sequencer::{BlockDraft, FrameDraft, Group, Standing};
use super::wal::{GroupBuffer, Wal};
use super::{Chunk, LogError, LogShared, Lsn};

/// The clock of retention is recorded when it has moved by this part of a topic's retention: a crash sets it back by no more.
const RETIRED_SHARE: i64 = 1000;

/// The next job of the writer's thread.
enum WriterWork {
    Group,
    Quiet,
    Stop { clean: bool },
}

/// The state that writing needs. One thread at a time holds it: the writer's, or that of a committer that finds it free.
pub struct Pen {
    wal: Wal,
    /// Until the log is closed.
    flushing: Option<Flushing>,
    marker: Option<Marker>,
    /// The time of the newest mark, and its LSN.
    marked: Option<(Instant, Lsn)>,
    /// Bytes written to the log when the newest capture was taken, in this life or one before.
    captured_bytes: u64,
    captured_at: Instant,
    written_at: Instant,
    /// Since when there has been something to merge.
    mergeable_at: Option<Instant>,
    /// When a merge was last begun.
    merged_at: Option<Instant>,
    /// When retention was last looked after, by the monotonic clock, microseconds.
    retired_us: i64,
    /// Position of the retention clock in its newest record.
    retired_at_us: i64,
}

impl Pen {
    /// `unsaved_bytes`: bytes of the log after the newest image. `retired_us`: the monotonic clock, microseconds.
    pub fn new(wal: Wal, flushing: Flushing, marker: Marker, unsaved_bytes: u64, retired_us: i64) -> Pen {
        Pen {
            retired_us,
            retired_at_us: 0,
            captured_bytes: wal.total_bytes().saturating_sub(unsaved_bytes),
            wal,
            flushing: Some(flushing),
            marker: Some(marker),
            marked: None,
            captured_at: Instant::now(),
            written_at: Instant::now(),
            mergeable_at: None,
            merged_at: None,
        }
    }

    /// Writes the queue as one group, and has rows flushed when it is time. False if the log has failed.
    pub fn write(&mut self, shared: &LogShared) -> bool {
        let group = {
            let mut sequencer = shared.sequencer.lock();
            if !sequencer.has_work() {
                return true;
            }
            sequencer.take_group()
        };
        self.write_group(shared, group)
    }

    /// Whether `bytes` bytes can be written without another file.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.wal.has_room(bytes as u64)
    }

    /// Writes one group. False if the log has failed.
    pub fn write_group(&mut self, shared: &LogShared, group: Group) -> bool {
        let _unwinding = Unwinding(shared);
        shared.contended.store(group.commits > 1, Ordering::Relaxed);
        let result = commit(shared, &mut self.wal, group);
        self.written_at = Instant::now();
        if !shared.unsealed.swap(true, Ordering::AcqRel) {
            // The writer's thread sleeps without end while all is sealed. Under the lock, so that it does not miss this.
            let _sequencer = shared.sequencer.lock();
            shared.work.notify_one();
        }
        self.end_write(shared, result) && self.retire_in_time(shared)
    }

    /// Records the rows that expire, if it is time to look after retention, and has the files of earlier ones removed.
    pub fn retire_in_time(&mut self, shared: &LogShared) -> bool {
        let monotonic_us = shared.clock.monotonic_us();
        if monotonic_us - self.retired_us < shared.options.retire_every_us || !shared.retires() {
            return true;
        }
        self.retired_us = monotonic_us;
        let (retired, least_us) = shared.retired(self.wal.position().last_timestamp_us);
        let passed_us = retired.reading.at_us - self.retired_at_us;
        let left = shared.tail.take_left();
        let names_old = left || shared.flush.stale.load(Ordering::Acquire);
        // Files go once neither image names them, and an image is known by its LSN.
        let needs_lsn = names_old && shared.newest_image() == Some(self.wal.position().last_lsn);
        let is_late = least_us.is_some_and(|us| passed_us > us / RETIRED_SHARE);
        if !retired.starts.is_empty() || needs_lsn || is_late {
            self.retired_at_us = retired.reading.at_us;
            let group = {
                let mut sequencer = shared.sequencer.lock();
                if sequencer.standing != Standing::Open {
                    return true;
                }
                sequencer.retire(retired);
                sequencer.take_group()
            };
            if !self.write_group(shared, group) {
                return false;
            }
        }
        if (names_old || shared.tail.take_left())
            && !shared.flush.busy.load(Ordering::Acquire)
            && let Some(flushing) = &mut self.flushing
        {
            (self.captured_bytes, self.captured_at) = (self.wal.total_bytes(), Instant::now());
            flushing.begin(capture(shared, &self.wal));
        }
        true
    }

    /// Merges segments, once nothing has been written for a while.
    fn merge_in_time(&mut self, shared: &LogShared) {
        let quiet = Duration::from_millis(shared.options.flush.merge.after_ms);
        if shared.flush.mergeable.load(Ordering::Acquire)
            && self.written_at.elapsed() >= quiet
            && !shared.flush.busy.load(Ordering::Acquire)
        {
            self.begin_merge(shared);
        }
    }

    fn begin_merge(&mut self, shared: &LogShared) {
        if let Some(flushing) = &mut self.flushing {
            self.merged_at = Some(Instant::now());
            (self.captured_bytes, self.captured_at) = (self.wal.total_bytes(), Instant::now());
            flushing.begin(Capture {
                merges: true,
                ..capture(shared, &self.wal)
            });
        }
    }

    /// Merges segments although there is no quiet, if they have waited for long.
    fn merge_at_last(&mut self, shared: &LogShared) {
        let MergeOptions {
            after_ms, latest_ms, ..
        } = shared.options.flush.merge;
        if after_ms == u64::MAX || !shared.flush.mergeable.load(Ordering::Acquire) {
            self.mergeable_at = None;
            return;
        }
        let since = *self.mergeable_at.get_or_insert_with(Instant::now);
        let pause = Duration::from_micros(shared.flush.merge_us.load(Ordering::Relaxed)) * 4;
        if since.elapsed() >= Duration::from_millis(latest_ms)
            && self.merged_at.is_none_or(|at| at.elapsed() >= pause)
            && !shared.flush.busy.load(Ordering::Acquire)
        {
            self.begin_merge(shared);
        }
    }

    fn end_write(&mut self, shared: &LogShared, result: Result<(), (std::io::Error, Waiters)>) -> bool {
        let position = self.wal.position();
        shared.flush.wal_files.lock().insert(position.sequence, position.end);
        shared.space.look_in_time(Some(self.wal.total_bytes()));
        if let Err((error, waiters)) = result {
            fail(shared, &self.wal, &error.to_string(), waiters);
            return false;
        }
        self.mark_in_time(shared, self.written_at);
        // A merge flushes, too: the other way round a flush could always come first.
        self.merge_at_last(shared);
        self.flush_in_time(shared);
        true
    }

    /// Has the end of the log marked, if the last mark is old enough; else once it is.
    fn mark_in_time(&mut self, shared: &LogShared, now: Instant) {
        let (lsn, every_ms) = (self.wal.position().last_lsn, shared.options.mark_every_ms);
        let Some(marker) = self.marker.as_mut().filter(|_| every_ms < u64::MAX) else {
            return;
        };
        let (is_time, is_marked) = match self.marked {
            None => (true, false),
            Some((at, marked)) => {
                let passed = now.saturating_duration_since(at);
                (passed >= Duration::from_millis(every_ms), marked == lsn)
            }
        };
        if !is_marked && is_time && marker.mark(lsn) {
            self.marked = Some((now, lsn));
            shared.unmarked.store(false, Ordering::Relaxed);
        } else {
            shared.unmarked.store(!is_marked, Ordering::Relaxed);
        }
    }

    fn flush_in_time(&mut self, shared: &LogShared) {
        if self.is_time(shared)
            && let Some(flushing) = &mut self.flushing
        {
            (self.captured_bytes, self.captured_at) = (self.wal.total_bytes(), Instant::now());
            flushing.begin(capture(shared, &self.wal));
        }
    }

    /// Seals the commits so far, once nothing has been written for a while, and tries a flush that failed again.
    fn idle(&mut self, shared: &LogShared) -> bool {
        let quiet = Duration::from_millis(shared.options.seal_after_ms);
        if self.wal.is_sealed() || self.written_at.elapsed() < quiet {
            self.mark_in_time(shared, Instant::now());
            self.flush_in_time(shared);
            self.merge_in_time(shared);
            return self.retire_in_time(shared);
        }
        let result = self.wal.seal(false).map_err(|error| (error, Vec::new()));
        shared.unsealed.store(false, Ordering::Release);
        self.end_write(shared, result)
    }

    /// The end: if it is an orderly one, rows are flushed and the log is sealed.
    fn stop(&mut self, shared: &LogShared, clean: bool) {
        let flushing = self.flushing.take();
        if !clean {
            return;
        }
        if let Some(flushing) = flushing {
            flushing.finish(|| {
                let newer = self.wal.position().last_lsn > shared.newest_image().unwrap_or(0);
                (newer && shared.options.image_after_bytes < u64::MAX).then(|| capture(shared, &self.wal))
            });
        }
        match finish(&mut self.wal) {
            Ok(()) if shared.options.mark_every_ms < u64::MAX => {
                if let Some(marker) = self.marker.take() {
                    marker.finish(self.wal.position().last_lsn);
                }
            }
            Ok(()) => {}
            Err(error) => fail(shared, &self.wal, &error.to_string(), Vec::new()),
        }
    }

    /// Whether enough rows are in memory, or enough bytes were written, for a flush.
    fn is_time(&self, shared: &LogShared) -> bool {
        let options = &shared.options;
        let written = self.wal.total_bytes() - self.captured_bytes;
        if shared.flush.busy.load(Ordering::Acquire) {
            return false;
        }
        if shared.flush.failure.lock().is_some() {
            return self.captured_at.elapsed() >= Duration::from_millis(options.flush_retry_after_ms);
        }
        shared.tail.bytes() >= options.flush_bytes && written >= options.flush_bytes as u64 / 4
            || written >= options.image_after_bytes
    }
}

/// A broken invariant while commits are put in order or written must not leave a log that takes more of them (L4).
pub struct Unwinding<'a>(pub &'a LogShared);

impl Drop for Unwinding<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            poison(self.0, "internal error while writing".to_string(), Vec::new());
        }
    }
}

/// The writer's thread; ends when the log is closed or has failed: a panic fails it, too.
pub fn run(shared: &LogShared) {
    if let Err(panic) = panics::catch(|| write_all(shared)) {
        poison(shared, panic.message.clone(), Vec::new());
        let mut pen = shared.pen.lock();
        (pen.flushing, pen.marker) = (None, None);
    }
}

fn write_all(shared: &LogShared) {
    loop {
        let work = next(shared);
        let mut pen = shared.pen.lock();
        // A committer may have failed while it held the pen: then this is not to be done any more (L4).
        let failed = matches!(shared.sequencer.lock().standing, Standing::Failed { .. });
        let goes_on = match work {
            _ if failed => false,
            WriterWork::Group => pen.write(shared),
            WriterWork::Quiet => pen.idle(shared),
            WriterWork::Stop { clean } => {
                pen.stop(shared, clean);
                false
            }
        };
        if !goes_on {
            (pen.flushing, pen.marker) = (None, None);
            return;
        }
    }
}

fn capture(shared: &LogShared, wal: &Wal) -> Capture {
    let position = wal.position();
    let retention = shared.retention.read(position.last_timestamp_us);
    let producers = shared.sequencer.lock().producers.upto(position.last_lsn);
    let catalog = shared.catalog.lock().clone();
    let captured = Capture::take(
        &shared.tail,
        position,
        retention,
        catalog,
        (producers, shared.offsets.lock().all()),
    );
    Capture {
        merges: shared.options.flush.merge.after_ms == 0,
        ..captured
    }
}

/// Waits for work. Quiet for `seal_after_ms` with something unsealed is work, too.
fn next(shared: &LogShared) -> WriterWork {
    let mut sequencer = shared.sequencer.lock();
    let mut lingers_until: Option<Instant> = None;
    loop {
        if sequencer.has_work() {
            let linger = Duration::from_micros(shared.options.linger_us);
            let until = *lingers_until.get_or_insert_with(|| Instant::now() + linger);
            if sequencer.is_hurried() || Instant::now() >= until {
                return WriterWork::Group;
            }
            sequencer.writer_waits = true;
            // Whichever it is, the loop looks.
            let _ = shared.work.wait_until(&mut sequencer, until);
            sequencer.writer_waits = false;
            continue;
        }
        lingers_until = None;
        match sequencer.standing {
            Standing::Open => {}
            Standing::Closing { clean } => return WriterWork::Stop { clean },
            Standing::Failed { .. } => return WriterWork::Stop { clean: false },
        }
        sequencer.writer_waits = true;
        let mut timed_out = false;
        let failed = shared.flush.failure.lock().is_some();
        let limit = if shared.unsealed.load(Ordering::Acquire) {
            Some(Duration::from_millis(shared.options.seal_after_ms))
        } else {
            failed.then_some(Duration::from_millis(shared.options.flush_retry_after_ms))
        };
        let mark_every = Duration::from_millis(shared.options.mark_every_ms);
        let limit = match shared.unmarked.load(Ordering::Relaxed) {
            true => Some(limit.map_or(mark_every, |limit| limit.min(mark_every))),
            false => limit,
        };
        let merges = shared.flush.mergeable.load(Ordering::Acquire)
            && (1..u64::MAX).contains(&shared.options.flush.merge.after_ms);
        let retires = shared.retires();
        let every = Duration::from_micros(shared.options.retire_every_us.unsigned_abs());
        let limit = match limit {
            Some(limit) if retires => Some(limit.min(every)),
            None if retires => Some(every),
            limit => limit,
        };
        let quiet = Duration::from_millis(shared.options.flush.merge.after_ms);
        let limit = match limit {
            None if merges => Some(quiet),
            limit => limit,
        };
        match limit {
            Some(limit) => timed_out = shared.work.wait_for(&mut sequencer, limit).timed_out(),
            None => shared.work.wait(&mut sequencer),
        }
        sequencer.writer_waits = false;
        // Woken without work: someone was refused because a flush failed.
        if (timed_out || failed) && !sequencer.has_work() && sequencer.standing == Standing::Open {
            return WriterWork::Quiet;
        }
    }
}

type Waiters = Vec<super::sequencer::Waiter>;

fn commit(shared: &LogShared, wal: &mut Wal, group: Group) -> Result<(), (std::io::Error, Waiters)> {
    let timestamp_us = shared.clock.now_us().max(wal.position().last_timestamp_us);
    let mut buffer = wal.buffer();
    for frame in &group.frames {
        lay_out(frame, &mut buffer);
    }
    let Group {
        frames,
        waiters,
        watermarks,
        commits,
    } = group;
    let last_lsn = frames.last().expect("a group has frames").last_lsn;
    #[cfg(test)]
    if shared.options.acknowledge_before_sync {
        // The canary: breaks L1 so that a test can prove that it would notice.
        if let Err(error) = wal.write_unsynced(buffer, timestamp_us) {
            return Err((error, waiters));
        }
        publish(shared, last_lsn, frames, watermarks, timestamp_us);
        acknowledge(waiters, timestamp_us);
        return wal.sync().map_err(|error| (error, Vec::new()));
    }
    let started = Instant::now();
    if let Err(error) = wal.write(buffer, timestamp_us) {
        return Err((error, waiters));
    }
    let latency_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    shared.syncs.fetch_add(1, Ordering::Relaxed);
    shared.commits.fetch_add(commits, Ordering::Relaxed);
    shared.last_sync_us.store(latency_us, Ordering::Relaxed);
    publish(shared, last_lsn, frames, watermarks, timestamp_us);
    acknowledge(waiters, timestamp_us);
    Ok(())
}

fn acknowledge(waiters: Waiters, timestamp_us: i64) {
    for mut waiter in waiters {
        waiter.receipt.timestamp_us = timestamp_us;
        // A session that is gone does not wait for its answer.
        let _ = waiter.sender.send(Ok(waiter.receipt));
    }
}

fn lay_out(frame: &FrameDraft, buffer: &mut GroupBuffer) {
    buffer.start_frame();
    for block in &frame.blocks {
        match block {
            BlockDraft::Rows {
                place,
                runs,
                rows,
                bytes,
            } => buffer.put(|out| {
                put_rows_header(place, runs, *rows, bytes.len(), out);
                out.extend_from_slice(bytes);
            }),
            BlockDraft::Batch {
                place, run, message, ..
            } => {
                let bytes = message.iter().map(|piece| piece.len()).sum();
                let before = buffer.payload_bytes();
                buffer.put(|out| put_batch_header(place, run, bytes, before, out));
                buffer.put_message(message);
            }
            BlockDraft::Adopt {
                place, run, spilled, ..
            } => buffer.put(|out| put_adopt(place, run, &spilled.file(), out)),
            BlockDraft::Ddl { lsn, ddl } => {
                buffer.put(|out| put_ddl(*lsn, ddl.based_on, &ddl.record, &ddl.topics, out));
            }
            BlockDraft::Produce { producer, outcome } => buffer.put(|out| put_produce(producer, outcome, out)),
            BlockDraft::Group(block) => buffer.put(|out| put_group(block, out)),
            BlockDraft::Retire { lsn, retired } => buffer.put(|out| put_retire(*lsn, retired, out)),
            BlockDraft::Advance { lsn, topic, watermark } => {
                buffer.put(|out| put_advance(*lsn, *topic, *watermark, out));
            }
        }
    }
    let lsns = (frame.first_lsn, frame.last_lsn);
    buffer.end_frame(FrameKind::Commits, lsns, frame.continued, false);
}

fn publish(
    shared: &LogShared,
    last_lsn: super::Lsn,
    frames: Vec<FrameDraft>,
    watermarks: Vec<(super::TopicId, super::Lsn, i64)>,
    timestamp_us: i64,
) {
    for block in frames.into_iter().flat_map(|frame| frame.blocks) {
        match block {
            BlockDraft::Rows {
                place,
                runs,
                rows,
                bytes,
            } => append_rows(&shared.tail, &place, &runs, rows as usize, &bytes, timestamp_us),
            BlockDraft::Batch { place, run, batch, .. } => {
                let chunk = Chunk {
                    partition: place.partition,
                    base_offset: place.base_offset,
                    rows: batch,
                    runs: chunk_runs(&[run], timestamp_us).into(),
                };
                push_rows(&shared.tail, place.topic, chunk, newest_event(&[run], timestamp_us));
            }
            BlockDraft::Adopt {
                place,
                spec,
                run,
                spilled,
            } => {
                let segment = spilled.adopt(&place, &run, timestamp_us, &spec.schema);
                adopt_segment(&shared.tail, segment, newest_event(&[run], timestamp_us));
                if (1..u64::MAX).contains(&shared.options.flush.merge.after_ms) {
                    // No flush comes that would see whether it is to be merged.
                    shared.flush.mergeable.store(true, Ordering::Release);
                }
            }
            BlockDraft::Ddl { lsn, ddl } => {
                let observer = shared.observer.read().clone();
                apply_ddl(&shared.tail, lsn, &ddl.record, &ddl.topics, observer.as_deref());
                shared.catalog.lock().push((lsn, ddl.record));
            }
            BlockDraft::Group(block) => shared.offsets.lock().apply(&block.change),
            BlockDraft::Advance { .. } | BlockDraft::Produce { .. } => {}
            BlockDraft::Retire { retired, .. } => shared.tail.retire(&retired),
        }
    }
    shared.times.note(last_lsn, timestamp_us);
    for (topic, lsn, watermark) in watermarks {
        if let Ok(topic) = shared.tail.topic(topic) {
            topic.advance(lsn, watermark);
        }
    }
    shared.publish(last_lsn);
}

/// An orderly stop: everything is written; seal it.
fn finish(wal: &mut Wal) -> Result<(), LogError> {
    let path = wal.path();
    wal.seal(true).map_err(LogError::io("seal file", &path))?;
    wal.trim().map_err(LogError::io("trim file", &path))
}

/// Poisons the log: in-flight commits learn that their outcome is unknown, later ones are refused.
fn fail(shared: &LogShared, wal: &Wal, error: &str, waiters: Waiters) {
    let reason = format!("could not write or sync file \"{}\": {error}", wal.path().display());
    poison(shared, reason, waiters);
}

fn poison(shared: &LogShared, reason: String, waiters: Waiters) {
    let queued = {
        let mut sequencer = shared.sequencer.lock();
        if matches!(sequencer.standing, Standing::Failed { .. }) && waiters.is_empty() && !sequencer.has_work() {
            // The first reason is the one that counts.
            return;
        }
        sequencer.standing = Standing::Failed { reason: reason.clone() };
        sequencer.take_group().waiters
    };
    for waiter in waiters.into_iter().chain(queued) {
        let _ = waiter.sender.send(Err(LogError::Failed { reason: reason.clone() }));
    }
    tracing::error!(%reason, "the write-ahead log failed");
    shared.failure.send_replace(Some(reason));
    // The writer's thread ends.
    shared.work.notify_one();
}
