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
pub enum Part {
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

impl Part {
    /// By any of the names that PostgreSQL knows it by.
    pub fn of_name(name: &str) -> Option<Part> {
        Some(match name.trim().to_ascii_lowercase().as_str() {
            "microsecond" | "microseconds" | "us" | "usec" | "usecs" => Part::Microseconds,
            "millisecond" | "milliseconds" | "ms" | "msec" | "msecs" => Part::Milliseconds,
            "second" | "seconds" | "sec" | "secs" | "s" => Part::Second,
            "minute" | "minutes" | "min" | "mins" | "m" => Part::Minute,
            "hour" | "hours" | "hr" | "hrs" | "h" => Part::Hour,
            "day" | "days" | "d" => Part::Day,
            "week" | "weeks" | "w" => Part::Week,
            "month" | "months" | "mon" | "mons" => Part::Month,
            "quarter" | "qtr" => Part::Quarter,
            "year" | "years" | "yr" | "yrs" | "y" => Part::Year,
            "decade" | "decades" | "dec" | "decs" => Part::Decade,
            "century" | "centuries" | "cent" | "c" => Part::Century,
            "millennium" | "millennia" | "mil" | "mils" => Part::Millennium,
            "dow" | "dayofweek" => Part::DayOfWeek,
            "isodow" => Part::IsoDayOfWeek,
            "doy" | "dayofyear" => Part::DayOfYear,
            "isoyear" => Part::IsoYear,
            "epoch" => Part::Epoch,
            "julian" => Part::Julian,
            "timezone" => Part::ZoneSeconds,
            "timezone_hour" => Part::ZoneHour,
            "timezone_minute" => Part::ZoneMinute,
            _ => return None,
        })
    }

    /// Whether the part of an infinite time is infinite too; every other part of it is NULL.
    pub fn is_infinite(self) -> bool {
        use Part::{Century, Decade, Epoch, IsoYear, Julian, Millennium, Year};
        matches!(self, Year | Decade | Century | Millennium | IsoYear | Julian | Epoch)
    }

    /// Fractional digits of what `extract` gives for it.
    pub fn scale(self) -> i8 {
        match self {
            Part::Epoch | Part::Second => 6,
            Part::Milliseconds => 3,
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
pub fn time_part(part: Part, time_us: i64) -> Option<i64> {
    Some(match part {
        Part::Microseconds | Part::Second => time_us % MINUTE_US,
        Part::Milliseconds => time_us % MINUTE_US,
        Part::Minute => time_us / MINUTE_US % 60,
        Part::Hour => time_us / HOUR_US,
        _ => return None,
    })
}

/// Parts of a day, for all that [`time_part`] has not.
pub fn date_part(part: Part, days: i64) -> i64 {
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
        Part::Day => i64::from(day),
        Part::Week => iso_week(days).1,
        Part::Month => i64::from(month),
        Part::Quarter => i64::from((month - 1) / 3 + 1),
        Part::Decade => civil_year.div_euclid(10),
        Part::Century => of(100),
        Part::Millennium => of(1000),
        Part::DayOfWeek => (days + 4).rem_euclid(7),
        Part::IsoDayOfWeek => (days + 3).rem_euclid(7) + 1,
        Part::DayOfYear => days - days_from_civil(civil_year, 1, 1) + 1,
        Part::IsoYear => match iso_week(days).0 {
            // There is no year 0 here either.
            year @ ..=0 => year - 1,
            year => year,
        },
        Part::Julian => days + 2_440_588,
        _ => year,
    }
}

/// Parts of an interval; seconds carry microseconds.
pub fn interval_part(part: Part, value: IntervalMonthDayNano) -> Option<i128> {
    let (months, days, time) = (i64::from(value.months), i64::from(value.days), value.nanoseconds / 1000);
    let value = match part {
        Part::Microseconds | Part::Milliseconds | Part::Second => time % MINUTE_US,
        Part::Minute => time / MINUTE_US % 60,
        Part::Hour => time / HOUR_US,
        Part::Day => days,
        Part::Month => months % 12,
        Part::Quarter => months % 12 / 3 + 1,
        Part::Year => months / 12,
        Part::Decade => months / 120,
        Part::Century => months / 1_200,
        Part::Millennium => months / 12_000,
        // A year has 365.25 days, a month 30.
        Part::Epoch => {
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
pub fn truncate(part: Part, local_us: i64) -> Option<i64> {
    let days = local_us.div_euclid(DAY_US);
    let (year, month, _) = civil_from_days(days);
    let year_of = |length: i64| (year - 1).div_euclid(length) * length + 1;
    let start = match part {
        Part::Microseconds => return Some(local_us),
        Part::Milliseconds => return Some(local_us - local_us.rem_euclid(1000)),
        Part::Second => return Some(local_us - local_us.rem_euclid(SECOND_US)),
        Part::Minute => return Some(local_us - local_us.rem_euclid(MINUTE_US)),
        Part::Hour => return Some(local_us - local_us.rem_euclid(HOUR_US)),
        Part::Day => days,
        Part::Week => days - (days + 3).rem_euclid(7),
        Part::Month => days_from_civil(year, month, 1),
        Part::Quarter => days_from_civil(year, (month - 1) / 3 * 3 + 1, 1),
        Part::Year => days_from_civil(year, 1, 1),
        Part::Decade => days_from_civil(year.div_euclid(10) * 10, 1, 1),
        Part::Century => days_from_civil(year_of(100), 1, 1),
        Part::Millennium => days_from_civil(year_of(1000), 1, 1),
        _ => return None,
    };
    Some(start * DAY_US)
}

/// An interval without what is smaller than the part.
pub fn truncate_interval(part: Part, value: IntervalMonthDayNano) -> Option<IntervalMonthDayNano> {
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
        Part::Microseconds => value,
        Part::Milliseconds => time(1000),
        Part::Second => time(SECOND_US),
        Part::Minute => time(MINUTE_US),
        Part::Hour => time(HOUR_US),
        Part::Day => IntervalMonthDayNano {
            nanoseconds: 0,
            ..value
        },
        Part::Month => whole(1),
        Part::Quarter => whole(3),
        Part::Year => whole(12),
        Part::Decade => whole(120),
        Part::Century => whole(1_200),
        Part::Millennium => whole(12_000),
        _ => return None,
    })
}
