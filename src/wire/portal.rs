//! [`Portal`]: a prepared statement with its parameters, and its answer as far as no Execute has fetched it.
//!
//! One rule: a portal runs once; its state holds the rest of its answer. Not here: the messages that make and read
//! portals (`extended.rs`).

use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::session::{Batches, CursorRows, Parameters, Prepared, RowsTag};
use crate::sql::field::OutField;

/// A statement bound to its parameters, and its answer as far as it was not fetched yet.
pub(super) struct Portal {
    pub prepared: Prepared,
    pub parameters: Parameters,
    /// As the client gave them: none, one for all, or one for each column.
    pub formats: Vec<i16>,
    pub state: PortalState,
}

#[cfg(test)]
impl Portal {
    /// One whose rows come from `batches`.
    pub fn running(prepared: Prepared, fields: Arc<[OutField]>, batches: Batches, tag: RowsTag) -> Portal {
        Portal {
            prepared,
            parameters: Parameters::default(),
            formats: Vec::new(),
            state: PortalState::Running {
                fields,
                batches,
                rest: None,
                tag,
            },
        }
    }
}

pub(super) enum PortalState {
    Bound,
    Running {
        fields: Arc<[OutField]>,
        batches: Batches,
        rest: Option<RecordBatch>,
        tag: RowsTag,
    },
    Done,
}

impl PortalState {
    pub fn running(rows: CursorRows, tag: RowsTag) -> PortalState {
        let CursorRows { fields, batches, rest } = rows;
        PortalState::Running {
            fields,
            batches,
            rest,
            tag,
        }
    }

    /// The rows that have not been read yet.
    pub fn rows(self) -> Option<CursorRows> {
        match self {
            PortalState::Running {
                fields, batches, rest, ..
            } => Some(CursorRows { fields, batches, rest }),
            PortalState::Bound | PortalState::Done => None,
        }
    }
}
