//! Connections that have not logged in: bounded in number.
//!
//! One rule: clients that only connect keep nobody out. A new connection takes the place of the oldest, which is closed; so a
//! login, and a cancel request, always gets its turn.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

pub(super) struct Guests {
    max: usize,
    places: Mutex<Places>,
}

#[derive(Default)]
struct Places {
    next: u64,
    /// In the order in which they came.
    taken: BTreeMap<u64, Arc<Notify>>,
}

/// The place of one connection, until it is dropped.
pub(super) struct Guest {
    guests: Arc<Guests>,
    number: u64,
    leave: Arc<Notify>,
}

impl Guests {
    pub fn new(max: usize) -> Guests {
        Guests {
            max: max.max(1),
            places: Mutex::default(),
        }
    }

    pub fn admit(self: &Arc<Self>) -> Guest {
        let leave = Arc::new(Notify::new());
        let mut places = self.places.lock();
        while places.taken.len() >= self.max
            && let Some((_, oldest)) = places.taken.pop_first()
        {
            oldest.notify_one();
        }
        let number = places.next;
        places.next += 1;
        places.taken.insert(number, leave.clone());
        Guest {
            guests: self.clone(),
            number,
            leave,
        }
    }
}

impl Guest {
    /// Resolves when its place was given to another.
    pub async fn displaced(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.guests.places.lock().taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_new_guest_takes_the_place_of_the_oldest() {
        let guests = Arc::new(Guests::new(2));
        let displaced = |guest: &Guest| guest.displaced().now_or_never().is_some();
        let (first, second) = (guests.admit(), guests.admit());
        assert!(!displaced(&first) && !displaced(&second));
        let third = guests.admit();
        assert!(displaced(&first) && !displaced(&second) && !displaced(&third));
        // A place that is free again displaces no one.
        drop(second);
        let fourth = guests.admit();
        assert!(!displaced(&third) && !displaced(&fourth));
        drop((first, third, fourth));
        assert!(guests.places.lock().taken.is_empty());
    }
}
