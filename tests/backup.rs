//! `millstream backup` beside a server that is written to, and a second server that starts on the backup.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use crate::support::{self, Server, bag, value};

/// Exit code and everything said.
fn millstream(arguments: &[&str], data_dir: &Path) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_millstream"))
        .args(arguments)
        .arg("--data-dir")
        .arg(data_dir)
        .output()
        .expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).expect("text"))
}

const VIEW: &str = "SELECT a % 10 AS k, count(*) AS n, sum(a) AS s FROM t GROUP BY a % 10";

#[tokio::test]
async fn a_server_starts_on_a_backup_of_one_that_was_written_to() {
    let (scratch, data_dir) = support::data_dir();
    let server = Server::start_with(&data_dir, &["--tiny-segments"]);
    let client = support::connect(&server).await;
    client
        .batch_execute(&format!(
            "CREATE TOPIC t (a BIGINT); CREATE TOPIC u (a BIGINT); CREATE MATERIALIZED VIEW v AS {VIEW}"
        ))
        .await
        .expect("a first script");
    let (acknowledged, done) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));
    let writing = tokio::spawn({
        let (acknowledged, done) = (Arc::clone(&acknowledged), Arc::clone(&done));
        async move {
            let mut next = 1;
            while !done.load(Ordering::Relaxed) {
                client
                    .batch_execute(&format!(
                        "BEGIN; INSERT INTO t VALUES ({next}); INSERT INTO u VALUES ({next}), (-{next}); COMMIT"
                    ))
                    .await
                    .expect("written");
                acknowledged.store(next, Ordering::Release);
                next += 1;
            }
        }
    });
    let mut before = 0;
    for round in 0..3 {
        while acknowledged.load(Ordering::Acquire) < before + 50 {
            tokio::task::yield_now().await;
        }
        before = acknowledged.load(Ordering::Acquire);
        let to = scratch.path().join(format!("backup{round}"));
        let arguments = ["backup", "--to", to.to_str().expect("text")];
        let (code, said) = millstream(&arguments, &data_dir);
        assert_eq!(code, Some(0), "{said}");
        for words in ["up to LSN", "millstream serve --data-dir"] {
            assert!(said.contains(words), "{words}: {said}");
        }
        let (code, said) = millstream(&arguments, &data_dir);
        assert!(code == Some(1) && said.contains("exists and is not empty"), "{said}");
        let (code, said) = millstream(&["check"], &to);
        assert_eq!(code, Some(0), "{said}");

        let copy = Server::start(&to);
        let client = support::connect(&copy).await;
        let rows: i64 = value(&client, "SELECT max(a) FROM t").await.parse().expect("a number");
        assert!(rows >= before, "{before} were acknowledged, {rows} are there");
        assert_eq!(value(&client, "SELECT count(*) FROM t").await, rows.to_string());
        let both = value(&client, "SELECT count(*) FROM u WHERE abs(a) IN (SELECT a FROM t)").await;
        assert_eq!(both, (2 * rows).to_string(), "transactions are whole");
        assert_eq!(value(&client, "SELECT count(*) FROM u").await, both);
        let view = bag(&client, "SELECT * FROM v").await.expect("v");
        assert!(support::same(&view, &bag(&client, VIEW).await.expect("its query")));
        client
            .batch_execute("INSERT INTO t VALUES (0)")
            .await
            .expect("it goes on");
        drop(client);
        assert!(copy.stop().success());
    }
    done.store(true, Ordering::Relaxed);
    writing.await.expect("the writer ends");
    assert!(server.stop().success());
    let (code, said) = millstream(&["check"], &data_dir);
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test]
async fn a_damaged_data_directory_is_repaired_when_told_so() {
    let (_scratch, data_dir) = support::data_dir();
    // Each stop writes an image; while the log still has the rows of a segment, damage to it costs nothing.
    for script in [
        "CREATE TOPIC t (a BIGINT); CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n, sum(a) AS s FROM t",
        "INSERT INTO t SELECT * FROM generate_series(1, 100)",
        "INSERT INTO t SELECT * FROM generate_series(101, 150)",
        "INSERT INTO t SELECT * FROM generate_series(151, 200)",
    ] {
        let server = Server::start_with(&data_dir, &["--tiny-segments"]);
        let client = support::connect(&server).await;
        client.batch_execute(script).await.expect(script);
        drop(client);
        assert!(server.stop().success());
    }
    let (code, said) = millstream(&["repair"], &data_dir);
    assert!(code == Some(0) && said.contains("nothing is damaged"), "{said}");

    // All of them, so that neither image does without.
    for segment in std::fs::read_dir(data_dir.join("segments")).expect("segments were written") {
        let segment = segment.expect("readable").path();
        let mut bytes = std::fs::read(&segment).expect("readable");
        bytes[100] ^= 1;
        std::fs::write(&segment, bytes).expect("writable");
    }
    for _ in 0..2 {
        let (code, said) = millstream(&["repair"], &data_dir);
        assert_eq!(code, Some(1), "{said}");
        for words in ["rows of public.t", "offsets ", "--yes", "checksum"] {
            assert!(said.contains(words), "{words}: {said}");
        }
    }
    let (code, said) = millstream(&["repair", "--yes"], &data_dir);
    assert!(code == Some(0) && said.contains("rows of public.t"), "{said}");
    let (code, said) = millstream(&["check"], &data_dir);
    assert_eq!(code, Some(0), "{said}");
    let server = Server::start_with(&data_dir, &["--tiny-segments"]);
    let client = support::connect(&server).await;
    let left: i64 = value(&client, "SELECT count(*) FROM t")
        .await
        .parse()
        .expect("a number");
    assert!(left < 200, "{left} rows are left");
    let batch = bag(&client, "SELECT count(*), sum(a) FROM t").await.expect("t");
    assert_eq!(bag(&client, "SELECT n, s FROM v").await.expect("v"), batch);
    client
        .batch_execute("INSERT INTO t SELECT * FROM generate_series(1, 200)")
        .await
        .expect("it goes on");
    assert_eq!(value(&client, "SELECT max(_offset) FROM t").await, "399");
}
