//! Binary COPY data cut at every byte, and its errors in PostgreSQL 15's words.

use super::*;
use crate::types::InputStyle;

const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const END: &[u8] = &[255, 255];

fn columns() -> Vec<(String, PgType)> {
    vec![("a".to_string(), PgType::Int4), ("b".to_string(), PgType::Text)]
}

/// A row of fields, `None` for NULL.
fn row(fields: &[Option<&[u8]>]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_i16(fields.len() as i16);
    for field in fields {
        match field {
            None => out.put_i32(-1),
            Some(value) => {
                out.put_i32(value.len() as i32);
                out.put_slice(value);
            }
        }
    }
    out
}

fn good(number: u8, text: &str) -> Vec<u8> {
    row(&[Some(&[0, 0, 0, number]), Some(text.as_bytes())])
}

/// Rows as `a|b`, NULL as `-`, from data that comes in the given pieces.
fn rows(pieces: &[&[u8]]) -> Result<Vec<String>, SqlError> {
    let mut decoder = BinaryDecoder::new("t", &columns());
    let mut batches = Vec::new();
    for piece in pieces {
        batches.extend(decoder.push(piece)?);
    }
    batches.extend(decoder.finish()?);
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<ColumnFormatter> = columns()
            .iter()
            .zip(batch.columns())
            .map(|((_, pg_type), column)| ColumnFormatter::new(pg_type, column, &TextStyle::default()))
            .collect::<Result<_, _>>()?;
        let value = |column: &ColumnFormatter, row| column.text(row).unwrap_or_else(|| "-".to_string());
        rows.extend(
            (0..batch.num_rows()).map(|row| format!("{}|{}", value(&columns[0], row), value(&columns[1], row))),
        );
    }
    Ok(rows)
}

/// The same rows, or the same error, however the data is cut: in two at every byte, and into single bytes.
fn check(data: &[&[u8]], expected: Result<&[&str], (&str, &str, Option<&str>)>) {
    let data = data.concat();
    let mut cuts: Vec<Vec<&[u8]>> = (0..=data.len()).map(|at| vec![&data[..at], &data[at..]]).collect();
    cuts.push(data.chunks(1).collect());
    for pieces in cuts {
        let found = rows(&pieces);
        let found = match &found {
            Ok(rows) => Ok(rows.iter().map(String::as_str).collect::<Vec<_>>()),
            Err(error) => Err((error.state.0, error.message.as_str(), error.context.as_deref())),
        };
        let found = found.as_ref().map(Vec::as_slice).map_err(|error| *error);
        assert_eq!(found, expected, "{data:?} from {} bytes on", pieces[0].len());
    }
}

#[test]
fn rows_survive_any_cut() {
    let null = row(&[None, None]);
    let rows = [&good(1, "x")[..], &null, &good(3, ""), &good(4, "größe")];
    let data = [&[HEADER], &rows[..], &[END]].concat();
    check(&data, Ok(&["1|x", "-|-", "3|", "4|größe"]));
    check(&[HEADER, END], Ok(&[]));
    // Neither PostgreSQL misses the end.
    check(&[HEADER], Ok(&[]));
    check(&[HEADER, &good(1, "x")], Ok(&["1|x"]));
    check(&[HEADER, &good(1, "x"), &[0]], Ok(&["1|x"]));
    // Flags that are not critical, and an extension.
    check(
        &[&HEADER[..11], &[0, 0, 0, 8, 0, 0, 0, 0], &good(1, "x"), END],
        Ok(&["1|x"]),
    );
    check(
        &[&HEADER[..11], &[0, 0, 0, 0, 0, 0, 0, 3], b"ext", &good(1, "x"), END],
        Ok(&["1|x"]),
    );
}

#[test]
fn a_bad_header_is_refused() {
    let refused = |data: &[&[u8]], message: &str| check(data, Err(("22P04", message, None)));
    refused(&[], "COPY file signature not recognized");
    refused(&[&HEADER[..5]], "COPY file signature not recognized");
    refused(
        &[b"1\tx\n2\ty\n3\tz\n4\tw\n5\tv\n"],
        "COPY file signature not recognized",
    );
    refused(&[&HEADER[..13]], "invalid COPY file header (missing flags)");
    refused(&[&HEADER[..17]], "invalid COPY file header (missing length)");
    let with = |tail: [u8; 8], more: &[u8], message| refused(&[&HEADER[..11], &tail, more], message);
    with([0, 1, 0, 0, 0, 0, 0, 0], b"", "invalid COPY file header (WITH OIDS)");
    with(
        [0, 2, 0, 0, 0, 0, 0, 0],
        b"",
        "unrecognized critical flags in COPY file header",
    );
    with(
        [0, 0, 0, 0, 255, 255, 255, 255],
        b"",
        "invalid COPY file header (missing length)",
    );
    with(
        [0, 0, 0, 0, 0, 0, 0, 5],
        b"1234",
        "invalid COPY file header (wrong length)",
    );
}

#[test]
fn errors_name_row_and_column() {
    let first = good(1, "x");
    let refused = |tail: &[u8], state: &str, message: &str, place: &str| {
        let place = format!("COPY t, {place}");
        check(&[HEADER, &first, tail], Err((state, message, Some(&place))));
    };
    let end = [END, b"x"].concat();
    refused(&end, "22P04", "received copy data after EOF marker", "line 2");
    refused(&row(&[None]), "22P04", "row field count is 1, expected 2", "line 2");
    refused(&row(&[None; 3]), "22P04", "row field count is 3, expected 2", "line 2");
    refused(&[255, 254], "22P04", "row field count is -2, expected 2", "line 2");
    let invalid = "invalid field size";
    refused(&[0, 2, 255, 255, 255, 254], "22P04", invalid, "line 2, column a");
    let cut = "unexpected EOF in COPY data";
    refused(&[0, 2], "22P04", cut, "line 2, column a");
    refused(&[0, 2, 0, 0], "22P04", cut, "line 2, column a");
    refused(&[0, 2, 0, 0, 0, 4, 0, 0], "22P04", cut, "line 2, column a");
    refused(&[0, 2, 0, 0, 0, 4, 0, 0, 0, 1], "22P04", cut, "line 2, column b");
    let long = "a field of COPY data is too long";
    refused(&[0, 2, 127, 255, 255, 255], "54000", long, "line 2, column a");
    let short = row(&[Some(&[0, 0]), None]);
    refused(&short, "08P01", "insufficient data left in message", "line 2, column a");
    let wide = row(&[Some(&[0; 5]), None]);
    refused(&wide, "22P03", "incorrect binary data format", "line 2, column a");
    let text = row(&[None, Some(b"x\xff")]);
    let encoding = "invalid byte sequence for encoding \"UTF8\": 0xff";
    refused(&text, "22021", encoding, "line 2, column b");
}

#[test]
fn many_rows_come_in_batches_at_row_ends() {
    let mut decoder = BinaryDecoder::new("t", &columns());
    let count = ROWS_MAX * 2 + 100;
    let data = [HEADER, &good(1, "x").repeat(count), END].concat();
    let mut batches = Vec::new();
    for piece in data.chunks(10_007) {
        batches.extend(decoder.push(piece).expect("good rows"));
    }
    batches.extend(decoder.finish().expect("good rows"));
    let sizes: Vec<usize> = batches.iter().map(RecordBatch::num_rows).collect();
    assert_eq!(sizes, [ROWS_MAX, ROWS_MAX, 100]);
}

/// PostgreSQL 15's answer to `COPY (SELECT 1, 'x' UNION ALL SELECT NULL, 'yy') TO STDOUT (FORMAT binary)`: the header
/// in the first row's message, which drivers rely on.
#[test]
fn rows_are_written_as_postgresql_does() {
    let fields: Vec<OutField> = columns()
        .into_iter()
        .map(|(name, pg_type)| OutField {
            name,
            pg_type,
            typmod: None,
            table_oid: 0,
            column: 0,
        })
        .collect();
    let mut decoder = BinaryDecoder::new("t", &columns());
    let data = [HEADER, &good(1, "x"), &row(&[None, Some(b"yy")])].concat();
    decoder.push(&data).expect("good rows");
    let batch = decoder.finish().expect("good rows").expect("two rows");

    let message = |parts: &[&[u8]]| {
        let data = parts.concat();
        let mut message = vec![b'd'];
        message.put_i32(4 + data.len() as i32);
        message.extend_from_slice(&data);
        message
    };
    let end = message(&[END]);
    let mut encoder = BinaryEncoder::new(&fields, &TextStyle::default());
    let mut out = BytesMut::new();
    encoder.encode(&batch, 0..1, &mut out).expect("plain types");
    encoder.encode(&batch, 1..2, &mut out).expect("plain types");
    encoder.finish(&mut out).expect("a short message");
    let second = message(&[&row(&[None, Some(b"yy")])]);
    assert_eq!(out, [&message(&[HEADER, &good(1, "x")])[..], &second, &end].concat());

    let mut out = BytesMut::new();
    let encoder = BinaryEncoder::new(&fields, &TextStyle::default());
    encoder.finish(&mut out).expect("a short message");
    assert_eq!(out, message(&[HEADER, END]));
}

/// Lists are refused as a whole, and the fields after a refused item keep their places.
#[test]
fn arrays_are_taken_item_by_item() {
    let array = |items: &[u8]| {
        let mut value = Vec::new();
        [1, 0, 23, 1, 1].iter().for_each(|word| value.put_i32(*word));
        value.extend_from_slice(items);
        value
    };
    let columns = [("a".to_string(), PgType::Array(Box::new(PgType::Int4)))];
    let read = |value: &[u8]| {
        let mut decoder = BinaryDecoder::new("t", &columns);
        decoder.push(&[HEADER, &row(&[Some(value)])].concat())?;
        decoder.finish()
    };
    let one = array(&[0, 0, 0, 4, 0, 0, 0, 7]);
    let batch = read(&one).expect("an array").expect("a row");
    let style = InputStyle::default();
    let expected = crate::types::scalar_from_text(&columns[0].1, "{7}", &style).expect("an array");
    assert_eq!(batch.column(0).as_ref(), expected.as_ref());
    let broken = [
        [&one[..], b"x"].concat(),
        array(&[0, 0, 0, 4, 0, 0]),
        array(&[0, 0, 0, 2, 0, 0]),
        array(&[255, 255, 255, 254]),
        array(&[]),
        one[..10].to_vec(),
    ];
    for value in broken {
        let error = read(&value).expect_err("a broken array");
        assert!(matches!(error.state.0, "22P03" | "08P01"), "{value:?}: {error}");
        assert_eq!(error.context.as_deref(), Some("COPY t, line 1, column a"));
    }
}

/// Rows of every type, with some of their bytes changed and cut anywhere: taken or refused, and taken rows can be sent.
#[test]
fn damaged_data_is_refused_without_a_panic() {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    const TYPES: [(&str, &str); 20] = [
        ("boolean", "t"),
        ("smallint", "-2"),
        ("bigint", "7"),
        ("real", "1.5"),
        ("double precision", "0.1"),
        ("numeric(18,2)", "1234567.89"),
        ("numeric", "-0.000123"),
        ("text", "größe"),
        ("character varying(5)", "abc"),
        ("character(4)", "é"),
        ("uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("json", "{\"a\": [1, null]}"),
        ("jsonb", "{\"a\": [1, null]}"),
        ("bytea", "\\x00ff"),
        ("date", "2024-02-29"),
        ("time without time zone", "23:59:59.999999"),
        ("timestamp without time zone", "1969-12-31 23:59:59.5"),
        ("timestamp with time zone", "2024-01-01 00:00:00+00"),
        ("interval", "1 mon -2 days 00:00:03.25"),
        ("text[]", "{a,\"b c\",NULL}"),
    ];
    let columns = TYPES.map(|(name, _)| (name.to_string(), PgType::parse(name).expect(name)));
    let mut row = vec![0, TYPES.len() as u8];
    for ((_, pg_type), (name, text)) in columns.iter().zip(TYPES) {
        let value = crate::types::scalar_from_text(pg_type, text, &InputStyle::default()).expect(name);
        let mut sent = BytesMut::new();
        let formatter = ColumnFormatter::new(pg_type, &value, &TextStyle::default()).expect(name);
        formatter.write_field(0, true, &mut sent);
        row.extend_from_slice(&sent);
    }
    let whole = [HEADER, &row, &row, END].concat();
    let send = |batch: &RecordBatch| {
        let fields: Vec<OutField> = columns
            .iter()
            .map(|(name, pg_type)| OutField {
                name: name.clone(),
                pg_type: pg_type.clone(),
                typmod: None,
                table_oid: 0,
                column: 0,
            })
            .collect();
        let mut out = BytesMut::new();
        let mut encoder = BinaryEncoder::new(&fields, &TextStyle::default());
        encoder
            .encode(batch, 0..batch.num_rows(), &mut out)
            .expect("plain types");
        out
    };
    let mut random = StdRng::seed_from_u64(42);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let mut data = whole.clone();
        for _ in 0..random.random_range(0..3) {
            let at = random.random_range(HEADER.len()..data.len());
            data[at] = match random.random_range(0..4) {
                0 => 0,
                1 => 255,
                2 => data[at] ^ (1 << random.random_range(0..8)),
                _ => random.random(),
            };
        }
        let cut = random.random_range(0..data.len());
        let mut decoder = BinaryDecoder::new("t", &columns);
        let read = decoder
            .push(&data[..cut])
            .and_then(|_| decoder.push(&data[cut..]))
            .and_then(|_| decoder.finish());
        match read {
            Ok(Some(batch)) => {
                assert!(send(&batch).len() > batch.num_rows());
                taken += 1;
            }
            Ok(None) => {}
            Err(error) => {
                let place = error.context.as_deref().unwrap_or_default();
                assert!(place.contains("COPY t, line "), "{error}");
                refused += 1;
            }
        }
    }
    assert!(taken > 1000 && refused > 1000, "{taken} taken, {refused} refused");
}
