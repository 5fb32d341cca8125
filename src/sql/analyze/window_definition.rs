//! [`WindowDefinition`]: a window of OVER or WINDOW.
//!
//! One rule: it is complete once it is made: it includes everything that it inherits from a named window.

use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::Sort;
use sqlparser::ast;

use super::typed::Typed;
use crate::sql::functions::excluded::Exclusion;

/// The partitions, the order and the frame of a window.
#[derive(Clone, Default)]
pub struct WindowDefinition {
    pub partition_by: Vec<Expr>,
    pub order_by: Vec<(Typed, Sort)>,
    pub frame: Option<ast::WindowFrame>,
    pub exclusion: Option<Exclusion>,
}
