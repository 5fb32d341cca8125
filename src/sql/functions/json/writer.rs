//! One column of any type, ready to be written as JSON.
//!
//! One rule: numbers and booleans are JSON's own, JSON is itself, times are written as ISO 8601 has them; everything
//! else is a string of PostgreSQL's text.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, StringArray, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field};
use bytes::BytesMut;

use super::invalid;
use crate::error::SqlError;
use crate::types::TimeZone;
use crate::types::json::{canonical, key_order, number, write_quoted};
use crate::types::shape::Dimension;
use crate::types::shaped::{ShapedArrays, item_type};
use crate::types::{ColumnFormatter, PgType, TextStyle};

/// The type that is written, one of two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    Json,
    Jsonb,
}

impl Form {
    /// Between key and value of an object that is built.
    pub fn colon(self) -> &'static str {
        match self {
            Form::Json => " : ",
            Form::Jsonb => ": ",
        }
    }
}

pub struct JsonWriter {
    values: JsonColumn,
    buffer: BytesMut,
}

enum JsonColumn {
    Null,
    Bool(BooleanArray),
    Number(ColumnFormatter),
    /// Of a date and a time of day, with an offset or not.
    Instant(ColumnFormatter),
    Json(StringArray),
    Jsonb(StringArray),
    Text(StringArray),
    Other(ColumnFormatter),
    List(ListArray, Box<JsonWriter>),
    /// Arrays of any dimensions.
    Shaped(ShapedArrays, Box<JsonWriter>),
    /// With the names of its members, and the order that JSONB has them in.
    Struct(StructArray, Vec<(String, JsonWriter)>, Vec<usize>),
}

impl JsonWriter {
    pub fn new(field: &Field, column: &ArrayRef, zone: TimeZone) -> Result<JsonWriter, SqlError> {
        let pg_type = PgType::of_field(field);
        let values = match (column.data_type(), pg_type) {
            (DataType::Null, _) => JsonColumn::Null,
            (DataType::Struct(members), _) => {
                let structs = column.as_struct();
                let mut columns = Vec::with_capacity(members.len());
                for (member, column) in members.iter().zip(structs.columns()) {
                    columns.push((member.name().clone(), JsonWriter::new(member, column, zone)?));
                }
                let mut order: Vec<usize> = (0..columns.len()).collect();
                order.sort_by(|a, b| key_order(&columns[*a].0, &columns[*b].0));
                // Of equal names the last one counts.
                let is_last = |at: usize| {
                    order
                        .get(at + 1)
                        .is_none_or(|next| columns[*next].0 != columns[order[at]].0)
                };
                let order = (0..order.len()).filter(|at| is_last(*at)).map(|at| order[at]).collect();
                JsonColumn::Struct(structs.clone(), columns, order)
            }
            (DataType::List(item), _) => {
                let lists = column.as_list::<i32>();
                let item = PgType::item_field(field).unwrap_or_else(|| item.as_ref().clone());
                JsonColumn::List(lists.clone(), Box::new(JsonWriter::new(&item, lists.values(), zone)?))
            }
            (DataType::LargeList(item) | DataType::FixedSizeList(item, _), _) => {
                let plain = DataType::List(item.clone());
                let lists = cast(column, &plain)
                    .map_err(|error| SqlError::from(datafusion::error::DataFusionError::from(error)))?;
                return JsonWriter::new(&field.clone().with_data_type(plain), &lists, zone);
            }
            (DataType::BinaryView, known) => {
                let known = known.as_ref().and_then(PgType::item).cloned();
                let item = known.or_else(|| item_type(column)).unwrap_or(PgType::Text);
                let arrays = ShapedArrays::decode(column, &item)?;
                let items = JsonWriter::new(&item.field("item", true), arrays.lists.values(), zone)?;
                JsonColumn::Shaped(arrays, Box::new(items))
            }
            (_, Some(pg_type)) => {
                let style = TextStyle {
                    time_zone: zone,
                    ..TextStyle::default()
                };
                let text = || column.as_string_opt::<i32>().cloned();
                let formatter = || ColumnFormatter::new(&pg_type, column, &style);
                match pg_type {
                    PgType::Bool => JsonColumn::Bool(column.as_boolean().clone()),
                    PgType::Int2
                    | PgType::Int4
                    | PgType::Int8
                    | PgType::Float4
                    | PgType::Float8
                    | PgType::Numeric(_) => JsonColumn::Number(formatter()?),
                    PgType::Timestamp | PgType::TimestampTz => JsonColumn::Instant(formatter()?),
                    PgType::Json | PgType::Jsonb | PgType::Text => match (text(), &pg_type) {
                        (Some(texts), PgType::Json) => JsonColumn::Json(texts),
                        (Some(texts), PgType::Jsonb) => JsonColumn::Jsonb(texts),
                        (Some(texts), _) => JsonColumn::Text(texts),
                        (None, _) => JsonColumn::Other(formatter()?),
                    },
                    _ => JsonColumn::Other(formatter()?),
                }
            }
            (_, None) => {
                let types = vec![column.data_type().clone()];
                return Err(crate::sql::functions::undefined_function("to_json", &types));
            }
        };
        Ok(JsonWriter {
            values,
            buffer: BytesMut::new(),
        })
    }

    pub fn is_null(&self, row: usize) -> bool {
        match &self.values {
            JsonColumn::Null => true,
            JsonColumn::Bool(values) => values.is_null(row),
            JsonColumn::Number(values) | JsonColumn::Instant(values) | JsonColumn::Other(values) => values.is_null(row),
            JsonColumn::Json(values) | JsonColumn::Jsonb(values) | JsonColumn::Text(values) => values.is_null(row),
            JsonColumn::List(values, _) => values.is_null(row),
            JsonColumn::Shaped(values, _) => values.lists.is_null(row),
            JsonColumn::Struct(values, _, _) => values.is_null(row),
        }
    }

    /// An array or a row.
    pub fn is_structured(&self) -> bool {
        matches!(
            self.values,
            JsonColumn::List(..) | JsonColumn::Shaped(..) | JsonColumn::Struct(..)
        )
    }

    /// The value at `row`; `null` if it is NULL.
    pub fn write(&mut self, row: usize, form: Form, out: &mut String) -> Result<(), SqlError> {
        let comma = match form {
            Form::Json => ",",
            Form::Jsonb => ", ",
        };
        self.write_with(row, form, comma, out)
    }

    /// The elements or members at `row`, one on each line.
    pub fn write_lines(&mut self, row: usize, out: &mut String) -> Result<(), SqlError> {
        self.write_with(row, Form::Json, ",\n ", out)
    }

    fn write_with(&mut self, row: usize, form: Form, comma: &str, out: &mut String) -> Result<(), SqlError> {
        if self.is_null(row) {
            out.push_str("null");
            return Ok(());
        }
        match &mut self.values {
            JsonColumn::Null => {}
            JsonColumn::Bool(values) => out.push_str(if values.value(row) { "true" } else { "false" }),
            JsonColumn::Number(values) => {
                let text = text_of(values, row, &mut self.buffer);
                match (text.ends_with(|c: char| c.is_ascii_digit()), form) {
                    // Not a number, or infinity.
                    (false, _) => write_quoted(text, out),
                    (true, Form::Json) => out.push_str(text),
                    (true, Form::Jsonb) => out.push_str(&number(text)?),
                }
            }
            JsonColumn::Instant(values) => {
                let text = iso(text_of(values, row, &mut self.buffer));
                write_quoted(&text, out);
            }
            JsonColumn::Json(values) if form == Form::Jsonb => out.push_str(&canonical(values.value(row))?),
            JsonColumn::Json(values) | JsonColumn::Jsonb(values) => out.push_str(values.value(row)),
            JsonColumn::Text(values) => write_quoted(values.value(row), out),
            JsonColumn::Other(values) => write_quoted(text_of(values, row, &mut self.buffer), out),
            JsonColumn::List(lists, items) => {
                let offsets = lists.value_offsets();
                out.push('[');
                for (at, item) in (offsets[row] as usize..offsets[row + 1] as usize).enumerate() {
                    if at > 0 {
                        out.push_str(comma);
                    }
                    items.write(item, form, out)?;
                }
                out.push(']');
            }
            JsonColumn::Shaped(arrays, items) => {
                let mut at = arrays.lists.value_offsets()[row] as usize;
                write_nested(&arrays.shapes[row].0, items, &mut at, (form, comma), out)?;
            }
            JsonColumn::Struct(_, members, order) => {
                let as_written: Vec<usize> = (0..members.len()).collect();
                let order = if form == Form::Jsonb { &*order } else { &as_written };
                out.push('{');
                for (at, member) in order.iter().enumerate() {
                    let (name, values) = &mut members[*member];
                    if at > 0 {
                        out.push_str(comma);
                    }
                    write_quoted(name, out);
                    out.push_str(if form == Form::Jsonb { ": " } else { ":" });
                    values.write(row, form, out)?;
                }
                out.push('}');
            }
        }
        Ok(())
    }

    /// The value at `row`, which is not NULL, as a key. 22023 for a value that is no scalar.
    pub fn key(&mut self, row: usize) -> Result<String, SqlError> {
        Ok(match &self.values {
            JsonColumn::Null
            | JsonColumn::Json(_)
            | JsonColumn::Jsonb(_)
            | JsonColumn::List(..)
            | JsonColumn::Shaped(..)
            | JsonColumn::Struct(..) => {
                return Err(invalid("key value must be scalar, not array, composite, or json"));
            }
            JsonColumn::Bool(values) => values.value(row).to_string(),
            JsonColumn::Text(values) => values.value(row).to_string(),
            JsonColumn::Instant(values) => iso(text_of(values, row, &mut self.buffer)),
            JsonColumn::Number(values) | JsonColumn::Other(values) => {
                text_of(values, row, &mut self.buffer).to_string()
            }
        })
    }
}

/// The items from `at` on, in an array for each dimension. The comma is that of the outermost.
fn write_nested(
    dimensions: &[Dimension],
    items: &mut JsonWriter,
    at: &mut usize,
    (form, comma): (Form, &str),
    out: &mut String,
) -> Result<(), SqlError> {
    out.push('[');
    if let [outer, inner @ ..] = dimensions {
        for place in 0..outer.length {
            if place > 0 {
                out.push_str(comma);
            }
            if inner.is_empty() {
                items.write(*at, form, out)?;
                *at += 1;
                continue;
            }
            let inner_comma = if form == Form::Json { "," } else { ", " };
            write_nested(inner, items, at, (form, inner_comma), out)?;
        }
    }
    out.push(']');
    Ok(())
}

fn text_of<'a>(values: &ColumnFormatter, row: usize, buffer: &'a mut BytesMut) -> &'a str {
    buffer.clear();
    values.write_text(row, buffer);
    std::str::from_utf8(buffer).expect("types are written as UTF-8")
}

/// PostgreSQL's text of a timestamp as ISO 8601 has it: a `T` before the time, minutes in the offset.
fn iso(text: &str) -> String {
    let Some((date, time)) = text.split_once(' ') else {
        return text.to_string();
    };
    let (time, era) = match time.split_once(' ') {
        Some((time, era)) => (time, format!(" {era}")),
        None => (time, String::new()),
    };
    let offset = time.find(['+', '-']).map(|at| &time[at..]);
    let minutes = match offset {
        Some(offset) if !offset.contains(':') => ":00",
        _ => "",
    };
    format!("{date}T{time}{minutes}{era}")
}
