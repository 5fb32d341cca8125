//! Numbers written by patterns.

use super::digits::{DigitShape, DigitToken, Pattern, SignPlace, tokens};
use super::{ordinal, roman};
use crate::error::SqlError;
use crate::sql::error::out_of_range;
use crate::types::decimal::{Decimal, divide_rounded, power_of_ten};
use crate::types::float::write_f64;
use crate::types::varying::Numeric;

/// An integer.
pub fn integer(value: i64, format: &str) -> Result<String, SqlError> {
    let mut shape = DigitShape::of(format)?;
    if shape.roman {
        return shown(&roman(value), 0, false, shape, format);
    }
    if shape.scientific {
        return Ok(scientific(value as f64, shape.after));
    }
    let mut digits = value.unsigned_abs().to_string();
    if shape.shifted && value != 0 {
        digits.push_str(&"0".repeat(shape.shift));
    }
    shape.before += shape.shift;
    if shape.after > 0 {
        digits.push('.');
        digits.push_str(&"0".repeat(shape.after));
    }
    aligned(digits, value < 0, shape, format)
}

/// A NUMERIC.
pub fn decimal(value: &Numeric, format: &str) -> Result<String, SqlError> {
    let Some(value) = value.finite() else {
        return double(value.double(), f64::DIGITS as usize, format);
    };
    let mut shape = DigitShape::of(format)?;
    if shape.roman {
        let whole = i32::try_from(value.fixed(0)).ok();
        let whole = whole.ok_or_else(|| out_of_range("integer"))?;
        return shown(&roman(whole.into()), 0, false, shape, format);
    }
    if shape.scientific {
        return Ok(scientific_decimal(&value, shape.after));
    }
    shape.before += shape.shift;
    // Times ten for each digit after V, then rounded to those after the point.
    let wanted = shape.after + shape.shift;
    let kept = wanted.min(value.scale as usize) as u32;
    let rounded = value.round(kept.into());
    let mut digits = format!(
        "{:0>width$}",
        rounded.value.magnitude().to_string(),
        width = kept as usize + 1
    );
    digits.push_str(&"0".repeat(wanted - kept as usize));
    if shape.after > 0 {
        digits.insert(digits.len() - shape.after, '.');
    }
    let start = digits.len() - digits.trim_start_matches('0').len();
    let whole = digits.find('.').unwrap_or(digits.len());
    let digits = digits[start.min(whole - 1)..].to_string();
    aligned(digits, rounded.is_negative(), shape, format)
}

/// A double, or a real of that many digits.
pub fn double(value: f64, precision: usize, format: &str) -> Result<String, SqlError> {
    let mut shape = DigitShape::of(format)?;
    if shape.roman {
        return shown(&roman(value.round_ties_even() as i64), 0, false, shape, format);
    }
    if shape.scientific {
        if !value.is_finite() {
            let mut text = "#".repeat(shape.before + shape.after + 6);
            text.replace_range(0..1, " ");
            text.replace_range(shape.before + 1..shape.before + 2, ".");
            return Ok(text);
        }
        return Ok(scientific(value, shape.after));
    }
    let value = match shape.shifted {
        true => value * 10f64.powi(shape.shift as i32),
        false => value,
    };
    shape.before += shape.shift;
    if !value.is_finite() {
        let mut out = bytes::BytesMut::new();
        write_f64(value.abs(), 1, &mut out);
        let text = String::from_utf8_lossy(&out).into_owned();
        return aligned(text, value < 0.0, shape, format);
    }
    let whole = format!("{:.0}", value.abs()).len();
    shape.after = shape.after.min(precision.saturating_sub(whole));
    let digits = format!("{:.*}", shape.after, value.abs());
    aligned(digits, value.is_sign_negative(), shape, format)
}

/// ` 1.23e+04`
fn scientific(value: f64, places: usize) -> String {
    let text = format!("{:.*e}", places, value);
    let (mantissa, exponent) = text.split_once('e').expect("it has an exponent");
    let exponent: i32 = exponent.parse().expect("it is a number");
    let sign = if exponent < 0 { '-' } else { '+' };
    let blank = if mantissa.starts_with('-') { "" } else { " " };
    format!("{blank}{mantissa}e{sign}{:02}", exponent.abs())
}

fn scientific_decimal(value: &Decimal, places: usize) -> String {
    let magnitude = value.absolute();
    let digits = magnitude.value.to_string();
    let (exponent, mut digits) = match value.is_zero() {
        true => (0, digits),
        false => {
            let exponent = digits.len() as i64 - 1 - i64::from(value.scale);
            let dropped = digits.len() as i64 - 1 - places as i64;
            let digits = match u32::try_from(dropped) {
                Ok(dropped) => divide_rounded(&magnitude.value, &power_of_ten(dropped)).to_string(),
                Err(_) => digits,
            };
            (exponent, digits)
        }
    };
    // Digits that round up to one more stay so, as in PostgreSQL: `10.00e+04`.
    digits.push_str(&"0".repeat((places + 1).saturating_sub(digits.len())));
    if places > 0 {
        digits.insert(digits.len() - places, '.');
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    let minus = if value.is_negative() { "-" } else { " " };
    format!("{minus}{digits}e{sign}{:02}", exponent.abs())
}

/// Digits in their places, or `#` if there are too few places.
fn aligned(digits: String, negative: bool, shape: DigitShape, format: &str) -> Result<String, SqlError> {
    let before = digits.find('.').unwrap_or(digits.len());
    if before > shape.before {
        let mut text = "#".repeat(shape.before);
        text.push('.');
        text.push_str(&"#".repeat(shape.after));
        return shown(&text, 0, negative, shape, format);
    }
    let blanks = shape.before - before;
    shown(&digits, blanks, negative, shape, format)
}

/// The output so far.
struct PatternWriter<'a> {
    shape: DigitShape,
    number: &'a [u8],
    /// The part of the number that is written.
    at: usize,
    blanks: usize,
    negative: bool,
    /// Empty in Roman numerals.
    signed: bool,
    sign_written: bool,
    count: usize,
    current: usize,
    in_number: bool,
    /// The last digit that FM keeps.
    last: Option<usize>,
    out: String,
    /// The end of the number in `out`, if the pattern has more places.
    end: Option<usize>,
}

fn shown(number: &str, blanks: usize, negative: bool, shape: DigitShape, format: &str) -> Result<String, SqlError> {
    let mut shape = shape;
    shape.zero_start = shape.zero_start.saturating_sub(1);
    if shape.roman {
        shape = DigitShape {
            roman: true,
            fill: shape.fill,
            ..DigitShape::default()
        };
    }
    let sign_written = if shape.plus || shape.minus {
        !shape.plus || shape.minus
    } else {
        if !negative && shape.fill {
            shape.brackets = false;
        }
        let written = !negative && shape.fill && !shape.local_sign;
        if shape.sign == Some(SignPlace::Before) && shape.before == shape.digits_before_sign {
            shape.sign = Some(SignPlace::After);
        }
        written
    };
    let mut last = None;
    if shape.fill
        && shape.point
        && let Some(point) = number.find('.')
    {
        let relevant = number[point + 1..].rfind(|digit| digit != '0');
        let mut kept = relevant.map_or(point, |at| point + 1 + at);
        if shape.zero_end > blanks {
            kept = kept.max((number.len() - 1).min(shape.zero_end - blanks));
        }
        last = Some(kept);
    }
    let mut count = (shape.after + shape.before).saturating_sub(1);
    if !sign_written && blanks == 0 {
        count += 1;
    }
    let mut writer = PatternWriter {
        number: number.as_bytes(),
        at: 0,
        blanks,
        negative,
        signed: !shape.roman,
        sign_written,
        count,
        current: 0,
        in_number: false,
        last,
        out: String::with_capacity(format.len() + 16),
        end: None,
        shape,
    };
    for token in tokens(format) {
        match token {
            DigitToken::Letter(letter) => writer.out.push(letter),
            DigitToken::Pattern(pattern, lower) => writer.pattern(pattern, lower),
        }
    }
    if let Some(end) = writer.end {
        writer.out.truncate(end);
    }
    Ok(writer.out)
}

impl PatternWriter<'_> {
    fn pattern(&mut self, pattern: Pattern, lower: bool) {
        match pattern {
            Pattern::Nine | Pattern::Zero | Pattern::Point | Pattern::LocalPoint => self.digit(pattern),
            Pattern::Comma | Pattern::Group => match (self.in_number, self.shape.fill) {
                (true, _) => self.out.push(','),
                (false, true) => {}
                (false, false) => self.out.push(' '),
            },
            Pattern::Currency => self.out.push(' '),
            Pattern::Roman => {
                let text = std::str::from_utf8(self.number).expect("numerals are ASCII");
                let text = if lower { text.to_lowercase() } else { text.to_string() };
                let width = if self.shape.fill { 0 } else { 15 };
                self.out.push_str(&format!("{text:>width$}"));
            }
            Pattern::Ordinal
                if !self.shape.roman && self.number.first() != Some(&b'#') && !self.negative && !self.shape.point =>
            {
                let number = std::str::from_utf8(self.number).expect("digits are ASCII");
                self.out.push_str(ordinal(number, !lower));
            }
            Pattern::Minus => match (self.negative, self.shape.fill) {
                (true, _) => self.out.push('-'),
                (false, true) => {}
                (false, false) => self.out.push(' '),
            },
            Pattern::Plus => match (self.negative, self.shape.fill) {
                (false, _) => self.out.push('+'),
                (true, true) => {}
                (true, false) => self.out.push(' '),
            },
            Pattern::EitherSign => self.out.push(if self.negative { '-' } else { '+' }),
            _ => {}
        }
    }

    /// A zero before the point that no `0` asks for.
    fn hides_zero(&self) -> bool {
        !self.shape.zero && self.at == 0 && self.number.first() == Some(&b'0') && self.shape.after != 0
    }

    fn ends_at_point(&self) -> bool {
        self.last.is_some_and(|last| self.number.get(last) == Some(&b'.'))
    }

    fn sign_letter(&self) -> char {
        if self.negative { '-' } else { '+' }
    }

    fn digit(&mut self, pattern: Pattern) {
        if self.shape.roman {
            return;
        }
        self.in_number = false;
        let begins = self.current >= self.blanks || self.shape.zero && self.shape.zero_start == self.current;
        if self.signed && !self.sign_written && begins && (!self.hides_zero() || self.ends_at_point()) {
            if self.shape.local_sign {
                if self.shape.sign == Some(SignPlace::Before) {
                    self.out.push(self.sign_letter());
                    self.sign_written = true;
                }
            } else if self.shape.brackets {
                self.out.push(if self.negative { '<' } else { ' ' });
                self.sign_written = true;
            } else {
                if self.negative {
                    self.out.push('-');
                } else if !self.shape.fill {
                    self.out.push(' ');
                }
                self.sign_written = true;
            }
        }
        if self.current < self.blanks && (self.shape.zero_start > self.current || !self.shape.zero) {
            if !self.shape.fill {
                self.out.push(' ');
            }
        } else if self.shape.zero && self.current < self.blanks && self.shape.zero_start <= self.current {
            self.out.push('0');
            self.in_number = true;
        } else {
            match self.number.get(self.at) {
                Some(b'.') => {
                    if !self.ends_at_point() || self.shape.fill {
                        self.out.push('.');
                    }
                }
                _ if self.last.is_some_and(|last| self.at > last) && pattern != Pattern::Zero => {}
                _ if self.hides_zero() => {
                    if !self.shape.fill {
                        self.out.push(' ');
                    } else if self.ends_at_point() {
                        self.out.push('0');
                    }
                }
                Some(digit) => {
                    self.out.push(char::from(*digit));
                    self.in_number = true;
                }
                // PostgreSQL writes the end of the text here.
                None => self.end = self.end.or(Some(self.out.len())),
            }
            if self.at < self.number.len() {
                self.at += 1;
            }
        }
        let mut end = self.count + usize::from(self.blanks > 0) + usize::from(self.shape.point);
        if self.last == Some(self.at) {
            end = self.current;
        }
        if self.current + 1 == end {
            if self.sign_written && self.shape.brackets {
                self.out.push(if self.negative { '>' } else { ' ' });
            } else if self.shape.local_sign && self.shape.sign == Some(SignPlace::After) {
                self.out.push(self.sign_letter());
            }
        }
        self.current += 1;
    }
}
