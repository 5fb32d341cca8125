//! The states of one aggregate for all groups, in columns indexed by group number.
//!
//! One rule: the parts of a state, its arithmetic and its result are `sql::functions::aggregates`'s, the same as in
//! batch queries; this file only keeps them. One virtual call per batch, then plain loops.
//!
//! Sums of exact numbers, counts and bool_and/or are linear: a retraction is subtracted. min and max are kept as
//! scalars over append-only input, else as ordered multisets; so are sums of floats over retracting input, which a
//! subtraction would not restore.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, GenericByteArray, Int64Array, LargeBinaryArray,
    PrimitiveArray, RecordBatch, StringArray, UInt32Array,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowNativeType, BinaryType, ByteArrayType, DataType, Field, Int64Type, LargeBinaryType, Schema, UInt32Type,
    Utf8Type,
};

use crate::error::SqlError;
use crate::sql::functions::Numbers;
use crate::sql::functions::aggregates::{Aggregate, AggregateKind, BoolSlot, Slot, StateKind, Summand, Total};

use super::keys::{primitive, words_of};

/// One aggregate's states.
pub trait AggregateState: Send {
    /// Makes room for `groups` groups, new ones empty.
    fn resize(&mut self, groups: usize);
    /// Adds the values of a batch's rows, in the columns of the arguments, to the states of the rows' groups.
    fn update(&mut self, groups: &[u32], columns: &[ArrayRef], weights: Option<&[i64]>) -> Result<(), SqlError>;
    /// The results of `groups`.
    fn finish(&self, groups: &[u32]) -> Result<ArrayRef, SqlError>;
    /// Keeps only `groups` (rising), renumbered from 0.
    fn keep(&mut self, groups: &[u32]);
    fn save(&self) -> Result<RecordBatch, SqlError>;
    /// Takes the state from `save`, for `groups` groups.
    fn restore(&mut self, saved: &RecordBatch, groups: usize) -> Result<(), SqlError>;
    /// Bytes of memory held, about.
    fn bytes(&self) -> usize;
}

/// The state columns for `aggregate`; `None` where there is no incremental form.
pub fn state_for(aggregate: &Aggregate, append_only: bool) -> Option<Box<dyn AggregateState>> {
    let aggregate = Arc::new(aggregate.clone());
    Some(match aggregate.state {
        StateKind::Count => Box::new(Counts::default()),
        StateKind::Int64 => Box::new(Sums::<i64>::new(aggregate)),
        StateKind::Int128 => Box::new(Sums::<i128>::new(aggregate)),
        StateKind::Float64 if append_only => Box::new(Sums::<f64>::new(aggregate)),
        StateKind::Float64 => Box::new(Bags::new(aggregate, FixedWidth)),
        StateKind::Interval => Box::new(Sums::<arrow::datatypes::IntervalMonthDayNano>::new(aggregate)),
        StateKind::Total => Box::new(NumericTotals::new(aggregate)),
        StateKind::Bool => Box::new(Bools::new(aggregate)),
        StateKind::Value => match &aggregate.input {
            DataType::Utf8 if append_only => Box::new(ByteExtremes::<Utf8Type>::new(aggregate)),
            DataType::Binary if append_only => Box::new(ByteExtremes::<BinaryType>::new(aggregate)),
            DataType::LargeBinary if append_only => Box::new(ByteExtremes::<LargeBinaryType>::new(aggregate)),
            DataType::Utf8 | DataType::Binary | DataType::LargeBinary => Box::new(Bags::new(aggregate, Text)),
            DataType::Interval(_) => return None,
            other if !append_only && (other.is_primitive()) => Box::new(Bags::new(aggregate, FixedWidth)),
            DataType::Float32 => Box::new(Extremes::<f32>::new(aggregate)),
            DataType::Float64 => Box::new(Extremes::<f64>::new(aggregate)),
            other if other.is_primitive() => match other.primitive_width() {
                Some(2) => Box::new(Extremes::<i16>::new(aggregate)),
                Some(4) => Box::new(Extremes::<i32>::new(aggregate)),
                Some(8) => Box::new(Extremes::<i64>::new(aggregate)),
                Some(16) => Box::new(Extremes::<i128>::new(aggregate)),
                _ => return None,
            },
            _ => return None,
        },
    })
}

pub fn batch(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch, SqlError> {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, column)| Field::new(*name, column.data_type().clone(), true))
        .collect();
    let arrays = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(SqlError::from)
}

fn gather<T: Copy>(from: &[T], groups: &[u32]) -> Vec<T> {
    groups.iter().map(|group| from[*group as usize]).collect()
}

/// Runs `change(group, row, weight)` for each row that is not NULL.
#[inline]
fn each_valid(
    groups: &[u32],
    nulls: Option<&NullBuffer>,
    weights: Option<&[i64]>,
    mut change: impl FnMut(usize, usize, i64),
) {
    match (nulls.filter(|nulls| nulls.null_count() > 0), weights) {
        (None, None) => {
            for (row, group) in groups.iter().enumerate() {
                change(*group as usize, row, 1);
            }
        }
        (None, Some(weights)) => {
            for (row, (group, weight)) in groups.iter().zip(weights).enumerate() {
                change(*group as usize, row, *weight);
            }
        }
        (Some(nulls), None) => {
            for row in nulls.valid_indices() {
                change(groups[row] as usize, row, 1);
            }
        }
        (Some(nulls), Some(weights)) => {
            for row in nulls.valid_indices() {
                change(groups[row] as usize, row, weights[row]);
            }
        }
    }
}

/// count(x): rows whose x is not NULL.
#[derive(Default)]
struct Counts {
    counts: Vec<i64>,
}

impl AggregateState for Counts {
    fn resize(&mut self, groups: usize) {
        self.counts.resize(groups, 0);
    }

    fn update(&mut self, groups: &[u32], columns: &[ArrayRef], weights: Option<&[i64]>) -> Result<(), SqlError> {
        let values = &columns[0];
        let counts = &mut self.counts;
        let nulls = values.logical_nulls();
        each_valid(groups, nulls.as_ref(), weights, |group, _, weight| {
            counts[group] += weight
        });
        Ok(())
    }

    fn finish(&self, groups: &[u32]) -> Result<ArrayRef, SqlError> {
        Ok(Arc::new(Int64Array::from(gather(&self.counts, groups))))
    }

    fn keep(&mut self, groups: &[u32]) {
        self.counts = gather(&self.counts, groups);
    }

    fn save(&self) -> Result<RecordBatch, SqlError> {
        batch(vec![("count", Arc::new(Int64Array::from(self.counts.clone())))])
    }

    fn restore(&mut self, saved: &RecordBatch, groups: usize) -> Result<(), SqlError> {
        self.counts = saved.column(0).as_primitive::<Int64Type>().values().to_vec();
        assert_eq!(self.counts.len(), groups, "one state per group");
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.counts.capacity() * size_of::<i64>()
    }
}

/// sum and avg.
struct Sums<S> {
    aggregate: Arc<Aggregate>,
    slots: Vec<Slot<S>>,
}

impl<S: Summand> Sums<S> {
    fn new(aggregate: Arc<Aggregate>) -> Self {
        Sums {
            aggregate,
            slots: Vec::new(),
        }
    }
}

impl<S: Summand> AggregateState for Sums<S> {
    fn resize(&mut self, groups: usize) {
        self.slots.resize(groups, Slot::default());
    }

    fn update(&mut self, groups: &[u32], columns: &[ArrayRef], weights: Option<&[i64]>) -> Result<(), SqlError> {
        let values = &columns[0];
        let slots = &mut self.slots;
        // One flag for the batch instead of an error per row: an overflow fails the whole step anyway.
        let mut overflow = false;
        match weights {
            None => S::for_each(values, |row, value| {
                let slot = &mut slots[groups[row] as usize];
                match slot.sum.plus(value) {
                    Some(sum) => slot.sum = sum,
                    None => overflow = true,
                }
                slot.count += 1;
                Ok(())
            })?,
            Some(weights) => S::for_each(values, |row, value| {
                let slot = &mut slots[groups[row] as usize];
                match value.times(weights[row]).and_then(|change| slot.sum.plus(change)) {
                    Some(sum) => slot.sum = sum,
                    None => overflow = true,
                }
                slot.count += weights[row];
                Ok(())
            })?,
        }
        if overflow { Err(S::overflow()) } else { Ok(()) }
    }

    fn finish(&self, groups: &[u32]) -> Result<ArrayRef, SqlError> {
        S::finish(&self.aggregate, &gather(&self.slots, groups))
    }

    fn keep(&mut self, groups: &[u32]) {
        self.slots = gather(&self.slots, groups);
    }

    fn save(&self) -> Result<RecordBatch, SqlError> {
        let sums = PrimitiveArray::<S::Arrow>::from_iter_values(self.slots.iter().map(|slot| slot.sum));
        let counts = Int64Array::from_iter_values(self.slots.iter().map(|slot| slot.count));
        batch(vec![("sum", Arc::new(sums)), ("count", Arc::new(counts))])
    }

    fn restore(&mut self, saved: &RecordBatch, groups: usize) -> Result<(), SqlError> {
        let sums = saved.column(0).as_primitive::<S::Arrow>().values();
        let counts = saved.column(1).as_primitive::<Int64Type>().values();
        let slots = sums.iter().zip(counts.iter());
        self.slots = slots
            .map(|(sum, count)| Slot {
                sum: *sum,
                count: *count,
            })
            .collect();
        assert_eq!(self.slots.len(), groups, "one state per group");
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot<S>>()
    }
}

/// sum and avg of NUMERIC of any scale.
struct NumericTotals {
    aggregate: Arc<Aggregate>,
    totals: Vec<Total>,
}

impl NumericTotals {
    fn new(aggregate: Arc<Aggregate>) -> Self {
        NumericTotals {
            aggregate,
            totals: Vec::new(),
        }
    }
}

impl AggregateState for NumericTotals {
    fn resize(&mut self, groups: usize) {
        self.totals.resize(groups, Total::default());
    }

    fn update(&mut self, groups: &[u32], columns: &[ArrayRef], weights: Option<&[i64]>) -> Result<(), SqlError> {
        let values = &columns[0];
        let numbers = Numbers::of(values).expect("planned over exact numbers");
        for (row, group) in groups.iter().enumerate() {
            if let Some(number) = numbers.get(row) {
                let weight = weights.map_or(1, |weights| weights[row]);
                self.totals[*group as usize].add(&number, weight)?;
            }
        }
        Ok(())
    }

    fn finish(&self, groups: &[u32]) -> Result<ArrayRef, SqlError> {
        Total::finish(self.aggregate.kind, groups.len(), |row| {
            &self.totals[groups[row] as usize]
        })
    }

    fn keep(&mut self, groups: &[u32]) {
        self.totals = groups
            .iter()
            .map(|group| self.totals[*group as usize].clone())
            .collect();
    }

    fn save(&self) -> Result<RecordBatch, SqlError> {
        let totals = LargeBinaryArray::from_iter_values(self.totals.iter().map(Total::saved));
        batch(vec![("total", Arc::new(totals))])
    }

    fn restore(&mut self, saved: &RecordBatch, groups: usize) -> Result<(), SqlError> {
        let totals = saved.column(0).as_binary::<i64>();
        self.totals = totals.iter().flatten().map(Total::restore).collect();
        assert_eq!(self.totals.len(), groups, "one state per group");
        Ok(())
    }

    fn bytes(&self) -> usize {
        let beside: usize = self.totals.iter().map(Total::bytes).sum();
        self.totals.capacity() * size_of::<Total>() + beside
    }
}

/// bool_and and bool_or.
struct Bools {
    aggregate: Arc<Aggregate>,
    slots: Vec<BoolSlot>,
}

impl Bools {
    fn new(aggregate: Arc<Aggregate>) -> Self {
        Bools {
            aggregate,
            slots: Vec::new(),
        }
    }
}

impl AggregateState for Bools {
    fn resize(&mut self, groups: usize) {
        self.slots.resize(groups, BoolSlot::default());
    }

    fn update(&mut self, groups: &[u32], columns: &[ArrayRef], weights: Option<&[i64]>) -> Result<(), SqlError> {
        let values = &columns[0];
        let slots = &mut self.slots;
        let values = values.as_boolean();
        each_valid(groups, values.nulls(), weights, |group, row, weight| {
            let slot = &mut slots[group];
            if values.value(row) {
                slot.trues += weight;
            } else {
                slot.falses += weight;
            }
        });
        Ok(())
    }

    fn finish(&self, groups: &[u32]) -> Result<ArrayRef, SqlError> {
        Ok(BoolSlot::finish(self.aggregate.kind, &gather(&self.slots, groups)))
    }

    fn keep(&mut self, groups: &[u32]) {
        self.slots = gather(&self.slots, groups);
    }

    fn save(&self) -> Result<RecordBatch, SqlError> {
        let trues = Int64Array::from_iter_values(self.slots.iter().map(|slot| slot.trues));
        let falses = Int64Array::from_iter_values(self.slots.iter().map(|slot| slot.falses));
        batch(vec![("trues", Arc::new(trues)), ("falses", Arc::new(falses))])
    }

    fn restore(&mut self, saved: &RecordBatch, groups: usize) -> Result<(), SqlError> {
        let trues = saved.column(0).as_primitive::<Int64Type>().values();
        let falses = saved.column(1).as_primitive::<Int64Type>().values();
        let slots = trues.iter().zip(falses.iter());
        self.slots = slots
            .map(|(trues, falses)| BoolSlot {
                trues: *trues,
                falses: *falses,
            })
            .collect();
        assert_eq!(self.slots.len(), groups, "one state per group");
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<BoolSlot>()
    }
}

/// A fixed-width value with PostgreSQL's order: NaN is above all numbers.
trait OrderedNative: ArrowNativeType + Default + Send {
    fn before(self, other: Self) -> bool;
}

macro_rules! ordered {
    ($($native:ty),*) => {
        $(impl OrderedNative for $native {
            #[inline]
            fn before(self, other: Self) -> bool {
                self < other
            }
        })*
    };
}

ordered!(i16, i32, i64, i128);

impl OrderedNative for f32 {
    #[inline]
    fn before(self, other: Self) -> bool {
        self < other || (other.is_nan() && !self.is_nan())
    }
}

impl OrderedNative for f64 {
    #[inline]
    fn before(self, other: Self) -> bool {
        self < other || (other.is_nan() && !self.is_nan())
    }
}

#[derive(Clone, Copy, Default)]
struct ExtremeState<N> {
    value: N,
    seen: bool,
}

/// min and max of fixed-width values over append-only input. Values of one width are kept alike, for all types.
struct Extremes<N> {
    aggregate: Arc<Aggregate>,
    slots: Vec<ExtremeState<N>>,
}

impl<N: OrderedNative> Extremes<N> {
    fn new(aggregate: Arc<Aggregate>) -> Self {
        Extremes {
            aggregate,
            slots: Vec::new(),
        }
    }

    #[inline]
    fn update_by(&mut self, groups: &[u32], values: &ArrayRef, better: impl Fn(N, N) -> bool) {
        let slots = &mut self.slots;
        let words = words_of::<N>(values);
        each_valid(groups, values.nulls(), None, |group, row, _| {
            let slot = &mut slots[group];
            let value = words[row];
            if !slot.seen || better(value, slot.value) {
                *slot = ExtremeState { value, seen: true };
            }
        });
    }

    fn array(&self, slots: &[ExtremeState<N>]) -> Result<ArrayRef, SqlError> {
        let nulls = NullBuffer::from_iter(slots.iter().map(|slot| slot.seen));
        let values: Vec<N> = slots.iter().map(|slot| slot.value).collect();
        let nulls = (nulls.null_count() > 0).then_some(nulls);
        primitive(
            &self.aggregate.input,
            arrow::buffer::Buffer::from_vec(values),
            slots.len(),
            nulls,
        )
    }
}

impl<N: OrderedNative> AggregateState for Extremes<N> {
    fn resize(&mut self, groups: usize) {
        self.slots.resize(groups, ExtremeState::default());
    }

    fn update(&mut self, groups: &[u32], columns: &[ArrayRef], weights: Option<&[i64]>) -> Result<(), SqlError> {
        let values = &columns[0];
        assert!(
            weights.is_none_or(|weights| weights.iter().all(|weight| *weight > 0)),
            "scalars of min and max are for append-only input"
        );
        match self.aggregate.kind {
            AggregateKind::Min => self.update_by(groups, values, |value, best| value.before(best)),
            _ => self.update_by(groups, values, |value, best| best.before(value)),
        }
        Ok(())
    }

    fn finish(&self, groups: &[u32]) -> Result<ArrayRef, SqlError> {
        self.array(&gather(&self.slots, groups))
    }

    fn keep(&mut self, groups: &[u32]) {
        self.slots = gather(&self.slots, groups);
    }

    fn save(&self) -> Result<RecordBatch, SqlError> {
        batch(vec![("value", self.array(&self.slots)?)])
    }

    fn restore(&mut self, saved: &RecordBatch, groups: usize) -> Result<(), SqlError> {
        let values = saved.column(0);
        assert_eq!(values.len(), groups, "one state per group");
        let words = words_of::<N>(values);
        self.slots = (0..groups)
            .map(|group| ExtremeState {
                value: words[group],
                seen: values.is_valid(group),
            })
            .collect();
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<ExtremeState<N>>()
    }
}

/// min and max of text and bytes over append-only input.
struct ByteExtremes<T> {
    aggregate: Arc<Aggregate>,
    values: Vec<Option<Box<[u8]>>>,
    text_bytes: usize,
    of: std::marker::PhantomData<fn() -> T>,
}

impl<T> ByteExtremes<T> {
    fn new(aggregate: Arc<Aggregate>) -> Self {
        ByteExtremes {
            aggregate,
            values: Vec::new(),
            text_bytes: 0,
            of: std::marker::PhantomData,
        }
    }
}

impl<T: ByteArrayType> AggregateState for ByteExtremes<T> {
    fn resize(&mut self, groups: usize) {
        self.values.resize(groups, None);
    }

    fn update(&mut self, groups: &[u32], columns: &[ArrayRef], _weights: Option<&[i64]>) -> Result<(), SqlError> {
        let values = &columns[0];
        let bytes: &GenericByteArray<T> = values.as_bytes();
        let least = self.aggregate.kind == AggregateKind::Min;
        let (slots, text_bytes) = (&mut self.values, &mut self.text_bytes);
        each_valid(groups, bytes.nulls(), None, |group, row, _| {
            let value: &[u8] = bytes.value(row).as_ref();
            let better = match &slots[group] {
                None => true,
                Some(best) if least => value < best.as_ref(),
                Some(best) => value > best.as_ref(),
            };
            if better {
                *text_bytes += value.len();
                *text_bytes -= slots[group].as_ref().map_or(0, |old| old.len());
                slots[group] = Some(value.into());
            }
        });
        Ok(())
    }

    fn finish(&self, groups: &[u32]) -> Result<ArrayRef, SqlError> {
        let values = groups.iter().map(|group| self.values[*group as usize].as_deref());
        byte_array(&self.aggregate.input, values)
    }

    fn keep(&mut self, groups: &[u32]) {
        self.values = groups.iter().map(|group| self.values[*group as usize].take()).collect();
        self.text_bytes = self.values.iter().flatten().map(|value| value.len()).sum();
    }

    fn save(&self) -> Result<RecordBatch, SqlError> {
        let values = self.values.iter().map(|value| value.as_deref());
        batch(vec![("value", byte_array(&self.aggregate.input, values)?)])
    }

    fn restore(&mut self, saved: &RecordBatch, groups: usize) -> Result<(), SqlError> {
        let bytes: &GenericByteArray<T> = saved.column(0).as_bytes();
        assert_eq!(bytes.len(), groups, "one state per group");
        self.values = bytes
            .iter()
            .map(|value| value.map(|value| AsRef::<[u8]>::as_ref(value).into()))
            .collect();
        self.text_bytes = self.values.iter().flatten().map(|value| value.len()).sum();
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.values.capacity() * size_of::<Option<Box<[u8]>>>() + self.text_bytes
    }
}

/// A `Utf8`, `Binary` or `LargeBinary` array of values that came from one.
fn byte_array<'a>(data_type: &DataType, values: impl Iterator<Item = Option<&'a [u8]>>) -> Result<ArrayRef, SqlError> {
    if *data_type == DataType::Utf8 {
        let texts =
            values.map(|value| value.map(|bytes| std::str::from_utf8(bytes).expect("it came from a Utf8 array")));
        return Ok(Arc::new(StringArray::from_iter(texts)));
    }
    if *data_type == DataType::LargeBinary {
        return Ok(Arc::new(LargeBinaryArray::from_iter(values)));
    }
    Ok(Arc::new(BinaryArray::from_iter(values)))
}

/// The conversion of values to the ordered keys of a multiset, and back.
trait BagKey: Send + Copy {
    type Key: Ord + Send + Clone;
    fn each(self, values: &ArrayRef, each: impl FnMut(usize, Self::Key));
    fn array(self, data_type: &DataType, keys: Vec<Option<&Self::Key>>) -> Result<ArrayRef, SqlError>;
    /// Bytes that one entry takes, about.
    fn entry_bytes(self, key: &Self::Key) -> usize;
    /// The number that a key stands for, if it is one.
    fn float(self, key: &Self::Key) -> f64;
}

/// Fixed-width values, all as i128; floats by bits that order as the floats do.
#[derive(Clone, Copy)]
struct FixedWidth;

fn float_bits(value: f64) -> i128 {
    // -0 and 0 are one value, and so are all NaNs.
    let value = if value == 0.0 { 0.0 } else { value };
    let bits = if value.is_nan() {
        f64::NAN.to_bits() as i64 & i64::MAX
    } else {
        value.to_bits() as i64
    };
    i128::from(bits ^ (((bits >> 63) as u64) >> 1) as i64)
}

fn float_of_bits(bits: i128) -> f64 {
    let bits = bits as i64;
    f64::from_bits((bits ^ (((bits >> 63) as u64) >> 1) as i64) as u64)
}

impl BagKey for FixedWidth {
    type Key = i128;

    fn each(self, values: &ArrayRef, mut each: impl FnMut(usize, i128)) {
        let valid = |row: &usize| values.is_valid(*row);
        let rows = (0..values.len()).filter(valid);
        match values.data_type() {
            DataType::Float32 => {
                let words = words_of::<f32>(values);
                rows.for_each(|row| each(row, float_bits(f64::from(words[row]))));
            }
            DataType::Float64 => {
                let words = words_of::<f64>(values);
                rows.for_each(|row| each(row, float_bits(words[row])));
            }
            other => match other.primitive_width() {
                Some(2) => {
                    let words = words_of::<i16>(values);
                    rows.for_each(|row| each(row, i128::from(words[row])));
                }
                Some(4) => {
                    let words = words_of::<i32>(values);
                    rows.for_each(|row| each(row, i128::from(words[row])));
                }
                Some(8) => {
                    let words = words_of::<i64>(values);
                    rows.for_each(|row| each(row, i128::from(words[row])));
                }
                Some(16) => {
                    let words = words_of::<i128>(values);
                    rows.for_each(|row| each(row, words[row]));
                }
                _ => panic!("a multiset of numbers was planned over a column of type {other}"),
            },
        }
    }

    fn array(self, data_type: &DataType, keys: Vec<Option<&i128>>) -> Result<ArrayRef, SqlError> {
        let rows = keys.len();
        let nulls = NullBuffer::from_iter(keys.iter().map(|key| key.is_some()));
        let nulls = (nulls.null_count() > 0).then_some(nulls);
        let values = keys.into_iter().map(|key| key.copied().unwrap_or(0));
        let buffer = match data_type {
            DataType::Float32 => values.map(|key| float_of_bits(key) as f32).collect::<Vec<f32>>().into(),
            DataType::Float64 => values.map(float_of_bits).collect::<Vec<f64>>().into(),
            other => match other.primitive_width() {
                Some(2) => values.map(|key| key as i16).collect::<Vec<i16>>().into(),
                Some(4) => values.map(|key| key as i32).collect::<Vec<i32>>().into(),
                Some(8) => values.map(|key| key as i64).collect::<Vec<i64>>().into(),
                _ => arrow::buffer::Buffer::from_vec(values.collect::<Vec<i128>>()),
            },
        };
        primitive(data_type, buffer, rows, nulls)
    }

    fn entry_bytes(self, _key: &i128) -> usize {
        size_of::<i128>() + size_of::<i64>()
    }

    fn float(self, key: &i128) -> f64 {
        float_of_bits(*key)
    }
}

/// Text and bytes.
#[derive(Clone, Copy)]
struct Text;

impl BagKey for Text {
    type Key = Box<[u8]>;

    fn each(self, values: &ArrayRef, mut each: impl FnMut(usize, Box<[u8]>)) {
        for row in (0..values.len()).filter(|row| values.is_valid(*row)) {
            let bytes: &[u8] = match values.data_type() {
                DataType::Utf8 => values.as_string::<i32>().value(row).as_bytes(),
                DataType::LargeBinary => values.as_binary::<i64>().value(row),
                _ => values.as_binary::<i32>().value(row),
            };
            each(row, bytes.into());
        }
    }

    fn array(self, data_type: &DataType, keys: Vec<Option<&Box<[u8]>>>) -> Result<ArrayRef, SqlError> {
        byte_array(data_type, keys.into_iter().map(|key| key.map(|key| key.as_ref())))
    }

    fn entry_bytes(self, key: &Box<[u8]>) -> usize {
        key.len() + size_of::<Box<[u8]>>() + size_of::<i64>()
    }

    fn float(self, _key: &Box<[u8]>) -> f64 {
        unreachable!("only numbers are summed")
    }
}

/// All values of each group, ordered and counted: for aggregates that a retraction cannot be subtracted from.
struct Bags<K: BagKey> {
    aggregate: Arc<Aggregate>,
    form: K,
    bags: Vec<BTreeMap<K::Key, i64>>,
    entry_bytes: usize,
}

impl<K: BagKey> Bags<K> {
    fn new(aggregate: Arc<Aggregate>, form: K) -> Self {
        Bags {
            aggregate,
            form,
            bags: Vec::new(),
            entry_bytes: 0,
        }
    }
}

impl<K: BagKey> AggregateState for Bags<K> {
    fn resize(&mut self, groups: usize) {
        self.bags.resize_with(groups, BTreeMap::new);
    }

    fn update(&mut self, groups: &[u32], columns: &[ArrayRef], weights: Option<&[i64]>) -> Result<(), SqlError> {
        let values = &columns[0];
        let (form, bags, entry_bytes) = (self.form, &mut self.bags, &mut self.entry_bytes);
        form.each(values, |row, key| {
            let weight = weights.map_or(1, |weights| weights[row]);
            let bag = &mut bags[groups[row] as usize];
            let size = form.entry_bytes(&key);
            // Within a step a row may be taken away before it is added: a count may be negative in between (V4 holds at its end).
            match bag.entry(key) {
                std::collections::btree_map::Entry::Vacant(vacant) => {
                    vacant.insert(weight);
                    *entry_bytes += size;
                }
                std::collections::btree_map::Entry::Occupied(mut occupied) => {
                    *occupied.get_mut() += weight;
                    if *occupied.get() == 0 {
                        occupied.remove();
                        *entry_bytes -= size;
                    }
                }
            }
        });
        Ok(())
    }

    fn finish(&self, groups: &[u32]) -> Result<ArrayRef, SqlError> {
        let bags = groups.iter().map(|group| &self.bags[*group as usize]);
        match self.aggregate.kind {
            AggregateKind::Min => {
                let keys = bags.map(|bag| bag.first_key_value().map(|(key, _)| key)).collect();
                self.form.array(&self.aggregate.output, keys)
            }
            AggregateKind::Max => {
                let keys = bags.map(|bag| bag.last_key_value().map(|(key, _)| key)).collect();
                self.form.array(&self.aggregate.output, keys)
            }
            _ => {
                let mut slots = Vec::with_capacity(groups.len());
                for bag in bags {
                    let mut slot = Slot::<f64>::default();
                    for (key, count) in bag {
                        slot.add_weighted(self.form.float(key), *count)?;
                    }
                    slots.push(slot);
                }
                f64::finish(&self.aggregate, &slots)
            }
        }
    }

    fn keep(&mut self, groups: &[u32]) {
        self.bags = groups
            .iter()
            .map(|group| std::mem::take(&mut self.bags[*group as usize]))
            .collect();
        let keys = self.bags.iter().flat_map(|bag| bag.keys());
        self.entry_bytes = keys.map(|key| self.form.entry_bytes(key)).sum();
    }

    fn save(&self) -> Result<RecordBatch, SqlError> {
        let mut groups = Vec::new();
        let mut keys = Vec::new();
        let mut counts = Vec::new();
        for (group, bag) in self.bags.iter().enumerate() {
            for (key, count) in bag {
                groups.push(group as u32);
                keys.push(Some(key));
                counts.push(*count);
            }
        }
        batch(vec![
            ("group", Arc::new(UInt32Array::from(groups))),
            ("value", self.form.array(&self.aggregate.input, keys)?),
            ("count", Arc::new(Int64Array::from(counts))),
        ])
    }

    fn restore(&mut self, saved: &RecordBatch, groups: usize) -> Result<(), SqlError> {
        self.bags.clear();
        self.entry_bytes = 0;
        self.resize(groups);
        let of = saved.column(0).as_primitive::<UInt32Type>().values();
        let counts = saved.column(2).as_primitive::<Int64Type>().values();
        self.update(of, &saved.columns()[1..2], Some(counts))
    }

    fn bytes(&self) -> usize {
        self.bags.capacity() * size_of::<BTreeMap<K::Key, i64>>() + self.entry_bytes
    }
}

/// `values` with NULL where `keep` is not true: an aggregate's FILTER.
pub fn masked(values: &ArrayRef, keep: &BooleanArray) -> Result<ArrayRef, SqlError> {
    let kept = match keep.nulls() {
        None => keep.values().clone(),
        Some(nulls) => keep.values() & nulls.inner(),
    };
    let nulls = NullBuffer::union(values.logical_nulls().as_ref(), Some(&NullBuffer::new(kept)));
    let data = values.to_data().into_builder().nulls(nulls).build()?;
    Ok(arrow::array::make_array(data))
}
