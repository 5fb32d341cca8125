//! Ticks: commits that change nothing, so that the time of the log goes on and rows enter and leave views by it.
//!
//! One rule: a tick is written only if rows of a view are due, that is if a step at the present time would change them. A reader
//! has it written before it reads; else one is written about once a second, and none while other commits come.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::error::SqlError;
use crate::log::{Acknowledge, Commit, Log, Lsn};
use crate::storage::SharedClock;

use super::clock::PendingRows;
use super::{ViewRows, Views};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Views {
    /// The newest consistent reading of several views as [`Views::read_newest`] gives it. No row is due in it at the present
    /// time.
    pub async fn read_now(
        &self,
        log: &Log,
        clock: &SharedClock,
        views: &[u32],
        at_least: Lsn,
    ) -> Result<(Lsn, HashMap<u32, ViewRows>), SqlError> {
        let now_us = clock.now_us();
        let mut reading = self.read_newest(views, at_least).await?;
        let timed = self.timed(Some(views));
        while !timed.is_empty() && log.time(reading.0) < now_us {
            match self.pending_at(&timed, reading.0) {
                Some(pending) if !are_due(&pending, now_us) => break,
                Some(_) => {
                    let ticked = self.tick(log, now_us).await?;
                    reading = self.read_newest(views, ticked).await?;
                    break;
                }
                // They have gone on meanwhile.
                None => reading = self.read_newest(views, log.newest()).await?,
            }
        }
        Ok(reading)
    }

    /// Writes a tick if rows of some view are due, as far as the views have come, or if that is not known yet.
    pub async fn tick_if_due(&self, log: &Log, now_us: i64) -> Result<(), SqlError> {
        let timed = self.timed(None);
        if timed.is_empty() || log.time(log.newest()) >= now_us {
            return Ok(());
        }
        if self.pending(&timed).is_none_or(|pending| are_due(&pending, now_us)) {
            self.tick(log, now_us).await?;
        }
        Ok(())
    }

    /// An LSN at which the log has come to this time: a new one, if there is none.
    async fn tick(&self, log: &Log, now_us: i64) -> Result<Lsn, SqlError> {
        let newest = log.newest();
        if log.time(newest) >= now_us {
            return Ok(newest);
        }
        let tick = Commit {
            tick: true,
            ..Commit::default()
        };
        Ok(log.commit(tick, Acknowledge::Synced).await?.lsn)
    }

    /// Those of these views, or of all, that change as time passes, and those that they read, at any depth.
    fn timed(&self, views: Option<&[u32]>) -> Vec<u32> {
        let registered = self.registered.lock();
        let mut wanted: Vec<u32> = views.unwrap_or_default().to_vec();
        let mut timed = Vec::new();
        // A view stands after those that it reads.
        for (oid, view) in registered.iter().rev() {
            if views.is_none() || wanted.contains(oid) {
                wanted.extend(view.dataflow.views());
                timed.extend(view.dataflow.is_timed().then_some(*oid));
            }
        }
        timed
    }

    /// The rows that time changes next, as far as the views have come; `None` if one of them has not come anywhere.
    fn pending(&self, timed: &[u32]) -> Option<Vec<PendingRows>> {
        let registered = self.registered.lock();
        let of = registered.iter().filter(|(oid, _)| timed.contains(oid));
        let of = of.map(|(oid, view)| view.published(*oid, |view| view.pending.clone()));
        Some(of.collect::<Option<Vec<_>>>()?.into_iter().flatten().collect())
    }

    /// The same at an LSN; `None` if one of the views is not there.
    fn pending_at(&self, timed: &[u32], lsn: Lsn) -> Option<Vec<PendingRows>> {
        let registered = self.registered.lock();
        let mut all = Vec::new();
        for (oid, view) in registered.iter().filter(|(oid, _)| timed.contains(oid)) {
            let published = view.keeper.published.lock();
            let state = published.views.get(oid).filter(|_| published.frontier == lsn)?;
            all.extend(state.pending.iter().cloned());
        }
        Some(all)
    }
}

fn are_due(pending: &[PendingRows], now_us: i64) -> bool {
    pending.iter().any(|rows| rows.is_due(now_us))
}

/// Writes ticks until `stop` says true, or its sender is gone.
pub async fn run(log: Arc<Log>, views: Arc<Views>, clock: SharedClock, mut stop: tokio::sync::watch::Receiver<bool>) {
    loop {
        tokio::select! {
            stopped = stop.wait_for(|stop| *stop) => {
                drop(stopped);
                return;
            }
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if let Err(error) = views.tick_if_due(&log, clock.now_us()).await {
            // The log has failed, and the server ends anyway.
            tracing::debug!(%error, "the time of the log was not brought on");
        }
    }
}
