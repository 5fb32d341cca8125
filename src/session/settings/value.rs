//! Values of settings: their check by the setting's type, and their text.
//!
//! One rule: a value is kept as SHOW shows it (`5s`, `on`, `64MB`), and checked as PostgreSQL 15 checks it.

use super::known::{Known, SettingKind, Unit};
use crate::error::{SqlError, state};

/// Name and size of each unit, largest first: bytes, and microseconds.
const MEMORY: [(&str, f64); 5] = [
    ("TB", 1_099_511_627_776.0),
    ("GB", 1_073_741_824.0),
    ("MB", 1_048_576.0),
    ("kB", 1024.0),
    ("B", 1.0),
];
const TIME: [(&str, f64); 6] = [
    ("d", 86_400e6),
    ("h", 3_600e6),
    ("min", 60e6),
    ("s", 1e6),
    ("ms", 1e3),
    ("us", 1.0),
];

pub fn invalid(known: &Known, value: &str) -> SqlError {
    SqlError::new(
        state::INVALID_PARAMETER_VALUE,
        format!("invalid value for parameter \"{}\": \"{value}\"", known.name),
    )
}

/// The value as it is shown; 22023 if the type of the setting does not have it.
pub fn check(known: &Known, value: &str) -> Result<String, SqlError> {
    match known.kind {
        SettingKind::Text => Ok(value.to_string()),
        SettingKind::Bool => match boolean(value) {
            Some(true) => Ok("on".to_string()),
            Some(false) => Ok("off".to_string()),
            None => Err(SqlError::new(
                state::INVALID_PARAMETER_VALUE,
                format!("parameter \"{}\" requires a Boolean value", known.name),
            )),
        },
        SettingKind::Enum => choice(known, value),
        SettingKind::Integer | SettingKind::Real => number(known, value).map(|number| shown(known, number)),
    }
}

/// `true`, `yes`, `on`, `1`, their opposites and unambiguous beginnings of these.
fn boolean(value: &str) -> Option<bool> {
    let lower = value.to_lowercase();
    let begins = |word: &str, least: usize| lower.len() >= least && word.starts_with(&lower);
    if begins("true", 1) || begins("yes", 1) || lower == "on" || lower == "1" {
        Some(true)
    } else if begins("false", 1) || begins("no", 1) || begins("off", 2) || lower == "0" {
        Some(false)
    } else {
        None
    }
}

fn choice(known: &Known, value: &str) -> Result<String, SqlError> {
    let lower = value.to_lowercase();
    let among = |wanted: &str| known.values.iter().find(|value| **value == wanted);
    // Spellings that PostgreSQL takes and does not list.
    let unlisted = match lower.as_str() {
        "true" | "yes" | "1" => "on",
        "false" | "no" | "0" => "off",
        "debug" => "debug2",
        other => other,
    };
    match among(&lower).or_else(|| among(unlisted)) {
        Some(value) => Ok((*value).to_string()),
        None if known.name == "client_min_messages" && lower == "info" => Ok(lower),
        None => Err(invalid(known, value).hint(format!("Available values: {}.", known.values.join(", ")))),
    }
}

/// In the unit of the setting.
pub fn number(known: &Known, value: &str) -> Result<f64, SqlError> {
    let text = value.trim();
    let integer = known.kind == SettingKind::Integer;
    let (digits, rest) = split(text).ok_or_else(|| invalid(known, value))?;
    let number = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => i64::from_str_radix(hex, 16).ok().map(|number| number as f64),
        None => digits.parse::<f64>().ok(),
    };
    let number = number.ok_or_else(|| invalid(known, value))?;
    let number = match (rest.trim(), known.unit) {
        ("", _) => number,
        (_, None) => return Err(invalid(known, value)),
        (name, Some(unit)) => {
            let (units, base, names) = units(unit);
            let found = units.iter().find(|(unit, _)| *unit == name);
            let (_, size) = found
                .ok_or_else(|| invalid(known, value).hint(format!("Valid units for this parameter are {names}.")))?;
            number * size / base
        }
    };
    let number = if integer { number.round_ties_even() } else { number };
    if integer && !(-2_147_483_648.0..=2_147_483_647.0).contains(&number) {
        return Err(invalid(known, value).hint("Value exceeds integer range."));
    }
    let bound = |text: &str| text.parse::<f64>().ok();
    if bound(known.min).is_some_and(|min| number < min) || bound(known.max).is_some_and(|max| number > max) {
        let unit = if known.unit_name.is_empty() { "" } else { " " };
        return Err(SqlError::new(
            state::INVALID_PARAMETER_VALUE,
            format!(
                "{number}{unit}{} is outside the valid range for parameter \"{}\" ({} .. {})",
                known.unit_name, known.name, known.min, known.max
            ),
        ));
    }
    Ok(number)
}

fn units(unit: Unit) -> (&'static [(&'static str, f64)], f64, &'static str) {
    match unit {
        Unit::Bytes(base) => (&MEMORY, base, "\"B\", \"kB\", \"MB\", \"GB\", and \"TB\""),
        Unit::Microseconds(base) => (&TIME, base, "\"us\", \"ms\", \"s\", \"min\", \"h\", and \"d\""),
    }
}

/// A number and the text after it.
fn split(text: &str) -> Option<(&str, &str)> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let sign = text.len() - unsigned.len();
    let bytes = unsigned.as_bytes();
    let hex = unsigned.starts_with("0x") || unsigned.starts_with("0X");
    let mut end = 0;
    if hex {
        end = 2 + unsigned[2..]
            .find(|c: char| !c.is_ascii_hexdigit())
            .unwrap_or(unsigned.len() - 2);
    } else {
        while end < bytes.len() && (bytes[end].is_ascii_digit() || bytes[end] == b'.') {
            end += 1;
        }
        // An exponent, if digits follow it.
        if end > 0 && bytes.get(end).is_some_and(|byte| matches!(byte, b'e' | b'E')) {
            let mut after = end + 1;
            after += usize::from(bytes.get(after).is_some_and(|byte| matches!(byte, b'-' | b'+')));
            if bytes.get(after).is_some_and(u8::is_ascii_digit) {
                end = after;
                while bytes.get(end).is_some_and(u8::is_ascii_digit) {
                    end += 1;
                }
            }
        }
    }
    (end > 0).then(|| text.split_at(sign + end))
}

/// A number of the setting's unit as SHOW shows it: in the largest unit that it is a whole number of.
pub fn shown(known: &Known, number: f64) -> String {
    if known.name.ends_with("_mode") || known.name == "unix_socket_permissions" {
        return format!("{:04o}", number as i64);
    }
    let Some(unit) = known.unit.filter(|_| number > 0.0) else {
        return number.to_string();
    };
    let (units, base, _) = units(unit);
    for (name, size) in units {
        let count = number * base / size;
        if (count - count.round()).abs() < 1e-8 * count {
            return format!("{}{name}", count.round());
        }
    }
    let (name, size) = units.last().expect("there are units");
    format!("{}{name}", number * base / size)
}

/// The value that is shown, in the setting's unit, as `pg_settings` has it.
pub fn plain(known: &Known, shown: &str) -> String {
    match known.kind {
        SettingKind::Integer | SettingKind::Real if known.unit.is_some() => {
            number(known, shown).map_or_else(|_| shown.to_string(), |number| number.to_string())
        }
        _ => shown.to_string(),
    }
}
