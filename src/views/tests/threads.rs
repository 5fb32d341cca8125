//! The driver's thread: readers, newcomers and writers at once.

use super::*;
use crate::error::state;
use crate::views::{ViewStatus, Views};

/// The world's views, as a start finds them.
pub fn planned(world: &World) -> Vec<(u32, Arc<View>, Result<Dataflow, SqlError>)> {
    let views = world.views.iter().cloned();
    views.map(|(oid, view, dataflow)| (oid, view, Ok(dataflow))).collect()
}

pub fn sum_of(rows: &crate::views::ViewRows) -> Vec<String> {
    sorted(&rows.batches)
}

#[tokio::test]
async fn a_reader_sees_what_was_committed_before_at_any_depth() {
    let mut world = World::new();
    let history = world.history.clone();
    let views = Views::over(history.clone(), history.newest.subscribe(), usize::MAX);
    world.insert(&[row(1, 1, 0)]);
    let low = world.define("low", "SELECT k, count(*) AS n FROM a GROUP BY k");
    let (oid, view, dataflow) = world.views[0].clone();
    views.create(oid, view, dataflow).await.expect("created");
    let high = world.define("high", "SELECT n, count(*) AS keys FROM low GROUP BY n");
    let (oid, view, dataflow) = world.views[1].clone();
    views.create(oid, view, dataflow).await.expect("created");
    for round in 1..200u64 {
        let lsn = world.insert(&[row(1, 1, 0)]);
        let (at, rows) = views.read_newest(&[low, high], lsn).await.expect("read");
        assert!(at >= lsn);
        assert_eq!(sum_of(&rows[&low]), [format!("1|{}", round + 1)]);
        assert_eq!(sum_of(&rows[&high]), [format!("{}|1", round + 1)]);
    }
    assert_eq!(views.stats().len(), 2);
    assert!(views.stats().iter().all(|stats| stats.status == ViewStatus::Ready));
    assert!(views.explain(high, true).expect("known").len() > 2);
    views.remove(&[high, low]);
    let gone = views.read_newest(&[low], 1).await.expect_err("dropped");
    assert_eq!(gone.state, state::UNDEFINED_TABLE);
    views.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_while_a_view_is_created_and_several_views_are_of_one_lsn() {
    let mut world = World::new();
    let history = world.history.clone();
    let views = Views::over(history.clone(), history.newest.subscribe(), usize::MAX);
    world.insert(&[row(1, 1, 0)]);
    let first = world.define("first", "SELECT count(*) AS n FROM a");
    let second = world.define("second", "SELECT sum(k) AS n FROM a");
    let (oid, view, dataflow) = world.views[0].clone();
    views.create(oid, view, dataflow).await.expect("created");
    let writer = {
        let history = history.clone();
        tokio::task::spawn_blocking(move || {
            for _ in 1..2000 {
                history.commit(&[(A, &[row(1, 1, 0)])], &[]);
            }
        })
    };
    let (oid, view, dataflow) = world.views[1].clone();
    views.create(oid, view, dataflow).await.expect("created");
    let mut last = 0;
    while last < 2000 {
        let (at, rows) = views
            .read_newest(&[first, second], history.newest())
            .await
            .expect("read");
        assert!(at >= last, "V3");
        last = at;
        assert_eq!(sum_of(&rows[&first]), [at.to_string()]);
        assert_eq!(sum_of(&rows[&second]), [at.to_string()]);
    }
    writer.await.expect("wrote");
    views.stop().await;
}

#[tokio::test]
async fn a_reader_of_an_exact_lsn_gets_it_or_is_told_that_it_has_gone() {
    let mut world = World::new();
    let history = world.history.clone();
    let views = Views::over(history.clone(), history.newest.subscribe(), usize::MAX);
    let count = world.define("counted", "SELECT count(*) AS n FROM a");
    views.restore(planned(&world)).await.expect("restored");
    world.insert(&[row(1, 1, 0)]);
    let at_one = views.read_at(count, 1).await.expect("read").expect("still there");
    assert_eq!(sum_of(&at_one), ["1"]);
    world.insert(&[row(1, 1, 0)]);
    views.caught_up(2).await.expect("caught up");
    assert!(views.read_at(count, 1).await.expect("read").is_none());
    // A snapshot that a reader holds does not change.
    assert_eq!(sum_of(&at_one), ["1"]);
    views.stop().await;
}

#[tokio::test]
async fn a_view_that_fails_on_what_is_there_is_not_created() {
    let mut world = World::new();
    let history = world.history.clone();
    let views = Views::over(history.clone(), history.newest.subscribe(), usize::MAX);
    world.insert(&[row(1, 0, 0)]);
    let bad = world.define("bad", "SELECT 1 / v AS q FROM a");
    let (oid, view, dataflow) = world.views[0].clone();
    let error = views.create(oid, view, dataflow).await.expect_err("division by zero");
    assert_eq!(error.state, state::DIVISION_BY_ZERO);
    assert!(views.stats().is_empty());
    // At start it stays, as failed; others are read as ever.
    let good = world.define("good", "SELECT count(*) AS n FROM a");
    views.restore(planned(&world)).await.expect("restored");
    let (_, rows) = views.read_newest(&[good], 1).await.expect("read");
    assert_eq!(sum_of(&rows[&good]), ["1"]);
    let error = views.read_newest(&[bad], 1).await.expect_err("failed");
    assert_eq!(error.state, state::DIVISION_BY_ZERO);
    assert!(error.context.clone().expect("says where").contains("offset 0"));
    let stats = views.stats();
    assert_eq!(stats[0].status, ViewStatus::Failed);
    views.stop().await;
}

#[tokio::test]
async fn late_rows_are_told_by_view() {
    let mut world = World::new();
    let history = world.history.clone();
    let views = Views::over(history.clone(), history.newest.subscribe(), usize::MAX);
    let windowed = world.define(
        "windowed",
        "SELECT window_end, count(*) AS n FROM TUMBLE(a, ts, INTERVAL '10 seconds') GROUP BY 1",
    );
    world.define("plain", "SELECT count(*) AS n FROM a");
    views.restore(planned(&world)).await.expect("restored");
    let rows = batch(&[row(1, 1, 5), row(1, 1, 15)]);
    assert_eq!(views.late_rows(&world.topic(A), &rows, None), []);
    assert_eq!(views.late_rows(&world.topic(A), &rows, Some(4 * SECOND)), []);
    assert_eq!(
        views.late_rows(&world.topic(A), &rows, Some(12 * SECOND)),
        [(windowed, 1)]
    );
    assert_eq!(views.late_rows(&world.topic(B), &rows, Some(12 * SECOND)), []);
    views.stop().await;
}

/// A clock that stands where it is put.
pub struct StandingClock(pub std::sync::atomic::AtomicI64);

impl crate::storage::Clock for StandingClock {
    fn monotonic_us(&self) -> i64 {
        self.now_us()
    }

    fn now_us(&self) -> i64 {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

pub struct NoObserver;

impl crate::log::DdlObserver for NoObserver {
    fn apply(&self, _lsn: Lsn, _record: &[u8]) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_log_on_disk_idle_topics_close_their_windows_and_a_restart_shows_the_same() {
    use crate::log::{Acknowledge, Append, Commit, Ddl, Log, LogOptions, TopicChange};
    use crate::storage::{RealDisk, SharedClock};
    use crate::views::idle::{self, Verdict};

    let directory = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(StandingClock((1_000 * SECOND).into()));
    let shared: SharedClock = clock.clone();
    let open = || {
        let disk = Arc::new(RealDisk);
        Log::open(disk, directory.path(), LogOptions::default(), shared.clone())
            .expect("opens")
            .0
    };
    let mut world = World::new();
    let mut topic = world.topic(A);
    topic.idle_timeout_us = Some(10 * SECOND);
    world.snapshot = world.snapshot.apply(&[Change::AlterTopic(topic.clone())]);
    let closed = world.define(
        "closed",
        "SELECT window_end, k, sum(v) AS s FROM TUMBLE(a, ts, INTERVAL '10 seconds') \
         GROUP BY window_end, k EMIT ON WINDOW CLOSE",
    );
    let per_key = world.define("per_key", "SELECT k, count(*) AS n FROM a GROUP BY k");

    let log = open();
    log.observe_ddl(Arc::new(NoObserver));
    let views = Views::start(log.clone(), usize::MAX);
    let ddl = Ddl {
        based_on: 0,
        record: Vec::new(),
        topics: vec![TopicChange::Create(topic.log_spec())],
    };
    let create = Commit {
        ddl: Some(ddl),
        ..Commit::default()
    };
    log.commit(create, Acknowledge::Synced).await.expect("created");
    for (oid, view, dataflow) in world.views.clone() {
        views.create(oid, view, dataflow).await.expect("created");
    }
    let append = |rows: &[Row]| Commit {
        appends: vec![Append {
            topic: A,
            schema_id: 1,
            partition: 0,
            rows: batch(rows).into(),
        }],
        ..Commit::default()
    };
    let mut newest = 0;
    for rows in [[row(1, 1, 995), row(2, 5, 998)], [row(1, 2, 999), row(1, 4, 1001)]] {
        newest = log
            .commit(append(&rows), Acknowledge::Synced)
            .await
            .expect("committed")
            .lsn;
    }
    let (_, rows) = views.read_newest(&[closed, per_key], newest).await.expect("read");
    assert_eq!(sum_of(&rows[&per_key]), ["1|3", "2|1"]);
    assert_eq!(sum_of(&rows[&closed]), Vec::<String>::new());

    // Ten seconds of silence; the window [990, 1000) closes at watermark 1000, which is now - 4 s.
    let [quiet] = views
        .quiet_topics(&log, &world.snapshot)
        .try_into()
        .expect("one topic has an idle timeout");
    assert_eq!(idle::judge(&quiet, 1_005 * SECOND, 0), Verdict::WaitUs(5 * SECOND));
    let Verdict::Advance(to) = idle::judge(&quiet, 1_010 * SECOND, 0) else {
        panic!("silent long enough: {quiet:?}");
    };
    assert_eq!(to, 1_006 * SECOND);
    let advance = Commit {
        advances: vec![(A, to)],
        ..Commit::default()
    };
    newest = log.commit(advance, Acknowledge::Synced).await.expect("advanced").lsn;
    let (at, before) = views.read_newest(&[closed, per_key], newest).await.expect("read");
    assert_eq!(sum_of(&before[&closed]).len(), 2);
    views.stop().await;
    log.close().await.expect("closed");
    drop(log);

    let log = open();
    let views = Views::start(log.clone(), usize::MAX);
    views.restore(planned(&world)).await.expect("restored");
    let (again, after) = views.read_newest(&[closed, per_key], log.newest()).await.expect("read");
    assert!(again >= at, "V3 over a restart");
    for oid in [closed, per_key] {
        assert_eq!(sum_of(&after[&oid]), sum_of(&before[&oid]));
    }
    views.stop().await;
    log.close().await.expect("closed");
}
