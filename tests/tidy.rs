//! The shape of the code: which folder may use which, what only one of them may touch, headers, length.
//!
//! The layer table is read from ARCHITECTURE.md, so that what it says is what holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// ARCHITECTURE.md's table: each layer and those that it may use, `types` and `error` in the sense of the table too.
fn layers() -> BTreeMap<String, BTreeSet<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md");
    let text = fs::read_to_string(path).expect("ARCHITECTURE.md can be read");
    let table = text.lines().skip_while(|line| !line.starts_with("| layer |")).skip(2);
    let mut layers = BTreeMap::new();
    for line in table.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [layer, _job, uses] = cells[..] else {
            panic!("three columns: {line}")
        };
        let uses = uses
            .split(',')
            .map(|used| used.trim().to_string())
            .filter(|used| !used.is_empty());
        layers.insert(layer.trim_matches('`').to_string(), uses.collect());
    }
    assert!(layers.len() > 10, "the layer table of ARCHITECTURE.md was not found");
    layers
}

/// What a folder alone (or a few) may name.
const RESERVED: &[(&str, &[&str], &str)] = &[
    (
        "datafusion::",
        &["sql", "query", "views"],
        "the engine stays behind sql, query and views",
    ),
    ("std::fs", &["storage"], "files are storage's"),
    ("File::", &["storage"], "files are storage's"),
    (
        "tokio::net",
        &["wire", "server"],
        "sockets are wire's; server binds the listener",
    ),
    (
        "std::net::Tcp",
        &["wire", "server"],
        "sockets are wire's; server binds the listener",
    ),
    (
        "SystemTime::now",
        &["storage"],
        "time is an argument from server downward",
    ),
];

const LINES_MAX: usize = 900;

struct Source {
    path: PathBuf,
    layer: String,
    text: String,
}

fn sources() -> Vec<Source> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    collect(&src, &mut paths);
    assert!(paths.len() > 10, "the source is not where it was: {}", src.display());
    let read = |path: PathBuf| {
        let relative = path.strip_prefix(&src).expect("found below src").to_path_buf();
        let first = relative
            .components()
            .next()
            .expect("a file name")
            .as_os_str()
            .to_string_lossy()
            .into_owned();
        let text = fs::read_to_string(&path).expect("a source file can be read");
        Source {
            layer: first.trim_end_matches(".rs").to_string(),
            path: relative,
            text,
        }
    };
    paths.into_iter().map(read).collect()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("src can be read") {
        let path = entry.expect("src can be read").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

impl Source {
    /// Lines of code: no comments, nothing after the unit tests begin.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let in_tests = |path: &Path| {
            path.components()
                .any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
        };
        let none = in_tests(&self.path);
        let lines = self
            .text
            .lines()
            .enumerate()
            .take_while(move |(_, line)| !none && !line.starts_with("#[cfg(test)]"));
        lines
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
            .map(|(at, line)| (at + 1, line))
    }
}

/// Prints all findings and fails if there are any.
fn none(findings: Vec<String>) {
    assert!(
        findings.is_empty(),
        "{} findings:\n{}",
        findings.len(),
        findings.join("\n")
    );
}

#[test]
fn a_layer_uses_only_what_its_row_in_the_table_says() {
    let layers = layers();
    let mut findings = Vec::new();
    // `main` is the thin binary over all of it, `lib` names the layers.
    for source in sources()
        .iter()
        .filter(|source| source.layer != "lib" && source.layer != "main")
    {
        let Some(may_use) = layers.get(&source.layer) else {
            findings.push(format!(
                "{}: layer {} is not in the table",
                source.path.display(),
                source.layer
            ));
            continue;
        };
        for (at, line) in source.code() {
            for used in line.split("crate::").skip(1) {
                let other: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if other != source.layer && layers.contains_key(&other) && !may_use.contains(&other) {
                    let place = source.path.display();
                    findings.push(format!(
                        "{place}:{at}: {} may not use {other}: {}",
                        source.layer,
                        line.trim()
                    ));
                }
            }
        }
    }
    none(findings);
}

#[test]
fn the_table_has_no_circle_and_no_layer_that_is_not_there() {
    let layers = layers();
    let there: BTreeSet<String> = sources().into_iter().map(|source| source.layer).collect();
    let mut placed: BTreeSet<&str> = BTreeSet::new();
    // A row uses only rows above it, so reading downward needs nothing that comes later.
    while placed.len() < layers.len() {
        let next = layers.iter().find(|(layer, uses)| {
            !placed.contains(layer.as_str()) && uses.iter().all(|used| placed.contains(used.as_str()))
        });
        let (layer, _) = next.unwrap_or_else(|| panic!("layers use each other in a circle; placed: {placed:?}"));
        placed.insert(layer);
    }
    let gone = layers.keys().filter(|layer| !there.contains(*layer));
    none(
        gone.map(|layer| format!("ARCHITECTURE.md has a layer that src has not: {layer}"))
            .collect(),
    );
}

#[test]
fn what_one_layer_keeps_others_do_not_touch() {
    let mut findings = Vec::new();
    for source in &sources() {
        for (at, line) in source.code() {
            for (word, layers, why) in RESERVED {
                let named = line.match_indices(word).any(|(from, _)| {
                    let before = line[..from].chars().next_back();
                    before.is_none_or(|c| !c.is_alphanumeric() && c != '_')
                });
                if named && !layers.contains(&source.layer.as_str()) {
                    findings.push(format!("{}:{at}: {why}: {}", source.path.display(), line.trim()));
                }
            }
        }
    }
    none(findings);
}

#[test]
fn every_file_begins_with_what_it_is() {
    let missing = sources().into_iter().filter(|source| !source.text.starts_with("//! "));
    none(
        missing
            .map(|source| format!("{}: no `//!` header", source.path.display()))
            .collect(),
    );
}

#[test]
fn no_file_is_longer_than_a_noun() {
    let long = sources()
        .into_iter()
        .map(|source| (source.text.lines().count(), source.path));
    let long = long.filter(|(lines, _)| *lines > LINES_MAX);
    none(
        long.map(|(lines, path)| format!("{}: {lines} lines, which noun is hiding?", path.display()))
            .collect(),
    );
}

#[test]
fn nothing_is_left_for_later() {
    let words = ["todo!", "unimplemented!", "dbg!(", "TODO", "FIXME", "XXX:"];
    let mut findings = Vec::new();
    for source in &sources() {
        for (at, line) in source.text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                findings.push(format!("{}:{}: {}", source.path.display(), at + 1, line.trim()));
            }
        }
    }
    none(findings);
}

#[test]
fn no_test_sleeps() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for folder in ["src", "tests", "sql-tests"] {
        collect(&root.join(folder), &mut paths);
    }
    let mut findings = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).expect("a source file can be read");
        let tested = path.starts_with(root.join("src"));
        let from = if tested {
            text.find("#[cfg(test)]").unwrap_or(text.len())
        } else {
            0
        };
        let sleep = ["thread::", "time::"].map(|module| format!("{module}sleep("));
        if sleep.iter().any(|call| text[from..].contains(call.as_str())) {
            findings.push(format!("{}: waits by sleeping", path.display()));
        }
    }
    none(findings);
}
