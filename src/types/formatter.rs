//! The output of an Arrow column's values, as PostgreSQL's text and binary output functions print them.
//!
//! Made once per column and batch; a value then costs one `match` and no allocation. Not here: message framing.

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, Float32Array,
    Float64Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, LargeBinaryArray, ListArray,
    StringArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use bytes::{BufMut, BytesMut};

use super::calendar::{self, PG_EPOCH_DAYS, PG_EPOCH_US};
use super::interval::{IntervalStyle, write_interval};
use super::numeric::{write_decimal, write_decimal_binary, write_i64};
use super::opaque::{write_inet_binary, write_lsn};
use super::shape::Dimension;
use super::shaped::ShapedArrays;
use super::varying::Numeric;
use super::zone::TimeZone;
use super::{Opaque, PgType, array, bytes as byte_types, float, letter, tid};
use crate::error::{SqlError, state};

/// Finds the name that an OID alias type (`regclass`, ...) shows for an OID.
pub type ObjectNames = Arc<dyn Fn(&PgType, u32) -> Option<String> + Send + Sync>;

/// The session's settings that decide how values print.
#[derive(Clone)]
pub struct TextStyle {
    pub time_zone: TimeZone,
    pub extra_float_digits: i32,
    pub interval_style: IntervalStyle,
    /// `bytea_output = hex`; else `escape`.
    pub bytea_hex: bool,
    /// `None`: OID aliases print their number (REGTYPE its type's name).
    pub object_names: Option<ObjectNames>,
}

impl Default for TextStyle {
    fn default() -> Self {
        TextStyle {
            time_zone: TimeZone::UTC,
            extra_float_digits: 1,
            interval_style: IntervalStyle::Postgres,
            bytea_hex: true,
            object_names: None,
        }
    }
}

impl TextStyle {
    /// From the values of the settings `TimeZone`, `IntervalStyle`, `bytea_output` and `extra_float_digits`, which were
    /// checked when they were set.
    pub fn of_settings(
        time_zone: &str,
        interval_style: &str,
        bytea_output: &str,
        extra_float_digits: i32,
    ) -> TextStyle {
        TextStyle {
            time_zone: TimeZone::of_setting(time_zone),
            extra_float_digits,
            interval_style: IntervalStyle::named(interval_style).unwrap_or_default(),
            bytea_hex: !bytea_output.eq_ignore_ascii_case("escape"),
            object_names: None,
        }
    }
}

impl fmt::Debug for TextStyle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextStyle")
            .field("time_zone", &self.time_zone)
            .field("extra_float_digits", &self.extra_float_digits)
            .field("interval_style", &self.interval_style)
            .field("bytea_hex", &self.bytea_hex)
            .finish_non_exhaustive()
    }
}

/// One column, ready to print.
pub struct ColumnFormatter {
    values: FormattedValues,
    style: TextStyle,
}

enum FormattedValues {
    Bool(BooleanArray),
    Int2(Int16Array),
    Int4(Int32Array),
    Int8(Int64Array),
    Float4(Float32Array),
    Float8(Float64Array),
    /// With its scale.
    Numeric(Decimal128Array, i8),
    /// NUMERIC of any scale.
    Varying(LargeBinaryArray),
    Text(StringArray),
    Jsonb(StringArray),
    Uuid(StringArray),
    Bytea(BinaryArray),
    Date(Date32Array),
    Time(Time64MicrosecondArray),
    Timestamp(TimestampMicrosecondArray),
    TimestampTz(TimestampMicrosecondArray),
    Interval(IntervalMonthDayNanoArray),
    Oid(Int64Array),
    Tid(Int64Array),
    /// An alias of OID, printed by name.
    Alias(Int64Array, PgType),
    Lsn(Int64Array),
    Xid8(Int64Array),
    Inet(StringArray),
    /// `"char"`
    Letter(StringArray),
    Array {
        lists: ListArray,
        items: Box<ColumnFormatter>,
        /// Of the items at the bottom.
        item_oid: u32,
    },
    /// Arrays of any dimensions.
    Shaped {
        values: BinaryViewArray,
        arrays: ShapedArrays,
        items: Box<ColumnFormatter>,
    },
    /// `int2vector`, `oidvector`.
    Vector {
        values: BinaryViewArray,
        lists: ListArray,
        items: Box<ColumnFormatter>,
    },
    Void(ArrayRef),
}

impl ColumnFormatter {
    /// `column` may have another Arrow type than `pg_type` asks for (a view type, other units); it is cast once here.
    pub fn new(pg_type: &PgType, column: &ArrayRef, style: &TextStyle) -> Result<ColumnFormatter, SqlError> {
        let wanted = pg_type.arrow();
        let fits = match (&wanted, column.data_type()) {
            (DataType::Decimal128(..) | DataType::LargeBinary, DataType::Decimal128(..) | DataType::LargeBinary) => {
                true
            }
            (DataType::Timestamp(..), DataType::Timestamp(TimeUnit::Microsecond, _)) => true,
            (DataType::List(_), DataType::List(_)) => true,
            (wanted, found) => wanted == found,
        };
        let column = if fits || *pg_type == PgType::Void {
            column.clone()
        } else {
            let wanted = match (&wanted, column.data_type()) {
                // The scale of a value is its own; only the width changes.
                (DataType::Decimal128(..), DataType::Decimal32(_, scale))
                | (DataType::Decimal128(..), DataType::Decimal64(_, scale))
                | (DataType::Decimal128(..), DataType::Decimal256(_, scale)) => DataType::Decimal128(38, *scale),
                (
                    DataType::List(_),
                    DataType::LargeList(item)
                    | DataType::FixedSizeList(item, _)
                    | DataType::ListView(item)
                    | DataType::LargeListView(item),
                ) => DataType::List(item.clone()),
                _ => wanted,
            };
            let strict = CastOptions {
                safe: false,
                ..CastOptions::default()
            };
            cast_with_options(column, &wanted, &strict).map_err(|error| {
                SqlError::new(
                    state::DATATYPE_MISMATCH,
                    format!("cannot show a value as type {}", pg_type.base_name()),
                )
                .detail(format!("{error}."))
            })?
        };
        let values = match pg_type {
            PgType::Bool => FormattedValues::Bool(column.as_boolean().clone()),
            PgType::Int2 => FormattedValues::Int2(column.as_primitive::<Int16Type>().clone()),
            PgType::Int4 => FormattedValues::Int4(column.as_primitive::<Int32Type>().clone()),
            PgType::Int8 => FormattedValues::Int8(column.as_primitive::<Int64Type>().clone()),
            PgType::Float4 => FormattedValues::Float4(column.as_primitive::<Float32Type>().clone()),
            PgType::Float8 => FormattedValues::Float8(column.as_primitive::<Float64Type>().clone()),
            PgType::Numeric(_) => match column.data_type() {
                DataType::LargeBinary => FormattedValues::Varying(column.as_binary::<i64>().clone()),
                _ => {
                    let values = column.as_primitive::<Decimal128Type>().clone();
                    let scale = values.scale();
                    FormattedValues::Numeric(values, scale)
                }
            },
            PgType::Text | PgType::Varchar(_) | PgType::Char(0) | PgType::Json | PgType::Name | PgType::Unknown => {
                FormattedValues::Text(column.as_string::<i32>().clone())
            }
            PgType::InternalChar => FormattedValues::Letter(column.as_string::<i32>().clone()),
            PgType::Opaque(Opaque::Inet) => FormattedValues::Inet(column.as_string::<i32>().clone()),
            PgType::Opaque(Opaque::JsonPath) => FormattedValues::Jsonb(column.as_string::<i32>().clone()),
            PgType::Opaque(_) => FormattedValues::Text(column.as_string::<i32>().clone()),
            PgType::Char(length) => {
                let width = *length as usize;
                let bare = column.as_string::<i32>();
                FormattedValues::Text(
                    bare.iter()
                        .map(|text| text.map(|text| format!("{text:<width$}")))
                        .collect(),
                )
            }
            PgType::Jsonb => FormattedValues::Jsonb(column.as_string::<i32>().clone()),
            PgType::Uuid => FormattedValues::Uuid(column.as_string::<i32>().clone()),
            PgType::Bytea => FormattedValues::Bytea(column.as_binary::<i32>().clone()),
            PgType::Date => FormattedValues::Date(column.as_primitive::<Date32Type>().clone()),
            PgType::Time => FormattedValues::Time(column.as_primitive::<Time64MicrosecondType>().clone()),
            PgType::Timestamp => FormattedValues::Timestamp(column.as_primitive::<TimestampMicrosecondType>().clone()),
            PgType::TimestampTz => {
                FormattedValues::TimestampTz(column.as_primitive::<TimestampMicrosecondType>().clone())
            }
            PgType::Interval => FormattedValues::Interval(column.as_primitive::<IntervalMonthDayNanoType>().clone()),
            PgType::Oid | PgType::Xid | PgType::Cid => FormattedValues::Oid(column.as_primitive::<Int64Type>().clone()),
            PgType::Tid => FormattedValues::Tid(column.as_primitive::<Int64Type>().clone()),
            PgType::PgLsn => FormattedValues::Lsn(column.as_primitive::<Int64Type>().clone()),
            PgType::Xid8 => FormattedValues::Xid8(column.as_primitive::<Int64Type>().clone()),
            PgType::Array(item) => {
                let lists = column.as_list::<i32>().clone();
                let is_nested = matches!(
                    lists.values().data_type(),
                    DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _)
                );
                let inner = if is_nested { pg_type } else { item.as_ref() };
                FormattedValues::Array {
                    items: Box::new(ColumnFormatter::new(inner, lists.values(), style)?),
                    item_oid: bottom(item).oid(),
                    lists,
                }
            }
            PgType::Shaped(item) => {
                let arrays = ShapedArrays::decode(&column, item)?;
                FormattedValues::Shaped {
                    values: column.as_binary_view().clone(),
                    items: Box::new(ColumnFormatter::new(item, arrays.lists.values(), style)?),
                    arrays,
                }
            }
            PgType::Int2Vector | PgType::OidVector => {
                let item = pg_type.vector_item().expect("it is a vector");
                let ShapedArrays { lists, .. } = ShapedArrays::decode(&column, &item)?;
                FormattedValues::Vector {
                    values: column.as_binary_view().clone(),
                    items: Box::new(ColumnFormatter::new(&item, lists.values(), style)?),
                    lists,
                }
            }
            PgType::Void => FormattedValues::Void(column),
            alias => FormattedValues::Alias(column.as_primitive::<Int64Type>().clone(), alias.clone()),
        };
        Ok(ColumnFormatter {
            values,
            style: style.clone(),
        })
    }

    fn array(&self) -> &dyn Array {
        match &self.values {
            FormattedValues::Bool(values) => values,
            FormattedValues::Int2(values) => values,
            FormattedValues::Int4(values) => values,
            FormattedValues::Int8(values)
            | FormattedValues::Oid(values)
            | FormattedValues::Tid(values)
            | FormattedValues::Alias(values, _)
            | FormattedValues::Lsn(values)
            | FormattedValues::Xid8(values) => values,
            FormattedValues::Float4(values) => values,
            FormattedValues::Float8(values) => values,
            FormattedValues::Numeric(values, ..) => values,
            FormattedValues::Varying(values) => values,
            FormattedValues::Text(values)
            | FormattedValues::Jsonb(values)
            | FormattedValues::Uuid(values)
            | FormattedValues::Letter(values)
            | FormattedValues::Inet(values) => values,
            FormattedValues::Bytea(values) => values,
            FormattedValues::Date(values) => values,
            FormattedValues::Time(values) => values,
            FormattedValues::Timestamp(values) | FormattedValues::TimestampTz(values) => values,
            FormattedValues::Interval(values) => values,
            FormattedValues::Array { lists, .. } => lists,
            FormattedValues::Shaped { values, .. } | FormattedValues::Vector { values, .. } => values,
            FormattedValues::Void(values) => values.as_ref(),
        }
    }

    #[inline]
    pub fn is_null(&self, row: usize) -> bool {
        self.array().is_null(row)
    }

    /// The value at `row`, which is not NULL, as text.
    #[inline]
    pub fn write_text(&self, row: usize, out: &mut BytesMut) {
        match &self.values {
            FormattedValues::Int8(values) => write_i64(values.value(row), out),
            FormattedValues::Lsn(values) => write_lsn(values.value(row), out),
            FormattedValues::Xid8(values) => out.extend_from_slice((values.value(row) as u64).to_string().as_bytes()),
            FormattedValues::Text(values)
            | FormattedValues::Jsonb(values)
            | FormattedValues::Uuid(values)
            | FormattedValues::Inet(values) => {
                out.extend_from_slice(values.value(row).as_bytes());
            }
            FormattedValues::Letter(values) => letter::write(values.value(row), out),
            FormattedValues::Timestamp(values) => calendar::write_timestamp(values.value(row), out),
            FormattedValues::Numeric(values, scale) => write_decimal(values.value(row), *scale, out),
            FormattedValues::Varying(values) => Numeric::decode(values.value(row)).write_text(out),
            FormattedValues::Bool(values) => out.put_u8(if values.value(row) { b't' } else { b'f' }),
            FormattedValues::Int2(values) => write_i64(values.value(row).into(), out),
            FormattedValues::Int4(values) => write_i64(values.value(row).into(), out),
            FormattedValues::Float4(values) => float::write_f32(values.value(row), self.style.extra_float_digits, out),
            FormattedValues::Float8(values) => float::write_f64(values.value(row), self.style.extra_float_digits, out),
            FormattedValues::Bytea(values) => byte_types::write_bytea(values.value(row), self.style.bytea_hex, out),
            FormattedValues::Date(values) => calendar::write_date(values.value(row), out),
            FormattedValues::Time(values) => calendar::write_time(values.value(row), out),
            FormattedValues::TimestampTz(values) => {
                calendar::write_timestamptz(values.value(row), self.style.time_zone, out)
            }
            FormattedValues::Interval(values) => write_interval(values.value(row), self.style.interval_style, out),
            FormattedValues::Oid(values) => write_i64(values.value(row), out),
            FormattedValues::Tid(values) => out.extend_from_slice(tid::text(values.value(row)).as_bytes()),
            FormattedValues::Alias(values, alias) => self.write_alias(values.value(row), alias, out),
            FormattedValues::Array { lists, items, .. } => {
                let offsets = lists.value_offsets();
                let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
                let nested = matches!(items.values, FormattedValues::Array { .. });
                let mut item = BytesMut::new();
                out.put_u8(b'{');
                for at in start..end {
                    if at > start {
                        out.put_u8(b',');
                    }
                    if items.is_null(at) {
                        out.extend_from_slice(b"NULL");
                    } else if nested {
                        items.write_text(at, out);
                    } else {
                        item.clear();
                        items.write_text(at, &mut item);
                        array::write_item(&item, out);
                    }
                }
                out.put_u8(b'}');
            }
            FormattedValues::Shaped { arrays, items, .. } => {
                let shape = &arrays.shapes[row];
                if shape.0.iter().any(|dimension| dimension.lower != 1) {
                    out.extend_from_slice(shape.text().as_bytes());
                    out.put_u8(b'=');
                }
                let mut at = arrays.lists.value_offsets()[row] as usize;
                write_nested(&shape.0, items, &mut at, out);
            }
            FormattedValues::Vector { lists, items, .. } => {
                let offsets = lists.value_offsets();
                for at in offsets[row]..offsets[row + 1] {
                    if at > offsets[row] {
                        out.put_u8(b' ');
                    }
                    items.write_text(at as usize, out);
                }
            }
            FormattedValues::Void(_) => {}
        }
    }

    fn write_alias(&self, oid: i64, alias: &PgType, out: &mut BytesMut) {
        let number = oid as u32;
        let named = self.style.object_names.as_ref().and_then(|names| names(alias, number));
        let name = match alias {
            PgType::Regtype => named.or_else(|| PgType::from_oid(number).map(|pg_type| pg_type.name())),
            _ => named,
        };
        match name {
            Some(name) => out.extend_from_slice(name.as_bytes()),
            None if oid == 0 => out.put_u8(b'-'),
            None => write_i64(oid, out),
        }
    }

    /// The value at `row`, which is not NULL, in binary.
    #[inline]
    pub fn write_binary(&self, row: usize, out: &mut BytesMut) {
        match &self.values {
            FormattedValues::Int8(values) | FormattedValues::Lsn(values) | FormattedValues::Xid8(values) => {
                out.put_i64(values.value(row));
            }
            FormattedValues::Inet(values) => write_inet_binary(values.value(row), out),
            FormattedValues::Text(values) => out.extend_from_slice(values.value(row).as_bytes()),
            FormattedValues::Letter(values) => out.put_u8(letter::byte(values.value(row))),
            FormattedValues::Timestamp(values) | FormattedValues::TimestampTz(values) => {
                out.put_i64(match values.value(row) {
                    infinite if calendar::is_infinite(infinite) => infinite,
                    us => us.saturating_sub(PG_EPOCH_US),
                });
            }
            FormattedValues::Numeric(values, scale) => write_decimal_binary(values.value(row), *scale, out),
            FormattedValues::Varying(values) => Numeric::decode(values.value(row)).write_binary(out),
            FormattedValues::Bool(values) => out.put_u8(values.value(row).into()),
            FormattedValues::Int2(values) => out.put_i16(values.value(row)),
            FormattedValues::Int4(values) => out.put_i32(values.value(row)),
            FormattedValues::Float4(values) => out.put_f32(values.value(row)),
            FormattedValues::Float8(values) => out.put_f64(values.value(row)),
            FormattedValues::Jsonb(values) => {
                const VERSION: u8 = 1;
                out.put_u8(VERSION);
                out.extend_from_slice(values.value(row).as_bytes());
            }
            FormattedValues::Uuid(values) => {
                let value = byte_types::parse_uuid(values.value(row)).unwrap_or_default();
                out.extend_from_slice(&value);
            }
            FormattedValues::Bytea(values) => out.extend_from_slice(values.value(row)),
            FormattedValues::Date(values) => out.put_i32(match values.value(row) {
                infinite if calendar::is_infinite_date(infinite) => infinite,
                days => days.saturating_sub(PG_EPOCH_DAYS),
            }),
            FormattedValues::Time(values) => out.put_i64(values.value(row)),
            FormattedValues::Interval(values) => {
                let value = values.value(row);
                out.put_i64(value.nanoseconds / 1_000);
                out.put_i32(value.days);
                out.put_i32(value.months);
            }
            FormattedValues::Oid(values) | FormattedValues::Alias(values, _) => out.put_u32(values.value(row) as u32),
            FormattedValues::Tid(values) => out.extend_from_slice(&values.value(row).to_be_bytes()[2..]),
            FormattedValues::Array { lists, items, item_oid } => {
                let mut dimensions = Vec::new();
                self.dimensions(row, &mut dimensions);
                let is_empty = dimensions.contains(&0);
                out.put_i32(if is_empty { 0 } else { dimensions.len() as i32 });
                let has_nulls = out.len();
                out.put_i32(0);
                out.put_u32(*item_oid);
                if is_empty {
                    return;
                }
                for length in &dimensions {
                    out.put_i32(*length);
                    out.put_i32(1);
                }
                let offsets = lists.value_offsets();
                for at in offsets[row] as usize..offsets[row + 1] as usize {
                    if items.write_binary_items(at, out) {
                        out[has_nulls..has_nulls + 4].copy_from_slice(&1_i32.to_be_bytes());
                    }
                }
            }
            FormattedValues::Shaped { values, .. } | FormattedValues::Vector { values, .. } => {
                out.extend_from_slice(values.value(row));
            }
            FormattedValues::Void(_) => {}
        }
    }

    /// Lengths of the list at `row` and of the first lists inside it.
    fn dimensions(&self, row: usize, lengths: &mut Vec<i32>) {
        if let FormattedValues::Array { lists, items, .. } = &self.values {
            let length = lists.value_length(row);
            lengths.push(length);
            if length > 0 {
                items.dimensions(lists.value_offsets()[row] as usize, lengths);
            }
        }
    }

    /// The items at the bottom of the list at `row`, or the item itself, each with its length in front. Whether one of
    /// them is NULL.
    fn write_binary_items(&self, row: usize, out: &mut BytesMut) -> bool {
        if let FormattedValues::Array { lists, items, .. } = &self.values {
            let offsets = lists.value_offsets();
            let mut has_nulls = false;
            for at in offsets[row] as usize..offsets[row + 1] as usize {
                has_nulls |= items.write_binary_items(at, out);
            }
            return has_nulls;
        }
        self.write_field(row, true, out);
        self.is_null(row)
    }

    /// The value with its length in front, as DataRow and Bind carry it; NULL is the length -1.
    #[inline]
    pub fn write_field(&self, row: usize, binary: bool, out: &mut BytesMut) {
        if self.is_null(row) {
            out.put_i32(-1);
            return;
        }
        let at = out.len();
        out.put_i32(0);
        if binary {
            self.write_binary(row, out);
        } else {
            self.write_text(row, out);
        }
        let length = (out.len() - at - 4) as i32;
        out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// The value at `row` as a string; `None` is NULL. For callers off the hot path.
    pub fn text(&self, row: usize) -> Option<String> {
        if self.is_null(row) {
            return None;
        }
        let mut out = BytesMut::new();
        self.write_text(row, &mut out);
        Some(String::from_utf8(out.to_vec()).expect("text values are UTF-8"))
    }
}

/// The items from `at` on in the braces of their dimensions.
fn write_nested(dimensions: &[Dimension], items: &ColumnFormatter, at: &mut usize, out: &mut BytesMut) {
    out.put_u8(b'{');
    if let [outer, inner @ ..] = dimensions {
        let mut item = BytesMut::new();
        for place in 0..outer.length {
            if place > 0 {
                out.put_u8(b',');
            }
            if !inner.is_empty() {
                write_nested(inner, items, at, out);
                continue;
            }
            if items.is_null(*at) {
                out.extend_from_slice(b"NULL");
            } else {
                item.clear();
                items.write_text(*at, &mut item);
                array::write_item(&item, out);
            }
            *at += 1;
        }
    }
    out.put_u8(b'}');
}

/// The type below all dimensions.
fn bottom(pg_type: &PgType) -> &PgType {
    match pg_type {
        PgType::Array(item) | PgType::Shaped(item) => bottom(item),
        scalar => scalar,
    }
}
