//! Assignment of rows to windows: the vectorized kernel that batch queries and views share.
//!
//! Windows start at multiples of the slide (of CUMULATE, of the size) from 1970-01-01 00:00 UTC plus the offset; times before
//! it floor downward. Rows often come in the order of their times: one that is in the windows of the row before it costs no
//! division, and a batch whose first time is late for nothing asks no row.
//! A row with a NULL or infinite time is in no window. A row is late for a window if `window_end + allowed_lateness <= _watermark`,
//! where `_watermark` is the topic's watermark before the commit that brought the row: a fact of the log, so every
//! reading agrees. Pure: no plan, no state. Not here: sessions (`session.rs`).

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;

use super::{Window, WindowKind};
use crate::types::calendar::is_infinite;

/// The windows whose rows come out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closing {
    /// All of them.
    All,
    /// The windows closed at this watermark, microseconds; none if there is no watermark yet.
    Closed(Option<i64>),
}

/// The output for one batch, or for a slice of it.
#[derive(Clone, Debug)]
pub struct Assigned {
    /// The node's output rows.
    pub rows: RecordBatch,
    /// For each output row the input row that it came from (for weights); `None` if they are the same, one to one.
    pub sources: Option<UInt32Array>,
    /// Input rows that came too late for at least one of their windows.
    pub late_rows: u64,
    /// Input rows without an event time, or with an infinite one.
    pub null_rows: u64,
}

/// Output rows of one slice, at most, if a row is in several windows.
pub const SLICE_ROWS: usize = 8192;

/// The times from one start of a window to the next around `ts_us`.
fn slide_around(ts_us: i64, slide_us: i64, offset_us: i64) -> Range<i64> {
    let mut since_start = ts_us.rem_euclid(slide_us) - offset_us;
    if since_start < 0 {
        since_start += slide_us;
    }
    ts_us.saturating_sub(since_start)..ts_us.saturating_add(slide_us - since_start)
}

/// The windows that one time is in, numbered in the order of their ends.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Covering {
    /// The times that are in these windows and no others.
    times: Range<i64>,
    /// The start of the last.
    last: i64,
    size_us: i64,
    /// From one to the next: of their starts, or of their ends where they begin together.
    step_us: i64,
    begin_together: bool,
    count: i64,
}

impl Covering {
    fn of(kind: WindowKind, ts_us: i64) -> Covering {
        match kind {
            WindowKind::Tumble { size_us, offset_us } => {
                let times = slide_around(ts_us, size_us, offset_us);
                Covering {
                    last: times.start,
                    times,
                    size_us,
                    step_us: size_us,
                    begin_together: false,
                    count: 1,
                }
            }
            WindowKind::Hop {
                slide_us,
                size_us,
                offset_us,
            } => {
                let times = slide_around(ts_us, slide_us, offset_us);
                Covering {
                    last: times.start,
                    times,
                    size_us,
                    step_us: slide_us,
                    begin_together: false,
                    count: size_us / slide_us,
                }
            }
            WindowKind::Cumulate {
                step_us,
                size_us,
                offset_us,
            } => {
                let all = slide_around(ts_us, size_us, offset_us);
                let steps = ts_us.saturating_sub(all.start) / step_us;
                let from = all.start + steps * step_us;
                Covering {
                    times: from..from.saturating_add(step_us).min(all.end),
                    last: all.start,
                    size_us,
                    step_us,
                    begin_together: true,
                    count: size_us / step_us - steps,
                }
            }
            WindowKind::Session { .. } => panic!("a session is no window of one row alone"),
        }
    }

    /// Becomes the windows of another time.
    fn move_to(&mut self, kind: WindowKind, ts_us: i64) {
        if !self.times.contains(&ts_us) {
            *self = Covering::of(kind, ts_us);
        }
    }

    fn start(&self, number: i64) -> i64 {
        match self.begin_together {
            true => self.last,
            false => self.last.saturating_sub((self.count - 1 - number) * self.step_us),
        }
    }

    fn end(&self, number: i64) -> i64 {
        let end = self.start(number).saturating_add(self.size_us);
        match self.begin_together {
            true => end.saturating_sub((self.count - 1 - number) * self.step_us),
            false => end,
        }
    }

    /// The first window in `from..to` whose end is not `closed`, `to` if all are: older ones close first.
    fn first_open(&self, from: i64, to: i64, closed: impl Fn(i64) -> bool) -> i64 {
        if from == to || !closed(self.end(from)) {
            return from;
        }
        let (mut low, mut high) = (from + 1, to);
        while low < high {
            let middle = low + (high - low) / 2;
            match closed(self.end(middle)) {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low
    }
}

/// The kernel for one window node. Cheap to make and to clone.
#[derive(Clone, Debug)]
pub struct Assigner {
    kind: WindowKind,
    time_column: usize,
    watermark_column: Option<usize>,
    allowed_lateness_us: i64,
    /// A row comes out once for all of its windows.
    spans: bool,
    schema: SchemaRef,
}

impl Assigner {
    pub(super) fn new(window: &Window) -> Assigner {
        Assigner {
            kind: window.kind,
            time_column: window.time_column,
            watermark_column: window.watermark_column,
            allowed_lateness_us: window.allowed_lateness_us,
            spans: false,
            schema: Arc::new(window.schema.as_arrow().clone()),
        }
    }

    /// The same, of which a row comes out once: from the start of its first window that has not closed to the end of its last.
    pub fn spanning(&self) -> Assigner {
        Assigner {
            spans: true,
            ..self.clone()
        }
    }

    /// Of HOP: from one window's end to the next, if rows come out once for all of their windows.
    pub fn span_slide_us(&self) -> Option<i64> {
        match self.kind {
            WindowKind::Hop { slide_us, .. } if self.spans => Some(slide_us),
            _ => None,
        }
    }

    /// The schema of [`Assigned::rows`].
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Whether a window has closed at a watermark.
    pub fn is_closed(&self, window_end_us: i64, watermark_us: Option<i64>) -> bool {
        watermark_us.is_some_and(|watermark| window_end_us.saturating_add(self.allowed_lateness_us) <= watermark)
    }

    /// Assigns the rows of one batch of the node's input. A row may be in any number of windows, so the output comes in
    /// slices: nobody holds all of it at once without collecting it.
    pub fn slices(&self, batch: RecordBatch, closing: Closing) -> WindowSlices {
        WindowSlices {
            assigner: self.clone(),
            batch,
            closing,
            may_be_late: None,
            row: 0,
            covering: Covering::of(self.kind, 0),
            windows: 0..0,
        }
    }

    /// The number of a batch's rows that come too late for at least one of their windows.
    pub fn late_rows(&self, batch: &RecordBatch) -> Result<u64, ArrowError> {
        let (times, watermarks) = self.times(batch)?;
        if !self.may_be_late(times, watermarks) {
            return Ok(0);
        }
        let late = (0..batch.num_rows()).filter(|row| {
            let watermark = watermarks.and_then(|column| value_at(column, *row));
            let first = event_at(times, *row).map(|time| Covering::of(self.kind, time).end(0));
            first.is_some_and(|end| self.is_closed(end, watermark))
        });
        Ok(late.count() as u64)
    }

    /// Whether one of the rows may be late: as the first of them would be at the last of their watermarks.
    fn may_be_late(&self, times: &TimestampMicrosecondArray, watermarks: Option<&TimestampMicrosecondArray>) -> bool {
        let Some(watermark) = watermarks.and_then(compute::max) else {
            return false;
        };
        let first = compute::min(times);
        first.is_some_and(|first| self.is_closed(Covering::of(self.kind, first).end(0), Some(watermark)))
    }

    /// The bounds of rows that are all in a window and come out once: of the first to the last of their windows.
    fn bounds(&self, times: &[i64], first_us: i64, last_us: i64) -> [Vec<i64>; 2] {
        let bounds = |covering: &Covering| (covering.start(0), covering.end(covering.count - 1));
        let mut covering = Covering::of(self.kind, first_us);
        let (mut start, mut end) = bounds(&covering);
        if covering.times.contains(&last_us) {
            return [vec![start; times.len()], vec![end; times.len()]];
        }
        let mut all = [Vec::with_capacity(times.len()), Vec::with_capacity(times.len())];
        for time in times {
            if !covering.times.contains(time) {
                covering = Covering::of(self.kind, *time);
                (start, end) = bounds(&covering);
            }
            all[0].push(start);
            all[1].push(end);
        }
        all
    }

    /// The event times of a batch, and its rows' watermarks if they have some.
    fn times<'a>(
        &self,
        batch: &'a RecordBatch,
    ) -> Result<(&'a TimestampMicrosecondArray, Option<&'a TimestampMicrosecondArray>), ArrowError> {
        let times = timestamps(batch, self.time_column)?;
        let watermarks = self.watermark_column.map(|index| timestamps(batch, index));
        Ok((times, watermarks.transpose()?))
    }

    fn output(
        &self,
        batch: &RecordBatch,
        sources: Option<&UInt32Array>,
        bounds: [Vec<i64>; 2],
    ) -> Result<RecordBatch, ArrowError> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        for (index, column) in batch.columns().iter().enumerate() {
            if Some(index) != self.watermark_column {
                columns.push(match sources {
                    Some(sources) => compute::take(column, sources, None)?,
                    None => column.clone(),
                });
            }
        }
        let zone = batch
            .column(self.time_column)
            .as_primitive::<TimestampMicrosecondType>()
            .timezone();
        for bounds in bounds {
            columns.push(Arc::new(
                TimestampMicrosecondArray::from(bounds).with_timezone_opt(zone.map(str::to_owned)),
            ));
        }
        RecordBatch::try_new(self.schema.clone(), columns)
    }
}

/// The output of one batch, in slices: at least one if it has rows, which may be without rows itself.
pub struct WindowSlices {
    assigner: Assigner,
    batch: RecordBatch,
    closing: Closing,
    /// Known from the first slice on.
    may_be_late: Option<bool>,
    /// The next row to look at.
    row: usize,
    /// The windows of the last row that was in one.
    covering: Covering,
    /// Those of them which are still to come out.
    windows: Range<i64>,
}

impl WindowSlices {
    fn slice(&mut self) -> Result<Assigned, ArrowError> {
        let assigner = &self.assigner;
        let (times, watermarks) = assigner.times(&self.batch)?;
        let rows = self.batch.num_rows();
        let several = assigner.kind.windows_per_row() > 1 && !assigner.spans;
        let may_be_late = *self
            .may_be_late
            .get_or_insert_with(|| assigner.may_be_late(times, watermarks));
        if !several
            && !may_be_late
            && self.closing == Closing::All
            && let Some((first, last)) = first_and_last(times)
        {
            self.row = rows;
            let bounds = assigner.bounds(times.values(), first, last);
            return Ok(Assigned {
                rows: assigner.output(&self.batch, None, bounds)?,
                sources: None,
                late_rows: 0,
                null_rows: 0,
            });
        }
        let (capacity, rows_max) = if several {
            (SLICE_ROWS, SLICE_ROWS)
        } else {
            (rows, usize::MAX)
        };
        let mut sources: Vec<u32> = Vec::with_capacity(capacity);
        let mut window_starts: Vec<i64> = Vec::with_capacity(capacity);
        let mut window_ends: Vec<i64> = Vec::with_capacity(capacity);
        let (mut late_rows, mut null_rows) = (0, 0);
        'slice: loop {
            if !self.windows.is_empty() {
                let row = self.row - 1;
                for number in self.windows.by_ref() {
                    sources.push(row as u32);
                    window_starts.push(self.covering.start(number));
                    window_ends.push(self.covering.end(number));
                    if sources.len() == rows_max {
                        break 'slice;
                    }
                }
            }
            if self.row == rows {
                break;
            }
            let row = self.row;
            self.row += 1;
            let Some(time) = event_at(times, row) else {
                null_rows += 1;
                continue;
            };
            self.covering.move_to(assigner.kind, time);
            let covering = &self.covering;
            let mut windows = 0..covering.count;
            if may_be_late && let Some(watermark) = watermarks.and_then(|column| value_at(column, row)) {
                let closed = |end| assigner.is_closed(end, Some(watermark));
                windows.start = covering.first_open(0, windows.end, closed);
                late_rows += u64::from(windows.start > 0);
            }
            if let Closing::Closed(watermark) = self.closing {
                let closed = |end| assigner.is_closed(end, watermark);
                windows.end = covering.first_open(windows.start, windows.end, closed);
            }
            if assigner.spans && !windows.is_empty() {
                sources.push(row as u32);
                window_starts.push(covering.start(windows.start));
                window_ends.push(covering.end(windows.end - 1));
                continue;
            }
            self.windows = windows;
        }
        let identity = !several && sources.len() == rows;
        let sources = (!identity).then(|| UInt32Array::from(sources));
        let rows = assigner.output(&self.batch, sources.as_ref(), [window_starts, window_ends])?;
        Ok(Assigned {
            rows,
            sources,
            late_rows,
            null_rows,
        })
    }
}

impl Iterator for WindowSlices {
    type Item = Result<Assigned, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.row == self.batch.num_rows() && self.windows.is_empty() {
            return None;
        }
        let slice = self.slice();
        if slice.is_err() {
            // Nothing comes after an error.
            (self.row, self.windows) = (self.batch.num_rows(), 0..0);
        }
        Some(slice)
    }
}

pub(super) fn value_at(column: &TimestampMicrosecondArray, row: usize) -> Option<i64> {
    column.is_valid(row).then(|| column.value(row))
}

/// An event time that has windows: infinite times are in none.
pub(super) fn event_at(column: &TimestampMicrosecondArray, row: usize) -> Option<i64> {
    value_at(column, row).filter(|time| !is_infinite(*time))
}

/// The first and the last event time of a batch, if all of its rows have one that has windows.
pub(super) fn first_and_last(column: &TimestampMicrosecondArray) -> Option<(i64, i64)> {
    let (first, last) = (compute::min(column)?, compute::max(column)?);
    let all = column.null_count() == 0 && !is_infinite(first) && !is_infinite(last);
    all.then_some((first, last))
}

pub(super) fn timestamps(batch: &RecordBatch, index: usize) -> Result<&TimestampMicrosecondArray, ArrowError> {
    let column = batch.column(index);
    column
        .as_primitive_opt::<TimestampMicrosecondType>()
        .ok_or_else(|| ArrowError::InvalidArgumentError(format!("a window's time column holds {}", column.data_type())))
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
    use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, builder::LogicalTableSource};

    use super::super::{Closure, WindowColumns};
    use super::*;
    use crate::log::TopicId;

    const SECOND: i64 = 1_000_000;
    const TUMBLE: WindowKind = WindowKind::Tumble {
        size_us: 10 * SECOND,
        offset_us: 0,
    };

    fn input_schema() -> Schema {
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        Schema::new(vec![
            Field::new("ts", time.clone(), true),
            Field::new("v", DataType::Int64, true),
            Field::new("_watermark", time, true),
        ])
    }

    fn assigner(kind: WindowKind, allowed_lateness_us: i64) -> Assigner {
        let source = LogicalTableSource::new(Arc::new(input_schema()));
        let input: LogicalPlan = LogicalPlanBuilder::scan("t", Arc::new(source), None)
            .and_then(LogicalPlanBuilder::build)
            .expect("a scan");
        let closure = Closure {
            watermark_column: Some(2),
            topics: vec![TopicId(1)],
            allowed_lateness_us,
            ..Closure::default()
        };
        let columns = WindowColumns {
            time: 0,
            keys: Vec::new(),
        };
        Window::new(input, kind, columns, closure).expect("a window").assigner()
    }

    fn batch(rows: &[(Option<i64>, i64, Option<i64>)]) -> RecordBatch {
        let seconds = |value: Option<i64>| value.map(|value| value * SECOND);
        let times: TimestampMicrosecondArray = rows.iter().map(|row| seconds(row.0)).collect();
        let values: Int64Array = rows.iter().map(|row| Some(row.1)).collect();
        let marks: TimestampMicrosecondArray = rows.iter().map(|row| seconds(row.2)).collect();
        RecordBatch::try_new(
            Arc::new(input_schema()),
            vec![Arc::new(times), Arc::new(values), Arc::new(marks)],
        )
        .expect("a batch")
    }

    fn one_slice(mut slices: WindowSlices) -> Assigned {
        let only = slices.next().expect("the batch has rows").expect("applies");
        assert!(slices.next().is_none(), "one slice");
        only
    }

    fn starts(kind: WindowKind, ts_us: i64) -> impl Iterator<Item = i64> {
        let covering = Covering::of(kind, ts_us);
        (0..covering.count).map(move |number| covering.start(number))
    }

    /// Output rows as (value, window start in seconds), and the counts of late and null rows.
    fn check(
        kind: WindowKind,
        lateness: i64,
        closing: Closing,
        rows: &[(Option<i64>, i64, Option<i64>)],
        expect: &[(i64, i64)],
        skipped: (u64, u64),
    ) {
        let out = one_slice(assigner(kind, lateness * SECOND).slices(batch(rows), closing));
        let values = out.rows.column(1).as_primitive::<arrow::datatypes::Int64Type>().clone();
        let starts = out.rows.column(2).as_primitive::<TimestampMicrosecondType>().clone();
        let ends = out.rows.column(3).as_primitive::<TimestampMicrosecondType>().clone();
        let have: Vec<(i64, i64)> = (0..out.rows.num_rows())
            .map(|row| (values.value(row), starts.value(row) / SECOND))
            .collect();
        assert_eq!(have, expect);
        assert_eq!((out.late_rows, out.null_rows), skipped);
        for row in 0..out.rows.num_rows() {
            if let Some(size_us) = kind.size_us() {
                assert_eq!(ends.value(row) - starts.value(row), size_us);
            }
            if let Some(sources) = &out.sources {
                assert_eq!(rows[sources.value(row) as usize].1, values.value(row));
            }
        }
    }

    #[test]
    fn times_before_1970_floor_downward() {
        assert_eq!(starts(TUMBLE, -1).collect::<Vec<_>>(), [-10 * SECOND]);
        assert_eq!(starts(TUMBLE, 0).collect::<Vec<_>>(), [0]);
        assert_eq!(starts(TUMBLE, -10 * SECOND).collect::<Vec<_>>(), [-10 * SECOND]);
        let shifted = WindowKind::Tumble {
            size_us: 10 * SECOND,
            offset_us: 3 * SECOND,
        };
        assert_eq!(starts(shifted, 2 * SECOND).collect::<Vec<_>>(), [-7 * SECOND]);
        assert_eq!(starts(shifted, 13 * SECOND).collect::<Vec<_>>(), [13 * SECOND]);
        starts(TUMBLE, i64::MIN).chain(starts(TUMBLE, i64::MAX)).for_each(drop);
    }

    fn kinds() -> [WindowKind; 5] {
        [
            TUMBLE,
            WindowKind::Tumble {
                size_us: 7 * SECOND,
                offset_us: 3 * SECOND,
            },
            WindowKind::Hop {
                slide_us: 5 * SECOND,
                size_us: 15 * SECOND,
                offset_us: 2 * SECOND,
            },
            WindowKind::Cumulate {
                step_us: 5 * SECOND,
                size_us: 20 * SECOND,
                offset_us: 4 * SECOND,
            },
            WindowKind::Cumulate {
                step_us: 1 << 60,
                size_us: 1 << 62,
                offset_us: 1 << 59,
            },
        ]
    }

    #[test]
    fn all_times_of_a_covering_are_in_its_windows_and_no_other_is() {
        let extremes = [i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX];
        for (kind, time) in kinds().into_iter().flat_map(|kind| {
            let times = (-40..40).map(|time| time * SECOND / 2).chain(extremes);
            times.map(move |time| (kind, time))
        }) {
            let covering = Covering::of(kind, time);
            let Range { start, end } = covering.times;
            assert!(start <= time && (time < end || time == i64::MAX), "{kind:?} {time}");
            assert_eq!(covering, Covering::of(kind, start), "{kind:?} {time}");
            assert_eq!(covering, Covering::of(kind, end - 1), "{kind:?} {time}");
            if start > i64::MIN {
                assert_ne!(covering, Covering::of(kind, start - 1), "{kind:?} {time}");
            }
            if end < i64::MAX {
                assert_ne!(covering, Covering::of(kind, end), "{kind:?} {time}");
            }
        }
    }

    /// The windows of a time by their definition, in seconds, in the order of their ends.
    fn defined(kind: WindowKind, ts: i64) -> Vec<(i64, i64)> {
        let (slide, size, offset, step) = match kind {
            WindowKind::Tumble { size_us, offset_us } => (size_us, size_us, offset_us, size_us),
            WindowKind::Hop {
                slide_us,
                size_us,
                offset_us,
            } => (slide_us, size_us, offset_us, size_us),
            WindowKind::Cumulate {
                step_us,
                size_us,
                offset_us,
            } => (size_us, size_us, offset_us, step_us),
            WindowKind::Session { .. } => panic!("no session here"),
        };
        let starts = (-100..100).map(|number| number * slide / SECOND + offset / SECOND);
        let windows = starts.flat_map(|start| {
            let ends = (1..=size / step).map(move |part| start + part * step / SECOND);
            ends.map(move |end| (start, end))
        });
        windows.filter(|(start, end)| *start <= ts && ts < *end).collect()
    }

    #[test]
    fn batches_are_assigned_as_their_rows_are_by_definition() {
        type Time = fn(i64) -> Option<i64>;
        let times: [Time; 4] = [
            |_| Some(8),
            |row| Some(row / 3 - 20),
            |row| Some(row * 7919 % 83 - 40),
            |row| (row % 11 != 0).then_some(row % 30),
        ];
        // Of the watermark, how far it stands behind the rows.
        let delays = [None, Some(100), Some(6), Some(-3)];
        for (kind, lateness) in kinds()[..4].iter().flat_map(|kind| [(*kind, 0), (*kind, 4)]) {
            for (time, delay) in times.iter().flat_map(|time| delays.map(|delay| (time, delay))) {
                let row = |row: i64| (time(row), row, delay.map(|delay: i64| row / 3 - 20 - delay));
                let rows: Vec<_> = (0..150).map(row).collect();
                let (mut expected, mut late, mut null) = (Vec::new(), 0, 0);
                for (time, value, watermark) in &rows {
                    let windows = time.map(|time| defined(kind, time)).unwrap_or_default();
                    let is_late = |end: i64| watermark.is_some_and(|watermark| end + lateness <= watermark);
                    null += u64::from(time.is_none());
                    late += u64::from(windows.iter().any(|(_, end)| is_late(*end)));
                    let open = windows.into_iter().filter(|(_, end)| !is_late(*end));
                    expected.extend(open.map(|(start, _)| (*value, start)));
                }
                check(kind, lateness, Closing::All, &rows, &expected, (late, null));
                let counted = assigner(kind, lateness * SECOND).late_rows(&batch(&rows));
                assert_eq!(counted.expect("counted"), late);
            }
        }
    }

    #[test]
    fn a_hop_gives_every_window_that_covers_the_time() {
        let hop = WindowKind::Hop {
            slide_us: 5 * SECOND,
            size_us: 15 * SECOND,
            offset_us: 0,
        };
        assert_eq!(
            starts(hop, 12 * SECOND).collect::<Vec<_>>(),
            [0, 5 * SECOND, 10 * SECOND]
        );
        check(
            hop,
            0,
            Closing::All,
            &[(Some(12), 1, Some(18))],
            &[(1, 5), (1, 10)],
            (1, 0),
        );
    }

    #[test]
    fn cumulating_windows_begin_together_and_close_one_by_one() {
        let cumulate = WindowKind::Cumulate {
            step_us: 5 * SECOND,
            size_us: 15 * SECOND,
            offset_us: 0,
        };
        let ends = |ts_us: i64| {
            let covering = Covering::of(cumulate, ts_us);
            (0..covering.count)
                .map(|number| (covering.start(number) / SECOND, covering.end(number) / SECOND))
                .collect::<Vec<_>>()
        };
        assert_eq!(ends(0), [(0, 5), (0, 10), (0, 15)]);
        assert_eq!(ends(5 * SECOND), [(0, 10), (0, 15)]);
        assert_eq!(ends(14 * SECOND), [(0, 15)]);
        assert_eq!(ends(-1), [(-15, 0)]);
        assert_eq!(ends(-11 * SECOND), [(-15, -10), (-15, -5), (-15, 0)]);
        for extreme in [i64::MIN, i64::MAX] {
            let covering = Covering::of(cumulate, extreme);
            (0..covering.count).for_each(|number| assert!(covering.start(number) <= covering.end(number)));
        }
        let open = [(Some(3), 1, Some(10)), (Some(3), 2, Some(15))];
        check(cumulate, 0, Closing::All, &open, &[(1, 0)], (2, 0));
        let closed = Closing::Closed(Some(10 * SECOND));
        check(cumulate, 0, closed, &[(Some(3), 1, None)], &[(1, 0), (1, 0)], (0, 0));
    }

    #[test]
    fn a_row_may_come_out_once_for_all_of_its_windows() {
        let hop = WindowKind::Hop {
            slide_us: 5 * SECOND,
            size_us: 15 * SECOND,
            offset_us: 0,
        };
        let rows = [(Some(12), 1, None), (Some(12), 2, Some(18)), (Some(12), 3, Some(40))];
        let out = one_slice(assigner(hop, 0).spanning().slices(batch(&rows), Closing::All));
        let bounds = |column: usize| {
            let column = out.rows.column(column).as_primitive::<TimestampMicrosecondType>();
            column.values().iter().map(|bound| bound / SECOND).collect::<Vec<_>>()
        };
        assert_eq!((bounds(2), bounds(3)), (vec![0, 5], vec![25, 25]));
        assert_eq!((out.late_rows, out.null_rows), (2, 0));
    }

    #[test]
    fn a_row_is_late_once_its_window_has_passed_the_watermark() {
        let rows = [
            (Some(3), 1, None),
            (Some(3), 2, Some(9)),
            (Some(3), 3, Some(10)),
            (None, 4, Some(10)),
            (Some(12), 5, Some(10)),
        ];
        check(TUMBLE, 0, Closing::All, &rows, &[(1, 0), (2, 0), (5, 10)], (1, 1));
        check(
            TUMBLE,
            5,
            Closing::All,
            &rows,
            &[(1, 0), (2, 0), (3, 0), (5, 10)],
            (0, 1),
        );
    }

    #[test]
    fn on_close_only_closed_windows_come_out() {
        let rows = [(Some(3), 1, None), (Some(12), 2, None)];
        check(TUMBLE, 0, Closing::Closed(None), &rows, &[], (0, 0));
        check(TUMBLE, 0, Closing::Closed(Some(9 * SECOND)), &rows, &[], (0, 0));
        check(TUMBLE, 0, Closing::Closed(Some(10 * SECOND)), &rows, &[(1, 0)], (0, 0));
        check(TUMBLE, 1, Closing::Closed(Some(10 * SECOND)), &rows, &[], (0, 0));
    }

    #[test]
    fn a_batch_without_skipped_rows_is_passed_through() {
        let rows = [(Some(3), 1, None), (Some(12), 2, None)];
        let out = one_slice(assigner(TUMBLE, 0).slices(batch(&rows), Closing::All));
        assert!(out.sources.is_none());
        assert_eq!(out.rows.schema().field(2).name(), "window_start");
    }

    #[test]
    fn a_row_of_any_number_of_windows_comes_out_in_slices() {
        let hop = WindowKind::Hop {
            slide_us: 1,
            size_us: 1 << 62,
            offset_us: 0,
        };
        let slices = assigner(hop, 0).slices(batch(&[(Some(0), 1, None)]), Closing::All);
        let mut last = None;
        for slice in slices.take(3) {
            let rows = slice.expect("applies").rows;
            assert_eq!(rows.num_rows(), SLICE_ROWS);
            let starts = rows.column(2).as_primitive::<TimestampMicrosecondType>().clone();
            assert!(last.is_none_or(|last| starts.value(0) == last + 1), "none is left out");
            last = Some(starts.value(SLICE_ROWS - 1));
        }
        // All but the last three windows have passed the watermark.
        let watermark = (1 << 62) - 3;
        let time = TimestampMicrosecondArray::from(vec![0]);
        let rows = RecordBatch::try_new(
            Arc::new(input_schema()),
            vec![
                Arc::new(time),
                Arc::new(Int64Array::from(vec![7])),
                Arc::new(TimestampMicrosecondArray::from(vec![watermark])),
            ],
        )
        .expect("a batch");
        assert_eq!(assigner(hop, 0).late_rows(&rows).expect("counted"), 1);
        let out = one_slice(assigner(hop, 0).slices(rows, Closing::All));
        assert_eq!((out.rows.num_rows(), out.late_rows), (3, 1));
    }

    #[test]
    fn slices_of_several_rows_join_to_the_whole() {
        let hop = WindowKind::Hop {
            slide_us: SECOND,
            size_us: 5000 * SECOND,
            offset_us: 0,
        };
        let rows = [
            (Some(7), 1, None),
            (None, 2, None),
            (Some(9), 3, Some(20)),
            (Some(3), 4, None),
        ];
        let mut found = Vec::new();
        let (mut late, mut null) = (0, 0);
        for slice in assigner(hop, 0).slices(batch(&rows), Closing::All) {
            let slice = slice.expect("applies");
            let sources = slice.sources.expect("not one to one");
            found.extend(sources.values().iter().copied());
            (late, null) = (late + slice.late_rows, null + slice.null_rows);
        }
        let of = |row: u32| found.iter().filter(|source| **source == row).count();
        // The third row's windows that end at seconds 10 to 20 have closed.
        assert_eq!([of(0), of(1), of(2), of(3)], [5000, 0, 5000 - 11, 5000]);
        assert!(found.is_sorted(), "in the order of the rows");
        assert_eq!((late, null), (1, 1));
    }
}
