//! SELECTs over topics in memory, from text to text.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use arrow::array::{Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};
use futures::executor::block_on;
use sqlparser::ast;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::*;
use crate::catalog::{self, Relation, Snapshot, Topic, Watermark};
use crate::log::{Chunk, Reader, Run};
use crate::sql::plan::{PlanContext, plan_select};
use crate::sql::statement::{Emit, Select};
use crate::types::{ColumnFormatter, PgType, TextStyle};

const BIDS: u32 = 16_384;
const SECOND: i64 = 1_000_000;

/// A topic of two partitions and four commits.
struct Memory;

fn rows(values: &[(i64, i32, &str, i64)]) -> RecordBatch {
    let schema = bids().arrow_schema();
    RecordBatch::try_new(
        schema,
        vec![
            Arc::new(values.iter().map(|row| row.0).collect::<Int64Array>()),
            Arc::new(values.iter().map(|row| row.1).collect::<Int32Array>()),
            Arc::new(values.iter().map(|row| Some(row.2)).collect::<StringArray>()),
            Arc::new(
                values
                    .iter()
                    .map(|row| Some(row.3 * SECOND))
                    .collect::<TimestampMicrosecondArray>(),
            ),
        ],
    )
    .expect("the columns of the topic")
}

impl Topics for Memory {
    fn read(&self, reader: &Reader, after: Lsn, upto: Lsn) -> Result<Vec<Extent>, SqlError> {
        assert_eq!((reader.topic, after), (TopicId(BIDS), 0));
        let run = |rows, lsn, watermark: Option<i64>| Run {
            rows,
            lsn,
            timestamp_us: lsn as i64 * 100 * SECOND,
            watermark: watermark.map(|seconds| seconds * SECOND),
        };
        let chunks = [
            Chunk {
                partition: 0,
                base_offset: 0,
                rows: rows(&[(1, 10, "web", 1), (2, 20, "app", 12), (1, 30, "web", 3)]),
                runs: Arc::from([run(2, 1, None), run(1, 3, Some(11))]),
            },
            Chunk {
                partition: 1,
                base_offset: 7,
                rows: rows(&[(3, 5, "app", 2), (3, 6, "web", 25)]),
                runs: Arc::from([run(1, 2, Some(11)), run(1, 4, Some(11))]),
            },
        ];
        Ok(chunks
            .into_iter()
            .filter_map(|chunk| chunk.between(after, upto))
            .map(Extent::Memory)
            .collect())
    }

    fn watermark(&self, _topic: TopicId, at: Lsn) -> Option<i64> {
        match at {
            0 => None,
            1..=3 => Some(11 * SECOND),
            _ => Some(24 * SECOND),
        }
    }
}

fn bids() -> Topic {
    let column = |name: &str, pg_type| catalog::Column {
        name: name.to_string(),
        pg_type,
        not_null: false,
        default: None,
        generated: None,
        id: 0,
        missing: None,
        typmod: None,
    };
    Topic {
        oid: BIDS,
        schema: "public".to_string(),
        name: "bids".to_string(),
        columns: vec![
            column("auction", PgType::Int8),
            column("price", PgType::Int4),
            column("channel", PgType::Text),
            column("ts", PgType::Timestamp),
        ],
        checks: vec![],
        partition_by: vec![],
        partitions: 2,
        watermark: Some(Watermark {
            column: "ts".to_string(),
            delay_us: SECOND,
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
    }
}

fn planned(sql: &str, emit: Emit) -> Result<Planned, SqlError> {
    let mut catalog = Snapshot::initial();
    catalog.names.insert(("public".to_string(), "bids".to_string()), BIDS);
    catalog.relations.insert(BIDS, Relation::Topic(Arc::new(bids())));
    let mut parser = Parser::new(&PostgreSqlDialect {})
        .with_recursion_limit(100_000)
        .try_with_sql(sql)
        .expect("the test's SQL has tokens");
    let ast::Statement::Query(query) = parser.parse_statement().expect("the test's SQL parses") else {
        panic!("not a query: {sql}");
    };
    let search_path = ["public".to_string()];
    let context = PlanContext {
        catalog: &catalog,
        search_path: &search_path,
        functions_path: &search_path,
        time_zone: "UTC",
        user: "millstream",
        database: "millstream",
        parameter_types: &[],
        text: sql,
    };
    plan_select(
        &Select {
            query,
            emit,
            given: Default::default(),
        },
        &context,
    )
}

/// One for all tests: making the engine takes longer than most queries.
fn query() -> &'static Query {
    static QUERY: LazyLock<Query> =
        LazyLock::new(|| Query::new(Arc::new(Memory), QueryOptions::default()).expect("default options are valid"));
    &QUERY
}

fn point(lsn: Lsn) -> ReadPoint {
    ReadPoint {
        lsn,
        retention_us: 0,
        own_writes: OwnWrites::new(),
        inserted: None,
        views: HashMap::new(),
        system: Arc::new(|_| unreachable!("these tests read no system relation")),
        parameters: vec![],
        session: SessionInfo {
            now_us: 1_000_000_000 * SECOND,
            ..SessionInfo::default()
        },
    }
}

fn text(stream: RowStream) -> Result<String, SqlError> {
    let schema = stream.schema.clone();
    let mut lines = Vec::new();
    for batch in block_on(stream.collect())? {
        let columns: Vec<ColumnFormatter> = batch
            .columns()
            .iter()
            .zip(schema.fields())
            .map(|(column, field)| {
                let pg_type = PgType::of_field(field).expect("planned fields have types");
                ColumnFormatter::new(&pg_type, column, &TextStyle::default()).expect("it fits its type")
            })
            .collect();
        for row in 0..batch.num_rows() {
            let values: Vec<String> = columns
                .iter()
                .map(|column| column.text(row).unwrap_or_else(|| "NULL".to_string()))
                .collect();
            lines.push(values.join("|"));
        }
    }
    Ok(lines.join("\n"))
}

/// Runs a query at once, and again as one that has run before.
fn run_at(sql: &str, emit: Emit, point: &ReadPoint) -> Result<String, SqlError> {
    let planned = Arc::new(planned(sql, emit)?);
    let reuse = Arc::new(Reuse::default());
    let run = || {
        let rows = query().execute_again(planned.clone(), Some(reuse.clone()), point.clone());
        text(block_on(rows)?)
    };
    let first = run();
    for _ in 0..2 {
        assert_eq!(run(), first, "a plan answers the same again: {sql}");
    }
    first
}

#[track_caller]
fn check(sql: &str, expect: &str) {
    check_at(4, sql, expect);
}

#[track_caller]
fn check_at(lsn: Lsn, sql: &str, expect: &str) {
    match run_at(sql, Emit::OnChange, &point(lsn)) {
        Ok(have) => assert_eq!(have, expect, "{sql}"),
        Err(error) => assert_eq!(format!("{error}"), expect, "{sql}"),
    }
}

#[test]
fn a_topic_is_read_at_the_lsn() {
    check(
        "SELECT auction, price FROM bids ORDER BY price",
        "3|5\n3|6\n1|10\n2|20\n1|30",
    );
    check_at(2, "SELECT auction, price FROM bids ORDER BY price", "3|5\n1|10\n2|20");
    check_at(0, "SELECT count(*) FROM bids", "0");
    check(
        "SELECT count(*), sum(price), avg(price) FROM bids",
        "5|71|14.2000000000000000",
    );
}

#[test]
fn hidden_columns_are_there_when_named() {
    check(
        "SELECT _partition, _offset, _lsn, _timestamp, _watermark FROM bids WHERE _lsn >= 2 ORDER BY _lsn",
        "1|7|2|1970-01-01 00:03:20+00|1970-01-01 00:00:11\n\
         0|2|3|1970-01-01 00:05:00+00|1970-01-01 00:00:11\n\
         1|8|4|1970-01-01 00:06:40+00|1970-01-01 00:00:11",
    );
    check("SELECT price FROM bids WHERE _partition = 1 AND _offset > 7", "6");
    check(
        "SELECT price FROM bids WHERE _timestamp BETWEEN '1970-01-01 00:03:20+00' AND '1970-01-01 00:05:00+00' ORDER BY 1",
        "5\n30",
    );
}

fn explained(sql: &str, analyze: bool) -> String {
    let planned = planned(sql, Emit::OnChange).expect("it plans");
    block_on(query().explain(Arc::new(planned), point(4), analyze, false))
        .expect("it explains")
        .join("\n")
}

#[test]
fn explain_shows_what_was_pruned() {
    let plan = explained("SELECT price FROM bids WHERE _partition = 1 AND _offset > 7", false);
    assert!(plan.contains("TopicScan: bids"), "{plan}");
    assert!(
        plan.contains("chunks=1 of 2, rows=1 of 5, pruned by _partition = 1, _offset >= 8"),
        "{plan}"
    );
    let plan = explained(
        "SELECT price FROM bids WHERE _timestamp > now() - interval '1 hour'",
        false,
    );
    assert!(plan.contains("chunks=0 of 2"), "{plan}");
    let plan = explained("SELECT price FROM bids LIMIT 2", false);
    assert!(plan.contains("limit=2"), "{plan}");
    let plan = explained("SELECT count(*) FROM bids", false);
    assert!(!plan.contains("TopicScan"), "{plan}");
    let plan = explained("SELECT price FROM bids", true);
    assert!(
        plan.contains("output_rows=5") && plan.contains("Execution Time"),
        "{plan}"
    );
}

#[test]
fn a_transaction_sees_its_own_rows() {
    let mut own = point(4);
    let rows = rows(&[(9, 99, "own", 30)]);
    let written = OwnRows {
        schema_id: 1,
        schema: rows.schema(),
        rows: vec![(1, rows.into())],
    };
    own.own_writes.insert(BIDS, written);
    let sql = "SELECT auction, _partition, _offset, _lsn FROM bids WHERE price > 25";
    let have = |own: &ReadPoint| run_at(sql, Emit::OnChange, own).expect("it runs");
    assert_eq!(have(&own), "1|0|2|3\n9|NULL|NULL|NULL");
    let newest = "SELECT auction FROM bids WHERE price > 25 ORDER BY _offset DESC LIMIT 1";
    assert_eq!(run_at(newest, Emit::OnChange, &own).expect("it runs"), "9");
}

#[test]
fn windows_skip_late_rows_and_close_by_the_watermark() {
    let sql = "SELECT window_start, count(*), sum(price) FROM TUMBLE(bids, ts, INTERVAL '10 seconds') \
               GROUP BY window_start ORDER BY 1";
    let all = "1970-01-01 00:00:00|1|10\n1970-01-01 00:00:10|1|20\n1970-01-01 00:00:20|1|6";
    check(sql, all);
    let closed = run_at(sql, Emit::OnWindowClose, &point(4)).expect("it runs");
    assert_eq!(closed, "1970-01-01 00:00:00|1|10\n1970-01-01 00:00:10|1|20");
    let earlier = run_at(sql, Emit::OnWindowClose, &point(3)).expect("it runs");
    assert_eq!(earlier, "1970-01-01 00:00:00|1|10");
}

#[test]
fn parameters_are_bound() {
    let mut with = point(4);
    with.parameters = vec![ScalarValue::Int32(Some(10)), ScalarValue::Utf8(Some("web".to_string()))];
    let sql = "SELECT price + $1 FROM bids WHERE price > $1 AND channel = $2";
    assert_eq!(run_at(sql, Emit::OnChange, &with).expect("it runs"), "40");
    with.parameters.pop();
    let error = run_at(sql, Emit::OnChange, &with).expect_err("a parameter is missing");
    assert_eq!(error.state.0, "42P02");
}

#[test]
fn functions_read_the_sessions_time_zone() {
    let mut berlin = point(4);
    berlin.session.time_zone = "Europe/Berlin".into();
    let sql = "SELECT extract(epoch FROM ts::timestamptz), ts::timestamptz::timestamp FROM bids WHERE price = 10";
    let have = run_at(sql, Emit::OnChange, &berlin);
    assert_eq!(have.expect("it runs"), "-3599.000000|1970-01-01 00:00:01");
    let sql = "SELECT ts AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Berlin' FROM bids WHERE price = 10";
    assert_eq!(
        run_at(sql, Emit::OnChange, &berlin).expect("it runs"),
        "1970-01-01 01:00:01"
    );
}

#[test]
fn deep_expressions_do_not_overflow_the_stack() {
    let plan = |terms: usize| {
        let sql = format!("SELECT length({})", vec!["'a'"; terms].join(" || "));
        std::thread::Builder::new()
            .stack_size(crate::depth::STACK_BYTES)
            .spawn(move || run_at(&sql, Emit::OnChange, &point(0)))
            .expect("a thread starts")
            .join()
            .expect("it does not panic")
    };
    assert_eq!(plan(290).expect("it runs"), "290");
    assert_eq!(plan(2000).expect_err("it is too deep").state.0, "54001");
}

mod answers;

/// A topic of two partitions, each of a hundred chunks of ten rows, every chunk a commit.
struct Long;

impl Topics for Long {
    fn read(&self, _reader: &Reader, _after: Lsn, _upto: Lsn) -> Result<Vec<Extent>, SqlError> {
        let chunk = |partition: u32, number: u64| {
            let first = i64::try_from(number * 10).expect("few rows");
            let values: Vec<_> = (first..first + 10).map(|row| (row, 1, "web", 1)).collect();
            let lsn = 1 + 2 * number + u64::from(partition);
            Extent::Memory(Chunk {
                partition,
                base_offset: number * 10,
                rows: rows(&values),
                runs: Arc::from([Run {
                    rows: 10,
                    lsn,
                    timestamp_us: i64::try_from(lsn).expect("few commits") * SECOND,
                    watermark: None,
                }]),
            })
        };
        let chunks = (0..2).flat_map(|partition| (0..100).map(move |number| chunk(partition, number)));
        Ok(chunks.collect())
    }

    fn watermark(&self, _topic: TopicId, _at: Lsn) -> Option<i64> {
        None
    }
}

/// The number of pieces that the scans of a query over [`Long`] read, on two ways.
fn pieces_read(sql: &str) -> usize {
    let options = QueryOptions {
        parallelism: 2,
        batch_rows: 10,
        ..QueryOptions::default()
    };
    let query = Query::new(Arc::new(Long), options).expect("the options are valid");
    let planned = planned(sql, Emit::OnChange).expect("it plans");
    let plan = block_on(query.explain(Arc::new(planned), point(200), true, false))
        .expect("it explains")
        .join("\n");
    let counts = plan.split("pieces_read=").skip(1);
    let digits = |rest: &str| rest.split(|c: char| !c.is_ascii_digit()).next().map(str::to_string);
    let count = |rest: &str| digits(rest).and_then(|digits| digits.parse::<usize>().ok());
    counts
        .map(|rest| count(rest).unwrap_or_else(|| panic!("a count: {plan}")))
        .sum()
}

#[test]
fn an_order_by_offsets_reads_what_it_answers() {
    assert_eq!(
        pieces_read("SELECT auction FROM bids WHERE price = 1 ORDER BY price LIMIT 5"),
        200
    );
    let one = |sql: &str| pieces_read(&format!("SELECT auction FROM bids WHERE _partition = 1 {sql}"));
    assert_eq!(one("ORDER BY _offset DESC LIMIT 5"), 1);
    assert_eq!(one("ORDER BY _offset DESC LIMIT 15"), 2);
    assert_eq!(one("ORDER BY _lsn DESC LIMIT 10"), 1);
    assert_eq!(one("AND _offset > 500 ORDER BY _offset LIMIT 9"), 1);
    assert_eq!(one("AND _offset > 500 ORDER BY _offset LIMIT 10"), 2);
    assert_eq!(one("AND _offset > 999 ORDER BY _offset LIMIT 10"), 0);
    assert_eq!(one("AND auction < 950 ORDER BY _offset DESC LIMIT 3"), 6);
    // From both partitions, each a little ahead of the merge.
    let both = pieces_read("SELECT auction FROM bids ORDER BY _timestamp DESC LIMIT 5");
    assert!((2..=8).contains(&both), "{both}");
}

#[test]
fn a_poll_runs_again_with_other_values() {
    let sql = "SELECT price FROM bids WHERE _partition = $1 AND _offset > $2 ORDER BY _offset LIMIT $3";
    let planned = Arc::new(planned(sql, Emit::OnChange).expect("it plans"));
    let reuse = Arc::new(Reuse::default());
    let poll = |partition: i32, after: i64, limit: i64| {
        let mut point = point(4);
        let parameters = [
            ScalarValue::Int32(Some(partition)),
            ScalarValue::Int64(Some(after)),
            ScalarValue::Int64(Some(limit)),
        ];
        point.parameters = parameters.to_vec();
        let rows = query().execute_again(planned.clone(), Some(reuse.clone()), point);
        block_on(rows).and_then(text).map_err(|error| error.state)
    };
    assert_eq!(poll(0, -1, 2).as_deref(), Ok("10\n20"));
    assert_eq!(poll(0, 1, 2).as_deref(), Ok("30"));
    assert_eq!(poll(0, 2, 2).as_deref(), Ok(""));
    assert_eq!(poll(1, 6, 1).as_deref(), Ok("5"));
    assert_eq!(poll(2, 0, 1).as_deref(), Ok(""));
    assert_eq!(poll(0, -1, 1).as_deref(), Ok("10"));
    assert!(poll(0, -1, -1).is_err() && poll(0, 5, -1).is_err());
}

#[test]
fn an_order_by_offsets_is_read_from_its_end() {
    check(
        "SELECT price FROM bids WHERE _partition = 0 ORDER BY _offset",
        "10\n20\n30",
    );
    check(
        "SELECT price FROM bids WHERE _partition = 0 ORDER BY _offset DESC",
        "30\n20\n10",
    );
    check(
        "SELECT price FROM bids WHERE _partition = 0 ORDER BY _offset DESC LIMIT 2",
        "30\n20",
    );
    check(
        "SELECT price FROM bids WHERE _partition = 0 AND _offset > 0 ORDER BY _offset LIMIT 1",
        "20",
    );
    check(
        "SELECT price FROM bids WHERE _partition = 0 AND price < 30 ORDER BY _offset DESC LIMIT 1",
        "20",
    );
    check(
        "SELECT price FROM bids WHERE _partition = 0 ORDER BY _offset DESC LIMIT 1 OFFSET 1",
        "20",
    );
    // Two partitions are merged.
    check(
        "SELECT _offset, price FROM bids ORDER BY _offset DESC LIMIT 3",
        "8|6\n7|5\n2|30",
    );
    check("SELECT price FROM bids ORDER BY _lsn", "10\n20\n5\n30\n6");
    check(
        "SELECT price FROM bids ORDER BY _lsn DESC, _offset DESC",
        "6\n30\n5\n20\n10",
    );
    check(
        "SELECT price FROM bids ORDER BY _timestamp DESC NULLS LAST LIMIT 2",
        "6\n30",
    );
    check("SELECT price FROM bids ORDER BY _lsn, _offset DESC", "20\n10\n5\n30\n6");
    check(
        "SELECT n FROM (SELECT price * 2 AS n, _offset AS at FROM bids) AS b ORDER BY at DESC LIMIT 1",
        "12",
    );
    check(
        "SELECT _offset FROM bids WHERE _partition = 1 AND _offset > 8 ORDER BY _offset LIMIT 5",
        "",
    );
    let plan = explained(
        "SELECT price FROM bids WHERE _partition = 0 ORDER BY _offset DESC LIMIT 2",
        false,
    );
    assert!(!plan.contains("SortExec"), "{plan}");
    let plan = explained("SELECT price FROM bids ORDER BY _lsn DESC LIMIT 2", false);
    assert!(
        !plan.contains("SortExec") && plan.contains("SortPreservingMerge"),
        "{plan}"
    );
    let plan = explained("SELECT price FROM bids ORDER BY _lsn, _offset DESC", false);
    assert!(plan.contains("SortExec"), "{plan}");
}
