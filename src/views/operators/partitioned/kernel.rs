//! The interface of a computation over whole partitions.
//!
//! One rule: a kernel is a function of the partitions' rows in order; it keeps nothing. The operator runs it over the rows before
//! and after a step and shows the difference.

use std::fmt;
use std::ops::Range;

use arrow::array::RecordBatch;

use crate::error::SqlError;

/// Some partitions.
pub struct OrderedPartitions {
    /// Of the input's schema. A partition's rows stand together and in order; a row of several copies stands there so often.
    pub rows: RecordBatch,
    /// The rows of each partition.
    pub ranges: Vec<Range<usize>>,
    /// By partition: its groups of rows that are alike in the order, counted from its first row.
    pub peers: Vec<Vec<Range<usize>>>,
}

pub trait PartitionKernel: fmt::Debug + Send + Sync {
    /// The output rows of these partitions together, of the operator's schema, in any order.
    fn evaluate(&self, partitions: &OrderedPartitions) -> Result<RecordBatch, SqlError>;

    /// Whether the only partition of an operator without keys has output while it has no rows. (No other partition has.)
    fn shows_empty(&self) -> bool {
        false
    }
}
