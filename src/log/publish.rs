//! Makes what was synced visible: rows into the memory tail, definitions to the catalog.
//!
//! One rule: blocks are published in the order of their frame, and the newest LSN moves only after all of a group.
//! The writer and recovery both come through here.

use std::sync::Arc;

use super::frame::{BlockRun, Placement};
use super::segment::Segment;
use super::tail::Tail;
use super::{Chunk, DdlObserver, Lsn, Run, TopicChange};

/// Newest event time of some runs, with their group's timestamp.
pub fn newest_event(runs: &[BlockRun], timestamp_us: i64) -> Option<(i64, i64)> {
    let newest = runs.iter().filter_map(|run| run.event_us).max()?;
    Some((newest, timestamp_us))
}

/// The newer of two events; of the same event time the one that was appended first.
pub fn newer_event(one: Option<(i64, i64)>, other: Option<(i64, i64)>) -> Option<(i64, i64)> {
    one.into_iter()
        .chain(other)
        .max_by_key(|(event_us, append_us)| (*event_us, std::cmp::Reverse(*append_us)))
}

/// The runs of a chunk, with their group's timestamp.
pub fn chunk_runs(runs: &[BlockRun], timestamp_us: i64) -> Vec<Run> {
    let mut merged: Vec<Run> = Vec::with_capacity(runs.len());
    extend_runs(&mut merged, runs, timestamp_us);
    merged
}

/// Puts the runs of a group after those before them.
pub fn extend_runs(merged: &mut Vec<Run>, runs: &[BlockRun], timestamp_us: i64) {
    for run in runs {
        match merged.last_mut() {
            Some(last) if last.lsn == run.lsn => last.rows += run.rows as usize,
            _ => merged.push(Run {
                rows: run.rows as usize,
                lsn: run.lsn,
                timestamp_us,
                watermark: run.watermark,
            }),
        }
    }
}

/// Pushes rows of a topic; those of one that has been dropped since are nobody's. `event`: their newest event time, and
/// when it was appended.
pub fn push_rows(tail: &Tail, topic: super::TopicId, chunk: Chunk, event: Option<(i64, i64)>) {
    if let Ok(topic) = tail.topic(topic) {
        topic.push(chunk, event);
    }
}

/// Appends the rows of a block, encoded by the row codec, as [`push_rows`] does.
pub fn append_rows(tail: &Tail, place: &Placement, runs: &[BlockRun], rows: usize, bytes: &[u8], timestamp_us: i64) {
    if let Ok(topic) = tail.topic(place.topic) {
        topic.append(place, runs, rows, bytes, timestamp_us);
    }
}

/// Gives a segment that a commit adopted to its topic, unless that has been dropped since. `event` as for [`push_rows`].
pub fn adopt_segment(tail: &Tail, segment: Arc<Segment>, event: Option<(i64, i64)>) {
    if let Ok(topic) = tail.topic(segment.info.topic) {
        topic.adopt(segment, event);
    }
}

/// Applies a catalog change: first the topics, so that a name that can be resolved can also be read.
pub fn apply_ddl(tail: &Tail, lsn: Lsn, record: &[u8], topics: &[TopicChange], observer: Option<&dyn DdlObserver>) {
    for change in topics {
        match change {
            TopicChange::Create(spec) => tail.create(Arc::new(spec.clone())),
            TopicChange::Alter(spec) => {
                tail.note(spec);
                if let Ok(topic) = tail.topic(spec.id) {
                    topic.alter(Arc::new(spec.clone()));
                }
            }
            TopicChange::Drop(_) => {}
        }
    }
    if let Some(observer) = observer {
        observer.apply(lsn, record);
    }
    for change in topics {
        if let TopicChange::Drop(id) = change {
            tail.remove(*id);
        }
    }
}
