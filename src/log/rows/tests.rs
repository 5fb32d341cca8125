//! The row codec reads its own output back, for every type that a topic can have, and never panics on other bytes.

use arrow::array::{
    BinaryArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array,
    IntervalMonthDayNanoArray, LargeBinaryArray, ListArray, StringArray, Time64MicrosecondArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{IntervalMonthDayNano, Schema};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::types::PgType;

fn types() -> Vec<PgType> {
    let array = |item| PgType::Array(Box::new(item));
    vec![
        PgType::Bool,
        PgType::Int2,
        PgType::Int4,
        PgType::Int8,
        PgType::Float4,
        PgType::Float8,
        PgType::Numeric(None),
        PgType::Numeric(Some((12, 3))),
        PgType::Text,
        PgType::Varchar(Some(5)),
        PgType::Char(3),
        PgType::Bytea,
        PgType::Date,
        PgType::Time,
        PgType::Timestamp,
        PgType::TimestampTz,
        PgType::Interval,
        PgType::Uuid,
        PgType::Json,
        PgType::Jsonb,
        PgType::Oid,
        PgType::Name,
        array(PgType::Int4),
        array(PgType::Text),
        array(PgType::Bool),
        array(PgType::Numeric(None)),
        array(PgType::Interval),
        array(array(PgType::Timestamp)),
    ]
}

fn random_array(data_type: &DataType, rows: usize, random: &mut StdRng) -> ArrayRef {
    let nulls = [0.0, 0.2, 1.0][random.random_range(0..3)];
    macro_rules! collect {
        ($array:ty, $value:expr) => {{
            let values: $array = (0..rows)
                .map(|_| {
                    let value = $value(&mut *random);
                    (!random.random_bool(nulls)).then_some(value)
                })
                .collect();
            values
        }};
    }
    fn text(random: &mut StdRng) -> String {
        let length = [0, 1, 7, 200][random.random_range(0..4)];
        (0..length).map(|_| random.random_range('\u{20}'..'\u{17f}')).collect()
    }
    match data_type {
        DataType::Boolean => Arc::new(collect!(BooleanArray, |random: &mut StdRng| random.random::<bool>())),
        DataType::Int16 => Arc::new(collect!(Int16Array, StdRng::random::<i16>)),
        DataType::Int32 => Arc::new(collect!(Int32Array, StdRng::random::<i32>)),
        DataType::Int64 => Arc::new(collect!(Int64Array, StdRng::random::<i64>)),
        DataType::Float32 => Arc::new(collect!(Float32Array, StdRng::random::<f32>)),
        DataType::Float64 => Arc::new(collect!(Float64Array, StdRng::random::<f64>)),
        DataType::Date32 => Arc::new(collect!(Date32Array, StdRng::random::<i32>)),
        DataType::Time64(_) => Arc::new(collect!(Time64MicrosecondArray, StdRng::random::<i64>)),
        DataType::Timestamp(_, zone) => {
            let array = collect!(TimestampMicrosecondArray, StdRng::random::<i64>);
            Arc::new(array.with_timezone_opt(zone.clone()))
        }
        DataType::Decimal128(precision, scale) => {
            let array = collect!(Decimal128Array, StdRng::random::<i32>.map_to_i128());
            let array = array.with_precision_and_scale(*precision, *scale);
            Arc::new(array.expect("values are small"))
        }
        DataType::Interval(_) => Arc::new(collect!(IntervalMonthDayNanoArray, |random: &mut StdRng| {
            IntervalMonthDayNano::new(random.random(), random.random(), random.random())
        })),
        DataType::Utf8 => Arc::new(collect!(StringArray, text)),
        DataType::Binary => Arc::new(collect!(BinaryArray, |random: &mut StdRng| text(random).into_bytes())),
        DataType::LargeBinary => Arc::new(collect!(LargeBinaryArray, |random: &mut StdRng| text(random).into_bytes())),
        DataType::List(item) => {
            let lengths: Vec<usize> = (0..rows).map(|_| random.random_range(0..12)).collect();
            let values = random_array(item.data_type(), lengths.iter().sum(), random);
            let valid: NullBuffer = (0..rows).map(|_| !random.random_bool(nulls)).collect();
            Arc::new(ListArray::new(
                Arc::clone(item),
                OffsetBuffer::from_lengths(lengths),
                values,
                Some(valid),
            ))
        }
        other => unreachable!("no type is held as {other}"),
    }
}

/// Lets a generator of `i32` give `i128`.
trait MapToI128 {
    fn map_to_i128(self) -> impl Fn(&mut StdRng) -> i128;
}

impl<F: Fn(&mut StdRng) -> i32> MapToI128 for F {
    fn map_to_i128(self) -> impl Fn(&mut StdRng) -> i128 {
        move |random| i128::from(self(random))
    }
}

fn random_batch(seed: u64) -> RecordBatch {
    let mut random = StdRng::seed_from_u64(seed);
    let types = types();
    let columns = random.random_range(1..types.len());
    let rows = [0, 1, 2, 9, 40][random.random_range(0..5)];
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    for column in 0..columns {
        let pg_type = &types[random.random_range(0..types.len())];
        fields.push(pg_type.field(&format!("c{column}"), true));
        arrays.push(random_array(&pg_type.arrow(), rows, &mut random));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("columns fit")
}

fn check(batch: &RecordBatch) {
    let mut bytes = Vec::new();
    assert!(encode(batch, &mut bytes));
    let decoded = decode(batch.schema(), &bytes, batch.num_rows()).expect("it was encoded so");
    assert_eq!(&decoded, batch);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_encoded_decodes_to_the_same(seed: u64, start in 0usize..40, length in 0usize..40) {
        let batch = random_batch(seed);
        check(&batch);
        let start = start.min(batch.num_rows());
        check(&batch.slice(start, length.min(batch.num_rows() - start)));
    }

    #[test]
    fn damaged_bytes_are_an_error_or_other_rows(seed: u64, at: prop::sample::Index, value: u8, cut: bool) {
        let batch = random_batch(seed);
        let mut bytes = Vec::new();
        prop_assert!(encode(&batch, &mut bytes));
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = value;
            if cut {
                bytes.truncate(at);
            }
            if let Ok(decoded) = decode(batch.schema(), &bytes, batch.num_rows()) {
                prop_assert_eq!(decoded.num_rows(), batch.num_rows());
            }
        }
    }
}

#[test]
fn every_type_of_a_topic_has_a_form() {
    let mut random = StdRng::seed_from_u64(7);
    for pg_type in types() {
        let array = random_array(&pg_type.arrow(), 30, &mut random);
        let schema = Schema::new(vec![pg_type.field("c", true)]);
        check(&RecordBatch::try_new(Arc::new(schema), vec![array]).expect("it fits"));
    }
}

#[test]
fn appends_laid_end_to_end_are_one_batch() {
    let batch = (1..)
        .map(random_batch)
        .find(|batch| batch.num_rows() == 40)
        .expect("some seed");
    let mut decoder = Decoder::new(batch.schema(), 4).expect("every type has a form");
    for row in 0..40 {
        let mut bytes = Vec::new();
        encode(&batch.slice(row, 1), &mut bytes);
        decoder.decode(&bytes, 1).expect("a row");
    }
    assert_eq!(decoder.rows(), 40);
    assert_eq!(decoder.finish().expect("rows"), batch);
}
