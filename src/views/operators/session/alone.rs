//! SESSION below an aggregate that finds the sessions itself: each row as if it were alone.
//!
//! One rule: a row that is not late comes out at once, under the bounds of the session that it would be alone. What is kept is a
//! calendar of their ends, so that an idle topic's watermark is advanced while sessions are open.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};

use crate::error::SqlError;

use super::SessionSpec;
use crate::views::delta::{Delta, batch_of};
use crate::views::operators::{Closes, Operator, Ported, Sink, StepEnd};

pub struct LoneSessions {
    spec: Arc<SessionSpec>,
    /// By page, as long as the gap: the last end on it.
    ends: BTreeMap<i64, i64>,
    late_rows: u64,
    null_rows: u64,
}

impl LoneSessions {
    pub fn new(spec: Arc<SessionSpec>) -> LoneSessions {
        LoneSessions {
            spec,
            ends: BTreeMap::new(),
            late_rows: 0,
            null_rows: 0,
        }
    }

    fn note_ends(&mut self, ends: &[i64]) {
        if self.spec.topics.is_empty() {
            return;
        }
        let page_us = self.spec.sessions.end(0);
        // Most rows are on the page of the one before.
        let (mut page, mut last) = (0, i64::MIN);
        for end in ends {
            if last > i64::MIN && (page_us * page..page_us.saturating_mul(page + 1)).contains(end) {
                last = last.max(*end);
                continue;
            }
            self.note_end(page, last);
            (page, last) = (end.div_euclid(page_us), *end);
        }
        self.note_end(page, last);
    }

    fn note_end(&mut self, page: i64, end_us: i64) {
        if end_us > i64::MIN {
            let last = self.ends.entry(page).or_insert(end_us);
            *last = end_us.max(*last);
        }
    }
}

impl Ported for LoneSessions {
    fn push(&mut self, _port: usize, delta: Delta, out: &mut Sink<'_>) -> Result<(), SqlError> {
        let rules = &self.spec.sessions;
        let taken = rules.taken(&delta.batch)?;
        self.late_rows += taken.late_rows;
        self.null_rows += taken.null_rows;
        let weights = match &taken.rows {
            None => delta.weights.clone(),
            Some(rows) => delta.take_weights(rows)?,
        };
        let columns = rules.rows(&delta.batch, taken.rows.as_ref())?;
        let starts = rules.times(&columns).values().to_vec();
        let ends: Vec<i64> = starts.iter().map(|start| rules.end(*start)).collect();
        let rows = rules.output(columns, [starts, ends.clone()])?;
        self.note_ends(&ends);
        out(Delta { batch: rows, weights })
    }

    fn rows(&self) -> usize {
        0
    }
}

impl Operator for LoneSessions {
    fn finish(&mut self, end: &StepEnd, _out: &mut Sink<'_>) -> Result<(), SqlError> {
        let watermark = end.least_watermark(&self.spec.topics);
        while let Some(first) = self.ends.first_entry() {
            if !self.spec.sessions.is_closed(*first.get(), watermark) {
                break;
            }
            first.remove();
        }
        Ok(())
    }

    fn save(&self) -> Result<Vec<RecordBatch>, SqlError> {
        let column = |name: &str, values: Vec<i64>| -> Result<RecordBatch, SqlError> {
            let schema = Arc::new(Schema::new(vec![Field::new(name, DataType::Int64, false)]));
            let rows = values.len();
            batch_of(schema, vec![Arc::new(Int64Array::from(values)) as ArrayRef], rows)
        };
        Ok(vec![
            column("counts", vec![self.late_rows as i64, self.null_rows as i64])?,
            column("ends", self.ends.values().copied().collect())?,
        ])
    }

    fn restore(&mut self, saved: &[RecordBatch]) -> Result<(), SqlError> {
        let values = |index: usize| saved[index].column(0).as_primitive::<Int64Type>().values();
        *self = LoneSessions::new(self.spec.clone());
        (self.late_rows, self.null_rows) = (values(0)[0] as u64, values(0)[1] as u64);
        self.note_ends(values(1));
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.ends.len() * size_of::<(i64, i64)>() * 2
    }

    fn closes(&self) -> Option<Closes<'_>> {
        let first = self.ends.first_key_value();
        Some(Closes {
            topics: &self.spec.topics,
            next: first.map(|(_, end)| end.saturating_add(self.spec.allowed_lateness_us)),
        })
    }

    fn skipped(&self) -> Option<(u64, u64)> {
        Some((self.late_rows, self.null_rows))
    }
}
