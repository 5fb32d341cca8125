//! RETURNING in the tree of an INSERT: its items as a SELECT, and which of them are hidden columns.
//!
//! One rule: a hidden column stands alone, since the commit decides it after all expressions were evaluated. Not here: what
//! evaluates the items (`session/returning.rs`).

use std::ops::ControlFlow;
use std::sync::Arc;

use sqlparser::ast::{Expr, Ident, SelectItem, visit_expressions};

use super::statement::{Insert, Select};
use crate::catalog::{self, Topic};
use crate::error::SqlError;
use crate::log::HiddenColumn;

/// The RETURNING items as a SELECT over the topic.
pub fn returning_select(insert: &Insert, topic: &Topic) -> Result<Arc<Select>, SqlError> {
    select_of(&insert.returning, insert, topic)
}

/// The same with the hidden column `_offset` behind the items: which of the rows each one is, if they are counted there.
pub fn returning_select_numbered(insert: &Insert, topic: &Topic) -> Result<Arc<Select>, SqlError> {
    let mut items = insert.returning.clone();
    let number = Ident::new(HiddenColumn::Offset.name());
    items.push(SelectItem::UnnamedExpr(Expr::Identifier(number)));
    select_of(&items, insert, topic)
}

fn select_of(items: &[SelectItem], insert: &Insert, topic: &Topic) -> Result<Arc<Select>, SqlError> {
    let items: Vec<String> = items.iter().map(SelectItem::to_string).collect();
    let mut from = catalog::quote_qualified(&topic.schema, &topic.name);
    if let Some(alias) = &insert.alias {
        from = format!("{from} AS {}", catalog::quote_ident(alias));
    }
    super::parse::only_select(&format!("SELECT {} FROM {from}", items.join(", ")))
}

/// The hidden column that an expression is.
fn hidden(expr: &Expr) -> Option<HiddenColumn> {
    let ident = match expr {
        Expr::Identifier(ident) => ident,
        Expr::CompoundIdentifier(parts) => parts.last()?,
        _ => return None,
    };
    let is_it = |column: &HiddenColumn| match ident.quote_style {
        Some(_) => ident.value == column.name(),
        None => ident.value.eq_ignore_ascii_case(column.name()),
    };
    HiddenColumn::ALL.into_iter().find(is_it)
}

/// The items of RETURNING that are hidden columns, by place. 0A000 if one is part of an expression.
pub fn places(insert: &Insert) -> Result<Vec<(usize, HiddenColumn)>, SqlError> {
    let mut places = Vec::new();
    for (place, item) in insert.returning.iter().enumerate() {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item
            && let Some(column) = hidden(expr)
        {
            places.push((place, column));
            continue;
        }
        let within = visit_expressions(item, |expr| match hidden(expr) {
            Some(column) => ControlFlow::Break(column),
            None => ControlFlow::Continue(()),
        });
        if let ControlFlow::Break(column) = within {
            return Err(SqlError::unsupported(
                format!("an expression of {} in RETURNING is not supported", column.name()),
                "The commit gives rows their places, after RETURNING was evaluated: return the column itself.",
            ));
        }
    }
    Ok(places)
}

/// The same by output column, of which there are `width`: each `*` is as many as the others.
pub fn positions(insert: &Insert, places: &[(usize, HiddenColumn)], width: usize) -> Vec<(usize, HiddenColumn)> {
    let is_wildcard = |item: &&SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    let wildcards = insert.returning.iter().filter(is_wildcard).count();
    let columns = (width + wildcards - insert.returning.len())
        .checked_div(wildcards)
        .unwrap_or(0);
    let position = |place: usize| {
        let before = insert.returning[..place].iter().filter(is_wildcard).count();
        place - before + before * columns
    };
    places
        .iter()
        .map(|(place, column)| (position(*place), *column))
        .collect()
}
