//! Golden plans, and tables of output names, types and errors.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::catalog::{self, Relation, Snapshot, Topic, View, Watermark};
use crate::sql::parse::parse;
use crate::sql::statement::{Emit, Statement};

fn column(name: &str, pg_type: PgType) -> catalog::Column {
    catalog::Column {
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
        inputs: Default::default(),
        names: Default::default(),
        mentions: Vec::new(),
    }))
}

fn catalog() -> Snapshot {
    let mut snapshot = Snapshot {
        groups: BTreeMap::new(),
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
    let statement = parse(sql)?.pop().expect("one statement").statement;
    let Statement::Select(select) = statement else {
        panic!("not a query: {sql}")
    };
    let catalog = catalog();
    let search_path = ["public".to_string()];
    let ctx = PlanContext {
        catalog: &catalog,
        search_path: &search_path,
        functions_path: &search_path,
        time_zone: "UTC",
        user: "u",
        database: "millstream",
        parameter_types,
        text: sql,
    };
    plan_select(
        &Select {
            emit,
            ..Arc::unwrap_or_clone(select)
        },
        &ctx,
    )
}

fn plan(sql: &str) -> Planned {
    plan_with(sql, Emit::OnChange, &[]).unwrap_or_else(|error| panic!("{sql}: {error} {:?}", error.detail))
}

/// Runs a table of cases and reports every one that came out otherwise.
fn check_all<'a, T: PartialEq + std::fmt::Debug>(
    cases: impl IntoIterator<Item = (&'a str, T)>,
    run: impl Fn(&str) -> T,
) {
    let wrong: Vec<String> = cases
        .into_iter()
        .filter_map(|(sql, expect)| {
            let have = run(sql);
            (have != expect).then(|| format!("{sql}\n  have {have:?}\n  want {expect:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn shown_plan(sql: &str, emit: Emit) -> String {
    match plan_with(sql, emit, &[]) {
        Ok(planned) => planned.plan.display_indent().to_string(),
        Err(error) => format!("{error} {:?}", error.detail),
    }
}

fn check_plan(sql: &str, expect: &str) {
    let have = shown_plan(sql, Emit::OnChange);
    assert_eq!(have.trim(), expect.trim(), "\n{sql}\n{have}\n");
}

/// `name type, name type`, or the error.
fn shown_fields(sql: &str) -> String {
    match plan_with(sql, Emit::OnChange, &[]) {
        Ok(planned) => {
            let fields: Vec<String> = planned
                .fields
                .iter()
                .map(|field| format!("{} {}", field.name, field.pg_type.name()))
                .collect();
            fields.join(", ")
        }
        Err(error) => format!("{error} {:?}", error.detail),
    }
}

/// SQLSTATE, message and position.
fn shown_error(sql: &str, emit: Emit) -> (String, String, Option<usize>) {
    match plan_with(sql, emit, &[]) {
        Ok(planned) => ("00000".to_string(), planned.plan.display_indent().to_string(), None),
        Err(error) => (error.state.0.to_string(), error.message.clone(), error.position),
    }
}

fn error(code: &str, message: &str, position: usize) -> (String, String, Option<usize>) {
    (
        code.to_string(),
        message.to_string(),
        (position > 0).then_some(position),
    )
}

#[test]
fn a_window_carries_its_topics_watermark() {
    check_plan(
        "SELECT window_start, count(*) FROM TUMBLE(bids, ts, INTERVAL '10 seconds') GROUP BY window_start",
        "
Projection: bids.window_start, count(Int64(1)) AS count
  Aggregate: groupBy=[[bids.window_start]], aggr=[[count(Int64(1))]]
    Tumble: ts, size=10s
      SubqueryAlias: bids
        TableScan: public.bids",
    );
}

#[test]
fn a_watermark_passes_what_keeps_the_rows() {
    let closes = |sql: &str| -> String {
        let planned = match plan_with(sql, Emit::OnChange, &[]) {
            Ok(planned) => planned,
            Err(error) => return format!("{error} {:?}", error.detail),
        };
        let mut why = "no window".to_string();
        planned
            .plan
            .apply(|node| {
                if let Some(window) = crate::sql::window::Window::of(node) {
                    let topics: Vec<String> = window.topics.iter().map(|topic| topic.0.to_string()).collect();
                    why = window
                        .never_closes
                        .clone()
                        .unwrap_or_else(|| format!("closes by {}", topics.join(", ")));
                }
                Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
            })
            .expect("looking fails never");
        why
    };
    let cases = [
        ("SELECT * FROM TUMBLE(bids, ts, INTERVAL '1 minute')", "closes by 16384"),
        (
            "SELECT * FROM TUMBLE(public.bids, ts, '1 minute'::interval)",
            "closes by 16384",
        ),
        (
            "SELECT * FROM HOP(bids, ts, INTERVAL '1 minute', INTERVAL '2 minutes') AS w",
            "closes by 16384",
        ),
        (
            "SELECT * FROM TUMBLE((SELECT n + 1 AS m, ts AS t FROM bids WHERE n > 2), t, INTERVAL '1 minute') w",
            "closes by 16384",
        ),
        (
            "SELECT * FROM TUMBLE(cheap, ts, INTERVAL '1 minute')",
            "closes by 16384",
        ),
        (
            "WITH c AS (SELECT ts FROM bids) SELECT * FROM TUMBLE(c, ts, INTERVAL '1 minute')",
            "closes by 16384",
        ),
        (
            "SELECT * FROM TUMBLE((SELECT ts, n FROM bids UNION ALL SELECT ts, 5 FROM bids), ts, INTERVAL '1 minute') w",
            "closes by 16384",
        ),
        (
            "SELECT * FROM TUMBLE((SELECT ts, _watermark FROM bids), ts, INTERVAL '1 minute') w",
            "closes by 16384",
        ),
        (
            "SELECT _offset FROM TUMBLE(bids, ts, INTERVAL '1 minute')",
            "closes by 16384",
        ),
        (
            "SELECT * FROM TUMBLE(bids, other_ts, INTERVAL '1 minute')",
            "column \"other_ts\" is not the WATERMARK column of topic \"bids\"",
        ),
        (
            "SELECT * FROM TUMBLE(plain, ts, INTERVAL '1 minute')",
            "topic \"plain\" has no WATERMARK",
        ),
        (
            "SELECT * FROM TUMBLE((SELECT ts + INTERVAL '1 s' AS ts FROM bids), ts, INTERVAL '1 minute')",
            "column \"ts\" is computed, not the WATERMARK column itself",
        ),
        (
            "SELECT * FROM TUMBLE((SELECT ts FROM bids GROUP BY ts), ts, INTERVAL '1 minute')",
            "its input is an aggregate",
        ),
        (
            "SELECT * FROM TUMBLE((SELECT a.ts FROM bids a JOIN bids b ON a.n = b.n), ts, INTERVAL '1 minute')",
            "its input is a join",
        ),
        (
            "SELECT * FROM TUMBLE((SELECT ts FROM bids UNION SELECT ts FROM bids), ts, INTERVAL '1 minute')",
            "its input is a DISTINCT or UNION",
        ),
        (
            "SELECT * FROM TUMBLE((SELECT ts FROM bids LIMIT 5), ts, INTERVAL '1 minute')",
            "its input is limited by LIMIT",
        ),
    ];
    check_all(cases.map(|(sql, why)| (sql, why.to_string())), closes);
}

#[test]
fn windows_are_refused_for_what_is_wrong_with_them() {
    let cases = [
        (
            "SELECT * FROM TUMBLE(bids, nope, INTERVAL '1 minute')",
            error("42703", "column \"nope\" does not exist", 28),
        ),
        (
            "SELECT * FROM TUMBLE(bids, n, INTERVAL '1 minute')",
            error(
                "42804",
                "the time column \"n\" of TUMBLE is of type integer, not timestamp",
                0,
            ),
        ),
        (
            "SELECT * FROM TUMBLE(nope, ts, INTERVAL '1 minute')",
            error("42P01", "relation \"nope\" does not exist", 22),
        ),
        (
            "SELECT * FROM TUMBLE(bids, ts, INTERVAL '1 month')",
            error("0A000", "the size of TUMBLE cannot be in months or years", 0),
        ),
        (
            "SELECT * FROM TUMBLE(bids, ts, INTERVAL '0 s')",
            error("22023", "the size of TUMBLE must be greater than zero", 0),
        ),
        (
            "SELECT * FROM HOP(bids, ts, INTERVAL '2 s', INTERVAL '5 s')",
            error("22023", "the size of HOP must be a multiple of its slide", 0),
        ),
        (
            "SELECT * FROM TUMBLE(bids, ts, 10)",
            error("42804", "the size of TUMBLE must be an interval, not integer", 0),
        ),
        (
            "SELECT * FROM TUMBLE(bids, ts)",
            error("42883", "TUMBLE does not exist with these arguments", 0),
        ),
        (
            "SELECT * FROM TUMBLE(bids, ts, INTERVAL '1 s', nope => INTERVAL '1 s')",
            error("42883", "TUMBLE has no argument named \"nope\"", 0),
        ),
        (
            "SELECT * FROM SESSION(bids, ts)",
            error("42883", "SESSION does not exist with these arguments", 0),
        ),
        (
            "SELECT * FROM SESSION(bids, ts, INTERVAL '0 s')",
            error("22023", "the gap of SESSION must be greater than zero", 0),
        ),
        (
            "SELECT * FROM CUMULATE(bids, ts, INTERVAL '2 s', INTERVAL '3 s')",
            error("22023", "the size of CUMULATE must be a multiple of its step", 0),
        ),
    ];
    check_all(cases, |sql| shown_error(sql, Emit::OnChange));
}

#[test]
fn emit_on_window_close_needs_windows_that_close() {
    let cases = [
        (
            "SELECT n FROM bids",
            error(
                "0A000",
                "EMIT ON WINDOW CLOSE is not possible: the query has no window",
                0,
            ),
        ),
        (
            "SELECT window_end, count(*) FROM TUMBLE(plain, ts, INTERVAL '1 s') GROUP BY window_end",
            error(
                "0A000",
                "EMIT ON WINDOW CLOSE is not possible: the windows never close",
                0,
            ),
        ),
        (
            "SELECT n, count(*) FROM TUMBLE(bids, ts, INTERVAL '1 s') GROUP BY n",
            error(
                "0A000",
                "EMIT ON WINDOW CLOSE is not possible: an aggregate over the windows spans them",
                0,
            ),
        ),
        (
            "SELECT count(*) FROM (SELECT window_end, count(*) FROM TUMBLE(bids, ts, INTERVAL '1 s') GROUP BY window_end) s",
            error(
                "0A000",
                "EMIT ON WINDOW CLOSE is not possible: an aggregate over the windows spans them",
                0,
            ),
        ),
    ];
    check_all(cases, |sql| shown_error(sql, Emit::OnWindowClose));
    let plan = shown_plan(
        "SELECT w.window_end AS e, max(c) FROM (SELECT window_end, n, count(*) AS c
           FROM TUMBLE(bids, ts, INTERVAL '1 s', allowed_lateness => INTERVAL '2 s') GROUP BY 1, 2) w GROUP BY w.window_end",
        Emit::OnWindowClose,
    );
    assert!(
        plan.contains("Tumble: ts, size=1s, allowed_lateness=2s, emit on window close"),
        "{plan}"
    );
}

#[test]
fn parameters_are_typed_by_their_use() {
    let types = |sql: &str| -> String {
        match plan_with(sql, Emit::OnChange, &[]) {
            Ok(planned) => planned
                .parameter_types
                .iter()
                .map(PgType::name)
                .collect::<Vec<_>>()
                .join(", "),
            Err(error) => format!("{error} {:?}", error.detail),
        }
    };
    let cases = [
        ("SELECT n FROM bids WHERE n = $1", "integer"),
        (
            "SELECT n FROM bids WHERE ts > $2 AND channel = $1",
            "text, timestamp without time zone",
        ),
        ("SELECT $1::bigint", "bigint"),
        ("SELECT $1", "text"),
        ("SELECT $1 + 1", "integer"),
        ("SELECT n FROM bids WHERE n IN ($1, $2)", "integer, integer"),
        ("SELECT n FROM bids WHERE n BETWEEN $1 AND $2", "integer, integer"),
        ("SELECT n FROM bids WHERE channel LIKE $1", "text"),
        ("SELECT n FROM bids LIMIT $1", "bigint"),
        ("SELECT upper($1)", "text"),
    ];
    check_all(cases.map(|(sql, types)| (sql, types.to_string())), types);
}

#[test]
fn much_of_sql_is_planned() {
    let cases = [
        "SELECT DISTINCT ON (channel) channel, n FROM bids ORDER BY channel, ts DESC",
        "SELECT channel, sum(n) FROM bids GROUP BY GROUPING SETS ((channel), ())",
        "SELECT channel, n, sum(n) FROM bids GROUP BY ROLLUP (channel, n)",
        "SELECT n, row_number() OVER (PARTITION BY channel ORDER BY ts) FROM bids",
        "WITH RECURSIVE r AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM r WHERE x < 5) SELECT * FROM r",
        "SELECT b.n, p.name FROM bids b LEFT JOIN plain p ON b.n = p.id WHERE p.name IS NOT NULL",
        "SELECT b.n, l.m FROM bids b, LATERAL (SELECT max(id) AS m FROM plain p WHERE p.id = b.n) l",
        "SELECT n FROM bids WHERE n IN (SELECT id FROM plain)",
        "SELECT n FROM bids b WHERE EXISTS (SELECT 1 FROM plain p WHERE p.id = b.n)",
        "SELECT (SELECT max(id) FROM plain) AS m, n FROM bids",
        "SELECT extract(hour FROM ts), date_trunc('minute', ts), ts + INTERVAL '1 hour', ts - ts FROM bids",
        "SELECT count(*) FILTER (WHERE n > 1), count(DISTINCT n) FROM bids HAVING count(*) > 0",
        "SELECT date_trunc('hour', ts), count(*) FROM bids GROUP BY 1 ORDER BY 2 DESC LIMIT 5",
        "SELECT date_trunc('hour', ts) AS h, count(*) FROM bids GROUP BY h ORDER BY h",
        "SELECT n::text FROM bids GROUP BY n::text ORDER BY n::text",
        "SELECT CASE WHEN n > 1 THEN 'a' ELSE 'b' END FROM bids",
        "SELECT coalesce(n, 0), nullif(n, 0), greatest(n, 1) FROM bids",
        "SELECT array[1, 2, 3], ARRAY['a']",
        "VALUES (1, 'a'), (2, 'b')",
        "SELECT n FROM bids EXCEPT SELECT id FROM plain",
        "SELECT * FROM bids NATURAL JOIN plain",
        "SELECT * FROM bids JOIN plain USING (ts)",
        "SELECT generate_series(1, 3)",
        "SELECT * FROM generate_series(1, 1 + 2) AS g(i)",
        "TABLE plain",
        "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace",
        "SELECT channel || 'x', channel LIKE 'a%', channel ~ 'a', length(channel), upper(channel) FROM bids",
        "SELECT 1 WHERE 'a' = 'b'",
        "SELECT n, sum(count(*)) OVER () FROM bids GROUP BY n",
        "SELECT string_agg(channel, ',' ORDER BY n), array_agg(n) FROM bids",
        "SELECT ts::date, ts::timestamptz, n::numeric(10,2), '00000000-0000-0000-0000-000000000001'::uuid FROM bids",
        "SELECT a.n, a.* FROM bids a",
        "SELECT sum(n) FROM bids ORDER BY sum(n)",
        "SELECT 'a' AS x UNION ALL SELECT NULL ORDER BY x",
        "SELECT max(price) - min(price), avg(price), stddev(n) FROM bids",
        "SELECT now(), current_date, current_timestamp, current_user",
        "SELECT n FROM bids WHERE ts BETWEEN '2026-01-01' AND now()",
        "SELECT TIMESTAMP '2026-01-01' AT TIME ZONE 'UTC'",
    ];
    let shown = |sql: &str| match plan_with(sql, Emit::OnChange, &[]) {
        Ok(_) => "planned".to_string(),
        Err(error) => format!("{error} {:?}", error.detail),
    };
    check_all(cases.map(|sql| (sql, "planned".to_string())), shown);
}

#[test]
fn plain_columns_tell_where_they_come_from() {
    let planned = plan("SELECT n AS m, n + 1, v.auction FROM bids b JOIN per_auction v USING (auction)");
    let origins: Vec<(u32, u16)> = planned
        .fields
        .iter()
        .map(|field| (field.table_oid, field.column))
        .collect();
    assert_eq!(origins, [(16_384, 4), (0, 0), (16_386, 1)]);
    assert_eq!(
        (planned.relations, planned.depends_on),
        (vec![16_384, 16_386], vec![16_384, 16_386])
    );
    let planned = plan("SELECT a FROM cheap");
    assert_eq!((planned.relations, planned.depends_on), (vec![16_384], vec![16_387]));
}

#[test]
fn views_are_functions_of_the_log() {
    let shown = |sql: &str| match check_view_definition(&plan(sql)) {
        Ok(()) => "fine".to_string(),
        Err(error) => format!("{} {}", error.state.0, error.message),
    };
    let cases = [
        ("SELECT n + 1 FROM bids", "fine"),
        ("SELECT n FROM bids WHERE ts > now() - INTERVAL '1 hour'", "fine"),
        (
            "SELECT current_user FROM bids",
            "0A000 materialized views cannot call current_user(): its answer changes by itself",
        ),
        (
            "SELECT n FROM bids WHERE random() < 0.5",
            "0A000 materialized views cannot call random(): its answer changes by itself",
        ),
        (
            "SELECT relname FROM pg_class",
            "0A000 materialized views cannot read the system relation \"pg_catalog.pg_class\"",
        ),
    ];
    check_all(cases.map(|(sql, expect)| (sql, expect.to_string())), shown);
}

#[test]
fn output_names_and_types_are_postgresqls() {
    let cases = [
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
            "generate_series integer",
        ),
        ("SELECT g FROM generate_series(1, 3) g", "g integer"),
        (
            "SELECT column1, column2 FROM (VALUES (1, 'a'), (2, 'b')) v",
            "column1 integer, column2 text",
        ),
        ("SELECT n FROM bids UNION ALL SELECT auction FROM bids", "n bigint"),
        (
            "SELECT sum(n), sum(auction), avg(n) FROM bids",
            "sum bigint, sum numeric(38,0), avg numeric",
        ),
        ("SELECT public.bids.n FROM public.bids", "n integer"),
        (
            "SELECT window_start, _offset FROM TUMBLE(bids, ts, INTERVAL '1 s')",
            "window_start timestamp without time zone, _offset bigint",
        ),
        (
            "SELECT * FROM TUMBLE(plain, ts, INTERVAL '1 s') WHERE _offset > 0",
            "id integer, ts timestamp with time zone, name text, window_start timestamp with time zone, window_end timestamp with time zone",
        ),
        ("SELECT 2147483647 + 1", "?column? integer"),
        (
            "SELECT price * 2, price / 3 FROM bids",
            "?column? numeric(28,2), ?column? numeric",
        ),
    ];
    check_all(cases.map(|(sql, expect)| (sql, expect.to_string())), shown_fields);
}

#[test]
fn mistakes_are_answered_as_postgresql_does() {
    let cases = [
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
            "function nofunc(integer) does not exist",
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
            Some(26),
        ),
        (
            "SELECT n FROM bids WHERE n = 'abc'",
            "22P02",
            "invalid input syntax for type integer: \"abc\"",
            Some(30),
        ),
        (
            "SELECT 1 UNION SELECT 1, 2",
            "42601",
            "each UNION query must have the same number of columns",
            None,
        ),
        (
            "SELECT n FROM bids ORDER BY 5",
            "42P10",
            "ORDER BY position 5 is not in select list",
            Some(29),
        ),
        (
            "SELECT n + 'a'::text FROM bids",
            "42883",
            "operator does not exist: integer + text",
            Some(10),
        ),
        (
            "SELECT sum(channel) FROM bids",
            "42883",
            "function sum(text) does not exist",
            Some(8),
        ),
        ("SELECT 'x'::nope", "42704", "type \"nope\" does not exist", None),
        (
            "SELECT * FROM bids b, bids b",
            "42712",
            "table name \"b\" specified more than once",
            None,
        ),
        (
            "SELECT n FROM bids WHERE ts > 'yesterdayish'",
            "22007",
            "invalid input syntax for type timestamp: \"yesterdayish\"",
            Some(31),
        ),
        (
            "SELECT * FROM other.public.bids",
            "0A000",
            "cross-database references are not implemented: \"other.public.bids\"",
            Some(15),
        ),
        (
            "SELECT pricee FROM bids",
            "42703",
            "column \"pricee\" does not exist",
            Some(8),
        ),
        (
            "SELECT n FROM bids WHERE count(*) > 1",
            "42803",
            "aggregate functions are not allowed in WHERE",
            Some(26),
        ),
        (
            "SELECT * FROM nofunc(1)",
            "42883",
            "function nofunc(integer) does not exist",
            Some(15),
        ),
    ];
    check_all(
        cases.map(|(sql, code, message, position)| (sql, error(code, message, position.unwrap_or(0)))),
        |sql| shown_error(sql, Emit::OnChange),
    );
}
