//! Names and definitions, as immutable snapshots; and the system schemas as relations over them.
//!
//! One rule: a catalog is a function of the log prefix (C1): it changes only by [`Change`]s that the log committed.
//! Pure: no I/O. Expressions in a definition are text here; `sql` interprets them.

pub mod system;

mod definition;
mod ident;
mod keywords;
mod mention;
mod show_create;
mod snapshot;

use std::sync::Arc;

use parking_lot::RwLock;

use crate::error::{SqlError, state};
use crate::log::{DdlObserver, Lsn, TopicId};

pub use definition::{
    Check, Column, ConsumerGroup, Input, Mention, Pinned, Relation, RelationType, Topic, View, Watermark,
};
pub use ident::{is_reserved, quote_ident, quote_literal, quote_qualified};
pub use keywords::{SqlKeyword, keywords, requires_as};
pub use show_create::{interval_text, show_create};
pub use snapshot::{Change, Snapshot};

/// First OID of a user's object, as in PostgreSQL.
pub const FIRST_USER_OID: u32 = 16384;
/// `pg_namespace.oid` of the fixed schemas, as in PostgreSQL where it has them.
pub const PG_CATALOG_OID: u32 = 11;
pub const PUBLIC_OID: u32 = 2200;
pub const INFORMATION_SCHEMA_OID: u32 = 13000;
pub const MILLSTREAM_OID: u32 = 13001;

/// The schemas that are always there, with their OIDs; all but `public` belong to the system.
pub const FIXED_SCHEMAS: [(&str, u32); 4] = [
    ("pg_catalog", PG_CATALOG_OID),
    ("public", PUBLIC_OID),
    ("information_schema", INFORMATION_SCHEMA_OID),
    ("millstream", MILLSTREAM_OID),
];

/// Whether only the server may create relations in it.
pub fn is_system_schema(schema: &str) -> bool {
    schema != "public" && is_fixed_schema(schema)
}

/// Whether the schema exists for ever.
pub fn is_fixed_schema(schema: &str) -> bool {
    FIXED_SCHEMAS.iter().any(|(name, _)| *name == schema)
}

/// The record of a `log::Ddl`.
pub fn encode(changes: &[Change]) -> Vec<u8> {
    serde_json::to_vec(changes).expect("changes hold only strings, numbers and maps keyed by strings")
}

/// Reads a record of [`encode`]. The error says which part did not fit.
pub fn decode(record: &[u8]) -> Result<Vec<Change>, String> {
    serde_json::from_slice(record).map_err(|error| format!("catalog record: {error}"))
}

/// The newest published snapshot. Readers take an `Arc` and keep it; the log's writer replaces it, commit by commit.
#[derive(Debug)]
pub struct Catalog {
    current: RwLock<Arc<Snapshot>>,
}

impl Default for Catalog {
    fn default() -> Self {
        Catalog::new()
    }
}

impl Catalog {
    /// The catalog before the first commit.
    pub fn new() -> Catalog {
        Catalog {
            current: RwLock::new(Arc::new(Snapshot::initial())),
        }
    }

    /// Replays the records that the log recovered, in LSN order, onto the initial snapshot (C1). The error names the
    /// commit whose record cannot be read.
    pub fn recover(records: &[(Lsn, Vec<u8>)]) -> Result<Catalog, String> {
        assert!(
            records.windows(2).all(|pair| pair[0].0 < pair[1].0),
            "C1: catalog records come in LSN order"
        );
        let mut snapshot = Snapshot::initial();
        for (lsn, record) in records {
            let changes = decode(record).map_err(|reason| format!("commit {lsn}: {reason}"))?;
            snapshot = snapshot.apply(&changes);
        }
        Ok(Catalog {
            current: RwLock::new(Arc::new(snapshot)),
        })
    }

    pub fn current(&self) -> Arc<Snapshot> {
        self.current.read().clone()
    }
}

impl DdlObserver for Catalog {
    fn apply(&self, lsn: Lsn, record: &[u8]) {
        let changes = match decode(record) {
            Ok(changes) => changes,
            Err(reason) => panic!("C1: commit {lsn}: {reason}"),
        };
        // Only the log's writer calls this, so nobody changes `current` between the read and the write.
        let next = Arc::new(self.current().apply(&changes));
        *self.current.write() = next;
    }

    fn name(&self, topic: TopicId) -> Option<String> {
        let current = self.current();
        let topic = current.topic(topic.0)?;
        Some(quote_qualified(&topic.schema, &topic.name))
    }

    /// Materialized views are rebuilt from the rows that they began with and all later ones.
    fn needed_since(&self, topic: TopicId) -> Option<i64> {
        let current = self.current();
        let views = current.views().filter(|view| view.materialized);
        let inputs = views.filter_map(|view| view.inputs.get(&topic.0));
        inputs.map(|input| input.since_us.unwrap_or(i64::MIN)).min()
    }
}

/// A topic changed in a way that a transaction block cannot go on with.
pub fn changed_concurrently(topic: &str) -> SqlError {
    SqlError::new(
        state::SERIALIZATION_FAILURE,
        format!("could not serialize access due to concurrent change of topic \"{topic}\""),
    )
    .hint("Run the transaction again.")
}

/// A topic is gone that a statement was planned with.
pub fn dropped_meanwhile(topic: &str) -> SqlError {
    SqlError::new(state::UNDEFINED_TABLE, format!("relation \"{topic}\" does not exist"))
        .detail("It was dropped after the transaction began.")
}

#[cfg(test)]
mod tests;
