//! Names and definitions, as immutable snapshots; and the system schemas as relations over them.
//!
//! One rule: a catalog is a function of the log prefix (C1): it changes only by [`Change`]s that the log committed.
//! Pure: no I/O. What an expression in a definition means is `sql`'s business; here it is text.

pub mod system;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::types::PgType;

/// First OID of a user's object, as in PostgreSQL.
pub const FIRST_USER_OID: u32 = 16384;
/// `pg_namespace.oid` of the fixed schemas, as in PostgreSQL where it has them.
pub const PG_CATALOG_OID: u32 = 11;
pub const PUBLIC_OID: u32 = 2200;
pub const INFORMATION_SCHEMA_OID: u32 = 13000;
pub const MILLSTREAM_OID: u32 = 13001;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    pub pg_type: PgType,
    pub not_null: bool,
    /// SQL text of the DEFAULT expression.
    pub default: Option<String>,
    /// SQL text of a GENERATED ALWAYS AS (...) STORED expression.
    pub generated: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    pub name: String,
    /// SQL text of the boolean expression.
    pub expr: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Watermark {
    pub column: String,
    pub delay_us: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Topic {
    /// Also its `log::TopicId`.
    pub oid: u32,
    pub schema: String,
    pub name: String,
    pub columns: Vec<Column>,
    pub checks: Vec<Check>,
    pub partition_by: Vec<String>,
    pub partitions: u32,
    pub watermark: Option<Watermark>,
    pub idle_timeout_us: Option<i64>,
    /// WITH options as given, by name (`retention`, `retention_bytes`, ...), for SHOW CREATE.
    pub options: BTreeMap<String, String>,
    /// Made by CREATE TABLE ... APPEND ONLY.
    pub is_table: bool,
    /// Counts schema changes; the log refuses appends of an older one.
    pub schema_id: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct View {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    pub columns: Vec<Column>,
    /// The defining SELECT as the user wrote it.
    pub definition: String,
    /// `EMIT ON WINDOW CLOSE` was given.
    pub on_window_close: bool,
    pub materialized: bool,
    /// OIDs of the relations that the definition names, direct ones.
    pub depends_on: Vec<u32>,
    /// Settings that the definition's meaning depends on.
    pub time_zone: String,
    pub search_path: Vec<String>,
    pub options: BTreeMap<String, String>,
    /// Why it is recomputed when read instead of kept incrementally; `None` if incremental (or not materialized).
    pub recomputed: Option<String>,
}

#[derive(Clone, Debug)]
pub enum Relation {
    Topic(Arc<Topic>),
    View(Arc<View>),
}

/// One catalog change, as the log records it (JSON). Applying a change that does not fit is a broken invariant (C1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    CreateSchema {
        oid: u32,
        name: String,
    },
    DropSchema {
        name: String,
    },
    CreateTopic(Topic),
    /// Replaces the definition with the same OID.
    AlterTopic(Topic),
    CreateView(View),
    /// OIDs of topics and views, dependents first.
    Drop {
        oids: Vec<u32>,
    },
    /// `column` is 1-based; 0 is the relation itself. `None` removes the comment.
    Comment {
        oid: u32,
        column: u32,
        text: Option<String>,
    },
}

/// All names at one catalog version. Immutable; cheap to clone by `Arc`.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Number of committed catalog changes (log commits with a `Ddl`).
    pub version: u64,
    pub next_oid: u32,
    /// Schema name to OID, the fixed ones included.
    pub schemas: BTreeMap<String, u32>,
    /// By (schema, name).
    pub names: BTreeMap<(String, String), u32>,
    pub relations: BTreeMap<u32, Relation>,
    pub comments: BTreeMap<(u32, u32), String>,
}
