//! Plans that are compiled, with the dataflow of each, and plans that are left to recomputation.

use super::*;
use crate::views::dataflow::NodeWork;
use crate::views::explain;

fn tree(sql: &str) -> Vec<String> {
    explain::lines(&World::new().dataflow(sql), None)
}

fn reason(sql: &str) -> String {
    match World::new().compile(sql) {
        CompiledView::Recompute { reason } => reason,
        CompiledView::Incremental(dataflow) => panic!("{sql} is kept: {:?}", explain::lines(&dataflow, None)),
    }
}

#[test]
fn only_the_columns_that_are_needed_are_read() {
    let lines = tree("SELECT k, count(*) AS n FROM a WHERE v > 3 GROUP BY k");
    assert_eq!(lines.last().expect("a scan").trim(), "-> Topic a: k, v");
}

#[test]
fn a_filter_on_a_key_goes_below_the_aggregate() {
    let lines = tree("SELECT k, n FROM (SELECT k, count(*) AS n FROM a GROUP BY k) q WHERE k > 3 AND n > 2");
    let at = |start: &str| {
        let found = lines
            .iter()
            .position(|line| line.trim_start_matches([' ', '-', '>']).starts_with(start));
        found.unwrap_or_else(|| panic!("{start} in {lines:?}"))
    };
    let filters: Vec<usize> = (0..lines.len())
        .filter(|line| lines[*line].contains("Filter:"))
        .collect();
    assert_eq!(filters.len(), 2, "{lines:?}");
    assert!(
        filters[0] < at("Aggregate") && at("Aggregate") < filters[1],
        "{lines:?}"
    );
}

#[test]
fn a_windowed_aggregate_is_one_pass() {
    let lines = tree(
        "SELECT window_start, window_end, k, count(*) AS bids, max(v) AS top \
         FROM TUMBLE(a, ts, INTERVAL '10 seconds') GROUP BY window_start, window_end, k",
    );
    let kinds: Vec<&str> = lines
        .iter()
        .map(|line| line.trim_start_matches([' ', '-', '>']))
        .collect();
    assert!(kinds.iter().any(|line| line.starts_with("Tumble: 10 s")), "{lines:?}");
    assert!(
        kinds
            .last()
            .expect("a scan")
            .starts_with("Topic a: k, v, ts, _watermark"),
        "{lines:?}"
    );
}

#[test]
fn what_has_no_incremental_form_says_why() {
    assert!(reason("SELECT array_agg(k) FROM a").contains("in any order"));
    assert!(reason("SELECT string_agg(s, ',') FROM a").contains("string_agg"));
    assert!(reason("SELECT f FROM a EXCEPT ALL SELECT f FROM b").contains("EXCEPT ALL"));
}

#[test]
fn a_join_without_equal_columns_is_warned_of() {
    let warnings = |sql: &str| World::new().dataflow(sql).warnings();
    assert_eq!(
        warnings("SELECT a.k FROM a JOIN b ON a.k = b.k AND a.v < b.v"),
        Vec::<String>::new()
    );
    assert_eq!(warnings("SELECT k FROM a, (VALUES (1), (2)) q"), Vec::<String>::new());
    let crossed = warnings("SELECT a.k FROM a JOIN b ON a.k < b.k");
    assert_eq!(
        crossed,
        ["joins without equal columns (Inner join: a.k < b.k): each row that changes meets all of the other side"]
    );
}

#[test]
fn a_condition_that_may_fail_waits_for_the_step_to_end() {
    let held = |sql: &str| {
        let mut world = World::new();
        world.define("sums", "SELECT k, sum(v) AS sv FROM a GROUP BY k");
        let dataflow = world.dataflow(sql);
        let joins = dataflow.nodes.iter().filter_map(|node| match &node.step {
            NodeWork::Join(spec) => Some((spec.holds_inputs, spec.holds_output)),
            _ => None,
        });
        joins.collect::<Vec<_>>()
    };
    assert_eq!(
        held("SELECT a.k + b.v FROM a JOIN b ON a.k = b.k AND 1 / a.v > 0"),
        [([false; 2], false)]
    );
    assert_eq!(
        held("SELECT a.k, b.v FROM a LEFT JOIN b ON a.k = b.k"),
        [([false; 2], false)]
    );
    assert_eq!(
        held("SELECT a.k + b.v FROM a LEFT JOIN b ON a.k = b.k"),
        [([false; 2], true)]
    );
    assert_eq!(
        held("SELECT a.k FROM a JOIN sums ON a.k = sums.k AND 1 / sv > a.v"),
        [([true; 2], false)]
    );
    assert_eq!(held("SELECT a.k FROM a, sums"), [([false, true], false)]);
}

#[test]
fn an_order_without_a_limit_means_nothing_to_a_view() {
    let mut world = World::new();
    let view = world.view("ordered", "SELECT k, v FROM a ORDER BY v DESC");
    world.insert(&[row(1, 2, 0), row(2, 5, 0)]);
    world.check(view, &["1|2", "2|5"]);
}

#[test]
fn hidden_columns_flow() {
    let mut world = World::new();
    let view = world.view("hidden", "SELECT _offset AS o, _partition AS p, _lsn AS l, v FROM a");
    world.insert(&[row(1, 2, 0), row(2, 5, 0)]);
    world.insert(&[row(3, 7, 0)]);
    world.check(view, &["0|0|1|2", "1|0|1|5", "2|0|2|7"]);
}

#[test]
fn a_total_over_nothing_is_one_row() {
    let mut world = World::new();
    let total = world.view("total", "SELECT count(*) AS n, sum(v) AS s FROM a");
    let above = world.view("above", "SELECT count(*) AS rows, sum(n) AS n FROM total");
    assert_eq!(world.rows(total), ["0|-"]);
    world.history.commit(&[(B, &[row(1, 1, 1)])], &[]);
    world.check(total, &["0|-"]);
    world.check(above, &["1|0"]);
    world.insert(&[row(1, 4, 0)]);
    world.check(total, &["1|4"]);
    world.check(above, &["1|1"]);
}

#[test]
fn a_view_over_a_view_that_is_read_before_it_steps() {
    let mut world = World::new();
    let below = world.view("below", "SELECT k, count(*) AS n FROM a GROUP BY k");
    world.insert(&[row(1, 1, 0), row(1, 1, 0), row(2, 1, 0)]);
    world.advance(1);
    assert_eq!(world.rows(below), ["1|2", "2|1"]);
    // Made late: built beside, then taken over.
    world.define("late", "SELECT n, count(*) AS keys FROM below GROUP BY n");
    let (oid, view, dataflow) = world.views.last().expect("defined").clone();
    let limits = Limits::new(world.budget.clone());
    let mut built = world.pipeline.copy_of(&[below], &limits).expect("a copy");
    built.add(Maintained::new(oid, view.name.clone(), Arc::new(dataflow), limits).expect("compiled"));
    built.advance(&*world.history, 1);
    for taken in built.remove(&[oid]) {
        world.pipeline.add(taken);
    }
    world.insert(&[row(2, 1, 0), row(3, 1, 0)]);
    world.check(oid, &["1|1", "2|2"]);
}
