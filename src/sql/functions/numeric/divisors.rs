//! `gcd`, `lcm` and `factorial`.

use num_bigint::BigInt;

use crate::error::{SqlError, state};
use crate::stop;
use crate::types::decimal::{self, Decimal};

fn common(mut left: u128, mut right: u128) -> u128 {
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}

fn common_of_any(left: &BigInt, right: &BigInt) -> BigInt {
    let (mut left, mut right) = (left.clone(), right.clone());
    while right != BigInt::default() {
        (left, right) = (right.clone(), left % right);
    }
    left.magnitude().clone().into()
}

pub fn greatest(left: &Decimal, right: &Decimal) -> Result<Decimal, SqlError> {
    let scale = left.scale.max(right.scale);
    let value = common_of_any(&left.fixed(scale), &right.fixed(scale));
    Ok(Decimal { value, scale })
}

pub fn least_multiple(left: &Decimal, right: &Decimal) -> Result<Decimal, SqlError> {
    let scale = left.scale.max(right.scale);
    let (left, right) = (left.fixed(scale), right.fixed(scale));
    let divisor = common_of_any(&left, &right);
    let value = match divisor == BigInt::default() {
        true => divisor,
        false => (left / divisor * right).magnitude().clone().into(),
    };
    Decimal { value, scale }.checked()
}

/// Of integers, in a type that holds every result.
pub fn greatest_integer(left: i64, right: i64) -> i128 {
    common(left.unsigned_abs().into(), right.unsigned_abs().into()) as i128
}

pub fn least_multiple_integer(left: i64, right: i64) -> i128 {
    let divisor = greatest_integer(left, right);
    match left == 0 || right == 0 {
        true => 0,
        false => i128::from(left).abs() / divisor * i128::from(right).abs(),
    }
}

pub fn factorial(number: i64) -> Result<Decimal, SqlError> {
    /// Of a larger one there is no factorial that NUMERIC holds.
    const NUMBER_MAX: i64 = 32_177;
    if number < 0 {
        return Err(SqlError::new(
            state::NUMERIC_VALUE_OUT_OF_RANGE,
            "factorial of a negative number is undefined",
        ));
    }
    if number > NUMBER_MAX {
        return Err(decimal::overflow());
    }
    let mut value = BigInt::from(1);
    for factor in 2..=number {
        if factor % 256 == 0 {
            stop::check()?;
        }
        value *= factor;
    }
    Decimal { value, scale: 0 }.checked()
}
