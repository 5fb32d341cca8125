//! Rows of `pg_catalog` that every database has: PostgreSQL's own types, functions, operators and their parts.
//!
//! One rule: an object is listed only if a statement can use it here. `tests/clients/builtin.py` writes the files of
//! `data/` by that rule, from a PostgreSQL 15 and a running server, with PostgreSQL's OIDs.
//!
//! A file names the columns that its rows have. Schema and owner are the same everywhere and stand in none.

use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;

use super::value::RowCollector;
use super::{OWNER_OID, SystemRelation, SystemValue, lookup};
use crate::catalog::PG_CATALOG_OID;
use crate::types::PgType;

const FILES: &[(&str, &str)] = &[
    ("pg_aggregate", include_str!("data/pg_aggregate.tsv")),
    ("pg_am", include_str!("data/pg_am.tsv")),
    ("pg_amop", include_str!("data/pg_amop.tsv")),
    ("pg_amproc", include_str!("data/pg_amproc.tsv")),
    ("pg_cast", include_str!("data/pg_cast.tsv")),
    ("pg_collation", include_str!("data/pg_collation.tsv")),
    ("pg_conversion", include_str!("data/pg_conversion.tsv")),
    ("pg_description", include_str!("data/pg_description.tsv")),
    ("pg_language", include_str!("data/pg_language.tsv")),
    ("pg_opclass", include_str!("data/pg_opclass.tsv")),
    ("pg_operator", include_str!("data/pg_operator.tsv")),
    ("pg_opfamily", include_str!("data/pg_opfamily.tsv")),
    ("pg_proc", include_str!("data/pg_proc.tsv")),
    ("pg_ts_config", include_str!("data/pg_ts_config.tsv")),
    ("pg_ts_config_map", include_str!("data/pg_ts_config_map.tsv")),
    ("pg_ts_dict", include_str!("data/pg_ts_dict.tsv")),
    ("pg_ts_parser", include_str!("data/pg_ts_parser.tsv")),
    ("pg_ts_template", include_str!("data/pg_ts_template.tsv")),
    ("pg_type", include_str!("data/pg_type.tsv")),
];

/// Relations that have rows of a database as well.
const EXTENDED: [&str; 2] = ["pg_description", "pg_type"];

type BuiltinRow = Vec<(&'static str, SystemValue)>;

/// A file, and what is made of it when it is first asked for.
struct BuiltinFile {
    text: &'static str,
    rows: OnceLock<Vec<BuiltinRow>>,
    batch: OnceLock<RecordBatch>,
}

fn file(name: &str) -> Option<&'static BuiltinFile> {
    static BY_NAME: LazyLock<HashMap<&'static str, BuiltinFile>> = LazyLock::new(|| {
        let files = FILES.iter().map(|(name, text)| {
            let (rows, batch) = (OnceLock::new(), OnceLock::new());
            (*name, BuiltinFile { text, rows, batch })
        });
        files.collect()
    });
    BY_NAME.get(name)
}

/// The rows of a relation that every database has.
pub fn static_rows(name: &str) -> Option<&'static [BuiltinRow]> {
    let file = file(name)?;
    Some(file.rows.get_or_init(|| read_rows(name, file.text)))
}

/// A row's value in a column, if its file has it.
pub fn value_of<'a>(row: &'a [(&'static str, SystemValue)], column: &str) -> Option<&'a SystemValue> {
    row.iter().find(|(name, _)| *name == column).map(|(_, value)| value)
}

fn read_rows(name: &str, text: &'static str) -> Vec<BuiltinRow> {
    let relation = lookup("pg_catalog", name).expect("a data file belongs to a relation");
    let mut lines = text.lines();
    let header: Vec<(&str, DataType)> = lines
        .next()
        .expect("a data file starts with column names")
        .split('\t')
        .map(|column| {
            let index = relation.column(column).expect("a data file names its columns");
            (column, relation.columns[index].pg_type.arrow())
        })
        .collect();
    let shared = relation.columns.iter().filter_map(|column| match column.name {
        name if name.ends_with("namespace") => Some((name, SystemValue::from(PG_CATALOG_OID))),
        name if name.ends_with("owner") => Some((name, SystemValue::from(OWNER_OID))),
        _ => None,
    });
    let shared: BuiltinRow = shared.collect();
    lines
        .map(|line| {
            let fields = header.iter().zip(line.split('\t'));
            let mut row: BuiltinRow = fields
                .map(|((column, data_type), text)| (*column, SystemValue::parse(text, data_type)))
                .collect();
            row.extend(shared.iter().cloned());
            with_source(&mut row);
            row
        })
        .collect()
}

/// Most functions have the name of their code, and the file leaves it out.
fn with_source(row: &mut BuiltinRow) {
    let name = value_of(row, "proname").cloned();
    let source = row.iter_mut().find(|(column, _)| *column == "prosrc");
    if let (Some(name), Some((_, source @ SystemValue::Null))) = (name, source) {
        *source = name;
    }
}

pub(super) fn push(name: &str, rows: &mut RowCollector) {
    for row in static_rows(name).unwrap_or_default() {
        rows.push(row);
    }
}

/// `pg_description` of a built-in object: by the relation that lists it, or in the first that does.
pub fn description(relation: Option<&str>, oid: u32) -> Option<&'static str> {
    static TEXTS: LazyLock<HashMap<u32, Vec<(u32, &'static str)>>> = LazyLock::new(|| {
        let mut texts: HashMap<u32, Vec<(u32, &'static str)>> = HashMap::new();
        for row in static_rows("pg_description").unwrap_or_default() {
            let get = |column: &str| value_of(row, column);
            let number = |column: &str| get(column)?.as_int().and_then(|oid| u32::try_from(oid).ok());
            let text = get("description").and_then(SystemValue::as_text);
            if let (Some(oid), Some(class), Some(text)) = (number("objoid"), number("classoid"), text) {
                texts.entry(oid).or_default().push((class, text));
            }
        }
        texts
    });
    let class = match relation {
        Some(name) => Some(lookup("pg_catalog", name)?.oid),
        None => None,
    };
    let mut found = TEXTS.get(&oid)?.iter();
    found
        .find(|(of, _)| class.is_none_or(|class| class == *of))
        .map(|(_, text)| *text)
}

/// All rows of a relation that no database adds to. They are made once.
pub(super) fn batch(relation: &SystemRelation) -> Option<RecordBatch> {
    if relation.schema != "pg_catalog" || EXTENDED.contains(&relation.name) {
        return None;
    }
    let batch = file(relation.name)?.batch.get_or_init(|| {
        let mut rows = RowCollector::new(relation);
        push(relation.name, &mut rows);
        rows.finish()
    });
    Some(batch.clone())
}

/// A built-in type: a line of `data/pg_type.tsv`.
#[derive(Clone, Debug)]
pub struct NamedType {
    pub oid: u32,
    pub name: String,
    pub length: i16,
    pub category: String,
    pub element: u32,
    pub array: u32,
    pub by_value: bool,
    pub align: String,
    pub storage: String,
    pub collation: u32,
}

fn types() -> &'static [NamedType] {
    static TYPES: OnceLock<Vec<NamedType>> = OnceLock::new();
    TYPES.get_or_init(|| {
        let mut lines = include_str!("data/pg_type.tsv").lines();
        let header: Vec<&str> = lines.next().expect("a header").split('\t').collect();
        lines
            .map(|line| {
                let fields: HashMap<&str, &str> = header.iter().copied().zip(line.split('\t')).collect();
                let number = |name: &str| fields[name].parse().expect("an OID");
                NamedType {
                    oid: number("oid"),
                    name: fields["typname"].to_string(),
                    length: fields["typlen"].parse().expect("a length"),
                    category: fields["typcategory"].to_string(),
                    element: number("typelem"),
                    array: number("typarray"),
                    by_value: fields["typbyval"] == "t",
                    align: fields["typalign"].to_string(),
                    storage: fields["typstorage"].to_string(),
                    collation: number("typcollation"),
                }
            })
            .collect()
    })
}

pub fn type_by_oid(oid: u32) -> Option<&'static NamedType> {
    types().iter().find(|named| named.oid == oid)
}

/// By `pg_type.typname`.
pub fn type_by_name(name: &str) -> Option<&'static NamedType> {
    types().iter().find(|named| named.name == name)
}

/// The OID of a `typname`; of TEXT if it is not among ours.
pub(super) fn type_oid(name: &str) -> u32 {
    type_by_name(name).map_or(25, |named| named.oid)
}

/// The name by which a user would write a type OID: `format_type` without a modifier.
pub fn type_name(oid: u32) -> Option<String> {
    if let Some(known) = PgType::from_oid(oid) {
        // `bpchar` stands only where a length is missing.
        return Some(known.name().replace("bpchar", "character"));
    }
    let named = type_by_oid(oid)?;
    if named.category == "A" && named.element != 0 {
        return Some(format!("{}[]", type_name(named.element)?));
    }
    Some(match named.name.as_str() {
        "any" => "\"any\"".to_string(),
        name => name.to_string(),
    })
}
