//! Aggregates that gather values, `string_agg`, `array_agg`, `mode`, `json_agg` and their kind, with the bound of a value.
//!
//! Their state counts against the memory of queries in the grouping operators; this bounds the result.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, ReversedUDAF, Signature,
};

use super::account::{Claim, hold};
use super::estimate::{bytes_between, scalar_bytes};
use super::refold::Refold;
use super::{BATCH_BYTES_MAX, SMALL_BYTES, VALUE_BYTES_MAX, fail, too_large_together, too_long};
use crate::stop;

/// A builder that doubles has up to this many times the size of its content.
const SLACK: u64 = 2;

#[derive(Debug, PartialEq, Eq, Hash)]
struct Gathered {
    inner: Arc<AggregateUDF>,
    /// Its value is written out for each row of a window.
    in_window: bool,
}

/// The aggregate, bounded if it gathers values.
pub fn bound_aggregate(function: Arc<AggregateUDF>) -> Arc<AggregateUDF> {
    match function.name() {
        "string_agg" | "array_agg" | "mode" | "percentile_disc" | "json_agg" | "~json_agg" | "jsonb_agg"
        | "json_object_agg" | "jsonb_object_agg" => Arc::new(AggregateUDF::from(Gathered {
            inner: function,
            in_window: false,
        })),
        _ => function,
    }
}

/// The aggregate as a window calls it, bounded and over any frame. `None` if it is that already.
pub fn bound_in_window(function: &Arc<AggregateUDF>) -> Option<Arc<AggregateUDF>> {
    let inner = match function.inner().downcast_ref::<Gathered>() {
        Some(gathered) if gathered.in_window => return None,
        Some(gathered) => gathered.inner.clone(),
        None => function.clone(),
    };
    Some(Arc::new(AggregateUDF::from(Gathered { inner, in_window: true })))
}

impl Gathered {
    fn one(&self, inner: Box<dyn Accumulator>) -> Box<dyn Accumulator> {
        Box::new(One {
            name: self.inner.name().to_string(),
            inner,
            evaluated: 0,
            rows: self.in_window.then_some(0),
            written_out: None,
        })
    }
}

impl AggregateUDFImpl for Gathered {
    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(self.one(self.inner.accumulator(args)?))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let sliding = self.inner.create_sliding_accumulator(args.clone())?;
        Ok(self.one(match sliding.supports_retract_batch() {
            true => sliding,
            false => Box::new(Refold::new(self.inner.clone(), &args)),
        }))
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Groups {
            name: self.inner.name().to_string(),
            inner: self.inner.create_groups_accumulator(args)?,
        }))
    }

    fn with_beneficial_ordering(self: Arc<Self>, beneficial: bool) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        if self.inner.order_sensitivity().hard_requires() {
            return Ok(Some(self));
        }
        let ordered = self.inner.as_ref().clone().with_beneficial_ordering(beneficial)?;
        Ok(ordered.map(|inner| {
            Arc::new(Gathered {
                inner: Arc::new(inner),
                in_window: self.in_window,
            }) as Arc<dyn AggregateUDFImpl>
        }))
    }

    // All else is the aggregate's own.

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arguments)
    }

    fn return_field(&self, arguments: &[FieldRef]) -> Result<FieldRef> {
        self.inner.return_field(arguments)
    }

    fn is_nullable(&self) -> bool {
        self.inner.is_nullable()
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    /// All of them sort their values: several in one query may want different orders, and one without an order wants
    /// the rows as they come.
    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        match self.inner.order_sensitivity() {
            AggregateOrderSensitivity::Insensitive => AggregateOrderSensitivity::Insensitive,
            _ => AggregateOrderSensitivity::Beneficial,
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        match self.inner.reverse_udf() {
            ReversedUDAF::Reversed(reversed) => ReversedUDAF::Reversed(bound_aggregate(reversed)),
            other => other,
        }
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arguments)
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        self.inner.default_value(data_type)
    }

    fn supports_within_group_clause(&self) -> bool {
        self.inner.inner().supports_within_group_clause()
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.inner.supports_null_handling_clause()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// Room for copying the gathered values to a larger buffer, while that is done.
fn room(gathered: usize, more: &[ArrayRef]) -> Result<Option<Claim>> {
    let more = more.iter().map(|array| bytes_between(array, 0, array.len()));
    let bytes = more.fold(gathered as u64, u64::saturating_add);
    hold(bytes)
}

/// One value that is gathered.
#[derive(Debug)]
struct One {
    name: String,
    inner: Box<dyn Accumulator>,
    /// Bytes of the values that came out since room was last asked for: a window keeps them for all rows of a batch.
    evaluated: u64,
    /// In a window: rows since a value came out. It becomes the value of each of them.
    rows: Option<usize>,
    /// Room for the values of these rows.
    written_out: Option<Claim>,
}

impl One {
    /// Asks for room for the value in each row of a window that it is for.
    fn write_out(&mut self, value: &ScalarValue) -> Result<()> {
        let Some(rows) = &mut self.rows else { return Ok(()) };
        let rows = std::mem::take(rows);
        let bytes = scalar_bytes(value).saturating_mul(rows.max(1) as u64);
        self.written_out = None;
        if bytes > BATCH_BYTES_MAX {
            return Err(fail(too_large_together(&self.name)));
        }
        self.written_out = hold(bytes)?;
        Ok(())
    }

    /// Asks for room each time that much has come out.
    fn count(&mut self, value: &ScalarValue) -> Result<()> {
        self.evaluated += scalar_bytes(value);
        if self.evaluated <= SMALL_BYTES {
            return Ok(());
        }
        hold(std::mem::take(&mut self.evaluated)).map(drop)
    }

    fn check(&self) -> Result<()> {
        let bytes = self.inner.size() as u64;
        if bytes > VALUE_BYTES_MAX * SLACK {
            return Err(fail(too_long(&self.name, bytes)));
        }
        Ok(())
    }

    fn check_value(&self, value: &ScalarValue) -> Result<()> {
        match scalar_bytes(value) {
            bytes if bytes > VALUE_BYTES_MAX => Err(fail(too_long(&self.name, bytes))),
            _ => Ok(()),
        }
    }
}

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        stop::check().map_err(fail)?;
        if let (Some(rows), Some(first)) = (&mut self.rows, values.first()) {
            *rows += first.len();
        }
        let _room = room(self.inner.size(), values)?;
        self.inner.update_batch(values)?;
        self.check()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        stop::check().map_err(fail)?;
        let _room = room(self.inner.size(), &[])?;
        let value = self.inner.evaluate()?;
        self.check_value(&value)?;
        self.count(&value)?;
        self.write_out(&value)?;
        Ok(value)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let state = self.inner.state()?;
        state.iter().try_for_each(|value| self.check_value(value))?;
        Ok(state)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let _room = room(self.inner.size(), states)?;
        self.inner.merge_batch(states)?;
        self.check()
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }
}

/// One value for each group: they come out as one array.
struct Groups {
    name: String,
    inner: Box<dyn GroupsAccumulator>,
}

impl Groups {
    fn check(&self) -> Result<()> {
        if self.inner.size() as u64 > BATCH_BYTES_MAX {
            return Err(fail(too_large_together(&self.name)));
        }
        Ok(())
    }
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        let _room = room(self.inner.size(), values)?;
        self.inner.update_batch(values, groups, filter, total)?;
        self.check()
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let _room = room(self.inner.size(), &[])?;
        self.inner.evaluate(emit_to)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit_to)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        let _room = room(self.inner.size(), values)?;
        self.inner.merge_batch(values, groups, total)?;
        self.check()
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(values, filter)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}
