//! The one definition of each aggregate: result types, and checked arithmetic on states. Used by the batch UDAFs
//! (`sums.rs`) and by views, which keep the states themselves.
//!
//! One rule: adding a row and then subtracting it leaves the state as it was (exactly, for all but floats), and no
//! result is wrong by overflow: PostgreSQL's types and errors (22003).
//!
//! | aggregate | input | state | result |
//! |---|---|---|---|
//! | sum | int2, int4 | i64, count | bigint |
//! | sum | int8, numeric(p,s) | i128, count | numeric(38,s) |
//! | sum | real, double | f64, count | real, double |
//! | sum, avg | interval | months, days, ns; count | interval |
//! | sum, avg | numeric | [`Total`] | numeric |
//! | avg | int2, int4; int8, numeric(p,s) | i64; i128, count | numeric |
//! | avg | real, double | f64, count | double |
//! | count | any | i64 | bigint |
//! | min, max | any that is ordered | the value | the input's |
//! | bool_and, bool_or | boolean | count of true, count of false | boolean |

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float32Array, Float64Array, Int64Array,
    IntervalMonthDayNanoArray, PrimitiveArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowNativeType, ArrowPrimitiveType, DataType, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
};

use super::interval::scale_interval;
pub use super::numeric::Total;
use super::numeric::collect;
use super::overflow::{NUMERIC_MAX, NUMERIC_PRECISION, float_overflow, interval_overflow};
use crate::error::{SqlError, state};
use crate::types::varying::Numeric;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AggregateKind {
    Count,
    Sum,
    Avg,
    Min,
    Max,
    BoolAnd,
    BoolOr,
}

impl AggregateKind {
    /// The kind of the function with this name, if it is one of them.
    pub fn of_name(name: &str) -> Option<AggregateKind> {
        Some(match name {
            "count" => AggregateKind::Count,
            "sum" => AggregateKind::Sum,
            "avg" => AggregateKind::Avg,
            "min" => AggregateKind::Min,
            "max" => AggregateKind::Max,
            "bool_and" | "every" => AggregateKind::BoolAnd,
            "bool_or" => AggregateKind::BoolOr,
            _ => return None,
        })
    }
}

/// The content of a state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum StateKind {
    /// Rows counted.
    Count,
    /// [`Slot<i64>`]
    Int64,
    /// [`Slot<i128>`]
    Int128,
    /// [`Slot<f64>`]
    Float64,
    /// [`Slot<IntervalMonthDayNano>`]
    Interval,
    /// [`Total`]
    Total,
    /// [`BoolSlot`]
    Bool,
    /// The extreme value itself.
    Value,
}

/// An aggregate over one input type: its state, and its result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Aggregate {
    pub kind: AggregateKind,
    pub input: DataType,
    pub state: StateKind,
    pub output: DataType,
}

/// Finds state and result type of `kind` over `input`; 42883 where PostgreSQL has no such aggregate.
pub fn resolve(kind: AggregateKind, input: &DataType) -> Result<Aggregate, SqlError> {
    let numeric = |scale| DataType::Decimal128(NUMERIC_PRECISION, scale);
    let (state, output) = match (kind, input) {
        (AggregateKind::Count, _) => (StateKind::Count, DataType::Int64),
        (AggregateKind::Min | AggregateKind::Max, DataType::Boolean) => return Err(undefined(kind, input)),
        (AggregateKind::Min | AggregateKind::Max, other) => (StateKind::Value, other.clone()),
        (AggregateKind::BoolAnd | AggregateKind::BoolOr, DataType::Boolean) => (StateKind::Bool, DataType::Boolean),
        (AggregateKind::Sum, DataType::Int16 | DataType::Int32) => (StateKind::Int64, DataType::Int64),
        (AggregateKind::Sum, DataType::Int64) => (StateKind::Int128, numeric(0)),
        (AggregateKind::Sum, DataType::Decimal128(_, scale)) => (StateKind::Int128, numeric(*scale)),
        (AggregateKind::Sum, DataType::Float32) => (StateKind::Float64, DataType::Float32),
        (AggregateKind::Sum | AggregateKind::Avg, DataType::Float64) => (StateKind::Float64, DataType::Float64),
        (AggregateKind::Sum | AggregateKind::Avg, DataType::Interval(IntervalUnit::MonthDayNano)) => {
            (StateKind::Interval, input.clone())
        }
        (AggregateKind::Sum | AggregateKind::Avg, DataType::LargeBinary) => (StateKind::Total, DataType::LargeBinary),
        (AggregateKind::Avg, DataType::Int16 | DataType::Int32) => (StateKind::Int64, DataType::LargeBinary),
        (AggregateKind::Avg, DataType::Int64 | DataType::Decimal128(_, _)) => {
            (StateKind::Int128, DataType::LargeBinary)
        }
        (AggregateKind::Avg, DataType::Float32) => (StateKind::Float64, DataType::Float64),
        _ => return Err(undefined(kind, input)),
    };
    Ok(Aggregate {
        kind,
        input: input.clone(),
        state,
        output,
    })
}

fn undefined(kind: AggregateKind, input: &DataType) -> SqlError {
    let name = match kind {
        AggregateKind::Count => "count",
        AggregateKind::Sum => "sum",
        AggregateKind::Avg => "avg",
        AggregateKind::Min => "min",
        AggregateKind::Max => "max",
        AggregateKind::BoolAnd => "bool_and",
        AggregateKind::BoolOr => "bool_or",
    };
    super::undefined_function(name, std::slice::from_ref(input))
}

/// A type that sums are kept in.
pub trait Summand: ArrowNativeType + Copy + Default + Send + Sync + Debug + 'static {
    /// The Arrow type of a column of sums.
    type Arrow: ArrowPrimitiveType<Native = Self>;

    /// `None` on overflow.
    fn plus(self, other: Self) -> Option<Self>;
    /// `None` on overflow.
    fn minus(self, other: Self) -> Option<Self>;
    /// `None` on overflow. `weight` is the number of copies of a row that a delta adds or takes away.
    fn times(self, weight: i64) -> Option<Self>;
    /// The value, if it is a NaN or an infinity: a sum that took it in cannot give it back.
    fn special(self) -> Option<f64> {
        None
    }
    /// The inverse of [`Summand::special`].
    fn of_special(_value: f64) -> Self {
        Self::default()
    }
    /// 22003, as PostgreSQL words it for this type.
    fn overflow() -> SqlError;
    /// Calls `each` with every value of `column` that is not NULL, as a summand, and its row. `column` is of one of
    /// the input types whose state is this type, or of the state's own type.
    fn for_each(column: &dyn Array, each: impl FnMut(usize, Self) -> Result<(), SqlError>) -> Result<(), SqlError>;
    /// The results of slots, NULL where no row was counted.
    fn finish(aggregate: &Aggregate, slots: &[Slot<Self>]) -> Result<ArrayRef, SqlError>;
}

/// The state of a sum or an average.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub struct Slot<S> {
    pub sum: S,
    /// Rows that were not NULL.
    pub count: i64,
}

impl<S: Summand> Slot<S> {
    #[inline]
    pub fn add(&mut self, value: S) -> Result<(), SqlError> {
        self.sum = self.sum.plus(value).ok_or_else(S::overflow)?;
        self.count += 1;
        Ok(())
    }

    #[inline]
    pub fn subtract(&mut self, value: S) -> Result<(), SqlError> {
        self.sum = self.sum.minus(value).ok_or_else(S::overflow)?;
        self.count -= 1;
        debug_assert!(self.count >= 0, "V4: more rows taken away than were added");
        Ok(())
    }

    /// Adds `weight` copies of `value`; takes them away if it is negative.
    #[inline]
    pub fn add_weighted(&mut self, value: S, weight: i64) -> Result<(), SqlError> {
        let change = value.times(weight).ok_or_else(S::overflow)?;
        self.sum = self.sum.plus(change).ok_or_else(S::overflow)?;
        self.count += weight;
        debug_assert!(self.count >= 0, "V4: more rows taken away than were added");
        Ok(())
    }

    #[inline]
    pub fn merge(&mut self, other: Slot<S>) -> Result<(), SqlError> {
        self.sum = self.sum.plus(other.sum).ok_or_else(S::overflow)?;
        self.count += other.count;
        Ok(())
    }
}

/// The state of `bool_and` and `bool_or`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct BoolSlot {
    pub trues: i64,
    pub falses: i64,
}

impl BoolSlot {
    #[inline]
    pub fn add_weighted(&mut self, value: bool, weight: i64) {
        if value {
            self.trues += weight;
        } else {
            self.falses += weight;
        }
        debug_assert!(
            self.trues >= 0 && self.falses >= 0,
            "V4: more rows taken away than were added"
        );
    }

    #[inline]
    pub fn merge(&mut self, other: BoolSlot) {
        self.trues += other.trues;
        self.falses += other.falses;
    }

    /// NULL where no row was counted.
    pub fn finish(kind: AggregateKind, slots: &[BoolSlot]) -> ArrayRef {
        let result: BooleanArray = slots
            .iter()
            .map(|slot| match kind {
                _ if slot.trues + slot.falses == 0 => None,
                AggregateKind::BoolAnd => Some(slot.falses == 0),
                _ => Some(slot.trues > 0),
            })
            .collect();
        Arc::new(result)
    }
}

/// Walks the values that are not NULL.
#[inline]
fn visit<T: ArrowPrimitiveType, S>(
    column: &PrimitiveArray<T>,
    widen: impl Fn(T::Native) -> S,
    mut each: impl FnMut(usize, S) -> Result<(), SqlError>,
) -> Result<(), SqlError> {
    let values = column.values();
    match column.nulls() {
        Some(nulls) if nulls.null_count() > 0 => {
            for row in nulls.valid_indices() {
                each(row, widen(values[row]))?;
            }
        }
        _ => {
            for (row, value) in values.iter().enumerate() {
                each(row, widen(*value))?;
            }
        }
    }
    Ok(())
}

/// A plan that sums a column of a type that its state does not take: the types were checked by [`resolve`].
fn mismatch(column: &dyn Array) -> ! {
    panic!("a sum was planned over a column of type {}", column.data_type())
}

fn counted<S>(slots: &[Slot<S>]) -> Option<NullBuffer> {
    let nulls = NullBuffer::from_iter(slots.iter().map(|slot| slot.count > 0));
    (nulls.null_count() > 0).then_some(nulls)
}

fn numeric_array(values: Vec<i128>, nulls: Option<NullBuffer>, output: &DataType) -> ArrayRef {
    let array = Decimal128Array::new(values.into(), nulls).with_data_type(output.clone());
    Arc::new(array)
}

/// 22003 if the unscaled value has more digits than a NUMERIC can have.
pub fn in_numeric(value: i128) -> Result<i128, SqlError> {
    if value.unsigned_abs() > NUMERIC_MAX as u128 {
        return Err(i128::overflow());
    }
    Ok(value)
}

fn scale_of(data_type: &DataType) -> i8 {
    match data_type {
        DataType::Decimal128(_, scale) => *scale,
        _ => 0,
    }
}

/// Averages of exact numbers.
fn averages<S: Summand + Into<i128>>(aggregate: &Aggregate, slots: &[Slot<S>]) -> Result<ArrayRef, SqlError> {
    let scale = scale_of(&aggregate.input);
    collect(slots.len(), |row| {
        let slot = slots[row];
        if slot.count <= 0 {
            return Ok(None);
        }
        let sum = Numeric::of_units(slot.sum.into(), scale);
        sum.divide(&Numeric::whole(slot.count.into())).map(Some)
    })
}

impl Summand for i64 {
    type Arrow = Int64Type;

    #[inline]
    fn plus(self, other: i64) -> Option<i64> {
        self.checked_add(other)
    }

    #[inline]
    fn minus(self, other: i64) -> Option<i64> {
        self.checked_sub(other)
    }

    #[inline]
    fn times(self, weight: i64) -> Option<i64> {
        self.checked_mul(weight)
    }

    fn overflow() -> SqlError {
        SqlError::new(state::NUMERIC_VALUE_OUT_OF_RANGE, "bigint out of range")
    }

    fn for_each(column: &dyn Array, each: impl FnMut(usize, i64) -> Result<(), SqlError>) -> Result<(), SqlError> {
        match column.data_type() {
            DataType::Int16 => visit(column.as_primitive::<Int16Type>(), i64::from, each),
            DataType::Int32 => visit(column.as_primitive::<Int32Type>(), i64::from, each),
            DataType::Int64 => visit(column.as_primitive::<Int64Type>(), |value| value, each),
            _ => mismatch(column),
        }
    }

    fn finish(aggregate: &Aggregate, slots: &[Slot<i64>]) -> Result<ArrayRef, SqlError> {
        if aggregate.kind == AggregateKind::Avg {
            return averages(aggregate, slots);
        }
        let sums: Vec<i64> = slots.iter().map(|slot| slot.sum).collect();
        Ok(Arc::new(Int64Array::new(sums.into(), counted(slots))))
    }
}

impl Summand for i128 {
    type Arrow = Decimal128Type;

    #[inline]
    fn plus(self, other: i128) -> Option<i128> {
        self.checked_add(other)
    }

    #[inline]
    fn minus(self, other: i128) -> Option<i128> {
        self.checked_sub(other)
    }

    #[inline]
    fn times(self, weight: i64) -> Option<i128> {
        self.checked_mul(i128::from(weight))
    }

    fn overflow() -> SqlError {
        SqlError::new(state::NUMERIC_VALUE_OUT_OF_RANGE, "value overflows numeric format")
    }

    fn for_each(column: &dyn Array, each: impl FnMut(usize, i128) -> Result<(), SqlError>) -> Result<(), SqlError> {
        match column.data_type() {
            DataType::Int64 => visit(column.as_primitive::<Int64Type>(), i128::from, each),
            DataType::Decimal128(_, _) => visit(column.as_primitive::<Decimal128Type>(), |value| value, each),
            _ => mismatch(column),
        }
    }

    fn finish(aggregate: &Aggregate, slots: &[Slot<i128>]) -> Result<ArrayRef, SqlError> {
        if aggregate.kind == AggregateKind::Avg {
            return averages(aggregate, slots);
        }
        let sums = slots
            .iter()
            .map(|slot| in_numeric(slot.sum))
            .collect::<Result<Vec<i128>, SqlError>>()?;
        Ok(numeric_array(sums, counted(slots), &aggregate.output))
    }
}

#[inline]
fn finite(result: f64, left: f64, right: f64) -> Option<f64> {
    (!result.is_infinite() || left.is_infinite() || right.is_infinite()).then_some(result)
}

impl Summand for f64 {
    type Arrow = Float64Type;

    #[inline]
    fn plus(self, other: f64) -> Option<f64> {
        finite(self + other, self, other)
    }

    #[inline]
    fn minus(self, other: f64) -> Option<f64> {
        finite(self - other, self, other)
    }

    #[inline]
    fn times(self, weight: i64) -> Option<f64> {
        finite(self * weight as f64, self, 0.0)
    }

    #[inline]
    fn special(self) -> Option<f64> {
        (!self.is_finite()).then_some(self)
    }

    fn of_special(value: f64) -> f64 {
        value
    }

    fn overflow() -> SqlError {
        float_overflow()
    }

    fn for_each(column: &dyn Array, each: impl FnMut(usize, f64) -> Result<(), SqlError>) -> Result<(), SqlError> {
        match column.data_type() {
            DataType::Float32 => visit(column.as_primitive::<Float32Type>(), f64::from, each),
            DataType::Float64 => visit(column.as_primitive::<Float64Type>(), |value| value, each),
            _ => mismatch(column),
        }
    }

    fn finish(aggregate: &Aggregate, slots: &[Slot<f64>]) -> Result<ArrayRef, SqlError> {
        let nulls = counted(slots);
        if aggregate.output == DataType::Float32 {
            let sums = slots
                .iter()
                .map(|slot| {
                    let sum = slot.sum as f32;
                    if sum.is_infinite() && !slot.sum.is_infinite() {
                        Err(float_overflow())
                    } else {
                        Ok(sum)
                    }
                })
                .collect::<Result<Vec<f32>, SqlError>>()?;
            return Ok(Arc::new(Float32Array::new(sums.into(), nulls)));
        }
        let average = aggregate.kind == AggregateKind::Avg;
        let values: Vec<f64> = slots
            .iter()
            .map(|slot| {
                if average {
                    slot.sum / slot.count as f64
                } else {
                    slot.sum
                }
            })
            .collect();
        Ok(Arc::new(Float64Array::new(values.into(), nulls)))
    }
}

impl Summand for IntervalMonthDayNano {
    type Arrow = IntervalMonthDayNanoType;

    #[inline]
    fn plus(self, other: Self) -> Option<Self> {
        Some(IntervalMonthDayNano {
            months: self.months.checked_add(other.months)?,
            days: self.days.checked_add(other.days)?,
            nanoseconds: self.nanoseconds.checked_add(other.nanoseconds)?,
        })
    }

    #[inline]
    fn minus(self, other: Self) -> Option<Self> {
        Some(IntervalMonthDayNano {
            months: self.months.checked_sub(other.months)?,
            days: self.days.checked_sub(other.days)?,
            nanoseconds: self.nanoseconds.checked_sub(other.nanoseconds)?,
        })
    }

    #[inline]
    fn times(self, weight: i64) -> Option<Self> {
        let narrow = i32::try_from(weight).ok()?;
        Some(IntervalMonthDayNano {
            months: self.months.checked_mul(narrow)?,
            days: self.days.checked_mul(narrow)?,
            nanoseconds: self.nanoseconds.checked_mul(weight)?,
        })
    }

    fn overflow() -> SqlError {
        interval_overflow()
    }

    fn for_each(column: &dyn Array, each: impl FnMut(usize, Self) -> Result<(), SqlError>) -> Result<(), SqlError> {
        match column.data_type() {
            DataType::Interval(IntervalUnit::MonthDayNano) => {
                visit(column.as_primitive::<IntervalMonthDayNanoType>(), |value| value, each)
            }
            _ => mismatch(column),
        }
    }

    fn finish(aggregate: &Aggregate, slots: &[Slot<Self>]) -> Result<ArrayRef, SqlError> {
        let average = aggregate.kind == AggregateKind::Avg;
        let values = slots
            .iter()
            .map(|slot| {
                if average && slot.count > 0 {
                    scale_interval(slot.sum, |part| part / slot.count as f64)
                } else {
                    Ok(slot.sum)
                }
            })
            .collect::<Result<Vec<_>, SqlError>>()?;
        Ok(Arc::new(IntervalMonthDayNanoArray::new(values.into(), counted(slots))))
    }
}
