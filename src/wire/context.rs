//! [`ConnectionContext`]: the parts of a server that all its connections use.
//!
//! One rule: a part is made before the first connection is accepted, and is never replaced.

use std::sync::Arc;

use pgwire::api::auth::Password;
use pgwire::api::auth::sasl::scram::{SCRAM_ITERATIONS, gen_salted_password};
use tokio::sync::Semaphore;

use super::cancel::Cancels;
use crate::log_limit::LogLimit;
use crate::session::Engine;

/// The secret that a client must prove.
pub(super) struct Login {
    /// The password, salted once for the life of the server.
    pub salted: Option<Password>,
}

impl Login {
    #[allow(
        clippy::disallowed_methods,
        reason = "a salt must not be predictable, by a test's seed neither"
    )]
    pub fn new(password: Option<String>) -> Login {
        let salted = password.map(|password| {
            let salt = rand::random::<[u8; 16]>().to_vec();
            let salted = gen_salted_password(&password, &salt, SCRAM_ITERATIONS);
            Password::new(Some(salt), salted)
        });
        Login { salted }
    }
}

/// The state that all connections of a server share.
pub(super) struct ConnectionContext {
    pub engine: Arc<Engine>,
    pub login: Login,
    pub tls: Option<tokio_rustls::TlsAcceptor>,
    pub tls_required: bool,
    pub cancels: Arc<Cancels>,
    pub places: Arc<Semaphore>,
    pub login_failures: LogLimit,
}
