//! [`PlanContext`]: the context that a statement's meaning depends on besides its text.
//!
//! One rule: a statement that is planned in an equal context has the same plan.

use std::sync::Arc;

use crate::catalog::Snapshot;
use crate::sql::functions::catalog::Facts;
use crate::types::PgType;

/// The context that a statement's meaning depends on, besides its text.
#[derive(Clone, Copy)]
pub struct PlanContext<'a> {
    pub catalog: &'a Snapshot,
    pub search_path: &'a [String],
    /// The search path of catalog functions: what `pg_table_is_visible` goes by.
    pub functions_path: &'a [String],
    pub time_zone: &'a str,
    pub user: &'a str,
    pub database: &'a str,
    /// Types of `$1`, `$2`, ... where the client declared them.
    pub parameter_types: &'a [Option<PgType>],
    /// The statement's text, for the positions of errors; may be empty.
    pub text: &'a str,
}

/// The facts that catalog functions answer from.
pub(in crate::sql) fn catalog_facts(ctx: &PlanContext) -> Facts {
    Facts::new(
        Arc::new(ctx.catalog.clone()),
        ctx.functions_path,
        ctx.user,
        ctx.database,
    )
}
