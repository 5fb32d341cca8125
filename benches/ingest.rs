//! The rate at which rows become durable, and the cost of a row.
//!
//! `cargo bench --bench ingest` starts the release server and measures over the wire, in one run and in turns with
//! PostgreSQL where `initdb` and `postgres` are installed. The cases:
//!
//! - `sync`: commits/s of prepared single-row INSERTs at 1, 8, 32 and 256 connections, beside a bare append + fdatasync
//!   loop on the same file system;
//! - `async`: the same under `synchronous_commit = off`, at 1 and 8 connections;
//! - `multi-row`: INSERTs of 1000 rows each, as text, from one connection;
//! - `copy-text`, `copy-csv`, `copy-binary`: COPY, with the bytes per row that it writes to disk.
//!
//! Each tells the server's CPU time (user + system of all its processes) per commit or row.
//!
//! One rule: only ratios within a run mean something; a machine's speed swings by more than what is measured.
//! `BENCH_CASES` (names with commas between; all) chooses, `BENCH_SECONDS` (per turn, 2), `BENCH_TURNS` (3) and
//! `BENCH_ROWS` (of a COPY, 400000) change the size, `BENCH_DIR` the place.

#![allow(
    clippy::disallowed_methods,
    reason = "a bench times, reads /proc and spawns servers itself"
)]

#[path = "support/bids.rs"]
mod bids;
#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/process.rs"]
mod process;
#[path = "../tests/support/server.rs"]
mod server;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes};
use futures::SinkExt;
use tokio::task::JoinSet;
use tokio_postgres::{Client, Config, NoTls};

use bids::{Bid, Bids, COLUMNS};
use postgres::Postgres;
use process::{tree_cpu_seconds, tree_written_bytes};
use server::Server;

const CASES: [&str; 6] = ["sync", "async", "multi-row", "copy-text", "copy-csv", "copy-binary"];
const CONNECTIONS_SYNC: &[usize] = &[1, 8, 32, 256];
const CONNECTIONS_ASYNC: &[usize] = &[1, 8];
const INSERT: &str = "INSERT INTO bids VALUES ($1, $2, 1250, 'web', NULL, '2024-01-01 00:00:00', '')";
/// Rows of a statement of `multi-row`.
const STATEMENT_ROWS: usize = 1000;
/// Statements of `multi-row`, sent again and again.
const STATEMENTS: u64 = 16;

/// A database that takes inserts: ours or PostgreSQL.
struct System {
    name: &'static str,
    config: Config,
    /// The process whose tree's CPU time counts.
    pid: u32,
}

/// The figures of a turn of a case; or the median of all turns, figure by figure.
#[derive(Clone, Copy)]
struct Figures {
    /// Commits or rows.
    per_second: f64,
    /// CPU microseconds of the server per commit or row.
    cpu_us: f64,
    /// Bytes written to disk per row; of COPY alone.
    written: f64,
}

/// The format of the rows of a COPY.
#[derive(Clone, Copy)]
enum Format {
    Text,
    Csv,
    Binary,
}

struct Sizes {
    turn: Duration,
    turns: u64,
    rows: u64,
}

fn main() {
    let number = |name: &str, usual: u64| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(usual)
    };
    let sizes = Sizes {
        turn: Duration::from_secs(number("BENCH_SECONDS", 2)),
        turns: number("BENCH_TURNS", 3),
        rows: number("BENCH_ROWS", 400_000),
    };
    let chosen = std::env::var("BENCH_CASES").unwrap_or_else(|_| CASES.join(","));
    let chosen: Vec<&str> = chosen.split(',').map(str::trim).collect();
    for name in &chosen {
        assert!(CASES.contains(name), "BENCH_CASES: no case \"{name}\" among {CASES:?}");
    }
    let scratch = scratch();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");

    let data_dir = scratch.path().join("millstream");
    let server = Server::start(&data_dir);
    let mut config = Config::new();
    config
        .host("127.0.0.1")
        .port(server.port())
        .user("millstream")
        .dbname("millstream");
    let mut systems = vec![System {
        name: "millstream",
        config,
        pid: server.pid(),
    }];
    let postgres = Postgres::start(scratch.path());
    match &postgres {
        Some(postgres) => systems.push(System {
            name: "postgres",
            config: postgres.config(),
            pid: postgres.pid(),
        }),
        None => println!("PostgreSQL is not installed (or cannot run as this user): no comparison"),
    }

    runtime.block_on(async {
        for system in &systems {
            let word = if system.name == "millstream" { "TOPIC" } else { "TABLE" };
            let client = connect(&system.config).await;
            client
                .batch_execute(&format!("CREATE {word} bids {COLUMNS}; CREATE {word} copied {COLUMNS}"))
                .await
                .expect("tables");
        }
        println!("median of {} turns; ratios are millstream/postgres", sizes.turns);
        for case in chosen {
            match case {
                "sync" => single_rows(&systems, CONNECTIONS_SYNC, "on", scratch.path(), &sizes).await,
                "async" => single_rows(&systems, CONNECTIONS_ASYNC, "off", scratch.path(), &sizes).await,
                "multi-row" => many_rows(&systems, &sizes).await,
                "copy-text" => copies(&systems, Format::Text, &sizes).await,
                "copy-csv" => copies(&systems, Format::Csv, &sizes).await,
                "copy-binary" => copies(&systems, Format::Binary, &sizes).await,
                other => unreachable!("{other} is among the cases"),
            }
        }
    });
    drop(postgres);
    assert!(server.stop().success(), "a clean stop after the load");
}

/// Beside the build: a place for temporary files may be in memory, where a sync costs nothing. `BENCH_DIR` says another.
fn scratch() -> tempfile::TempDir {
    let place = std::env::var_os("BENCH_DIR").map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    tempfile::tempdir_in(place).expect("a scratch directory")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn medians(turns: &[Figures]) -> Figures {
    let of = |figure: fn(&Figures) -> f64| median(turns.iter().map(figure).collect());
    Figures {
        per_second: of(|turn| turn.per_second),
        cpu_us: of(|turn| turn.cpu_us),
        written: of(|turn| turn.written),
    }
}

/// The columns that all cases share: each system's rate and its server's CPU time, each with the ratio.
fn print_head(label: &str, rate: &str, cost: &str, systems: &[System]) {
    print!("{label:<14}");
    for figure in [rate, cost] {
        systems
            .iter()
            .for_each(|system| print!("{:>22}", format!("{} {figure}", system.name)));
        if systems.len() > 1 {
            print!("{:>8}", "ratio");
        }
    }
}

fn print_figures(label: &str, results: &[Figures]) {
    print!("{label:<14}");
    let ratio = |figure: fn(&Figures) -> f64| {
        if let [ours, other] = results {
            print!("{:>8.2}", figure(ours) / figure(other));
        }
    };
    results.iter().for_each(|result| print!("{:>22.0}", result.per_second));
    ratio(|result| result.per_second);
    results.iter().for_each(|result| print!("{:>22.2}", result.cpu_us));
    ratio(|result| result.cpu_us);
}

async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.expect("the server takes connections");
    tokio::spawn(connection);
    client
}

/// Single-row INSERTs of several connections, and a bare loop of appends and syncs in turn with them.
async fn single_rows(systems: &[System], connections: &[usize], synchronous: &str, folder: &Path, sizes: &Sizes) {
    println!(
        "\nsingle-row INSERT, synchronous_commit = {synchronous}, turns of {:?}: commits/s, server CPU us per commit; \
         syncs/s of a bare append+sync loop",
        sizes.turn
    );
    print_head("connections", "commits/s", "us", systems);
    println!("{:>14}", "append+sync");
    for connections in connections {
        let mut bare = Vec::new();
        let mut turns = vec![Vec::new(); systems.len()];
        for _ in 0..sizes.turns {
            bare.push(append_and_sync(folder, sizes.turn));
            for (system, turns) in systems.iter().zip(&mut turns) {
                turns.push(commits(system, *connections, synchronous, sizes.turn).await);
            }
        }
        let results: Vec<Figures> = turns.iter().map(|turns| medians(turns)).collect();
        print_figures(&connections.to_string(), &results);
        println!("{:>14.0}", median(bare));
    }
}

/// Appends of 4 KiB, each synced: what the disk can do for one writer that groups nothing.
fn append_and_sync(folder: &Path, turn: Duration) -> f64 {
    let path = folder.join("bare");
    let mut file = fs::File::create(&path).expect("a file");
    let block = [7_u8; 4096];
    let start = Instant::now();
    let mut syncs = 0_u64;
    while start.elapsed() < turn {
        file.write_all(&block).expect("an append");
        file.sync_data().expect("a sync");
        syncs += 1;
    }
    let rate = syncs as f64 / start.elapsed().as_secs_f64();
    fs::remove_file(path).expect("our own file");
    rate
}

async fn commits(system: &System, connections: usize, synchronous: &str, turn: Duration) -> Figures {
    let mut ready = Vec::new();
    for _ in 0..connections {
        let client = connect(&system.config).await;
        client
            .batch_execute(&format!("SET synchronous_commit = {synchronous}"))
            .await
            .expect("a setting");
        let statement = client.prepare(INSERT).await.expect("a prepared INSERT");
        ready.push((client, statement));
    }
    // Its commit is synced, and with it all before it: nothing that was acknowledged early is left to do afterwards.
    let last = connect(&system.config).await;
    let over = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let mut writers = JoinSet::new();
    let cpu = tree_cpu_seconds(system.pid);
    let start = Instant::now();
    for (number, (client, statement)) in ready.into_iter().enumerate() {
        let (over, done) = (over.clone(), done.clone());
        writers.spawn(async move {
            let mut row = 0_i64;
            while !over.load(Ordering::Relaxed) {
                let auction = i64::try_from(number).expect("few connections");
                client.execute(&statement, &[&auction, &row]).await.expect("an INSERT");
                row += 1;
                done.fetch_add(1, Ordering::Relaxed);
            }
            // Connected until the turn is over: a process that ends takes time, too.
            client
        });
    }
    tokio::time::sleep(turn).await;
    let (count, took) = (done.load(Ordering::Relaxed), start.elapsed());
    over.store(true, Ordering::Relaxed);
    let clients = writers.join_all().await;
    last.execute(
        "INSERT INTO bids VALUES (0, 0, 1250, 'web', NULL, '2024-01-01 00:00:00', '')",
        &[],
    )
    .await
    .expect("an INSERT");
    let cpu = tree_cpu_seconds(system.pid) - cpu;
    drop(clients);
    Figures {
        per_second: count as f64 / took.as_secs_f64(),
        cpu_us: cpu * 1e6 / done.load(Ordering::Relaxed) as f64,
        written: 0.0,
    }
}

/// INSERTs of many rows each, from one connection.
async fn many_rows(systems: &[System], sizes: &Sizes) {
    println!(
        "\nINSERT of {STATEMENT_ROWS} rows, turns of {:?}: rows/s, server CPU us per row; rows per server CPU second",
        sizes.turn
    );
    let mut bids = (0..).zip(Bids::new());
    let statements: Vec<String> = (0..STATEMENTS)
        .map(|_| {
            let rows = bids.by_ref().take(STATEMENT_ROWS).map(|(row, bid)| {
                let Bid {
                    auction,
                    bidder,
                    price,
                    channel,
                    url,
                    extra,
                } = bid;
                let at = time_text(row);
                format!("({auction}, {bidder}, {price}, '{channel}', '{url}', '{at}', '{extra}')")
            });
            let rows: Vec<String> = rows.collect();
            format!("INSERT INTO bids VALUES {}", rows.join(", "))
        })
        .collect();
    let mut turns = vec![Vec::new(); systems.len()];
    for _ in 0..sizes.turns {
        for (system, turns) in systems.iter().zip(&mut turns) {
            turns.push(statements_again(system, &statements, sizes.turn).await);
        }
    }
    let results: Vec<Figures> = turns.iter().map(|turns| medians(turns)).collect();
    print_head("", "rows/s", "us", systems);
    println!("  rows per CPU second");
    print_figures("multi-row", &results);
    let rates: Vec<String> = results
        .iter()
        .map(|result| format!("{:.0}", 1e6 / result.cpu_us))
        .collect();
    println!("  {}", rates.join(" / "));
}

async fn statements_again(system: &System, statements: &[String], turn: Duration) -> Figures {
    let client = connect(&system.config).await;
    let cpu = tree_cpu_seconds(system.pid);
    let start = Instant::now();
    let mut rows = 0;
    for statement in statements.iter().cycle() {
        client.batch_execute(statement).await.expect("an INSERT");
        rows += STATEMENT_ROWS as u64;
        if start.elapsed() >= turn {
            break;
        }
    }
    let took = start.elapsed().as_secs_f64();
    let cpu = tree_cpu_seconds(system.pid) - cpu;
    Figures {
        per_second: rows as f64 / took,
        cpu_us: cpu * 1e6 / rows as f64,
        written: 0.0,
    }
}

async fn copies(systems: &[System], format: Format, sizes: &Sizes) {
    let (name, label) = match format {
        Format::Text => ("text", "copy-text"),
        Format::Csv => ("csv", "copy-csv"),
        Format::Binary => ("binary", "copy-binary"),
    };
    let data = copy_data(format, sizes.rows);
    let sent = data.iter().map(Bytes::len).sum::<usize>() as f64 / sizes.rows as f64;
    println!(
        "\nCOPY {name}, {} rows of {sent:.1} bytes: rows/s, server CPU us per row; written bytes per row",
        sizes.rows
    );
    let mut turns = vec![Vec::new(); systems.len()];
    for _ in 0..sizes.turns {
        for (system, turns) in systems.iter().zip(&mut turns) {
            turns.push(copy(system, name, &data, sizes.rows).await);
        }
    }
    let results: Vec<Figures> = turns.iter().map(|turns| medians(turns)).collect();
    print_head("", "rows/s", "us", systems);
    println!("  written bytes per row");
    print_figures(label, &results);
    let written: Vec<String> = results.iter().map(|result| format!("{:.1}", result.written)).collect();
    println!("  {}", written.join(" / "));
    // The same rows in each turn and format.
    for system in systems {
        let client = connect(&system.config).await;
        let distinct = "SELECT count(*) FROM (SELECT DISTINCT * FROM copied) AS rows";
        let rows = client.query_one(distinct, &[]).await.expect("a count").get::<_, i64>(0);
        assert_eq!(u64::try_from(rows), Ok(sizes.rows), "rows that {} holds", system.name);
    }
}

async fn copy(system: &System, format: &str, data: &[Bytes], rows: u64) -> Figures {
    let client = connect(&system.config).await;
    let (cpu, written) = (tree_cpu_seconds(system.pid), tree_written_bytes(system.pid));
    let start = Instant::now();
    let sink = client
        .copy_in::<_, Bytes>(&format!("COPY copied FROM STDIN (FORMAT {format})"))
        .await
        .expect("a COPY");
    let mut sink = std::pin::pin!(sink);
    for part in data {
        sink.feed(part.clone()).await.expect("COPY data");
    }
    assert_eq!(sink.finish().await.expect("a COPY"), rows);
    let took = start.elapsed().as_secs_f64();
    let rows = rows as f64;
    let cpu = tree_cpu_seconds(system.pid) - cpu;
    if system.name == "postgres" {
        // Its rows are written twice, the second time at a checkpoint.
        client.batch_execute("CHECKPOINT").await.expect("a checkpoint");
    }
    Figures {
        per_second: rows / took,
        cpu_us: cpu * 1e6 / rows,
        written: tree_written_bytes(system.pid).saturating_sub(written) as f64 / rows,
    }
}

/// When the row was bid: a thousand in a second.
fn time_text(row: u64) -> String {
    let (second, millisecond) = (row / 1000, row % 1000);
    let (hour, minute, second) = (second / 3600 % 24, second / 60 % 60, second % 60);
    format!("2024-01-01 {hour:02}:{minute:02}:{second:02}.{millisecond:03}")
}

/// The same rows in any format, in parts as a client sends them.
fn copy_data(format: Format, rows: u64) -> Vec<Bytes> {
    const PART_BYTES: usize = 64 * 1024;
    let mut parts = Vec::new();
    let mut part: Vec<u8> = Vec::new();
    if let Format::Binary = format {
        part.put_slice(b"PGCOPY\n\xff\r\n\0");
        part.put_slice(&[0; 8]);
    }
    for (row, bid) in (0..rows).zip(Bids::new()) {
        match format {
            Format::Text | Format::Csv => {
                let delimiter = if let Format::Text = format { '\t' } else { ',' };
                let Bid {
                    auction,
                    bidder,
                    price,
                    channel,
                    url,
                    extra,
                } = bid;
                let at = time_text(row);
                writeln!(
                    part,
                    "{auction}{delimiter}{bidder}{delimiter}{price}{delimiter}{channel}{delimiter}{url}{delimiter}{at}\
                     {delimiter}{extra}"
                )
                .expect("memory takes it");
            }
            Format::Binary => put_binary(row, &bid, &mut part),
        }
        if part.len() >= PART_BYTES {
            parts.push(Bytes::from(std::mem::take(&mut part)));
        }
    }
    if let Format::Binary = format {
        part.put_i16(-1);
    }
    parts.push(Bytes::from(part));
    parts
}

/// A row as PostgreSQL's send functions write it: a count, then fields with their lengths.
fn put_binary(row: u64, bid: &Bid, out: &mut Vec<u8>) {
    /// 2024-01-01 in microseconds since 2000-01-01.
    const START_US: i64 = 8766 * 86_400_000_000;
    let put_number = |number: i64, out: &mut Vec<u8>| {
        out.put_i32(8);
        out.put_i64(number);
    };
    let put_text = |text: &str, out: &mut Vec<u8>| {
        out.put_i32(i32::try_from(text.len()).expect("short texts"));
        out.put_slice(text.as_bytes());
    };
    out.put_i16(7);
    put_number(bid.auction, out);
    put_number(bid.bidder, out);
    put_number(bid.price, out);
    put_text(&bid.channel, out);
    put_text(&bid.url, out);
    put_number(START_US + i64::try_from(row * 1000).expect("few rows"), out);
    put_text(&bid.extra, out);
}
