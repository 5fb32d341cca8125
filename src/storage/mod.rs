//! The only code that touches a disk: the [`Disk`] trait with a real and a fault-injecting implementation.
//!
//! One rule: nothing above this folder opens a file, and what is not synced is not there.

use std::sync::Arc;

/// The source of time, an argument from `server` downward so that a test can own it.
pub trait Clock: Send + Sync + 'static {
    /// Microseconds since 1970-01-01 UTC. May step back.
    fn now_us(&self) -> i64;
}

/// The machine's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now_us(&self) -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since
            .map(|d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX))
            .unwrap_or(0)
    }
}

pub type SharedClock = Arc<dyn Clock>;
