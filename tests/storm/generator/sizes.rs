//! Statements whose size, depth or effort is large, and texts that are no statements.

use std::fmt::Write;

use rand::Rng;
use rand::seq::IndexedRandom;

use super::Generator;

impl Generator<'_> {
    /// Statements whose size, depth or effort grows without their text meaning much.
    pub(super) fn large(&mut self) -> String {
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
                format!(
                    "SELECT string_agg(x, '') FROM (SELECT repeat('y', 10000) AS x FROM generate_series(1, {n})) AS sub"
                )
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
    pub(super) fn malformed(&mut self) -> String {
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
