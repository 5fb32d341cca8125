//! Functions of numbers with PostgreSQL's types and errors: `round`, `mod`, `div`, `abs` and their kind.
//!
//! One rule: exact numbers stay exact; only floats give floats. Not here: roots, powers and logarithms (`numeric`).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, Decimal128Array, Int32Array, PrimitiveArray};
use arrow::datatypes::{DataType, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::aggregates::Summand;
use super::arithmetic;
use super::casts::map;
use super::kernel::apply;
use super::numeric::{Numbers, collect, is_exact};
use super::operator::ArithmeticOperator;
use super::overflow::{NUMERIC_MAX, NUMERIC_PRECISION, out_of_range};
use super::{fail, over_columns, undefined_function};
use crate::error::SqlError;
use crate::types::decimal::Decimal;
use crate::types::varying::Numeric;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum MathFunction {
    Abs,
    Ceil,
    Floor,
    Round,
    Trunc,
    Sign,
    Mod,
    Div,
    BitNot,
}

impl MathFunction {
    const NAMES: [(&'static str, MathFunction); 11] = [
        ("abs", MathFunction::Abs),
        ("ceil", MathFunction::Ceil),
        ("ceiling", MathFunction::Ceil),
        ("floor", MathFunction::Floor),
        ("round", MathFunction::Round),
        ("trunc", MathFunction::Trunc),
        ("sign", MathFunction::Sign),
        ("signum", MathFunction::Sign),
        ("mod", MathFunction::Mod),
        ("div", MathFunction::Div),
        ("bit_not", MathFunction::BitNot),
    ];
}

/// One function per name.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    MathFunction::NAMES
        .iter()
        .map(|(name, function)| {
            let signature = Signature::user_defined(Volatility::Immutable);
            Arc::new(ScalarUDF::from(Math {
                name,
                function: *function,
                signature,
            }))
        })
        .collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Math {
    name: &'static str,
    function: MathFunction,
    signature: Signature,
}

/// A number's type as this module computes with it; `None` if it is no number. Untyped arguments are doubles.
fn number(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => DataType::Int16,
        DataType::UInt16 | DataType::Int32 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 | DataType::Int64 => DataType::Int64,
        DataType::Float16 | DataType::Float32 => DataType::Float32,
        DataType::Float64 | DataType::Null | DataType::Utf8 => DataType::Float64,
        DataType::Decimal128(precision, scale) if *scale >= 0 => DataType::Decimal128(*precision, *scale),
        DataType::Decimal128(_, _) | DataType::LargeBinary => DataType::LargeBinary,
        _ => return None,
    })
}

fn is_integer(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Int16 | DataType::Int32 | DataType::Int64)
}

impl ScalarUDFImpl for Math {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let undefined = || fail(undefined_function(self.name, arguments));
        let numbers: Vec<DataType> = arguments
            .iter()
            .map(number)
            .collect::<Option<Vec<DataType>>>()
            .ok_or_else(undefined)?;
        let float = |data_type: &DataType| match data_type {
            DataType::Decimal128(_, _) | DataType::LargeBinary => data_type.clone(),
            _ => DataType::Float64,
        };
        match (self.function, numbers.as_slice()) {
            (MathFunction::Abs | MathFunction::Sign, [only]) => Ok(vec![only.clone()]),
            (MathFunction::BitNot, [only]) if is_integer(only) => Ok(vec![only.clone()]),
            (MathFunction::Ceil | MathFunction::Floor | MathFunction::Round | MathFunction::Trunc, [only]) => {
                Ok(vec![float(only)])
            }
            (MathFunction::Round | MathFunction::Trunc, [value, digits]) if is_integer(digits) => {
                let value = match value {
                    DataType::Decimal128(_, _) | DataType::LargeBinary => value.clone(),
                    DataType::Int16 | DataType::Int32 => DataType::Decimal128(10, 0),
                    DataType::Int64 => DataType::Decimal128(19, 0),
                    // PostgreSQL has no round(double, integer); it is allowed here.
                    _ => DataType::Float64,
                };
                Ok(vec![value, DataType::Int32])
            }
            (MathFunction::Mod, [left, right]) => {
                let operands = arithmetic::operands(ArithmeticOperator::Modulo, left, right).map_err(fail)?;
                Ok(vec![operands.left, operands.right])
            }
            (MathFunction::Div, [left, right]) if is_exact(left) && is_exact(right) => {
                Ok(vec![left.clone(), right.clone()])
            }
            _ => Err(undefined()),
        }
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.result(arguments, None)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<arrow::datatypes::FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let digits = match args.scalar_arguments.get(1) {
            Some(Some(ScalarValue::Int16(Some(digits)))) => Some(i64::from(*digits)),
            Some(Some(ScalarValue::Int32(Some(digits)))) => Some(i64::from(*digits)),
            Some(Some(ScalarValue::Int64(Some(digits)))) => Some(*digits),
            _ => None,
        };
        let result = self.result(&types, digits)?;
        Ok(Arc::new(arrow::datatypes::Field::new(self.name, result, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let result = args.return_field.data_type().clone();
        match (self.function, args.args.as_slice()) {
            (MathFunction::Mod, [left, right]) => apply(left, right, |left, right| {
                arithmetic::evaluate_numbers(ArithmeticOperator::Modulo, left, right, &result)
            }),
            (MathFunction::Div, [_, _]) => over_columns(&args, |columns, rows| {
                let numbers = |index: usize| Numbers::of(&columns[index]).expect("planned over exact numbers");
                let (left, right) = (numbers(0), numbers(1));
                collect(rows, |row| match left.get(row).zip(right.get(row)) {
                    Some((left, right)) => left.divide_whole(&right).map(Some),
                    None => Ok(None),
                })
            }),
            (MathFunction::Round | MathFunction::Trunc, [_, _]) => over_columns(&args, |columns, _| {
                to_digits(self.function, &columns[0], &columns[1], &result)
            }),
            (function, [value]) => map(value, |column| one(function, column, &result)),
            (_, _) => Err(fail(undefined_function(self.name, &[]))),
        }
    }
}

impl Math {
    fn result(&self, arguments: &[DataType], digits: Option<i64>) -> Result<DataType> {
        Ok(match (self.function, arguments) {
            (MathFunction::Mod, [left, right]) => {
                arithmetic::operands(ArithmeticOperator::Modulo, left, right)
                    .map_err(fail)?
                    .result
            }
            (MathFunction::Div, _) => DataType::LargeBinary,
            (_, [DataType::LargeBinary, ..]) => DataType::LargeBinary,
            (MathFunction::Sign, [DataType::Decimal128(_, _)]) => DataType::Decimal128(1, 0),
            (MathFunction::Sign, [_]) => DataType::Float64,
            (
                MathFunction::Ceil | MathFunction::Floor | MathFunction::Round | MathFunction::Trunc,
                [DataType::Decimal128(p, s)],
            ) => DataType::Decimal128((*p as i16 - i16::from(*s) + 1).clamp(1, 38) as u8, 0),
            (MathFunction::Round | MathFunction::Trunc, [DataType::Decimal128(precision, scale), _]) => {
                let whole = i16::from(*precision) - i16::from(*scale) + 1;
                let kept = digits.and_then(|digits| i16::try_from(digits.max(0)).ok());
                match kept {
                    Some(kept) if whole + kept <= i16::from(NUMERIC_PRECISION) => {
                        DataType::Decimal128((whole + kept).max(1) as u8, kept as i8)
                    }
                    _ => DataType::LargeBinary,
                }
            }
            (_, [first, ..]) => number(first).ok_or_else(|| fail(undefined_function(self.name, arguments)))?,
            _ => return Err(fail(undefined_function(self.name, arguments))),
        })
    }
}

/// A decimal column at a smaller scale, by `change(value, power of ten)`.
fn rescaled(column: &ArrayRef, to: &DataType, change: impl Fn(i128, i128) -> i128) -> Result<ArrayRef, SqlError> {
    let (DataType::Decimal128(_, from), DataType::Decimal128(_, scale)) = (column.data_type(), to) else {
        unreachable!("decimals are rescaled to decimals");
    };
    let power = 10i128.pow(u32::try_from(from - scale).expect("the result has fewer fractional digits"));
    let values: Decimal128Array = column
        .as_primitive::<Decimal128Type>()
        .unary(|value| change(value, power));
    Ok(Arc::new(values.with_data_type(to.clone())))
}

/// NUMERIC of any scale, by `change`.
fn varying(column: &ArrayRef, change: impl Fn(Numeric) -> Numeric) -> Result<ArrayRef, SqlError> {
    let numbers = Numbers::of(column).expect("planned over exact numbers");
    collect(column.len(), |row| Ok(numbers.get(row).map(&change)))
}

fn rounded(value: i128, power: i128) -> i128 {
    let (quotient, rest) = (value / power, value % power);
    // Twice the rest may not fit.
    if rest.abs() >= power - rest.abs() {
        quotient + value.signum()
    } else {
        quotient
    }
}

fn one(function: MathFunction, column: &ArrayRef, result: &DataType) -> Result<ArrayRef, SqlError> {
    match column.data_type() {
        DataType::LargeBinary => varying(column, |number| match function {
            MathFunction::Abs => number.absolute(),
            MathFunction::Sign if number.is_nan() => number,
            MathFunction::Sign => Numeric::whole(number.signum().into()),
            MathFunction::Round => number.map(|number| number.round(0)),
            MathFunction::Trunc => number.map(|number| number.truncate(0)),
            MathFunction::Ceil => number.map(|number| number.ceiling()),
            _ => number.map(|number| number.floor()),
        }),
        DataType::Decimal128(_, scale) => match function {
            MathFunction::Abs => {
                let values: Decimal128Array = column.as_primitive::<Decimal128Type>().unary(i128::abs);
                Ok(Arc::new(values.with_data_type(column.data_type().clone())))
            }
            MathFunction::Sign => {
                let values: Decimal128Array = column.as_primitive::<Decimal128Type>().unary(i128::signum);
                Ok(Arc::new(values.with_data_type(result.clone())))
            }
            _ if *scale <= 0 => Ok(Arc::new(
                column
                    .as_primitive::<Decimal128Type>()
                    .clone()
                    .with_data_type(result.clone()),
            )),
            MathFunction::Round => rescaled(column, result, rounded),
            MathFunction::Trunc => rescaled(column, result, |value, power| value / power),
            MathFunction::Ceil => rescaled(column, result, |value, power| -(-value).div_euclid(power)),
            _ => rescaled(column, result, |value, power| value.div_euclid(power)),
        },
        DataType::Float32 => {
            let column = column.as_primitive::<Float32Type>();
            match function {
                MathFunction::Abs => Ok(Arc::new(column.unary::<_, Float32Type>(f32::abs))),
                _ => floats(function, &column.unary::<_, Float64Type>(f64::from)),
            }
        }
        DataType::Float64 => floats(function, column.as_primitive::<Float64Type>()),
        DataType::Int16 => integers::<Int16Type>(function, column, result, i16::checked_abs, |v| !v, f64::from),
        DataType::Int32 => integers::<Int32Type>(function, column, result, i32::checked_abs, |v| !v, f64::from),
        _ => integers::<Int64Type>(function, column, result, i64::checked_abs, |v| !v, |value| value as f64),
    }
}

fn integers<T: ArrowPrimitiveType>(
    function: MathFunction,
    column: &ArrayRef,
    result: &DataType,
    absolute: impl Fn(T::Native) -> Option<T::Native>,
    inverted: impl Fn(T::Native) -> T::Native,
    float: impl Fn(T::Native) -> f64,
) -> Result<ArrayRef, SqlError> {
    let column = column.as_primitive::<T>();
    match function {
        MathFunction::BitNot => Ok(Arc::new(column.unary::<_, T>(inverted))),
        MathFunction::Sign => Ok(Arc::new(column.unary::<_, Float64Type>(|value| sign(float(value))))),
        _ => {
            let values: PrimitiveArray<T> =
                column.try_unary(|value| absolute(value).ok_or_else(|| out_of_range(result)))?;
            Ok(Arc::new(values))
        }
    }
}

fn sign(value: f64) -> f64 {
    if value == 0.0 || value.is_nan() {
        value
    } else {
        value.signum()
    }
}

fn floats(function: MathFunction, column: &PrimitiveArray<Float64Type>) -> Result<ArrayRef, SqlError> {
    let values: PrimitiveArray<Float64Type> = column.unary(|value| match function {
        MathFunction::Abs => value.abs(),
        MathFunction::Ceil => value.ceil(),
        MathFunction::Floor => value.floor(),
        MathFunction::Round => value.round_ties_even(),
        MathFunction::Trunc => value.trunc(),
        MathFunction::Sign => sign(value),
        MathFunction::Mod | MathFunction::Div | MathFunction::BitNot => {
            unreachable!("not a function of one float")
        }
    });
    Ok(Arc::new(values))
}

/// `round(value, digits)` and `trunc(value, digits)`.
fn to_digits(
    function: MathFunction,
    column: &ArrayRef,
    digits: &ArrayRef,
    result: &DataType,
) -> Result<ArrayRef, SqlError> {
    let digits: &Int32Array = digits.as_primitive::<Int32Type>();
    let digits_at = |row: usize| {
        let row = if digits.len() == 1 { 0 } else { row };
        digits.is_valid(row).then(|| digits.value(row))
    };
    if let DataType::Float64 = column.data_type() {
        let column = column.as_primitive::<Float64Type>();
        let values: PrimitiveArray<Float64Type> = (0..column.len())
            .map(|row| {
                let digits = digits_at(row)?;
                column.is_valid(row).then(|| {
                    let power = 10f64.powi(digits);
                    let scaled = column.value(row) * power;
                    (if function == MathFunction::Round {
                        scaled.round()
                    } else {
                        scaled.trunc()
                    }) / power
                })
            })
            .collect();
        return Ok(Arc::new(values));
    }
    if *result == DataType::LargeBinary {
        /// Digits after the point of a result, or before it that are left out.
        const DIGITS_MAX: i64 = 2_000;
        let numbers = Numbers::of(column).expect("planned over exact numbers");
        return collect(column.len(), |row| {
            let Some((number, digits)) = numbers.get(row).zip(digits_at(row)) else {
                return Ok(None);
            };
            let digits = i64::from(digits).clamp(-DIGITS_MAX, DIGITS_MAX);
            let made = number.map(|number| {
                let made = match function {
                    MathFunction::Round => number.round(digits),
                    _ => number.truncate(digits),
                };
                // Missing digits are zeros.
                Decimal {
                    value: made.fixed(digits.max(0) as u32),
                    scale: digits.max(0) as u32,
                }
            });
            Ok(Some(made))
        });
    }
    let (DataType::Decimal128(_, from), DataType::Decimal128(_, scale)) = (column.data_type(), result) else {
        unreachable!("planned over a decimal");
    };
    let column = column.as_primitive::<Decimal128Type>();
    let values = (0..column.len())
        .map(|row| {
            let Some(digits) = digits_at(row).filter(|_| column.is_valid(row)) else {
                return Ok(None);
            };
            let kept = i64::from(digits).clamp(-i64::from(NUMERIC_PRECISION), i64::from(*from));
            let dropped = u32::try_from(i64::from(*from) - kept).expect("no more digits are kept than there are");
            let value = column.value(row);
            // Nothing is left past the last digit.
            let Some(power) = 10i128.checked_pow(dropped) else {
                return Ok(Some(0));
            };
            let whole = if function == MathFunction::Round {
                rounded(value, power)
            } else {
                value / power
            };
            // From `kept` fractional digits to the result's scale.
            let shift = i64::from(*scale) - kept;
            let shifted = if shift >= 0 {
                10i128
                    .checked_pow(shift as u32)
                    .and_then(|power| whole.checked_mul(power))
            } else {
                Some(whole / 10i128.pow((-shift) as u32))
            };
            shifted
                .filter(|value| value.unsigned_abs() <= NUMERIC_MAX as u128)
                .map(Some)
                .ok_or_else(i128::overflow)
        })
        .collect::<Result<Decimal128Array, SqlError>>()?;
    Ok(Arc::new(values.with_data_type(result.clone())))
}
