//! Parts of a FROM clause: their plans, and what can be named of them.
//!
//! One rule: the columns of the items are columns of the plan.

use datafusion::logical_expr::LogicalPlan;

use super::scope::FromItem;

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
