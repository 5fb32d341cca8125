//! Types as PostgreSQL resolves them: by OID, without modifiers, in categories, with the casts between them.
//!
//! One rule: the casts are those of `casts.txt`, which is PostgreSQL's `pg_cast` over the types here, and
//! those that text gives every type. Not here: the computation of a cast (`functions::casts`).

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::types::PgType;

pub const BOOL: u32 = 16;
pub const BYTEA: u32 = 17;
pub const INTERNAL_CHAR: u32 = 18;
pub const NAME: u32 = 19;
pub const INT8: u32 = 20;
pub const INT2: u32 = 21;
pub const INT4: u32 = 23;
pub const TEXT: u32 = 25;
pub const OID: u32 = 26;
pub const FLOAT4: u32 = 700;
pub const FLOAT8: u32 = 701;
pub const UNKNOWN: u32 = 705;
pub const BPCHAR: u32 = 1042;
pub const VARCHAR: u32 = 1043;
pub const DATE: u32 = 1082;
pub const TIME: u32 = 1083;
pub const TIMESTAMP: u32 = 1114;
pub const TIMESTAMPTZ: u32 = 1184;
pub const INTERVAL: u32 = 1186;
pub const NUMERIC: u32 = 1700;
pub const RECORD: u32 = 2249;
pub const ANY: u32 = 2276;
pub const ANYARRAY: u32 = 2277;
pub const ANYELEMENT: u32 = 2283;
pub const RECORDS: u32 = 2287;
pub const ANYNONARRAY: u32 = 2776;
const INET: u32 = 869;
const NODE_TREE: u32 = 194;
pub const ANYCOMPATIBLE: u32 = 5077;
pub const ANYCOMPATIBLEARRAY: u32 = 5078;
pub const ANYCOMPATIBLENONARRAY: u32 = 5079;

/// A type that PostgreSQL has and this server does not: it counts in the choice of functions and operators.
struct LackingType {
    name: &'static str,
    oid: u32,
    category: u8,
    is_preferred: bool,
}

fn lacking() -> &'static [LackingType] {
    static TYPES: LazyLock<Vec<LackingType>> = LazyLock::new(|| {
        let lines = include_str!("lacking_types.txt").lines();
        lines
            .map(|line| {
                let mut columns = line.split('\t');
                let mut next = || columns.next().expect("a line has four columns");
                LackingType {
                    name: next(),
                    oid: next().parse().expect("an OID"),
                    category: next().as_bytes()[0],
                    is_preferred: next() == "t",
                }
            })
            .collect()
    });
    &TYPES
}

/// The safety that a cast must have: a written cast may do more than the cast of an assignment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum CastContext {
    Implicit,
    Assignment,
    Explicit,
}

/// `pg_type.typcategory`.
pub fn category(oid: u32) -> u8 {
    match oid {
        BOOL => b'B',
        INT2 | INT4 | INT8 | FLOAT4 | FLOAT8 | NUMERIC | OID => b'N',
        alias if PgType::from_oid(alias).is_some_and(|pg_type| pg_type.is_oid_alias()) => b'N',
        INET => b'I',
        TEXT | VARCHAR | BPCHAR | NAME => b'S',
        DATE | TIME | TIMESTAMP | TIMESTAMPTZ => b'D',
        INTERVAL => b'T',
        INTERNAL_CHAR | NODE_TREE => b'Z',
        UNKNOWN => b'X',
        RECORD
        | ANY
        | ANYARRAY
        | ANYELEMENT
        | ANYNONARRAY
        | ANYCOMPATIBLE
        | ANYCOMPATIBLEARRAY
        | ANYCOMPATIBLENONARRAY
        | RECORDS => b'P',
        other if element(other).is_some() => b'A',
        other => match lacking().iter().find(|known| known.oid == other) {
            Some(known) => known.category,
            None => b'U',
        },
    }
}

/// `pg_type.typispreferred`.
pub fn is_preferred(oid: u32) -> bool {
    matches!(oid, BOOL | FLOAT8 | OID | TEXT | TIMESTAMPTZ | INTERVAL | INET)
        || lacking().iter().any(|known| known.oid == oid && known.is_preferred)
}

/// The type of an array's elements.
pub fn element(array: u32) -> Option<u32> {
    if array == RECORDS {
        return Some(RECORD);
    }
    match PgType::from_oid(array)? {
        PgType::Array(item) => Some(item.oid()),
        known => Some(known.vector_item()?.oid()),
    }
}

fn is_vector(oid: u32) -> bool {
    PgType::from_oid(oid).is_some_and(|known| known.vector_item().is_some())
}

/// The type of arrays of a type.
pub fn array_of(element: u32) -> Option<u32> {
    if element == RECORD {
        return Some(RECORDS);
    }
    match PgType::from_oid(element)?.array_oid() {
        0 => None,
        array => Some(array),
    }
}

pub fn is_polymorphic(oid: u32) -> bool {
    matches!(
        oid,
        ANYARRAY | ANYELEMENT | ANYNONARRAY | ANYCOMPATIBLE | ANYCOMPATIBLEARRAY | ANYCOMPATIBLENONARRAY
    )
}

/// The name that errors say.
pub fn name(oid: u32) -> String {
    match oid {
        RECORD => "record".to_string(),
        RECORDS => "record[]".to_string(),
        ANY => "any".to_string(),
        ANYARRAY => "anyarray".to_string(),
        ANYELEMENT => "anyelement".to_string(),
        ANYNONARRAY => "anynonarray".to_string(),
        ANYCOMPATIBLE => "anycompatible".to_string(),
        ANYCOMPATIBLEARRAY => "anycompatiblearray".to_string(),
        ANYCOMPATIBLENONARRAY => "anycompatiblenonarray".to_string(),
        BPCHAR => "character".to_string(),
        other => PgType::from_oid(other).map_or_else(|| other.to_string(), |known| known.name()),
    }
}

/// A type by `pg_type.typname`, as the tables have it.
///
/// Panics for a name that is none: the tables are the program's own.
pub fn parse(name: &str) -> u32 {
    match name {
        "any" => ANY,
        "anyarray" => ANYARRAY,
        "anyelement" => ANYELEMENT,
        "anynonarray" => ANYNONARRAY,
        "anycompatible" => ANYCOMPATIBLE,
        "anycompatiblearray" => ANYCOMPATIBLEARRAY,
        "anycompatiblenonarray" => ANYCOMPATIBLENONARRAY,
        "record" => RECORD,
        "_record" => RECORDS,
        "char" => INTERNAL_CHAR,
        "_char" => PgType::InternalChar.array_oid(),
        known => match PgType::parse(known) {
            Some(parsed) => parsed.oid(),
            None => match lacking().iter().find(|lacking| lacking.name == known) {
                Some(lacking) => lacking.oid,
                None => panic!("a table of the analyzer names the type {known}"),
            },
        },
    }
}

/// The least sure context in which `pg_cast` has a cast between two types.
fn listed(from: u32, to: u32) -> Option<CastContext> {
    static CASTS: LazyLock<HashMap<(u32, u32), CastContext>> = LazyLock::new(|| {
        let lines = include_str!("casts.txt").lines();
        lines
            .map(|line| {
                let mut columns = line.split('\t');
                let mut next = || columns.next().expect("a line has three columns");
                let types = (parse(next()), parse(next()));
                let context = match next() {
                    "i" => CastContext::Implicit,
                    "a" => CastContext::Assignment,
                    _ => CastContext::Explicit,
                };
                (types, context)
            })
            .collect()
    });
    CASTS.get(&(from, to)).copied()
}

/// Whether a value of one type becomes one of another in a context.
pub fn can_coerce(from: u32, to: u32, context: CastContext) -> bool {
    if from == to || from == UNKNOWN || to == ANY {
        return true;
    }
    match to {
        ANYELEMENT | ANYCOMPATIBLE => return true,
        ANYNONARRAY | ANYCOMPATIBLENONARRAY => return element(from).is_none(),
        ANYARRAY | ANYCOMPATIBLEARRAY => return element(from).is_some(),
        _ => {}
    }
    if let Some(least) = listed(from, to) {
        return context >= least;
    }
    // A vector is an array, but no array is a vector.
    if let (Some(from), Some(to)) = (element(from), element(to).filter(|_| !is_vector(to))) {
        return can_coerce(from, to, context);
    }
    // By the text form: to a text on assignment, from one where it is written.
    let is_text = |oid: u32| category(oid) == b'S';
    let is_scalar = |oid: u32| category(oid) != b'P';
    (is_text(to) && is_scalar(from) && context >= CastContext::Assignment)
        || (is_text(from) && is_scalar(to) && context == CastContext::Explicit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casts_are_as_sure_as_postgresqls() {
        for (from, to, context) in [
            (INT4, INT8, Some(CastContext::Implicit)),
            (INT8, INT4, Some(CastContext::Assignment)),
            (INT4, BOOL, Some(CastContext::Explicit)),
            (INT8, BOOL, None),
            (DATE, TIMESTAMPTZ, Some(CastContext::Implicit)),
            (TIMESTAMPTZ, DATE, Some(CastContext::Assignment)),
            (VARCHAR, TEXT, Some(CastContext::Implicit)),
            (INT4, TEXT, Some(CastContext::Assignment)),
            (TEXT, INT4, Some(CastContext::Explicit)),
            (UNKNOWN, DATE, Some(CastContext::Implicit)),
        ] {
            let contexts = [CastContext::Implicit, CastContext::Assignment, CastContext::Explicit];
            let least = contexts.into_iter().find(|context| can_coerce(from, to, *context));
            assert_eq!(least, context, "{} to {}", name(from), name(to));
        }
    }

    #[test]
    fn categories_are_postgresqls() {
        assert_eq!(category(parse("_int4")), b'A');
        assert_eq!(category(parse("uuid")), b'U');
        assert_eq!(category(TEXT), b'S');
    }
}
