//! Regular expressions with a bound on compiling, and the operators `~`, `~*`, `!~`, `!~*` over them.
//!
//! One rule: no pattern reaches a compiler unchecked (2201B). The compiler bounds its program, but not its
//! intermediate results: they take about the length of the pattern, and much more for sets of letters that
//! match in any case.
//!
//! Not here: LIKE (`pattern.rs`).

use std::hash::Hash;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, StringArray};
use arrow::compute::concat;
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use hashbrown::HashSet;

use crate::error::{SqlError, state};
use crate::sql::functions::fail;
use crate::sql::functions::regexes::Flags;
use crate::sql::functions::regexes::limits::{check, too_complex};
use crate::sql::functions::regexes::program::{self, CACHE_BYTES_MAX, PROGRAM_BYTES_MAX, Program};

/// Different patterns of a column that are compiled at once.
const AT_ONCE_MAX: usize = 16;

/// [`check`] of an argument that is one pattern, or one for each row.
pub fn check_values(patterns: &ColumnarValue) -> Result<()> {
    match patterns {
        ColumnarValue::Scalar(value) => match value.try_as_str().flatten() {
            Some(pattern) => check(pattern).map_err(fail),
            None => Ok(()),
        },
        ColumnarValue::Array(array) => each_text(array, check).map_err(fail),
    }
}

fn each_text(array: &ArrayRef, mut check: impl FnMut(&str) -> Result<(), SqlError>) -> Result<(), SqlError> {
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().iter().flatten().try_for_each(&mut check),
        DataType::LargeUtf8 => array.as_string::<i64>().iter().flatten().try_for_each(&mut check),
        DataType::Utf8View => array.as_string_view().iter().flatten().try_for_each(&mut check),
        _ => Ok(()),
    }
}

/// Calls a function that keeps the program of every pattern of a batch, for as many rows as have few different ones.
pub fn invoke_in_parts(function: &ScalarUDF, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
    let Some(ColumnarValue::Array(patterns)) = args.args.get(1) else {
        return function.invoke_with_args(args);
    };
    let ends = parts(patterns);
    if ends.len() <= 1 {
        return function.invoke_with_args(args);
    }
    let mut made = Vec::with_capacity(ends.len());
    let mut start = 0;
    for end in ends {
        let rows = end - start;
        let part = args.args.iter().map(|value| match value {
            ColumnarValue::Array(array) => ColumnarValue::Array(array.slice(start, rows)),
            scalar => scalar.clone(),
        });
        let part = ScalarFunctionArgs {
            args: part.collect(),
            arg_fields: args.arg_fields.clone(),
            number_rows: rows,
            return_field: args.return_field.clone(),
            config_options: args.config_options.clone(),
        };
        made.push(function.invoke_with_args(part)?.into_array(rows)?);
        start = end;
    }
    let made: Vec<&dyn Array> = made.iter().map(AsRef::as_ref).collect();
    Ok(ColumnarValue::Array(concat(&made)?))
}

/// Ends of the parts of a column that have no more than [`AT_ONCE_MAX`] different patterns.
fn parts(patterns: &ArrayRef) -> Vec<usize> {
    let Some(patterns) = patterns.as_string_opt::<i32>() else {
        return vec![patterns.len()];
    };
    let (mut ends, mut known) = (Vec::new(), HashSet::new());
    for (row, pattern) in patterns.iter().enumerate() {
        if known.insert(pattern) && known.len() > AT_ONCE_MAX {
            ends.push(row);
            known.clear();
            known.insert(pattern);
        }
    }
    ends.push(patterns.len());
    ends
}

/// Matches of a pattern in a text; as many as there can be, if it is none.
pub fn count(text: &str, pattern: &str, any_case: bool) -> u64 {
    let flags = Flags {
        any_case,
        ..Flags::default()
    };
    match program::compiled(pattern, flags) {
        Ok(program) => program.count(text) as u64,
        Err(_) => u64::MAX,
    }
}

/// The program of a pattern of an operator.
pub fn compiled(pattern: &str, any_case: bool) -> Result<Rc<Program>, SqlError> {
    let flags = Flags {
        any_case,
        ..Flags::default()
    };
    program::compiled(pattern, flags).map_err(|error| {
        // A pattern that is too complex is not compiled.
        if error.message == too_complex().message {
            return error;
        }
        // The engine's error for a pattern, when it matches a constant.
        match limited(pattern, any_case) {
            Err(other) => other,
            Ok(_) => error,
        }
    })
}

/// The program of a pattern as the engine reads it, within the bounds of all.
pub fn limited(pattern: &str, any_case: bool) -> Result<::regex::Regex, SqlError> {
    check(pattern)?;
    ::regex::RegexBuilder::new(pattern)
        .case_insensitive(any_case)
        .size_limit(PROGRAM_BYTES_MAX)
        .dfa_size_limit(CACHE_BYTES_MAX)
        .build()
        .map_err(|error| match error {
            ::regex::Error::CompiledTooBig(_) => too_complex(),
            other => of_message(&other.to_string()),
        })
}

/// 2201B for the message of the compiler of patterns.
fn of_message(message: &str) -> SqlError {
    if message.contains("size limit") || message.contains("CompiledTooBig") {
        return too_complex();
    }
    let reason = message
        .lines()
        .rev()
        .find_map(|line| line.trim().strip_prefix("error: "));
    SqlError::new(
        state::INVALID_REGULAR_EXPRESSION,
        match reason {
            Some(reason) => format!("invalid regular expression: {}", reason.trim_end_matches('.')),
            None => "invalid regular expression".to_string(),
        },
    )
}

/// One of `~`, `~*`, `!~`, `!~*` as a function of a text and a pattern.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Match {
    operator: &'static str,
    any_case: bool,
    negated: bool,
    signature: Signature,
}

/// The function of an operator, unless it is another one.
fn function(operator: Operator) -> Option<Arc<ScalarUDF>> {
    static FUNCTIONS: LazyLock<[Arc<ScalarUDF>; 4]> = LazyLock::new(|| {
        [
            ("~", false, false),
            ("~*", true, false),
            ("!~", false, true),
            ("!~*", true, true),
        ]
        .map(|(operator, any_case, negated)| {
            Arc::new(ScalarUDF::from(Match {
                operator,
                any_case,
                negated,
                signature: Signature::any(2, Volatility::Immutable),
            }))
        })
    });
    let index = match operator {
        Operator::RegexMatch => 0,
        Operator::RegexIMatch => 1,
        Operator::RegexNotMatch => 2,
        Operator::RegexNotIMatch => 3,
        _ => return None,
    };
    Some(FUNCTIONS[index].clone())
}

/// Whether the engine makes a comparison or LIKE of the pattern, which can be pushed into a scan.
fn is_plain(pattern: &Expr) -> bool {
    let Expr::Literal(value, _) = pattern else {
        return false;
    };
    let Some(Some(text)) = value.try_as_str() else {
        return true;
    };
    let text = text.strip_prefix('^').unwrap_or(text);
    let text = text.strip_suffix('$').unwrap_or(text);
    text.len() <= 256
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b" _-/:,".contains(&byte))
}

/// A match by regular expression as a call that bounds it; nothing for other operators and patterns that are plain.
pub fn bound_match(left: &Expr, operator: Operator, right: &Expr) -> Option<Expr> {
    let function = function(operator)?;
    if is_plain(right) {
        return None;
    }
    let call = ScalarFunction::new_udf(function, vec![left.clone(), right.clone()]);
    Some(Expr::ScalarFunction(call))
}

impl ScalarUDFImpl for Match {
    fn name(&self) -> &str {
        self.operator
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(format!(
            "{} {} {}",
            args[0].schema_name(),
            self.operator,
            args[1].schema_name()
        ))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [texts, patterns] = args.args.as_slice() else {
            unreachable!("planned with two operands")
        };
        match patterns {
            ColumnarValue::Scalar(pattern) => match pattern.try_as_str().flatten() {
                None => Ok(ColumnarValue::Scalar(ScalarValue::Boolean(None))),
                Some(pattern) => self.by_one(texts, pattern),
            },
            ColumnarValue::Array(patterns) => {
                let texts = strings(&texts.to_array(patterns.len())?)?;
                let patterns = strings(patterns)?;
                let verdicts = texts.iter().zip(&patterns).map(|pair| match pair {
                    (Some(text), Some(pattern)) => {
                        let regex = compiled(pattern, self.any_case)?;
                        Ok(Some(regex.is_match(text) != self.negated))
                    }
                    _ => Ok(None),
                });
                let verdicts: BooleanArray = verdicts.collect::<Result<_, SqlError>>().map_err(fail)?;
                Ok(ColumnarValue::Array(Arc::new(verdicts)))
            }
        }
    }
}

impl Match {
    fn by_one(&self, texts: &ColumnarValue, pattern: &str) -> Result<ColumnarValue> {
        let regex = compiled(pattern, self.any_case).map_err(fail)?;
        let verdict = |text: &str| regex.is_match(text) != self.negated;
        Ok(match texts {
            ColumnarValue::Scalar(text) => {
                ColumnarValue::Scalar(ScalarValue::Boolean(text.try_as_str().flatten().map(verdict)))
            }
            ColumnarValue::Array(texts) => {
                let verdicts: BooleanArray = strings(texts)?.iter().map(|text| text.map(verdict)).collect();
                ColumnarValue::Array(Arc::new(verdicts))
            }
        })
    }
}

fn strings(array: &ArrayRef) -> Result<StringArray> {
    let text = match array.as_string_opt::<i32>() {
        Some(text) => text.clone(),
        None => arrow::compute::cast(array, &DataType::Utf8)?.as_string::<i32>().clone(),
    };
    Ok(text)
}
