//! Consumer groups over the wire: a CONSUME that waits, members that come and go, and a pipeline that is exactly once while the process
//! is killed with -9 and connections are dropped in the middle.
//!
//! `CONSUMERS_SEED` repeats a run of the pipeline, `CONSUMERS_ROUNDS` makes it longer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::Rng;
use rand::rngs::StdRng;
use tokio::sync::watch;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::support::{self, Server, bag, value};

/// The first column of each row.
async fn consume(client: &Client, group: &str, options: &str) -> Result<Vec<String>, tokio_postgres::Error> {
    let answer = client.simple_query(&format!("CONSUME FROM {group} {options}")).await?;
    let rows = answer.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_string),
        _ => None,
    });
    Ok(rows.collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consume_that_waits_is_woken_by_the_commit_and_by_a_member_that_goes() {
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    let one = support::connect(&server).await;
    let two = support::connect(&server).await;
    for statement in [
        "CREATE TOPIC t (id INT) PARTITION BY (id) WITH (partitions = 2)",
        "CREATE CONSUMER GROUP g ON t",
    ] {
        one.simple_query(statement).await.expect(statement);
    }
    let waiting = tokio::spawn(async move {
        let rows = consume(&one, "g", "WITH (timeout = '10 minutes')")
            .await
            .expect("rows come");
        (one, rows)
    });
    // It waits before the rows are there.
    while value(
        &two,
        "SELECT count(*) FROM millstream.consumer_lag WHERE member IS NOT NULL",
    )
    .await
        != "2"
    {}
    two.simple_query("INSERT INTO t VALUES (1)").await.expect("inserted");
    let (one, rows) = waiting.await.expect("it does not panic");
    assert_eq!(rows, ["1"]);

    // Another member takes a half; when it ends, what it has not committed comes to the first.
    two.simple_query("INSERT INTO t SELECT n FROM generate_series(2, 40) AS n")
        .await
        .expect("inserted");
    let taken = consume(&two, "g", "").await.expect("consumed");
    assert!(
        !taken.is_empty() && taken.len() < 40,
        "{} rows of one partition",
        taken.len()
    );
    let mut all = consume(&one, "g", "").await.expect("consumed");
    drop(two);
    while all.len() + 1 < 40 {
        all.extend(
            consume(&one, "g", "WITH (timeout = '10 minutes')")
                .await
                .expect("consumed"),
        );
    }
    one.simple_query("COMMIT OFFSETS FOR g").await.expect("committed");
    assert_eq!(value(&one, "SELECT sum(lag) FROM millstream.consumer_lag").await, "0");

    // A request to cancel ends the wait.
    let cancel = one.cancel_token();
    let waiting = tokio::spawn(async move { consume(&one, "g", "WITH (timeout = '10 minutes')").await });
    let three = support::connect(&server).await;
    while value(
        &three,
        "SELECT count(*) FROM millstream.sessions WHERE query LIKE 'CONSUME%' AND state = 'active'",
    )
    .await
        != "1"
    {}
    cancel.cancel_query(tokio_postgres::NoTls).await.expect("sent");
    let ended = waiting.await.expect("it does not panic").expect_err("cancelled");
    assert_eq!(support::state(&ended), "57014");
}

#[tokio::test]
async fn an_answer_ends_before_it_fills_the_memory() {
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    let client = support::connect(&server).await;
    for statement in [
        "CREATE TOPIC large (id INT, body TEXT) WITH (partitions = 1)",
        "INSERT INTO large SELECT n, repeat('x', 1 << 20) FROM generate_series(1, 80) AS n ORDER BY n",
        "CREATE CONSUMER GROUP g ON large",
    ] {
        client.simple_query(statement).await.expect(statement);
    }
    let first = consume(&client, "g", "LIMIT 1000").await.expect("consumed");
    assert!((1..80).contains(&first.len()), "{} rows of 1 MiB", first.len());
    let mut all = first;
    while all.len() < 80 {
        let more = consume(&client, "g", "LIMIT 1000").await.expect("consumed");
        assert!(!more.is_empty(), "the rest comes with the next ones");
        all.extend(more);
    }
    let ids: Vec<String> = (1..=80).map(|id| id.to_string()).collect();
    assert_eq!(all, ids, "none is left out, and none comes twice");
}

const SETUP: &[&str] = &[
    "CREATE TOPIC a (id BIGINT) PARTITION BY (id) WITH (partitions = 3)",
    "CREATE TOPIC b (id BIGINT) PARTITION BY (id) WITH (partitions = 2)",
    "CREATE TOPIC c (id BIGINT)",
    "CREATE CONSUMER GROUP first ON a",
    "CREATE CONSUMER GROUP second ON b",
    "CREATE MATERIALIZED VIEW seen AS SELECT count(*) AS n, count(DISTINCT id) AS ids FROM c",
];

/// The server's port now.
type Port = watch::Receiver<u16>;

async fn connected(port: &Port) -> Client {
    loop {
        let now = *port.borrow();
        match support::connect_to(now).await {
            Ok(client) => return client,
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

/// Whether the statement was answered; else the connection is gone, or the session must consume again.
async fn run(client: &Client, statement: &str) -> bool {
    match client.simple_query(statement).await {
        Ok(_) => true,
        Err(error) if error.as_db_error().is_none() || client.is_closed() => false,
        Err(error) if support::state(&error) == "40001" => {
            // A block is rolled back by its COMMIT already.
            let _ = client.simple_query("ROLLBACK").await;
            false
        }
        Err(error) => panic!("{}: {error:?}: {statement}", support::state(&error)),
    }
}

/// Sends messages with ids of its own until it is ended, each until it is acknowledged. Returns their number.
async fn produce(
    producer: u64,
    port: Port,
    made: Arc<watch::Sender<u64>>,
    ended: Arc<AtomicBool>,
    mut random: StdRng,
) -> u64 {
    let mut client = connected(&port).await;
    let mut sequence = 0;
    while !ended.load(Ordering::Relaxed) {
        let id = producer * 1_000_000 + sequence;
        let statement = format!(
            "SET millstream.producer_id = 'p{producer}'; SET millstream.producer_sequence = {sequence}; \
             INSERT INTO a VALUES ({id})"
        );
        let sent = run(&client, &statement);
        if random.random_bool(0.05) {
            tokio::select! {
                biased;
                () = tokio::task::yield_now() => {}
                _ = sent => {}
            }
            client = connected(&port).await;
        } else if sent.await {
            sequence += 1;
            made.send_modify(|made| *made += 1);
        } else {
            client = connected(&port).await;
        }
    }
    sequence
}

/// Moves rows from a group's topic into another one until it is ended.
async fn carry(group: &str, to: &str, port: Port, ended: Arc<AtomicBool>, mut random: StdRng) {
    let mut client = connected(&port).await;
    while !ended.load(Ordering::Relaxed) {
        if client.is_closed() || random.random_bool(0.03) {
            client = connected(&port).await;
        }
        if !run(&client, "BEGIN").await {
            continue;
        }
        let options = format!("LIMIT {} WITH (timeout = '50ms')", random.random_range(1..30));
        let Ok(rows) = consume(&client, group, &options).await else {
            continue;
        };
        if !rows.is_empty() {
            let rows: Vec<String> = rows.iter().map(|id| format!("({id})")).collect();
            if !run(&client, &format!("INSERT INTO {to} VALUES {}", rows.join(", "))).await {
                continue;
            }
        }
        let commit = run(&client, "COMMIT");
        if random.random_bool(0.05) {
            // The connection goes while the commit may be under way.
            tokio::select! {
                biased;
                () = tokio::task::yield_now() => {}
                _ = commit => {}
            }
            client = connected(&port).await;
        } else {
            commit.await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_is_exactly_once_whatever_is_killed() {
    let mut random = support::random(support::seed("CONSUMERS_SEED"));
    let rounds = support::repeat("CONSUMERS_ROUNDS", 8);
    let (_scratch, data_dir) = support::data_dir();
    let mut server = Server::start(&data_dir);
    let client = support::connect(&server).await;
    for statement in SETUP {
        client.simple_query(statement).await.expect(statement);
    }
    let (port, follows) = watch::channel(server.address().port());
    let (made, mut progress) = watch::channel(0_u64);
    let (made, sent, carried) = (
        Arc::new(made),
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let mut producers = Vec::new();
    for producer in 0..2 {
        let random = support::random(random.random());
        producers.push(tokio::spawn(produce(
            producer,
            follows.clone(),
            made.clone(),
            sent.clone(),
            random,
        )));
    }
    let mut carriers = Vec::new();
    for (group, to) in [("first", "b"), ("first", "b"), ("second", "c"), ("second", "c")] {
        let random = support::random(random.random());
        carriers.push(tokio::spawn(carry(group, to, follows.clone(), carried.clone(), random)));
    }
    for round in 0..rounds {
        let target = *progress.borrow_and_update() + random.random_range(1..60);
        progress.wait_for(|made| *made >= target).await.expect("they go on");
        server.kill();
        let arguments: &[&str] = if round % 2 == 0 { &["--tiny-segments"] } else { &[] };
        server = Server::start_with(&data_dir, arguments);
        port.send_replace(server.address().port());
        // A server whose starts die while views are built leaves these off.
        let client = support::connect(&server).await;
        bag(&client, "SELECT n FROM seen").await.expect("the view is built");
    }
    sent.store(true, Ordering::Relaxed);
    let mut acknowledged = 0;
    for producer in producers {
        acknowledged += producer.await.expect("a producer does not panic");
    }
    let client = support::connect(&server).await;
    // The last message of each may have been made without an answer.
    let all: u64 = value(&client, "SELECT count(*) FROM a")
        .await
        .parse()
        .expect("a number");
    assert!(
        (acknowledged..=acknowledged + 2).contains(&all),
        "{all} of {acknowledged}"
    );
    let lag = "SELECT sum(lag) FROM millstream.consumer_lag";
    while value(&client, lag).await != "0" {}
    carried.store(true, Ordering::Relaxed);
    for carrier in carriers {
        carrier.await.expect("a carrier does not panic");
    }
    for topic in ["a", "b", "c"] {
        let counts = bag(&client, &format!("SELECT count(*), count(DISTINCT id) FROM {topic}")).await;
        assert_eq!(counts, Ok(vec![vec![all.to_string(), all.to_string()]]), "{topic}");
    }
    let seen = bag(&client, "SELECT n, ids FROM seen").await;
    assert_eq!(seen, Ok(vec![vec![all.to_string(), all.to_string()]]));
    println!("{all} messages, each once through three topics, over {rounds} kills");
    assert!(server.stop().success(), "a clean stop after the last recovery");
}
