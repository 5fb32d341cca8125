//! How deep the tree of a statement can get, bounded while its tokens are read.
//!
//! One rule: a statement whose tree would be deeper than [`DEPTH_MAX`] is refused (54001) before anything recurses over
//! it: the parser, the planner and the optimizer all do. Left-deep chains (`a OR b OR c ...`) count by their operators,
//! nesting by its brackets.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::Token;

use crate::error::{SqlError, state};

/// Deepest tree that is accepted.
pub const DEPTH_MAX: usize = 1_000;
/// Deepest nesting of brackets and CASE that is accepted: each level is several calls deep in the parser.
pub const NESTING_MAX: usize = 100;

/// Operators met since the last thing that ends a chain, by how tightly they bind.
#[derive(Clone, Copy, Default, Debug)]
struct Chain {
    /// Set operations and JOINs.
    relations: usize,
    /// AND, OR, NOT.
    conditions: usize,
    /// Comparisons.
    comparisons: usize,
    /// Everything that binds closer.
    operators: usize,
}

impl Chain {
    fn depth(&self) -> usize {
        self.relations + self.conditions + self.comparisons + self.operators
    }
}

#[derive(Debug, Default)]
pub struct Depth {
    /// Depth at each open bracket or CASE, and whether it is a CASE.
    open: Vec<(Chain, usize, bool)>,
    base: usize,
    chain: Chain,
}

impl Depth {
    /// Takes the statement's next token; 54001 if the tree gets too deep.
    pub fn see(&mut self, token: &Token) -> Result<(), SqlError> {
        match token {
            Token::LParen | Token::LBracket => self.enter(false),
            Token::RParen | Token::RBracket => self.leave(false),
            Token::Comma => self.end_expression(),
            Token::Eq | Token::Neq | Token::Lt | Token::Gt | Token::LtEq | Token::GtEq => {
                self.chain.comparisons += 1;
                self.chain.operators = 0;
            }
            Token::Word(word) if word.quote_style.is_none() => self.see_keyword(word.keyword),
            Token::Word(_)
            | Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::Placeholder(_)
            | Token::HexStringLiteral(_)
            | Token::SingleQuotedByteStringLiteral(_) => return Ok(()),
            _ => self.chain.operators += 1,
        }
        if self.open.len() > NESTING_MAX || self.base + self.chain.depth() > DEPTH_MAX {
            return Err(
                SqlError::new(state::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded").hint(format!(
                    "A statement can nest {NESTING_MAX} levels of parentheses and chain {DEPTH_MAX} operators. Use IN \
                 (...) or = ANY (...) in place of a chain of ORs."
                )),
            );
        }
        Ok(())
    }

    fn see_keyword(&mut self, keyword: Keyword) {
        match keyword {
            Keyword::CASE => self.enter(true),
            Keyword::END => self.leave(true),
            Keyword::AND | Keyword::OR | Keyword::NOT => {
                self.chain.conditions += 1;
                self.chain.comparisons = 0;
                self.chain.operators = 0;
            }
            Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT | Keyword::JOIN => {
                self.end_expression();
                self.chain.relations += 1;
            }
            Keyword::WHEN
            | Keyword::THEN
            | Keyword::ELSE
            | Keyword::SELECT
            | Keyword::FROM
            | Keyword::WHERE
            | Keyword::GROUP
            | Keyword::HAVING
            | Keyword::ORDER
            | Keyword::ON => self.end_expression(),
            Keyword::IS | Keyword::IN | Keyword::LIKE | Keyword::ILIKE | Keyword::BETWEEN | Keyword::COLLATE => {
                self.chain.comparisons += 1;
            }
            _ => {}
        }
    }

    fn enter(&mut self, case: bool) {
        self.open.push((self.chain, self.base, case));
        self.base += self.chain.depth() + 1;
        self.chain = Chain::default();
    }

    /// Closing what is not open is the parser's error.
    fn leave(&mut self, case: bool) {
        if self.open.last().is_some_and(|(_, _, is_case)| *is_case == case) {
            let (chain, base, _) = self.open.pop().expect("it was looked at");
            self.chain = chain;
            self.base = base;
            // `a(b)(c)`, `a[1][2]`: what is done to a result makes the tree deeper too.
            if !case {
                self.chain.operators += 1;
            }
        }
    }

    fn end_expression(&mut self) {
        self.chain.conditions = 0;
        self.chain.comparisons = 0;
        self.chain.operators = 0;
    }
}
