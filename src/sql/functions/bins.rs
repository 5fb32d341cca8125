//! `date_bin`: the start of the bin of a time, of bins that all have one length.

use super::overload::{Overload, OverloadType, OverloadValue, Row, RowResult};
use super::temporal::DAY_US;
use crate::error::{SqlError, state};
use crate::sql::functions::aggregates::Summand;
use crate::types::calendar::is_infinite;
use arrow::datatypes::IntervalMonthDayNano;

use OverloadType::{Interval, Timestamp, TimestampTz};

pub const TABLE: &[Overload] = &[
    Overload::new("date_bin", &[Interval, Timestamp, Timestamp], Timestamp, bin),
    Overload::new("date_bin", &[Interval, TimestampTz, TimestampTz], TimestampTz, bin),
];

fn bin<'a>(row: &Row<'a>) -> RowResult<'a> {
    let (stride, time, origin) = (row.interval(0), row.int(1), row.int(2));
    if stride.months != 0 {
        return Err(SqlError::new(
            state::FEATURE_NOT_SUPPORTED,
            "timestamps cannot be binned into intervals containing months or years",
        ));
    }
    let overflow = IntervalMonthDayNano::overflow;
    let stride = i64::from(stride.days)
        .checked_mul(DAY_US)
        .and_then(|days| days.checked_add(stride.nanoseconds / 1000))
        .ok_or_else(overflow)?;
    if stride <= 0 {
        return Err(SqlError::new(
            state::DATETIME_FIELD_OVERFLOW,
            "stride must be greater than zero",
        ));
    }
    if is_infinite(time) {
        return Ok(OverloadValue::Int(time));
    }
    if is_infinite(origin) {
        return Err(SqlError::new(state::DATETIME_FIELD_OVERFLOW, "origin out of range"));
    }
    let since = time.checked_sub(origin).ok_or_else(overflow)?;
    let start = since
        .checked_sub(since.rem_euclid(stride))
        .and_then(|since| origin.checked_add(since));
    Ok(OverloadValue::Int(start.ok_or_else(|| {
        SqlError::new(state::DATETIME_FIELD_OVERFLOW, "timestamp out of range")
    })?))
}
