//! NUMERIC whose scale is each value's own, and its arithmetic.
//!
//! One rule: values and scales are PostgreSQL's. Numbers that fit into 128 bits are computed in these, others by
//! integers of any size (`decimal.rs`).

mod form;
mod written;

pub use form::key;

use std::cmp::Ordering;

use num_bigint::BigInt;

use super::decimal::{self, Decimal, GROUP, SCALE_MAX};
use crate::error::SqlError;

/// A NUMERIC.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Numeric {
    MinusInfinity,
    /// In units of 10^-`scale`: the form of nearly all numbers.
    Small {
        value: i128,
        scale: u32,
    },
    /// A number that does not fit `Small`.
    Large(Box<Decimal>),
    Infinity,
    NaN,
}

/// Powers of ten that 64 bits hold.
const POWERS: [u64; 20] = {
    let mut powers = [1; 20];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

fn power(exponent: u32) -> Option<i128> {
    match POWERS.get(exponent as usize) {
        Some(power) => Some(i128::from(*power)),
        None => 10_i128.checked_pow(exponent),
    }
}

impl From<Decimal> for Numeric {
    fn from(number: Decimal) -> Numeric {
        match i128::try_from(&number.value) {
            Ok(value) => Numeric::Small {
                value,
                scale: number.scale,
            },
            Err(_) => Numeric::Large(Box::new(number)),
        }
    }
}

impl Numeric {
    pub const ZERO: Numeric = Numeric::whole(0);

    pub const fn whole(value: i128) -> Numeric {
        Numeric::Small { value, scale: 0 }
    }

    pub const fn small(value: i128, scale: u32) -> Numeric {
        Numeric::Small { value, scale }
    }

    /// Of units of 10^-`scale`, which may be negative.
    pub fn of_units(value: i128, scale: i8) -> Numeric {
        match u32::try_from(scale) {
            Ok(scale) => Numeric::Small { value, scale },
            Err(_) => {
                let value = BigInt::from(value) * decimal::power_of_ten(scale.unsigned_abs().into());
                Decimal { value, scale: 0 }.into()
            }
        }
    }

    /// Digits after the point.
    pub fn scale(&self) -> u32 {
        match self {
            Numeric::Small { scale, .. } => *scale,
            Numeric::Large(number) => number.scale,
            _ => 0,
        }
    }

    /// The number, if it is one.
    pub fn finite(&self) -> Option<Decimal> {
        match self {
            Numeric::Small { value, scale } => Some(Decimal {
                value: (*value).into(),
                scale: *scale,
            }),
            Numeric::Large(number) => Some(number.as_ref().clone()),
            _ => None,
        }
    }

    pub fn is_nan(&self) -> bool {
        *self == Numeric::NaN
    }

    pub fn is_zero(&self) -> bool {
        matches!(self, Numeric::Small { value: 0, .. })
    }

    /// -1, 0 or 1; of NaN 0.
    pub fn signum(&self) -> i32 {
        match self {
            Numeric::MinusInfinity => -1,
            Numeric::Small { value, .. } => value.signum() as i32,
            Numeric::Large(number) => 1 - 2 * i32::from(number.is_negative()),
            Numeric::Infinity => 1,
            Numeric::NaN => 0,
        }
    }

    fn of_sign(sign: i32) -> Numeric {
        match sign {
            ..0 => Numeric::MinusInfinity,
            0 => Numeric::NaN,
            1.. => Numeric::Infinity,
        }
    }

    pub fn negated(&self) -> Numeric {
        match self {
            Numeric::MinusInfinity => Numeric::Infinity,
            Numeric::Small { value, scale } => match value.checked_neg() {
                Some(value) => Numeric::Small { value, scale: *scale },
                None => self.finite().expect("it is a number").negated().into(),
            },
            Numeric::Large(number) => number.negated().into(),
            Numeric::Infinity => Numeric::MinusInfinity,
            Numeric::NaN => Numeric::NaN,
        }
    }

    pub fn absolute(&self) -> Numeric {
        match self.signum() {
            -1 => self.negated(),
            _ => self.clone(),
        }
    }

    /// NaN is above all.
    pub fn compare(&self, other: &Numeric) -> Ordering {
        let (mut left, mut right) = (Vec::new(), Vec::new());
        self.put_key(&mut left);
        other.put_key(&mut right);
        left.cmp(&right)
    }

    /// Two small numbers at the larger of their scales.
    fn aligned(&self, other: &Numeric) -> Option<(i128, i128, u32)> {
        let (
            Numeric::Small { value, scale },
            Numeric::Small {
                value: other,
                scale: other_scale,
            },
        ) = (self, other)
        else {
            return None;
        };
        let at = scale.max(other_scale);
        let raised = |value: &i128, from: &u32| match at - from {
            0 => Some(*value),
            missing => value.checked_mul(power(missing)?),
        };
        Some((raised(value, scale)?, raised(other, other_scale)?, *at))
    }

    fn both(&self, other: &Numeric) -> Option<(Decimal, Decimal)> {
        Some((self.finite()?, other.finite()?))
    }

    pub fn add(&self, other: &Numeric) -> Result<Numeric, SqlError> {
        if let Some((a, b, scale)) = self.aligned(other)
            && let Some(value) = a.checked_add(b)
        {
            return Ok(Numeric::Small { value, scale });
        }
        if let Some((a, b)) = self.both(other) {
            return Ok(a.add(&b)?.into());
        }
        Ok(match (self, other) {
            (Numeric::NaN, _) | (_, Numeric::NaN) => Numeric::NaN,
            (Numeric::Infinity, Numeric::MinusInfinity) | (Numeric::MinusInfinity, Numeric::Infinity) => Numeric::NaN,
            (Numeric::Infinity | Numeric::MinusInfinity, _) => self.clone(),
            _ => other.clone(),
        })
    }

    pub fn subtract(&self, other: &Numeric) -> Result<Numeric, SqlError> {
        self.add(&other.negated())
    }

    pub fn multiply(&self, other: &Numeric) -> Result<Numeric, SqlError> {
        if let (
            Numeric::Small { value, scale },
            Numeric::Small {
                value: by,
                scale: by_scale,
            },
        ) = (self, other)
            && let Some(value) = value.checked_mul(*by)
            && scale + by_scale <= SCALE_MAX
        {
            return Ok(Numeric::Small {
                value,
                scale: scale + by_scale,
            });
        }
        if let Some((a, b)) = self.both(other) {
            return Ok(a.multiply(&b)?.into());
        }
        Ok(match self.is_nan() || other.is_nan() {
            true => Numeric::NaN,
            false => Numeric::of_sign(self.signum() * other.signum()),
        })
    }

    /// The quotient if the divisor or the dividend is no number; `None` if both are numbers.
    fn divide_special(&self, other: &Numeric) -> Option<Result<Numeric, SqlError>> {
        let is_infinite = |number: &Numeric| matches!(number, Numeric::Infinity | Numeric::MinusInfinity);
        Some(Ok(match (is_infinite(self), is_infinite(other)) {
            _ if self.is_nan() || other.is_nan() => Numeric::NaN,
            (true, true) => Numeric::NaN,
            (true, false) if other.is_zero() => return Some(Err(decimal::division_by_zero())),
            (true, false) => Numeric::of_sign(self.signum() * other.signum()),
            (false, true) => Numeric::ZERO,
            (false, false) => return None,
        }))
    }

    /// The power of 10000 of the first group of digits, and the group.
    fn first_group(value: i128, scale: u32) -> (i64, u32) {
        let magnitude = value.unsigned_abs();
        if magnitude == 0 {
            return (0, 0);
        }
        let digits = i64::from(magnitude.ilog10());
        let exponent = digits - i64::from(scale);
        let weight = exponent.div_euclid(GROUP);
        let length = exponent - weight * GROUP;
        let group = match digits - length {
            0.. => magnitude / 10_u128.pow((digits - length) as u32),
            _ => magnitude * 10_u128.pow((length - digits) as u32),
        };
        (weight, group as u32)
    }

    pub fn divide(&self, other: &Numeric) -> Result<Numeric, SqlError> {
        if let Some(special) = self.divide_special(other) {
            return special;
        }
        if let (
            Numeric::Small { value, scale },
            Numeric::Small {
                value: by,
                scale: by_scale,
            },
        ) = (self, other)
        {
            if *by == 0 {
                return Err(decimal::division_by_zero());
            }
            let (first, by_first) = (
                Numeric::first_group(*value, *scale),
                Numeric::first_group(*by, *by_scale),
            );
            let to = decimal::quotient_scale(first, by_first, (*scale, *by_scale));
            let shift = i64::from(to) + i64::from(*by_scale) - i64::from(*scale);
            if let Ok(shift) = u32::try_from(shift)
                && let Some(dividend) = power(shift).and_then(|power| value.checked_mul(power))
            {
                let (quotient, rest) = (dividend / by, dividend % by);
                let up = rest.unsigned_abs() >= by.unsigned_abs() - rest.unsigned_abs();
                let away = if (dividend < 0) == (*by < 0) { 1 } else { -1 };
                return Ok(Numeric::Small {
                    value: quotient + if up { away } else { 0 },
                    scale: to,
                });
            }
        }
        let (a, b) = self.both(other).expect("others are special");
        Ok(a.divide(&b)?.into())
    }

    /// The quotient without its fraction.
    pub fn divide_whole(&self, other: &Numeric) -> Result<Numeric, SqlError> {
        if let Some(special) = self.divide_special(other) {
            return special;
        }
        let (a, b) = self.both(other).expect("others are special");
        Ok(a.divide_whole(&b)?.into())
    }

    /// The remainder has the sign of the dividend.
    pub fn modulo(&self, other: &Numeric) -> Result<Numeric, SqlError> {
        match (self, other) {
            (Numeric::NaN, _) | (_, Numeric::NaN) => return Ok(Numeric::NaN),
            (_, other) if other.is_zero() => return Err(decimal::division_by_zero()),
            (Numeric::Infinity | Numeric::MinusInfinity, _) => return Ok(Numeric::NaN),
            (_, Numeric::Infinity | Numeric::MinusInfinity) => return Ok(self.clone()),
            _ => {}
        }
        if let Some((a, b, scale)) = self.aligned(other) {
            return Ok(Numeric::Small {
                value: a.checked_rem(b).unwrap_or(0),
                scale,
            });
        }
        let (a, b) = self.both(other).expect("others are special");
        Ok(a.modulo(&b)?.into())
    }

    /// Changes a value that is a number; others stay.
    pub fn map(&self, change: impl FnOnce(Decimal) -> Decimal) -> Numeric {
        match self.finite() {
            Some(number) => change(number).into(),
            None => self.clone(),
        }
    }

    /// In units of 10^-`scale`, rounded half away from zero; `None` if 128 bits do not hold it, or it is no number.
    pub fn units(&self, scale: i8) -> Option<i128> {
        if let (Numeric::Small { value, scale: from }, Ok(to)) = (self, u32::try_from(scale)) {
            if to >= *from {
                return value.checked_mul(power(to - from)?);
            }
            let Some(unit) = power(from - to) else {
                return Some(0);
            };
            let (quotient, rest) = (value / unit, (value % unit).unsigned_abs());
            let up = rest >= unit.unsigned_abs() - rest;
            return Some(quotient + if up { value.signum() } else { 0 });
        }
        let number = self.finite()?.round(scale.into());
        let value = match u32::try_from(scale) {
            Ok(scale) => number.fixed(scale),
            Err(_) => number.value / decimal::power_of_ten(scale.unsigned_abs().into()),
        };
        i128::try_from(value).ok()
    }

    /// With a scale, rounded or filled with zeros.
    pub fn at_scale(&self, scale: u32) -> Numeric {
        match i8::try_from(scale).ok().and_then(|to| self.units(to)) {
            Some(value) => Numeric::Small { value, scale },
            None => self.map(|number| Decimal {
                value: number.fixed(scale),
                scale,
            }),
        }
    }

    pub fn double(&self) -> f64 {
        /// Powers of ten that a double holds exactly.
        const SCALE_EXACT: u32 = 22;
        match self {
            Numeric::MinusInfinity => f64::NEG_INFINITY,
            Numeric::Infinity => f64::INFINITY,
            Numeric::NaN => f64::NAN,
            Numeric::Small { value, scale: 0 } => *value as f64,
            // Both are exact in a double, so that the quotient is the nearest one.
            Numeric::Small { value, scale }
                if *scale <= SCALE_EXACT && value.unsigned_abs() < 1 << f64::MANTISSA_DIGITS =>
            {
                *value as f64 / 10_f64.powi(*scale as i32)
            }
            _ => self.finite().expect("others are special").double(),
        }
    }
}

#[cfg(test)]
mod tests;
