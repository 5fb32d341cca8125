//! The time that a view has: an expression of now(), with the time of the log for now().
//!
//! One rule: its value is a function of the log's time alone.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{Date32Type, Schema, TimestampMicrosecondType};
use datafusion::common::DFSchema;
use datafusion::logical_expr::Expr;

use crate::error::SqlError;
use crate::sql::functions::session::{SessionInfo, bind_expr};
use crate::sql::functions::temporal::DAY_US;

use super::delta::batch_of;
use super::expression::ExpressionContext;

/// A time that never comes.
pub const NEVER: i64 = i64::MAX;

/// The side of the condition that asks for now().
#[derive(Clone, Debug)]
pub struct ClockExpression {
    pub expr: Expr,
    pub time_zone: Arc<str>,
    pub context: ExpressionContext,
}

impl ClockExpression {
    /// Its value at a time of the log, microseconds.
    pub fn at(&self, time_us: i64) -> Result<i64, SqlError> {
        let session = SessionInfo {
            time_zone: self.time_zone.clone(),
            now_us: time_us,
            ..SessionInfo::default()
        };
        let bound = bind_expr(self.expr.clone(), &session)?.data;
        let value = self.context.compile(&bound, &DFSchema::empty())?;
        let row = batch_of(Arc::new(Schema::empty()), Vec::new(), 1)?;
        let value = microseconds(&value.evaluate(&row)?);
        assert!(value.is_valid(0), "a time of the clock is not NULL");
        Ok(value.value(0))
    }
}

/// Times of either type as microseconds.
pub fn microseconds(times: &ArrayRef) -> Int64Array {
    if let Some(days) = times.as_primitive_opt::<Date32Type>() {
        // Those that are out of reach of any clock have one time.
        return days.unary(|days| i64::from(days).saturating_mul(DAY_US));
    }
    let times = times.as_primitive::<TimestampMicrosecondType>();
    times.reinterpret_cast()
}

/// The rows that time changes next.
#[derive(Clone, Debug)]
pub struct PendingRows {
    pub clock: Arc<ClockExpression>,
    /// The least value of the clock that passes a row.
    pub next: Option<i64>,
    /// The greatest value of the clock that has passed a row which is held; below it the row comes back.
    pub last: Option<i64>,
}

impl PendingRows {
    /// Whether a step at a time of the log would change rows.
    pub fn is_due(&self, time_us: i64) -> bool {
        if self.next.is_none() && self.last.is_none() {
            return false;
        }
        // An error is met in that step.
        let Ok(clock) = self.clock.at(time_us) else { return true };
        self.next.is_some_and(|next| next <= clock) || self.last.is_some_and(|last| clock < last)
    }
}
