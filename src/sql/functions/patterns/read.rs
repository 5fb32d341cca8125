//! Dates and times read by patterns: `to_date` and `to_timestamp`.

use super::dates::{Convention, DAYS, DateToken, Keyword, MONTHS, ROMAN_MONTHS, Tokens, tokens};
use crate::error::{SqlError, state};
use crate::sql::functions::part::iso_week;
use crate::sql::functions::temporal::DAY_US;
use crate::types::calendar::{civil_from_days, days_from_civil, days_in_month};

/// Julian day of 1970-01-01.
const JULIAN: i64 = 2_440_588;

/// The fields that the patterns have read; 0 for others.
#[derive(Default)]
struct ReadFields {
    convention: Option<Convention>,
    hour: i64,
    afternoon: i64,
    minute: i64,
    second: i64,
    second_of_day: i64,
    /// From 1, Sunday.
    weekday: i64,
    day: i64,
    day_of_year: i64,
    month: i64,
    ms: i64,
    us: i64,
    year: i64,
    /// Digits of the year's pattern.
    year_digits: usize,
    before_christ: i64,
    week: i64,
    week_of_month: i64,
    century: i64,
    julian: i64,
    twelve: bool,
    zone_sign: i64,
    zone_hour: i64,
    zone_minute: i64,
}

/// Microseconds since 1970 on the wall clock, and seconds east if a zone was read.
pub struct Read {
    pub local_us: i64,
    pub offset: Option<i64>,
}

fn format_error(message: String) -> SqlError {
    SqlError::new(state::INVALID_DATETIME_FORMAT, message)
}

/// The position in the text, and the fields so far.
struct PatternReader<'a> {
    text: &'a str,
    rest: &'a str,
    fields: ReadFields,
}

fn blank(letter: char) -> bool {
    matches!(letter, ' ' | '\t'..='\r')
}

/// Reads a date and time by a format.
pub fn parse(text: &str, format: &str) -> Result<Read, SqlError> {
    let mut reader = PatternReader {
        text,
        rest: text,
        fields: ReadFields::default(),
    };
    let mut pieces = tokens(format);
    let (mut exact, mut first, mut skipped) = (false, true, 0i64);
    while !reader.rest.is_empty()
        && let Some(token) = pieces.next()
    {
        if !exact && (first || matches!(token, DateToken::Pattern { .. })) {
            skipped += reader.skip_blanks();
        }
        first = false;
        let next = |reader: &PatternReader| reader.rest.chars().next();
        match token {
            DateToken::Space(_) | DateToken::Separator(_) => {
                let Some(letter) = next(&reader) else { break };
                let separates = blank(letter) || matches!(letter, '!'..='~') && !letter.is_ascii_alphanumeric();
                if exact || separates {
                    reader.rest = &reader.rest[letter.len_utf8()..];
                }
                if !exact && !separates {
                    skipped -= 1;
                }
                continue;
            }
            DateToken::Letter(_) => {
                if !exact && skipped > 0 {
                    skipped -= 1;
                } else if let Some(letter) = next(&reader) {
                    reader.rest = &reader.rest[letter.len_utf8()..];
                }
                continue;
            }
            DateToken::Pattern { keyword, fill, ordinal } => {
                if keyword.name.eq_ignore_ascii_case("FX") {
                    exact = true;
                } else {
                    let slurps = fill || ordinal.is_some() || followed_by_no_digit(&pieces);
                    reader.pattern(keyword, slurps, skipped)?;
                    if ordinal.is_some() && keyword.digits {
                        let mut letters = reader.rest.chars();
                        letters.nth(1);
                        reader.rest = letters.as_str();
                    }
                }
            }
        }
        if !exact {
            skipped = reader.skip_blanks();
        }
    }
    reader.finish()
}

/// Whether the next piece of the format is no digit.
fn followed_by_no_digit(pieces: &Tokens) -> bool {
    match pieces.clone().next() {
        None => true,
        Some(DateToken::Pattern { keyword, .. }) => !keyword.digits,
        Some(DateToken::Letter(letter) | DateToken::Separator(letter) | DateToken::Space(letter)) => {
            !letter.is_ascii_digit()
        }
    }
}

/// The number that a text begins with as C's strtol reads it: its value, `None` if it is out of range, and its length.
fn leading_number(text: &str) -> (Option<i64>, usize) {
    let blanks = text.len() - text.trim_start_matches(blank).len();
    let after = &text[blanks..];
    let sign = usize::from(after.starts_with(['+', '-']));
    let digits = after[sign..].bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return (Some(0), 0);
    }
    let value = after[..sign + digits]
        .parse::<i64>()
        .ok()
        .filter(|value| i32::try_from(*value).is_ok());
    (value, blanks + sign + digits)
}

/// Years of fewer than four digits are near 2020.
fn near_2020(year: i64) -> i64 {
    match year {
        ..70 => year + 2000,
        70..100 => year + 1900,
        100..520 => year + 2000,
        520..1000 => year + 1000,
        _ => year,
    }
}

impl PatternReader<'_> {
    fn skip_blanks(&mut self) -> i64 {
        let after = self.rest.trim_start_matches(blank);
        let skipped = self.rest.len() - after.len();
        self.rest = after;
        skipped as i64
    }

    /// A number of up to that many letters, and its length.
    fn number(&mut self, name: &str, length: usize, slurps: bool) -> Result<(i64, usize), SqlError> {
        const HINT: &str = "If your source string is not fixed-width, try using the \"FM\" modifier.";
        let before = self.rest;
        let after_blanks = before.trim_start_matches(blank);
        let copy: String = after_blanks.chars().take(length).collect();
        let value = if slurps {
            let (value, used) = leading_number(before);
            self.rest = &before[used..];
            value
        } else {
            if after_blanks.len() < length {
                return Err(
                    format_error(format!("source string too short for \"{name}\" formatting field"))
                        .detail(format!(
                            "Field requires {length} characters, but only {} remain.",
                            after_blanks.len()
                        ))
                        .hint(HINT),
                );
            }
            let (value, used) = leading_number(&copy);
            if used > 0 && used < length {
                return Err(format_error(format!("invalid value \"{copy}\" for \"{name}\""))
                    .detail(format!(
                        "Field requires {length} characters, but only {used} could be parsed."
                    ))
                    .hint(HINT));
            }
            self.rest = &after_blanks[used..];
            value
        };
        if self.rest.len() == before.len() {
            return Err(
                format_error(format!("invalid value \"{copy}\" for \"{name}\"")).detail("Value must be an integer.")
            );
        }
        let Some(value) = value else {
            return Err(SqlError::new(
                state::DATETIME_FIELD_OVERFLOW,
                format!("value for \"{name}\" in source string is out of range"),
            )
            .detail(format!("Value must be in the range {} to {}.", i32::MIN, i32::MAX)));
        };
        Ok((value, before.len() - self.rest.len()))
    }

    /// The index of the name that comes first in the text.
    fn name(&mut self, pattern: &str, names: &[&str]) -> Result<i64, SqlError> {
        let found = names.iter().position(|name| {
            self.rest
                .as_bytes()
                .get(..name.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(name.as_bytes()))
        });
        let Some(found) = found else {
            let word = self.rest.split(blank).next().unwrap_or("");
            return Err(format_error(format!("invalid value \"{word}\" for \"{pattern}\""))
                .detail("The given value did not match any of the allowed values for this field."));
        };
        self.rest = &self.rest[names[found].len()..];
        Ok(found as i64)
    }

    fn pattern(&mut self, keyword: &Keyword, slurps: bool, skipped: i64) -> Result<(), SqlError> {
        let name = keyword.name;
        if keyword.convention != Convention::None {
            match self.fields.convention {
                Some(known) if known != keyword.convention => {
                    return Err(format_error("invalid combination of date conventions".to_string())
                        .hint("Do not mix Gregorian and ISO week date conventions in a formatting template."));
                }
                _ => self.fields.convention = Some(keyword.convention),
            }
        }
        let upper = name.to_ascii_uppercase();
        let set = |field: &mut i64, value: i64| match *field != 0 && *field != value {
            true => Err(
                format_error(format!("conflicting values for \"{name}\" field in formatting string"))
                    .detail("This value contradicts a previous setting for the same field type."),
            ),
            false => {
                *field = value;
                Ok(())
            }
        };
        let short: [&str; 12] = MONTHS.map(|month| &month[..3]);
        let short_days: [&str; 7] = DAYS.map(|day| &day[..3]);
        match upper.as_str() {
            "A.M." | "P.M." | "AM" | "PM" => {
                let names = if upper.contains('.') {
                    ["A.M.", "P.M."]
                } else {
                    ["AM", "PM"]
                };
                let value = self.name(name, &names)?;
                set(&mut self.fields.afternoon, value)?;
                self.fields.twelve = true;
            }
            "A.D." | "B.C." | "AD" | "BC" => {
                let names = if upper.contains('.') {
                    ["A.D.", "B.C."]
                } else {
                    ["AD", "BC"]
                };
                let value = self.name(name, &names)?;
                set(&mut self.fields.before_christ, value)?;
            }
            "MONTH" => {
                let value = self.name(name, &MONTHS)? + 1;
                set(&mut self.fields.month, value)?;
            }
            "MON" => {
                let value = self.name(name, &short)? + 1;
                set(&mut self.fields.month, value)?;
            }
            "RM" => {
                let value = 12 - self.name(name, &ROMAN_MONTHS)?;
                set(&mut self.fields.month, value)?;
            }
            "DAY" => {
                let value = self.name(name, &DAYS)?;
                set(&mut self.fields.weekday, value)?;
                self.fields.weekday += 1;
            }
            "DY" => {
                let value = self.name(name, &short_days)?;
                set(&mut self.fields.weekday, value)?;
                self.fields.weekday += 1;
            }
            "TZ" | "OF" => {
                return Err(SqlError::new(
                    state::FEATURE_NOT_SUPPORTED,
                    format!("formatting field \"{name}\" is only supported in to_char"),
                ));
            }
            "TZH" => {
                self.fields.zone_sign = match self.rest.as_bytes().first() {
                    Some(sign @ (b'+' | b'-' | b' ')) => {
                        self.rest = &self.rest[1..];
                        if *sign == b'-' { -1 } else { 1 }
                    }
                    // The sign may have been taken for a separator.
                    _ if skipped > 0 && self.text[..self.text.len() - self.rest.len()].ends_with('-') => -1,
                    _ => 1,
                };
                let (value, _) = self.number(name, 2, slurps)?;
                set(&mut self.fields.zone_hour, value)?;
            }
            "TZM" => {
                if self.fields.zone_sign == 0 {
                    self.fields.zone_sign = 1;
                }
                let (value, _) = self.number(name, 2, slurps)?;
                set(&mut self.fields.zone_minute, value)?;
            }
            "Y,YYY" => {
                let refused = || format_error("invalid input string for \"Y,YYY\"".to_string());
                let (thousands, used) = leading_number(self.rest);
                let after = self.rest[used..]
                    .strip_prefix(',')
                    .filter(|_| used > 0)
                    .ok_or_else(refused)?;
                let digits = after.bytes().take(3).take_while(u8::is_ascii_digit).count();
                let years: i64 = after[..digits].parse().map_err(|_| refused())?;
                self.rest = &after[digits..];
                set(&mut self.fields.year, thousands.unwrap_or(0) * 1000 + years)?;
                self.fields.year_digits = 4;
            }
            _ => self.digits(&upper, name, slurps)?,
        }
        Ok(())
    }

    /// A pattern of digits only.
    fn digits(&mut self, upper: &str, name: &str, slurps: bool) -> Result<(), SqlError> {
        let length = match upper {
            "HH24" | "HH12" | "HH" | "MI" | "SS" | "MM" | "DD" | "WW" | "IW" | "CC" | "YY" | "IY" | "FF2" => 2,
            "MS" | "DDD" | "IDDD" | "YYY" | "IYY" | "FF3" => 3,
            "SSSS" | "YYYY" | "IYYY" | "FF4" => 4,
            "SSSSS" | "FF5" => 5,
            "US" | "FF6" => 6,
            _ => 1,
        };
        let (mut value, taken) = self.number(name, length, slurps)?;
        // 25 is 0.25 and 250 is 0.25 too.
        let scaled = |value: i64, places: usize| value * 10i64.pow(places.saturating_sub(taken) as u32);
        let fields = &mut self.fields;
        let field = match upper {
            "HH24" => &mut fields.hour,
            "HH12" | "HH" => {
                fields.twelve = true;
                &mut fields.hour
            }
            "MI" => &mut fields.minute,
            "SS" => &mut fields.second,
            "SSSS" | "SSSSS" => &mut fields.second_of_day,
            "MS" => {
                value = scaled(value, 3);
                &mut fields.ms
            }
            "US" | "FF1" | "FF2" | "FF3" | "FF4" | "FF5" | "FF6" => {
                value = scaled(value, 6);
                &mut fields.us
            }
            "MM" => &mut fields.month,
            "DD" => &mut fields.day,
            "DDD" | "IDDD" => &mut fields.day_of_year,
            "D" => &mut fields.weekday,
            "ID" => {
                // From Sunday.
                value = if value + 1 > 7 { 1 } else { value + 1 };
                &mut fields.weekday
            }
            "WW" | "IW" => &mut fields.week,
            "W" => &mut fields.week_of_month,
            "CC" => &mut fields.century,
            "J" => &mut fields.julian,
            "YYYY" | "IYYY" | "YYY" | "IYY" | "YY" | "IY" | "Y" | "I" => {
                if length < 4 && taken < 4 {
                    value = near_2020(value);
                }
                fields.year_digits = length;
                &mut fields.year
            }
            // A quarter is read over.
            _ => return Ok(()),
        };
        if *field != 0 && *field != value {
            return Err(
                format_error(format!("conflicting values for \"{name}\" field in formatting string"))
                    .detail("This value contradicts a previous setting for the same field type."),
            );
        }
        *field = value;
        Ok(())
    }

    fn finish(self) -> Result<Read, SqlError> {
        let fields = self.fields;
        let range = || {
            SqlError::new(
                state::DATETIME_FIELD_OVERFLOW,
                format!("date/time field value out of range: \"{}\"", self.text),
            )
        };
        let (mut hour, mut minute, mut second) = (
            fields.second_of_day / 3_600,
            fields.second_of_day % 3_600 / 60,
            fields.second_of_day % 60,
        );
        let given = |field: &mut i64, value: i64| {
            if value != 0 {
                *field = value;
            }
        };
        given(&mut second, fields.second);
        given(&mut minute, fields.minute);
        given(&mut hour, fields.hour);
        if fields.twelve {
            if !(1..=12).contains(&hour) {
                return Err(
                    format_error(format!("hour \"{hour}\" is invalid for the 12-hour clock"))
                        .hint("Use the 24-hour clock, or give an hour between 1 and 12."),
                );
            }
            hour = hour % 12 + 12 * fields.afternoon;
        }
        let (mut year, mut month, mut day) = (0i64, 1i64, 1i64);
        let century = if fields.before_christ == 1 {
            -fields.century
        } else {
            fields.century
        };
        let (mut knows_year, mut knows_month, mut knows_day) = (false, false, false);
        if fields.year != 0 {
            if century != 0 && fields.year_digits <= 2 {
                year = match (fields.year % 100, century >= 0) {
                    (0, true) => century * 100,
                    (0, false) => century * 100 + 1,
                    (rest, true) => rest + (century - 1) * 100,
                    (rest, false) => (century + 1) * 100 - rest + 1,
                };
            } else {
                year = if fields.before_christ == 1 {
                    -fields.year
                } else {
                    fields.year
                };
                if year < 0 {
                    year += 1;
                }
            }
            knows_year = true;
        } else if century != 0 {
            year = if century >= 0 {
                (century - 1) * 100 + 1
            } else {
                century * 100 + 1
            };
            knows_year = true;
        }
        let mut set_days = |days: i64, year: &mut i64, month: &mut i64, day: &mut i64| {
            let (y, m, d) = civil_from_days(days);
            (*year, *month, *day) = (y, m.into(), d.into());
            (knows_year, knows_month, knows_day) = (true, true, true);
        };
        // The Monday of the first week of an ISO year.
        let first_monday = |year: i64| {
            let january_4 = days_from_civil(year, 1, 4);
            debug_assert_eq!(iso_week(january_4).1, 1);
            january_4 - (january_4 + 3).rem_euclid(7)
        };
        let iso = fields.convention == Some(Convention::IsoWeek);
        let mut day_of_year = fields.day_of_year;
        if fields.julian != 0 {
            set_days(fields.julian - JULIAN, &mut year, &mut month, &mut day);
        }
        if fields.week != 0 {
            if iso {
                // Sunday is the last day of a week.
                let from_monday = match fields.weekday {
                    0 => 0,
                    1 => 6,
                    weekday => weekday - 2,
                };
                let days = first_monday(year) + (fields.week - 1) * 7 + from_monday;
                set_days(days, &mut year, &mut month, &mut day);
            } else {
                day_of_year = (fields.week - 1) * 7 + 1;
            }
        }
        let of_month = match fields.week_of_month {
            0 => fields.day,
            week => (week - 1) * 7 + 1,
        };
        let (has_day, has_month) = (of_month != 0, fields.month != 0);
        given(&mut day, of_month);
        given(&mut month, fields.month);
        if day_of_year != 0 && (month <= 1 || day <= 1) {
            if year == 0 && fields.before_christ == 0 {
                return Err(format_error(
                    "cannot calculate day of year without year information".to_string(),
                ));
            }
            if iso {
                set_days(first_monday(year) - 1 + day_of_year, &mut year, &mut month, &mut day);
            } else {
                let mut found = 1i64;
                let mut before = 0i64;
                while found <= 12 && day_of_year > before + i64::from(days_in_month(year, found as u32)) {
                    before += i64::from(days_in_month(year, found as u32));
                    found += 1;
                }
                if month <= 1 {
                    month = found;
                }
                if day <= 1 {
                    day = day_of_year - before;
                }
                (knows_month, knows_day) = (true, true);
            }
        }
        (knows_day, knows_month) = (knows_day || has_day, knows_month || has_month);
        if knows_month && !(1..=12).contains(&month) || knows_day && !(1..=31).contains(&day) {
            return Err(range());
        }
        if knows_year && knows_month && knows_day && day > i64::from(days_in_month(year, month as u32)) {
            return Err(range());
        }
        let fraction = fields.ms * 1000 + fields.us;
        let fits = |value: i64, end: i64| (0..end).contains(&value);
        if !fits(hour, 24) || !fits(minute, 60) || !fits(second, 60) || !fits(fraction, 1_000_000) {
            return Err(range());
        }
        let offset = match fields.zone_sign {
            0 => None,
            sign => {
                if !fits(fields.zone_hour, 16) || !fits(fields.zone_minute, 60) {
                    return Err(range());
                }
                Some(sign * (fields.zone_hour * 3_600 + fields.zone_minute * 60))
            }
        };
        // A day that its month does not have goes on into the next.
        let days = days_from_civil(year, month as u32, 1) + day - 1;
        let time = (hour * 3_600 + minute * 60 + second) * 1_000_000 + fraction;
        let local_us = days
            .checked_mul(DAY_US)
            .and_then(|us| us.checked_add(time))
            .filter(|_| days >= -JULIAN)
            .ok_or_else(|| {
                SqlError::new(
                    state::DATETIME_FIELD_OVERFLOW,
                    format!("timestamp out of range: \"{}\"", self.text),
                )
            })?;
        Ok(Read { local_us, offset })
    }
}
