//! `set_config(name, value, is_local)`, `pg_notify(channel, payload)` and the functions of advisory locks in a SELECT:
//! the functions that act on the session that calls them.
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
use super::advisory::Advisory;
use super::outcome::Parameters;
use crate::error::{SqlError, state};
use crate::sql::statement::Select;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Effect {
    SetConfig,
    Notify,
    Lock(Advisory),
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
            other => Advisory::of_name(other).map(Effect::Lock),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Effect::SetConfig => "set_config",
            Effect::Notify => "pg_notify",
            Effect::Lock(function) => function.name,
        }
    }

    fn takes(self, arguments: usize) -> bool {
        match self {
            Effect::SetConfig => arguments == 3,
            Effect::Notify => arguments == 2,
            Effect::Lock(function) => function.takes(arguments),
        }
    }
}

struct Call {
    effect: Effect,
    arguments: Vec<Expr>,
}

impl Call {
    /// The type of the numbers that its arguments are, if they are numbers.
    fn number(&self) -> Option<ast::DataType> {
        match (self.effect, self.arguments.len()) {
            (Effect::Lock(_), 1) => Some(ast::DataType::BigInt(None)),
            (Effect::Lock(_), _) => Some(ast::DataType::Int(None)),
            _ => None,
        }
    }
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
    match arguments.filter(|arguments| effect.takes(arguments.len())) {
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
    let values = calls.iter().flat_map(|call| {
        let number = call.number();
        let typed = move |argument: &Expr| match number.clone() {
            Some(number) => cast(argument.clone(), number),
            None => argument.clone(),
        };
        call.arguments.iter().map(typed)
    });
    let projection = values.map(|value| SelectItem::UnnamedExpr(cast(value, ast::DataType::Text)));
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
                        Effect::Lock(function) if function.answers() => {
                            let answer = match answer.as_str() {
                                "" => Value::Null,
                                _ => Value::SingleQuotedString(answer),
                            };
                            cast(Expr::value(answer), ast::DataType::Boolean)
                        }
                        Effect::Notify | Effect::Lock(_) => void(zero()),
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
    let wanted = call.number().unwrap_or(ast::DataType::Text);
    let Call { effect, arguments } = call;
    let mut others: Vec<Expr> = arguments
        .into_iter()
        .map(|argument| cast(argument, wanted.clone()))
        .collect();
    let result = match effect {
        Effect::SetConfig => others.remove(1),
        Effect::Lock(function) if function.answers() => cast(Expr::value(Value::Boolean(true)), ast::DataType::Boolean),
        Effect::Notify | Effect::Lock(_) => zero(),
    };
    if others.is_empty() {
        return void(result);
    }
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
        Effect::Lock(function) if function.answers() => same,
        Effect::Notify | Effect::Lock(_) => void(same),
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
        if per_row
            && let Some(call) = found
                .iter()
                .find(|call| matches!(call.effect, Effect::Lock(of) if of.answers()))
        {
            return Err(SqlError::unsupported(
                format!("{} for each row of a relation is not supported", call.effect.name()),
                "Call it with a constant or a parameter.",
            ));
        }
        let arguments = Arc::new(arguments(select, &found, per_row)?);
        let (_, batches) = self.rows_of(&arguments, parameters).await?;
        let batches: Vec<RecordBatch> = batches.try_collect().await?;
        let mut answers = Vec::with_capacity(found.len());
        for batch in &batches {
            for row in 0..batch.num_rows() {
                answers.clear();
                let mut texts = texts(batch, row)?.into_iter();
                for call in &found {
                    let arguments = texts.by_ref().take(call.arguments.len()).collect();
                    answers.push(self.carry_out(call.effect, arguments).await?);
                }
            }
        }
        let answers = (!per_row).then_some(answers);
        Ok(Some(self.compute(move || Ok(Arc::new(answered(&of, answers)))).await?))
    }

    async fn carry_out(&mut self, effect: Effect, arguments: Vec<Option<String>>) -> Result<String, SqlError> {
        if let Effect::Lock(function) = effect {
            let answer = self.advisory(function, &arguments).await?;
            return Ok(answer.map_or(String::new(), |answer| answer.to_string()));
        }
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
            Effect::Lock(_) => unreachable!("it was called above"),
        }
    }

    /// Whether the query string that was parsed last may call one of them.
    pub(super) fn may_have_effects(&self) -> bool {
        let has = |name: &[u8]| memchr::memmem::find(self.text.as_bytes(), name).is_some();
        [
            &b"set_config"[..],
            b"pg_notify",
            b"advisory_",
            b"SET_CONFIG",
            b"PG_NOTIFY",
            b"ADVISORY_",
        ]
        .into_iter()
        .any(has)
    }
}
