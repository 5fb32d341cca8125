//! Window functions: the meaning of OVER, and the plan nodes that compute them.

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::{Sort, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::utils::group_window_expr_by_sort_keys;
use datafusion::logical_expr::{
    Expr, LogicalPlan, Projection, Window, WindowFrame, WindowFrameUnits, WindowFunctionDefinition,
};
use sqlparser::ast;

use super::choose;
use super::frames::Framed;
use super::group::named_apart;
use super::kinds;
use super::scope::{Clause, Scope};
use super::signatures::{self, FunctionKind, Signature};
use super::typed::{EQUALITY, ORDERING, Shape, Typed, at, check_operator, sort_key};
use super::window_definition::WindowDefinition;
use super::{Analyzer, Result};
use crate::error::{SqlError, state};
use crate::sql::functions::excluded::{self, Exclusion, FrameBounds};
use crate::sql::functions::{calls, functions, shifted};
use crate::sql::plan::names::fold;
use crate::sql::plan::subquery::held;
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
                check_operator(&typed.pg_type(), EQUALITY, typed.position)?;
                made.partition_by.push(match typed.fields() {
                    Some(_) => self.row_value(&typed)?.expr,
                    None => self.settle(typed)?.expr,
                });
            }
            for by in &spec.order_by {
                match exclusion_of(by) {
                    Some(exclusion) => made.exclusion = Some(exclusion),
                    None => {
                        let order = self.order_of(by, scope)?;
                        // A key that already orders the rows has no further effect.
                        if !made.order_by.iter().any(|(_, known)| known.expr == order.1.expr) {
                            made.order_by.push(order);
                        }
                    }
                }
            }
            Ok::<(), SqlError>(())
        })?;
        made.frame.clone_from(&spec.window_frame);
        Ok(made)
    }

    /// An item of ORDER BY that is an expression: with its type, and as the plan sorts by it.
    pub fn order_of(&self, by: &ast::OrderByExpr, scope: &Scope) -> Result<(Typed, Sort)> {
        self.ordered_by(self.expr(&by.expr, scope)?, by.options)
    }

    /// The same of a value that is known.
    pub fn ordered_by(&self, typed: Typed, options: ast::OrderByOptions) -> Result<(Typed, Sort)> {
        let typed = match typed.fields() {
            Some(_) => self.row_order(&typed)?,
            None => self.settle(typed)?,
        };
        check_operator(&typed.pg_type(), ORDERING, typed.position)?;
        let sort = self.sort(typed.clone(), options);
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
        let around = scope.nested.take();
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
        let (function, mut arguments, result) = self.choose_window(name, &given, position)?;
        scope.end_nesting(around)?;
        check_clause(scope, position)?;
        if filter.is_some() && matches!(function, WindowFunctionDefinition::WindowUDF(_)) {
            return Err(at(
                SqlError::new(
                    state::FEATURE_NOT_SUPPORTED,
                    "FILTER is not implemented for non-aggregate window functions",
                ),
                position,
            ));
        }
        let mut order_by: Vec<Sort> = spec.order_by.iter().map(|(_, sort)| sort.clone()).collect();
        let (frame, bounds) = match self.frame(&spec, scope, position)? {
            Some(Framed::Engine(frame)) => (frame, None),
            Some(Framed::Own(bounds, offsets)) => (WindowFrame::new(None), Some((bounds, offsets))),
            None => (default_frame(&spec), None),
        };
        calls::check_frame(&frame).map_err(|error| at(error.into(), position))?;
        if let [(typed, _)] = spec.order_by.as_slice() {
            calls::check_offsets(&frame, &typed.pg_type()).map_err(|error| at(error, position))?;
        }
        frame
            .regularize_order_bys(&mut order_by)
            .map_err(|error| at(error.into(), position))?;
        let is_varying = matches!(function, WindowFunctionDefinition::WindowUDF(_))
            && arguments.iter().skip(usize::from(name != "ntile")).any(varies);
        if let (true, [value, _, default]) = (is_varying, arguments.as_mut_slice()) {
            // They become one column.
            let (both, _) = self.unify(vec![value.clone(), default.clone()], name)?;
            if let [first, last] = both.as_slice() {
                value.clone_from(first);
                default.clone_from(last);
            }
        }
        let exprs = arguments.iter().map(|typed| match typed.has_rows() {
            true => Ok(typed.expr.clone()),
            false => super::aggregate::only_where(typed.expr.clone(), &typed.pg_type(), filter.as_deref()),
        });
        let mut exprs = exprs.collect::<Result<Vec<Expr>>>()?;
        let mut filter = filter;
        let computed = match (&function, spec.exclusion, &bounds) {
            (WindowFunctionDefinition::WindowUDF(_), ..) if is_varying && shifted::of(name).is_some() => {
                WindowFunctionDefinition::WindowUDF(shifted::of(name).expect("it was looked at"))
            }
            (_, None, None) if !is_varying => function.clone(),
            (_, exclusion, bounds) => {
                let exclusion = exclusion.unwrap_or(Exclusion::Nothing);
                let frame = (exclusion, bounds.as_ref());
                self.over_the_rest(frame, &function, &mut exprs, &arguments, &mut filter)?
            }
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
        match &function {
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
        }
    }

    /// The function that computes over frames that leave rows out.
    fn over_the_rest(
        &self,
        (exclusion, bounds): (Exclusion, Option<&(FrameBounds, Vec<Expr>)>),
        function: &WindowFunctionDefinition,
        exprs: &mut Vec<Expr>,
        arguments: &[Typed],
        filter: &mut Option<Box<Expr>>,
    ) -> Result<WindowFunctionDefinition> {
        let edges = bounds.map(|(bounds, _)| *bounds);
        let offsets = bounds.iter().flat_map(|(_, offsets)| offsets.iter().cloned());
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
                exprs.extend(offsets);
                let excluded = excluded::aggregate(exclusion, edges, function.clone(), has_filter);
                WindowFunctionDefinition::WindowUDF(excluded)
            }
            // The others look at no frame.
            WindowFunctionDefinition::WindowUDF(known) => match excluded::picked(exclusion, edges, known.name()) {
                Some(picked) => {
                    exprs.extend(offsets);
                    WindowFunctionDefinition::WindowUDF(picked)
                }
                None => function.clone(),
            },
        })
    }

    fn choose_window(
        &self,
        name: &str,
        given: &super::call::GivenArguments,
        position: Option<usize>,
    ) -> Result<(WindowFunctionDefinition, Vec<Typed>, Shape)> {
        let candidates: Vec<&'static Signature> = signatures::of(name)
            .iter()
            .filter(|signature| signature.kind == FunctionKind::Window)
            .collect();
        if candidates.is_empty() {
            let (function, arguments, result) = self.choose_aggregate(name, given, &[], position)?;
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
        // What stands in for a value has its digits.
        if let [value, _, otherwise] = arguments.as_slice()
            && value.oid() == kinds::NUMERIC
            && value.pg_type() != otherwise.pg_type()
        {
            let (both, _) = self.unify(vec![value.clone(), otherwise.clone()], name)?;
            let mut both = both.into_iter();
            arguments[0] = both.next().expect("the first of two");
            arguments[2] = both.next().expect("the second of two");
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
        // No row is NULL rows away.
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
}

/// Whether the engine, which takes literals for it, cannot take an argument.
fn varies(argument: &Typed) -> bool {
    !matches!(&argument.expr, Expr::Literal(value, _) if !value.is_null())
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

/// The rows that the frame leaves out, if an item of ORDER BY is the mark for that.
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

/// 42P20 for a window function where rows are still being chosen or grouped. One in another function's arguments is an error
/// once that one is known.
fn check_clause(scope: &Scope, position: Option<usize>) -> Result<()> {
    let error = match scope.clause.get() {
        Clause::Select | Clause::OrderBy | Clause::DistinctOn => return Ok(()),
        Clause::Aggregate => {
            let message = "aggregate function calls cannot contain window function calls";
            scope.nest(at(SqlError::new(state::GROUPING_ERROR, message), position));
            return Ok(());
        }
        Clause::WindowCall => {
            let message = "window function calls cannot be nested";
            scope.nest(at(SqlError::new(state::WINDOWING_ERROR, message), position));
            return Ok(());
        }
        other => SqlError::new(
            state::WINDOWING_ERROR,
            format!("window functions are not allowed in {}", other.name()),
        ),
    };
    Err(at(error, position))
}

/// Takes the window functions out of expressions into nodes of the plan.
pub fn compute(analyzer: &Analyzer, plan: LogicalPlan, exprs: &mut [Expr]) -> Result<LogicalPlan> {
    let plan = subqueries_below(analyzer, plan, exprs)?;
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
    let mut groups = group_window_expr_by_sort_keys(calls.iter().cloned())?;
    // The windows with the longest orders come first: a window whose order begins another's needs no sort then.
    groups.sort_by_key(|(order, _)| std::cmp::Reverse(order.len()));
    let mut plan = plan;
    for (_, group) in groups {
        let exprs = group.iter().filter_map(|call| {
            let at = calls.iter().position(|known| known == call)?;
            Some(named[at].0.clone())
        });
        plan = LogicalPlan::Window(Window::try_new(exprs.collect(), Arc::new(plan))?);
    }
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

/// Calls over windows without an order see rows in the order of the subquery that they are from, as far as that shows.
pub fn order_unordered(exprs: &mut [Expr], order: &[Sort]) -> Result<()> {
    if order.is_empty() {
        return Ok(());
    }
    for expr in exprs.iter_mut() {
        let replaced = std::mem::take(expr).transform_down(|node| match node {
            Expr::WindowFunction(mut call) if call.params.order_by.is_empty() && shows_order(&call) => {
                call.params.order_by = order.to_vec();
                Ok(Transformed::new(
                    Expr::WindowFunction(call),
                    true,
                    TreeNodeRecursion::Jump,
                ))
            }
            other => Ok(Transformed::no(other)),
        })?;
        *expr = replaced.data;
    }
    Ok(())
}

/// Ranks are the same for all rows of a window without an order; so are the frames of RANGE and GROUPS.
fn shows_order(call: &WindowFunction) -> bool {
    let name = call.fun.name();
    let ranks = matches!(name, "rank" | "dense_rank" | "percent_rank" | "cume_dist");
    call.params.window_frame.units == WindowFrameUnits::Rows && !ranks
}

/// Computes the subqueries within calls before the windows: the engine does not look for them there.
fn subqueries_below(analyzer: &Analyzer, plan: LogicalPlan, exprs: &mut [Expr]) -> Result<LogicalPlan> {
    let is_subquery = |node: &Expr| held(node).is_some();
    let mut below: Vec<(Expr, String)> = Vec::new();
    for expr in exprs.iter_mut() {
        let replaced = std::mem::take(expr).transform_down(|node| match node {
            Expr::WindowFunction(_) => {
                let call = node.transform_down(|inner| {
                    if !is_subquery(&inner) {
                        return Ok(Transformed::no(inner));
                    }
                    let known = below.iter().find(|(known, _)| *known == inner);
                    let name = match known {
                        Some((_, name)) => name.clone(),
                        None => {
                            let name = analyzer.internal_name("value");
                            below.push((inner, name.clone()));
                            name
                        }
                    };
                    let column = Expr::Column(Column::from_name(name));
                    Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
                })?;
                Ok(Transformed::new(call.data, call.transformed, TreeNodeRecursion::Jump))
            }
            other => Ok(Transformed::no(other)),
        })?;
        *expr = replaced.data;
    }
    if below.is_empty() {
        return Ok(plan);
    }
    let mut all: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
    all.extend(below.into_iter().map(|(subquery, name)| subquery.alias(name)));
    Ok(LogicalPlan::Projection(Projection::try_new(all, Arc::new(plan))?))
}

/// A count of rows from 1, in an order.
pub fn row_number(plan: LogicalPlan, partition_by: Vec<Expr>, order_by: Vec<Sort>, name: &str) -> Result<LogicalPlan> {
    placed("row_number", plan, partition_by, order_by, name)
}

/// The rank of each row in an order.
pub fn ranked(plan: LogicalPlan, order_by: Vec<Sort>, name: &str) -> Result<LogicalPlan> {
    placed("rank", plan, vec![], order_by, name)
}

/// A plan with the result of a window function without arguments as a column behind its own.
fn placed(
    function: &str,
    plan: LogicalPlan,
    partition_by: Vec<Expr>,
    order_by: Vec<Sort>,
    name: &str,
) -> Result<LogicalPlan> {
    let function = functions().window.get(function).expect("it is the engine's").clone();
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
