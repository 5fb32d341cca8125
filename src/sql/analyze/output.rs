//! [`QueryOutput`]: an analyzed query, its plan and its columns.
//!
//! One rule: a column has a name for the client and one in the plan, and they need not be equal.

use datafusion::common::Column;
use datafusion::logical_expr::LogicalPlan;

use super::typed::Shape;
use crate::types::PgType;

/// A column that a query gives.
#[derive(Clone, Debug)]
pub struct OutColumn {
    pub name: String,
    /// In the query's plan.
    pub column: Column,
    pub pg_type: PgType,
    /// A quoted string or NULL that nothing gave a type: it is text, or any type that is asked for.
    pub untyped: bool,
    /// It is a row, which the plan has as a struct, or an array of rows.
    pub row: Option<Shape>,
}

impl OutColumn {
    pub fn shape(&self) -> Shape {
        self.row.clone().unwrap_or(Shape::Of(self.pg_type.clone()))
    }
}

/// An analyzed query.
#[derive(Clone, Debug)]
pub struct QueryOutput {
    pub plan: LogicalPlan,
    pub columns: Vec<OutColumn>,
}
