//! Consumer groups: CREATE, DROP, ALTER ... SEEK, CONSUME, COMMIT OFFSETS.

use sqlparser::tokenizer::Token;

use super::super::statement::{GroupStatement, StartAt, Statement};
use super::cursor::Cursor;
use super::options::parse_interval_us;
use crate::error::{Result, SqlError, state};

/// Rows of a CONSUME without a LIMIT.
const ROWS_USUAL: u64 = 500;

/// `CONSUMER GROUP [IF NOT EXISTS] name ON topic [START AT position]`, after CREATE.
pub fn create(cursor: &mut Cursor) -> Result<Statement> {
    cursor.expect(&["consumer", "group"])?;
    let if_not_exists = cursor.if_not_exists()?;
    let name = cursor.name()?;
    cursor.expect(&["on"])?;
    let topic = cursor.name()?;
    let start = match cursor.take(&["start"]) {
        true => {
            cursor.expect(&["at"])?;
            start_at(cursor)?
        }
        false => StartAt::Earliest,
    };
    Ok(Statement::Group(GroupStatement::Create {
        name,
        topic,
        start,
        if_not_exists,
    }))
}

/// `CONSUMER GROUP name SEEK TO position | COMMIT`, after ALTER.
pub fn alter(cursor: &mut Cursor) -> Result<Statement> {
    cursor.expect(&["consumer", "group"])?;
    let name = cursor.name()?;
    if cursor.take(&["commit"]) {
        return Ok(Statement::Group(GroupStatement::CommitOffsets(name)));
    }
    cursor.expect(&["seek", "to"])?;
    let to = start_at(cursor)?;
    Ok(Statement::Group(GroupStatement::Seek { name, to }))
}

/// `CONSUMER GROUP [IF EXISTS] name [, ...] [CASCADE | RESTRICT]`, after DROP.
pub fn drop(cursor: &mut Cursor) -> Result<Statement> {
    cursor.expect(&["consumer", "group"])?;
    let if_exists = cursor.if_exists();
    let mut names = vec![cursor.name()?];
    while cursor.take_token(&Token::Comma) {
        names.push(cursor.name()?);
    }
    // Nothing depends on a group.
    if !cursor.take(&["cascade"]) {
        cursor.take(&["restrict"]);
    }
    Ok(Statement::Group(GroupStatement::Drop { names, if_exists }))
}

/// `OFFSETS FOR name`, after COMMIT.
pub fn commit(cursor: &mut Cursor) -> Result<Statement> {
    cursor.expect(&["offsets", "for"])?;
    Ok(Statement::Group(GroupStatement::CommitOffsets(cursor.name()?)))
}

/// `CONSUME FROM name [LIMIT n] [WITH (timeout = '1s')]`.
pub fn consume(cursor: &mut Cursor) -> Result<Statement> {
    cursor.expect(&["consume", "from"])?;
    let group = cursor.name()?;
    let rows_max = match cursor.take(&["limit"]) {
        true => number(cursor)?,
        false => ROWS_USUAL,
    };
    let mut timeout_us = 0;
    if cursor.take(&["with"]) {
        cursor.expect_token(&Token::LParen)?;
        let position = cursor.position();
        let option = cursor.label()?;
        if option != "timeout" {
            return Err(
                SqlError::new(state::SYNTAX_ERROR, format!("unrecognized CONSUME option \"{option}\""))
                    .position(position),
            );
        }
        cursor.expect_token(&Token::Eq)?;
        let position = cursor.position();
        timeout_us = parse_interval_us(&cursor.string()?).map_err(|error| error.position(position))?;
        if timeout_us < 0 {
            return Err(SqlError::new(
                state::INVALID_PARAMETER_VALUE,
                "the timeout of CONSUME must not be negative",
            )
            .position(position));
        }
        cursor.expect_token(&Token::RParen)?;
    }
    Ok(Statement::Group(GroupStatement::Consume {
        group,
        rows_max,
        timeout_us,
    }))
}

/// `EARLIEST`, `LATEST`, `OFFSET n`, `TIMESTAMP '...'`.
fn start_at(cursor: &mut Cursor) -> Result<StartAt> {
    if cursor.take(&["earliest"]) {
        return Ok(StartAt::Earliest);
    }
    if cursor.take(&["latest"]) {
        return Ok(StartAt::Latest);
    }
    if cursor.take(&["offset"]) {
        return Ok(StartAt::Offset(number(cursor)?));
    }
    if !cursor.take(&["timestamptz"]) {
        cursor.expect(&["timestamp"])?;
        cursor.take(&["with", "time", "zone"]);
    }
    Ok(StartAt::Timestamp(cursor.string()?))
}

/// A whole number from 0 on.
fn number(cursor: &mut Cursor) -> Result<u64> {
    let number = match &cursor.parser.peek_token_ref().token {
        Token::Number(digits, false) => digits.parse::<i64>().ok(),
        _ => None,
    };
    let number = number.ok_or_else(|| cursor.syntax_error())?;
    cursor.skip(1);
    Ok(number.unsigned_abs())
}
