//! Divides the work of a session: short work on its own thread, the rest on the threads for computing.
//!
//! One rule: a session's thread serves many clients, so the size of a small message bounds its work. Planning, parsing of
//! long texts, compiling and evaluating take a [`PlanningContext`] along, and the session awaits them: it can be
//! cancelled meanwhile, and the work ends at its next check (`stop`).

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{Engine, Session};
use crate::catalog::{Snapshot, Topic};
use crate::error::SqlError;
use crate::sql::plan::{self, PlanContext, Planned};
use crate::sql::rows::RowExprs;
use crate::sql::statement::Select;
use crate::types::PgType;

/// A message up to this length is small: all that is linear in it may be done at once.
pub(super) const SMALL_BYTES: usize = 64 << 10;
/// Pieces of work of one session that may compute at a time, those included that nobody waits for any more.
pub(super) const COMPUTING_MAX: usize = 4;

/// The meaning of names to a session at one moment.
pub(super) struct PlanningContext {
    catalog: Arc<Snapshot>,
    search_path: Arc<[String]>,
    time_zone: Arc<str>,
    user: Arc<str>,
    database: Arc<str>,
    parameter_types: Vec<Option<PgType>>,
    text: Arc<str>,
}

impl PlanningContext {
    pub(super) fn borrowed(&self) -> PlanContext<'_> {
        PlanContext {
            catalog: &self.catalog,
            search_path: &self.search_path,
            functions_path: &self.search_path,
            time_zone: &self.time_zone,
            user: &self.user,
            database: &self.database,
            parameter_types: &self.parameter_types,
            text: &self.text,
        }
    }
}

impl Engine {
    /// Runs `work` where computing runs, once fewer than [`COMPUTING_MAX`] pieces of work of its session do.
    fn compute<T, W>(
        self: &Arc<Self>,
        places: &Arc<Semaphore>,
        work: W,
    ) -> impl Future<Output = Result<T, SqlError>> + Send + 'static + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce() -> Result<T, SqlError> + Send + 'static,
    {
        let (engine, places) = (self.clone(), places.clone());
        async move {
            let place = places.acquire_owned().await.expect("it is never closed");
            let placed = move || {
                let _place = place;
                work()
            };
            engine.query.compute(placed).await
        }
    }
}

impl Session {
    /// The meaning of names now. `parameter_types` are those of `$1`, `$2`, ... as far as known.
    pub(super) fn context(&self, catalog: Arc<Snapshot>, parameter_types: Vec<Option<PgType>>) -> PlanningContext {
        PlanningContext {
            catalog,
            search_path: self.settings.search_path().clone(),
            time_zone: self.settings.time_zone().clone(),
            user: self.user.clone(),
            database: self.database.clone(),
            parameter_types,
            text: self.text.clone(),
        }
    }

    /// Where the names in parameters of these types are looked up, if one is of `regclass` or the like.
    pub fn names_of(&self, types: &[PgType]) -> Option<plan::ObjectOids> {
        let is_named = |known: &PgType| known.item().unwrap_or(known).is_oid_alias();
        let named = types.iter().any(is_named);
        named.then(|| plan::object_oids(&self.context(self.catalog(), Vec::new()).borrowed()))
    }

    /// Runs `work` elsewhere. Dropping the future asks it to stop.
    pub fn compute<T, W>(&self, work: W) -> impl Future<Output = Result<T, SqlError>> + Send + 'static + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce() -> Result<T, SqlError> + Send + 'static,
    {
        self.engine.compute(&self.computing, work)
    }

    /// Runs `work`, which needs the meaning of names.
    pub(super) fn compute_with<T, W>(
        &self,
        parameter_types: Vec<Option<PgType>>,
        work: W,
    ) -> impl Future<Output = Result<T, SqlError>> + Send + 'static + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce(&PlanContext<'_>) -> Result<T, SqlError> + Send + 'static,
    {
        let context = self.context(self.catalog(), parameter_types);
        self.compute(move || work(&context.borrowed()))
    }

    /// Plans a SELECT whose rows go to the client.
    pub(super) fn plan(
        &self,
        select: &Arc<Select>,
        parameter_types: Vec<Option<PgType>>,
    ) -> impl Future<Output = Result<Arc<Planned>, SqlError>> + Send + 'static + use<> {
        self.plan_in(self.catalog(), select, parameter_types)
    }

    /// Plans a SELECT over another catalog than the session's own.
    pub(super) fn plan_in(
        &self,
        catalog: Arc<Snapshot>,
        select: &Arc<Select>,
        parameter_types: Vec<Option<PgType>>,
    ) -> impl Future<Output = Result<Arc<Planned>, SqlError>> + Send + 'static + use<> {
        let context = self.context(catalog, parameter_types);
        let select = select.clone();
        self.compute(move || plan::plan_answer(&select, &context.borrowed()).map(Arc::new))
    }

    /// The topic's defaults, checks and generated columns.
    pub(super) async fn row_exprs(&mut self, topic: &Arc<Topic>) -> Result<Arc<RowExprs>, SqlError> {
        if let Some(known) = self.engine.known_row_exprs(topic) {
            return Ok(known);
        }
        let (engine, topic) = (self.engine.clone(), topic.clone());
        self.compute(move || engine.compile_row_exprs(&topic)).await
    }
}
