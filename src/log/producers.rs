//! [`Producers`]: the newest transactions of each producer, so that one that is sent again is not made again.
//!
//! One rule: the sequences of a producer rise by one; its newest transactions are known by their outcome, and every other
//! one is refused. The first that is known of a producer may have any sequence.
//!
//! The sequencer decides by it and recovery rebuilds it: from the metadata image, and from the commits after that.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{LogError, Lsn};

/// Bytes of a producer's name, at most.
pub const PRODUCER_BYTES_MAX: usize = 255;
/// Transactions of a producer whose outcomes are known.
const OUTCOMES: usize = 5;
/// Producers that are known; of more than these, those that have been silent the longest are forgotten.
const PRODUCERS_MAX: usize = 100_000;

/// The place of a transaction among those of its producer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProducerStamp {
    /// 1 to [`PRODUCER_BYTES_MAX`] bytes.
    pub producer: Arc<str>,
    pub sequence: u64,
}

/// The outcome of a producer's transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Produced {
    pub sequence: u64,
    pub lsn: Lsn,
    /// That it appended.
    pub rows: u64,
}

/// Producers by name, and the newest transactions of each.
pub type KnownProducers = Vec<(String, Vec<Produced>)>;

/// Of each producer its newest transactions, by rising sequence and LSN.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Producers {
    outcomes: HashMap<Arc<str>, VecDeque<Produced>>,
}

impl Producers {
    /// Whether the transaction comes next; [`LogError::Repeated`] if it is there.
    pub fn check(&self, stamp: &ProducerStamp) -> Result<(), LogError> {
        if let Some(first) = self.outcome(stamp) {
            return Err(LogError::Repeated { first });
        }
        let Some(known) = self.outcomes.get(&stamp.producer) else {
            return Ok(());
        };
        match (known.front(), known.back()) {
            (Some(oldest), Some(newest)) if newest.sequence.checked_add(1) != Some(stamp.sequence) => {
                Err(LogError::OutOfSequence {
                    stamp: stamp.clone(),
                    known: (oldest.sequence, newest.sequence),
                })
            }
            _ => Ok(()),
        }
    }

    /// The outcome of a transaction that is known.
    pub fn outcome(&self, stamp: &ProducerStamp) -> Option<Produced> {
        let known = self.outcomes.get(&stamp.producer)?;
        known.iter().find(|known| known.sequence == stamp.sequence).copied()
    }

    /// Takes a transaction in order.
    pub fn note(&mut self, producer: Arc<str>, outcome: Produced) {
        let known = self.outcomes.entry(producer).or_default();
        known.push_back(outcome);
        if known.len() > OUTCOMES {
            known.pop_front();
        }
    }

    /// Those of transactions up to an LSN, by name. The producers that have been silent the longest are forgotten for good if
    /// there are too many.
    pub fn upto(&mut self, lsn: Lsn) -> KnownProducers {
        self.forget(PRODUCERS_MAX);
        self.known(lsn)
    }

    /// Those of transactions up to an LSN, by name.
    pub fn known(&self, lsn: Lsn) -> KnownProducers {
        let of = |known: &VecDeque<Produced>| {
            known
                .iter()
                .filter(|known| known.lsn <= lsn)
                .copied()
                .collect::<Vec<Produced>>()
        };
        let all = self
            .outcomes
            .iter()
            .map(|(producer, known)| (producer.to_string(), of(known)));
        let mut all: Vec<(String, Vec<Produced>)> = all.filter(|(_, known)| !known.is_empty()).collect();
        all.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        all
    }

    /// Keeps no more than this many producers.
    fn forget(&mut self, producers: usize) {
        if self.outcomes.len() <= producers {
            return;
        }
        let newest = |known: &VecDeque<Produced>| known.back().map_or(0, |newest| newest.lsn);
        let mut lsns: Vec<Lsn> = self.outcomes.values().map(newest).collect();
        // LSNs are unique: as many are left as are wanted.
        let (_, least, _) = lsns.select_nth_unstable_by(producers, |a, b| b.cmp(a));
        let least = *least;
        self.outcomes.retain(|_, known| newest(known) > least);
    }
}

impl FromIterator<(String, Vec<Produced>)> for Producers {
    fn from_iter<I: IntoIterator<Item = (String, Vec<Produced>)>>(known: I) -> Producers {
        let known = known
            .into_iter()
            .map(|(producer, known)| (producer.into(), known.into()));
        Producers {
            outcomes: known.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(producer: &str, sequence: u64) -> ProducerStamp {
        ProducerStamp {
            producer: producer.into(),
            sequence,
        }
    }

    fn outcome(sequence: u64, lsn: Lsn) -> Produced {
        Produced { sequence, lsn, rows: 1 }
    }

    #[test]
    fn the_next_is_taken_the_newest_are_known_and_others_refused() {
        let mut producers = Producers::default();
        assert_eq!(producers.check(&stamp("a", 41)), Ok(()));
        for (lsn, sequence) in (10..).zip(41..48) {
            assert_eq!(producers.check(&stamp("a", sequence)), Ok(()));
            producers.note("a".into(), outcome(sequence, lsn));
        }
        for (lsn, sequence) in (12..).zip(43..48) {
            let first = outcome(sequence, lsn);
            assert_eq!(
                producers.check(&stamp("a", sequence)),
                Err(LogError::Repeated { first })
            );
        }
        for sequence in [0, 42, 49, u64::MAX] {
            let stamp = stamp("a", sequence);
            let refused = LogError::OutOfSequence {
                stamp: stamp.clone(),
                known: (43, 47),
            };
            assert_eq!(producers.check(&stamp), Err(refused));
        }
        assert_eq!(producers.check(&stamp("b", 0)), Ok(()));
    }

    #[test]
    fn nothing_comes_after_the_last_sequence() {
        let mut producers = Producers::default();
        producers.note("a".into(), outcome(u64::MAX, 1));
        assert!(producers.check(&stamp("a", 0)).is_err());
    }

    #[test]
    fn an_image_has_what_was_there_at_its_lsn() {
        let mut producers = Producers::default();
        producers.note("b".into(), outcome(1, 1));
        producers.note("a".into(), outcome(7, 2));
        producers.note("a".into(), outcome(8, 3));
        assert_eq!(producers.known(0), []);
        let known = producers.upto(2);
        assert_eq!(
            known,
            [
                ("a".to_string(), vec![outcome(7, 2)]),
                ("b".to_string(), vec![outcome(1, 1)])
            ]
        );
        let again: Producers = producers.upto(3).into_iter().collect();
        assert_eq!(again, producers);
    }

    #[test]
    fn those_that_were_silent_the_longest_are_forgotten() {
        let mut producers = Producers::default();
        for lsn in 1..=10u64 {
            producers.note(format!("p{lsn}").into(), outcome(0, lsn));
        }
        producers.note("p1".into(), outcome(1, 11));
        producers.forget(3);
        let left = producers.known(11).into_iter().map(|(producer, _)| producer);
        assert_eq!(left.collect::<Vec<_>>(), ["p1", "p10", "p9"]);
    }
}
