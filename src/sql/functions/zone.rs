//! Time zones: wall-clock time of an instant and back, in the session's zone.
//!
//! One rule: instants are microseconds since 1970 UTC; wall-clock times are microseconds as if the zone were UTC.

use datafusion::config::ConfigOptions;

use crate::types::TimeZone;
use crate::types::calendar::{is_infinite, offset_at, offset_of_local};

/// The session's time zone; UTC if the setting names none that is known.
pub fn of_session(options: &ConfigOptions) -> TimeZone {
    options
        .execution
        .time_zone
        .as_deref()
        .map_or(TimeZone::UTC, TimeZone::of_setting)
}

/// Wall-clock time in `zone` at an instant.
pub fn to_local(instant_us: i64, zone: TimeZone) -> i64 {
    if zone == TimeZone::UTC || is_infinite(instant_us) {
        return instant_us;
    }
    instant_us.saturating_add(i64::from(offset_at(zone, instant_us)) * 1_000_000)
}

/// The instant of a wall-clock time in `zone`. A time that the clocks skip or repeat is read as standard time.
pub fn from_local(local_us: i64, zone: TimeZone) -> i64 {
    if zone == TimeZone::UTC || is_infinite(local_us) {
        return local_us;
    }
    local_us.saturating_sub(i64::from(offset_of_local(zone, local_us)) * 1_000_000)
}
