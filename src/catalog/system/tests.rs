//! The system relations over a sample catalog, as psql and drivers ask for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow::util::display::array_value_to_string;

use super::*;
use crate::catalog::{Check, Column, PUBLIC_OID, Relation, Snapshot, Topic, View};

/// A snapshot with one topic, one view of each kind, and a comment.
pub(crate) fn sample() -> Snapshot {
    let column = |name: &str, pg_type, not_null| Column {
        name: name.to_string(),
        pg_type,
        not_null,
        default: None,
        generated: None,
        id: 0,
        missing: None,
        typmod: None,
    };
    let mut channel = column("channel", PgType::Text, false);
    channel.default = Some("'web'".to_string());
    let mut day = column("day", PgType::Date, false);
    day.generated = Some("date_time::date".to_string());
    let topic = Topic {
        oid: 16384,
        schema: "public".to_string(),
        name: "bids".to_string(),
        columns: vec![
            column("auction", PgType::Int8, true),
            column("price", PgType::Numeric(Some((18, 2))), false),
            channel,
            column("date_time", PgType::Timestamp, false),
            day,
            column("tags", PgType::Array(Box::new(PgType::Text)), false),
        ],
        checks: vec![Check {
            name: "bids_price_check".to_string(),
            expr: "price >= 0".to_string(),
        }],
        partition_by: vec!["auction".to_string()],
        partitions: 4,
        watermark: None,
        idle_timeout_us: None,
        retention_us: None,
        retention_bytes: None,
        options: BTreeMap::from([("retention".to_string(), "7 days".to_string())]),
        is_table: false,
        schema_id: 1,
        columns_made: 0,
        pinned: None,
    };
    let view = |oid, name: &str, materialized| View {
        oid,
        schema: "public".to_string(),
        name: name.to_string(),
        columns: vec![
            column("auction", PgType::Int8, false),
            column("bids", PgType::Int8, false),
        ],
        definition: "SELECT auction, count(*) AS bids FROM bids GROUP BY auction".to_string(),
        on_window_close: false,
        materialized,
        depends_on: vec![16384],
        time_zone: "UTC".to_string(),
        search_path: vec!["public".to_string()],
        options: BTreeMap::new(),
        recomputed: None,
        inputs: Default::default(),
        names: Default::default(),
        mentions: Vec::new(),
    };
    let relations = [
        Relation::Topic(Arc::new(topic)),
        Relation::View(Arc::new(view(16385, "per_auction", true))),
        Relation::View(Arc::new(view(16386, "plain", false))),
    ];
    let named = |relation: &Relation| match relation {
        Relation::Topic(topic) => (topic.oid, topic.schema.clone(), topic.name.clone()),
        Relation::View(view) => (view.oid, view.schema.clone(), view.name.clone()),
    };
    Snapshot {
        groups: BTreeMap::new(),
        version: 3,
        next_oid: 16390,
        schemas: BTreeMap::from([
            ("pg_catalog".to_string(), 11),
            ("public".to_string(), PUBLIC_OID),
            ("information_schema".to_string(), 13000),
            ("millstream".to_string(), 13001),
        ]),
        names: relations
            .iter()
            .map(|relation| {
                let (oid, schema, name) = named(relation);
                ((schema, name), oid)
            })
            .collect(),
        relations: relations
            .iter()
            .map(|relation| (named(relation).0, relation.clone()))
            .collect(),
        comments: BTreeMap::from([
            ((16384, 0), "all bids".to_string()),
            ((16384, 2), "in euro".to_string()),
        ]),
    }
}

fn state() -> SystemState {
    SystemState::of(Arc::new(sample()), "millstream", "root")
}

fn relation_rows(schema: &str, name: &str) -> RecordBatch {
    rows(lookup(schema, name).expect("the relation is there"), &state()).expect("its rows are")
}

/// Text of the named columns of the rows whose `key` column reads `value`.
fn check(relation: (&str, &str), key: (&str, &str), columns: &[&str], expect: &[&str]) {
    let batch = relation_rows(relation.0, relation.1);
    let text = |column: &str, row| {
        array_value_to_string(batch.column_by_name(column).expect("a column"), row).expect("a printable value")
    };
    let found: Vec<String> = (0..batch.num_rows())
        .filter(|row| text(key.0, *row) == key.1)
        .map(|row| {
            columns
                .iter()
                .map(|column| text(column, row))
                .collect::<Vec<_>>()
                .join("|")
        })
        .collect();
    assert_eq!(found, expect, "{relation:?} where {key:?}");
}

#[test]
fn every_computed_relation_gives_rows_of_its_schema() {
    for relation in all() {
        if relation.definition.is_none() {
            let batch = rows(relation, &state()).expect("rows");
            assert_eq!(&batch.schema(), relation.arrow_schema(), "{}", relation.name);
        }
    }
}

#[test]
fn oids_are_unique_and_below_those_of_users() {
    let mut seen = BTreeSet::new();
    for relation in all() {
        assert!(seen.insert(relation.oid), "{} has an OID of its own", relation.name);
        assert!(relation.oid < crate::catalog::FIRST_USER_OID);
    }
    assert_eq!(
        lookup("pg_catalog", "pg_class").map(|relation| relation.oid),
        Some(1259)
    );
    assert!(lookup("pg_catalog", "bids").is_none());
}

#[test]
fn topics_and_views_have_their_relkind() {
    let pg_class = ("pg_catalog", "pg_class");
    let columns = ["oid", "relkind", "relnamespace", "relnatts", "relchecks", "reloptions"];
    check(
        pg_class,
        ("relname", "bids"),
        &columns,
        &["16384|r|2200|6|1|[retention=7 days]"],
    );
    check(pg_class, ("relname", "per_auction"), &columns[..2], &["16385|m"]);
    check(pg_class, ("relname", "plain"), &columns[..2], &["16386|v"]);
    check(pg_class, ("relname", "pg_class"), &columns[..2], &["1259|r"]);
    check(pg_class, ("relname", "topics"), &columns[..2], &["13101|v"]);
}

#[test]
fn columns_have_types_modifiers_and_defaults() {
    let attribute = ("pg_catalog", "pg_attribute");
    let columns = [
        "attname",
        "atttypid",
        "atttypmod",
        "attnum",
        "attnotnull",
        "atthasdef",
        "attgenerated",
    ];
    check(
        attribute,
        ("attrelid", "16384"),
        &columns,
        &[
            "auction|20|-1|1|true|false|",
            "price|1700|1179654|2|false|false|",
            "channel|25|-1|3|false|true|",
            "date_time|1114|-1|4|false|false|",
            "day|1082|-1|5|false|true|s",
            "tags|1009|-1|6|false|false|",
        ],
    );
    check(
        ("pg_catalog", "pg_attrdef"),
        ("adrelid", "16384"),
        &["adnum", "adbin"],
        &["3|'web'", "5|date_time::date"],
    );
    let constraint = ("pg_catalog", "pg_constraint");
    check(
        constraint,
        ("conrelid", "16384"),
        &["conname", "contype", "conkey"],
        &["bids_price_check|c|[2]"],
    );
}

#[test]
fn the_standard_view_of_columns_agrees() {
    check(
        ("information_schema", "columns"),
        ("table_name", "bids"),
        &[
            "column_name",
            "data_type",
            "numeric_precision",
            "numeric_scale",
            "is_nullable",
            "udt_name",
        ],
        &[
            "auction|bigint|64|0|NO|int8",
            "price|numeric|18|2|YES|numeric",
            "channel|text|||YES|text",
            "date_time|timestamp without time zone|||YES|timestamp",
            "day|date|||YES|date",
            "tags|ARRAY|||YES|_text",
        ],
    );
}

#[test]
fn types_point_at_their_arrays_and_functions() {
    let batch = relation_rows("pg_catalog", "pg_type");
    let oids = batch.column_by_name("oid").expect("oid").as_primitive::<Int64Type>();
    let known: BTreeSet<i64> = oids.values().iter().copied().collect();
    for column in ["typarray", "typelem"] {
        for oid in batch
            .column_by_name(column)
            .expect("a column")
            .as_primitive::<Int64Type>()
            .values()
        {
            assert!(*oid == 0 || known.contains(oid), "{column} {oid} is a type");
        }
    }
    let functions = relation_rows("pg_catalog", "pg_proc");
    let functions = functions
        .column_by_name("oid")
        .expect("oid")
        .as_primitive::<Int64Type>()
        .clone();
    let functions: BTreeSet<i64> = functions.values().iter().copied().collect();
    for column in ["typinput", "typoutput", "typreceive", "typsend"] {
        for oid in batch
            .column_by_name(column)
            .expect("a column")
            .as_primitive::<Int64Type>()
            .values()
        {
            assert!(*oid == 0 || functions.contains(oid), "{column} {oid} is a function");
        }
    }
}

#[test]
fn dependencies_lead_from_a_view_to_its_topic() {
    // The rules of both views read it; its row type, schema, default, generated column and constraint belong to it.
    check(
        ("pg_catalog", "pg_depend"),
        ("refobjid", "16384"),
        &["classid", "refobjsubid", "deptype"],
        &[
            "1247|0|i", "2604|3|a", "2604|5|a", "2606|2|a", "2606|2|n", "2618|0|n", "2618|0|n",
        ],
    );
    check(
        ("pg_catalog", "pg_description"),
        ("objoid", "16384"),
        &["objsubid", "description"],
        &["0|all bids", "2|in euro"],
    );
}

#[test]
fn views_of_the_migrations_are_parsed() {
    let tables = views()
        .iter()
        .find(|view| view.name == "pg_tables")
        .expect("pg_tables is a view");
    assert_eq!(tables.schema, "pg_catalog");
    assert!(
        tables.definition.starts_with("SELECT n.nspname"),
        "{}",
        tables.definition
    );
    assert!(!tables.definition.ends_with(';'));
    let relation = lookup("pg_catalog", "pg_tables").expect("it is listed");
    assert!(rows(relation, &state()).is_err());
    assert!(
        views()
            .iter()
            .any(|view| view.name == "overview" && !view.definition.contains("--"))
    );
}

#[test]
fn derived_oids_do_not_meet() {
    let mut seen = BTreeSet::new();
    for relation in 16384..16400 {
        assert!(seen.insert(pg::derived_oid(relation, pg::RelationPart::Rule)));
        for part in 0..20 {
            assert!(seen.insert(pg::derived_oid(relation, pg::RelationPart::Check(part))));
            assert!(seen.insert(pg::derived_oid(relation, pg::RelationPart::Default(part + 1))));
        }
    }
}
