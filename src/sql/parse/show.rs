//! SHOW and DESCRIBE.
//!
//! One rule: words that name our own lists come first, everything else is a setting's name.

use super::super::statement::{ObjectKind, Show, Statement};
use super::cursor::Cursor;
use super::setting;
use crate::error::{Result, SqlError};

pub fn show(cursor: &mut Cursor) -> Result<Statement> {
    cursor.expect(&["show"])?;
    let position = cursor.position();
    let list = |words: &[&str], show: Show, cursor: &mut Cursor| -> Option<Show> { cursor.take(words).then_some(show) };
    let show = if cursor.take(&["create"]) {
        let Some(kind) = object_kind(cursor) else {
            return Err(cursor.syntax_error());
        };
        Show::Create(kind, cursor.name()?)
    } else if cursor.take(&["columns"]) {
        if !cursor.take(&["from"]) {
            cursor.expect(&["in"])?;
        }
        Show::Columns(cursor.name()?)
    } else if let Some(show) = list(&["materialized", "views"], Show::MaterializedViews, cursor)
        .or_else(|| list(&["topics"], Show::Topics, cursor))
        .or_else(|| list(&["consumer", "groups"], Show::ConsumerGroups, cursor))
        .or_else(|| list(&["views"], Show::Views, cursor))
        .or_else(|| list(&["tables"], Show::Tables, cursor))
        .or_else(|| list(&["schemas"], Show::Schemas, cursor))
        .or_else(|| list(&["all"], Show::All, cursor))
        .or_else(|| list(&["time", "zone"], Show::Setting("timezone".to_string()), cursor))
        .or_else(|| {
            list(
                &["transaction", "isolation", "level"],
                Show::Setting("transaction_isolation".to_string()),
                cursor,
            )
        })
        .or_else(|| {
            list(
                &["session", "authorization"],
                Show::Setting("session_authorization".to_string()),
                cursor,
            )
        })
    {
        show
    } else if let Some(hint) = cursor.peek_word(0).and_then(other_list) {
        let word = cursor.peek_word(0).unwrap_or_default().to_uppercase();
        return Err(SqlError::unsupported(format!("SHOW {word} is not supported"), hint).position(position));
    } else {
        Show::Setting(setting::setting_name(cursor)?)
    };
    if !cursor.at_end() && matches!(cursor.peek_word(0), Some("from" | "in" | "like" | "where")) {
        return Err(SqlError::unsupported(
            "SHOW with a filter is not supported",
            "Select from the system schema instead, such as millstream.topics.",
        )
        .position(cursor.position()));
    }
    Ok(Statement::Show(show))
}

/// Lists that others have: where to look instead.
fn other_list(word: &str) -> Option<&'static str> {
    Some(match word {
        "databases" => "There is one database: SELECT datname FROM pg_database.",
        "indexes" | "sources" | "sinks" | "functions" | "connections" | "secrets" => {
            "There are none here. SHOW TOPICS and SHOW MATERIALIZED VIEWS list what there is."
        }
        "jobs" => "SELECT * FROM millstream.materialized_views shows how far each view is.",
        "processlist" => "SELECT * FROM pg_stat_activity.",
        _ => return None,
    })
}

/// `TOPIC`, `TABLE`, `VIEW` or `MATERIALIZED VIEW`, if next.
pub fn object_kind(cursor: &mut Cursor) -> Option<ObjectKind> {
    [
        (&["topic"] as &[&str], ObjectKind::Topic),
        (&["table"], ObjectKind::Table),
        (&["view"], ObjectKind::View),
        (&["materialized", "view"], ObjectKind::MaterializedView),
    ]
    .into_iter()
    .find_map(|(words, kind)| cursor.take(words).then_some(kind))
}

/// `DESCRIBE [TOPIC | TABLE | VIEW | MATERIALIZED VIEW] name`.
pub fn describe(cursor: &mut Cursor) -> Result<Statement> {
    cursor.skip(1);
    // `DESCRIBE topic` is about a relation of that name.
    let named_like_a_kind = matches!(
        cursor.parser.peek_nth_token_ref(1).token,
        sqlparser::tokenizer::Token::EOF | sqlparser::tokenizer::Token::Period
    );
    if !named_like_a_kind {
        object_kind(cursor);
    }
    Ok(Statement::Show(Show::Columns(cursor.name()?)))
}
