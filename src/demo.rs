//! `millstream demo`: a server on a temporary data directory, a generated auction stream (persons, auctions, bids, as
//! in Nexmark) with some disorder in event time, three views over it, and a line about them each second.
//!
//! Everything goes through a session, as a client's statements do; anyone can connect and look meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::Schema;
use arrow::util::pretty::pretty_format_batches;
use futures::StreamExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::config::{Data, Demo, Serve, Tls};
use crate::error::SqlError;
use crate::server::{Server, ServerError, connect_line, stop_signal};
use crate::session::{Engine, Outcome, Parameters, Session};

const SETUP: &[&str] = &[
    "CREATE TOPIC person (id BIGINT NOT NULL, name TEXT, city TEXT, date_time TIMESTAMP,
         WATERMARK FOR date_time AS date_time - INTERVAL '2 seconds')",
    "CREATE TOPIC auction (id BIGINT NOT NULL, seller BIGINT, item TEXT, category BIGINT, initial_bid BIGINT,
         date_time TIMESTAMP, WATERMARK FOR date_time AS date_time - INTERVAL '2 seconds')",
    "CREATE TOPIC bid (auction BIGINT NOT NULL, bidder BIGINT, price BIGINT, channel TEXT, date_time TIMESTAMP,
         WATERMARK FOR date_time AS date_time - INTERVAL '2 seconds')",
    "CREATE MATERIALIZED VIEW bids_per_auction AS
         SELECT window_start, window_end, auction, count(*) AS bids, max(price) AS top_price
         FROM TUMBLE(bid, date_time, INTERVAL '10 seconds') GROUP BY window_start, window_end, auction",
    "CREATE MATERIALIZED VIEW bids_per_channel AS
         SELECT channel, count(*) AS bids, avg(price) AS mean_price FROM bid GROUP BY channel",
    "CREATE MATERIALIZED VIEW final_windows AS
         SELECT window_start, window_end, count(*) AS bids, max(price) AS top_price
         FROM TUMBLE(bid, date_time, INTERVAL '10 seconds') GROUP BY window_start, window_end EMIT ON WINDOW CLOSE",
];

const TOP: &str = "SELECT window_start, auction, bids, top_price FROM bids_per_auction
    WHERE window_end = (SELECT max(window_end) FROM bids_per_auction) ORDER BY bids DESC, auction LIMIT 3";

const CITIES: [&str; 6] = ["Lisbon", "Nairobi", "Osaka", "Quito", "Tallinn", "Winnipeg"];
const CHANNELS: [&str; 4] = ["web", "app", "partner", "phone"];
const ITEMS: [&str; 6] = ["lamp", "violin", "atlas", "clock", "kayak", "teapot"];

/// Of 50 generated rows, 1 is a person, 3 are auctions and 46 are bids, as in Nexmark.
const ROUND: u64 = 50;
/// Transactions per second that rows are committed in.
const TICKS: u64 = 10;

pub async fn run(demo: Demo, give_back: fn()) -> Result<(), ServerError> {
    let dir = crate::storage::temporary_dir("millstream-demo").map_err(|error| ServerError::Listen {
        address: "the temporary directory".to_string(),
        error,
    })?;
    let config = Serve {
        listen: demo.listen.clone(),
        data: Data {
            data_dir: dir.path().to_path_buf(),
        },
        password_file: None,
        tls_cert: None,
        tls_key: None,
        tls: Tls::Allowed,
        max_connections: 100,
        query_memory_mib: Some(1024),
        view_memory_mib: None,
        without_views: false,
        tail_memory_mib: 256,
        disk_reserve_mib: None,
        tiny_segments: false,
    };
    let server = Server::open(&config, give_back).await?;
    println!(
        "look inside with: {}\n",
        connect_line(&server.address.ip().to_string(), server.address.port())
    );
    let engine = server.engine.clone();
    let (finished, finish) = tokio::sync::oneshot::channel();
    let generating = async move {
        let result = tokio::select! {
            result = generate(engine, &demo) => result,
            () = stop_signal() => Ok(()),
        };
        // The receiver is gone only when the server has failed already.
        let _ = finished.send(());
        result
    };
    let serving = server.run(async {
        let _ = finish.await;
    });
    let (generated, served) = tokio::join!(generating, serving);
    generated?;
    served
}

async fn generate(engine: Arc<Engine>, demo: &Demo) -> Result<(), SqlError> {
    let mut session = Session::new(
        engine.clone(),
        "millstream".into(),
        "millstream".into(),
        Default::default(),
    )?;
    for statement in SETUP {
        execute(&mut session, statement).await?;
    }
    let mut stream = Stream::new();
    let mut ticker = tokio::time::interval(Duration::from_millis(1000 / TICKS));
    let (mut total, mut in_second, mut freshness) = (0u64, 0u64, Duration::ZERO);
    let mut second = Instant::now();
    loop {
        ticker.tick().await;
        let wanted = (demo.rate / TICKS).max(ROUND) / ROUND;
        let left = demo
            .rows
            .map_or(wanted, |rows| rows.saturating_sub(total).div_ceil(ROUND).min(wanted));
        let rows = stream.rows(left, engine.clock.now_us());
        total += left * ROUND;
        in_second += left * ROUND;
        let committed = insert(&mut session, rows).await?;
        query(&mut session, "SELECT count(*) FROM final_windows").await?;
        freshness = freshness.max(committed.elapsed());
        let done = demo.rows.is_some_and(|rows| total >= rows);
        if second.elapsed() >= Duration::from_secs(1) || done {
            let rate = in_second as f64 / second.elapsed().as_secs_f64();
            println!(
                "{total} rows, {rate:.0} rows/s in, views fresh within {:.1} ms of the commit; busiest auctions now:",
                freshness.as_secs_f64() * 1000.0
            );
            let top = query(&mut session, TOP).await?;
            println!("{}\n", pretty_format_batches(&top)?);
            (in_second, freshness, second) = (0, Duration::ZERO, Instant::now());
        }
        if done {
            return Ok(());
        }
    }
}

async fn execute(session: &mut Session, text: &str) -> Result<Outcome, SqlError> {
    let statements = session.parse(text).await?;
    let statement = statements.first().expect("every text of the demo is a statement");
    session.execute(statement, &Parameters::default()).await
}

async fn query(session: &mut Session, text: &str) -> Result<Vec<RecordBatch>, SqlError> {
    let Outcome::Rows { batches, .. } = execute(session, text).await? else {
        unreachable!("a SELECT answers rows");
    };
    batches.collect::<Vec<_>>().await.into_iter().collect()
}

/// Appends the rows of all three topics in one transaction; returns when it was committed.
async fn insert(session: &mut Session, rows: [(&str, RecordBatch); 3]) -> Result<Instant, SqlError> {
    execute(session, "BEGIN").await?;
    for (topic, rows) in rows {
        let Outcome::CopyIn(mut copy) = execute(session, &format!("COPY {topic} FROM STDIN")).await? else {
            unreachable!("COPY FROM STDIN asks for rows");
        };
        session.copy_append(&mut copy, &rows).await?;
        session.copy_finish(copy).await?;
    }
    execute(session, "COMMIT").await?;
    Ok(Instant::now())
}

/// The generator: the same rows for the same times.
struct Stream {
    random: StdRng,
    persons: i64,
    auctions: i64,
}

impl Stream {
    fn new() -> Stream {
        Stream {
            random: StdRng::seed_from_u64(42),
            persons: 1000,
            auctions: 1000,
        }
    }

    /// A time up to three seconds before now, mostly close to it: one row in a hundred comes behind the watermark.
    fn event_time(&mut self, now_us: i64) -> i64 {
        let behind = if self.random.random_ratio(1, 100) {
            3_000_000
        } else {
            500_000
        };
        now_us - self.random.random_range(0..behind)
    }

    /// Bids favour the newest auctions.
    fn hot_auction(&mut self) -> i64 {
        let newest = self.auctions;
        if self.random.random_ratio(1, 2) {
            newest - newest % 100
        } else {
            newest - self.random.random_range(0..100)
        }
    }

    fn rows(&mut self, rounds: u64, now_us: i64) -> [(&'static str, RecordBatch); 3] {
        let (mut persons, mut auctions, mut bids) = (Persons::default(), Auctions::default(), Bids::default());
        for _ in 0..rounds {
            self.persons += 1;
            persons.id.push(self.persons);
            persons.city.push(CITIES[self.random.random_range(0..CITIES.len())]);
            persons.time.push(self.event_time(now_us));
            for _ in 0..3 {
                self.auctions += 1;
                auctions.id.push(self.auctions);
                auctions.seller.push(self.persons - self.random.random_range(0..100));
                auctions.item.push(ITEMS[self.random.random_range(0..ITEMS.len())]);
                auctions.category.push(self.random.random_range(10..15));
                auctions.initial_bid.push(self.random.random_range(1..1000));
                auctions.time.push(self.event_time(now_us));
            }
            for _ in 0..ROUND - 4 {
                let auction = self.hot_auction();
                bids.auction.push(auction);
                bids.bidder.push(self.persons - self.random.random_range(0..1000));
                bids.price.push(self.random.random_range(1..100_000));
                bids.channel.push(CHANNELS[self.random.random_range(0..CHANNELS.len())]);
                bids.time.push(self.event_time(now_us));
            }
        }
        [
            ("person", persons.batch()),
            ("auction", auctions.batch()),
            ("bid", bids.batch()),
        ]
    }
}

#[derive(Default)]
struct Persons {
    id: Vec<i64>,
    city: Vec<&'static str>,
    time: Vec<i64>,
}

impl Persons {
    fn batch(self) -> RecordBatch {
        let names: Vec<String> = self.id.iter().map(|id| format!("person {id}")).collect();
        batch([
            ("id", Arc::new(Int64Array::from(self.id)) as ArrayRef),
            ("name", Arc::new(StringArray::from(names))),
            ("city", Arc::new(StringArray::from(self.city))),
            ("date_time", Arc::new(TimestampMicrosecondArray::from(self.time))),
        ])
    }
}

#[derive(Default)]
struct Auctions {
    id: Vec<i64>,
    seller: Vec<i64>,
    item: Vec<&'static str>,
    category: Vec<i64>,
    initial_bid: Vec<i64>,
    time: Vec<i64>,
}

impl Auctions {
    fn batch(self) -> RecordBatch {
        batch([
            ("id", Arc::new(Int64Array::from(self.id)) as ArrayRef),
            ("seller", Arc::new(Int64Array::from(self.seller))),
            ("item", Arc::new(StringArray::from(self.item))),
            ("category", Arc::new(Int64Array::from(self.category))),
            ("initial_bid", Arc::new(Int64Array::from(self.initial_bid))),
            ("date_time", Arc::new(TimestampMicrosecondArray::from(self.time))),
        ])
    }
}

#[derive(Default)]
struct Bids {
    auction: Vec<i64>,
    bidder: Vec<i64>,
    price: Vec<i64>,
    channel: Vec<&'static str>,
    time: Vec<i64>,
}

impl Bids {
    fn batch(self) -> RecordBatch {
        batch([
            ("auction", Arc::new(Int64Array::from(self.auction)) as ArrayRef),
            ("bidder", Arc::new(Int64Array::from(self.bidder))),
            ("price", Arc::new(Int64Array::from(self.price))),
            ("channel", Arc::new(StringArray::from(self.channel))),
            ("date_time", Arc::new(TimestampMicrosecondArray::from(self.time))),
        ])
    }
}

fn batch<const N: usize>(columns: [(&str, ArrayRef); N]) -> RecordBatch {
    let fields: Vec<_> = columns
        .iter()
        .map(|(name, array)| arrow::datatypes::Field::new(*name, array.data_type().clone(), true))
        .collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("columns of one length")
}
