//! One client's conversation: settings, transaction, prepared statements, cursors; the work of each statement.
//!
//! One rule: a session never sees a commit of its own go missing, nor half of anybody's.
//!
//! A statement runs in a [`Transaction`]; outside BEGIN it has one of its own that is committed before the statement
//! is answered (L1). Not here: the protocol (`wire`), the meaning of SQL (`sql`), how rows are found (`query`).

mod advisory;
mod alter;
mod cancel;
mod compute;
mod consumers;
mod cursor;
mod ddl;
mod effects;
mod engine;
mod explain;
mod group;
mod modes;
mod notify;
mod outcome;
mod placement;
mod producer;
mod read;
mod returning;
mod settings;
mod show;
mod spill;
mod stale;
mod system;
mod transaction;
mod with;
mod write;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use tokio::sync::Semaphore;

pub use cancel::{Cancel, terminated};
use cursor::PortalFacts;
pub use cursor::SqlCursor;
pub use ddl::compile_view;
pub use engine::{Engine, SessionRow};
pub use notify::Notification;
pub use outcome::{Batches, CopyIn, CursorRows, Outcome, Parameters, Prepared, RowsTag};

use crate::catalog::Snapshot;
use crate::error::{Notice, Severity, SqlError, state};
use crate::log::{Lsn, PIN_IDLE_US_MAX, Pin, TopicId};
use crate::sql::field::OutField;
use crate::sql::parse::{self, Parsed};
use crate::sql::plan;
use crate::sql::statement::{GroupStatement, InsertRows, Name, Statement, TransactionModes};
use crate::types::{PgType, TextStyle};
use engine::Registration;
use modes::{MODES, modes_as_settings};
use notify::{Inbox, ListenAction};
use settings::Settings;
use transaction::Transaction;

/// The one database. Clients also connect to it as `postgres`, and by their own name.
const DATABASE: &str = "millstream";

/// Times that a statement outside a transaction block is run while others change the catalog under it.
const TRIES_MAX: usize = 64;

/// The status that ReadyForQuery reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransactionStatus {
    Idle,
    InTransaction,
    Failed,
}

pub struct Session {
    engine: Arc<Engine>,
    registration: Registration,
    cancel: Arc<Cancel>,
    client: Option<SocketAddr>,
    user: Arc<str>,
    database: Arc<str>,
    settings: Arc<Settings>,
    /// Settings as they were when the transaction began (its SETs are undone by ROLLBACK), and SET LOCALs (undone at
    /// its end in any case).
    settings_before: Option<Arc<Settings>>,
    local_settings: Vec<(String, Option<String>)>,
    transaction: Option<Transaction>,
    /// An explicit transaction met an error: only its end, or ROLLBACK TO, is accepted.
    failed: bool,
    /// Statements belong to one implicit transaction until `end_batch`.
    batch: bool,
    /// Prepared statements by name, of PREPARE and of the protocol alike.
    pub statements: HashMap<String, Prepared>,
    cursors: HashMap<String, SqlCursor>,
    /// Portals of the protocol, for a FETCH that names one and for `pg_cursors`.
    portals: HashMap<String, PortalFacts>,
    /// The query string that was parsed last, for positions of errors.
    text: Arc<str>,
    /// Permits for the work that computes for this session.
    computing: Arc<Semaphore>,
    notices: Vec<Notice>,
    parameter_changes: Vec<(String, String)>,
    /// Newest own commit that was acknowledged before its sync.
    queued: Lsn,
    /// For topics without PARTITION BY: the partition of the next statement's rows.
    next_partition: u32,
    /// By topic: the count of failed views when this session last got notices of the views that read it.
    failures_told: HashMap<TopicId, u64>,
    /// Failed views that it has been given a notice of.
    failed_views_told: HashSet<u32>,
    /// Notifications of the channels that it listens to, until the client has them.
    inbox: Arc<Inbox>,
    /// LISTEN, UNLISTEN and NOTIFY of the transaction, which its commit carries out.
    messages: Vec<ListenAction>,
    /// Where it stands in consumer groups.
    places: group::ReadPlaces,
    /// Its transaction holds advisory locks.
    has_advisory_locks: bool,
}

impl Session {
    /// `options` are the startup message's parameters besides user and database.
    pub fn new(
        engine: Arc<Engine>,
        user: String,
        database: String,
        options: BTreeMap<String, String>,
    ) -> Result<Session, SqlError> {
        if database != DATABASE && database != user && database != "postgres" {
            return Err(SqlError::new(
                state::INVALID_CATALOG_NAME,
                format!("database \"{database}\" does not exist"),
            )
            .hint("There is one database, \"millstream\"."));
        }
        let view_memory_mib = engine.views.memory().max >> 20;
        let mut settings = Settings::new(&user).with_server("view_memory_mib", view_memory_mib.to_string());
        for (name, value) in &options {
            if name == "options" {
                for (name, value) in startup_options(value) {
                    settings.set(&name, &value)?;
                }
            } else if !name.starts_with("_pq_.") && name != "replication" {
                settings.set(name, value)?;
            }
        }
        let settings = settings.begun();
        let cancel = Arc::default();
        let registration = engine.register(&user, DATABASE, settings.application_name(), Arc::clone(&cancel));
        Ok(Session {
            engine,
            registration,
            cancel,
            client: None,
            user: user.into(),
            database: DATABASE.into(),
            settings: Arc::new(settings),
            settings_before: None,
            local_settings: Vec::new(),
            transaction: None,
            failed: false,
            batch: false,
            statements: HashMap::new(),
            cursors: HashMap::new(),
            portals: HashMap::new(),
            text: Arc::default(),
            computing: Arc::new(Semaphore::new(compute::COMPUTING_MAX)),
            notices: Vec::new(),
            parameter_changes: Vec::new(),
            queued: 0,
            next_partition: 0,
            failures_told: HashMap::new(),
            failed_views_told: HashSet::new(),
            inbox: Arc::default(),
            messages: Vec::new(),
            places: group::ReadPlaces::default(),
            has_advisory_locks: false,
        })
    }

    /// Notes the client's address.
    pub fn came_from(&mut self, client: SocketAddr) {
        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
        self.registration.came_from(client);
        self.client = Some(client);
    }

    /// Number of the session, as `pg_backend_pid()` gives it.
    pub fn id(&self) -> i32 {
        self.registration.id()
    }

    /// The handle by which another connection ends a statement of this one.
    pub fn cancel_handle(&self) -> Arc<Cancel> {
        self.cancel.clone()
    }

    /// Whether the session shall end.
    pub fn is_terminated(&self) -> bool {
        self.cancel.is_stopped()
    }

    /// Settings to report when the client connects.
    pub fn reported_settings(&self) -> Vec<(String, String)> {
        self.settings.all_reported()
    }

    pub fn status(&self) -> TransactionStatus {
        match &self.transaction {
            _ if self.failed => TransactionStatus::Failed,
            Some(transaction) if transaction.explicit => TransactionStatus::InTransaction,
            _ => TransactionStatus::Idle,
        }
    }

    /// The time that the session may wait for its client's next message, and the error that ends it then.
    pub fn idle_limit(&self) -> Option<(Duration, SqlError)> {
        let (limit_ms, state, what) = match self.status() {
            TransactionStatus::Idle => (
                self.settings.idle_session_timeout_ms(),
                state::IDLE_SESSION_TIMEOUT,
                "idle-session",
            ),
            TransactionStatus::InTransaction | TransactionStatus::Failed => (
                self.settings.idle_in_transaction_timeout_ms(),
                state::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
                "idle-in-transaction",
            ),
        };
        let error = |_| SqlError::new(state, format!("terminating connection due to {what} timeout"));
        limit_ms.map(|limit_ms| (Duration::from_millis(limit_ms), error(())))
    }

    /// The session waits for its client: the rows that its transaction reads stay for a while.
    pub fn waits(&self) {
        if let Some(pin) = self
            .transaction
            .as_ref()
            .and_then(|transaction| transaction.pin.as_ref())
        {
            pin.idle();
        }
    }

    /// The session goes on in its transaction; 72000 if it has waited for too long, and its rows may be gone.
    pub fn resumes(&self) -> Result<(), SqlError> {
        let pin = self
            .transaction
            .as_ref()
            .and_then(|transaction| transaction.pin.as_ref());
        if pin.is_none_or(Pin::resume) {
            return Ok(());
        }
        Err(SqlError::new(state::SNAPSHOT_TOO_OLD, "snapshot too old")
            .detail(format!(
                "The transaction was idle for more than {} minutes: rows that it could read may have gone by retention.",
                PIN_IDLE_US_MAX / 60_000_000
            ))
            .hint("Begin another transaction."))
    }

    /// The client has its answer, all rows of it: the session is idle until the next statement.
    pub fn answered(&self) {
        self.registration.idle(self.status());
    }

    pub fn take_notices(&mut self) -> Vec<Notice> {
        let (notices, warnings) = (self.settings.wants_notices(), self.settings.wants_warnings());
        let mut taken = std::mem::take(&mut self.notices);
        taken.retain(|notice| match notice.severity {
            Severity::Warning => warnings,
            Severity::Notice => notices,
            Severity::Info => true,
        });
        taken
    }

    pub fn take_parameter_changes(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.parameter_changes)
    }

    pub fn text_style(&self) -> &TextStyle {
        self.settings.text_style()
    }

    /// The text style for rows of these fields: with the names of the objects that OIDs stand for, if they have any.
    pub fn row_style(&self, fields: &[OutField]) -> TextStyle {
        let style = self.text_style().clone();
        let is_named = |pg_type: &PgType| match pg_type {
            PgType::Array(item) => item.is_oid_alias(),
            scalar => scalar.is_oid_alias(),
        };
        if !fields.iter().any(|field| is_named(&field.pg_type)) {
            return style;
        }
        TextStyle {
            object_names: Some(plan::object_names(&self.context(self.catalog(), Vec::new()).borrowed())),
            ..style
        }
    }

    /// The statements of a query string.
    pub async fn parse(&mut self, text: &str) -> Result<Vec<Parsed>, SqlError> {
        self.begin_statement();
        let cancel = self.cancel.clone();
        cancel.bounds(self.parse_text(text)).await
    }

    async fn parse_text(&mut self, text: &str) -> Result<Vec<Parsed>, SqlError> {
        // Positions of errors count in the whole string.
        self.text = text.into();
        if text.len() <= compute::SMALL_BYTES
            && let Some(parsed) = parse::parse_bounded(text)?
        {
            return Ok(parsed);
        }
        let text = self.text.clone();
        self.compute(move || parse::parse(&text)).await
    }

    /// From here on the time limit of a statement counts.
    pub fn begin_statement(&self) {
        let limit = self.settings.statement_timeout_ms().map(Duration::from_millis);
        self.cancel.reset(limit);
    }

    fn notice(&mut self, message: impl Into<String>) {
        self.notices.push(Notice {
            severity: Severity::Notice,
            report: SqlError::new(state::SUCCESSFUL_COMPLETION, message),
        });
    }

    fn warn(&mut self, state: crate::error::SqlState, message: impl Into<String>) {
        self.notices.push(Notice {
            severity: Severity::Warning,
            report: SqlError::new(state, message),
        });
    }

    /// Statements until [`Session::end_batch`] are one implicit transaction: a query string of several statements,
    /// or a pipeline up to Sync.
    pub fn begin_batch(&mut self) {
        self.batch = true;
    }

    /// Ends the implicit transaction of a batch: commits it, or drops it if something failed.
    pub async fn end_batch(&mut self, ok: bool) -> Result<(), SqlError> {
        self.batch = false;
        if !ok {
            self.fail();
            return Ok(());
        }
        self.commit_implicit().await
    }

    /// An error was reported: an explicit transaction has failed, an implicit one is gone.
    pub fn fail(&mut self) {
        if self
            .transaction
            .as_ref()
            .is_some_and(|transaction| transaction.explicit)
        {
            self.failed = true;
        } else {
            self.end_transaction(false);
        }
    }

    /// Discards the work on a message after a panic in it. `before` is the status before the message.
    pub fn give_up(&mut self, before: TransactionStatus) {
        self.batch = false;
        self.cancel.committing(false);
        self.fail();
        // The client has yet to end a block, also one that is gone with the panic.
        self.failed |= before != TransactionStatus::Idle;
    }

    /// Runs one statement of a query string.
    pub async fn execute(&mut self, parsed: &Parsed, parameters: &Parameters) -> Result<Outcome, SqlError> {
        self.notices.extend(parsed.notices.iter().cloned());
        self.run(parsed, parameters, None).await
    }

    /// `ends`: nothing follows in its pipeline. A pipeline of one statement is no batch.
    pub async fn execute_prepared(
        &mut self,
        prepared: &Prepared,
        parameters: &Parameters,
        ends: bool,
    ) -> Result<Outcome, SqlError> {
        if ends && self.transaction.as_ref().is_none_or(Transaction::is_fresh) {
            self.transaction = None;
            self.batch = false;
        }
        let Some(parsed) = prepared.parsed.clone() else {
            return Ok(Outcome::Empty);
        };
        self.run(&parsed, parameters, Some(prepared)).await
    }

    async fn run(
        &mut self,
        parsed: &Parsed,
        parameters: &Parameters,
        prepared: Option<&Prepared>,
    ) -> Result<Outcome, SqlError> {
        let statement = &parsed.statement;
        if self.failed && !ends_failed_transaction(statement) {
            return Err(failed_transaction());
        }
        self.registration.running(&parsed.text);
        let resumed = match ends_failed_transaction(statement) {
            true => Ok(()),
            false => self.check_databases(parsed).and_then(|()| self.resumes()),
        };
        let result = match resumed {
            Ok(()) => self.run_in_time(statement, parameters, prepared).await,
            Err(error) => Err(error),
        };
        if result.is_err() {
            self.fail();
        }
        result
    }

    async fn run_in_time(
        &mut self,
        statement: &Statement,
        parameters: &Parameters,
        prepared: Option<&Prepared>,
    ) -> Result<Outcome, SqlError> {
        if only_appends(statement) {
            let behind = self.queued.saturating_sub(QUEUED_COMMITS_MAX);
            self.engine.log.wait_published(behind).await?;
        } else if self.queued > 0 {
            // Earlier commits that were acknowledged before they were visible become visible first: the statement may
            // read them.
            self.engine.log.wait_published(self.queued).await?;
            self.queued = 0;
        }
        self.begin_statement();
        let cancel = self.cancel.clone();
        let running = async {
            // Offsets that are refused are those of rows that others have: there is nothing to try again.
            let consumed = matches!(statement, Statement::Group(GroupStatement::CommitOffsets(_)));
            let alone = self.transaction.is_none() && !self.batch && !consumed;
            let mut tries = 1;
            loop {
                let seen = self.engine.log.newest();
                match self.run_once(statement, parameters, prepared).await {
                    // Somebody else's DDL came first: the statement is planned anew.
                    Err(error) if error.state == state::SERIALIZATION_FAILURE && tries < TRIES_MAX && alone => {
                        tries += 1;
                        self.end_transaction(false);
                        // It was ordered after the state seen here: once it is published the new plan sees it.
                        self.engine.log.wait_published(seen + 1).await?;
                    }
                    Err(error)
                        if error.state == state::SERIALIZATION_FAILURE
                            && tries < TRIES_MAX
                            && !is_ddl(statement)
                            && self.goes_with_others() =>
                    {
                        tries += 1;
                        self.renew_transaction().await?;
                    }
                    done => return done,
                }
            }
        };
        cancel.bounds(running).await
    }

    async fn run_once(
        &mut self,
        statement: &Statement,
        parameters: &Parameters,
        prepared: Option<&Prepared>,
    ) -> Result<Outcome, SqlError> {
        if plans(statement) {
            // First of all: names mean the same to the plan and to its transaction, even if others change the catalog
            // meanwhile. The state that a cancelled statement saw is no other's.
            self.transaction().own_before = None;
        }
        // Boxed: the futures of the statements are large, and one of them may run another.
        let outcome = Box::pin(self.dispatch(statement, parameters, prepared)).await?;
        if let (Some(prepared), Outcome::Rows { fields, .. }) = (prepared, &outcome) {
            prepared.check_fields(fields)?;
        }
        let copying = matches!(outcome, Outcome::CopyIn(_));
        if !self.batch && !copying {
            self.commit_implicit().await?;
        }
        Ok(outcome)
    }

    async fn dispatch(
        &mut self,
        statement: &Statement,
        parameters: &Parameters,
        prepared: Option<&Prepared>,
    ) -> Result<Outcome, SqlError> {
        match statement {
            Statement::Select(select) => self.select(select, parameters, prepared).await,
            Statement::Insert(insert) => match self.repeated_insert(insert, parameters).await? {
                Some(first) => Ok(first),
                None => self.insert(insert, parameters, prepared).await,
            },
            Statement::With(with) => self.with(with, parameters, prepared.is_some()).await,
            Statement::CopyFrom(copy) => self.copy_from(copy).await,
            Statement::CopyTo(copy) => self.copy_to(copy, parameters).await,
            Statement::Explain {
                analyze,
                verbose,
                format,
                statement,
            } => self.explain(*analyze, *verbose, *format, statement, parameters).await,
            Statement::ExplainView { analyze, format, name } => self.explain_view(*analyze, *format, name).await,
            Statement::CreateTopic(create) => self.create_topic(create).await,
            Statement::CreateView(create) => self.create_view(create).await,
            Statement::CreateSchema { name, if_not_exists } => self.create_schema(name, *if_not_exists),
            Statement::Drop(drop) => self.drop_objects(drop),
            Statement::Alter(alter) => self.alter(alter).await,
            Statement::AlterSchema { name, action } => self.alter_schema(name, action),
            Statement::AdvanceWatermark { topic, to } => self.advance_watermark(topic, to),
            Statement::Comment { on, column, text } => self.comment(on, column.as_deref(), text.clone()),
            Statement::Begin { tag, modes } => self.begin(tag, modes),
            Statement::Commit { chain } => self.commit(*chain).await,
            Statement::Rollback { chain } => self.rollback(*chain),
            Statement::Savepoint(name) => {
                self.in_block("SAVEPOINT")?;
                self.finish_spills().await?;
                self.in_block("SAVEPOINT")?.savepoint(name.clone());
                Ok(Outcome::Command("SAVEPOINT".to_string()))
            }
            Statement::ReleaseSavepoint(name) => {
                self.in_block("RELEASE SAVEPOINT")?.release(name)?;
                Ok(Outcome::Command("RELEASE".to_string()))
            }
            Statement::RollbackTo(name) => self.rollback_to(name),
            Statement::SetTransaction(modes) => self.set_transaction(modes),
            Statement::SetSessionCharacteristics(modes) => {
                for (name, value) in modes_as_settings(modes) {
                    self.set(&format!("default_{name}"), Some(value), false)?;
                }
                Ok(Outcome::Command("SET".to_string()))
            }
            Statement::Set { name, value, local } => self.set(name, value.as_deref(), *local),
            Statement::Reset(name) => {
                let changed = Arc::make_mut(&mut self.settings).reset(name.as_deref())?;
                self.parameter_changes.extend(changed);
                Ok(Outcome::Command("RESET".to_string()))
            }
            Statement::Show(show) => self.show(show),
            Statement::Prepare { name, types, text, .. } => {
                self.prepare_named(name, types, text).await?;
                Ok(Outcome::Command("PREPARE".to_string()))
            }
            Statement::Execute { name, arguments } => self.execute_named(name, arguments, parameters).await,
            Statement::Deallocate(name) => {
                match name {
                    None => self.statements.clear(),
                    Some(name) if self.statements.remove(name).is_some() => {}
                    Some(name) => return Err(unknown_statement(name)),
                }
                let tag = if name.is_none() { "DEALLOCATE ALL" } else { "DEALLOCATE" };
                Ok(Outcome::Command(tag.to_string()))
            }
            Statement::Discard(what) => self.discard(what),
            Statement::DeclareCursor { declaration, select } => {
                self.declare_cursor(declaration, select, parameters).await
            }
            Statement::Fetch(fetch) => self.fetch(fetch).await,
            Statement::Close(name) => self.close_cursor(name.as_deref()),
            Statement::CatchUp { tag, view } => {
                if let Some(view) = view {
                    self.require_materialized_view(view)?;
                }
                let newest = self.engine.log.newest();
                self.engine.views.caught_up(newest).await?;
                Ok(Outcome::Command((*tag).to_string()))
            }
            Statement::Group(statement) => self.group_statement(statement).await,
            Statement::Lock(names) => self.lock(names),
            Statement::Listen(channel) => self.post("LISTEN", ListenAction::Listen(channel.clone())),
            Statement::Unlisten(channel) => self.post("UNLISTEN", ListenAction::Unlisten(channel.clone())),
            Statement::Notify { channel, payload } => {
                self.notify(channel, payload)?;
                Ok(Outcome::Command("NOTIFY".to_string()))
            }
            Statement::Nothing { tag, notice } => {
                if let Some(notice) = notice {
                    self.notice(notice.clone());
                }
                Ok(Outcome::Command((*tag).to_string()))
            }
        }
    }

    /// Whether the transaction takes over others' changes: it is none of a block, and has changed nothing itself.
    fn goes_with_others(&self) -> bool {
        let transaction = self.transaction.as_ref();
        transaction.is_some_and(|transaction| !transaction.explicit && !transaction.wrote_ddl())
    }

    /// The transaction that the current statement runs in, begun if there is none.
    fn transaction(&mut self) -> &mut Transaction {
        let (engine, settings) = (&self.engine, &self.settings);
        self.transaction.get_or_insert_with(|| {
            let read_only = settings.default_read_only();
            Transaction::new(engine.catalog.current(), false, read_only, engine.clock.now_us())
        })
    }

    /// The catalog as this session sees it now.
    fn catalog(&self) -> Arc<Snapshot> {
        match &self.transaction {
            Some(transaction) => transaction.catalog.clone(),
            None => self.engine.catalog.current(),
        }
    }

    fn in_block(&mut self, what: &str) -> Result<&mut Transaction, SqlError> {
        self.transaction
            .as_mut()
            .filter(|transaction| transaction.explicit)
            .ok_or_else(|| {
                SqlError::new(
                    state::NO_ACTIVE_SQL_TRANSACTION,
                    format!("{what} can only be used in transaction blocks"),
                )
            })
    }

    fn begin(&mut self, tag: &'static str, modes: &TransactionModes) -> Result<Outcome, SqlError> {
        if self.status() != TransactionStatus::Idle {
            self.warn(
                state::ACTIVE_SQL_TRANSACTION,
                "there is already a transaction in progress",
            );
        } else {
            self.settings_before = Some(self.settings.clone());
        }
        self.transaction().explicit = true;
        self.take_modes(modes);
        Ok(Outcome::Command(tag.to_string()))
    }

    async fn commit(&mut self, chain: bool) -> Result<Outcome, SqlError> {
        match self.status() {
            TransactionStatus::Failed => return self.rollback(chain),
            TransactionStatus::Idle => {
                if chain {
                    return Err(SqlError::new(
                        state::NO_ACTIVE_SQL_TRANSACTION,
                        "COMMIT AND CHAIN can only be used in transaction blocks",
                    ));
                }
                self.warn(state::NO_ACTIVE_SQL_TRANSACTION, "there is no transaction in progress");
            }
            TransactionStatus::InTransaction => {}
        }
        let modes = self.modes();
        self.keep_held_cursors();
        self.commit_transaction().await?;
        if chain {
            self.begin("BEGIN", &modes)?;
        }
        Ok(Outcome::Command("COMMIT".to_string()))
    }

    fn rollback(&mut self, chain: bool) -> Result<Outcome, SqlError> {
        if self.status() == TransactionStatus::Idle {
            self.warn(state::NO_ACTIVE_SQL_TRANSACTION, "there is no transaction in progress");
        }
        let modes = self.modes();
        self.end_transaction(false);
        if chain {
            self.begin("BEGIN", &modes)?;
        }
        Ok(Outcome::Command("ROLLBACK".to_string()))
    }

    async fn commit_implicit(&mut self) -> Result<(), SqlError> {
        if self
            .transaction
            .as_ref()
            .is_some_and(|transaction| !transaction.explicit)
        {
            self.commit_transaction().await?;
        }
        Ok(())
    }

    /// Forgets the transaction, after its commit or instead of it.
    fn end_transaction(&mut self, committed: bool) {
        if let Some(transaction) = self.transaction.take() {
            self.places.settle(transaction.consumed(), committed);
        }
        self.failed = false;
        self.end_messages(committed);
        self.end_advisory_locks();
        self.cursors.retain(|_, cursor| cursor.stays(committed));
        if let Some(before) = self.settings_before.take()
            && !committed
        {
            self.restore_settings(before);
        }
        for mode in MODES {
            if self.settings.is_set(mode) {
                Arc::make_mut(&mut self.settings).set_mode(mode, None);
            }
        }
        for (name, value) in std::mem::take(&mut self.local_settings).into_iter().rev() {
            let reported = match value {
                Some(value) => Arc::make_mut(&mut self.settings)
                    .set(&name, &value)
                    .ok()
                    .flatten()
                    .into_iter()
                    .collect(),
                None => Arc::make_mut(&mut self.settings).reset(Some(&name)).unwrap_or_default(),
            };
            self.parameter_changes.extend(reported);
        }
    }

    fn restore_settings(&mut self, before: Arc<Settings>) {
        if Arc::ptr_eq(&self.settings, &before) {
            return;
        }
        let was = self.settings.all_reported();
        self.settings = before;
        let now = self.settings.all_reported();
        let changed = now
            .into_iter()
            .zip(was)
            .filter(|(now, was)| now != was)
            .map(|(now, _)| now);
        self.parameter_changes.extend(changed);
    }

    fn set(&mut self, name: &str, value: Option<&str>, local: bool) -> Result<Outcome, SqlError> {
        if local && self.status() == TransactionStatus::Idle {
            self.warn(
                state::NO_ACTIVE_SQL_TRANSACTION,
                "SET LOCAL can only be used in transaction blocks",
            );
            return Ok(Outcome::Command("SET".to_string()));
        }
        let lower = name.to_lowercase();
        if MODES.contains(&lower.as_str()) {
            return self.set_mode(&lower, value);
        }
        if local {
            let before = self.settings.is_set(&lower).then(|| self.settings.get(&lower));
            self.local_settings.push((lower.clone(), before.transpose()?));
        }
        let changed = match value {
            Some(value) => Arc::make_mut(&mut self.settings)
                .set(name, value)?
                .into_iter()
                .collect(),
            None => Arc::make_mut(&mut self.settings).reset(Some(name))?,
        };
        self.parameter_changes.extend(changed);
        if lower == "application_name" {
            self.registration.named(self.settings.application_name());
        }
        Ok(Outcome::Command("SET".to_string()))
    }

    /// Locks nothing, and says so: a transaction's data does not change under it.
    fn lock(&mut self, names: &[Name]) -> Result<Outcome, SqlError> {
        let catalog = self.in_block("LOCK TABLE")?.catalog.clone();
        for name in names {
            self.resolve(&catalog, name)?;
        }
        self.notice("LOCK TABLE does nothing: a transaction reads at one point of the log");
        Ok(Outcome::Command("LOCK TABLE".to_string()))
    }

    fn discard(&mut self, what: &str) -> Result<Outcome, SqlError> {
        if what.eq_ignore_ascii_case("all") {
            let begun = self.transaction.as_ref().is_some_and(|own| !own.is_fresh());
            if self.status() != TransactionStatus::Idle || self.batch && begun {
                return Err(SqlError::new(
                    state::ACTIVE_SQL_TRANSACTION,
                    "DISCARD ALL cannot run inside a transaction block",
                ));
            }
            self.statements.clear();
            self.cursors.clear();
            self.engine.channels.leave_all(self.id());
            self.engine.advisory.give_all(self.id());
            let changed = Arc::make_mut(&mut self.settings).reset(None)?;
            self.parameter_changes.extend(changed);
        }
        Ok(Outcome::Command(format!("DISCARD {}", what.to_uppercase())))
    }
}

/// Commits that a session that does not wait for syncs may be ahead of them.
const QUEUED_COMMITS_MAX: u64 = 1024;

/// Whether a statement only adds rows, and looks at none.
fn only_appends(statement: &Statement) -> bool {
    match statement {
        Statement::Insert(insert) => !matches!(insert.rows, InsertRows::Select(_)) && insert.returning.is_empty(),
        Statement::CopyFrom(_) => true,
        _ => false,
    }
}

/// Whether names of relations in a statement are looked up before anything else is done.
fn plans(statement: &Statement) -> bool {
    matches!(
        statement,
        Statement::Select(_)
            | Statement::Insert(_)
            | Statement::With(_)
            | Statement::CopyFrom(_)
            | Statement::CopyTo(_)
            | Statement::Explain { .. }
            | Statement::DeclareCursor { .. }
            | Statement::Execute { .. }
    )
}

fn is_ddl(statement: &Statement) -> bool {
    matches!(
        statement,
        Statement::CreateTopic(_)
            | Statement::CreateView(_)
            | Statement::CreateSchema { .. }
            | Statement::Drop(_)
            | Statement::Alter(_)
            | Statement::AlterSchema { .. }
            | Statement::Comment { .. }
    )
}

fn ends_failed_transaction(statement: &Statement) -> bool {
    matches!(
        statement,
        Statement::Commit { .. } | Statement::Rollback { .. } | Statement::RollbackTo(_)
    )
}

fn failed_transaction() -> SqlError {
    SqlError::new(
        state::IN_FAILED_SQL_TRANSACTION,
        "current transaction is aborted, commands ignored until end of transaction block",
    )
}

fn unknown_statement(name: &str) -> SqlError {
    SqlError::new(
        state::INVALID_SQL_STATEMENT_NAME,
        format!("prepared statement \"{name}\" does not exist"),
    )
}

/// `-c name=value --name=value` of the startup message's `options`.
fn startup_options(options: &str) -> Vec<(String, String)> {
    let mut settings = Vec::new();
    let mut words = options.split_whitespace();
    while let Some(word) = words.next() {
        let assignment = match word {
            "-c" => words.next().unwrap_or_default(),
            _ => word
                .strip_prefix("-c")
                .or_else(|| word.strip_prefix("--"))
                .unwrap_or(word),
        };
        if let Some((name, value)) = assignment.split_once('=') {
            settings.push((name.replace('-', "_"), value.to_string()));
        }
    }
    settings
}
