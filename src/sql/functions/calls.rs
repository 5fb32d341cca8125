//! Checks of calls of aggregate and window functions that PostgreSQL makes and the engine does not.
//!
//! 1. The order inside an aggregate whose result depends on no order is left out once its columns are known: the engine
//!    hands the order's columns to accumulators that take one argument.
//! 2. With DISTINCT, the order is one of the arguments, and there is one argument.
//! 3. `string_agg` takes texts, and what it puts between them is one.
//! 4. The bounds of a frame are BIGINTs: the engine adds them to row numbers. With RANGE they are offsets of what the
//!    rows are ordered by.

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunction, Sort};
use datafusion::logical_expr::{Expr, ExprSchemable, WindowFrame, WindowFrameBound, WindowFrameUnits};

use super::{fail, undefined_function};
use crate::error::{SqlError, SqlState, state};
use crate::sql::error::invalid_input;
use crate::types::PgType;

/// Aggregates whose results depend on the order of their input.
const ORDERED: [&str; 8] = [
    "array_agg",
    "first_value",
    "json_agg",
    "json_object_agg",
    "jsonb_agg",
    "jsonb_object_agg",
    "last_value",
    "string_agg",
];

/// 22013
const INVALID_PRECEDING_OR_FOLLOWING_SIZE: SqlState = SqlState("22013");

/// The call of an aggregate as the engine can run it; its columns are known to exist. Whether anything was left out.
pub fn settle_aggregate(call: &mut AggregateFunction) -> Result<bool> {
    let name = call.func.name();
    let params = &mut call.params;
    if params.distinct {
        // The delimiter of `string_agg` is no value.
        let values = if name == "string_agg" { 1 } else { params.args.len() };
        if values > 1 {
            return Err(fail(SqlError::unsupported(
                format!("DISTINCT is not supported for {name} with several arguments"),
                "Aggregate over a subquery with SELECT DISTINCT.",
            )));
        }
        let is_value = |order: &Sort| params.args.iter().take(values).any(|arg| *arg == order.expr);
        if !params.order_by.iter().all(is_value) {
            return Err(fail(SqlError::new(
                state::INVALID_COLUMN_REFERENCE,
                "in an aggregate with DISTINCT, ORDER BY expressions must appear in argument list",
            )));
        }
    }
    // WITHIN GROUP (ORDER BY x) names an argument.
    let orders = ORDERED.contains(&name) || call.func.inner().supports_within_group_clause();
    if orders || params.order_by.is_empty() {
        return Ok(false);
    }
    params.order_by.clear();
    Ok(true)
}

/// 42883 for arguments that PostgreSQL's aggregate does not take, where the engine would make texts of them.
pub fn check_arguments(name: &str, arguments: &[Expr], schema: &DFSchema) -> Result<()> {
    if name != "string_agg" {
        return Ok(());
    }
    let mut types = Vec::with_capacity(arguments.len());
    let mut fits = arguments.len() == 2;
    for argument in arguments {
        // What has no type yet, an untyped parameter, takes the function's.
        let Ok((_, field)) = argument.to_field(schema) else {
            types.push(DataType::Null);
            continue;
        };
        fits &= matches!(
            PgType::of_field(&field),
            Some(PgType::Text | PgType::Varchar(_) | PgType::Char(_) | PgType::Name | PgType::Unknown)
        );
        if PgType::of_field(&field) == Some(PgType::Bytea) {
            return Err(fail(SqlError::unsupported(
                format!("{name} of type bytea is not supported"),
                "Encode the values as text.",
            )));
        }
        types.push(match argument {
            Expr::Literal(ScalarValue::Utf8(_), _) => DataType::Null,
            _ => field.data_type().clone(),
        });
    }
    match fits {
        true => Ok(()),
        false => Err(fail(undefined_function(name, &types))),
    }
}

/// 42883 for a window function that takes not so many arguments.
pub fn check_arity(name: &str, arguments: usize) -> Result<()> {
    let takes = match name {
        "row_number" | "rank" | "dense_rank" | "percent_rank" | "cume_dist" => 0..=0,
        "first_value" | "last_value" | "ntile" => 1..=1,
        "nth_value" => 2..=2,
        "lag" | "lead" => 1..=3,
        _ => return Ok(()),
    };
    match takes.contains(&arguments) {
        true => Ok(()),
        false => Err(fail(SqlError::new(
            state::UNDEFINED_FUNCTION,
            format!("function {name} does not exist with {arguments} arguments"),
        ))),
    }
}

/// Whether what counts rows in a call of a window function is a number.
pub fn check_count(name: &str, arguments: &[Expr], schema: &DFSchema) -> Result<()> {
    let at = match name {
        "ntile" => 0,
        "lag" | "lead" | "nth_value" => 1,
        _ => return Ok(()),
    };
    let Some(count) = arguments.get(at) else {
        return Ok(());
    };
    match count {
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) if text.trim().parse::<i32>().is_err() => {
            Err(fail(invalid_input("integer", text)))
        }
        Expr::Literal(ScalarValue::Int32(Some(..=0)), _) if name == "nth_value" => Err(fail(SqlError::new(
            SqlState("22016"),
            "argument of nth_value must be greater than zero",
        ))),
        _ => match count.get_type(schema) {
            Ok(kind) if !kind.is_integer() && !kind.is_null() => {
                let types = arguments.iter().map(|argument| argument.get_type(schema));
                Err(fail(undefined_function(name, &types.collect::<Result<Vec<_>>>()?)))
            }
            _ => Ok(()),
        },
    }
}

/// 22003 for bounds of ROWS and GROUPS that no BIGINT is.
pub fn check_frame(frame: &WindowFrame) -> Result<()> {
    if frame.units == WindowFrameUnits::Range {
        return Ok(());
    }
    for bound in [&frame.start_bound, &frame.end_bound] {
        if let WindowFrameBound::Preceding(ScalarValue::UInt64(Some(rows)))
        | WindowFrameBound::Following(ScalarValue::UInt64(Some(rows))) = bound
            && i64::try_from(*rows).is_err()
        {
            return Err(fail(crate::sql::error::out_of_range("bigint")));
        }
    }
    Ok(())
}

/// Whether the bounds of a RANGE are offsets of the type that its rows are ordered by.
pub fn check_offsets(frame: &WindowFrame, column: &PgType) -> Result<(), SqlError> {
    if frame.units != WindowFrameUnits::Range {
        return Ok(());
    }
    for bound in [&frame.start_bound, &frame.end_bound] {
        if let WindowFrameBound::Preceding(ScalarValue::Utf8(Some(offset)))
        | WindowFrameBound::Following(ScalarValue::Utf8(Some(offset))) = bound
        {
            check_offset(offset, column)?;
        }
    }
    Ok(())
}

/// Whether the bounds of a RANGE are offsets of what its rows are ordered by.
pub fn check_range(frame: &WindowFrame, order: &[Sort], schema: &DFSchema) -> Result<()> {
    if frame.units != WindowFrameUnits::Range {
        return Ok(());
    }
    for bound in [&frame.start_bound, &frame.end_bound] {
        let (WindowFrameBound::Preceding(ScalarValue::Utf8(Some(offset)))
        | WindowFrameBound::Following(ScalarValue::Utf8(Some(offset)))) = bound
        else {
            continue;
        };
        // The planner has asked for one.
        if let [Sort { expr, .. }] = order
            && let Ok((_, field)) = expr.to_field(schema)
            && let Some(column) = PgType::of_field(&field)
        {
            check_offset(offset, &column).map_err(fail)?;
        }
    }
    Ok(())
}

/// `offset` is a number as it is written, or a quoted text.
fn check_offset(offset: &str, column: &PgType) -> Result<(), SqlError> {
    let unsupported = |of: Option<&str>| {
        let of = of.map_or(String::new(), |of| format!(" and offset type {of}"));
        let message = format!(
            "RANGE with offset PRECEDING/FOLLOWING is not supported for column type {}{of}",
            column.base_name()
        );
        let error = SqlError::new(state::FEATURE_NOT_SUPPORTED, message);
        match of.is_empty() {
            true => error,
            false => error.hint("Cast the offset value to an appropriate type."),
        }
    };
    let offset = offset.trim();
    let is_number = offset.parse::<f64>().is_ok_and(f64::is_finite);
    match column {
        PgType::Int2 | PgType::Int4 | PgType::Int8 => match offset.parse::<i64>() {
            Ok(_) => {}
            Err(_) if is_number => return Err(unsupported(Some("numeric"))),
            Err(_) => return Err(invalid_input(column.base_name(), offset)),
        },
        PgType::Float4 | PgType::Float8 | PgType::Numeric(_) if !is_number => {
            return Err(invalid_input(column.base_name(), offset));
        }
        PgType::Float4 | PgType::Float8 | PgType::Numeric(_) => {}
        PgType::Date | PgType::Time | PgType::Timestamp | PgType::TimestampTz | PgType::Interval => {
            if is_number {
                let whole = offset.bytes().all(|byte| byte.is_ascii_digit());
                return Err(unsupported(Some(if whole { "integer" } else { "numeric" })));
            }
        }
        _ => return Err(unsupported(None)),
    }
    if offset.starts_with('-') {
        let message = "invalid preceding or following size in window function";
        return Err(SqlError::new(INVALID_PRECEDING_OR_FOLLOWING_SIZE, message));
    }
    Ok(())
}
