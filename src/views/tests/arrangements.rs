//! Rows that joins of several views keep together: each view is as if it kept its own, wherever it stands.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::aggregates::random_row;
use super::*;
use crate::views::operators::join::Arrangements;

/// Views over the same rows by the same keys, most of them.
const SHARING: &[(&str, &str)] = &[
    ("pairs", "SELECT a.k, a.v, b.v AS w, b.s FROM a JOIN b ON a.k = b.k"),
    (
        "other_columns",
        "SELECT a.x, a.f, b.x AS y FROM a JOIN b ON b.k = a.k WHERE a.v > b.v",
    ),
    ("same", "SELECT x.k, x.v, y.v AS w FROM a x JOIN a y ON x.k = y.k"),
    (
        "same_if",
        "SELECT x.k, x.s, y.v AS w FROM a x LEFT JOIN a y ON x.k = y.k AND x.v < y.v",
    ),
    ("same_left", "SELECT x.v, y.v AS w FROM a x LEFT JOIN a y ON x.k = y.k"),
    (
        "left_pairs",
        "SELECT a.k, a.s, b.v AS w FROM a LEFT JOIN b ON a.k = b.k",
    ),
    ("right_pairs", "SELECT a.v, b.k, b.s FROM a RIGHT JOIN b ON a.k = b.k"),
    (
        "full_pairs",
        "SELECT a.k, b.k AS l, a.v, b.f FROM a FULL JOIN b ON a.k = b.k",
    ),
    (
        "some",
        "SELECT k, v FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.k = a.k)",
    ),
    (
        "none",
        "SELECT v, s FROM a WHERE NOT EXISTS (SELECT 1 FROM b WHERE b.k = a.k)",
    ),
    (
        "marked",
        "SELECT v, EXISTS (SELECT 1 FROM b WHERE b.k = a.k) AS m FROM a",
    ),
    (
        "alike",
        "SELECT a.v, b.v AS w FROM a JOIN b ON a.k IS NOT DISTINCT FROM b.k",
    ),
    (
        "of_some",
        "SELECT p.v, q.w FROM (SELECT k, v FROM a WHERE v > 2) p JOIN (SELECT k, v + 1 AS w FROM b WHERE s <> 'x') q ON p.k = q.k",
    ),
    (
        "of_some_too",
        "SELECT p.s, q.w FROM (SELECT k, s FROM a WHERE v > 2) p LEFT JOIN (SELECT k, v + 1 AS w FROM b WHERE s <> 'x') q ON p.k = q.k",
    ),
    ("by_s", "SELECT a.v, b.v AS w FROM a JOIN b ON a.s = b.s AND a.k = b.k"),
    (
        "three",
        "SELECT x.v, y.v AS w, z.s FROM a x JOIN b y ON x.k = y.k JOIN a z ON z.k = y.k WHERE x.v = z.v",
    ),
    (
        "with_counts",
        "SELECT a.v, c.n FROM a LEFT JOIN (SELECT k, count(*) AS n FROM b GROUP BY k) c ON a.k = c.k",
    ),
    (
        "with_larger_counts",
        "SELECT a.s, c.n FROM a JOIN (SELECT k, count(*) AS n FROM b GROUP BY k) c ON a.k = c.k AND a.v < c.n",
    ),
    ("all_pairs", "SELECT a.v, b.v AS w FROM a, b"),
    ("number_of_pairs", "SELECT count(*) AS n FROM a, b"),
];

fn maintained(world: &World, name: &str, sql: &str, oid: u32) -> Maintained {
    let dataflow = Arc::new(world.dataflow(sql));
    Maintained::new(oid, name.to_string(), dataflow, Limits::new(world.budget.clone())).expect("compiled")
}

fn commit(world: &World, random: &mut StdRng) {
    let mut some = || -> Vec<Row> {
        let rows = 0..random.random_range(0..6);
        rows.map(|_| random_row(random)).collect()
    };
    let (of_a, of_b) = (some(), some());
    world.history.commit(&[(A, &of_a), (B, &of_b)], &[]);
}

fn rows_of(pipeline: &mut Pipeline, oid: u32) -> Vec<String> {
    let view = pipeline.view_mut(oid).expect("maintained");
    assert!(view.failure.is_none(), "{:?}", view.failure);
    sorted(&view.instance.rows().expect("rows"))
}

#[test]
fn views_at_different_rounds_share_rows() {
    for seed in 0..6 {
        let mut random = StdRng::seed_from_u64(seed);
        let world = World::new();
        let known: Arc<Arrangements> = Arc::default();
        let mut pipelines: Vec<Pipeline> = Vec::new();
        for ((name, sql), oid) in SHARING.iter().zip(1..) {
            let mut pipeline = Pipeline::over(&world.budget, known.clone());
            pipeline.add(maintained(&world, name, sql, oid));
            pipelines.push(pipeline);
        }
        let mut ends: Vec<Lsn> = Vec::new();
        for _ in 0..14 {
            (0..random.random_range(1..4)).for_each(|_| commit(&world, &mut random));
            ends.push(world.history.newest());
        }
        // Each goes on to the end of its next round, whoever's turn it is.
        let mut rounds = vec![0; pipelines.len()];
        while rounds.iter().any(|round| *round < ends.len()) {
            let at = random.random_range(0..pipelines.len());
            let Some(end) = ends.get(rounds[at]) else { continue };
            rounds[at] += 1;
            assert!(pipelines[at].step_to(&*world.history, *end).is_empty());
            if random.random_range(0..3) == 0 || rounds[at] == ends.len() {
                let (name, sql) = SHARING[at];
                let rows = rows_of(&mut pipelines[at], at as u32 + 1);
                assert_eq!(rows, world.batch_rows(sql, *end), "seed {seed}, view {name} at {end}");
            }
        }
        let sharing = pipelines
            .iter()
            .flat_map(Pipeline::views)
            .filter(|view| view.instance.shares());
        assert_eq!(
            sharing.count(),
            SHARING.len() - 2,
            "all but those that compare by other keys"
        );
    }
}

#[test]
fn new_views_go_over_to_the_rows_that_are_kept() {
    for seed in 0..4 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut world = World::new();
        let mut oids: Vec<u32> = Vec::new();
        for (name, sql) in SHARING {
            let oid = world.define(name, sql);
            // It is built in steps of its own.
            let mut built = Pipeline::new(&world.budget);
            built.add(maintained(&world, name, sql, oid));
            let newest = world.history.newest();
            while built.frontier() < newest {
                let upto = newest.min(built.frontier() + random.random_range(1..9));
                assert!(built.step_to(&*world.history, upto).is_empty());
            }
            world.advance(newest);
            built
                .remove(&[oid])
                .into_iter()
                .for_each(|view| world.pipeline.add(view));
            oids.push(oid);
            (0..random.random_range(1..4)).for_each(|_| commit(&world, &mut random));
            world.advance(world.history.newest());
            if random.random_range(0..4) == 0 {
                let gone = oids.remove(random.random_range(0..oids.len()));
                world.pipeline.remove(&[gone]);
            }
            for oid in &oids {
                let (_, view, _) = world.views.iter().find(|(other, ..)| other == oid).expect("defined");
                let (name, sql) = (view.name.clone(), view.definition.clone());
                let expected = world.batch_rows(&sql, world.pipeline.frontier());
                assert_eq!(world.rows(*oid), expected, "seed {seed}, view {name}");
            }
        }
    }
}

fn state_bytes(world: &World, oid: u32) -> usize {
    let view = world.pipeline.view(oid).expect("maintained");
    view.instance.stats().iter().map(|node| node.state_bytes).sum()
}

fn many(from: i64) -> Vec<Row> {
    (0..5000)
        .map(|number| row(from + number % 700, number as i32, 0))
        .collect()
}

#[test]
fn rows_that_two_views_share_take_the_room_of_one() {
    let sql = "SELECT a.k, a.v, b.v AS w FROM a LEFT JOIN b ON a.k = b.k";
    let mut world = World::new();
    let alone = world.view("alone", sql);
    world.history.commit(&[(A, &many(0)), (B, &many(5000))], &[]);
    world.advance(1);
    let bytes = state_bytes(&world, alone);
    let mut world = World::new();
    let first = world.view("first", sql);
    let second = world.view(
        "second",
        "SELECT a.v, b.v AS w FROM a JOIN b ON a.k = b.k WHERE a.v <> b.v",
    );
    world.history.commit(&[(A, &many(0)), (B, &many(5000))], &[]);
    world.advance(1);
    let parts = [first, second].map(|oid| state_bytes(&world, oid));
    assert!(
        parts[0].abs_diff(bytes / 2) < bytes / 50 && parts[1].abs_diff(bytes / 2) < bytes / 50,
        "{parts:?} of {bytes}"
    );
    // One goes, the other keeps all.
    world.pipeline.remove(&[first]);
    assert!(state_bytes(&world, second).abs_diff(bytes) < bytes / 50);
    world.history.commit(&[(A, &[row(5001, -1, 0)])], &[]);
    let expected = world.batch_rows("SELECT a.v, b.v AS w FROM a JOIN b ON a.k = b.k WHERE a.v <> b.v", 2);
    world.advance(2);
    assert_eq!(world.rows(second), expected);
}

#[test]
fn a_view_that_fails_leaves_shared_rows_to_the_others() {
    let mut world = World::new();
    let fails = world.view("fails", "SELECT a.k, 10 / (a.v - b.v) AS q FROM a JOIN b ON a.k = b.k");
    let sql = "SELECT a.k, a.v, b.v AS w FROM a FULL JOIN b ON a.k = b.k";
    let goes_on = world.view("goes_on", sql);
    world
        .history
        .commit(&[(A, &[row(1, 5, 0)]), (B, &[row(1, 7, 0), row(2, 7, 0)])], &[]);
    world
        .history
        .commit(&[(A, &[row(1, 8, 0), row(2, 7, 0), row(3, 1, 0)])], &[]);
    world.history.commit(&[(B, &[row(1, 9, 0), row(3, 1, 0)])], &[]);
    for lsn in 1..=3 {
        world.advance(lsn);
        assert_eq!(world.pipeline.view(fails).expect("there").failure.is_some(), lsn > 1);
        assert_eq!(world.rows(goes_on), world.batch_rows(sql, lsn));
    }
    assert!(!world.pipeline.view(goes_on).expect("there").instance.shares());
}

/// The keys of rows that go leave no trace, though the other side's rows are shared and so keep theirs.
#[test]
fn keys_that_are_gone_are_forgotten_beside_shared_rows() {
    let mut world = World::new();
    world.view("sums", "SELECT k, sum(v) AS sv FROM a GROUP BY k");
    let joined = world.view(
        "joined",
        "SELECT sums.k, sv, b.v FROM sums LEFT JOIN b ON sums.sv = b.x",
    );
    let beside = world.view("beside", "SELECT x.v FROM b x JOIN b y ON x.x = y.x");
    world.history.commit(&[(B, &[row(1, 150, 0)])], &[]);
    for round in 0..12_000 {
        world.insert(&[row(1, 1, round), row(2, 2, round)]);
        world.advance(world.history.newest());
    }
    assert_eq!(world.rows(joined), ["1|12000|-", "2|24000|-"]);
    assert_eq!(world.rows(beside), ["150"]);
    assert!(world.pipeline.view(joined).expect("there").instance.shares());
    let bytes = world.pipeline.view(joined).expect("there").instance.bytes();
    assert!(bytes < 4 << 20, "rows that are gone are dropped: {bytes} bytes");
    world.history.commit(&[(B, &[row(3, 1200, 0), row(4, 2400, 0)])], &[]);
    world.check(joined, &["1|12000|1200", "2|24000|2400"]);
    world.check(beside, &["1200", "150", "2400"]);
}
