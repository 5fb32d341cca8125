//! The parts of a date, a time and an interval that `extract` and `date_trunc` know, on plain numbers.
//!
//! One rule: everything is counted from wall-clock microseconds or days since 1970-01-01; time zones are `datetime.rs`'s.

use arrow::datatypes::IntervalMonthDayNano;

use super::temporal::DAY_US;
use crate::types::calendar::{civil_from_days, days_from_civil};

const SECOND_US: i64 = 1_000_000;
const MINUTE_US: i64 = 60 * SECOND_US;
const HOUR_US: i64 = 60 * MINUTE_US;

/// A part of a date, a time or an interval.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DatePart {
    Microseconds,
    Milliseconds,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    Decade,
    Century,
    Millennium,
    DayOfWeek,
    IsoDayOfWeek,
    DayOfYear,
    IsoYear,
    Epoch,
    Julian,
    ZoneSeconds,
    ZoneHour,
    ZoneMinute,
}

impl DatePart {
    /// By any of the names that PostgreSQL knows it by.
    pub fn of_name(name: &str) -> Option<DatePart> {
        Some(match name.trim().to_ascii_lowercase().as_str() {
            "microsecond" | "microseconds" | "us" | "usec" | "usecs" => DatePart::Microseconds,
            "millisecond" | "milliseconds" | "ms" | "msec" | "msecs" => DatePart::Milliseconds,
            "second" | "seconds" | "sec" | "secs" | "s" => DatePart::Second,
            "minute" | "minutes" | "min" | "mins" | "m" => DatePart::Minute,
            "hour" | "hours" | "hr" | "hrs" | "h" => DatePart::Hour,
            "day" | "days" | "d" => DatePart::Day,
            "week" | "weeks" | "w" => DatePart::Week,
            "month" | "months" | "mon" | "mons" => DatePart::Month,
            "quarter" | "qtr" => DatePart::Quarter,
            "year" | "years" | "yr" | "yrs" | "y" => DatePart::Year,
            "decade" | "decades" | "dec" | "decs" => DatePart::Decade,
            "century" | "centuries" | "cent" | "c" => DatePart::Century,
            "millennium" | "millennia" | "mil" | "mils" => DatePart::Millennium,
            "dow" | "dayofweek" => DatePart::DayOfWeek,
            "isodow" => DatePart::IsoDayOfWeek,
            "doy" | "dayofyear" => DatePart::DayOfYear,
            "isoyear" => DatePart::IsoYear,
            "epoch" => DatePart::Epoch,
            "julian" => DatePart::Julian,
            "timezone" => DatePart::ZoneSeconds,
            "timezone_hour" => DatePart::ZoneHour,
            "timezone_minute" => DatePart::ZoneMinute,
            _ => return None,
        })
    }

    /// Whether the part of an infinite time is infinite too; every other part of it is NULL.
    pub fn is_infinite(self) -> bool {
        use DatePart::{Century, Decade, Epoch, IsoYear, Julian, Millennium, Year};
        matches!(self, Year | Decade | Century | Millennium | IsoYear | Julian | Epoch)
    }

    /// Fractional digits of the result of `extract`.
    pub fn scale(self) -> i8 {
        match self {
            DatePart::Epoch | DatePart::Second => 6,
            DatePart::Milliseconds => 3,
            _ => 0,
        }
    }
}

/// Days since 1970-01-01 of the Monday that ISO week 1 of `year` starts with.
fn iso_year_start(year: i64) -> i64 {
    let january_4 = days_from_civil(year, 1, 4);
    january_4 - (january_4 + 3).rem_euclid(7)
}

/// ISO year and week of a day.
pub fn iso_week(days: i64) -> (i64, i64) {
    let (year, _, _) = civil_from_days(days);
    let iso_year = if days >= iso_year_start(year + 1) {
        year + 1
    } else if days < iso_year_start(year) {
        year - 1
    } else {
        year
    };
    (iso_year, (days - iso_year_start(iso_year)) / 7 + 1)
}

/// Parts within a day; seconds carry microseconds.
pub fn time_part(part: DatePart, time_us: i64) -> Option<i64> {
    Some(match part {
        DatePart::Microseconds | DatePart::Second => time_us % MINUTE_US,
        DatePart::Milliseconds => time_us % MINUTE_US,
        DatePart::Minute => time_us / MINUTE_US % 60,
        DatePart::Hour => time_us / HOUR_US,
        _ => return None,
    })
}

/// Parts of a day, for all that [`time_part`] has not.
pub fn date_part(part: DatePart, days: i64) -> i64 {
    let (civil_year, month, day) = civil_from_days(days);
    // There is no year 0: 1 BC is -1.
    let year = if civil_year > 0 { civil_year } else { civil_year - 1 };
    let of = |length: i64| {
        if year > 0 {
            (year + length - 1) / length
        } else {
            -((length - 1 - year) / length)
        }
    };
    match part {
        DatePart::Day => i64::from(day),
        DatePart::Week => iso_week(days).1,
        DatePart::Month => i64::from(month),
        DatePart::Quarter => i64::from((month - 1) / 3 + 1),
        DatePart::Decade => civil_year.div_euclid(10),
        DatePart::Century => of(100),
        DatePart::Millennium => of(1000),
        DatePart::DayOfWeek => (days + 4).rem_euclid(7),
        DatePart::IsoDayOfWeek => (days + 3).rem_euclid(7) + 1,
        DatePart::DayOfYear => days - days_from_civil(civil_year, 1, 1) + 1,
        DatePart::IsoYear => match iso_week(days).0 {
            // There is no year 0 here either.
            year @ ..=0 => year - 1,
            year => year,
        },
        DatePart::Julian => days + 2_440_588,
        _ => year,
    }
}

/// Parts of an interval; seconds carry microseconds.
pub fn interval_part(part: DatePart, value: IntervalMonthDayNano) -> Option<i128> {
    let (months, days, time) = (i64::from(value.months), i64::from(value.days), value.nanoseconds / 1000);
    let value = match part {
        DatePart::Microseconds | DatePart::Milliseconds | DatePart::Second => time % MINUTE_US,
        DatePart::Minute => time / MINUTE_US % 60,
        DatePart::Hour => time / HOUR_US,
        DatePart::Day => days,
        DatePart::Month => months % 12,
        DatePart::Quarter => months % 12 / 3 + 1,
        DatePart::Year => months / 12,
        DatePart::Decade => months / 120,
        DatePart::Century => months / 1_200,
        DatePart::Millennium => months / 12_000,
        // A year has 365.25 days, a month 30.
        DatePart::Epoch => {
            let year_us = i128::from(DAY_US / 4 * 1_461);
            let day_us = i128::from(DAY_US);
            let days = i128::from(months % 12 * 30 + days);
            return Some(i128::from(months / 12) * year_us + days * day_us + i128::from(time));
        }
        _ => return None,
    };
    Some(i128::from(value))
}

/// The start of the part that a wall-clock time is in.
pub fn truncate(part: DatePart, local_us: i64) -> Option<i64> {
    let days = local_us.div_euclid(DAY_US);
    let (year, month, _) = civil_from_days(days);
    let year_of = |length: i64| (year - 1).div_euclid(length) * length + 1;
    let start = match part {
        DatePart::Microseconds => return Some(local_us),
        DatePart::Milliseconds => return Some(local_us - local_us.rem_euclid(1000)),
        DatePart::Second => return Some(local_us - local_us.rem_euclid(SECOND_US)),
        DatePart::Minute => return Some(local_us - local_us.rem_euclid(MINUTE_US)),
        DatePart::Hour => return Some(local_us - local_us.rem_euclid(HOUR_US)),
        DatePart::Day => days,
        DatePart::Week => days - (days + 3).rem_euclid(7),
        DatePart::Month => days_from_civil(year, month, 1),
        DatePart::Quarter => days_from_civil(year, (month - 1) / 3 * 3 + 1, 1),
        DatePart::Year => days_from_civil(year, 1, 1),
        DatePart::Decade => days_from_civil(year.div_euclid(10) * 10, 1, 1),
        DatePart::Century => days_from_civil(year_of(100), 1, 1),
        DatePart::Millennium => days_from_civil(year_of(1000), 1, 1),
        _ => return None,
    };
    Some(start * DAY_US)
}

/// An interval without everything smaller than the part.
pub fn truncate_interval(part: DatePart, value: IntervalMonthDayNano) -> Option<IntervalMonthDayNano> {
    let whole = |months: i32| IntervalMonthDayNano {
        months: value.months / months * months,
        days: 0,
        nanoseconds: 0,
    };
    let time = |unit_us: i64| IntervalMonthDayNano {
        nanoseconds: value.nanoseconds / (unit_us * 1000) * (unit_us * 1000),
        ..value
    };
    Some(match part {
        DatePart::Microseconds => value,
        DatePart::Milliseconds => time(1000),
        DatePart::Second => time(SECOND_US),
        DatePart::Minute => time(MINUTE_US),
        DatePart::Hour => time(HOUR_US),
        DatePart::Day => IntervalMonthDayNano {
            nanoseconds: 0,
            ..value
        },
        DatePart::Month => whole(1),
        DatePart::Quarter => whole(3),
        DatePart::Year => whole(12),
        DatePart::Decade => whole(120),
        DatePart::Century => whole(1_200),
        DatePart::Millennium => whole(12_000),
        _ => return None,
    })
}
