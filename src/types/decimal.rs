//! Numbers of any length, as NUMERIC computes with them.
//!
//! One rule: scales are PostgreSQL's: of a sum the larger, of a product both, of a quotient at least 16 digits.

use std::cmp::Ordering;

use num_bigint::{BigInt, Sign};

use crate::error::{SqlError, state};

/// Digits before the point that NUMERIC has at most.
const DIGITS_MAX: u64 = 131_072;
/// Digits after the point.
pub const SCALE_MAX: u32 = 16_383;
/// Digits after the point of a quotient.
pub const QUOTIENT_SCALE_MAX: i64 = 1_000;
pub const QUOTIENT_DIGITS_MIN: i64 = 16;
/// Digits of a group that NUMERIC counts in.
pub const GROUP: i64 = 4;

/// `value` times ten to the power of -`scale`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decimal {
    pub value: BigInt,
    pub scale: u32,
}

/// 22003 for more digits than NUMERIC has.
pub fn overflow() -> SqlError {
    SqlError::new(state::NUMERIC_VALUE_OUT_OF_RANGE, "value overflows numeric format")
}

/// 22012.
pub fn division_by_zero() -> SqlError {
    SqlError::new(state::DIVISION_BY_ZERO, "division by zero")
}

/// 10^`exponent`
pub fn power_of_ten(exponent: u32) -> BigInt {
    BigInt::from(10).pow(exponent)
}

/// `dividend / divisor`, the last digit rounded half away from zero.
pub fn divide_rounded(dividend: &BigInt, divisor: &BigInt) -> BigInt {
    let (quotient, rest) = (dividend / divisor, dividend % divisor);
    let twice = rest.magnitude() * 2_u32;
    if twice < *divisor.magnitude() {
        return quotient;
    }
    match (dividend.sign() == Sign::Minus) == (divisor.sign() == Sign::Minus) {
        true => quotient + 1,
        false => quotient - 1,
    }
}

/// Digits after the point of a quotient, by the first groups of both operands (see [`Decimal::first_group`]).
pub fn quotient_scale(dividend: (i64, u32), divisor: (i64, u32), scales: (u32, u32)) -> u32 {
    let weight = dividend.0 - divisor.0 - i64::from(dividend.1 <= divisor.1);
    (QUOTIENT_DIGITS_MIN - weight * GROUP)
        .max(scales.0.into())
        .max(scales.1.into())
        .clamp(0, QUOTIENT_SCALE_MAX) as u32
}

impl Decimal {
    pub fn whole(value: i64) -> Decimal {
        Decimal {
            value: value.into(),
            scale: 0,
        }
    }

    /// A number as NUMERIC prints it.
    pub fn parse(text: &str) -> Decimal {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = format!("{whole}{fraction}");
        Decimal {
            value: BigInt::parse_bytes(digits.as_bytes(), 10).expect("the number has digits"),
            scale: fraction.len() as u32,
        }
    }

    pub fn text(&self) -> String {
        let digits = self.value.magnitude().to_string();
        let scale = self.scale as usize;
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        let sign = if self.is_negative() { "-" } else { "" };
        let point = if fraction.is_empty() { "" } else { "." };
        format!("{sign}{whole}{point}{fraction}")
    }

    pub fn is_zero(&self) -> bool {
        self.value.sign() == Sign::NoSign
    }

    pub fn is_negative(&self) -> bool {
        self.value.sign() == Sign::Minus
    }

    /// 22003 for more digits than NUMERIC has.
    pub fn checked(self) -> Result<Decimal, SqlError> {
        let digits_max = DIGITS_MAX + u64::from(self.scale);
        // As many, or one less.
        let digits = (self.value.bits() as f64 / std::f64::consts::LOG2_10) as u64;
        let too_large = digits > digits_max
            || digits == digits_max && self.value.magnitude() >= power_of_ten(digits_max as u32).magnitude();
        match too_large || self.scale > SCALE_MAX {
            true => Err(overflow()),
            false => Ok(self),
        }
    }

    fn rescaled(&self, scale: u32) -> BigInt {
        &self.value * power_of_ten(scale - self.scale)
    }

    fn aligned(&self, other: &Decimal) -> (BigInt, BigInt, u32) {
        let scale = self.scale.max(other.scale);
        (self.rescaled(scale), other.rescaled(scale), scale)
    }

    pub fn add(&self, other: &Decimal) -> Result<Decimal, SqlError> {
        let (a, b, scale) = self.aligned(other);
        Decimal { value: a + b, scale }.checked()
    }

    pub fn subtract(&self, other: &Decimal) -> Result<Decimal, SqlError> {
        let (a, b, scale) = self.aligned(other);
        Decimal { value: a - b, scale }.checked()
    }

    pub fn multiply(&self, other: &Decimal) -> Result<Decimal, SqlError> {
        let (product, scale) = (&self.value * &other.value, self.scale + other.scale);
        let value = match scale.checked_sub(SCALE_MAX) {
            Some(cut @ 1..) => divide_rounded(&product, &power_of_ten(cut)),
            _ => product,
        };
        Decimal {
            value,
            scale: scale.min(SCALE_MAX),
        }
        .checked()
    }

    pub fn divide(&self, other: &Decimal) -> Result<Decimal, SqlError> {
        if other.is_zero() {
            return Err(division_by_zero());
        }
        let scale = quotient_scale(self.first_group(), other.first_group(), (self.scale, other.scale));
        // The scales of both operands cancel out.
        let shift = i64::from(scale) + i64::from(other.scale) - i64::from(self.scale);
        let exponent = power_of_ten(shift.unsigned_abs() as u32);
        let value = match shift >= 0 {
            true => divide_rounded(&(&self.value * exponent), &other.value),
            false => divide_rounded(&self.value, &(&other.value * exponent)),
        };
        Decimal { value, scale }.checked()
    }

    /// The quotient without its fraction.
    pub fn divide_whole(&self, other: &Decimal) -> Result<Decimal, SqlError> {
        if other.is_zero() {
            return Err(division_by_zero());
        }
        let (a, b, _) = self.aligned(other);
        Decimal { value: a / b, scale: 0 }.checked()
    }

    /// The remainder has the sign of the dividend.
    pub fn modulo(&self, other: &Decimal) -> Result<Decimal, SqlError> {
        if other.is_zero() {
            return Err(division_by_zero());
        }
        let (a, b, scale) = self.aligned(other);
        Ok(Decimal { value: a % b, scale })
    }

    pub fn compare(&self, other: &Decimal) -> Ordering {
        let (a, b, _) = self.aligned(other);
        a.cmp(&b)
    }

    /// The power of 10000 of the first group of digits that is not zero, and the group.
    pub fn first_group(&self) -> (i64, u32) {
        if self.is_zero() {
            return (0, 0);
        }
        let digits = self.value.magnitude().to_string();
        let exponent = digits.len() as i64 - 1 - i64::from(self.scale);
        let weight = exponent.div_euclid(GROUP);
        let length = (exponent - weight * GROUP + 1) as usize;
        let group: String = digits.chars().chain(std::iter::repeat('0')).take(length).collect();
        (weight, group.parse().expect("a group is up to four digits"))
    }

    /// Its digits to base 10000 without zeros at both ends, and the power of 10000 that the first counts.
    pub fn groups(&self) -> (Vec<u16>, i32) {
        if self.is_zero() {
            return (Vec::new(), 0);
        }
        let digits = self.value.magnitude().to_string();
        let scale = self.scale as usize;
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        let whole = format!("{}{whole}", "0".repeat((4 - whole.len() % 4) % 4));
        let fraction = format!("{fraction}{}", "0".repeat((4 - fraction.len() % 4) % 4));
        let weight = (whole.len() / 4) as i32 - 1;
        let all = whole + &fraction;
        let mut groups: Vec<u16> = all
            .as_bytes()
            .chunks(4)
            .map(|four| four.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0')))
            .collect();
        while groups.last() == Some(&0) {
            groups.pop();
        }
        let leading = groups.iter().take_while(|group| **group == 0).count();
        groups.drain(..leading);
        (groups, weight - leading as i32)
    }

    pub fn negated(&self) -> Decimal {
        Decimal {
            value: -self.value.clone(),
            scale: self.scale,
        }
    }

    pub fn absolute(&self) -> Decimal {
        Decimal {
            value: self.value.magnitude().clone().into(),
            scale: self.scale,
        }
    }

    /// The next whole number below, or the same.
    pub fn floor(&self) -> Decimal {
        let unit = power_of_ten(self.scale);
        let mut value = &self.value / &unit;
        if self.is_negative() && &value * &unit != self.value {
            value -= 1;
        }
        Decimal { value, scale: 0 }
    }

    /// The next whole number above, or the same.
    pub fn ceiling(&self) -> Decimal {
        self.negated().floor().negated()
    }

    /// With that many digits after the point (before it, if negative), by `divide(value, unit)`.
    fn with_digits(&self, digits: i64, divide: impl Fn(&BigInt, &BigInt) -> BigInt) -> Decimal {
        const BEFORE_MAX: i64 = 140_000;
        let (kept, scale) = (digits.max(-BEFORE_MAX), digits.clamp(0, SCALE_MAX.into()) as u32);
        let dropped = i64::from(self.scale) - kept;
        if dropped <= 0 {
            return Decimal {
                value: self.rescaled(scale.max(self.scale)),
                scale: scale.max(self.scale),
            };
        }
        let value = divide(&self.value, &power_of_ten(dropped as u32));
        let value = match kept < 0 {
            true => value * power_of_ten(kept.unsigned_abs() as u32),
            false => value,
        };
        Decimal { value, scale }
    }

    /// Rounded half away from zero.
    pub fn round(&self, digits: i64) -> Decimal {
        self.with_digits(digits, divide_rounded)
    }

    pub fn truncate(&self, digits: i64) -> Decimal {
        self.with_digits(digits, |value, unit| value / unit)
    }

    /// Without its fraction, if an integer holds that.
    pub fn truncated(&self) -> Option<i32> {
        i32::try_from(&self.value / power_of_ten(self.scale)).ok()
    }

    /// Whether it is less than 10^`digits` from zero.
    pub fn is_below(&self, digits: i32) -> bool {
        let digits = digits + self.scale as i32;
        match u32::try_from(digits) {
            Ok(digits) => *self.value.magnitude() < *power_of_ten(digits).magnitude(),
            Err(_) => self.is_zero(),
        }
    }

    /// With that many digits behind the point, of which it has no more.
    pub fn padded(&self, scale: u32) -> Decimal {
        Decimal {
            value: self.rescaled(scale),
            scale,
        }
    }

    /// Without zeros at the end of its fraction.
    pub fn trimmed(&self) -> Decimal {
        let (mut value, mut scale) = (self.value.clone(), self.scale);
        let ten = BigInt::from(10);
        while scale > 0 {
            let quotient = &value / &ten;
            if &quotient * &ten != value {
                break;
            }
            value = quotient;
            scale -= 1;
        }
        Decimal { value, scale }
    }

    /// The value in units of 10^-`digits`.
    pub fn fixed(&self, digits: u32) -> BigInt {
        match digits >= self.scale {
            true => self.rescaled(digits),
            false => divide_rounded(&self.value, &power_of_ten(self.scale - digits)),
        }
    }

    /// Of a number in units of 10^-`digits`, rounded to a scale.
    pub fn of_fixed(value: &BigInt, digits: u32, scale: u32) -> Result<Decimal, SqlError> {
        let value = match digits >= scale {
            true => divide_rounded(value, &power_of_ten(digits - scale)),
            false => value * power_of_ten(scale - digits),
        };
        Decimal { value, scale }.checked()
    }

    pub fn double(&self) -> f64 {
        format!("{}e-{}", self.value, self.scale)
            .parse()
            .expect("it is a number")
    }
}
