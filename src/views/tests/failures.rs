//! A view that meets an error stops before the commit that caused it, and disturbs nothing else.

use super::*;
use crate::error::state;

#[test]
fn a_division_by_zero_is_found_to_the_row() {
    let mut world = World::new();
    let bad = world.view("bad", "SELECT k, 10 / v AS q FROM a");
    let above = world.view("above", "SELECT k, count(*) AS n FROM bad GROUP BY k");
    let good = world.view("good", "SELECT count(*) AS n FROM a");
    world.insert(&[row(1, 1, 0), row(2, 2, 0)]);
    world.insert(&[row(3, 3, 0)]);
    world.insert(&[row(4, 4, 0), row(5, 0, 0), row(6, 0, 0)]);
    world.insert(&[row(7, 7, 0)]);
    world.check(good, &["7"]);
    for oid in [bad, above] {
        let failure = world
            .pipeline
            .view(oid)
            .and_then(|view| view.failure.clone())
            .expect("failed");
        assert_eq!(failure.lsn, 3);
        assert_eq!(failure.error.state, state::DIVISION_BY_ZERO);
        assert_eq!(failure.place, Some(("a".to_string(), 0, 4)));
        assert_eq!(failure.view, "bad");
    }
    world.insert(&[row(8, 8, 0)]);
    world.check(good, &["8"]);
}

#[test]
fn an_error_above_an_aggregate_is_found_to_the_commit() {
    let mut world = World::new();
    let bad = world.view("bad", "SELECT k, 10 / sum(v) AS q FROM a GROUP BY k");
    for (k, v) in [(1, 5), (2, 3), (2, -1), (1, -5), (1, 3), (3, 1)] {
        world.insert(&[row(k, v, 0)]);
    }
    // Merged into one step the sums are 3, 2 and 1: nobody sees the zero.
    let mut merged = World::new();
    merged.history = world.history.clone();
    let fine = merged.view("fine", "SELECT k, 10 / sum(v) AS q FROM a GROUP BY k");
    merged.check(fine, &["1|3", "2|5", "3|10"]);
    world.advance(2);
    world.advance(4);
    let failure = world
        .pipeline
        .view(bad)
        .and_then(|view| view.failure.clone())
        .expect("failed");
    assert_eq!((failure.lsn, failure.error.state), (4, state::DIVISION_BY_ZERO));
}

#[test]
fn a_sum_out_of_range_is_22003() {
    let mut world = World::new();
    let bad = world.view("bad", "SELECT sum(x * x) AS s FROM a");
    world.insert(&[row(1, 1, 0)]);
    let mut huge = row(1, 1, 0);
    huge.x = Some(i64::MAX);
    world.insert(&[huge]);
    world.advance(2);
    let failure = world
        .pipeline
        .view(bad)
        .and_then(|view| view.failure.clone())
        .expect("failed");
    assert_eq!(
        (failure.lsn, failure.error.state),
        (2, state::NUMERIC_VALUE_OUT_OF_RANGE)
    );
}

#[test]
fn a_filter_clause_guards_its_argument() {
    let mut world = World::new();
    let view = world.view("guarded", "SELECT sum(10 / v) FILTER (WHERE v <> 0) AS s FROM a");
    world.insert(&[row(1, 0, 0), row(1, 2, 0), row(1, 0, 0), row(1, 5, 0)]);
    world.check(view, &["7"]);
}
