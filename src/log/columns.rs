//! Columns by identity: a column of one schema of a topic, found in another one.
//!
//! One rule: a column is known by its id, which is never given again, not by its name or place: it can be renamed, and
//! one that comes after a dropped one of the same name is another. The id is in the Arrow field's metadata; a schema
//! without ids is from before there were any, and its columns count from 1.

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array};
use arrow::compute::{cast, take};
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

use super::{Lsn, TopicId, TopicSpec};

const ID_KEY: &str = "millstream.column";
const MISSING_KEY: &str = "millstream.missing";

/// A view of a topic for reading it: with the columns that the topic had when a statement was planned or a view made.
#[derive(Clone, Debug)]
pub struct Reader {
    pub topic: TopicId,
    pub schema_id: u32,
    pub schema: SchemaRef,
    /// Columns that have been dropped since are not looked at: NULLs in their place do.
    pub ignores_dropped: bool,
    /// Rows appended before this are not read, microseconds.
    pub since_us: Option<i64>,
}

impl Reader {
    /// A reader of the topic as it is.
    pub fn of(spec: &TopicSpec) -> Reader {
        Reader {
            topic: spec.id,
            schema_id: spec.schema_id,
            schema: Arc::clone(&spec.schema),
            ignores_dropped: false,
            since_us: None,
        }
    }

    /// A key that readers share if they see the same rows in the same columns.
    pub fn key(&self) -> (TopicId, u32, Option<i64>) {
        (self.topic, self.schema_id, self.since_us)
    }
}

/// Commits that are read.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    pub after: Lsn,
    pub upto: Lsn,
    /// Rows appended before this are left out, microseconds.
    pub since_us: Option<i64>,
    /// Rows of the partition at hand before this offset are gone.
    pub start: u64,
}

impl Range {
    /// Everything up to `upto`.
    pub fn all(upto: Lsn) -> Range {
        Range {
            after: 0,
            upto,
            since_us: None,
            start: 0,
        }
    }
}

/// A field of a topic's schema. `missing`: the value in rows from before the column was added, by [`encode_value`].
pub fn column_field(field: Field, id: u32, missing: Option<&str>) -> Field {
    let mut metadata: HashMap<String, String> = field.metadata().clone();
    metadata.insert(ID_KEY.to_string(), id.to_string());
    if let Some(missing) = missing {
        metadata.insert(MISSING_KEY.to_string(), missing.to_string());
    }
    field.with_metadata(metadata)
}

/// The id of a column.
pub fn column_id(schema: &Schema, index: usize) -> u32 {
    let id = schema
        .field(index)
        .metadata()
        .get(ID_KEY)
        .and_then(|id| id.parse().ok());
    id.unwrap_or_else(|| u32::try_from(index + 1).expect("a topic has fewer columns"))
}

/// The position in `schema` of the column that `of` has at `index`.
pub fn position_of(schema: &Schema, of: &Schema, index: usize) -> Option<usize> {
    let id = column_id(of, index);
    let found = (0..schema.fields().len()).find(|position| column_id(schema, *position) == id)?;
    (schema.field(found).data_type() == of.field(index).data_type()).then_some(found)
}

/// Rows from before the column was added, as they have it.
pub fn missing_column(field: &Field, rows: usize) -> ArrayRef {
    let value = field.metadata().get(MISSING_KEY).and_then(|text| decode_value(text));
    let value = value.filter(|value| value.data_type().equals_datatype(field.data_type()) && value.len() == 1);
    // Elements of arrays had metadata once.
    let value = value.and_then(|value| cast(&value, field.data_type()).ok());
    let repeated = value.and_then(|value| take(&value, &UInt32Array::from_value(0, rows), None).ok());
    repeated.unwrap_or_else(|| new_null_array(field.data_type(), rows))
}

/// `rows` of `from` as rows of `schema`. A column may hold NULL even if its field is not nullable.
pub fn conform(rows: &RecordBatch, from: &Schema, schema: &SchemaRef) -> RecordBatch {
    let fields = schema.fields().iter().enumerate();
    let columns = fields.map(|(index, field)| match position_of(from, schema, index) {
        Some(position) => Arc::clone(rows.column(position)),
        None => missing_column(field, rows.num_rows()),
    });
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(nullable(schema), columns.collect(), &options)
        .expect("columns have the types of the schema")
}

/// The same without NOT NULL.
pub fn nullable(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter();
    let fields: Vec<FieldRef> = fields
        .map(|field| match field.is_nullable() {
            true => Arc::clone(field),
            false => Arc::new(field.as_ref().clone().with_nullable(true)),
        })
        .collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// An array of one value as text.
pub fn encode_value(value: &ArrayRef) -> String {
    assert_eq!(value.len(), 1, "it is one value");
    let batch = RecordBatch::try_from_iter_with_nullable([("value", Arc::clone(value), true)])
        .expect("one column makes a batch");
    let mut bytes = Vec::new();
    let written = StreamWriter::try_new(&mut bytes, &batch.schema()).and_then(|mut writer| {
        writer.write(&batch)?;
        writer.finish()
    });
    written.expect("memory takes it");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn decode_value(text: &str) -> Option<ArrayRef> {
    let digits = text.as_bytes().chunks_exact(2);
    let bytes = digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let bytes: Vec<u8> = bytes.collect::<Option<_>>()?;
    let batch = StreamReader::try_new(Cursor::new(bytes), None).ok()?.next()?.ok()?;
    Some(Arc::clone(batch.columns().first()?))
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array, ListArray, StringArray};
    use arrow::datatypes::{DataType, Int64Type};

    use super::*;

    fn schema(columns: &[(&str, u32, Option<&str>)]) -> SchemaRef {
        let fields = columns
            .iter()
            .map(|(name, id, missing)| column_field(Field::new(*name, DataType::Int64, false), *id, *missing));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    #[test]
    fn a_column_is_known_by_its_id() {
        let seven = encode_value(&(Arc::new(Int64Array::from(vec![7])) as ArrayRef));
        let old = schema(&[("a", 1, None), ("b", 2, None)]);
        // `a` was dropped, `b` is called `a` now, `b` and `c` came later.
        let new = schema(&[("c", 4, Some(&seven)), ("a", 2, None), ("b", 3, None)]);
        let column = |values: [i64; 2]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
        let rows = RecordBatch::try_new(Arc::clone(&old), vec![column([1, 2]), column([3, 4])]).unwrap();
        let conformed = conform(&rows, &old, &new);
        assert_eq!(conformed.column(0).as_primitive::<Int64Type>().values(), &[7, 7]);
        assert_eq!(conformed.column(1).as_primitive::<Int64Type>().values(), &[3, 4]);
        assert_eq!(conformed.column(2).null_count(), 2);
    }

    #[test]
    fn columns_without_ids_count_from_one() {
        let old = Arc::new(Schema::new(vec![
            Field::new("a", DataType::Int64, true),
            Field::new("b", DataType::Int64, true),
        ]));
        let new = schema(&[("b", 1, None), ("a", 2, None)]);
        assert_eq!(position_of(&old, &new, 0), Some(0));
        assert_eq!(position_of(&old, &new, 1), Some(1));
    }

    #[test]
    fn arrays_of_earlier_files_have_plain_elements() {
        let item = Field::new("item", DataType::Utf8, true);
        let told = item
            .clone()
            .with_metadata([("pg_type".to_string(), "uuid".to_string())].into());
        let list = |item: Field| DataType::List(Arc::new(item));
        let value: ArrayRef = Arc::new(ListArray::new_null(Arc::new(told.clone()), 1));
        let was = column_field(Field::new("u", list(told), true), 1, Some(&encode_value(&value)));
        let is = was.clone().with_data_type(list(item));
        let bytes = super::super::frame::encode_schema(&Schema::new(vec![was]));
        let decoded = super::super::frame::decode_schema(&bytes).expect("whole");
        assert_eq!(decoded.field(0), &is);
        assert_eq!(missing_column(&is, 2).data_type(), is.data_type());
    }

    #[test]
    fn a_value_survives_as_text() {
        let value: ArrayRef = Arc::new(StringArray::from(vec!["naïve"]));
        let field = column_field(Field::new("t", DataType::Utf8, true), 1, Some(&encode_value(&value)));
        assert_eq!(missing_column(&field, 2).as_string::<i32>().value(1), "naïve");
    }
}
