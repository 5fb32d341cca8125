//! The check that files of a layer do not use each other in a circle.
//!
//! One rule: a file that another one uses does not use it back, directly or through others; shared parts stand in one
//! of them or in a third. A module and those below it are one thing here.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, none, sources};

type Path = Vec<String>;

/// The module that a file is, from `crate` on.
fn module(source: &Source) -> Path {
    let path = source.path.with_extension("");
    let mut path: Path = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if path
        .last()
        .is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str()))
    {
        path.pop();
    }
    path
}

/// The paths that begin at the start of `text`, a list in braces as one path each; and the text behind them.
fn paths<'a>(text: &'a str, before: &[String], found: &mut Vec<Path>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = paths(rest, before, found).trim_start();
            if let Some(alias) = rest.strip_prefix("as ") {
                rest = alias.trim_start().trim_start_matches(is_word).trim_start();
            }
            rest = match (rest.strip_prefix(','), rest.strip_prefix('}')) {
                (Some(next), _) => next.trim_start(),
                (None, Some(end)) => return end,
                (None, None) => return rest,
            };
            if let Some(end) = rest.strip_prefix('}') {
                return end;
            }
        }
    }
    let rest = text.trim_start_matches(is_word);
    let mut path = before.to_vec();
    path.push(text[..text.len() - rest.len()].to_string());
    match rest.strip_prefix("::") {
        Some(rest) => paths(rest, &path, found),
        None => {
            found.push(path);
            rest
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The paths into the crate that a text of the module has, from `crate` on.
fn used(text: &str, module: &[String]) -> Vec<Path> {
    let mut all = Vec::new();
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in text.match_indices(start) {
            let before = text[..at].chars().next_back();
            if !before.is_some_and(|c| is_word(c) || c == ':') {
                paths(&text[at..], &[], &mut all);
            }
        }
    }
    let absolute = |path: Path| -> Path {
        let mut base = match path[0].as_str() {
            "crate" => Vec::new(),
            _ => module.to_vec(),
        };
        let ups = path.iter().take_while(|part| *part == "super").count();
        base.truncate(module.len().saturating_sub(ups));
        base.extend(
            path.into_iter()
                .skip_while(|part| ["crate", "super", "self"].contains(&part.as_str())),
        );
        base
    };
    all.into_iter().map(absolute).collect()
}

#[test]
fn files_do_not_use_each_other_in_a_circle() {
    let sources: Vec<Source> = sources().into_iter().filter(|source| !source.is_test).collect();
    let modules: BTreeSet<Path> = sources.iter().map(module).collect();
    let mut uses: BTreeMap<Path, BTreeSet<Path>> = BTreeMap::new();
    for source in &sources {
        let code: Vec<&str> = source.code().map(|(_, line)| line).collect();
        let user = module(source);
        for mut path in used(&code.join("\n"), &user) {
            while !modules.contains(&path) {
                path.pop();
            }
            uses.entry(user.clone()).or_default().insert(path);
        }
    }
    let mut circles: BTreeSet<Vec<String>> = BTreeSet::new();
    let below: BTreeMap<&Path, BTreeSet<Path>> =
        modules.iter().map(|module| (module, reached(module, &uses))).collect();
    for (module, others) in &below {
        let around = others.iter().filter(|other| below[other].contains(*module));
        let circle: Vec<String> = around.map(|other| other.join("::")).collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    let shown = circles
        .iter()
        .map(|circle| format!("{} use each other: which is below the others?", circle.join(", ")));
    none(shown.collect());
}

/// The modules of its layer that a module uses, and those that they use, and so on. A module and those in it do not count as
/// using each other.
fn reached(module: &Path, uses: &BTreeMap<Path, BTreeSet<Path>>) -> BTreeSet<Path> {
    let mut found = BTreeSet::new();
    let mut open = vec![module.clone()];
    while let Some(user) = open.pop() {
        for other in uses.get(&user).into_iter().flatten() {
            let within = user.starts_with(other) || other.starts_with(&user);
            if !within && user.first() == other.first() && found.insert(other.clone()) {
                open.push(other.clone());
            }
        }
    }
    found
}

#[test]
fn paths_are_read_out_of_code() {
    let module = ["a", "b"].map(str::to_string);
    let text = "use super::c::{self as d, E, f::{G,\n H},};\nuse crate::x::Y;\nlet z = other::super_::k(super::super::m::n());";
    let mut found: Vec<String> = used(text, &module).iter().map(|path| path.join("::")).collect();
    found.sort();
    assert_eq!(
        found,
        ["a::c::E", "a::c::f::G", "a::c::f::H", "a::c::self", "m::n", "x::Y"]
    );
}
