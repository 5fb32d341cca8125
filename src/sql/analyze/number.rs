//! Numbers as they are written: INTEGER if it fits, else BIGINT, else NUMERIC of exactly those digits.

use datafusion::common::ScalarValue;
use sqlparser::ast;

use super::Result;
use super::typed::{Typed, exact_numeric, literal};
use crate::types::PgType;

/// A numeric constant.
pub fn number(text: &str, position: Option<usize>) -> Result<Typed> {
    if let Ok(value) = text.parse::<i64>() {
        return Ok(integer(value, position));
    }
    let value = exact_numeric(text).map_err(|error| super::typed::at(error, position))?;
    let pg_type = PgType::of_arrow(&value.data_type()).expect("a number is NUMERIC");
    Ok(Typed::new(literal(value, &pg_type), pg_type, position))
}

/// A whole number, of the smallest type that holds it.
pub fn integer(value: i64, position: Option<usize>) -> Typed {
    match i32::try_from(value) {
        Ok(small) => Typed::new(
            Typed::literal_of(ScalarValue::Int32(Some(small))),
            PgType::Int4,
            position,
        ),
        Err(_) => Typed::new(
            Typed::literal_of(ScalarValue::Int64(Some(value))),
            PgType::Int8,
            position,
        ),
    }
}

impl Typed {
    fn literal_of(value: ScalarValue) -> datafusion::logical_expr::Expr {
        datafusion::logical_expr::Expr::Literal(value, None)
    }
}

/// A constant as it is written: in parentheses or not, a number with its signs.
pub fn written_constant(expr: &ast::Expr) -> Option<ast::Value> {
    match expr {
        ast::Expr::Nested(inner) => written_constant(inner),
        ast::Expr::Value(value) if !matches!(value.value, ast::Value::Placeholder(_)) => Some(value.value.clone()),
        ast::Expr::UnaryOp {
            op: ast::UnaryOperator::Minus,
            expr,
        } => match written_constant(expr)? {
            ast::Value::Number(digits, long) => {
                let negated = match digits.strip_prefix('-') {
                    Some(digits) => digits.to_string(),
                    None => format!("-{digits}"),
                };
                Some(ast::Value::Number(negated, long))
            }
            _ => None,
        },
        _ => None,
    }
}
