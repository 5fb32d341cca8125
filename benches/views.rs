//! The cost of a view that is kept up to date, beside that of its query, answered once.
//!
//! `cargo bench --bench views` keeps a plain GROUP BY, tumbling, hopping and session windows, the first ten rows of each group and a
//! count of DISTINCT keys per window over the same commits, from the log's chunks to a snapshot that a reader holds, and runs
//! DataFusion's own one-shot over the same batches on one partition. The figure is rows per CPU second of the process; what counts
//! is the ratio.
//!
//! - `steady`: each commit is taken up before the next one comes, the view is read at the end;
//! - `read`: the same, and a reader takes the whole view 16 times on the way;
//! - `catch up`: all commits are there, the driver takes as many at once as it likes.
//!
//! Joins have a stream of rows and a tenth as many rows to meet, of a key each, which come first. Two of them over the same rows
//! show the bytes that they keep together.
//!
//! `BENCH_ROWS` (4,000,000) and `BENCH_TURNS` (3) change the size, and `BENCH_CASES` leaves out the cases without one of its words
//! in their names, as in `BENCH_CASES=join,TUMBLE`; `BENCH_GROUPS` takes one number of groups. Not here: durability and the
//! wire (`ingest`).

#![allow(
    clippy::disallowed_methods,
    reason = "a bench reads /proc and takes its own random numbers"
)]

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::Schema;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use millstream::catalog::{Change, Column, Snapshot, Topic, View, Watermark};
use millstream::error::SqlError;
use millstream::log::{Chunk, Extent, Lsn, Reader, Run, TopicId};
use millstream::sql::parse::parse;
use millstream::sql::plan::{PlanContext, plan_select};
use millstream::sql::statement::Statement;
use millstream::types::PgType;
use millstream::views::{CompiledView, Dataflow, History, Views, compile};

const TOPIC: TopicId = TopicId(16_384);
const ITEMS: TopicId = TopicId(16_385);
/// The first view.
const VIEW: u32 = 16_386;
/// Rows of a commit, and of a batch of the one-shot.
const COMMIT_ROWS: usize = 8192;
const GROUPS: [i64; 3] = [1_000, 100_000, 1_000_000];
const SECOND: i64 = 1_000_000;

/// The definition of a view, and the same question in DataFusion's own words.
struct Query {
    name: &'static str,
    view: &'static str,
    one_shot: &'static str,
}

const QUERIES: [Query; 6] = [
    Query {
        name: "GROUP BY",
        view: "SELECT k, count(*) AS n, sum(v) AS s, max(v) AS m FROM bids GROUP BY k",
        one_shot: "SELECT k, count(*) AS n, sum(v) AS s, max(v) AS m FROM bids GROUP BY k",
    },
    Query {
        name: "TUMBLE 10 s",
        view: "SELECT window_start, k, count(*) AS n, sum(v) AS s, max(v) AS m \
               FROM TUMBLE(bids, ts, INTERVAL '10 seconds') GROUP BY window_start, k",
        one_shot: "SELECT date_bin(INTERVAL '10 seconds', ts) AS window_start, k, count(*) AS n, sum(v) AS s, max(v) AS m \
                   FROM bids GROUP BY window_start, k",
    },
    Query {
        name: "Top 10",
        view: "SELECT k, v, ts FROM (SELECT k, v, ts, row_number() OVER (PARTITION BY k ORDER BY v DESC, ts) AS rn FROM bids) q \
               WHERE rn <= 10",
        one_shot: "SELECT k, v, ts FROM (SELECT k, v, ts, row_number() OVER (PARTITION BY k ORDER BY v DESC, ts) AS rn FROM bids) q \
                   WHERE rn <= 10",
    },
    Query {
        name: "DISTINCT",
        view: "SELECT window_start, count(DISTINCT k) AS n FROM TUMBLE(bids, ts, INTERVAL '10 seconds') GROUP BY window_start",
        one_shot: "SELECT date_bin(INTERVAL '10 seconds', ts) AS window_start, count(DISTINCT k) AS n \
                   FROM bids GROUP BY window_start",
    },
    Query {
        name: "HOP 10 s / 2 s",
        view: "SELECT window_start, k, count(*) AS n, sum(v) AS s, max(v) AS m \
               FROM HOP(bids, ts, INTERVAL '2 seconds', INTERVAL '10 seconds') GROUP BY window_start, k",
        one_shot: "SELECT date_bin(INTERVAL '2 seconds', ts) - back AS window_start, k, count(*) AS n, sum(v) AS s, max(v) AS m \
                   FROM bids CROSS JOIN (VALUES (INTERVAL '0 seconds'), (INTERVAL '2 seconds'), (INTERVAL '4 seconds'), \
                   (INTERVAL '6 seconds'), (INTERVAL '8 seconds')) AS hops (back) GROUP BY window_start, k",
    },
    Query {
        name: "SESSION 1 s",
        view: "SELECT window_start, window_end, k, count(*) AS n, sum(v) AS s, max(v) AS m \
               FROM SESSION(bids PARTITION BY k, ts, INTERVAL '1 second') GROUP BY window_start, window_end, k",
        one_shot: "SELECT min(ts) AS window_start, max(ts) + INTERVAL '1 second' AS window_end, k, count(*) AS n, sum(v) AS s, max(v) AS m \
                   FROM (SELECT *, sum(begins) OVER (PARTITION BY k ORDER BY ts) AS session FROM \
                   (SELECT *, CASE WHEN lag(ts) OVER (PARTITION BY k ORDER BY ts) + INTERVAL '1 second' > ts THEN 0 ELSE 1 END \
                   AS begins FROM bids) begun) numbered GROUP BY k, session",
    },
];

const JOINS: [Query; 2] = [
    Query {
        name: "join",
        view: "SELECT b.k, b.v, i.price FROM bids b JOIN items i ON b.k = i.k",
        one_shot: "SELECT b.k, b.v, i.price FROM bids b JOIN items i ON b.k = i.k",
    },
    Query {
        name: "left join",
        view: "SELECT b.k, b.v, i.price FROM bids b LEFT JOIN items i ON b.k = i.k",
        one_shot: "SELECT b.k, b.v, i.price FROM bids b LEFT JOIN items i ON b.k = i.k",
    },
];

/// Kept beside the first of the joins, over the same rows.
const BESIDE: Query = Query {
    name: "join, beside",
    view: "SELECT b.k, b.v + i.price AS total FROM bids b JOIN items i ON b.k = i.k WHERE b.v > i.price",
    one_shot: "SELECT b.k, b.v + i.price AS total FROM bids b JOIN items i ON b.k = i.k WHERE b.v > i.price",
};

/// The log's view of commits that are held in memory: LSN n is chunk n - 1; `upto` is how far it has got.
struct Commits {
    /// Each with its topic.
    chunks: Vec<(TopicId, Chunk)>,
    newest: watch::Sender<Lsn>,
}

impl History for Commits {
    fn newest(&self) -> Lsn {
        *self.newest.borrow()
    }

    fn read(&self, reader: &Reader, after: Lsn, upto: Lsn) -> Result<Vec<Extent>, SqlError> {
        let at = |lsn: Lsn| usize::try_from(lsn).expect("few commits").min(self.chunks.len());
        let chunks = self.chunks[at(after)..at(upto)].iter();
        let chunks = chunks.filter(|(topic, _)| *topic == reader.topic);
        Ok(chunks.map(|(_, chunk)| Extent::Memory(chunk.clone())).collect())
    }

    fn watermark(&self, _topic: TopicId, at: Lsn) -> Option<i64> {
        let (_, next) = self.chunks.get(usize::try_from(at).ok()?)?;
        next.runs[0].watermark
    }

    fn time(&self, at: Lsn) -> i64 {
        i64::try_from(at).expect("few commits")
    }
}

fn main() {
    let number = |name: &str, usual: u64| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(usual)
    };
    let rows = usize::try_from(number("BENCH_ROWS", 4_000_000)).expect("a number of rows");
    let turns = number("BENCH_TURNS", 3);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");

    println!(
        "million rows per CPU second, {rows} rows in commits of {COMMIT_ROWS}, median of {turns} turns; in brackets: by the one-shot"
    );
    println!(
        "{:<16}{:>10}{:>12}{:>18}{:>18}{:>18}",
        "", "groups", "one-shot", "steady", "read", "catch up"
    );
    let wanted = std::env::var("BENCH_CASES").ok();
    let is_wanted = |query: &Query| {
        let mut words = wanted.iter().flat_map(|words| words.split(','));
        wanted.is_none() || words.any(|word| query.name.contains(word))
    };
    let only = number("BENCH_GROUPS", 0) as i64;
    for query in QUERIES.iter().filter(|query| is_wanted(query)) {
        for groups in GROUPS.into_iter().filter(|groups| only == 0 || only == *groups) {
            let chunks = of_topic(TOPIC, generate(rows, groups));
            let mut results: [Vec<f64>; 4] = Default::default();
            for _ in 0..turns {
                results[0].push(one_shot(&runtime, query, &chunks));
                results[1].push(keep(&runtime, &[query], &chunks, 0, true).seconds);
                results[2].push(keep(&runtime, &[query], &chunks, 16, true).seconds);
                results[3].push(keep(&runtime, &[query], &chunks, 0, false).seconds);
            }
            let [one_shot, kept @ ..] = results.map(|seconds| rate(rows, seconds));
            print!("{:<16}{groups:>10}{one_shot:>12.1}", query.name);
            kept.iter()
                .for_each(|rate| print!("{:>18}", format!("{rate:.1} ({:.2})", rate / one_shot)));
            println!();
        }
    }
    if JOINS.iter().any(is_wanted) {
        join(&runtime, rows, turns);
    }
}

/// The joins, steady and catching up, and two beside one another.
fn join(runtime: &Runtime, rows: usize, turns: u64) {
    let keys = (rows / 10).max(1) as i64;
    let mut chunks = of_topic(ITEMS, items(keys));
    chunks.extend(of_topic(TOPIC, generate(rows, keys)));
    for chunk in chunks.iter_mut().zip(1..) {
        let ((_, chunk), lsn) = chunk;
        let run = Run { lsn, ..chunk.runs[0] };
        chunk.runs = vec![run].into();
    }
    println!(
        "\n{:<16}{:>10}{:>12}{:>18}{:>18}{:>18}",
        "", "keys", "one-shot", "steady", "catch up", "state bytes/row"
    );
    for queries in [&[&JOINS[0]][..], &[&JOINS[1]], &[&JOINS[0], &BESIDE]] {
        let mut results: [Vec<f64>; 3] = Default::default();
        let mut state_bytes = 0;
        for _ in 0..turns {
            let all = queries.iter().map(|query| one_shot(runtime, query, &chunks));
            results[0].push(all.sum());
            let steady = keep(runtime, queries, &chunks, 0, true);
            state_bytes = steady.state_bytes;
            results[1].push(steady.seconds);
            results[2].push(keep(runtime, queries, &chunks, 0, false).seconds);
        }
        let [one_shot, kept @ ..] = results.map(|seconds| rate(rows, seconds));
        let name = queries.last().expect("one at least").name;
        print!("{name:<16}{keys:>10}{one_shot:>12.1}");
        kept.iter()
            .for_each(|rate| print!("{:>18}", format!("{rate:.2} ({:.2})", rate / one_shot)));
        println!("{:>18.1}", state_bytes as f64 / rows as f64);
    }
}

/// Million rows per second, by the median of the turns.
fn rate(rows: usize, mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    rows as f64 / seconds[seconds.len() / 2] / 1e6
}

fn of_topic(topic: TopicId, chunks: Vec<Chunk>) -> Vec<(TopicId, Chunk)> {
    chunks.into_iter().map(|chunk| (topic, chunk)).collect()
}

/// One row of each key, in no order.
fn items(keys: i64) -> Vec<Chunk> {
    let mut random = StdRng::seed_from_u64(7);
    let mut all: Vec<i64> = (0..keys).collect();
    for place in (1..all.len()).rev() {
        all.swap(place, random.random_range(0..=place));
    }
    let schema = Arc::new(Schema::new(
        item_columns()
            .iter()
            .map(|column| column.pg_type.field(&column.name, !column.not_null))
            .collect::<Vec<_>>(),
    ));
    let chunk = |keys: &[i64]| {
        let prices: Int32Array = keys.iter().map(|_| Some(random.random_range(0..10_000))).collect();
        let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(keys.to_vec())), Arc::new(prices)];
        Chunk {
            partition: 0,
            base_offset: 0,
            rows: RecordBatch::try_new(schema.clone(), columns).expect("arrays of the schema's types"),
            runs: vec![Run {
                rows: keys.len(),
                lsn: 0,
                timestamp_us: 0,
                watermark: None,
            }]
            .into(),
        }
    };
    all.chunks(COMMIT_ROWS).map(chunk).collect()
}

/// Keys at random, times that go on by 1 ms a row, one window of 10 s holding 10,000 rows.
fn generate(rows: usize, groups: i64) -> Vec<Chunk> {
    let mut random = StdRng::seed_from_u64(42);
    let schema = Arc::new(Schema::new(
        columns()
            .iter()
            .map(|column| column.pg_type.field(&column.name, !column.not_null))
            .collect::<Vec<_>>(),
    ));
    let start = 1_704_067_200 * SECOND;
    let mut chunks = Vec::new();
    let mut at = 0;
    while at < rows {
        let count = COMMIT_ROWS.min(rows - at);
        let keys: Int64Array = (0..count).map(|_| Some(random.random_range(0..groups))).collect();
        let values: Int32Array = (0..count).map(|_| Some(random.random_range(0..10_000))).collect();
        let times: TimestampMicrosecondArray = (at..at + count).map(|row| Some(start + row as i64 * 1000)).collect();
        let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(keys), Arc::new(values), Arc::new(times)])
            .expect("arrays of the schema's types");
        let run = Run {
            rows: count,
            lsn: chunks.len() as Lsn + 1,
            timestamp_us: start,
            watermark: (at > 0).then(|| start + (at as i64 - 1) * 1000 - 4 * SECOND),
        };
        chunks.push(Chunk {
            partition: 0,
            base_offset: at as u64,
            rows: batch,
            runs: vec![run].into(),
        });
        at += count;
    }
    chunks
}

fn column(name: &str, pg_type: PgType) -> Column {
    Column {
        name: name.to_string(),
        pg_type,
        not_null: false,
        default: None,
        generated: None,
        id: 0,
        missing: None,
        typmod: None,
    }
}

fn item_columns() -> Vec<Column> {
    vec![column("k", PgType::Int8), column("price", PgType::Int4)]
}

fn columns() -> Vec<Column> {
    vec![
        column("k", PgType::Int8),
        column("v", PgType::Int4),
        column("ts", PgType::Timestamp),
    ]
}

fn topics() -> [Topic; 2] {
    let bids = Topic {
        oid: TOPIC.0,
        schema: "public".to_string(),
        name: "bids".to_string(),
        columns: columns(),
        checks: vec![],
        partition_by: vec![],
        partitions: 1,
        watermark: Some(Watermark {
            column: "ts".to_string(),
            delay_us: 4 * SECOND,
            max_ahead_us: None,
        }),
        idle_timeout_us: None,
        retention_us: None,
        retention_bytes: None,
        options: BTreeMap::new(),
        is_table: false,
        schema_id: 1,
        columns_made: 0,
        pinned: None,
    };
    let items = Topic {
        oid: ITEMS.0,
        name: "items".to_string(),
        columns: item_columns(),
        watermark: None,
        ..bids.clone()
    };
    [bids, items]
}

/// The cost of views, and their states.
struct Kept {
    /// Of the processor.
    seconds: f64,
    state_bytes: u64,
}

fn compiled(query: &Query) -> (Arc<View>, Dataflow) {
    let snapshot = Snapshot::initial().apply(&topics().map(Change::CreateTopic));
    let Statement::Select(select) = parse(query.view).expect("it parses").remove(0).statement else {
        panic!("a SELECT: {}", query.view);
    };
    let context = PlanContext {
        catalog: &snapshot,
        search_path: &["public".to_string()],
        functions_path: &["public".to_string()],
        time_zone: "UTC",
        user: "bench",
        database: "bench",
        parameter_types: &[],
        text: query.view,
    };
    let planned = plan_select(&select, &context).expect("it plans");
    let CompiledView::Incremental(dataflow) = compile(&planned, "UTC").expect("it compiles") else {
        panic!("kept incrementally: {}", query.view);
    };
    let view = View {
        oid: VIEW,
        schema: "public".to_string(),
        name: query.name.to_string(),
        columns: vec![],
        definition: query.view.to_string(),
        on_window_close: false,
        materialized: true,
        depends_on: vec![TOPIC.0],
        time_zone: "UTC".to_string(),
        search_path: vec!["public".to_string()],
        options: BTreeMap::new(),
        recomputed: None,
        inputs: BTreeMap::new(),
        names: Default::default(),
        mentions: Vec::new(),
    };
    (Arc::new(view), dataflow)
}

/// Keeps views over all commits, with `reads` readings of the first on the way and one at the end.
fn keep(runtime: &Runtime, queries: &[&Query], chunks: &[(TopicId, Chunk)], reads: usize, steady: bool) -> Kept {
    let compiled: Vec<(Arc<View>, Dataflow)> = queries.iter().map(|query| compiled(query)).collect();
    runtime.block_on(async {
        let (newest, published) = watch::channel(0);
        let commits = Arc::new(Commits {
            chunks: chunks.to_vec(),
            newest,
        });
        let views = Views::over(commits.clone(), published, usize::MAX);
        for ((view, dataflow), oid) in compiled.into_iter().zip(VIEW..) {
            views.create(oid, view, dataflow).await.expect("an empty view");
        }
        let last = chunks.len() as Lsn;
        let every = chunks.len().checked_div(reads).unwrap_or(0).max(1) as Lsn;
        let start = cpu_seconds();
        if steady {
            for lsn in 1..=last {
                commits.newest.send_replace(lsn);
                if reads > 0 && lsn % every == 0 {
                    views.read_newest(&[VIEW], lsn).await.expect("a reading");
                } else {
                    views.caught_up(lsn).await.expect("the driver runs");
                }
            }
        } else {
            commits.newest.send_replace(last);
            views.caught_up(last).await.expect("the driver runs");
        }
        let (_, rows) = views.read_newest(&[VIEW], last).await.expect("a reading");
        let seconds = cpu_seconds() - start;
        assert!(
            rows[&VIEW].batches.iter().any(|batch| batch.num_rows() > 0),
            "the view holds rows"
        );
        let operators = views.operators().into_iter();
        let state_bytes = operators.map(|operator| operator.state_bytes).sum();
        views.stop().await;
        Kept { seconds, state_bytes }
    })
}

/// CPU seconds of DataFusion's answer to the same query over the same batches, on one partition.
fn one_shot(runtime: &Runtime, query: &Query, chunks: &[(TopicId, Chunk)]) -> f64 {
    let config = SessionConfig::new()
        .with_target_partitions(1)
        .with_batch_size(COMMIT_ROWS);
    let session = SessionContext::new_with_config(config);
    for topic in topics() {
        let of_topic = chunks.iter().filter(|(id, _)| id.0 == topic.oid);
        let batches: Vec<RecordBatch> = of_topic.map(|(_, chunk)| chunk.rows.clone()).collect();
        if let Some(batch) = batches.first() {
            let table = MemTable::try_new(batch.schema(), vec![batches]).expect("a table in memory");
            session
                .register_table(topic.name.as_str(), Arc::new(table))
                .expect("a fresh session");
        }
    }
    runtime.block_on(async {
        let start = cpu_seconds();
        let frame = session.sql(query.one_shot).await.expect("it plans");
        let rows = frame.collect().await.expect("it runs");
        let took = cpu_seconds() - start;
        assert!(!rows.is_empty());
        took
    })
}

/// User and system time of this process.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("/proc");
    let (_, rest) = stat.rsplit_once(')').expect("the name stands in brackets");
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().expect("a number of ticks");
    // Clock ticks in /proc are 10 ms on every Linux.
    (ticks(11) + ticks(12)) / 100.0
}
