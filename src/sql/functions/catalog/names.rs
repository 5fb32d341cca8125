//! Names to OIDs and back: the `reg*` types, visibility along the search path.

use std::sync::LazyLock;

use super::{Facts, Returns, Spec, oid_of, strict, text_of};
use crate::catalog::quote_ident;
use crate::catalog::system::{
    self, BUILTIN_ROLE, RelationPart, SystemValue, derived_oid, objects, relation_of_row_type, role_name, role_oid,
    static_rows, type_by_name, type_by_oid, type_name, value_of,
};
use crate::error::{SqlError, state};
use crate::types::{PgType, tid};

pub(super) const SPECS: &[Spec] = &[
    // Casts: `sql/compat` writes `x::regclass` as regclass(x), and `x::regclass::text` as regclassout(x).
    strict("regclass", 1..=1, Returns::Regclass, |facts, args| {
        check_database(facts, &args[0])?;
        by_name_or_oid(facts, &args[0], relation_oid, |name| {
            SqlError::new(state::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist"))
        })
    }),
    strict("text_regclass", 1..=1, Returns::Regclass, |facts, args| {
        check_database(facts, &args[0])?;
        let name = text_of(&args[0]);
        check_name(name)?;
        relation_oid(facts, name)
            .map(SystemValue::from)
            .ok_or_else(|| SqlError::new(state::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist")))
    }),
    strict("regtype", 1..=1, Returns::Regtype, |facts, args| {
        if let SystemValue::Text(name) = &args[0]
            && name.trim().is_empty()
        {
            let message = format!("invalid type name \"{name}\"");
            return Err(SqlError::new(state::SYNTAX_ERROR, message));
        }
        by_name_or_oid(facts, &args[0], known_type, |name| {
            SqlError::new(state::UNDEFINED_OBJECT, format!("type \"{name}\" does not exist"))
        })
    }),
    strict("regproc", 1..=1, Returns::Regproc, |facts, args| {
        let SystemValue::Text(name) = &args[0] else {
            return Ok(args[0].clone());
        };
        if is_ambiguous(name) {
            let message = format!("more than one function named \"{name}\"");
            return Err(SqlError::new(state::AMBIGUOUS_FUNCTION, message));
        }
        by_name_or_oid(
            facts,
            &args[0],
            |_, name| function_oid(name),
            |name| SqlError::new(state::UNDEFINED_FUNCTION, format!("function \"{name}\" does not exist")),
        )
    }),
    strict("regnamespace", 1..=1, Returns::Regnamespace, |facts, args| {
        by_name_or_oid(facts, &args[0], schema_oid, |name| {
            SqlError::new(state::INVALID_SCHEMA_NAME, format!("schema \"{name}\" does not exist"))
        })
    }),
    strict("oid", 1..=1, Returns::Oid, |_, args| match args[0].as_int() {
        Some(oid) => Ok(SystemValue::Int(oid)),
        None => Err(SqlError::new(
            state::INVALID_TEXT_REPRESENTATION,
            format!("invalid input syntax for type oid: \"{}\"", text_of(&args[0])),
        )),
    }),
    strict("tidin", 1..=1, Returns::Tid, |_, args| {
        Ok(SystemValue::Int(tid::parse(text_of(&args[0]))?))
    }),
    strict("tidout", 1..=1, Returns::Text, |_, args| {
        Ok(tid::text(args[0].as_int().unwrap_or_default()).into())
    }),
    strict("regclassout", 1..=1, Returns::Text, |facts, args| {
        Ok(out(&args[0], |oid| relation_name(facts, oid)))
    }),
    strict("regtypeout", 1..=1, Returns::Text, |facts, args| {
        Ok(out(&args[0], |oid| shown_type(facts, oid)))
    }),
    strict("regprocout", 1..=1, Returns::Text, |_, args| {
        Ok(out(&args[0], function_name))
    }),
    strict("regnamespaceout", 1..=1, Returns::Text, |facts, args| {
        Ok(out(&args[0], |oid| schema_name(facts, oid).map(quote_ident)))
    }),
    strict("to_regclass", 1..=1, Returns::Regclass, |facts, args| {
        check_database(facts, &args[0])?;
        Ok(relation_oid(facts, text_of(&args[0])).into())
    }),
    strict("to_regtype", 1..=1, Returns::Regtype, |facts, args| {
        Ok(known_type(facts, text_of(&args[0])).into())
    }),
    strict("to_regproc", 1..=1, Returns::Regproc, |_, args| {
        let name = text_of(&args[0]);
        Ok(function_oid(name).filter(|_| !is_ambiguous(name)).into())
    }),
    strict("to_regnamespace", 1..=1, Returns::Regnamespace, |facts, args| {
        Ok(schema_oid(facts, text_of(&args[0])).into())
    }),
    strict("pg_table_is_visible", 1..=1, Returns::Bool, |facts, args| {
        Ok(is_visible(facts, oid_of(&args[0])).into())
    }),
    strict("pg_type_is_visible", 1..=1, Returns::Bool, |facts, args| {
        let oid = oid_of(&args[0]);
        Ok(match relation_of_row_type(&facts.snapshot, oid) {
            Some(relation) => is_visible(facts, relation).into(),
            None => type_by_oid(oid).map(|_| true).into(),
        })
    }),
    strict("pg_function_is_visible", 1..=1, Returns::Bool, builtin),
    strict("pg_operator_is_visible", 1..=1, Returns::Bool, builtin),
    strict("pg_opclass_is_visible", 1..=1, Returns::Bool, builtin),
    strict("pg_opfamily_is_visible", 1..=1, Returns::Bool, builtin),
    strict("pg_collation_is_visible", 1..=1, Returns::Bool, builtin),
    strict("pg_conversion_is_visible", 1..=1, Returns::Bool, builtin),
    strict("pg_statistics_obj_is_visible", 1..=1, Returns::Bool, builtin),
    strict("pg_ts_config_is_visible", 1..=1, Returns::Bool, builtin),
    strict("pg_ts_dict_is_visible", 1..=1, Returns::Bool, builtin),
    strict("pg_ts_parser_is_visible", 1..=1, Returns::Bool, builtin),
    strict("pg_ts_template_is_visible", 1..=1, Returns::Bool, builtin),
    strict("pg_get_userbyid", 1..=1, Returns::Name, |facts, args| {
        let oid = oid_of(&args[0]);
        Ok(role_name(oid, &facts.user)
            .unwrap_or_else(|| format!("unknown (OID={oid})"))
            .into())
    }),
    strict("current_schemas", 1..=1, Returns::Names, |facts, args| {
        Ok(path(facts, args[0] == SystemValue::Bool(true)).into())
    }),
];

/// Objects that only `pg_catalog` has: in every search path.
fn builtin(_: &Facts, _: &[SystemValue]) -> Result<SystemValue, SqlError> {
    Ok(SystemValue::Bool(true))
}

/// A name looked up, or a number taken unchecked, as the input functions of the `reg*` types do; `-` is 0.
pub(super) fn by_name_or_oid(
    facts: &Facts,
    value: &SystemValue,
    find: impl Fn(&Facts, &str) -> Option<u32>,
    missing: impl Fn(&str) -> SqlError,
) -> Result<SystemValue, SqlError> {
    match value {
        SystemValue::Text(text) if text == "-" => Ok(SystemValue::Int(0)),
        SystemValue::Text(text) => match text.parse::<u32>() {
            Ok(oid) => Ok(oid.into()),
            Err(_) => {
                check_name(text)?;
                find(facts, text).map(SystemValue::from).ok_or_else(|| missing(text))
            }
        },
        other => Ok(other.clone()),
    }
}

/// 42602 for a name without letters.
pub(super) fn check_name(name: &str) -> Result<(), SqlError> {
    match name.trim().is_empty() {
        true => Err(SqlError::new(state::INVALID_NAME, "invalid name syntax")),
        false => Ok(()),
    }
}

/// Text of a `reg*` value: its name, `-` for 0, the number if nothing has it. Text is passed through.
pub(super) fn out(value: &SystemValue, name: impl Fn(u32) -> Option<String>) -> SystemValue {
    match value {
        SystemValue::Text(_) => value.clone(),
        other => match oid_of(other) {
            0 => "-".into(),
            oid => name(oid).unwrap_or_else(|| oid.to_string()).into(),
        },
    }
}

/// The schemas searched, that exist.
fn path(facts: &Facts, implicit: bool) -> Vec<String> {
    let listed = facts
        .search_path
        .iter()
        .filter(|schema| facts.snapshot.schemas.contains_key(*schema));
    let mut path: Vec<String> = listed.cloned().collect();
    if implicit && !path.iter().any(|schema| schema == "pg_catalog") {
        path.insert(0, "pg_catalog".to_string());
    }
    path
}

/// `a."B".c` to its parts, folded; `None` if it is not a name.
pub fn parse_qualified(text: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut part = String::new();
            let mut chars = quoted.char_indices();
            let end = loop {
                match chars.next()? {
                    (at, '"') if quoted[at + 1..].starts_with('"') => {
                        part.push('"');
                        chars.next();
                    }
                    (at, '"') => break at + 1,
                    (_, other) => part.push(other),
                }
            };
            parts.push(part);
            rest = &quoted[end..];
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            let part = rest[..end].trim();
            if part.is_empty() || part.contains('"') {
                return None;
            }
            parts.push(part.to_lowercase());
            rest = &rest[end..];
        }
        rest = rest.trim_start();
        match rest.strip_prefix('.') {
            Some(next) => rest = next.trim_start(),
            None if rest.is_empty() => return Some(parts),
            None => return None,
        }
    }
}

/// 0A000 for the name of a relation in another database.
fn check_database(facts: &Facts, value: &SystemValue) -> Result<(), SqlError> {
    match value.as_text().and_then(parse_qualified).as_deref() {
        Some([database, schema, name]) if *database != facts.database => {
            let message = format!("cross-database references are not implemented: \"{database}.{schema}.{name}\"");
            Err(SqlError::new(state::FEATURE_NOT_SUPPORTED, message))
        }
        _ => Ok(()),
    }
}

pub(super) fn relation_oid(facts: &Facts, text: &str) -> Option<u32> {
    let mut parts = parse_qualified(text)?;
    let name = parts.pop()?;
    let find = |schema: &str| {
        let user = facts.snapshot.names.get(&(schema.to_string(), name.clone())).copied();
        user.or_else(|| system::lookup(schema, &name).map(|relation| relation.oid))
    };
    match parts.pop() {
        Some(schema) => find(&schema),
        None => path(facts, true).iter().find_map(|schema| find(schema)),
    }
}

/// Schema and name of a relation.
pub(super) fn relation_of(facts: &Facts, oid: u32) -> Option<(String, String)> {
    let user = facts.snapshot.names.iter().find(|(_, known)| **known == oid);
    match user {
        Some(((schema, name), _)) => Some((schema.clone(), name.clone())),
        None => system::by_oid(oid).map(|relation| (relation.schema.to_string(), relation.name.to_string())),
    }
}

/// As `regclass` prints it: qualified only where the search path does not lead to it.
pub(super) fn relation_name(facts: &Facts, oid: u32) -> Option<String> {
    let (schema, name) = relation_of(facts, oid)?;
    Some(if is_visible(facts, oid)? {
        quote_ident(&name)
    } else {
        format!("{}.{}", quote_ident(&schema), quote_ident(&name))
    })
}

fn is_visible(facts: &Facts, oid: u32) -> Option<bool> {
    let (_, name) = relation_of(facts, oid)?;
    Some(relation_oid(facts, &quote_always(&name)) == Some(oid))
}

fn quote_always(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn schema_oid(facts: &Facts, text: &str) -> Option<u32> {
    let parts = parse_qualified(text)?;
    facts.snapshot.schemas.get(parts.first()?).copied()
}

pub(super) fn schema_name(facts: &Facts, oid: u32) -> Option<&str> {
    let schemas = facts.snapshot.schemas.iter();
    schemas
        .filter(|(_, known)| **known == oid)
        .map(|(name, _)| name.as_str())
        .next()
}

pub(super) fn type_oid(text: &str) -> Option<u32> {
    let text = text.trim();
    let bare = text.strip_prefix("pg_catalog.").unwrap_or(text);
    if bare == "\"char\"" {
        return Some(PgType::InternalChar.oid());
    }
    if let Some(known) = PgType::parse(&bare.to_lowercase()) {
        return Some(known.oid());
    }
    let parts = parse_qualified(bare.trim_end_matches("[]"))?;
    let named = type_by_name(parts.last()?)?;
    Some(if bare.ends_with("[]") { named.array } else { named.oid })
}

/// A type by its name: a relation's is its row type, where no type has the name.
fn known_type(facts: &Facts, text: &str) -> Option<u32> {
    type_oid(text).or_else(|| relation_oid(facts, text).map(|relation| derived_oid(relation, RelationPart::Row)))
}

/// The name of a type as SQL writes it.
pub(super) fn shown_type(facts: &Facts, oid: u32) -> Option<String> {
    type_name(oid).or_else(|| relation_name(facts, relation_of_row_type(&facts.snapshot, oid)?))
}

pub(super) fn known_role(facts: &Facts, text: &str) -> Option<u32> {
    let parts = parse_qualified(text)?;
    let name = parts.first()?;
    (name == BUILTIN_ROLE || *name == facts.user).then(|| role_oid(name))
}

/// Rows of `pg_proc` with this OID or name: (OID, name, result, argument types).
pub(super) struct Function {
    pub oid: u32,
    pub name: String,
    pub result: u32,
    pub returns_set: bool,
    pub arguments: Vec<u32>,
    pub argument_names: Vec<String>,
}

pub(super) fn functions() -> impl Iterator<Item = &'static Function> {
    static FUNCTIONS: LazyLock<Vec<Function>> = LazyLock::new(|| read_functions().collect());
    FUNCTIONS.iter()
}

fn read_functions() -> impl Iterator<Item = Function> {
    static_rows("pg_proc").unwrap_or_default().iter().map(|row| {
        let get = |column: &str| value_of(row, column);
        let oids = |value: Option<&SystemValue>| match value {
            Some(SystemValue::List(items)) => items.iter().map(oid_of).collect(),
            _ => Vec::new(),
        };
        let names = match get("proargnames") {
            Some(SystemValue::List(items)) => items.iter().map(|item| text_of(item).to_string()).collect(),
            _ => Vec::new(),
        };
        Function {
            oid: get("oid").map_or(0, oid_of),
            name: get("proname").map(text_of).unwrap_or_default().to_string(),
            result: get("prorettype").map_or(0, oid_of),
            returns_set: get("proretset") == Some(&SystemValue::Bool(true)),
            arguments: oids(get("proargtypes")),
            argument_names: names,
        }
    })
}

pub(super) fn function_by_oid(oid: u32) -> Option<&'static Function> {
    functions().find(|function| function.oid == oid)
}

/// `name` or `name(type, ...)`.
fn function_oid(text: &str) -> Option<u32> {
    let (name, arguments) = match text.trim().strip_suffix(')').and_then(|text| text.split_once('(')) {
        Some((name, arguments)) => {
            let types = arguments.split(',').map(str::trim).filter(|part| !part.is_empty());
            (name, Some(types.map(type_oid).collect::<Option<Vec<u32>>>()?))
        }
        None => (text.trim(), None),
    };
    let parts = parse_qualified(name)?;
    let name = parts.last()?;
    let mut found = functions().filter(|function| function.name == *name);
    match arguments {
        Some(arguments) => found
            .find(|function| function.arguments == arguments)
            .map(|function| function.oid),
        None => found.next().map(|function| function.oid),
    }
}

/// With its schema if others share it.
fn function_name(oid: u32) -> Option<String> {
    let name = &function_by_oid(oid)?.name;
    Some(match is_ambiguous(&quote_always(name)) {
        true => format!("pg_catalog.{}", quote_ident(name)),
        false => quote_ident(name),
    })
}

/// Whether several functions have a name that stands without types.
fn is_ambiguous(text: &str) -> bool {
    let name = parse_qualified(text).and_then(|mut parts| parts.pop());
    let same = functions().filter(|function| Some(&function.name) == name.as_ref());
    same.take(2).count() > 1
}

/// The relation of an OID or a name, for functions that take either.
pub(super) fn relation_argument(facts: &Facts, value: &SystemValue) -> Result<u32, SqlError> {
    let SystemValue::Text(text) = value else {
        return Ok(oid_of(value));
    };
    match text.parse() {
        Ok(oid) => Ok(oid),
        Err(_) => relation_oid(facts, text)
            .ok_or_else(|| SqlError::new(state::UNDEFINED_TABLE, format!("relation \"{text}\" does not exist"))),
    }
}

/// Whether an OID is of any relation.
pub(super) fn is_relation(facts: &Facts, oid: u32) -> bool {
    facts.snapshot.relations.contains_key(&oid) || objects(&facts.snapshot).any(|object| object.oid == oid)
}
