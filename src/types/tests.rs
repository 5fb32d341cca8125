//! Every type's text and binary form, there and back.

mod fuzz;

use ::bytes::BytesMut;

use super::*;

/// `(type, text in, text out, binary as hexadecimal digits)`, as PostgreSQL 15 gives them.
const VALUES: &[(&str, &str, &str, &str)] = &[
    ("boolean", "yes", "t", "01"),
    ("smallint", "-2", "-2", "fffe"),
    ("integer", "7", "7", "00000007"),
    (
        "bigint",
        "-9223372036854775808",
        "-9223372036854775808",
        "8000000000000000",
    ),
    ("real", "1.5", "1.5", "3fc00000"),
    ("double precision", "0.1", "0.1", "3fb999999999999a"),
    ("numeric(18,2)", "1.5", "1.50", "000200000000000200011388"),
    ("numeric", "1.500", "1.500", "000200000000000300011388"),
    ("text", "a\"b", "a\"b", "612262"),
    ("character varying(3)", "abc   ", "abc", "616263"),
    ("character(4)", "é", "é   ", "c3a9202020"),
    ("bytea", "\\x00ff", "\\x00ff", "00ff"),
    ("date", "2024-01-02", "2024-01-02", "0000223f"),
    ("time without time zone", "03:04:05.5", "03:04:05.5", "00000002925cf460"),
    (
        "timestamp without time zone",
        "2000-01-01 00:00:01",
        "2000-01-01 00:00:01",
        "00000000000f4240",
    ),
    (
        "timestamp with time zone",
        "2000-01-01 00:00:01+01",
        "1999-12-31 23:00:01+00",
        "ffffffff297b9e40",
    ),
    (
        "interval",
        "1 mon 2 days 00:00:03",
        "1 mon 2 days 00:00:03",
        "00000000002dc6c00000000200000001",
    ),
    (
        "uuid",
        "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "a0eebc999c0b4ef8bb6d6bb9bd380a11",
    ),
    ("json", "{ \"a\":1 }", "{ \"a\":1 }", "7b202261223a31207d"),
    ("jsonb", "{ \"a\":1 }", "{\"a\": 1}", "017b2261223a20317d"),
    ("oid", "4294967295", "4294967295", "ffffffff"),
    ("name", "x", "x", "78"),
    ("\"char\"", "rel", "r", "72"),
    ("regclass", "16384", "16384", "00004000"),
    ("regclass", "-", "-", "00000000"),
    ("regtype", "23", "integer", "00000017"),
    (
        "integer[]",
        "{1,NULL, 3}",
        "{1,NULL,3}",
        "00000001000000010000001700000003000000010000000400000001ffffffff0000000400000003",
    ),
    ("integer[]", "{}", "{}", "000000000000000000000017"),
    (
        "text[]",
        r#"{a,"b c","NULL",NULL,"d\"e\\",""}"#,
        r#"{a,"b c","NULL",NULL,"d\"e\\",""}"#,
        "",
    ),
    (
        "timestamp without time zone[]",
        "{2024-01-02}",
        "{\"2024-01-02 00:00:00\"}",
        "",
    ),
];

/// A bare NUMERIC of a catalog from before values had scales of their own is the type that its rows have.
#[test]
fn a_modifier_of_before_is_read() {
    let old: PgType = serde_json::from_str(r#"{"Numeric":null}"#).expect("as it was written");
    assert_eq!(old, PgType::Numeric(Some((38, 10))));
    for known in [PgType::Numeric(None), PgType::Numeric(Some((18, 2)))] {
        let written = serde_json::to_string(&known).expect("it is written");
        assert_eq!(serde_json::from_str::<PgType>(&written).expect("it is read"), known);
    }
}

#[test]
fn values_have_postgresqls_text_and_binary_forms() {
    for (name, given, shown, binary) in VALUES {
        let pg_type = PgType::parse(name).expect(name);
        let column = scalar_from_text(&pg_type, given, &InputStyle::default())
            .unwrap_or_else(|error| panic!("{name} {given}: {error}"));
        assert!(
            column.data_type().equals_datatype(&pg_type.arrow()),
            "{name}: {:?}",
            column.data_type()
        );
        let formatter = ColumnFormatter::new(&pg_type, &column, &TextStyle::default()).expect(name);
        assert_eq!(formatter.text(0).as_deref(), Some(*shown), "{name}");
        let mut sent = BytesMut::new();
        formatter.write_binary(0, &mut sent);
        let hex: String = sent.iter().map(|byte| format!("{byte:02x}")).collect();
        if !binary.is_empty() {
            assert_eq!(hex, *binary, "{name}");
        }
        let received = scalar_from_binary(&pg_type, &sent).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(received.as_ref(), column.as_ref(), "{name}");
        assert!(
            ColumnFormatter::new(&pg_type, &scalar_null(&pg_type), &TextStyle::default())
                .expect(name)
                .is_null(0)
        );
    }
}

#[test]
fn a_refused_value_leaves_the_column_as_it_was() {
    for (name, good, bad, code) in [
        ("integer", "1", "x", "22P02"),
        ("integer[]", "{1,2}", "{3,x}", "22P02"),
        ("integer[]", "{1}", "{1", "22P02"),
        ("integer[]", "{1}", "{{1}}", "0A000"),
        ("character varying(2)", "ab", "abc", "22001"),
        ("character(2)", "ab", "abc", "22001"),
        ("text", "a", "a\0b", "22021"),
        ("json", "1", "x", "22P02"),
        ("bytea", "a", "\\y", "22P02"),
        ("interval", "1 day", "x", "22007"),
        ("date", "2024-01-01", "2024-02-30", "22008"),
        ("oid", "1", "-9999999999", "22003"),
    ] {
        let pg_type = PgType::parse(name).expect(name);
        let mut column = ColumnBuilder::new(&pg_type, 2);
        column.append_text(good).expect(good);
        assert_eq!(column.append_text(bad).expect_err(bad).state.0, code, "{name} {bad}");
        assert_eq!(column.len(), 1);
        column.append_null();
        column.append_text(good).expect(good);
        let column = column.finish();
        assert_eq!((column.len(), column.null_count()), (3, 1), "{name}");
        let formatter = ColumnFormatter::new(&pg_type, &column, &TextStyle::default()).expect(name);
        assert_eq!(formatter.text(0), formatter.text(2));
    }
}

/// Whether an array has NULLs is said of it alone, not of its column.
#[test]
fn arrays_in_binary_tell_of_their_own_nulls() {
    let pg_type = PgType::parse("integer[]").expect("a type");
    let mut column = ColumnBuilder::new(&pg_type, 4);
    for text in ["{1,NULL}", "{2}", "{}", "{NULL}"] {
        column.append_text(text).expect(text);
    }
    let column = column.finish();
    let formatter = ColumnFormatter::new(&pg_type, &column, &TextStyle::default()).expect("its own type");
    let flags = (0..4).map(|row| {
        let mut sent = BytesMut::new();
        formatter.write_binary(row, &mut sent);
        sent[7]
    });
    assert_eq!(flags.collect::<Vec<_>>(), [1, 0, 0, 1]);
}

#[test]
fn binary_of_the_wrong_size_is_refused() {
    for (name, bytes, code) in [
        ("integer", &[0_u8, 0][..], "08P01"),
        ("integer", &[0; 8][..], "22P03"),
        ("uuid", &[0; 15][..], "08P01"),
        ("numeric", &[0; 3][..], "08P01"),
        ("integer[]", &[0; 5][..], "08P01"),
        ("integer[]", b"\0\0\0\x01\0\0\0\x02\0\0\0\x17", "22P03"),
        ("integer[]", b"\0\0\0\x01\0\0\0\0\0\0\0\x19", "42804"),
        ("integer[]", b"\0\0\0\x07\0\0\0\0\0\0\0\x17", "54000"),
        ("jsonb", b"", "08P01"),
        ("jsonb", b"2{}", "22P03"),
        ("text", &[0xff], "22021"),
        ("date", &[0xff, 0x80, 0, 0], "22008"),
        ("date", &[0x7f, 0xff, 0, 0], "22008"),
        ("timestamp", &[0x80, 2, 0xb0, 0xec, 0x85, 0x1f, 0x1b, 0], "22008"),
        (
            "timestamptz",
            &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe],
            "22008",
        ),
    ] {
        let pg_type = PgType::parse(name).expect(name);
        assert_eq!(
            scalar_from_binary(&pg_type, bytes).expect_err(name).state.0,
            code,
            "{name}"
        );
    }
}

#[test]
fn infinite_times_are_the_last_and_first_numbers_on_the_wire() {
    for (name, bytes, shown) in [
        ("date", &i32::MAX.to_be_bytes()[..], "infinity"),
        ("date", &i32::MIN.to_be_bytes(), "-infinity"),
        ("timestamp", &i64::MAX.to_be_bytes(), "infinity"),
        ("timestamptz", &i64::MIN.to_be_bytes(), "-infinity"),
    ] {
        let pg_type = PgType::parse(name).expect(name);
        let column = scalar_from_binary(&pg_type, bytes).expect(name);
        let formatter = ColumnFormatter::new(&pg_type, &column, &TextStyle::default()).expect(name);
        assert_eq!(formatter.text(0).as_deref(), Some(shown));
        let mut out = ::bytes::BytesMut::new();
        formatter.write_binary(0, &mut out);
        assert_eq!(&out[..], bytes, "{name} {shown}");
    }
}

#[test]
fn columns_of_other_arrow_types_are_shown() {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringViewArray, TimestampNanosecondArray, UInt64Array};

    let show = |pg_type: PgType, column: ArrayRef| {
        ColumnFormatter::new(&pg_type, &column, &TextStyle::default())
            .expect("it can be cast")
            .text(0)
    };
    assert_eq!(
        show(PgType::Text, Arc::new(StringViewArray::from(vec!["a"]))).as_deref(),
        Some("a")
    );
    assert_eq!(
        show(PgType::Int8, Arc::new(UInt64Array::from(vec![7]))).as_deref(),
        Some("7")
    );
    assert_eq!(
        show(PgType::Text, Arc::new(Int64Array::from(vec![7]))).as_deref(),
        Some("7")
    );
    assert_eq!(
        show(PgType::Timestamp, Arc::new(TimestampNanosecondArray::from(vec![1_500]))).as_deref(),
        Some("1970-01-01 00:00:00.000001")
    );
    let too_large: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
    assert!(ColumnFormatter::new(&PgType::Int8, &too_large, &TextStyle::default()).is_err());
}

#[test]
fn a_nul_is_found_wherever_it_stands() {
    let takes = |text: &str| ColumnBuilder::new(&PgType::Text, 1).append_text(text).is_ok();
    for length in 0..40 {
        // Bytes around which a word-wise search could err.
        let text: String = ["\u{1}", "\u{80}", "\u{7f}", "ÿ", "a"]
            .into_iter()
            .cycle()
            .take(length)
            .collect();
        assert!(takes(&text), "{text:?}");
        for (at, _) in text.char_indices() {
            let (before, after) = text.split_at(at);
            assert!(!takes(&format!("{before}\0{after}")), "{before:?}, NUL, {after:?}");
        }
    }
}

/// Both directions of both forms, for arrays of all dimensions.
#[test]
fn arrays_of_any_dimensions_are_read_back() {
    let style = InputStyle::default();
    for (item, text) in [
        (PgType::Int4, "{{1,2},{3,4}}"),
        (PgType::Int4, "[0:1]={1,NULL}"),
        (PgType::Int4, "{}"),
        (PgType::Text, "[1:1][-2:-1][3:3]={{{\"a b\"},{\"NULL\"}}}"),
        (PgType::Numeric(None), "{{1.50,NaN},{2,NULL}}"),
        (PgType::Numeric(Some((5, 2))), "{{1.50},{2.00}}"),
        (PgType::Uuid, "{{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}}"),
        (PgType::Char(3), "{{\"a  \"}}"),
        (PgType::Jsonb, "{{\"{\\\"a\\\": 1}\"}}"),
        (PgType::Interval, "{{\"1 mon 2 days 03:04:05\"}}"),
        (PgType::TimestampTz, "{{\"2020-01-01 00:00:00+00\"}}"),
    ] {
        let array = PgType::Shaped(Box::new(item));
        let column = scalar_from_text(&array, text, &style).expect(text);
        let formatter = ColumnFormatter::new(&array, &column, &TextStyle::default()).expect(text);
        assert_eq!(formatter.text(0).as_deref(), Some(text));
        let mut binary = BytesMut::new();
        formatter.write_binary(0, &mut binary);
        assert_eq!(&scalar_from_binary(&array, &binary).expect(text), &column, "{text}");
    }
}
