//! Calls of advisory locks that answer for each row of a relation, as functions that the plan runs.
//!
//! One rule: a call in a WHERE becomes `"~name"(condition, wanted, key)`: the condition is all that stands beside it, and
//! `wanted` the number of rows that the query takes, if their order does not matter.

use std::ops::ControlFlow;

use sqlparser::ast::{self, BinaryOperator, Expr, Ident, SelectItem, SetExpr, Value, VisitMut, VisitorMut};

use super::{Effect, call};
use crate::sql::statement::Select;

/// The prefix of the name of a function that runs for each row.
pub const MARK: char = '~';

/// The SELECT with such calls marked, and whether one holds its lock until the transaction ends; `None` if it has none.
pub fn by_row(select: &Select) -> Option<(Select, bool)> {
    let mut marked = select.clone();
    let mut marker = LockMarker {
        found: false,
        of_transaction: false,
    };
    let _ = marked.query.visit(&mut marker);
    marker.found.then_some((marked, marker.of_transaction))
}

struct LockMarker {
    found: bool,
    of_transaction: bool,
}

impl VisitorMut for LockMarker {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut ast::Query) -> ControlFlow<()> {
        let wanted = wanted_rows(query);
        if let SetExpr::Select(body) = query.body.as_mut()
            && !body.from.is_empty()
        {
            if let Some(condition) = body.selection.take() {
                body.selection = Some(self.in_where(condition, wanted));
            }
            for item in &mut body.projection {
                if let SelectItem::UnnamedExpr(expr) = item
                    && let Ok(Some(found)) = call(expr)
                    && is_by_row(&found)
                {
                    *item = SelectItem::ExprWithAlias {
                        expr: expr.clone(),
                        alias: Ident::new(found.effect.name()),
                    };
                }
                if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                    self.mark_all(expr, |_| true);
                }
            }
        }
        ControlFlow::Continue(())
    }
}

fn is_by_row(found: &super::EffectCall) -> bool {
    matches!(found.effect, Effect::Lock(of) if of.answers())
}

impl LockMarker {
    /// A condition whose parts run from the left: a lock is asked for where those before it hold.
    fn in_where(&mut self, condition: Expr, wanted: Option<i64>) -> Expr {
        let mut parts = Vec::new();
        split(condition, &mut parts);
        let is_lock = |part: &Expr| matches!(call(part), Ok(Some(found)) if is_by_row(&found) && names_columns(&found));
        let (locks, mut others): (Vec<Expr>, Vec<Expr>) = parts.into_iter().partition(is_lock);
        for other in &mut others {
            self.mark_all(other, names_columns);
        }
        let mut rest = join(others);
        let last = locks.len().saturating_sub(1);
        for (at, lock) in locks.into_iter().enumerate() {
            let Ok(Some(found)) = call(&lock) else {
                unreachable!("it was one before")
            };
            let condition = rest.clone().unwrap_or_else(truth);
            let marked = self.marked(found, condition, wanted.filter(|_| at == last));
            rest = join(rest.into_iter().chain([marked]).collect());
        }
        rest.unwrap_or_else(truth)
    }

    /// Marks the calls inside an expression, not those of queries in it.
    fn mark_all(&mut self, expr: &mut Expr, wanted: impl Fn(&super::EffectCall) -> bool) {
        let _ = ast::visit_expressions_mut(expr, |node| {
            if let Ok(Some(found)) = call(node)
                && is_by_row(&found)
                && wanted(&found)
            {
                *node = self.marked(found, truth(), None);
            }
            ControlFlow::<()>::Continue(())
        });
    }

    fn marked(&mut self, found: super::EffectCall, condition: Expr, wanted: Option<i64>) -> Expr {
        self.found = true;
        if let Effect::Lock(of) = found.effect {
            self.of_transaction |= of.of_transaction;
        }
        let number = found.number();
        let wanted = wanted.map_or(Value::Null, |wanted| Value::Number(wanted.to_string(), false));
        let mut arguments = vec![condition, super::cast(Expr::value(wanted), ast::DataType::BigInt(None))];
        arguments.extend(found.arguments.into_iter().map(|argument| match &number {
            Some(number) => super::cast(argument, number.clone()),
            None => argument,
        }));
        let name = Ident::with_quote('"', format!("{MARK}{}", found.effect.name()));
        super::function(vec![name], arguments)
    }
}

/// Whether a call is another one for each row.
fn names_columns(found: &super::EffectCall) -> bool {
    found.arguments.iter().any(|argument| {
        ast::visit_expressions(argument, |node| match node {
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::CompoundFieldAccess { .. } => {
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        })
        .is_break()
    })
}

fn truth() -> Expr {
    Expr::value(Value::Boolean(true))
}

/// The parts of a condition that must all hold.
fn split(condition: Expr, parts: &mut Vec<Expr>) {
    match condition {
        Expr::Nested(inner)
            if matches!(
                *inner,
                Expr::BinaryOp {
                    op: BinaryOperator::And,
                    ..
                }
            ) =>
        {
            split(*inner, parts)
        }
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And,
            right,
        } => {
            split(*left, parts);
            split(*right, parts);
        }
        other => parts.push(other),
    }
}

fn join(parts: Vec<Expr>) -> Option<Expr> {
    parts.into_iter().reduce(|left, right| Expr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::And,
        right: Box::new(right),
    })
}

/// Rows that a query takes of those that its WHERE lets through, in no particular order.
fn wanted_rows(query: &ast::Query) -> Option<i64> {
    let SetExpr::Select(body) = query.body.as_ref() else {
        return None;
    };
    let groups = match &body.group_by {
        ast::GroupByExpr::Expressions(exprs, modifiers) => !exprs.is_empty() || !modifiers.is_empty(),
        ast::GroupByExpr::All(_) => true,
    };
    if query.order_by.is_some() || groups || body.having.is_some() || body.distinct.is_some() {
        return None;
    }
    let number = |expr: &Expr| match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.parse::<i64>().ok(),
            _ => None,
        },
        _ => None,
    };
    match &query.limit_clause {
        Some(ast::LimitClause::LimitOffset {
            limit: Some(limit),
            offset: None,
            ..
        }) => number(limit),
        _ => None,
    }
}
