//! Views at a start: built from the log, or left off so that a user can drop a view that ends the server.
//!
//! One rule: a file counts the starts that die while they build views: a start writes it before, and removes it once the views
//! are ready. After [`DEATHS_MAX`] such starts the next one leaves them off.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::catalog::{Relation, Snapshot, View};
use crate::error::{SqlError, state};
use crate::panics;
use crate::session::{self, Engine};
use crate::storage::Disk;

use super::ServerError;

/// Starts that may die while they build views before one leaves them off.
const DEATHS_MAX: u32 = 2;
/// The file, in the data directory.
const FILE_NAME: &str = "views-starting";
/// Views that are built within this are ready when the server is.
const QUICK: Duration = Duration::from_millis(250);

/// Options of the views' maintenance.
#[derive(Clone, Copy, Debug)]
pub struct ViewOptions {
    /// Memory for the states of all views, bytes.
    pub memory_bytes_max: usize,
    /// Not at all.
    pub off: bool,
}

/// The number of starts in a row that died while they built views.
pub(super) struct Deaths {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

impl Deaths {
    fn path(&self) -> PathBuf {
        self.dir.join(FILE_NAME)
    }

    /// 0 if there is no such file; one that was torn counts as one death.
    fn count(&self) -> io::Result<u32> {
        let file = match self.disk.open(&self.path()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        let mut text = vec![0; usize::try_from(file.len()?.min(16)).unwrap_or(0)];
        file.read_at(0, &mut text)?;
        let text = String::from_utf8_lossy(&text);
        Ok(text.trim().parse().unwrap_or(1))
    }

    fn set(&self, count: u32) -> io::Result<()> {
        let partial = self.dir.join(format!("{FILE_NAME}.tmp"));
        remove(&*self.disk, &partial)?;
        let file = self.disk.create(&partial)?;
        file.write_synced(0, &[format!("{count}\n").as_bytes()])?;
        self.disk.rename(&partial, &self.path())?;
        self.disk.sync_dir(&self.dir)
    }

    /// The views are ready, or another failure ended the server.
    pub(super) fn clear(&self) {
        let cleared = remove(&*self.disk, &self.path()).and_then(|()| self.disk.sync_dir(&self.dir));
        if let Err(error) = cleared {
            warn!(%error, "{FILE_NAME} cannot be removed");
        }
    }
}

fn remove(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Begins to build every incremental view from the log, or leaves all of them off.
pub(super) async fn start(
    engine: &Arc<Engine>,
    disk: Arc<dyn Disk>,
    dir: &Path,
    options: ViewOptions,
) -> Result<Arc<Deaths>, ServerError> {
    let deaths = Arc::new(Deaths {
        disk,
        dir: dir.to_path_buf(),
    });
    let catalog = engine.catalog.current();
    let views = incremental(&catalog);
    let count = deaths.count().unwrap_or_else(|error| {
        warn!(%error, "{FILE_NAME} cannot be read");
        0
    });
    if options.off || count >= DEATHS_MAX {
        let why = why_off(options.off, count);
        if !options.off {
            warn!(
                "the last {count} starts ended while they built views: this one leaves all {} views off, so that they \
                 can be dropped; the next one builds them again",
                views.len()
            );
        }
        let names = views.iter().map(|view| (view.oid, view.name.clone()));
        engine.views.turn_off(names.collect(), &why);
        deaths.clear();
        return Ok(deaths);
    }
    if views.is_empty() {
        return Ok(deaths);
    }
    if let Err(error) = deaths.set(count + 1) {
        warn!(%error, "{FILE_NAME} cannot be written: a start that dies while it builds views is not counted");
    }
    let began_us = engine.clock.monotonic_us();
    let planned = views.into_iter().map(|view| {
        let dataflow = panics::catch(|| session::compile_view(&catalog, &view)).and_then(|dataflow| dataflow);
        (view.oid, view, dataflow)
    });
    let mut ready = engine.views.restore(planned.collect()).await?;
    let done = {
        let (deaths, clock) = (deaths.clone(), engine.clock.clone());
        move |count: Option<usize>| {
            deaths.clear();
            if let Some(views) = count {
                let ms = (clock.monotonic_us() - began_us) / 1000;
                info!(views, ms, "all views are ready");
            }
        }
    };
    match tokio::time::timeout(QUICK, &mut ready).await {
        Ok(count) => done(count.ok()),
        Err(_) => {
            // It ends with the views at the latest.
            tokio::spawn(async move { done(ready.await.ok()) });
        }
    }
    Ok(deaths)
}

/// OIDs grow, and a view can only name older relations: their order is one of dependency.
fn incremental(catalog: &Snapshot) -> Vec<Arc<View>> {
    let views = catalog.relations.values().filter_map(|relation| match relation {
        Relation::View(view) if view.materialized && view.recomputed.is_none() => Some(view.clone()),
        _ => None,
    });
    views.collect()
}

/// The error of a reader of a view that is off.
fn why_off(asked: bool, deaths: u32) -> SqlError {
    let (message, hint) = match asked {
        true => (
            "the server was started without views".to_string(),
            "Drop the views that you do not want, and start the server without --without-views.",
        ),
        false => (
            format!("the last {deaths} starts of the server ended while they built views"),
            "Drop the view that is too much for the server, and restart it: the next start builds views again.",
        ),
    };
    SqlError::new(state::OBJECT_NOT_IN_PREREQUISITE_STATE, message).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::RealDisk;

    #[test]
    fn deaths_are_counted_until_they_are_cleared() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let deaths = Deaths {
            disk: RealDisk::shared(),
            dir: dir.path().to_path_buf(),
        };
        assert_eq!(deaths.count().expect("readable"), 0);
        deaths.clear();
        for count in [1, 2] {
            deaths.set(count).expect("written");
            assert_eq!(deaths.count().expect("readable"), count);
        }
        deaths.clear();
        assert_eq!(deaths.count().expect("readable"), 0);
    }
}
