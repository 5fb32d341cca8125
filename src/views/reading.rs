//! Readings of views, and the threads that views come to.
//!
//! One rule: a reading is of one LSN. A view moves between threads while `moves` is held; a reader whose thread has ended waits
//! for that and asks again.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::join_all;
use tokio::sync::oneshot;

use crate::catalog;
use crate::error::SqlError;
use crate::log::Lsn;

use super::dataflow::Dataflow;
use super::driver::{Request, not_maintained};
use super::keeper::Keeper;
use super::operators::join::RelationRows;
use super::rendering::ReadRequest;
use super::{ViewRows, Views, is_building};

/// Threads that keep views, at least, and for each processor: more would read the log more often for no gain.
const KEEPERS_MIN: usize = 4;
const KEEPERS_PER_PROCESSOR: usize = 2;

/// Views by the thread that keeps them.
type KeptBy = Vec<(Arc<Keeper>, Vec<u32>)>;

/// A view of the catalog, planned or not.
type PlannedView = (u32, Arc<catalog::View>, Result<Dataflow, SqlError>);

/// The views in groups, of which none reads a view of another.
pub fn families(views: Vec<PlannedView>) -> Vec<Vec<PlannedView>> {
    let mut families: Vec<Vec<PlannedView>> = Vec::new();
    for view in views {
        let read = view.2.as_ref().map_or_else(|_| Vec::new(), Dataflow::views);
        let is_read = |family: &Vec<PlannedView>| family.iter().any(|(oid, ..)| read.contains(oid));
        let (related, others): (Vec<_>, Vec<_>) = families.into_iter().partition(is_read);
        families = others;
        let mut family: Vec<PlannedView> = related.into_iter().flatten().collect();
        family.push(view);
        families.push(family);
    }
    families
}

impl Views {
    /// The newest consistent reading of several views: an LSN not below `at_least`, and each view's rows there.
    pub async fn read_newest(&self, views: &[u32], at_least: Lsn) -> Result<(Lsn, HashMap<u32, ViewRows>), SqlError> {
        loop {
            let kept = self.kept_by(views)?;
            if let Some(reading) = published_reading(&kept, at_least) {
                return Ok(reading);
            }
            if let Some(reading) = read_together(&kept, at_least).await {
                return reading;
            }
            self.moved(&kept).await?;
        }
    }

    /// A view's rows exactly at `at`, or `None` if it has moved past it.
    pub async fn read_at(&self, view: u32, at: Lsn) -> Result<Option<ViewRows>, SqlError> {
        loop {
            let kept = self.kept_by(&[view])?;
            let answer = match kept.first() {
                Some((keeper, _)) => {
                    keeper
                        .ask(|reply| Request::Read(ReadRequest::At { view, at, reply }))
                        .await
                }
                None => return Err(not_maintained(view)),
            };
            match answer {
                Some(rows) => return rows,
                None => self.moved(&kept).await?,
            }
        }
    }

    /// Returns once every view is complete up to `lsn`.
    pub async fn caught_up(&self, lsn: Lsn) -> Result<(), SqlError> {
        loop {
            let keepers = self.keepers.lock().clone();
            let asked = keepers
                .iter()
                .map(|keeper| keeper.ask(|reply| Request::CaughtUp { lsn, reply }));
            let answers = join_all(asked).await;
            let silent = keepers.into_iter().zip(answers).find(|(_, answer)| answer.is_none());
            match silent {
                None => return Ok(()),
                Some((keeper, _)) => self.moved(&[(keeper, Vec::new())]).await?,
            }
        }
    }

    /// Waits until views have moved away from threads that did not answer. It is an error if nothing has moved.
    async fn moved(&self, kept: &[(Arc<Keeper>, Vec<u32>)]) -> Result<(), SqlError> {
        let _moves = self.moves.lock().await;
        let keepers = self.keepers.lock();
        let is_there = |keeper: &Arc<Keeper>| keepers.iter().any(|other| Arc::ptr_eq(other, keeper));
        let is_alive = |keeper: &Arc<Keeper>| !keeper.has_ended();
        match kept.iter().all(|(keeper, _)| is_there(keeper)) && !kept.iter().all(|(keeper, _)| is_alive(keeper)) {
            true => Err(self.broken_off()),
            false => Ok(()),
        }
    }

    /// The threads that keep these views. An error if one of the views cannot be read, by now or once it is complete.
    fn kept_by(&self, views: &[u32]) -> Result<KeptBy, SqlError> {
        if let Some((_, error)) = self.unkept_of(views) {
            return Err(error);
        }
        let registered = self.registered.lock();
        let mut kept: KeptBy = Vec::new();
        for oid in views {
            let Some((_, view)) = registered.iter().find(|(other, _)| other == oid) else {
                let building = self.building.lock();
                return Err(match building.iter().find(|(other, ..)| other == oid) {
                    Some((_, name, _)) => is_building(name),
                    None => not_maintained(*oid),
                });
            };
            match kept.iter_mut().find(|(keeper, _)| Arc::ptr_eq(keeper, &view.keeper)) {
                Some((_, views)) => views.push(*oid),
                None => kept.push((view.keeper.clone(), vec![*oid])),
            }
        }
        Ok(kept)
    }

    /// 55000 unless each of these views has rows to show: for readers that do not want to wait for a build.
    pub fn check_built(&self, views: &[u32]) -> Result<(), SqlError> {
        self.kept_by(views)?;
        let registered = self.registered.lock();
        let unbuilt = registered
            .iter()
            .find(|(oid, view)| views.contains(oid) && view.published(*oid, |_| ()).is_none());
        unbuilt.map_or(Ok(()), |(_, view)| Err(is_building(&view.name)))
    }

    // ---- threads. `moves` is held.

    /// The thread for views that read none that are kept: that of views with the same joined rows, or a new one, or the one with
    /// the fewest views once there are enough.
    pub(super) fn keeper_for_more(&self, more: &[&Dataflow]) -> Result<Arc<Keeper>, SqlError> {
        let mut keepers = self.keepers.lock();
        let registered = self.registered.lock();
        // Views that join the same rows share them, if one thread keeps them.
        let joined = |dataflow: &Dataflow| -> Vec<RelationRows> {
            let inputs = dataflow.joined_rows().flat_map(|(_, rows)| rows);
            inputs.flatten().collect()
        };
        let wanted: Vec<RelationRows> = more.iter().flat_map(|dataflow| joined(dataflow)).collect();
        let mut sharing = registered.iter().filter(|(_, view)| {
            let mut rows = joined(&view.dataflow).into_iter();
            rows.any(|rows| wanted.iter().any(|wanted| wanted.has_rows_of(&rows)))
        });
        if let Some((_, view)) = sharing.next() {
            return Ok(view.keeper.clone());
        }
        let views = |keeper: &Arc<Keeper>| {
            let of = registered.iter().filter(|(_, view)| Arc::ptr_eq(&view.keeper, keeper));
            of.count()
        };
        let least = keepers.iter().min_by_key(|keeper| views(keeper));
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let keepers_max = KEEPERS_MIN.max(KEEPERS_PER_PROCESSOR * processors);
        if let Some(least) = least
            && (views(least) == 0 || keepers.len() >= keepers_max)
        {
            return Ok(least.clone());
        }
        let keeper = Keeper::start(self.shared.clone(), self.newest.clone())?;
        keepers.push(keeper.clone());
        Ok(keeper)
    }

    /// The thread for a view: that of all views that it reads, which become one.
    pub(super) async fn keeper_over(&self, dataflow: &Dataflow) -> Result<Arc<Keeper>, SqlError> {
        let kept = self.kept_by(&dataflow.views())?;
        let Some(((keeper, _), others)) = kept.split_first() else {
            return self.keeper_for_more(&[dataflow]);
        };
        for (other, _) in others {
            let surrendered = other.ask(|reply| Request::Surrender { reply }).await;
            let with = surrendered.ok_or_else(|| self.broken_off())?;
            let moved: Vec<u32> = with.views().iter().map(|view| view.oid).collect();
            let merged = keeper.ask(|reply| Request::Merge { with, reply }).await;
            merged.ok_or_else(|| self.broken_off())?;
            let mut registered = self.registered.lock();
            for (_, view) in registered.iter_mut() {
                if Arc::ptr_eq(&view.keeper, other) {
                    view.keeper = keeper.clone();
                }
            }
            self.keepers.lock().retain(|keeper| !Arc::ptr_eq(keeper, other));
            // Views that were dropped meanwhile.
            let dropped = moved
                .into_iter()
                .filter(|oid| !registered.iter().any(|(other, _)| other == oid));
            let oids: Vec<u32> = dropped.collect();
            drop(registered);
            if !oids.is_empty() {
                keeper.send_now(Request::Drop { oids });
            }
        }
        Ok(keeper.clone())
    }
}

/// Without asking a thread, if the rows are published already, all at one LSN.
fn published_reading(kept: &[(Arc<Keeper>, Vec<u32>)], at_least: Lsn) -> Option<(Lsn, HashMap<u32, ViewRows>)> {
    let (mut at, mut all) = (None, HashMap::new());
    for (keeper, views) in kept {
        let published = keeper.published.lock();
        if published.frontier < at_least || *at.get_or_insert(published.frontier) != published.frontier {
            return None;
        }
        for oid in views {
            all.insert(*oid, published.views.get(oid)?.rows.clone()?);
        }
    }
    Some((at?, all))
}

/// A reading of views that several threads may keep. `None` if one of them has ended, or could not be held.
async fn read_together(
    kept: &[(Arc<Keeper>, Vec<u32>)],
    at_least: Lsn,
) -> Option<Result<(Lsn, HashMap<u32, ViewRows>), SqlError>> {
    let (mut holds, mut at) = (Vec::new(), at_least);
    if kept.len() > 1 {
        for held in join_all(kept.iter().map(|(keeper, _)| keeper.hold())).await {
            let (hold, frontier) = held?;
            holds.push(hold);
            at = at.max(frontier);
        }
        holds.iter().for_each(|hold| hold.move_to(at));
    }
    let (mut asked, mut begun) = (Vec::with_capacity(kept.len()), Vec::with_capacity(kept.len()));
    for (keeper, views) in kept {
        let (begins, has_begun) = oneshot::channel();
        begun.push(has_begun);
        asked.push(keeper.ask(move |reply| {
            Request::Read(ReadRequest::Newest {
                views: views.clone(),
                at_least: at,
                begun: Some(begins),
                reply,
            })
        }));
    }
    let release = async {
        // Each is of that LSN now, or is answered without rows.
        join_all(begun).await;
        drop(holds);
    };
    let (answers, ()) = tokio::join!(join_all(asked), release);
    let (mut lsn, mut all) = (None, HashMap::new());
    for answer in answers {
        match answer? {
            Ok((read_at, rows)) if *lsn.get_or_insert(read_at) == read_at => all.extend(rows),
            // A view came to that thread just now, and took the others further.
            Ok(_) => return None,
            Err(error) => return Some(Err(error)),
        }
    }
    Some(Ok((lsn.unwrap_or(at), all)))
}
