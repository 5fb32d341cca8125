//! Random SELECT statements on PostgreSQL 15 and on Millstream: the same columns, rows and SQLSTATEs, or a difference, which
//! is made as small as it gets and printed as an .slt record with PostgreSQL's answer.
//!
//!     cargo test --test integration differential:: -- --ignored --nocapture
//!
//! `DIFFERENTIAL_SEED` chooses the statements, `DIFFERENTIAL_STATEMENTS` their number (500 without it),
//! `DIFFERENTIAL_OUTPUT` a file beside standard output. PostgreSQL is the installed one, started in a scratch
//! directory, or one that runs: `DIFFERENTIAL_POSTGRES="host=/tmp/pg port=5999 user=postgres"`. Without either nothing
//! is compared. `DIFFERENTIAL_SERVER` is the program to compare, the one of this build without it.
//! `DIFFERENTIAL_VERBOSE=1` prints the statements that both refuse. `DIFFERENTIAL_SETUP=1` prints the statements that
//! make the tables, to try a difference by hand. Internal errors fail the test; with `DIFFERENTIAL_STRICT=1` every
//! difference does that is not among `differential/exceptions.rs`.

mod database;
mod difference;
mod exceptions;
mod generator;
mod postgres;
mod report;
mod tables;
mod tree;
mod types;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use self::database::{Address, Answer, Database, Protocol};
use self::difference::Kind;
use self::generator::Generator;
use self::postgres::Postgres;
use self::report::{Finding, Report};
use self::tree::{Node, Rendered};
use crate::support::{self, Server};

/// Statements of a kind that are made small; more are only counted.
const SMALLEST_OF_KIND: usize = 4;
/// Other values have many causes.
const SMALLEST_OF_VALUES: usize = 200;
/// Smaller statements that are tried for one difference.
const TRIES: usize = 400;

struct Pair {
    postgres: Database,
    ours: Database,
    /// Time that making statements small took.
    minimizing: Duration,
}

impl Pair {
    fn answers(&mut self, statement: &Rendered, protocol: Protocol) -> (Answer, Answer) {
        (
            self.postgres.ask(statement, protocol),
            self.ours.ask(statement, protocol),
        )
    }

    fn difference(&mut self, statement: &Node, protocol: Protocol) -> Option<Kind> {
        let statement = statement.render(protocol == Protocol::Parameters);
        let (postgres, ours) = self.answers(&statement, protocol);
        difference::between(&postgres, &ours, &statement, protocol)
    }

    /// The parts of the time.
    fn times(&self, all: Duration) -> String {
        let of = |database: &Database| format!("{:.1?} in {} answers", database.spent, database.answers);
        format!(
            "{all:.1?}: PostgreSQL {}, Millstream {}; {:.1?} to make statements small",
            of(&self.postgres),
            of(&self.ours),
            self.minimizing
        )
    }

    /// Whether a statement that both refuse, each for another reason, has both faults: parts of it are refused by both
    /// servers for the one, and parts for the other. Which one is found first is nobody's promise.
    fn has_both_faults(&mut self, statement: &Node, protocol: Protocol, kind: &Kind) -> bool {
        let Kind::Both(postgres_state, our_state) = kind else {
            return false;
        };
        let (mut seen_theirs, mut seen_ours) = (false, false);
        let mut tries = TRIES;
        let mut left = Some(statement.clone());
        while let Some(statement) = left.take() {
            for smaller in statement.smaller() {
                if tries == 0 {
                    return false;
                }
                tries -= 1;
                let rendered = smaller.render(protocol == Protocol::Parameters);
                let (postgres, ours) = self.answers(&rendered, protocol);
                if let (Some(postgres), Some(ours)) = (&postgres.failure, &ours.failure)
                    && postgres.state == ours.state
                {
                    seen_theirs |= postgres.state == *postgres_state;
                    seen_ours |= ours.state == *our_state;
                    if seen_theirs && seen_ours {
                        return true;
                    }
                }
                if difference::between(&postgres, &ours, &rendered, protocol).as_ref() == Some(kind) {
                    left = Some(smaller);
                    break;
                }
            }
        }
        false
    }

    /// The smallest statement that still has the difference.
    fn minimize(&mut self, statement: Node, protocol: Protocol, kind: &mut Kind) -> Node {
        let mut smallest = statement;
        let mut tries = TRIES;
        loop {
            let mut found = None;
            for smaller in smallest.smaller() {
                if tries == 0 {
                    return smallest;
                }
                tries -= 1;
                if let Some(left) = self.difference(&smaller, protocol)
                    && kind.leads_to(&left)
                {
                    *kind = left;
                    found = Some(smaller);
                    break;
                }
            }
            match found {
                Some(smaller) => smallest = smaller,
                None => return smallest,
            }
        }
    }
}

#[test]
#[ignore = "needs PostgreSQL and lists what is still to be mended: .ci/full"]
fn postgres_answers_the_same() {
    let Some(postgres) = Postgres::find() else {
        println!("DIFFERENTIAL: NO POSTGRESQL HERE, NOTHING WAS COMPARED");
        return;
    };
    if std::env::var_os("DIFFERENTIAL_SETUP").is_some() {
        println!("{};", tables::setup("CREATE TABLE").join(";\n"));
    }
    let statements = support::repeat("DIFFERENTIAL_STATEMENTS", 500);
    let seed = support::seed("DIFFERENTIAL_SEED");
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::spawn(support::server::command_of(&binary(), &data_dir, &[]), &data_dir)
        .unwrap_or_else(|refused| panic!("the server did not start ({}):\n{}", refused.status, refused.output));
    let mut pair = pair(&postgres, &server);
    let mut report = Report::default();
    let began = Instant::now();
    for number in 0..statements {
        let mut random = support::random(seed.wrapping_mul(1_000_003).wrapping_add(number));
        let statement = Generator::new(&mut random).statement();
        compare(&mut pair, statement, &mut report);
    }
    let text = format!(
        "# DIFFERENTIAL_SEED={seed}\n# {}\n{}",
        pair.times(began.elapsed()),
        report.text(statements)
    );
    println!("{text}");
    if let Ok(path) = std::env::var("DIFFERENTIAL_OUTPUT") {
        fs::write(path, &text).expect("the output can be written");
    }
    let log = server.log();
    let panics: Vec<&str> = log.lines().filter(|line| line.contains("panic")).collect();
    assert!(panics.is_empty(), "panics:\n{}", panics.join("\n"));
    assert!(!report.is_bad(), "internal errors, above");
}

/// The server to compare with, maybe of another build: one with optimizations answers several times faster.
fn binary() -> PathBuf {
    std::env::var_os("DIFFERENTIAL_SERVER").map_or_else(|| env!("CARGO_BIN_EXE_millstream").into(), PathBuf::from)
}

/// Sessions with both, and the tables in them.
fn pair(postgres: &Postgres, server: &Server) -> Pair {
    const ZONE: &str = "SET TimeZone = 'America/New_York'";
    let greeting = |timeout: &str| vec![ZONE.to_string(), format!("SET statement_timeout = '{timeout}'")];
    let mut theirs = greeting("5s");
    theirs.push("SET jit = off".to_string());
    // They go with the session.
    theirs.extend(tables::setup("CREATE TEMP TABLE"));
    let mut pair = Pair {
        postgres: Database::new(Address::Socket(postgres.socket.clone()), &postgres.user, theirs),
        ours: Database::new(Address::Port(server.address()), "millstream", greeting("20s")),
        minimizing: Duration::ZERO,
    };
    for text in tables::setup("CREATE TOPIC") {
        let statement = Rendered {
            text,
            ..Rendered::default()
        };
        let answer = pair.ours.ask(&statement, Protocol::Simple);
        assert_eq!(answer.failure, None, "{}", statement.text);
    }
    pair
}

/// Sends a statement in all ways, up to the first that shows a difference.
fn compare(pair: &mut Pair, statement: Node, report: &mut Report) {
    let mut agreed = "the same rows".to_string();
    for protocol in [Protocol::Simple, Protocol::Extended, Protocol::Parameters] {
        let rendered = statement.render(protocol == Protocol::Parameters);
        if protocol == Protocol::Parameters && rendered.parameters.is_empty() {
            continue;
        }
        let (postgres, ours) = pair.answers(&rendered, protocol);
        let Some(kind) = difference::between(&postgres, &ours, &rendered, protocol) else {
            if let Some(failure) = &postgres.failure {
                agreed = format!("the same error {}", failure.state);
                if failure.state.starts_with("42") && std::env::var_os("DIFFERENTIAL_VERBOSE").is_some() {
                    println!("SAME {} {} {}", failure.state, failure.message, rendered.text);
                }
            }

            continue;
        };
        if pair.has_both_faults(&statement, protocol, &kind) {
            agreed = "two faults, of which each finds another first".to_string();
            continue;
        }
        report.count_kind(&kind);
        let most = if kind == Kind::Values {
            SMALLEST_OF_VALUES
        } else {
            SMALLEST_OF_KIND
        };
        if report.known(&kind) < most {
            let mut left = kind.clone();
            let began = Instant::now();
            let smallest = pair.minimize(statement, protocol, &mut left);
            pair.minimizing += began.elapsed();
            report.tried(kind);
            let statement = smallest.render(protocol == Protocol::Parameters);
            let (postgres, ours) = pair.answers(&statement, protocol);
            report.add(Finding {
                kind: left,
                statement,
                protocol,
                postgres,
                ours,
            });
        }
        return;
    }
    report.count(&agreed);
}
