//! `width_bucket`: between equal bounds, and by thresholds.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array};
use arrow::datatypes::DataType;
use num_bigint::BigInt;

use crate::error::{SqlError, SqlState};
use crate::sql::error::out_of_range;
use crate::sql::functions::arrays::keys;
use crate::types::varying::Numeric;

fn refused(message: &str) -> SqlError {
    SqlError::new(SqlState("2201G"), message)
}

fn check(count: i32) -> Result<i32, SqlError> {
    match count > 0 {
        true => Ok(count),
        false => Err(refused("count must be greater than zero")),
    }
}

pub fn of_doubles(operand: f64, low: f64, high: f64, count: i32) -> Result<i32, SqlError> {
    check(count)?;
    if operand.is_nan() || low.is_nan() || high.is_nan() {
        return Err(refused("operand, lower bound, and upper bound cannot be NaN"));
    }
    if low.is_infinite() || high.is_infinite() {
        return Err(refused("lower and upper bounds must be finite"));
    }
    if low == high {
        return Err(refused("lower bound cannot equal upper bound"));
    }
    let after = || count.checked_add(1).ok_or_else(|| out_of_range("integer"));
    let (before, past) = match low < high {
        true => (operand < low, operand >= high),
        false => (operand > low, operand <= high),
    };
    if before {
        return Ok(0);
    }
    if past {
        return after();
    }
    // Halved where the difference would not be finite.
    let part = match (high - low).is_finite() {
        true => (operand - low) / (high - low),
        false => (operand / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0),
    };
    let bucket = (f64::from(count) * part) as i32;
    Ok(bucket.min(count - 1) + 1)
}

pub fn of_decimals(operand: &Numeric, low: &Numeric, high: &Numeric, count: i32) -> Result<i32, SqlError> {
    check(count)?;
    if operand.is_nan() || low.is_nan() || high.is_nan() {
        return Err(refused("operand, lower bound, and upper bound cannot be NaN"));
    }
    let (Some(from), Some(to)) = (low.finite(), high.finite()) else {
        return Err(refused("lower and upper bounds must be finite"));
    };
    let direction = from.compare(&to);
    if direction.is_eq() {
        return Err(refused("lower bound cannot equal upper bound"));
    }
    let is_past = operand.compare(high) != direction;
    if operand.compare(low) == direction {
        return Ok(0);
    }
    if is_past {
        return count.checked_add(1).ok_or_else(|| out_of_range("integer"));
    }
    let operand = operand.finite().expect("it is between the bounds");
    let scale = operand.scale.max(from.scale).max(to.scale);
    let (operand, low, high): (BigInt, BigInt, BigInt) = (operand.fixed(scale), from.fixed(scale), to.fixed(scale));
    let bucket = (&operand - &low) * count / (&high - &low);
    Ok(i32::try_from(&bucket).expect("it is below the count") + 1)
}

/// The number of thresholds that the operand has reached.
pub fn of_thresholds(operands: &ArrayRef, thresholds: &ArrayRef) -> Result<ArrayRef, SqlError> {
    let list = thresholds.as_list::<i32>();
    if let DataType::List(_) = list.value_type() {
        return Err(SqlError::new(
            SqlState("2202E"),
            "thresholds must be one-dimensional array",
        ));
    }
    let [values, wanted] = keys([list.values(), operands])?;
    let made = (0..list.len()).map(|row| {
        if list.is_null(row) || operands.is_null(row) {
            return Ok(None);
        }
        let offsets = list.value_offsets();
        let (from, to) = (offsets[row] as usize, offsets[row + 1] as usize);
        if (from..to).any(|at| list.values().is_null(at)) {
            return Err(SqlError::new(
                SqlState("22004"),
                "thresholds array must not contain NULLs",
            ));
        }
        let (mut low, mut high) = (from, to);
        while low < high {
            let middle = low + (high - low) / 2;
            match wanted.row(row) < values.row(middle) {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        Ok(Some((low - from) as i32))
    });
    Ok(Arc::new(made.collect::<Result<Int32Array, SqlError>>()?))
}
