//! Time zones: wall-clock time of an instant and back, as PostgreSQL resolves gaps and repeated hours.
//!
//! One rule: instants are microseconds since 1970 UTC; wall-clock times are microseconds as if the zone were UTC.

use chrono::{DateTime, LocalResult, NaiveDateTime, Offset, TimeZone};
use chrono_tz::Tz;
use datafusion::config::ConfigOptions;

/// The session's time zone; UTC if the setting names none that is known.
pub fn of_session(options: &ConfigOptions) -> Tz {
    options
        .execution
        .time_zone
        .as_deref()
        .and_then(parse)
        .unwrap_or(Tz::UTC)
}

/// A zone by its IANA name, in any case.
pub fn parse(name: &str) -> Option<Tz> {
    let known = || {
        chrono_tz::TZ_VARIANTS
            .iter()
            .copied()
            .find(|zone| zone.name().eq_ignore_ascii_case(name))
    };
    name.parse().ok().or_else(known)
}

/// Wall-clock time in `zone` at an instant. Times that chrono cannot hold keep UTC.
pub fn to_local(instant_us: i64, zone: Tz) -> i64 {
    if zone == Tz::UTC {
        return instant_us;
    }
    match DateTime::from_timestamp_micros(instant_us) {
        Some(instant) => {
            let offset = zone
                .offset_from_utc_datetime(&instant.naive_utc())
                .fix()
                .local_minus_utc();
            instant_us.saturating_add(i64::from(offset) * 1_000_000)
        }
        None => instant_us,
    }
}

/// The instant of a wall-clock time in `zone`. A time that the clocks skip or repeat is read as standard time.
pub fn from_local(local_us: i64, zone: Tz) -> i64 {
    if zone == Tz::UTC {
        return local_us;
    }
    let Some(local) = DateTime::from_timestamp_micros(local_us).map(|time| time.naive_utc()) else {
        return local_us;
    };
    let offset = match zone.offset_from_local_datetime(&local) {
        LocalResult::Single(offset) => offset.fix().local_minus_utc(),
        LocalResult::Ambiguous(_, latest) => latest.fix().local_minus_utc(),
        LocalResult::None => offset_before_gap(local, zone),
    };
    local_us.saturating_sub(i64::from(offset) * 1_000_000)
}

fn offset_before_gap(local: NaiveDateTime, zone: Tz) -> i32 {
    let earlier = local - chrono::TimeDelta::hours(3);
    match zone.offset_from_local_datetime(&earlier) {
        LocalResult::Single(offset) | LocalResult::Ambiguous(offset, _) => offset.fix().local_minus_utc(),
        LocalResult::None => zone.offset_from_utc_datetime(&earlier).fix().local_minus_utc(),
    }
}
