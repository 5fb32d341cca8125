//! psql itself against the server: its backslash commands, scripts and \copy.
//!
//! Skipped only where psql is not installed and the environment does not say `CI`.

use std::fs;
use std::process::Command;

use crate::support::{self, Server};

struct Psql {
    server: Server,
    scratch: tempfile::TempDir,
}

impl Psql {
    fn start() -> Option<Psql> {
        if Command::new("psql").arg("--version").output().is_err() {
            assert!(
                std::env::var_os("CI").is_none(),
                "psql must be installed where CI is set"
            );
            println!("skipped: psql is not installed");
            return None;
        }
        let (scratch, data_dir) = support::data_dir();
        let psql = Psql {
            server: Server::start(&data_dir),
            scratch,
        };
        psql.ok(
            "CREATE TOPIC bids (auction BIGINT NOT NULL, price NUMERIC(18,2) DEFAULT 1.5, channel TEXT, ts TIMESTAMP);
             CREATE MATERIALIZED VIEW per_auction AS SELECT auction, count(*) AS n FROM bids GROUP BY auction;
             CREATE VIEW dear AS SELECT * FROM bids WHERE price > 10;",
        );
        Some(psql)
    }

    /// Runs a script; its output and error output, and whether it succeeded.
    fn run(&self, script: &str) -> (String, String, bool) {
        let path = self.scratch.path().join("script.sql");
        fs::write(&path, script).expect("a script can be written");
        let output = Command::new("psql")
            .args([
                "-X",
                "-v",
                "ON_ERROR_STOP=1",
                "-P",
                "pager=off",
                "-h",
                "127.0.0.1",
                "-U",
                "millstream",
                "-d",
                "millstream",
            ])
            .args(["-p", &self.server.port().to_string()])
            .arg("-f")
            .arg(&path)
            .current_dir(self.scratch.path())
            .output()
            .expect("psql runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr), output.status.success())
    }

    fn ok(&self, script: &str) -> String {
        let (output, errors, success) = self.run(script);
        assert!(success, "{script}\n{output}\n{errors}");
        output
    }

    /// The output has all of these, blanks aside.
    fn shows(&self, script: &str, parts: &[&str]) {
        let output = self.ok(script);
        let squeezed = output.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in parts {
            assert!(squeezed.contains(part), "{script} does not show {part:?}:\n{output}");
        }
    }
}

#[test]
fn backslash_commands_list_and_describe() {
    let Some(psql) = Psql::start() else { return };
    psql.shows("\\dt", &["public | bids | table | millstream"]);
    psql.shows("\\dm", &["public | per_auction | materialized view | millstream"]);
    psql.shows("\\dv", &["public | dear | view | millstream"]);
    psql.shows("\\d", &["bids", "per_auction", "dear"]);
    psql.shows("\\l", &["millstream", "UTF8"]);
    psql.shows("\\dn", &["public"]);
    psql.shows("\\du", &["millstream"]);
    psql.shows(
        "\\conninfo",
        &["connected to database \"millstream\" as user \"millstream\""],
    );
    psql.shows(
        "\\d bids",
        &[
            "Table \"public.bids\"",
            "auction | bigint | | not null",
            "price | numeric(18,2) | | | 1.5",
            "ts | timestamp without time zone",
        ],
    );
    psql.shows(
        "\\d per_auction",
        &[
            "Materialized view \"public.per_auction\"",
            "auction | bigint",
            "n | bigint",
        ],
    );
    psql.shows("\\d+ dear", &["View \"public.dear\"", "price > "]);
    psql.ok("\\df\n\\dT\n\\di\n\\ds\n\\dp\n\\dx\n\\dp bids\n\\d pg_class");
}

#[test]
fn copy_loads_a_file_and_writes_one() {
    let Some(psql) = Psql::start() else { return };
    let mut csv = "auction,price,channel,ts\n".to_string();
    for row in 0..1000 {
        csv.push_str(&format!(
            "{},{}.50,web,2024-01-01 00:{:02}:{:02}\n",
            row % 7,
            row,
            row / 60,
            row % 60
        ));
    }
    fs::write(psql.scratch.path().join("bids.csv"), &csv).expect("a file can be written");
    psql.shows("\\copy bids FROM 'bids.csv' WITH (FORMAT csv, HEADER)", &["COPY 1000"]);
    psql.shows("SELECT count(*), sum(n) FROM per_auction", &["7 | 1000"]);
    psql.shows(
        "\\copy (SELECT * FROM bids ORDER BY price) TO 'out.csv' WITH (FORMAT csv, HEADER)",
        &["COPY 1000"],
    );
    let out = fs::read_to_string(psql.scratch.path().join("out.csv")).expect("psql wrote it");
    assert_eq!(out, csv);

    psql.shows("\\copy bids TO 'out.bin' WITH (FORMAT binary)", &["COPY 1000"]);
    psql.shows(
        "CREATE TOPIC again (auction BIGINT, price NUMERIC(18,2), channel TEXT, ts TIMESTAMP)",
        &["CREATE"],
    );
    psql.shows("\\copy again FROM 'out.bin' WITH (FORMAT binary)", &["COPY 1000"]);
    psql.shows(
        "SELECT count(*) FROM (SELECT * FROM bids INTERSECT SELECT * FROM again) AS same",
        &["1000"],
    );

    let (_, errors, success) = psql.run("\\copy bids FROM 'out.csv' WITH (FORMAT csv)");
    assert!(!success);
    assert!(
        errors.contains("invalid input syntax for type bigint: \"auction\""),
        "{errors}"
    );
    assert!(
        errors.contains("CONTEXT:  COPY bids, line 1, column auction: \"auction\""),
        "{errors}"
    );
    psql.shows("SELECT count(*) FROM bids", &["1000"]);
}

#[test]
fn mistakes_are_answered_with_their_place() {
    let Some(psql) = Psql::start() else { return };
    let (_, errors, success) = psql.run("SELECT nosuch\nFROM bids;");
    assert!(!success);
    assert!(errors.contains("column \"nosuch\" does not exist"), "{errors}");
    assert!(
        errors.contains("LINE 1: SELECT nosuch"),
        "the position is told: {errors}"
    );
    let (_, errors, _) = psql.run("SELEC 1;");
    assert!(
        errors.contains("syntax error at or near \"SELEC\"") && errors.contains("LINE 1: SELEC 1"),
        "{errors}"
    );
    let (_, errors, _) = psql.run("CREATE TOPIC x (a INT) WITH (nosuch = 1);");
    assert!(errors.contains("nosuch"), "{errors}");
    let (_, errors, _) = psql.run("\\set VERBOSITY verbose\nSELECT 1/0;");
    assert!(errors.contains("22012"), "{errors}");
}

#[test]
fn a_transaction_in_a_script_is_whole() {
    let Some(psql) = Psql::start() else { return };
    psql.ok("BEGIN; INSERT INTO bids (auction) VALUES (1); ROLLBACK;");
    psql.shows("SELECT count(*) FROM bids", &["0"]);
    psql.shows(
        "BEGIN; INSERT INTO bids (auction) VALUES (1), (2); COMMIT; SELECT count(*) FROM per_auction;",
        &["INSERT 0 2", "COMMIT", "2"],
    );
    psql.shows(
        "SELECT auction, price FROM bids \\gdesc",
        &["auction | bigint", "price | numeric(18,2)"],
    );
}
