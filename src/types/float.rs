//! REAL and DOUBLE PRECISION: the shortest text that reads back as the same number, as PostgreSQL 12 and later print.

use std::io::Write;

use bytes::{BufMut, BytesMut};

use super::numeric::{invalid, is_blank};
use crate::error::{SqlError, state};

/// Reads a float; infinities and NaN by name; 22003 if it is too large or too small for the type.
pub fn parse_f64(text: &str) -> Result<f64, SqlError> {
    let value: f64 = read(text, "double precision")?;
    check(text, "double precision", value.is_infinite(), value == 0.0)?;
    Ok(value)
}

pub fn parse_f32(text: &str) -> Result<f32, SqlError> {
    let value: f32 = read(text, "real")?;
    check(text, "real", value.is_infinite(), value == 0.0)?;
    Ok(value)
}

fn read<T: std::str::FromStr>(text: &str, kind: &str) -> Result<T, SqlError> {
    text.trim_matches(is_blank).parse().map_err(|_| invalid(kind, text))
}

fn check(text: &str, kind: &str, is_infinite: bool, is_zero: bool) -> Result<(), SqlError> {
    let digits = text.split(['e', 'E']).next().unwrap_or(text);
    let overflowed = is_infinite && digits.bytes().any(|byte| byte.is_ascii_digit());
    let underflowed = is_zero && digits.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
    if overflowed || underflowed {
        return Err(SqlError::new(
            state::NUMERIC_VALUE_OUT_OF_RANGE,
            format!("\"{}\" is out of range for type {kind}", text.trim_matches(is_blank)),
        ));
    }
    Ok(())
}

/// `extra_float_digits` as the setting: above 0 the shortest exact form, else 15 digits less its magnitude.
pub fn write_f64(value: f64, extra_float_digits: i32, out: &mut BytesMut) {
    if write_special(value.is_nan(), value.is_infinite(), value < 0.0, out) {
        return;
    }
    let mut text = Buffer::new();
    if extra_float_digits > 0 {
        write!(text, "{value:e}").expect("the buffer holds any float");
        text.layout(15, out);
    } else {
        let digits = (15 + extra_float_digits).max(1) as usize;
        write!(text, "{value:.*e}", digits - 1).expect("the buffer holds any float");
        text.layout(digits as i32, out);
    }
}

pub fn write_f32(value: f32, extra_float_digits: i32, out: &mut BytesMut) {
    if write_special(value.is_nan(), value.is_infinite(), value < 0.0, out) {
        return;
    }
    let mut text = Buffer::new();
    if extra_float_digits > 0 {
        write!(text, "{value:e}").expect("the buffer holds any float");
        text.layout(6, out);
    } else {
        let digits = (6 + extra_float_digits).max(1) as usize;
        write!(text, "{value:.*e}", digits - 1).expect("the buffer holds any float");
        text.layout(digits as i32, out);
    }
}

fn write_special(is_nan: bool, is_infinite: bool, is_negative: bool, out: &mut BytesMut) -> bool {
    let text: &[u8] = match (is_nan, is_infinite, is_negative) {
        (true, _, _) => b"NaN",
        (_, true, false) => b"Infinity",
        (_, true, true) => b"-Infinity",
        _ => return false,
    };
    out.extend_from_slice(text);
    true
}

/// A float as `-d.ddde-ddd`.
struct Buffer {
    bytes: [u8; 48],
    len: usize,
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let taken = bytes.len().min(self.bytes.len() - self.len);
        self.bytes[self.len..self.len + taken].copy_from_slice(&bytes[..taken]);
        self.len += taken;
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Buffer {
    fn new() -> Buffer {
        Buffer { bytes: [0; 48], len: 0 }
    }

    /// Prints with an exponent if it is below -4 or at least `exponent_min`, without trailing zeros after the point.
    fn layout(&self, exponent_min: i32, out: &mut BytesMut) {
        let text = &self.bytes[..self.len];
        let at = text
            .iter()
            .position(|byte| *byte == b'e')
            .expect("the format writes an exponent");
        let exponent: i32 = std::str::from_utf8(&text[at + 1..])
            .ok()
            .and_then(|digits| digits.parse().ok())
            .expect("the exponent is a number");
        let (negative, mantissa) = match &text[..at] {
            [b'-', rest @ ..] => (true, rest),
            all => (false, all),
        };
        // The digits without their point.
        let mut digits = [0_u8; 40];
        let mut count = 0;
        for byte in mantissa.iter().filter(|byte| **byte != b'.') {
            digits[count] = *byte;
            count += 1;
        }
        while count > 1 && digits[count - 1] == b'0' {
            count -= 1;
        }
        let digits = &digits[..count];
        if negative {
            out.put_u8(b'-');
        }
        if exponent < -4 || exponent >= exponent_min {
            out.put_u8(digits[0]);
            if count > 1 {
                out.put_u8(b'.');
                out.extend_from_slice(&digits[1..]);
            }
            out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
            if exponent.abs() < 10 {
                out.put_u8(b'0');
            }
            super::numeric::write_u64(u64::from(exponent.unsigned_abs()), out);
        } else if exponent < 0 {
            out.extend_from_slice(b"0.");
            for _ in 0..-exponent - 1 {
                out.put_u8(b'0');
            }
            out.extend_from_slice(digits);
        } else {
            let whole = exponent as usize + 1;
            if count <= whole {
                out.extend_from_slice(digits);
                for _ in count..whole {
                    out.put_u8(b'0');
                }
            } else {
                out.extend_from_slice(&digits[..whole]);
                out.put_u8(b'.');
                out.extend_from_slice(&digits[whole..]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(write: impl FnOnce(&mut BytesMut)) -> String {
        let mut out = BytesMut::new();
        write(&mut out);
        String::from_utf8(out.to_vec()).expect("digits are ASCII")
    }

    /// As PostgreSQL 15 prints them.
    #[test]
    fn floats_print_shortest() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (1.5e-4, "0.00015"),
            (1e-5, "1e-05"),
            (123_456_789_012_345.0, "123456789012345"),
            (1e15, "1e+15"),
            (1.234_567_890_123_456_7e15, "1.2345678901234568e+15"),
            (1.797_693_134_862_315_7e308, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(shown(|out| write_f64(value, 1, out)), expected);
        }
        for (value, expected) in [
            (0.1_f32, "0.1"),
            (123_456.0, "123456"),
            (1_234_567.0, "1.234567e+06"),
            (1e6, "1e+06"),
        ] {
            assert_eq!(shown(|out| write_f32(value, 1, out)), expected);
        }
        assert_eq!(shown(|out| write_f64(0.1 + 0.2, 0, out)), "0.3");
        assert_eq!(shown(|out| write_f64(0.1 + 0.2, 1, out)), "0.30000000000000004");
        assert_eq!(shown(|out| write_f64(1e15, 0, out)), "1e+15");
        assert_eq!(shown(|out| write_f64(100.0, 0, out)), "100");
    }

    #[test]
    fn floats_are_read_as_postgresql_reads_them() {
        assert_eq!(parse_f64(" 1.5e3 "), Ok(1_500.0));
        assert_eq!(parse_f64("-infinity"), Ok(f64::NEG_INFINITY));
        assert!(parse_f64("NaN").is_ok_and(f64::is_nan));
        assert_eq!(parse_f64("0e500"), Ok(0.0));
        let error = parse_f64("1e400").expect_err("too large");
        assert_eq!(error.message, "\"1e400\" is out of range for type double precision");
        assert_eq!(parse_f64("1e-400").expect_err("too small").state.0, "22003");
        assert_eq!(parse_f32("1e40").expect_err("too large").state.0, "22003");
        assert_eq!(
            parse_f32("x").expect_err("no number").message,
            "invalid input syntax for type real: \"x\""
        );
    }
}
