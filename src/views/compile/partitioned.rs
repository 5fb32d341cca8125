//! LIMIT over an order, and window functions, to the partitioned operator.
//!
//! One rule: the operator keeps the columns that the plan above, the keys and the order need. Of numbers of rows that the plan
//! above wants up to a bound it makes no more; the condition itself stays above, unless it is that bound alone.

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{NullTreatment, WindowFunctionParams};
use datafusion::logical_expr::logical_plan::{self, FetchType, SkipType};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, SortExpr, WindowFrame, WindowFrameBound, WindowFrameUnits,
    WindowFunctionDefinition,
};
use datafusion::physical_expr::window::{PlainAggregateWindowExpr, WindowExpr};

use crate::sql::functions::aggregates::AggregateKind;
use crate::sql::functions::functions;

use super::super::dataflow::NodeWork;
use super::super::expression::is_infallible;
use super::super::operators::partitioned::{
    Distance, FirstRows, FirstSpec, OneWindowCall, PartitionWork, PartitionedSpec, Ranking, SortedBy, WindowCalls,
    WindowReach,
};
use super::{
    Built, CompileStop, Compiler, arrow_schema, check_all, column_of, needed_by, subset, unaliased, unsupported,
};

/// Values that depend on more rows before or behind their own count as depending on the whole partition.
const NEAR_MAX: usize = 4096;

/// Window functions that number rows, over one kind of window: one node or several.
struct NumberedWindows<'a> {
    input: &'a LogicalPlan,
    partition_by: &'a [Expr],
    order_by: &'a [SortExpr],
    /// By column behind those of the input.
    numbers: Vec<Ranking>,
}

fn numbered_windows(window: &logical_plan::Window) -> Option<NumberedWindows<'_>> {
    let mut found: Option<NumberedWindows> = None;
    for expr in &window.window_expr {
        let Expr::WindowFunction(call) = unaliased(expr) else {
            return None;
        };
        let ranking = Ranking::of_name(call.fun.name()).filter(|_| call.params.args.is_empty())?;
        match &mut found {
            Some(found) => {
                let is_alike = found.partition_by == call.params.partition_by && found.order_by == call.params.order_by;
                found.numbers.push(Some(ranking).filter(|_| is_alike)?);
            }
            None => {
                found = Some(NumberedWindows {
                    input: &window.input,
                    partition_by: &call.params.partition_by,
                    order_by: &call.params.order_by,
                    numbers: vec![ranking],
                });
            }
        }
    }
    let above = found?;
    if let LogicalPlan::Window(below) = above.input
        && let Some(below) = numbered_windows(below)
        && below.partition_by == above.partition_by
        && below.order_by == above.order_by
    {
        return Some(NumberedWindows {
            numbers: [below.numbers.clone(), above.numbers].concat(),
            ..below
        });
    }
    Some(above)
}

/// Numbers of rows that a condition bounds.
fn bounded_windows<'a>(window: &'a logical_plan::Window, condition: &Expr) -> Option<(NumberedWindows<'a>, FirstRows)> {
    let windows = numbered_windows(window)?;
    let width = windows.input.schema().fields().len();
    let number = |column: usize| windows.numbers.get(column.checked_sub(width)?).copied();
    let bound = bound(condition, &window.schema, number)?;
    Some((windows, bound))
}

impl Compiler {
    /// LIMIT, OFFSET and FETCH FIRST.
    pub(super) fn limit(&mut self, limit: &logical_plan::Limit, needed: &[bool]) -> Result<Built, CompileStop> {
        let (SkipType::Literal(skip), FetchType::Literal(fetch)) = (limit.get_skip_type()?, limit.get_fetch_type()?)
        else {
            return unsupported("LIMIT of a value that is not constant is not kept incrementally");
        };
        let (input, order): (&LogicalPlan, &[SortExpr]) = match limit.input.as_ref() {
            LogicalPlan::Sort(sort) => (&sort.input, &sort.expr),
            input => (input, &[]),
        };
        let skip = i64::try_from(skip).unwrap_or(i64::MAX);
        let last = fetch.map(|fetch| i64::try_from(fetch).unwrap_or(i64::MAX).saturating_add(skip));
        let first = FirstSpec {
            first: last.map(FirstRows::Numbered),
            skip,
            numbers: Vec::new(),
        };
        let schema = limit.input.schema();
        self.first(input, &[], order, first, needed, schema)
    }

    /// Rows up to a number that nothing else wants: no row is numbered, and the condition holds for all that are left.
    pub(super) fn first_by_number(
        &mut self,
        window: &logical_plan::Window,
        condition: &Expr,
        needed: &[bool],
    ) -> Result<Option<Built>, CompileStop> {
        let is_alone = |windows: &NumberedWindows| !needed[windows.input.schema().fields().len()..].contains(&true);
        let bounded = bounded_windows(window, condition).filter(|_| is_upper_bound(condition));
        let Some((windows, bound)) = bounded.filter(|(windows, _)| is_alone(windows)) else {
            return Ok(None);
        };
        let first = FirstSpec {
            first: Some(bound),
            skip: 0,
            numbers: Vec::new(),
        };
        let (keys, order) = (windows.partition_by, windows.order_by);
        self.first(windows.input, keys, order, first, needed, &window.schema)
            .map(Some)
    }

    /// Window functions; above them stands a condition, perhaps.
    pub(super) fn windows(
        &mut self,
        window: &logical_plan::Window,
        needed: &[bool],
        condition: Option<&Expr>,
    ) -> Result<Built, CompileStop> {
        let Some((windows, bound)) = condition.and_then(|condition| bounded_windows(window, condition)) else {
            return self.window_calls(window, needed);
        };
        let width = windows.input.schema().fields().len();
        let wanted = |at: &usize| needed[width + at];
        let numbers = (0..windows.numbers.len()).filter(wanted).map(|at| windows.numbers[at]);
        let first = FirstSpec {
            first: Some(bound),
            skip: 0,
            numbers: numbers.collect(),
        };
        self.first(
            windows.input,
            windows.partition_by,
            windows.order_by,
            first,
            needed,
            &window.schema,
        )
    }

    /// Window functions over whole partitions: an operator for each kind of window, one above the other.
    fn window_calls(&mut self, window: &logical_plan::Window, needed: &[bool]) -> Result<Built, CompileStop> {
        let width = window.input.schema().fields().len();
        let mut kinds: Vec<(&WindowFunctionParams, Vec<usize>)> = Vec::new();
        for (at, expr) in window
            .window_expr
            .iter()
            .enumerate()
            .filter(|(at, _)| needed[width + at])
        {
            let Expr::WindowFunction(call) = unaliased(expr) else {
                return unsupported(format!("{expr} is not a window function"));
            };
            let params = &call.params;
            let is_alike = |known: &WindowFunctionParams| {
                known.partition_by == params.partition_by && known.order_by == params.order_by
            };
            match kinds.iter_mut().find(|(known, _)| is_alike(known)) {
                Some((_, calls)) => calls.push(at),
                None => kinds.push((params, vec![at])),
            }
        }
        let mut used: Vec<&Expr> = Vec::new();
        for (_, calls) in &kinds {
            for at in calls {
                if let Expr::WindowFunction(call) = unaliased(&window.window_expr[*at]) {
                    let params = &call.params;
                    used.extend(params.args.iter().chain(params.filter.as_deref()));
                    used.extend(&params.partition_by);
                    used.extend(params.order_by.iter().map(|sort| &sort.expr));
                }
            }
        }
        check_all(used.iter().copied())?;
        let mut below = needed_by(used, window.input.schema())?;
        for (below, needed) in below.iter_mut().zip(needed) {
            *below |= needed;
        }
        let mut built = self.node(&window.input, &below)?;
        for (params, calls) in &kinds {
            let mut columns = built.columns.clone();
            columns.extend(calls.iter().map(|at| width + at));
            let schema = subset(&window.schema, &columns)?;
            let exprs: Vec<&Expr> = calls.iter().map(|at| &window.window_expr[*at]).collect();
            let mut compiled = Vec::with_capacity(exprs.len());
            for expr in &exprs {
                let call = self.context.compile_window(expr, &built.schema)?;
                let reach = self.reach(expr, &call, &built.schema)?;
                compiled.push(OneWindowCall { call, reach });
            }
            let calls = WindowCalls {
                calls: compiled,
                schema: arrow_schema(&schema),
            };
            let shown: Vec<&Expr> = exprs.iter().map(|call| unaliased(call)).collect();
            let text = format!("Window functions: {}", list(&shown));
            let work = PartitionWork::Windows(Arc::new(calls));
            built = self.partitioned(
                built,
                &params.partition_by,
                &params.order_by,
                work,
                (schema, columns),
                text,
            )?;
        }
        if built.columns.is_sorted() {
            return Ok(built);
        }
        let mut order: Vec<usize> = (0..built.columns.len()).collect();
        order.sort_by_key(|at| built.columns[*at]);
        let columns: Vec<usize> = order.iter().map(|at| built.columns[*at]).collect();
        let schema = subset(&window.schema, &columns)?;
        Ok(Built {
            node: self.pick(order, arrow_schema(&schema), built.node),
            schema,
            columns,
            ..built
        })
    }

    /// The rows that the values of a window function depend on.
    fn reach(&self, expr: &Expr, compiled: &Arc<dyn WindowExpr>, input: &DFSchema) -> Result<WindowReach, CompileStop> {
        let Expr::WindowFunction(call) = unaliased(expr) else {
            return Ok(WindowReach::Whole);
        };
        let params = &call.params;
        if params.null_treatment == Some(NullTreatment::IgnoreNulls) {
            return Ok(WindowReach::Whole);
        }
        let bounds = &params.window_frame;
        let frame = distances(bounds, &params.order_by, input)?;
        match &call.fun {
            WindowFunctionDefinition::WindowUDF(function) => {
                if functions().window.get(call.fun.name()) != Some(function) {
                    return Ok(WindowReach::Whole);
                }
                Ok(match (call.fun.name(), params.args.as_slice()) {
                    (name @ ("lag" | "lead"), [_, rest @ ..]) => {
                        let offset = match rest {
                            [] => Some(1),
                            [offset, ..] => constant(offset),
                        };
                        let place = offset.map(|offset| if name == "lag" { -offset } else { offset });
                        place.map_or(WindowReach::Whole, |place| near(rows_between(place, place)))
                    }
                    ("first_value" | "last_value" | "nth_value", _) => near(frame),
                    (name, []) => Ranking::of_name(name).map_or(WindowReach::Whole, WindowReach::Ranked),
                    _ => WindowReach::Whole,
                })
            }
            WindowFunctionDefinition::AggregateUDF(function) => {
                if AggregateKind::of_name(function.name()).is_none() || params.distinct {
                    return Ok(WindowReach::Whole);
                }
                let is_running = bounds.start_bound.is_unbounded() && bounds.end_bound == WindowFrameBound::CurrentRow;
                if is_running && compiled.as_any().is::<PlainAggregateWindowExpr>() {
                    let condition = params.filter.as_deref();
                    return Ok(WindowReach::Running {
                        by_row: bounds.units == WindowFrameUnits::Rows,
                        filter: condition
                            .map(|condition| self.context.compile(condition, input))
                            .transpose()?,
                    });
                }
                // Floats that leave a sum leave a trace in it.
                for argument in &params.args {
                    if argument.get_type(input)?.is_floating() {
                        return Ok(WindowReach::Whole);
                    }
                }
                Ok(near(frame))
            }
        }
    }

    /// The first rows of each partition, in a plan node of this schema: the input's columns, then numbers.
    fn first(
        &mut self,
        plan: &LogicalPlan,
        partition_by: &[Expr],
        order_by: &[SortExpr],
        first: FirstSpec,
        needed: &[bool],
        output: &DFSchema,
    ) -> Result<Built, CompileStop> {
        let width = plan.schema().fields().len();
        let input = self.partition_input(plan, partition_by, order_by, &needed[..width])?;
        let mut columns = input.columns.clone();
        columns.extend((width..needed.len()).filter(|column| needed[*column]));
        let schema = subset(output, &columns)?;
        let text = first_text(&first, partition_by, order_by);
        let work = PartitionWork::First(first);
        self.partitioned(input, partition_by, order_by, work, (schema, columns), text)
    }

    /// The input of a partitioned operator: what is needed of it above, by its keys and by its order.
    fn partition_input(
        &mut self,
        plan: &LogicalPlan,
        partition_by: &[Expr],
        order_by: &[SortExpr],
        needed: &[bool],
    ) -> Result<Built, CompileStop> {
        let used = || partition_by.iter().chain(order_by.iter().map(|sort| &sort.expr));
        check_all(used())?;
        let mut below = needed_by(used(), plan.schema())?;
        for (below, needed) in below.iter_mut().zip(needed) {
            *below |= needed;
        }
        self.node(plan, &below)
    }

    /// The operator over an input, with an output of this schema, whose columns have these positions in the plan node's.
    fn partitioned(
        &mut self,
        input: Built,
        partition_by: &[Expr],
        order_by: &[SortExpr],
        work: PartitionWork,
        (schema, columns): (DFSchema, Vec<usize>),
        text: String,
    ) -> Result<Built, CompileStop> {
        let mut keys = Vec::with_capacity(partition_by.len());
        let mut key_types = Vec::with_capacity(partition_by.len());
        for key in partition_by {
            keys.push(self.context.compile(key, &input.schema)?);
            key_types.push(key.get_type(&input.schema)?);
        }
        let mut order: Vec<SortedBy> = Vec::with_capacity(order_by.len());
        for sort in order_by {
            order.push(SortedBy {
                key: self.context.compile(&sort.expr, &input.schema)?,
                data_type: sort.expr.get_type(&input.schema)?,
                options: SortOptions {
                    descending: !sort.asc,
                    nulls_first: sort.nulls_first,
                },
                column: column_of(&sort.expr, &input.schema),
            });
        }
        let input_schema = arrow_schema(&input.schema);
        if !PartitionedSpec::takes(&input_schema, &order) {
            return unsupported("its rows have a column without an order");
        }
        let spec = PartitionedSpec {
            keys,
            key_types,
            order: order.into(),
            input: input_schema,
            schema: arrow_schema(&schema),
            work,
            grows: input.append_only,
            is_infallible: partition_by
                .iter()
                .chain(order_by.iter().map(|sort| &sort.expr))
                .all(is_infallible),
            text,
        };
        Ok(Built {
            node: self.add(NodeWork::Partitioned(Arc::new(spec)), &[input.node]),
            bounds: vec![None; columns.len()],
            schema,
            columns,
            append_only: false,
        })
    }
}

/// The reach of a value that depends on rows this far back and ahead.
fn near(distances: Option<(Distance, Distance)>) -> WindowReach {
    let is_far =
        |distance: &Distance| matches!(distance, Distance::Rows(count) | Distance::Groups(count) if *count > NEAR_MAX);
    match distances {
        Some((back, ahead)) if !is_far(&back) && !is_far(&ahead) => WindowReach::Near { back, ahead },
        _ => WindowReach::Whole,
    }
}

/// The distances of rows at these places, counted from a value's own.
fn rows_between(first: i64, last: i64) -> Option<(Distance, Distance)> {
    let count = |rows: i64| usize::try_from(rows.max(0)).map(Distance::Rows).ok();
    count(first.checked_neg()?).zip(count(last))
}

/// How far back and ahead a frame has rows, if it has two ends.
fn distances(
    frame: &WindowFrame,
    order_by: &[SortExpr],
    input: &DFSchema,
) -> Result<Option<(Distance, Distance)>, CompileStop> {
    use WindowFrameBound::{CurrentRow, Following, Preceding};
    let (start, end) = (&frame.start_bound, &frame.end_bound);
    Ok(match frame.units {
        WindowFrameUnits::Rows => {
            let place = |bound: &WindowFrameBound| match bound {
                CurrentRow => Some(0),
                Preceding(rows) => scalar(rows).map(i64::saturating_neg),
                Following(rows) => scalar(rows),
            };
            place(start)
                .zip(place(end))
                .and_then(|(start, end)| rows_between(start, end))
        }
        WindowFrameUnits::Groups => {
            let count = |groups: &ScalarValue| Some(Distance::Groups(usize::try_from(scalar(groups)?).ok()?));
            let back = match start {
                Preceding(groups) => count(groups),
                CurrentRow | Following(_) => Some(Distance::Groups(0)),
            };
            let ahead = match end {
                Following(groups) => count(groups),
                CurrentRow | Preceding(_) => Some(Distance::Groups(0)),
            };
            back.zip(ahead)
        }
        WindowFrameUnits::Range => {
            let of_order = match order_by {
                [sort] => Some(sort.expr.get_type(input)?),
                _ => None,
            };
            let values = |by: &ScalarValue| {
                let counts = of_order.as_ref().is_some_and(|order| is_exact(order, by));
                counts.then(|| Distance::Values(by.clone()))
            };
            let back = match start {
                Preceding(by) => values(by),
                CurrentRow | Following(_) => Some(Distance::Groups(0)),
            };
            let ahead = match end {
                Following(by) => values(by),
                CurrentRow | Preceding(_) => Some(Distance::Groups(0)),
            };
            back.zip(ahead)
        }
    })
}

/// Whether values of a type that are this far from another have it as far from them: months differ, days do where clocks are
/// put forward, and floats are rounded.
fn is_exact(order: &DataType, by: &ScalarValue) -> bool {
    match (order, by) {
        (_, by) if by.is_null() => false,
        (DataType::Timestamp(_, zone), ScalarValue::IntervalMonthDayNano(Some(by))) => {
            by.months == 0 && (by.days == 0 || zone.is_none())
        }
        (order, by) => order.is_integer() && by.data_type().is_integer(),
    }
}

/// The bound that a condition sets to a column of numbers. Of several bounds any will do; row numbers leave the fewest rows.
fn bound(condition: &Expr, schema: &DFSchema, number: impl Fn(usize) -> Option<Ranking>) -> Option<FirstRows> {
    let mut found: Option<(Ranking, i64)> = None;
    for part in split_conjunction(condition) {
        let Some((column, most)) = upper_bound(part) else {
            continue;
        };
        let ranking = column_of(column, schema).and_then(&number);
        let Some(ranking) = ranking else {
            continue;
        };
        found = Some(match found {
            Some((known, least)) if known == ranking => (known, least.min(most)),
            Some((known, least)) if known == Ranking::RowNumber => (known, least),
            _ => (ranking, most),
        });
    }
    found.map(|(ranking, most)| ranking.first(most))
}

/// `column <= 3` and the like: what is compared, and the most that it may be.
fn upper_bound(condition: &Expr) -> Option<(&Expr, i64)> {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (compared, op, constant) = match (constant(left), constant(right)) {
                (None, Some(constant)) => (left, *op, constant),
                (Some(constant), None) => (right, op.swap()?, constant),
                _ => return None,
            };
            let most = match op {
                Operator::LtEq | Operator::Eq => constant,
                Operator::Lt => constant.checked_sub(1)?,
                _ => return None,
            };
            Some((uncast(compared), most))
        }
        Expr::Between(between) if !between.negated => Some((uncast(&between.expr), constant(&between.high)?)),
        _ => None,
    }
}

/// Whether a condition is `column <= 3` or `column < 3` and no more.
fn is_upper_bound(condition: &Expr) -> bool {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (constant(left), constant(right)) {
            (None, Some(_)) => matches!(op, Operator::LtEq | Operator::Lt),
            (Some(_), None) => matches!(op, Operator::GtEq | Operator::Gt),
            _ => false,
        },
        _ => false,
    }
}

fn constant(expr: &Expr) -> Option<i64> {
    match unaliased(expr) {
        Expr::Literal(value, _) => scalar(value),
        _ => None,
    }
}

fn scalar(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::UInt64(Some(value)) => i64::try_from(*value).ok(),
        ScalarValue::Int64(Some(value)) => Some(*value),
        ScalarValue::Int32(Some(value)) => Some(i64::from(*value)),
        _ => None,
    }
}

/// A number of rows is the same in every type of integers.
fn uncast(expr: &Expr) -> &Expr {
    match unaliased(expr) {
        Expr::Cast(cast) if cast.field.data_type().is_integer() => uncast(&cast.expr),
        other => other,
    }
}

/// One line for EXPLAIN.
fn first_text(first: &FirstSpec, partition_by: &[Expr], order_by: &[SortExpr]) -> String {
    let skipped = match first.skip {
        0 => String::new(),
        skip => format!(" after {skip}"),
    };
    let rows = match first.first {
        None => "All".to_string(),
        Some(FirstRows::Numbered(last)) => format!("First {}", last - first.skip),
        Some(FirstRows::Ranked(last)) => format!("First {last} with ties"),
        Some(FirstRows::DenselyRanked(last)) => format!("First {last} groups of ties"),
    };
    let mut text = format!("{rows}{skipped}");
    if !partition_by.is_empty() {
        text += &format!(" of each {}", list(partition_by));
    }
    text + &order_text(order_by)
}

fn order_text(order_by: &[SortExpr]) -> String {
    match order_by.is_empty() {
        true => String::new(),
        false => format!(": by {}", list(order_by)),
    }
}

fn list<T: std::fmt::Display>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(T::to_string).collect();
    format!("[{}]", items.join(", "))
}
