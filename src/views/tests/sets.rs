//! UNION, INTERSECT, EXCEPT and constants in views: kept incrementally, and equal to their batch queries (V1).

use super::aggregates::equal_their_batches;
use super::joins::RETRACTING;
use super::*;

const SETS: &[(&str, &str)] = &[
    ("set", "SELECT k FROM a UNION SELECT k FROM b"),
    (
        "set_of_rows",
        "SELECT k, s FROM a UNION SELECT v, s FROM b UNION SELECT n, s FROM counts",
    ),
    (
        "bag",
        "SELECT k FROM a UNION ALL SELECT v FROM b UNION ALL SELECT n FROM sums",
    ),
    (
        "bag_of_joins",
        "SELECT a.v FROM a JOIN b ON a.k = b.k UNION ALL SELECT n FROM sums",
    ),
    ("common", "SELECT k, s FROM a INTERSECT SELECT k, s FROM b"),
    (
        "common_of_views",
        "SELECT k, n FROM sums INTERSECT SELECT k, n FROM counts",
    ),
    ("common_copies", "SELECT k, s FROM a INTERSECT ALL SELECT k, s FROM b"),
    (
        "common_copies_of_views",
        "SELECT n FROM sums INTERSECT ALL SELECT n FROM counts",
    ),
    ("less_those", "SELECT k, s FROM a EXCEPT SELECT k, s FROM b"),
    ("less_those_of_views", "SELECT n FROM sums EXCEPT SELECT n FROM counts"),
    ("less_copies", "SELECT k, s FROM a EXCEPT ALL SELECT k, s FROM b"),
    (
        "less_copies_of_views",
        "SELECT n FROM sums EXCEPT ALL SELECT n FROM counts",
    ),
    ("less_itself", "SELECT k FROM a EXCEPT ALL SELECT k FROM a WHERE v > 3"),
    (
        "mixed",
        "SELECT k FROM a EXCEPT (SELECT k FROM b INTERSECT ALL SELECT v FROM a) UNION ALL SELECT n FROM sums",
    ),
    (
        "distinct_pairs",
        "SELECT DISTINCT a.s, b.s AS t FROM a JOIN b ON a.k = b.k",
    ),
    ("distinct_of_views", "SELECT DISTINCT n FROM sums"),
    (
        "distinct_number",
        "SELECT count(*) AS n FROM (SELECT DISTINCT k, s FROM a) q",
    ),
    (
        "highest_distinct",
        "SELECT s, max(v) AS m FROM (SELECT DISTINCT s, v FROM a) q GROUP BY s",
    ),
    ("floats", "SELECT f FROM a EXCEPT SELECT f FROM b"),
    (
        "numbers",
        "SELECT v::numeric / 2 AS q FROM a INTERSECT SELECT v::numeric / 4 FROM b",
    ),
    ("constants_too", "SELECT k FROM a UNION ALL SELECT 7 UNION ALL SELECT 8"),
    ("constants_not", "SELECT k FROM a EXCEPT VALUES (1), (2)"),
    ("constant_set", "SELECT v FROM a UNION VALUES (3), (100)"),
    ("only_constants", "SELECT 1 AS one, 'x' AS x"),
    ("no_constants", "SELECT 1 AS one WHERE false"),
];

#[test]
fn views_of_sets_equal_their_batch_queries() {
    equal_their_batches(&[RETRACTING, SETS].concat());
}

#[test]
fn copies_that_come_and_go_leave_no_trace() {
    let mut world = World::new();
    world.view("sums", "SELECT k, sum(v) AS sv FROM a GROUP BY k");
    let less = world.view("less", "SELECT k, sv FROM sums EXCEPT ALL SELECT k, x FROM b");
    let missing = world.view("missing", "SELECT k, sv FROM sums WHERE sv NOT IN (SELECT x FROM b)");
    world.history.commit(&[(B, &[row(1, 1, 0)])], &[]);
    for round in 0..12_000 {
        world.insert(&[row(1, 1, round), row(2, 2, round)]);
        world.advance(world.history.newest());
    }
    for oid in [less, missing] {
        assert_eq!(world.rows(oid), ["1|12000", "2|24000"]);
        let bytes = world.pipeline.view(oid).expect("maintained").instance.bytes();
        assert!(bytes < 4 << 20, "rows that are gone are dropped: {bytes} bytes");
    }
}
