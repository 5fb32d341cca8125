//! The values of an INSERT: literals straight into column builders, anything else through the planner.

use arrow::array::{Array, ArrayRef};
use arrow::compute;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::Expr;
use sqlparser::ast;

use super::assign::{assign, check_assignment, is_named, is_text, named};
use super::compile::RowScope;
use super::literal::{AppendedLiteral, Literal, TargetColumn, append, cell_literal, input_style, literal};
use crate::error::{SqlError, state};
use crate::sql::analyze::Clause;
use crate::sql::cell::Cell;
use crate::sql::functions::session::SessionInfo;
use crate::sql::parse;
use crate::sql::plan::{PlanContext, eval, object_names};
use crate::types::{ColumnBuilder, PgType};

/// The context that values are evaluated in.
pub(super) struct Evaluation<'a> {
    /// Types and values (arrays of length 1) of `$1`, `$2`, ...
    pub parameters: &'a [(PgType, ArrayRef)],
    pub session: &'a SessionInfo,
    pub ctx: &'a PlanContext<'a>,
}

/// Evaluates rows of expressions, cast to the targets' types: one array per target. Rows have as many values as there
/// are targets. `DEFAULT` is 42601 here: it is for `RowExprs::insert_values`.
pub fn evaluate_values(
    rows: &[Vec<Cell>],
    targets: &[TargetColumn],
    parameters: &[(PgType, ArrayRef)],
    session: &SessionInfo,
    ctx: &PlanContext,
) -> Result<Vec<ArrayRef>, SqlError> {
    let evaluation = Evaluation {
        parameters,
        session,
        ctx,
    };
    let no_default = || {
        Err(SqlError::new(
            state::SYNTAX_ERROR,
            "DEFAULT is not allowed in this context",
        ))
    };
    targets
        .iter()
        .enumerate()
        .map(|(at, target)| evaluation.column(*target, rows.iter().map(|row| &row[at]), rows.len(), &no_default))
        .collect()
}

/// Types of `$1`, `$2`, ... in rows of values: declared, else the target's where a value is just the parameter, else
/// inferred by its use in the expression, else text.
pub fn value_parameter_types(
    rows: &[Vec<Cell>],
    targets: &[TargetColumn],
    parameters: usize,
    ctx: &PlanContext,
) -> Result<Vec<PgType>, SqlError> {
    let mut types: Vec<Option<PgType>> = ctx.parameter_types.to_vec();
    types.resize(types.len().max(parameters), None);
    let is_declared = |number: usize| matches!(ctx.parameter_types.get(number - 1), Some(Some(_)));
    for row in rows {
        for (value, target) in row.iter().zip(targets) {
            let Cell::Parameter(number) = value else { continue };
            match types.get_mut(*number - 1) {
                Some(slot @ None) => *slot = Some(target.pg_type.clone()),
                Some(Some(known)) if !is_declared(*number) && known.oid() != target.pg_type.oid() => {
                    return Err(SqlError::new(
                        state::AMBIGUOUS_PARAMETER,
                        format!("inconsistent types deduced for parameter ${number}"),
                    )
                    .detail(format!(
                        "{} versus {}",
                        known.bare().name(),
                        target.pg_type.bare().name()
                    )));
                }
                _ => {}
            }
        }
    }
    for value in rows.iter().flatten() {
        let Cell::Expression(expr) = value else { continue };
        if literal(expr).is_some() {
            continue;
        }
        let ctx = PlanContext {
            parameter_types: &types,
            ..*ctx
        };
        let (expr, _) = RowScope::empty().plan(expr.as_ref().clone(), &ctx)?;
        let mut found = vec![];
        expr.apply(|node| {
            if let Expr::Placeholder(placeholder) = node
                && let Some(field) = &placeholder.field
                && let Ok(number) = placeholder.id.trim_start_matches('$').parse::<usize>()
            {
                found.push((number, PgType::of_field(field)));
            }
            Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
        })?;
        for (number, inferred) in found {
            if let Some(slot @ None) = types.get_mut(number - 1) {
                *slot = inferred;
            }
        }
    }
    Ok(types.into_iter().map(|known| known.unwrap_or(PgType::Text)).collect())
}

/// A literal with the type written behind it.
fn cast_to(literal: ast::Expr, pg_type: &PgType) -> Result<ast::Expr, SqlError> {
    let text = format!("NULL::{}", pg_type.name());
    match parse::expression(&text)? {
        ast::Expr::Cast { kind, data_type, .. } => Ok(ast::Expr::Cast {
            kind,
            expr: Box::new(literal),
            data_type,
            array: false,
            format: None,
        }),
        _ => unreachable!("the text is a cast"),
    }
}

impl Evaluation<'_> {
    /// One column of a VALUES list.
    pub fn column<'e>(
        &self,
        target: TargetColumn,
        cells: impl Iterator<Item = &'e Cell>,
        rows: usize,
        default: &dyn Fn() -> Result<ArrayRef, SqlError>,
    ) -> Result<ArrayRef, SqlError> {
        let new_builder = || ColumnBuilder::new(target.pg_type, rows).with_style(input_style(self.session));
        let mut builder: Option<ColumnBuilder> = None;
        let mut pieces: Vec<ArrayRef> = vec![];
        // The names of such values are looked up in the catalog, as an expression.
        let named = target.pg_type.item().unwrap_or(target.pg_type).is_oid_alias();
        for cell in cells {
            if !named
                && let Some(literal) = cell_literal(cell)
                && let AppendedLiteral::Yes = append(builder.get_or_insert_with(new_builder), &literal, target)?
            {
                continue;
            }
            if let Some(mut filled) = builder.take_if(|builder| !builder.is_empty()) {
                pieces.push(filled.finish());
            }
            pieces.push(match cell_literal(cell) {
                Some(Literal::Text(_)) if named => self.expression(cast_to(cell.to_expr(), target.pg_type)?, target)?,
                _ => self.value(cell, target, default)?,
            });
        }
        let last = builder.filter(|builder| pieces.is_empty() || !builder.is_empty());
        pieces.extend(last.map(|mut builder| builder.finish()));
        if let [only] = pieces.as_slice() {
            return Ok(only.clone());
        }
        let pieces: Vec<&dyn Array> = pieces.iter().map(AsRef::as_ref).collect();
        Ok(compute::concat(&pieces)?)
    }

    /// Any cell as an array of length 1.
    fn value(
        &self,
        cell: &Cell,
        target: TargetColumn,
        default: &dyn Fn() -> Result<ArrayRef, SqlError>,
    ) -> Result<ArrayRef, SqlError> {
        match cell {
            Cell::Default => default(),
            Cell::Parameter(number) => {
                let (from, value) = self.parameters.get(number - 1).ok_or_else(|| {
                    SqlError::new(state::UNDEFINED_PARAMETER, format!("there is no parameter ${number}"))
                })?;
                check_assignment(target.name, from, target.pg_type)?;
                assign(value, from, target.pg_type, &self.session.time_zone)
            }
            other => self.expression(other.to_expr(), target),
        }
    }

    /// Any expression without columns, as an array of length 1.
    fn expression(&self, expr: ast::Expr, target: TargetColumn) -> Result<ArrayRef, SqlError> {
        let types: Vec<Option<PgType>> = self.parameters.iter().map(|(kind, _)| Some(kind.clone())).collect();
        let ctx = PlanContext {
            parameter_types: &types,
            ..*self.ctx
        };
        let scope = RowScope::empty();
        let written = is_named(target.pg_type).then(|| expr.clone());
        let (expr, from) = scope.plan_in(Clause::Values, expr, &ctx)?;
        check_assignment(target.name, &from, target.pg_type)?;
        if let Some(written) = written
            && is_text(&from)
        {
            return self.expression(cast_to(written, target.pg_type)?, target);
        }
        let names = is_named(&from) && !is_named(target.pg_type);
        let bound = expr.transform_up(|node| match node {
            Expr::Placeholder(placeholder) => {
                let number: usize = placeholder.id.trim_start_matches('$').parse().unwrap_or(0);
                match number.checked_sub(1).and_then(|index| self.parameters.get(index)) {
                    Some((_, value)) => {
                        let value = ScalarValue::try_from_array(value, 0)?;
                        Ok(Transformed::yes(Expr::Literal(value, None)))
                    }
                    None => Ok(Transformed::no(Expr::Placeholder(placeholder))),
                }
            }
            other => Ok(Transformed::no(other)),
        })?;
        if names {
            let value = scope.compiled(bound.data, from.clone(), None)?;
            let value = value.evaluate(&eval::one_row(), self.session)?;
            let names = object_names(self.ctx);
            let (value, from) = named(&value, &from, target.pg_type, Some(&names))?;
            return assign(&value, &from, target.pg_type, &self.session.time_zone);
        }
        let compiled = scope.compiled(bound.data, from, Some(target.pg_type))?;
        let value = compiled.evaluate(&eval::one_row(), self.session)?;
        assert_eq!(value.len(), 1, "one row in, one value out");
        Ok(value)
    }
}
