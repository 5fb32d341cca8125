//! Functions that return rows, in FROM and in a select list: kept incrementally, and equal to their batch queries (V1).

use super::aggregates::equal_their_batches;
use super::*;

const DEFINITIONS: &[(&str, &str)] = &[
    ("sums", "SELECT k, sum(v) AS sv, count(*) AS n FROM a GROUP BY k"),
    ("elements", "SELECT k, v, e FROM a, unnest(ARRAY[v, v + 1, NULL]) AS e"),
    (
        "numbered",
        "SELECT k, e, n FROM a, unnest(ARRAY[k, x]) WITH ORDINALITY AS u (e, n) WHERE e > 1",
    ),
    ("series", "SELECT k, g FROM a, generate_series(1, a.v) AS g"),
    (
        "in_the_list",
        "SELECT k, generate_series(1, v) AS g, unnest(ARRAY['a', 'b']) AS l FROM a",
    ),
    (
        "side_by_side",
        "SELECT k, p, q FROM a, ROWS FROM (unnest(ARRAY[v]), generate_series(1, v % 4)) AS r (p, q)",
    ),
    (
        "by_element",
        "SELECT g, count(*) AS n, sum(v) AS sv FROM a, generate_series(1, a.v % 4) AS g GROUP BY g",
    ),
    (
        "constants",
        "SELECT k, g FROM a, generate_series(1, 3) AS g WHERE v > g",
    ),
    ("a_series", "SELECT g * 2 AS twice FROM generate_series(1, 5) AS g"),
    (
        "left_lateral",
        "SELECT k, v, e FROM a LEFT JOIN LATERAL unnest(ARRAY[v, k]) AS e ON e > 3",
    ),
    (
        "words",
        "SELECT w, count(*) AS n FROM a, regexp_split_to_table(s, '') AS w GROUP BY w",
    ),
    ("of_sums", "SELECT k, g FROM sums, generate_series(1, n) AS g"),
    ("of_sums_in_the_list", "SELECT k, unnest(ARRAY[sv, n]) AS e FROM sums"),
    (
        "nested",
        "SELECT k, e, g FROM a, unnest(ARRAY[v, k]) AS e, generate_series(1, e % 3) AS g",
    ),
];

#[test]
fn views_of_functions_that_return_rows_equal_their_batch_queries() {
    equal_their_batches(DEFINITIONS);
}

#[test]
fn lists_become_rows_in_parts() {
    let mut world = World::new();
    let view = world.view(
        "w",
        "SELECT count(*) AS n, sum(g) AS s FROM a, generate_series(1, v) AS g",
    );
    let lines = world.views[0].2.explain();
    assert!(lines.iter().any(|line| line.contains("Unnest: ")), "{lines:?}");
    let rows: Vec<Row> = (0..30).map(|_| row(1, 10_000, 1)).collect();
    world.insert(&rows);
    world.check(view, &["300000|1500150000"]);
}

#[test]
fn a_long_series_is_not_kept() {
    let world = World::new();
    let CompiledView::Recompute { reason } = world.compile("SELECT k FROM a, generate_series(1, 1000000) AS g") else {
        panic!("it is kept");
    };
    assert!(reason.contains("more than 100000 rows"), "{reason}");
}
