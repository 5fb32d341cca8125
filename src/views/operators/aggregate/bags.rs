//! Multisets of values: the states of aggregates that a retraction cannot be subtracted from.
//!
//! One rule: a value is there while it was added more often than it was taken away.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Int64Type, UInt32Type};

use crate::error::SqlError;
use crate::sql::functions::aggregates::{Aggregate, AggregateKind, Slot, Summand};

use super::keys::{primitive, words_of};
use super::state::{AggregateState, batch, byte_array};

/// The conversion of values to the ordered keys of a multiset, and back.
pub trait BagKey: Send + Copy {
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
pub struct FixedWidth;

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
pub struct Text;

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
pub struct Bags<K: BagKey> {
    aggregate: Arc<Aggregate>,
    form: K,
    bags: Vec<BTreeMap<K::Key, i64>>,
    entry_bytes: usize,
}

impl<K: BagKey> Bags<K> {
    pub fn new(aggregate: Arc<Aggregate>, form: K) -> Self {
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
