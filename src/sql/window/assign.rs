//! Which rows are in which windows: the vectorized kernel that batch queries and views share.
//!
//! Windows start at multiples of the slide from 1970-01-01 00:00 UTC plus the offset; times before it floor downward.
//! A row with a NULL time is in no window. A row is late for a window if `window_end + allowed_lateness <= _watermark`,
//! where `_watermark` is the topic's watermark before the commit that brought the row: a fact of the log, so every
//! reading agrees. Pure: no plan, no state.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;

use super::{Window, WindowKind};

/// Which windows' rows come out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closing {
    /// All of them.
    All,
    /// Those closed at this watermark, microseconds; none if there is no watermark yet.
    Closed(Option<i64>),
}

/// What came of one batch.
#[derive(Clone, Debug)]
pub struct Assigned {
    /// The node's output rows.
    pub rows: RecordBatch,
    /// For each output row the input row that it came from (for weights); `None` if they are the same, one to one.
    pub sources: Option<UInt32Array>,
    /// Input rows that came too late for at least one of their windows.
    pub late_rows: u64,
    /// Input rows without an event time.
    pub null_rows: u64,
}

/// The start of the last window that begins at or before `ts_us`.
fn last_start(ts_us: i64, slide_us: i64, offset_us: i64) -> i64 {
    ts_us.saturating_sub(ts_us.wrapping_sub(offset_us).rem_euclid(slide_us))
}

/// The starts of the windows that a time is in, microseconds, oldest first.
pub fn starts(kind: WindowKind, ts_us: i64) -> impl Iterator<Item = i64> {
    let (slide_us, offset_us) = match kind {
        WindowKind::Tumble { size_us, offset_us } => (size_us, offset_us),
        WindowKind::Hop {
            slide_us, offset_us, ..
        } => (slide_us, offset_us),
    };
    let last = last_start(ts_us, slide_us, offset_us);
    let count = kind.windows_per_row() as i64;
    (0..count).rev().map(move |back| last.saturating_sub(back * slide_us))
}

/// The kernel for one window node. Cheap to make and to clone.
#[derive(Clone, Debug)]
pub struct Assigner {
    kind: WindowKind,
    time_column: usize,
    watermark_column: Option<usize>,
    allowed_lateness_us: i64,
    schema: SchemaRef,
}

impl Assigner {
    pub(super) fn new(window: &Window) -> Assigner {
        Assigner {
            kind: window.kind,
            time_column: window.time_column,
            watermark_column: window.watermark_column,
            allowed_lateness_us: window.allowed_lateness_us,
            schema: Arc::new(window.schema.as_arrow().clone()),
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

    /// Assigns the rows of one batch of the node's input.
    pub fn apply(&self, batch: &RecordBatch, closing: Closing) -> Result<Assigned, ArrowError> {
        let times = timestamps(batch, self.time_column)?;
        let watermarks = self
            .watermark_column
            .map(|index| timestamps(batch, index))
            .transpose()?;
        let per_row = self.kind.windows_per_row();
        let size_us = self.kind.size_us();

        let mut sources: Vec<u32> = Vec::with_capacity(batch.num_rows() * per_row);
        let mut window_starts: Vec<i64> = Vec::with_capacity(batch.num_rows() * per_row);
        let (mut late_rows, mut null_rows) = (0, 0);
        for row in 0..batch.num_rows() {
            if times.is_null(row) {
                null_rows += 1;
                continue;
            }
            let watermark = watermarks
                .filter(|column| column.is_valid(row))
                .map(|column| column.value(row));
            let mut late = false;
            for start in starts(self.kind, times.value(row)) {
                let end = start.saturating_add(size_us);
                if self.is_closed(end, watermark) {
                    late = true;
                } else if closing_admits(self, closing, end) {
                    sources.push(row as u32);
                    window_starts.push(start);
                }
            }
            late_rows += u64::from(late);
        }

        let identity = per_row == 1 && sources.len() == batch.num_rows();
        let sources = (!identity).then(|| UInt32Array::from(sources));
        let rows = self.output(batch, sources.as_ref(), window_starts)?;
        Ok(Assigned {
            rows,
            sources,
            late_rows,
            null_rows,
        })
    }

    fn output(
        &self,
        batch: &RecordBatch,
        sources: Option<&UInt32Array>,
        window_starts: Vec<i64>,
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
        let size_us = self.kind.size_us();
        let zone = batch
            .column(self.time_column)
            .as_primitive::<TimestampMicrosecondType>()
            .timezone();
        let window_ends = window_starts
            .iter()
            .map(|start| start.saturating_add(size_us))
            .collect::<Vec<_>>();
        for bounds in [window_starts, window_ends] {
            columns.push(Arc::new(
                TimestampMicrosecondArray::from(bounds).with_timezone_opt(zone.map(str::to_owned)),
            ));
        }
        RecordBatch::try_new(self.schema.clone(), columns)
    }
}

fn closing_admits(assigner: &Assigner, closing: Closing, window_end_us: i64) -> bool {
    match closing {
        Closing::All => true,
        Closing::Closed(watermark) => assigner.is_closed(window_end_us, watermark),
    }
}

fn timestamps(batch: &RecordBatch, index: usize) -> Result<&TimestampMicrosecondArray, ArrowError> {
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

    use super::super::Closure;
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
        Window::new(input, kind, 0, closure).expect("a window").assigner()
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

    /// Output rows as (value, window start in seconds), and the counts of late and null rows.
    fn check(
        kind: WindowKind,
        lateness: i64,
        closing: Closing,
        rows: &[(Option<i64>, i64, Option<i64>)],
        expect: &[(i64, i64)],
        skipped: (u64, u64),
    ) {
        let out = assigner(kind, lateness * SECOND)
            .apply(&batch(rows), closing)
            .expect("applies");
        let values = out.rows.column(1).as_primitive::<arrow::datatypes::Int64Type>().clone();
        let starts = out.rows.column(2).as_primitive::<TimestampMicrosecondType>().clone();
        let ends = out.rows.column(3).as_primitive::<TimestampMicrosecondType>().clone();
        let have: Vec<(i64, i64)> = (0..out.rows.num_rows())
            .map(|row| (values.value(row), starts.value(row) / SECOND))
            .collect();
        assert_eq!(have, expect);
        assert_eq!((out.late_rows, out.null_rows), skipped);
        for row in 0..out.rows.num_rows() {
            assert_eq!(ends.value(row) - starts.value(row), kind.size_us());
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
        let out = assigner(TUMBLE, 0).apply(&batch(&rows), Closing::All).expect("applies");
        assert!(out.sources.is_none());
        assert_eq!(out.rows.schema().field(2).name(), "window_start");
    }
}
