//! The bids of an auction, as Nexmark's generator draws them: hot auctions, people who bid for a while, prices over six
//! orders of magnitude, half of the bids from four channels. The same rows every time, about 110 bytes each as text.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The columns, after CREATE TOPIC or CREATE TABLE and the name.
pub const COLUMNS: &str =
    "(auction BIGINT NOT NULL, bidder BIGINT, price BIGINT, channel TEXT, url TEXT, date_time TIMESTAMP, extra TEXT)";

pub struct Bid {
    pub auction: i64,
    pub bidder: i64,
    pub price: i64,
    pub channel: String,
    pub url: String,
    pub extra: String,
}

pub struct Bids {
    random: StdRng,
    row: i64,
    /// Address of each of the channels with a number.
    addresses: Vec<String>,
}

const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
const CHANNELS: usize = 10_000;
const EXTRA_LETTERS_MAX: usize = 12;

impl Bids {
    pub fn new() -> Bids {
        let mut random = StdRng::seed_from_u64(42);
        let addresses = (0..CHANNELS).map(|channel| {
            let base = address(&mut random);
            format!("{base}&channel_id={channel}")
        });
        Bids {
            addresses: addresses.collect(),
            random,
            row: 0,
        }
    }
}

fn letters(random: &mut StdRng, count: usize) -> String {
    (0..count)
        .map(|_| char::from(random.random_range(b'a'..=b'z')))
        .collect()
}

fn address(random: &mut StdRng) -> String {
    let [first, second] = [(); 2].map(|()| letters(random, 5));
    format!("https://www.nexmark.com/{first}/{second}/item.htm?query=1")
}

impl Iterator for Bids {
    type Item = Bid;

    fn next(&mut self) -> Option<Bid> {
        let random = &mut self.random;
        // Of 50 rows of the whole stream 46 are bids, 3 auctions and 1 a person.
        let (newest_auction, newest_person) = (1000 + self.row * 3 / 46, 1000 + self.row / 46);
        self.row += 1;
        let auction = match random.random_ratio(1, 2) {
            true => newest_auction - newest_auction % 100,
            false => newest_auction - random.random_range(0..100),
        };
        let bidder = newest_person - random.random_range(0..1000);
        let price = (10_f64.powf(random.random::<f64>() * 6.0) * 100.0).round() as i64;
        let (channel, url) = match random.random_ratio(1, 2) {
            true => {
                let hot = HOT_CHANNELS[random.random_range(0..HOT_CHANNELS.len())];
                (hot.to_string(), address(random))
            }
            false => {
                let channel = random.random_range(0..CHANNELS);
                (format!("channel-{channel}"), self.addresses[channel].clone())
            }
        };
        let extra = random.random_range(1..=EXTRA_LETTERS_MAX);
        Some(Bid {
            auction,
            bidder,
            price,
            channel,
            url,
            extra: letters(random, extra),
        })
    }
}
