//! The log's limit on repeated events: a few lines a period, then only a count.
//!
//! One rule: no client fills the log.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Events that are logged within [`PERIOD`].
const LOGGED_MAX: u32 = 5;
const PERIOD: Duration = Duration::from_secs(10);

/// One for each kind of event.
#[derive(Default)]
pub struct LogLimit(Mutex<LimitState>);

#[derive(Default)]
struct LimitState {
    began: Option<Instant>,
    logged: u32,
    unlogged: u64,
}

impl LogLimit {
    /// Whether an event that happens now is logged; then the number of those before it that were not.
    pub fn admit(&self) -> Option<u64> {
        self.0.lock().admit(Instant::now())
    }
}

impl LimitState {
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.began.is_none_or(|began| now.duration_since(began) >= PERIOD) {
            self.began = Some(now);
            self.logged = 0;
        }
        if self.logged == LOGGED_MAX {
            self.unlogged += 1;
            return None;
        }
        self.logged += 1;
        Some(std::mem::take(&mut self.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_events_a_period_are_logged_and_the_others_counted() {
        let mut state = LimitState::default();
        let now = Instant::now();
        let logged = (0..1000).filter(|_| state.admit(now).is_some()).count();
        assert_eq!(logged, LOGGED_MAX as usize);
        assert_eq!(state.admit(now + PERIOD), Some(1000 - u64::from(LOGGED_MAX)));
        assert_eq!(state.admit(now + PERIOD), Some(0));
    }
}
