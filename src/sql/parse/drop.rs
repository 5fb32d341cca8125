//! DROP.
//!
//! One rule: `DROP ... IF EXISTS` of a kind of object that does not exist here has nothing to drop, and says so; without
//! IF EXISTS it is 0A000.

use sqlparser::tokenizer::Token;

use super::super::statement::{Drop, Name, ObjectKind, Statement};
use super::cursor::Cursor;
use super::show::object_kind;
use crate::error::{Result, SqlError};

pub fn drop(cursor: &mut Cursor) -> Result<Statement> {
    cursor.expect(&["drop"])?;
    let kind = match object_kind(cursor) {
        Some(kind) => kind,
        None if cursor.take(&["schema"]) => ObjectKind::Schema,
        None if cursor.peek_words(&["consumer", "group"]) => return super::group::drop(cursor),
        None => return other(cursor),
    };
    let if_exists = cursor.if_exists();
    let mut names = Vec::new();
    loop {
        names.push(if kind == ObjectKind::Schema {
            let position = Some(cursor.position());
            Name {
                schema: None,
                name: cursor.identifier()?,
                position,
            }
        } else {
            cursor.name()?
        });
        if !cursor.take_token(&Token::Comma) {
            break;
        }
    }
    let cascade = cursor.take(&["cascade"]);
    if !cascade {
        cursor.take(&["restrict"]);
    }
    Ok(Statement::Drop(Drop {
        kind,
        names,
        if_exists,
        cascade,
    }))
}

/// Kinds of objects that PostgreSQL has, or that come later.
fn other(cursor: &mut Cursor) -> Result<Statement> {
    const KINDS: [(&[&str], &str); 25] = [
        (&["index"], "DROP INDEX"),
        (&["sequence"], "DROP SEQUENCE"),
        (&["type"], "DROP TYPE"),
        (&["domain"], "DROP DOMAIN"),
        (&["function"], "DROP FUNCTION"),
        (&["procedure"], "DROP PROCEDURE"),
        (&["routine"], "DROP ROUTINE"),
        (&["aggregate"], "DROP AGGREGATE"),
        (&["trigger"], "DROP TRIGGER"),
        (&["rule"], "DROP RULE"),
        (&["policy"], "DROP POLICY"),
        (&["extension"], "DROP EXTENSION"),
        (&["role"], "DROP ROLE"),
        (&["user"], "DROP USER"),
        (&["group"], "DROP GROUP"),
        (&["database"], "DROP DATABASE"),
        (&["tablespace"], "DROP TABLESPACE"),
        (&["collation"], "DROP COLLATION"),
        (&["cast"], "DROP CAST"),
        (&["operator"], "DROP OPERATOR"),
        (&["foreign", "table"], "DROP FOREIGN TABLE"),
        (&["subscription"], "DROP SUBSCRIPTION"),
        (&["source"], "DROP SOURCE"),
        (&["sink"], "DROP SINK"),
        (&["connection"], "DROP CONNECTION"),
    ];
    let position = cursor.position();
    let Some((_, tag)) = KINDS.iter().find(|(words, _)| cursor.take(words)) else {
        return Err(cursor.syntax_error());
    };
    let kind = tag.trim_start_matches("DROP ").to_lowercase();
    if !cursor.if_exists() {
        return Err(SqlError::unsupported(
            format!("{tag} is not supported"),
            format!(
                "There is no {kind} of a user to drop; DROP {} IF EXISTS is accepted.",
                kind.to_uppercase()
            ),
        )
        .position(position));
    }
    let name = cursor.label()?;
    while !cursor.at_end() {
        cursor.skip(1);
    }
    Ok(Statement::Nothing {
        tag,
        notice: Some(format!("{kind} \"{name}\" does not exist, skipping")),
    })
}
