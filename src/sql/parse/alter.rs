//! ALTER TOPIC | TABLE: columns, options, the watermark.
//!
//! One rule: supported changes are read whole; everything else of ALTER is 0A000 that names an alternative.

use sqlparser::tokenizer::Token;

use super::super::statement::{AlterTopic, Alteration, Statement};
use super::create;
use super::cursor::Cursor;
use super::options;
use crate::error::{Result, SqlError};

const WHAT_IS: &str = "ADD COLUMN, DROP COLUMN, RENAME COLUMN, SET (...), RESET (...) and ADVANCE WATERMARK TO are. For \
                       other changes create a topic with the new definition and INSERT INTO it SELECT from the old one.";

/// `ALTER TOPIC | TABLE [IF EXISTS] name action [, ...]`, `... ADVANCE WATERMARK TO '...'`.
pub fn alter(cursor: &mut Cursor) -> Result<Statement> {
    cursor.expect(&["alter"])?;
    let position = cursor.position();
    let Some(word @ ("topic" | "table")) = cursor.peek_word(0) else {
        let Some(word) = cursor.peek_word(0) else {
            return Err(cursor.syntax_error());
        };
        return Err(super::unsupported::alter(word).position(position));
    };
    let tag = if word == "table" { "ALTER TABLE" } else { "ALTER TOPIC" };
    cursor.skip(1);
    let if_exists = cursor.if_exists();
    cursor.take(&["only"]);
    let name = cursor.name()?;
    if cursor.take(&["advance"]) {
        return advance(cursor, name, if_exists);
    }
    let mut actions = Vec::new();
    loop {
        actions.push(action(cursor)?);
        if !cursor.take_token(&Token::Comma) {
            break;
        }
    }
    cursor.expect_end()?;
    Ok(Statement::AlterTopic(AlterTopic {
        tag,
        name,
        if_exists,
        actions,
    }))
}

fn advance(cursor: &mut Cursor, topic: super::super::statement::Name, if_exists: bool) -> Result<Statement> {
    let position = cursor.position();
    if if_exists {
        let hint = "Leave IF EXISTS out.";
        return Err(
            SqlError::unsupported("ALTER ... IF EXISTS ... ADVANCE WATERMARK is not supported", hint)
                .position(position),
        );
    }
    cursor.expect(&["watermark", "to"])?;
    if cursor.take(&["timestamp"]) {
        cursor.take(&["with", "time", "zone"]);
        cursor.take(&["without", "time", "zone"]);
    } else {
        cursor.take(&["timestamptz"]);
    }
    Ok(Statement::AdvanceWatermark {
        topic,
        to: cursor.string()?,
    })
}

fn action(cursor: &mut Cursor) -> Result<Alteration> {
    let position = cursor.position();
    let constraint = |word: &str| {
        matches!(
            word,
            "constraint" | "check" | "primary" | "unique" | "foreign" | "exclude"
        )
    };
    let next_is_constraint = cursor.peek_word(1).is_some_and(constraint);
    if !next_is_constraint && cursor.take(&["add"]) {
        cursor.take(&["column"]);
        let if_not_exists = cursor.if_not_exists()?;
        let position = cursor.position();
        let column = create::added_column(cursor)?;
        return Ok(Alteration::AddColumn {
            column,
            if_not_exists,
            position,
        });
    }
    if !next_is_constraint && cursor.take(&["drop"]) {
        cursor.take(&["column"]);
        let if_exists = cursor.if_exists();
        let column = cursor.identifier()?;
        let cascade = cursor.take(&["cascade"]);
        if !cascade {
            cursor.take(&["restrict"]);
        }
        return Ok(Alteration::DropColumn {
            column,
            if_exists,
            cascade,
        });
    }
    if cursor.peek_word(0) == Some("rename") && !matches!(cursor.peek_word(1), Some("to" | "constraint")) {
        cursor.skip(1);
        cursor.take(&["column"]);
        let from = cursor.identifier()?;
        cursor.expect(&["to"])?;
        let position = cursor.position();
        let to = cursor.identifier()?;
        return Ok(Alteration::RenameColumn { from, to, position });
    }
    let opens = cursor.parser.peek_nth_token_ref(1).token == Token::LParen;
    if opens && cursor.take(&["set"]) {
        return Ok(Alteration::Set(options::topic_options(cursor)?));
    }
    if opens && cursor.take(&["reset"]) {
        return Ok(Alteration::Reset(options::topic_option_names(cursor)?));
    }
    let mut words = Vec::new();
    while let Some(word) = cursor.peek_word(words.len()).filter(|_| words.len() < 2) {
        words.push(word.to_uppercase());
    }
    if words.is_empty() {
        return Err(cursor.syntax_error());
    }
    let what = format!("ALTER TOPIC ... {} is not supported", words.join(" "));
    Err(SqlError::unsupported(what, WHAT_IS).position(position))
}
