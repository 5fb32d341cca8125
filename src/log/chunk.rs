//! [`Chunk`]: its slices by LSN and its hidden columns.
//!
//! One rule: the runs of a chunk cover its rows exactly. Nothing here copies user columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, TimestampMicrosecondArray};
use arrow::buffer::{NullBuffer, ScalarBuffer};

use super::columns::Range;
use super::{Chunk, HiddenColumn, Lsn, Run};

impl Chunk {
    /// LSN of its first row. Chunks are never empty.
    pub fn first_lsn(&self) -> Lsn {
        self.runs[0].lsn
    }

    /// LSN of its last row.
    pub fn last_lsn(&self) -> Lsn {
        self.runs[self.runs.len() - 1].lsn
    }

    /// LSN of a row, by its number in the chunk.
    pub fn lsn_of(&self, row: usize) -> Lsn {
        let mut end = 0;
        let run = self.runs.iter().find(|run| {
            end += run.rows;
            row < end
        });
        run.expect("a row of the chunk").lsn
    }

    /// The rows committed after `after` up to and including `upto`; `None` if there are none.
    pub fn between(&self, after: Lsn, upto: Lsn) -> Option<Chunk> {
        if self.first_lsn() > after && self.last_lsn() <= upto {
            return Some(self.clone());
        }
        let start = self.runs.partition_point(|run| run.lsn <= after);
        let end = self.runs.partition_point(|run| run.lsn <= upto);
        if start >= end {
            return None;
        }
        let rows = |runs: &[Run]| runs.iter().map(|run| run.rows).sum::<usize>();
        let skipped = rows(&self.runs[..start]);
        let runs: Arc<[Run]> = self.runs[start..end].into();
        let batch = self.rows.slice(skipped, rows(&runs));
        Some(Chunk {
            partition: self.partition,
            base_offset: self.base_offset + skipped as u64,
            rows: batch,
            runs,
        })
    }

    /// The rows of a range; `None` if there are none.
    pub fn within(&self, range: &Range) -> Option<Chunk> {
        let mut chunk = self.between(range.after, range.upto)?;
        let (gone, rows) = (
            range.start.saturating_sub(chunk.base_offset),
            chunk.rows.num_rows() as u64,
        );
        if gone >= rows {
            return None;
        }
        if gone > 0 {
            chunk = chunk.slice(gone as usize, (rows - gone) as usize);
        }
        let Some(since_us) = range.since_us else {
            return Some(chunk);
        };
        // Append times never fall.
        let old = chunk.runs.partition_point(|run| run.timestamp_us < since_us);
        let skipped: usize = chunk.runs[..old].iter().map(|run| run.rows).sum();
        let rows = chunk.rows.num_rows() - skipped;
        (rows > 0).then(|| chunk.slice(skipped, rows))
    }

    /// Rows `start..start + rows`, by reference.
    pub fn slice(&self, start: usize, rows: usize) -> Chunk {
        if start == 0 && rows == self.rows.num_rows() {
            return self.clone();
        }
        let mut runs = Vec::new();
        let mut first = 0;
        for run in self.runs.iter() {
            let from = first.max(start);
            let to = (first + run.rows).min(start + rows);
            if from < to {
                runs.push(Run {
                    rows: to - from,
                    ..*run
                });
            }
            first += run.rows;
        }
        Chunk {
            partition: self.partition,
            base_offset: self.base_offset + start as u64,
            rows: self.rows.slice(start, rows),
            runs: Arc::from(runs),
        }
    }

    /// The values of a system column for the rows of this chunk. `Watermark` is made as `Timestamp(µs, zone)`
    /// with the zone of the topic's event-time column (`None` where the topic has no watermark: all NULL).
    pub fn system_column(&self, column: HiddenColumn, watermark_zone: Option<&str>) -> ArrayRef {
        let rows = self.rows.num_rows();
        match column {
            HiddenColumn::Partition => {
                let partition = i32::try_from(self.partition).expect("partitions are few");
                Arc::new(Int32Array::from_value(partition, rows))
            }
            HiddenColumn::Offset => {
                let base = i64::try_from(self.base_offset).expect("offsets fit 63 bits");
                Arc::new(Int64Array::from_iter_values(base..base + rows as i64))
            }
            HiddenColumn::Timestamp => {
                let values = self.spread(|run| run.timestamp_us);
                Arc::new(TimestampMicrosecondArray::new(values, None).with_timezone("UTC"))
            }
            HiddenColumn::Lsn => {
                let values = self.spread(|run| i64::try_from(run.lsn).expect("LSNs fit 63 bits"));
                Arc::new(Int64Array::new(values, None))
            }
            HiddenColumn::Watermark => {
                let values = self.spread(|run| run.watermark.unwrap_or(0));
                let nulls = self.runs.iter().any(|run| run.watermark.is_none()).then(|| {
                    let valid = self
                        .runs
                        .iter()
                        .flat_map(|run| std::iter::repeat_n(run.watermark.is_some(), run.rows));
                    NullBuffer::from_iter(valid)
                });
                Arc::new(TimestampMicrosecondArray::new(values, nulls).with_timezone_opt(watermark_zone))
            }
        }
    }

    fn spread(&self, value: impl Fn(&Run) -> i64) -> ScalarBuffer<i64> {
        let mut values = Vec::with_capacity(self.rows.num_rows());
        for run in self.runs.iter() {
            values.resize(values.len() + run.rows, value(run));
        }
        assert_eq!(values.len(), self.rows.num_rows(), "runs cover the rows of their chunk");
        values.into()
    }
}
