//! COPY in PostgreSQL's binary format: the client's data to record batches, and rows to its fields.
//!
//! One rule: the client's cuts of its data into messages change nothing. A field goes from the message straight into
//! its column's builder once all of it has come; errors name table, row ("line") and column as PostgreSQL does.
//!
//! ```text
//! header   0 11  "PGCOPY\n\xff\r\n\0"
//!         11  4  flags: none are known, and those of bits 16 to 31 must be
//!         15  4  bytes of an extension, which follows and says nothing to us
//! row      0  2  number of fields, or -1: the end, after which nothing may come
//!          2 ..  per field 4 bytes of length (-1: NULL) and the value as its type is sent
//! ```
//!
//! Not here: messages, the types' own forms (`types`), the use of the rows.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use bytes::{BufMut, BytesMut};

use super::copy_out;
use super::socket::OUTPUT_BYTES;
use crate::error::{SqlError, state};
use crate::sql::field::OutField;
use crate::types::{ColumnBuilder, ColumnFormatter, PgType, TextStyle};

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
const HEADER_BYTES: usize = SIGNATURE.len() + 8;
/// Flag of a format that is gone: rows begin with an OID.
const WITH_OIDS: u32 = 1 << 16;
/// In place of the number of fields.
const TRAILER: i16 = -1;
const NULL: i32 = -1;

/// Rows at which a batch is handed over.
const ROWS_MAX: usize = 64 << 10;
/// Bytes of rows at which a batch is handed over.
const BYTES_MAX: usize = 8 << 20;
/// Rows that a new batch has room for.
const ROWS_FORESEEN: usize = 1 << 10;
/// PostgreSQL's limit for one field.
const FIELD_BYTES_MAX: usize = 0x3fff_fffe;

/// A COPY FROM STDIN in progress.
pub(super) struct BinaryDecoder {
    table: String,
    columns: Vec<(String, ColumnBuilder)>,
    schema: SchemaRef,
    /// Bytes that cannot be taken yet: part of the header, of a field, or of a row's number of fields.
    pending: Vec<u8>,
    next: Next,
    /// Rows begun so far: PostgreSQL calls them lines.
    line: u64,
    /// Whole rows in the builders, and the bytes that they came as.
    rows: usize,
    bytes: usize,
}

/// The next part of the data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    Header,
    /// Bytes to skip.
    Extension(usize),
    Row,
    /// Of the row that has begun.
    Field(usize),
    Nothing,
}

impl BinaryDecoder {
    pub fn new(table: &str, columns: &[(String, PgType)]) -> BinaryDecoder {
        let fields: Vec<_> = columns
            .iter()
            .map(|(name, pg_type)| pg_type.field(name, true))
            .collect();
        let columns = columns
            .iter()
            .map(|(name, pg_type)| (name.clone(), ColumnBuilder::new(pg_type, ROWS_FORESEEN)));
        BinaryDecoder {
            table: table.to_string(),
            columns: columns.collect(),
            schema: Arc::new(Schema::new(fields)),
            pending: Vec::new(),
            next: Next::Header,
            line: 0,
            rows: 0,
            bytes: 0,
        }
    }

    /// Takes the next bytes. A batch comes back when enough rows are complete.
    pub fn push(&mut self, data: &[u8]) -> Result<Option<RecordBatch>, SqlError> {
        if self.pending.is_empty() {
            let (taken, batch) = self.take(data)?;
            self.pending.extend_from_slice(&data[taken..]);
            return Ok(batch);
        }
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend_from_slice(data);
        let (taken, batch) = self.take(&pending)?;
        pending.drain(..taken);
        self.pending = pending;
        Ok(batch)
    }

    /// Bytes of the row that has begun and is not whole yet.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// All data has come. The rows that were not handed over yet.
    pub fn finish(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        match self.next {
            // Names the missing part.
            Next::Header => {
                extension_bytes(&self.pending)?;
            }
            Next::Extension(left) if left > 0 => return Err(bad_header("wrong length")),
            Next::Field(index) => return Err(self.at(bad("unexpected EOF in COPY data"), Some(index))),
            // PostgreSQL does not miss the trailer either.
            Next::Extension(_) | Next::Row | Next::Nothing => {}
        }
        Ok((self.rows > 0).then(|| self.batch()))
    }

    /// Takes whole rows from the start of `data`; returns their length, and a batch if there are enough rows.
    fn take(&mut self, data: &[u8]) -> Result<(usize, Option<RecordBatch>), SqlError> {
        let mut batch = None;
        let mut at = 0;
        loop {
            let rest = &data[at..];
            match self.next {
                Next::Row => {
                    // Only between rows do all columns have the same length.
                    if batch.is_none() && (self.rows >= ROWS_MAX || self.bytes >= BYTES_MAX) {
                        batch = Some(self.batch());
                    }
                    let Some(count) = rest.first_chunk() else { break };
                    at += count.len();
                    self.next = self.begin_row(i16::from_be_bytes(*count))?;
                }
                Next::Field(first) => {
                    let (taken, next) = self.take_fields(rest, first)?;
                    at += taken;
                    self.bytes += taken;
                    self.next = next;
                    if let Next::Field(_) = next {
                        break;
                    }
                    self.rows += 1;
                }
                Next::Header => {
                    if rest.len() < HEADER_BYTES {
                        break;
                    }
                    self.next = Next::Extension(extension_bytes(rest)?);
                    at += HEADER_BYTES;
                }
                Next::Extension(left) => {
                    let skipped = left.min(rest.len());
                    at += skipped;
                    if skipped < left {
                        self.next = Next::Extension(left - skipped);
                        break;
                    }
                    self.next = Next::Row;
                }
                Next::Nothing => {
                    if !rest.is_empty() {
                        self.line += 1;
                        return Err(self.at(bad("received copy data after EOF marker"), None));
                    }
                    break;
                }
            }
        }
        Ok((at, batch))
    }

    fn begin_row(&mut self, count: i16) -> Result<Next, SqlError> {
        if count == TRAILER {
            return Ok(Next::Nothing);
        }
        self.line += 1;
        let expected = self.columns.len();
        if usize::try_from(count) != Ok(expected) {
            let message = format!("row field count is {count}, expected {expected}");
            return Err(self.at(bad(message), None));
        }
        Ok(Next::Field(0))
    }

    /// Takes the row's fields from `first` on, as far as they are whole; returns their length, and the next part.
    fn take_fields(&mut self, data: &[u8], first: usize) -> Result<(usize, Next), SqlError> {
        let mut rest = data;
        for index in first..self.columns.len() {
            let taken = data.len() - rest.len();
            let Some((length, tail)) = rest.split_first_chunk() else {
                return Ok((taken, Next::Field(index)));
            };
            let length = i32::from_be_bytes(*length);
            let builder = &mut self.columns[index].1;
            if length == NULL {
                builder.append_null();
                rest = tail;
                continue;
            }
            let length = match usize::try_from(length) {
                Ok(length) if length <= FIELD_BYTES_MAX => length,
                _ => return Err(self.bad_length(length, index)),
            };
            let Some((value, tail)) = tail.split_at_checked(length) else {
                return Ok((taken, Next::Field(index)));
            };
            if let Err(error) = builder.append_binary(value) {
                return Err(self.at(error, Some(index)));
            }
            rest = tail;
        }
        Ok((data.len() - rest.len(), Next::Row))
    }

    fn batch(&mut self) -> RecordBatch {
        let columns = self.columns.iter_mut().map(|(_, builder)| builder.finish()).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        (self.rows, self.bytes) = (0, 0);
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .expect("each row appended one value to each column")
    }

    #[cold]
    fn bad_length(&self, length: i32, index: usize) -> SqlError {
        let error = if length < 0 {
            bad("invalid field size")
        } else {
            SqlError::new(state::PROGRAM_LIMIT_EXCEEDED, "a field of COPY data is too long")
                .detail(format!("It has {length} bytes; a field may have {FIELD_BYTES_MAX}."))
        };
        self.at(error, Some(index))
    }

    /// `COPY t, line 3, column x`
    #[cold]
    fn at(&self, error: SqlError, column: Option<usize>) -> SqlError {
        let mut place = format!("COPY {}, line {}", self.table, self.line);
        if let Some(index) = column {
            place.push_str(&format!(", column {}", self.columns[index].0));
        }
        match error.context.clone() {
            // The type's own context comes first, as it is the inner one.
            Some(inner) => error.context(format!("{inner}\n{place}")),
            None => error.context(place),
        }
    }
}

/// Checks a header, whole or not, and returns the length of its extension.
fn extension_bytes(header: &[u8]) -> Result<usize, SqlError> {
    let Some(rest) = header.strip_prefix(SIGNATURE) else {
        return Err(bad("COPY file signature not recognized"));
    };
    let Some((flags, rest)) = rest.split_first_chunk() else {
        return Err(bad_header("missing flags"));
    };
    let flags = u32::from_be_bytes(*flags);
    if flags & WITH_OIDS != 0 {
        return Err(bad_header("WITH OIDS"));
    }
    if flags >> 16 != 0 {
        return Err(bad("unrecognized critical flags in COPY file header"));
    }
    let length = rest.first_chunk().map(|length| i32::from_be_bytes(*length));
    let length = length.and_then(|length| usize::try_from(length).ok());
    length.ok_or_else(|| bad_header("missing length"))
}

fn bad_header(what: &str) -> SqlError {
    bad(format!("invalid COPY file header ({what})"))
}

fn bad(message: impl Into<String>) -> SqlError {
    SqlError::new(state::BAD_COPY_FILE_FORMAT, message)
}

/// A COPY TO STDOUT in progress: one message per row. The header shares the first one, as drivers expect.
pub(super) struct BinaryEncoder {
    columns: Vec<PgType>,
    style: TextStyle,
    /// The header was written.
    begun: bool,
}

impl BinaryEncoder {
    pub fn new(fields: &[OutField], style: &TextStyle) -> BinaryEncoder {
        BinaryEncoder {
            columns: fields.iter().map(|field| field.pg_type.clone()).collect(),
            style: style.clone(),
            begun: false,
        }
    }

    /// Appends a message for each of `rows` until `out` is full; returns their number. After an error `out` ends with a
    /// whole message.
    pub fn encode(&mut self, batch: &RecordBatch, rows: Range<usize>, out: &mut BytesMut) -> Result<usize, SqlError> {
        // Only the rows that are wanted are cast, if a column must be.
        let rows = batch.slice(rows.start, rows.len());
        let columns: Vec<ColumnFormatter> = self
            .columns
            .iter()
            .zip(rows.columns())
            .map(|(pg_type, column)| ColumnFormatter::new(pg_type, column, &self.style))
            .collect::<Result<_, _>>()?;
        let count = i16::try_from(columns.len()).expect("the columns were counted before the first row");
        for row in 0..rows.num_rows() {
            let start = copy_out::begin(out);
            self.header(out);
            out.put_i16(count);
            for column in &columns {
                column.write_field(row, true, out);
            }
            copy_out::end(start, out)?;
            if out.len() >= OUTPUT_BYTES {
                return Ok(row + 1);
            }
        }
        Ok(rows.num_rows())
    }

    /// Appends the end, after all rows.
    pub fn finish(mut self, out: &mut BytesMut) -> Result<(), SqlError> {
        let start = copy_out::begin(out);
        self.header(out);
        out.put_i16(TRAILER);
        copy_out::end(start, out)
    }

    fn header(&mut self, out: &mut BytesMut) {
        if !std::mem::replace(&mut self.begun, true) {
            out.extend_from_slice(SIGNATURE);
            out.put_u32(0);
            out.put_i32(0);
        }
    }
}

#[cfg(test)]
mod tests;
