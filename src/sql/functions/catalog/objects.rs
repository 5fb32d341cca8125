//! Any object by the OIDs of its catalog and itself: its name, and the privileges on it.
//!
//! One rule: a missing object is NULL. Privileges are written as `aclitem`s are: `grantee=letters/grantor`.

use super::aliases::operator_signature;
use super::names::{self, function_by_oid, parse_qualified};
use super::{Facts, Returns, Spec, lenient, oid_of, strict, text_of};
use crate::catalog::quote_ident;
use crate::catalog::system::{
    BUILTIN_ROLE, Object, SystemValue, objects, relation_of_row_type, role_name, role_oid, type_by_oid, type_name,
};
use crate::error::{SqlError, state};

pub(super) const SPECS: &[Spec] = &[
    strict("pg_describe_object", 3..=3, Returns::Text, |facts, args| {
        Ok(found(facts, args)?.map(|object| object.description).into())
    }),
    strict("~object_type", 3..=3, Returns::Text, |facts, args| {
        Ok(found(facts, args)?.map(|object| object.kind).into())
    }),
    strict("~object_schema", 3..=3, Returns::Text, |facts, args| {
        Ok(found(facts, args)?.and_then(|object| object.schema).into())
    }),
    strict("~object_name", 3..=3, Returns::Text, |facts, args| {
        Ok(found(facts, args)?.and_then(|object| object.name).into())
    }),
    strict("~object_identity", 3..=3, Returns::Text, |facts, args| {
        Ok(found(facts, args)?.map(|object| object.identity).into())
    }),
    strict("acldefault", 2..=2, Returns::Names, |facts, args| {
        default_privileges(facts, text_of(&args[0]), oid_of(&args[1]))
    }),
    strict("makeaclitem", 4..=4, Returns::Aclitem, |facts, args| {
        let role = |oid: u32| role_name(oid, &facts.user).unwrap_or_else(|| oid.to_string());
        let mut letters = String::new();
        let mut wanted = Vec::new();
        for name in text_of(&args[2]).split(',').map(str::trim) {
            let known = PRIVILEGES
                .iter()
                .position(|(_, known)| known.eq_ignore_ascii_case(name));
            wanted.push(known.ok_or_else(|| {
                let message = format!("unrecognized privilege type: \"{name}\"");
                SqlError::new(state::INVALID_PARAMETER_VALUE, message)
            })?);
        }
        // In the order of their bits, each once.
        for (_, (letter, _)) in PRIVILEGES.iter().enumerate().filter(|(at, _)| wanted.contains(at)) {
            letters.push(*letter);
            if args[3] == SystemValue::Bool(true) {
                letters.push('*');
            }
        }
        let grantee = match oid_of(&args[0]) {
            0 => String::new(),
            oid => role(oid),
        };
        Ok(format!("{grantee}={letters}/{}", role(oid_of(&args[1]))).into())
    }),
    strict("has_parameter_privilege", 2..=3, Returns::Bool, |_, _| Ok(true.into())),
    lenient("pg_relation_filepath", 1..=1, Returns::Text, |_, _| {
        Ok(SystemValue::Null)
    }),
    strict("oidvectortypes", 1..=1, Returns::Text, |_, args| {
        let SystemValue::List(oids) = &args[0] else {
            return Ok(SystemValue::Null);
        };
        let names = oids
            .iter()
            .map(|oid| type_name(oid_of(oid)).unwrap_or_else(|| "???".to_string()));
        Ok(names.collect::<Vec<_>>().join(", ").into())
    }),
    strict("pg_encoding_max_length", 1..=1, Returns::Int4, |_, args| {
        /// By the number of the encoding.
        const BYTES: [u8; 42] = [
            1, 3, 3, 3, 4, 3, 4, 4, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2,
            2, 2, 2, 4, 3, 2,
        ];
        let encoding = args[0].as_int().and_then(|number| usize::try_from(number).ok());
        Ok(encoding
            .and_then(|number| BYTES.get(number))
            .map(|bytes| i64::from(*bytes))
            .into())
    }),
];

/// The letters of privileges, in the order of their bits, and their names.
pub const PRIVILEGES: [(char, &str); 14] = [
    ('a', "INSERT"),
    ('r', "SELECT"),
    ('w', "UPDATE"),
    ('d', "DELETE"),
    ('D', "TRUNCATE"),
    ('x', "REFERENCES"),
    ('t', "TRIGGER"),
    ('X', "EXECUTE"),
    ('U', "USAGE"),
    ('C', "CREATE"),
    ('T', "TEMPORARY"),
    ('c', "CONNECT"),
    ('s', "SET"),
    ('A', "ALTER SYSTEM"),
];

/// The privileges of everybody on an object of a kind, and those of its owner.
fn default_privileges(facts: &Facts, kind: &str, owner: u32) -> Result<SystemValue, SqlError> {
    let (all, own) = match kind {
        "r" => ("", "arwdDxt"),
        "c" => ("", ""),
        "s" => ("", "rwU"),
        "d" => ("Tc", "CTc"),
        "f" => ("X", "X"),
        "l" | "T" => ("U", "U"),
        "L" => ("", "rw"),
        "n" => ("", "UC"),
        "t" => ("", "C"),
        "F" | "S" => ("", "U"),
        "p" => ("", "sA"),
        other => {
            let message = format!("unrecognized objtype abbreviation: {other}");
            return Err(SqlError::new(state::INTERNAL_ERROR, message));
        }
    };
    let owner = role_name(owner, &facts.user).unwrap_or_else(|| owner.to_string());
    let owner = quote_ident(&owner);
    let mut items = Vec::new();
    if !all.is_empty() {
        items.push(format!("={all}/{owner}"));
    }
    if !own.is_empty() {
        items.push(format!("{owner}={own}/{owner}"));
    }
    Ok(items.into())
}

/// An object as `pg_describe_object` and `pg_identify_object` say it.
struct ObjectWords {
    kind: String,
    schema: Option<String>,
    name: Option<String>,
    identity: String,
    description: String,
}

/// Arguments: the catalog, the object, its part.
fn found(facts: &Facts, args: &[SystemValue]) -> Result<Option<ObjectWords>, SqlError> {
    let (class, oid) = (oid_of(&args[0]), oid_of(&args[1]));
    let part = args[2].as_int().unwrap_or(0);
    let in_catalog = |kind: &str, name: Option<String>, identity: String, description: String| {
        Some(ObjectWords {
            kind: kind.to_string(),
            schema: Some("pg_catalog".to_string()),
            name,
            identity,
            description,
        })
    };
    let alone = |kind: &str, name: String| {
        let name = quote_ident(&name);
        Some(ObjectWords {
            kind: kind.to_string(),
            schema: None,
            name: Some(name.clone()),
            identity: name.clone(),
            description: format!("{kind} {name}"),
        })
    };
    Ok(match class {
        0 => None,
        1259 => objects(&facts.snapshot)
            .find(|object| object.oid == oid)
            .and_then(|object| relation(facts, &object, part)),
        2615 => names::schema_name(facts, oid).and_then(|name| alone("schema", name.to_string())),
        1247 => {
            match relation_of_row_type(&facts.snapshot, oid).and_then(|relation| names::relation_of(facts, relation)) {
                Some((schema, name)) => {
                    let (schema, name) = (quote_ident(&schema), quote_ident(&name));
                    Some(ObjectWords {
                        kind: "type".to_string(),
                        identity: format!("{schema}.{name}"),
                        description: format!("type {}", names::shown_type(facts, oid).unwrap_or_default()),
                        schema: Some(schema),
                        name: Some(name),
                    })
                }
                None => type_name(oid).and_then(|shown| {
                    let name = type_by_oid(oid).map(|named| quote_ident(&named.name));
                    in_catalog("type", name, shown.clone(), format!("type {shown}"))
                }),
            }
        }
        1255 => function_by_oid(oid).and_then(|function| {
            let types = |qualified: bool| {
                let names = function.arguments.iter().map(|oid| {
                    let name = type_name(*oid).unwrap_or_default();
                    // Names that SQL's grammar has need no schema.
                    let own = type_by_oid(*oid).is_some_and(|named| named.name == name.trim_end_matches("[]"));
                    if qualified && own && !GRAMMAR.contains(&name.as_str()) {
                        format!("pg_catalog.{name}")
                    } else {
                        name
                    }
                });
                names.collect::<Vec<_>>().join(",")
            };
            let name = quote_ident(&function.name);
            let identity = format!("pg_catalog.{name}({})", types(true));
            in_catalog("function", None, identity, format!("function {name}({})", types(false)))
        }),
        2617 => operator_signature(oid).and_then(|shown| {
            in_catalog(
                "operator",
                None,
                format!("pg_catalog.{shown}"),
                format!("operator {shown}"),
            )
        }),
        1260 => role_name(oid, &facts.user).and_then(|name| alone("role", name)),
        1262 => None,
        other => {
            let message = format!("unrecognized object class: {other}");
            return Err(SqlError::new(state::INTERNAL_ERROR, message));
        }
    })
}

/// Types whose names are words of the grammar.
const GRAMMAR: [&str; 2] = ["bigint", "interval"];

fn relation(facts: &Facts, object: &Object, part: i64) -> Option<ObjectWords> {
    let kind = match object.kind {
        'v' => "view",
        'm' => "materialized view",
        _ => "table",
    };
    let (schema, name) = (quote_ident(object.schema), quote_ident(object.name));
    let shown = names::relation_name(facts, object.oid)?;
    if part == 0 {
        return Some(ObjectWords {
            kind: kind.to_string(),
            identity: format!("{schema}.{name}"),
            description: format!("{kind} {shown}"),
            schema: Some(schema),
            name: Some(name),
        });
    }
    let attribute = object.attributes.get(usize::try_from(part).ok()?.checked_sub(1)?)?;
    let column = quote_ident(attribute.name);
    Some(ObjectWords {
        kind: format!("{kind} column"),
        identity: format!("{schema}.{name}.{column}"),
        description: format!("column {column} of {kind} {shown}"),
        schema: Some(schema),
        name: None,
    })
}

/// Names of privileges, each with whether it may be passed on.
pub type Privileges = Vec<(&'static str, bool)>;

/// An `aclitem` to grantor, grantee, and privileges with whether they may be passed on.
pub fn read_privileges(item: &str) -> Option<(u32, u32, Privileges)> {
    let role = |name: &str| -> Option<u32> {
        Some(match parse_qualified(name)?.pop()?.as_str() {
            BUILTIN_ROLE => role_oid(BUILTIN_ROLE),
            other => other.parse().unwrap_or_else(|_| role_oid(other)),
        })
    };
    let (grantee, rest) = item.split_once('=')?;
    let (letters, grantor) = rest.split_once('/')?;
    let grantee = if grantee.is_empty() { 0 } else { role(grantee)? };
    let privileges = PRIVILEGES.iter().filter_map(|(letter, name)| {
        let at = letters.find(*letter)?;
        Some((*name, letters[at + 1..].starts_with('*')))
    });
    Some((role(grantor)?, grantee, privileges.collect()))
}
