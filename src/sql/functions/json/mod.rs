//! PostgreSQL's functions and operators of JSON and JSONB.
//!
//! One rule: a result is to the byte PostgreSQL 15's. JSON and JSONB are text; JSONB's is in its normal form
//! ([`crate::types::json`]), so the part that an accessor cuts out of it is in normal form, too.
//!
//! A function that returns rows returns a list of them: of texts or values, or of the structs `(key, value)`. Arguments
//! come with the types of PostgreSQL's signature. Not here: reading JSON, casts to it.

mod access;
mod aggregates;
mod build;
mod cast;
mod change;
mod compare;
mod number;
mod path;
mod raw;
mod rows;
#[cfg(test)]
mod tests;
mod values;
mod writer;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type};
use datafusion::common::Result;
use datafusion::logical_expr::{
    AggregateUDF, ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::{fail, functions, over_columns, undefined_function, zone};
use crate::error::{SqlError, state};
use crate::types::PgType;
use crate::types::TimeZone;

pub use self::change::pretty_bytes;
pub use self::compare::compare_texts;
pub use self::path::normal_path;

/// One function per name.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    let specs = [
        access::SPECS,
        rows::SPECS,
        compare::SPECS,
        change::SPECS,
        build::SPECS,
        cast::SPECS,
        path::SPECS,
    ];
    let udf = |spec: &'static JsonSpec| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(ScalarUDF::from(JsonFunction { spec, signature }))
    };
    specs.into_iter().flatten().map(udf).collect()
}

pub use aggregates::JSON_AGG_OF_LINES;

/// `json_agg` and its kind.
pub fn aggregates() -> Vec<Arc<AggregateUDF>> {
    aggregates::all()
}

/// The function of an operator whose left operand is JSON or JSONB.
pub fn operator(symbol: &str) -> Option<Arc<ScalarUDF>> {
    let name = match symbol {
        "->" => "json_object_field",
        "->>" => "json_object_field_text",
        "#>" => "json_extract",
        "#>>" => "json_extract_text",
        "@>" => "jsonb_contains",
        "<@" => "jsonb_contained",
        "?" => "jsonb_exists",
        "?|" => "jsonb_exists_any",
        "?&" => "jsonb_exists_all",
        "||" => "jsonb_concat",
        "-" => "jsonb_delete",
        "#-" => "jsonb_delete_path",
        "@?" => "jsonb_path_exists_opr",
        "@@" => "jsonb_path_match_opr",
        _ => return None,
    };
    functions().scalar.get(name).cloned()
}

/// The function of a cast from JSONB, by the name that PostgreSQL has for it: `int4(jsonb)`.
pub fn cast(name: &str) -> Option<Arc<ScalarUDF>> {
    functions().scalar.get(&format!("jsonb_to_{name}")).cloned()
}

/// The type of an argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Takes {
    /// Text, JSON or JSONB.
    Text,
    Bool,
    /// A key or a place.
    Key,
    /// A key, a place, or an array of keys.
    Keys,
    Texts,
    Any,
    /// Any number of any values.
    AnyRest,
    /// Any number of texts, or an array of them.
    TextRest,
}

/// The type of the result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum JsonReturns {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Text,
    Json,
    Jsonb,
    /// JSON or JSONB, as the first argument is.
    Same,
    Texts,
    Jsons,
    Jsonbs,
    /// Rows of `key text` and a value of this type.
    TextPairs,
    JsonPairs,
    JsonbPairs,
}

impl JsonReturns {
    fn field(self, name: &str, arguments: &[FieldRef]) -> Field {
        let rows = |item: PgType| PgType::Array(Box::new(item)).field(name, true);
        let pairs = |value: PgType| {
            let members = vec![PgType::Text.field("key", true), value.field("value", true)];
            let item = Field::new("item", DataType::Struct(members.into()), true);
            Field::new(name, DataType::List(Arc::new(item)), true)
        };
        match self {
            JsonReturns::Bool => PgType::Bool.field(name, true),
            JsonReturns::Int2 => PgType::Int2.field(name, true),
            JsonReturns::Int4 => PgType::Int4.field(name, true),
            JsonReturns::Int8 => PgType::Int8.field(name, true),
            JsonReturns::Float4 => PgType::Float4.field(name, true),
            JsonReturns::Float8 => PgType::Float8.field(name, true),
            JsonReturns::Numeric => PgType::Numeric(None).field(name, true),
            JsonReturns::Text => PgType::Text.field(name, true),
            JsonReturns::Json => PgType::Json.field(name, true),
            JsonReturns::Jsonb => PgType::Jsonb.field(name, true),
            JsonReturns::Same => match arguments.first().and_then(|field| PgType::of_field(field)) {
                Some(PgType::Jsonb) => PgType::Jsonb.field(name, true),
                _ => PgType::Json.field(name, true),
            },
            JsonReturns::Texts => rows(PgType::Text),
            JsonReturns::Jsons => rows(PgType::Json),
            JsonReturns::Jsonbs => rows(PgType::Jsonb),
            JsonReturns::TextPairs => pairs(PgType::Text),
            JsonReturns::JsonPairs => pairs(PgType::Json),
            JsonReturns::JsonbPairs => pairs(PgType::Jsonb),
        }
    }
}

type EvaluateJson = fn(&JsonCall) -> Result<ArrayRef, SqlError>;

/// One function.
#[derive(Debug)]
struct JsonSpec {
    name: &'static str,
    takes: &'static [Takes],
    /// The number of arguments that may be left out.
    optional: usize,
    returns: JsonReturns,
    evaluate: EvaluateJson,
}

const fn spec(name: &'static str, takes: &'static [Takes], returns: JsonReturns, evaluate: EvaluateJson) -> JsonSpec {
    JsonSpec {
        name,
        takes,
        optional: 0,
        returns,
        evaluate,
    }
}

impl JsonSpec {
    const fn optional(mut self, optional: usize) -> JsonSpec {
        self.optional = optional;
        self
    }

    fn coerced(&self, arguments: &[DataType]) -> Option<Vec<DataType>> {
        let is_variadic = matches!(self.takes.last(), Some(Takes::AnyRest | Takes::TextRest));
        let fixed = self.takes.len() - usize::from(is_variadic);
        let fits = arguments.len() >= fixed - self.optional && (is_variadic || arguments.len() <= fixed);
        if !fits {
            return None;
        }
        let takes = (0..).map(|at| self.takes.get(at).or(self.takes.last()));
        arguments
            .iter()
            .zip(takes)
            .map(|(given, takes)| (*takes?).coerced(given))
            .collect()
    }
}

impl Takes {
    fn coerced(self, given: &DataType) -> Option<DataType> {
        use DataType::{Boolean, Int8, Int16, Int32, Int64, LargeUtf8, List, Null, Utf8, Utf8View};
        let texts = || List(Arc::new(Field::new("item", Utf8, true)));
        Some(match (self, given) {
            (Takes::Any | Takes::AnyRest, given) => given.clone(),
            (Takes::Text | Takes::Key | Takes::Keys | Takes::TextRest, Utf8 | LargeUtf8 | Utf8View | Null) => Utf8,
            (Takes::Key | Takes::Keys, Int8 | Int16 | Int32 | Int64) => Int32,
            (Takes::Bool, Boolean | Null) => Boolean,
            (Takes::Texts, Null) => texts(),
            (Takes::Texts | Takes::Keys | Takes::TextRest, List(item)) => match item.data_type() {
                Utf8 => given.clone(),
                LargeUtf8 | Utf8View | Null => texts(),
                _ => return None,
            },
            _ => return None,
        })
    }
}

#[derive(Debug)]
struct JsonFunction {
    spec: &'static JsonSpec,
    signature: Signature,
}

impl PartialEq for JsonFunction {
    fn eq(&self, other: &JsonFunction) -> bool {
        self.spec.name == other.spec.name
    }
}

impl Eq for JsonFunction {}

impl Hash for JsonFunction {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.spec.name.hash(hasher);
    }
}

impl ScalarUDFImpl for JsonFunction {
    fn name(&self) -> &str {
        self.spec.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.spec
            .coerced(arguments)
            .ok_or_else(|| fail(undefined_function(self.spec.name, arguments)))
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.spec.returns.field(self.spec.name, &[]).data_type().clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(self.spec.returns.field(self.spec.name, args.arg_fields)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let zone = zone::of_session(&args.config_options);
        over_columns(&args, |columns, rows| {
            (self.spec.evaluate)(&JsonCall {
                name: self.spec.name,
                columns,
                fields: &args.arg_fields,
                rows,
                returns: args.return_field.data_type(),
                zone,
            })
        })
    }
}

/// The arguments of a call for a batch of rows.
struct JsonCall<'a> {
    name: &'static str,
    columns: &'a [ArrayRef],
    fields: &'a [FieldRef],
    rows: usize,
    returns: &'a DataType,
    zone: TimeZone,
}

impl<'a> JsonCall<'a> {
    /// Whether an argument is NULL.
    fn is_null(&self, row: usize) -> bool {
        self.columns.iter().any(|column| column.is_null(row))
    }

    fn text(&self, at: usize, row: usize) -> &'a str {
        self.columns[at].as_string::<i32>().value(row)
    }

    fn json(&self, at: usize, row: usize) -> raw::Raw<'a> {
        raw::Raw::new(self.text(at, row))
    }

    fn int(&self, at: usize, row: usize) -> i32 {
        self.columns[at].as_primitive::<Int32Type>().value(row)
    }

    /// An argument that may be left out.
    fn flag(&self, at: usize, row: usize, left_out: bool) -> bool {
        match self.columns.get(at) {
            Some(column) => column.as_boolean().value(row),
            None => left_out,
        }
    }

    /// An array of texts.
    fn texts(&self, at: usize, row: usize) -> impl ExactSizeIterator<Item = Option<&'a str>> + use<'a> {
        let lists = self.columns[at].as_list::<i32>();
        let offsets = lists.value_offsets();
        let texts = lists.values().as_string::<i32>();
        (offsets[row] as usize..offsets[row + 1] as usize).map(|at| texts.is_valid(at).then(|| texts.value(at)))
    }

    /// Whether an argument is JSONB, or JSON or text.
    fn is_jsonb(&self, at: usize) -> bool {
        PgType::of_field(&self.fields[at]) == Some(PgType::Jsonb)
    }
}

/// 22023
fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(state::INVALID_PARAMETER_VALUE, message)
}
