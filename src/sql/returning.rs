//! RETURNING in the tree of an INSERT: its items as a SELECT, and the places of hidden columns among them.
//!
//! One rule: a hidden column stands alone, since the commit decides it after all expressions were evaluated. Not here:
//! the evaluation of the items (`session/returning.rs`).

use std::ops::ControlFlow;
use std::sync::Arc;

use sqlparser::ast::{
    self, Expr, Ident, ObjectNamePart, SelectItem, SetExpr, TableFactor, Visit, Visitor, visit_expressions,
};

use super::plan::names::fold;
use super::statement::{Insert, Select, mark};
use super::system_columns::TableColumn;
use crate::catalog::{self, Topic};
use crate::error::SqlError;
use crate::log::HiddenColumn;

/// The RETURNING items as a SELECT over the topic.
pub fn returning_select(insert: &Insert, topic: &Topic) -> Result<Arc<Select>, SqlError> {
    select_of(&insert.returning, insert, topic)
}

/// The same with the hidden column `_offset` behind the items: the number of each row, if they are counted there.
pub fn returning_select_numbered(insert: &Insert, topic: &Topic) -> Result<Arc<Select>, SqlError> {
    let mut items = insert.returning.clone();
    let number = Ident::new(HiddenColumn::Offset.name());
    items.push(SelectItem::UnnamedExpr(Expr::Identifier(number)));
    select_of(&items, insert, topic)
}

fn select_of(items: &[SelectItem], insert: &Insert, topic: &Topic) -> Result<Arc<Select>, SqlError> {
    let mut from = catalog::quote_qualified(&topic.schema, &topic.name);
    if let Some(alias) = &insert.alias {
        from = format!("{from} AS {}", catalog::quote_ident(alias));
    }
    let mut text = format!("SELECT * FROM {from}");
    if items.iter().any(has_query) {
        // A query within may be joined to the rows, whose order would then be anybody's.
        let shown = insert.alias.as_deref().unwrap_or(&topic.name);
        let number = HiddenColumn::Offset.name();
        text.push_str(&format!(" ORDER BY {}.{number}", catalog::quote_ident(shown)));
    }
    let mut select = Select::clone(&*super::parse::only_select(&text)?);
    if let SetExpr::Select(body) = select.query.body.as_mut() {
        // As they stand in the statement, for positions of errors.
        body.projection = items.to_vec();
        if let TableFactor::Table { name, .. } = &mut body.from[0].relation {
            name.0.insert(0, ObjectNamePart::Identifier(Ident::new(mark::INSERTED)));
        }
    }
    if let Some(before) = &insert.with {
        select.query.with = Some(before.with.clone());
        select.given = before.given.clone();
    }
    Ok(select.into())
}

fn has_query(item: &SelectItem) -> bool {
    struct Queries;
    impl Visitor for Queries {
        type Break = ();

        fn pre_visit_query(&mut self, _: &ast::Query) -> ControlFlow<()> {
            ControlFlow::Break(())
        }
    }
    item.visit(&mut Queries).is_break()
}

/// A column that the commit decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReturnedPlace {
    Hidden(HiddenColumn),
    Ctid,
    Xmin,
}

impl ReturnedPlace {
    pub fn name(self) -> &'static str {
        match self {
            ReturnedPlace::Hidden(column) => column.name(),
            ReturnedPlace::Ctid => TableColumn::Ctid.name(),
            ReturnedPlace::Xmin => TableColumn::Xmin.name(),
        }
    }
}

/// The column of the commit that an expression is.
fn place(expr: &Expr) -> Option<ReturnedPlace> {
    let ident = match expr {
        Expr::Identifier(ident) => ident,
        Expr::CompoundIdentifier(parts) => parts.last()?,
        _ => return None,
    };
    let name = fold(ident);
    let hidden = HiddenColumn::ALL.into_iter().map(ReturnedPlace::Hidden);
    let mut all = hidden.chain([ReturnedPlace::Ctid, ReturnedPlace::Xmin]);
    all.find(|place| place.name() == name)
}

/// The items of RETURNING that are hidden columns, by place. 0A000 if one is part of an expression.
pub fn places(insert: &Insert) -> Result<Vec<(usize, ReturnedPlace)>, SqlError> {
    let mut places = Vec::new();
    for (index, item) in insert.returning.iter().enumerate() {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item
            && let Some(column) = place(expr)
        {
            places.push((index, column));
            continue;
        }
        let within = visit_expressions(item, |expr| match place(expr) {
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

/// The same by output column, `width` in all: each `*` stands for as many as the others.
pub fn positions(insert: &Insert, places: &[(usize, ReturnedPlace)], width: usize) -> Vec<(usize, ReturnedPlace)> {
    let is_wildcard = |item: &&SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    let wildcards = insert.returning.iter().filter(is_wildcard).count();
    let columns = (width + wildcards - insert.returning.len())
        .checked_div(wildcards)
        .unwrap_or(0);
    let position = |index: usize| {
        let before = insert.returning[..index].iter().filter(is_wildcard).count();
        index - before + before * columns
    };
    places
        .iter()
        .map(|(index, column)| (position(*index), *column))
        .collect()
}
