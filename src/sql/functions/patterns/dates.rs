//! The patterns of dates and times.

use Convention::{Gregorian, IsoWeek, None as Any};

/// The calendar that a pattern belongs to: the two are not mixed when a date is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Convention {
    None,
    Gregorian,
    IsoWeek,
}

/// A pattern: as it is written, the letters it takes, whether they are digits, its calendar.
#[derive(Debug)]
pub struct Keyword {
    pub name: &'static str,
    pub digits: bool,
    pub convention: Convention,
}

const fn name(name: &'static str) -> Keyword {
    Keyword {
        name,
        digits: false,
        convention: Any,
    }
}

const fn month(name: &'static str) -> Keyword {
    Keyword {
        name,
        digits: false,
        convention: Gregorian,
    }
}

const fn number(name: &'static str, convention: Convention) -> Keyword {
    Keyword {
        name,
        digits: true,
        convention,
    }
}

/// In the order in which they are tried: a keyword stands after those that it begins like.
const KEYWORDS: &[Keyword] = &[
    name("A.D."),
    name("A.M."),
    name("AD"),
    name("AM"),
    name("B.C."),
    name("BC"),
    number("CC", Any),
    name("DAY"),
    number("DDD", Gregorian),
    number("DD", Gregorian),
    name("DY"),
    name("Day"),
    name("Dy"),
    number("D", Gregorian),
    number("FF1", Any),
    number("FF2", Any),
    number("FF3", Any),
    number("FF4", Any),
    number("FF5", Any),
    number("FF6", Any),
    name("FX"),
    number("HH24", Any),
    number("HH12", Any),
    number("HH", Any),
    number("IDDD", IsoWeek),
    number("ID", IsoWeek),
    number("IW", IsoWeek),
    number("IYYY", IsoWeek),
    number("IYY", IsoWeek),
    number("IY", IsoWeek),
    number("I", IsoWeek),
    number("J", Any),
    number("MI", Any),
    number("MM", Gregorian),
    month("MONTH"),
    month("MON"),
    number("MS", Any),
    month("Month"),
    month("Mon"),
    name("OF"),
    name("P.M."),
    name("PM"),
    number("Q", Any),
    month("RM"),
    number("SSSSS", Any),
    number("SSSS", Any),
    number("SS", Any),
    name("TZH"),
    number("TZM", Any),
    name("TZ"),
    number("US", Any),
    number("WW", Gregorian),
    number("W", Gregorian),
    number("Y,YYY", Gregorian),
    number("YYYY", Gregorian),
    number("YYY", Gregorian),
    number("YY", Gregorian),
    number("Y", Gregorian),
    name("a.d."),
    name("a.m."),
    name("ad"),
    name("am"),
    name("b.c."),
    name("bc"),
    number("cc", Any),
    name("day"),
    number("ddd", Gregorian),
    number("dd", Gregorian),
    name("dy"),
    number("d", Gregorian),
    number("ff1", Any),
    number("ff2", Any),
    number("ff3", Any),
    number("ff4", Any),
    number("ff5", Any),
    number("ff6", Any),
    name("fx"),
    number("hh24", Any),
    number("hh12", Any),
    number("hh", Any),
    number("iddd", IsoWeek),
    number("id", IsoWeek),
    number("iw", IsoWeek),
    number("iyyy", IsoWeek),
    number("iyy", IsoWeek),
    number("iy", IsoWeek),
    number("i", IsoWeek),
    number("j", Any),
    number("mi", Any),
    number("mm", Gregorian),
    month("month"),
    month("mon"),
    number("ms", Any),
    name("of"),
    name("p.m."),
    name("pm"),
    number("q", Any),
    month("rm"),
    number("sssss", Any),
    number("ssss", Any),
    number("ss", Any),
    name("tzh"),
    number("tzm", Any),
    name("tz"),
    number("us", Any),
    number("ww", Gregorian),
    number("w", Gregorian),
    number("y,yyy", Gregorian),
    number("yyyy", Gregorian),
    number("yyy", Gregorian),
    number("yy", Gregorian),
    number("y", Gregorian),
];

/// A piece of a format.
#[derive(Clone, Copy, Debug)]
pub enum DateToken {
    Pattern {
        keyword: &'static Keyword,
        /// FM came before it.
        fill: bool,
        /// TH (true) or th came after it.
        ordinal: Option<bool>,
    },
    Separator(char),
    Space(char),
    Letter(char),
}

/// The pieces of a format, in order. None is kept: a format may be as long as any text.
pub fn tokens(format: &str) -> Tokens<'_> {
    Tokens {
        rest: format,
        quoted: false,
    }
}

#[derive(Clone)]
pub struct Tokens<'a> {
    rest: &'a str,
    quoted: bool,
}

impl Iterator for Tokens<'_> {
    type Item = DateToken;

    fn next(&mut self) -> Option<DateToken> {
        loop {
            if self.quoted {
                if let Some(after) = self.rest.strip_prefix('"') {
                    (self.rest, self.quoted) = (after, false);
                    continue;
                }
                if self.rest.is_empty() {
                    return None;
                }
                let (letter, length) = super::literal(self.rest, true);
                self.rest = &self.rest[length..];
                return Some(DateToken::Letter(letter));
            }
            let (mut fill, mut translated) = (false, false);
            for (prefix, fills) in [("FM", true), ("fm", true), ("TM", false), ("tm", false)] {
                if let Some(after) = self.rest.strip_prefix(prefix) {
                    (self.rest, fill, translated) = (after, fills, !fills);
                    break;
                }
            }
            if let Some(keyword) = KEYWORDS.iter().find(|keyword| self.rest.starts_with(keyword.name)) {
                self.rest = &self.rest[keyword.name.len()..];
                let mut ordinal = None;
                for (suffix, kind) in [("TH", Some(true)), ("th", Some(false)), ("SP", None)] {
                    if let Some(after) = self.rest.strip_prefix(suffix) {
                        (self.rest, ordinal) = (after, kind);
                        break;
                    }
                }
                // A name in another language is not padded; every language is English here.
                fill |= translated && !keyword.digits && !keyword.name.eq_ignore_ascii_case("rm");
                return Some(DateToken::Pattern { keyword, fill, ordinal });
            }
            if self.rest.is_empty() {
                return None;
            }
            if let Some(after) = self.rest.strip_prefix('"') {
                (self.rest, self.quoted) = (after, true);
                continue;
            }
            let (letter, length) = super::literal(self.rest, false);
            self.rest = &self.rest[length..];
            return Some(match letter {
                '!'..='~' if !letter.is_ascii_alphanumeric() => DateToken::Separator(letter),
                ' ' | '\t'..='\r' => DateToken::Space(letter),
                letter => DateToken::Letter(letter),
            });
        }
    }
}

pub const MONTHS: [&str; 12] = [
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
pub const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
/// From December back.
pub const ROMAN_MONTHS: [&str; 12] = ["XII", "XI", "X", "IX", "VIII", "VII", "VI", "V", "IV", "III", "II", "I"];
