//! Functions of plain values, computed row by row: the types of each overload, and its code.
//!
//! One rule: an overload is found by the exact types of the arguments, as PostgreSQL's signatures have them; others
//! only if nothing is lost by a cast. Not here: the tables of overloads, which stand beside the code of each kind of
//! function.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, BooleanBuilder, Float64Builder, Int32Builder, Int64Builder, ListBuilder,
    StringBuilder, Time64MicrosecondBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{
    DataType, Date32Type, Field, Float64Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNano,
    IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::{fail, over_columns, undefined_function, zone};
use crate::error::SqlError;
use crate::stop;
use crate::types::TimeZone;

/// Rows between two looks at whether to go on.
const ROWS: usize = 1024;

/// A type of an argument or a result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OverloadType {
    Bool,
    Int4,
    Int8,
    Float8,
    Text,
    Bytea,
    Time,
    Timestamp,
    TimestampTz,
    Interval,
    Texts,
    TextLists,
}

impl OverloadType {
    fn arrow(self) -> DataType {
        match self {
            OverloadType::Bool => DataType::Boolean,
            OverloadType::Int4 => DataType::Int32,
            OverloadType::Int8 => DataType::Int64,
            OverloadType::Float8 => DataType::Float64,
            OverloadType::Text => DataType::Utf8,
            OverloadType::Bytea => DataType::Binary,
            OverloadType::Time => DataType::Time64(TimeUnit::Microsecond),
            OverloadType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            OverloadType::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            OverloadType::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            OverloadType::Texts => list_of(DataType::Utf8),
            OverloadType::TextLists => list_of(list_of(DataType::Utf8)),
        }
    }

    /// The distance of an argument's type from this one: 0 is the same; `None`: it does not fit.
    fn distance(self, given: &DataType) -> Option<u32> {
        let wanted = self.arrow();
        if *given == wanted {
            return Some(0);
        }
        let integer = |data_type: &DataType| match data_type {
            DataType::Int16 => Some(1),
            DataType::Int32 => Some(2),
            DataType::Int64 => Some(3),
            _ => None,
        };
        match (given, &wanted) {
            (DataType::Null, _) => Some(1),
            (DataType::List(given), DataType::List(wanted)) if given.data_type() == wanted.data_type() => Some(0),
            (DataType::LargeUtf8 | DataType::Utf8View, DataType::Utf8) => Some(1),
            (DataType::Timestamp(_, given), DataType::Timestamp(_, wanted)) if given.is_some() == wanted.is_some() => {
                Some(1)
            }
            // A constant that is not typed yet.
            (DataType::Utf8, DataType::Binary | DataType::Interval(_)) => Some(20),
            (DataType::Date32, DataType::Timestamp(_, None)) => Some(2),
            (DataType::Date32, DataType::Timestamp(_, Some(_))) => Some(1),
            (DataType::Timestamp(_, None), DataType::Timestamp(_, Some(_))) => Some(2),
            (given, DataType::Float64) if given.is_numeric() => Some(5),
            (given, wanted) => {
                let (given, wanted) = (integer(given)?, integer(wanted)?);
                Some(if given <= wanted {
                    wanted - given
                } else {
                    10 + given - wanted
                })
            }
        }
    }
}

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, true)))
}

/// A result, of the kind that the overload gives.
pub enum OverloadValue<'a> {
    Null,
    Bool(bool),
    /// Of any integer kind, or of a time, timestamp or date in its own unit.
    Int(i64),
    Double(f64),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    Texts(Vec<Option<Cow<'a, str>>>),
    TextLists(Vec<Vec<Option<Cow<'a, str>>>>),
}

impl<'a> From<&'a str> for OverloadValue<'a> {
    fn from(text: &'a str) -> OverloadValue<'a> {
        OverloadValue::Text(Cow::Borrowed(text))
    }
}

impl From<String> for OverloadValue<'_> {
    fn from(text: String) -> Self {
        OverloadValue::Text(Cow::Owned(text))
    }
}

impl<'a> From<&'a [u8]> for OverloadValue<'a> {
    fn from(bytes: &'a [u8]) -> OverloadValue<'a> {
        OverloadValue::Bytes(Cow::Borrowed(bytes))
    }
}

impl From<Vec<u8>> for OverloadValue<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        OverloadValue::Bytes(Cow::Owned(bytes))
    }
}

/// The result for a row.
pub type RowResult<'a> = Result<OverloadValue<'a>, SqlError>;

/// The arguments of one call.
pub struct Row<'a> {
    columns: &'a [ArrayRef],
    row: usize,
    /// The session's.
    pub zone: TimeZone,
}

impl<'a> Row<'a> {
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    pub fn is_null(&self, at: usize) -> bool {
        self.columns[at].is_null(self.row)
    }

    pub fn text(&self, at: usize) -> &'a str {
        self.columns[at].as_string::<i32>().value(self.row)
    }

    /// `None` if there is no such argument, or it is NULL.
    pub fn text_if(&self, at: usize) -> Option<&'a str> {
        (at < self.len() && !self.is_null(at)).then(|| self.text(at))
    }

    pub fn bytes(&self, at: usize) -> &'a [u8] {
        self.columns[at].as_binary::<i32>().value(self.row)
    }

    pub fn bool(&self, at: usize) -> bool {
        self.columns[at].as_boolean().value(self.row)
    }

    /// An integer of any width; a date, a time or a timestamp in its own unit.
    pub fn int(&self, at: usize) -> i64 {
        let column = &self.columns[at];
        match column.data_type() {
            DataType::Int16 => column.as_primitive::<Int16Type>().value(self.row).into(),
            DataType::Int32 => column.as_primitive::<Int32Type>().value(self.row).into(),
            DataType::Date32 => column.as_primitive::<Date32Type>().value(self.row).into(),
            DataType::Time64(_) => column.as_primitive::<Time64MicrosecondType>().value(self.row),
            DataType::Timestamp(_, _) => column.as_primitive::<TimestampMicrosecondType>().value(self.row),
            _ => column.as_primitive::<Int64Type>().value(self.row),
        }
    }

    /// The same, or `otherwise` if it is left out.
    pub fn int_or(&self, at: usize, otherwise: i64) -> i64 {
        if at < self.len() { self.int(at) } else { otherwise }
    }

    pub fn double(&self, at: usize) -> f64 {
        self.columns[at].as_primitive::<Float64Type>().value(self.row)
    }

    pub fn is_time(&self, at: usize) -> bool {
        matches!(self.columns[at].data_type(), DataType::Time64(_))
    }

    pub fn is_zoned(&self, at: usize) -> bool {
        matches!(self.columns[at].data_type(), DataType::Timestamp(_, Some(_)))
    }

    pub fn interval(&self, at: usize) -> IntervalMonthDayNano {
        self.columns[at]
            .as_primitive::<IntervalMonthDayNanoType>()
            .value(self.row)
    }
}

type Compute = for<'a> fn(&Row<'a>) -> RowResult<'a>;

/// One signature of a function, and its code.
pub struct Overload {
    name: &'static str,
    takes: &'static [OverloadType],
    gives: OverloadType,
    strict: bool,
    compute: Compute,
}

impl Overload {
    /// NULL where an argument is.
    pub const fn new(
        name: &'static str,
        takes: &'static [OverloadType],
        gives: OverloadType,
        compute: Compute,
    ) -> Overload {
        Overload {
            name,
            takes,
            gives,
            strict: true,
            compute,
        }
    }

    /// The code is called for NULLs, too.
    pub const fn of_nulls(
        name: &'static str,
        takes: &'static [OverloadType],
        gives: OverloadType,
        compute: Compute,
    ) -> Overload {
        Overload {
            name,
            takes,
            gives,
            strict: false,
            compute,
        }
    }

    fn distance(&self, arguments: &[DataType]) -> Option<u32> {
        if self.takes.len() != arguments.len() {
            return None;
        }
        self.takes
            .iter()
            .zip(arguments)
            .map(|(kind, given)| kind.distance(given))
            .sum()
    }
}

/// The functions of all tables: one for each name.
pub fn functions(tables: &[&'static [Overload]]) -> Vec<Arc<ScalarUDF>> {
    let mut names: BTreeMap<&str, Vec<&'static Overload>> = BTreeMap::new();
    for overload in tables.iter().copied().flatten() {
        names.entry(overload.name).or_default().push(overload);
    }
    names
        .into_iter()
        .map(|(name, overloads)| {
            Arc::new(ScalarUDF::from(Overloaded {
                name,
                overloads,
                signature: Signature::user_defined(Volatility::Immutable),
            }))
        })
        .collect()
}

#[derive(Debug)]
struct Overloaded {
    name: &'static str,
    overloads: Vec<&'static Overload>,
    signature: Signature,
}

impl std::fmt::Debug for Overload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{:?}", self.name, self.takes)
    }
}

impl PartialEq for Overloaded {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Overloaded {}

impl Hash for Overloaded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Overloaded {
    fn of(&self, arguments: &[DataType]) -> Result<&'static Overload> {
        self.overloads
            .iter()
            .filter_map(|overload| Some((overload.distance(arguments)?, *overload)))
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, overload)| overload)
            .ok_or_else(|| fail(undefined_function(self.name, arguments)))
    }
}

impl ScalarUDFImpl for Overloaded {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let overload = self.of(arguments)?;
        let wanted = overload.takes.iter().zip(arguments);
        Ok(wanted
            .map(|(kind, given)| match kind.distance(given) {
                Some(0) => given.clone(),
                _ => kind.arrow(),
            })
            .collect())
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(self.of(arguments)?.gives.arrow())
    }

    fn is_strict(&self) -> bool {
        self.overloads.iter().all(|overload| overload.strict)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let types: Vec<DataType> = args.args.iter().map(ColumnarValue::data_type).collect();
        let overload = self.of(&types)?;
        let zone = zone::of_session(&args.config_options);
        over_columns(&args, |columns, rows| {
            let mut column = ResultColumn::new(overload.gives, rows);
            for row in 0..rows {
                if row % ROWS == 0 {
                    stop::check()?;
                }
                if overload.strict && columns.iter().any(|column| column.is_null(row)) {
                    column.append(OverloadValue::Null);
                    continue;
                }
                column.append((overload.compute)(&Row { columns, row, zone })?);
            }
            Ok(column.finish())
        })
    }
}

/// The results, as far as they are made.
enum ResultColumn {
    Bool(BooleanBuilder),
    Int4(Int32Builder),
    Int8(Int64Builder),
    Float8(Float64Builder),
    Text(StringBuilder),
    Bytea(BinaryBuilder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Texts(ListBuilder<StringBuilder>),
    TextLists(ListBuilder<ListBuilder<StringBuilder>>),
}

impl ResultColumn {
    fn new(kind: OverloadType, rows: usize) -> ResultColumn {
        match kind {
            OverloadType::Bool => ResultColumn::Bool(BooleanBuilder::with_capacity(rows)),
            OverloadType::Int4 => ResultColumn::Int4(Int32Builder::with_capacity(rows)),
            OverloadType::Int8 => ResultColumn::Int8(Int64Builder::with_capacity(rows)),
            OverloadType::Float8 => ResultColumn::Float8(Float64Builder::with_capacity(rows)),
            OverloadType::Text => ResultColumn::Text(StringBuilder::with_capacity(rows, rows)),
            OverloadType::Bytea => ResultColumn::Bytea(BinaryBuilder::with_capacity(rows, rows)),
            OverloadType::Time => ResultColumn::Time(Time64MicrosecondBuilder::with_capacity(rows)),
            OverloadType::Timestamp | OverloadType::TimestampTz => {
                ResultColumn::Timestamp(TimestampMicrosecondBuilder::with_capacity(rows).with_data_type(kind.arrow()))
            }
            OverloadType::Interval => unreachable!("no function of plain values gives an interval"),
            OverloadType::Texts => ResultColumn::Texts(ListBuilder::new(StringBuilder::new())),
            OverloadType::TextLists => {
                ResultColumn::TextLists(ListBuilder::new(ListBuilder::new(StringBuilder::new())))
            }
        }
    }

    fn append(&mut self, value: OverloadValue) {
        match (self, value) {
            (ResultColumn::Bool(made), OverloadValue::Bool(value)) => made.append_value(value),
            (ResultColumn::Int4(made), OverloadValue::Int(value)) => made.append_value(value as i32),
            (ResultColumn::Int8(made), OverloadValue::Int(value)) => made.append_value(value),
            (ResultColumn::Float8(made), OverloadValue::Double(value)) => made.append_value(value),
            (ResultColumn::Text(made), OverloadValue::Text(value)) => made.append_value(value),
            (ResultColumn::Bytea(made), OverloadValue::Bytes(value)) => made.append_value(value),
            (ResultColumn::Time(made), OverloadValue::Int(value)) => made.append_value(value),
            (ResultColumn::Timestamp(made), OverloadValue::Int(value)) => made.append_value(value),
            (ResultColumn::Texts(made), OverloadValue::Texts(values)) => append_texts(made, values),
            (ResultColumn::TextLists(made), OverloadValue::TextLists(lists)) => {
                for list in lists {
                    append_texts(made.values(), list);
                }
                made.append(true);
            }
            (ResultColumn::Bool(made), _) => made.append_null(),
            (ResultColumn::Int4(made), _) => made.append_null(),
            (ResultColumn::Int8(made), _) => made.append_null(),
            (ResultColumn::Float8(made), _) => made.append_null(),
            (ResultColumn::Text(made), _) => made.append_null(),
            (ResultColumn::Bytea(made), _) => made.append_null(),
            (ResultColumn::Time(made), _) => made.append_null(),
            (ResultColumn::Timestamp(made), _) => made.append_null(),
            (ResultColumn::Texts(made), _) => made.append_null(),
            (ResultColumn::TextLists(made), _) => made.append_null(),
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            ResultColumn::Bool(mut made) => Arc::new(made.finish()),
            ResultColumn::Int4(mut made) => Arc::new(made.finish()),
            ResultColumn::Int8(mut made) => Arc::new(made.finish()),
            ResultColumn::Float8(mut made) => Arc::new(made.finish()),
            ResultColumn::Text(mut made) => Arc::new(made.finish()),
            ResultColumn::Bytea(mut made) => Arc::new(made.finish()),
            ResultColumn::Time(mut made) => Arc::new(made.finish()),
            ResultColumn::Timestamp(mut made) => Arc::new(made.finish()),
            ResultColumn::Texts(mut made) => Arc::new(made.finish()),
            ResultColumn::TextLists(mut made) => Arc::new(made.finish()),
        }
    }
}

fn append_texts(made: &mut ListBuilder<StringBuilder>, values: Vec<Option<Cow<str>>>) {
    for value in values {
        made.values().append_option(value);
    }
    made.append(true);
}
