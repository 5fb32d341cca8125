//! One transaction: what it reads, what it has written so far, and its savepoints.
//!
//! One rule: nothing of it reaches the log before its commit, and then all of it in one commit (L5). A statement
//! outside BEGIN is a transaction of its own.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::catalog::{self, Change, Snapshot};
use crate::error::{SqlError, state};
use crate::log::{Append, Commit, Ddl, Lsn, Pin, TopicChange, TopicId};
use crate::query::{OwnWrites, Written};
use crate::views::Dataflow;

/// Most bytes of Arrow data that a transaction may write; one more row is 54000.
pub const TRANSACTION_BYTES_MAX: usize = 1 << 30;

/// A materialized view that the transaction makes: started once the commit is published.
pub struct NewView {
    pub view: Arc<catalog::View>,
    pub dataflow: Dataflow,
}

/// What has been written so far; a savepoint is a mark in it.
#[derive(Clone, Copy, Default)]
struct Mark {
    appends: usize,
    bytes: usize,
    changes: usize,
    topics: usize,
    advances: usize,
    new_views: usize,
    dropped: usize,
}

struct Savepoint {
    name: String,
    mark: Mark,
    catalog: Arc<Snapshot>,
}

pub struct Transaction {
    /// By BEGIN; else it ends with the statement or the batch that it was made for.
    pub explicit: bool,
    pub read_only: bool,
    /// Position that it reads at, taken at the first statement that reads.
    pub read_lsn: Option<Lsn>,
    /// Holds what retention kept when it first read.
    pub pin: Option<Pin>,
    /// `now()`: when the transaction began, microseconds since 1970-01-01 UTC.
    pub started_us: i64,
    /// The catalog with this transaction's own changes.
    pub catalog: Arc<Snapshot>,
    /// Version of the committed catalog that `catalog` was made from.
    based_on: u64,
    appends: Vec<Append>,
    bytes: usize,
    changes: Vec<Change>,
    topics: Vec<TopicChange>,
    advances: Vec<(TopicId, i64)>,
    pub new_views: Vec<NewView>,
    /// OIDs of dropped incremental views.
    pub dropped: Vec<u32>,
    savepoints: Vec<Savepoint>,
}

impl Transaction {
    pub fn new(catalog: Arc<Snapshot>, explicit: bool, read_only: bool, started_us: i64) -> Transaction {
        Transaction {
            explicit,
            read_only,
            read_lsn: None,
            pin: None,
            started_us,
            based_on: catalog.version,
            catalog,
            appends: Vec::new(),
            bytes: 0,
            changes: Vec::new(),
            topics: Vec::new(),
            advances: Vec::new(),
            new_views: Vec::new(),
            dropped: Vec::new(),
            savepoints: Vec::new(),
        }
    }

    pub fn wrote(&self) -> bool {
        !self.appends.is_empty() || !self.changes.is_empty() || !self.advances.is_empty()
    }

    /// Validated rows for one partition.
    pub fn append(&mut self, topic: &catalog::Topic, partition: u32, rows: RecordBatch) -> Result<(), SqlError> {
        self.check_writable("INSERT")?;
        self.bytes += rows.get_array_memory_size();
        if self.bytes > TRANSACTION_BYTES_MAX {
            return Err(SqlError::new(state::PROGRAM_LIMIT_EXCEEDED, "transaction is too large")
                .detail(format!(
                    "A transaction may write at most {} MiB.",
                    TRANSACTION_BYTES_MAX >> 20
                ))
                .hint("Load the rows in several transactions."));
        }
        self.appends.push(Append {
            topic: TopicId(topic.oid),
            schema_id: topic.schema_id,
            partition,
            rows,
        });
        Ok(())
    }

    /// Catalog changes, visible to the rest of this transaction at once.
    pub fn change(&mut self, changes: Vec<Change>, topics: Vec<TopicChange>) -> Result<(), SqlError> {
        self.check_writable("DDL")?;
        self.catalog = Arc::new(self.catalog.apply(&changes));
        self.changes.extend(changes);
        self.topics.extend(topics);
        Ok(())
    }

    pub fn advance(&mut self, topic: TopicId, watermark_us: i64) -> Result<(), SqlError> {
        self.check_writable("ALTER TOPIC")?;
        self.advances.push((topic, watermark_us));
        Ok(())
    }

    fn check_writable(&self, what: &str) -> Result<(), SqlError> {
        if self.read_only {
            return Err(SqlError::new(
                state::READ_ONLY_SQL_TRANSACTION,
                format!("cannot execute {what} in a read-only transaction"),
            ));
        }
        Ok(())
    }

    /// Whether it has changed the catalog, so that its own view of it is not the committed one.
    pub fn wrote_ddl(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Its own rows by topic OID, each with its partition, in order; topics that it made are there with or without rows.
    pub fn all_own_rows(&self) -> OwnWrites {
        let mut own = OwnWrites::new();
        let of = |schema_id, schema: &SchemaRef| Written {
            schema_id,
            schema: Arc::clone(schema),
            rows: Vec::new(),
        };
        for change in &self.topics {
            if let TopicChange::Create(spec) = change {
                own.insert(spec.id.0, of(spec.schema_id, &spec.schema));
            }
        }
        for append in &self.appends {
            let written = own.entry(append.topic.0).or_insert_with(|| {
                let topic = self.catalog.topic(append.topic.0);
                let schema = topic.map_or_else(|| append.rows.schema(), |topic| topic.log_schema());
                of(append.schema_id, &schema)
            });
            written.rows.push((append.partition, append.rows.clone()));
        }
        own
    }

    /// Whether it has written rows of a topic.
    pub fn wrote_to(&self, topic: u32) -> bool {
        self.appends.iter().any(|append| append.topic.0 == topic)
    }

    fn mark(&self) -> Mark {
        Mark {
            appends: self.appends.len(),
            bytes: self.bytes,
            changes: self.changes.len(),
            topics: self.topics.len(),
            advances: self.advances.len(),
            new_views: self.new_views.len(),
            dropped: self.dropped.len(),
        }
    }

    pub fn savepoint(&mut self, name: String) {
        let mark = self.mark();
        self.savepoints.push(Savepoint {
            name,
            mark,
            catalog: self.catalog.clone(),
        });
    }

    fn position(&self, name: &str) -> Result<usize, SqlError> {
        self.savepoints
            .iter()
            .rposition(|savepoint| savepoint.name == name)
            .ok_or_else(|| SqlError::new(state::INVALID_SAVEPOINT, format!("savepoint \"{name}\" does not exist")))
    }

    /// Forgets the savepoint and those after it; what was written stays.
    pub fn release(&mut self, name: &str) -> Result<(), SqlError> {
        let position = self.position(name)?;
        self.savepoints.truncate(position);
        Ok(())
    }

    /// Takes back what was written since the savepoint, which stays.
    pub fn rollback_to(&mut self, name: &str) -> Result<(), SqlError> {
        let position = self.position(name)?;
        self.savepoints.truncate(position + 1);
        let Savepoint { mark, catalog, .. } = &self.savepoints[position];
        self.catalog = catalog.clone();
        self.appends.truncate(mark.appends);
        self.bytes = mark.bytes;
        self.changes.truncate(mark.changes);
        self.topics.truncate(mark.topics);
        self.advances.truncate(mark.advances);
        self.new_views.truncate(mark.new_views);
        self.dropped.truncate(mark.dropped);
        Ok(())
    }

    /// The commit of all that was written; `None` if that is nothing. Appends to topics that the transaction itself
    /// dropped are left out.
    pub fn commit(&mut self) -> Option<Commit> {
        if !self.wrote() {
            return None;
        }
        let catalog = self.catalog.clone();
        let mut appends = std::mem::take(&mut self.appends);
        appends.retain(|append| catalog.relations.contains_key(&append.topic.0));
        let changes = std::mem::take(&mut self.changes);
        let ddl = (!changes.is_empty()).then(|| Ddl {
            based_on: self.based_on,
            record: catalog::encode(&changes),
            topics: std::mem::take(&mut self.topics),
        });
        Some(Commit {
            appends,
            ddl,
            advances: std::mem::take(&mut self.advances),
        })
    }
}
