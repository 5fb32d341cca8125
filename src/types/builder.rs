//! The builder of an Arrow column from PostgreSQL's text or binary values.
//!
//! One rule: a value that was refused leaves the column as it was. Integers, text, timestamps, decimals and floats go in
//! without allocation but the column's own. Not here: the structure of rows and statements (`wire/copy_in.rs`).

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::NullBufferBuilder;
use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder, Float64Builder,
    Int16Builder, Int32Builder, Int64Builder, IntervalMonthDayNanoBuilder, LargeBinaryBuilder, ListArray,
    StringBuilder, Time64MicrosecondBuilder, TimestampMicrosecondBuilder,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::IntervalMonthDayNano;

use super::array::BinaryItems;
use super::calendar::{PG_EPOCH_DAYS, PG_EPOCH_US, is_infinite, is_infinite_date};
use super::datetime::{
    DATE_MAX, DATE_MIN, InputStyle, TIMESTAMP_RANGE_US, parse_date, parse_time, parse_timestamp, parse_timestamptz,
};
use super::interval::parse_interval;
use super::malformed::{incorrect_binary, insufficient_binary};
use super::numeric::{DecimalShape, invalid, parse_decimal, parse_decimal_binary, parse_integer};
use super::opaque::parse_transaction;
use super::shape::ArrayShape;
use super::shaped::ShapedArrays;
use super::varying::Numeric;
use super::{Opaque, PgType, array, bytes, float, json, letter, tid};
use crate::error::{SqlError, state};

/// Elements that the text of a vector may have.
const VECTOR_ITEMS_MAX: usize = 100;

/// A growing column of one type.
pub struct ColumnBuilder {
    values: BuiltValues,
    style: InputStyle,
    /// Kept between values of BYTEA and NUMERIC.
    scratch: Vec<u8>,
}

enum BuiltValues {
    Bool(BooleanBuilder),
    Int2(Int16Builder),
    Int4(Int32Builder),
    Int8(Int64Builder),
    Float4(Float32Builder),
    Float8(Float64Builder),
    Numeric(Decimal128Builder, DecimalShape),
    /// NUMERIC of any scale.
    Varying(LargeBinaryBuilder),
    Text(StringBuilder),
    /// VARCHAR(n) and CHAR(n): length in characters. The blanks that pad CHAR are not held; output adds them.
    Bounded {
        texts: StringBuilder,
        length: usize,
        pad: bool,
    },
    Name(StringBuilder),
    InternalChar(StringBuilder),
    Uuid(StringBuilder),
    Json(StringBuilder),
    Jsonb(StringBuilder),
    Bytea(BinaryBuilder),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    TimestampTz(TimestampMicrosecondBuilder),
    Interval(IntervalMonthDayNanoBuilder),
    /// OID and its aliases, with the type's name.
    Oid(Int64Builder, &'static str),
    Lsn(Int64Builder),
    Xid8(Int64Builder),
    Tid(Int64Builder),
    Array(Box<Lists>),
    /// Arrays of any dimensions.
    Shaped(Box<Lists>, Vec<ArrayShape>),
    /// Text with the number of its form before it in binary.
    Versioned(StringBuilder),
    /// `int2vector`, `oidvector`.
    Vector(Box<Lists>, Vec<ArrayShape>),
}

struct Lists {
    item_type: PgType,
    items: ColumnBuilder,
    /// End of each list among the items; starts with 0.
    ends: Vec<i32>,
    nulls: NullBufferBuilder,
}

impl ColumnBuilder {
    /// `capacity` rows are foreseen.
    pub fn new(pg_type: &PgType, capacity: usize) -> ColumnBuilder {
        /// Bytes of text per row that are foreseen.
        const TEXT_BYTES: usize = 16;
        const NUMBER_BYTES: usize = 8;
        let texts = || StringBuilder::with_capacity(capacity, capacity * TEXT_BYTES);
        let values = match pg_type {
            PgType::Bool => BuiltValues::Bool(BooleanBuilder::with_capacity(capacity)),
            PgType::Int2 => BuiltValues::Int2(Int16Builder::with_capacity(capacity)),
            PgType::Int4 => BuiltValues::Int4(Int32Builder::with_capacity(capacity)),
            PgType::Int8 => BuiltValues::Int8(Int64Builder::with_capacity(capacity)),
            PgType::Float4 => BuiltValues::Float4(Float32Builder::with_capacity(capacity)),
            PgType::Float8 => BuiltValues::Float8(Float64Builder::with_capacity(capacity)),
            PgType::Numeric(Some((precision, scale))) => BuiltValues::Numeric(
                Decimal128Builder::with_capacity(capacity).with_data_type(pg_type.arrow()),
                DecimalShape {
                    precision: *precision,
                    scale: *scale,
                },
            ),
            PgType::Numeric(None) => {
                BuiltValues::Varying(LargeBinaryBuilder::with_capacity(capacity, capacity * NUMBER_BYTES))
            }
            PgType::Opaque(Opaque::JsonPath) => BuiltValues::Versioned(texts()),
            PgType::Text
            | PgType::Varchar(None)
            | PgType::Char(0)
            | PgType::Unknown
            | PgType::Void
            | PgType::Opaque(_) => BuiltValues::Text(texts()),
            PgType::PgLsn => BuiltValues::Lsn(Int64Builder::with_capacity(capacity)),
            PgType::Xid8 => BuiltValues::Xid8(Int64Builder::with_capacity(capacity)),
            PgType::Varchar(Some(length)) => BuiltValues::Bounded {
                texts: texts(),
                length: *length as usize,
                pad: false,
            },
            PgType::Char(length) => BuiltValues::Bounded {
                texts: texts(),
                length: *length as usize,
                pad: true,
            },
            PgType::Name => BuiltValues::Name(texts()),
            PgType::InternalChar => BuiltValues::InternalChar(texts()),
            PgType::Uuid => BuiltValues::Uuid(StringBuilder::with_capacity(capacity, capacity * bytes::UUID_TEXT)),
            PgType::Json => BuiltValues::Json(texts()),
            PgType::Jsonb => BuiltValues::Jsonb(texts()),
            PgType::Bytea => BuiltValues::Bytea(BinaryBuilder::with_capacity(capacity, capacity * TEXT_BYTES)),
            PgType::Date => BuiltValues::Date(Date32Builder::with_capacity(capacity)),
            PgType::Time => BuiltValues::Time(Time64MicrosecondBuilder::with_capacity(capacity)),
            PgType::Timestamp => BuiltValues::Timestamp(TimestampMicrosecondBuilder::with_capacity(capacity)),
            PgType::TimestampTz => BuiltValues::TimestampTz(
                TimestampMicrosecondBuilder::with_capacity(capacity).with_data_type(pg_type.arrow()),
            ),
            PgType::Interval => BuiltValues::Interval(IntervalMonthDayNanoBuilder::with_capacity(capacity)),
            PgType::Array(item) => BuiltValues::Array(Box::new(Lists::new(item, capacity))),
            PgType::Shaped(item) => BuiltValues::Shaped(Box::new(Lists::new(item, capacity)), Vec::new()),
            PgType::Int2Vector => BuiltValues::Vector(Box::new(Lists::new(&PgType::Int2, capacity)), Vec::new()),
            PgType::OidVector => BuiltValues::Vector(Box::new(Lists::new(&PgType::Oid, capacity)), Vec::new()),
            PgType::Tid => BuiltValues::Tid(Int64Builder::with_capacity(capacity)),
            // OID and its aliases.
            _ => BuiltValues::Oid(Int64Builder::with_capacity(capacity), pg_type.base_name()),
        };
        ColumnBuilder {
            values,
            style: InputStyle::default(),
            scratch: Vec::new(),
        }
    }

    /// Reads dates and times as the session says.
    pub fn with_style(mut self, style: InputStyle) -> ColumnBuilder {
        if let BuiltValues::Array(lists) | BuiltValues::Shaped(lists, _) = &mut self.values {
            lists.items.style = style;
        }
        self.style = style;
        self
    }

    /// The zone of TIMESTAMPTZ values that name none.
    pub fn with_time_zone(self, time_zone: crate::types::TimeZone) -> ColumnBuilder {
        let style = InputStyle {
            time_zone,
            ..self.style
        };
        self.with_style(style)
    }

    pub fn len(&self) -> usize {
        use arrow::array::ArrayBuilder;
        match &self.values {
            BuiltValues::Bool(values) => values.len(),
            BuiltValues::Int2(values) => values.len(),
            BuiltValues::Int4(values) => values.len(),
            BuiltValues::Int8(values)
            | BuiltValues::Oid(values, _)
            | BuiltValues::Lsn(values)
            | BuiltValues::Xid8(values)
            | BuiltValues::Tid(values) => values.len(),
            BuiltValues::Float4(values) => values.len(),
            BuiltValues::Float8(values) => values.len(),
            BuiltValues::Numeric(values, _) => values.len(),
            BuiltValues::Varying(values) => values.len(),
            BuiltValues::Bounded { texts, .. } => texts.len(),
            BuiltValues::Text(texts)
            | BuiltValues::Name(texts)
            | BuiltValues::InternalChar(texts)
            | BuiltValues::Uuid(texts)
            | BuiltValues::Json(texts)
            | BuiltValues::Versioned(texts)
            | BuiltValues::Jsonb(texts) => texts.len(),
            BuiltValues::Bytea(values) => values.len(),
            BuiltValues::Date(values) => values.len(),
            BuiltValues::Time(values) => values.len(),
            BuiltValues::Timestamp(values) | BuiltValues::TimestampTz(values) => values.len(),
            BuiltValues::Interval(values) => values.len(),
            BuiltValues::Array(lists) | BuiltValues::Shaped(lists, _) | BuiltValues::Vector(lists, _) => {
                lists.ends.len() - 1
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that the values take so far, about.
    pub fn bytes(&self) -> usize {
        match &self.values {
            BuiltValues::Bounded { texts, .. } => texts.values_slice().len(),
            BuiltValues::Text(texts)
            | BuiltValues::Name(texts)
            | BuiltValues::InternalChar(texts)
            | BuiltValues::Uuid(texts)
            | BuiltValues::Json(texts)
            | BuiltValues::Versioned(texts)
            | BuiltValues::Jsonb(texts) => texts.values_slice().len(),
            BuiltValues::Bytea(values) => values.values_slice().len(),
            BuiltValues::Varying(values) => values.values_slice().len(),
            BuiltValues::Array(lists) => lists.items.bytes() + lists.ends.len() * 4,
            BuiltValues::Shaped(lists, _) | BuiltValues::Vector(lists, _) => {
                lists.items.bytes() + lists.items.len() * 4 + lists.ends.len() * 32
            }
            BuiltValues::Numeric(..) | BuiltValues::Interval(_) => self.len() * 16,
            _ => self.len() * 8,
        }
    }

    pub fn append_null(&mut self) {
        match &mut self.values {
            BuiltValues::Bool(values) => values.append_null(),
            BuiltValues::Int2(values) => values.append_null(),
            BuiltValues::Int4(values) => values.append_null(),
            BuiltValues::Int8(values)
            | BuiltValues::Oid(values, _)
            | BuiltValues::Lsn(values)
            | BuiltValues::Xid8(values)
            | BuiltValues::Tid(values) => values.append_null(),
            BuiltValues::Float4(values) => values.append_null(),
            BuiltValues::Float8(values) => values.append_null(),
            BuiltValues::Numeric(values, _) => values.append_null(),
            BuiltValues::Varying(values) => values.append_null(),
            BuiltValues::Bounded { texts, .. } => texts.append_null(),
            BuiltValues::Text(texts)
            | BuiltValues::Name(texts)
            | BuiltValues::InternalChar(texts)
            | BuiltValues::Uuid(texts)
            | BuiltValues::Json(texts)
            | BuiltValues::Versioned(texts)
            | BuiltValues::Jsonb(texts) => texts.append_null(),
            BuiltValues::Bytea(values) => values.append_null(),
            BuiltValues::Date(values) => values.append_null(),
            BuiltValues::Time(values) => values.append_null(),
            BuiltValues::Timestamp(values) | BuiltValues::TimestampTz(values) => values.append_null(),
            BuiltValues::Interval(values) => values.append_null(),
            BuiltValues::Array(lists) => lists.append_null(),
            BuiltValues::Shaped(lists, shapes) | BuiltValues::Vector(lists, shapes) => {
                lists.append_null();
                shapes.push(ArrayShape::default());
            }
        }
    }

    /// Appends a value as PostgreSQL's input function of the type reads it.
    #[inline]
    pub fn append_text(&mut self, text: &str) -> Result<(), SqlError> {
        match &mut self.values {
            BuiltValues::Int8(values) => values.append_value(parse_integer(text, i64::MIN, i64::MAX, "bigint")?),
            BuiltValues::Text(texts) => {
                check_text(text)?;
                texts.append_value(text);
            }
            BuiltValues::Timestamp(values) => values.append_value(parse_timestamp(text, &self.style)?),
            BuiltValues::Numeric(values, shape) => values.append_value(parse_decimal(text, *shape)?),
            BuiltValues::Varying(values) => {
                let number = Numeric::parse(text)?;
                append_number(values, &mut self.scratch, &number);
            }
            BuiltValues::Int4(values) => {
                values.append_value(parse_integer(text, i32::MIN.into(), i32::MAX.into(), "integer")? as i32);
            }
            BuiltValues::Lsn(values) => values.append_value(super::opaque::parse_lsn(text)?),
            BuiltValues::Int2(values) => {
                values.append_value(parse_integer(text, i16::MIN.into(), i16::MAX.into(), "smallint")? as i16);
            }
            BuiltValues::Bool(values) => values.append_value(bytes::parse_bool(text)?),
            BuiltValues::Float8(values) => values.append_value(one_nan(float::parse_f64(text)?, f64::NAN)),
            BuiltValues::Float4(values) => values.append_value(one_nan(float::parse_f32(text)?, f32::NAN)),
            BuiltValues::TimestampTz(values) => values.append_value(parse_timestamptz(text, &self.style)?),
            BuiltValues::Date(values) => values.append_value(parse_date(text, &self.style)?),
            BuiltValues::Time(values) => values.append_value(parse_time(text, &self.style)?),
            BuiltValues::Interval(values) => values.append_value(parse_interval(text)?),
            BuiltValues::Bounded { texts, length, pad } => append_bounded(texts, text, *length, *pad)?,
            BuiltValues::Name(texts) => {
                /// NAMEDATALEN - 1.
                const NAME_BYTES: usize = 63;
                check_text(text)?;
                texts.append_value(&text[..text.floor_char_boundary(NAME_BYTES)]);
            }
            BuiltValues::InternalChar(texts) => {
                check_text(text)?;
                append_letter(texts, letter::parse(text));
            }
            BuiltValues::Uuid(texts) => append_uuid(texts, &bytes::parse_uuid(text)?),
            BuiltValues::Json(texts) => {
                json::check(text)?;
                texts.append_value(text);
            }
            BuiltValues::Versioned(texts) => texts.append_value(text),
            BuiltValues::Jsonb(texts) => texts.append_value(json::canonical(text)?),
            BuiltValues::Bytea(values) => {
                self.scratch.clear();
                bytes::parse_bytea(text, &mut self.scratch)?;
                values.append_value(&self.scratch);
            }
            BuiltValues::Xid8(values) => values.append_value(parse_transaction(text) as i64),
            BuiltValues::Oid(values, "xid" | "cid") => {
                values.append_value(i64::from(parse_transaction(text) as u32));
            }
            // The aliases write the OID 0 so.
            BuiltValues::Oid(values, kind) if text == "-" && kind.starts_with("reg") => values.append_value(0),
            BuiltValues::Oid(values, kind) => {
                // PostgreSQL reads OIDs as C's strtoul: -1 is the largest.
                let oid = parse_integer(text, i32::MIN.into(), u32::MAX.into(), "oid").map_err(|error| {
                    if error.state == state::INVALID_TEXT_REPRESENTATION {
                        invalid(kind, text)
                    } else {
                        error
                    }
                })?;
                values.append_value(i64::from(oid as u32));
            }
            BuiltValues::Tid(values) => values.append_value(tid::parse(text)?),
            BuiltValues::Array(lists) => {
                let (shape, items) = array::parse(text)?;
                if !shape.is_plain() {
                    return Err(array::multidimensional());
                }
                lists.append_texts(&items)?;
            }
            BuiltValues::Shaped(lists, shapes) => {
                let (shape, items) = array::parse(text)?;
                lists.append_texts(&items)?;
                shapes.push(shape);
            }
            BuiltValues::Vector(lists, shapes) => {
                let words = text.split_ascii_whitespace();
                let items: Vec<Option<Cow<'_, str>>> = words.map(|word| Some(Cow::Borrowed(word))).collect();
                if items.len() > VECTOR_ITEMS_MAX {
                    let name = if lists.item_type == PgType::Int2 {
                        "int2vector"
                    } else {
                        "oidvector"
                    };
                    return Err(SqlError::new(
                        state::INVALID_PARAMETER_VALUE,
                        format!("{name} has too many elements"),
                    ));
                }
                lists.append_texts(&items)?;
                shapes.push(ArrayShape::vector(items.len()));
            }
        }
        Ok(())
    }

    /// Appends a value as PostgreSQL's receive function of the type reads it.
    pub fn append_binary(&mut self, value: &[u8]) -> Result<(), SqlError> {
        match &mut self.values {
            BuiltValues::Bool(values) => values.append_value(fixed::<1>(value)?[0] != 0),
            BuiltValues::Int2(values) => values.append_value(i16::from_be_bytes(fixed(value)?)),
            BuiltValues::Int4(values) => values.append_value(i32::from_be_bytes(fixed(value)?)),
            BuiltValues::Int8(values) | BuiltValues::Lsn(values) | BuiltValues::Xid8(values) => {
                values.append_value(i64::from_be_bytes(fixed(value)?));
            }
            BuiltValues::Float4(values) => values.append_value(one_nan(f32::from_be_bytes(fixed(value)?), f32::NAN)),
            BuiltValues::Float8(values) => values.append_value(one_nan(f64::from_be_bytes(fixed(value)?), f64::NAN)),
            BuiltValues::Oid(values, _) => values.append_value(i64::from(u32::from_be_bytes(fixed(value)?))),
            BuiltValues::Tid(values) => {
                let bytes = fixed::<6>(value)?;
                let number = bytes.iter().fold(0, |number, byte| number << 8 | i64::from(*byte));
                values.append_value(number);
            }
            BuiltValues::Numeric(values, shape) => values.append_value(parse_decimal_binary(value, *shape)?),
            BuiltValues::Varying(values) => {
                let number = Numeric::parse_binary(value)?;
                append_number(values, &mut self.scratch, &number);
            }
            BuiltValues::Bytea(values) => values.append_value(value),
            BuiltValues::Date(values) => {
                let days = i32::from_be_bytes(fixed(value)?);
                if is_infinite_date(days) {
                    values.append_value(days);
                    return Ok(());
                }
                let days = days
                    .checked_add(PG_EPOCH_DAYS)
                    .filter(|days| (DATE_MIN..=DATE_MAX).contains(&i64::from(*days)));
                values.append_value(days.ok_or_else(|| too_far("date"))?);
            }
            BuiltValues::Time(values) => {
                let us = i64::from_be_bytes(fixed(value)?);
                if !(0..=super::calendar::DAY_US).contains(&us) {
                    return Err(too_far("time"));
                }
                values.append_value(us);
            }
            BuiltValues::Timestamp(values) | BuiltValues::TimestampTz(values) => {
                let us = i64::from_be_bytes(fixed(value)?);
                if is_infinite(us) {
                    values.append_value(us);
                    return Ok(());
                }
                let us = us.checked_add(PG_EPOCH_US).filter(|us| TIMESTAMP_RANGE_US.contains(us));
                values.append_value(us.ok_or_else(|| too_far("timestamp"))?);
            }
            BuiltValues::Interval(values) => {
                let bytes: [u8; 16] = fixed(value)?;
                let us = i64::from_be_bytes(fixed(&bytes[..8])?);
                let days = i32::from_be_bytes(fixed(&bytes[8..12])?);
                let months = i32::from_be_bytes(fixed(&bytes[12..])?);
                let nanos = us.checked_mul(1_000).ok_or_else(|| too_far("interval"))?;
                values.append_value(IntervalMonthDayNano::new(months, days, nanos));
            }
            BuiltValues::Uuid(texts) => append_uuid(texts, &fixed(value)?),
            BuiltValues::Jsonb(texts) => texts.append_value(json::canonical(versioned("jsonb", value)?)?),
            BuiltValues::Versioned(texts) => texts.append_value(versioned("jsonpath", value)?),
            BuiltValues::InternalChar(texts) => append_letter(texts, fixed::<1>(value)?[0]),
            BuiltValues::Array(lists) => {
                let items = BinaryItems::new(value, &lists.item_type)?;
                lists.append_binary(items)?;
            }
            BuiltValues::Shaped(lists, shapes) | BuiltValues::Vector(lists, shapes) => {
                let (shape, items) = BinaryItems::any(value, Some(&lists.item_type))?;
                lists.append_binary(items)?;
                shapes.push(shape);
            }
            // Text in binary is text.
            BuiltValues::Text(_) | BuiltValues::Bounded { .. } | BuiltValues::Name(_) | BuiltValues::Json(_) => {
                return self.append_text(utf8(value)?);
            }
        }
        Ok(())
    }

    /// The column so far; the builder starts anew.
    pub fn finish(&mut self) -> ArrayRef {
        match &mut self.values {
            BuiltValues::Bool(values) => Arc::new(values.finish()),
            BuiltValues::Int2(values) => Arc::new(values.finish()),
            BuiltValues::Int4(values) => Arc::new(values.finish()),
            BuiltValues::Int8(values)
            | BuiltValues::Oid(values, _)
            | BuiltValues::Lsn(values)
            | BuiltValues::Xid8(values)
            | BuiltValues::Tid(values) => Arc::new(values.finish()),
            BuiltValues::Float4(values) => Arc::new(values.finish()),
            BuiltValues::Float8(values) => Arc::new(values.finish()),
            BuiltValues::Numeric(values, _) => Arc::new(values.finish()),
            BuiltValues::Varying(values) => Arc::new(values.finish()),
            BuiltValues::Bounded { texts, .. } => Arc::new(texts.finish()),
            BuiltValues::Text(texts)
            | BuiltValues::Name(texts)
            | BuiltValues::InternalChar(texts)
            | BuiltValues::Uuid(texts)
            | BuiltValues::Json(texts)
            | BuiltValues::Versioned(texts)
            | BuiltValues::Jsonb(texts) => Arc::new(texts.finish()),
            BuiltValues::Bytea(values) => Arc::new(values.finish()),
            BuiltValues::Date(values) => Arc::new(values.finish()),
            BuiltValues::Time(values) => Arc::new(values.finish()),
            BuiltValues::Timestamp(values) | BuiltValues::TimestampTz(values) => Arc::new(values.finish()),
            BuiltValues::Interval(values) => Arc::new(values.finish()),
            BuiltValues::Array(lists) => Arc::new(lists.finish()),
            BuiltValues::Shaped(lists, shapes) | BuiltValues::Vector(lists, shapes) => {
                let arrays = ShapedArrays {
                    shapes: std::mem::take(shapes),
                    lists: lists.finish(),
                };
                let encoded = arrays.encode(&lists.item_type);
                Arc::new(encoded.expect("the elements are of their own type"))
            }
        }
    }

    /// Drops the values from `len` on, which happens only after a refused list.
    fn truncate(&mut self, len: usize, pg_type: &PgType) {
        if self.len() == len {
            return;
        }
        let kept = self.finish().slice(0, len);
        let mut fresh = ColumnBuilder::new(pg_type, len).with_style(self.style);
        let formatter = super::ColumnFormatter::new(pg_type, &kept, &super::TextStyle::default())
            .expect("the column has its own type");
        let mut value = ::bytes::BytesMut::new();
        for row in 0..len {
            if formatter.is_null(row) {
                fresh.append_null();
                continue;
            }
            value.clear();
            formatter.write_binary(row, &mut value);
            fresh.append_binary(&value).expect("what was sent can be received");
        }
        *self = fresh;
    }
}

/// The text behind the number of its form.
fn versioned<'a>(name: &str, value: &'a [u8]) -> Result<&'a str, SqlError> {
    const VERSION: u8 = 1;
    match value {
        [VERSION, text @ ..] => utf8(text),
        [other, ..] => Err(SqlError::new(
            state::INVALID_BINARY_REPRESENTATION,
            format!("unsupported {name} version number {other}"),
        )),
        [] => Err(insufficient_binary()),
    }
}

impl Lists {
    fn new(item: &PgType, capacity: usize) -> Lists {
        let mut ends = Vec::with_capacity(capacity + 1);
        ends.push(0);
        Lists {
            item_type: item.clone(),
            items: ColumnBuilder::new(item, capacity),
            ends,
            nulls: NullBufferBuilder::new(capacity),
        }
    }

    fn append_null(&mut self) {
        self.ends.push(self.items.len() as i32);
        self.nulls.append_null();
    }

    fn append_texts(&mut self, items: &[Option<Cow<'_, str>>]) -> Result<(), SqlError> {
        self.append(items.len(), |values| {
            for item in items {
                match item {
                    Some(text) => values.append_text(text)?,
                    None => values.append_null(),
                }
            }
            Ok(())
        })
    }

    fn append_binary(&mut self, items: BinaryItems<'_>) -> Result<(), SqlError> {
        self.append(items.remaining(), |values| {
            for item in items {
                match item? {
                    Some(bytes) => values.append_binary(bytes)?,
                    None => values.append_null(),
                }
            }
            Ok(())
        })
    }

    fn finish(&mut self) -> ListArray {
        let ends = std::mem::replace(&mut self.ends, vec![0]);
        ListArray::new(
            self.item_type.element().into(),
            OffsetBuffer::new(ends.into()),
            self.items.finish(),
            self.nulls.finish(),
        )
    }

    /// Appends one list whose items `fill` appends; all of it or nothing.
    fn append(
        &mut self,
        count: usize,
        fill: impl FnOnce(&mut ColumnBuilder) -> Result<(), SqlError>,
    ) -> Result<(), SqlError> {
        let start = self.items.len();
        let end = i32::try_from(start + count)
            .map_err(|_| SqlError::new(state::PROGRAM_LIMIT_EXCEEDED, "array size exceeds the maximum allowed"))?;
        if let Err(error) = fill(&mut self.items) {
            self.items.truncate(start, &self.item_type);
            return Err(error);
        }
        assert_eq!(self.items.len(), end as usize, "a list has the items that were counted");
        self.ends.push(end);
        self.nulls.append_non_null();
        Ok(())
    }
}

/// PostgreSQL's text holds no NUL.
fn check_text(text: &str) -> Result<(), SqlError> {
    if has_nul(text.as_bytes()) {
        return Err(SqlError::new(
            state::CHARACTER_NOT_IN_REPERTOIRE,
            "invalid byte sequence for encoding \"UTF8\": 0x00",
        ));
    }
    Ok(())
}

fn append_number(values: &mut LargeBinaryBuilder, scratch: &mut Vec<u8>, number: &Numeric) {
    scratch.clear();
    number.encode(scratch);
    values.append_value(scratch);
}

fn append_bounded(texts: &mut StringBuilder, text: &str, length: usize, blank_padded: bool) -> Result<(), SqlError> {
    check_text(text)?;
    let mut kept = text;
    if text.len() > length
        && let Some((end, _)) = text.char_indices().nth(length)
    {
        // Blanks beyond the length are cut without a word, as the standard asks.
        if text[end..].bytes().any(|byte| byte != b' ') {
            let kind = if blank_padded { "character" } else { "character varying" };
            return Err(SqlError::new(
                state::STRING_DATA_RIGHT_TRUNCATION,
                format!("value too long for type {kind}({length})"),
            ));
        }
        kept = &text[..end];
    }
    texts.append_value(if blank_padded { kept.trim_end_matches(' ') } else { kept });
    Ok(())
}

fn append_letter(texts: &mut StringBuilder, byte: u8) {
    let mut buffer = [0; 2];
    texts.append_value(letter::held(byte).map_or("", |held| held.encode_utf8(&mut buffer)));
}

fn append_uuid(texts: &mut StringBuilder, value: &[u8; 16]) {
    let text = bytes::uuid_text(value);
    texts.append_value(std::str::from_utf8(&text).expect("hexadecimal digits are ASCII"));
}

fn fixed<const N: usize>(value: &[u8]) -> Result<[u8; N], SqlError> {
    value.try_into().map_err(|_| {
        if value.len() < N {
            insufficient_binary()
        } else {
            incorrect_binary()
        }
    })
}

fn too_far(kind: &str) -> SqlError {
    SqlError::new(state::DATETIME_FIELD_OVERFLOW, format!("{kind} out of range"))
}

/// Whether one of the bytes is 0. Values are short: a call costs more than the look.
fn has_nul(bytes: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    let words = bytes.chunks_exact(8);
    let rest = words.remainder();
    // Only where a byte is 0 does the difference get a high bit that the word has not.
    let found = words.fold(0, |found, word| {
        let word = u64::from_ne_bytes(word.try_into().expect("it is eight bytes"));
        found | (word.wrapping_sub(ONES) & !word)
    });
    found & HIGHS != 0 || rest.contains(&0)
}

/// UTF-8 text, or 22021 with the offending bytes.
#[inline]
pub fn utf8(bytes: &[u8]) -> Result<&str, SqlError> {
    std::str::from_utf8(bytes).map_err(|error| not_utf8(bytes, error))
}

#[cold]
fn not_utf8(bytes: &[u8], error: std::str::Utf8Error) -> SqlError {
    let bad = &bytes[error.valid_up_to()..];
    let shown: Vec<String> = bad
        .iter()
        .take(error.error_len().unwrap_or(bad.len()).max(1))
        .map(|byte| format!("0x{byte:02x}"))
        .collect();
    SqlError::new(
        state::CHARACTER_NOT_IN_REPERTOIRE,
        format!("invalid byte sequence for encoding \"UTF8\": {}", shown.join(" ")),
    )
}

/// All NaNs become one: it equals itself, in groups too.
fn one_nan<T: PartialEq>(value: T, nan: T) -> T {
    #[allow(clippy::eq_op, reason = "only a NaN differs from itself")]
    if value != value { nan } else { value }
}

/// A column of one row.
pub fn scalar_from_text(pg_type: &PgType, text: &str, style: &InputStyle) -> Result<ArrayRef, SqlError> {
    let mut column = ColumnBuilder::new(pg_type, 1).with_style(*style);
    column.append_text(text)?;
    Ok(column.finish())
}

/// A column of one row.
pub fn scalar_from_binary(pg_type: &PgType, value: &[u8]) -> Result<ArrayRef, SqlError> {
    let mut column = ColumnBuilder::new(pg_type, 1);
    column.append_binary(value)?;
    Ok(column.finish())
}

/// A column of one NULL.
pub fn scalar_null(pg_type: &PgType) -> ArrayRef {
    let mut column = ColumnBuilder::new(pg_type, 1);
    column.append_null();
    column.finish()
}
