//! The findings, worst first: each smallest statement once, as an .slt record with PostgreSQL's answer.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::database::{Answer, Protocol};
use super::difference::Kind;
use super::tree::Rendered;

pub struct Finding {
    pub kind: Kind,
    pub statement: Rendered,
    pub protocol: Protocol,
    pub postgres: Answer,
    pub ours: Answer,
}

#[derive(Default)]
pub struct Report {
    findings: BTreeMap<Kind, BTreeMap<String, Finding>>,
    counts: BTreeMap<String, u64>,
    tried: BTreeMap<Kind, usize>,
    kinds: BTreeMap<Kind, u64>,
}

impl Report {
    pub fn count(&mut self, class: &str) {
        *self.counts.entry(class.to_string()).or_default() += 1;
    }

    /// Something is worse than another answer.
    pub fn is_bad(&self) -> bool {
        let is_strict = std::env::var("DIFFERENTIAL_STRICT").is_ok_and(|value| value == "1");
        let mut kinds = self.findings.keys();
        kinds.any(|kind| is_strict || matches!(kind, Kind::Internal(_)))
    }

    pub fn count_kind(&mut self, kind: &Kind) {
        self.count(kind.class());
        *self.kinds.entry(kind.clone()).or_default() += 1;
    }

    /// The number of statements of this kind that were made small.
    pub fn known(&self, kind: &Kind) -> usize {
        self.tried.get(kind).copied().unwrap_or_default()
    }

    pub fn tried(&mut self, kind: Kind) {
        *self.tried.entry(kind).or_default() += 1;
    }

    pub fn add(&mut self, finding: Finding) {
        let shape = shape(&finding.statement.text);
        self.findings
            .entry(finding.kind.clone())
            .or_default()
            .entry(shape)
            .or_insert(finding);
    }

    pub fn text(&self, statements: u64) -> String {
        let mut text = String::new();
        for (class, count) in &self.counts {
            let _ = writeln!(text, "# {class}: {count} of {statements} statements");
        }
        for (kind, findings) in &self.findings {
            let _ = writeln!(text, "\n# == {}", kind.heading());
            let _ = writeln!(
                text,
                "# {} statements",
                self.kinds.get(kind).copied().unwrap_or_default()
            );
            findings.values().for_each(|finding| text.push_str(&finding.record()));
        }
        text
    }
}

/// The statement without its literals and aliases.
fn shape(statement: &str) -> String {
    let mut shape = String::new();
    let mut is_quoted = false;
    for c in statement.chars() {
        is_quoted ^= c == '\'';
        if !is_quoted && !c.is_ascii_digit() {
            shape.push(c);
        }
    }
    shape
}

impl Finding {
    fn record(&self) -> String {
        let mut text = String::from("\n");
        if self.protocol != Protocol::Simple {
            let _ = writeln!(
                text,
                "# {:?} protocol, parameters {:?}",
                self.protocol, self.statement.parameters
            );
        }
        let _ = writeln!(text, "# Millstream: {}", shown(&self.ours));
        match &self.postgres.failure {
            Some(failure) => {
                let _ = writeln!(text, "# PostgreSQL: {}", failure.message.replace('\n', " "));
                let _ = writeln!(text, "statement error ({})\n{}", failure.state, self.statement.text);
            }
            None => {
                let _ = writeln!(text, "# PostgreSQL: {}", columns(&self.postgres));
                let letters = "T".repeat(self.postgres.columns.len());
                let sort = if self.statement.is_ordered { "" } else { " rowsort" };
                let _ = writeln!(text, "query {letters}{sort}\n{}\n----", self.statement.text);
                rows(&self.postgres).iter().for_each(|row| {
                    let _ = writeln!(text, "{row}");
                });
            }
        }
        text
    }
}

fn shown(answer: &Answer) -> String {
    match &answer.failure {
        Some(failure) => format!("{}: {}", failure.state, failure.message.replace('\n', " ")),
        None => format!("{} {}", columns(answer), rows(answer).join(" / ")),
    }
}

fn columns(answer: &Answer) -> String {
    let columns = answer
        .columns
        .iter()
        .map(|column| format!("{} {}", column.name, column.oid));
    let columns = columns.collect::<Vec<_>>().join(", ");
    if answer.parameters.is_empty() {
        return format!("({columns})");
    }
    format!("({columns}), parameters {:?}", answer.parameters)
}

fn rows(answer: &Answer) -> Vec<String> {
    let cell = |value: &Option<Vec<u8>>| match value {
        None => "NULL".to_string(),
        Some(value) if value.is_empty() => "(empty)".to_string(),
        Some(value) if value.iter().any(|byte| *byte < 32) => value.iter().map(|byte| format!("{byte:02x}")).collect(),
        Some(value) => String::from_utf8_lossy(value).into_owned(),
    };
    let row = |row: &Vec<_>| row.iter().map(cell).collect::<Vec<_>>().join(" ");
    let mut rows: Vec<String> = answer.rows.iter().map(row).collect();
    rows.truncate(20);
    rows
}
