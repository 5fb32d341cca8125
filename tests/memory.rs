//! Memory: a statement that would take more than there is for queries fails alone, and the server stays within its bounds.

use std::fs;

use futures::StreamExt;

use crate::support::{self, Server, state, value};

const QUERY_MIB: u64 = 256;
const TAIL_MIB: u64 = 64;
/// Memory of the program itself, of copies that its functions make on the way, and memory that its allocator has not
/// given back. A debug build beside other tests has more of each.
const MARGIN_MIB: u64 = if cfg!(debug_assertions) { 400 } else { 300 };

/// Statements that can take any amount of memory, and the answer to each: `Ok` for rows, else its SQLSTATE.
const GROWING: &[(&str, &str)] = &[
    ("SELECT lpad('', 2147483647)", "54000"),
    ("SELECT length(lpad('', 268000000))", "53200"),
    ("SELECT length(rpad('a', 268000000, 'ä'))", "53200 54000"),
    ("SELECT octet_length(repeat('x', 1073741823))", "53200"),
    (
        "SELECT octet_length(repeat('x', 1000000000)), octet_length(repeat('y', 1000000000))",
        "53200",
    ),
    (
        "SELECT repeat('x', 100000000), repeat('y', 100000000), repeat('z', 100000000)",
        "53200",
    ),
    (
        "SELECT sum(octet_length(repeat('x', 300000))) FROM generate_series(1, 9000)",
        "Ok 54000",
    ),
    (
        "SELECT sum(octet_length(t)) FROM (SELECT repeat('x', 300000) AS t FROM generate_series(1, 9000)) AS sub",
        "Ok",
    ),
    (
        "SELECT count(*) FROM (SELECT n, repeat('x', 300000) AS t FROM generate_series(1, 9000) n) AS sub WHERE t LIKE '%y%'",
        "Ok",
    ),
    (
        "SELECT count(DISTINCT t) FROM (SELECT repeat(n::text, 100000) AS t FROM generate_series(1, 9000) n) AS sub",
        "53200 54000",
    ),
    (
        "SELECT max(t) FROM (SELECT repeat(n::text, 10000000) AS t FROM generate_series(1, 100) n) AS sub",
        "Ok 53200",
    ),
    (
        "SELECT octet_length(string_agg(repeat('x', 1000000), ',')) FROM generate_series(1, 2000)",
        "53200 54000",
    ),
    (
        "SELECT cardinality(array_agg(repeat('x', 1000000))) FROM generate_series(1, 2000)",
        "53200 54000",
    ),
    (
        "SELECT octet_length(replace(repeat('a', 50000), 'a', repeat('b', 20000)))",
        "53200",
    ),
    (
        "SELECT octet_length(replace(repeat('a', 50000), 'a', repeat('b', 50000)))",
        "54000",
    ),
    (
        "SELECT octet_length(regexp_replace(repeat('a', 20000), 'a', repeat('b', 20000), 'g'))",
        "53200",
    ),
    (
        "SELECT octet_length(translate(repeat('a', 200000000), 'a', 'ä'))",
        "53200",
    ),
    ("SELECT octet_length(upper(repeat('ß', 100000000)))", "53200"),
    (
        "SELECT octet_length(overlay(repeat('a', 200000000) placing 'b' from 1))",
        "53200",
    ),
    (
        "SELECT octet_length(concat(a, a, a, a, a, a)) FROM (SELECT repeat('x', 60000000) AS a) AS sub",
        "53200",
    ),
    (
        "SELECT octet_length(a || a || a || a || a || a) FROM (SELECT repeat('x', 60000000) AS a) AS sub",
        "53200",
    ),
    (
        "SELECT octet_length(concat_ws(repeat(',', 50000000), 'a', 'b', 'c', 'd', 'e', 'f'))",
        "53200",
    ),
    (
        "SELECT octet_length(to_char(now(), repeat('Month', 100000000)))",
        "53200 54000",
    ),
    (
        "SELECT count(*) FROM (SELECT generate_series(1, n) FROM (VALUES (1000000000)) AS v (n)) s",
        "54000",
    ),
    (
        "SELECT count(*) FROM (SELECT generate_series(1, n) FROM (VALUES (100000000)) AS v (n)) s",
        "53200",
    ),
    (
        "SELECT sum(x) FROM unnest(ARRAY(SELECT generate_series(1, 100000000))) AS u(x)",
        "53200",
    ),
    (
        "SELECT cardinality(string_to_array(repeat('a,', 30000000), ','))",
        "53200",
    ),
    (
        "SELECT octet_length(array_to_string(ARRAY(SELECT generate_series(1, 10000000)), repeat('-', 50)))",
        "53200",
    ),
    (
        "SELECT octet_length(ARRAY(SELECT generate_series(1, 20000000))::text)",
        "53200",
    ),
    (
        "SELECT octet_length(array_append(ARRAY[repeat('x', 200000000)], 'y')::text)",
        "53200",
    ),
    (
        "SELECT octet_length(encode(repeat('x', 100000000)::bytea, 'hex'))",
        "53200",
    ),
    ("SELECT octet_length(repeat('x', 200000000)::bytea::text)", "53200"),
    ("SELECT 'x' ~* repeat('[a-\\x{2FFF}]', 87381)", "2201B"),
    ("SELECT 'x' ~ repeat('(a|b)', 1000000)", "2201B"),
    ("SELECT regexp_like('x', repeat('[b-\\x{2FFF}]', 5000), 'i')", "2201B"),
    ("SELECT regexp_replace('x', repeat('\\w', 1000000), 'y')", "2201B"),
    (
        "SELECT count(*) FROM generate_series(400, 1000) n WHERE 'x' ~ ('(a{100}){' || (n * 10)::text || '}')",
        "2201B",
    ),
    ("SELECT 'x' LIKE repeat('%_', 10000000)", "2201B"),
    ("SELECT 'x' ILIKE repeat('a%', 10000000)", "2201B"),
    (
        "INSERT INTO t SELECT n, repeat('x', 3000000) FROM generate_series(1, 300) n",
        "Ok",
    ),
    (
        "INSERT INTO t VALUES (1, repeat('x', 200000000)), (2, repeat('x', 200000000))",
        "53200",
    ),
    ("INSERT INTO t VALUES (1, lpad('', 2000000000))", "54000"),
    ("SELECT n, t FROM t ORDER BY t DESC", "Ok 53200 54000"),
    (
        "SELECT max(octet_length(t) + c) FROM (SELECT t, count(*) OVER () AS c FROM t) AS sub",
        "53200",
    ),
    (
        "SELECT max(octet_length(t) + c) FROM (SELECT t, count(*) OVER (ROWS 400 PRECEDING) AS c FROM t) AS sub",
        "53200",
    ),
    (
        "SELECT max(octet_length(t) + c) FROM (SELECT t, count(*) OVER (ROWS 9 PRECEDING) AS c FROM t) AS sub",
        "Ok",
    ),
    (
        "SELECT max(octet_length(f)) FROM (SELECT first_value(repeat(n::text, 1000000)) OVER () AS f FROM t) AS sub",
        "53200",
    ),
    (
        "SELECT max(octet_length(f)) FROM (SELECT last_value(repeat(n::text, 3000000)) OVER () AS f FROM t) AS sub",
        "54000",
    ),
    ("SELECT octet_length(to_char(now(), repeat('x', 20000000)))", "53200"),
    (
        "SELECT a.n FROM t a JOIN t b ON a.t = b.t AND a.n = b.n WHERE a.n < 0",
        "Ok 53200 54000",
    ),
];

/// The peak memory of the process, MiB.
fn peak_mib(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("the process is there");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line
        .and_then(|line| line.split_whitespace().nth(1))
        .map(str::parse::<u64>);
    kib.expect("Linux says so").expect("a number") / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_grow_stay_within_what_there_is_for_queries() {
    let (_scratch, data_dir) = support::data_dir();
    let limits = [
        "--query-memory-mib",
        &QUERY_MIB.to_string(),
        "--tail-memory-mib",
        &TAIL_MIB.to_string(),
    ];
    let server = Server::start_with(&data_dir, &limits);
    let client = support::connect(&server).await;
    client
        .batch_execute("CREATE TOPIC t (n INT, t TEXT)")
        .await
        .expect("a topic");
    let mut wrong = Vec::new();
    let mut peak = peak_mib(&server);
    for (statement, expected) in GROWING {
        let answered = match rows_of(&client, statement).await {
            Ok(()) => "Ok".to_string(),
            Err(error) => state(&error),
        };
        if !expected.split(' ').any(|expected| expected == answered) {
            wrong.push(format!("{answered} instead of {expected}: {statement}"));
        }
        let now = peak_mib(&server);
        println!("{now} MiB, {answered}: {statement}");
        peak = now;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(value(&client, "SELECT count(*) FROM t").await, "300");
    let bound = TAIL_MIB + QUERY_MIB + MARGIN_MIB;
    assert!(peak <= bound, "{peak} MiB at the peak, {bound} allowed");
}

/// Statements whose text is long, or stands for much more.
fn long_statements() -> Vec<(String, &'static str)> {
    let list = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let doubled = (0..25).fold("SELECT n AS a FROM t".to_string(), |inner, level| {
        format!("SELECT a + a AS a FROM ({inner}) s{level}")
    });
    vec![
        (format!("SELECT 1 WHERE 1 IN ({})", list(1_000_000)), "53200"),
        (
            format!(
                "SELECT max(octet_length(l)), max(c) FROM (SELECT lag(n::text, 400, '{}') OVER (ORDER BY n) AS l, \
                 count(*) OVER (ORDER BY n ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS c \
                 FROM generate_series(1, 400) n) AS sub",
                "x".repeat(3_000_000)
            ),
            "53200",
        ),
        (
            format!("SELECT count(*) FROM t WHERE n IN ({})", list(1_000_000)),
            "53200",
        ),
        (format!("SELECT 1 WHERE 1 IN ({})", list(100_000)), "Ok"),
        (format!("SELECT * FROM unnest(ARRAY[{}]) u", list(100_000)), "Ok 53200"),
        (format!("{doubled} WHERE a > 0"), "54001"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_are_long_stay_within_what_there_is_for_queries() {
    let (_scratch, data_dir) = support::data_dir();
    let (query, tail) = (QUERY_MIB.to_string(), TAIL_MIB.to_string());
    let server = Server::start_with(&data_dir, &["--query-memory-mib", &query, "--tail-memory-mib", &tail]);
    let client = support::connect(&server).await;
    let topic = client.batch_execute("CREATE TOPIC t (n INT)").await;
    topic.expect("a topic");
    let bound = TAIL_MIB + QUERY_MIB + MARGIN_MIB;
    for (statement, expected) in long_statements() {
        let answered = match rows_of(&client, &statement).await {
            Ok(()) => "Ok".to_string(),
            Err(error) => state(&error),
        };
        let (start, peak) = (&statement[..40], peak_mib(&server));
        println!("{peak} MiB, {answered}: {start}");
        let fits = expected.split(' ').any(|expected| expected == answered);
        assert!(fits, "{answered} instead of {expected}: {start}");
        assert!(peak <= bound, "{peak} MiB at the peak, {bound} allowed: {start}");
    }
}

/// Reads the rows of a statement without keeping them.
async fn rows_of(client: &tokio_postgres::Client, statement: &str) -> Result<(), tokio_postgres::Error> {
    let messages = client.simple_query_raw(statement).await?;
    let mut messages = std::pin::pin!(messages);
    while let Some(message) = messages.next().await {
        message?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_are_large_together_are_inserted_in_parts() {
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    let client = support::connect(&server).await;
    client
        .batch_execute("CREATE TOPIC t (n INT, t TEXT)")
        .await
        .expect("a topic");
    client
        .batch_execute("INSERT INTO t SELECT n, repeat('x', 300000) FROM generate_series(1, 9000) n")
        .await
        .expect("2.7 GB in parts");
    let sizes = "SELECT count(*) || ' ' || sum(octet_length(t)) FROM t";
    assert_eq!(value(&client, sizes).await, "9000 2700000000");
}
