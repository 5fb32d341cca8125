//! Expressions and queries whose answers PostgreSQL 15 gave (`answers.txt`, `queries.txt`): a line `> expression`, then the
//! rows, or `ERROR`, SQLSTATE and message. `MILLSTREAM_ANSWERS=file` surveys another file and prints the differences.

use super::*;

fn answer(expression: &str) -> String {
    let sql = format!("SELECT {expression}");
    let parsed = Parser::new(&PostgreSqlDialect {})
        .try_with_sql(&sql)
        .and_then(|mut parser| parser.parse_statement());
    if let Err(error) = parsed {
        return format!("ERROR 42601 {error}");
    }
    match run_at(&sql, Emit::OnChange, &point(0)) {
        Ok(rows) => rows,
        Err(error) => format!("ERROR {} {}", error.state.0, error.message),
    }
}

fn differences(recorded: &str) -> Vec<String> {
    let mut differences = Vec::new();
    for record in format!("\n{recorded}").split("\n> ").skip(1) {
        let (expression, expected) = record.split_once('\n').unwrap_or((record, ""));
        let expected = expected.trim_end_matches('\n');
        let have = std::panic::catch_unwind(|| answer(expression)).unwrap_or_else(|_| "PANIC".to_string());
        if have != expected {
            differences.push(format!("{expression}\n  PostgreSQL: {expected}\n  here:       {have}"));
        }
    }
    differences
}

#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "reads answers recorded elsewhere, when told where"
)]
fn survey() {
    let Ok(path) = std::env::var("MILLSTREAM_ANSWERS") else {
        return;
    };
    let recorded = std::fs::read_to_string(path).expect("the file can be read");
    println!("{}", differences(&recorded).join("\n"));
}

#[test]
fn queries_answer_as_postgresql_did() {
    let differences = differences(include_str!("queries.txt"));
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn expressions_answer_as_postgresql_did() {
    let differences = differences(include_str!("answers.txt"));
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
