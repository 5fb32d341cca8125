//! Operators: the one that a symbol means between two operands, and the expression that computes it.

use datafusion::common::ScalarValue;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::expr::{BinaryExpr, Like, ScalarFunction};
use datafusion::logical_expr::{Expr, Operator, Volatility};

use super::choose::{self, NoChoice};
use super::kinds;
use super::typed::{Typed, at};
use super::{Analyzer, Result};
use crate::error::{SqlError, state};
use crate::sql::functions::growth;
use crate::sql::functions::operator::ArithmeticOperator;
use crate::sql::functions::{KeyKind, arithmetic, casts};
use crate::types::PgType;

/// Numbers are compared by keys if one of them has a scale of its own.
fn same_numbers(left: Typed, right: Typed) -> (Typed, Typed) {
    let is_varying = |typed: &Typed| typed.pg_type() == PgType::Numeric(None);
    if !is_varying(&left) && !is_varying(&right) {
        return (left, right);
    }
    let key = |typed: Typed| {
        let expr = KeyKind::Numeric.function().call(vec![typed.expr]);
        Typed::new(expr, PgType::Bytea, typed.position)
    };
    (key(left), key(right))
}

/// The plan's operator for a comparison.
pub fn comparison(symbol: &str) -> Option<Operator> {
    Some(match symbol {
        "=" => Operator::Eq,
        "<>" | "!=" => Operator::NotEq,
        "<" => Operator::Lt,
        "<=" => Operator::LtEq,
        ">" => Operator::Gt,
        ">=" => Operator::GtEq,
        "IS DISTINCT FROM" => Operator::IsDistinctFrom,
        "IS NOT DISTINCT FROM" => Operator::IsNotDistinctFrom,
        _ => return None,
    })
}

fn arithmetic_operator(symbol: &str) -> Option<ArithmeticOperator> {
    ArithmeticOperator::ALL
        .into_iter()
        .find(|operator| operator.symbol() == symbol)
}

impl Analyzer<'_> {
    /// `left symbol right`
    pub fn binary(&self, symbol: &str, left: Typed, right: Typed, place: Option<usize>) -> Result<Typed> {
        if left.fields().is_some()
            || right.fields().is_some()
            || (symbol == "||" && (left.has_rows() || right.has_rows()))
        {
            return self.compare_rows(symbol, left, right, place);
        }
        let (left, right) = self.unpack_vectors(left, right)?;
        let looked_up = match symbol {
            "!=" => "<>",
            "IS DISTINCT FROM" | "IS NOT DISTINCT FROM" => "=",
            known => known,
        };
        let begins = left.position;
        let chosen = choose::binary(looked_up, left.oid(), right.oid())
            .map_err(|failure| undefined(failure, looked_up, Some(&left), &right, place))?;
        if chosen.is_lacking {
            return Err(at(not_yet_operator(symbol, &left, &right), place));
        }
        let (left, right) = (self.operand(left, chosen.left)?, self.operand(right, chosen.right)?);
        let typed = self.compute(symbol, left, right, chosen.result)?;
        Ok(Typed {
            position: begins,
            ..typed
        })
    }

    /// An operand as its operator takes it.
    pub fn operand(&self, typed: Typed, wanted: u32) -> Result<Typed> {
        if kinds::is_polymorphic(wanted) || wanted == typed.oid() {
            return self.settle(typed);
        }
        match PgType::from_oid(wanted) {
            Some(wanted) => self.coerce(typed, &wanted),
            None => self.settle(typed),
        }
    }

    fn compute(&self, symbol: &str, left: Typed, right: Typed, result: u32) -> Result<Typed> {
        let position = left.position;
        let result = PgType::from_oid(result).unwrap_or(PgType::Text);
        let json = matches!(left.pg_type(), PgType::Json | PgType::Jsonb);
        if let Some(operator) = comparison(symbol) {
            if matches!(left.pg_type(), PgType::Jsonb) {
                return self.compare_jsonb(operator, left, right);
            }
            let (left, right) = self.same_clock(left, right)?;
            let (left, right) = self.both_bare(left, right);
            let (left, right) = same_numbers(left, right);
            let (left, right) = self.same_form(left, right);
            return Ok(Typed::boolean(binary(left.expr, operator, right.expr), position));
        }
        if json && let Some(function) = self.json_operator(symbol) {
            return self.call_of(function, vec![left, right], &result, position);
        }
        let is_bits = |typed: &Typed| matches!(typed.pg_type(), PgType::Int2 | PgType::Int4 | PgType::Int8);
        if let Some(operator) = arithmetic_operator(symbol) {
            return self.call_of(arithmetic::function(operator), vec![left, right], &result, position);
        }
        // A pattern sees the blanks of a CHAR(n).
        let left = match symbol {
            "~~" | "!~~" | "~~*" | "!~~*" | "~" | "!~" | "~*" | "!~*" => self.padded(left)?,
            _ => left,
        };
        let like = |negated: bool, case_insensitive: bool, left: Typed, right: Typed| {
            Expr::Like(Like::new(
                negated,
                Box::new(left.expr),
                Box::new(right.expr),
                None,
                case_insensitive,
            ))
        };
        let expr = match symbol {
            "||" if matches!(result, PgType::Text) => {
                let (left, right) = (self.as_text(left)?, self.as_text(right)?);
                let call = ScalarFunction::new_udf(growth::concatenation(), vec![left.expr, right.expr]);
                Expr::ScalarFunction(call)
            }
            "||" if result.item().is_some() => return self.concatenate_arrays(left, right, position),
            "||" => binary(left.expr, Operator::StringConcat, right.expr),
            "~" => binary(left.expr, Operator::RegexMatch, right.expr),
            "~*" => binary(left.expr, Operator::RegexIMatch, right.expr),
            "!~" => binary(left.expr, Operator::RegexNotMatch, right.expr),
            "!~*" => binary(left.expr, Operator::RegexNotIMatch, right.expr),
            "~~" | "!~~" if left.pg_type() == PgType::Bytea => {
                let name = if symbol == "~~" { "bytealike" } else { "byteanlike" };
                let function = self.scalar(name).expect("it is a function of ours");
                return self.call_of(function, vec![left, right], &result, position);
            }
            "~~" => like(false, false, left, right),
            "!~~" => like(true, false, left, right),
            "~~*" => like(false, true, left, right),
            "!~~*" => like(true, true, left, right),
            "&" if is_bits(&left) => binary(left.expr, Operator::BitwiseAnd, right.expr),
            "|" if is_bits(&left) => binary(left.expr, Operator::BitwiseOr, right.expr),
            "#" if is_bits(&left) => {
                let (left, right) = (self.coerce(left, &PgType::Int8)?, self.coerce(right, &PgType::Int8)?);
                let function = self.scalar("int8xor").expect("it is a function of ours");
                return self.call_of(function, vec![left, right], &result, position);
            }
            "<<" if is_bits(&left) => binary(left.expr, Operator::BitwiseShiftLeft, right.expr),
            ">>" if is_bits(&left) => binary(left.expr, Operator::BitwiseShiftRight, right.expr),
            "~<~" => binary(left.expr, Operator::Lt, right.expr),
            "~<=~" => binary(left.expr, Operator::LtEq, right.expr),
            "~>~" => binary(left.expr, Operator::Gt, right.expr),
            "~>=~" => binary(left.expr, Operator::GtEq, right.expr),
            _ => {
                let name = match symbol {
                    "^" => "power",
                    "^@" => "starts_with",
                    "&&" => "array_overlap",
                    "@>" => "array_contains_all",
                    "<@" => "array_contained",
                    other => other,
                };
                return match self.scalar(name) {
                    Some(function) => self.call_of(function, vec![left, right], &result, position),
                    None => Err(not_yet_operator(symbol, &left, &right)),
                };
            }
        };
        Ok(Typed::new(expr, result, position))
    }

    /// JSONB has an order of its own.
    fn compare_jsonb(&self, operator: Operator, left: Typed, right: Typed) -> Result<Typed> {
        let position = left.position;
        if matches!(operator, Operator::IsDistinctFrom | Operator::IsNotDistinctFrom) {
            return Ok(Typed::boolean(binary(left.expr, operator, right.expr), position));
        }
        let function = self.scalar("jsonb_compare").expect("it is a function of ours");
        let order = self.call_of(function, vec![left, right], &PgType::Int4, position)?;
        let zero = super::number::integer(0, position);
        Ok(Typed::boolean(binary(order.expr, operator, zero.expr), position))
    }

    /// Dates and times are compared as the one that says most: a date is its midnight, in the session's time zone beside an
    /// instant.
    fn same_clock(&self, left: Typed, right: Typed) -> Result<(Typed, Typed)> {
        let rank = |typed: &Typed| match typed.oid() {
            kinds::DATE => 1,
            kinds::TIMESTAMP => 2,
            kinds::TIMESTAMPTZ => 3,
            _ => 0,
        };
        let (first, second) = (rank(&left), rank(&right));
        if first == 0 || second == 0 || first == second {
            return Ok((left, right));
        }
        match first > second {
            true => {
                let wanted = left.pg_type();
                Ok((left, self.coerce(right, &wanted)?))
            }
            false => {
                let wanted = right.pg_type();
                Ok((self.coerce(left, &wanted)?, right))
            }
        }
    }

    /// `symbol operand`
    pub fn prefix(&self, symbol: &str, operand: Typed, place: Option<usize>) -> Result<Typed> {
        let chosen = choose::prefix(symbol, operand.oid())
            .map_err(|failure| undefined(failure, symbol, None, &operand, place))?;
        if chosen.is_lacking {
            return Err(at(not_yet_prefix(symbol, &operand), place));
        }
        let operand = self.operand(operand, chosen.right)?;
        let result = match operand.pg_type() {
            // Its digits stay.
            numeric @ PgType::Numeric(_) if chosen.result == kinds::NUMERIC => numeric,
            _ => PgType::from_oid(chosen.result).expect("an operator's result is a type"),
        };
        let expr = match symbol {
            "-" => casts::negation().call(vec![operand.expr]),
            "+" => operand.expr,
            _ => {
                let name = match symbol {
                    "@" => "abs",
                    "~" => "bit_not",
                    "|/" => "sqrt",
                    "||/" => "cbrt",
                    other => other,
                };
                let Some(function) = self.scalar(name) else {
                    return Err(not_yet_prefix(symbol, &operand));
                };
                return self.call_of(function, vec![operand], &result, place);
            }
        };
        Ok(Typed::new(expr, result, place))
    }

    /// A value as PostgreSQL's `||` puts it beside a text.
    fn as_text(&self, typed: Typed) -> Result<Typed> {
        match typed.oid() {
            kinds::BPCHAR => Ok(self.bare(typed)),
            kinds::TEXT | kinds::VARCHAR | kinds::NAME => Ok(typed),
            _ => self.cast(typed, &PgType::Text, kinds::CastContext::Assignment),
        }
    }

    fn concatenate_arrays(&self, left: Typed, right: Typed, position: Option<usize>) -> Result<Typed> {
        let is_array = |typed: &Typed| typed.pg_type().item().is_some();
        let (name, given) = match (is_array(&left), is_array(&right)) {
            (true, true) => ("array_cat", vec![left, right]),
            (true, false) => ("array_append", vec![left, right]),
            _ => ("array_prepend", vec![left, right]),
        };
        self.named_call(name, given, position)
    }

    fn json_operator(&self, symbol: &str) -> Option<std::sync::Arc<datafusion::logical_expr::ScalarUDF>> {
        crate::sql::functions::json_operator(symbol)
    }
}

fn not_yet_prefix(symbol: &str, operand: &Typed) -> SqlError {
    SqlError::unsupported(
        format!("operator {symbol} {} is not supported", operand.type_name()),
        "Use a function in its place.",
    )
}

pub fn not_yet_operator(symbol: &str, left: &Typed, right: &Typed) -> SqlError {
    SqlError::unsupported(
        format!(
            "operator {} {symbol} {} is not supported",
            left.type_name(),
            right.type_name()
        ),
        "Use a function in its place.",
    )
}

pub fn binary(left: Expr, op: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
}

pub fn conjunction(conditions: impl IntoIterator<Item = Expr>) -> Option<Expr> {
    conditions
        .into_iter()
        .reduce(|left, right| binary(left, Operator::And, right))
}

pub fn truth(value: Option<bool>) -> Expr {
    Expr::Literal(ScalarValue::Boolean(value), None)
}

/// 42883 for an operator that takes no such operands, 42725 where several do.
pub fn undefined(
    failure: NoChoice,
    symbol: &str,
    left: Option<&Typed>,
    right: &Typed,
    place: Option<usize>,
) -> SqlError {
    let left = left.map_or(String::new(), |left| format!("{} ", left.type_name()));
    let operation = format!("{left}{symbol} {}", right.type_name());
    let error = match failure {
        NoChoice::Ambiguous => SqlError::new(
            state::AMBIGUOUS_FUNCTION,
            format!("operator is not unique: {operation}"),
        )
        .hint("Could not choose a best candidate operator. You might need to add explicit type casts."),
        NoChoice::None | NoChoice::Undetermined => SqlError::new(
            state::UNDEFINED_FUNCTION,
            format!("operator does not exist: {operation}"),
        )
        .hint("No operator matches the given name and argument types. You might need to add explicit type casts."),
    };
    at(error, place)
}

/// Whether an expression has a node of a kind in it.
pub fn has(expr: &Expr, is: impl Fn(&Expr) -> bool) -> bool {
    expr.exists(|node| Ok(is(node))).unwrap_or(false)
}

/// Whether an expression without columns has its value only when the query runs.
pub fn is_later(expr: &Expr) -> bool {
    has(expr, |node| match node {
        Expr::Placeholder(_)
        | Expr::ScalarSubquery(_)
        | Expr::Exists(_)
        | Expr::InSubquery(_)
        | Expr::SetComparison(_)
        | Expr::OuterReferenceColumn(..) => true,
        Expr::ScalarFunction(call) => call.func.signature().volatility != Volatility::Immutable,
        _ => false,
    })
}
