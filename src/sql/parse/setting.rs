//! SET and RESET in all their forms.
//!
//! One rule: every form becomes a setting's name and the text of its value; the session knows the names and their
//! values.

use bytes::BytesMut;
use sqlparser::tokenizer::Token;

use super::super::statement::Statement;
use super::cursor::Cursor;
use super::{options, transaction};
use crate::catalog::quote_ident;
use crate::error::{Result, SqlError};
use crate::types::{IntervalField, IntervalFields, IntervalStyle, parse_interval_of, write_interval};

pub fn set(cursor: &mut Cursor) -> Result<Statement> {
    cursor.expect(&["set"])?;
    if cursor.take(&["constraints"]) {
        while !cursor.at_end() {
            cursor.skip(1);
        }
        return Ok(Statement::Nothing {
            tag: "SET CONSTRAINTS",
            notice: Some("there are no deferrable constraints".to_string()),
        });
    }
    if cursor.take(&["session", "characteristics", "as", "transaction"]) {
        return Ok(Statement::SetSessionCharacteristics(transaction::modes(cursor)?));
    }
    // `SET session = 1` would be a setting of that name.
    let named_like_a_word = matches!(cursor.parser.peek_nth_token_ref(1).token, Token::Eq | Token::Period)
        || cursor.peek_word(1) == Some("to");
    let mut local = false;
    if !named_like_a_word {
        local = cursor.take(&["local"]);
        if !local {
            cursor.take(&["session"]);
        }
    }
    if cursor.peek_words(&["transaction", "snapshot"]) {
        return Err(SqlError::unsupported(
            "SET TRANSACTION SNAPSHOT is not supported",
            "Use one transaction for what must be read at one point.",
        )
        .position(cursor.position()));
    }
    if !named_like_a_word && cursor.take(&["transaction"]) {
        return Ok(Statement::SetTransaction(transaction::modes(cursor)?));
    }
    let (name, value) = if cursor.take(&["time", "zone"]) {
        ("timezone".to_string(), time_zone(cursor)?)
    } else if cursor.take(&["names"]) {
        let value = if cursor.at_end() || cursor.take(&["default"]) {
            None
        } else {
            Some(options::value(cursor)?)
        };
        ("client_encoding".to_string(), value)
    } else if !named_like_a_word && cursor.take(&["schema"]) {
        ("search_path".to_string(), Some(quote_ident(&cursor.string()?)))
    } else if !named_like_a_word && cursor.take(&["role"]) {
        ("role".to_string(), Some(options::value(cursor)?))
    } else if !named_like_a_word && cursor.take(&["authorization"]) {
        let value = if cursor.take(&["default"]) {
            None
        } else {
            Some(options::value(cursor)?)
        };
        ("session_authorization".to_string(), value)
    } else {
        let name = setting_name(cursor)?;
        if !cursor.take_token(&Token::Eq) {
            cursor.expect(&["to"])?;
        }
        let value = values(cursor, &name)?;
        (name, value)
    };
    Ok(Statement::Set { name, value, local })
}

/// `name` or `prefix.name`, folded: settings have no case.
pub fn setting_name(cursor: &mut Cursor) -> Result<String> {
    let mut name = cursor.identifier()?.to_lowercase();
    while cursor.take_token(&Token::Period) {
        name.push('.');
        name += &cursor.label()?.to_lowercase();
    }
    Ok(name)
}

/// `DEFAULT` is `None`; a list is joined. Names of schemas are quoted, so that the list can be taken apart again.
fn values(cursor: &mut Cursor, name: &str) -> Result<Option<String>> {
    if cursor.take(&["default"]) {
        return Ok(None);
    }
    let mut values = Vec::new();
    loop {
        let value = options::value(cursor)?;
        values.push(if name == "search_path" {
            quote_ident(&value)
        } else {
            value
        });
        if !cursor.take_token(&Token::Comma) {
            return Ok(Some(values.join(", ")));
        }
    }
}

/// A name, an offset in hours, `INTERVAL '...' [HOUR TO MINUTE]`, LOCAL or DEFAULT.
fn time_zone(cursor: &mut Cursor) -> Result<Option<String>> {
    if cursor.take(&["local"]) || cursor.take(&["default"]) {
        return Ok(None);
    }
    if cursor.take(&["interval"]) {
        if cursor.take_token(&Token::LParen) {
            options::value(cursor)?;
            cursor.expect_token(&Token::RParen)?;
        }
        let offset = cursor.string()?;
        let (first, last) = (IntervalField::Hour, IntervalField::Minute);
        let fields = match (cursor.take(&["hour", "to", "minute"]), cursor.take(&["hour"])) {
            (true, _) => Some(IntervalFields { first, last }),
            (false, true) => Some(IntervalFields { first, last: first }),
            (false, false) => None,
        };
        let offset = parse_interval_of(&offset, fields)?;
        let offset = fields.map_or(offset, |fields| fields.cut(offset));
        let mut shown = BytesMut::new();
        write_interval(offset, IntervalStyle::Postgres, &mut shown);
        return Ok(Some(format!("INTERVAL '{}'", String::from_utf8_lossy(&shown))));
    }
    options::value(cursor).map(Some)
}

pub fn reset(cursor: &mut Cursor) -> Result<Statement> {
    cursor.expect(&["reset"])?;
    let name = if cursor.take(&["all"]) {
        None
    } else if cursor.take(&["time", "zone"]) {
        Some("timezone".to_string())
    } else if cursor.take(&["transaction", "isolation", "level"]) {
        Some("transaction_isolation".to_string())
    } else if cursor.take(&["session", "authorization"]) {
        Some("session_authorization".to_string())
    } else {
        Some(setting_name(cursor)?)
    };
    Ok(Statement::Reset(name))
}
