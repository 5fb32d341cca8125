//! Aggregates over a frame that moves, if rows that have left the frame cannot be taken out of their state.
//!
//! One rule: each value is computed anew from the rows of its frame, as PostgreSQL does for an aggregate without an inverse.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{FieldRef, Schema};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDF};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};

/// An aggregate and the arguments of its accumulators.
#[derive(Debug)]
pub struct Refold {
    function: Arc<AggregateUDF>,
    return_field: FieldRef,
    schema: Schema,
    ignore_nulls: bool,
    order_bys: Vec<PhysicalSortExpr>,
    is_reversed: bool,
    name: String,
    is_distinct: bool,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    expr_fields: Vec<FieldRef>,
    /// The rows of the frame, in the pieces that they came in.
    rows: VecDeque<Vec<ArrayRef>>,
}

impl Refold {
    pub fn new(function: Arc<AggregateUDF>, args: &AccumulatorArgs) -> Refold {
        Refold {
            function,
            return_field: args.return_field.clone(),
            schema: args.schema.clone(),
            ignore_nulls: args.ignore_nulls,
            order_bys: args.order_bys.to_vec(),
            is_reversed: args.is_reversed,
            name: args.name.to_string(),
            is_distinct: args.is_distinct,
            exprs: args.exprs.to_vec(),
            expr_fields: args.expr_fields.to_vec(),
            rows: VecDeque::new(),
        }
    }

    fn fold(&self) -> Result<Box<dyn Accumulator>> {
        let mut accumulator = self.function.accumulator(AccumulatorArgs {
            return_field: self.return_field.clone(),
            schema: &self.schema,
            ignore_nulls: self.ignore_nulls,
            order_bys: &self.order_bys,
            is_reversed: self.is_reversed,
            name: &self.name,
            is_distinct: self.is_distinct,
            exprs: &self.exprs,
            expr_fields: &self.expr_fields,
        })?;
        for piece in &self.rows {
            accumulator.update_batch(piece)?;
        }
        Ok(accumulator)
    }
}

impl Accumulator for Refold {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if values.first().is_some_and(|first| !first.is_empty()) {
            self.rows.push_back(values.to_vec());
        }
        Ok(())
    }

    /// The oldest rows leave first.
    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let mut leaving = values.first().map_or(0, |first| first.len());
        while leaving > 0
            && let Some(oldest) = self.rows.front_mut()
        {
            let rows = oldest[0].len();
            if rows > leaving {
                for column in oldest {
                    *column = column.slice(leaving, rows - leaving);
                }
                return Ok(());
            }
            leaving -= rows;
            self.rows.pop_front();
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.fold()?.evaluate()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.fold()?.state()
    }

    fn merge_batch(&mut self, _states: &[ArrayRef]) -> Result<()> {
        datafusion::common::internal_err!("frames are not merged")
    }

    fn size(&self) -> usize {
        let pieces = self.rows.iter().flatten();
        size_of::<Refold>()
            + pieces
                .map(|column| size_of_val(column.as_ref()) + column.len() * 8)
                .sum::<usize>()
    }
}
