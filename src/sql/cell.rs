//! [`Cell`]: one value of a VALUES list. Literals are kept small and apart from expressions: a large INSERT is nothing else.

use sqlparser::ast::{Expr, Ident, UnaryOperator, Value};

#[derive(Clone, Debug)]
pub enum Cell {
    Null,
    Bool(bool),
    /// Its digits, as written, and whether a minus stands before them.
    Number(String, bool),
    /// A quoted string: it has no type of its own.
    Text(String),
    /// `$n`, with n from 1.
    Parameter(usize),
    /// `DEFAULT`.
    Default,
    /// Anything else.
    Expression(Box<Expr>),
}

impl Cell {
    /// The same as the parser has it.
    pub fn to_expr(&self) -> Expr {
        match self {
            Cell::Null => Expr::value(Value::Null),
            Cell::Bool(value) => Expr::value(Value::Boolean(*value)),
            Cell::Number(digits, false) => Expr::value(Value::Number(digits.clone(), false)),
            Cell::Number(digits, true) => Expr::UnaryOp {
                op: UnaryOperator::Minus,
                expr: Box::new(Expr::value(Value::Number(digits.clone(), false))),
            },
            Cell::Text(text) => Expr::value(Value::SingleQuotedString(text.clone())),
            Cell::Parameter(number) => Expr::value(Value::Placeholder(format!("${number}"))),
            Cell::Default => Expr::Identifier(Ident::new("default")),
            Cell::Expression(expr) => expr.as_ref().clone(),
        }
    }
}

impl From<Expr> for Cell {
    fn from(expr: Expr) -> Cell {
        let value = match expr {
            Expr::Value(value) => value,
            Expr::UnaryOp {
                op: UnaryOperator::Minus,
                expr,
            } => {
                return match Cell::from(*expr) {
                    Cell::Number(digits, false) => Cell::Number(digits, true),
                    other => Cell::Expression(Box::new(Expr::UnaryOp {
                        op: UnaryOperator::Minus,
                        expr: Box::new(other.to_expr()),
                    })),
                };
            }
            Expr::Identifier(name) if name.quote_style.is_none() && name.value.eq_ignore_ascii_case("default") => {
                return Cell::Default;
            }
            other => return Cell::Expression(Box::new(other)),
        };
        match value.value {
            Value::Null => Cell::Null,
            Value::Boolean(value) => Cell::Bool(value),
            Value::Number(digits, _) => Cell::Number(digits, false),
            Value::SingleQuotedString(text) => Cell::Text(text),
            Value::Placeholder(ref name) => match parameter(name) {
                Some(number) => Cell::Parameter(number),
                None => Cell::Expression(Box::new(Expr::Value(value))),
            },
            _ => Cell::Expression(Box::new(Expr::Value(value))),
        }
    }
}

/// The number of `$n`, from 1.
pub fn parameter(name: &str) -> Option<usize> {
    let number = name.strip_prefix('$')?.parse().ok()?;
    (number > 0).then_some(number)
}
