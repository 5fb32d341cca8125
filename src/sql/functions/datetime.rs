//! Functions of dates, times and intervals: `extract`, `date_part`, `date_trunc`, `age`, `make_*`, `justify_*`,
//! `timezone`, `to_timestamp`, and the formatted `to_char`, `to_date` (patterns: `patterns.rs`).
//!
//! One rule: the fields of a TIMESTAMPTZ are those of the wall clock in the session's time zone.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, IntervalMonthDayNanoArray,
    StringArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{
    DataType, Field, FieldRef, Float32Type, Float64Type, Int32Type, Int64Type, IntervalMonthDayNano,
    IntervalMonthDayNanoType, IntervalUnit, TimeUnit, TimestampMicrosecondType,
};
use bytes::BytesMut;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::aggregates::Summand;
use super::extracted::{instant_and_local, is_finite, part_as_double, part_of};
use super::numeric::{Numbers, collect};
use super::part::{DatePart, truncate, truncate_interval};
use super::patterns;
use super::temporal::{self, DAY_US};
use super::{fail, over_columns, type_name, undefined_function, zone};
use crate::error::{SqlError, state};
use crate::types::TimeZone;
use crate::types::calendar::{PG_EPOCH_DAYS, civil_from_days, days_from_civil, days_in_month, is_infinite};
use crate::types::float::write_f64;
use crate::types::varying::Numeric;
use crate::types::{IntervalStyle, write_interval};

const SECOND_US: i64 = 1_000_000;
const HOUR_US: i64 = 3_600 * SECOND_US;
const MINUTE_US: i64 = 60 * SECOND_US;
const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
const TIME: DataType = DataType::Time64(TimeUnit::Microsecond);
const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

fn timestamptz() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum DateFunction {
    Extract,
    DatePart,
    DateTrunc,
    TimeZone,
    Age,
    MakeDate,
    MakeTime,
    MakeTimestamp,
    MakeTimestampTz,
    MakeInterval,
    JustifyHours,
    JustifyDays,
    JustifyInterval,
    IsFinite,
    ToTimestamp,
    ToDate,
    ToChar,
}

const NAMES: [(&str, DateFunction); 17] = [
    ("extract", DateFunction::Extract),
    ("date_part", DateFunction::DatePart),
    ("date_trunc", DateFunction::DateTrunc),
    ("timezone", DateFunction::TimeZone),
    ("age", DateFunction::Age),
    ("make_date", DateFunction::MakeDate),
    ("make_time", DateFunction::MakeTime),
    ("make_timestamp", DateFunction::MakeTimestamp),
    ("make_timestamptz", DateFunction::MakeTimestampTz),
    ("make_interval", DateFunction::MakeInterval),
    ("justify_hours", DateFunction::JustifyHours),
    ("justify_days", DateFunction::JustifyDays),
    ("justify_interval", DateFunction::JustifyInterval),
    ("isfinite", DateFunction::IsFinite),
    ("to_timestamp", DateFunction::ToTimestamp),
    ("to_date", DateFunction::ToDate),
    ("to_char", DateFunction::ToChar),
];

/// One function per name.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    NAMES
        .iter()
        .map(|(name, function)| Arc::new(udf(name, *function)))
        .collect()
}

/// The function that `EXTRACT(field FROM source)` is planned as.
pub fn extract() -> Arc<ScalarUDF> {
    Arc::new(udf("extract", DateFunction::Extract))
}

fn udf(name: &'static str, function: DateFunction) -> ScalarUDF {
    let signature = Signature::user_defined(Volatility::Immutable);
    ScalarUDF::from(DateTime {
        name,
        function,
        signature,
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct DateTime {
    name: &'static str,
    function: DateFunction,
    signature: Signature,
}

/// A time-like type as columns have it; text is read as a timestamp.
fn temporal_type(data_type: &DataType, untyped: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Date32 | DataType::Date64 => DataType::Date32,
        DataType::Timestamp(_, None) => TIMESTAMP,
        DataType::Timestamp(_, Some(_)) => timestamptz(),
        DataType::Time32(_) | DataType::Time64(_) => TIME,
        DataType::Interval(_) | DataType::Duration(_) => INTERVAL,
        DataType::Utf8 | DataType::Null => untyped.clone(),
        _ => return None,
    })
}

fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric() || matches!(data_type, DataType::Null)
}

impl DateTime {
    fn coerced(&self, arguments: &[DataType]) -> Option<Vec<DataType>> {
        let text = |data_type: &DataType| matches!(data_type, DataType::Utf8 | DataType::Utf8View | DataType::Null);
        let numbers = |types: &[DataType]| {
            arguments
                .iter()
                .zip(types)
                .all(|(given, _)| is_number(given))
                .then(|| types[..arguments.len()].to_vec())
        };
        let (int, double) = (DataType::Int32, DataType::Float64);
        match (self.function, arguments) {
            (DateFunction::Extract | DateFunction::DatePart, [field, source]) if text(field) => {
                Some(vec![DataType::Utf8, temporal_type(source, &TIMESTAMP)?])
            }
            (DateFunction::DateTrunc, [field, source]) if text(field) => {
                let source = match temporal_type(source, &timestamptz())? {
                    DataType::Date32 => timestamptz(),
                    TIME => INTERVAL,
                    other => other,
                };
                Some(vec![DataType::Utf8, source])
            }
            (DateFunction::DateTrunc, [field, source, zone]) if text(field) && text(zone) => {
                temporal_type(source, &timestamptz())?;
                Some(vec![DataType::Utf8, timestamptz(), DataType::Utf8])
            }
            (DateFunction::TimeZone, [zone, source]) if *zone == INTERVAL => {
                match temporal_type(source, &timestamptz())? {
                    source @ DataType::Timestamp(_, _) => Some(vec![INTERVAL, source]),
                    _ => None,
                }
            }
            (DateFunction::TimeZone, [zone, source]) if text(zone) => {
                let source = match temporal_type(source, &timestamptz())? {
                    DataType::Date32 => timestamptz(),
                    source @ DataType::Timestamp(_, _) => source,
                    _ => return None,
                };
                Some(vec![DataType::Utf8, source])
            }
            (DateFunction::Age, [left, right]) => {
                let (left, right) = (temporal_type(left, &TIMESTAMP)?, temporal_type(right, &TIMESTAMP)?);
                let zoned = left == timestamptz() || right == timestamptz();
                let both = if zoned { timestamptz() } else { TIMESTAMP };
                Some(vec![both.clone(), both])
            }
            (DateFunction::MakeDate, [_, _, _]) => numbers(&[int.clone(), int.clone(), int]),
            (DateFunction::MakeTime, [_, _, _]) => numbers(&[int.clone(), int, double]),
            (DateFunction::MakeTimestamp | DateFunction::MakeTimestampTz, [_, _, _, _, _, _]) => {
                numbers(&[int.clone(), int.clone(), int.clone(), int.clone(), int, double])
            }
            (DateFunction::MakeTimestampTz, [_, _, _, _, _, _, zone]) if text(zone) => {
                let numbers = arguments[..6].iter().all(is_number);
                let fields = [
                    int.clone(),
                    int.clone(),
                    int.clone(),
                    int.clone(),
                    int,
                    double,
                    DataType::Utf8,
                ];
                numbers.then(|| fields.to_vec())
            }
            (DateFunction::MakeInterval, given) if given.len() <= 7 => numbers(&[
                int.clone(),
                int.clone(),
                int.clone(),
                int.clone(),
                int.clone(),
                int,
                double,
            ]),
            (DateFunction::JustifyHours | DateFunction::JustifyDays | DateFunction::JustifyInterval, [source]) => {
                (temporal_type(source, &INTERVAL)? == INTERVAL).then(|| vec![INTERVAL])
            }
            (DateFunction::IsFinite, [source]) => Some(vec![temporal_type(source, &TIMESTAMP)?]),
            (DateFunction::ToTimestamp, [source]) if is_number(source) => Some(vec![double]),
            // Not PostgreSQL's, but DataFusion's and harmless.
            (DateFunction::ToTimestamp, [source]) => {
                temporal_type(source, &timestamptz())?;
                Some(vec![timestamptz()])
            }
            (DateFunction::ToTimestamp | DateFunction::ToDate, [source, format]) if text(source) && text(format) => {
                Some(vec![DataType::Utf8, DataType::Utf8])
            }
            (DateFunction::ToChar, [source, format]) if text(format) => {
                let source = match source {
                    DataType::Int16 | DataType::Int32 | DataType::Int64 => DataType::Int64,
                    DataType::Float32 | DataType::Float64 | DataType::Decimal128(..) | DataType::LargeBinary => {
                        source.clone()
                    }
                    other => match temporal_type(other, &timestamptz())? {
                        DataType::Date32 => TIMESTAMP,
                        TIME => INTERVAL,
                        known => known,
                    },
                };
                Some(vec![source, DataType::Utf8])
            }
            _ => None,
        }
    }

    fn result(&self, arguments: &[DataType], field: Option<&str>) -> DataType {
        match self.function {
            DateFunction::Extract => {
                let part = field.and_then(DatePart::of_name);
                match (part, &arguments[1]) {
                    (Some(part), DataType::Date32 | DataType::Timestamp(..)) if part.is_infinite() => {
                        DataType::LargeBinary
                    }
                    (None, _) => DataType::LargeBinary,
                    (Some(part), _) => DataType::Decimal128(20, part.scale()),
                }
            }
            DateFunction::DatePart => DataType::Float64,
            DateFunction::DateTrunc => arguments[1].clone(),
            DateFunction::TimeZone => match &arguments[1] {
                DataType::Timestamp(_, Some(_)) => TIMESTAMP,
                _ => timestamptz(),
            },
            DateFunction::Age | DateFunction::MakeInterval => INTERVAL,
            DateFunction::JustifyHours | DateFunction::JustifyDays | DateFunction::JustifyInterval => INTERVAL,
            DateFunction::MakeDate | DateFunction::ToDate => DataType::Date32,
            DateFunction::MakeTime => TIME,
            DateFunction::MakeTimestamp => TIMESTAMP,
            DateFunction::MakeTimestampTz | DateFunction::ToTimestamp => timestamptz(),
            DateFunction::IsFinite => DataType::Boolean,
            DateFunction::ToChar => DataType::Utf8,
        }
    }
}

impl ScalarUDFImpl for DateTime {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.coerced(arguments)
            .ok_or_else(|| fail(undefined_function(self.name, arguments)))
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        let coerced = self.coerce_types(arguments)?;
        Ok(self.result(&coerced, None))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let coerced = self.coerce_types(&types)?;
        let field = match args.scalar_arguments.first() {
            Some(Some(ScalarValue::Utf8(Some(field)))) => Some(field.as_str()),
            _ => None,
        };
        Ok(Arc::new(Field::new(self.name, self.result(&coerced, field), true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let session = zone::of_session(&args.config_options);
        over_columns(&args, |columns, rows| {
            self.evaluate(columns, rows, args.return_field.data_type(), session)
        })
    }
}

/// Runs `each` for the rows where no argument is NULL.
fn rows_of<T>(
    columns: &[ArrayRef],
    rows: usize,
    each: impl Fn(usize) -> Result<T, SqlError>,
) -> Result<Vec<Option<T>>, SqlError> {
    (0..rows)
        .map(|row| match columns.iter().any(|column| column.is_null(row)) {
            true => Ok(None),
            false => each(row).map(Some),
        })
        .collect()
}

fn text(column: &ArrayRef) -> &StringArray {
    column.as_string()
}

fn int(column: &ArrayRef, row: usize) -> i64 {
    i64::from(column.as_primitive::<Int32Type>().value(row))
}

fn double(column: &ArrayRef, row: usize) -> f64 {
    column.as_primitive::<Float64Type>().value(row)
}

fn interval(column: &ArrayRef, row: usize) -> IntervalMonthDayNano {
    column.as_primitive::<IntervalMonthDayNanoType>().value(row)
}

/// Microseconds east of UTC.
fn displacement(east: IntervalMonthDayNano) -> Result<i64, SqlError> {
    if east.months != 0 || east.days != 0 {
        let mut shown = BytesMut::new();
        write_interval(east, IntervalStyle::Postgres, &mut shown);
        let message = format!(
            "interval time zone \"{}\" must not include months or days",
            String::from_utf8_lossy(&shown)
        );
        return Err(SqlError::new(state::INVALID_PARAMETER_VALUE, message));
    }
    Ok(east.nanoseconds / 1000 / SECOND_US * SECOND_US)
}

/// Seconds of `+05`, `-05:30`.
fn fixed_offset(name: &str) -> Option<i64> {
    let sign = match name.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let mut seconds = 0;
    for (part, unit) in name[1..].splitn(3, ':').zip([3_600, 60, 1]) {
        let digits = (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        seconds += part.parse::<i64>().ok().filter(|_| digits)? * unit;
    }
    Some(sign * seconds)
}

fn zone_named(name: &str) -> Result<TimeZone, SqlError> {
    TimeZone::parse(name).ok_or_else(|| {
        SqlError::new(
            state::INVALID_PARAMETER_VALUE,
            format!("time zone \"{name}\" not recognized"),
        )
    })
}

impl DateTime {
    fn evaluate(
        &self,
        columns: &[ArrayRef],
        rows: usize,
        result: &DataType,
        session: TimeZone,
    ) -> Result<ArrayRef, SqlError> {
        match self.function {
            DateFunction::DatePart => {
                let values = rows_of(columns, rows, |row| {
                    let (name, source) = (text(&columns[0]).value(row), &columns[1]);
                    part_as_double(name, source, row, session)
                })?;
                Ok(Arc::new(
                    values.into_iter().map(Option::flatten).collect::<Float64Array>(),
                ))
            }
            DateFunction::Extract => {
                let values = rows_of(columns, rows, |row| {
                    part_of(text(&columns[0]).value(row), &columns[1], row, session)
                })?;
                let values: Vec<Option<Numeric>> = values.into_iter().map(Option::flatten).collect();
                let DataType::Decimal128(_, to) = result else {
                    return collect(rows, |row| Ok(values[row].clone()));
                };
                let scaled = values.into_iter().map(|value| value?.units(*to));
                Ok(Arc::new(
                    scaled.collect::<Decimal128Array>().with_data_type(result.clone()),
                ))
            }
            DateFunction::DateTrunc => self.truncate(columns, rows, session),
            DateFunction::TimeZone => {
                let source = columns[1].as_primitive::<TimestampMicrosecondType>();
                let zoned = matches!(source.data_type(), DataType::Timestamp(_, Some(_)));
                let values = rows_of(columns, rows, |row| {
                    let value = source.value(row);
                    if is_infinite(value) {
                        return Ok(value);
                    }
                    if let DataType::Interval(_) = columns[0].data_type() {
                        let east = displacement(interval(&columns[0], row))?;
                        return Ok(if zoned { value + east } else { value - east });
                    }
                    let name = text(&columns[0]).value(row);
                    if let Some(east) = TimeZone::of_abbreviation(&name.to_lowercase()) {
                        let east = i64::from(east) * SECOND_US;
                        return Ok(if zoned { value + east } else { value - east });
                    }
                    let zone = zone_named(name)?;
                    Ok(if zoned {
                        zone::to_local(value, zone)
                    } else {
                        zone::from_local(value, zone)
                    })
                })?;
                Ok(Arc::new(
                    TimestampMicrosecondArray::from(values).with_data_type(result.clone()),
                ))
            }
            DateFunction::Age => {
                let values = rows_of(columns, rows, |row| {
                    let (_, left) = instant_and_local(&columns[0], row, session);
                    let (_, right) = instant_and_local(&columns[1], row, session);
                    age(left, right)
                })?;
                Ok(Arc::new(IntervalMonthDayNanoArray::from(values)))
            }
            DateFunction::MakeDate => {
                let values = rows_of(columns, rows, |row| {
                    let days = date_of(int(&columns[0], row), int(&columns[1], row), int(&columns[2], row))?;
                    Ok(days as i32)
                })?;
                Ok(Arc::new(Date32Array::from(values)))
            }
            DateFunction::MakeTime => {
                let values = rows_of(columns, rows, |row| time_of(&columns[0..3], row))?;
                Ok(Arc::new(Time64MicrosecondArray::from(values)))
            }
            DateFunction::MakeTimestamp | DateFunction::MakeTimestampTz => {
                let values = rows_of(columns, rows, |row| {
                    let days = date_of(int(&columns[0], row), int(&columns[1], row), int(&columns[2], row))?;
                    let time = time_of(&columns[3..6], row)?;
                    let local = days.checked_mul(DAY_US).and_then(|midnight| midnight.checked_add(time));
                    let local = local.ok_or_else(|| {
                        let at = |index: usize| int(&columns[index], row);
                        let message = format!(
                            "timestamp out of range: {}-{:02}-{:02} {}:{:02}:{:02}",
                            at(0),
                            at(1),
                            at(2),
                            at(3),
                            at(4),
                            double(&columns[5], row)
                        );
                        SqlError::new(state::DATETIME_FIELD_OVERFLOW, message)
                    })?;
                    let zone = match (self.function, columns.get(6)) {
                        (DateFunction::MakeTimestampTz, Some(zone)) => {
                            let name = text(zone).value(row);
                            // East of Greenwich here, west of it in the name of a zone.
                            if let Some(seconds) = fixed_offset(name) {
                                return Ok(local - seconds * SECOND_US);
                            }
                            zone_named(name)?
                        }
                        (DateFunction::MakeTimestampTz, None) => session,
                        _ => return Ok(local),
                    };
                    Ok(zone::from_local(local, zone))
                })?;
                Ok(Arc::new(
                    TimestampMicrosecondArray::from(values).with_data_type(result.clone()),
                ))
            }
            DateFunction::MakeInterval => {
                let values = rows_of(columns, rows, |row| make_interval(columns, row))?;
                Ok(Arc::new(IntervalMonthDayNanoArray::from(values)))
            }
            DateFunction::JustifyHours | DateFunction::JustifyDays | DateFunction::JustifyInterval => {
                let values = rows_of(columns, rows, |row| {
                    let value = interval(&columns[0], row);
                    let hours = self.function != DateFunction::JustifyDays;
                    let days = self.function != DateFunction::JustifyHours;
                    justify(value, hours, days).ok_or_else(IntervalMonthDayNano::overflow)
                })?;
                Ok(Arc::new(IntervalMonthDayNanoArray::from(values)))
            }
            DateFunction::IsFinite => {
                let values = rows_of(columns, rows, |row| Ok(is_finite(&columns[0], row)))?;
                Ok(Arc::new(BooleanArray::from(values)))
            }
            DateFunction::ToTimestamp => {
                let values = rows_of(columns, rows, |row| match columns[0].data_type() {
                    DataType::Float64 => epoch(double(&columns[0], row)),
                    DataType::Utf8 => {
                        let read = patterns::parse(text(&columns[0]).value(row), text(&columns[1]).value(row))?;
                        Ok(match read.offset {
                            Some(seconds) => read.local_us - seconds * SECOND_US,
                            None => zone::from_local(read.local_us, session),
                        })
                    }
                    _ => Ok(columns[0].as_primitive::<TimestampMicrosecondType>().value(row)),
                })?;
                Ok(Arc::new(
                    TimestampMicrosecondArray::from(values).with_data_type(result.clone()),
                ))
            }
            DateFunction::ToDate => {
                let values = rows_of(columns, rows, |row| {
                    let read = patterns::parse(text(&columns[0]).value(row), text(&columns[1]).value(row))?;
                    Ok(read.local_us.div_euclid(DAY_US) as i32)
                })?;
                Ok(Arc::new(Date32Array::from(values)))
            }
            DateFunction::ToChar => {
                let values = rows_of(columns, rows, |row| {
                    let format = text(&columns[1]).value(row);
                    to_char(&columns[0], row, format, session)
                })?;
                Ok(Arc::new(
                    values.into_iter().map(Option::flatten).collect::<StringArray>(),
                ))
            }
        }
    }

    fn truncate(&self, columns: &[ArrayRef], rows: usize, session: TimeZone) -> Result<ArrayRef, SqlError> {
        let source = &columns[1];
        let field = |row: usize| text(&columns[0]).value(row);
        let unknown = |row: usize| {
            SqlError::new(
                state::INVALID_PARAMETER_VALUE,
                format!(
                    "unit \"{}\" not recognized for type {}",
                    field(row),
                    type_name(source.data_type())
                ),
            )
        };
        if *source.data_type() == INTERVAL {
            let values = rows_of(columns, rows, |row| {
                let part = DatePart::of_name(field(row)).ok_or_else(|| unknown(row))?;
                if part == DatePart::Week {
                    let message = format!("unit \"{}\" not supported for type interval", field(row).to_lowercase());
                    return Err(SqlError::new(state::FEATURE_NOT_SUPPORTED, message)
                        .detail("Months usually have fractional weeks."));
                }
                truncate_interval(part, interval(source, row)).ok_or_else(|| unknown(row))
            })?;
            return Ok(Arc::new(IntervalMonthDayNanoArray::from(values)));
        }
        let zoned = matches!(source.data_type(), DataType::Timestamp(_, Some(_)));
        let values = rows_of(columns, rows, |row| {
            let value = source.as_primitive::<TimestampMicrosecondType>().value(row);
            if is_infinite(value) {
                return Ok(value);
            }
            let part = DatePart::of_name(field(row)).ok_or_else(|| unknown(row))?;
            let zone = match columns.get(2) {
                Some(zone) => zone_named(text(zone).value(row))?,
                None if zoned => session,
                None => TimeZone::UTC,
            };
            let local = zone::to_local(value, zone);
            let truncated = truncate(part, local).ok_or_else(|| unknown(row))?;
            Ok(match part {
                // Within the hour the clock's distance from UTC stays: an hour comes twice in autumn.
                DatePart::Hour
                | DatePart::Minute
                | DatePart::Second
                | DatePart::Milliseconds
                | DatePart::Microseconds => value - (local - truncated),
                _ => zone::from_local(truncated, zone),
            })
        })?;
        Ok(Arc::new(
            TimestampMicrosecondArray::from(values).with_data_type(source.data_type().clone()),
        ))
    }
}

/// The difference in years, months, days and time, as a calendar counts it. Infinity is the last time that it has in
/// PostgreSQL.
fn age(left_us: i64, right_us: i64) -> Result<IntervalMonthDayNano, SqlError> {
    if left_us == i64::MIN || right_us == i64::MIN {
        return Err(SqlError::new(state::DATETIME_FIELD_OVERFLOW, "timestamp out of range"));
    }
    let negative = left_us < right_us;
    let (later, earlier) = if negative {
        (right_us, left_us)
    } else {
        (left_us, right_us)
    };
    let days_of = |us: i64| us.div_euclid(DAY_US) + if is_infinite(us) { i64::from(PG_EPOCH_DAYS) } else { 0 };
    let (later_days, earlier_days) = (days_of(later), days_of(earlier));
    let (y1, m1, d1) = civil_from_days(later_days);
    let (y0, m0, d0) = civil_from_days(earlier_days);
    let mut time = later.rem_euclid(DAY_US) - earlier.rem_euclid(DAY_US);
    let mut days = i64::from(d1) - i64::from(d0);
    let mut months = (y1 - y0) * 12 + i64::from(m1) - i64::from(m0);
    if time < 0 {
        time += DAY_US;
        days -= 1;
    }
    if days < 0 {
        // Days are borrowed from the month of the earlier date.
        days += i64::from(days_in_month(y0, m0));
        months -= 1;
    }
    let sign = if negative { -1 } else { 1 };
    Ok(IntervalMonthDayNano {
        months: (sign * months) as i32,
        days: (sign * days) as i32,
        nanoseconds: sign * time * 1000,
    })
}

fn date_of(year: i64, month: i64, day: i64) -> Result<i64, SqlError> {
    let range = || {
        let message = format!("date field value out of range: {year}-{month:02}-{day:02}");
        SqlError::new(state::DATETIME_FIELD_OVERFLOW, message)
    };
    if year == 0 || !(1..=12).contains(&month) || day < 1 {
        return Err(range());
    }
    // Year -1 is 1 BC.
    let civil = if year < 0 { year + 1 } else { year };
    if day > i64::from(days_in_month(civil, month as u32)) {
        return Err(range());
    }
    let days = days_from_civil(civil, month as u32, day as u32);
    // The days that PostgreSQL has.
    if !(-2_440_588..=2_145_042_905).contains(&days) {
        let message = format!("date out of range: {year}-{month:02}-{day:02}");
        return Err(SqlError::new(state::DATETIME_FIELD_OVERFLOW, message));
    }
    Ok(days)
}

fn time_of(columns: &[ArrayRef], row: usize) -> Result<i64, SqlError> {
    let (hour, minute, seconds) = (int(&columns[0], row), int(&columns[1], row), double(&columns[2], row));
    let whole = (0..24).contains(&hour) && (0..60).contains(&minute) && (0.0..=60.0).contains(&seconds);
    let midnight = hour == 24 && minute == 0 && seconds == 0.0;
    if !whole && !midnight {
        let message = format!("time field value out of range: {hour}:{minute:02}:{seconds:02}");
        return Err(SqlError::new(state::DATETIME_FIELD_OVERFLOW, message));
    }
    Ok(hour * HOUR_US + minute * MINUTE_US + (seconds * SECOND_US as f64).round_ties_even() as i64)
}

/// Years, months, weeks, days, hours, minutes, seconds; those left out are 0.
fn make_interval(columns: &[ArrayRef], row: usize) -> Result<IntervalMonthDayNano, SqlError> {
    let at = |index: usize| columns.get(index).map_or(0, |column| int(column, row));
    let overflow = IntervalMonthDayNano::overflow;
    let seconds = columns.get(6).map_or(0.0, |column| double(column, row));
    if seconds.is_nan() {
        return Err(overflow());
    }
    // A value that is too large for an integer comes out as the largest.
    let seconds_us = (seconds * SECOND_US as f64).round_ties_even() as i64;
    let time = (at(4) * HOUR_US + at(5) * MINUTE_US).saturating_add(seconds_us);
    Ok(IntervalMonthDayNano {
        // As PostgreSQL's integers, which wrap around.
        months: (at(0) * 12 + at(1)) as i32,
        days: (at(2) * 7 + at(3)) as i32,
        nanoseconds: time.checked_mul(1000).ok_or_else(overflow)?,
    })
}

/// Moves whole days out of the time, whole months out of the days, then makes the signs agree. `None` if
/// the result has too many days or months.
fn justify(value: IntervalMonthDayNano, hours: bool, days: bool) -> Option<IntervalMonthDayNano> {
    const DAY_NS: i64 = DAY_US * 1000;
    let mut value = value;
    // Whole months first where the days would not hold those of the time.
    let agree = value.days > 0 && value.nanoseconds > 0 || value.days < 0 && value.nanoseconds < 0;
    if hours && days && agree {
        value.months = value.months.checked_add(value.days / 30)?;
        value.days %= 30;
    }
    if hours {
        value.days = value.days.checked_add((value.nanoseconds / DAY_NS) as i32)?;
        value.nanoseconds %= DAY_NS;
    }
    if days {
        value.months = value.months.checked_add(value.days / 30)?;
        value.days %= 30;
    }
    if days && hours {
        if value.months > 0 && (value.days < 0 || value.days == 0 && value.nanoseconds < 0) {
            value.days += 30;
            value.months -= 1;
        } else if value.months < 0 && (value.days > 0 || value.days == 0 && value.nanoseconds > 0) {
            value.days -= 30;
            value.months += 1;
        }
    } else if days {
        if value.months > 0 && value.days < 0 {
            value.days += 30;
            value.months -= 1;
        } else if value.months < 0 && value.days > 0 {
            value.days -= 30;
            value.months += 1;
        }
    }
    if hours {
        if value.days > 0 && value.nanoseconds < 0 {
            value.nanoseconds += DAY_NS;
            value.days -= 1;
        } else if value.days < 0 && value.nanoseconds > 0 {
            value.nanoseconds -= DAY_NS;
            value.days += 1;
        }
    }
    Some(value)
}

fn epoch(seconds: f64) -> Result<i64, SqlError> {
    let overflow = |message: String| Err(SqlError::new(state::DATETIME_FIELD_OVERFLOW, message));
    if seconds.is_nan() {
        return overflow("timestamp cannot be NaN".to_string());
    }
    if seconds.is_infinite() {
        return Ok(if seconds > 0.0 { i64::MAX } else { i64::MIN });
    }
    let microseconds = (seconds * 1e6).round_ties_even();
    if microseconds.abs() >= i64::MAX as f64 || microseconds < (-2_440_588 * DAY_US) as f64 {
        let mut shown = BytesMut::new();
        write_f64(seconds, 1, &mut shown);
        return overflow(format!(
            "timestamp out of range: \"{}\"",
            String::from_utf8_lossy(&shown)
        ));
    }
    Ok(microseconds as i64)
}

/// A value by a format; of times none without one.
fn to_char(column: &ArrayRef, row: usize, format: &str, session: TimeZone) -> Result<Option<String>, SqlError> {
    let number = match column.data_type() {
        DataType::Int64 => patterns::integer(column.as_primitive::<Int64Type>().value(row), format)?,
        DataType::Float32 => {
            let value = column.as_primitive::<Float32Type>().value(row);
            patterns::double(value.into(), f32::DIGITS as usize, format)?
        }
        DataType::Float64 => patterns::double(double(column, row), f64::DIGITS as usize, format)?,
        DataType::Decimal128(..) | DataType::LargeBinary => {
            let numbers = Numbers::of(column).expect("a column of NUMERIC");
            patterns::decimal(&numbers.value(row), format)?
        }
        _ if format.is_empty() || !is_finite(column, row) => return Ok(None),
        DataType::Interval(_) => patterns::interval(interval(column, row), format)?,
        _ => {
            let (instant, local) = instant_and_local(column, row, session);
            let zoned = matches!(column.data_type(), DataType::Timestamp(_, Some(_)));
            patterns::timestamp(local, zoned.then_some((instant, session)), format)?
        }
    };
    Ok(Some(number))
}

/// An interval as PostgreSQL compares it: microseconds, months of 30 days.
pub fn comparable(value: IntervalMonthDayNano) -> i128 {
    let days = i128::from(value.months) * 30 + i128::from(value.days);
    days * i128::from(temporal::DAY_US) + i128::from(value.nanoseconds / 1000)
}
