//! Joins by time, which drop rows that the watermark has passed: equal to their batch queries all the same (V1).

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// The rows of a topic that are not late.
const LEFT: &str = "(SELECT * FROM a WHERE ts >= _watermark OR _watermark IS NULL) l";
const RIGHT: &str = "(SELECT * FROM b WHERE (ts < _watermark) IS NOT TRUE) r";
const LEFT_WINDOW: &str = "TUMBLE(a, ts, INTERVAL '10 seconds') l";
const RIGHT_WINDOW: &str = "TUMBLE(b, ts, INTERVAL '10 seconds') r";

fn windowed(topic: &str, alias: &str) -> String {
    format!(
        "(SELECT *, bin AS window_start, bin + INTERVAL '10 seconds' AS window_end FROM \
         (SELECT *, _watermark AS w, date_bin(INTERVAL '10 seconds', ts, TIMESTAMP '1970-01-01') AS bin FROM {topic}) binned \
         WHERE ts IS NOT NULL AND (w IS NULL OR bin + INTERVAL '10 seconds' > w)) {alias}"
    )
}

/// A view, and its rows in other words.
fn definitions() -> Vec<(String, String, String)> {
    let mut definitions = Vec::new();
    let near = "l.k = r.k AND r.ts BETWEEN l.ts - INTERVAL '3 seconds' AND l.ts + INTERVAL '5 seconds'";
    let before = "l.ts >= r.ts - INTERVAL '2 seconds' AND l.ts < r.ts AND l.s <> r.s";
    for kind in ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"] {
        for (name, condition) in [("near", near), ("before", before)] {
            let sql = format!(
                "SELECT l.k, l.v, l.ts, r.k AS l, r.v AS w, r.ts AS u FROM {LEFT} {kind} {RIGHT} ON {condition}"
            );
            definitions.push((format!("{name} {kind}"), sql.clone(), sql));
        }
        for (name, condition) in [
            ("windows", "l.window_end = r.window_end"),
            ("keyed windows", "l.window_end = r.window_end AND l.k = r.k"),
            ("windows if", "l.window_start = r.window_start AND l.v < r.v"),
        ] {
            let sql = |left: &str, right: &str| {
                format!(
                    "SELECT l.k, l.v, l.window_end AS e, r.k AS l, r.v AS w FROM {left} {kind} {right} ON {condition}"
                )
            };
            let words = sql(&windowed("a", "l"), &windowed("b", "r"));
            definitions.push((format!("{name} {kind}"), sql(LEFT_WINDOW, RIGHT_WINDOW), words));
        }
        // Groups of windows change until these close.
        let groups = |left: &str, right: &str| {
            format!(
                "SELECT l.window_end AS e, l.k, l.n, r.window_end AS f, r.k AS l, r.m FROM \
                 (SELECT window_end, k, count(*) AS n FROM {left} GROUP BY 1, 2) l {kind} \
                 (SELECT window_end, k, max(v) AS m FROM {right} GROUP BY 1, 2) r \
                 ON l.window_end = r.window_end AND l.k = r.k"
            )
        };
        let words = groups(&windowed("a", "l"), &windowed("b", "r"));
        definitions.push((format!("groups {kind}"), groups(LEFT_WINDOW, RIGHT_WINDOW), words));
        let groups_if = |sql: String| format!("{sql} AND l.n > r.m");
        let words = groups_if(groups(&windowed("a", "l"), &windowed("b", "r")));
        let sql = groups_if(groups(LEFT_WINDOW, RIGHT_WINDOW));
        definitions.push((format!("groups if {kind}"), sql, words));
    }
    for negated in ["", "NOT "] {
        let sql = format!("SELECT l.k, l.v FROM {LEFT} WHERE {negated}EXISTS (SELECT 1 FROM {RIGHT} WHERE {near})");
        definitions.push((format!("{negated}exists"), sql.clone(), sql));
        let sql = |left: &str, right: &str| {
            format!(
                "SELECT l.k, l.v FROM {left} WHERE {negated}EXISTS (SELECT 1 FROM {right} WHERE r.window_end = l.window_end AND r.k = l.k)"
            )
        };
        let words = sql(&windowed("a", "l"), &windowed("b", "r"));
        definitions.push((
            format!("{negated}exists in window"),
            sql(LEFT_WINDOW, RIGHT_WINDOW),
            words,
        ));
    }
    // Floors go on through a join.
    let sql = format!(
        "SELECT l.k, l.v, r.v AS w, q.v AS u FROM {LEFT} JOIN {RIGHT} ON {near} \
         LEFT JOIN (SELECT * FROM a WHERE ts >= _watermark OR _watermark IS NULL) q \
         ON q.s = l.s AND q.ts >= r.ts - INTERVAL '4 seconds' AND q.ts <= r.ts"
    );
    definitions.push(("three".to_string(), sql.clone(), sql));
    definitions
}

/// Rows about a time, of which some come late.
fn rows_about(random: &mut StdRng, at: i64) -> Vec<Row> {
    let rows = 0..random.random_range(1..6);
    let one = |_| {
        let made = row(
            random.random_range(0..3),
            random.random_range(0..6),
            at + random.random_range(-9..4),
        );
        Row {
            ts: made.ts.filter(|_| random.random_range(0..12) > 0),
            k: made.k.filter(|_| random.random_range(0..12) > 0),
            ..made
        }
    };
    rows.map(one).collect()
}

#[test]
fn rows_that_meet_no_later_row_are_dropped() {
    let definitions = definitions();
    for seed in 0..2 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut world = World::new();
        let oids: Vec<u32> = definitions.iter().map(|(name, sql, _)| world.view(name, sql)).collect();
        for round in 0..40 {
            for _ in 0..random.random_range(0..3) {
                // One topic may stand still for a while.
                let topic = if random.random_range(0..10) < 5 - round % 3 {
                    A
                } else {
                    B
                };
                let rows = rows_about(&mut random, round * 4);
                world.history.commit(&[(topic, &rows)], &[]);
            }
            world.advance(world.history.newest());
            if round % 7 == 3 {
                let saved = world.pipeline.save().expect("saved");
                world.pipeline.restore(saved).expect("restored");
            }
            if world.pipeline.frontier() == 0 {
                continue;
            }
            for (oid, (name, _, words)) in oids.iter().zip(&definitions) {
                if random.random_range(0..8) == 0 {
                    let expected = world.batch_rows(words, world.pipeline.frontier());
                    assert_eq!(world.rows(*oid), expected, "seed {seed}, round {round}, view {name}");
                }
            }
        }
        world
            .history
            .commit(&[(A, &[row(1, 1, 1000)]), (B, &[row(1, 1, 1000)])], &[]);
        world.advance(world.history.newest());
        for (oid, (name, ..)) in oids.iter().zip(&definitions) {
            let view = world.pipeline.view(*oid).expect("maintained");
            let kept: usize = view.instance.stats().iter().filter_map(|stats| stats.rows).sum();
            assert!(kept <= 8, "seed {seed}, view {name} keeps {kept} rows");
        }
    }
}

#[test]
fn a_join_that_cannot_drop_rows_says_why() {
    let warnings = |sql: &str| World::new().dataflow(sql).warnings();
    let near = "r.ts BETWEEN l.ts - INTERVAL '3 seconds' AND l.ts + INTERVAL '5 seconds'";
    assert_eq!(
        warnings(&format!("SELECT l.k FROM a l JOIN b r ON l.k = r.k AND {near}")),
        [
            "keeps all rows of a join by time: it could drop those that meet no later row WHERE (l.ts < l._watermark) IS NOT TRUE AND (r.ts < r._watermark) IS NOT TRUE"
        ]
    );
    assert_eq!(
        warnings(&format!("SELECT l.k FROM {LEFT} JOIN {RIGHT} ON l.k = r.k AND {near}")),
        Vec::<String>::new()
    );
    assert_eq!(
        warnings("SELECT l.k FROM a l JOIN b r ON l.k = r.k AND l.v < r.v"),
        Vec::<String>::new()
    );
}
