//! Functions of NUMERIC whose result has as many digits as its value asks for: `sqrt`, `exp`, `ln`, `log`, `power`,
//! `factorial`, `gcd`, `lcm`, `scale`, `trim_scale`, `width_bucket`, `to_number`.
//!
//! One rule: a constant has PostgreSQL's own scale. A column has one scale, so each value of it is rounded to that.
//! With a double among the arguments the function is that of doubles (`degrees.rs` has those of degrees).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int32Array, Int64Array};
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Float64Type, Int32Type, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::aggregates::{NUMERIC_MAX, NUMERIC_PRECISION, Summand};
use super::{fail, over_columns, undefined_function};
use crate::error::SqlError;
use crate::sql::error::out_of_range;
use crate::stop;
use crate::types::BARE_NUMERIC_SCALE;

mod buckets;
mod decimal;
mod divisors;
mod floats;
mod power;
mod real;

pub use decimal::Decimal;
pub use floats::TABLE;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Function {
    Sqrt,
    Exp,
    Ln,
    Log,
    Power,
    Factorial,
    Gcd,
    Lcm,
    Scale,
    MinScale,
    TrimScale,
    WidthBucket,
    ToNumber,
}

const NAMES: [(&str, Function); 15] = [
    ("sqrt", Function::Sqrt),
    ("exp", Function::Exp),
    ("ln", Function::Ln),
    ("log", Function::Log),
    ("log10", Function::Log),
    ("power", Function::Power),
    ("pow", Function::Power),
    ("factorial", Function::Factorial),
    ("gcd", Function::Gcd),
    ("lcm", Function::Lcm),
    ("scale", Function::Scale),
    ("min_scale", Function::MinScale),
    ("trim_scale", Function::TrimScale),
    ("width_bucket", Function::WidthBucket),
    ("to_number", Function::ToNumber),
];

/// One function per name.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    NAMES
        .iter()
        .map(|(name, function)| {
            Arc::new(ScalarUDF::from(Numeric {
                name,
                function: *function,
                signature: Signature::user_defined(Volatility::Immutable),
            }))
        })
        .collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Numeric {
    name: &'static str,
    function: Function,
    signature: Signature,
}

/// The decimal type that holds the values of a type.
fn decimal(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Int16 | DataType::Int32 => DataType::Decimal128(10, 0),
        DataType::Int64 => DataType::Decimal128(19, 0),
        DataType::Decimal128(precision, scale) if *scale >= 0 => DataType::Decimal128(*precision, *scale),
        DataType::Decimal128(_, _) | DataType::Null => DataType::Decimal128(NUMERIC_PRECISION, 0),
        _ => return None,
    })
}

fn is_decimal(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Decimal128(_, _))
}

impl Numeric {
    fn types(&self, arguments: &[DataType]) -> Option<Vec<DataType>> {
        use DataType::{Float64, Int32, Int64, Utf8};
        let exact = arguments.iter().any(is_decimal) && !arguments.iter().any(DataType::is_floating);
        let number = |given: &DataType| given.is_numeric() || matches!(given, DataType::Null | Utf8);
        let real = || arguments.iter().all(number).then(|| vec![Float64; arguments.len()]);
        let decimals = || arguments.iter().map(decimal).collect::<Option<Vec<DataType>>>();
        match (self.function, arguments) {
            (Function::Sqrt | Function::Exp | Function::Ln | Function::Log, [_]) | (Function::Power, [_, _]) => {
                match exact {
                    true => decimals(),
                    false => real(),
                }
            }
            (Function::Log, [_, _]) => decimals(),
            (Function::Factorial, [given]) if given.is_integer() || given.is_null() => Some(vec![Int64]),
            (Function::Gcd | Function::Lcm, [left, right]) => match (left, right) {
                _ if exact => decimals(),
                (DataType::Int16 | Int32 | DataType::Null, DataType::Int16 | Int32 | DataType::Null) => {
                    Some(vec![Int32; 2])
                }
                (left, right) => {
                    let integer = |given: &DataType| given.is_integer() || given.is_null();
                    (integer(left) && integer(right)).then(|| vec![Int64; 2])
                }
            },
            (Function::Scale | Function::MinScale | Function::TrimScale, [_]) => decimals(),
            (Function::WidthBucket, [_, list @ DataType::List(item)]) => {
                Some(vec![item.data_type().clone(), list.clone()])
            }
            (Function::WidthBucket, [operand, low, high, count]) if count.is_integer() || count.is_null() => {
                let bounds = [operand, low, high];
                let exact = bounds.iter().all(|bound| !bound.is_floating());
                let mut types: Vec<DataType> = bounds
                    .iter()
                    .map(|bound| match exact {
                        true => decimal(bound),
                        false => number(bound).then_some(Float64),
                    })
                    .collect::<Option<_>>()?;
                types.push(Int32);
                Some(types)
            }
            (Function::ToNumber, [_, _]) => Some(vec![Utf8, Utf8]),
            _ => None,
        }
    }

    /// The type of the result for a column.
    fn result(&self, types: &[DataType]) -> DataType {
        let scale = types
            .iter()
            .filter_map(|data_type| match data_type {
                DataType::Decimal128(_, scale) => Some(*scale),
                _ => None,
            })
            .max();
        let numeric = |scale| DataType::Decimal128(NUMERIC_PRECISION, scale);
        match (self.function, scale) {
            (Function::Scale | Function::MinScale | Function::WidthBucket, _) => DataType::Int32,
            (Function::Factorial, _) => numeric(0),
            (Function::ToNumber, _) => numeric(BARE_NUMERIC_SCALE),
            (Function::Gcd | Function::Lcm, Some(scale)) => numeric(scale),
            (Function::Gcd | Function::Lcm, None) => types[0].clone(),
            // A bare NUMERIC does not show zeros.
            (Function::TrimScale, Some(scale)) => numeric(scale.max(BARE_NUMERIC_SCALE)),
            (_, Some(scale)) => numeric(scale.max(16)),
            (_, None) => DataType::Float64,
        }
    }

    fn undefined(&self, arguments: &[DataType]) -> datafusion::common::DataFusionError {
        fail(undefined_function(self.name, arguments))
    }

    /// The exact result of exact arguments.
    fn exact(&self, arguments: &[Decimal]) -> Result<Decimal, SqlError> {
        match (self.function, arguments) {
            (Function::Sqrt, [value]) => real::square_root(*value),
            (Function::Exp, [value]) => real::exponential(*value),
            (Function::Ln, [value]) => real::logarithm(*value),
            (Function::Log, [value]) => real::logarithm_of_base(Decimal { value: 10, scale: 0 }, *value),
            (Function::Log, [base, value]) => real::logarithm_of_base(*base, *value),
            (Function::Power, [base, exponent]) => power::power(*base, *exponent),
            (Function::Gcd, [left, right]) => divisors::greatest(*left, *right),
            (Function::Lcm, [left, right]) => divisors::least_multiple(*left, *right),
            (Function::TrimScale, [value]) => Ok(value.trimmed()),
            _ => unreachable!("not a function of decimals"),
        }
    }

    /// The result of constants, if they have a scale of their own.
    fn constant(&self, types: &[DataType], values: &[Option<&ScalarValue>]) -> Option<Decimal> {
        if matches!(self.function, Function::ToNumber) {
            let [
                Some(ScalarValue::Utf8(Some(text))),
                Some(ScalarValue::Utf8(Some(format))),
            ] = values
            else {
                return None;
            };
            return super::patterns::to_number(text, format).ok();
        }
        if !self.gives_decimals(types) {
            return None;
        }
        let values = values.iter().zip(types).map(|(value, wanted)| {
            let value = (*value)?.cast_to(wanted).ok()?;
            match value {
                ScalarValue::Decimal128(Some(value), _, scale) => Some(Decimal {
                    value,
                    scale: scale as u32,
                }),
                _ => None,
            }
        });
        self.exact(&values.collect::<Option<Vec<Decimal>>>()?).ok()
    }

    fn gives_decimals(&self, types: &[DataType]) -> bool {
        types.iter().all(is_decimal)
            && !matches!(
                self.function,
                Function::Scale | Function::MinScale | Function::WidthBucket
            )
    }
}

impl ScalarUDFImpl for Numeric {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.types(arguments).ok_or_else(|| self.undefined(arguments))
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(self.result(&self.coerce_types(arguments)?))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let types = self.coerce_types(&types)?;
        let result = match self.constant(&types, args.scalar_arguments) {
            Some(Decimal { scale, .. }) => {
                // One digit less than a bare NUMERIC, which would not show its zeros.
                let bare = scale == BARE_NUMERIC_SCALE as u32;
                DataType::Decimal128(NUMERIC_PRECISION - u8::from(bare), scale as i8)
            }
            None => self.result(&types),
        };
        Ok(Arc::new(Field::new(self.name, result, true)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let given: Vec<DataType> = args.args.iter().map(ColumnarValue::data_type).collect();
        let types = self.types(&given).ok_or_else(|| self.undefined(&given))?;
        over_columns(&args, |columns, rows| {
            let columns: Vec<ArrayRef> = columns
                .iter()
                .zip(&types)
                .map(|(column, wanted)| {
                    if column.data_type() == wanted {
                        return Ok(column.clone());
                    }
                    arrow::compute::cast(column, wanted).map_err(|error| super::arithmetic::of_arrow(error, wanted))
                })
                .collect::<Result<_, SqlError>>()?;
            self.evaluate(&columns, rows, &types, args.return_field.data_type())
        })
    }
}

fn decimal_at(column: &ArrayRef, row: usize) -> Decimal {
    let column = column.as_primitive::<Decimal128Type>();
    Decimal {
        value: column.value(row),
        scale: column.scale().max(0) as u32,
    }
}

impl Numeric {
    fn evaluate(
        &self,
        columns: &[ArrayRef],
        rows: usize,
        types: &[DataType],
        result: &DataType,
    ) -> Result<ArrayRef, SqlError> {
        let is_null = |row: usize| columns.iter().any(|column| column.is_null(row));
        let look = |row: usize| {
            if row.is_multiple_of(1024) {
                stop::check()
            } else {
                Ok(())
            }
        };
        if let DataType::Decimal128(_, scale) = result {
            let made = (0..rows).map(|row| {
                look(row)?;
                if is_null(row) {
                    return Ok(None);
                }
                let value = match self.function {
                    Function::Factorial => divisors::factorial(columns[0].as_primitive::<Int64Type>().value(row))?,
                    Function::ToNumber => super::patterns::to_number(
                        columns[0].as_string::<i32>().value(row),
                        columns[1].as_string::<i32>().value(row),
                    )?,
                    _ => {
                        let values: Vec<Decimal> = columns.iter().map(|column| decimal_at(column, row)).collect();
                        self.exact(&values)?
                    }
                };
                let value = value.at_scale(*scale as u32);
                value
                    .filter(|value| value.abs() <= NUMERIC_MAX)
                    .map(Some)
                    .ok_or_else(i128::overflow)
            });
            let made: Decimal128Array = made.collect::<Result<_, SqlError>>()?;
            return Ok(Arc::new(made.with_data_type(result.clone())));
        }
        match self.function {
            Function::Scale | Function::MinScale => {
                let bare = types[0] == DataType::Decimal128(NUMERIC_PRECISION, BARE_NUMERIC_SCALE);
                let made = (0..rows).map(|row| {
                    (!is_null(row)).then(|| {
                        let value = decimal_at(&columns[0], row);
                        let shown = if self.function == Function::MinScale || bare {
                            value.trimmed()
                        } else {
                            value
                        };
                        shown.scale as i32
                    })
                });
                Ok(Arc::new(made.collect::<Int32Array>()))
            }
            Function::WidthBucket if columns.len() == 2 => buckets::of_thresholds(&columns[0], &columns[1]),
            Function::WidthBucket => {
                let counts = columns[3].as_primitive::<Int32Type>();
                let made = (0..rows).map(|row| {
                    if is_null(row) {
                        return Ok(None);
                    }
                    let count = counts.value(row);
                    match types[0] {
                        DataType::Float64 => {
                            let at = |index: usize| columns[index].as_primitive::<Float64Type>().value(row);
                            buckets::of_doubles(at(0), at(1), at(2), count).map(Some)
                        }
                        _ => {
                            let at = |index: usize| decimal_at(&columns[index], row);
                            buckets::of_decimals(at(0), at(1), at(2), count).map(Some)
                        }
                    }
                });
                Ok(Arc::new(made.collect::<Result<Int32Array, SqlError>>()?))
            }
            Function::Gcd | Function::Lcm => {
                let of = |left: i64, right: i64| match self.function {
                    Function::Gcd => divisors::greatest_integer(left, right),
                    _ => divisors::least_multiple_integer(left, right),
                };
                if *result == DataType::Int32 {
                    let at = |index: usize, row| i64::from(columns[index].as_primitive::<Int32Type>().value(row));
                    let made = (0..rows).map(|row| match is_null(row) {
                        true => Ok(None),
                        false => i32::try_from(of(at(0, row), at(1, row)))
                            .map(Some)
                            .map_err(|_| out_of_range("integer")),
                    });
                    return Ok(Arc::new(made.collect::<Result<Int32Array, SqlError>>()?));
                }
                let at = |index: usize, row| columns[index].as_primitive::<Int64Type>().value(row);
                let made = (0..rows).map(|row| match is_null(row) {
                    true => Ok(None),
                    false => i64::try_from(of(at(0, row), at(1, row)))
                        .map(Some)
                        .map_err(|_| out_of_range("bigint")),
                });
                Ok(Arc::new(made.collect::<Result<Int64Array, SqlError>>()?))
            }
            _ => {
                let at = |index: usize, row| columns[index].as_primitive::<Float64Type>().value(row);
                let made = (0..rows).map(|row| {
                    if is_null(row) {
                        return Ok(None);
                    }
                    let value = match self.function {
                        Function::Sqrt => floats::square_root(at(0, row)),
                        Function::Exp => floats::exponential(at(0, row)),
                        Function::Ln => floats::logarithm(at(0, row), f64::ln),
                        Function::Log => floats::logarithm(at(0, row), f64::log10),
                        _ => floats::power(at(0, row), at(1, row)),
                    };
                    value.map(Some)
                });
                Ok(Arc::new(made.collect::<Result<Float64Array, SqlError>>()?))
            }
        }
    }
}
