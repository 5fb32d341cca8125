//! Publication of synced commits: rows into the memory tail, definitions to the catalog.
//!
//! One rule: blocks are published in the order of their frame, and the newest LSN moves only after all of a group.
//! The writer and recovery both come through here.

use std::sync::Arc;

use super::frame::{BlockRun, Placement};
use super::segment::Segment;
use super::tail::Tail;
use super::{Chunk, DdlObserver, Lsn, TopicChange};

/// Pushes rows of a topic; rows of a topic that has been dropped since are nobody's. `event`: their newest event time,
/// and the time of its append.
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
