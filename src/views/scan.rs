//! Leaves of a dataflow: rows of a topic, and changes of another view, cut into batches of a good size.
//!
//! One rule: a topic's rows enter with the LSN, time and watermark of the commit that brought them, so that a view's
//! result does not depend on the time of its steps.

use std::borrow::Cow;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, FieldRef, SchemaRef};

use crate::catalog;
use crate::error::SqlError;
use crate::log::{Chunk, HiddenColumn, Reader, conform};

use super::delta::{Delta, batch_of, concat};
use super::expression::Expression;
use super::memory::batch_bytes;
use super::operators::join::RelationRows;

/// Larger batches are cut: an operator's output for one should stay in the processor's caches.
pub const BATCH_ROWS_MAX: usize = 8192;
/// Smaller ones are put together.
const BATCH_ROWS_MIN: usize = 1024;
/// Bytes past which neither is done: the result of a batch must fit into an array.
const BATCH_BYTES_MAX: usize = 16 << 20;

/// A column of a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TopicColumn {
    /// By position in the schema of the topic's reader.
    User(usize),
    System(HiddenColumn),
}

/// The source of a dataflow's rows.
#[derive(Clone, Debug)]
pub enum LeafSource {
    Topic {
        reader: Reader,
        name: String,
        /// By position in the reader's schema.
        columns: Vec<TopicColumn>,
        /// Time zone of the event-time column's type.
        watermark_zone: Option<String>,
        /// Index of the event-time column there.
        event_time: Option<usize>,
        delay_us: i64,
    },
    View {
        oid: u32,
        name: String,
        columns: Vec<usize>,
    },
}

/// Rows of a topic as it is now, as its reader sees them.
pub fn seen_as<'a>(reader: &Reader, topic: &catalog::Topic, rows: &'a RecordBatch) -> Cow<'a, RecordBatch> {
    if reader.schema_id == topic.schema_id {
        return Cow::Borrowed(rows);
    }
    Cow::Owned(conform(rows, &topic.log_schema(), &reader.schema))
}

/// One leaf.
#[derive(Clone, Debug)]
pub struct LeafScan {
    pub source: LeafSource,
    /// Of the batches that it makes: only the columns that the dataflow needs.
    pub schema: SchemaRef,
}

impl LeafScan {
    /// The columns of the topic that it needs, by position in the schema of its reader.
    pub fn topic_columns(&self) -> impl Iterator<Item = usize> {
        let columns = match &self.source {
            LeafSource::Topic { columns, .. } => columns.as_slice(),
            LeafSource::View { .. } => &[],
        };
        columns.iter().filter_map(|column| match column {
            TopicColumn::User(index) => Some(*index),
            TopicColumn::System(_) => None,
        })
    }

    /// The topic's rows by their definition.
    pub fn relation_rows(&self) -> Option<RelationRows> {
        let LeafSource::Topic { reader, columns, .. } = &self.source else {
            return None;
        };
        let of = |column: &TopicColumn| match column {
            TopicColumn::User(at) => Expression::column("", *at),
            TopicColumn::System(column) => Expression::column(column.name(), usize::MAX),
        };
        Some(RelationRows::of_topic(reader, columns.iter().map(of).collect()))
    }

    /// The rows of chunks of the topic, in batches. The chunks have the columns `loaded` of the topic, rising.
    pub fn topic_batches(&self, chunks: &[Chunk], loaded: &[usize]) -> Result<Vec<RecordBatch>, SqlError> {
        let LeafSource::Topic {
            columns,
            watermark_zone,
            ..
        } = &self.source
        else {
            panic!("chunks come from topics");
        };
        let mut batches = EvenBatches::new(self.schema.clone());
        for chunk in chunks {
            let columns = columns
                .iter()
                .map(|column| match column {
                    TopicColumn::User(index) => {
                        let at = loaded.binary_search(index).expect("what a scan needs is loaded");
                        chunk.rows.column(at).clone()
                    }
                    TopicColumn::System(column) => chunk.system_column(*column, watermark_zone.as_deref()),
                })
                .collect();
            batches.add(batch_of(self.schema.clone(), columns, chunk.rows.num_rows())?)?;
        }
        batches.done()
    }

    /// Rows of one append to the topic that is not committed yet, at its present watermark. Other system columns are zero.
    pub fn topic_rows(&self, rows: &RecordBatch, watermark: Option<i64>) -> Result<RecordBatch, SqlError> {
        let run = crate::log::Run {
            rows: rows.num_rows(),
            lsn: 0,
            timestamp_us: 0,
            watermark,
        };
        let chunk = Chunk {
            partition: 0,
            base_offset: 0,
            rows: rows.clone(),
            runs: vec![run].into(),
        };
        let all: Vec<usize> = (0..rows.num_columns()).collect();
        let batches = self.topic_batches(&[chunk], &all)?;
        concat(&self.schema, &batches)
    }

    /// Changes of the view, with the columns that are needed.
    pub fn view_delta(&self, delta: &Delta) -> Result<Delta, SqlError> {
        let LeafSource::View { columns, .. } = &self.source else {
            panic!("deltas come from views");
        };
        let columns = columns.iter().map(|index| delta.batch.column(*index).clone()).collect();
        delta.clone().with_columns(self.schema.clone(), columns)
    }

    pub fn describe(&self) -> String {
        let names: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        let columns = names.join(", ");
        match &self.source {
            LeafSource::Topic { name, .. } => format!("Topic {name}: {columns}"),
            LeafSource::View { name, .. } => format!("View {name}: {columns}"),
        }
    }
}

/// Cuts large batches, puts small ones together.
struct EvenBatches {
    schema: SchemaRef,
    done: Vec<RecordBatch>,
    small: Vec<RecordBatch>,
    small_rows: usize,
    small_bytes: usize,
    /// Rows take any number of bytes.
    varies: bool,
}

impl EvenBatches {
    fn new(schema: SchemaRef) -> EvenBatches {
        let varies = |field: &FieldRef| !(field.data_type().is_primitive() || *field.data_type() == DataType::Boolean);
        EvenBatches {
            varies: schema.fields().iter().any(varies),
            schema,
            done: Vec::new(),
            small: Vec::new(),
            small_rows: 0,
            small_bytes: 0,
        }
    }

    fn add(&mut self, batch: RecordBatch) -> Result<(), SqlError> {
        if batch.num_rows() >= BATCH_ROWS_MIN {
            let all = batch.num_rows();
            let fitting = BATCH_BYTES_MAX.saturating_mul(all) / self.bytes(&batch).max(1);
            let rows_max = BATCH_ROWS_MAX.min(fitting);
            let mut offset = 0;
            while offset < all {
                let rows = rows_max.max(1).min(all - offset);
                self.done.push(batch.slice(offset, rows));
                offset += rows;
            }
        } else if batch.num_rows() > 0 {
            self.small_rows += batch.num_rows();
            self.small_bytes += self.bytes(&batch);
            self.small.push(batch);
            if self.small_rows >= BATCH_ROWS_MAX - BATCH_ROWS_MIN || self.small_bytes >= BATCH_BYTES_MAX {
                self.join()?;
            }
        }
        Ok(())
    }

    /// Of its own rows; of no account where all are as small.
    fn bytes(&self, batch: &RecordBatch) -> usize {
        if self.varies { batch_bytes(batch) } else { 0 }
    }

    fn join(&mut self) -> Result<(), SqlError> {
        if !self.small.is_empty() {
            self.done.push(concat(&self.schema, &self.small)?);
            self.small.clear();
            self.small_rows = 0;
            self.small_bytes = 0;
        }
        Ok(())
    }

    fn done(mut self) -> Result<Vec<RecordBatch>, SqlError> {
        self.join()?;
        Ok(self.done)
    }
}
