//! `min` and `max` as DataFusion has them, but for floats: its grouped states start at the largest finite number and let
//! a NaN win or vanish by its place, where PostgreSQL has infinities, and NaN above all.
//!
//! Floats take the accumulators of one group each, which compare by total order. Intervals are compared by length, in
//! aggregates and in `greatest` and `least`.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, IntervalMonthDayNanoArray};
use arrow::datatypes::{DataType, FieldRef, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, GroupsAccumulator, ReversedUDAF, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, SetMonotonicity, Signature, Volatility,
};

use super::array_extremes;
use super::datetime::comparable;

/// `min` and `max`.
pub fn all() -> Vec<Arc<AggregateUDF>> {
    [min_udaf(), max_udaf()]
        .map(|engines| Arc::new(AggregateUDF::from(Extreme { engines })))
        .into()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Extreme {
    engines: Arc<AggregateUDF>,
}

impl Extreme {
    fn is_greatest(&self) -> bool {
        self.engines.name() == "max"
    }
}

fn is_interval(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Interval(IntervalUnit::MonthDayNano))
}

/// By length; what is equally long by months, days and time, so that the result does not depend on the order of rows.
fn place(value: IntervalMonthDayNano) -> (i128, IntervalMonthDayNano) {
    (comparable(value), value)
}

/// The shortest or longest interval of a frame of rows.
#[derive(Debug)]
struct Lengths {
    greatest: bool,
    /// Rows that came and rows that left again, from the front.
    came: u64,
    left: u64,
    /// The best row, then the best of those after it, and so on, each with its number.
    best: VecDeque<(u64, IntervalMonthDayNano)>,
}

impl Lengths {
    fn new(greatest: bool) -> Lengths {
        Lengths {
            greatest,
            came: 0,
            left: 0,
            best: VecDeque::new(),
        }
    }
}

impl Accumulator for Lengths {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        for value in columns[0].as_primitive::<IntervalMonthDayNanoType>() {
            let row = self.came;
            self.came += 1;
            let Some(value) = value else { continue };
            while let Some((_, last)) = self.best.back()
                && match self.greatest {
                    true => place(*last) <= place(value),
                    false => place(*last) >= place(value),
                }
            {
                self.best.pop_back();
            }
            self.best.push_back((row, value));
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::IntervalMonthDayNano(
            self.best.front().map(|(_, value)| *value),
        ))
    }

    fn size(&self) -> usize {
        size_of::<Lengths>() + self.best.capacity() * size_of::<(u64, IntervalMonthDayNano)>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn retract_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        self.left += columns[0].len() as u64;
        while self.best.front().is_some_and(|(row, _)| *row < self.left) {
            self.best.pop_front();
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }
}

/// `greatest` or `least` of intervals; of those that are equally long the first.
pub fn interval_extreme(name: &str) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(IntervalExtreme {
        greatest: name == "greatest",
        signature: Signature::variadic_any(Volatility::Immutable),
    }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct IntervalExtreme {
    greatest: bool,
    signature: Signature,
}

impl ScalarUDFImpl for IntervalExtreme {
    fn name(&self) -> &str {
        if self.greatest { "greatest" } else { "least" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&args.args)?;
        let columns: Vec<_> = columns
            .iter()
            .map(|column| column.as_primitive::<IntervalMonthDayNanoType>())
            .collect();
        let rows = columns.first().map_or(0, |column| column.len());
        let best = (0..rows).map(|row| {
            let mut best = None;
            for value in columns
                .iter()
                .filter(|column| column.is_valid(row))
                .map(|column| column.value(row))
            {
                let wins = best.is_none_or(|best| match self.greatest {
                    true => comparable(value) > comparable(best),
                    false => comparable(value) < comparable(best),
                });
                if wins {
                    best = Some(value);
                }
            }
            best
        });
        Ok(ColumnarValue::Array(Arc::new(
            best.collect::<IntervalMonthDayNanoArray>(),
        )))
    }
}

impl AggregateUDFImpl for Extreme {
    fn name(&self) -> &str {
        self.engines.name()
    }

    fn signature(&self) -> &Signature {
        self.engines.signature()
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.engines.coerce_types(arguments)
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.engines.return_type(arguments)
    }

    fn return_field(&self, arguments: &[FieldRef]) -> Result<FieldRef> {
        self.engines.return_field(arguments)
    }

    fn state_fields(&self, arguments: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.engines.state_fields(arguments)
    }

    fn accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match arguments.return_type() {
            DataType::BinaryView => Ok(Box::new(array_extremes::ArrayExtremes::new(self.is_greatest()))),
            other if is_interval(other) => Ok(Box::new(Lengths::new(self.is_greatest()))),
            _ => self.engines.accumulator(arguments),
        }
    }

    fn create_sliding_accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match arguments.return_type() {
            DataType::BinaryView => Ok(Box::new(array_extremes::ArrayExtremes::new(self.is_greatest()))),
            other if is_interval(other) => Ok(Box::new(Lengths::new(self.is_greatest()))),
            _ => self.engines.create_sliding_accumulator(arguments),
        }
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs) -> bool {
        let alone = |field: &FieldRef| match field.data_type() {
            DataType::BinaryView => true,
            other => other.is_floating() || is_interval(other),
        };
        !arguments.expr_fields.iter().any(alone) && self.engines.groups_accumulator_supported(arguments)
    }

    fn create_groups_accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        self.engines.create_groups_accumulator(arguments)
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        self.engines.default_value(data_type)
    }

    fn is_descending(&self) -> Option<bool> {
        self.engines.is_descending()
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.engines.inner().set_monotonicity(data_type)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}
