//! Modifiers of types, over values: `TIMESTAMP(3)` rounds to three digits of a second, `INTERVAL DAY` cuts
//! everything below a day, `NUMERIC(50, 2)` rounds and has a largest value.
//!
//! One rule: a modifier acts in a written cast and when a value is put into a column. Stored values do not know of it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, LargeBinaryBuilder, ListArray};
use arrow::datatypes::{
    DataType, FieldRef, IntervalMonthDayNano, IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType,
};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::casts;
use crate::error::{SqlError, state};
use crate::types::calendar::{PG_EPOCH_US, is_infinite};
use crate::types::varying::Numeric;
use crate::types::{IntervalFields, PgType, typmod};

/// The modifier behind a type's name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Modifier {
    /// Digits of a second; microseconds have 6.
    pub digits: Option<u32>,
    pub fields: Option<IntervalFields>,
    /// Precision and scale of a NUMERIC that is held with scales of its own.
    pub number: Option<(u16, i16)>,
}

impl Modifier {
    /// Whether it leaves every value as it is.
    pub fn is_none(&self) -> bool {
        self.digits.is_none_or(|digits| digits >= 6) && self.fields.is_none() && self.number.is_none()
    }

    /// Of a column's type, by `pg_attribute.atttypmod`.
    pub fn of_typmod(pg_type: &PgType, typmod: i32) -> Modifier {
        match pg_type {
            PgType::Array(item) => Modifier::of_typmod(item, typmod),
            PgType::Time | PgType::Timestamp | PgType::TimestampTz => Modifier {
                digits: u32::try_from(typmod).ok(),
                ..Modifier::default()
            },
            PgType::Interval => {
                let (fields, digits) = typmod::interval(typmod);
                Modifier {
                    digits,
                    fields,
                    number: None,
                }
            }
            PgType::Numeric(None) => Modifier {
                number: typmod::number(typmod),
                ..Modifier::default()
            },
            _ => Modifier::default(),
        }
    }

    /// A number of the modifier's scale. 22003 for one that has too many digits.
    fn rounded(&self, number: Numeric) -> Result<Numeric, SqlError> {
        let Some((precision, scale)) = self.number else {
            return Ok(number);
        };
        let overflow = |detail: String| {
            SqlError::new(state::NUMERIC_VALUE_OUT_OF_RANGE, "numeric field overflow")
                .detail(format!("A field with precision {precision}, scale {scale} {detail}."))
        };
        let Some(finite) = number.finite() else {
            return match number.is_nan() {
                true => Ok(number),
                false => Err(overflow("cannot hold an infinite value".to_string())),
            };
        };
        let made = finite.round(scale.into());
        let whole_digits = i32::from(precision) - i32::from(scale);
        if !made.is_below(whole_digits) {
            let bound = match whole_digits {
                0 => "1".to_string(),
                digits => format!("10^{digits}"),
            };
            return Err(overflow(format!("must round to an absolute value less than {bound}")));
        }
        Ok(made.padded(scale.max(0) as u32).into())
    }

    /// Rounded away from zero.
    fn round(&self, us: i64) -> i64 {
        let unit = 10_i64.pow(6 - self.digits.unwrap_or(6).min(6));
        let half = unit / 2 * us.signum();
        us.checked_add(half).map_or(us, |us| us / unit * unit)
    }

    pub fn interval(&self, value: IntervalMonthDayNano) -> IntervalMonthDayNano {
        let value = self.fields.map_or(value, |fields| fields.cut(value));
        let us = self.round(value.nanoseconds / 1_000);
        IntervalMonthDayNano {
            nanoseconds: us.checked_mul(1_000).unwrap_or(value.nanoseconds),
            ..value
        }
    }

    /// An expression with the modifier.
    pub fn apply(self, expr: Expr) -> Expr {
        let signature = Signature::any(1, Volatility::Immutable);
        ScalarUDF::from(Modified {
            modifier: self,
            signature,
        })
        .call(vec![expr])
    }

    /// A column's values with the modifier.
    pub fn column(&self, column: &ArrayRef) -> Result<ArrayRef, SqlError> {
        Ok(match column.data_type() {
            // PostgreSQL rounds away from its own epoch.
            DataType::Timestamp(..) => Arc::new(
                column
                    .as_primitive::<TimestampMicrosecondType>()
                    .unary::<_, TimestampMicrosecondType>(|us| match us.checked_sub(PG_EPOCH_US) {
                        Some(since) if !is_infinite(us) => self.round(since).saturating_add(PG_EPOCH_US),
                        _ => us,
                    })
                    .with_data_type(column.data_type().clone()),
            ),
            DataType::Time64(_) => Arc::new(
                column
                    .as_primitive::<Time64MicrosecondType>()
                    .unary::<_, Time64MicrosecondType>(|us| self.round(us)),
            ),
            DataType::Interval(_) => Arc::new(
                column
                    .as_primitive::<IntervalMonthDayNanoType>()
                    .unary::<_, IntervalMonthDayNanoType>(|value| self.interval(value)),
            ),
            DataType::LargeBinary if self.number.is_some() => {
                let numbers = column.as_binary::<i64>();
                let mut made = LargeBinaryBuilder::with_capacity(numbers.len(), numbers.values().len());
                let mut encoded = Vec::new();
                for number in numbers {
                    let Some(number) = number else {
                        made.append_null();
                        continue;
                    };
                    encoded.clear();
                    self.rounded(Numeric::decode(number))?.encode(&mut encoded);
                    made.append_value(&encoded);
                }
                Arc::new(made.finish())
            }
            DataType::List(item) => {
                let lists = column.as_list::<i32>();
                let values = self.column(lists.values())?;
                Arc::new(ListArray::new(
                    item.clone(),
                    lists.offsets().clone(),
                    values,
                    lists.nulls().cloned(),
                ))
            }
            _ => column.clone(),
        })
    }
}

/// A modifier as a function of one argument.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Modified {
    modifier: Modifier,
    signature: Signature,
}

impl ScalarUDFImpl for Modified {
    fn name(&self) -> &str {
        "type_modifier"
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(format!("type_modifier({}, {:?})", args[0].schema_name(), self.modifier))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments[0].clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(args.arg_fields[0].clone())
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        casts::map(&args.args[0], |column| self.modifier.column(column))
    }
}
