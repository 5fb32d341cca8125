//! Results of `extract` and `date_part`: the parts of values in columns, infinite ones included.
//!
//! One rule: an infinite time has the parts that grow with it, which are infinite; the others of it are NULL.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::datatypes::{
    DataType, Date32Type, IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType,
};

use super::part::{DatePart, date_part, interval_part, time_part};
use super::temporal::{self, DAY_US};
use super::{type_name, zone};
use crate::error::{SqlError, state};
use crate::types::TimeZone;
use crate::types::calendar::{SECOND_US, is_infinite, is_infinite_date, offset_at};
use crate::types::varying::Numeric;

/// Microseconds since 1970: of the instant, and of the wall clock in `zone`.
pub fn instant_and_local(column: &ArrayRef, row: usize, zone: TimeZone) -> (i64, i64) {
    match column.data_type() {
        DataType::Timestamp(_, Some(_)) => {
            let instant = column.as_primitive::<TimestampMicrosecondType>().value(row);
            (instant, zone::to_local(instant, zone))
        }
        _ => {
            let local = column.as_primitive::<TimestampMicrosecondType>().value(row);
            (local, local)
        }
    }
}

/// The value of a part as `date_part` gives it: a date is the timestamp of its midnight.
pub fn part_as_double(name: &str, column: &ArrayRef, row: usize, zone: TimeZone) -> Result<Option<f64>, SqlError> {
    const YEAR_SECONDS: f64 = 365.25 * 86_400.0;
    if !is_finite(column, row)
        && let Some(part) = DatePart::of_name(name)
    {
        let sign = if is_positive(column, row) { 1.0 } else { -1.0 };
        return Ok(part.is_infinite().then_some(sign * f64::INFINITY));
    }
    if let DataType::Date32 = column.data_type() {
        let midnight = temporal::midnight(column.as_primitive::<Date32Type>().value(row))?;
        let midnight: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![midnight]));
        return part_as_double(name, &midnight, 0, zone);
    }
    match (DatePart::of_name(name), column.data_type()) {
        (Some(DatePart::Epoch), DataType::Interval(_)) => {
            let value = column.as_primitive::<IntervalMonthDayNanoType>().value(row);
            let seconds = (value.nanoseconds / 1000) as f64 / 1e6;
            let seconds = seconds + YEAR_SECONDS * f64::from(value.months / 12);
            let days = 30.0 * 86_400.0 * f64::from(value.months % 12) + 86_400.0 * f64::from(value.days);
            Ok(Some(seconds + days))
        }
        (Some(DatePart::Julian), DataType::Timestamp(_, _)) => {
            let (_, local) = instant_and_local(column, row, zone);
            let day = date_part(DatePart::Julian, local.div_euclid(DAY_US)) as f64;
            Ok(Some(day + local.rem_euclid(DAY_US) as f64 / DAY_US as f64))
        }
        _ => Ok(part_of(name, column, row, zone)?.map(|value| value.double())),
    }
}

/// The value of a part; an infinite time has no months, hours or zones.
pub fn part_of(name: &str, column: &ArrayRef, row: usize, zone: TimeZone) -> Result<Option<Numeric>, SqlError> {
    let unknown = |known: bool| {
        let (code, what) = match known {
            true => (state::FEATURE_NOT_SUPPORTED, "not supported"),
            false => (state::INVALID_PARAMETER_VALUE, "not recognized"),
        };
        SqlError::new(
            code,
            format!(
                "unit \"{}\" {what} for type {}",
                name.to_lowercase(),
                type_name(column.data_type())
            ),
        )
    };
    let part = DatePart::of_name(name).ok_or_else(|| unknown(false))?;
    if let DataType::Interval(_) = column.data_type() {
        let value = interval_part(part, column.as_primitive::<IntervalMonthDayNanoType>().value(row))
            .ok_or_else(|| unknown(true))?;
        return Ok(Some(Numeric::of_units(value, part.scale())));
    }
    if !is_finite(column, row) {
        let of_date = |part| {
            let in_zone = matches!(part, DatePart::ZoneSeconds | DatePart::ZoneHour | DatePart::ZoneMinute);
            !in_zone && time_part(part, 0).is_none()
        };
        if *column.data_type() == DataType::Date32 && !of_date(part) {
            return Err(unknown(true));
        }
        let value = match is_positive(column, row) {
            true => Numeric::Infinity,
            false => Numeric::MinusInfinity,
        };
        return Ok(part.is_infinite().then_some(value));
    }
    let value = match column.data_type() {
        DataType::Time64(_) => {
            let time = column.as_primitive::<Time64MicrosecondType>().value(row);
            match part {
                DatePart::Epoch => Some(time),
                _ => time_part(part, time),
            }
        }
        // Not by its midnight, which may be out of a timestamp's range.
        DataType::Date32 => {
            let days = i64::from(column.as_primitive::<Date32Type>().value(row));
            match part {
                DatePart::Epoch => {
                    let seconds = i128::from(days) * i128::from(DAY_US / SECOND_US);
                    return Ok(Some(Numeric::whole(seconds)));
                }
                DatePart::ZoneSeconds | DatePart::ZoneHour | DatePart::ZoneMinute => None,
                _ if time_part(part, 0).is_some() => None,
                _ => Some(date_part(part, days)),
            }
        }
        data_type => {
            let (instant, local) = instant_and_local(column, row, zone);
            let offset = i64::from(offset_at(zone, instant));
            let zoned = matches!(data_type, DataType::Timestamp(_, Some(_)));
            match part {
                DatePart::Epoch => Some(instant),
                DatePart::Julian => {
                    let time = local.rem_euclid(DAY_US);
                    let day = Numeric::whole(date_part(DatePart::Julian, local.div_euclid(DAY_US)).into());
                    let part_of_day = Numeric::whole(time.into()).divide(&Numeric::whole(DAY_US.into()))?;
                    return day.add(&part_of_day).map(Some);
                }
                DatePart::ZoneSeconds if zoned => Some(offset),
                DatePart::ZoneHour if zoned => Some(offset / 3_600),
                DatePart::ZoneMinute if zoned => Some(offset / 60 % 60),
                DatePart::ZoneSeconds | DatePart::ZoneHour | DatePart::ZoneMinute => None,
                _ => match time_part(part, local.rem_euclid(DAY_US)) {
                    Some(value) => Some(value),
                    None => Some(date_part(part, local.div_euclid(DAY_US))),
                },
            }
        }
    };
    let value = value.ok_or_else(|| unknown(true))?;
    Ok(Some(Numeric::of_units(value.into(), part.scale())))
}

/// Whether a value is neither `infinity` nor `-infinity`; no time and no interval is.
pub fn is_finite(column: &ArrayRef, row: usize) -> bool {
    match column.data_type() {
        DataType::Date32 => !is_infinite_date(column.as_primitive::<Date32Type>().value(row)),
        DataType::Timestamp(..) => !is_infinite(column.as_primitive::<TimestampMicrosecondType>().value(row)),
        _ => true,
    }
}

/// Whether a value that is infinite is `infinity`.
fn is_positive(column: &ArrayRef, row: usize) -> bool {
    match column.data_type() {
        DataType::Date32 => column.as_primitive::<Date32Type>().value(row) > 0,
        _ => column.as_primitive::<TimestampMicrosecondType>().value(row) > 0,
    }
}
