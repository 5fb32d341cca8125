//! Rows of `information_schema`, the SQL standard's view of the same catalog.
//!
//! One rule: names and types agree with `pg_catalog`, from which PostgreSQL derives them by SQL; here they are computed,
//! since the derivation would be planned anew for every client's question.

use super::SystemState;
use super::builtin::{type_by_oid, type_name};
use super::pg::{Attribute, BUILTIN_ROLE, Object, default_of, mentions, objects};
use super::value::{RowCollector, row};
use crate::catalog::Relation;
use crate::types::{PgType, typmod};

pub(super) fn fill(name: &str, state: &SystemState, rows: &mut RowCollector) {
    let database = state.database.as_str();
    match name {
        "information_schema_catalog_name" => rows.push(row!["catalog_name" => database]),
        "schemata" => {
            for schema in state.snapshot.schemas.keys() {
                rows.push(row![
                    "catalog_name" => database, "schema_name" => schema.as_str(), "schema_owner" => BUILTIN_ROLE,
                ]);
            }
        }
        "tables" => {
            for object in standard_objects(state) {
                rows.push(row![
                    "table_catalog" => database, "table_schema" => object.schema, "table_name" => object.name,
                    "table_type" => if object.kind == 'r' { "BASE TABLE" } else { "VIEW" },
                    "is_insertable_into" => yes_no(is_insertable(&object)), "is_typed" => "NO",
                ]);
            }
        }
        "columns" => {
            for object in standard_objects(state) {
                for (index, attribute) in object.attributes.iter().enumerate() {
                    push_column(database, &object, index, attribute, rows);
                }
            }
        }
        "views" => {
            for object in standard_objects(state) {
                if object.kind == 'r' {
                    continue;
                }
                let definition = match object.relation {
                    Some(Relation::View(view)) => Some(view.definition_along(&state.snapshot, &state.search_path)),
                    _ => super::by_oid(object.oid).and_then(|view| view.definition.map(str::to_string)),
                };
                rows.push(row![
                    "table_catalog" => database, "table_schema" => object.schema, "table_name" => object.name,
                    "view_definition" => definition, "check_option" => "NONE", "is_updatable" => "NO",
                    "is_insertable_into" => "NO", "is_trigger_updatable" => "NO", "is_trigger_deletable" => "NO",
                    "is_trigger_insertable_into" => "NO",
                ]);
            }
        }
        "view_table_usage" => {
            for relation in state.snapshot.relations.values() {
                let Relation::View(view) = relation else { continue };
                for on in &view.depends_on {
                    let Some(on) = objects(&state.snapshot).find(|object| object.oid == *on) else {
                        continue;
                    };
                    rows.push(row![
                        "view_catalog" => database, "view_schema" => view.schema.as_str(),
                        "view_name" => view.name.as_str(), "table_catalog" => database, "table_schema" => on.schema,
                        "table_name" => on.name,
                    ]);
                }
            }
        }
        "table_constraints" | "check_constraints" | "constraint_column_usage" | "constraint_table_usage" => {
            fill_constraints(name, state, rows);
        }
        "table_privileges" | "role_table_grants" => fill_privileges(name, state, rows),
        "enabled_roles" => rows.push(row!["role_name" => BUILTIN_ROLE]),
        "character_sets" => rows.push(row![
            "character_set_name" => "UTF8", "character_repertoire" => "UCS", "form_of_use" => "UTF8",
            "default_collate_catalog" => database, "default_collate_schema" => "pg_catalog",
            "default_collate_name" => "default",
        ]),
        "collations" => {
            for collation in ["default", "C", "POSIX"] {
                rows.push(row![
                    "collation_catalog" => database, "collation_schema" => "pg_catalog",
                    "collation_name" => collation, "pad_attribute" => "NO PAD",
                ]);
            }
        }
        // Keys, sequences, domains, triggers, routines of users: there are none.
        _ => {}
    }
}

/// The standard knows no materialized views, and PostgreSQL leaves them out here: tools ask `pg_class` for them too,
/// and would see them twice.
fn standard_objects(state: &SystemState) -> impl Iterator<Item = Object<'_>> {
    objects(&state.snapshot).filter(|object| object.kind != 'm')
}

fn yes_no(yes: bool) -> &'static str {
    if yes { "YES" } else { "NO" }
}

fn is_insertable(object: &Object) -> bool {
    object.kind == 'r' && object.relation.is_some()
}

fn push_column(database: &str, object: &Object, index: usize, attribute: &Attribute, rows: &mut RowCollector) {
    let named = type_by_oid(attribute.type_oid);
    let is_array = named.is_some_and(|named| named.category == "A" && named.length == -1 && named.element != 0);
    let pg_type = attribute.column.map(|column| column.pg_type.clone());
    let pg_type = pg_type.or_else(|| PgType::from_oid(attribute.type_oid));
    // Without length or precision, which have columns of their own.
    let data_type = match (is_array, type_name(attribute.type_oid)) {
        (true, _) => "ARRAY".to_string(),
        (false, name) => name.unwrap_or_else(|| "USER-DEFINED".to_string()),
    };
    let length = match &pg_type {
        Some(PgType::Varchar(Some(length)) | PgType::Char(length)) => Some(*length as i64),
        _ => None,
    };
    let octets = match &pg_type {
        Some(PgType::Varchar(_) | PgType::Char(_) | PgType::Text) => Some(length.map_or(1 << 30, |length| length * 4)),
        _ => None,
    };
    let (precision, radix, scale) = match &pg_type {
        Some(PgType::Int2) => (Some(16), Some(2), Some(0)),
        Some(PgType::Int4) => (Some(32), Some(2), Some(0)),
        Some(PgType::Int8) => (Some(64), Some(2), Some(0)),
        Some(PgType::Float4) => (Some(24), Some(2), None),
        Some(PgType::Float8) => (Some(53), Some(2), None),
        Some(PgType::Numeric(_)) => match typmod::number(attribute.typmod) {
            // As PostgreSQL shows it, which takes the scale for a number without a sign.
            Some((precision, scale)) => (Some(i32::from(precision)), Some(10), Some(i32::from(scale) & 0x7ff)),
            None => (None, Some(10), None),
        },
        _ => (None, None, None),
    };
    let datetime = match &pg_type {
        Some(PgType::Date) => Some(0),
        Some(PgType::Interval) => Some(typmod::interval(attribute.typmod).1.map_or(6, i64::from)),
        Some(PgType::Time | PgType::Timestamp | PgType::TimestampTz) => Some(match attribute.typmod {
            ..0 => 6,
            digits => i64::from(digits),
        }),
        _ => None,
    };
    let interval_type = match &pg_type {
        Some(interval @ PgType::Interval) => {
            let name = interval.name_with(attribute.typmod).to_uppercase();
            name.split_once(' ').map(|(_, fields)| fields.to_string())
        }
        _ => None,
    };
    let collation = (named.is_some_and(|named| named.collation == 950)).then_some("C");
    let column = attribute.column;
    rows.push(row![
        "table_catalog" => database, "table_schema" => object.schema, "table_name" => object.name,
        "column_name" => attribute.name, "ordinal_position" => index + 1,
        "column_default" => column.and_then(|column| column.default.clone()),
        "is_nullable" => yes_no(!attribute.not_null), "data_type" => data_type,
        "character_maximum_length" => length, "character_octet_length" => octets,
        "numeric_precision" => precision, "numeric_precision_radix" => radix, "numeric_scale" => scale,
        "datetime_precision" => datetime, "interval_type" => interval_type,
        "collation_catalog" => collation.map(|_| database), "collation_schema" => collation.map(|_| "pg_catalog"),
        "collation_name" => collation,
        "udt_catalog" => database, "udt_schema" => "pg_catalog", "udt_name" => named.map(|named| named.name.clone()),
        "dtd_identifier" => (index + 1).to_string(), "is_self_referencing" => "NO", "is_identity" => "NO",
        "identity_cycle" => "NO",
        "is_generated" => if column.is_some_and(|column| column.generated.is_some()) { "ALWAYS" } else { "NEVER" },
        "generation_expression" => column.filter(|column| column.generated.is_some()).and_then(default_of),
        "is_updatable" => "NO",
    ]);
}

fn fill_constraints(name: &str, state: &SystemState, rows: &mut RowCollector) {
    let database = state.database.as_str();
    for object in objects(&state.snapshot) {
        let Some(topic) = object.topic() else { continue };
        for check in &topic.checks {
            let (schema, table, check_name) = (topic.schema.as_str(), topic.name.as_str(), check.name.as_str());
            match name {
                "table_constraints" => rows.push(row![
                    "constraint_catalog" => database, "constraint_schema" => schema, "constraint_name" => check_name,
                    "table_catalog" => database, "table_schema" => schema, "table_name" => table,
                    "constraint_type" => "CHECK", "is_deferrable" => "NO", "initially_deferred" => "NO",
                    "enforced" => "YES",
                ]),
                "check_constraints" => rows.push(row![
                    "constraint_catalog" => database, "constraint_schema" => schema, "constraint_name" => check_name,
                    "check_clause" => format!("({})", check.expr),
                ]),
                "constraint_table_usage" => {}
                _ => {
                    let columns = topic.columns.iter();
                    for column in columns.filter(|column| mentions(&check.expr, &column.name)) {
                        rows.push(row![
                            "table_catalog" => database, "table_schema" => schema, "table_name" => table,
                            "column_name" => column.name.as_str(), "constraint_catalog" => database,
                            "constraint_schema" => schema, "constraint_name" => check_name,
                        ]);
                    }
                }
            }
        }
        // PostgreSQL lists NOT NULL columns as CHECK constraints here.
        if name == "table_constraints" || name == "check_constraints" {
            for (index, column) in topic.columns.iter().enumerate().filter(|(_, column)| column.not_null) {
                let schema = topic.schema.as_str();
                let schema_oid = state.snapshot.schemas.get(schema).copied().unwrap_or_default();
                let constraint = format!("{schema_oid}_{}_{}_not_null", topic.oid, index + 1);
                if name == "table_constraints" {
                    rows.push(row![
                        "constraint_catalog" => database, "constraint_schema" => schema,
                        "constraint_name" => constraint, "table_catalog" => database, "table_schema" => schema,
                        "table_name" => topic.name.as_str(), "constraint_type" => "CHECK", "is_deferrable" => "NO",
                        "initially_deferred" => "NO", "enforced" => "YES",
                    ]);
                } else {
                    rows.push(row![
                        "constraint_catalog" => database, "constraint_schema" => schema,
                        "constraint_name" => constraint, "check_clause" => format!("{} IS NOT NULL", column.name),
                    ]);
                }
            }
        }
    }
}

fn fill_privileges(name: &str, state: &SystemState, rows: &mut RowCollector) {
    let database = state.database.as_str();
    for object in objects(&state.snapshot) {
        let all = ["INSERT", "SELECT"];
        let privileges = if is_insertable(&object) { &all[..] } else { &all[1..] };
        let grantee = if name == "table_privileges" && object.relation.is_none() {
            "PUBLIC"
        } else {
            BUILTIN_ROLE
        };
        for privilege in privileges {
            rows.push(row![
                "grantor" => BUILTIN_ROLE, "grantee" => grantee, "table_catalog" => database,
                "table_schema" => object.schema, "table_name" => object.name, "privilege_type" => *privilege,
                "is_grantable" => "YES", "with_hierarchy" => "NO",
            ]);
        }
    }
}
