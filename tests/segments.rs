//! Segments as a client sees them: answers are the same before rows are merged and after, in memory and in files.

use tokio_postgres::Client;

use crate::support::raw::{self, Raw};
use crate::support::{self, Server, bag, value};

/// On "kind", which is stored as a dictionary once it is merged, and on others.
const CONDITIONS: [&str; 9] = [
    "{kind} = 'kind 3'",
    "{kind} <> 'kind 3'",
    "{kind} IS NULL",
    "{kind} IS NOT NULL",
    "{kind} IN ('kind 1', 'kind 5', NULL)",
    "{kind} IS DISTINCT FROM 'kind 2'",
    "NOT ({kind} = 'kind 1' OR {kind} > 'kind 4')",
    "{kind} > 'kind 2' AND {kind} < 'kind 4'",
    "{kind} = 'none'",
];

/// Figures of the rows that satisfy a condition.
async fn answer(client: &Client, condition: &str, kind: &str) -> Vec<Vec<String>> {
    let condition = condition.replace("{kind}", kind);
    let sql = format!(
        "SELECT kind, count(*), sum(id), min(_offset), max(_offset), max(note), min(at), count(note) \
         FROM t WHERE {condition} AND id % 7 <> 1 GROUP BY kind ORDER BY kind"
    );
    bag(client, &sql).await.expect("an answer")
}

#[tokio::test]
async fn conditions_leave_the_same_rows_of_dictionaries() {
    let (_scratch, data_dir) = support::data_dir();
    // Of little memory a transaction is a file of its own.
    let server = Server::start_with(&data_dir, &["--tail-memory-mib", "16"]);
    let client = support::connect(&server).await;
    let create = "CREATE TOPIC t (id BIGINT, kind TEXT, note TEXT, at TIMESTAMP) WITH (partitions = 1)";
    client.batch_execute(create).await.expect("a topic");
    for part in 0..10 {
        let insert = format!(
            "INSERT INTO t SELECT i, CASE WHEN i % 11 <> 0 THEN 'kind ' || i % 6 END,
                 CASE WHEN i % 5 <> 0 THEN 'a note of some length, the ' || i || 'th' END,
                 timestamp '2024-01-01' + i * interval '1 second'
             FROM generate_series({part} * 10000 + 1, {part} * 10000 + 10000) i"
        );
        client.batch_execute(&insert).await.expect("inserted");
    }
    let bytes = "SELECT coalesce(sum(bytes), 0) FROM millstream.segments WHERE topic = 't'";
    let before = value(&client, bytes).await;
    assert_ne!(before, "0", "they are in segments");
    let mut plain = Vec::new();
    for condition in CONDITIONS {
        let left = answer(&client, condition, "kind").await;
        // Another spelling, which the scan leaves to the plan.
        assert_eq!(left, answer(&client, condition, "(kind || '')").await, "{condition}");
        plain.push(left);
    }
    // Quiet has them merged: the dictionary makes them smaller.
    while value(&client, bytes).await == before {
        tokio::task::yield_now().await;
    }
    for (condition, plain) in CONDITIONS.iter().zip(plain) {
        assert_eq!(answer(&client, condition, "kind").await, plain, "{condition}");
        assert_eq!(answer(&client, condition, "(kind || '')").await, plain, "{condition}");
    }
    let explained = bag(
        &client,
        "EXPLAIN SELECT count(*) FROM t WHERE kind = 'kind 3' AND id % 7 <> 1",
    )
    .await;
    let explained = format!("{:?}", explained.expect("a plan"));
    assert!(explained.contains("filter=kind@"), "the scan decides: {explained}");
    assert_eq!(
        explained.matches("kind 3").count(),
        1,
        "and the plan does not again: {explained}"
    );
}

#[test]
fn rows_that_come_late_are_counted_in_memory_and_in_files() {
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start_with(&data_dir, &["--tail-memory-mib", "16"]);
    let mut client = Raw::connect(&server);
    let mut said = |sql: &str| -> Vec<String> {
        let messages = client.query(sql);
        assert!(
            !messages.iter().any(|message| message.kind == 'E'),
            "{sql}: {:?}",
            raw::error(&messages)
        );
        let notices = messages.iter().filter(|message| message.kind == 'N');
        notices.map(|notice| raw::field(notice, 'M').expect("a text")).collect()
    };
    said(
        "CREATE TOPIC e (id INT, note TEXT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '1 second') WITH (partitions = 1)",
    );
    said(
        "CREATE MATERIALIZED VIEW v AS SELECT window_start, count(*) AS n \
         FROM TUMBLE(e, ts, INTERVAL '10 seconds') GROUP BY window_start EMIT ON WINDOW CLOSE",
    );
    let none: [String; 0] = [];
    assert_eq!(said("INSERT INTO e VALUES (1, 'first', '2024-01-01 00:01:00')"), none);
    assert_eq!(
        said(
            "INSERT INTO e VALUES (2, '', '2024-01-01 00:00:05'), (3, '', '2024-01-01 00:00:06'), (4, '', '2024-01-01 00:00:57')"
        ),
        ["2 rows came late for view \"v\" and were skipped by its closed windows"]
    );
    assert_eq!(
        said("INSERT INTO e VALUES (5, NULL, '2024-01-01 00:00:49.999999')"),
        ["1 row came late for view \"v\" and was skipped by its closed windows"]
    );
    let many = "INSERT INTO e SELECT i, repeat('x', 100), timestamp '2024-01-01' + i % 100 * interval '1 second' \
                FROM generate_series(1, 10000) i";
    assert_eq!(
        said(many),
        ["5000 rows came late for view \"v\" and were skipped by its closed windows"]
    );
    let rows = raw::rows(&client.query("SELECT sum(rows) FROM millstream.segments WHERE topic = 'e'"));
    assert_eq!(rows, [["10000"]], "they are in a file of their own");
}
