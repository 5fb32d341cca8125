//! Time zones: those of the tz database, and offsets with a name as POSIX writes them: `<+05:30>-05:30`, `UTC+3`, `-03:30`.
//!
//! One rule: POSIX counts hours westward, everything else here eastward. Not here: offsets at a time (`calendar.rs`), and how
//! a setting names a zone.

use chrono_tz::Tz;

/// A time zone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TimeZone {
    /// Of the tz database.
    Named(Tz),
    Fixed(FixedZone),
}

/// An offset that is the same at all times.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FixedZone {
    /// Seconds.
    east: i32,
    abbreviation: [u8; ABBREVIATION_BYTES_MAX],
    abbreviation_bytes: u8,
}

const ABBREVIATION_BYTES_MAX: usize = 47;
/// POSIX has offsets of less than a week.
const HOURS_MAX: i32 = 24 * 7 - 1;

impl FixedZone {
    pub fn east(&self) -> i32 {
        self.east
    }

    fn abbreviation(&self) -> &str {
        let bytes = &self.abbreviation[..usize::from(self.abbreviation_bytes)];
        std::str::from_utf8(bytes).expect("it was a text")
    }

    /// `name` and an offset to the west. Rules for summer time are not read.
    fn of_posix(zone: &str) -> Option<FixedZone> {
        let (name, offset) = match zone.strip_prefix('<') {
            Some(quoted) => quoted.split_once('>')?,
            None => zone.split_at(zone.find(|letter: char| letter.is_ascii_digit() || "+-,".contains(letter))?),
        };
        let (sign, offset) = match offset.strip_prefix('-') {
            Some(offset) => (1, offset),
            None => (-1, offset.strip_prefix('+').unwrap_or(offset)),
        };
        let mut seconds = 0;
        for (index, part) in offset.split(':').enumerate() {
            let (unit, largest) = *[(3_600, HOURS_MAX), (60, 59), (1, 59)].get(index)?;
            let is_number = part.bytes().all(|byte| byte.is_ascii_digit());
            let number = part.parse::<i32>().ok().filter(|_| is_number)?;
            seconds += (number <= largest).then_some(number * unit)?;
        }
        let name = name.to_uppercase();
        let mut abbreviation = [0; ABBREVIATION_BYTES_MAX];
        abbreviation.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        Some(FixedZone {
            east: sign * seconds,
            abbreviation,
            abbreviation_bytes: name.len() as u8,
        })
    }
}

impl TimeZone {
    pub const UTC: TimeZone = TimeZone::Named(Tz::UTC);

    /// The zone of a setting; UTC if it names none that is known.
    pub fn of_setting(name: &str) -> TimeZone {
        TimeZone::parse(name).unwrap_or(TimeZone::UTC)
    }

    /// A zone by its name, in any case, or as POSIX writes it.
    pub fn parse(name: &str) -> Option<TimeZone> {
        TimeZone::named(name).or_else(|| FixedZone::of_posix(name).map(TimeZone::Fixed))
    }

    /// A zone of the tz database by name, in any case.
    pub fn named(name: &str) -> Option<TimeZone> {
        let known = name.parse().ok().or_else(|| {
            let mut all = chrono_tz::TZ_VARIANTS.iter();
            all.find(|zone| zone.name().eq_ignore_ascii_case(name)).copied()
        });
        known.map(TimeZone::Named)
    }

    /// Seconds east of UTC of the usual abbreviations, which are written in lower case.
    pub fn of_abbreviation(abbreviation: &str) -> Option<i32> {
        let hours = match abbreviation {
            "z" | "utc" | "ut" | "gmt" | "zulu" | "uct" | "wet" => 0.0,
            "bst" | "cet" | "met" | "mez" | "west" => 1.0,
            "cest" | "mest" | "mesz" | "eet" | "sast" => 2.0,
            "eest" | "msk" => 3.0,
            "msd" | "gst" => 4.0,
            "ist" => 2.0,
            "pkt" => 5.0,
            "hkt" | "awst" => 8.0,
            "jst" | "kst" => 9.0,
            "acst" => 9.5,
            "aest" => 10.0,
            "aedt" => 11.0,
            "nzst" => 12.0,
            "nzdt" => 13.0,
            "ast" | "edt" => -4.0,
            "adt" => -3.0,
            "est" | "cdt" => -5.0,
            "cst" | "mdt" => -6.0,
            "mst" | "pdt" => -7.0,
            "pst" | "akdt" => -8.0,
            "akst" => -9.0,
            "hst" => -10.0,
            _ => return None,
        };
        Some((hours * 3_600.0) as i32)
    }

    /// The name of an offset, seconds east of UTC, as PostgreSQL shows it: `<+05:30>-05:30`.
    pub fn name_of_offset(east: i64) -> String {
        let far = east.unsigned_abs();
        let mut digits = format!("{:02}", far / 3_600);
        if !far.is_multiple_of(3_600) {
            digits += &format!(":{:02}", far / 60 % 60);
        }
        if !far.is_multiple_of(60) {
            digits += &format!(":{:02}", far % 60);
        }
        match east < 0 {
            true => format!("<-{digits}>+{digits}"),
            false => format!("<+{digits}>-{digits}"),
        }
    }

    /// The name that a zone is shown by, however it was written.
    pub fn shown_name(&self, written: &str) -> String {
        match self {
            TimeZone::Named(zone) => zone.name().to_string(),
            TimeZone::Fixed(_) => written.to_uppercase(),
        }
    }

    /// `CET` or `CEST`: what it is called at an instant.
    pub fn abbreviation(&self, utc_us: i64) -> String {
        use chrono::TimeZone as _;
        use chrono_tz::OffsetName;
        let zone = match self {
            TimeZone::Named(zone) => zone,
            TimeZone::Fixed(fixed) => return fixed.abbreviation().to_string(),
        };
        let name = chrono::DateTime::from_timestamp_micros(utc_us).and_then(|instant| {
            let offset = zone.offset_from_utc_datetime(&instant.naive_utc());
            offset.abbreviation().map(str::to_string)
        });
        name.unwrap_or_else(|| zone.name().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_westward_and_shown_eastward() {
        let east = |name: &str| match TimeZone::parse(name) {
            Some(TimeZone::Fixed(zone)) => Some((zone.east(), zone.abbreviation().to_string())),
            _ => None,
        };
        for (name, expected) in [
            ("<+05:30>-05:30", Some((19_800, "+05:30"))),
            ("UTC+3", Some((-10_800, "UTC"))),
            ("-03:30", Some((12_600, ""))),
            ("abc167:59:59", Some((-604_799, "ABC"))),
            ("abc168", None),
            ("abc5:60", None),
            ("abc", None),
            ("<a>", None),
            ("EST5EDT", None),
            ("", None),
        ] {
            let expected = expected.map(|(east, name)| (east, name.to_string()));
            assert_eq!(east(name), expected, "{name}");
        }
        for offset in [0, 19_800, -10_800, 604_799, -1] {
            let name = TimeZone::name_of_offset(offset);
            assert_eq!(east(&name).map(|zone| i64::from(zone.0)), Some(offset), "{name}");
        }
    }
}
