//! The time until a committed row is seen in a small view, beside views that are large, read all the time, and being built.
//!
//! `cargo bench --bench freshness` sends rows at a steady rate and reads the small view after each commit: the time from the
//! commit's answer to the view's. First alone, which is the reference, then while a view of many groups is read in a loop and
//! another is built over all rows, again and again.
//!
//! `BENCH_GROUPS` (1,000,000), `BENCH_ROWS` (that are there before, 10,000,000), `BENCH_SECONDS` (10) and `BENCH_DIR` change it.

#![allow(clippy::disallowed_methods, reason = "a bench times and spawns servers itself")]

#[path = "support/client.rs"]
mod client;
#[path = "../tests/support/server.rs"]
mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use client::connect;
use server::Server;

const ROWS_PER_SECOND: u64 = 20_000;
const COMMITS_PER_SECOND: u64 = 50;

fn main() {
    let number = |name: &str, usual: u64| {
        let text = std::env::var(name).ok();
        text.and_then(|text| text.parse().ok()).unwrap_or(usual)
    };
    let groups = number("BENCH_GROUPS", 1_000_000);
    let rows = number("BENCH_ROWS", 10_000_000);
    let turn = Duration::from_secs(number("BENCH_SECONDS", 10));
    let place = std::env::var("BENCH_DIR").unwrap_or_else(|_| ".".to_string());
    let scratch = tempfile::tempdir_in(place).expect("a temporary directory can be made");
    let server = Server::start(&scratch.path().join("data"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let client = connect(&server).await;
        client
            .batch_execute("CREATE TOPIC old (k BIGINT, v BIGINT); CREATE TOPIC t (k BIGINT, v BIGINT)")
            .await
            .expect("topics");
        client
            .batch_execute(&format!(
                "INSERT INTO old SELECT g % {groups}, g FROM generate_series(1, {rows}) AS g; \
                 INSERT INTO t SELECT g, g FROM generate_series(1, {groups}) AS g; \
                 CREATE MATERIALIZED VIEW small AS SELECT k % 10 AS k, count(*) AS n, sum(v) AS s FROM t GROUP BY k % 10; \
                 CREATE MATERIALIZED VIEW large AS SELECT k, count(*) AS n, sum(v) AS s FROM t GROUP BY k"
            ))
            .await
            .expect("views");
        println!("milliseconds from a commit's answer to the small view's, at {ROWS_PER_SECOND} rows/s");
        println!("{:<28}{:>8}{:>8}{:>8}{:>10}{:>10}", "", "p50", "p99", "max", "reads", "builds");
        let alone = measure(&client, groups, turn).await;
        print("alone", alone, 0, 0);
        let going = Arc::new(AtomicBool::new(true));
        let (reads, builds) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let reader = repeat(&server, &going, &reads, &["SELECT count(*), sum(n) FROM large"]).await;
        // Each on its own: a view that is dropped in its transaction is never built.
        let build = &[
            "CREATE MATERIALIZED VIEW built AS SELECT k, count(*) AS n, sum(v) AS s FROM old GROUP BY k",
            "DROP MATERIALIZED VIEW built",
        ];
        let builder = repeat(&server, &going, &builds, build).await;
        let beside = measure(&client, groups, turn).await;
        going.store(false, Ordering::Relaxed);
        print(
            "large read, another built",
            beside,
            reads.load(Ordering::Relaxed),
            builds.load(Ordering::Relaxed),
        );
        reader.await.expect("it reads");
        builder.await.expect("it builds");
    });
}

fn print(name: &str, mut times: Vec<f64>, reads: u64, builds: u64) {
    times.sort_by(f64::total_cmp);
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    println!(
        "{name:<28}{:>8.1}{:>8.1}{:>8.1}{reads:>10}{builds:>10}",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

/// Runs statements on a connection of their own again and again, as long as it goes on.
async fn repeat(
    server: &Server,
    going: &Arc<AtomicBool>,
    done: &Arc<AtomicU64>,
    statements: &'static [&'static str],
) -> tokio::task::JoinHandle<()> {
    let client = connect(server).await;
    let (going, done) = (going.clone(), done.clone());
    tokio::spawn(async move {
        while going.load(Ordering::Relaxed) {
            for statement in statements {
                client.batch_execute(statement).await.expect("the statement runs");
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
    })
}

/// Milliseconds from each commit until the small view has it.
async fn measure(client: &Client, groups: u64, turn: Duration) -> Vec<f64> {
    let rows = ROWS_PER_SECOND / COMMITS_PER_SECOND;
    let insert =
        format!("INSERT INTO t SELECT (g * 7919 + $1::bigint) % {groups}, g FROM generate_series(1, {rows}) AS g");
    let insert = client.prepare(&insert).await.expect("it prepares");
    let select = client
        .prepare("SELECT sum(n)::bigint FROM small")
        .await
        .expect("it prepares");
    let mut times = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_micros(1_000_000 / COMMITS_PER_SECOND));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut expected: i64 = client.query_one(&select, &[]).await.expect("a sum").get(0);
    let begun = Instant::now();
    let mut number = 0i64;
    while begun.elapsed() < turn {
        ticks.tick().await;
        number += 104_729;
        client.execute(&insert, &[&number]).await.expect("a commit");
        let committed = Instant::now();
        expected += rows as i64;
        let seen: i64 = client.query_one(&select, &[]).await.expect("a sum").get(0);
        assert_eq!(seen, expected, "a reader sees what was committed before");
        times.push(committed.elapsed().as_secs_f64() * 1000.0);
    }
    times
}
