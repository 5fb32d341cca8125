//! `overlaps`: whether two spans of time have a moment in common.
//!
//! One rule: a span is from one of its ends to the other, whichever comes first, or from its start for a length.

use super::overload::{Overload, OverloadType, OverloadValue, Row, RowResult};
use super::temporal::{DAY_US, add_interval};
use crate::error::SqlError;

use OverloadType::{Bool, Interval, Time, Timestamp, TimestampTz};

pub const TABLE: &[Overload] = &[
    Overload::of_nulls("overlaps", &[Time, Time, Time, Time], Bool, |row| {
        overlaps(row, [false; 2])
    }),
    Overload::of_nulls("overlaps", &[Time, Interval, Time, Time], Bool, |row| {
        overlaps(row, [true, false])
    }),
    Overload::of_nulls("overlaps", &[Time, Time, Time, Interval], Bool, |row| {
        overlaps(row, [false, true])
    }),
    Overload::of_nulls("overlaps", &[Time, Interval, Time, Interval], Bool, |row| {
        overlaps(row, [true; 2])
    }),
    Overload::of_nulls("overlaps", &[Timestamp, Timestamp, Timestamp, Timestamp], Bool, |row| {
        overlaps(row, [false; 2])
    }),
    Overload::of_nulls("overlaps", &[Timestamp, Interval, Timestamp, Timestamp], Bool, |row| {
        overlaps(row, [true, false])
    }),
    Overload::of_nulls("overlaps", &[Timestamp, Timestamp, Timestamp, Interval], Bool, |row| {
        overlaps(row, [false, true])
    }),
    Overload::of_nulls("overlaps", &[Timestamp, Interval, Timestamp, Interval], Bool, |row| {
        overlaps(row, [true; 2])
    }),
    Overload::of_nulls(
        "overlaps",
        &[TimestampTz, TimestampTz, TimestampTz, TimestampTz],
        Bool,
        |row| overlaps(row, [false; 2]),
    ),
    Overload::of_nulls(
        "overlaps",
        &[TimestampTz, Interval, TimestampTz, TimestampTz],
        Bool,
        |row| overlaps(row, [true, false]),
    ),
    Overload::of_nulls(
        "overlaps",
        &[TimestampTz, TimestampTz, TimestampTz, Interval],
        Bool,
        |row| overlaps(row, [false, true]),
    ),
    Overload::of_nulls(
        "overlaps",
        &[TimestampTz, Interval, TimestampTz, Interval],
        Bool,
        |row| overlaps(row, [true; 2]),
    ),
];

/// The ends of the span at an argument, in order; the second may be unknown, both are `None` then.
fn span(row: &Row, at: usize, has_length: bool) -> Result<Option<(i64, Option<i64>)>, SqlError> {
    let start = (!row.is_null(at)).then(|| row.int(at));
    let end = match (has_length, row.is_null(at + 1), start) {
        (_, true, _) | (true, _, None) => None,
        (false, _, _) => Some(row.int(at + 1)),
        (true, _, Some(start)) => {
            let length = row.interval(at + 1);
            Some(match row.is_time(at) {
                true => (start + length.nanoseconds / 1000 % DAY_US).rem_euclid(DAY_US),
                false => {
                    let zone = if row.is_zoned(at) {
                        row.zone
                    } else {
                        crate::types::TimeZone::UTC
                    };
                    add_interval(start, length, zone)?
                }
            })
        }
    };
    Ok(match (start, end) {
        (None, None) => None,
        (Some(start), Some(end)) => Some((start.min(end), Some(start.max(end)))),
        (Some(known), None) | (None, Some(known)) => Some((known, None)),
    })
}

fn overlaps<'a>(row: &Row<'a>, has_length: [bool; 2]) -> RowResult<'a> {
    let (Some(first), Some(second)) = (span(row, 0, has_length[0])?, span(row, 2, has_length[1])?) else {
        return Ok(OverloadValue::Null);
    };
    if first.0 == second.0 {
        return Ok(match first.1.and(second.1) {
            Some(_) => OverloadValue::Bool(true),
            None => OverloadValue::Null,
        });
    }
    let (earlier, later) = if first.0 < second.0 {
        (first, second)
    } else {
        (second, first)
    };
    Ok(match (earlier.1, later.1) {
        (None, _) => OverloadValue::Null,
        (Some(end), _) if later.0 < end => OverloadValue::Bool(true),
        (Some(_), None) => OverloadValue::Null,
        (Some(_), Some(_)) => OverloadValue::Bool(false),
    })
}
