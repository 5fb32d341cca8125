//! The three tables that statements read, the same in every run and in both databases: columns of every type, NULLs,
//! duplicates, columns of one name in two tables.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::types::Type;
use crate::support;

pub struct Table {
    pub name: &'static str,
    pub columns: &'static [(&'static str, Type)],
    rows: usize,
}

/// `id` is unique in each.
pub const TABLES: [Table; 3] = [
    Table {
        name: "a",
        columns: &[
            ("id", Type::Int4),
            ("g", Type::Int4),
            ("i2", Type::Int2),
            ("i4", Type::Int4),
            ("i8", Type::Int8),
            ("n", Type::Numeric),
            ("f", Type::Float8),
            ("s", Type::Text),
            ("v", Type::Varchar),
            ("b", Type::Bool),
            ("d", Type::Date),
            ("t", Type::Timestamp),
            ("tz", Type::Timestamptz),
            ("iv", Type::Interval),
            ("u", Type::Uuid),
            ("by", Type::Bytea),
            ("j", Type::Jsonb),
            ("ai", Type::Ints),
            ("at", Type::Texts),
        ],
        rows: 14,
    },
    Table {
        name: "b",
        columns: &[
            ("id", Type::Int4),
            ("g", Type::Int4),
            ("s", Type::Text),
            ("x", Type::Int8),
            ("m", Type::Numeric),
            ("w", Type::Timestamp),
            ("l", Type::Bool),
            ("k", Type::Jsonb),
            ("r", Type::Ints),
        ],
        rows: 8,
    },
    Table {
        name: "c",
        columns: &[
            ("id", Type::Int4),
            ("d", Type::Date),
            ("v", Type::Varchar),
            ("y", Type::Float8),
            ("z", Type::Timestamptz),
            ("h", Type::Int2),
            ("p", Type::Texts),
        ],
        rows: 6,
    },
];

fn declared(kind: Type) -> &'static str {
    match kind {
        Type::Numeric => "numeric(10,2)",
        Type::Varchar => "varchar(10)",
        _ => kind.name(),
    }
}

pub fn quoted(value: &str) -> String {
    format!("'{value}'")
}

/// The statements that make them; `create` is each database's word for it.
pub fn setup(create: &str) -> Vec<String> {
    let mut random = support::random(7);
    let mut statements = Vec::new();
    for table in &TABLES {
        let columns: Vec<String> = table
            .columns
            .iter()
            .map(|(name, kind)| format!("{name} {}", declared(*kind)))
            .collect();
        statements.push(format!("{create} {} ({})", table.name, columns.join(", ")));
        let rows: Vec<String> = (1..=table.rows).map(|id| row(table, id, &mut random)).collect();
        statements.push(format!("INSERT INTO {} VALUES {}", table.name, rows.join(", ")));
    }
    statements
}

fn row(table: &Table, id: usize, random: &mut StdRng) -> String {
    let values = table.columns.iter().map(|(name, kind)| match *name {
        "id" => id.to_string(),
        "g" => random.random_range(1..4).to_string(),
        _ if random.random_bool(0.15) => "NULL".to_string(),
        _ => quoted(kind.values().choose(random).expect("every type has values")),
    });
    format!("({})", values.collect::<Vec<_>>().join(", "))
}
