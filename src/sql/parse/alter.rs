//! ALTER TOPIC | TABLE | VIEW | MATERIALIZED VIEW | SCHEMA: columns, options, the watermark; names, schemas, owners.
//!
//! One rule: supported changes are read whole; everything else of ALTER is 0A000 that names an alternative.

use sqlparser::tokenizer::Token;

use super::super::statement::{Alter, Alteration, ObjectKind, RoleName, Statement};
use super::create;
use super::cursor::Cursor;
use super::options;
use super::show::object_kind;
use crate::error::{Result, SqlError};

const WHAT_IS: &str = "ADD COLUMN, DROP COLUMN, RENAME COLUMN, RENAME TO, SET SCHEMA, OWNER TO, SET (...), RESET (...) and \
                       ADVANCE WATERMARK TO are. For other changes create a topic with the new definition and INSERT INTO \
                       it SELECT from the old one.";
const WHAT_IS_OF_VIEWS: &str = "RENAME TO, RENAME COLUMN, SET SCHEMA and OWNER TO are. For other changes drop the view and \
                                create it again: it is rebuilt from the log.";

/// `ALTER TOPIC | TABLE | VIEW | MATERIALIZED VIEW [IF EXISTS] name action [, ...]`, `... ADVANCE WATERMARK TO '...'`,
/// `ALTER SCHEMA name action`.
pub fn alter(cursor: &mut Cursor) -> Result<Statement> {
    cursor.expect(&["alter"])?;
    let position = cursor.position();
    if cursor.take(&["schema"]) {
        return schema(cursor);
    }
    if cursor.peek_words(&["consumer", "group"]) {
        return super::group::alter(cursor);
    }
    let Some(kind) = object_kind(cursor) else {
        let Some(word) = cursor.peek_word(0) else {
            return Err(cursor.syntax_error());
        };
        return Err(super::unsupported::alter(word).position(position));
    };
    let is_view = matches!(kind, ObjectKind::View | ObjectKind::MaterializedView);
    let if_exists = cursor.if_exists();
    if !is_view {
        cursor.take(&["only"]);
    }
    let name = cursor.name()?;
    if !is_view && cursor.take(&["advance"]) {
        return advance(cursor, name, if_exists);
    }
    let mut actions = Vec::new();
    match alone(cursor)? {
        Some(action) => actions.push(action),
        None if is_view => actions.push(view_action(cursor)?),
        None => loop {
            actions.push(action(cursor)?);
            if !cursor.take_token(&Token::Comma) {
                break;
            }
        },
    }
    cursor.expect_end()?;
    Ok(Statement::Alter(Alter {
        kind,
        name,
        if_exists,
        actions,
    }))
}

/// `name RENAME TO name`, `name OWNER TO role`.
fn schema(cursor: &mut Cursor) -> Result<Statement> {
    let name = cursor.identifier()?;
    let action = if cursor.take(&["rename", "to"]) {
        Alteration::RenameTo(cursor.identifier()?)
    } else {
        owner(cursor)?.ok_or_else(|| cursor.syntax_error())?
    };
    Ok(Statement::AlterSchema { name, action })
}

/// What no other action stands beside.
fn alone(cursor: &mut Cursor) -> Result<Option<Alteration>> {
    if cursor.take(&["rename", "to"]) {
        return Ok(Some(Alteration::RenameTo(cursor.identifier()?)));
    }
    if cursor.take(&["set", "schema"]) {
        return Ok(Some(Alteration::SetSchema(cursor.identifier()?)));
    }
    Ok(None)
}

/// `OWNER TO role`.
fn owner(cursor: &mut Cursor) -> Result<Option<Alteration>> {
    if !cursor.take(&["owner", "to"]) {
        return Ok(None);
    }
    let is_session = ["current_user", "current_role", "session_user"]
        .iter()
        .any(|word| cursor.take(&[word]));
    Ok(Some(Alteration::OwnerTo(match is_session {
        true => RoleName::Session,
        false => RoleName::Named(cursor.identifier()?),
    })))
}

/// `RENAME [COLUMN] name TO name`.
fn rename_column(cursor: &mut Cursor) -> Result<Option<Alteration>> {
    if cursor.peek_word(0) != Some("rename") || matches!(cursor.peek_word(1), Some("to" | "constraint")) {
        return Ok(None);
    }
    cursor.skip(1);
    cursor.take(&["column"]);
    let from = cursor.identifier()?;
    cursor.expect(&["to"])?;
    let position = cursor.position();
    let to = cursor.identifier()?;
    Ok(Some(Alteration::RenameColumn { from, to, position }))
}

fn view_action(cursor: &mut Cursor) -> Result<Alteration> {
    if let Some(action) = owner(cursor)? {
        return Ok(action);
    }
    if let Some(action) = rename_column(cursor)? {
        return Ok(action);
    }
    Err(other_action(cursor, "VIEW", WHAT_IS_OF_VIEWS))
}

/// An action that is not there, by its words.
fn other_action(cursor: &Cursor, of: &str, what_is: &str) -> SqlError {
    let mut words = Vec::new();
    while let Some(word) = cursor.peek_word(words.len()).filter(|_| words.len() < 2) {
        words.push(word.to_uppercase());
    }
    if words.is_empty() {
        return cursor.syntax_error();
    }
    let what = format!("ALTER {of} ... {} is not supported", words.join(" "));
    SqlError::unsupported(what, what_is).position(cursor.position())
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
    if let Some(action) = owner(cursor)? {
        return Ok(action);
    }
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
    if let Some(action) = rename_column(cursor)? {
        return Ok(action);
    }
    let opens = cursor.parser.peek_nth_token_ref(1).token == Token::LParen;
    if opens && cursor.take(&["set"]) {
        return Ok(Alteration::Set(options::topic_options(cursor)?));
    }
    if opens && cursor.take(&["reset"]) {
        return Ok(Alteration::Reset(options::topic_option_names(cursor)?));
    }
    Err(other_action(cursor, "TOPIC", WHAT_IS))
}
