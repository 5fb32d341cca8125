//! The binary arithmetic operators, and the types that they work on.
//!
//! One rule: an operator is known by its symbol alone. Not here: the choice of the types (`arithmetic.rs`, `temporal.rs`).

use arrow::datatypes::DataType;

/// A binary arithmetic operator.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ArithmeticOperator {
    Plus,
    Minus,
    Multiply,
    Divide,
    Modulo,
}

impl ArithmeticOperator {
    pub const ALL: [ArithmeticOperator; 5] = [
        ArithmeticOperator::Plus,
        ArithmeticOperator::Minus,
        ArithmeticOperator::Multiply,
        ArithmeticOperator::Divide,
        ArithmeticOperator::Modulo,
    ];

    pub fn symbol(self) -> &'static str {
        match self {
            ArithmeticOperator::Plus => "+",
            ArithmeticOperator::Minus => "-",
            ArithmeticOperator::Multiply => "*",
            ArithmeticOperator::Divide => "/",
            ArithmeticOperator::Modulo => "%",
        }
    }
}

/// The types that an operator works on, and the type of its result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operands {
    pub left: DataType,
    pub right: DataType,
    pub result: DataType,
}
