//! The states of one aggregate for all groups, in columns indexed by group number.
//!
//! One rule: the parts of a state, its arithmetic and its result are `sql::functions::aggregates`'s, the same as in
//! batch queries; this file only keeps them. One virtual call per batch, then plain loops.
//!
//! Sums of exact numbers, counts and bool_and/or are linear: a retraction is subtracted. min and max are kept as
//! scalars over append-only input, else as ordered multisets; so are sums of floats over retracting input, which a
//! subtraction would not restore.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, GenericByteArray, Int64Array, LargeBinaryArray, PrimitiveArray, RecordBatch,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{ArrowNativeType, BinaryType, ByteArrayType, DataType, Int64Type, LargeBinaryType, Utf8Type};

use crate::error::SqlError;
use crate::sql::functions::Numbers;
use crate::sql::functions::aggregates::{Aggregate, AggregateKind, BoolSlot, Slot, StateKind, Summand, Total};

use super::bags::{Bags, FixedWidth, Text};
use super::keys::{primitive, words_of};
use super::sessions::JoinedGroups;
use super::state::{AggregateState, batch, byte_array};

/// Whether the states of an aggregate over append-only input can be merged, and make what they would have made of all rows:
/// sums of floats depend on the order.
pub fn merges(aggregate: &Aggregate) -> bool {
    aggregate.state != StateKind::Float64
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

    fn merge(&mut self, groups: &[u32], saved: &RecordBatch) -> Result<(), SqlError> {
        let counts = saved.column(0).as_primitive::<Int64Type>().values();
        for (group, count) in groups.iter().zip(counts) {
            self.counts[*group as usize] += count;
        }
        Ok(())
    }

    fn join(&mut self, joined: &[JoinedGroups]) -> Result<(), SqlError> {
        for JoinedGroups { to, from } in joined {
            self.counts[*to as usize] += self.counts[*from as usize];
        }
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

    fn merge(&mut self, groups: &[u32], saved: &RecordBatch) -> Result<(), SqlError> {
        let sums = saved.column(0).as_primitive::<S::Arrow>().values();
        let counts = saved.column(1).as_primitive::<Int64Type>().values();
        for (group, (sum, count)) in groups.iter().zip(sums.iter().zip(counts)) {
            self.slots[*group as usize].merge(Slot {
                sum: *sum,
                count: *count,
            })?;
        }
        Ok(())
    }

    fn join(&mut self, joined: &[JoinedGroups]) -> Result<(), SqlError> {
        for JoinedGroups { to, from } in joined {
            let from = self.slots[*from as usize];
            self.slots[*to as usize].merge(from)?;
        }
        Ok(())
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

    fn merge(&mut self, groups: &[u32], saved: &RecordBatch) -> Result<(), SqlError> {
        let totals = saved.column(0).as_binary::<i64>();
        for (row, group) in groups.iter().enumerate() {
            self.totals[*group as usize].merge(&Total::restore(totals.value(row)))?;
        }
        Ok(())
    }

    fn join(&mut self, joined: &[JoinedGroups]) -> Result<(), SqlError> {
        for JoinedGroups { to, from } in joined {
            let from = std::mem::take(&mut self.totals[*from as usize]);
            self.totals[*to as usize].merge(&from)?;
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

    fn merge(&mut self, groups: &[u32], saved: &RecordBatch) -> Result<(), SqlError> {
        let trues = saved.column(0).as_primitive::<Int64Type>().values();
        let falses = saved.column(1).as_primitive::<Int64Type>().values();
        for (group, (trues, falses)) in groups.iter().zip(trues.iter().zip(falses)) {
            self.slots[*group as usize].merge(BoolSlot {
                trues: *trues,
                falses: *falses,
            });
        }
        Ok(())
    }

    fn join(&mut self, joined: &[JoinedGroups]) -> Result<(), SqlError> {
        for JoinedGroups { to, from } in joined {
            let from = self.slots[*from as usize];
            self.slots[*to as usize].merge(from);
        }
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

    fn merge(&mut self, groups: &[u32], saved: &RecordBatch) -> Result<(), SqlError> {
        self.update(groups, &saved.columns()[..1], None)
    }

    fn join(&mut self, joined: &[JoinedGroups]) -> Result<(), SqlError> {
        let is_least = self.aggregate.kind == AggregateKind::Min;
        for JoinedGroups { to, from } in joined {
            let from = self.slots[*from as usize];
            let to = &mut self.slots[*to as usize];
            let is_better = match is_least {
                true => from.value.before(to.value),
                false => to.value.before(from.value),
            };
            if from.seen && (!to.seen || is_better) {
                *to = from;
            }
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

    fn merge(&mut self, groups: &[u32], saved: &RecordBatch) -> Result<(), SqlError> {
        self.update(groups, &saved.columns()[..1], None)
    }

    fn join(&mut self, joined: &[JoinedGroups]) -> Result<(), SqlError> {
        let is_least = self.aggregate.kind == AggregateKind::Min;
        for JoinedGroups { to, from } in joined {
            let Some(from) = self.values[*from as usize].take() else {
                continue;
            };
            let to = &mut self.values[*to as usize];
            let is_better = to.as_ref().is_none_or(|to| (from < *to) == is_least && from != *to);
            let gone = match is_better {
                true => to.replace(from),
                false => Some(from),
            };
            self.text_bytes -= gone.map_or(0, |gone| gone.len());
        }
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
