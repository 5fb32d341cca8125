//! File descriptors: the limit of the process, and the share of sockets.
//!
//! One rule: connections cannot take the descriptors that the log needs. Half of them are for files; of the other half
//! a quarter is for connections that have not logged in.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::wire;

/// The limit that is assumed where the system names none.
const UNLIMITED: u64 = 1 << 20;
/// Connections that have not logged in: more would serve nobody.
const GUESTS_MAX: u64 = 1000;

/// Raises the limit of the process as far as it may, and returns the new limit.
pub(super) fn raise() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        // If that is refused, the current limit has to do.
        let _ = setrlimit(Resource::Nofile, raised);
    }
    getrlimit(Resource::Nofile).current.unwrap_or(UNLIMITED)
}

/// The number of connections with room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Share {
    pub sessions: usize,
    pub guests: usize,
}

impl Share {
    /// Of `limit` descriptors, with no more than `sessions_max` sessions.
    pub fn of(limit: u64, sessions_max: usize) -> Share {
        let sockets = limit - limit / 2;
        let guests = (sockets / 4).clamp(1, GUESTS_MAX);
        let sessions = sockets.saturating_sub(guests + wire::LEAVING_MAX as u64).max(1);
        let sessions = usize::try_from(sessions).unwrap_or(usize::MAX);
        Share {
            sessions: sessions.min(sessions_max),
            guests: usize::try_from(guests).expect("a small number"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_descriptors_are_left_for_files() {
        for limit in [64, 256, 1024, 4096, 1 << 20] {
            let share = Share::of(limit, 1_000_000);
            let sockets = (share.sessions + share.guests + wire::LEAVING_MAX) as u64;
            assert!(sockets <= limit - limit / 2, "{share:?} of {limit}");
        }
        let share = Share::of(1024, 1000);
        assert_eq!((share.sessions, share.guests), (368, 128));
        let share = Share::of(1 << 20, 1000);
        assert_eq!((share.sessions, share.guests), (1000, 1000));
    }
}
