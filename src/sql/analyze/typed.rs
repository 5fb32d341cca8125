//! An expression with its PostgreSQL type, and its casts to other types.
//!
//! One rule: a quoted string, a NULL or a parameter is UNKNOWN until its context gives it a type; then the
//! string is read as that type, with the position of an error, and the parameter has that type from then on.

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::DFSchema;
use datafusion::common::ScalarValue;
use datafusion::common::metadata::FieldMetadata;
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::expr::{Cast, Placeholder, ScalarFunction};
use datafusion::logical_expr::{Expr, ExprSchemable, ReturnFieldArgs, ScalarUDF};
use std::collections::BTreeMap;
use std::sync::Arc;

use super::kinds::{self, CastContext, can_coerce};
use super::{Analyzer, Result, choose};
use crate::error::{SqlError, state};
use crate::sql::functions::KeyKind;
use crate::sql::functions::catalog::catalog_function_of_each;
use crate::sql::functions::json::normal_path;
use crate::sql::functions::told::told;
use crate::types::varying::Numeric;
use crate::types::{InputStyle, Opaque, PG_TYPE_KEY, PgType, TimeZone, has_other_shape, scalar_from_text};

/// The type of an expression.
#[derive(Clone, Debug)]
pub enum Ty {
    /// A quoted string, NULL or a parameter that nothing has given a type.
    Unknown,
    Of(PgType),
    /// A row. Its expression is a struct of the fields, or only NULL where the row as a whole is, or a literal of a row that
    /// is no value yet.
    Row(Vec<(String, Typed)>),
    /// An array of rows.
    Rows(Vec<(String, Shape)>),
}

/// The type of a value, with the fields of rows.
#[derive(Clone, PartialEq, Debug)]
pub enum Shape {
    Of(PgType),
    Row(Vec<(String, Shape)>),
    /// An array of rows.
    Rows(Vec<(String, Shape)>),
}

impl Shape {
    pub fn field(&self, name: &str) -> Field {
        let of_rows = |fields: &[(String, Shape)]| {
            let fields = fields.iter().map(|(name, shape)| shape.field(name));
            DataType::Struct(fields.collect())
        };
        match self {
            Shape::Of(pg_type) => pg_type.field(name, true),
            Shape::Row(fields) => Field::new(name, of_rows(fields), true),
            Shape::Rows(fields) => Field::new_list(name, Field::new_list_field(of_rows(fields), true), true),
        }
    }

    /// The type that a client sees.
    pub fn pg_type(&self) -> PgType {
        match self {
            Shape::Of(pg_type) => pg_type.clone(),
            Shape::Row(_) | Shape::Rows(_) => PgType::Text,
        }
    }

    /// The shape of rows and of arrays of them; `None` for a shape that is its type alone.
    pub fn of_rows(self) -> Option<Shape> {
        match self {
            Shape::Of(_) => None,
            rows => Some(rows),
        }
    }

    /// An expression of the plan that does not say itself which type it has.
    pub fn told_over(&self, expr: Expr, position: Option<usize>) -> Typed {
        let expr = match self {
            Shape::Of(pg_type) => told(expr, pg_type),
            _ => expr,
        };
        self.over(expr, position)
    }

    /// An expression of the plan that has this shape.
    pub fn over(&self, expr: Expr, position: Option<usize>) -> Typed {
        let ty = match self {
            Shape::Of(pg_type) => Ty::Of(pg_type.clone()),
            Shape::Row(fields) => {
                let fields = fields.iter().map(|(name, shape)| {
                    let field = get_field(expr.clone(), name.as_str());
                    (name.clone(), shape.over(field, position))
                });
                Ty::Row(fields.collect())
            }
            Shape::Rows(fields) => Ty::Rows(fields.clone()),
        };
        Typed {
            expr,
            ty,
            position,
            typmod: None,
        }
    }
}

/// An expression with its type.
#[derive(Clone, Debug)]
pub struct Typed {
    pub expr: Expr,
    pub ty: Ty,
    /// Its beginning in the statement.
    pub position: Option<usize>,
    /// The modifier that a client is told of NUMERIC, times and intervals: they have one where PostgreSQL's expressions have,
    /// whatever digits the plan knows.
    pub typmod: Option<i32>,
}

impl Typed {
    pub fn new(expr: Expr, pg_type: PgType, position: Option<usize>) -> Typed {
        Typed {
            expr,
            ty: Ty::Of(pg_type),
            position,
            typmod: None,
        }
    }

    pub fn unknown(expr: Expr, position: Option<usize>) -> Typed {
        Typed {
            expr,
            ty: Ty::Unknown,
            position,
            typmod: None,
        }
    }

    pub fn row(fields: Vec<(String, Typed)>, position: Option<usize>) -> Typed {
        Typed {
            expr: Expr::Literal(ScalarValue::Null, None),
            ty: Ty::Row(fields),
            position,
            typmod: None,
        }
    }

    pub fn boolean(expr: Expr, position: Option<usize>) -> Typed {
        Typed::new(expr, PgType::Bool, position)
    }

    /// The type's OID, as resolution sees it.
    pub fn oid(&self) -> u32 {
        match &self.ty {
            Ty::Unknown => kinds::UNKNOWN,
            Ty::Of(pg_type) => pg_type.oid(),
            Ty::Row(_) => kinds::RECORD,
            Ty::Rows(_) => kinds::RECORDS,
        }
    }

    /// The type's name, for errors.
    pub fn type_name(&self) -> String {
        kinds::name(self.oid())
    }

    pub fn is_unknown(&self) -> bool {
        matches!(self.ty, Ty::Unknown)
    }

    pub fn is_null(&self) -> bool {
        matches!(&self.expr, Expr::Literal(value, _) if value.is_null()) && !matches!(self.ty, Ty::Row(_))
    }

    /// The type; an unknown one is text.
    pub fn pg_type(&self) -> PgType {
        match &self.ty {
            Ty::Of(pg_type) => pg_type.clone(),
            Ty::Unknown | Ty::Row(_) | Ty::Rows(_) => PgType::Text,
        }
    }

    /// An Arrow field of its type.
    pub fn field(&self) -> FieldRef {
        Arc::new(self.shape().field(""))
    }

    pub fn fields(&self) -> Option<&[(String, Typed)]> {
        match &self.ty {
            Ty::Row(fields) => Some(fields),
            _ => None,
        }
    }

    pub fn shape(&self) -> Shape {
        match &self.ty {
            Ty::Row(fields) => {
                let fields = fields.iter().map(|(name, field)| (name.clone(), field.shape()));
                Shape::Row(fields.collect())
            }
            Ty::Rows(fields) => Shape::Rows(fields.clone()),
            Ty::Unknown | Ty::Of(_) => Shape::Of(self.pg_type()),
        }
    }

    /// Whether it is a row, or an array of rows.
    pub fn has_rows(&self) -> bool {
        matches!(self.ty, Ty::Row(_) | Ty::Rows(_))
    }

    /// The text of a string that has no type yet.
    pub fn literal(&self) -> Option<&str> {
        match (&self.ty, &self.expr) {
            (Ty::Unknown, Expr::Literal(ScalarValue::Utf8(Some(text)), _)) => Some(text),
            _ => None,
        }
    }
}

/// The metadata that says a type that Arrow alone cannot tell.
pub fn metadata(pg_type: &PgType) -> Option<FieldMetadata> {
    let is_told = PgType::of_arrow(&pg_type.arrow()).as_ref() == Some(pg_type);
    (!is_told).then(|| FieldMetadata::from(BTreeMap::from([(PG_TYPE_KEY.to_string(), pg_type.spelling())])))
}

/// A value of a type as a literal.
pub fn literal(value: ScalarValue, pg_type: &PgType) -> Expr {
    Expr::Literal(value, metadata(pg_type))
}

/// An expression over rows of a schema, as one whose field says the type.
pub fn of_type(expr: Expr, pg_type: &PgType, schema: &DFSchema) -> Expr {
    match expr.to_field(schema) {
        Ok((_, field)) if PgType::of_field(&field).as_ref() == Some(pg_type) => expr,
        _ => told(expr, pg_type),
    }
}

pub fn null_of(pg_type: &PgType) -> Result<Expr> {
    Ok(literal(ScalarValue::try_from(&pg_type.arrow())?, pg_type))
}

/// The types that a cast makes anything of, by functions over the catalog.
fn catalog_input(pg_type: &PgType) -> Option<&'static str> {
    pg_type.is_oid_alias().then(|| pg_type.base_name())
}

fn catalog_output(pg_type: &PgType) -> Option<String> {
    let by_function = pg_type.is_oid_alias() || matches!(pg_type, PgType::PgLsn | PgType::Tid);
    by_function.then(|| format!("{}out", pg_type.base_name()))
}

impl Analyzer<'_> {
    /// The expression as the type that its context wants; 42804 naming it if it does not become that by itself.
    pub fn coerce_to(&self, typed: Typed, wanted: &PgType, what: &str) -> Result<Typed> {
        if !can_coerce(typed.oid(), wanted.oid(), CastContext::Implicit) {
            let message = format!("{what} must be type {}, not type {}", wanted.name(), typed.type_name());
            return Err(at(SqlError::new(state::DATATYPE_MISMATCH, message), typed.position));
        }
        self.coerce(typed, wanted)
    }

    /// A condition.
    pub fn condition(&self, typed: Typed, clause: &str) -> Result<Expr> {
        if matches!(typed.ty, Ty::Of(PgType::Bool)) {
            return Ok(typed.expr);
        }
        Ok(self
            .coerce_to(typed, &PgType::Bool, &format!("argument of {clause}"))?
            .expr)
    }

    /// The expression as another type, which it becomes without a cast being written.
    pub fn coerce(&self, typed: Typed, wanted: &PgType) -> Result<Typed> {
        self.cast(typed, wanted, CastContext::Implicit)
    }

    /// The expression as another type. 42846 if there is no such cast.
    pub fn cast(&self, typed: Typed, wanted: &PgType, context: CastContext) -> Result<Typed> {
        let position = typed.position;
        match &typed.ty {
            Ty::Unknown => return self.read(typed, wanted, context),
            Ty::Row(_) | Ty::Rows(_) if kinds::category(wanted.oid()) == b'S' => {
                let text = self.row_text(&typed)?;
                return self.cast(text, wanted, context);
            }
            Ty::Row(_) | Ty::Rows(_) => return Err(no_cast(&typed, wanted)),
            Ty::Of(_) => {}
        }
        let from = typed.pg_type();
        if from == *wanted {
            return Ok(typed);
        }
        if !can_coerce(from.oid(), wanted.oid(), context) {
            return Err(no_cast(&typed, wanted));
        }
        let made = |expr: Expr| Typed::new(expr, wanted.clone(), position);
        if let (Some(item), Some(_)) = (from.vector_item(), wanted.item()) {
            return self.cast_vector(typed, &item, wanted, context);
        }
        // Elements get their blanks, as a value by itself does.
        let bare = PgType::Array(Box::new(PgType::Char(0)));
        if matches!(&from, PgType::Array(item) if matches!(item.as_ref(), PgType::Char(1..)))
            && !matches!(wanted.item(), Some(PgType::Char(1..)))
        {
            let padded = Typed::new(cast_to(told(typed.expr, &from), &bare), bare.clone(), position);
            return match *wanted == bare {
                true => Ok(padded),
                false => self.cast(padded, wanted, context),
            };
        }
        if let Some(typed) = self.cast_names(&typed, wanted, context)? {
            return Ok(typed);
        }
        if matches!(from, PgType::Shaped(_)) || (matches!(wanted, PgType::Shaped(_)) && from.item().is_some()) {
            return self.cast_shaped(typed, wanted, context);
        }
        if matches!(wanted, PgType::Numeric(Some(_))) && is_nan(&typed.expr) {
            return Ok(nan(position));
        }
        // A NUMERIC keeps its digits where none are asked for.
        if let (PgType::Numeric(_), PgType::Numeric(None)) = (&from, wanted) {
            return Ok(typed);
        }
        if let (Some(digits), PgType::Numeric(None)) = (whole_digits(&from), wanted) {
            let exact = PgType::Numeric(Some((digits, 0)));
            let expr = cast_to(typed.expr, &exact);
            return Ok(Typed::new(expr, exact, position));
        }
        if let Some(name) = catalog_input(wanted) {
            let is_number = kinds::category(from.oid()) == b'N';
            let name = match (is_number, &from) {
                (true, PgType::Int2 | PgType::Int4 | PgType::Int8) => return Ok(made(cast_to(typed.expr, wanted))),
                (true, _) => return Ok(made(told(typed.expr, wanted))),
                // Only what is no text yet may be a number.
                (false, PgType::Text | PgType::Varchar(_)) if *wanted == PgType::Regclass => "text_regclass",
                (false, _) => name,
            };
            let typed = self.padded(typed)?;
            return Ok(made(self.catalog_call(name, vec![typed.expr])?));
        }
        let is_text = kinds::category(wanted.oid()) == b'S';
        if matches!(wanted, PgType::Opaque(Opaque::JsonPath)) && kinds::category(from.oid()) == b'S' {
            let function = self.scalar("jsonpath_in").expect("it is a function of ours");
            let text = self.cast(typed, &PgType::Text, context)?;
            return self.call_of(function, vec![text], wanted, position);
        }
        if let Some(name) = catalog_output(&from).filter(|_| is_text) {
            let text = Typed::new(self.catalog_call(&name, vec![typed.expr])?, PgType::Text, position);
            return self.cast(text, wanted, context);
        }
        if matches!(wanted, PgType::Tid) && kinds::category(from.oid()) == b'S' {
            return Ok(made(self.catalog_call("tidin", vec![typed.expr])?));
        }
        if matches!(wanted, PgType::Oid) && kinds::category(from.oid()) == b'S' {
            return Ok(made(self.catalog_call("oid", vec![typed.expr])?));
        }
        if from == PgType::Jsonb
            && let Some(function) = crate::sql::functions::json::cast(&wanted.bare().catalog_name())
        {
            let value = self.call_of(function, vec![typed], &wanted.bare(), position)?;
            return self.cast(value, wanted, context);
        }
        match (&from, wanted) {
            (PgType::Char(1..), PgType::Char(0)) => return self.padded(typed),
            (PgType::Char(1..), PgType::Bytea) => {
                let padded = self.padded(typed)?;
                return Ok(made(cast_to(padded.expr, wanted)));
            }
            (PgType::Char(0), PgType::Text | PgType::Varchar(_) | PgType::Name) => {
                let bare = self.bare(typed);
                return self.cast(Typed::new(bare.expr, PgType::Text, position), wanted, context);
            }
            _ => {}
        }
        let is_plain = |pg_type: &PgType| matches!(pg_type, PgType::Text | PgType::Varchar(None) | PgType::Char(0));
        let is_written = kinds::category(from.oid()) == b'S' || matches!(from, PgType::Opaque(_));
        let texts = is_written && is_plain(wanted);
        let same = from.arrow() == wanted.arrow() && from.oid() != wanted.oid();
        let oids = same && kinds::category(from.oid()) == b'N' && from != PgType::Int8;
        if texts || oids {
            return Ok(made(typed.expr));
        }
        Ok(made(cast_to(typed.expr, wanted)))
    }

    /// Gives an expression without a type the type that is wanted.
    fn read(&self, typed: Typed, wanted: &PgType, context: CastContext) -> Result<Typed> {
        let position = typed.position;
        let made = |expr: Expr, pg_type: PgType| Typed::new(expr, pg_type, position);
        match typed.expr {
            Expr::Placeholder(Placeholder { id, .. }) => {
                let bare = wanted.bare();
                let known = self.type_parameter(&id, &bare).map_err(|error| at(error, position))?;
                let typed = made(parameter(id, &known), known);
                if *wanted == PgType::Opaque(Opaque::JsonPath) {
                    // Its text is checked and brought into its normal form here.
                    let text = Typed::new(typed.expr, PgType::Text, position);
                    return self.cast(text, wanted, CastContext::Explicit);
                }
                match typed.pg_type() == *wanted || context == CastContext::Implicit {
                    true => Ok(typed),
                    false => self.cast(typed, wanted, context),
                }
            }
            Expr::Literal(ScalarValue::Utf8(Some(text)), _) => self.read_text(text, wanted, position),
            Expr::Literal(value, _) if value.is_null() => Ok(made(null_of(wanted)?, wanted.clone())),
            // The column of a subquery has been given one.
            other => self.cast(Typed::new(other, PgType::Text, position), wanted, CastContext::Explicit),
        }
    }

    /// `now`, `today`, `tomorrow` and `yesterday`.
    fn read_moment(&self, text: &str, wanted: &PgType, position: Option<usize>) -> Result<Option<Typed>> {
        if !matches!(wanted, PgType::Date | PgType::Timestamp | PgType::TimestampTz) {
            return Ok(None);
        }
        let days = match text.trim().to_ascii_lowercase().as_str() {
            "now" => {
                let now = self.named_call("now", Vec::new(), position)?;
                return self.cast(now, wanted, CastContext::Explicit).map(Some);
            }
            "today" => 0,
            "tomorrow" => 1,
            "yesterday" => -1,
            _ => return Ok(None),
        };
        let today = self.named_call("current_date", Vec::new(), position)?;
        let days = Typed::new(
            literal(ScalarValue::Int32(Some(days)), &PgType::Int4),
            PgType::Int4,
            position,
        );
        let day = self.binary("+", today, days, position)?;
        self.cast(day, wanted, CastContext::Explicit).map(Some)
    }

    fn read_text(&self, text: String, wanted: &PgType, position: Option<usize>) -> Result<Typed> {
        let made = |expr: Expr, pg_type: PgType| Typed::new(expr, pg_type, position);
        if let Some(name) = catalog_input(wanted) {
            let text = Expr::Literal(ScalarValue::Utf8(Some(text)), None);
            return Ok(made(self.catalog_call(name, vec![text])?, wanted.clone()));
        }
        if let PgType::Array(item) = wanted
            && catalog_input(item).is_some()
        {
            return self.read_names(&text, item, position);
        }
        if matches!(wanted, PgType::Opaque(Opaque::JsonPath)) {
            let path = normal_path(&text).map_err(|error| at(error, position))?;
            let value = ScalarValue::Utf8(Some(path));
            return Ok(made(literal(value, wanted), wanted.clone()));
        }
        if let PgType::Array(item) = wanted
            && has_other_shape(&text)
        {
            return self.read_text(text, &PgType::Shaped(item.clone()), position);
        }
        if let Some(typed) = self.read_moment(&text, wanted, position)? {
            return Ok(typed);
        }
        // What is written is read as it stands; the modifier acts on it as on any other value.
        if matches!(
            wanted.item(),
            Some(PgType::Varchar(Some(_)) | PgType::Char(1..) | PgType::Numeric(Some(_)))
        ) {
            let bare = self.read_text(text, &wanted.bare(), position)?;
            return self.cast(bare, wanted, CastContext::Explicit);
        }
        match wanted {
            PgType::Text | PgType::Varchar(None) | PgType::Char(0) | PgType::Unknown => {
                let value = ScalarValue::Utf8(Some(text));
                return Ok(made(literal(value, wanted), wanted.clone()));
            }
            // Longer texts are cut where a cast is written.
            PgType::Varchar(Some(_)) | PgType::Char(_) => {
                let expr = Expr::Literal(ScalarValue::Utf8(Some(text)), None);
                return Ok(made(cast_to(expr, wanted), wanted.clone()));
            }
            PgType::Numeric(None) => {
                let value = exact_numeric(&text).map_err(|error| at(error, position))?;
                let pg_type = PgType::of_arrow(&value.data_type()).expect("a number is NUMERIC");
                return Ok(made(literal(value, &pg_type), pg_type));
            }
            PgType::Numeric(Some(_)) if text.trim().eq_ignore_ascii_case("nan") => return Ok(nan(position)),
            PgType::Oid if text.trim().parse::<u32>().is_err() => {
                let text = Expr::Literal(ScalarValue::Utf8(Some(text)), None);
                return Ok(made(self.catalog_call("oid", vec![text])?, wanted.clone()));
            }
            _ => {}
        }
        let style = InputStyle {
            time_zone: TimeZone::of_setting(self.ctx.time_zone),
            ..InputStyle::default()
        };
        let array = match scalar_from_text(wanted, &text, &style) {
            // It is a number, which only its modifier has no room for when the query runs.
            Err(error)
                if matches!(wanted, PgType::Numeric(Some(_))) && error.state == state::NUMERIC_VALUE_OUT_OF_RANGE =>
            {
                let bare = self.read_text(text, &PgType::Numeric(None), position)?;
                return Ok(made(cast_to(bare.expr, wanted), wanted.clone()));
            }
            read => read.map_err(|error| at(error, position))?,
        };
        let value = ScalarValue::try_from_array(&array, 0)?;
        Ok(made(literal(value, wanted), wanted.clone()))
    }

    /// The text of an array of `regclass` and the like: each element is looked up.
    fn read_names(&self, text: &str, item: &PgType, position: Option<usize>) -> Result<Typed> {
        let texts = PgType::Array(Box::new(PgType::Text));
        let array = scalar_from_text(&texts, text, &InputStyle::default()).map_err(|error| at(error, position))?;
        let names = array.as_list::<i32>().value(0);
        let elements = names.as_string::<i32>().iter().map(|name| match name {
            Some(name) => self.read_text(name.to_string(), item, position),
            None => Ok(Typed::new(null_of(item)?, item.clone(), position)),
        });
        let elements = elements.collect::<Result<Vec<_>>>()?;
        match elements.is_empty() {
            true => {
                let wanted = PgType::Array(Box::new(item.clone()));
                let empty = scalar_from_text(&wanted, "{}", &InputStyle::default())?;
                let value = ScalarValue::try_from_array(&empty, 0)?;
                Ok(Typed::new(literal(value, &wanted), wanted, position))
            }
            false => self.make_array(elements, item, position),
        }
    }

    /// An array of names as one of `regclass` and the like, and back; `None` for other casts.
    fn cast_names(&self, typed: &Typed, wanted: &PgType, context: CastContext) -> Result<Option<Typed>> {
        let from = typed.pg_type();
        let PgType::Array(item) = &from else { return Ok(None) };
        let is_text = |pg_type: &PgType| kinds::category(pg_type.oid()) == b'S';
        let (name, made) = match (catalog_input(item), wanted.item()) {
            (None, Some(alias)) if is_text(item) => match catalog_input(alias) {
                Some(name) => (name.to_string(), wanted.clone()),
                None => return Ok(None),
            },
            (Some(name), Some(text)) if is_text(text) => (format!("{name}out"), PgType::Array(Box::new(PgType::Text))),
            (Some(name), None) if is_text(wanted) => (format!("{name}out"), PgType::Array(Box::new(PgType::Text))),
            _ => return Ok(None),
        };
        let function = catalog_function_of_each(&name, self.facts()).expect("the name is a catalog function's");
        let expr = Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![typed.expr.clone()]));
        self.cast(Typed::new(expr, made, typed.position), wanted, context)
            .map(Some)
    }

    /// An expression whose type does not matter; 42P18 for a parameter, which then has none. PostgreSQL finds that at the
    /// statement's end.
    pub fn settle_any(&self, typed: Typed) -> Result<Typed> {
        if let (true, Expr::Placeholder(Placeholder { id, .. })) = (typed.is_unknown(), &typed.expr) {
            self.untyped.borrow_mut().push((id.clone(), typed.position));
            return Ok(Typed::new(null_of(&PgType::Text)?, PgType::Text, typed.position));
        }
        self.settle(typed)
    }

    /// An expression of unknown type becomes text in the end.
    pub fn settle(&self, typed: Typed) -> Result<Typed> {
        match typed.ty {
            Ty::Unknown => self.coerce(typed, &PgType::Text),
            Ty::Of(_) | Ty::Row(_) | Ty::Rows(_) => Ok(typed),
        }
    }

    /// The type that all of several become; 42804 if there is none.
    pub fn common_type(&self, all: &[Typed], what: &str) -> Result<PgType> {
        let oids: Vec<u32> = all.iter().map(Typed::oid).collect();
        let Some(oid) = choose::common(&oids) else {
            let first = all.iter().find(|typed| !typed.is_unknown()).expect("some are known");
            let fits = |typed: &&Typed| choose::common(&[first.oid(), typed.oid()]).is_some();
            let other = all.iter().find(|typed| !fits(typed)).unwrap_or(first);
            if kinds::category(first.oid()) == kinds::category(other.oid()) {
                let what = if what == "CASE" { "CASE/WHEN" } else { what };
                let message = format!(
                    "{what} could not convert type {} to {}",
                    other.type_name(),
                    first.type_name()
                );
                return Err(at(SqlError::new(state::CANNOT_COERCE, message), other.position));
            }
            let error = SqlError::new(
                state::DATATYPE_MISMATCH,
                format!(
                    "{what} types {} and {} cannot be matched",
                    first.type_name(),
                    other.type_name()
                ),
            );
            return Err(at(error, other.position));
        };
        let of_columns = matches!(what, "VALUES" | "UNION" | "INTERSECT" | "EXCEPT");
        Ok(common_modifier(all, oid, of_columns))
    }

    /// The type that several have in common, and all of them as that.
    pub fn unify(&self, all: Vec<Typed>, what: &str) -> Result<(Vec<Typed>, PgType)> {
        let common = self.common_type(&all, what)?;
        Ok((self.unified(all, &common)?, common))
    }

    /// All of several as the type that they have in common.
    pub fn unified(&self, all: Vec<Typed>, common: &PgType) -> Result<Vec<Typed>> {
        all.into_iter().map(|typed| self.unify_one(typed, common)).collect()
    }

    /// One of several as the type that they have in common.
    pub fn unify_one(&self, typed: Typed, common: &PgType) -> Result<Typed> {
        let position = typed.position;
        let typed = self.coerce(typed, common)?;
        match (typed.pg_type(), common) {
            // Digits are brought in line as well.
            (PgType::Numeric(from), PgType::Numeric(to)) if from != *to => {
                Ok(Typed::new(cast_to(typed.expr, common), common.clone(), position))
            }
            _ => Ok(typed),
        }
    }

    /// A call of a function over the catalog.
    pub fn catalog_call(&self, name: &str, args: Vec<Expr>) -> Result<Expr> {
        let function = self.catalog_function(name).expect("the name is a catalog function's");
        Ok(Expr::ScalarFunction(ScalarFunction::new_udf(function, args)))
    }
}

/// The common type of several of one OID, with the modifier that fits all.
fn common_modifier(all: &[Typed], oid: u32, of_columns: bool) -> PgType {
    let bare = PgType::from_oid(oid).expect("a common type is a real one");
    if oid == kinds::NUMERIC {
        return common_numeric(all);
    }
    let is_shaped =
        |typed: &Typed| matches!(typed.pg_type(), PgType::Shaped(_)) || typed.literal().is_some_and(has_other_shape);
    if bare.item().is_some() && all.iter().any(is_shaped) {
        let mut items = all.iter().filter_map(|typed| typed.pg_type().item().cloned());
        let first = items.next();
        return PgType::Shaped(Box::new(match first.filter(|first| first.array_oid() == oid) {
            Some(first) if items.all(|item| item == first) => first,
            _ => bare.item().expect("it is an array").clone(),
        }));
    }
    if oid == kinds::BPCHAR {
        let length = all.iter().find_map(|typed| match typed.pg_type() {
            PgType::Char(length @ 1..) => Some(length as usize),
            _ => None,
        });
        // A text that is written has the blanks that are written, but in a column, whose values are compared.
        let stays = |typed: &Typed| match (typed.literal(), length) {
            (Some(text), Some(length)) => of_columns && text.trim_end_matches(' ').chars().count() <= length,
            (Some(_), None) => false,
            (None, _) => true,
        };
        if !all.iter().all(stays) {
            return bare;
        }
    }
    let mut known = all.iter().filter(|typed| typed.oid() == oid).map(Typed::pg_type);
    let Some(first) = known.next() else { return bare };
    // What is written has the length that is written.
    let others = |typed: &Typed| typed.oid() != oid && (oid != kinds::BPCHAR || !typed.is_unknown());
    match !all.iter().any(others) && known.all(|other| other == first) {
        true => first,
        false => bare,
    }
}

/// NUMERIC of one scale if all of them have that, and 38 digits hold them; else of any.
fn common_numeric(all: &[Typed]) -> PgType {
    const DIGITS_MAX: u8 = 38;
    let mut common: Option<(u8, i8)> = None;
    for typed in all.iter().filter(|typed| !typed.is_null()) {
        let digits = match (typed.pg_type(), typed.literal()) {
            (_, Some(text)) => match exact_numeric(text) {
                Ok(ScalarValue::Decimal128(_, precision, scale)) => Some((precision, scale)),
                _ => None,
            },
            (PgType::Numeric(digits), _) => digits,
            (other, _) => whole_digits(&other).map(|digits| (digits, 0)),
        };
        let Some((precision, scale)) = digits else {
            return PgType::Numeric(None);
        };
        common = match common {
            None => Some((precision, scale)),
            Some((known, same)) if same == scale => Some((known.max(precision), scale)),
            Some(_) => return PgType::Numeric(None),
        };
    }
    PgType::Numeric(common.filter(|(precision, scale)| *precision <= DIGITS_MAX && *scale >= 0))
}

/// Digits of the largest value of an integer type.
fn whole_digits(pg_type: &PgType) -> Option<u8> {
    match pg_type {
        PgType::Int2 => Some(5),
        PgType::Int4 => Some(10),
        PgType::Int8 => Some(19),
        _ => None,
    }
}

/// A number of exactly the digits that are written: of its own scale in the plan if 38 digits hold it.
pub fn exact_numeric(text: &str) -> std::result::Result<ScalarValue, SqlError> {
    const DIGITS_MAX: u32 = 38;
    let number = Numeric::parse(text)?;
    Ok(match &number {
        Numeric::Small { value, scale } if *scale <= DIGITS_MAX && value.unsigned_abs() < 10_u128.pow(DIGITS_MAX) => {
            let digits = value.unsigned_abs().checked_ilog10().map_or(1, |last| last + 1);
            let precision = digits.max(*scale).max(1) as u8;
            ScalarValue::Decimal128(Some(*value), precision, *scale as i8)
        }
        _ => ScalarValue::LargeBinary(Some(number.encoded())),
    })
}

/// Whether an expression is the number that is none.
fn is_nan(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(ScalarValue::LargeBinary(Some(number)), _) => Numeric::decode(number).is_nan(),
        Expr::Literal(ScalarValue::Float64(Some(number)), _) => number.is_nan(),
        Expr::Literal(ScalarValue::Float32(Some(number)), _) => number.is_nan(),
        _ => false,
    }
}

/// NaN as NUMERIC: no `Decimal128` holds it.
fn nan(position: Option<usize>) -> Typed {
    let value = ScalarValue::LargeBinary(Some(Numeric::NaN.encoded()));
    Typed::new(literal(value, &PgType::Numeric(None)), PgType::Numeric(None), position)
}

/// A parameter of a type.
pub fn parameter(id: String, pg_type: &PgType) -> Expr {
    Expr::Placeholder(Placeholder::new_with_field(id, Some(Arc::new(pg_type.field("", true)))))
}

/// 42883 for values that PostgreSQL cannot order or compare.
pub fn check_operator(pg_type: &PgType, operator: &str, position: Option<usize>) -> Result<()> {
    let item = match pg_type {
        PgType::Array(item) => item,
        other => other,
    };
    if *item != PgType::Json {
        return Ok(());
    }
    let message = format!("could not identify {operator} operator for type {}", pg_type.name());
    let error = SqlError::new(state::UNDEFINED_FUNCTION, message);
    Err(at(
        match operator {
            ORDERING => error.hint("Use an explicit ordering operator or modify the query."),
            _ => error,
        },
        position,
    ))
}

/// Properties that [`check_operator`] asks for.
pub const ORDERING: &str = "an ordering";
pub const EQUALITY: &str = "an equality";

fn no_cast(typed: &Typed, wanted: &PgType) -> SqlError {
    let message = format!("cannot cast type {} to {}", typed.type_name(), wanted.bare().name());
    at(SqlError::new(state::CANNOT_COERCE, message), typed.position)
}

/// An error at a place of the statement, unless it has one.
pub fn at(error: SqlError, position: Option<usize>) -> SqlError {
    match position {
        Some(position) if error.position.is_none() => error.position(position),
        _ => error,
    }
}

/// A cast, as the last pass over a plan understands it.
pub fn cast_to(expr: Expr, pg_type: &PgType) -> Expr {
    Expr::Cast(Cast {
        expr: Box::new(expr),
        field: Arc::new(pg_type.field("", true)),
    })
}

/// The key that rows are sorted by: of an interval its length.
pub fn sort_key(typed: Typed) -> Expr {
    match typed.pg_type() {
        PgType::Interval => KeyKind::Interval.function().call(vec![typed.expr]),
        PgType::Shaped(_) | PgType::Int2Vector | PgType::OidVector => KeyKind::Shaped.function().call(vec![typed.expr]),
        _ => typed.expr,
    }
}

/// The field that a function returns for arguments of these fields, some of which may be constants.
pub fn returned_field(function: &ScalarUDF, arguments: &[Typed], fields: &[FieldRef]) -> Result<FieldRef> {
    let literals = arguments.iter().map(|typed| match &typed.expr {
        Expr::Literal(value, _) => Some(value),
        _ => None,
    });
    let literals: Vec<Option<&ScalarValue>> = literals.collect();
    Ok(function.return_field_from_args(ReturnFieldArgs {
        arg_fields: fields,
        scalar_arguments: &literals,
    })?)
}
