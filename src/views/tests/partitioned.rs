//! First rows and window functions in views: kept incrementally, and equal to their batch queries (V1).

use super::aggregates::equal_their_batches;
use super::joins::RETRACTING;
use super::*;

/// Orders are total, or leave alike only rows that show the same: a query breaks ties in any way.
const FIRST_ROWS: &[(&str, &str)] = &[
    ("least", "SELECT k, v FROM a ORDER BY v, k LIMIT 4"),
    (
        "greatest",
        "SELECT k, v, s FROM a ORDER BY v DESC NULLS LAST, k DESC, s LIMIT 3 OFFSET 2",
    ),
    ("shorter", "SELECT v FROM a ORDER BY v DESC LIMIT 5"),
    ("none_first", "SELECT v FROM a ORDER BY v LIMIT 0"),
    ("all_but_some", "SELECT k, v FROM a ORDER BY k NULLS FIRST, v OFFSET 3"),
    ("of_sums", "SELECT k, n FROM sums ORDER BY n DESC, k LIMIT 2"),
    ("past_sums", "SELECT k, sv FROM sums ORDER BY sv DESC, k OFFSET 1"),
    (
        "of_floats",
        "SELECT f FROM a WHERE k IS NOT NULL ORDER BY -f DESC NULLS FIRST FETCH FIRST 6 ROWS ONLY",
    ),
    (
        "with_ties",
        "SELECT k, v FROM a ORDER BY v DESC FETCH FIRST 3 ROWS WITH TIES",
    ),
    (
        "ties_of_sums",
        "SELECT k, n FROM sums ORDER BY n FETCH FIRST 2 ROWS WITH TIES",
    ),
    (
        "joined_with_first",
        "SELECT a.k, a.v, q.v AS w FROM a JOIN (SELECT k, v FROM b ORDER BY v DESC, k LIMIT 3) q ON a.k = q.k",
    ),
    (
        "count_of_first",
        "SELECT s, count(*) AS n FROM (SELECT s, v, k FROM a ORDER BY v, k, s LIMIT 10) q GROUP BY s",
    ),
    (
        "among_first",
        "SELECT k, v FROM a WHERE v IN (SELECT n FROM sums ORDER BY n DESC LIMIT 2)",
    ),
    (
        "newest",
        "SELECT DISTINCT ON (k) k, ts, v FROM a ORDER BY k, ts DESC, v",
    ),
    (
        "newest_of_each",
        "SELECT DISTINCT ON (s, v) v, f FROM a ORDER BY s, v DESC, f",
    ),
    ("one_of_each", "SELECT DISTINCT ON (n) n FROM sums"),
    (
        "of_each_count",
        "SELECT DISTINCT ON (n) n, k, sv FROM sums ORDER BY n, sv DESC, k",
    ),
    (
        "numbered",
        "SELECT k, v, rn FROM (SELECT k, v, row_number() OVER (PARTITION BY k ORDER BY v, f, ts) AS rn FROM a) q WHERE rn <= 2",
    ),
    (
        "second",
        "SELECT k, v FROM (SELECT k, v, row_number() OVER (PARTITION BY k ORDER BY v DESC) AS rn FROM a) q WHERE rn = 2",
    ),
    (
        "third_to_fifth",
        "SELECT v, rn FROM (SELECT v, row_number() OVER (ORDER BY v) AS rn FROM a) q WHERE rn BETWEEN 3 AND 5",
    ),
    (
        "ranked",
        "SELECT * FROM (SELECT k, v, s, rank() OVER (PARTITION BY s ORDER BY v DESC) AS r FROM a) q WHERE r < 3",
    ),
    (
        "densely_ranked",
        "SELECT * FROM (SELECT k, v, s, dense_rank() OVER (PARTITION BY k ORDER BY v) AS d FROM a) q WHERE 2 >= d",
    ),
    (
        "ranked_thrice",
        "SELECT * FROM (SELECT v, rank() OVER w AS r, dense_rank() OVER w AS d, row_number() OVER w AS n FROM a \
         WINDOW w AS (ORDER BY v)) q WHERE d <= 3 AND v > 0",
    ),
    (
        "ranked_sums",
        "SELECT * FROM (SELECT k, n, rank() OVER (PARTITION BY n > 3 ORDER BY n DESC) AS r FROM sums) q WHERE r <= 2",
    ),
    (
        "densely_ranked_counts",
        "SELECT * FROM (SELECT k, s, n, dense_rank() OVER (ORDER BY n DESC) AS d FROM counts) q WHERE d <= 2",
    ),
    (
        "first_of_joined",
        "SELECT * FROM (SELECT a.k, a.v, b.v AS w, row_number() OVER (PARTITION BY a.k ORDER BY a.v, b.v) AS n \
         FROM a LEFT JOIN b ON a.k = b.k AND a.v < b.v) q WHERE n <= 3",
    ),
    (
        "first_by_quotients",
        "SELECT k, n FROM sums ORDER BY 10 / (n + 1), k LIMIT 3",
    ),
    ("of_first", "SELECT k, v + 1 AS w FROM least"),
];

#[test]
fn views_of_first_rows_equal_their_batch_queries() {
    equal_their_batches(&[RETRACTING, FIRST_ROWS].concat());
}

/// As above: where rows are alike in the order, they show the same.
const WINDOW_FUNCTIONS: &[(&str, &str)] = &[
    ("row_numbers", "SELECT v, row_number() OVER (ORDER BY v) AS n FROM a"),
    (
        "ranks",
        "SELECT k, v, rank() OVER w AS r, dense_rank() OVER w AS d, percent_rank() OVER w AS p, cume_dist() OVER w AS c \
         FROM a WINDOW w AS (PARTITION BY k ORDER BY v DESC)",
    ),
    ("tiles", "SELECT v, ntile(3) OVER (ORDER BY v) AS t FROM a"),
    (
        "running",
        "SELECT k, v, ts, s, sum(v) OVER w AS sv, count(*) OVER w AS n, min(x) OVER w AS m \
         FROM a WINDOW w AS (PARTITION BY k ORDER BY ts, v, s ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)",
    ),
    (
        "running_with_peers",
        "SELECT k, v, sum(x) OVER w AS sx, avg(v) OVER w AS av, bool_or(v > 3) OVER w AS b FROM a WINDOW w AS (PARTITION BY s ORDER BY v)",
    ),
    (
        "running_floats",
        "SELECT k, v, sum(f) OVER (PARTITION BY k ORDER BY v) AS sf FROM a",
    ),
    (
        "neighbours",
        "SELECT v, lag(v) OVER w AS l, lead(v, 2, -1) OVER w AS m, lag(v, 3) OVER w AS far FROM a WINDOW w AS (PARTITION BY k ORDER BY v)",
    ),
    (
        "ends",
        "SELECT v, first_value(v) OVER w AS f, last_value(v) OVER w AS l, nth_value(v, 2) OVER w AS n \
         FROM a WINDOW w AS (PARTITION BY k ORDER BY v ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING)",
    ),
    (
        "framed",
        "SELECT v, sum(v) OVER (ORDER BY v ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS a, \
         max(v) OVER (ORDER BY v ROWS BETWEEN CURRENT ROW AND 3 FOLLOWING) AS b, \
         count(v) OVER (ORDER BY v ROWS BETWEEN 4 PRECEDING AND 2 PRECEDING) AS c FROM a",
    ),
    (
        "ranged",
        "SELECT k, v, sum(v) OVER (ORDER BY v RANGE BETWEEN 2 PRECEDING AND 1 FOLLOWING) AS a, \
         count(*) OVER (ORDER BY v GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING) AS g FROM a",
    ),
    (
        "shares",
        "SELECT k, v, sum(v) OVER (PARTITION BY k) AS sv, count(*) OVER () AS n FROM a WHERE v > 2",
    ),
    (
        "filtered_calls",
        "SELECT k, v, count(*) FILTER (WHERE v > 3) OVER (PARTITION BY k) AS n FROM a",
    ),
    (
        "windows_of_sums",
        "SELECT k, n, sv, rank() OVER (ORDER BY n) AS r, sum(n) OVER (ORDER BY n, k) AS t, lag(k) OVER (ORDER BY sv, k) AS l FROM sums",
    ),
    (
        "numbered_counts",
        "SELECT k, n, row_number() OVER (ORDER BY n DESC, k, s) AS i, ntile(2) OVER (PARTITION BY k ORDER BY n, s) AS t FROM counts",
    ),
    (
        "groups_in_windows",
        "SELECT k, sum(v) AS sv, sum(sum(v)) OVER (ORDER BY k) AS total FROM a GROUP BY k",
    ),
    (
        "above_their_average",
        "SELECT k, v FROM (SELECT k, v, avg(v) OVER (PARTITION BY k) AS m FROM a) q WHERE v > m",
    ),
    (
        "first_with_sum",
        "SELECT * FROM (SELECT k, v, row_number() OVER w AS n, sum(v) OVER w AS sv FROM a \
         WINDOW w AS (PARTITION BY k ORDER BY v ROWS UNBOUNDED PRECEDING)) q WHERE n <= 2",
    ),
    (
        "windows_of_joined",
        "SELECT a.k, b.v, count(b.v) OVER (PARTITION BY a.k ORDER BY b.v) AS n FROM a LEFT JOIN b ON a.k = b.k AND a.v < b.v",
    ),
    ("of_running", "SELECT sv, count(*) AS n FROM running GROUP BY sv"),
];

#[test]
fn views_with_window_functions_equal_their_batch_queries() {
    equal_their_batches(&[RETRACTING, WINDOW_FUNCTIONS].concat());
}

#[test]
fn partitions_that_come_and_go_leave_no_trace() {
    let mut world = World::new();
    world.view("sums", "SELECT k, sum(v) AS sv FROM a GROUP BY k");
    let first = world.view("first", "SELECT DISTINCT ON (sv) sv, k FROM sums ORDER BY sv, k");
    let numbered = world.view(
        "numbered",
        "SELECT sv, k, row_number() OVER (PARTITION BY sv ORDER BY k) AS n FROM sums",
    );
    for round in 0..5_000 {
        world.insert(&[row(1, 1, round), row(2, 2, round)]);
        world.advance(world.history.newest());
    }
    assert_eq!(world.rows(first), ["10000|2", "5000|1"]);
    assert_eq!(world.rows(numbered), ["10000|2|1", "5000|1|1"]);
    for oid in [first, numbered] {
        let bytes = world.pipeline.view(oid).expect("maintained").instance.bytes();
        assert!(bytes < 4 << 20, "partitions that are gone are dropped: {bytes} bytes");
    }
}

#[test]
fn of_rows_that_only_grow_the_first_are_kept_alone() {
    let mut world = World::new();
    let top = world.view("top", "SELECT v, k FROM a ORDER BY v DESC, k LIMIT 2 OFFSET 1");
    let ties = world.view(
        "ties",
        "SELECT v, k FROM a ORDER BY v DESC FETCH FIRST 2 ROWS WITH TIES",
    );
    let dense = world.view(
        "dense",
        "SELECT v, k FROM (SELECT v, k, dense_rank() OVER (PARTITION BY k ORDER BY v) AS d FROM a) q WHERE d <= 2",
    );
    for round in 0..50 {
        let rows: Vec<Row> = (0..40)
            .map(|number| row(number % 4, (number * 7 + round) as i32, 0))
            .collect();
        world.insert(&rows);
        world.advance(world.history.newest());
    }
    assert_eq!(world.rows(top), ["320|3", "321|3"]);
    let kept = |oid: u32| {
        let view = world.pipeline.view(oid).expect("maintained");
        let rows = view
            .instance
            .stats()
            .iter()
            .filter_map(|node| node.rows)
            .collect::<Vec<usize>>();
        (rows, view.instance.row_count())
    };
    assert_eq!(kept(top), (vec![3], 2));
    assert_eq!(kept(ties), (vec![2], 2));
    assert_eq!(kept(dense), (vec![8], 8));
}

#[test]
fn the_rows_of_partitions_count() {
    let mut world = World::with_memory(1 << 20);
    let oid = world.view("numbered", "SELECT k, v, row_number() OVER (ORDER BY k, v) AS n FROM a");
    for round in 0..20 {
        let rows: Vec<Row> = (0..1000).map(|number| row(round * 1000 + number, 1, 0)).collect();
        world.insert(&rows);
        world.advance(world.history.newest());
    }
    let failure = world.pipeline.view(oid).and_then(|view| view.failure.clone());
    assert_eq!(
        failure.expect("it does not fit").error.state,
        crate::error::state::OUT_OF_MEMORY
    );
}
