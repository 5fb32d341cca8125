//! How fast rows become durable, and what a row costs.
//!
//! `cargo bench --bench ingest` starts the release server and measures, over the wire and in one run:
//!
//! - commits/s of prepared single-row INSERTs at 1, 8, 32 and 256 connections, beside a bare append + fdatasync loop on
//!   the same file system and, where `initdb` and `postgres` are installed, beside PostgreSQL, each in turns;
//! - COPY: rows/s, server CPU per row (user + system of the whole process tree), bytes per row written to disk.
//!
//! One rule: only ratios within a run mean something; a machine's speed swings by more than what is measured.
//! `BENCH_SECONDS` (per turn, 2), `BENCH_TURNS` (3) and `BENCH_ROWS` (400000) change the size.

#![allow(
    clippy::disallowed_methods,
    reason = "a bench times, reads /proc and spawns servers itself"
)]

#[path = "../tests/support/server.rs"]
mod server;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::SinkExt;
use tokio::task::JoinSet;
use tokio_postgres::{Client, Config, NoTls};

use server::Server;

const CONNECTIONS: [usize; 4] = [1, 8, 32, 256];
const CREATE: &str = "(auction BIGINT NOT NULL, bidder BIGINT, price NUMERIC(18,2), channel TEXT, at TIMESTAMP)";
const INSERT: &str = "INSERT INTO bids VALUES ($1, $2, 12.50, 'web', '2024-01-01 00:00:00')";

/// A database that takes inserts: ours or PostgreSQL.
struct System {
    name: &'static str,
    config: Config,
    /// The process whose tree's CPU time counts.
    pid: u32,
}

fn main() {
    let number = |name: &str, usual: u64| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(usual)
    };
    let turn = Duration::from_secs(number("BENCH_SECONDS", 2));
    let turns = number("BENCH_TURNS", 3);
    let rows = number("BENCH_ROWS", 400_000);
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
        Some(postgres) => systems.push(postgres.system()),
        None => println!("PostgreSQL is not installed (or cannot run as this user): no comparison"),
    }

    runtime.block_on(async {
        for system in &systems {
            let word = if system.name == "millstream" { "TOPIC" } else { "TABLE" };
            let client = connect(&system.config).await;
            client
                .batch_execute(&format!("CREATE {word} bids {CREATE}; CREATE {word} copied {CREATE}"))
                .await
                .expect("tables");
        }
        println!(
            "commits/s, single-row INSERT, median of {turns} turns of {turn:?}; in brackets: by the bare loop's syncs/s"
        );
        print!("{:<12}{:>16}", "connections", "append+sync");
        systems.iter().for_each(|system| print!("{:>24}", system.name));
        println!(
            "{}",
            if systems.len() > 1 {
                "   millstream/postgres"
            } else {
                ""
            }
        );
        for connections in CONNECTIONS {
            let mut bare = Vec::new();
            let mut rates = vec![Vec::new(); systems.len()];
            for _ in 0..turns {
                bare.push(append_and_sync(scratch.path(), turn));
                for (system, rates) in systems.iter().zip(&mut rates) {
                    rates.push(commits(system, connections, turn).await);
                }
            }
            let bare = median(&mut bare);
            let rates: Vec<f64> = rates.iter_mut().map(|rates| median(rates)).collect();
            print!("{connections:<12}{bare:>16.0}");
            rates
                .iter()
                .for_each(|rate| print!("{:>24}", format!("{rate:.0} ({:.2})", rate / bare)));
            println!(
                "{}",
                rates
                    .get(1)
                    .map_or(String::new(), |other| format!("{:>22.2}", rates[0] / other))
            );
        }

        println!("\nCOPY text, {rows} rows, median of {turns} turns");
        println!(
            "{:<12}{:>14}{:>18}{:>20}",
            "", "rows/s", "server us/row", "written bytes/row"
        );
        let data = copy_text(rows);
        let mut results = vec![(Vec::new(), Vec::new(), Vec::new()); systems.len()];
        for _ in 0..turns {
            for (system, (rates, costs, sizes)) in systems.iter().zip(&mut results) {
                let (rate, cost, size) = copy(system, &data, rows).await;
                rates.push(rate);
                costs.push(cost);
                sizes.push(size);
            }
        }
        for (system, (rates, costs, sizes)) in systems.iter().zip(&mut results) {
            println!(
                "{:<12}{:>14.0}{:>18.2}{:>20.1}",
                system.name,
                median(rates),
                median(costs),
                median(sizes)
            );
        }
        println!(
            "{:<12}{:>14}{:>18}{:>20.1}",
            "sent",
            "",
            "",
            data.iter().map(Bytes::len).sum::<usize>() as f64 / rows as f64
        );
    });
    drop(postgres);
    assert!(server.stop().success(), "a clean stop after the load");
}

/// Beside the build: a place for temporary files may be in memory, where a sync costs nothing. `BENCH_DIR` says another.
fn scratch() -> tempfile::TempDir {
    let place = std::env::var_os("BENCH_DIR").map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    tempfile::tempdir_in(place).expect("a scratch directory")
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.expect("the server takes connections");
    tokio::spawn(connection);
    client
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

async fn commits(system: &System, connections: usize, turn: Duration) -> f64 {
    let mut ready = Vec::new();
    for _ in 0..connections {
        let client = connect(&system.config).await;
        let statement = client.prepare(INSERT).await.expect("a prepared INSERT");
        ready.push((client, statement));
    }
    let over = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let mut writers = JoinSet::new();
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
        });
    }
    tokio::time::sleep(turn).await;
    let (count, took) = (done.load(Ordering::Relaxed), start.elapsed());
    over.store(true, Ordering::Relaxed);
    writers.join_all().await;
    count as f64 / took.as_secs_f64()
}

fn copy_text(rows: u64) -> Vec<Bytes> {
    let mut parts = Vec::new();
    let mut part = String::new();
    for row in 0..rows {
        let (minute, second) = (row / 60 % 60, row % 60);
        let price = row % 10_000;
        part.push_str(&format!(
            "{}\t{}\t{price}.50\tchannel {}\t2024-01-01 00:{minute:02}:{second:02}.{:06}\n",
            row % 1000,
            row,
            row % 7,
            row % 1_000_000
        ));
        if part.len() >= 64 * 1024 {
            parts.push(Bytes::from(std::mem::take(&mut part)));
        }
    }
    parts.push(Bytes::from(part));
    parts
}

/// Rows per second, server CPU microseconds per row, bytes written to disk per row.
async fn copy(system: &System, data: &[Bytes], rows: u64) -> (f64, f64, f64) {
    let client = connect(&system.config).await;
    let (cpu, written) = (cpu_seconds(system.pid), written_bytes(system.pid));
    let start = Instant::now();
    let sink = client
        .copy_in::<_, Bytes>("COPY copied FROM STDIN")
        .await
        .expect("a COPY");
    let mut sink = std::pin::pin!(sink);
    for part in data {
        sink.feed(part.clone()).await.expect("COPY data");
    }
    assert_eq!(sink.finish().await.expect("a COPY"), rows);
    let took = start.elapsed().as_secs_f64();
    let rows = rows as f64;
    let cost = (cpu_seconds(system.pid) - cpu) * 1e6 / rows;
    if system.name == "postgres" {
        // Its rows are written twice, the second time at a checkpoint.
        client.batch_execute("CHECKPOINT").await.expect("a checkpoint");
    }
    let written = written_bytes(system.pid).saturating_sub(written);
    (rows / took, cost, written as f64 / rows)
}

/// Clock ticks per second in /proc, the same on every Linux.
const USER_HZ: f64 = 100.0;

/// User and system time of a process and its children, those that have ended included.
fn cpu_seconds(pid: u32) -> f64 {
    let ticks = processes().map(|(its_pid, parent, fields)| match (its_pid == pid, parent == pid) {
        // User, system, and both of the children that were waited for.
        (true, _) => fields[11..15].iter().sum::<u64>(),
        (_, true) => fields[11..13].iter().sum(),
        _ => 0,
    });
    ticks.sum::<u64>() as f64 / USER_HZ
}

/// Bytes that a process and its living children have caused to be written to storage.
fn written_bytes(pid: u32) -> u64 {
    let tree = processes().filter(|(its_pid, parent, _)| *its_pid == pid || *parent == pid);
    tree.map(|(its_pid, ..)| {
        let io = fs::read_to_string(format!("/proc/{its_pid}/io")).unwrap_or_default();
        let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
        line.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0)
    })
    .sum()
}

/// All processes: id, parent, and what /proc says of each after the name in brackets.
fn processes() -> impl Iterator<Item = (u32, u32, Vec<u64>)> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    entries.filter_map(|entry| {
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let (head, rest) = stat.rsplit_once(')')?;
        let fields: Vec<u64> = rest
            .split_whitespace()
            .map(|field| field.parse().unwrap_or(0))
            .collect();
        let pid = head.split_whitespace().next()?.parse().ok()?;
        Some((pid, u32::try_from(fields[1]).ok()?, fields))
    })
}

/// A PostgreSQL of its own, with the settings that it comes with.
struct Postgres {
    child: Child,
    port: u16,
    data_dir: PathBuf,
}

impl Postgres {
    fn start(scratch: &Path) -> Option<Postgres> {
        let data_dir = scratch.join("postgres");
        fs::create_dir(&data_dir).ok()?;
        let root = rustix::process::geteuid().is_root();
        if root {
            // It refuses to run as root; the packages make a user for it.
            let open = |path: &Path, mode: &str| Command::new("chmod").arg(mode).arg(path).status();
            open(scratch, "755").ok()?;
            Command::new("chown")
                .arg("postgres")
                .arg(&data_dir)
                .status()
                .ok()
                .filter(|status| status.success())?;
        }
        let tool = |name: &str| {
            let path = find(name)?;
            let mut command = Command::new(if root { Path::new("runuser") } else { path.as_path() });
            if root {
                command.args(["-u", "postgres", "--"]).arg(&path);
            }
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            Some(command)
        };
        let made = tool("initdb")?
            .args(["-U", "postgres", "-A", "trust", "-D"])
            .arg(&data_dir)
            .status()
            .ok()?;
        if !made.success() {
            return None;
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .ok()?
            .local_addr()
            .ok()?
            .port();
        let settings = [
            "listen_addresses=127.0.0.1",
            "max_connections=300",
            "unix_socket_directories=",
        ];
        let mut command = tool("postgres")?;
        command.arg("-D").arg(&data_dir).arg("-p").arg(port.to_string());
        for setting in settings {
            command.args(["-c", setting]);
        }
        let child = command.spawn().ok()?;
        let postgres = Postgres { child, port, data_dir };
        let up = (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        up.then_some(postgres)
    }

    fn system(&self) -> System {
        let mut config = Config::new();
        config
            .host("127.0.0.1")
            .port(self.port)
            .user("postgres")
            .dbname("postgres");
        System {
            name: "postgres",
            config,
            pid: self.postmaster(),
        }
    }

    /// Under `runuser` the server is a child of the child.
    fn postmaster(&self) -> u32 {
        let file = fs::read_to_string(self.data_dir.join("postmaster.pid")).expect("a server that runs writes its pid");
        file.lines()
            .next()
            .and_then(|line| line.parse().ok())
            .expect("a pid in the first line")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let pid = i32::try_from(self.postmaster())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // Immediate shutdown.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
        }
        let _ = self.child.wait();
    }
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let packaged = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"));
    std::env::split_paths(&path)
        .chain(packaged)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}
