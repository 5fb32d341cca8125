//! The first rows of each partition: LIMIT, OFFSET, FETCH FIRST, DISTINCT ON, and row_number(), rank() or dense_rank() up to a
//! number.
//!
//! One rule: the rows that are shown, with their numbers, are a function of the partition's rows in order; the walk ends
//! behind the last of them.

use std::cmp::Ordering;

use super::rows::{FirstRows, RowKey};

/// A column of numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ranking {
    RowNumber,
    Rank,
    DenseRank,
}

impl Ranking {
    pub fn of_name(name: &str) -> Option<Ranking> {
        match name {
            "row_number" => Some(Ranking::RowNumber),
            "rank" => Some(Ranking::Rank),
            "dense_rank" => Some(Ranking::DenseRank),
            _ => None,
        }
    }

    /// The rows whose number is at most `most`.
    pub fn first(self, most: i64) -> FirstRows {
        match self {
            Ranking::RowNumber => FirstRows::Numbered(most),
            Ranking::Rank => FirstRows::Ranked(most),
            Ranking::DenseRank => FirstRows::DenselyRanked(most),
        }
    }
}

#[derive(Clone, Debug)]
pub struct FirstSpec {
    /// All if there is no limit.
    pub first: Option<FirstRows>,
    /// So many rows are left out before.
    pub skip: i64,
    /// Columns behind those of the input.
    pub numbers: Vec<Ranking>,
}

/// A row that is shown, with a number for each column of them.
#[derive(Clone, Debug)]
pub struct ShownRow<'a> {
    pub row: &'a RowKey,
    /// Places of rows that differ in no column differ where they are shown.
    pub numbers: Vec<u64>,
    pub copies: i64,
}

impl FirstSpec {
    /// The rows that are shown of a partition.
    pub fn shown<'a>(&self, rows: impl Iterator<Item = (&'a RowKey, i64)>) -> Vec<ShownRow<'a>> {
        let mut shown = Vec::new();
        let each_alone = self.numbers.contains(&Ranking::RowNumber);
        // Rows before this one; the rank and the dense rank of this one.
        let (mut before, mut rank, mut dense) = (0, 0, 0);
        let mut peer: Option<&RowKey> = None;
        for (row, copies) in rows {
            if peer.is_none_or(|peer| peer.order() != row.order()) {
                rank = before + 1;
                dense += 1;
                peer = Some(row);
            }
            let wanted = match self.first {
                None => copies,
                Some(FirstRows::Numbered(most)) => copies.min(most - before),
                Some(FirstRows::Ranked(most)) if rank > most => 0,
                Some(FirstRows::DenselyRanked(most)) if dense > most => 0,
                Some(FirstRows::Ranked(_) | FirstRows::DenselyRanked(_)) => copies,
            };
            if wanted <= 0 {
                break;
            }
            let from = (self.skip - before).clamp(0, wanted);
            let mut show = |place: i64, copies: i64| {
                let number = |ranking: &Ranking| match ranking {
                    Ranking::RowNumber => before + place + 1,
                    Ranking::Rank => rank,
                    Ranking::DenseRank => dense,
                };
                let numbers = self.numbers.iter().map(|ranking| number(ranking) as u64);
                shown.push(ShownRow {
                    row,
                    numbers: numbers.collect(),
                    copies,
                });
            };
            match each_alone {
                true => (from..wanted).for_each(|place| show(place, 1)),
                false if from < wanted => show(from, wanted - from),
                false => {}
            }
            before += copies;
        }
        shown
    }
}

/// The change from one list of rows to another, both in order: copies are its weights.
pub fn change<'a>(old: Vec<ShownRow<'a>>, new: Vec<ShownRow<'a>>) -> Vec<ShownRow<'a>> {
    let mut changed = Vec::new();
    let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return changed,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.row.cmp(new.row).then_with(|| old.numbers.cmp(&new.numbers)),
        };
        let gone = old.next_if(|_| order != Ordering::Greater);
        let come = new.next_if(|_| order != Ordering::Less);
        let weight = come.as_ref().map_or(0, |row| row.copies) - gone.as_ref().map_or(0, |row| row.copies);
        if weight != 0
            && let Some(row) = come.or(gone)
        {
            changed.push(ShownRow { copies: weight, ..row });
        }
    }
}
