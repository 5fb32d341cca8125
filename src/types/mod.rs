//! PostgreSQL's types as Arrow's, and the text and binary forms of their values.
//!
//! One rule: a column's [`PgType`] can always be read back from its Arrow field, by the data type alone or by the
//! field's `pg_type` metadata where several PostgreSQL types share one Arrow type. Pure: no I/O, no SQL.

mod catalog;
mod name;
mod opaque;
pub mod typmod;

pub mod calendar;
mod datetime;
pub mod decimal;
mod interval;

mod array;
mod bytes;
pub mod float;
pub mod json;
pub mod letter;
pub mod numeric;
pub mod shape;
pub mod shaped;
pub mod varying;

mod zone;

mod malformed;

pub mod tid;

mod builder;
mod formatter;
#[cfg(test)]
mod tests;

pub use self::array::{has_other_shape, multidimensional, write_item as write_array_item};
pub use self::builder::{ColumnBuilder, scalar_from_binary, scalar_from_text, scalar_null, utf8};
pub use self::bytes::{parse_bool, parse_bytea, parse_uuid, read_escape, read_hex, uuid_text, write_bytea, write_hex};
pub use self::datetime::{
    DATE_RANGE, DateOrder, InputStyle, TIMESTAMP_RANGE_US, parse_date, parse_time, parse_timestamp, parse_timestamptz,
};
pub use self::formatter::{ColumnFormatter, ObjectNames, TextStyle};
pub use self::interval::{
    IntervalField, IntervalFields, IntervalStyle, parse_interval, parse_interval_of, write_interval,
};
pub use self::opaque::Opaque;
pub use self::zone::TimeZone;

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use serde::{Deserialize, Serialize};

/// Field metadata key under which a type that Arrow alone cannot tell is kept, as [`PgType::name`] spells it.
pub const PG_TYPE_KEY: &str = "pg_type";

/// A PostgreSQL type, with its modifier.
///
/// Arrow: text-like types are `Utf8`, BYTEA `Binary`, NUMERIC(p, s) `Decimal128`, NUMERIC `LargeBinary`, times are microseconds, TIMESTAMPTZ is
/// `Timestamp(µs, "UTC")`, UUID is its canonical lower-case text in `Utf8`, arrays are `List`, those of
/// any dimensions `BinaryView`.
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
    /// An array whose values have any dimensions and lower bounds ([`shaped`]): the same type as [`PgType::Array`] in
    /// another form.
    Shaped(Box<PgType>),
    Regprocedure,
    Regoper,
    Regoperator,
    Regrole,
    Regcollation,
    /// A position of the write-ahead log, as PostgreSQL writes it: `16/B374D848`.
    PgLsn,
    /// A transaction's number of 64 bits.
    Xid8,
    Opaque(Opaque),
    /// The place of a row: the number of its block, times 2^16, and its number there.
    Tid,
    Xid,
    Cid,
    /// Arrays of catalogs with a text form of their own, `1 2`: of one dimension from 0, held as [`PgType::Shaped`] is.
    Int2Vector,
    OidVector,
}

/// Precision and scale in stored definitions. None were written for the NUMERIC of 10 fractional digits
/// that existed before values had scales of their own: its columns hold `Decimal128(38, 10)` ever since.
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
    /// Whether its values are OIDs that show as the names of their objects: `regclass` and the like.
    pub fn is_oid_alias(&self) -> bool {
        matches!(
            self,
            PgType::Regclass
                | PgType::Regtype
                | PgType::Regproc
                | PgType::Regprocedure
                | PgType::Regoper
                | PgType::Regoperator
                | PgType::Regnamespace
                | PgType::Regrole
                | PgType::Regcollation
        )
    }

    /// Whether a relation of a user may have columns of it.
    pub fn is_for_columns(&self) -> bool {
        match self {
            PgType::Array(item) => item.is_for_columns(),
            PgType::Opaque(_) | PgType::PgLsn | PgType::Xid8 | PgType::Int2Vector | PgType::OidVector => false,
            PgType::Regprocedure | PgType::Regoper | PgType::Regoperator | PgType::Regcollation => false,
            _ => true,
        }
    }

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
            | PgType::Void
            | PgType::Opaque(_) => DataType::Utf8,
            PgType::Bytea => DataType::Binary,
            PgType::Date => DataType::Date32,
            PgType::Time => DataType::Time64(TimeUnit::Microsecond),
            PgType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            PgType::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            PgType::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            PgType::Array(item) => DataType::List(item.element().into()),
            PgType::Shaped(_) | PgType::Int2Vector | PgType::OidVector => DataType::BinaryView,
            // An OID is an unsigned 32-bit number; Int64 keeps DataFusion's comparisons with literals exact.
            PgType::Oid | PgType::PgLsn | PgType::Xid8 | PgType::Tid | PgType::Xid | PgType::Cid => DataType::Int64,
            alias => {
                debug_assert!(alias.is_oid_alias());
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
            field.with_metadata(HashMap::from([(PG_TYPE_KEY.to_string(), self.spelling())]))
        }
    }

    /// [`PgType::name`], with a second pair of brackets for arrays of any dimensions, so that [`PgType::parse`] tells them.
    pub fn spelling(&self) -> String {
        match self {
            PgType::Shaped(_) => format!("{}[]", self.name()),
            other => other.name(),
        }
    }

    /// The type of the elements of an array in either form.
    pub fn item(&self) -> Option<&PgType> {
        match self {
            PgType::Array(item) | PgType::Shaped(item) => Some(item),
            _ => None,
        }
    }

    /// What a vector holds.
    pub fn vector_item(&self) -> Option<PgType> {
        match self {
            PgType::Int2Vector => Some(PgType::Int2),
            PgType::OidVector => Some(PgType::Oid),
            _ => None,
        }
    }

    /// The array of any dimensions that an array can be.
    pub fn shaped(self) -> PgType {
        match self {
            PgType::Array(item) => PgType::Shaped(item),
            other => other,
        }
    }

    /// The field of elements of this type in a list. The field of the array says of which type they are: the engine drops the
    /// metadata of theirs.
    pub fn element(&self) -> Field {
        Field::new("item", self.arrow(), true)
    }

    /// The field of an array's elements, with the metadata that the array's own field implies.
    pub fn item_field(field: &Field) -> Option<Field> {
        let DataType::List(item) = field.data_type() else {
            return None;
        };
        Some(match PgType::of_field(field) {
            Some(PgType::Array(known)) => known.field(item.name(), true),
            _ => item.as_ref().clone(),
        })
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
    /// The engine counts with unsigned 64-bit numbers (`row_number()`), so they are BIGINT.
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
            DataType::Binary | DataType::FixedSizeBinary(_) => PgType::Bytea,
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
            // The elements of an array of any dimensions are of a type that the field's metadata says.
            DataType::BinaryView => return None,
            DataType::Struct(_) | DataType::Union(_, _) | DataType::Map(_, _) => return None,
        })
    }
}
