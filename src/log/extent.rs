//! [`Extent`]: consecutive rows of one partition, wherever they lie, as a scan meets them.
//!
//! One rule: the bounds that an extent gives without loading its rows hold: it may have fewer rows, never others.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;

use super::columns::{Range, Reader, missing_column, position_of};
use super::segment::{Entry, Index, Segment, batch_of};
use super::{Chunk, LogError, Lsn};

/// Rows in memory, or a batch of a segment.
#[derive(Clone, Debug)]
pub enum Extent {
    Memory(Chunk),
    Stored(Stored),
}

/// A batch of a segment, from which the rows of some commits are wanted.
#[derive(Clone, Debug)]
pub struct Stored {
    segment: Arc<Segment>,
    index: Arc<Index>,
    batch: usize,
    range: Range,
    /// The reader's schema, if it is not the segment's.
    schema: Option<SchemaRef>,
}

/// Inclusive bounds of rows that have not been loaded.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub partition: u32,
    pub first_offset: u64,
    pub last_offset: u64,
    pub first_lsn: Lsn,
    pub last_lsn: Lsn,
    pub first_us: i64,
    pub last_us: i64,
}

impl Stored {
    pub fn new(segment: Arc<Segment>, index: Arc<Index>, batch: usize, range: Range, reader: &Reader) -> Stored {
        let schema = (segment.info.schema_id != reader.schema_id).then(|| Arc::clone(&reader.schema));
        Stored {
            segment,
            index,
            batch,
            range,
            schema,
        }
    }

    fn entry(&self) -> &Entry {
        &self.index.entries[self.batch]
    }

    /// The number of rows, at most.
    pub fn rows_max(&self) -> usize {
        self.entry().rows as usize
    }

    /// Whether all rows of the batch are wanted.
    pub fn is_whole(&self) -> bool {
        let entry = self.entry();
        entry.first_lsn > self.range.after
            && entry.last_lsn <= self.range.upto
            && entry.base_offset >= self.range.start
            && self.range.since_us.is_none_or(|since_us| entry.first_us >= since_us)
    }

    /// Bytes in the file.
    pub fn bytes(&self) -> u64 {
        self.entry().bytes()
    }

    pub fn bounds(&self) -> Bounds {
        let entry = self.entry();
        Bounds {
            partition: self.segment.info.partition,
            first_offset: entry.base_offset,
            last_offset: entry.base_offset + u64::from(entry.rows) - 1,
            first_lsn: entry.first_lsn,
            last_lsn: entry.last_lsn,
            first_us: entry.first_us,
            last_us: entry.last_us,
        }
    }

    /// Position in the segment of a column of the topic.
    fn position(&self, column: usize) -> Option<usize> {
        match &self.schema {
            None => Some(column),
            Some(schema) => position_of(&self.segment.schema, schema, column),
        }
    }

    /// Least and greatest value of a column of the topic, arrays of one; null where not known, `None` if they are not
    /// kept for its type.
    pub fn column_bounds(&self, column: usize) -> Option<(ArrayRef, ArrayRef)> {
        let (min, max) = self.index.bounds(self.position(column)?)?;
        Some((min.slice(self.batch, 1), max.slice(self.batch, 1)))
    }

    /// Nulls of a column of the topic: an array of one UInt64.
    pub fn column_nulls(&self, column: usize) -> Option<ArrayRef> {
        Some(self.index.nulls(self.position(column)?)?.slice(self.batch, 1))
    }

    /// Reads the wanted rows: those columns of the topic in that order, or all of them. `None` if there are no rows.
    pub fn load(&self, columns: Option<&[usize]>) -> Result<Option<Chunk>, LogError> {
        let chunk = match &self.schema {
            None => self.segment.load(self.batch, columns)?,
            Some(schema) => {
                let all: Vec<usize> = (0..schema.fields().len()).collect();
                let load = |present: &[usize]| self.segment.load(self.batch, Some(present));
                self.load_as(schema, columns.unwrap_or(&all), load)?
            }
        };
        Ok(chunk.within(&self.range))
    }

    /// The same, but columns that are stored as dictionaries remain so: [`expand`](super::expand) makes values of them.
    pub fn load_lazily(&self, columns: &[usize]) -> Result<Option<Chunk>, LogError> {
        let load = |columns: &[usize]| self.segment.load_lazily(self.batch, columns);
        let chunk = match &self.schema {
            None => load(columns)?,
            Some(schema) => self.load_as(schema, columns, load)?,
        };
        Ok(chunk.within(&self.range))
    }

    /// Columns that the segment does not have are as they were when they were added.
    fn load_as(
        &self,
        schema: &SchemaRef,
        columns: &[usize],
        load: impl Fn(&[usize]) -> Result<Chunk, LogError>,
    ) -> Result<Chunk, LogError> {
        let positions: Vec<Option<usize>> = columns.iter().map(|column| self.position(*column)).collect();
        let present: Vec<usize> = positions.iter().flatten().copied().collect();
        let chunk = load(&present)?;
        let rows = chunk.rows.num_rows();
        let mut loaded = chunk.rows.columns().iter();
        let columns = columns.iter().zip(positions).map(|(column, position)| {
            let field = schema.field(*column);
            let array = match position {
                Some(_) => Arc::clone(loaded.next().expect("it was loaded")),
                None => missing_column(field, rows),
            };
            // A dropped column that is NOT NULL holds NULLs.
            (field.clone().with_nullable(true), array)
        });
        let rows = batch_of(columns.collect(), rows);
        Ok(Chunk { rows, ..chunk })
    }
}

impl Extent {
    pub fn partition(&self) -> u32 {
        match self {
            Extent::Memory(chunk) => chunk.partition,
            Extent::Stored(stored) => stored.bounds().partition,
        }
    }

    /// The number of rows, at most.
    pub fn rows_max(&self) -> usize {
        match self {
            Extent::Memory(chunk) => chunk.rows.num_rows(),
            Extent::Stored(stored) => stored.rows_max(),
        }
    }

    /// LSN of its last row, or more.
    pub fn last_lsn(&self) -> Lsn {
        match self {
            Extent::Memory(chunk) => chunk.last_lsn(),
            Extent::Stored(stored) => stored.bounds().last_lsn.min(stored.range.upto),
        }
    }

    /// An offset that no row of it reaches.
    pub fn end_offset(&self) -> u64 {
        match self {
            Extent::Memory(chunk) => chunk.base_offset + chunk.rows.num_rows() as u64,
            Extent::Stored(stored) => stored.bounds().last_offset + 1,
        }
    }

    /// The rows, with all columns. `None` if there are none.
    pub fn load(&self) -> Result<Option<Chunk>, LogError> {
        match self {
            Extent::Memory(chunk) => Ok(Some(chunk.clone())),
            Extent::Stored(stored) => stored.load(None),
        }
    }

    /// The rows, with these columns of the reader's schema in that order. `None` if there are none.
    pub fn load_columns(&self, columns: &[usize]) -> Result<Option<Chunk>, LogError> {
        match self {
            Extent::Memory(chunk) => {
                let rows = chunk.rows.project(columns).expect("columns of the reader's schema");
                Ok(Some(Chunk { rows, ..chunk.clone() }))
            }
            Extent::Stored(stored) => stored.load(Some(columns)),
        }
    }
}
