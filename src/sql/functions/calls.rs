//! Checks of calls of aggregate and window functions that PostgreSQL makes and the engine does not.
//!
//! 1. The order inside an aggregate whose result depends on no order is left out once its columns are known: the engine
//!    hands the order's columns to accumulators that take one argument.
//! 2. With DISTINCT, the order is one of the arguments, and there is one argument.
//! 3. The bounds of a frame are BIGINTs: the engine adds them to row numbers. With RANGE they are offsets of the values
//!    that rows are ordered by.

use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunction, Sort};
use datafusion::logical_expr::{WindowFrame, WindowFrameBound, WindowFrameUnits};

use super::fail;
use crate::error::{SqlError, SqlState, state};
use crate::sql::error::invalid_input;
use crate::types::PgType;

/// Aggregates whose results depend on the order of their input.
pub const ORDERED: [&str; 9] = [
    "~json_agg",
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
