//! INSERT: rows of literals straight from their tokens, everything else through the parser.
//!
//! One rule: both ways give the same statement; the short one only saves time.

use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::super::cell::{Cell, parameter};
use super::super::statement::{Insert, InsertRows, Name, Statement};
use super::cursor::Cursor;
use super::tokens::word_at;
use crate::catalog;
use crate::error::{Result, SqlError};

/// `INSERT INTO t [(columns)] VALUES (literal, ...), ...` where every value is a number, string, parameter, NULL, TRUE,
/// FALSE or DEFAULT. `None`, and the tokens untouched, for anything else: right or wrong, the parser decides.
pub fn of_literals(tokens: &mut [TokenWithSpan]) -> Option<Insert> {
    if word_at(tokens, 0) != Some("insert") || word_at(tokens, 1) != Some("into") {
        return None;
    }
    let mut at = 2;
    let mut first = identifier_at(tokens, at)?;
    let position = Some(tokens[at].span.start.column as usize);
    at += 1;
    let mut schema = None;
    if is(tokens, at, &Token::Period) {
        schema = Some(first);
        first = identifier_at(tokens, at + 1)?;
        at += 2;
    }
    let mut columns = Vec::new();
    if is(tokens, at, &Token::LParen) {
        loop {
            columns.push(identifier_at(tokens, at + 1)?.to_string());
            at += 2;
            match &tokens.get(at)?.token {
                Token::Comma => {}
                Token::RParen => break,
                _ => return None,
            }
        }
        at += 1;
    }
    if word_at(tokens, at) != Some("values") {
        return None;
    }
    let into = Name {
        schema: schema.map(str::to_string),
        name: first.to_string(),
        position,
    };
    // Two passes, so that the strings are moved out of the tokens only once it is certain that they are all.
    let (row_count, row_values) = count_rows(tokens, at + 1)?;
    let mut rows = Vec::with_capacity(row_count);
    at += 1;
    for _ in 0..row_count {
        let mut row = Vec::with_capacity(row_values);
        while !matches!(tokens[at].token, Token::RParen) {
            at += 1;
            let negated = matches!(tokens[at].token, Token::Minus);
            at += usize::from(negated);
            row.push(take_literal(&mut tokens[at].token, negated));
            at += 1;
        }
        rows.push(row);
        at += 2;
    }
    Some(Insert {
        into,
        alias: None,
        columns,
        rows: InsertRows::Values(rows.into()),
        returning: Vec::new(),
        with: None,
    })
}

/// Rows, and values of the first, if nothing but rows of literals follows.
fn count_rows(tokens: &[TokenWithSpan], mut at: usize) -> Option<(usize, usize)> {
    let mut rows = 0;
    let mut values = 0;
    loop {
        if !is(tokens, at, &Token::LParen) {
            return None;
        }
        loop {
            at += 1;
            if is(tokens, at, &Token::Minus) {
                at += 1;
                if !matches!(tokens.get(at)?.token, Token::Number(..)) {
                    return None;
                }
            }
            let is_literal = match &tokens.get(at)?.token {
                Token::Number(..) | Token::SingleQuotedString(_) => true,
                Token::Placeholder(name) => parameter(name).is_some(),
                Token::Word(word) => matches!(
                    word.keyword,
                    Keyword::NULL | Keyword::TRUE | Keyword::FALSE | Keyword::DEFAULT
                ),
                _ => false,
            };
            if !is_literal {
                return None;
            }
            values += usize::from(rows == 0);
            at += 1;
            match &tokens.get(at)?.token {
                Token::Comma => {}
                Token::RParen => break,
                _ => return None,
            }
        }
        rows += 1;
        at += 1;
        match tokens.get(at).map(|token| &token.token) {
            None => return Some((rows, values)),
            Some(Token::Comma) => at += 1,
            Some(_) => return None,
        }
    }
}

/// The literal of a token that [`count_rows`] accepted.
fn take_literal(token: &mut Token, negated: bool) -> Cell {
    match token {
        Token::Number(digits, _) => Cell::Number(std::mem::take(digits), negated),
        Token::SingleQuotedString(text) => Cell::Text(std::mem::take(text)),
        Token::Placeholder(name) => Cell::Parameter(parameter(name).expect("it was looked at")),
        Token::Word(word) => match word.keyword {
            Keyword::NULL => Cell::Null,
            Keyword::TRUE => Cell::Bool(true),
            Keyword::FALSE => Cell::Bool(false),
            _ => Cell::Default,
        },
        token => unreachable!("count_rows accepted {token:?}"),
    }
}

fn is(tokens: &[TokenWithSpan], at: usize, token: &Token) -> bool {
    tokens.get(at).is_some_and(|found| found.token == *token)
}

fn identifier_at(tokens: &[TokenWithSpan], at: usize) -> Option<&str> {
    match &tokens.get(at)?.token {
        Token::Word(word) if word.quote_style.is_some() || !catalog::is_reserved(&word.value) => Some(&word.value),
        _ => None,
    }
}

/// Any INSERT.
pub fn insert(cursor: &mut Cursor) -> Result<Statement> {
    cursor.expect(&["insert", "into"])?;
    let into = cursor.name()?;
    let alias = match cursor.take(&["as"]) {
        true => Some(cursor.identifier()?),
        false => None,
    };
    // `(a, b)` are columns, `(SELECT ...)` is a query.
    let columns = if is_query_in_parentheses(cursor) {
        Vec::new()
    } else {
        cursor.optional_columns()?
    };
    if cursor.peek_word(0) == Some("overriding") {
        return Err(SqlError::unsupported(
            "OVERRIDING is not supported",
            "There are no identity columns: leave it out.",
        )
        .position(cursor.position()));
    }
    let rows = if cursor.take(&["default", "values"]) {
        InsertRows::DefaultValues
    } else if let Some(rows) = values(cursor)? {
        InsertRows::Values(rows.into())
    } else {
        InsertRows::Select(cursor.select()?.into())
    };
    if cursor.peek_words(&["on", "conflict"]) {
        return Err(SqlError::unsupported(
            "ON CONFLICT is not supported",
            "Rows of a topic have no key to conflict on: leave it out, or keep the newest row per key in a view.",
        )
        .position(cursor.position()));
    }
    let returning = if cursor.take(&["returning"]) {
        if cursor.at_end() {
            return Err(cursor.syntax_error());
        }
        cursor.run(|parser| parser.parse_comma_separated(Parser::parse_select_item))?
    } else {
        Vec::new()
    };
    Ok(Statement::Insert(Insert {
        into,
        alias,
        columns,
        rows,
        returning,
        with: None,
    }))
}

fn is_query_in_parentheses(cursor: &Cursor) -> bool {
    let mut ahead = 0;
    while cursor.parser.peek_nth_token_ref(ahead).token == Token::LParen {
        ahead += 1;
    }
    ahead > 0 && matches!(cursor.peek_word(ahead), Some("select" | "with" | "values" | "table"))
}

/// The rows of `VALUES (...), ...` if nothing follows them that makes them a query: `VALUES (1) ORDER BY 1`.
fn values(cursor: &mut Cursor) -> Result<Option<Vec<Vec<Cell>>>> {
    if cursor.peek_word(0) != Some("values") || !values_alone(cursor) {
        return Ok(None);
    }
    cursor.skip(1);
    let mut rows = Vec::new();
    loop {
        cursor.expect_token(&Token::LParen)?;
        let mut row = Vec::new();
        loop {
            row.push(match cursor.take(&["default"]) {
                true => Cell::Default,
                false => Cell::from(cursor.run(Parser::parse_expr)?),
            });
            if !cursor.take_token(&Token::Comma) {
                break;
            }
        }
        cursor.expect_token(&Token::RParen)?;
        rows.push(row);
        if !cursor.take_token(&Token::Comma) {
            return Ok(Some(rows));
        }
    }
}

/// Looks past the rows, by their parentheses.
fn values_alone(cursor: &Cursor) -> bool {
    let mut depth = 0usize;
    // The first token is VALUES. Tokens carry no white space, so an index is a distance.
    let mut index = cursor.parser.index() + 1;
    loop {
        let token = &cursor.parser.token_at(index).token;
        match token {
            Token::EOF => return true,
            Token::LParen => depth += 1,
            // The INSERT is a query of WITH, and ends.
            Token::RParen if depth == 0 => return true,
            Token::RParen => depth -= 1,
            // Rows with queries in them are a query's.
            Token::Word(word) if word.quote_style.is_none() && word.value == "select" => return false,
            Token::Word(word) if depth == 0 => {
                return word.quote_style.is_none() && matches!(word.value.as_str(), "returning" | "on");
            }
            _ => {}
        }
        index += 1;
    }
}
