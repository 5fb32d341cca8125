//! Conditions on now(): views are equal to their batch queries at the time of the log, whatever the steps, and say what is due.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::aggregates::random_row;
use super::*;
use crate::views::dataflow::NodeWork;

const DEFINITIONS: &[(&str, &str)] = &[
    ("recent", "SELECT k, v FROM a WHERE ts > now() - INTERVAL '10 seconds'"),
    (
        "recent_or_same",
        "SELECT k, v FROM a WHERE localtimestamp - INTERVAL '10 seconds' <= ts AND v > 0",
    ),
    ("past", "SELECT k, v, ts FROM a WHERE ts <= current_timestamp"),
    (
        "before",
        "SELECT k, v FROM a WHERE ts + INTERVAL '5 seconds' < transaction_timestamp()",
    ),
    (
        "between",
        "SELECT k, v FROM a WHERE ts BETWEEN now() - INTERVAL '20 seconds' AND now() + INTERVAL '5 seconds'",
    ),
    (
        "in_its_time",
        "SELECT k, v FROM a WHERE now() BETWEEN ts - INTERVAL '3 seconds' AND ts + INTERVAL '7 seconds'",
    ),
    ("young", "SELECT k, v FROM a WHERE now() - ts < INTERVAL '12 seconds'"),
    (
        "of_age",
        "SELECT k, v FROM a WHERE ts - localtimestamp <= INTERVAL '-6 seconds' AND INTERVAL '1 minute' > now() - ts",
    ),
    (
        "this_second",
        "SELECT k, v FROM a WHERE ts = date_trunc('second', now())",
    ),
    (
        "this_minute",
        "SELECT k, count(*) AS n FROM a WHERE ts >= date_trunc('minute', localtimestamp) GROUP BY k",
    ),
    ("today", "SELECT k, v FROM a WHERE ts::date = current_date"),
    (
        "later_days",
        "SELECT k, v FROM a WHERE ts::date > current_date - 1 AND v > 3",
    ),
    (
        "committed",
        "SELECT k, _lsn AS l FROM a WHERE _timestamp > now() - INTERVAL '6 seconds'",
    ),
    (
        "sums",
        "SELECT k, sum(v) AS sv, count(*) AS n, max(v) AS m FROM a WHERE ts > now() - INTERVAL '10 seconds' GROUP BY k",
    ),
    ("of_recent", "SELECT count(*) AS n, min(v) AS m FROM recent"),
    (
        "recent_of_recent",
        "SELECT q.k, q.n FROM (SELECT r.k, count(*) AS n FROM recent r JOIN past p ON r.k = p.k GROUP BY r.k) q",
    ),
    (
        "joined",
        "SELECT a.k, a.v, b.v AS w FROM a JOIN b ON a.k = b.k \
         WHERE a.ts > now() - INTERVAL '10 seconds' AND b.ts > now() - INTERVAL '20 seconds'",
    ),
    (
        "of_pairs",
        "SELECT a.k, a.v, b.v AS w FROM a JOIN b ON a.k = b.k WHERE a.ts + b.v * INTERVAL '1 second' > now()",
    ),
    (
        "left_joined",
        "SELECT a.k, a.v, b.v AS w FROM a LEFT JOIN b ON a.k = b.k AND b.ts > now() - INTERVAL '12 seconds'",
    ),
    (
        "any_of",
        "SELECT k, v FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.k = a.k AND b.ts > now() - INTERVAL '9 seconds')",
    ),
    ("newest", "SELECT k, max(ts) AS ts, sum(v) AS sv FROM a GROUP BY k"),
    (
        "lately",
        "SELECT k, ts FROM newest WHERE ts > now() - INTERVAL '8 seconds'",
    ),
    ("coming", "SELECT k, ts, sv FROM newest WHERE ts > now()"),
    ("come", "SELECT k, ts, sv FROM newest WHERE now() >= ts"),
    (
        "per_sum",
        "SELECT 100 / sv AS q, k FROM newest WHERE sv <> 0 AND ts > now() - INTERVAL '30 seconds'",
    ),
    (
        "divided_after",
        "SELECT k FROM newest WHERE ts > now() - INTERVAL '30 seconds' AND 100 / (sv * sv + 1) < 20",
    ),
    (
        "having",
        "SELECT k, max(ts) AS last FROM a GROUP BY k HAVING max(ts) > now() - INTERVAL '5 seconds'",
    ),
    (
        "first_two",
        "SELECT k, v FROM (SELECT k, v, row_number() OVER (PARTITION BY k ORDER BY v, x, s, f, ts) AS n FROM a \
         WHERE ts > now() - INTERVAL '15 seconds') q WHERE n <= 2",
    ),
    (
        "first_if_recent",
        "SELECT k, v FROM (SELECT k, v, ts, row_number() OVER (PARTITION BY k ORDER BY v, x, s, f, ts) AS n FROM a) q \
         WHERE n <= 2 AND ts > now() - INTERVAL '15 seconds'",
    ),
    (
        "either",
        "SELECT k, v FROM a WHERE ts > now() - INTERVAL '4 seconds' UNION SELECT k, v FROM b WHERE ts < now()",
    ),
];

/// Commits and ticks; the seconds between two are few or many.
fn go_on(world: &World, random: &mut StdRng) {
    match random.random_range(0..3) {
        0 => {
            let time = world.history.time(world.history.newest()) / SECOND;
            world.history.tick(time + random.random_range(0..15));
        }
        topic => {
            let rows: Vec<Row> = (0..random.random_range(1..8)).map(|_| random_row(random)).collect();
            world.history.commit(&[(if topic == 1 { A } else { B }, &rows)], &[]);
        }
    }
}

#[test]
fn rows_enter_and_leave_with_the_time_of_the_log() {
    for seed in 0..4 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut world = World::new();
        let oids: Vec<u32> = DEFINITIONS.iter().map(|(name, sql)| world.view(name, sql)).collect();
        for round in 0..12 {
            (0..random.random_range(1..4)).for_each(|_| go_on(&world, &mut random));
            world.advance(world.history.newest());
            if round % 3 == 1 {
                let saved = world.pipeline.save().expect("saved");
                world.pipeline.restore(saved).expect("restored");
            }
            for (oid, (name, sql)) in oids.iter().zip(DEFINITIONS) {
                if random.random_range(0..3) == 0 {
                    let expected = world.batch_rows(sql, world.pipeline.frontier());
                    assert_eq!(world.rows(*oid), expected, "seed {seed}, round {round}, view {name}");
                }
            }
        }
        let shown: Vec<Vec<String>> = oids.iter().map(|oid| world.rows(*oid)).collect();
        // A replay in steps of one commit, and in one step.
        for is_slow in [true, false] {
            let mut again = World::new();
            again.history = world.history.clone();
            let oids: Vec<u32> = DEFINITIONS.iter().map(|(name, sql)| again.view(name, sql)).collect();
            if is_slow {
                (1..again.history.newest()).for_each(|lsn| again.advance(lsn));
            }
            again.advance(again.history.newest());
            for ((oid, (name, _)), shown) in oids.iter().zip(DEFINITIONS).zip(&shown) {
                assert_eq!(again.rows(*oid), *shown, "seed {seed}, slow {is_slow}, view {name}");
            }
        }
    }
}

/// Whether a step at a time, in seconds, would change rows.
fn is_due(world: &World, view: u32, time: i64) -> bool {
    let pending = world.pipeline.view(view).expect("maintained").instance.pending();
    pending.iter().any(|rows| rows.is_due(time * SECOND))
}

fn kept_rows(world: &World, view: u32) -> usize {
    let stats = world.pipeline.view(view).expect("maintained").instance.stats();
    stats.iter().filter_map(|node| node.rows).sum()
}

#[test]
fn a_row_is_due_when_its_time_comes() {
    let mut world = World::new();
    let leaves = world.view("leaves", "SELECT v FROM a WHERE ts > now() - INTERVAL '10 seconds'");
    let stays = world.view("stays", "SELECT v FROM a WHERE ts >= now() - INTERVAL '10 seconds'");
    let enters = world.view("enters", "SELECT v FROM a WHERE ts <= now()");
    let entered = world.view("entered", "SELECT v FROM a WHERE ts < now()");
    let views = [leaves, stays, enters, entered];
    // All at second 1.
    world.insert(&[row(1, 1, 50), row(1, 2, 70)]);
    world.check(leaves, &["1", "2"]);
    world.check(enters, &[]);
    let due = |world: &World, time: i64| views.map(|view| is_due(world, view, time));
    assert_eq!(due(&world, 49), [false; 4]);
    assert_eq!(due(&world, 50), [false, false, true, false]);
    assert_eq!(due(&world, 51), [false, false, true, true]);
    assert_eq!(due(&world, 60), [true, false, true, true]);
    assert_eq!(due(&world, 61), [true; 4]);
    world.history.tick(60);
    world.check(leaves, &["2"]);
    world.check(stays, &["1", "2"]);
    world.check(enters, &["1"]);
    world.check(entered, &["1"]);
    assert_eq!(due(&world, 60), [false; 4]);
    assert_eq!(
        views.map(|view| kept_rows(&world, view)),
        [1, 2, 1, 1],
        "what has been passed is let go"
    );
    world.history.tick(200);
    world.check(leaves, &[]);
    world.check(stays, &[]);
    world.check(enters, &["1", "2"]);
    assert_eq!(due(&world, 10_000), [false; 4]);
    assert_eq!(views.map(|view| kept_rows(&world, view)), [0; 4]);
    // Rows whose time was over when they came are never held.
    world.insert(&[row(1, 9, 150)]);
    world.check(leaves, &[]);
    world.check(entered, &["1", "2", "9"]);
    assert_eq!(views.map(|view| kept_rows(&world, view)), [0; 4]);
}

#[test]
fn a_view_that_rows_only_enter_only_grows() {
    let world = World::new();
    let grows = |sql: &str| world.dataflow(sql).append_only;
    assert!(grows("SELECT v FROM a WHERE ts <= now() - INTERVAL '1 day'"));
    assert!(
        !grows("SELECT v FROM a WHERE ts <= now() - INTERVAL '1 month'"),
        "months are of different lengths"
    );
    assert!(!grows("SELECT v FROM a WHERE ts > now() - INTERVAL '1 day'"));
    let zoned = World {
        time_zone: "Europe/Berlin",
        ..World::new()
    };
    assert!(
        zoned
            .dataflow("SELECT v FROM a WHERE ts <= now() - INTERVAL '1 hour'")
            .append_only
    );
    assert!(
        !zoned
            .dataflow("SELECT v FROM a WHERE ts <= now() - INTERVAL '1 day'")
            .append_only
    );
}

/// Seconds of a day of 2026 in UTC.
fn seconds(day: i64, hour: i64, minute: i64) -> i64 {
    const NEW_YEAR_2026: i64 = 1_767_225_600;
    NEW_YEAR_2026 + ((day - 1) * 24 + hour) * 3600 + minute * 60
}

#[test]
fn a_clock_that_falls_back_shows_rows_again() {
    let mut world = World {
        time_zone: "Europe/Berlin",
        ..World::new()
    };
    let sql = "SELECT v FROM a WHERE ts > localtimestamp";
    let coming = world.view("coming", sql);
    let come = world.view("come", "SELECT v FROM a WHERE ts <= localtimestamp");
    // 2026-10-25 is the 298th day; summer time ends at 01:00 UTC, when it is 3:00.
    world.history.tick(seconds(297, 12, 0));
    world.insert(&[
        row(1, 1, seconds(298, 2, 30)),
        row(1, 2, seconds(298, 2, 50)),
        row(1, 3, seconds(298, 3, 30)),
    ]);
    world.check(coming, &["1", "2", "3"]);
    let steps: [((i64, i64), &[&str]); 5] = [
        ((0, 40), &["2", "3"]),
        ((0, 55), &["3"]),
        // 2:10 for the second time
        ((1, 10), &["1", "2", "3"]),
        ((1, 40), &["2", "3"]),
        ((3, 0), &[]),
    ];
    for ((hour, minute), expected) in steps {
        let time = seconds(298, hour, minute);
        assert!(is_due(&world, coming, time), "at {hour}:{minute}");
        let at = world.history.tick(time);
        world.check(coming, expected);
        assert_eq!(world.batch_rows(sql, at), expected);
        assert_eq!(world.rows(come).len(), 3 - expected.len());
        let saved = world.pipeline.save().expect("saved");
        world.pipeline.restore(saved).expect("restored");
    }
    world.history.tick(seconds(310, 0, 0));
    world.check(come, &["1", "2", "3"]);
    assert_eq!([coming, come].map(|view| kept_rows(&world, view)), [0, 0]);
}

#[test]
fn months_of_different_lengths_show_rows_again() {
    let mut world = World::new();
    let sql = "SELECT v FROM a WHERE ts > now() - INTERVAL '1 month'";
    let view = world.view("recent", sql);
    world.history.tick(seconds(50, 0, 0));
    // 28 February is the 59th day, 29 March the 88th.
    world.insert(&[row(1, 1, seconds(59, 12, 0)), row(1, 2, seconds(59, 23, 30))]);
    let steps: [((i64, i64), &[&str]); 4] = [
        ((88, 13), &["2"]),
        ((89, 1), &["1", "2"]),
        ((89, 13), &["2"]),
        ((91, 0), &[]),
    ];
    for ((day, hour), expected) in steps {
        let at = world.history.tick(seconds(day, hour, 0));
        world.check(view, expected);
        assert_eq!(world.batch_rows(sql, at), expected);
    }
}

#[test]
fn rows_that_come_and_go_are_not_held_for_ever() {
    let mut world = World::new();
    world.view("newest", "SELECT k, sum(v) AS sv, max(ts) AS ts FROM a GROUP BY k");
    let view = world.view("coming", "SELECT k, sv FROM newest WHERE ts > now() - INTERVAL '1 day'");
    for round in 0..1000 {
        world.insert(&[row(1, 1, round), row(2, 2, 0)]);
        world.advance(world.history.newest());
    }
    assert_eq!(world.rows(view), ["1|1000", "2|2000"]);
    let kept = kept_rows(&world, view);
    assert!(kept < 100, "{kept} rows are held");
}

#[test]
fn rows_leave_sessions_and_windows_that_have_closed() {
    use super::windows::window;
    let mut world = World::new();
    let sessions = world.view(
        "sessions",
        "WITH r AS (SELECT v, ts FROM a WHERE ts > now() - INTERVAL '30 seconds') \
         SELECT window_start, window_end, count(*) AS n FROM SESSION(r, ts, INTERVAL '5 seconds') GROUP BY 1, 2",
    );
    let windows = world.view(
        "windows",
        "WITH r AS (SELECT v, ts FROM a WHERE ts > now() - INTERVAL '30 seconds') \
         SELECT window_start, window_end, count(*) AS n FROM TUMBLE(r, ts, INTERVAL '10 seconds') GROUP BY 1, 2",
    );
    world.insert(&[row(1, 1, 1), row(1, 2, 4), row(1, 3, 7)]);
    world.insert(&[row(1, 4, 30)]);
    // W = 26: all of these have closed, and 2 is late.
    world.insert(&[row(1, 5, 2)]);
    world.check(sessions, &[&window(1, 12, "3"), &window(30, 35, "1")]);
    world.check(windows, &[&window(0, 10, "3"), &window(30, 40, "1")]);
    world.history.tick(34);
    world.check(sessions, &[&window(7, 12, "1"), &window(30, 35, "1")]);
    world.check(windows, &[&window(0, 10, "1"), &window(30, 40, "1")]);
    let skipped = world
        .pipeline
        .view(windows)
        .expect("maintained")
        .instance
        .skipped_rows();
    assert_eq!(skipped, (1, 0));
    world.history.tick(60);
    world.check(sessions, &[]);
    world.check(windows, &[]);
}

#[test]
fn a_condition_on_time_is_shown() {
    let lines = World::new()
        .dataflow("SELECT k FROM a WHERE v > 3 AND ts > now() - INTERVAL '1 hour' AND 6 / v = 3")
        .explain();
    let kinds: Vec<&str> = lines
        .iter()
        .map(|line| {
            line.trim_start_matches([' ', '-', '>'])
                .split(':')
                .next()
                .expect("a kind")
        })
        .collect();
    assert_eq!(
        kinds,
        ["Columns", "Filter", "Temporal filter", "Filter", "Topic a"],
        "{lines:?}"
    );
}

#[test]
fn other_questions_of_the_time_are_recomputed() {
    let world = World::new();
    let reason = |sql: &str| match world.compile(sql) {
        CompiledView::Recompute { reason } => reason,
        CompiledView::Incremental(dataflow) => panic!("{sql} is kept: {:?}", dataflow.explain()),
    };
    for sql in [
        "SELECT v FROM a WHERE ts > now() OR v > 3",
        "SELECT v FROM a WHERE ts <> now()",
        "SELECT v FROM a WHERE ts > now() - v * INTERVAL '1 second'",
        "SELECT v FROM a WHERE now() - ts > ts - now()",
        "SELECT v FROM a WHERE extract(hour FROM ts) = extract(hour FROM now())",
        "SELECT v FROM a WHERE now() > now() - INTERVAL '1 day'",
    ] {
        assert!(
            reason(sql).contains("is no comparison of a time of the row with one of the clock"),
            "{sql}: {}",
            reason(sql)
        );
    }
    assert!(reason("SELECT v, now() AS n FROM a").contains("depends on when it is asked"));
    let refused =
        compile(&world.plan("SELECT v, localtimestamp AS n FROM a"), "UTC").expect_err("it has no one answer");
    assert_eq!(refused.state, crate::error::state::FEATURE_NOT_SUPPORTED);
}

#[test]
fn what_may_fail_waits_for_the_end_of_a_step() {
    let held = |sql: &str| {
        let mut world = World::new();
        world.define("newest", "SELECT k, max(ts) AS ts, sum(v) AS sv FROM a GROUP BY k");
        let dataflow = world.dataflow(sql);
        let timed = dataflow.nodes.iter().filter_map(|node| match &node.step {
            NodeWork::Temporal(spec) => Some(spec.holds_output),
            _ => None,
        });
        timed.collect::<Vec<_>>()
    };
    assert_eq!(held("SELECT 1 / v FROM a WHERE ts > now()"), [false]);
    assert_eq!(held("SELECT k FROM newest WHERE ts > now()"), [false]);
    assert_eq!(held("SELECT 1 / sv FROM newest WHERE ts > now()"), [true]);

    // The row whose division fails is gone at the end of the step in which it would come.
    let mut world = World::new();
    world.view("newest", "SELECT k, max(ts) AS ts, sum(v) AS sv FROM a GROUP BY k");
    let view = world.view("view", "SELECT k, 1 / sv AS q FROM newest WHERE ts <= now()");
    world.insert(&[row(1, 0, 20)]);
    world.check(view, &[]);
    world.history.tick(30);
    world.insert(&[row(1, 1, 25)]);
    world.check(view, &["1|1"]);
}
