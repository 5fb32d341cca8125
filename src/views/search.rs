//! The search for the commit and the row that a view failed at.
//!
//! One rule: it builds the view anew beside the others, on the thread that runs it, so that it holds up only readers of that
//! view.
//!
//! Not here: which failures have a place (`failure.rs`), and when a search begins (`driver.rs`).

use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::error::SqlError;
use crate::log::Lsn;

use super::dataflow::Dataflow;
use super::failure::{ViewFailure, contained, has_place};
use super::pipeline::{FailureSearch, History};
use super::scan::LeafSource;

/// The failure with the commit and the row, as far as the search finds them.
pub fn locate(mut search: FailureSearch, history: &dyn History) -> ViewFailure {
    let mut failure = search.known_already();
    // A failure of the search leaves the range that is known already.
    let found = contained(|| Ok(locate_commit(&mut search, history, &mut failure)));
    let range = match found {
        Ok(true) => (failure.lsn - 1, failure.lsn),
        _ => (search.after, search.upto),
    };
    let view = search.copy.view(search.oid).expect("it was copied");
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
fn locate_commit(search: &mut FailureSearch, history: &dyn History, failure: &mut ViewFailure) -> bool {
    let copy = &mut search.copy;
    while copy.frontier() < search.after {
        if !copy.step_to(history, search.after).is_empty() {
            // It took this before, in other steps; the failure stays as it is known.
            return false;
        }
    }
    let (mut low, mut high) = (search.after, search.upto);
    while high - low > 1 {
        let Ok(saved) = copy.save() else { return false };
        let middle = low + (high - low) / 2;
        let mut failed = Vec::new();
        while failed.is_empty() && copy.frontier() < middle {
            failed = copy.step_to(history, middle);
        }
        match failed.into_iter().find(|(oid, _)| *oid == search.oid) {
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
        let LeafSource::Topic { reader, name, .. } = &scan.source else {
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
