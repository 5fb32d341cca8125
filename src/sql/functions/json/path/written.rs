//! A path's text, as PostgreSQL's output function of `jsonpath` writes it.
//!
//! One rule: what is written is read as the same path. Operands stand in parentheses where their operator binds no closer
//! than the one around them.

use std::fmt::Write;

use super::item::JsonItem;
use super::tree::{Comparison, Head, LEAVES, Path, PathArithmetic, PathNode, PathPattern, PathStep, Predicate, Sign};
use crate::types::json::write_quoted;

/// How close an operator binds: `operationPriority`.
const OR: u8 = 0;
const AND: u8 = 1;
const COMPARISON: u8 = 2;
const SUM: u8 = 3;
const PRODUCT: u8 = 4;
const UNARY: u8 = 5;
const TIGHT: u8 = 6;

impl Path {
    pub fn text(&self) -> String {
        let mut out = String::new();
        if self.strict {
            out.push_str("strict ");
        }
        write_node(&self.root, true, &mut out);
        out
    }
}

/// A sign before a number is the number's.
fn signed_number(head: &Head) -> Option<String> {
    match head {
        Head::Literal(item) => match item.as_ref() {
            JsonItem::Number(digits) => Some(digits.to_string()),
            _ => None,
        },
        Head::Sign(sign, operand) if operand.steps.is_empty() => {
            let digits = signed_number(&operand.head)?;
            let is_zero = digits.bytes().all(|byte| !(b'1'..=b'9').contains(&byte));
            Some(match sign {
                Sign::Plus => digits,
                Sign::Minus if is_zero => digits,
                Sign::Minus => match digits.strip_prefix('-') {
                    Some(positive) => positive.to_string(),
                    None => format!("-{digits}"),
                },
            })
        }
        _ => None,
    }
}

fn priority(node: &PathNode) -> u8 {
    match &node.head {
        head if signed_number(head).is_some() => TIGHT,
        Head::Arithmetic(PathArithmetic::Add | PathArithmetic::Subtract, ..) => SUM,
        Head::Arithmetic(..) => PRODUCT,
        Head::Sign(..) => UNARY,
        Head::Predicate(predicate) => priority_of(predicate),
        _ => TIGHT,
    }
}

fn priority_of(predicate: &Predicate) -> u8 {
    match predicate {
        Predicate::Or(..) => OR,
        Predicate::And(..) => AND,
        Predicate::Compare(..) | Predicate::StartsWith(..) => COMPARISON,
        Predicate::Not(_) | Predicate::IsUnknown(_) | Predicate::Exists(_) | Predicate::Like(..) => TIGHT,
    }
}

/// `brackets`: parentheses around an operator.
fn write_node(node: &PathNode, brackets: bool, out: &mut String) {
    match &node.head {
        head if signed_number(head).is_some() => {
            let digits = signed_number(head).expect("it was asked for");
            match node.steps.is_empty() {
                true => out.push_str(&digits),
                false => write!(out, "({digits})").expect("a text takes any text"),
            }
        }
        Head::Root => out.push('$'),
        Head::Current => out.push('@'),
        Head::Last => out.push_str("last"),
        Head::Literal(item) => item.write(out),
        Head::Variable(name) => {
            out.push('$');
            write_quoted(name, out);
        }
        Head::Sign(sign, operand) => bracketed(brackets, out, |out| {
            out.push(match sign {
                Sign::Plus => '+',
                Sign::Minus => '-',
            });
            write_node(operand, priority(operand) <= UNARY, out);
        }),
        Head::Arithmetic(operator, left, right) => bracketed(brackets, out, |out| {
            let own = priority(node);
            write_node(left, priority(left) <= own, out);
            write!(out, " {} ", operator.symbol()).expect("a text takes any text");
            write_node(right, priority(right) <= own, out);
        }),
        Head::Predicate(predicate) => write_predicate(predicate, brackets, out),
    }
    node.steps.iter().for_each(|step| write_step(step, out));
}

fn bracketed(brackets: bool, out: &mut String, write: impl FnOnce(&mut String)) {
    if brackets {
        out.push('(');
    }
    write(out);
    if brackets {
        out.push(')');
    }
}

fn write_predicate(predicate: &Predicate, brackets: bool, out: &mut String) {
    let own = priority_of(predicate);
    let two = |symbol: &str, left: &PathNode, right: &PathNode, out: &mut String| {
        bracketed(brackets, out, |out| {
            write_node(left, priority(left) <= own, out);
            write!(out, " {symbol} ").expect("a text takes any text");
            write_node(right, priority(right) <= own, out);
        });
    };
    match predicate {
        Predicate::And(left, right) | Predicate::Or(left, right) => bracketed(brackets, out, |out| {
            write_predicate(left, priority_of(left) <= own, out);
            out.push_str(if own == AND { " && " } else { " || " });
            write_predicate(right, priority_of(right) <= own, out);
        }),
        Predicate::Compare(comparison, left, right) => two(symbol(*comparison), left, right, out),
        Predicate::StartsWith(left, right) => two("starts with", left, right, out),
        Predicate::Not(inner) => {
            out.push('!');
            bracketed(true, out, |out| write_predicate(inner, false, out));
        }
        Predicate::IsUnknown(inner) => {
            bracketed(true, out, |out| write_predicate(inner, false, out));
            out.push_str(" is unknown");
        }
        Predicate::Exists(node) => {
            out.push_str("exists ");
            bracketed(true, out, |out| write_node(node, false, out));
        }
        Predicate::Like(node, pattern) => bracketed(brackets, out, |out| {
            write_node(node, priority(node) <= own, out);
            write_pattern(pattern, out);
        }),
    }
}

fn write_pattern(pattern: &PathPattern, out: &mut String) {
    out.push_str(" like_regex ");
    write_quoted(&pattern.text, out);
    if pattern.flags.is_empty() {
        return;
    }
    let flags = "ismxq".chars().filter(|flag| pattern.flags.contains(*flag));
    let flags: String = flags.collect();
    write!(out, " flag \"{flags}\"").expect("a text takes any text");
}

fn symbol(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Equal => "==",
        Comparison::NotEqual => "!=",
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
    }
}

fn write_step(step: &PathStep, out: &mut String) {
    match step {
        PathStep::Member(key) => {
            out.push('.');
            write_quoted(key, out);
        }
        PathStep::AnyMember => out.push_str(".*"),
        PathStep::AnyElement => out.push_str("[*]"),
        PathStep::Elements(places) => {
            out.push('[');
            for (at, (from, to)) in places.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_node(from, false, out);
                if let Some(to) = to {
                    out.push_str(" to ");
                    write_node(to, false, out);
                }
            }
            out.push(']');
        }
        PathStep::Below(first, last) => {
            out.push_str(".**");
            let level = |level: u32| match level {
                LEAVES => "last".to_string(),
                level => level.to_string(),
            };
            let written = match (*first, *last) {
                (0, LEAVES) => return,
                (first, last) if first == last => format!("{{{}}}", level(first)),
                (first, last) => format!("{{{} to {}}}", level(first), level(last)),
            };
            out.push_str(&written);
        }
        PathStep::Filter(predicate) => {
            out.push('?');
            bracketed(true, out, |out| write_predicate(predicate, false, out));
        }
        PathStep::Method(method) => {
            write!(out, ".{}()", method.name()).expect("a text takes any text");
        }
    }
}
