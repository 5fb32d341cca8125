//! `set_config(name, value, is_local)` in a SELECT: the one function that changes the session that calls it.
//!
//! It is carried out before the statement is planned and stands in the plan as the value that it answers; so its
//! arguments are constants, and it runs once however many rows there are.

use std::ops::ControlFlow;

use sqlparser::ast::{
    self, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, SelectItem, SetExpr, Value, VisitMut,
    VisitorMut,
};

use super::Session;
use crate::error::SqlError;
use crate::sql::statement::Select;

/// A call that was found: its arguments, and where its answer goes.
struct Calls<'a> {
    session: &'a mut Session,
    /// Else the call is only typed, for a description.
    carry_out: bool,
    found: bool,
}

impl VisitorMut for Calls<'_> {
    type Break = SqlError;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlError> {
        let Expr::Function(function) = expr else {
            return ControlFlow::Continue(());
        };
        if !is_set_config(&function.name) {
            return ControlFlow::Continue(());
        }
        self.found = true;
        match self.call(&function.args) {
            Ok(value) => {
                *expr = Expr::value(Value::SingleQuotedString(value));
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }
}

impl Calls<'_> {
    fn call(&mut self, arguments: &FunctionArguments) -> Result<String, SqlError> {
        let constant = || {
            SqlError::unsupported(
                "set_config() takes constants only",
                "Use set_config('name', 'value', false), or SET.",
            )
        };
        let FunctionArguments::List(list) = arguments else {
            return Err(constant());
        };
        let values: Option<Vec<&Value>> = list
            .args
            .iter()
            .map(|argument| match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) => Some(&value.value),
                _ => None,
            })
            .collect();
        let values = values.ok_or_else(constant)?;
        let [Value::SingleQuotedString(name), value, Value::Boolean(local)] = values.as_slice() else {
            return Err(constant());
        };
        let value = match value {
            Value::SingleQuotedString(value) => Some(value.as_str()),
            Value::Null => None,
            _ => return Err(constant()),
        };
        if !self.carry_out {
            return Ok(String::new());
        }
        self.session.set(name, value, *local)?;
        self.session.settings.get(name)
    }
}

fn is_set_config(name: &ast::ObjectName) -> bool {
    let parts: Vec<String> = name
        .0
        .iter()
        .filter_map(|part| part.as_ident())
        .map(|ident| ident.value.to_lowercase())
        .collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    matches!(parts.as_slice(), ["set_config"] | ["pg_catalog", "set_config"])
}

/// The column of a call keeps the function's name.
fn name_columns(select: &mut Select) {
    if let SetExpr::Select(body) = select.query.body.as_mut() {
        for item in &mut body.projection {
            if let SelectItem::UnnamedExpr(expr @ Expr::Function(_)) = item
                && matches!(expr, Expr::Function(function) if is_set_config(&function.name))
            {
                *item = SelectItem::ExprWithAlias {
                    expr: expr.clone(),
                    alias: Ident::new("set_config"),
                };
            }
        }
    }
}

impl Session {
    /// The SELECT with its calls of `set_config` replaced by their answers, after carrying them out if that is wanted;
    /// `None` if there are none. 0A000 for arguments that are not constant.
    pub(super) fn with_settings_set(&mut self, select: &Select, carry_out: bool) -> Result<Option<Select>, SqlError> {
        let mut select = select.clone();
        name_columns(&mut select);
        let mut calls = Calls {
            session: self,
            carry_out,
            found: false,
        };
        match select.query.visit(&mut calls) {
            ControlFlow::Continue(()) => Ok(calls.found.then_some(select)),
            ControlFlow::Break(error) => Err(error),
        }
    }

    /// Whether the query string that was parsed last may call it.
    pub(super) fn may_set_config(&self) -> bool {
        memchr::memmem::find(self.text.as_bytes(), b"set_config").is_some()
    }
}
