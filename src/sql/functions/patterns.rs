//! The patterns of `to_char`, `to_date` and `to_timestamp`: `YYYY-MM-DD HH24:MI:SS`, `FM9,999.00`.
//!
//! Not here: Roman numerals, scientific notation, and patterns that depend on a locale.

use arrow::datatypes::IntervalMonthDayNano;
use chrono_tz::Tz;

use super::part::iso_week;
use super::temporal::DAY_US;
use crate::error::{SqlError, state};
use crate::types::calendar::{civil_from_days, days_from_civil, days_in_month, offset_at};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// Every pattern of a date and time, longest first where one begins another.
const KEYWORDS: [&str; 57] = [
    "YYYY", "YYY", "YY", "Y,YYY", "Y", "IYYY", "IYY", "IY", "IDDD", "ID", "IW", "I", "MONTH", "Month", "month", "MON",
    "Mon", "mon", "MM", "MI", "MS", "DAY", "Day", "day", "DDD", "DD", "DY", "Dy", "dy", "D", "HH24", "HH12", "HH",
    "SSSSS", "SSSS", "SS", "US", "AM", "PM", "am", "pm", "A.M.", "P.M.", "a.m.", "p.m.", "Q", "WW", "W", "CC", "J",
    "TZH", "TZM", "TZ", "tz", "OF", "AD", "BC",
];

/// A piece of a format.
enum Token<'a> {
    /// The pattern in its canonical form, whether FM came before it, whether TH or th came after it.
    Pattern {
        keyword: &'static str,
        fill: bool,
        ordinal: Option<bool>,
    },
    Literal(&'a str),
}

/// The pieces of a format, in order. None is kept: a format may be as long as any text.
fn tokens(format: &str) -> impl Iterator<Item = Token<'_>> {
    let mut rest = format;
    let mut fill = true;
    std::iter::from_fn(move || {
        while let Some(after) = rest.strip_prefix("FM").or_else(|| rest.strip_prefix("fm")) {
            fill = false;
            rest = after;
        }
        if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"').unwrap_or(quoted.len());
            rest = quoted.get(end + 1..).unwrap_or("");
            return Some(Token::Literal(&quoted[..end]));
        }
        let Some((keyword, length)) = keyword(rest) else {
            let length = rest.chars().next()?.len_utf8();
            let (literal, after) = rest.split_at(length);
            rest = after;
            return Some(Token::Literal(literal));
        };
        rest = &rest[length..];
        let ordinal = match rest.get(..2) {
            Some("TH") => Some(true),
            Some("th") => Some(false),
            _ => None,
        };
        if ordinal.is_some() {
            rest = &rest[2..];
        }
        Some(Token::Pattern {
            keyword,
            fill: std::mem::replace(&mut fill, true),
            ordinal,
        })
    })
}

/// The pattern that a text begins with: exactly as written, else in any case.
fn keyword(text: &str) -> Option<(&'static str, usize)> {
    let exact = KEYWORDS
        .iter()
        .filter(|keyword| text.starts_with(**keyword))
        .max_by_key(|keyword| keyword.len());
    let any_case = || {
        KEYWORDS
            .iter()
            .filter(|keyword| {
                text.get(..keyword.len())
                    .is_some_and(|head| head.eq_ignore_ascii_case(keyword))
            })
            .max_by_key(|keyword| keyword.len())
    };
    exact.or_else(any_case).map(|keyword| (*keyword, keyword.len()))
}

fn ordinal_suffix(value: i64) -> &'static str {
    match (value % 100, value % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    }
}

/// A wall-clock time; `zoned` is its instant and zone, for TZ and OF.
pub fn timestamp(local_us: i64, zoned: Option<(i64, Tz)>, format: &str) -> String {
    let days = local_us.div_euclid(DAY_US);
    let time = local_us.rem_euclid(DAY_US);
    let (civil, month, day) = civil_from_days(days);
    let year = if civil > 0 { civil } else { 1 - civil };
    let weekday = (days + 4).rem_euclid(7);
    let hour = time / 3_600_000_000;
    let (iso_year, week) = iso_week(days);
    let day_of_year = days - days_from_civil(civil, 1, 1) + 1;
    let twelve = if hour % 12 == 0 { 12 } else { hour % 12 };
    let mut out = String::new();
    for token in tokens(format) {
        let (keyword, fill, ordinal) = match token {
            Token::Literal(literal) => {
                out.push_str(literal);
                continue;
            }
            Token::Pattern { keyword, fill, ordinal } => (keyword, fill, ordinal),
        };
        let number = |value: i64, width: usize| {
            (
                Some(value),
                if fill {
                    format!("{value:0width$}")
                } else {
                    value.to_string()
                },
            )
        };
        let padded = |name: &str| (None, if fill { format!("{name:<9}") } else { name.to_string() });
        let month_name = MONTHS[month as usize - 1];
        let day_name = DAYS[weekday as usize];
        let (value, text) = match keyword {
            "YYYY" => number(year, 4),
            "Y,YYY" => (None, format!("{},{:03}", year / 1000, year % 1000)),
            "YYY" => number(year % 1000, 3),
            "YY" => number(year % 100, 2),
            "Y" => number(year % 10, 1),
            "IYYY" => number(iso_year, 4),
            "IYY" => number(iso_year % 1000, 3),
            "IY" => number(iso_year % 100, 2),
            "I" => number(iso_year % 10, 1),
            "MONTH" => padded(&month_name.to_uppercase()),
            "Month" => padded(month_name),
            "month" => padded(&month_name.to_lowercase()),
            "MON" => (None, month_name[..3].to_uppercase()),
            "Mon" => (None, month_name[..3].to_string()),
            "mon" => (None, month_name[..3].to_lowercase()),
            "MM" => number(i64::from(month), 2),
            "DAY" => padded(&day_name.to_uppercase()),
            "Day" => padded(day_name),
            "day" => padded(&day_name.to_lowercase()),
            "DY" => (None, day_name[..3].to_uppercase()),
            "Dy" => (None, day_name[..3].to_string()),
            "dy" => (None, day_name[..3].to_lowercase()),
            "DDD" => number(day_of_year, 3),
            "IDDD" => number(days - (days - (week - 1) * 7 - (days + 3).rem_euclid(7)) + 1, 3),
            "DD" => number(i64::from(day), 2),
            "D" => number(weekday + 1, 1),
            "ID" => number((weekday + 6) % 7 + 1, 1),
            "HH24" => number(hour, 2),
            "HH12" | "HH" => number(twelve, 2),
            "MI" => number(time / 60_000_000 % 60, 2),
            "SS" => number(time / 1_000_000 % 60, 2),
            "SSSS" | "SSSSS" => number(time / 1_000_000, 1),
            "MS" => number(time / 1000 % 1000, 3),
            "US" => number(time % 1_000_000, 6),
            "AM" | "PM" => (None, if hour < 12 { "AM" } else { "PM" }.to_string()),
            "am" | "pm" => (None, if hour < 12 { "am" } else { "pm" }.to_string()),
            "A.M." | "P.M." => (None, if hour < 12 { "A.M." } else { "P.M." }.to_string()),
            "a.m." | "p.m." => (None, if hour < 12 { "a.m." } else { "p.m." }.to_string()),
            "Q" => number(i64::from((month - 1) / 3 + 1), 1),
            "WW" => number((day_of_year - 1) / 7 + 1, 2),
            "W" => number(i64::from((day - 1) / 7 + 1), 1),
            "IW" => number(week, 2),
            "CC" => number((year + 99) / 100, 2),
            "J" => number(days + 2_440_588, 1),
            "AD" | "BC" => (None, if civil > 0 { "AD" } else { "BC" }.to_string()),
            _ => (None, zone_text(keyword, zoned)),
        };
        out.push_str(&text);
        if let (Some(upper), Some(value)) = (ordinal, value) {
            let suffix = ordinal_suffix(value);
            out.push_str(&if upper {
                suffix.to_uppercase()
            } else {
                suffix.to_string()
            });
        }
    }
    out
}

/// `TZ`, `tz`, `OF`, `TZH`, `TZM`: nothing for a time without zone.
fn zone_text(keyword: &str, zoned: Option<(i64, Tz)>) -> String {
    use chrono::TimeZone;
    use chrono_tz::OffsetName;
    let Some((instant_us, zone)) = zoned else {
        return if keyword.eq_ignore_ascii_case("tz") {
            String::new()
        } else {
            "+00".to_string()
        };
    };
    let offset = offset_at(zone, instant_us);
    let (sign, minutes) = (if offset < 0 { '-' } else { '+' }, offset.abs() / 60);
    match keyword {
        "TZH" => format!("{sign}{:02}", minutes / 60),
        "TZM" => format!("{:02}", minutes % 60),
        "OF" if minutes % 60 == 0 => format!("{sign}{:02}", minutes / 60),
        "OF" => format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60),
        _ => {
            let name = chrono::DateTime::from_timestamp_micros(instant_us).and_then(|instant| {
                zone.offset_from_utc_datetime(&instant.naive_utc())
                    .abbreviation()
                    .map(str::to_string)
            });
            let name = name.unwrap_or_else(|| zone.name().to_string());
            if keyword == "tz" {
                name.to_lowercase()
            } else {
                name.to_uppercase()
            }
        }
    }
}

/// An interval: its time of day may pass 24 hours.
pub fn interval(value: IntervalMonthDayNano, format: &str) -> String {
    let time = value.nanoseconds / 1000;
    let hour = time / 3_600_000_000;
    let mut out = String::new();
    for token in tokens(format) {
        match token {
            Token::Literal(literal) => out.push_str(literal),
            Token::Pattern { keyword, fill, .. } => {
                let (value, width) = match keyword {
                    "YYYY" => (i64::from(value.months / 12), 4),
                    "YY" => (i64::from(value.months / 12 % 100), 2),
                    "MM" => (i64::from(value.months % 12), 2),
                    "DD" => (i64::from(value.days), 2),
                    "DDD" => (i64::from(value.months) * 30 + i64::from(value.days), 3),
                    "HH24" => (hour, 2),
                    "HH" | "HH12" => (if hour % 12 == 0 { 12 } else { hour % 12 }, 2),
                    "MI" => (time / 60_000_000 % 60, 2),
                    "SS" => (time / 1_000_000 % 60, 2),
                    "MS" => (time / 1000 % 1000, 3),
                    "US" => (time % 1_000_000, 6),
                    "SSSS" | "SSSSS" => (time / 1_000_000, 1),
                    other => {
                        out.push_str(other);
                        continue;
                    }
                };
                out.push_str(&if fill {
                    format!("{value:0width$}")
                } else {
                    value.to_string()
                });
            }
        }
    }
    out
}

/// Digits and scale of a decimal number's text.
pub fn decimal(text: &str) -> (i128, u32) {
    let scale = text.find('.').map_or(0, |point| text.len() - point - 1);
    (text.replace('.', "").parse().unwrap_or(0), scale as u32)
}

/// Fractional digits that a number can have.
const FRACTION_MAX: usize = 38;

/// A number in a format of `9`, `0`, `.`, `D`, `,`, `G`, `FM`, `S`, `SG`, `MI`, `PL`, `PR`, `$`, `L`.
pub fn number(value: i128, scale: u32, format: &str) -> String {
    let fill = !format.to_ascii_uppercase().contains("FM");
    let upper = format.to_ascii_uppercase().replace("FM", "");
    let point = upper.find(['.', 'D']).unwrap_or(upper.len());
    let places = |text: &str| text.chars().filter(|symbol| matches!(symbol, '9' | '0')).count();
    let (whole_format, fraction_format) = upper.split_at(point);
    let (whole_places, fraction_places) = (places(whole_format), places(fraction_format));

    let negative = value < 0;
    // More digits than a number has are zeros.
    let (counted, zeros) = (
        fraction_places.min(FRACTION_MAX),
        fraction_places.saturating_sub(FRACTION_MAX),
    );
    let rounded = rescale(value.unsigned_abs(), scale, counted as u32);
    let power = 10u128.pow(counted as u32);
    let whole = match rounded / power {
        0 => String::new(),
        whole => whole.to_string(),
    };
    let fraction = if fraction_places > 0 {
        format!("{:0counted$}{}", rounded % power, "0".repeat(zeros))
    } else {
        String::new()
    };
    let overflow = whole.len() > whole_places;
    // Digits are aligned to the right of their places.
    let empty_places = whole_places.saturating_sub(whole.len());
    let digit_at = |place: usize| {
        let digit = whole.as_bytes().get(place.checked_sub(empty_places)?)?;
        Some(char::from(*digit))
    };

    let mut body = String::new();
    let (mut place, mut started) = (0, false);
    for symbol in whole_format.chars() {
        match symbol {
            '9' | '0' => {
                let digit = if overflow { Some('#') } else { digit_at(place) };
                place += 1;
                started |= digit.is_some() || symbol == '0';
                match digit {
                    Some(digit) => body.push(digit),
                    None if started => body.push('0'),
                    // Without a whole part the last place before a point shows a zero only for `0`.
                    None if fill => body.push(' '),
                    None => {}
                }
            }
            ',' | 'G' if started => body.push(','),
            ',' | 'G' if fill => body.push(' '),
            '$' | 'L' => body.push('$'),
            ' ' => body.push(' '),
            _ => {}
        }
    }
    if whole_places > 0 && fraction_places == 0 && rounded == 0 && !started {
        body.pop();
        body.push('0');
    }
    if point < upper.len() {
        body.push('.');
        let mut shown = if overflow {
            "#".repeat(fraction_places)
        } else {
            fraction
        };
        if !fill {
            let required = fraction_format
                .rfind('0')
                .map_or(0, |last| places(&fraction_format[..=last]));
            while shown.len() > required && shown.ends_with('0') {
                shown.pop();
            }
        }
        body.push_str(&shown);
    }
    signed(body, negative, &upper, fill)
}

fn rescale(value: u128, from: u32, to: u32) -> u128 {
    if to >= from {
        return value.saturating_mul(10u128.saturating_pow(to - from));
    }
    let power = 10u128.pow(from - to);
    value / power + u128::from(value % power * 2 >= power)
}

/// Puts the sign where the format wants it; by default before the first digit, a blank if there is none.
fn signed(body: String, negative: bool, format: &str, fill: bool) -> String {
    let sign = if negative { "-" } else { "+" };
    if format.contains("PR") {
        return match (negative, fill) {
            (true, _) => format!("<{}>", body.trim_start()),
            (false, true) => format!(" {body} "),
            (false, false) => body,
        };
    }
    if format.ends_with("MI") {
        return match (negative, fill) {
            (true, _) => format!("{body}-"),
            (false, true) => format!("{body} "),
            (false, false) => body,
        };
    }
    if format.ends_with('S') {
        return format!("{body}{sign}");
    }
    let blanks = body.len() - body.trim_start_matches(' ').len();
    let (padding, digits) = body.split_at(blanks);
    let sign = match (format.starts_with('S') || format.starts_with("PL"), negative, fill) {
        (true, _, _) | (_, true, _) => sign,
        (false, false, true) => " ",
        (false, false, false) => "",
    };
    format!("{padding}{sign}{digits}")
}

/// Reads a date and time by a format: microseconds since 1970 on the wall clock.
pub fn parse(text: &str, format: &str) -> Result<i64, SqlError> {
    let invalid = |what: &str| {
        SqlError::new(
            state::INVALID_DATETIME_FORMAT,
            format!("invalid value \"{}\" for \"{what}\"", shown(text)),
        )
    };
    let (mut year, mut month, mut day) = (1i64, 1i64, 1i64);
    let (mut hour, mut time_us) = (0i64, 0i64);
    let (mut twelve, mut afternoon) = (false, None);
    let mut day_of_year = None;
    let mut rest = text.trim_start();
    for token in tokens(format) {
        let keyword = match token {
            Token::Literal(literal) => {
                // A separator stands for any separator; a space for any number of them.
                match rest.chars().next() {
                    _ if literal.trim().is_empty() => rest = rest.trim_start(),
                    Some(symbol) if !symbol.is_alphanumeric() || literal.starts_with(symbol) => {
                        rest = &rest[symbol.len_utf8()..];
                    }
                    _ => {}
                }
                continue;
            }
            Token::Pattern { keyword, .. } => keyword,
        };
        rest = rest.trim_start();
        let mut number = |width: usize| -> Result<i64, SqlError> {
            let digits = rest.bytes().take(width).take_while(u8::is_ascii_digit).count();
            let value = rest[..digits].parse().map_err(|_| invalid(keyword))?;
            rest = &rest[digits..];
            Ok(value)
        };
        match keyword {
            "YYYY" | "IYYY" => year = number(4)?,
            "YYY" => year = 2000 + number(3)?,
            "YY" => {
                let short = number(2)?;
                year = if short < 70 { 2000 + short } else { 1900 + short };
            }
            "Y" => year = 2020 + number(1)?,
            "MM" => month = number(2)?,
            "DD" => day = number(2)?,
            "DDD" => day_of_year = Some(number(3)?),
            "HH24" => hour = number(2)?,
            "HH12" | "HH" => {
                hour = number(2)?;
                twelve = true;
            }
            "MI" => time_us += number(2)? * 60_000_000,
            "SS" => time_us += number(2)? * 1_000_000,
            "SSSS" | "SSSSS" => time_us += number(5)? * 1_000_000,
            "MS" | "US" => {
                let places = if keyword == "MS" { 3 } else { 6 };
                let before = rest.len();
                let mut digits = rest.bytes().take(places).take_while(u8::is_ascii_digit).count() as u32;
                digits = digits.min(before as u32);
                let value: i64 = rest[..digits as usize].parse().map_err(|_| invalid(keyword))?;
                rest = &rest[digits as usize..];
                time_us += value * 10i64.pow(6 - digits);
            }
            "MONTH" | "Month" | "month" | "MON" | "Mon" | "mon" => {
                let short = keyword.len() == 3;
                let found = MONTHS.iter().position(|name| {
                    let name = if short { &name[..3] } else { name };
                    rest.get(..name.len())
                        .is_some_and(|head| head.eq_ignore_ascii_case(name))
                });
                let index = found.ok_or_else(|| invalid(keyword))?;
                rest = &rest[if short { 3 } else { MONTHS[index].len() }..];
                month = index as i64 + 1;
            }
            "DAY" | "Day" | "day" | "DY" | "Dy" | "dy" => {
                let letters = rest
                    .chars()
                    .take_while(|symbol| symbol.is_alphabetic())
                    .map(char::len_utf8)
                    .sum();
                rest = &rest[letters..];
            }
            "AM" | "PM" | "am" | "pm" | "A.M." | "P.M." | "a.m." | "p.m." => {
                let first = rest.chars().next().map(|symbol| symbol.to_ascii_lowercase());
                afternoon = Some(match first {
                    Some('a') => false,
                    Some('p') => true,
                    _ => return Err(invalid(keyword)),
                });
                rest = rest.get(keyword.len()..).unwrap_or("");
            }
            other => {
                return Err(SqlError::unsupported(
                    format!("the pattern \"{other}\" cannot be read"),
                    "Use YYYY, MM, DD, HH24, MI, SS, MS, US, Mon, Month or AM.",
                ));
            }
        }
    }
    if twelve {
        if !(1..=12).contains(&hour) {
            return Err(SqlError::new(
                state::INVALID_DATETIME_FORMAT,
                format!("hour \"{hour}\" is invalid for the 12-hour clock"),
            ));
        }
        hour = hour % 12 + if afternoon == Some(true) { 12 } else { 0 };
    }
    let range = || {
        SqlError::new(
            state::DATETIME_FIELD_OVERFLOW,
            format!("date/time field value out of range: \"{}\"", shown(text)),
        )
    };
    if !(1..=12).contains(&month) || day < 1 || day > i64::from(days_in_month(year, month as u32)) || hour > 24 {
        return Err(range());
    }
    let days = match day_of_year {
        Some(day_of_year) => days_from_civil(year, 1, 1) + day_of_year - 1,
        None => days_from_civil(year, month as u32, day as u32),
    };
    Ok(days * DAY_US + hour * 3_600_000_000 + time_us)
}

fn shown(text: &str) -> &str {
    text.char_indices().nth(40).map_or(text, |(end, _)| &text[..end])
}
