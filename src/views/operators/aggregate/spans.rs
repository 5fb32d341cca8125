//! Rows that are in a range of windows each: gathered by range first, as a row that is in one window is, and added to the
//! groups of the windows together.
//!
//! One rule: the groups end up as if each row had come once for each of its windows. States of several rows are merged, and
//! those that depend on the order of rows do not get here (`states::merges`). So the cost of a row does not depend on the number of its
//! windows, as long as rows share their ranges and keys.
//!
//! Where nobody but readers asks for the groups and there are many, rows wait here for more than one step.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute;
use arrow::datatypes::{DataType, Field, Schema, TimestampMicrosecondType};

use crate::error::SqlError;

use super::super::net::PART_ROWS;
use super::super::{Operator, ReaderSource};
use super::{AggregateSpec, GroupBy, GroupKey};
use crate::views::delta::{Delta, take_rows};
use crate::views::expression::Expression;
use crate::views::memory::Budget;

/// From this many groups on rows may wait.
const DEFERRED_GROUPS_MIN: usize = 1 << 16;
/// Ranges that wait at most.
const DEFERRED_SPANS_MAX: usize = 1 << 18;

/// The ranges of windows that rows stand for.
#[derive(Clone, Debug)]
pub struct WindowSpread {
    /// The start of the first window, and the end of the last.
    pub bounds: [Expression; 2],
    /// The index of the stored key that is a bound, and which one.
    pub stored_key: usize,
    pub is_end: bool,
    pub slide_us: i64,
    pub size_us: i64,
}

/// Rows of the present step, by range and by the other keys.
pub struct Spans {
    gathered: Box<GroupBy>,
    rows: usize,
}

impl Spans {
    /// Of an aggregate with these stored keys.
    pub fn of(spec: &Arc<AggregateSpec>, stored: &[DataType], budget: Arc<Budget>) -> Result<Option<Spans>, SqlError> {
        let Some(spread) = &spec.spread else { return Ok(None) };
        let keys = spec.keys.iter().filter(|key| matches!(key, GroupKey::Stored(_)));
        let mut gathered_keys: Vec<GroupKey> = spread.bounds.iter().cloned().map(GroupKey::Stored).collect();
        let mut fields: Vec<Field> = ["first", "last"]
            .map(|name| Field::new(name, stored[spread.stored_key].clone(), true))
            .to_vec();
        for (index, key) in keys.enumerate() {
            if index != spread.stored_key {
                gathered_keys.push(key.clone());
                fields.push(Field::new(format!("key{index}"), stored[index].clone(), true));
            }
        }
        let calls = spec.schema.fields().iter().skip(spec.keys.len());
        fields.extend(calls.map(|field| field.as_ref().clone()));
        let gathered = AggregateSpec {
            keys: gathered_keys,
            schema: Arc::new(Schema::new(fields)),
            append_only: true,
            always: Vec::new(),
            closes_by: None,
            spread: None,
            sessions: None,
            ..(**spec).clone()
        };
        Ok(Some(Spans {
            gathered: Box::new(GroupBy::new(Arc::new(gathered), budget)?),
            rows: 0,
        }))
    }

    pub fn push(&mut self, delta: &Delta) -> Result<(), SqlError> {
        self.rows += delta.rows();
        self.gathered.push(delta)
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    pub fn bytes(&self) -> usize {
        self.gathered.bytes()
    }
}

impl GroupBy {
    /// Whether the rows of ranges may wait until a reader comes.
    pub(super) fn may_defer_spans(&self) -> bool {
        let few = |spans: &Spans| spans.gathered.rows.len() < DEFERRED_SPANS_MAX;
        !self.notes_groups
            && self.spec.closes_by.is_none()
            && self.rows.len() > DEFERRED_GROUPS_MIN
            && self.spans.as_ref().is_some_and(few)
    }

    /// As [`ReaderSource::catch_up`]; the next step meets an error.
    pub(super) fn settle_spans(&mut self) {
        let waits = self.spans.as_ref().is_some_and(|spans| !spans.is_empty());
        // Rows that do not fit now stay where they are, and the step that takes them fails.
        if waits && let Err(error) = self.catch_up() {
            self.unsettled = Some(error);
        }
    }

    /// Adds the rows of ranges to the groups of their windows.
    pub(super) fn take_spans(&mut self) -> Result<(), SqlError> {
        if let Some(error) = self.unsettled.take() {
            return Err(error);
        }
        let spec = self.spec.clone();
        let (Some(spread), Some(spans)) = (&spec.spread, self.spans.take()) else {
            return Ok(());
        };
        if spans.is_empty() {
            self.spans = Some(spans);
            return Ok(());
        }
        let gathered = spans.gathered;
        let all: Vec<u32> = (0..gathered.rows.len() as u32).collect();
        let keys = gathered.keys.columns(&all)?;
        let saved: Vec<Option<RecordBatch>> = gathered
            .states
            .iter()
            .map(|state| state.as_ref().map(|state| state.save()).transpose())
            .collect::<Result<_, SqlError>>()?;
        let bounds = [0, 1].map(|bound| keys[bound].as_primitive::<TimestampMicrosecondType>());
        let (mut sources, mut shown) = (Vec::new(), Vec::new());
        for row in &all {
            let [first, last] = bounds.map(|bounds| bounds.value(*row as usize));
            let mut end = first.saturating_add(spread.size_us);
            loop {
                sources.push(*row);
                shown.push(match spread.is_end {
                    true => end,
                    false => end.saturating_sub(spread.size_us),
                });
                if sources.len() == PART_ROWS {
                    self.enter_spans(&gathered, &keys, &saved, &mut sources, &mut shown)?;
                }
                if end >= last {
                    break;
                }
                end = end.saturating_add(spread.slide_us);
            }
        }
        self.enter_spans(&gathered, &keys, &saved, &mut sources, &mut shown)?;
        self.spans = Some(Spans {
            gathered: Box::new(GroupBy::new(gathered.spec.clone(), self.budget.clone())?),
            rows: 0,
        });
        Ok(())
    }

    /// Adds gathered groups to the groups of windows: `sources` by number, `shown` the bound of each window.
    fn enter_spans(
        &mut self,
        gathered: &GroupBy,
        keys: &[ArrayRef],
        saved: &[Option<RecordBatch>],
        sources: &mut Vec<u32>,
        shown: &mut Vec<i64>,
    ) -> Result<(), SqlError> {
        let spread = self.spec.spread.clone().expect("asked only where there is one");
        let weights: Vec<i64> = sources.iter().map(|source| gathered.rows[*source as usize]).collect();
        let sources = UInt32Array::from(std::mem::take(sources));
        let zone = keys[0].as_primitive::<TimestampMicrosecondType>().timezone();
        let shown = TimestampMicrosecondArray::from(std::mem::take(shown)).with_timezone_opt(zone.map(str::to_owned));
        let mut stored: Vec<ArrayRef> = Vec::with_capacity(keys.len() - 1);
        for key in &keys[2..] {
            stored.push(compute::take(key, &sources, None)?);
        }
        stored.insert(spread.stored_key, Arc::new(shown));
        self.enter(&stored, None, sources.len(), Some(&weights))?;
        for (state, saved) in self.states.iter_mut().zip(saved) {
            if let (Some(state), Some(saved)) = (state, saved) {
                state.merge(&self.groups, &take_rows(saved, &sources)?)?;
            }
        }
        Ok(())
    }
}
