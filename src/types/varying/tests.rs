//! Numbers of any scale compared with PostgreSQL 15's results.

use std::cmp::Ordering;

use bytes::BytesMut;

use super::{Numeric, key};
use crate::error::SqlError;

fn number(text: &str) -> Numeric {
    Numeric::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn bytes_keep_values_and_scales() {
    for text in [
        "0",
        "0.00",
        "1",
        "-1",
        "10",
        "100",
        "1.5",
        "1.50",
        "-0.05",
        "0.5",
        "12345.678",
        "99",
        "99.9",
        "0.000000000000000000000000000000000000000000000000000001",
        "123456789012345678901234567890123456789012345678901234567890.5",
        "-170141183460469231731687303715884105728",
        "170141183460469231731687303715884105727",
        "NaN",
        "Infinity",
        "-Infinity",
        "1000000.000000",
    ] {
        let read = number(text);
        assert_eq!(read.text(), text);
        let decoded = Numeric::decode(&read.encoded());
        assert_eq!(decoded.text(), text);
        assert_eq!(decoded, read, "{text}");
        let mut sent = BytesMut::new();
        read.write_binary(&mut sent);
        assert_eq!(Numeric::parse_binary(&sent), Ok(read), "{text}");
    }
    for exponent in [-150_i32, -111, -110, -109, 0, 107, 108, 109, 110, 111, 250, 4000] {
        let read = number(&format!("-7e{exponent}"));
        assert_eq!(Numeric::decode(&read.encoded()), read, "{exponent}");
    }
}

#[test]
fn bytes_sort_as_numbers() {
    let rising = [
        "-Infinity",
        "-1e500",
        "-1e120",
        "-123.1",
        "-123",
        "-100",
        "-99.99",
        "-1",
        "-0.5",
        "-1e-300",
        "0",
        "1e-300",
        "1e-110",
        "1e-109",
        "0.0099",
        "0.01",
        "0.5",
        "1",
        "1.5",
        "9",
        "10",
        "99.99",
        "100",
        "100.01",
        "12345",
        "1e108",
        "1e109",
        "1e110",
        "1e500",
        "Infinity",
        "NaN",
    ];
    for pair in rising.windows(2) {
        let [left, right] = [number(pair[0]), number(pair[1])];
        assert!(left.encoded() < right.encoded(), "{} < {}", pair[0], pair[1]);
        assert_eq!(left.compare(&right), Ordering::Less);
    }
    for (left, right) in [("1.5", "1.500"), ("0", "0.000"), ("100", "1e2"), ("-2.0", "-2")] {
        assert_eq!(key(&number(left).encoded()), key(&number(right).encoded()));
    }
    let long = number(&format!("0.{}1", "0".repeat(300)));
    assert_eq!(key(&long.encoded()), key(&number("1e-301").encoded()));
}

/// Values and scales as PostgreSQL 15 gives them.
#[test]
fn arithmetic_is_postgresqls() {
    let shown = |result: Result<Numeric, SqlError>| match result {
        Ok(number) => number.text(),
        Err(error) => error.state.0.to_string(),
    };
    for (left, operator, right, expected) in [
        ("7", '/', "4.00", "1.7500000000000000"),
        ("1", '/', "3", "0.33333333333333333333"),
        ("10", '/', "3", "3.3333333333333333"),
        ("123456789", '/', "3", "41152263.000000000000"),
        ("1e-12", '/', "3", "0.00000000000033333333333333333333"),
        ("1", '/', "0", "22012"),
        ("Infinity", '/', "-2", "-Infinity"),
        ("5", '/', "Infinity", "0"),
        ("NaN", '/', "0", "NaN"),
        ("1.5", '+', "2.25", "3.75"),
        ("1.50", '-', "1.5", "0.00"),
        ("Infinity", '-', "Infinity", "NaN"),
        (
            "99999999999999999999",
            '*',
            "99999999999999999999.5",
            "9999999999999999999850000000000000000000.5",
        ),
        ("-7.5", '%', "2", "-1.5"),
        ("7", '%', "0", "22012"),
        ("0", '*', "Infinity", "NaN"),
    ] {
        let (a, b) = (number(left), number(right));
        let result = match operator {
            '/' => a.divide(&b),
            '+' => a.add(&b),
            '-' => a.subtract(&b),
            '*' => a.multiply(&b),
            _ => a.modulo(&b),
        };
        assert_eq!(shown(result), expected, "{left} {operator} {right}");
    }
    assert_eq!(Numeric::of_float(1e15, 15).text(), "1000000000000000");
    assert_eq!(Numeric::of_float(0.1, 15).text(), "0.1");
    assert_eq!(Numeric::of_float(-2.5e-7, 15).text(), "-0.00000025");
    assert_eq!(Numeric::of_float(f64::from(0.1_f32), 6).text(), "0.1");
    assert_eq!(Numeric::of_float(100.0, 15).text(), "100");
}
