//! The shape of the code: the layers and their uses, words that are reserved to a layer, headers, length; beside it circles of
//! files (`circles.rs`) and names of types (`names.rs`).
//!
//! One rule: the layer table is read from ARCHITECTURE.md, so that it stays true.

mod circles;
mod names;

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

/// Names that only some folders may use.
const RESERVED: &[(&str, &[&str], &str)] = &[
    (
        "datafusion::",
        &["sql", "query", "views"],
        "the engine stays behind sql, query and views",
    ),
    (
        "sqlparser::",
        &["sql"],
        "other layers see statements and plans, not the parser's trees",
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
    /// All of it is under `#[cfg(test)]`.
    is_test: bool,
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
            is_test: false,
        }
    };
    let mut sources: Vec<Source> = paths.into_iter().map(read).collect();
    let modules: Vec<PathBuf> = sources.iter().flat_map(Source::test_modules).collect();
    assert!(modules.len() > 10, "the modules of tests were not found");
    for source in &mut sources {
        let file = source.path.with_extension("");
        source.is_test = modules.iter().any(|module| file.starts_with(module));
    }
    sources
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

/// A line of a source, and whether only tests have it.
struct Line<'a> {
    number: usize,
    text: &'a str,
    is_test: bool,
}

impl Source {
    /// Lines of code: no comments, nothing of tests.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.lines().into_iter().filter(|line| !line.is_test);
        lines
            .filter(|line| !line.text.trim_start().starts_with("//"))
            .map(|line| (line.number, line.text))
    }

    /// All lines. An item under `#[cfg(test)]` is a test's, up to its end, and so is a file that is such a module's.
    fn lines(&self) -> Vec<Line<'_>> {
        let mut lines = Vec::new();
        // The last line of an item for tests: the brace that ends it, as far in as the item.
        let mut end: Option<String> = None;
        let mut begins = false;
        for (at, text) in self.text.lines().enumerate() {
            let trimmed = text.trim_start();
            let indent = &text[..text.len() - trimmed.len()];
            if end.is_none() && trimmed.starts_with("#[cfg(test)]") {
                end = Some(format!("{indent}}}"));
                begins = true;
            }
            let is_test = self.is_test || end.is_some();
            lines.push(Line {
                number: at + 1,
                text,
                is_test,
            });
            let Some(last) = &end else { continue };
            let is_attribute = trimmed.starts_with("#[") || trimmed.starts_with("//");
            let ends_at_once = begins && !is_attribute && trimmed.ends_with([';', ',', '}']);
            begins &= is_attribute;
            if ends_at_once || (!begins && text.starts_with(last.as_str())) {
                end = None;
            }
        }
        lines
    }

    /// The modules that it has for tests alone, each as the path of its file or folder without an extension.
    fn test_modules(&self) -> Vec<PathBuf> {
        let folder = match self.path.file_name().and_then(|name| name.to_str()) {
            Some("mod.rs" | "lib.rs" | "main.rs") => self.path.parent().expect("a file is in a folder").to_path_buf(),
            _ => self.path.with_extension(""),
        };
        let mut previous_is_cfg = false;
        let mut found = Vec::new();
        for line in self.text.lines().map(str::trim) {
            let module = line
                .strip_prefix("pub ")
                .unwrap_or(line)
                .strip_prefix("mod ")
                .and_then(|rest| rest.strip_suffix(';'));
            if let Some(module) = module.filter(|_| previous_is_cfg) {
                found.push(folder.join(module));
            }
            previous_is_cfg = line == "#[cfg(test)]" || (previous_is_cfg && line.starts_with("#["));
        }
        found
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

/// A header that begins with one of these is a clause; one that begins with a noun can be found.
const CLAUSE_WORDS: [&str; 8] = ["What", "How", "Which", "Who", "Where", "When", "Why", "Whether"];

#[test]
fn every_file_begins_with_its_noun() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for folder in ["src", "tests", "sql-tests", "benches"] {
        collect(&root.join(folder), &mut paths);
    }
    let mut findings = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).expect("a source file can be read");
        let shown = path.strip_prefix(root).expect("found below it").display().to_string();
        let Some(header) = text.strip_prefix("//! ") else {
            findings.push(format!("{shown}: no `//!` header"));
            continue;
        };
        let word = header.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        if CLAUSE_WORDS.contains(&word) {
            findings.push(format!("{shown}: begins with \"{word}\": of which noun is it?"));
        }
    }
    none(findings);
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
    let sleep = ["thread::", "time::"].map(|module| format!("{module}sleep("));
    let sleeps = |text: &str| sleep.iter().any(|call| text.contains(call.as_str()));
    let mut findings = Vec::new();
    for source in &sources() {
        let lines = source.lines();
        for line in lines.iter().filter(|line| line.is_test && sleeps(line.text)) {
            findings.push(format!(
                "src/{}:{}: waits by sleeping",
                source.path.display(),
                line.number
            ));
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for folder in ["tests", "sql-tests"] {
        collect(&root.join(folder), &mut paths);
    }
    for path in paths {
        let text = fs::read_to_string(&path).expect("a source file can be read");
        if sleeps(&text) {
            findings.push(format!("{}: waits by sleeping", path.display()));
        }
    }
    none(findings);
}

/// Lines behind an item for tests are code again, and those in it are not.
#[test]
fn code_is_told_from_tests() {
    let text = "a\n#[cfg(test)]\nmod tests;\nb\n#[cfg(test)]\n#[allow(x)]\nmod more {\n    c\n}\nd\nimpl E {\n    #[cfg(test)]\n    \
                fn f() {\n        g\n    }\n    h\n}\n";
    let source = Source {
        path: PathBuf::from("layer/file.rs"),
        layer: "layer".to_string(),
        text: text.to_string(),
        is_test: false,
    };
    let code: Vec<&str> = source.code().map(|(_, line)| line.trim()).collect();
    assert_eq!(code, ["a", "b", "d", "impl E {", "h", "}"]);
    assert_eq!(source.test_modules(), [PathBuf::from("layer/file/tests")]);
}
