//! Rows that go in by INSERT and COPY, most of which fit their topic, and rows that come out by COPY.

use rand::Rng;

use super::Generator;
use super::values::Kind;

impl Generator<'_> {
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

    pub(super) fn copy_out(&mut self) -> String {
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
}
