//! The frame of a window: the rows around one that a call sees.
//!
//! One rule: a frame whose bounds are constants is the engine's. One whose offsets are known while the query runs, or whose
//! RANGE is over a type that the engine does not count in, is made by `functions/excluded.rs`.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, WindowFrame, WindowFrameBound, WindowFrameUnits};
use sqlparser::ast;

use super::kinds::{self, CastContext};
use super::operators::is_later;
use super::scope::{Clause, Scope};
use super::typed::{Typed, at, sort_key};
use super::window_definition::WindowDefinition;
use super::{Analyzer, Result};
use crate::error::{SqlError, SqlState, state};
use crate::sql::functions::KeyKind;
use crate::sql::functions::excluded::{FrameBounds, FrameEdge, negative_offset, null_offset};
use crate::sql::plan::eval;
use crate::types::PgType;

/// A frame, as it is computed.
pub enum Framed {
    Engine(WindowFrame),
    /// With the values that come with the rows.
    Own(FrameBounds, Vec<Expr>),
}

/// 22013
const INVALID_PRECEDING_OR_FOLLOWING_SIZE: SqlState = SqlState("22013");

impl Analyzer<'_> {
    /// The frame of a window, if one is written.
    pub fn frame(&self, spec: &WindowDefinition, scope: &Scope, position: Option<usize>) -> Result<Option<Framed>> {
        let Some(written) = &spec.frame else { return Ok(None) };
        check_edges(written).map_err(|error| at(error, position))?;
        let current = ast::WindowFrameBound::CurrentRow;
        let ends = [&written.start_bound, written.end_bound.as_ref().unwrap_or(&current)];
        let edges = ends.map(edge_of);
        let has_offset = edges.iter().any(|edge| edge.has_offset());
        let refuse = |message: &str| Err(at(SqlError::new(state::WINDOWING_ERROR, message), position));
        let units: WindowFrameUnits = written.units.into();
        if units == WindowFrameUnits::Range && has_offset && spec.order_by.len() != 1 {
            return refuse("RANGE with offset PRECEDING/FOLLOWING requires exactly one ORDER BY column");
        }
        if units == WindowFrameUnits::Groups && spec.order_by.is_empty() {
            return refuse("GROUPS mode requires an ORDER BY clause");
        }
        if !has_offset || (units == WindowFrameUnits::Range && engine_counts(spec, &ends)) {
            let frame = WindowFrame::try_from(written.clone()).map_err(|error| at(error.into(), position))?;
            return Ok(Some(Framed::Engine(frame)));
        }
        scope.within(Clause::Window, || match units {
            WindowFrameUnits::Range => self.range(spec, &ends, edges, scope).map(Some),
            _ => self.counted(units, &ends, edges, scope).map(Some),
        })
    }

    /// ROWS and GROUPS: the offsets are counts.
    fn counted(
        &self,
        units: WindowFrameUnits,
        ends: &[&ast::WindowFrameBound; 2],
        [start, end]: [FrameEdge; 2],
        scope: &Scope,
    ) -> Result<Framed> {
        let clause = if units == WindowFrameUnits::Rows {
            "ROWS"
        } else {
            "GROUPS"
        };
        let mut offsets: Vec<Expr> = Vec::new();
        let mut is_constant = true;
        let mut bounds = Vec::with_capacity(2);
        for (bound, name) in ends.iter().zip(["starting", "ending"]) {
            let is_before = matches!(bound, ast::WindowFrameBound::Preceding(_));
            let bound_of = |value: Option<u64>| match is_before {
                true => WindowFrameBound::Preceding(ScalarValue::UInt64(value)),
                false => WindowFrameBound::Following(ScalarValue::UInt64(value)),
            };
            let Some(offset) = offset_of(bound) else {
                bounds.push(match bound {
                    ast::WindowFrameBound::CurrentRow => WindowFrameBound::CurrentRow,
                    _ => bound_of(None),
                });
                continue;
            };
            let typed = self.without_variables(bare(offset), clause, scope)?;
            let position = typed.position;
            let typed = match kinds::can_coerce(typed.oid(), kinds::INT8, CastContext::Assignment) {
                true => self.cast(typed, &PgType::Int8, CastContext::Assignment)?,
                false => self.coerce_to(typed, &PgType::Int8, &format!("argument of {clause}"))?,
            };
            if is_later(&typed.expr) {
                is_constant = false;
                offsets.push(typed.expr);
                continue;
            }
            let value = eval::constant(typed.expr).map_err(|error| at(SqlError::from(error), position))?;
            let ScalarValue::Int64(Some(count)) = value else {
                return Err(null_offset(name));
            };
            let count = u64::try_from(count).map_err(|_| negative_offset(name))?;
            bounds.push(bound_of(Some(count)));
            offsets.push(Expr::Literal(value, None));
        }
        if let (true, [first, last]) = (is_constant, bounds.as_slice()) {
            return Ok(Framed::Engine(WindowFrame::new_bounds(
                units,
                first.clone(),
                last.clone(),
            )));
        }
        let bounds = FrameBounds {
            units,
            start,
            end,
            descending: false,
        };
        Ok(Framed::Own(bounds, offsets))
    }

    /// RANGE: the offsets are distances, and each edge is the row's ORDER BY value, with its distance.
    fn range(
        &self,
        spec: &WindowDefinition,
        ends: &[&ast::WindowFrameBound; 2],
        [start, end]: [FrameEdge; 2],
        scope: &Scope,
    ) -> Result<Framed> {
        let (key, sort) = &spec.order_by[0];
        let descending = !sort.asc;
        let of = key.pg_type();
        let (counted, distance) = match &of {
            PgType::Int2 | PgType::Int4 | PgType::Int8 => (PgType::Int8, of.clone()),
            PgType::Float4 | PgType::Float8 => (PgType::Float8, PgType::Float8),
            PgType::Numeric(_) => (PgType::Numeric(None), PgType::Numeric(None)),
            PgType::Date | PgType::Timestamp => (PgType::Timestamp, PgType::Interval),
            PgType::TimestampTz => (PgType::TimestampTz, PgType::Interval),
            PgType::Time | PgType::Interval => (PgType::Interval, PgType::Interval),
            _ => {
                let message = format!(
                    "RANGE with offset PRECEDING/FOLLOWING is not supported for column type {}",
                    of.base_name()
                );
                return Err(at(SqlError::new(state::FEATURE_NOT_SUPPORTED, message), key.position));
            }
        };
        let key = self.cast(key.clone(), &counted, CastContext::Explicit)?;
        let mut values = vec![compared(key.clone())];
        for (bound, name) in ends.iter().zip(["starting", "ending"]) {
            let Some(offset) = offset_of(bound) else { continue };
            let offset = match distance {
                PgType::Interval => offset,
                _ => bare(offset),
            };
            let typed = self.without_variables(offset, "RANGE", scope)?;
            let position = typed.position;
            let whole = |oid: u32| matches!(oid, kinds::INT2 | kinds::INT4 | kinds::INT8);
            let fits = match &distance {
                _ if typed.is_unknown() => true,
                PgType::Int2 | PgType::Int4 | PgType::Int8 => whole(typed.oid()),
                PgType::Interval => typed.oid() == PgType::Interval.oid(),
                other => kinds::can_coerce(typed.oid(), other.oid(), CastContext::Implicit),
            };
            if !fits {
                let message = format!(
                    "RANGE with offset PRECEDING/FOLLOWING is not supported for column type {} and offset type {}",
                    of.base_name(),
                    typed.type_name()
                );
                let error = SqlError::new(state::FEATURE_NOT_SUPPORTED, message)
                    .hint("Cast the offset value to an appropriate type.");
                return Err(at(error, position));
            }
            let typed = match &distance {
                PgType::Int2 | PgType::Int4 | PgType::Int8 if !typed.is_unknown() => {
                    self.cast(typed, &PgType::Int8, CastContext::Implicit)?
                }
                other => self.cast(typed, other, CastContext::Assignment)?,
            };
            if !is_later(&typed.expr) {
                self.check_distance(&typed, name)?;
            }
            let typed = match of {
                // Days and months do not count.
                PgType::Time => {
                    let day = Typed::unknown(Expr::Literal(ScalarValue::from("day"), None), position);
                    let days = self.named_call("date_trunc", vec![day, typed.clone()], position)?;
                    self.binary("-", typed, days, position)?
                }
                _ => typed,
            };
            let is_before = matches!(bound, ast::WindowFrameBound::Preceding(_));
            let symbol = if is_before == descending { "+" } else { "-" };
            let edge = self.binary(symbol, key.clone(), typed, position)?;
            values.push(compared(self.cast(edge, &counted, CastContext::Explicit)?));
        }
        let bounds = FrameBounds {
            units: WindowFrameUnits::Range,
            start,
            end,
            descending,
        };
        Ok(Framed::Own(bounds, values))
    }

    /// 22004 and 22013 for a constant distance that is none.
    fn check_distance(&self, distance: &Typed, name: &str) -> Result<()> {
        let position = distance.position;
        let constant = |expr: Expr| eval::constant(expr).map_err(|error| at(SqlError::from(error), position));
        if constant(distance.expr.clone())?.is_null() {
            return Err(null_offset(name));
        }
        let zero = Typed::unknown(Expr::Literal(ScalarValue::from("0"), None), position);
        let zero = self.coerce(zero, &distance.pg_type())?;
        let is_negative = self.binary("<", distance.clone(), zero, position)?;
        match constant(is_negative.expr)? {
            ScalarValue::Boolean(Some(true)) => Err(SqlError::new(
                INVALID_PRECEDING_OR_FOLLOWING_SIZE,
                "invalid preceding or following size in window function",
            )),
            _ => Ok(()),
        }
    }

    /// An expression that names no column of the query; 42P10 if it does.
    fn without_variables(&self, expr: &ast::Expr, clause: &str, scope: &Scope) -> Result<Typed> {
        let typed = self.expr(expr, scope)?;
        if typed.expr.any_column_refs() {
            let message = format!("argument of {clause} must not contain variables");
            let error = SqlError::new(state::INVALID_COLUMN_REFERENCE, message);
            return Err(at(error, typed.position));
        }
        Ok(typed)
    }
}

fn edge_of(bound: &ast::WindowFrameBound) -> FrameEdge {
    match bound {
        ast::WindowFrameBound::CurrentRow => FrameEdge::Current,
        ast::WindowFrameBound::Preceding(None) | ast::WindowFrameBound::Following(None) => FrameEdge::Unbounded,
        ast::WindowFrameBound::Preceding(Some(_)) => FrameEdge::Preceding,
        ast::WindowFrameBound::Following(Some(_)) => FrameEdge::Following,
    }
}

fn offset_of(bound: &ast::WindowFrameBound) -> Option<&ast::Expr> {
    match bound {
        ast::WindowFrameBound::Preceding(offset) | ast::WindowFrameBound::Following(offset) => offset.as_deref(),
        ast::WindowFrameBound::CurrentRow => None,
    }
}

/// An offset that is no interval: the parser takes a string for one.
fn bare(offset: &ast::Expr) -> &ast::Expr {
    match offset {
        ast::Expr::Interval(interval) => interval.value.as_ref(),
        other => other,
    }
}

/// Whether the engine counts the distances of a RANGE: they are literals, over a type that it knows to subtract.
fn engine_counts(spec: &WindowDefinition, ends: &[&ast::WindowFrameBound; 2]) -> bool {
    let is_literal = |offset: &ast::Expr| match offset {
        ast::Expr::Interval(_) => true,
        ast::Expr::Value(value) => matches!(value.value, ast::Value::Number(..) | ast::Value::SingleQuotedString(_)),
        _ => false,
    };
    let offsets = || ends.iter().filter_map(|end| offset_of(end));
    match spec.order_by[0].0.pg_type() {
        PgType::Int2
        | PgType::Int4
        | PgType::Int8
        | PgType::Float4
        | PgType::Float8
        | PgType::Timestamp
        | PgType::TimestampTz => offsets().all(is_literal),
        // The engine takes the offset for one of the column's own digits.
        PgType::Numeric(Some((precision, scale))) => {
            let (precision, scale) = (i64::from(precision), i64::from(scale));
            offsets().all(|offset| has_digits_of(offset, precision - scale, scale))
        }
        _ => false,
    }
}

/// Whether an offset is written as a number that leaves one of so many digits before the point, and has no more behind it.
fn has_digits_of(offset: &ast::Expr, whole_digits: i64, scale: i64) -> bool {
    let ast::Expr::Value(value) = bare(offset) else {
        return false;
    };
    let (ast::Value::Number(text, _) | ast::Value::SingleQuotedString(text)) = &value.value else {
        return false;
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let are_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let fits = |part: &str, most: i64| i64::try_from(part.len()).is_ok_and(|digits| digits <= most);
    are_digits(whole) && are_digits(fraction) && fits(whole, whole_digits - 1) && fits(fraction, scale)
}

/// A value of a RANGE, or of its edge, as rows are compared by it.
fn compared(typed: Typed) -> Expr {
    match typed.pg_type() {
        PgType::Numeric(_) => KeyKind::Numeric.function().call(vec![typed.expr]),
        _ => sort_key(typed),
    }
}

/// 42P20 for edges in the wrong order.
fn check_edges(frame: &ast::WindowFrame) -> Result<()> {
    let refuse = |message: &str| Err(SqlError::new(state::WINDOWING_ERROR, message));
    use ast::WindowFrameBound::{CurrentRow, Following, Preceding};
    match (&frame.start_bound, &frame.end_bound) {
        (Following(None), _) => refuse("frame start cannot be UNBOUNDED FOLLOWING"),
        (_, Some(Preceding(None))) => refuse("frame end cannot be UNBOUNDED PRECEDING"),
        (Following(Some(_)), None) => refuse("frame starting from following row cannot end with current row"),
        (CurrentRow, Some(Preceding(_))) => refuse("frame starting from current row cannot have preceding rows"),
        (Following(Some(_)), Some(Preceding(_) | CurrentRow)) => {
            refuse("frame starting from following row cannot have preceding rows")
        }
        _ => Ok(()),
    }
}
