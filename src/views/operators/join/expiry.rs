//! The end of a row's use to a join: it can meet no later row of the other side, since the watermark has passed all that it could.
//!
//! One rule: a row that expires has its last answer. No row that comes or goes later matches it, nor is it taken away itself.
//!
//! Not here: how the limits follow from a plan (`compile/floors.rs`).

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::TimestampMicrosecondType;

use crate::log::TopicId;

use super::super::StepEnd;

/// A column's values are passed once they are below the least watermark of the topics, less a distance.
#[derive(Clone, Debug)]
pub struct TimeLimit {
    pub column: usize,
    pub topics: Vec<TopicId>,
    pub behind_us: i64,
}

/// When rows of a side expire: one of each kind of limits has passed.
#[derive(Clone, Default, Debug)]
pub struct Expiry {
    /// It meets no later row.
    pub meets: Vec<TimeLimit>,
    /// It is not taken away any more.
    pub stays: Vec<TimeLimit>,
    /// Rows of the side may be taken away.
    pub changes: bool,
    /// Rows meet none of later commits, and none is taken away.
    pub at_once: bool,
}

/// The limits of a side at the end of a step.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Passed {
    /// Every row is expired.
    pub all: bool,
    /// Column, and the value that is the first not to be passed.
    meets: Vec<(usize, i64)>,
    /// `None`: no row is ever taken away.
    stays: Option<Vec<(usize, i64)>>,
}

impl Expiry {
    pub fn passed(&self, end: &StepEnd) -> Passed {
        let of = |limits: &[TimeLimit]| -> Vec<(usize, i64)> {
            let passed = limits.iter().filter_map(|limit| {
                let watermark = end.least_watermark(&limit.topics)?;
                Some((limit.column, watermark.checked_sub(limit.behind_us)?))
            });
            passed.collect()
        };
        Passed {
            all: self.at_once,
            meets: of(&self.meets),
            stays: self.changes.then(|| of(&self.stays)),
        }
    }
}

impl Passed {
    /// Whether no row can be expired.
    pub fn is_nothing(&self) -> bool {
        !self.all && (self.meets.is_empty() || self.stays.as_ref().is_some_and(Vec::is_empty))
    }

    /// Marks the rows of a batch that are to be kept.
    pub fn kept(&self, columns: &[ArrayRef], rows: usize) -> Vec<bool> {
        if self.all {
            return vec![false; rows];
        }
        let expired = |limits: &[(usize, i64)], row: usize, without_time: bool| {
            limits.iter().any(|(column, from)| {
                let times = columns[*column].as_primitive::<TimestampMicrosecondType>();
                match times.is_valid(row) {
                    true => times.value(row) < *from,
                    false => without_time,
                }
            })
        };
        // A row without a time meets nothing, but may go as any other.
        let is_kept = |row: usize| {
            let meets_none = expired(&self.meets, row, true);
            let stays = self.stays.as_ref().is_none_or(|limits| expired(limits, row, false));
            !(meets_none && stays)
        };
        (0..rows).map(is_kept).collect()
    }
}
