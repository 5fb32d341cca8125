//! IS: tests of a value for NULL and truth, and IS DISTINCT FROM.

use datafusion::logical_expr::Expr;
use sqlparser::ast;

use super::operators::{conjunction, truth};
use super::scope::Scope;
use super::typed::{Ty, Typed};
use super::{Analyzer, Result};

impl Analyzer<'_> {
    pub fn is_null(&self, inner: &ast::Expr, negated: bool, scope: &Scope) -> Result<Typed> {
        let typed = self.expr(inner, scope)?;
        let position = typed.position;
        // A row is NULL if all of its fields are, and not NULL if none is.
        if let Some(fields) = typed.fields() {
            let mut tests = Vec::with_capacity(fields.len());
            for (_, field) in fields {
                tests.push(null_test(self.settle_row(field.clone())?, negated));
            }
            let all = conjunction(tests).unwrap_or_else(|| truth(Some(true)));
            return Ok(Typed::boolean(all, position));
        }
        let typed = self.settle_any(typed)?;
        Ok(Typed::boolean(null_test(typed, negated), position))
    }

    /// `left IS [NOT] DISTINCT FROM right`; beside a NULL that is written it is `IS [NOT] NULL`.
    pub fn distinct(&self, left: &ast::Expr, right: &ast::Expr, differs: bool, scope: &Scope) -> Result<Typed> {
        let beside_null = match (is_null_literal(right), is_null_literal(left)) {
            (true, _) => Some(left),
            (_, true) => Some(right),
            _ => None,
        };
        if let Some(other) = beside_null {
            let typed = self.expr(other, scope)?;
            let position = typed.position;
            // A row is one or it is not: its fields do not matter.
            let typed = self.settle_row(typed)?;
            return Ok(Typed::boolean(null_test(typed, differs), position));
        }
        let symbol = match differs {
            true => "IS DISTINCT FROM",
            false => "IS NOT DISTINCT FROM",
        };
        let (left, right) = (self.expr(left, scope)?, self.expr(right, scope)?);
        self.binary(symbol, left, right, None)
    }

    fn settle_row(&self, typed: Typed) -> Result<Typed> {
        match typed.ty {
            Ty::Row(_) => self.row_value(&typed),
            _ => self.settle_any(typed),
        }
    }

    pub fn is_truth(&self, inner: &ast::Expr, what: &str, test: fn(Box<Expr>) -> Expr, scope: &Scope) -> Result<Typed> {
        let typed = self.expr(inner, scope)?;
        let position = typed.position;
        let condition = self.condition(typed, what)?;
        Ok(Typed::boolean(test(Box::new(condition)), position))
    }
}

fn is_null_literal(expr: &ast::Expr) -> bool {
    match expr {
        ast::Expr::Nested(inner) => is_null_literal(inner),
        ast::Expr::Value(value) => value.value == ast::Value::Null,
        _ => false,
    }
}

fn null_test(typed: Typed, negated: bool) -> Expr {
    match negated {
        true => Expr::IsNotNull(Box::new(typed.expr)),
        false => Expr::IsNull(Box::new(typed.expr)),
    }
}
