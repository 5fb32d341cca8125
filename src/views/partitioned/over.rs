//! Window functions of every kind, over whole partitions.
//!
//! One rule: the values are those of the engine's own evaluators, which batch queries run.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, new_empty_array};
use arrow::compute::concat;
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::window::WindowExpr;

use crate::error::SqlError;

use super::super::delta::batch_of;
use super::kernel::{OrderedPartitions, PartitionKernel};

/// Window functions over one kind of window, as columns behind those of the input.
#[derive(Debug)]
pub struct WindowCalls {
    pub calls: Vec<Arc<dyn WindowExpr>>,
    /// Of the output.
    pub schema: SchemaRef,
}

impl PartitionKernel for WindowCalls {
    fn evaluate(&self, partitions: &OrderedPartitions) -> Result<RecordBatch, SqlError> {
        let rows = &partitions.rows;
        let mut columns = rows.columns().to_vec();
        for call in &self.calls {
            let mut values: Vec<ArrayRef> = Vec::with_capacity(partitions.ranges.len());
            for range in &partitions.ranges {
                values.push(call.evaluate(&rows.slice(range.start, range.len()))?);
            }
            let field = self.schema.field(columns.len());
            let values: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
            columns.push(match values.is_empty() {
                true => new_empty_array(field.data_type()),
                false => concat(&values)?,
            });
        }
        batch_of(self.schema.clone(), columns, rows.num_rows())
    }
}
