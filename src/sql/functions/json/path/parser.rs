//! A path's text as a tree.
//!
//! One rule: no tree is deeper than [`DEPTH_MAX`]; its steps in a row are not depth.

use std::rc::Rc;

use ::regex::Regex;

use super::item::JsonItem;
use super::lexer::{Lexeme, PathLexer, PathToken, error_near};
use super::tree::{Comparison, Head, Path, PathArithmetic, PathNode, PathPattern, Predicate, Sign};
use crate::depth::{DEPTH_MAX, too_deep};
use crate::error::{SqlError, state};
use crate::sql::functions::growth::regex;

/// The content of parentheses: either can come first.
pub enum Either {
    Node(PathNode),
    /// With its depth.
    Predicate(Predicate, usize),
}

impl Path {
    pub fn parse(text: &str) -> Result<Path, SqlError> {
        let mut lexer = PathLexer::new(text);
        let next = lexer.next()?;
        if next.token == PathToken::End {
            return Err(SqlError::new(
                state::INVALID_TEXT_REPRESENTATION,
                format!("invalid input syntax for type jsonpath: \"{text}\""),
            ));
        }
        let mut parser = Parser {
            lexer,
            next,
            depth: 0,
            filters: 0,
            subscripts: 0,
            misplaced: None,
        };
        let strict = match parser.keyword().as_deref() {
            Some("strict") => {
                parser.advance()?;
                true
            }
            Some("lax") => {
                parser.advance()?;
                false
            }
            _ => false,
        };
        let root = match parser.either()? {
            Either::Node(node) => node,
            Either::Predicate(predicate, depth) => of_predicate(predicate, depth),
        };
        match parser.next.token {
            PathToken::End => match parser.misplaced {
                Some(message) => Err(SqlError::new(state::SYNTAX_ERROR, message)),
                None => Ok(Path { strict, root }),
            },
            _ => Err(parser.unexpected()),
        }
    }
}

fn of_predicate(predicate: Predicate, depth: usize) -> PathNode {
    PathNode::new(Head::Predicate(Box::new(predicate)), depth + 1)
}

pub struct Parser<'a> {
    lexer: PathLexer<'a>,
    pub next: Lexeme,
    pub depth: usize,
    /// Filters and subscripts that are open.
    pub filters: usize,
    pub subscripts: usize,
    /// The error for an item that its surroundings may still forbid: reported once all has been read.
    misplaced: Option<&'static str>,
}

impl Parser<'_> {
    pub fn advance(&mut self) -> Result<Lexeme, SqlError> {
        let next = self.lexer.next()?;
        Ok(std::mem::replace(&mut self.next, next))
    }

    pub fn unexpected(&self) -> SqlError {
        error_near("syntax error", &self.next.near)
    }

    pub fn is_sign(&self, sign: &str) -> bool {
        matches!(self.next.token, PathToken::Sign(next) if next == sign)
    }

    pub fn takes(&mut self, sign: &str) -> Result<bool, SqlError> {
        let is_sign = self.is_sign(sign);
        if is_sign {
            self.advance()?;
        }
        Ok(is_sign)
    }

    pub fn expect(&mut self, sign: &str) -> Result<(), SqlError> {
        match self.takes(sign)? {
            true => Ok(()),
            false => Err(self.unexpected()),
        }
    }

    /// The next name, if it is a keyword: in any case, but for the three that are JSON's.
    pub fn keyword(&self) -> Option<String> {
        let PathToken::Name(name) = &self.next.token else {
            return None;
        };
        let lower = name.to_ascii_lowercase();
        match lower.as_str() {
            "null" | "true" | "false" => (*name == lower).then_some(lower),
            _ => Some(lower),
        }
    }

    pub fn is_keyword(&self, keyword: &str) -> bool {
        self.keyword().as_deref() == Some(keyword)
    }

    fn expect_keyword(&mut self, keyword: &str) -> Result<(), SqlError> {
        match self.is_keyword(keyword) {
            true => self.advance().map(drop),
            false => Err(self.unexpected()),
        }
    }

    fn expect_text(&mut self) -> Result<String, SqlError> {
        match &self.next.token {
            PathToken::Text(text) => {
                let text = text.clone();
                self.advance()?;
                Ok(text)
            }
            _ => Err(self.unexpected()),
        }
    }

    /// Asked before each call that leads to itself, and for each tree that holds others.
    pub fn check_depth(&self, depth: usize) -> Result<usize, SqlError> {
        match depth <= DEPTH_MAX {
            true => Ok(depth),
            false => Err(too_deep(format!("A path may nest {DEPTH_MAX} levels."))),
        }
    }

    fn either(&mut self) -> Result<Either, SqlError> {
        self.depth = self.check_depth(self.depth + 1)?;
        let mut left = self.and()?;
        while self.is_sign("||") {
            let (a, depth) = self.predicate_of(left)?;
            self.advance()?;
            let right = self.and()?;
            let (b, other) = self.predicate_of(right)?;
            let depth = self.check_depth(depth.max(other) + 1)?;
            left = Either::Predicate(Predicate::Or(Box::new(a), Box::new(b)), depth);
        }
        self.depth -= 1;
        Ok(left)
    }

    fn and(&mut self) -> Result<Either, SqlError> {
        let mut left = self.comparison()?;
        while self.is_sign("&&") {
            let (a, depth) = self.predicate_of(left)?;
            self.advance()?;
            let right = self.comparison()?;
            let (b, other) = self.predicate_of(right)?;
            let depth = self.check_depth(depth.max(other) + 1)?;
            left = Either::Predicate(Predicate::And(Box::new(a), Box::new(b)), depth);
        }
        Ok(left)
    }

    fn predicate_of(&self, either: Either) -> Result<(Predicate, usize), SqlError> {
        match either {
            Either::Predicate(predicate, depth) => Ok((predicate, depth)),
            Either::Node(_) => Err(self.unexpected()),
        }
    }

    pub fn node_of(&self, either: Either) -> Result<PathNode, SqlError> {
        match either {
            Either::Node(node) => Ok(node),
            Either::Predicate(..) => Err(self.unexpected()),
        }
    }

    pub fn predicate(&mut self) -> Result<(Predicate, usize), SqlError> {
        let either = self.either()?;
        self.predicate_of(either)
    }

    /// `exists (...)` or a predicate in parentheses.
    fn delimited(&mut self) -> Result<(Predicate, usize), SqlError> {
        if self.is_keyword("exists") {
            self.advance()?;
            self.expect("(")?;
            let either = self.either()?;
            let node = self.node_of(either)?;
            self.expect(")")?;
            let depth = node.depth + 1;
            return Ok((Predicate::Exists(node), depth));
        }
        self.expect("(")?;
        let predicate = self.predicate()?;
        self.expect(")")?;
        Ok(predicate)
    }

    fn comparison(&mut self) -> Result<Either, SqlError> {
        if self.takes("!")? {
            let (predicate, depth) = self.delimited()?;
            return Ok(Either::Predicate(Predicate::Not(Box::new(predicate)), depth + 1));
        }
        if self.is_keyword("exists") {
            let (predicate, depth) = self.delimited()?;
            return Ok(Either::Predicate(predicate, depth));
        }
        let left = match self.sum()? {
            Either::Node(node) => node,
            predicate => return Ok(predicate),
        };
        let comparison = match &self.next.token {
            PathToken::Sign("==") => Comparison::Equal,
            PathToken::Sign("!=" | "<>") => Comparison::NotEqual,
            PathToken::Sign("<") => Comparison::Less,
            PathToken::Sign("<=") => Comparison::LessOrEqual,
            PathToken::Sign(">") => Comparison::Greater,
            PathToken::Sign(">=") => Comparison::GreaterOrEqual,
            _ => return self.match_of(left),
        };
        self.advance()?;
        let right = self.sum()?;
        let right = self.node_of(right)?;
        let depth = self.check_depth(left.depth.max(right.depth) + 1)?;
        Ok(Either::Predicate(Predicate::Compare(comparison, left, right), depth))
    }

    /// `starts with` and `like_regex`, or the operand alone.
    fn match_of(&mut self, left: PathNode) -> Result<Either, SqlError> {
        let depth = left.depth + 1;
        if self.is_keyword("starts") {
            self.advance()?;
            self.expect_keyword("with")?;
            let head = match &self.next.token {
                PathToken::Text(text) => Head::Literal(Rc::new(JsonItem::Text(text.as_str().into()))),
                PathToken::Variable(name) => Head::Variable(name.clone()),
                _ => return Err(self.unexpected()),
            };
            self.advance()?;
            return Ok(Either::Predicate(
                Predicate::StartsWith(left, PathNode::new(head, 0)),
                depth,
            ));
        }
        if self.is_keyword("like_regex") {
            self.advance()?;
            let pattern = self.expect_text()?;
            let flags = match self.is_keyword("flag") {
                true => {
                    self.advance()?;
                    self.expect_text()?
                }
                false => String::new(),
            };
            return Ok(Either::Predicate(
                Predicate::Like(
                    left,
                    PathPattern {
                        regex: compiled(&pattern, &flags)?,
                        text: pattern,
                        flags,
                    },
                ),
                depth,
            ));
        }
        Ok(Either::Node(left))
    }

    pub fn sum(&mut self) -> Result<Either, SqlError> {
        let mut left = self.product()?;
        loop {
            let operator = match &self.next.token {
                PathToken::Sign("+") => PathArithmetic::Add,
                PathToken::Sign("-") => PathArithmetic::Subtract,
                _ => return Ok(left),
            };
            let node = self.node_of(left)?;
            self.advance()?;
            let right = self.product()?;
            left = self.arithmetic(operator, node, right)?;
        }
    }

    fn product(&mut self) -> Result<Either, SqlError> {
        let mut left = self.signed()?;
        loop {
            let operator = match &self.next.token {
                PathToken::Sign("*") => PathArithmetic::Multiply,
                PathToken::Sign("/") => PathArithmetic::Divide,
                PathToken::Sign("%") => PathArithmetic::Modulo,
                _ => return Ok(left),
            };
            let node = self.node_of(left)?;
            self.advance()?;
            let right = self.signed()?;
            left = self.arithmetic(operator, node, right)?;
        }
    }

    fn arithmetic(&self, operator: PathArithmetic, left: PathNode, right: Either) -> Result<Either, SqlError> {
        let right = self.node_of(right)?;
        let depth = self.check_depth(left.depth.max(right.depth) + 1)?;
        Ok(Either::Node(PathNode::new(
            Head::Arithmetic(operator, Box::new(left), Box::new(right)),
            depth,
        )))
    }

    fn signed(&mut self) -> Result<Either, SqlError> {
        let sign = match &self.next.token {
            PathToken::Sign("+") => Sign::Plus,
            PathToken::Sign("-") => Sign::Minus,
            _ => return self.operand(),
        };
        self.advance()?;
        self.depth = self.check_depth(self.depth + 1)?;
        let operand = self.signed()?;
        self.depth -= 1;
        let operand = self.node_of(operand)?;
        let depth = self.check_depth(operand.depth + 1)?;
        Ok(Either::Node(PathNode::new(Head::Sign(sign, Box::new(operand)), depth)))
    }

    /// A beginning and its steps, or something in parentheses.
    fn operand(&mut self) -> Result<Either, SqlError> {
        if self.takes("(")? {
            let inside = self.either()?;
            self.expect(")")?;
            let mut node = match inside {
                Either::Node(node) if !self.at_step() => return Ok(Either::Node(node)),
                // Steps of the whole, if it has steps of its own.
                Either::Node(node) => node,
                Either::Predicate(predicate, depth) if self.is_keyword("is") => {
                    self.advance()?;
                    self.expect_keyword("unknown")?;
                    return Ok(Either::Predicate(Predicate::IsUnknown(Box::new(predicate)), depth + 1));
                }
                Either::Predicate(predicate, depth) if !self.at_step() => {
                    return Ok(Either::Predicate(predicate, depth));
                }
                Either::Predicate(predicate, depth) => of_predicate(predicate, depth),
            };
            self.steps(&mut node)?;
            return Ok(Either::Node(node));
        }
        let mut node = PathNode::new(self.head()?, 0);
        self.steps(&mut node)?;
        Ok(Either::Node(node))
    }

    fn head(&mut self) -> Result<Head, SqlError> {
        let literal = |item| Head::Literal(Rc::new(item));
        let head = match &self.next.token {
            PathToken::Text(text) => literal(JsonItem::Text(text.as_str().into())),
            PathToken::Number(digits, _) => literal(JsonItem::Number(digits.as_str().into())),
            PathToken::Variable(name) => Head::Variable(name.clone()),
            PathToken::Sign("$") => Head::Root,
            PathToken::Sign("@") => {
                if self.filters == 0 {
                    self.misplaced.get_or_insert("@ is not allowed in root expressions");
                }
                Head::Current
            }
            PathToken::Name(_) => match self.keyword().as_deref() {
                Some("null") => literal(JsonItem::Null),
                Some("true") => literal(JsonItem::Bool(true)),
                Some("false") => literal(JsonItem::Bool(false)),
                Some("last") => {
                    if self.subscripts == 0 {
                        self.misplaced.get_or_insert("LAST is allowed only in array subscripts");
                    }
                    Head::Last
                }
                _ => return Err(self.unexpected()),
            },
            _ => return Err(self.unexpected()),
        };
        self.advance()?;
        Ok(head)
    }
}

/// The pattern of `like_regex` with its flags.
fn compiled(pattern: &str, flags: &str) -> Result<Regex, SqlError> {
    if let Some(flag) = flags.chars().find(|flag| !"ismxq".contains(*flag)) {
        let message = "invalid input syntax for type jsonpath";
        let detail = format!("Unrecognized flag character \"{flag}\" in LIKE_REGEX predicate.");
        return Err(SqlError::new(state::SYNTAX_ERROR, message).detail(detail));
    }
    let has = |flag| flags.contains(flag);
    if has('q') {
        return regex::limited(&::regex::escape(pattern), has('i'));
    }
    if has('x') {
        return Err(SqlError::new(
            state::FEATURE_NOT_SUPPORTED,
            "XQuery \"x\" flag (expanded regular expressions) is not implemented",
        ));
    }
    let inline: String = ['s', 'm'].into_iter().filter(|flag| has(*flag)).collect();
    match inline.is_empty() {
        true => regex::limited(pattern, has('i')),
        false => regex::limited(&format!("(?{inline}){pattern}"), has('i')),
    }
}
