//! `set_config(name, value, is_local)` and `pg_notify(channel, payload)` in a SELECT: the functions that act on the
//! session that calls them.
//!
//! They are carried out before the statement is planned, and the call stands in the plan as what it answers. Their
//! arguments are computed by a SELECT of their own: over the FROM and WHERE of the statement where the call stands in
//! its select list, so that it runs once for each row; elsewhere without relations, once.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use futures::TryStreamExt;
use sqlparser::ast::{
    self, CaseWhen, CastKind, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, SelectItem,
    SetExpr, Value,
};

use super::Session;
use super::outcome::Parameters;
use crate::error::{SqlError, state};
use crate::sql::statement::Select;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Effect {
    SetConfig,
    Notify,
}

impl Effect {
    fn of(name: &ast::ObjectName) -> Option<Effect> {
        let parts = name.0.iter().filter_map(|part| part.as_ident());
        let parts: Vec<String> = parts.map(|ident| ident.value.to_lowercase()).collect();
        let name = match parts.as_slice() {
            [name] => name,
            [schema, name] if schema == "pg_catalog" => name,
            _ => return None,
        };
        match name.as_str() {
            "set_config" => Some(Effect::SetConfig),
            "pg_notify" => Some(Effect::Notify),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Effect::SetConfig => "set_config",
            Effect::Notify => "pg_notify",
        }
    }

    fn arguments(self) -> usize {
        match self {
            Effect::SetConfig => 3,
            Effect::Notify => 2,
        }
    }
}

struct Call {
    effect: Effect,
    arguments: Vec<Expr>,
}

/// The call that an expression is. 42883 if it has not the arguments that the function takes.
fn call(expr: &Expr) -> Result<Option<Call>, SqlError> {
    let Expr::Function(Function { name, args, .. }) = expr else {
        return Ok(None);
    };
    let Some(effect) = Effect::of(name) else {
        return Ok(None);
    };
    let arguments: Option<Vec<Expr>> = match args {
        FunctionArguments::List(list) => list
            .args
            .iter()
            .map(|argument| match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
                _ => None,
            })
            .collect(),
        _ => None,
    };
    match arguments.filter(|arguments| arguments.len() == effect.arguments()) {
        Some(arguments) => Ok(Some(Call { effect, arguments })),
        None => Err(SqlError::new(
            state::UNDEFINED_FUNCTION,
            format!("function {} does not exist with these arguments", effect.name()),
        )),
    }
}

/// The calls of a SELECT, in the order in which they are carried out.
fn calls(select: &Select) -> Result<Vec<Call>, SqlError> {
    let mut calls = Vec::new();
    let found = ast::visit_expressions(select.query.as_ref(), |expr| match call(expr) {
        Ok(found) => {
            calls.extend(found);
            ControlFlow::Continue(())
        }
        Err(error) => ControlFlow::Break(error),
    });
    match found {
        ControlFlow::Continue(()) => Ok(calls),
        ControlFlow::Break(error) => Err(error),
    }
}

fn cast(expr: Expr, data_type: ast::DataType) -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(expr),
        data_type,
        array: false,
        format: None,
    }
}

/// Whether the calls run for each row of the statement: its FROM is not empty and they stand in its select list.
fn per_row(select: &Select) -> bool {
    match select.query.body.as_ref() {
        SetExpr::Select(body) if !body.from.is_empty() => {
            let mut listed = false;
            for item in &body.projection {
                if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                    let _ = ast::visit_expressions(expr, |expr| {
                        listed |= matches!(call(expr), Ok(Some(_)));
                        ControlFlow::<()>::Continue(())
                    });
                }
            }
            listed
        }
        _ => false,
    }
}

/// A SELECT of the arguments, as text: of all calls, one after the other.
fn arguments(select: &Select, calls: &[Call], per_row: bool) -> Result<Select, SqlError> {
    let texts = calls.iter().flat_map(|call| &call.arguments);
    let projection = texts.map(|argument| SelectItem::UnnamedExpr(cast(argument.clone(), ast::DataType::Text)));
    let mut of = match per_row {
        true => select.clone(),
        false => (*super::read::only_select("SELECT 1")?).clone(),
    };
    of.query.order_by = None;
    let SetExpr::Select(body) = of.query.body.as_mut() else {
        unreachable!("only a plain SELECT has calls for each row, and the other one is plain")
    };
    body.projection = projection.collect();
    Ok(of)
}

/// The SELECT with its calls replaced by their answers; `None`: by an expression of their type over their arguments.
fn answered(select: &Select, answers: Option<Vec<String>>) -> Select {
    let mut select = select.clone();
    name_columns(&mut select);
    let mut answers = answers.map(Vec::into_iter);
    let _ = ast::visit_expressions_mut(select.query.as_mut(), |expr| {
        if let Ok(Some(call)) = call(expr) {
            *expr = match &mut answers {
                Some(answers) => {
                    let answer = answers.next().expect("each call that was found has an answer");
                    match call.effect {
                        Effect::SetConfig => cast(Expr::value(Value::SingleQuotedString(answer)), ast::DataType::Text),
                        Effect::Notify => void(zero()),
                    }
                }
                None => of_arguments(call),
            };
        }
        ControlFlow::<()>::Continue(())
    });
    select
}

/// The value that was given, or nothing for a notification; it names all arguments, so that parameters in them have a
/// type.
fn of_arguments(call: Call) -> Expr {
    let Call { effect, arguments } = call;
    let mut arguments = arguments.into_iter();
    let mut text = || cast(arguments.next().expect("counted"), ast::DataType::Text);
    let (first, second) = (text(), text());
    let (result, others) = match effect {
        Effect::SetConfig => (second, vec![first, text()]),
        Effect::Notify => (zero(), vec![first, second]),
    };
    // The same in every case.
    let conditions = others.into_iter().map(|other| CaseWhen {
        condition: Expr::IsNull(Box::new(other)),
        result: result.clone(),
    });
    let same = Expr::Case {
        case_token: ast::helpers::attached_token::AttachedToken::empty(),
        end_token: ast::helpers::attached_token::AttachedToken::empty(),
        operand: None,
        conditions: conditions.collect(),
        else_result: Some(Box::new(result.clone())),
    };
    match effect {
        Effect::SetConfig => cast(same, ast::DataType::Text),
        Effect::Notify => void(same),
    }
}

fn zero() -> Expr {
    Expr::value(Value::Number("0".to_string(), false))
}

/// `pg_sleep` of no time: an expression of type void, which has no literal.
fn void(of: Expr) -> Expr {
    let name = ast::ObjectName::from(vec![Ident::new("pg_catalog"), Ident::new("pg_sleep")]);
    Expr::Function(Function {
        name,
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(ast::FunctionArgumentList {
            duplicate_treatment: None,
            args: vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(of))],
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// The column of a call keeps the function's name.
fn name_columns(select: &mut Select) {
    if let SetExpr::Select(body) = select.query.body.as_mut() {
        for item in &mut body.projection {
            if let SelectItem::UnnamedExpr(expr) = item
                && let Ok(Some(call)) = call(expr)
            {
                *item = SelectItem::ExprWithAlias {
                    expr: expr.clone(),
                    alias: Ident::new(call.effect.name()),
                };
            }
        }
    }
}

/// The texts of one row.
fn texts(batch: &RecordBatch, row: usize) -> Result<Vec<Option<String>>, SqlError> {
    let texts = batch.columns().iter().map(|column| {
        let column = arrow::compute::cast(column, &DataType::Utf8).expect("the columns are text");
        let column = column.as_string::<i32>();
        column.is_valid(row).then(|| column.value(row).to_string())
    });
    Ok(texts.collect())
}

impl Session {
    /// The SELECT with its calls replaced by their answers, after carrying them out if that is wanted; `None` if there
    /// are none.
    pub(super) async fn with_effects(
        &mut self,
        select: &Arc<Select>,
        parameters: Option<&Parameters>,
    ) -> Result<Option<Arc<Select>>, SqlError> {
        let looked_at = select.clone();
        let found = self.compute(move || calls(&looked_at)).await?;
        if found.is_empty() {
            return Ok(None);
        }
        let of = select.clone();
        let Some(parameters) = parameters else {
            return Ok(Some(self.compute(move || Ok(Arc::new(answered(&of, None)))).await?));
        };
        let per_row = per_row(select);
        let arguments = Arc::new(arguments(select, &found, per_row)?);
        let (_, batches) = self.rows_of(&arguments, parameters).await?;
        let batches: Vec<RecordBatch> = batches.try_collect().await?;
        let mut answers = Vec::with_capacity(found.len());
        for batch in &batches {
            for row in 0..batch.num_rows() {
                answers.clear();
                let mut texts = texts(batch, row)?.into_iter();
                for call in &found {
                    let arguments = texts.by_ref().take(call.effect.arguments()).collect();
                    answers.push(self.carry_out(call.effect, arguments)?);
                }
            }
        }
        let answers = (!per_row).then_some(answers);
        Ok(Some(self.compute(move || Ok(Arc::new(answered(&of, answers)))).await?))
    }

    fn carry_out(&mut self, effect: Effect, arguments: Vec<Option<String>>) -> Result<String, SqlError> {
        let mut arguments = arguments.into_iter().map(Option::unwrap_or_default);
        let mut next = || arguments.next().expect("counted");
        match effect {
            Effect::SetConfig => {
                let (name, value, local) = (next(), next(), next());
                let local = matches!(local.as_str(), "true" | "t");
                self.set(&name, Some(&value), local)?;
                self.settings.get(&name)
            }
            Effect::Notify => {
                self.notify(&next(), &next())?;
                Ok(String::new())
            }
        }
    }

    /// Whether the query string that was parsed last may call one of them.
    pub(super) fn may_have_effects(&self) -> bool {
        let has = |name: &[u8]| memchr::memmem::find(self.text.as_bytes(), name).is_some();
        has(b"set_config") || has(b"pg_notify") || has(b"SET_CONFIG") || has(b"PG_NOTIFY")
    }
}
