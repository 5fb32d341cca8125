//! WITH before a statement: queries that write (INSERT), or an INSERT behind them.
//!
//! One rule: a WITH that only reads before a SELECT is the query parser's. Not here: the order of execution
//! (`sql/with.rs`).

use sqlparser::ast::{self, TableAlias, TableAliasColumnDef};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::super::statement::{Insert, Statement};
use super::super::with;
use super::cursor::Cursor;
use super::{insert, unsupported};
use crate::error::{Result, SqlError, state};

/// `WITH [RECURSIVE] name [(columns)] AS [[NOT] MATERIALIZED] (statement), ... statement`.
pub fn with(cursor: &mut Cursor) -> Result<Statement> {
    if !writes(cursor) {
        return Ok(Statement::Select(cursor.select()?.into()));
    }
    let emit = cursor.take_emit();
    cursor.expect(&["with"])?;
    let recursive = cursor.take(&["recursive"]);
    let mut ctes = Vec::new();
    loop {
        ctes.push(cte(cursor)?);
        if !cursor.take_token(&Token::Comma) {
            break;
        }
    }
    cursor.put_emit(emit);
    let position = cursor.position();
    let main = match cursor.peek_word(0) {
        Some("insert") => insert::insert(cursor)?,
        Some(word @ ("update" | "delete" | "merge")) => return Err(refused(word).position(position)),
        _ => Statement::Select(cursor.select()?.into()),
    };
    with::build(recursive, ctes, main)
}

fn refused(word: &str) -> SqlError {
    unsupported::statement(word).expect("it is known")
}

/// A query of the list, and the INSERT that it is.
fn cte(cursor: &mut Cursor) -> Result<(ast::Cte, Option<Insert>)> {
    let is_select = !body(cursor, cursor.parser.index()).is_some_and(|(verb, _)| is_write(verb));
    if is_select {
        return Ok((cursor.run(Parser::parse_cte)?, None));
    }
    let name = cursor.run(Parser::parse_identifier)?;
    let columns = cursor.optional_columns()?.into_iter();
    let columns = columns.map(|column| TableAliasColumnDef {
        name: ast::Ident::with_quote('"', column),
        data_type: None,
    });
    let alias = TableAlias {
        explicit: false,
        name,
        columns: columns.collect(),
        at: None,
    };
    cursor.expect(&["as"])?;
    cursor.take(&["not"]);
    cursor.take(&["materialized"]);
    cursor.expect_token(&Token::LParen)?;
    let position = cursor.position();
    let statement = match cursor.peek_word(0) {
        Some("insert") => insert::insert(cursor)?,
        Some("with") => with(cursor)?,
        Some(word) => return Err(refused(word).position(position)),
        None => return Err(cursor.syntax_error()),
    };
    let Statement::Insert(insert) = statement else {
        return Err(with::not_at_top_level().position(position));
    };
    cursor.expect_token(&Token::RParen)?;
    let cte = ast::Cte {
        alias,
        // Its rows stand there in the end.
        query: super::only_select("SELECT 1")?.query.clone(),
        from: None,
        materialized: None,
        closing_paren_token: ast::helpers::attached_token::AttachedToken::empty(),
    };
    Ok((cte, Some(insert)))
}

/// Refuses a query whose WITH writes, with `message`.
pub fn refuse_writes(query: &ast::Query, message: &str) -> Result<()> {
    let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
    let mut bodies = ctes.map(|cte| cte.query.body.as_ref());
    match bodies.any(with::is_write) {
        true => Err(SqlError::new(state::FEATURE_NOT_SUPPORTED, message)),
        false => Ok(()),
    }
}

fn is_write(verb: &str) -> bool {
    matches!(verb, "insert" | "update" | "delete" | "merge")
}

/// Whether one of the queries of the WITH that is next writes, or the statement behind them does.
fn writes(cursor: &Cursor) -> bool {
    let mut index = cursor.parser.index() + 1;
    index += usize::from(word(cursor, index) == Some("recursive"));
    while let Some((verb, end)) = body(cursor, index) {
        if is_write(verb) {
            return true;
        }
        if cursor.parser.token_at(end).token != Token::Comma {
            return word(cursor, end).is_some_and(is_write);
        }
        index = end + 1;
    }
    false
}

/// Of the query of WITH whose name is at `index`: its verb, past a WITH of its own, and the index past it.
fn body<'c>(cursor: &'c Cursor, index: usize) -> Option<(&'c str, usize)> {
    let token = |index: usize| &cursor.parser.token_at(index).token;
    let mut index = index + 1;
    if *token(index) == Token::LParen {
        index = past(cursor, index)?;
    }
    if word(cursor, index) != Some("as") {
        return None;
    }
    index += 1;
    index += usize::from(word(cursor, index) == Some("not"));
    index += usize::from(word(cursor, index) == Some("materialized"));
    if *token(index) != Token::LParen {
        return None;
    }
    let end = past(cursor, index)?;
    let mut verb = word(cursor, index + 1).unwrap_or("(");
    if verb == "with" {
        let mut inner = index + 2;
        inner += usize::from(word(cursor, inner) == Some("recursive"));
        while let Some((_, past)) = body(cursor, inner) {
            inner = past + 1;
            if *token(past) != Token::Comma {
                // A WITH that only reads is the query parser's.
                verb = word(cursor, past).unwrap_or("(");
                break;
            }
        }
    }
    Some((verb, end))
}

/// The index past the parenthesis that closes the one there.
fn past(cursor: &Cursor, open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for index in open.. {
        match &cursor.parser.token_at(index).token {
            Token::EOF => return None,
            Token::LParen => depth += 1,
            Token::RParen if depth == 1 => return Some(index + 1),
            Token::RParen => depth -= 1,
            _ => {}
        }
    }
    None
}

fn word<'c>(cursor: &'c Cursor, index: usize) -> Option<&'c str> {
    match &cursor.parser.token_at(index).token {
        Token::Word(word) if word.quote_style.is_none() => Some(&word.value),
        _ => None,
    }
}
