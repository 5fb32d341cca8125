//! INTERVAL: months, days and microseconds, in every spelling that PostgreSQL reads and all four that it prints.

mod written;

pub use self::written::write_interval;

use arrow::datatypes::IntervalMonthDayNano;

use super::calendar::{DAY_US, SECOND_US};
use super::datetime::{Bad, INTERVAL_FIELD_OVERFLOW, fraction_us};
use crate::error::{SqlError, state};

/// The setting `intervalstyle`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum IntervalStyle {
    #[default]
    Postgres,
    PostgresVerbose,
    SqlStandard,
    Iso8601,
}

impl IntervalStyle {
    /// A value of the setting, in any case.
    pub fn named(name: &str) -> Option<IntervalStyle> {
        Some(match name.to_ascii_lowercase().as_str() {
            "postgres" => IntervalStyle::Postgres,
            "postgres_verbose" => IntervalStyle::PostgresVerbose,
            "sql_standard" => IntervalStyle::SqlStandard,
            "iso_8601" => IntervalStyle::Iso8601,
            _ => return None,
        })
    }
}

/// A field that `INTERVAL DAY TO MINUTE` and its kind name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum IntervalField {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
}

/// The fields that an interval is read and kept by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct IntervalFields {
    pub first: IntervalField,
    pub last: IntervalField,
}

impl IntervalFields {
    /// Without everything smaller than the last field.
    pub fn cut(self, value: IntervalMonthDayNano) -> IntervalMonthDayNano {
        let of_time = |unit_us: i64| {
            let unit = unit_us * 1_000;
            IntervalMonthDayNano::new(value.months, value.days, value.nanoseconds / unit * unit)
        };
        match self.last {
            IntervalField::Year => IntervalMonthDayNano::new(value.months / 12 * 12, 0, 0),
            IntervalField::Month => IntervalMonthDayNano::new(value.months, 0, 0),
            IntervalField::Day => IntervalMonthDayNano::new(value.months, value.days, 0),
            IntervalField::Hour => of_time(3_600 * SECOND_US),
            IntervalField::Minute => of_time(60 * SECOND_US),
            IntervalField::Second => value,
        }
    }

    /// The unit of a number without one.
    fn unit(self) -> WrittenUnit {
        match self.last {
            IntervalField::Year => WrittenUnit::Year,
            IntervalField::Month => WrittenUnit::Month,
            IntervalField::Day => WrittenUnit::Day,
            IntervalField::Hour => WrittenUnit::Hour,
            IntervalField::Minute => WrittenUnit::Minute,
            IntervalField::Second => WrittenUnit::Second,
        }
    }
}

/// Reads an interval.
pub fn parse_interval(text: &str) -> Result<IntervalMonthDayNano, SqlError> {
    parse_interval_of(text, None)
}

/// Reads an interval of some fields, which give numbers without a unit theirs. Nothing is cut.
pub fn parse_interval_of(text: &str, fields: Option<IntervalFields>) -> Result<IntervalMonthDayNano, SqlError> {
    const KIND: &str = "interval";
    let mut sum = IntervalSum {
        fields,
        ..IntervalSum::default()
    };
    let trimmed = text.trim_matches(super::numeric::is_blank);
    let read = match trimmed.strip_prefix('P') {
        Some(rest) => sum.read_iso(rest),
        None => sum.read_words(trimmed),
    };
    read.map_err(|bad| bad.report(KIND, text))?;
    let out_of_range = || {
        SqlError::new(
            INTERVAL_FIELD_OVERFLOW,
            format!("interval field value out of range: \"{text}\""),
        )
    };
    let months = i32::try_from(sum.months).map_err(|_| match i32::try_from(sum.months / 12) {
        Ok(_) => SqlError::new(state::DATETIME_FIELD_OVERFLOW, "interval out of range"),
        Err(_) => out_of_range(),
    })?;
    let days = i32::try_from(sum.days).map_err(|_| out_of_range())?;
    let nanos = sum
        .us
        .checked_mul(1_000)
        .ok_or_else(|| SqlError::new(state::DATETIME_FIELD_OVERFLOW, "interval out of range"))?;
    Ok(IntervalMonthDayNano::new(months, days, nanos))
}

#[derive(Clone, Copy)]
enum WrittenUnit {
    Microsecond,
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
    Decade,
    Century,
    Millennium,
}

impl WrittenUnit {
    fn named(lower: &str) -> Option<WrittenUnit> {
        Some(match lower {
            "us" | "usec" | "usecs" | "usecond" | "useconds" | "microsecond" | "microseconds" | "microsecon" => {
                WrittenUnit::Microsecond
            }
            "ms" | "msec" | "msecs" | "msecond" | "mseconds" | "millisecond" | "milliseconds" | "millisecon" => {
                WrittenUnit::Millisecond
            }
            "s" | "sec" | "secs" | "second" | "seconds" => WrittenUnit::Second,
            "m" | "min" | "mins" | "minute" | "minutes" => WrittenUnit::Minute,
            "h" | "hr" | "hrs" | "hour" | "hours" => WrittenUnit::Hour,
            "d" | "day" | "days" => WrittenUnit::Day,
            "w" | "week" | "weeks" => WrittenUnit::Week,
            "mon" | "mons" | "month" | "months" => WrittenUnit::Month,
            "y" | "yr" | "yrs" | "year" | "years" => WrittenUnit::Year,
            "dec" | "decs" | "decade" | "decades" => WrittenUnit::Decade,
            "c" | "cent" | "century" | "centuries" => WrittenUnit::Century,
            "mil" | "mils" | "millennium" | "millennia" => WrittenUnit::Millennium,
            _ => return None,
        })
    }
}

/// A number as written: sign, whole part, digits after the point.
#[derive(Clone, Copy)]
struct WrittenNumber<'a> {
    negative: bool,
    whole: i64,
    fraction: &'a str,
}

impl<'a> WrittenNumber<'a> {
    /// `text` has digits with at most one point, at least one digit.
    fn read(negative: bool, text: &'a str) -> Result<WrittenNumber<'a>, Bad> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if whole.is_empty() && fraction.is_empty()
            || !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
            || fraction.contains('.')
        {
            return Err(Bad::Syntax);
        }
        let whole = if whole.is_empty() {
            0
        } else {
            whole.parse().map_err(|_| Bad::Field)?
        };
        Ok(WrittenNumber {
            negative,
            whole,
            fraction,
        })
    }

    fn signed(&self) -> i64 {
        if self.negative { -self.whole } else { self.whole }
    }

    /// The part after the point, with the sign.
    fn fraction(&self) -> f64 {
        if self.fraction.is_empty() {
            return 0.0;
        }
        let value: f64 = format!("0.{}", self.fraction).parse().unwrap_or(0.0);
        if self.negative { -value } else { value }
    }

    /// Microseconds of this many seconds.
    fn seconds_us(&self) -> Result<i64, Bad> {
        let us = self
            .whole
            .checked_mul(SECOND_US)
            .and_then(|us| us.checked_add(fraction_us(self.fraction)?))
            .ok_or(Bad::Field)?;
        Ok(if self.negative { -us } else { us })
    }
}

#[derive(Default)]
struct IntervalSum {
    months: i64,
    days: i64,
    us: i64,
    /// Units that were named, one bit each: none may come twice.
    named: u32,
    fields: Option<IntervalFields>,
}

impl IntervalSum {
    fn add(&mut self, number: WrittenNumber, unit: WrittenUnit) -> Result<(), Bad> {
        let bit = 1 << unit as u32;
        if self.named & bit != 0 {
            return Err(Bad::Syntax);
        }
        self.named |= bit;
        let whole = number.signed();
        match unit {
            WrittenUnit::Microsecond => {
                self.add_us(whole, 1)?;
                self.add_fraction_us(number.fraction())?;
            }
            WrittenUnit::Millisecond => {
                self.add_us(whole, 1_000)?;
                self.add_fraction_us(number.fraction() * 1e3)?;
            }
            WrittenUnit::Second => {
                self.add_us(whole, SECOND_US)?;
                self.add_fraction_us(number.fraction() * 1e6)?;
            }
            WrittenUnit::Minute => {
                self.add_us(whole, 60 * SECOND_US)?;
                self.add_fraction_us(number.fraction() * 60e6)?;
            }
            WrittenUnit::Hour => {
                self.add_us(whole, 3_600 * SECOND_US)?;
                self.add_fraction_us(number.fraction() * 3_600e6)?;
            }
            WrittenUnit::Day => {
                self.add_days(whole)?;
                self.add_fraction_us(number.fraction() * DAY_US as f64)?;
            }
            WrittenUnit::Week => {
                self.add_days(whole.checked_mul(7).ok_or(Bad::Field)?)?;
                self.add_fraction_days(number.fraction() * 7.0)?;
            }
            WrittenUnit::Month => {
                self.add_months(whole, 1)?;
                self.add_fraction_days(number.fraction() * 30.0)?;
            }
            WrittenUnit::Year => self.add_years(number, 1)?,
            WrittenUnit::Decade => self.add_years(number, 10)?,
            WrittenUnit::Century => self.add_years(number, 100)?,
            WrittenUnit::Millennium => self.add_years(number, 1_000)?,
        }
        Ok(())
    }

    fn add_years(&mut self, number: WrittenNumber, years: i64) -> Result<(), Bad> {
        self.add_months(number.signed(), 12 * years)?;
        self.add_months((number.fraction() * 12.0 * years as f64).round_ties_even() as i64, 1)
    }

    fn add_months(&mut self, count: i64, months: i64) -> Result<(), Bad> {
        self.months = count
            .checked_mul(months)
            .and_then(|months| self.months.checked_add(months))
            .ok_or(Bad::Field)?;
        Ok(())
    }

    fn add_days(&mut self, days: i64) -> Result<(), Bad> {
        self.days = self.days.checked_add(days).ok_or(Bad::Field)?;
        Ok(())
    }

    /// Days with a fraction, which becomes time.
    fn add_fraction_days(&mut self, days: f64) -> Result<(), Bad> {
        self.add_days(days.trunc() as i64)?;
        self.add_fraction_us(days.fract() * DAY_US as f64)
    }

    fn add_us(&mut self, count: i64, us: i64) -> Result<(), Bad> {
        self.us = count
            .checked_mul(us)
            .and_then(|us| self.us.checked_add(us))
            .ok_or(Bad::Field)?;
        Ok(())
    }

    /// Rounded; a half is left out, as PostgreSQL does it.
    fn add_fraction_us(&mut self, us: f64) -> Result<(), Bad> {
        let (whole, rest) = (us.trunc(), us.fract());
        let more = if rest.abs() > 0.5 { rest.signum() } else { 0.0 };
        self.add_us((whole + more) as i64, 1)
    }

    fn has_minutes_first(&self) -> bool {
        self.fields
            .is_some_and(|fields| fields.first == IntervalField::Minute && fields.last == IntervalField::Second)
    }

    /// Two numbers in a row: the first counts days, if the second counts hours.
    fn add_numbers(
        &mut self,
        days: Option<WrittenNumber>,
        number: WrittenNumber,
        unit: WrittenUnit,
    ) -> Result<(), Bad> {
        if let Some(days) = days {
            if !matches!(unit, WrittenUnit::Hour) {
                return Err(Bad::Syntax);
            }
            self.add(days, WrittenUnit::Day)?;
        }
        self.add(number, unit)
    }

    /// `HH:MM[:SS[.f]]`, or `MM:SS.f`.
    fn add_time(&mut self, negative: bool, text: &str) -> Result<(), Bad> {
        let parts: Vec<&str> = text.split(':').collect();
        let whole = |part: &str| -> Result<i64, Bad> {
            if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(Bad::Syntax);
            }
            part.parse().map_err(|_| Bad::Field)
        };
        let (hours, minutes, seconds) = match parts.as_slice() {
            [minutes, seconds] if seconds.contains('.') || self.has_minutes_first() => (0, whole(minutes)?, *seconds),
            [hours, minutes] => (whole(hours)?, whole(minutes)?, "0"),
            [hours, minutes, seconds] => (whole(hours)?, whole(minutes)?, *seconds),
            _ => return Err(Bad::Syntax),
        };
        let seconds = WrittenNumber::read(false, seconds)?;
        if minutes > 59 || seconds.whole > 60 {
            return Err(Bad::Field);
        }
        let us = hours
            .checked_mul(3_600 * SECOND_US)
            .and_then(|us| us.checked_add(minutes * 60 * SECOND_US))
            .and_then(|us| us.checked_add(seconds.seconds_us().ok()?))
            .ok_or(Bad::Field)?;
        const CLOCK: u32 =
            1 << WrittenUnit::Hour as u32 | 1 << WrittenUnit::Minute as u32 | 1 << WrittenUnit::Second as u32;
        if self.named & CLOCK != 0 {
            return Err(Bad::Syntax);
        }
        self.named |= CLOCK;
        self.add_us(if negative { -us } else { us }, 1)
    }

    /// `1 day 02:03:04`, `-3 mons +2 days`, `@ 1 hour ago`, `1-2`, `10s`.
    fn read_words(&mut self, text: &str) -> Result<(), Bad> {
        if text.is_empty() || !text.is_ascii() {
            return Err(Bad::Syntax);
        }
        let bytes = text.as_bytes();
        let mut at = 0;
        let mut pending: Option<WrittenNumber> = None;
        let mut before: Option<WrittenNumber> = None;
        let mut ago = false;
        while at < bytes.len() {
            let byte = bytes[at];
            if byte.is_ascii_whitespace() || byte.is_ascii_punctuation() && !matches!(byte, b'+' | b'-' | b'.') {
                at += 1;
            } else if byte.is_ascii_alphabetic() {
                let start = at;
                while at < bytes.len() && bytes[at].is_ascii_alphabetic() {
                    at += 1;
                }
                let word = text[start..at].to_ascii_lowercase();
                match (word.as_str(), pending.take()) {
                    ("ago", None) => ago = true,
                    (word, Some(number)) => {
                        let unit = WrittenUnit::named(word).ok_or(Bad::Syntax)?;
                        self.add_numbers(before.take(), number, unit)?;
                    }
                    _ => return Err(Bad::Syntax),
                }
            } else {
                let negative = byte == b'-';
                if matches!(byte, b'-' | b'+') {
                    at += 1;
                    while at < bytes.len() && bytes[at].is_ascii_whitespace() {
                        at += 1;
                    }
                }
                let start = at;
                while at < bytes.len() && matches!(bytes[at], b'0'..=b'9' | b'.') {
                    at += 1;
                }
                // A sign stands before a digit.
                let is_signed = matches!(byte, b'-' | b'+');
                if at == start || is_signed && bytes[start] == b'.' {
                    return Err(Bad::Syntax);
                }
                match bytes.get(at) {
                    Some(b':') => {
                        while at < bytes.len() && matches!(bytes[at], b'0'..=b'9' | b'.' | b':') {
                            at += 1;
                        }
                        // A number before a time counts days.
                        if before.is_some() {
                            return Err(Bad::Syntax);
                        }
                        if let Some(days) = pending.take() {
                            self.add(days, WrittenUnit::Day)?;
                        }
                        self.add_time(negative, &text[start..at])?;
                    }
                    Some(b'-') if bytes.get(at + 1).is_some_and(u8::is_ascii_digit) => {
                        if pending.is_some() {
                            return Err(Bad::Syntax);
                        }
                        let years = WrittenNumber::read(negative, &text[start..at])?;
                        at += 1;
                        let start = at;
                        while at < bytes.len() && bytes[at].is_ascii_digit() {
                            at += 1;
                        }
                        let months = WrittenNumber::read(negative, &text[start..at])?;
                        if months.whole > 11 || !years.fraction.is_empty() {
                            return Err(Bad::Field);
                        }
                        // Three numbers are a date.
                        if bytes.get(at) == Some(&b'-') {
                            return Err(Bad::Syntax);
                        }
                        self.add(years, WrittenUnit::Year)?;
                        self.add(months, WrittenUnit::Month)?;
                    }
                    _ => {
                        if before.is_some() {
                            return Err(Bad::Syntax);
                        }
                        before = pending.take();
                        pending = Some(WrittenNumber::read(negative, &text[start..at])?);
                    }
                }
            }
        }
        if let Some(number) = pending {
            let unit = self.fields.map_or(WrittenUnit::Second, IntervalFields::unit);
            self.add_numbers(before, number, unit)?;
        }
        if self.named == 0 {
            return Err(Bad::Syntax);
        }
        if ago {
            self.months = -self.months;
            self.days = -self.days;
            self.us = -self.us;
        }
        Ok(())
    }

    /// Reads the text after the `P` of `P1Y2M3DT4H5M6.7S`, `P0001-02-03T04:05:06` or `P00010203T040506`.
    fn read_iso(&mut self, text: &str) -> Result<(), Bad> {
        let (date, time) = match text.find('T') {
            Some(at) => (&text[..at], Some(&text[at + 1..])),
            None => (text, None),
        };
        if date.is_empty() && time.is_none() {
            return Err(Bad::Syntax);
        }
        self.read_iso_date(date)?;
        match time {
            Some(time) => self.read_iso_time(time),
            None => Ok(()),
        }
    }

    fn read_iso_date(&mut self, date: &str) -> Result<(), Bad> {
        const UNITS: [WrittenUnit; 3] = [WrittenUnit::Year, WrittenUnit::Month, WrittenUnit::Day];
        if date.is_empty() || date.ends_with(|c: char| c.is_ascii_alphabetic()) {
            return self.read_designated(date, false);
        }
        if date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit()) {
            return self.add_parts([&date[..4], &date[4..6], &date[6..]].into_iter().zip(UNITS));
        }
        // The sign of the year is no separator.
        let (sign, unsigned) = date.split_at(usize::from(date.starts_with('-')));
        let first = unsigned.find('-').unwrap_or(unsigned.len());
        let (year, rest) = date.split_at(sign.len() + first);
        let rest = rest.strip_prefix('-').map(|rest| rest.split('-').collect::<Vec<_>>());
        let rest = rest.unwrap_or_default();
        if rest.len() > 2 {
            return Err(Bad::Syntax);
        }
        self.add_parts([year].into_iter().chain(rest).zip(UNITS))
    }

    fn read_iso_time(&mut self, time: &str) -> Result<(), Bad> {
        const UNITS: [WrittenUnit; 3] = [WrittenUnit::Hour, WrittenUnit::Minute, WrittenUnit::Second];
        if time.is_empty() || time.ends_with(|c: char| c.is_ascii_alphabetic()) {
            return self.read_designated(time, true);
        }
        let whole = time.split('.').next().unwrap_or_default();
        if whole.len() == 6 && whole.bytes().all(|byte| byte.is_ascii_digit()) {
            return self.add_parts([&time[..2], &time[2..4], &time[4..]].into_iter().zip(UNITS));
        }
        let parts: Vec<&str> = time.split(':').collect();
        if parts.len() > 3 {
            return Err(Bad::Syntax);
        }
        self.add_parts(parts.into_iter().zip(UNITS))
    }

    fn add_parts<'a>(&mut self, parts: impl Iterator<Item = (&'a str, WrittenUnit)>) -> Result<(), Bad> {
        for (text, unit) in parts {
            let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
            self.add_again(WrittenNumber::read(text.starts_with('-'), unsigned)?, unit)?;
        }
        Ok(())
    }

    /// ISO 8601 lets a unit come again.
    fn add_again(&mut self, number: WrittenNumber, unit: WrittenUnit) -> Result<(), Bad> {
        self.named = 0;
        self.add(number, unit)
    }

    fn read_designated(&mut self, mut text: &str, in_time: bool) -> Result<(), Bad> {
        while !text.is_empty() {
            let negative = text.starts_with('-');
            let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
            let end = unsigned
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .ok_or(Bad::Syntax)?;
            let number = WrittenNumber::read(negative, &unsigned[..end])?;
            let unit = match (unsigned.as_bytes()[end], in_time) {
                (b'Y', false) => WrittenUnit::Year,
                (b'M', false) => WrittenUnit::Month,
                (b'W', false) => WrittenUnit::Week,
                (b'D', false) => WrittenUnit::Day,
                (b'H', true) => WrittenUnit::Hour,
                (b'M', true) => WrittenUnit::Minute,
                (b'S', true) => WrittenUnit::Second,
                _ => return Err(Bad::Syntax),
            };
            self.add_again(number, unit)?;
            text = &unsigned[end + 1..];
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    fn shown(text: &str, style: IntervalStyle) -> String {
        let value = parse_interval(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let mut out = BytesMut::new();
        write_interval(value, style, &mut out);
        String::from_utf8(out.to_vec()).expect("intervals are ASCII")
    }

    /// Checked against PostgreSQL 15.
    #[test]
    fn intervals_are_read_in_every_usual_spelling() {
        for (text, expected) in [
            ("1 day 02:03:04", "1 day 02:03:04"),
            ("10 seconds", "00:00:10"),
            ("10", "00:00:10"),
            ("1.5 hours", "01:30:00"),
            ("1 02:03", "1 day 02:03:00"),
            ("1-2", "1 year 2 mons"),
            ("-1-2 3 -4:05:06.7", "-1 years -2 mons +3 days -04:05:06.7"),
            ("1 year 2 months 3 weeks 4 days", "1 year 2 mons 25 days"),
            ("1.5 months", "1 mon 15 days"),
            ("1.5 years", "1 year 6 mons"),
            ("0.5 weeks", "3 days 12:00:00"),
            ("1 hour ago", "-01:00:00"),
            ("@ 1 day 2 hours ago", "-1 days -02:00:00"),
            ("-1 day", "-1 days"),
            ("10s", "00:00:10"),
            ("5m30s", "00:05:30"),
            ("100 milliseconds", "00:00:00.1"),
            ("1500 us", "00:00:00.0015"),
            ("100 hours", "100:00:00"),
            ("P1Y2M3DT4H5M6.7S", "1 year 2 mons 3 days 04:05:06.7"),
            ("P1W", "7 days"),
            ("PT-5M", "-00:05:00"),
            ("P0001-02-03T04:05:06", "1 year 2 mons 3 days 04:05:06"),
            ("1 decade 1 century", "110 years"),
            ("0", "00:00:00"),
            ("04:05.6", "00:04:05.6"),
        ] {
            assert_eq!(shown(text, IntervalStyle::Postgres), expected, "{text}");
        }
    }

    #[test]
    fn every_style_prints_as_postgresql() {
        for (text, standard, verbose, iso) in [
            ("1 year 2 months", "1-2", "@ 1 year 2 mons", "P1Y2M"),
            (
                "3 days 04:05:06.7",
                "3 4:05:06.7",
                "@ 3 days 4 hours 5 mins 6.7 secs",
                "P3DT4H5M6.7S",
            ),
            ("-1 day -2 hours", "-1 2:00:00", "@ 1 day 2 hours ago", "P-1DT-2H"),
            ("1 mon -1 day", "+0-1 -1 +0:00:00", "@ 1 mon -1 days", "P1M-1D"),
            ("0", "0", "@ 0", "PT0S"),
            ("-0.5 sec", "-0:00:00.5", "@ 0.5 secs ago", "PT-0.5S"),
        ] {
            assert_eq!(shown(text, IntervalStyle::SqlStandard), standard, "{text}");
            assert_eq!(shown(text, IntervalStyle::PostgresVerbose), verbose, "{text}");
            assert_eq!(shown(text, IntervalStyle::Iso8601), iso, "{text}");
        }
    }

    #[test]
    fn bad_intervals_have_postgresqls_errors() {
        for (text, code) in [
            ("", "22007"),
            ("x", "22007"),
            ("1 parsec", "22007"),
            ("1 day 1 day", "22007"),
            ("ago", "22007"),
            ("P", "22007"),
            ("1:99", "22015"),
            ("99999999999 years", "22015"),
            ("178956971 years", "22008"),
            ("9999999999999999999 days", "22015"),
        ] {
            let error = parse_interval(text).expect_err(text);
            assert_eq!(error.state.0, code, "{text}");
        }
        assert_eq!(
            parse_interval("x").expect_err("no interval").message,
            "invalid input syntax for type interval: \"x\""
        );
    }
}
