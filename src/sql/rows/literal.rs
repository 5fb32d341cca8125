//! Literals of an INSERT, straight into column builders.
//!
//! One rule: a literal is appended as an assignment of it would be, or left to the planner. Not here: other values (`values.rs`).

use arrow::array::ArrayRef;
use sqlparser::ast::{self, UnaryOperator, Value};

use crate::error::{SqlError, state};
use crate::sql::analyze::time_modifier;
use crate::sql::cell::Cell;
use crate::sql::error::out_of_range;
use crate::sql::functions::session::SessionInfo;
use crate::types::{ColumnBuilder, InputStyle, PgType, TimeZone};

/// The column that a value goes to.
#[derive(Clone, Copy, Debug)]
pub struct TargetColumn<'a> {
    pub name: &'a str,
    pub pg_type: &'a PgType,
}

/// A literal as it stands in the statement.
pub enum Literal<'a> {
    Null,
    /// A quoted string: it has no type of its own.
    Text(&'a str),
    /// A number, its sign apart.
    Number(&'a str, bool),
    Bool(bool),
    /// `DATE '...'`, `'...'::date`: text with a type.
    Typed(&'a str, PgType),
}

/// The literal of a cell; `None` for a parameter, a default, or an expression for the planner.
pub fn cell_literal(cell: &Cell) -> Option<Literal<'_>> {
    match cell {
        Cell::Null => Some(Literal::Null),
        Cell::Bool(value) => Some(Literal::Bool(*value)),
        Cell::Number(digits, negative) => Some(Literal::Number(digits, *negative)),
        Cell::Text(text) => Some(Literal::Text(text)),
        Cell::Expression(expr) => literal(expr),
        Cell::Parameter(_) | Cell::Default => None,
    }
}

pub fn literal(expr: &ast::Expr) -> Option<Literal<'_>> {
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

/// The result of appending a literal.
pub enum AppendedLiteral {
    Yes,
    /// It needs the planner: rounding, or a cast that the builder does not know.
    No,
}

pub fn append(
    builder: &mut ColumnBuilder,
    literal: &Literal,
    target: TargetColumn,
) -> Result<AppendedLiteral, SqlError> {
    match literal {
        Literal::Null => builder.append_null(),
        Literal::Text(text) => builder.append_text(text)?,
        // A cast that is written cuts what is too long.
        Literal::Typed(_, kind)
            if matches!(kind.item().unwrap_or(kind), PgType::Varchar(Some(_)) | PgType::Char(_)) =>
        {
            return Ok(AppendedLiteral::No);
        }
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
            // The text is a number already: its assignment fails, not its syntax.
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
pub fn literal_array(expr: &ast::Expr, pg_type: &PgType, session: &SessionInfo) -> Result<Option<ArrayRef>, SqlError> {
    let Some(literal) = literal(expr) else { return Ok(None) };
    let mut builder = ColumnBuilder::new(pg_type, 1).with_style(input_style(session));
    match append(&mut builder, &literal, TargetColumn { name: "", pg_type })? {
        AppendedLiteral::Yes => Ok(Some(builder.finish())),
        AppendedLiteral::No => Ok(None),
    }
}

/// A column of literals, if its rows are only that and mean the same at any time. An error in one is reported when
/// the statement runs.
pub fn constant<'e>(
    target: TargetColumn,
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

pub fn input_style(session: &SessionInfo) -> InputStyle {
    InputStyle {
        time_zone: TimeZone::of_setting(&session.time_zone),
        now_us: Some(session.now_us),
        ..InputStyle::default()
    }
}
