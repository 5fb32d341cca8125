//! Square roots, exponentials and logarithms of NUMERIC, by series over integers of any size.
//!
//! Scales are PostgreSQL's (numeric.c): at least 16 digits that say something, and no fewer than the arguments have.

use num_bigint::{BigInt, Sign};

use crate::error::{SqlError, SqlState};
use crate::types::decimal::{self, Decimal, divide_rounded as rounded, power_of_ten};

/// Digits that say something, at least.
pub const DIGITS_MIN: i32 = 16;
/// Fractional digits of a result, at most.
pub const SCALE_MAX: i32 = 1000;
/// Digits beyond those that are asked for.
const GUARD: u32 = 24;

pub fn scale_of(digits_before: i32, least: u32) -> u32 {
    (DIGITS_MIN - digits_before).max(least as i32).clamp(0, SCALE_MAX) as u32
}

/// `sqrt(value)`
pub fn square_root(value: &Decimal) -> Result<Decimal, SqlError> {
    const ROOT: SqlState = SqlState("2201F");
    if value.is_negative() {
        return Err(SqlError::new(ROOT, "cannot take square root of a negative number"));
    }
    let (_, weight) = value.groups();
    let scale = scale_of((weight + 1) * 2 - 1, value.scale);
    square_root_at(value, scale)
}

/// The square root of a number that is not negative, with a scale.
pub fn square_root_at(value: &Decimal, scale: u32) -> Result<Decimal, SqlError> {
    let digits = scale + GUARD;
    let root = value.fixed(digits * 2).sqrt();
    Decimal::of_fixed(&root, digits, scale)
}

/// 2 * atanh(1 / `divisor`), in units of 10^-`digits`.
fn twice_atanh(numerator: &BigInt, denominator: &BigInt, digits: u32) -> BigInt {
    let one = power_of_ten(digits);
    let (square, divisor) = (numerator * numerator, denominator * denominator);
    let mut term = one * numerator / denominator;
    let (mut sum, mut place) = (BigInt::from(0), 1u32);
    while term != BigInt::from(0) {
        sum += &term / place;
        term = term * &square / &divisor;
        place += 2;
    }
    sum * 2
}

fn ln2(digits: u32) -> BigInt {
    twice_atanh(&BigInt::from(1), &BigInt::from(3), digits)
}

/// The natural logarithm of a positive number, both in units of 10^-`digits`.
pub fn ln_fixed(value: &BigInt, digits: u32) -> BigInt {
    let one = power_of_ten(digits);
    let mut powers = value.bits() as i64 - one.bits() as i64;
    let scaled = |powers: i64| match powers >= 0 {
        true => value >> powers as usize,
        false => value << powers.unsigned_abs() as usize,
    };
    let mut mantissa = scaled(powers);
    // Near 1 on both sides.
    if &mantissa * 3 > &one * 4 {
        powers += 1;
        mantissa = scaled(powers);
    }
    let series = twice_atanh(&(&mantissa - &one), &(&mantissa + &one), digits);
    series + ln2(digits) * powers
}

/// e to a number, both in units of 10^-`digits`.
pub fn exp_fixed(value: &BigInt, digits: u32) -> BigInt {
    const HALVINGS: u32 = 12;
    let one = power_of_ten(digits);
    let ln2 = ln2(digits);
    let powers = rounded(value, &ln2);
    let rest = (value - &powers * &ln2) / BigInt::from(1u32 << HALVINGS);
    let (mut sum, mut term, mut place) = (one.clone(), one.clone(), 1u32);
    while term != BigInt::from(0) {
        term = term * &rest / &one / place;
        sum += &term;
        place += 1;
    }
    for _ in 0..HALVINGS {
        sum = &sum * &sum / &one;
    }
    let powers = i64::try_from(&powers).expect("the exponent was bounded");
    match powers >= 0 {
        true => sum << powers as usize,
        false => sum >> powers.unsigned_abs() as usize,
    }
}

/// About the number of digits of the logarithm before the point; negative: zeros after it.
pub fn ln_digits(value: &Decimal) -> i32 {
    const LN10: f64 = std::f64::consts::LN_10;
    let double = value.double();
    if (0.9..=1.1).contains(&double) {
        // The logarithm is about as far from 0 as the number is from 1.
        let distance = Decimal {
            value: &value.value - power_of_ten(value.scale),
            scale: value.scale,
        };
        let (groups, weight) = distance.groups();
        return groups
            .first()
            .map_or(0, |first| weight * 4 + f64::from(*first).log10() as i32);
    }
    let (groups, weight) = value.groups();
    let Some(first) = groups.first() else {
        return 0;
    };
    let (mut digits, mut power) = (f64::from(*first), weight * 4);
    if let Some(second) = groups.get(1) {
        digits = digits * 10_000.0 + f64::from(*second);
        power -= 4;
    }
    let ln = digits.ln() + f64::from(power) * LN10;
    ln.abs().log10() as i32
}

fn check_logarithm(value: &Decimal) -> Result<(), SqlError> {
    const LOGARITHM: SqlState = SqlState("2201E");
    match value.value.sign() {
        Sign::NoSign => Err(SqlError::new(LOGARITHM, "cannot take logarithm of zero")),
        Sign::Minus => Err(SqlError::new(LOGARITHM, "cannot take logarithm of a negative number")),
        Sign::Plus => Ok(()),
    }
}

/// Digits to work with, for numbers of this scale.
pub fn working(scale: u32, value: &Decimal) -> u32 {
    scale.max(value.scale) + 40 + GUARD
}

/// `ln(value)`
pub fn logarithm(value: &Decimal) -> Result<Decimal, SqlError> {
    check_logarithm(value)?;
    let scale = scale_of(ln_digits(value), value.scale);
    let digits = working(scale, value);
    let made = ln_fixed(&value.fixed(digits), digits);
    Decimal::of_fixed(&made, digits, scale)
}

/// `log(base, value)`
pub fn logarithm_of_base(base: &Decimal, value: &Decimal) -> Result<Decimal, SqlError> {
    check_logarithm(base)?;
    check_logarithm(value)?;
    let before = ln_digits(value) - ln_digits(base);
    let scale = scale_of(before, base.scale.max(value.scale));
    let digits = working(scale, value).max(working(scale, base));
    let divisor = ln_fixed(&base.fixed(digits), digits);
    if divisor == BigInt::from(0) {
        return Err(decimal::division_by_zero());
    }
    let quotient = ln_fixed(&value.fixed(digits), digits) * power_of_ten(digits) / divisor;
    Decimal::of_fixed(&quotient, digits, scale)
}

/// The least exponent of e that PostgreSQL takes for too large.
pub const EXPONENT_MAX: f64 = 6000.0;

/// `exp(value)`
pub fn exponential(value: &Decimal) -> Result<Decimal, SqlError> {
    let decimal_digits = value.double() * std::f64::consts::LOG10_E;
    if value.double() >= EXPONENT_MAX {
        return Err(decimal::overflow());
    }
    let scale = scale_of(decimal_digits.clamp(-1000.0, 1000.0) as i32, value.scale);
    if decimal_digits < -1000.0 {
        return Ok(Decimal {
            value: BigInt::default(),
            scale,
        });
    }
    let digits = working(scale, value) + decimal_digits.max(0.0) as u32;
    let made = exp_fixed(&value.fixed(digits), digits);
    Decimal::of_fixed(&made, digits, scale)
}
