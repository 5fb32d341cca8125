//! Runs of rows: from those of a frame's blocks to those of a chunk, and the newest event among them.
//!
//! One rule: neighbouring runs of one commit are one run. Not here: the rows themselves (`publish`, `tail`).

use super::Run;
use super::frame::BlockRun;

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
