//! Aggregates over values in an order: `mode`, `percentile_disc` and `percentile_cont`, called with WITHIN GROUP (ORDER BY value).
//!
//! One rule: the values are kept until the result is asked for, and count against the memory of the query. NULLs are
//! not kept. The first argument is the value that is ordered, as the planner puts it there.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, new_empty_array};
use arrow::compute::{SortOptions, concat, is_not_null};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, IntervalMonthDayNano, Schema};
use arrow::row::{RowConverter, SortField};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use datafusion::physical_expr::utils::collect_columns;

use super::arrays::canonical;
use super::{fail, undefined_function};
use crate::error::{SqlError, state};
use crate::stop;

/// Whether a function's second argument is a fraction, which is the same for all rows of a group.
pub fn is_percentile(name: &str) -> bool {
    matches!(name, "percentile_disc" | "percentile_cont")
}

/// One aggregate per name.
pub fn all() -> Vec<Arc<AggregateUDF>> {
    [
        ("mode", OrderedKind::Mode),
        ("percentile_disc", OrderedKind::Percentile),
        ("percentile_cont", OrderedKind::Between),
    ]
    .into_iter()
    .map(|(name, kind)| {
        Arc::new(AggregateUDF::from(OrderedAggregate {
            name,
            kind,
            signature: Signature::user_defined(Volatility::Immutable),
        }))
    })
    .collect()
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum OrderedKind {
    Mode,
    Percentile,
    /// Between two values, if a fraction falls there.
    Between,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OrderedAggregate {
    name: &'static str,
    kind: OrderedKind,
    signature: Signature,
}

fn item(data_type: &DataType) -> FieldRef {
    Arc::new(Field::new("item", data_type.clone(), true))
}

impl AggregateUDFImpl for OrderedAggregate {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        match (self.kind, arguments) {
            (OrderedKind::Mode, [value]) => Ok(vec![value.clone()]),
            (OrderedKind::Percentile, [value, list @ DataType::List(_)]) => Ok(vec![value.clone(), list.clone()]),
            (OrderedKind::Between, [value, fraction]) => {
                let value = match value {
                    interval @ DataType::Interval(_) => interval.clone(),
                    _ => DataType::Float64,
                };
                let fraction = match fraction {
                    list @ DataType::List(_) => list.clone(),
                    _ => DataType::Float64,
                };
                Ok(vec![value, fraction])
            }
            (OrderedKind::Percentile, [value, fraction]) if fraction.is_numeric() || fraction.is_null() => {
                Ok(vec![value.clone(), DataType::Float64])
            }
            _ => Err(fail(undefined_function(self.name, arguments))),
        }
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(match arguments {
            [value, DataType::List(_)] => DataType::List(item(value)),
            [value, ..] => value.clone(),
            [] => return Err(fail(undefined_function(self.name, arguments))),
        })
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let values = DataType::List(item(args.input_fields[0].data_type()));
        let state = |name: &str, data_type: DataType| {
            let name = format_state_name(args.name, name);
            Arc::new(Field::new(name, data_type, true))
        };
        let fraction = args.input_fields.get(1).map(|field| field.data_type().clone());
        let fraction = fraction.map(|fraction| state("fraction", fraction));
        Ok([state("values", values)].into_iter().chain(fraction).collect())
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let fractions = match self.kind {
            OrderedKind::Mode => Fractions::None,
            // The rows bring it.
            _ if !collect_columns(&args.exprs[1]).is_empty() => Fractions::OfRows(None),
            OrderedKind::Percentile | OrderedKind::Between => {
                let options = RecordBatchOptions::new().with_row_count(Some(1));
                let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)?;
                let given = args.exprs[1].evaluate(&row)?.into_array(1)?;
                Fractions::of(&given).map_err(fail)?
            }
        };
        Ok(Box::new(OrderedValues {
            data_type: args.expr_fields[0].data_type().clone(),
            kept: Vec::new(),
            descending: args.order_bys.first().is_some_and(|sort| sort.options.descending),
            fractions,
            fraction_type: match args.expr_fields.get(1) {
                Some(field) => field.data_type().clone(),
                None => DataType::Null,
            },
            between: self.kind == OrderedKind::Between,
        }))
    }

    fn supports_within_group_clause(&self) -> bool {
        true
    }
}

/// The values that are asked for.
#[derive(Clone, Debug)]
enum Fractions {
    /// The most frequent one.
    None,
    One(Option<f64>),
    Many(Option<Vec<Option<f64>>>),
    /// Those that each row of the group has: of one row, once there is any.
    OfRows(Option<ArrayRef>),
}

impl Fractions {
    fn of(given: &ArrayRef) -> Result<Fractions, SqlError> {
        let check = |fraction: Option<f64>| match fraction {
            Some(fraction) if !(0.0..=1.0).contains(&fraction) => Err(SqlError::new(
                state::NUMERIC_VALUE_OUT_OF_RANGE,
                format!("percentile value {fraction} is not between 0 and 1"),
            )),
            fraction => Ok(fraction),
        };
        let doubles = |array: &ArrayRef| -> Result<Vec<Option<f64>>, SqlError> {
            let array = arrow::compute::cast(array, &DataType::Float64)
                .map_err(|error| super::overflow::of_arrow(error, &DataType::Float64))?;
            array.as_primitive::<Float64Type>().iter().map(check).collect()
        };
        Ok(match given.data_type() {
            DataType::List(_) if given.is_null(0) => Fractions::Many(None),
            DataType::List(_) => Fractions::Many(Some(doubles(&given.as_list::<i32>().value(0))?)),
            _ => Fractions::One(doubles(given)?[0]),
        })
    }
}

/// The values so far.
#[derive(Debug)]
struct OrderedValues {
    data_type: DataType,
    kept: Vec<ArrayRef>,
    descending: bool,
    fractions: Fractions,
    fraction_type: DataType,
    /// Values between two are made of both.
    between: bool,
}

impl OrderedValues {
    /// The value at a fraction of the way through `order`, of one or of two neighbours.
    fn value_at(&self, values: &ArrayRef, order: &[u32], fraction: f64) -> Result<ScalarValue> {
        let count = order.len() as f64;
        let value = |place: f64| ScalarValue::try_from_array(values, order[place as usize] as usize);
        if !self.between {
            return value((fraction * count).ceil().max(1.0) - 1.0);
        }
        let place = fraction * (count - 1.0);
        let (low, high) = (place.floor(), place.ceil());
        let first = value(low)?;
        if low == high {
            return Ok(first);
        }
        let part = place - low;
        Ok(match (first, value(high)?) {
            (ScalarValue::Float64(Some(low)), ScalarValue::Float64(Some(high))) => {
                ScalarValue::Float64(Some(low + part * (high - low)))
            }
            (ScalarValue::IntervalMonthDayNano(Some(low)), ScalarValue::IntervalMonthDayNano(Some(high))) => {
                ScalarValue::IntervalMonthDayNano(Some(interval_between(low, high, part).map_err(fail)?))
            }
            (first, _) => first,
        })
    }

    fn keep(&mut self, values: &ArrayRef) -> Result<()> {
        stop::check().map_err(fail)?;
        let values = match values.null_count() {
            0 => values.clone(),
            _ => arrow::compute::filter(values, &is_not_null(values)?)?,
        };
        if !values.is_empty() {
            self.kept.push(values);
        }
        Ok(())
    }

    fn all(&self) -> Result<ArrayRef> {
        if self.kept.is_empty() {
            return Ok(new_empty_array(&self.data_type));
        }
        let parts: Vec<&dyn Array> = self.kept.iter().map(AsRef::as_ref).collect();
        Ok(concat(&parts)?)
    }
}

impl OrderedValues {
    /// Remembers the fractions of a group by its first row.
    fn note_fractions(&mut self, given: Option<&ArrayRef>) {
        if let (Fractions::OfRows(known @ None), Some(given)) = (&mut self.fractions, given)
            && !given.is_empty()
        {
            *known = Some(given.slice(0, 1));
        }
    }
}

impl Accumulator for OrderedValues {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.note_fractions(values.get(1));
        self.keep(&values[0])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists = states[0].as_list::<i32>();
        // A state without rows has no fractions either.
        if let Some(row) = (0..lists.len()).find(|row| lists.is_valid(*row) && lists.value_length(*row) > 0) {
            let given = states.get(1).map(|given| given.slice(row, 1));
            self.note_fractions(given.as_ref());
        }
        (0..lists.len())
            .filter(|row| lists.is_valid(*row))
            .try_for_each(|row| self.keep(&lists.value(row)))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = self.all()?;
        let list = arrow::array::ListArray::new(
            item(&self.data_type),
            arrow::buffer::OffsetBuffer::from_lengths([values.len()]),
            values,
            None,
        );
        let fraction = match &self.fractions {
            Fractions::None => None,
            Fractions::OfRows(Some(given)) => Some(ScalarValue::try_from_array(given, 0)?),
            _ => Some(ScalarValue::try_from(&self.fraction_type)?),
        };
        Ok([ScalarValue::List(Arc::new(list))]
            .into_iter()
            .chain(fraction)
            .collect())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let values = self.all()?;
        let count = values.len();
        if let Fractions::OfRows(given) = &self.fractions {
            self.fractions = match given {
                Some(given) if count > 0 => Fractions::of(given).map_err(fail)?,
                _ => match self.fraction_type {
                    DataType::List(_) => Fractions::Many(None),
                    _ => Fractions::One(None),
                },
            };
        }
        let key = canonical(&values);
        let options = SortOptions {
            descending: self.descending,
            nulls_first: false,
        };
        let field = SortField::new_with_options(key.data_type().clone(), options);
        let rows = RowConverter::new(vec![field])?.convert_columns(&[key])?;
        let mut order: Vec<u32> = (0..count as u32).collect();
        order.sort_by(|left, right| rows.row(*left as usize).cmp(&rows.row(*right as usize)));
        let one = |place: Option<u32>| match place {
            Some(place) => ScalarValue::try_from_array(&values, place as usize),
            None => ScalarValue::try_from(&self.data_type),
        };
        match &self.fractions {
            Fractions::None => {
                let (mut best, mut most, mut start) = (None, 0, 0);
                for end in 1..=count {
                    let same = end < count && rows.row(order[end] as usize) == rows.row(order[start] as usize);
                    if same {
                        continue;
                    }
                    if end - start > most {
                        (best, most) = (Some(order[start]), end - start);
                    }
                    start = end;
                }
                one(best)
            }
            Fractions::One(Some(fraction)) if count > 0 => self.value_at(&values, &order, *fraction),
            Fractions::One(_) => one(None),
            Fractions::Many(Some(fractions)) if count > 0 && !fractions.is_empty() => {
                let picked = fractions.iter().map(|fraction| match fraction {
                    Some(fraction) => self.value_at(&values, &order, *fraction),
                    None => one(None),
                });
                let picked = ScalarValue::iter_to_array(picked.collect::<Result<Vec<_>>>()?)?;
                let list = arrow::array::ListArray::new(
                    item(&self.data_type),
                    arrow::buffer::OffsetBuffer::from_lengths([picked.len()]),
                    picked,
                    None,
                );
                Ok(ScalarValue::List(Arc::new(list)))
            }
            Fractions::Many(Some(_)) if count > 0 => {
                let none = ScalarValue::new_list_nullable(&[], &self.data_type);
                Ok(ScalarValue::List(none))
            }
            Fractions::OfRows(_) => unreachable!("they are known by now"),
            Fractions::Many(_) => ScalarValue::try_from(&DataType::List(item(&self.data_type))),
        }
    }

    fn size(&self) -> usize {
        let kept = self.kept.iter().map(|values| values.get_array_memory_size());
        size_of_val(self) + kept.sum::<usize>()
    }
}

/// As PostgreSQL's `interval_lerp`: a part of the difference, added to the lower one.
fn interval_between(
    low: IntervalMonthDayNano,
    high: IntervalMonthDayNano,
    part: f64,
) -> Result<IntervalMonthDayNano, SqlError> {
    let difference = IntervalMonthDayNano::new(
        high.months.wrapping_sub(low.months),
        high.days.wrapping_sub(low.days),
        high.nanoseconds.wrapping_sub(low.nanoseconds),
    );
    let part = super::interval::scale_interval(difference, |value| value * part)?;
    Ok(IntervalMonthDayNano::new(
        low.months.wrapping_add(part.months),
        low.days.wrapping_add(part.days),
        low.nanoseconds.wrapping_add(part.nanoseconds),
    ))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, ListArray};

    use super::*;

    fn result(values: Vec<Option<i32>>, fractions: Fractions, descending: bool) -> ScalarValue {
        let mut kept = OrderedValues {
            data_type: DataType::Int32,
            kept: Vec::new(),
            descending,
            fractions,
            fraction_type: DataType::Float64,
            between: false,
        };
        let values: ArrayRef = Arc::new(Int32Array::from(values));
        kept.update_batch(&[values]).expect("they are kept");
        kept.evaluate().expect("there is a result")
    }

    #[test]
    fn values_are_picked_as_postgresql_picks_them() {
        let values = || vec![Some(3), Some(2), None, Some(1), Some(2), Some(3)];
        let one = |fraction, descending| result(values(), Fractions::One(Some(fraction)), descending);
        assert_eq!(one(0.5, false), ScalarValue::Int32(Some(2)));
        assert_eq!(one(0.0, false), ScalarValue::Int32(Some(1)));
        assert_eq!(one(1.0, false), ScalarValue::Int32(Some(3)));
        assert_eq!(one(0.0, true), ScalarValue::Int32(Some(3)));
        assert_eq!(
            result(vec![], Fractions::One(Some(0.5)), false),
            ScalarValue::Int32(None)
        );
        assert_eq!(result(values(), Fractions::One(None), false), ScalarValue::Int32(None));
        assert_eq!(result(values(), Fractions::None, false), ScalarValue::Int32(Some(2)));
        assert_eq!(result(values(), Fractions::None, true), ScalarValue::Int32(Some(3)));
        let many = Fractions::Many(Some(vec![Some(0.0), Some(0.5), Some(1.0), None]));
        let expected = ListArray::from_iter_primitive::<arrow::datatypes::Int32Type, _, _>([Some(vec![
            Some(1),
            Some(2),
            Some(3),
            None,
        ])]);
        assert_eq!(result(values(), many, false), ScalarValue::List(Arc::new(expected)));
    }

    #[test]
    fn a_fraction_is_between_0_and_1() {
        let given: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![1.5]));
        let error = Fractions::of(&given).expect_err("it is not");
        assert_eq!(error.state.0, "22003");
        assert_eq!(error.message, "percentile value 1.5 is not between 0 and 1");
    }
}
