//! Windows over time of a plan to their operators.
//!
//! One rule: an operator's rows have all that the plan's window node gives them, unless all that is above takes less: an aggregate
//! by the bounds of windows holds groups in place of rows under EMIT ON WINDOW CLOSE, and one of whole sessions finds these itself,
//! or knows them by number.

use std::sync::Arc;

use arrow::datatypes::{Field, IntervalMonthDayNano};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::{BinaryExpr, EmptyRelation, Expr, LogicalPlan, Operator, logical_plan};

use crate::sql::functions::aggregates::{self, AggregateKind};
use crate::sql::statement::Emit;
use crate::sql::window::{Closure, Window, WindowColumns, WindowKind};

use super::super::dataflow::NodeWork;
use super::super::operators::aggregate::sessions::{SessionBound, SessionKeys};
use super::super::operators::aggregate::states::merges;
use super::super::operators::aggregate::{AggregateCall, AggregateSpec, ClosesBy, GroupKey, WindowSpread};
use super::super::operators::linear::Linear;
use super::super::operators::session::{SessionSpec, ShownSession};
use super::super::operators::window::WindowSpec;
use super::aggregate::{takes_infallibly, texts};
use super::{Bound, BoundPart, Built, CompileStop, Compiler, arrow_schema, needed_by, subset};

impl Compiler {
    pub(super) fn window(&mut self, window: &Window, needed: &[bool]) -> Result<Built, CompileStop> {
        let mut below = vec![false; window.input.schema().fields().len()];
        for (output, needed) in needed.iter().enumerate() {
            if let (true, Some(input)) = (needed, window.input_column(output)) {
                below[input] = true;
            }
        }
        below[window.time_column] = true;
        for column in window.watermark_column.iter().chain(&window.keys) {
            below[*column] = true;
        }
        let input = self.node(&window.input, &below)?;
        let position = |column: usize| {
            let found = input.columns.iter().position(|have| *have == column);
            found.expect("the window's own columns were asked for")
        };
        // The same node over fewer columns.
        let narrow = Window::new(
            LogicalPlan::EmptyRelation(EmptyRelation {
                produce_one_row: false,
                schema: Arc::new(input.schema.clone()),
            }),
            window.kind,
            WindowColumns {
                time: position(window.time_column),
                keys: window.keys.iter().copied().map(position).collect(),
            },
            Closure {
                watermark_column: window.watermark_column.map(position),
                topics: window.topics.clone(),
                never_closes: window.never_closes.clone(),
                allowed_lateness_us: window.allowed_lateness_us,
                emit: window.emit,
            },
        )?;
        let buffers = window.emit == Emit::OnWindowClose;
        // A session's rows change their bounds until it has closed.
        let append_only = input.append_only && (buffers || narrow.sessions().is_none());
        let work = match narrow.sessions() {
            None => NodeWork::Window(Arc::new(WindowSpec {
                assigner: narrow.assigner(),
                topics: window.topics.clone(),
                allowed_lateness_us: window.allowed_lateness_us,
                size_us: window.kind.length_us(),
                buffers,
                text: describe_window(window),
            })),
            Some(sessions) => NodeWork::Session(Arc::new(SessionSpec {
                sessions,
                // Rows that leave by a condition on time reach sessions that have closed.
                topics: match input.append_only {
                    true => window.topics.clone(),
                    false => Vec::new(),
                },
                allowed_lateness_us: window.allowed_lateness_us,
                buffers,
                append_only: input.append_only,
                shown: ShownSession::Bounds,
                text: describe_window(window),
            })),
        };
        let full = datafusion::logical_expr::UserDefinedLogicalNodeCore::schema(window);
        let outputs = full.fields().len();
        let mut columns: Vec<usize> = Vec::with_capacity(input.columns.len() + 2);
        for output in 0..outputs - 2 {
            let of = window.input_column(output).expect("not a bound");
            if input.columns.contains(&of) {
                columns.push(output);
            }
        }
        columns.extend([outputs - 2, outputs - 1]);
        let schema = subset(full, &columns)?;
        let node = self.add(work, &[input.node]);
        let rows = &columns[..columns.len() - 2];
        let time = rows
            .iter()
            .position(|output| window.input_column(*output) == Some(window.time_column));
        self.facts[node] = self.facts_of_window(window, rows.len(), time);
        let part = |column: usize| match window.input_column(column) {
            None if column + 1 == outputs => Some(BoundPart::End),
            None => Some(BoundPart::Start),
            Some(of) => window.keys.contains(&of).then_some(BoundPart::Key(of)),
        };
        let bound = |column: &usize| {
            part(*column).map(|part| Bound {
                window: node,
                part,
                size_us: window.kind.size_us(),
                direct: true,
                uncomputed: true,
                unread: true,
            })
        };
        Ok(Built {
            node,
            bounds: columns.iter().map(bound).collect(),
            schema,
            columns,
            append_only,
        })
    }

    /// If a key is a bound of a window that holds rows back until it closes: the aggregate holds groups instead.
    pub(super) fn closes_by(&mut self, keys: &[GroupKey], bounds: &[Option<Bound>]) -> Option<ClosesBy> {
        for (key, bound) in bounds.iter().enumerate() {
            let (Some(bound), GroupKey::Stored(_)) = (bound, &keys[key]) else {
                continue;
            };
            let to_end_us = match (bound.part, bound.size_us) {
                (BoundPart::End, _) => 0,
                (BoundPart::Start, Some(size_us)) => size_us,
                _ => continue,
            };
            // A session operator has to know when its sessions close, and so holds their rows itself.
            let NodeWork::Window(spec) = &mut self.nodes[bound.window].step else {
                continue;
            };
            if !bound.direct || !spec.buffers {
                continue;
            }
            let mut passes = (**spec).clone();
            passes.buffers = false;
            *spec = Arc::new(passes);
            return Some(ClosesBy {
                stored_key: keys[..key]
                    .iter()
                    .filter(|key| matches!(key, GroupKey::Stored(_)))
                    .count(),
                to_end_us,
                allowed_lateness_us: spec.allowed_lateness_us,
                topics: spec.topics.clone(),
            });
        }
        None
    }

    /// If an aggregate of input that only grows has groups of windows of HOP, and its states merge: its rows come once for all of
    /// their windows, and are gathered by these before they are added to each. `columns` are the input's bounds.
    pub(super) fn spread(
        &mut self,
        keys: &[GroupKey],
        bounds: &[Option<Bound>],
        calls: &[AggregateCall],
        reads_bounds: bool,
        input: &Built,
    ) -> Result<Option<WindowSpread>, CompileStop> {
        let is_stored = |key: &usize| matches!(keys[*key], GroupKey::Stored(_));
        let bound_keys = (0..keys.len()).filter(is_stored).enumerate();
        let mut bound_keys = bound_keys.filter_map(|(stored, key)| Some((stored, bounds[key]?)));
        let (Some((stored_key, bound)), None) = (bound_keys.next(), bound_keys.next()) else {
            return Ok(None);
        };
        let NodeWork::Window(spec) = &self.nodes[bound.window].step else {
            return Ok(None);
        };
        let (Some(size_us), Some(slide_us)) = (bound.size_us, spec.assigner.spanning().span_slide_us()) else {
            return Ok(None);
        };
        let place = |part: BoundPart| {
            let is_part =
                |other: &Option<Bound>| other.is_some_and(|other| other.window == bound.window && other.part == part);
            input.bounds.iter().position(is_part)
        };
        let (Some(start), Some(end)) = (place(BoundPart::Start), place(BoundPart::End)) else {
            return Ok(None);
        };
        let fits = input.append_only && bound.direct && bound.uncomputed && !spec.buffers && !reads_bounds;
        if !fits || size_us == slide_us || !calls.iter().all(call_merges) {
            return Ok(None);
        }
        let column = |index: usize| {
            let column = Expr::Column(Column::from(input.schema.qualified_field(index)));
            self.context.compile(&column, &input.schema)
        };
        let spread = WindowSpread {
            bounds: [column(start)?, column(end)?],
            stored_key,
            is_end: bound.part == BoundPart::End,
            slide_us,
            size_us,
        };
        let mut spanning = (**spec).clone();
        spanning.assigner = spec.assigner.spanning();
        self.nodes[bound.window].step = NodeWork::Window(Arc::new(spanning));
        Ok(Some(spread))
    }

    /// Whether an aggregate groups all rows of each session together, and asks for no bound within its calls: it can find sessions
    /// itself then, or know them by number. Over input that may shrink sessions can split, and under EMIT ON WINDOW CLOSE their rows come once.
    pub(super) fn is_of_sessions(
        &self,
        aggregate: &logical_plan::Aggregate,
        calls: &[usize],
        input: &Built,
        keys: &[Option<Bound>],
    ) -> Result<bool, CompileStop> {
        let Some(keys) = keys.iter().copied().collect::<Option<Vec<Bound>>>() else {
            return Ok(false);
        };
        let Some(window) = keys.first().map(|bound| bound.window) else {
            return Ok(false);
        };
        let NodeWork::Session(spec) = &self.nodes[window].step else {
            return Ok(false);
        };
        let of_calls = calls.iter().map(|call| &aggregate.aggr_expr[*call]);
        let used = needed_by(of_calls, &input.schema)?;
        let mut calls_read = input.bounds.iter().zip(used).filter(|(_, used)| *used);
        let has = |keys: &[Bound], part: BoundPart| keys.iter().any(|bound| bound.part == part);
        let is_in = |part: BoundPart| {
            let bounds = input.bounds.iter().flatten();
            bounds
                .filter(|bound| bound.window == window)
                .any(|bound| bound.part == part)
        };
        let mut own_keys: Vec<usize> = keys.iter().filter_map(|bound| bound.key()).collect();
        own_keys.sort_unstable();
        own_keys.dedup();
        Ok(spec.append_only
            && !spec.buffers
            && keys
                .iter()
                .all(|bound| bound.window == window && bound.direct && bound.unread)
            && (has(&keys, BoundPart::Start) || has(&keys, BoundPart::End))
            && is_in(BoundPart::Start)
            && is_in(BoundPart::End)
            && own_keys.len() == spec.sessions.keys().len()
            && !calls_read.any(|(bound, _)| bound.is_some_and(|bound| bound.key().is_none())))
    }

    /// An aggregate of whole sessions, of which [`Compiler::is_of_sessions`] says that it is one.
    pub(super) fn of_sessions(
        &mut self,
        aggregate: &logical_plan::Aggregate,
        calls: &[usize],
        input: Built,
        keys: &[Option<Bound>],
    ) -> Result<Built, CompileStop> {
        let growing = Built {
            append_only: true,
            ..input.clone()
        };
        let mut spec_calls = Vec::with_capacity(calls.len());
        for call in calls {
            let output = aggregate.schema.field(keys.len() + call).data_type();
            spec_calls.push(self.call(&aggregate.aggr_expr[*call], &growing, output)?);
        }
        match spec_calls.iter().all(call_merges) {
            true => self.found_sessions(aggregate, calls, spec_calls, input, keys),
            false => self.numbered_sessions(aggregate, calls, input, keys),
        }
    }

    /// An aggregate that finds the sessions itself: its states can be added to one another.
    fn found_sessions(
        &mut self,
        aggregate: &logical_plan::Aggregate,
        calls: &[usize],
        spec_calls: Vec<AggregateCall>,
        input: Built,
        keys: &[Option<Bound>],
    ) -> Result<Built, CompileStop> {
        let (window, spec) = self.sessions_below(keys, ShownSession::Alone);
        let start =
            |bound: &Option<Bound>| bound.is_some_and(|bound| bound.window == window && bound.part == BoundPart::Start);
        let start = input.bounds.iter().position(start).expect("the input has it");
        let start = Expr::Column(Column::from(input.schema.qualified_field(start)));
        let sessions = SessionKeys {
            rules: spec.sessions.clone(),
            time: self.context.compile(&start, &input.schema)?,
            topics: spec.topics.clone(),
        };
        let mut spec_keys = Vec::with_capacity(keys.len());
        for (expr, bound) in aggregate.group_expr.iter().zip(keys) {
            spec_keys.push(match bound.map(|bound| bound.part) {
                Some(BoundPart::Start) => GroupKey::Session(SessionBound::Start),
                Some(BoundPart::End) => GroupKey::Session(SessionBound::End),
                _ => GroupKey::Stored(self.context.compile(expr, &input.schema)?),
            });
        }
        let columns = columns_of(keys, calls);
        let schema = subset(&aggregate.schema, &columns)?;
        let spec = AggregateSpec {
            keys: spec_keys,
            calls: spec_calls,
            schema: arrow_schema(&schema),
            append_only: true,
            always: Vec::new(),
            closes_by: None,
            spread: None,
            sessions: Some(sessions),
            is_infallible: calls.iter().all(|call| takes_infallibly(&aggregate.aggr_expr[*call])),
            text: session_text(aggregate, calls),
        };
        let node = self.add(NodeWork::Aggregate(Arc::new(spec)), &[input.node]);
        Ok(Built {
            node,
            schema,
            bounds: indirect(keys, columns.len()),
            columns,
            append_only: false,
        })
    }

    /// Has the session node below an aggregate with these keys show other bounds; the node, and what it is now.
    fn sessions_below(&mut self, keys: &[Option<Bound>], shown: ShownSession) -> (usize, Arc<SessionSpec>) {
        let window = keys[0].expect("all keys are the window's").window;
        let NodeWork::Session(spec) = &mut self.nodes[window].step else {
            panic!("it was asked whether it is");
        };
        let mut below = (**spec).clone();
        below.shown = shown;
        *spec = Arc::new(below);
        (window, spec.clone())
    }

    /// An aggregate by the numbers of sessions, and the bounds as aggregates of it.
    fn numbered_sessions(
        &mut self,
        aggregate: &logical_plan::Aggregate,
        calls: &[usize],
        input: Built,
        keys: &[Option<Bound>],
    ) -> Result<Built, CompileStop> {
        let (window, numbered) = self.sessions_below(keys, ShownSession::Number);
        let gap_us = numbered.sessions.end(0);

        let column_of = |part: BoundPart| {
            let of_window =
                |bound: &Option<Bound>| bound.is_some_and(|bound| bound.window == window && bound.part == part);
            let index = input.bounds.iter().position(of_window).expect("the input has it");
            (
                Expr::Column(Column::from(input.schema.qualified_field(index))),
                input.schema.field(index).data_type().clone(),
            )
        };
        // Numbers stand in the place of the starts, and what each row makes of the end in that of the ends.
        let (number, time_type) = column_of(BoundPart::Start);
        let (end, _) = column_of(BoundPart::End);
        let mut fields = vec![("number".to_string(), time_type.clone())];
        let mut spec_keys = vec![GroupKey::Stored(self.context.compile(&number, &input.schema)?)];
        for (index, (expr, bound)) in aggregate.group_expr.iter().zip(keys).enumerate() {
            if bound.is_some_and(|bound| bound.key().is_some()) {
                spec_keys.push(GroupKey::Stored(self.context.compile(expr, &input.schema)?));
                fields.push((
                    format!("key {index}"),
                    aggregate.schema.field(index).data_type().clone(),
                ));
            }
        }
        // Rows of sessions that join are taken back.
        let moving = Built {
            append_only: false,
            ..input.clone()
        };
        let mut spec_calls = Vec::with_capacity(calls.len() + 2);
        for call in calls {
            let output = aggregate.schema.field(keys.len() + call).data_type();
            spec_calls.push(self.call(&aggregate.aggr_expr[*call], &moving, output)?);
            fields.push((format!("call {call}"), output.clone()));
        }
        for (kind, name) in [(AggregateKind::Min, "first"), (AggregateKind::Max, "last")] {
            spec_calls.push(AggregateCall::Of {
                definition: aggregates::resolve(kind, &time_type)?,
                argument: self.context.compile(&end, &input.schema)?,
                filter: None,
                distinct: false,
            });
            fields.push((name.to_string(), time_type.clone()));
        }
        let fields = fields
            .into_iter()
            .map(|(name, data_type)| (None, Arc::new(Field::new(name, data_type, true))));
        let grouped = DFSchema::new_with_metadata(fields.collect(), Default::default())?;
        let spec = AggregateSpec {
            keys: spec_keys,
            calls: spec_calls,
            schema: arrow_schema(&grouped),
            append_only: false,
            always: Vec::new(),
            closes_by: None,
            spread: None,
            sessions: None,
            is_infallible: calls.iter().all(|call| takes_infallibly(&aggregate.aggr_expr[*call])),
            text: session_text(aggregate, calls),
        };
        let node = self.add(NodeWork::Aggregate(Arc::new(spec)), &[input.node]);

        let made = |name: &str| Expr::Column(Column::from_name(name));
        let gap = IntervalMonthDayNano::new(0, 0, gap_us.saturating_mul(1000));
        let gap = Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(gap)), None);
        let start = Expr::BinaryExpr(BinaryExpr::new(Box::new(made("first")), Operator::Minus, Box::new(gap)));
        let of_keys = keys
            .iter()
            .enumerate()
            .map(|(index, bound)| match bound.map(|bound| bound.part) {
                Some(BoundPart::Start) => start.clone(),
                Some(BoundPart::End) => made("last"),
                _ => made(&format!("key {index}")),
            });
        let shown: Vec<Expr> = of_keys
            .chain(calls.iter().map(|call| made(&format!("call {call}"))))
            .collect();
        let columns = columns_of(keys, calls);
        let schema = subset(&aggregate.schema, &columns)?;
        let expressions: Result<Vec<_>, _> = shown.iter().map(|expr| self.context.compile(expr, &grouped)).collect();
        let linear = Linear::Project {
            expressions: expressions?,
            schema: arrow_schema(&schema),
            text: shown.iter().map(Expr::to_string).collect::<Vec<String>>().join(", "),
        };
        let node = self.add(
            NodeWork::Linear {
                linear,
                is_infallible: true,
            },
            &[node],
        );
        Ok(Built {
            node,
            schema,
            bounds: indirect(keys, columns.len()),
            columns,
            append_only: false,
        })
    }
}

/// The columns of an aggregate with these keys that has these calls alone.
fn columns_of(keys: &[Option<Bound>], calls: &[usize]) -> Vec<usize> {
    let calls = calls.iter().map(|call| keys.len() + call);
    (0..keys.len()).chain(calls).collect()
}

/// Bounds above an aggregate, which has so many columns.
fn indirect(keys: &[Option<Bound>], columns: usize) -> Vec<Option<Bound>> {
    let above = keys
        .iter()
        .map(|bound| bound.map(|bound| Bound { direct: false, ..bound }));
    let mut above: Vec<Option<Bound>> = above.collect();
    above.resize(columns, None);
    above
}

fn session_text(aggregate: &logical_plan::Aggregate, calls: &[usize]) -> String {
    format!(
        "[{}] by [{}]",
        texts(calls.iter().map(|call| &aggregate.aggr_expr[*call])),
        texts(&aggregate.group_expr)
    )
}

/// Whether states of a call can be added to one another.
fn call_merges(call: &AggregateCall) -> bool {
    match call {
        AggregateCall::Rows => true,
        AggregateCall::Values { .. } | AggregateCall::Engine { .. } => false,
        AggregateCall::Of {
            definition, distinct, ..
        } => !distinct && merges(definition),
    }
}

fn describe_window(window: &Window) -> String {
    let emit = match window.emit {
        Emit::OnWindowClose => ", emit on window close",
        Emit::OnChange => "",
    };
    match window.kind {
        WindowKind::Tumble { size_us, .. } => format!("Tumble: {}{emit}", seconds(size_us)),
        WindowKind::Hop { slide_us, size_us, .. } => {
            format!("Hop: {} every {}{emit}", seconds(size_us), seconds(slide_us))
        }
        WindowKind::Cumulate { step_us, size_us, .. } => {
            format!("Cumulate: {} by {}{emit}", seconds(size_us), seconds(step_us))
        }
        WindowKind::Session { gap_us } => {
            let fields = window.input.schema().fields();
            let keys: Vec<&str> = window.keys.iter().map(|key| fields[*key].name().as_str()).collect();
            let by = match keys.is_empty() {
                true => String::new(),
                false => format!(" by [{}]", keys.join(", ")),
            };
            format!("Session: gap {}{by}{emit}", seconds(gap_us))
        }
    }
}

fn seconds(us: i64) -> String {
    if us % 1_000_000 == 0 {
        format!("{} s", us / 1_000_000)
    } else {
        format!("{us} us")
    }
}
