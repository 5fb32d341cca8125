//! Rows: comparisons field by field, whole rows as values, access to fields and elements; arrays.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{InList, ScalarFunction};
use datafusion::logical_expr::{Expr, Operator, when};
use sqlparser::ast::{self, AccessExpr, Spanned, Subscript};

use super::kinds;
use super::modifier;
use super::operators::{binary, comparison, conjunction, truth};
use super::scope::{FromItem, Scope};
use super::typed::{Shape, Ty, Typed, at, cast_to, literal, sort_key};
use super::{Analyzer, Result};
use crate::error::{SqlError, state};
use crate::sql::functions::quantified;
use crate::sql::functions::told::told;
use crate::sql::plan::names::fold;
use crate::sql::statement::mark;
use crate::types::PgType;

impl Analyzer<'_> {
    /// `(a, b) = (c, d)`: with SQL's logic of NULLs.
    pub fn compare_rows(&self, symbol: &str, left: Typed, right: Typed, place: Option<usize>) -> Result<Typed> {
        let position = left.position;
        if symbol == "||" {
            let is_array = |typed: &Typed| matches!(typed.ty, Ty::Rows(_));
            let appends = match (is_array(&left), is_array(&right)) {
                (true, true) => Some("array_cat"),
                (true, false) => Some("array_append"),
                (false, true) => Some("array_prepend"),
                (false, false) => None,
            };
            if let Some(name) = appends {
                return self.named_call(name, vec![left, right], position);
            }
            let text = |typed: Typed| match typed.has_rows() {
                true => self.row_text(&typed),
                false => Ok(typed),
            };
            return self.binary(symbol, text(left)?, text(right)?, place);
        }
        // Beside NULL nothing is known of a row, but whether it is one.
        if comparison(symbol).is_some() && (left.is_null() || right.is_null()) {
            let row = if left.is_null() { &right } else { &left };
            let value = Box::new(self.row_value(row)?.expr);
            return Ok(Typed::boolean(
                match symbol {
                    "IS DISTINCT FROM" => Expr::IsNotNull(value),
                    "IS NOT DISTINCT FROM" => Expr::IsNull(value),
                    _ => truth(None),
                },
                position,
            ));
        }
        let (Some(left_fields), Some(right_fields)) = (left.fields(), right.fields()) else {
            let message = format!(
                "operator does not exist: {} {symbol} {}",
                left.type_name(),
                right.type_name()
            );
            return Err(at(
                SqlError::new(state::UNDEFINED_FUNCTION, message).hint(
                    "No operator matches the given name and argument types. You might need to add explicit type casts.",
                ),
                place,
            ));
        };
        if left_fields.len() != right_fields.len() {
            return Err(at(
                SqlError::new(state::SYNTAX_ERROR, "unequal number of entries in row expressions"),
                place,
            ));
        }
        if left_fields.is_empty() {
            return Err(at(
                SqlError::new(state::FEATURE_NOT_SUPPORTED, "cannot compare rows of zero length"),
                place,
            ));
        }
        let pairs = || left_fields.iter().zip(right_fields);
        let each = |symbol: &str| -> Result<Vec<Expr>> {
            pairs()
                .map(|((_, left), (_, right))| Ok(self.binary(symbol, left.clone(), right.clone(), place)?.expr))
                .collect()
        };
        let joined = |all: Vec<Expr>, operator: Operator| {
            all.into_iter()
                .reduce(|left, right| binary(left, operator, right))
                .expect("a row has fields")
        };
        let made = match symbol {
            "=" | "IS NOT DISTINCT FROM" => joined(each(symbol)?, Operator::And),
            "<>" | "!=" | "IS DISTINCT FROM" => joined(each(symbol)?, Operator::Or),
            "<" | "<=" | ">" | ">=" => {
                // The first fields that differ decide.
                let strict = &symbol[..1];
                let mut all: Vec<(Typed, Typed)> = pairs()
                    .map(|((_, left), (_, right))| (left.clone(), right.clone()))
                    .collect();
                let (left, right) = all.pop().expect("a row has fields");
                let mut made = self.binary(symbol, left, right, place)?.expr;
                while let Some((left, right)) = all.pop() {
                    let decides = self.binary(strict, left.clone(), right.clone(), place)?.expr;
                    let equal = self.binary("=", left, right, place)?.expr;
                    let later = binary(equal, Operator::And, made);
                    made = binary(decides, Operator::Or, later);
                }
                made
            }
            _ => {
                let message = format!("operator does not exist: record {symbol} record");
                return Err(at(SqlError::new(state::UNDEFINED_FUNCTION, message), place));
            }
        };
        Ok(Typed::boolean(made, position))
    }

    /// The row of an item that is named: `t.*` as an argument.
    pub fn item_row(&self, idents: &[ast::Ident], scope: &Scope) -> Result<Typed> {
        let Some(last) = idents.last() else {
            return Err(SqlError::new(
                state::SYNTAX_ERROR,
                "row expansion via \"*\" is not supported here",
            ));
        };
        let name = fold(last);
        let position = self.position(last.span);
        let (mut level, mut depth) = (Some(scope), 0);
        while let Some(scope) = level {
            if let Some(item) = scope.items.iter().find(|item| item.name.as_deref() == Some(&name)) {
                return self.row_of(item, depth, position);
            }
            level = scope.parent;
            depth += 1;
        }
        Err(at(
            SqlError::new(
                state::UNDEFINED_TABLE,
                format!("missing FROM-clause entry for table \"{name}\""),
            ),
            position,
        ))
    }

    fn row_of(&self, item: &FromItem, depth: usize, position: Option<usize>) -> Result<Typed> {
        let columns = item.columns.iter().filter(|column| !column.hidden);
        let fields = columns.map(|column| {
            let field = self.found(column, depth, position)?;
            Ok((column.name.clone(), field))
        });
        Ok(self.present_row(item, fields.collect::<Result<_>>()?, position))
    }

    /// A row as a value that is ordered as the row is: field by field.
    pub fn row_order(&self, row: &Typed) -> Result<Typed> {
        let fields = row.fields().unwrap_or_default().iter().map(|(name, field)| {
            let field = match field.ty {
                Ty::Row(_) => self.row_order(field)?,
                _ => self.settle(field.clone())?,
            };
            Ok((
                name.clone(),
                match field.ty {
                    // A length is a number.
                    Ty::Of(PgType::Interval) => Typed {
                        expr: sort_key(field.clone()),
                        ty: Ty::Of(PgType::Numeric(Some((38, 0)))),
                        ..field
                    },
                    Ty::Of(PgType::Shaped(_)) => Typed {
                        expr: sort_key(field.clone()),
                        ty: Ty::Of(PgType::Bytea),
                        ..field
                    },
                    _ => field,
                },
            ))
        });
        let ty = Ty::Row(fields.collect::<Result<_>>()?);
        self.row_value(&Typed { ty, ..row.clone() })
    }

    /// The argument of `count(row)`: NULL where an outer join found no row.
    pub fn row_presence(&self, row: &Typed) -> Typed {
        let expr = match &row.expr {
            Expr::Literal(..) => Expr::Literal(ScalarValue::Int64(Some(1)), None),
            present => present.clone(),
        };
        Typed::new(expr, PgType::Int8, row.position)
    }

    /// `a.b.c[1]`, `(row).field`, `(array)[2:3]`
    pub fn access(&self, root: &ast::Expr, chain: &[AccessExpr], scope: &Scope) -> Result<Typed> {
        let mut chain = chain;
        // The names before the first bracket are one name.
        let mut typed = match root {
            ast::Expr::Identifier(first) => {
                let mut idents = vec![first.clone()];
                while let [AccessExpr::Dot(ast::Expr::Identifier(next)), rest @ ..] = chain {
                    idents.push(next.clone());
                    chain = rest;
                }
                match idents.as_slice() {
                    [only] => self.column(only, scope)?,
                    all => self.qualified(all, scope)?,
                }
            }
            other => self.expr(other, scope)?,
        };
        let mut rest = chain;
        while let [access, after @ ..] = rest {
            rest = after;
            typed = super::arrays::unpacked(typed);
            typed = match access {
                // All subscripts of an array are one access to it.
                AccessExpr::Subscript(first) if typed.pg_type().item().is_some() => {
                    let mut all = vec![first];
                    while let [AccessExpr::Subscript(next), after @ ..] = rest {
                        all.push(next);
                        rest = after;
                    }
                    match (typed.pg_type(), all.as_slice()) {
                        (PgType::Array(_), [only]) => self.subscript(typed, only, scope)?,
                        _ => self.subscripts(typed, &all, scope)?,
                    }
                }
                AccessExpr::Dot(ast::Expr::Identifier(field)) => self.field(typed, field)?,
                AccessExpr::Dot(other) => {
                    let message = format!("syntax error at or near \"{other}\"");
                    return Err(SqlError::new(state::SYNTAX_ERROR, message));
                }
                AccessExpr::Subscript(subscript) => self.subscript(typed, subscript, scope)?,
            };
        }
        Ok(typed)
    }

    fn field(&self, row: Typed, field: &ast::Ident) -> Result<Typed> {
        let name = fold(field);
        let position = self.position(field.span);
        if name == mark::ALL_FIELDS {
            return match row.fields() {
                Some(_) => Ok(row),
                None => Err(at(
                    SqlError::new(
                        state::WRONG_OBJECT_TYPE,
                        format!("type {} is not composite", row.type_name()),
                    ),
                    row.position,
                )),
            };
        }
        let Some(fields) = row.fields() else {
            return Err(at(
                SqlError::new(
                    state::WRONG_OBJECT_TYPE,
                    format!(
                        "column notation .{name} applied to type {}, which is not a composite type",
                        row.type_name()
                    ),
                ),
                position,
            ));
        };
        match fields.iter().find(|(known, _)| *known == name) {
            Some((_, field)) => Ok(field.clone()),
            None => Err(at(
                SqlError::new(
                    state::UNDEFINED_COLUMN,
                    format!("could not identify column \"{name}\" in record data type"),
                ),
                position,
            )),
        }
    }

    fn subscript(&self, typed: Typed, subscript: &Subscript, scope: &Scope) -> Result<Typed> {
        let position = typed.position;
        if typed.pg_type() == PgType::Name {
            return self.byte_of_name(typed, subscript, scope);
        }
        let item = match typed.pg_type() {
            _ if matches!(typed.ty, Ty::Rows(_)) => PgType::Text,
            PgType::Array(item) => *item,
            PgType::Jsonb => {
                let Subscript::Index { index } = subscript else {
                    return Err(at(
                        SqlError::new(state::DATATYPE_MISMATCH, "jsonb subscript does not support slices"),
                        position,
                    ));
                };
                let index = self.expr(index, scope)?;
                // A text is the key of an object or, in digits, the place in an array.
                let digits = |text: &str| text.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit());
                if index.literal().is_some_and(|text| !text.is_empty() && digits(text)) {
                    let key = self.coerce(index, &PgType::Text)?;
                    let path = self.make_array(vec![key], &PgType::Text, position)?;
                    return self.binary("#>", typed, path, position);
                }
                return self.binary("->", typed, index, position);
            }
            _ => {
                let message = format!(
                    "cannot subscript type {} because it does not support subscripting",
                    typed.type_name()
                );
                return Err(at(SqlError::new(state::DATATYPE_MISMATCH, message), position));
            }
        };
        let bound = |expr: &ast::Expr| -> Result<Typed> {
            let index = self.array_index(expr, scope)?;
            self.cast(index, &PgType::Int8, kinds::CastContext::Implicit)
        };
        match subscript {
            Subscript::Index { index } => {
                let index = bound(index)?;
                let element =
                    datafusion::functions_nested::expr_fn::array_element(typed.expr.clone(), index.expr.clone());
                // The engine counts from the end below 1, where PostgreSQL has nothing.
                let counts = matches!(&index.expr, Expr::Literal(ScalarValue::Int64(Some(index)), _) if *index >= 1);
                let expr = match counts {
                    true => element,
                    false => {
                        let one = Expr::Literal(ScalarValue::Int64(Some(1)), None);
                        when(binary(index.expr, Operator::GtEq, one), element).end()?
                    }
                };
                Ok(match typed.ty {
                    Ty::Rows(fields) => Shape::Row(fields).over(expr, position),
                    _ => Typed::new(told(expr, &item), item, position).modified(typed.typmod),
                })
            }
            Subscript::Slice {
                lower_bound,
                upper_bound,
                stride,
            } => {
                if stride.is_some() {
                    return Err(at(
                        SqlError::new(state::SYNTAX_ERROR, "a slice has two bounds"),
                        position,
                    ));
                }
                let one = literal(ScalarValue::Int64(Some(1)), &PgType::Int8);
                let lower = match lower_bound {
                    Some(lower) => {
                        let lower = bound(lower)?.expr;
                        let function = self.scalar("greatest").expect("it is the engine's");
                        Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![lower, one]))
                    }
                    None => one,
                };
                let upper = match upper_bound {
                    Some(upper) => {
                        let upper = bound(upper)?.expr;
                        let zero = literal(ScalarValue::Int64(Some(0)), &PgType::Int8);
                        let function = self.scalar("greatest").expect("it is the engine's");
                        Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![upper, zero]))
                    }
                    None => {
                        let function = self.scalar("cardinality").expect("it is the engine's");
                        let count = Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![typed.expr.clone()]));
                        super::typed::cast_to(count, &PgType::Int8)
                    }
                };
                let expr = datafusion::functions_nested::expr_fn::array_slice(typed.expr, lower, upper, None);
                Ok(Typed {
                    expr,
                    ty: typed.ty,
                    position,
                    typmod: typed.typmod,
                })
            }
        }
    }

    /// `name[0]`: a NAME is an array of 64 `"char"`, of which those behind its text are empty.
    fn byte_of_name(&self, name: Typed, subscript: &Subscript, scope: &Scope) -> Result<Typed> {
        const NAME_BYTES: i32 = 64;
        let position = name.position;
        let Subscript::Index { index } = subscript else {
            let message = "slices of fixed-length arrays not implemented";
            return Err(at(SqlError::new(state::FEATURE_NOT_SUPPORTED, message), position));
        };
        let index = self.array_index(index, scope)?;
        let number = |value: i32| literal(ScalarValue::Int32(Some(value)), &PgType::Int4);
        let within = binary(
            binary(index.expr.clone(), Operator::GtEq, number(0)),
            Operator::And,
            binary(index.expr.clone(), Operator::Lt, number(NAME_BYTES)),
        );
        let place = Typed::new(binary(index.expr, Operator::Plus, number(1)), PgType::Int4, position);
        let text = self.cast(name, &PgType::Text, kinds::CastContext::Explicit)?;
        let one = Typed::new(number(1), PgType::Int4, position);
        let letter = self.named_call("substr", vec![text, place, one], position)?;
        let letter = self.cast(letter, &PgType::InternalChar, kinds::CastContext::Explicit)?;
        let expr = when(within, letter.expr).end()?;
        Ok(Typed::new(
            told(expr, &PgType::InternalChar),
            PgType::InternalChar,
            position,
        ))
    }

    /// `ARRAY[...]`; without elements of the type that a cast around it says.
    pub fn array(
        &self,
        array: &ast::Array,
        wanted: Option<&PgType>,
        scope: &Scope,
        position: Option<usize>,
    ) -> Result<Typed> {
        let mut elements = Vec::with_capacity(array.elem.len());
        for element in &array.elem {
            elements.push(match element {
                ast::Expr::Array(inner) => self.array(inner, wanted, scope, self.position(element.span()))?,
                other => self.expr(other, scope)?,
            });
        }
        let wanted_item = wanted.and_then(PgType::item).cloned();
        if elements.is_empty() {
            let Some(item) = wanted_item else {
                return Err(at(
                    SqlError::new(state::INDETERMINATE_DATATYPE, "cannot determine type of empty array")
                        .hint("Explicitly cast to the desired type, for example ARRAY[]::integer[]."),
                    position,
                ));
            };
            return self.empty_array(&item, position);
        }
        // A cast of the array is one of each element. Arrays within it are cast with it.
        if let Some(item) = &wanted_item {
            let is_single = |typed: &Typed| {
                let pg_type = typed.pg_type();
                typed.is_unknown() || !typed.has_rows() && pg_type.item().is_none() && pg_type.vector_item().is_none()
            };
            if elements.iter().all(is_single) {
                elements = elements
                    .into_iter()
                    .map(|typed| self.cast(typed, item, kinds::CastContext::Explicit))
                    .collect::<Result<_>>()?;
            }
        }
        if elements.iter().any(Typed::has_rows) {
            let (rows, shape) = self.unify_values(elements, "ARRAY")?;
            return self.array_of_rows(rows, shape, position);
        }
        let common = self.common_type(&elements, "ARRAY")?;
        let typmod = modifier::shared(&elements, &common);
        let elements = self.unified(elements, &common)?;
        let made = match common.item() {
            Some(item) => self.nested_array(elements, item, position),
            None => self.make_array(elements, &common, position)?,
        };
        Ok(made.modified(typmod))
    }

    pub fn make_array(&self, elements: Vec<Typed>, item: &PgType, position: Option<usize>) -> Result<Typed> {
        let array = PgType::Array(Box::new(item.clone()));
        let function = self
            .scalar("~make_array")
            .expect("it is one of the engine's that we use");
        let exprs = elements.into_iter().map(|typed| typed.expr).collect();
        let expr = Expr::ScalarFunction(ScalarFunction::new_udf(function, exprs));
        Ok(Typed::new(expr, array, position))
    }

    pub fn empty_array(&self, item: &PgType, position: Option<usize>) -> Result<Typed> {
        let array = PgType::Array(Box::new(item.clone()));
        let empty = arrow::array::new_empty_array(&item.arrow());
        let DataType::List(field) = array.arrow() else {
            unreachable!("an array is a list")
        };
        let list = arrow::array::ListArray::new(field, arrow::buffer::OffsetBuffer::from_lengths([0]), empty, None);
        let value = ScalarValue::List(Arc::new(list));
        Ok(Typed::new(literal(value, &array), array, position))
    }

    /// `value symbol ANY (array)`, `value symbol ALL (array)`, with SQL's logic of NULLs.
    pub fn any_of_array(
        &self,
        symbol: &str,
        value: Typed,
        array: Typed,
        all: bool,
        place: Option<usize>,
    ) -> Result<Typed> {
        let position = value.position;
        let array = match &array.ty {
            Ty::Unknown => {
                let item = match value.ty {
                    Ty::Of(ref pg_type) => pg_type.bare(),
                    _ => PgType::Text,
                };
                let item = match symbol {
                    "~~" | "!~~" | "~~*" | "!~~*" | "~" | "!~" | "~*" | "!~*" => PgType::Text,
                    _ => item,
                };
                self.cast(array, &PgType::Array(Box::new(item)), kinds::CastContext::Implicit)?
            }
            _ => array,
        };
        let array = super::arrays::flat(array);
        let PgType::Array(item) = array.pg_type() else {
            return Err(at(
                SqlError::new(
                    state::WRONG_OBJECT_TYPE,
                    "op ANY/ALL (array) requires array on right side",
                ),
                place,
            ));
        };
        // Typed as one element would be.
        let element = Typed::new(Expr::Column("element".into()), (*item).clone(), None);
        let looked_up = if symbol == "!=" { "<>" } else { symbol };
        let chosen = super::choose::binary(looked_up, value.oid(), element.oid())
            .map_err(|failure| super::operators::undefined(failure, looked_up, Some(&value), &element, place))?;
        if chosen.is_lacking {
            return Err(at(super::operators::not_yet_operator(symbol, &value, &element), place));
        }
        if chosen.result != kinds::BOOL {
            return Err(at(
                SqlError::new(
                    state::WRONG_OBJECT_TYPE,
                    "op ANY/ALL (array) requires operator to yield boolean",
                ),
                place,
            ));
        }
        let value = self.operand(value, chosen.left)?;
        let item_wanted = PgType::from_oid(chosen.right).unwrap_or((*item).clone());
        let array = match item_wanted.oid() == item.oid() {
            true => array,
            false => {
                let wanted = match (&item_wanted, item.as_ref()) {
                    (PgType::Numeric(None), whole) => match self.unify_one(
                        Typed::new(Expr::Column("element".into()), whole.clone(), None),
                        &PgType::Numeric(None),
                    ) {
                        Ok(typed) => typed.pg_type(),
                        Err(_) => item_wanted.clone(),
                    },
                    _ => item_wanted.clone(),
                };
                self.cast(array, &PgType::Array(Box::new(wanted)), kinds::CastContext::Explicit)?
            }
        };
        let (value, array) = self.same_elements(value, array)?;
        if let (Some(Operator::Eq), false) | (Some(Operator::NotEq), true) = (comparison(symbol), all)
            && let Some(elements) = super::arrays::constants(&array.expr)?
            && elements.iter().all(super::expr::is_listable)
            && value.pg_type() != PgType::Interval
        {
            if elements.is_empty() {
                return Ok(Typed::boolean(truth(Some(all)), position));
            }
            let list = InList::new(Box::new(value.expr), elements, all);
            return Ok(Typed::boolean(Expr::InList(list), position));
        }
        let Some(function) = quantified::function(symbol, all) else {
            return Err(at(
                SqlError::unsupported(
                    format!("{symbol} ANY and ALL of an array are not supported"),
                    "Use unnest() in a subquery.",
                ),
                place,
            ));
        };
        let expr = Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![value.expr, array.expr]));
        Ok(Typed::boolean(expr, position))
    }

    /// A number and an array of numbers, of one scale or all of scales of their own.
    fn same_elements(&self, value: Typed, array: Typed) -> Result<(Typed, Typed)> {
        let of_value = value.pg_type();
        let PgType::Array(item) = array.pg_type() else {
            return Ok((value, array));
        };
        match (&of_value, item.as_ref()) {
            (PgType::Numeric(a), PgType::Numeric(b)) if a != b => {
                let varying = PgType::Numeric(None);
                let position = value.position;
                let value = Typed::new(cast_to(value.expr, &varying), varying.clone(), position);
                let array = self.cast(array, &PgType::Array(Box::new(varying)), kinds::CastContext::Explicit)?;
                Ok((value, array))
            }
            _ => Ok((value, array)),
        }
    }

    /// Rows of a subquery against a value, by an operator that is no order: `LIKE ANY (SELECT ...)`, `(a, b) IN (...)`.
    pub fn decided_by(&self, matches: Expr, undecided: Expr, all: bool) -> Result<Expr> {
        let decided = when(matches, truth(Some(!all)))
            .when(undecided, truth(None))
            .otherwise(truth(Some(all)))?;
        Ok(decided)
    }
}

/// Conditions that must all hold.
pub fn all_of(conditions: Vec<Expr>) -> Expr {
    conjunction(conditions).unwrap_or_else(|| truth(Some(true)))
}
