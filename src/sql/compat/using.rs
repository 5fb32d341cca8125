//! The column that JOIN ... USING merges: the engine takes the left side's for all joins, PostgreSQL the right side's
//! after RIGHT JOIN and whichever is there after FULL JOIN; and `*` shows it first.
//!
//! One rule: what cannot be written out with certainty is 0A000, never another column.

use std::ops::ControlFlow;

use sqlparser::ast::{
    self, Expr, Ident, JoinConstraint, JoinOperator, ObjectName, OrderByKind, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TableFactor, TableWithJoins, VisitMut, VisitorMut,
};

use super::{call, fold, last_name};
use crate::error::SqlError;

pub(super) struct Using;

impl VisitorMut for Using {
    type Break = SqlError;

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<SqlError> {
        let merged = match merged_columns(select) {
            Ok(merged) => merged,
            Err(error) => return ControlFlow::Break(error),
        };
        if let Err(error) = write_out_wildcard(select, &merged) {
            return ControlFlow::Break(error);
        }
        if !merged.is_empty() {
            replace(select, &merged);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<SqlError> {
        let SetExpr::Select(select) = query.body.as_ref() else {
            return ControlFlow::Continue(());
        };
        let (Ok(merged), Some(order_by)) = (merged_columns(select), &mut query.order_by) else {
            return ControlFlow::Continue(());
        };
        let OrderByKind::Expressions(exprs) = &mut order_by.kind else {
            return ControlFlow::Continue(());
        };
        let is_output = |name: &str| {
            select.projection.iter().any(|item| match item {
                SelectItem::ExprWithAlias { alias, .. } => fold(alias) == name,
                SelectItem::UnnamedExpr(Expr::CompoundIdentifier(idents)) => {
                    idents.last().is_some_and(|last| fold(last) == name)
                }
                _ => false,
            })
        };
        for order in exprs {
            // A bare name means the output column first.
            if matches!(&order.expr, Expr::Identifier(ident) if is_output(&fold(ident))) {
                continue;
            }
            let _ = order.expr.visit(&mut Replace {
                depth: 0,
                merged: &merged,
            });
        }
        ControlFlow::Continue(())
    }
}

/// A merged column, and what stands for it.
struct Merged {
    name: String,
    value: Expr,
    /// The engine would take another one.
    outer: bool,
}

/// The columns that JOIN ... USING merges, as far as it can be told without a catalog what stands for them. The engine
/// knows by itself those that are not of an outer join, but within an expression.
fn merged_columns(select: &Select) -> Result<Vec<Merged>, SqlError> {
    let mut merged: Vec<Merged> = vec![];
    for table in &select.from {
        let mut outer = false;
        for (index, join) in table.joins.iter().enumerate() {
            let Some((constraint, side)) = constraint_of(&join.join_operator) else {
                continue;
            };
            let names = match constraint {
                JoinConstraint::Using(names) => names,
                JoinConstraint::Natural if side == Side::Left && !outer => continue,
                JoinConstraint::Natural => return Err(refused()),
                _ => continue,
            };
            if outer {
                return Err(refused());
            }
            if side == Side::Left {
                let left = factor_name(&table.relation).filter(|_| index == 0 && is_plain(&table.relation));
                if let (Some(left), JoinConstraint::Using(_)) = (left, constraint) {
                    merged.extend(names.iter().filter_map(last_name).map(|name| Merged {
                        value: column(&left, &name),
                        name,
                        outer: false,
                    }));
                }
                continue;
            }
            outer = true;
            let right = factor_name(&join.relation).ok_or_else(refused)?;
            for name in names.iter().filter_map(last_name) {
                let value = match side {
                    Side::Both if index > 0 => return Err(refused()),
                    Side::Both => {
                        let left = factor_name(&table.relation).ok_or_else(refused)?;
                        call("coalesce", vec![column(&left, &name), column(&right, &name)])
                    }
                    _ => column(&right, &name),
                };
                merged.retain(|known| known.name != name);
                merged.push(Merged {
                    name,
                    value,
                    outer: true,
                });
            }
        }
    }
    Ok(merged)
}

/// Which side a merged column is taken from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
    Both,
}

fn constraint_of(operator: &JoinOperator) -> Option<(&JoinConstraint, Side)> {
    match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint) => Some((constraint, Side::Left)),
        JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => Some((constraint, Side::Right)),
        JoinOperator::FullOuter(constraint) => Some((constraint, Side::Both)),
        _ => None,
    }
}

fn refused() -> SqlError {
    SqlError::unsupported(
        "this combination of outer joins with USING or NATURAL is not supported",
        "Join ON the columns, and write COALESCE(a.x, b.x) where the merged column is meant.",
    )
}

fn factor_name(factor: &TableFactor) -> Option<String> {
    match factor {
        TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } => {
            Some(fold(&alias.name))
        }
        TableFactor::Table { name, .. } => last_name(name),
        _ => None,
    }
}

/// Whether its name is that of its columns.
fn is_plain(factor: &TableFactor) -> bool {
    matches!(
        factor,
        TableFactor::Table { args: None, .. } | TableFactor::Derived { .. }
    )
}

fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}

fn column(relation: &str, name: &str) -> Expr {
    Expr::CompoundIdentifier(vec![quoted(relation), quoted(name)])
}

/// `SELECT *` over one join: the merged columns, then the others of each side.
fn write_out_wildcard(select: &mut Select, merged: &[Merged]) -> Result<(), SqlError> {
    let has_wildcard = select
        .projection
        .iter()
        .any(|item| matches!(item, SelectItem::Wildcard(_)));
    if !has_wildcard {
        return Ok(());
    }
    let simple = match select.from.as_slice() {
        [TableWithJoins { relation, joins }] if joins.len() == 1 => {
            let names = match constraint_of(&joins[0].join_operator) {
                Some((JoinConstraint::Using(names), _)) => Some(names.iter().filter_map(last_name).collect::<Vec<_>>()),
                _ => None,
            };
            names.zip(factor_name(relation)).zip(factor_name(&joins[0].relation))
        }
        _ => None,
    };
    let Some(((names, left), right)) = simple else {
        return match merged.iter().any(|merged| merged.outer) {
            false => Ok(()),
            true => Err(refused()),
        };
    };
    let mut projection = Vec::with_capacity(select.projection.len() + names.len() + 1);
    for item in std::mem::take(&mut select.projection) {
        let SelectItem::Wildcard(options) = item else {
            projection.push(item);
            continue;
        };
        for name in &names {
            let value = merged.iter().find(|merged| merged.name == *name);
            projection.push(SelectItem::ExprWithAlias {
                expr: value.map_or_else(|| column(&left, name), |merged| merged.value.clone()),
                alias: quoted(name),
            });
        }
        for relation in [&left, &right] {
            let mut options = options.clone();
            options.opt_except = names.split_first().map(|(first, rest)| ast::ExceptSelectItem {
                first_element: quoted(first),
                additional_elements: rest.iter().map(|name| quoted(name)).collect(),
            });
            let kind = SelectItemQualifiedWildcardKind::ObjectName(ObjectName::from(quoted(relation)));
            projection.push(SelectItem::QualifiedWildcard(kind, options));
        }
    }
    select.projection = projection;
    Ok(())
}

/// Puts what they stand for in place of the merged columns of one SELECT; its subqueries have columns of their own.
fn replace(select: &mut Select, merged: &[Merged]) {
    let mut visitor = Replace { depth: 0, merged };
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(Expr::Identifier(ident)) = item
            && let Some(found) = merged.iter().find(|merged| merged.name == fold(ident))
        {
            *item = SelectItem::ExprWithAlias {
                expr: found.value.clone(),
                alias: quoted(&found.name),
            };
            continue;
        }
        let _ = item.visit(&mut visitor);
    }
    let _ = select.selection.visit(&mut visitor);
    let _ = select.group_by.visit(&mut visitor);
    let _ = select.having.visit(&mut visitor);
    let _ = select.distinct.visit(&mut visitor);
    let _ = select.named_window.visit(&mut visitor);
    for table in &mut select.from {
        for join in &mut table.joins {
            let _ = join.join_operator.visit(&mut visitor);
        }
    }
}

struct Replace<'a> {
    depth: usize,
    merged: &'a [Merged],
}

impl VisitorMut for Replace<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.depth == 0
            && let Expr::Identifier(ident) = expr
            && let Some(found) = self.merged.iter().find(|merged| merged.name == fold(ident))
        {
            *expr = found.value.clone();
        }
        ControlFlow::Continue(())
    }
}
