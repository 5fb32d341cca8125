//! [`Relief`]: the allocator returns free memory to the system sooner than it would by itself.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Between two reliefs that are not urgent: each visits all that the allocator has.
const RELIEF_INTERVAL: Duration = Duration::from_millis(100);

/// Has the allocator return free memory to the system.
#[derive(Debug)]
pub struct Relief {
    give_back: fn(),
    last: Mutex<Option<Instant>>,
}

impl Relief {
    pub fn new(give_back: fn()) -> Relief {
        Relief {
            give_back,
            last: Mutex::new(None),
        }
    }

    pub fn now(&self) {
        (self.give_back)();
    }

    /// Unless that was done a moment ago. Whether it was done.
    pub fn soon(&self) -> bool {
        let Some(mut last) = self.last.try_lock() else {
            return false;
        };
        let now = Instant::now();
        if last.is_some_and(|last| now - last < RELIEF_INTERVAL) {
            return false;
        }
        *last = Some(now);
        self.now();
        true
    }
}
