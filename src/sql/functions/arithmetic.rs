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

use arrow::array::{Array, ArrayRef, AsArray, Datum, Decimal128Array, PrimitiveArray, Scalar};
use arrow::compute::kernels::arity;
use arrow::compute::kernels::numeric;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, Float32Type, Float64Type, IntervalMonthDayNano, IntervalUnit,
    TimeUnit, i256,
};
use arrow::error::ArrowError;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::aggregates::{NUMERIC_MAX, NUMERIC_PRECISION, Summand, float_overflow};
use super::numeric::{Numbers, collect};
use super::{fail, temporal};
use crate::error::{SqlError, state};
use crate::types::decimal::{self, division_by_zero};

/// Names of operands that are written out, together.
const NAME_BYTES_MAX: usize = 64;
/// A binary arithmetic operator.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operator {
    Plus,
    Minus,
    Multiply,
    Divide,
    Modulo,
}

impl Operator {
    pub const ALL: [Operator; 5] = [
        Operator::Plus,
        Operator::Minus,
        Operator::Multiply,
        Operator::Divide,
        Operator::Modulo,
    ];

    pub fn symbol(self) -> &'static str {
        match self {
            Operator::Plus => "+",
            Operator::Minus => "-",
            Operator::Multiply => "*",
            Operator::Divide => "/",
            Operator::Modulo => "%",
        }
    }
}

/// The types that an operator works on, and the type of its result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operands {
    pub left: DataType,
    pub right: DataType,
    pub result: DataType,
}

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

/// DataFusion's own functions make types that no column has; what they are read as.
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
pub fn operands(operator: Operator, left: &DataType, right: &DataType) -> Result<Operands, SqlError> {
    let (left, right) = (plain(left), plain(right));
    let timestamp = |data_type: &DataType| matches!(data_type, DataType::Timestamp(_, _) | DataType::Time64(_));
    let plus = operator == Operator::Plus;
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

fn numbers(operator: Operator, left: &DataType, right: &DataType) -> Option<Operands> {
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
        Operator::Plus | Operator::Minus => (larger + scale + 1, scale),
        Operator::Modulo => (larger + scale, scale),
        Operator::Multiply => (
            i16::from(left_precision) + i16::from(right_precision),
            i16::from(left_scale) + i16::from(right_scale),
        ),
        Operator::Divide => return Some(varying),
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
pub fn function(operator: Operator) -> Arc<ScalarUDF> {
    static OPERATORS: std::sync::LazyLock<[Arc<ScalarUDF>; 5]> =
        std::sync::LazyLock::new(|| Operator::ALL.map(|operator| Arc::new(ScalarUDF::from(Arithmetic::new(operator)))));
    OPERATORS[operator as usize].clone()
}

/// A binary arithmetic operator as a function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Arithmetic {
    operator: Operator,
    signature: Signature,
}

impl Arithmetic {
    fn new(operator: Operator) -> Arithmetic {
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
        // A chain is walked, not recursed into: its length is how often each of its nodes is asked.
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

/// Runs a kernel over two values, of which each may be one value for all rows.
pub fn apply(
    left: &ColumnarValue,
    right: &ColumnarValue,
    kernel: impl FnOnce(&dyn Datum, &dyn Datum) -> Result<ArrayRef, SqlError>,
) -> Result<ColumnarValue> {
    match (left, right) {
        (ColumnarValue::Array(left), ColumnarValue::Array(right)) => {
            Ok(ColumnarValue::Array(kernel(left, right).map_err(fail)?))
        }
        (ColumnarValue::Array(left), ColumnarValue::Scalar(right)) => {
            let right = Scalar::new(right.to_array()?);
            Ok(ColumnarValue::Array(kernel(left, &right).map_err(fail)?))
        }
        (ColumnarValue::Scalar(left), ColumnarValue::Array(right)) => {
            let left = Scalar::new(left.to_array()?);
            Ok(ColumnarValue::Array(kernel(&left, right).map_err(fail)?))
        }
        (ColumnarValue::Scalar(left), ColumnarValue::Scalar(right)) => {
            let result = kernel(&left.to_array()?, &right.to_array()?).map_err(fail)?;
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?))
        }
    }
}

/// 22003, worded for the type that was too small.
pub fn out_of_range(data_type: &DataType) -> SqlError {
    let name = match data_type {
        DataType::Decimal128(_, _) | DataType::LargeBinary => return decimal::overflow(),
        DataType::Float32 | DataType::Float64 => return float_overflow(),
        DataType::Interval(_) => return IntervalMonthDayNano::overflow(),
        DataType::Int16 => "smallint",
        DataType::Int32 => "integer",
        _ => "bigint",
    };
    SqlError::new(state::NUMERIC_VALUE_OUT_OF_RANGE, format!("{name} out of range"))
}

/// What an Arrow kernel's refusal means to the user.
pub fn of_arrow(error: ArrowError, result: &DataType) -> SqlError {
    match error {
        ArrowError::DivideByZero => division_by_zero(),
        ArrowError::ArithmeticOverflow(_) => out_of_range(result),
        ArrowError::ExternalError(error) => match error.downcast::<SqlError>() {
            Ok(error) => *error,
            Err(error) => SqlError::new(state::INTERNAL_ERROR, error.to_string()),
        },
        other => SqlError::new(state::INTERNAL_ERROR, other.to_string()),
    }
}

/// Carries a [`SqlError`] out of an Arrow kernel; [`of_arrow`] takes it back.
pub fn into_arrow(error: SqlError) -> ArrowError {
    ArrowError::ExternalError(Box::new(error))
}

/// `left operator right` over numbers of the types that [`operands`] gave.
pub fn evaluate_numbers(
    operator: Operator,
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
            Operator::Plus => numeric::add(left, right),
            Operator::Minus => numeric::sub(left, right),
            Operator::Multiply => numeric::mul(left, right),
            Operator::Divide => numeric::div(left, right),
            Operator::Modulo => remainder(left, right),
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
fn float_operation(operator: Operator, left: f64, right: f64) -> Result<f64, SqlError> {
    let result = match operator {
        Operator::Plus => left + right,
        Operator::Minus => left - right,
        Operator::Multiply => left * right,
        Operator::Divide | Operator::Modulo => {
            if right == 0.0 && !left.is_nan() {
                return Err(division_by_zero());
            }
            if operator == Operator::Divide {
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
        Operator::Multiply => left != 0.0 && right != 0.0,
        Operator::Divide => left != 0.0 && right.is_finite(),
        Operator::Plus | Operator::Minus | Operator::Modulo => false,
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

/// Applies `operation` to the pairs that are not NULL; either side may be one value for all rows.
pub fn binary_kernel<L: ArrowPrimitiveType, R: ArrowPrimitiveType, O: ArrowPrimitiveType>(
    left: &dyn Datum,
    right: &dyn Datum,
    operation: impl Fn(L::Native, R::Native) -> Result<O::Native, ArrowError>,
) -> Result<PrimitiveArray<O>, ArrowError> {
    let (left, left_is_scalar) = left.get();
    let (right, right_is_scalar) = right.get();
    let (left, right) = (left.as_primitive::<L>(), right.as_primitive::<R>());
    match (left_is_scalar, right_is_scalar) {
        (true, false) if left.is_null(0) => Ok(PrimitiveArray::new_null(right.len())),
        (false, true) if right.is_null(0) => Ok(PrimitiveArray::new_null(left.len())),
        (true, false) => {
            let value = left.value(0);
            right.try_unary(|other| operation(value, other))
        }
        (false, true) => {
            let value = right.value(0);
            left.try_unary(|other| operation(other, value))
        }
        _ => arity::try_binary(left, right, operation),
    }
}

/// Over exact numbers of any types.
fn varying(operator: Operator, left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef, SqlError> {
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
            Operator::Plus => l.add(&r),
            Operator::Minus => l.subtract(&r),
            Operator::Multiply => l.multiply(&r),
            Operator::Divide => l.divide(&r),
            Operator::Modulo => l.modulo(&r),
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
    power.ok_or_else(|| into_arrow(i128::overflow()))
}

/// A product that is 0 if one side is, whatever the other is.
fn scaled(value: i128, factor: i256) -> Option<i128> {
    i256::from_i128(value).checked_mul(factor)?.to_i128()
}

fn narrow(value: i256) -> Result<i128, ArrowError> {
    value
        .to_i128()
        .filter(|value| value.unsigned_abs() <= NUMERIC_MAX as u128)
        .ok_or_else(|| into_arrow(i128::overflow()))
}

fn narrow_checked(value: Option<i128>) -> Result<i128, ArrowError> {
    value
        .filter(|value| value.unsigned_abs() <= NUMERIC_MAX as u128)
        .ok_or_else(|| into_arrow(i128::overflow()))
}

fn decimals(
    operator: Operator,
    left: &dyn Datum,
    right: &dyn Datum,
    precision: u8,
    scale: i8,
) -> Result<ArrayRef, ArrowError> {
    let (left_scale, right_scale) = (i16::from(scale_of(left)), i16::from(scale_of(right)));
    let to = i16::from(scale);
    let array: Decimal128Array = match operator {
        Operator::Plus | Operator::Minus => {
            let left_factor = power_of_ten(to - left_scale)?;
            let right_factor = power_of_ten(to - right_scale)?;
            let plus = operator == Operator::Plus;
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
        Operator::Multiply => binary_kernel::<Decimal128Type, Decimal128Type, Decimal128Type>(left, right, |l, r| {
            narrow_checked(l.checked_mul(r))
        })?,
        Operator::Divide => unreachable!("a quotient has a scale of its own"),
        Operator::Modulo => {
            let left_factor = power_of_ten(to - left_scale)?;
            let right_factor = power_of_ten(to - right_scale)?;
            binary_kernel::<Decimal128Type, Decimal128Type, Decimal128Type>(left, right, |l, r| {
                if r == 0 {
                    return Err(ArrowError::DivideByZero);
                }
                let l = i256::from_i128(l).checked_mul(left_factor);
                let r = i256::from_i128(r).checked_mul(right_factor);
                let (l, r) = l.zip(r).ok_or_else(|| into_arrow(i128::overflow()))?;
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
    Ok(match value {
        ColumnarValue::Array(_) => ColumnarValue::Array(negated),
        ColumnarValue::Scalar(_) => ColumnarValue::Scalar(ScalarValue::try_from_array(&negated, 0)?),
    })
}

/// PostgreSQL's way to multiply or divide an interval: what is left of a month becomes days, of a day time.
pub fn scale_interval(
    interval: IntervalMonthDayNano,
    scale: impl Fn(f64) -> f64,
) -> Result<IntervalMonthDayNano, SqlError> {
    const DAY_US: f64 = 86_400_000_000.0;
    // Rounds away what floats left over, to the microsecond, as PostgreSQL's TSROUND.
    let rounded = |seconds: f64| (seconds * 1_000_000.0).round_ties_even() / 1_000_000.0;
    let whole = |value: f64| -> Result<i32, SqlError> {
        if value.is_nan() || value >= f64::from(i32::MAX) || value <= f64::from(i32::MIN) {
            return Err(IntervalMonthDayNano::overflow());
        }
        Ok(value as i32)
    };
    let months = scale(f64::from(interval.months));
    let days = scale(f64::from(interval.days));
    let (whole_months, mut whole_days) = (whole(months)?, whole(days)?);
    let month_days = rounded((months - f64::from(whole_months)) * 30.0);
    let whole_month_days = whole(month_days)?;
    let mut rest = rounded((days - f64::from(whole_days) + month_days - f64::from(whole_month_days)) * 86_400.0);
    if rest.abs() >= 86_400.0 {
        whole_days += (rest / 86_400.0) as i32;
        rest -= f64::from((rest / 86_400.0) as i32) * 86_400.0;
    }
    let microseconds = (scale(interval.nanoseconds as f64 / 1000.0) + rest * 1_000_000.0).round_ties_even();
    if microseconds.is_nan() || microseconds.abs() > DAY_US * 106_751.0 {
        return Err(IntervalMonthDayNano::overflow());
    }
    Ok(IntervalMonthDayNano {
        months: whole_months,
        days: whole_days
            .checked_add(whole_month_days)
            .ok_or_else(IntervalMonthDayNano::overflow)?,
        nanoseconds: microseconds as i64 * 1000,
    })
}
