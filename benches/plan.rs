//! The cost of planning a statement: CPU time of the server per statement over few rows.
//!
//! `cargo bench --bench plan` sends each statement again and again over one connection and divides the server's CPU time
//! (user + system of all its processes) by the statements answered. It does so in turns with the build that `BENCH_BASE`
//! names, and with PostgreSQL where `initdb` and `postgres` are installed. The cases:
//!
//! - `select-1`: SELECT 1, the round trip and little more;
//! - `point`: one row of a hundred by its number;
//! - `join`: a join of two topics with GROUP BY;
//! - `columns`: a select list of 30 expressions;
//! - `ctes`: a chain of 10 CTEs, each over the one before it.
//!
//! Each goes by the simple protocol, which parses and plans every time, and as a prepared statement, which is parsed once.
//!
//! One rule: only ratios within a run mean something; a machine's speed swings by more than what is measured.
//! `BENCH_SERVER` names another binary than this build's, `BENCH_BASE` the one to compare with, `BENCH_CASES` (names with
//! commas between; all) chooses, `BENCH_SECONDS` (per turn, 1) and `BENCH_TURNS` (5) change the size, `BENCH_DIR` the place.

#![allow(
    clippy::disallowed_methods,
    reason = "a bench times, reads /proc and spawns servers itself"
)]

#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/process.rs"]
mod process;
#[path = "../tests/support/server.rs"]
mod server;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls};

use postgres::Postgres;
use process::tree_cpu_seconds;
use server::Server;

const ROWS: i32 = 100;
const COLUMNS: usize = 30;
const CTES: usize = 10;
/// Statements between two looks at the clock.
const STATEMENTS: u64 = 20;
const PROTOCOLS: [Protocol; 2] = [Protocol::Simple, Protocol::Prepared];

/// A database that answers: ours, an earlier build of it, or PostgreSQL.
struct System {
    name: &'static str,
    client: Client,
    /// The process whose tree's CPU time counts.
    pid: u32,
}

struct Case {
    name: &'static str,
    simple: String,
    /// The same with a parameter in place of the value that clients vary, where it has one.
    prepared: String,
    parameters: Vec<i32>,
}

#[derive(Clone, Copy)]
enum Protocol {
    Simple,
    Prepared,
}

fn main() {
    let number = |name: &str, usual: u64| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(usual)
    };
    let turn = Duration::from_secs(number("BENCH_SECONDS", 1));
    let turns = number("BENCH_TURNS", 5).max(1);
    let cases = chosen(cases());
    let scratch = scratch();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");

    let binary = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let own = binary("BENCH_SERVER").unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_millstream")));
    let base = binary("BENCH_BASE");
    let server = start(&own, &scratch.path().join("millstream"));
    let base = base.map(|binary| start(&binary, &scratch.path().join("base")));
    let postgres = Postgres::start(scratch.path());
    if base.is_none() {
        println!("BENCH_BASE names no earlier build: no comparison with one");
    }
    if postgres.is_none() {
        println!("PostgreSQL is not installed (or cannot run as this user): no comparison");
    }

    runtime.block_on(async {
        let mut systems = vec![millstream("millstream", &server).await];
        if let Some(base) = &base {
            systems.push(millstream("base", base).await);
        }
        if let Some(postgres) = &postgres {
            systems.push(System {
                name: "postgres",
                client: connect(&postgres.config(), "TABLE").await,
                pid: postgres.pid(),
            });
        }
        println!("server CPU us per statement, median of {turns} turns of {turn:?}; in brackets: millstream's by it\n");
        print_head(&systems);
        for case in &cases {
            for protocol in PROTOCOLS {
                let mut figures = vec![Vec::new(); systems.len()];
                for _ in 0..turns {
                    for (system, figures) in systems.iter().zip(&mut figures) {
                        figures.push(cpu_us(system, case, protocol, turn).await);
                    }
                }
                print_figures(case, protocol, figures);
            }
        }
    });
    drop(postgres);
    for server in [Some(server), base].into_iter().flatten() {
        assert!(server.stop().success(), "a clean stop after the load");
    }
}

/// Every statement answers few rows, so that running it costs little beside planning it.
fn cases() -> Vec<Case> {
    let case = |name, simple: &str, prepared: &str, parameters: &[i32]| Case {
        name,
        simple: simple.to_string(),
        prepared: prepared.to_string(),
        parameters: parameters.to_vec(),
    };
    let join = "SELECT r.name, count(*) AS n, sum(s.a), max(s.b) FROM small s JOIN regions r ON r.id = s.region \
                WHERE s.a > 10 GROUP BY r.name ORDER BY n DESC, r.name";
    let list: Vec<String> = (0..COLUMNS)
        .map(|at| match at % 3 {
            0 => format!("a + {at} AS c{at}"),
            1 => format!("upper(t) || '{at}' AS c{at}"),
            _ => format!("CASE WHEN b > {at} THEN b ELSE a END AS c{at}"),
        })
        .collect();
    let columns = format!("SELECT {} FROM small WHERE id = ", list.join(", "));
    let first = "c0 AS (SELECT id, a, b FROM small)".to_string();
    let rest = (1..CTES).map(|at| format!("c{at} AS (SELECT id, a + {at} AS a, b FROM c{} WHERE b > {at})", at - 1));
    let ctes: Vec<String> = std::iter::once(first).chain(rest).collect();
    let ctes = format!("WITH {} SELECT a, b FROM c{} WHERE id = ", ctes.join(", "), CTES - 1);
    vec![
        case("select-1", "SELECT 1", "SELECT 1", &[]),
        case(
            "point",
            "SELECT id, a, t FROM small WHERE id = 42",
            "SELECT id, a, t FROM small WHERE id = $1",
            &[42],
        ),
        case("join", join, join, &[]),
        case("columns", &format!("{columns}42"), &format!("{columns}$1"), &[42]),
        case("ctes", &format!("{ctes}42"), &format!("{ctes}$1"), &[42]),
    ]
}

/// The cases that `BENCH_CASES` names; all of them without it.
fn chosen(cases: Vec<Case>) -> Vec<Case> {
    let Ok(names) = std::env::var("BENCH_CASES") else {
        return cases;
    };
    let names: Vec<&str> = names.split(',').map(str::trim).collect();
    for name in &names {
        let known = cases.iter().any(|case| case.name == *name);
        assert!(known, "BENCH_CASES: no case \"{name}\"");
    }
    let is_chosen = |case: &Case| names.contains(&case.name);
    cases.into_iter().filter(is_chosen).collect()
}

/// Beside the build, where there is room. `BENCH_DIR` says another.
fn scratch() -> tempfile::TempDir {
    let place = std::env::var_os("BENCH_DIR").map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    tempfile::tempdir_in(place).expect("a scratch directory")
}

fn start(binary: &Path, data_dir: &Path) -> Server {
    Server::spawn(server::command_of(binary, data_dir, &[]), data_dir).expect("the server starts")
}

async fn millstream(name: &'static str, server: &Server) -> System {
    let mut config = Config::new();
    config
        .host("127.0.0.1")
        .port(server.port())
        .user("millstream")
        .dbname("millstream");
    System {
        name,
        client: connect(&config, "TOPIC").await,
        pid: server.pid(),
    }
}

/// A connection to a system that has been given the rows. `word` is its word for a table.
async fn connect(config: &Config, word: &str) -> Client {
    let (client, connection) = config.connect(NoTls).await.expect("the server takes connections");
    tokio::spawn(connection);
    let rows: Vec<String> = (0..ROWS)
        .map(|id| format!("({id}, {}, {id}, {}, 'text {id}')", id % 10, id * 3))
        .collect();
    let regions: Vec<String> = (0..10).map(|id| format!("({id}, 'region {id}')")).collect();
    let setup = format!(
        "CREATE {word} small (id INT, region INT, a INT, b INT, t TEXT); CREATE {word} regions (id INT, name TEXT); \
         INSERT INTO small VALUES {}; INSERT INTO regions VALUES {}",
        rows.join(", "),
        regions.join(", ")
    );
    client.batch_execute(&setup).await.expect("tables and rows");
    client
}

/// A turn of a case: CPU microseconds of the server per statement.
async fn cpu_us(system: &System, case: &Case, protocol: Protocol, turn: Duration) -> f64 {
    let System { client, pid, .. } = system;
    let statement = client.prepare(&case.prepared).await.expect("a prepared statement");
    let parameters: Vec<&(dyn ToSql + Sync)> = case.parameters.iter().map(|value| value as _).collect();
    let cpu = tree_cpu_seconds(*pid);
    let start = Instant::now();
    let mut done = 0;
    while start.elapsed() < turn {
        for _ in 0..STATEMENTS {
            match protocol {
                Protocol::Simple => drop(client.simple_query(&case.simple).await.expect("an answer")),
                Protocol::Prepared => drop(client.query(&statement, &parameters).await.expect("an answer")),
            }
        }
        done += STATEMENTS;
    }
    (tree_cpu_seconds(*pid) - cpu) * 1e6 / done as f64
}

fn print_head(systems: &[System]) {
    print!("{:<10}{:<10}", "", "");
    for (at, system) in systems.iter().enumerate() {
        print!("{:>width$}", system.name, width = if at == 0 { 12 } else { 20 });
    }
    println!();
}

fn print_figures(case: &Case, protocol: Protocol, figures: Vec<Vec<f64>>) {
    let name = match protocol {
        Protocol::Simple => "simple",
        Protocol::Prepared => "prepared",
    };
    print!("{:<10}{name:<10}", case.name);
    let medians: Vec<f64> = figures.into_iter().map(median).collect();
    let (own, others) = medians.split_first().expect("one system is always there");
    print!("{own:>12.1}");
    for other in others {
        print!("{other:>12.1} ({:>5.2})", own / other);
    }
    println!();
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
