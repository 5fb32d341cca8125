//! Aggregate functions of every kind as views: kept incrementally, and equal to their batch queries (V1).

use super::aggregates::equal_their_batches;
use super::joins::RETRACTING;
use super::*;

const DISTINCT: &[(&str, &str)] = &[
    (
        "once_each",
        "SELECT k, sum(DISTINCT v) AS sv, avg(DISTINCT x) AS ax, count(DISTINCT s) AS cs, sum(DISTINCT f) AS sf, \
         min(DISTINCT v) AS mv FROM a GROUP BY k",
    ),
    (
        "once_each_where",
        "SELECT s, sum(DISTINCT v) FILTER (WHERE v > 2) AS sv, avg(DISTINCT k) FILTER (WHERE v < 5) AS ak, \
         count(DISTINCT v) FILTER (WHERE k = 1) AS cv, sum(v) AS all_v FROM a GROUP BY s",
    ),
    (
        "once_each_of_view",
        "SELECT n, sum(DISTINCT sv) AS ss, avg(DISTINCT k) AS ak, count(DISTINCT sv) AS cs, count(*) AS c FROM sums GROUP BY n",
    ),
    (
        "total_once_each",
        "SELECT sum(DISTINCT n) AS sn, avg(DISTINCT n) AS an, count(DISTINCT n) AS cn, max(DISTINCT s) AS ms FROM counts",
    ),
    (
        "spread_once_each",
        "SELECT n, var_pop(DISTINCT sv % 3) AS d, stddev(DISTINCT k) AS e, bit_xor(DISTINCT k) AS x FROM sums GROUP BY n",
    ),
];

const OF_NUMBERS: &[(&str, &str)] = &[
    (
        "bits",
        "SELECT s, bit_and(v) AS ba, bit_or(v) AS bo, bit_xor(x) AS bx, every(v > 0) AS e FROM a GROUP BY s",
    ),
    (
        "bits_of_view",
        "SELECT n, bit_and(sv) AS ba, bit_or(k) AS bo, bit_xor(sv) AS bx, every(sv > 0) AS e FROM sums GROUP BY n",
    ),
    (
        "spread",
        "SELECT k, stddev(v) AS d, var_pop(x) AS p, variance(v) FILTER (WHERE s <> 'x') AS w, stddev_pop(k) AS z FROM a GROUP BY k",
    ),
    (
        "spread_of_view",
        "SELECT n, stddev(sv) AS d, var_pop(k) AS p, variance(sv) FILTER (WHERE k <> 1) AS w, var_samp(sv / 4.0) AS q \
         FROM sums GROUP BY n",
    ),
    (
        "spread_of_floats",
        "SELECT s, round(stddev(f)::numeric, 6) AS d, round(corr(v, f)::numeric, 6) AS c, regr_count(v, f) AS n, \
         round(covar_pop(v, f)::numeric, 6) AS p, round(regr_slope(f, v)::numeric, 6) AS l FROM a GROUP BY s",
    ),
    (
        "spread_of_floats_of_view",
        "SELECT n, round(stddev(sv::float8)::numeric, 6) AS d, round(covar_samp(sv, k)::numeric, 6) AS c, \
         regr_count(sv, k) AS r, round(regr_avgx(sv, k)::numeric, 6) AS x FROM sums GROUP BY n",
    ),
    (
        "total_spread",
        "SELECT stddev(v) AS d, bit_or(v) AS o FROM a WHERE k = 2",
    ),
    (
        "total_spread_of_view",
        "SELECT var_samp(sv) AS d, bit_and(n) AS o, regr_count(n, sv) AS r FROM sums",
    ),
];

const OF_ROWS: &[(&str, &str)] = &[
    (
        "gathered",
        "SELECT k, array_agg(v ORDER BY v) AS vs, string_agg(s, ',' ORDER BY s DESC) AS ss, \
         json_agg(x ORDER BY x DESC NULLS LAST) AS xs, count(*) AS n FROM a GROUP BY k",
    ),
    (
        "gathered_once_each",
        "SELECT k, array_agg(DISTINCT v) AS vs, string_agg(DISTINCT s, '-') AS ss, jsonb_agg(DISTINCT v ORDER BY v DESC) AS js \
         FROM a GROUP BY k",
    ),
    (
        "gathered_where",
        "SELECT s, array_agg(v ORDER BY v) FILTER (WHERE v > 3) AS vs, array_agg(k ORDER BY x, k) AS ks, \
         jsonb_object_agg(v, x ORDER BY v, x) FILTER (WHERE v IS NOT NULL) AS o FROM a GROUP BY s",
    ),
    (
        "gathered_of_view",
        "SELECT n, array_agg(k ORDER BY sv, k) AS ks, string_agg(k::text, ',' ORDER BY k::text) AS ts, \
         json_object_agg(k, sv ORDER BY k, sv) FILTER (WHERE k IS NOT NULL) AS o FROM sums GROUP BY n",
    ),
    (
        "joined_of_view",
        "SELECT string_agg(s || n, ';' ORDER BY s, n) AS t, array_agg(n + 1 ORDER BY n) AS ns FROM counts",
    ),
    (
        "middle",
        "SELECT k, percentile_cont(0.5) WITHIN GROUP (ORDER BY v) AS c, percentile_disc(0.25) WITHIN GROUP (ORDER BY x) AS d, \
         percentile_cont(ARRAY[0, 0.5, 1]) WITHIN GROUP (ORDER BY f DESC) AS l, mode() WITHIN GROUP (ORDER BY s) AS m \
         FROM a GROUP BY k",
    ),
    (
        "middle_of_view",
        "SELECT n, percentile_cont(0.5) WITHIN GROUP (ORDER BY sv) AS c, percentile_disc(0.5) WITHIN GROUP (ORDER BY k) AS d, \
         mode() WITHIN GROUP (ORDER BY sv DESC) AS m FROM sums GROUP BY n",
    ),
    (
        "places",
        "SELECT s, rank(3) WITHIN GROUP (ORDER BY v) AS r, dense_rank(3) WITHIN GROUP (ORDER BY v DESC) AS d, \
         percent_rank(3) WITHIN GROUP (ORDER BY v) AS p, cume_dist(3) WITHIN GROUP (ORDER BY v) AS c FROM a GROUP BY s",
    ),
    (
        "places_of_view",
        "SELECT n, rank(3, 2) WITHIN GROUP (ORDER BY sv, k) AS r, dense_rank(2) WITHIN GROUP (ORDER BY k) AS d FROM sums GROUP BY n",
    ),
    (
        "of_gathered",
        "SELECT vs, count(*) AS c, max(ss) AS m FROM gathered GROUP BY vs",
    ),
    (
        "gathered_by_sets",
        "SELECT n, s, array_agg(k ORDER BY k) AS ks, sum(DISTINCT k) AS sk FROM counts GROUP BY ROLLUP (n, s)",
    ),
    (
        "gathered_and_chosen",
        "SELECT k, array_agg(v ORDER BY v) AS vs FROM a GROUP BY k HAVING max(array_length(ARRAY[v], 1)) = 1 AND count(v) > 1",
    ),
    (
        "gathered_of_all",
        "SELECT array_agg(sv ORDER BY sv) AS svs, mode() WITHIN GROUP (ORDER BY n) AS m FROM sums",
    ),
];

#[test]
fn views_with_distinct_aggregates_equal_their_batch_queries() {
    equal_their_batches(&[RETRACTING, DISTINCT].concat());
}

#[test]
fn views_with_aggregates_of_numbers_equal_their_batch_queries() {
    equal_their_batches(&[RETRACTING, OF_NUMBERS].concat());
}

#[test]
fn views_with_aggregates_of_rows_equal_their_batch_queries() {
    equal_their_batches(&[RETRACTING, OF_ROWS].concat());
}

#[test]
fn an_aggregate_that_takes_rows_in_any_order_is_recomputed() {
    let world = World::new();
    let reason = |sql: &str| match world.compile(sql) {
        CompiledView::Incremental(_) => String::new(),
        CompiledView::Recompute { reason } => reason,
    };
    for (call, expected) in [
        ("array_agg(v)", "array_agg without ORDER BY takes rows in any order"),
        (
            "string_agg(s, ',')",
            "string_agg without ORDER BY takes rows in any order",
        ),
        ("json_agg(v)", "json_agg without ORDER BY takes rows in any order"),
        (
            "array_agg(v ORDER BY k)",
            "array_agg takes rows in any order where its ORDER BY does not decide: add its arguments there",
        ),
        ("array_agg(v ORDER BY k, v)", ""),
        (
            "sum(DISTINCT v / 2.0)",
            "sum takes any one of equal values that have several forms",
        ),
        (
            "mode() WITHIN GROUP (ORDER BY v / 2.0)",
            "mode takes any one of equal values that have several forms",
        ),
        ("sum(DISTINCT v::numeric(9, 2)), mode() WITHIN GROUP (ORDER BY v)", ""),
        ("array_agg(v + 1 ORDER BY v)", ""),
        (
            "array_agg(v + k ORDER BY v)",
            "array_agg takes rows in any order where its ORDER BY does not decide: add its arguments there",
        ),
    ] {
        assert_eq!(reason(&format!("SELECT {call} FROM a")), expected, "{call}");
    }
}

/// A group that is told of to others is evaluated when a step ends, never for rows in between.
#[test]
fn rows_that_go_within_a_step_leave_no_trace_in_what_is_gathered() {
    let mut world = World::new();
    world.view("sums", "SELECT k, sum(v) AS sv FROM a GROUP BY k");
    let gathered = world.view(
        "gathered",
        "SELECT k % 2 AS m, array_agg(sv ORDER BY sv) AS svs, stddev(sv) AS d FROM sums GROUP BY 1",
    );
    let above = world.view("above", "SELECT svs, count(*) AS n FROM gathered GROUP BY svs");
    for round in 1..30 {
        world.insert(&[row(1, 1, round), row(3, 2, round)]);
        world.insert(&[row(1, 1, round), row(2, 2, round)]);
        world.advance(world.history.newest());
        let sums = [2 * round, 2 * round];
        assert_eq!(
            world.rows(above),
            [format!("[{}, {}]|1", sums[0], sums[1]), format!("[{}]|1", 2 * round)]
        );
    }
    assert_eq!(world.rows(gathered).len(), 2);
}

#[test]
fn memory_of_gathered_rows_follows_the_rows_that_are_there() {
    let mut world = World::new();
    world.view("sums", "SELECT k, sum(v) AS sv FROM a GROUP BY k");
    let oid = world.view(
        "gathered",
        "SELECT array_agg(sv ORDER BY sv) AS svs, sum(DISTINCT sv) AS total FROM sums",
    );
    for round in 0..4000 {
        world.insert(&[row(1, 1, round), row(2, 2, round)]);
        world.advance(world.history.newest());
    }
    assert_eq!(world.rows(oid), ["[4000, 8000]|12000"]);
    let bytes = world.pipeline.view(oid).expect("maintained").instance.bytes();
    assert!(bytes < 1 << 19, "values that are gone are dropped: {bytes} bytes");
}
