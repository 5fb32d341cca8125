//! The patterns of `to_char`, `to_date`, `to_timestamp` and `to_number`: `YYYY-MM-DD HH24:MI:SS`, `FM9,999.00`.
//!
//! One rule: as formatting.c of PostgreSQL 15 does in the C locale, step by step, because every corner of it shows.
//! `dates.rs` has the patterns of dates, `written.rs` writes them and `read.rs` reads; `digits.rs` has the patterns of
//! numbers, `shown.rs` writes them and `taken.rs` reads.

mod dates;
mod digits;
mod read;
mod shown;
mod taken;
mod written;

pub use read::parse;
pub use shown::{decimal, double, integer};
pub use taken::to_number;
pub use written::{interval, timestamp};

/// `st`, `nd`, `rd` or `th` for a number as it is written.
fn ordinal(number: &str, upper: bool) -> &'static str {
    let digits = number.as_bytes();
    let teen = digits.len() > 1 && digits[digits.len() - 2] == b'1';
    match (digits.last(), teen, upper) {
        (Some(b'1'), false, true) => "ST",
        (Some(b'1'), false, false) => "st",
        (Some(b'2'), false, true) => "ND",
        (Some(b'2'), false, false) => "nd",
        (Some(b'3'), false, true) => "RD",
        (Some(b'3'), false, false) => "rd",
        (_, _, true) => "TH",
        (_, _, false) => "th",
    }
}

const ROMAN: [(&str, u32); 13] = [
    ("M", 1000),
    ("CM", 900),
    ("D", 500),
    ("CD", 400),
    ("C", 100),
    ("XC", 90),
    ("L", 50),
    ("XL", 40),
    ("X", 10),
    ("IX", 9),
    ("V", 5),
    ("IV", 4),
    ("I", 1),
];

/// A number from 1 to 3999 in Roman numerals.
fn roman(number: i64) -> String {
    let Some(mut rest) = u32::try_from(number).ok().filter(|number| (1..4000).contains(number)) else {
        return "#".repeat(15);
    };
    let mut made = String::new();
    for (numeral, value) in ROMAN {
        while rest >= value {
            made.push_str(numeral);
            rest -= value;
        }
    }
    made
}

/// A quoted or other character of a format: the character, and the bytes that it takes.
fn literal(rest: &str, quoted: bool) -> (char, usize) {
    let mut letters = rest.chars();
    let first = letters.next().expect("there is a character");
    match (first, letters.next()) {
        ('\\', Some(escaped)) if quoted || escaped == '"' => (escaped, 1 + escaped.len_utf8()),
        _ => (first, first.len_utf8()),
    }
}
