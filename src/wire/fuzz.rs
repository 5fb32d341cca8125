//! Fuzz targets of the decoders of clients' bytes: mutated messages and COPY data.
//!
//! A message is decoded, waits for more, or is 08P01. COPY data gives the same rows or the same error wherever it is cut into
//! messages, and its rows are written and read again.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use bytes::{BufMut, BytesMut};

use super::copy_binary::{BinaryDecoder, BinaryEncoder};
use super::copy_in::CopyDecoder;
use super::copy_out::CopyEncoder;
use super::frontend::{self, Frontend, Phase};
use crate::error::SqlError;
use crate::fuzz::{self, Target};
use crate::sql::field::OutField;
use crate::sql::statement::{CopyFormat, CopyKind};
use crate::types::{PgType, TextStyle};

/// A message of this kind; none for those of the startup.
fn framed(kind: Option<u8>, body: &[u8]) -> Vec<u8> {
    let mut message: Vec<u8> = kind.into_iter().collect();
    message.put_u32(body.len() as u32 + 4);
    message.extend_from_slice(body);
    message
}

/// The first byte of an input: the phase of the conversation that it begins in.
const OPENING: u8 = 0;
const LOGIN: u8 = 1;
const SESSION: u8 = 2;

fn messages() -> Vec<Vec<u8>> {
    let startup = |version: u32, words: &[u8]| framed(None, &[&version.to_be_bytes(), words].concat());
    let words = b"user\0millstream\0database\0millstream\0options\0-c TimeZone=UTC\0\0";
    let extended = [
        framed(Some(b'P'), b"s\0SELECT $1::int\0\0\x01\0\0\0\x17"),
        framed(Some(b'D'), b"Ss\0"),
        framed(
            Some(b'B'),
            b"p\0s\0\0\x02\0\0\0\x01\0\x02\0\0\0\x04\0\0\0\x01\xff\xff\xff\xff\0\x01\0\x01",
        ),
        framed(Some(b'D'), b"Pp\0"),
        framed(Some(b'E'), b"p\0\0\0\0\x05"),
        framed(Some(b'C'), b"Ss\0"),
        framed(Some(b'H'), b""),
        framed(Some(b'S'), b""),
    ];
    let copy = [
        framed(Some(b'Q'), b"COPY t FROM STDIN\0"),
        framed(Some(b'd'), b"1\ta\n2\tb\n"),
        framed(Some(b'c'), b""),
        framed(Some(b'f'), b"no more\0"),
        framed(Some(b'X'), b""),
    ];
    let sasl = [
        framed(Some(b'p'), b"SCRAM-SHA-256\0\0\0\0\x20n,,n=,r=abcdefghijklmnopqrstuvwx"),
        framed(Some(b'p'), b"c=biws,r=abcdefgh,p=YWJj"),
    ];
    let at = |phase: u8, messages: &[Vec<u8>]| [&[phase][..], &messages.concat()].concat();
    vec![
        at(OPENING, &[startup(80_877_103, b"")]),
        at(OPENING, &[startup(80_877_104, b"")]),
        at(OPENING, &[startup(196_608, words)]),
        at(OPENING, &[startup(196_610, words)]),
        at(OPENING, &[startup(80_877_102, b"\0\0\0\x01\0\0\0\x02")]),
        at(SESSION, &extended),
        at(SESSION, &copy),
        at(LOGIN, &sasl[..1]),
        at(SESSION, &[framed(Some(b'Q'), b"SELECT 1; SELECT 2\0")]),
    ]
}

#[test]
fn messages_of_clients() {
    let target = Target {
        name: "messages",
        samples: messages(),
        words: &[
            b"\0\0\0\x04",
            b"\0\0\0\x05",
            b"\0\0\0\0",
            b"\xff\xff\xff\xff",
            b"\x7f\xff\xff\xff",
            b"\0",
            b"\0\0",
            b"B\0\0\0\x06\0\0",
            b"d\0\0\0\x01",
            b"D\0\0\0\x04",
            b"P\0\0\0\x04",
            b"C\0\0\0\x04",
            b"E\0\0\0\x04",
            b"p\0\0\0\x04",
            b"_pq_.x\0",
        ],
        growth: 16,
    };
    fuzz::run(&target, |input| {
        let Some((phase, mut rest)) = input.split_first() else {
            return false;
        };
        let phase = [Phase::Opening, Phase::Login, Phase::Session][usize::from(phase % 3)];
        let mut decoded = 0;
        loop {
            let length = match frontend::length(phase, rest) {
                Ok(Some(length)) => length,
                Ok(None) => return decoded > 0,
                Err(error) => return refused(&error),
            };
            let head = if phase == Phase::Opening { 4 } else { 5 };
            assert!(length >= head, "a message is longer than its length");
            let Some((message, after)) = rest.split_at_checked(length) else {
                return decoded > 0;
            };
            let outcome = match phase {
                Phase::Opening => frontend::opening(message).map(drop),
                Phase::Login => frontend::sasl_initial_response(&message[head..]).map(drop),
                Phase::Session => frontend::decode(message[0], &message[head..]).map(|message| look_at(&message)),
            };
            if let Err(error) = outcome {
                return refused(&error);
            }
            decoded += 1;
            rest = after;
        }
    });
}

fn refused(error: &SqlError) -> bool {
    assert!(matches!(error.state.0, "08P01" | "22021"), "{error:?}");
    false
}

/// Checks that each list has as many items as it says.
fn look_at(message: &Frontend) {
    match message {
        Frontend::Parse(parse) => assert_eq!(parse.types().count(), parse.types().len()),
        Frontend::Bind(bind) => {
            assert_eq!(bind.parameters.iter().count(), bind.parameters.len());
            assert_eq!(bind.parameter_formats.iter().count(), bind.parameter_formats.len());
            assert_eq!(bind.result_formats.iter().count(), bind.result_formats.len());
        }
        _ => {}
    }
}

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
        typmod: None,
        table_oid: 0,
        column: 0,
    };
    columns().into_iter().map(field).collect()
}

/// The operations of a decoder of either kind.
trait FuzzedDecoder {
    fn push(&mut self, data: &[u8]) -> Result<Option<RecordBatch>, SqlError>;
    fn finish(&mut self) -> Result<Option<RecordBatch>, SqlError>;
}

impl FuzzedDecoder for CopyDecoder {
    fn push(&mut self, data: &[u8]) -> Result<Option<RecordBatch>, SqlError> {
        CopyDecoder::push(self, data)
    }
    fn finish(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        CopyDecoder::finish(self)
    }
}

impl FuzzedDecoder for BinaryDecoder {
    fn push(&mut self, data: &[u8]) -> Result<Option<RecordBatch>, SqlError> {
        BinaryDecoder::push(self, data)
    }
    fn finish(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        BinaryDecoder::finish(self)
    }
}

/// All rows as one batch; `None` if there are none.
fn rows(mut decoder: impl FuzzedDecoder, pieces: &[&[u8]]) -> Result<Option<RecordBatch>, SqlError> {
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
fn read<D: FuzzedDecoder>(decoder: impl Fn() -> D, data: &[u8]) -> Option<RecordBatch> {
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
