//! Rows of system relations as plain values, and their conversion to Arrow.
//!
//! One rule: a column that a row does not set is NULL if the relation allows it, else the empty value of its type, so
//! that a relation's builder names only the columns that it knows. Not here: the rows themselves (`pg.rs`,
//! `information.rs`).

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Float32Array, Float64Array, Int16Array, Int32Array,
    Int64Array, IntervalMonthDayNanoArray, LargeBinaryArray, ListArray, RecordBatch, StringArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, IntervalMonthDayNano, IntervalUnit, TimeUnit};

use super::SystemRelation;
use crate::types::PgType;
use crate::types::shape::ArrayShape;
use crate::types::shaped::ShapedArrays;
use crate::types::varying::Numeric;

/// One value of a system relation.
#[derive(Clone, Debug, PartialEq)]
pub enum SystemValue {
    Null,
    Bool(bool),
    /// Also OIDs, and times and intervals in microseconds.
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<SystemValue>),
}

impl SystemValue {
    pub fn as_int(&self) -> Option<i64> {
        match self {
            SystemValue::Int(value) => Some(*value),
            SystemValue::Bool(value) => Some(i64::from(*value)),
            SystemValue::Float(value) => Some(*value as i64),
            SystemValue::Text(text) => text.trim().parse().ok(),
            SystemValue::Null | SystemValue::List(_) => None,
        }
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            SystemValue::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self, SystemValue::Null)
    }

    /// The value that a NOT NULL column has when nothing is known.
    fn empty(data_type: &DataType) -> SystemValue {
        match data_type {
            DataType::Boolean => SystemValue::Bool(false),
            DataType::Utf8 | DataType::Binary => SystemValue::Text(String::new()),
            DataType::List(_) | DataType::BinaryView => SystemValue::List(Vec::new()),
            DataType::Float32 | DataType::Float64 => SystemValue::Float(0.0),
            _ => SystemValue::Int(0),
        }
    }

    /// Reads a field of the embedded data files: `\N` is NULL, arrays are `{a,b}` or space-separated vectors.
    pub(super) fn parse(text: &str, data_type: &DataType) -> SystemValue {
        if text == "\\N" {
            return SystemValue::Null;
        }
        match data_type {
            DataType::Boolean => SystemValue::Bool(text == "t"),
            DataType::Utf8 | DataType::Binary => SystemValue::Text(text.to_string()),
            DataType::Float32 | DataType::Float64 => {
                SystemValue::Float(text.parse().expect("the data files hold numbers"))
            }
            DataType::List(item) => {
                let inner = text.trim_start_matches('{').trim_end_matches('}');
                let items = inner.split([',', ' ']).filter(|part| !part.is_empty());
                // An unnamed argument is written "" in an array of text.
                let items = items.map(|part| if part == "\"\"" { "" } else { part });
                SystemValue::List(items.map(|part| SystemValue::parse(part, item.data_type())).collect())
            }
            DataType::BinaryView => {
                let items = text.split_ascii_whitespace();
                SystemValue::List(items.map(|item| SystemValue::parse(item, &DataType::Int64)).collect())
            }
            _ => SystemValue::Int(text.parse().expect("the data files hold numbers")),
        }
    }
}

impl From<bool> for SystemValue {
    fn from(value: bool) -> Self {
        SystemValue::Bool(value)
    }
}
impl From<i64> for SystemValue {
    fn from(value: i64) -> Self {
        SystemValue::Int(value)
    }
}
impl From<i32> for SystemValue {
    fn from(value: i32) -> Self {
        SystemValue::Int(i64::from(value))
    }
}
impl From<u32> for SystemValue {
    fn from(value: u32) -> Self {
        SystemValue::Int(i64::from(value))
    }
}
impl From<u64> for SystemValue {
    fn from(value: u64) -> Self {
        SystemValue::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}
impl From<usize> for SystemValue {
    fn from(value: usize) -> Self {
        SystemValue::from(value as u64)
    }
}
impl From<&str> for SystemValue {
    fn from(value: &str) -> Self {
        SystemValue::Text(value.to_string())
    }
}
impl From<String> for SystemValue {
    fn from(value: String) -> Self {
        SystemValue::Text(value)
    }
}
impl<T: Into<SystemValue>> From<Option<T>> for SystemValue {
    fn from(value: Option<T>) -> Self {
        value.map_or(SystemValue::Null, Into::into)
    }
}
impl<T: Into<SystemValue>> From<Vec<T>> for SystemValue {
    fn from(values: Vec<T>) -> Self {
        SystemValue::List(values.into_iter().map(Into::into).collect())
    }
}

/// `row!["oid" => 1, "relname" => "x"]`: the columns that a row sets, by name.
macro_rules! row {
    ($($name:literal => $value:expr),* $(,)?) => {
        &[$(($name, $crate::catalog::system::SystemValue::from($value))),*]
    };
}
pub(super) use row;

/// Rows of one relation, collected column by column.
pub(super) struct RowCollector<'a> {
    relation: &'a SystemRelation,
    columns: Vec<Vec<SystemValue>>,
    len: usize,
}

impl<'a> RowCollector<'a> {
    pub fn new(relation: &'a SystemRelation) -> Self {
        RowCollector {
            relation,
            columns: vec![Vec::new(); relation.columns.len()],
            len: 0,
        }
    }

    pub fn push(&mut self, values: &[(&str, SystemValue)]) {
        self.len += 1;
        for (name, value) in values {
            let index = self.relation.column(name);
            let index = index.unwrap_or_else(|| panic!("{} has a column {name}", self.relation.name));
            self.columns[index].push(value.clone());
            assert_eq!(self.columns[index].len(), self.len, "column {name} is set once");
        }
        for (column, values) in self.relation.columns.iter().zip(&mut self.columns) {
            if values.len() < self.len {
                values.push(if column.not_null {
                    SystemValue::empty(&column.pg_type.arrow())
                } else {
                    SystemValue::Null
                });
            }
        }
    }

    pub fn finish(self) -> RecordBatch {
        let schema = self.relation.arrow_schema();
        let columns = schema.fields().iter().zip(&self.columns);
        let columns: Vec<ArrayRef> = columns
            .map(
                |(field, values)| match PgType::of_field(field).and_then(|known| known.vector_item()) {
                    Some(item) => vectors(values, &item),
                    None => array(values, field.data_type()),
                },
            )
            .collect();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(self.len));
        RecordBatch::try_new_with_options(schema.clone(), columns, &options)
            .expect("every column is built with its field's type and one value a row")
    }
}

/// Lists of numbers as `int2vector` or `oidvector`.
fn vectors(values: &[SystemValue], item: &PgType) -> ArrayRef {
    let lists = array(values, &PgType::Array(Box::new(item.clone())).arrow());
    let lists = lists.as_list::<i32>().clone();
    let shapes = (0..lists.len()).map(|row| ArrayShape::vector(lists.value_length(row) as usize));
    let arrays = ShapedArrays {
        shapes: shapes.collect(),
        lists,
    };
    Arc::new(arrays.encode(item).expect("the elements are numbers"))
}

/// An Arrow array of these values. A value that does not fit the type is NULL.
pub(crate) fn array(values: &[SystemValue], data_type: &DataType) -> ArrayRef {
    let ints = || values.iter().map(SystemValue::as_int);
    match data_type {
        DataType::Boolean => Arc::new(BooleanArray::from_iter(values.iter().map(|value| match value {
            SystemValue::Bool(value) => Some(*value),
            _ => None,
        }))),
        DataType::Int16 => Arc::new(Int16Array::from_iter(
            ints().map(|value| value.and_then(|value| i16::try_from(value).ok())),
        )),
        DataType::Int32 => Arc::new(Int32Array::from_iter(
            ints().map(|value| value.and_then(|value| i32::try_from(value).ok())),
        )),
        DataType::Int64 => Arc::new(Int64Array::from_iter(ints())),
        DataType::Float32 => Arc::new(Float32Array::from_iter(floats(values).map(|v| v.map(|v| v as f32)))),
        DataType::Float64 => Arc::new(Float64Array::from_iter(floats(values))),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            Arc::new(TimestampMicrosecondArray::from_iter(ints()).with_timezone_opt(zone.clone()))
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            Arc::new(IntervalMonthDayNanoArray::from_iter(ints().map(|us| {
                us.map(|us| IntervalMonthDayNano::new(0, 0, us.saturating_mul(1000)))
            })))
        }
        DataType::Binary => Arc::new(BinaryArray::from_iter(
            values.iter().map(|value| value.as_text().map(str::as_bytes)),
        )),
        DataType::LargeBinary => Arc::new(LargeBinaryArray::from_iter(
            ints().map(|value| value.map(|value| Numeric::whole(value.into()).encoded())),
        )),
        DataType::List(item) => {
            let mut items = Vec::new();
            let mut lengths = Vec::with_capacity(values.len());
            let mut valid = Vec::with_capacity(values.len());
            for value in values {
                if let SystemValue::List(list) = value {
                    items.extend_from_slice(list);
                    lengths.push(list.len());
                } else {
                    lengths.push(0);
                }
                valid.push(matches!(value, SystemValue::List(_)));
            }
            Arc::new(ListArray::new(
                item.clone(),
                OffsetBuffer::from_lengths(lengths),
                array(&items, item.data_type()),
                Some(NullBuffer::from(valid)),
            ))
        }
        DataType::Utf8 => Arc::new(StringArray::from_iter(values.iter().map(|value| match value {
            SystemValue::Text(text) => Some(text.clone()),
            SystemValue::Int(value) => Some(value.to_string()),
            SystemValue::Float(value) => Some(value.to_string()),
            SystemValue::Bool(value) => Some(value.to_string()),
            SystemValue::Null | SystemValue::List(_) => None,
        }))),
        other => new_null_array(other, values.len()),
    }
}

fn floats(values: &[SystemValue]) -> impl Iterator<Item = Option<f64>> + '_ {
    values.iter().map(|value| match value {
        SystemValue::Float(value) => Some(*value),
        SystemValue::Int(value) => Some(*value as f64),
        _ => None,
    })
}
