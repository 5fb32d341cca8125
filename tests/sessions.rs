//! Sessions beside one another: no session may hold up, refuse or end another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use bytes::Bytes;
use futures::SinkExt;
use millstream::log::LogOptions;
use millstream::server::{QueryMemory, ViewOptions, open_engine};
use millstream::storage::{Clock, RealDisk};
use millstream::wire;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_postgres::{Client, Config, NoTls};

use crate::support::raw::{Raw, error, field, rows};
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

/// Sends rows as text, then waits for `meanwhile` before the end is sent.
async fn copy_around(client: &Client, sql: &str, rows: &[String], meanwhile: impl Future<Output = ()>) -> u64 {
    let sink = client.copy_in::<_, Bytes>(sql).await.expect("a COPY begins");
    let mut sink = std::pin::pin!(sink);
    let (first, last) = rows.split_at(rows.len() / 2);
    sink.send(Bytes::from(first.concat())).await.expect("rows are taken");
    sink.flush().await.expect("they are sent");
    meanwhile.await;
    sink.send(Bytes::from(last.concat())).await.expect("rows are taken");
    sink.finish().await.expect("the COPY is whole")
}

#[tokio::test(flavor = "multi_thread")]
async fn nobodys_statement_fails_beside_alters() {
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    let client = support::connect(&server).await;
    let create = "CREATE TOPIC t (a INT, b TEXT);
                  CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n, sum(a) AS s FROM t";
    client.batch_execute(create).await.expect("a topic and a view");
    client
        .batch_execute("INSERT INTO t VALUES (0, 'first')")
        .await
        .expect("a row");
    let over = Arc::new(AtomicBool::new(false));
    let mut sessions = JoinSet::new();
    for kind in 0..7 {
        let (client, over) = (support::connect(&server).await, Arc::clone(&over));
        sessions.spawn(async move {
            let mut rows = 0;
            let insert = client
                .prepare("INSERT INTO t (a, b) VALUES ($1, $2)")
                .await
                .expect("an INSERT");
            let select = client
                .prepare("SELECT a, b FROM t WHERE a = $1 LIMIT 3")
                .await
                .expect("a SELECT");
            while !over.load(Ordering::Relaxed) {
                let inserted = match kind {
                    0 => client
                        .batch_execute("INSERT INTO t (a, b) VALUES (1, 'x')")
                        .await
                        .map(|()| 1),
                    1 => client.execute(&insert, &[&2, &"y"]).await,
                    2 => {
                        let more = ["3\tz\n".to_string(), "3\tz\n".to_string()];
                        Ok(copy_around(&client, "COPY t (a, b) FROM STDIN", &more, async {}).await)
                    }
                    3 => client
                        .batch_execute("SELECT * FROM t WHERE a > 1 LIMIT 3")
                        .await
                        .map(|()| 0),
                    4 => client.query(&select, &[&1]).await.map(|_| 0),
                    // Several in one transaction that is no block.
                    5 => {
                        let several = "INSERT INTO t (a, b) VALUES (6, 'i'); SELECT a, b FROM t LIMIT 1;
                                       INSERT INTO t (a, b) SELECT 7, b FROM t LIMIT 1; SELECT * FROM t LIMIT 1";
                        client.batch_execute(several).await.map(|()| 2)
                    }
                    _ => {
                        let (one, two, three) = tokio::join!(
                            client.execute(&insert, &[&4, &"p"]),
                            client.query(&select, &[&4]),
                            client.execute("INSERT INTO t (a, b) SELECT 5, 'q'", &[]),
                        );
                        two.and(one).and_then(|one| three.map(|three| one + three))
                    }
                };
                rows += inserted.unwrap_or_else(|error| panic!("statement {kind}: {error:?}"));
            }
            rows
        });
    }
    for round in 0..40 {
        let alter = match round % 4 {
            0 => format!("ALTER TOPIC t ADD COLUMN c{round} INT DEFAULT 7"),
            1 => format!("ALTER TOPIC t RENAME COLUMN c{} TO d", round - 1),
            2 => "ALTER TOPIC t DROP COLUMN d".to_string(),
            _ => "ALTER TOPIC t SET (partitions = 2)".to_string(),
        };
        client.batch_execute(&alter).await.expect("an ALTER");
    }
    over.store(true, Ordering::Relaxed);
    let mut rows = 1;
    while let Some(inserted) = sessions.join_next().await {
        rows += inserted.expect("no statement fails");
    }
    assert_eq!(value(&client, "SELECT count(*) FROM t").await, rows.to_string());
    assert_eq!(value(&client, "SELECT n FROM v").await, rows.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_goes_on_over_an_alter() {
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    let (client, other) = (support::connect(&server).await, support::connect(&server).await);
    client
        .batch_execute("CREATE TOPIC t (a INT, b TEXT)")
        .await
        .expect("a topic");
    let alter = async {
        let alter = "ALTER TOPIC t ADD COLUMN c INT DEFAULT 7; ALTER TOPIC t DROP COLUMN b";
        other.batch_execute(alter).await.expect("an ALTER");
    };
    // More than a transaction has in memory: some of it is in files when the columns change.
    let rows: Vec<String> = (0..20_000).map(|n| format!("{n}\t{}\n", "x".repeat(1000))).collect();
    assert_eq!(copy_around(&client, "COPY t FROM STDIN", &rows, alter).await, 20_000);
    assert_eq!(value(&client, "SELECT count(*) FROM t WHERE c = 7").await, "20000");
    assert_eq!(value(&client, "SELECT sum(a) FROM t").await, "199990000");
    assert_eq!(
        state(&client.batch_execute("SELECT b FROM t").await.expect_err("it is gone")),
        "42703"
    );

    let alter = async {
        other
            .batch_execute("ALTER TOPIC t ADD COLUMN d INT")
            .await
            .expect("an ALTER");
    };
    let rows = ["1\t1\n".to_string(), "2\t2\n".to_string()];
    client.batch_execute("BEGIN").await.expect("a block");
    copy_around(&client, "COPY t FROM STDIN", &rows, alter).await;
    let error = client.batch_execute("COMMIT").await.expect_err("the topic has changed");
    let error = error.as_db_error().expect("an error of the server");
    assert_eq!(error.code().code(), "40001");
    assert_eq!(
        error.message(),
        "could not serialize access due to concurrent change of topic \"t\""
    );
    let drop = async {
        other.batch_execute("DROP TOPIC t").await.expect("a DROP");
    };
    let sink = client
        .copy_in::<_, Bytes>("COPY t FROM STDIN")
        .await
        .expect("a COPY begins");
    let mut sink = std::pin::pin!(sink);
    sink.send(Bytes::from("1\t1\t1\n")).await.expect("a row is taken");
    drop.await;
    let error = sink.finish().await.expect_err("the topic is gone");
    let error = error.as_db_error().expect("an error of the server");
    assert_eq!(
        (error.code().code(), error.message()),
        ("42P01", "relation \"t\" does not exist")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_cancelled_and_terminated_by_number() {
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    let admin = support::connect(&server).await;
    assert_eq!(
        value(
            &admin,
            "SELECT client_addr = '127.0.0.1' AND client_port > 1023 AND client_hostname IS NULL \
                       AND backend_start <= now() AND xact_start IS NOT NULL AND datname = 'millstream' \
                       FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        )
        .await,
        "t"
    );
    assert_eq!(
        value(
            &admin,
            "SELECT client_addr = inet_client_addr() AND client_port = inet_client_port() \
                       FROM millstream.sessions WHERE pid = pg_backend_pid()"
        )
        .await,
        "t"
    );
    let heavy = support::connect(&server).await;
    let pid = value(&heavy, "SELECT pg_backend_pid()").await;
    let signal = |function: &str| format!("SELECT pg_{function}_backend(pid) FROM pg_stat_activity WHERE pid = {pid}");
    let active = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND state = 'active'");
    for (function, expect) in [("cancel", "57014"), ("terminate", "57P01")] {
        let heavy = async {
            heavy
                .simple_query(HEAVY)
                .await
                .map(|_| ())
                .expect_err("it takes minutes")
        };
        let admin = async {
            while value(&admin, &active).await != "1" {}
            assert_eq!(value(&admin, &signal(function)).await, "t");
        };
        let (error, ()) = tokio::join!(heavy, admin);
        assert_eq!(state(&error), expect);
    }
    while value(&admin, &active.replace("AND state = 'active'", "")).await != "0" {}
    assert_eq!(value(&admin, "SELECT pg_cancel_backend(2000000)").await, "f");

    // One that idles in a transaction hears of it when it listens.
    let mut idle = Raw::connect(&server);
    idle.query("BEGIN");
    assert_eq!(
        value(&admin, &format!("SELECT pg_terminate_backend({})", idle.key.0)).await,
        "t"
    );
    let last = idle.until_closed();
    assert_eq!(
        error(&last),
        (
            "57P01".into(),
            "terminating connection due to administrator command".into()
        )
    );
    assert_eq!(field(&last[0], 'S').as_deref(), Some("FATAL"));
}

#[test]
fn a_session_that_idles_too_long_ends() {
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    for (before, expect, what) in [
        (
            "SET idle_in_transaction_session_timeout = '50ms'; BEGIN",
            "25P03",
            "idle-in-transaction",
        ),
        (
            "SET idle_in_transaction_session_timeout = 50; BEGIN; SELECT 1/0",
            "25P03",
            "idle-in-transaction",
        ),
        ("SET idle_session_timeout = '50ms'", "57P05", "idle-session"),
    ] {
        let mut raw = Raw::connect(&server);
        for statement in before.split("; ") {
            raw.query(statement);
        }
        let last = raw.until_closed();
        let message = format!("terminating connection due to {what} timeout");
        assert_eq!(error(&last), (expect.into(), message));
        assert_eq!(field(&last[0], 'S').as_deref(), Some("FATAL"));
    }
    // Neither concerns who is in the other state.
    let mut raw = Raw::connect(&server);
    raw.query("SET idle_session_timeout = '1ms'; SET idle_in_transaction_session_timeout = 0; BEGIN");
    raw.query("SELECT pg_sleep(0.05)");
    assert_eq!(rows(&raw.query("SHOW idle_session_timeout")), [["1ms"]]);
}

/// Time passes when a test says so.
#[derive(Default)]
struct OwnClock {
    passed_us: AtomicI64,
}

impl OwnClock {
    fn pass(&self, minutes: i64) {
        self.passed_us.fetch_add(minutes * 60_000_000, Ordering::Relaxed);
    }
}

impl Clock for OwnClock {
    fn now_us(&self) -> i64 {
        1_800_000_000_000_000 + self.monotonic_us()
    }

    fn monotonic_us(&self) -> i64 {
        self.passed_us.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_idles_for_an_hour_holds_up_retention_no_longer() {
    let (_scratch, data_dir) = support::data_dir();
    let clock = Arc::new(OwnClock::default());
    let memory = QueryMemory {
        bytes_max: 64 << 20,
        give_back: None,
    };
    let views = ViewOptions {
        memory_bytes_max: 64 << 20,
        off: false,
    };
    let opened = open_engine(
        RealDisk::shared(),
        &data_dir,
        clock.clone(),
        LogOptions::default(),
        memory,
        views,
    );
    let (engine, _) = opened.await.expect("an empty directory");
    let options = wire::Options {
        password: None,
        tls: None,
        tls_required: false,
        sessions_max: 10,
        guests_max: 10,
    };
    let wire = wire::WireServer::new(engine.clone(), options).expect("threads start");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("its address").port();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(wire.run(listener, async {
        let _ = stopped.await;
    }));
    let reader = support::connect_to(port).await.expect("a session");
    let writer = support::connect_to(port).await.expect("a session");
    writer
        .batch_execute("CREATE TOPIC t (n INT) WITH (retention = '30 minutes'); INSERT INTO t VALUES (1)")
        .await
        .expect("a topic with a row");
    reader.batch_execute("BEGIN").await.expect("a transaction");
    let count = "SELECT count(*) FROM t";
    assert_eq!(value(&reader, count).await, "1");
    // The writer of a commit looks after retention.
    let pass = async |minutes| {
        clock.pass(minutes);
        writer.batch_execute("INSERT INTO t VALUES (2)").await.expect("a row");
    };
    for _ in 0..3 {
        pass(50).await;
        assert_eq!(value(&writer, count).await, "1", "older rows are not read any more");
        assert_eq!(
            value(&reader, count).await,
            "1",
            "it waited for less than an hour each time"
        );
    }
    // That the server waits for the reader's next message it may notice after the clock: then for another hour.
    let mut refused = None;
    for _ in 0..100 {
        pass(61).await;
        if let Err(error) = reader.simple_query(count).await {
            refused = Some(error);
            break;
        }
    }
    assert_eq!(state(&refused.expect("an hour has passed")), "72000");
    let error = reader
        .simple_query(count)
        .await
        .expect_err("the transaction has failed");
    assert_eq!(state(&error), "25P02");
    reader.batch_execute("ROLLBACK").await.expect("it ends");
    assert_eq!(value(&reader, count).await, "1");
    drop((reader, writer));
    stop.send(()).expect("it serves");
    serving.await.expect("no panic");
    engine.views.stop().await;
    engine.log.close().await.expect("closed");
}

#[tokio::test]
async fn there_is_one_database_and_its_names_are_few() {
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    for (user, database, connects) in [
        ("ann", "millstream", true),
        ("ann", "postgres", true),
        ("ann", "ann", true),
        ("ann", "", true),
        ("ann", "bob", false),
        ("ann", "Millstream", false),
        ("ann", "template1", false),
    ] {
        let mut config = Config::new();
        config.host("127.0.0.1").port(server.port()).user(user);
        if !database.is_empty() {
            config.dbname(database);
        }
        match config.connect(NoTls).await {
            Ok((client, connection)) => {
                tokio::spawn(connection);
                assert!(connects, "{user} connects to {database}");
                let same = "SELECT datname = current_database() FROM pg_database";
                assert_eq!(value(&client, same).await, "t");
            }
            Err(error) => {
                assert!(!connects, "{user} does not connect to {database}: {error:?}");
                assert_eq!(state(&error), "3D000");
            }
        }
    }
}

#[tokio::test]
async fn event_times_too_far_ahead_are_told_once_and_counted() {
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    let client = support::connect(&server).await;
    let create = "CREATE TOPIC t (n INT, ts TIMESTAMPTZ, WATERMARK FOR ts AS ts WITH (max_ahead = '1 minute'))";
    client.batch_execute(create).await.expect("a topic");
    let insert = "INSERT INTO t SELECT n, now() + INTERVAL '1 hour' FROM generate_series(1, 3) n";
    let ahead = "SELECT rows_ahead FROM millstream.topics WHERE watermark IS NULL";
    for rows in ["3", "6"] {
        client.batch_execute(insert).await.expect("rows");
        assert_eq!(value(&client, ahead).await, rows);
    }
    let told = |server: &Server| server.log_tail().matches("public.t").count();
    assert_eq!(told(&server), 1, "{}", server.log_tail());
    assert!(server.stop().success());

    // It is part of the definition.
    let server = Server::start(&data_dir);
    let client = support::connect(&server).await;
    assert_eq!(value(&client, ahead).await, "0");
    client.batch_execute(insert).await.expect("rows");
    assert_eq!(value(&client, ahead).await, "3");
    assert_eq!(told(&server), 2, "{}", server.log_tail());
}

/// Whether a session gets an advisory lock at once.
async fn is_taken(client: &Client, key: i64) -> bool {
    value(client, &format!("SELECT pg_try_advisory_lock({key})")).await == "t"
}

#[tokio::test(flavor = "multi_thread")]
async fn advisory_locks_are_waited_for_and_given_back() {
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    let (first, second) = (support::connect(&server).await, support::connect(&server).await);
    first
        .query("SELECT pg_advisory_lock($1)", &[&7_i64])
        .await
        .expect("free");
    assert!(is_taken(&first, 7).await, "a session may take its own lock again");
    assert!(!is_taken(&second, 7).await);
    assert!(is_taken(&second, 8).await, "another key is another lock");

    // It is waited for until the first gives it back as often as it took it.
    let waits = tokio::spawn(async move {
        second
            .batch_execute("SELECT pg_advisory_lock(7)")
            .await
            .expect("it is given back");
        second
    });
    for _ in 0..2 {
        assert_eq!(value(&first, "SELECT pg_advisory_unlock(7)").await, "t");
    }
    let second = waits.await.expect("no panic");
    assert_eq!(
        value(&first, "SELECT pg_advisory_unlock(7)").await,
        "f",
        "nothing is held any more"
    );

    // Each waits for the other: one of them is told.
    first
        .batch_execute("SELECT pg_advisory_lock(1, 1)")
        .await
        .expect("free");
    second
        .batch_execute("SELECT pg_advisory_lock(2, 2)")
        .await
        .expect("free");
    let take = async |client: &Client, statement: &str| {
        let ended = client.batch_execute(statement).await;
        let given_back = client.batch_execute("SELECT pg_advisory_unlock_all()").await;
        given_back.expect("no error");
        ended
    };
    let (one, other) = tokio::join!(
        take(&first, "SELECT pg_advisory_lock(2, 2)"),
        take(&second, "SELECT pg_advisory_lock(1, 1)")
    );
    let errors: Vec<_> = [one.err(), other.err()].into_iter().flatten().collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(state(&errors[0]), "40P01");

    // A transaction's lock goes with it, a session's with the session, and a statement that is cancelled waits no longer.
    first
        .batch_execute("BEGIN; SELECT pg_advisory_xact_lock(9)")
        .await
        .expect("free");
    second
        .batch_execute("SET statement_timeout = '30ms'")
        .await
        .expect("a time limit");
    let error = second
        .batch_execute("SELECT pg_advisory_lock(9)")
        .await
        .expect_err("held");
    assert_eq!(state(&error), "57014");
    first.batch_execute("COMMIT").await.expect("committed");
    assert!(is_taken(&second, 9).await);
    drop(second);
    first
        .batch_execute("SELECT pg_advisory_lock(9)")
        .await
        .expect("its session has ended");
}
