//! Joins, sets and subqueries as views: kept incrementally, and equal to their batch queries (V1).

use super::aggregates::equal_their_batches;
use super::*;

const JOINS: &[(&str, &str)] = &[
    ("pairs", "SELECT a.k, a.v, b.v AS w, b.s FROM a JOIN b ON a.k = b.k"),
    (
        "left_pairs",
        "SELECT a.k, a.v, b.v AS w FROM a LEFT JOIN b ON a.k = b.k",
    ),
    (
        "right_pairs",
        "SELECT a.v, b.k, b.v AS w FROM a RIGHT JOIN b ON a.k = b.k AND a.s = b.s",
    ),
    (
        "full_pairs",
        "SELECT a.k, b.k AS l, a.v, b.v AS w FROM a FULL JOIN b ON a.k = b.k AND a.v = b.v",
    ),
    (
        "left_if",
        "SELECT a.k, a.v, b.v AS w FROM a LEFT JOIN b ON a.k = b.k AND a.v < b.v",
    ),
    (
        "right_if",
        "SELECT a.v, b.k, b.v AS w FROM a RIGHT JOIN b ON a.k = b.k AND a.v < b.v",
    ),
    (
        "full_if",
        "SELECT a.k, b.k AS l, a.v, b.v AS w FROM a FULL JOIN b ON a.k = b.k AND a.v > b.v",
    ),
    ("crossed", "SELECT a.k, b.v FROM a, b WHERE a.v > b.v AND b.s = 'x'"),
    ("less", "SELECT a.v, b.v AS w FROM a JOIN b ON a.v < b.v WHERE a.k = 1"),
    (
        "same",
        "SELECT x.k, x.v, y.v AS w FROM a x JOIN a y ON x.k = y.k WHERE x.v <= y.v",
    ),
    ("using_k", "SELECT k, a.v, b.v AS w FROM a JOIN b USING (k)"),
    (
        "alike",
        "SELECT a.s, b.v FROM a JOIN b ON a.s IS NOT DISTINCT FROM b.s AND a.k = b.k",
    ),
    (
        "three",
        "SELECT x.k, y.v, z.s FROM a x JOIN b y ON x.k = y.k JOIN a z ON y.v = z.v",
    ),
    (
        "by_s",
        "SELECT b.s, count(*) AS n, sum(a.v) AS sv FROM a JOIN b ON a.k = b.k GROUP BY b.s",
    ),
    ("some", "SELECT k, v FROM a WHERE k IN (SELECT k FROM b WHERE v > 3)"),
    (
        "exists_b",
        "SELECT k, v FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.k = a.k AND b.v > a.v)",
    ),
    (
        "not_exists_b",
        "SELECT k, v FROM a WHERE NOT EXISTS (SELECT 1 FROM b WHERE b.k = a.k)",
    ),
    (
        "not_exists_if",
        "SELECT k, v FROM a WHERE NOT EXISTS (SELECT 1 FROM b WHERE b.k = a.k AND b.v > a.v)",
    ),
    (
        "or_exists",
        "SELECT k, v FROM a WHERE v > 5 OR EXISTS (SELECT 1 FROM b WHERE b.k = a.k)",
    ),
    (
        "marked",
        "SELECT k, EXISTS (SELECT 1 FROM b WHERE b.k = a.k) AS found FROM a",
    ),
    (
        "valued",
        "SELECT k, (SELECT sum(v) FROM b WHERE b.k = a.k) AS sv FROM a",
    ),
    (
        "counted",
        "SELECT k, (SELECT count(*) FROM b WHERE b.k = a.k) AS n FROM a",
    ),
    ("set", "SELECT k FROM a UNION SELECT k FROM b"),
    ("common", "SELECT k, s FROM a INTERSECT SELECT k, s FROM b"),
    ("less_those", "SELECT k, s FROM a EXCEPT SELECT k, s FROM b"),
    // Over views: rows are taken away on either side.
    ("sums", "SELECT k, sum(v) AS sv, count(*) AS n FROM a GROUP BY k"),
    ("counts", "SELECT k, count(*) AS n, max(s) AS s FROM b GROUP BY k"),
    (
        "of_views",
        "SELECT sums.k, sv, counts.n, s FROM sums JOIN counts ON sums.k = counts.k",
    ),
    (
        "left_of_views",
        "SELECT sums.k, sv, counts.n FROM sums LEFT JOIN counts ON sums.k = counts.k AND sums.n > counts.n",
    ),
    (
        "full_of_views",
        "SELECT sums.k, counts.k AS l, sv, s FROM sums FULL JOIN counts ON sums.n = counts.n",
    ),
    (
        "view_in_topic",
        "SELECT a.k, a.v, sv FROM a JOIN sums ON a.k = sums.k WHERE a.v * 10 > sv",
    ),
    (
        "topic_not_in_view",
        "SELECT k, v FROM b WHERE NOT EXISTS (SELECT 1 FROM sums WHERE sums.k = b.k AND sums.n = 2)",
    ),
    (
        "of_joins",
        "SELECT l.k, l.w, r.sv FROM left_pairs l JOIN of_views r ON l.k = r.k",
    ),
    (
        "count_of_joins",
        "SELECT k, count(*) AS n, count(w) AS nw FROM left_pairs GROUP BY k",
    ),
];

#[test]
fn views_with_joins_equal_their_batch_queries() {
    equal_their_batches(JOINS);
}

#[test]
fn a_row_without_a_partner_is_shown_until_it_has_one() {
    let mut world = World::new();
    let oid = world.view("pairs", "SELECT a.k, a.v, b.v AS w FROM a LEFT JOIN b ON a.k = b.k");
    world.insert(&[row(1, 10, 0), row(2, 20, 0)]);
    world.check(oid, &["1|10|-", "2|20|-"]);
    world.history.commit(&[(B, &[row(1, 5, 0), row(1, 6, 0)])], &[]);
    world.check(oid, &["1|10|5", "1|10|6", "2|20|-"]);
    // Both sides in one commit.
    world
        .history
        .commit(&[(A, &[row(3, 30, 0)]), (B, &[row(3, 7, 0), row(2, 8, 0)])], &[]);
    world.check(oid, &["1|10|5", "1|10|6", "2|20|8", "3|30|7"]);
}

#[test]
fn rows_of_joins_that_come_and_go_leave_no_trace() {
    let mut world = World::new();
    world.view("sums", "SELECT k, sum(v) AS sv FROM a GROUP BY k");
    let oid = world.view(
        "joined",
        "SELECT sums.k, sv, b.v FROM sums LEFT JOIN b ON sums.sv = b.x",
    );
    world.history.commit(&[(B, &[row(1, 150, 0)])], &[]);
    for round in 0..12_000 {
        world.insert(&[row(1, 1, round), row(2, 2, round)]);
        world.advance(world.history.newest());
    }
    assert_eq!(world.rows(oid), ["1|12000|-", "2|24000|-"]);
    let bytes = world.pipeline.view(oid).expect("maintained").instance.bytes();
    assert!(bytes < 4 << 20, "rows that are gone are dropped: {bytes} bytes");
}
