//! Functions of NUMERIC whose result has as many digits as its value asks for: `sqrt`, `exp`, `ln`, `log`, `power`,
//! `factorial`, `gcd`, `lcm`, `scale`, `trim_scale`, `width_bucket`, `to_number`.
//!
//! One rule: each value has PostgreSQL's own scale. With a double among the arguments the function is that of doubles.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int32Array, Int64Array};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type};
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::{fail, over_columns, undefined_function};
use crate::error::SqlError;
use crate::sql::error::out_of_range;
use crate::types::decimal::Decimal;
use crate::types::varying::Numeric;

mod buckets;
mod column;
mod divisors;
mod floats;
mod key;
mod power;
mod real;
mod series;
mod total;
mod variance;

pub use column::{Numbers, collect, is_exact};
pub use floats::TABLE;
pub use key::keys;
pub use series::series;
pub use total::Total;
pub use variance::all as variances;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum NumberFunction {
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

const NAMES: [(&str, NumberFunction); 15] = [
    ("sqrt", NumberFunction::Sqrt),
    ("exp", NumberFunction::Exp),
    ("ln", NumberFunction::Ln),
    ("log", NumberFunction::Log),
    ("log10", NumberFunction::Log),
    ("power", NumberFunction::Power),
    ("pow", NumberFunction::Power),
    ("factorial", NumberFunction::Factorial),
    ("gcd", NumberFunction::Gcd),
    ("lcm", NumberFunction::Lcm),
    ("scale", NumberFunction::Scale),
    ("min_scale", NumberFunction::MinScale),
    ("trim_scale", NumberFunction::TrimScale),
    ("width_bucket", NumberFunction::WidthBucket),
    ("to_number", NumberFunction::ToNumber),
];

/// One function per name.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    NAMES
        .iter()
        .map(|(name, function)| {
            Arc::new(ScalarUDF::from(NumericFunction {
                name,
                function: *function,
                signature: Signature::user_defined(Volatility::Immutable),
            }))
        })
        .collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct NumericFunction {
    name: &'static str,
    function: NumberFunction,
    signature: Signature,
}

/// The type that exact numbers of a type are read as.
fn decimal(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Null => Some(DataType::LargeBinary),
        known => is_exact(known).then(|| known.clone()),
    }
}

fn is_decimal(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Decimal128(_, _) | DataType::LargeBinary)
}

impl NumericFunction {
    fn types(&self, arguments: &[DataType]) -> Option<Vec<DataType>> {
        use DataType::{Float64, Int32, Int64, Utf8};
        let exact = arguments.iter().any(is_decimal) && !arguments.iter().any(DataType::is_floating);
        let number =
            |given: &DataType| given.is_numeric() || matches!(given, DataType::Null | Utf8 | DataType::LargeBinary);
        let real = || arguments.iter().all(number).then(|| vec![Float64; arguments.len()]);
        let decimals = || arguments.iter().map(decimal).collect::<Option<Vec<DataType>>>();
        match (self.function, arguments) {
            (NumberFunction::Sqrt | NumberFunction::Exp | NumberFunction::Ln | NumberFunction::Log, [_])
            | (NumberFunction::Power, [_, _]) => match exact {
                true => decimals(),
                false => real(),
            },
            (NumberFunction::Log, [_, _]) => decimals(),
            (NumberFunction::Factorial, [given]) if given.is_integer() || given.is_null() => Some(vec![Int64]),
            (NumberFunction::Gcd | NumberFunction::Lcm, [left, right]) => match (left, right) {
                _ if exact => decimals(),
                (DataType::Int16 | Int32 | DataType::Null, DataType::Int16 | Int32 | DataType::Null) => {
                    Some(vec![Int32; 2])
                }
                (left, right) => {
                    let integer = |given: &DataType| given.is_integer() || given.is_null();
                    (integer(left) && integer(right)).then(|| vec![Int64; 2])
                }
            },
            (NumberFunction::Scale | NumberFunction::MinScale | NumberFunction::TrimScale, [_]) => decimals(),
            (NumberFunction::WidthBucket, [_, list @ DataType::List(item)]) => {
                Some(vec![item.data_type().clone(), list.clone()])
            }
            (NumberFunction::WidthBucket, [operand, low, high, count]) if count.is_integer() || count.is_null() => {
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
            (NumberFunction::ToNumber, [_, _]) => Some(vec![Utf8, Utf8]),
            _ => None,
        }
    }

    fn result(&self, types: &[DataType]) -> DataType {
        match self.function {
            NumberFunction::Scale | NumberFunction::MinScale | NumberFunction::WidthBucket => DataType::Int32,
            NumberFunction::Factorial | NumberFunction::ToNumber => DataType::LargeBinary,
            _ if types.iter().any(is_decimal) => DataType::LargeBinary,
            NumberFunction::Gcd | NumberFunction::Lcm => types[0].clone(),
            NumberFunction::TrimScale | NumberFunction::Log if types.iter().all(is_exact) => DataType::LargeBinary,
            _ => DataType::Float64,
        }
    }

    fn undefined(&self, arguments: &[DataType]) -> datafusion::common::DataFusionError {
        fail(undefined_function(self.name, arguments))
    }

    /// The exact result of exact arguments.
    fn exact(&self, arguments: &[Numeric]) -> Result<Numeric, SqlError> {
        if self.function == NumberFunction::TrimScale {
            return Ok(arguments[0].map(|number| number.trimmed()));
        }
        let Some(numbers) = arguments.iter().map(Numeric::finite).collect::<Option<Vec<Decimal>>>() else {
            return self.special(arguments);
        };
        let made = match (self.function, numbers.as_slice()) {
            (NumberFunction::Sqrt, [value]) => real::square_root(value),
            (NumberFunction::Exp, [value]) => real::exponential(value),
            (NumberFunction::Ln, [value]) => real::logarithm(value),
            (NumberFunction::Log, [value]) => real::logarithm_of_base(&Decimal::whole(10), value),
            (NumberFunction::Log, [base, value]) => real::logarithm_of_base(base, value),
            (NumberFunction::Power, [base, exponent]) => power::power(base, exponent),
            (NumberFunction::Gcd, [left, right]) => divisors::greatest(left, right),
            (NumberFunction::Lcm, [left, right]) => divisors::least_multiple(left, right),
            _ => unreachable!("not a function of decimals"),
        };
        Ok(made?.into())
    }

    /// The result where an argument is NaN or infinite: that of doubles.
    fn special(&self, arguments: &[Numeric]) -> Result<Numeric, SqlError> {
        let doubles: Vec<f64> = arguments.iter().map(Numeric::double).collect();
        let made = match (self.function, doubles.as_slice()) {
            (NumberFunction::Sqrt, [value]) => floats::square_root(*value),
            (NumberFunction::Exp, [value]) => floats::exponential(*value),
            (NumberFunction::Ln, [value]) => floats::logarithm(*value, f64::ln),
            (NumberFunction::Log, [value]) => floats::logarithm(*value, f64::log10),
            (NumberFunction::Log, [base, value]) => {
                let (base, value) = (floats::logarithm(*base, f64::ln)?, floats::logarithm(*value, f64::ln)?);
                Ok(value / base)
            }
            (NumberFunction::Power, [base, exponent]) => floats::power(*base, *exponent),
            _ => Ok(f64::NAN),
        };
        Ok(Numeric::of_float(made?, 15))
    }
}

impl ScalarUDFImpl for NumericFunction {
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
                    arrow::compute::cast(column, wanted).map_err(|error| super::overflow::of_arrow(error, wanted))
                })
                .collect::<Result<_, SqlError>>()?;
            self.evaluate(&columns, rows, args.return_field.data_type())
        })
    }
}

impl NumericFunction {
    fn evaluate(&self, columns: &[ArrayRef], rows: usize, result: &DataType) -> Result<ArrayRef, SqlError> {
        let is_null = |row: usize| columns.iter().any(|column| column.is_null(row));
        let numbers = || {
            columns
                .iter()
                .map(|column| Numbers::of(column))
                .collect::<Option<Vec<Numbers<'_>>>>()
        };
        if *result == DataType::LargeBinary {
            let numbers = numbers();
            return collect(rows, |row| {
                if is_null(row) {
                    return Ok(None);
                }
                let made = match (self.function, &numbers) {
                    (NumberFunction::Factorial, _) => {
                        divisors::factorial(columns[0].as_primitive::<Int64Type>().value(row))?.into()
                    }
                    (_, Some(numbers)) => {
                        let values: Vec<Numeric> = numbers.iter().map(|column| column.value(row)).collect();
                        self.exact(&values)?
                    }
                    (_, None) => super::patterns::to_number(
                        columns[0].as_string::<i32>().value(row),
                        columns[1].as_string::<i32>().value(row),
                    )?,
                };
                Ok(Some(made))
            });
        }
        match self.function {
            NumberFunction::Scale | NumberFunction::MinScale => {
                let numbers = numbers().expect("planned over numbers");
                let made = (0..rows).map(|row| {
                    let number = numbers[0].get(row)?.finite()?;
                    let shown = match self.function {
                        NumberFunction::MinScale => number.trimmed(),
                        _ => number,
                    };
                    Some(shown.scale as i32)
                });
                Ok(Arc::new(made.collect::<Int32Array>()))
            }
            NumberFunction::WidthBucket if columns.len() == 2 => buckets::of_thresholds(&columns[0], &columns[1]),
            NumberFunction::WidthBucket => {
                let counts = columns[3].as_primitive::<Int32Type>();
                let numbers = numbers();
                let made = (0..rows).map(|row| {
                    if is_null(row) {
                        return Ok(None);
                    }
                    let count = counts.value(row);
                    match &numbers {
                        None => {
                            let at = |index: usize| columns[index].as_primitive::<Float64Type>().value(row);
                            buckets::of_doubles(at(0), at(1), at(2), count).map(Some)
                        }
                        Some(numbers) => {
                            let at = |index: usize| numbers[index].value(row);
                            buckets::of_decimals(&at(0), &at(1), &at(2), count).map(Some)
                        }
                    }
                });
                Ok(Arc::new(made.collect::<Result<Int32Array, SqlError>>()?))
            }
            NumberFunction::Gcd | NumberFunction::Lcm => {
                let of = |left: i64, right: i64| match self.function {
                    NumberFunction::Gcd => divisors::greatest_integer(left, right),
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
                        NumberFunction::Sqrt => floats::square_root(at(0, row)),
                        NumberFunction::Exp => floats::exponential(at(0, row)),
                        NumberFunction::Ln => floats::logarithm(at(0, row), f64::ln),
                        NumberFunction::Log => floats::logarithm(at(0, row), f64::log10),
                        _ => floats::power(at(0, row), at(1, row)),
                    };
                    value.map(Some)
                });
                Ok(Arc::new(made.collect::<Result<Float64Array, SqlError>>()?))
            }
        }
    }
}
