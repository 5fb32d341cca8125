//! PostgreSQL's types as Arrow's, and the text and binary forms of their values.
//!
//! One rule: a column's [`PgType`] can always be read back from its Arrow field, by the data type alone or by the
//! field's `pg_type` metadata where several PostgreSQL types share one Arrow type. Pure: no I/O, no SQL.

mod catalog;
mod name;

pub mod calendar;
mod datetime;
pub mod decimal;
mod interval;

mod array;
mod bytes;
pub mod float;
pub mod json;
pub mod numeric;
pub mod varying;

mod malformed;

mod builder;
mod formatter;
#[cfg(test)]
mod tests;

pub use self::array::{multidimensional, write_item};
pub use self::builder::{ColumnBuilder, scalar_from_binary, scalar_from_text, scalar_null, utf8};
pub use self::bytes::{parse_bool, parse_bytea, parse_uuid, read_escape, read_hex, uuid_text, write_bytea, write_hex};
pub use self::datetime::{
    DATE_RANGE, DateOrder, InputStyle, TIMESTAMP_RANGE_US, parse_date, parse_time, parse_timestamp, parse_timestamptz,
    zone_named,
};
pub use self::formatter::{ColumnFormatter, ObjectNames, TextStyle};
pub use self::interval::{
    IntervalField, IntervalFields, IntervalStyle, parse_interval, parse_interval_of, write_interval,
};

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use serde::{Deserialize, Serialize};

/// Field metadata key under which a type that Arrow alone cannot tell is kept, as [`PgType::name`] spells it.
pub const PG_TYPE_KEY: &str = "pg_type";

/// A PostgreSQL type, with its modifier.
///
/// Arrow: text-like types are `Utf8`, BYTEA `Binary`, NUMERIC(p, s) `Decimal128`, NUMERIC `LargeBinary`, times are microseconds, TIMESTAMPTZ is
/// `Timestamp(µs, "UTC")`, UUID is its canonical lower-case text in `Utf8`, arrays are `List`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PgType {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    /// Precision and scale; `None` is NUMERIC whose values have scales of their own ([`varying`]).
    #[serde(with = "modifier")]
    Numeric(Option<(u8, i8)>),
    Text,
    Varchar(Option<u32>),
    /// CHAR(n), blank-padded; 0 is BPCHAR without a length.
    Char(u32),
    Bytea,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Interval,
    Uuid,
    Json,
    Jsonb,
    Array(Box<PgType>),
    /// Catalog types, only in system relations and query results.
    Oid,
    Name,
    /// The one-byte `"char"`.
    InternalChar,
    Regclass,
    Regtype,
    Regproc,
    Regnamespace,
    Unknown,
    Void,
}

/// How definitions that are stored write precision and scale. None were written for the NUMERIC of 10 fractional digits
/// that there was before values had scales of their own: its columns hold `Decimal128(38, 10)` ever since.
mod modifier {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    const OF_BEFORE: (u8, i8) = (38, 10);
    /// No precision is 0.
    const NONE: (u8, i8) = (0, 0);

    pub fn serialize<S: Serializer>(modifier: &Option<(u8, i8)>, serializer: S) -> Result<S::Ok, S::Error> {
        Some(modifier.unwrap_or(NONE)).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<(u8, i8)>, D::Error> {
        let read = Option::<(u8, i8)>::deserialize(deserializer)?.unwrap_or(OF_BEFORE);
        Ok((read != NONE).then_some(read))
    }
}

impl PgType {
    /// The Arrow type that holds it.
    pub fn arrow(&self) -> DataType {
        match self {
            PgType::Bool => DataType::Boolean,
            PgType::Int2 => DataType::Int16,
            PgType::Int4 => DataType::Int32,
            PgType::Int8 => DataType::Int64,
            PgType::Float4 => DataType::Float32,
            PgType::Float8 => DataType::Float64,
            PgType::Numeric(None) => DataType::LargeBinary,
            PgType::Numeric(Some((precision, scale))) => DataType::Decimal128(*precision, *scale),
            PgType::Text
            | PgType::Varchar(_)
            | PgType::Char(_)
            | PgType::Uuid
            | PgType::Json
            | PgType::Jsonb
            | PgType::Name
            | PgType::InternalChar
            | PgType::Unknown
            | PgType::Void => DataType::Utf8,
            PgType::Bytea => DataType::Binary,
            PgType::Date => DataType::Date32,
            PgType::Time => DataType::Time64(TimeUnit::Microsecond),
            PgType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            PgType::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            PgType::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            PgType::Array(item) => DataType::List(item.field("item", true).into()),
            // An OID is an unsigned 32-bit number; Int64 keeps DataFusion's comparisons with literals exact.
            PgType::Oid | PgType::Regclass | PgType::Regtype | PgType::Regproc | PgType::Regnamespace => {
                DataType::Int64
            }
        }
    }

    /// An Arrow field of this type, with `pg_type` metadata where [`PgType::of_field`] needs it.
    pub fn field(&self, name: &str, nullable: bool) -> Field {
        let field = Field::new(name, self.arrow(), nullable);
        if PgType::of_arrow(&self.arrow()).as_ref() == Some(self) {
            field
        } else {
            field.with_metadata(HashMap::from([(PG_TYPE_KEY.to_string(), self.name())]))
        }
    }

    /// The type of a field: its metadata if it has any and still fits the data type, else by data type.
    pub fn of_field(field: &Field) -> Option<PgType> {
        if let Some(named) = field.metadata().get(PG_TYPE_KEY).and_then(|name| PgType::parse(name))
            && named.arrow().equals_datatype(field.data_type())
        {
            return Some(named);
        }
        PgType::of_arrow(field.data_type())
    }
}

impl PgType {
    /// The type that a bare Arrow type stands for; `None` for Arrow types that no SQL value has.
    ///
    /// Unsigned 64-bit numbers are what the engine counts with
    /// (`row_number()`), so they are BIGINT.
    pub fn of_arrow(data_type: &DataType) -> Option<PgType> {
        Some(match data_type {
            // A column of nothing but NULL literals is TEXT, as PostgreSQL resolves `unknown`.
            DataType::Null => PgType::Text,
            DataType::Boolean => PgType::Bool,
            DataType::Int8 | DataType::UInt8 | DataType::Int16 => PgType::Int2,
            DataType::UInt16 | DataType::Int32 => PgType::Int4,
            DataType::UInt32 | DataType::Int64 | DataType::UInt64 => PgType::Int8,
            DataType::Float16 | DataType::Float32 => PgType::Float4,
            DataType::Float64 => PgType::Float8,
            DataType::LargeBinary => PgType::Numeric(None),
            DataType::Decimal32(precision, scale)
            | DataType::Decimal64(precision, scale)
            | DataType::Decimal128(precision, scale) => PgType::Numeric(Some((*precision, *scale))),
            DataType::Decimal256(precision, scale) => PgType::Numeric(Some(((*precision).min(38), *scale))),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => PgType::Text,
            DataType::Binary | DataType::BinaryView | DataType::FixedSizeBinary(_) => PgType::Bytea,
            DataType::Date32 | DataType::Date64 => PgType::Date,
            DataType::Time32(_) | DataType::Time64(_) => PgType::Time,
            DataType::Timestamp(_, None) => PgType::Timestamp,
            DataType::Timestamp(_, Some(_)) => PgType::TimestampTz,
            DataType::Interval(_) | DataType::Duration(_) => PgType::Interval,
            DataType::List(item)
            | DataType::LargeList(item)
            | DataType::ListView(item)
            | DataType::LargeListView(item)
            | DataType::FixedSizeList(item, _) => match PgType::of_field(item)? {
                nested @ PgType::Array(_) => nested,
                item => PgType::Array(Box::new(item)),
            },
            DataType::Dictionary(_, value) => PgType::of_arrow(value)?,
            DataType::RunEndEncoded(_, values) => PgType::of_field(values)?,
            DataType::Struct(_) | DataType::Union(_, _) | DataType::Map(_, _) => return None,
        })
    }
}
