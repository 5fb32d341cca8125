//! Subqueries in views: kept incrementally, and equal to their batch queries (V1).

use super::aggregates::equal_their_batches;
use super::joins::RETRACTING;
use super::*;

const SUBQUERIES: &[(&str, &str)] = &[
    ("some", "SELECT k, v FROM a WHERE k IN (SELECT k FROM b WHERE v > 3)"),
    (
        "some_or_more",
        "SELECT k, v FROM a WHERE v > 7 OR k IN (SELECT k FROM b WHERE v > 3)",
    ),
    ("some_of_a_view", "SELECT k, v FROM b WHERE v IN (SELECT n FROM sums)"),
    ("none", "SELECT k, v FROM a WHERE k NOT IN (SELECT k FROM b)"),
    (
        "none_without_nulls",
        "SELECT k, v FROM a WHERE k NOT IN (SELECT k FROM b WHERE k IS NOT NULL AND v > 2)",
    ),
    (
        "none_of_few",
        "SELECT k, v FROM a WHERE v NOT IN (SELECT v FROM b WHERE s = 'zebra' AND k = 2)",
    ),
    (
        "none_of_a_view",
        "SELECT k, v FROM b WHERE v NOT IN (SELECT n FROM sums)",
    ),
    (
        "view_in_none",
        "SELECT k, n FROM sums WHERE n NOT IN (SELECT v FROM b WHERE k = 1)",
    ),
    (
        "views_in_none",
        "SELECT k, n FROM sums WHERE n NOT IN (SELECT n FROM counts WHERE s > 'x')",
    ),
    (
        "none_or_less",
        "SELECT k, v FROM a WHERE v < 0 OR k NOT IN (SELECT k FROM b WHERE v > 3)",
    ),
    (
        "none_of_its_own",
        "SELECT k, v FROM a WHERE v NOT IN (SELECT v FROM b WHERE b.k = a.k)",
    ),
    (
        "sum_in_none",
        "SELECT k, v FROM a WHERE k + v NOT IN (SELECT k FROM b WHERE v > 6)",
    ),
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
        "not_exists_same",
        "SELECT k, v FROM a WHERE NOT EXISTS (SELECT 1 FROM a x WHERE x.k = a.k AND x.v > a.v)",
    ),
    ("if_any", "SELECT k FROM a WHERE EXISTS (SELECT 1 FROM b WHERE v > 8)"),
    (
        "if_none",
        "SELECT k FROM a WHERE NOT EXISTS (SELECT 1 FROM sums WHERE n > 4)",
    ),
    (
        "whether_any",
        "SELECT k, EXISTS (SELECT 1 FROM b WHERE v > 8) AS found FROM a",
    ),
    (
        "or_exists",
        "SELECT k, v FROM a WHERE v > 5 OR EXISTS (SELECT 1 FROM b WHERE b.k = a.k)",
    ),
    (
        "or_not_exists",
        "SELECT k, v FROM a WHERE v > 5 OR NOT EXISTS (SELECT 1 FROM sums WHERE sums.k = a.v AND sums.n > a.k)",
    ),
    (
        "marked",
        "SELECT k, EXISTS (SELECT 1 FROM b WHERE b.k = a.k) AS found FROM a",
    ),
    (
        "marked_in",
        "SELECT k, k IN (SELECT k FROM b WHERE v > 5) AS found FROM a",
    ),
    (
        "marked_not_in",
        "SELECT k, v NOT IN (SELECT n FROM sums WHERE sums.k = a.k) AS missing FROM a",
    ),
    (
        "above_some",
        "SELECT k, v FROM a WHERE v > ANY (SELECT v FROM b WHERE k = 1)",
    ),
    (
        "above_all",
        "SELECT k, v FROM a WHERE v >= ALL (SELECT v FROM b WHERE b.k = a.k)",
    ),
    (
        "above_all_known",
        "SELECT k, v FROM a WHERE v > ALL (SELECT v FROM b WHERE k = 1 AND v IS NOT NULL)",
    ),
    (
        "like_all",
        "SELECT k, v FROM a WHERE v = ALL (SELECT v FROM b WHERE b.s = a.s AND b.k = a.k)",
    ),
    (
        "unlike_some",
        "SELECT k, v FROM a WHERE v <> ANY (SELECT v FROM b WHERE b.k = a.k)",
    ),
    ("below_sums", "SELECT k, v FROM a WHERE v < ALL (SELECT n FROM sums)"),
    (
        "valued",
        "SELECT k, (SELECT sum(v) FROM b WHERE b.k = a.k) AS sv FROM a",
    ),
    (
        "counted",
        "SELECT k, (SELECT count(*) FROM b WHERE b.k = a.k) AS n FROM a",
    ),
    (
        "counted_below",
        "SELECT k, (SELECT count(*) FROM b WHERE b.v < a.v AND b.k = 1) AS n FROM a",
    ),
    (
        "looked_up",
        "SELECT k, v, (SELECT n FROM counts WHERE counts.k = a.k) AS n FROM a",
    ),
    (
        "looked_up_text",
        "SELECT k, (SELECT s FROM counts WHERE counts.k = sums.n) AS s FROM sums",
    ),
    ("above_average", "SELECT k, v FROM a WHERE v > (SELECT avg(v) FROM b)"),
    ("highest", "SELECT k, v FROM a WHERE v = (SELECT max(v) FROM a)"),
    ("share", "SELECT k, v, (SELECT count(*) FROM a) AS of FROM a"),
    (
        "differences",
        "SELECT k, sum(v - (SELECT min(v) FROM b)) AS d FROM a GROUP BY k",
    ),
    (
        "two_values",
        "SELECT (SELECT count(*) FROM a) - (SELECT count(*) FROM b) AS d",
    ),
    ("of_one_row", "SELECT k, (SELECT n FROM counts WHERE k = 3) AS n FROM a"),
    (
        "beside",
        "SELECT a.k, q.w FROM a, LATERAL (SELECT b.v + a.v AS w FROM b WHERE b.k = a.k AND b.v > a.v) q",
    ),
    (
        "beside_or_not",
        "SELECT a.k, q.n FROM a LEFT JOIN LATERAL (SELECT count(*) AS n FROM b WHERE b.v < a.v HAVING count(*) > 2) q ON true",
    ),
    (
        "some_unlike",
        "SELECT k, s, f FROM a WHERE s IN (SELECT s FROM b WHERE a.f IS DISTINCT FROM b.f)",
    ),
    (
        "beside_alike",
        "SELECT a.k, q.v FROM a, LATERAL (SELECT b.v + a.v AS v, b.s FROM b WHERE b.v > a.v) q WHERE a.s = q.s",
    ),
    (
        "beside_another",
        "SELECT c.k, q.v FROM b c, a, LATERAL (SELECT b.v, b.s FROM b WHERE b.k = a.k) q WHERE a.s = q.s AND c.s = a.s",
    ),
    (
        "topic_not_in_view",
        "SELECT k, v FROM b WHERE NOT EXISTS (SELECT 1 FROM sums WHERE sums.k = b.k AND sums.n = 2)",
    ),
    (
        "within_another",
        "SELECT k, v FROM a WHERE k IN (SELECT k FROM b WHERE v IN (SELECT n FROM sums WHERE sums.k <> b.k))",
    ),
    (
        "twice",
        "WITH c AS (SELECT k, count(*) AS n FROM b GROUP BY k) SELECT x.k, y.n FROM c x JOIN c y ON x.n = y.k",
    ),
    (
        "having_more",
        "SELECT k, sum(v) AS sv FROM a GROUP BY k HAVING sum(v) > (SELECT avg(v) FROM b)",
    ),
];

#[test]
fn views_with_subqueries_equal_their_batch_queries() {
    equal_their_batches(&[RETRACTING, SUBQUERIES].concat());
}

#[test]
fn a_second_row_of_a_subquery_that_is_a_value_fails_the_view() {
    let mut world = World::new();
    let oid = world.view("looked_up", "SELECT k, (SELECT v FROM b WHERE b.k = a.k) AS v FROM a");
    let alone = world.view("alone", "SELECT k, (SELECT v FROM b WHERE v > 5) AS v FROM a");
    world.insert(&[row(1, 1, 0), row(2, 2, 0)]);
    world.history.commit(&[(B, &[row(1, 7, 0), row(3, 1, 0)])], &[]);
    world.check(oid, &["1|7", "2|-"]);
    world.check(alone, &["1|7", "2|7"]);
    // Two rows, of which nobody asks.
    world.history.commit(&[(B, &[row(3, 2, 0)])], &[]);
    world.check(oid, &["1|7", "2|-"]);
    let at = world.history.commit(&[(B, &[row(2, 8, 0), row(2, 9, 0)])], &[]);
    world.advance(at);
    for oid in [oid, alone] {
        let failure = world.pipeline.view(oid).and_then(|view| view.failure.clone());
        let failure = failure.expect("two rows for one value");
        assert_eq!(
            (failure.lsn, failure.error.state),
            (at, crate::error::state::CARDINALITY_VIOLATION)
        );
    }
}

#[test]
fn not_in_shows_all_none_or_some() {
    let mut world = World::new();
    let oid = world.view("missing", "SELECT k, v FROM a WHERE k NOT IN (SELECT v FROM b)");
    let unknown = Row {
        k: None,
        ..row(0, 3, 0)
    };
    world.insert(&[row(1, 1, 0), row(2, 2, 0), unknown]);
    world.check(oid, &["-|3", "1|1", "2|2"]);
    world.history.commit(&[(B, &[row(0, 2, 0)])], &[]);
    world.check(oid, &["1|1"]);
    let unknown = Row {
        v: None,
        ..row(0, 0, 0)
    };
    world.history.commit(&[(B, &[unknown])], &[]);
    world.check(oid, &[]);
    world.insert(&[row(5, 5, 0)]);
    world.check(oid, &[]);
}

/// The right keys of NOT IN that are replaced go, though the left side only grows.
#[test]
fn right_keys_of_not_in_that_are_gone_are_dropped() {
    const KEYS: i64 = 50;
    let mut world = World::new();
    world.view("totals", "SELECT k, sum(v) AS total FROM b GROUP BY k");
    let oid = world.view("others", "SELECT k, x FROM a WHERE x NOT IN (SELECT total FROM totals)");
    let bases: Vec<Row> = (0..KEYS).map(|k| row(k, k as i32 * 10_000, 0)).collect();
    let ones: Vec<Row> = (0..KEYS).map(|k| row(k, 1, 0)).collect();
    world.history.commit(&[(B, &bases)], &[]);
    let rounds = 1000;
    for round in 0..rounds {
        world.history.commit(&[(B, &ones), (A, &[row(1, round, 0)])], &[]);
        world.advance(world.history.newest());
    }
    // x is ten times v: only 0 and the first total's neighbours were ever among the totals.
    let shown = world.rows(oid).len();
    let expected = world.batch_rows(
        "SELECT k, x FROM a WHERE x NOT IN (SELECT total FROM totals)",
        world.history.newest(),
    );
    assert_eq!(shown, expected.len());
    let stats = world.pipeline.view(oid).expect("maintained").instance.stats();
    let not_in = stats
        .iter()
        .find(|node| node.rows.is_some())
        .expect("it has the operator");
    assert_eq!(not_in.rows, Some(rounds as usize), "rows of the left");
    assert!(
        not_in.state_bytes < 1 << 20,
        "of {} totals that were there once few are left: {} bytes",
        i64::from(rounds) * KEYS,
        not_in.state_bytes
    );
}
