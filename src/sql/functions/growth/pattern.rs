//! Patterns of LIKE and ILIKE: with the bounds of regular expressions, which the engine turns them into, and 22025 where a
//! match comes to an escape character at their end.
//!
//! One rule: PostgreSQL raises 22025 when it reads the end of such a pattern with text left, so that `'b' LIKE 'a\'` is
//! false. The texts that come so far are those of a pattern themselves. A pattern that is known and fine is the engine's.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Datum, Scalar, StringArray};
use arrow::compute::{cast, ilike, like, nilike, nlike};
use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::expr::{Like, ScalarFunction};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::regex;
use crate::error::{SqlError, SqlState};
use crate::sql::functions::fail;
use crate::sql::functions::regexes::limits;

/// A comparison with patterns of which each is checked.
#[derive(Debug, PartialEq, Eq, Hash)]
struct PatternMatch {
    negated: bool,
    case_insensitive: bool,
    signature: Signature,
}

/// The comparison as a call that checks its patterns; the engine's own where the pattern is known and fine.
pub fn bound_like(like: Like) -> Result<Transformed<Expr>> {
    if let Expr::Literal(value, _) = like.pattern.as_ref() {
        let pattern = value.try_as_str().flatten();
        if let Some(pattern) = pattern {
            limits::check(pattern).map_err(fail)?;
        }
        if pattern.is_none_or(|pattern| of_errors(pattern).is_none()) {
            return Ok(Transformed::no(Expr::Like(like)));
        }
    }
    let function = ScalarUDF::from(PatternMatch {
        negated: like.negated,
        case_insensitive: like.case_insensitive,
        signature: Signature::any(2, Volatility::Immutable),
    });
    let call = ScalarFunction::new_udf(Arc::new(function), vec![*like.expr, *like.pattern]);
    Ok(Transformed::yes(Expr::ScalarFunction(call)))
}

/// The pattern of the texts with which a match comes to the end of a pattern, if that is an escape character.
fn of_errors(pattern: &str) -> Option<String> {
    let escapes = |text: &str| text.len() - text.trim_end_matches('\\').len();
    let open = pattern.strip_suffix('\\')?;
    if escapes(open) % 2 == 1 {
        return None;
    }
    // A `%` is read together with the `_` and `%` after it, once there is text left.
    let mut run = open.trim_end_matches(['%', '_']).len();
    if run < open.len() && escapes(&open[..run]) % 2 == 1 {
        run += 1;
    }
    let Some(first) = open[run..].find('%') else {
        return Some(format!("{open}_%"));
    };
    let (kept, wild) = open.split_at(run + first);
    let letters = wild.bytes().filter(|byte| *byte == b'_').count().max(1);
    Some(format!("{kept}{}%", "_".repeat(letters)))
}

/// The comparisons that come to an escape character at the end of their pattern; `None`: no pattern has one.
pub fn open_ended(
    values: &dyn Datum,
    patterns: &dyn Datum,
    case_insensitive: bool,
) -> Result<Option<BooleanArray>, SqlError> {
    let (given, is_scalar) = patterns.get();
    let Some(given) = given.as_string_opt::<i32>() else {
        return Ok(None);
    };
    if !given.iter().flatten().any(|pattern| of_errors(pattern).is_some()) {
        return Ok(None);
    }
    let of_errors: StringArray = given.iter().map(|pattern| pattern.and_then(of_errors)).collect();
    let kernel = if case_insensitive { ilike } else { like };
    let found = match is_scalar {
        true => kernel(values, &Scalar::new(of_errors)),
        false => kernel(values, &of_errors),
    };
    found
        .map(Some)
        .map_err(|error| SqlError::from(DataFusionError::from(error)))
}

/// 22025
pub fn ends_with_escape() -> SqlError {
    SqlError::new(SqlState("22025"), "LIKE pattern must not end with escape character")
}

/// A text or a column of texts, as the kernels take them.
fn datum(value: &ColumnarValue) -> Result<Box<dyn Datum>> {
    let utf8 = |array: ArrayRef| match array.data_type() {
        DataType::Utf8 => Ok(array),
        _ => cast(&array, &DataType::Utf8),
    };
    Ok(match value {
        ColumnarValue::Scalar(value) => Box::new(Scalar::new(utf8(value.to_array()?)?)),
        ColumnarValue::Array(array) => Box::new(utf8(array.clone())?),
    })
}

impl ScalarUDFImpl for PatternMatch {
    fn name(&self) -> &str {
        match (self.negated, self.case_insensitive) {
            (false, false) => "~~",
            (false, true) => "~~*",
            (true, false) => "!~~",
            (true, true) => "!~~*",
        }
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

    fn simplify(&self, args: Vec<Expr>, _info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let [value, pattern] = <[Expr; 2]>::try_from(args).expect("planned with two arguments");
        let made = bound_like(Like {
            negated: self.negated,
            expr: Box::new(value),
            pattern: Box::new(pattern),
            escape_char: None,
            case_insensitive: self.case_insensitive,
        })?;
        Ok(match made.data {
            Expr::ScalarFunction(call) => ExprSimplifyResult::Original(call.args),
            like => ExprSimplifyResult::Simplified(like),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value, pattern] = args.args.as_slice() else {
            unreachable!("planned with two arguments")
        };
        regex::check_values(pattern)?;
        let is_scalar = [value, pattern]
            .iter()
            .all(|given| matches!(given, ColumnarValue::Scalar(_)));
        let (values, patterns) = (datum(value)?, datum(pattern)?);
        let open = open_ended(values.as_ref(), patterns.as_ref(), self.case_insensitive).map_err(fail)?;
        if open.is_some_and(|open| open.true_count() > 0) {
            return Err(fail(ends_with_escape()));
        }
        let kernel = match (self.negated, self.case_insensitive) {
            (false, false) => like,
            (false, true) => ilike,
            (true, false) => nlike,
            (true, true) => nilike,
        };
        let made = kernel(values.as_ref(), patterns.as_ref())?;
        Ok(match is_scalar {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&made, 0)?),
            false => ColumnarValue::Array(Arc::new(made)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_errors_are_postgresqls() {
        for (pattern, of) in [
            ("a", None),
            (r"a\\", None),
            (r"\", Some("_%")),
            (r"a\", Some("a_%")),
            (r"a\\\", Some(r"a\\_%")),
            (r"%\", Some("_%")),
            (r"a%_%_\", Some("a__%")),
            (r"_%\", Some("__%")),
            (r"__\", Some("___%")),
            (r"\%\", Some(r"\%_%")),
            (r"\%%\", Some(r"\%_%")),
        ] {
            assert_eq!(of_errors(pattern).as_deref(), of, "{pattern}");
        }
    }
}
