//! `+ - * / %` and unary minus with PostgreSQL's types and errors: 22003 instead of wrapping, 22012 for a zero
//! divisor, intervals from timestamps.
//!
//! One rule: the operator is chosen when the expression is planned, by the types of its operands, and is a function
//! of the plan from then on, so that batch queries and views cannot disagree.
//!
//! NUMERIC of a scale that the plan knows stays so, in 128 bits, where 38 digits hold every result: `+ - %` have the
//! larger scale, `*` the sum of both. Other results, and all of `/`, have a scale of their own (`types/varying.rs`).
//!
//! Not here: dates, times and intervals (`temporal.rs`), `^` and other functions (`math.rs`).

use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Datum, Decimal128Array};
use arrow::compute::kernels::numeric;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, Float32Type, Float64Type, IntervalUnit, TimeUnit, i256,
};
use arrow::error::ArrowError;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::kernel::{apply, binary_kernel};
use super::numeric::{Numbers, collect};
use super::operator::{ArithmeticOperator, Operands};
use super::overflow::{NUMERIC_MAX, NUMERIC_PRECISION, float_overflow, into_arrow, of_arrow};
use super::{fail, temporal};
use crate::error::{SqlError, state};
use crate::types::decimal::{self, division_by_zero};

/// Names of operands that are written out, together.
const NAME_BYTES_MAX: usize = 64;

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

fn numeric_of_integer(data_type: &DataType) -> Option<(u8, i8)> {
    Some(match data_type {
        DataType::Int16 => (5, 0),
        DataType::Int32 => (10, 0),
        DataType::Int64 => (19, 0),
        DataType::Decimal128(precision, scale) => (*precision, *scale),
        _ => return None,
    })
}

/// The type as which a result of DataFusion's own functions is read, if no column has the type that they make.
fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Int8 | DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Duration(_) | DataType::Interval(_) => INTERVAL,
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        other => other.clone(),
    }
}

/// Resolves an operator over two types; 42883 if there is none.
pub fn operands(operator: ArithmeticOperator, left: &DataType, right: &DataType) -> Result<Operands, SqlError> {
    let (left, right) = (plain(left), plain(right));
    let timestamp = |data_type: &DataType| matches!(data_type, DataType::Timestamp(_, _) | DataType::Time64(_));
    let plus = operator == ArithmeticOperator::Plus;
    // An untyped operand (NULL, a quoted literal, a parameter) takes the other's type, as in PostgreSQL.
    let (left, right) = match (&left, &right) {
        (DataType::Null, DataType::Null) => (DataType::Int64, DataType::Int64),
        // Only an interval can be added to a time.
        (DataType::Null | DataType::Utf8, other) if plus && timestamp(other) => (INTERVAL, right),
        (other, DataType::Null | DataType::Utf8) if plus && timestamp(other) => (left, INTERVAL),
        (DataType::Null | DataType::Utf8, other) if !matches!(other, DataType::Null | DataType::Utf8) => {
            (other.clone(), right)
        }
        (other, DataType::Null | DataType::Utf8) if !matches!(other, DataType::Null | DataType::Utf8) => {
            let other = left.clone();
            (left, other)
        }
        _ => (left, right),
    };
    numbers(operator, &left, &right)
        .or_else(|| temporal::operands(operator, &left, &right))
        .ok_or_else(|| super::undefined_operator(operator.symbol(), &left, &right))
}

fn numbers(operator: ArithmeticOperator, left: &DataType, right: &DataType) -> Option<Operands> {
    let is_number = |data_type: &DataType| data_type.is_numeric() || *data_type == DataType::LargeBinary;
    if !is_number(left) || !is_number(right) {
        return None;
    }
    let same = |data_type: DataType| Operands {
        left: data_type.clone(),
        right: data_type.clone(),
        result: data_type,
    };
    if left.is_floating() || right.is_floating() {
        let single = matches!((left, right), (DataType::Float32, DataType::Float32));
        return Some(same(if single { DataType::Float32 } else { DataType::Float64 }));
    }
    if left.is_integer() && right.is_integer() {
        let wider = if left.primitive_width() >= right.primitive_width() {
            left
        } else {
            right
        };
        return Some(same(wider.clone()));
    }
    let varying = Operands {
        left: left.clone(),
        right: right.clone(),
        result: DataType::LargeBinary,
    };
    let (Some((left_precision, left_scale)), Some((right_precision, right_scale))) =
        (numeric_of_integer(left), numeric_of_integer(right))
    else {
        return Some(varying);
    };
    let scale = i16::from(left_scale.max(right_scale));
    let whole = |precision: u8, scale: i8| i16::from(precision) - i16::from(scale);
    let larger = whole(left_precision, left_scale).max(whole(right_precision, right_scale));
    let (digits, scale) = match operator {
        ArithmeticOperator::Plus | ArithmeticOperator::Minus => (larger + scale + 1, scale),
        ArithmeticOperator::Modulo => (larger + scale, scale),
        ArithmeticOperator::Multiply => (
            i16::from(left_precision) + i16::from(right_precision),
            i16::from(left_scale) + i16::from(right_scale),
        ),
        ArithmeticOperator::Divide => return Some(varying),
    };
    if digits > i16::from(NUMERIC_PRECISION) || scale > digits.max(1) || left_scale < 0 || right_scale < 0 {
        return Some(varying);
    }
    Some(Operands {
        left: DataType::Decimal128(left_precision, left_scale),
        right: DataType::Decimal128(right_precision, right_scale),
        result: DataType::Decimal128(digits.max(1) as u8, scale as i8),
    })
}

/// The function of an operator.
pub fn function(operator: ArithmeticOperator) -> Arc<ScalarUDF> {
    static OPERATORS: std::sync::LazyLock<[Arc<ScalarUDF>; 5]> = std::sync::LazyLock::new(|| {
        ArithmeticOperator::ALL.map(|operator| Arc::new(ScalarUDF::from(Arithmetic::new(operator))))
    });
    OPERATORS[operator as usize].clone()
}

/// A binary arithmetic operator as a function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Arithmetic {
    operator: ArithmeticOperator,
    signature: Signature,
}

impl Arithmetic {
    fn new(operator: ArithmeticOperator) -> Arithmetic {
        Arithmetic {
            operator,
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Arithmetic {
    fn name(&self) -> &str {
        self.operator.symbol()
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        Ok(format!("({} {} {})", args[0], self.operator.symbol(), args[1]))
    }

    /// Made of the names of the operands, as the planner expects, which puts others of the same names in their place. It
    /// asks for the name of each node many times: of long ones a hash is left.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        // A chain is walked, not recursed into: each of its nodes is asked as many times as the chain is long.
        let mut operands = vec![(self.operator, &args[1])];
        let mut first = &args[0];
        while let Expr::ScalarFunction(call) = first
            && let Some(inner) = call.func.inner().downcast_ref::<Arithmetic>()
        {
            operands.push((inner.operator, &call.args[1]));
            first = &call.args[0];
        }
        let mut name = String::new();
        let mut operand = String::new();
        write!(name, "{}", first.schema_name())?;
        for (operator, right) in operands.iter().rev() {
            let symbol = operator.symbol();
            operand.clear();
            write!(operand, "{}", right.schema_name())?;
            if name.len() + operand.len() <= NAME_BYTES_MAX {
                write!(name, " {symbol} {operand}")?;
                continue;
            }
            let mut hasher = DefaultHasher::new();
            (&name, &operand).hash(&mut hasher);
            name.clear();
            write!(name, "{symbol} {:016x}", hasher.finish())?;
        }
        Ok(name)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let resolved = operands(self.operator, &arguments[0], &arguments[1]).map_err(fail)?;
        Ok(vec![resolved.left, resolved.right])
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(operands(self.operator, &arguments[0], &arguments[1])
            .map_err(fail)?
            .result)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let result_type = args.return_field.data_type();
        let [left, right] = args.args.as_slice() else {
            unreachable!("planned with two operands")
        };
        let is_number = |data_type: &DataType| data_type.is_numeric() || *data_type == DataType::LargeBinary;
        if is_number(result_type) && is_number(&left.data_type()) && is_number(&right.data_type()) {
            return apply(left, right, |left, right| {
                evaluate_numbers(self.operator, left, right, result_type)
            });
        }
        temporal::evaluate(self.operator, left, right, result_type, &args)
    }
}

/// `left operator right` over numbers of the types that [`operands`] gave.
pub fn evaluate_numbers(
    operator: ArithmeticOperator,
    left: &dyn Datum,
    right: &dyn Datum,
    result: &DataType,
) -> Result<ArrayRef, SqlError> {
    let computed = match result {
        DataType::Float64 => floats::<Float64Type>(left, right, |l, r| float_operation(operator, l, r)),
        DataType::Float32 => floats::<Float32Type>(left, right, |l, r| {
            float_operation(operator, f64::from(l), f64::from(r)).and_then(|value| {
                let narrow = value as f32;
                if narrow.is_infinite() && value.is_finite() {
                    Err(float_overflow())
                } else {
                    Ok(narrow)
                }
            })
        }),
        DataType::Decimal128(precision, scale) => decimals(operator, left, right, *precision, *scale),
        DataType::LargeBinary => return varying(operator, left, right),
        _ => match operator {
            ArithmeticOperator::Plus => numeric::add(left, right),
            ArithmeticOperator::Minus => numeric::sub(left, right),
            ArithmeticOperator::Multiply => numeric::mul(left, right),
            ArithmeticOperator::Divide => numeric::div(left, right),
            ArithmeticOperator::Modulo => remainder(left, right),
        },
    };
    computed.map_err(|error| of_arrow(error, result))
}

/// Integer `%`. The smallest integer % -1 is 0 in PostgreSQL, an overflow in a CPU.
fn remainder(left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef, ArrowError> {
    macro_rules! integers {
        ($type:ty) => {
            binary_kernel::<$type, $type, $type>(left, right, |l, r| {
                if r == 0 {
                    Err(ArrowError::DivideByZero)
                } else {
                    Ok(l.checked_rem(r).unwrap_or(0))
                }
            })
            .map(|array| Arc::new(array) as ArrayRef)
        };
    }
    match left.get().0.data_type() {
        DataType::Int16 => integers!(arrow::datatypes::Int16Type),
        DataType::Int32 => integers!(arrow::datatypes::Int32Type),
        _ => integers!(arrow::datatypes::Int64Type),
    }
}

#[inline]
fn float_operation(operator: ArithmeticOperator, left: f64, right: f64) -> Result<f64, SqlError> {
    let result = match operator {
        ArithmeticOperator::Plus => left + right,
        ArithmeticOperator::Minus => left - right,
        ArithmeticOperator::Multiply => left * right,
        ArithmeticOperator::Divide | ArithmeticOperator::Modulo => {
            if right == 0.0 && !left.is_nan() {
                return Err(division_by_zero());
            }
            if operator == ArithmeticOperator::Divide {
                left / right
            } else {
                left % right
            }
        }
    };
    if result.is_infinite() && left.is_finite() && right.is_finite() {
        return Err(float_overflow());
    }
    let vanished = match operator {
        ArithmeticOperator::Multiply => left != 0.0 && right != 0.0,
        ArithmeticOperator::Divide => left != 0.0 && right.is_finite(),
        ArithmeticOperator::Plus | ArithmeticOperator::Minus | ArithmeticOperator::Modulo => false,
    };
    if vanished && result == 0.0 {
        return Err(SqlError::new(
            state::NUMERIC_VALUE_OUT_OF_RANGE,
            "value out of range: underflow",
        ));
    }
    // A CPU makes NaNs of both signs, which are sorted and compared as two values.
    Ok(if result.is_nan() { f64::NAN } else { result })
}

fn floats<T: ArrowPrimitiveType>(
    left: &dyn Datum,
    right: &dyn Datum,
    operation: impl Fn(T::Native, T::Native) -> Result<T::Native, SqlError>,
) -> Result<ArrayRef, ArrowError> {
    let array = binary_kernel::<T, T, T>(left, right, |l, r| operation(l, r).map_err(into_arrow))?;
    Ok(Arc::new(array))
}

/// Over exact numbers of any types.
fn varying(operator: ArithmeticOperator, left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef, SqlError> {
    let ((left, left_is_scalar), (right, right_is_scalar)) = (left.get(), right.get());
    let numbers = |column| Numbers::of(column).expect("planned over exact numbers");
    let (lefts, rights) = (numbers(left), numbers(right));
    let rows = match left_is_scalar {
        true => right.len(),
        false => left.len(),
    };
    let at = |is_scalar: bool, row: usize| if is_scalar { 0 } else { row };
    collect(rows, |row| {
        let pair = lefts
            .get(at(left_is_scalar, row))
            .zip(rights.get(at(right_is_scalar, row)));
        let Some((l, r)) = pair else { return Ok(None) };
        let made = match operator {
            ArithmeticOperator::Plus => l.add(&r),
            ArithmeticOperator::Minus => l.subtract(&r),
            ArithmeticOperator::Multiply => l.multiply(&r),
            ArithmeticOperator::Divide => l.divide(&r),
            ArithmeticOperator::Modulo => l.modulo(&r),
        };
        made.map(Some)
    })
}

fn scale_of(datum: &dyn Datum) -> i8 {
    match datum.get().0.data_type() {
        DataType::Decimal128(_, scale) => *scale,
        _ => 0,
    }
}

/// 22003 where not even 256 bits hold it: scales reach from -38 to 38.
fn power_of_ten(exponent: i16) -> Result<i256, ArrowError> {
    let exponent = u32::try_from(exponent).expect("a result's scale is not below its operands'");
    let power = i256::from_i128(10).checked_pow(exponent);
    power.ok_or_else(|| into_arrow(decimal::overflow()))
}

/// A product that is 0 if one side is, even if the other is large.
fn scaled(value: i128, factor: i256) -> Option<i128> {
    i256::from_i128(value).checked_mul(factor)?.to_i128()
}

fn narrow(value: i256) -> Result<i128, ArrowError> {
    value
        .to_i128()
        .filter(|value| value.unsigned_abs() <= NUMERIC_MAX as u128)
        .ok_or_else(|| into_arrow(decimal::overflow()))
}

fn narrow_checked(value: Option<i128>) -> Result<i128, ArrowError> {
    value
        .filter(|value| value.unsigned_abs() <= NUMERIC_MAX as u128)
        .ok_or_else(|| into_arrow(decimal::overflow()))
}

fn decimals(
    operator: ArithmeticOperator,
    left: &dyn Datum,
    right: &dyn Datum,
    precision: u8,
    scale: i8,
) -> Result<ArrayRef, ArrowError> {
    let (left_scale, right_scale) = (i16::from(scale_of(left)), i16::from(scale_of(right)));
    let to = i16::from(scale);
    let array: Decimal128Array = match operator {
        ArithmeticOperator::Plus | ArithmeticOperator::Minus => {
            let left_factor = power_of_ten(to - left_scale)?;
            let right_factor = power_of_ten(to - right_scale)?;
            let plus = operator == ArithmeticOperator::Plus;
            let sum = |l: i128, r: i128| if plus { l.checked_add(r) } else { l.checked_sub(r) };
            match (left_factor.to_i128(), right_factor.to_i128()) {
                (Some(left_factor), Some(right_factor)) => {
                    binary_kernel::<Decimal128Type, Decimal128Type, Decimal128Type>(left, right, |l, r| {
                        let (l, r) = (l.checked_mul(left_factor), r.checked_mul(right_factor));
                        narrow_checked(l.zip(r).and_then(|(l, r)| sum(l, r)))
                    })?
                }
                _ => binary_kernel::<Decimal128Type, Decimal128Type, Decimal128Type>(left, right, |l, r| {
                    let (l, r) = (scaled(l, left_factor), scaled(r, right_factor));
                    narrow_checked(l.zip(r).and_then(|(l, r)| sum(l, r)))
                })?,
            }
        }
        ArithmeticOperator::Multiply => {
            binary_kernel::<Decimal128Type, Decimal128Type, Decimal128Type>(left, right, |l, r| {
                narrow_checked(l.checked_mul(r))
            })?
        }
        ArithmeticOperator::Divide => unreachable!("a quotient has a scale of its own"),
        ArithmeticOperator::Modulo => {
            let left_factor = power_of_ten(to - left_scale)?;
            let right_factor = power_of_ten(to - right_scale)?;
            binary_kernel::<Decimal128Type, Decimal128Type, Decimal128Type>(left, right, |l, r| {
                if r == 0 {
                    return Err(ArrowError::DivideByZero);
                }
                let l = i256::from_i128(l).checked_mul(left_factor);
                let r = i256::from_i128(r).checked_mul(right_factor);
                let (l, r) = l.zip(r).ok_or_else(|| into_arrow(decimal::overflow()))?;
                narrow(l.wrapping_rem(r))
            })?
        }
    };
    Ok(Arc::new(array.with_data_type(DataType::Decimal128(precision, scale))))
}

/// Unary minus over a number or an interval.
pub fn negate(value: &ColumnarValue) -> Result<ColumnarValue> {
    let data_type = value.data_type();
    let array = match value {
        ColumnarValue::Array(array) => array.clone(),
        ColumnarValue::Scalar(scalar) => scalar.to_array()?,
    };
    let negated = match Numbers::of(&array).filter(|_| data_type == DataType::LargeBinary) {
        Some(numbers) => {
            collect(array.len(), |row| Ok(numbers.get(row).map(|number| number.negated()))).map_err(fail)?
        }
        None => numeric::neg(&array).map_err(|error| fail(of_arrow(error, &data_type)))?,
    };
    // There is one NaN, and it is above all numbers.
    let negated: ArrayRef = match data_type {
        DataType::Float64 => Arc::new(
            negated
                .as_primitive::<Float64Type>()
                .unary::<_, Float64Type>(|value| if value.is_nan() { f64::NAN } else { value }),
        ),
        DataType::Float32 => Arc::new(
            negated
                .as_primitive::<Float32Type>()
                .unary::<_, Float32Type>(|value| if value.is_nan() { f32::NAN } else { value }),
        ),
        _ => negated,
    };
    Ok(match value {
        ColumnarValue::Array(_) => ColumnarValue::Array(negated),
        ColumnarValue::Scalar(_) => ColumnarValue::Scalar(ScalarValue::try_from_array(&negated, 0)?),
    })
}
