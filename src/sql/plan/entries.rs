//! How many items a select list has, and into how many groupings GROUP BY sorts: PostgreSQL's bounds.
//!
//! One rule: counted in the syntax tree, before anything is made of each item or grouping.

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, GroupByExpr, Query, Select, SetExpr, Visit, Visitor};

use crate::error::{SqlError, state};

/// Most items of a select list.
const TARGETS_MAX: usize = 1664;
/// Most elements of a CUBE, which makes a grouping of each subset of them.
const CUBE_MAX: usize = 12;
/// Most groupings of one GROUP BY.
const GROUPINGS_MAX: usize = 4096;

/// 54011 and 54001 for a query, or one within it, past the bounds.
pub fn check(query: &Query) -> Result<(), SqlError> {
    match query.visit(&mut Entries) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Entries;

impl Visitor for Entries {
    type Break = SqlError;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<SqlError> {
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
