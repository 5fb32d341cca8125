//! Joins, sets and subqueries as views: kept incrementally, and equal to their batch queries (V1).

use super::aggregates::{equal_other_words, equal_their_batches};
use super::*;

/// Rows of these are taken away again, so views of them meet retractions.
pub const RETRACTING: &[(&str, &str)] = &[
    ("sums", "SELECT k, sum(v) AS sv, count(*) AS n FROM a GROUP BY k"),
    ("counts", "SELECT k, count(*) AS n, max(s) AS s FROM b GROUP BY k"),
];

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
    (
        "left_if_of_one",
        "SELECT a.k, a.v, b.v AS w FROM a LEFT JOIN b ON a.k = b.k AND a.v > 2 AND b.v < 5",
    ),
    ("crossed", "SELECT a.k, b.v FROM a, b WHERE a.v > b.v AND b.s = 'x'"),
    ("all_pairs", "SELECT a.v, b.v AS w FROM a CROSS JOIN b"),
    ("number_of_pairs", "SELECT count(*) AS n FROM a CROSS JOIN b"),
    ("less", "SELECT a.v, b.v AS w FROM a JOIN b ON a.v < b.v WHERE a.k = 1"),
    ("left_less", "SELECT a.v, b.v AS w FROM a LEFT JOIN b ON a.v < b.v - 8"),
    (
        "right_unlike",
        "SELECT a.v, b.v AS w FROM a RIGHT JOIN b ON a.v <> b.v AND a.s = 'y'",
    ),
    (
        "near",
        "SELECT a.v, b.v AS w FROM a JOIN b ON a.ts BETWEEN b.ts - INTERVAL '3 seconds' AND b.ts",
    ),
    (
        "same",
        "SELECT x.k, x.v, y.v AS w FROM a x JOIN a y ON x.k = y.k WHERE x.v <= y.v",
    ),
    (
        "same_left",
        "SELECT x.k, x.v, y.v AS w FROM a x LEFT JOIN a y ON x.k = y.k AND x.v < y.v",
    ),
    (
        "same_full",
        "SELECT x.v, y.v AS w FROM a x FULL JOIN a y ON x.v = y.k AND x.s <> y.s",
    ),
    ("using_k", "SELECT k, a.v, b.v AS w FROM a JOIN b USING (k)"),
    (
        "full_using",
        "SELECT k, s, a.v, b.v AS w FROM a FULL JOIN b USING (k, s)",
    ),
    (
        "alike",
        "SELECT a.s, b.v FROM a JOIN b ON a.s IS NOT DISTINCT FROM b.s AND a.k = b.k",
    ),
    (
        "by_numbers",
        "SELECT a.k, b.v FROM a LEFT JOIN b ON a.v::numeric / 2 = b.v::numeric / 4",
    ),
    (
        "three",
        "SELECT x.k, y.v, z.s FROM a x JOIN b y ON x.k = y.k JOIN a z ON y.v = z.v",
    ),
    (
        "left_of_three",
        "SELECT x.k, y.v, z.s FROM a x LEFT JOIN b y ON x.k = y.k LEFT JOIN a z ON y.v = z.v AND x.v < z.v",
    ),
    (
        "four",
        "SELECT x.v, y.v AS w, z.v AS u, q.n FROM a x, b y, a z, counts q WHERE x.k = y.k AND z.k = y.k AND q.k = x.k AND x.v < z.v",
    ),
    (
        "nested",
        "SELECT x.k, y.v, z.v AS w FROM a x LEFT JOIN (b y JOIN a z ON y.s = z.s AND y.v = z.v) ON x.k = y.k",
    ),
    (
        "full_of_three",
        "SELECT x.k, y.k AS l, z.n FROM a x FULL JOIN b y ON x.v = y.v FULL JOIN sums z ON z.k = y.k",
    ),
    (
        "by_s",
        "SELECT b.s, count(*) AS n, sum(a.v) AS sv FROM a JOIN b ON a.k = b.k GROUP BY b.s",
    ),
    (
        "most_by_s",
        "SELECT a.s, count(b.v) AS n, min(b.v) AS mv, max(b.s) AS ms FROM a LEFT JOIN b ON a.k = b.k AND a.v > b.v GROUP BY a.s",
    ),
    (
        "named",
        "SELECT a.v, n.name FROM a LEFT JOIN (VALUES (1, 'one'), (2, 'two'), (2, 'deux')) AS n (k, name) ON a.k = n.k",
    ),
    (
        "of_views",
        "SELECT sums.k, sv, counts.n, s FROM sums JOIN counts ON sums.k = counts.k",
    ),
    (
        "left_of_views",
        "SELECT sums.k, sv, counts.n FROM sums LEFT JOIN counts ON sums.k = counts.k AND sums.n > counts.n",
    ),
    (
        "right_of_views",
        "SELECT counts.k, sv, counts.n FROM sums RIGHT JOIN counts ON sums.n = counts.n AND sums.k < counts.k",
    ),
    (
        "full_of_views",
        "SELECT sums.k, counts.k AS l, sv, s FROM sums FULL JOIN counts ON sums.n = counts.n",
    ),
    ("cross_of_views", "SELECT sums.k, counts.k AS l, sv FROM sums, counts"),
    (
        "same_view",
        "SELECT x.k, y.k AS l FROM sums x JOIN sums y ON x.n = y.n AND x.k < y.k",
    ),
    (
        "view_in_topic",
        "SELECT a.k, a.v, sv FROM a JOIN sums ON a.k = sums.k WHERE a.v * 10 > sv",
    ),
    (
        "of_joins",
        "SELECT l.k, l.w, r.sv FROM left_pairs l JOIN of_views r ON l.k = r.k",
    ),
    (
        "count_of_joins",
        "SELECT k, count(*) AS n, count(w) AS nw FROM left_pairs GROUP BY k",
    ),
    (
        "quotients",
        "SELECT a.k, 10 / (1 + coalesce(b.v * b.v, 0)) AS q FROM a LEFT JOIN b ON a.k = b.k AND 5 / (1 + a.v * a.v) < b.v",
    ),
    (
        "quotients_of_views",
        "SELECT sums.k, 10 / counts.n AS q FROM sums JOIN counts ON sums.k = counts.k AND 10 / counts.n > sums.n",
    ),
];

#[test]
fn views_with_joins_equal_their_batch_queries() {
    equal_their_batches(&[RETRACTING, JOINS].concat());
}

/// An ASOF JOIN of `left` with `right`, and the same as a subquery for each left row. `columns` are those of the right side.
fn asof(
    left: &str,
    right: &str,
    columns: &str,
    keys: &[&str],
    (operator, times): (&str, [&str; 2]),
    kept: bool,
) -> [String; 2] {
    let [own, other] = times;
    let equal: String = keys.iter().map(|key| format!("l.{key} = r.{key} AND ")).collect();
    let condition = format!("{equal}{own} {operator} {other}");
    let (outer, direction) = (
        if kept { "LEFT " } else { "" },
        if operator.starts_with('>') { "DESC" } else { "ASC" },
    );
    let shown: String = columns
        .split(", ")
        .map(|column| format!(", r.{column} AS r_{column}"))
        .collect();
    let ties: String = columns.split(", ").map(|column| format!(", r.{column}")).collect();
    let select = format!("SELECT l.*{shown} FROM {left} l");
    [
        format!("{select} ASOF {outer}JOIN {right} r ON {condition}"),
        format!(
            "{select} {outer}JOIN LATERAL (SELECT * FROM {right} r WHERE {condition} \
             ORDER BY {other} {direction}{ties} LIMIT 1) r ON true"
        ),
    ]
}

#[test]
fn asof_joins_meet_the_nearest_row() {
    let columns = "k, v, x, s, f, ts";
    let times = ["l.ts", "r.ts"];
    let mut definitions: Vec<(String, [String; 2])> = Vec::new();
    for (name, sql) in RETRACTING {
        definitions.push((name.to_string(), [sql.to_string(), sql.to_string()]));
    }
    for (number, operator) in [">=", ">", "<=", "<"].into_iter().enumerate() {
        for kept in [false, true] {
            let mut add = |name: &str, sql: [String; 2]| definitions.push((format!("{name}_{number}_{kept}"), sql));
            let of_views = ["l.sv", "r.n"];
            add("by_key", asof("a", "b", columns, &["k"], (operator, times), kept));
            add(
                "views",
                asof("sums", "counts", "k, n, s", &["k"], (operator, of_views), kept),
            );
            if kept == (number % 2 == 0) {
                add("by_none", asof("a", "b", columns, &[], (operator, times), kept));
                add(
                    "by_text",
                    asof("a", "b", columns, &["k"], (operator, ["l.s", "r.s"]), kept),
                );
                add(
                    "by_float",
                    asof("a", "b", columns, &["s"], (operator, ["l.f", "r.f"]), kept),
                );
                add(
                    "all_of_views",
                    asof("sums", "counts", "k, n, s", &[], (operator, of_views), kept),
                );
                add(
                    "view_in",
                    asof("sums", "b", columns, &["k"], (operator, ["l.sv", "r.v"]), kept),
                );
            } else {
                let later = ["l.ts + INTERVAL '7 seconds'", "r.ts"];
                add("by_keys", asof("a", "b", columns, &["k", "s"], (operator, times), kept));
                add("later", asof("a", "b", columns, &["k"], (operator, later), kept));
                add("own", asof("a", "a", columns, &["k"], (operator, times), kept));
                add(
                    "may_fail",
                    asof(
                        "sums",
                        "counts",
                        "k, n, s",
                        &[],
                        (operator, ["l.sv / 3", "10 / r.n"]),
                        kept,
                    ),
                );
                add(
                    "in_view",
                    asof("a", "sums", "k, sv, n", &["k"], (operator, ["l.x", "r.sv"]), kept),
                );
            }
        }
    }
    let words: Vec<(&str, &str, &str)> = definitions
        .iter()
        .map(|(name, [sql, words])| (name.as_str(), sql.as_str(), words.as_str()))
        .collect();
    equal_other_words(&words);
}

#[test]
fn a_nearer_row_takes_the_place_of_another() {
    let mut world = World::new();
    let sql = "SELECT a.k, a.v, b.v AS w FROM a ASOF LEFT JOIN b ON a.k = b.k AND a.ts >= b.ts";
    let oid = world.view("nearest", sql);
    world.insert(&[row(1, 10, 5), row(1, 11, 9), row(2, 20, 5)]);
    world.check(oid, &["1|10|-", "1|11|-", "2|20|-"]);
    world.history.commit(&[(B, &[row(1, 7, 3)])], &[]);
    world.check(oid, &["1|10|7", "1|11|7", "2|20|-"]);
    world.history.commit(&[(B, &[row(1, 8, 6), row(2, 9, 6)])], &[]);
    world.check(oid, &["1|10|7", "1|11|8", "2|20|-"]);
    // Of rows of one time the first in the order of their columns.
    world.history.commit(&[(B, &[row(1, 6, 6), row(1, 7, 6)])], &[]);
    world.check(oid, &["1|10|7", "1|11|6", "2|20|-"]);
}

/// The sides of a join change one after the other: nobody sees the rows in between.
#[test]
fn nothing_is_computed_of_rows_that_go_within_their_step() {
    let mut world = World::new();
    let quotients = world.view(
        "quotients",
        "SELECT a.k, 10 / coalesce(b.v, 0) AS q FROM a LEFT JOIN b ON a.k = b.k",
    );
    let pairs = world.view("pairs", "SELECT a.k, b.v FROM a LEFT JOIN b ON a.k = b.k");
    let above = world.view("above", "SELECT k, 10 / coalesce(v, 0) AS q FROM pairs");
    let totals = world.view(
        "totals",
        "SELECT a.k, sum(10 / coalesce(b.v, 0)) AS q FROM a LEFT JOIN b ON a.k = b.k GROUP BY a.k",
    );
    world.view("fewer", "SELECT k, count(*) AS n FROM a GROUP BY k");
    world.view("more", "SELECT k, count(*) + 1 AS n FROM a GROUP BY k");
    let compared = world.view(
        "compared",
        "SELECT m.k, m.n FROM more m JOIN fewer f ON m.k = f.k AND 10 / (m.n - f.n) > 1",
    );
    let outer = world.view(
        "outer_compared",
        "SELECT m.k, f.n FROM more m FULL JOIN fewer f ON m.k = f.k AND 10 / (m.n - f.n) > 11",
    );
    world.view("sums", "SELECT k, sum(v) AS sv FROM a GROUP BY k");
    world.view("total", "SELECT sum(v) AS sv FROM a");
    let hidden = world.view(
        "hidden",
        "SELECT k, 10 / (sv + k - 3) AS q FROM sums WHERE sv NOT IN (SELECT sv FROM total)",
    );
    for round in 1..4 {
        let rows = [row(round, 2, 0), row(round, 5, 0)];
        world.history.commit(&[(A, &rows[..1]), (B, &rows)], &[]);
        world.advance(world.history.newest());
        // The only sum of the first round is hidden, and gone when it would be shown.
        world.history.commit(&[(A, &rows)], &[]);
        world.advance(world.history.newest());
        let quotients_expected = world.batch_rows(
            "SELECT a.k, 10 / coalesce(b.v, 0) AS q FROM a LEFT JOIN b ON a.k = b.k",
            world.history.newest(),
        );
        assert_eq!(world.rows(quotients), quotients_expected);
        assert_eq!(world.rows(above), quotients_expected);
        assert_eq!(world.rows(pairs).len(), quotients_expected.len());
        assert_eq!(world.rows(totals).len(), round as usize);
        assert_eq!(world.rows(hidden).len(), if round == 1 { 0 } else { round as usize });
        assert_eq!(world.rows(compared).len(), round as usize);
        assert_eq!(world.rows(outer).len(), 2 * round as usize);
    }
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

#[test]
fn a_large_row_that_meets_many_is_not_made_many_times_at_once() {
    let mut world = World::new();
    let oid = world.view(
        "lengths",
        "SELECT length(b.s || a.s) AS n, count(*) AS pairs FROM a JOIN b ON a.k = b.k GROUP BY 1",
    );
    let large: &'static str = Box::leak("x".repeat(20 << 20).into_boxed_str());
    let large = Row {
        s: Some(large),
        ..row(1, 1, 0)
    };
    world.history.commit(&[(B, &[large])], &[]);
    let rows: Vec<Row> = (0..40).map(|number| row(1, number, 0)).collect();
    world.insert(&rows);
    world.check(oid, &[&format!("{}|40", (20 << 20) + 1)]);
}
