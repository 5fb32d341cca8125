//! A new view: a build computes its first rows beside the driver, which takes it over once it is about as far as the
//! log.
//!
//! One rule: a build ends when the view is no longer wanted, and leaves nothing behind.

use std::sync::Arc;

use crate::catalog;
use crate::error::{SqlError, state};

use super::dataflow::Dataflow;
use super::driver::{Request, dropped_while_built, not_maintained};
use super::failure::ViewFailure;
use super::memory::Limits;
use super::pipeline::{History, Maintained, Pipeline};
use super::search::locate;
use super::{Registered, Views, on_thread, stopped};

/// A new view is handed to the driver once a step of its catching up brought it over fewer commits than this.
const HANDOVER_COMMITS: u64 = 256;

/// A view that is being built: its computing ends when this is dropped.
struct Build<'a> {
    views: &'a Views,
    oid: u32,
    limits: Limits,
}

impl Drop for Build<'_> {
    fn drop(&mut self) {
        self.views.building.lock().retain(|(oid, ..)| *oid != self.oid);
        if !self.views.registered.lock().iter().any(|(oid, _)| *oid == self.oid) {
            self.limits.stop.set();
        }
    }
}

impl Views {
    /// Builds a view's first rows and keeps it from then on. Writes go on meanwhile. If a row makes it fail, or it does
    /// not fit into memory, that is the error and the view is not made. Dropping the future ends it.
    pub async fn create(&self, oid: u32, view: Arc<catalog::View>, dataflow: Dataflow) -> Result<(), SqlError> {
        self.create_if(oid, view, dataflow, || true).await
    }

    /// As [`Views::create`] if `is_there` says so once a DROP would end it: one that came before finds nothing to end.
    pub async fn create_if(
        &self,
        oid: u32,
        view: Arc<catalog::View>,
        dataflow: Dataflow,
        is_there: impl Fn() -> bool,
    ) -> Result<(), SqlError> {
        if self.off.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(SqlError::new(
                state::OBJECT_NOT_IN_PREREQUISITE_STATE,
                "materialized views are off: the server was started without them",
            )
            .hint("Drop the views that stopped the server, and start it again with them."));
        }
        if let Some((_, error)) = self.unkept_of(&dataflow.views()) {
            return Err(error);
        }
        let limits = Limits::new(self.shared.budget.clone());
        let dataflow = Arc::new(dataflow);
        let mut built = self.pipeline_for(&dataflow, &limits)?;
        built.add(Maintained::new(
            oid,
            view.name.clone(),
            dataflow.clone(),
            limits.clone(),
        )?);
        let stop = limits.stop.clone();
        self.building.lock().push((oid, view.name.clone(), stop));
        let build = Build {
            views: self,
            oid,
            limits: limits.clone(),
        };
        if !is_there() {
            return Err(dropped_while_built());
        }
        let history = self.shared.history.clone();
        // One value can take long to compute, and holds up nobody once the view is no longer wanted.
        let built = tokio::select! {
            biased;
            built = on_thread("view backfill", &self.shared.budget, move || catch_up(built, &*history, oid)) => built?,
            () = limits.stop.stopped() => return Err(dropped_while_built()),
        };
        let moves = self.moves.lock().await;
        let keeper = self.keeper_over(&dataflow).await?;
        let built = Box::new(built);
        let adopted = keeper.ask(|reply| Request::Adopt { built, oid, reply }).await;
        if let Err(refused) = adopted.ok_or_else(|| self.broken_off())? {
            let Some(search) = refused.search else {
                return Err(refused.error);
            };
            let history = self.shared.history.clone();
            let name = view.name.clone();
            let failure = on_thread("view failure", &self.shared.budget, move || {
                Ok(locate(search, &*history))
            })
            .await?;
            return Err(failure.report(&name));
        }
        let name = view.name.clone();
        let registered = Registered {
            name,
            dataflow,
            limits,
            keeper,
        };
        let mut all = self.registered.lock();
        if registered.limits.stop.is_set() {
            // A DROP came just now, and found nothing to take out of here.
            return Err(dropped_while_built());
        }
        all.push((oid, registered));
        drop(all);
        drop(moves);
        drop(build);
        Ok(())
    }

    /// Ends the building of these views, if they are being built.
    pub fn end_build(&self, oids: &[u32]) {
        let building = self.building.lock();
        let ended = building.iter().filter(|(oid, ..)| oids.contains(oid));
        ended.for_each(|(.., stop)| stop.set());
    }

    /// Empty copies of all that a dataflow reads.
    fn pipeline_for(&self, dataflow: &Dataflow, limits: &Limits) -> Result<Pipeline, SqlError> {
        let registered = self.registered.lock();
        let mut wanted = dataflow.views();
        for (oid, view) in registered.iter().rev() {
            if wanted.contains(oid) {
                wanted.extend(view.dataflow.views());
            }
        }
        let mut pipeline = Pipeline::new(&self.shared.budget);
        for (oid, view) in registered.iter().filter(|(oid, _)| wanted.contains(oid)) {
            let (name, dataflow) = (view.name.clone(), view.dataflow.clone());
            pipeline.add(Maintained::new(*oid, name, dataflow, limits.clone())?);
        }
        match dataflow.views().into_iter().find(|oid| pipeline.view(*oid).is_none()) {
            Some(oid) => Err(not_maintained(oid)),
            None => Ok(pipeline),
        }
    }
}

/// Steps a new view until it is about as far as the log.
fn catch_up(mut built: Pipeline, history: &dyn History, oid: u32) -> Result<Pipeline, SqlError> {
    loop {
        let (before, newest) = (built.frontier(), history.newest());
        while built.frontier() < newest {
            let failed = built.advance_once(history, newest);
            let view = built.view(oid).expect("it is built here");
            if view.instance.limits().stop.is_set() {
                return Err(dropped_while_built());
            }
            if view.failure.is_none() {
                continue;
            }
            // If a view that it reads failed, the search looks at that one.
            let name = view.name.clone();
            let search = failed.into_iter().filter_map(|failed| failed.search).next();
            let failure: Option<ViewFailure> = match search {
                Some(search) => Some(locate(search, history)),
                None => view.failure.clone(),
            };
            return Err(failure.map_or_else(stopped, |failure| failure.report(&name)));
        }
        if built.frontier() - before < HANDOVER_COMMITS {
            return Ok(built);
        }
    }
}
