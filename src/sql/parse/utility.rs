//! Small statements: COMMENT, DISCARD, FLUSH and its kin, and those that do nothing but say so.
//!
//! One rule: a statement that has nothing to do here gives the reason in a NOTICE.

use sqlparser::tokenizer::Token;

use super::super::statement::Statement;
use super::cursor::Cursor;
use super::show::object_kind;
use crate::error::{Result, SqlError, state};

/// `COMMENT ON TOPIC | TABLE | VIEW | MATERIALIZED VIEW name IS '...' | NULL`, `COMMENT ON COLUMN name.column IS ...`.
pub fn comment(cursor: &mut Cursor) -> Result<Statement> {
    cursor.expect(&["comment", "on"])?;
    let position = cursor.position();
    let (on, column) = if object_kind(cursor).is_some() {
        (cursor.name()?, None)
    } else if cursor.take(&["column"]) {
        column_name(cursor)?
    } else {
        let Some(word) = cursor.peek_word(0) else {
            return Err(cursor.syntax_error());
        };
        return Err(SqlError::unsupported(
            format!("COMMENT ON {} is not supported", word.to_uppercase()),
            "Topics, tables, views, materialized views and their columns take comments.",
        )
        .position(position));
    };
    cursor.expect(&["is"])?;
    let text = if cursor.take(&["null"]) {
        None
    } else {
        // An empty comment is none.
        Some(cursor.string()?).filter(|text| !text.is_empty())
    };
    Ok(Statement::Comment { on, column, text })
}

/// `[[database.]schema.]relation.column`.
fn column_name(cursor: &mut Cursor) -> Result<(super::super::statement::Name, Option<String>)> {
    let position = cursor.position();
    let mut parts = cursor.parts()?;
    let column = parts.pop();
    if parts.is_empty() {
        return Err(SqlError::new(state::SYNTAX_ERROR, "column name must be qualified").position(position));
    }
    Ok((cursor.name_of(parts, position)?, column))
}

pub fn discard(cursor: &mut Cursor) -> Result<Statement> {
    cursor.expect(&["discard"])?;
    for word in ["all", "plans", "sequences", "temp", "temporary"] {
        if cursor.take(&[word]) {
            let word = if word == "temporary" { "temp" } else { word };
            return Ok(Statement::Discard(word.to_uppercase()));
        }
    }
    Err(cursor.syntax_error())
}

/// `FLUSH`, `WAIT`, `REFRESH MATERIALIZED VIEW name`.
pub fn catch_up(cursor: &mut Cursor) -> Result<Statement> {
    if cursor.take(&["flush"]) {
        return Ok(Statement::CatchUp {
            tag: "FLUSH",
            view: None,
        });
    }
    if cursor.take(&["wait"]) {
        return Ok(Statement::CatchUp {
            tag: "WAIT",
            view: None,
        });
    }
    cursor.expect(&["refresh", "materialized", "view"])?;
    if !cursor.at_end() && cursor.parser.peek_nth_token_ref(1).token != Token::EOF {
        cursor.take(&["concurrently"]);
    }
    let view = cursor.name()?;
    let position = cursor.position();
    if cursor.take(&["with", "no", "data"]) {
        return Err(SqlError::unsupported(
            "REFRESH MATERIALIZED VIEW ... WITH NO DATA is not supported",
            "A materialized view is always up to date; it cannot be emptied.",
        )
        .position(position));
    }
    cursor.take(&["with", "data"]);
    Ok(Statement::CatchUp {
        tag: "REFRESH MATERIALIZED VIEW",
        view: Some(view),
    })
}

/// `LISTEN channel`, `UNLISTEN channel | *`, `NOTIFY channel [, 'payload']`.
pub fn channel(cursor: &mut Cursor) -> Result<Statement> {
    let word = cursor.label()?;
    if word == "unlisten" && cursor.take_token(&Token::Mul) {
        return Ok(Statement::Unlisten(None));
    }
    let channel = cursor.identifier()?;
    match word.as_str() {
        "listen" => Ok(Statement::Listen(channel)),
        "unlisten" => Ok(Statement::Unlisten(Some(channel))),
        "notify" => {
            let payload = match cursor.take_token(&Token::Comma) {
                true => cursor.string()?,
                false => String::new(),
            };
            Ok(Statement::Notify { channel, payload })
        }
        word => unreachable!("the caller has seen the word {word:?}"),
    }
}

/// `LOCK [TABLE] [ONLY] name [*], ... [IN mode MODE] [NOWAIT]`.
pub fn lock(cursor: &mut Cursor) -> Result<Statement> {
    const MODES: [&[&str]; 8] = [
        &["access", "share"],
        &["row", "share"],
        &["row", "exclusive"],
        &["share", "update", "exclusive"],
        &["share", "row", "exclusive"],
        &["share"],
        &["exclusive"],
        &["access", "exclusive"],
    ];
    cursor.expect(&["lock"])?;
    cursor.take(&["table"]);
    let mut names = Vec::new();
    loop {
        cursor.take(&["only"]);
        names.push(cursor.name()?);
        cursor.take_token(&Token::Mul);
        if !cursor.take_token(&Token::Comma) {
            break;
        }
    }
    if cursor.take(&["in"]) {
        if !MODES.iter().any(|mode| cursor.take(mode)) {
            return Err(cursor.syntax_error());
        }
        cursor.expect(&["mode"])?;
    }
    cursor.take(&["nowait"]);
    Ok(Statement::Lock(names))
}

/// Accepted, and nothing to do.
pub fn nothing(cursor: &mut Cursor) -> Result<Statement> {
    let word = cursor.label()?;
    let (tag, notice) = match word.as_str() {
        "vacuum" => (
            "VACUUM",
            Some("VACUUM does nothing: a log leaves nothing behind to clean up"),
        ),
        "analyze" | "analyse" => (
            "ANALYZE",
            Some("ANALYZE does nothing: there are no statistics to gather"),
        ),
        "checkpoint" => (
            "CHECKPOINT",
            Some("CHECKPOINT does nothing: a commit is durable when it is acknowledged"),
        ),
        word => unreachable!("the caller has seen the word {word:?}"),
    };
    while !cursor.at_end() && word != "checkpoint" {
        cursor.skip(1);
    }
    Ok(Statement::Nothing {
        tag,
        notice: notice.map(str::to_string),
    })
}
