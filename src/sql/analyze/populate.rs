//! Rows of a relation's type or of none: `NULL::relation`, `ROW(...)::relation`, `ROW(...)::record`, and JSON as such rows (`json_populate_record` and its kind).
//!
//! One rule: a row has the fields of the relation as it is when the statement is planned, by name. Not here: rows by a column
//! definition list (`table_function.rs`).

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, when};
use sqlparser::ast::{self, FunctionArg, FunctionArgExpr, FunctionArguments};

use super::kinds::{self, CastContext};
use super::scope::Scope;
use super::typed::{Ty, Typed, at, null_of};
use super::{Analyzer, Result, rows};
use crate::error::{SqlError, state};
use crate::sql::plan::names::fold;
use crate::sql::plan::resolve::{self, Resolved};
use crate::types::{InputStyle, PgType, scalar_from_text};

/// The names and types of a row's fields.
pub type RowType = Vec<(String, PgType)>;

/// A function that gives rows of JSON.
pub struct JsonRecords {
    pub json: PgType,
    /// A row for each element of an array.
    pub of_array: bool,
}

impl JsonRecords {
    /// Functions that take the row's type from their first argument.
    pub fn populating(function: &str) -> Option<JsonRecords> {
        let (json, of_array) = match function {
            "json_populate_record" => (PgType::Json, false),
            "jsonb_populate_record" => (PgType::Jsonb, false),
            "json_populate_recordset" => (PgType::Json, true),
            "jsonb_populate_recordset" => (PgType::Jsonb, true),
            _ => return None,
        };
        Some(JsonRecords { json, of_array })
    }
}

/// Whether a written type is that of arrays of rows; `None` for one that is not of rows.
pub fn record_type(data_type: &ast::DataType) -> Option<bool> {
    if !matches!(data_type, ast::DataType::Custom(..) | ast::DataType::Array(_)) {
        return None;
    }
    let written = data_type.to_string().to_lowercase();
    match written.strip_prefix("pg_catalog.").unwrap_or(&written) {
        "record" => Some(false),
        "_record" | "record[]" => Some(true),
        _ => None,
    }
}

/// A row is of its type already; nothing else becomes one.
pub fn cast_to_record(typed: Typed, of_arrays: bool) -> Result<Typed> {
    let (wanted, is_same) = match of_arrays {
        true => ("record[]", matches!(typed.ty, Ty::Rows(_))),
        false => ("record", typed.fields().is_some()),
    };
    if is_same {
        return Ok(typed);
    }
    let position = typed.position;
    let is_text = typed.is_unknown() || kinds::category(typed.oid()) == b'S';
    if let (true, Some(text)) = (of_arrays, typed.literal()) {
        let texts = PgType::Shaped(Box::new(PgType::Text));
        scalar_from_text(&texts, text, &InputStyle::default()).map_err(|error| at(error, position))?;
    }
    if is_text && !typed.has_rows() {
        let message = "input of anonymous composite types is not implemented";
        return Err(at(SqlError::new(state::FEATURE_NOT_SUPPORTED, message), position));
    }
    let message = format!("cannot cast type {} to {wanted}", typed.type_name());
    Err(at(SqlError::new(state::CANNOT_COERCE, message), position))
}

impl Analyzer<'_> {
    /// The row type that a type is, if it is a relation's name and no type's.
    pub fn row_type(&self, data_type: &ast::DataType) -> Option<(String, RowType)> {
        let ast::DataType::Custom(name, modifiers) = data_type else {
            return None;
        };
        if !modifiers.is_empty() || self.data_type(data_type, None).is_ok() {
            return None;
        }
        let parts = name.0.iter().filter_map(|part| part.as_ident());
        let parts: Vec<String> = parts.map(fold).collect();
        let resolved = resolve::resolve(&parts, self.ctx).ok()?;
        if let Resolved::Relation(relation) = &resolved {
            self.direct.borrow_mut().insert(resolve::oid(relation));
        }
        let of = |name: &str, pg_type: &PgType| (name.to_string(), pg_type.clone());
        let fields = match &resolved {
            Resolved::Relation(relation) => {
                let columns = relation.columns().iter();
                columns.map(|column| of(&column.name, &column.pg_type)).collect()
            }
            Resolved::System(relation) => {
                let columns = relation.columns.iter();
                columns.map(|column| of(column.name, &column.pg_type)).collect()
            }
        };
        Some((resolved.full_name().1, fields))
    }

    /// A value as a row of a relation's type.
    pub fn cast_to_row(&self, typed: Typed, name: &str, columns: RowType) -> Result<Typed> {
        let position = typed.position;
        if typed.is_unknown() && typed.is_null() {
            let fields = columns.into_iter().map(|(name, pg_type)| {
                let null = Typed::new(null_of(&pg_type)?, pg_type, position);
                Ok((name, null))
            });
            return Ok(Typed::row(fields.collect::<Result<_>>()?, position));
        }
        if typed.literal().is_some() {
            let error = SqlError::unsupported(
                format!("the text of a row of type {name} cannot be read"),
                "Write ROW(...) with the values.",
            );
            return Err(at(error, position));
        }
        let refused = |detail: &str| {
            let message = format!("cannot cast type {} to {name}", typed.type_name());
            let error = SqlError::new(state::CANNOT_COERCE, message);
            at(if detail.is_empty() { error } else { error.detail(detail) }, position)
        };
        let Some(given) = typed.fields() else {
            return Err(refused(""));
        };
        if given.len() < columns.len() {
            return Err(refused("Input has too few columns."));
        }
        if given.len() > columns.len() {
            return Err(refused("Input has too many columns."));
        }
        let fields = given.iter().zip(columns).map(|((_, field), (name, pg_type))| {
            let field = self.cast(field.clone(), &pg_type, CastContext::Explicit)?;
            Ok((name, field))
        });
        Ok(Typed {
            expr: typed.expr.clone(),
            ..Typed::row(fields.collect::<Result<_>>()?, position)
        })
    }

    /// `json_populate_record(base, value)` and its kind: `base` with the fields that an object has.
    pub fn populated(
        &self,
        function: &str,
        json: &JsonRecords,
        call: &ast::Function,
        scope: &Scope,
    ) -> Result<Option<Typed>> {
        let FunctionArguments::List(list) = &call.args else {
            return Ok(None);
        };
        let [base, value, ..] = list.args.as_slice() else {
            return Ok(None);
        };
        let (FunctionArg::Unnamed(FunctionArgExpr::Expr(base)), FunctionArg::Unnamed(FunctionArgExpr::Expr(value))) =
            (base, value)
        else {
            return Ok(None);
        };
        let base = self.expr(base, scope)?;
        let Some(fields) = base.fields() else {
            let error = match base.is_unknown() {
                true => SqlError::new(
                    state::DATATYPE_MISMATCH,
                    "could not determine polymorphic type because input has type unknown",
                ),
                false => SqlError::new(
                    state::DATATYPE_MISMATCH,
                    format!("first argument of {function} must be a row type"),
                ),
            };
            return Err(error);
        };
        let value = self.coerce(self.expr(value, scope)?, &json.json)?;
        let row = self.json_row(value, json)?;
        let mut made = Vec::with_capacity(fields.len());
        for (name, field) in fields {
            let field = match field.ty {
                Ty::Of(_) => field.clone(),
                _ => self.settle(field.clone())?,
            };
            let of_json = self.json_field(&row, json, name, &field.pg_type())?;
            let is_null = matches!(&field.expr, Expr::Literal(value, _) if value.is_null());
            let expr = match is_null {
                true => of_json.expr,
                false => {
                    let key = Typed::unknown(Expr::Literal(ScalarValue::Utf8(Some(name.clone())), None), None);
                    let member = self.binary("->", row.clone(), key, None)?;
                    when(member.expr.is_not_null(), of_json.expr).otherwise(field.expr.clone())?
                }
            };
            made.push((name.clone(), Typed { expr, ..field }));
        }
        Ok(Some(Typed::row(made, None)))
    }

    /// The object that a row is made of: the value, or each element of it.
    pub fn json_row(&self, value: Typed, json: &JsonRecords) -> Result<Typed> {
        if !json.of_array {
            return Ok(value);
        }
        let elements = format!("{}_array_elements", json.json.base_name());
        let elements = self.scalar(&elements).expect("it is a function of ours");
        let list = PgType::Array(Box::new(json.json.clone()));
        let lists = self.call_of(elements, vec![value], &list, None)?;
        Ok(Typed::new(rows::marked_list(lists.expr), json.json.clone(), None))
    }

    /// A member of an object as a type.
    pub fn json_field(&self, row: &Typed, json: &JsonRecords, name: &str, wanted: &PgType) -> Result<Typed> {
        let key = Typed::unknown(Expr::Literal(ScalarValue::Utf8(Some(name.to_string())), None), None);
        let text = self.binary("->>", row.clone(), key.clone(), None)?;
        // JSON's null is NULL here.
        let member = |typed: Typed| -> Result<Typed> {
            let expr = when(text.expr.clone().is_not_null(), typed.expr.clone()).end()?;
            Ok(Typed { expr, ..typed })
        };
        let field = match wanted {
            PgType::Json | PgType::Jsonb => member(self.binary("->", row.clone(), key, None)?)?,
            PgType::Array(_) => {
                let array = member(self.binary("->", row.clone(), key, None)?)?;
                let elements = format!("{}_array_elements_text", json.json.base_name());
                let elements = self.scalar(&elements).expect("it is a function of ours");
                self.call_of(elements, vec![array], &PgType::Array(Box::new(PgType::Text)), None)?
            }
            PgType::Shaped(item) => {
                let array = member(self.binary("->", row.clone(), key, None)?)?;
                super::arrays::literal_of_json(array, item)
            }
            _ => text,
        };
        self.cast(field, wanted, CastContext::Explicit)
    }
}
