//! [`ViewFailure`]: the error of a view that cannot take a commit, and the place of it in the log.
//!
//! One rule: the view reports a failure as soon as it meets it, before its place is known.
//!
//! Not here: the search for the place (`search.rs`).

use crate::error::{SqlError, state};
use crate::log::Lsn;
use crate::panics;

/// The place at which a view stopped, and the reason.
#[derive(Clone, Debug)]
pub struct ViewFailure {
    /// The first commit that it could not take, or, while that is unknown, the first that it may not have taken.
    pub lsn: Lsn,
    pub error: SqlError,
    /// The row that it stopped at, if it was found: topic, partition, offset.
    pub place: Option<(String, u32, u64)>,
    /// Name of the view that met the error; dependents name it too.
    pub view: String,
    /// The commit and the row are being looked for.
    pub searching: bool,
}

impl ViewFailure {
    /// The error of a reader of view `name` at or past that LSN.
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

/// Whether a search can find the row of an error: failures of memory or by a client's wish have no place in the log.
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
