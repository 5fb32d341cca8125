//! BEGIN to RELEASE SAVEPOINT, and the modes of a transaction.
//!
//! One rule: every spelling that PostgreSQL has is read; whether the isolation level can be given is the session's.

use sqlparser::tokenizer::Token;

use super::super::statement::{IsolationLevel, Statement, TransactionModes};
use super::cursor::Cursor;
use crate::error::{Result, SqlError};

pub fn transaction(cursor: &mut Cursor) -> Result<Statement> {
    let word = cursor.label()?;
    match word.as_str() {
        "begin" => {
            take_noise(cursor);
            let modes = modes(cursor)?;
            Ok(Statement::Begin { tag: "BEGIN", modes })
        }
        "start" => {
            cursor.expect(&["transaction"])?;
            let modes = modes(cursor)?;
            Ok(Statement::Begin {
                tag: "START TRANSACTION",
                modes,
            })
        }
        "commit" | "end" => {
            if word == "commit" && cursor.peek_word(0) == Some("offsets") {
                return super::group::commit(cursor);
            }
            refuse_prepared(cursor)?;
            take_noise(cursor);
            Ok(Statement::Commit { chain: chain(cursor)? })
        }
        "rollback" | "abort" => {
            refuse_prepared(cursor)?;
            take_noise(cursor);
            if word == "rollback" && cursor.take(&["to"]) {
                take_savepoint_word(cursor);
                return Ok(Statement::RollbackTo(cursor.identifier()?));
            }
            Ok(Statement::Rollback { chain: chain(cursor)? })
        }
        "savepoint" => Ok(Statement::Savepoint(cursor.identifier()?)),
        "release" => {
            take_savepoint_word(cursor);
            Ok(Statement::ReleaseSavepoint(cursor.identifier()?))
        }
        word => unreachable!("the caller has seen the word {word:?}"),
    }
}

fn take_noise(cursor: &mut Cursor) {
    if !cursor.take(&["work"]) {
        cursor.take(&["transaction"]);
    }
}

/// The word SAVEPOINT, unless it is the name of one.
fn take_savepoint_word(cursor: &mut Cursor) {
    if cursor.parser.peek_nth_token_ref(1).token != Token::EOF {
        cursor.take(&["savepoint"]);
    }
}

fn refuse_prepared(cursor: &Cursor) -> Result<()> {
    if cursor.peek_word(0) == Some("prepared") {
        return Err(
            SqlError::unsupported("two-phase commit is not supported", "Use COMMIT and ROLLBACK.")
                .position(cursor.position()),
        );
    }
    Ok(())
}

fn chain(cursor: &mut Cursor) -> Result<bool> {
    if !cursor.take(&["and"]) {
        return Ok(false);
    }
    let no = cursor.take(&["no"]);
    cursor.expect(&["chain"])?;
    Ok(!no)
}

/// `ISOLATION LEVEL ...`, `READ ONLY`, `READ WRITE`, `[NOT] DEFERRABLE`, with commas or without.
pub fn modes(cursor: &mut Cursor) -> Result<TransactionModes> {
    let mut modes = TransactionModes::default();
    let mut comma = false;
    loop {
        if cursor.take(&["isolation"]) {
            cursor.expect(&["level"])?;
            modes.isolation = Some(isolation_level(cursor)?);
        } else if cursor.take(&["read", "only"]) {
            modes.read_only = Some(true);
        } else if cursor.take(&["read", "write"]) {
            modes.read_only = Some(false);
        } else if cursor.take(&["not", "deferrable"]) {
            modes.deferrable = Some(false);
        } else if cursor.take(&["deferrable"]) {
            // It only says that a serializable read-only transaction may wait at its start; none here has to.
            modes.deferrable = Some(true);
        } else if comma {
            return Err(cursor.syntax_error());
        } else {
            return Ok(modes);
        }
        comma = cursor.take_token(&Token::Comma);
    }
}

fn isolation_level(cursor: &mut Cursor) -> Result<IsolationLevel> {
    for (words, level) in [
        (&["serializable"] as &[&str], IsolationLevel::Serializable),
        (&["repeatable", "read"], IsolationLevel::RepeatableRead),
        (&["read", "committed"], IsolationLevel::ReadCommitted),
        (&["read", "uncommitted"], IsolationLevel::ReadUncommitted),
    ] {
        if cursor.take(words) {
            return Ok(level);
        }
    }
    Err(cursor.syntax_error())
}
