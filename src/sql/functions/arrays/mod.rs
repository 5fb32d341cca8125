//! Functions and operators of arrays: `array_append`, `array_position`, `array_overlap` (`&&`) and their kind.
//!
//! One rule: elements are the same as PostgreSQL's `=` has it, and a NULL is the same as a NULL only where elements are
//! searched for. Every array counts from 1. `elements.rs` compares, `shape.rs` counts dimensions, `made.rs` makes arrays.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, new_null_array};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::{casts, fail, over_columns, undefined_function, zone};
use crate::error::{SqlError, SqlState};
use crate::sql::functions::numeric::is_exact;
use crate::types::TextStyle;
use crate::types::TimeZone;

mod distinct;
mod elements;
mod key;
mod made;
mod shape;
mod shaped;

pub use distinct::{differ_though_equal, distinct_elements};
pub use elements::{canonical, keys};
pub use key::list_keys;
pub use shaped::{Shaping, keys as shaped_keys, shaping};

const ARRAY_SUBSCRIPT: SqlState = SqlState("2202E");
const NULL_NOT_ALLOWED: SqlState = SqlState("22004");

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum ArrayFunction {
    Append,
    Prepend,
    Cat,
    Remove,
    Replace,
    Trim,
    Fill,
    Position,
    Positions,
    Overlap,
    Contains,
    Contained,
    Lower,
    Upper,
    Length,
    Dimensions,
    Bounds,
    Cardinality,
    Subscripts,
    ToString,
}

const NAMES: [(&str, ArrayFunction); 20] = [
    ("array_append", ArrayFunction::Append),
    ("array_prepend", ArrayFunction::Prepend),
    ("array_cat", ArrayFunction::Cat),
    ("array_remove", ArrayFunction::Remove),
    ("array_replace", ArrayFunction::Replace),
    ("trim_array", ArrayFunction::Trim),
    ("array_fill", ArrayFunction::Fill),
    ("array_position", ArrayFunction::Position),
    ("array_positions", ArrayFunction::Positions),
    ("array_overlap", ArrayFunction::Overlap),
    ("array_contains_all", ArrayFunction::Contains),
    ("array_contained", ArrayFunction::Contained),
    ("array_lower", ArrayFunction::Lower),
    ("array_upper", ArrayFunction::Upper),
    ("array_length", ArrayFunction::Length),
    ("array_ndims", ArrayFunction::Dimensions),
    ("array_dims", ArrayFunction::Bounds),
    ("cardinality", ArrayFunction::Cardinality),
    ("generate_subscripts", ArrayFunction::Subscripts),
    ("array_to_string", ArrayFunction::ToString),
];

/// One function per name.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    NAMES
        .iter()
        .map(|(name, function)| {
            let signature = Signature::user_defined(Volatility::Immutable);
            Arc::new(ScalarUDF::from(Arrays {
                name,
                function: *function,
                signature,
            }))
        })
        .collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Arrays {
    name: &'static str,
    function: ArrayFunction,
    signature: Signature,
}

/// The role of an argument.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    List,
    Element,
    Integer,
    Integers,
    Bool,
    Text,
}

impl ArrayFunction {
    /// The arguments, and the number of the first ones that must be there.
    fn roles(self) -> (&'static [Role], usize) {
        use Role::{Bool, Element, Integer, Integers, List, Text};
        match self {
            ArrayFunction::Append => (&[List, Element], 2),
            ArrayFunction::Prepend => (&[Element, List], 2),
            ArrayFunction::Cat | ArrayFunction::Overlap | ArrayFunction::Contains | ArrayFunction::Contained => {
                (&[List, List], 2)
            }
            ArrayFunction::Remove | ArrayFunction::Positions => (&[List, Element], 2),
            ArrayFunction::Replace => (&[List, Element, Element], 3),
            ArrayFunction::Trim | ArrayFunction::Lower | ArrayFunction::Upper | ArrayFunction::Length => {
                (&[List, Integer], 2)
            }
            ArrayFunction::Fill => (&[Element, Integers, Integers], 2),
            ArrayFunction::Position => (&[List, Element, Integer], 2),
            ArrayFunction::Dimensions | ArrayFunction::Bounds | ArrayFunction::Cardinality => (&[List], 1),
            ArrayFunction::Subscripts => (&[List, Integer, Bool], 2),
            ArrayFunction::ToString => (&[List, Text, Text], 2),
        }
    }
}

/// The field of an array's elements.
fn item_of(list: &DataType) -> Option<&FieldRef> {
    match list {
        DataType::List(item) => Some(item),
        _ => None,
    }
}

/// The type that holds the values of both.
fn common(left: &DataType, right: &DataType) -> Option<DataType> {
    match (left, right) {
        (left, right) if left == right => Some(left.clone()),
        (DataType::Null, other) | (other, DataType::Null) => Some(other.clone()),
        (DataType::List(left), DataType::List(right)) => {
            let item = common(left.data_type(), right.data_type())?;
            Some(DataType::List(Arc::new(
                left.as_ref().clone().with_data_type(item).with_nullable(true),
            )))
        }
        (DataType::Decimal128(p, s), DataType::Decimal128(q, t)) => Some(match s == t {
            true => DataType::Decimal128(*p.max(q), *s),
            false => DataType::LargeBinary,
        }),
        (DataType::LargeBinary, other) | (other, DataType::LargeBinary) if is_exact(other) => {
            Some(DataType::LargeBinary)
        }
        (DataType::Timestamp(_, _), DataType::Timestamp(_, _)) => Some(left.clone()),
        _ => datafusion::logical_expr::type_coercion::binary::comparison_coercion(left, right),
    }
}

impl Arrays {
    /// The field of the elements that all arrays have; of the first array if there are several.
    fn item(&self, fields: &[FieldRef]) -> Option<FieldRef> {
        let (roles, least) = self.function.roles();
        if fields.len() < least || fields.len() > roles.len() {
            return None;
        }
        let mut item: Option<Field> = None;
        for (field, role) in fields.iter().zip(roles) {
            let found = match (role, field.data_type()) {
                (Role::List, DataType::Null) => continue,
                (Role::List, DataType::List(found)) => found.as_ref().clone(),
                (Role::Element, _) => field.as_ref().clone(),
                (Role::List, _) => return None,
                _ => continue,
            };
            item = Some(match item {
                None => found.with_name("item").with_nullable(true),
                Some(known) => {
                    // An array beside arrays of such: `ARRAY[[1, 2]] || ARRAY[3, 4]`.
                    let (left, right) = (known.data_type().clone(), found.data_type().clone());
                    match (&left, &right) {
                        (DataType::List(inner), other)
                            if self.function == ArrayFunction::Cat && inner.data_type() == other =>
                        {
                            known
                        }
                        (other, DataType::List(inner))
                            if self.function == ArrayFunction::Cat && inner.data_type() == other =>
                        {
                            found.with_name("item").with_nullable(true)
                        }
                        _ => {
                            let both = common(&left, &right)?;
                            // The array's field says more than an element's type.
                            let first = if left == DataType::Null { found } else { known };
                            first.with_data_type(both).with_name("item").with_nullable(true)
                        }
                    }
                }
            });
        }
        match item {
            Some(item) if *item.data_type() == DataType::Null => Some(Arc::new(item.with_data_type(DataType::Utf8))),
            Some(item) => Some(Arc::new(item)),
            None => Some(Arc::new(Field::new("item", DataType::Utf8, true))),
        }
    }

    fn types(&self, fields: &[FieldRef]) -> Option<Vec<DataType>> {
        let item = self.item(fields)?;
        let list = DataType::List(item.clone());
        let (roles, _) = self.function.roles();
        fields
            .iter()
            .zip(roles)
            .map(|(field, role)| {
                let given = field.data_type();
                Some(match role {
                    Role::List
                        if item_of(given).is_some_and(|of| of.data_type() != item.data_type())
                            && self.function == ArrayFunction::Cat
                            && item_of(item.data_type()).is_some_and(|inner| {
                                item_of(given).is_some_and(|of| of.data_type() == inner.data_type())
                            }) =>
                    {
                        given.clone()
                    }
                    Role::List => list.clone(),
                    Role::Element => item.data_type().clone(),
                    Role::Integer if given.is_integer() || given.is_null() => DataType::Int32,
                    Role::Integers => DataType::List(Arc::new(Field::new("item", DataType::Int32, true))),
                    Role::Bool => DataType::Boolean,
                    Role::Text if matches!(given, DataType::Utf8 | DataType::Null) => DataType::Utf8,
                    _ => return None,
                })
            })
            .collect()
    }

    fn result(&self, item: &FieldRef) -> DataType {
        let list = || DataType::List(item.clone());
        let integers = || DataType::List(Arc::new(Field::new("item", DataType::Int32, true)));
        match self.function {
            ArrayFunction::Append
            | ArrayFunction::Prepend
            | ArrayFunction::Cat
            | ArrayFunction::Remove
            | ArrayFunction::Replace => list(),
            ArrayFunction::Trim | ArrayFunction::Fill => list(),
            ArrayFunction::Positions | ArrayFunction::Subscripts => integers(),
            ArrayFunction::Overlap | ArrayFunction::Contains | ArrayFunction::Contained => DataType::Boolean,
            ArrayFunction::Bounds | ArrayFunction::ToString => DataType::Utf8,
            _ => DataType::Int32,
        }
    }
}

fn fields_of(types: &[DataType]) -> Vec<FieldRef> {
    types
        .iter()
        .map(|data_type| Arc::new(Field::new("argument", data_type.clone(), true)))
        .collect()
}

impl ScalarUDFImpl for Arrays {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let types = self
            .types(&fields_of(arguments))
            .ok_or_else(|| fail(undefined_function(self.name, arguments)))?;
        // The engine does not make NUMERIC of numbers; the call does.
        let exact =
            |data_type: &DataType| item_of(data_type).map_or(is_exact(data_type), |item| is_exact(item.data_type()));
        let pairs = types.into_iter().zip(arguments);
        let coerced = pairs.map(|(wanted, given)| match exact(&wanted) && exact(given) {
            true => given.clone(),
            false => wanted,
        });
        Ok(coerced.collect())
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        let item = self.item(&fields_of(arguments));
        let item = item.ok_or_else(|| fail(undefined_function(self.name, arguments)))?;
        Ok(self.result(&item))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let item = self.item(args.arg_fields).ok_or_else(|| {
            let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
            fail(undefined_function(self.name, &types))
        })?;
        Ok(Arc::new(Field::new(self.name, self.result(&item), true)))
    }

    fn is_strict(&self) -> bool {
        matches!(
            self.function,
            ArrayFunction::Overlap
                | ArrayFunction::Contains
                | ArrayFunction::Contained
                | ArrayFunction::Length
                | ArrayFunction::Cardinality
        )
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let types = self.types(&args.arg_fields).ok_or_else(|| {
            let types: Vec<DataType> = args.args.iter().map(ColumnarValue::data_type).collect();
            fail(undefined_function(self.name, &types))
        })?;
        let style = TextStyle {
            time_zone: zone::of_session(&args.config_options),
            ..TextStyle::default()
        };
        over_columns(&args, |columns, rows| {
            let columns: Vec<ArrayRef> = columns
                .iter()
                .zip(&types)
                .map(|(column, wanted)| as_type(column, wanted, rows))
                .collect::<Result<_, SqlError>>()?;
            let array = &args.arg_fields[0];
            self.evaluate(&columns, array, rows, args.return_field.data_type(), &style)
        })
    }
}

/// A column as the function wants it; usually it is so.
fn as_type(column: &ArrayRef, wanted: &DataType, rows: usize) -> Result<ArrayRef, SqlError> {
    if column.data_type() == wanted {
        return Ok(column.clone());
    }
    match (column.data_type(), wanted) {
        (DataType::Null, _) => Ok(new_null_array(wanted, rows)),
        // Only the field differs.
        (DataType::List(item), DataType::List(to)) if item.data_type() == to.data_type() => {
            let (_, offsets, values, nulls) = column.as_list::<i32>().clone().into_parts();
            Ok(Arc::new(ListArray::new(to.clone(), offsets, values, nulls)))
        }
        _ => {
            let field = |data_type: &DataType| Field::new("", data_type.clone(), true);
            casts::cast(column, &field(column.data_type()), &field(wanted), TimeZone::UTC)
        }
    }
}

impl Arrays {
    fn evaluate(
        &self,
        columns: &[ArrayRef],
        array: &Field,
        rows: usize,
        result: &DataType,
        style: &TextStyle,
    ) -> Result<ArrayRef, SqlError> {
        match self.function {
            ArrayFunction::Append => made::append(&columns[0], &columns[1], result),
            ArrayFunction::Prepend => made::prepend(&columns[0], &columns[1], result),
            ArrayFunction::Cat => made::concatenate(&columns[0], &columns[1], result),
            ArrayFunction::Remove => made::remove(&columns[0], &columns[1], result),
            ArrayFunction::Replace => made::replace(&columns[0], &columns[1], &columns[2], result),
            ArrayFunction::Trim => made::trim(&columns[0], &columns[1], result),
            ArrayFunction::Fill => made::fill(columns, rows, result),
            ArrayFunction::Position => elements::position(columns, rows),
            ArrayFunction::Positions => elements::positions(&columns[0], &columns[1]),
            ArrayFunction::Overlap => elements::overlap(&columns[0], &columns[1]),
            ArrayFunction::Contains => elements::contains(&columns[0], &columns[1]),
            ArrayFunction::Contained => elements::contains(&columns[1], &columns[0]),
            ArrayFunction::Lower => Ok(shape::lower(&columns[0], &columns[1])),
            ArrayFunction::Upper | ArrayFunction::Length => Ok(shape::upper(&columns[0], &columns[1])),
            ArrayFunction::Dimensions => Ok(shape::dimensions(&columns[0])),
            ArrayFunction::Bounds => Ok(shape::bounds(&columns[0])),
            ArrayFunction::Cardinality => Ok(shape::cardinality(&columns[0])),
            ArrayFunction::Subscripts => Ok(shape::subscripts(columns, rows)),
            ArrayFunction::ToString => shape::joined(columns, array, rows, style),
        }
    }
}
