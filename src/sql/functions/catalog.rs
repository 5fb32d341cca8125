//! Functions over the catalog: `format_type`, `pg_table_is_visible`, `pg_get_viewdef`, `to_regclass` and their kind.
//!
//! One rule: a function answers from the [`Facts`] that it was made with, one catalog snapshot and one session, so a
//! plan that holds it is good for that snapshot. Functions about things that this server does not have (indexes,
//! triggers, rules) answer NULL, as PostgreSQL does for an unknown OID.
//!
//! Not here: the casts that lead to these functions (`sql/compat`), rows of system relations (`catalog::system`), and
//! the session's own values (`functions::session`), and functions that change something (`set_config`, `pg_notify`).

mod aliases;
mod describe;
mod names;
mod objects;
#[cfg(test)]
mod tests;
mod text;
mod transactions;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Field, FieldRef, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit,
    TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

use crate::catalog::Snapshot;
use crate::catalog::system::{SystemValue, value_array};
use crate::error::{SqlError, state};
use crate::types::shaped::{self, ShapedArrays};
use crate::types::varying::Numeric;
use crate::types::{ObjectNames, Opaque, PgType};

pub use self::names::parse_qualified;
pub use self::objects::read_privileges;

/// The facts that the functions answer from: one snapshot, one session.
pub struct Facts {
    pub snapshot: Arc<Snapshot>,
    /// Schemas searched, without the implicit `pg_catalog`.
    pub search_path: Vec<String>,
    pub user: String,
    pub database: String,
}

impl Facts {
    /// Facts that know the catalog and the session's names, and nothing of the running server.
    pub fn new(snapshot: Arc<Snapshot>, search_path: &[String], user: &str, database: &str) -> Facts {
        Facts {
            snapshot,
            search_path: search_path.to_vec(),
            user: user.to_string(),
            database: database.to_string(),
        }
    }
}

impl fmt::Debug for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Facts")
            .field("version", &self.snapshot.version)
            .field("search_path", &self.search_path)
            .finish_non_exhaustive()
    }
}

/// The type that a function returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Returns {
    Bool,
    Int4,
    Int4s,
    Int8,
    Oid,
    Text,
    Name,
    Names,
    Void,
    TimestampTz,
    Regclass,
    Regtype,
    Regproc,
    Regnamespace,
    Regprocedure,
    Regoper,
    Regoperator,
    Regrole,
    Regcollation,
    Aclitem,
    Xid8,
    Tid,
}

impl Returns {
    fn pg_type(self) -> PgType {
        match self {
            Returns::Bool => PgType::Bool,
            Returns::Int4 => PgType::Int4,
            Returns::Int4s => PgType::Array(Box::new(PgType::Int4)),
            Returns::Int8 => PgType::Int8,
            Returns::Oid => PgType::Oid,
            Returns::Tid => PgType::Tid,
            Returns::Text => PgType::Text,
            Returns::Name => PgType::Name,
            // As text[]: metadata inside a list would part it from lists that are made in a query.
            Returns::Names => PgType::Array(Box::new(PgType::Text)),
            Returns::Void => PgType::Void,
            Returns::TimestampTz => PgType::TimestampTz,
            Returns::Regclass => PgType::Regclass,
            Returns::Regtype => PgType::Regtype,
            Returns::Regproc => PgType::Regproc,
            Returns::Regnamespace => PgType::Regnamespace,
            Returns::Regprocedure => PgType::Regprocedure,
            Returns::Regoper => PgType::Regoper,
            Returns::Regoperator => PgType::Regoperator,
            Returns::Regrole => PgType::Regrole,
            Returns::Regcollation => PgType::Regcollation,
            Returns::Aclitem => PgType::Opaque(Opaque::Aclitem),
            Returns::Xid8 => PgType::Xid8,
        }
    }
}

type Evaluate = fn(&Facts, &[SystemValue]) -> Result<SystemValue, SqlError>;

/// One function. A strict one answers NULL if an argument is NULL, without being asked.
struct Spec {
    name: &'static str,
    arguments: std::ops::RangeInclusive<usize>,
    returns: Returns,
    strict: bool,
    evaluate: Evaluate,
}

const fn strict(
    name: &'static str,
    arguments: std::ops::RangeInclusive<usize>,
    returns: Returns,
    evaluate: Evaluate,
) -> Spec {
    Spec {
        name,
        arguments,
        returns,
        strict: true,
        evaluate,
    }
}

const fn lenient(
    name: &'static str,
    arguments: std::ops::RangeInclusive<usize>,
    returns: Returns,
    evaluate: Evaluate,
) -> Spec {
    Spec {
        name,
        arguments,
        returns,
        strict: false,
        evaluate,
    }
}

fn specs() -> impl Iterator<Item = &'static Spec> {
    names::SPECS
        .iter()
        .chain(aliases::SPECS)
        .chain(describe::SPECS)
        .chain(objects::SPECS)
        .chain(transactions::SPECS)
        .chain(text::SPECS)
}

/// The catalog function of this name, answering from `facts`.
pub fn catalog_function(name: &str, facts: &Arc<Facts>) -> Option<Arc<ScalarUDF>> {
    let spec = specs().find(|spec| spec.name == name)?;
    Some(Arc::new(ScalarUDF::new_from_impl(CatalogFunction {
        spec,
        of_each: false,
        facts: facts.clone(),
        signature: Signature::one_of(
            vec![TypeSignature::Nullary, TypeSignature::VariadicAny],
            Volatility::Stable,
        ),
    })))
}

/// The catalog function of one argument over each element of an array: an array of its answers.
pub fn catalog_function_of_each(name: &str, facts: &Arc<Facts>) -> Option<Arc<ScalarUDF>> {
    let spec = specs().find(|spec| spec.name == name)?;
    Some(Arc::new(ScalarUDF::new_from_impl(CatalogFunction {
        spec,
        of_each: true,
        facts: facts.clone(),
        signature: Signature::one_of(vec![TypeSignature::VariadicAny], Volatility::Stable),
    })))
}

/// Finds the OID that the text of a `regclass` and the like stands for.
pub type ObjectOids = Arc<dyn Fn(&PgType, &str) -> Result<u32, SqlError> + Send + Sync>;

pub fn object_oids(facts: Facts) -> ObjectOids {
    Arc::new(move |alias, text| {
        let mut specs = specs();
        let spec = specs.find(|spec| spec.name == alias.base_name());
        let spec = spec.expect("each of these types has its function");
        let oid = (spec.evaluate)(&facts, &[SystemValue::from(text)])?;
        Ok(oid_of(&oid))
    })
}

/// Names of the objects that OIDs of `regclass` and its like stand for.
pub fn object_names(facts: Facts) -> ObjectNames {
    Arc::new(move |alias, oid| {
        let name = alias.base_name();
        let spec = specs().find(|spec| spec.name.strip_suffix("out") == Some(name))?;
        let named = (spec.evaluate)(&facts, &[SystemValue::from(oid)]).ok()?;
        named.as_text().map(str::to_string)
    })
}

struct CatalogFunction {
    spec: &'static Spec,
    /// Its argument is an array, whose elements it answers for.
    of_each: bool,
    facts: Arc<Facts>,
    signature: Signature,
}

impl fmt::Debug for CatalogFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.spec.name)
    }
}

impl PartialEq for CatalogFunction {
    fn eq(&self, other: &Self) -> bool {
        self.spec.name == other.spec.name && self.of_each == other.of_each && Arc::ptr_eq(&self.facts, &other.facts)
    }
}

impl Eq for CatalogFunction {}

impl Hash for CatalogFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.spec.name.hash(state);
    }
}

impl ScalarUDFImpl for CatalogFunction {
    fn name(&self) -> &str {
        self.spec.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(self.returns().arrow())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        if !self.spec.arguments.contains(&args.arg_fields.len()) {
            let types = args.arg_fields.iter().map(|field| type_text(field));
            let types = types.collect::<Vec<_>>().join(", ");
            let error = SqlError::new(
                state::UNDEFINED_FUNCTION,
                format!("function {}({types}) does not exist", self.spec.name),
            );
            return Err(external(error));
        }
        Ok(Arc::new(self.returns().field(self.spec.name, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let data_type = self.returns().arrow();
        // The one function that asks about an argument's type instead of its value.
        if self.spec.name == "pg_typeof" {
            let text = args.arg_fields.first().map(|field| type_text(field));
            return Ok(ColumnarValue::Scalar(ScalarValue::Utf8(text)));
        }
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let count = if constant { 1 } else { args.number_rows };
        let arrays = args
            .args
            .iter()
            .map(|arg| arg.to_array(count))
            .collect::<Result<Vec<ArrayRef>>>()?;
        let mut values = Vec::with_capacity(count);
        let mut row_values = Vec::with_capacity(arrays.len());
        for row in 0..count {
            row_values.clear();
            row_values.extend(arrays.iter().map(|array| value_at(array, row)));
            values.push(match (self.of_each, row_values.first()) {
                (true, Some(SystemValue::List(items))) => {
                    let answers = items.iter().map(|item| self.answer(std::slice::from_ref(item)));
                    SystemValue::List(answers.collect::<Result<_>>()?)
                }
                _ => self.answer(&row_values)?,
            });
        }
        let array = value_array(&values, &data_type);
        if constant {
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?))
        } else {
            Ok(ColumnarValue::Array(array))
        }
    }
}

impl CatalogFunction {
    fn returns(&self) -> PgType {
        let answer = self.spec.returns.pg_type();
        match self.of_each {
            true => PgType::Array(Box::new(answer)),
            false => answer,
        }
    }

    fn answer(&self, values: &[SystemValue]) -> Result<SystemValue> {
        match self.spec.strict && values.iter().any(SystemValue::is_null) {
            true => Ok(SystemValue::Null),
            false => (self.spec.evaluate)(&self.facts, values).map_err(external),
        }
    }
}

fn external(error: SqlError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

fn type_text(field: &Field) -> String {
    match PgType::of_field(field) {
        None => "record".to_string(),
        Some(PgType::Array(item)) => format!("{}[]", item.base_name()),
        Some(known) => known.base_name().to_string(),
    }
}

/// One value of an Arrow array; types that catalog functions do not take are NULL.
fn value_at(array: &ArrayRef, row: usize) -> SystemValue {
    if array.is_null(row) {
        return SystemValue::Null;
    }
    match array.data_type() {
        DataType::Boolean => SystemValue::Bool(array.as_boolean().value(row)),
        DataType::Int8 => SystemValue::Int(array.as_primitive::<Int8Type>().value(row).into()),
        DataType::Int16 => SystemValue::Int(array.as_primitive::<Int16Type>().value(row).into()),
        DataType::Int32 => SystemValue::Int(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => SystemValue::Int(array.as_primitive::<Int64Type>().value(row)),
        DataType::UInt8 => SystemValue::Int(array.as_primitive::<UInt8Type>().value(row).into()),
        DataType::UInt16 => SystemValue::Int(array.as_primitive::<UInt16Type>().value(row).into()),
        DataType::UInt32 => SystemValue::Int(array.as_primitive::<UInt32Type>().value(row).into()),
        DataType::UInt64 => SystemValue::from(array.as_primitive::<UInt64Type>().value(row)),
        DataType::Float32 => SystemValue::Float(array.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => SystemValue::Float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => SystemValue::from(array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => SystemValue::from(array.as_string::<i64>().value(row)),
        DataType::Utf8View => SystemValue::from(array.as_string_view().value(row)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            SystemValue::Int(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            SystemValue::List((0..items.len()).map(|item| value_at(&items, item)).collect())
        }
        DataType::BinaryView => {
            let one = array.slice(row, 1);
            let item = shaped::item_type(&one).unwrap_or(PgType::Oid);
            let decoded = ShapedArrays::decode(&one, &item);
            decoded.map_or(SystemValue::Null, |decoded| {
                let items = decoded.lists.values();
                SystemValue::List((0..items.len()).map(|item| value_at(items, item)).collect())
            })
        }
        DataType::Decimal128(_, _) => arrow::util::display::array_value_to_string(array, row)
            .map_or(SystemValue::Null, |text| {
                text.parse().map_or(SystemValue::Null, SystemValue::Float)
            }),
        DataType::LargeBinary => SystemValue::Float(Numeric::decode(array.as_binary::<i64>().value(row)).double()),
        _ => arrow::util::display::array_value_to_string(array, row).map_or(SystemValue::Null, SystemValue::Text),
    }
}

/// An argument that must be an OID; text is read as a number.
fn oid_of(value: &SystemValue) -> u32 {
    value.as_int().and_then(|oid| u32::try_from(oid).ok()).unwrap_or(0)
}

fn text_of(value: &SystemValue) -> &str {
    value.as_text().unwrap_or("")
}
