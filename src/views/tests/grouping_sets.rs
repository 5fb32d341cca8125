//! GROUPING SETS, ROLLUP and CUBE as views: kept incrementally, and equal to their batch queries (V1).

use super::aggregates::equal_their_batches;
use super::joins::RETRACTING;
use super::*;

const SETS: &[(&str, &str)] = &[
    (
        "sets",
        "SELECT k, s, count(*) AS n, sum(v) AS sv, count(k) AS nk, max(s) AS ms, grouping(k, s) AS g FROM a \
         GROUP BY GROUPING SETS ((k, s), (k), (s), ())",
    ),
    (
        "rolled_up",
        "SELECT k % 2 AS m, s, grouping(k % 2) + 1 AS g, avg(v) AS av FROM a GROUP BY ROLLUP (k % 2, s)",
    ),
    (
        "cubed",
        "SELECT n, sv, count(*) AS c, max(k) AS mk FROM sums GROUP BY CUBE (n, sv)",
    ),
    (
        "alike",
        "SELECT k, count(*) AS n FROM a GROUP BY GROUPING SETS ((k), (k), (), ())",
    ),
    (
        "alike_of_view",
        "SELECT n, count(*) AS c, grouping(n) AS g FROM counts GROUP BY GROUPING SETS ((n), (), (n))",
    ),
    (
        "few",
        "SELECT k, s, count(*) AS n FROM a GROUP BY ROLLUP (k, s) HAVING count(*) > 2 AND grouping(s) = 0",
    ),
    (
        "of_nothing",
        "SELECT v, count(*) AS n, bool_or(v > 3) AS b FROM a WHERE k = 99 GROUP BY ROLLUP (v)",
    ),
    (
        "of_nothing_left",
        "SELECT sv, count(*) AS n, sum(k) AS sk FROM sums WHERE n < 3 GROUP BY GROUPING SETS ((sv), ())",
    ),
    ("keys_alone", "SELECT k, s FROM a GROUP BY CUBE (k, s)"),
    ("keys_of_view", "SELECT n, s FROM counts GROUP BY CUBE (n, s)"),
    (
        "with_plain_keys",
        "SELECT s, k, v, sum(x) AS sx FROM a GROUP BY s, ROLLUP (k, v)",
    ),
    ("of_sets", "SELECT n, count(*) AS c, sum(g) AS sg FROM sets GROUP BY n"),
    (
        "sets_of_sets",
        "SELECT g, s, sum(n) AS n FROM sets GROUP BY ROLLUP (g, s)",
    ),
    (
        "of_pairs",
        "SELECT a.s, b.k, count(*) AS n, sum(10 / (1 + b.v * b.v)) AS q FROM a LEFT JOIN b ON a.k = b.k \
         GROUP BY GROUPING SETS ((a.s), (b.k), (a.s, b.k), ())",
    ),
    (
        "in_join",
        "SELECT a.v, r.sv FROM a JOIN (SELECT k, sum(v) AS sv FROM b GROUP BY ROLLUP (k)) r ON a.k IS NOT DISTINCT FROM r.k",
    ),
];

#[test]
fn views_with_grouping_sets_equal_their_batch_queries() {
    equal_their_batches(&[RETRACTING, SETS].concat());
}

#[test]
fn empty_sets_have_a_row_before_there_are_any() {
    let mut world = World::new();
    let oid = world.view(
        "sets",
        "SELECT k, count(*) AS n, grouping(k) AS g FROM a GROUP BY GROUPING SETS ((k), (), ())",
    );
    let above = world.view("above", "SELECT count(*) AS c, sum(n) AS sn FROM sets");
    assert_eq!(world.rows(oid), ["-|0|1", "-|0|1"]);
    world.history.commit(&[(B, &[row(1, 1, 0)])], &[]);
    world.check(oid, &["-|0|1", "-|0|1"]);
    world.check(above, &["2|0"]);
    world.insert(&[
        row(1, 1, 0),
        Row {
            k: None,
            ..row(1, 1, 0)
        },
    ]);
    world.check(oid, &["-|1|0", "-|2|1", "-|2|1", "1|1|0"]);
    world.check(above, &["4|6"]);
}
