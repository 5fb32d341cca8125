//! Casts and unary minus as PostgreSQL does them, where Arrow's differ: text is read and written in PostgreSQL's forms,
//! fractions round instead of being cut, a value that does not fit is 22003, times move between zones.
//!
//! One rule: [`PostgresCasts`] is the last analyzer rule, after the engine has put in the casts that it wants, so that
//! every cast of a plan means the same, in batch queries and in views.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Decimal128Array, Float32Array, Float64Array, ListArray,
    PrimitiveArray, StringArray, StringBuilder, TimestampMicrosecondArray,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, FieldRef, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNano, IntervalMonthDayNanoType, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use bytes::BytesMut;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{BinaryExpr, Cast, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility, binary_expr,
};
use datafusion::optimizer::AnalyzerRule;

use super::arithmetic;
use super::numeric::{Numbers, collect};
use super::overflow::{float_overflow, of_arrow, out_of_range};
use super::{fail, growth, temporal, zone};
use crate::error::{SqlError, state};
use crate::types::TimeZone;
use crate::types::calendar::{infinite_days, is_infinite};
use crate::types::numeric::{DecimalShape, not_a_number};
use crate::types::varying::Numeric;
use crate::types::{ColumnBuilder, ColumnFormatter, PgType, TextStyle, letter};

/// The analyzer rule.
#[derive(Debug)]
pub struct PostgresCasts;

impl AnalyzerRule for PostgresCasts {
    fn name(&self) -> &str {
        "postgres_casts"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let rewritten = plan.transform_up_with_subqueries(|node| {
            super::go_on()?;
            let schema = merge_schema(&node.inputs());
            let names = NamePreserver::new(&node);
            let node = node.map_expressions(|expr| {
                let name = names.save(&expr);
                Ok(rewrite(expr, &schema)?.update_data(|expr| name.restore(expr)))
            })?;
            if node.transformed {
                node.map_data(LogicalPlan::recompute_schema)
            } else {
                Ok(node)
            }
        })?;
        Ok(rewritten.data)
    }
}

/// Replaces the casts and negations of one expression.
pub fn rewrite(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_up(|expr| match expr {
        Expr::Cast(Cast { expr: inner, field }) => {
            let (_, from) = inner.to_field(schema)?;
            if from.data_type().is_integer() && *field.data_type() == DataType::Boolean {
                // The engine takes a cast for one to one, and a column whose cast is true for a constant.
                let zero = Expr::Literal(ScalarValue::new_zero(from.data_type())?, None);
                return Ok(Transformed::yes(binary_expr(*inner, Operator::NotEq, zero)));
            }
            if differs(&from, &field) {
                let call = ScalarFunction::new_udf(cast_function(field), vec![*inner]);
                Ok(Transformed::yes(Expr::ScalarFunction(call)))
            } else {
                Ok(Transformed::no(Expr::Cast(Cast { expr: inner, field })))
            }
        }
        Expr::Negative(inner) => {
            let call = ScalarFunction::new_udf(negation(), vec![*inner]);
            Ok(Transformed::yes(Expr::ScalarFunction(call)))
        }
        // Functions that the planner names by itself are measured as those that a statement names.
        Expr::ScalarFunction(call) => growth::bound_call(call).map_data(|call| Ok(Expr::ScalarFunction(call))),
        Expr::BinaryExpr(binary) if binary.op == Operator::StringConcat => concatenate(binary, schema),
        Expr::BinaryExpr(binary) => match growth::regex::bound_match(&binary.left, binary.op, &binary.right) {
            Some(call) => Ok(Transformed::yes(call)),
            None => Ok(Transformed::no(Expr::BinaryExpr(binary))),
        },
        Expr::Like(like) => growth::bound_like(like),
        other => Ok(Transformed::no(other)),
    })
}

/// `||` of two texts as a call; of others it is the engine's.
fn concatenate(binary: BinaryExpr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let BinaryExpr { left, op, right } = binary;
    if left.get_type(schema)? != DataType::Utf8 || right.get_type(schema)? != DataType::Utf8 {
        return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })));
    }
    let call = ScalarFunction::new_udf(growth::concatenation(), vec![*left, *right]);
    Ok(Transformed::yes(Expr::ScalarFunction(call)))
}

/// A cast to a field's type, PostgreSQL's where it differs.
pub fn cast_expr(expr: Expr, to: FieldRef, schema: &DFSchema) -> Result<Expr> {
    let cast = Expr::Cast(Cast {
        expr: Box::new(expr),
        field: to,
    });
    Ok(rewrite(cast, schema)?.data)
}

/// Text types that are more than text: a cast to them checks or cuts.
fn is_restricted_text(pg_type: &PgType) -> bool {
    matches!(
        pg_type,
        PgType::Varchar(Some(_))
            | PgType::Char(_)
            | PgType::Name
            | PgType::InternalChar
            | PgType::Uuid
            | PgType::Json
            | PgType::Jsonb
    )
}

/// Whether PostgreSQL's cast is not Arrow's.
fn differs(from: &Field, to: &Field) -> bool {
    use DataType::{
        Date32, Decimal128, Float32, Float64, Int16, Int32, Int64, Interval, LargeBinary, Null, Time64, Timestamp, Utf8,
    };
    // Types that no column has are the engine's own business: other units, other forms of text.
    let ours = |field: &Field| PgType::of_field(field).is_some_and(|known| known.arrow() == *field.data_type());
    match (from.data_type(), to.data_type()) {
        (Null, _) => false,
        // The engine may leave out a cast that changes no value, and with it the metadata that its type is known by.
        (Utf8, Utf8) => ours(to),
        _ if !ours(from) || !ours(to) => false,
        (Int16 | Int32 | Int64, Utf8) => PgType::of_field(to).is_some_and(|to| is_restricted_text(&to)),
        (_, Utf8) | (Utf8, _) => true,
        (Int16 | Int32 | Int64, Int64) => PgType::of_field(to).is_some_and(|to| is_object(&to)),
        (Float32 | Float64 | Decimal128(_, _), Int16 | Int32 | Int64) => true,
        (Int64, Int32 | Int16) | (Int32, Int16) => true,
        (Float64, Float32) => true,
        (Timestamp(_, from), Timestamp(_, to)) => from.is_some() != to.is_some(),
        (Time64(_), Interval(_)) | (Interval(_), Time64(_)) => true,
        (Timestamp(..), Date32 | Time64(_)) | (Date32, Timestamp(..)) => true,
        (
            Int16 | Int32 | Int64 | Float32 | Float64 | Decimal128(_, _) | LargeBinary,
            Decimal128(_, _) | LargeBinary,
        ) => from.data_type() != to.data_type(),
        (LargeBinary, Int16 | Int32 | Int64 | Float32 | Float64) => true,
        (DataType::List(_), DataType::List(_)) => match (PgType::item_field(from), PgType::item_field(to)) {
            (Some(from), Some(to)) => PgType::of_field(&from) != PgType::of_field(&to) && differs(&from, &to),
            _ => false,
        },
        _ => false,
    }
}

/// A cast to one type, as a function of one argument.
#[derive(Debug)]
struct PostgresCast {
    to: FieldRef,
    signature: Signature,
}

impl PartialEq for PostgresCast {
    fn eq(&self, other: &Self) -> bool {
        self.to.data_type() == other.to.data_type() && self.to.metadata() == other.to.metadata()
    }
}

impl Eq for PostgresCast {}

impl Hash for PostgresCast {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.to.data_type().hash(state);
    }
}

fn cast_function(to: FieldRef) -> Arc<ScalarUDF> {
    let signature = Signature::any(1, Volatility::Immutable);
    let data_type = to.data_type().clone();
    growth::bound_cast(Arc::new(ScalarUDF::from(PostgresCast { to, signature })), &data_type)
}

impl ScalarUDFImpl for PostgresCast {
    fn name(&self) -> &str {
        "cast"
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        Ok(format!("{}::{}", args[0], self.type_name()))
    }

    /// The key of a join stands beside the column that it is made of.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(format!("{}::{}", args[0].schema_name(), self.type_name()))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.to.data_type().clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let from = &args.arg_fields[0];
        let field = self.to.as_ref().clone().with_name(from.name()).with_nullable(true);
        Ok(Arc::new(field))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let zone = zone::of_session(&args.config_options);
        let from = &args.arg_fields[0];
        map(&args.args[0], |column| cast(column, from, &self.to, zone))
    }
}

impl PostgresCast {
    fn type_name(&self) -> String {
        PgType::of_field(&self.to).map_or_else(|| self.to.data_type().to_string(), |known| known.name())
    }
}

/// Applies a function of columns to a value.
pub fn map(
    value: &ColumnarValue,
    function: impl FnOnce(&ArrayRef) -> Result<ArrayRef, SqlError>,
) -> Result<ColumnarValue> {
    match value {
        ColumnarValue::Array(array) => Ok(ColumnarValue::Array(function(array).map_err(fail)?)),
        ColumnarValue::Scalar(scalar) => {
            let result = function(&scalar.to_array()?).map_err(fail)?;
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?))
        }
    }
}

/// Casts a column between two fields' types; `zone` is the session's.
pub fn cast(column: &ArrayRef, from: &Field, to: &Field, zone: TimeZone) -> Result<ArrayRef, SqlError> {
    use DataType::{
        Date32, Decimal128, Float32, Float64, Int16, Int32, Int64, Interval, LargeBinary, Time64, Timestamp, Utf8,
    };
    if let (Some(known), Some(wanted)) = (PgType::of_field(from), PgType::of_field(to))
        && let Some(made) = of_numbers(column, &known, &wanted)?
    {
        return Ok(made);
    }
    if PgType::of_field(from) == Some(PgType::Jsonb)
        && let Some(made) = of_jsonb(column, from, to, zone)?
    {
        return Ok(made);
    }
    match (column.data_type(), to.data_type()) {
        // The engine asks for the result of a column that is NULL.
        (DataType::Null, _) => Ok(arrow::array::new_null_array(to.data_type(), column.len())),
        (Utf8, Utf8) => match (PgType::of_field(from), PgType::of_field(to)) {
            (Some(PgType::InternalChar), _) | (Some(PgType::Char(1..)), Some(PgType::Char(0))) => {
                restrict(&to_text(column, from, zone)?, to)
            }
            (Some(PgType::Char(0)), Some(PgType::Text | PgType::Varchar(_) | PgType::Name)) => {
                let texts = column.as_string::<i32>().iter();
                let bare: StringArray = texts.map(|text| Some(text?.trim_end_matches(' '))).collect();
                restrict(&bare, to)
            }
            _ => restrict(column.as_string(), to),
        },
        // A boolean becomes a NAME as it is shown, other texts as a word.
        (DataType::Boolean, Utf8) if PgType::of_field(to) == Some(PgType::Name) => {
            let shown = column.as_boolean().iter();
            let shown = shown.map(|value| value.map(|value| if value { "t" } else { "f" }));
            Ok(Arc::new(shown.collect::<StringArray>()))
        }
        (_, Utf8) => {
            let text = to_text(column, from, zone)?;
            restrict(&text, to)
        }
        (Utf8, _) => of_text(column.as_string(), to, zone),
        (Float64, Int16 | Int32 | Int64) => {
            let column = column.as_primitive::<Float64Type>();
            integers(to.data_type(), column.len(), |row| whole_float(column, row, f64::from))
        }
        (Float32, Int16 | Int32 | Int64) => {
            let column = column.as_primitive::<Float32Type>();
            integers(to.data_type(), column.len(), |row| whole_float(column, row, f64::from))
        }
        (Decimal128(_, scale), Int16 | Int32 | Int64) => {
            let column = column.as_primitive::<Decimal128Type>();
            // `1e5` is 1 with a scale of -5.
            let power = 10i128.pow(u32::from(scale.unsigned_abs()));
            integers(to.data_type(), column.len(), |row| {
                column.is_valid(row).then(|| match *scale < 0 {
                    true => column.value(row).checked_mul(power),
                    false => Some(round_quotient(column.value(row), power)),
                })
            })
        }
        (Int64, Int16 | Int32) => {
            let column = column.as_primitive::<Int64Type>();
            integers(to.data_type(), column.len(), |row| {
                column.is_valid(row).then(|| Some(i128::from(column.value(row))))
            })
        }
        (Int32, Int16) => {
            let column = column.as_primitive::<Int32Type>();
            integers(to.data_type(), column.len(), |row| {
                column.is_valid(row).then(|| Some(i128::from(column.value(row))))
            })
        }
        (Float64, Float32) => {
            let column = column.as_primitive::<Float64Type>();
            let narrowed: PrimitiveArray<Float32Type> = column.try_unary(|value| {
                let narrow = value as f32;
                if narrow.is_infinite() && value.is_finite() {
                    Err(float_overflow())
                } else {
                    Ok(narrow)
                }
            })?;
            Ok(Arc::new(narrowed))
        }
        (Timestamp(_, Some(_)), Timestamp(_, None)) => {
            Ok(Arc::new(times(column, |instant| zone::to_local(instant, zone))))
        }
        (Timestamp(_, None), Timestamp(_, Some(_))) => {
            let instants = times(column, |local| zone::from_local(local, zone));
            Ok(Arc::new(instants.with_timezone("UTC")))
        }
        (Time64(_), Interval(_)) => {
            let intervals = column
                .as_primitive::<Time64MicrosecondType>()
                .unary::<_, IntervalMonthDayNanoType>(|us| IntervalMonthDayNano::new(0, 0, us * 1_000));
            Ok(Arc::new(intervals))
        }
        // The rest after whole days.
        (Interval(_), Time64(_)) => {
            let times = column
                .as_primitive::<IntervalMonthDayNanoType>()
                .unary::<_, Time64MicrosecondType>(|value| (value.nanoseconds / 1_000).rem_euclid(temporal::DAY_US));
            Ok(Arc::new(times))
        }
        (Timestamp(_, zoned), Date32 | Time64(_)) => {
            let zone = if zoned.is_some() { zone } else { TimeZone::UTC };
            let local = times(column, |instant| zone::to_local(instant, zone));
            Ok(match to.data_type() {
                Date32 => Arc::new(local.unary::<_, Date32Type>(|local| match is_infinite(local) {
                    true => infinite_days(local),
                    false => local.div_euclid(temporal::DAY_US) as i32,
                })),
                // An infinite time has no time of day.
                _ => Arc::new(local.unary_opt::<_, Time64MicrosecondType>(|local| {
                    (!is_infinite(local)).then(|| local.rem_euclid(temporal::DAY_US))
                })),
            })
        }
        (Date32, Timestamp(_, Some(_))) => {
            let instants = temporal::midnights(column, |local| zone::from_local(local, zone))?;
            Ok(Arc::new(instants.with_timezone("UTC")))
        }
        (Date32, Timestamp(_, None)) => Ok(Arc::new(temporal::midnights(column, |local| local)?)),
        (LargeBinary, Int16 | Int32 | Int64 | Float32 | Float64) => of_varying(column, to.data_type()),
        (DataType::List(_), DataType::List(item)) => {
            let lists = column.as_list::<i32>();
            let items = match (PgType::item_field(from), PgType::item_field(to)) {
                (Some(from), Some(to)) if differs(&from, &to) => cast(lists.values(), &from, &to, zone)?,
                _ => strict(lists.values(), item.data_type())?,
            };
            let item = Arc::new(item.as_ref().clone().with_nullable(true));
            let lists = ListArray::try_new(item, lists.offsets().clone(), items, lists.nulls().cloned());
            Ok(Arc::new(lists.map_err(|error| of_arrow(error, column.data_type()))?))
        }
        (_, Decimal128(precision, scale)) => numeric(column, *precision, *scale),
        (_, LargeBinary) => {
            let numbers = Any::of(column);
            collect(column.len(), |row| Ok(numbers.get(row)))
        }
        (_, other) => strict(column, other),
    }
}

/// Numbers and truth values of JSONB; `None` for other casts.
fn of_jsonb(column: &ArrayRef, from: &Field, to: &Field, zone: TimeZone) -> Result<Option<ArrayRef>, SqlError> {
    let wanted = PgType::of_field(to).map(|wanted| wanted.bare());
    let Some(wanted) = wanted.filter(|wanted| wanted.arrow() != DataType::Utf8) else {
        return Ok(None);
    };
    let Some(function) = super::json::cast(&wanted.catalog_name()) else {
        return Ok(None);
    };
    let made = function.invoke_with_args(ScalarFunctionArgs {
        args: vec![ColumnarValue::Array(column.clone())],
        arg_fields: vec![Arc::new(from.clone())],
        number_rows: column.len(),
        return_field: Arc::new(wanted.field("", true)),
        config_options: Arc::new(ConfigOptions::default()),
    })?;
    let made = made.into_array(column.len())?;
    cast(&made, &wanted.field("", true), to, zone).map(Some)
}

/// OID or an alias of it.
fn is_object(pg_type: &PgType) -> bool {
    *pg_type == PgType::Oid || pg_type.is_oid_alias()
}

/// Casts between integers and the types that are numbers under another name; `None` for other casts.
fn of_numbers(column: &ArrayRef, from: &PgType, to: &PgType) -> Result<Option<ArrayRef>, SqlError> {
    use arrow::datatypes::ArrowPrimitiveType as Kind;
    fn made<F: Kind, T: Kind>(
        column: &ArrayRef,
        change: impl Fn(F::Native) -> Result<T::Native, SqlError>,
    ) -> Result<Option<ArrayRef>, SqlError> {
        let column = column.as_primitive::<F>();
        Ok(Some(Arc::new(column.try_unary::<_, T, SqlError>(change)?)))
    }
    let beyond = |name: &str| SqlError::new(state::NUMERIC_VALUE_OUT_OF_RANGE, format!("{name} out of range"));
    match (from, to) {
        (PgType::InternalChar, PgType::Int4) => {
            let held = column.as_string::<i32>().iter();
            let numbers = held.map(|held| held.map(|held| i32::from(letter::byte(held) as i8)));
            Ok(Some(Arc::new(numbers.collect::<PrimitiveArray<Int32Type>>())))
        }
        (PgType::Int4, PgType::InternalChar) => {
            let column = column.as_primitive::<Int32Type>().iter();
            let letters = column.map(|number| match number.map(i8::try_from) {
                None => Ok(None),
                Some(Ok(byte)) => Ok(Some(letter::held(byte as u8).map_or_else(String::new, String::from))),
                Some(Err(_)) => Err(beyond("\"char\"")),
            });
            Ok(Some(Arc::new(letters.collect::<Result<StringArray, SqlError>>()?)))
        }
        // Numbers of 32 bits are the same bits, with a sign or without.
        (PgType::Int2, to) if is_object(to) => {
            made::<Int16Type, Int64Type>(column, |number| Ok(i64::from(i32::from(number) as u32)))
        }
        (PgType::Int4, to) if is_object(to) => {
            made::<Int32Type, Int64Type>(column, |number| Ok(i64::from(number as u32)))
        }
        (PgType::Int8, to) if is_object(to) => made::<Int64Type, Int64Type>(column, |number| {
            u32::try_from(number).map(i64::from).map_err(|_| beyond("OID"))
        }),
        (from, PgType::Int4) if is_object(from) => made::<Int64Type, Int32Type>(column, |number| Ok(number as i32)),
        _ => Ok(None),
    }
}

fn strict(column: &ArrayRef, to: &DataType) -> Result<ArrayRef, SqlError> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(column, to, &options).map_err(|error| match error {
        ArrowError::CastError(_) => out_of_range(to),
        other => of_arrow(other, to),
    })
}

fn times(column: &ArrayRef, change: impl Fn(i64) -> i64) -> TimestampMicrosecondArray {
    let column = match column.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => column.clone(),
        _ => strict(column, &DataType::Timestamp(TimeUnit::Microsecond, None)).unwrap_or_else(|_| column.clone()),
    };
    column.as_primitive::<TimestampMicrosecondType>().unary(change)
}

/// `value / divisor`, rounded half away from zero.
fn round_quotient(value: i128, divisor: i128) -> i128 {
    let (quotient, rest) = (value / divisor, value % divisor);
    if rest.abs() * 2 >= divisor {
        quotient + value.signum()
    } else {
        quotient
    }
}

/// The nearest whole number, ties to even; `Some(None)` if there is none.
fn whole_float<T: ArrowPrimitiveType>(
    column: &PrimitiveArray<T>,
    row: usize,
    widen: impl Fn(T::Native) -> f64,
) -> Option<Option<i128>> {
    column.is_valid(row).then(|| {
        let rounded = widen(column.value(row)).round_ties_even();
        (rounded.abs() < 1e19).then_some(rounded as i128)
    })
}

/// Collects whole numbers into an integer type; 22003 for those that do not fit or are none.
fn integers(to: &DataType, rows: usize, value: impl Fn(usize) -> Option<Option<i128>>) -> Result<ArrayRef, SqlError> {
    fn collect<T: ArrowPrimitiveType>(
        to: &DataType,
        rows: usize,
        value: impl Fn(usize) -> Option<Option<i128>>,
    ) -> Result<ArrayRef, SqlError>
    where
        T::Native: TryFrom<i128>,
    {
        let values = (0..rows)
            .map(|row| match value(row) {
                None => Ok(None),
                Some(whole) => {
                    let fitting = whole.and_then(|whole| T::Native::try_from(whole).ok());
                    fitting.map(Some).ok_or_else(|| out_of_range(to))
                }
            })
            .collect::<Result<PrimitiveArray<T>, SqlError>>()?;
        Ok(Arc::new(values))
    }
    match to {
        DataType::Int16 => collect::<Int16Type>(to, rows, value),
        DataType::Int32 => collect::<Int32Type>(to, rows, value),
        _ => collect::<Int64Type>(to, rows, value),
    }
}

/// A column of numbers of any kind, read as NUMERIC.
enum Any<'a> {
    Exact(Numbers<'a>),
    Real(&'a PrimitiveArray<Float32Type>),
    Double(&'a PrimitiveArray<Float64Type>),
}

impl<'a> Any<'a> {
    fn of(column: &'a ArrayRef) -> Any<'a> {
        match column.data_type() {
            DataType::Float32 => Any::Real(column.as_primitive()),
            DataType::Float64 => Any::Double(column.as_primitive()),
            _ => Any::Exact(Numbers::of(column).expect("planned over numbers")),
        }
    }

    /// PostgreSQL reads a float by its 15 (or 6) digits.
    fn get(&self, row: usize) -> Option<Numeric> {
        match self {
            Any::Exact(numbers) => numbers.get(row),
            Any::Real(values) => values
                .is_valid(row)
                .then(|| Numeric::of_float(values.value(row).into(), f32::DIGITS as usize)),
            Any::Double(values) => values
                .is_valid(row)
                .then(|| Numeric::of_float(values.value(row), f64::DIGITS as usize)),
        }
    }
}

/// A cast to NUMERIC(precision, scale).
fn numeric(column: &ArrayRef, precision: u8, scale: i8) -> Result<ArrayRef, SqlError> {
    let shape = DecimalShape { precision, scale };
    let numbers = Any::of(column);
    let made = (0..column.len()).map(|row| {
        let Some(number) = numbers.get(row) else {
            return Ok(None);
        };
        match &number {
            Numeric::NaN => return Err(not_a_number()),
            Numeric::Infinity | Numeric::MinusInfinity => {
                return Err(shape.infinite());
            }
            _ => {}
        }
        let units = number
            .units(scale)
            .filter(|units| units.unsigned_abs() < 10_u128.pow(precision.into()));
        units.map(Some).ok_or_else(|| shape.overflow())
    });
    let made: Decimal128Array = made.collect::<Result<_, SqlError>>()?;
    Ok(Arc::new(made.with_data_type(DataType::Decimal128(precision, scale))))
}

/// A cast of NUMERIC of any scale to an integer or a float.
fn of_varying(column: &ArrayRef, to: &DataType) -> Result<ArrayRef, SqlError> {
    let numbers = Numbers::of(column).expect("planned over numbers");
    let beyond = |value: f64, number: &Numeric| value.is_infinite() && number.finite().is_some();
    match to {
        DataType::Float64 => {
            let made = (0..column.len()).map(|row| {
                let Some(number) = numbers.get(row) else {
                    return Ok(None);
                };
                let value = number.double();
                match beyond(value, &number) {
                    true => Err(too_large(&number, "double precision")),
                    false => Ok(Some(value)),
                }
            });
            Ok(Arc::new(made.collect::<Result<Float64Array, SqlError>>()?))
        }
        DataType::Float32 => {
            let made = (0..column.len()).map(|row| {
                let Some(number) = numbers.get(row) else {
                    return Ok(None);
                };
                let value = number.text().parse::<f32>().unwrap_or(f32::NAN);
                match beyond(value.into(), &number) {
                    true => Err(too_large(&number, "real")),
                    false => Ok(Some(value)),
                }
            });
            Ok(Arc::new(made.collect::<Result<Float32Array, SqlError>>()?))
        }
        _ => {
            let name = super::type_name(to);
            for row in 0..column.len() {
                if let Some(number) = numbers.get(row)
                    && number.finite().is_none()
                {
                    let what = if number.is_nan() { "NaN" } else { "infinity" };
                    return Err(SqlError::new(
                        state::FEATURE_NOT_SUPPORTED,
                        format!("cannot convert {what} to {name}"),
                    ));
                }
            }
            integers(to, column.len(), |row| numbers.get(row).map(|number| number.units(0)))
        }
    }
}

/// 22003, as the input functions of floats word it.
fn too_large(number: &Numeric, name: &str) -> SqlError {
    SqlError::new(
        state::NUMERIC_VALUE_OUT_OF_RANGE,
        format!("\"{}\" is out of range for type {name}", number.text()),
    )
}

/// Text as PostgreSQL's casts to text write it.
pub fn to_text(column: &ArrayRef, from: &Field, zone: TimeZone) -> Result<StringArray, SqlError> {
    if let Some(booleans) = column.as_any().downcast_ref::<BooleanArray>() {
        return Ok(booleans
            .iter()
            .map(|value| value.map(|value| if value { "true" } else { "false" }))
            .collect());
    }
    let plain = Field::new("", column.data_type().clone(), true);
    let shaped = || crate::types::shaped::item_type(column).map(|item| PgType::Shaped(Box::new(item)));
    let pg_type = PgType::of_field(from)
        .filter(|pg_type| pg_type.arrow().equals_datatype(column.data_type()))
        .or_else(|| PgType::of_field(&plain))
        .or_else(shaped);
    let Some(pg_type) = pg_type else {
        return Ok(strict(column, &DataType::Utf8)?.as_string::<i32>().clone());
    };
    let style = TextStyle {
        time_zone: zone,
        ..TextStyle::default()
    };
    let formatter = ColumnFormatter::new(&pg_type, column, &style)?;
    let mut text = StringBuilder::with_capacity(column.len(), column.len() * 12);
    let mut buffer = BytesMut::new();
    for row in 0..column.len() {
        if column.is_null(row) {
            text.append_null();
            continue;
        }
        buffer.clear();
        formatter.write_text(row, &mut buffer);
        text.append_value(std::str::from_utf8(&buffer).expect("types are written as UTF-8"));
    }
    Ok(text.finish())
}

/// Text read as PostgreSQL's input functions read it: 22P02 and its kind for text that is no such value.
fn of_text(column: &StringArray, to: &Field, zone: TimeZone) -> Result<ArrayRef, SqlError> {
    let Some(pg_type) = PgType::of_field(to) else {
        return strict(&(Arc::new(column.clone()) as ArrayRef), to.data_type());
    };
    let mut builder = ColumnBuilder::new(&pg_type, column.len()).with_time_zone(zone);
    for value in column {
        match value {
            Some(text) => builder.append_text(text)?,
            None => builder.append_null(),
        }
    }
    Ok(builder.finish())
}

/// Text cut to a length, or checked, as the target type wants it.
fn restrict(column: &StringArray, to: &Field) -> Result<ArrayRef, SqlError> {
    fn cut(text: &str, characters: u32) -> &str {
        match text.char_indices().nth(characters as usize) {
            Some((end, _)) => &text[..end],
            None => text,
        }
    }
    match PgType::of_field(to) {
        Some(PgType::Varchar(Some(length))) => {
            let cut: StringArray = column.iter().map(|text| text.map(|text| cut(text, length))).collect();
            Ok(Arc::new(cut))
        }
        Some(PgType::Char(length @ 1..)) => {
            // Its blanks are for output only: they count in no comparison, length or concatenation.
            let bare = |text| cut(text, length).trim_end_matches(' ');
            let trimmed: StringArray = column.iter().map(|text| text.map(bare)).collect();
            Ok(Arc::new(trimmed))
        }
        Some(PgType::Uuid | PgType::Json | PgType::Jsonb | PgType::Name | PgType::InternalChar) => {
            of_text(column, to, TimeZone::UTC)
        }
        _ => Ok(Arc::new(column.clone())),
    }
}

/// Unary minus, checked.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Negation {
    signature: Signature,
}

/// The function of unary minus.
pub fn negation() -> Arc<ScalarUDF> {
    static NEGATION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        let signature = Signature::any(1, Volatility::Immutable);
        Arc::new(ScalarUDF::from(Negation { signature }))
    });
    NEGATION.clone()
}

impl ScalarUDFImpl for Negation {
    fn name(&self) -> &str {
        "negative"
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        Ok(format!("(- {})", args[0]))
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(format!("(- {})", args[0].schema_name()))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments[0].clone())
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        arithmetic::negate(&args.args[0])
    }
}
