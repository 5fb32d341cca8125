//! Bounds of a select list and of the groupings of GROUP BY (PostgreSQL's), of the relations that a query reads with its
//! CTEs in place, and an estimate of the memory that planning takes.
//!
//! One rule: the check counts in the syntax tree, before the planner makes anything of an item, grouping or relation. A short
//! CTE's plan is copied wherever a query names it.

use std::collections::HashMap;
use std::ops::ControlFlow;

use sqlparser::ast::{Expr, GroupByExpr, Ident, ObjectName, Query, Select, SetExpr, Visit, Visitor};

use super::size::{NODES_MAX, too_many_steps};
use crate::error::{SqlError, state};

/// Most items of a select list.
const TARGETS_MAX: usize = 1664;
/// Most elements of a CUBE, which makes a grouping of each subset of them.
const CUBE_MAX: usize = 12;
/// Most groupings of one GROUP BY.
const GROUPINGS_MAX: usize = 4096;

/// Most relations of a CTE that each place that names it reads for itself: larger ones are computed once.
const COPIED_MAX: u64 = 16;

/// Bytes of an expression while it is planned, as measured: in the syntax tree, its copy, and plans before and after
/// each rule.
const EXPRESSION_BYTES: u64 = 1280;
/// The same of one value in the list of an IN.
const LISTED_BYTES: u64 = 640;

/// The size of the work of planning a query.
pub struct PlanningSize {
    /// Relations that it reads, with those of a CTE each time that it is named.
    pub relations: u64,
    /// Memory, bytes.
    pub bytes: u64,
}

/// 54011 and 54001 for a query, or one within it, past the bounds.
pub fn check(query: &Query) -> Result<PlanningSize, SqlError> {
    let mut entries = Entries::default();
    match query.visit(&mut entries) {
        ControlFlow::Continue(()) => {
            let others = entries.expressions.saturating_sub(entries.listed);
            Ok(PlanningSize {
                relations: entries.relations,
                bytes: others * EXPRESSION_BYTES + entries.listed * LISTED_BYTES,
            })
        }
        ControlFlow::Break(error) => Err(error),
    }
}

#[derive(Default)]
struct Entries {
    expressions: u64,
    /// Expressions in the lists of INs.
    listed: u64,
    /// Relations that the innermost open query reads so far.
    relations: u64,
    /// Relations of the queries around it.
    outer: Vec<OpenQuery>,
    /// CTEs that can be named, with the relations that each reads.
    in_scope: Vec<(String, u64)>,
    /// Names of the CTEs that are still to be visited, by address.
    names: HashMap<*const Query, String>,
}

/// A query that holds the one being visited.
struct OpenQuery {
    relations: u64,
    in_scope: usize,
}

fn name(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

impl Entries {
    /// Relations that a name stands for.
    fn named(&self, relation: &ObjectName) -> u64 {
        let [part] = relation.0.as_slice() else { return 1 };
        let Some(ident) = part.as_ident() else { return 1 };
        let name = name(ident);
        let known = self.in_scope.iter().rev().find(|(cte, _)| *cte == name);
        known.map_or(1, |(_, relations)| *relations)
    }

    fn add(&mut self, relations: u64) -> ControlFlow<SqlError> {
        self.relations = self.relations.saturating_add(relations);
        match self.relations > NODES_MAX {
            true => ControlFlow::Break(too_many_steps()),
            false => ControlFlow::Continue(()),
        }
    }
}

impl Visitor for Entries {
    type Break = SqlError;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<SqlError> {
        self.outer.push(OpenQuery {
            relations: std::mem::take(&mut self.relations),
            in_scope: self.in_scope.len(),
        });
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.names
                .insert(std::ptr::from_ref(&*cte.query), name(&cte.alias.name));
        }
        let mut bodies = vec![query.body.as_ref()];
        while let Some(body) = bodies.pop() {
            match body {
                SetExpr::Select(select) => {
                    if let Err(error) = check_select(select) {
                        return ControlFlow::Break(error);
                    }
                }
                SetExpr::SetOperation { left, right, .. } => bodies.extend([left.as_ref(), right.as_ref()]),
                // A query in brackets is visited by itself.
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<SqlError> {
        self.expressions += 1;
        if let Expr::InList { list, .. } = expr {
            self.listed += list.len() as u64;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<SqlError> {
        self.add(self.named(relation))
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<SqlError> {
        let Some(outer) = self.outer.pop() else {
            return ControlFlow::Continue(());
        };
        self.in_scope.truncate(outer.in_scope);
        let within = std::mem::replace(&mut self.relations, outer.relations);
        match self.names.remove(&std::ptr::from_ref(query)) {
            // It counts where it is named.
            Some(name) => {
                self.in_scope.push((name, within.clamp(1, COPIED_MAX)));
                self.add(within)
            }
            None => self.add(within),
        }
    }
}

fn check_select(select: &Select) -> Result<(), SqlError> {
    if select.projection.len() > TARGETS_MAX {
        let message = format!("target lists can have at most {TARGETS_MAX} entries");
        return Err(SqlError::new(state::TOO_MANY_COLUMNS, message));
    }
    let GroupByExpr::Expressions(elements, _) = &select.group_by else {
        return Ok(());
    };
    let mut groupings = 1usize;
    for element in elements {
        let makes = match element {
            Expr::Cube(sets) if sets.len() > CUBE_MAX => {
                let message = format!("CUBE is limited to {CUBE_MAX} elements");
                return Err(SqlError::new(state::TOO_MANY_COLUMNS, message));
            }
            Expr::Cube(sets) => 1 << sets.len(),
            Expr::Rollup(sets) => sets.len() + 1,
            Expr::GroupingSets(sets) => sets.len().max(1),
            _ => 1,
        };
        groupings = groupings.saturating_mul(makes);
    }
    if groupings > GROUPINGS_MAX {
        let message = format!("too many grouping sets present (maximum {GROUPINGS_MAX})");
        return Err(SqlError::new(state::STATEMENT_TOO_COMPLEX, message));
    }
    Ok(())
}
