//! `json_agg`, `jsonb_agg`, `json_object_agg`, `jsonb_object_agg`: values of many rows as one.
//!
//! One rule: a value is written when it comes; its text is kept, with the values that it is ordered by. Only
//! DISTINCT keeps the values themselves, as the engine's `array_agg` does.
//!
//! Times with a zone are written in UTC: an aggregate over `to_json` has the session's zone.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringArray, new_empty_array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{SortOptions, sort_to_indices, take};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::utils::compare_rows;
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::array_agg::array_agg_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

use super::build::ObjectMembers;
use super::invalid;
use super::writer::{Form, JsonWriter};
use crate::error::SqlError;
use crate::sql::functions::{fail, undefined_function};
use crate::types::PgType;
use crate::types::TimeZone;

/// `json_agg` of arrays and rows that were written as JSON before.
pub const JSON_AGG_OF_LINES: &str = "~json_agg";

pub fn all() -> Vec<Arc<AggregateUDF>> {
    [
        ("json_agg", Form::Json, JsonShape::Array),
        (JSON_AGG_OF_LINES, Form::Json, JsonShape::Array),
        ("jsonb_agg", Form::Jsonb, JsonShape::Array),
        ("json_object_agg", Form::Json, JsonShape::Object),
        ("jsonb_object_agg", Form::Jsonb, JsonShape::Object),
    ]
    .map(|(name, form, shape)| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(AggregateUDF::from(JsonAggregate {
            name,
            form,
            shape,
            signature,
        }))
    })
    .into()
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum JsonShape {
    Array,
    Object,
}

impl JsonShape {
    fn arguments(self) -> usize {
        match self {
            JsonShape::Array => 1,
            JsonShape::Object => 2,
        }
    }
}

#[derive(Debug)]
struct JsonAggregate {
    name: &'static str,
    form: Form,
    shape: JsonShape,
    signature: Signature,
}

impl PartialEq for JsonAggregate {
    fn eq(&self, other: &JsonAggregate) -> bool {
        self.name == other.name
    }
}

impl Eq for JsonAggregate {}

impl Hash for JsonAggregate {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.name.hash(hasher);
    }
}

fn list_field(name: String, item: DataType) -> FieldRef {
    Arc::new(Field::new_list(name, Field::new_list_field(item, true), true))
}

impl AggregateUDFImpl for JsonAggregate {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        match arguments.len() == self.shape.arguments() {
            true => Ok(arguments.to_vec()),
            false => Err(fail(undefined_function(self.name, arguments))),
        }
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field(&self, _arguments: &[FieldRef]) -> Result<FieldRef> {
        let pg_type = match self.form {
            Form::Json => PgType::Json,
            Form::Jsonb => PgType::Jsonb,
        };
        Ok(Arc::new(pg_type.field(self.name, true)))
    }

    /// Texts of keys, if there are any, texts of values, and one list for each expression that orders them.
    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if args.is_distinct && self.shape == JsonShape::Array {
            return array_agg_udaf().state_fields(args);
        }
        let name = |suffix: &str| format_state_name(args.name, suffix);
        let mut fields = vec![list_field(name("values"), DataType::Utf8)];
        if self.shape == JsonShape::Object {
            fields.push(list_field(name("keys"), DataType::Utf8));
        }
        for (at, order) in args.ordering_fields.iter().enumerate() {
            fields.push(list_field(name(&format!("order{at}")), order.data_type().clone()));
        }
        Ok(fields)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let fields = args.expr_fields.to_vec();
        if args.is_distinct && self.shape == JsonShape::Array {
            return Ok(Box::new(Distinct {
                form: self.form,
                field: fields[0].clone(),
                sorts: args.order_bys.is_empty(),
                lines: self.name == JSON_AGG_OF_LINES,
                values: array_agg_udaf().accumulator(args)?,
            }));
        }
        let order_types = args.order_bys.iter().map(|order| order.expr.data_type(args.schema));
        Ok(Box::new(Gathering {
            order_types: order_types.collect::<Result<_>>()?,
            form: self.form,
            shape: self.shape,
            lines: self.name == JSON_AGG_OF_LINES,
            fields,
            order: args.order_bys.iter().map(|order| order.options).collect(),
            items: VecDeque::new(),
            bytes: 0,
        }))
    }
}

/// One row's part of the result.
#[derive(Debug)]
struct AggregatedItem {
    /// Empty in an array.
    key: Box<str>,
    value: Box<str>,
    order: Box<[ScalarValue]>,
}

impl AggregatedItem {
    fn bytes(&self) -> usize {
        let order: usize = self.order.iter().map(ScalarValue::size).sum();
        size_of::<AggregatedItem>() + self.key.len() + self.value.len() + order
    }
}

#[derive(Debug)]
struct Gathering {
    form: Form,
    shape: JsonShape,
    /// Each value but the first begins a line.
    lines: bool,
    /// Of the arguments.
    fields: Vec<FieldRef>,
    order: Vec<SortOptions>,
    order_types: Vec<DataType>,
    items: VecDeque<AggregatedItem>,
    bytes: usize,
}

impl Gathering {
    fn push(&mut self, item: AggregatedItem) {
        self.bytes += item.bytes();
        self.items.push_back(item);
    }

    /// Puts the items in order; those of equal values stay as they came.
    fn sort(&mut self) {
        if self.order.is_empty() {
            return;
        }
        let order = &self.order;
        let compare =
            |a: &AggregatedItem, b: &AggregatedItem| compare_rows(&a.order, &b.order, order).unwrap_or(Ordering::Equal);
        self.items.make_contiguous().sort_by(compare);
    }

    fn is_structured(&self) -> bool {
        if self.lines {
            return true;
        }
        let is_list = |field: &FieldRef| {
            matches!(
                field.data_type(),
                DataType::List(_)
                    | DataType::LargeList(_)
                    | DataType::FixedSizeList(_, _)
                    | DataType::BinaryView
                    | DataType::Struct(_)
            )
        };
        self.fields.last().is_some_and(is_list)
    }
}

fn order_at(columns: &[ArrayRef], row: usize) -> Result<Box<[ScalarValue]>> {
    columns
        .iter()
        .map(|column| ScalarValue::try_from_array(column, row))
        .collect()
}

/// A list of one row that holds all of `items`.
fn list_of(items: ArrayRef) -> ScalarValue {
    let item = Arc::new(Field::new_list_field(items.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths([items.len()]);
    ScalarValue::List(Arc::new(ListArray::new(item, offsets, items, None)))
}

impl Accumulator for Gathering {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let arguments = self.shape.arguments();
        let writer = |at: usize| JsonWriter::new(&self.fields[at], &columns[at], TimeZone::UTC).map_err(fail);
        let mut keys = match self.shape {
            JsonShape::Array => None,
            JsonShape::Object => Some(writer(0)?),
        };
        let mut values = writer(arguments - 1)?;
        let mut text = String::new();
        for row in 0..columns[0].len() {
            let key = match &mut keys {
                None => String::new(),
                Some(keys) if keys.is_null(row) => return Err(fail(invalid("field name must not be null"))),
                Some(keys) => keys.key(row).map_err(fail)?,
            };
            text.clear();
            values.write(row, self.form, &mut text).map_err(fail)?;
            self.push(AggregatedItem {
                key: key.into(),
                value: text.as_str().into(),
                order: order_at(columns.get(arguments..arguments + self.order.len()).unwrap_or(&[]), row)?,
            });
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.items.is_empty() {
            return Ok(ScalarValue::Utf8(None));
        }
        self.sort();
        let text = match (self.shape, self.form) {
            (JsonShape::Array, form) => {
                let own_lines = form == Form::Json && self.is_structured();
                write_array(self.items.iter().map(|item| &*item.value), own_lines)
            }
            (JsonShape::Object, Form::Jsonb) => {
                let mut members = ObjectMembers::new(Form::Jsonb);
                for item in &self.items {
                    members.push(item.key.to_string(), item.value.to_string());
                }
                let mut text = String::new();
                members.write(&mut text);
                text
            }
            (JsonShape::Object, Form::Json) => {
                let mut members = ObjectMembers::new(Form::Json);
                for item in &self.items {
                    members.push(item.key.to_string(), item.value.to_string());
                }
                let mut text = String::new();
                members.write(&mut text);
                // The one object with blanks inside its braces.
                format!("{{ {} }}", &text[1..text.len() - 1])
            }
        };
        Ok(ScalarValue::Utf8(Some(text)))
    }

    fn size(&self) -> usize {
        size_of::<Gathering>() + self.bytes + (self.items.capacity() - self.items.len()) * size_of::<AggregatedItem>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.sort();
        let texts = |text: fn(&AggregatedItem) -> &str| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(self.items.iter().map(text)))
        };
        let mut state = vec![list_of(texts(|item| &item.value))];
        if self.shape == JsonShape::Object {
            state.push(list_of(texts(|item| &item.key)));
        }
        for at in 0..self.order.len() {
            let values = self.items.iter().map(|item| item.order[at].clone());
            state.push(list_of(match self.items.is_empty() {
                true => new_empty_array(&self.order_types[at]),
                false => ScalarValue::iter_to_array(values)?,
            }));
        }
        Ok(state)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists: Vec<&ListArray> = states.iter().map(|state| state.as_list::<i32>()).collect();
        let is_object = self.shape == JsonShape::Object;
        let first_order = if is_object { 2 } else { 1 };
        for row in 0..lists[0].len() {
            if lists[0].is_null(row) {
                continue;
            }
            let columns: Vec<ArrayRef> = lists.iter().map(|list| list.value(row)).collect();
            let values = columns[0].as_string::<i32>();
            let keys = is_object.then(|| columns[1].as_string::<i32>());
            for at in 0..values.len() {
                self.push(AggregatedItem {
                    key: keys.map_or("", |keys| keys.value(at)).into(),
                    value: values.value(at).into(),
                    order: order_at(&columns[first_order..], at)?,
                });
            }
        }
        Ok(())
    }

    /// The rows that left a window came first.
    fn retract_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        for item in self.items.drain(..columns[0].len().min(self.items.len())) {
            self.bytes -= item.bytes();
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        self.order.is_empty()
    }
}

/// Arrays and rows that are not the first begin a line in JSON.
fn write_array<'a>(values: impl Iterator<Item = &'a str>, own_lines: bool) -> String {
    let mut text = String::from("[");
    for (at, value) in values.enumerate() {
        if at > 0 {
            text.push_str(", ");
            if own_lines && value != "null" {
                text.push_str("\n ");
            }
        }
        text.push_str(value);
    }
    text.push(']');
    text
}

/// Each value once, in order.
#[derive(Debug)]
struct Distinct {
    form: Form,
    field: FieldRef,
    /// No order was asked for: it is that of the values.
    sorts: bool,
    lines: bool,
    values: Box<dyn Accumulator>,
}

impl Distinct {
    fn write(&self, values: &ArrayRef) -> Result<String, SqlError> {
        let values = match self.sorts {
            true => {
                let options = SortOptions::new(false, false);
                match sort_to_indices(values, Some(options), None) {
                    Ok(order) => take(values, &order, None)?,
                    // The engine cannot sort this type.
                    Err(_) => values.clone(),
                }
            }
            false => values.clone(),
        };
        let mut writer = JsonWriter::new(&self.field, &values, TimeZone::UTC)?;
        let mut texts = Vec::with_capacity(values.len());
        for row in 0..values.len() {
            let mut text = String::new();
            writer.write(row, self.form, &mut text)?;
            texts.push(text);
        }
        let own_lines = self.lines || (self.form == Form::Json && writer.is_structured());
        Ok(write_array(texts.iter().map(String::as_str), own_lines))
    }
}

impl Accumulator for Distinct {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        self.values.update_batch(columns)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        match self.values.evaluate()? {
            ScalarValue::List(list) if list.is_valid(0) => {
                let text = self.write(&list.value(0)).map_err(fail)?;
                Ok(ScalarValue::Utf8(Some(text)))
            }
            _ => Ok(ScalarValue::Utf8(None)),
        }
    }

    fn size(&self) -> usize {
        size_of::<Distinct>() + self.values.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.values.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.values.merge_batch(states)
    }
}
