//! The places of a topic's rows in the order of commits, for a reader that takes them a part at a time.
//!
//! One rule: no more is looked at than the first rows that are asked for, however many lie behind them.

use std::sync::Arc;

use super::super::segment::Segment;
use super::super::{LogError, Lsn};
use super::TopicTail;

impl TopicTail {
    /// The last LSN and the rows of each piece in a range of commits: of each partition, of the first pieces until they
    /// have `rows_max` rows. Nothing behind those is looked at.
    pub fn places(&self, after: Lsn, upto: Lsn, rows_max: usize) -> Result<Vec<(Lsn, usize)>, LogError> {
        let mut places = Vec::new();
        let mut stored: Vec<Vec<Arc<Segment>>> = Vec::new();
        {
            let state = self.state.read();
            for partition in &state.partitions {
                let mut rows = 0;
                let mut needed = Vec::new();
                let segments = &partition.segments;
                let first = segments.partition_point(|segment| segment.info.last_lsn <= after);
                let mut segments = segments[first..].iter().peekable();
                let first = partition.chunks.partition_point(|chunk| chunk.last_lsn() <= after);
                let mut chunks = partition.chunks.range(first..).peekable();
                while rows < rows_max {
                    let chunk = chunks.peek().map_or(u64::MAX, |chunk| chunk.base_offset);
                    if let Some(segment) = segments.next_if(|segment| segment.info.base_offset < chunk) {
                        if segment.info.first_lsn > upto {
                            break;
                        }
                        // How many rows of another are wanted is known once its index is.
                        if segment.info.first_lsn > after {
                            rows += segment.info.rows as usize;
                        }
                        needed.push(Arc::clone(segment));
                        continue;
                    }
                    let Some(chunk) = chunks.next().and_then(|chunk| chunk.between(after, upto)) else {
                        break;
                    };
                    rows += chunk.rows.num_rows();
                    places.push((chunk.last_lsn(), chunk.rows.num_rows()));
                }
                if rows < rows_max {
                    let fresh = partition.fresh.runs.iter();
                    let wanted = fresh.filter(|run| run.lsn > after && run.lsn <= upto);
                    places.extend(wanted.map(|run| (run.lsn, run.rows)));
                }
                stored.push(needed);
            }
        }
        // Files are read without the lock.
        for segments in stored {
            let mut rows = 0;
            for segment in segments {
                let index = segment.index()?;
                let first = index.entries.partition_point(|entry| entry.last_lsn <= after);
                for entry in &index.entries[first..] {
                    if entry.first_lsn > upto || rows >= rows_max {
                        break;
                    }
                    rows += entry.rows as usize;
                    places.push((entry.last_lsn.min(upto), entry.rows as usize));
                }
            }
        }
        Ok(places)
    }
}
