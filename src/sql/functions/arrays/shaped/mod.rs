//! Functions of arrays of any dimensions (`types/shaped.rs`).
//!
//! One rule: the analyzer chooses the function and the type of the elements: no value is asked. Not here:
//! arrays of one dimension from 1, which are lists, and functions that treat all elements alike in a row.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, StringArray, StringBuilder};
use arrow::datatypes::{DataType, FieldRef, Int32Type};
use bytes::BytesMut;
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::error::SqlError;
use crate::sql::functions::{casts, growth, over_columns, zone};
use crate::types::shape::ArrayShape;
use crate::types::shaped::{ShapedArrays, of_lists, to_lists};
use crate::types::{ColumnFormatter, PgType, TextStyle};

mod changed;
mod joined;
mod json;
mod key;
mod part;

pub use key::keys;

/// The operation of a function.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Shaping {
    /// Lists as arrays of any dimensions.
    OfLists,
    /// Lists of such arrays; 0A000 for one that is none.
    ToLists,
    /// All elements as a list.
    Flat,
    /// Elements of another type than before.
    Recast(PgType),
    Text,
    /// The text of an array that JSON is.
    OfJson,
    /// `a[1][2]`: as many subscripts as there are arguments after the array.
    Element,
    /// `a[1:2][:3]`: for each dimension, whether its lower and its upper bound is an argument.
    Slice(Vec<(bool, bool)>),
    /// `ARRAY[a, b]`
    Nested,
    /// A list of arrays, one for each row of a group.
    Gathered,
    Lower,
    Upper,
    Length,
    Dimensions,
    Bounds,
    Cat,
    Append,
    Prepend,
    Position,
    Positions,
    Remove,
    /// A list of as many elements as an array has, in its shape.
    Reshaped,
    Trim,
    /// The list of elements that `array_fill` makes, with its extents and lower bounds.
    Fill,
}

impl Shaping {
    fn name(&self) -> &'static str {
        match self {
            Shaping::OfLists => "array_of_list",
            Shaping::ToLists => "array_to_list",
            Shaping::Flat => "array_elements",
            Shaping::Recast(_) => "array_cast",
            Shaping::Text => "array_out",
            Shaping::OfJson => "array_of_json",
            Shaping::Element => "array_subscript",
            Shaping::Slice(_) => "array_part",
            Shaping::Nested => "array_nested",
            Shaping::Gathered => "array_gathered",
            Shaping::Lower => "array_lower_of",
            Shaping::Upper => "array_upper_of",
            Shaping::Length => "array_length_of",
            Shaping::Dimensions => "array_ndims_of",
            Shaping::Bounds => "array_dims_of",
            Shaping::Cat => "array_cat_of",
            Shaping::Append => "array_append_to",
            Shaping::Prepend => "array_prepend_to",
            Shaping::Position => "array_position_in",
            Shaping::Positions => "array_positions_in",
            Shaping::Remove => "array_remove_from",
            Shaping::Reshaped => "array_in_shape",
            Shaping::Trim => "array_trimmed",
            Shaping::Fill => "array_filled",
        }
    }
}

/// A function of arrays whose elements are of a type `item`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ShapedFunction {
    shaping: Shaping,
    item: PgType,
    result: PgType,
    signature: Signature,
}

/// The function that does so, of arrays of elements of a type; `result` is the type that it returns.
pub fn shaping(shaping: Shaping, item: PgType, result: PgType) -> Arc<ScalarUDF> {
    let signature = Signature::variadic_any(Volatility::Immutable);
    growth::bound(Arc::new(ScalarUDF::from(ShapedFunction {
        shaping,
        item,
        result,
        signature,
    })))
}

impl ScalarUDFImpl for ShapedFunction {
    fn name(&self) -> &str {
        self.shaping.name()
    }

    /// Parts of an array differ in their given bounds.
    fn schema_name(&self, args: &[datafusion::logical_expr::Expr]) -> Result<String> {
        let shown: Vec<String> = args.iter().map(|arg| arg.schema_name().to_string()).collect();
        let which = match &self.shaping {
            Shaping::Slice(given) => format!("{given:?}"),
            _ => String::new(),
        };
        Ok(format!(
            "{}{which}({})::{}",
            self.name(),
            shown.join(","),
            self.result.spelling()
        ))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.result.arrow())
    }

    fn return_field_from_args(&self, _args: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(self.result.field(self.name(), true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let style = TextStyle {
            time_zone: zone::of_session(&args.config_options),
            ..TextStyle::default()
        };
        over_columns(&args, |columns, rows| self.evaluate(columns, rows, &style))
    }
}

/// The arrays of a column, whichever form they have.
fn arrays_of(column: &ArrayRef, item: &PgType) -> Result<ShapedArrays, SqlError> {
    match column.as_list_opt::<i32>() {
        Some(lists) => Ok(ShapedArrays::of_lists(lists)),
        None => ShapedArrays::decode(column, item),
    }
}

impl ShapedFunction {
    fn evaluate(&self, columns: &[ArrayRef], rows: usize, style: &TextStyle) -> Result<ArrayRef, SqlError> {
        let item = &self.item;
        let first = || arrays_of(&columns[0], item);
        let second = || arrays_of(&columns[1], item);
        let encoded = |arrays: ShapedArrays| -> Result<ArrayRef, SqlError> { Ok(Arc::new(arrays.encode(item)?)) };
        match &self.shaping {
            Shaping::OfLists => of_lists(&columns[0], item),
            Shaping::ToLists => to_lists(&columns[0], item),
            Shaping::Flat => Ok(Arc::new(first()?.lists)),
            Shaping::Recast(from) => {
                let ShapedArrays { shapes, lists } = arrays_of(&columns[0], from)?;
                let list = |item: &PgType| PgType::Array(Box::new(item.clone())).field("", true);
                let lists: ArrayRef = Arc::new(lists);
                let lists =
                    match from.arrow() == item.arrow() && from.oid() == item.oid() && from.typmod() == item.typmod() {
                        true => lists,
                        false => casts::cast(&lists, &list(from), &list(item), style.time_zone)?,
                    };
                encoded(ShapedArrays {
                    shapes,
                    lists: lists.as_list::<i32>().clone(),
                })
            }
            Shaping::Text => {
                let known = PgType::Shaped(Box::new(item.clone()));
                let formatter = ColumnFormatter::new(&known, &columns[0], style)?;
                let mut made = StringBuilder::with_capacity(rows, rows * 16);
                let mut text = BytesMut::new();
                for row in 0..rows {
                    if formatter.is_null(row) {
                        made.append_null();
                        continue;
                    }
                    text.clear();
                    formatter.write_text(row, &mut text);
                    made.append_value(std::str::from_utf8(&text).expect("values print as text"));
                }
                Ok(Arc::new(made.finish()))
            }
            Shaping::OfJson => json::literals(&columns[0]),
            Shaping::Element => part::element(&first()?, &columns[1..]),
            Shaping::Slice(given) => encoded(part::slice(&first()?, given, &columns[1..])?),
            Shaping::Nested => {
                let parts = columns.iter().map(|column| arrays_of(column, item));
                encoded(joined::nested(&parts.collect::<Result<Vec<_>, _>>()?, rows, item)?)
            }
            Shaping::Gathered => {
                let lists = columns[0].as_list::<i32>();
                encoded(joined::gathered(lists, &arrays_of(lists.values(), item)?)?)
            }
            Shaping::Lower => Ok(part::bound(&first()?, &columns[1], |dimension| dimension.lower)),
            Shaping::Upper => Ok(part::bound(&first()?, &columns[1], |dimension| dimension.upper())),
            Shaping::Length => Ok(part::bound(&first()?, &columns[1], |dimension| dimension.length)),
            Shaping::Dimensions => {
                let count = |shape: &ArrayShape| (!shape.0.is_empty()).then_some(shape.0.len() as i32);
                Ok(Arc::new(first()?.shapes.iter().map(count).collect::<Int32Array>()))
            }
            Shaping::Bounds => {
                let text = |shape: &ArrayShape| (!shape.0.is_empty()).then(|| shape.text());
                Ok(Arc::new(first()?.shapes.iter().map(text).collect::<StringArray>()))
            }
            Shaping::Cat => encoded(joined::concatenated(&first()?, &second()?, item)?),
            Shaping::Append => encoded(joined::extended(&first()?, &columns[1], item, false)?),
            Shaping::Prepend => encoded(joined::extended(&second()?, &columns[0], item, true)?),
            Shaping::Position => changed::position(&first()?, &columns[1..]),
            Shaping::Positions => changed::positions(&first()?, &columns[1]),
            Shaping::Remove => encoded(changed::removed(&first()?, &columns[1], item)?),
            Shaping::Reshaped => encoded(ShapedArrays {
                shapes: second()?.shapes,
                lists: columns[0].as_list::<i32>().clone(),
            }),
            Shaping::Trim => encoded(part::trimmed(&first()?, columns[1].as_primitive::<Int32Type>())?),
            Shaping::Fill => encoded(joined::filled(columns[0].as_list::<i32>(), &columns[1..])?),
        }
    }
}

/// A list type of elements.
fn list_type(item: &PgType) -> DataType {
    PgType::Array(Box::new(item.clone())).arrow()
}
