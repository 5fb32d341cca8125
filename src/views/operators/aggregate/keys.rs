//! Group keys to group numbers: a hash table per layout of the key.
//!
//! Groups are numbered densely from 0 in order of first appearance; columns elsewhere, indexed by that number, hold the
//! rest of a group. Numbers for a whole batch are found in one pass.
//!
//! - Keys of fixed width are packed into one to four words that stand in the table itself: one cache line per look-up. Rows
//!   with a NULL among the keys are rare and go to a table beside it, so that no null bits are needed.
//! - Other keys are encoded by `arrow::row`, the bytes kept in one arena.
//!
//! Open addressing, linear probing, at most 5/8 full; nothing is ever deleted singly: [`Keys::keep`] rebuilds.
//!
//! Not here: the aggregates (`states.rs`).

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, make_array};
use arrow::buffer::{Buffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::row::{RowConverter, SortField};

use crate::error::SqlError;

use crate::views::memory::{Budget, exceeded};

const EMPTY: u32 = u32::MAX;
/// In place of the number of a key that no group has.
pub const UNKNOWN: u32 = EMPTY;
/// Rows that are looked up together: their cache lines are touched first, without waiting for one another.
const BLOCK_ROWS: usize = 256;
/// From this many entries on a table does not fit into the nearer caches, and touching first pays.
const TOUCH_ENTRIES_MIN: usize = 1 << 15;

/// All groups seen.
pub struct Keys {
    types: Vec<DataType>,
    /// Floats that are equal are one key.
    equal_floats: bool,
    store: Store,
    budget: Arc<Budget>,
}

enum Store {
    /// No key columns: one group, always there.
    Single,
    One(Fixed<1>),
    Two(Fixed<2>),
    Three(Fixed<3>),
    Four(Fixed<4>),
    Bytes(Bytes),
}

macro_rules! each_store {
    ($store:expr, $table:ident => $body:expr, $single:expr) => {
        match $store {
            Store::Single => $single,
            Store::One($table) => $body,
            Store::Two($table) => $body,
            Store::Three($table) => $body,
            Store::Four($table) => $body,
            Store::Bytes($table) => $body,
        }
    };
}

impl Keys {
    pub fn new(types: &[DataType], budget: Arc<Budget>) -> Result<Keys, SqlError> {
        let store = match KeyLayout::of(types) {
            _ if types.is_empty() => Store::Single,
            Some(layout) => match layout.words {
                1 => Store::One(Fixed::new(layout, budget.clone())),
                2 => Store::Two(Fixed::new(layout, budget.clone())),
                3 => Store::Three(Fixed::new(layout, budget.clone())),
                _ => Store::Four(Fixed::new(layout, budget.clone())),
            },
            None => Store::Bytes(Bytes::new(types, budget.clone())?),
        };
        Ok(Keys {
            types: types.to_vec(),
            equal_floats: types.iter().any(DataType::is_floating),
            store,
            budget,
        })
    }

    /// For whole rows, which come back as they were: -0 is not 0 here.
    pub fn exact(types: &[DataType], budget: Arc<Budget>) -> Result<Keys, SqlError> {
        let keys = Keys::new(types, budget)?;
        Ok(Keys {
            equal_floats: false,
            ..keys
        })
    }

    /// Number of groups.
    pub fn len(&self) -> usize {
        each_store!(&self.store, table => table.len(), 1)
    }

    /// Finds the group of each row, making new ones, into `groups`. 53200 if the table would have to grow past the budget: some of
    /// the groups are made then.
    pub fn intern(&mut self, columns: &[ArrayRef], rows: usize, groups: &mut Vec<u32>) -> Result<(), SqlError> {
        groups.clear();
        let columns = &*self.compared(columns);
        each_store!(&mut self.store, table => {
            table.refused = false;
            table.intern(columns, rows, groups)?;
        }, groups.resize(rows, 0));
        assert_eq!(groups.len(), rows, "each row has a group");
        match each_store!(&self.store, table => table.refused, false) {
            true => Err(exceeded(self.bytes().saturating_mul(2), self.budget.bytes_max())),
            false => Ok(()),
        }
    }

    /// The group of each row, or [`UNKNOWN`].
    pub fn find(&self, columns: &[ArrayRef], rows: usize) -> Result<Vec<u32>, SqlError> {
        let columns = &*self.compared(columns);
        each_store!(&self.store, table => table.find_all(columns, rows), Ok(vec![0; rows]))
    }

    /// Key columns in the form that is compared.
    fn compared<'a>(&self, columns: &'a [ArrayRef]) -> Cow<'a, [ArrayRef]> {
        assert_eq!(columns.len(), self.types.len(), "one column per key");
        match self.equal_floats {
            true => columns.iter().map(equal_floats_alike).collect(),
            false => Cow::Borrowed(columns),
        }
    }

    /// The key columns of `groups`.
    pub fn columns(&self, groups: &[u32]) -> Result<Vec<ArrayRef>, SqlError> {
        each_store!(&self.store, table => table.columns(groups), Ok(Vec::new()))
    }

    /// Keeps only `groups` (rising), which become 0, 1, 2 ... in that order.
    pub fn keep(&mut self, groups: &[u32]) {
        each_store!(&mut self.store, table => table.keep(groups), {})
    }

    /// Bytes of memory held, about.
    pub fn bytes(&self) -> usize {
        each_store!(&self.store, table => table.bytes(), 0)
    }
}

/// Floats that are equal have one form: -0 is 0, and there is one NaN.
fn equal_floats_alike(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float64 => Arc::new(
            column
                .as_primitive::<Float64Type>()
                .unary::<_, Float64Type>(|value| if value.is_nan() { f64::NAN } else { value + 0.0 }),
        ),
        DataType::Float32 => Arc::new(
            column
                .as_primitive::<Float32Type>()
                .unary::<_, Float32Type>(|value| if value.is_nan() { f32::NAN } else { value + 0.0 }),
        ),
        _ => column.clone(),
    }
}

/// The places of the key columns in the packed words.
#[derive(Clone)]
struct KeyLayout {
    words: usize,
    fields: Vec<Packed>,
}

#[derive(Clone)]
struct Packed {
    data_type: DataType,
    word: usize,
    shift: u32,
    /// 8 (boolean), 16, 32, 64 or 128, which takes the next word too.
    bits: u32,
}

impl KeyLayout {
    /// `None` if some type has no fixed width or compares otherwise than by its bits, or if all do not fit into four words.
    fn of(types: &[DataType]) -> Option<KeyLayout> {
        let mut fields = Vec::with_capacity(types.len());
        for data_type in types {
            let bits = match data_type {
                DataType::Boolean => 8,
                DataType::Int8
                | DataType::Int16
                | DataType::Int32
                | DataType::Int64
                | DataType::UInt8
                | DataType::UInt16
                | DataType::UInt32
                | DataType::UInt64
                | DataType::Date32
                | DataType::Date64
                | DataType::Time32(_)
                | DataType::Time64(_)
                | DataType::Timestamp(..)
                | DataType::Decimal128(..) => data_type.primitive_width()? as u32 * 8,
                _ => return None,
            };
            fields.push(Packed {
                data_type: data_type.clone(),
                word: 0,
                shift: 0,
                bits,
            });
        }
        // Widest first, so that each falls on a multiple of its own width.
        let mut order: Vec<usize> = (0..fields.len()).collect();
        order.sort_by_key(|field| std::cmp::Reverse(fields[*field].bits));
        let mut bit = 0u32;
        for index in order {
            fields[index].word = (bit / 64) as usize;
            fields[index].shift = bit % 64;
            bit += fields[index].bits;
        }
        let words = bit.div_ceil(64) as usize;
        (words <= 4).then_some(KeyLayout { words, fields })
    }

    /// Ors the key columns into `packed`, which holds zeros.
    fn pack<const N: usize>(&self, columns: &[ArrayRef], packed: &mut [[u64; N]]) {
        for (field, column) in self.fields.iter().zip(columns) {
            let (word, shift) = (field.word, field.shift);
            match field.bits {
                8 if field.data_type == DataType::Boolean => {
                    let values = column.as_boolean().values();
                    for (row, value) in values.iter().enumerate() {
                        packed[row][word] |= u64::from(value) << shift;
                    }
                }
                8 => or_into(packed, &words_of::<i8>(column), word, |value| {
                    u64::from(value as u8) << shift
                }),
                16 => or_into(packed, &words_of::<i16>(column), word, |value| {
                    u64::from(value as u16) << shift
                }),
                32 => or_into(packed, &words_of::<i32>(column), word, |value| {
                    u64::from(value as u32) << shift
                }),
                64 => or_into(packed, &words_of::<i64>(column), word, |value| value as u64),
                _ => {
                    let values = words_of::<i128>(column);
                    for (key, value) in packed.iter_mut().zip(values.iter()) {
                        key[word] = *value as u64;
                        key[word + 1] = (*value >> 64) as u64;
                    }
                }
            }
        }
    }

    /// Takes the values under NULLs, which are no part of a key, out of packed keys; bit i of the answer says that column i is NULL.
    fn take_nulls<const N: usize>(&self, columns: &[ArrayRef], packed: &mut [[u64; N]]) -> Vec<u64> {
        let mut bits = vec![0u64; packed.len()];
        for (index, (column, field)) in columns.iter().zip(&self.fields).enumerate() {
            let Some(nulls) = column.nulls() else { continue };
            for row in (0..packed.len()).filter(|row| nulls.is_null(*row)) {
                bits[row] |= 1 << index;
                let mask = if field.bits >= 64 {
                    u64::MAX
                } else {
                    (1 << field.bits) - 1
                };
                packed[row][field.word] &= !(mask << field.shift);
                if field.bits == 128 {
                    packed[row][field.word + 1] = 0;
                }
            }
        }
        bits
    }

    /// The columns of packed keys; bit i of a row's null bits says that its column i is NULL.
    fn unpack<const N: usize>(&self, keys: &[[u64; N]], nulls: Option<&[u64]>) -> Result<Vec<ArrayRef>, SqlError> {
        let mut columns = Vec::with_capacity(self.fields.len());
        for (index, field) in self.fields.iter().enumerate() {
            let (word, shift) = (field.word, field.shift);
            let nulls = nulls
                .map(|bits| NullBuffer::from_iter(bits.iter().map(|bits| bits & (1 << index) == 0)))
                .filter(|nulls| nulls.null_count() > 0);
            let part = keys.iter().map(|key| key[word] >> shift);
            let buffer: Buffer = match field.bits {
                8 if field.data_type == DataType::Boolean => {
                    let values = part.map(|value| value & 1 == 1).collect();
                    columns.push(Arc::new(BooleanArray::new(values, nulls)) as ArrayRef);
                    continue;
                }
                8 => part.map(|value| value as u8).collect::<Vec<u8>>().into(),
                16 => part.map(|value| value as u16).collect::<Vec<u16>>().into(),
                32 => part.map(|value| value as u32).collect::<Vec<u32>>().into(),
                64 => part.collect::<Vec<u64>>().into(),
                _ => keys
                    .iter()
                    .map(|key| (key[word] as i128) | ((key[word + 1] as i128) << 64))
                    .collect::<Vec<i128>>()
                    .into(),
            };
            columns.push(primitive(&field.data_type, buffer, keys.len(), nulls)?);
        }
        Ok(columns)
    }
}

/// A primitive array of any type from its values' bytes.
pub fn primitive(
    data_type: &DataType,
    values: impl Into<Buffer>,
    rows: usize,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef, SqlError> {
    let data = arrow::array::ArrayData::builder(data_type.clone())
        .len(rows)
        .add_buffer(values.into())
        .nulls(nulls)
        .build()?;
    Ok(make_array(data))
}

/// The values of a primitive column of any type of `T`'s width; undefined where it is NULL.
pub fn words_of<T: arrow::datatypes::ArrowNativeType>(column: &ArrayRef) -> ScalarBuffer<T> {
    let data = column.to_data();
    ScalarBuffer::new(data.buffers()[0].clone(), data.offset(), data.len())
}

#[inline]
fn or_into<const N: usize, T: Copy>(packed: &mut [[u64; N]], values: &[T], word: usize, widen: impl Fn(T) -> u64) {
    for (key, value) in packed.iter_mut().zip(values) {
        key[word] |= widen(*value);
    }
}

/// Both halves of a product, folded: foldhash's mixing.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

#[inline]
fn hash_words<const N: usize>(key: &[u64; N]) -> u64 {
    // Digits of pi; any odd constants with well spread bits do.
    const SEED: u64 = 0x243f_6a88_85a3_08d3;
    const FACTOR: u64 = 0x1319_8a2e_0370_7345;
    let mut hash = SEED;
    for word in key {
        hash = fold(hash ^ word, FACTOR);
    }
    // A second round: a folded product of a small number alone leaves the top bits empty.
    fold(hash, SEED | 1)
}

#[derive(Clone, Copy)]
struct KeyEntry<const N: usize> {
    key: [u64; N],
    /// [`EMPTY`] if free.
    group: u32,
}

struct Fixed<const N: usize> {
    layout: KeyLayout,
    /// A power of two of them.
    entries: Vec<KeyEntry<N>>,
    /// By group.
    keys: Vec<[u64; N]>,
    /// Null bits by group; shorter than `keys` if the rest have no nulls.
    null_bits: Vec<u64>,
    /// Groups with a NULL among the keys.
    with_nulls: HashMap<([u64; N], u64), u32, foldhash::fast::FixedState>,
    packed: Vec<[u64; N]>,
    budget: Arc<Budget>,
    /// The budget had no room for a larger table.
    refused: bool,
}

impl<const N: usize> Fixed<N> {
    fn new(layout: KeyLayout, budget: Arc<Budget>) -> Fixed<N> {
        Fixed {
            budget,
            refused: false,
            layout,
            entries: free_entries(64),
            keys: Vec::new(),
            null_bits: Vec::new(),
            with_nulls: HashMap::default(),
            packed: Vec::new(),
        }
    }

    fn len(&self) -> usize {
        self.keys.len()
    }

    fn intern(&mut self, columns: &[ArrayRef], rows: usize, groups: &mut Vec<u32>) -> Result<(), SqlError> {
        let mut packed = std::mem::take(&mut self.packed);
        packed.clear();
        packed.resize(rows, [0; N]);
        self.layout.pack(columns, &mut packed);
        groups.reserve(rows);
        if columns.iter().any(|column| column.null_count() > 0) {
            self.intern_with_nulls(columns, &mut packed, groups);
        } else {
            for block in packed.chunks(BLOCK_ROWS) {
                self.touch(block);
                for key in block {
                    groups.push(self.group_of(key));
                }
            }
        }
        self.packed = packed;
        Ok(())
    }

    /// Loads the cache lines of a block's first probes: the loads do not depend on one another, so they overlap.
    #[inline]
    fn touch(&self, block: &[[u64; N]]) {
        if self.entries.len() < TOUCH_ENTRIES_MIN {
            return;
        }
        let shift = 64 - self.entries.len().trailing_zeros();
        let mut seen = 0;
        for key in block {
            seen ^= self.entries[(hash_words(key) >> shift) as usize].group;
        }
        std::hint::black_box(seen);
    }

    #[inline]
    fn group_of(&mut self, key: &[u64; N]) -> u32 {
        match self.find(key) {
            Ok(group) => group,
            Err(at) => self.insert(key, at),
        }
    }

    /// The group of a key without NULLs, or the free entry where it belongs.
    #[inline]
    fn find(&self, key: &[u64; N]) -> Result<u32, usize> {
        let mask = self.entries.len() - 1;
        let shift = 64 - self.entries.len().trailing_zeros();
        let mut at = (hash_words(key) >> shift) as usize;
        loop {
            let entry = &self.entries[at];
            if entry.key == *key && entry.group != EMPTY {
                return Ok(entry.group);
            }
            if entry.group == EMPTY {
                return Err(at);
            }
            at = (at + 1) & mask;
        }
    }

    fn find_all(&self, columns: &[ArrayRef], rows: usize) -> Result<Vec<u32>, SqlError> {
        let mut packed = vec![[0; N]; rows];
        self.layout.pack(columns, &mut packed);
        let mut groups = Vec::with_capacity(rows);
        if columns.iter().any(|column| column.null_count() > 0) {
            let bits = self.layout.take_nulls(columns, &mut packed);
            groups.extend(packed.iter().zip(bits).map(|(key, bits)| match bits {
                0 => self.find(key).unwrap_or(EMPTY),
                _ => self.with_nulls.get(&(*key, bits)).copied().unwrap_or(EMPTY),
            }));
            return Ok(groups);
        }
        for block in packed.chunks(BLOCK_ROWS) {
            self.touch(block);
            groups.extend(block.iter().map(|key| self.find(key).unwrap_or(EMPTY)));
        }
        Ok(groups)
    }

    #[cold]
    #[inline(never)]
    fn insert(&mut self, key: &[u64; N], at: usize) -> u32 {
        if self.refused {
            // `intern` fails: the numbers of the rows are of no use.
            return 0;
        }
        let group = next_group(self.keys.len());
        self.entries[at] = KeyEntry { key: *key, group };
        self.keys.push(*key);
        if !self.null_bits.is_empty() {
            self.null_bits.push(0);
        }
        if self.keys.len() * 8 > self.entries.len() * 5 {
            self.grow();
        }
        group
    }

    /// Doubles the table if the budget allows it.
    fn grow(&mut self) {
        let entries = self.entries.len() * 2;
        let more = entries * size_of::<KeyEntry<N>>() + self.keys.capacity() * size_of::<[u64; N]>();
        match self.budget.fits(more) {
            true => self.rebuild(entries),
            false => self.refused = true,
        }
    }

    fn rebuild(&mut self, capacity: usize) {
        self.entries = free_entries(capacity);
        let mask = capacity - 1;
        let shift = 64 - capacity.trailing_zeros();
        for (group, key) in self.keys.iter().enumerate() {
            if self.null_bits.get(group).is_some_and(|bits| *bits != 0) {
                continue;
            }
            let mut at = (hash_words(key) >> shift) as usize;
            while self.entries[at].group != EMPTY {
                at = (at + 1) & mask;
            }
            self.entries[at] = KeyEntry {
                key: *key,
                group: group as u32,
            };
        }
    }

    /// As the loop over blocks in `intern`, for a batch in which some key is NULL.
    fn intern_with_nulls(&mut self, columns: &[ArrayRef], packed: &mut [[u64; N]], groups: &mut Vec<u32>) {
        let bits = self.layout.take_nulls(columns, packed);
        for (key, bits) in packed.iter().zip(bits) {
            if bits == 0 {
                groups.push(self.group_of(key));
                continue;
            }
            if let Some(group) = self.with_nulls.get(&(*key, bits)) {
                groups.push(*group);
                continue;
            }
            let group = next_group(self.keys.len());
            self.null_bits.resize(self.keys.len(), 0);
            self.null_bits.push(bits);
            self.keys.push(*key);
            self.with_nulls.insert((*key, bits), group);
            groups.push(group);
        }
    }

    fn columns(&self, groups: &[u32]) -> Result<Vec<ArrayRef>, SqlError> {
        let keys: Vec<[u64; N]> = groups.iter().map(|group| self.keys[*group as usize]).collect();
        let bits: Option<Vec<u64>> = (!self.null_bits.is_empty()).then(|| {
            let bits = |group: &u32| self.null_bits.get(*group as usize).copied().unwrap_or(0);
            groups.iter().map(bits).collect()
        });
        self.layout.unpack(&keys, bits.as_deref())
    }

    fn keep(&mut self, groups: &[u32]) {
        self.keys = groups.iter().map(|group| self.keys[*group as usize]).collect();
        if !self.null_bits.is_empty() {
            let bits = |group: &u32| self.null_bits.get(*group as usize).copied().unwrap_or(0);
            self.null_bits = groups.iter().map(bits).collect();
        }
        self.with_nulls.clear();
        for (group, bits) in self.null_bits.iter().enumerate().filter(|(_, bits)| **bits != 0) {
            self.with_nulls.insert((self.keys[group], *bits), group as u32);
        }
        self.rebuild((self.keys.len() * 2).next_power_of_two().max(64));
    }

    fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<KeyEntry<N>>()
            + self.keys.capacity() * size_of::<[u64; N]>()
            + self.null_bits.capacity() * size_of::<u64>()
            + self.with_nulls.capacity() * (size_of::<([u64; N], u64, u32)>() + 1)
    }
}

fn free_entries<const N: usize>(capacity: usize) -> Vec<KeyEntry<N>> {
    vec![
        KeyEntry {
            key: [0; N],
            group: EMPTY
        };
        capacity
    ]
}

fn next_group(groups: usize) -> u32 {
    let group = u32::try_from(groups).expect("fewer than 2^32 groups fit into memory");
    assert_ne!(group, EMPTY, "fewer than 2^32 - 1 groups fit into memory");
    group
}

#[derive(Clone, Copy)]
struct Tagged {
    hash: u64,
    group: u32,
}

/// Keys of any type, encoded by `arrow::row`.
struct Bytes {
    converter: RowConverter,
    hasher: foldhash::fast::FixedState,
    entries: Vec<Tagged>,
    arena: Vec<u8>,
    /// The ends of the groups' bytes in the arena.
    ends: Vec<usize>,
    budget: Arc<Budget>,
    /// The budget had no room for a larger table or arena.
    refused: bool,
}

impl Bytes {
    fn new(types: &[DataType], budget: Arc<Budget>) -> Result<Bytes, SqlError> {
        let fields = types
            .iter()
            .map(|data_type| SortField::new(data_type.clone()))
            .collect();
        Ok(Bytes {
            converter: RowConverter::new(fields)?,
            hasher: foldhash::fast::FixedState::default(),
            entries: vec![Tagged { hash: 0, group: EMPTY }; 64],
            arena: Vec::new(),
            ends: Vec::new(),
            budget,
            refused: false,
        })
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn key(&self, group: u32) -> &[u8] {
        let group = group as usize;
        let start = if group == 0 { 0 } else { self.ends[group - 1] };
        &self.arena[start..self.ends[group]]
    }

    fn intern(&mut self, columns: &[ArrayRef], rows: usize, groups: &mut Vec<u32>) -> Result<(), SqlError> {
        let encoded = self.converter.convert_columns(columns)?;
        assert_eq!(encoded.num_rows(), rows, "one encoded key per row");
        let more = encoded.size();
        if self.arena.len() + more > self.arena.capacity() && !self.budget.fits(more.max(self.arena.capacity())) {
            // New keys may be fewer than rows: ask again for those alone that would not fit.
            self.refused = encoded
                .iter()
                .filter(|row| self.find(self.hasher.hash_one(row.as_ref()), row.as_ref()).is_err())
                .map(|row| row.as_ref().len())
                .sum::<usize>()
                > self.arena.capacity() - self.arena.len();
        }
        for row in &encoded {
            groups.push(self.group_of(row.as_ref()));
            if self.refused {
                groups.resize(rows, 0);
                break;
            }
        }
        Ok(())
    }

    /// The group of a key, or the free entry where it belongs.
    #[inline]
    fn find(&self, hash: u64, key: &[u8]) -> Result<u32, usize> {
        let mask = self.entries.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let entry = self.entries[at];
            if entry.group == EMPTY {
                return Err(at);
            }
            if entry.hash == hash && self.key(entry.group) == key {
                return Ok(entry.group);
            }
            at = (at + 1) & mask;
        }
    }

    fn find_all(&self, columns: &[ArrayRef], rows: usize) -> Result<Vec<u32>, SqlError> {
        let encoded = self.converter.convert_columns(columns)?;
        assert_eq!(encoded.num_rows(), rows, "one encoded key per row");
        let find = |row: arrow::row::Row<'_>| {
            let key = row.as_ref();
            self.find(self.hasher.hash_one(key), key).unwrap_or(EMPTY)
        };
        Ok(encoded.iter().map(find).collect())
    }

    fn group_of(&mut self, key: &[u8]) -> u32 {
        let hash = self.hasher.hash_one(key);
        let at = match self.find(hash, key) {
            Ok(group) => return group,
            Err(at) => at,
        };
        let group = next_group(self.ends.len());
        self.entries[at] = Tagged { hash, group };
        self.arena.extend_from_slice(key);
        self.ends.push(self.arena.len());
        if self.ends.len() * 8 > self.entries.len() * 5 {
            let entries = self.entries.len() * 2;
            match self.budget.fits(entries * size_of::<Tagged>()) {
                true => self.rebuild(entries),
                false => self.refused = true,
            }
        }
        group
    }

    fn rebuild(&mut self, capacity: usize) {
        let mut entries = vec![Tagged { hash: 0, group: EMPTY }; capacity];
        let mask = capacity - 1;
        for group in 0..self.ends.len() as u32 {
            let hash = self.hasher.hash_one(self.key(group));
            let mut at = hash as usize & mask;
            while entries[at].group != EMPTY {
                at = (at + 1) & mask;
            }
            entries[at] = Tagged { hash, group };
        }
        self.entries = entries;
    }

    fn columns(&self, groups: &[u32]) -> Result<Vec<ArrayRef>, SqlError> {
        let parser = self.converter.parser();
        let rows = groups.iter().map(|group| parser.parse(self.key(*group)));
        self.converter.convert_rows(rows).map_err(SqlError::from)
    }

    fn keep(&mut self, groups: &[u32]) {
        let mut arena = Vec::new();
        let mut ends = Vec::with_capacity(groups.len());
        for group in groups {
            arena.extend_from_slice(self.key(*group));
            ends.push(arena.len());
        }
        self.arena = arena;
        self.ends = ends;
        self.rebuild((self.ends.len() * 2).next_power_of_two().max(64));
    }

    fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Tagged>()
            + self.arena.capacity()
            + self.ends.capacity() * size_of::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Decimal128Array, Float64Array, Int32Array, Int64Array, StringArray};

    /// Interns the columns, in two batches, and checks the groups and that the keys come back.
    fn check(columns: Vec<ArrayRef>, expected: &[u32]) {
        let types: Vec<DataType> = columns.iter().map(|column| column.data_type().clone()).collect();
        let mut keys = Keys::new(&types, Budget::unlimited()).expect("keys");
        let half = expected.len() / 2;
        let mut found = Vec::new();
        let mut groups = Vec::new();
        for (offset, rows) in [(0, half), (half, expected.len() - half)] {
            let part: Vec<ArrayRef> = columns.iter().map(|column| column.slice(offset, rows)).collect();
            keys.intern(&part, rows, &mut groups).expect("intern");
            found.extend_from_slice(&groups);
        }
        assert_eq!(found, expected);
        assert_eq!(keys.find(&columns, expected.len()).expect("find"), expected);
        let back = keys.columns(&found).expect("columns");
        for (column, back) in columns.iter().zip(&back) {
            assert_eq!(column, back);
        }
        // Without its first group.
        let rest: Vec<u32> = (1..keys.len() as u32).collect();
        keys.keep(&rest);
        let gone: Vec<bool> = expected.iter().map(|group| *group == 0).collect();
        let unknown = keys.find(&columns, expected.len()).expect("find").into_iter();
        assert_eq!(unknown.map(|group| group == UNKNOWN).collect::<Vec<_>>(), gone);
        keys.intern(&columns, expected.len(), &mut groups).expect("intern");
        let moved: Vec<u32> = expected
            .iter()
            .map(|group| if *group == 0 { rest.len() as u32 } else { group - 1 })
            .collect();
        assert_eq!(groups, moved);
    }

    #[test]
    fn one_integer_key() {
        check(vec![Arc::new(Int64Array::from(vec![7, 0, 7, -1, 0]))], &[0, 1, 0, 2, 1]);
    }

    #[test]
    fn nulls_are_one_group() {
        let values = Int64Array::from(vec![Some(0), None, Some(0), None, Some(3)]);
        check(vec![Arc::new(values)], &[0, 1, 0, 1, 2]);
    }

    #[test]
    fn packed_keys_of_several_widths() {
        let a = Int32Array::from(vec![Some(1), Some(1), None, None, Some(-1), Some(1)]);
        let b = Int64Array::from(vec![Some(5), Some(6), Some(5), Some(5), Some(5), Some(5)]);
        let c = BooleanArray::from(vec![Some(true), Some(true), Some(false), Some(false), None, Some(true)]);
        let d = Decimal128Array::from(vec![-1, -1, 10, 10, i128::MAX / 4, -1])
            .with_precision_and_scale(38, 2)
            .expect("fits");
        check(
            vec![Arc::new(a), Arc::new(b), Arc::new(c), Arc::new(d)],
            &[0, 1, 2, 2, 3, 0],
        );
    }

    #[test]
    fn text_and_floats_go_by_bytes() {
        let a = StringArray::from(vec![Some("x"), None, Some(""), Some("x"), Some("x"), None]);
        let b = Float64Array::from(vec![Some(1.5), Some(1.5), Some(1.5), Some(1.5), None, Some(1.5)]);
        check(vec![Arc::new(a), Arc::new(b)], &[0, 1, 2, 0, 3, 1]);
    }

    #[test]
    fn many_keys_stay_apart() {
        let values: Vec<i64> = (0..50_000).map(|n| n * 1_000_003 % 65_537).collect();
        let mut seen: HashMap<i64, u32> = HashMap::new();
        let mut expected = Vec::new();
        for value in &values {
            let next = seen.len() as u32;
            expected.push(*seen.entry(*value).or_insert(next));
        }
        check(vec![Arc::new(Int64Array::from(values.clone()))], &expected);
        check(
            vec![
                Arc::new(Int64Array::from(vec![1; values.len()])),
                Arc::new(Int64Array::from(values)),
            ],
            &expected,
        );
    }

    #[test]
    fn no_keys_is_one_group() {
        let mut keys = Keys::new(&[], Budget::unlimited()).expect("keys");
        let mut groups = Vec::new();
        keys.intern(&[], 3, &mut groups).expect("intern");
        assert_eq!((groups, keys.len()), (vec![0, 0, 0], 1));
    }

    #[test]
    fn a_table_that_would_double_past_the_budget_is_refused_before_it_does() {
        let numbers = |from: i64, to: i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(from..to)) };
        let texts = |from: i64, to: i64| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(
                (from..to).map(|number| format!("key {number}")),
            ))
        };
        let makers: [&dyn Fn(i64, i64) -> ArrayRef; 2] = [&numbers, &texts];
        for make in makers {
            let column = make(0, 1);
            let mut keys = Keys::new(&[column.data_type().clone()], Budget::new(2 << 20)).expect("keys");
            let mut groups = Vec::new();
            let mut known = 0;
            let error = loop {
                match keys.intern(&[make(known, known + 1000)], 1000, &mut groups) {
                    Ok(()) => known += 1000,
                    Err(error) => break error,
                }
                // Known keys need no more room, however often they come.
                keys.intern(&[make(0, known.min(5000))], known.min(5000) as usize, &mut groups)
                    .expect("known");
            };
            assert_eq!(error.state, crate::error::state::OUT_OF_MEMORY);
            // Each of its parts asks alone here, since nobody counts them.
            assert!(
                known > 20_000 && keys.bytes() < 8 << 20,
                "{known} keys in {} bytes",
                keys.bytes()
            );
        }
    }
}
