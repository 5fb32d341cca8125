//! The check that a type's name is its own.
//!
//! One rule: a type's name says its subject, so that one search finds one type.

use std::collections::BTreeMap;

use super::{none, sources};

/// The type that a line of code defines; types of traits are theirs.
fn defined(line: &str) -> Option<&str> {
    let text = line.trim_start();
    let visible = text.strip_prefix("pub").map(|rest| match rest.split_once(") ") {
        Some((scope, rest)) if scope.starts_with('(') => rest,
        _ => rest.trim_start(),
    });
    let text = visible.unwrap_or(text);
    let rest = match text.split_once(' ')? {
        ("struct" | "enum" | "trait" | "union", rest) => rest,
        ("type", rest) if !line.starts_with(' ') => rest,
        _ => return None,
    };
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
    Some(&rest[..end.unwrap_or(rest.len())]).filter(|name| !name.is_empty())
}

#[test]
fn a_type_has_its_name_alone() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in &sources() {
        for (at, line) in source.code() {
            if let Some(name) = defined(line) {
                let place = format!("{}:{at}", source.path.display());
                places.entry(name.to_string()).or_default().push(place);
            }
        }
    }
    let shared = places.iter().filter(|(_, places)| places.len() > 1);
    none(
        shared
            .map(|(name, places)| format!("{name} is at {}: which subject has each?", places.join(", ")))
            .collect(),
    );
}

#[test]
fn definitions_are_read_out_of_lines() {
    let cases = [
        ("pub struct A<T> {", Some("A")),
        ("    pub(super) enum Bc {", Some("Bc")),
        ("type D = u8;", Some("D")),
        ("    type Item = u8;", None),
        ("trait E: Send {", Some("E")),
        ("let x = structure;", None),
    ];
    for (line, expected) in cases {
        assert_eq!(defined(line), expected, "{line}");
    }
}
