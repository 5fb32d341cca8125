//! Arithmetic on dates, times and intervals, with PostgreSQL's result types: a difference of timestamps is an
//! interval, of dates an integer; a date and an interval make a timestamp.
//!
//! One rule: days and months of an interval are counted on the wall clock of the session's time zone.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Datum, TimestampMicrosecondArray};
use arrow::datatypes::{
    DataType, Date32Type, Float64Type, Int32Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

use super::aggregates::Summand;
use super::interval::scale_interval;
use super::kernel::{apply, binary_kernel};
use super::operator::{ArithmeticOperator, Operands};
use super::overflow::{into_arrow, of_arrow};
use super::{undefined_operator, zone};
use crate::error::{SqlError, state};
use crate::types::TimeZone;
use crate::types::calendar::{
    civil_from_days, days_from_civil, days_in_month, infinite_us, is_infinite, is_infinite_date,
};
use crate::types::decimal::division_by_zero;
use crate::types::{DATE_RANGE, TIMESTAMP_RANGE_US};

pub const DAY_US: i64 = 86_400_000_000;
const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
const TIME: DataType = DataType::Time64(TimeUnit::Microsecond);
const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

fn is_timestamp(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(_, _))
}

/// The types for an operator with a date, time, timestamp or interval among its operands.
pub fn operands(operator: ArithmeticOperator, left: &DataType, right: &DataType) -> Option<Operands> {
    use ArithmeticOperator::{Divide, Minus, Multiply, Plus};
    use DataType::Date32 as DATE;
    let of = |left: &DataType, right: &DataType, result: DataType| {
        Some(Operands {
            left: left.clone(),
            right: right.clone(),
            result,
        })
    };
    let integer = |data_type: &DataType| matches!(data_type, DataType::Int16 | DataType::Int32 | DataType::Int64);
    match (operator, left, right) {
        (Plus | Minus, DATE, number) if integer(number) => of(left, &DataType::Int32, DATE),
        (Plus, number, DATE) if integer(number) => of(&DataType::Int32, right, DATE),
        (Minus, DATE, DATE) => of(left, right, DataType::Int32),
        (Plus | Minus, DATE, right) if *right == INTERVAL => of(&TIMESTAMP, right, TIMESTAMP),
        (Plus, left, DATE) if *left == INTERVAL => of(left, &TIMESTAMP, TIMESTAMP),
        (Plus, DATE, right) if *right == TIME => of(&TIMESTAMP, right, TIMESTAMP),
        (Plus, left, DATE) if *left == TIME => of(left, &TIMESTAMP, TIMESTAMP),
        (Plus, left, right) if is_timestamp(left) && *right == TIME => of(left, right, left.clone()),
        (Plus, left, right) if *left == TIME && is_timestamp(right) => of(left, right, right.clone()),
        (Minus, left, right) if is_timestamp(left) && is_timestamp(right) => {
            let zoned = if matches!(left, DataType::Timestamp(_, Some(_))) {
                left
            } else {
                right
            };
            of(zoned, zoned, INTERVAL)
        }
        (Minus, DATE, right) if is_timestamp(right) => of(right, right, INTERVAL),
        (Minus, left, DATE) if is_timestamp(left) => of(left, left, INTERVAL),
        (Plus | Minus, left, right) if is_timestamp(left) && *right == INTERVAL => of(left, right, left.clone()),
        (Plus, left, right) if is_timestamp(right) && *left == INTERVAL => of(left, right, right.clone()),
        (Plus | Minus, left, right) if *left == TIME && *right == INTERVAL => of(left, right, TIME),
        (Plus, left, right) if *left == INTERVAL && *right == TIME => of(left, right, TIME),
        (Minus, left, right) if *left == TIME && *right == TIME => of(left, right, INTERVAL),
        (Plus | Minus, left, right) if *left == INTERVAL && *right == INTERVAL => of(left, right, INTERVAL),
        (Multiply | Divide, left, right) if *left == INTERVAL && right.is_numeric() => {
            of(left, &DataType::Float64, INTERVAL)
        }
        (Multiply, left, right) if *right == INTERVAL && left.is_numeric() => of(&DataType::Float64, right, INTERVAL),
        _ => None,
    }
}

fn timestamp_range() -> SqlError {
    SqlError::new(state::DATETIME_FIELD_OVERFLOW, "timestamp out of range")
}

fn no_difference(kind: &str) -> SqlError {
    SqlError::new(
        state::DATETIME_FIELD_OVERFLOW,
        format!("cannot subtract infinite {kind}"),
    )
}

fn date_range() -> SqlError {
    SqlError::new(state::DATETIME_FIELD_OVERFLOW, "date out of range")
}

fn in_range(timestamp_us: Option<i64>) -> Result<i64, SqlError> {
    timestamp_us
        .filter(|time| TIMESTAMP_RANGE_US.contains(time))
        .ok_or_else(timestamp_range)
}

/// The first moment of a day, in microseconds: not every date has one that is a timestamp.
pub fn midnight(days: i32) -> Result<i64, SqlError> {
    if is_infinite_date(days) {
        return Ok(infinite_us(days));
    }
    i64::from(days)
        .checked_mul(DAY_US)
        .ok_or_else(|| SqlError::new(state::DATETIME_FIELD_OVERFLOW, "date out of range for timestamp"))
}

/// The same of a column of dates, as `place` moves the wall clock.
pub fn midnights(dates: &ArrayRef, place: impl Fn(i64) -> i64) -> Result<TimestampMicrosecondArray, SqlError> {
    dates
        .as_primitive::<Date32Type>()
        .try_unary(|days| midnight(days).map(&place))
}

/// A timestamp moved by an interval: months and days on the wall clock of `zone`, then the rest in real time.
pub fn add_interval(timestamp_us: i64, interval: IntervalMonthDayNano, zone: TimeZone) -> Result<i64, SqlError> {
    if is_infinite(timestamp_us) {
        return Ok(timestamp_us);
    }
    let mut time = timestamp_us;
    if interval.months != 0 || interval.days != 0 {
        let mut local = zone::to_local(time, zone);
        if interval.months != 0 {
            local = add_months(local, interval.months.into()).ok_or_else(timestamp_range)?;
        }
        let days = i64::from(interval.days)
            .checked_mul(DAY_US)
            .ok_or_else(timestamp_range)?;
        local = local.checked_add(days).ok_or_else(timestamp_range)?;
        time = zone::from_local(local, zone);
    }
    in_range(time.checked_add(interval.nanoseconds.div_euclid(1000)))
}

/// The same time of the same day of another month, or of that month's last day.
fn add_months(local_us: i64, months: i64) -> Option<i64> {
    let (year, month, day) = civil_from_days(local_us.div_euclid(DAY_US));
    let total = year * 12 + i64::from(month) - 1 + months;
    let (year, month) = (total.div_euclid(12), total.rem_euclid(12) as u32 + 1);
    let day = day.min(days_in_month(year, month));
    days_from_civil(year, month, day)
        .checked_mul(DAY_US)?
        .checked_add(local_us.rem_euclid(DAY_US))
}

fn negated(interval: IntervalMonthDayNano) -> Result<IntervalMonthDayNano, SqlError> {
    IntervalMonthDayNano::default()
        .minus(interval)
        .ok_or_else(IntervalMonthDayNano::overflow)
}

/// The difference of two instants: whole days, and the rest.
pub fn difference(left_us: i64, right_us: i64) -> Result<IntervalMonthDayNano, SqlError> {
    if is_infinite(left_us) || is_infinite(right_us) {
        return Err(no_difference("timestamps"));
    }
    let difference = left_us
        .checked_sub(right_us)
        .ok_or_else(IntervalMonthDayNano::overflow)?;
    let days = i32::try_from(difference / DAY_US).map_err(|_| IntervalMonthDayNano::overflow())?;
    Ok(IntervalMonthDayNano {
        months: 0,
        days,
        nanoseconds: difference % DAY_US * 1000,
    })
}

/// Runs `left operator right`; the types are those from [`operands`].
pub fn evaluate(
    operator: ArithmeticOperator,
    left: &ColumnarValue,
    right: &ColumnarValue,
    result: &DataType,
    args: &ScalarFunctionArgs,
) -> Result<ColumnarValue> {
    let (left_type, right_type) = (left.data_type(), right.data_type());
    let zoned = matches!(result, DataType::Timestamp(_, Some(_)));
    let zone = if zoned {
        zone::of_session(&args.config_options)
    } else {
        TimeZone::UTC
    };
    // Sums do not mind the order: the interval, the number or the time comes second.
    let swap = operator != ArithmeticOperator::Minus
        && (left_type == INTERVAL && right_type != DataType::Float64 && right_type != INTERVAL
            || left_type == DataType::Int32
            || left_type == DataType::Float64
            || left_type == TIME && is_timestamp(&right_type));
    let (left, right) = if swap { (right, left) } else { (left, right) };
    let (left_type, right_type) = (left.data_type(), right.data_type());
    apply(left, right, |left, right| {
        let computed = pairs(operator, left, right, &left_type, &right_type, result, zone);
        computed.map_err(|error| of_arrow(error, result))
    })
}

fn pairs(
    operator: ArithmeticOperator,
    left: &dyn Datum,
    right: &dyn Datum,
    left_type: &DataType,
    right_type: &DataType,
    result: &DataType,
    zone: TimeZone,
) -> Result<ArrayRef, ArrowError> {
    let plus = operator == ArithmeticOperator::Plus;
    let array: ArrayRef = match (left_type, right_type) {
        (DataType::Date32, DataType::Int32) => Arc::new(binary_kernel::<Date32Type, Int32Type, Date32Type>(
            left,
            right,
            |date, days| {
                if is_infinite_date(date) {
                    return Ok(date);
                }
                let moved = if plus {
                    date.checked_add(days)
                } else {
                    date.checked_sub(days)
                };
                moved
                    .filter(|days| DATE_RANGE.contains(days))
                    .ok_or_else(|| into_arrow(date_range()))
            },
        )?),
        (DataType::Date32, DataType::Date32) => Arc::new(binary_kernel::<Date32Type, Date32Type, Int32Type>(
            left,
            right,
            |left, right| {
                if is_infinite_date(left) || is_infinite_date(right) {
                    return Err(into_arrow(no_difference("dates")));
                }
                left.checked_sub(right).ok_or_else(|| into_arrow(date_range()))
            },
        )?),
        (DataType::Timestamp(_, _), DataType::Timestamp(_, _)) => Arc::new(binary_kernel::<
            TimestampMicrosecondType,
            TimestampMicrosecondType,
            IntervalMonthDayNanoType,
        >(left, right, |left, right| {
            difference(left, right).map_err(into_arrow)
        })?),
        (DataType::Timestamp(_, _), DataType::Interval(_)) => {
            let array = binary_kernel::<TimestampMicrosecondType, IntervalMonthDayNanoType, TimestampMicrosecondType>(
                left,
                right,
                |time, interval| {
                    let interval = if plus { Ok(interval) } else { negated(interval) };
                    interval
                        .and_then(|interval| add_interval(time, interval, zone))
                        .map_err(into_arrow)
                },
            )?;
            Arc::new(array.with_data_type(result.clone()))
        }
        (DataType::Timestamp(_, _), DataType::Time64(_)) => Arc::new(binary_kernel::<
            TimestampMicrosecondType,
            Time64MicrosecondType,
            TimestampMicrosecondType,
        >(left, right, |date, time| {
            if is_infinite(date) {
                return Ok(date);
            }
            in_range(date.checked_add(time)).map_err(into_arrow)
        })?),
        (DataType::Time64(_), DataType::Interval(_)) => Arc::new(binary_kernel::<
            Time64MicrosecondType,
            IntervalMonthDayNanoType,
            Time64MicrosecondType,
        >(left, right, |time, interval| {
            let change = interval.nanoseconds.div_euclid(1000) % DAY_US;
            Ok((if plus { time + change } else { time - change }).rem_euclid(DAY_US))
        })?),
        (DataType::Time64(_), DataType::Time64(_)) => Arc::new(binary_kernel::<
            Time64MicrosecondType,
            Time64MicrosecondType,
            IntervalMonthDayNanoType,
        >(left, right, |left, right| {
            Ok(IntervalMonthDayNano {
                months: 0,
                days: 0,
                nanoseconds: (left - right) * 1000,
            })
        })?),
        (DataType::Interval(_), DataType::Interval(_)) => Arc::new(binary_kernel::<
            IntervalMonthDayNanoType,
            IntervalMonthDayNanoType,
            IntervalMonthDayNanoType,
        >(left, right, |left, right| {
            let sum = if plus { left.plus(right) } else { left.minus(right) };
            sum.ok_or_else(|| into_arrow(IntervalMonthDayNano::overflow()))
        })?),
        (DataType::Interval(_), DataType::Float64) => {
            let divide = operator == ArithmeticOperator::Divide;
            Arc::new(binary_kernel::<
                IntervalMonthDayNanoType,
                Float64Type,
                IntervalMonthDayNanoType,
            >(left, right, |interval, factor| {
                if !divide {
                    return scale_interval(interval, |part| part * factor).map_err(into_arrow);
                }
                if factor == 0.0 {
                    return Err(into_arrow(division_by_zero()));
                }
                scale_interval(interval, |part| part / factor).map_err(into_arrow)
            })?)
        }
        _ => {
            return Err(into_arrow(undefined_operator(operator.symbol(), left_type, right_type)));
        }
    };
    debug_assert_eq!(
        array.data_type(),
        result,
        "an operator makes the type that it was planned with"
    );
    Ok(array)
}
