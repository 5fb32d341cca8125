//! Cancel requests: which running statement one means.
//!
//! A request comes on a connection of its own, with the number and the secret that the session was told at its start.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::session::Cancel;

#[derive(Default)]
pub(super) struct Cancels {
    by_session: Mutex<HashMap<i32, (i32, Arc<Cancel>)>>,
}

impl Cancels {
    /// The secret of a new session.
    #[allow(
        clippy::disallowed_methods,
        reason = "a secret must not be predictable, by a test's seed neither"
    )]
    pub fn register(&self, session: i32, cancel: Arc<Cancel>) -> i32 {
        let secret = rand::random::<i32>();
        self.by_session.lock().insert(session, (secret, cancel));
        secret
    }

    pub fn forget(&self, session: i32) {
        self.by_session.lock().remove(&session);
    }

    /// The server stops: ends what every session runs.
    pub fn stop_all(&self) {
        for (_, cancel) in self.by_session.lock().values() {
            cancel.stop();
        }
    }

    /// Cancels what the session runs; a wrong secret does nothing, and says nothing either.
    pub fn cancel(&self, session: i32, secret: i32) {
        if let Some((known, cancel)) = self.by_session.lock().get(&session)
            && *known == secret
        {
            cancel.request();
        }
    }
}
