//! The times of commits: which moment the log had reached at an LSN.
//!
//! One rule: the time of an LSN never falls as the LSN grows. Commits of one group have one time.

use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::RwLock;

use super::Lsn;

/// So many groups are known exactly; of those before, fewer and fewer.
const EXACT: usize = 1 << 16;

pub struct CommitTimes {
    /// Of the newest group, microseconds.
    newest_us: AtomicI64,
    /// The last LSN of each group and its time; not of all groups, far back.
    groups: RwLock<Vec<(Lsn, i64)>>,
}

impl CommitTimes {
    /// `newest` is the newest commit of the log as it is opened.
    pub fn new(newest: Lsn, time_us: i64) -> CommitTimes {
        CommitTimes {
            newest_us: AtomicI64::new(time_us),
            groups: RwLock::new(vec![(newest, time_us)]),
        }
    }

    /// A group ended with `last`, before that is published.
    pub fn note(&self, last: Lsn, time_us: i64) {
        self.newest_us.store(time_us, Ordering::Release);
        let mut groups = self.groups.write();
        let (before, before_us) = *groups.last().expect("one is there from the beginning");
        assert!(
            before < last && before_us <= time_us,
            "commits come in the order of their times"
        );
        groups.push((last, time_us));
        if groups.len() >= 2 * EXACT {
            // Every second one of the older half: its commits count to the group behind it.
            let mut index = 0;
            groups.retain(|_| {
                index += 1;
                index > EXACT || index % 2 == 0
            });
        }
    }

    /// Of the newest group, microseconds.
    pub fn newest_us(&self) -> i64 {
        self.newest_us.load(Ordering::Acquire)
    }

    /// The time of the commit at `at`, which is published; of one far back that of a somewhat later one, of those before the log
    /// was opened that of the newest of them.
    pub fn at(&self, at: Lsn) -> i64 {
        let groups = self.groups.read();
        let group = groups.partition_point(|(last, _)| *last < at);
        let known = groups.get(group).or(groups.last());
        known.expect("one is there from the beginning").1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_has_the_time_of_its_group() {
        let times = CommitTimes::new(5, 50);
        times.note(7, 70);
        times.note(8, 70);
        times.note(9, 95);
        let at: Vec<i64> = [0, 5, 6, 7, 8, 9].iter().map(|lsn| times.at(*lsn)).collect();
        assert_eq!(at, [50, 50, 70, 70, 70, 95]);
    }

    #[test]
    fn times_far_back_are_those_of_later_groups() {
        let times = CommitTimes::new(0, 0);
        let newest = 5 * EXACT as i64;
        (1..=newest).for_each(|group| times.note(group as Lsn, group));
        assert!(times.groups.read().len() < 2 * EXACT, "they are bounded");
        assert_eq!(times.at(newest as Lsn), newest);
        assert_eq!(times.at(newest as Lsn - 1000), newest - 1000);
        let mut before = 0;
        for lsn in (1..=newest).step_by(997) {
            let time = times.at(lsn as Lsn);
            assert!(time >= lsn && time >= before);
            before = time;
        }
    }
}
