//! The real process, killed with -9 at random moments while several connections write.
//!
//! After each restart: every acknowledged commit is present exactly once (L1), every transaction whole in its three
//! topics (L5), offsets dense and those already seen unchanged (L2), every view equal to its batch query (V1). Rows are
//! flushed to segments all the time in most rounds, hardly ever in the others. `CRASH_SEED` repeats a run,
//! `CRASH_ROUNDS` makes it longer, `CRASH_WRITERS` wider. Power cuts are another matter: `log`'s disk tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use rand::Rng;
use rand::rngs::StdRng;
use tokio::sync::{Mutex, watch};
use tokio_postgres::Client;

use crate::support::{self, Server, bag, same};

/// Topics `a`, `b` and `single`; a transaction writes one row to `a`, two to `b` and one to `single` under one id, a single
/// INSERT only to `single`.
const SETUP: &[&str] = &[
    "CREATE TOPIC a (id BIGINT NOT NULL, writer INT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '2 seconds')
     PARTITION BY (id) WITH (partitions = 3)",
    "CREATE TOPIC b (id BIGINT NOT NULL, amount NUMERIC(12,2))",
    "CREATE TOPIC single (id BIGINT NOT NULL, note TEXT)",
];

/// Each view and the query that it must equal.
const VIEWS: &[(&str, &str)] = &[
    (
        "per_writer",
        "SELECT writer, count(*) AS n, max(id) AS newest FROM a GROUP BY writer",
    ),
    (
        "per_window",
        "SELECT window_start, count(*) AS n, sum(id) AS ids FROM TUMBLE(a, ts, INTERVAL '10 seconds') GROUP BY window_start",
    ),
    (
        "closed",
        "SELECT window_start, count(*) AS n FROM TUMBLE(a, ts, INTERVAL '10 seconds') GROUP BY window_start EMIT ON WINDOW CLOSE",
    ),
    (
        "balance",
        "SELECT count(*) AS n, sum(amount) AS total, min(amount) AS low FROM b",
    ),
    (
        "all_ids",
        "SELECT id FROM a UNION ALL SELECT id FROM b UNION ALL SELECT id FROM single",
    ),
    (
        "over_view",
        "SELECT count(*) AS writers, sum(n) AS n FROM per_writer WHERE n > 3",
    ),
];

/// The test's knowledge of one id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// Sent, not answered: it may be there, whole, or not.
    Unknown,
    Acknowledged,
    /// Rolled back by its writer: it must not be there.
    Refused,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Transaction,
    Single,
}

type Ledger = Arc<Mutex<BTreeMap<i64, (Kind, Fate)>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let mut random = support::random(support::seed("CRASH_SEED"));
    let rounds = support::repeat("CRASH_ROUNDS", 20);
    let writers = support::repeat("CRASH_WRITERS", 4);
    let (_scratch, data_dir) = support::data_dir();
    let ledger: Ledger = Arc::default();
    let ids = Arc::new(AtomicI64::new(1));
    let mut places = BTreeMap::new();

    let server = Server::start(&data_dir);
    let client = support::connect(&server).await;
    for statement in SETUP {
        client.simple_query(statement).await.expect(statement);
    }
    for (name, query) in VIEWS {
        let create = format!("CREATE MATERIALIZED VIEW {name} AS {query}");
        client.simple_query(&create).await.expect(name);
    }
    drop(client);

    let mut running = Some(server);
    for round in 0..rounds {
        // Mostly with segments all the time, so that the kill comes while rows are flushed, too.
        let arguments: &[&str] = if round % 3 == 0 { &[] } else { &["--tiny-segments"] };
        let start = || Server::start_with(&data_dir, arguments);
        let server = running.take().unwrap_or_else(start);
        check(&support::connect(&server).await, &ledger, &mut places, round).await;
        // Sometimes at once, sometimes after a while: the moment is a number of acknowledgements, not a time.
        let target = if random.random_bool(0.1) {
            0
        } else {
            random.random_range(1..60)
        };
        write_until_killed(server, writers, &ledger, &ids, target, &mut random).await;
    }
    let server = Server::start(&data_dir);
    let client = support::connect(&server).await;
    check(&client, &ledger, &mut places, rounds).await;
    let acknowledged = ledger
        .lock()
        .await
        .values()
        .filter(|(_, fate)| *fate == Fate::Acknowledged)
        .count();
    println!("{acknowledged} commits acknowledged over {rounds} kills");
    assert!(
        acknowledged as u64 > rounds,
        "the writers got hardly anything done: {acknowledged}"
    );
    assert!(server.stop().success(), "a clean stop after the last recovery");
}

/// Starts the writers, kills the server once `target` commits of this round are acknowledged, and waits for the writers.
async fn write_until_killed(
    server: Server,
    count: u64,
    ledger: &Ledger,
    ids: &Arc<AtomicI64>,
    target: u64,
    random: &mut StdRng,
) {
    let (acknowledged, mut progress) = watch::channel(0_u64);
    let acknowledged = Arc::new(acknowledged);
    let started = Arc::new(AtomicU64::new(0));
    let mut writers = Vec::new();
    for writer in 0..count {
        let client = support::connect(&server).await;
        let (ledger, ids, acknowledged, started) = (ledger.clone(), ids.clone(), acknowledged.clone(), started.clone());
        let mut random = support::random(random.random());
        writers.push(tokio::spawn(async move {
            started.fetch_add(1, Ordering::Relaxed);
            while write(&client, writer, &ledger, &ids, &mut random).await {
                acknowledged.send_modify(|count| *count += 1);
            }
        }));
    }
    progress
        .wait_for(|count| *count >= target)
        .await
        .expect("writers hold the other end");
    server.kill();
    for writer in writers {
        writer.await.expect("a writer does not panic");
    }
}

/// One commit of a random kind; false once the connection is gone.
async fn write(client: &Client, writer: u64, ledger: &Ledger, ids: &AtomicI64, random: &mut StdRng) -> bool {
    let id = ids.fetch_add(1, Ordering::Relaxed);
    // Event time goes on with the ids, with disorder of up to 9 s, so that some rows are late.
    let second = (id / 4 - random.random_range(0..10)).max(0);
    let at = format!("TIMESTAMP '2024-01-01 00:00:00' + {second} * INTERVAL '1 second'");
    let into_a = format!("INSERT INTO a VALUES ({id}, {writer}, {at})");
    let into_b = format!("INSERT INTO b VALUES ({id}, {id}.25), ({id}, -{id})");
    let single = format!("INSERT INTO single VALUES ({id}, 'note {id}')");
    let (kind, statements, rolled_back) = match random.random_range(0..10) {
        0..3 => (
            Kind::Transaction,
            vec!["BEGIN".into(), into_a, into_b, single, "COMMIT".into()],
            false,
        ),
        3..5 => (Kind::Transaction, vec![format!("{into_b}; {single}; {into_a}")], false),
        5 => (
            Kind::Transaction,
            vec!["BEGIN".into(), into_b, single, into_a, "ROLLBACK".into()],
            true,
        ),
        _ => (Kind::Single, vec![single], false),
    };
    let before = if rolled_back { Fate::Refused } else { Fate::Unknown };
    ledger.lock().await.insert(id, (kind, before));
    for statement in &statements {
        match client.simple_query(statement).await {
            Ok(_) => {}
            Err(error) if error.as_db_error().is_none() => return false,
            // The log is failing because the process is ending; anything else is a bug.
            Err(error) => panic!("{}: {error:?}: {statement}", support::state(&error)),
        }
    }
    if !rolled_back {
        ledger.lock().await.insert(id, (kind, Fate::Acknowledged));
    }
    true
}

async fn check(client: &Client, ledger: &Ledger, places: &mut BTreeMap<(String, i64), String>, round: u64) {
    let mut ledger = ledger.lock().await;
    let mut found: BTreeMap<&str, BTreeMap<i64, u64>> = BTreeMap::new();
    for topic in ["a", "b", "single"] {
        let rows = bag(client, &format!("SELECT id, _partition, _offset FROM {topic}"))
            .await
            .expect("topics are readable");
        let mut offsets: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
        for row in &rows {
            let id: i64 = row[0].parse().expect("an id");
            *found.entry(topic).or_default().entry(id).or_default() += 1;
            let fresh = offsets
                .entry(row[1].clone())
                .or_default()
                .insert(row[2].parse().expect("an offset"));
            assert!(
                fresh,
                "L2: round {round}: offset {} of {topic}/{} twice",
                row[2], row[1]
            );
            if topic != "b" {
                let place = format!("{}/{}", row[1], row[2]);
                let before = places.insert((topic.to_string(), id), place.clone());
                assert!(
                    before.is_none_or(|before| before == place),
                    "L2: round {round}: id {id} of {topic} moved"
                );
            }
        }
        for (partition, offsets) in offsets {
            let dense = (0..).zip(&offsets).all(|(expected, offset)| expected == *offset);
            assert!(
                dense,
                "L2: round {round}: offsets of {topic}/{partition} have gaps: {offsets:?}"
            );
        }
    }
    for (topic, _) in places.keys() {
        assert!(
            found.contains_key(topic.as_str()),
            "L3: round {round}: {topic} is empty"
        );
    }

    let count = |topic: &str, id: i64| found.get(topic).and_then(|ids| ids.get(&id)).copied().unwrap_or(0);
    let known = |id: &i64| ledger.contains_key(id);
    assert!(
        found.values().flat_map(BTreeMap::keys).all(known),
        "round {round}: rows that nobody wrote"
    );
    let mut settled = Vec::new();
    for (id, (kind, fate)) in ledger.iter() {
        let there = match (kind, count("a", *id), count("b", *id), count("single", *id)) {
            (Kind::Transaction, 1, 2, 1) | (Kind::Single, 0, 0, 1) => true,
            (_, 0, 0, 0) => false,
            (_, a, b, single) => panic!("L5: round {round}: id {id} is torn or twice: a {a}, b {b}, single {single}"),
        };
        match fate {
            Fate::Acknowledged => assert!(there, "L1: round {round}: id {id} was acknowledged and is gone"),
            Fate::Refused => assert!(!there, "L5: round {round}: id {id} was rolled back and is there"),
            // Decided now, once and for all.
            Fate::Unknown if there => settled.push((*id, Fate::Acknowledged)),
            Fate::Unknown => settled.push((*id, Fate::Refused)),
        }
    }
    for (id, fate) in settled {
        ledger.get_mut(&id).expect("seen above").1 = fate;
    }

    for (name, query) in VIEWS {
        let view = bag(client, &format!("SELECT * FROM {name}")).await.expect(name);
        let batch = bag(client, query).await.expect(query);
        assert!(
            same(&view, &batch),
            "V1: round {round}: {name}\nview  {view:?}\nbatch {batch:?}"
        );
    }
}
