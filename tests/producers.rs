//! Producers that send a transaction again until it is acknowledged, while the process is killed with -9 and connections are
//! dropped in the middle: each transaction is made once.
//!
//! `PRODUCERS_SEED` repeats a run, `PRODUCERS_ROUNDS` makes it longer.

use std::sync::Arc;

use rand::Rng;
use rand::rngs::StdRng;
use tokio::sync::watch;
use tokio_postgres::Client;

use crate::support::{self, Server, bag};

const SETUP: &[&str] = &[
    "CREATE TOPIC made (producer INT, sequence BIGINT) PARTITION BY (sequence) WITH (partitions = 3)",
    "CREATE TOPIC beside (producer INT, sequence BIGINT)",
    "CREATE MATERIALIZED VIEW twice AS SELECT producer, sequence FROM made GROUP BY producer, sequence HAVING count(*) > 1",
];
const PRODUCERS: u32 = 4;

/// The server's port; `None` once all is over.
type Port = watch::Receiver<Option<u16>>;

/// Sends transactions until there is no server any more; returns the number of those that were acknowledged.
async fn produce(producer: u32, port: Port, done: Arc<watch::Sender<u64>>, mut random: StdRng) -> u64 {
    let mut sequence = 0;
    let mut client = None;
    loop {
        let Some(now) = *port.borrow() else {
            return sequence;
        };
        let connected = match client.take() {
            Some(client) => client,
            None => match support::connect_to(now).await {
                Ok(client) => client,
                Err(_) => {
                    tokio::task::yield_now().await;
                    continue;
                }
            },
        };
        let sent = send(&connected, producer, sequence, random.random_range(0..3));
        if random.random_bool(0.1) {
            // The connection goes before the answer comes; some of these have been carried out then.
            tokio::select! {
                biased;
                () = tokio::task::yield_now() => {}
                _ = sent => {}
            }
            continue;
        }
        if sent.await {
            sequence += 1;
            done.send_modify(|count| *count += 1);
            client = Some(connected);
        }
    }
}

/// Whether the transaction, in one of three forms, was acknowledged; else the connection is gone.
fn send(client: &Client, producer: u32, sequence: u64, form: u32) -> impl Future<Output = bool> {
    let rows = format!("({producer}, {sequence})");
    let begin = format!("SET millstream.producer_id = 'p{producer}'; SET millstream.producer_sequence = {sequence}");
    let both = format!("INSERT INTO made VALUES {rows}; INSERT INTO beside VALUES {rows}");
    let statements = match form {
        0 => vec![begin, "BEGIN".to_string(), both, "COMMIT".to_string()],
        1 => vec![begin, both],
        _ => vec![
            begin,
            format!(
                "WITH first AS (INSERT INTO made VALUES {rows} RETURNING *) INSERT INTO beside SELECT * FROM first"
            ),
        ],
    };
    async move {
        for statement in &statements {
            match client.simple_query(statement).await {
                Ok(_) => {}
                Err(error) if error.as_db_error().is_none() || client.is_closed() => return false,
                // The log is failing because the process is ending; anything else is a bug.
                Err(error) => panic!("{}: {error:?}: {statement}", support::state(&error)),
            }
        }
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_is_sent_again_is_made_once() {
    let mut random = support::random(support::seed("PRODUCERS_SEED"));
    let rounds = support::repeat("PRODUCERS_ROUNDS", 12);
    let (_scratch, data_dir) = support::data_dir();
    let mut server = Server::start(&data_dir);
    let client = support::connect(&server).await;
    for statement in SETUP {
        client.simple_query(statement).await.expect(statement);
    }
    let (port, follows) = watch::channel(Some(server.address().port()));
    let (done, mut progress) = watch::channel(0_u64);
    let done = Arc::new(done);
    let producers = (0..PRODUCERS).map(|producer| {
        let random = support::random(random.random());
        tokio::spawn(produce(producer, follows.clone(), done.clone(), random))
    });
    let producers: Vec<_> = producers.collect();
    for round in 0..rounds {
        let target = *progress.borrow_and_update() + random.random_range(1..80);
        progress.wait_for(|count| *count >= target).await.expect("they go on");
        server.kill();
        let arguments: &[&str] = if round % 2 == 0 { &["--tiny-segments"] } else { &[] };
        server = Server::start_with(&data_dir, arguments);
        port.send_replace(Some(server.address().port()));
    }
    let target = *progress.borrow_and_update() + 20;
    progress.wait_for(|count| *count >= target).await.expect("they go on");
    port.send_replace(None);
    let mut acknowledged = Vec::new();
    for producer in producers {
        acknowledged.push(producer.await.expect("a producer does not panic"));
    }
    let client = support::connect(&server).await;
    for topic in ["made", "beside"] {
        for (producer, acknowledged) in (0..).zip(&acknowledged) {
            let query = format!(
                "SELECT count(*), count(DISTINCT sequence), min(sequence), max(sequence) FROM {topic} WHERE producer = {producer}"
            );
            let found = bag(&client, &query).await.expect("it is read").remove(0);
            let rows: u64 = found[0].parse().expect("a number");
            // The last one may have been made without an answer.
            assert!(
                rows == *acknowledged || rows == acknowledged + 1,
                "{topic}: {rows} rows of producer {producer}, {acknowledged} acknowledged"
            );
            assert_eq!(
                found[1..],
                [found[0].clone(), "0".to_string(), (rows - 1).to_string()],
                "{topic}"
            );
        }
    }
    assert!(
        bag(&client, "SELECT * FROM twice")
            .await
            .expect("it is read")
            .is_empty()
    );
    assert!(server.stop().success(), "a clean stop after the last recovery");
}
