//! [`EachOnce`]: an aggregate with DISTINCT over the same aggregate without it; and [`one_by_one`] for those of the engine's that
//! have DISTINCT but not for many groups at once.
//!
//! One rule: of values that are equal that counts which comes first, as in PostgreSQL.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt32Array, new_empty_array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, Signature};

use super::arrays::canonical;
use super::fail;
use crate::stop;

type Maker = Box<dyn Fn() -> Result<Box<dyn Accumulator>> + Send + Sync>;

pub struct EachOnce {
    data_type: DataType,
    keys: RowConverter,
    forms: RowConverter,
    /// By key: the form that counts.
    seen: HashMap<OwnedRow, OwnedRow>,
    bytes: usize,
    make: Maker,
}

impl fmt::Debug for EachOnce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EachOnce({} values of {})", self.seen.len(), self.data_type)
    }
}

/// The state of such an aggregate: its values.
pub fn state_fields(arguments: &StateFieldsArgs) -> Vec<FieldRef> {
    let item = Field::new_list_field(arguments.input_fields[0].data_type().clone(), true);
    vec![Arc::new(Field::new_list(
        format_state_name(arguments.name, "distinct"),
        item,
        true,
    ))]
}

impl EachOnce {
    /// Over values of a type; `make` gives the aggregate of all that it is given.
    pub fn new(data_type: &DataType, make: Maker) -> Result<EachOnce> {
        let key_type = canonical(&new_empty_array(data_type)).data_type().clone();
        Ok(EachOnce {
            keys: RowConverter::new(vec![SortField::new(key_type)])?,
            forms: RowConverter::new(vec![SortField::new(data_type.clone())])?,
            data_type: data_type.clone(),
            seen: HashMap::new(),
            bytes: 0,
            make,
        })
    }

    fn insert(&mut self, values: &ArrayRef) -> Result<()> {
        stop::check().map_err(fail)?;
        let valid: UInt32Array = match values.logical_nulls() {
            Some(nulls) => nulls.valid_indices().map(|row| row as u32).collect(),
            None => (0..values.len() as u32).collect(),
        };
        let values = take(values, &valid, None)?;
        let keys = self.keys.convert_columns(&[canonical(&values)])?;
        let forms = self.forms.convert_columns(&[values])?;
        for (key, form) in keys.iter().zip(forms.iter()) {
            if let Entry::Vacant(vacant) = self.seen.entry(key.owned()) {
                self.bytes += key.as_ref().len() + form.as_ref().len();
                vacant.insert(form.owned());
            }
        }
        Ok(())
    }

    /// The values that count, in order, so that sums of floats are always the same.
    fn column(&self) -> Result<ArrayRef> {
        let mut seen: Vec<(&OwnedRow, &OwnedRow)> = self.seen.iter().collect();
        seen.sort_unstable();
        let forms = seen.iter().map(|(_, form)| form.row());
        let columns = self.forms.convert_rows(forms)?;
        Ok(columns[0].clone())
    }
}

impl Accumulator for EachOnce {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.insert(&values[0])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists: Vec<ArrayRef> = states[0].as_list::<i32>().iter().flatten().collect();
        let parts: Vec<&dyn Array> = lists.iter().map(AsRef::as_ref).collect();
        match parts.is_empty() {
            true => Ok(()),
            false => self.insert(&concat(&parts)?),
        }
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = self.column()?;
        let field = Arc::new(Field::new_list_field(self.data_type.clone(), true));
        let list = ListArray::new(field, OffsetBuffer::from_lengths([values.len()]), values, None);
        Ok(vec![ScalarValue::List(Arc::new(list))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut all = (self.make)()?;
        all.update_batch(&[self.column()?])?;
        all.evaluate()
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.bytes + self.seen.capacity() * (2 * size_of::<OwnedRow>() + 1)
    }
}

/// The aggregate, whose accumulators of many groups are for calls without DISTINCT: with it the engine declares the states of
/// distinct values, and its groups have others.
pub fn one_by_one(function: Arc<AggregateUDF>) -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(OneByOne { engines: function }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OneByOne {
    engines: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for OneByOne {
    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs) -> bool {
        !arguments.is_distinct && self.engines.groups_accumulator_supported(arguments)
    }

    // All else is the engine's.

    fn name(&self) -> &str {
        self.engines.name()
    }

    fn aliases(&self) -> &[String] {
        self.engines.aliases()
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

    fn state_fields(&self, arguments: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.engines.state_fields(arguments)
    }

    fn accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.engines.accumulator(arguments)
    }

    fn create_sliding_accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.engines.create_sliding_accumulator(arguments)
    }

    fn create_groups_accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        self.engines.create_groups_accumulator(arguments)
    }
}
