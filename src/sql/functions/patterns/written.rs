//! Dates, times and intervals written by patterns.

use std::fmt::Write;

use arrow::datatypes::IntervalMonthDayNano;

use super::dates::{DAYS, DateToken, MONTHS, ROMAN_MONTHS, tokens};
use super::ordinal;
use crate::error::{SqlError, state};
use crate::sql::functions::part::iso_week;
use crate::sql::functions::temporal::DAY_US;
use crate::types::TimeZone;
use crate::types::calendar::{civil_from_days, days_from_civil, offset_at};

/// The value to write, in fields; those of an interval may be negative.
struct WrittenFields {
    is_interval: bool,
    /// 0 is 1 BC.
    year: i64,
    month: i64,
    day: i64,
    day_of_year: i64,
    /// Days since 1970.
    days: i64,
    hour: i64,
    minute: i64,
    second: i64,
    fraction_us: i64,
    /// An instant and its zone.
    zoned: Option<(i64, TimeZone)>,
}

/// A wall-clock time; `zoned` is its instant and zone, for TZ and OF.
pub fn timestamp(local_us: i64, zoned: Option<(i64, TimeZone)>, format: &str) -> Result<String, SqlError> {
    let days = local_us.div_euclid(DAY_US);
    let (year, month, day) = civil_from_days(days);
    let fields = WrittenFields {
        is_interval: false,
        year,
        month: month.into(),
        day: day.into(),
        day_of_year: days - days_from_civil(year, 1, 1) + 1,
        days,
        zoned,
        ..WrittenFields::of_time(local_us.rem_euclid(DAY_US))
    };
    fields.write(format)
}

/// An interval: its time of day may pass 24 hours.
pub fn interval(value: IntervalMonthDayNano, format: &str) -> Result<String, SqlError> {
    let (months, day) = (i64::from(value.months), i64::from(value.days));
    let fields = WrittenFields {
        is_interval: true,
        year: months / 12,
        month: months % 12,
        day,
        day_of_year: months * 30 + day,
        days: julian(months / 12, months % 12, day) - 2_440_588,
        ..WrittenFields::of_time(value.nanoseconds / 1000)
    };
    fields.write(format)
}

/// The Julian day of a date, in PostgreSQL's way, which takes months that do not exist, too.
fn julian(year: i64, month: i64, day: i64) -> i64 {
    let (month, year) = if month > 2 {
        (month + 1, year + 4800)
    } else {
        (month + 13, year + 4799)
    };
    let century = year / 100;
    year * 365 - 32_167 + year / 4 - century + century / 4 + 7_834 * month / 256 + day
}

impl WrittenFields {
    fn of_time(us: i64) -> WrittenFields {
        WrittenFields {
            is_interval: false,
            year: 0,
            month: 0,
            day: 0,
            day_of_year: 0,
            days: 0,
            hour: us / 3_600_000_000,
            minute: us / 60_000_000 % 60,
            second: us / 1_000_000 % 60,
            fraction_us: us % 1_000_000,
            zoned: None,
        }
    }

    fn write(&self, format: &str) -> Result<String, SqlError> {
        let mut out = String::with_capacity(format.len() * 2);
        for token in tokens(format) {
            match token {
                DateToken::Letter(letter) | DateToken::Separator(letter) | DateToken::Space(letter) => out.push(letter),
                DateToken::Pattern { keyword, fill, ordinal } => self.pattern(keyword.name, fill, ordinal, &mut out)?,
            }
        }
        Ok(out)
    }

    fn pattern(&self, name: &str, fill: bool, suffix: Option<bool>, out: &mut String) -> Result<(), SqlError> {
        let upper = name.to_ascii_uppercase();
        let refused = || {
            SqlError::new(
                state::INVALID_DATETIME_FORMAT,
                "invalid format specification for an interval value",
            )
            .hint("Intervals are not tied to specific calendar dates.")
        };
        let of_a_day = matches!(
            upper.as_str(),
            "TZ" | "TZH" | "TZM" | "OF" | "A.D." | "AD" | "B.C." | "BC" | "MONTH" | "MON" | "DAY" | "DY" | "D" | "ID"
        );
        if of_a_day && self.is_interval {
            return Err(refused());
        }
        // A sign takes a place of its own.
        let wide = |value: i64, places: usize| match (fill, value < 0) {
            (true, _) => value.to_string(),
            (false, false) => format!("{value:0places$}"),
            (false, true) => format!("{value:0width$}", width = places + 1),
        };
        // Years count from 1 in both directions.
        let counted = |year: i64| if self.is_interval || year > 0 { year } else { 1 - year };
        let year = counted(self.year);
        let number = match upper.as_str() {
            "HH" | "HH12" => {
                let hour = if self.hour % 12 == 0 { 12 } else { self.hour % 12 };
                let places = if self.hour >= 0 { 2 } else { 3 };
                if fill {
                    hour.to_string()
                } else {
                    format!("{hour:0places$}")
                }
            }
            "HH24" => wide(self.hour, 2),
            "MI" => wide(self.minute, 2),
            "SS" => wide(self.second, 2),
            "FF1" => format!("{:01}", self.fraction_us / 100_000),
            "FF2" => format!("{:02}", self.fraction_us / 10_000),
            "FF3" | "MS" => format!("{:03}", self.fraction_us / 1_000),
            "FF4" => format!("{:04}", self.fraction_us / 100),
            "FF5" => format!("{:05}", self.fraction_us / 10),
            "FF6" | "US" => format!("{:06}", self.fraction_us),
            "SSSS" | "SSSSS" => (self.hour * 3_600 + self.minute * 60 + self.second).to_string(),
            "MM" => wide(self.month, 2),
            "DDD" => wide(self.day_of_year, 3),
            "IDDD" => {
                let (_, week) = iso_week(self.days);
                wide((week - 1) * 7 + (self.days + 3).rem_euclid(7) + 1, 3)
            }
            "DD" => wide(self.day, 2),
            "D" => ((self.days + 4).rem_euclid(7) + 1).to_string(),
            "ID" => ((self.days + 3).rem_euclid(7) + 1).to_string(),
            "WW" => wide((self.day_of_year - 1) / 7 + 1, 2),
            "IW" => wide(iso_week(self.days).1, 2),
            "Q" if self.month == 0 => return Ok(()),
            "Q" => ((self.month - 1) / 3 + 1).to_string(),
            "W" => ((self.day - 1) / 7 + 1).to_string(),
            "CC" => {
                let century = match (self.is_interval, self.year > 0) {
                    (true, _) => self.year / 100,
                    (false, true) => (self.year - 1) / 100 + 1,
                    (false, false) => self.year / 100 - 1,
                };
                if century.abs() <= 99 {
                    wide(century, 2)
                } else {
                    century.to_string()
                }
            }
            "Y,YYY" => format!("{},{:03}", year / 1000, year % 1000),
            "YYYY" => wide(year, 4),
            "IYYY" => wide(counted(iso_week(self.days).0), 4),
            "YYY" => wide(year % 1000, 3),
            "IYY" => wide(counted(iso_week(self.days).0) % 1000, 3),
            "YY" => wide(year % 100, 2),
            "IY" => wide(counted(iso_week(self.days).0) % 100, 2),
            "Y" => wide(year % 10, 1),
            "I" => wide(counted(iso_week(self.days).0) % 10, 1),
            "J" => (self.days + 2_440_588).to_string(),
            _ => {
                self.word(name, &upper, fill, out);
                return Ok(());
            }
        };
        out.push_str(&number);
        if let Some(upper) = suffix {
            out.push_str(ordinal(&number, upper));
        }
        Ok(())
    }

    /// A pattern that is no number.
    fn word(&self, name: &str, upper: &str, fill: bool, out: &mut String) {
        let cased = |text: &str, case: &str| match (
            case.as_bytes()[0].is_ascii_lowercase(),
            case.as_bytes()[1].is_ascii_lowercase(),
        ) {
            (true, _) => text.to_lowercase(),
            (false, true) => text.to_string(),
            (false, false) => text.to_uppercase(),
        };
        let padded = |text: String, places: usize| if fill { text } else { format!("{text:<places$}") };
        let lower = name.as_bytes()[0].is_ascii_lowercase();
        let put = |text: &str| if lower { text.to_lowercase() } else { text.to_string() };
        let afternoon = self.hour % 24 >= 12;
        let text = match upper {
            "A.M." | "P.M." => put(if afternoon { "P.M." } else { "A.M." }),
            "AM" | "PM" => put(if afternoon { "PM" } else { "AM" }),
            "A.D." | "B.C." => put(if self.year > 0 { "A.D." } else { "B.C." }),
            "AD" | "BC" => put(if self.year > 0 { "AD" } else { "BC" }),
            "MONTH" => padded(cased(MONTHS[self.month as usize - 1], name), 9),
            "MON" => cased(&MONTHS[self.month as usize - 1][..3], name),
            "DAY" => padded(cased(DAYS[(self.days + 4).rem_euclid(7) as usize], name), 9),
            "DY" => cased(&DAYS[(self.days + 4).rem_euclid(7) as usize][..3], name),
            "RM" => {
                let place = match (self.month, self.year) {
                    (0, 0) => return,
                    (0, 0..) => 0,
                    (0, _) => 11,
                    (..0, _) => -1 - self.month,
                    (month, _) => 12 - month,
                };
                padded(put(ROMAN_MONTHS[place as usize]), 4)
            }
            "TZ" => match (self.zone_name(), lower) {
                (name, true) => name.to_lowercase(),
                (name, false) => name,
            },
            "TZH" | "TZM" | "OF" => self.offset(upper, fill),
            // FX says how to read.
            _ => return,
        };
        out.push_str(&text);
    }

    fn offset(&self, upper: &str, fill: bool) -> String {
        let seconds = self.zoned.map_or(0, |(instant, zone)| offset_at(zone, instant));
        let (sign, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.abs() / 60);
        let (hours, minutes) = (minutes / 60, minutes % 60);
        match upper {
            "TZH" => format!("{sign}{hours:02}"),
            "TZM" => format!("{minutes:02}"),
            _ => {
                let mut text = if fill {
                    format!("{sign}{hours}")
                } else {
                    format!("{sign}{hours:02}")
                };
                if seconds.abs() % 3_600 != 0 {
                    write!(text, ":{minutes:02}").expect("text takes all");
                }
                text
            }
        }
    }

    /// Nothing for a time without zone.
    fn zone_name(&self) -> String {
        let Some((instant_us, zone)) = self.zoned else {
            return String::new();
        };
        zone.abbreviation(instant_us)
    }
}
