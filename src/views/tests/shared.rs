//! Parts of a view that it reads more than once: each is one node, and the view is as if each were its own.

use super::aggregates::equal_their_batches;
use super::joins::RETRACTING;
use super::*;
use crate::views::explain;

fn tree(sql: &str) -> Vec<String> {
    explain::lines(&World::new().dataflow(sql), None)
}

/// Lines with this word, and names in place of a part.
fn count(lines: &[String], word: &str) -> (usize, usize) {
    let with = |word: &str| lines.iter().filter(|line| line.contains(word)).count();
    (
        with(word),
        lines
            .iter()
            .filter(|line| line.trim().starts_with("-> #") && !line.contains('='))
            .count(),
    )
}

const SHARED: &[(&str, &str)] = &[
    (
        "twice",
        "WITH c AS (SELECT k, count(*) AS n FROM a GROUP BY k) \
         SELECT x.k, x.n, y.k AS l FROM c x JOIN c y ON x.n = y.n AND x.k < y.k",
    ),
    (
        "most",
        "WITH c AS (SELECT k, sum(v) AS sv, max(v) AS mv FROM a WHERE v > 1 GROUP BY k) \
         SELECT k, sv FROM c WHERE mv >= (SELECT max(mv) FROM c)",
    ),
    (
        "written_twice",
        "SELECT p.k, p.n FROM (SELECT k, count(*) AS n FROM a GROUP BY k) p \
         WHERE p.n = (SELECT max(q.m) FROM (SELECT k AS l, count(*) AS m FROM a GROUP BY k) q)",
    ),
    (
        "two_of_three",
        "WITH c AS (SELECT k, v, s FROM a WHERE v > 2) \
         SELECT x.s, y.v FROM c x JOIN c y ON x.k = y.k UNION ALL SELECT s, v FROM c",
    ),
    ("all_twice", "SELECT k, v FROM a UNION ALL SELECT k, v FROM a"),
    ("same_less_itself", "SELECT k, v FROM a EXCEPT ALL SELECT k, v FROM a"),
    (
        "those_with_more",
        "SELECT k, v FROM a x WHERE EXISTS (SELECT 1 FROM a y WHERE y.k = x.k AND y.v > x.v)",
    ),
    (
        "none_but",
        "WITH c AS (SELECT k, v FROM a WHERE v IS NOT NULL) SELECT k FROM c WHERE v NOT IN (SELECT v - 1 FROM c)",
    ),
    (
        "full_of_one",
        "WITH c AS (SELECT k, n FROM counts) SELECT x.k, y.k AS l FROM c x FULL JOIN c y ON x.k = y.n",
    ),
    (
        "of_a_join",
        "WITH c AS (SELECT a.k, a.v, b.v AS w FROM a JOIN b ON a.k = b.k) \
         SELECT x.k, x.v, y.w FROM c x LEFT JOIN c y ON x.v = y.w UNION ALL SELECT k, v, w FROM c WHERE v > 3",
    ),
    (
        "of_sums",
        "WITH c AS (SELECT sv, count(*) AS n FROM sums GROUP BY sv) \
         SELECT x.sv, y.sv AS other FROM c x, c y WHERE x.n = y.n AND x.sv <= y.sv",
    ),
    (
        "numbered",
        "WITH c AS (SELECT k, v, row_number() OVER (PARTITION BY k ORDER BY v, x, s, f) AS n FROM a) \
         SELECT x.k, x.v, y.v AS next FROM c x LEFT JOIN c y ON x.k = y.k AND y.n = x.n + 1",
    ),
    (
        "rolled_up",
        "WITH c AS (SELECT k, s, count(*) AS n FROM a GROUP BY ROLLUP (k, s)) \
         SELECT x.k, x.s, y.n FROM c x JOIN c y ON x.n = y.n",
    ),
    (
        "three_deep",
        "WITH c AS (SELECT k, count(*) AS n FROM a GROUP BY k), d AS (SELECT x.k, y.n FROM c x JOIN c y ON x.k = y.n) \
         SELECT p.k, q.n FROM d p JOIN d q ON p.n = q.k UNION ALL SELECT k, n FROM c",
    ),
];

#[test]
fn views_that_read_a_part_twice_equal_their_batches() {
    let all: Vec<_> = RETRACTING.iter().chain(SHARED).copied().collect();
    equal_their_batches(&all);
}

#[test]
fn a_query_that_is_read_twice_is_kept_once() {
    for (sql, aggregates) in [
        (SHARED[0].1, (1, 1)),
        // Under other names, and each with an aggregate of its own above.
        (SHARED[2].1, (2, 1)),
        // One place needs one column more.
        (
            "WITH c AS (SELECT k, count(*) AS n, max(v) AS m FROM a GROUP BY k) \
             SELECT x.k, y.m FROM c x JOIN c y ON x.n = y.n",
            (1, 1),
        ),
        // Not the same.
        (
            "SELECT x.k FROM (SELECT k, count(*) AS n FROM a WHERE v > 1 GROUP BY k) x \
             JOIN (SELECT k, count(*) AS n FROM a WHERE v > 2 GROUP BY k) y ON x.n = y.n",
            (2, 1),
        ),
    ] {
        let lines = tree(sql);
        assert_eq!(count(&lines, "Aggregate"), aggregates, "{sql}: {lines:#?}");
    }
}

#[test]
fn a_topic_that_is_joined_with_itself_is_read_once() {
    let lines = tree("SELECT x.k, y.v FROM a x JOIN a y ON x.k = y.k AND x.v < y.v");
    assert_eq!(count(&lines, "Topic a"), (1, 1), "{lines:#?}");
    let lines = tree("SELECT x.k, y.v FROM a x JOIN b y ON x.k = y.k");
    assert_eq!(count(&lines, "Topic"), (2, 0), "{lines:#?}");
    // Each side of the join keeps the columns that it needs.
    let lines = tree("SELECT x.s, y.f FROM a x JOIN a y ON x.k = y.k");
    assert_eq!(count(&lines, "Topic a: k, s, f"), (1, 1), "{lines:#?}");
    assert_eq!(count(&lines, "Columns: k, s"), (1, 1), "{lines:#?}");
    assert_eq!(count(&lines, "Columns: k, f"), (1, 1), "{lines:#?}");
}

#[test]
fn windows_over_the_same_rows_are_of_their_own_where_an_aggregate_changes_them() {
    let hop = "HOP(a, ts, INTERVAL '5 seconds', INTERVAL '10 seconds')";
    let counts = format!("SELECT window_end, k, count(*) AS n FROM {hop} GROUP BY window_end, k");
    let most = format!("SELECT window_end AS e, max(n) AS m FROM ({counts}) q GROUP BY window_end");
    let sql =
        format!("SELECT c.window_end, c.k, c.n FROM ({counts}) c JOIN ({most}) m ON c.window_end = m.e AND c.n = m.m");
    let lines = tree(&sql);
    assert_eq!(count(&lines, "Hop").0, 1, "{lines:#?}");
    let mut world = World::new();
    let view = world.view("most", &sql);
    world.insert(&[row(1, 1, 3), row(1, 1, 4), row(2, 1, 4), row(2, 1, 8), row(2, 1, 9)]);
    world.check(
        view,
        &[
            "1970-01-01T00:00:05|1|2",
            "1970-01-01T00:00:10|2|3",
            "1970-01-01T00:00:15|2|2",
        ],
    );
    // The same windows below two aggregates by other keys.
    let mut world = World::new();
    let tumble = "TUMBLE(a, ts, INTERVAL '10 seconds')";
    let sql = format!(
        "WITH w AS (SELECT window_start, window_end, k, v FROM {tumble}) \
         SELECT p.window_end, p.n, q.k, q.m FROM (SELECT window_end, count(*) AS n FROM w GROUP BY window_end) p \
         JOIN (SELECT window_end, k, count(v) AS m FROM w GROUP BY window_end, k) q ON p.window_end = q.window_end"
    );
    let view = world.view("both", &sql);
    world.insert(&[row(1, 1, 3), row(2, 1, 4), row(2, 1, 14)]);
    world.check(
        view,
        &[
            "1970-01-01T00:00:10|2|1|1",
            "1970-01-01T00:00:10|2|2|1",
            "1970-01-01T00:00:20|1|2|1",
        ],
    );
    world.insert(&[row(2, 1, 3), row(2, 1, 15)]);
    world.check(
        view,
        &[
            "1970-01-01T00:00:10|2|1|1",
            "1970-01-01T00:00:10|2|2|1",
            "1970-01-01T00:00:20|2|2|2",
        ],
    );
}
