//! COPY data cut at every byte, and the corners of both formats.

use super::*;
use crate::types::ColumnFormatter;

fn text() -> CopyFormat {
    CopyFormat {
        kind: CopyKind::Text,
        delimiter: b'\t',
        null: "\\N".to_string(),
        header: false,
        header_match: false,
        quote: b'"',
        escape: b'"',
        force_quote: None,
        force_not_null: Vec::new(),
        force_null: Vec::new(),
    }
}

fn csv() -> CopyFormat {
    CopyFormat {
        kind: CopyKind::Csv,
        delimiter: b',',
        null: String::new(),
        ..text()
    }
}

fn decoder(format: &CopyFormat) -> CopyDecoder {
    let columns = [("a".to_string(), PgType::Int4), ("b".to_string(), PgType::Text)];
    CopyDecoder::new("t", &columns, format, &TextStyle::default())
}

/// Rows as `a|b`, NULL as `-`, from data that comes in the given pieces.
fn rows(format: &CopyFormat, pieces: &[&[u8]]) -> Result<Vec<String>, SqlError> {
    let mut decoder = decoder(format);
    let mut batches = Vec::new();
    for piece in pieces {
        batches.extend(decoder.push(piece)?);
    }
    batches.extend(decoder.finish()?);
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<ColumnFormatter> = [PgType::Int4, PgType::Text]
            .iter()
            .zip(batch.columns())
            .map(|(pg_type, column)| ColumnFormatter::new(pg_type, column, &TextStyle::default()))
            .collect::<Result<_, _>>()?;
        for row in 0..batch.num_rows() {
            let values: Vec<String> = columns
                .iter()
                .map(|column| column.text(row).unwrap_or_else(|| "-".to_string()))
                .collect();
            rows.push(values.join("|"));
        }
    }
    Ok(rows)
}

/// The same rows, or the same error, however the data is cut: in two at every byte, and into single bytes.
fn check(format: &CopyFormat, data: &[u8], expected: &[&str]) {
    let shown = String::from_utf8_lossy(data).into_owned();
    for at in 0..=data.len() {
        let (head, tail) = data.split_at(at);
        assert_eq!(
            rows(format, &[head, tail]).as_deref(),
            Ok(&expected.iter().map(|s| s.to_string()).collect::<Vec<_>>()[..]),
            "{shown:?} cut at {at}"
        );
    }
    let bytes: Vec<&[u8]> = data.chunks(1).collect();
    assert_eq!(rows(format, &bytes).expect(&shown), expected, "{shown:?} byte by byte");
}

fn check_error(format: &CopyFormat, data: &[u8], code: &str, message: &str, context: &str) {
    for at in 0..=data.len() {
        let (head, tail) = data.split_at(at);
        let error = rows(format, &[head, tail]).expect_err(message);
        assert_eq!(
            (error.state.0, error.message.as_str(), error.context.as_deref()),
            (code, message, Some(context)),
            "{:?} cut at {at}",
            String::from_utf8_lossy(data)
        );
    }
}

#[test]
fn text_rows_survive_any_cut() {
    check(&text(), b"1\tx\n2\ty\n", &["1|x", "2|y"]);
    check(&text(), b"1\tx\n2\ty", &["1|x", "2|y"]);
    check(&text(), b"1\tx\r\n2\ty\r\n", &["1|x", "2|y"]);
    check(&text(), b"1\tx\r2\ty\r", &["1|x", "2|y"]);
    check(&text(), b"\\N\t\\N\n1\t\n", &["-|-", "1|"]);
    check(&text(), "1\té€😀\n".as_bytes(), &["1|é€😀"]);
    check(&text(), b"1\ta\\tb\\nc\\\\d\\\te\n", &["1|a\tb\nc\\d\te"]);
    check(&text(), b"1\ta\\\nb\n", &["1|a\nb"]);
    check(&text(), b"1\t\\101\\x42\\x4\\q\\\\N\n", &["1|AB\u{4}q\\N"]);
    check(&text(), b"1\tx\\\\\n2\ty\n", &["1|x\\", "2|y"]);
    check(&text(), b"1\tx\n\\.\n2\ty\n", &["1|x"]);
    check(&text(), b"1\t\\xc3\\xa9\n", &["1|é"]);
    check(&text(), b"1\tx\\", &["1|x"]);
    check(&text(), b"", &[]);
    check(&CopyFormat { header: true, ..text() }, b"q\n1\tx\n", &["1|x"]);
    check(
        &CopyFormat {
            delimiter: b'|',
            null: "NULL".to_string(),
            ..text()
        },
        b"NULL|a\\|b\n",
        &["-|a|b"],
    );
}

#[test]
fn csv_rows_survive_any_cut() {
    check(&csv(), b"1,x\n2,y\n", &["1|x", "2|y"]);
    check(&csv(), b"1,\"x,\"\"y\"\"\"\r\n2,\r\n", &["1|x,\"y\"", "2|-"]);
    check(&csv(), b"1,\"a\nb\r\nc\"\n2,\"\"\n", &["1|a\nb\r\nc", "2|"]);
    check(&csv(), b"1,a\"b,c\"d\n", &["1|ab,cd"]);
    check(&csv(), b",\n", &["-|-"]);
    check(&csv(), b"1,a\\nb\n\\.\n3,z\n", &["1|a\\nb"]);
    check(&csv(), "1,\"é\"\n2,€".as_bytes(), &["1|é", "2|€"]);
    let escape = CopyFormat { escape: b'\\', ..csv() };
    check(&escape, b"1,\"a\\\"b\\\\c\\d\"\n2,x\\y\n", &["1|a\"b\\c\\d", "2|x\\y"]);
    let single = CopyFormat {
        quote: b'\'',
        escape: b'\'',
        delimiter: b';',
        ..csv()
    };
    check(&single, b"1;'it''s;'\n2;\"\n", &["1|it's;", "2|\""]);
    let forced = CopyFormat {
        force_not_null: vec!["b".to_string()],
        ..csv()
    };
    check(&forced, b"1,\n2,\"\"\n", &["1|", "2|"]);
    let forced = CopyFormat {
        force_null: vec!["b".to_string()],
        ..csv()
    };
    check(&forced, b"1,\n2,\"\"\n", &["1|-", "2|-"]);
    check(
        &CopyFormat {
            null: "NA".to_string(),
            ..csv()
        },
        b"NA,\"NA\"\n1,NA\n",
        &["-|NA", "1|-"],
    );
    check(&CopyFormat { header: true, ..csv() }, b"\"a\n\",b\n1,x\n", &["1|x"]);
    check(
        &CopyFormat {
            header_match: true,
            ..csv()
        },
        b"a,\"b\"\n1,x\n",
        &["1|x"],
    );
}

#[test]
fn errors_name_line_and_column() {
    check_error(
        &text(),
        b"1\tx\n2\ty\nz\tw\n",
        "22P02",
        "invalid input syntax for type integer: \"z\"",
        "COPY t, line 3, column a: \"z\"",
    );
    check_error(
        &text(),
        b"1\tx\n2\n",
        "22P04",
        "missing data for column \"b\"",
        "COPY t, line 2: \"2\"",
    );
    check_error(
        &text(),
        b"\n",
        "22P02",
        "invalid input syntax for type integer: \"\"",
        "COPY t, line 1, column a: \"\"",
    );
    check_error(
        &text(),
        b"1\tx\ty\n",
        "22P04",
        "extra data after last expected column",
        "COPY t, line 1: \"1\tx\ty\"",
    );
    check_error(
        &csv(),
        b"1,\"a\nb\"\n2,x,y\n",
        "22P04",
        "extra data after last expected column",
        "COPY t, line 2: \"2,x,y\"",
    );
    check_error(
        &csv(),
        b"1,x\n1,\"a\nz,b\"\nz,x\n",
        "22P02",
        "invalid input syntax for type integer: \"z\"",
        "COPY t, line 4, column a: \"z\"",
    );
    let long = format!("{}\tx\n", "9".repeat(200));
    let shown = format!("COPY t, line 1, column a: \"{}...\"", "9".repeat(100));
    let message = format!("value \"{}\" is out of range for type integer", "9".repeat(200));
    check_error(&text(), long.as_bytes(), "22003", &message, &shown);
    check_error(
        &CopyFormat {
            header_match: true,
            ..csv()
        },
        b"a,c\n",
        "22P04",
        "column name mismatch in header line field 2: got \"c\", expected \"b\"",
        "COPY t, line 1: \"a,c\"",
    );
    check_error(
        &CopyFormat {
            header_match: true,
            ..csv()
        },
        b"a\n",
        "22P04",
        "wrong number of fields in header line: got 1, expected 2",
        "COPY t, line 1: \"a\"",
    );
}

#[test]
fn bad_lines_are_refused() {
    for (format, data, code, message) in [
        (
            text(),
            &b"1\tx\n2\ty\r\n"[..],
            "22P04",
            "literal carriage return found in data",
        ),
        (text(), b"1\tx\r\n2\ty\n", "22P04", "literal newline found in data"),
        (
            csv(),
            b"1,x\n2,y\rz\n",
            "22P04",
            "unquoted carriage return found in data",
        ),
        (csv(), b"1,\"x\n2,y\n", "22P04", "unterminated CSV quoted field"),
        (
            text(),
            b"1\tx\n2\t\xff\n",
            "22021",
            "invalid byte sequence for encoding \"UTF8\": 0xff",
        ),
        (
            text(),
            b"1\t\\xff\n",
            "22021",
            "invalid byte sequence for encoding \"UTF8\": 0xff",
        ),
        (
            text(),
            b"1\ta\0b\n",
            "22021",
            "invalid byte sequence for encoding \"UTF8\": 0x00",
        ),
    ] {
        for at in 0..=data.len() {
            let (head, tail) = data.split_at(at);
            let error = rows(&format, &[head, tail]).expect_err(message);
            assert_eq!(
                (error.state.0, error.message.as_str()),
                (code, message),
                "{data:?} cut at {at}"
            );
            assert!(
                error
                    .context
                    .clone()
                    .is_some_and(|context| context.starts_with("COPY t, line "))
            );
        }
    }
}

#[test]
fn the_end_of_text_may_stand_behind_its_last_row_and_nowhere_else() {
    check(&text(), b"1\tx\\.\n2\ty\n", &["1|x"]);
    check(&text(), b"1\tx\\\\.\n", &["1|x\\."]);
    check_error(
        &text(),
        b"1\tx\n2\ty\\.z\n",
        "22P04",
        "end-of-copy marker corrupt",
        "COPY t, line 2",
    );
}

#[test]
fn large_data_comes_in_batches() {
    let mut decoder = decoder(&text());
    let line = "1\tabcdefgh\n".repeat(ROWS_MAX / 4);
    let mut handed_over = 0;
    for _ in 0..10 {
        if let Some(batch) = decoder.push(line.as_bytes()).expect("good lines") {
            assert!(batch.num_rows() >= ROWS_MAX);
            handed_over += batch.num_rows();
        }
    }
    handed_over += decoder
        .finish()
        .expect("good lines")
        .map_or(0, |batch| batch.num_rows());
    assert_eq!(handed_over, 10 * (ROWS_MAX / 4));
}
