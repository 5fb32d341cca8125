//! Conditions on now(), which become operators of their own.
//!
//! One rule: a condition is kept if it compares a time of the row with an expression of now() that has one value for all rows,
//! and whose value goes on with time, or falls back by no more than is known.

use std::sync::Arc;

use arrow::datatypes::{DataType, IntervalMonthDayNano, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator};

use crate::sql::functions::arithmetic;
use crate::sql::functions::operator::ArithmeticOperator::{self, Minus, Plus};
use crate::sql::functions::session::{TransactionTime, transaction_time};
use crate::sql::functions::temporal::DAY_US;
use crate::types::TimeZone;

use super::super::clock::ClockExpression;
use super::super::dataflow::NodeWork;
use super::super::expression::is_infallible;
use super::super::operators::temporal::{ShownUntil, TemporalSpec};
use super::{Built, CompileStop, Compiler, arrow_schema, check_all, unaliased, unsupported};

/// A comparison of a time of a row with the clock.
pub(super) struct TimedCondition {
    pub time: Expr,
    operator: Operator,
    clock: Expr,
    falls: Falls,
    text: String,
}

/// A predicate in the order in which its parts apply.
pub(super) struct Conditions {
    pub first: Option<Expr>,
    pub timed: Vec<TimedCondition>,
    /// Those that could fail on rows which a timed one leaves out.
    pub last: Option<Expr>,
}

/// By how much the value of a clock may fall back while time goes on, microseconds; `None`: by any amount.
type Falls = Option<i64>;

/// The last days of a month are one day of a shorter one: three at most.
const MONTH_FALLS_US: i64 = 4 * DAY_US;
/// Summer time ends, or a country changes its zone.
const ZONE_FALLS_US: i64 = 2 * DAY_US;
/// A part that times are cut to, at most.
const YEAR_US: i64 = 366 * DAY_US;

impl Compiler {
    pub(super) fn conditions(&self, predicate: &Expr) -> Result<Conditions, CompileStop> {
        let (mut first, mut timed, mut last) = (Vec::new(), Vec::new(), Vec::new());
        for condition in split_conjunction(predicate) {
            if !asks_for_time(condition) {
                check_all([condition])?;
                match timed.is_empty() || is_infallible(condition) {
                    true => first.push(condition.clone()),
                    false => last.push(condition.clone()),
                }
                continue;
            }
            for (left, operator, right) in comparisons(condition) {
                match self.timed(condition, left, operator, right)? {
                    Some(one) => timed.extend(one),
                    // A side of BETWEEN that has no time in it.
                    None => first.push(Expr::BinaryExpr(BinaryExpr::new(
                        Box::new(left.clone()),
                        operator,
                        Box::new(right.clone()),
                    ))),
                }
            }
            if comparisons(condition).is_empty() {
                return not_kept(condition);
            }
        }
        Ok(Conditions {
            first: conjunction(first),
            timed,
            last: conjunction(last),
        })
    }

    /// A comparison as a condition on time, or as two; `None` if it does not ask for time.
    fn timed(
        &self,
        condition: &Expr,
        left: &Expr,
        operator: Operator,
        right: &Expr,
    ) -> Result<Option<Vec<TimedCondition>>, CompileStop> {
        let swapped = operator.swap();
        let (time, operator, clock) = match (asks_for_time(left), asks_for_time(right)) {
            (false, false) => {
                check_all([left, right])?;
                return Ok(None);
            }
            (false, true) => match swapped.and_then(|swapped| aged(right, swapped, left)) {
                Some(aged) => aged,
                None => (left.clone(), operator, right),
            },
            (true, false) => match (aged(left, operator, right), swapped) {
                (Some(aged), _) => aged,
                (None, Some(swapped)) => (right.clone(), swapped, left),
                (None, None) => return not_kept(condition),
            },
            (true, true) => return not_kept(condition),
        };
        check_all([&time])?;
        let Some(falls) = self.falls(clock) else {
            return not_kept(condition);
        };
        let one = |operator: Operator| TimedCondition {
            time: time.clone(),
            operator,
            clock: clock.clone(),
            falls,
            text: condition.to_string(),
        };
        Ok(Some(match operator {
            Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq => vec![one(operator)],
            Operator::Eq => vec![one(Operator::GtEq), one(Operator::LtEq)],
            _ => return not_kept(condition),
        }))
    }

    /// By how much the clock falls back; `None` if it is not known to be a clock.
    fn falls(&self, clock: &Expr) -> Option<Falls> {
        match unaliased(clock) {
            Expr::ScalarFunction(call) => match transaction_time(&call.func) {
                Some(TransactionTime::Instant) => Some(Some(0)),
                Some(TransactionTime::Local) => Some(Some(self.zone_falls_us())),
                Some(TransactionTime::Day) => Some(cut(Some(self.zone_falls_us()), DAY_US)),
                None => self.call_falls(call),
            },
            Expr::Cast(cast) => self.cast_falls(&cast.expr, cast.field.data_type()),
            _ => None,
        }
    }

    fn call_falls(&self, call: &ScalarFunction) -> Option<Falls> {
        match (call.func.name(), call.args.as_slice()) {
            ("+", [one, other]) => match (asks_for_time(one), asks_for_time(other)) {
                (true, false) => self.moved_falls(one, other),
                (false, true) => self.moved_falls(other, one),
                _ => None,
            },
            ("-", [clock, by]) => self.moved_falls(clock, by),
            ("cast", [clock]) => {
                let to = call.func.return_type(&[DataType::Null]).ok()?;
                self.cast_falls(clock, &to)
            }
            ("date_trunc", [Expr::Literal(ScalarValue::Utf8(Some(part)), _), clock, zone @ ..]) => {
                let part_us = match part.to_lowercase().as_str() {
                    "decade" | "century" | "millennium" => return None,
                    _ => YEAR_US,
                };
                let is_known = |zone: &Expr| matches!(zone, Expr::Literal(ScalarValue::Utf8(Some(_)), _));
                let zone_us = match zone {
                    [] => self.zone_falls_us(),
                    [zone] if is_known(zone) => ZONE_FALLS_US,
                    _ => return None,
                };
                Some(cut(sum(self.falls(clock)?, zone_us), part_us))
            }
            ("timezone", [Expr::Literal(ScalarValue::Utf8(Some(zone)), _), clock]) => {
                let falls = self.falls(clock)?;
                Some(sum(falls, zone_falls_us(zone)))
            }
            _ => None,
        }
    }

    /// Of a clock that is moved by a constant.
    fn moved_falls(&self, clock: &Expr, by: &Expr) -> Option<Falls> {
        let falls = self.falls(clock)?;
        let Expr::Literal(by, _) = unaliased(by) else {
            return None;
        };
        match by {
            ScalarValue::IntervalMonthDayNano(Some(by)) => {
                let months_us = if by.months == 0 { 0 } else { MONTH_FALLS_US };
                let days_us = if by.months == 0 && by.days == 0 {
                    0
                } else {
                    self.zone_falls_us()
                };
                Some(sum(falls, months_us + days_us))
            }
            ScalarValue::Int16(Some(_)) | ScalarValue::Int32(Some(_)) | ScalarValue::Int64(Some(_)) => Some(falls),
            _ => None,
        }
    }

    fn cast_falls(&self, clock: &Expr, to: &DataType) -> Option<Falls> {
        let falls = sum(self.falls(clock)?, self.zone_falls_us());
        match to {
            DataType::Date32 => Some(cut(falls, DAY_US)),
            DataType::Timestamp(TimeUnit::Microsecond, _) => Some(falls),
            _ => None,
        }
    }

    /// Of the wall clock in the view's time zone.
    fn zone_falls_us(&self) -> i64 {
        zone_falls_us(&self.time_zone)
    }

    /// The rows of `input` that a condition on time shows.
    pub(super) fn temporal(&mut self, condition: TimedCondition, mut input: Built) -> Result<Built, CompileStop> {
        self.note_choice(&condition.time, &mut input)?;
        for bound in input.bounds.iter_mut().flatten() {
            bound.direct = false;
        }
        let types = [
            condition.time.get_type(&input.schema)?,
            condition.clock.get_type(&input.schema)?,
        ];
        let is_time = |data_type: &DataType| {
            matches!(
                data_type,
                DataType::Date32 | DataType::Timestamp(TimeUnit::Microsecond, _)
            )
        };
        if types[0] != types[1] || !is_time(&types[0]) {
            return unsupported(format!(
                "{} compares with now() something else than a date or a timestamp",
                condition.text
            ));
        }
        let (shown, passes_equal) = match condition.operator {
            Operator::Gt => (ShownUntil::Passed, true),
            Operator::GtEq => (ShownUntil::Passed, false),
            Operator::LtEq => (ShownUntil::Ever, true),
            Operator::Lt => (ShownUntil::Ever, false),
            _ => unreachable!("no other is made"),
        };
        let append_only = input.append_only && shown == ShownUntil::Ever && condition.falls == Some(0);
        let spec = TemporalSpec {
            time: self.context.compile(&condition.time, &input.schema)?,
            clock: Arc::new(ClockExpression {
                expr: condition.clock,
                time_zone: self.time_zone.clone(),
                context: self.context.clone(),
            }),
            shown,
            passes_equal,
            falls_us: condition.falls,
            schema: arrow_schema(&input.schema),
            retracts: !input.append_only,
            holds_output: false,
            is_infallible: is_infallible(&condition.time),
            text: condition.text,
        };
        let node = self.add(NodeWork::Temporal(Arc::new(spec)), &[input.node]);
        Ok(Built {
            node,
            append_only,
            ..input
        })
    }
}

/// `now() - ts < INTERVAL '1 hour'` and its like as a comparison of a time with the clock. Intervals are compared by their lengths.
fn aged<'a>(difference: &'a Expr, operator: Operator, length: &Expr) -> Option<(Expr, Operator, &'a Expr)> {
    let Expr::ScalarFunction(measured) = unaliased(difference) else {
        return None;
    };
    let [Expr::ScalarFunction(call)] = measured.args.as_slice() else {
        return None;
    };
    let ("interval_length", "-", [from, taken]) = (measured.func.name(), call.func.name(), call.args.as_slice()) else {
        return None;
    };
    let Expr::Literal(ScalarValue::Decimal128(Some(length_us), _, 0), _) = unaliased(length) else {
        return None;
    };
    let nanoseconds = i64::try_from(*length_us).ok()?.checked_mul(1000)?;
    let length = IntervalMonthDayNano::new(0, 0, nanoseconds);
    let length = Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(length)), None);
    let of =
        |operator: ArithmeticOperator, one: Expr, other: Expr| arithmetic::function(operator).call(vec![one, other]);
    // An infinite time has no age: its difference from itself is that error.
    let finite = |time: &Expr| of(Plus, time.clone(), of(Minus, time.clone(), time.clone()));
    match (asks_for_time(from), asks_for_time(taken)) {
        (true, false) => Some((of(Plus, finite(taken), length), operator.swap()?, from)),
        (false, true) => Some((of(Minus, finite(from), length), operator, taken)),
        _ => None,
    }
}

/// The comparisons that a condition is made of, each of which must hold; none if it is of another kind.
fn comparisons(condition: &Expr) -> Vec<(&Expr, Operator, &Expr)> {
    match unaliased(condition) {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => vec![(left, *op, right)],
        Expr::Between(between) if !between.negated => vec![
            (&between.expr, Operator::GtEq, &between.low),
            (&between.expr, Operator::LtEq, &between.high),
        ],
        _ => Vec::new(),
    }
}

fn not_kept<T>(condition: &Expr) -> Result<T, CompileStop> {
    unsupported(format!(
        "{condition} is no comparison of a time of the row with one of the clock, such as ts > now() - INTERVAL '1 hour'"
    ))
}

/// Whether an expression calls now() or its like.
pub(super) fn asks_for_time(expr: &Expr) -> bool {
    use datafusion::common::tree_node::TreeNode;
    let asks = |expr: &Expr| match expr {
        Expr::ScalarFunction(call) => transaction_time(&call.func).is_some(),
        _ => false,
    };
    expr.exists(|expr| Ok(asks(expr))).unwrap_or(true)
}

fn zone_falls_us(zone: &str) -> i64 {
    match TimeZone::parse(zone) {
        Some(TimeZone::UTC | TimeZone::Fixed(_)) => 0,
        _ => ZONE_FALLS_US,
    }
}

fn sum(falls: Falls, more_us: i64) -> Falls {
    falls.and_then(|falls| falls.checked_add(more_us))
}

/// Of a clock that is cut to parts: a little before a part's beginning is the part before.
fn cut(falls: Falls, part_us: i64) -> Falls {
    match falls {
        Some(0) => Some(0),
        falls => sum(falls, part_us),
    }
}
