//! The events of Nexmark, an auction site: in fifty of them one person, three auctions and 46 bids, as lines of CSV.
//!
//! As in the benchmark's own generator half of the bids go to a hot auction, half of the auctions are of a hot seller, and
//! prices spread over six orders of magnitude. Events come a little out of order, never by more than [`DISORDER_US`]. The same
//! seed gives the same rows.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The topics, with rows of which no event is late.
pub const TOPICS: &str = "
CREATE TOPIC person (id BIGINT, name TEXT, email_address TEXT, credit_card TEXT, city TEXT, state TEXT, date_time TIMESTAMP,
    extra TEXT, WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds');
CREATE TOPIC auction (id BIGINT, item_name TEXT, description TEXT, initial_bid BIGINT, reserve BIGINT, date_time TIMESTAMP,
    expires TIMESTAMP, seller BIGINT, category BIGINT, extra TEXT,
    WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds');
CREATE TOPIC bid (auction BIGINT, bidder BIGINT, price BIGINT, channel TEXT, url TEXT, date_time TIMESTAMP, extra TEXT,
    WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds');
CREATE TOPIC side_input (key BIGINT, value TEXT);
";

/// An event comes this much after its time, at most.
pub const DISORDER_US: i64 = 3_000_000;
/// 2026-01-01 12:00:00.
const START_US: i64 = 1_767_268_800_000_000;
const SECOND_US: i64 = 1_000_000;

const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];
const CITIES: [&str; 6] = ["Phoenix", "Palo Alto", "Boise", "Portland", "Seattle", "Cheyenne"];
const FIRST_NAMES: [&str; 6] = ["Peter", "Paul", "Luke", "Vicky", "Walter", "Sarah"];
const LAST_NAMES: [&str; 6] = ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Noris"];
const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
const CATEGORIES: i64 = 5;
/// Of the newest people and auctions, the number that act.
const ACTIVE: i64 = 100;

/// The relation that an event is a row of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventKind {
    Person,
    Auction,
    Bid,
}

pub struct Event {
    pub kind: EventKind,
    /// A line of CSV without its end.
    pub line: String,
}

/// Events without an end.
pub struct Events {
    random: StdRng,
    number: i64,
    /// Microseconds between two events.
    gap_us: i64,
}

impl Events {
    pub fn new(seed: u64, gap_us: i64) -> Events {
        Events {
            random: StdRng::seed_from_u64(seed),
            number: 0,
            gap_us,
        }
    }

    fn below(&mut self, end: i64) -> i64 {
        self.random.random_range(0..end)
    }

    /// One of the newest of `count`: every second time the hot one.
    fn chosen(&mut self, count: i64) -> i64 {
        let oldest = (count - ACTIVE).max(0);
        match self.random.random_bool(0.5) {
            true => oldest + (count - 1 - oldest) / 10 * 10,
            false => oldest + self.below((count - oldest).max(1)),
        }
    }

    /// 100 to 100,000,000.
    fn price(&mut self) -> i64 {
        (10f64.powf(self.random.random_range(0.0..6.0)) * 100.0) as i64
    }

    fn letters(&mut self, count: i64) -> String {
        (0..count)
            .map(|_| char::from(self.random.random_range(b'a'..=b'z')))
            .collect()
    }
}

fn time(us: i64) -> String {
    let time = chrono::DateTime::from_timestamp_micros(us).expect("in range");
    time.naive_utc().format("%Y-%m-%d %H:%M:%S%.6f").to_string()
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let (epoch, place) = (self.number / 50, self.number % 50);
        let at_us = START_US + self.number * self.gap_us - self.below(DISORDER_US);
        let at = time(at_us);
        self.number += 1;
        let (people, auctions) = (epoch + 1, epoch * 3 + place.min(3));
        Some(match place {
            0 => {
                let [first, last, place] = [(); 3].map(|()| self.below(6) as usize);
                let (first, last) = (FIRST_NAMES[first], LAST_NAMES[last]);
                let card = self.below(10_000);
                let line = format!(
                    "{epoch},{first} {last},{first}@{last}.com,{card:04} {card:04},{},{},{at},{}",
                    CITIES[place],
                    STATES[place],
                    self.letters(8)
                );
                Event {
                    kind: EventKind::Person,
                    line,
                }
            }
            1..=3 => {
                let seller = self.chosen(people);
                let initial = self.price();
                let reserve = initial + self.price();
                let expires = time(at_us + SECOND_US * (1 + self.below(60)));
                let category = 10 + self.below(CATEGORIES);
                let name = self.letters(10);
                let line = format!(
                    "{},{name},about {name},{initial},{reserve},{at},{expires},{seller},{category},{}",
                    auctions - 1,
                    self.letters(8)
                );
                Event {
                    kind: EventKind::Auction,
                    line,
                }
            }
            _ => {
                let (auction, bidder, price) = (self.chosen(auctions), self.chosen(people), self.price());
                let [first, second] = [(); 2].map(|()| self.letters(5));
                let (channel, tail) = match self.random.random_bool(0.5) {
                    true => (HOT_CHANNELS[self.below(4) as usize].to_string(), String::new()),
                    false => {
                        let number = self.below(10_000);
                        (format!("channel-{number}"), format!("&channel_id={number}"))
                    }
                };
                let line = format!(
                    "{auction},{bidder},{price},{channel},https://www.nexmark.com/{first}/{second}/item.htm?query=1{tail},{at},{}",
                    self.letters(8)
                );
                Event {
                    kind: EventKind::Bid,
                    line,
                }
            }
        })
    }
}

/// Rows of `side_input`: a value for every second key.
pub fn side_rows() -> Vec<String> {
    (0..1000).step_by(2).map(|key| format!("{key},value {key}")).collect()
}
