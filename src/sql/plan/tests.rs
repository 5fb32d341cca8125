//! Golden plans, and tables of output names, types and errors.

use std::collections::BTreeMap;
use std::sync::Arc;

use sqlparser::ast;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::*;
use crate::catalog::{self, Relation, Topic, View, Watermark};
use crate::sql::statement::Emit;

fn column(name: &str, pg_type: PgType) -> catalog::Column {
    catalog::Column {
        name: name.to_string(),
        pg_type,
        not_null: false,
        default: None,
        generated: None,
    }
}

fn topic(oid: u32, name: &str, columns: &[(&str, PgType)], watermark: Option<&str>) -> Relation {
    Relation::Topic(Arc::new(Topic {
        oid,
        schema: "public".to_string(),
        name: name.to_string(),
        columns: columns.iter().map(|(name, kind)| column(name, kind.clone())).collect(),
        checks: vec![],
        partition_by: vec![],
        partitions: 1,
        watermark: watermark.map(|column| Watermark {
            column: column.to_string(),
            delay_us: 4_000_000,
        }),
        idle_timeout_us: None,
        options: BTreeMap::new(),
        is_table: false,
        schema_id: 1,
    }))
}

fn view(oid: u32, name: &str, columns: &[(&str, PgType)], definition: &str, materialized: bool) -> Relation {
    Relation::View(Arc::new(View {
        oid,
        schema: "public".to_string(),
        name: name.to_string(),
        columns: columns.iter().map(|(name, kind)| column(name, kind.clone())).collect(),
        definition: definition.to_string(),
        on_window_close: false,
        materialized,
        depends_on: vec![],
        time_zone: "UTC".to_string(),
        search_path: vec!["public".to_string()],
        options: BTreeMap::new(),
        recomputed: None,
    }))
}

fn catalog() -> Snapshot {
    let mut snapshot = Snapshot {
        version: 1,
        next_oid: 20_000,
        schemas: [("public", 2200), ("pg_catalog", 11)]
            .map(|(name, oid)| (name.to_string(), oid))
            .into(),
        names: BTreeMap::new(),
        relations: BTreeMap::new(),
        comments: BTreeMap::new(),
    };
    let relations = [
        topic(
            16_384,
            "bids",
            &[
                ("auction", PgType::Int8),
                ("price", PgType::Numeric(Some((18, 2)))),
                ("channel", PgType::Text),
                ("n", PgType::Int4),
                ("ts", PgType::Timestamp),
                ("other_ts", PgType::Timestamp),
                ("uid", PgType::Uuid),
                ("doc", PgType::Jsonb),
                ("code", PgType::Varchar(Some(5))),
            ],
            Some("ts"),
        ),
        topic(
            16_385,
            "plain",
            &[
                ("id", PgType::Int4),
                ("ts", PgType::TimestampTz),
                ("name", PgType::Text),
            ],
            None,
        ),
        view(
            16_386,
            "per_auction",
            &[("auction", PgType::Int8), ("count", PgType::Int8)],
            "select auction, count(*) from bids group by auction",
            true,
        ),
        view(
            16_387,
            "cheap",
            &[("a", PgType::Int8), ("ts", PgType::Timestamp)],
            "select auction, ts from bids where price < 10",
            false,
        ),
    ];
    for relation in relations {
        let oid = resolve::oid(&relation);
        let (schema, name) = resolve::Resolved::Relation(&relation).full_name();
        snapshot.names.insert((schema, name), oid);
        snapshot.relations.insert(oid, relation);
    }
    snapshot
}

fn plan_with(sql: &str, emit: Emit, parameter_types: &[Option<PgType>]) -> Result<Planned, SqlError> {
    let statement = Parser::parse_sql(&PostgreSqlDialect {}, sql)
        .expect("the test's statement parses")
        .pop()
        .expect("one statement");
    let ast::Statement::Query(query) = statement else {
        panic!("not a query: {sql}")
    };
    let catalog = catalog();
    let search_path = ["public".to_string()];
    let ctx = PlanContext {
        catalog: &catalog,
        search_path: &search_path,
        time_zone: "UTC",
        user: "u",
        database: "millstream",
        parameter_types,
        text: sql,
    };
    plan_select(&Select { query, emit }, &ctx)
}

fn plan(sql: &str) -> Planned {
    plan_with(sql, Emit::OnChange, &[]).unwrap_or_else(|error| panic!("{sql}: {error} {:?}", error.detail))
}

fn check_plan(sql: &str, expect: &str) {
    let have = plan(sql).plan.display_indent().to_string();
    assert_eq!(have.trim(), expect.trim(), "\n{sql}\n{have}\n");
}

/// `name type, name type`
fn check_fields(sql: &str, expect: &str) {
    let fields = plan(sql).fields;
    let have: Vec<String> = fields
        .iter()
        .map(|field| format!("{} {}", field.name, field.pg_type.name()))
        .collect();
    assert_eq!(have.join(", "), expect, "{sql}");
}

fn check_error(sql: &str, code: &str, message: &str, position: Option<usize>) {
    let error = match plan_with(sql, Emit::OnChange, &[]) {
        Ok(planned) => panic!("{sql}: planned as\n{}", planned.plan.display_indent()),
        Err(error) => error,
    };
    assert_eq!(
        (error.state.0, error.message.as_str(), error.position),
        (code, message, position),
        "{sql}"
    );
}

#[test]
fn a_window_carries_its_topics_watermark() {
    check_plan(
        "SELECT window_start, count(*) FROM TUMBLE(bids, ts, INTERVAL '10 seconds') GROUP BY window_start",
        "
Projection: bids.window_start, count(Int64(1)) AS count(*) AS count
  Aggregate: groupBy=[[bids.window_start]], aggr=[[count(Int64(1))]]
    Tumble: ts, size=10s
      SubqueryAlias: bids
        TableScan: public.bids",
    );
}

#[test]
fn output_names_and_types_are_postgresqls() {
    for (sql, expect) in [
        ("SELECT 1", "?column? integer"),
        ("SELECT 3000000000", "?column? bigint"),
        (
            "SELECT 1 + 1, 'x', 1.5",
            "?column? integer, ?column? text, ?column? numeric(2,1)",
        ),
        (
            "SELECT auction, bids.price AS p, n + 1 FROM bids",
            "auction bigint, p numeric(18,2), ?column? integer",
        ),
        ("SELECT count(*), count(*) FROM bids", "count bigint, count bigint"),
        (
            "SELECT uid, doc, code FROM bids",
            "uid uuid, doc jsonb, code character varying(5)",
        ),
        (
            "SELECT n::text, n::bigint, '1'::int FROM bids",
            "n text, n bigint, int4 integer",
        ),
        (
            "SELECT * FROM plain",
            "id integer, ts timestamp with time zone, name text",
        ),
        (
            "SELECT *, id FROM plain",
            "id integer, ts timestamp with time zone, name text, id integer",
        ),
        (
            "SELECT id, _offset, _partition FROM plain",
            "id integer, _offset bigint, _partition integer",
        ),
        (
            "SELECT * FROM plain WHERE _offset > 1",
            "id integer, ts timestamp with time zone, name text",
        ),
        (
            "SELECT p.* FROM plain p WHERE p._offset > 1",
            "id integer, ts timestamp with time zone, name text",
        ),
        (
            "SELECT * FROM plain a, plain b WHERE a._lsn = b._lsn",
            "id integer, ts timestamp with time zone, name text, id integer, ts timestamp with time zone, name text",
        ),
        ("SELECT _watermark FROM bids", "_watermark timestamp without time zone"),
        ("SELECT * FROM (SELECT count(*) FROM bids) s", "count bigint"),
        ("WITH c AS (SELECT max(n) FROM bids) SELECT max FROM c", "max integer"),
        (
            "WITH bids AS (SELECT auction FROM bids) SELECT * FROM bids",
            "auction bigint",
        ),
        ("SELECT * FROM cheap", "a bigint, ts timestamp without time zone"),
        ("SELECT * FROM per_auction", "auction bigint, count bigint"),
        (
            "SELECT generate_series FROM generate_series(1, 3)",
            "generate_series bigint",
        ),
        ("SELECT g FROM generate_series(1, 3) g", "g bigint"),
        (
            "SELECT column1, column2 FROM (VALUES (1, 'a'), (2, 'b')) v",
            "column1 integer, column2 text",
        ),
        ("SELECT n FROM bids UNION ALL SELECT auction FROM bids", "n bigint"),
        (
            "SELECT sum(n), sum(auction), avg(n) FROM bids",
            "sum bigint, sum numeric, avg numeric",
        ),
        ("SELECT public.bids.n FROM public.bids", "n integer"),
    ] {
        check_fields(sql, expect);
    }
}

#[test]
fn mistakes_are_answered_as_postgresql_does() {
    for (sql, code, message, position) in [
        (
            "SELECT * FROM nope",
            "42P01",
            "relation \"nope\" does not exist",
            Some(15),
        ),
        (
            "SELECT * FROM s.nope",
            "42P01",
            "relation \"s.nope\" does not exist",
            Some(15),
        ),
        (
            "SELECT nope FROM bids",
            "42703",
            "column \"nope\" does not exist",
            Some(8),
        ),
        (
            "SELECT b.nope FROM bids b",
            "42703",
            "column b.nope does not exist",
            Some(8),
        ),
        (
            "SELECT x.n FROM bids",
            "42P01",
            "missing FROM-clause entry for table \"x\"",
            Some(8),
        ),
        (
            "SELECT n FROM bids a, bids b",
            "42702",
            "column reference \"n\" is ambiguous",
            Some(8),
        ),
        (
            "SELECT nofunc(n) FROM bids",
            "42883",
            "function nofunc does not exist",
            Some(8),
        ),
        (
            "SELECT n, count(*) FROM bids",
            "42803",
            "column \"bids.n\" must appear in the GROUP BY clause or be used in an aggregate function",
            Some(8),
        ),
        (
            "SELECT n FROM bids WHERE n",
            "42804",
            "argument of WHERE must be type boolean, not type integer",
            None,
        ),
        (
            "SELECT n FROM bids WHERE n = 'abc'",
            "22P02",
            "invalid input syntax for type integer: \"abc\"",
            None,
        ),
        (
            "SELECT 1 UNION SELECT 1, 2",
            "42601",
            "each UNION query must have the same number of columns",
            Some(1),
        ),
    ] {
        check_error(sql, code, message, position);
    }
}
