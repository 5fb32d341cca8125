//! Readings that go on while the views do: of one LSN, whatever steps come between.

use std::sync::atomic::{AtomicBool, Ordering};

use super::threads::{planned, sum_of};
use super::*;
use crate::views::Views;

/// Rows of `keys` different keys, by the views that are kept as groups, as first rows, as a multiset, and as rows.
const LARGE: &[&str] = &[
    "SELECT k, count(*) AS n, sum(v) AS sv FROM a GROUP BY k",
    "SELECT k, n + 1 AS m FROM (SELECT k, count(*) AS n FROM a GROUP BY k) q WHERE n < 3",
    "SELECT k, s, count(*) AS n FROM a GROUP BY k, s UNION ALL SELECT k, 'all', count(*) FROM a GROUP BY k",
    "SELECT q.n, count(*) AS m FROM (SELECT k, count(*) AS n FROM a GROUP BY k) q GROUP BY q.n",
    "SELECT q.k / 2 AS h, sum(q.n) AS n FROM (SELECT k, count(*) AS n FROM a GROUP BY k) q GROUP BY 1",
    "SELECT a.k, a.v FROM a LEFT JOIN b ON a.k = b.k WHERE b.k IS NULL",
    "SELECT k, v FROM a WHERE v > 0",
    "SELECT k, v, rn FROM (SELECT k, v, row_number() OVER (PARTITION BY k ORDER BY v) AS rn FROM a) q WHERE rn <= 3",
];

#[test]
fn a_reading_has_the_rows_of_its_beginning_whatever_steps_come_meanwhile() {
    const KEYS: i64 = 30_000;
    for sql in LARGE {
        let mut world = World::new();
        let view = world.view("large", sql);
        let insert = |from: i64, to: i64, step: usize| {
            let rows: Vec<Row> = (from..to).step_by(step).map(|key| row(key, 1, 0)).collect();
            world.history.commit(&[(A, &rows)], &[]);
            let rows: Vec<Row> = (from..to).step_by(step * 3).map(|key| row(key, 1, 0)).collect();
            world.history.commit(&[(B, &rows)], &[])
        };
        let mut begun = insert(0, KEYS, 1);
        let mut newest = begun;
        for (from, to, step) in [(0, KEYS, 7000), (5, 40_000, 900), (0, 50_000, 11_000), (8000, 9000, 1)].repeat(2) {
            newest = insert(from, to, step);
        }
        world.pipeline.advance(&*world.history, begun);
        while begun < newest {
            let expected = world.batch_rows(sql, begun);
            let instance = &mut world.pipeline.view_mut(view).expect("maintained").instance;
            instance.begin_reading().expect("it begins");
            let mut at = begun;
            let rows = loop {
                let instance = &mut world.pipeline.view_mut(view).expect("maintained").instance;
                if let Some(rows) = instance.read_on(1).expect("it renders") {
                    break rows;
                }
                at = newest.min(at + 1);
                world.pipeline.advance(&*world.history, at);
            };
            assert_eq!(sorted(&rows), expected, "{sql}, at {begun}");
            begun = newest.min(at.max(begun + 1));
            world.pipeline.advance(&*world.history, begun);
        }
        world.pipeline.advance(&*world.history, newest);
        assert_eq!(world.rows(view), world.batch_rows(sql, newest), "{sql}");
        assert_eq!(world.rows(view), world.batch_rows(sql, newest), "{sql}, again");
    }
}

#[test]
fn a_reading_that_is_given_up_leaves_no_trace() {
    let mut world = World::new();
    let view = world.view("large", LARGE[0]);
    let rows: Vec<Row> = (0..20_000).map(|key| row(key, 1, 0)).collect();
    world.insert(&rows);
    world.insert(&rows[..10]);
    world.advance(1);
    let instance = &mut world.pipeline.view_mut(view).expect("maintained").instance;
    instance.begin_reading().expect("it begins");
    assert!(instance.read_on(1).expect("it renders").is_none());
    instance.end_reading();
    world.advance(2);
    assert_eq!(world.rows(view), world.batch_rows(LARGE[0], 2));
}

/// A history that has a commit more each time that it is looked at.
struct Growing {
    inner: Arc<MemoryHistory>,
    grows: AtomicBool,
}

impl History for Growing {
    fn newest(&self) -> Lsn {
        if self.grows.load(Ordering::Relaxed) {
            self.inner.commit(&[(A, &[row(1, 1, 0)])], &[]);
        }
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
async fn a_large_view_that_is_read_delays_no_steps() {
    let mut world = World::new();
    let history = Arc::new(Growing {
        inner: world.history.clone(),
        grows: AtomicBool::new(false),
    });
    let views = Views::over(history.clone(), world.history.newest.subscribe(), usize::MAX);
    let large = world.define("large", "SELECT k, count(*) AS n FROM a GROUP BY k");
    let total = world.define("total", "SELECT sum(n) AS n FROM large");
    let rows: Vec<Row> = (0..400_000).map(|key| row(key, 1, 0)).collect();
    let first = world.insert(&rows);
    views
        .restore(planned(&world))
        .await
        .expect("asked")
        .await
        .expect("ready");
    history.grows.store(true, Ordering::Relaxed);
    // The second finds most of the rows rendered.
    for steps_min in [10, 0] {
        let (at, read) = views.read_newest(&[large, total], 0).await.expect("read");
        let newest = world.history.newest();
        assert!(
            newest >= at + steps_min,
            "the views went on meanwhile: {at} of {newest}"
        );
        let sum = 400_000 + at - first;
        assert_eq!(sum_of(&read[&total]), [sum.to_string()]);
        let counted: i64 = read[&large].batches.iter().map(sum_of_counts).sum();
        assert_eq!(counted, sum as i64, "V3: both are of one LSN");
    }
    history.grows.store(false, Ordering::Relaxed);
    views.stop().await;
}

fn sum_of_counts(batch: &RecordBatch) -> i64 {
    use arrow::array::AsArray;
    let counts = batch.column(1).as_primitive::<arrow::datatypes::Int64Type>();
    arrow::compute::sum(counts).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_the_same_views_share_readings_or_take_turns() {
    let mut world = World::new();
    let history = world.history.clone();
    let views = Views::over(history.clone(), history.newest.subscribe(), usize::MAX);
    let large = world.define("large", "SELECT k, count(*) AS n FROM a GROUP BY k");
    let other = world.define("other", "SELECT k + 1 AS l, count(*) AS n FROM a GROUP BY 1");
    let rows: Vec<Row> = (0..30_000).map(|key| row(key, 1, 0)).collect();
    let first = world.insert(&rows);
    views
        .restore(planned(&world))
        .await
        .expect("asked")
        .await
        .expect("ready");
    let readers: Vec<_> = (0..6)
        .map(|number| {
            let (views, history) = (views.clone(), history.clone());
            tokio::spawn(async move {
                let wanted = vec![vec![large], vec![other], vec![large, other]].swap_remove(number % 3);
                for _ in 0..8 {
                    let least = history.commit(&[(A, &[row(5, 1, 0)])], &[]);
                    let (at, read) = views.read_newest(&wanted, least).await.expect("read");
                    assert!(at >= least);
                    for oid in &wanted {
                        let counted: i64 = read[oid].batches.iter().map(sum_of_counts).sum();
                        assert_eq!(counted as u64, 30_000 + at - first, "V3");
                    }
                }
            })
        })
        .collect();
    for reader in readers {
        reader.await.expect("no panic");
    }
    views.stop().await;
}
