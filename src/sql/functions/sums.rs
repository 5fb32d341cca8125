//! `sum` and `avg` as DataFusion aggregates, over the arithmetic of [`super::aggregates`].
//!
//! One rule: nothing is computed here; these are loops over slots.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, LargeBinaryArray, PrimitiveArray};
use arrow::compute::{not, nullif, prep_null_mask_filter};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, IntervalMonthDayNano, IntervalUnit};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};

use super::aggregates::{self, Aggregate, AggregateKind, Slot, StateKind, Summand, Total};
use super::fail;
use super::numeric::Numbers;
use super::once::{self, EachOnce};
use super::overflow::NUMERIC_PRECISION;
use crate::error::SqlError;

/// `sum` and `avg`.
pub fn all() -> Vec<Arc<AggregateUDF>> {
    [AggregateKind::Sum, AggregateKind::Avg]
        .map(|kind| Arc::new(AggregateUDF::from(SumFunction::new(kind))))
        .into()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SumFunction {
    kind: AggregateKind,
    signature: Signature,
}

impl SumFunction {
    fn new(kind: AggregateKind) -> SumFunction {
        SumFunction {
            kind,
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }

    fn resolve(&self, input: &DataType) -> Result<Aggregate> {
        aggregates::resolve(self.kind, input).map_err(fail)
    }
}

/// The types of the columns that hold partial states: the sum and the count.
fn state_type(aggregate: &Aggregate) -> DataType {
    match aggregate.state {
        StateKind::Int64 => DataType::Int64,
        StateKind::Int128 => match aggregate.input {
            DataType::Decimal128(_, scale) => DataType::Decimal128(NUMERIC_PRECISION, scale),
            _ => DataType::Decimal128(NUMERIC_PRECISION, 0),
        },
        StateKind::Float64 => DataType::Float64,
        StateKind::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
        StateKind::Total => DataType::LargeBinary,
        StateKind::Count | StateKind::Bool | StateKind::Value => {
            unreachable!("sums and averages have none of these states")
        }
    }
}

impl AggregateUDFImpl for SumFunction {
    fn name(&self) -> &str {
        match self.kind {
            AggregateKind::Avg => "avg",
            _ => "sum",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let [argument] = arguments else {
            return Err(fail(super::undefined_function(self.name(), arguments)));
        };
        let coerced = match argument {
            DataType::Int8 | DataType::UInt8 => DataType::Int16,
            DataType::UInt16 => DataType::Int32,
            DataType::UInt32 | DataType::UInt64 | DataType::Null => DataType::Int64,
            DataType::Float16 => DataType::Float32,
            DataType::Duration(_) | DataType::Interval(_) => DataType::Interval(IntervalUnit::MonthDayNano),
            DataType::Decimal32(precision, scale)
            | DataType::Decimal64(precision, scale)
            | DataType::Decimal256(precision, scale) => {
                DataType::Decimal128((*precision).min(NUMERIC_PRECISION), *scale)
            }
            other => other.clone(),
        };
        self.resolve(&coerced)?;
        Ok(vec![coerced])
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(self.resolve(&arguments[0])?.output)
    }

    fn state_fields(&self, arguments: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let input = arguments.input_fields[0].data_type();
        let name = |suffix| format_state_name(arguments.name, suffix);
        if arguments.is_distinct {
            return Ok(once::state_fields(&arguments));
        }
        let sum = state_type(&self.resolve(input)?);
        Ok(vec![
            Arc::new(Field::new(name("sum"), sum, true)),
            Arc::new(Field::new(name("count"), DataType::Int64, true)),
        ])
    }

    fn accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let aggregate = self.resolve(arguments.expr_fields[0].data_type())?;
        Ok(match arguments.is_distinct {
            true => {
                let of_all = aggregate.clone();
                Box::new(EachOnce::new(&aggregate.input, Box::new(move || Ok(single(&of_all))))?)
            }
            false => single(&aggregate),
        })
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs) -> bool {
        !arguments.is_distinct
    }

    fn create_groups_accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let aggregate = self.resolve(arguments.expr_fields[0].data_type())?;
        Ok(match aggregate.state {
            StateKind::Int64 => Box::new(SumGroups::<i64>::new(aggregate)),
            StateKind::Int128 => Box::new(SumGroups::<i128>::new(aggregate)),
            StateKind::Float64 => Box::new(SumGroups::<f64>::new(aggregate)),
            StateKind::Total => Box::new(TotalGroups::new(aggregate)),
            _ => Box::new(SumGroups::<IntervalMonthDayNano>::new(aggregate)),
        })
    }
}

fn single(aggregate: &Aggregate) -> Box<dyn Accumulator> {
    match aggregate.state {
        StateKind::Int64 => Box::new(SumState::<i64>::new(aggregate)),
        StateKind::Int128 => Box::new(SumState::<i128>::new(aggregate)),
        StateKind::Float64 => Box::new(SumState::<f64>::new(aggregate)),
        StateKind::Total => Box::new(Totals::new(aggregate)),
        _ => Box::new(SumState::<IntervalMonthDayNano>::new(aggregate)),
    }
}

/// A column of sums, of the state's type.
fn sum_column<S: Summand>(aggregate: &Aggregate, slots: &[Slot<S>]) -> ArrayRef {
    let sums: Vec<S> = slots.iter().map(|slot| slot.sum).collect();
    Arc::new(PrimitiveArray::<S::Arrow>::new(sums.into(), None).with_data_type(state_type(aggregate)))
}

fn count_column<S>(slots: &[Slot<S>]) -> ArrayRef {
    Arc::new(slots.iter().map(|slot| slot.count).collect::<Int64Array>())
}

/// The values of the rows that pass the filter; the others become NULL, which no sum counts.
fn filtered(values: &ArrayRef, filter: Option<&BooleanArray>) -> Result<ArrayRef> {
    let Some(filter) = filter else {
        return Ok(values.clone());
    };
    let keep = if filter.null_count() > 0 {
        prep_null_mask_filter(filter)
    } else {
        filter.clone()
    };
    Ok(nullif(values, &not(&keep)?)?)
}

#[derive(Debug)]
struct SumGroups<S> {
    aggregate: Aggregate,
    slots: Vec<Slot<S>>,
}

impl<S: Summand> SumGroups<S> {
    fn new(aggregate: Aggregate) -> SumGroups<S> {
        SumGroups {
            aggregate,
            slots: Vec::new(),
        }
    }
}

impl<S: Summand> GroupsAccumulator for SumGroups<S> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        group_count: usize,
    ) -> Result<()> {
        self.slots.resize(group_count, Slot::default());
        let values = filtered(&values[0], filter)?;
        assert_eq!(values.len(), groups.len(), "each row has its group");
        let slots = &mut self.slots[..];
        S::for_each(&values, |row, value| slots[groups[row]].add(value)).map_err(fail)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], group_count: usize) -> Result<()> {
        self.slots.resize(group_count, Slot::default());
        let sums = states[0].as_primitive::<S::Arrow>().values();
        let counts = states[1].as_primitive::<Int64Type>().values();
        for ((&group, &sum), &count) in groups.iter().zip(sums.iter()).zip(counts.iter()) {
            self.slots[group].merge(Slot { sum, count }).map_err(fail)?;
        }
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let slots = emit.take_needed(&mut self.slots);
        S::finish(&self.aggregate, &slots).map_err(fail)
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let slots = emit.take_needed(&mut self.slots);
        Ok(vec![sum_column(&self.aggregate, &slots), count_column(&slots)])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = filtered(&values[0], filter)?;
        let mut slots = vec![Slot::<S>::default(); values.len()];
        S::for_each(&values, |row, value| slots[row].add(value)).map_err(fail)?;
        Ok(vec![sum_column(&self.aggregate, &slots), count_column(&slots)])
    }

    fn size(&self) -> usize {
        self.slots.capacity() * size_of::<Slot<S>>()
    }
}

/// Float values that a sum cannot give back once it has taken them in, kept aside so that a window frame can leave
/// them behind.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Special {
    nans: i64,
    infinities: i64,
    negative_infinities: i64,
}

impl Special {
    fn take(&mut self, value: f64, weight: i64) {
        if value.is_nan() {
            self.nans += weight;
        } else if value > 0.0 {
            self.infinities += weight;
        } else {
            self.negative_infinities += weight;
        }
    }

    fn result(&self) -> Option<f64> {
        if self.nans > 0 || (self.infinities > 0 && self.negative_infinities > 0) {
            Some(f64::NAN)
        } else if self.infinities > 0 {
            Some(f64::INFINITY)
        } else if self.negative_infinities > 0 {
            Some(f64::NEG_INFINITY)
        } else {
            None
        }
    }
}

/// One sum, which rows can also leave (window frames).
#[derive(Debug)]
struct SumState<S> {
    aggregate: Aggregate,
    slot: Slot<S>,
    special: Special,
}

impl<S: Summand> SumState<S> {
    fn new(aggregate: &Aggregate) -> SumState<S> {
        SumState {
            aggregate: aggregate.clone(),
            slot: Slot::default(),
            special: Special::default(),
        }
    }

    fn change(&mut self, values: &ArrayRef, weight: i64) -> Result<()> {
        let (slot, special) = (&mut self.slot, &mut self.special);
        S::for_each(values, |_, value| match value.special() {
            Some(value) => {
                special.take(value, weight);
                slot.add_weighted(S::default(), weight)
            }
            None => slot.add_weighted(value, weight),
        })
        .map_err(fail)
    }

    fn total(&self) -> Slot<S> {
        match self.special.result() {
            Some(special) => Slot {
                sum: S::of_special(special),
                count: self.slot.count,
            },
            None => self.slot,
        }
    }
}

impl<S: Summand> Accumulator for SumState<S> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.change(&values[0], 1)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.change(&values[0], -1)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let counts = states[1].as_primitive::<Int64Type>();
        for (sum, count) in states[0]
            .as_primitive::<S::Arrow>()
            .values()
            .iter()
            .zip(counts.values())
        {
            self.slot
                .merge(Slot {
                    sum: *sum,
                    count: *count,
                })
                .map_err(fail)?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let slot = [self.total()];
        let sum = sum_column(&self.aggregate, &slot);
        Ok(vec![
            ScalarValue::try_from_array(&sum, 0)?,
            ScalarValue::Int64(Some(slot[0].count)),
        ])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let result = S::finish(&self.aggregate, &[self.total()]).map_err(fail)?;
        ScalarValue::try_from_array(&result, 0)
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

/// Sums over NUMERIC of any scale.
#[derive(Debug)]
struct TotalGroups {
    aggregate: Aggregate,
    totals: Vec<Total>,
}

impl TotalGroups {
    fn new(aggregate: Aggregate) -> TotalGroups {
        TotalGroups {
            aggregate,
            totals: Vec::new(),
        }
    }

    fn states(totals: &[Total]) -> Vec<ArrayRef> {
        let states = totals.iter().map(Total::saved);
        let counts = totals.iter().map(Total::count);
        vec![
            Arc::new(LargeBinaryArray::from_iter_values(states)),
            Arc::new(Int64Array::from_iter_values(counts)),
        ]
    }
}

impl GroupsAccumulator for TotalGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        group_count: usize,
    ) -> Result<()> {
        self.totals.resize(group_count, Total::default());
        let (values, totals) = (filtered(&values[0], filter)?, &mut self.totals);
        let numbers = Numbers::of(&values).expect("planned over exact numbers");
        for (row, group) in groups.iter().enumerate() {
            if let Some(number) = numbers.get(row) {
                totals[*group].add(&number, 1).map_err(fail)?;
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], group_count: usize) -> Result<()> {
        self.totals.resize(group_count, Total::default());
        let states = states[0].as_binary::<i64>();
        for (row, group) in groups.iter().enumerate() {
            let state = Total::restore(states.value(row));
            self.totals[*group].merge(&state).map_err(fail)?;
        }
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let totals = emit.take_needed(&mut self.totals);
        Total::finish(self.aggregate.kind, totals.len(), |row| &totals[row]).map_err(fail)
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(TotalGroups::states(&emit.take_needed(&mut self.totals)))
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = filtered(&values[0], filter)?;
        let numbers = Numbers::of(&values).expect("planned over exact numbers");
        let totals = (0..values.len()).map(|row| {
            let mut total = Total::default();
            if let Some(number) = numbers.get(row) {
                total.add(&number, 1)?;
            }
            Ok(total)
        });
        let totals: Vec<Total> = totals.collect::<Result<_, SqlError>>().map_err(fail)?;
        Ok(TotalGroups::states(&totals))
    }

    fn size(&self) -> usize {
        let beside: usize = self.totals.iter().map(Total::bytes).sum();
        self.totals.capacity() * size_of::<Total>() + beside
    }
}

/// One sum over NUMERIC of any scale, which rows can also leave.
#[derive(Debug)]
struct Totals {
    aggregate: Aggregate,
    total: Total,
}

impl Totals {
    fn new(aggregate: &Aggregate) -> Totals {
        Totals {
            aggregate: aggregate.clone(),
            total: Total::default(),
        }
    }

    fn change(&mut self, values: &ArrayRef, weight: i64) -> Result<()> {
        let numbers = Numbers::of(values).expect("planned over exact numbers");
        for row in 0..values.len() {
            if let Some(number) = numbers.get(row) {
                self.total.add(&number, weight).map_err(fail)?;
            }
        }
        Ok(())
    }
}

impl Accumulator for Totals {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.change(&values[0], 1)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.change(&values[0], -1)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for state in states[0].as_binary::<i64>().iter().flatten() {
            self.total.merge(&Total::restore(state)).map_err(fail)?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![
            ScalarValue::LargeBinary(Some(self.total.saved())),
            ScalarValue::Int64(Some(self.total.count())),
        ])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let result = Total::finish(self.aggregate.kind, 1, |_| &self.total).map_err(fail)?;
        ScalarValue::try_from_array(&result, 0)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.total.bytes()
    }
}
