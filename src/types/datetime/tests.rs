//! Spellings and errors, checked against PostgreSQL 15.

use bytes::BytesMut;

use super::super::calendar;
use super::*;

fn show(write: impl FnOnce(&mut BytesMut)) -> String {
    let mut out = BytesMut::new();
    write(&mut out);
    String::from_utf8(out.to_vec()).expect("dates are ASCII")
}

/// Checked against PostgreSQL 15.
#[test]
fn timestamps_are_read_in_every_usual_spelling() {
    for (text, expected) in [
        ("2024-01-02", "2024-01-02 00:00:00"),
        ("2024-01-02 03:04:05.678", "2024-01-02 03:04:05.678"),
        ("2024-01-02T03:04:05", "2024-01-02 03:04:05"),
        ("2024-01-02T03:04:05.678Z", "2024-01-02 03:04:05.678"),
        ("2024-01-02 03:04:05+02", "2024-01-02 03:04:05"),
        ("2024-01-02 03:04", "2024-01-02 03:04:00"),
        ("  2024-1-2 3:04:05  ", "2024-01-02 03:04:05"),
        ("2024-01-02 03:04:05.1234567", "2024-01-02 03:04:05.123457"),
        ("2024-01-02 24:00:00", "2024-01-03 00:00:00"),
        ("2024-01-02 23:59:60", "2024-01-03 00:00:00"),
        ("01/02/2024", "2024-01-02 00:00:00"),
        ("1/2/24 4:05 PM", "2024-01-02 16:05:00"),
        ("2-Jan-2024", "2024-01-02 00:00:00"),
        ("2024-Jan-02", "2024-01-02 00:00:00"),
        ("Jan 2, 2024 12:05 AM", "2024-01-02 00:05:00"),
        ("January 2 2024", "2024-01-02 00:00:00"),
        ("Tue Jan 02 03:04:05 2024", "2024-01-02 03:04:05"),
        ("20240102", "2024-01-02 00:00:00"),
        ("20240102T030405", "2024-01-02 03:04:05"),
        ("20240102 030405.5", "2024-01-02 03:04:05.5"),
        ("240102", "2024-01-02 00:00:00"),
        ("0044-03-15 BC", "0044-03-15 00:00:00 BC"),
        ("epoch", "1970-01-01 00:00:00"),
        ("1999-12-31 23:59:59.999999", "1999-12-31 23:59:59.999999"),
    ] {
        let us = parse_timestamp(text, &InputStyle::default()).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(show(|out| calendar::write_timestamp(us, out)), expected, "{text}");
    }
}

#[test]
fn timestamps_with_zone_become_utc() {
    let new_york = InputStyle {
        time_zone: TimeZone::named("America/New_York").expect("a zone"),
        ..InputStyle::default()
    };
    for (text, expected) in [
        ("2024-01-02 03:04:05", "2024-01-02 08:04:05"),
        ("2024-07-02 03:04:05", "2024-07-02 07:04:05"),
        ("2024-01-02 03:04:05+02", "2024-01-02 01:04:05"),
        ("2024-01-02 03:04:05.5-0530", "2024-01-02 08:34:05.5"),
        ("2024-01-02 03:04:05 +05:30", "2024-01-01 21:34:05"),
        ("2024-01-02T03:04:05Z", "2024-01-02 03:04:05"),
        ("2024-01-02 03:04:05 UTC", "2024-01-02 03:04:05"),
        ("2024-01-02 03:04:05 PST", "2024-01-02 11:04:05"),
        ("2024-07-02 03:04:05 Europe/Berlin", "2024-07-02 01:04:05"),
        ("2024-01-02", "2024-01-02 05:00:00"),
    ] {
        let us = parse_timestamptz(text, &new_york).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(show(|out| calendar::write_timestamp(us, out)), expected, "{text}");
    }
}

#[test]
fn bad_times_have_postgresqls_errors() {
    for (text, code, message) in [
        ("x", "22007", "invalid input syntax for type timestamp: \"x\""),
        ("", "22007", "invalid input syntax for type timestamp: \"\""),
        (
            "2024-01",
            "22007",
            "invalid input syntax for type timestamp: \"2024-01\"",
        ),
        (
            "2024-13-01",
            "22008",
            "date/time field value out of range: \"2024-13-01\"",
        ),
        (
            "2024-02-30",
            "22008",
            "date/time field value out of range: \"2024-02-30\"",
        ),
        (
            "2024-01-02 25:00:00",
            "22008",
            "date/time field value out of range: \"2024-01-02 25:00:00\"",
        ),
        (
            "2024-01-02 03:04:05+99",
            "22009",
            "time zone displacement out of range: \"2024-01-02 03:04:05+99\"",
        ),
        (
            "2024-01-02 03:04:05 Mars/Base",
            "22023",
            "time zone \"mars/base\" not recognized",
        ),
        ("299999-01-01", "22008", "timestamp out of range: \"299999-01-01\""),
        (
            "+infinity",
            "22007",
            "invalid input syntax for type timestamp: \"+infinity\"",
        ),
    ] {
        let error = parse_timestamp(text, &InputStyle::default()).expect_err(text);
        assert_eq!((error.state.0, error.message.as_str()), (code, message), "{text}");
    }
}

#[test]
fn dates_and_times_of_day() {
    let style = InputStyle {
        now_us: Some(1_704_164_645_000_000),
        ..InputStyle::default()
    };
    for (text, expected) in [
        ("2024-02-29", "2024-02-29"),
        ("2024-02-29 10:00", "2024-02-29"),
        ("5874897-12-31", "5874897-12-31"),
        ("4713-11-24 BC", "4713-11-24 BC"),
        ("tomorrow", "2024-01-03"),
        ("69-01-01", "2069-01-01"),
    ] {
        let style = InputStyle {
            date_order: if text.starts_with("69") {
                DateOrder::Ymd
            } else {
                DateOrder::Mdy
            },
            ..style
        };
        let days = parse_date(text, &style).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(show(|out| calendar::write_date(days, out)), expected, "{text}");
    }
    for (text, expected) in [
        ("03:04:05.5", "03:04:05.5"),
        ("03:04", "03:04:00"),
        ("04:05:06 PM", "16:05:06"),
        ("040506", "04:05:06"),
        ("040506.789", "04:05:06.789"),
        ("04:05:06+02", "04:05:06"),
        ("24:00:00", "24:00:00"),
    ] {
        let us = parse_time(text, &style).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(show(|out| calendar::write_time(us, out)), expected, "{text}");
    }
    assert_eq!(parse_time("25:00", &style).expect_err("no such hour").state.0, "22008");
    assert_eq!(
        parse_date("5874898-01-01", &style).expect_err("too far").state.0,
        "22008"
    );
}
