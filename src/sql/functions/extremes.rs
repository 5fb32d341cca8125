//! `min` and `max` as DataFusion has them, but for floats: its grouped states start at the largest finite number and let
//! a NaN win or vanish by its place, where PostgreSQL has infinities, and NaN above all.
//!
//! Floats take the accumulators of one group each, which compare by total order. Intervals are compared by length.
//! `greatest` and `least` compare as ORDER BY does.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, new_null_array};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, FieldRef, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit};
use arrow::row::{RowConverter, SortField};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, GroupsAccumulator, ReversedUDAF, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, SetMonotonicity, Signature, Volatility,
};

use super::array_extremes;
use super::arrays::{canonical, list_keys, shaped_keys};
use super::datetime::comparable;
use super::fail;
use super::json::compare_texts;
use super::keys::without_blanks;
use crate::types::PgType;

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

/// By length; equally long ones by months, days and time, so that the result does not depend on the order of rows.
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

/// The comparison of the values of a call of `greatest` or `least`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum ExtremeComparison {
    /// By the form in which equal values are alike: floats, intervals, NUMERIC.
    Canonical,
    Arrays,
    Jsonb,
    /// BPCHAR: without the blanks at its end.
    Blanks,
}

/// `greatest` or `least` of values whose own bytes do not give their order; of equal ones the first.
pub fn extreme(name: &str, pg_type: &PgType) -> Option<Arc<ScalarUDF>> {
    let comparison = match pg_type {
        PgType::Interval | PgType::Numeric(_) | PgType::Float4 | PgType::Float8 => ExtremeComparison::Canonical,
        PgType::Array(_) | PgType::Shaped(_) => ExtremeComparison::Arrays,
        PgType::Jsonb => ExtremeComparison::Jsonb,
        PgType::Char(0) => ExtremeComparison::Blanks,
        _ => return None,
    };
    let greatest = match name {
        "greatest" => true,
        "least" => false,
        _ => return None,
    };
    Some(Arc::new(ScalarUDF::from(PickedExtreme {
        greatest,
        comparison,
        signature: Signature::variadic_any(Volatility::Immutable),
    })))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct PickedExtreme {
    greatest: bool,
    comparison: ExtremeComparison,
    signature: Signature,
}

impl ScalarUDFImpl for PickedExtreme {
    fn name(&self) -> &str {
        if self.greatest { "greatest" } else { "least" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        let typed = arguments.iter().find(|argument| !argument.is_null());
        Ok(typed.unwrap_or(&arguments[0]).clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mut columns = ColumnarValue::values_to_arrays(&args.args)?;
        // The engine asks for the result of columns that are NULL, which have no type then.
        if args.return_type().is_null() {
            return Ok(ColumnarValue::Array(columns.swap_remove(0)));
        }
        for column in &mut columns {
            if column.data_type().is_null() {
                *column = new_null_array(args.return_type(), column.len());
            }
        }
        let compare = self.comparison.of(&columns)?;
        let mut picked = Vec::with_capacity(columns[0].len());
        for row in 0..columns[0].len() {
            let mut best = None;
            for (at, column) in columns.iter().enumerate() {
                if column.is_null(row) {
                    continue;
                }
                let wins = match best {
                    None => true,
                    Some(best) => {
                        let order = compare(best, at, row)?;
                        order
                            == if self.greatest {
                                Ordering::Less
                            } else {
                                Ordering::Greater
                            }
                    }
                };
                if wins {
                    best = Some(at);
                }
            }
            picked.push((best.unwrap_or(0), row));
        }
        let columns: Vec<&dyn Array> = columns.iter().map(AsRef::as_ref).collect();
        Ok(ColumnarValue::Array(interleave(&columns, &picked)?))
    }
}

/// Compares two columns' values of one row.
type CompareColumns = Box<dyn Fn(usize, usize, usize) -> Result<Ordering>>;

impl ExtremeComparison {
    fn of(self, columns: &[ArrayRef]) -> Result<CompareColumns> {
        if self == ExtremeComparison::Jsonb {
            let texts: Vec<StringArray> = columns.iter().map(|column| column.as_string().clone()).collect();
            return Ok(Box::new(move |left, right, row| {
                compare_texts(texts[left].value(row), texts[right].value(row)).map_err(fail)
            }));
        }
        let keys = columns.iter().map(|column| match self {
            ExtremeComparison::Arrays => match column.data_type() {
                DataType::BinaryView => shaped_keys(column).map_err(fail),
                _ => list_keys(column).map_err(fail),
            },
            ExtremeComparison::Blanks => Ok(without_blanks(column)),
            _ => Ok(canonical(column)),
        });
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let field = SortField::new(keys[0].data_type().clone());
        let converter = RowConverter::new(vec![field])?;
        let rows = keys.into_iter().map(|keys| Ok(converter.convert_columns(&[keys])?));
        let rows = rows.collect::<Result<Vec<_>>>()?;
        Ok(Box::new(move |left, right, row| {
            Ok(rows[left].row(row).cmp(&rows[right].row(row)))
        }))
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
