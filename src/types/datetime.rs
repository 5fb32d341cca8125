//! Dates, times and timestamps in the spellings that PostgreSQL reads.
//!
//! The ISO form goes a straight way without allocation; everything else through a tokenizer. Not here: intervals
//! (`interval.rs`), printing (`calendar.rs`).

use super::calendar::{
    DAY_US, SECOND_US, civil_from_days, days_from_civil, days_in_month, infinite_days, is_infinite, offset_at,
    offset_of_local,
};
use super::zone::TimeZone;
use crate::error::{SqlError, SqlState, state};

/// The order of the parts of `01/02/2003`: DateStyle's second word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DateOrder {
    #[default]
    Mdy,
    Dmy,
    Ymd,
}

/// The session's part in reading a value from text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InputStyle {
    /// Zone of a TIMESTAMPTZ that names none.
    pub time_zone: TimeZone,
    pub date_order: DateOrder,
    /// Microseconds since 1970 UTC for `now`, `today`, `tomorrow` and `yesterday`; without it they are refused.
    pub now_us: Option<i64>,
}

impl Default for InputStyle {
    fn default() -> Self {
        InputStyle {
            time_zone: TimeZone::UTC,
            date_order: DateOrder::Mdy,
            now_us: None,
        }
    }
}

/// Days since 1970-01-01. The type's range is years -4712 to 5874897.
pub fn parse_date(text: &str, style: &InputStyle) -> Result<i32, SqlError> {
    const KIND: &str = "date";
    let bytes = text.as_bytes();
    if bytes.len() == 10
        && let Some(days) = iso_date(bytes)
    {
        return Ok(days as i32);
    }
    // A zone after a date is read over, as PostgreSQL does: drivers send one.
    if let Some((date, zone)) = text.trim_end().split_at_checked(10)
        && let zone = zone.trim_start()
        && zone.starts_with(['+', '-'])
        && zone.len() > 1
        && zone[1..].bytes().all(|byte| byte.is_ascii_digit() || byte == b':')
        && let Some(days) = iso_date(date.as_bytes())
    {
        return Ok(days as i32);
    }
    let fields = TimeFields::read(text, style).map_err(|bad| bad.report(KIND, text))?;
    let days = match fields.special {
        Some(infinite) if is_infinite(infinite) => return Ok(infinite_days(infinite)),
        Some(instant_us) if fields.is_epoch => instant_us.div_euclid(DAY_US),
        Some(instant_us) => {
            (instant_us + i64::from(offset_at(style.time_zone, instant_us)) * SECOND_US).div_euclid(DAY_US)
        }
        None => fields.days.ok_or_else(|| Bad::Syntax.report(KIND, text))?,
    };
    if !(DATE_MIN..=DATE_MAX).contains(&days) {
        return Err(out_of_range(KIND, text));
    }
    Ok(days as i32)
}

/// Microseconds since midnight, up to 24:00:00.
pub fn parse_time(text: &str, style: &InputStyle) -> Result<i64, SqlError> {
    const KIND: &str = "time";
    let bytes = text.as_bytes();
    if bytes.len() >= 8
        && let Some(us) = iso_time(bytes)
    {
        return Ok(us);
    }
    let fields = TimeFields::read_time(text, style).map_err(|bad| bad.report(KIND, text))?;
    match (fields.special, fields.time_us) {
        (Some(infinite), _) if is_infinite(infinite) => Err(Bad::Syntax.report(KIND, text)),
        (Some(instant_us), _) => {
            Ok((instant_us + i64::from(offset_at(style.time_zone, instant_us)) * SECOND_US).rem_euclid(DAY_US))
        }
        (None, Some(us)) => Ok(us),
        (None, None) => Err(Bad::Syntax.report(KIND, text)),
    }
}

/// Microseconds since 1970-01-01 00:00:00, without a zone; one that is written is ignored.
pub fn parse_timestamp(text: &str, style: &InputStyle) -> Result<i64, SqlError> {
    const KIND: &str = "timestamp";
    if let Some((us, None)) = iso_timestamp(text.as_bytes()) {
        return Ok(us);
    }
    let fields = TimeFields::read(text, style).map_err(|bad| bad.report(KIND, text))?;
    match fields.special {
        Some(instant_us) if fields.is_epoch || is_infinite(instant_us) => Ok(instant_us),
        Some(instant_us) => Ok(instant_us + i64::from(offset_at(style.time_zone, instant_us)) * SECOND_US),
        None => fields.local_us(KIND, text),
    }
}

/// Microseconds since 1970-01-01 00:00:00 UTC.
pub fn parse_timestamptz(text: &str, style: &InputStyle) -> Result<i64, SqlError> {
    const KIND: &str = "timestamp with time zone";
    if let Some((us, zone)) = iso_timestamp(text.as_bytes()) {
        let offset = zone.unwrap_or_else(|| offset_of_local(style.time_zone, us));
        return Ok(us - i64::from(offset) * SECOND_US);
    }
    let fields = TimeFields::read(text, style).map_err(|bad| bad.report(KIND, text))?;
    if let Some(instant_us) = fields.special {
        return Ok(instant_us);
    }
    let local_us = fields.local_us(KIND, text)?;
    let offset = match fields.zone {
        Some(Zone::Fixed(seconds)) => seconds,
        Some(Zone::Named(zone)) => offset_of_local(zone, local_us),
        None => offset_of_local(style.time_zone, local_us),
    };
    local_us
        .checked_sub(i64::from(offset) * SECOND_US)
        .filter(|us| TIMESTAMP_RANGE_US.contains(us))
        .ok_or_else(|| out_of_range("timestamp", text))
}

/// Finite dates: from [`DATE_MIN`] to [`DATE_MAX`].
pub const DATE_RANGE: std::ops::RangeInclusive<i32> = DATE_MIN as i32..=DATE_MAX as i32;
/// 4714-11-24 BC, the first day that PostgreSQL has (Julian day 0).
pub(super) const DATE_MIN: i64 = -2_440_588;
/// 5874897-12-31.
pub(super) const DATE_MAX: i64 = 2_145_042_905;
/// Finite timestamps. PostgreSQL's end with the year 294276; counted from 1970 they end 30 years before.
pub const TIMESTAMP_RANGE_US: std::ops::Range<i64> = DATE_MIN * DAY_US..i64::MAX;

fn out_of_range(kind: &str, text: &str) -> SqlError {
    SqlError::new(
        state::DATETIME_FIELD_OVERFLOW,
        format!("{kind} out of range: \"{text}\""),
    )
}

/// SQLSTATE of an interval whose field is too large.
pub(super) const INTERVAL_FIELD_OVERFLOW: SqlState = SqlState("22015");

/// Why a text is no date or time.
pub(super) enum Bad {
    Syntax,
    /// A month above 12 or a day above 31: perhaps in another order than DateStyle says.
    MonthOrDay,
    Field,
    ZoneField,
    Zone(String),
}

impl Bad {
    pub(super) fn report(self, kind: &str, text: &str) -> SqlError {
        const ZONE_DISPLACEMENT: SqlState = SqlState("22009");
        let field = || {
            SqlError::new(
                state::DATETIME_FIELD_OVERFLOW,
                format!("date/time field value out of range: \"{text}\""),
            )
        };
        match self {
            Bad::Syntax => SqlError::new(
                state::INVALID_DATETIME_FORMAT,
                format!("invalid input syntax for type {kind}: \"{text}\""),
            ),
            Bad::MonthOrDay => field().hint("Perhaps you need a different \"datestyle\" setting."),
            Bad::Field if kind == "interval" => SqlError::new(
                INTERVAL_FIELD_OVERFLOW,
                format!("interval field value out of range: \"{text}\""),
            ),
            Bad::Field => field(),
            Bad::ZoneField => SqlError::new(
                ZONE_DISPLACEMENT,
                format!("time zone displacement out of range: \"{text}\""),
            ),
            Bad::Zone(zone) => SqlError::new(
                state::INVALID_PARAMETER_VALUE,
                format!("time zone \"{zone}\" not recognized"),
            ),
        }
    }
}

fn digit(byte: u8) -> Option<u32> {
    let value = byte.wrapping_sub(b'0');
    (value < 10).then_some(u32::from(value))
}

fn pair(bytes: &[u8]) -> Option<u32> {
    Some(digit(bytes[0])? * 10 + digit(bytes[1])?)
}

/// Exactly `YYYY-MM-DD`, a day that exists.
fn iso_date(bytes: &[u8]) -> Option<i64> {
    if bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let year = i64::from(pair(&bytes[0..2])? * 100 + pair(&bytes[2..4])?);
    let (month, day) = (pair(&bytes[5..7])?, pair(&bytes[8..10])?);
    if year == 0 || !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
        return None;
    }
    Some(days_from_civil(year, month, day))
}

/// `HH:MM:SS[.f{1,6}]` to the end, below 24:00:00.
fn iso_time(bytes: &[u8]) -> Option<i64> {
    if bytes[2] != b':' || bytes[5] != b':' {
        return None;
    }
    let (hour, minute, second) = (pair(&bytes[0..2])?, pair(&bytes[3..5])?, pair(&bytes[6..8])?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut fraction_us = 0;
    if bytes.len() > 8 {
        if bytes[8] != b'.' || bytes.len() > 15 {
            return None;
        }
        let mut unit = 100_000;
        for byte in &bytes[9..] {
            fraction_us += digit(*byte)? * unit;
            unit /= 10;
        }
    }
    Some(i64::from(hour * 3_600 + minute * 60 + second) * SECOND_US + i64::from(fraction_us))
}

/// `YYYY-MM-DD[( |T)HH:MM:SS[.f][Z|±HH[[:]MM]]]`: local microseconds and the zone's seconds east.
fn iso_timestamp(bytes: &[u8]) -> Option<(i64, Option<i32>)> {
    if bytes.len() < 10 {
        return None;
    }
    let day_us = iso_date(&bytes[..10])? * DAY_US;
    if bytes.len() == 10 {
        return Some((day_us, None));
    }
    if bytes.len() < 19 || !matches!(bytes[10], b' ' | b'T') {
        return None;
    }
    let rest = &bytes[11..];
    let zone_at = rest[8..]
        .iter()
        .position(|b| matches!(b, b'+' | b'-' | b'Z'))
        .map(|at| at + 8);
    let time_us = iso_time(&rest[..zone_at.unwrap_or(rest.len())])?;
    let zone = match zone_at {
        None => None,
        Some(at) => match &rest[at..] {
            b"Z" => Some(0),
            [sign, digits @ ..] => {
                let (hours, minutes) = match digits.len() {
                    2 => (pair(digits)?, 0),
                    4 => (pair(digits)?, pair(&digits[2..])?),
                    5 if digits[2] == b':' => (pair(digits)?, pair(&digits[3..])?),
                    _ => return None,
                };
                if hours > 15 || minutes > 59 {
                    return None;
                }
                let east = (hours * 3_600 + minutes * 60) as i32;
                Some(if *sign == b'-' { -east } else { east })
            }
            [] => return None,
        },
    };
    Some((day_us + time_us, zone))
}

#[derive(Clone, Copy)]
enum Zone {
    /// Seconds east of UTC.
    Fixed(i32),
    Named(TimeZone),
}

/// The fields of a text, in any order.
#[derive(Default)]
struct TimeFields {
    year: Option<(i64, usize)>,
    month: Option<u32>,
    day: Option<u32>,
    /// The month was written as a name.
    named_month: bool,
    /// The date, once checked.
    days: Option<i64>,
    time_us: Option<i64>,
    zone: Option<Zone>,
    bc: bool,
    /// AM: false, PM: true.
    pm: Option<bool>,
    /// `now`, `today`, `epoch`, ...: an instant.
    special: Option<i64>,
    is_epoch: bool,
}

impl TimeFields {
    /// Reads a date with an optional time and zone.
    fn read(text: &str, style: &InputStyle) -> Result<TimeFields, Bad> {
        let mut fields = TimeFields::default();
        fields.tokens(text, style, false)?;
        if fields.special.is_none() {
            fields.check_date()?;
        }
        Ok(fields)
    }

    /// Reads a time of day; a date beside it is allowed and ignored.
    fn read_time(text: &str, style: &InputStyle) -> Result<TimeFields, Bad> {
        let mut fields = TimeFields::default();
        fields.tokens(text, style, true)?;
        if fields.year.is_some() {
            fields.check_date()?;
        }
        fields.apply_meridian()?;
        Ok(fields)
    }

    fn local_us(&self, kind: &str, text: &str) -> Result<i64, SqlError> {
        let days = self.days.ok_or_else(|| Bad::Syntax.report(kind, text))?;
        days.checked_mul(DAY_US)
            .and_then(|us| us.checked_add(self.time_us.unwrap_or(0)))
            .filter(|us| TIMESTAMP_RANGE_US.contains(us))
            .ok_or_else(|| out_of_range("timestamp", text))
    }

    fn check_date(&mut self) -> Result<(), Bad> {
        let (Some((year, digits)), Some(month), Some(day)) = (self.year, self.month, self.day) else {
            return Err(Bad::Syntax);
        };
        let year = if self.bc {
            if year == 0 {
                return Err(Bad::Field);
            }
            1 - year
        } else if digits <= 2 {
            if year < 70 { year + 2_000 } else { year + 1_900 }
        } else if year == 0 {
            return Err(Bad::Field);
        } else {
            year
        };
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return Err(Bad::MonthOrDay);
        }
        if day > days_in_month(year, month) {
            return Err(Bad::Field);
        }
        self.days = Some(days_from_civil(year, month, day));
        self.apply_meridian()
    }

    fn set_day_of_year(&mut self, year: &str, day: &str) -> Result<(), Bad> {
        let first: i64 = year.parse().map_err(|_| Bad::Field)?;
        let number: i64 = day.parse().map_err(|_| Bad::Field)?;
        if !(1..=366).contains(&number) {
            return Err(Bad::Syntax);
        }
        let (in_year, month, day) = civil_from_days(days_from_civil(first, 1, 1) + number - 1);
        self.year = Some((in_year, year.len()));
        self.month = Some(month);
        self.day = Some(day);
        Ok(())
    }

    fn apply_meridian(&mut self) -> Result<(), Bad> {
        const HOUR_US: i64 = 3_600 * SECOND_US;
        let Some(pm) = self.pm.take() else { return Ok(()) };
        let us = self.time_us.ok_or(Bad::Syntax)?;
        let hour = us / HOUR_US;
        if hour > 12 {
            return Err(Bad::Field);
        }
        self.time_us = Some(match (pm, hour) {
            (true, 0..=11) => us + 12 * HOUR_US,
            (false, 12) => us - 12 * HOUR_US,
            _ => us,
        });
        Ok(())
    }

    fn tokens(&mut self, text: &str, style: &InputStyle, time_only: bool) -> Result<(), Bad> {
        let text = text.trim_matches(|c: char| c.is_ascii_whitespace());
        if text.is_empty() || text.len() > 128 || !text.is_ascii() {
            return Err(Bad::Syntax);
        }
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let start = at;
            match bytes[at] {
                b' ' | b'\t' | b'\n' | b',' => at += 1,
                b'0'..=b'9' => {
                    while at < bytes.len() && bytes[at].is_ascii_digit() {
                        at += 1;
                    }
                    match bytes.get(at) {
                        Some(b':') => {
                            while at < bytes.len() && matches!(bytes[at], b'0'..=b'9' | b':' | b'.') {
                                at += 1;
                            }
                            self.set_time(&text[start..at])?;
                        }
                        // `2024.005`: a day of the year.
                        Some(b'-' | b'/' | b'.')
                            if self.days_missing()
                                && at - start == 4
                                && !time_only
                                && bytes.len() >= at + 4
                                && bytes[at + 1..at + 4].iter().all(u8::is_ascii_digit)
                                && !bytes
                                    .get(at + 4)
                                    .is_some_and(|next| next.is_ascii_alphanumeric() || *next == bytes[at]) =>
                        {
                            self.set_day_of_year(&text[start..at], &text[at + 1..at + 4])?;
                            at += 4;
                        }
                        Some(separator @ (b'-' | b'/' | b'.'))
                            if self.days_missing()
                                && bytes.get(at + 1).is_some_and(u8::is_ascii_alphanumeric)
                                && bytes[at + 1..].contains(separator) =>
                        {
                            let separator = *separator;
                            let mut parts = 0;
                            while at < bytes.len()
                                && (bytes[at].is_ascii_alphanumeric() || (bytes[at] == separator && parts < 2))
                            {
                                // The T between an ISO date and its time.
                                if parts == 2
                                    && matches!(bytes[at], b'T' | b't')
                                    && bytes.get(at + 1).is_some_and(u8::is_ascii_digit)
                                {
                                    break;
                                }
                                parts += usize::from(bytes[at] == separator);
                                at += 1;
                            }
                            self.set_date(&text[start..at], char::from(separator), style.date_order)?;
                        }
                        Some(b'.') if !self.days_missing() || time_only => {
                            // 040506.789
                            at += 1;
                            while at < bytes.len() && bytes[at].is_ascii_digit() {
                                at += 1;
                            }
                            self.set_compact_time(&text[start..at])?;
                        }
                        _ => {
                            self.set_number(&text[start..at], time_only)?;
                        }
                    }
                }
                b'+' | b'-' => {
                    // `Jan-02-2024`: a separator after a month's name.
                    if bytes[at] == b'-' && self.month.is_some() && self.days_missing() && self.time_us.is_none() {
                        at += 1;
                        continue;
                    }
                    at += 1;
                    while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
                        at += 1;
                    }
                    if let Some(word) = text.get(at..at + 8)
                        && bytes[start] == b'-'
                        && word.eq_ignore_ascii_case("infinity")
                    {
                        at += 8;
                        self.special = Some(i64::MIN);
                        continue;
                    }
                    while at < bytes.len() && matches!(bytes[at], b'0'..=b'9' | b':') {
                        at += 1;
                    }
                    if (self.time_us.is_none() && self.days_missing()) || self.zone.is_some() {
                        return Err(Bad::Syntax);
                    }
                    self.zone = Some(Zone::Fixed(zone_offset(&text[start..at])?));
                }
                byte if byte.is_ascii_alphabetic() => {
                    while at < bytes.len() && (bytes[at].is_ascii_alphabetic() || bytes[at] == b'.') {
                        at += 1;
                    }
                    // Zone names have slashes, underscores, and Etc/GMT+5 a sign and digits.
                    if matches!(bytes.get(at), Some(b'/' | b'_')) {
                        while at < bytes.len()
                            && (bytes[at].is_ascii_alphanumeric() || matches!(bytes[at], b'/' | b'_' | b'-' | b'+'))
                        {
                            at += 1;
                        }
                    }
                    if matches!(&text[start..at], "J" | "j") && bytes.get(at).is_some_and(u8::is_ascii_digit) {
                        let start = at;
                        while at < bytes.len() && bytes[at].is_ascii_digit() {
                            at += 1;
                        }
                        self.set_julian(&text[start..at])?;
                        continue;
                    }
                    self.set_word(&text[start..at], style)?;
                }
                _ => return Err(Bad::Syntax),
            }
        }
        Ok(())
    }

    fn days_missing(&self) -> bool {
        self.year.is_none() || self.month.is_none() || self.day.is_none()
    }

    fn set_word(&mut self, word: &str, style: &InputStyle) -> Result<(), Bad> {
        let lower = word.to_ascii_lowercase();
        let lower = lower.trim_end_matches('.');
        if let Some(month) = month_by_name(lower) {
            // A number before a month's name was the day.
            if let Some(day) = self.month.replace(month)
                && (self.named_month || self.day.replace(day).is_some() || !(1..=31).contains(&day))
            {
                return Err(Bad::Syntax);
            }
            self.named_month = true;
            return Ok(());
        }
        const DAYS: [&str; 7] = [
            "sunday",
            "monday",
            "tuesday",
            "wednesday",
            "thursday",
            "friday",
            "saturday",
        ];
        if lower.len() >= 3 && DAYS.iter().any(|day| *day == lower || day[..3] == *lower)
            || matches!(lower, "tues" | "weds" | "wednes" | "thur" | "thurs")
        {
            return Ok(());
        }
        let now = |days: i64, whole: bool| -> Result<Option<i64>, Bad> {
            let now_us = style.now_us.ok_or(Bad::Syntax)?;
            if !whole {
                return Ok(Some(now_us));
            }
            let local_us = now_us + i64::from(offset_at(style.time_zone, now_us)) * SECOND_US;
            let midnight_us = (local_us.div_euclid(DAY_US) + days) * DAY_US;
            Ok(Some(
                midnight_us - i64::from(offset_of_local(style.time_zone, midnight_us)) * SECOND_US,
            ))
        };
        match lower {
            "t" => {}
            "am" | "a.m" => self.pm = Some(false),
            "pm" | "p.m" => self.pm = Some(true),
            "ad" => {}
            "bc" => self.bc = true,
            "at" | "on" => {}
            "allballs" => {
                self.time_us = Some(0);
                self.zone = Some(Zone::Fixed(0));
            }
            "epoch" => {
                self.special = Some(0);
                self.is_epoch = true;
            }
            "now" => self.special = now(0, false)?,
            "today" => self.special = now(0, true)?,
            "tomorrow" => self.special = now(1, true)?,
            "yesterday" => self.special = now(-1, true)?,
            "infinity" => self.special = Some(i64::MAX),
            zone => {
                if self.zone.is_some() {
                    return Err(Bad::Syntax);
                }
                let looks_like_zone = word.contains('/') || self.time_us.is_some();
                self.zone = Some(match zone_by_name(zone, word) {
                    Some(zone) => zone,
                    None if looks_like_zone && word.contains('/') => return Err(Bad::Zone(word.to_lowercase())),
                    None => return Err(Bad::Syntax),
                });
            }
        }
        Ok(())
    }

    /// `J2451187`: days since 4714-11-24 BC.
    fn set_julian(&mut self, digits: &str) -> Result<(), Bad> {
        let days: i32 = digits.parse().map_err(|_| Bad::Field)?;
        if self.year.is_some() || self.month.is_some() || self.day.is_some() {
            return Err(Bad::Syntax);
        }
        let (year, month, day) = civil_from_days(i64::from(days) + DATE_MIN);
        self.bc = year <= 0;
        /// Of a year that stands for itself.
        const DIGITS: usize = 4;
        self.year = Some((if self.bc { 1 - year } else { year }, DIGITS));
        self.month = Some(month);
        self.day = Some(day);
        Ok(())
    }

    /// Digits alone: `20240102`, `240102`, after a date `030405`, beside a month's name a day or a year.
    fn set_number(&mut self, digits: &str, time_only: bool) -> Result<(), Bad> {
        let value: u32 = digits.parse().map_err(|_| Bad::Field)?;
        if self.month.is_none() && self.year.is_none() && !time_only {
            let (year_digits, rest) = match digits.len() {
                8 => (4, value % 10_000),
                6 => (2, value % 10_000),
                1 | 2 => {
                    self.month = Some(value);
                    return Ok(());
                }
                3 | 4 => {
                    self.year = Some((i64::from(value), digits.len()));
                    return Ok(());
                }
                _ => return Err(Bad::Syntax),
            };
            self.year = Some((i64::from(value / 10_000), year_digits));
            self.month = Some(rest / 100);
            self.day = Some(rest % 100);
            return Ok(());
        }
        // `2024 1 2`
        if self.year.is_some() && self.month.is_none() && self.day.is_none() && digits.len() <= 2 {
            self.month = Some(value);
            return Ok(());
        }
        if self.month.is_some() && self.days_missing() {
            if self.day.is_none() && digits.len() <= 2 {
                self.day = Some(value);
            } else if self.year.is_none() {
                self.year = Some((i64::from(value), digits.len()));
            } else if self.day.is_none() {
                return Err(Bad::Field);
            } else {
                return Err(Bad::Syntax);
            }
            return Ok(());
        }
        self.set_compact_time(digits)
    }

    /// `0304`, `030405`, `030405.678`.
    fn set_compact_time(&mut self, text: &str) -> Result<(), Bad> {
        let whole = text.split('.').next().unwrap_or(text).len();
        let spelled = match whole {
            4 if whole == text.len() => format!("{}:{}", &text[..2], &text[2..]),
            6 => format!("{}:{}:{}", &text[..2], &text[2..4], &text[4..]),
            _ => return Err(Bad::Syntax),
        };
        self.set_time(&spelled)
    }

    /// `2024-01-02`, `01/02/2024`, `2-Jan-2024`, `2.1.2024`.
    fn set_date(&mut self, text: &str, separator: char, order: DateOrder) -> Result<(), Bad> {
        let mut parts = text.split(separator);
        let (Some(first), Some(second), Some(third), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Bad::Syntax);
        };
        let number = |part: &str| part.parse::<u32>().map_err(|_| Bad::Syntax);
        let year = |part: &str| number(part).map(|year| Some((i64::from(year), part.len())));
        // A name says where the month is; then a long number is the year.
        if let Some(month) = month_by_name(&second.to_ascii_lowercase()) {
            self.month = Some(month);
            let (year_text, day_text) = if first.len() > 2 {
                (first, third)
            } else {
                (third, first)
            };
            self.year = year(year_text)?;
            self.day = Some(number(day_text)?);
            return Ok(());
        }
        let (year_text, month, day) = if first.len() > 2 {
            (first, second, third)
        } else {
            match order {
                DateOrder::Mdy => (third, first, second),
                DateOrder::Dmy => (third, second, first),
                DateOrder::Ymd => (first, second, third),
            }
        };
        self.year = year(year_text)?;
        self.month = Some(number(month)?);
        self.day = Some(number(day)?);
        Ok(())
    }

    /// `HH:MM[:SS[.f]]`; 24:00:00 and a leap second are allowed, and roll over.
    fn set_time(&mut self, text: &str) -> Result<(), Bad> {
        if self.time_us.is_some() {
            return Err(Bad::Syntax);
        }
        let mut parts = text.split(':');
        let number = |part: Option<&str>| -> Result<i64, Bad> {
            let part = part.ok_or(Bad::Syntax)?;
            if part.is_empty() || part.len() > 9 || !part.bytes().all(|b| b.is_ascii_digit()) {
                return Err(Bad::Syntax);
            }
            part.parse().map_err(|_| Bad::Syntax)
        };
        let hour = number(parts.next())?;
        let minute = number(parts.next())?;
        let (second, fraction_us) = match parts.next() {
            None => (0, 0),
            Some(seconds) => {
                let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
                (number(Some(whole))?, fraction_us(fraction).ok_or(Bad::Syntax)?)
            }
        };
        if parts.next().is_some() {
            return Err(Bad::Syntax);
        }
        let us = ((hour * 60 + minute) * 60 + second) * SECOND_US + fraction_us;
        if hour > 24 || minute > 59 || second > 60 || us > DAY_US {
            return Err(Bad::Field);
        }
        self.time_us = Some(us);
        Ok(())
    }
}

/// Digits after a point as microseconds, rounded as PostgreSQL rounds a float; `None` if they are not digits.
pub(super) fn fraction_us(digits: &str) -> Option<i64> {
    if digits.len() > 6 {
        let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
        let fraction: f64 = format!("0.{digits}").parse().ok().filter(|_| all_digits)?;
        return Some((fraction * 1e6).round_ties_even() as i64);
    }
    let mut us = 0;
    let mut unit = 100_000;
    for byte in digits.bytes() {
        us += i64::from(digit(byte)?) * unit;
        unit /= 10;
    }
    Some(us)
}

pub(super) fn month_by_name(lower: &str) -> Option<u32> {
    const MONTHS: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    if lower == "sept" {
        return Some(9);
    }
    MONTHS
        .iter()
        .position(|month| *month == lower || month[..3] == *lower)
        .map(|at| at as u32 + 1)
}

/// `+02`, `-0530`, `+05:30`, `+05:30:15`: seconds east.
fn zone_offset(text: &str) -> Result<i32, Bad> {
    let digits = &text[1..];
    let (hours, minutes, seconds) = if digits.contains(':') {
        let mut parts = digits
            .split(':')
            .map(|part| part.parse::<i32>().map_err(|_| Bad::Syntax));
        let hours = parts.next().ok_or(Bad::Syntax)??;
        (
            hours,
            parts.next().transpose()?.unwrap_or(0),
            parts.next().transpose()?.unwrap_or(0),
        )
    } else {
        let number: i32 = digits.parse().map_err(|_| Bad::Syntax)?;
        match digits.len() {
            1 | 2 => (number, 0, 0),
            3 | 4 => (number / 100, number % 100, 0),
            5 | 6 => (number / 10_000, number / 100 % 100, number % 100),
            _ => return Err(Bad::Syntax),
        }
    };
    if hours > 15 || minutes > 59 || seconds > 59 {
        return Err(Bad::ZoneField);
    }
    let east = hours * 3_600 + minutes * 60 + seconds;
    Ok(if text.starts_with('-') { -east } else { east })
}

/// The usual abbreviations, and IANA names.
fn zone_by_name(lower: &str, written: &str) -> Option<Zone> {
    match TimeZone::of_abbreviation(lower) {
        Some(east) => Some(Zone::Fixed(east)),
        None => TimeZone::named(written).map(Zone::Named),
    }
}

#[cfg(test)]
mod tests;
