//! The types of the grammar: their names, their values of interest, the tables' columns of them.

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Type {
    Int2,
    Int4,
    Int8,
    Numeric,
    Float8,
    Text,
    Varchar,
    Bool,
    Date,
    Timestamp,
    Timestamptz,
    Interval,
    Uuid,
    Bytea,
    Jsonb,
    Ints,
    Texts,
}

pub const TYPES: [Type; 17] = [
    Type::Int2,
    Type::Int4,
    Type::Int8,
    Type::Numeric,
    Type::Float8,
    Type::Text,
    Type::Varchar,
    Type::Bool,
    Type::Date,
    Type::Timestamp,
    Type::Timestamptz,
    Type::Interval,
    Type::Uuid,
    Type::Bytea,
    Type::Jsonb,
    Type::Ints,
    Type::Texts,
];

impl Type {
    /// As a cast and a column's declaration name it.
    pub fn name(self) -> &'static str {
        match self {
            Type::Int2 => "int2",
            Type::Int4 => "int4",
            Type::Int8 => "int8",
            Type::Numeric => "numeric",
            Type::Float8 => "float8",
            Type::Text => "text",
            Type::Varchar => "varchar",
            Type::Bool => "bool",
            Type::Date => "date",
            Type::Timestamp => "timestamp",
            Type::Timestamptz => "timestamptz",
            Type::Interval => "interval",
            Type::Uuid => "uuid",
            Type::Bytea => "bytea",
            Type::Jsonb => "jsonb",
            Type::Ints => "int4[]",
            Type::Texts => "text[]",
        }
    }

    pub fn of(name: &str) -> Option<Type> {
        TYPES.into_iter().find(|kind| kind.name() == name)
    }

    /// The shortest literal of it.
    pub fn simplest(self) -> &'static str {
        match self {
            Type::Int4 => "1",
            Type::Int2 => "1::int2",
            Type::Int8 => "1::int8",
            Type::Numeric => "1.50",
            Type::Float8 => "1::float8",
            Type::Text => "'a'::text",
            Type::Varchar => "'a'::varchar",
            Type::Bool => "true",
            Type::Date => "date '2024-02-29'",
            Type::Timestamp => "timestamp '2024-02-29'",
            Type::Timestamptz => "timestamptz '2024-02-29'",
            Type::Interval => "interval '1 day'",
            Type::Uuid => "'00000000-0000-0000-0000-000000000000'::uuid",
            Type::Bytea => "'\\x00'::bytea",
            Type::Jsonb => "'1'::jsonb",
            Type::Ints => "'{1}'::int4[]",
            Type::Texts => "'{a}'::text[]",
        }
    }

    /// Values that columns have, as quoted literals have them. Numbers are small, and those of float8 exact in binary, so
    /// that few expressions overflow and sums do not depend on the order.
    pub fn values(self) -> &'static [&'static str] {
        match self {
            Type::Int2 => &["0", "1", "-1", "7", "100", "2", "3"],
            Type::Int4 => &["0", "1", "-1", "42", "7", "3", "-100", "2", "1000"],
            Type::Int8 => &["0", "1", "-1", "9007199254740993", "5", "12345678901", "7"],
            Type::Numeric => &["0.00", "1.50", "-1.50", "12.34", "99999.99", "2.00", "0.01", "-7.25"],
            Type::Float8 => &["0", "1.5", "-2.25", "1024", "0.125", "NaN", "Infinity", "-0", "3"],
            Type::Text => &[
                "",
                "a",
                "A",
                "abc",
                " b ",
                "a%b_c",
                "ünï",
                "12",
                "foo,bar",
                "hello world",
                "O''Reilly",
            ],
            Type::Varchar => &["", "a", "abc", "B", "zz top", "12", "é"],
            Type::Bool => &["true", "false"],
            Type::Date => &[
                "2024-02-29",
                "1999-12-31",
                "2000-01-01",
                "1970-01-01",
                "2023-07-04",
                "2024-03-31",
            ],
            Type::Timestamp => &[
                "2024-02-29 12:34:56.789",
                "1999-12-31 23:59:59.999999",
                "2000-01-01 00:00:00",
                "1970-01-01 00:00:00",
                "2024-03-10 02:30:00",
                "1969-07-20 20:17:40.5",
            ],
            Type::Timestamptz => &[
                "2024-02-29 12:34:56.789+00",
                "2024-03-10 07:30:00+00",
                "2024-11-03 05:30:00+00",
                "1999-12-31 23:59:59.999999+00",
                "1970-01-01 00:00:00+00",
            ],
            Type::Interval => &[
                "1 day",
                "36:00:00",
                "1 mon",
                "1 year 2 mons -3 days 04:05:06.7",
                "-00:00:01",
                "00:00:00",
            ],
            Type::Uuid => &[
                "00000000-0000-0000-0000-000000000000",
                "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
                "ffffffff-ffff-ffff-ffff-ffffffffffff",
            ],
            Type::Bytea => &["\\x", "\\x00", "\\x6162", "\\xdeadbeef", "\\xff00"],
            Type::Jsonb => &[
                "null",
                "1",
                "1.50",
                "\"a\"",
                "[]",
                "{}",
                "[1, 2, \"x\", null]",
                "{\"a\": 1, \"b\": [true, false]}",
                "{\"a\": {\"c\": \"d\"}, \"bb\": 2}",
                "true",
            ],
            Type::Ints => &["{}", "{1}", "{1,2,3}", "{3,NULL,1}", "{7,7}", "{0,-1}"],
            Type::Texts => &["{}", "{a}", "{a,b}", "{\"\",NULL}", "{\"x y\",\"q\\\"\"}", "{abc,A,a}"],
        }
    }

    /// Values of literals beside those of columns: the ends of the range, and other ways to write a value.
    pub fn edges(self) -> &'static [&'static str] {
        match self {
            Type::Int2 => &["32767", "-32768"],
            Type::Int4 => &["2147483647", "-2147483648", " 5 "],
            Type::Int8 => &["9223372036854775807", "-9223372036854775808"],
            Type::Numeric => &[
                "NaN",
                "1e10",
                "0.000001",
                "123456789012345678901234567890",
                "Infinity",
                "-.5",
            ],
            Type::Float8 => &["1e300", "-Infinity", "1e-300", "0.1"],
            Type::Text | Type::Varchar => &["a\\b", "日本", "  ", "null", "1e5"],
            Type::Bool => &["t", "off", "yes", "0"],
            Type::Date => &["infinity", "0044-03-15 BC", "Jan 5, 2021", "epoch", "5874897-12-31"],
            Type::Timestamp => &[
                "infinity",
                "2024-06-30 24:00",
                "0001-01-01 00:00:00 BC",
                "20240102T030405",
            ],
            Type::Timestamptz => &[
                "-infinity",
                "2024-01-01 00:00:00 America/New_York",
                "2024-01-01 00:00:00+05:30",
            ],
            Type::Interval => &[
                "P1Y2M3DT4H",
                "1.5 days",
                "@ 1 day ago",
                "100:00",
                "1 century",
                "178000000 years",
            ],
            Type::Uuid => &[
                "{A0EEBC99-9C0B4EF8-BB6D6BB9-BD380A11}",
                "a0eebc999c0b4ef8bb6d6bb9bd380a11",
            ],
            Type::Bytea => &["abc", "\\x DE AD", "a\\000b"],
            Type::Jsonb => &["{\"b\":1,\"a\":2,\"b\":3}", "\"\\u00e9\"", "1e2", "[[1],[2]]"],
            Type::Ints => &["[2:3]={1,2}", "{{1,2},{3,4}}", "{ 1 , 2 }"],
            Type::Texts => &["{NULL,null}", "{{a,b},{c,d}}", "{\"a,b\"}"],
        }
    }
}
