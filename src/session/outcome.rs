//! Answers of statements before the wire gives them a form, a client's parameters, and COPY in progress.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use futures::stream::{BoxStream, StreamExt};
use parking_lot::Mutex;

use super::is_ddl;
use crate::catalog;
use crate::error::{SqlError, state};
use crate::query::Reuse;
use crate::sql::field::OutField;
use crate::sql::parse::Parsed;
use crate::sql::plan::Planned;
use crate::sql::returning;
use crate::sql::rows::{Constants, RowExprs};
use crate::sql::statement::{CopyFormat, Statement};
use crate::types::PgType;

/// Rows on their way to a client. Columns are those of the outcome's fields.
pub type Batches = BoxStream<'static, Result<RecordBatch, SqlError>>;

/// Rows that have not been read yet.
pub struct CursorRows {
    pub fields: Arc<[OutField]>,
    pub batches: Batches,
    /// Rows that were read from `batches` and not fetched yet.
    pub rest: Option<RecordBatch>,
}

/// The form of the command tag of a statement with rows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RowsTag {
    /// `SELECT n`
    Select,
    /// `FETCH n`
    Fetch,
    /// `INSERT 0 n`
    Insert,
    /// `CONSUME n`
    Consume,
    /// A tag without a number: `SHOW`, `EXPLAIN`.
    Fixed(&'static str),
}

impl RowsTag {
    pub fn text(&self, rows: u64) -> String {
        match self {
            RowsTag::Select => format!("SELECT {rows}"),
            RowsTag::Fetch => format!("FETCH {rows}"),
            RowsTag::Insert => format!("INSERT 0 {rows}"),
            RowsTag::Consume => format!("CONSUME {rows}"),
            RowsTag::Fixed(tag) => (*tag).to_string(),
        }
    }
}

pub enum Outcome {
    Rows {
        fields: Arc<[OutField]>,
        batches: Batches,
        tag: RowsTag,
    },
    /// The complete command tag.
    Command(String),
    CopyIn(CopyIn),
    CopyOut {
        fields: Arc<[OutField]>,
        batches: Batches,
        format: CopyFormat,
    },
    Empty,
}

impl Outcome {
    /// An answer that is known already.
    pub fn table(fields: Vec<OutField>, batch: RecordBatch, tag: RowsTag) -> Outcome {
        let batches = futures::stream::iter([Ok(batch)]).boxed();
        Outcome::Rows {
            fields: fields.into(),
            batches,
            tag,
        }
    }
}

/// Types and values of `$1`, `$2`, ...: arrays of one element.
#[derive(Clone, Default, Debug)]
pub struct Parameters {
    pub values: Vec<(PgType, ArrayRef)>,
    /// Of the message that they came in.
    pub bytes: usize,
}

impl Parameters {
    pub(super) fn types(&self) -> Vec<Option<PgType>> {
        self.values.iter().map(|(pg_type, _)| Some(pg_type.clone())).collect()
    }
}

/// A statement that was parsed and described once and can run many times.
#[derive(Clone)]
pub struct Prepared {
    /// `None` for an empty query string.
    pub parsed: Option<Arc<Parsed>>,
    pub parameter_types: Arc<[PgType]>,
    /// The columns of its answer; `None` if it answers no rows.
    pub fields: Option<Arc<[OutField]>>,
    /// The plan of a SELECT with the catalog version and settings that it was made under.
    pub(super) plan: Option<Arc<CachedPlan>>,
    /// Constants that an INSERT made of its literals when it last ran.
    pub(super) constants: Arc<Mutex<Option<Arc<Constants>>>>,
}

impl Prepared {
    /// Of a cursor that was declared by SQL: it runs already.
    pub fn of_fields(fields: Arc<[OutField]>) -> Prepared {
        Prepared {
            parsed: None,
            parameter_types: [].into(),
            fields: Some(fields),
            plan: None,
            constants: Arc::default(),
        }
    }

    /// 0A000 if the answer has other columns than were described: the statement's relations have changed since.
    pub(super) fn check_fields(&self, fields: &[OutField]) -> Result<(), SqlError> {
        let Some(described) = &self.fields else {
            return Ok(());
        };
        let is_query = self.parsed.as_ref().is_some_and(|parsed| {
            matches!(
                parsed.statement,
                Statement::Select(_) | Statement::Insert(_) | Statement::With(_)
            )
        });
        let same = |a: &OutField, b: &OutField| {
            let is_stored = a.table_oid != 0 && b.table_oid != 0;
            a.pg_type.oid() == b.pg_type.oid()
                && (!is_query || a.name == b.name)
                && (!is_stored || a.pg_type.typmod() == b.pg_type.typmod())
        };
        if described.len() == fields.len() && described.iter().zip(fields).all(|(a, b)| same(a, b)) {
            return Ok(());
        }
        // pgjdbc prepares a statement again by the routine that raises this.
        Err(
            SqlError::new(state::FEATURE_NOT_SUPPORTED, "cached plan must not change result type")
                .routine("RevalidateCachedQuery"),
        )
    }

    /// Its rows when there are no more.
    pub fn no_rows(&self) -> CursorRows {
        CursorRows {
            fields: self.fields.clone().unwrap_or_default(),
            batches: futures::stream::empty().boxed(),
            rest: None,
        }
    }

    /// Whether it may answer more, or meets less trouble, as the only statement of its pipeline.
    pub fn runs_better_alone(&self) -> bool {
        match self.parsed.as_ref().map(|parsed| &parsed.statement) {
            Some(Statement::Insert(insert)) => returning::places(insert).is_ok_and(|places| !places.is_empty()),
            Some(statement) => is_ddl(statement),
            None => false,
        }
    }
}

/// A plan, and the state that must be unchanged for it to be used again.
pub struct CachedPlan {
    pub planned: Arc<Planned>,
    pub reuse: Arc<Reuse>,
    pub catalog_version: u64,
    pub time_zone: Arc<str>,
    pub search_path: Arc<[String]>,
}

/// A COPY FROM STDIN in progress. The wire decodes rows of `columns` and hands them to the session.
#[derive(Clone)]
pub struct CopyIn {
    /// The topic's name, for the CONTEXT line of errors.
    pub table: String,
    pub columns: Vec<(String, PgType)>,
    pub format: CopyFormat,
    /// Indexes of `columns` among the topic's.
    pub(super) targets: Vec<usize>,
    pub(super) topic: Arc<catalog::Topic>,
    pub(super) exprs: Arc<RowExprs>,
    pub(super) rows: u64,
}
