//! The name of the session's time zone, as it is set and as SHOW has it.
//!
//! One rule: a number and an interval are an offset to the east, and a zone that is named is one of the tz database, or one
//! that POSIX writes.

use super::known::Known;
use super::value::invalid;
use crate::error::SqlError;
use crate::types::{TimeZone, parse_interval};

/// The name that SHOW has of what is set.
pub fn shown(known: &Known, value: &str) -> Result<String, SqlError> {
    let wrong = || invalid(known, value);
    let is_interval = value.get(..8).is_some_and(|word| word.eq_ignore_ascii_case("interval"));
    let name = match (is_interval, hours(value)) {
        (true, _) => {
            let text = value[8..].trim_start();
            let text = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
            let interval = parse_interval(text.ok_or_else(wrong)?)?;
            for (is_there, unit) in [(interval.months != 0, "months"), (interval.days != 0, "days")] {
                if is_there {
                    return Err(wrong().detail(format!("Cannot specify {unit} in time zone interval.")));
                }
            }
            TimeZone::name_of_offset(interval.nanoseconds / 1_000_000_000)
        }
        (false, Some(hours)) => TimeZone::name_of_offset((hours * 3_600.0) as i64),
        (false, None) => value.to_string(),
    };
    match TimeZone::parse(&name) {
        Some(zone) => Ok(zone.shown_name(&name)),
        None if name == value => Err(wrong()),
        None => Err(wrong().detail("UTC timezone offset is out of range.")),
    }
}

/// A number of hours.
fn hours(value: &str) -> Option<f64> {
    value.trim_start().parse::<f64>().ok()
}
