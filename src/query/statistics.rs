//! Batches of segments that a filter on a topic's own columns cannot reach, by the bounds that segments keep.
//!
//! One rule: a batch is left out only if no row of it can satisfy the filters; when in doubt it is read.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, UInt64Array};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::expr_rewriter::unnormalize_col;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::physical_expr::create_physical_expr;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;

use crate::log::Stored;

/// Batches of one topic's segments.
struct SegmentBatches<'a> {
    stored: &'a [&'a Stored],
    /// The topic's own columns.
    schema: SchemaRef,
}

impl SegmentBatches<'_> {
    fn each(&self, column: &Column, value: impl Fn(&Stored, usize) -> Option<ArrayRef>) -> Option<ArrayRef> {
        let index = self.schema.index_of(&column.name).ok()?;
        let values: Option<Vec<ArrayRef>> = self.stored.iter().map(|stored| value(stored, index)).collect();
        let values = values?;
        let values: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
        concat(&values).ok()
    }
}

impl PruningStatistics for SegmentBatches<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.each(column, |stored, index| Some(stored.column_bounds(index)?.0))
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.each(column, |stored, index| Some(stored.column_bounds(index)?.1))
    }

    fn num_containers(&self) -> usize {
        self.stored.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        self.each(column, Stored::column_nulls)
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let rows: UInt64Array = self
            .stored
            .iter()
            .map(|stored| Some(stored.rows_max() as u64))
            .collect();
        Some(Arc::new(rows))
    }

    fn contained(&self, _column: &Column, _values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

/// Whether a filter's casts of columns keep their order, so that bounds of a column are bounds of the cast's result,
/// too: a time of day, say, is not ordered as its timestamp is.
fn keeps_order(filter: &Expr, schema: &DFSchema) -> bool {
    let breaks = |expr: &Expr| {
        let (inner, to) = match expr {
            Expr::Cast(cast) => (&cast.expr, cast.field.data_type()),
            Expr::TryCast(cast) => (&cast.expr, cast.field.data_type()),
            _ => return Ok(false),
        };
        let from = inner.get_type(schema)?;
        Ok(!matches!(
            (from, to),
            (DataType::Int16, DataType::Int32 | DataType::Int64) | (DataType::Int32, DataType::Int64)
        ))
    };
    matches!(filter.exists(breaks), Ok(false))
}

/// For each batch whether rows of it may satisfy the filters. `columns` is how many of the scan's are the topic's own.
pub fn reached(filters: &[Expr], schema: &SchemaRef, columns: usize, stored: &[&Stored]) -> Vec<bool> {
    let all = vec![true; stored.len()];
    let own_columns = schema.fields()[..columns].iter().map(|field| field.name());
    let own_columns: HashSet<&String> = own_columns.collect();
    let is_own = |column: &&Column| own_columns.contains(&column.name);
    if stored.is_empty() || !filters.iter().any(|filter| filter.column_refs().iter().any(is_own)) {
        return all;
    }
    let own = Arc::new(Schema::new(schema.fields()[..columns].to_vec()));
    let Ok(names) = DFSchema::try_from(schema.as_ref().clone()) else {
        return all;
    };
    let filters = filters.iter().flat_map(split_conjunction).cloned().map(unnormalize_col);
    let Some(filter) = conjunction(filters.filter(|filter| keeps_order(filter, &names))) else {
        return all;
    };
    let predicate =
        create_physical_expr(&filter, &names, &ExecutionProps::new(), &Default::default()).and_then(|filter| {
            PruningPredicateBuilder::new()
                .with_file_schema(Arc::clone(schema))
                .try_build(filter)
        });
    let batches = SegmentBatches { stored, schema: own };
    match predicate.and_then(|predicate| predicate.prune(&batches)) {
        Ok(reached) => reached,
        // Filters that cannot be bounded bound nothing.
        Err(_) => all,
    }
}
