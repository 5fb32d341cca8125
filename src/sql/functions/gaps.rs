//! Filling gaps: the buckets that a row of a grouped query stands for, and values between two of them.
//!
//! One rule: a row stands for its own bucket and for those after it up to the next row of its group; the first one also for those
//! before it. Not here: how a query is made of these (`sql::analyze`).

use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, ListBuilder, PrimitiveArray, TimestampMicrosecondArray,
    TimestampMicrosecondBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Field, FieldRef, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType,
    TimeUnit, TimestampMicrosecondType,
};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::fail;
use super::temporal::DAY_US;
use crate::error::{SqlError, state};

/// Buckets that one row may stand for.
const BUCKETS_MAX: usize = 1_000_000;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum GapFunction {
    /// The mark of `time_bucket_gapfill`: the bucket, its width, the time, and maybe the first and last time.
    Bucket,
    /// The mark of `locf(value)`.
    Last,
    /// The mark of `interpolate(value)`.
    Between,
    /// The buckets that a row stands for: of the one before it, its own and the next one in its group, the width, the start and
    /// whether it is left out, the finish and whether it is included.
    Buckets,
    /// A value between two: of a bucket, its value, the next one, its value, and the bucket asked for.
    Value,
}

impl GapFunction {
    pub fn function(self) -> Arc<ScalarUDF> {
        static FUNCTIONS: LazyLock<[Arc<ScalarUDF>; 5]> = LazyLock::new(|| {
            use GapFunction::{Between, Bucket, Buckets, Last, Value};
            [Bucket, Last, Between, Buckets, Value].map(|function| Arc::new(ScalarUDF::from(GapUdf::of(function))))
        });
        FUNCTIONS[self as usize].clone()
    }

    /// The function that a call is of, if it is one of these.
    pub fn of(function: &ScalarUDF) -> Option<GapFunction> {
        function.inner().downcast_ref::<GapUdf>().map(|udf| udf.function)
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct GapUdf {
    function: GapFunction,
    signature: Signature,
}

impl GapUdf {
    fn of(function: GapFunction) -> GapUdf {
        GapUdf {
            function,
            signature: Signature::variadic_any(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for GapUdf {
    fn name(&self) -> &str {
        match self.function {
            GapFunction::Bucket => "time_bucket_gapfill",
            GapFunction::Last => "locf",
            GapFunction::Between => "interpolate",
            GapFunction::Buckets => "gap_buckets",
            GapFunction::Value => "gap_value",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(match self.function {
            GapFunction::Bucket | GapFunction::Last | GapFunction::Between => arguments[0].clone(),
            GapFunction::Buckets => DataType::List(Arc::new(Field::new_list_field(arguments[1].clone(), true))),
            GapFunction::Value => arguments[1].clone(),
        })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        Ok(ColumnarValue::Array(match self.function {
            GapFunction::Bucket | GapFunction::Last | GapFunction::Between => return Err(fail(misplaced())),
            GapFunction::Buckets => buckets(&arrays)?,
            GapFunction::Value => value(&arrays)?,
        }))
    }
}

/// 0A000 for a query without groups by buckets.
pub fn misplaced() -> SqlError {
    SqlError::new(
        state::FEATURE_NOT_SUPPORTED,
        "no top level time_bucket_gapfill in group by clause",
    )
}

/// 22023 for a range that is not known.
pub fn no_bound(what: &str) -> SqlError {
    SqlError::new(
        state::INVALID_PARAMETER_VALUE,
        format!("missing time_bucket_gapfill argument: could not infer {what} from WHERE clause"),
    )
    .hint("Specify start and finish as arguments or in the WHERE clause.")
}

fn buckets(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let time = |index: usize| arguments[index].as_primitive::<TimestampMicrosecondType>();
    let widths = arguments[3].as_primitive::<IntervalMonthDayNanoType>();
    let (before, own, next) = (time(0), time(1), time(2));
    // A bound may be a date.
    let instant = DataType::Timestamp(TimeUnit::Microsecond, None);
    let bounds = [4, 6].map(|index| match arguments[index].data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => Ok(arguments[index].clone()),
        _ => cast(&arguments[index], &instant),
    });
    let [starts, finishes] = bounds;
    let (starts, finishes) = (starts?, finishes?);
    let (starts, finishes) = (
        starts.as_primitive::<TimestampMicrosecondType>(),
        finishes.as_primitive::<TimestampMicrosecondType>(),
    );
    let (after_start, with_finish) = (arguments[5].as_boolean(), arguments[7].as_boolean());
    let at = |times: &TimestampMicrosecondArray, row: usize| times.is_valid(row).then(|| times.value(row));
    let item = Field::new_list_field(arguments[1].data_type().clone(), true);
    let builder = TimestampMicrosecondBuilder::new().with_data_type(arguments[1].data_type().clone());
    let mut lists = ListBuilder::new(builder).with_field(item);
    for row in 0..own.len() {
        let Some(bucket) = at(own, row) else {
            lists.values().append_null();
            lists.append(true);
            continue;
        };
        let width = widths.value(row);
        if width.months != 0 {
            return Err(fail(SqlError::new(
                state::FEATURE_NOT_SUPPORTED,
                "gaps cannot be filled by buckets of months or years",
            )));
        }
        let width = i64::from(width.days)
            .saturating_mul(DAY_US)
            .saturating_add(width.nanoseconds / 1000);
        let (Some(start), Some(finish)) = (at(starts, row), at(finishes, row)) else {
            let what = if at(starts, row).is_none() { "start" } else { "finish" };
            return Err(fail(no_bound(what)));
        };
        let start = start.saturating_add(i64::from(after_start.value(row)));
        let finish = finish.saturating_add(i64::from(with_finish.value(row)));
        // The bucket that the start is in.
        let first = start.saturating_sub(start.saturating_sub(bucket).rem_euclid(width));
        let earlier = match at(before, row) {
            None => (first, bucket.min(finish)),
            Some(_) => (bucket, bucket),
        };
        let later = (
            bucket.saturating_add(width).max(first),
            at(next, row).unwrap_or(i64::MAX).min(finish),
        );
        let count = |(from, to): (i64, i64)| to.saturating_sub(from).max(0) / width;
        if count(earlier).saturating_add(count(later)) > BUCKETS_MAX as i64 {
            return Err(fail(SqlError::new(
                state::PROGRAM_LIMIT_EXCEEDED,
                format!("time_bucket_gapfill would make more than {BUCKETS_MAX} buckets for one row"),
            )));
        }
        let mut append = |(from, to): (i64, i64)| {
            let mut next = from;
            while next < to {
                lists.values().append_value(next);
                next = next.saturating_add(width);
            }
        };
        append(earlier);
        append((bucket, bucket.saturating_add(1)));
        append(later);
        lists.append(true);
    }
    Ok(Arc::new(lists.finish()))
}

fn value(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let time = |index: usize| arguments[index].as_primitive::<TimestampMicrosecondType>();
    let times = [time(0), time(2), time(4)];
    let values = [&arguments[1], &arguments[3]];
    let whole = |from: i64, to: i64, [first, last, at]: [i64; 3]| {
        let [first, last, at] = [first, last, at].map(i128::from);
        let sum = i128::from(from) * (last - at) + i128::from(to) * (at - first);
        (sum / (last - first)) as i64
    };
    let real = |from: f64, to: f64, [first, last, at]: [i64; 3]| {
        (from * (last - at) as f64 + to * (at - first) as f64) / (last - first) as f64
    };
    Ok(match arguments[1].data_type() {
        DataType::Int16 => between::<Int16Type>(values, times, |a, b, t| whole(a.into(), b.into(), t) as i16),
        DataType::Int32 => between::<Int32Type>(values, times, |a, b, t| whole(a.into(), b.into(), t) as i32),
        DataType::Int64 => between::<Int64Type>(values, times, whole),
        DataType::Float32 => between::<Float32Type>(values, times, |a, b, t| real(a.into(), b.into(), t) as f32),
        _ => between::<Float64Type>(values, times, real),
    })
}

fn between<T: ArrowPrimitiveType>(
    values: [&ArrayRef; 2],
    times: [&TimestampMicrosecondArray; 3],
    value: impl Fn(T::Native, T::Native, [i64; 3]) -> T::Native,
) -> ArrayRef {
    let [from, to] = values.map(|values| values.as_primitive::<T>());
    let rows = 0..times[0].len();
    let filled = rows.map(|row| {
        let known = from.is_valid(row) && to.is_valid(row) && times.iter().all(|times| times.is_valid(row));
        let at = times.map(|times| times.value(row));
        (known && at[0] < at[1]).then(|| value(from.value(row), to.value(row), at))
    });
    let filled: PrimitiveArray<T> = filled.collect();
    Arc::new(filled)
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;

    #[test]
    fn values_between_are_on_the_line() {
        let times = |values: Vec<Option<i64>>| Arc::new(TimestampMicrosecondArray::from(values)) as ArrayRef;
        let numbers = |values: Vec<Option<i64>>| Arc::new(Int64Array::from(values)) as ArrayRef;
        let made = value(&[
            times(vec![Some(0), Some(0), None]),
            numbers(vec![Some(1), Some(10), Some(1)]),
            times(vec![Some(4), Some(3), Some(9)]),
            numbers(vec![Some(9), None, Some(2)]),
            times(vec![Some(1), Some(1), Some(1)]),
        ]);
        let made = made.expect("computed");
        assert_eq!(
            made.as_primitive::<Int64Type>(),
            &Int64Array::from(vec![Some(3), None, None])
        );
    }
}
