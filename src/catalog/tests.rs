//! Changes applied to snapshots: names, dependents, the output of SHOW CREATE.

use std::collections::BTreeMap;

use super::*;
use crate::types::PgType;

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

fn topic(oid: u32, name: &str) -> Topic {
    Topic {
        oid,
        schema: "public".to_string(),
        name: name.to_string(),
        columns: vec![
            Column {
                not_null: true,
                ..column("auction", PgType::Int8)
            },
            Column {
                default: Some("'web'".to_string()),
                ..column("channel", PgType::Text)
            },
            column("date_time", PgType::Timestamp),
        ],
        checks: vec![Check {
            name: "bids_auction_check".to_string(),
            expr: "auction >= 0".to_string(),
        }],
        partition_by: vec!["auction".to_string()],
        partitions: 4,
        watermark: Some(Watermark {
            column: "date_time".to_string(),
            delay_us: 4_000_000,
            max_ahead_us: None,
        }),
        idle_timeout_us: None,
        retention_us: None,
        retention_bytes: None,
        options: BTreeMap::from([
            ("partitions".to_string(), "4".to_string()),
            ("retention".to_string(), "7 days".to_string()),
        ]),
        is_table: false,
        schema_id: 1,
        columns_made: 0,
        pinned: None,
    }
}

fn view(oid: u32, name: &str, depends_on: &[u32]) -> View {
    View {
        oid,
        schema: "public".to_string(),
        name: name.to_string(),
        columns: vec![column("auction", PgType::Int8), column("Top", PgType::Int8)],
        definition: "SELECT auction, 1 AS \"Top\" FROM bids".to_string(),
        on_window_close: true,
        materialized: true,
        depends_on: depends_on.to_vec(),
        time_zone: "UTC".to_string(),
        search_path: vec!["public".to_string()],
        options: BTreeMap::new(),
        recomputed: None,
        inputs: Default::default(),
        names: Default::default(),
        mentions: Vec::new(),
    }
}

/// `bids`, `a` over it, `b` over `a`, `c` over `bids` and `b`.
fn diamond() -> Snapshot {
    Snapshot::initial().apply(&[
        Change::CreateTopic(topic(16384, "bids")),
        Change::CreateView(view(16385, "a", &[16384])),
        Change::CreateView(view(16386, "b", &[16385])),
        Change::CreateView(view(16387, "c", &[16384, 16386])),
    ])
}

fn path(schemas: &[&str]) -> Vec<String> {
    schemas.iter().map(|schema| schema.to_string()).collect()
}

#[test]
fn a_commit_is_one_version_and_the_old_snapshot_stays() {
    let before = Snapshot::initial();
    let after = before.apply(&[Change::CreateTopic(topic(16384, "bids"))]);
    assert_eq!((before.version, after.version), (0, 1));
    assert_eq!(after.next_oid, 16385);
    assert!(before.find("public", "bids").is_none());
    assert_eq!(after.find("public", "bids").map(Relation::oid), Some(16384));
}

#[test]
fn names_resolve_along_the_search_path() {
    let mut other = topic(16386, "bids");
    other.schema = "app".to_string();
    let snapshot = Snapshot::initial().apply(&[
        Change::CreateTopic(topic(16384, "bids")),
        Change::CreateSchema {
            oid: 16385,
            name: "app".to_string(),
        },
        Change::CreateTopic(other),
    ]);
    let resolve = |schema, schemas: &[&str]| snapshot.resolve(schema, "bids", &path(schemas)).map(Relation::oid);
    assert_eq!(resolve(None, &["$user", "public"]), Some(16384));
    assert_eq!(resolve(None, &["app", "public"]), Some(16386));
    assert_eq!(resolve(Some("app"), &["public"]), Some(16386));
    assert_eq!(resolve(None, &["nowhere"]), None);
    assert_eq!(
        snapshot.create_schema(None, &path(&["$user", "app"])).as_deref(),
        Ok("app")
    );
    let refused = |schema, schemas: &[&str]| snapshot.create_schema(schema, &path(schemas)).map_err(|e| e.state.0);
    assert_eq!(refused(None, &["nowhere"]), Err("3F000"));
    assert_eq!(refused(Some("nowhere"), &["public"]), Err("3F000"));
    assert_eq!(refused(Some("pg_catalog"), &["public"]), Err("42501"));
}

#[test]
fn dependents_come_before_what_they_depend_on() {
    let snapshot = diamond();
    assert_eq!(snapshot.dependents(16384), [16387, 16386, 16385]);
    assert_eq!(snapshot.dependents(16387), [0u32; 0]);
    assert_eq!(snapshot.drop_order(&[16385, 16384]), [16387, 16386, 16385, 16384]);
    let dropped = snapshot.apply(&[Change::Drop {
        oids: snapshot.drop_order(&[16384]),
    }]);
    assert!(dropped.names.is_empty() && dropped.relations.is_empty());
    assert_eq!(dropped.next_oid, 16388, "OIDs are not used again");
}

#[test]
fn comments_go_with_what_they_are_on() {
    let comment = |column, text: Option<&str>| Change::Comment {
        oid: 16387,
        column,
        text: text.map(str::to_string),
    };
    let snapshot = diamond().apply(&[comment(0, Some("x")), comment(2, Some("y")), comment(0, None)]);
    assert_eq!(snapshot.comments, BTreeMap::from([((16387, 2), "y".to_string())]));
    let dropped = snapshot.apply(&[Change::Drop { oids: vec![16387] }]);
    assert!(dropped.comments.is_empty());
}

#[test]
fn a_replayed_catalog_is_the_same_catalog() {
    let records: Vec<(Lsn, Vec<u8>)> = [
        vec![Change::CreateTopic(topic(16384, "bids"))],
        vec![Change::CreateView(view(16385, "a", &[16384]))],
        vec![Change::Drop { oids: vec![16385] }],
    ]
    .iter()
    .zip([3, 4, 9])
    .map(|(changes, lsn)| (lsn, encode(changes)))
    .collect();
    let live = Catalog::new();
    for (lsn, record) in &records {
        live.apply(*lsn, record);
    }
    let recovered = Catalog::recover(&records).expect("the records are whole");
    let (live, recovered) = (live.current(), recovered.current());
    assert_eq!(live.version, 3);
    assert_eq!(live.version, recovered.version);
    assert_eq!(live.next_oid, recovered.next_oid);
    assert_eq!(live.relations, recovered.relations);
    assert!(Catalog::recover(&[(1, b"[{".to_vec())]).is_err_and(|reason| reason.starts_with("commit 1:")));
}

/// Every change that does not fit is a broken invariant.
#[test]
fn a_change_that_does_not_fit_is_refused() {
    let check = |what: &str, change: Change| {
        let snapshot = diamond();
        let applied = std::panic::catch_unwind(|| snapshot.apply(&[change]));
        assert!(applied.is_err(), "{what}");
    };
    check("a used name", Change::CreateTopic(topic(16388, "bids")));
    check("a used OID", Change::CreateTopic(topic(16384, "asks")));
    check("an unknown input", Change::CreateView(view(16388, "d", &[17000])));
    check("a dependent left behind", Change::Drop { oids: vec![16386] });
    check(
        "the wrong order",
        Change::Drop {
            oids: vec![16386, 16387],
        },
    );
    check("an unknown relation", Change::Drop { oids: vec![17000] });
    check("a view is no topic", Change::AlterTopic(topic(16385, "a")));
    let drop_schema = |name: &str| Change::DropSchema { name: name.to_string() };
    check("a fixed schema", drop_schema("millstream"));
    check("an unknown schema", drop_schema("nowhere"));
    let comment = Change::Comment {
        oid: 16384,
        column: 4,
        text: None,
    };
    check("an unknown column", comment);
}

#[test]
fn names_are_quoted_as_postgres_quotes_them() {
    for (name, quoted) in [
        ("bids", "bids"),
        ("_x1", "_x1"),
        ("1x", "\"1x\""),
        ("Bids", "\"Bids\""),
        ("select", "\"select\""),
        ("int", "\"int\""),
        ("name", "name"),
        ("a\"b", "\"a\"\"b\""),
        ("", "\"\""),
        ("größe", "\"größe\""),
    ] {
        assert_eq!(quote_ident(name), quoted);
    }
    assert_eq!(quote_literal("it's"), "'it''s'");
    assert_eq!(quote_literal("a\\b"), "E'a\\\\b'");
    assert!(is_reserved("table") && !is_reserved("int") && !is_reserved("topic"));
}

#[test]
fn show_create_is_canonical() {
    let snapshot = Snapshot::initial();
    assert_eq!(
        show_create(&Relation::Topic(Arc::new(topic(16384, "bids"))), &snapshot),
        "CREATE TOPIC public.bids (
    auction bigint NOT NULL,
    channel text DEFAULT 'web',
    date_time timestamp without time zone,
    CONSTRAINT bids_auction_check CHECK (auction >= 0),
    WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
)
PARTITION BY (auction)
WITH (partitions = 4, retention = '7 days');"
    );
    let mut strict = topic(16384, "bids");
    strict.watermark.as_mut().expect("it has one").max_ahead_us = Some(90_000_000);
    let shown = show_create(&Relation::Topic(Arc::new(strict)), &snapshot);
    let line = "AS date_time - INTERVAL '4 seconds' WITH (max_ahead = '1 minute 30 seconds')\n";
    assert!(shown.contains(line), "{shown}");
    assert_eq!(
        show_create(&Relation::View(Arc::new(view(16385, "a", &[16384]))), &snapshot),
        "CREATE MATERIALIZED VIEW public.a (auction, \"Top\") AS
SELECT auction, 1 AS \"Top\" FROM bids
EMIT ON WINDOW CLOSE;"
    );
    assert_eq!(interval_text(5_400_000_000), "1 hour 30 minutes");
    assert_eq!(interval_text(-1_001), "-1 millisecond -1 microsecond");
}

#[test]
fn the_log_is_told_the_event_time_column() {
    let spec = topic(16384, "bids").log_spec();
    let event_time = spec.event_time.expect("the topic has a watermark");
    assert_eq!((event_time.column, event_time.delay_us), (2, 4_000_000));
    assert_eq!(spec.schema.fields().len(), 3);
    assert!(!spec.schema.field(0).is_nullable());
}
