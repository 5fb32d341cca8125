//! Advisory locks: `pg_advisory_lock(key)` and its kind, by which clients agree among themselves.
//!
//! One rule: a lock is held as often as it was taken: by a session until it gives it back or ends, by a transaction until
//! that ends. They are this server's own and are not kept over a restart.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Session;
use crate::catalog::system::AdvisoryLockState;
use crate::error::{SqlError, SqlState, state};
use crate::sql::effects::{Action, Advisory};
use crate::sql::functions::RowLocks;

/// 40P01
const DEADLOCK: SqlState = SqlState("40P01");
/// Locks that all sessions hold together.
const LOCKS_MAX: usize = 1 << 20;

/// The identity of a lock. Keys of one number and of two are apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum LockKey {
    One(i64),
    Two(i32, i32),
}

#[derive(Debug)]
struct Hold {
    session: i32,
    shared: bool,
    of_transaction: bool,
    times: u32,
}

impl Hold {
    fn is_in_the_way(&self, session: i32, shared: bool) -> bool {
        self.session != session && !(shared && self.shared)
    }
}

#[derive(Default)]
struct Locks {
    held: HashMap<LockKey, Vec<Hold>>,
    /// The lock that each session waits for.
    waiting: HashMap<i32, (LockKey, bool)>,
}

impl Locks {
    fn holders(&self, key: LockKey, session: i32, shared: bool) -> impl Iterator<Item = i32> {
        let holds = self.held.get(&key).into_iter().flatten();
        holds
            .filter(move |hold| hold.is_in_the_way(session, shared))
            .map(|hold| hold.session)
    }

    /// Whether somebody whom the session would wait for waits for it.
    fn is_deadlock(&self, session: i32, key: LockKey, shared: bool) -> bool {
        let mut open: Vec<i32> = self.holders(key, session, shared).collect();
        let mut seen = Vec::new();
        while let Some(other) = open.pop() {
            if other == session {
                return true;
            }
            if !seen.contains(&other)
                && let Some((key, shared)) = self.waiting.get(&other)
            {
                seen.push(other);
                open.extend(self.holders(*key, other, *shared));
            }
        }
        false
    }
}

/// All advisory locks of the server.
#[derive(Default)]
pub(super) struct AdvisoryLocks {
    locks: Mutex<Locks>,
    released: Notify,
}

impl AdvisoryLocks {
    fn try_take(&self, key: LockKey, session: i32, of: Advisory) -> Result<bool, SqlError> {
        let mut locks = self.locks.lock();
        if locks.holders(key, session, of.shared).next().is_some() {
            return Ok(false);
        }
        if locks.held.len() >= LOCKS_MAX {
            return Err(SqlError::new(state::OUT_OF_MEMORY, "out of shared memory").hint("Release advisory locks."));
        }
        let holds = locks.held.entry(key).or_default();
        let own = holds.iter_mut().find(|hold| {
            hold.session == session && hold.shared == of.shared && hold.of_transaction == of.of_transaction
        });
        match own {
            Some(own) => own.times += 1,
            None => holds.push(Hold {
                session,
                shared: of.shared,
                of_transaction: of.of_transaction,
                times: 1,
            }),
        }
        Ok(true)
    }

    /// 40P01 if the session would wait for itself.
    async fn take(&self, key: LockKey, session: i32, of: Advisory) -> Result<(), SqlError> {
        // A statement that is cancelled waits no longer.
        let _waits = Waits { all: self, session };
        loop {
            let released = self.released.notified();
            tokio::pin!(released);
            released.as_mut().enable();
            if self.try_take(key, session, of)? {
                return Ok(());
            }
            {
                let mut locks = self.locks.lock();
                if locks.is_deadlock(session, key, of.shared) {
                    return Err(SqlError::new(DEADLOCK, "deadlock detected")
                        .detail("Sessions wait for each other's advisory locks."));
                }
                locks.waiting.insert(session, (key, of.shared));
            }
            released.await;
        }
    }

    /// Gives a lock of the session back once; whether it held it.
    fn give(&self, key: LockKey, session: i32, shared: bool) -> bool {
        let mut locks = self.locks.lock();
        let Some(holds) = locks.held.get_mut(&key) else {
            return false;
        };
        let own = holds
            .iter_mut()
            .find(|hold| hold.session == session && hold.shared == shared && !hold.of_transaction);
        let Some(own) = own else { return false };
        own.times -= 1;
        holds.retain(|hold| hold.times > 0);
        if holds.is_empty() {
            locks.held.remove(&key);
        }
        drop(locks);
        self.released.notify_waiters();
        true
    }

    /// All that are held or waited for, as `pg_locks` shows them.
    pub(super) fn all(&self) -> Vec<AdvisoryLockState> {
        let locks = self.locks.lock();
        let state = |key: LockKey, pid: i32, is_shared: bool, is_granted: bool| {
            let (key, is_one_number) = match key {
                LockKey::One(key) => (((key >> 32) as u32, key as u32), true),
                LockKey::Two(first, second) => ((first as u32, second as u32), false),
            };
            AdvisoryLockState {
                key,
                is_one_number,
                pid,
                is_shared,
                is_granted,
            }
        };
        let mut all: Vec<AdvisoryLockState> = Vec::new();
        for (key, holds) in &locks.held {
            let first = all.len();
            for hold in holds {
                let shown = state(*key, hold.session, hold.shared, true);
                // Of a session and of its transaction, it is held once.
                let same = |other: &AdvisoryLockState| (other.pid, other.is_shared) == (shown.pid, shown.is_shared);
                if !all[first..].iter().any(same) {
                    all.push(shown);
                }
            }
        }
        let waiting = locks.waiting.iter();
        all.extend(waiting.map(|(pid, (key, shared))| state(*key, *pid, *shared, false)));
        all
    }

    fn drop_holds(&self, goes: impl Fn(&Hold) -> bool) {
        let mut locks = self.locks.lock();
        if locks.held.is_empty() {
            return;
        }
        locks.held.retain(|_, holds| {
            holds.retain(|hold| !goes(hold));
            !holds.is_empty()
        });
        drop(locks);
        self.released.notify_waiters();
    }

    /// The session ends.
    pub fn leave(&self, session: i32) {
        self.drop_holds(|hold| hold.session == session);
    }

    /// Gives up the session's own locks; those of its transaction stay.
    pub fn give_all(&self, session: i32) {
        self.drop_holds(|hold| hold.session == session && !hold.of_transaction);
    }

    pub fn end_transaction(&self, session: i32) {
        self.drop_holds(|hold| hold.session == session && hold.of_transaction);
    }
}

/// The session is known as one that waits until this goes.
struct Waits<'a> {
    all: &'a AdvisoryLocks,
    session: i32,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.all.locks.lock().waiting.remove(&self.session);
    }
}

/// 22P02 or 22003 for text that is no such number; `None` if one is NULL.
fn key(arguments: &[Option<String>]) -> Result<Option<LockKey>, SqlError> {
    fn number<T: std::str::FromStr>(text: &str, kind: &str) -> Result<T, SqlError> {
        text.trim().parse().map_err(|_| {
            let digits = text.trim().trim_start_matches('-');
            match !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
                true => SqlError::new(state::NUMERIC_VALUE_OUT_OF_RANGE, format!("{kind} out of range")),
                false => SqlError::new(
                    state::INVALID_TEXT_REPRESENTATION,
                    format!("invalid input syntax for type {kind}: \"{text}\""),
                ),
            }
        })
    }
    Ok(match arguments {
        [Some(one)] => Some(LockKey::One(number(one, "bigint")?)),
        [Some(first), Some(second)] => Some(LockKey::Two(number(first, "integer")?, number(second, "integer")?)),
        _ => None,
    })
}

impl Session {
    /// Calls a function of advisory locks; `None` is its NULL.
    pub(super) async fn advisory(
        &mut self,
        of: Advisory,
        arguments: &[Option<String>],
    ) -> Result<Option<bool>, SqlError> {
        let session = self.id();
        let engine = self.engine.clone();
        let locks = &engine.advisory;
        if of.action == Action::GiveAll {
            locks.give_all(session);
            return Ok(None);
        }
        let Some(key) = key(arguments)? else { return Ok(None) };
        if of.of_transaction {
            self.begin_advisory_locks();
        }
        match of.action {
            Action::Take => {
                let cancel = self.cancel.clone();
                cancel.bounds(locks.take(key, session, of)).await?;
                Ok(None)
            }
            Action::Try => locks.try_take(key, session, of).map(Some),
            Action::Give | Action::GiveAll => {
                let held = locks.give(key, session, of.shared);
                if !held {
                    let kind = if of.shared { "ShareLock" } else { "ExclusiveLock" };
                    let message = format!("you don't own a lock of type {kind}");
                    self.warn(SqlState("01000"), message);
                }
                Ok(Some(held))
            }
        }
    }

    /// A lock may be taken that the end of the transaction gives back.
    pub(super) fn begin_advisory_locks(&mut self) {
        self.transaction();
        self.has_advisory_locks = true;
    }

    /// The functions that answer for each row of a relation, in a statement of this session.
    pub(super) fn locks(&self) -> RowLocks {
        let (engine, session) = (self.engine.clone(), self.id());
        Arc::new(move |of, key| {
            let key = match key {
                [one] => LockKey::One(*one),
                [first, second] => LockKey::Two(*first as i32, *second as i32),
                _ => unreachable!("a key has one number or two"),
            };
            match of.action {
                Action::Give => Ok(engine.advisory.give(key, session, of.shared)),
                _ => engine.advisory.try_take(key, session, of),
            }
        })
    }

    /// The transaction releases its locks.
    pub(super) fn end_advisory_locks(&mut self) {
        if std::mem::take(&mut self.has_advisory_locks) {
            self.engine.advisory.end_transaction(self.id());
        }
    }
}
