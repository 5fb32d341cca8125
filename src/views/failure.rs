//! A view that cannot take a commit: its error at once, and the search for the commit and the row.
//!
//! One rule: the view reports a failure as soon as it meets it. The search for its place holds up only readers of that
//! view: it builds the view anew beside the others, on the thread that runs it.

use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::error::{SqlError, state};
use crate::log::Lsn;
use crate::panics;

use super::dataflow::Dataflow;
use super::pipeline::{History, Pipeline};
use super::scan::Source;

/// Where a view stopped, and why.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The first commit that it could not take, or, while nobody knows better, the first that it may not have taken.
    pub lsn: Lsn,
    pub error: SqlError,
    /// The row that it stopped at, if it was found: topic, partition, offset.
    pub place: Option<(String, u32, u64)>,
    /// Name of the view that met the error; dependents name it too.
    pub view: String,
    /// The commit and the row are being looked for.
    pub searching: bool,
}

impl Failure {
    /// What a reader of view `name` at or past that LSN is told.
    pub fn report(&self, name: &str) -> SqlError {
        let mut error = self.error.clone();
        error.position = None;
        if name != self.view {
            error.message = format!(
                "materialized view \"{}\" that \"{name}\" reads failed: {}",
                self.view, error.message
            );
        }
        error.context = Some(format!(
            "materialized view \"{}\", stopped before LSN {}{}",
            self.view,
            self.lsn,
            self.at()
        ));
        if error.hint.is_none() {
            error.hint =
                Some("Drop the view and create it again with a definition that accepts these rows.".to_string());
        }
        error
    }

    /// The same in one line.
    pub fn reason(&self, name: &str) -> String {
        let through = match name == self.view {
            true => String::new(),
            false => format!("materialized view \"{}\" that it reads failed: ", self.view),
        };
        let detail = self.error.detail.as_ref().map(|detail| format!(" {detail}"));
        format!("{through}{}{}{}", self.error, self.at(), detail.unwrap_or_default())
    }

    fn at(&self) -> String {
        match &self.place {
            Some((topic, partition, offset)) => {
                format!(", at topic \"{topic}\", partition {partition}, offset {offset}")
            }
            None => String::new(),
        }
    }
}

/// Whether looking for the row can find one: what comes of memory or of the clients' wishes has no place in the log.
pub fn has_place(error: &SqlError) -> bool {
    ![state::OUT_OF_MEMORY, state::QUERY_CANCELED].contains(&error.state)
}

/// A panic in a view's own work, as its error. Text that outgrows an array ends in one, too.
pub fn contained<T>(work: impl FnOnce() -> Result<T, SqlError>) -> Result<T, SqlError> {
    let error = match panics::catch(work) {
        Ok(result) => return result,
        Err(error) => error,
    };
    let text = error.message.to_lowercase();
    if text.contains("offset") && text.contains("overflow") || text.contains("byte array offset") {
        let limit = SqlError::new(state::PROGRAM_LIMIT_EXCEEDED, "a batch of the view's rows is too large");
        return Err(limit.detail("All texts of a batch together may take 2 GiB."));
    }
    Err(error)
}

/// Looks for the commit that a view failed at, and the row.
pub struct FailureSearch {
    pub oid: u32,
    /// What is known without it.
    known: Failure,
    /// The view and all that it reads, at LSN 0.
    copy: Pipeline,
    /// It has taken this commit.
    after: Lsn,
    /// It has not taken all up to this one.
    upto: Lsn,
}

impl FailureSearch {
    pub fn new(oid: u32, known: Failure, copy: Pipeline, after: Lsn, upto: Lsn) -> FailureSearch {
        FailureSearch {
            oid,
            known,
            copy,
            after,
            upto,
        }
    }

    /// What is known without it.
    pub fn known(&self) -> Failure {
        Failure {
            searching: false,
            ..self.known.clone()
        }
    }

    /// What is known in the end.
    pub fn run(mut self, history: &dyn History) -> Failure {
        let mut failure = self.known();
        // What goes wrong in the search leaves what is known already.
        let found = contained(|| Ok(self.commit(history, &mut failure)));
        let range = match found {
            Ok(true) => (failure.lsn - 1, failure.lsn),
            _ => (self.after, self.upto),
        };
        let view = self.copy.view(self.oid).expect("it was copied");
        let dataflow = view.instance.dataflow().clone();
        let exact = matches!(found, Ok(true));
        let mut error = failure.error.clone();
        if let Ok(Some((place, lsn))) = contained(|| Ok(locate_row(history, &dataflow, range, exact, &mut error))) {
            failure.place = Some(place);
            failure.error = error;
            failure.lsn = lsn;
        }
        failure
    }

    /// The first commit that the view cannot take, found by building it anew up to the last that it took and halving from
    /// there. False if it is not found.
    fn commit(&mut self, history: &dyn History, failure: &mut Failure) -> bool {
        let copy = &mut self.copy;
        while copy.frontier() < self.after {
            if !copy.step_to(history, self.after).is_empty() {
                // It took this before, in other steps; say what is known.
                return false;
            }
        }
        let (mut low, mut high) = (self.after, self.upto);
        while high - low > 1 {
            let Ok(saved) = copy.save() else { return false };
            let middle = low + (high - low) / 2;
            let mut failed = Vec::new();
            while failed.is_empty() && copy.frontier() < middle {
                failed = copy.step_to(history, middle);
            }
            match failed.into_iter().find(|(oid, _)| *oid == self.oid) {
                None => low = middle,
                Some((_, error)) if has_place(&error) => {
                    high = copy.frontier();
                    failure.error = error;
                    if copy.restore(saved).is_err() {
                        return false;
                    }
                }
                Some(_) => return false,
            }
        }
        failure.lsn = high;
        true
    }
}

/// The first row of the commits in (after, upto] that the view's expressions fail on, its commit, and its error; if all is one
/// commit that fails, else that commit's first row.
fn locate_row(
    history: &dyn History,
    dataflow: &Arc<Dataflow>,
    (after, upto): (Lsn, Lsn),
    exact: bool,
    error: &mut SqlError,
) -> Option<((String, u32, u64), Lsn)> {
    let mut first = None;
    let mut found: Option<((String, u32, u64), Lsn, SqlError)> = None;
    for (node, scan) in dataflow.scans() {
        let Source::Topic { reader, name, .. } = &scan.source else {
            continue;
        };
        let mut columns: Vec<usize> = scan.topic_columns().collect();
        columns.sort_unstable();
        columns.dedup();
        for extent in history.read(reader, after, upto).ok()? {
            let Some(chunk) = extent.load_columns(&columns).ok()? else {
                continue;
            };
            if chunk.rows.num_rows() == 0 {
                continue;
            }
            first.get_or_insert((name.clone(), chunk.partition, chunk.base_offset));
            let batches = scan.topic_batches(std::slice::from_ref(&chunk), &columns).ok()?;
            let mut row = 0;
            for batch in batches {
                if let Err(met) = contained(|| dataflow.probe(node, batch.clone())) {
                    let (within, met) = first_failing(dataflow, node, &batch, met);
                    let lsn = chunk.lsn_of(row + within);
                    let place = (name.clone(), chunk.partition, chunk.base_offset + (row + within) as u64);
                    if found.as_ref().is_none_or(|(_, before, _)| lsn < *before) {
                        found = Some((place, lsn, met));
                    }
                    break;
                }
                row += batch.num_rows();
            }
        }
        if exact && found.is_some() {
            break;
        }
    }
    match found {
        Some((place, lsn, met)) => {
            *error = met;
            Some((place, lsn))
        }
        None => first.filter(|_| exact).map(|place| (place, upto)),
    }
}

/// Halves a batch that fails down to its first row that does.
fn first_failing(dataflow: &Dataflow, scan: usize, batch: &RecordBatch, met: SqlError) -> (usize, SqlError) {
    let (mut start, mut rows, mut error) = (0, batch.num_rows(), met);
    while rows > 1 {
        let half = rows / 2;
        match contained(|| dataflow.probe(scan, batch.slice(start, half))) {
            Err(met) => (rows, error) = (half, met),
            Ok(()) => (start, rows) = (start + half, rows - half),
        }
    }
    if let Err(met) = contained(|| dataflow.probe(scan, batch.slice(start, rows))) {
        error = met;
    }
    (start, error)
}
