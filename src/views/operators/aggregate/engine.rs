//! Aggregates of the batch engine: [`GroupRows`] keeps the rows of each group and has the engine's own accumulator take them all
//! again once the group has changed; [`RunningGroups`] keeps an accumulator for each group, where rows only come or can be taken
//! back exactly.
//!
//! One rule: the result is the engine's over the same rows (V1). So a function is kept only if the order in which its rows
//! come does not matter (`compile/aggregate.rs`).

use std::cell::RefCell;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array, new_empty_array};
use arrow::compute;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Accumulator;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use crate::error::SqlError;

use super::copies::{GroupCopies, Sameness};
use super::state::AggregateState;
use crate::views::delta::batch_of;
use crate::views::expression::Expression;
use crate::views::memory::Budget;

/// What the accumulator gets as one of its columns.
#[derive(Clone, Debug)]
pub enum EngineInput {
    /// A column of the kept rows.
    Kept(usize),
    /// The same value for every row.
    Constant(ScalarValue),
}

/// A call of an aggregate as the engine plans it.
#[derive(Debug)]
pub struct EngineCall {
    pub function: Arc<AggregateFunctionExpr>,
    /// Arguments, then the values that order the rows.
    pub inputs: Vec<EngineInput>,
    /// Of an input row: the columns of a kept row, and their types.
    pub columns: Vec<Expression>,
    pub types: Vec<DataType>,
    pub output: DataType,
    /// The result may be an error.
    pub may_fail: bool,
}

impl EngineCall {
    pub fn accumulator(&self) -> Result<Box<dyn Accumulator>, SqlError> {
        Ok(self.function.create_accumulator()?)
    }

    /// The columns that an accumulator takes.
    fn given(&self, columns: &[ArrayRef], rows: usize) -> Result<Vec<ArrayRef>, SqlError> {
        let given = self.inputs.iter().map(|input| match input {
            EngineInput::Kept(column) => Ok(columns[*column].clone()),
            EngineInput::Constant(value) => Ok(value.to_array_of_size(rows)?),
        });
        given.collect()
    }

    /// Results as a column.
    fn results(&self, values: Vec<ScalarValue>) -> Result<ArrayRef, SqlError> {
        if values.is_empty() {
            return Ok(new_empty_array(&self.output));
        }
        let column = ScalarValue::iter_to_array(values)?;
        match column.data_type() == &self.output {
            true => Ok(column),
            // The names and metadata of items differ.
            false => Ok(compute::cast(&column, &self.output)?),
        }
    }
}

/// All rows of each group, and the results of those groups that were asked for.
pub struct GroupRows {
    call: Arc<EngineCall>,
    rows: GroupCopies,
    /// By group, until it changes.
    results: RefCell<Results>,
}

#[derive(Default)]
struct Results {
    values: Vec<Option<ScalarValue>>,
    bytes: usize,
}

impl Results {
    fn forget(&mut self, group: usize) {
        if let Some(value) = self.values[group].take() {
            self.bytes -= value.size();
        }
    }
}

impl GroupRows {
    pub fn new(call: Arc<EngineCall>, budget: Arc<Budget>) -> Result<GroupRows, SqlError> {
        Ok(GroupRows {
            rows: GroupCopies::new(&call.types, Sameness::Exact, budget)?,
            results: RefCell::default(),
            call,
        })
    }

    fn evaluate(&self, group: u32) -> Result<ScalarValue, SqlError> {
        let mut numbers = Vec::new();
        for (row, copies) in self.rows.of(group) {
            let copies = usize::try_from(*copies).expect("V4: a row was taken away more often than it was added");
            numbers.extend(std::iter::repeat_n(*row, copies));
        }
        let mut accumulator = self.call.accumulator()?;
        if !numbers.is_empty() {
            let columns = self.rows.columns(&numbers)?;
            accumulator.update_batch(&self.call.given(&columns, numbers.len())?)?;
        }
        Ok(accumulator.evaluate()?)
    }
}

impl AggregateState for GroupRows {
    fn resize(&mut self, groups: usize) {
        self.rows.resize(groups);
        self.results.get_mut().values.resize(groups, None);
    }

    fn update(&mut self, groups: &[u32], columns: &[ArrayRef], weights: Option<&[i64]>) -> Result<(), SqlError> {
        let results = self.results.get_mut();
        groups.iter().for_each(|group| results.forget(*group as usize));
        self.rows.update(groups, columns, None, weights, |_, _, _| {})
    }

    fn finish(&self, groups: &[u32]) -> Result<ArrayRef, SqlError> {
        let mut results = self.results.borrow_mut();
        let mut values = Vec::with_capacity(groups.len());
        for group in groups {
            let at = *group as usize;
            if results.values[at].is_none() {
                let value = self.evaluate(*group)?.compacted();
                results.bytes += value.size();
                results.values[at] = Some(value);
            }
            values.extend(results.values[at].clone());
        }
        self.call.results(values)
    }

    fn keep(&mut self, groups: &[u32]) {
        self.rows.keep(groups);
        let results = self.results.get_mut();
        let kept = groups.iter().map(|group| results.values[*group as usize].take());
        results.values = kept.collect();
        results.bytes = results.values.iter().flatten().map(ScalarValue::size).sum();
    }

    fn save(&self) -> Result<RecordBatch, SqlError> {
        self.rows.save()
    }

    fn restore(&mut self, saved: &RecordBatch, groups: usize) -> Result<(), SqlError> {
        *self.results.get_mut() = Results::default();
        self.rows.restore(saved, groups)?;
        self.resize(groups);
        Ok(())
    }

    fn bytes(&self) -> usize {
        let results = self.results.borrow();
        self.rows.bytes() + results.values.capacity() * size_of::<Option<ScalarValue>>() + results.bytes
    }
}

/// An accumulator for each group.
pub struct RunningGroups {
    call: Arc<EngineCall>,
    /// By group, once it has rows.
    accumulators: RefCell<Vec<Option<Box<dyn Accumulator>>>>,
    bytes: usize,
}

impl RunningGroups {
    pub fn new(call: Arc<EngineCall>) -> RunningGroups {
        RunningGroups {
            call,
            accumulators: RefCell::default(),
            bytes: 0,
        }
    }

    /// Rows are added to their groups, or taken away.
    fn change(&mut self, rows: &[u32], groups: &[u32], columns: &[ArrayRef], adds: bool) -> Result<(), SqlError> {
        let mut order = rows.to_vec();
        // Stable: the rows of a group stay in their order.
        order.sort_by_key(|row| groups[*row as usize]);
        let taken = compute::take_arrays(columns, &UInt32Array::from(order.clone()), None)?;
        let given = self.call.given(&taken, order.len())?;
        let accumulators = self.accumulators.get_mut();
        let mut start = 0;
        for part in order.chunk_by(|one, other| groups[*one as usize] == groups[*other as usize]) {
            let slot = &mut accumulators[groups[part[0] as usize] as usize];
            let before = slot.as_ref().map_or(0, |accumulator| accumulator.size());
            let accumulator = match slot {
                Some(accumulator) => accumulator,
                None => slot.insert(self.call.accumulator()?),
            };
            let values: Vec<ArrayRef> = given.iter().map(|column| column.slice(start, part.len())).collect();
            match adds {
                true => accumulator.update_batch(&values)?,
                false => accumulator.retract_batch(&values)?,
            }
            self.bytes = self.bytes + accumulator.size() - before;
            start += part.len();
        }
        Ok(())
    }
}

impl AggregateState for RunningGroups {
    fn resize(&mut self, groups: usize) {
        self.accumulators.get_mut().resize_with(groups, || None);
    }

    fn update(&mut self, groups: &[u32], columns: &[ArrayRef], weights: Option<&[i64]>) -> Result<(), SqlError> {
        let rows = 0..groups.len() as u32;
        let Some(weights) = weights else {
            return self.change(&rows.collect::<Vec<u32>>(), groups, columns, true);
        };
        for adds in [true, false] {
            let mut changed = Vec::new();
            for row in rows.clone() {
                let weight = weights[row as usize];
                if (weight > 0) == adds {
                    changed.extend(std::iter::repeat_n(row, weight.unsigned_abs() as usize));
                }
            }
            if !changed.is_empty() {
                self.change(&changed, groups, columns, adds)?;
            }
        }
        Ok(())
    }

    fn finish(&self, groups: &[u32]) -> Result<ArrayRef, SqlError> {
        let mut accumulators = self.accumulators.borrow_mut();
        let mut values = Vec::with_capacity(groups.len());
        for group in groups {
            values.push(match &mut accumulators[*group as usize] {
                Some(accumulator) => accumulator.evaluate()?,
                None => self.call.accumulator()?.evaluate()?,
            });
        }
        self.call.results(values)
    }

    fn keep(&mut self, groups: &[u32]) {
        let accumulators = self.accumulators.get_mut();
        let kept = groups.iter().map(|group| accumulators[*group as usize].take());
        *accumulators = kept.collect();
        self.bytes = accumulators.iter().flatten().map(|one| one.size()).sum();
    }

    /// The states of the accumulators as the engine hands them on.
    fn save(&self) -> Result<RecordBatch, SqlError> {
        let mut accumulators = self.accumulators.borrow_mut();
        let fields = self.call.function.state_fields()?;
        let mut parts: Vec<Vec<ScalarValue>> = vec![Vec::new(); fields.len()];
        let mut groups = Vec::new();
        for (group, accumulator) in accumulators.iter_mut().enumerate() {
            let Some(accumulator) = accumulator else { continue };
            groups.push(group as u32);
            for (part, value) in parts.iter_mut().zip(accumulator.state()?) {
                part.push(value);
            }
        }
        let rows = groups.len();
        let mut columns: Vec<ArrayRef> = vec![Arc::new(UInt32Array::from(groups))];
        for (part, field) in parts.into_iter().zip(&fields) {
            columns.push(match part.is_empty() {
                true => new_empty_array(field.data_type()),
                false => ScalarValue::iter_to_array(part)?,
            });
        }
        let named = columns
            .iter()
            .enumerate()
            .map(|(at, column)| Field::new(format!("c{at}"), column.data_type().clone(), true));
        batch_of(Arc::new(Schema::new(named.collect::<Vec<Field>>())), columns, rows)
    }

    fn restore(&mut self, saved: &RecordBatch, groups: usize) -> Result<(), SqlError> {
        *self = RunningGroups::new(self.call.clone());
        self.resize(groups);
        let of = saved.column(0).as_any().downcast_ref::<UInt32Array>();
        let of = of.expect("the first column has the groups").values().to_vec();
        for (row, group) in of.iter().enumerate() {
            let mut accumulator = self.call.accumulator()?;
            let states: Vec<ArrayRef> = saved.columns()[1..].iter().map(|state| state.slice(row, 1)).collect();
            accumulator.merge_batch(&states)?;
            self.bytes += accumulator.size();
            self.accumulators.get_mut()[*group as usize] = Some(accumulator);
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        let accumulators = self.accumulators.borrow();
        accumulators.capacity() * size_of::<Option<Box<dyn Accumulator>>>() + self.bytes
    }
}
