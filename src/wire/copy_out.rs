//! The encoder of rows for COPY TO STDOUT, text or csv: one CopyData message per line.
//!
//! `copy_in.rs` reads these lines back as the same rows. Not here: the sending of the lines.

use std::ops::Range;

use arrow::array::RecordBatch;
use bytes::{BufMut, BytesMut};

use super::rows::{ROW_BYTES_MAX, too_large};
use super::socket::OUTPUT_BYTES;
use crate::error::SqlError;
use crate::sql::field::OutField;
use crate::sql::statement::{CopyFormat, CopyKind};
use crate::types::{ColumnFormatter, PgType, TextStyle};

const COPY_DATA: u8 = b'd';

/// A COPY TO STDOUT in progress.
pub(super) struct CopyEncoder {
    columns: Vec<(String, PgType)>,
    /// csv: always quoted.
    force_quote: Vec<bool>,
    format: CopyFormat,
    style: TextStyle,
    /// Bytes that need an escape (text) or quotes (csv).
    special: [bool; 256],
}

impl CopyEncoder {
    pub fn new(fields: &[OutField], format: &CopyFormat, style: &TextStyle) -> CopyEncoder {
        let mut special = [false; 256];
        for byte in [b'\n', b'\r', format.delimiter] {
            special[usize::from(byte)] = true;
        }
        if format.kind == CopyKind::Csv {
            special[usize::from(format.quote)] = true;
        } else {
            for byte in [b'\\', b'\t', 8, 11, 12] {
                special[usize::from(byte)] = true;
            }
        }
        let force_quote = fields.iter().map(|field| match &format.force_quote {
            None => false,
            Some(None) => true,
            Some(Some(names)) => names.contains(&field.name),
        });
        CopyEncoder {
            columns: fields
                .iter()
                .map(|field| (field.name.clone(), field.pg_type.clone()))
                .collect(),
            force_quote: force_quote.collect(),
            format: format.clone(),
            style: style.clone(),
            special,
        }
    }

    /// The line of names, if HEADER asks for one.
    pub fn header(&self, out: &mut BytesMut) -> Result<(), SqlError> {
        if !self.format.header {
            return Ok(());
        }
        let start = begin(out);
        for (index, (name, _)) in self.columns.iter().enumerate() {
            if index > 0 {
                out.put_u8(self.format.delimiter);
            }
            self.write_value(name.as_bytes(), false, out);
        }
        out.put_u8(b'\n');
        end(start, out)
    }

    /// Appends a message for each of `rows` until `out` is full; returns their number.
    pub fn encode(&self, batch: &RecordBatch, rows: Range<usize>, out: &mut BytesMut) -> Result<usize, SqlError> {
        // Only the rows that are wanted are cast, if a column must be.
        let rows = batch.slice(rows.start, rows.len());
        let columns: Vec<ColumnFormatter> = self
            .columns
            .iter()
            .zip(rows.columns())
            .map(|((_, pg_type), column)| ColumnFormatter::new(pg_type, column, &self.style))
            .collect::<Result<_, _>>()?;
        let mut value = BytesMut::new();
        for row in 0..rows.num_rows() {
            let start = begin(out);
            for (index, column) in columns.iter().enumerate() {
                if index > 0 {
                    out.put_u8(self.format.delimiter);
                }
                if column.is_null(row) {
                    out.extend_from_slice(self.format.null.as_bytes());
                    continue;
                }
                value.clear();
                column.write_text(row, &mut value);
                self.write_value(&value, self.force_quote[index], out);
            }
            out.put_u8(b'\n');
            end(start, out)?;
            if out.len() >= OUTPUT_BYTES {
                return Ok(row + 1);
            }
        }
        Ok(rows.num_rows())
    }

    fn write_value(&self, value: &[u8], force_quote: bool, out: &mut BytesMut) {
        if self.format.kind == CopyKind::Csv {
            self.write_csv(value, force_quote, out);
        } else {
            self.write_text(value, out);
        }
    }

    fn write_text(&self, value: &[u8], out: &mut BytesMut) {
        let mut from = 0;
        for (at, byte) in value.iter().enumerate() {
            if !self.special[usize::from(*byte)] {
                continue;
            }
            out.extend_from_slice(&value[from..at]);
            from = at + 1;
            let letter = match byte {
                b'\n' => b'n',
                b'\r' => b'r',
                b'\t' => b't',
                8 => b'b',
                11 => b'v',
                12 => b'f',
                other => *other,
            };
            out.extend_from_slice(&[b'\\', letter]);
        }
        out.extend_from_slice(&value[from..]);
    }

    fn write_csv(&self, value: &[u8], force_quote: bool, out: &mut BytesMut) {
        let alone = self.columns.len() == 1;
        let quoted = force_quote
            || value == self.format.null.as_bytes()
            || (alone && value == b"\\.")
            || value.iter().any(|byte| self.special[usize::from(*byte)]);
        if !quoted {
            out.extend_from_slice(value);
            return;
        }
        out.put_u8(self.format.quote);
        for byte in value {
            if *byte == self.format.quote || *byte == self.format.escape {
                out.put_u8(self.format.escape);
            }
            out.put_u8(*byte);
        }
        out.put_u8(self.format.quote);
    }
}

/// Begins a CopyData message, and returns its start.
pub(super) fn begin(out: &mut BytesMut) -> usize {
    let start = out.len();
    out.put_u8(COPY_DATA);
    out.put_i32(0);
    start
}

/// Writes the length of the message. A message that is too long is taken back.
pub(super) fn end(start: usize, out: &mut BytesMut) -> Result<(), SqlError> {
    let length = out.len() - start - 1;
    if length > ROW_BYTES_MAX {
        out.truncate(start);
        return Err(too_large(length));
    }
    out[start + 1..start + 5].copy_from_slice(&(length as i32).to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array, StringArray};

    use super::super::copy_in::CopyDecoder;
    use super::*;

    fn fields() -> Vec<OutField> {
        let field = |name: &str, pg_type| OutField {
            name: name.to_string(),
            pg_type,
            typmod: None,
            table_oid: 0,
            column: 0,
        };
        vec![field("a", PgType::Int4), field("b\"c", PgType::Text)]
    }

    fn batch() -> RecordBatch {
        let texts = ["x", "", "a,b", "q\"q", "l1\nl2", "t\tb\\s", "\\N", "\\."];
        let a: ArrayRef = Arc::new(Int32Array::from(
            (0..9).map(|i| (i != 3).then_some(i)).collect::<Vec<_>>(),
        ));
        let b: ArrayRef = Arc::new(StringArray::from_iter(texts.into_iter().map(Some).chain([None])));
        RecordBatch::try_from_iter_with_nullable([("a", a, true), ("b\"c", b, true)]).expect("two columns of 9 rows")
    }

    fn lines(mut messages: &[u8]) -> String {
        let mut text = Vec::new();
        while let [COPY_DATA, a, b, c, d, rest @ ..] = messages {
            let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize - 4;
            text.extend_from_slice(&rest[..length]);
            messages = &rest[length..];
        }
        String::from_utf8(text).expect("values are UTF-8")
    }

    fn format(csv: bool) -> CopyFormat {
        CopyFormat {
            kind: if csv { CopyKind::Csv } else { CopyKind::Text },
            delimiter: if csv { b',' } else { b'\t' },
            null: if csv { String::new() } else { "\\N".to_string() },
            header: true,
            header_match: false,
            quote: b'"',
            escape: b'"',
            force_quote: None,
            force_not_null: Vec::new(),
            force_null: Vec::new(),
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for csv in [false, true] {
            let format = format(csv);
            let encoder = CopyEncoder::new(&fields(), &format, &TextStyle::default());
            let mut out = BytesMut::new();
            encoder.header(&mut out).expect("a short line");
            encoder.encode(&batch(), 0..5, &mut out).expect("plain types");
            encoder.encode(&batch(), 5..9, &mut out).expect("plain types");
            let text = lines(&out);
            let columns = [("a".to_string(), PgType::Int4), ("b\"c".to_string(), PgType::Text)];
            let match_header = CopyFormat {
                header_match: true,
                ..format
            };
            let mut decoder = CopyDecoder::new("t", &columns, &match_header, &TextStyle::default());
            assert!(decoder.push(text.as_bytes()).expect(&text).is_none());
            let rows = decoder.finish().expect(&text).expect("there are rows");
            assert_eq!(rows.columns(), batch().columns(), "{text}");
        }
    }

    /// As PostgreSQL 15 writes it.
    #[test]
    fn quotes_and_escapes_are_postgresqls() {
        let write = |format: &CopyFormat| {
            let mut out = BytesMut::new();
            let encoder = CopyEncoder::new(&fields(), format, &TextStyle::default());
            encoder.header(&mut out).expect("a short line");
            encoder.encode(&batch(), 0..9, &mut out).expect("plain types");
            lines(&out)
        };
        assert_eq!(
            write(&format(false)),
            "a\tb\"c\n0\tx\n1\t\n2\ta,b\n\\N\tq\"q\n4\tl1\\nl2\n5\tt\\tb\\\\s\n6\t\\\\N\n7\t\\\\.\n8\t\\N\n"
        );
        assert_eq!(
            write(&format(true)),
            "a,\"b\"\"c\"\n0,x\n1,\"\"\n2,\"a,b\"\n,\"q\"\"q\"\n4,\"l1\nl2\"\n5,t\tb\\s\n6,\\N\n7,\\.\n8,\n"
        );
        let forced = CopyFormat {
            header: false,
            force_quote: Some(Some(vec!["a".to_string()])),
            ..format(true)
        };
        assert!(write(&forced).starts_with("\"0\",x\n"));
    }
}
