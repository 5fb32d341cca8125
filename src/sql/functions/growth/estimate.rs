//! The functions that can grow their input, and the size of their results.
//!
//! One rule: the estimate of a row is never less than its result, and not much more if that would refuse
//! a result that fits. A test lists the functions that do not grow, and holds that every function is here or there.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int64Type, IntervalMonthDayNano};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF};

use super::regex;
use crate::sql::functions::json::pretty_bytes;

/// Bytes of a value without a size of its own: numbers, times, an element's offset.
const PLAIN_BYTES: u64 = 16;
/// The text of a number, a time or an interval, bytes.
const PLAIN_TEXT_BYTES: u64 = 64;
/// The most that one letter of a pattern of `to_char` becomes, bytes: the name of a zone.
const FORMATTED_BYTES: u64 = 32;
/// Bytes of a letter, at most.
const LETTER_BYTES: u64 = 4;
/// A letter in a normal form of Unicode takes this many times its size, at most.
const NORMALIZED_TIMES: u64 = 12;
/// A month and a day at their shortest, nanoseconds.
const MONTH_NS: u64 = 28 * DAY_NS;
const DAY_NS: u64 = 86_400_000_000_000;

/// The growth of a function's result over its arguments.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Growth {
    /// Text, this many times the size of all arguments together.
    Text(u64),
    /// Text in which only letters other than ASCII's grow.
    Letters(u64),
    /// Arrays, this many times the size of all arguments together.
    Arrays(u64),
    /// Text of any value: a cast.
    TextOf,
    /// A value read from text: a cast.
    Read,
    /// JSON of any values, or JSON with them.
    Json,
    /// JSON over several lines.
    JsonLines,
    /// Text of all arguments, this many times.
    TextsOf(u64),
    /// A template with places for the other arguments.
    Format,
    /// The first argument, as often as the second says.
    Filled,
    /// A number for each element of the first argument.
    Subscripts,
    Repeat,
    Pad,
    Replace,
    ConcatWs,
    ToChar,
    /// Elements of the first argument as text, with the second between them.
    Join,
    /// The first argument at each place of the second.
    Split,
    /// Numbers or times from, to, by.
    Series,
    /// The first argument with the third in the place of some of its elements.
    Exchanged,
    RegexReplace,
    RegexMatch,
    /// Text between matches, which may be between any two letters.
    RegexSplit,
    /// Makes numbers only; its pattern is checked.
    RegexOther,
}

impl Growth {
    /// By the name that the engine has for the function; `None`: it does not grow.
    pub fn of(name: &str) -> Option<Growth> {
        Some(match name {
            "repeat" => Growth::Repeat,
            "lpad" | "rpad" => Growth::Pad,
            "replace" => Growth::Replace,
            "concat_ws" => Growth::ConcatWs,
            "to_char" => Growth::ToChar,
            "||" | "greatest" | "least" | "nullif" | "reverse" | "decode" | "to_ascii" => Growth::Text(1),
            "concat" => Growth::TextsOf(1),
            "quote_literal" | "quote_nullable" => Growth::TextsOf(3),
            "format" => Growth::Format,
            "convert" | "convert_from" | "like_escape" => Growth::Text(2),
            "overlay" | "quote_ident" => Growth::Text(3),
            "similar_escape" | "similar_to_escape" | "jsonpath_in" => Growth::Text(8),
            "normalize" => Growth::Letters(NORMALIZED_TIMES),
            "encode" => Growth::Text(LETTER_BYTES),
            "upper" | "lower" | "initcap" => Growth::Letters(3),
            "translate" => Growth::Letters(LETTER_BYTES),
            "array_to_string" => Growth::Join,
            "string_to_array" | "string_to_table" => Growth::Split,
            "parse_ident" => Growth::Arrays(3),
            "array_fill" => Growth::Filled,
            "generate_subscripts" => Growth::Subscripts,
            "generate_series" => Growth::Series,
            "array_replace" => Growth::Exchanged,
            "array_append_to" | "array_cat_of" | "array_gathered" | "array_nested" | "array_of_list"
            | "array_prepend_to" => Growth::Arrays(2),
            "array_append" | "array_prepend" | "array_concat" | "array_cat" | "array_slice" | "array_positions"
            | "make_array" | "struct" => Growth::Arrays(1),
            "json_build_array" | "json_build_object" | "json_object" | "json_strip_nulls" | "jsonb_build_array"
            | "jsonb_build_object" | "jsonb_concat" | "jsonb_insert" | "jsonb_object" | "jsonb_set"
            | "jsonb_set_lax" | "jsonb_strip_nulls" | "to_json" | "to_jsonb" | "array_to_json" | "row_to_json" => {
                Growth::Json
            }
            "jsonb_pretty" => Growth::JsonLines,
            "jsonb_sort_key" => Growth::Text(16),
            "json_array_elements"
            | "json_array_elements_text"
            | "json_each"
            | "json_each_text"
            | "json_object_keys"
            | "jsonb_array_elements"
            | "jsonb_array_elements_text"
            | "jsonb_each"
            | "jsonb_each_text"
            | "jsonb_object_keys" => Growth::Arrays(3),
            // These count their output, too: it depends on the path.
            "jsonb_path_query"
            | "jsonb_path_query_tz"
            | "jsonb_path_query_array"
            | "jsonb_path_query_array_tz"
            | "jsonb_path_query_first"
            | "jsonb_path_query_first_tz" => Growth::Arrays(3),
            "regexp_replace" => Growth::RegexReplace,
            "regexp_match" | "regexp_matches" => Growth::RegexMatch,
            "regexp_split_to_array" | "regexp_split_to_table" => Growth::RegexSplit,
            "regexp_like" | "regexp_count" | "regexp_instr" | "regexp_substr" => Growth::RegexOther,
            _ => return None,
        })
    }

    pub fn makes_arrays(self) -> bool {
        matches!(
            self,
            Growth::Arrays(_)
                | Growth::Series
                | Growth::Exchanged
                | Growth::Split
                | Growth::Filled
                | Growth::Subscripts
        )
    }

    /// Refuses patterns that would take more to compile than they are worth.
    pub fn check(self, args: &ScalarFunctionArgs) -> Result<()> {
        match self {
            Growth::RegexReplace | Growth::RegexMatch | Growth::RegexSplit | Growth::RegexOther => {
                match args.args.get(1) {
                    Some(pattern) => regex::check_values(pattern),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// Calls the function; one that compiles a pattern for each row, for a few of them at a time.
    pub fn invoke(self, function: &ScalarUDF, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match self {
            Growth::RegexReplace | Growth::RegexMatch | Growth::RegexSplit | Growth::RegexOther => {
                regex::invoke_in_parts(function, args)
            }
            _ => function.invoke_with_args(args),
        }
    }

    /// A bound for the whole batch that costs next to nothing to find.
    pub fn at_most(self, arguments: &Arguments) -> u64 {
        let rows = arguments.rows() as u64;
        let total = arguments.total();
        let grown = |times: u64| total.saturating_mul(times).saturating_add(rows * PLAIN_BYTES);
        match self {
            Growth::Text(times) | Growth::Letters(times) | Growth::Arrays(times) => grown(times),
            Growth::TextOf => grown(4).saturating_add(rows * PLAIN_TEXT_BYTES / 2),
            Growth::Read => grown(9),
            Growth::Split => grown(5),
            Growth::RegexOther => 0,
            _ => (0..arguments.rows()).fold(0u64, |sum, row| sum.saturating_add(self.of_row(arguments, row))),
        }
    }

    /// Bytes that are made for a row.
    pub fn of_row(self, arguments: &Arguments, row: usize) -> u64 {
        let bytes = |index| arguments.bytes(index, row);
        let all = || (0..arguments.len()).fold(0u64, |sum, index| sum.saturating_add(bytes(index)));
        match self {
            Growth::Text(times) => all().saturating_mul(times),
            Growth::Arrays(times) => all().saturating_mul(times).saturating_add(PLAIN_BYTES),
            Growth::Letters(times) => {
                let ascii = (0..arguments.len()).all(|index| arguments.text(index, row).is_none_or(str::is_ascii));
                if ascii {
                    bytes(0)
                } else {
                    bytes(0).saturating_mul(times)
                }
            }
            Growth::TextOf => arguments.text_of(0, row),
            Growth::Json => (0..arguments.len()).fold(PLAIN_BYTES, |sum, index| {
                sum.saturating_add(arguments.json_of(index, row))
            }),
            Growth::JsonLines => arguments.text(0, row).map_or(0, pretty_bytes),
            Growth::Read => bytes(0).saturating_mul(9),
            Growth::TextsOf(times) => texts_of(arguments, row).saturating_mul(times),
            Growth::Format => formatted(arguments, row),
            Growth::Filled => bytes(0).max(1).saturating_mul(filled(arguments, row)),
            Growth::Subscripts => arguments.elements(0, row).saturating_mul(4),
            Growth::Repeat => bytes(0).saturating_mul(arguments.count(1, row)),
            Growth::Pad => {
                let ascii = [0, 2].iter().all(|index| {
                    arguments
                        .text(*index, row)
                        .is_none_or(|text| text.len() < 1 << 20 && text.is_ascii())
                });
                let letters = arguments.count(1, row);
                // As in PostgreSQL, which asks for the longest result of that number of letters.
                if ascii && letters.saturating_mul(LETTER_BYTES) <= super::VALUE_BYTES_MAX {
                    letters
                } else {
                    letters.saturating_mul(LETTER_BYTES)
                }
            }
            Growth::Replace => replaced(arguments, row),
            Growth::ConcatWs => {
                let between = bytes(0).saturating_mul(arguments.len().saturating_sub(2) as u64);
                texts_of(arguments, row)
                    .saturating_sub(bytes(0))
                    .saturating_add(between)
            }
            Growth::ToChar => bytes(1)
                .saturating_mul(FORMATTED_BYTES)
                .saturating_add(PLAIN_TEXT_BYTES),
            Growth::Join => {
                let elements = arguments.elements(0, row);
                let rest = bytes(1).saturating_add(bytes(2));
                arguments.text_of(0, row).saturating_add(elements.saturating_mul(rest))
            }
            Growth::Split => split(arguments, row),
            Growth::Series => series(arguments, row).saturating_mul(8),
            Growth::Exchanged => {
                let exchanged = bytes(2).saturating_mul(arguments.elements(0, row));
                bytes(0).saturating_add(exchanged)
            }
            Growth::RegexReplace => regex_replaced(arguments, row),
            Growth::RegexMatch => {
                let groups = arguments
                    .text(1, row)
                    .map_or(0, |pattern| pattern.bytes().filter(|byte| *byte == b'(').count() as u64);
                // An offset for each group of each match, which may be empty.
                let found = if arguments.text(2, row).is_some_and(|flags| flags.contains('g')) {
                    bytes(0).saturating_add(1)
                } else {
                    1
                };
                bytes(0)
                    .saturating_mul(groups.max(1))
                    .saturating_add(found.saturating_mul(4 * (groups + 1)))
            }
            Growth::RegexSplit => bytes(0).saturating_mul(5).saturating_add(4),
            Growth::RegexOther => 0,
        }
    }
}

fn texts_of(arguments: &Arguments, row: usize) -> u64 {
    (0..arguments.len()).fold(0u64, |sum, index| sum.saturating_add(arguments.text_of(index, row)))
}

/// `format(template, ...)`: each place may show the longest argument, in quotes, and be as wide as a number says.
fn formatted(arguments: &Arguments, row: usize) -> u64 {
    let Some(template) = arguments.text(0, row) else {
        return 0;
    };
    let others = 1..arguments.len();
    let longest = others
        .clone()
        .map(|index| arguments.text_of(index, row))
        .max()
        .unwrap_or(0);
    let places = template.bytes().filter(|byte| *byte == b'%').count() as u64;
    let written = template
        .split(|letter: char| !letter.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .fold(0u64, |sum, digits| {
            // Another number is refused.
            sum.saturating_add(digits.parse::<i32>().map_or(0, |width| width as u64))
        });
    let given = match template.contains('*') {
        true => others
            .filter_map(|index| arguments.integer(index, row))
            .map(i64::unsigned_abs)
            .max()
            .unwrap_or(0),
        false => 0,
    };
    (template.len() as u64)
        .saturating_add(places.saturating_mul(longest.saturating_mul(2).saturating_add(given)))
        .saturating_add(written)
}

/// Elements of an array whose extents are the second argument.
fn filled(arguments: &Arguments, row: usize) -> u64 {
    let Some(ScalarValue::List(extents)) = arguments.value(1, row) else {
        return 0;
    };
    let extents = extents.values().clone();
    (0..extents.len())
        .filter_map(|at| ScalarValue::try_from_array(&extents, at).ok().as_ref().and_then(whole))
        .fold(1u64, |product, extent| product.saturating_mul(extent.max(0) as u64))
}

/// `replace(text, from, to)`: counted, if a bound would be too large.
fn replaced(arguments: &Arguments, row: usize) -> u64 {
    let (Some(text), Some(from)) = (arguments.text(0, row), arguments.text(1, row)) else {
        return 0;
    };
    let to = arguments.bytes(2, row);
    let (length, taken) = (text.len() as u64, from.len() as u64);
    if to <= taken {
        return length;
    }
    let at_most = length.checked_div(taken).unwrap_or(length + 1);
    let bound = length.saturating_add(at_most.saturating_mul(to - taken));
    if bound <= (length * 2).max(1 << 16) || taken == 0 {
        return bound;
    }
    let places = memchr::memmem::find_iter(text.as_bytes(), from.as_bytes()).count() as u64;
    length.saturating_add(places.saturating_mul(to - taken))
}

/// Text, and an offset for each element.
fn split(arguments: &Arguments, row: usize) -> u64 {
    let Some(text) = arguments.text(0, row) else {
        return 0;
    };
    let length = text.len() as u64;
    let elements = match arguments.text(1, row) {
        // Between any two letters.
        None => length,
        Some("") => 1,
        Some(_) if length < 1 << 16 => length,
        Some(between) => memchr::memmem::find_iter(text.as_bytes(), between.as_bytes()).count() as u64,
    };
    // Elements count as PostgreSQL's, of which an array of this size has no more.
    (length + 4 * elements).max(if elements > super::ELEMENTS_MAX {
        elements * 9
    } else {
        0
    })
}

/// A match takes no more than the text; each reference of the replacement repeats that at most.
fn regex_replaced(arguments: &Arguments, row: usize) -> u64 {
    let (Some(text), Some(pattern), Some(replacement)) =
        (arguments.text(0, row), arguments.text(1, row), arguments.text(2, row))
    else {
        return 0;
    };
    let flags = arguments.text(3, row).unwrap_or("");
    let length = text.len() as u64;
    let references = replacement.bytes().filter(|byte| matches!(byte, b'\\' | b'$')).count() as u64;
    let of_references = length.saturating_mul(references);
    let literal = replacement.len() as u64;
    let matches = if flags.contains('g') { length + 1 } else { 1 };
    let bound = length
        .saturating_add(of_references)
        .saturating_add(matches.saturating_mul(literal));
    if bound <= super::SLICE_BYTES {
        return bound;
    }
    let matches = matches.min(regex::count(text, pattern, flags.contains('i')).saturating_add(1));
    length
        .saturating_add(of_references)
        .saturating_add(matches.saturating_mul(literal))
}

/// The number of members of a series.
fn series(arguments: &Arguments, row: usize) -> u64 {
    let positions = |from: i128, to: i128, step: u128| {
        let distance = (to - from).unsigned_abs();
        u64::try_from(distance / step.max(1))
            .unwrap_or(u64::MAX)
            .saturating_add(1)
    };
    if let Some(step) = arguments.interval(2, row) {
        let (Some(from), Some(to)) = (arguments.instant(0, row), arguments.instant(1, row)) else {
            return 0;
        };
        let signed = i128::from(step.months) * i128::from(MONTH_NS)
            + i128::from(step.days) * i128::from(DAY_NS)
            + i128::from(step.nanoseconds);
        // It goes the other way: no members.
        if signed != 0 && (to - from).signum() != signed.signum() && to != from {
            return 0;
        }
        return positions(from, to, signed.unsigned_abs());
    }
    match arguments.len() {
        1 => arguments.count(0, row),
        _ => {
            let (Some(from), Some(to)) = (arguments.integer(0, row), arguments.integer(1, row)) else {
                return 0;
            };
            let step = arguments.integer(2, row).unwrap_or(1);
            if (to > from && step < 0) || (to < from && step > 0) {
                return 0;
            }
            positions(i128::from(from), i128::from(to), i128::from(step).unsigned_abs())
        }
    }
}

/// The arguments of a call, each of which may be one value for all rows.
pub struct Arguments<'a> {
    values: &'a [ColumnarValue],
    rows: usize,
}

impl<'a> Arguments<'a> {
    pub fn new(values: &'a [ColumnarValue], rows: usize) -> Arguments<'a> {
        let scalar = values.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        Arguments {
            values,
            rows: if scalar { 1 } else { rows },
        }
    }

    /// Rows that are computed: one, if every argument is one value.
    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Bytes of all arguments for all rows.
    fn total(&self) -> u64 {
        self.values.iter().fold(0, |sum: u64, value| {
            sum.saturating_add(match value {
                ColumnarValue::Array(array) => bytes_between(array, 0, array.len()),
                ColumnarValue::Scalar(value) => scalar_bytes(value).saturating_mul(self.rows as u64),
            })
        })
    }

    fn bytes(&self, index: usize, row: usize) -> u64 {
        match self.values.get(index) {
            Some(ColumnarValue::Array(array)) if array.is_null(row) => 0,
            Some(ColumnarValue::Array(array)) => bytes_between(array, row, row + 1),
            Some(ColumnarValue::Scalar(value)) => scalar_bytes(value),
            None => 0,
        }
    }

    fn text(&self, index: usize, row: usize) -> Option<&str> {
        match self.values.get(index)? {
            ColumnarValue::Array(array) if array.is_null(row) => None,
            ColumnarValue::Array(array) => match array.data_type() {
                DataType::Utf8 => Some(array.as_string::<i32>().value(row)),
                DataType::LargeUtf8 => Some(array.as_string::<i64>().value(row)),
                DataType::Utf8View => Some(array.as_string_view().value(row)),
                _ => None,
            },
            ColumnarValue::Scalar(value) => value.try_as_str().flatten(),
        }
    }

    fn integer(&self, index: usize, row: usize) -> Option<i64> {
        match self.values.get(index)? {
            ColumnarValue::Array(array) if array.is_null(row) => None,
            ColumnarValue::Array(array) => match array.data_type() {
                DataType::Int64 => Some(array.as_primitive::<Int64Type>().value(row)),
                _ => whole(&ScalarValue::try_from_array(array, row).ok()?),
            },
            ColumnarValue::Scalar(value) => whole(value),
        }
    }

    /// A number of times; none if it is negative.
    fn count(&self, index: usize, row: usize) -> u64 {
        self.integer(index, row).map_or(0, |count| count.max(0) as u64)
    }

    fn interval(&self, index: usize, row: usize) -> Option<IntervalMonthDayNano> {
        match self.value(index, row)? {
            ScalarValue::IntervalMonthDayNano(value) => value,
            _ => None,
        }
    }

    /// A date or time, nanoseconds since 1970.
    fn instant(&self, index: usize, row: usize) -> Option<i128> {
        Some(match self.value(index, row)? {
            ScalarValue::Date32(value) => i128::from(value?) * i128::from(DAY_NS),
            ScalarValue::Date64(value) => i128::from(value?) * 1_000_000,
            ScalarValue::TimestampSecond(value, _) => i128::from(value?) * 1_000_000_000,
            ScalarValue::TimestampMillisecond(value, _) => i128::from(value?) * 1_000_000,
            ScalarValue::TimestampMicrosecond(value, _) => i128::from(value?) * 1_000,
            ScalarValue::TimestampNanosecond(value, _) => i128::from(value?),
            _ => return None,
        })
    }

    fn value(&self, index: usize, row: usize) -> Option<ScalarValue> {
        match self.values.get(index)? {
            ColumnarValue::Array(array) => ScalarValue::try_from_array(array, row).ok(),
            ColumnarValue::Scalar(value) => Some(value.clone()),
        }
    }

    /// Elements of an array, of its arrays if it has such.
    fn elements(&self, index: usize, row: usize) -> u64 {
        match self.values.get(index) {
            Some(ColumnarValue::Array(array)) if !array.is_null(row) => leaves(array, row, row + 1).0,
            Some(ColumnarValue::Scalar(value)) if !value.is_null() => match list_of(value) {
                Some(list) => leaves(&list, 0, list.len()).0,
                None => 1,
            },
            _ => 0,
        }
    }

    /// The size of a value in JSON, at most.
    fn json_of(&self, index: usize, row: usize) -> u64 {
        match self.values.get(index) {
            Some(ColumnarValue::Array(array)) => json_bytes(array, row, row + 1),
            Some(ColumnarValue::Scalar(value)) => value.to_array().map_or(0, |array| json_bytes(&array, 0, 1)),
            None => 0,
        }
    }

    /// The size of a value as text, at most.
    fn text_of(&self, index: usize, row: usize) -> u64 {
        let of = |(elements, bytes): (u64, u64)| {
            elements
                .saturating_mul(PLAIN_TEXT_BYTES / 2)
                .saturating_add(bytes.saturating_mul(2))
                .saturating_add(PLAIN_TEXT_BYTES)
        };
        match self.values.get(index) {
            Some(ColumnarValue::Array(array)) if !array.is_null(row) => match array.data_type() {
                DataType::Utf8 => bytes_between(array, row, row + 1),
                _ => of(leaves(array, row, row + 1)),
            },
            Some(ColumnarValue::Scalar(value)) if !value.is_null() => match (value.try_as_str(), list_of(value)) {
                (Some(text), _) => text.map_or(0, |text| text.len() as u64),
                (_, Some(list)) => of(leaves(&list, 0, list.len())),
                _ => of((1, scalar_bytes(value))),
            },
            _ => 0,
        }
    }
}

pub fn whole(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::Int8(value) => value.map(i64::from),
        ScalarValue::Int16(value) => value.map(i64::from),
        ScalarValue::Int32(value) => value.map(i64::from),
        ScalarValue::Int64(value) => *value,
        ScalarValue::UInt8(value) => value.map(i64::from),
        ScalarValue::UInt16(value) => value.map(i64::from),
        ScalarValue::UInt32(value) => value.map(i64::from),
        ScalarValue::UInt64(value) => value.map(|value| i64::try_from(value).unwrap_or(i64::MAX)),
        _ => None,
    }
}

fn list_of(value: &ScalarValue) -> Option<ArrayRef> {
    match value {
        ScalarValue::List(list) => Some(list.clone() as ArrayRef),
        ScalarValue::LargeList(list) => Some(list.clone() as ArrayRef),
        ScalarValue::FixedSizeList(list) => Some(list.clone() as ArrayRef),
        _ => None,
    }
}

pub fn scalar_bytes(value: &ScalarValue) -> u64 {
    match value {
        ScalarValue::Utf8(text) | ScalarValue::LargeUtf8(text) | ScalarValue::Utf8View(text) => {
            text.as_ref().map_or(0, |text| text.len() as u64)
        }
        ScalarValue::Binary(bytes) | ScalarValue::LargeBinary(bytes) | ScalarValue::BinaryView(bytes) => {
            bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)
        }
        other => match list_of(other) {
            Some(list) => bytes_between(&list, 0, list.len()),
            None => other
                .data_type()
                .primitive_width()
                .map_or(PLAIN_BYTES, |width| width as u64),
        },
    }
}

/// Bytes of the values from one row to another, without those of NULLs' bits.
pub fn bytes_between(array: &ArrayRef, from: usize, to: usize) -> u64 {
    let rows = (to - from) as u64;
    match array.data_type() {
        DataType::Utf8 => span(array.as_string::<i32>().value_offsets(), from, to),
        DataType::Binary => span(array.as_binary::<i32>().value_offsets(), from, to),
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let (first, last) = (list.value_offsets()[from] as usize, list.value_offsets()[to] as usize);
            bytes_between(list.values(), first, last).saturating_add(4 * rows + 4 * (last - first) as u64)
        }
        data_type => match data_type.primitive_width() {
            Some(width) => rows * width as u64,
            None => array
                .to_data()
                .slice(from, to - from)
                .get_slice_memory_size()
                .map_or(rows * PLAIN_BYTES, |bytes| bytes as u64),
        },
    }
}

/// Bytes of values in JSON, at most: each with its separator.
fn json_bytes(array: &ArrayRef, from: usize, to: usize) -> u64 {
    /// A letter that is written as `\u0001`.
    const ESCAPED_BYTES: u64 = 6;
    let rows = (to - from) as u64;
    match array.data_type() {
        DataType::Utf8 => {
            let texts = array.as_string::<i32>();
            let bytes = span(texts.value_offsets(), from, to);
            let start = texts.value_offsets()[from] as usize;
            let text = &texts.values()[start..start + bytes as usize];
            let is_escaped = |byte: &&u8| **byte < b' ' || matches!(byte, b'"' | b'\\');
            let escaped = text.iter().filter(is_escaped).count() as u64;
            bytes + escaped * (ESCAPED_BYTES - 1) + rows * PLAIN_BYTES
        }
        DataType::Binary => bytes_between(array, from, to).saturating_mul(4) + rows * PLAIN_BYTES,
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let (first, last) = (list.value_offsets()[from] as usize, list.value_offsets()[to] as usize);
            json_bytes(list.values(), first, last).saturating_add(rows * PLAIN_BYTES)
        }
        DataType::Struct(members) => {
            let columns = array.as_struct().columns().iter().zip(members);
            columns.fold(rows * PLAIN_BYTES, |sum, (column, member)| {
                let name = member.name().len() as u64 * ESCAPED_BYTES + PLAIN_BYTES;
                sum.saturating_add(json_bytes(column, from, to))
                    .saturating_add(rows.saturating_mul(name))
            })
        }
        _ => rows * PLAIN_TEXT_BYTES,
    }
}

fn span(offsets: &[i32], from: usize, to: usize) -> u64 {
    (offsets[to] - offsets[from]) as u64
}

/// Elements below all arrays, and the bytes of those that have a size of their own.
fn leaves(array: &ArrayRef, from: usize, to: usize) -> (u64, u64) {
    match array.data_type() {
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let (first, last) = (list.value_offsets()[from] as usize, list.value_offsets()[to] as usize);
            let (elements, bytes) = leaves(list.values(), first, last);
            // An empty array has its braces.
            (elements.saturating_add((to - from) as u64), bytes)
        }
        DataType::Utf8 | DataType::Binary => ((to - from) as u64, bytes_between(array, from, to)),
        _ => ((to - from) as u64, 0),
    }
}
