//! Rows of one partition by offset, for consumers.

use std::sync::Arc;

use super::super::columns::{Range, Reader, conform};
use super::super::extent::{Extent, Stored};
use super::super::segment::Segment;
use super::super::{Chunk, LogError};
use super::{TopicTail, check_reader};

impl TopicTail {
    /// The rows of one partition from `range.start` on, in offset order: whole extents, until they have about `rows_max` rows.
    pub fn read_partition(
        &self,
        reader: &Reader,
        partition: u32,
        range: Range,
        rows_max: usize,
    ) -> Result<Vec<Extent>, LogError> {
        let (chunks, segments, range) = {
            let state = self.settled(range.after, range.upto);
            check_reader(reader, &state.spec)?;
            let Some(of) = state.partitions.get(partition as usize) else {
                return Ok(Vec::new());
            };
            let range = Range {
                start: range.start.max(of.start),
                ..range
            };
            let is_before = |segment: &Arc<Segment>| segment.info.base_offset + segment.info.rows <= range.start;
            let first = of.segments.partition_point(is_before);
            let segments: Vec<Arc<Segment>> = of.segments[first..].to_vec();
            let is_before = |chunk: &Chunk| chunk.base_offset + chunk.rows.num_rows() as u64 <= range.start;
            let first = of.chunks.partition_point(is_before);
            let mut chunks = Vec::new();
            let mut rows = 0;
            for mut chunk in of.chunks.range(first..).filter_map(|chunk| chunk.within(&range)) {
                if reader.schema_id != state.spec.schema_id {
                    chunk.rows = conform(&chunk.rows, &state.spec.schema, &reader.schema);
                }
                rows += chunk.rows.num_rows();
                chunks.push(chunk);
                if rows >= rows_max {
                    break;
                }
            }
            (chunks, segments, range)
        };
        // Files are read without the lock. Chunks stand between segments where commits adopted these.
        let mut read = Vec::new();
        let mut chunks = chunks.into_iter().peekable();
        let mut rows = 0;
        for segment in segments {
            while let Some(chunk) = chunks.next_if(|chunk| chunk.base_offset < segment.info.base_offset) {
                rows += chunk.rows.num_rows();
                read.push(Extent::Memory(chunk));
            }
            if rows >= rows_max {
                return Ok(read);
            }
            let index = segment.index()?;
            for (batch, entry) in index.entries.iter().enumerate() {
                let is_wanted = entry.first_lsn <= range.upto
                    && entry.base_offset + u64::from(entry.rows) > range.start
                    && range.since_us.is_none_or(|since_us| entry.last_us >= since_us);
                if is_wanted && rows < rows_max {
                    let (segment, index) = (Arc::clone(&segment), Arc::clone(&index));
                    read.push(Extent::Stored(Stored::new(segment, index, batch, range, reader)));
                    // The first may begin before the offset that is asked for.
                    let skipped = range.start.saturating_sub(entry.base_offset);
                    rows += usize::try_from(u64::from(entry.rows) - skipped).expect("a batch has few rows");
                }
            }
        }
        read.extend(chunks.map(Extent::Memory));
        Ok(read)
    }
}
