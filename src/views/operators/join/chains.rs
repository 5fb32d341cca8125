//! [`KeyChains`]: rows by the number of their key.
//!
//! One rule: rows are numbered as they come, and a chain goes from its newest row to older ones. So the rows up to a number are an
//! older state of all of them: a reader that stands there passes over what is newer, and sees nothing else change.
//!
//! Not here: the rows themselves (`column.rs`), the keys (`aggregate/keys.rs`).

use std::collections::VecDeque;

use crate::log::Lsn;

/// The end of a chain.
const NONE: u32 = u32::MAX;
/// Ends of steps that are remembered, at most.
const ENDS_MAX: usize = 256;

#[derive(Default)]
pub struct KeyChains {
    /// By key.
    heads: Vec<ChainEnds>,
    /// By row: the one before it with the same key, or [`NONE`].
    before: Vec<u32>,
    /// By row: copies. Shorter than the rows while all the rest have one.
    copies: Vec<i64>,
    /// The ends of the last steps, and the rows up to there.
    ends: VecDeque<(Lsn, usize)>,
}

#[derive(Clone, Copy)]
struct ChainEnds {
    newest: u32,
    oldest: u32,
}

const NO_ROWS: ChainEnds = ChainEnds {
    newest: NONE,
    oldest: NONE,
};

/// Pairs of rows with rows of the other side.
#[derive(Default)]
pub struct Pairs {
    pub own: Vec<u32>,
    pub other: Vec<u32>,
    /// Copies of the other side's row; empty if each has one.
    pub copies: Vec<i64>,
}

impl Pairs {
    /// Copies of the other side's row in the pair at a place.
    pub fn copies(&self, at: usize) -> i64 {
        self.copies.get(at).copied().unwrap_or(1)
    }
}

/// How far [`KeyChains::meet`] has come.
#[derive(Default)]
pub struct MeetPlace {
    row: usize,
    /// Within a chain.
    next: Option<u32>,
}

impl KeyChains {
    /// Of all rows, those without copies too.
    pub fn rows(&self) -> usize {
        self.before.len()
    }

    /// Adds rows that are numbered from `from` on, as far as they are not there.
    pub fn append(&mut self, from: usize, keys: &[u32], weights: Option<&[i64]>) {
        let known = self.rows().checked_sub(from).expect("rows are numbered without gaps");
        if known >= keys.len() {
            return;
        }
        if let Some(weights) = weights {
            let is_more = |weight: &i64| *weight > 0;
            assert!(
                weights.iter().all(is_more),
                "V4: a row was taken away from an input that only grows"
            );
            self.copies.resize(self.before.len(), 1);
            self.copies.extend_from_slice(&weights[known..]);
        }
        self.before.reserve(keys.len() - known);
        keys[known..].iter().for_each(|key| self.push(*key));
    }

    /// Adds a row, without its copies.
    fn push(&mut self, key: u32) {
        let key = key as usize;
        if key >= self.heads.len() {
            self.heads.resize(key + 1, NO_ROWS);
        }
        let row = u32::try_from(self.before.len()).expect("fewer than 2^32 rows fit into memory");
        let head = &mut self.heads[key];
        self.before.push(head.newest);
        head.newest = row;
        if head.oldest == NONE {
            head.oldest = row;
        }
    }

    /// Changes the copies of a row, which is new if its number is; gives what they were and are.
    pub fn change(&mut self, row: usize, key: u32, weight: i64) -> (Option<i64>, i64) {
        let before = self.copies.get(row).copied();
        if before.is_none() {
            assert_eq!(row, self.rows(), "rows are numbered without gaps");
            self.push(key);
            self.copies.push(0);
        }
        self.copies[row] += weight;
        (before, self.copies[row])
    }

    pub fn copies(&self, row: u32) -> i64 {
        self.copies.get(row as usize).copied().unwrap_or(1)
    }

    /// Whether a key has rows among the first `taken`, be it without copies.
    pub fn has_rows(&self, key: u32, taken: usize) -> bool {
        self.head(key).oldest < taken as u32
    }

    #[inline]
    fn head(&self, key: u32) -> ChainEnds {
        self.heads.get(key as usize).copied().unwrap_or(NO_ROWS)
    }

    /// The rows of a key that have copies, of the first `taken`, newest first.
    pub fn of_key(&self, key: u32, taken: usize) -> impl Iterator<Item = u32> + '_ {
        let mut next = self.head(key).newest;
        let rows = std::iter::from_fn(move || {
            let row = next;
            next = *self.before.get(row as usize)?;
            Some(row)
        });
        rows.filter(move |row| (*row as usize) < taken && self.copies(*row) != 0)
    }

    /// Pairs rows that have these keys with the first `taken` here, from a place on and up to `pairs_max` pairs. Whether some are left.
    pub fn meet(&self, keys: &[u32], taken: usize, place: &mut MeetPlace, pairs_max: usize, pairs: &mut Pairs) -> bool {
        let has_copies = !self.copies.is_empty();
        while place.row < keys.len() {
            let head = self.head(keys[place.row]);
            let mut next = place.next.take().unwrap_or(head.newest);
            while next != NONE {
                if pairs.own.len() == pairs_max {
                    place.next = Some(next);
                    return true;
                }
                let row = next;
                // The last of a chain needs no look at what is before it.
                next = match row == head.oldest {
                    true => NONE,
                    false => self.before[row as usize],
                };
                if row as usize >= taken {
                    continue;
                }
                if has_copies {
                    let copies = self.copies(row);
                    if copies == 0 {
                        continue;
                    }
                    pairs.copies.push(copies);
                }
                pairs.own.push(place.row as u32);
                pairs.other.push(row);
            }
            place.row += 1;
        }
        false
    }

    /// Keys that have rows, marked.
    pub fn mark_keys(&self, used: &mut [bool]) {
        for (used, head) in used.iter_mut().zip(&self.heads) {
            *used |= head.newest != NONE;
        }
    }

    /// Keys take new numbers below `keys`; [`u32::MAX`] for those without rows.
    pub fn renumber(&mut self, new_key: &[u32], keys: usize) {
        let mut heads = vec![NO_ROWS; keys];
        for (head, new_key) in self.heads.iter().zip(new_key) {
            if head.newest != NONE {
                heads[*new_key as usize] = *head;
            }
        }
        self.heads = heads;
    }

    /// Leaves only these rows, whose keys are given, with their copies.
    pub fn rebuild(&mut self, rows: &[u32], keys: &[u32]) {
        let copies = match self.copies.is_empty() {
            true => Vec::new(),
            false => rows.iter().map(|row| self.copies(*row)).collect(),
        };
        self.heads.clear();
        self.before.clear();
        keys.iter().for_each(|key| self.push(*key));
        self.copies = copies;
    }

    /// Notes that a step up to this LSN ends with so many rows.
    pub fn end(&mut self, lsn: Lsn, rows: usize) {
        match self.ends.iter().rev().find(|(end, _)| *end <= lsn) {
            Some((end, known)) if *end == lsn => {
                assert_eq!(*known, rows, "those who share rows take the same of them in a step");
            }
            _ => {
                // One that is behind may end where the others did not.
                if self.ends.back().is_none_or(|(end, _)| *end < lsn) {
                    self.ends.push_back((lsn, rows));
                }
            }
        }
        if self.ends.len() > ENDS_MAX {
            self.ends.pop_front();
        }
    }

    /// The rows up to an LSN, if a step ended there.
    pub fn rows_at(&self, lsn: Lsn) -> Option<usize> {
        let end = self.ends.iter().rev().find(|(end, _)| *end == lsn);
        end.map(|(_, rows)| *rows)
    }

    pub fn bytes(&self) -> usize {
        self.heads.capacity() * size_of::<ChainEnds>()
            + self.before.capacity() * size_of::<u32>()
            + self.copies.capacity() * size_of::<i64>()
    }
}
