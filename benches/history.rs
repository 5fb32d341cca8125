//! The cost of rows that are kept for good and read again, beside Parquet files of the same rows.
//!
//! `cargo bench --bench history --features parquet` commits an auction's bids through the library, "over two hours" of a
//! clock of its own, lets the segments be merged, opens the directory again and asks:
//!
//! - a scan of all rows with filter and aggregate, in rows per CPU second of the process, beside DataFusion over
//!   Parquet (zstd, as DataFusion writes it, and lz4), in turns, both split into as many ways as there are cores, all
//!   files in the page cache;
//! - the rows that were committed in one of those minutes: how many of the stored bytes are read for them;
//! - bytes per row on disk, and the CPU time that goes into moving rows there beside that of taking them in.
//!
//! One rule: both sides answer the same, or the run fails. `BENCH_ROWS` (10,000,000), `BENCH_TURNS` (3) and
//! `BENCH_SECONDS` (CPU seconds of a scan's turn, 1) change the size, `BENCH_DIR` the place. Not here: the wire and
//! syncs (`ingest`).

#![allow(
    clippy::disallowed_methods,
    reason = "a bench reads /proc and writes Parquet files, and takes its own random numbers"
)]

#[path = "support/bids.rs"]
mod bids;
#[path = "support/process.rs"]
mod process;

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{AsArray, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder};
use arrow::datatypes::{Int64Type, Schema, SchemaRef};
use arrow::util::pretty::pretty_format_batches;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::properties::WriterProperties;
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use futures::StreamExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use bids::{Bids, COLUMNS};
use millstream::catalog::Relation;
use millstream::log::{LogOptions, SegmentInfo, TopicId};
use millstream::server::{QueryMemory, ViewOptions, open_engine};
use millstream::session::{Engine, Outcome, Parameters, Session};
use millstream::storage::{Clock, RealDisk};
use millstream::types::PgType;
use process::{own_cpu_seconds, thread_cpu_seconds, threads_cpu_seconds};

/// Scans of all rows, in words that both sides understand.
const SCANS: [(&str, &str); 2] = [
    (
        "numbers",
        "SELECT auction % 100 AS k, count(*) AS n, max(price) AS top FROM bids WHERE price > 50000 GROUP BY 1 ORDER BY 1",
    ),
    (
        "text, time",
        "SELECT channel, count(*) AS n, max(date_time) AS newest FROM bids WHERE bidder % 10 <> 3 AND channel < 'a' GROUP BY 1 ORDER BY 1",
    ),
];
const MINUTE: &str = "SELECT count(*) AS n, sum(price) AS total FROM bids \
     WHERE _timestamp >= '2024-01-01 01:00:00+00' AND _timestamp < '2024-01-01 01:01:00+00'";

const SECOND_US: i64 = 1_000_000;
/// 2024-01-01 00:00:00 UTC: the first commit.
const START_US: i64 = 1_704_067_200 * SECOND_US;
/// Over which the commits are spread.
const SPAN_US: i64 = 2 * 3600 * SECOND_US;
/// The time range of [`MINUTE`].
const MINUTE_US: Range<i64> = START_US + 3600 * SECOND_US..START_US + 3660 * SECOND_US;
/// Commits, at least: a minute then has several.
const COMMITS_MIN: u64 = 1200;
const COMMIT_ROWS_MAX: u64 = 8192;
/// Memory for rows that are not in segments: what the server has if nobody says more.
const TAIL_BYTES: usize = 256 << 20;
/// Names of the threads that write segments, as far as the kernel keeps them.
const STORING_THREADS: [&str; 2] = ["millstream-flus", "millstream-merg"];
const QUERY_BYTES: usize = 4 << 30;
/// Segments that did not change for so long are merged no further.
const MERGED_AFTER: Duration = Duration::from_secs(15);

/// A clock that the load moves.
struct LoadClock(AtomicI64);

impl Clock for LoadClock {
    fn now_us(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    fn monotonic_us(&self) -> i64 {
        self.now_us()
    }
}

fn main() {
    let number = |name: &str, usual: u64| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(usual)
    };
    let rows = number("BENCH_ROWS", 10_000_000);
    let turns = number("BENCH_TURNS", 3);
    let seconds = number("BENCH_SECONDS", 1) as f64;
    let scratch = scratch();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let data_dir = scratch.path().join("millstream");
        let loaded = load(&data_dir, rows).await;
        let zstd = ZstdLevel::try_new(3).expect("a level that there is");
        let parquet = [("zstd", Compression::ZSTD(zstd)), ("lz4", Compression::LZ4_RAW)]
            .map(|(name, compression)| Parquet::write(scratch.path(), name, compression, rows));
        let mut ours = Ours::open(&data_dir, Arc::new(LoadClock(AtomicI64::new(START_US + SPAN_US)))).await;
        print_storage(rows, &loaded, &ours.segments(), &parquet);
        ours.print_minute(loaded.minute).await;
        print_scans(rows, turns, seconds, &mut ours, &parquet).await;
        ours.close().await;
    });
}

/// Beside the build: a place for temporary files may be in memory. `BENCH_DIR` says another.
fn scratch() -> tempfile::TempDir {
    let place = std::env::var_os("BENCH_DIR").map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    tempfile::tempdir_in(place).expect("a scratch directory")
}

/// The cost of taking the rows in, and the expected answer to [`MINUTE`].
struct Loaded {
    /// CPU seconds of all but the making of rows and the writing of segments.
    ingest_seconds: f64,
    /// CPU seconds of the threads that write segments, and of the stop, which writes the rest of them.
    flush_seconds: f64,
    /// CPU seconds of merging segments, once the load is over.
    merge_seconds: f64,
    /// As they were before that.
    flushed: Vec<SegmentInfo>,
    minute: (i64, i64),
}

/// Commits all rows, each commit at its time of the span, and stops in order.
async fn load(data_dir: &Path, rows: u64) -> Loaded {
    let clock = Arc::new(LoadClock(AtomicI64::new(START_US)));
    let mut ours = Ours::open(data_dir, clock.clone()).await;
    ours.execute(&format!("CREATE TOPIC bids {COLUMNS}")).await;
    let (mut commits, mut minute, mut making) = (Commits::new(rows), (0, 0), 0.0);
    let before = own_cpu_seconds();
    loop {
        let made = thread_cpu_seconds();
        let Some((at_us, batch)) = commits.next() else { break };
        clock.0.store(at_us, Ordering::SeqCst);
        if MINUTE_US.contains(&at_us) {
            minute.0 += batch.num_rows() as i64;
            minute.1 += batch.column(2).as_primitive::<Int64Type>().values().iter().sum::<i64>();
        }
        making += thread_cpu_seconds() - made;
        let Outcome::CopyIn(mut copy) = ours.execute("COPY bids FROM STDIN").await else {
            unreachable!("COPY FROM STDIN asks for rows");
        };
        let appended = ours.session.copy_append(&mut copy, &batch).await;
        appended.expect("rows of the topic");
        ours.session.copy_finish(copy).await.expect("a commit");
    }
    let flushing: f64 = STORING_THREADS.into_iter().map(threads_cpu_seconds).sum();
    let ingest_seconds = own_cpu_seconds() - before - making - flushing;
    let flushed = ours.segments();
    ours.merged().await;
    let stored: f64 = STORING_THREADS.into_iter().map(threads_cpu_seconds).sum();
    let stopping = own_cpu_seconds();
    ours.close().await;
    Loaded {
        ingest_seconds,
        flush_seconds: flushing + own_cpu_seconds() - stopping,
        merge_seconds: stored - flushing,
        flushed,
        minute,
    }
}

/// The bids as batches, one for each commit. The same rows every time.
struct Commits {
    bids: Bids,
    random: StdRng,
    schema: SchemaRef,
    rows: u64,
    commit_rows: u64,
    row: u64,
}

impl Commits {
    fn new(rows: u64) -> Commits {
        let types = [
            ("auction", PgType::Int8),
            ("bidder", PgType::Int8),
            ("price", PgType::Int8),
            ("channel", PgType::Text),
            ("url", PgType::Text),
            ("date_time", PgType::Timestamp),
            ("extra", PgType::Text),
        ];
        let fields: Vec<_> = types.iter().map(|(name, pg_type)| pg_type.field(name, true)).collect();
        Commits {
            bids: Bids::new(),
            random: StdRng::seed_from_u64(42),
            schema: Arc::new(Schema::new(fields)),
            rows,
            commit_rows: (rows / COMMITS_MIN).clamp(1, COMMIT_ROWS_MAX),
            row: 0,
        }
    }

    /// The rows of the next commit, and its time.
    fn next(&mut self) -> Option<(i64, RecordBatch)> {
        let left = self.rows - self.row;
        if left == 0 {
            return None;
        }
        let count = left.min(self.commit_rows);
        let share = self.row as f64 / self.rows as f64;
        let at_us = START_US + (share * SPAN_US as f64) as i64;
        let [mut auctions, mut bidders, mut prices] = [(); 3].map(|()| Int64Builder::new());
        let [mut channels, mut urls, mut extras] = [(); 3].map(|()| StringBuilder::new());
        let mut times = TimestampMicrosecondBuilder::new();
        for bid in self.bids.by_ref().take(count as usize) {
            auctions.append_value(bid.auction);
            bidders.append_value(bid.bidder);
            prices.append_value(bid.price);
            channels.append_value(bid.channel);
            urls.append_value(bid.url);
            times.append_value(at_us - self.random.random_range(0..SECOND_US / 2) / 1000 * 1000);
            extras.append_value(bid.extra);
        }
        self.row += count;
        let batch = RecordBatch::try_new(
            self.schema.clone(),
            vec![
                Arc::new(auctions.finish()),
                Arc::new(bidders.finish()),
                Arc::new(prices.finish()),
                Arc::new(channels.finish()),
                Arc::new(urls.finish()),
                Arc::new(times.finish()),
                Arc::new(extras.finish()),
            ],
        );
        Some((at_us, batch.expect("arrays of the schema's types")))
    }
}

/// Our side: the engine on a directory, and a session.
struct Ours {
    engine: Arc<Engine>,
    session: Session,
}

impl Ours {
    async fn open(data_dir: &Path, clock: Arc<LoadClock>) -> Ours {
        let options = LogOptions::with_memory(TAIL_BYTES);
        let views = ViewOptions {
            memory_bytes_max: QUERY_BYTES,
            off: false,
        };
        let memory = QueryMemory {
            bytes_max: QUERY_BYTES,
            give_back: None,
        };
        let (engine, _) = open_engine(RealDisk::shared(), data_dir, clock, options, memory, views)
            .await
            .expect("a directory of our own");
        let session = Session::new(
            engine.clone(),
            "millstream".into(),
            "millstream".into(),
            Default::default(),
        );
        Ours {
            engine,
            session: session.expect("a session"),
        }
    }

    async fn close(self) {
        drop(self.session);
        self.engine.views.stop().await;
        self.engine.log.close().await.expect("a clean stop");
    }

    async fn execute(&mut self, text: &str) -> Outcome {
        let statements = self.session.parse(text).await.expect(text);
        let statement = statements.first().expect("one statement");
        let executed = self.session.execute(statement, &Parameters::default()).await;
        executed.expect(text)
    }

    async fn rows(&mut self, text: &str) -> Vec<RecordBatch> {
        let Outcome::Rows { batches, .. } = self.execute(text).await else {
            unreachable!("a query answers rows: {text}");
        };
        let batches: Result<Vec<RecordBatch>, _> = batches.collect::<Vec<_>>().await.into_iter().collect();
        batches.expect(text)
    }

    fn segments(&self) -> Vec<SegmentInfo> {
        let catalog = self.engine.catalog.current();
        let Some(Relation::Topic(topic)) = catalog.find("public", "bids") else {
            unreachable!("the topic was made");
        };
        self.engine.log.segments(TopicId(topic.oid))
    }

    /// Waits until segments are merged no further.
    async fn merged(&self) {
        let (mut before, mut since) = (Vec::new(), Instant::now());
        while since.elapsed() < MERGED_AFTER {
            tokio::time::sleep(MERGED_AFTER / 50).await;
            let now: Vec<u64> = self.segments().iter().map(|segment| segment.id).collect();
            if now != before {
                (before, since) = (now, Instant::now());
            }
        }
    }

    /// Reads one minute of commits, and says which part of the stored bytes that took.
    async fn print_minute(&mut self, (rows, total): (i64, i64)) {
        let answer = self.rows(MINUTE).await;
        let expected = format!("{rows} {total}");
        let shown = pretty_format_batches(&answer).expect("rows").to_string();
        let last = shown.lines().nth(3).expect("one row below the names");
        let words: Vec<&str> = last.split_whitespace().filter(|word| *word != "|").collect();
        assert_eq!(words.join(" "), expected, "the rows that were committed in that minute");
        let plan = self.rows(&format!("EXPLAIN ANALYZE {MINUTE}")).await;
        let lines = plan
            .iter()
            .flat_map(|batch| batch.column(0).as_string::<i32>().iter().flatten());
        let scan = lines
            .into_iter()
            .find_map(|line| line.split_once(", bytes="))
            .expect("a scan of segments");
        let (read, rest) = scan.1.split_once(" of ").expect("bytes=read of all");
        let all = rest.split(',').next().expect("never nothing");
        let bytes = |text: &str| text.parse::<f64>().expect("a number of bytes");
        println!(
            "\none minute of two hours of commits: {rows} rows; {read} of {all} bytes read ({:.2} %)",
            100.0 * bytes(read) / bytes(all)
        );
    }
}

/// The same rows as a Parquet file.
struct Parquet {
    name: &'static str,
    path: String,
    bytes: u64,
    /// CPU seconds of writing it.
    seconds: f64,
}

impl Parquet {
    fn write(folder: &Path, name: &'static str, compression: Compression, rows: u64) -> Parquet {
        let path = folder.join(format!("{name}.parquet"));
        let file = fs::File::create(&path).expect("a file");
        let mut commits = Commits::new(rows);
        let properties = WriterProperties::builder().set_compression(compression).build();
        let mut writer = ArrowWriter::try_new(file, commits.schema.clone(), Some(properties)).expect("a writer");
        let mut seconds = 0.0;
        while let Some((_, batch)) = commits.next() {
            let before = thread_cpu_seconds();
            writer.write(&batch).expect("rows");
            seconds += thread_cpu_seconds() - before;
        }
        let before = thread_cpu_seconds();
        writer.close().expect("a whole file");
        seconds += thread_cpu_seconds() - before;
        Parquet {
            name,
            bytes: fs::metadata(&path).expect("it was written").len(),
            path: path.to_string_lossy().into_owned(),
            seconds,
        }
    }

    /// DataFusion as it comes, with this file as `bids`.
    async fn open(&self) -> SessionContext {
        let context = SessionContext::new();
        context
            .register_parquet("bids", &self.path, ParquetReadOptions::default())
            .await
            .expect("a Parquet file");
        context
    }
}

fn print_storage(rows: u64, loaded: &Loaded, segments: &[SegmentInfo], parquet: &[Parquet]) {
    println!("on disk: bytes per row, and ours merged by its; writer's CPU us per row");
    let stored = |segments: &[SegmentInfo]| {
        let rows: u64 = segments.iter().map(|segment| segment.rows).sum();
        let bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
        (rows, bytes as f64 / rows as f64, segments.len())
    };
    let merged: Vec<SegmentInfo> = segments.iter().filter(|segment| segment.is_merged).cloned().collect();
    assert!(
        !loaded.flushed.is_empty() && !merged.is_empty(),
        "too few rows for segments that are merged"
    );
    let (stored_rows, bytes, count) = stored(&loaded.flushed);
    println!(
        "{:<12}{bytes:>10.2}{:>8}{:>10.3}   {count} segments with {stored_rows} of {rows} rows",
        "flushed",
        "",
        loaded.flush_seconds * 1e6 / rows as f64,
    );
    let (stored_rows, per_row, count) = stored(&merged);
    println!(
        "{:<12}{per_row:>10.2}{:>8}{:>10.3}   {count} segments with {stored_rows} of {rows} rows",
        "merged",
        "",
        loaded.merge_seconds * 1e6 / stored_rows as f64,
    );
    for file in parquet {
        let theirs = file.bytes as f64 / rows as f64;
        println!(
            "{:<12}{theirs:>10.2}{:>8.2}{:>10.3}",
            format!("parquet {}", file.name),
            per_row / theirs,
            file.seconds * 1e6 / rows as f64
        );
    }
    println!(
        "\nCPU us per row: {:.3} to take it in (log and memory, no wire), {:.3} to flush it, {:.3} to merge it",
        loaded.ingest_seconds * 1e6 / rows as f64,
        loaded.flush_seconds * 1e6 / rows as f64,
        loaded.merge_seconds * 1e6 / stored_rows as f64,
    );
}

async fn print_scans(rows: u64, turns: u64, seconds: f64, ours: &mut Ours, parquet: &[Parquet]) {
    println!("\nscan of all rows: million rows per CPU second, median of {turns} turns; in brackets: ours by it");
    print!("{:<12}{:>12}", "", "millstream");
    parquet
        .iter()
        .for_each(|file| print!("{:>22}", format!("parquet {}", file.name)));
    println!();
    let mut others = Vec::new();
    for file in parquet {
        others.push(file.open().await);
    }
    for (name, query) in SCANS {
        // The first answers are for the page cache, and compared.
        let expected = shown(&ours.rows(query).await);
        for other in &others {
            assert_eq!(
                shown(&select(other, query).await),
                expected,
                "both sides answer the same"
            );
        }
        let mut rates = vec![Vec::new(); 1 + others.len()];
        for _ in 0..turns {
            for (system, rates) in rates.iter_mut().enumerate() {
                let (before, mut scans) = (own_cpu_seconds(), 0);
                let used = loop {
                    let answer = match system.checked_sub(1) {
                        None => ours.rows(query).await,
                        Some(other) => select(&others[other], query).await,
                    };
                    assert!(!answer.is_empty(), "an answer");
                    scans += 1;
                    let used = own_cpu_seconds() - before;
                    if used >= seconds {
                        break used;
                    }
                };
                rates.push((rows * scans) as f64 / used / 1e6);
            }
        }
        let rates: Vec<f64> = rates.into_iter().map(median).collect();
        print!("{name:<12}{:>12.1}", rates[0]);
        rates[1..]
            .iter()
            .for_each(|rate| print!("{:>22}", format!("{rate:.1} ({:.2})", rates[0] / rate)));
        println!();
    }
}

async fn select(context: &SessionContext, query: &str) -> Vec<RecordBatch> {
    let frame = context.sql(query).await.expect("it plans");
    frame.collect().await.expect("it runs")
}

fn shown(rows: &[RecordBatch]) -> String {
    pretty_format_batches(rows).expect("rows").to_string()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
