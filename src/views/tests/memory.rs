//! Bounds of views' memory and of a step's, ends of builds, and the views that stay when something breaks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;

use super::threads::{NoObserver, StandingClock, planned, sum_of};
use super::*;
use crate::error::state;
use crate::fuzz::memory;
use crate::log::{Acknowledge, Append, AppendRows, Commit, Ddl, Log, LogOptions, TopicChange};
use crate::storage::RealDisk;
use crate::views::{ViewStatus, Views};

const MIB: usize = 1 << 20;

/// Rows of `keys` different keys in one commit.
fn insert_keys(world: &World, from: i64, keys: i64) -> Lsn {
    let rows: Vec<Row> = (from..from + keys).map(|key| row(key, 1, 0)).collect();
    world.insert(&rows)
}

#[test]
fn a_view_that_outgrows_the_memory_fails_with_its_size_and_gives_it_back() {
    let mut world = World::with_memory(4 * MIB);
    let large = world.view("large", "SELECT k, count(*) AS n FROM a GROUP BY k");
    let above = world.view("above", "SELECT count(*) AS n FROM large");
    let small = world.view("small", "SELECT count(*) AS n FROM a");
    insert_keys(&world, 0, 10_000);
    world.advance(1);
    assert_eq!(world.rows(small), ["10000"]);
    insert_keys(&world, 10_000, 200_000);
    world.advance(2);
    for oid in [large, above] {
        let failure = world.pipeline.view(oid).and_then(|view| view.failure.clone());
        let failure = failure.expect("it needs more");
        assert_eq!((failure.lsn, failure.error.state), (2, state::OUT_OF_MEMORY));
        assert_eq!((failure.view.as_str(), failure.place), ("large", None));
        assert!(failure.error.message.contains("MiB"), "{}", failure.error.message);
    }
    assert_eq!(world.rows(small), ["210000"]);
    assert!(world.budget.used() < MIB, "{}", world.budget.used());
}

#[test]
fn the_rows_and_the_pairs_of_a_join_count() {
    for (sql, lsn) in [
        ("SELECT a.s FROM a JOIN b ON a.k = b.x", 3),
        ("SELECT a.k, b.k AS l FROM a, b WHERE b.v > 0", 2),
        ("SELECT k FROM b WHERE k NOT IN (SELECT k FROM a)", 3),
        ("SELECT k FROM a EXCEPT ALL SELECT k FROM b", 3),
        ("SELECT k, (SELECT v FROM b WHERE b.k = a.k) AS v FROM a", 3),
    ] {
        let mut world = World::with_memory(4 * MIB);
        let oid = world.view("large", sql);
        insert_keys(&world, 0, 3000);
        world.advance(1);
        let rows: Vec<Row> = (10_000..12_000).map(|key| row(key, 1, 0)).collect();
        world.history.commit(&[(B, &rows)], &[]);
        world.advance(2);
        insert_keys(&world, 10_000, 200_000);
        world.advance(3);
        let failure = world.pipeline.view(oid).and_then(|view| view.failure.clone());
        let failure = failure.unwrap_or_else(|| panic!("{sql} needs more"));
        assert_eq!((failure.lsn, failure.error.state), (lsn, state::OUT_OF_MEMORY), "{sql}");
        assert!(world.budget.used() < MIB, "{sql}: {}", world.budget.used());
    }
}

#[test]
fn rows_in_a_thousand_windows_take_the_memory_of_their_groups_only() {
    let mut world = World::with_memory(2 * MIB);
    let hop = "HOP(a, ts, INTERVAL '1 second', INTERVAL '1000 seconds')";
    let view = world.view(
        "hopping",
        &format!("SELECT window_start, count(*) AS n FROM {hop} GROUP BY window_start"),
    );
    let over = world.view("over", "SELECT sum(n) AS rows, count(*) AS windows FROM hopping");
    let rows: Vec<Row> = (0..3000).map(|number| row(number, 1, 5000)).collect();
    world.insert(&rows);
    world.check(over, &["3000000|1000"]);
    assert_eq!(world.rows(view).len(), 1000);
}

#[tokio::test]
async fn creating_what_does_not_fit_is_refused_and_leaves_nothing() {
    let mut world = World::new();
    let history = world.history.clone();
    let views = Views::over(history.clone(), history.newest.subscribe(), 4 * MIB);
    insert_keys(&world, 0, 200_000);
    world.define("large", "SELECT k, count(*) AS n FROM a GROUP BY k");
    let small = world.define("small", "SELECT count(*) AS n FROM a");
    let (oid, view, dataflow) = world.views[0].clone();
    let error = views.create(oid, view, dataflow).await.expect_err("it does not fit");
    assert_eq!(error.state, state::OUT_OF_MEMORY);
    assert!(views.stats().is_empty());
    assert_eq!(views.memory().used, 0);
    let (oid, view, dataflow) = world.views[1].clone();
    views.create(oid, view, dataflow).await.expect("this one fits");
    let (_, rows) = views.read_newest(&[small], 1).await.expect("read");
    assert_eq!(sum_of(&rows[&small]), ["200000"]);
    // A start has it, as failed.
    views.stop().await;
    let views = Views::over(history.clone(), history.newest.subscribe(), 4 * MIB);
    let ready = views.restore(planned(&world)).await.expect("asked");
    assert_eq!(ready.await, Ok(2));
    let (_, rows) = views.read_newest(&[small], 1).await.expect("read");
    assert_eq!(sum_of(&rows[&small]), ["200000"]);
    let stats = views.stats();
    assert_eq!(stats[0].status, ViewStatus::Failed);
    let reason = stats[0].reason.clone().expect("a reason");
    assert!(reason.contains("53200") && reason.contains("MiB"), "{reason}");
    views.stop().await;
}

/// A log whose second commit has `batches` batches of topic `a`, all the same, in files.
fn log_of_one_large_commit(directory: &std::path::Path, world: &World, rows: &RecordBatch, batches: usize) -> Arc<Log> {
    let clock = Arc::new(StandingClock((1_000 * SECOND).into()));
    let (log, _) = Log::open(Arc::new(RealDisk), directory, LogOptions::default(), clock).expect("opens");
    log.observe_ddl(Arc::new(NoObserver));
    let topic = world.topic(A);
    let ddl = Ddl {
        based_on: 0,
        record: Vec::new(),
        topics: vec![TopicChange::Create(topic.log_spec())],
    };
    let create = Commit {
        ddl: Some(ddl),
        ..Commit::default()
    };
    let commit = |commit: Commit| {
        let committed = log.commit(commit, Acknowledge::Synced);
        futures::executor::block_on(committed).expect("committed");
    };
    commit(create);
    let mut writer = log.spill(A, topic.schema_id, 0, topic.log_schema()).expect("begun");
    for _ in 0..batches {
        writer.push(rows.clone()).expect("written");
    }
    commit(Commit {
        appends: vec![Append {
            topic: A,
            schema_id: topic.schema_id,
            partition: 0,
            rows: AppendRows::Spilled(writer.finish().expect("finished").expect("it has rows")),
        }],
        ..Commit::default()
    });
    log
}

#[test]
fn a_commit_of_any_size_is_taken_piece_by_piece_with_the_columns_that_are_needed() {
    const BATCHES: usize = 50;
    static LONG: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| "long ".repeat(50));
    let rows: Vec<Row> = (0..8192)
        .map(|number| Row {
            s: Some(LONG.as_str()),
            ..row(number, 1, 0)
        })
        .collect();
    let rows = batch(&rows);
    let count = BATCHES * rows.num_rows();
    let all = count * LONG.len();
    for (sql, expected, bytes_max) in [
        (
            "SELECT count(*) AS n FROM a WHERE s LIKE '%long '",
            count.to_string(),
            all / 2,
        ),
        ("SELECT sum(v) AS n FROM a", count.to_string(), all / 20),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        let mut world = World::new();
        let view = world.view("counted", sql);
        let log = log_of_one_large_commit(directory.path(), &world, &rows, BATCHES);
        assert_eq!((log.newest(), log.segments(A).len()), (2, 1), "one file, one commit");
        memory::begin();
        assert!(world.pipeline.advance(&*log, 2).is_empty());
        let peak = memory::peak();
        assert_eq!(world.rows(view), [expected], "{sql}");
        assert!(peak < bytes_max, "{sql}: {} of {} MiB", peak >> 20, all >> 20);
    }
}

/// A history that calls back at each read.
struct Watched<F> {
    inner: Arc<MemoryHistory>,
    at_read: F,
    at_watermark: fn(),
}

impl<F: Fn() + Send + Sync + 'static> History for Watched<F> {
    fn newest(&self) -> Lsn {
        self.inner.newest()
    }

    fn read(&self, reader: &Reader, after: Lsn, upto: Lsn) -> Result<Vec<Extent>, SqlError> {
        (self.at_read)();
        self.inner.read(reader, after, upto)
    }

    fn watermark(&self, topic: TopicId, at: Lsn) -> Option<i64> {
        (self.at_watermark)();
        self.inner.watermark(topic, at)
    }

    fn time(&self, at: Lsn) -> i64 {
        self.inner.time(at)
    }
}

#[tokio::test]
async fn a_drop_ends_a_build_and_so_does_whoever_gives_up_on_it() {
    let mut world = World::new();
    let history = world.history.clone();
    insert_keys(&world, 0, 100_000);
    world.define("large", "SELECT k, count(*) AS n FROM a GROUP BY k");
    let (begun, has_begun) = tokio::sync::mpsc::unbounded_channel();
    let (go, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let watched = Arc::new(Watched {
        inner: history.clone(),
        at_read: move || {
            begun.send(()).expect("the test waits");
            gate.lock().recv().expect("the test lets it go");
        },
        at_watermark: || {},
    });
    let mut has_begun = has_begun;
    let views = Views::over(watched, history.newest.subscribe(), usize::MAX);
    let (oid, view, dataflow) = world.views[0].clone();

    let create = views.create(oid, view.clone(), dataflow.clone());
    let dropping = async {
        has_begun.recv().await.expect("it reads");
        assert_eq!(views.stats()[0].status, ViewStatus::Building);
        let error = views.read_newest(&[oid], 0).await.expect_err("nothing yet");
        assert_eq!(error.state, state::OBJECT_NOT_IN_PREREQUISITE_STATE);
        views.remove(&[oid]);
        go.send(()).expect("it waits");
    };
    let (created, ()) = tokio::join!(create, dropping);
    assert_eq!(created.expect_err("dropped").state, state::UNDEFINED_TABLE);
    assert!(views.stats().is_empty());

    // A cancelled statement drops the future.
    {
        let create = views.create(oid, view, dataflow);
        tokio::pin!(create);
        tokio::select! {
            biased;
            begun = has_begun.recv() => begun.expect("it reads"),
            _ = &mut create => panic!("it waits at the gate"),
        }
    }
    assert!(views.stats().is_empty());
    go.send(()).expect("it waits");
    views.stop().await;
}

#[tokio::test]
async fn looking_for_the_row_holds_up_only_who_reads_the_failed_view() {
    let mut world = World::new();
    let history = world.history.clone();
    let (go, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let watched = Arc::new(Watched {
        inner: history.clone(),
        at_read: move || {
            if std::thread::current().name() == Some("view failure") {
                // Open for good once the sender is gone.
                let _ = gate.lock().recv();
            }
        },
        at_watermark: || {},
    });
    let views = Views::over(watched, history.newest.subscribe(), usize::MAX);
    let bad = world.define("bad", "SELECT k, 10 / v AS q FROM a");
    let above = world.define("above", "SELECT count(*) AS n FROM bad");
    let good = world.define("good", "SELECT count(*) AS n FROM a");
    let ready = views.restore(planned(&world)).await.expect("asked");
    ready.await.expect("all are ready");
    world.insert(&[row(1, 1, 0)]);
    let failing = world.insert(&[row(2, 2, 0), row(3, 0, 0)]);
    // The failed view's reader waits; the other's does not, nor does a later one.
    let reader = {
        let views = views.clone();
        tokio::spawn(async move { views.read_newest(&[bad], failing).await })
    };
    for round in 0..3 {
        let newest = world.insert(&[row(4, 4, 0)]);
        let (_, rows) = views.read_newest(&[good], newest).await.expect("read");
        assert_eq!(sum_of(&rows[&good]), [(4 + round).to_string()]);
    }
    let status = |oid: u32| views.stats().into_iter().find(|stats| stats.oid == oid).expect("known");
    // Another thread may keep the failing view.
    views.caught_up(history.newest()).await.expect("caught up");
    assert_eq!(status(bad).status, ViewStatus::Failed);
    assert!(!reader.is_finished() && views.failures() == 0 && views.failed_readers(A).is_empty());
    drop(go);
    let error = reader.await.expect("no panic").expect_err("failed");
    assert_eq!(error.state, state::DIVISION_BY_ZERO);
    assert!(error.context.clone().expect("says where").contains("offset 2"));
    let error = views.read_newest(&[above], failing).await.expect_err("failed with it");
    assert!(
        error
            .message
            .contains("materialized view \"bad\" that \"above\" reads failed"),
        "{}",
        error.message
    );
    let reason = status(above).reason.expect("a reason");
    assert!(
        reason.starts_with("materialized view \"bad\" that it reads failed: division by zero (22012), at topic \"a\""),
        "{reason}"
    );
    assert_eq!(status(bad).frontier, failing - 1);
    assert_eq!(views.failures(), 1);
    let told = views.failed_readers(A);
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].name.as_str(), told[0].oid), ("bad", bad));
    views.stop().await;
}

#[tokio::test]
async fn a_panic_in_one_view_fails_it_and_no_other() {
    let mut world = World::new();
    let history = world.history.clone();
    let watched = Arc::new(Watched {
        inner: history.clone(),
        at_read: || {},
        at_watermark: || panic!("the watermark is lost"),
    });
    let views = Views::over(watched, history.newest.subscribe(), usize::MAX);
    let windowed = world.define(
        "windowed",
        "SELECT window_end, count(*) AS n FROM TUMBLE(a, ts, INTERVAL '10 seconds') GROUP BY 1",
    );
    let plain = world.define("plain", "SELECT count(*) AS n FROM a");
    views.restore(planned(&world)).await.expect("restored");
    for round in 1..4 {
        let newest = world.insert(&[row(1, 1, 0)]);
        let (_, rows) = views.read_newest(&[plain], newest).await.expect("read");
        assert_eq!(sum_of(&rows[&plain]), [round.to_string()]);
        let error = views.read_newest(&[windowed], newest).await.expect_err("failed");
        assert_eq!(error.state, state::INTERNAL_ERROR);
        assert!(error.message.contains("the watermark is lost"), "{}", error.message);
    }
    views.stop().await;
}

/// A history that panics once where no view is known to be the reason.
struct Breaking {
    inner: Arc<MemoryHistory>,
    breaks: Arc<AtomicBool>,
    asked: AtomicU64,
}

impl History for Breaking {
    fn newest(&self) -> Lsn {
        self.asked.fetch_add(1, Ordering::Relaxed);
        assert!(!self.breaks.swap(false, Ordering::Relaxed), "the log is lost");
        self.inner.newest()
    }

    fn read(&self, reader: &Reader, after: Lsn, upto: Lsn) -> Result<Vec<Extent>, SqlError> {
        self.inner.read(reader, after, upto)
    }

    fn watermark(&self, topic: TopicId, at: Lsn) -> Option<i64> {
        self.inner.watermark(topic, at)
    }

    fn time(&self, at: Lsn) -> i64 {
        self.inner.time(at)
    }
}

#[tokio::test]
async fn a_panic_of_the_thread_itself_leaves_nobody_waiting() {
    let mut world = World::new();
    let history = world.history.clone();
    let breaks = Arc::new(AtomicBool::new(false));
    let breaking = Arc::new(Breaking {
        inner: history.clone(),
        breaks: breaks.clone(),
        asked: AtomicU64::new(0),
    });
    let views = Views::over(breaking, history.newest.subscribe(), usize::MAX);
    let count = world.define("counted", "SELECT count(*) AS n FROM a");
    views.restore(planned(&world)).await.expect("restored");
    views.read_newest(&[count], 0).await.expect("read");
    breaks.store(true, Ordering::Relaxed);
    let newest = world.insert(&[row(1, 1, 0)]);
    let error = views.read_newest(&[count], newest).await.expect_err("failed");
    assert_eq!(error.state, state::INTERNAL_ERROR);
    assert!(error.message.contains("the log is lost"), "{}", error.message);
    // It goes on: a view that is dropped and created again is right.
    views.remove(&[count]);
    let (_, view, dataflow) = world.views[0].clone();
    views.create(count + 1, view, dataflow).await.expect("created");
    let (_, rows) = views.read_newest(&[count + 1], newest).await.expect("read");
    assert_eq!(sum_of(&rows[&(count + 1)]), ["1"]);
    views.stop().await;
}

#[tokio::test]
async fn views_that_are_off_or_cannot_be_planned_are_listed_and_dropped() {
    let mut world = World::new();
    let history = world.history.clone();
    let low = world.define("low", "SELECT k, count(*) AS n FROM a GROUP BY k");
    let high = world.define("high", "SELECT count(*) AS n FROM low");
    let other = world.define("other", "SELECT count(*) AS n FROM a");
    world.insert(&[row(1, 1, 0)]);

    let views = Views::over(history.clone(), history.newest.subscribe(), usize::MAX);
    let mut all = planned(&world);
    all[0].2 = Err(SqlError::new(
        state::STATEMENT_TOO_COMPLEX,
        "stack depth limit exceeded",
    ));
    views.restore(all).await.expect("restored");
    let (_, rows) = views.read_newest(&[other], 1).await.expect("read");
    assert_eq!(sum_of(&rows[&other]), ["1"]);
    for oid in [low, high] {
        let error = views.read_newest(&[oid], 1).await.expect_err("it cannot be planned");
        assert_eq!(error.state, state::STATEMENT_TOO_COMPLEX);
    }
    let error = views.read_newest(&[high], 1).await.expect_err("nor this");
    assert!(
        error
            .message
            .starts_with("materialized view \"low\" that it reads failed"),
        "{}",
        error.message
    );
    views.remove(&[high, low]);
    assert_eq!(views.stats().len(), 1);
    views.stop().await;

    let views = Views::over(history.clone(), history.newest.subscribe(), usize::MAX);
    let why = SqlError::new(state::OBJECT_NOT_IN_PREREQUISITE_STATE, "as it was asked");
    views.turn_off(vec![(low, "low".to_string()), (high, "high".to_string())], &why);
    assert!(views.stats().iter().all(|stats| stats.status == ViewStatus::Off));
    let error = views.read_newest(&[high], 1).await.expect_err("off");
    assert_eq!(error.message, "materialized view \"high\" is off: as it was asked");
    let (oid, view, dataflow) = world.views[2].clone();
    let error = views.create(oid, view, dataflow).await.expect_err("none is kept");
    assert_eq!(error.state, state::OBJECT_NOT_IN_PREREQUISITE_STATE);
    views.remove(&[high, low]);
    assert!(views.stats().is_empty());
    views.stop().await;
}
