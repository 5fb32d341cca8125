//! The calls in a SELECT that act on its session, in its tree: finds them (`set_config`, `pg_notify`, the functions of
//! advisory locks) and their arguments, and puts their answers in their place.
//!
//! One rule: the calls are carried out before the statement is planned, over a SELECT of their arguments alone, but for
//! locks that answer for each row (`by_row.rs`). Not here: the execution (`session/effects.rs`).

mod by_row;

use std::ops::ControlFlow;

use sqlparser::ast::{
    self, CaseWhen, CastKind, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, SelectItem,
    SetExpr, Value,
};

pub use self::by_row::{MARK, by_row};
use super::statement::Select;
use crate::error::{SqlError, state};

/// The action of a function on a lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Waits until it has it.
    Take,
    Try,
    Give,
    GiveAll,
}

/// A function of advisory locks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Advisory {
    pub name: &'static str,
    pub action: Action,
    pub shared: bool,
    /// Until the transaction ends.
    pub of_transaction: bool,
}

impl Advisory {
    pub fn of_name(name: &str) -> Option<Advisory> {
        const fn function(name: &'static str, action: Action, shared: bool, of_transaction: bool) -> Advisory {
            Advisory {
                name,
                action,
                shared,
                of_transaction,
            }
        }
        const ALL: [Advisory; 11] = [
            function("pg_advisory_lock", Action::Take, false, false),
            function("pg_advisory_lock_shared", Action::Take, true, false),
            function("pg_advisory_xact_lock", Action::Take, false, true),
            function("pg_advisory_xact_lock_shared", Action::Take, true, true),
            function("pg_try_advisory_lock", Action::Try, false, false),
            function("pg_try_advisory_lock_shared", Action::Try, true, false),
            function("pg_try_advisory_xact_lock", Action::Try, false, true),
            function("pg_try_advisory_xact_lock_shared", Action::Try, true, true),
            function("pg_advisory_unlock", Action::Give, false, false),
            function("pg_advisory_unlock_shared", Action::Give, true, false),
            function("pg_advisory_unlock_all", Action::GiveAll, false, false),
        ];
        ALL.into_iter().find(|function| function.name == name)
    }

    /// Whether the function takes that number of arguments.
    pub fn takes(self, arguments: usize) -> bool {
        match self.action {
            Action::GiveAll => arguments == 0,
            _ => matches!(arguments, 1 | 2),
        }
    }

    /// Whether it answers true or false; others answer nothing.
    pub fn answers(self) -> bool {
        matches!(self.action, Action::Try | Action::Give)
    }
}

/// The effect of a call on its session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
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

    pub fn name(self) -> &'static str {
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

/// A call of a function that acts on its session.
pub struct EffectCall {
    pub effect: Effect,
    pub arguments: Vec<Expr>,
}

impl EffectCall {
    /// The type of the numbers that its arguments are, if they are numbers.
    fn number(&self) -> Option<ast::DataType> {
        match (self.effect, self.arguments.len()) {
            (Effect::Lock(_), 1) => Some(ast::DataType::BigInt(None)),
            (Effect::Lock(_), _) => Some(ast::DataType::Int(None)),
            _ => None,
        }
    }
}

/// The call that an expression is. 42883 if its arguments are not those of the function.
fn call(expr: &Expr) -> Result<Option<EffectCall>, SqlError> {
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
        Some(arguments) => Ok(Some(EffectCall { effect, arguments })),
        None => Err(SqlError::new(
            state::UNDEFINED_FUNCTION,
            format!("function {} does not exist with these arguments", effect.name()),
        )),
    }
}

/// The calls of a SELECT, in the order in which they are carried out.
pub fn calls(select: &Select) -> Result<Vec<EffectCall>, SqlError> {
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
pub fn per_row(select: &Select) -> bool {
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
pub fn arguments(select: &Select, calls: &[EffectCall], per_row: bool) -> Result<Select, SqlError> {
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
        false => (*super::parse::only_select("SELECT 1")?).clone(),
    };
    of.query.order_by = None;
    let SetExpr::Select(body) = of.query.body.as_mut() else {
        unreachable!("only a plain SELECT has calls for each row, and the other one is plain")
    };
    body.projection = projection.collect();
    Ok(of)
}

/// The SELECT with its calls replaced by their answers; `None`: by an expression of their type over their arguments.
pub fn answered(select: &Select, answers: Option<Vec<String>>) -> Select {
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
fn of_arguments(call: EffectCall) -> Expr {
    let wanted = call.number().unwrap_or(ast::DataType::Text);
    let EffectCall { effect, arguments } = call;
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
    function(vec![Ident::new("pg_catalog"), Ident::new("pg_sleep")], vec![of])
}

fn function(name: Vec<Ident>, arguments: Vec<Expr>) -> Expr {
    Expr::Function(Function {
        name: ast::ObjectName::from(name),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(ast::FunctionArgumentList {
            duplicate_treatment: None,
            args: arguments
                .into_iter()
                .map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)))
                .collect(),
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
