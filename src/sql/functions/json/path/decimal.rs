//! Numbers of any length, as NUMERIC computes with them.
//!
//! One rule: scales are PostgreSQL's: of a sum the larger, of a product both, of a quotient at least 16 digits.

use num_bigint::{BigInt, Sign};

use crate::error::{SqlError, state};

/// Digits before the point that NUMERIC has at most.
const DIGITS_MAX: u64 = 131_072;
/// Digits after the point.
const SCALE_MAX: u32 = 16_383;
/// Digits after the point of a quotient.
const QUOTIENT_SCALE_MAX: i64 = 1_000;
const QUOTIENT_DIGITS_MIN: i64 = 16;
/// NUMERIC counts in groups of so many digits.
const GROUP: i64 = 4;

/// `unscaled` times ten to the power of -`scale`.
#[derive(Clone, Debug)]
pub struct Decimal {
    unscaled: BigInt,
    scale: u32,
}

fn power(exponent: u32) -> BigInt {
    BigInt::from(10).pow(exponent)
}

fn is_zero(value: &BigInt) -> bool {
    value.sign() == Sign::NoSign
}

/// Divides, the last digit rounded half away from zero.
fn divide_rounded(dividend: &BigInt, divisor: &BigInt) -> BigInt {
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

impl Decimal {
    /// A number as NUMERIC prints it.
    pub fn parse(text: &str) -> Decimal {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = format!("{whole}{fraction}");
        Decimal {
            unscaled: BigInt::parse_bytes(digits.as_bytes(), 10).expect("JSONB's numbers have digits"),
            scale: fraction.len() as u32,
        }
    }

    pub fn text(&self) -> String {
        let digits = self.unscaled.magnitude().to_string();
        let scale = self.scale as usize;
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        let sign = if self.unscaled.sign() == Sign::Minus { "-" } else { "" };
        let point = if fraction.is_empty() { "" } else { "." };
        format!("{sign}{whole}{point}{fraction}")
    }

    /// 22003 for more digits than NUMERIC has.
    fn checked(unscaled: BigInt, scale: u32) -> Result<Decimal, SqlError> {
        const BITS_PER_DIGIT: f64 = 3.322;
        let digits = (unscaled.bits() as f64 / BITS_PER_DIGIT) as u64;
        if digits > DIGITS_MAX + u64::from(scale) {
            let message = "value overflows numeric format";
            return Err(SqlError::new(state::NUMERIC_VALUE_OUT_OF_RANGE, message));
        }
        Ok(Decimal { unscaled, scale })
    }

    fn rescaled(&self, scale: u32) -> BigInt {
        &self.unscaled * power(scale - self.scale)
    }

    fn aligned(&self, other: &Decimal) -> (BigInt, BigInt, u32) {
        let scale = self.scale.max(other.scale);
        (self.rescaled(scale), other.rescaled(scale), scale)
    }

    pub fn add(&self, other: &Decimal) -> Result<Decimal, SqlError> {
        let (a, b, scale) = self.aligned(other);
        Decimal::checked(a + b, scale)
    }

    pub fn subtract(&self, other: &Decimal) -> Result<Decimal, SqlError> {
        let (a, b, scale) = self.aligned(other);
        Decimal::checked(a - b, scale)
    }

    pub fn multiply(&self, other: &Decimal) -> Result<Decimal, SqlError> {
        let (product, scale) = (&self.unscaled * &other.unscaled, self.scale + other.scale);
        match scale.checked_sub(SCALE_MAX) {
            Some(cut @ 1..) => Decimal::checked(divide_rounded(&product, &power(cut)), SCALE_MAX),
            _ => Decimal::checked(product, scale),
        }
    }

    pub fn divide(&self, other: &Decimal) -> Result<Decimal, SqlError> {
        if is_zero(&other.unscaled) {
            return Err(division_by_zero());
        }
        let ((weight, first), (other_weight, other_first)) = (self.first_group(), other.first_group());
        let weight = weight - other_weight - i64::from(first <= other_first);
        let scale = (QUOTIENT_DIGITS_MIN - weight * GROUP)
            .max(self.scale.into())
            .max(other.scale.into())
            .clamp(0, QUOTIENT_SCALE_MAX) as u32;
        // The scales of both operands cancel out.
        let shift = i64::from(scale) + i64::from(other.scale) - i64::from(self.scale);
        let exponent = power(shift.unsigned_abs() as u32);
        let quotient = match shift >= 0 {
            true => divide_rounded(&(&self.unscaled * exponent), &other.unscaled),
            false => divide_rounded(&self.unscaled, &(&other.unscaled * exponent)),
        };
        Decimal::checked(quotient, scale)
    }

    /// The remainder has the sign of the dividend.
    pub fn modulo(&self, other: &Decimal) -> Result<Decimal, SqlError> {
        if is_zero(&other.unscaled) {
            return Err(division_by_zero());
        }
        let (a, b, scale) = self.aligned(other);
        Decimal::checked(a % b, scale)
    }

    /// The power of 10000 of the first group of digits that is not zero, and the group.
    fn first_group(&self) -> (i64, u32) {
        if is_zero(&self.unscaled) {
            return (0, 0);
        }
        let digits = self.unscaled.magnitude().to_string();
        let exponent = digits.len() as i64 - 1 - i64::from(self.scale);
        let weight = exponent.div_euclid(GROUP);
        let length = (exponent - weight * GROUP + 1) as usize;
        let group: String = digits.chars().chain(std::iter::repeat('0')).take(length).collect();
        (weight, group.parse().expect("a group is up to four digits"))
    }

    pub fn negated(&self) -> Decimal {
        Decimal {
            unscaled: -self.unscaled.clone(),
            scale: self.scale,
        }
    }

    pub fn absolute(&self) -> Decimal {
        Decimal {
            unscaled: self.unscaled.magnitude().clone().into(),
            scale: self.scale,
        }
    }

    /// The next whole number below, or the same.
    pub fn floor(&self) -> Decimal {
        let unit = power(self.scale);
        let mut whole = &self.unscaled / &unit;
        if self.unscaled.sign() == Sign::Minus && !is_zero(&(&self.unscaled % &unit)) {
            whole -= 1;
        }
        Decimal {
            unscaled: whole,
            scale: 0,
        }
    }

    /// The next whole number above, or the same.
    pub fn ceiling(&self) -> Decimal {
        self.negated().floor().negated()
    }

    /// Without what is behind the point, if an integer holds that.
    pub fn truncated(&self) -> Option<i32> {
        i32::try_from(&self.unscaled / power(self.scale)).ok()
    }
}

fn division_by_zero() -> SqlError {
    SqlError::new(state::DIVISION_BY_ZERO, "division by zero")
}
