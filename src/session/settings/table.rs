//! The settings: those of PostgreSQL 15 and ours, by name, with type, unit, default and range.
//!
//! One rule: `table.tsv` is PostgreSQL's `pg_settings` with our settings added; `HERE` lists the defaults that differ
//! here and the settings whose changes the client hears of.

use std::sync::LazyLock;

use hashbrown::HashMap;

use super::known::{Known, SettingContext, SettingKind, Unit};
use super::value;

/// Name, whether the client hears of a change, and the default if it is not PostgreSQL's.
const HERE: &[(&str, bool, Option<&str>)] = &[
    ("application_name", true, None),
    ("client_encoding", true, Some("UTF8")),
    ("DateStyle", true, None),
    ("default_transaction_read_only", true, None),
    ("integer_datetimes", true, None),
    ("IntervalStyle", true, None),
    ("is_superuser", true, None),
    ("lc_ctype", false, Some("C.UTF-8")),
    ("lc_messages", false, Some("C")),
    ("max_stack_depth", false, Some("2048")),
    ("search_path", true, None),
    ("server_encoding", true, Some("UTF8")),
    ("server_version", true, Some("15.0")),
    ("server_version_num", false, Some("150000")),
    ("session_authorization", true, None),
    ("standard_conforming_strings", true, None),
    ("TimeZone", true, Some("UTC")),
    ("timezone_abbreviations", false, Some("Default")),
];

pub struct Table {
    /// In the order of `pg_settings`.
    pub all: Vec<Known>,
    by_name: HashMap<String, usize>,
}

impl Table {
    /// By its name in any case.
    pub fn get(&self, name: &str) -> Option<&Known> {
        self.by_name
            .get(name)
            .or_else(|| self.by_name.get(&name.to_lowercase()))
            .map(|place| &self.all[*place])
    }
}

pub static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut all = Vec::new();
    let mut hidden = false;
    for line in include_str!("table.tsv").lines() {
        if line.starts_with('#') {
            hidden = !all.is_empty();
            continue;
        }
        all.push(known(line, hidden));
    }
    let names = all.iter().map(|known| known.name.to_lowercase());
    let by_name = names.zip(0..).collect();
    Table { all, by_name }
});

fn known(line: &'static str, hidden: bool) -> Known {
    let fields: Vec<&str> = line.split('\t').collect();
    let [
        name,
        context_name,
        kind_name,
        unit_name,
        default,
        min,
        max,
        values,
        category,
        description,
    ] = fields[..]
    else {
        panic!("a setting has ten fields: {line}")
    };
    let here = HERE.iter().find(|(here, ..)| *here == name);
    let default = here.and_then(|(.., default)| *default).unwrap_or(default);
    let mut known = Known {
        name,
        context_name,
        context: match context_name {
            "user" | "superuser" => SettingContext::Session,
            "backend" | "superuser-backend" => SettingContext::Backend,
            "sighup" => SettingContext::Reload,
            "postmaster" => SettingContext::Start,
            "internal" => SettingContext::Never,
            other => panic!("no context of a setting: {other}"),
        },
        kind_name,
        kind: match kind_name {
            "bool" => SettingKind::Bool,
            "enum" => SettingKind::Enum,
            "integer" => SettingKind::Integer,
            "real" => SettingKind::Real,
            "string" => SettingKind::Text,
            other => panic!("no type of a setting: {other}"),
        },
        unit_name,
        unit: unit(unit_name),
        default,
        default_shown: default.to_string(),
        min,
        max,
        values: values.split(',').filter(|value| !value.is_empty()).collect(),
        category,
        description,
        hidden,
        reported: here.is_some_and(|(_, reported, _)| *reported),
    };
    if let (SettingKind::Integer | SettingKind::Real, Ok(number)) = (known.kind, default.parse()) {
        known.default_shown = value::shown(&known, number);
    }
    known
}

fn unit(name: &str) -> Option<Unit> {
    Some(match name {
        "B" => Unit::Bytes(1.0),
        "kB" => Unit::Bytes(1024.0),
        "8kB" => Unit::Bytes(8192.0),
        "MB" => Unit::Bytes(1_048_576.0),
        "ms" => Unit::Microseconds(1e3),
        "s" => Unit::Microseconds(1e6),
        "min" => Unit::Microseconds(60e6),
        // Not one of PostgreSQL: the number is shown alone.
        "MiB" => return None,
        "" => return None,
        other => panic!("no unit of a setting: {other}"),
    })
}
