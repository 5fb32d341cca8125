//! Checks of calls of aggregate and window functions that PostgreSQL makes and the engine does not.
//!
//! 1. The order inside an aggregate whose result depends on no order is checked and left out: the engine hands the
//!    order's columns to accumulators that take one argument.
//! 2. With DISTINCT, the order is one of the arguments, and there is one argument.
//! 3. The bounds of a frame are BIGINTs: the engine adds them to row numbers.

use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::planner::RawAggregateExpr;
use datafusion::logical_expr::{WindowFrame, WindowFrameBound, WindowFrameUnits};

use super::fail;
use crate::error::{SqlError, state};

/// Aggregates whose results depend on the order of their input.
const ORDERED: [&str; 4] = ["array_agg", "first_value", "last_value", "string_agg"];

/// The call of an aggregate as the engine can run it.
pub fn aggregate(mut call: RawAggregateExpr) -> Result<RawAggregateExpr> {
    let name = call.func.name();
    if call.distinct {
        // The delimiter of `string_agg` is no value.
        if call.args.len() > 1 && name != "string_agg" {
            return Err(fail(SqlError::unsupported(
                format!("DISTINCT is not supported for {name} with several arguments"),
                "Aggregate over a subquery with SELECT DISTINCT.",
            )));
        }
        if call.order_by.iter().any(|order| !call.args.contains(&order.expr)) {
            return Err(fail(SqlError::new(
                state::INVALID_COLUMN_REFERENCE,
                "in an aggregate with DISTINCT, ORDER BY expressions must appear in argument list",
            )));
        }
    }
    // WITHIN GROUP (ORDER BY x) names an argument.
    if !ORDERED.contains(&name) && !call.func.inner().supports_within_group_clause() {
        call.order_by.clear();
    }
    Ok(call)
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
