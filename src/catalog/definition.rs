//! Definitions of relations: topics, views and their columns. Plain values that the log records as JSON.
//!
//! One rule: a definition names by OID what the system depends on, since OIDs do not change, and by text what only
//! `sql` can interpret. Not here: the lookup of definitions by name (`snapshot.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::log::{AHEAD_US, EventTime, Reader, Retention, TopicId, TopicSpec, column_field};
use crate::types::PgType;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    pub pg_type: PgType,
    pub not_null: bool,
    /// SQL text of the DEFAULT expression.
    pub default: Option<String>,
    /// SQL text of a GENERATED ALWAYS AS (...) STORED expression.
    pub generated: Option<String>,
    /// Of a topic's column: its identity, from 1, never given again.
    #[serde(default)]
    pub id: u32,
    /// The value of rows from before the column was added, by `log::encode_value`; NULL if not given.
    #[serde(default)]
    pub missing: Option<String>,
    /// `pg_attribute.atttypmod` of a modifier that the type does not say: values are rounded to it when they are put in.
    #[serde(default)]
    pub typmod: Option<i32>,
}

impl Column {
    /// `pg_attribute.atttypmod`.
    pub fn typmod(&self) -> i32 {
        self.typmod.unwrap_or_else(|| self.pg_type.typmod())
    }

    /// The type with its modifier, as `format_type` prints it.
    pub fn type_name(&self) -> String {
        self.typmod
            .map_or_else(|| self.pg_type.name(), |typmod| self.pg_type.name_with(typmod))
    }

    /// The same as a definition is written: arrays of any dimensions have two pairs of brackets.
    pub fn spelling(&self) -> String {
        match self.pg_type {
            PgType::Shaped(_) => format!("{}[]", self.type_name()),
            _ => self.type_name(),
        }
    }
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
    /// Event times further ahead of the clock do not move it; `None`: more than `log::AHEAD_US`.
    #[serde(default)]
    pub max_ahead_us: Option<i64>,
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
    /// Time that rows are kept, microseconds; `None`: for ever.
    #[serde(default)]
    pub retention_us: Option<i64>,
    /// Bytes of the newest rows that are kept, at least; `None`: all.
    #[serde(default)]
    pub retention_bytes: Option<u64>,
    /// WITH options as given, by name (`retention`, `retention_bytes`, ...), for SHOW CREATE.
    pub options: BTreeMap<String, String>,
    /// Made by CREATE TABLE ... APPEND ONLY.
    pub is_table: bool,
    /// Counts schema changes; the log refuses appends of an older one.
    pub schema_id: u32,
    /// Columns that were ever made: the next one's id is one more.
    #[serde(default)]
    pub columns_made: u32,
    /// The columns that one view sees: see [`View::inputs`].
    #[serde(skip)]
    pub pinned: Option<Pinned>,
}

/// That a topic is seen through a view.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Pinned {
    /// Rows appended before this are not the view's, microseconds; for a view that is not materialized as retention has
    /// it.
    pub since_us: Option<i64>,
}

impl Topic {
    /// Position of a column, from 0.
    pub fn column_index(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// Rows appended before this are no longer read, microseconds, when the clock of retention stands at `at_us`.
    pub fn since_us(&self, at_us: i64) -> Option<i64> {
        match self.pinned.and_then(|pinned| pinned.since_us) {
            None => self.retention_us.map(|us| at_us.saturating_sub(us)),
            fixed => fixed,
        }
    }

    /// Gives columns that have none their ids. Those of a definition from before there were ids count from 1.
    pub fn number_columns(&mut self) {
        for column in self.columns.iter_mut().filter(|column| column.id == 0) {
            self.columns_made += 1;
            column.id = self.columns_made;
        }
    }

    /// The user columns as Arrow fields, in order.
    pub fn arrow_schema(&self) -> SchemaRef {
        let fields: Vec<_> = self
            .columns
            .iter()
            .map(|column| column.pg_type.field(&column.name, !column.not_null))
            .collect();
        Arc::new(Schema::new(fields))
    }

    /// The same with the columns' identities, as the log has it.
    pub fn log_schema(&self) -> SchemaRef {
        let fields: Vec<_> = self
            .columns
            .iter()
            .map(|column| {
                let field = column.pg_type.field(&column.name, !column.not_null);
                column_field(field, column.id, column.missing.as_deref())
            })
            .collect();
        Arc::new(Schema::new(fields))
    }

    /// As this definition reads the topic.
    pub fn reader(&self, since_us: Option<i64>) -> Reader {
        Reader {
            topic: TopicId(self.oid),
            schema_id: self.schema_id,
            schema: self.log_schema(),
            ignores_dropped: self.pinned.is_some(),
            since_us,
        }
    }

    /// Its definition for the log. The watermark's column must exist (checked at creation).
    pub fn log_spec(&self) -> TopicSpec {
        TopicSpec {
            id: TopicId(self.oid),
            schema_id: self.schema_id,
            schema: self.log_schema(),
            partitions: self.partitions,
            event_time: self.watermark.as_ref().map(|watermark| EventTime {
                column: self
                    .column_index(&watermark.column)
                    .expect("C1: a topic's watermark column is one of its columns"),
                delay_us: watermark.delay_us,
                ahead_us: watermark.max_ahead_us.unwrap_or(AHEAD_US),
            }),
            retention: Retention {
                us: self.retention_us,
                bytes: self.retention_bytes,
            },
        }
    }
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
    /// The topics that the definition names, as they were when the view was made, by OID: its names and `*` keep their
    /// meaning through all changes of the topics' columns. Of a materialized view also those that it reaches through
    /// plain views.
    #[serde(default)]
    pub inputs: BTreeMap<u32, Input>,
    /// The relations that the definition names, by the schema and name that they had when the view was made: they are what
    /// its names mean whatever becomes of these. The snapshot knows them of itself.
    #[serde(skip)]
    pub names: BTreeMap<(String, String), u32>,
    /// Where the definition names relations, in order.
    #[serde(default)]
    pub mentions: Vec<Mention>,
}

/// A relation's name in a view's definition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mention {
    /// The first byte of the name, and the byte after its last, in the definition.
    pub start: usize,
    pub end: usize,
    pub oid: u32,
    /// Its columns may be written with the relation's name before them, as it has no other.
    pub is_named_by_itself: bool,
}

/// The reason of a view that is kept and that one statement computes: there is none.
const EXPANDED: &str = "";

impl View {
    /// Where relations would hide one that the definition names, along its search path, if there were any.
    pub fn shadows(&self, named: &(String, String)) -> impl Iterator<Item = (String, String)> {
        let searched = self.search_path.contains(&named.0);
        let before = self
            .search_path
            .iter()
            .take_while(move |schema| searched && **schema != named.0);
        let shadows = before.map(|schema| (schema.clone(), named.1.clone()));
        shadows.filter(|shadow| !self.names.contains_key(shadow))
    }

    /// Whether its rows are kept up to date, not computed when they are read.
    pub fn is_maintained(&self) -> bool {
        self.materialized && self.recomputed.is_none()
    }

    /// Has it computed from its definition, in a catalog of one statement, if it is kept.
    pub fn expand(&mut self) {
        if self.is_maintained() {
            self.recomputed = Some(EXPANDED.to_string());
        }
    }

    /// Whether [`View::expand`] has made it so.
    pub fn is_expanded(&self) -> bool {
        self.materialized && self.recomputed.as_deref() == Some(EXPANDED)
    }
}

/// A topic as a view's definition sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    pub schema_id: u32,
    pub columns: Vec<Column>,
    /// Ids of the columns that the definition uses: they cannot be dropped.
    pub used: Vec<u32>,
    /// Rows appended before this had gone by retention when the view was made, microseconds.
    pub since_us: Option<i64>,
}

/// Sessions that share the rows of a topic; the log has its offsets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConsumerGroup {
    /// Also its `log::GroupId`.
    pub oid: u32,
    pub schema: String,
    pub name: String,
    /// OID
    pub topic: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Relation {
    Topic(Arc<Topic>),
    View(Arc<View>),
}

/// The kind of relation that a name stands for; its `Display` is the word in messages: `view "v" does not exist`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RelationType {
    Topic,
    /// An append-only table.
    Table,
    View,
    MaterializedView,
}

impl std::fmt::Display for RelationType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            RelationType::Topic => "topic",
            RelationType::Table => "table",
            RelationType::View => "view",
            RelationType::MaterializedView => "materialized view",
        })
    }
}

impl Relation {
    pub fn oid(&self) -> u32 {
        match self {
            Relation::Topic(topic) => topic.oid,
            Relation::View(view) => view.oid,
        }
    }

    pub fn schema(&self) -> &str {
        match self {
            Relation::Topic(topic) => &topic.schema,
            Relation::View(view) => &view.schema,
        }
    }

    pub fn name(&self) -> &str {
        match self {
            Relation::Topic(topic) => &topic.name,
            Relation::View(view) => &view.name,
        }
    }

    /// What it is found by.
    pub fn key(&self) -> (String, String) {
        (self.schema().to_string(), self.name().to_string())
    }

    /// The same relation under another name.
    pub fn at(self, schema: &str, name: &str) -> Relation {
        let (schema, name) = (schema.to_string(), name.to_string());
        match self {
            Relation::Topic(topic) => Relation::Topic(Arc::new(Topic {
                schema,
                name,
                ..Arc::unwrap_or_clone(topic)
            })),
            Relation::View(view) => Relation::View(Arc::new(View {
                schema,
                name,
                ..Arc::unwrap_or_clone(view)
            })),
        }
    }

    pub fn columns(&self) -> &[Column] {
        match self {
            Relation::Topic(topic) => &topic.columns,
            Relation::View(view) => &view.columns,
        }
    }

    pub fn kind(&self) -> RelationType {
        match self {
            Relation::Topic(topic) if topic.is_table => RelationType::Table,
            Relation::Topic(_) => RelationType::Topic,
            Relation::View(view) if view.materialized => RelationType::MaterializedView,
            Relation::View(_) => RelationType::View,
        }
    }

    /// OIDs of the relations that it is defined over; a topic has none.
    pub fn depends_on(&self) -> &[u32] {
        match self {
            Relation::Topic(_) => &[],
            Relation::View(view) => &view.depends_on,
        }
    }
}
