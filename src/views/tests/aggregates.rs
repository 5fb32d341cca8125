//! Random inserts, random steps: every view equals the batch query at each LSN that it is read at (V1).

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// Views over topics and over one another. All in one world, so that one history serves them all.
const DEFINITIONS: &[(&str, &str)] = &[
    ("plain", "SELECT k, v + 1 AS w, s FROM a WHERE v > 2 OR s = 'x'"),
    (
        "by_k",
        "SELECT k, count(*) AS n, count(v) AS nv, sum(v) AS sv, sum(x) AS sx, min(v) AS mv, max(x) AS mx, \
         min(s) AS ms, max(f) AS mf, avg(v) AS av, avg(x) AS ax, sum(f) AS sf \
         FROM a GROUP BY k",
    ),
    (
        "by_s_v",
        "SELECT s, v, count(*) AS n, max(ts) AS last FROM a GROUP BY s, v",
    ),
    (
        "by_expression",
        "SELECT k % 3 AS m, v IS NULL AS nothing, bool_and(v > 3) AS b, bool_or(v > 8) AS o FROM a GROUP BY 1, 2",
    ),
    (
        "filtered",
        "SELECT k, count(*) FILTER (WHERE v > 5) AS n, sum(x) FILTER (WHERE s = 'y') AS sx FROM a GROUP BY k",
    ),
    (
        "groups_kept",
        "SELECT k, sum(v) AS sv FROM a GROUP BY k HAVING count(*) > 2 AND k <> 3",
    ),
    ("total", "SELECT count(*) AS n, sum(x) AS sx, max(s) AS ms FROM a"),
    ("total_where", "SELECT count(*) AS n, min(v) AS mv FROM a WHERE k = 2"),
    ("both", "SELECT k, v FROM a UNION ALL SELECT k, v FROM b WHERE v > 4"),
    (
        "both_by_k",
        "SELECT k, count(*) AS n, sum(v) AS sv FROM (SELECT k, v FROM a UNION ALL SELECT k, v FROM b) u GROUP BY k",
    ),
    ("distinct_s", "SELECT DISTINCT s, k FROM a"),
    // Over views: retractions flow.
    (
        "by_n",
        "SELECT n, count(*) AS groups, sum(sv) AS sv, min(sx) AS mn, max(ms) AS ms, max(mf) AS mf, sum(sf) AS sf, \
         avg(k) AS ak, bool_or(sv > 20) AS b, min(k) AS mk, count(mv) AS c \
         FROM by_k GROUP BY n",
    ),
    ("rich", "SELECT k, sx * 2 AS twice FROM by_k WHERE n > 1"),
    (
        "union_of_views",
        "SELECT k, n FROM by_k UNION ALL SELECT k, sv FROM groups_kept UNION ALL SELECT k, v FROM b",
    ),
    (
        "total_of_views",
        "SELECT count(*) AS n, sum(groups) AS g, max(mk) AS m FROM by_n",
    ),
    (
        "deep",
        "SELECT twice, count(*) AS n FROM rich GROUP BY twice HAVING count(*) > 0",
    ),
    ("of_total", "SELECT n + 1 AS next, sx FROM total WHERE n > 3"),
    ("computed", "SELECT k, 100 / (n + 1) AS q FROM by_k"),
];

pub fn random_row(random: &mut StdRng) -> Row {
    fn some<T>(random: &mut StdRng, value: T) -> Option<T> {
        (random.random_range(0..8) > 0).then_some(value)
    }
    let k = random.random_range(0..6);
    let v = random.random_range(-3..10);
    let x = random.random_range(-1_000_000_000_000..1_000_000_000_000);
    let s = ["x", "y", "zebra", ""][random.random_range(0..4)];
    let f = f64::from(random.random_range(-8..8)) / 4.0;
    let ts = random.random_range(0..100);
    Row {
        k: some(random, k),
        v: some(random, v),
        x: some(random, x),
        s: some(random, s),
        f: some(random, f),
        ts: some(random, ts),
    }
}

#[test]
fn every_view_equals_its_batch_query() {
    equal_their_batches(DEFINITIONS);
}

pub fn equal_their_batches(definitions: &[(&str, &str)]) {
    let definitions: Vec<_> = definitions.iter().map(|(name, sql)| (*name, *sql, *sql)).collect();
    equal_other_words(&definitions);
}

/// Views over random commits, read after random steps, and their rows in other words. In every other round the state is saved
/// and restored.
pub fn equal_other_words(definitions: &[(&str, &str, &str)]) {
    for seed in 0..4 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut world = World::new();
        let oids: Vec<u32> = definitions.iter().map(|(name, sql, _)| world.view(name, sql)).collect();
        for round in 0..8 {
            for _ in 0..random.random_range(0..4) {
                let topic = if random.random_range(0..3) > 0 { A } else { B };
                let rows: Vec<Row> = (0..random.random_range(1..12))
                    .map(|_| random_row(&mut random))
                    .collect();
                world.history.commit(&[(topic, &rows)], &[]);
            }
            world.advance(world.history.newest());
            if round % 2 == 1 {
                let saved = world.pipeline.save().expect("saved");
                world.pipeline.restore(saved).expect("restored");
            }
            if world.pipeline.frontier() == 0 {
                continue;
            }
            // Not every view at every LSN: rows rendered before must not hide later changes.
            for (oid, (name, _, sql)) in oids.iter().zip(definitions) {
                if random.random_range(0..3) > 0 {
                    let expected = world.batch_rows(sql, world.pipeline.frontier());
                    assert_eq!(world.rows(*oid), expected, "seed {seed}, round {round}, view {name}");
                }
            }
        }
    }
}

#[test]
fn a_saved_state_goes_on_as_if_nothing_had_been() {
    let mut random = StdRng::seed_from_u64(7);
    let mut world = World::new();
    let oids: Vec<u32> = DEFINITIONS.iter().map(|(name, sql)| world.view(name, sql)).collect();
    let window = "SELECT window_start, window_end, k, count(*) AS n, max(v) AS m \
                  FROM TUMBLE(a, ts, INTERVAL '10 seconds') GROUP BY 1, 2, 3";
    let windowed = world.view("windowed", window);
    for _ in 0..12 {
        let rows: Vec<Row> = (0..9).map(|_| random_row(&mut random)).collect();
        world.history.commit(&[(A, &rows)], &[]);
        world.history.commit(&[(B, &rows)], &[]);
        world.advance(world.history.newest());
        let saved = world.pipeline.save().expect("saved");
        world.pipeline.restore(saved).expect("restored");
    }
    for (oid, (name, sql)) in oids.iter().zip(DEFINITIONS) {
        let expected = world.batch_rows(sql, world.pipeline.frontier());
        assert_eq!(world.rows(*oid), expected, "view {name}");
    }
    let mut fresh = World::new();
    fresh.history = world.history.clone();
    for (name, sql) in DEFINITIONS {
        fresh.view(name, sql);
    }
    let again = fresh.view("windowed", window);
    assert_eq!(again, windowed);
    for lsn in 1..=world.history.newest() {
        fresh.advance(lsn);
    }
    assert_eq!(fresh.rows(again), world.rows(windowed), "windows");
}

#[test]
fn groups_that_come_and_go_leave_no_trace() {
    let mut world = World::new();
    let inner = world.view("per_key", "SELECT k, sum(v) AS total FROM a GROUP BY k");
    // Each commit moves every key to another total: the groups of the outer view change all the time.
    let outer = world.view(
        "per_total",
        "SELECT total, count(*) AS keys FROM per_key GROUP BY total",
    );
    for round in 0..1500 {
        world.insert(&[row(1, 1, round), row(2, 2, round)]);
        world.advance(world.history.newest());
    }
    assert_eq!(world.rows(inner), ["1|1500", "2|3000"]);
    assert_eq!(world.rows(outer), ["1500|1", "3000|1"]);
    let stats = world.pipeline.view(outer).expect("maintained").instance.bytes();
    assert!(stats < 1 << 20, "dead groups are dropped: {stats} bytes");
}
