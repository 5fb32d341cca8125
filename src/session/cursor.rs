//! Cursors: DECLARE, FETCH, MOVE, CLOSE. Forward only; a cursor reads at the position where it was declared.
//!
//! A cursor is a portal of the protocol, and the other way round: the wire takes a cursor out to answer Execute, and
//! lends a portal for a FETCH that names it.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::StreamExt;

use super::outcome::{CursorRows, Outcome, Parameters, Prepared, RowsTag};
use super::{Session, TransactionStatus};
use crate::error::{SqlError, state};
use crate::sql::field::OutField;
use crate::sql::parse::Parsed;
use crate::sql::statement::{Fetch, Select};

pub struct SqlCursor {
    rows: CursorRows,
    declared: Declared,
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
        SqlCursor { rows, declared: self }
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

    pub fn apart(self) -> (CursorRows, Declared) {
        (self.rows, self.declared)
    }

    pub(super) fn declared(&self) -> &Declared {
        &self.declared
    }

    /// Whether it outlives the end of a transaction.
    pub(super) fn stays(&self, committed: bool) -> bool {
        self.declared.hold && (committed || self.declared.survived_commit)
    }

    /// The next `count` rows, fewer at the end.
    async fn next(&mut self, count: u64) -> Result<Vec<RecordBatch>, SqlError> {
        let mut wanted = usize::try_from(count).unwrap_or(usize::MAX);
        let mut taken = Vec::new();
        while wanted > 0 {
            let batch = match self.rows.rest.take() {
                Some(batch) => batch,
                None => match self.rows.batches.next().await {
                    Some(batch) => batch?,
                    None => break,
                },
            };
            if batch.num_rows() > wanted {
                self.rows.rest = Some(batch.slice(wanted, batch.num_rows() - wanted));
                taken.push(batch.slice(0, wanted));
                break;
            }
            wanted -= batch.num_rows();
            taken.push(batch);
        }
        Ok(taken)
    }
}

impl Session {
    pub(super) async fn declare_cursor(
        &mut self,
        name: &str,
        select: &Arc<Select>,
        (hold, binary): (bool, bool),
        parameters: &Parameters,
    ) -> Result<Outcome, SqlError> {
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
            binary,
            hold,
            survived_commit,
            text: self.text.clone(),
            created_us: self.engine.clock.now_us(),
        };
        let cursor = declared.with(rows);
        self.cursors.insert(name.to_string(), cursor);
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
        let batches = cursor.next(fetch.count.unwrap_or(u64::MAX)).await?;
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

fn unknown_cursor(name: &str) -> SqlError {
    SqlError::new(state::INVALID_CURSOR_NAME, format!("cursor \"{name}\" does not exist"))
}
