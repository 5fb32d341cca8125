//! Merging: neighbours among the segments of a partition become one, in the topic's present schema and compressed.
//!
//! One rule: a merged segment has exactly the rows of its sources, with their offsets, LSNs, times and
//! watermarks. The sources go when no image names them any more, as ever.
//!
//! Not here: the schedule (`writer`), the change of the image (`flusher`).

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use crate::storage::Disk;

use super::LogError;
use super::columns::conform;
use super::segment::{Layout, Segment, SegmentInfo, SegmentWriter};

/// Settings of merging.
#[derive(Clone, Copy, Debug)]
pub struct MergeOptions {
    /// Segments of at least this many bytes that were merged before are left alone.
    pub bytes_min: u64,
    /// So many neighbours are merged, however small they are.
    pub segments_min: usize,
    /// No more bytes are merged into one.
    pub bytes_max: u64,
    /// After this much quiet, milliseconds; 0: with each flush. `u64::MAX`: never.
    pub after_ms: u64,
    /// Without quiet, once there was something to merge for this long, milliseconds, and then for a quarter of the time at
    /// most: rows wait in memory meanwhile.
    pub latest_ms: u64,
    pub layout: Layout,
}

/// The segments of a partition that become one, if any do: the first run of neighbours that are worth it.
pub fn choose(segments: &[SegmentInfo], options: &MergeOptions, spoilt: impl Fn(u64) -> bool) -> Option<Range<usize>> {
    let mut run = 0..0;
    let mut bytes = 0;
    let is_done = |segment: &SegmentInfo| segment.is_merged && segment.bytes >= options.bytes_min || spoilt(segment.id);
    let is_worth = |run: &Range<usize>, bytes: u64| {
        let is_small = run.len() < options.segments_min.max(2) && bytes < options.bytes_min;
        // One alone gains by compression, once.
        !is_small && (run.len() > 1 || !segments[run.start].is_merged)
    };
    for (index, segment) in segments.iter().enumerate() {
        // Offsets in a segment are dense; between segments a repair may have left a gap.
        let follows = |before: &SegmentInfo| before.end_offset() == segment.base_offset;
        let fits = bytes + segment.bytes <= options.bytes_max && (run.is_empty() || follows(&segments[run.end - 1]));
        let ends = is_done(segment) || !run.is_empty() && !fits;
        if ends && !run.is_empty() && is_worth(&run, bytes) {
            return Some(run);
        }
        if ends {
            run = index..index;
            bytes = 0;
        }
        if is_done(segment) {
            run = index + 1..index + 1;
            continue;
        }
        run.end = index + 1;
        bytes += segment.bytes;
    }
    (!run.is_empty() && is_worth(&run, bytes)).then_some(run)
}

/// Writes the rows of neighbours as one segment with this id. The caller syncs the directory.
pub fn merge(
    disk: Arc<dyn Disk>,
    dir: &Path,
    id: u64,
    segments: &[Arc<Segment>],
    (schema_id, schema): (u32, &SchemaRef),
    layout: Layout,
) -> Result<Segment, LogError> {
    let (first, last) = (&segments[0].info, &segments[segments.len() - 1].info);
    let info = SegmentInfo {
        id,
        schema_id,
        rows: 0,
        is_merged: true,
        adoption: None,
        ..first.clone()
    };
    let mut writer = SegmentWriter::create(disk, dir, info, Arc::clone(schema), layout)?;
    for segment in segments {
        for batch in 0..segment.index()?.entries.len() {
            let mut chunk = segment.load(batch, None)?;
            if segment.info.schema_id != schema_id {
                chunk.rows = conform(&chunk.rows, &segment.schema, schema);
            }
            writer.push(chunk)?;
        }
    }
    let merged = writer.finish()?;
    assert_eq!(
        (merged.info.base_offset, merged.info.end_offset(), merged.info.last_lsn),
        (first.base_offset, last.end_offset(), last.last_lsn),
        "L2: a merged segment has the rows of those that it is made of"
    );
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::super::TopicId;
    use super::*;

    fn chosen(sizes: &[(u64, bool)]) -> Option<Range<usize>> {
        chosen_of(sizes, None)
    }

    /// With a gap in the offsets before that one of the segments.
    fn chosen_of(sizes: &[(u64, bool)], gap_before: Option<u64>) -> Option<Range<usize>> {
        let options = MergeOptions {
            bytes_min: 100,
            segments_min: 4,
            bytes_max: 300,
            after_ms: 0,
            latest_ms: 0,
            layout: Layout {
                batch_rows: 1,
                batch_bytes: 1,
                compression: None,
            },
        };
        let segments = (0..).zip(sizes).map(|(id, (bytes, is_merged))| SegmentInfo {
            id,
            topic: TopicId(1),
            partition: 0,
            schema_id: 1,
            base_offset: id + u64::from(gap_before.is_some_and(|gap| id >= gap)),
            rows: 1,
            first_lsn: 1,
            last_lsn: 1,
            first_us: 0,
            last_us: 0,
            bytes: *bytes,
            is_merged: *is_merged,
            adoption: None,
        });
        choose(&segments.collect::<Vec<_>>(), &options, |id| id == 99)
    }

    #[test]
    fn segments_on_two_sides_of_a_gap_are_not_merged() {
        let segments = [(10, false); 6];
        assert_eq!(chosen(&segments), Some(0..6));
        assert_eq!(chosen_of(&segments, Some(1)), Some(1..6));
        assert_eq!(chosen_of(&segments, Some(5)), Some(0..5));
        assert_eq!(chosen_of(&segments, Some(3)), None);
    }

    #[test]
    fn neighbours_are_merged_once_they_are_worth_it() {
        let (new, old) = (false, true);
        assert_eq!(chosen(&[]), None);
        assert_eq!(chosen(&[(10, new), (10, new), (10, new)]), None);
        assert_eq!(chosen(&[(10, new), (10, new), (10, new), (10, new)]), Some(0..4));
        assert_eq!(chosen(&[(60, new), (60, new)]), Some(0..2));
        assert_eq!(
            chosen(&[(150, old), (10, new), (10, new), (10, new), (10, new)]),
            Some(1..5)
        );
        // No more than fit; a large one alone is compressed, but only once.
        assert_eq!(chosen(&[(200, new), (200, new), (10, new)]), Some(0..1));
        assert_eq!(chosen(&[(500, new)]), Some(0..1));
        assert_eq!(chosen(&[(500, old), (200, old), (10, new)]), None);
        // A small merged one is merged again with the next one.
        assert_eq!(chosen(&[(90, old), (20, new)]), Some(0..2));
        assert_eq!(chosen(&[(90, old), (5, old)]), None);
    }
}
