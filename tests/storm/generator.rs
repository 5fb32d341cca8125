//! Random statements over all that the server takes: definitions, rows, queries of every form, functions of the registry
//! with edge values, sizes that grow, and texts that are no statements.
//!
//! One rule: a statement is a function of the seed. Most are valid; those that are not must be errors and nothing else.
//! Not here: how they are sent (`storm.rs`).

use std::fmt::Write;

use millstream::sql::functions::functions;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// Topics and views are named by numbers below this.
const NAMES: usize = 6;

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

const TYPES: &[&str] = &[
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

/// The columns of every topic that the storm makes, with a watermark on `d`.
const COLUMNS: &str = "a INT, b TEXT, c NUMERIC(18,4), d TIMESTAMP, e DOUBLE PRECISION, f BOOLEAN, g INT[], h JSONB, i INTERVAL, \
                       j BYTEA, k DATE, l BIGINT";

/// What an expression is wanted to be.
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

pub struct Generator<'a> {
    pub random: &'a mut StdRng,
    /// Whether the columns of a topic can be named.
    columns: bool,
}

impl<'a> Generator<'a> {
    pub fn new(random: &'a mut StdRng) -> Generator<'a> {
        Generator { random, columns: false }
    }

    fn one<'b>(&mut self, of: &[&'b str]) -> &'b str {
        of.choose(self.random).expect("there are some")
    }

    fn chance(&mut self, likely: f64) -> bool {
        self.random.random_bool(likely)
    }

    fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end)
    }

    fn topic(&mut self) -> String {
        format!("t{}", self.below(NAMES))
    }

    fn view(&mut self) -> String {
        format!("v{}", self.below(NAMES))
    }

    fn kind(&mut self) -> Kind {
        *KINDS.choose(self.random).expect("there are some")
    }

    /// What topics there are from the start.
    pub fn setup() -> Vec<String> {
        let topic = |number| {
            format!(
                "CREATE TOPIC t{number} ({COLUMNS}, WATERMARK FOR d AS d - INTERVAL '5 seconds') WITH (partitions = {})",
                1 + number % 3
            )
        };
        (0..NAMES).map(topic).collect()
    }

    /// Any statement.
    pub fn statement(&mut self) -> String {
        match self.below(100) {
            0..=39 => self.query(3),
            40..=51 => self.insert(),
            52..=56 => self.function_alone(),
            57..=63 => self.definition(),
            64..=67 => self.copy_out(),
            68..=72 => self.transaction(),
            73..=76 => self.prepared(),
            77..=79 => self.cursor(),
            80..=82 => format!(
                "EXPLAIN {}{}",
                self.one(&["", "ANALYZE ", "VERBOSE ", "(FORMAT JSON) "]),
                self.query(2)
            ),
            83..=86 => self.setting(),
            87..=93 => self.large(),
            94..=96 => self.malformed(),
            97 => self.system(),
            _ => {
                let parts: Vec<String> = (0..self.random.random_range(2..5))
                    .map(|_| self.insert_or_query())
                    .collect();
                parts.join("; ")
            }
        }
    }

    fn insert_or_query(&mut self) -> String {
        if self.chance(0.5) { self.insert() } else { self.query(2) }
    }

    /// A call of one function of the registry, with arguments of any kind.
    fn function_alone(&mut self) -> String {
        self.columns = false;
        let call = self.any_function(1);
        if self.chance(0.3) {
            self.columns = true;
            let call = self.any_function(1);
            return format!("SELECT {call} FROM {}", self.topic());
        }
        format!("SELECT {call}")
    }

    fn any_function(&mut self, depth: usize) -> String {
        // Those that end others' sessions have tests of their own.
        const EXCLUDED: &[&str] = &["pg_terminate_backend", "pg_cancel_backend"];
        let functions = functions();
        let mut names: Vec<&str> = functions
            .scalar
            .keys()
            .chain(functions.aggregate.keys())
            .map(String::as_str)
            .collect();
        names.extend(functions.window.keys().map(String::as_str));
        names.retain(|name| !EXCLUDED.contains(name));
        // Maps have no order of their own.
        names.sort_unstable();
        let name = self.one(&names);
        let is_window = functions.window.contains_key(name);
        let count = *[0, 1, 1, 1, 2, 2, 2, 3, 3, 4]
            .choose(self.random)
            .expect("there are some");
        let arguments: Vec<String> = (0..count)
            .map(|_| {
                let kind = self.kind();
                self.expression(kind, depth)
            })
            .collect();
        let over = if is_window || self.chance(0.05) {
            self.over()
        } else {
            String::new()
        };
        format!("{name}({}){over}", arguments.join(", "))
    }

    fn literal(&mut self, kind: Kind) -> String {
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

    fn column(&mut self, kind: Kind) -> &'static str {
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

    /// An expression that is mostly of this kind.
    pub fn expression(&mut self, kind: Kind, depth: usize) -> String {
        if depth == 0 || self.chance(0.3) {
            return if self.columns && self.chance(0.6) {
                self.column(kind).to_string()
            } else {
                self.literal(kind)
            };
        }
        let depth = depth - 1;
        if self.chance(0.12) {
            return self.any_function(depth);
        }
        if self.chance(0.08) {
            let (from, to) = (self.kind(), self.one(TYPES));
            return format!("({})::{to}", self.expression(from, depth));
        }
        if self.chance(0.08) {
            let (condition, one, other) = (
                self.expression(Kind::Boolean, depth),
                self.expression(kind, depth),
                self.expression(kind, depth),
            );
            return format!("CASE WHEN {condition} THEN {one} ELSE {other} END");
        }
        if self.chance(0.05) {
            return format!("({} LIMIT 1)", self.select_of(kind, depth));
        }
        let mut e = |kind| self.expression(kind, depth);
        let (i, j, t, u) = (e(Kind::Integer), e(Kind::Integer), e(Kind::Text), e(Kind::Text));
        let (n, f, time, date) = (e(Kind::Numeric), e(Kind::Float), e(Kind::Time), e(Kind::Date));
        let (interval, array, boolean) = (e(Kind::Interval), e(Kind::Array), e(Kind::Boolean));
        let (bytes, json) = (e(Kind::Bytes), e(Kind::Json));
        let choices: Vec<String> = match kind {
            Kind::Integer => vec![
                format!("({i} + {j})"),
                format!("({i} * {j})"),
                format!("({i} / {j})"),
                format!("({i} % {j})"),
                format!("length({t})"),
                format!("(-{i})"),
                format!("strpos({t}, {u})"),
                format!("array_length({array}, 1)"),
                format!("abs({i})"),
                format!("extract(year FROM {time})::int"),
                format!("cardinality({array})"),
                format!("({i} << {j})"),
                format!("({i} & {j})"),
                format!("levenshtein({t}, {u})"),
                format!("ascii({t})"),
                format!("octet_length({bytes})"),
                format!("({i})::smallint"),
                format!("coalesce({i}, {j})"),
                format!("greatest({i}, {j}, 3)"),
                format!("width_bucket({n}, 0, 10, {i})"),
                format!("factorial({i})"),
            ],
            Kind::Text => vec![
                format!("({t} || {u})"),
                format!("upper({t})"),
                format!("repeat({t}, {i})"),
                format!("lpad({t}, {i}, {u})"),
                format!("rpad({t}, {i})"),
                format!("replace({t}, {u}, {t})"),
                format!("substr({t}, {i}, {j})"),
                format!("to_char({time}, {t})"),
                format!("to_char({n}, {t})"),
                format!("translate({t}, {u}, {t})"),
                format!("overlay({t} placing {u} from {i})"),
                format!("concat({t}, {i}, {n}, NULL)"),
                format!("concat_ws({t}, {u}, {i})"),
                format!("format({t}, {u}, {i})"),
                format!("regexp_replace({t}, {u}, {t}, 'g')"),
                format!("split_part({t}, {u}, {i})"),
                format!("array_to_string({array}, {t})"),
                format!("({json})::text"),
                format!("({time})::text"),
                format!("quote_literal({t})"),
                format!("encode({bytes}, 'base64')"),
                format!("reverse({t})"),
                format!("left({t}, {i})"),
                format!("({array})::text"),
                format!("md5({t})"),
                format!("chr({i})"),
                format!("trim(both {t} from {u})"),
                format!("initcap({t})"),
                format!("json_build_object({t}, {i})::text"),
            ],
            Kind::Numeric => vec![
                format!("({n} * {n})"),
                format!("({n} / {i})"),
                format!("round({n}, {i})"),
                format!("({i})::numeric"),
                format!("({f})::numeric"),
                format!("power({n}, {i})"),
                format!("mod({n}, {n})"),
                format!("trunc({n})"),
                format!("ceil({n})"),
                format!("({t})::numeric(20,5)"),
                format!("sqrt({n})"),
                format!("exp({n})"),
                format!("extract(epoch FROM {time})"),
            ],
            Kind::Float => vec![
                format!("({f} * {f})"),
                format!("({f} / {f})"),
                format!("sin({f})"),
                format!("exp({f})"),
                format!("ln({f})"),
                format!("power({f}, {f})"),
                format!("({n})::double precision"),
                format!("round({f})"),
                format!("({t})::real"),
                format!("atan2({f}, {f})"),
                format!("cbrt({f})"),
            ],
            Kind::Time => vec![
                format!("({time} + {interval})"),
                format!("({time} - {interval})"),
                format!("date_trunc({t}, {time})"),
                format!("date_bin({interval}, {time}, {time})"),
                format!("({time} AT TIME ZONE {t})"),
                format!("to_timestamp({f})"),
                format!("({date})::timestamp"),
                format!("make_timestamp({i}, {i}, {i}, {i}, {i}, {f})"),
                format!("({t})::timestamp"),
                format!("to_timestamp({t}, {u})"),
            ],
            Kind::Date => vec![
                format!("({date} + {i})"),
                format!("({time})::date"),
                format!("make_date({i}, {j}, {i})"),
                format!("({t})::date"),
                format!("to_date({t}, {u})"),
            ],
            Kind::Interval => vec![
                format!("({interval} * {f})"),
                format!("({interval} + {interval})"),
                format!("({time} - {time})"),
                format!("age({time}, {time})"),
                format!("make_interval({i}, {j}, {i})"),
                format!("justify_interval({interval})"),
                format!("(-{interval})"),
                format!("({t})::interval"),
                format!("({interval} / {i})"),
            ],
            Kind::Array => vec![
                format!("ARRAY[{i}, {j}]"),
                format!("array_append({array}, {i})"),
                format!("({array} || {array})"),
                format!("string_to_array({t}, {u})"),
                format!("array_fill({i}, ARRAY[{j}])"),
                format!("array_repeat({i}, {j})"),
                format!("range({i}, {j})"),
                format!("({array})[{i}:{j}]"),
                format!("regexp_split_to_array({t}, {u})"),
                format!("array_sort({array})"),
                format!("array_remove({array}, {i})"),
                format!("ARRAY({})", "SELECT x FROM generate_series(1, 10) x"),
                format!("({t})::int[]"),
            ],
            Kind::Boolean => vec![
                format!("({i} < {j})"),
                format!("({t} = {u})"),
                format!("({t} LIKE {u})"),
                format!("({t} ~ {u})"),
                format!("({t} ILIKE {u})"),
                format!("({i} BETWEEN {j} AND {i})"),
                format!("({i} IN ({j}, {i}, NULL))"),
                format!("({array} @> {array})"),
                format!("NOT {boolean}"),
                format!("({boolean} AND {boolean})"),
                format!("({boolean} OR {boolean})"),
                format!("({n} IS NOT DISTINCT FROM {n})"),
                format!("({i} = ANY({array}))"),
                format!("EXISTS (SELECT 1 WHERE {boolean})"),
                format!("({time} < {date})"),
                format!("({t} SIMILAR TO {u})"),
                format!("({i} IN (SELECT x FROM generate_series(1, 5) x))"),
                format!("starts_with({t}, {u})"),
                format!("({interval} > {interval})"),
            ],
            Kind::Bytes => vec![
                format!("decode({t}, 'hex')"),
                format!("decode({t}, 'escape')"),
                format!("({t})::bytea"),
                format!("({bytes} || {bytes})"),
                format!("sha256({bytes})"),
                format!("substr({bytes}, {i}, {j})"),
            ],
            Kind::Json => vec![
                format!("({t})::jsonb"),
                format!("to_jsonb({array})"),
                format!("to_jsonb({t})"),
                format!("jsonb_build_object({t}, {i}, {u}, {array})"),
                format!("jsonb_build_array({i}, {t})"),
                format!("({json})::json"),
                format!("({json} -> {t})"),
                format!("({json} -> {i})"),
            ],
        };
        choices.choose(self.random).expect("there are some").clone()
    }

    fn aggregate(&mut self) -> String {
        let kind = self.kind();
        let e = self.expression(kind, 1);
        let n = self.expression(Kind::Numeric, 1);
        let t = self.expression(Kind::Text, 1);
        let distinct = self.one(&["", "", "", "DISTINCT "]);
        let order = self.one(&["", "", " ORDER BY 1", " ORDER BY b", " ORDER BY a DESC"]);
        let call = match self.below(13) {
            0 => "count(*)".to_string(),
            1 => format!("count({distinct}{e}{order})"),
            2 => format!("sum({distinct}{n})"),
            3 => format!("avg({n})"),
            4 => format!("min({e})"),
            5 => format!("max({e})"),
            6 => format!("string_agg({distinct}{t}, ','{order})"),
            7 => format!("array_agg({distinct}{e}{order})"),
            8 => format!("stddev({n})"),
            9 => format!("percentile_cont(0.5) WITHIN GROUP (ORDER BY {n})"),
            10 => format!("bool_and({})", self.expression(Kind::Boolean, 1)),
            11 => format!(
                "{}({e})",
                self.one(&[
                    "median",
                    "var_pop",
                    "approx_distinct",
                    "first_value",
                    "last_value",
                    "bit_and",
                    "corr",
                    "array_agg"
                ])
            ),
            _ => {
                let functions = functions();
                let mut names: Vec<&str> = functions.aggregate.keys().map(String::as_str).collect();
                names.sort_unstable();
                let name = self.one(&names);
                let more = if self.chance(0.3) {
                    format!(", {n}")
                } else {
                    String::new()
                };
                format!("{name}({distinct}{e}{more}{order})")
            }
        };
        if self.chance(0.15) {
            return format!("{call} FILTER (WHERE {})", self.expression(Kind::Boolean, 1));
        }
        call
    }

    fn over(&mut self) -> String {
        const BOUNDS: &[&str] = &[
            "UNBOUNDED PRECEDING",
            "CURRENT ROW",
            "1 PRECEDING",
            "0 FOLLOWING",
            "UNBOUNDED FOLLOWING",
            "18446744073709551615 PRECEDING",
            "9223372036854775807 FOLLOWING",
            "-1 PRECEDING",
            "INTERVAL '1 day' PRECEDING",
            "NULL FOLLOWING",
            "1.5 PRECEDING",
        ];
        let mut over = String::from(" OVER (");
        if self.chance(0.5) {
            let kind = self.kind();
            let _ = write!(over, "PARTITION BY {} ", self.expression(kind, 1));
        }
        if self.chance(0.7) {
            let kind = self.kind();
            let _ = write!(
                over,
                "ORDER BY {} {}",
                self.expression(kind, 1),
                self.one(&["", "DESC ", "NULLS FIRST ", "DESC NULLS LAST "])
            );
        }
        if self.chance(0.4) {
            let unit = self.one(&["ROWS", "RANGE", "GROUPS"]);
            let _ = write!(over, "{unit} BETWEEN {} AND {}", self.one(BOUNDS), self.one(BOUNDS));
        }
        over.push(')');
        over
    }

    /// Something to read, and whether the columns of a topic come from it.
    fn relation(&mut self, depth: usize) -> (String, bool) {
        match self.below(12) {
            0..=4 => (self.topic(), true),
            5 => (self.view(), false),
            6 => {
                let end = self.one(&["0", "1", "10", "1000", "100000", "3000000", "9223372036854775807"]);
                let start = self.one(&["1", "0", "-5", "9223372036854775800"]);
                (format!("generate_series({start}, {end}) AS a(a)"), false)
            }
            7 => {
                let window = self.one(&[
                    "TUMBLE({}, d, INTERVAL '10 seconds')",
                    "HOP({}, d, INTERVAL '1 second', INTERVAL '10 seconds')",
                    "HOP({}, d, INTERVAL '1 second', INTERVAL '1000 seconds')",
                    "TUMBLE({}, d, INTERVAL '0')",
                    "TUMBLE({}, d, INTERVAL '1 month')",
                ]);
                (window.replace("{}", &self.topic()), true)
            }
            8 if depth > 0 => {
                let (one, other) = (self.topic(), self.relation(depth - 1).0);
                let join = self.one(&["JOIN", "LEFT JOIN", "FULL JOIN", "RIGHT JOIN"]);
                let saved = std::mem::replace(&mut self.columns, false);
                let on = match self.below(3) {
                    0 => "x.a = 1".to_string(),
                    1 => format!("x.a IS NOT NULL AND {}", self.expression(Kind::Boolean, 1)),
                    _ => "true".to_string(),
                };
                self.columns = saved;
                (format!("{one} x {join} {other} ON {on}"), false)
            }
            9 if depth > 0 => (format!("({}) s", self.query(depth - 1)), false),
            10 => (format!("{}, LATERAL unnest(g) AS u(u)", self.topic()), true),
            _ => ("(VALUES (1, 'a'), (2, NULL)) AS w(a, b)".to_string(), false),
        }
    }

    fn select_of(&mut self, kind: Kind, depth: usize) -> String {
        let saved = std::mem::replace(&mut self.columns, true);
        let text = format!("SELECT {} FROM {}", self.expression(kind, depth), self.topic());
        self.columns = saved;
        text
    }

    /// A query of any form.
    pub fn query(&mut self, depth: usize) -> String {
        if depth > 0 && self.chance(0.08) {
            let operator = self.one(&["UNION ALL", "UNION", "INTERSECT", "EXCEPT", "EXCEPT ALL"]);
            return format!("({}) {operator} ({})", self.query(depth - 1), self.query(depth - 1));
        }
        if depth > 0 && self.chance(0.06) {
            let inner = self.query(depth - 1);
            return format!(
                "WITH q AS ({inner}) SELECT * FROM q {}",
                self.one(&["", ", q q2", "LIMIT 10", "WHERE EXISTS (SELECT 1 FROM q)"])
            );
        }
        if self.chance(0.02) {
            let end = self.one(&["10", "1000", "100000000"]);
            return format!(
                "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < {end}) SELECT count(*) FROM r"
            );
        }
        let (from, named) = self.relation(depth.min(1));
        let saved = std::mem::replace(&mut self.columns, named);
        let grouped = self.chance(0.35);
        let mut items = Vec::new();
        let mut keys = Vec::new();
        if grouped {
            for _ in 0..self.below(3) {
                let kind = self.kind();
                keys.push(self.expression(kind, 1));
            }
            items.extend(keys.iter().cloned());
            for _ in 0..self.random.random_range(1..4) {
                items.push(self.aggregate());
            }
        } else {
            for _ in 0..self.random.random_range(1..4) {
                let kind = self.kind();
                let item = self.expression(kind, depth);
                items.push(item);
            }
            if self.chance(0.15) {
                let aggregate = self.aggregate();
                let over = self.over();
                items.push(format!("{aggregate}{over}"));
            }
            if self.chance(0.1) {
                items.push("*".to_string());
            }
        }
        let mut text = format!(
            "SELECT {}{} FROM {from}",
            self.one(&["", "", "", "DISTINCT "]),
            items.join(", ")
        );
        if self.chance(0.4) {
            let _ = write!(text, " WHERE {}", self.expression(Kind::Boolean, 2));
        }
        if grouped && !keys.is_empty() {
            let keys = keys.join(", ");
            let form = self.one(&[
                "{}",
                "{}",
                "{}",
                "{}",
                "ROLLUP({})",
                "CUBE({})",
                "GROUPING SETS (({}), ())",
            ]);
            let _ = write!(text, " GROUP BY {}", form.replace("{}", &keys));
            if self.chance(0.2) {
                let _ = write!(text, " HAVING {} > 1", self.aggregate());
            }
        }
        if self.chance(0.3) {
            let _ = write!(
                text,
                " ORDER BY {}",
                self.one(&["1", "1 DESC NULLS LAST", "a", "count(*)", "random()", "99"])
            );
        }
        if self.chance(0.4) {
            let _ = write!(
                text,
                " LIMIT {}",
                self.one(&["0", "1", "10", "9223372036854775807", "-1", "NULL", "1+1"])
            );
        }
        if self.chance(0.1) {
            let _ = write!(text, " OFFSET {}", self.one(&["0", "1", "9223372036854775807", "-1"]));
        }
        self.columns = saved;
        text
    }

    fn row(&mut self) -> String {
        self.columns = false;
        let kinds = [
            Kind::Integer,
            Kind::Text,
            Kind::Numeric,
            Kind::Time,
            Kind::Float,
            Kind::Boolean,
            Kind::Array,
            Kind::Json,
            Kind::Interval,
            Kind::Bytes,
            Kind::Date,
            Kind::Integer,
        ];
        let mut values = Vec::new();
        for kind in kinds {
            let value = match (kind, self.chance(0.8)) {
                // Mostly values that fit, so that there is something to read.
                (Kind::Integer, true) => self.random.random_range(-100..100).to_string(),
                (Kind::Time, true) => {
                    let (minute, second) = (self.below(60), self.below(60));
                    format!("'2026-01-01 00:{minute:02}:{second:02}'")
                }
                (Kind::Array, true) => "'{1,2,NULL}'".to_string(),
                (Kind::Numeric, true) => format!("{}.{:02}", self.below(1_000), self.below(100)),
                (_, true) => self.literal(kind),
                (_, false) => self.expression(kind, 1),
            };
            values.push(value);
        }
        format!("({})", values.join(", "))
    }

    pub fn insert(&mut self) -> String {
        let topic = self.topic();
        if self.chance(0.15) {
            let rows = self.one(&["10", "1000", "20000", "200000"]);
            let text = self.one(&["'x'", "repeat('x', n::int % 100)", "md5(n::text)", "repeat('x', 10000)"]);
            return format!(
                "INSERT INTO {topic} (a, b, d, l) SELECT n % 1000, {text}, TIMESTAMP '2026-01-01' + n * INTERVAL '1 ms', n FROM generate_series(1, {rows}) n"
            );
        }
        let rows: Vec<String> = (0..self.random.random_range(1..4)).map(|_| self.row()).collect();
        let returning = self.one(&["", "", "", " RETURNING *", " RETURNING a, _offset", " RETURNING a + 1"]);
        format!("INSERT INTO {topic} VALUES {}{returning}", rows.join(", "))
    }

    fn definition(&mut self) -> String {
        let (topic, view) = (self.topic(), self.view());
        match self.below(14) {
            0..=4 => {
                let saved = std::mem::replace(&mut self.columns, true);
                let (key, aggregate, source) = (self.expression(Kind::Integer, 1), self.aggregate(), self.topic());
                let condition = self.expression(Kind::Boolean, 1);
                self.columns = saved;
                let body = match self.below(5) {
                    0 => format!("SELECT {key} AS k, {aggregate} AS n FROM {source} GROUP BY {key}"),
                    1 => format!("SELECT a, b, c FROM {source} WHERE {condition}"),
                    2 => format!(
                        "SELECT window_start, {aggregate} AS n FROM TUMBLE({source}, d, INTERVAL '10 seconds') GROUP BY window_start EMIT ON WINDOW CLOSE"
                    ),
                    3 => format!(
                        "SELECT window_start, count(*) AS n FROM HOP({source}, d, INTERVAL '1 second', INTERVAL '60 seconds') GROUP BY window_start"
                    ),
                    _ => self.query(2),
                };
                format!("CREATE MATERIALIZED VIEW {view} AS {body}")
            }
            5 | 6 => format!("DROP MATERIALIZED VIEW IF EXISTS {view} CASCADE"),
            7 => format!("DROP TOPIC IF EXISTS {topic} CASCADE"),
            8 | 9 => format!(
                "CREATE TOPIC IF NOT EXISTS {topic} ({COLUMNS}, WATERMARK FOR d AS d - INTERVAL '5 seconds') WITH (partitions = {})",
                self.one(&["1", "2", "8", "1000", "0", "-1", "2147483648"])
            ),
            10 => format!("ALTER TOPIC {topic} ADD COLUMN x{} {}", self.below(20), self.one(TYPES)),
            11 => format!("ALTER TOPIC {topic} DROP COLUMN IF EXISTS x{}", self.below(20)),
            12 => format!("CREATE OR REPLACE VIEW w{} AS {}", self.below(NAMES), self.query(2)),
            _ => {
                let (column, name) = (self.one(&["a", "b", "zz"]), self.one(&["a", "b", "y"]));
                format!("ALTER TOPIC {topic} RENAME COLUMN {column} TO {name}")
            }
        }
    }

    fn copy_out(&mut self) -> String {
        let format = self.one(&[
            "text",
            "csv",
            "binary",
            "csv, HEADER",
            "csv, DELIMITER '|', QUOTE '''', FORCE_QUOTE *",
        ]);
        if self.chance(0.5) {
            return format!("COPY {} TO STDOUT (FORMAT {format})", self.topic());
        }
        format!("COPY ({}) TO STDOUT (FORMAT {format})", self.query(2))
    }

    /// A COPY FROM and its data, which need not be good.
    pub fn copy_in(&mut self) -> (String, Vec<u8>) {
        let format = self.one(&["text", "csv", "binary", "csv, HEADER", "csv, DELIMITER '|'"]);
        let mut data = Vec::new();
        for _ in 0..self.random.random_range(1..200) {
            let row = format!(
                "{}\ttext\t1.5\t2026-01-01 00:00:0{}\t1e3\tt\t{{1,2}}\t{{\"a\":1}}\t1 day\t\\\\x00\t2024-01-01\t7\n",
                self.below(100),
                self.below(10)
            );
            data.extend_from_slice(
                if format.starts_with("csv") {
                    row.replace('\t', ",").into_bytes()
                } else {
                    row.into_bytes()
                }
                .as_slice(),
            );
        }
        if self.chance(0.1) {
            // A row that does not end.
            data.extend(std::iter::repeat_n(b'x', 3 << 20));
        }
        (format!("COPY {} FROM STDIN (FORMAT {format})", self.topic()), data)
    }

    fn transaction(&mut self) -> String {
        match self.below(8) {
            0 | 1 => self
                .one(&[
                    "BEGIN",
                    "BEGIN ISOLATION LEVEL SERIALIZABLE",
                    "START TRANSACTION READ ONLY",
                    "BEGIN READ WRITE",
                ])
                .to_string(),
            2 | 3 => "COMMIT".to_string(),
            4 => "ROLLBACK".to_string(),
            5 => format!("SAVEPOINT s{}", self.below(3)),
            6 => format!("ROLLBACK TO SAVEPOINT s{}", self.below(3)),
            _ => format!("RELEASE SAVEPOINT s{}", self.below(3)),
        }
    }

    fn prepared(&mut self) -> String {
        let name = format!("p{}", self.below(3));
        match self.below(4) {
            0 | 1 => {
                let query = self.query(2).replacen(" 1", " $1", 2);
                format!("PREPARE {name} AS {query}")
            }
            2 => {
                let kind = self.kind();
                format!("EXECUTE {name}({})", self.literal(kind))
            }
            _ => format!("DEALLOCATE {}", self.one(&["ALL", &name])),
        }
    }

    fn cursor(&mut self) -> String {
        match self.below(4) {
            0 => format!(
                "BEGIN; DECLARE c{} {}CURSOR FOR {}",
                self.below(2),
                self.one(&["", "BINARY ", "SCROLL "]),
                self.query(2)
            ),
            1 | 2 => format!(
                "{} {} FROM c{}",
                self.one(&["FETCH", "MOVE"]),
                self.one(&["1", "ALL", "-1", "0", "BACKWARD 1", "FORWARD 2147483647", "9999999999"]),
                self.below(2)
            ),
            _ => format!("CLOSE {}", self.one(&["c0", "c1", "ALL"])),
        }
    }

    fn setting(&mut self) -> String {
        match self.below(4) {
            0 => {
                let name = self.one(&[
                    "TimeZone",
                    "DateStyle",
                    "IntervalStyle",
                    "bytea_output",
                    "extra_float_digits",
                    "application_name",
                    "search_path",
                    "synchronous_commit",
                    "client_min_messages",
                    "consistency",
                    "lock_timeout",
                    "no_such_setting",
                    "a.b",
                    "standard_conforming_strings",
                ]);
                let value = self.one(&[
                    "DEFAULT",
                    "'UTC'",
                    "'America/New_York'",
                    "'ISO, DMY'",
                    "'iso_8601'",
                    "escape",
                    "3",
                    "-99",
                    "public, calm",
                    "off",
                    "on",
                    "''",
                    "99999999999999999999",
                    "'x'",
                ]);
                format!("SET {} {name} = {value}", self.one(&["", "LOCAL", "SESSION"]))
            }
            1 => format!(
                "SHOW {}",
                self.one(&[
                    "ALL",
                    "TOPICS",
                    "VIEWS",
                    "TimeZone",
                    "SCHEMAS",
                    "MATERIALIZED VIEWS",
                    "statement_timeout",
                    "nothing"
                ])
            ),
            2 => format!(
                "RESET {}",
                self.one(&["TimeZone", "DateStyle", "search_path", "nothing"])
            ),
            _ => format!(
                "SHOW CREATE {} {}",
                self.one(&["TOPIC", "MATERIALIZED VIEW", "VIEW"]),
                self.one(&["t0", "v1", "w2", "millstream.topics"])
            ),
        }
    }

    fn system(&mut self) -> String {
        self.one(&[
            "SELECT * FROM millstream.topics",
            "SELECT * FROM millstream.metrics",
            "SELECT * FROM pg_stat_activity",
            "SELECT * FROM pg_class, pg_attribute",
            "SELECT count(*) FROM pg_proc a, pg_proc b, pg_type c",
            "SELECT * FROM information_schema.columns",
            "SELECT * FROM millstream.views",
            "EXPLAIN MATERIALIZED VIEW v1",
            "DESCRIBE t1",
            "DISCARD ALL",
            "SELECT pg_get_viewdef('v1'::regclass)",
            "DROP SCHEMA IF EXISTS s CASCADE",
            "CREATE SCHEMA s",
            "COMMENT ON TOPIC t0 IS 'x'",
            "ALTER TOPIC t1 ADVANCE WATERMARK TO '2026-01-01 00:30:00'",
            "VACUUM",
            "REFRESH MATERIALIZED VIEW v0",
            "DROP SCHEMA public",
            "SELECT pg_sleep(1)",
            "SELECT pg_backend_pid(), pg_sleep(0.01)",
        ])
        .to_string()
    }

    /// Statements whose size, depth or effort grows without their text meaning much.
    fn large(&mut self) -> String {
        let n = *[10, 50, 100, 500, 1_000, 5_000, 20_000]
            .choose(self.random)
            .expect("there are some");
        match self.below(24) {
            0 => format!("SELECT '{}{}'::jsonb", "[".repeat(n), "]".repeat(n)),
            1 => format!("SELECT {}1{}", "(".repeat(n), ")".repeat(n)),
            2 => format!("SELECT 1{}", " + 1".repeat(n)),
            3 => format!("SELECT 1 WHERE {}true", "true AND ".repeat(n)),
            4 => format!("SELECT {}1{}", "(SELECT ".repeat(n.min(100)), ")".repeat(n.min(100))),
            5 => format!("SELECT a FROM t0 WHERE a IN ({}1)", "2, ".repeat(n)),
            6 => format!("SELECT {}1", "1, ".repeat(n)),
            7 => format!(
                "SELECT {}'x'{}",
                "upper(".repeat(n.min(2_000)),
                ")".repeat(n.min(2_000))
            ),
            8 => format!(
                "SELECT {}1{}",
                "CASE WHEN true THEN ".repeat(n.min(2_000)),
                " END".repeat(n.min(2_000))
            ),
            9 => {
                let mut text = String::from("WITH c0 AS (SELECT 1 AS x)");
                for at in 1..n.min(20) {
                    let _ = write!(text, ", c{at} AS (SELECT a.x FROM c{} a, c{} b)", at - 1, at - 1);
                }
                format!("{text} SELECT count(*) FROM c{}", n.min(20) - 1)
            }
            10 => format!(
                "SELECT {} FROM t0",
                (0..n.min(2_000))
                    .map(|at| format!("a + {at} AS x{at}"))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
            11 => format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(n.min(2_000))),
            12 => format!(
                "SELECT count(*) FROM t0 GROUP BY CUBE({})",
                (0..n.min(24))
                    .map(|at| format!("a + {at}"))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
            13 => format!("SELECT levenshtein(repeat('a', {n}0), repeat('b', {n}0))"),
            14 => format!("SELECT length(repeat('x', {n}0000))"),
            15 => format!("SELECT count(*) FROM unnest(range(0, {n}000)) u(x)"),
            16 => format!("SELECT 'x' ~* repeat('[a-\\x{{2FFF}}]', {n})"),
            17 => format!("SELECT array_agg(repeat('x', 1000)) FROM generate_series(1, {n}00)"),
            18 => format!("SELECT count(*) FROM generate_series(1, {n}000) a, generate_series(1, 1000) b"),
            19 => {
                format!("SELECT string_agg(x, '') FROM (SELECT repeat('y', 10000) AS x FROM generate_series(1, {n}))")
            }
            20 => format!("SELECT n FROM generate_series(1, {n}00) n ORDER BY md5(n::text), repeat('x', 100)"),
            21 => format!(
                "SELECT arrow_cast(NULL, '{}Int8{}')",
                "List(".repeat(n.min(2_000)),
                ")".repeat(n.min(2_000))
            ),
            22 => format!(
                "INSERT INTO t1 (b) SELECT repeat('x', 300000) FROM generate_series(1, {}) n",
                n.min(9_000)
            ),
            _ => format!("SELECT 1 /*{}{}*/", "/*".repeat(n), "*/".repeat(n)),
        }
    }

    /// A statement with pieces missing, repeated or foreign.
    fn malformed(&mut self) -> String {
        let text = self.insert_or_query();
        let mut characters: Vec<char> = text.chars().collect();
        for _ in 0..self.random.random_range(1..4) {
            let at = self.below(characters.len() + 1);
            match self.below(4) {
                0 => characters.truncate(at),
                1 if at < characters.len() => {
                    characters.remove(at);
                }
                2 => {
                    let word = self.one(&[
                        "'", "\"", "(", ")", "$1", "$$", "::", "/*", ";", "\u{0}", "\u{feff}", "SELECT", "FROM", "--",
                        "E'\\u", "[", ",",
                    ]);
                    characters.splice(at..at, word.chars());
                }
                _ => {
                    let end = self.random.random_range(at..=characters.len());
                    let piece = characters[at..end].to_vec();
                    characters.splice(at..at, piece);
                }
            }
        }
        characters.into_iter().collect()
    }
}
