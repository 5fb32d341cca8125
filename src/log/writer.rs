//! The one thread that writes: takes what queued while the last sync ran, writes it as one group, syncs, publishes,
//! acknowledges.
//!
//! One rule: write, then sync, then publish, then acknowledge (L1); and after a failed write or sync nothing is
//! written, published or acknowledged any more (L4).
//!
//! ```text
//!  committers --add--> Sequencer.group --take--> frames --write, fdatasync--> tail, newest LSN --> waiters
//! ```
//!
//! Not here: who comes first (`sequencer`), which file (`wal`).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::flusher::{Capture, Flushing};
use super::frame::{FrameKind, put_advance, put_batch_header, put_ddl, put_rows_header};
use super::publish::{apply_ddl, chunk_runs, newest_event, push_rows};
use super::sequencer::{BlockDraft, FrameDraft, Group, Standing};
use super::wal::{GroupBuffer, Wal};
use super::{Chunk, LogError, Shared, rows};

/// After a flush that failed the next one is not tried before this.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the writer does next.
enum Work {
    Group(Group),
    Seal,
    Stop { clean: bool },
}

/// When the rows in memory are flushed.
struct Pace {
    /// Bytes written to the log when the newest capture was taken.
    captured_bytes: u64,
    captured_at: Instant,
}

/// The writer's thread; ends when the log is closed or has failed.
pub fn run(shared: &Arc<Shared>, mut wal: Wal, mut flushing: Flushing) {
    let mut pace = Pace {
        captured_bytes: wal.total_bytes(),
        captured_at: Instant::now(),
    };
    loop {
        let result = match next(shared, &wal) {
            Work::Group(group) => commit(shared, &mut wal, group),
            Work::Seal => wal.seal(false).map_err(|error| (error, Vec::new())),
            Work::Stop { clean } => {
                let result = if clean {
                    let newer = wal.position().last_lsn > shared.newest_image().unwrap_or(0);
                    let newer = newer && shared.options.image_after_bytes < u64::MAX;
                    flushing.finish(newer.then(|| capture(shared, &wal)));
                    finish(&mut wal)
                } else {
                    Ok(())
                };
                if let Err(error) = result {
                    fail(shared, &wal, &error.to_string(), Vec::new());
                }
                return;
            }
        };
        let position = wal.position();
        shared.flush.wal_files.lock().insert(position.sequence, position.end);
        if let Err((error, waiters)) = result {
            fail(shared, &wal, &error.to_string(), waiters);
            return;
        }
        if is_time(shared, &wal, &pace) {
            (pace.captured_bytes, pace.captured_at) = (wal.total_bytes(), Instant::now());
            flushing.begin(capture(shared, &wal));
        }
    }
}

fn capture(shared: &Shared, wal: &Wal) -> Capture {
    Capture::take(&shared.tail, wal.position(), shared.catalog.lock().clone())
}

/// Whether enough rows are in memory, or enough bytes were written, for a flush.
fn is_time(shared: &Shared, wal: &Wal, pace: &Pace) -> bool {
    let options = &shared.options;
    let written = wal.total_bytes() - pace.captured_bytes;
    let enough = shared.tail.bytes() >= options.flush_bytes && written >= options.flush_bytes as u64 / 4
        || written >= options.image_after_bytes;
    enough
        && !shared.flush.busy.load(Ordering::Acquire)
        && (shared.flush.failure.lock().is_none() || pace.captured_at.elapsed() >= RETRY_AFTER)
}

/// Waits for work. Quiet for `seal_after_ms` with something unsealed is work, too.
fn next(shared: &Shared, wal: &Wal) -> Work {
    let mut sequencer = shared.sequencer.lock();
    loop {
        if sequencer.has_work() {
            return Work::Group(sequencer.take_group());
        }
        if let Standing::Closing { clean } = sequencer.standing {
            return Work::Stop { clean };
        }
        sequencer.writer_waits = true;
        if wal.is_sealed() {
            shared.work.wait(&mut sequencer);
        } else {
            let quiet = Duration::from_millis(shared.options.seal_after_ms);
            let timed_out = shared.work.wait_for(&mut sequencer, quiet).timed_out();
            if timed_out && !sequencer.has_work() && sequencer.standing == Standing::Open {
                sequencer.writer_waits = false;
                return Work::Seal;
            }
        }
        sequencer.writer_waits = false;
    }
}

type Waiters = Vec<super::sequencer::Waiter>;

fn commit(shared: &Shared, wal: &mut Wal, group: Group) -> Result<(), (std::io::Error, Waiters)> {
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
    if let Err(error) = wal.write(buffer, timestamp_us) {
        return Err((error, waiters));
    }
    #[cfg(test)]
    let (waiters, frames, watermarks) = if shared.options.acknowledge_before_sync {
        // The canary: breaks L1 so that a test can prove that it would notice.
        publish(shared, wal, frames, watermarks, timestamp_us);
        acknowledge(waiters, timestamp_us);
        (Vec::new(), Vec::new(), Vec::new())
    } else {
        (waiters, frames, watermarks)
    };
    let started = Instant::now();
    if let Err(error) = wal.sync() {
        return Err((error, waiters));
    }
    let latency_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    shared.syncs.fetch_add(1, Ordering::Relaxed);
    shared.commits.fetch_add(commits, Ordering::Relaxed);
    shared.last_sync_us.store(latency_us, Ordering::Relaxed);
    publish(shared, wal, frames, watermarks, timestamp_us);
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
                ..
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
            BlockDraft::Ddl { lsn, ddl } => {
                buffer.put(|out| put_ddl(*lsn, ddl.based_on, &ddl.record, &ddl.topics, out));
            }
            BlockDraft::Advance { lsn, topic, watermark } => {
                buffer.put(|out| put_advance(*lsn, *topic, *watermark, out));
            }
        }
    }
    let lsns = (frame.first_lsn, frame.last_lsn);
    buffer.end_frame(FrameKind::Commits, lsns, frame.continued, false);
}

fn publish(
    shared: &Shared,
    wal: &Wal,
    frames: Vec<FrameDraft>,
    watermarks: Vec<(super::TopicId, super::Lsn, i64)>,
    timestamp_us: i64,
) {
    for block in frames.into_iter().flat_map(|frame| frame.blocks) {
        match block {
            BlockDraft::Rows {
                place,
                spec,
                runs,
                rows: count,
                bytes,
                batch,
            } => {
                let batch = batch.unwrap_or_else(|| {
                    let schema = Arc::clone(&spec.schema);
                    rows::decode(schema, &bytes, count as usize).expect("it was encoded with this schema")
                });
                let chunk = Chunk {
                    partition: place.partition,
                    base_offset: place.base_offset,
                    rows: batch,
                    runs: chunk_runs(&runs, timestamp_us).into(),
                };
                push_rows(&shared.tail, place.topic, chunk, newest_event(&runs));
            }
            BlockDraft::Batch { place, run, batch, .. } => {
                let chunk = Chunk {
                    partition: place.partition,
                    base_offset: place.base_offset,
                    rows: batch,
                    runs: chunk_runs(&[run], timestamp_us).into(),
                };
                push_rows(&shared.tail, place.topic, chunk, run.event_us);
            }
            BlockDraft::Ddl { lsn, ddl } => {
                let observer = shared.observer.read().clone();
                apply_ddl(&shared.tail, lsn, &ddl.record, &ddl.topics, observer.as_deref());
                shared.catalog.lock().push((lsn, ddl.record));
            }
            BlockDraft::Advance { .. } => {}
        }
    }
    for (topic, lsn, watermark) in watermarks {
        if let Ok(topic) = shared.tail.topic(topic) {
            topic.advance(lsn, watermark);
        }
    }
    shared.publish(wal.position().last_lsn);
}

/// An orderly stop: everything is written; seal it.
fn finish(wal: &mut Wal) -> Result<(), LogError> {
    let path = wal.path();
    wal.seal(true).map_err(LogError::io("seal file", &path))?;
    wal.trim().map_err(LogError::io("trim file", &path))
}

/// Poisons the log: in-flight commits learn that their outcome is unknown, later ones are refused.
fn fail(shared: &Shared, wal: &Wal, error: &str, waiters: Waiters) {
    let reason = format!("could not write or sync file \"{}\": {error}", wal.path().display());
    let queued = {
        let mut sequencer = shared.sequencer.lock();
        sequencer.standing = Standing::Failed { reason: reason.clone() };
        sequencer.take_group().waiters
    };
    for waiter in waiters.into_iter().chain(queued) {
        let _ = waiter.sender.send(Err(LogError::Failed { reason: reason.clone() }));
    }
    tracing::error!(%reason, "the write-ahead log failed");
    shared.failure.send_replace(Some(reason));
}
