//! Text to statements: PostgreSQL by `sqlparser`, our own DDL and EMIT by our own words in front of it.
//!
//! One rule: unsupported syntax is refused here or later with 0A000 and an alternative; nothing is accepted and
//! then ignored, but for statements that say so in a NOTICE. Pure: names stay names, literals stay literals.
//!
//! ```text
//! text -> lexer (one statement at a time, depth bounded) -> insert (the fast path: rows of literals)
//!                                                        -> rewrite -> cursor -> one file per kind of statement
//! ```

mod lexer;

mod depth;

mod insert;
mod with;

mod tokens;

mod marks;
mod rewrite;
mod spellings;

mod precedence;

mod cursor;

mod query;

mod missing_type;

mod alter;
mod create;
mod drop;
mod options;
mod storage;

mod copy;
mod group;
mod setting;
mod show;
mod transaction;
mod unsupported;
mod utility;

use std::sync::Arc;

use sqlparser::ast;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use self::cursor::Cursor;
use self::lexer::{Lexer, StatementTokens};
use super::functions::growth;
use super::statement::{Insert, Select, Statement};
use crate::error::Result;
use crate::stop;

pub use super::statement::Parsed;
pub use create::numeric_out_of_range;
pub use cursor::BoundedDialect;
pub use missing_type::missing_type;
pub use options::parse_interval_us;

/// Tokens of a short statement: the parser may go over them several times.
const TOKENS_FEW: usize = 128;

/// Bytes of a token while its statement is parsed: itself with its text, and its part of the tree, which has an
/// expression for every other token or fewer.
const TOKEN_BYTES: usize = size_of::<TokenWithSpan>() + 32 + size_of::<ast::Expr>() / 2;

/// The SELECT that a text made by the server is.
pub fn only_select(text: &str) -> Result<Arc<Select>> {
    match parse(text)?.pop().map(|parsed| parsed.statement) {
        Some(Statement::Select(select)) => Ok(select),
        _ => unreachable!("the text was made to be a SELECT"),
    }
}

/// Splits a query string into its statements and parses each. Empty statements are dropped; the first error is
/// everybody's. Positions count in the whole string.
pub fn parse(text: &str) -> Result<Vec<Parsed>> {
    let mut lexer = Lexer::new(text);
    let mut parsed = Vec::new();
    while let Some(mut tokens) = lexer.next_statement()? {
        stop::check()?;
        let literals = insert::of_literals(&mut tokens.tokens);
        parsed.push(parse_one(text, tokens, literals)?);
    }
    Ok(parsed)
}

/// The statements of a string if parsing them takes little more than reading them: rows of literals, however many, and
/// short statements. `None` for all else.
pub fn parse_bounded(text: &str) -> Result<Option<Vec<Parsed>>> {
    let mut lexer = Lexer::new(text);
    let mut parsed = Vec::new();
    while let Some(mut tokens) = lexer.next_statement()? {
        let literals = insert::of_literals(&mut tokens.tokens);
        if literals.is_none() && tokens.tokens.len() > TOKENS_FEW {
            return Ok(None);
        }
        parsed.push(parse_one(text, tokens, literals)?);
    }
    Ok(Some(parsed))
}

/// One expression that stands alone: a DEFAULT or a CHECK as it was written.
pub fn expression(text: &str) -> Result<ast::Expr> {
    let mut tokens = Lexer::new(text).next_statement()?.unwrap_or_default();
    if tokens.needs_rewrite {
        rewrite::rewrite(&mut tokens.tokens)?;
    }
    let dialect = BoundedDialect::new(tokens.tokens.len());
    let mut cursor = Cursor::new(text, &dialect, tokens.tokens, None);
    let expr = cursor.run(Parser::parse_expr)?;
    cursor.expect_end()?;
    Ok(expr)
}

/// `literals`: the statement if it is only an INSERT of literals.
fn parse_one(source: &str, tokens: StatementTokens, literals: Option<Insert>) -> Result<Parsed> {
    let StatementTokens {
        mut tokens,
        parameters,
        notices,
        needs_rewrite,
    } = tokens;
    let text = text_of(source, &tokens).to_string();
    let mut databases = Vec::new();
    let statement = if let Some(insert) = literals {
        Statement::Insert(insert)
    } else {
        let emit = if needs_rewrite {
            rewrite::rewrite(&mut tokens)?
        } else {
            None
        };
        rewrite::give_empty_selects_a_row(&mut tokens);
        growth::claim((tokens.len() * TOKEN_BYTES) as u64)?;
        let dialect = BoundedDialect::new(tokens.len());
        let mut cursor = Cursor::new(source, &dialect, tokens, emit);
        let statement = statement(&mut cursor)?;
        cursor.expect_end()?;
        cursor.expect_emit_taken()?;
        databases = cursor.take_databases();
        statement
    };
    // The parameters in a PREPARE are those of the statement that it names.
    let parameters = match statement {
        Statement::Prepare { .. } => 0,
        _ => parameters,
    };
    Ok(Parsed {
        statement,
        text,
        parameters,
        notices,
        databases,
    })
}

/// From the first token to the end of the last.
fn text_of<'a>(source: &'a str, tokens: &[TokenWithSpan]) -> &'a str {
    match (tokens.first(), tokens.last()) {
        (Some(first), Some(last)) => {
            let (start, end) = (first.span.start.line as usize - 1, last.span.end.line as usize - 1);
            source.get(start..end).expect("tokens stand in the text, in order")
        }
        _ => "",
    }
}

/// One statement, by its leading words. The rest of the text is the caller's.
fn statement(cursor: &mut Cursor) -> Result<Statement> {
    if cursor.next_is(&Token::LParen) {
        return Ok(Statement::Select(cursor.select()?.into()));
    }
    let position = cursor.position();
    let Some(word) = cursor.peek_word(0) else {
        return Err(cursor.syntax_error());
    };
    match word {
        "with" => with::with(cursor),
        "select" | "values" => Ok(Statement::Select(cursor.select()?.into())),
        "insert" => insert::insert(cursor),
        "copy" => copy::copy(cursor),
        "consume" => group::consume(cursor),
        "create" => create::create(cursor),
        "drop" => drop::drop(cursor),
        "alter" => alter::alter(cursor),
        "comment" => utility::comment(cursor),
        "explain" => query::explain(cursor),
        "prepare" => query::prepare(cursor),
        "execute" => query::execute(cursor),
        "deallocate" => query::deallocate(cursor),
        "declare" => query::declare(cursor),
        "fetch" => query::fetch(cursor, false),
        "move" => query::fetch(cursor, true),
        "close" => query::close(cursor),
        "begin" | "start" | "commit" | "end" | "rollback" | "abort" | "savepoint" | "release" => {
            transaction::transaction(cursor)
        }
        "set" => setting::set(cursor),
        "reset" => setting::reset(cursor),
        "show" => show::show(cursor),
        "describe" | "desc" => show::describe(cursor),
        "discard" => utility::discard(cursor),
        "flush" | "wait" | "refresh" => utility::catch_up(cursor),
        "vacuum" | "analyze" | "analyse" | "checkpoint" => utility::nothing(cursor),
        "lock" => utility::lock(cursor),
        "listen" | "unlisten" | "notify" => utility::channel(cursor),
        word => match unsupported::statement(word) {
            Some(error) => Err(error.position(position)),
            None => Err(cursor.syntax_error()),
        },
    }
}

#[cfg(test)]
mod tests;
