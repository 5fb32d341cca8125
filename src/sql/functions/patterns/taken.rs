//! Numbers read by patterns: `to_number`.

use super::digits::{DigitShape, DigitToken, Pattern, tokens};
use crate::error::{SqlError, state};
use num_bigint::BigInt;

use crate::types::decimal::Decimal;
use crate::types::varying::Numeric;

/// Digits after the point of a power of ten.
const POWER_SCALE: u32 = 16;

struct NumberTaker<'a> {
    shape: DigitShape,
    text: &'a [u8],
    at: usize,
    sign: u8,
    digits: String,
    has_point: bool,
    before: usize,
    after: usize,
}

/// Reads a number by a format.
pub fn to_number(text: &str, format: &str) -> Result<Numeric, SqlError> {
    let shape = DigitShape::of(format)?;
    let refused = |what: &str| {
        SqlError::new(
            state::FEATURE_NOT_SUPPORTED,
            format!("\"{what}\" not supported for input"),
        )
    };
    if shape.scientific {
        return Err(refused("EEEE"));
    }
    if shape.roman {
        return Err(refused("RN"));
    }
    let mut reader = NumberTaker {
        text: text.as_bytes(),
        at: 0,
        sign: b' ',
        digits: String::new(),
        has_point: false,
        before: 0,
        after: 0,
        shape,
    };
    for token in tokens(format) {
        if reader.at >= reader.text.len() {
            break;
        }
        match token {
            DigitToken::Letter(_) => reader.skip_letter(),
            DigitToken::Pattern(pattern, _) => {
                if reader.pattern(pattern) {
                    reader.at += 1;
                }
            }
        }
    }
    let written = reader.digits.strip_suffix('.').unwrap_or(&reader.digits);
    let signed = format!("{}{written}", char::from(reader.sign));
    let (whole, fraction) = written.split_once('.').unwrap_or((written, ""));
    if whole.is_empty() && fraction.is_empty() {
        return Err(SqlError::new(
            state::INVALID_TEXT_REPRESENTATION,
            format!("invalid input syntax for type numeric: \"{signed}\""),
        ));
    }
    let number = Numeric::parse(&signed)?;
    if !reader.shape.shifted {
        return Ok(number);
    }
    // Times 10^-shift, to which PostgreSQL's power gives 16 digits.
    let power = Decimal::of_fixed(&BigInt::from(1), reader.shape.shift as u32, POWER_SCALE)?;
    number.multiply(&power.into())
}

impl NumberTaker<'_> {
    fn here(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_letter(&mut self) {
        self.at += 1;
        // To the start of the next letter.
        while self.here().is_some_and(|byte| byte & 0xc0 == 0x80) {
            self.at += 1;
        }
    }

    /// Letters that no number has.
    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            match self.here() {
                Some(byte) if !b"0123456789.,+-".contains(&byte) => self.skip_letter(),
                _ => return,
            }
        }
    }

    /// Whether the letter here was the pattern's.
    fn pattern(&mut self, pattern: Pattern) -> bool {
        match pattern {
            Pattern::Nine | Pattern::Zero | Pattern::Point | Pattern::LocalPoint => {
                self.digit(matches!(pattern, Pattern::Nine | Pattern::Zero));
                true
            }
            Pattern::Comma => !self.shape.fill && self.here() == Some(b','),
            Pattern::Group => self.here() == Some(b','),
            Pattern::Currency => {
                self.skip(1);
                false
            }
            Pattern::Ordinal => {
                self.skip(2);
                false
            }
            Pattern::Minus | Pattern::Plus | Pattern::EitherSign => {
                let fits = matches!(
                    (self.here(), pattern),
                    (Some(b'-'), Pattern::Minus | Pattern::EitherSign)
                        | (Some(b'+'), Pattern::Plus | Pattern::EitherSign)
                );
                if fits {
                    self.sign = self.here().expect("it was seen");
                } else {
                    self.skip(1);
                }
                fits
            }
            _ => false,
        }
    }

    fn digit(&mut self, is_digit: bool) {
        if self.here() == Some(b' ') {
            self.at += 1;
        }
        if self.sign == b' ' && is_digit && self.before + self.after == 0 {
            match self.here() {
                Some(b'-') => {
                    self.sign = b'-';
                    self.at += 1;
                }
                Some(b'<') if self.shape.brackets => {
                    self.sign = b'-';
                    self.at += 1;
                }
                Some(b'+') => {
                    self.sign = b'+';
                    self.at += 1;
                }
                _ => {}
            }
        }
        let mut read = false;
        match self.here() {
            None => return,
            Some(digit @ b'0'..=b'9') => {
                if self.has_point && self.after == self.shape.after {
                    return;
                }
                self.digits.push(char::from(digit));
                match self.has_point {
                    true => self.after += 1,
                    false => self.before += 1,
                }
                read = true;
            }
            Some(b'.') if self.shape.point && !self.has_point => {
                self.digits.push('.');
                self.has_point = true;
                read = true;
            }
            Some(_) => {}
        }
        if self.sign != b' ' || self.before + self.after == 0 {
            return;
        }
        let next = self.text.get(self.at + 1).copied();
        if self.shape.local_sign && read && next.is_some_and(|next| !next.is_ascii_digit()) {
            if let Some(sign @ (b'-' | b'+')) = next {
                self.sign = sign;
                self.at += 1;
            }
        } else if !read
            && !self.shape.local_sign
            && (self.shape.plus || self.shape.minus)
            && let Some(sign @ (b'-' | b'+')) = self.here()
        {
            self.sign = sign;
        }
    }
}
