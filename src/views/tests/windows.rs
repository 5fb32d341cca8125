//! Windows, lateness and closing: cases worked out by hand. Topic `a` has a delay of 4 seconds.

use super::*;

/// Seconds of a day as the display form of a timestamp.
pub fn at(seconds: i64) -> String {
    format!("1970-01-01T00:{:02}:{:02}", seconds / 60, seconds % 60)
}

pub fn window(start: i64, end: i64, rest: &str) -> String {
    format!("{}|{}|{rest}", at(start), at(end))
}

#[test]
fn tumbling_windows_skip_late_rows() {
    let mut world = World::new();
    let view = world.view(
        "w",
        "SELECT window_start, window_end, k, count(*) AS n FROM TUMBLE(a, ts, INTERVAL '10 seconds') GROUP BY 1, 2, 3",
    );
    world.insert(&[row(1, 1, 3), row(1, 1, 14)]);
    world.check(view, &[&window(0, 10, "1|1"), &window(10, 20, "1|1")]);
    // W = 10: the window [0, 10) has closed; 9 is late, 12 is behind but its window is open.
    let mut null_time = row(1, 1, 0);
    null_time.ts = None;
    world.insert(&[row(1, 1, 9), row(1, 1, 12), null_time]);
    world.check(view, &[&window(0, 10, "1|1"), &window(10, 20, "1|2")]);
    let skipped = world.pipeline.view(view).expect("maintained").instance.skipped_rows();
    assert_eq!(skipped, (1, 1));
    // Before it is committed, the INSERT's notice says the same.
    let (_, _, dataflow) = &world.views[0];
    let late = dataflow.late_rows(
        &world.topic(A),
        &batch(&[row(1, 1, 9), row(2, 2, 11), row(2, 2, 0)]),
        Some(10 * SECOND),
    );
    assert_eq!(late.expect("counted"), 2);
}

#[test]
fn one_step_over_many_commits_skips_the_same_rows() {
    let commits: &[&[i64]] = &[&[3, 14], &[9, 12], &[25], &[19, 18, 21], &[2, 33], &[30]];
    let sql = "SELECT window_start, window_end, count(*) AS n FROM HOP(a, ts, INTERVAL '5 seconds', INTERVAL '10 seconds') GROUP BY 1, 2";
    let mut answers = Vec::new();
    for stepwise in [true, false] {
        let mut world = World::new();
        let view = world.view("w", sql);
        for times in commits {
            let rows: Vec<Row> = times.iter().map(|ts| row(1, 1, *ts)).collect();
            let lsn = world.insert(&rows);
            if stepwise {
                world.advance(lsn);
            }
        }
        world.advance(world.history.newest());
        let skipped = world.pipeline.view(view).expect("maintained").instance.skipped_rows();
        answers.push((world.rows(view), skipped));
    }
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn emit_on_window_close_shows_each_window_once_and_forgets_it() {
    let mut world = World::new();
    let view = world.view(
        "w",
        "SELECT window_start, window_end, k, sum(v) AS s FROM TUMBLE(a, ts, INTERVAL '10 seconds') \
         GROUP BY window_start, window_end, k EMIT ON WINDOW CLOSE",
    );
    let above = world.view("above", "SELECT k, count(*) AS windows FROM w GROUP BY k");
    world.insert(&[row(1, 1, 3), row(2, 5, 8), row(1, 1, 12)]);
    world.check(view, &[]);
    world.insert(&[row(1, 2, 9), row(1, 9, 13)]);
    world.check(view, &[]);
    // W = 10.
    world.insert(&[row(3, 1, 14)]);
    let first = [window(0, 10, "1|3"), window(0, 10, "2|5")];
    world.check(view, &[&first[0], &first[1]]);
    world.check(above, &["1|1", "2|1"]);
    world.insert(&[row(1, 100, 9)]);
    world.check(view, &[&first[0], &first[1]]);
    // An advance without rows closes too.
    world.history.commit(&[], &[(A, 20)]);
    world.check(
        view,
        &[&first[0], &first[1], &window(10, 20, "1|10"), &window(10, 20, "3|1")],
    );
    world.check(above, &["1|2", "2|1", "3|1"]);
    let stats = world.pipeline.view(view).expect("maintained").instance.stats();
    assert!(
        stats.iter().any(|node| node.groups == Some(0)),
        "closed groups have left: {stats:?}"
    );
}

#[test]
fn rows_without_an_aggregate_are_held_until_their_window_closes() {
    let mut world = World::new();
    let view = world.view(
        "w",
        "SELECT window_end, v FROM TUMBLE(a, ts, INTERVAL '10 seconds') WHERE v > 1 EMIT ON WINDOW CLOSE",
    );
    world.insert(&[row(1, 1, 3), row(1, 2, 4), row(1, 3, 12)]);
    world.check(view, &[]);
    world.insert(&[row(1, 4, 14)]);
    world.check(view, &[&format!("{}|2", at(10))]);
}

#[test]
fn allowed_lateness_keeps_windows_open_longer() {
    let mut world = World::new();
    let view = world.view(
        "w",
        "SELECT window_start, window_end, count(*) AS n \
         FROM TUMBLE(a, ts, INTERVAL '10 seconds', allowed_lateness => INTERVAL '5 seconds') \
         GROUP BY 1, 2 EMIT ON WINDOW CLOSE",
    );
    world.insert(&[row(1, 1, 3), row(1, 1, 14)]);
    world.insert(&[row(1, 1, 9)]);
    world.check(view, &[]);
    world.insert(&[row(1, 1, 19)]);
    world.check(view, &[&window(0, 10, "2")]);
}

#[test]
fn the_next_close_is_known() {
    let mut world = World::new();
    let view = world.view(
        "w",
        "SELECT window_end, count(*) AS n FROM TUMBLE(a, ts, INTERVAL '10 seconds') GROUP BY 1",
    );
    world.insert(&[row(1, 1, 23), row(1, 1, 25)]);
    world.advance(1);
    let closes = world.pipeline.view(view).expect("maintained").instance.next_closes();
    assert_eq!(closes, [(A, 30 * SECOND)]);
    world.history.commit(&[], &[(A, 30)]);
    world.advance(2);
    let closes = world.pipeline.view(view).expect("maintained").instance.next_closes();
    assert_eq!(closes, []);
}
