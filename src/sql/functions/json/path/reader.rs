//! Reads the steps of a path: members, elements, levels below, filters, methods.

use super::lexer::PathToken;
use super::parser::Parser;
use super::tree::{LEAVES, Method, PathNode, PathStep};
use crate::error::{SqlError, state};

impl Parser<'_> {
    pub fn at_step(&self) -> bool {
        matches!(self.next.token, PathToken::Sign("." | "[" | "?"))
    }

    pub fn steps(&mut self, node: &mut PathNode) -> Result<(), SqlError> {
        while self.at_step() {
            let (step, depth) = self.step()?;
            node.depth = self.check_depth(node.depth.max(depth + 1))?;
            node.steps.push(step);
            self.check_depth(node.steps.len())?;
        }
        Ok(())
    }

    /// A step, and the depth of its content.
    fn step(&mut self) -> Result<(PathStep, usize), SqlError> {
        if self.takes("?")? {
            self.expect("(")?;
            self.filters += 1;
            let (predicate, depth) = self.predicate()?;
            self.filters -= 1;
            self.expect(")")?;
            return Ok((PathStep::Filter(predicate), depth));
        }
        if self.takes("[")? {
            return self.elements();
        }
        self.expect(".")?;
        if self.takes("*")? {
            return Ok((PathStep::AnyMember, 0));
        }
        if self.takes("**")? {
            return Ok((self.below()?, 0));
        }
        let key = match &self.next.token {
            PathToken::Text(text) => {
                let text = text.clone();
                self.advance()?;
                return Ok((PathStep::Member(text), 0));
            }
            PathToken::Name(name) => name.clone(),
            _ => return Err(self.unexpected()),
        };
        let keyword = self.keyword().unwrap_or_default();
        self.advance()?;
        if !self.is_sign("(") {
            return Ok((PathStep::Member(key), 0));
        }
        let method = Method::ALL.into_iter().find(|method| method.name() == keyword);
        match method {
            Some(method) => {
                self.advance()?;
                self.expect(")")?;
                Ok((PathStep::Method(method), 0))
            }
            None if keyword == "datetime" => Err(SqlError::unsupported(
                "jsonpath item method .datetime() is not supported",
                "Cast the value to a date or timestamp.",
            )),
            None => Err(self.unexpected()),
        }
    }

    fn elements(&mut self) -> Result<(PathStep, usize), SqlError> {
        if self.takes("*")? {
            self.expect("]")?;
            return Ok((PathStep::AnyElement, 0));
        }
        self.depth = self.check_depth(self.depth + 1)?;
        self.subscripts += 1;
        let (mut places, mut depth) = (Vec::new(), 0);
        loop {
            let from = self.sum()?;
            let from = self.node_of(from)?;
            let to = match self.is_keyword("to") {
                true => {
                    self.advance()?;
                    let to = self.sum()?;
                    Some(self.node_of(to)?)
                }
                false => None,
            };
            depth = depth.max(from.depth).max(to.as_ref().map_or(0, |to| to.depth));
            places.push((from, to));
            if !self.takes(",")? {
                break;
            }
        }
        self.subscripts -= 1;
        self.depth -= 1;
        self.expect("]")?;
        Ok((PathStep::Elements(places), depth))
    }

    fn below(&mut self) -> Result<PathStep, SqlError> {
        if !self.takes("{")? {
            return Ok(PathStep::Below(0, LEAVES));
        }
        let first = self.level()?;
        let last = match self.is_keyword("to") {
            true => {
                self.advance()?;
                self.level()?
            }
            false => first,
        };
        self.expect("}")?;
        Ok(PathStep::Below(first, last))
    }

    fn level(&mut self) -> Result<u32, SqlError> {
        let level = match &self.next.token {
            PathToken::Number(digits, true) => {
                let level = digits.parse::<i32>().map_err(|_| {
                    SqlError::new(
                        state::NUMERIC_VALUE_OUT_OF_RANGE,
                        format!("value \"{digits}\" is out of range for type integer"),
                    )
                })?;
                level.unsigned_abs()
            }
            PathToken::Name(_) if self.is_keyword("last") => LEAVES,
            _ => return Err(self.unexpected()),
        };
        self.advance()?;
        Ok(level)
    }
}
