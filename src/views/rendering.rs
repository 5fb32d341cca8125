//! The readings that a driver has under way: views whose rows are being made, and the requests that wait for them.
//!
//! One rule: a reading is of the LSN at which it began, for all of its views (V3), however far these go on meanwhile. A view is
//! rendered for one LSN at a time, and those that are rendered take turns.

use std::collections::{HashMap, HashSet, VecDeque};

use tokio::sync::oneshot;

use crate::error::SqlError;
use crate::log::Lsn;

use super::ViewRows;

/// A newest consistent reading of several views.
pub type ViewsReading = Result<(Lsn, HashMap<u32, ViewRows>), SqlError>;

/// A reader's request.
pub enum ReadRequest {
    /// `begun` is dropped once it is decided which LSN it is, at the latest: the views may go on then.
    Newest {
        views: Vec<u32>,
        at_least: Lsn,
        begun: Option<oneshot::Sender<()>>,
        reply: oneshot::Sender<ViewsReading>,
    },
    At {
        view: u32,
        at: Lsn,
        reply: oneshot::Sender<Result<Option<ViewRows>, SqlError>>,
    },
}

impl ReadRequest {
    /// The views, each once.
    pub fn views(&self) -> HashSet<u32> {
        match self {
            ReadRequest::Newest { views, .. } => views.iter().copied().collect(),
            ReadRequest::At { view, .. } => HashSet::from([*view]),
        }
    }

    /// Its LSN is decided.
    pub fn begin(&mut self) {
        if let ReadRequest::Newest { begun, .. } = self {
            begun.take();
        }
    }

    /// Whether somebody still waits for the answer.
    pub fn is_wanted(&self) -> bool {
        match self {
            ReadRequest::Newest { reply, .. } => !reply.is_closed(),
            ReadRequest::At { reply, .. } => !reply.is_closed(),
        }
    }

    /// Answers with rows of that LSN.
    fn answer(self, at: Lsn, mut rows: HashMap<u32, ViewRows>) {
        // A reader that has gone needs no answer, here as below.
        match self {
            ReadRequest::Newest { reply, .. } => drop(reply.send(Ok((at, rows)))),
            ReadRequest::At { view, reply, .. } => drop(reply.send(Ok(rows.remove(&view)))),
        }
    }

    pub fn refuse(self, error: SqlError) {
        match self {
            ReadRequest::Newest { reply, .. } => drop(reply.send(Err(error))),
            ReadRequest::At { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}

/// A view whose turn it is, and the LSN that it is rendered for.
#[derive(Clone, Copy)]
pub struct Turn {
    pub oid: u32,
    pub at: Lsn,
}

/// A request whose rows are not all there yet.
struct OpenReading {
    request: ReadRequest,
    at: Lsn,
    rows: HashMap<u32, ViewRows>,
    open: HashSet<u32>,
}

#[derive(Default)]
pub struct Renderings {
    turns: VecDeque<Turn>,
    readings: Vec<OpenReading>,
}

impl Renderings {
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    pub fn has(&self, oid: u32) -> bool {
        self.at(oid).is_some()
    }

    /// The LSN that a view is rendered for.
    pub fn at(&self, oid: u32) -> Option<Lsn> {
        self.turns.iter().find(|turn| turn.oid == oid).map(|turn| turn.at)
    }

    /// A view is rendered from now on.
    pub fn begin(&mut self, oid: u32, at: Lsn) {
        assert!(!self.has(oid), "a view is rendered for one LSN at a time");
        self.turns.push_back(Turn { oid, at });
    }

    /// A request waits for views that are rendered for this LSN; it is answered at once if there are none.
    pub fn wait(&mut self, request: ReadRequest, at: Lsn, rows: HashMap<u32, ViewRows>, open: HashSet<u32>) {
        assert!(
            open.iter().all(|oid| self.at(*oid) == Some(at)),
            "V3: a query never sees two views at different LSNs"
        );
        if open.is_empty() {
            return request.answer(at, rows);
        }
        self.readings.push(OpenReading {
            request,
            at,
            rows,
            open,
        });
    }

    /// The view whose turn it is; the others come before it is its turn again.
    pub fn next_turn(&mut self) -> Option<Turn> {
        self.turns.rotate_left(usize::from(self.turns.len() > 1));
        self.turns.back().copied()
    }

    /// The rows of a view are there: readings that have all of theirs are answered.
    pub fn finish(&mut self, oid: u32, rows: &ViewRows) {
        self.turns.retain(|turn| turn.oid != oid);
        for mut reading in std::mem::take(&mut self.readings) {
            if reading.open.remove(&oid) {
                reading.rows.insert(oid, rows.clone());
            }
            match reading.open.is_empty() {
                true => reading.request.answer(reading.at, reading.rows),
                false => self.readings.push(reading),
            }
        }
    }

    /// A view is no longer rendered. The requests that waited for it.
    pub fn give_up(&mut self, oid: u32) -> Vec<ReadRequest> {
        self.turns.retain(|turn| turn.oid != oid);
        let all = std::mem::take(&mut self.readings).into_iter();
        let (waited, others) = all.partition(|reading| reading.open.contains(&oid));
        self.readings = others;
        let waited: Vec<OpenReading> = waited;
        waited.into_iter().map(|reading| reading.request).collect()
    }

    /// Forgets readings that nobody waits for. The views that are no longer rendered then.
    pub fn forget_unwanted(&mut self) -> Vec<u32> {
        self.readings.retain(|reading| reading.request.is_wanted());
        let is_wanted = |turn: &Turn| self.readings.iter().any(|reading| reading.open.contains(&turn.oid));
        let (wanted, unwanted): (VecDeque<Turn>, VecDeque<Turn>) = self.turns.drain(..).partition(is_wanted);
        self.turns = wanted;
        unwanted.into_iter().map(|turn| turn.oid).collect()
    }
}
