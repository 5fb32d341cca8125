//! `millstream backup` beside a server that is written to, and a second server that starts on what came of it.

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
