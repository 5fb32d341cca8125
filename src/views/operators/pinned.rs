//! [`PinnedGroups`]: groups as they were when a reading began, while steps go on to change them.
//!
//! One rule: a group that a step is about to change is given out first, for its row to be kept as it is; all others are rendered
//! from the present states, chunk by chunk. So each group of that time is read once, as it was.

/// Which groups of a reading have changed since, and which chunks are still to be rendered.
pub struct PinnedGroups {
    /// Groups that there were.
    groups: usize,
    /// Of a chunk.
    chunk_groups: usize,
    /// By chunk: to be rendered.
    open: Vec<bool>,
    /// By chunk: one of its groups has changed since, or come.
    moved: Vec<bool>,
    /// By group.
    changed: Vec<bool>,
    /// Chunks before it are not open.
    next: usize,
}

/// A chunk that is rendered now.
pub struct PinnedChunk {
    pub chunk: usize,
    /// Those that have not changed since.
    pub groups: Vec<u32>,
    /// They are all that the chunk has at present.
    pub is_present: bool,
}

impl PinnedGroups {
    /// Groups, so many in a chunk, of which these chunks are to be rendered.
    pub fn new(groups: usize, chunk_groups: usize, open: Vec<bool>) -> PinnedGroups {
        assert_eq!(open.len(), groups.div_ceil(chunk_groups), "each chunk is there");
        PinnedGroups {
            groups,
            chunk_groups,
            moved: vec![false; open.len()],
            open,
            changed: vec![false; groups],
            next: 0,
        }
    }

    /// Groups that change now. Those among them whose rows have to be kept first, each once.
    pub fn change(&mut self, groups: &[u32]) -> Vec<u32> {
        let mut first = Vec::new();
        for group in groups {
            let index = *group as usize;
            let chunk = index / self.chunk_groups;
            if !self.open.get(chunk).is_some_and(|open| *open) {
                continue;
            }
            self.moved[chunk] = true;
            if index < self.groups && !std::mem::replace(&mut self.changed[index], true) {
                first.push(*group);
            }
        }
        first
    }

    /// The next chunk; it is no longer open.
    pub fn next_chunk(&mut self) -> Option<PinnedChunk> {
        while self.next < self.open.len() {
            let chunk = self.next;
            self.next += 1;
            if !std::mem::replace(&mut self.open[chunk], false) {
                continue;
            }
            let start = chunk * self.chunk_groups;
            let end = (start + self.chunk_groups).min(self.groups);
            let groups = (start..end).filter(|group| !self.changed[*group]);
            return Some(PinnedChunk {
                chunk,
                groups: groups.map(|group| group as u32).collect(),
                is_present: !self.moved[chunk],
            });
        }
        None
    }
}
