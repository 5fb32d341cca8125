//! Rows of `pg_catalog`: the catalog snapshot as PostgreSQL would describe it.
//!
//! One rule: an object's OID is the same in every relation and at every version. Objects without an OID of their own
//! in the catalog (constraints, defaults, rules) get one derived from their relation's (`derived_oid`).
//!
//! Topics are relkind `r`, plain views `v`, materialized views `m`. Not here: relations in plain SQL (`migrations/`), and
//! rows that every database has (`builtin.rs`).

use std::collections::BTreeSet;

use super::builtin::{self, type_by_oid};
use super::value::{RowCollector, row};
use super::{SystemState, SystemValue, all};
use crate::catalog::{Column, Relation, Snapshot, Topic};
use crate::types::PgType;

/// `pg_class.oid` of the catalogs that other rows name by `classoid`.
pub const PG_CLASS: u32 = 1259;
const PG_ATTRDEF: u32 = 2604;
const PG_CONSTRAINT: u32 = 2606;
const PG_NAMESPACE: u32 = 2615;
const PG_REWRITE: u32 = 2618;
const PG_TYPE: u32 = 1247;

/// Owner of every object: the built-in role.
pub const OWNER_OID: u32 = 10;
pub const BUILTIN_ROLE: &str = "millstream";
/// The one database; every name that a client connects to is it.
/// Not one of PostgreSQL's own: clients take a database below 16384 for a template.
const DATABASE_OID: u32 = 16384;
const DEFAULT_TABLESPACE: u32 = 1663;
const HEAP: u32 = 2;

/// The role in its relation of an object that the catalog gives no OID.
#[derive(Clone, Copy)]
pub enum RelationPart {
    /// The n-th CHECK, from 0.
    Check(usize),
    /// The default of the n-th column, from 1.
    Default(usize),
    Rule,
    /// Its row type.
    Row,
}

/// A stable OID for a part of a user's relation, in the upper half of the OID space.
pub fn derived_oid(relation: u32, part: RelationPart) -> u32 {
    const PARTS: u32 = 4096;
    let part = match part {
        RelationPart::Rule => 0,
        RelationPart::Check(index) => 1 + index as u32 % 1022,
        RelationPart::Row => 1023,
        RelationPart::Default(number) => 1024 + number as u32 % 3072,
    };
    0x8000_0000 | (relation.wrapping_mul(PARTS) & 0x7fff_f000) | part
}

/// The relation whose row type an OID is.
pub fn relation_of_row_type(snapshot: &Snapshot, oid: u32) -> Option<u32> {
    // Most OIDs are no row type's: they all have these bits.
    if oid & 0x8000_0fff != derived_oid(0, RelationPart::Row) {
        return None;
    }
    let users = snapshot.relations.keys().copied();
    let mut every = users.chain(all().iter().map(|relation| relation.oid));
    every.find(|relation| derived_oid(*relation, RelationPart::Row) == oid)
}

/// The role that an OID stands for.
pub fn role_name(oid: u32, user: &str) -> Option<String> {
    if oid == OWNER_OID {
        Some(BUILTIN_ROLE.to_string())
    } else {
        (oid == role_oid(user)).then(|| user.to_string())
    }
}

/// Roles are not catalog objects: any name connects. A role's OID is derived from its name.
pub fn role_oid(user: &str) -> u32 {
    if user == BUILTIN_ROLE {
        return OWNER_OID;
    }
    let hash = user.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    14_000 + hash % 2_000
}

/// A column of any relation, as `pg_attribute` shows it.
pub struct Attribute<'a> {
    pub name: &'a str,
    pub type_oid: u32,
    pub typmod: i32,
    pub not_null: bool,
    pub column: Option<&'a Column>,
}

/// Any relation, as `pg_class` shows it.
pub struct Object<'a> {
    pub oid: u32,
    pub schema: &'a str,
    pub name: &'a str,
    pub kind: char,
    pub attributes: Vec<Attribute<'a>>,
    pub relation: Option<&'a Relation>,
}

impl Object<'_> {
    pub fn topic(&self) -> Option<&Topic> {
        match self.relation {
            Some(Relation::Topic(topic)) => Some(topic),
            _ => None,
        }
    }
}

pub fn relation_kind(relation: &Relation) -> char {
    match relation {
        Relation::Topic(_) => 'r',
        Relation::View(view) if view.materialized => 'm',
        Relation::View(_) => 'v',
    }
}

/// All relations: the user's, then the system's.
pub fn objects(snapshot: &Snapshot) -> impl Iterator<Item = Object<'_>> {
    let users = snapshot.relations.values().map(|relation| {
        let (oid, schema, name, columns) = match relation {
            Relation::Topic(topic) => (topic.oid, &topic.schema, &topic.name, &topic.columns),
            Relation::View(view) => (view.oid, &view.schema, &view.name, &view.columns),
        };
        let attributes = columns.iter().map(|column| Attribute {
            name: &column.name,
            type_oid: column.pg_type.oid(),
            typmod: column.typmod(),
            not_null: column.not_null,
            column: Some(column),
        });
        Object {
            oid,
            schema,
            name,
            kind: relation_kind(relation),
            attributes: attributes.collect(),
            relation: Some(relation),
        }
    });
    let systems = all().iter().map(|relation| Object {
        oid: relation.oid,
        schema: relation.schema,
        name: relation.name,
        kind: relation.kind,
        attributes: relation
            .columns
            .iter()
            .map(|column| Attribute {
                name: column.name,
                type_oid: column.type_oid,
                typmod: -1,
                not_null: column.not_null,
                column: None,
            })
            .collect(),
        relation: None,
    });
    users.chain(systems)
}

/// `pg_get_expr` of a column: the text of its default or generation expression.
pub fn default_of(column: &Column) -> Option<&str> {
    column.default.as_deref().or(column.generated.as_deref())
}

pub(super) fn fill(name: &str, state: &SystemState, rows: &mut RowCollector) {
    let snapshot = &*state.snapshot;
    match name {
        "pg_class" => fill_class(state, rows),
        "pg_attribute" => fill_attribute(state, rows),
        "pg_attrdef" => fill_attrdef(state, rows),
        "pg_namespace" => {
            for (name, oid) in &snapshot.schemas {
                rows.push(row!["oid" => *oid, "nspname" => name.as_str(), "nspowner" => OWNER_OID]);
            }
        }
        "pg_type" => {
            builtin::push(name, rows);
            fill_row_types(snapshot, rows);
        }
        "pg_constraint" => fill_constraint(snapshot, rows),
        "pg_description" => {
            builtin::push(name, rows);
            for ((oid, column), text) in &snapshot.comments {
                let class = if snapshot.relations.contains_key(oid) {
                    PG_CLASS
                } else {
                    PG_NAMESPACE
                };
                rows.push(row![
                    "objoid" => *oid, "classoid" => class, "objsubid" => *column, "description" => text.as_str(),
                ]);
            }
        }
        "pg_rewrite" => {
            for view in views(snapshot) {
                rows.push(row![
                    "oid" => derived_oid(view.oid, RelationPart::Rule), "rulename" => "_RETURN", "ev_class" => view.oid,
                    "ev_type" => "1", "ev_enabled" => "O", "is_instead" => true,
                ]);
            }
        }
        "pg_depend" => fill_depend(snapshot, rows),
        "pg_database" => rows.push(row![
            "oid" => DATABASE_OID, "datname" => state.database.as_str(), "datdba" => OWNER_OID, "encoding" => 6,
            "datlocprovider" => "c", "datallowconn" => true, "datconnlimit" => -1,
            "dattablespace" => DEFAULT_TABLESPACE, "datcollate" => "C.UTF-8", "datctype" => "C.UTF-8",
        ]),
        "pg_roles" => fill_roles(state, rows),
        "pg_tablespace" => rows.push(row![
            "oid" => DEFAULT_TABLESPACE, "spcname" => "pg_default", "spcowner" => OWNER_OID,
        ]),
        "pg_settings" => fill_settings(state, rows),
        "pg_stat_activity" => fill_activity(state, rows),
        "pg_stat_user_tables" | "pg_stat_all_tables" => fill_table_statistics(state, rows),
        "pg_stat_database" => rows.push(row![
            "datid" => DATABASE_OID, "datname" => state.database.as_str(), "numbackends" => state.sessions.len(),
            "xact_commit" => state.wal.commits,
        ]),
        "pg_prepared_statements" => {
            for prepared in &state.prepared {
                rows.push(row![
                    "name" => prepared.name.as_str(), "statement" => prepared.statement.as_str(),
                    "prepare_time" => prepared.prepared_us, "parameter_types" => prepared.parameter_types.clone(),
                    "from_sql" => prepared.from_sql,
                ]);
            }
        }
        "pg_cursors" => {
            for cursor in &state.cursors {
                rows.push(row![
                    "name" => cursor.name.as_str(), "statement" => cursor.statement.as_str(),
                    "is_holdable" => cursor.holdable, "is_binary" => cursor.binary, "is_scrollable" => cursor.scrollable,
                    "creation_time" => cursor.created_us,
                ]);
            }
        }
        "pg_locks" => {
            for lock in &state.locks {
                rows.push(row![
                    "locktype" => "advisory", "database" => DATABASE_OID, "classid" => lock.key.0,
                    "objid" => lock.key.1, "objsubid" => if lock.is_one_number { 1 } else { 2 }, "pid" => lock.pid,
                    "mode" => if lock.is_shared { "ShareLock" } else { "ExclusiveLock" },
                    "granted" => lock.is_granted, "fastpath" => false,
                ]);
            }
        }
        "pg_timezone_names" => fill_time_zones(rows),
        // Objects that this server does not have: indexes, triggers, policies, publications, ...
        _ => {}
    }
}

fn views(snapshot: &Snapshot) -> impl Iterator<Item = &crate::catalog::View> {
    snapshot.relations.values().filter_map(|relation| match relation {
        Relation::View(view) => Some(&**view),
        Relation::Topic(_) => None,
    })
}

/// A row type for each relation. Nothing has arrays of them.
fn fill_row_types(snapshot: &Snapshot, rows: &mut RowCollector) {
    const RECORD_IN: [(&str, u32); 4] = [
        ("typinput", 2290),
        ("typoutput", 2291),
        ("typreceive", 2402),
        ("typsend", 2403),
    ];
    for object in objects(snapshot) {
        let mut values = row![
            "oid" => derived_oid(object.oid, RelationPart::Row), "typname" => object.name,
            "typnamespace" => snapshot.schemas.get(object.schema).copied(), "typowner" => OWNER_OID, "typlen" => -1,
            "typtype" => "c", "typcategory" => "C", "typisdefined" => true, "typdelim" => ",", "typrelid" => object.oid,
            "typalign" => "d", "typstorage" => "x", "typtypmod" => -1,
        ]
        .to_vec();
        values.extend(RECORD_IN.map(|(column, function)| (column, SystemValue::from(function))));
        rows.push(&values);
    }
}

/// The objects of users that go with others: parts with their relation, relations with their schema, views with their inputs.
fn fill_depend(snapshot: &Snapshot, rows: &mut RowCollector) {
    let mut push = |(class, object): (u32, u32), on: (u32, u32, usize), kind: &str| {
        rows.push(row![
            "classid" => class, "objid" => object, "refclassid" => on.0, "refobjid" => on.1, "refobjsubid" => on.2,
            "deptype" => kind,
        ]);
    };
    for object in objects(snapshot).filter(|object| object.relation.is_some()) {
        let (relation, oid) = ((PG_CLASS, object.oid), object.oid);
        push((PG_TYPE, derived_oid(oid, RelationPart::Row)), (PG_CLASS, oid, 0), "i");
        if let Some(schema) = snapshot.schemas.get(object.schema) {
            push(relation, (PG_NAMESPACE, *schema, 0), "n");
        }
        for (index, attribute) in object.attributes.iter().enumerate() {
            if attribute.column.and_then(default_of).is_some() {
                let default = derived_oid(oid, RelationPart::Default(index + 1));
                push((PG_ATTRDEF, default), (PG_CLASS, oid, index + 1), "a");
            }
        }
        for (index, check) in object.topic().map_or(&[][..], |topic| &topic.checks).iter().enumerate() {
            let constraint = derived_oid(oid, RelationPart::Check(index));
            for (number, attribute) in object.attributes.iter().enumerate() {
                if mentions(&check.expr, attribute.name) {
                    // Of the column, and of the expression.
                    for kind in ["a", "n"] {
                        push((PG_CONSTRAINT, constraint), (PG_CLASS, oid, number + 1), kind);
                    }
                }
            }
        }
    }
    for view in views(snapshot) {
        let rule = (PG_REWRITE, derived_oid(view.oid, RelationPart::Rule));
        push(rule, (PG_CLASS, view.oid, 0), "i");
        for on in &view.depends_on {
            push(rule, (PG_CLASS, *on, 0), "n");
        }
    }
}

fn fill_class(state: &SystemState, rows: &mut RowCollector) {
    for object in objects(&state.snapshot) {
        let topic = object.topic();
        let tuples = match object.kind {
            'r' => state
                .topic(object.oid)
                .map(|topic| topic.partitions.iter().map(|partition| partition.rows).sum::<u64>()),
            'm' => state.view(object.oid).and_then(|view| view.rows),
            _ => Some(0),
        };
        let stored = matches!(object.kind, 'r' | 'm');
        let options = object.relation.map(|relation| {
            let options = match relation {
                Relation::Topic(topic) => topic.options.iter(),
                Relation::View(view) => view.options.iter(),
            };
            options
                .map(|(name, value)| format!("{name}={value}"))
                .collect::<Vec<_>>()
        });
        rows.push(row![
            "oid" => object.oid, "relname" => object.name,
            "relnamespace" => state.snapshot.schemas.get(object.schema).copied(),
            "reltype" => derived_oid(object.oid, RelationPart::Row), "relowner" => OWNER_OID, "relam" => if stored { HEAP } else { 0 },
            "relfilenode" => if stored { object.oid } else { 0 },
            "reltuples" => SystemValue::Float(tuples.map_or(-1.0, |rows| rows as f64)),
            "relpersistence" => "p", "relkind" => object.kind.to_string(), "relnatts" => object.attributes.len(),
            "relchecks" => topic.map_or(0, |topic| topic.checks.len()),
            "relhasrules" => matches!(object.kind, 'v' | 'm') && object.relation.is_some(),
            "relispopulated" => true, "relreplident" => if stored { "d" } else { "n" },
            "reloptions" => options.filter(|options| !options.is_empty()),
        ]);
    }
}

fn fill_attribute(state: &SystemState, rows: &mut RowCollector) {
    for object in objects(&state.snapshot) {
        for (index, attribute) in object.attributes.iter().enumerate() {
            let named = type_by_oid(attribute.type_oid);
            let generated = attribute.column.is_some_and(|column| column.generated.is_some());
            let has_default = attribute.column.is_some_and(|column| default_of(column).is_some());
            let is_shaped = attribute
                .column
                .is_some_and(|column| matches!(column.pg_type, PgType::Shaped(_)));
            let dimensions = match named.is_some_and(|named| named.category == "A") {
                true => 1 + i32::from(is_shaped),
                false => 0,
            };
            rows.push(row![
                "attrelid" => object.oid, "attname" => attribute.name, "atttypid" => attribute.type_oid,
                "attstattarget" => -1, "attlen" => named.map_or(-1, |named| i32::from(named.length)),
                "attnum" => index + 1, "attndims" => dimensions,
                "attcacheoff" => -1, "atttypmod" => attribute.typmod,
                "attbyval" => named.is_some_and(|named| named.by_value),
                "attalign" => named.map_or("i", |named| &named.align),
                "attstorage" => named.map_or("x", |named| &named.storage),
                "attnotnull" => attribute.not_null, "atthasdef" => has_default,
                "attgenerated" => if generated { "s" } else { "" }, "attislocal" => true,
                "attcollation" => named.map_or(0, |named| named.collation),
            ]);
        }
    }
}

fn fill_attrdef(state: &SystemState, rows: &mut RowCollector) {
    for object in objects(&state.snapshot) {
        for (index, attribute) in object.attributes.iter().enumerate() {
            if let Some(text) = attribute.column.and_then(default_of) {
                rows.push(row![
                    "oid" => derived_oid(object.oid, RelationPart::Default(index + 1)), "adrelid" => object.oid,
                    "adnum" => index + 1, "adbin" => text,
                ]);
            }
        }
    }
}

fn fill_constraint(snapshot: &Snapshot, rows: &mut RowCollector) {
    for object in objects(snapshot) {
        let Some(topic) = object.topic() else { continue };
        for (index, check) in topic.checks.iter().enumerate() {
            let columns = topic.columns.iter().enumerate();
            let named: Vec<i64> = columns
                .filter(|(_, column)| mentions(&check.expr, &column.name))
                .map(|(index, _)| index as i64 + 1)
                .collect();
            rows.push(row![
                "oid" => derived_oid(topic.oid, RelationPart::Check(index)), "conname" => check.name.as_str(),
                "connamespace" => snapshot.schemas.get(&topic.schema).copied(), "contype" => "c",
                "convalidated" => true, "conrelid" => topic.oid, "confupdtype" => " ", "confdeltype" => " ",
                "confmatchtype" => " ", "conislocal" => true, "conkey" => named, "conbin" => check.expr.as_str(),
            ]);
        }
    }
}

/// Whether an expression's text has `name` as a word.
pub(super) fn mentions(expression: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    expression.match_indices(name).any(|(at, _)| {
        let before = expression[..at].chars().next_back();
        let after = expression[at + name.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

fn fill_roles(state: &SystemState, rows: &mut RowCollector) {
    let mut names = BTreeSet::from([BUILTIN_ROLE, state.user.as_str()]);
    names.extend(state.sessions.iter().map(|session| session.user.as_str()));
    for name in names {
        rows.push(row![
            "rolname" => name, "rolsuper" => true, "rolinherit" => true, "rolcreaterole" => true,
            "rolcreatedb" => false, "rolcanlogin" => true, "rolreplication" => false, "rolconnlimit" => -1,
            "rolpassword" => "********", "rolbypassrls" => true, "oid" => role_oid(name),
        ]);
    }
}

fn fill_settings(state: &SystemState, rows: &mut RowCollector) {
    for setting in &state.settings {
        rows.push(row![
            "name" => setting.name.as_str(), "setting" => setting.value.clone(), "unit" => setting.unit.clone(),
            "category" => setting.category.as_str(), "short_desc" => setting.description.as_str(),
            "context" => setting.context.as_str(), "vartype" => setting.kind.as_str(),
            "source" => setting.source.as_str(), "enumvals" => setting.allowed.clone(),
            "min_val" => setting.min.clone(), "max_val" => setting.max.clone(),
            "boot_val" => setting.default.clone(), "reset_val" => setting.reset.clone(), "pending_restart" => false,
        ]);
    }
}

fn fill_activity(state: &SystemState, rows: &mut RowCollector) {
    for session in &state.sessions {
        rows.push(row![
            "datid" => DATABASE_OID, "datname" => session.database.as_str(), "pid" => session.pid,
            "usesysid" => role_oid(&session.user), "usename" => session.user.as_str(),
            "application_name" => session.application_name.as_str(), "client_addr" => session.client_addr.clone(),
            "client_port" => session.client_port, "backend_start" => session.started_us,
            "xact_start" => session.transaction_started_us, "query_start" => session.query_started_us,
            "state_change" => session.state_changed_us, "state" => session.state.as_str(),
            "query" => session.query.as_str(), "backend_type" => "client backend",
        ]);
    }
}

fn fill_table_statistics(state: &SystemState, rows: &mut RowCollector) {
    for object in objects(&state.snapshot) {
        if object.relation.is_none() || object.kind == 'v' {
            continue;
        }
        let (inserted, live) = match object.kind {
            'r' => {
                let partitions = state.topic(object.oid).map(|topic| topic.partitions.as_slice());
                let partitions = partitions.unwrap_or_default();
                let appended = partitions.iter().map(|partition| partition.next_offset).sum::<u64>();
                (appended, partitions.iter().map(|partition| partition.rows).sum::<u64>())
            }
            _ => {
                let rows = state.view(object.oid).and_then(|view| view.rows);
                (rows.unwrap_or(0), rows.unwrap_or(0))
            }
        };
        rows.push(row![
            "relid" => object.oid, "schemaname" => object.schema, "relname" => object.name, "n_tup_ins" => inserted,
            "n_tup_upd" => 0, "n_tup_del" => 0, "n_live_tup" => live, "n_dead_tup" => 0,
        ]);
    }
}

fn fill_time_zones(rows: &mut RowCollector) {
    use chrono::{Offset, TimeZone, Utc};
    use chrono_tz::OffsetName;
    // As of a fixed day, so that a system relation is a function of its state alone.
    let day = Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).single().expect("a real day");
    for zone in chrono_tz::TZ_VARIANTS {
        let offset = zone.offset_from_utc_datetime(&day.naive_utc());
        let seconds = i64::from(offset.fix().local_minus_utc());
        rows.push(row![
            "name" => zone.name(), "abbrev" => offset.abbreviation(), "utc_offset" => seconds * 1_000_000,
            "is_dst" => false,
        ]);
    }
}
