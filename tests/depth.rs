//! Limits of nesting: input of each kind just below its limit is answered, above it is 54001, and the server lives on.
//! The limits protect the stacks of the server's threads, in a debug build above all.

use super::support::data_dir;
use super::support::raw::{self, Raw, error, rows};
use super::support::server::Server;

/// So deep that recursion over it would need more stack than there is.
const FAR_TOO_DEEP: usize = 100_000;

fn chain(start: &str, link: &str, end: &str) -> impl Fn(usize) -> String {
    move |length| format!("{start}{}{end}", link.repeat(length))
}

fn nested(start: &str, open: &str, inside: &str, close: &str, end: &str) -> impl Fn(usize) -> String {
    move |levels| format!("{start}{}{inside}{}{end}", open.repeat(levels), close.repeat(levels))
}

/// A statement by its levels, the most levels that are answered, and the fewest that are too many.
struct Kind {
    name: &'static str,
    statement: Box<dyn Fn(usize) -> String>,
    answered: usize,
    refused: usize,
}

fn kind(name: &'static str, answered: usize, refused: usize, statement: impl Fn(usize) -> String + 'static) -> Kind {
    Kind {
        name,
        statement: Box::new(statement),
        answered,
        refused,
    }
}

const ROWS: &str = " FROM (VALUES (1), (2)) t(g)";

fn kinds() -> Vec<Kind> {
    let joined = |separator: &'static str| {
        move |tables: usize| {
            let tables: Vec<String> = (0..tables).map(|table| format!("(VALUES (1)) t{table}(a)")).collect();
            format!("SELECT count(*) FROM {}", tables.join(separator))
        }
    };
    vec![
        kind("arithmetic", 300, 301, chain("SELECT 1", " + 1", "")),
        kind("arithmetic on columns", 300, 301, chain("SELECT g", " + g", ROWS)),
        kind("signs", 300, 301, chain("SELECT ", "- ", "1")),
        kind("casts", 300, 301, chain("SELECT g", "::int", ROWS)),
        kind("texts", 300, 301, chain("SELECT length('a'", " || 'a'", ")")),
        kind(
            "conditions",
            990,
            1_001,
            chain("SELECT g FROM (VALUES (1)) t(g) WHERE g = 1", " OR g = 2", ""),
        ),
        kind("NOT", 990, 1_001, chain("SELECT ", "NOT ", "true")),
        kind("brackets", 99, 101, nested("SELECT ", "(", "1", ")", "")),
        kind("calls", 98, 101, nested("SELECT ", "abs(", "g", ")", ROWS)),
        kind(
            "CASE",
            98,
            101,
            nested("SELECT ", "CASE WHEN g = 1 THEN ", "g", " END", ROWS),
        ),
        kind("subqueries", 98, 101, nested("SELECT ", "(SELECT ", "1", ")", "")),
        kind(
            "computing subqueries",
            98,
            101,
            nested("SELECT ", "(SELECT 1 + ", "1", ")", ""),
        ),
        kind(
            "FROM",
            98,
            101,
            nested("SELECT * FROM ", "(SELECT * FROM ", "(VALUES (1)) v(a)", ") s", ""),
        ),
        kind(
            "EXISTS",
            11,
            14,
            nested("SELECT 1 WHERE ", "EXISTS (SELECT 1 WHERE ", "true", ")", ""),
        ),
        kind(
            "set operations",
            900,
            1_001,
            chain("SELECT 1", " UNION ALL SELECT 1", ""),
        ),
        kind("EXCEPT", 200, 1_001, chain("SELECT 1", " EXCEPT SELECT 2", "")),
        kind("joins", 100, 1_002, joined(" CROSS JOIN ")),
        kind("FROM lists", 100, 1_002, joined(", ")),
        kind("CTEs", 300, 1_002, ctes_of),
        kind("types", 990, 1_001, chain("SELECT NULL::int", "[]", "")),
        kind(
            "JSONB objects",
            1_000,
            1_001,
            nested("SELECT length(('", "{\"a\":", "1", "}", "'::jsonb)::text)"),
        ),
        kind(
            "JSON",
            1_000,
            1_001,
            nested("SELECT length(('", "[", "", "]", "'::json)::text)"),
        ),
    ]
}

fn ctes_of(queries: usize) -> String {
    let first = "c0 AS (SELECT 1 AS a)".to_string();
    let others = (1..queries).map(|number| format!("c{number} AS (SELECT a FROM c{})", number - 1));
    let all: Vec<String> = std::iter::once(first).chain(others).collect();
    format!("WITH {} SELECT * FROM c{}", all.join(", "), queries - 1)
}

fn started() -> (tempfile::TempDir, Server, Raw) {
    let (keep, dir) = data_dir();
    let server = Server::start(&dir);
    let raw = Raw::connect(&server);
    (keep, server, raw)
}

fn state(raw: &mut Raw, sql: &str) -> String {
    let messages = raw.query(sql);
    match messages.iter().find(|message| message.kind == 'E') {
        Some(_) => error(&messages).0,
        None => String::new(),
    }
}

#[test]
fn each_kind_holds_at_its_limit() {
    let (_keep, _server, mut raw) = started();
    for kind in kinds() {
        let name = kind.name;
        let at = |levels: usize| (kind.statement)(levels);
        assert_eq!(state(&mut raw, &at(kind.answered)), "", "{name}: {}", kind.answered);
        for levels in [kind.refused, FAR_TOO_DEEP] {
            assert_eq!(state(&mut raw, &at(levels)), "54001", "{name}: {levels}");
        }
        // Kept, described, explained and dropped as well as run.
        let statement = at(kind.answered);
        assert_eq!(
            state(&mut raw, &format!("PREPARE p AS {statement}")),
            "",
            "{name}: PREPARE"
        );
        assert_eq!(state(&mut raw, "EXECUTE p"), "", "{name}: EXECUTE");
        assert_eq!(state(&mut raw, "DEALLOCATE p"), "", "{name}: DEALLOCATE");
    }
}

#[test]
fn json_is_refused_on_every_way_in() {
    let (_keep, _server, mut raw) = started();
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(state(&mut raw, "CREATE TOPIC j (b JSONB, j JSON, t TEXT)"), "");
    for (levels, expected) in [(1_000, ""), (1_001, "54001"), (FAR_TOO_DEEP, "54001")] {
        let text = nested(levels);
        for column in ["b", "j"] {
            let insert = format!("INSERT INTO j ({column}) VALUES ('{text}')");
            assert_eq!(state(&mut raw, &insert), expected, "INSERT: {levels}");
            let select = format!("INSERT INTO j ({column}) SELECT '{text}'::jsonb");
            assert_eq!(state(&mut raw, &select), expected, "INSERT SELECT: {levels}");

            raw.write(&raw::query(&format!("COPY j ({column}) FROM STDIN")));
            raw.write(&raw::copy_data(format!("{text}\n").as_bytes()));
            raw.write(&raw::bare('c'));
            let copied = raw.until_ready();
            let failed = copied.iter().any(|message| message.kind == 'E');
            assert_eq!(
                if failed { error(&copied).0 } else { String::new() },
                expected,
                "COPY: {levels}"
            );

            for binary in [false, true] {
                let mut value = text.clone().into_bytes();
                if binary && column == "b" {
                    value.insert(0, 1);
                }
                raw.write(&raw::parse("", &format!("INSERT INTO j ({column}) VALUES ($1)"), &[]));
                raw.write(&raw::bind("", "", u16::from(binary), &[Some(&value)], 0));
                raw.write(&raw::execute("", 0));
                raw.write(&raw::bare('S'));
                let bound = raw.until_ready();
                let failed = bound.iter().any(|message| message.kind == 'E');
                let state = if failed { error(&bound).0 } else { String::new() };
                assert_eq!(state, expected, "parameter, binary {binary}: {levels}");
            }
        }
        let cast = format!("SELECT length((repeat('[', {levels}) || repeat(']', {levels}))::jsonb::text)");
        assert_eq!(state(&mut raw, &cast), expected, "cast while it runs: {levels}");
    }
}

/// A view with a row that nests too deep is failed; every start after it comes up.
#[test]
fn a_view_over_deep_json_fails_and_the_server_starts() {
    let (_keep, dir) = data_dir();
    let server = Server::start(&dir);
    let mut raw = Raw::connect(&server);
    for sql in [
        "CREATE TOPIC docs (id INT, b TEXT)",
        "CREATE MATERIALIZED VIEW lengths AS SELECT id, length((b::jsonb)::text) AS l FROM docs",
        "INSERT INTO docs VALUES (1, '[[1]]')",
        "INSERT INTO docs SELECT 2, repeat('[', 20000) || repeat(']', 20000)",
    ] {
        assert_eq!(state(&mut raw, sql), "", "{sql}");
    }
    let failed = |raw: &mut Raw| {
        assert_eq!(state(raw, "SELECT * FROM lengths"), "54001");
        let status = rows(&raw.query("SELECT status FROM millstream.materialized_views WHERE name = 'lengths'"));
        assert_eq!(status, [["failed"]]);
        assert_eq!(rows(&raw.query("SELECT count(*) FROM docs")), [["2"]]);
    };
    failed(&mut raw);
    server.kill();
    let server = Server::start(&dir);
    let mut raw = Raw::connect(&server);
    failed(&mut raw);
    assert_eq!(state(&mut raw, "DROP MATERIALIZED VIEW lengths"), "");
}

/// Views at the limit of depth are kept, shown and read again at a start.
#[test]
fn deep_views_live_through_a_restart() {
    let (_keep, dir) = data_dir();
    let server = Server::start(&dir);
    let mut raw = Raw::connect(&server);
    let texts = chain("SELECT length(s", " || s", ") AS l FROM t")(299);
    let brackets = nested("SELECT ", "(", "s", ")", " AS l FROM t")(95);
    let calls = nested("SELECT ", "abs(", "length(s)", ")", " AS l FROM t")(95);
    let conditions = chain("SELECT s AS l FROM t WHERE s = 'x'", " OR s = 'y'", "")(980);
    assert_eq!(state(&mut raw, "CREATE TOPIC t (s TEXT)"), "");
    assert_eq!(state(&mut raw, "INSERT INTO t VALUES ('x')"), "");
    let views = [
        ("a", &texts, "300"),
        ("b", &brackets, "x"),
        ("c", &calls, "1"),
        ("d", &conditions, "x"),
    ];
    for (name, query, _) in &views {
        assert_eq!(state(&mut raw, &format!("CREATE VIEW plain_{name} AS {query}")), "");
        assert_eq!(
            state(&mut raw, &format!("CREATE MATERIALIZED VIEW kept_{name} AS {query}")),
            ""
        );
    }
    let check = |raw: &mut Raw| {
        for (name, _, expected) in &views {
            for view in [format!("plain_{name}"), format!("kept_{name}")] {
                assert_eq!(
                    rows(&raw.query(&format!("SELECT l FROM {view}"))),
                    [[*expected]],
                    "{view}"
                );
                let shown = raw.query(&format!("SELECT length(pg_get_viewdef('{view}'::regclass)) > 100"));
                assert_eq!(rows(&shown), [["t"]], "{view}");
                assert_eq!(state(raw, &format!("EXPLAIN SELECT * FROM {view}")), "", "{view}");
            }
            assert_eq!(state(raw, &format!("SHOW CREATE VIEW plain_{name}")), "", "{name}");
            assert_eq!(
                state(raw, &format!("SHOW CREATE MATERIALIZED VIEW kept_{name}")),
                "",
                "{name}"
            );
        }
    };
    check(&mut raw);
    server.kill();
    let server = Server::start(&dir);
    let mut raw = Raw::connect(&server);
    check(&mut raw);
}
