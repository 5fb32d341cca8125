//! The rules for a topic's definition, checked once, at CREATE.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::logical_expr::Expr;
use sqlparser::ast;

use super::compile::{CompiledExpr, RowScope, check_default_type, columns_of, is_immutable, parse_expr};
use super::literal::literal_array;
use crate::catalog::{Column, Topic};
use crate::error::{SqlError, state};
use crate::sql::analyze::Clause;
use crate::sql::functions::session::SessionInfo;
use crate::sql::plan::{PlanContext, eval, topic_schema};
use crate::sql::system_columns::is_system_column;
use crate::types::PgType;

/// Checks names, types and expressions of a definition. Its OID and schema need not be known yet.
pub fn check_create_topic(topic: &Topic, ctx: &PlanContext) -> Result<(), SqlError> {
    check_names(topic)?;
    check_watermark(topic)?;
    for name in &topic.partition_by {
        if column(topic, name).is_none() {
            return Err(SqlError::new(
                state::UNDEFINED_COLUMN,
                format!("column \"{name}\" named in partition key does not exist"),
            ));
        }
    }
    // Positions would be in the expression's own text, not in the statement's.
    let ctx = &PlanContext { text: "", ..*ctx };
    let scope = RowScope::new(topic, &topic_schema(topic, &[]));
    for column in &topic.columns {
        match (&column.default, &column.generated) {
            (Some(_), Some(_)) => {
                return Err(SqlError::new(
                    state::SYNTAX_ERROR,
                    format!(
                        "both default and generation expression specified for column \"{}\" of table \"{}\"",
                        column.name, topic.name
                    ),
                ));
            }
            (Some(text), None) => check_default(column, text, ctx)?,
            (None, Some(text)) => check_generated(topic, column, text, &scope, ctx)?,
            (None, None) => {}
        }
    }
    for check in &topic.checks {
        let parsed = parse_expr(&check.expr)?;
        refuse_queries(&parsed, "check constraint")?;
        let (_, kind) = scope.plan_in(Clause::Check, parsed, ctx)?;
        if !matches!(kind, PgType::Bool | PgType::Unknown) {
            return Err(SqlError::new(
                state::DATATYPE_MISMATCH,
                format!("argument of CHECK must be type boolean, not type {}", kind.base_name()),
            ));
        }
    }
    Ok(())
}

fn column<'a>(topic: &'a Topic, name: &str) -> Option<&'a Column> {
    topic.columns.iter().find(|column| column.name == name)
}

fn check_names(topic: &Topic) -> Result<(), SqlError> {
    let mut seen = HashSet::new();
    for column in &topic.columns {
        let name = &column.name;
        if is_system_column(name) {
            return Err(SqlError::new(
                state::DUPLICATE_COLUMN,
                format!("column name \"{name}\" conflicts with a system column name"),
            ));
        }
        if !seen.insert(name) {
            return Err(SqlError::new(
                state::DUPLICATE_COLUMN,
                format!("column \"{name}\" specified more than once"),
            ));
        }
    }
    let mut seen = HashSet::new();
    for check in &topic.checks {
        if !seen.insert(&check.name) {
            return Err(SqlError::new(
                state::DUPLICATE_OBJECT,
                format!("check constraint \"{}\" already exists", check.name),
            ));
        }
    }
    Ok(())
}

fn check_watermark(topic: &Topic) -> Result<(), SqlError> {
    let Some(watermark) = &topic.watermark else {
        return Ok(());
    };
    let name = &watermark.column;
    let Some(column) = column(topic, name) else {
        return Err(SqlError::new(
            state::UNDEFINED_COLUMN,
            format!("column \"{name}\" named in WATERMARK does not exist"),
        ));
    };
    if !matches!(column.pg_type, PgType::Timestamp | PgType::TimestampTz) {
        return Err(SqlError::new(
            state::DATATYPE_MISMATCH,
            format!(
                "the WATERMARK column \"{name}\" is of type {}",
                column.pg_type.base_name()
            ),
        )
        .hint("A watermark needs a column of type TIMESTAMP or TIMESTAMPTZ."));
    }
    if watermark.delay_us < 0 {
        return Err(SqlError::new(
            state::INVALID_PARAMETER_VALUE,
            "the delay of a watermark must not be negative",
        ));
    }
    Ok(())
}

/// 0A000 for an expression with a subquery in it.
fn refuse_queries(expr: &ast::Expr, place: &str) -> Result<(), SqlError> {
    let found = ast::visit_expressions(expr, |expr: &ast::Expr| match expr {
        ast::Expr::Subquery(_) | ast::Expr::Exists { .. } | ast::Expr::InSubquery { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    match found {
        ControlFlow::Break(()) => Err(SqlError::new(
            state::FEATURE_NOT_SUPPORTED,
            format!("cannot use subquery in {place}"),
        )),
        ControlFlow::Continue(()) => Ok(()),
    }
}

fn check_default(column: &Column, text: &str, ctx: &PlanContext) -> Result<(), SqlError> {
    let parsed = parse_expr(text)?;
    refuse_queries(&parsed, "DEFAULT expression")?;
    if literal_array(&parsed, &column.pg_type, &SessionInfo::default())?.is_some() {
        return Ok(());
    }
    let (expr, from) = RowScope::empty().plan(parsed, ctx).map_err(|error| match error.state {
        state::UNDEFINED_COLUMN | state::UNDEFINED_TABLE => SqlError::new(
            state::FEATURE_NOT_SUPPORTED,
            "cannot use column reference in DEFAULT expression",
        ),
        _ => error,
    })?;
    check_default_type(&column.name, &from, &column.pg_type)?;
    let compiled = RowScope::empty().compiled(expr.clone(), from, Some(&column.pg_type))?;
    if is_immutable(&expr) && matches!(compiled, CompiledExpr::Fixed { .. }) {
        compiled.evaluate(&eval::one_row(), &SessionInfo::default())?;
    }
    Ok(())
}

fn check_generated(
    topic: &Topic,
    column: &Column,
    text: &str,
    scope: &RowScope,
    ctx: &PlanContext,
) -> Result<(), SqlError> {
    let parsed = parse_expr(text)?;
    refuse_queries(&parsed, "column generation expression")?;
    let (expr, from): (Expr, PgType) = scope.plan_in(Clause::Generated, parsed, ctx)?;
    for name in columns_of(&expr) {
        let generated = topic
            .columns
            .iter()
            .any(|other| other.name == name && other.generated.is_some());
        if generated {
            return Err(SqlError::new(
                state::INVALID_OBJECT_DEFINITION,
                format!("cannot use generated column \"{name}\" in column generation expression"),
            )
            .detail("A generated column cannot reference another generated column."));
        }
    }
    if !is_immutable(&expr) {
        return Err(SqlError::new(
            state::INVALID_OBJECT_DEFINITION,
            "generation expression is not immutable",
        ));
    }
    check_default_type(&column.name, &from, &column.pg_type)
}
