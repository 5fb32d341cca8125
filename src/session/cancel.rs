//! The wish to end the running statement, from another connection.
//!
//! One rule: a commit that has begun is not cancelled, so that 57014 always means that nothing was kept.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use crate::error::{SqlError, state};

#[derive(Default)]
pub struct Cancel {
    requested: AtomicBool,
    committing: AtomicBool,
    changed: Notify,
}

impl Cancel {
    /// Ends the statement that runs now, if one does.
    pub fn request(&self) {
        self.requested.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Resolves when the running statement shall end.
    pub async fn requested(&self) {
        loop {
            // Registered before the look at the flag, so that a request in between is not missed.
            let changed = self.changed.notified();
            if self.requested.load(Ordering::SeqCst) && !self.committing.load(Ordering::SeqCst) {
                return;
            }
            changed.await;
        }
    }

    pub fn error(&self) -> SqlError {
        SqlError::new(state::QUERY_CANCELED, "canceling statement due to user request")
    }

    /// A new statement: what was asked of the one before does not concern it.
    pub(super) fn reset(&self) {
        self.requested.store(false, Ordering::SeqCst);
    }

    /// From here on the statement is not cancelled.
    pub(super) fn committing(&self, committing: bool) {
        self.committing.store(committing, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    pub(super) fn is_committing(&self) -> bool {
        self.committing.load(Ordering::SeqCst)
    }
}
