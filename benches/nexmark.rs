//! Nexmark's queries as views that are kept while rows come in by COPY: events per CPU second of the server.
//!
//! `cargo bench --bench nexmark` starts the release server once for each query of `tests/nexmark/`, makes its view, copies the
//! events in and reads the view. The reference in the same run is the same COPY without any view: the second figure is the
//! view's own cost per event beside it.
//!
//! `BENCH_EVENTS` (1,000,000), `BENCH_QUERIES` (names with commas between; all) and `BENCH_DIR` (the place) change it.

#![allow(
    clippy::disallowed_methods,
    reason = "a bench times, reads /proc and spawns servers itself"
)]

#[path = "support/client.rs"]
mod client;
#[path = "support/nexmark.rs"]
mod nexmark;
#[path = "support/process.rs"]
mod process;
#[path = "../tests/support/server.rs"]
mod server;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use futures::SinkExt;

use client::connect;
use nexmark::{EventKind, Events};
use process::tree_cpu_seconds;
use server::Server;

/// Events of a COPY into each topic.
const COPY_EVENTS: usize = 50_000;
/// Time between two events: 10,000 in a second.
const GAP_US: i64 = 100;

/// One turn of a query, or of none.
struct Turn {
    cpu_seconds: f64,
    seconds: f64,
    rows: String,
    kept: bool,
}

fn main() {
    let events = std::env::var("BENCH_EVENTS").ok().and_then(|text| text.parse().ok());
    let events: usize = events.unwrap_or(1_000_000);
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nexmark");
    let mut queries: BTreeMap<String, String> = BTreeMap::new();
    for file in fs::read_dir(dir).expect("the queries are there").flatten() {
        let path = file.path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            queries.insert(name, fs::read_to_string(path).expect("readable"));
        }
    }
    if let Ok(chosen) = std::env::var("BENCH_QUERIES") {
        queries.retain(|name, _| chosen.split(',').any(|other| other.trim() == name));
    }
    let copies = copies(events);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let alone = runtime.block_on(turn(None, &copies));
    let millions = events as f64 / 1e6;
    println!("{events} events, {COPY_EVENTS} a round; million events per CPU second of the server");
    println!(
        "{:<10}{:>10}{:>16}{:>12}{:>12}  ",
        "", "in all", "CPU us/event", "of the view", "rows"
    );
    println!(
        "{:<10}{:>10.2}{:>16.2}{:>12}{:>12}  COPY without a view, {:.1} s",
        "none",
        millions / alone.cpu_seconds,
        alone.cpu_seconds / millions,
        "",
        "",
        alone.seconds
    );
    for (name, sql) in &queries {
        let turn = runtime.block_on(turn(Some((name, sql)), &copies));
        println!(
            "{:<10}{:>10.2}{:>16.2}{:>12.2}{:>12}  {}{:.1} s",
            name,
            millions / turn.cpu_seconds,
            turn.cpu_seconds / millions,
            (turn.cpu_seconds - alone.cpu_seconds) / millions,
            turn.rows,
            if turn.kept { "" } else { "recomputed, " },
            turn.seconds
        );
    }
}

/// The rows of each COPY: relation and lines.
fn copies(events: usize) -> Vec<(&'static str, Bytes)> {
    let mut copies = vec![("side_input", Bytes::from(nexmark::side_rows().join("\n") + "\n"))];
    let mut source = Events::new(1, GAP_US);
    let mut left = events;
    while left > 0 {
        let mut texts = [String::new(), String::new(), String::new()];
        for event in source.by_ref().take(COPY_EVENTS.min(left)) {
            let text = &mut texts[match event.kind {
                EventKind::Person => 0,
                EventKind::Auction => 1,
                EventKind::Bid => 2,
            }];
            text.push_str(&event.line);
            text.push('\n');
        }
        left -= COPY_EVENTS.min(left);
        let topics = ["person", "auction", "bid"].into_iter();
        copies.extend(topics.zip(texts).map(|(topic, text)| (topic, Bytes::from(text))));
    }
    copies
}

async fn turn(query: Option<(&str, &str)>, copies: &[(&str, Bytes)]) -> Turn {
    let place = std::env::var("BENCH_DIR").unwrap_or_else(|_| ".".to_string());
    let scratch = tempfile::tempdir_in(place).expect("a temporary directory can be made");
    let server = Server::start(&scratch.path().join("data"));
    let client = connect(&server).await;
    client
        .batch_execute(nexmark::TOPICS)
        .await
        .expect("the topics are made");
    let mut kept = true;
    if let Some((name, sql)) = query {
        let create = format!("CREATE MATERIALIZED VIEW {name} AS {sql}");
        client.batch_execute(&create).await.expect("the view is made");
        let sql = "SELECT count(*) FROM millstream.materialized_views WHERE recomputed IS NULL";
        let row = client.query_one(sql, &[]).await.expect("a number");
        kept = row.get::<_, i64>(0) == 1;
    }
    let (cpu, begun) = (tree_cpu_seconds(server.pid()), Instant::now());
    for (topic, rows) in copies {
        let copy = format!("COPY {topic} FROM STDIN (FORMAT csv)");
        let sink = client.copy_in::<_, Bytes>(&copy).await.expect("COPY begins");
        let mut sink = std::pin::pin!(sink);
        for piece in 0..rows.len().div_ceil(1 << 16) {
            let piece = rows.slice(piece << 16..((piece + 1) << 16).min(rows.len()));
            sink.feed(piece).await.expect("rows are taken");
        }
        sink.finish().await.expect("rows are kept");
    }
    let rows = match query {
        Some((name, _)) => {
            let row = client.query_one(&format!("SELECT count(*) FROM {name}"), &[]).await;
            row.expect("the view can be read").get::<_, i64>(0).to_string()
        }
        None => String::new(),
    };
    Turn {
        cpu_seconds: tree_cpu_seconds(server.pid()) - cpu,
        seconds: begun.elapsed().as_secs_f64(),
        rows,
        kept,
    }
}
