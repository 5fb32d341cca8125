//! Cursors: DECLARE, FETCH, MOVE, CLOSE. A cursor reads at the position where it was declared.
//!
//! A SCROLL cursor keeps the rows that it has read, in the memory of queries. Any other goes forward only.
//!
//! A cursor is a portal of the protocol, and the other way round: the wire takes a cursor out to answer Execute, and
//! lends a portal for a FETCH that names it.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::StreamExt;

use super::outcome::{CursorRows, Outcome, Parameters, Prepared, RowsTag};
use super::{Session, TransactionStatus};
use crate::error::{SqlError, state};
use crate::query::Keeping;
use crate::sql::field::OutField;
use crate::sql::parse::Parsed;
use crate::sql::statement::{CursorDeclaration, Fetch, FetchRows, Select};

pub struct SqlCursor {
    rows: CursorRows,
    declared: Declared,
    /// The number of the row that it is at: 0 before the first, and one more than there are after the last.
    at: u64,
    /// It is after the last.
    ended: bool,
    /// The rows of `rows` that have been read, if it goes back to them.
    kept: Option<ScrolledRows>,
}

/// All rows that a cursor has read.
struct ScrolledRows {
    batches: Vec<RecordBatch>,
    count: u64,
    /// There are no more.
    whole: bool,
    memory: Keeping,
}

/// The declaration of a cursor.
#[derive(Clone)]
pub struct Declared {
    /// BINARY: FETCH sends its rows in binary.
    pub(super) binary: bool,
    /// WITH HOLD: outlives its transaction's commit.
    pub(super) hold: bool,
    pub(super) survived_commit: bool,
    /// The query string that declared it, and when, microseconds.
    pub(super) text: Arc<str>,
    pub(super) created_us: i64,
}

/// A portal of the protocol, as far as others may look at it.
pub(super) struct PortalFacts {
    pub parsed: Option<Arc<Parsed>>,
    pub fields: Option<Arc<[OutField]>>,
    pub created_us: i64,
}

impl Declared {
    pub fn with(self, rows: CursorRows) -> SqlCursor {
        SqlCursor {
            rows,
            declared: self,
            at: 0,
            ended: false,
            kept: None,
        }
    }
}

impl SqlCursor {
    /// A portal of the protocol, which ends with its transaction.
    pub fn of_portal(rows: CursorRows) -> SqlCursor {
        let declared = Declared {
            binary: false,
            hold: false,
            survived_commit: false,
            text: "".into(),
            created_us: 0,
        };
        declared.with(rows)
    }

    /// The rows that it has not given yet, and its declaration. It does not go back any more.
    pub fn apart(self) -> (CursorRows, Declared) {
        let mut rows = self.rows;
        if let Some(kept) = self.kept {
            let ahead = kept.slice(self.at, u64::MAX).into_iter().map(Ok);
            rows.batches = futures::stream::iter(ahead).chain(rows.batches).boxed();
        }
        (rows, self.declared)
    }

    pub(super) fn declared(&self) -> &Declared {
        &self.declared
    }

    pub(super) fn scrolls(&self) -> bool {
        self.kept.is_some()
    }

    /// Whether it outlives the end of a transaction.
    pub(super) fn stays(&self, committed: bool) -> bool {
        self.declared.hold && (committed || self.declared.survived_commit)
    }

    /// The next batch of the query.
    async fn read(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        match self.rows.rest.take() {
            Some(batch) => Ok(Some(batch)),
            None => self.rows.batches.next().await.transpose(),
        }
    }

    /// Reads on until the row of this number is kept, or there is none. How many rows are kept then.
    async fn keep_to(&mut self, number: u64) -> Result<u64, SqlError> {
        loop {
            let kept = self.kept.as_ref().expect("a cursor that keeps its rows");
            if kept.whole || kept.count >= number {
                return Ok(kept.count);
            }
            let batch = self.read().await?;
            let kept = self.kept.as_mut().expect("it has not changed");
            match batch {
                Some(batch) => {
                    kept.memory.take(&batch)?;
                    kept.count += batch.num_rows() as u64;
                    kept.batches.push(batch);
                }
                None => kept.whole = true,
            }
        }
    }

    /// The next `count` rows, fewer at the end.
    async fn next(&mut self, count: u64) -> Result<Vec<RecordBatch>, SqlError> {
        if self.kept.is_some() {
            let from = self.at;
            let there = self.keep_to(from.saturating_add(count)).await?;
            let from = from.min(there);
            self.at = match there - from < count {
                true => there + 1,
                false => from + count,
            };
            return Ok(self.kept.as_ref().expect("it keeps its rows").slice(from, count));
        }
        let mut wanted = count;
        let mut taken = Vec::new();
        while wanted > 0 && !self.ended {
            let Some(batch) = self.read().await? else {
                (self.at, self.ended) = (self.at + 1, true);
                break;
            };
            let rows = batch.num_rows().min(usize::try_from(wanted).unwrap_or(usize::MAX));
            if rows < batch.num_rows() {
                self.rows.rest = Some(batch.slice(rows, batch.num_rows() - rows));
            }
            wanted -= rows as u64;
            self.at += rows as u64;
            taken.push(batch.slice(0, rows));
        }
        Ok(taken)
    }

    /// The `count` rows before, from the nearest on; fewer at the start.
    fn back(&mut self, count: u64) -> Result<Vec<RecordBatch>, SqlError> {
        let kept = self.kept.as_ref().ok_or_else(scans_forward)?;
        if count == 0 {
            return Ok(Vec::new());
        }
        let before = self.at.saturating_sub(1);
        let found = before.min(count);
        let mut rows = Vec::new();
        for number in (before - found..before).rev() {
            rows.extend(kept.slice(number, 1));
        }
        self.at = match found < count {
            true => 0,
            false => before - found + 1,
        };
        Ok(rows)
    }

    /// The row that it is at.
    fn here(&self) -> Result<Vec<RecordBatch>, SqlError> {
        match &self.kept {
            Some(kept) if self.at > 0 => Ok(kept.slice(self.at - 1, 1)),
            None if self.is_on_row() => Err(scans_forward()),
            _ => Ok(Vec::new()),
        }
    }

    /// Of a cursor that goes forward.
    fn is_on_row(&self) -> bool {
        self.at > 0 && !self.ended
    }

    /// The row of this number, which a cursor that goes forward must not have passed.
    async fn row(&mut self, number: u64) -> Result<Vec<RecordBatch>, SqlError> {
        if self.kept.is_some() {
            self.at = number - 1;
        } else if number <= self.at {
            return Err(scans_forward());
        } else {
            self.next(number - 1 - self.at).await?;
        }
        self.next(1).await
    }

    async fn take(&mut self, rows: FetchRows) -> Result<Vec<RecordBatch>, SqlError> {
        match rows {
            FetchRows::Forward(count) => self.next(count.unwrap_or(u64::MAX)).await,
            FetchRows::Backward(count) => self.back(count.unwrap_or(u64::MAX)),
            FetchRows::Relative(0) => self.here(),
            FetchRows::Relative(distance @ 1..) => {
                self.next(distance.unsigned_abs() - 1).await?;
                self.next(1).await
            }
            FetchRows::Relative(distance) => {
                self.back(distance.unsigned_abs() - 1)?;
                self.back(1)
            }
            FetchRows::Absolute(number @ 1..) => self.row(number.unsigned_abs()).await,
            FetchRows::Absolute(0) => {
                if self.kept.is_none() && self.at > 0 {
                    return Err(scans_forward());
                }
                self.at = 0;
                Ok(Vec::new())
            }
            FetchRows::Absolute(number) => {
                if self.kept.is_none() {
                    return Err(scans_forward());
                }
                let count = self.keep_to(u64::MAX).await?;
                self.at = count + 1;
                self.back(number.unsigned_abs() - 1)?;
                self.back(1)
            }
        }
    }
}

impl ScrolledRows {
    /// `count` rows from the one with this number, from 0.
    fn slice(&self, from: u64, count: u64) -> Vec<RecordBatch> {
        let mut rows = Vec::new();
        let (mut skip, mut wanted) = (from, count);
        for batch in &self.batches {
            let length = batch.num_rows() as u64;
            if skip >= length {
                skip -= length;
                continue;
            }
            let taken = wanted.min(length - skip);
            if taken == 0 {
                break;
            }
            rows.push(batch.slice(skip as usize, taken as usize));
            (skip, wanted) = (0, wanted - taken);
        }
        rows
    }
}

impl Session {
    pub(super) async fn declare_cursor(
        &mut self,
        declaration: &CursorDeclaration,
        select: &Arc<Select>,
        parameters: &Parameters,
    ) -> Result<Outcome, SqlError> {
        let CursorDeclaration { name, hold, .. } = declaration;
        if !hold && self.status() == TransactionStatus::Idle {
            return Err(SqlError::new(
                state::NO_ACTIVE_SQL_TRANSACTION,
                "DECLARE CURSOR can only be used in transaction blocks",
            ));
        }
        if self.cursors.contains_key(name) {
            return Err(SqlError::new(
                state::DUPLICATE_CURSOR,
                format!("cursor \"{name}\" already exists"),
            ));
        }
        let survived_commit = self.status() == TransactionStatus::Idle;
        let (fields, batches) = self.rows_of(select, parameters).await?;
        let rest = None;
        let rows = CursorRows { fields, batches, rest };
        let declared = Declared {
            binary: declaration.binary,
            hold: *hold,
            survived_commit,
            text: self.text.clone(),
            created_us: self.engine.clock.now_us(),
        };
        let mut cursor = declared.with(rows);
        cursor.kept = declaration.scroll.then(|| ScrolledRows {
            batches: Vec::new(),
            count: 0,
            whole: false,
            memory: self.engine.query.keep(),
        });
        self.cursors.insert(name.clone(), cursor);
        Ok(Outcome::Command("DECLARE CURSOR".to_string()))
    }

    fn cursor(&mut self, name: &str) -> Result<&mut SqlCursor, SqlError> {
        self.cursors.get_mut(name).ok_or_else(|| unknown_cursor(name))
    }

    pub fn cursor_fields(&self, name: &str) -> Result<Vec<OutField>, SqlError> {
        self.cursors
            .get(name)
            .map(|cursor| &cursor.rows.fields)
            .or_else(|| self.portals.get(name)?.fields.as_ref())
            .map(|fields| fields.to_vec())
            .ok_or_else(|| unknown_cursor(name))
    }

    /// A portal of the protocol is there, until [`Session::forget_portal`] or the transaction's end.
    pub fn note_portal(&mut self, name: &str, prepared: &Prepared) {
        let portal = PortalFacts {
            parsed: prepared.parsed.clone(),
            fields: prepared.fields.clone(),
            created_us: self.engine.clock.now_us(),
        };
        self.portals.insert(name.to_string(), portal);
    }

    pub fn forget_portal(&mut self, name: &str) {
        self.portals.remove(name);
    }

    pub fn forget_portals(&mut self) {
        self.portals.clear();
    }

    /// Whether FETCH sends a cursor's rows in binary.
    pub fn is_binary_cursor(&self, name: &str) -> bool {
        self.cursors.get(name).is_some_and(|cursor| cursor.declared.binary)
    }

    /// Takes a cursor out, to be put back; 25P02 in a transaction that has failed.
    pub fn take_cursor(&mut self, name: &str) -> Result<Option<SqlCursor>, SqlError> {
        if self.failed {
            return Err(super::failed_transaction());
        }
        Ok(self.cursors.remove(name))
    }

    pub fn put_cursor(&mut self, name: &str, cursor: SqlCursor) {
        self.cursors.insert(name.to_string(), cursor);
    }

    pub(super) async fn fetch(&mut self, fetch: &Fetch) -> Result<Outcome, SqlError> {
        let cursor = self.cursor(&fetch.cursor)?;
        // A cursor that goes forward stands on a row that it need not give again to be moved nowhere.
        let batches = match fetch.rows {
            FetchRows::Relative(0) if fetch.is_move && cursor.kept.is_none() => {
                let rows = usize::from(cursor.is_on_row());
                return Ok(Outcome::Command(format!("MOVE {rows}")));
            }
            rows => cursor.take(rows).await?,
        };
        if fetch.is_move {
            let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
            return Ok(Outcome::Command(format!("MOVE {rows}")));
        }
        let fields = cursor.rows.fields.clone();
        let batches = futures::stream::iter(batches.into_iter().map(Ok)).boxed();
        Ok(Outcome::Rows {
            fields,
            batches,
            tag: RowsTag::Fetch,
        })
    }

    pub(super) fn close_cursor(&mut self, name: Option<&str>) -> Result<Outcome, SqlError> {
        match name {
            None => self.cursors.clear(),
            Some(name) => {
                self.cursors.remove(name).ok_or_else(|| unknown_cursor(name))?;
            }
        }
        let tag = if name.is_none() {
            "CLOSE CURSOR ALL"
        } else {
            "CLOSE CURSOR"
        };
        Ok(Outcome::Command(tag.to_string()))
    }

    /// At COMMIT, cursors WITH HOLD become independent of the transaction.
    pub(super) fn keep_held_cursors(&mut self) {
        for cursor in self.cursors.values_mut() {
            cursor.declared.survived_commit |= cursor.declared.hold;
        }
    }
}

fn scans_forward() -> SqlError {
    SqlError::new(state::OBJECT_NOT_IN_PREREQUISITE_STATE, "cursor can only scan forward")
        .hint("Declare it with SCROLL option to enable backward scan.")
}

fn unknown_cursor(name: &str) -> SqlError {
    SqlError::new(state::INVALID_CURSOR_NAME, format!("cursor \"{name}\" does not exist"))
}
