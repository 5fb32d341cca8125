//! Sessions beside one another: what one does must not hold up, refuse or end another.

use tokio::task::JoinSet;
use tokio_postgres::NoTls;

use crate::support::{self, Server, state, value};

/// Computes for minutes, and its operators hardly give way.
const HEAVY: &str =
    "SELECT count(*) FROM generate_series(1, 100000) a(x), generate_series(1, 100000) b(y) WHERE a.x * b.y % 7 = 3";

#[tokio::test(flavor = "multi_thread")]
async fn queries_that_compute_on_hold_up_neither_sessions_nor_the_stop() {
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    let mut heavy = JoinSet::new();
    // More of them than the machine has cores.
    for _ in 0..4 {
        let client = support::connect(&server).await;
        heavy.spawn(async move { client.simple_query(HEAVY).await.map(|_| ()) });
    }
    let cancelled = support::connect(&server).await;
    let token = cancelled.cancel_token();
    let watcher = support::connect(&server).await;
    let running = tokio::spawn(async move { cancelled.simple_query(HEAVY).await.map(|_| ()) });
    let active = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%100000%'";
    // This one is active, too.
    while value(&watcher, active).await != "6" {
        assert!(heavy.try_join_next().is_none(), "it takes minutes");
    }
    token.cancel_query(NoTls).await.expect("a cancel request is taken");
    let error = running.await.expect("no panic").expect_err("it was cancelled");
    assert_eq!(state(&error), "57014");

    watcher
        .batch_execute("SET statement_timeout = '50ms'")
        .await
        .expect("a time limit");
    let error = watcher.simple_query(HEAVY).await.expect_err("it takes minutes");
    assert_eq!(state(&error), "57014");

    assert!(server.stop().success(), "the stop waits for no query");
    while let Some(ended) = heavy.join_next().await {
        ended.expect("no panic").expect_err("the server has stopped");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unrelated_definitions_do_not_refuse_each_other() {
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    let client = support::connect(&server).await;
    client.batch_execute("CREATE TOPIC t (n INT)").await.expect("a topic");
    let mut sessions = JoinSet::new();
    for session in 0..4 {
        let client = support::connect(&server).await;
        sessions.spawn(async move {
            for round in 0..10 {
                let name = format!("v{session}_{round}");
                let create = format!("CREATE MATERIALIZED VIEW {name} AS SELECT n, count(*) FROM t GROUP BY n");
                client.batch_execute(&create).await.expect("a view");
                let drop = format!("DROP MATERIALIZED VIEW {name}");
                client.batch_execute(&drop).await.expect("its end");
            }
        });
    }
    while let Some(done) = sessions.join_next().await {
        done.expect("no definition is refused");
    }
    assert_eq!(
        value(&client, "SELECT count(*) FROM millstream.materialized_views").await,
        "0"
    );
}

#[tokio::test]
async fn views_nested_deep_are_recovered() {
    const DEPTH: usize = 45;
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    let client = support::connect(&server).await;
    client
        .batch_execute("CREATE TOPIC t (n INT); INSERT INTO t VALUES (1); CREATE VIEW v0 AS SELECT n FROM t")
        .await
        .expect("a topic");
    for level in 1..DEPTH {
        let view = format!("CREATE VIEW v{level} AS SELECT n + 1 AS n FROM v{}", level - 1);
        client.batch_execute(&view).await.expect("a view");
    }
    let top = format!("CREATE MATERIALIZED VIEW m AS SELECT * FROM v{}", DEPTH - 1);
    client.batch_execute(&top).await.expect("a view over all of them");
    drop(client);
    assert!(server.stop().success());

    let server = Server::start(&data_dir);
    let client = support::connect(&server).await;
    assert_eq!(value(&client, "SELECT n FROM m").await, DEPTH.to_string());
}
