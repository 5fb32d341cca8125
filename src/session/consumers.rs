//! [`Consumers`]: the sessions that consume from each consumer group, and the partitions that each of them has.
//!
//! One rule: a partition is one member's at a time. That is a courtesy, not what keeps rows from being consumed twice: the log
//! refuses offsets that are not where a commit goes on from. So a member that is silent may lose its partitions at any time.
//!
//! Members keep as many of their partitions as they may have when others come and go. A member is silent if it neither consumes
//! nor waits for rows; after [`SILENCE_US`] its partitions are given to others.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::log::GroupChange;

/// Time after which a silent member loses its partitions, microseconds.
pub const SILENCE_US: i64 = 30_000_000;

/// A member of a group, for those that look at it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberState {
    pub session: i32,
    pub partitions: Vec<u32>,
}

/// A member's share, as of a moment.
#[derive(PartialEq, Eq, Debug)]
pub struct MemberShare {
    pub partitions: Vec<u32>,
    /// Changes when the group is set to other offsets.
    pub seeks: u64,
    /// When another member will have been silent for too long, unless it is heard of; by the monotonic clock, microseconds.
    pub silent_at_us: Option<i64>,
}

struct GroupMember {
    session: i32,
    seen_us: i64,
    /// It waits for rows.
    waits: bool,
}

#[derive(Default)]
struct GroupMembers {
    members: Vec<GroupMember>,
    /// By partition: its member's session.
    owners: Vec<Option<i32>>,
    seeks: u64,
}

impl GroupMembers {
    /// Gives every partition to a member, as evenly as can be, and as few as can be to another one than before.
    fn balance(&mut self) {
        let is_member = |session: &i32| self.members.iter().any(|member| member.session == *session);
        for owner in &mut self.owners {
            *owner = owner.filter(is_member);
        }
        if self.members.is_empty() {
            return;
        }
        let count =
            |owners: &[Option<i32>], session: i32| owners.iter().filter(|owner| **owner == Some(session)).count();
        let mut sessions: Vec<i32> = self.members.iter().map(|member| member.session).collect();
        // Those with the most keep one more than others, where there are more for some.
        sessions.sort_by_key(|session| std::cmp::Reverse(count(&self.owners, *session)));
        let (least, more) = (self.owners.len() / sessions.len(), self.owners.len() % sessions.len());
        let quotas: Vec<(i32, usize)> = sessions
            .into_iter()
            .enumerate()
            .map(|(place, session)| (session, least + usize::from(place < more)))
            .collect();
        for (session, quota) in &quotas {
            let own = self.owners.iter_mut().filter(|owner| **owner == Some(*session));
            own.skip(*quota).for_each(|owner| *owner = None);
        }
        for (session, quota) in &quotas {
            let missing = quota - count(&self.owners, *session);
            let free = self.owners.iter_mut().filter(|owner| owner.is_none());
            free.take(missing).for_each(|owner| *owner = Some(*session));
        }
    }
}

/// By group's OID.
pub struct Consumers {
    groups: Mutex<HashMap<u32, GroupMembers>>,
    /// Counts up when a member may have got other partitions or offsets.
    changes: watch::Sender<u64>,
}

impl Default for Consumers {
    fn default() -> Consumers {
        Consumers {
            groups: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }
}

impl Consumers {
    /// A session consumes from a group, or goes on to: its share of the partitions. It is heard of until it is [`Consumers::done`].
    pub fn join(&self, group: u32, session: i32, partitions: u32, now_us: i64) -> MemberShare {
        let mut groups = self.groups.lock();
        let group = groups.entry(group).or_default();
        let before = group.owners.clone();
        group.members.retain(|member| {
            member.session == session || member.waits || now_us.saturating_sub(member.seen_us) < SILENCE_US
        });
        match group.members.iter_mut().find(|member| member.session == session) {
            Some(member) => (member.seen_us, member.waits) = (now_us, true),
            None => group.members.push(GroupMember {
                session,
                seen_us: now_us,
                waits: true,
            }),
        }
        group.owners.resize(partitions as usize, None);
        group.balance();
        if group.owners != before {
            self.changes.send_modify(|changes| *changes += 1);
        }
        let own = (0..).zip(&group.owners).filter(|(_, owner)| **owner == Some(session));
        let silent = group.members.iter().filter(|member| !member.waits);
        MemberShare {
            partitions: own.map(|(partition, _)| partition).collect(),
            seeks: group.seeks,
            silent_at_us: silent.map(|member| member.seen_us + SILENCE_US).min(),
        }
    }

    /// A member has its rows: from now on it is silent until it consumes again.
    pub fn done(&self, group: u32, session: i32, now_us: i64) {
        let mut groups = self.groups.lock();
        let members = groups.get_mut(&group).into_iter().flat_map(|group| &mut group.members);
        for member in members.filter(|member| member.session == session) {
            (member.seen_us, member.waits) = (now_us, false);
        }
    }

    /// A session has ended.
    pub fn leave(&self, session: i32) {
        let mut groups = self.groups.lock();
        let mut changed = false;
        groups.retain(|_, group| {
            let members = group.members.len();
            group.members.retain(|member| member.session != session);
            if group.members.len() < members {
                group.balance();
                changed = true;
            }
            // The count of its seeks is known to members alone.
            !group.members.is_empty()
        });
        if changed {
            self.changes.send_modify(|changes| *changes += 1);
        }
    }

    /// A commit has changed groups.
    pub fn changed(&self, changes: &[GroupChange]) {
        for change in changes {
            match change {
                GroupChange::Commit { .. } => {}
                GroupChange::Seek { group, .. } => self.sought(group.0),
                GroupChange::Forget { group } => self.forget(group.0),
            }
        }
    }

    /// The group has been set to other offsets.
    fn sought(&self, group: u32) {
        if let Some(group) = self.groups.lock().get_mut(&group) {
            group.seeks += 1;
            self.changes.send_modify(|changes| *changes += 1);
        }
    }

    /// The group has been dropped.
    fn forget(&self, group: u32) {
        if self.groups.lock().remove(&group).is_some() {
            self.changes.send_modify(|changes| *changes += 1);
        }
    }

    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The members of a group, by session.
    pub fn members(&self, group: u32) -> Vec<MemberState> {
        let groups = self.groups.lock();
        let Some(group) = groups.get(&group) else {
            return Vec::new();
        };
        let of = |session: i32| {
            let own = (0..)
                .zip(&group.owners)
                .filter(move |(_, owner)| **owner == Some(session));
            own.map(|(partition, _)| partition).collect()
        };
        let members = group.members.iter().map(|member| MemberState {
            session: member.session,
            partitions: of(member.session),
        });
        let mut members: Vec<MemberState> = members.collect();
        members.sort_by_key(|member| member.session);
        members
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(consumers: &Consumers) -> Vec<(i32, Vec<u32>)> {
        let members = consumers.members(1).into_iter();
        members.map(|member| (member.session, member.partitions)).collect()
    }

    #[test]
    fn members_keep_their_partitions_when_others_come_and_go() {
        let consumers = Consumers::default();
        assert_eq!(consumers.join(1, 10, 5, 0).partitions, [0, 1, 2, 3, 4]);
        assert_eq!(consumers.join(1, 11, 5, 0).partitions, [3, 4]);
        assert_eq!(consumers.join(1, 10, 5, 0).partitions, [0, 1, 2]);
        assert_eq!(consumers.join(1, 12, 5, 0).partitions, [2]);
        assert_eq!(shares(&consumers), [(10, vec![0, 1]), (11, vec![3, 4]), (12, vec![2])]);
        consumers.leave(10);
        assert_eq!(shares(&consumers), [(11, vec![0, 3, 4]), (12, vec![1, 2])]);
        // The topic has got more partitions; and more members than these.
        assert_eq!(consumers.join(1, 12, 6, 0).partitions, [1, 2, 5]);
        for session in 13..20 {
            consumers.join(1, session, 6, 0);
        }
        let all = shares(&consumers);
        assert!(all.iter().all(|(_, own)| own.len() <= 1));
        assert_eq!(all.iter().map(|(_, own)| own.len()).sum::<usize>(), 6);
    }

    #[test]
    fn a_silent_member_loses_its_partitions_and_one_that_waits_does_not() {
        let consumers = Consumers::default();
        consumers.join(1, 10, 2, 0);
        assert_eq!(consumers.join(1, 11, 2, SILENCE_US * 2).partitions, [1], "it waits");
        consumers.done(1, 10, SILENCE_US * 2);
        let share = consumers.join(1, 11, 2, SILENCE_US * 3 - 1);
        assert_eq!((share.partitions, share.silent_at_us), (vec![1], Some(SILENCE_US * 3)));
        let share = consumers.join(1, 11, 2, SILENCE_US * 3);
        assert_eq!((share.partitions, share.silent_at_us), (vec![0, 1], None));
        assert_eq!(consumers.join(1, 10, 2, SILENCE_US * 3).partitions, [1]);
    }

    #[test]
    fn members_hear_of_changes() {
        let consumers = Consumers::default();
        let mut changes = consumers.subscribe();
        let mut has_changed = || {
            let changed = changes.has_changed().expect("it is there");
            changes.mark_unchanged();
            changed
        };
        let first = consumers.join(1, 10, 2, 0);
        assert!(has_changed());
        assert_eq!(consumers.join(1, 10, 2, 5), first);
        assert!(!has_changed());
        consumers.join(1, 11, 2, 5);
        assert!(has_changed());
        consumers.sought(1);
        assert!(has_changed());
        assert_eq!(consumers.join(1, 10, 2, 5).seeks, first.seeks + 1);
        consumers.leave(11);
        assert!(has_changed());
        consumers.forget(1);
        assert!(has_changed());
        assert!(consumers.members(1).is_empty());
    }
}
