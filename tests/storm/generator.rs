//! Random statements of every kind that the server takes: definitions, rows, queries of every form, functions of the
//! registry with edge values, sizes that grow, and texts that are no statements.
//!
//! One rule: a statement is a function of the seed. Most are valid; those that are not must be errors and nothing else.
//! Here: the frequency of each sort of statement, and the names that they share; a file below for each sort.
//! Not here: sending them (`storm.rs`).

mod values;

mod expressions;
mod queries;

mod rows;

mod definitions;
mod sessions;
mod sizes;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

pub use self::values::Kind;

/// Topics and views are named by numbers below this.
const NAMES: usize = 6;

/// The columns of every topic that the storm makes, with a watermark on `d`.
const COLUMNS: &str = "a INT, b TEXT, c NUMERIC(18,4), d TIMESTAMP, e DOUBLE PRECISION, f BOOLEAN, g INT[], h JSONB, i INTERVAL, \
                       j BYTEA, k DATE, l BIGINT";

pub struct Generator<'a> {
    pub random: &'a mut StdRng,
    /// Whether the columns of a topic can be named.
    columns: bool,
}

impl<'a> Generator<'a> {
    pub fn new(random: &'a mut StdRng) -> Generator<'a> {
        Generator { random, columns: false }
    }

    /// The topics that exist from the start.
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
}
