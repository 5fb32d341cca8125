//! Scalar subqueries without FROM: `(SELECT a + 1)` is `a + 1`, `(SELECT a WHERE c)` is `CASE WHEN c THEN a END`.
//!
//! One rule: only if the answer is the same. A volatile item that is computed once for all rows stays a subquery, and so does
//! a plain literal, which would be a column's number in GROUP BY. The engine plans nested subqueries again and again, and
//! knows no correlated ones without a relation.

use std::ops::ControlFlow;

use datafusion::logical_expr::Volatility;
use sqlparser::ast::{self, CaseWhen, Expr, GroupByExpr, Query, Select, SelectItem, SetExpr, Visit, Visitor};

use super::last_name;
use crate::sql::functions::functions;

/// Takes the expression out of a subquery that has no FROM.
pub(super) fn inline(expr: &mut Expr) {
    let Expr::Subquery(query) = expr else { return };
    let Some((item, condition)) = parts(query) else { return };
    // A subquery of a subquery alone is that one, whatever it reads.
    let is_subquery = condition.is_none() && matches!(peeled(item), Expr::Subquery(_));
    if !is_subquery && !is_movable(item, condition) {
        return;
    }
    let item = Box::new(item.clone());
    *expr = match condition {
        None => Expr::Nested(item),
        Some(condition) => Expr::Nested(Box::new(Expr::Case {
            case_token: ast::helpers::attached_token::AttachedToken::empty(),
            end_token: ast::helpers::attached_token::AttachedToken::empty(),
            operand: None,
            conditions: vec![CaseWhen {
                condition: condition.clone(),
                result: *item,
            }],
            else_result: None,
        })),
    };
}

/// The only item of a SELECT that is nothing but that and a condition.
fn parts(query: &Query) -> Option<(&Expr, Option<&Expr>)> {
    let bare = query.with.is_none()
        && query.order_by.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none()
        && query.locks.is_empty();
    let SetExpr::Select(select) = query.body.as_ref() else {
        return None;
    };
    let Select {
        distinct: None,
        from,
        projection,
        selection,
        group_by: GroupByExpr::Expressions(groups, _),
        having: None,
        qualify: None,
        named_window,
        ..
    } = select.as_ref()
    else {
        return None;
    };
    if !bare || !from.is_empty() || !groups.is_empty() || !named_window.is_empty() {
        return None;
    }
    match projection.as_slice() {
        [SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. }] => {
            Some((item, selection.as_ref()))
        }
        _ => None,
    }
}

fn peeled(expr: &Expr) -> &Expr {
    let mut expr = expr;
    while let Expr::Nested(inner) = expr {
        expr = inner;
    }
    expr
}

fn is_movable(item: &Expr, condition: Option<&Expr>) -> bool {
    if condition.is_none() && is_literal(item) {
        return false;
    }
    let mut look = Look::default();
    let _ = item.visit(&mut look);
    if let Some(condition) = condition {
        let _ = condition.visit(&mut look);
    }
    !look.fixed && (!look.volatile || look.columns)
}

fn is_literal(expr: &Expr) -> bool {
    match peeled(expr) {
        Expr::Value(_) => true,
        Expr::UnaryOp { expr, .. } => is_literal(expr),
        _ => false,
    }
}

/// What stands in a subquery's expressions.
#[derive(Default)]
struct Look {
    /// In a query of its own.
    depth: usize,
    /// Columns, which can only be the outer query's.
    columns: bool,
    volatile: bool,
    /// Aggregates and window functions, which are the subquery's own, and functions that return rows.
    fixed: bool,
}

impl Visitor for Look {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) if self.depth == 0 => self.columns = true,
            Expr::Function(function) => {
                let name = last_name(&function.name).unwrap_or_default();
                let known = functions();
                let rows = ["unnest", "generate_series", "generate_subscripts", "_pg_expandarray"];
                if self.depth == 0 {
                    self.fixed |=
                        function.over.is_some() || known.aggregate.contains_key(&name) || rows.contains(&name.as_str());
                }
                let called = known.scalar.get(&name);
                self.volatile |= called.is_some_and(|called| called.signature().volatility == Volatility::Volatile);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
