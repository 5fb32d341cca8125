//! Rows as values: their fields, the fields that several have in common, and arrays of them.
//!
//! One rule: a row that is a value is a struct of the plan, NULL if the row as a whole is; each field of it has its
//! type.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, when};

use super::kinds::{self, CastContext};
use super::typed::{Shape, Ty, Typed, at, literal};
use super::{Analyzer, Result};
use crate::error::{SqlError, state};
use crate::sql::functions::{KeyKind, is_row, make_row, record_text};
use crate::types::PgType;

impl Analyzer<'_> {
    /// A row as a value of the plan: a struct of its fields.
    pub fn row_value(&self, row: &Typed) -> Result<Typed> {
        let Some(fields) = row.fields() else {
            return self.settle(row.clone());
        };
        match is_struct(row) {
            true => Ok(row.clone()),
            false => self.made_row(row, fields),
        }
    }

    /// A struct of fields, which is NULL where a row is.
    fn made_row(&self, row: &Typed, fields: &[(String, Typed)]) -> Result<Typed> {
        let mut declared: Vec<FieldRef> = Vec::with_capacity(fields.len());
        let mut values = Vec::with_capacity(fields.len());
        let mut settled = Vec::with_capacity(fields.len());
        for (name, field) in fields {
            let field = match field.ty {
                Ty::Row(_) => self.row_value(field)?,
                _ => self.settle_any(field.clone())?,
            };
            declared.push(Arc::new(field.shape().field(name)));
            values.push(field.expr.clone());
            settled.push((name.clone(), field));
        }
        let presence = match &row.expr {
            Expr::Literal(..) => None,
            presence => Some(presence.clone()),
        };
        Ok(Typed {
            expr: make_row(declared, presence, values),
            ty: Ty::Row(settled),
            position: row.position,
            typmod: None,
        })
    }

    /// Rows, and arrays of them, as PostgreSQL writes them: `(1,abc)`, `{"(1,abc)"}`.
    pub fn row_text(&self, row: &Typed) -> Result<Typed> {
        if let Some((shown, pg_type)) = super::traversal::shown(&row.expr, &row.shape()) {
            let shown = Typed::new(shown, pg_type, row.position);
            return self.cast(shown, &PgType::Text, CastContext::Explicit);
        }
        let value = self.row_value(row)?;
        let expr = Expr::ScalarFunction(ScalarFunction::new_udf(record_text(), vec![value.expr]));
        Ok(Typed::new(expr, PgType::Text, row.position))
    }

    /// A row as a text that rows which are equal have in common: it shows keys where values are compared by these.
    pub fn row_key(&self, row: &Typed) -> Result<Typed> {
        let fields = row.fields().unwrap_or_default().iter().map(|(name, field)| {
            let field = match field.ty {
                Ty::Row(_) => self.row_key(field)?,
                _ => self.field_key(self.settle(field.clone())?)?,
            };
            Ok((name.clone(), field))
        });
        let value = self.made_row(row, &fields.collect::<Result<Vec<_>>>()?)?;
        let expr = Expr::ScalarFunction(ScalarFunction::new_udf(record_text(), vec![value.expr]));
        Ok(Typed::new(expr, PgType::Text, row.position))
    }

    fn field_key(&self, field: Typed) -> Result<Typed> {
        if field.has_rows() {
            return Ok(field);
        }
        let position = field.position;
        let key = |kind: KeyKind, pg_type: PgType, expr: Expr| {
            Typed::new(kind.function().call(vec![expr]), pg_type, position)
        };
        Ok(match field.pg_type() {
            PgType::Interval => key(KeyKind::Interval, PgType::Numeric(Some((38, 0))), field.expr),
            PgType::Numeric(_) => key(KeyKind::Numeric, PgType::Bytea, field.expr),
            PgType::Array(_) => key(KeyKind::Array, PgType::Bytea, field.expr),
            PgType::Shaped(_) => key(KeyKind::Shaped, PgType::Bytea, field.expr),
            PgType::Char(_) => key(KeyKind::Blanks, PgType::Text, field.expr),
            PgType::Jsonb => {
                let function = self.scalar("jsonb_sort_key").expect("it is a function of ours");
                self.call_of(function, vec![field], &PgType::Text, position)?
            }
            // Of the two zeros the sum is the one without a sign.
            PgType::Float4 | PgType::Float8 => {
                let zero = Typed::unknown(Expr::Literal(ScalarValue::from("0"), None), position);
                self.binary("+", field, zero, position)?
            }
            _ => field,
        })
    }

    /// All of several with the type that they have in common, rows as well.
    pub fn unify_values(&self, all: Vec<Typed>, what: &str) -> Result<(Vec<Typed>, Shape)> {
        if !all.iter().any(Typed::has_rows) {
            let (all, common) = self.unify(all, what)?;
            return Ok((all, Shape::Of(common)));
        }
        let mismatch = |one: &Typed, other: &Typed| {
            let message = format!(
                "{what} types {} and {} cannot be matched",
                one.type_name(),
                other.type_name()
            );
            at(SqlError::new(state::DATATYPE_MISMATCH, message), other.position)
        };
        let first = all.iter().find(|typed| typed.has_rows()).expect("one is there");
        if let Some(other) = all.iter().find(|typed| !typed.is_null() && typed.oid() != first.oid()) {
            return Err(match other.oid() {
                kinds::UNKNOWN => at(
                    SqlError::new(
                        state::FEATURE_NOT_SUPPORTED,
                        "input of anonymous composite types is not implemented",
                    ),
                    other.position,
                ),
                _ => mismatch(first, other),
            });
        }
        let shape = self.common_shape(&all, what)?;
        let unified = all
            .into_iter()
            .map(|typed| self.as_shape(typed, &shape))
            .collect::<Result<_>>()?;
        Ok((unified, shape))
    }

    /// The fields that rows have in common: those that do not go together are texts.
    fn common_shape(&self, all: &[Typed], what: &str) -> Result<Shape> {
        let shapes: Vec<Shape> = all.iter().filter(|typed| typed.has_rows()).map(Typed::shape).collect();
        let first = shapes[0].clone();
        if shapes.iter().all(|shape| *shape == first) && !matches!(first, Shape::Row(_)) {
            return Ok(first);
        }
        let rows: Vec<&[(String, Typed)]> = all.iter().filter_map(Typed::fields).collect();
        let width = rows.first().map_or(0, |fields| fields.len());
        if rows.is_empty() || rows.iter().any(|fields| fields.len() != width) {
            return Err(SqlError::unsupported(
                format!("{what} of rows with different columns is not supported"),
                "Give all rows the same columns.",
            ));
        }
        let fields = (0..width).map(|at| {
            let column: Vec<Typed> = rows.iter().map(|fields| fields[at].1.clone()).collect();
            let shape = match column.iter().any(Typed::has_rows) {
                true => self.common_shape(&column, what)?,
                false => Shape::Of(self.common_type(&column, what).unwrap_or(PgType::Text)),
            };
            Ok((rows[0][at].0.clone(), shape))
        });
        Ok(Shape::Row(fields.collect::<Result<_>>()?))
    }

    /// A value as one of a shape that is its own but for the names and types of fields.
    fn as_shape(&self, typed: Typed, shape: &Shape) -> Result<Typed> {
        let position = typed.position;
        if typed.is_null() {
            let null = ScalarValue::try_from(shape.field("").data_type())?;
            return Ok(shape.over(Expr::Literal(null, None), position));
        }
        match (shape, typed.fields()) {
            (Shape::Row(wanted), Some(fields)) => {
                if typed.shape() == *shape && is_struct(&typed) {
                    return Ok(typed);
                }
                let fields = fields.iter().zip(wanted).map(|((_, field), (name, shape))| {
                    let field = match shape {
                        Shape::Of(pg_type) if !field.has_rows() => {
                            let field = self.cast(field.clone(), pg_type, CastContext::Explicit)?;
                            self.unify_one(field, pg_type)?
                        }
                        shape => self.as_shape(field.clone(), shape)?,
                    };
                    Ok((name.clone(), field))
                });
                let fields: Vec<(String, Typed)> = fields.collect::<Result<_>>()?;
                self.made_row(&typed, &fields)
            }
            _ => Ok(typed),
        }
    }

    /// `coalesce`, `greatest` and `least` of rows, which are all of one shape.
    pub fn choice_of_rows(
        &self,
        name: &str,
        rows: Vec<Typed>,
        shape: &Shape,
        position: Option<usize>,
    ) -> Result<Typed> {
        let mut rows = rows.into_iter();
        let mut made = rows.next().expect("a call has arguments");
        for row in rows {
            let has_value = |typed: &Typed| typed.expr.clone().is_not_null();
            let expr = match name {
                "coalesce" => when(has_value(&made), made.expr.clone()).otherwise(row.expr.clone())?,
                _ => {
                    let symbol = if name == "greatest" { "<" } else { ">" };
                    let replaces = self.binary(symbol, made.clone(), row.clone(), position)?.expr;
                    when(made.expr.clone().is_null(), row.expr.clone())
                        .when(row.expr.clone().is_null(), made.expr.clone())
                        .when(replaces, row.expr.clone())
                        .otherwise(made.expr.clone())?
                }
            };
            made = shape.over(expr, position);
        }
        Ok(Typed { position, ..made })
    }

    /// `ARRAY[...]` of rows of one shape.
    pub fn array_of_rows(&self, rows: Vec<Typed>, shape: Shape, position: Option<usize>) -> Result<Typed> {
        let Shape::Row(fields) = shape else {
            return Err(at(crate::types::multidimensional(), position));
        };
        let function = self
            .scalar("~make_array")
            .expect("it is one of the engine's that we use");
        let exprs = rows.into_iter().map(|row| row.expr).collect();
        let expr = Expr::ScalarFunction(ScalarFunction::new_udf(function, exprs));
        Ok(Shape::Rows(fields).over(expr, position))
    }

    /// An array of rows that has none.
    pub fn empty_rows(&self, fields: &[(String, Shape)]) -> Expr {
        let DataType::List(item) = Shape::Rows(fields.to_vec()).field("").data_type().clone() else {
            unreachable!("an array is a list")
        };
        let empty = arrow::array::new_empty_array(item.data_type());
        let offsets = arrow::buffer::OffsetBuffer::from_lengths([0]);
        let list = arrow::array::ListArray::new(item, offsets, empty, None);
        literal(ScalarValue::List(Arc::new(list)), &PgType::Text)
    }

    /// The shape of a result that has the type of the arguments, if that is a row or an array of rows.
    pub fn result_shape(result: u32, arguments: &[Typed]) -> Option<Shape> {
        let rows = arguments.iter().find(|typed| typed.has_rows())?.shape();
        match (result, rows) {
            (kinds::RECORD, Shape::Row(fields) | Shape::Rows(fields)) => Some(Shape::Row(fields)),
            (kinds::RECORDS, Shape::Row(fields) | Shape::Rows(fields)) => Some(Shape::Rows(fields)),
            _ => None,
        }
    }
}

/// Whether the expression of a row is the row.
fn is_struct(row: &Typed) -> bool {
    let Some(fields) = row.fields() else { return false };
    let is_field = |(name, field): &(String, Typed)| match &field.expr {
        Expr::ScalarFunction(call) => {
            call.func.name() == "get_field"
                && matches!(call.args.as_slice(), [of, Expr::Literal(ScalarValue::Utf8(Some(field)), _)]
                    if *of == row.expr && field == name)
        }
        _ => false,
    };
    is_row(&row.expr) || (!fields.is_empty() && fields.iter().all(is_field))
}
