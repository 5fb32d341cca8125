//! Casts to types with modifiers that are no part of a [`PgType`]: `TIMESTAMP(3)`, `INTERVAL DAY TO MINUTE`, `NUMERIC(50, 2)`.
//!
//! One rule: the fields of an interval decide how its text is read, and which part of it stays.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use sqlparser::ast::{self, ArrayElemTypeDef, DateTimeField};

use super::kinds::CastContext;
use super::scope::Scope;
use super::typed::{Shape, Typed, at, cast_to, literal};
use super::{Analyzer, Result};
use crate::error::{SqlError, state};
use crate::sql::functions::Modifier;
use crate::types::{IntervalField, IntervalFields, PgType, parse_interval_of, typmod};

/// The modifier of a written type, beside its [`PgType`].
pub fn of_type(data_type: &ast::DataType) -> Modifier {
    let digits = |digits: Option<u64>| digits.map(|digits| digits.min(6) as u32);
    match data_type {
        ast::DataType::Timestamp(precision, _) | ast::DataType::Time(precision, _) => Modifier {
            digits: digits(*precision),
            ..Modifier::default()
        },
        ast::DataType::Interval { fields, precision } => Modifier {
            digits: digits(*precision),
            fields: fields.as_ref().map(fields_of_type),
            number: None,
        },
        ast::DataType::Numeric(_) | ast::DataType::Decimal(_) | ast::DataType::Dec(_) => {
            match PgType::parse_written(&data_type.to_string()) {
                Some((pg_type, Some(typmod))) => Modifier::of_typmod(&pg_type, typmod),
                _ => Modifier::default(),
            }
        }
        ast::DataType::Array(
            ArrayElemTypeDef::AngleBracket(item)
            | ArrayElemTypeDef::SquareBracket(item, _)
            | ArrayElemTypeDef::Parenthesis(item),
        ) => of_type(item),
        _ => Modifier::default(),
    }
}

/// `pg_attribute.atttypmod` of a type with a modifier; none of what [`PgType`] says by itself.
fn typmod_of(modifier: Modifier, pg_type: &PgType) -> Option<i32> {
    match pg_type {
        PgType::Array(item) | PgType::Shaped(item) => typmod_of(modifier, item),
        PgType::Numeric(Some(_)) => Some(pg_type.typmod()),
        PgType::Numeric(None) => modifier
            .number
            .map(|(precision, scale)| typmod::of_number(precision, scale)),
        PgType::Time | PgType::Timestamp | PgType::TimestampTz => modifier.digits.map(|digits| digits as i32),
        PgType::Interval if modifier.fields.is_some() || modifier.digits.is_some() => {
            Some(typmod::of_interval(modifier.fields, modifier.digits))
        }
        _ => None,
    }
}

/// The modifier of what is made of several, all of which have it and the type that is common to them.
pub fn shared(all: &[Typed], common: &PgType) -> Option<i32> {
    let mut all = all.iter();
    let first = all.next()?;
    let same = |typed: &Typed| typed.oid() == common.oid() && typed.typmod == first.typmod;
    (same(first) && all.all(same)).then_some(first.typmod)?
}

/// [`shared`] of values that may be rows.
pub fn shared_of(all: &[Typed], common: &Shape) -> Option<i32> {
    match common {
        Shape::Of(common) => shared(all, common),
        _ => None,
    }
}

impl Typed {
    /// With a modifier that a client is told.
    pub fn modified(self, typmod: Option<i32>) -> Typed {
        Typed { typmod, ..self }
    }
}

fn fields_of_type(fields: &ast::IntervalFields) -> IntervalFields {
    use IntervalField::{Day, Hour, Minute, Month, Second, Year};
    use ast::IntervalFields as Written;
    let (first, last) = match fields {
        Written::Year => (Year, Year),
        Written::Month => (Month, Month),
        Written::Day => (Day, Day),
        Written::Hour => (Hour, Hour),
        Written::Minute => (Minute, Minute),
        Written::Second => (Second, Second),
        Written::YearToMonth => (Year, Month),
        Written::DayToHour => (Day, Hour),
        Written::DayToMinute => (Day, Minute),
        Written::DayToSecond => (Day, Second),
        Written::HourToMinute => (Hour, Minute),
        Written::HourToSecond => (Hour, Second),
        Written::MinuteToSecond => (Minute, Second),
    };
    IntervalFields { first, last }
}

fn field(written: &DateTimeField) -> Option<IntervalField> {
    Some(match written {
        DateTimeField::Year | DateTimeField::Years => IntervalField::Year,
        DateTimeField::Month | DateTimeField::Months => IntervalField::Month,
        DateTimeField::Day | DateTimeField::Days => IntervalField::Day,
        DateTimeField::Hour | DateTimeField::Hours => IntervalField::Hour,
        DateTimeField::Minute | DateTimeField::Minutes => IntervalField::Minute,
        DateTimeField::Second | DateTimeField::Seconds => IntervalField::Second,
        _ => return None,
    })
}

impl Analyzer<'_> {
    /// A cast that is written, with all that the type says.
    pub fn cast_to_written(&self, typed: Typed, data_type: &ast::DataType, wanted: &PgType) -> Result<Typed> {
        let modifier = of_type(data_type);
        let typmod = typmod_of(modifier, wanted);
        Ok(self.cast_modified(typed, modifier, wanted)?.modified(typmod))
    }

    fn cast_modified(&self, typed: Typed, modifier: Modifier, wanted: &PgType) -> Result<Typed> {
        if modifier.is_none() {
            return self.cast(typed, wanted, CastContext::Explicit);
        }
        let position = typed.position;
        if let (Some(text), Some(fields), PgType::Interval) = (typed.literal(), modifier.fields, wanted) {
            let value = parse_interval_of(text, Some(fields)).map_err(|error| at(error, position))?;
            let value = ScalarValue::IntervalMonthDayNano(Some(modifier.interval(value)));
            return Ok(Typed::new(literal(value, wanted), wanted.clone(), position));
        }
        let typed = self.cast(typed, wanted, CastContext::Explicit)?;
        let typed = match (modifier.number, typed.pg_type()) {
            // A constant's own digits are not those that it shall have.
            (Some(_), PgType::Numeric(Some(_))) => Typed::new(
                cast_to(typed.expr, &PgType::Numeric(None)),
                PgType::Numeric(None),
                position,
            ),
            _ => typed,
        };
        Ok(Typed {
            expr: modifier.apply(typed.expr),
            ..typed
        })
    }

    /// `INTERVAL '...'` and the fields behind it.
    pub fn interval(&self, interval: &ast::Interval, scope: &Scope, position: Option<usize>) -> Result<Typed> {
        if matches!(interval.value.as_ref(), ast::Expr::Nested(_)) {
            return Err(at(
                SqlError::new(state::SYNTAX_ERROR, "syntax error at or near \"(\""),
                position.map(|position| position + "interval".len()),
            ));
        }
        let typed = self.expr(&interval.value, scope)?;
        let first = interval.leading_field.as_ref();
        let last = interval.last_field.as_ref().or(first);
        let fields = match (first.map(field), last.map(field)) {
            (Some(Some(first)), Some(Some(last))) if first <= last => Some(IntervalFields { first, last }),
            (None, _) => None,
            (Some(Some(_)), Some(Some(_))) => {
                let last = last.map(ToString::to_string).unwrap_or_default();
                let message = format!("syntax error at or near \"{last}\"");
                return Err(SqlError::new(state::SYNTAX_ERROR, message));
            }
            _ => {
                // `INTERVAL '2' WEEK`, which PostgreSQL lacks: a number alone counts in the written unit.
                let text = typed.literal().filter(|text| text.trim().parse::<f64>().is_ok());
                return match (text, last) {
                    (Some(text), Some(unit)) => {
                        let text = format!("{} {unit}", text.trim());
                        let literal = Expr::Literal(ScalarValue::Utf8(Some(text)), None);
                        self.cast(
                            Typed::unknown(literal, position),
                            &PgType::Interval,
                            CastContext::Explicit,
                        )
                    }
                    _ => Err(at(
                        SqlError::new(state::SYNTAX_ERROR, "syntax error in the fields of an interval"),
                        position,
                    )),
                };
            }
        };
        let digits = interval.fractional_seconds_precision.or(interval.leading_precision);
        let modifier = Modifier {
            digits: digits.map(|digits| digits.min(6) as u32),
            fields,
            number: None,
        };
        let typed = self.cast_modified(Typed { position, ..typed }, modifier, &PgType::Interval)?;
        Ok(typed.modified(typmod_of(modifier, &PgType::Interval)))
    }
}
