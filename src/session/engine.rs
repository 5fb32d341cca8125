//! The parts that all sessions share: the log, the catalog, the views, the query engine; and the connected sessions.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};

use super::advisory::AdvisoryLocks;
use super::consumers::Consumers;
use super::notify::Channels;
use super::{Cancel, TransactionStatus};
use crate::catalog::{Catalog, Relation, Topic};
use crate::error::SqlError;
use crate::log::{Log, TopicId};
use crate::query::Query;
use crate::sql::functions::session::{Signal, Signals};
use crate::sql::rows::RowExprs;
use crate::storage::SharedClock;
use crate::views::Views;

/// The parts of a running server, made by `server`.
pub struct Engine {
    pub log: Arc<Log>,
    pub catalog: Arc<Catalog>,
    pub views: Arc<Views>,
    pub query: Query,
    pub clock: SharedClock,
    /// When the server started, microseconds since 1970-01-01 UTC.
    pub started_us: i64,
    sessions: Arc<Mutex<Sessions>>,
    /// Ends the statement of another session, or the session.
    pub(super) signals: Signals,
    next_session: AtomicI32,
    pub counters: Counters,
    pub(super) channels: Channels,
    pub(super) advisory: AdvisoryLocks,
    pub(super) consumers: Consumers,
    /// Compiled row expressions by topic OID, with the schema id that they belong to.
    row_exprs: RwLock<HashMap<u32, (u32, Arc<RowExprs>)>>,
}

/// The connected sessions, by number. Each has a lock of its own: a statement touches its session's only.
type Sessions = BTreeMap<i32, (Arc<Mutex<SessionRow>>, Arc<Cancel>)>;

/// Counted since the start, for `millstream.metrics`.
#[derive(Default)]
pub struct Counters {
    pub logins_failed: Counter,
    pub connections_refused: Counter,
}

#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One session, as `pg_stat_activity` and `millstream.sessions` show it.
#[derive(Clone, Debug)]
pub struct SessionRow {
    pub id: i32,
    pub user: String,
    pub database: String,
    pub application: String,
    pub client: Option<SocketAddr>,
    /// `active`, `idle`, `idle in transaction`, `idle in transaction (aborted)`
    pub state: &'static str,
    pub query: String,
    pub connected_us: i64,
    pub query_started_us: Option<i64>,
    pub state_changed_us: i64,
    pub transaction_started_us: Option<i64>,
}

impl Engine {
    pub fn new(log: Arc<Log>, catalog: Arc<Catalog>, views: Arc<Views>, query: Query, clock: SharedClock) -> Engine {
        let started_us = clock.now_us();
        let sessions: Arc<Mutex<Sessions>> = Arc::default();
        let connected = Arc::clone(&sessions);
        let signals: Signals = Arc::new(move |id, signal| {
            let connected = connected.lock();
            let known = connected.get(&id);
            match (known, signal) {
                (None, _) => {}
                (Some((_, cancel)), Signal::Cancel) => cancel.request(),
                (Some((_, cancel)), Signal::Terminate) => cancel.stop(),
            }
            known.is_some()
        });
        Engine {
            log,
            catalog,
            views,
            query,
            clock,
            started_us,
            sessions,
            signals,
            next_session: AtomicI32::new(1),
            counters: Counters::default(),
            channels: Channels::default(),
            advisory: AdvisoryLocks::default(),
            consumers: Consumers::default(),
            row_exprs: RwLock::default(),
        }
    }

    pub fn sessions(&self) -> Vec<SessionRow> {
        let sessions = self.sessions.lock();
        sessions.values().map(|(row, _)| row.lock().clone()).collect()
    }

    pub(super) fn register(
        self: &Arc<Self>,
        user: &str,
        database: &str,
        application: &str,
        cancel: Arc<Cancel>,
    ) -> Registration {
        let now_us = self.clock.now_us();
        let id = self.next_session.fetch_add(1, Ordering::Relaxed);
        let row = SessionRow {
            id,
            user: user.to_string(),
            database: database.to_string(),
            application: application.to_string(),
            state: "idle",
            query: String::new(),
            client: None,
            connected_us: now_us,
            query_started_us: None,
            state_changed_us: now_us,
            transaction_started_us: None,
        };
        let row = Arc::new(Mutex::new(row));
        self.sessions.lock().insert(id, (row.clone(), cancel));
        Registration {
            engine: self.clone(),
            id,
            row,
        }
    }

    /// The topic's defaults, checks and generated columns if they are compiled already.
    pub(super) fn known_row_exprs(&self, topic: &Arc<Topic>) -> Option<Arc<RowExprs>> {
        let known = self.row_exprs.read();
        let (schema_id, exprs) = known.get(&topic.oid)?;
        (*schema_id == topic.schema_id && Arc::ptr_eq(exprs.topic(), topic)).then(|| exprs.clone())
    }

    /// Compiles them: once per schema version.
    pub(super) fn compile_row_exprs(&self, topic: &Arc<Topic>) -> Result<Arc<RowExprs>, SqlError> {
        let mut exprs = RowExprs::compile(topic)?;
        if let Some(schema) = self.log.schema(TopicId(topic.oid)) {
            exprs = exprs.with_schema(schema);
        }
        let exprs = Arc::new(exprs);
        // A topic of a transaction that has not committed is not kept: its OID may yet become another's.
        if matches!(self.catalog.current().relation(topic.oid), Some(Relation::Topic(committed)) if Arc::ptr_eq(committed, topic))
        {
            self.row_exprs
                .write()
                .insert(topic.oid, (topic.schema_id, exprs.clone()));
        }
        Ok(exprs)
    }
}

/// A session's entry among those connected; gone when it is dropped.
pub(super) struct Registration {
    engine: Arc<Engine>,
    id: i32,
    row: Arc<Mutex<SessionRow>>,
}

/// Bytes of a statement's text that `pg_stat_activity` keeps.
const QUERY_TEXT_MAX: usize = 1024;

impl Registration {
    pub fn id(&self) -> i32 {
        self.id
    }

    pub fn running(&self, text: &str) {
        let now = self.engine.clock.now_us();
        let mut row = self.row.lock();
        row.state = "active";
        row.state_changed_us = now;
        row.transaction_started_us.get_or_insert(now);
        row.query.clear();
        row.query.push_str(&text[..text.floor_char_boundary(QUERY_TEXT_MAX)]);
        row.query_started_us = Some(now);
    }

    pub fn idle(&self, status: TransactionStatus) {
        let now = self.engine.clock.now_us();
        let mut row = self.row.lock();
        row.state_changed_us = now;
        row.state = match status {
            TransactionStatus::Idle => "idle",
            TransactionStatus::InTransaction => "idle in transaction",
            TransactionStatus::Failed => "idle in transaction (aborted)",
        };
        if status == TransactionStatus::Idle {
            row.transaction_started_us = None;
        }
    }

    pub fn came_from(&self, client: SocketAddr) {
        self.row.lock().client = Some(client);
    }

    pub fn named(&self, application: &str) {
        self.row.lock().application = application.to_string();
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.engine.sessions.lock().remove(&self.id);
        self.engine.channels.leave_all(self.id);
        self.engine.advisory.leave(self.id);
        self.engine.consumers.leave(self.id);
    }
}
