//! Descriptions of objects: definitions, comments, sizes, privileges, and facts of the server and the session.

use super::names::{function_by_oid, is_relation, relation_argument, shown_type};
use super::{Facts, Returns, Spec, lenient, oid_of, strict, text_of};
use crate::catalog::Relation;
use crate::catalog::system::{self, RelationPart, SystemValue, derived_oid, type_by_oid, type_name};
use crate::error::SqlError;
use crate::types::PgType;

pub(super) const SPECS: &[Spec] = &[
    lenient("format_type", 2..=2, Returns::Text, |facts, args| {
        Ok(format_type(facts, &args[0], &args[1]))
    }),
    lenient("pg_typeof", 1..=1, Returns::Text, |_, _| Ok(SystemValue::Null)),
    strict("pg_get_expr", 2..=3, Returns::Text, |_, args| Ok(args[0].clone())),
    strict("pg_get_viewdef", 1..=2, Returns::Text, |facts, args| {
        let oid = relation_argument(facts, &args[0])?;
        Ok(view_definition(facts, oid)
            .map(|text| format!(" {};", text.trim_end_matches(';')))
            .into())
    }),
    strict("pg_get_constraintdef", 1..=2, Returns::Text, |facts, args| {
        Ok(constraint(facts, oid_of(&args[0])).into())
    }),
    strict("pg_get_function_result", 1..=1, Returns::Text, |_, args| {
        let function = function_by_oid(oid_of(&args[0]));
        Ok(function
            .map(|function| {
                let set = if function.returns_set { "SETOF " } else { "" };
                format!("{set}{}", type_name(function.result).unwrap_or_default())
            })
            .into())
    }),
    strict("pg_get_function_arguments", 1..=1, Returns::Text, |_, args| {
        Ok(function_arguments(oid_of(&args[0])).into())
    }),
    strict("pg_get_function_identity_arguments", 1..=1, Returns::Text, |_, args| {
        Ok(function_arguments(oid_of(&args[0])).into())
    }),
    lenient("pg_get_functiondef", 1..=1, Returns::Text, nothing),
    lenient("pg_get_function_sqlbody", 1..=1, Returns::Text, nothing),
    lenient("pg_get_function_arg_default", 2..=2, Returns::Text, nothing),
    lenient("pg_get_indexdef", 1..=3, Returns::Text, nothing),
    lenient("pg_get_ruledef", 1..=2, Returns::Text, nothing),
    lenient("pg_get_triggerdef", 1..=2, Returns::Text, nothing),
    lenient("pg_get_partkeydef", 1..=1, Returns::Text, nothing),
    lenient("pg_get_partition_constraintdef", 1..=1, Returns::Text, nothing),
    lenient("pg_get_serial_sequence", 2..=2, Returns::Text, nothing),
    lenient("pg_get_statisticsobjdef", 1..=1, Returns::Text, nothing),
    lenient("pg_get_statisticsobjdef_columns", 1..=1, Returns::Text, nothing),
    lenient("pg_index_column_has_property", 3..=3, Returns::Bool, nothing),
    lenient("pg_index_has_property", 2..=2, Returns::Bool, nothing),
    lenient("pg_indexam_has_property", 2..=2, Returns::Bool, nothing),
    // Nothing is partitioned in PostgreSQL's sense.
    strict("pg_partition_root", 1..=1, Returns::Regclass, nothing),
    strict("obj_description", 1..=2, Returns::Text, |facts, args| {
        let class = args.get(1).map(text_of);
        let oid = oid_of(&args[0]);
        let described = match class {
            None => true,
            Some("pg_class") => facts.snapshot.relations.contains_key(&oid),
            Some("pg_namespace") => facts.snapshot.schemas.values().any(|schema| *schema == oid),
            Some(_) => false,
        };
        let text = facts.snapshot.comments.get(&(oid, 0)).filter(|_| described);
        Ok(text
            .map(String::as_str)
            .or_else(|| system::description(class, oid))
            .into())
    }),
    strict("col_description", 2..=2, Returns::Text, |facts, args| {
        let column = args[1].as_int().and_then(|column| u32::try_from(column).ok());
        let text = column
            .filter(|column| *column > 0)
            .and_then(|column| facts.snapshot.comments.get(&(oid_of(&args[0]), column)));
        Ok(text.cloned().into())
    }),
    lenient("shobj_description", 2..=2, Returns::Text, nothing),
    strict("pg_indexes_size", 1..=1, Returns::Int8, |_, _| Ok(SystemValue::Int(0))),
    strict("pg_tablespace_location", 1..=1, Returns::Text, |_, _| Ok("".into())),
    strict("pg_relation_is_publishable", 1..=1, Returns::Bool, |_, _| {
        Ok(false.into())
    }),
    strict("pg_relation_is_updatable", 2..=2, Returns::Int4, |facts, args| {
        // Bit 3 is INSERT, the only change that a topic takes.
        let topic = matches!(
            facts.snapshot.relations.get(&oid_of(&args[0])),
            Some(Relation::Topic(_))
        );
        Ok(SystemValue::Int(if topic { 8 } else { 0 }))
    }),
    strict("pg_column_is_updatable", 3..=3, Returns::Bool, |_, _| Ok(false.into())),
    lenient("pg_relation_filenode", 1..=1, Returns::Oid, nothing),
    lenient("pg_stat_get_numscans", 1..=1, Returns::Int8, |_, _| {
        Ok(SystemValue::Int(0))
    }),
    lenient("pg_sequence_last_value", 1..=1, Returns::Int8, nothing),
    // Every user who may connect may do everything.
    strict("has_table_privilege", 2..=3, Returns::Bool, has_relation_privilege),
    strict("has_any_column_privilege", 2..=3, Returns::Bool, has_relation_privilege),
    strict("has_column_privilege", 3..=4, Returns::Bool, |_, _| Ok(true.into())),
    strict("has_schema_privilege", 2..=3, Returns::Bool, |_, _| Ok(true.into())),
    strict("has_database_privilege", 2..=3, Returns::Bool, |_, _| Ok(true.into())),
    strict("has_function_privilege", 2..=3, Returns::Bool, |_, _| Ok(true.into())),
    strict("has_sequence_privilege", 2..=3, Returns::Bool, |_, _| Ok(true.into())),
    strict("has_tablespace_privilege", 2..=3, Returns::Bool, |_, _| Ok(true.into())),
    strict("has_type_privilege", 2..=3, Returns::Bool, |_, _| Ok(true.into())),
    strict("has_language_privilege", 2..=3, Returns::Bool, |_, _| Ok(true.into())),
    strict("has_foreign_data_wrapper_privilege", 2..=3, Returns::Bool, |_, _| {
        Ok(true.into())
    }),
    strict("has_server_privilege", 2..=3, Returns::Bool, |_, _| Ok(true.into())),
    strict("pg_has_role", 2..=3, Returns::Bool, |_, _| Ok(true.into())),
    lenient("row_security_active", 1..=1, Returns::Bool, |_, _| Ok(false.into())),
    strict("pg_encoding_to_char", 1..=1, Returns::Name, |_, args| {
        Ok(if args[0].as_int() == Some(6) { "UTF8" } else { "" }.into())
    }),
    strict("pg_char_to_encoding", 1..=1, Returns::Int4, |_, args| {
        let utf8 = matches!(text_of(&args[0]).to_lowercase().as_str(), "utf8" | "utf-8" | "unicode");
        Ok(SystemValue::Int(if utf8 { 6 } else { -1 }))
    }),
    lenient("getdatabaseencoding", 0..=0, Returns::Name, |_, _| Ok("UTF8".into())),
    lenient("pg_client_encoding", 0..=0, Returns::Name, |_, _| Ok("UTF8".into())),
    // Not told to a plan: unknown rather than wrong.
    lenient("pg_postmaster_start_time", 0..=0, Returns::TimestampTz, nothing),
    // Not told to a plan: unknown rather than wrong.
    lenient("pg_conf_load_time", 0..=0, Returns::TimestampTz, nothing),
    lenient("pg_is_in_recovery", 0..=0, Returns::Bool, |_, _| Ok(false.into())),
    lenient("pg_is_in_backup", 0..=0, Returns::Bool, |_, _| Ok(false.into())),
    lenient("txid_current_if_assigned", 0..=0, Returns::Int8, nothing),
    lenient("pg_my_temp_schema", 0..=0, Returns::Oid, |_, _| Ok(SystemValue::Int(0))),
    strict("pg_is_other_temp_schema", 1..=1, Returns::Bool, |_, _| Ok(false.into())),
    lenient("inet_server_addr", 0..=0, Returns::Text, nothing),
    lenient("inet_server_port", 0..=0, Returns::Int4, nothing),
    // Nothing is ever locked: nobody waits, and there is nothing to unlock.
    strict("pg_blocking_pids", 1..=1, Returns::Int4s, |_, _| {
        Ok(SystemValue::List(Vec::new()))
    }),
    lenient("pg_advisory_unlock_all", 0..=0, Returns::Void, |_, _| Ok("".into())),
];

fn nothing(_: &Facts, _: &[SystemValue]) -> Result<SystemValue, SqlError> {
    Ok(SystemValue::Null)
}

fn format_type(facts: &Facts, oid: &SystemValue, typmod: &SystemValue) -> SystemValue {
    if oid.is_null() {
        return SystemValue::Null;
    }
    let oid = oid_of(oid);
    if oid == 0 {
        return "-".into();
    }
    let Some(name) = shown_type(facts, oid) else {
        return "???".into();
    };
    let typmod = typmod.as_int().filter(|typmod| *typmod >= 0);
    let is_array = type_by_oid(oid).is_some_and(|named| named.category == "A" && named.element != 0);
    let element = match type_by_oid(oid) {
        Some(named) if is_array => named.element,
        _ => oid,
    };
    let base = name.strip_suffix("[]").unwrap_or(&name).to_string();
    // typmods carry a length of 4 that is PostgreSQL's row header.
    let with = match (PgType::from_oid(element), typmod) {
        (
            Some(
                modified @ (PgType::Numeric(_)
                | PgType::Time
                | PgType::Timestamp
                | PgType::TimestampTz
                | PgType::Interval),
            ),
            Some(typmod),
        ) => modified.name_with(i32::try_from(typmod).unwrap_or(-1)),
        (Some(PgType::Varchar(_) | PgType::Char(_)), Some(typmod)) if typmod >= 4 => {
            let base = base.split('(').next().unwrap_or(&base);
            format!("{base}({})", typmod - 4)
        }
        // CHAR without a modifier is its internal name, which has no length.
        (Some(PgType::Char(_)), None) => base.split('(').next().unwrap_or(&base).to_string(),
        _ => base,
    };
    if is_array {
        format!("{with}[]").into()
    } else {
        with.into()
    }
}

fn view_definition(facts: &Facts, oid: u32) -> Option<String> {
    match facts.snapshot.relations.get(&oid) {
        Some(Relation::View(view)) => Some(view.definition_along(&facts.snapshot, &facts.search_path)),
        Some(Relation::Topic(_)) => None,
        None => system::by_oid(oid)?.definition.map(str::to_string),
    }
}

fn constraint(facts: &Facts, oid: u32) -> Option<String> {
    facts.snapshot.relations.values().find_map(|relation| {
        let Relation::Topic(topic) = relation else { return None };
        let mut checks = topic.checks.iter().enumerate();
        checks
            .find(|(index, _)| derived_oid(topic.oid, RelationPart::Check(*index)) == oid)
            .map(|(_, check)| format!("CHECK ({})", parenthesized(&check.expr)))
    })
}

/// In parentheses, once.
fn parenthesized(expr: &str) -> String {
    format!("({expr})")
}

fn function_arguments(oid: u32) -> Option<String> {
    let function = function_by_oid(oid)?;
    let arguments = function.arguments.iter().enumerate().map(|(index, oid)| {
        let type_name = type_name(*oid).unwrap_or_default();
        match function.argument_names.get(index).filter(|name| !name.is_empty()) {
            Some(name) => format!("{name} {type_name}"),
            None => type_name,
        }
    });
    Some(arguments.collect::<Vec<_>>().join(", "))
}

/// ([user,] relation, privilege)
fn has_relation_privilege(facts: &Facts, args: &[SystemValue]) -> Result<SystemValue, SqlError> {
    let oid = relation_argument(facts, &args[args.len() - 2])?;
    Ok(if is_relation(facts, oid) {
        true.into()
    } else {
        SystemValue::Null
    })
}
