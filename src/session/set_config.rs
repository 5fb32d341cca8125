//! `set_config(name, value, is_local)` in a SELECT: the one function that changes the session that calls it.
//!
//! It is carried out before the statement is planned and stands in the plan as the value that it answers; so its
//! arguments are constants, and it runs once however many rows there are.

use std::ops::ControlFlow;
use std::sync::Arc;

use sqlparser::ast::{self, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, SelectItem, SetExpr, Value};

use super::Session;
use crate::error::SqlError;
use crate::sql::statement::Select;

/// One call: name, value and whether it ends with the transaction.
struct Call {
    name: String,
    value: Option<String>,
    local: bool,
}

/// The calls of a SELECT, in the order in which they are carried out. 0A000 for arguments that are not constant.
fn calls(select: &Select) -> Result<Vec<Call>, SqlError> {
    let mut calls = Vec::new();
    let found = ast::visit_expressions(select.query.as_ref(), |expr| {
        if let Expr::Function(function) = expr
            && is_set_config(&function.name)
        {
            match call(&function.args) {
                Ok(call) => calls.push(call),
                Err(error) => return ControlFlow::Break(error),
            }
        }
        ControlFlow::Continue(())
    });
    match found {
        ControlFlow::Continue(()) => Ok(calls),
        ControlFlow::Break(error) => Err(error),
    }
}

fn call(arguments: &FunctionArguments) -> Result<Call, SqlError> {
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
        Value::SingleQuotedString(value) => Some(value.clone()),
        Value::Null => None,
        _ => return Err(constant()),
    };
    Ok(Call {
        name: name.clone(),
        value,
        local: *local,
    })
}

/// The SELECT with its calls replaced by their answers.
fn answered(select: &Select, answers: Vec<String>) -> Select {
    let mut select = select.clone();
    name_columns(&mut select);
    let mut answers = answers.into_iter();
    let _ = ast::visit_expressions_mut(select.query.as_mut(), |expr| {
        if matches!(expr, Expr::Function(function) if is_set_config(&function.name)) {
            let answer = answers.next().expect("each call that was found has an answer");
            *expr = Expr::value(Value::SingleQuotedString(answer));
        }
        ControlFlow::<()>::Continue(())
    });
    select
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
    /// `None` if there are none.
    pub(super) async fn with_settings_set(
        &mut self,
        select: &Arc<Select>,
        carry_out: bool,
    ) -> Result<Option<Arc<Select>>, SqlError> {
        let looked_at = select.clone();
        let calls = self.compute(move || calls(&looked_at)).await?;
        if calls.is_empty() {
            return Ok(None);
        }
        let mut answers = Vec::with_capacity(calls.len());
        for call in calls {
            answers.push(match carry_out {
                true => {
                    self.set(&call.name, call.value.as_deref(), call.local)?;
                    self.settings.get(&call.name)?
                }
                false => String::new(),
            });
        }
        let select = select.clone();
        let answered = self.compute(move || Ok(Arc::new(answered(&select, answers)))).await?;
        Ok(Some(answered))
    }

    /// Whether the query string that was parsed last may call it.
    pub(super) fn may_set_config(&self) -> bool {
        memchr::memmem::find(self.text.as_bytes(), b"set_config").is_some()
    }
}
