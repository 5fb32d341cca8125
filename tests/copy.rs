//! COPY FROM STDIN and TO STDOUT in text and csv, by a driver: formats, errors with their place, all or nothing.

use bytes::Bytes;
use futures::{SinkExt, TryStreamExt};
use tokio_postgres::Client;
use tokio_postgres::error::DbError;

use crate::support::{self, Server, bag, value};

async fn started() -> (tempfile::TempDir, Server, Client) {
    let (scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    let client = support::connect(&server).await;
    let create = "CREATE TOPIC t (a INT, b TEXT, c NUMERIC(8,2), d TIMESTAMP, e BOOLEAN);
                  CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n, sum(a) AS s FROM t";
    client.batch_execute(create).await.expect("a topic and a view");
    (scratch, server, client)
}

/// Sends `data` in pieces of `piece` bytes, so that rows are cut anywhere.
async fn copy_in(client: &Client, sql: &str, data: &str, piece: usize) -> Result<u64, tokio_postgres::Error> {
    let sink = client.copy_in::<_, Bytes>(sql).await?;
    let mut sink = std::pin::pin!(sink);
    for part in data.as_bytes().chunks(piece) {
        if sink.send(Bytes::copy_from_slice(part)).await.is_err() {
            // The server has given up on this COPY; `finish` says why.
            break;
        }
    }
    sink.finish().await
}

async fn copy_out(client: &Client, sql: &str) -> String {
    let stream = client
        .copy_out(sql)
        .await
        .unwrap_or_else(|error| panic!("{error:?}: {sql}"));
    let parts: Vec<Bytes> = stream
        .try_collect()
        .await
        .unwrap_or_else(|error| panic!("{error:?}: {sql}"));
    String::from_utf8(parts.concat()).expect("text")
}

async fn refused(client: &Client, sql: &str, data: &str) -> DbError {
    let error = copy_in(client, sql, data, 1000).await.expect_err("the COPY must fail");
    error
        .as_db_error()
        .unwrap_or_else(|| panic!("{sql}: an error of the server: {error:?}"))
        .clone()
}

#[tokio::test]
async fn text_goes_in_and_comes_out_as_it_was() {
    let (_scratch, _server, client) = started().await;
    let data = "1\tplain\t1.50\t2024-01-01 00:00:00\tt\n\
                2\ttab\\tnewline\\nback\\\\slash\t-0.25\t2024-01-01 00:00:00.123456\tf\n\
                \\N\t\t\\N\t\\N\t\\N\n\
                4\tgröße\t0.00\t1969-12-31 23:59:59\tt\n";
    for piece in [1, 7, 1000] {
        assert_eq!(
            copy_in(&client, "COPY t FROM STDIN", data, piece)
                .await
                .expect("a good COPY"),
            4
        );
    }
    assert_eq!(value(&client, "SELECT n FROM v").await, "12");
    let escaped = bag(&client, "SELECT DISTINCT b FROM t WHERE a = 2").await.expect("t");
    assert_eq!(escaped, [["tab\tnewline\nback\\slash"]]);
    let out = copy_out(&client, "COPY (SELECT DISTINCT * FROM t ORDER BY a) TO STDOUT").await;
    let sorted: Vec<&str> = data.lines().collect();
    assert_eq!(
        out.lines().collect::<Vec<_>>(),
        [sorted[0], sorted[1], sorted[3], sorted[2]]
    );
    let whole = copy_out(&client, "COPY t TO STDOUT").await;
    assert_eq!(whole.lines().count(), 12);
}

#[tokio::test]
async fn csv_quotes_headers_and_columns_are_read_and_written() {
    let (_scratch, _server, client) = started().await;
    let data = "b,a\nplain,1\n\"with, comma\",2\n\"say \"\"hi\"\"\",3\n\"two\nlines\",4\n,5\n\"\",6\n";
    for piece in [1, 1000] {
        let sql = "COPY t (b, a) FROM STDIN WITH (FORMAT csv, HEADER)";
        assert_eq!(copy_in(&client, sql, data, piece).await.expect("a good COPY"), 6);
    }
    assert_eq!(value(&client, "SELECT s FROM v").await, "42");
    assert_eq!(
        value(&client, "SELECT count(*) FROM t WHERE b IS NULL").await,
        "2",
        "unquoted empty is NULL"
    );
    assert_eq!(
        value(&client, "SELECT count(*) FROM t WHERE b = ''").await,
        "2",
        "quoted empty is empty"
    );
    let out = copy_out(
        &client,
        "COPY (SELECT DISTINCT b, a FROM t ORDER BY a) TO STDOUT WITH (FORMAT csv, HEADER)",
    )
    .await;
    assert_eq!(out, data);

    let semicolons = copy_in(
        &client,
        "COPY t (a, b) FROM STDIN (FORMAT csv, DELIMITER ';', NULL 'null')",
        "7;null\n",
        100,
    );
    assert_eq!(semicolons.await.expect("a good COPY"), 1);
    assert_eq!(
        value(&client, "SELECT count(*) FROM t WHERE a = 7 AND b IS NULL").await,
        "1"
    );
    let out = copy_out(
        &client,
        "COPY (SELECT a, b FROM t WHERE a = 7) TO STDOUT (FORMAT csv, FORCE_QUOTE *)",
    )
    .await;
    assert_eq!(out, "\"7\",\n");
}

#[tokio::test]
async fn defaults_checks_and_watermarks_hold_for_copied_rows() {
    let (_scratch, _server, client) = started().await;
    let create = "CREATE TOPIC e (id INT NOT NULL, kind TEXT DEFAULT 'web', ts TIMESTAMP, twice INT GENERATED ALWAYS AS (id * 2) STORED,
                  CHECK (id < 100), WATERMARK FOR ts AS ts - INTERVAL '1 second')";
    client.batch_execute(create).await.expect("a topic");
    let sql = "COPY e (id, ts) FROM STDIN (FORMAT csv)";
    copy_in(&client, sql, "1,2024-01-01 00:00:05\n2,2024-01-01 00:00:25\n", 100)
        .await
        .expect("a good COPY");
    copy_in(&client, sql, "3,2024-01-01 00:00:06\n", 100)
        .await
        .expect("late rows are kept");
    let rows = bag(&client, "SELECT id, kind, twice, _watermark FROM e")
        .await
        .expect("e");
    let (one, two) = (["1", "web", "2", "NULL"], ["2", "web", "4", "NULL"]);
    assert_eq!(rows, [one, two, ["3", "web", "6", "2024-01-01 00:00:24"]]);
    let windowed = bag(&client, "SELECT id FROM TUMBLE(e, ts, INTERVAL '10 seconds')")
        .await
        .expect("windows");
    assert_eq!(windowed, [["1"], ["2"]]);

    let error = refused(&client, sql, "4,2024-01-01 00:00:30\n100,2024-01-01 00:00:31\n").await;
    assert_eq!(error.code().code(), "23514");
    let error = refused(&client, "COPY e (ts) FROM STDIN", "2024-01-01 00:00:30\n").await;
    assert_eq!(error.code().code(), "23502");
    assert_eq!(value(&client, "SELECT count(*) FROM e").await, "3");
}

#[tokio::test]
async fn a_bad_line_is_named_and_nothing_is_kept() {
    let (_scratch, server, client) = started().await;
    let cases: &[(&str, &str, &str, &str)] = &[
        (
            "COPY t FROM STDIN (FORMAT csv)",
            "1,a,1,,\n2,b,2,,\nx,c,3,,\n",
            "22P02",
            "COPY t, line 3, column a: \"x\"",
        ),
        (
            "COPY t FROM STDIN",
            "1\ta\t1\t\\N\t\\N\n2\tb\n",
            "22P04",
            "COPY t, line 2: \"2\tb\"",
        ),
        (
            "COPY t FROM STDIN",
            "1\ta\t1\t\\N\t\\N\textra\n",
            "22P04",
            "COPY t, line 1: \"1\ta\t1\t\\N\t\\N\textra\"",
        ),
        (
            "COPY t (a, d) FROM STDIN",
            "1\t2024-13-01 00:00:00\n",
            "22008",
            "COPY t, line 1, column d: \"2024-13-01 00:00:00\"",
        ),
        (
            "COPY t (c) FROM STDIN",
            "1\n1000000\n",
            "22003",
            "COPY t, line 2, column c: \"1000000\"",
        ),
        (
            "COPY t (b) FROM STDIN (FORMAT csv)",
            "\"open\n",
            "22P04",
            "COPY t, line ",
        ),
    ];
    for (sql, data, state, context) in cases {
        let error = refused(&client, sql, data).await;
        assert_eq!(error.code().code(), *state, "{sql}: {}", error.message());
        let place = error.where_().unwrap_or_default();
        assert!(
            place.starts_with(context),
            "{sql}: {place:?} must start with {context:?}"
        );
        assert_eq!(
            value(&client, "SELECT count(*) FROM t").await,
            "0",
            "{sql}: nothing is kept"
        );
        assert_eq!(value(&client, "SELECT n FROM v").await, "0", "{sql}: in views neither");
    }
    for (sql, state) in [
        ("COPY nosuch FROM STDIN", "42P01"),
        ("COPY t (nosuch) FROM STDIN", "42703"),
        ("COPY t FROM STDIN (FORMAT nosuch)", "22023"),
        ("COPY t FROM STDIN (nosuch 1)", "42601"),
        ("COPY v FROM STDIN", "42809"),
    ] {
        // A connection each: after a COPY that did not even begin, this driver takes the next answers for others.
        let client = support::connect(&server).await;
        assert_eq!(refused(&client, sql, "").await.code().code(), state, "{sql}");
    }
}

#[tokio::test]
async fn a_copy_belongs_to_its_transaction() {
    let (_scratch, server, client) = started().await;
    let other = support::connect(&server).await;
    client.batch_execute("BEGIN").await.expect("BEGIN");
    copy_in(&client, "COPY t (a) FROM STDIN", "1\n2\n", 100)
        .await
        .expect("a good COPY");
    assert_eq!(value(&client, "SELECT count(*) FROM t").await, "2");
    assert_eq!(value(&other, "SELECT count(*) FROM t").await, "0");
    client.batch_execute("ROLLBACK").await.expect("ROLLBACK");
    assert_eq!(value(&client, "SELECT count(*) FROM t").await, "0");

    client.batch_execute("BEGIN").await.expect("BEGIN");
    copy_in(&client, "COPY t (a) FROM STDIN", "3\n", 100)
        .await
        .expect("a good COPY");
    client.batch_execute("COMMIT").await.expect("COMMIT");
    assert_eq!(value(&other, "SELECT s FROM v").await, "3");
}

#[tokio::test]
async fn a_big_copy_is_one_commit_that_survives_a_kill() {
    let (scratch, server, client) = started().await;
    let rows = 60_000_u64;
    let mut data = String::new();
    for row in 0..rows {
        data.push_str(&format!(
            "{row},row number {row},{}.25,2024-01-01 00:{:02}:00,t\n",
            row % 1000,
            row % 60
        ));
    }
    assert_eq!(
        copy_in(&client, "COPY t FROM STDIN (FORMAT csv)", &data, 60_000)
            .await
            .expect("a big COPY"),
        rows
    );
    assert_eq!(value(&client, "SELECT count(DISTINCT _lsn) FROM t").await, "1");
    let sum = (0..rows).sum::<u64>().to_string();
    assert_eq!(value(&client, "SELECT s FROM v").await, sum);
    server.kill();

    let server = Server::start(&scratch.path().join("data"));
    let client = support::connect(&server).await;
    assert_eq!(value(&client, "SELECT s FROM v").await, sum);
    assert_eq!(
        copy_out(&client, "COPY t TO STDOUT (FORMAT csv)").await.lines().count() as u64,
        rows
    );
}
