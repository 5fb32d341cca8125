//! `gcd`, `lcm` and `factorial`.

use super::decimal::Decimal;
use crate::error::{SqlError, state};
use crate::sql::functions::aggregates::Summand;

fn common(mut left: u128, mut right: u128) -> u128 {
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}

fn at_one_scale(left: Decimal, right: Decimal) -> Result<(u128, u128, u32), SqlError> {
    let scale = left.scale.max(right.scale);
    let at = |value: Decimal| value.at_scale(scale).map(i128::unsigned_abs).ok_or_else(i128::overflow);
    Ok((at(left)?, at(right)?, scale))
}

pub fn greatest(left: Decimal, right: Decimal) -> Result<Decimal, SqlError> {
    let (left, right, scale) = at_one_scale(left, right)?;
    let value = i128::try_from(common(left, right)).map_err(|_| i128::overflow())?;
    Ok(Decimal { value, scale })
}

pub fn least_multiple(left: Decimal, right: Decimal) -> Result<Decimal, SqlError> {
    let (left, right, scale) = at_one_scale(left, right)?;
    let value = match left == 0 || right == 0 {
        true => Some(0),
        false => (left / common(left, right)).checked_mul(right),
    };
    let value = value
        .and_then(|value| i128::try_from(value).ok())
        .ok_or_else(i128::overflow)?;
    Ok(Decimal { value, scale })
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
    if number < 0 {
        return Err(SqlError::new(
            state::NUMERIC_VALUE_OUT_OF_RANGE,
            "factorial of a negative number is undefined",
        ));
    }
    let product = (2..=i128::from(number.min(40))).try_fold(1i128, i128::checked_mul);
    let value = product.filter(|_| number <= 40).ok_or_else(i128::overflow)?;
    Ok(Decimal { value, scale: 0 })
}
