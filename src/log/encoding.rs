//! Encodings: the forms in which a segment stores the values of one column of a batch.
//!
//! One rule: a stored column is an Arrow IPC stream of one batch, whose schema says how to read it; a reader gets the
//! same NULLs and, between them, the same values.
//!
//! ```text
//! plain        values: the column's type
//! differences  differences, in as many columns of UInt8 as they have bytes, the least significant first: to the least
//!              value of the batch, which the segment's index has, in units that the first field's metadata has ("unit",
//!              1 if it has not). NULLs are in the first. Before: one column of UInt16, 32 or 64.
//! lengths      lengths: List<UInt8, 16 or 32>, in bytes, and bytes: Binary; one row has all values
//! dictionary   values: Dictionary<UInt8 or UInt16, the column's type>
//! ```
//!
//! LargeBinary (NUMERIC of any scale) is stored as Binary in the last two.
//!
//! All but plain are for columns that are compressed: they are smaller, and there is less to decompress, for Arrow's own
//! buffers have 4 bytes an offset and 8 or 16 a number. Parquet and ORC do the same. Bytes of one significance are together
//! since the compression looks at the frequencies of single bytes alone, which is decoded many times faster than
//! references to short repetitions: Parquet's BYTE_STREAM_SPLIT. Not here: the places of the streams (`segment`).

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, BinaryArray, DictionaryArray, GenericByteArray,
    ListArray, PrimitiveArray, RecordBatch, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow::compute::{cast, take};
use arrow::datatypes::{
    ArrowDictionaryKeyType, ArrowNativeType, BinaryType, ByteArrayType, DataType, Date32Type, Decimal128Type, Field,
    Int16Type, Int32Type, Int64Type, Schema, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type, Utf8Type,
};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{IpcWriteOptions, StreamEncoder};
use hashbrown::HashMap;

use super::LogError;
use super::damage::Damage;
use super::ipc::{contained, read_stream};

/// Values after which a dictionary is given up if more than three quarters of them are different.
const SAMPLE_ROWS: usize = 4096;
/// A stream that compresses to more than this is stored as it is: decompression would not pay. Thirds.
const COMPRESSED_THIRDS_MAX: usize = 2;
/// The metadata of a field whose values are multiples of it.
const UNIT_KEY: &str = "unit";
/// Bytes that are copied of a value at a time, however short it is.
const STRIDE: usize = 16;

/// The function for the type, if its values are numbers in an order.
macro_rules! of_numbers {
    ($data_type:expr, $function:ident) => {
        match $data_type {
            DataType::Int16 => Some($function::<Int16Type> as _),
            DataType::Int32 => Some($function::<Int32Type> as _),
            DataType::Int64 => Some($function::<Int64Type> as _),
            DataType::Date32 => Some($function::<Date32Type> as _),
            DataType::Time64(TimeUnit::Microsecond) => Some($function::<Time64MicrosecondType> as _),
            DataType::Timestamp(TimeUnit::Microsecond, _) => Some($function::<TimestampMicrosecondType> as _),
            DataType::Decimal128(..) => Some($function::<Decimal128Type> as _),
            _ => None,
        }
    };
}
pub(super) use of_numbers;

/// The stream of `values`, in pieces. `bounds`: least and greatest value, arrays of one, if they are known. Without
/// compression it is plain, and large pieces are the buffers of the array.
pub fn encode(
    values: &ArrayRef,
    bounds: Option<&(ArrayRef, ArrayRef)>,
    compression: Option<CompressionType>,
) -> Result<Vec<Buffer>, LogError> {
    let unencodable = |error: arrow::error::ArrowError| LogError::Unencodable {
        reason: error.to_string(),
    };
    let Some(compression) = compression else {
        return stream(&one_column("values", Arc::clone(values)), None).map_err(unencodable);
    };
    let batch = match (values.data_type(), bounds) {
        (DataType::Utf8, _) => encode_bytes(values.as_string::<i32>()),
        (DataType::Binary, _) => encode_bytes(values.as_binary::<i32>()),
        (DataType::LargeBinary | DataType::BinaryView, _) => {
            let short = cast(values, &DataType::Binary).map_err(unencodable)?;
            encode_bytes(short.as_binary::<i32>())
        }
        (_, Some(bounds)) => encode_differences(values, bounds),
        (_, None) => None,
    };
    let batch = batch.unwrap_or_else(|| one_column("values", Arc::clone(values)));
    let pieces = stream(&batch, Some(compression)).map_err(unencodable)?;
    let bytes: usize = pieces.iter().map(Buffer::len).sum();
    let raw_bytes = slice_bytes(&batch);
    match bytes * 3 <= raw_bytes * COMPRESSED_THIRDS_MAX {
        true => Ok(pieces),
        false => stream(&batch, None).map_err(unencodable),
    }
}

fn one_column(name: &str, values: ArrayRef) -> RecordBatch {
    batch(vec![(name, values)])
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let columns = columns.into_iter().map(|(name, column)| (name, column, true));
    RecordBatch::try_from_iter_with_nullable(columns).expect("columns are of the same length")
}

fn stream(batch: &RecordBatch, compression: Option<CompressionType>) -> Result<Vec<Buffer>, arrow::error::ArrowError> {
    let options = IpcWriteOptions::default().try_with_compression(compression)?;
    let mut encoder = StreamEncoder::try_new_with_options(&batch.schema(), options)?;
    let mut pieces = encoder.encode(batch)?;
    pieces.extend(encoder.finish()?);
    Ok(pieces)
}

const WRONG: Damage = Damage::Contents("a column is of another type");

/// The values of a column whose stream is `bytes`. `least`: least value of the batch, an array of one.
pub fn decode(bytes: Buffer, data_type: &DataType, least: Option<&ArrayRef>) -> Result<ArrayRef, Damage> {
    let values = decode_lazily(bytes, data_type, least)?;
    match values.data_type() == data_type {
        true => Ok(values),
        false => contained(|| expand(&values).ok_or(WRONG)),
    }
}

/// The same, but a stored dictionary of values of the type remains one; [`expand`] makes values of it.
pub fn decode_lazily(bytes: Buffer, data_type: &DataType, least: Option<&ArrayRef>) -> Result<ArrayRef, Damage> {
    let batch = read_stream(bytes)?;
    let is_plain = |batch: &RecordBatch| batch.num_columns() == 1 && batch.column(0).data_type() == data_type;
    if matches!(data_type, DataType::LargeBinary | DataType::BinaryView) && !is_plain(&batch) {
        return contained(|| {
            let values = column_of(&batch, &DataType::Binary, least)?;
            let values = match values.data_type() {
                DataType::Binary => values,
                _ => expand(&values).ok_or(WRONG)?,
            };
            cast(&values, data_type).map_err(|_| WRONG)
        });
    }
    contained(|| column_of(&batch, data_type, least))
}

fn column_of(batch: &RecordBatch, data_type: &DataType, least: Option<&ArrayRef>) -> Result<ArrayRef, Damage> {
    let (columns, field) = (batch.columns(), batch.schema().field(0).clone());
    match (field.name().as_str(), columns) {
        ("values", [values]) if values.data_type() == data_type => Ok(Arc::clone(values)),
        ("values", [values]) => match values.as_any_dictionary_opt() {
            Some(dictionary) if dictionary.values().data_type() == data_type => Ok(Arc::clone(values)),
            _ => Err(WRONG),
        },
        ("differences", differences) => {
            let unit = field.metadata().get(UNIT_KEY).map_or(Ok(1), |unit| unit.parse());
            let unit = unit.map_err(|_| WRONG)?;
            least
                .and_then(|least| decode_differences(differences, unit, least, data_type))
                .ok_or(WRONG)
        }
        ("lengths", [lengths, bytes]) => decode_lengths(lengths, bytes, data_type),
        _ => Err(WRONG),
    }
}

/// Numbers in the narrowest type that holds `greatest`.
fn narrowest(numbers: impl Iterator<Item = usize>, greatest: usize, nulls: Option<NullBuffer>) -> ArrayRef {
    if u8::try_from(greatest).is_ok() {
        let numbers: Vec<u8> = numbers.map(|number| number as u8).collect();
        Arc::new(UInt8Array::new(numbers.into(), nulls))
    } else if u16::try_from(greatest).is_ok() {
        let numbers: Vec<u16> = numbers.map(|number| number as u16).collect();
        Arc::new(UInt16Array::new(numbers.into(), nulls))
    } else if u32::try_from(greatest).is_ok() {
        let numbers: Vec<u32> = numbers.map(|number| number as u32).collect();
        Arc::new(UInt32Array::new(numbers.into(), nulls))
    } else {
        let numbers: Vec<u64> = numbers.map(|number| number as u64).collect();
        Arc::new(UInt64Array::new(numbers.into(), nulls))
    }
}

/// The greatest number that all of these are multiples of; 1 if there are none but 0.
fn common_unit(numbers: impl Iterator<Item = usize>) -> usize {
    let mut unit = 0_usize;
    for mut number in numbers {
        if unit != 0 && number % unit == 0 {
            continue;
        }
        // Euclid's.
        while number != 0 {
            (unit, number) = (number, unit % number);
        }
        if unit == 1 {
            break;
        }
    }
    unit.max(1)
}

fn encode_differences(values: &ArrayRef, (least, greatest): &(ArrayRef, ArrayRef)) -> Option<RecordBatch> {
    fn of<T: ArrowPrimitiveType>(
        values: &dyn Array,
        least: &dyn Array,
        greatest: &dyn Array,
    ) -> Option<(Vec<ArrayRef>, usize)> {
        let bound = |bound: &dyn Array| bound.as_primitive::<T>().iter().next().flatten();
        let (least, greatest) = (bound(least)?, bound(greatest)?);
        let difference = |value: T::Native| value.sub_wrapping(least).as_usize();
        let range = difference(greatest);
        // Of a decimal a difference may have more than 64 bits.
        if T::Native::usize_as(range).add_wrapping(least) != greatest {
            return None;
        }
        let values = values.as_primitive::<T>();
        let unit = common_unit(values.iter().flatten().map(difference));
        let bits = (usize::BITS - (range / unit).leading_zeros()) as usize;
        if bits.div_ceil(8) >= size_of::<T::Native>() {
            return None;
        }
        // The value under a NULL may be anything, and is cut to fit.
        let units = values.values().iter().map(|value| difference(*value) as u64);
        let units: Vec<u64> = match unit {
            1 => units.collect(),
            unit => units.map(|units| units / unit as u64).collect(),
        };
        let plane = |byte: usize| -> ArrayRef {
            let plane: Vec<u8> = units.iter().map(|units| (units >> (8 * byte)) as u8).collect();
            let nulls = values.nulls().filter(|_| byte == 0).cloned();
            Arc::new(UInt8Array::new(plane.into(), nulls))
        };
        Some(((0..bits.div_ceil(8).max(1)).map(plane).collect(), unit))
    }
    type Encode = fn(&dyn Array, &dyn Array, &dyn Array) -> Option<(Vec<ArrayRef>, usize)>;
    let of: Encode = of_numbers!(values.data_type(), of)?;
    let (planes, unit) = of(values, least, greatest)?;
    let mut fields = vec![Field::new("differences", DataType::UInt8, true); planes.len()];
    if unit > 1 {
        fields[0].set_metadata([(UNIT_KEY.to_string(), unit.to_string())].into());
    }
    let schema = Arc::new(Schema::new(fields));
    Some(RecordBatch::try_new(schema, planes).expect("the columns fit their fields"))
}

fn decode_differences(
    differences: &[ArrayRef],
    unit: usize,
    least: &ArrayRef,
    data_type: &DataType,
) -> Option<ArrayRef> {
    fn of<T: ArrowPrimitiveType>(differences: &[ArrayRef], unit: usize, least: &dyn Array) -> Option<ArrayRef> {
        let data_type = least.data_type().clone();
        let least = least.as_primitive::<T>().iter().next().flatten()?;
        let sum = |difference: usize| T::Native::usize_as(difference).add_wrapping(least);
        let values: Vec<T::Native> = match unit {
            1 => units(differences, sum)?,
            unit => units(differences, |units| sum(units.wrapping_mul(unit)))?,
        };
        let values = PrimitiveArray::<T>::new(values.into(), differences.first()?.nulls().cloned());
        Some(Arc::new(values.with_data_type(data_type)))
    }
    type Decode = fn(&[ArrayRef], usize, &dyn Array) -> Option<ArrayRef>;
    let of: Decode = of_numbers!(data_type, of)?;
    match least.data_type() == data_type {
        true => of(differences, unit, least),
        false => None,
    }
}

/// Applies `value` to each number; the numbers' bytes are in columns of UInt8, or the numbers in one wider column.
fn units<T>(columns: &[ArrayRef], value: impl Fn(usize) -> T) -> Option<Vec<T>> {
    fn of<D: ArrowPrimitiveType, T>(column: &dyn Array, value: impl Fn(usize) -> T) -> Option<Vec<T>> {
        let numbers = column.as_primitive_opt::<D>()?.values();
        Some(numbers.iter().map(|number| value(number.as_usize())).collect())
    }
    match columns {
        [] => return None,
        [column] if *column.data_type() == DataType::UInt16 => return of::<UInt16Type, T>(column, value),
        [column] if *column.data_type() == DataType::UInt32 => return of::<UInt32Type, T>(column, value),
        [column] if *column.data_type() == DataType::UInt64 => return of::<UInt64Type, T>(column, value),
        columns if columns.len() > size_of::<u64>() => return None,
        _ => {}
    }
    let planes = columns.iter().map(|column| column.as_primitive_opt::<UInt8Type>());
    let planes: Vec<&UInt8Array> = planes.collect::<Option<_>>()?;
    let rows = planes[0].len();
    let mut values = Vec::with_capacity(rows);
    // So many at a time remain where they are computed.
    let mut block = [0_u64; 512];
    for start in (0..rows).step_by(block.len()) {
        let numbers = &mut block[..(rows - start).min(512)];
        numbers.fill(0);
        for (byte, plane) in planes.iter().enumerate() {
            for (number, part) in numbers.iter_mut().zip(&plane.values()[start..]) {
                *number |= u64::from(*part) << (8 * byte);
            }
        }
        values.extend(numbers.iter().map(|number| value(*number as usize)));
    }
    Some(values)
}

fn encode_bytes<T: ByteArrayType<Offset = i32>>(values: &GenericByteArray<T>) -> Option<RecordBatch> {
    if let Some(dictionary) = Dictionary::of(values) {
        return Some(one_column("values", dictionary.array(values)));
    }
    let offsets = values.value_offsets();
    let lengths = || offsets.windows(2).map(|pair| (pair[1] - pair[0]) as usize);
    let greatest = lengths().max()?;
    let lengths = narrowest(lengths(), greatest, values.nulls().cloned());
    let (start, end) = (offsets[0] as usize, offsets[offsets.len() - 1] as usize);
    let bytes = values.values().slice_with_length(start, end - start);
    let item = Arc::new(Field::new_list_field(lengths.data_type().clone(), true));
    let rows = OffsetBuffer::from_lengths([lengths.len()]);
    let lengths: ArrayRef = Arc::new(ListArray::new(item, rows, lengths, None));
    let bytes: ArrayRef = Arc::new(BinaryArray::new(OffsetBuffer::from_lengths([end - start]), bytes, None));
    Some(batch(vec![("lengths", lengths), ("bytes", bytes)]))
}

fn decode_lengths(lengths: &ArrayRef, bytes: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, Damage> {
    const WRONG: Damage = Damage::Contents("lengths of a column do not add up");
    fn offsets<T: ArrowPrimitiveType>(lengths: &PrimitiveArray<T>, bytes: usize) -> Option<OffsetBuffer<i32>> {
        let lengths = lengths.values().iter().map(|length| length.as_usize());
        // They fit an offset, for the value that has them all does.
        (lengths.clone().sum::<usize>() == bytes).then(|| OffsetBuffer::from_lengths(lengths))
    }
    let lengths = lengths.as_list_opt::<i32>().ok_or(WRONG)?;
    let bytes = bytes.as_binary_opt::<i32>().ok_or(WRONG)?;
    if lengths.len() != 1 || bytes.len() != 1 {
        return Err(WRONG);
    }
    let (start, end) = (bytes.value_offsets()[0] as usize, bytes.value_offsets()[1] as usize);
    let bytes = bytes.values().slice_with_length(start, end - start);
    let lengths = lengths.value(0);
    let offsets = match lengths.data_type() {
        DataType::UInt8 => offsets::<UInt8Type>(lengths.as_primitive(), bytes.len()),
        DataType::UInt16 => offsets::<UInt16Type>(lengths.as_primitive(), bytes.len()),
        DataType::UInt32 => offsets::<UInt32Type>(lengths.as_primitive(), bytes.len()),
        _ => None,
    };
    let (offsets, nulls) = (offsets.ok_or(WRONG)?, lengths.nulls().cloned());
    let values: Result<ArrayRef, _> = match data_type {
        DataType::Utf8 => {
            GenericByteArray::<Utf8Type>::try_new(offsets, bytes, nulls).map(|values| Arc::new(values) as _)
        }
        DataType::Binary => {
            GenericByteArray::<BinaryType>::try_new(offsets, bytes, nulls).map(|values| Arc::new(values) as _)
        }
        _ => return Err(Damage::Contents("a column is of another type")),
    };
    values.map_err(|_| Damage::Contents("a text is not UTF-8"))
}

/// The different values of a column, by the rows where they come first.
struct Dictionary {
    rows: Vec<u32>,
    /// Position in `rows` of each value.
    keys: Vec<u16>,
}

impl Dictionary {
    /// `None` if it would be larger than the values, or nearly so.
    fn of<T: ByteArrayType<Offset = i32>>(values: &GenericByteArray<T>) -> Option<Dictionary> {
        let mut positions: HashMap<&[u8], u16> = HashMap::new();
        let mut rows = Vec::new();
        let mut keys = Vec::with_capacity(values.len());
        let mut bytes = 0;
        for row in 0..values.len() {
            if row == SAMPLE_ROWS && rows.len() > SAMPLE_ROWS / 4 * 3 {
                return None;
            }
            if values.is_null(row) {
                keys.push(0);
                continue;
            }
            let value: &[u8] = values.value(row).as_ref();
            let position = match positions.get(value) {
                Some(position) => *position,
                None => {
                    let position = u16::try_from(rows.len()).ok()?;
                    positions.insert(value, position);
                    rows.push(row as u32);
                    bytes += value.len();
                    position
                }
            };
            keys.push(position);
        }
        let width = |greatest: usize| if greatest < 256 { 1 } else { 2 };
        let dictionary_bytes = bytes + 4 * rows.len() + width(rows.len()) * keys.len();
        let offsets = values.value_offsets();
        let plain_bytes = (offsets[offsets.len() - 1] - offsets[0]) as usize + keys.len();
        (!rows.is_empty() && dictionary_bytes * 4 <= plain_bytes * 3).then_some(Dictionary { rows, keys })
    }

    fn array<T: ByteArrayType<Offset = i32>>(self, values: &GenericByteArray<T>) -> ArrayRef {
        fn of<K: ArrowDictionaryKeyType>(keys: PrimitiveArray<K>, values: ArrayRef) -> ArrayRef {
            Arc::new(DictionaryArray::new(keys, values))
        }
        let distinct = take(values, &UInt32Array::from(self.rows), None).expect("rows that there are");
        let nulls = values.nulls().cloned();
        let greatest = distinct.len() - 1;
        let keys = narrowest(self.keys.into_iter().map(usize::from), greatest, nulls);
        match keys.data_type() {
            DataType::UInt8 => of::<UInt8Type>(keys.as_primitive().clone(), distinct),
            _ => of::<UInt16Type>(keys.as_primitive().clone(), distinct),
        }
    }
}

/// The values that a dictionary of [`decode_lazily`] stands for; `None` if it is not one.
pub fn expand(values: &ArrayRef) -> Option<ArrayRef> {
    fn positions<K: ArrowPrimitiveType>(keys: &dyn Array) -> Option<impl Iterator<Item = usize> + Clone> {
        let keys = keys.as_primitive_opt::<K>()?;
        Some(keys.values().iter().map(|key| key.as_usize()))
    }
    fn of<T: ByteArrayType<Offset = i32>>(keys: &dyn Array, distinct: &dyn Array) -> Option<ArrayRef> {
        let distinct = distinct.as_bytes_opt::<T>()?;
        let (bytes, offsets) = match keys.data_type() {
            DataType::UInt8 => gather(positions::<UInt8Type>(keys)?, keys, distinct),
            DataType::UInt16 => gather(positions::<UInt16Type>(keys)?, keys, distinct),
            _ => return None,
        }?;
        let values = GenericByteArray::<T>::try_new(offsets, bytes, keys.nulls().cloned());
        Some(Arc::new(values.ok()?))
    }
    let dictionary = values.as_any_dictionary_opt()?;
    let (keys, distinct) = (dictionary.keys(), dictionary.values());
    match distinct.data_type() {
        DataType::Utf8 => of::<Utf8Type>(keys, distinct.as_ref()),
        DataType::Binary => of::<BinaryType>(keys, distinct.as_ref()),
        _ => None,
    }
}

/// The values of the keys, one after another. Most are short: copying [`STRIDE`] bytes of each, the surplus of which
/// the next overwrites, takes a third of the time of a copy that looks at the length.
fn gather<T: ByteArrayType<Offset = i32>>(
    positions: impl Iterator<Item = usize> + Clone,
    keys: &dyn Array,
    distinct: &GenericByteArray<T>,
) -> Option<(Buffer, OffsetBuffer<i32>)> {
    let offsets = distinct.value_offsets().windows(2);
    let places = offsets.map(|pair| (pair[0] as u32, (pair[1] - pair[0]) as u32));
    // The last one is that of a NULL: the key under it means nothing, and its value may be long.
    let places: Vec<(u32, u32)> = places.chain([(0, 0)]).collect();
    let nulls = keys.nulls();
    let positions = positions.enumerate().map(|(row, position)| match nulls {
        Some(nulls) if nulls.is_null(row) => places.len() - 1,
        _ => position,
    });
    let mut offsets = Vec::with_capacity(keys.len() + 1);
    let mut end = 0_i32;
    offsets.push(end);
    for key in positions.clone() {
        end = end.checked_add_unsigned(places.get(key)?.1)?;
        offsets.push(end);
    }
    let mut source = distinct.values().to_vec();
    source.resize(source.len() + STRIDE, 0);
    let mut target = vec![0; end as usize + STRIDE];
    for (key, at) in positions.zip(&offsets) {
        let ((from, length), at) = (places[key], *at as usize);
        let (from, length) = (from as usize, length as usize);
        target[at..at + STRIDE].copy_from_slice(&source[from..from + STRIDE]);
        if length > STRIDE {
            target[at + STRIDE..at + length].copy_from_slice(&source[from + STRIDE..from + length]);
        }
    }
    target.truncate(end as usize);
    Some((Buffer::from_vec(target), OffsetBuffer::new(offsets.into())))
}

/// Bytes that the rows of a batch take, without the rest of the buffers that they lie in.
pub fn slice_bytes(rows: &RecordBatch) -> usize {
    rows.columns()
        .iter()
        .map(|column| column.to_data().get_slice_memory_size().unwrap_or(0))
        .sum()
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        BooleanArray, Decimal128Array, Float64Array, LargeBinaryArray, StringArray, TimestampMicrosecondArray,
    };
    use arrow::compute::concat;
    use arrow::compute::kernels::cmp::not_distinct;
    use arrow::ipc::reader::StreamDecoder;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::super::segment::extremes;
    use super::*;

    const COMPRESSIONS: [Option<CompressionType>; 3] =
        [None, Some(CompressionType::ZSTD), Some(CompressionType::LZ4_FRAME)];

    /// The values as read back, the name of the stream's first field, and the stream's bytes.
    fn stored(values: &ArrayRef, compression: Option<CompressionType>) -> (ArrayRef, String, usize) {
        let bounds = extremes(values.as_ref());
        let pieces = encode(values, bounds.as_ref(), compression).expect("encoded");
        let bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
        let size = bytes.len();
        let mut decoder = StreamDecoder::new();
        let batch = decoder.decode(&mut Buffer::from_slice_ref(&bytes)).expect("a stream");
        let batch = batch.expect("a batch");
        let (schema, column) = (batch.schema(), batch.column(0));
        let field = match schema.field(0).name().as_str() {
            "differences" => format!("differences of {} bytes", batch.num_columns()),
            name => format!("{name} {}", column.data_type()),
        };
        let least = bounds.map(|(least, _)| least);
        let read = decode(Buffer::from_vec(bytes), values.data_type(), least.as_ref()).expect("decoded");
        (read, field, size)
    }

    /// Stores it in every way; the field of the compressed stream.
    fn check(values: ArrayRef) -> String {
        let mut fields = Vec::new();
        let sliced = values.slice(values.len() / 3, values.len() / 3);
        for compression in COMPRESSIONS {
            for values in [&values, &sliced] {
                let (read, field, _) = stored(values, compression);
                read.to_data().validate_full().expect("a valid array");
                assert_eq!(read.data_type(), values.data_type());
                assert_eq!(&read, values, "{field}");
                fields.push(field);
            }
        }
        fields.swap_remove(2)
    }

    #[test]
    fn numbers_are_stored_as_narrow_as_their_range_is() {
        fn of<T: ArrowPrimitiveType>(values: &[i128], native: fn(i128) -> T::Native, data_type: DataType) -> String {
            let some = values.iter().map(|value| Some(native(*value)));
            let array: PrimitiveArray<T> = some.clone().chain([None]).chain(some).collect();
            check(Arc::new(array.with_data_type(data_type)))
        }
        let int64 = |values: &[i128]| of::<Int64Type>(values, |value| value as i64, DataType::Int64);
        let (least, greatest) = (i128::from(i64::MIN), i128::from(i64::MAX));
        assert_eq!(int64(&[7]), "differences of 1 bytes");
        assert_eq!(int64(&[least, least + 254, least + 255]), "differences of 1 bytes");
        assert_eq!(int64(&[-100, -99, 156]), "differences of 2 bytes");
        assert_eq!(
            int64(&[greatest - 65_535, greatest - 1, greatest]),
            "differences of 2 bytes"
        );
        assert_eq!(int64(&[0, 1, 65_536]), "differences of 3 bytes");
        assert_eq!(int64(&[0, 1, (1 << 32) - 1]), "differences of 4 bytes");
        assert_eq!(int64(&[0, 1, 1 << 32]), "differences of 5 bytes");
        assert_eq!(int64(&[least, 0, greatest]), "values Int64");
        let int32 = |values: &[i128]| of::<Int32Type>(values, |value| value as i32, DataType::Int32);
        assert_eq!(int32(&[i32::MIN.into(), 0, i32::MAX.into()]), "values Int32");
        assert_eq!(
            int32(&[i32::MIN.into(), i128::from(i32::MIN) + 9]),
            "differences of 1 bytes"
        );
        let int16 = |values: &[i128]| of::<Int16Type>(values, |value| value as i16, DataType::Int16);
        assert_eq!(int16(&[i16::MIN.into(), 0, i16::MAX.into()]), "values Int16");
        assert_eq!(int16(&[-1, 0, 254]), "differences of 1 bytes");
        let decimal = |values: &[i128]| of::<Decimal128Type>(values, |value| value, DataType::Decimal128(38, 4));
        let large = 10_i128.pow(37);
        assert_eq!(
            decimal(&[-large, -large + 1, -large + 70_000]),
            "differences of 3 bytes"
        );
        assert_eq!(
            decimal(&[large, large + 1, large + (1 << 33)]),
            "differences of 5 bytes"
        );
        assert_eq!(decimal(&[0, 1, i128::from(u64::MAX)]), "differences of 8 bytes");
        assert_eq!(decimal(&[0, i128::from(u64::MAX) + 1]), "values Decimal128(38, 4)");
        assert_eq!(decimal(&[-large * 9, large * 9]), "values Decimal128(38, 4)");
        let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let times = of::<TimestampMicrosecondType>(&[5, 6], |value| value as i64, zoned);
        assert_eq!(times, "differences of 1 bytes");
        let dates = of::<Date32Type>(&[-5, 1, 600], |value| value as i32, DataType::Date32);
        assert_eq!(dates, "differences of 2 bytes");
        let time = || DataType::Time64(TimeUnit::Microsecond);
        let times = |values: &[i128]| of::<Time64MicrosecondType>(values, |value| value as i64, time());
        assert_eq!(times(&[0, 1, 86_400_000_000]), "differences of 5 bytes");
        // Of whole seconds, the seconds.
        assert_eq!(times(&[0, 7_000_000, 86_400_000_000]), "differences of 3 bytes");
        assert_eq!(times(&[7, 3_000_007, 60_000_007]), "differences of 1 bytes");
        assert_eq!(int64(&[least, least + (1 << 62)]), "differences of 1 bytes");
        assert_eq!(
            int64(&[least, least + (1 << 62), least + (1 << 61), 0]),
            "differences of 1 bytes"
        );
        assert_eq!(
            decimal(&[-large, -large + 7_000_000_000, -large + 14_000_000_000]),
            "differences of 1 bytes"
        );
    }

    #[test]
    fn differences_in_one_column_are_read() {
        let least: ArrayRef = Arc::new(PrimitiveArray::<Int64Type>::from(vec![-7]));
        let columns: [ArrayRef; 3] = [
            Arc::new(UInt16Array::from(vec![Some(0), None, Some(65_535)])),
            Arc::new(UInt32Array::from(vec![Some(0), None, Some(65_535)])),
            Arc::new(UInt64Array::from(vec![Some(0), None, Some(65_535)])),
        ];
        for (column, unit) in columns.into_iter().zip([1, 3, 1000]) {
            let field = Field::new("differences", column.data_type().clone(), true);
            let field = field.with_metadata([(UNIT_KEY.to_string(), unit.to_string())].into());
            let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![column]).expect("a batch");
            let pieces = stream(&batch, Some(CompressionType::ZSTD)).expect("a stream");
            let bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
            let read = decode(Buffer::from_vec(bytes), &DataType::Int64, Some(&least)).expect("decoded");
            let expected = PrimitiveArray::<Int64Type>::from(vec![Some(-7), None, Some(65_535 * unit - 7)]);
            assert_eq!(read.as_primitive::<Int64Type>(), &expected);
        }
    }

    #[test]
    fn what_is_under_a_null_does_not_matter() {
        let nulls = || Some(NullBuffer::from(vec![true, false, true, true, false, true]));
        let numbers = TimestampMicrosecondArray::new(vec![1000, i64::MIN, 1001, 1002, i64::MAX, 1003].into(), nulls());
        assert_eq!(check(Arc::new(numbers)), "differences of 1 bytes");
        let offsets = OffsetBuffer::from_lengths([1, 4, 0, 2, 3, 1]);
        let texts = StringArray::new(offsets, Buffer::from_slice_ref("a????bb___c"), nulls());
        assert_eq!(check(Arc::new(texts)), "lengths List(UInt8)");
        let nulls = (0..9000).map(|row| (row % 3 > 0).then(|| ["a", "bb", ""][row % 9 / 3]));
        assert_eq!(
            check(Arc::new(nulls.collect::<StringArray>())),
            "values Dictionary(UInt8, Utf8)"
        );
        // So long that as many of them as there are NULLs would be too many.
        let long = "x".repeat(40_000);
        let rare = (0..65_536).map(|row| (row % 30_000 == 7).then_some(long.as_str()));
        let rare: ArrayRef = Arc::new(rare.collect::<StringArray>());
        let (read, field, _) = stored(&rare, Some(CompressionType::ZSTD));
        assert_eq!(field, "values Dictionary(UInt8, Utf8)");
        assert_eq!(&read, &rare);
        assert_eq!(read.as_string::<i32>().value_data().len(), 3 * 40_000);
        let nothing: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>; 9]));
        assert_eq!(check(nothing), "lengths List(UInt8)");
        let nothing: ArrayRef = Arc::new(Decimal128Array::from(vec![None; 9]));
        assert!(check(nothing).starts_with("values Decimal128"));
    }

    #[test]
    fn texts_are_stored_by_length_or_as_a_dictionary() {
        let mut random = StdRng::seed_from_u64(7);
        let mut draw = |rows: usize, different: u32, long: bool| -> ArrayRef {
            let values = (0..rows).map(|_| {
                let number = random.random_range(0..different);
                let text = format!("ä{number}{}", if long { "-".repeat(300) } else { String::new() });
                (number % 7 != 3).then_some(text)
            });
            Arc::new(values.collect::<StringArray>())
        };
        assert_eq!(check(draw(3000, 5, false)), "values Dictionary(UInt8, Utf8)");
        assert_eq!(check(draw(30_000, 2000, false)), "values Dictionary(UInt16, Utf8)");
        assert_eq!(check(draw(30_000, u32::MAX, false)), "lengths List(UInt8)");
        assert_eq!(check(draw(300, u32::MAX, true)), "lengths List(UInt16)");
        // More than a key can count, and few enough in the first rows.
        let many: StringArray = (0..140_000_i64)
            .map(|row| Some(format!("some text {}", if row < 8000 { row % 9 } else { row / 2 })))
            .collect();
        assert_eq!(check(Arc::new(many)), "lengths List(UInt8)");
        let longest = "x".repeat(70_000);
        let texts: ArrayRef = Arc::new(StringArray::from(vec![
            Some(longest.as_str()),
            None,
            Some(""),
            Some("y"),
        ]));
        assert_eq!(check(texts), "lengths List(UInt32)");
        let bytes: BinaryArray = (0..9000).map(|row: u32| Some(row.to_le_bytes())).collect();
        assert_eq!(check(Arc::new(bytes)), "lengths List(UInt8)");
        let bytes: BinaryArray = (0..9000)
            .map(|row: u32| Some([0xff, row as u8, (row / 256 % 2) as u8, 1, 2, 3]))
            .collect();
        assert_eq!(check(Arc::new(bytes)), "values Dictionary(UInt16, Binary)");
        let few: BinaryArray = (0..9000).map(|row: u32| Some([0xff, row as u8, 1, 2])).collect();
        assert_eq!(check(Arc::new(few)), "values Dictionary(UInt8, Binary)");
        let numbers: LargeBinaryArray = (0..9000).map(|row: u32| Some([0xb8, row as u8, 2])).collect();
        assert_eq!(check(Arc::new(numbers)), "values Dictionary(UInt8, Binary)");
        let numbers: LargeBinaryArray = (0..9000).map(|row: u32| Some(row.to_le_bytes())).collect();
        assert_eq!(check(Arc::new(numbers)), "lengths List(UInt8)");
        let other: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), Some(true)]));
        assert_eq!(check(other), "values Boolean");
    }

    #[test]
    fn what_does_not_compress_is_left_as_it_is() {
        let mut random = StdRng::seed_from_u64(7);
        let noise: ArrayRef = Arc::new(Float64Array::from_iter_values(
            (0..5000).map(|_| random.random::<f64>()),
        ));
        let [plain, zstd] = [None, Some(CompressionType::ZSTD)].map(|compression| stored(&noise, compression).2);
        assert_eq!(plain, zstd);
        let halves = concat(&[&noise, &Float64Array::from(vec![0.5; 20_000])]).expect("of one type");
        let [plain, zstd] = [None, Some(CompressionType::ZSTD)].map(|compression| stored(&halves, compression).2);
        assert!(zstd < plain / 3, "{zstd} of {plain} bytes");
        assert!(
            not_distinct(&stored(&halves, None).0, &halves)
                .expect("floats")
                .true_count()
                == 25_000
        );
    }

    #[test]
    fn damage_that_checksums_do_not_see_is_an_error() {
        let texts: ArrayRef = Arc::new((0..900).map(|row| Some(format!("text {row}"))).collect::<StringArray>());
        let numbers: ArrayRef = Arc::new((0..900).map(Some).collect::<PrimitiveArray<Int64Type>>());
        for values in [texts, numbers] {
            let bounds = extremes(values.as_ref());
            let pieces = encode(&values, bounds.as_ref(), Some(CompressionType::ZSTD)).expect("encoded");
            let bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
            let least = bounds.map(|(least, _)| least);
            for length in 0..bytes.len() - 8 {
                let cut = Buffer::from_slice_ref(&bytes[..length]);
                assert!(
                    decode(cut, values.data_type(), least.as_ref()).is_err(),
                    "{length} bytes"
                );
            }
            for data_type in [
                DataType::Boolean,
                DataType::Binary,
                DataType::LargeBinary,
                DataType::Int32,
            ] {
                let other = decode(Buffer::from_slice_ref(&bytes), &data_type, least.as_ref());
                assert!(!other.is_ok_and(|other| other.data_type() != &data_type));
            }
        }
    }
}
