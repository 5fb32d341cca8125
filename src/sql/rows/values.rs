//! The values of an INSERT: literals straight into column builders, anything else through the planner.

use arrow::array::{Array, ArrayRef};
use arrow::compute;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::Expr;
use sqlparser::ast::{self, UnaryOperator, Value};

use super::assign::{assign, check_assignment};
use super::compile::Scope;
use crate::error::{SqlError, state};
use crate::sql::analyze::time_modifier;
use crate::sql::cell::Cell;
use crate::sql::error::out_of_range;
use crate::sql::functions::session::SessionInfo;
use crate::sql::functions::zone;
use crate::sql::plan::{PlanContext, eval};
use crate::types::{ColumnBuilder, InputStyle, PgType};

/// The column that a value goes to.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    pub name: &'a str,
    pub pg_type: &'a PgType,
}

/// What values are evaluated with.
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
    targets: &[Target],
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
    targets: &[Target],
    parameters: usize,
    ctx: &PlanContext,
) -> Result<Vec<PgType>, SqlError> {
    let mut types: Vec<Option<PgType>> = ctx.parameter_types.to_vec();
    types.resize(types.len().max(parameters), None);
    for row in rows {
        for (value, target) in row.iter().zip(targets) {
            if let Cell::Parameter(number) = value
                && let Some(slot @ None) = types.get_mut(*number - 1)
            {
                *slot = Some(target.pg_type.clone());
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
        let (expr, _) = Scope::empty().plan(expr.as_ref().clone(), &ctx)?;
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

/// A literal as it stands in the statement.
enum Literal<'a> {
    Null,
    /// A quoted string: it has no type of its own.
    Text(&'a str),
    /// A number, its sign apart.
    Number(&'a str, bool),
    Bool(bool),
    /// `DATE '...'`, `'...'::date`: text with a type.
    Typed(&'a str, PgType),
}

/// The literal of a cell; `None` for a parameter, a default, or what needs the planner.
fn cell_literal(cell: &Cell) -> Option<Literal<'_>> {
    match cell {
        Cell::Null => Some(Literal::Null),
        Cell::Bool(value) => Some(Literal::Bool(*value)),
        Cell::Number(digits, negative) => Some(Literal::Number(digits, *negative)),
        Cell::Text(text) => Some(Literal::Text(text)),
        Cell::Expression(expr) => literal(expr),
        Cell::Parameter(_) | Cell::Default => None,
    }
}

fn literal(expr: &ast::Expr) -> Option<Literal<'_>> {
    match expr {
        ast::Expr::Nested(inner) => literal(inner),
        ast::Expr::Value(value) => match &value.value {
            Value::Null => Some(Literal::Null),
            Value::Boolean(value) => Some(Literal::Bool(*value)),
            Value::Number(digits, _) => Some(Literal::Number(digits, false)),
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(Literal::Text(text)),
            Value::DollarQuotedString(quoted) => Some(Literal::Text(&quoted.value)),
            _ => None,
        },
        ast::Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => match literal(expr)? {
            Literal::Number(digits, false) => Some(Literal::Number(digits, true)),
            _ => None,
        },
        ast::Expr::TypedString(typed) => {
            let Value::SingleQuotedString(text) = &typed.value.value else {
                return None;
            };
            if !time_modifier(&typed.data_type).is_none() {
                return None;
            }
            Some(Literal::Typed(
                text,
                PgType::parse(&typed.data_type.to_string().to_lowercase())?,
            ))
        }
        ast::Expr::Cast {
            expr,
            data_type,
            array: false,
            format: None,
            ..
        } if time_modifier(data_type).is_none() => match literal(expr)? {
            Literal::Text(text) => Some(Literal::Typed(
                text,
                PgType::parse(&data_type.to_string().to_lowercase())?,
            )),
            _ => None,
        },
        _ => None,
    }
}

/// Whether rows hold literals, parameters and defaults alone: nothing that must be planned.
pub fn are_literals(rows: &[Vec<Cell>]) -> bool {
    let mut cells = rows.iter().flatten();
    cells.all(|cell| matches!(cell, Cell::Parameter(_) | Cell::Default) || cell_literal(cell).is_some())
}

/// What appending a literal came to.
enum AppendedLiteral {
    Yes,
    /// It needs the planner: rounding, or a cast that the builder does not know.
    No,
}

fn append(builder: &mut ColumnBuilder, literal: &Literal, target: Target) -> Result<AppendedLiteral, SqlError> {
    match literal {
        Literal::Null => builder.append_null(),
        Literal::Text(text) => builder.append_text(text)?,
        Literal::Typed(text, kind) if kind == target.pg_type => builder.append_text(text)?,
        Literal::Typed(..) => return Ok(AppendedLiteral::No),
        Literal::Bool(value) => match target.pg_type {
            PgType::Bool | PgType::Text => builder.append_text(if *value { "true" } else { "false" })?,
            _ => return Ok(AppendedLiteral::No),
        },
        Literal::Number(digits, negative) => {
            let plain = digits.bytes().all(|digit| digit.is_ascii_digit());
            let direct = match target.pg_type {
                PgType::Int2 | PgType::Int4 | PgType::Int8 => plain,
                PgType::Float4 | PgType::Float8 => true,
                PgType::Numeric(_) => !digits.contains(['_', 'x', 'o', 'b']),
                _ => false,
            };
            if !direct {
                return Ok(AppendedLiteral::No);
            }
            let appended = match negative {
                true => builder.append_text(&format!("-{digits}")),
                false => builder.append_text(digits),
            };
            // The number is one already: what fails is its assignment, not its syntax.
            appended.map_err(|error| match (error.state, target.pg_type) {
                (state::NUMERIC_VALUE_OUT_OF_RANGE, PgType::Numeric(_)) => error,
                (state::NUMERIC_VALUE_OUT_OF_RANGE, kind) => out_of_range(kind.base_name()),
                _ => error,
            })?;
        }
    }
    Ok(AppendedLiteral::Yes)
}

/// The value of a literal as an array of length 1; `None` if it is no literal, or needs the planner.
pub(super) fn literal_array(
    expr: &ast::Expr,
    pg_type: &PgType,
    session: &SessionInfo,
) -> Result<Option<ArrayRef>, SqlError> {
    let Some(literal) = literal(expr) else { return Ok(None) };
    let mut builder = ColumnBuilder::new(pg_type, 1).with_style(input_style(session));
    match append(&mut builder, &literal, Target { name: "", pg_type })? {
        AppendedLiteral::Yes => Ok(Some(builder.finish())),
        AppendedLiteral::No => Ok(None),
    }
}

/// A column of literals, if its rows are only that and mean the same at any time. What is wrong with one is said when
/// the statement runs.
pub(super) fn constant<'e>(
    target: Target,
    cells: impl Iterator<Item = &'e Cell>,
    rows: usize,
    session: &SessionInfo,
) -> Option<ArrayRef> {
    // Without a clock 'now' and 'today' are errors.
    let style = InputStyle {
        now_us: None,
        ..input_style(session)
    };
    let mut builder = ColumnBuilder::new(target.pg_type, rows).with_style(style);
    for cell in cells {
        match append(&mut builder, &cell_literal(cell)?, target) {
            Ok(AppendedLiteral::Yes) => {}
            Ok(AppendedLiteral::No) | Err(_) => return None,
        }
    }
    Some(builder.finish())
}

fn input_style(session: &SessionInfo) -> InputStyle {
    InputStyle {
        time_zone: zone::parse(&session.time_zone).unwrap_or(chrono_tz::Tz::UTC),
        now_us: Some(session.now_us),
        ..InputStyle::default()
    }
}

impl Evaluation<'_> {
    /// One column of a VALUES list.
    pub fn column<'e>(
        &self,
        target: Target,
        cells: impl Iterator<Item = &'e Cell>,
        rows: usize,
        default: &dyn Fn() -> Result<ArrayRef, SqlError>,
    ) -> Result<ArrayRef, SqlError> {
        let new_builder = || ColumnBuilder::new(target.pg_type, rows).with_style(input_style(self.session));
        let mut builder: Option<ColumnBuilder> = None;
        let mut pieces: Vec<ArrayRef> = vec![];
        for cell in cells {
            if let Some(literal) = cell_literal(cell)
                && let AppendedLiteral::Yes = append(builder.get_or_insert_with(new_builder), &literal, target)?
            {
                continue;
            }
            if let Some(mut filled) = builder.take_if(|builder| !builder.is_empty()) {
                pieces.push(filled.finish());
            }
            pieces.push(self.value(cell, target, default)?);
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
        target: Target,
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
    fn expression(&self, expr: ast::Expr, target: Target) -> Result<ArrayRef, SqlError> {
        let types: Vec<Option<PgType>> = self.parameters.iter().map(|(kind, _)| Some(kind.clone())).collect();
        let ctx = PlanContext {
            parameter_types: &types,
            ..*self.ctx
        };
        let scope = Scope::empty();
        let (expr, from) = scope.plan(expr, &ctx)?;
        check_assignment(target.name, &from, target.pg_type)?;
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
        let compiled = scope.compiled(bound.data, from, Some(target.pg_type))?;
        let value = compiled.evaluate(&eval::one_row(), self.session)?;
        assert_eq!(value.len(), 1, "one row in, one value out");
        Ok(value)
    }
}
