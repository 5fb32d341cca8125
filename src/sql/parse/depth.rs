//! A bound on the depth of a statement's tree, kept while its tokens are read.
//!
//! One rule: a statement whose tree would be deeper than [`DEPTH_MAX`] is refused (54001) before anything recurses over
//! it: the parser, the planner and the optimizer all do. Left-deep chains (`a OR b OR c ...`) count by their operators,
//! nesting by its brackets.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::Token;

use crate::depth::{DEPTH_MAX, NESTING_MAX, too_deep};
use crate::error::SqlError;

/// Longest chain of `+ - * / % || ::`: the planner asks each of its nodes for its type and that for the names of all below it.
pub const ARITHMETIC_MAX: usize = 300;

/// Most `FROM ((...` within one another: the parser reads the text in the second bracket as a subquery first and, if
/// that fails, once more as a join, so a wrong statement takes twice as long per level.
pub const TABLE_BRACKETS_MAX: usize = 12;

/// Operators met since the last thing that ends a chain, by how tightly they bind.
#[derive(Clone, Copy, Default, Debug)]
struct Chain {
    /// Set operations, and CTEs, each of which may read the one before.
    relations: usize,
    /// Joins of one FROM.
    joins: usize,
    /// AND, OR, NOT.
    conditions: usize,
    /// Comparisons.
    comparisons: usize,
    /// Everything that binds closer.
    operators: usize,
    /// The operators that compute or cast, see [`ARITHMETIC_MAX`].
    arithmetic: usize,
}

impl Chain {
    fn compute(&mut self) {
        self.operators += 1;
        self.arithmetic += 1;
    }

    fn end_operators(&mut self) {
        self.operators = 0;
        self.arithmetic = 0;
    }

    fn depth(&self) -> usize {
        self.relations + self.joins + self.conditions + self.comparisons + self.operators
    }
}

/// A bracket or CASE that is not closed yet.
#[derive(Debug)]
struct OpenBracket {
    /// The chain to go back to when it is closed.
    chain: Chain,
    base: usize,
    case: bool,
    /// It stands where a table may stand.
    relation: bool,
    /// The brackets around it that open a table and start with a second bracket, see [`TABLE_BRACKETS_MAX`].
    table_brackets: usize,
    clause: QueryPart,
}

/// The part of a query that the tokens are in.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum QueryPart {
    /// Each query in brackets is read by those behind it: together they are one chain.
    With,
    /// Each comma is a join.
    From,
    #[default]
    Other,
}

#[derive(Debug, Default)]
pub struct Depth {
    open: Vec<OpenBracket>,
    base: usize,
    chain: Chain,
    clause: QueryPart,
    /// The token before is one after which a table may stand.
    after_from: bool,
    /// The token before is an opening parenthesis.
    after_parenthesis: bool,
}

impl Depth {
    /// Takes the statement's next token; 54001 if the tree gets too deep.
    pub fn see(&mut self, token: &Token) -> Result<(), SqlError> {
        match token {
            Token::LParen => {
                if self.clause == QueryPart::With {
                    self.chain.relations += 1;
                }
                let outer = self.open.last();
                let doubled = self.after_parenthesis && outer.is_some_and(|outer| outer.relation);
                let relation = self.after_from || doubled;
                let table_brackets = outer.map_or(0, |outer| outer.table_brackets) + usize::from(doubled);
                self.enter(false, relation, table_brackets);
            }
            Token::LBracket => self.enter(false, false, self.open.last().map_or(0, |outer| outer.table_brackets)),
            Token::RParen | Token::RBracket => self.leave(false),
            Token::Comma => {
                self.end_expression();
                if self.clause == QueryPart::From {
                    self.chain.joins += 1;
                }
            }
            Token::Eq | Token::Neq | Token::Lt | Token::Gt | Token::LtEq | Token::GtEq => {
                self.chain.comparisons += 1;
                self.chain.end_operators();
            }
            Token::Plus | Token::Minus | Token::Mul | Token::Div | Token::Mod => self.chain.compute(),
            Token::StringConcat | Token::DoubleColon => self.chain.compute(),
            Token::Word(word) if word.quote_style.is_none() => self.see_keyword(word.keyword),
            Token::Word(_)
            | Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::Placeholder(_)
            | Token::HexStringLiteral(_)
            | Token::SingleQuotedByteStringLiteral(_) => {}
            _ => self.chain.operators += 1,
        }
        self.after_parenthesis = *token == Token::LParen;
        self.after_from = match token {
            Token::Comma => true,
            Token::Word(word) => matches!(word.keyword, Keyword::FROM | Keyword::JOIN | Keyword::LATERAL),
            _ => false,
        };
        let too_many_brackets = self
            .open
            .last()
            .is_some_and(|open| open.table_brackets > TABLE_BRACKETS_MAX);
        let too_much_arithmetic = self.chain.arithmetic > ARITHMETIC_MAX;
        if too_many_brackets
            || too_much_arithmetic
            || self.open.len() > NESTING_MAX
            || self.base + self.chain.depth() > DEPTH_MAX
        {
            return Err(too_deep(format!(
                "A statement can nest {NESTING_MAX} levels of parentheses and chain {DEPTH_MAX} operators, joins and CTEs, {ARITHMETIC_MAX} of \
                 them `+ - * / % || ::`. Use \
                 IN (...) or = ANY (...) in place of a chain of ORs."
            )));
        }
        Ok(())
    }

    fn see_keyword(&mut self, keyword: Keyword) {
        match keyword {
            Keyword::CASE => self.enter(true, false, self.open.last().map_or(0, |outer| outer.table_brackets)),
            Keyword::END => self.leave(true),
            Keyword::AND | Keyword::OR | Keyword::NOT => {
                self.chain.conditions += 1;
                self.chain.comparisons = 0;
                self.chain.end_operators();
            }
            Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT => {
                self.end_expression();
                self.chain.joins = 0;
                self.chain.relations += 1;
            }
            Keyword::JOIN => {
                self.end_expression();
                self.chain.joins += 1;
            }
            Keyword::WITH => self.clause = QueryPart::With,
            Keyword::FROM => {
                self.end_expression();
                self.clause = QueryPart::From;
            }
            Keyword::SELECT | Keyword::VALUES | Keyword::WHERE | Keyword::GROUP | Keyword::HAVING | Keyword::ORDER => {
                self.end_expression();
                self.clause = QueryPart::Other;
            }
            Keyword::WHEN | Keyword::THEN | Keyword::ELSE | Keyword::ON => self.end_expression(),
            Keyword::IS | Keyword::IN | Keyword::LIKE | Keyword::ILIKE | Keyword::BETWEEN | Keyword::COLLATE => {
                self.chain.comparisons += 1;
            }
            _ => {}
        }
    }

    fn enter(&mut self, case: bool, relation: bool, table_brackets: usize) {
        self.open.push(OpenBracket {
            chain: self.chain,
            base: self.base,
            case,
            relation,
            table_brackets,
            clause: std::mem::take(&mut self.clause),
        });
        self.base += self.chain.depth() + 1;
        self.chain = Chain::default();
    }

    /// Closing a bracket that is not open is the parser's error.
    fn leave(&mut self, case: bool) {
        if self.open.last().is_some_and(|open| open.case == case) {
            let open = self.open.pop().expect("it was looked at");
            self.chain = open.chain;
            self.base = open.base;
            self.clause = open.clause;
            // `a(b)(c)`, `a[1][2]`: an operation on a result makes the tree deeper too.
            if !case {
                self.chain.operators += 1;
            }
        }
    }

    fn end_expression(&mut self) {
        self.chain.conditions = 0;
        self.chain.comparisons = 0;
        self.chain.end_operators();
    }
}
