//! Runs every `.slt` file below this folder over the wire, in several modes, each on its own server and data directory.
//!
//! `cargo test --test sql` runs all; a filter picks by `mode::folder/file`. The modes:
//!
//! - plain: simple protocol, text;
//! - extended: Parse, Bind, Execute, binary results; the letters after `query` are checked as well (I, R, T);
//! - restart: a clean restart after every statement outside a transaction;
//! - tiny: segments and batches of next to no rows, so that inserted rows are read from files;
//! - crash: the same, and kill -9 and a start after every statement outside a transaction; files without restart are
//!   without this one, too;
//! - as-view: see `as_view.rs`;
//! - postgres: only with `TEST_POSTGRES=host:port:user` set: files whose first line says PostgreSQL run against a real one,
//!   which is how their answers were recorded (`TEST_RECORD=1` rewrites them).
//!
//! `TEST_KEEP_GOING=1` goes on after a failure, to see all of a file's. A file opts out by a line `# no MODE: reason`
//! in its head. Its first line names the behaviour that it pins. Not here: anything that needs more than SQL
//! (`tests/`).

#![allow(
    clippy::disallowed_methods,
    reason = "a test reads its files and spawns its server itself"
)]

mod as_view;
mod connection;
#[path = "../tests/support/server.rs"]
mod server;
mod values;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use libtest_mimic::{Arguments, Failed, Trial};
use parking_lot::Mutex;
use sqllogictest::{DefaultColumnType, QueryExpect, Record, RecordOutput, Runner};

use as_view::AsView;
use connection::{Connection, Protocol, SharedTarget, Target};
use server::Server;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mode {
    Plain,
    Extended,
    Restart,
    Tiny,
    Crash,
    AsView,
}

const MODES: [(Mode, &str); 6] = [
    (Mode::Plain, "plain"),
    (Mode::Extended, "extended"),
    (Mode::Restart, "restart"),
    (Mode::Tiny, "tiny"),
    (Mode::Crash, "crash"),
    (Mode::AsView, "as-view"),
];

/// One `.slt` file, with its head read.
struct File {
    path: PathBuf,
    /// Relative to this folder, without extension.
    name: String,
    first_line: String,
    /// Modes that it opts out of.
    without: Vec<String>,
}

fn main() {
    let arguments = Arguments::from_args();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql-tests");
    let mut paths = Vec::new();
    find(&folder, &mut paths);
    paths.sort();
    assert!(!paths.is_empty(), "no .slt file below {}", folder.display());

    let mut trials = Vec::new();
    let mut opted_out: BTreeMap<&str, usize> = BTreeMap::new();
    let postgres = std::env::var("TEST_POSTGRES").ok();
    for path in paths {
        let file = Arc::new(head(&folder, path));
        for (mode, label) in MODES {
            let without = |label: &str| file.without.iter().any(|without| without == label);
            if without(label) || mode == Mode::Crash && without("restart") {
                *opted_out.entry(label).or_default() += 1;
                continue;
            }
            let its = file.clone();
            trials.push(Trial::test(format!("{label}::{}", file.name), move || run(&its, mode)));
        }
        if let Some(place) = postgres.clone().filter(|_| file.first_line.contains("PostgreSQL 15")) {
            for (protocol, label) in [
                (Protocol::Simple, "postgres"),
                (Protocol::Extended, "postgres-extended"),
            ] {
                let (its, place, name) = (file.clone(), place.clone(), format!("{label}::{}", file.name));
                if protocol == Protocol::Simple || !file.without.contains(&"extended".to_string()) {
                    trials.push(Trial::test(name, move || run_on_postgres(&its, &place, protocol)));
                }
            }
        }
    }

    let conclusion = libtest_mimic::run(&arguments, trials);
    if !arguments.list {
        let counts: Vec<String> = opted_out
            .iter()
            .map(|(mode, count)| format!("{mode} {count}"))
            .collect();
        println!(
            "files that opt out of a mode: {}",
            if counts.is_empty() {
                "none".into()
            } else {
                counts.join(", ")
            }
        );
        let (made, refused) = (
            as_view::MADE.load(Ordering::Relaxed),
            as_view::REFUSED.load(Ordering::Relaxed),
        );
        println!("as-view: {made} queries kept as views, {refused} refused by CREATE MATERIALIZED VIEW (0A000)");
    }
    conclusion.exit();
}

/// All `.slt` files below `folder`.
fn find(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder of the corpus can be read") {
        let path = entry.expect("the folder of the corpus can be read").path();
        if path.is_dir() {
            find(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "slt") {
            found.push(path);
        }
    }
}

fn head(folder: &Path, path: PathBuf) -> File {
    let text = fs::read_to_string(&path).expect("a file of the corpus can be read");
    let name = path
        .strip_prefix(folder)
        .expect("found below the folder")
        .with_extension("");
    let name = name.to_string_lossy().into_owned();
    let mut lines = text.lines().map_while(|line| line.strip_prefix("# "));
    let first_line = lines.next().unwrap_or_default().to_string();
    assert!(
        first_line.ends_with('.'),
        "{name}.slt: the first line must be a sentence that says what the file pins"
    );
    let mut without = Vec::new();
    for line in lines.filter_map(|line| line.strip_prefix("no ")) {
        if let Some((mode, reason)) = line.split_once(": ")
            && MODES.iter().any(|(_, label)| *label == mode)
        {
            assert!(
                !reason.trim().is_empty(),
                "{name}.slt: opting out of {mode} needs a reason"
            );
            without.push(mode.to_string());
        }
    }
    File {
        path,
        name,
        first_line,
        without,
    }
}

fn run(file: &File, mode: Mode) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let scratch = tempfile::tempdir()?;
    let data_dir = scratch.path().join("data");
    let arguments: &[&str] = match mode {
        Mode::Tiny | Mode::Crash => &["--tiny-segments"],
        _ => &[],
    };
    let mut server = Server::start_with(&data_dir, arguments);
    let target = Arc::new(Mutex::new(Target {
        address: server.address(),
        user: "millstream".to_string(),
        database: "millstream".to_string(),
        protocol: if mode == Mode::Extended {
            Protocol::Extended
        } else {
            Protocol::Simple
        },
        translate: str::to_string,
    }));
    let outcome = runtime.block_on(async {
        let mut runner = runner(&target);
        runner.add_label("millstream");
        let mut as_view = AsView::new(target.clone());
        let mut in_transaction = false;
        let mut ran = 0;
        let (keep_going, mut failures) = (std::env::var_os("TEST_KEEP_GOING").is_some(), String::new());
        for record in sqllogictest::parse_file(&file.path)? {
            if matches!(record, Record::Halt { .. }) {
                break;
            }
            let sql = sql(&record).map(str::to_string);
            if let (Mode::AsView, Some(sql)) = (mode, &sql) {
                as_view.before(sql).await?;
            }
            let output = match runner.run_async(record.clone()).await {
                Ok(output) => output,
                Err(error) if keep_going => {
                    failures.push_str(&format!("{error}\n"));
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let Some(sql) = sql.filter(|_| !matches!(output, RecordOutput::Nothing)) else {
                continue;
            };
            ran += 1;
            match mode {
                Mode::AsView => as_view.after(&record).await?,
                Mode::Restart | Mode::Crash => {
                    follow(&sql, &mut in_transaction);
                    if matches!(record, Record::Statement { .. }) && !in_transaction {
                        if mode == Mode::Crash {
                            server.kill();
                        } else {
                            let status = server.stop();
                            if !status.success() {
                                return Err(format!("the server did not stop cleanly: {status}").into());
                            }
                        }
                        server = Server::start_with(&data_dir, arguments);
                        target.lock().address = server.address();
                    }
                }
                _ => {}
            }
        }
        if !failures.is_empty() {
            return Err(failures.into());
        }
        if ran == 0 {
            return Err("the file runs nothing".into());
        }
        Ok::<_, Box<dyn std::error::Error>>(server)
    });
    match outcome {
        Ok(server) => {
            server.kill();
            Ok(())
        }
        Err(error) => {
            let log = fs::read_to_string(data_dir.with_extension("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(15)..].join("\n");
            Err(format!("{error}\n--- end of the server's log\n{tail}").into())
        }
    }
}

fn runner(target: &SharedTarget) -> Runner<Connection, impl sqllogictest::MakeConnection<Conn = Connection> + use<>> {
    let target = target.clone();
    let mut runner = Runner::new(move || {
        let connection = Connection::new(target.clone());
        async move { Ok(connection) }
    });
    runner.with_column_validator(same_columns);
    runner.with_validator(same_rows);
    runner
}

/// As many columns as letters; a letter that the protocol can tell must be right.
#[allow(clippy::ptr_arg, reason = "sqllogictest's signature")]
fn same_columns(actual: &Vec<DefaultColumnType>, expected: &Vec<DefaultColumnType>) -> bool {
    let any = DefaultColumnType::Any;
    actual.len() == expected.len()
        && actual
            .iter()
            .zip(expected)
            .all(|(a, e)| a == e || *a == any || *e == any)
}

/// Rows equal as lines, runs of blanks taken as one (blank-padded values would be unreadable in a file).
fn same_rows(normalize: sqllogictest::Normalizer, actual: &[Vec<String>], expected: &[String]) -> bool {
    actual.len() == expected.len()
        && actual
            .iter()
            .zip(expected)
            .all(|(row, line)| normalize(&row.join(" ")) == normalize(line))
}

fn sql(record: &Record<DefaultColumnType>) -> Option<&str> {
    match record {
        Record::Statement { sql, .. } | Record::Query { sql, .. } | Record::Let { sql, .. } => Some(sql),
        _ => None,
    }
}

/// Whether some connection of the file is inside BEGIN after this statement.
fn follow(sql: &str, in_transaction: &mut bool) {
    let words = as_view::words(sql);
    match words.first().map(String::as_str) {
        Some("begin" | "start") => *in_transaction = true,
        Some("commit" | "end" | "abort") => *in_transaction = false,
        Some("rollback") if !words.iter().any(|word| word == "to") => *in_transaction = false,
        _ => {}
    }
}

/// A topic is a table there, a materialized view a plain one: always current, as ours.
fn as_postgres(sql: &str) -> String {
    let mut sql = sql.to_string();
    for (ours, theirs) in [
        ("CREATE TOPIC", "CREATE TABLE"),
        ("DROP TOPIC", "DROP TABLE"),
        ("CREATE MATERIALIZED VIEW", "CREATE VIEW"),
        ("DROP MATERIALIZED VIEW", "DROP VIEW"),
        (" APPEND ONLY", ""),
    ] {
        sql = sql.replace(ours, theirs);
    }
    sql
}

/// Runs a file on a database of its own of the PostgreSQL at `host:port:user`.
fn run_on_postgres(file: &File, place: &str, protocol: Protocol) -> Result<(), Failed> {
    let [host, port, user] = place.split(':').collect::<Vec<_>>()[..] else {
        return Err("TEST_POSTGRES must be host:port:user".into());
    };
    let address: SocketAddr = format!("{host}:{port}").parse()?;
    let database = format!(
        "slt_{protocol:?}_{}",
        file.name.replace(|c: char| !c.is_ascii_alphanumeric(), "_")
    )
    .to_lowercase();
    let target = |database: &str| {
        Arc::new(Mutex::new(Target {
            address,
            user: user.to_string(),
            database: database.to_string(),
            protocol,
            translate: as_postgres,
        }))
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        use sqllogictest::AsyncDB;
        let mut admin = Connection::new(target("postgres"));
        admin.run(&format!("DROP DATABASE IF EXISTS {database}")).await?;
        admin.run(&format!("CREATE DATABASE {database}")).await?;
        let mut runner = runner(&target(&database));
        runner.add_label("postgres");
        let mut rewritten = String::new();
        let record_answers = protocol == Protocol::Simple && std::env::var("TEST_RECORD").is_ok();
        for mut record in sqllogictest::parse_file(&file.path)? {
            if record_answers {
                let output = runner.apply_record(record.clone()).await;
                if let Record::Query {
                    expected: QueryExpect::Results { results, .. },
                    ..
                } = &mut record
                {
                    match output {
                        RecordOutput::Query { rows, error: None, .. } => {
                            *results = rows.iter().map(|row| row.join(" ")).collect();
                        }
                        RecordOutput::Nothing => {}
                        _ => return Err(format!("{record}: {output:?}").into()),
                    }
                }
                rewritten.push_str(&format!("{record}\n"));
            } else {
                runner.run_async(record).await?;
            }
        }
        if record_answers {
            fs::write(&file.path, format!("{}\n", rewritten.trim_end()))?;
        }
        runner.shutdown_async().await;
        admin.run(&format!("DROP DATABASE {database} WITH (FORCE)")).await?;
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;
    Ok(())
}
