//! Rows completed, refused, and definitions refused.

use std::collections::BTreeMap;

use sqlparser::ast;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::*;
use crate::catalog::{Check, Column, Snapshot, Watermark};
use crate::sql::plan::PlanContext;

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

fn bids() -> Topic {
    let mut topic = Topic {
        oid: 16_384,
        schema: "public".to_string(),
        name: "bids".to_string(),
        columns: vec![
            column("auction", PgType::Int4),
            column("price", PgType::Numeric(Some((18, 2)))),
            column("channel", PgType::Text),
            column("ts", PgType::Timestamp),
            column("day", PgType::Date),
            column("code", PgType::Varchar(Some(3))),
        ],
        checks: vec![Check {
            name: "bids_price_check".to_string(),
            expr: "price >= 0".to_string(),
        }],
        partition_by: vec!["auction".to_string()],
        partitions: 1,
        watermark: Some(Watermark {
            column: "ts".to_string(),
            delay_us: 0,
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
    topic.columns[0].not_null = true;
    topic.columns[2].default = Some("'web'".to_string());
    topic.columns[4].generated = Some("ts::date".to_string());
    topic
}

fn context<T>(run: impl FnOnce(&PlanContext) -> T) -> T {
    let catalog = Snapshot::initial();
    run(&PlanContext {
        catalog: &catalog,
        search_path: &[],
        functions_path: &[],
        time_zone: "UTC",
        user: "u",
        database: "millstream",
        parameter_types: &[],
        text: "",
    })
}

fn session() -> SessionInfo {
    SessionInfo {
        now_us: 1_700_000_000_000_000,
        ..SessionInfo::default()
    }
}

fn values(sql: &str) -> Vec<Vec<Cell>> {
    let statement = Parser::parse_sql(&PostgreSqlDialect {}, sql)
        .expect("the test's statement parses")
        .pop()
        .expect("one statement");
    let ast::Statement::Query(query) = statement else {
        panic!("{sql}")
    };
    let ast::SetExpr::Values(values) = *query.body else {
        panic!("{sql}")
    };
    let cells = |row: Vec<ast::Expr>| row.into_iter().map(Cell::from).collect();
    values.rows.into_iter().map(|row| cells(row.content)).collect()
}

fn insert(columns: &[usize], sql: &str) -> Result<RecordBatch, SqlError> {
    let exprs = RowExprs::compile(&Arc::new(bids())).expect("compiles");
    context(|ctx| exprs.insert_values(columns, &values(sql), None, &[], &session(), ctx))
}

#[test]
fn only_literals_that_always_mean_the_same_are_constants() {
    let exprs = Arc::new(RowExprs::compile(&Arc::new(bids())).expect("compiles"));
    let columns = [0, 1, 2, 3, 5];
    let constant = |sql: &str| {
        let made = exprs.constants(&columns, &values(sql), &session());
        made.columns.iter().map(Option::is_some).collect::<Vec<_>>()
    };
    assert_eq!(constant("VALUES (1, -1.5, NULL, '2024-01-01', 'abc')"), [true; 5]);
    assert_eq!(
        constant("VALUES (1, 2, 'a', NULL, ''), (NULL, 3, 'b', '2024-01-01', 'x')"),
        [true; 5]
    );
    assert_eq!(
        constant("VALUES (DEFAULT, $1, 'a' || 'b', 'now', 'too long')"),
        [false; 5],
        "a default, a parameter, an expression, the clock, and what is an error when it runs"
    );
    assert_eq!(
        constant("VALUES (1, 2, 'a', 'today', 'b'), (1, $1, 'a', NULL, DEFAULT)"),
        [true, false, true, false, false]
    );
    assert_eq!(
        constant("VALUES (1, 2), (1, 2, 'a')"),
        [false; 5],
        "rows of different lengths"
    );
    let made = exprs.constants(&columns, &values("VALUES (1, 2, 'a', NULL, 'b')"), &session());
    assert!(made.hold(&exprs, &session()));
    let elsewhere = SessionInfo {
        time_zone: "Asia/Tokyo".into(),
        ..session()
    };
    assert!(
        !made.hold(&exprs, &elsewhere),
        "a time zone tells what a TIMESTAMPTZ means"
    );
    let altered = Arc::new(RowExprs::compile(&Arc::new(bids())).expect("compiles"));
    assert!(!made.hold(&altered, &session()));
}

/// Each row as `a|b|c`.
fn shown(batch: &RecordBatch) -> Vec<String> {
    let topic = bids();
    (0..batch.num_rows())
        .map(|row| {
            let cells = topic.columns.iter().zip(batch.columns()).map(|(column, array)| {
                if array.is_null(row) {
                    return "null".to_string();
                }
                let mut text = BytesMut::new();
                ColumnFormatter::new(&column.pg_type, array, &TextStyle::default())
                    .expect("formats")
                    .write_text(row, &mut text);
                String::from_utf8_lossy(&text).into_owned()
            });
            cells.collect::<Vec<_>>().join("|")
        })
        .collect()
}

fn check(columns: &[usize], sql: &str, expect: &[&str]) {
    match insert(columns, sql) {
        Ok(batch) => assert_eq!(shown(&batch), expect, "{sql}"),
        Err(error) => panic!("{sql}: {error} {:?}", error.detail),
    }
}

fn check_error(columns: &[usize], sql: &str, code: &str, message: &str, detail: Option<&str>) {
    let error = insert(columns, sql).expect_err(sql);
    assert_eq!(
        (error.state.0, error.message.as_str(), error.detail.as_deref()),
        (code, message, detail),
        "{sql}"
    );
}

#[test]
fn literals_expressions_and_defaults_fill_a_row() {
    check(
        &[0, 1, 3],
        "VALUES (1, 2.5, '2026-01-02 03:04:05'), (-1, 3, NULL)",
        &[
            "1|2.50|web|2026-01-02 03:04:05|2026-01-02|null",
            "-1|3.00|web|null|null|null",
        ],
    );
    check(
        &[0, 1, 2],
        "VALUES (1 + 1, 1.5::float8, 'a' || 'b'), (2.5, 1/2.0, DEFAULT), (abs(-3), 7, NULL)",
        &[
            "2|1.50|ab|null|null|null",
            "3|0.50|web|null|null|null",
            "3|7.00|null|null|null|null",
        ],
    );
    check(
        &[0, 3, 4],
        "VALUES (1, now(), DEFAULT)",
        &["1|null|web|2023-11-14 22:13:20|2023-11-14|null"],
    );
    check(
        &[0, 2],
        "VALUES (1, true), (2, 12.50)",
        &["1|null|true|null|null|null", "2|null|12.50|null|null|null"],
    );
    check(
        &[0, 3],
        "VALUES (1, DATE '2026-01-02')",
        &["1|null|web|2026-01-02 00:00:00|2026-01-02|null"],
    );
}

#[test]
fn rows_that_break_a_rule_are_refused_as_postgresql_does() {
    check_error(
        &[0, 1],
        "VALUES (1, 1), (NULL, 2)",
        "23502",
        "null value in column \"auction\" of relation \"bids\" violates not-null constraint",
        Some("Failing row contains (null, 2.00, web, null, null, null)."),
    );
    check_error(
        &[0, 1],
        "VALUES (1, -1)",
        "23514",
        "new row for relation \"bids\" violates check constraint \"bids_price_check\"",
        Some("Failing row contains (1, -1.00, web, null, null, null)."),
    );
    for (columns, sql, code, message) in [
        (
            &[0, 1][..],
            "VALUES ('abc', 1)",
            "22P02",
            "invalid input syntax for type integer: \"abc\"",
        ),
        (&[0][..], "VALUES (99999999999)", "22003", "integer out of range"),
        (&[0][..], "VALUES (1 / 0)", "22012", "division by zero"),
        (&[0][..], "VALUES (2147483647 + 1)", "22003", "integer out of range"),
        (
            &[0][..],
            "VALUES ('a' || 'b')",
            "42804",
            "column \"auction\" is of type integer but expression is of type text",
        ),
        (
            &[3][..],
            "VALUES (1)",
            "42804",
            "column \"ts\" is of type timestamp without time zone but expression is of type integer",
        ),
        (
            &[0, 5][..],
            "VALUES (1, 'toolong')",
            "22001",
            "value too long for type character varying(3)",
        ),
        (
            &[0, 4][..],
            "VALUES (1, '2026-01-01')",
            "428C9",
            "cannot insert a non-DEFAULT value into column \"day\"",
        ),
        (
            &[0, 0][..],
            "VALUES (1, 1)",
            "42701",
            "column \"auction\" specified more than once",
        ),
        (
            &[0][..],
            "VALUES (1, 2)",
            "42601",
            "INSERT has more expressions than target columns",
        ),
        (
            &[0, 1][..],
            "VALUES (1)",
            "42601",
            "INSERT has more target columns than expressions",
        ),
        (&[0][..], "VALUES (nope)", "42703", "column \"nope\" does not exist"),
    ] {
        let error = insert(columns, sql).expect_err(sql);
        assert_eq!((error.state.0, error.message.as_str()), (code, message), "{sql}");
    }
}

#[test]
fn parameters_take_the_types_of_their_columns() {
    let topic = bids();
    let targets: Vec<TargetColumn> = topic.columns[..2]
        .iter()
        .map(|column| TargetColumn {
            name: &column.name,
            pg_type: &column.pg_type,
        })
        .collect();
    let types = context(|ctx| value_parameter_types(&values("VALUES ($1, $2 + 1)"), &targets, 2, ctx)).expect("types");
    assert_eq!(types, [PgType::Int4, PgType::Int4]);
    let value: ArrayRef = Arc::new(arrow::array::Int32Array::from(vec![41]));
    let parameters = [(PgType::Int4, value.clone()), (PgType::Int4, value)];
    let arrays = context(|ctx| evaluate_values(&values("VALUES ($1, $2 + 1)"), &targets, &parameters, &session(), ctx))
        .expect("evaluates");
    assert_eq!(arrays[0].as_primitive::<arrow::datatypes::Int32Type>().value(0), 41);
    assert_eq!(
        arrays[1].as_primitive::<arrow::datatypes::Decimal128Type>().value(0),
        4200
    );
}

#[test]
fn definitions_that_cannot_work_are_refused() {
    let refuse = |change: &dyn Fn(&mut Topic), code: &str, message: &str| {
        let mut topic = bids();
        change(&mut topic);
        let error = context(|ctx| check_create_topic(&topic, ctx)).expect_err(message);
        assert_eq!((error.state.0, error.message.as_str()), (code, message));
    };
    context(|ctx| check_create_topic(&bids(), ctx)).expect("the topic is fine as it is");
    refuse(
        &|topic| topic.columns[1].name = "_lsn".to_string(),
        "42701",
        "column name \"_lsn\" conflicts with a system column name",
    );
    refuse(
        &|topic| topic.columns[1].name = "auction".to_string(),
        "42701",
        "column \"auction\" specified more than once",
    );
    refuse(
        &|topic| topic.partition_by = vec!["nope".to_string()],
        "42703",
        "column \"nope\" named in partition key does not exist",
    );
    refuse(
        &|topic| topic.watermark.as_mut().expect("has one").column = "channel".to_string(),
        "42804",
        "the WATERMARK column \"channel\" is of type text",
    );
    refuse(
        &|topic| topic.columns[0].default = Some("'abc'".to_string()),
        "22P02",
        "invalid input syntax for type integer: \"abc\"",
    );
    refuse(
        &|topic| topic.columns[0].default = Some("now()".to_string()),
        "42804",
        "column \"auction\" is of type integer but default expression is of type timestamp with time zone",
    );
    refuse(
        &|topic| topic.columns[0].default = Some("price".to_string()),
        "0A000",
        "cannot use column reference in DEFAULT expression",
    );
    refuse(
        &|topic| topic.checks[0].expr = "price + 1".to_string(),
        "42804",
        "argument of CHECK must be type boolean, not type numeric",
    );
    refuse(
        &|topic| topic.columns[3].generated = Some("day::timestamp".to_string()),
        "42P17",
        "cannot use generated column \"day\" in column generation expression",
    );
    refuse(
        &|topic| topic.columns[4].generated = Some("now()::date".to_string()),
        "42P17",
        "generation expression is not immutable",
    );
}
