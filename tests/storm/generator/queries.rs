//! Queries of every form: their relations, lists, groups, orders and limits, with aggregates and windows.

use std::fmt::Write;

use millstream::sql::functions::functions;
use rand::Rng;

use super::Generator;
use super::values::Kind;

impl Generator<'_> {
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
                    "CUMULATE({}, d, INTERVAL '1 second', INTERVAL '60 seconds')",
                    "SESSION({} PARTITION BY a, d, INTERVAL '10 seconds')",
                    "SESSION({}, d, INTERVAL '1 second')",
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

    pub(super) fn select_of(&mut self, kind: Kind, depth: usize) -> String {
        let saved = std::mem::replace(&mut self.columns, true);
        let text = format!("SELECT {} FROM {}", self.expression(kind, depth), self.topic());
        self.columns = saved;
        text
    }

    pub(super) fn aggregate(&mut self) -> String {
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

    pub(super) fn over(&mut self) -> String {
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
}
