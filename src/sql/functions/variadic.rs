//! Functions of arguments of any type, as many as there are: `concat`, `concat_ws`, `format`, `num_nulls`,
//! `quote_literal` and their kind.
//!
//! One rule: a value becomes text as it prints. Arguments stay as they are until then.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, StringBuilder};
use arrow::datatypes::{DataType, FieldRef};
use bytes::BytesMut;
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::{fail, over_columns, undefined_function, zone};
use crate::catalog::{quote_ident, quote_literal};
use crate::error::{SqlError, SqlState, state};
use crate::types::{ColumnFormatter, PgType, TextStyle};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum VariadicFunction {
    Concat,
    ConcatWs,
    Format,
    Nulls,
    NonNulls,
    Literal,
    Nullable,
}

const NAMES: [(&str, VariadicFunction); 7] = [
    ("concat", VariadicFunction::Concat),
    ("concat_ws", VariadicFunction::ConcatWs),
    ("format", VariadicFunction::Format),
    ("num_nulls", VariadicFunction::Nulls),
    ("num_nonnulls", VariadicFunction::NonNulls),
    ("quote_literal", VariadicFunction::Literal),
    ("quote_nullable", VariadicFunction::Nullable),
];

/// One function per name.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    NAMES
        .iter()
        .map(|(name, function)| {
            Arc::new(ScalarUDF::from(Variadic {
                name,
                function: *function,
                signature: Signature::user_defined(Volatility::Immutable),
            }))
        })
        .collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Variadic {
    name: &'static str,
    function: VariadicFunction,
    signature: Signature,
}

impl ScalarUDFImpl for Variadic {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let text = matches!(
            arguments.first(),
            Some(DataType::Utf8 | DataType::LargeUtf8 | DataType::Null)
        );
        let fits = match self.function {
            VariadicFunction::ConcatWs => text && arguments.len() > 1,
            VariadicFunction::Format => text,
            VariadicFunction::Literal | VariadicFunction::Nullable => arguments.len() == 1,
            _ => !arguments.is_empty(),
        };
        if !fits {
            return Err(fail(undefined_function(self.name, arguments)));
        }
        Ok(arguments
            .iter()
            .map(|given| match given {
                DataType::Null | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
                other => other.clone(),
            })
            .collect())
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(match self.function {
            VariadicFunction::Nulls | VariadicFunction::NonNulls => DataType::Int32,
            _ => DataType::Utf8,
        })
    }

    fn is_strict(&self) -> bool {
        self.function == VariadicFunction::Literal
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let style = TextStyle {
            time_zone: zone::of_session(&args.config_options),
            ..TextStyle::default()
        };
        over_columns(&args, |columns, rows| {
            if matches!(self.function, VariadicFunction::Nulls | VariadicFunction::NonNulls) {
                let counted = |row| {
                    let nulls = columns.iter().filter(|column| is_null(column, row)).count();
                    let wanted = self.function == VariadicFunction::Nulls;
                    (if wanted { nulls } else { columns.len() - nulls }) as i32
                };
                return Ok(Arc::new(Int32Array::from_iter_values((0..rows).map(counted))) as ArrayRef);
            }
            let values = VariadicValues::new(columns, &args.arg_fields, &style)?;
            let mut made = StringBuilder::with_capacity(rows, rows * 16);
            let mut out = BytesMut::new();
            for row in 0..rows {
                out.clear();
                match self.text(&values, row, &mut out)? {
                    true => made.append_value(std::str::from_utf8(&out).expect("values print as text")),
                    false => made.append_null(),
                }
            }
            Ok(Arc::new(made.finish()))
        })
    }
}

fn is_null(column: &ArrayRef, row: usize) -> bool {
    matches!(column.data_type(), DataType::Null) || column.is_null(row)
}

impl Variadic {
    /// Whether a text comes out, and not NULL.
    fn text(&self, values: &VariadicValues, row: usize, out: &mut BytesMut) -> Result<bool, SqlError> {
        match self.function {
            VariadicFunction::ConcatWs => {
                let Some(between) = values.text(0, row) else {
                    return Ok(false);
                };
                let mut first = true;
                for at in 1..values.len() {
                    if values.is_null(at, row) {
                        continue;
                    }
                    if !first {
                        out.extend_from_slice(between.as_bytes());
                    }
                    first = false;
                    values.write(at, row, out);
                }
            }
            VariadicFunction::Format => match values.text(0, row) {
                Some(template) => format(&template, values, row, out)?,
                None => return Ok(false),
            },
            VariadicFunction::Literal | VariadicFunction::Nullable => match values.text(0, row) {
                Some(text) => out.extend_from_slice(quote_literal(&text).as_bytes()),
                None if self.function == VariadicFunction::Nullable => out.extend_from_slice(b"NULL"),
                None => return Ok(false),
            },
            _ => (0..values.len())
                .filter(|at| !values.is_null(*at, row))
                .for_each(|at| values.write(at, row, out)),
        }
        Ok(true)
    }
}

/// The arguments, ready to print.
struct VariadicValues<'a> {
    columns: &'a [ArrayRef],
    formatters: Vec<Option<ColumnFormatter>>,
}

impl<'a> VariadicValues<'a> {
    fn new(columns: &'a [ArrayRef], fields: &[FieldRef], style: &TextStyle) -> Result<VariadicValues<'a>, SqlError> {
        let formatters = columns.iter().enumerate().map(|(at, column)| {
            if matches!(column.data_type(), DataType::Null) {
                return Ok(None);
            }
            let known = fields
                .get(at)
                .filter(|field| field.data_type() == column.data_type())
                .and_then(|field| PgType::of_field(field))
                .or_else(|| PgType::of_arrow(column.data_type()))
                .unwrap_or(PgType::Text);
            ColumnFormatter::new(&known, column, style).map(Some)
        });
        Ok(VariadicValues {
            columns,
            formatters: formatters.collect::<Result<_, SqlError>>()?,
        })
    }

    fn len(&self) -> usize {
        self.columns.len()
    }

    fn is_null(&self, at: usize, row: usize) -> bool {
        is_null(&self.columns[at], row)
    }

    fn write(&self, at: usize, row: usize, out: &mut BytesMut) {
        if let Some(formatter) = &self.formatters[at] {
            formatter.write_text(row, out);
        }
    }

    fn text(&self, at: usize, row: usize) -> Option<String> {
        if self.is_null(at, row) {
            return None;
        }
        if self.columns[at].data_type() == &DataType::Utf8 && self.formatters[at].is_none() {
            return Some(self.columns[at].as_string::<i32>().value(row).to_string());
        }
        let mut out = BytesMut::new();
        self.write(at, row, &mut out);
        Some(String::from_utf8(out.to_vec()).expect("values print as text"))
    }
}

fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(state::INVALID_PARAMETER_VALUE, message)
}

/// A width or a position in a template; -1 if there is none.
fn digits(rest: &str) -> Result<(i64, &str), SqlError> {
    let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    if end == 0 {
        return Ok((-1, rest));
    }
    let number: i32 = rest[..end]
        .parse()
        .map_err(|_| SqlError::new(state::NUMERIC_VALUE_OUT_OF_RANGE, "number is out of range"))?;
    Ok((i64::from(number), &rest[end..]))
}

fn unterminated() -> SqlError {
    invalid("unterminated format() type specifier").hint("For a single \"%\" use \"%%\".")
}

/// `format(template, ...)`: `%[position$][-][width]type`, where a width may be `*` or `*position$`.
fn format(template: &str, values: &VariadicValues, row: usize, out: &mut BytesMut) -> Result<(), SqlError> {
    const NULL_NOT_ALLOWED: SqlState = SqlState("22004");
    let too_few = || invalid("too few arguments for format()");
    let argument = |at: usize| if at < values.len() { Ok(at) } else { Err(too_few()) };
    let mut next = 1;
    let mut rest = template;
    while let Some(at) = rest.find('%') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        if rest.is_empty() {
            return Err(unterminated());
        }
        if let Some(after) = rest.strip_prefix('%') {
            out.extend_from_slice(b"%");
            rest = after;
            continue;
        }
        let (mut place, mut width, mut width_from) = (None, 0i64, None);
        let (number, after) = digits(rest)?;
        let mut sized = false;
        if number >= 0 {
            match after.strip_prefix('$') {
                Some(after) => {
                    if number == 0 {
                        return Err(invalid(
                            "format specifies argument 0, but arguments are numbered from 1",
                        ));
                    }
                    place = Some(number as usize);
                    rest = after;
                }
                None => {
                    width = number;
                    sized = true;
                    rest = after;
                }
            }
        }
        let mut left = false;
        if !sized {
            while let Some(after) = rest.strip_prefix('-') {
                left = true;
                rest = after;
            }
            if let Some(after) = rest.strip_prefix('*') {
                let (number, after) = digits(after)?;
                rest = after;
                width_from = Some(match number {
                    -1 => None,
                    _ => {
                        if number == 0 {
                            return Err(invalid(
                                "format specifies argument 0, but arguments are numbered from 1",
                            ));
                        }
                        rest = rest
                            .strip_prefix('$')
                            .ok_or_else(|| invalid("width argument position must be ended by \"$\""))?;
                        Some(number as usize)
                    }
                });
            } else {
                let (number, after) = digits(rest)?;
                width = number.max(0);
                rest = after;
            }
        }
        let kind = rest.chars().next().ok_or_else(unterminated)?;
        if !matches!(kind, 's' | 'I' | 'L') {
            return Err(invalid(format!("unrecognized format() type specifier \"{kind}\""))
                .hint("For a single \"%\" use \"%%\"."));
        }
        rest = &rest[1..];
        if let Some(from) = width_from {
            let at = match from {
                Some(at) => {
                    next = at + 1;
                    argument(at)?
                }
                None => {
                    next += 1;
                    argument(next - 1)?
                }
            };
            width = match values.text(at, row) {
                None => 0,
                Some(text) => text.trim().parse::<i32>().map(i64::from).map_err(|_| {
                    SqlError::new(
                        state::INVALID_TEXT_REPRESENTATION,
                        format!("invalid input syntax for type integer: \"{text}\""),
                    )
                })?,
            };
        }
        let at = argument(place.unwrap_or(next))?;
        next = at + 1;
        let text = match (values.text(at, row), kind) {
            (None, 's') => String::new(),
            (None, 'L') => "NULL".to_string(),
            (None, _) => {
                let message = "null values cannot be formatted as an SQL identifier";
                return Err(SqlError::new(NULL_NOT_ALLOWED, message));
            }
            (Some(text), 's') => text,
            (Some(text), 'L') => quote_literal(&text),
            (Some(text), _) => quote_ident(&text),
        };
        let left = left || width < 0;
        let missing = (width.unsigned_abs() as usize).saturating_sub(text.chars().count());
        if !left {
            out.resize(out.len() + missing, b' ');
        }
        out.extend_from_slice(text.as_bytes());
        if left {
            out.resize(out.len() + missing, b' ');
        }
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(())
}
