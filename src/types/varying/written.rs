//! NUMERIC of any scale as text, as a float, and in PostgreSQL's binary form.

use bytes::{BufMut, BytesMut};
use num_bigint::{BigInt, Sign};

use super::Numeric;
use crate::error::SqlError;
use crate::types::decimal::{self, Decimal, GROUP, overflow};
use crate::types::numeric::{self, invalid, is_blank, write_decimal, write_decimal_binary};

impl Numeric {
    /// Of a float, by the digits that it has for certain: 15 of a double, 6 of a real.
    pub fn of_float(value: f64, digits: usize) -> Numeric {
        if value.is_nan() {
            return Numeric::NaN;
        }
        if value.is_infinite() {
            return Numeric::of_sign(value.signum() as i32);
        }
        let written = format!("{value:.*e}", digits - 1);
        let (mantissa, exponent) = written.split_once('e').expect("it is written with an exponent");
        let mantissa = match mantissa.contains('.') {
            true => mantissa.trim_end_matches('0').trim_end_matches('.'),
            false => mantissa,
        };
        Numeric::parse(&format!("{mantissa}e{exponent}")).expect("a double has at most 309 digits")
    }

    /// Reads a number as PostgreSQL does.
    pub fn parse(text: &str) -> Result<Numeric, SqlError> {
        if let Some(number) = Numeric::parse_plain(text.as_bytes()) {
            return Ok(number);
        }
        let bare = text.trim_matches(is_blank);
        let wrong = || invalid("numeric", text);
        let (negative, unsigned) = match bare.as_bytes() {
            [b'-', ..] => (true, &bare[1..]),
            [b'+', ..] => (false, &bare[1..]),
            _ => (false, bare),
        };
        if bare.eq_ignore_ascii_case("nan") {
            return Ok(Numeric::NaN);
        }
        if ["infinity", "inf"]
            .iter()
            .any(|word| unsigned.eq_ignore_ascii_case(word))
        {
            return Ok(if negative {
                Numeric::MinusInfinity
            } else {
                Numeric::Infinity
            });
        }
        let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
            None => (unsigned, 0),
            Some(at) => {
                let exponent = &unsigned[at + 1..];
                let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
                if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(wrong());
                }
                (&unsigned[..at], exponent.parse::<i64>().map_err(|_| overflow())?)
            }
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() && fraction.is_empty() || !are_digits(whole) || !are_digits(fraction) {
            return Err(wrong());
        }
        const EXPONENT_MAX: u64 = 200_000;
        if exponent.unsigned_abs() > EXPONENT_MAX {
            return Err(overflow());
        }
        let digits = format!("{whole}{fraction}");
        let value = BigInt::parse_bytes(digits.as_bytes(), 10).ok_or_else(wrong)?;
        let value = if negative { -value } else { value };
        let scale = fraction.len() as i64 - exponent;
        let number = match u32::try_from(scale) {
            Ok(scale) => Decimal { value, scale },
            Err(_) => Decimal {
                value: value * decimal::power_of_ten(scale.unsigned_abs() as u32),
                scale: 0,
            },
        };
        Ok(number.checked()?.into())
    }

    /// `-123.45` of at most 18 digits.
    fn parse_plain(bytes: &[u8]) -> Option<Numeric> {
        const DIGITS: usize = 18;
        let (negative, digits) = match bytes {
            [b'-', rest @ ..] => (true, rest),
            all => (false, all),
        };
        if digits.is_empty() || digits.len() > DIGITS {
            return None;
        }
        let (mut value, mut point) = (0_i64, None);
        for (at, byte) in digits.iter().enumerate() {
            let digit = byte.wrapping_sub(b'0');
            if digit < 10 {
                value = value * 10 + i64::from(digit);
            } else if *byte == b'.' && point.is_none() && digits.len() > 1 {
                point = Some(at);
            } else {
                return None;
            }
        }
        Some(Numeric::Small {
            value: i128::from(if negative { -value } else { value }),
            scale: point.map_or(0, |at| digits.len() - at - 1) as u32,
        })
    }

    pub fn write_text(&self, out: &mut BytesMut) {
        /// The longest scale that [`write_decimal`] has room for.
        const SCALE_SHORT: u32 = 38;
        match self {
            Numeric::MinusInfinity => out.extend_from_slice(b"-Infinity"),
            Numeric::Small { value, scale } if *scale <= SCALE_SHORT => write_decimal(*value, *scale as i8, out),
            Numeric::Infinity => out.extend_from_slice(b"Infinity"),
            Numeric::NaN => out.extend_from_slice(b"NaN"),
            _ => out.extend_from_slice(self.finite().expect("others are special").text().as_bytes()),
        }
    }

    pub fn text(&self) -> String {
        let mut out = BytesMut::new();
        self.write_text(&mut out);
        String::from_utf8(out.to_vec()).expect("digits are ASCII")
    }

    /// As PostgreSQL sends it in binary.
    pub fn write_binary(&self, out: &mut BytesMut) {
        const SCALE_SHORT: u32 = 38;
        // PostgreSQL takes a bit that tells the infinities for one of the scale.
        const SCALE_INFINITE: u16 = 0x20;
        let special = |sign: u16, scale: u16, out: &mut BytesMut| {
            for word in [0, 0, sign, scale] {
                out.put_u16(word);
            }
        };
        match self {
            Numeric::MinusInfinity => special(numeric::SIGN_MINUS_INFINITY, SCALE_INFINITE, out),
            Numeric::Infinity => special(numeric::SIGN_INFINITY, SCALE_INFINITE, out),
            Numeric::NaN => special(numeric::SIGN_NAN, 0, out),
            Numeric::Small { value, scale } if *scale <= SCALE_SHORT => write_decimal_binary(*value, *scale as i8, out),
            _ => {
                let number = self.finite().expect("others are special");
                let (groups, weight) = number.groups();
                let sign = match number.is_negative() {
                    true => numeric::SIGN_NEGATIVE,
                    false => numeric::SIGN_POSITIVE,
                };
                out.put_u16(groups.len() as u16);
                out.put_i16(weight as i16);
                out.put_u16(sign);
                out.put_u16(number.scale as u16);
                for group in groups {
                    out.put_u16(group);
                }
            }
        }
    }

    /// Reads PostgreSQL's binary form.
    pub fn parse_binary(bytes: &[u8]) -> Result<Numeric, SqlError> {
        let sent = numeric::WireNumeric::read(bytes)?;
        match sent.sign {
            numeric::SIGN_NAN => return Ok(Numeric::NaN),
            numeric::SIGN_INFINITY => return Ok(Numeric::Infinity),
            numeric::SIGN_MINUS_INFINITY => return Ok(Numeric::MinusInfinity),
            _ => {}
        }
        let digits: Vec<u8> = sent
            .groups()
            .flat_map(|group| [group / 1_000, group / 100 % 10, group / 10 % 10, group % 10])
            .map(|digit| digit as u8)
            .collect();
        let sign = match sent.sign {
            numeric::SIGN_NEGATIVE => Sign::Minus,
            _ => Sign::Plus,
        };
        let value = match digits.is_empty() {
            true => BigInt::default(),
            false => BigInt::from_radix_be(sign, &digits, 10).unwrap_or_default(),
        };
        // The last group counts 10000^(weight + 1 - count).
        let exponent = (i64::from(sent.weight) + 1) * GROUP - digits.len() as i64;
        let number = match exponent {
            0.. => Decimal {
                value: value * decimal::power_of_ten(exponent as u32),
                scale: 0,
            },
            _ => Decimal {
                value,
                scale: exponent.unsigned_abs() as u32,
            },
        };
        let scale = u32::from(sent.scale);
        let value = match scale >= number.scale {
            true => number.fixed(scale),
            false => number.truncate(scale.into()).value,
        };
        Ok(Decimal { value, scale }.checked()?.into())
    }
}
