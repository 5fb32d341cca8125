//! The as-view mode: each deterministic SELECT of a file is also kept as a materialized view, which must equal the
//! batch answer right away and after each later statement that could change it (V1).
//!
//! One rule: a view is compared as a bag of rows, floats within 1e-9, errors by SQLSTATE; statements that the
//! comparison cannot judge (clocks, random numbers, system tables, LIMIT without ORDER BY) are left out here, never
//! excused later.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, QueryExpect, Record, StatementExpect};

use crate::connection::{Connection, Failure, SharedTarget};

/// Views made and compared, and SELECTs that CREATE MATERIALIZED VIEW refused with 0A000: printed at the end.
pub static MADE: AtomicUsize = AtomicUsize::new(0);
pub static REFUSED: AtomicUsize = AtomicUsize::new(0);

/// Words that make an answer depend on more than the log.
const VOLATILE: &[&str] = &[
    "now",
    "random",
    "gen_random_uuid",
    "current_timestamp",
    "current_time",
    "current_date",
    "localtimestamp",
    "localtime",
    "clock_timestamp",
    "statement_timestamp",
    "transaction_timestamp",
    "timeofday",
    "version",
    "current_user",
    "session_user",
    "current_schema",
    "current_database",
    "current_setting",
    "pg_typeof",
    "information_schema",
    "pg_catalog",
    "millstream",
];

struct Kept {
    name: String,
    query: String,
    line: u32,
}

pub struct AsView {
    connection: Connection,
    /// Names of topics, tables and views that the file has made.
    relations: HashSet<String>,
    kept: Vec<Kept>,
    made: usize,
    /// Connections of the file inside BEGIN; others do not see their DDL.
    in_transaction: bool,
}

impl AsView {
    pub fn new(target: SharedTarget) -> AsView {
        AsView {
            connection: Connection::new(target),
            relations: HashSet::new(),
            kept: Vec::new(),
            made: 0,
            in_transaction: false,
        }
    }

    /// Before the file's own statement: views must not stand in the way of a DROP.
    pub async fn before(&mut self, sql: &str) -> Result<(), String> {
        let words = words(sql);
        let drops = words.first().is_some_and(|word| word == "drop") || words.starts_with(&own(&["create", "or"]));
        if drops {
            for kept in std::mem::take(&mut self.kept) {
                self.run(&format!("DROP MATERIALIZED VIEW {}", kept.name))
                    .await
                    .map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    /// After the file's own record succeeded.
    pub async fn after(&mut self, record: &Record<DefaultColumnType>) -> Result<(), String> {
        match record {
            Record::Statement { sql, expected, .. } => {
                if !matches!(expected, StatementExpect::Error(_)) {
                    self.learn(sql).await?;
                }
                self.compare_all().await
            }
            Record::Query {
                sql,
                loc,
                expected: QueryExpect::Results { types, .. },
                ..
            } => {
                if self.eligible(sql) {
                    self.keep(sql, loc.line(), types.len()).await?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn learn(&mut self, sql: &str) -> Result<(), String> {
        let words = words(sql);
        match words.first().map(String::as_str) {
            Some("begin" | "start") => self.in_transaction = true,
            Some("commit" | "end" | "abort") => self.in_transaction = false,
            Some("rollback") if !words.contains(&"to".to_string()) => self.in_transaction = false,
            // A setting can change the meaning of a query; views keep theirs, so the batch query must run alike.
            Some("set" | "reset") => self.run(sql).await.map(drop).map_err(|error| error.to_string())?,
            Some("create") => {
                let kind = words
                    .iter()
                    .position(|word| matches!(word.as_str(), "topic" | "table" | "view"));
                let skip = |word: &&String| !matches!(word.as_str(), "if" | "not" | "exists");
                let name = kind.and_then(|kind| words[kind + 1..].iter().find(skip));
                self.relations.extend(name.cloned());
            }
            _ => {}
        }
        Ok(())
    }

    fn eligible(&self, sql: &str) -> bool {
        let words = words(sql);
        let has = |word: &str| words.iter().any(|other| other == word);
        matches!(words.first().map(String::as_str), Some("select" | "with"))
            && words.iter().any(|word| self.relations.contains(word))
            && !words
                .iter()
                .any(|word| VOLATILE.contains(&word.as_str()) || word.starts_with("pg_"))
            && (has("order") || !(has("limit") || has("offset") || has("fetch")))
            && !self.in_transaction
    }

    async fn keep(&mut self, query: &str, line: u32, columns: usize) -> Result<(), String> {
        let name = format!("as_view_{}", self.made);
        self.made += 1;
        let columns: Vec<String> = (1..=columns).map(|column| format!("c{column}")).collect();
        let create = format!("CREATE MATERIALIZED VIEW {name} ({}) AS {query}", columns.join(", "));
        match self.run(&create).await {
            Ok(_) => {}
            Err(error) if error.state.as_deref() == Some("0A000") => {
                REFUSED.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            Err(error) => return Err(format!("line {line}: as a view: {error}\n{create}")),
        }
        MADE.fetch_add(1, Ordering::Relaxed);
        let kept = Kept {
            name,
            query: query.to_string(),
            line,
        };
        self.compare(&kept).await?;
        self.kept.push(kept);
        Ok(())
    }

    async fn compare_all(&mut self) -> Result<(), String> {
        let kept = std::mem::take(&mut self.kept);
        for kept in &kept {
            self.compare(kept).await?;
        }
        self.kept = kept;
        Ok(())
    }

    async fn compare(&mut self, kept: &Kept) -> Result<(), String> {
        let view = self.run(&format!("SELECT * FROM {}", kept.name)).await;
        let batch = self.run(&kept.query).await;
        let same = match (&view, &batch) {
            (Ok(view), Ok(batch)) => same_bag(view, batch),
            (Err(view), Err(batch)) => view.state == batch.state,
            _ => false,
        };
        if same {
            return Ok(());
        }
        Err(format!(
            "V1: the view of line {} differs from its query\n{}\n--- view\n{}\n--- batch\n{}",
            kept.line,
            kept.query,
            shown(&view),
            shown(&batch)
        ))
    }

    async fn run(&mut self, sql: &str) -> Result<Vec<Vec<String>>, Failure> {
        Ok(match self.connection.run(sql).await? {
            DBOutput::Rows { mut rows, .. } => {
                rows.sort();
                rows
            }
            _ => Vec::new(),
        })
    }
}

fn own(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| word.to_string()).collect()
}

/// The statement's words in lower case, without punctuation, literals' contents included.
pub fn words(sql: &str) -> Vec<String> {
    sql.lines()
        .map(|line| line.split("--").next().unwrap_or_default())
        .flat_map(|line| line.split(|c: char| !(c.is_alphanumeric() || c == '_')))
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// Both sides sorted; cells equal as text, or as numbers within 1e-9 of each other.
pub fn same_bag(left: &[Vec<String>], right: &[Vec<String>]) -> bool {
    let same_cell = |a: &String, b: &String| a == b || close(a, b);
    let same_row =
        |a: &Vec<String>, b: &Vec<String>| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_cell(a, b));
    left.len() == right.len() && left.iter().zip(right).all(|(a, b)| same_row(a, b))
}

fn close(a: &str, b: &str) -> bool {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => (a - b).abs() <= 1e-9 * a.abs().max(b.abs()),
        _ => false,
    }
}

fn shown(rows: &Result<Vec<Vec<String>>, Failure>) -> String {
    match rows {
        Err(error) => error.to_string(),
        Ok(rows) => rows.iter().map(|row| row.join(" | ")).collect::<Vec<_>>().join("\n"),
    }
}
