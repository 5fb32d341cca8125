//! Errors of the engine that PostgreSQL words otherwise, known by a phrase of their text.
//!
//! One rule: each row of [`PHRASES`] names a statement that provokes it, and a test runs all of them. An error that no row knows is
//! XX000 with the engine's words.

use crate::error::{SqlError, SqlState, state};

/// An error of the engine's.
#[derive(Debug)]
pub struct Phrase {
    /// A part of the engine's text, in lower case; `{}` is any value in it.
    pub text: &'static str,
    pub state: SqlState,
    /// PostgreSQL's message; `{}` is the value.
    pub message: &'static str,
    /// Statements of which the last one provokes it.
    #[cfg_attr(not(test), expect(dead_code, reason = "the test of the table runs it"))]
    pub provoked_by: &'static [&'static str],
}

const INVALID_FRAME_OFFSET: SqlState = SqlState("22013");
const INVALID_ROW_COUNT_IN_LIMIT: SqlState = SqlState("2201W");
const INVALID_ROW_COUNT_IN_OFFSET: SqlState = SqlState("2201X");
const INVALID_ARGUMENT_OF_NTILE: SqlState = SqlState("22014");

const NO_RANGE: &str = "RANGE with offset PRECEDING/FOLLOWING is not supported for this column type";

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
        text: "literal for the second argument of nth_value",
        state: state::FEATURE_NOT_SUPPORTED,
        message: "the second argument of nth_value must be a constant",
        provoked_by: &["SELECT nth_value(a, a) OVER () FROM (VALUES (1)) AS t(a)"],
    },
    Phrase {
        text: "there is only support literal types for field",
        state: state::FEATURE_NOT_SUPPORTED,
        message: "this argument of a window function must be a constant",
        provoked_by: &["SELECT lag(a, a) OVER () FROM (VALUES (1)) AS t(a)"],
    },
    Phrase {
        text: "delimiter must be a string literal",
        state: state::FEATURE_NOT_SUPPORTED,
        message: "the delimiter of string_agg must be a constant",
        provoked_by: &["SELECT string_agg(a, a) OVER () FROM (VALUES ('a')) AS t(a)"],
    },
    Phrase {
        text: "percentile value must be between 0.0 and 1.0 inclusive, {} is invalid",
        state: state::NUMERIC_VALUE_OUT_OF_RANGE,
        message: "percentile value {} is not between 0 and 1",
        provoked_by: &["SELECT percentile_cont(2) WITHIN GROUP (ORDER BY a) FROM (VALUES (1)) AS t(a)"],
    },
    Phrase {
        text: "percentile value for 'percentile_cont' must be",
        state: state::FEATURE_NOT_SUPPORTED,
        message: "the fraction of percentile_cont must be a constant",
        provoked_by: &["SELECT percentile_cont(a) WITHIN GROUP (ORDER BY a) FROM (VALUES (1)) AS t(a) GROUP BY a"],
    },
    Phrase {
        text: "frame offsets for rows / groups must be non negative integers",
        state: INVALID_FRAME_OFFSET,
        message: "frame starting offset must not be negative",
        provoked_by: &["SELECT sum(a) OVER (ROWS -1 PRECEDING) FROM (VALUES (1)) AS t(a)"],
    },
    Phrase {
        text: "frame offsets for range must be",
        state: INVALID_FRAME_OFFSET,
        message: "invalid preceding or following size in window function",
        provoked_by: &["SELECT sum(a) OVER (ORDER BY a RANGE -1 PRECEDING) FROM (VALUES (1)) AS t(a)"],
    },
    Phrase {
        text: "start bound cannot be unbounded following",
        state: state::WINDOWING_ERROR,
        message: "frame start cannot be UNBOUNDED FOLLOWING",
        provoked_by: &[
            "SELECT sum(a) OVER (ROWS BETWEEN UNBOUNDED FOLLOWING AND CURRENT ROW) FROM (VALUES (1)) AS t(a)",
        ],
    },
    Phrase {
        text: "end bound cannot be unbounded preceding",
        state: state::WINDOWING_ERROR,
        message: "frame end cannot be UNBOUNDED PRECEDING",
        provoked_by: &[
            "SELECT sum(a) OVER (ROWS BETWEEN CURRENT ROW AND UNBOUNDED PRECEDING) FROM (VALUES (1)) AS t(a)",
        ],
    },
    Phrase {
        text: "start bound (current row) cannot be larger than end bound",
        state: state::WINDOWING_ERROR,
        message: "frame starting from current row cannot have preceding rows",
        provoked_by: &["SELECT sum(a) OVER (ROWS BETWEEN CURRENT ROW AND 1 PRECEDING) FROM (VALUES (1)) AS t(a)"],
    },
    Phrase {
        text: "following) cannot be larger than end bound (current row)",
        state: state::WINDOWING_ERROR,
        message: "frame starting from following row cannot have preceding rows",
        provoked_by: &["SELECT sum(a) OVER (ROWS BETWEEN 1 FOLLOWING AND CURRENT ROW) FROM (VALUES (1)) AS t(a)"],
    },
    Phrase {
        text: "following) cannot be larger than end bound ({} preceding)",
        state: state::WINDOWING_ERROR,
        message: "frame starting from following row cannot have preceding rows",
        provoked_by: &["SELECT sum(a) OVER (ROWS BETWEEN 1 FOLLOWING AND 1 PRECEDING) FROM (VALUES (1)) AS t(a)"],
    },
    Phrase {
        text: "cannot be larger than end bound",
        state: state::FEATURE_NOT_SUPPORTED,
        message: "a frame that ends before it starts is not supported",
        provoked_by: &["SELECT sum(a) OVER (ROWS BETWEEN 1 PRECEDING AND 2 PRECEDING) FROM (VALUES (1)) AS t(a)"],
    },
    Phrase {
        text: "cannot run range queries on datatype",
        state: state::FEATURE_NOT_SUPPORTED,
        message: NO_RANGE,
        provoked_by: &["SELECT sum(1) OVER (ORDER BY a RANGE '1 s' PRECEDING) FROM (VALUES (time '01:00')) AS t(a)"],
    },
    Phrase {
        text: "' to value of decimal128",
        state: state::FEATURE_NOT_SUPPORTED,
        message: NO_RANGE,
        provoked_by: &[
            "SELECT sum(1) OVER (ORDER BY a RANGE '1 s' PRECEDING) FROM (VALUES (interval '1 day')) AS t(a)",
        ],
    },
    Phrase {
        text: "cannot cast string '{}' to value of uint64",
        state: state::INVALID_TEXT_REPRESENTATION,
        message: "invalid input syntax for type bigint: \"{}\"",
        provoked_by: &["SELECT sum(a) OVER (ROWS 'x' PRECEDING) FROM (VALUES (1)) AS t(a)"],
    },
    Phrase {
        text: "invalid input syntax for type interval: \"{}\"",
        state: state::INVALID_DATETIME_FORMAT,
        message: "invalid input syntax for type interval: \"{}\"",
        provoked_by: &["SELECT sum(1) OVER (ORDER BY a RANGE 'x' PRECEDING) FROM (VALUES (date '2020-01-01')) AS t(a)"],
    },
    Phrase {
        text: "unsupported cast from list(list(",
        state: state::FEATURE_NOT_SUPPORTED,
        message: "multidimensional arrays are not supported",
        provoked_by: &["SELECT array_agg(a) FROM (VALUES (ARRAY[1])) AS t(a)"],
    },
];

impl Phrase {
    /// The error, if the engine's text has the phrase; `lower` is the same text in lower case.
    fn read(&self, engine: &str, lower: &str) -> Option<SqlError> {
        let Some((before, after)) = self.text.split_once("{}") else {
            let found = lower.contains(self.text);
            return found.then(|| SqlError::new(self.state, self.message));
        };
        let start = lower.find(before)? + before.len();
        let end = start + lower[start..].find(after)?;
        Some(SqlError::new(
            self.state,
            self.message.replace("{}", &engine[start..end]),
        ))
    }
}

/// PostgreSQL's error for a text of the engine's.
pub fn read(engine: &str) -> Option<SqlError> {
    let lower = engine.to_ascii_lowercase();
    let mut rows = PHRASES.iter().enumerate();
    let (_row, error) = rows.find_map(|(row, phrase)| Some((row, phrase.read(engine, &lower)?)))?;
    #[cfg(test)]
    super::tests::note(_row);
    Some(error)
}
