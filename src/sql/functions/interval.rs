//! Intervals times a number, and divided by one.
//!
//! One rule: a fraction of a month becomes days, and a fraction of a day time, rounded where PostgreSQL rounds.

use arrow::datatypes::IntervalMonthDayNano;

use super::overflow::interval_overflow;
use crate::error::SqlError;

/// PostgreSQL's way to multiply or divide an interval: the fraction of a month becomes days, that of a day time.
pub fn scale_interval(
    interval: IntervalMonthDayNano,
    scale: impl Fn(f64) -> f64,
) -> Result<IntervalMonthDayNano, SqlError> {
    const DAY_US: f64 = 86_400_000_000.0;
    // Rounds away the errors of floats, to the microsecond, as PostgreSQL's TSROUND.
    let rounded = |seconds: f64| (seconds * 1_000_000.0).round_ties_even() / 1_000_000.0;
    let whole = |value: f64| -> Result<i32, SqlError> {
        if value.is_nan() || value > f64::from(i32::MAX) || value < f64::from(i32::MIN) {
            return Err(interval_overflow());
        }
        Ok(value as i32)
    };
    let months = scale(f64::from(interval.months));
    let days = scale(f64::from(interval.days));
    let (whole_months, mut whole_days) = (whole(months)?, whole(days)?);
    let month_days = rounded((months - f64::from(whole_months)) * 30.0);
    let whole_month_days = whole(month_days)?;
    let mut rest = rounded((days - f64::from(whole_days) + month_days - f64::from(whole_month_days)) * 86_400.0);
    if rest.abs() >= 86_400.0 {
        whole_days += (rest / 86_400.0) as i32;
        rest -= f64::from((rest / 86_400.0) as i32) * 86_400.0;
    }
    let microseconds = (scale(interval.nanoseconds as f64 / 1000.0) + rest * 1_000_000.0).round_ties_even();
    if microseconds.is_nan() || microseconds.abs() > DAY_US * 106_751.0 {
        return Err(interval_overflow());
    }
    Ok(IntervalMonthDayNano {
        months: whole_months,
        days: whole_days.checked_add(whole_month_days).ok_or_else(interval_overflow)?,
        nanoseconds: microseconds as i64 * 1000,
    })
}
