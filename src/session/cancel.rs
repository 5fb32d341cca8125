//! Cancellation of the running statement from outside: by another connection's request, `pg_cancel_backend`,
//! `pg_terminate_backend`, the statement's time limit, or the server's stop.
//!
//! One rule: a commit that has begun is not cancelled, so that 57014 always means that nothing was kept.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::error::{SqlError, state};

const NOTHING: u8 = 0;
const BY_USER: u8 = 1;
const BY_STOP: u8 = 2;

/// Why a session ends that shall end.
pub fn terminated() -> SqlError {
    SqlError::new(
        state::ADMIN_SHUTDOWN,
        "terminating connection due to administrator command",
    )
}

#[derive(Default)]
pub struct Cancel {
    requested: AtomicU8,
    committing: AtomicBool,
    changed: Notify,
    /// When `statement_timeout` is over.
    deadline: Mutex<Option<Instant>>,
    /// It was over while a commit was under way.
    late: AtomicBool,
}

impl Cancel {
    /// Ends the statement that runs now, if one does.
    pub fn request(&self) {
        // The server's stop stands: the next statement will not run either.
        let _ = self
            .requested
            .compare_exchange(NOTHING, BY_USER, Ordering::SeqCst, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// The server stops, or somebody terminates the session: ends the statement that runs now, and every later one.
    pub fn stop(&self) {
        self.requested.store(BY_STOP, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    pub fn is_stopped(&self) -> bool {
        self.requested.load(Ordering::SeqCst) == BY_STOP
    }

    /// Resolves when the session shall end.
    pub async fn stopped(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_stopped() {
                return;
            }
            changed.await;
        }
    }

    /// Resolves when the running statement shall end, with the error that tells why.
    pub async fn requested(&self) -> SqlError {
        loop {
            // Registered before the look at the flag, so that a request in between is not missed.
            let changed = self.changed.notified();
            if !self.committing.load(Ordering::SeqCst)
                && let Some(error) = self.asked()
            {
                return error;
            }
            let deadline = *self.deadline.lock();
            match deadline {
                None => changed.await,
                Some(deadline) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(deadline) => {
                        if !self.committing.load(Ordering::SeqCst) {
                            return timed_out();
                        }
                        // The commit ends by itself.
                        *self.deadline.lock() = None;
                        self.late.store(true, Ordering::SeqCst);
                        self.changed.notify_waiters();
                    }
                },
            }
        }
    }

    /// Runs `work` to its end, or until it shall end before.
    pub(super) async fn bounds<T>(&self, work: impl Future<Output = Result<T, SqlError>>) -> Result<T, SqlError> {
        tokio::pin!(work);
        tokio::select! {
            biased;
            result = &mut work => result,
            error = self.requested() => Err(error),
        }
    }

    /// As [`Cancel::requested`], for work that can still be taken back after the statement's commit.
    pub(super) async fn requested_after_commit(&self) -> SqlError {
        loop {
            let changed = self.changed.notified();
            if let Some(error) = self.asked() {
                return error;
            }
            if self.late.load(Ordering::SeqCst) {
                return timed_out();
            }
            let deadline = *self.deadline.lock();
            match deadline {
                None => changed.await,
                Some(deadline) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(deadline) => return timed_out(),
                },
            }
        }
    }

    fn asked(&self) -> Option<SqlError> {
        match self.requested.load(Ordering::SeqCst) {
            NOTHING => None,
            BY_STOP => Some(terminated()),
            _ => Some(SqlError::new(
                state::QUERY_CANCELED,
                "canceling statement due to user request",
            )),
        }
    }

    /// A new statement with its time limit: requests to the one before do not concern it.
    pub(super) fn reset(&self, limit: Option<Duration>) {
        let _ = self
            .requested
            .compare_exchange(BY_USER, NOTHING, Ordering::SeqCst, Ordering::SeqCst);
        self.late.store(false, Ordering::SeqCst);
        *self.deadline.lock() = limit.map(|limit| Instant::now() + limit);
    }

    /// From here on the statement is not cancelled.
    pub(super) fn committing(&self, committing: bool) {
        self.committing.store(committing, Ordering::SeqCst);
        self.changed.notify_waiters();
    }
}

fn timed_out() -> SqlError {
    SqlError::new(state::QUERY_CANCELED, "canceling statement due to statement timeout")
}
