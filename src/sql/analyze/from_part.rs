//! Parts of a FROM clause: their plans, and the names in them.
//!
//! One rule: the columns of the items are columns of the plan.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::logical_expr::{EmptyRelation, LogicalPlan, SubqueryAlias};
use sqlparser::ast;

use super::Result;
use super::scope::{FromItem, reference};

/// A part of FROM.
pub struct Rel {
    pub plan: LogicalPlan,
    pub items: Vec<FromItem>,
}

/// A part of FROM that is being made.
pub struct Factor {
    pub rel: Rel,
    /// It has the items to its left in it.
    pub joined: bool,
}

/// A plan whose columns have that qualifier.
pub fn aliased(plan: LogicalPlan, qualifier: &str) -> Result<LogicalPlan> {
    let alias = SubqueryAlias::try_new(Arc::new(plan), reference(qualifier))?;
    Ok(LogicalPlan::SubqueryAlias(alias))
}

/// Columns of one name are kept apart by their number.
pub fn column_name(name: &str, index: usize) -> String {
    match index {
        0 => name.to_string(),
        index => format!("{name}\u{1}{index}"),
    }
}

/// Rows without columns: one, or none.
pub fn nothing(produce_one_row: bool) -> LogicalPlan {
    LogicalPlan::EmptyRelation(EmptyRelation {
        produce_one_row,
        schema: Arc::new(DFSchema::empty()),
    })
}

/// A query that is nothing but a body.
pub fn plain_query(body: ast::SetExpr) -> ast::Query {
    ast::Query {
        with: None,
        body: Box::new(body),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: vec![],
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: vec![],
    }
}
