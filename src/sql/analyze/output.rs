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
    /// [`Typed::typmod`](super::typed::Typed::typmod)
    pub typmod: Option<i32>,
}

impl OutColumn {
    pub fn shape(&self) -> Shape {
        self.row.clone().unwrap_or(Shape::Of(self.pg_type.clone()))
    }

    /// The modifier that a client is told.
    pub fn told_typmod(&self) -> i32 {
        told(&self.pg_type, self.typmod)
    }
}

/// An analyzed query.
#[derive(Clone, Debug)]
pub struct QueryOutput {
    pub plan: LogicalPlan,
    pub columns: Vec<OutColumn>,
}

/// `pg_attribute.atttypmod` of an expression; -1 if none.
fn told(pg_type: &PgType, typmod: Option<i32>) -> i32 {
    match pg_type {
        PgType::Array(item) | PgType::Shaped(item) => told(item, typmod),
        PgType::Varchar(_) | PgType::Char(_) => pg_type.typmod(),
        _ => typmod.unwrap_or(-1),
    }
}
