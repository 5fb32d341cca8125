//! Parts of a FROM clause: their plans, and the names in them.
//!
//! One rule: the columns of the items are columns of the plan.

use std::sync::Arc;

use datafusion::logical_expr::{LogicalPlan, SubqueryAlias};

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
