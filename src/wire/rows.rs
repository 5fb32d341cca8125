//! The encoder of record batches as DataRow messages, straight from the Arrow columns.
//!
//! Not here: RowDescription, and when the rows are sent.

use std::ops::Range;

use arrow::array::RecordBatch;
use bytes::{BufMut, BytesMut};

use super::socket::OUTPUT_BYTES;
use crate::error::{SqlError, state};
use crate::sql::field::OutField;
use crate::types::{ColumnFormatter, PgType, TextStyle};

const DATA_ROW: u8 = b'D';
/// PostgreSQL's limit for one message.
pub(super) const ROW_BYTES_MAX: usize = 0x3fff_ffff;

/// The encoder of the rows of one answer.
pub(super) struct RowEncoder {
    /// Each column's type, and whether it goes in binary.
    columns: Vec<(PgType, bool)>,
    style: TextStyle,
}

impl RowEncoder {
    /// `formats`: one per field, 0 text, 1 binary.
    pub fn new(fields: &[OutField], formats: &[i16], style: &TextStyle) -> RowEncoder {
        assert_eq!(fields.len(), formats.len(), "each field has a format");
        let columns = fields
            .iter()
            .zip(formats)
            .map(|(field, format)| (field.pg_type.clone(), *format == 1));
        RowEncoder {
            columns: columns.collect(),
            style: style.clone(),
        }
    }

    /// Appends a message for each of `rows` until `out` is full; returns their number. After an error `out` ends with a
    /// whole message.
    pub fn encode(&self, batch: &RecordBatch, rows: Range<usize>, out: &mut BytesMut) -> Result<usize, SqlError> {
        assert_eq!(
            batch.num_columns(),
            self.columns.len(),
            "rows have the columns that were described"
        );
        let count = i16::try_from(self.columns.len()).map_err(|_| {
            SqlError::new(
                state::PROGRAM_LIMIT_EXCEEDED,
                "target lists can have at most 1664 entries",
            )
        })?;
        // Only the rows that are wanted are cast, if a column must be.
        let rows = batch.slice(rows.start, rows.len());
        let columns: Vec<(ColumnFormatter, bool)> = self
            .columns
            .iter()
            .zip(rows.columns())
            .map(|((pg_type, binary), column)| Ok((ColumnFormatter::new(pg_type, column, &self.style)?, *binary)))
            .collect::<Result<_, SqlError>>()?;
        for row in 0..rows.num_rows() {
            let start = out.len();
            out.put_u8(DATA_ROW);
            out.put_i32(0);
            out.put_i16(count);
            for (column, binary) in &columns {
                column.write_field(row, *binary, out);
            }
            let length = out.len() - start - 1;
            if length > ROW_BYTES_MAX {
                out.truncate(start);
                return Err(too_large(length));
            }
            out[start + 1..start + 5].copy_from_slice(&(length as i32).to_be_bytes());
            if out.len() >= OUTPUT_BYTES {
                return Ok(row + 1);
            }
        }
        Ok(rows.num_rows())
    }
}

/// Bytes of a row's message, more than [`ROW_BYTES_MAX`].
#[cold]
pub(super) fn too_large(length: usize) -> SqlError {
    SqlError::new(state::PROGRAM_LIMIT_EXCEEDED, "row is too large to send")
        .detail(format!("It has {length} bytes; a message may have {ROW_BYTES_MAX}."))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array, StringArray};

    use super::*;

    #[test]
    fn rows_are_whole_messages() {
        let field = |name: &str, pg_type| OutField {
            name: name.to_string(),
            pg_type,
            typmod: None,
            table_oid: 0,
            column: 0,
        };
        let a: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(3)]));
        let b: ArrayRef = Arc::new(StringArray::from(vec!["x", "y", "z"]));
        let batch = RecordBatch::try_from_iter([("a", a), ("b", b)]).expect("two columns of 3 rows");
        let fields = [field("a", PgType::Int4), field("b", PgType::Text)];
        let encoder = RowEncoder::new(&fields, &[1, 0], &TextStyle::default());
        let mut out = BytesMut::new();
        encoder.encode(&batch, 0..2, &mut out).expect("plain types");
        let expected: &[u8] = &[
            b'D', 0, 0, 0, 19, 0, 2, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 1, b'x', //
            b'D', 0, 0, 0, 15, 0, 2, 255, 255, 255, 255, 0, 0, 0, 1, b'y',
        ];
        assert_eq!(&out[..], expected);
    }

    #[test]
    fn wide_rows_fill_the_output_before_all_of_a_batch_are_encoded() {
        let field = OutField {
            name: "a".to_string(),
            pg_type: PgType::Text,
            typmod: None,
            table_oid: 0,
            column: 0,
        };
        let wide: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(OUTPUT_BYTES / 2); 100]));
        let batch = RecordBatch::try_from_iter([("a", wide)]).expect("a column of 100 rows");
        let encoder = RowEncoder::new(&[field], &[0], &TextStyle::default());
        let mut out = BytesMut::new();
        assert_eq!(encoder.encode(&batch, 0..100, &mut out), Ok(2));
        assert!(out.len() < 2 * OUTPUT_BYTES);
        out.clear();
        assert_eq!(encoder.encode(&batch, 99..100, &mut out), Ok(1));
    }
}
