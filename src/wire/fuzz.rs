//! The decoders of COPY data, fed with mutated rows.
//!
//! COPY data gives the same rows or the same error wherever it is cut into messages, and rows that are written are read again.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use bytes::BytesMut;

use super::copy_binary::{BinaryDecoder, BinaryEncoder};
use super::copy_in::CopyDecoder;
use super::copy_out::CopyEncoder;
use crate::error::SqlError;
use crate::fuzz::{self, Target};
use crate::sql::plan::OutField;
use crate::sql::statement::{CopyFormat, CopyKind};
use crate::types::{PgType, TextStyle};

fn columns() -> Vec<(String, PgType)> {
    let names = [
        "integer",
        "text",
        "numeric(10,2)",
        "timestamp with time zone",
        "bytea",
        "integer[]",
        "jsonb",
        "interval",
        "boolean",
    ];
    let column = |name: &&str| (name.to_string(), PgType::parse(name).expect("a type"));
    names.iter().map(column).collect()
}

fn fields() -> Vec<OutField> {
    let field = |(name, pg_type)| OutField {
        name,
        pg_type,
        table_oid: 0,
        column: 0,
    };
    columns().into_iter().map(field).collect()
}

/// What a decoder of either kind does.
trait Decoder {
    fn push(&mut self, data: &[u8]) -> Result<Option<RecordBatch>, SqlError>;
    fn finish(&mut self) -> Result<Option<RecordBatch>, SqlError>;
}

impl Decoder for CopyDecoder {
    fn push(&mut self, data: &[u8]) -> Result<Option<RecordBatch>, SqlError> {
        CopyDecoder::push(self, data)
    }
    fn finish(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        CopyDecoder::finish(self)
    }
}

impl Decoder for BinaryDecoder {
    fn push(&mut self, data: &[u8]) -> Result<Option<RecordBatch>, SqlError> {
        BinaryDecoder::push(self, data)
    }
    fn finish(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        BinaryDecoder::finish(self)
    }
}

/// All rows as one batch; `None` if there are none.
fn rows(mut decoder: impl Decoder, pieces: &[&[u8]]) -> Result<Option<RecordBatch>, SqlError> {
    let mut batches = Vec::new();
    for piece in pieces {
        batches.extend(decoder.push(piece)?);
    }
    batches.extend(decoder.finish()?);
    let Some(first) = batches.first() else { return Ok(None) };
    Ok(Some(
        concat_batches(&first.schema(), &batches).expect("batches of one schema"),
    ))
}

/// Reads `data` whole, in two pieces and in many; the rows, if they are good.
fn read<D: Decoder>(decoder: impl Fn() -> D, data: &[u8]) -> Option<RecordBatch> {
    let whole = rows(decoder(), &[data]);
    let (head, tail) = data.split_at(data.len() / 3);
    let pieces: Vec<&[u8]> = data.chunks(7).collect();
    for cut in [&[head, tail][..], &pieces] {
        let again = rows(decoder(), cut);
        match (&whole, &again) {
            (Ok(whole), Ok(again)) => assert_eq!(again, whole, "cut elsewhere, other rows"),
            (Err(whole), Err(again)) => {
                assert_eq!(
                    (&again.state, &again.message),
                    (&whole.state, &whole.message),
                    "cut elsewhere, another error"
                );
            }
            (whole, again) => panic!("cut elsewhere, another end: {whole:?}, {again:?}"),
        }
    }
    whole.ok().flatten()
}

/// The data of CopyData messages.
fn data_of(mut messages: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    while let Some((head, rest)) = messages.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize - 4;
        data.extend_from_slice(&rest[..length]);
        messages = &rest[length..];
    }
    data
}

const TEXT_ROWS: &[u8] =
    b"1\ta\\tb\t12.34\t2024-01-02 03:04:05+00\t\\\\x00ff\t{1,NULL,3}\t{\"a\": [1]}\t1 day 02:03:04\tt\n\
    \\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\n\
    -7\tgr\xc3\xb6\xc3\x9fe\\n\\x41\\101\t0\tepoch\t\\\\000\t{}\t\"x\"\tP1Y\tfalse\n\\.\n";

const CSV_ROWS: &[u8] =
    b"1,\"a,\"\"b\"\"\nc\",12.34,2024-01-02 03:04:05+00,\\x00ff,\"{1,NULL,3}\",\"{\"\"a\"\": [1]}\",1 day,t\n\
    ,\"\",,,,,,,\n7,x,0,epoch,\\000,{},1,P1Y,f\n";

fn format(choice: u8) -> CopyFormat {
    let csv = choice & 1 == 1;
    let kind = if csv { CopyKind::Csv } else { CopyKind::Text };
    CopyFormat {
        kind,
        delimiter: match (csv, choice & 2) {
            (true, 0) => b',',
            (false, 0) => b'\t',
            _ => b'|',
        },
        null: match (csv, choice & 4) {
            (true, 0) => String::new(),
            (false, 0) => "\\N".to_string(),
            _ => "nil".to_string(),
        },
        header: choice & 8 != 0,
        header_match: choice & 24 == 24,
        quote: if choice & 32 == 0 { b'"' } else { b'\'' },
        escape: if choice & 64 == 0 { b'"' } else { b'\\' },
        force_quote: (choice & 128 != 0).then_some(None),
        force_not_null: Vec::new(),
        force_null: Vec::new(),
    }
}

/// The first byte of an input chooses the format.
#[test]
fn copy_text_and_csv() {
    let begun = |choice: u8, rows: &[u8]| [&[choice], rows].concat();
    let named = |rows: &[u8], delimiter: &str| {
        let names: Vec<String> = columns().into_iter().map(|(name, _)| name).collect();
        [names.join(delimiter).as_bytes(), b"\n", rows].concat()
    };
    let target = Target {
        name: "copy_text",
        samples: vec![
            begun(0, TEXT_ROWS),
            begun(8, &named(TEXT_ROWS, "\t")),
            begun(24, &named(TEXT_ROWS, "\t")),
            begun(1, CSV_ROWS),
            begun(9, &named(CSV_ROWS, ",")),
            begun(0, &TEXT_ROWS.repeat(20).replace_all(b"\\.\n", b"")),
            begun(1, &CSV_ROWS.repeat(20)),
        ],
        words: &[
            b"\\.", b"\n\\.\n", b"\r\n", b"\r", b"\n", b"\"\"", b"\"", b"\\", b"\\N", b"\\x", b"\\377", b"\t\t", b",,",
            b"nil", b"|", b"'", b"{\"a\",", b"\\\n", b"\xc3", b"\0", b"\\\\", b"\\\"",
        ],
        growth: 512,
    };
    fuzz::run(&target, |input| {
        let Some((choice, data)) = input.split_first() else {
            return false;
        };
        let format = format(*choice);
        let style = TextStyle::default();
        let decoder = |format: &CopyFormat| CopyDecoder::new("t", &columns(), format, &style);
        let Some(batch) = read(|| decoder(&format), data) else {
            return false;
        };
        let mut out = BytesMut::new();
        let encoder = CopyEncoder::new(&fields(), &format, &style);
        encoder.header(&mut out).expect("a short header");
        encoder
            .encode(&batch, 0..batch.num_rows(), &mut out)
            .expect("short rows");
        let written = data_of(&out);
        let again = rows(decoder(&format), &[&written]);
        let again = again.unwrap_or_else(|error| panic!("written and refused: {error:?}: {}", fuzz::literal(&written)));
        assert_eq!(again.as_ref(), Some(&batch), "written as {}", fuzz::literal(&written));
        true
    });
}

trait ReplaceAll {
    fn replace_all(&self, from: &[u8], to: &[u8]) -> Vec<u8>;
}

impl ReplaceAll for Vec<u8> {
    fn replace_all(&self, from: &[u8], to: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = &self[..];
        while !rest.is_empty() {
            match rest.strip_prefix(from) {
                Some(after) => {
                    out.extend_from_slice(to);
                    rest = after;
                }
                None => {
                    out.push(rest[0]);
                    rest = &rest[1..];
                }
            }
        }
        out
    }
}

#[test]
fn copy_binary() {
    let style = TextStyle::default();
    let read_text = rows(CopyDecoder::new("t", &columns(), &format(0), &style), &[TEXT_ROWS]);
    let batch = read_text.expect("good rows").expect("some rows");
    let write = |batch: &RecordBatch| {
        let mut out = BytesMut::new();
        let mut encoder = BinaryEncoder::new(&fields(), &TextStyle::default());
        encoder
            .encode(batch, 0..batch.num_rows(), &mut out)
            .expect("short rows");
        encoder.finish(&mut out).expect("a short end");
        data_of(&out)
    };
    let target = Target {
        name: "copy_binary",
        samples: vec![write(&batch), write(&batch.slice(0, 1))],
        words: &[
            b"\xff\xff",
            b"\0\x09",
            b"\xff\xff\xff\xff",
            b"\0\0\0\0",
            b"\x7f\xff\xff\xff",
            b"\0\0\0\x04",
            b"\x3f\xff\xff\xfe",
        ],
        growth: 512,
    };
    fuzz::run(&target, |data| {
        let decoder = || BinaryDecoder::new("t", &columns());
        let Some(batch) = read(decoder, data) else { return false };
        let again = rows(decoder(), &[&write(&batch)]).expect("what was written is read");
        assert_eq!(again.as_ref(), Some(&batch));
        true
    });
}
