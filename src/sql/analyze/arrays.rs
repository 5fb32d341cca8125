//! Arrays of any dimensions: conversions to them, and the functions that take one.
//!
//! One rule: an array has the form of its plan's type (`PgType::Array` or `PgType::Shaped`), and if both meet, the list
//! becomes the one of any dimensions. Not here: lists by themselves (`record.rs`).

use std::sync::Arc;

use arrow::array::Array;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, ScalarUDF};
use sqlparser::ast::{self, Subscript};

use super::kinds::{self, CastContext};
use super::scope::Scope;
use super::typed::{Typed, at, literal};
use super::{Analyzer, Result};
use crate::error::{SqlError, state};
use crate::sql::functions::{Shaping, shaping};
use crate::types::shape::{DIMENSIONS_MAX, subscript_error, too_many_dimensions};
use crate::types::{InputStyle, PgType, scalar_from_text};

/// A call of a function of arrays of any dimensions.
fn shape(what: Shaping, arguments: Vec<Typed>, item: &PgType, result: PgType, position: Option<usize>) -> Typed {
    let arguments = arguments.into_iter().map(|typed| typed.expr).collect();
    let expr = shaping(what, item.clone(), result.clone()).call(arguments);
    Typed::new(expr, result, position)
}

fn array_of(item: &PgType) -> PgType {
    PgType::Array(Box::new(item.clone()))
}

fn shaped_of(item: &PgType) -> PgType {
    PgType::Shaped(Box::new(item.clone()))
}

pub fn is_shaped(typed: &Typed) -> bool {
    matches!(typed.pg_type(), PgType::Shaped(_))
}

/// A vector as the array that it is.
pub fn unpacked(typed: Typed) -> Typed {
    match typed.pg_type().vector_item() {
        Some(item) => Typed::new(typed.expr, shaped_of(&item), typed.position),
        None => typed,
    }
}

/// An array as one of any dimensions.
pub fn shaped(typed: Typed) -> Typed {
    let position = typed.position;
    match typed.pg_type() {
        PgType::Array(item) => shape(Shaping::OfLists, vec![typed], &item, shaped_of(&item), position),
        _ => typed,
    }
}

/// An array as a list, which those of other dimensions are not: 0A000.
pub fn plain(typed: Typed) -> Typed {
    let position = typed.position;
    match typed.pg_type() {
        PgType::Shaped(item) => shape(Shaping::ToLists, vec![typed], &item, array_of(&item), position),
        _ => typed,
    }
}

/// All elements of an array as a list.
pub fn flat(typed: Typed) -> Typed {
    let typed = unpacked(typed);
    let position = typed.position;
    match typed.pg_type() {
        PgType::Shaped(item) => shape(Shaping::Flat, vec![typed], &item, array_of(&item), position),
        _ => typed,
    }
}

/// An array of any dimensions with its elements as another type.
fn recast(typed: Typed, item: &PgType) -> Typed {
    let position = typed.position;
    let from = typed.pg_type().item().cloned().unwrap_or(PgType::Text);
    shape(Shaping::Recast(from), vec![typed], item, shaped_of(item), position)
}

/// The text that an array is read from, of JSON.
pub fn literal_of_json(json: Typed, item: &PgType) -> Typed {
    let position = json.position;
    shape(Shaping::OfJson, vec![json], item, PgType::Text, position)
}

/// Lists of arrays that an aggregate has gathered, as one array each; other values as they are.
pub fn gathered(typed: Typed) -> Typed {
    let position = typed.position;
    match typed.pg_type() {
        PgType::Array(inner) => match *inner {
            PgType::Shaped(item) => shape(Shaping::Gathered, vec![typed], &item, shaped_of(&item), position),
            _ => typed,
        },
        _ => typed,
    }
}

impl Analyzer<'_> {
    /// A vector as an array.
    pub fn cast_vector(&self, typed: Typed, item: &PgType, wanted: &PgType, context: CastContext) -> Result<Typed> {
        let position = typed.position;
        // Its field says that it is a vector.
        let array = recast(unpacked(typed), item);
        self.cast(Typed::new(array.expr, shaped_of(item), position), wanted, context)
    }

    /// Vectors are compared as the arrays that they are; a text beside one is one.
    pub fn unpack_vectors(&self, left: Typed, right: Typed) -> Result<(Typed, Typed)> {
        let vector = |typed: &Typed| Some(typed.pg_type()).filter(|known| known.vector_item().is_some());
        let (left, right) = match (vector(&left), vector(&right)) {
            (None, None) => return Ok((left, right)),
            (Some(known), None) if right.is_unknown() => (left, self.coerce(right, &known)?),
            (None, Some(known)) if left.is_unknown() => (self.coerce(left, &known)?, right),
            _ => (left, right),
        };
        Ok((unpacked(left), unpacked(right)))
    }

    /// Two arrays in one form.
    pub fn same_form(&self, left: Typed, right: Typed) -> (Typed, Typed) {
        match is_shaped(&left) || is_shaped(&right) {
            true => (shaped(left), shaped(right)),
            false => (left, right),
        }
    }

    /// An array without elements.
    pub fn empty_shaped(&self, item: &PgType, position: Option<usize>) -> Result<Typed> {
        let pg_type = shaped_of(item);
        let array = scalar_from_text(&pg_type, "{}", &InputStyle::default())?;
        let value = ScalarValue::try_from_array(&array, 0)?;
        Ok(Typed::new(literal(value, &pg_type), pg_type, position))
    }

    /// An array of any dimensions as another type, or a list as such an array of another type.
    pub fn cast_shaped(&self, typed: Typed, wanted: &PgType, context: CastContext) -> Result<Typed> {
        let position = typed.position;
        let from = typed.pg_type();
        match (&from, wanted.item()) {
            (PgType::Shaped(of), None) => {
                let text = shape(Shaping::Text, vec![typed], of, PgType::Text, position);
                self.cast(text, wanted, context)
            }
            // A value that only loses its modifier stays as it is.
            (PgType::Shaped(of), Some(item))
                if of.oid() == item.oid() && (of.as_ref() == item || *item == item.bare()) =>
            {
                Ok(Typed::new(typed.expr, shaped_of(item), position))
            }
            (PgType::Shaped(of), Some(item)) => {
                let what = Shaping::Recast(of.as_ref().clone());
                Ok(shape(what, vec![typed], item, shaped_of(item), position))
            }
            (_, Some(item)) => Ok(shaped(self.cast(typed, &array_of(item), context)?)),
            (_, None) => Ok(typed),
        }
    }

    /// A subscript of an array.
    pub fn array_index(&self, expr: &ast::Expr, scope: &Scope) -> Result<Typed> {
        let index = self.expr(expr, scope)?;
        if !kinds::can_coerce(index.oid(), kinds::INT4, CastContext::Assignment) {
            let message = "array subscript must have type integer";
            return Err(at(SqlError::new(state::DATATYPE_MISMATCH, message), index.position));
        }
        self.cast(index, &PgType::Int4, CastContext::Assignment)
    }

    /// `a[1][2]`, `a[1:2][:3]`: all subscripts of an array.
    pub fn subscripts(&self, typed: Typed, subscripts: &[&Subscript], scope: &Scope) -> Result<Typed> {
        let position = typed.position;
        let typmod = typed.typmod;
        let pg_type = typed.pg_type();
        let item = pg_type.item().expect("it is an array").clone();
        if subscripts.len() > DIMENSIONS_MAX {
            return Err(at(too_many_dimensions(subscripts.len()), position));
        }
        let is_slice = subscripts
            .iter()
            .any(|subscript| matches!(subscript, Subscript::Slice { .. }));
        let mut given = Vec::with_capacity(subscripts.len());
        let mut arguments = vec![shaped(typed)];
        let mut bound = |expr: Option<&ast::Expr>| -> Result<bool> {
            if let Some(expr) = expr {
                arguments.push(self.array_index(expr, scope)?);
            }
            Ok(expr.is_some())
        };
        let one = ast::Expr::Value(ast::Value::Number("1".to_string(), false).into());
        for subscript in subscripts {
            given.push(match subscript {
                Subscript::Index { index } if is_slice => (bound(Some(&one))?, bound(Some(index))?),
                Subscript::Index { index } => (bound(Some(index))?, false),
                Subscript::Slice {
                    lower_bound,
                    upper_bound,
                    stride: None,
                } => (bound(lower_bound.as_ref())?, bound(upper_bound.as_ref())?),
                Subscript::Slice { .. } => {
                    return Err(at(
                        SqlError::new(state::SYNTAX_ERROR, "a slice has two bounds"),
                        position,
                    ));
                }
            });
        }
        let made = match is_slice {
            true => shape(Shaping::Slice(given), arguments, &item, shaped_of(&item), position),
            false => shape(Shaping::Element, arguments, &item, item.clone(), position),
        };
        Ok(made.modified(typmod))
    }

    /// `ARRAY[a, b]` of arrays, which are of one type.
    pub fn nested_array(&self, arrays: Vec<Typed>, item: &PgType, position: Option<usize>) -> Typed {
        shape(Shaping::Nested, arrays, item, shaped_of(item), position)
    }

    /// `array_fill(element, extents, lower bounds)`, unless it surely makes a list.
    pub fn filled_array(
        &self,
        function: &Arc<ScalarUDF>,
        arguments: &[Typed],
        position: Option<usize>,
    ) -> Result<Option<Typed>> {
        let is_one = |typed: &Typed, is: &dyn Fn(&Expr) -> bool| match constants(&typed.expr) {
            Ok(Some(items)) => matches!(items.as_slice(), [only] if is(only)),
            _ => false,
        };
        let is_from_one = |expr: &Expr| matches!(expr, Expr::Literal(ScalarValue::Int32(Some(1)), _));
        let [element, extents, lowers @ ..] = arguments else {
            return Ok(None);
        };
        let item = element.pg_type();
        if item.item().is_some() {
            let message = format!("could not find array type for data type {}", item.name());
            return Err(at(SqlError::new(state::UNDEFINED_OBJECT, message), element.position));
        }
        if is_one(extents, &|_| true) && lowers.iter().all(|lowers| is_one(lowers, &is_from_one)) {
            return Ok(None);
        }
        let one_dimension = arguments[1..].iter().all(|numbers| !is_shaped(numbers));
        if !one_dimension {
            return Err(
                subscript_error("wrong number of array subscripts").detail("Dimension array must be one dimensional.")
            );
        }
        let numbers: Vec<Typed> = arguments[1..].to_vec();
        let mut given = vec![element.clone()];
        given.extend(numbers.iter().cloned());
        let list = self.called(function.clone(), given, &array_of(&item), position)?;
        let mut given = vec![list];
        given.extend(numbers);
        Ok(Some(shape(Shaping::Fill, given, &item, shaped_of(&item), position)))
    }

    /// A call with an array of any dimensions among its arguments.
    pub fn shaped_call(
        &self,
        function: Arc<ScalarUDF>,
        arguments: Vec<Typed>,
        result: &PgType,
        position: Option<usize>,
    ) -> Result<Typed> {
        let again = |arguments: Vec<Typed>| self.call_of(function.clone(), arguments, result, position);
        let (what, made) = match function.name() {
            "array_lower" => (Shaping::Lower, PgType::Int4),
            "array_upper" => (Shaping::Upper, PgType::Int4),
            "array_length" => (Shaping::Length, PgType::Int4),
            "array_ndims" => (Shaping::Dimensions, PgType::Int4),
            "array_dims" => (Shaping::Bounds, PgType::Text),
            "array_position" => (Shaping::Position, PgType::Int4),
            "array_positions" => (Shaping::Positions, array_of(&PgType::Int4)),
            "array_cat" => (Shaping::Cat, result.clone()),
            "array_append" => (Shaping::Append, result.clone()),
            "array_prepend" => (Shaping::Prepend, result.clone()),
            "array_remove" => (Shaping::Remove, result.clone()),
            "trim_array" => (Shaping::Trim, result.clone()),
            // The same for all elements, in any dimensions.
            "array_replace" => {
                let array = arguments[0].clone();
                let replaced = again(arguments.into_iter().map(flat).collect())?;
                let item = replaced.pg_type().item().expect("it is an array").clone();
                return Ok(shape(
                    Shaping::Reshaped,
                    vec![replaced, array],
                    &item,
                    shaped_of(&item),
                    position,
                ));
            }
            "array_to_string" | "cardinality" | "array_overlap" | "array_contains_all" | "array_contained" => {
                return again(arguments.into_iter().map(flat).collect());
            }
            "concat" | "concat_ws" | "format" | "quote_literal" | "quote_nullable" => {
                let texts = arguments.into_iter().map(|typed| match is_shaped(&typed) {
                    true => self.cast(typed, &PgType::Text, CastContext::Assignment),
                    false => Ok(typed),
                });
                return again(texts.collect::<Result<_>>()?);
            }
            name if takes_any(name) => return self.called(function, arguments, result, position),
            _ => return again(arguments.into_iter().map(plain).collect()),
        };
        // The elements of all arrays are of one type, and so are the values that they are compared or joined with.
        let mut items = arguments.iter().filter_map(|typed| typed.pg_type().item().cloned());
        let first = items.next().expect("one of them is an array");
        let item = match items.all(|item| item == first) {
            true => first,
            false => first.bare(),
        };
        let takes_elements = matches!(
            what,
            Shaping::Append | Shaping::Prepend | Shaping::Position | Shaping::Positions | Shaping::Remove
        );
        let mut given = Vec::with_capacity(arguments.len());
        for typed in arguments {
            given.push(match typed.pg_type().item() {
                Some(_) => shaped(self.cast_shaped(typed, &shaped_of(&item), CastContext::Implicit)?),
                None if takes_elements && (typed.oid() == item.oid() || typed.oid() != kinds::INT4) => {
                    self.unify_one(typed, &item)?
                }
                None => typed,
            });
        }
        let made = match made.item() {
            Some(_) if what != Shaping::Positions => shaped_of(&item),
            _ => made,
        };
        Ok(shape(what, given, &item, made, position))
    }
}

/// Functions that take arrays as they take any value.
fn takes_any(name: &str) -> bool {
    matches!(
        name,
        "to_json"
            | "to_jsonb"
            | "array_to_json"
            | "row_to_json"
            | "json_build_array"
            | "json_build_object"
            | "jsonb_build_array"
            | "jsonb_build_object"
            | "num_nulls"
            | "num_nonnulls"
    )
}

/// The elements of an array that are written out.
pub fn constants(array: &Expr) -> Result<Option<Vec<Expr>>> {
    match array {
        Expr::Literal(ScalarValue::List(list), _) if list.is_valid(0) => {
            let items = list.value(0);
            let items = (0..items.len()).map(|at| {
                let value = ScalarValue::try_from_array(&items, at)?;
                Ok(Expr::Literal(value, None))
            });
            Ok(Some(items.collect::<Result<_>>()?))
        }
        Expr::ScalarFunction(call) if call.func.name() == "make_array" => Ok(Some(call.args.clone())),
        _ => Ok(None),
    }
}
