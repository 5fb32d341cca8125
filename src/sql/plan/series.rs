//! The arguments of `generate_series` in FROM: PostgreSQL's, in the engine's units.

use arrow::datatypes::{DataType, IntervalUnit};
use datafusion::common::ScalarValue;

use crate::error::SqlError;
use crate::sql::functions::undefined_function;
use crate::types::{InputStyle, PgType, TimeZone, scalar_from_text};

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// From, to and step of a series of integers, which is counted in BIGINT, or of instants. A quoted string is read as
/// the argument beside it; 42883 for arguments of other types.
pub fn bounds(name: &str, values: Vec<ScalarValue>, time_zone: &str) -> Result<Vec<ScalarValue>, SqlError> {
    let given: Vec<DataType> = values
        .iter()
        .map(|value| match value {
            ScalarValue::Utf8(_) => DataType::Null,
            other => other.data_type(),
        })
        .collect();
    let is_time = |kind: &DataType| matches!(kind, DataType::Date32 | DataType::Timestamp(..));
    let is_whole = |kind: &DataType| matches!(kind, DataType::Int16 | DataType::Int32 | DataType::Int64);
    let is_number = |kind: &DataType| is_whole(kind) || matches!(kind, DataType::Decimal128(..));
    let all = |fits: &dyn Fn(&DataType) -> bool| given.iter().all(|kind| kind.is_null() || fits(kind));
    let (first, step) = given.split_at(given.len().min(2));
    let time = first.iter().find(|kind| is_time(kind));
    let wanted = match (time, step) {
        (Some(time), [step]) if *step == INTERVAL || step.is_null() => {
            let fits = first.iter().all(|kind| kind.is_null() || is_time(kind));
            fits.then(|| [time.clone(), time.clone(), INTERVAL])
        }
        (None, [] | [_]) if first.len() == 2 && all(&is_whole) => {
            let known = given.iter().any(is_whole) || values.iter().all(ScalarValue::is_null);
            known.then_some([DataType::Int64, DataType::Int64, DataType::Int64])
        }
        (None, [] | [_]) if first.len() == 2 && all(&is_number) => {
            return Err(SqlError::unsupported(
                format!("{name} of type numeric is not supported"),
                "Divide a series of integers.",
            ));
        }
        _ => None,
    };
    let wanted = wanted.ok_or_else(|| undefined_function(name, &given))?;
    let style = InputStyle {
        time_zone: TimeZone::of_setting(time_zone),
        ..InputStyle::default()
    };
    let read = |(value, wanted): (ScalarValue, DataType)| match (&value, PgType::of_arrow(&wanted)) {
        (ScalarValue::Utf8(Some(text)), Some(wanted)) => {
            let array = scalar_from_text(&wanted, text, &style)?;
            Ok(ScalarValue::try_from_array(&array, 0)?)
        }
        (ScalarValue::Int16(_) | ScalarValue::Int32(_) | ScalarValue::Utf8(None), _) => Ok(value.cast_to(&wanted)?),
        _ => Ok(value),
    };
    values.into_iter().zip(wanted).map(read).collect()
}
