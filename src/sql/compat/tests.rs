//! What clients send, planned and run over the sample catalog.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::util::display::array_value_to_string;
use datafusion::common::tree_node::Transformed;
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use crate::catalog::system::{self, SystemState, sample};
use crate::error::SqlError;
use crate::sql::plan::{PlanContext, Planned, plan_select};
use crate::sql::source::{RelationKind, RelationSource};
use crate::sql::statement::{Emit, Select};

fn plan(sql: &str) -> Result<Planned, SqlError> {
    let snapshot = sample();
    let statements = Parser::parse_sql(&PostgreSqlDialect {}, sql)
        .map_err(|error| SqlError::new(crate::error::state::SYNTAX_ERROR, error.to_string()))?;
    let Some(sqlparser::ast::Statement::Query(query)) = statements.into_iter().next_back() else {
        return Err(SqlError::new(crate::error::state::SYNTAX_ERROR, "not a query"));
    };
    let select = Select {
        query,
        emit: Emit::OnChange,
    };
    plan_select(
        &select,
        &PlanContext {
            catalog: &snapshot,
            search_path: &["public".to_string()],
            time_zone: "UTC",
            user: "root",
            database: "millstream",
            parameter_types: &[],
            text: sql,
        },
    )
}

/// Puts rows behind the plan's system relations; user relations are empty.
fn with_rows(plan: LogicalPlan) -> LogicalPlan {
    let state = SystemState::of(Arc::new(sample()), "millstream", "root");
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::TableScan(mut scan) => {
            let Some(source) = (scan.source.as_ref() as &dyn std::any::Any).downcast_ref::<RelationSource>() else {
                return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
            };
            let batch = match &source.kind {
                RelationKind::System(schema, name) => {
                    let relation = system::lookup(schema, name).expect("a planned relation");
                    system::rows(relation, &state).expect("computed rows")
                }
                _ => RecordBatch::new_empty(source.schema.clone()),
            };
            let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
            scan.source = provider_as_source(Arc::new(table));
            Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
        }
        other => Ok(Transformed::no(other)),
    })
    .expect("leaves are replaced")
    .data
}

fn run(sql: &str) -> Result<(Planned, Vec<Vec<String>>), SqlError> {
    let planned = plan(sql)?;
    let plan = with_rows(planned.plan.clone());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let config = SessionConfig::new().with_target_partitions(1);
    let context = SessionContext::new_with_config(config);
    let batches = runtime.block_on(async { context.execute_logical_plan(plan).await?.collect().await })?;
    let mut rows = Vec::new();
    for batch in &batches {
        for row in 0..batch.num_rows() {
            let row = batch
                .columns()
                .iter()
                .map(|column| array_value_to_string(column, row).expect("a printable value"));
            rows.push(row.collect());
        }
    }
    Ok((planned, rows))
}

/// Names and rows of a statement's answer, columns separated by `|`.
fn check(sql: &str, names: &str, expect: &[&str]) {
    match run(sql) {
        Ok((planned, rows)) => {
            let fields: Vec<&str> = planned.fields.iter().map(|field| field.name.as_str()).collect();
            assert_eq!(fields.join("|"), names, "{sql}");
            let rows: Vec<String> = rows.iter().map(|row| row.join("|")).collect();
            assert_eq!(rows, expect, "{sql}");
        }
        Err(error) => panic!("{error}\n{sql}"),
    }
}

#[test]
fn casts_to_oid_aliases_look_names_up() {
    check("SELECT 'bids'::regclass::oid", "oid", &["16384"]);
    check("SELECT 16384::regclass::text", "text", &["bids"]);
}

#[test]
#[ignore = "a survey of recorded statements, by MILLSTREAM_REPLAY"]
fn replay() {
    let Ok(dir) = std::env::var("MILLSTREAM_REPLAY") else {
        return;
    };
    let family = |oid: u32| match oid {
        18 | 19 | 25 | 1042 | 1043 | 705 | 2277 | 24 | 2202 | 2205 | 2206 | 4089 | 4096 => 18,
        21 | 23 | 20 | 26 | 28 | 29 => 21,
        700 | 701 | 1700 => 700,
        1009 | 1002 | 1003 | 1015 | 1034 | 1263 | 2211 | 2207 => 1009,
        1005 | 1007 | 1016 | 1028 | 22 | 30 => 1005,
        114 | 3802 => 114,
        1114 | 1184 => 1114,
        other => other,
    };
    for file in dir.split(',') {
        let text = std::fs::read_to_string(file).expect("a replay file");
        let exact = text.contains("-- types=exact");
        let (mut good, mut bad) = (0, 0);
        for block in text.split("-- @ ").skip(1) {
            let (head, sql) = block.split_once('\n').expect("a block has a head");
            let (proto, meta) = head.split_once(' ').expect("a protocol");
            let meta: serde_json::Value = serde_json::from_str(meta).expect("JSON");
            if meta["run"] == false || meta.get("cols").is_none() {
                continue;
            }
            let _ = proto;
            let mut sql = sql.trim().to_string();
            for (from, to) in [
                ("compat_orders", "bids"),
                ("compat_events", "bids"),
                ("compat_items", "bids"),
                ("compat_customers", "bids"),
                ("compat_mv", "per_auction"),
                ("compat_v", "plain"),
                ("app.", "public."),
            ] {
                sql = sql.replace(from, to);
            }
            while let Some(at) = sql.find("@{") {
                let end = at + sql[at..].find("}@").expect("closed");
                let key = &sql[at + 2..end];
                let value = match key {
                    "oid:public.bids" => "16384",
                    "oid:public.per_auction" => "16385",
                    "oid:public.plain" => "16386",
                    "nsp:public" => "2200",
                    "db" => "millstream",
                    "user" => "root",
                    _ => "0",
                };
                sql = format!("{}{}{}", &sql[..at], value, &sql[end + 2..]);
            }
            let first = sql.split_whitespace().next().unwrap_or("").to_lowercase();
            if !matches!(first.as_str(), "select" | "with" | "values" | "(select") {
                continue;
            }
            let params = meta["params"].as_array().cloned().unwrap_or_default();
            for (index, param) in params.iter().enumerate().rev() {
                let value = param.as_str().unwrap_or("");
                let value = if value.starts_with("@{") { "16384" } else { value };
                sql = sql.replace(&format!("${}", index + 1), &format!("'{}'", value.replace('\'', "''")));
            }
            let outcome = std::panic::catch_unwind(|| run(&sql));
            let problem = match outcome {
                Err(_) => Some("PANIC".to_string()),
                Ok(Err(error)) => Some(error.to_string()),
                Ok(Ok((planned, rows))) => {
                    let wanted = meta["cols"].as_array().expect("cols");
                    let mut problem = None;
                    if wanted.len() != planned.fields.len() {
                        problem = Some(format!("{} columns, want {}", planned.fields.len(), wanted.len()));
                    }
                    for (field, want) in planned.fields.iter().zip(wanted) {
                        let (name, oid) = want.as_str().expect("text").rsplit_once(':').expect("name:oid");
                        let oid: u32 = oid.parse().expect("oid");
                        let same = field.pg_type.oid() == oid || !exact && family(field.pg_type.oid()) == family(oid);
                        if field.name != name || oid < 16384 && !same {
                            problem = problem.or(Some(format!(
                                "{}:{} want {name}:{oid}",
                                field.name,
                                field.pg_type.oid()
                            )));
                        }
                    }
                    if problem.is_none() && rows.is_empty() && meta["rows"] == "some" {
                        println!(
                            "  norows {} | {}",
                            meta["label"],
                            sql.replace('\n', " ").chars().take(90).collect::<String>()
                        );
                    }
                    problem
                }
            };
            match problem {
                None => good += 1,
                Some(problem) => {
                    bad += 1;
                    let problem: String = problem.replace('\n', " ").chars().take(260).collect();
                    println!(
                        "BAD {} | {problem} | {}",
                        meta["label"],
                        sql.replace('\n', " ").chars().take(100).collect::<String>()
                    );
                }
            }
        }
        println!("== {file}: {good} good, {bad} bad");
    }
}
