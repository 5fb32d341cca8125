//! `power(base, exponent)` of NUMERIC.

use num_bigint::BigInt;

use super::real::{DIGITS_MIN, EXPONENT_MAX, SCALE_MAX, exp_fixed, ln_digits, ln_fixed, scale_of, working};
use crate::error::{SqlError, SqlState};
use crate::types::decimal::{self, Decimal, divide_rounded as rounded, power_of_ten};

/// Digits of the largest number, about.
const DIGITS_MAX: f64 = 131_072.0;
/// Bits of a power that is computed exactly.
const EXACT_BITS_MAX: u64 = 20_000;

pub fn power(base: &Decimal, exponent: &Decimal) -> Result<Decimal, SqlError> {
    const INVALID: SqlState = SqlState("2201F");
    let whole = exponent.trimmed();
    if base.is_zero() && exponent.is_negative() {
        return Err(SqlError::new(INVALID, "zero raised to a negative power is undefined"));
    }
    if base.is_negative() && whole.scale > 0 {
        return Err(SqlError::new(
            INVALID,
            "a negative number raised to a non-integer power yields a complex result",
        ));
    }
    if whole.scale == 0
        && let Ok(exponent) = i32::try_from(&whole.value)
    {
        return whole_power(base, exponent);
    }
    if base.is_zero() {
        return Ok(Decimal {
            value: BigInt::default(),
            scale: DIGITS_MIN as u32,
        });
    }
    let magnitude = &base.absolute();
    let odd = base.is_negative() && whole.value.bit(0);
    let estimate = magnitude.double().ln() * exponent.double() * std::f64::consts::LOG10_E;
    if estimate >= EXPONENT_MAX * std::f64::consts::LOG10_E {
        return Err(decimal::overflow());
    }
    if estimate < -1000.0 {
        return Ok(Decimal {
            value: BigInt::default(),
            scale: SCALE_MAX as u32,
        });
    }
    let scale = scale_of(estimate as i32, base.scale.max(exponent.scale));
    let digits = working(scale, magnitude).max(working(scale, exponent))
        + ln_digits(magnitude).unsigned_abs()
        + estimate.max(0.0) as u32;
    let exponent = &exponent.value * ln_fixed(&magnitude.fixed(digits), digits) / power_of_ten(exponent.scale);
    let made = exp_fixed(&exponent, digits);
    let made = if odd { -made } else { made };
    Decimal::of_fixed(&made, digits, scale)
}

/// A power whose scale PostgreSQL does not fit to the result.
fn whole_power(base: &Decimal, exponent: i32) -> Result<Decimal, SqlError> {
    let scale = base.scale.max(DIGITS_MIN as u32);
    let of = |value: &BigInt, digits: u32| Decimal::of_fixed(value, digits, scale);
    if exponent == 0 {
        return of(&BigInt::from(1), 0);
    }
    if base.is_zero() {
        return of(&BigInt::from(0), 0);
    }
    let digits: f64 = base.value.magnitude().to_string().parse().expect("it is a number");
    let estimate = (digits.log10() - f64::from(base.scale)) * f64::from(exponent);
    if estimate > DIGITS_MAX {
        return Err(decimal::overflow());
    }
    if estimate + 1.0 < -f64::from(scale) {
        return of(&BigInt::from(0), 0);
    }
    let times = exponent.unsigned_abs();
    let value = &base.value;
    if value.bits() * u64::from(times) <= EXACT_BITS_MAX {
        let exact = value.pow(times);
        let digits = base.scale * times;
        if exponent > 0 {
            return of(&exact, digits);
        }
        // 10^digits / exact, with a few digits more than the scale.
        let more = scale + 10;
        let numerator = power_of_ten(digits + more);
        let quotient = match exact.sign() {
            num_bigint::Sign::Minus => -rounded(&numerator, &-&exact),
            _ => rounded(&numerator, &exact),
        };
        return of(&quotient, more);
    }
    let magnitude = &base.absolute();
    let digits = working(scale, magnitude) + 12 + estimate.max(0.0) as u32;
    let made = exp_fixed(&(ln_fixed(&magnitude.fixed(digits), digits) * exponent), digits);
    let made = if base.is_negative() && exponent % 2 != 0 {
        -made
    } else {
        made
    };
    of(&made, digits)
}
