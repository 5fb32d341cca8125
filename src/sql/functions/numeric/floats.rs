//! Functions of doubles with PostgreSQL's errors: powers, logarithms, angles in radians and in degrees.
//!
//! One rule: `sind(30)` is exactly 0.5, as PostgreSQL computes it (float.c).

use crate::error::{SqlError, SqlState, state};
use crate::sql::functions::overload::{Overload, OverloadType, OverloadValue, Row, RowResult};

use OverloadType::Float8;

fn range(message: &str) -> SqlError {
    SqlError::new(state::NUMERIC_VALUE_OUT_OF_RANGE, message)
}

fn input() -> SqlError {
    range("input is out of range")
}

fn overflow() -> SqlError {
    range("value out of range: overflow")
}

fn underflow() -> SqlError {
    range("value out of range: underflow")
}

pub fn square_root(value: f64) -> Result<f64, SqlError> {
    match value < 0.0 {
        true => Err(SqlError::new(
            SqlState("2201F"),
            "cannot take square root of a negative number",
        )),
        false => Ok(value.sqrt()),
    }
}

pub fn logarithm(value: f64, function: impl Fn(f64) -> f64) -> Result<f64, SqlError> {
    const LOGARITHM: SqlState = SqlState("2201E");
    if value == 0.0 {
        return Err(SqlError::new(LOGARITHM, "cannot take logarithm of zero"));
    }
    if value < 0.0 {
        return Err(SqlError::new(LOGARITHM, "cannot take logarithm of a negative number"));
    }
    Ok(function(value))
}

pub fn exponential(value: f64) -> Result<f64, SqlError> {
    let result = value.exp();
    if result.is_infinite() && value.is_finite() {
        return Err(overflow());
    }
    if result == 0.0 && value.is_finite() {
        return Err(underflow());
    }
    Ok(result)
}

pub fn power(base: f64, exponent: f64) -> Result<f64, SqlError> {
    const INVALID: SqlState = SqlState("2201F");
    if base == 0.0 && exponent < 0.0 {
        return Err(SqlError::new(INVALID, "zero raised to a negative power is undefined"));
    }
    if base < 0.0 && exponent.is_finite() && exponent.floor() != exponent {
        return Err(SqlError::new(
            INVALID,
            "a negative number raised to a non-integer power yields a complex result",
        ));
    }
    let result = base.powf(exponent);
    if base.is_finite() && exponent.is_finite() {
        if result.is_infinite() {
            return Err(overflow());
        }
        if result == 0.0 && base != 0.0 {
            return Err(underflow());
        }
    }
    Ok(result)
}

/// A trigonometric function, or an inverse one.
fn of<'a>(row: &Row<'a>, domain: impl Fn(f64) -> bool, function: impl Fn(f64) -> f64) -> RowResult<'a> {
    let value = row.double(0);
    if !value.is_nan() && !domain(value) {
        return Err(input());
    }
    Ok(OverloadValue::Double(function(value)))
}

fn within_one(value: f64) -> bool {
    (-1.0..=1.0).contains(&value)
}

pub const TABLE: &[Overload] = &[
    Overload::new("acos", &[Float8], Float8, |row| of(row, within_one, f64::acos)),
    Overload::new("asin", &[Float8], Float8, |row| of(row, within_one, f64::asin)),
    Overload::new("atan", &[Float8], Float8, |row| of(row, |_| true, f64::atan)),
    Overload::new("atan2", &[Float8, Float8], Float8, |row| {
        Ok(OverloadValue::Double(row.double(0).atan2(row.double(1))))
    }),
    Overload::new("cos", &[Float8], Float8, |row| of(row, f64::is_finite, f64::cos)),
    Overload::new("sin", &[Float8], Float8, |row| of(row, f64::is_finite, f64::sin)),
    Overload::new("tan", &[Float8], Float8, |row| of(row, f64::is_finite, f64::tan)),
    Overload::new("cot", &[Float8], Float8, |row| {
        of(row, f64::is_finite, |value| 1.0 / value.tan())
    }),
    Overload::new("sinh", &[Float8], Float8, |row| of(row, |_| true, f64::sinh)),
    Overload::new("cosh", &[Float8], Float8, |row| of(row, |_| true, f64::cosh)),
    Overload::new("tanh", &[Float8], Float8, |row| of(row, |_| true, f64::tanh)),
    Overload::new("asinh", &[Float8], Float8, |row| of(row, |_| true, asinh)),
    Overload::new("acosh", &[Float8], Float8, |row| of(row, |value| value >= 1.0, acosh)),
    Overload::new("atanh", &[Float8], Float8, |row| of(row, within_one, atanh)),
    Overload::new("sind", &[Float8], Float8, |row| of(row, f64::is_finite, sind)),
    Overload::new("cosd", &[Float8], Float8, |row| of(row, f64::is_finite, cosd)),
    Overload::new("tand", &[Float8], Float8, |row| of(row, f64::is_finite, tand)),
    Overload::new("cotd", &[Float8], Float8, |row| of(row, f64::is_finite, cotd)),
    Overload::new("asind", &[Float8], Float8, |row| of(row, within_one, asind)),
    Overload::new("acosd", &[Float8], Float8, |row| of(row, within_one, acosd)),
    Overload::new("atand", &[Float8], Float8, |row| of(row, |_| true, atand)),
    Overload::new("atan2d", &[Float8, Float8], Float8, |row| {
        Ok(OverloadValue::Double(
            row.double(0).atan2(row.double(1)) / 1f64.atan() * 45.0,
        ))
    }),
    Overload::new("degrees", &[Float8], Float8, |row| {
        let result = row.double(0) / RADIANS_PER_DEGREE;
        match result.is_infinite() && row.double(0).is_finite() {
            true => Err(overflow()),
            false => Ok(OverloadValue::Double(result)),
        }
    }),
    Overload::new("radians", &[Float8], Float8, |row| {
        Ok(OverloadValue::Double(row.double(0) * RADIANS_PER_DEGREE))
    }),
    Overload::new("cbrt", &[Float8], Float8, |row| {
        Ok(OverloadValue::Double(cube_root(row.double(0))))
    }),
    Overload::new("dsqrt", &[Float8], Float8, |row| {
        Ok(OverloadValue::Double(square_root(row.double(0))?))
    }),
    Overload::new("dexp", &[Float8], Float8, |row| {
        Ok(OverloadValue::Double(exponential(row.double(0))?))
    }),
];

/// As in C's library, which is more exact near zero than the logarithm's formula.
fn asinh(value: f64) -> f64 {
    value.asinh()
}

fn acosh(value: f64) -> f64 {
    value.acosh()
}

fn atanh(value: f64) -> f64 {
    match value {
        1.0 => f64::INFINITY,
        -1.0 => f64::NEG_INFINITY,
        value => value.atanh(),
    }
}

const RADIANS_PER_DEGREE: f64 = 0.017_453_292_519_943_295;

fn sind_to_30(angle: f64) -> f64 {
    let sine = (angle * RADIANS_PER_DEGREE).sin();
    sine / (30.0 * RADIANS_PER_DEGREE).sin() / 2.0
}

fn cosd_to_60(angle: f64) -> f64 {
    let missing = 1.0 - (angle * RADIANS_PER_DEGREE).cos();
    1.0 - missing / (1.0 - (60.0 * RADIANS_PER_DEGREE).cos()) / 2.0
}

/// Of an angle from 0 to 90.
fn sind_to_90(angle: f64) -> f64 {
    match angle <= 30.0 {
        true => sind_to_30(angle),
        false => cosd_to_60(90.0 - angle),
    }
}

fn cosd_to_90(angle: f64) -> f64 {
    match angle <= 60.0 {
        true => cosd_to_60(angle),
        false => sind_to_30(90.0 - angle),
    }
}

fn cosd(angle: f64) -> f64 {
    let mut angle = (angle % 360.0).abs();
    if angle > 180.0 {
        angle = 360.0 - angle;
    }
    match angle > 90.0 {
        true => -cosd_to_90(180.0 - angle),
        false => cosd_to_90(angle),
    }
}

/// An angle from 0 to 180, and the sign of its sine.
fn folded(angle: f64) -> (f64, f64) {
    let (mut angle, mut sign) = (angle % 360.0, 1.0);
    if angle < 0.0 {
        (angle, sign) = (-angle, -sign);
    }
    if angle > 180.0 {
        (angle, sign) = (360.0 - angle, -sign);
    }
    (angle, sign)
}

fn sind(angle: f64) -> f64 {
    let (angle, sign) = folded(angle);
    sign * sind_to_90(if angle > 90.0 { 180.0 - angle } else { angle })
}

/// There is one zero.
fn unsigned_zero(value: f64) -> f64 {
    if value == 0.0 { 0.0 } else { value }
}

fn tand(angle: f64) -> f64 {
    let (angle, sign) = folded(angle);
    let (angle, sign) = if angle > 90.0 {
        (180.0 - angle, -sign)
    } else {
        (angle, sign)
    };
    let tan = |angle: f64| sind_to_90(angle) / cosd_to_90(angle);
    unsigned_zero(sign * (tan(angle) / tan(45.0)))
}

fn cotd(angle: f64) -> f64 {
    let (angle, sign) = folded(angle);
    let (angle, sign) = if angle > 90.0 {
        (180.0 - angle, -sign)
    } else {
        (angle, sign)
    };
    let cot = |angle: f64| cosd_to_90(angle) / sind_to_90(angle);
    unsigned_zero(sign * (cot(angle) / cot(45.0)))
}

fn asind_to_90(value: f64) -> f64 {
    match value <= 0.5 {
        true => value.asin() / 0.5f64.asin() * 30.0,
        false => 90.0 - value.acos() / 0.5f64.acos() * 60.0,
    }
}

fn asind(value: f64) -> f64 {
    match value >= 0.0 {
        true => asind_to_90(value),
        false => -asind_to_90(-value),
    }
}

fn acosd(value: f64) -> f64 {
    match value {
        0.5.. => value.acos() / 0.5f64.acos() * 60.0,
        0.0..0.5 => 90.0 - value.asin() / 0.5f64.asin() * 30.0,
        value => 90.0 + asind_to_90(-value),
    }
}

fn atand(value: f64) -> f64 {
    value.atan() / 1f64.atan() * 45.0
}

/// The cube root as the C library of PostgreSQL 15's time has it (glibc 2.36, dbl-64/s_cbrt.c), whose last digit may be off by one.
fn cube_root(number: f64) -> f64 {
    const FACTORS: [f64; 5] = [
        0.6299605249474365,
        0.7937005259840997,
        1.0,
        1.2599210498948732,
        1.5874010519681996,
    ];
    const POLYNOMIAL: [f64; 7] = [
        -0.14526389938548637,
        0.7849323449766392,
        -1.8346927748361308,
        2.4469312256353444,
        -2.114994941673713,
        1.508191937815849,
        0.35489576504391984,
    ];
    if number == 0.0 || !number.is_finite() {
        return number + number;
    }
    let (part, exponent) = fraction_and_exponent(number.abs());
    let guess = POLYNOMIAL.iter().fold(0.0, |sum, factor| sum * part + factor);
    let cube = guess * guess * guess;
    let root = (part + part + cube) * guess / (cube + cube + part) * FACTORS[(2 + exponent % 3) as usize];
    let root = if number > 0.0 { root } else { -root };
    root * 2f64.powi(exponent / 3)
}

/// A number as a part between a half and 1, and a power of two.
fn fraction_and_exponent(number: f64) -> (f64, i32) {
    const MANTISSA_BITS: u32 = 52;
    const HALF: u64 = 1022;
    let bits = number.to_bits();
    let exponent = (bits >> MANTISSA_BITS) & 0x7ff;
    if exponent == 0 {
        let (part, exponent) = fraction_and_exponent(number * 2f64.powi(64));
        return (part, exponent - 64);
    }
    let part = f64::from_bits((bits & !(0x7ff << MANTISSA_BITS)) | (HALF << MANTISSA_BITS));
    (part, exponent as i32 - HALF as i32)
}
