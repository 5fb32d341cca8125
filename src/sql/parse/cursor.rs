//! A statement's tokens and the parser's position in them: `sqlparser`'s `Parser` with our words and PostgreSQL's errors.
//!
//! One rule: every error is reported as PostgreSQL reports it: `syntax error at or near "x"` with the position
//! of `x`, or `syntax error at end of input`.

use std::cell::Cell;
use std::ops::ControlFlow;

use sqlparser::ast;
use sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use super::super::statement::{Emit, Given, Name, NamedDatabase, Select};
use super::precedence;
use super::rewrite::EmitClause;
use crate::catalog;
use crate::depth::{DEPTH_MAX, NESTING_MAX, too_deep};
use crate::error::{Result, SqlError, state};

/// `sqlparser`'s PostgreSQL, with a bound on the number of times that it may start an expression over: it tries one way
/// after another at some words, at each level of nesting, which without a bound takes exponential time on some wrong
/// statements.
#[derive(Debug)]
pub struct BoundedDialect {
    base: PostgreSqlDialect,
    attempts_left: Cell<usize>,
    /// The furthest token at which an expression was tried: where the statement is wrong, if the attempts run out.
    furthest: Cell<usize>,
}

impl BoundedDialect {
    pub fn new(tokens: usize) -> BoundedDialect {
        BoundedDialect {
            base: PostgreSqlDialect {},
            attempts_left: Cell::new(10_000 + 100 * tokens),
            furthest: Cell::new(0),
        }
    }
}

/// Forwards the methods that the PostgreSQL dialect overrides to it.
macro_rules! forward {
    ($($method:ident),* $(,)?) => {
        $(fn $method(&self) -> bool {
            self.base.$method()
        })*
    };
}

impl Dialect for BoundedDialect {
    fn dialect(&self) -> std::any::TypeId {
        self.base.dialect()
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<ast::Expr, ParserError>> {
        let left = self.attempts_left.get();
        if left == 0 {
            let furthest = parser.token_at(self.furthest.get()).clone();
            return Some(parser.expected("an expression", furthest));
        }
        self.attempts_left.set(left - 1);
        self.furthest.set(self.furthest.get().max(parser.index()));
        // `:name` would be read as a parameter.
        let next = parser.peek_token_ref();
        if next.token == Token::Colon {
            return Some(parser.expected("an expression", next.clone()));
        }
        precedence::prefix(parser)
    }

    fn parse_infix(&self, parser: &mut Parser, left: &ast::Expr, binds: u8) -> Option<Result<ast::Expr, ParserError>> {
        precedence::infix(parser, left, binds)
    }

    /// Words that other dialects reserve.
    fn is_column_alias(&self, keyword: &Keyword, parser: &mut Parser) -> bool {
        use Keyword::{ANALYZE, CLUSTER, DISTRIBUTE, EXPLAIN, SORT, TOP, VIEW};
        matches!(keyword, ANALYZE | CLUSTER | DISTRIBUTE | EXPLAIN | SORT | TOP | VIEW)
            || self.base.is_column_alias(keyword, parser)
    }

    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        self.base.identifier_quote_style(identifier)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        self.base.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        self.base.is_identifier_part(ch)
    }

    fn is_custom_operator_part(&self, ch: char) -> bool {
        self.base.is_custom_operator_part(ch)
    }

    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        self.base.is_reserved_for_identifier(keyword)
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        match precedence::of_next(parser) {
            Some(binds) => Some(Ok(binds)),
            None => self.base.get_next_precedence(parser),
        }
    }

    fn prec_value(&self, precedence: Precedence) -> u8 {
        self.base.prec_value(precedence)
    }

    forward!(
        supports_unicode_string_literal,
        supports_filter_during_aggregation,
        supports_group_by_expr,
        allow_extract_custom,
        allow_extract_single_quotes,
        supports_create_index_with_clause,
        supports_explain_with_utility_options,
        supports_factorial_operator,
        supports_bitwise_shift_operators,
        supports_comment_on,
        supports_named_fn_args_with_colon_operator,
        supports_empty_projections,
        supports_nested_comments,
        supports_string_escape_constant,
        supports_numeric_literal_underscores,
        supports_array_typedef_with_brackets,
        supports_geometric_types,
        supports_set_names,
        supports_alter_column_type_using,
        supports_notnull_operator,
        supports_interval_options,
        supports_insert_table_alias,
        supports_select_wildcard_with_alias,
        supports_comma_separated_trim,
        supports_xml_expressions,
    );
}

/// A position in a statement's tokens.
pub struct Cursor<'a> {
    /// The whole query string, which positions count in.
    source: &'a str,
    pub parser: Parser<'a>,
    /// The EMIT clause that was taken off, until the query that it belongs to takes it.
    emit: Option<EmitClause>,
    tokens: usize,
    databases: Vec<NamedDatabase>,
}

impl<'a> Cursor<'a> {
    pub fn new(
        source: &'a str,
        dialect: &'a BoundedDialect,
        tokens: Vec<TokenWithSpan>,
        emit: Option<EmitClause>,
    ) -> Self {
        let count = tokens.len();
        Cursor {
            source,
            // A level of nesting is a few calls that count, one of a chain of NOT is one.
            parser: Parser::new(dialect)
                .with_recursion_limit(4 * NESTING_MAX + DEPTH_MAX)
                .with_tokens_with_locations(tokens),
            emit,
            tokens: count,
            databases: Vec::new(),
        }
    }

    /// Runs one of the parser's own functions.
    pub fn run<T>(&mut self, parse: impl FnOnce(&mut Parser<'a>) -> std::result::Result<T, ParserError>) -> Result<T> {
        parse(&mut self.parser).map_err(|error| self.error(error))
    }

    /// A parser's error in PostgreSQL's words.
    pub fn error(&self, error: ParserError) -> SqlError {
        match error {
            ParserError::ParserError(message) | ParserError::TokenizerError(message) => {
                match location_in(&message) {
                    Some(location) => self.syntax_error_at(location),
                    None if message.contains("found: EOF") => self.syntax_error_at_end(),
                    // The few messages without a place: where the parser is.
                    None => self.syntax_error().detail(format!("{message}.")),
                }
            }
            ParserError::RecursionLimitExceeded => too_deep("Write the statement with less nesting."),
        }
    }

    /// `syntax error` at the next token.
    pub fn syntax_error(&self) -> SqlError {
        let next = self.parser.peek_token_ref();
        if next.token == Token::EOF {
            self.syntax_error_at_end()
        } else {
            self.syntax_error_at(next.span.start)
        }
    }

    fn syntax_error_at_end(&self) -> SqlError {
        SqlError::new(state::SYNTAX_ERROR, "syntax error at end of input").position(self.source.chars().count() + 1)
    }

    fn syntax_error_at(&self, start: Location) -> SqlError {
        let token = (0..self.tokens)
            .map(|index| self.parser.token_at(index))
            .find(|token| token.span.start == start);
        let near = match token {
            Some(token) => self.slice(token.span.start, token.span.end),
            None => self.source.get(start.line as usize - 1..).unwrap_or_default(),
        };
        SqlError::new(state::SYNTAX_ERROR, format!("syntax error at or near \"{near}\""))
            .position(start.column as usize)
    }

    /// The text from one location up to another.
    pub fn slice(&self, start: Location, end: Location) -> &'a str {
        self.source
            .get(start.line as usize - 1..end.line as usize - 1)
            .expect("locations are those of tokens, in order")
    }

    /// The next token's character position, from 1.
    pub fn position(&self) -> usize {
        let next = self.parser.peek_token_ref();
        if next.token == Token::EOF {
            self.source.chars().count() + 1
        } else {
            next.span.start.column as usize
        }
    }

    /// The start of the next token; only if there is one.
    pub fn start(&self) -> Location {
        self.parser.peek_token_ref().span.start
    }

    /// The end of the token before.
    pub fn previous_end(&self) -> Location {
        self.parser.get_current_token().span.end
    }

    pub fn at_end(&self) -> bool {
        self.parser.peek_token_ref().token == Token::EOF
    }

    pub fn expect_end(&self) -> Result<()> {
        if self.at_end() {
            Ok(())
        } else {
            Err(self.syntax_error())
        }
    }

    /// The unquoted word that is `ahead` tokens away, folded.
    pub fn peek_word(&self, ahead: usize) -> Option<&str> {
        match &self.parser.peek_nth_token_ref(ahead).token {
            Token::Word(word) if word.quote_style.is_none() => Some(&word.value),
            _ => None,
        }
    }

    pub fn next_is(&self, token: &Token) -> bool {
        self.parser.peek_token_ref().token == *token
    }

    pub fn peek_words(&self, words: &[&str]) -> bool {
        words
            .iter()
            .enumerate()
            .all(|(ahead, word)| self.peek_word(ahead) == Some(word))
    }

    /// Takes the words if they are all next.
    pub fn take(&mut self, words: &[&str]) -> bool {
        let found = self.peek_words(words);
        if found {
            self.skip(words.len());
        }
        found
    }

    pub fn skip(&mut self, tokens: usize) {
        for _ in 0..tokens {
            self.parser.advance_token();
        }
    }

    pub fn expect(&mut self, words: &[&str]) -> Result<()> {
        for word in words {
            if !self.take(&[word]) {
                return Err(self.syntax_error());
            }
        }
        Ok(())
    }

    pub fn take_token(&mut self, token: &Token) -> bool {
        self.parser.consume_token(token)
    }

    pub fn expect_token(&mut self, token: &Token) -> Result<()> {
        if self.take_token(token) {
            Ok(())
        } else {
            Err(self.syntax_error())
        }
    }

    /// An identifier: any quoted word, any other that PostgreSQL does not reserve.
    pub fn identifier(&mut self) -> Result<String> {
        let name = match &self.parser.peek_token_ref().token {
            Token::Word(word) if word.quote_style.is_some() || !catalog::is_reserved(&word.value) => word.value.clone(),
            _ => return Err(self.syntax_error()),
        };
        self.skip(1);
        Ok(name)
    }

    /// A word after which any word may stand: an option's name.
    pub fn label(&mut self) -> Result<String> {
        let name = match &self.parser.peek_token_ref().token {
            Token::Word(word) => word.value.clone(),
            _ => return Err(self.syntax_error()),
        };
        self.skip(1);
        Ok(name)
    }

    /// `[[database.]schema.]name`.
    pub fn name(&mut self) -> Result<Name> {
        let position = self.position();
        let parts = self.parts()?;
        self.name_of(parts, position)
    }

    /// Words with dots between them.
    pub fn parts(&mut self) -> Result<Vec<String>> {
        let mut parts = vec![self.identifier()?];
        while self.take_token(&Token::Period) {
            parts.push(self.label()?);
        }
        Ok(parts)
    }

    /// A relation's name by its parts, of which there is at least one. The databases of names are kept for the session.
    pub fn name_of(&mut self, mut parts: Vec<String>, position: usize) -> Result<Name> {
        let whole = parts.join(".");
        let name = parts.pop().expect("one part was read");
        let schema = parts.pop();
        match parts.as_slice() {
            [] => {}
            [database] => self.databases.push(NamedDatabase {
                database: database.clone(),
                name: whole,
                position,
            }),
            _ => {
                let message = format!("improper qualified name (too many dotted names): {whole}");
                return Err(SqlError::new(state::SYNTAX_ERROR, message).position(position));
            }
        }
        Ok(Name {
            schema,
            name,
            position: Some(position),
        })
    }

    /// The databases that the names read so far have.
    pub fn take_databases(&mut self) -> Vec<NamedDatabase> {
        std::mem::take(&mut self.databases)
    }

    /// `(a, b, ...)`, at least one.
    pub fn identifiers_in_parentheses(&mut self) -> Result<Vec<String>> {
        self.expect_token(&Token::LParen)?;
        let mut names = vec![self.identifier()?];
        while self.take_token(&Token::Comma) {
            names.push(self.identifier()?);
        }
        self.expect_token(&Token::RParen)?;
        Ok(names)
    }

    /// The same, or nothing.
    pub fn optional_columns(&mut self) -> Result<Vec<String>> {
        if self.next_is(&Token::LParen) {
            self.identifiers_in_parentheses()
        } else {
            Ok(Vec::new())
        }
    }

    pub fn string(&mut self) -> Result<String> {
        let text = match &self.parser.peek_token_ref().token {
            Token::SingleQuotedString(text) => text.clone(),
            _ => return Err(self.syntax_error()),
        };
        self.skip(1);
        Ok(text)
    }

    pub fn if_exists(&mut self) -> bool {
        self.take(&["if", "exists"])
    }

    pub fn if_not_exists(&mut self) -> Result<bool> {
        if self.take(&["if"]) {
            self.expect(&["not", "exists"])?;
            return Ok(true);
        }
        Ok(false)
    }

    /// An expression, and its text as written.
    pub fn expression(&mut self) -> Result<(ast::Expr, String)> {
        if self.at_end() {
            return Err(self.syntax_error());
        }
        let start = self.start();
        let expr = self.run(Parser::parse_expr)?;
        Ok((expr, self.slice(start, self.previous_end()).to_string()))
    }

    /// An expression in parentheses, and the text between them.
    pub fn expression_in_parentheses(&mut self) -> Result<(ast::Expr, String)> {
        self.expect_token(&Token::LParen)?;
        let expression = self.expression()?;
        self.expect_token(&Token::RParen)?;
        Ok(expression)
    }

    /// A query, with the statement's EMIT clause if it has one.
    pub fn select(&mut self) -> Result<Select> {
        let position = self.position();
        let query = self.run(Parser::parse_query)?;
        refuse_unread(&query).map_err(|error| error.position(position))?;
        self.refuse_reserved(&query)?;
        let emit = self.emit.take().map_or(Emit::OnChange, |clause| clause.emit);
        Ok(Select {
            query,
            emit,
            given: Given::default(),
        })
    }

    /// `SELECT FROM WHERE`: a reserved word is no relation's name.
    fn refuse_reserved(&self, query: &ast::Query) -> Result<()> {
        let found = ast::visit_relations(query, |name| {
            let reserved =
                name.0.iter().filter_map(|part| part.as_ident()).find(|ident| {
                    ident.quote_style.is_none() && catalog::is_reserved(&ident.value.to_ascii_lowercase())
                });
            match reserved {
                Some(ident) => ControlFlow::Break(ident.clone()),
                None => ControlFlow::Continue(()),
            }
        });
        let ControlFlow::Break(ident) = found else {
            return Ok(());
        };
        let (start, end) = (ident.span.start.line as usize, ident.span.end.line as usize);
        let written = start
            .checked_sub(1)
            .zip(end.checked_sub(1))
            .and_then(|(start, end)| self.source.get(start..end));
        let message = format!("syntax error at or near \"{}\"", written.unwrap_or(&ident.value));
        Err(SqlError::new(state::SYNTAX_ERROR, message).position(ident.span.start.column as usize))
    }

    /// Takes the EMIT clause of the statement that is parsed next.
    pub fn take_emit(&mut self) -> Option<EmitClause> {
        self.emit.take()
    }

    pub fn put_emit(&mut self, emit: Option<EmitClause>) {
        self.emit = emit;
    }

    /// The EMIT clause, if it does not stand in a query: before AS.
    pub fn emit(&self) -> Option<EmitClause> {
        self.emit
    }

    /// An EMIT that no query took is out of place.
    pub fn expect_emit_taken(&self) -> Result<()> {
        match &self.emit {
            Some(clause) => Err(SqlError::new(state::SYNTAX_ERROR, "syntax error at or near \"EMIT\"")
                .position(clause.span.start.column as usize)),
            None => Ok(()),
        }
    }
}

/// Clauses of a query that would otherwise be ignored.
fn refuse_unread(query: &ast::Query) -> Result<()> {
    if !query.locks.is_empty() {
        return Err(SqlError::unsupported(
            "FOR UPDATE and FOR SHARE are not supported",
            "Rows of a topic never change, so there is nothing to lock: leave the clause out.",
        ));
    }
    if let ast::SetExpr::Select(select) = &*query.body
        && select.into.is_some()
    {
        return Err(SqlError::unsupported(
            "SELECT INTO is not supported",
            "Create the topic with its columns, then INSERT INTO it SELECT.",
        ));
    }
    refuse_writes(&query.body)
}

/// Queries read only: `WITH x AS (...) INSERT ...` is a statement that is not supported.
fn refuse_writes(body: &ast::SetExpr) -> Result<()> {
    let word = match body {
        ast::SetExpr::Insert(_) => "INSERT",
        ast::SetExpr::Update(_) => "UPDATE",
        ast::SetExpr::Delete(_) => "DELETE",
        ast::SetExpr::Merge(_) => "MERGE",
        ast::SetExpr::Query(query) => return refuse_writes(&query.body),
        ast::SetExpr::SetOperation { left, .. } => return refuse_writes(left),
        _ => return Ok(()),
    };
    Err(SqlError::unsupported(
        format!("{word} after WITH is not supported"),
        "Write WITH before the whole statement.",
    ))
}

/// The ` at Line: L, Column: C` at the end of a parser's message.
fn location_in(message: &str) -> Option<Location> {
    let (rest, column) = message.rsplit_once(", Column: ")?;
    let (_, line) = rest.rsplit_once(" at Line: ")?;
    Some(Location::new(line.parse().ok()?, column.parse().ok()?))
}
