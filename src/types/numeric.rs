//! Integers and NUMERIC: digits to values and back, as text and on the wire.
//!
//! A NUMERIC here has the scale of its column: an `i128` counted in units of 10^-scale (`varying.rs` has those of any
//! scale). Reading rounds half away from zero to the column's scale and refuses values that do not fit its precision.
//! Nothing here allocates but errors.

use bytes::{BufMut, BytesMut};

use super::malformed::{incorrect_binary, insufficient_binary};
use crate::error::{SqlError, state};

/// Reads an integer of any width as PostgreSQL does: blanks around it, an optional sign, digits.
#[inline]
pub fn parse_integer(text: &str, min: i64, max: i64, kind: &str) -> Result<i64, SqlError> {
    match parse_digits(text.as_bytes()) {
        Some(value) if (min..=max).contains(&value) => Ok(value),
        _ => parse_any_integer(text, min, max, kind),
    }
}

/// A sign or none and up to 18 digits: the form of nearly all integers.
#[inline]
fn parse_digits(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        all => (false, all),
    };
    if !(1..=18).contains(&digits.len()) {
        return None;
    }
    let (mut value, mut all_digits) = (0_i64, true);
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        all_digits &= digit <= 9;
        value = value.wrapping_mul(10).wrapping_add(i64::from(digit));
    }
    all_digits.then(|| if negative { -value } else { value })
}

fn parse_any_integer(text: &str, min: i64, max: i64, kind: &str) -> Result<i64, SqlError> {
    let bytes = text.trim_matches(is_blank).as_bytes();
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        all => (false, all),
    };
    if digits.is_empty() {
        return Err(invalid(kind, text));
    }
    let mut value = 0_i64;
    // Counting down reaches i64::MIN.
    let least = if min < 0 { min } else { i64::MIN };
    for byte in digits {
        // Digits that are too many come before what is no digit.
        if !byte.is_ascii_digit() {
            return Err(invalid(kind, text));
        }
        value = value
            .checked_mul(10)
            .and_then(|value| value.checked_sub(i64::from(byte - b'0')))
            .filter(|value| *value >= least)
            .ok_or_else(|| integer_out_of_range(text, kind))?;
    }
    if !negative {
        value = value.checked_neg().ok_or_else(|| integer_out_of_range(text, kind))?;
    }
    if value < min || value > max {
        return Err(integer_out_of_range(text, kind));
    }
    Ok(value)
}

/// Blanks that PostgreSQL's input functions skip.
pub(in crate::types) fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

/// 22P02 `invalid input syntax for type integer: "x"`.
pub(in crate::types) fn invalid(kind: &str, text: &str) -> SqlError {
    SqlError::new(
        state::INVALID_TEXT_REPRESENTATION,
        format!("invalid input syntax for type {kind}: \"{text}\""),
    )
}

fn integer_out_of_range(text: &str, kind: &str) -> SqlError {
    SqlError::new(
        state::NUMERIC_VALUE_OUT_OF_RANGE,
        format!("value \"{text}\" is out of range for type {kind}"),
    )
}

/// Writes the digits of `value`, right-aligned in `buffer`, and returns their start.
fn digits_u64(mut value: u64, buffer: &mut [u8], mut at: usize) -> usize {
    while value >= 100 {
        let pair = two_digits((value % 100) as u32);
        value /= 100;
        at -= 2;
        buffer[at..at + 2].copy_from_slice(&pair);
    }
    if value >= 10 {
        at -= 2;
        buffer[at..at + 2].copy_from_slice(&two_digits(value as u32));
    } else {
        at -= 1;
        buffer[at] = b'0' + value as u8;
    }
    at
}

pub fn write_u64(value: u64, out: &mut BytesMut) {
    let mut buffer = [0; 20];
    let start = digits_u64(value, &mut buffer, 20);
    out.extend_from_slice(&buffer[start..]);
}

pub fn write_i64(value: i64, out: &mut BytesMut) {
    let mut buffer = [0; 21];
    let mut start = digits_u64(value.unsigned_abs(), &mut buffer, 21);
    if value < 0 {
        start -= 1;
        buffer[start] = b'-';
    }
    out.extend_from_slice(&buffer[start..]);
}

/// Most digits that an `i128` has.
const DIGITS_MAX: usize = 39;

/// Writes the digits of `value`, at least `least` of them (zeros in front), at the end of `buffer`, and returns their
/// start.
fn digits_u128(value: u128, least: usize, buffer: &mut [u8; 80]) -> usize {
    const CHUNK: u128 = 10_000_000_000_000_000_000;
    const CHUNK_DIGITS: usize = 19;
    let mut end = buffer.len();
    let mut rest = value;
    while rest > u128::from(u64::MAX) {
        let start = digits_u64((rest % CHUNK) as u64, buffer, end);
        buffer[end - CHUNK_DIGITS..start].fill(b'0');
        end -= CHUNK_DIGITS;
        rest /= CHUNK;
    }
    let start = digits_u64(rest as u64, buffer, end);
    let wanted = buffer.len() - least.min(buffer.len());
    if wanted < start {
        buffer[wanted..start].fill(b'0');
        wanted
    } else {
        start
    }
}

/// A NUMERIC as text, all of its scale.
pub fn write_decimal(value: i128, scale: i8, out: &mut BytesMut) {
    if value < 0 {
        out.put_u8(b'-');
    }
    let mut buffer = [0; 80];
    let fraction_digits = scale.max(0) as usize;
    let start = digits_u128(value.unsigned_abs(), fraction_digits + 1, &mut buffer);
    let point = buffer.len() - fraction_digits;
    out.extend_from_slice(&buffer[start..point]);
    if scale < 0 && value != 0 {
        for _ in 0..scale.unsigned_abs() {
            out.put_u8(b'0');
        }
    }
    if buffer.len() > point {
        out.put_u8(b'.');
        out.extend_from_slice(&buffer[point..]);
    }
}

pub(in crate::types) const SIGN_POSITIVE: u16 = 0x0000;
pub(in crate::types) const SIGN_NEGATIVE: u16 = 0x4000;
pub(in crate::types) const SIGN_NAN: u16 = 0xC000;
pub(in crate::types) const SIGN_INFINITY: u16 = 0xD000;
pub(in crate::types) const SIGN_MINUS_INFINITY: u16 = 0xF000;

/// A NUMERIC as PostgreSQL sends it in binary: digits to base 10000 around the point, without zeros at the ends.
pub fn write_decimal_binary(value: i128, scale: i8, out: &mut BytesMut) {
    // Decimal digits in a frame whose point is on a multiple of four.
    const POINT: usize = 80;
    let mut frame = [b'0'; 128];
    let mut buffer = [0; 80];
    let start = digits_u128(value.unsigned_abs(), 1, &mut buffer);
    let digits = &buffer[start..];
    let end = (POINT as isize + isize::from(scale)) as usize;
    frame[end - digits.len()..end].copy_from_slice(digits);
    let group = |at: usize| {
        frame[at * 4..at * 4 + 4]
            .iter()
            .fold(0_u16, |value, byte| value * 10 + u16::from(byte - b'0'))
    };
    let groups = frame.len() / 4;
    let first = (0..groups).find(|at| group(*at) != 0);
    let shown_scale = u16::from(scale.max(0) as u8);
    let Some(first) = first else {
        for header in [0, 0, SIGN_POSITIVE, shown_scale] {
            out.put_u16(header);
        }
        return;
    };
    let last = (first..groups).rfind(|at| group(*at) != 0).unwrap_or(first);
    let weight = (POINT / 4) as i16 - 1 - first as i16;
    out.put_u16((last - first + 1) as u16);
    out.put_i16(weight);
    out.put_u16(if value < 0 { SIGN_NEGATIVE } else { SIGN_POSITIVE });
    out.put_u16(shown_scale);
    for at in first..=last {
        out.put_u16(group(at));
    }
}

/// Precision and scale of a NUMERIC column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DecimalShape {
    pub precision: u8,
    pub scale: i8,
}

impl DecimalShape {
    /// 22003 for an infinite value, which has no place beside a precision.
    pub fn infinite(self) -> SqlError {
        let DecimalShape { precision, scale } = self;
        SqlError::new(state::NUMERIC_VALUE_OUT_OF_RANGE, "numeric field overflow").detail(format!(
            "A field with precision {precision}, scale {scale} cannot hold an infinite value."
        ))
    }

    /// 22003 `numeric field overflow`, with PostgreSQL's detail.
    pub fn overflow(self) -> SqlError {
        let DecimalShape { precision, scale } = self;
        let digits = i16::from(precision) - i16::from(scale);
        let (power, bound) = if digits == 0 { ("", 1) } else { ("10^", digits) };
        SqlError::new(state::NUMERIC_VALUE_OUT_OF_RANGE, "numeric field overflow").detail(format!(
            "A field with precision {precision}, scale {scale} must round to an absolute value less than {power}{bound}."
        ))
    }

    fn check(self, value: u128, negative: bool) -> Result<i128, SqlError> {
        if value >= power_of_ten(u32::from(self.precision)) {
            return Err(self.overflow());
        }
        let value = value as i128;
        Ok(if negative { -value } else { value })
    }
}

/// All that 128 bits hold.
const POWERS_OF_TEN: [u128; 39] = {
    let mut powers = [1; 39];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

fn power_of_ten(exponent: u32) -> u128 {
    POWERS_OF_TEN[exponent as usize]
}

/// Collects decimal digits, each at its power of ten, into units of 10^-scale.
struct Digits {
    shape: DecimalShape,
    value: u128,
    /// Power of ten of the last digit taken into `value`.
    lowest: i32,
    round_up: bool,
    overflow: bool,
}

impl Digits {
    fn new(shape: DecimalShape) -> Digits {
        Digits {
            shape,
            value: 0,
            lowest: -i32::from(shape.scale),
            round_up: false,
            overflow: false,
        }
    }

    /// Digits come from the highest power down, without gaps.
    fn push(&mut self, digit: u8, power: i32) {
        let unit = -i32::from(self.shape.scale);
        if power >= unit {
            match self
                .value
                .checked_mul(10)
                .and_then(|value| value.checked_add(u128::from(digit)))
            {
                Some(value) => self.value = value,
                None => self.overflow = true,
            }
            self.lowest = power;
        } else if power == unit - 1 {
            self.round_up = digit >= 5;
        }
    }

    fn finish(self, negative: bool) -> Result<i128, SqlError> {
        let missing = (self.lowest + i32::from(self.shape.scale)) as u32;
        let value = if self.overflow {
            None
        } else if self.value == 0 {
            Some(0)
        } else if missing as usize > DIGITS_MAX - 1 {
            None
        } else {
            self.value.checked_mul(power_of_ten(missing))
        };
        match value {
            Some(value) => self.shape.check(value + u128::from(self.round_up), negative),
            None => Err(self.shape.overflow()),
        }
    }
}

/// Reads a NUMERIC in units of 10^-scale.
pub fn parse_decimal(text: &str, shape: DecimalShape) -> Result<i128, SqlError> {
    if let Some(value) = parse_plain(text.as_bytes(), shape) {
        return Ok(value);
    }
    parse_any(text, shape)
}

/// `-123.45` with at most 18 digits and no more of them after the point than the scale keeps.
fn parse_plain(bytes: &[u8], shape: DecimalShape) -> Option<i128> {
    const DIGITS: usize = 18;
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        all => (false, all),
    };
    if digits.is_empty() || digits.len() > DIGITS || shape.scale < 0 {
        return None;
    }
    let mut value = 0_u64;
    let mut point = None;
    for (at, byte) in digits.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            value = value * 10 + u64::from(digit);
        } else if *byte == b'.' && point.is_none() {
            point = Some(at);
        } else {
            return None;
        }
    }
    let fraction = point.map_or(0, |at| digits.len() - at - 1);
    let missing = (shape.scale as usize).checked_sub(fraction)?;
    if point.is_some() && digits.len() == 1 {
        return None;
    }
    let value = u128::from(value) * power_of_ten(missing.min(19) as u32);
    if missing > 19 || value >= power_of_ten(u32::from(shape.precision)) {
        return None;
    }
    Some(if negative { -(value as i128) } else { value as i128 })
}

fn parse_any(text: &str, shape: DecimalShape) -> Result<i128, SqlError> {
    const KIND: &str = "numeric";
    let bytes = text.trim_matches(is_blank).as_bytes();
    let (negative, rest) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        all => (false, all),
    };
    let is = |word: &str| rest.eq_ignore_ascii_case(word.as_bytes());
    if is("infinity") || is("inf") {
        return Err(shape.infinite());
    }
    if is("nan") {
        return Err(not_a_number());
    }
    let (mantissa, exponent) = match rest.iter().position(|byte| byte | 32 == b'e') {
        None => (rest, 0),
        Some(at) => {
            let written = &rest[at + 1..];
            let unsigned = written.strip_prefix(b"+").unwrap_or(written);
            if written.len() != unsigned.len() && !unsigned.first().is_some_and(u8::is_ascii_digit) {
                return Err(invalid(KIND, text));
            }
            let exponent: i32 = std::str::from_utf8(unsigned)
                .ok()
                .and_then(|digits| digits.parse().ok())
                .ok_or_else(|| invalid(KIND, text))?;
            if exponent.unsigned_abs() > 100_000 {
                return Err(shape.overflow());
            }
            (&rest[..at], exponent)
        }
    };
    let point = mantissa.iter().position(|byte| *byte == b'.').unwrap_or(mantissa.len());
    let mut digits = Digits::new(shape);
    let mut power = point as i32 - 1 + exponent;
    let mut seen = false;
    for (at, byte) in mantissa.iter().enumerate() {
        if at == point {
            continue;
        }
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(invalid(KIND, text));
        }
        digits.push(digit, power);
        power -= 1;
        seen = true;
    }
    if !seen {
        return Err(invalid(KIND, text));
    }
    digits.finish(negative)
}

pub fn not_a_number() -> SqlError {
    SqlError::unsupported(
        "NaN in a numeric with a precision is not supported",
        "Use NUMERIC without a precision, NULL, or a column of type double precision.",
    )
}

/// A NUMERIC as PostgreSQL sends it.
pub(in crate::types) struct WireNumeric<'a> {
    pub weight: i16,
    pub sign: u16,
    pub scale: u16,
    groups: &'a [u8],
}

impl<'a> WireNumeric<'a> {
    pub fn read(bytes: &'a [u8]) -> Result<WireNumeric<'a>, SqlError> {
        const SCALE_MAX: u16 = 0x3fff;
        let Some((head, groups)) = bytes.split_first_chunk::<8>() else {
            return Err(insufficient_binary());
        };
        let [count, weight, sign, scale] = [0, 2, 4, 6].map(|at| u16::from_be_bytes([head[at], head[at + 1]]));
        let invalid = |what: &str| {
            Err(SqlError::new(
                state::INVALID_BINARY_REPRESENTATION,
                format!("invalid {what} in external \"numeric\" value"),
            ))
        };
        if !matches!(
            sign,
            SIGN_POSITIVE | SIGN_NEGATIVE | SIGN_NAN | SIGN_INFINITY | SIGN_MINUS_INFINITY
        ) {
            return invalid("sign");
        }
        if scale > SCALE_MAX {
            return invalid("scale");
        }
        let Some((groups, rest)) = groups.split_at_checked(usize::from(count) * 2) else {
            return Err(insufficient_binary());
        };
        let sent = WireNumeric {
            weight: weight as i16,
            sign,
            scale,
            groups,
        };
        if sent.groups().any(|group| group > 9_999) {
            return invalid("digit");
        }
        match rest.is_empty() {
            true => Ok(sent),
            false => Err(incorrect_binary()),
        }
    }

    /// Digits to base 10000, the first of which counts 10000^`weight`.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = u16> + Clone {
        self.groups
            .chunks_exact(2)
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
    }
}

/// Reads PostgreSQL's binary NUMERIC in units of 10^-scale.
pub fn parse_decimal_binary(bytes: &[u8], shape: DecimalShape) -> Result<i128, SqlError> {
    let sent = WireNumeric::read(bytes)?;
    let weight = i32::from(sent.weight);
    if !matches!(sent.sign, SIGN_POSITIVE | SIGN_NEGATIVE) {
        return Err(match sent.sign {
            SIGN_NAN => not_a_number(),
            _ => shape.infinite(),
        });
    }
    let negative = sent.sign == SIGN_NEGATIVE;
    if let Some(value) = few_groups(sent.groups(), weight, shape) {
        return shape.check(value, negative);
    }
    let mut digits = Digits::new(shape);
    let mut power = (weight + 1) * 4 - 1;
    for group in sent.groups() {
        for unit in [1_000, 100, 10, 1] {
            digits.push((group / unit % 10) as u8, power);
            power -= 1;
        }
    }
    digits.finish(negative)
}

/// At most four digits to base 10000, the first of which counts 10000^`weight`, that the scale keeps all of: most numbers.
fn few_groups(groups: impl ExactSizeIterator<Item = u16>, weight: i32, shape: DecimalShape) -> Option<u128> {
    const GROUPS: usize = 4;
    const POWER_MAX: u32 = 18;
    let count = groups.len();
    if count > GROUPS {
        return None;
    }
    // Below 10^16, and times 10^18 below 2^128.
    let value = groups.fold(0, |value, group| value * 10_000 + u64::from(group));
    let power = (weight + 1 - count as i32) * 4 + i32::from(shape.scale);
    if power.unsigned_abs() > POWER_MAX {
        return None;
    }
    if power >= 0 {
        return Some(u128::from(value) * power_of_ten(power as u32));
    }
    let divisor = 10_u64.pow(power.unsigned_abs());
    value.is_multiple_of(divisor).then(|| u128::from(value / divisor))
}

const DIGIT_PAIRS: &[u8; 200] = b"0001020304050607080910111213141516171819\
2021222324252627282930313233343536373839\
4041424344454647484950515253545556575859\
6061626364656667686970717273747576777879\
8081828384858687888990919293949596979899";

/// The two digits of `value`, which is below 100.
pub(super) fn two_digits(value: u32) -> [u8; 2] {
    let at = value as usize * 2;
    [DIGIT_PAIRS[at], DIGIT_PAIRS[at + 1]]
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn shape(precision: u8, scale: i8) -> DecimalShape {
        DecimalShape { precision, scale }
    }

    fn shown(value: i128, scale: i8) -> String {
        let mut out = BytesMut::new();
        write_decimal(value, scale, &mut out);
        String::from_utf8(out.to_vec()).expect("digits are ASCII")
    }

    #[test]
    fn integers_have_postgresqls_limits_and_errors() {
        let int4 = |text| parse_integer(text, i64::from(i32::MIN), i64::from(i32::MAX), "integer");
        assert_eq!(int4(" -2147483648 "), Ok(-2_147_483_648));
        assert_eq!(int4("+7"), Ok(7));
        let error = int4("2147483648").expect_err("too large");
        assert_eq!(error.message, "value \"2147483648\" is out of range for type integer");
        for text in ["", "x", "1 2", "-", "1.0", "0x10"] {
            let error = int4(text).expect_err(text);
            assert_eq!(
                error.message,
                format!("invalid input syntax for type integer: \"{text}\"")
            );
            assert_eq!(error.state.0, "22P02");
        }
        let int8 = |text| parse_integer(text, i64::MIN, i64::MAX, "bigint");
        assert_eq!(int8("-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(int8("9223372036854775807"), Ok(i64::MAX));
        assert_eq!(int8("00000000000000000000000000012"), Ok(12));
        assert_eq!(int8("9223372036854775808").expect_err("too large").state.0, "22003");
    }

    #[test]
    fn decimals_are_rounded_and_checked() {
        for (text, precision, scale, expected) in [
            ("1.5", 18, 2, "1.50"),
            ("-0.005", 18, 2, "-0.01"),
            ("0.0049999", 18, 2, "0.00"),
            ("1e3", 18, 2, "1000.00"),
            ("1.2345E-2", 18, 4, "0.0123"),
            (" +12. ", 18, 2, "12.00"),
            (".5", 3, 0, "1"),
            (
                "99999999999999999999999999999999999999",
                38,
                0,
                "99999999999999999999999999999999999999",
            ),
            ("12345", 3, -2, "12300"),
            ("12350", 3, -2, "12400"),
            ("0e99999", 5, 2, "0.00"),
        ] {
            let value = parse_decimal(text, shape(precision, scale)).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(shown(value, scale), expected, "{text}");
        }
        let error = parse_decimal("999.995", shape(5, 2)).expect_err("rounds up to 1000");
        assert_eq!(error.message, "numeric field overflow");
        assert_eq!(
            error.detail.as_deref(),
            Some("A field with precision 5, scale 2 must round to an absolute value less than 10^3.")
        );
        let error = parse_decimal("1", shape(2, 2)).expect_err("only fractions");
        assert_eq!(
            error.detail.as_deref(),
            Some("A field with precision 2, scale 2 must round to an absolute value less than 1.")
        );
        for text in ["", ".", "-", "1e", "1e+-2", "1.2.3", "x", "1 2"] {
            assert_eq!(
                parse_decimal(text, shape(18, 2)).expect_err(text).state.0,
                "22P02",
                "{text}"
            );
        }
        assert_eq!(
            parse_decimal("1e40", shape(38, 10)).expect_err("too large").state.0,
            "22003"
        );
        assert_eq!(
            parse_decimal("NaN", shape(38, 10)).expect_err("not a number").state.0,
            "0A000"
        );
    }

    /// Bytes as PostgreSQL 15 sends them for `numeric_send`.
    #[test]
    fn binary_decimals_are_postgresqls() {
        for (value, scale, expected) in [
            (0, 2, vec![0_u16, 0, 0, 2]),
            (150, 2, vec![2, 0, 0, 2, 1, 5_000]),
            (-123_456_789, 3, vec![3, 1, 0x4000, 3, 12, 3_456, 7_890]),
            (1, 4, vec![1, 0xffff, 0, 4, 1]),
            (10_000, 0, vec![1, 1, 0, 0, 1]),
        ] {
            let mut out = BytesMut::new();
            write_decimal_binary(value, scale, &mut out);
            let words: Vec<u16> = out
                .chunks(2)
                .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
                .collect();
            assert_eq!(words, expected, "{value}");
            assert_eq!(parse_decimal_binary(&out, shape(38, scale)), Ok(value));
        }
        for value in [
            i128::MAX / 2,
            -99_999_999_999_999_999_999_999_999_999_999_999_999,
            7,
            -10_203,
        ] {
            for scale in [0, 1, 5, 10, 37] {
                let mut out = BytesMut::new();
                write_decimal_binary(value, scale, &mut out);
                assert_eq!(
                    parse_decimal_binary(&out, shape(38, scale)),
                    Ok(value),
                    "{value} {scale}"
                );
            }
        }
    }

    /// The same as text, for all scales.
    #[test]
    fn binary_decimals_are_rounded_and_refused_as_text_is() {
        for (words, text) in [
            (&[1_u16, 0, 0, 0, 999][..], "999"),
            (&[1, 0, 0, 0, 1_000], "1000"),
            (&[1, 0, 0x4000, 0, 1_000], "-1000"),
            (&[2, 0, 0, 4, 999, 9_949], "999.9949"),
            (&[2, 0, 0, 4, 999, 9_950], "999.9950"),
            (&[2, 0, 0x4000, 4, 7, 50], "-7.0050"),
            (&[1, 0xffff, 0, 4, 49], "0.0049"),
            (&[1, 0xfffe, 0, 8, 9_999], "0.00009999"),
            (&[1, 0xff00, 0, 0x3fff, 9_999], "0"),
            (&[5, 0, 0, 16, 1, 5_000, 0, 0, 0], "1.5"),
            (&[6, 1, 0, 16, 0, 1, 0, 0, 0, 1], "1.0000000000000001"),
            (&[0, 0, 0, 0], "0"),
            (&[1, 2, 0, 0, 1], "100000000"),
            (&[1, 9, 0, 0, 1], "1000000000000000000000000000000000000"),
            (&[1, 100, 0, 0, 1], "1e400"),
        ] {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            for shape in [shape(5, 2), shape(38, 0), shape(38, 30), shape(3, 3)] {
                assert_eq!(
                    parse_decimal_binary(&bytes, shape),
                    parse_decimal(text, shape),
                    "{text} {shape:?}"
                );
            }
        }
        for (words, state, message) in [
            (&[0_u16][..], "08P01", "insufficient data left in message"),
            (&[2, 0, 0, 0, 1], "08P01", "insufficient data left in message"),
            (
                &[0, 0, 0x1234, 0],
                "22P03",
                "invalid sign in external \"numeric\" value",
            ),
            (
                &[0, 0, 0, 0x4000],
                "22P03",
                "invalid scale in external \"numeric\" value",
            ),
            (
                &[1, 0, 0, 0, 10_000],
                "22P03",
                "invalid digit in external \"numeric\" value",
            ),
            (&[1, 0, 0, 0, 1, 1], "22P03", "incorrect binary data format"),
            (
                &[0, 0, 0xc000, 0],
                "0A000",
                "NaN in a numeric with a precision is not supported",
            ),
            (&[0, 0, 0xd000, 0], "22003", "numeric field overflow"),
        ] {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            let error = parse_decimal_binary(&bytes, shape(5, 2)).expect_err(message);
            assert_eq!((error.state.0, error.message.as_str()), (state, message));
        }
    }
}
