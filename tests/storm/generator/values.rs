//! Kinds of values: literals of each, edges among them, the types that they are cast to, and the columns that hold them.

use rand::seq::IndexedRandom;

use super::Generator;

const INTEGERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2",
    "3",
    "7",
    "10",
    "64",
    "100",
    "1000",
    "65535",
    "65536",
    "100000",
    "2147483647",
    "(-2147483648)",
    "2147483648",
    "9223372036854775807",
    "(-9223372036854775807 - 1)",
    "NULL",
    "1000000",
    "9223372036854775808",
];
const TEXTS: &[&str] = &[
    "''",
    "'a'",
    "'Größe'",
    "'😀'",
    "' x '",
    "'null'",
    "NULL",
    "'a,b,,c'",
    "'%_%'",
    "'(a|b)*c'",
    "'[[:alpha:]]+'",
    "'\\'",
    "E'\\n\\t'",
    "'{1,2,NULL}'",
    "'{\"a\": [1, {\"b\": null}]}'",
    "'2024-02-30'",
    "'1e400'",
    "'NaN'",
    "'infinity'",
    "'YYYY-MM-DD HH24:MI:SS.US'",
    "repeat('x', 1000)",
    "repeat('ab', 100000)",
    "'America/New_York'",
    "'day'",
    "'hex'",
    "'pg_catalog.int4'",
    "'(?<x>a){1,1000}'",
    "'-12345678901234567890.5'",
    "'0x1F'",
    "'a\"b'",
    "md5('x')",
];
const NUMERICS: &[&str] = &[
    "0.0",
    "1.5",
    "-0.00001",
    "99999999999999.9999",
    "12345678901234567890.123",
    "1e10",
    "NULL",
    "0.1::numeric(38,10)",
    "9999999999999999999999999999.9999999999",
    "'NaN'::numeric",
    "1e-30::numeric",
];
const FLOATS: &[&str] = &[
    "0::double precision",
    "'-0'::double precision",
    "'NaN'::double precision",
    "'infinity'::double precision",
    "'-infinity'::double precision",
    "1e308::double precision",
    "4.9e-324::double precision",
    "1.5::real",
    "NULL::real",
    "pi()",
];
const TIMES: &[&str] = &[
    "TIMESTAMP '2024-01-02 03:04:05.678'",
    "TIMESTAMP '0001-01-01'",
    "TIMESTAMP '4713-01-01 BC'",
    "TIMESTAMP '294276-12-31 23:59:59'",
    "TIMESTAMPTZ '2024-03-31 02:30:00 Europe/Berlin'",
    "NULL::timestamp",
    "now()",
    "current_timestamp",
    "TIMESTAMP 'epoch'",
    "TIMESTAMP '1677-09-21'",
    "TIMESTAMP '2262-04-12'",
    "TIMESTAMP 'infinity'",
];
const DATES: &[&str] = &[
    "DATE '2024-02-29'",
    "DATE '5874897-12-31'",
    "DATE '4713-01-01 BC'",
    "current_date",
    "NULL::date",
    "DATE '0001-01-01'",
];
const INTERVALS: &[&str] = &[
    "INTERVAL '1 day'",
    "INTERVAL '0'",
    "INTERVAL '-1 month 3 days 4 hours'",
    "INTERVAL '178000000 years'",
    "INTERVAL '1 microsecond'",
    "INTERVAL '9223372036 seconds'",
    "NULL::interval",
    "INTERVAL '100 years'",
];
const ARRAYS: &[&str] = &[
    "ARRAY[1,2,NULL,3]",
    "ARRAY[]::int[]",
    "'{a,b,NULL}'::text[]",
    "NULL::int[]",
    "ARRAY['x','']",
    "string_to_array('a,b,c', ',')",
    "ARRAY[ARRAY[1,2],ARRAY[3,4]]",
    "array_fill(0, ARRAY[10])",
    "array_repeat(1, 1000)",
];
const BOOLEANS: &[&str] = &["true", "false", "NULL::boolean"];
const BYTES: &[&str] = &["'\\x00ff'::bytea", "''::bytea", "NULL::bytea", "decode('00', 'hex')"];
const JSONS: &[&str] = &[
    "'{\"a\": 1}'::jsonb",
    "'[1, [2, [3]]]'::jsonb",
    "'null'::jsonb",
    "'{}'::json",
    "NULL::jsonb",
    "'1e16383'::jsonb",
];

pub(super) const TYPES: &[&str] = &[
    "int",
    "smallint",
    "bigint",
    "text",
    "numeric",
    "numeric(10,2)",
    "numeric(38,38)",
    "real",
    "double precision",
    "boolean",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "interval",
    "uuid",
    "json",
    "jsonb",
    "bytea",
    "int[]",
    "text[]",
    "varchar(3)",
    "char(5)",
    "oid",
    "regclass",
    "numeric[]",
    "\"char\"",
    "name",
];

/// The wanted type of an expression.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Integer,
    Text,
    Numeric,
    Float,
    Time,
    Date,
    Interval,
    Array,
    Boolean,
    Bytes,
    Json,
}

const KINDS: &[Kind] = &[
    Kind::Integer,
    Kind::Integer,
    Kind::Text,
    Kind::Text,
    Kind::Numeric,
    Kind::Float,
    Kind::Time,
    Kind::Date,
    Kind::Interval,
    Kind::Array,
    Kind::Boolean,
    Kind::Bytes,
    Kind::Json,
];

impl Generator<'_> {
    pub(super) fn kind(&mut self) -> Kind {
        *KINDS.choose(self.random).expect("there are some")
    }

    pub(super) fn literal(&mut self, kind: Kind) -> String {
        let of = match kind {
            Kind::Integer => INTEGERS,
            Kind::Text => TEXTS,
            Kind::Numeric => NUMERICS,
            Kind::Float => FLOATS,
            Kind::Time => TIMES,
            Kind::Date => DATES,
            Kind::Interval => INTERVALS,
            Kind::Array => ARRAYS,
            Kind::Boolean => BOOLEANS,
            Kind::Bytes => BYTES,
            Kind::Json => JSONS,
        };
        self.one(of).to_string()
    }

    pub(super) fn column(&mut self, kind: Kind) -> &'static str {
        match kind {
            Kind::Integer => self.one(&["a", "l"]),
            Kind::Text => "b",
            Kind::Numeric => "c",
            Kind::Float => "e",
            Kind::Time => "d",
            Kind::Date => "k",
            Kind::Interval => "i",
            Kind::Array => "g",
            Kind::Boolean => "f",
            Kind::Bytes => "j",
            Kind::Json => "h",
        }
    }
}
