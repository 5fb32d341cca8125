//! TUMBLE, HOP, CUMULATE and SESSION in FROM: to a [`Window`] node over their relation.
//!
//! 1. [`plan_window`] makes the node of a relation, its time column and the lengths, which the analyzer has found.
//! 2. [`thread_watermark`] makes the relation carry `_watermark` beside the time column, if it still is a topic's
//!    WATERMARK column: through filters, projections that keep it, views, CTEs and UNION ALL. Anything else ends it, and
//!    then the windows include every row and never close.
//! 3. [`set_emit`] marks the nodes of a query that emits on window close, and says why if it cannot.

use std::sync::Arc;

use arrow::datatypes::IntervalMonthDayNano;
use datafusion::common::JoinType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::expr::GroupingSet;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, LogicalPlanBuilder, Sort, SubqueryAlias, Union};
use sqlparser::ast::{
    self, Expr as SqlExpr, FunctionArg, FunctionArgExpr, Ident, ObjectName, ObjectNamePart, TableFactor,
};

use super::keys;
use super::lineage::{Origin, origin};
use super::names::fold;
use super::provider::topic_schema;
use crate::error::{SqlError, state};
use crate::log::{HiddenColumn, TopicId};
use crate::sql::asof::AsofJoin;
use crate::sql::error::external;
use crate::sql::shared::SharedQuery;
use crate::sql::source::{RelationKind, RelationSource};
use crate::sql::statement::{Emit, mark};
use crate::sql::window::{Closure, WINDOW_END, Window, WindowColumns, WindowKind};

/// Names that are windows when called in FROM.
const WINDOWS: [&str; 4] = ["tumble", "hop", "cumulate", "session"];

/// Whether a called name in FROM is a window's.
pub fn is_window(name: &ObjectName) -> bool {
    name.0
        .last()
        .and_then(|part| part.as_ident())
        .is_some_and(|ident| WINDOWS.contains(&fold(ident).as_str()))
}

/// A window over `input`. Lengths are in microseconds, in the order of [`length_names`]; the offset may be missing.
pub fn plan_window(
    function: &str,
    input: LogicalPlan,
    columns: WindowColumns,
    lengths: &[i64],
    allowed_lateness_us: i64,
) -> Result<LogicalPlan> {
    let upper = function.to_uppercase();
    let kind = window_kind(function, &upper, lengths)?;
    if allowed_lateness_us < 0 {
        return Err(invalid("allowed_lateness must not be negative"));
    }
    let (input, closure) = match thread_watermark(&input, columns.time)? {
        Ok(threaded) => (
            threaded.plan,
            Closure {
                watermark_column: Some(threaded.watermark_column),
                topics: threaded.topics,
                ..Closure::default()
            },
        ),
        Err(reason) => (
            input,
            Closure {
                never_closes: Some(reason),
                ..Closure::default()
            },
        ),
    };
    let closure = Closure {
        allowed_lateness_us,
        ..closure
    };
    Ok(Window::new(input, kind, columns, closure)?.into_plan())
}

/// The lengths that a window takes, in order; its offset, which stands last, may be left out.
pub fn length_names(function: &str) -> &'static [&'static str] {
    match function {
        "hop" => &["slide", "size", "offset"],
        "cumulate" => &["step", "size", "offset"],
        "session" => &["gap"],
        _ => &["size", "offset"],
    }
}

/// The arguments of a window by their meaning.
pub struct WindowCall {
    pub relation: TableFactor,
    /// PARTITION BY of a session.
    pub keys: Vec<SqlExpr>,
    pub time: SqlExpr,
    /// As in [`length_names`].
    pub lengths: Vec<SqlExpr>,
    pub allowed_lateness: Option<SqlExpr>,
    /// The time is written as Flink's DESCRIPTOR: `window_time` is a column, too.
    pub has_window_time: bool,
}

impl WindowCall {
    pub fn read(upper: &str, args: Vec<FunctionArg>) -> Result<WindowCall> {
        let names = length_names(&upper.to_lowercase());
        let usage = || usage(upper, names);
        let (mut positional, mut keys, mut by_keys) = (vec![], vec![], false);
        let (mut relation, mut time, mut allowed_lateness) = (None, None, None);
        let mut lengths: Vec<Option<SqlExpr>> = vec![None; names.len()];
        for arg in args {
            let (name, arg) = match arg {
                FunctionArg::Unnamed(arg) => (None, arg),
                FunctionArg::Named { name, arg, .. } => (Some(fold(&name)), arg),
                FunctionArg::ExprNamed {
                    name: SqlExpr::Identifier(name),
                    arg,
                    ..
                } => (Some(fold(&name)), arg),
                FunctionArg::ExprNamed { .. } => return Err(usage()),
            };
            let FunctionArgExpr::Expr(expr) = arg else {
                return Err(usage());
            };
            let named = match name.as_deref() {
                None => {
                    match &expr {
                        SqlExpr::Identifier(ident) if ident.value == mark::PARTITION_BY => by_keys = true,
                        _ if by_keys => keys.push(expr),
                        _ => positional.push(expr),
                    }
                    continue;
                }
                Some("allowed_lateness") => &mut allowed_lateness,
                Some("data") => &mut relation,
                Some("timecol") => &mut time,
                Some(name) => match names.iter().position(|length| *length == name) {
                    Some(length) => &mut lengths[length],
                    None => {
                        let shown = ["data", "timecol"].iter().chain(names).chain(&["allowed_lateness"]);
                        let error = SqlError::new(
                            state::UNDEFINED_FUNCTION,
                            format!("{upper} has no argument named \"{name}\""),
                        )
                        .hint(format!(
                            "Its arguments are {}.",
                            shown.copied().collect::<Vec<&str>>().join(", ")
                        ));
                        return Err(external(error));
                    }
                },
            };
            if named.replace(expr).is_some() {
                let name = name.unwrap_or_default();
                let message = format!("argument \"{name}\" of {upper} is given twice");
                return Err(external(SqlError::new(state::SYNTAX_ERROR, message)));
            }
        }
        // The keys end where the arguments behind them begin.
        let behind = usize::from(time.is_none()) + lengths.iter().filter(|length| length.is_none()).count();
        if by_keys {
            if upper != "SESSION" || positional.len() > 1 {
                return Err(usage());
            }
            let at = keys
                .len()
                .checked_sub(behind)
                .filter(|keys| *keys > 0)
                .ok_or_else(usage)?;
            positional.extend(keys.split_off(at));
        }
        let mut positional = positional.into_iter();
        let relation = relation.or_else(|| positional.next()).ok_or_else(usage)?;
        let time = time.or_else(|| positional.next()).ok_or_else(usage)?;
        for length in lengths.iter_mut().filter(|length| length.is_none()) {
            *length = positional.next();
        }
        let given = lengths.iter().take_while(|length| length.is_some()).count();
        let needed = names.iter().filter(|name| **name != "offset").count();
        let has_more = positional.next().is_some() || lengths[given..].iter().any(Option::is_some);
        if given < needed || has_more {
            return Err(usage());
        }
        let (time, has_window_time) = descriptor(time);
        Ok(WindowCall {
            relation: relation_factor(relation).ok_or_else(usage)?,
            keys: keys.into_iter().flat_map(listed).collect(),
            time,
            lengths: lengths.into_iter().flatten().collect(),
            allowed_lateness,
            has_window_time,
        })
    }
}

/// `(a, b)` is a and b.
fn listed(key: SqlExpr) -> Vec<SqlExpr> {
    match key {
        SqlExpr::Tuple(keys) => keys,
        SqlExpr::Nested(key) => vec![*key],
        key => vec![key],
    }
}

/// The value that a key of a session is told apart by.
pub fn session_key(key: Expr, schema: &DFSchema) -> Expr {
    keys::sorted_by(key, schema)
}

fn usage(upper: &str, names: &[&str]) -> datafusion::common::DataFusionError {
    let shown: Vec<&str> = names.iter().copied().filter(|name| *name != "offset").collect();
    let (keys, offset) = match upper {
        "SESSION" => (" [PARTITION BY key, ...]", ""),
        _ => ("", " [, offset]"),
    };
    external(
        SqlError::new(
            state::UNDEFINED_FUNCTION,
            format!("{upper} does not exist with these arguments"),
        )
        .hint(format!(
            "Write {upper}(relation{keys}, time_column, {}{offset} [, allowed_lateness => INTERVAL '...']).",
            shown.join(", ")
        )),
    )
}

/// The first argument as a FROM item: a name, or a subquery.
fn relation_factor(expr: SqlExpr) -> Option<TableFactor> {
    let idents: Vec<Ident> = match expr {
        SqlExpr::Subquery(subquery) => {
            return Some(TableFactor::Derived {
                lateral: false,
                subquery,
                alias: None,
                sample: None,
            });
        }
        SqlExpr::Nested(inner) => return relation_factor(*inner),
        SqlExpr::Identifier(ident) => vec![ident],
        SqlExpr::CompoundIdentifier(idents) => idents,
        _ => return None,
    };
    Some(TableFactor::Table {
        name: ObjectName(idents.into_iter().map(ObjectNamePart::Identifier).collect()),
        alias: None,
        args: None,
        with_hints: vec![],
        version: None,
        with_ordinality: false,
        partitions: vec![],
        json_path: None,
        sample: None,
        index_hints: vec![],
    })
}

fn invalid(message: impl Into<String>) -> datafusion::common::DataFusionError {
    external(SqlError::new(state::INVALID_PARAMETER_VALUE, message))
}

/// Flink's `DESCRIPTOR(ts)` is `ts`; and whether it was written so.
fn descriptor(expr: SqlExpr) -> (SqlExpr, bool) {
    if let SqlExpr::Function(function) = &expr
        && let ast::FunctionArguments::List(list) = &function.args
        && function
            .name
            .0
            .last()
            .and_then(|part| part.as_ident())
            .is_some_and(|name| fold(name) == "descriptor")
        && let [FunctionArg::Unnamed(FunctionArgExpr::Expr(inner))] = list.args.as_slice()
    {
        return (inner.clone(), true);
    }
    (expr, false)
}

/// An interval in microseconds.
pub fn length_us(upper: &str, what: &str, interval: IntervalMonthDayNano) -> Result<i64> {
    if interval.months != 0 {
        return Err(external(SqlError::unsupported(
            format!("the {what} of {upper} cannot be in months or years"),
            "Months differ in length: use days, or group by date_trunc('month', ...).",
        )));
    }
    i64::from(interval.days)
        .checked_mul(86_400_000_000)
        .and_then(|days| days.checked_add(interval.nanoseconds / 1000))
        .ok_or_else(|| invalid(format!("the {what} of {upper} is out of range")))
}

fn window_kind(function: &str, upper: &str, lengths: &[i64]) -> Result<WindowKind> {
    let names = length_names(function);
    for (length, name) in lengths.iter().zip(names) {
        if *name != "offset" && *length <= 0 {
            return Err(invalid(format!("the {name} of {upper} must be greater than zero")));
        }
    }
    let is_offset = |index: usize| names.get(index) == Some(&"offset");
    let offset_us = (0..lengths.len())
        .find(|index| is_offset(*index))
        .map_or(0, |index| lengths[index]);
    let (part_us, size_us) = match (function, lengths) {
        ("session", [gap_us]) => return Ok(WindowKind::Session { gap_us: *gap_us }),
        ("hop" | "cumulate", [part_us, size_us, ..]) => (*part_us, *size_us),
        (_, [size_us, ..]) => {
            return Ok(WindowKind::Tumble {
                size_us: *size_us,
                offset_us: offset_us.rem_euclid(*size_us),
            });
        }
        _ => unreachable!("WindowCall::read checked the number of arguments"),
    };
    let part = names[0];
    if size_us % part_us != 0 {
        return Err(invalid(format!("the size of {upper} must be a multiple of its {part}")));
    }
    if size_us / part_us > WINDOWS_PER_ROW_MAX {
        return Err(invalid(format!(
            "the size of {upper} must be at most {WINDOWS_PER_ROW_MAX} times its {part}"
        )));
    }
    Ok(match function {
        "hop" => WindowKind::Hop {
            slide_us: part_us,
            size_us,
            offset_us: offset_us.rem_euclid(part_us),
        },
        _ => WindowKind::Cumulate {
            step_us: part_us,
            size_us,
            offset_us: offset_us.rem_euclid(size_us),
        },
    })
}

/// Each row is copied into this many windows at most.
const WINDOWS_PER_ROW_MAX: i64 = 10_000;

/// A relation that carries `_watermark`.
struct Threaded {
    plan: LogicalPlan,
    watermark_column: usize,
    topics: Vec<TopicId>,
}

/// Adds `_watermark` as the last column if it is missing; the other columns keep their places. The inner
/// error is the reason why it cannot be added: the windows then never close.
fn thread_watermark(plan: &LogicalPlan, time_column: usize) -> Result<Result<Threaded, String>> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let Some(source) = scan.source.downcast_ref::<RelationSource>() else {
                return Ok(Err("its input is not a topic".to_string()));
            };
            let RelationKind::Topic(topic) = &source.kind else {
                return Ok(Err(format!("\"{}\" is not a topic", scan.table_name.table())));
            };
            let name = plan.schema().field(time_column).name();
            match &topic.watermark {
                None => return Ok(Err(format!("topic \"{}\" has no WATERMARK", topic.name))),
                Some(watermark) if watermark.column != *name => {
                    return Ok(Err(format!(
                        "column \"{name}\" is not the WATERMARK column of topic \"{}\"",
                        topic.name
                    )));
                }
                Some(_) => {}
            }
            let topics = vec![TopicId(topic.oid)];
            let shown = plan
                .schema()
                .index_of_column_by_name(None, HiddenColumn::Watermark.name());
            if let Some(watermark_column) = shown {
                return Ok(Ok(Threaded {
                    plan: plan.clone(),
                    watermark_column,
                    topics,
                }));
            }
            let hidden: Vec<HiddenColumn> = HiddenColumn::ALL
                .into_iter()
                .filter(|column| *column == HiddenColumn::Watermark || source.schema.index_of(column.name()).is_ok())
                .collect();
            let extended = RelationSource {
                kind: source.kind.clone(),
                schema: topic_schema(topic, &hidden),
            };
            let plan = LogicalPlanBuilder::scan(scan.table_name.clone(), Arc::new(extended), None)?.build()?;
            let watermark_column = plan.schema().fields().len() - 1;
            Ok(Ok(Threaded {
                plan,
                watermark_column,
                topics,
            }))
        }
        LogicalPlan::SubqueryAlias(alias) => thread_through(&alias.input, time_column, |input, _| {
            let alias = SubqueryAlias::try_new(Arc::new(input), alias.alias.clone())?;
            Ok(LogicalPlan::SubqueryAlias(alias))
        }),
        LogicalPlan::Filter(filter) => thread_through(&filter.input, time_column, |input, _| {
            LogicalPlanBuilder::from(input)
                .filter(filter.predicate.clone())?
                .build()
        }),
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => thread_watermark(&sort.input, time_column),
        LogicalPlan::Projection(projection) => {
            let name = plan.schema().field(time_column).name();
            let Expr::Column(column) = projection.expr[time_column].clone().unalias_nested().data else {
                return Ok(Err(format!(
                    "column \"{name}\" is computed, not the WATERMARK column itself"
                )));
            };
            let below = projection.input.schema().index_of_column(&column)?;
            let threaded = match thread_watermark(&projection.input, below)? {
                Ok(threaded) => threaded,
                Err(reason) => return Ok(Err(reason)),
            };
            let schema = threaded.plan.schema().clone();
            let watermark = Column::from(schema.qualified_field(threaded.watermark_column));
            let kept = projection.expr.iter().position(|expr| match expr {
                Expr::Column(column) => schema.index_of_column(column).ok() == Some(threaded.watermark_column),
                _ => false,
            });
            let mut exprs = projection.expr.clone();
            let watermark_column = kept.unwrap_or(exprs.len());
            if kept.is_none() {
                exprs.push(Expr::Column(watermark));
            }
            let plan = LogicalPlanBuilder::from(threaded.plan).project(exprs)?.build()?;
            Ok(Ok(Threaded {
                plan,
                watermark_column,
                topics: threaded.topics,
            }))
        }
        LogicalPlan::Union(union) => {
            let width = union.schema.fields().len();
            let (mut inputs, mut topics) = (vec![], vec![]);
            for input in &union.inputs {
                let threaded = match thread_watermark(input, time_column)? {
                    Ok(threaded) => threaded,
                    Err(reason) => return Ok(Err(reason)),
                };
                inputs.push(watermark_last(threaded.plan, threaded.watermark_column, width)?);
                topics.extend(threaded.topics);
            }
            topics.sort();
            topics.dedup();
            let inputs = inputs.into_iter().map(Arc::new).collect();
            let plan = LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?);
            Ok(Ok(Threaded {
                plan,
                watermark_column: width,
                topics,
            }))
        }
        // A window reads it as if it were not shared.
        LogicalPlan::Extension(_) if let Some(shared) = SharedQuery::of(plan) => {
            thread_watermark(&shared.body, time_column)
        }
        other => Ok(Err(format!("its input is {}", describe(other)))),
    }
}

fn thread_through(
    input: &LogicalPlan,
    time_column: usize,
    rebuild: impl FnOnce(LogicalPlan, usize) -> Result<LogicalPlan>,
) -> Result<Result<Threaded, String>> {
    match thread_watermark(input, time_column)? {
        Ok(threaded) => Ok(Ok(Threaded {
            plan: rebuild(threaded.plan, threaded.watermark_column)?,
            ..threaded
        })),
        Err(reason) => Ok(Err(reason)),
    }
}

/// One input of a UNION ALL: its own columns, then `_watermark` under a name of its own.
fn watermark_last(plan: LogicalPlan, watermark_column: usize, width: usize) -> Result<LogicalPlan> {
    let schema = plan.schema().clone();
    let watermark = Expr::Column(Column::from(schema.qualified_field(watermark_column)));
    let mut exprs: Vec<Expr> = (0..width)
        .map(|index| Expr::Column(Column::from(schema.qualified_field(index))))
        .collect();
    exprs.push(if watermark_column < width {
        watermark.alias("_watermark\u{1}")
    } else {
        watermark
    });
    LogicalPlanBuilder::from(plan).project(exprs)?.build()
}

/// A plan node in words, for `its input is ...`.
fn describe(plan: &LogicalPlan) -> &'static str {
    match plan {
        LogicalPlan::Aggregate(_) => "an aggregate",
        LogicalPlan::Join(_) => "a join",
        LogicalPlan::Distinct(_) => "a DISTINCT or UNION",
        LogicalPlan::Limit(_) | LogicalPlan::Sort(_) => "limited by LIMIT",
        LogicalPlan::Window(_) => "a window function",
        LogicalPlan::Extension(_) if AsofJoin::of(plan).is_some() => "a join",
        LogicalPlan::Extension(_) => "another window",
        LogicalPlan::Values(_) | LogicalPlan::EmptyRelation(_) => "not a topic",
        _ => "not a plain selection from a topic",
    }
}

/// Makes the windows of a plan emit on close. 0A000 with the reason if they cannot.
pub fn set_emit(plan: LogicalPlan, emit: Emit) -> Result<LogicalPlan, SqlError> {
    if emit == Emit::OnChange {
        return Ok(plan);
    }
    let mut windows = 0;
    let plan = plan.transform_down_with_subqueries(|node| {
        crate::sql::functions::go_on()?;
        let Some(window) = Window::of(&node) else {
            return Ok(Transformed::no(node));
        };
        windows += 1;
        if window.topics.is_empty() {
            let why = window.never_closes.clone().unwrap_or_default();
            return Err(external(
                SqlError::new(
                    state::FEATURE_NOT_SUPPORTED,
                    "EMIT ON WINDOW CLOSE is not possible: the windows never close",
                )
                .detail(format!("A window closes by the watermark of its topic, but {why}."))
                .hint("Use a window over a topic's WATERMARK column, or leave EMIT ON WINDOW CLOSE out."),
            ));
        }
        Ok(Transformed::yes(window.with_emit(emit).into_plan()))
    })?;
    if windows == 0 {
        return Err(SqlError::unsupported(
            "EMIT ON WINDOW CLOSE is not possible: the query has no window",
            "Use TUMBLE, HOP, CUMULATE or SESSION over a topic with a WATERMARK, or leave EMIT ON WINDOW CLOSE out.",
        ));
    }
    check_aggregates(&plan.data)?;
    check_final(&plan.data)?;
    Ok(plan.data)
}

/// Rows of a closed window must never change: 0A000 for anything above the windows that could take one back, or bring one
/// later. An ORDER BY or LIMIT around everything only chooses among the rows.
fn check_final(plan: &LogicalPlan) -> Result<(), SqlError> {
    let mut top = plan;
    while let LogicalPlan::Sort(_) | LogicalPlan::Limit(_) | LogicalPlan::Projection(_) = top {
        if has_subquery(top)? {
            break;
        }
        top = top.inputs()[0];
    }
    let why = match has_window(plan)? {
        false => Some("its windows are in a subquery of a condition"),
        true => not_final(top)?,
    };
    match why {
        None => Ok(()),
        Some(why) => Err(SqlError::unsupported(
            format!("EMIT ON WINDOW CLOSE is not possible: {why}"),
            "Make a view of the closed windows alone, and read it in the query that does the rest.",
        )),
    }
}

/// The part of a plan with windows that could change the rows of a closed one; `None` if there is none.
fn not_final(plan: &LogicalPlan) -> Result<Option<&'static str>> {
    if Window::of(plan).is_some() {
        return Ok(None);
    }
    if has_subquery(plan)? {
        return Ok(Some("the answer of a subquery changes"));
    }
    let why = match plan {
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Distinct(Distinct::All(_))
        | LogicalPlan::Sort(Sort { fetch: None, .. }) => None,
        LogicalPlan::Union(_) => None,
        LogicalPlan::Window(window) => {
            let by_window = window.window_expr.iter().all(|expr| match expr.clone().unalias() {
                Expr::WindowFunction(call) => call.params.partition_by.iter().any(|key| is_bound(key, &window.input)),
                _ => false,
            });
            (!by_window).then_some("a window function reads more than one window: add window_end to its PARTITION BY")
        }
        LogicalPlan::Join(join) if matches!(join.join_type, JoinType::Inner | JoinType::LeftSemi) => {
            let by_window = join
                .on
                .iter()
                .any(|(left, right)| is_bound(left, &join.left) && is_bound(right, &join.right));
            (!by_window).then_some("rows of the other side of the join may come later")
        }
        LogicalPlan::Join(_) => Some("rows of the other side of the join may come later"),
        LogicalPlan::Extension(_) if AsofJoin::of(plan).is_some() => {
            Some("a nearer row of the other side may come later")
        }
        LogicalPlan::Limit(_) | LogicalPlan::Sort(_) => Some("LIMIT leaves out a row when another comes"),
        LogicalPlan::Distinct(_) => Some("DISTINCT ON leaves out a row when another comes"),
        _ => Some("rows of closed windows could change in what is done with them"),
    };
    if why.is_some() {
        return Ok(why);
    }
    for input in plan.inputs() {
        if has_window(input)?
            && let Some(why) = not_final(input)?
        {
            return Ok(Some(why));
        }
    }
    Ok(None)
}

/// Whether an expression is a bound of a window that says when it closes.
fn is_bound(expr: &Expr, input: &LogicalPlan) -> bool {
    match expr {
        Expr::Column(column) => input
            .schema()
            .index_of_column(column)
            .is_ok_and(|index| origin(input, index) == Some(Origin::WindowBound { decides_closing: true })),
        Expr::Alias(alias) => is_bound(&alias.expr, input),
        _ => false,
    }
}

/// Whether the node's own expressions have a subquery.
fn has_subquery(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_expressions(|expr| {
        found |= expr.exists(|inner| {
            Ok(matches!(
                inner,
                Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_)
            ))
        })?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

/// Whether a LIMIT stands above windows that emit when they close: fine to read once, but not to keep.
pub fn limits_closed(plan: &LogicalPlan) -> Result<bool> {
    plan.exists(|node| {
        let limits = matches!(
            node,
            LogicalPlan::Limit(_) | LogicalPlan::Sort(Sort { fetch: Some(_), .. })
        );
        Ok(limits
            && node.exists(|inner| Ok(Window::of(inner).is_some_and(|window| window.emit == Emit::OnWindowClose)))?)
    })
}

/// Above a window, every aggregate must group by a bound of it: else its rows would change with every window closed.
fn check_aggregates(plan: &LogicalPlan) -> Result<(), SqlError> {
    let mut wrong = false;
    plan.apply_with_subqueries(|node| {
        crate::sql::functions::go_on()?;
        if let LogicalPlan::Aggregate(aggregate) = node
            && has_window(&aggregate.input)?
        {
            let has_bound = |keys: &[Expr]| keys.iter().any(|expr| is_bound(expr, &aggregate.input));
            wrong |= match aggregate.group_expr.as_slice() {
                [Expr::GroupingSet(GroupingSet::GroupingSets(sets))] => !sets.iter().all(|set| has_bound(set)),
                keys => !has_bound(keys),
            };
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    if wrong {
        return Err(SqlError::unsupported(
            "EMIT ON WINDOW CLOSE is not possible: an aggregate over the windows spans them",
            format!("Add {WINDOW_END} to its GROUP BY."),
        ));
    }
    Ok(())
}

fn has_window(plan: &LogicalPlan) -> Result<bool> {
    plan.exists(|node| Ok(Window::of(node).is_some()))
}
