//! Window functions that give each row a value of another, `first_value`, `lag` and the like, with the bounds of a batch.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{ExpressionArgs, PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::window_state::WindowAggState;
use datafusion::logical_expr::{
    Documentation, LimitEffect, PartitionEvaluator, ReversedUDWF, Signature, WindowUDF, WindowUDFImpl,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;

use super::account::{Claim, hold};
use super::estimate::{bytes_between, scalar_bytes};
use super::{BATCH_BYTES_MAX, SMALL_BYTES, fail, too_large_together};
use crate::stop;

#[derive(Debug, PartialEq, Eq, Hash)]
struct Picked(Arc<WindowUDF>);

/// The window function, bounded if it writes a value of its input for each row.
pub fn bound_window(function: Arc<WindowUDF>) -> Arc<WindowUDF> {
    match function.name() {
        "first_value" | "last_value" | "nth_value" | "lag" | "lead" => Arc::new(WindowUDF::from(Picked(function))),
        _ => function,
    }
}

impl WindowUDFImpl for Picked {
    fn partition_evaluator(&self, args: PartitionEvaluatorArgs) -> Result<Box<dyn PartitionEvaluator>> {
        let literal = |position: usize| {
            let expr = args.input_exprs().get(position)?;
            Some(expr.downcast_ref::<Literal>()?.value().clone())
        };
        // Of `lag` and `lead`: the value for rows without another at that offset.
        let offset = literal(1).and_then(|offset| offset.cast_to(&DataType::Int64).ok());
        let offset = match offset {
            Some(ScalarValue::Int64(Some(offset))) => offset.unsigned_abs(),
            _ => 1,
        };
        let default_bytes = literal(2).map_or(0, |default| scalar_bytes(&default));
        Ok(Box::new(PickedValues {
            name: self.0.name().to_string(),
            inner: self.0.partition_evaluator_factory(args)?,
            defaults_bytes: default_bytes.saturating_mul(offset),
            bytes: 0,
            unasked: 0,
            room: None,
        }))
    }

    fn reverse_expr(&self) -> ReversedUDWF {
        match self.0.reverse_expr() {
            ReversedUDWF::Reversed(reversed) => ReversedUDWF::Reversed(bound_window(reversed)),
            other => other,
        }
    }

    // All else is the function's own.

    fn name(&self) -> &str {
        self.0.name()
    }

    fn aliases(&self) -> &[String] {
        self.0.aliases()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn expressions(&self, args: ExpressionArgs) -> Vec<Arc<dyn PhysicalExpr>> {
        self.0.expressions(args)
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        self.0.field(args)
    }

    fn sort_options(&self) -> Option<SortOptions> {
        self.0.sort_options()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.0.coerce_types(types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.0.documentation()
    }

    fn limit_effect(&self, args: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        self.0.inner().limit_effect(args)
    }
}

/// The values of one partition of rows.
#[derive(Debug)]
struct PickedValues {
    name: String,
    inner: Box<dyn PartitionEvaluator>,
    /// Of the rows that get a default.
    defaults_bytes: u64,
    /// Of the values that there are.
    bytes: u64,
    /// The part of these that no room was asked for yet.
    unasked: u64,
    room: Option<Claim>,
}

impl PickedValues {
    /// Asks for room for a value more, each time that many have come.
    fn count(&mut self, bytes: u64) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        self.unasked = self.unasked.saturating_add(bytes);
        if self.bytes > BATCH_BYTES_MAX {
            return Err(fail(too_large_together(&self.name)));
        }
        if self.unasked > SMALL_BYTES {
            stop::check().map_err(fail)?;
            self.unasked = 0;
            self.room = None;
            self.room = hold(self.bytes)?;
        }
        Ok(())
    }
}

impl PartitionEvaluator for PickedValues {
    fn evaluate(&mut self, values: &[ArrayRef], range: &Range<usize>) -> Result<ScalarValue> {
        let value = self.inner.evaluate(values, range)?;
        self.count(scalar_bytes(&value))?;
        Ok(value)
    }

    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let own = values.first().map_or(0, |own| bytes_between(own, 0, own.len()));
        self.count(own.saturating_add(self.defaults_bytes))?;
        self.inner.evaluate_all(values, rows)
    }

    /// The rows that came out are gone from the state.
    fn memoize(&mut self, state: &mut WindowAggState) -> Result<()> {
        self.bytes = bytes_between(&state.out_col, 0, state.out_col.len());
        self.inner.memoize(state)
    }

    fn get_range(&self, row: usize, rows: usize) -> Result<Range<usize>> {
        self.inner.get_range(row, rows)
    }

    fn is_causal(&self) -> bool {
        self.inner.is_causal()
    }

    fn evaluate_all_with_rank(&self, rows: usize, ranks: &[Range<usize>]) -> Result<ArrayRef> {
        self.inner.evaluate_all_with_rank(rows, ranks)
    }

    fn supports_bounded_execution(&self) -> bool {
        self.inner.supports_bounded_execution()
    }

    fn uses_window_frame(&self) -> bool {
        self.inner.uses_window_frame()
    }

    fn include_rank(&self) -> bool {
        self.inner.include_rank()
    }
}
