//! SESSION as an operator: the rows of each key in the order of their times, and the sessions that they make.
//!
//! One rule: after a step the output is each row that is there under the bounds of its session. A step's rows are taken in
//! first; when it ends, the sessions near them are made anew, and the rows of those whose bounds have changed are taken back under
//! the old ones and shown under the new ones. So a row that comes between two sessions joins them, and one that leaves splits them.
//!
//! - Under EMIT ON WINDOW CLOSE nothing comes out before its session has closed.
//! - Below an aggregate of whole sessions of input that only grows, rows come out under the number of their session in place of
//!   its bounds ([`ShownSession::Number`]). Only where sessions join do rows come out again: those of all but the largest.
//! - If states of that aggregate can be added to one another, it finds the sessions itself, and no row is kept (`alone.rs`).
//! - A closed session never changes again (`sql::window::SessionRules`), so its rows are forgotten.

mod alone;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};

use crate::error::SqlError;
use crate::log::TopicId;
use crate::sql::window::SessionRules;

use super::aggregate::keys::Keys;
use super::net::{PART_ROWS, exact_rows, weighted};
use super::window::{from_weight_column, with_weight_column};
use super::{Closes, Operator, Ported, Sink, StepEnd};
use crate::views::delta::{Delta, batch_of, take_rows};
use crate::views::memory::Budget;

pub use alone::LoneSessions;

/// What stands in the columns of the bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShownSession {
    Bounds,
    /// The number of the session, which no other has and which stays as rows come; and the end that the row alone would give it.
    Number,
    /// The bounds that the row alone would give it.
    Alone,
}

/// The constants of a session operator.
#[derive(Clone, Debug)]
pub struct SessionSpec {
    pub sessions: SessionRules,
    /// Topics whose watermarks close the sessions; empty if they never close.
    pub topics: Vec<TopicId>,
    pub allowed_lateness_us: i64,
    /// Hold rows back until their session has closed.
    pub buffers: bool,
    pub append_only: bool,
    pub shown: ShownSession,
    pub text: String,
}

#[derive(Clone, Copy)]
struct KeptSession {
    last_us: i64,
    number: i64,
    /// Copies of its rows, where `append_only`.
    rows: i64,
}

/// A session in its place.
#[derive(Clone, Copy)]
struct PlacedSession {
    start_us: i64,
    session: KeptSession,
}

/// Copies of a row.
#[derive(Clone, Copy, Default)]
struct Copies {
    now: i64,
    /// Those that have come out.
    shown: i64,
}

pub struct SessionOperator {
    spec: Arc<SessionSpec>,
    row_schema: SchemaRef,
    keys: Keys,
    rows: Keys,
    /// By row.
    copies: Vec<Copies>,
    /// Key, time and number of each row that is there or has come out.
    order: BTreeSet<(u32, i64, u32)>,
    /// By key and start.
    sessions: BTreeMap<(u32, i64), KeptSession>,
    /// End, key and start of each session, if they close.
    ends: BTreeSet<(i64, u32, i64)>,
    /// Key and time of the step's rows, and the rows.
    touched: Vec<(u32, i64, u32)>,
    next_number: i64,
    late_rows: u64,
    null_rows: u64,
    /// Rows that are not there any more.
    gone: usize,
    budget: Arc<Budget>,
}

/// Rows on their way out.
struct Output<'a, 'b> {
    rows: Vec<u32>,
    bounds: [Vec<i64>; 2],
    weights: Vec<i64>,
    sink: &'a mut Sink<'b>,
}

impl SessionOperator {
    pub fn new(spec: Arc<SessionSpec>, budget: Arc<Budget>) -> Result<SessionOperator, SqlError> {
        let row_schema = spec.sessions.row_schema();
        let places = spec.sessions.keys().iter().map(|key| spec.sessions.row_column(*key));
        let types: Vec<DataType> = places
            .map(|place| row_schema.field(place).data_type().clone())
            .collect();
        Ok(SessionOperator {
            keys: Keys::new(&types, budget.clone())?,
            rows: exact_rows(&row_schema, budget.clone())?,
            row_schema,
            spec,
            copies: Vec::new(),
            order: BTreeSet::new(),
            sessions: BTreeMap::new(),
            ends: BTreeSet::new(),
            touched: Vec::new(),
            next_number: 0,
            late_rows: 0,
            null_rows: 0,
            gone: 0,
            budget,
        })
    }

    /// Takes in rows without their watermarks, which are in sessions.
    fn take(&mut self, rows: &Delta) -> Result<(), SqlError> {
        let columns = rows.batch.columns();
        let places = self.spec.sessions.keys().iter();
        let key_columns: Vec<_> = places
            .map(|key| columns[self.spec.sessions.row_column(*key)].clone())
            .collect();
        let (mut keys, mut numbers) = (Vec::new(), Vec::new());
        self.keys.intern(&key_columns, rows.rows(), &mut keys)?;
        self.rows.intern(columns, rows.rows(), &mut numbers)?;
        self.copies.resize(self.rows.len(), Copies::default());
        let times = self.spec.sessions.times(columns);
        rows.each(|at, weight| {
            let (key, time, row) = (keys[at], times.value(at), numbers[at]);
            self.copies[row as usize].now += weight;
            self.touched.push((key, time, row));
        });
        Ok(())
    }

    /// The sessions of a key that a row at this time is in, or would join: two at most.
    fn near(&self, key: u32, time: i64) -> impl Iterator<Item = PlacedSession> + '_ {
        let rules = &self.spec.sessions;
        let before = self.sessions.range((key, i64::MIN)..=(key, time)).next_back();
        let before = before.filter(move |(_, session)| rules.continues(session.last_us, time));
        let after = (time < i64::MAX).then(|| self.sessions.range((key, time + 1)..=(key, i64::MAX)).next());
        let after = after
            .flatten()
            .filter(move |((_, start), _)| rules.continues(time, *start));
        before
            .into_iter()
            .chain(after)
            .map(|((_, start_us), session)| PlacedSession {
                start_us: *start_us,
                session: *session,
            })
    }

    /// Makes the sessions near the step's rows anew.
    fn regroup(&mut self, out: &mut Output<'_, '_>) -> Result<(), SqlError> {
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        let mut from = 0;
        while from < touched.len() {
            let (key, first, _) = touched[from];
            // Rows and sessions that no other is near.
            let mut old: Vec<PlacedSession> = Vec::new();
            let (mut low, mut high) = (first, first);
            let mut to = from;
            while let Some((of, time, _)) = touched.get(to).copied() {
                let near: Vec<PlacedSession> = self.near(key, time).collect();
                let begin = near.first().map_or(time, |placed| placed.start_us.min(time));
                if of != key || (to > from && !self.spec.sessions.continues(high, begin)) {
                    break;
                }
                low = low.min(begin);
                high = high.max(time);
                for placed in near {
                    high = high.max(placed.session.last_us);
                    if old.last().is_none_or(|last| last.start_us < placed.start_us) {
                        old.push(placed);
                    }
                }
                to += 1;
            }
            let rows = &touched[from..to];
            self.order.extend(rows);
            for placed in &old {
                self.sessions.remove(&(key, placed.start_us));
                self.ends
                    .remove(&(self.spec.sessions.end(placed.session.last_us), key, placed.start_us));
            }
            match self.spec.append_only {
                true => self.join(key, &old, rows, out)?,
                false => self.split_and_join(key, &old, low..=high, out)?,
            }
            from = to;
        }
        Ok(())
    }

    fn place(&mut self, key: u32, placed: PlacedSession) {
        if !self.spec.topics.is_empty() {
            let end = self.spec.sessions.end(placed.session.last_us);
            self.ends.insert((end, key, placed.start_us));
        }
        self.sessions.insert((key, placed.start_us), placed.session);
    }

    /// Input that only grows: sessions only join, so their rows need not be looked at.
    fn join(
        &mut self,
        key: u32,
        old: &[PlacedSession],
        touched: &[(u32, i64, u32)],
        out: &mut Output<'_, '_>,
    ) -> Result<(), SqlError> {
        let (mut old, mut touched) = (old, touched);
        while !old.is_empty() || !touched.is_empty() {
            // The next session: whatever continues what begins first.
            let (mut joined, mut rows) = (0, 0);
            let start = match (old.first(), touched.first()) {
                (Some(placed), Some((_, time, _))) => placed.start_us.min(*time),
                (Some(placed), None) => placed.start_us,
                (None, Some((_, time, _))) => *time,
                (None, None) => unreachable!("the loop's condition"),
            };
            let mut last = start;
            loop {
                if let Some(placed) = old.get(joined)
                    && self.spec.sessions.continues(last, placed.start_us)
                {
                    last = last.max(placed.session.last_us);
                    joined += 1;
                } else if let Some((_, time, _)) = touched.get(rows)
                    && self.spec.sessions.continues(last, *time)
                {
                    last = last.max(*time);
                    rows += 1;
                } else {
                    break;
                }
            }
            let (parts, new) = (&old[..joined], &touched[..rows]);
            (old, touched) = (&old[joined..], &touched[rows..]);
            let largest = parts.iter().max_by_key(|placed| placed.session.rows);
            let number = match largest {
                Some(placed) => placed.session.number,
                None => {
                    self.next_number += 1;
                    self.next_number
                }
            };
            let added = new.iter().map(|(_, _, row)| {
                let copies = self.copies[*row as usize];
                copies.now - copies.shown
            });
            let session = KeptSession {
                last_us: last,
                number,
                rows: parts.iter().map(|placed| placed.session.rows).sum::<i64>() + added.sum::<i64>(),
            };
            let placed = PlacedSession {
                start_us: start,
                session,
            };
            if !self.spec.buffers {
                for part in parts {
                    if self.bounds(part, 0)[0] != self.bounds(&placed, 0)[0]
                        || (self.spec.shown == ShownSession::Bounds && part.session.last_us != last)
                    {
                        self.show_again(key, part, &placed, out)?;
                    }
                }
                for (_, time, row) in new {
                    let copies = &mut self.copies[*row as usize];
                    let added = copies.now - std::mem::replace(&mut copies.shown, copies.now);
                    let bounds = self.bounds(&placed, *time);
                    self.show(*row, bounds, added, out)?;
                }
            }
            self.place(key, placed);
        }
        Ok(())
    }

    /// The columns of the bounds, for a row at this time.
    fn bounds(&self, placed: &PlacedSession, time: i64) -> [i64; 2] {
        match self.spec.shown {
            ShownSession::Bounds => [placed.start_us, self.spec.sessions.end(placed.session.last_us)],
            ShownSession::Number => [placed.session.number, self.spec.sessions.end(time)],
            ShownSession::Alone => unreachable!("sessions are found by the aggregate above"),
        }
    }

    /// Takes the rows of a session back, and shows them as those of another.
    fn show_again(
        &self,
        key: u32,
        old: &PlacedSession,
        new: &PlacedSession,
        out: &mut Output<'_, '_>,
    ) -> Result<(), SqlError> {
        let of_session = (key, old.start_us, 0)..=(key, old.session.last_us, u32::MAX);
        for (_, time, row) in self.order.range(of_session) {
            let shown = self.copies[*row as usize].shown;
            if shown != 0 {
                self.show(*row, self.bounds(old, *time), -shown, out)?;
                self.show(*row, self.bounds(new, *time), shown, out)?;
            }
        }
        Ok(())
    }

    /// Rows may have left: the sessions are found from the rows that are there.
    fn split_and_join(
        &mut self,
        key: u32,
        old: &[PlacedSession],
        range: std::ops::RangeInclusive<i64>,
        out: &mut Output<'_, '_>,
    ) -> Result<(), SqlError> {
        let range = (key, *range.start(), 0)..=(key, *range.end(), u32::MAX);
        let rows: Vec<(i64, u32)> = self.order.range(range).map(|(_, time, row)| (*time, *row)).collect();
        let mut new: Vec<PlacedSession> = Vec::new();
        for (time, row) in &rows {
            let copies = self.copies[*row as usize].now;
            assert!(copies >= 0, "V4: a row was taken away more often than it was added");
            match new.last_mut() {
                _ if copies == 0 => {}
                Some(placed) if self.spec.sessions.continues(placed.session.last_us, *time) => {
                    placed.session.last_us = *time;
                }
                _ => new.push(PlacedSession {
                    start_us: *time,
                    session: KeptSession {
                        last_us: *time,
                        number: 0,
                        rows: 0,
                    },
                }),
            }
        }
        let (mut was, mut is) = (old.iter().peekable(), new.iter().peekable());
        for (time, row) in rows {
            while was.next_if(|placed| placed.session.last_us < time).is_some() {}
            while is.next_if(|placed| placed.session.last_us < time).is_some() {}
            let copies = self.copies[row as usize];
            if !self.spec.buffers {
                let before = was.peek().filter(|_| copies.shown != 0);
                let before = before.map(|placed| self.bounds(placed, time));
                let after = is.peek().filter(|_| copies.now != 0);
                let after = after.map(|placed| self.bounds(placed, time));
                match (before, after) {
                    (Some(before), Some(after)) if before == after => {
                        self.show(row, after, copies.now - copies.shown, out)?;
                    }
                    _ => {
                        if let Some(before) = before {
                            self.show(row, before, -copies.shown, out)?;
                        }
                        if let Some(after) = after {
                            self.show(row, after, copies.now, out)?;
                        }
                    }
                }
                self.copies[row as usize].shown = copies.now;
            }
            if copies.now == 0 {
                self.order.remove(&(key, time, row));
                self.gone += 1;
            }
        }
        for placed in new {
            self.place(key, placed);
        }
        Ok(())
    }

    fn show(&self, row: u32, bounds: [i64; 2], weight: i64, out: &mut Output<'_, '_>) -> Result<(), SqlError> {
        if weight == 0 {
            return Ok(());
        }
        out.rows.push(row);
        for (column, bound) in out.bounds.iter_mut().zip(bounds) {
            column.push(bound);
        }
        out.weights.push(weight);
        match out.rows.len() >= PART_ROWS {
            true => self.flush(out),
            false => Ok(()),
        }
    }

    fn flush(&self, out: &mut Output<'_, '_>) -> Result<(), SqlError> {
        if out.rows.is_empty() {
            return Ok(());
        }
        let columns = self.rows.columns(&std::mem::take(&mut out.rows))?;
        let batch = self.spec.sessions.output(columns, std::mem::take(&mut out.bounds))?;
        (out.sink)(weighted(batch, std::mem::take(&mut out.weights)))
    }

    /// Forgets the sessions that have closed; those that were held back come out.
    fn close(&mut self, watermark: i64, out: &mut Output<'_, '_>) -> Result<(), SqlError> {
        while let Some((end, key, start_us)) = self.ends.first().copied() {
            if !self.spec.sessions.is_closed(end, Some(watermark)) {
                break;
            }
            self.ends.pop_first();
            let session = self.sessions.remove(&(key, start_us)).expect("a session has its end");
            let of_session = (key, start_us, 0)..=(key, session.last_us, u32::MAX);
            let rows: Vec<(u32, i64, u32)> = self.order.range(of_session).copied().collect();
            let placed = PlacedSession { start_us, session };
            for of_row in &rows {
                let (_, time, row) = *of_row;
                if self.spec.buffers {
                    let copies = self.copies[row as usize].now;
                    self.show(row, self.bounds(&placed, time), copies, out)?;
                }
                self.order.remove(of_row);
                self.gone += 1;
            }
            for (_, _, row) in rows {
                self.copies[row as usize] = Copies::default();
            }
        }
        self.flush(out)
    }

    /// Lets go of rows and keys that are not there any more.
    fn drop_gone(&mut self) -> Result<(), SqlError> {
        self.gone = 0;
        let mut rows: Vec<u32> = self.order.iter().map(|(_, _, row)| *row).collect();
        if rows.len() >= self.copies.len() / 2 {
            return Ok(());
        }
        rows.sort_unstable();
        let mut keys: Vec<u32> = self.sessions.keys().map(|(key, _)| *key).collect();
        keys.dedup();
        let place = |numbers: &[u32], number: u32| {
            let place = numbers.binary_search(&number);
            place.expect("what is there was kept") as u32
        };
        self.order = std::mem::take(&mut self.order)
            .into_iter()
            .map(|(key, time, row)| (place(&keys, key), time, place(&rows, row)))
            .collect();
        self.sessions = std::mem::take(&mut self.sessions)
            .into_iter()
            .map(|((key, start), session)| ((place(&keys, key), start), session))
            .collect();
        self.ends = std::mem::take(&mut self.ends)
            .into_iter()
            .map(|(end, key, start)| (end, place(&keys, key), start))
            .collect();
        self.copies = rows.iter().map(|row| self.copies[*row as usize]).collect();
        self.rows.keep(&rows);
        self.keys.keep(&keys);
        Ok(())
    }
}

impl Ported for SessionOperator {
    fn push(&mut self, _port: usize, delta: Delta, _out: &mut Sink<'_>) -> Result<(), SqlError> {
        let taken = self.spec.sessions.taken(&delta.batch)?;
        if !delta.takes() {
            // As they came.
            self.late_rows += taken.late_rows;
            self.null_rows += taken.null_rows;
        }
        let weights = match &taken.rows {
            None => delta.weights.clone(),
            Some(rows) => delta.take_weights(rows)?,
        };
        let columns = self.spec.sessions.rows(&delta.batch, taken.rows.as_ref())?;
        let rows = taken.rows.as_ref().map_or(delta.rows(), |rows| rows.len());
        let batch = batch_of(self.row_schema.clone(), columns, rows)?;
        self.take(&Delta { batch, weights })
    }

    fn rows(&self) -> usize {
        self.order.len()
    }
}

impl Operator for SessionOperator {
    fn finish(&mut self, end: &StepEnd, out: &mut Sink<'_>) -> Result<(), SqlError> {
        let mut output = Output {
            rows: Vec::new(),
            bounds: Default::default(),
            weights: Vec::new(),
            sink: out,
        };
        self.regroup(&mut output)?;
        self.flush(&mut output)?;
        if let Some(watermark) = end.least_watermark(&self.spec.topics) {
            self.close(watermark, &mut output)?;
        }
        if self.gone > PART_ROWS && self.gone > self.copies.len() / 2 {
            self.drop_gone()?;
        }
        Ok(())
    }

    fn save(&self) -> Result<Vec<RecordBatch>, SqlError> {
        let schema = Arc::new(Schema::new(vec![Field::new("counts", DataType::Int64, false)]));
        let counts = vec![self.late_rows as i64, self.null_rows as i64];
        let mut saved = vec![batch_of(schema, vec![Arc::new(Int64Array::from(counts))], 2)?];
        let rows: Vec<u32> = self.order.iter().map(|(_, _, row)| *row).collect();
        let copies = rows.iter().map(|row| self.copies[*row as usize].now).collect();
        let batch = batch_of(self.row_schema.clone(), self.rows.columns(&rows)?, rows.len())?;
        saved.push(with_weight_column(&weighted(batch, copies))?);
        // The numbers under which rows have come out.
        if self.spec.shown == ShownSession::Number {
            let column = |name: &str| Field::new(name, DataType::Int64, false);
            let schema = Arc::new(Schema::new(vec![column("start"), column("number"), column("row")]));
            let mut columns: [Vec<i64>; 3] = Default::default();
            // Both are in the order of keys and times.
            let mut before = None;
            for (at, (key, time, _)) in self.order.iter().enumerate() {
                if before.replace((*key, *time)) != Some((*key, *time))
                    && let Some(session) = self.sessions.get(&(*key, *time))
                {
                    columns[0].push(*time);
                    columns[1].push(session.number);
                    columns[2].push(at as i64);
                }
            }
            let rows = columns[0].len();
            let columns = columns.map(|column| Arc::new(Int64Array::from(column)) as ArrayRef);
            saved.push(batch_of(schema, columns.to_vec(), rows)?);
        }
        Ok(saved)
    }

    fn restore(&mut self, saved: &[RecordBatch]) -> Result<(), SqlError> {
        *self = SessionOperator::new(self.spec.clone(), self.budget.clone())?;
        let counts = saved[0].column(0).as_primitive::<Int64Type>().values();
        (self.late_rows, self.null_rows) = (counts[0] as u64, counts[1] as u64);
        let rows = from_weight_column(&saved[1], self.row_schema.clone())?;
        self.take(&rows)?;
        self.regroup(&mut Output {
            rows: Vec::new(),
            bounds: Default::default(),
            weights: Vec::new(),
            sink: &mut |_| Ok(()),
        })?;
        if let Some(numbers) = saved.get(2) {
            let column = |index: usize| numbers.column(index).as_primitive::<Int64Type>().values();
            let mut keys = Vec::new();
            let places = self.spec.sessions.keys().iter();
            for at in 0..numbers.num_rows() {
                let row = UInt32Array::from(vec![column(2)[at] as u32]);
                let first = take_rows(&rows.batch, &row)?;
                let of_key: Vec<_> = places
                    .clone()
                    .map(|key| first.column(self.spec.sessions.row_column(*key)).clone())
                    .collect();
                self.keys.intern(&of_key, 1, &mut keys)?;
                let session = self.sessions.get_mut(&(keys[0], column(0)[at]));
                session.expect("it was saved").number = column(1)[at];
                self.next_number = self.next_number.max(column(1)[at]);
            }
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        /// Of an entry in a tree, with its share of the nodes.
        const ENTRY_BYTES: usize = 32;
        let entries = self.order.len() + self.ends.len() + self.sessions.len() * 2;
        self.keys.bytes()
            + self.rows.bytes()
            + entries * ENTRY_BYTES
            + self.copies.capacity() * size_of::<Copies>()
            + self.touched.capacity() * size_of::<(u32, i64, u32)>()
    }

    fn closes(&self) -> Option<Closes<'_>> {
        let next = self
            .ends
            .first()
            .map(|(end, ..)| end.saturating_add(self.spec.allowed_lateness_us));
        Some(Closes {
            topics: &self.spec.topics,
            next,
        })
    }

    fn skipped(&self) -> Option<(u64, u64)> {
        Some((self.late_rows, self.null_rows))
    }
}
