//! A relation's name to the relation: `[database.]schema.name`, or a bare name along the search path.
//!
//! `pg_catalog` is searched first where the path does not name it, as in PostgreSQL.

use super::PlanContext;
use crate::catalog::system::{self, SystemRelation};
use crate::catalog::{Relation, Snapshot};
use crate::error::{SqlError, state};
use crate::sql::error::undefined_relation;

/// The meaning of a relation's name.
#[derive(Debug)]
pub enum Resolved<'a> {
    Relation(&'a Relation),
    System(&'static SystemRelation),
}

impl Resolved<'_> {
    pub fn full_name(&self) -> (String, String) {
        match self {
            Resolved::Relation(Relation::Topic(topic)) => (topic.schema.clone(), topic.name.clone()),
            Resolved::Relation(Relation::View(view)) => (view.schema.clone(), view.name.clone()),
            Resolved::System(relation) => (relation.schema.to_string(), relation.name.to_string()),
        }
    }
}

pub fn oid(relation: &Relation) -> u32 {
    match relation {
        Relation::Topic(topic) => topic.oid,
        Relation::View(view) => view.oid,
    }
}

/// System views of parts that this server does not have yet.
const NOT_YET: [&str; 4] = ["consumer_groups", "consumer_lag", "operators", "checkpoints"];

/// Resolves a name of one to three parts, already folded. 42P01 if there is none.
pub fn resolve<'a>(parts: &[String], ctx: &PlanContext<'a>) -> Result<Resolved<'a>, SqlError> {
    match parts {
        [name] => {
            let explicit = ctx.search_path.iter().any(|schema| schema == "pg_catalog");
            let implicit = (!explicit).then_some("pg_catalog");
            implicit
                .into_iter()
                .chain(ctx.search_path.iter().map(String::as_str))
                .find_map(|schema| in_schema(schema, name, ctx.catalog))
                .ok_or_else(|| undefined_relation(name))
        }
        [schema, name] => in_schema(schema, name, ctx.catalog).ok_or_else(|| match (schema.as_str(), name.as_str()) {
            ("millstream", name) if NOT_YET.contains(&name) => SqlError::unsupported(
                format!("the system view millstream.{name} is not there yet"),
                "Look at millstream.topics, millstream.partitions, millstream.materialized_views or millstream.sessions.",
            ),
            _ => undefined_relation(&format!("{schema}.{name}")),
        }),
        [database, schema, name] if database == ctx.database => {
            in_schema(schema, name, ctx.catalog).ok_or_else(|| undefined_relation(&format!("{schema}.{name}")))
        }
        [_, _, _] => Err(SqlError::new(
            state::FEATURE_NOT_SUPPORTED,
            format!("cross-database references are not implemented: \"{}\"", parts.join(".")),
        )),
        _ => Err(SqlError::new(
            state::SYNTAX_ERROR,
            format!("improper qualified name (too many dotted names): {}", parts.join(".")),
        )),
    }
}

fn in_schema<'a>(schema: &str, name: &str, catalog: &'a Snapshot) -> Option<Resolved<'a>> {
    if let Some(oid) = catalog.names.get(&(schema.to_string(), name.to_string())) {
        return catalog.relations.get(oid).map(Resolved::Relation);
    }
    system::lookup(schema, name).map(Resolved::System)
}
