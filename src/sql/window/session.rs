//! Sessions: rows of one key that are less than a gap apart, one after another.
//!
//! Batch queries and views share these rules:
//!
//! - A session is `[first row, last row + gap)`; a row at the very end of it begins another.
//! - A row is late if `ts + allowed_lateness < _watermark`, where `_watermark` is the topic's before the commit that brought the
//!   row: a fact of the row alone, so every reading agrees.
//! - A session has closed at a watermark W if `window_end + allowed_lateness <= W`. A row that is not late comes at least a gap after
//!   its last row then, so it never changes again.
//! - A row with a NULL or infinite time is in no session.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute;
use arrow::datatypes::{Schema, SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;

use super::Window;
use super::assign::{event_at, first_and_last, timestamps, value_at};

/// The rules of one SESSION node. Cheap to make and to clone.
#[derive(Clone, Debug)]
pub struct SessionRules {
    gap_us: i64,
    time_column: usize,
    keys: Vec<usize>,
    watermark_column: Option<usize>,
    allowed_lateness_us: i64,
    schema: SchemaRef,
}

/// The rows of a batch that are in sessions.
#[derive(Clone, Debug)]
pub struct InSessions {
    /// `None`: all of them.
    pub rows: Option<UInt32Array>,
    pub late_rows: u64,
    /// Without an event time, or with an infinite one.
    pub null_rows: u64,
}

impl SessionRules {
    pub(super) fn new(window: &Window, gap_us: i64) -> SessionRules {
        SessionRules {
            gap_us,
            time_column: window.time_column,
            keys: window.keys.clone(),
            watermark_column: window.watermark_column,
            allowed_lateness_us: window.allowed_lateness_us,
            schema: Arc::new(window.schema.as_arrow().clone()),
        }
    }

    /// The schema of the node's rows: the input's without the watermark, then the bounds.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Columns of the input that sessions are apart by.
    pub fn keys(&self) -> &[usize] {
        &self.keys
    }

    /// The input's column of event times.
    pub fn time_column(&self) -> usize {
        self.time_column
    }

    /// Whether a row at `ts_us` continues a session whose last row before it is at `last_us`.
    pub fn continues(&self, last_us: i64, ts_us: i64) -> bool {
        ts_us.saturating_sub(last_us) < self.gap_us
    }

    /// The end of a session with this last row.
    pub fn end(&self, last_us: i64) -> i64 {
        last_us.saturating_add(self.gap_us)
    }

    /// Whether a session with this end has closed at a watermark.
    pub fn is_closed(&self, end_us: i64, watermark_us: Option<i64>) -> bool {
        watermark_us.is_some_and(|watermark| end_us.saturating_add(self.allowed_lateness_us) <= watermark)
    }

    /// The rows of a batch of the input that are in sessions.
    pub fn taken(&self, batch: &RecordBatch) -> Result<InSessions, ArrowError> {
        let times = timestamps(batch, self.time_column)?;
        let watermarks = self
            .watermark_column
            .map(|index| timestamps(batch, index))
            .transpose()?;
        let is_late = |time: i64, watermark: Option<i64>| {
            watermark.is_some_and(|watermark| time.saturating_add(self.allowed_lateness_us) < watermark)
        };
        // If the first is not late at the last watermark, none is.
        if let Some((first, _)) = first_and_last(times)
            && !is_late(first, watermarks.and_then(compute::max))
        {
            return Ok(InSessions {
                rows: None,
                late_rows: 0,
                null_rows: 0,
            });
        }
        let mut rows: Vec<u32> = Vec::with_capacity(batch.num_rows());
        let (mut late_rows, mut null_rows) = (0, 0);
        for row in 0..batch.num_rows() {
            let Some(time) = event_at(times, row) else {
                null_rows += 1;
                continue;
            };
            let watermark = watermarks.and_then(|column| value_at(column, row));
            if is_late(time, watermark) {
                late_rows += 1;
                continue;
            }
            rows.push(row as u32);
        }
        let all = rows.len() == batch.num_rows();
        Ok(InSessions {
            rows: (!all).then(|| UInt32Array::from(rows)),
            late_rows,
            null_rows,
        })
    }

    /// The number of a batch's rows that come too late.
    pub fn late_rows(&self, batch: &RecordBatch) -> Result<u64, ArrowError> {
        Ok(self.taken(batch)?.late_rows)
    }

    /// The schema of an input's row without its watermark.
    pub fn row_schema(&self) -> SchemaRef {
        let fields = self.schema.fields();
        Arc::new(Schema::new(fields[..fields.len() - 2].to_vec()))
    }

    /// A column of the input as one of its rows without the watermark.
    pub fn row_column(&self, column: usize) -> usize {
        column - usize::from(self.watermark_column.is_some_and(|watermark| watermark < column))
    }

    /// Rows of the input without the watermark.
    pub fn rows(&self, batch: &RecordBatch, taken: Option<&UInt32Array>) -> Result<Vec<ArrayRef>, ArrowError> {
        let columns = batch.columns().iter().enumerate();
        let kept = columns.filter(|(index, _)| Some(*index) != self.watermark_column);
        kept.map(|(_, column)| match taken {
            Some(rows) => compute::take(column, rows, None),
            None => Ok(column.clone()),
        })
        .collect()
    }

    /// Those rows with their sessions' bounds.
    pub fn output(&self, mut columns: Vec<ArrayRef>, bounds: [Vec<i64>; 2]) -> Result<RecordBatch, ArrowError> {
        let times = columns[self.row_column(self.time_column)].as_primitive::<TimestampMicrosecondType>();
        let zone = times.timezone().map(str::to_owned);
        for bounds in bounds {
            let bounds = TimestampMicrosecondArray::from(bounds).with_timezone_opt(zone.clone());
            columns.push(Arc::new(bounds));
        }
        RecordBatch::try_new(self.schema.clone(), columns)
    }

    /// The event times of rows without the watermark.
    pub fn times<'a>(&self, columns: &'a [ArrayRef]) -> &'a TimestampMicrosecondArray {
        let times = columns[self.row_column(self.time_column)].as_primitive::<TimestampMicrosecondType>();
        assert_eq!(times.null_count(), 0, "rows without a time are in no session");
        times
    }
}
