//! Groups as readers get them from their aggregate.

use arrow::array::RecordBatch;

use crate::error::SqlError;

use super::super::ReaderSource;
use super::super::pinned::{PinnedChunk, PinnedGroups};
use super::{CHUNK_GROUPS, GroupBy};
use crate::views::memory::batch_bytes;

impl ReaderSource for GroupBy {
    fn emit_changes(&mut self) {
        self.settle_spans();
        if self.spec.closes_by.is_none() {
            self.emits = true;
            self.note_groups();
        }
    }

    fn emit_nothing(&mut self) {
        self.emits = false;
    }

    fn note_groups(&mut self) {
        self.settle_spans();
        if !self.notes_groups {
            let groups = 0..self.rows.len() as u32;
            self.was_there = groups.map(|group| self.stepped && self.is_there(group)).collect();
            self.live_groups = self.was_there.iter().filter(|there| **there).count();
            self.touched = vec![false; self.rows.len()];
            self.notes_groups = true;
        }
    }

    fn catch_up(&mut self) -> Result<(), SqlError> {
        let settled = self.settled;
        self.take_spans()?;
        self.settled = settled;
        Ok(())
    }

    fn chunks(&self) -> usize {
        self.rows.len().div_ceil(CHUNK_GROUPS)
    }

    fn is_stale(&self, chunk: usize) -> bool {
        self.stale_chunks[chunk]
    }

    fn pin(&mut self, open: Vec<bool>) {
        self.pinned = Some(PinnedGroups::new(self.rows.len(), CHUNK_GROUPS, open));
        self.pinned_rows.clear();
    }

    fn render_pinned(&mut self) -> Result<Option<(PinnedChunk, RecordBatch)>, SqlError> {
        let Some(next) = self.pinned.as_mut().and_then(PinnedGroups::next_chunk) else {
            return Ok(None);
        };
        let there = next.groups.iter().copied().filter(|group| self.is_there(*group));
        let rows = self.render(&there.collect::<Vec<u32>>())?;
        if next.is_present {
            self.stale_chunks[next.chunk] = false;
        }
        Ok(Some((next, rows)))
    }

    fn unpin(&mut self) -> Result<Vec<RecordBatch>, SqlError> {
        self.pinned = None;
        Ok(std::mem::take(&mut self.pinned_rows))
    }

    fn pinned_bytes(&self) -> usize {
        self.pinned_rows.iter().map(batch_bytes).sum()
    }

    fn touched_rows(&self) -> Box<dyn Iterator<Item = Result<RecordBatch, SqlError>> + '_> {
        assert!(self.notes_groups, "the list of touched groups was asked for");
        Box::new(self.touched_groups.chunks(CHUNK_GROUPS).map(|groups| {
            let there: Vec<u32> = groups.iter().copied().filter(|group| self.is_there(*group)).collect();
            self.render(&there)
        }))
    }

    fn shown_rows(&self) -> usize {
        self.live_groups()
    }
}
