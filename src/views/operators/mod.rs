//! The steps of a dataflow: one file or folder for each operator, and here the interface of those that keep state.
//!
//! One rule: an operator is a deterministic function of its inputs' deltas, step by step; it does no I/O and reads no clock.
//! A step covers a range of whole commits: `begin` tells the time at its end, all deltas of the range are pushed, then `finish`
//! ends it.

pub mod aggregate;
pub mod constant;
pub mod expand;
pub mod join;
pub mod linear;
pub mod net;
pub mod partitioned;
pub mod pinned;
pub mod session;
pub mod set;
pub mod temporal;
pub mod unnest;
pub mod window;

use arrow::array::RecordBatch;

use crate::error::SqlError;
use crate::log::{Lsn, TopicId};

use super::clock::PendingRows;
use super::delta::Delta;
use join::{Arrangements, RelationRows};
use pinned::PinnedChunk;

/// The end of a step: the LSN up to which inputs are complete, and the watermarks there.
pub struct StepEnd<'a> {
    pub lsn: Lsn,
    /// W there, microseconds.
    pub watermark: &'a dyn Fn(TopicId) -> Option<i64>,
}

impl StepEnd<'_> {
    /// The least watermark of `topics`; `None` if one of them has none yet, or there are no topics.
    pub fn least_watermark(&self, topics: &[TopicId]) -> Option<i64> {
        topics
            .iter()
            .map(|topic| (self.watermark)(*topic))
            .try_fold(i64::MAX, |least, watermark| {
                watermark.map(|watermark| least.min(watermark))
            })
            .filter(|_| !topics.is_empty())
    }
}

/// Takes the output of an operator, piece by piece.
pub type Sink<'a> = dyn FnMut(Delta) -> Result<(), SqlError> + 'a;

/// An operator with state. Operators differ in taking deltas: an aggregate swallows them, a window answers them at
/// once.
pub trait Operator: Send {
    /// Begins a step, which ends at this time of the log. What that changes goes to `out`.
    fn begin(&mut self, _time_us: i64, _out: &mut Sink<'_>) -> Result<(), SqlError> {
        Ok(())
    }

    /// Ends the step: the rest of its output goes to `out`.
    fn finish(&mut self, end: &StepEnd, out: &mut Sink<'_>) -> Result<(), SqlError>;

    /// The state between two steps.
    fn save(&self) -> Result<Vec<RecordBatch>, SqlError>;

    /// Replaces the state by one from `save`.
    fn restore(&mut self, saved: &[RecordBatch]) -> Result<(), SqlError>;

    /// Bytes of state in memory, about.
    fn bytes(&self) -> usize;

    /// For windows: the next of them to close.
    fn closes(&self) -> Option<Closes<'_>> {
        None
    }

    /// For conditions on now(): the rows that time changes next.
    fn pending(&self) -> Option<PendingRows> {
        None
    }

    /// For windows: rows that came too late, and rows without an event time, so far.
    fn skipped(&self) -> Option<(u64, u64)> {
        None
    }
}

/// The windows of an operator that are still open.
pub struct Closes<'a> {
    /// Topics whose watermarks close them.
    pub topics: &'a [TopicId],
    /// The watermark at which the first of them closes, microseconds; of sessions that may have grown since, perhaps one before that.
    pub next: Option<i64>,
}

/// State that operators keep together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SharedState {
    /// The same for all who have it.
    pub id: usize,
    /// Of all of it, as far as the operator uses it.
    pub bytes: usize,
}

/// An operator with one input or several, which may answer some of their deltas at once.
pub trait Ported: Operator {
    /// Takes a delta of one input; output that does not wait for the step's end goes to `out`.
    fn push(&mut self, port: usize, delta: Delta, out: &mut Sink<'_>) -> Result<(), SqlError>;

    /// Rows that it keeps.
    fn rows(&self) -> usize;

    /// Shares the rows of its inputs, as they are defined, with the operators that keep the same, from this LSN on.
    fn share(&mut self, _inputs: &[Option<RelationRows>], _known: &Arrangements, _lsn: Lsn) -> Result<(), SqlError> {
        Ok(())
    }

    /// The state that it shares. Its part is in [`Operator::bytes`].
    fn shared(&self) -> Vec<SharedState> {
        Vec::new()
    }

    /// Output rows that it computed so far, those that did not change included, where it computes them anew.
    fn computed(&self) -> Option<u64> {
        None
    }
}

/// An operator whose rows readers get from itself, in chunks: groups, or partitions, of like number. A chunk that no step touched
/// since is not rendered again. A reading has the rows of its beginning, however many steps it takes.
pub trait ReaderSource {
    /// Emits changes from the next step on. The rows so far count as emitted.
    fn emit_changes(&mut self);

    /// From the next step on, emit nothing: only readers need the rows.
    fn emit_nothing(&mut self);

    /// From the next step on, keep the list that [`ReaderSource::touched_rows`] needs.
    fn note_groups(&mut self);

    /// Between two steps: takes in rows that wait for a reader.
    fn catch_up(&mut self) -> Result<(), SqlError>;

    /// Number of chunks; the last may be short.
    fn chunks(&self) -> usize;

    /// Whether a chunk changed since it was last rendered.
    fn is_stale(&self, chunk: usize) -> bool;

    /// Between two steps: begins a reading of the present rows of these chunks.
    fn pin(&mut self, open: Vec<bool>);

    /// The next chunk of a reading, and the rows of its groups that have not changed since. A chunk that is as it was is fresh
    /// then.
    fn render_pinned(&mut self) -> Result<Option<(PinnedChunk, RecordBatch)>, SqlError>;

    /// Ends a reading. The rows of groups that have changed since it began, as they were.
    fn unpin(&mut self) -> Result<Vec<RecordBatch>, SqlError>;

    /// Bytes of the rows that are kept for a reading under way.
    fn pinned_bytes(&self) -> usize;

    /// The present rows of what the last step touched, piece by piece.
    fn touched_rows(&self) -> Box<dyn Iterator<Item = Result<RecordBatch, SqlError>> + '_>;

    /// Number of rows.
    fn shown_rows(&self) -> usize;
}
