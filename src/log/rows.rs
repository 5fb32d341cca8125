//! The row codec: rows of small appends, one after another, without schema, so that the rows of many commits can be
//! laid end to end and decoded as one batch.
//!
//! One rule: decoding rows with the schema of their encoding gives equal arrays; other bytes are an error, never a
//! panic.
//!
//! ```text
//!  row    null bitmap, one bit per column, 1 = NULL, lowest bit first; then the values that are not NULL
//!  value  fixed-width types: their bytes, little-endian; BOOLEAN: one byte
//!         text, bytea, NUMERIC of any scale: length as a varint, bytes
//!         list: count as a varint, null bitmap, values that are not NULL
//! ```

use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, BinaryViewArray, BooleanArray, BooleanBufferBuilder, NullBufferBuilder,
    RecordBatch, RecordBatchOptions, make_array,
};
use arrow::buffer::{Buffer, MutableBuffer, NullBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, IntervalUnit, SchemaRef, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};

#[cfg(target_endian = "big")]
compile_error!("the row codec copies the little-endian bytes of Arrow buffers");

/// Bytes of a fixed-width value, or `None` if the type is not stored so.
fn width(data_type: &DataType) -> Option<usize> {
    match data_type {
        DataType::Int16 => Some(2),
        DataType::Int32 | DataType::Float32 | DataType::Date32 => Some(4),
        DataType::Int64
        | DataType::Float64
        | DataType::Time64(TimeUnit::Microsecond)
        | DataType::Timestamp(TimeUnit::Microsecond, _) => Some(8),
        DataType::Decimal128(_, _) | DataType::Interval(IntervalUnit::MonthDayNano) => Some(16),
        _ => None,
    }
}

fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The raw values of one array.
enum RowSource<'a> {
    Fixed {
        width: usize,
        bytes: &'a [u8],
    },
    Bool(&'a BooleanArray),
    Var {
        offsets: &'a [i32],
        bytes: &'a [u8],
    },
    /// NUMERIC of any scale.
    Long {
        offsets: &'a [i64],
        bytes: &'a [u8],
    },
    /// Arrays of any dimensions.
    View(&'a BinaryViewArray),
    List {
        offsets: &'a [i32],
        items: Box<RowColumn<'a>>,
    },
}

struct RowColumn<'a> {
    nulls: Option<&'a NullBuffer>,
    source: RowSource<'a>,
}

impl<'a> RowColumn<'a> {
    /// `None` for a type without a form.
    fn new(array: &'a dyn Array) -> Option<RowColumn<'a>> {
        macro_rules! fixed {
            ($kind:ty) => {
                RowSource::Fixed {
                    width: size_of::<<$kind as arrow::array::ArrowPrimitiveType>::Native>(),
                    bytes: array.as_primitive_opt::<$kind>()?.values().inner().as_slice(),
                }
            };
        }
        let source = match array.data_type() {
            DataType::Boolean => RowSource::Bool(array.as_boolean()),
            DataType::Int16 => fixed!(Int16Type),
            DataType::Int32 => fixed!(Int32Type),
            DataType::Int64 => fixed!(Int64Type),
            DataType::Float32 => fixed!(Float32Type),
            DataType::Float64 => fixed!(Float64Type),
            DataType::Date32 => fixed!(Date32Type),
            DataType::Time64(TimeUnit::Microsecond) => fixed!(Time64MicrosecondType),
            DataType::Timestamp(TimeUnit::Microsecond, _) => fixed!(TimestampMicrosecondType),
            DataType::Decimal128(_, _) => fixed!(Decimal128Type),
            DataType::Interval(IntervalUnit::MonthDayNano) => fixed!(IntervalMonthDayNanoType),
            DataType::Utf8 => {
                let array = array.as_string::<i32>();
                RowSource::Var {
                    offsets: array.value_offsets(),
                    bytes: array.value_data(),
                }
            }
            DataType::Binary => {
                let array = array.as_binary::<i32>();
                RowSource::Var {
                    offsets: array.value_offsets(),
                    bytes: array.value_data(),
                }
            }
            DataType::LargeBinary => {
                let array = array.as_binary::<i64>();
                RowSource::Long {
                    offsets: array.value_offsets(),
                    bytes: array.value_data(),
                }
            }
            DataType::BinaryView => RowSource::View(array.as_binary_view()),
            DataType::List(_) => {
                let array = array.as_list::<i32>();
                RowSource::List {
                    offsets: array.value_offsets(),
                    items: Box::new(RowColumn::new(array.values().as_ref())?),
                }
            }
            _ => return None,
        };
        Some(RowColumn {
            nulls: array.nulls(),
            source,
        })
    }

    fn is_null(&self, row: usize) -> bool {
        self.nulls.is_some_and(|nulls| nulls.is_null(row))
    }

    fn put(&self, row: usize, out: &mut Vec<u8>) {
        match &self.source {
            RowSource::Fixed { width, bytes } => out.extend_from_slice(&bytes[row * width..(row + 1) * width]),
            RowSource::Bool(array) => out.push(u8::from(array.value(row))),
            RowSource::Var { offsets, bytes } => {
                let value = &bytes[offsets[row] as usize..offsets[row + 1] as usize];
                put_varint(value.len() as u64, out);
                out.extend_from_slice(value);
            }
            RowSource::Long { offsets, bytes } => {
                let value = &bytes[offsets[row] as usize..offsets[row + 1] as usize];
                put_varint(value.len() as u64, out);
                out.extend_from_slice(value);
            }
            RowSource::View(array) => {
                let value = array.value(row);
                put_varint(value.len() as u64, out);
                out.extend_from_slice(value);
            }
            RowSource::List { offsets, items } => {
                let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
                put_varint((end - start) as u64, out);
                put_bitmap((start..end).map(|item| items.is_null(item)), out);
                for item in (start..end).filter(|item| !items.is_null(*item)) {
                    items.put(item, out);
                }
            }
        }
    }
}

fn put_bitmap(nulls: impl ExactSizeIterator<Item = bool>, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + nulls.len().div_ceil(8), 0);
    for (i, null) in nulls.enumerate() {
        out[start + i / 8] |= u8::from(null) << (i % 8);
    }
}

/// Appends the rows of `batch` to `out`. False, with `out` unchanged, if a column's type has no form here.
pub fn encode(batch: &RecordBatch, out: &mut Vec<u8>) -> bool {
    let mut columns = Vec::with_capacity(batch.num_columns());
    for array in batch.columns() {
        let Some(column) = RowColumn::new(array.as_ref()) else {
            return false;
        };
        columns.push(column);
    }
    for row in 0..batch.num_rows() {
        put_bitmap(columns.iter().map(|column| column.is_null(row)), out);
        for column in &columns {
            if !column.is_null(row) {
                column.put(row, out);
            }
        }
    }
    true
}

/// The error for bytes that [`encode`] does not write for the schema.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("rows do not decode: {0}")]
pub struct BadRows(&'static str);

struct EncodedInput<'a>(&'a [u8]);

impl<'a> EncodedInput<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], BadRows> {
        let (taken, left) = self.0.split_at_checked(bytes).ok_or(BadRows("they end early"))?;
        self.0 = left;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<usize, BadRows> {
        let mut value = 0u64;
        for shift in (0..35).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return usize::try_from(value).map_err(|_| BadRows("a length is too large"));
            }
        }
        Err(BadRows("a length is too large"))
    }
}

fn is_set(bitmap: &[u8], bit: usize) -> bool {
    bitmap[bit / 8] >> (bit % 8) & 1 == 1
}

/// The values of one column under construction.
enum RowTarget {
    Fixed { width: usize, bytes: MutableBuffer },
    Bool(BooleanBufferBuilder),
    Var { offsets: Vec<i32>, bytes: Vec<u8> },
    List { offsets: Vec<i32>, items: Box<Builder> },
}

struct Builder {
    data_type: DataType,
    nulls: NullBufferBuilder,
    rows: usize,
    target: RowTarget,
}

impl Builder {
    fn new(data_type: &DataType, capacity: usize) -> Option<Builder> {
        let offsets = || {
            let mut offsets = Vec::with_capacity(capacity + 1);
            offsets.push(0);
            offsets
        };
        let target = match data_type {
            DataType::Boolean => RowTarget::Bool(BooleanBufferBuilder::new(capacity)),
            DataType::Utf8 | DataType::Binary | DataType::LargeBinary | DataType::BinaryView => RowTarget::Var {
                offsets: offsets(),
                bytes: Vec::with_capacity(capacity * 16),
            },
            DataType::List(item) => RowTarget::List {
                offsets: offsets(),
                items: Box::new(Builder::new(item.data_type(), capacity)?),
            },
            other => {
                let width = width(other)?;
                RowTarget::Fixed {
                    width,
                    bytes: MutableBuffer::with_capacity(width * capacity),
                }
            }
        };
        Some(Builder {
            data_type: data_type.clone(),
            nulls: NullBufferBuilder::new(capacity),
            rows: 0,
            target,
        })
    }

    fn append_null(&mut self) {
        self.nulls.append_null();
        self.rows += 1;
        match &mut self.target {
            RowTarget::Fixed { width, bytes } => bytes.extend_zeros(*width),
            RowTarget::Bool(bits) => bits.append(false),
            RowTarget::Var { offsets, .. } | RowTarget::List { offsets, .. } => {
                let end = offsets[offsets.len() - 1];
                offsets.push(end);
            }
        }
    }

    fn append(&mut self, input: &mut EncodedInput<'_>) -> Result<(), BadRows> {
        match &mut self.target {
            RowTarget::Fixed { width, bytes } => bytes.extend_from_slice(input.take(*width)?),
            RowTarget::Bool(bits) => bits.append(input.take(1)?[0] != 0),
            RowTarget::Var { offsets, bytes } => {
                let length = input.varint()?;
                bytes.extend_from_slice(input.take(length)?);
                offsets.push(i32::try_from(bytes.len()).map_err(|_| BadRows("a column passes 2 GiB"))?);
            }
            RowTarget::List { offsets, items } => {
                let count = input.varint()?;
                let bitmap = input.take(count.div_ceil(8))?;
                for item in 0..count {
                    if is_set(bitmap, item) {
                        items.append_null();
                    } else {
                        items.append(input)?;
                    }
                }
                offsets.push(i32::try_from(items.rows).map_err(|_| BadRows("a list is too long"))?);
            }
        }
        self.nulls.append_non_null();
        self.rows += 1;
        Ok(())
    }

    fn finish(mut self) -> Result<ArrayRef, BadRows> {
        let is_long = self.data_type == DataType::LargeBinary;
        let is_view = self.data_type == DataType::BinaryView;
        if is_view {
            self.data_type = DataType::Binary;
        }
        let data = ArrayData::builder(self.data_type)
            .len(self.rows)
            .nulls(self.nulls.finish());
        let data = match self.target {
            RowTarget::Fixed { bytes, .. } => data.add_buffer(bytes.into()),
            RowTarget::Bool(mut bits) => data.add_buffer(bits.finish().into_inner()),
            RowTarget::Var { offsets, bytes } if is_long => data
                .add_buffer(offsets.into_iter().map(i64::from).collect())
                .add_buffer(Buffer::from_vec(bytes)),
            RowTarget::Var { offsets, bytes } => data
                .add_buffer(Buffer::from_vec(offsets))
                .add_buffer(Buffer::from_vec(bytes)),
            RowTarget::List { offsets, items } => data
                .add_buffer(Buffer::from_vec(offsets))
                .add_child_data(items.finish()?.to_data()),
        };
        // Checks lengths, offsets and UTF-8: the bytes come from a disk.
        let data = data.build().map_err(|_| BadRows("a value is not valid for its type"))?;
        let values = make_array(data);
        Ok(match is_view {
            true => Arc::new(BinaryViewArray::from(values.as_binary::<i32>())),
            false => values,
        })
    }
}

/// Builds one batch from the rows of many appends.
pub struct Decoder {
    schema: SchemaRef,
    columns: Vec<Builder>,
    rows: usize,
}

impl Decoder {
    /// Room for `capacity` rows; an error for a schema whose rows [`encode`] does not take.
    pub fn new(schema: SchemaRef, capacity: usize) -> Result<Decoder, BadRows> {
        let columns = schema
            .fields()
            .iter()
            .map(|field| Builder::new(field.data_type(), capacity))
            .collect::<Option<Vec<_>>>()
            .ok_or(BadRows("a column has a type without a row form"))?;
        Ok(Decoder {
            schema,
            columns,
            rows: 0,
        })
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Decodes exactly `rows` rows, which must be all of `bytes`.
    pub fn decode(&mut self, bytes: &[u8], rows: usize) -> Result<(), BadRows> {
        let mut input = EncodedInput(bytes);
        let bitmap_bytes = self.columns.len().div_ceil(8);
        for _ in 0..rows {
            let bitmap = input.take(bitmap_bytes)?;
            for (i, column) in self.columns.iter_mut().enumerate() {
                if is_set(bitmap, i) {
                    column.append_null();
                } else {
                    column.append(&mut input)?;
                }
            }
        }
        if !input.0.is_empty() {
            return Err(BadRows("bytes are left over"));
        }
        self.rows += rows;
        Ok(())
    }

    pub fn finish(self) -> Result<RecordBatch, BadRows> {
        let columns = self
            .columns
            .into_iter()
            .map(Builder::finish)
            .collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|_| BadRows("a value is not valid for its column"))
    }
}

/// Decodes `rows` rows as one batch.
pub fn decode(schema: SchemaRef, bytes: &[u8], rows: usize) -> Result<RecordBatch, BadRows> {
    // A row takes a byte at least: no more room than for those that can be there.
    let mut decoder = Decoder::new(schema, rows.min(bytes.len()))?;
    decoder.decode(bytes, rows)?;
    decoder.finish()
}

#[cfg(test)]
mod tests;
