//! Text of intervals in each of the four styles.
//!
//! One rule: every part has its own sign, as in PostgreSQL's `struct pg_itm`.

use arrow::datatypes::IntervalMonthDayNano;
use bytes::{BufMut, BytesMut};

use super::super::calendar::{SECOND_US, write_fraction};
use super::super::numeric::{two_digits, write_i64, write_u64};
use super::IntervalStyle;

/// An interval taken apart as PostgreSQL's `struct pg_itm`, each part with its own sign.
#[derive(Clone, Copy)]
struct IntervalParts {
    years: i64,
    months: i64,
    days: i64,
    hours: i64,
    minutes: i64,
    seconds: i64,
    fraction_us: i64,
}

impl IntervalParts {
    fn of(value: IntervalMonthDayNano) -> IntervalParts {
        let us = value.nanoseconds / 1_000;
        IntervalParts {
            years: i64::from(value.months / 12),
            months: i64::from(value.months % 12),
            days: i64::from(value.days),
            hours: us / (3_600 * SECOND_US),
            minutes: us / (60 * SECOND_US) % 60,
            seconds: us / SECOND_US % 60,
            fraction_us: us % SECOND_US,
        }
    }

    fn negated(self) -> IntervalParts {
        IntervalParts {
            years: -self.years,
            months: -self.months,
            days: -self.days,
            hours: -self.hours,
            minutes: -self.minutes,
            seconds: -self.seconds,
            fraction_us: -self.fraction_us,
        }
    }

    fn all(self) -> [i64; 7] {
        [
            self.years,
            self.months,
            self.days,
            self.hours,
            self.minutes,
            self.seconds,
            self.fraction_us,
        ]
    }

    fn time_is_negative(self) -> bool {
        self.all()[3..].iter().any(|part| *part < 0)
    }

    fn has_time(self) -> bool {
        self.all()[3..].iter().any(|part| *part != 0)
    }

    /// Seconds with their fraction, without sign; two digits if `padded`.
    fn write_seconds(self, padded: bool, out: &mut BytesMut) {
        let seconds = self.seconds.unsigned_abs();
        if padded {
            out.extend_from_slice(&two_digits(seconds as u32));
        } else {
            write_u64(seconds, out);
        }
        write_fraction(self.fraction_us.unsigned_abs() as u32, out);
    }

    /// `:MM:SS.f`.
    fn write_minutes_seconds(self, out: &mut BytesMut) {
        out.put_u8(b':');
        out.extend_from_slice(&two_digits(self.minutes.unsigned_abs() as u32));
        out.put_u8(b':');
        self.write_seconds(true, out);
    }
}

pub fn write_interval(value: IntervalMonthDayNano, style: IntervalStyle, out: &mut BytesMut) {
    let parts = IntervalParts::of(value);
    match style {
        IntervalStyle::Postgres => write_postgres(parts, out),
        IntervalStyle::PostgresVerbose => write_verbose(parts, out),
        IntervalStyle::SqlStandard => write_standard(parts, out),
        IntervalStyle::Iso8601 => write_iso(parts, out),
    }
}

/// `1 year 2 mons -3 days +04:05:06.7`
fn write_postgres(parts: IntervalParts, out: &mut BytesMut) {
    let mut is_first = true;
    let mut was_negative = false;
    for (value, unit) in [(parts.years, "year"), (parts.months, "mon"), (parts.days, "day")] {
        if value == 0 {
            continue;
        }
        if !is_first {
            out.put_u8(b' ');
        }
        if was_negative && value > 0 {
            out.put_u8(b'+');
        }
        write_i64(value, out);
        out.put_u8(b' ');
        out.extend_from_slice(unit.as_bytes());
        if value != 1 {
            out.put_u8(b's');
        }
        was_negative = value < 0;
        is_first = false;
    }
    if is_first || parts.has_time() {
        if !is_first {
            out.put_u8(b' ');
        }
        if parts.time_is_negative() {
            out.put_u8(b'-');
        } else if was_negative {
            out.put_u8(b'+');
        }
        let hours = parts.hours.unsigned_abs();
        if hours < 10 {
            out.put_u8(b'0');
        }
        write_u64(hours, out);
        parts.write_minutes_seconds(out);
    }
}

/// `@ 1 year 2 mons -3 days 4 hours ago`
fn write_verbose(parts: IntervalParts, out: &mut BytesMut) {
    out.put_u8(b'@');
    let mut is_first = true;
    let mut ago = false;
    for (value, unit) in [
        (parts.years, "year"),
        (parts.months, "mon"),
        (parts.days, "day"),
        (parts.hours, "hour"),
        (parts.minutes, "min"),
    ] {
        if value == 0 {
            continue;
        }
        let shown = if is_first {
            ago = value < 0;
            value.abs()
        } else if ago {
            -value
        } else {
            value
        };
        out.put_u8(b' ');
        write_i64(shown, out);
        out.put_u8(b' ');
        out.extend_from_slice(unit.as_bytes());
        if shown != 1 {
            out.put_u8(b's');
        }
        is_first = false;
    }
    if parts.seconds != 0 || parts.fraction_us != 0 {
        out.put_u8(b' ');
        if parts.seconds < 0 || parts.fraction_us < 0 {
            if is_first {
                ago = true;
            } else if !ago {
                out.put_u8(b'-');
            }
        } else if ago {
            out.put_u8(b'-');
        }
        parts.write_seconds(false, out);
        out.extend_from_slice(b" sec");
        if parts.seconds.abs() != 1 || parts.fraction_us != 0 {
            out.put_u8(b's');
        }
        is_first = false;
    }
    if is_first {
        out.extend_from_slice(b" 0");
    }
    if ago {
        out.extend_from_slice(b" ago");
    }
}

/// `1-2`, `3 4:05:06`, `+1-2 -3 +4:05:06`
fn write_standard(parts: IntervalParts, out: &mut BytesMut) {
    let has_negative = parts.all().iter().any(|part| *part < 0);
    let has_positive = parts.all().iter().any(|part| *part > 0);
    let has_months = parts.years != 0 || parts.months != 0;
    let has_days_or_time = parts.days != 0 || parts.has_time();
    if !has_negative && !has_positive {
        out.put_u8(b'0');
    } else if (has_negative && has_positive) || (has_months && has_days_or_time) {
        let sign = |negative: bool| if negative { b'-' } else { b'+' };
        out.put_u8(sign(parts.years < 0 || parts.months < 0));
        write_u64(parts.years.unsigned_abs(), out);
        out.put_u8(b'-');
        write_u64(parts.months.unsigned_abs(), out);
        out.put_u8(b' ');
        out.put_u8(sign(parts.days < 0));
        write_u64(parts.days.unsigned_abs(), out);
        out.put_u8(b' ');
        out.put_u8(sign(parts.time_is_negative()));
        write_u64(parts.hours.unsigned_abs(), out);
        parts.write_minutes_seconds(out);
    } else {
        let parts = if has_negative {
            out.put_u8(b'-');
            parts.negated()
        } else {
            parts
        };
        if has_months {
            write_i64(parts.years, out);
            out.put_u8(b'-');
            write_i64(parts.months, out);
        } else {
            if parts.days != 0 {
                write_i64(parts.days, out);
                out.put_u8(b' ');
            }
            write_i64(parts.hours, out);
            parts.write_minutes_seconds(out);
        }
    }
}

/// `P1Y2M-3DT4H5M6.7S`
fn write_iso(parts: IntervalParts, out: &mut BytesMut) {
    out.put_u8(b'P');
    if parts.all().iter().all(|part| *part == 0) {
        out.extend_from_slice(b"T0S");
        return;
    }
    let mut write = |value: i64, unit: u8| {
        if value != 0 {
            write_i64(value, out);
            out.put_u8(unit);
        }
    };
    write(parts.years, b'Y');
    write(parts.months, b'M');
    write(parts.days, b'D');
    if parts.has_time() {
        out.put_u8(b'T');
        let mut write = |value: i64, unit: u8| {
            if value != 0 {
                write_i64(value, out);
                out.put_u8(unit);
            }
        };
        write(parts.hours, b'H');
        write(parts.minutes, b'M');
        if parts.seconds != 0 || parts.fraction_us != 0 {
            if parts.seconds < 0 || parts.fraction_us < 0 {
                out.put_u8(b'-');
            }
            parts.write_seconds(false, out);
            out.put_u8(b'S');
        }
    }
}
