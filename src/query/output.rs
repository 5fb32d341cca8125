//! Rows with the names and types that the client was given when the statement was planned.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{Field, Schema, SchemaRef};

use crate::error::SqlError;
use crate::sql::field::OutField;

/// The schema of a result.
pub fn schema(fields: &[OutField]) -> SchemaRef {
    let fields: Vec<Field> = fields
        .iter()
        .map(|field| field.pg_type.field(&field.name, true))
        .collect();
    Arc::new(Schema::new(fields))
}

/// Renames and casts the columns of a batch to `schema`, in order.
pub fn conform(batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, SqlError> {
    assert_eq!(
        batch.num_columns(),
        schema.fields().len(),
        "a plan makes the columns that it was planned with"
    );
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| {
            if column.data_type() == field.data_type() {
                Ok(column.clone())
            } else {
                cast_with_options(column, field.data_type(), &strict)
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}
