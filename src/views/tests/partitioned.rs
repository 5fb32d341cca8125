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
    ("many_first", "SELECT v, k FROM a ORDER BY v DESC, k LIMIT 300"),
    (
        "first_texts",
        "SELECT k, s, rn FROM (SELECT k, s, row_number() OVER (PARTITION BY v ORDER BY s DESC, k) AS rn FROM a) q WHERE rn <= 3",
    ),
    (
        "of_first_texts",
        "SELECT rn, count(*) AS n, max(s) AS s FROM first_texts GROUP BY rn",
    ),
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

/// Over partitions of hundreds of rows. `ts` is in no two rows.
const LARGE_PARTITIONS: &[(&str, &str)] = &[
    (
        "running",
        "SELECT ts, sum(v) OVER w AS sv, count(*) OVER w AS n, avg(v) OVER w AS av, min(x) OVER w AS mx, sum(f) OVER w AS sf, \
         count(*) FILTER (WHERE v > 500) OVER w AS nf FROM a WINDOW w AS (ORDER BY ts)",
    ),
    (
        "running_by_row",
        "SELECT k, v, sum(x) OVER (PARTITION BY k ORDER BY v ROWS UNBOUNDED PRECEDING) AS sx, \
         max(v) OVER (PARTITION BY k ORDER BY v) AS mv FROM a",
    ),
    (
        "ranked",
        "SELECT v, row_number() OVER w AS n, rank() OVER w AS r, dense_rank() OVER w AS d FROM a WINDOW w AS (ORDER BY v)",
    ),
    (
        "neighbours",
        "SELECT ts, lag(v, 2) OVER w AS a, lead(v, 3, 0) OVER w AS b, lag(v) OVER w AS c FROM a WINDOW w AS (ORDER BY ts)",
    ),
    (
        "framed",
        "SELECT ts, sum(v) OVER (ORDER BY ts ROWS BETWEEN 3 PRECEDING AND 2 FOLLOWING) AS a, \
         min(v) OVER (ORDER BY ts ROWS BETWEEN 4 PRECEDING AND 2 PRECEDING) AS b, \
         first_value(v) OVER (ORDER BY ts ROWS BETWEEN 1 FOLLOWING AND 3 FOLLOWING) AS c, \
         nth_value(v, 2) OVER (ORDER BY ts ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING) AS d FROM a",
    ),
    (
        "mixed",
        "SELECT ts, sum(v) OVER w AS sv, lead(v, 2) OVER w AS b, lag(x, 3) OVER w AS c, row_number() OVER w AS n \
         FROM a WINDOW w AS (ORDER BY ts DESC)",
    ),
    (
        "by_itself",
        "SELECT ts, sum(v) OVER (ORDER BY ts ROWS BETWEEN CURRENT ROW AND CURRENT ROW) AS s FROM a",
    ),
    (
        "ranged_far",
        "SELECT ts, sum(v) OVER (ORDER BY ts RANGE BETWEEN '5 seconds' PRECEDING AND CURRENT ROW) AS a, \
         count(*) OVER (ORDER BY ts DESC RANGE BETWEEN '2 seconds' PRECEDING AND '3 seconds' FOLLOWING) AS b FROM a",
    ),
    (
        "ranged_values",
        "SELECT v, x, count(*) OVER (ORDER BY x RANGE BETWEEN 20 PRECEDING AND 5 FOLLOWING) AS a, \
         sum(x) OVER (ORDER BY x RANGE BETWEEN 3 FOLLOWING AND 9 FOLLOWING) AS b, \
         min(x) OVER (ORDER BY x DESC RANGE BETWEEN CURRENT ROW AND 4 FOLLOWING) AS c FROM a",
    ),
    (
        "grouped",
        "SELECT v, count(*) OVER (ORDER BY v GROUPS BETWEEN 2 PRECEDING AND 1 FOLLOWING) AS a, \
         max(v) OVER (ORDER BY v GROUPS BETWEEN 4 PRECEDING AND 2 PRECEDING) AS b, \
         count(*) OVER (PARTITION BY k ORDER BY v GROUPS CURRENT ROW) AS c FROM a",
    ),
    (
        "near_and_onward",
        "SELECT ts, sum(v) OVER (ORDER BY ts RANGE BETWEEN '4 seconds' PRECEDING AND '1 second' FOLLOWING) AS a, \
         row_number() OVER (ORDER BY ts) AS n, count(v) OVER (ORDER BY ts) AS c, lag(v) OVER (ORDER BY ts) AS l FROM a",
    ),
    (
        "whole",
        "SELECT ts, ntile(7) OVER (ORDER BY ts) AS t, sum(f) OVER (ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS s FROM a",
    ),
    (
        "of_sums",
        "SELECT k, row_number() OVER (ORDER BY n, k) AS r, sum(sv) OVER (ORDER BY k) AS running, lag(sv) OVER (ORDER BY k) AS l, \
         max(n) OVER (ORDER BY k ROWS BETWEEN 2 PRECEDING AND 2 FOLLOWING) AS m FROM many_sums",
    ),
];

#[test]
fn large_partitions_are_computed_in_parts() {
    use rand::seq::SliceRandom;
    use rand::{Rng, SeedableRng};
    let mut random = rand::rngs::StdRng::seed_from_u64(11);
    let mut world = World::new();
    world.view(
        "many_sums",
        "SELECT x % 150 AS k, count(*) AS n, sum(v) AS sv FROM a GROUP BY 1",
    );
    let oids: Vec<u32> = LARGE_PARTITIONS
        .iter()
        .map(|(name, sql)| world.view(name, sql))
        .collect();
    let mut times: Vec<i64> = (0..400).collect();
    times.shuffle(&mut random);
    let mut make = |ts: i64| {
        let v: i32 = random.random_range(0..1000);
        Row {
            k: Some(ts % 2),
            x: Some(i64::from(v)),
            f: Some(f64::from(v) / 3.0),
            ..row(0, v, ts)
        }
    };
    // Most at once, the rest one by one, or a few far from one another.
    let first: Vec<Row> = times.drain(..300).map(&mut make).collect();
    world.insert(&first);
    world.advance(world.history.newest());
    while !times.is_empty() {
        let few = times.len().min(1 + times.len() % 3);
        let rows: Vec<Row> = times.drain(..few).map(&mut make).collect();
        world.insert(&rows);
        world.advance(world.history.newest());
        if !times.len().is_multiple_of(7) {
            continue;
        }
        if times.len().is_multiple_of(2) {
            let saved = world.pipeline.save().expect("saved");
            world.pipeline.restore(saved).expect("restored");
        }
        for (oid, (name, sql)) in oids.iter().zip(LARGE_PARTITIONS) {
            let expected = world.batch_rows(sql, world.pipeline.frontier());
            assert_eq!(world.rows(*oid), expected, "{} rows to come, view {name}", times.len());
        }
    }
    let computed = |world: &World, name: &str| -> u64 {
        let place = LARGE_PARTITIONS.iter().position(|(known, _)| *known == name);
        let view = world.pipeline.view(oids[place.expect("a name")]).expect("maintained");
        view.instance.stats().iter().filter_map(|node| node.computed).sum()
    };
    // States of running functions are made with the first change.
    world.insert(&[make(400)]);
    world.advance(world.history.newest());
    let names = [
        "running",
        "neighbours",
        "framed",
        "by_itself",
        "ranged_far",
        "near_and_onward",
    ];
    let before = names.map(|name| computed(&world, name));
    for ts in 401..421 {
        world.insert(&[make(ts)]);
        world.advance(world.history.newest());
    }
    for (name, before) in names.iter().zip(before) {
        // Each of the rows of two versions, and some around it.
        let more = computed(&world, name) - before;
        assert!(more <= 20 * 4 * 20, "{name}: {more} rows computed for 20 that came");
    }
    for (oid, (name, sql)) in oids.iter().zip(LARGE_PARTITIONS) {
        let expected = world.batch_rows(sql, world.pipeline.frontier());
        assert_eq!(world.rows(*oid), expected, "at the end, view {name}");
    }
}
