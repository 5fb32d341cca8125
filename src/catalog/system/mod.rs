//! The system schemas `pg_catalog`, `information_schema` and `millstream` as relations over our own catalog.
//!
//! One rule: a client's questions about the catalog get true answers: rows come from the catalog snapshot and the
//! running server, never from a table of pretended objects. All relations of PostgreSQL 15 exist with its columns
//! and types; those of things that this server lacks (indexes, triggers, policies) are empty. `data/` lists the
//! built-in types, functions, operators and casts, with PostgreSQL's OIDs.
//!
//! Relations that are plain SQL over others are views in `migrations/`, expanded by the planner. Pure: no I/O.

mod value;

mod state;

mod builtin;
mod information;
mod millstream;
mod pg;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};

pub use self::builtin::{NamedType, description, static_rows, type_by_name, type_by_oid, type_name, value_of};
pub use self::pg::{
    BUILTIN_ROLE, OWNER_OID, Object, RelationPart, derived_oid, objects, relation_of_row_type, role_name, role_oid,
};
pub use self::state::{
    AdvisoryLockState, CursorState, DiskState, GroupPartitionState, GroupState, OperatorState, PartitionState,
    PreparedState, ProducerState, SegmentState, SessionState, SettingState, SystemState, TopicState, ViewState,
    WalState,
};
#[cfg(test)]
pub(crate) use self::tests::sample;
pub use self::value::SystemValue;
pub(crate) use self::value::array as value_array;
use crate::error::{SqlError, state as sqlstate};
use crate::types::{Opaque, PgType};

/// One column of a system relation.
#[derive(Clone, Debug)]
pub struct SystemColumn {
    pub name: &'static str,
    /// As values are held and sent.
    pub pg_type: PgType,
    /// As `pg_attribute` shows it: PostgreSQL's own type, which may be one that we hold as another.
    pub type_oid: u32,
    pub not_null: bool,
}

/// A relation of a system schema.
#[derive(Clone, Debug)]
pub struct SystemRelation {
    pub schema: &'static str,
    pub name: &'static str,
    /// PostgreSQL's where it has one.
    pub oid: u32,
    /// `r` or `v`, as `pg_class.relkind` shows it.
    pub kind: char,
    pub columns: Vec<SystemColumn>,
    /// The SELECT behind it if it is a view of `migrations/`; `rows` is not for those.
    pub definition: Option<&'static str>,
    arrow: SchemaRef,
}

impl SystemRelation {
    /// Column names and types as Arrow; the same `Arc` every time.
    pub fn arrow_schema(&self) -> &SchemaRef {
        &self.arrow
    }

    fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    fn parse(line: &'static str, definitions: &HashMap<(&str, &str), &'static str>) -> SystemRelation {
        let mut parts = line.split('\t');
        let mut next = || parts.next().expect("a relation has five fields");
        let (schema, name, oid, kind, columns) = (next(), next(), next(), next(), next());
        let columns: Vec<SystemColumn> = columns.split(' ').map(SystemColumn::parse).collect();
        let fields: Vec<_> = columns
            .iter()
            .map(|column| column.pg_type.field(column.name, true))
            .collect();
        SystemRelation {
            schema,
            name,
            oid: oid.parse().expect("an OID is a number"),
            kind: kind.chars().next().expect("a relation has a kind"),
            columns,
            definition: definitions.get(&(schema, name)).copied(),
            arrow: Arc::new(Schema::new(fields)),
        }
    }
}

impl SystemColumn {
    fn parse(text: &'static str) -> SystemColumn {
        let (name, type_name) = text.split_once(':').expect("a column is name:type");
        let not_null = type_name.ends_with('!');
        let type_name = type_name.trim_end_matches('!');
        SystemColumn {
            name,
            pg_type: held_as(type_name),
            type_oid: builtin::type_oid(type_name),
            not_null,
        }
    }
}

/// The type that holds values of a PostgreSQL type; types of catalogs only are held as their nearest relative.
fn held_as(type_name: &str) -> PgType {
    if let Some(item) = type_name.strip_prefix('_') {
        return PgType::Array(Box::new(match held_as(item) {
            PgType::Opaque(_) => PgType::Text,
            known => known,
        }));
    }
    match type_name {
        "bool" => PgType::Bool,
        "bytea" => PgType::Bytea,
        "char" => PgType::InternalChar,
        "name" => PgType::Name,
        "int2" => PgType::Int2,
        "int4" => PgType::Int4,
        "int8" => PgType::Int8,
        "float4" => PgType::Float4,
        "float8" => PgType::Float8,
        "numeric" => PgType::Numeric(None),
        "oid" => PgType::Oid,
        "xid" => PgType::Xid,
        "regproc" => PgType::Regproc,
        "regtype" => PgType::Regtype,
        "timestamp" => PgType::Timestamp,
        "timestamptz" => PgType::TimestampTz,
        "interval" => PgType::Interval,
        "varchar" => PgType::Varchar(None),
        "int2vector" => PgType::Int2Vector,
        "oidvector" => PgType::OidVector,
        "pg_lsn" => PgType::PgLsn,
        // pg_node_tree, inet, anyarray, ...
        other => Opaque::named(other).map_or(PgType::Text, PgType::Opaque),
    }
}

/// A view of a system schema, defined by SQL in `migrations/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemView {
    pub schema: &'static str,
    pub name: &'static str,
    /// The defining SELECT.
    pub definition: &'static str,
}

/// Numbered migrations, in order.
const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/0001_pg_catalog.sql"),
    include_str!("../../../migrations/0002_millstream.sql"),
];

/// All views that the migrations define.
pub fn views() -> &'static [SystemView] {
    static VIEWS: OnceLock<Vec<SystemView>> = OnceLock::new();
    VIEWS.get_or_init(|| MIGRATIONS.iter().flat_map(|text| parse_migration(text)).collect())
}

/// Reads `CREATE VIEW schema.name AS SELECT ...;` statements, each ended by a `;` at a line's end. Comments stand on
/// lines of their own.
fn parse_migration(text: &'static str) -> Vec<SystemView> {
    let mut views = Vec::new();
    for statement in text.split(";\n") {
        let start = statement.lines().take_while(|line| {
            let line = line.trim();
            line.is_empty() || line.starts_with("--")
        });
        let skip: usize = start.map(|line| line.len() + 1).sum();
        let Some(statement) = statement.get(skip..).map(str::trim).filter(|text| !text.is_empty()) else {
            continue;
        };
        let view = statement.strip_prefix("CREATE VIEW ");
        let (name, definition) = view
            .and_then(|rest| rest.split_once(" AS"))
            .unwrap_or_else(|| panic!("a migration holds CREATE VIEW statements: {statement}"));
        let (schema, name) = name.split_once('.').expect("a system view names its schema");
        views.push(SystemView {
            schema,
            name: name.trim(),
            definition: definition.trim(),
        });
    }
    views
}

struct Directory {
    relations: Vec<SystemRelation>,
    by_name: HashMap<(&'static str, &'static str), usize>,
    by_oid: HashMap<u32, usize>,
}

fn directory() -> &'static Directory {
    static DIRECTORY: OnceLock<Directory> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let definitions = views()
            .iter()
            .map(|view| ((view.schema, view.name), view.definition))
            .collect();
        let lines = include_str!("data/relations.tsv")
            .lines()
            .chain(include_str!("data/millstream.tsv").lines());
        let relations: Vec<_> = lines.map(|line| SystemRelation::parse(line, &definitions)).collect();
        let by_name: HashMap<_, _> = relations
            .iter()
            .enumerate()
            .map(|(index, relation)| ((relation.schema, relation.name), index))
            .collect();
        let by_oid = relations
            .iter()
            .enumerate()
            .map(|(index, relation)| (relation.oid, index))
            .collect();
        for view in views() {
            assert!(
                by_name.contains_key(&(view.schema, view.name)),
                "view {}.{} has its columns listed in data/",
                view.schema,
                view.name
            );
        }
        Directory {
            relations,
            by_name,
            by_oid,
        }
    })
}

/// The system relation of exactly this schema and name.
pub fn lookup(schema: &str, name: &str) -> Option<&'static SystemRelation> {
    let directory = directory();
    let index = directory.by_name.get(&(schema, name))?;
    Some(&directory.relations[*index])
}

pub fn by_oid(oid: u32) -> Option<&'static SystemRelation> {
    let directory = directory();
    Some(&directory.relations[*directory.by_oid.get(&oid)?])
}

/// All system relations, computed ones and views.
pub fn all() -> &'static [SystemRelation] {
    &directory().relations
}

/// The rows of a computed relation; its schema is [`SystemRelation::arrow_schema`].
///
/// XX000 if the relation is a view, which is the planner's to expand.
pub fn rows(relation: &SystemRelation, state: &SystemState) -> Result<RecordBatch, SqlError> {
    if relation.definition.is_some() {
        return Err(SqlError::new(
            sqlstate::INTERNAL_ERROR,
            format!("system view \"{}\" was not expanded", relation.name),
        ));
    }
    if let Some(batch) = builtin::batch(relation) {
        return Ok(batch);
    }
    let mut rows = value::RowCollector::new(relation);
    match relation.schema {
        "pg_catalog" => pg::fill(relation.name, state, &mut rows),
        "information_schema" => information::fill(relation.name, state, &mut rows),
        _ => millstream::fill(relation.name, state, &mut rows),
    }
    Ok(rows.finish())
}
