//! Feeds the readers of every type, in text and binary, with mutated values: they refuse a value, or read it, and then read
//! the same value back from its output.
//!
//! An input is the name of a type, a newline, and the value.

use super::*;
use crate::fuzz::{self, Target};

/// Values in PostgreSQL's many spellings, beside those of [`VALUES`].
const TEXTS: &[(&str, &str)] = &[
    ("boolean", " TRUE "),
    ("integer", " +2147483647 "),
    ("bigint", "0x7fffffffffffffff"),
    ("bigint", "1_000"),
    ("real", "-infinity"),
    ("double precision", "1.7976931348623157e+308"),
    ("numeric(38,10)", "-1234567890123456789012345678.0123456789"),
    ("numeric(5,-2)", "12345e-1"),
    ("numeric", "1e28"),
    ("character varying(10)", "größer   "),
    ("bytea", "a\\000\\377\\\\"),
    ("date", "January 8, 1999 BC"),
    ("date", "99-Jan-08"),
    ("date", "J2451187"),
    ("date", "infinity"),
    ("time without time zone", "04:05:06.789 PM"),
    ("timestamp without time zone", "Wed Dec 17 07:37:16.123456 1997 PST"),
    ("timestamp without time zone", "20240102T030405.6"),
    ("timestamp without time zone", "294276-12-31 23:59:59.999999"),
    ("timestamp with time zone", "1999-01-08 04:05:06 -8:00:30 BC"),
    ("timestamp with time zone", "2024-03-31 02:30:00 Europe/Berlin"),
    ("timestamp with time zone", "epoch"),
    ("interval", "1 year 2 months -3 days 04:05:06.789 ago"),
    ("interval", "P1Y2M3DT4H5M6.7S"),
    ("interval", "P0001-02-03T04:05:06"),
    ("interval", "1-2 -3 +4:05:06.7"),
    ("interval", "@ 178000000 years"),
    ("uuid", "{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}"),
    (
        "json",
        r#" {"a" : [1, 2.5e-3, "x\u00e9\ud83d\ude00\n", null, true], "a": {}} "#,
    ),
    (
        "jsonb",
        r#"{"b":[1.0,-0,1E+5,"\\\"\/\b\f"],"aa":{"c":[[[]]]},"a":null,"a":2}"#,
    ),
    ("jsonb", "0.000000000000000000000000000000012345"),
    ("oid", "-1"),
    ("numeric(10,2)[]", "[0:2]={1.005, null ,\"3\"}"),
    ("jsonb[]", r#"{"{\"a\": 1}",NULL,1}"#),
    ("timestamp with time zone[]", "{2024-01-02,\"2024-01-02 03:04:05+02\"}"),
    ("bytea[]", r#"{"\\x00ff",a}"#),
];

const WORDS: &[&[u8]] = &[
    b"infinity",
    b"-infinity",
    b"NaN",
    b"null",
    b"true",
    b"now",
    b"today",
    b"epoch",
    b"allballs",
    b"BC",
    b"AD",
    b"am",
    b"pm",
    b"UTC",
    b"+15:59:59",
    b"America/New_York",
    b"months",
    b"years",
    b"days",
    b"microseconds",
    b"weeks",
    b"centuries",
    b"millennium",
    b"ago",
    b"P",
    b"T",
    b"Jan",
    b"february",
    b"Mon",
    b"24:00:00",
    b"23:59:60",
    b"5874897-12-31",
    b"4713-01-01 BC",
    b"\\x",
    b"\\u0000",
    b"\\ud800",
    b"\\udc00",
    b"\\u00e9",
    b"1e131071",
    b"e-16383",
    b"{}",
    b"[[",
    b"{{",
    b"{\"a\":",
    b"[1:1]=",
    b"\xf0\x9f\x98\x80",
    b"[]",
    b"(38,38)",
    b"varchar(1)\n",
    b"char(3)\n",
    b"numeric(38,38)\n",
    b"numeric(3,-3)\n",
    b"array<interval>\n",
];

/// The type that the input names, and its value. The caller pads CHAR(n) to its length.
fn value(input: &[u8]) -> Option<(PgType, &[u8])> {
    const CHAR_LENGTH_MAX: u32 = 10_000;
    let at = input.iter().position(|byte| *byte == b'\n')?;
    let pg_type = PgType::parse(std::str::from_utf8(&input[..at]).ok()?)?;
    let pads = |pg_type: &PgType| matches!(pg_type, PgType::Char(length) if *length > CHAR_LENGTH_MAX);
    let is_padded = pads(&pg_type) || matches!(&pg_type, PgType::Array(item) if pads(item));
    (!is_padded).then_some((pg_type, &input[at + 1..]))
}

/// Of the session, chosen by the value, so that the input says it.
fn styles(value: &[u8]) -> (InputStyle, TextStyle) {
    let zones = ["UTC", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"];
    let intervals = ["postgres", "postgres_verbose", "sql_standard", "iso_8601"];
    let choice = value.len() + usize::from(value.first().copied().unwrap_or(0));
    let input = InputStyle {
        time_zone: TimeZone::named(zones[choice % 4]).expect("a zone"),
        ..InputStyle::default()
    };
    let output = if choice % 8 < 4 { "hex" } else { "escape" };
    (
        input,
        TextStyle::of_settings(zones[choice % 4], intervals[choice / 4 % 4], output, 1),
    )
}

/// Writes the first value of a column both ways and reads it again: it must print the same.
fn there_and_back(pg_type: &PgType, column: &arrow::array::ArrayRef, input: &InputStyle, style: &TextStyle) {
    let formatter = ColumnFormatter::new(pg_type, column, style).expect("its own type");
    let text = formatter.text(0).expect("not NULL");
    // The number of a REGTYPE is written as a name, which is the catalog's to read.
    if *pg_type == PgType::Regtype || *pg_type == PgType::Array(Box::new(PgType::Regtype)) {
        return;
    }
    // Some styles lose the sign between parts, as PostgreSQL's do: their text need not mean the same.
    let exact = style.interval_style != IntervalStyle::SqlStandard;
    let again = scalar_from_text(pg_type, &text, input)
        .unwrap_or_else(|error| panic!("{}: {text:?} was written and is refused: {error}", pg_type.name()));
    let shown = |column| {
        ColumnFormatter::new(pg_type, column, style)
            .expect("its own type")
            .text(0)
    };
    if exact {
        assert_eq!(
            shown(&again).as_deref(),
            Some(text.as_str()),
            "{} by text",
            pg_type.name()
        );
    }
    let mut sent = BytesMut::new();
    formatter.write_binary(0, &mut sent);
    let again = scalar_from_binary(pg_type, &sent)
        .unwrap_or_else(|error| panic!("{}: {text:?} was sent and is refused: {error}", pg_type.name()));
    assert_eq!(
        shown(&again).as_deref(),
        Some(text.as_str()),
        "{} by binary",
        pg_type.name()
    );
}

fn sample(name: &str, value: &[u8]) -> Vec<u8> {
    [name.as_bytes(), b"\n", value].concat()
}

fn texts() -> impl Iterator<Item = (&'static str, &'static str)> {
    VALUES
        .iter()
        .map(|(name, given, ..)| (*name, *given))
        .chain(TEXTS.iter().copied())
}

/// A value is appended between two others, which must come out as they went in.
fn append(pg_type: &PgType, append: impl FnOnce(&mut ColumnBuilder) -> Result<(), crate::error::SqlError>) -> bool {
    let mut column = ColumnBuilder::new(pg_type, 4);
    column.append_null();
    let taken = append(&mut column).is_ok();
    assert_eq!(
        column.len(),
        1 + usize::from(taken),
        "a refused value leaves the column as it was"
    );
    column.append_null();
    let column = column.finish();
    assert_eq!(column.len(), 2 + usize::from(taken));
    assert!(column.is_null(0) && column.is_null(column.len() - 1));
    if taken {
        assert!(column.is_valid(1));
    }
    taken
}

/// Asks `check` of values, each an input of one target.
fn of_values(name: &'static str, samples: Vec<Vec<u8>>, check: impl Fn(&PgType, &[u8]) -> bool + Sync) {
    let target = Target {
        name,
        samples,
        words: WORDS,
        growth: 256,
    };
    fuzz::run(&target, |input| {
        value(input).is_some_and(|(pg_type, bytes)| check(&pg_type, bytes))
    });
}

#[test]
fn values_in_text() {
    let mut samples: Vec<_> = texts().map(|(name, given)| sample(name, given.as_bytes())).collect();
    samples.retain(|input| {
        let (pg_type, text) = value(input).expect("a type");
        scalar_from_text(&pg_type, std::str::from_utf8(text).expect("text"), &styles(text).0).is_ok()
    });
    assert!(samples.len() > VALUES.len());
    of_values("values_text", samples, |pg_type, bytes| {
        let text = String::from_utf8_lossy(bytes);
        let (input, style) = styles(bytes);
        let taken = append(pg_type, |column| column.append_text(&text));
        // As a scalar with the session's zone, there and back.
        if let Ok(column) = scalar_from_text(pg_type, &text, &input) {
            there_and_back(pg_type, &column, &input, &style);
        }
        taken
    });
}

#[test]
fn values_in_binary() {
    let mut samples = Vec::new();
    for (name, given) in texts() {
        let pg_type = PgType::parse(name).expect(name);
        if let Ok(column) = scalar_from_text(&pg_type, given, &InputStyle::default()) {
            let mut sent = BytesMut::new();
            ColumnFormatter::new(&pg_type, &column, &TextStyle::default())
                .expect(name)
                .write_binary(0, &mut sent);
            samples.push(sample(name, &sent));
        }
    }
    of_values("values_binary", samples, |pg_type, bytes| {
        let (input, style) = styles(bytes);
        let taken = append(pg_type, |column| column.append_binary(bytes));
        if let Ok(column) = scalar_from_binary(pg_type, bytes) {
            there_and_back(pg_type, &column, &input, &style);
        }
        taken
    });
}

#[test]
fn jsonb_has_one_spelling() {
    let texts = [
        r#"{"b":[1.0,-0,1E+5,"\\\"\/\b\f"],"aa":{"c":[[[]]]},"a":null,"a":2}"#,
        r#"[1, 2.5e-3, "x\u00e9\ud83d\ude00\n", null, true, false, {}, []]"#,
        " \"text\" ",
        "-12.50",
    ];
    let target = Target {
        name: "jsonb",
        samples: texts.iter().map(|text| text.as_bytes().to_vec()).collect(),
        words: WORDS,
        // A short number may have 16,383 digits.
        growth: 1 << 12,
    };
    fuzz::run(&target, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let Ok(canonical) = json::canonical(&text) else {
            return false;
        };
        json::check(&text).expect("what JSONB takes is JSON");
        assert_eq!(
            json::canonical(&canonical).as_deref(),
            Ok(canonical.as_str()),
            "from {text:?}"
        );
        true
    });
}
