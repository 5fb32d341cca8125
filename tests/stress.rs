//! Statements that take all they can get, each beside eight sessions that ask for little: these notice nothing.
//!
//! One rule: a statement of the list may fail, or run until it is cancelled; it is answered within a second of the
//! cancel, and `SELECT 1` on the others takes as long as ever. The bounds are those of a release build on two cores;
//! a debug build, which computes twenty times slower beside other tests, has wider ones.
//!
//! It is run by name: `cargo test --test integration stress:: -- --ignored --nocapture`.
//! `MILLSTREAM_STRESS_SERVER=target/release/millstream` runs the whole list against that binary and asserts the narrow
//! bounds; `MILLSTREAM_STRESS=full` runs it whole against the binary under test, which otherwise takes each fifth.
//! `MILLSTREAM_STRESS_ONLY=word` takes the statements whose names have the word.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::support::raw::{self, Raw};
use super::support::server::{self, Server};

/// Time that a statement runs before it is cancelled.
const RUNS: Duration = Duration::from_secs(1);
/// Between two questions of a bystander.
const PAUSE: Duration = Duration::from_millis(4);
const BYSTANDERS: usize = 8;

struct Bounds {
    p99: Duration,
    max: Duration,
    cancel: Duration,
}

const RELEASE: Bounds = Bounds {
    p99: Duration::from_millis(50),
    max: Duration::from_millis(250),
    cancel: Duration::from_secs(1),
};
const DEBUG: Bounds = Bounds {
    p99: Duration::from_millis(500),
    max: Duration::from_secs(5),
    cancel: Duration::from_secs(10),
};

/// One case: messages that are sent at once.
struct Case {
    name: String,
    messages: Vec<u8>,
    /// ReadyForQuery messages that answer them.
    ready: usize,
}

fn list(count: usize, item: impl Fn(usize) -> String) -> String {
    (0..count).map(item).collect::<Vec<_>>().join(", ")
}

fn chain(levels: usize, first: &str, next: impl Fn(usize) -> String) -> String {
    (0..levels).fold(first.to_string(), |inner, level| next(level).replace("{}", &inner))
}

/// CTEs each of which names the one before twice.
fn doubling(levels: usize, joined: &str) -> String {
    let steps = (1..=levels).map(|level| {
        let before = level - 1;
        format!("c{level} AS (SELECT a.n FROM c{before} a {joined} c{before} b ON a.n = b.n)")
    });
    let steps: Vec<String> = steps.collect();
    format!(
        "WITH c0 AS (SELECT 1 AS n), {} SELECT count(*) FROM c{levels}",
        steps.join(", ")
    )
}

/// SELECTs, each with a name.
#[allow(clippy::too_many_lines, reason = "a list")]
fn selects() -> Vec<(&'static str, String)> {
    let big = "(SELECT generate_series AS n FROM generate_series(1, 1000000000)) g";
    let million = "(SELECT generate_series AS n FROM generate_series(1, 1000000)) g";
    let text = |length: usize| format!("repeat('ab', {length})");
    let mut selects = vec![
        ("nested scalar subqueries", format!("SELECT {}", chain(60, "1", |_| "(SELECT {})".to_string()))),
        ("nested subqueries in FROM", chain(45, "SELECT 1 AS n", |level| format!("SELECT n + 1 AS n FROM ({{}}) s{level}"))),
        ("nested IN subqueries", chain(40, "SELECT 1", |_| "SELECT 1 WHERE 1 IN ({})".to_string())),
        ("nested EXISTS", chain(40, "SELECT 1", |_| "SELECT 1 WHERE EXISTS ({})".to_string())),
        ("EXISTS nested to the limit", chain(12, "SELECT 1", |_| "SELECT 1 WHERE EXISTS ({})".to_string())),
        ("EXISTS over rows nested to the limit", chain(12, "SELECT 1", |level| format!("SELECT 1 FROM t t{level} WHERE EXISTS ({{}})"))),
        ("a doubled expression, filtered", format!("SELECT a FROM ({}) s WHERE a > 0", chain(25, "SELECT k AS a FROM t", |level| format!("SELECT a + a AS a FROM ({{}}) s{level}")))),
        ("a doubled expression at its limit", format!("SELECT a FROM ({}) s WHERE a > 0", chain(14, "SELECT k AS a FROM t", |level| format!("SELECT a + a AS a FROM ({{}}) s{level}")))),
        ("nested CASE", format!("SELECT {}", chain(90, "1", |_| "CASE WHEN random() > 2 THEN 0 ELSE {} END".to_string()))),
        ("nested calls", format!("SELECT {}", chain(90, "'a'", |_| "replace({}, 'a', 'aa')".to_string()))),
        ("doubled concatenation", format!("SELECT length({})", chain(30, "'a'", |_| "(SELECT x || x FROM (SELECT {} AS x) s)".to_string()))),
        ("brackets around tables", format!("SELECT * FROM {}t JOIN u ON true{}", "(".repeat(12), ")".repeat(12))),
        ("doubling CTEs, joined", doubling(24, "JOIN")),
        ("doubling CTEs, left joined", doubling(24, "LEFT JOIN")),
        ("doubling CTEs, crossed", doubling(20, "CROSS JOIN (SELECT 1) x JOIN")),
        ("unnest of a large constant", format!("SELECT count(*) FROM unnest(ARRAY[{}]) u", list(200_000, |n| n.to_string()))),
        ("unnest of a large array text", format!("SELECT count(*) FROM unnest('{{{}}}'::int[]) u", list(500_000, |n| n.to_string()))),
        ("rows of a large constant", format!("SELECT * FROM unnest(ARRAY[{}]) u", list(200_000, |n| n.to_string()))),
        ("unnest of a split text", "SELECT count(*) FROM unnest(string_to_array(repeat('a,', 2000000), ','))".to_string()),
        ("unnest in the select list", format!("SELECT unnest(ARRAY[{}])", list(100_000, |n| n.to_string()))),
        ("CUBE of 20 columns", format!("SELECT count(*) FROM (SELECT {}) t GROUP BY CUBE ({})", list(20, |n| format!("{n} AS c{n}")), list(20, |n| format!("c{n}")))),
        ("ROLLUP of 200 columns", format!("SELECT count(*) FROM (SELECT {}) t GROUP BY ROLLUP ({})", list(200, |n| format!("{n} AS c{n}")), list(200, |n| format!("c{n}")))),
        ("GROUPING SETS of CUBEs", format!("SELECT count(*) FROM (SELECT {}) t GROUP BY CUBE ({}), CUBE ({})", list(24, |n| format!("{n} AS c{n}")), list(12, |n| format!("c{n}")), list(12, |n| format!("c{}", n + 12)))),
        ("a select list of 1,600 columns", format!("SELECT {}", list(1600, |n| format!("{n} + n AS c{n}")).replace("+ n", "+ 1"))),
        ("a select list of 40,000 items", format!("SELECT {}", list(40_000, |n| n.to_string()))),
        ("1,600 expressions over rows", format!("SELECT {} FROM {million}", list(1600, |n| format!("n * {n} AS c{n}")))),
        ("a million values and no rows", format!("SELECT 1 WHERE 1 IN ({})", list(1_000_000, |n| n.to_string()))),
        ("IN with a million values", format!("SELECT count(*) FROM t WHERE k IN ({})", list(1_000_000, |n| n.to_string()))),
        ("IN with 100,000 texts", format!("SELECT count(*) FROM t WHERE v IN ({})", list(100_000, |n| format!("'{n}'")))),
        ("VALUES of 300,000 rows", format!("VALUES {}", list(300_000, |n| format!("({n}, 'x')")))),
        ("a chain of 900 ANDs", format!("SELECT 1 WHERE {}", (0..900).map(|n| format!("{n} < random()")).collect::<Vec<_>>().join(" AND "))),
        ("a chain of 900 ORs", format!("SELECT count(*) FROM t WHERE {}", (0..900).map(|n| format!("k = {n} AND v = '{n}'")).collect::<Vec<_>>().join(" OR "))),
        ("a chain of 100 UNIONs", vec!["SELECT count(*) FROM t GROUP BY k"; 100].join(" UNION ")),
        ("a join of 30 topics", format!("SELECT count(*) FROM t t0{}", (1..30).map(|n| format!(" JOIN t t{n} ON t{n}.k = t{}.k", n - 1)).collect::<String>())),
        ("a cross join of 12 topics", format!("SELECT count(*) FROM {}", list(12, |n| format!("t t{n}")))),
        ("a cross join for ever", format!("SELECT count(*) FROM {million}, {} ", million.replace(" g", " h"))),
        ("a cross join with a function", format!("SELECT sum(length(repeat(g.n::text, 100))) FROM {million}, {}", million.replace(" g", " h"))),
        ("a nested loop for ever", format!("SELECT count(*) FROM {million} JOIN {} ON g.n * 7 < h.n % 1000", million.replace(" g", " h"))),
        ("a nested loop with LIKE", format!("SELECT count(*) FROM {million} JOIN {} ON g.n::text LIKE '%' || h.n::text || '%'", million.replace(" g", " h"))),
        ("a lateral join", format!("SELECT count(*) FROM {million}, LATERAL (SELECT count(*) FROM generate_series(1, g.n)) l")),
        ("a correlated subquery", "SELECT count(*) FROM t WHERE k = (SELECT max(u.k) FROM t u WHERE u.v = t.v AND u.k < t.k)".to_string()),
        ("recursion without end", "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r".to_string()),
        ("doubling recursion", "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT r.n FROM r, (VALUES (1), (2)) v) SELECT count(*) FROM r".to_string()),
        ("a sort of a billion", format!("SELECT n FROM {big} ORDER BY n % 1000, n DESC")),
        ("a sort of texts", format!("SELECT n FROM {big} ORDER BY repeat(n::text, 50)")),
        ("a distinct of a billion", format!("SELECT DISTINCT n FROM {big}")),
        ("groups of a billion", format!("SELECT n, count(*) FROM {big} GROUP BY n")),
        ("groups of texts", format!("SELECT repeat(n::text, 20), count(*) FROM {big} GROUP BY 1")),
        ("a count of a billion", format!("SELECT count(*) FROM {big} WHERE n % 7 = 3")),
        ("rows without end", format!("SELECT n, repeat('x', 100) FROM {big}")),
        ("wide rows without end", format!("SELECT n, repeat('x', 1000000) FROM {big}")),
        ("string_agg of millions", format!("SELECT length(string_agg(n::text, ',')) FROM {big}")),
        ("array_agg of millions", format!("SELECT array_agg(n) FROM {big}")),
        ("array_agg of texts", format!("SELECT array_agg(repeat('x', 1000)) FROM {million}")),
        ("count of distinct texts", format!("SELECT count(DISTINCT repeat(n::text, 10)) FROM {big}")),
        ("percentile of a billion", format!("SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY n) FROM {big}")),
        ("a window over all", format!("SELECT sum(n) OVER (ORDER BY n) FROM {big}")),
        ("large frames", format!("SELECT sum(n) OVER (ORDER BY n ROWS BETWEEN 500000 PRECEDING AND 500000 FOLLOWING) FROM {million}")),
        ("frames of minima", format!("SELECT min(n) OVER (ORDER BY n ROWS BETWEEN 100000 PRECEDING AND 100000 FOLLOWING) FROM {million}")),
        ("frames of arrays", format!("SELECT length(string_agg(n::text, ',') OVER (ORDER BY n)) FROM {million}")),
        ("a regex of many repeats", "SELECT repeat('a', 100000) ~ '(a{1,100}){1,100}$'".to_string()),
        ("a regex of classes", "SELECT 'x' ~* repeat('[a-\\x{2FFF}]', 87381)".to_string()),
        ("a regex of alternatives", format!("SELECT v ~ '{}' FROM t", (0..20_000).map(|n| format!("a{n}")).collect::<Vec<_>>().join("|"))),
        ("a regex per row", format!("SELECT count(*) FROM {big} WHERE 'abc' ~ ('(' || n::text || '|a)*c')")),
        ("regexp_replace of a long text", format!("SELECT length(regexp_replace({}, '(a|b)', 'xxxxxxxxxx', 'g'))", text(5_000_000))),
        ("regexp_match of a long text", format!("SELECT regexp_match({}, '(a|b)*c')", text(5_000_000))),
        ("LIKE of many wildcards", format!("SELECT {} LIKE '{}b'", text(100_000), "%a".repeat(500))),
        ("LIKE per row", format!("SELECT count(*) FROM {big} WHERE repeat('a', 1000) LIKE '%a%a%a%a%a%a%' || n::text")),
        ("ILIKE of a long text", format!("SELECT {} ILIKE '%A%B%A%C'", text(5_000_000))),
        ("repeat of a gigabyte", "SELECT length(repeat('x', 1000000000))".to_string()),
        ("repeat of too much", "SELECT repeat('abcdefgh', 2147483647)".to_string()),
        ("repeat in each row", format!("SELECT sum(length(repeat('x', 10000000))) FROM {big}")),
        ("lpad of 2 GiB", "SELECT lpad('', 2147483647)".to_string()),
        ("rpad of 1 GiB", "SELECT length(rpad('x', 1000000000, 'ab'))".to_string()),
        ("replace that grows", format!("SELECT length(replace({}, 'a', repeat('x', 1000)))", text(500_000))),
        ("translate of a long text", format!("SELECT length(translate({}, 'ab', 'xy'))", text(50_000_000))),
        ("reverse of a long text", format!("SELECT length(reverse({}))", text(100_000_000))),
        ("md5 of a long text", format!("SELECT md5({})", text(200_000_000))),
        ("encode of long bytes", format!("SELECT length(encode({}::bytea, 'hex'))", text(100_000_000))),
        ("string_to_array of a long text", format!("SELECT array_length(string_to_array({}, 'a'), 1)", text(20_000_000))),
        ("split_part of a long text", format!("SELECT split_part({}, 'b', 40000000)", text(50_000_000))),
        ("a power of numerics", "SELECT 10::numeric ^ 100000".to_string()),
        ("a long numeric", format!("SELECT {}::numeric * {}::numeric", "9".repeat(100_000), "7".repeat(100_000))),
        ("powers in each row", format!("SELECT sum(power(1.0000001::float8, n)) FROM {big}")),
        ("a factorial by recursion", "WITH RECURSIVE f AS (SELECT 1 AS n, 1::numeric AS f UNION ALL SELECT n + 1, f * (n + 1) FROM f WHERE n < 100000) SELECT max(f) FROM f".to_string()),
        ("numerics of a billion rows", format!("SELECT sum(n::numeric / 7) FROM {big}")),
        ("generate_series as an array", "SELECT count(*) FROM (SELECT generate_series(1, n) FROM (VALUES (1000000000)) AS v (n)) s".to_string()),
        ("generate_series by a small step", "SELECT count(*) FROM generate_series('2000-01-01'::timestamp, '3000-01-01'::timestamp, '1 millisecond'::interval)".to_string()),
        ("array_fill of a billion", "SELECT array_length(array_fill(1, ARRAY[1000000000]), 1)".to_string()),
        ("array_append in recursion", "WITH RECURSIVE a AS (SELECT ARRAY[1] AS a UNION ALL SELECT a || a FROM a) SELECT max(array_length(a, 1)) FROM a".to_string()),
        ("array_position of a large array", format!("SELECT count(array_position(a.x, n)) FROM (SELECT array_agg(n) AS x FROM (SELECT generate_series AS n FROM generate_series(1, 100000)) s) a, {million}")),
        ("array_distinct of a large array", format!("SELECT array_length(array_distinct(array_agg(n)), 1) FROM {million}")),
        ("array_to_string of a large array", format!("SELECT length(array_to_string(array_agg(n), ',')) FROM {million}")),
        ("sorted arrays", format!("SELECT array_sort(array_agg(n)) FROM {million}")),
        ("deep JSON", format!("SELECT '{}{}'::jsonb", "[".repeat(100_000), "]".repeat(100_000))),
        ("wide JSON", format!("SELECT length(('[{}]'::jsonb)::text)", list(300_000, |n| n.to_string()))),
        ("JSON with many keys", format!("SELECT length(('{{{}}}'::jsonb)::text)", list(200_000, |n| format!("\"k{n}\": {n}")))),
        ("JSON made of many rows", format!("SELECT length(('[' || string_agg('{{\"a\": ' || n::text || '}}', ',') || ']')::jsonb::text) FROM {million}")),
        ("sleep for long", "SELECT pg_sleep(3600)".to_string()),
        ("sleep in each row", format!("SELECT pg_sleep(0.001) FROM {million}")),
        ("a long comment", format!("SELECT 1 /* {} */", "x".repeat(20_000_000))),
        ("a long literal", format!("SELECT length('{}')", "x".repeat(30_000_000))),
        ("a long identifier list", format!("SELECT {} FROM t", list(20_000, |_| "k".to_string()))),
        ("many aliases", format!("SELECT 1 FROM {}", list(400, |n| format!("(SELECT 1 AS c{n}) s{n}")))),
        ("the catalog crossed", "SELECT count(*) FROM pg_catalog.pg_type a, pg_catalog.pg_type b, pg_catalog.pg_type c, pg_catalog.pg_type d".to_string()),
        ("rows of the view crossed", "SELECT count(*) FROM tv a, tv b, tv c WHERE a.n + b.n > c.n".to_string()),
    ];
    selects.sort_by_key(|(name, _)| name.len());
    selects
}

fn simple(name: String, sql: &str) -> Case {
    Case {
        name,
        messages: raw::query(sql),
        ready: 1,
    }
}

/// The list: each SELECT by itself, and in one or two other forms; and the other statements.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (at, (name, sql)) in selects().into_iter().enumerate() {
        cases.push(simple(name.to_string(), &sql));
        let other = |form: &str| format!("{name}, {form}");
        let form = match at % 8 {
            0 => simple(other("explained"), &format!("EXPLAIN {sql}")),
            1 => simple(other("as a view"), &format!("CREATE VIEW stress_{at} AS {sql}")),
            2 => simple(
                other("as a materialized view"),
                &format!("CREATE MATERIALIZED VIEW stress_{at} AS {sql}"),
            ),
            3 => extended(other("prepared"), &sql),
            4 => simple(
                other("with a cursor"),
                &format!("BEGIN; DECLARE c CURSOR FOR {sql}; FETCH 1000 FROM c; ROLLBACK"),
            ),
            5 => simple(other("analyzed"), &format!("EXPLAIN ANALYZE {sql}")),
            6 => simple(other("copied out"), &format!("COPY ({sql}) TO STDOUT")),
            _ => simple(
                other("prepared by name"),
                &format!("PREPARE stress_{at} AS {sql}; EXECUTE stress_{at}"),
            ),
        };
        cases.push(form);
    }
    cases.extend(others());
    cases
}

fn extended(name: String, sql: &str) -> Case {
    let mut messages = raw::parse("", sql, &[]);
    messages.extend(raw::bind("", "", 0, &[], 1));
    messages.extend(raw::execute("", 0));
    messages.extend(raw::bare('S'));
    Case {
        name,
        messages,
        ready: 1,
    }
}

fn others() -> Vec<Case> {
    let wide = format!("SELECT {}", list(1600, |n| format!("{n} AS c{n}")));
    let mut pipelined = Vec::new();
    for at in 0..100 {
        pipelined.extend(raw::parse(&format!("p{at}"), &wide, &[]));
    }
    pipelined.extend(raw::bare('S'));

    let parameters = list(65_534, |n| format!("${}", n + 1));
    let mut many = raw::parse("", &format!("SELECT 1 WHERE 1 IN ({parameters})"), &[23; 65_534]);
    let values: Vec<Option<&[u8]>> = vec![Some(b"7"); 65_534];
    many.extend(raw::bind("", "", 0, &values, 0));
    many.extend(raw::execute("", 0));
    many.extend(raw::bare('S'));

    let mut inserted = raw::parse(
        "",
        &format!("INSERT INTO t (k) VALUES {}", list(65_534, |n| format!("(${})", n + 1))),
        &[],
    );
    inserted.extend(raw::bind("", "", 0, &values, 0));
    inserted.extend(raw::execute("", 0));
    inserted.extend(raw::bare('S'));

    let mut described = raw::parse("d", &wide, &[]);
    for _ in 0..2000 {
        described.extend(raw::describe('S', "d"));
    }
    described.extend(raw::bare('S'));

    let long = vec![b'x'; 60 << 20];
    let mut row = raw::query("COPY t (v) FROM STDIN");
    for piece in long.chunks(32 << 10) {
        row.extend(raw::copy_data(piece));
    }
    row.extend(raw::bare('c'));
    let mut quoted = raw::query("COPY t (v) FROM STDIN (FORMAT csv)");
    quoted.extend(raw::copy_data(b"\""));
    for piece in vec![b'\n'; 20 << 20].chunks(32 << 10) {
        quoted.extend(raw::copy_data(piece));
    }
    quoted.extend(raw::bare('c'));
    let mut json = raw::query("COPY j FROM STDIN");
    json.extend(raw::copy_data(
        format!("[{}]\n", list(2_000_000, |n| n.to_string())).as_bytes(),
    ));
    json.extend(raw::bare('c'));
    let mut large = raw::query("COPY t FROM STDIN");
    let lines: String = (0..1_000_000).map(|n| format!("{n}\tsome text\n")).collect();
    large.extend(raw::copy_data(lines.as_bytes()));
    large.extend(raw::bare('c'));

    let case = |name: &str, messages, ready| Case {
        name: name.to_string(),
        messages,
        ready,
    };
    let text = |name: &str, sql: String| simple(name.to_string(), &sql);
    vec![
        case("1,600 columns parsed again and again", pipelined, 1),
        case("65,534 parameters", many, 1),
        case("65,534 parameters inserted", inserted, 1),
        case("2,000 descriptions of 1,600 columns", described, 1),
        case("a COPY row that does not end", row, 1),
        case("a COPY field of newlines", quoted, 1),
        case("a COPY of large JSON", json, 1),
        case("a COPY in one message", large, 1),
        text("INSERT of 200,000 literals", format!("INSERT INTO t VALUES {}", list(200_000, |n| format!("({n}, 'x')")))),
        text("INSERT of expressions", format!("INSERT INTO t VALUES {}", list(2_000, |n| format!("({n} + 1, 'x' || {n})")))),
        text("INSERT of a large query", "INSERT INTO t SELECT n, repeat('x', 300000) FROM (SELECT generate_series AS n FROM generate_series(1, 9000)) g".to_string()),
        text("INSERT without end", "INSERT INTO t SELECT n, 'x' FROM (SELECT generate_series AS n FROM generate_series(1, 1000000000)) g".to_string()),
        text("INSERT under a slow CHECK", "INSERT INTO checked VALUES (repeat('ab', 100000))".to_string()),
        text("a slow DEFAULT", "CREATE TOPIC defaults (a INT, b TEXT DEFAULT repeat('x', 1000000000))".to_string()),
        text("a topic of 1,600 columns", format!("CREATE TOPIC wide ({})", list(1600, |n| format!("c{n} INT CHECK (c{n} > {n})")))),
        text("20,000 statements", "SELECT 1; ".repeat(20_000)),
        text("20,000 settings", "SET application_name = 'x'; ".repeat(20_000)),
        text("50,000 empty statements", "; ".repeat(50_000)),
        text("a wrong statement of brackets", format!("SELECT * FROM {}t", "(".repeat(90))),
        text("a text of words", "word ".repeat(1_000_000)),
        text("a text of quotes", "'".repeat(4_000_001)),
        text("a DO that is none", format!("DO $${}$$", "x".repeat(5_000_000))),
        text("a cursor over a cross join", "BEGIN; DECLARE c CURSOR FOR SELECT a.oid FROM pg_catalog.pg_type a, pg_catalog.pg_type b, pg_catalog.pg_type c, pg_catalog.pg_type d ORDER BY 1; FETCH 10 FROM c; ROLLBACK".to_string()),
        text("set_config in a long text", format!("SELECT set_config('application_name', 'x', false), 1 IN ({})", list(200_000, |n| n.to_string()))),
    ]
}

/// Answers to bystanders: the time of each, and the case that ran.
type Seen = Arc<Mutex<Vec<(usize, Duration)>>>;

/// Asks for little, again and again, until told to stop.
fn stand_by(
    server: &Server,
    running: &Arc<AtomicUsize>,
    seen: &Seen,
    over: &Arc<AtomicBool>,
) -> thread::JoinHandle<()> {
    let mut raw = Raw::connect(server);
    let (running, seen, over) = (running.clone(), seen.clone(), over.clone());
    thread::spawn(move || {
        let (_never, pause) = mpsc::channel::<()>();
        while !over.load(Ordering::Relaxed) {
            let case = running.load(Ordering::Relaxed);
            let asked = Instant::now();
            let state = raw.answer("SELECT 1");
            let took = asked.elapsed();
            assert_eq!(state, None, "a bystander is answered");
            seen.lock().expect("no thread panics with it").push((case, took));
            let _ = pause.recv_timeout(PAUSE);
        }
    })
}

/// Runs a case in a session, cancels it if it takes long; returns the time of its answer after that, and its SQLSTATE.
fn run(server: &Server, raw: &mut Raw, case: &Case) -> (Option<Duration>, Option<String>) {
    let key = raw.key.clone();
    let mut writer = raw.writer();
    let messages = case.messages.clone();
    // A server that does not read while it works must not hold up the cancel.
    let writing = thread::spawn(move || writer(&messages));
    let (done, finished) = mpsc::channel::<()>();
    let cancelling = {
        let address = server.address();
        thread::spawn(move || {
            finished.recv_timeout(RUNS).is_err().then(|| {
                raw::send_cancel(address, &key);
                Instant::now()
            })
        })
    };
    let mut state = None;
    for _ in 0..case.ready {
        state = raw.drain().or(state);
    }
    let answered = Instant::now();
    let _ = done.send(());
    let cancelled = cancelling.join().expect("the canceller does not panic");
    writing.join().expect("the writer does not panic");
    (
        cancelled.map(|cancelled| answered.saturating_duration_since(cancelled)),
        state,
    )
}

#[test]
#[ignore = "takes minutes, and the processors of whatever runs beside it"]
fn bystanders_notice_nothing() {
    let narrow = std::env::var_os("MILLSTREAM_STRESS_SERVER");
    let whole = narrow.is_some() || std::env::var("MILLSTREAM_STRESS").is_ok_and(|value| value == "full");
    let only = std::env::var("MILLSTREAM_STRESS_ONLY").ok();
    let bounds = if narrow.is_some() { RELEASE } else { DEBUG };

    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let mut command = server::command(&data, &["--query-memory-mib", "512"]);
    if let Some(binary) = narrow {
        let mut other = std::process::Command::new(binary);
        other.args(command.get_args());
        command = other;
    }
    let server = Server::spawn(command, &data).expect("the server starts");
    let mut victim = Raw::connect(&server);
    for sql in [
        "CREATE TOPIC t (k BIGINT, v TEXT)",
        "CREATE TOPIC j (b JSONB)",
        "CREATE TOPIC checked (a TEXT CHECK (a <> reverse(a) || 'x' AND length(regexp_replace(a, '(a|b)', 'xx', 'g')) > 0))",
        "INSERT INTO t SELECT n, n::text FROM (SELECT generate_series AS n FROM generate_series(1, 20000)) g",
        "CREATE MATERIALIZED VIEW tv AS SELECT k % 1000 AS n, count(*) AS c FROM t GROUP BY 1",
    ] {
        assert_eq!(victim.answer(sql), None, "{sql}");
    }

    let cases: Vec<Case> = cases()
        .into_iter()
        .enumerate()
        .filter(|(at, case)| match &only {
            Some(word) => case.name.contains(word.as_str()),
            None => whole || at % 5 == 0,
        })
        .map(|(_, case)| case)
        .collect();
    if whole && only.is_none() {
        assert!(cases.len() >= 200, "{} statements", cases.len());
    }
    let (running, seen, over) = (Arc::default(), Seen::default(), Arc::default());
    let bystanders: Vec<_> = (0..BYSTANDERS)
        .map(|_| stand_by(&server, &running, &seen, &over))
        .collect();
    let mut late = Vec::new();
    let mut answers = Vec::new();
    for (at, case) in cases.iter().enumerate() {
        // Each with a session of its own: one that has much left to end has to wait for that.
        let mut victim = Raw::connect(&server);
        running.store(at, Ordering::Relaxed);
        if whole || only.is_some() {
            // Not everything that a server can die of leaves a trace.
            println!("{at}: {}", case.name);
        }
        let (after_cancel, state) = run(&server, &mut victim, case);
        if let Some(after) = after_cancel.filter(|after| *after > bounds.cancel) {
            late.push(format!("{}: answered {after:?} after its cancel", case.name));
        }
        answers.push((after_cancel, state));
        // Its remains are gone, and its session goes on.
        if victim.answer("ROLLBACK").is_some() {
            late.push(format!("{}: the session does not go on", case.name));
        }
    }
    over.store(true, Ordering::Relaxed);
    for bystander in bystanders {
        bystander.join().expect("every bystander is answered to the end");
    }

    let seen = seen.lock().expect("no thread panics with it");
    let mut all: Vec<Duration> = seen.iter().map(|(_, took)| *took).collect();
    all.sort();
    let part = |durations: &[Duration], of: usize| durations[(durations.len() - 1) * of / 100];
    let (p50, p99, max) = (part(&all, 50), part(&all, 99), part(&all, 100));
    let mut worst = Vec::new();
    for (at, case) in cases.iter().enumerate() {
        let mut took: Vec<Duration> = seen
            .iter()
            .filter(|(during, _)| *during == at)
            .map(|(_, took)| *took)
            .collect();
        took.sort();
        if took.is_empty() {
            continue;
        }
        let (cancel, state) = &answers[at];
        let line = format!(
            "{:>8.1} ms p99 {:>8.1} ms max of {:>5}; {}{}: {}",
            part(&took, 99).as_secs_f64() * 1e3,
            part(&took, 100).as_secs_f64() * 1e3,
            took.len(),
            state.as_deref().unwrap_or("done"),
            cancel.map_or(String::new(), |after| format!(
                " {:.1} ms after cancel",
                after.as_secs_f64() * 1e3
            )),
            case.name,
        );
        worst.push((part(&took, 100), line));
    }
    worst.sort_by_key(|(max, _)| std::cmp::Reverse(*max));
    let shown = if only.is_some() || whole { usize::MAX } else { 10 };
    for (_, line) in worst.iter().take(shown) {
        println!("{line}");
    }
    println!(
        "{} statements, {} answers to bystanders: p50 {p50:?}, p99 {p99:?}, max {max:?}",
        cases.len(),
        all.len()
    );
    assert!(late.is_empty(), "{}", late.join("\n"));
    assert!(p99 < bounds.p99, "p99 {p99:?}");
    assert!(max < bounds.max, "max {max:?}");
}
