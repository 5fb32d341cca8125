//! [`GroupOffsets`]: the offset of each partition up to which a consumer group has consumed.
//!
//! One rule: a commit of offsets names where it goes on from, and is refused unless the group stands there: so two that consumed
//! the same rows cannot both commit them.
//!
//! The sequencer decides by one copy, which is ahead; the other has what is published.

use std::collections::BTreeMap;

use super::{LogError, Lsn};

/// A consumer group's identity: its catalog OID. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct GroupId(pub u32);

/// A change of a consumer group's offsets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GroupChange {
    /// The rows `from..to` of a partition were consumed.
    Commit {
        group: GroupId,
        partition: u32,
        from: u64,
        to: u64,
    },
    /// The group goes on at this offset, wherever it stands.
    Seek { group: GroupId, partition: u32, to: u64 },
    /// It is dropped.
    Forget { group: GroupId },
}

/// By group: partitions and their next offsets.
pub type KnownOffsets = Vec<(u32, Vec<(u32, u64)>)>;

/// By group and partition: the next offset to be consumed. A partition that is not known stands at 0.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct GroupOffsets {
    groups: BTreeMap<GroupId, BTreeMap<u32, u64>>,
}

impl GroupOffsets {
    pub fn of(&self, group: GroupId, partition: u32) -> u64 {
        let offsets = self.groups.get(&group);
        offsets
            .and_then(|offsets| offsets.get(&partition))
            .copied()
            .unwrap_or(0)
    }

    /// Whether the group stands where each commit goes on from.
    pub fn check(&self, changes: &[GroupChange]) -> Result<(), LogError> {
        for change in changes {
            if let GroupChange::Commit {
                group, partition, from, ..
            } = change
                && self.of(*group, *partition) != *from
            {
                let (group, partition) = (*group, *partition);
                return Err(LogError::StaleOffsets { group, partition });
            }
        }
        Ok(())
    }

    pub fn apply(&mut self, change: &GroupChange) {
        match change {
            GroupChange::Commit {
                group, partition, to, ..
            }
            | GroupChange::Seek { group, partition, to } => {
                self.groups.entry(*group).or_default().insert(*partition, *to);
            }
            GroupChange::Forget { group } => drop(self.groups.remove(group)),
        }
    }

    /// All that is known: group, and partition and offset.
    pub fn all(&self) -> KnownOffsets {
        let groups = self.groups.iter();
        let of = |offsets: &BTreeMap<u32, u64>| {
            offsets
                .iter()
                .map(|(partition, offset)| (*partition, *offset))
                .collect()
        };
        groups.map(|(group, offsets)| (group.0, of(offsets))).collect()
    }
}

impl FromIterator<(u32, Vec<(u32, u64)>)> for GroupOffsets {
    fn from_iter<I: IntoIterator<Item = (u32, Vec<(u32, u64)>)>>(known: I) -> GroupOffsets {
        let groups = known.into_iter();
        let groups = groups.map(|(group, offsets)| (GroupId(group), offsets.into_iter().collect()));
        GroupOffsets {
            groups: groups.collect(),
        }
    }
}

/// A group's change in a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupBlock {
    pub lsn: Lsn,
    pub change: GroupChange,
}
