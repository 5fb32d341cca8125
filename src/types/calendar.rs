//! Dates and times of day: the proleptic Gregorian calendar, and PostgreSQL's text of it (DateStyle ISO).
//!
//! Days count from 1970-01-01, times are microseconds. Printing never allocates. Not here: reading (`datetime.rs`).

use bytes::BytesMut;
use chrono::{DateTime, Offset, TimeZone as _};
use chrono_tz::Tz;

use super::numeric::{two_digits, write_u64};
use super::zone::TimeZone;

/// Days from 1970-01-01 to 2000-01-01, PostgreSQL's epoch on the wire.
pub const PG_EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
pub const PG_EPOCH_US: i64 = PG_EPOCH_DAYS as i64 * DAY_US;
pub const SECOND_US: i64 = 1_000_000;
pub const DAY_US: i64 = 86_400 * SECOND_US;

/// Whether a date is `infinity` or `-infinity`: the last and the first number, as on PostgreSQL's wire.
pub fn is_infinite_date(days: i32) -> bool {
    matches!(days, i32::MAX | i32::MIN)
}

/// Whether a timestamp is `infinity` or `-infinity`, of either kind.
pub fn is_infinite(us: i64) -> bool {
    matches!(us, i64::MAX | i64::MIN)
}

/// The infinite timestamp of an infinite date.
pub fn infinite_us(days: i32) -> i64 {
    if days == i32::MAX { i64::MAX } else { i64::MIN }
}

/// The infinite date of an infinite timestamp.
pub fn infinite_days(us: i64) -> i32 {
    if us == i64::MAX { i32::MAX } else { i32::MIN }
}

fn write_infinity(positive: bool, out: &mut BytesMut) {
    out.extend_from_slice(if positive { b"infinity" } else { b"-infinity" });
}

/// Days since 1970-01-01 of a civil date; year 0 is 1 BC. (Howard Hinnant, "chrono-compatible low-level date algorithms".)
pub fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = (i64::from(month) + 9) % 12;
    let day_of_year = (153 * shifted + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day; the inverse of [`days_from_civil`].
pub fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * shifted + 2) / 5 + 1) as u32;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 } as u32;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

pub fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        2 if year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// 2090-01-01: the zones' tables have every change before it. Later years go on by the same rules.
const TABLES_END_US: i64 = 43_830 * DAY_US;

/// A time of a year that the zones' tables have, with the same calendar, for one of a later year.
fn within_tables(us: i64) -> i64 {
    if us < TABLES_END_US {
        return us;
    }
    let days = us.div_euclid(DAY_US);
    let (year, _, _) = civil_from_days(days);
    let shape = |year: i64| (days_from_civil(year, 1, 1).rem_euclid(7), days_in_month(year, 2));
    let wanted = shape(year);
    // Every calendar comes once in 28 years.
    let same = (2050..2078).find(|year| shape(*year) == wanted).unwrap_or(2050);
    us - (days_from_civil(year, 1, 1) - days_from_civil(same, 1, 1)) * DAY_US
}

/// Seconds east of UTC at an instant.
pub fn offset_at(zone: TimeZone, utc_us: i64) -> i32 {
    let zone = match zone {
        TimeZone::Named(Tz::UTC) => return 0,
        TimeZone::Named(zone) => zone,
        TimeZone::Fixed(zone) => return zone.east(),
    };
    let utc_us = within_tables(utc_us);
    match DateTime::from_timestamp(utc_us.div_euclid(SECOND_US), 0) {
        Some(instant) => zone
            .offset_from_utc_datetime(&instant.naive_utc())
            .fix()
            .local_minus_utc(),
        // Before chrono's calendar.
        None => 0,
    }
}

/// Seconds east of UTC for a local time. As PostgreSQL decides: in a gap the offset before it, in an overlap the one after.
pub fn offset_of_local(zone: TimeZone, local_us: i64) -> i32 {
    let zone = match zone {
        TimeZone::Named(Tz::UTC) => return 0,
        TimeZone::Named(zone) => zone,
        TimeZone::Fixed(zone) => return zone.east(),
    };
    let local_us = within_tables(local_us);
    let local = |us: i64| DateTime::from_timestamp(us.div_euclid(SECOND_US), 0).map(|instant| instant.naive_utc());
    let Some(at) = local(local_us) else { return 0 };
    match zone.offset_from_local_datetime(&at) {
        chrono::LocalResult::Single(offset) => offset.fix().local_minus_utc(),
        chrono::LocalResult::Ambiguous(_, latest) => latest.fix().local_minus_utc(),
        // A gap is at most a day long (Samoa left one out).
        chrono::LocalResult::None => [3, 25]
            .into_iter()
            .filter_map(|hours| local(local_us - hours * 3_600 * SECOND_US))
            .find_map(|before| zone.offset_from_local_datetime(&before).latest())
            .map_or(0, |offset| offset.fix().local_minus_utc()),
    }
}

/// `2024-01-02`; years before 1 as `0044-03-15 BC` (the suffix is the caller's: it follows the time and zone).
fn write_civil(year: i64, month: u32, day: u32, out: &mut BytesMut) {
    let shown = if year > 0 { year } else { 1 - year };
    if shown < 10_000 {
        let mut text = *b"0000-00-00";
        let shown = shown as u32;
        text[0..2].copy_from_slice(&two_digits(shown / 100));
        text[2..4].copy_from_slice(&two_digits(shown % 100));
        text[5..7].copy_from_slice(&two_digits(month));
        text[8..10].copy_from_slice(&two_digits(day));
        out.extend_from_slice(&text);
    } else {
        write_u64(shown as u64, out);
        let mut text = *b"-00-00";
        text[1..3].copy_from_slice(&two_digits(month));
        text[4..6].copy_from_slice(&two_digits(day));
        out.extend_from_slice(&text);
    }
}

const BC: &[u8] = b" BC";

/// `days` since 1970-01-01.
pub fn write_date(days: i32, out: &mut BytesMut) {
    if is_infinite_date(days) {
        return write_infinity(days > 0, out);
    }
    let (year, month, day) = civil_from_days(i64::from(days));
    write_civil(year, month, day, out);
    if year <= 0 {
        out.extend_from_slice(BC);
    }
}

/// Microseconds since midnight, at most 24:00:00: `03:04:05.678`.
pub fn write_time(time_us: i64, out: &mut BytesMut) {
    let seconds = (time_us / SECOND_US) as u32;
    let mut text = *b"00:00:00";
    text[0..2].copy_from_slice(&two_digits((seconds / 3_600) % 100));
    text[3..5].copy_from_slice(&two_digits(seconds / 60 % 60));
    text[6..8].copy_from_slice(&two_digits(seconds % 60));
    out.extend_from_slice(&text);
    write_fraction((time_us % SECOND_US) as u32, out);
}

/// `.678` for 678000 microseconds, nothing for 0.
pub(super) fn write_fraction(fraction_us: u32, out: &mut BytesMut) {
    if fraction_us == 0 {
        return;
    }
    let mut text = *b".000000";
    text[1..3].copy_from_slice(&two_digits(fraction_us / 10_000));
    text[3..5].copy_from_slice(&two_digits(fraction_us / 100 % 100));
    text[5..7].copy_from_slice(&two_digits(fraction_us % 100));
    let mut end = text.len();
    while text[end - 1] == b'0' {
        end -= 1;
    }
    out.extend_from_slice(&text[..end]);
}

/// `2024-01-02 03:04:05.678` from microseconds since 1970-01-01.
pub fn write_timestamp(us: i64, out: &mut BytesMut) {
    if is_infinite(us) {
        return write_infinity(us > 0, out);
    }
    let (year, month, day) = civil_from_days(us.div_euclid(DAY_US));
    write_civil(year, month, day, out);
    out.extend_from_slice(b" ");
    write_time(us.rem_euclid(DAY_US), out);
    if year <= 0 {
        out.extend_from_slice(BC);
    }
}

/// `2024-01-02 03:04:05.678+02` in `zone`.
pub fn write_timestamptz(utc_us: i64, zone: TimeZone, out: &mut BytesMut) {
    if is_infinite(utc_us) {
        return write_infinity(utc_us > 0, out);
    }
    let offset = offset_at(zone, utc_us);
    let us = utc_us.saturating_add(i64::from(offset) * SECOND_US);
    let (year, month, day) = civil_from_days(us.div_euclid(DAY_US));
    write_civil(year, month, day, out);
    out.extend_from_slice(b" ");
    write_time(us.rem_euclid(DAY_US), out);
    let east = offset.unsigned_abs();
    out.extend_from_slice(if offset < 0 { b"-" } else { b"+" });
    out.extend_from_slice(&two_digits(east / 3_600));
    if !east.is_multiple_of(3_600) {
        out.extend_from_slice(b":");
        out.extend_from_slice(&two_digits(east / 60 % 60));
        if !east.is_multiple_of(60) {
            out.extend_from_slice(b":");
            out.extend_from_slice(&two_digits(east % 60));
        }
    }
    if year <= 0 {
        out.extend_from_slice(BC);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut BytesMut)) -> String {
        let mut out = BytesMut::new();
        write(&mut out);
        String::from_utf8(out.to_vec()).expect("dates are ASCII")
    }

    #[test]
    fn civil_dates_round_trip() {
        for days in (-3_000_000..3_000_000).step_by(37) {
            let (year, month, day) = civil_from_days(days);
            assert!(day >= 1 && day <= days_in_month(year, month));
            assert_eq!(days_from_civil(year, month, day), days);
        }
        assert_eq!(days_from_civil(1970, 1, 1), 0);
        assert_eq!(days_from_civil(2000, 1, 1), i64::from(PG_EPOCH_DAYS));
    }

    #[test]
    fn dates_and_times_print_as_postgresql_does() {
        assert_eq!(text(|out| write_date(0, out)), "1970-01-01");
        assert_eq!(
            text(|out| write_date(days_from_civil(-43, 3, 15) as i32, out)),
            "0044-03-15 BC"
        );
        assert_eq!(
            text(|out| write_date(days_from_civil(12_345, 3, 15) as i32, out)),
            "12345-03-15"
        );
        assert_eq!(
            text(|out| write_timestamp(1_704_164_645_678_000, out)),
            "2024-01-02 03:04:05.678"
        );
        assert_eq!(text(|out| write_timestamp(-1, out)), "1969-12-31 23:59:59.999999");
        assert_eq!(text(|out| write_time(DAY_US, out)), "24:00:00");
        let zone = TimeZone::named("Asia/Kolkata").expect("a zone");
        assert_eq!(text(|out| write_timestamptz(0, zone, out)), "1970-01-01 05:30:00+05:30");
        let zone = TimeZone::named("America/New_York").expect("a zone");
        assert_eq!(
            text(|out| write_timestamptz(1_704_164_645_678_000, zone, out)),
            "2024-01-01 22:04:05.678-05"
        );
    }

    #[test]
    fn gaps_take_the_offset_before_and_overlaps_the_one_after() {
        let zone = TimeZone::named("America/New_York").expect("a zone");
        let at = |day: u32, month: u32, hour: i64| {
            (days_from_civil(2024, month, day) * 24 + hour) * 3_600 * SECOND_US + 1_800 * SECOND_US
        };
        assert_eq!(offset_of_local(zone, at(10, 3, 2)), -5 * 3_600);
        assert_eq!(offset_of_local(zone, at(3, 11, 1)), -5 * 3_600);
        assert_eq!(offset_of_local(zone, at(1, 7, 1)), -4 * 3_600);
    }
}
