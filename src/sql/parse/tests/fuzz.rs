//! Feeds the lexer and the parser with mutated statements: they refuse with a state and a position in the text, or
//! accept, and then accept each statement alone as well.
//!
//! The statements of `sql-tests/` are the samples.

use std::path::{Path, PathBuf};

use super::*;
use crate::fuzz::{self, Target};

const WORDS: &[&[u8]] = &[
    b"SELECT ",
    b" FROM t ",
    b" WHERE ",
    b" GROUP BY ",
    b" HAVING ",
    b" ORDER BY 1 ",
    b" LIMIT 1 ",
    b" OFFSET ",
    b" UNION ALL ",
    b" INTERSECT ",
    b" EXCEPT ",
    b" WITH RECURSIVE ",
    b" AS ",
    b" OVER (",
    b" PARTITION BY ",
    b" ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW ",
    b"CAST(",
    b"::",
    b"[",
    b"]",
    b"ARRAY[",
    b"INTERVAL '1 day'",
    b"TUMBLE(",
    b"HOP(",
    b" EMIT ON WINDOW CLOSE ",
    b" EMIT CHANGES ",
    b"CREATE TOPIC ",
    b"CREATE MATERIALIZED VIEW ",
    b"ALTER TOPIC t ADD COLUMN ",
    b"DROP ",
    b" IF EXISTS ",
    b" CASCADE",
    b"INSERT INTO t VALUES ",
    b" RETURNING *",
    b" ON CONFLICT ",
    b"COPY t FROM STDIN ",
    b"PREPARE p AS ",
    b"EXECUTE p(",
    b"DECLARE c CURSOR FOR ",
    b"FETCH ALL ",
    b"EXPLAIN (ANALYZE) ",
    b"SET ",
    b"SHOW ",
    b"BEGIN",
    b"COMMIT",
    b"ROLLBACK TO SAVEPOINT ",
    b"E'\\u0000'",
    b"E'\\xff'",
    b"U&'\\+110000'",
    b"$$",
    b"$tag$",
    b"/*",
    b"*/",
    b"/* /* */",
    b"--",
    b"\"\"",
    b"''",
    b"'",
    b"\"",
    b"$1",
    b"$65535",
    b"$0",
    b"$99999999999999999999",
    b"NOT NOT ",
    b"- -",
    b"((((",
    b"))))",
    b"CASE WHEN ",
    b" END",
    b" BETWEEN ",
    b" IN (",
    b" LIKE ",
    b" IS NOT DISTINCT FROM ",
    b" AT TIME ZONE ",
    b";",
    b"0x",
    b"0b2",
    b"1e999",
    b"1..2",
    b"EXTRACT(epoch FROM ",
    b"SUBSTRING('a' FROM 1 FOR 2)",
    b" LATERAL ",
    b" CROSS JOIN ",
    b" USING (",
    b"GROUPING SETS ((), ())",
    b"CUBE(",
    b"VALUES (1), (2)",
    b" FILTER (WHERE ",
    b" WITHIN GROUP (ORDER BY ",
];

/// Statements and queries of the SQL tests that the parser takes.
fn samples() -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("sql-tests"), &mut files);
    let mut samples = Vec::new();
    for file in files {
        #[allow(clippy::disallowed_methods, reason = "the samples are files of the repository")]
        let text = std::fs::read_to_string(&file).expect("an SQL test can be read");
        for record in text.split("\n\n") {
            let mut lines = record.lines().skip_while(|line| line.starts_with('#'));
            let Some(head) = lines.next() else { continue };
            if !head.starts_with("statement") && !head.starts_with("query") {
                continue;
            }
            let statement: Vec<&str> = lines.take_while(|line| *line != "----").collect();
            let statement = statement.join("\n");
            if statement.len() < 2_000 && parse(&statement).is_ok_and(|parsed| !parsed.is_empty()) {
                samples.push(statement.into_bytes());
            }
        }
    }
    assert!(samples.len() > 500, "the SQL tests are not where they were");
    samples
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    #[allow(clippy::disallowed_methods, reason = "the samples are files of the repository")]
    for entry in std::fs::read_dir(folder).expect("the SQL tests can be listed") {
        let path = entry.expect("the SQL tests can be listed").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "slt") {
            found.push(path);
        }
    }
    found.sort();
}

#[test]
fn statements() {
    let target = Target {
        name: "statements",
        samples: samples(),
        words: WORDS,
        growth: 4_096,
    };
    fuzz::run(&target, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        match parse(&text) {
            Ok(parsed) => {
                for statement in &parsed {
                    let again = parse(&statement.text)
                        .unwrap_or_else(|error| panic!("taken, then refused alone: {error}: {}", statement.text));
                    assert_eq!(again.len(), 1, "{}", statement.text);
                    assert_eq!(again[0].text, statement.text);
                    assert_eq!(again[0].parameters, statement.parameters, "{}", statement.text);
                }
                !parsed.is_empty()
            }
            Err(error) => {
                assert_eq!(error.state.0.len(), 5);
                assert_ne!(error.state.0, "XX000", "{error:?}");
                let characters = text.chars().count();
                assert!(
                    error.position.is_none_or(|at| (1..=characters + 1).contains(&at)),
                    "{error:?}"
                );
                false
            }
        }
    });
}
