//! `time_bucket_gapfill(width, time [, start, finish])` with `locf(value)` and `interpolate(value)`, as TimescaleDB has them.
//!
//! The calls are marks until the query is grouped. Then
//!
//! 1. the groups that differ in their bucket alone are put in order, and each learns of the one before it and the one after it;
//! 2. each becomes a row for its own bucket and for every bucket up to the next (`functions/gaps.rs`);
//! 3. a value is NULL in a bucket that was not there; `locf` keeps that of the bucket before, and `interpolate` takes one on the line
//!    between the two.
//!
//! One rule: HAVING, as the groups, knows nothing of the buckets that are filled in.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::expr::{Between, BinaryExpr, Sort, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, Operator, WindowFrame, WindowFunctionDefinition, when};
use sqlparser::ast;

use super::operators::has;
use super::scope::Scope;
use super::typed::{Typed, at};
use super::{Analyzer, Result, rows, window};
use crate::error::SqlError;
use crate::sql::functions::functions;
use crate::sql::functions::gaps::{GapFunction, misplaced, no_bound};
use crate::types::PgType;

/// The buckets of a grouped query.
pub struct Gaps {
    /// Keys of its groups, which stand last among its expressions.
    keys: usize,
    /// The bucket among them.
    bucket: usize,
    width: Expr,
    start: RangeEnd,
    finish: RangeEnd,
}

/// An end of the range that is filled.
#[derive(Clone)]
struct RangeEnd {
    at: Expr,
    /// It is the bound itself that the condition excludes at the start, or includes at the end.
    moved: bool,
}

fn mark(expr: &Expr) -> Option<(GapFunction, &[Expr])> {
    match expr {
        Expr::ScalarFunction(call) => Some((GapFunction::of(&call.func)?, call.args.as_slice())),
        Expr::Alias(alias) => mark(&alias.expr),
        _ => None,
    }
}

fn is_marked(expr: &Expr) -> bool {
    has(
        expr,
        |node| matches!(node, Expr::ScalarFunction(call) if GapFunction::of(&call.func).is_some()),
    )
}

impl Analyzer<'_> {
    /// A call of one of the three functions.
    pub fn gap_call(&self, name: &str, call: &ast::Function, scope: &Scope, position: Option<usize>) -> Result<Typed> {
        let mut arguments = self.arguments(call, scope)?.arguments;
        let undefined = |arguments: &[Typed]| at(super::call::undefined_function(name, arguments), position);
        let function = match (name, arguments.len()) {
            ("locf", 1) => GapFunction::Last,
            ("interpolate", 1) => GapFunction::Between,
            ("time_bucket_gapfill", 2 | 4) => GapFunction::Bucket,
            ("locf" | "interpolate", 2..) => {
                let error = SqlError::unsupported(
                    format!("{name} with more than one argument is not supported"),
                    "Give the value alone.",
                );
                return Err(at(error, position));
            }
            _ => return Err(undefined(&arguments)),
        };
        if function != GapFunction::Bucket {
            let value = self.settle(arguments.remove(0))?;
            let value = match (function, value.pg_type()) {
                (GapFunction::Last, _)
                | (_, PgType::Int2 | PgType::Int4 | PgType::Int8 | PgType::Float4 | PgType::Float8) => value,
                _ => self.coerce_to(value, &PgType::Float8, "argument of interpolate")?,
            };
            let marked = function.function().call(vec![value.expr.clone()]);
            return Ok(Typed { expr: marked, ..value });
        }
        let mut given = arguments.into_iter();
        let width = self.coerce(given.next().expect("it has two"), &PgType::Interval)?;
        let time = self.settle(given.next().expect("it has two"))?;
        let time = match time.pg_type() {
            PgType::Timestamp | PgType::TimestampTz => time,
            _ => self.coerce_to(time, &PgType::TimestampTz, "time argument of time_bucket_gapfill")?,
        };
        let mut parts = vec![width.expr.clone(), time.expr.clone()];
        for bound in given {
            parts.push(self.coerce(bound, &time.pg_type())?.expr);
        }
        let bucket = self.named_call("time_bucket", vec![width, time], position)?;
        parts.insert(0, bucket.expr.clone());
        let expr = function.function().call(parts);
        Ok(Typed { expr, ..bucket })
    }

    /// The buckets that a query with these groups fills, if it does; puts the keys of its groups behind `exprs`.
    pub fn gaps(
        &self,
        sets: &mut Option<Vec<Vec<Expr>>>,
        exprs: &mut Vec<Expr>,
        condition: Option<&Expr>,
    ) -> Result<Option<Gaps>> {
        let mut none = Vec::new();
        let keys = match sets.as_deref_mut() {
            Some([keys]) => keys,
            _ => &mut none,
        };
        let is_bucket = |key: &Expr| matches!(mark(key), Some((GapFunction::Bucket, _)));
        let Some(bucket) = keys.iter().position(is_bucket) else {
            return match exprs.iter().any(is_marked) {
                true => Err(misplaced()),
                false => Ok(None),
            };
        };
        let (_, parts) = mark(&keys[bucket]).expect("it was found by it");
        let (width, time) = (parts[1].clone(), parts[2].clone());
        let given = |index: usize| {
            let given = parts.get(index).cloned();
            given.filter(|bound| !matches!(bound, Expr::Literal(value, _) if value.is_null()))
        };
        let found = condition
            .map(|condition| bounds_of(condition, &time))
            .unwrap_or_default();
        let end = |index: usize, what: &str| {
            let given = given(index).map(|at| RangeEnd { at, moved: false });
            given.or_else(|| found[index - 3].clone()).ok_or_else(|| no_bound(what))
        };
        let (start, finish) = (end(3, "start")?, end(4, "finish")?);
        for expr in exprs.iter_mut().chain(keys.iter_mut()) {
            let plain = std::mem::take(expr).transform_down(|node| match mark(&node) {
                Some((GapFunction::Bucket, parts)) if !matches!(node, Expr::Alias(_)) => {
                    Ok(Transformed::new(parts[0].clone(), true, TreeNodeRecursion::Jump))
                }
                _ => Ok(Transformed::no(node)),
            })?;
            *expr = plain.data;
        }
        exprs.extend(keys.iter().cloned());
        Ok(Some(Gaps {
            keys: keys.len(),
            bucket,
            width,
            start,
            finish,
        }))
    }

    /// The groups of a plan with a row for each bucket; rewrites `exprs` to its columns, and takes the keys off.
    pub fn filled(&self, plan: LogicalPlan, gaps: &Gaps, exprs: &mut Vec<Expr>) -> Result<LogicalPlan> {
        let mut others = exprs.split_off(exprs.len() - gaps.keys);
        let bucket = others.remove(gaps.bucket);
        let beside = |function: &str, of: Expr| {
            let function = functions().window.get(function).expect("it is the engine's").clone();
            Expr::WindowFunction(Box::new(WindowFunction {
                fun: WindowFunctionDefinition::WindowUDF(function),
                params: WindowFunctionParams {
                    args: vec![of],
                    partition_by: others.clone(),
                    order_by: vec![Sort::new(bucket.clone(), true, false)],
                    window_frame: WindowFrame::new(Some(false)),
                    filter: None,
                    null_treatment: None,
                    distinct: false,
                },
            }))
        };
        // The values that are taken from two rows.
        let mut between: Vec<Expr> = Vec::new();
        for expr in exprs.iter() {
            expr.apply(|node| {
                if let Some((GapFunction::Between, [value])) = mark(node)
                    && !between.contains(value)
                {
                    between.push(value.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        let mut calls = vec![beside("lag", bucket.clone()), beside("lead", bucket.clone())];
        calls.extend(between.iter().map(|value| beside("lead", value.clone())));
        let plan = window::compute(self, plan, &mut calls)?;
        let mut calls = calls.into_iter();
        let (before, next) = (calls.next().expect("lag"), calls.next().expect("lead"));
        let next_values: Vec<Expr> = calls.collect();
        let flag = |moved: bool| Expr::Literal(ScalarValue::from(moved), None);
        let buckets = GapFunction::Buckets.function().call(vec![
            before,
            bucket.clone(),
            next.clone(),
            gaps.width.clone(),
            gaps.start.at.clone(),
            flag(gaps.start.moved),
            gaps.finish.at.clone(),
            flag(gaps.finish.moved),
        ]);
        let name = self.internal_name("bucket");
        let plan = rows::unnested(plan, vec![(buckets, name.clone())])?;
        let slot = Expr::Column(Column::from_name(name));
        let compared =
            |op: Operator| Expr::BinaryExpr(BinaryExpr::new(Box::new(slot.clone()), op, Box::new(bucket.clone())));
        let is_own = || compared(Operator::IsNotDistinctFrom);
        let schema = plan.schema().clone();
        for expr in exprs.iter_mut() {
            let filled = std::mem::take(expr).transform_down(|node| {
                let made = match (mark(&node), &node) {
                    (Some((GapFunction::Last, [value])), Expr::ScalarFunction(_)) => {
                        let kept = is_own().or(compared(Operator::Gt));
                        when(kept, value.clone()).end()?
                    }
                    (Some((GapFunction::Between, [value])), Expr::ScalarFunction(_)) => {
                        let at = between
                            .iter()
                            .position(|known| known == value)
                            .expect("it was collected");
                        let on_line = GapFunction::Value.function().call(vec![
                            bucket.clone(),
                            value.clone(),
                            next.clone(),
                            next_values[at].clone(),
                            slot.clone(),
                        ]);
                        when(is_own(), value.clone())
                            .when(compared(Operator::Gt), on_line)
                            .end()?
                    }
                    (_, node) if *node == bucket => slot.clone(),
                    (_, node) if others.contains(node) => node.clone(),
                    (_, Expr::Column(column)) if schema.has_column(column) => when(is_own(), node.clone()).end()?,
                    _ => return Ok(Transformed::no(node)),
                };
                Ok(Transformed::new(made, true, TreeNodeRecursion::Jump))
            })?;
            *expr = filled.data;
        }
        Ok(plan)
    }
}

/// The first and the last time that a condition leaves, where it says so of the time alone.
fn bounds_of(condition: &Expr, time: &Expr) -> [Option<RangeEnd>; 2] {
    let mut found = [None, None];
    let is_constant = |expr: &Expr| {
        !has(expr, |node| {
            matches!(node, Expr::Column(_) | Expr::OuterReferenceColumn(..))
        })
    };
    let mut note = |op: Operator, bound: &Expr| {
        let (end, moved) = match op {
            Operator::GtEq => (0, false),
            Operator::Gt => (0, true),
            Operator::Lt => (1, false),
            Operator::LtEq => (1, true),
            _ => return,
        };
        if is_constant(bound) {
            found[end] = Some(RangeEnd {
                at: bound.clone(),
                moved,
            });
        }
    };
    for part in split_conjunction(condition) {
        match part {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if **left == *time => note(*op, right),
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if **right == *time => {
                if let Some(op) = op.swap() {
                    note(op, left);
                }
            }
            Expr::Between(Between {
                expr,
                negated: false,
                low,
                high,
            }) if **expr == *time => {
                note(Operator::GtEq, low);
                note(Operator::LtEq, high);
            }
            _ => {}
        }
    }
    found
}
