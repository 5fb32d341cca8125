//! Errors of the engine that PostgreSQL words otherwise, known by a phrase of their text.
//!
//! One rule: each row of [`PHRASES`] names a statement that provokes it, and a test runs all of them. An error that no row knows is
//! XX000 with the engine's words.

use crate::error::{SqlError, SqlState, state};

/// An error of the engine's.
#[derive(Debug)]
pub struct Phrase {
    /// A part of the engine's text, in lower case.
    pub text: &'static str,
    pub state: SqlState,
    /// PostgreSQL's message.
    pub message: &'static str,
    /// Statements, the last of which provokes it.
    #[cfg_attr(not(test), expect(dead_code, reason = "the test of the table runs it"))]
    pub provoked_by: &'static [&'static str],
}

const INVALID_ROW_COUNT_IN_LIMIT: SqlState = SqlState("2201W");
const INVALID_ROW_COUNT_IN_OFFSET: SqlState = SqlState("2201X");
const INVALID_ARGUMENT_OF_NTILE: SqlState = SqlState("22014");

pub const PHRASES: &[Phrase] = &[
    Phrase {
        text: "limit must be >= 0",
        state: INVALID_ROW_COUNT_IN_LIMIT,
        message: "LIMIT must not be negative",
        provoked_by: &[
            "PREPARE negative_limit AS SELECT 1 LIMIT $1",
            "EXECUTE negative_limit(-1)",
        ],
    },
    Phrase {
        text: "offset must be >=0",
        state: INVALID_ROW_COUNT_IN_OFFSET,
        message: "OFFSET must not be negative",
        provoked_by: &[
            "PREPARE negative_offset AS SELECT 1 OFFSET $1",
            "EXECUTE negative_offset(-1)",
        ],
    },
    Phrase {
        text: "step cannot be zero",
        state: state::INVALID_PARAMETER_VALUE,
        message: "step size cannot equal zero",
        provoked_by: &["SELECT * FROM generate_series(1, 10, 0)"],
    },
    Phrase {
        text: "step interval cannot be zero",
        state: state::INVALID_PARAMETER_VALUE,
        message: "step size cannot equal zero",
        provoked_by: &["SELECT * FROM generate_series(timestamp '2020-01-01', timestamp '2020-01-02', interval '0')"],
    },
    Phrase {
        text: "ntile requires a positive integer",
        state: INVALID_ARGUMENT_OF_NTILE,
        message: "argument of ntile must be greater than zero",
        provoked_by: &["SELECT ntile(0) OVER ()"],
    },
    Phrase {
        text: "delimiter must be a string literal",
        state: state::FEATURE_NOT_SUPPORTED,
        message: "the delimiter of string_agg must be a constant",
        provoked_by: &["SELECT string_agg(a, a) OVER () FROM (VALUES ('a')) AS t(a)"],
    },
    Phrase {
        text: "cannot be larger than end bound",
        state: state::FEATURE_NOT_SUPPORTED,
        message: "a frame that ends before it starts is not supported",
        provoked_by: &["SELECT sum(a) OVER (ROWS BETWEEN 1 PRECEDING AND 2 PRECEDING) FROM (VALUES (1)) AS t(a)"],
    },
];

impl Phrase {
    /// The error, if the engine's text has the phrase; `lower` is the same text in lower case.
    fn read(&self, lower: &str) -> Option<SqlError> {
        lower
            .contains(self.text)
            .then(|| SqlError::new(self.state, self.message))
    }
}

/// PostgreSQL's error for a text of the engine's.
pub fn read(engine: &str) -> Option<SqlError> {
    let lower = engine.to_ascii_lowercase();
    let mut rows = PHRASES.iter().enumerate();
    let (_row, error) = rows.find_map(|(row, phrase)| Some((row, phrase.read(&lower)?)))?;
    #[cfg(test)]
    super::tests::note(_row);
    Some(error)
}
