//! A topic's expressions when its columns change, and the value of a new column in older rows.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use sqlparser::ast::{self, visit_expressions_mut};

use super::RowExprs;
use super::compile::{RowScope, columns_of, parse_expr};
use crate::catalog::{Column, Topic};
use crate::error::{SqlError, state};
use crate::sql::functions::session::SessionInfo;
use crate::sql::plan::{PlanContext, topic_schema};

/// Columns that an expression of a topic reads.
pub fn columns_in(topic: &Topic, text: &str, ctx: &PlanContext) -> Result<Vec<String>, SqlError> {
    let scope = RowScope::new(topic, &topic_schema(topic, &[]));
    let (expr, _) = scope.plan(parse_expr(text)?, ctx)?;
    Ok(columns_of(&expr))
}

/// An expression over one topic with a column renamed.
pub fn rename_column(text: &str, from: &str, to: &str) -> Result<String, SqlError> {
    let mut expr = parse_expr(text)?;
    let rename = |ident: &mut ast::Ident| {
        let name = match ident.quote_style {
            Some(_) => ident.value.clone(),
            None => ident.value.to_lowercase(),
        };
        if name == from {
            *ident = ast::Ident::with_quote('"', to);
        }
    };
    let _ = visit_expressions_mut(&mut expr, |node| {
        match node {
            ast::Expr::Identifier(ident) => rename(ident),
            // The last part names the column, those before it the topic.
            ast::Expr::CompoundIdentifier(parts) => parts.last_mut().into_iter().for_each(rename),
            _ => {}
        }
        ControlFlow::<()>::Continue(())
    });
    Ok(expr.to_string())
}

/// Checks a column that is added to `topic` (which has it already, in last place), and gives its value in older rows:
/// its default as of now. `None`: NULL.
pub fn added_value(topic: &Topic, session: &SessionInfo, ctx: &PlanContext) -> Result<Option<ArrayRef>, SqlError> {
    super::check_create_topic(topic, ctx)?;
    let column = topic.columns.last().expect("a column was added");
    let Some(default) = &column.default else {
        return Ok(None);
    };
    let (expr, _) = RowScope::empty().plan(parse_expr(default)?, ctx)?;
    if expr.is_volatile() {
        return Err(SqlError::unsupported(
            format!("a volatile DEFAULT of an added column is not supported: {default}"),
            "Rows that are there would each need a value of their own: add the column with a constant DEFAULT.",
        ));
    }
    let alone = Topic {
        columns: vec![column.clone()],
        checks: Vec::new(),
        partition_by: Vec::new(),
        watermark: None,
        ..topic.clone()
    };
    let value = RowExprs::compile(&Arc::new(alone))?.default_column(0, 1, session)?;
    Ok(value.is_valid(0).then_some(value))
}

/// The error for a column that would be NULL in older rows, though it is NOT NULL.
pub fn contains_nulls(topic: &Topic, column: &Column) -> SqlError {
    SqlError::new(
        state::NOT_NULL_VIOLATION,
        format!(
            "column \"{}\" of relation \"{}\" contains null values",
            column.name, topic.name
        ),
    )
    .hint("Give it a DEFAULT, which the rows that are there get, too.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renamed_column_is_renamed_in_expressions() {
        let renamed = |text| rename_column(text, "a", "New").expect("it parses");
        assert_eq!(renamed("A > 0 AND \"a\" < b"), "\"New\" > 0 AND \"New\" < b");
        assert_eq!(renamed("t.a + length('a')"), "t.\"New\" + length('a')");
        assert_eq!(renamed("\"A\" = 1"), "\"A\" = 1");
        assert_eq!(
            renamed("CASE WHEN a IS NULL THEN 0 ELSE coalesce(a, 1) END"),
            "CASE WHEN \"New\" IS NULL THEN 0 ELSE coalesce(\"New\", 1) END"
        );
    }
}
