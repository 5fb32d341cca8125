//! Materialized views and the process: memory, starts that die, statements that are cancelled, the messages in the log.

use std::path::Path;
use std::sync::Arc;

use tokio_postgres::{AsyncMessage, NoTls};

use crate::support::{self, Server, bag, connect, state, value};

const SERVER_LOG: &str = "log";

fn log_of(data_dir: &Path) -> String {
    std::fs::read_to_string(data_dir.with_extension(SERVER_LOG)).expect("the server's log")
}

async fn run(client: &tokio_postgres::Client, sql: &str) {
    client
        .batch_execute(sql)
        .await
        .unwrap_or_else(|error| panic!("{error}: {sql}"));
}

/// Most memory that the process had so far, MiB.
fn peak_mib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("a line of its own");
    let kib: u64 = line
        .split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .expect("a number");
    kib >> 10
}

#[tokio::test]
async fn a_view_that_does_not_fit_is_refused_or_comes_up_failed_and_never_ends_the_server() {
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start_with(&data_dir, &["--view-memory-mib", "256"]);
    let client = connect(&server).await;
    run(&client, "CREATE TOPIC t (k INT, ts TIMESTAMP, WATERMARK FOR ts AS ts)").await;
    run(&client, "CREATE MATERIALIZED VIEW n AS SELECT count(*) AS n FROM t").await;
    // 300,000 groups take about 20 MiB.
    run(
        &client,
        "CREATE MATERIALIZED VIEW large AS SELECT k, count(*) AS n, sum(k) AS s FROM t GROUP BY k",
    )
    .await;
    run(
        &client,
        "CREATE MATERIALIZED VIEW over_large AS SELECT count(*) AS n FROM large",
    )
    .await;
    run(
        &client,
        "INSERT INTO t SELECT g, TIMESTAMP '2026-01-01' + g * INTERVAL '1 ms' FROM generate_series(1, 300000) AS g",
    )
    .await;
    assert_eq!(value(&client, "SELECT n FROM over_large").await, "300000");
    let bytes = value(
        &client,
        "SELECT state_bytes FROM millstream.materialized_views WHERE name = 'large'",
    )
    .await;
    assert!(bytes.parse::<u64>().expect("a number") > 8 << 20, "{bytes}");

    // Each row in a thousand windows: 300 million groups.
    let exploding = "CREATE MATERIALIZED VIEW exploding AS SELECT window_start, k, count(*) AS n \
                     FROM HOP(t, ts, INTERVAL '1 second', INTERVAL '1000 seconds') GROUP BY window_start, k";
    let error = client.batch_execute(exploding).await.expect_err("it does not fit");
    assert_eq!(state(&error), "53200");
    let message = error.as_db_error().expect("the server's").message();
    assert!(message.contains("MiB"), "{message}");
    assert_eq!(
        value(&client, "SELECT count(*) FROM millstream.materialized_views").await,
        "3"
    );
    assert!(peak_mib(&server) < 1024, "{} MiB", peak_mib(&server));
    drop(client);
    assert!(server.stop().success());

    let server = Server::start_with(&data_dir, &["--view-memory-mib", "4"]);
    let client = connect(&server).await;
    assert_eq!(value(&client, "SELECT n FROM n").await, "300000");
    for view in ["large", "over_large"] {
        let error = client
            .simple_query(&format!("SELECT * FROM {view}"))
            .await
            .expect_err("failed");
        assert_eq!(state(&error), "53200", "{view}");
    }
    let reasons = bag(
        &client,
        "SELECT name, reason FROM millstream.materialized_views WHERE status = 'failed'",
    )
    .await;
    let reasons = reasons.expect("read").concat().join(" ");
    assert!(
        reasons.contains("MiB") && reasons.contains("materialized view \"large\" that it reads failed"),
        "{reasons}"
    );
    let setting = "SELECT value FROM millstream.settings WHERE name = 'view_memory_mib'";
    assert_eq!(value(&client, setting).await, "4");
    assert!(
        log_of(&data_dir).contains("a materialized view failed: out of memory"),
        "{}",
        log_of(&data_dir)
    );
    run(&client, "DROP MATERIALIZED VIEW large CASCADE").await;
    drop(client);
    assert!(server.stop().success());
}

/// A view whose building takes long, over rows that are inserted quickly. The view is made first, so that nobody waits
/// for it.
async fn slow_view(client: &tokio_postgres::Client) {
    run(client, "CREATE TOPIC t (k INT, ts TIMESTAMP, WATERMARK FOR ts AS ts)").await;
    run(client, SLOW_VIEW).await;
    run(
        client,
        "CREATE MATERIALIZED VIEW n AS SELECT count(*) AS n FROM t WHERE k > 0",
    )
    .await;
    run(client, ROWS).await;
}

/// A sum of floats takes each row into each of its windows.
const SLOW_VIEW: &str = "CREATE MATERIALIZED VIEW slow AS SELECT window_start, sum(k::double precision) AS n \
                         FROM HOP(t, ts, INTERVAL '1 second', INTERVAL '5000 seconds') GROUP BY window_start";
const ROWS: &str = "INSERT INTO t SELECT g, TIMESTAMP '2026-01-01' FROM generate_series(1, 200000) AS g";

#[tokio::test]
async fn after_two_starts_that_died_in_the_views_the_next_leaves_them_off() {
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    let client = connect(&server).await;
    slow_view(&client).await;
    server.kill();
    for _ in 0..2 {
        let server = Server::start(&data_dir);
        let client = connect(&server).await;
        // Another thread keeps the small view, which may be ready by now.
        let slow = "SELECT status FROM millstream.materialized_views WHERE name = 'slow'";
        assert_eq!(value(&client, slow).await, "building");
        run(&client, "SET consistency = 'eventual'").await;
        let error = client
            .simple_query("SELECT * FROM slow")
            .await
            .expect_err("nothing yet");
        assert_eq!(state(&error), "55000");
        server.kill();
    }
    let server = Server::start(&data_dir);
    let client = connect(&server).await;
    let off = "SELECT count(*) FROM millstream.materialized_views WHERE status = 'off'";
    assert_eq!(value(&client, off).await, "2");
    let error = client.simple_query("SELECT * FROM n").await.expect_err("off");
    assert_eq!(state(&error), "55000");
    assert!(error.as_db_error().expect("the server's").hint().is_some());
    let error = client
        .batch_execute("CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n FROM t")
        .await
        .expect_err("none is kept");
    assert_eq!(state(&error), "55000");
    assert_eq!(
        value(&client, "SELECT count(*) FROM millstream.materialized_views").await,
        "2"
    );
    assert_eq!(value(&client, "SELECT count(*) FROM t").await, "200000");
    assert!(
        log_of(&data_dir).contains("leaves all 2 views off"),
        "{}",
        log_of(&data_dir)
    );
    run(&client, "DROP MATERIALIZED VIEW slow").await;
    drop(client);
    assert!(server.stop().success());

    let server = Server::start(&data_dir);
    let client = connect(&server).await;
    assert_eq!(value(&client, "SELECT n FROM n").await, "200000");
    assert!(
        log_of(&data_dir).contains("all views are ready"),
        "{}",
        log_of(&data_dir)
    );
    drop(client);
    assert!(server.stop().success());

    let server = Server::start_with(&data_dir, &["--without-views"]);
    let client = connect(&server).await;
    let error = client.simple_query("SELECT * FROM n").await.expect_err("off");
    assert_eq!(state(&error), "55000");
    run(&client, "DROP MATERIALIZED VIEW n; INSERT INTO t VALUES (1, NULL)").await;
    assert_eq!(value(&client, "SELECT count(*) FROM t").await, "200001");
    drop(client);
    assert!(server.stop().success());
}

#[tokio::test]
async fn a_clean_stop_while_views_are_built_is_no_death() {
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    let client = connect(&server).await;
    slow_view(&client).await;
    server.kill();
    for _ in 0..3 {
        let server = Server::start(&data_dir);
        let client = connect(&server).await;
        let status = "SELECT status FROM millstream.materialized_views WHERE name = 'slow'";
        assert_eq!(value(&client, status).await, "building");
        drop(client);
        assert!(server.stop().success());
    }
}

#[tokio::test]
async fn a_long_create_ends_by_cancel_timeout_and_drop_and_leaves_nothing() {
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    let client = Arc::new(connect(&server).await);
    run(&client, "CREATE TOPIC t (k INT, ts TIMESTAMP, WATERMARK FOR ts AS ts)").await;
    run(&client, ROWS).await;
    let other = connect(&server).await;
    let views = "SELECT count(*) FROM millstream.materialized_views";
    let begun = || async {
        // The view is in the catalog once it is being built.
        while value(&other, views).await != "1" {
            tokio::task::yield_now().await;
        }
    };
    let creating = || {
        let client = client.clone();
        tokio::spawn(async move { client.batch_execute(SLOW_VIEW).await })
    };

    let create = creating();
    begun().await;
    let token = client.cancel_token();
    token.cancel_query(NoTls).await.expect("asked");
    let error = create.await.expect("no panic").expect_err("cancelled");
    assert_eq!(state(&error), "57014");
    assert_eq!(value(&other, views).await, "0");

    run(&client, "SET statement_timeout = '300ms'").await;
    let error = creating().await.expect("no panic").expect_err("too slow");
    assert_eq!(state(&error), "57014");
    assert!(
        error
            .as_db_error()
            .expect("the server's")
            .message()
            .contains("statement timeout")
    );
    assert_eq!(value(&other, views).await, "0");
    run(&client, "SET statement_timeout = 0").await;

    let create = creating();
    begun().await;
    run(&other, "DROP MATERIALIZED VIEW slow").await;
    let error = create.await.expect("no panic").expect_err("dropped");
    assert_eq!(state(&error), "42P01");

    let create = creating();
    begun().await;
    run(&other, "DROP TOPIC t CASCADE").await;
    create.await.expect("no panic").expect_err("what it reads was dropped");
    assert_eq!(value(&other, views).await, "0");
    assert_eq!(
        value(
            &other,
            "SELECT value FROM millstream.metrics WHERE name = 'view_memory_bytes'"
        )
        .await,
        "0"
    );
    drop((client, other));
    assert!(server.stop().success());
}

#[tokio::test]
async fn a_session_is_told_once_of_a_view_that_failed() {
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    let (notices, mut told) = tokio::sync::mpsc::unbounded_channel();
    let place = format!(
        "host=127.0.0.1 port={} user=millstream dbname=millstream",
        server.port()
    );
    let (client, mut connection) = tokio_postgres::connect(&place, NoTls).await.expect("connected");
    tokio::spawn(async move {
        let mut messages = std::pin::pin!(futures::stream::poll_fn(move |context| connection.poll_message(context)));
        while let Some(Ok(message)) = futures::StreamExt::next(&mut messages).await {
            if let AsyncMessage::Notice(notice) = message {
                let _ = notices.send(notice.message().to_string());
            }
        }
    });
    run(&client, "CREATE TOPIC t (a INT); CREATE TOPIC u (a INT)").await;
    run(&client, "CREATE MATERIALIZED VIEW bad AS SELECT 1 / a AS q FROM t").await;
    run(&client, "CREATE MATERIALIZED VIEW n AS SELECT count(*) AS n FROM t").await;
    run(&client, "INSERT INTO t VALUES (1), (0)").await;
    // Its reader is answered once all is known.
    let error = client.simple_query("SELECT * FROM bad").await.expect_err("failed");
    assert_eq!(state(&error), "22012");
    run(&client, "INSERT INTO u VALUES (1)").await;
    run(&client, "INSERT INTO t VALUES (2)").await;
    run(&client, "INSERT INTO t VALUES (3)").await;
    assert_eq!(value(&client, "SELECT n FROM n").await, "4");
    let first = told.recv().await.expect("a notice");
    assert_eq!(
        first,
        "materialized view \"bad\" has failed and takes no more rows: division by zero (22012), at topic \"t\", \
         partition 0, offset 1"
    );
    assert!(told.try_recv().is_err(), "once");
    assert!(
        log_of(&data_dir).contains("a materialized view failed: division by zero"),
        "{}",
        log_of(&data_dir)
    );
    drop(client);
    assert!(server.stop().success());
}
