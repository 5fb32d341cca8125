//! The process: its start, its refusals and their messages, its stop.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use rustix::process::Signal;

use crate::support::server::PASSWORD;
use crate::support::{self, Server, bag, value};

#[tokio::test]
async fn rows_and_views_are_there_after_a_clean_restart() {
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    let client = support::connect(&server).await;
    client
        .batch_execute("CREATE TOPIC t (a INT); CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM t; INSERT INTO t VALUES (1), (2)")
        .await
        .expect("a first script");
    drop(client);
    assert!(server.stop().success());

    let server = Server::start(&data_dir);
    let client = support::connect(&server).await;
    assert_eq!(value(&client, "SELECT n FROM v").await, "2");
    assert_eq!(bag(&client, "SELECT a FROM t").await.expect("t"), [["1"], ["2"]]);
}

#[tokio::test]
async fn sigterm_and_ctrl_c_stop_cleanly_while_clients_are_connected() {
    for signal in [Signal::TERM, Signal::INT] {
        let (_scratch, data_dir) = support::data_dir();
        let server = Server::start(&data_dir);
        let client = support::connect(&server).await;
        client.batch_execute("CREATE TOPIC t (a INT)").await.expect("a topic");
        client
            .batch_execute("BEGIN; INSERT INTO t VALUES (1)")
            .await
            .expect("an open transaction");
        server.signal(signal);
        let status = server.wait();
        assert!(status.success(), "{signal:?}: {status}");
        assert!(
            client.simple_query("SELECT 1").await.is_err(),
            "the connection is closed"
        );

        let server = Server::start(&data_dir);
        let client = support::connect(&server).await;
        assert_eq!(
            value(&client, "SELECT count(*) FROM t").await,
            "0",
            "the open transaction left nothing"
        );
    }
}

#[test]
fn a_second_process_on_the_same_data_directory_is_refused_by_name() {
    let (_scratch, data_dir) = support::data_dir();
    let first = Server::start(&data_dir);
    let refused = Server::try_start(&data_dir, &[]).err().expect("the directory is taken");
    assert_refused(
        &refused,
        &[data_dir.file_name().and_then(|name| name.to_str()).expect("a name")],
    );
    drop(first);
    Server::start(&data_dir);
}

#[tokio::test]
async fn a_data_directory_can_be_checked() {
    let (_scratch, data_dir) = support::data_dir();
    let check = || {
        let mut check = Command::new(env!("CARGO_BIN_EXE_millstream"));
        let output = check
            .arg("check")
            .arg("--data-dir")
            .arg(&data_dir)
            .output()
            .expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).expect("text"))
    };
    let (code, said) = check();
    assert!(code == Some(1) && said.contains("wal"), "{said}");
    let server = Server::start_with(&data_dir, &["--tiny-segments"]);
    let client = support::connect(&server).await;
    client
        .batch_execute("CREATE TOPIC t (a INT); INSERT INTO t SELECT * FROM generate_series(1, 100)")
        .await
        .expect("a first script");
    let (code, said) = check();
    assert!(code == Some(1) && said.contains("in use by another server"), "{said}");
    drop(client);
    assert!(server.stop().success());
    let (code, said) = check();
    assert_eq!(code, Some(0), "{said}");
    for words in ["100 rows", "stopped cleanly", "nothing is damaged"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let segments = fs::read_dir(data_dir.join("segments")).expect("segments were written");
    let segment = segments
        .map(|entry| entry.expect("readable").path())
        .min()
        .expect("one at least");
    let mut bytes = fs::read(&segment).expect("readable");
    bytes[200] ^= 1;
    fs::write(&segment, bytes).expect("writable");
    let (code, said) = check();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("checksum does not match") && said.contains("damaged in 1 place"),
        "{said}"
    );

    // Only readers of the rows get the error.
    let server = Server::start(&data_dir);
    let client = support::connect(&server).await;
    let error = client
        .simple_query("SELECT sum(a) FROM t")
        .await
        .expect_err("they are damaged");
    assert_eq!(support::state(&error), "XX001");
    client
        .batch_execute("INSERT INTO t VALUES (101)")
        .await
        .expect("the log goes on");
    assert_eq!(value(&client, "SELECT a FROM t WHERE a > 100").await, "101");
}

#[test]
fn a_port_in_use_is_said() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("its address").to_string();
    let (_scratch, data_dir) = support::data_dir();
    let refused = Server::try_start(&data_dir, &["--listen", &address])
        .err()
        .expect("the port is taken");
    assert_refused(&refused, &[&address]);
}

#[test]
fn a_listener_beyond_loopback_needs_a_password() {
    let (_scratch, data_dir) = support::data_dir();
    let refused = Server::try_start(&data_dir, &["--listen", "0.0.0.0:0"])
        .err()
        .expect("no password is set");
    assert_refused(&refused, &["MILLSTREAM_PASSWORD"]);

    let server = Server::start_with_password(&data_dir, &["--listen", "0.0.0.0:0"]);
    assert!(!server.log_tail().contains(PASSWORD), "the password is in the log");
}

#[tokio::test]
async fn a_password_is_asked_for_when_one_is_set() {
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start_with_password(&data_dir, &["--listen", "0.0.0.0:0"]);
    let connect = async |password: &str| support::log_in(server.port(), "millstream", password).await.map(drop);
    connect(PASSWORD).await.expect("the right password");
    let wrong = connect("battery staple").await.expect_err("the wrong password");
    assert_eq!(support::state(&wrong), "28P01");
}

#[test]
fn a_data_directory_that_cannot_be_used_is_said() {
    let (scratch, _) = support::data_dir();
    let file = scratch.path().join("file");
    fs::write(&file, "not a directory").expect("a file can be written");
    let refused = Server::try_start(&file, &[])
        .err()
        .expect("a file is no data directory");
    assert_refused(&refused, &["file"]);

    let locked = scratch.path().join("locked");
    fs::create_dir(&locked).expect("a directory can be made");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).expect("permissions can be set");
    // Root may read anything: then there is nothing to refuse.
    if fs::read_dir(&locked).is_err() {
        let refused = Server::try_start(&locked.join("data"), &[])
            .err()
            .expect("it cannot be read");
        assert_refused(&refused, &["locked"]);
    }
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o700)).expect("permissions can be set");
}

#[test]
fn the_demo_runs_to_its_end_and_leaves_nothing() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let output = Command::new(env!("CARGO_BIN_EXE_millstream"))
        .args(["demo", "--rows", "3000", "--listen", "127.0.0.1:0"])
        .current_dir(scratch.path())
        .env("TMPDIR", scratch.path())
        .output()
        .expect("the demo runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("psql") && text.contains("rows/s"), "{text}");
    let left = fs::read_dir(scratch.path()).expect("our own directory").count();
    assert_eq!(left, 0, "its data directory is its own to remove");
}

#[test]
fn an_unknown_flag_is_refused_with_usage() {
    let (_scratch, data_dir) = support::data_dir();
    let refused = Server::try_start(&data_dir, &["--no-such-flag"])
        .err()
        .expect("an unknown flag");
    assert_refused(&refused, &["--no-such-flag"]);
}

/// Ended by itself with a code, no panic, and named the object that the user must look at.
fn assert_refused(refused: &support::Refused, mentions: &[&str]) {
    assert!(
        refused.status.code().is_some_and(|code| code != 0 && code != 101),
        "{}\n{}",
        refused.status,
        refused.output
    );
    assert!(!refused.output.contains("panicked"), "{}", refused.output);
    for mention in mentions {
        assert!(
            refused.output.contains(mention),
            "{mention} is not mentioned:\n{}",
            refused.output
        );
    }
}

/// Copies a directory of the fixtures, which a test then owns.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("known").is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("copied");
        }
    }
}

#[tokio::test]
async fn a_data_directory_of_the_first_format_is_read_and_goes_on() {
    let (_scratch, data_dir) = support::data_dir();
    let fixture = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format-1");
    copy(&fixture, &data_dir);
    let server = Server::start_with(&data_dir, &["--tiny-segments"]);
    let client = support::connect(&server).await;
    let rows = |sql: &'static str| {
        let client = &client;
        async move { bag(client, sql).await.expect("it is read") }
    };
    assert_eq!(
        rows("SELECT count(*), sum(price), count(at) FROM orders").await,
        [["43", "1028.50", "42"]]
    );
    assert_eq!(
        rows("SELECT orders, total FROM per_item WHERE item = 'item 1' OR item IS NULL").await,
        [["1", "NULL"], ["9", "187.50"]]
    );
    assert_eq!(rows("SELECT count(*) FROM cheap").await, [["9"]]);
    assert_eq!(
        rows("SELECT obj_description('orders'::regclass, 'pg_class')").await,
        [["of the first format"]]
    );
    // Its columns have no identities of their own: they count from one.
    client
        .batch_execute(
            "ALTER TOPIC orders RENAME item TO thing, ADD COLUMN note TEXT DEFAULT 'old', SET (retention = '36500 days');
             INSERT INTO orders VALUES (44, 'item 1', 1.00, '2026-01-01 00:03:00', 'new')",
        )
        .await
        .expect("it can be altered");
    let all = "SELECT thing, note, count(*) FROM orders WHERE id > 40 GROUP BY 1, 2";
    let expected = [
        ["NULL", "old", "1"],
        ["item 1", "new", "1"],
        ["item 1", "old", "1"],
        ["late", "old", "1"],
    ];
    assert_eq!(rows(all).await, expected);
    assert_eq!(
        rows("SELECT orders FROM per_item WHERE item = 'item 1'").await,
        [["10"]]
    );
    server.kill();
    let server = Server::start(&data_dir);
    let client = support::connect(&server).await;
    assert_eq!(bag(&client, all).await.expect("it is read"), expected);
    assert_eq!(
        value(&client, "SELECT orders FROM per_item WHERE item = 'item 1'").await,
        "10"
    );
}

#[tokio::test]
async fn segments_of_the_first_format_are_read_beside_new_ones() {
    let (_scratch, data_dir) = support::data_dir();
    let fixture = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/segments-1");
    copy(&fixture, &data_dir);
    // They are merged and compressed; one more was adopted.
    let mut server = Server::start_with(&data_dir, &["--tiny-segments"]);
    for added in 0..3 {
        let client = support::connect(&server).await;
        let all =
            "SELECT count(*), sum(id), sum(price), count(name), max(at)::text, count(ok) FROM events WHERE id > 0";
        assert_eq!(
            bag(&client, all).await.expect("it is read"),
            [["54", "80325", "289.00", "46", "2026-01-01 00:00:10+00", "40"]]
        );
        let some = "SELECT id FROM events WHERE name = 'name 2' AND raw > '\\x72617720'::bytea AND day > '2026-01-04'";
        assert_eq!(
            bag(&client, some).await.expect("it is read"),
            [["108"], ["208"], ["308"], ["408"]]
        );
        for row in 1..=20 {
            let insert = format!("INSERT INTO events (id, name) VALUES ({}, repeat('new', 30))", -row);
            client.batch_execute(&insert).await.expect("it goes on");
        }
        let new = "SELECT count(*) FROM events WHERE id < 0 AND _offset >= 54";
        assert_eq!(value(&client, new).await, (20 * (added + 1)).to_string());
        server.kill();
        server = Server::start_with(&data_dir, &["--tiny-segments"]);
    }
}
