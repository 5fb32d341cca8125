//! Window functions: the meaning of OVER, and the plan nodes that compute them.

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::{Sort, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
};
use sqlparser::ast;

use super::choose;
use super::group::named_apart;
use super::kinds;
use super::scope::{Clause, Scope};
use super::signatures::{self, FunctionKind, Signature};
use super::typed::{Shape, Typed, at, sort_key};
use super::window_definition::WindowDefinition;
use super::{Analyzer, Result};
use crate::error::{SqlError, state};
use crate::sql::functions::excluded::{self, Exclusion};
use crate::sql::functions::{calls, functions};
use crate::sql::plan::names::fold;
use crate::sql::statement::mark;
use crate::types::PgType;

impl Analyzer<'_> {
    /// The windows that a SELECT names.
    pub fn name_windows(&self, select: &ast::Select, scope: &Scope) -> Result<()> {
        for ast::NamedWindowDefinition(name, definition) in &select.named_window {
            let folded = fold(name);
            if scope.windows.borrow().iter().any(|(known, _)| *known == folded) {
                let message = format!("window \"{folded}\" is already defined");
                return Err(at(
                    SqlError::new(state::WINDOWING_ERROR, message),
                    self.position(name.span),
                ));
            }
            let spec = match definition {
                ast::NamedWindowExpr::NamedWindow(other) => self.named_window(other, scope)?,
                ast::NamedWindowExpr::WindowSpec(spec) => self.window_spec(spec, scope)?,
            };
            scope.windows.borrow_mut().push((folded, spec));
        }
        Ok(())
    }

    fn named_window(&self, name: &ast::Ident, scope: &Scope) -> Result<WindowDefinition> {
        let folded = fold(name);
        let windows = scope.windows.borrow();
        match windows.iter().find(|(known, _)| *known == folded) {
            Some((_, spec)) => Ok(spec.clone()),
            None => Err(at(
                SqlError::new(state::UNDEFINED_OBJECT, format!("window \"{folded}\" does not exist")),
                self.position(name.span),
            )),
        }
    }

    fn window_spec(&self, spec: &ast::WindowSpec, scope: &Scope) -> Result<WindowDefinition> {
        let mut made = match &spec.window_name {
            Some(name) => {
                let based = self.named_window(name, scope)?;
                let refuse = |what: &str| {
                    let message = format!("cannot {what} of window \"{}\"", fold(name));
                    Err(at(
                        SqlError::new(state::WINDOWING_ERROR, message),
                        self.position(name.span),
                    ))
                };
                if !spec.partition_by.is_empty() {
                    return refuse("override PARTITION BY clause");
                }
                let orders = spec.order_by.iter().any(|by| exclusion_of(by).is_none());
                if orders && !based.order_by.is_empty() {
                    return refuse("override ORDER BY clause");
                }
                if based.frame.is_some() {
                    let message = format!("cannot copy window \"{}\" because it has a frame clause", fold(name));
                    return Err(at(
                        SqlError::new(state::WINDOWING_ERROR, message),
                        self.position(name.span),
                    ));
                }
                based
            }
            None => WindowDefinition::default(),
        };
        scope.within(Clause::Window, || {
            for expr in &spec.partition_by {
                let typed = self.expr(expr, scope)?;
                made.partition_by.push(match typed.fields() {
                    Some(_) => self.row_value(&typed)?.expr,
                    None => self.settle(typed)?.expr,
                });
            }
            for by in &spec.order_by {
                match exclusion_of(by) {
                    Some(exclusion) => made.exclusion = Some(exclusion),
                    None => made.order_by.push(self.order_of(by, scope)?),
                }
            }
            Ok::<(), SqlError>(())
        })?;
        made.frame.clone_from(&spec.window_frame);
        Ok(made)
    }

    /// An item of ORDER BY that is an expression: with its type, and as the plan sorts by it.
    pub fn order_of(&self, by: &ast::OrderByExpr, scope: &Scope) -> Result<(Typed, Sort)> {
        let typed = self.expr(&by.expr, scope)?;
        let typed = match typed.fields() {
            Some(_) => self.row_order(&typed)?,
            None => self.settle(typed)?,
        };
        let sort = self.sort(typed.clone(), by.options);
        Ok((typed, sort))
    }

    pub fn sort(&self, typed: Typed, options: ast::OrderByOptions) -> Sort {
        let asc = options.asc.unwrap_or(true);
        let nulls_first = options.nulls_first.unwrap_or(!asc);
        Sort::new(sort_key(typed), asc, nulls_first)
    }

    /// A call with OVER.
    pub fn window_call(
        &self,
        name: &str,
        call: &ast::Function,
        scope: &Scope,
        position: Option<usize>,
    ) -> Result<Typed> {
        check_clause(scope, position)?;
        let given = scope.within(Clause::WindowCall, || self.arguments(call, scope))?;
        let filter = self.filter_of(call, scope)?;
        let spec = match call.over.as_ref().expect("the caller has looked") {
            ast::WindowType::NamedWindow(name) => self.named_window(name, scope)?,
            ast::WindowType::WindowSpec(spec) => self.window_spec(spec, scope)?,
        };
        if given.distinct {
            return Err(at(
                SqlError::new(
                    state::FEATURE_NOT_SUPPORTED,
                    "DISTINCT is not implemented for window functions",
                ),
                position,
            ));
        }
        if !given.order_by.is_empty() || !call.within_group.is_empty() {
            return Err(at(
                SqlError::new(
                    state::FEATURE_NOT_SUPPORTED,
                    "aggregate ORDER BY is not implemented for window functions",
                ),
                position,
            ));
        }
        let (function, arguments, result) = self.choose_window(name, call, &given, position)?;
        if filter.is_some() && matches!(function, WindowFunctionDefinition::WindowUDF(_)) {
            return Err(at(
                SqlError::new(
                    state::FEATURE_NOT_SUPPORTED,
                    "FILTER is not implemented for non-aggregate window functions",
                ),
                position,
            ));
        }
        let frame = self.frame(&spec, position)?;
        let mut order_by: Vec<Sort> = spec.order_by.iter().map(|(_, sort)| sort.clone()).collect();
        let frame = match frame {
            Some(frame) => frame,
            None => default_frame(&spec),
        };
        calls::check_frame(&frame).map_err(|error| at(error.into(), position))?;
        if let [(typed, _)] = spec.order_by.as_slice() {
            let typed = [typed.pg_type()];
            calls::check_offsets(&frame, &typed[0]).map_err(|error| at(error, position))?;
        }
        frame
            .regularize_order_bys(&mut order_by)
            .map_err(|error| at(error.into(), position))?;
        let mut arguments = arguments;
        // The engine takes no default of each row's own.
        let default = match (name, arguments.as_slice()) {
            ("lead" | "lag", [_, _, default]) if !matches!(default.expr, Expr::Literal(..)) => arguments.pop(),
            _ => None,
        };
        let exprs = arguments.iter().map(|typed| match typed.has_rows() {
            true => Ok(typed.expr.clone()),
            false => super::aggregate::only_where(typed.expr.clone(), &typed.pg_type(), filter.as_deref()),
        });
        let mut exprs = exprs.collect::<Result<Vec<Expr>>>()?;
        let mut filter = filter;
        let computed = match spec.exclusion {
            Some(exclusion) => self.over_the_rest(exclusion, &function, &mut exprs, &arguments, &mut filter)?,
            None => function.clone(),
        };
        let expr = Expr::WindowFunction(Box::new(WindowFunction {
            fun: computed,
            params: WindowFunctionParams {
                args: exprs,
                partition_by: spec.partition_by,
                order_by,
                window_frame: frame,
                filter,
                null_treatment: given.respects_nulls,
                distinct: false,
            },
        }));
        let default = match default {
            Some(default) => Some((default.expr, row_there(&expr))),
            None => None,
        };
        let typed = match &function {
            WindowFunctionDefinition::AggregateUDF(function) => {
                let typed = self.aggregate_type(expr, function, &arguments, &result, position)?;
                Ok::<_, SqlError>(super::arrays::gathered(typed))
            }
            WindowFunctionDefinition::WindowUDF(_) => {
                let Shape::Of(result) = &result else {
                    return Ok(result.over(expr, position));
                };
                let fields: Vec<_> = arguments.iter().map(Typed::field).collect();
                let returned = function
                    .return_field(&fields, name)
                    .map_err(|error| at(SqlError::from(error), position))?;
                Ok(self.returning(expr, &returned, result, position))
            }
        }?;
        let Some((default, is_there)) = default else {
            return Ok(typed);
        };
        let expr = datafusion::logical_expr::when(is_there.is_null(), default).otherwise(typed.expr.clone())?;
        let expr = crate::sql::functions::told::told(expr, &typed.pg_type());
        Ok(Typed { expr, ..typed })
    }

    /// What computes a function over frames that leave rows out.
    fn over_the_rest(
        &self,
        exclusion: Exclusion,
        function: &WindowFunctionDefinition,
        exprs: &mut Vec<Expr>,
        arguments: &[Typed],
        filter: &mut Option<Box<Expr>>,
    ) -> Result<WindowFunctionDefinition> {
        Ok(match function {
            WindowFunctionDefinition::AggregateUDF(function) => {
                let fields: Vec<_> = arguments.iter().map(Typed::field).collect();
                let taken = fields_with_udf(&fields, function.as_ref())?;
                for ((expr, given), taken) in exprs.iter_mut().zip(&fields).zip(&taken) {
                    if given.data_type() != taken.data_type() {
                        *expr = datafusion::logical_expr::cast(std::mem::take(expr), taken.data_type().clone());
                    }
                }
                let has_filter = filter.is_some();
                exprs.extend(filter.take().map(|filter| *filter));
                let excluded = excluded::aggregate(exclusion, function.clone(), has_filter);
                WindowFunctionDefinition::WindowUDF(excluded)
            }
            // The others look at no frame.
            WindowFunctionDefinition::WindowUDF(known) => match excluded::picked(exclusion, known.name()) {
                Some(picked) => WindowFunctionDefinition::WindowUDF(picked),
                None => function.clone(),
            },
        })
    }

    fn choose_window(
        &self,
        name: &str,
        call: &ast::Function,
        given: &super::call::Given,
        position: Option<usize>,
    ) -> Result<(WindowFunctionDefinition, Vec<Typed>, Shape)> {
        let candidates: Vec<&'static Signature> = signatures::of(name)
            .iter()
            .filter(|signature| signature.kind == FunctionKind::Window)
            .collect();
        if candidates.is_empty() {
            let (function, arguments, result) = self.choose_aggregate(name, given, &[], call, position)?;
            return Ok((WindowFunctionDefinition::AggregateUDF(function), arguments, result));
        }
        let types: Vec<u32> = given.arguments.iter().map(Typed::oid).collect();
        let chosen = choose::function(&candidates, &types)
            .map_err(|failure| at(super::call::choice_failed(failure, name, &given.arguments), position))?;
        let mut arguments = Vec::with_capacity(types.len());
        for (typed, wanted) in given.arguments.iter().zip(&chosen.arguments) {
            let typed = match PgType::from_oid(*wanted) {
                _ if typed.fields().is_some() => self.row_value(typed)?,
                Some(wanted) => self.coerce(typed.clone(), &wanted)?,
                None => self.settle(typed.clone())?,
            };
            arguments.push(typed);
        }
        if arguments.iter().any(super::arrays::is_shaped) {
            arguments = arguments.into_iter().map(super::arrays::shaped).collect();
        }
        let result = match PgType::from_oid(chosen.result) {
            // Digits and lengths stay.
            Some(result) => match arguments.first().map(Typed::pg_type) {
                Some(first) if first.oid() == result.oid() && chosen.signature.result != kinds::INT8 => {
                    Shape::Of(first)
                }
                _ => Shape::Of(result),
            },
            None => Self::result_shape(chosen.result, &arguments).unwrap_or(Shape::Of(PgType::Text)),
        };
        if name == "nth_value"
            && let Some(Expr::Literal(datafusion::common::ScalarValue::Int32(Some(..=0)), _)) =
                arguments.get(1).map(|typed| &typed.expr)
        {
            return Err(at(
                SqlError::new(
                    crate::error::SqlState("22016"),
                    "argument of nth_value must be greater than zero",
                ),
                position,
            ));
        }
        // Nothing lies so many rows away.
        if let ("lag" | "lead", Some(offset)) = (name, arguments.get(1))
            && offset.is_null()
        {
            arguments[0].expr = null_like(&arguments[0])?;
            arguments.truncate(1);
        }
        let function = functions().window.get(name).cloned();
        let function = function.ok_or_else(|| at(super::call::undefined_function(name, &arguments), position))?;
        Ok((WindowFunctionDefinition::WindowUDF(function), arguments, result))
    }

    /// The rows around one that a call sees, if that is written.
    fn frame(&self, spec: &WindowDefinition, position: Option<usize>) -> Result<Option<WindowFrame>> {
        let Some(written) = &spec.frame else { return Ok(None) };
        let frame = WindowFrame::try_from(written.clone()).map_err(|error| at(error.into(), position))?;
        let has_offset = |bound: &WindowFrameBound| match bound {
            WindowFrameBound::Preceding(value) | WindowFrameBound::Following(value) => !value.is_null(),
            WindowFrameBound::CurrentRow => false,
        };
        let offset = has_offset(&frame.start_bound) || has_offset(&frame.end_bound);
        if frame.units == WindowFrameUnits::Range && offset && spec.order_by.len() != 1 {
            return Err(at(
                SqlError::new(
                    state::WINDOWING_ERROR,
                    "RANGE with offset PRECEDING/FOLLOWING requires exactly one ORDER BY column",
                ),
                position,
            ));
        }
        if frame.units == WindowFrameUnits::Groups && spec.order_by.is_empty() {
            return Err(at(
                SqlError::new(state::WINDOWING_ERROR, "GROUPS mode requires an ORDER BY clause"),
                position,
            ));
        }
        Ok(Some(frame))
    }
}

/// 1 where a call of `lead` or `lag` finds a row, NULL where it does not.
fn row_there(call: &Expr) -> Expr {
    let mut probe = call.clone();
    if let Expr::WindowFunction(call) = &mut probe {
        call.params.args[0] = Expr::Literal(datafusion::common::ScalarValue::Int32(Some(1)), None);
    }
    probe
}

/// NULL of the type of a value.
fn null_like(typed: &Typed) -> Result<Expr> {
    match &typed.ty {
        super::typed::Ty::Of(pg_type) => super::typed::null_of(pg_type),
        _ => {
            let null = datafusion::common::ScalarValue::try_from(typed.shape().field("").data_type())?;
            Ok(Expr::Literal(null, None))
        }
    }
}

/// What the frame leaves out, if that is what an item of ORDER BY says.
fn exclusion_of(by: &ast::OrderByExpr) -> Option<Exclusion> {
    let ast::Expr::Identifier(name) = &by.expr else {
        return None;
    };
    match name.value.as_str() {
        mark::EXCLUDE_CURRENT_ROW => Some(Exclusion::CurrentRow),
        mark::EXCLUDE_GROUP => Some(Exclusion::Group),
        mark::EXCLUDE_TIES => Some(Exclusion::Ties),
        _ => None,
    }
}

/// The rows up to a row's peers, or all where there is no order. Peers are a group: the engine finds them so for every type.
fn default_frame(spec: &WindowDefinition) -> WindowFrame {
    let frame = WindowFrame::new((!spec.order_by.is_empty()).then_some(false));
    let counts = |typed: &Typed| {
        typed.fields().is_none()
            && matches!(
                typed.pg_type(),
                PgType::Int2
                    | PgType::Int4
                    | PgType::Int8
                    | PgType::Float4
                    | PgType::Float8
                    | PgType::Numeric(Some(_))
                    | PgType::Date
                    | PgType::Timestamp
                    | PgType::TimestampTz
                    | PgType::Text
                    | PgType::Varchar(_)
            )
    };
    match spec.order_by.is_empty() || spec.order_by.iter().all(|(typed, _)| counts(typed)) {
        true => frame,
        false => WindowFrame::new_bounds(WindowFrameUnits::Groups, frame.start_bound, frame.end_bound),
    }
}

/// 42P20 for a window function where rows are still being chosen or grouped.
fn check_clause(scope: &Scope, position: Option<usize>) -> Result<()> {
    let error = match scope.clause.get() {
        Clause::Select | Clause::OrderBy | Clause::DistinctOn => return Ok(()),
        Clause::Aggregate => SqlError::new(
            state::GROUPING_ERROR,
            "aggregate function calls cannot contain window function calls",
        ),
        Clause::WindowCall => SqlError::new(state::WINDOWING_ERROR, "window function calls cannot be nested"),
        other => SqlError::new(
            state::WINDOWING_ERROR,
            format!("window functions are not allowed in {}", other.name()),
        ),
    };
    Err(at(error, position))
}

/// Takes the window functions out of expressions into nodes of the plan.
pub fn compute(plan: LogicalPlan, exprs: &mut [Expr]) -> Result<LogicalPlan> {
    let mut calls: Vec<Expr> = Vec::new();
    for expr in exprs.iter() {
        expr.apply(|node| {
            if matches!(node, Expr::WindowFunction(_)) {
                if !calls.contains(node) {
                    calls.push(node.clone());
                }
                return Ok(TreeNodeRecursion::Jump);
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    if calls.is_empty() {
        return Ok(plan);
    }
    let named = named_apart(&plan, &calls);
    let plan = LogicalPlanBuilder::window_plan(plan, named.iter().map(|(expr, _)| expr.clone()))?;
    let columns: Vec<(Expr, Column)> = calls
        .into_iter()
        .zip(named.into_iter().map(|(_, column)| column))
        .collect();
    for expr in exprs.iter_mut() {
        let replaced = std::mem::take(expr).transform_down(|node| match &node {
            Expr::WindowFunction(_) => match columns.iter().find(|(call, _)| *call == node) {
                Some((_, column)) => Ok(Transformed::new(
                    Expr::Column(column.clone()),
                    true,
                    TreeNodeRecursion::Jump,
                )),
                None => Ok(Transformed::no(node)),
            },
            _ => Ok(Transformed::no(node)),
        })?;
        *expr = replaced.data;
    }
    Ok(plan)
}

/// A count of rows from 1, in an order.
pub fn row_number(plan: LogicalPlan, partition_by: Vec<Expr>, order_by: Vec<Sort>, name: &str) -> Result<LogicalPlan> {
    let function = functions()
        .window
        .get("row_number")
        .expect("it is the engine's")
        .clone();
    let frame = WindowFrame::new((!order_by.is_empty()).then_some(false));
    let call = Expr::WindowFunction(Box::new(WindowFunction {
        fun: WindowFunctionDefinition::WindowUDF(function),
        params: WindowFunctionParams {
            args: vec![],
            partition_by,
            order_by,
            window_frame: frame,
            filter: None,
            null_treatment: None,
            distinct: false,
        },
    }));
    let window = datafusion::logical_expr::Window::try_new(vec![call.alias(name)], Arc::new(plan))?;
    Ok(LogicalPlan::Window(window))
}

/// The rank of each row in an order.
pub fn ranked(plan: LogicalPlan, order_by: Vec<Sort>, name: &str) -> Result<LogicalPlan> {
    let function = functions().window.get("rank").expect("it is the engine's").clone();
    let call = Expr::WindowFunction(Box::new(WindowFunction {
        fun: WindowFunctionDefinition::WindowUDF(function),
        params: WindowFunctionParams {
            args: vec![],
            partition_by: vec![],
            order_by,
            window_frame: WindowFrame::new(Some(false)),
            filter: None,
            null_treatment: None,
            distinct: false,
        },
    }));
    let window = datafusion::logical_expr::Window::try_new(vec![call.alias(name)], Arc::new(plan))?;
    Ok(LogicalPlan::Window(window))
}
