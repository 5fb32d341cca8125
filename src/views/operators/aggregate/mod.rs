//! GROUP BY: a hash index on the key to a group number, and columns of states indexed by it.
//!
//! One rule: after a step, the group's row is the aggregate over all rows of the input at that LSN (V1). A whole
//! step is accumulated before anything comes out.
//!
//! The output depends on its consumer:
//! - Nobody but readers: nothing is emitted. Groups are rendered when read, in chunks of [`CHUNK_GROUPS`]; a chunk that no
//!   step touched since is not rendered again. A reading has the groups of its beginning, however many steps it takes.
//! - Another operator or view: per touched group its old row with weight -1, then its new one with +1. Groups without
//!   aggregates (DISTINCT) are told of when they come or go.
//! - Under EMIT ON WINDOW CLOSE: each group once, when its window has closed; then it leaves the state.
//!
//! Where the groups are the sessions of input that only grows, they are found beside the keys ([`SessionGroups`]).
//!
//! Over retracting input, a group exists while the weights of its rows sum up to more than 0, never less (V4).

mod copies;
mod engine;
pub mod keys;
pub mod states;

mod bags;
mod rendered;
pub mod sessions;
mod spans;
mod state;
mod values;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};

use crate::error::SqlError;
use crate::log::TopicId;
use crate::sql::functions::aggregates::Aggregate as Definition;

use super::pinned::PinnedGroups;
use super::{Operator, ReaderSource, Sink, StepEnd};
use crate::views::delta::{Delta, batch_of, constant_weights};
use crate::views::expression::Expression;
use crate::views::memory::{Budget, batch_bytes, exceeded};

use engine::{GroupRows, RunningGroups};
use keys::Keys;
use sessions::{JoinedGroups, SessionBound, SessionGroups, SessionKeys};
use spans::Spans;
use state::AggregateState;
use states::{masked, state_for};
use values::{DistinctValues, ValueCounts};

pub use engine::{EngineCall, EngineInput};
pub use spans::WindowSpread;
pub use values::ShownValue;

/// Groups that are rendered together.
pub const CHUNK_GROUPS: usize = 8192;
/// Dead groups are dropped once there are more of them than this, and more than live ones.
const DEAD_GROUPS_MIN: usize = 1024;

/// One key column of the output.
#[derive(Clone, Debug)]
pub enum GroupKey {
    /// Interned: the expression over the input.
    Stored(Expression),
    /// `window_end` beside `window_start`: the output column `of` plus a constant. Not a part of the key.
    After { of: usize, add_us: i64 },
    /// A bound of the group's session.
    Session(SessionBound),
}

/// One aggregate of the output.
#[derive(Clone, Debug)]
pub enum AggregateCall {
    /// count(*): rows are counted per group anyway.
    Rows,
    /// Something of the values themselves.
    Values {
        shown: ShownValue,
        argument: Expression,
        filter: Option<Expression>,
        data_type: DataType,
    },
    Of {
        definition: Definition,
        argument: Expression,
        filter: Option<Expression>,
        /// Each value counts once.
        distinct: bool,
    },
    /// The engine's own.
    Engine {
        call: Arc<EngineCall>,
        filter: Option<Expression>,
        /// An accumulator for each group goes on from step to step.
        runs: bool,
    },
}

/// EMIT ON WINDOW CLOSE: the output key that bounds a group's window, and the watermark that closes it.
#[derive(Clone, Debug)]
pub struct ClosesBy {
    /// The index of the stored key that is the window's start or end.
    pub stored_key: usize,
    /// From that to the end of the window.
    pub to_end_us: i64,
    pub allowed_lateness_us: i64,
    pub topics: Vec<TopicId>,
}

/// The constants of an aggregate.
#[derive(Clone, Debug)]
pub struct AggregateSpec {
    pub keys: Vec<GroupKey>,
    pub calls: Vec<AggregateCall>,
    /// Keys, then calls.
    pub schema: SchemaRef,
    /// No input delta ever has a negative weight.
    pub append_only: bool,
    /// The stored keys of groups that are there over no rows, too: those of empty grouping sets.
    pub always: Vec<ArrayRef>,
    pub closes_by: Option<ClosesBy>,
    /// A row of the input stands for a row in each of a range of windows.
    pub spread: Option<WindowSpread>,
    /// The groups are the sessions of the stored keys; all calls merge, and the input only grows.
    pub sessions: Option<SessionKeys>,
    /// Neither keys nor arguments can fail.
    pub is_infallible: bool,
    pub text: String,
}

impl AggregateSpec {
    /// Whether a result may be an error though all rows were taken.
    pub fn may_fail_at_end(&self) -> bool {
        let may_fail = |call: &AggregateCall| matches!(call, AggregateCall::Engine { call, .. } if call.may_fail);
        self.calls.iter().any(may_fail)
    }
}

/// A GROUP BY.
pub struct GroupBy {
    spec: Arc<AggregateSpec>,
    keys: Keys,
    /// The groups, if they are the keys' sessions.
    sessions: Option<SessionGroups>,
    states: Vec<Option<Box<dyn AggregateState>>>,
    /// By group: sum of the weights of its rows.
    rows: Vec<i64>,
    /// By group: whether it was there after the last step. Kept only if `notes_groups`.
    was_there: Vec<bool>,
    /// By group: touched in this step. Kept only if `notes_groups`.
    touched: Vec<bool>,
    touched_groups: Vec<u32>,
    /// Groups that were there after the last step. Kept only if `notes_groups`.
    live_groups: usize,
    /// The step has ended; the next call begins another.
    settled: bool,
    /// At least one step has ended.
    stepped: bool,
    /// By chunk: touched since it was last rendered.
    stale_chunks: Vec<bool>,
    /// The groups of a reading under way.
    pinned: Option<PinnedGroups>,
    /// Rows of groups that have changed since it began.
    pinned_rows: Vec<RecordBatch>,
    /// Emit deltas.
    emits: bool,
    /// Keep the list of groups that a step touches.
    notes_groups: bool,
    /// Rows of touched groups as they were before the step.
    before: Vec<RecordBatch>,
    /// By group: the end of its window. Kept only under EMIT ON WINDOW CLOSE.
    window_ends: Vec<i64>,
    first_end: i64,
    groups: Vec<u32>,
    /// Bytes of `before`.
    before_bytes: usize,
    /// Rows that are in ranges of windows, not yet in these.
    spans: Option<Spans>,
    /// Adding them failed between two steps.
    unsettled: Option<SqlError>,
    budget: Arc<Budget>,
}

/// The states of a call; `None` if rows are all that it counts.
fn state_of(
    call: &AggregateCall,
    spec: &AggregateSpec,
    budget: &Arc<Budget>,
) -> Result<Option<Box<dyn AggregateState>>, SqlError> {
    Ok(Some(match call {
        AggregateCall::Rows => return Ok(None),
        AggregateCall::Values { shown, data_type, .. } => {
            Box::new(ValueCounts::new(*shown, data_type.clone(), budget.clone())?)
        }
        AggregateCall::Of {
            definition, distinct, ..
        } => {
            let state = state_for(definition, spec.append_only);
            let state = state.expect("compile asked whether it has an incremental form");
            match distinct {
                true => Box::new(DistinctValues::new(&definition.input, state, budget.clone())?),
                false => state,
            }
        }
        AggregateCall::Engine { call, runs: true, .. } => Box::new(RunningGroups::new(call.clone())),
        AggregateCall::Engine { call, .. } => Box::new(GroupRows::new(call.clone(), budget.clone())?),
    }))
}

impl GroupBy {
    pub fn new(spec: Arc<AggregateSpec>, budget: Arc<Budget>) -> Result<GroupBy, SqlError> {
        let stored: Vec<DataType> = spec
            .keys
            .iter()
            .zip(spec.schema.fields())
            .filter(|(key, _)| matches!(key, GroupKey::Stored(_)))
            .map(|(_, field)| field.data_type().clone())
            .collect();
        let states = spec.calls.iter().map(|call| state_of(call, &spec, &budget));
        let states = states.collect::<Result<_, SqlError>>()?;
        let mut aggregate = GroupBy {
            keys: Keys::new(&stored, budget.clone())?,
            sessions: spec
                .sessions
                .as_ref()
                .map(|keys| SessionGroups::new(keys.rules.clone())),
            states,
            rows: Vec::new(),
            was_there: Vec::new(),
            touched: Vec::new(),
            touched_groups: Vec::new(),
            live_groups: 0,
            settled: true,
            stepped: false,
            stale_chunks: Vec::new(),
            pinned: None,
            pinned_rows: Vec::new(),
            emits: false,
            notes_groups: !spec.append_only,
            before: Vec::new(),
            window_ends: Vec::new(),
            first_end: i64::MAX,
            groups: Vec::new(),
            before_bytes: 0,
            spans: Spans::of(&spec, &stored, budget.clone())?,
            unsettled: None,
            budget,
            spec,
        };
        assert!(
            aggregate.spec.closes_by.is_none() || aggregate.spec.append_only,
            "windows close over topics, and those only grow"
        );
        if !aggregate.spec.always.is_empty() {
            let always = aggregate.spec.clone();
            aggregate
                .keys
                .intern(&always.always, aggregate.always(), &mut aggregate.groups)?;
        }
        aggregate.make_room()?;
        Ok(aggregate)
    }

    /// The number of groups that exist.
    pub fn live_groups(&self) -> usize {
        let joined = self.sessions.as_ref().map_or(0, SessionGroups::dead);
        match self.notes_groups {
            true => self.live_groups,
            false => self.rows.len() - joined,
        }
    }

    /// The number of groups that have a number.
    fn numbered(&self) -> usize {
        self.sessions.as_ref().map_or(self.keys.len(), SessionGroups::len)
    }

    /// The stored keys of `groups`.
    fn stored(&self, groups: &[u32]) -> Result<Vec<ArrayRef>, SqlError> {
        match &self.sessions {
            None => self.keys.columns(groups),
            Some(sessions) => self.keys.columns(&sessions.keys(groups)),
        }
    }

    /// A group's row stays as it is while it is there.
    fn rows_stay(&self) -> bool {
        self.spec.calls.is_empty() && self.sessions.is_none()
    }

    /// The first groups, so many, are there over no rows, too.
    fn always(&self) -> usize {
        match self.spec.always.first() {
            Some(keys) => keys.len(),
            None => usize::from(self.spec.keys.is_empty()),
        }
    }

    /// Brings all that is indexed by group to the number of groups; 53200 if that would pass the budget.
    fn make_room(&mut self) -> Result<(), SqlError> {
        let groups = self.numbered();
        if groups == self.rows.len() {
            return Ok(());
        }
        if groups > self.rows.capacity() {
            // All of them grow together, to twice their size.
            let bytes = self.column_bytes();
            if !self.budget.fits(bytes) {
                return Err(exceeded(self.bytes() + bytes, self.budget.bytes_max()));
            }
        }
        self.rows.resize(groups, 0);
        for state in self.states.iter_mut().flatten() {
            state.resize(groups);
        }
        if self.notes_groups {
            self.was_there.resize(groups, false);
            self.touched.resize(groups, false);
        }
        self.stale_chunks.resize(groups.div_ceil(CHUNK_GROUPS), true);
        Ok(())
    }

    /// Bytes of the columns that are indexed by group.
    fn column_bytes(&self) -> usize {
        let states: usize = self.states.iter().flatten().map(|state| state.bytes()).sum();
        let flags = self.was_there.capacity() + self.touched.capacity();
        let sessions = self.sessions.as_ref().map_or(0, SessionGroups::bytes);
        self.rows.capacity() * size_of::<i64>()
            + self.window_ends.capacity() * size_of::<i64>()
            + flags
            + states
            + sessions
    }

    fn is_there(&self, group: u32) -> bool {
        (group as usize) < self.always() || self.rows[group as usize] > 0
    }

    /// The rows of `groups`.
    fn render(&self, groups: &[u32]) -> Result<RecordBatch, SqlError> {
        let mut stored = self.stored(groups)?.into_iter();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.spec.schema.fields().len());
        for (key, field) in self.spec.keys.iter().zip(self.spec.schema.fields()) {
            columns.push(match key {
                GroupKey::Session(bound) => {
                    let sessions = self.sessions.as_ref().expect("bounds are those of sessions");
                    sessions.bound(groups, *bound, field.data_type())
                }
                GroupKey::Stored(_) => stored.next().expect("one column per stored key"),
                // Filled in below: it may stand before the column that it follows from.
                GroupKey::After { .. } => Arc::new(Int64Array::new_null(0)),
            });
        }
        for (index, key) in self.spec.keys.iter().enumerate() {
            if let GroupKey::After { of, add_us } = key {
                let start = columns[*of].as_primitive::<TimestampMicrosecondType>();
                let zone = start.timezone().map(str::to_owned);
                let end: TimestampMicrosecondArray = start.unary(|start| start.saturating_add(*add_us));
                columns[index] = Arc::new(end.with_timezone_opt(zone));
            }
        }
        for state in &self.states {
            columns.push(match state {
                None => Arc::new(Int64Array::from_iter_values(
                    groups.iter().map(|group| self.rows[*group as usize]),
                )),
                Some(state) => state.finish(groups)?,
            });
        }
        batch_of(self.spec.schema.clone(), columns, groups.len())
    }

    /// Keeps the rows of `groups`, which this batch changes, for a reading under way.
    fn keep_pinned(&mut self, groups: &[u32]) -> Result<(), SqlError> {
        let Some(pinned) = &mut self.pinned else {
            return Ok(());
        };
        let mut first = pinned.change(groups);
        first.retain(|group| self.is_there(*group));
        if !first.is_empty() {
            let rows = self.render(&first)?;
            self.pinned_rows.push(rows);
        }
        Ok(())
    }

    /// Notes which of `groups` this batch touches first in this step, and their rows as they were.
    fn note_touched(&mut self, groups: &[u32]) -> Result<(), SqlError> {
        let rows_stay = self.rows_stay();
        let mut first = Vec::new();
        for group in groups {
            let touched = &mut self.touched[*group as usize];
            if !*touched {
                *touched = true;
                self.touched_groups.push(*group);
                if self.emits && self.was_there[*group as usize] && !rows_stay {
                    first.push(*group);
                }
            }
        }
        if !first.is_empty() {
            let rows = self.render(&first)?;
            self.before_bytes += batch_bytes(&rows);
            self.before.push(rows);
        }
        Ok(())
    }

    /// Notes the window ends of groups that this batch made, from `known` on.
    fn note_window_ends(&mut self, keys: &[ArrayRef], known: usize) {
        let Some(closes_by) = &self.spec.closes_by else { return };
        let bounds = keys[closes_by.stored_key].as_primitive::<TimestampMicrosecondType>();
        if self.keys.len() == known {
            return;
        }
        // New groups are numbered in the order of their first rows.
        for (row, group) in self.groups.iter().enumerate() {
            if *group as usize == self.window_ends.len() {
                let end = bounds.value(row).saturating_add(closes_by.to_end_us);
                self.first_end = self.first_end.min(end);
                self.window_ends.push(end);
            }
        }
        assert_eq!(self.window_ends.len(), self.keys.len(), "each group has a window");
    }

    /// Keeps only `groups`, rising.
    fn keep(&mut self, groups: &[u32]) {
        match &mut self.sessions {
            None => self.keys.keep(groups),
            // Each key has a session.
            Some(sessions) => sessions.keep(groups),
        }
        for state in self.states.iter_mut().flatten() {
            state.keep(groups);
        }
        self.rows = groups.iter().map(|group| self.rows[*group as usize]).collect();
        if self.notes_groups {
            self.was_there = groups.iter().map(|group| self.was_there[*group as usize]).collect();
            self.touched = vec![false; groups.len()];
        }
        if self.spec.closes_by.is_some() {
            self.window_ends = groups.iter().map(|group| self.window_ends[*group as usize]).collect();
            self.first_end = self.window_ends.iter().copied().min().unwrap_or(i64::MAX);
        }
        self.stale_chunks = vec![true; groups.len().div_ceil(CHUNK_GROUPS)];
    }

    /// Emits the groups whose windows have closed, and forgets them.
    fn close_windows(&mut self, end: &StepEnd, out: &mut Sink<'_>) -> Result<(), SqlError> {
        let closes_by = self
            .spec
            .closes_by
            .as_ref()
            .expect("asked only under EMIT ON WINDOW CLOSE");
        let Some(watermark) = end.least_watermark(&closes_by.topics) else {
            return Ok(());
        };
        let is_closed = |end: i64| end.saturating_add(closes_by.allowed_lateness_us) <= watermark;
        if !is_closed(self.first_end) {
            return Ok(());
        }
        let (closed, open): (Vec<u32>, Vec<u32>) =
            (0..self.window_ends.len() as u32).partition(|group| is_closed(self.window_ends[*group as usize]));
        for groups in closed.chunks(CHUNK_GROUPS) {
            out(Delta::added(self.render(groups)?))?;
        }
        self.keep(&open);
        Ok(())
    }

    /// Ends the step for the groups that it touched: checks V4, decides which of them exist, and emits the changes.
    fn settle_touched(&mut self, out: &mut Sink<'_>) -> Result<(), SqlError> {
        for group in 0..self.always() {
            if !self.was_there[group] && !self.touched[group] {
                // The one row of an aggregate without keys exists from the first step on, over no rows too.
                self.touched[group] = true;
                self.touched_groups.push(group as u32);
            }
        }
        let rows_stay = self.rows_stay();
        let mut there = Vec::with_capacity(self.touched_groups.len());
        let mut gone = Vec::new();
        for group in &self.touched_groups {
            let index = *group as usize;
            assert!(
                self.rows[index] >= 0,
                "V4: more rows of a group were taken away than were added"
            );
            let (was_there, is_there) = (self.was_there[index], self.is_there(*group));
            if is_there && !(was_there && rows_stay) {
                there.push(*group);
            }
            if was_there && !is_there && rows_stay {
                gone.push(*group);
            }
            self.live_groups += usize::from(is_there);
            self.live_groups -= usize::from(was_there);
            self.was_there[index] = is_there;
            self.touched[index] = false;
        }
        if self.emits {
            self.before_bytes = 0;
            for rows in std::mem::take(&mut self.before) {
                let weights = constant_weights(-1, rows.num_rows());
                out(Delta::weighted(rows, weights))?;
            }
            for groups in gone.chunks(CHUNK_GROUPS) {
                let weights = constant_weights(-1, groups.len());
                out(Delta::weighted(self.render(groups)?, weights))?;
            }
            for groups in there.chunks(CHUNK_GROUPS) {
                out(Delta::added(self.render(groups)?))?;
            }
        }
        Ok(())
    }

    /// At the first call of a step: forgets the groups that the last one touched, and dead groups if there are many.
    fn begin_step(&mut self) {
        if !self.settled {
            return;
        }
        self.settled = false;
        self.touched_groups.clear();
        // Numbers stay as they are while they are read.
        if !self.spec.keys.is_empty() && self.pinned.is_none() {
            let live = self.live_groups();
            let dead = self.rows.len() - live;
            if dead > DEAD_GROUPS_MIN && dead > live {
                let live: Vec<u32> = (0..self.rows.len() as u32)
                    .filter(|group| self.is_there(*group))
                    .collect();
                self.keep(&live);
            }
        }
    }
}

impl GroupBy {
    /// Takes one delta of the current step.
    pub fn push(&mut self, delta: &Delta) -> Result<(), SqlError> {
        if let Some(spans) = &mut self.spans {
            return spans.push(delta);
        }
        let rows = delta.rows();
        let mut stored = Vec::with_capacity(self.spec.keys.len());
        for key in &self.spec.keys {
            if let GroupKey::Stored(expression) = key {
                stored.push(expression.evaluate(&delta.batch)?);
            }
        }
        let weights = delta.weight_values();
        let times = self
            .spec
            .sessions
            .as_ref()
            .map(|sessions| sessions.time.evaluate(&delta.batch));
        let times = times.transpose()?;
        let times = times
            .as_ref()
            .map(|times| times.as_primitive::<TimestampMicrosecondType>());
        self.enter(&stored, times.map(|times| times.values().as_ref()), rows, weights)?;
        for (call, state) in self.spec.calls.iter().zip(&mut self.states) {
            let Some(state) = state else { continue };
            let (argument, filter, is_typed) = match call {
                AggregateCall::Rows => continue,
                AggregateCall::Values { argument, filter, .. } => (argument, filter, false),
                AggregateCall::Of { argument, filter, .. } => (argument, filter, true),
                AggregateCall::Engine { call, filter, .. } => {
                    take_rows_where(delta, &self.groups, call, filter.as_ref(), &mut **state)?;
                    continue;
                }
            };
            let mut values = match filter {
                None => argument.evaluate(&delta.batch)?,
                Some(filter) => {
                    let keep = filter.evaluate_bool(&delta.batch)?;
                    argument_where(argument, &keep, delta)?
                }
            };
            if is_typed && values.data_type() == &DataType::Null {
                // count(NULL): typed so that it has a null buffer to look at.
                values = arrow::array::new_null_array(&DataType::Boolean, rows);
            }
            state.update(&self.groups, &[values], weights)?;
        }
        self.join_sessions()
    }

    /// Adds the groups of sessions that this batch joins to one another.
    fn join_sessions(&mut self) -> Result<(), SqlError> {
        let joined = self.sessions.as_mut().map_or_else(Vec::new, SessionGroups::join);
        if joined.is_empty() {
            return Ok(());
        }
        for JoinedGroups { to, from } in &joined {
            self.rows[*to as usize] += std::mem::take(&mut self.rows[*from as usize]);
        }
        let mut states = self.states.iter_mut().flatten();
        states.try_for_each(|state| state.join(&joined))
    }

    /// Counts rows with these keys to their groups, into `groups`; for sessions, with these times.
    fn enter(
        &mut self,
        stored: &[ArrayRef],
        times: Option<&[i64]>,
        rows: usize,
        weights: Option<&[i64]>,
    ) -> Result<(), SqlError> {
        self.begin_step();
        let known = self.keys.len();
        let mut groups = std::mem::take(&mut self.groups);
        self.keys.intern(stored, rows, &mut groups)?;
        let mut joining = Vec::new();
        if let (Some(sessions), Some(times)) = (&mut self.sessions, times) {
            let keys = std::mem::take(&mut groups);
            sessions.assign(&keys, times, self.keys.len(), &mut groups);
            joining = sessions.joining();
        }
        self.make_room()?;
        for changed in [&groups, &joining] {
            if self.notes_groups {
                self.note_touched(changed)?;
            }
            self.keep_pinned(changed)?;
            for group in changed {
                self.stale_chunks[*group as usize / CHUNK_GROUPS] = true;
            }
        }
        self.groups = groups;
        self.note_window_ends(stored, known);
        if let (Some(sessions), Some(times)) = (&mut self.sessions, times) {
            sessions.widen(&self.groups, times);
        }
        match weights {
            None => {
                for group in &self.groups {
                    self.rows[*group as usize] += 1;
                }
            }
            Some(weights) => {
                for (group, weight) in self.groups.iter().zip(weights) {
                    self.rows[*group as usize] += weight;
                }
            }
        }
        Ok(())
    }
}

impl Operator for GroupBy {
    fn finish(&mut self, end: &StepEnd, out: &mut Sink<'_>) -> Result<(), SqlError> {
        self.begin_step();
        if !self.may_defer_spans() {
            self.take_spans()?;
        }
        self.settled = true;
        self.stepped = true;
        if let (Some(sessions), Some(keys)) = (&mut self.sessions, &self.spec.sessions) {
            sessions.close(end.least_watermark(&keys.topics));
        }
        if self.spec.closes_by.is_some() {
            return self.close_windows(end, out);
        }
        if self.notes_groups {
            return self.settle_touched(out);
        }
        Ok(())
    }

    fn save(&self) -> Result<Vec<RecordBatch>, SqlError> {
        assert!(self.settled || !self.stepped, "saved between two steps");
        assert!(
            self.spans.as_ref().is_none_or(Spans::is_empty),
            "saved with all rows in their windows"
        );
        let all: Vec<u32> = (0..self.rows.len() as u32).collect();
        let stored = self.stored(&all)?;
        let mut fields: Vec<Field> = stored
            .iter()
            .enumerate()
            .map(|(index, column)| Field::new(format!("key{index}"), column.data_type().clone(), true))
            .collect();
        let mut columns = stored;
        fields.push(Field::new("rows", DataType::Int64, false));
        columns.push(Arc::new(Int64Array::from(self.rows.clone())));
        fields.push(Field::new("window_end", DataType::Int64, true));
        columns.push(if self.spec.closes_by.is_some() {
            Arc::new(Int64Array::from(self.window_ends.clone()))
        } else {
            Arc::new(Int64Array::new_null(all.len()))
        });
        let metadata = [("stepped".to_string(), self.stepped.to_string())].into();
        let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
        let mut saved = vec![batch_of(schema, columns, all.len())?];
        for state in self.states.iter().flatten() {
            saved.push(state.save()?);
        }
        if let Some(sessions) = &self.sessions {
            saved.push(sessions.save()?);
        }
        Ok(saved)
    }

    fn restore(&mut self, saved: &[RecordBatch]) -> Result<(), SqlError> {
        let groups = &saved[0];
        let count = groups.num_rows();
        let stored = groups.num_columns() - 2;
        let mut fresh = GroupBy::new(self.spec.clone(), self.budget.clone())?;
        let mut numbers = Vec::new();
        fresh.keys.intern(&groups.columns()[..stored], count, &mut numbers)?;
        let rows = groups.column(stored).as_primitive::<Int64Type>().values().to_vec();
        match (&mut fresh.sessions, saved.last()) {
            (Some(sessions), Some(saved)) => sessions.restore(saved, numbers, &rows),
            _ => assert!(
                numbers.iter().enumerate().all(|(row, group)| row == *group as usize),
                "a saved state has each group once, in order"
            ),
        }
        fresh.make_room()?;
        fresh.rows = rows;
        if fresh.spec.closes_by.is_some() {
            let ends = groups.column(stored + 1).as_primitive::<Int64Type>();
            fresh.window_ends = ends.values().to_vec();
            fresh.first_end = fresh.window_ends.iter().copied().min().unwrap_or(i64::MAX);
        }
        for (state, saved) in fresh.states.iter_mut().flatten().zip(&saved[1..]) {
            state.restore(saved, count)?;
        }
        fresh.stepped = groups
            .schema()
            .metadata()
            .get("stepped")
            .is_some_and(|stepped| stepped == "true");
        fresh.emits = self.emits;
        if self.notes_groups {
            fresh.notes_groups = false;
            fresh.note_groups();
        }
        *self = fresh;
        Ok(())
    }

    fn bytes(&self) -> usize {
        let spans = self.spans.as_ref().map_or(0, Spans::bytes);
        self.keys.bytes() + self.column_bytes() + self.before_bytes + spans
    }
}

/// Hands the rows where the FILTER is true to the state of an aggregate of the engine's.
fn take_rows_where(
    delta: &Delta,
    groups: &[u32],
    call: &EngineCall,
    filter: Option<&Expression>,
    state: &mut dyn AggregateState,
) -> Result<(), SqlError> {
    let columns = |delta: &Delta| -> Result<Vec<ArrayRef>, SqlError> {
        let columns = call.columns.iter().map(|column| column.evaluate(&delta.batch));
        columns.collect()
    };
    let Some(filter) = filter else {
        return state.update(groups, &columns(delta)?, delta.weight_values());
    };
    let keep = filter.evaluate_bool(&delta.batch)?;
    let kept = delta.filter(&keep)?;
    if kept.is_empty() {
        return Ok(());
    }
    let is_kept = |row: &usize| keep.is_valid(*row) && keep.value(*row);
    let groups: Vec<u32> = (0..delta.rows()).filter(is_kept).map(|row| groups[row]).collect();
    state.update(&groups, &columns(&kept)?, kept.weight_values())
}

/// The argument's values where the FILTER is true, NULL elsewhere. The argument is evaluated over those rows alone: it
/// cannot fail on others.
fn argument_where(
    argument: &Expression,
    keep: &arrow::array::BooleanArray,
    delta: &Delta,
) -> Result<ArrayRef, SqlError> {
    match argument.evaluate(&delta.batch) {
        Ok(values) if values.data_type() != &DataType::Null => masked(&values, keep),
        Ok(values) => Ok(values),
        Err(_) => {
            let kept = delta.filter(keep)?;
            let values = argument.evaluate(&kept.batch)?;
            // WindowSpread the values out again over the rows that they belong to.
            let mut next = 0u32;
            let rows: arrow::array::UInt32Array = (0..keep.len())
                .map(|row| {
                    let kept = keep.is_valid(row) && keep.value(row);
                    next += u32::from(kept);
                    kept.then(|| next - 1)
                })
                .collect();
            arrow::compute::take(&values, &rows, None).map_err(SqlError::from)
        }
    }
}
