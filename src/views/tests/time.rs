//! Sessions, hopping and cumulating windows: equal to the same said with window functions and joins, and cases worked out by
//! hand.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::windows::{at, window};
use super::*;

/// Sessions of a relation with columns k, v and ts by window functions: each row, then `s` and `e`, which bound its session.
fn sessions_of(relation: &str, keys: &str, gap: i64) -> String {
    let (by, and) = match keys {
        "" => (String::new(), String::new()),
        keys => (format!("PARTITION BY {keys}"), format!(", {keys}")),
    };
    format!(
        "(SELECT k, v, ts, min(ts) OVER (PARTITION BY number{and}) AS s, \
         max(ts) OVER (PARTITION BY number{and}) + INTERVAL '{gap} seconds' AS e FROM \
         (SELECT k, v, ts, sum(begins) OVER ({by} ORDER BY ts) AS number FROM \
         (SELECT k, v, ts, CASE WHEN lag(ts) OVER ({by} ORDER BY ts) + INTERVAL '{gap} seconds' > ts THEN 0 ELSE 1 END AS begins \
         FROM {relation}) begun) numbered) grouped"
    )
}

/// The rows of `a` that are not late.
const IN_TIME: &str =
    "(SELECT k, v, ts FROM a WHERE ts >= _watermark OR (_watermark IS NULL AND ts IS NOT NULL)) in_time";
const LATENESS: &str = "(SELECT k, v, ts FROM a WHERE ts + INTERVAL '20 seconds' >= _watermark \
                        OR (_watermark IS NULL AND ts IS NOT NULL)) in_time";
/// Rows that come, change and go.
const MOVING: &str = "SELECT k, count(*) AS v, max(ts) AS ts FROM a GROUP BY k, s HAVING count(*) % 3 <> 0";

/// A view, and its rows in other words.
fn definitions() -> Vec<(&'static str, String, String)> {
    let by_k = sessions_of(IN_TIME, "k", 5);
    let later = sessions_of(LATENESS, "k", 3);
    let all = sessions_of(IN_TIME, "", 2);
    let moving = sessions_of("(SELECT k, v, ts FROM moving WHERE ts IS NOT NULL) m", "k", 6);
    let moving_all = sessions_of("(SELECT k, v, ts FROM moving WHERE ts IS NOT NULL) m", "", 2);
    let several = "(SELECT k, v, ts, date_bin(INTERVAL '15 seconds', ts, TIMESTAMP '1970-01-01') AS s, \
                   date_bin(INTERVAL '15 seconds', ts, TIMESTAMP '1970-01-01') + n * INTERVAL '5 seconds' AS e, _watermark \
                   FROM a, (VALUES (1), (2), (3)) AS steps (n)) windows \
                   WHERE e > ts AND (e > _watermark OR _watermark IS NULL)";
    let hops = "(SELECT k, v, x, s AS t, f, ts, date_bin(INTERVAL '5 seconds', ts, TIMESTAMP '1970-01-01') - n * INTERVAL '5 seconds' AS s, \
                date_bin(INTERVAL '5 seconds', ts, TIMESTAMP '1970-01-01') - n * INTERVAL '5 seconds' + INTERVAL '15 seconds' AS e, _watermark \
                FROM a, (VALUES (0), (1), (2)) AS steps (n)) windows \
                WHERE (e > _watermark OR _watermark IS NULL) AND ts IS NOT NULL";
    let hop = "HOP(a, ts, INTERVAL '5 seconds', INTERVAL '15 seconds')";
    let calls = "count(*) AS n, sum(v) AS sv, sum(x) AS sx, avg(v) AS av, avg(x) AS ax, min(v) AS mv, max(f) AS mf, \
                 bool_and(v > 0) AS b, count(v) FILTER (WHERE v > 1) AS c";
    let watermark = "(SELECT max(ts) - INTERVAL '4 seconds' FROM a)";
    let session = "SESSION(a PARTITION BY k, ts, INTERVAL '5 seconds')";
    // States of these can be added to one another.
    let of_session = "count(*) AS n, sum(v) AS sv, avg(v * 1.5) AS av, min(v) AS lv, max(CAST(v AS TEXT)) AS mv, min(CAST(v AS TEXT)) AS l, \
                      bool_or(v > 3) AS b, count(v) FILTER (WHERE v > 1) AS c, max(ts) AS newest";
    vec![
        ("moving", MOVING.to_string(), MOVING.to_string()),
        (
            "rows",
            format!("SELECT k, v, ts, window_start, window_end FROM {session}"),
            format!("SELECT k, v, ts, s, e FROM {by_k}"),
        ),
        (
            "groups",
            format!(
                "SELECT window_start, window_end, k, count(*) AS n, sum(v) AS sv, min(v) AS mv, max(ts) AS last, count(DISTINCT v) AS d \
                 FROM {session} GROUP BY 1, 2, 3"
            ),
            format!(
                "SELECT s, e, k, count(*) AS n, sum(v) AS sv, min(v) AS mv, max(ts) AS last, count(DISTINCT v) AS d \
                 FROM {by_k} GROUP BY 1, 2, 3"
            ),
        ),
        (
            "groups_kept",
            format!("SELECT window_end, k, window_start, max(v) AS v FROM {session} WHERE v > 0 GROUP BY 1, 2, 3 HAVING count(*) > 1"),
            format!("SELECT e, k, s, max(v) AS v FROM {by_k} WHERE v > 0 GROUP BY 1, 2, 3 HAVING count(*) > 1"),
        ),
        (
            "of_short_ones",
            format!(
                "SELECT k, window_start, window_end, count(*) AS n FROM {session} \
                 WHERE window_end - window_start < INTERVAL '12 seconds' GROUP BY 1, 2, 3"
            ),
            format!("SELECT k, s, e, count(*) AS n FROM {by_k} WHERE e - s < INTERVAL '12 seconds' GROUP BY 1, 2, 3"),
        ),
        (
            "across_keys",
            format!("SELECT window_start, count(*) AS n FROM {session} GROUP BY window_start"),
            format!("SELECT s, count(*) AS n FROM {by_k} GROUP BY s"),
        ),
        (
            "lengths",
            "SELECT n, count(*) AS sessions, max(window_end) AS last FROM groups GROUP BY n".to_string(),
            format!(
                "SELECT n, count(*) AS sessions, max(e) AS last FROM \
                 (SELECT s, e, k, count(*) AS n FROM {by_k} GROUP BY 1, 2, 3) g GROUP BY n"
            ),
        ),
        (
            "summed",
            format!(
                "SELECT window_end, k, {of_session}, window_start FROM {session} GROUP BY window_start, k, window_end"
            ),
            format!("SELECT e, k, {of_session}, s FROM {by_k} GROUP BY s, k, e"),
        ),
        (
            "sums_of_summed",
            "SELECT n, sum(sv) AS sv, min(window_start) AS first, max(window_end) AS last FROM summed GROUP BY n".to_string(),
            format!(
                "SELECT n, sum(sv) AS sv, min(s) AS first, max(e) AS last FROM \
                 (SELECT s, e, k, count(*) AS n, sum(v) AS sv FROM {by_k} GROUP BY 1, 2, 3) g GROUP BY n"
            ),
        ),
        (
            "bounds",
            format!("SELECT k, window_start, window_end FROM {session} GROUP BY 1, 2, 3"),
            format!("SELECT DISTINCT k, s, e FROM {by_k}"),
        ),
        (
            "bounds_by_k",
            "SELECT k, count(*) AS n, max(window_end) AS last FROM bounds GROUP BY k".to_string(),
            format!("SELECT k, count(*) AS n, max(e) AS last FROM (SELECT DISTINCT k, s, e FROM {by_k}) b GROUP BY k"),
        ),
        (
            "later",
            "SELECT window_start, window_end, k, count(*) AS n \
             FROM SESSION(a PARTITION BY k, ts, INTERVAL '3 seconds', allowed_lateness => INTERVAL '20 seconds') GROUP BY 1, 2, 3"
                .to_string(),
            format!("SELECT s, e, k, count(*) AS n FROM {later} GROUP BY 1, 2, 3"),
        ),
        (
            "of_all",
            "SELECT window_start, window_end, count(*) AS n, min(k) AS k FROM SESSION(a, ts, INTERVAL '2 seconds') GROUP BY 1, 2".to_string(),
            format!("SELECT s, e, count(*) AS n, min(k) AS k FROM {all} GROUP BY 1, 2"),
        ),
        (
            "moving_rows",
            "SELECT k, v, ts, window_start, window_end FROM SESSION(moving PARTITION BY k, ts, INTERVAL '6 seconds')".to_string(),
            format!("SELECT k, v, ts, s, e FROM {moving}"),
        ),
        (
            "moving_groups",
            "SELECT window_start, window_end, k, count(*) AS n, sum(v) AS sv \
             FROM SESSION(moving PARTITION BY k, ts, INTERVAL '6 seconds') GROUP BY 1, 2, 3"
                .to_string(),
            format!("SELECT s, e, k, count(*) AS n, sum(v) AS sv FROM {moving} GROUP BY 1, 2, 3"),
        ),
        (
            "moving_all",
            "SELECT window_start, window_end, count(*) AS n FROM SESSION(moving, ts, INTERVAL '2 seconds') GROUP BY 1, 2".to_string(),
            format!("SELECT s, e, count(*) AS n FROM {moving_all} GROUP BY 1, 2"),
        ),
        (
            "closed_sessions",
            format!("SELECT window_start, window_end, k, sum(v) AS sv FROM {session} GROUP BY 1, 2, 3 EMIT ON WINDOW CLOSE"),
            format!("SELECT s, e, k, sum(v) AS sv FROM {by_k} WHERE e <= {watermark} GROUP BY 1, 2, 3"),
        ),
        (
            "hops",
            format!("SELECT window_start, window_end, k, {calls}, max(s) AS ms FROM {hop} GROUP BY 1, 2, 3"),
            format!("SELECT s, e, k, {calls}, max(t) AS ms FROM {hops} GROUP BY 1, 2, 3"),
        ),
        (
            "hops_by_end",
            format!("SELECT k, window_end, {calls} FROM {hop} WHERE v <> 3 GROUP BY 1, 2 HAVING count(*) > 1"),
            format!("SELECT k, e, {calls} FROM {hops} AND v <> 3 GROUP BY 1, 2 HAVING count(*) > 1"),
        ),
        (
            "hops_by_n",
            "SELECT n, sum(sv) AS sv, max(window_end) AS last FROM hops GROUP BY n".to_string(),
            format!(
                "SELECT n, sum(sv) AS sv, max(e) AS last FROM \
                 (SELECT s, e, k, count(*) AS n, sum(v) AS sv FROM {hops} GROUP BY 1, 2, 3) g GROUP BY n"
            ),
        ),
        (
            "closed_hops",
            format!("SELECT window_start, k, {calls} FROM {hop} GROUP BY 1, 2 EMIT ON WINDOW CLOSE"),
            format!("SELECT s, k, {calls} FROM {hops} AND e <= {watermark} GROUP BY 1, 2"),
        ),
        (
            "float_hops",
            format!("SELECT window_start, sum(f) AS sf FROM {hop} GROUP BY 1"),
            format!("SELECT s, sum(f) AS sf FROM {hops} GROUP BY 1"),
        ),
        (
            "hops_of_some",
            format!("SELECT window_start, window_end, count(*) AS n FROM {hop} WHERE window_start >= ts - INTERVAL '7 seconds' GROUP BY 1, 2"),
            format!("SELECT s, e, count(*) AS n FROM {hops} AND s >= ts - INTERVAL '7 seconds' GROUP BY 1, 2"),
        ),
        (
            "cumulated",
            "SELECT window_start, window_end, k, count(*) AS n, sum(v) AS sv \
             FROM CUMULATE(a, ts, INTERVAL '5 seconds', INTERVAL '15 seconds') GROUP BY 1, 2, 3"
                .to_string(),
            format!("SELECT s, e, k, count(*) AS n, sum(v) AS sv FROM {several} GROUP BY 1, 2, 3"),
        ),
    ]
}

#[test]
fn sessions_are_what_window_functions_say() {
    let definitions = definitions();
    for seed in 0..12 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut world = World::new();
        let oids: Vec<u32> = definitions.iter().map(|(name, sql, _)| world.view(name, sql)).collect();
        let mut now = 0;
        for round in 0..10 {
            for _ in 0..random.random_range(1..4) {
                let mut rows: Vec<Row> = Vec::new();
                for _ in 0..random.random_range(1..8) {
                    now += random.random_range(0..4);
                    let mut row = row(
                        random.random_range(0..3),
                        random.random_range(-2..5),
                        now - random.random_range(0..9),
                    );
                    if random.random_range(0..20) == 0 {
                        row.ts = None;
                    }
                    if random.random_range(0..20) == 0 {
                        row.k = None;
                    }
                    rows.push(row);
                }
                world.insert(&rows);
            }
            world.advance(world.history.newest());
            if round % 3 == 1 {
                let saved = world.pipeline.save().expect("saved");
                world.pipeline.restore(saved).expect("restored");
            }
            for (oid, (name, _, said)) in oids.iter().zip(&definitions) {
                let expected = world.batch_rows(said, world.pipeline.frontier());
                assert_eq!(world.rows(*oid), expected, "seed {seed}, round {round}, view {name}");
            }
        }
    }
}

#[test]
fn a_row_between_two_sessions_joins_them() {
    let mut world = World::new();
    let view = world.view(
        "w",
        "SELECT window_start, window_end, count(*) AS n, sum(v) AS s FROM SESSION(a, ts, INTERVAL '5 seconds') GROUP BY 1, 2",
    );
    world.insert(&[row(1, 1, 10), row(1, 2, 18), row(1, 3, 19)]);
    world.check(view, &[&window(10, 15, "1|1"), &window(18, 24, "2|5")]);
    // W = 15: 14 is late. At exactly the end of a session another begins.
    world.insert(&[row(1, 100, 14), row(1, 10, 15)]);
    world.check(view, &[&window(10, 15, "1|1"), &window(15, 24, "3|15")]);
    let skipped = world.pipeline.view(view).expect("maintained").instance.skipped_rows();
    assert_eq!(skipped, (1, 0));
    let (_, _, dataflow) = &world.views[0];
    let rows = batch(&[row(1, 1, 14), row(1, 1, 15)]);
    let late = dataflow.late_rows(&world.topic(A), &rows, Some(15 * SECOND));
    assert_eq!(late.expect("counted"), 1);
    let closes = world.pipeline.view(view).expect("maintained").instance.next_closes();
    assert_eq!(closes, [(A, 24 * SECOND)], "the first has closed");
}

#[test]
fn sessions_that_join_while_they_are_read_are_read_as_they_were() {
    let mut world = World::new();
    let view = world.view(
        "w",
        "SELECT window_start, window_end, k, max(v) AS v FROM SESSION(a PARTITION BY k, ts, INTERVAL '3 seconds') GROUP BY 1, 2, 3",
    );
    world.insert(&[row(1, 1, 10), row(1, 2, 14), row(2, 5, 14)]);
    world.advance(world.history.newest());
    let instance = &mut world.pipeline.view_mut(view).expect("maintained").instance;
    instance.begin_reading().expect("it begins");
    world.insert(&[row(1, 3, 12), row(2, 4, 16)]);
    world.advance(world.history.newest());
    let instance = &mut world.pipeline.view_mut(view).expect("maintained").instance;
    assert_eq!(instance.row_count(), 2);
    let read = instance.read_on(usize::MAX).expect("it renders").expect("all of it");
    let before = [window(10, 13, "1|1"), window(14, 17, "1|2"), window(14, 17, "2|5")];
    assert_eq!(sorted(&read), before);
    world.check(view, &[&window(10, 17, "1|3"), &window(14, 19, "2|5")]);
}

#[test]
fn many_sessions_that_join_leave_no_trace() {
    let mut world = World::new();
    let view = world.view(
        "w",
        "SELECT window_start, window_end, k, count(*) AS n FROM SESSION(a PARTITION BY k, ts, INTERVAL '3 seconds') GROUP BY 1, 2, 3",
    );
    const KEYS: i64 = 2000;
    for times in [&[10, 13, 16][..], &[12, 15], &[14, 17]] {
        let rows: Vec<Row> = times.iter().flat_map(|ts| (0..KEYS).map(|k| row(k, 1, *ts))).collect();
        world.insert(&rows);
        world.advance(world.history.newest());
    }
    let expected: Vec<String> = (0..KEYS).map(|k| window(10, 20, &format!("{k}|7"))).collect();
    let mut rows = world.rows(view);
    rows.sort_by_key(|row| row.split('|').nth(2).map(|key| key.parse::<i64>().expect("a key")));
    assert_eq!(rows, expected);
    let stats = world.pipeline.view(view).expect("maintained").instance.stats();
    assert!(stats.iter().any(|node| node.groups == Some(KEYS as usize)), "{stats:?}");
}

#[test]
fn a_row_that_leaves_splits_a_session() {
    let mut world = World::new();
    world.view("newest", "SELECT k, max(ts) AS ts FROM a GROUP BY k");
    let view = world.view(
        "w",
        "SELECT window_start, window_end, count(*) AS n FROM SESSION(newest, ts, INTERVAL '5 seconds') GROUP BY 1, 2",
    );
    world.insert(&[row(1, 1, 10), row(2, 1, 14), row(3, 1, 18)]);
    world.check(view, &[&window(10, 23, "3")]);
    world.insert(&[row(2, 1, 30)]);
    world.check(
        view,
        &[&window(10, 15, "1"), &window(18, 23, "1"), &window(30, 35, "1")],
    );
}

#[test]
fn sessions_come_out_once_they_have_closed() {
    let mut world = World::new();
    let rows = world.view(
        "rows",
        "SELECT window_end, k, v FROM SESSION(a PARTITION BY k, ts, INTERVAL '5 seconds') EMIT ON WINDOW CLOSE",
    );
    let groups = world.view(
        "groups",
        "SELECT window_start, window_end, k, sum(v) AS s FROM SESSION(a PARTITION BY k, ts, INTERVAL '5 seconds') \
         GROUP BY 1, 2, 3 EMIT ON WINDOW CLOSE",
    );
    world.insert(&[row(1, 1, 3), row(2, 2, 8), row(1, 3, 7)]);
    world.check(rows, &[]);
    // W = 12 closes the one of 1 that ended at 12, not that of 2.
    world.insert(&[row(3, 4, 16)]);
    world.check(rows, &[&format!("{}|1|1", at(12)), &format!("{}|1|3", at(12))]);
    world.check(groups, &[&window(3, 12, "1|4")]);
    world.insert(&[row(1, 5, 11), row(2, 6, 12)]);
    world.history.commit(&[], &[(A, 17)]);
    world.check(groups, &[&window(3, 12, "1|4"), &window(8, 17, "2|8")]);
    let stats = world.pipeline.view(groups).expect("maintained").instance.stats();
    assert!(
        stats.iter().any(|node| node.rows == Some(1)),
        "rows of closed sessions are forgotten: {stats:?}"
    );
}

#[test]
fn a_session_that_grows_costs_its_aggregate_the_new_row_alone() {
    let mut world = World::new();
    let view = world.view(
        "w",
        "SELECT k, window_start, window_end, count(*) AS n FROM SESSION(a PARTITION BY k, ts, INTERVAL '5 seconds') GROUP BY 1, 2, 3",
    );
    for second in 0..500 {
        world.insert(&[row(1, 1, second)]);
        world.advance(world.history.newest());
    }
    assert_eq!(world.rows(view), [format!("1|{}|1970-01-01T00:08:24|500", at(0))]);
    let stats = world.pipeline.view(view).expect("maintained").instance.stats();
    let sessions = stats
        .iter()
        .find(|node| node.skipped.is_some())
        .expect("a session node");
    assert_eq!(sessions.counts.rows_out, 500, "{stats:?}");
}

#[test]
fn rows_of_many_windows_are_gathered_before_they_are_added_to_each() {
    let mut world = World::new();
    let view = world.view(
        "w",
        "SELECT window_start, k, count(*) AS n FROM HOP(a, ts, INTERVAL '1 second', INTERVAL '100 seconds') GROUP BY 1, 2",
    );
    for second in 0..20 {
        let rows: Vec<Row> = (0..50).map(|v| row(1, v, second)).collect();
        world.insert(&rows);
    }
    world.advance(world.history.newest());
    assert_eq!(world.rows(view).len(), 119);
    let stats = world.pipeline.view(view).expect("maintained").instance.stats();
    let window = stats.iter().find(|node| node.skipped.is_some()).expect("a window node");
    assert_eq!(
        (window.counts.rows_in, window.counts.rows_out),
        (1000, 1000),
        "{stats:?}"
    );
    let closes = world.pipeline.view(view).expect("maintained").instance.next_closes();
    assert_eq!(closes, [(A, 16 * SECOND)], "W = 15");
}

#[test]
fn the_dataflow_of_sessions_is_shown() {
    let world = World::new();
    let lines = world
        .dataflow(
            "SELECT k, window_end, count(*) FROM SESSION(a PARTITION BY k, ts, INTERVAL '5 seconds') GROUP BY 1, 2",
        )
        .explain();
    assert!(
        lines.iter().any(|line| line.contains("Session: gap 5 s by [k]")),
        "{lines:?}"
    );
    let lines = world
        .dataflow("SELECT v FROM CUMULATE(a, ts, INTERVAL '5 seconds', INTERVAL '15 seconds')")
        .explain();
    assert!(
        lines.iter().any(|line| line.contains("Cumulate: 15 s by 5 s")),
        "{lines:?}"
    );
}
