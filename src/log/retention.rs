//! Retention: the time that rows stay, the clock that measures it, and the rows that go.
//!
//! One rule: expired rows disappear from reads at once; their space is reclaimed later, whole segments or chunks at a
//! time, by a record in the log that gives the new beginning of each partition. Rows that a reader or a view still
//! needs stay.
//!
//! The clock of retention never steps: it advances as the monotonic clock does, and never past the machine's clock and
//! the newest commit, so that setting the machine's clock deletes nothing, forward or back. Its position is in each
//! metadata image and in the header of each file of the log, and each frame has the time that the machine had been up:
//! a start follows it from there ([`Follower`]). If the machine was not started again, a stop counts with the time that
//! has passed; else with the time by the machine's clock, unless that is more than [`GAP_US_MAX`].
//!
//! Not here: the lists of segments and chunks (`tail`), the schedule (`writer`).

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::storage::SharedClock;

use super::TopicId;

/// A longer stop than this is taken for a clock that was set: no time has passed.
const GAP_US_MAX: i64 = 31 * 24 * 60 * 60 * 1_000_000;

/// The retention of a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Retention {
    /// Rows are kept for this long after their append time, microseconds; `None`: for ever.
    pub us: Option<i64>,
    /// Rows go, the oldest first, while the topic takes more bytes without them than this; `None`: never.
    pub bytes: Option<u64>,
}

/// A position of the clock of retention, microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClockReading {
    pub at_us: i64,
    /// The machine's clock at that position.
    pub now_us: i64,
    /// `None` if it is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up: Option<Up>,
}

/// A moment by the clock that goes on for as long as the machine is up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Up {
    /// The id of the machine's start.
    pub boot: u64,
    /// Since then, microseconds.
    pub us: i64,
}

impl Up {
    fn now(clock: &SharedClock) -> Option<Up> {
        let (boot, us) = (clock.boot(), clock.monotonic_us());
        (boot != 0).then_some(Up { boot, us })
    }
}

/// Follows the clock of retention through a log that is read back.
#[derive(Default)]
pub struct Follower {
    pub stood: Option<ClockReading>,
    /// The start of the machine that the file being read is from.
    boot: Option<u64>,
}

impl Follower {
    /// From an image, if there is one.
    pub fn from(image: Option<ClockReading>) -> Follower {
        Follower {
            stood: image,
            boot: None,
        }
    }

    /// A file begins, in whose header it stood so; or the log goes on in it after an image.
    pub fn enter(&mut self, made: Option<ClockReading>) {
        self.boot = made.and_then(|made| made.up).map(|up| up.boot);
        if let Some(made) = made {
            self.record(made);
            self.stood = self.stood.map(|stood| ClockReading { up: made.up, ..stood });
        }
    }

    /// The same for the file that the image's position is in.
    pub fn resume(&mut self, made: Option<ClockReading>) {
        self.boot = made.and_then(|made| made.up).map(|up| up.boot);
    }

    /// A frame was written when the machine had been up for `up_us`, if that is known.
    pub fn frame(&mut self, timestamp_us: i64, up_us: Option<i64>) {
        let up = self.boot.zip(up_us).map(|(boot, us)| Up { boot, us });
        let Some(stood) = self.stood else {
            self.stood = Some(ClockReading {
                at_us: timestamp_us,
                now_us: timestamp_us,
                up,
            });
            return;
        };
        let passed_us = match (stood.up, up) {
            (Some(before), Some(up)) if before.boot == up.boot => up.us.saturating_sub(before.us).max(0),
            _ => 0,
        };
        self.stood = Some(ClockReading {
            at_us: stood.at_us.max(stood.at_us.saturating_add(passed_us).min(timestamp_us)),
            now_us: stood.now_us.saturating_add(passed_us).max(timestamp_us),
            up: up.or(stood.up.filter(|before| Some(before.boot) == self.boot)),
        });
    }

    /// It is known to have stood there.
    pub fn record(&mut self, reading: ClockReading) {
        self.stood = Some(match self.stood {
            None => reading,
            Some(stood) => ClockReading {
                at_us: stood.at_us.max(reading.at_us),
                now_us: stood.now_us.max(reading.now_us),
                up: stood.up,
            },
        });
    }
}

/// The rows that go, as the first offset of partitions from here on. Other partitions stay as they are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Retired {
    pub reading: ClockReading,
    pub starts: Vec<(TopicId, u32, u64)>,
}

#[derive(Debug)]
struct Hand {
    at_us: i64,
    monotonic_us: i64,
}

/// The clock of retention, and the readers at earlier positions of it.
pub struct RetentionClock {
    clock: SharedClock,
    hand: Mutex<Hand>,
    pins: Mutex<Pins>,
}

/// A reader that waits for its client for longer than this holds nothing any more, microseconds.
pub const PIN_IDLE_US_MAX: i64 = 60 * 60 * 1_000_000;

#[derive(Default)]
struct Pins {
    next: u64,
    held: HashMap<u64, HeldPin>,
}

struct HeldPin {
    at_us: i64,
    /// Since when its reader waits, by the monotonic clock, microseconds.
    idle_since_us: Option<i64>,
}

/// While it is held, nothing goes that is still read at its position.
pub struct Pin {
    clock: Arc<RetentionClock>,
    id: u64,
    /// Position of the clock of retention, microseconds: rows appended less than their topic's retention before are read.
    pub at_us: i64,
}

impl Pin {
    /// Its reader waits for somebody: it is held for [`PIN_IDLE_US_MAX`] from now on.
    pub fn idle(&self) {
        let now_us = self.clock.clock.monotonic_us();
        if let Some(pin) = self.clock.pins.lock().held.get_mut(&self.id) {
            pin.idle_since_us.get_or_insert(now_us);
        }
    }

    /// Its reader goes on; false if it was let go meanwhile.
    pub fn resume(&self) -> bool {
        let mut pins = self.clock.pins.lock();
        let Some(pin) = pins.held.get_mut(&self.id) else {
            return false;
        };
        pin.idle_since_us = None;
        true
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.clock.pins.lock().held.remove(&self.id);
    }
}

impl RetentionClock {
    /// Goes on from where it stood in a log whose newest commit is from `newest_us`; a new one begins now.
    pub fn start(clock: SharedClock, stood: Option<ClockReading>, newest_us: i64) -> RetentionClock {
        let now_us = clock.now_us();
        let at_us = match stood {
            None => now_us,
            Some(stood) => {
                let passed_us = match (stood.up, Up::now(&clock)) {
                    (Some(before), Some(up)) if before.boot == up.boot => up.us.saturating_sub(before.us).max(0),
                    _ => stopped_us(now_us.saturating_sub(stood.now_us)),
                };
                let reached_us = stood.at_us.saturating_add(passed_us).min(now_us.max(newest_us));
                stood.at_us.max(reached_us)
            }
        };
        let monotonic_us = clock.monotonic_us();
        RetentionClock {
            clock,
            hand: Mutex::new(Hand { at_us, monotonic_us }),
            pins: Mutex::default(),
        }
    }

    /// The machine's uptime, microseconds; for frames.
    pub fn up_us(&self) -> Option<i64> {
        Up::now(&self.clock).map(|up| up.us)
    }

    /// Its position; `newest_us` is the append time of the newest commit.
    pub fn read(&self, newest_us: i64) -> ClockReading {
        let now_us = self.clock.now_us();
        let mut hand = self.hand.lock();
        let monotonic_us = self.clock.monotonic_us();
        let passed_us = monotonic_us.saturating_sub(hand.monotonic_us).max(0);
        let reached_us = hand.at_us.saturating_add(passed_us).min(now_us.max(newest_us));
        hand.at_us = hand.at_us.max(reached_us);
        hand.monotonic_us = monotonic_us;
        let boot = self.clock.boot();
        ClockReading {
            at_us: hand.at_us,
            now_us: now_us.max(newest_us),
            up: (boot != 0).then_some(Up { boot, us: monotonic_us }),
        }
    }

    /// Holds the rows that are read now.
    pub fn pin(self: &Arc<Self>, newest_us: i64) -> Pin {
        let mut pins = self.pins.lock();
        let at_us = self.read(newest_us).at_us;
        let id = pins.next;
        pins.next += 1;
        let pinned = HeldPin {
            at_us,
            idle_since_us: None,
        };
        pins.held.insert(id, pinned);
        Pin {
            clock: Arc::clone(self),
            id,
            at_us,
        }
    }

    /// Its position, but not past that of any reader: up to there rows may go.
    pub fn released(&self, newest_us: i64) -> ClockReading {
        let mut pins = self.pins.lock();
        let reading = self.read(newest_us);
        let idle_before_us = self.clock.monotonic_us().saturating_sub(PIN_IDLE_US_MAX);
        pins.held
            .retain(|_, pin| pin.idle_since_us.is_none_or(|since_us| since_us > idle_before_us));
        let pinned_us = pins.held.values().map(|pin| pin.at_us).min().unwrap_or(i64::MAX);
        ClockReading {
            at_us: reading.at_us.min(pinned_us),
            ..reading
        }
    }
}

/// The part of a stop, measured by the machine's clock, that counts.
fn stopped_us(gap_us: i64) -> i64 {
    if gap_us > GAP_US_MAX {
        tracing::warn!(
            days = gap_us / (24 * 60 * 60 * 1_000_000),
            "the clock says that the server stood still for longer than is believed: retention goes on from where it stood"
        );
        return 0;
    }
    gap_us.max(0)
}

/// Rows that can only go together: a segment or a chunk.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    pub end_offset: u64,
    /// Append time of its first row, microseconds.
    pub first_us: i64,
    /// Append time of its last row, microseconds.
    pub last_us: i64,
    pub bytes: u64,
}

/// The new first offset of those partitions that lose rows. `before_us`: rows appended before it have expired.
/// `needed_us`: rows appended at or after it stay in any case.
pub fn expired(
    partitions: &[Vec<Held>],
    before_us: Option<i64>,
    bytes_max: Option<u64>,
    needed_us: Option<i64>,
) -> Vec<(u32, u64)> {
    let may_go = |held: &Held| needed_us.is_none_or(|needed_us| held.last_us < needed_us);
    let is_old = |held: &Held| before_us.is_some_and(|before_us| held.last_us < before_us);
    let old = |held: &Vec<Held>| held.iter().take_while(|held| is_old(held) && may_go(held)).count();
    let mut gone: Vec<usize> = partitions.iter().map(old).collect();
    if let Some(bytes_max) = bytes_max {
        let rest = partitions.iter().zip(&gone).flat_map(|(held, gone)| &held[*gone..]);
        let mut bytes: u64 = rest.map(|held| held.bytes).sum();
        loop {
            let heads = partitions.iter().zip(&gone).enumerate();
            let heads = heads.filter_map(|(partition, (held, gone))| Some((partition, held.get(*gone)?)));
            let Some((partition, oldest)) = heads.min_by_key(|(_, held)| held.last_us) else {
                break;
            };
            if !may_go(oldest) || bytes < bytes_max.saturating_add(oldest.bytes) {
                break;
            }
            bytes -= oldest.bytes;
            gone[partition] += 1;
        }
    }
    let starts = partitions
        .iter()
        .zip(gone)
        .enumerate()
        .filter(|(_, (_, gone))| *gone > 0);
    let starts = starts.map(|(partition, (held, gone))| {
        let partition = u32::try_from(partition).expect("partitions are counted in u32");
        (partition, held[gone - 1].end_offset)
    });
    starts.collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{DAY_US, NOW_US, TestClock};
    use super::*;
    use crate::storage::Clock;

    #[test]
    fn setting_the_machines_clock_moves_nothing() {
        let clock = TestClock::at(NOW_US);
        let retention = RetentionClock::start(clock.clone(), None, 0);
        assert_eq!(retention.read(0).at_us, NOW_US);
        clock.pass(5);
        assert_eq!(retention.read(0).at_us, NOW_US + 5);
        // Ten years on: as much as has passed.
        clock.set(NOW_US + 3650 * DAY_US);
        assert_eq!(retention.read(0).at_us, NOW_US + 5);
        clock.pass(7);
        assert_eq!(retention.read(0).at_us, NOW_US + 12);
        // Back: rows appended now carry the newest commit's time, and are not older than that.
        clock.set(NOW_US - DAY_US);
        clock.pass(100);
        assert_eq!(retention.read(NOW_US + 10).at_us, NOW_US + 12);
        clock.pass(100);
        assert_eq!(retention.read(NOW_US + 50).at_us, NOW_US + 50);
    }

    #[test]
    fn a_stop_counts_unless_it_is_unbelievable() {
        let stood = ClockReading {
            at_us: NOW_US - 10,
            now_us: NOW_US,
            up: None,
        };
        let started = |now_us, stood| {
            RetentionClock::start(TestClock::at(now_us), Some(stood), 0)
                .read(i64::MAX)
                .at_us
        };
        assert_eq!(started(NOW_US + DAY_US, stood), NOW_US - 10 + DAY_US);
        assert_eq!(started(NOW_US - DAY_US, stood), NOW_US - 10);
        assert_eq!(started(NOW_US + 32 * DAY_US, stood), NOW_US - 10);
        // The machine is still up: the time that has passed is known.
        let up = |boot, us| ClockReading {
            up: Some(Up { boot, us }),
            ..stood
        };
        let us = TestClock::at(NOW_US).monotonic_us() - 70;
        assert_eq!(started(NOW_US + DAY_US, up(1, us)), NOW_US + 60);
        assert_eq!(started(NOW_US + DAY_US, up(2, us)), NOW_US - 10 + DAY_US);
    }

    #[test]
    fn a_log_is_followed_by_the_time_that_passed() {
        let made = ClockReading {
            at_us: NOW_US,
            now_us: NOW_US,
            up: Some(Up { boot: 7, us: 1000 }),
        };
        let mut follower = Follower::default();
        follower.enter(Some(made));
        follower.frame(NOW_US + 5, Some(1010));
        assert_eq!(follower.stood.map(|stood| stood.at_us), Some(NOW_US + 5));
        // The clock was set ahead.
        follower.frame(NOW_US + DAY_US, Some(1020));
        follower.frame(NOW_US + DAY_US, Some(1030));
        assert_eq!(follower.stood.map(|stood| stood.at_us), Some(NOW_US + 25));
        // A stop, by the next file's header.
        follower.enter(Some(ClockReading {
            at_us: NOW_US + 500,
            now_us: NOW_US + 500,
            up: Some(Up { boot: 8, us: 10 }),
        }));
        follower.frame(NOW_US + DAY_US, Some(20));
        let stood = follower.stood.expect("it stands somewhere");
        assert_eq!((stood.at_us, stood.now_us), (NOW_US + 510, NOW_US + DAY_US + 20));
        assert_eq!(stood.up, Some(Up { boot: 8, us: 20 }));
        // A version that wrote no such thing.
        follower.enter(None);
        follower.frame(NOW_US + 2 * DAY_US, None);
        let stood = follower.stood.expect("it stands somewhere");
        assert_eq!((stood.at_us, stood.up), (NOW_US + 510, None));
    }

    #[test]
    fn a_pin_holds_what_it_reads() {
        let clock = TestClock::at(NOW_US);
        let retention = Arc::new(RetentionClock::start(clock.clone(), None, 0));
        let pin = retention.pin(0);
        clock.pass(1000);
        assert_eq!(retention.released(0).at_us, pin.at_us);
        assert_eq!(retention.read(0).at_us, NOW_US + 1000);
        drop(pin);
        assert_eq!(retention.released(0).at_us, NOW_US + 1000);
    }

    #[test]
    fn a_reader_that_waits_for_long_holds_nothing_any_more() {
        let clock = TestClock::at(NOW_US);
        let retention = Arc::new(RetentionClock::start(clock.clone(), None, 0));
        let (pin, busy) = (retention.pin(0), retention.pin(0));
        pin.idle();
        clock.pass(PIN_IDLE_US_MAX - 1);
        assert_eq!(retention.released(0).at_us, pin.at_us);
        assert!(pin.resume(), "it waited for less");
        clock.pass(PIN_IDLE_US_MAX);
        assert_eq!(retention.released(0).at_us, pin.at_us, "it does not wait");
        drop(busy);
        pin.idle();
        clock.pass(1);
        pin.idle();
        clock.pass(PIN_IDLE_US_MAX - 1);
        assert_eq!(retention.released(0).at_us, NOW_US + 3 * PIN_IDLE_US_MAX - 1);
        assert!(!pin.resume(), "rows may have gone");
    }

    fn held(values: &[(u64, i64, u64)]) -> Vec<Held> {
        let held = values.iter().map(|(end_offset, last_us, bytes)| Held {
            end_offset: *end_offset,
            first_us: *last_us,
            last_us: *last_us,
            bytes: *bytes,
        });
        held.collect()
    }

    #[test]
    fn the_oldest_go_and_what_is_needed_stays() {
        let partitions = [
            held(&[(10, 100, 50), (20, 200, 50), (30, 300, 50)]),
            held(&[(5, 150, 50), (9, 250, 50)]),
            Vec::new(),
        ];
        let of = |before, bytes, needed| expired(&partitions, before, bytes, needed);
        assert_eq!(of(None, None, None), []);
        assert_eq!(of(Some(200), None, None), [(0, 10), (1, 5)]);
        assert_eq!(of(Some(201), None, None), [(0, 20), (1, 5)]);
        assert_eq!(of(Some(i64::MAX), None, None), [(0, 30), (1, 9)]);
        assert_eq!(of(Some(i64::MAX), None, Some(150)), [(0, 10)]);
        // 250 bytes: two may go, and 150 are left; one byte less asked for lets no more go.
        assert_eq!(of(None, Some(150), None), [(0, 10), (1, 5)]);
        assert_eq!(of(None, Some(149), None), [(0, 10), (1, 5)]);
        assert_eq!(of(None, Some(151), None), [(0, 10)]);
        assert_eq!(of(None, Some(0), Some(200)), [(0, 10), (1, 5)]);
        assert_eq!(of(Some(101), Some(150), None), [(0, 10), (1, 5)]);
        assert_eq!(of(None, Some(1000), None), []);
    }
}
