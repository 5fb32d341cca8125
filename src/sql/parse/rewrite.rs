//! Spellings that `sqlparser` does not read, brought into ones that it does, on the tokens of one statement.
//!
//! One rule: nothing here changes the meaning of a statement; a replacement keeps the position of the token that it
//! replaces. Rewrites that need names or types are `sql::analyze`'s.
//!
//! | written | read as |
//! |---|---|
//! | `EMIT ON WINDOW CLOSE`, `EMIT FINAL`, `EMIT CHANGES` | taken off, see [`EmitClause`] |
//! | `TABLE t` as a query | `SELECT * FROM t` |
//! | `TUMBLE(TABLE t, DESCRIPTOR(ts), ...)` | `TUMBLE(t, DESCRIPTOR(ts), ...)` |
//! | `SESSION(t PARTITION BY k, ts, ...)` | `SESSION(t, mark, k, ts, ...)` |
//! | `FROM ONLY t`, `FROM ONLY (t)` | `FROM t`: no relation has heirs |
//! | `SELECT` without columns and FROM | `SELECT FROM` one row |
//! | `COLLATE pg_catalog.default`, `"C"`, `"POSIX"` | nothing: text is compared by its bytes |
//! | `::pg_catalog.int4` | `::int4` |
//! | `INTERVAL (2) '...'` | `INTERVAL '...' (2)` |
//! | `a ASOF JOIN b` | `a GLOBAL JOIN b`: a word that no other form of ours has |
//! | `b FOR SYSTEM_TIME AS OF PROCTIME()` | `mark.b` |
//! | `a global JOIN b` | `a "global" JOIN b` |

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use super::super::statement::{Emit, mark};
use super::tokens::{is_at, is_word, made, made_words, word_at, words_at};
use super::{marks, spellings};
use crate::error::{SqlError, state};

/// An EMIT clause, and where it stood.
#[derive(Clone, Copy, Debug)]
pub struct EmitClause {
    pub emit: Emit,
    pub span: Span,
}

/// Whether a pass here has to look at a statement with this (folded, unquoted) word.
pub fn is_looked_for(word: &str) -> bool {
    marks::is_looked_for(word)
        || spellings::is_looked_for(word)
        || matches!(
            word,
            "emit"
                | "table"
                | "collate"
                | "pg_catalog"
                | "descriptor"
                | "session"
                | "asof"
                | "global"
                | "system_time"
                | "only"
                | "interval"
        )
}

/// Rewrites the tokens of one statement in place.
pub fn rewrite(tokens: &mut Vec<TokenWithSpan>) -> Result<Option<EmitClause>, SqlError> {
    mark_system_time(tokens)?;
    let emit = take_emit(tokens)?;
    rewrite_window_functions(tokens);
    rewrite_tables(tokens);
    drop_only(tokens);
    drop_collations(tokens);
    drop_type_schemas(tokens);
    name_functions(tokens);
    turn_precisions(tokens);
    rewrite_asof(tokens);
    spellings::rewrite(tokens);
    marks::rewrite(tokens)?;
    Ok(emit)
}

/// `a ASOF [LEFT] JOIN b`. (Behind AS it is a name.)
fn rewrite_asof(tokens: &mut [TokenWithSpan]) {
    for at in 1..tokens.len() {
        let begins_join = matches!(
            word_at(tokens, at + 1),
            Some("join" | "left" | "inner" | "right" | "full")
        );
        if !begins_join || word_at(tokens, at - 1) == Some("as") || is_at(tokens, at - 1, &Token::Period) {
            continue;
        }
        let word = match word_at(tokens, at) {
            Some("global") => Token::make_word("global", Some('"')),
            Some("asof") => Token::make_word("global", None),
            _ => continue,
        };
        tokens[at] = made(word, &tokens[at].clone());
    }
}

/// `INTERVAL (2) '...'`: the precision goes behind the string.
fn turn_precisions(tokens: &mut [TokenWithSpan]) {
    for at in 0..tokens.len().saturating_sub(4) {
        let is_precision = word_at(tokens, at) == Some("interval")
            && is_at(tokens, at + 1, &Token::LParen)
            && matches!(tokens[at + 2].token, Token::Number(..))
            && is_at(tokens, at + 3, &Token::RParen)
            && matches!(tokens[at + 4].token, Token::SingleQuotedString(_));
        if is_precision {
            tokens[at + 1..=at + 4].rotate_right(1);
        }
    }
}

/// `b FOR SYSTEM_TIME AS OF PROCTIME()`; 0A000 for other times.
fn mark_system_time(tokens: &mut Vec<TokenWithSpan>) -> Result<(), SqlError> {
    let mut at = 2;
    while at < tokens.len() {
        if word_at(tokens, at) != Some("system_time") || word_at(tokens, at - 1) != Some("for") {
            at += 1;
            continue;
        }
        let ends = is_at(tokens, at + 4, &Token::LParen) && is_at(tokens, at + 5, &Token::RParen);
        if !words_at(tokens, at + 1, &["as", "of", "proctime"]) || !ends || !is_word(tokens, at - 2) {
            let error = SqlError::unsupported(
                "FOR SYSTEM_TIME AS OF takes no time but PROCTIME()",
                "Use JOIN relation FOR SYSTEM_TIME AS OF PROCTIME(), or ASOF JOIN to join by a time of your own.",
            );
            return Err(error.position(tokens[at].span.start.column as usize));
        }
        tokens.drain(at - 1..at + 6);
        let mut name = at - 2;
        while name >= 2 && is_at(tokens, name - 1, &Token::Period) && is_word(tokens, name - 2) {
            name -= 2;
        }
        let like = tokens[name].clone();
        let mark = made(Token::make_word(mark::AS_OF_COMMIT, Some('"')), &like);
        tokens.splice(name..name, [mark, made(Token::Period, &like)]);
    }
    Ok(())
}

/// Takes the statement's EMIT clause out of its tokens. It belongs to the outermost query; within COPY (...) that is
/// the one in the parentheses.
fn take_emit(tokens: &mut Vec<TokenWithSpan>) -> Result<Option<EmitClause>, SqlError> {
    let outermost = usize::from(word_at(tokens, 0) == Some("copy"));
    let mut depth = 0usize;
    let mut found: Option<EmitClause> = None;
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        let clause = if word_at(tokens, at) != Some("emit") {
            None
        } else if words_at(tokens, at + 1, &["on", "window", "close"]) {
            Some((Emit::OnWindowClose, 4))
        } else if words_at(tokens, at + 1, &["final"]) {
            Some((Emit::OnWindowClose, 2))
        } else if words_at(tokens, at + 1, &["changes"]) {
            Some((Emit::OnChange, 2))
        } else {
            None
        };
        let Some((emit, length)) = clause else {
            at += 1;
            continue;
        };
        let span = Span::new(tokens[at].span.start, tokens[at + length - 1].span.end);
        let position = span.start.column as usize;
        if found.is_some() {
            return Err(SqlError::new(state::SYNTAX_ERROR, "EMIT is given twice").position(position));
        }
        if depth != outermost {
            return Err(SqlError::unsupported(
                "EMIT in a subquery is not supported",
                "Put EMIT at the end of the whole query, or make the subquery a view of its own.",
            )
            .position(position));
        }
        found = Some(EmitClause { emit, span });
        tokens.drain(at..at + length);
    }
    Ok(found)
}

/// The relation of a window, and its keys.
fn rewrite_window_functions(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 0;
    while at < tokens.len() {
        let is_window = matches!(word_at(tokens, at), Some("tumble" | "hop" | "cumulate" | "session"));
        if !is_window || !is_at(tokens, at + 1, &Token::LParen) {
            at += 1;
            continue;
        }
        at += 2;
        let mut depth = 0usize;
        let mut inner = at;
        while let Some(token) = tokens.get(inner) {
            match token.token {
                Token::LParen => depth += 1,
                Token::RParen if depth == 0 => break,
                Token::RParen => depth -= 1,
                // TUMBLE(TABLE t, ...), TUMBLE(DATA => TABLE t, ...)
                _ if depth == 0 && word_at(tokens, inner) == Some("table") && is_word(tokens, inner + 1) => {
                    tokens.remove(inner);
                }
                // SESSION(t PARTITION BY k, ...)
                _ if depth == 0 && words_at(tokens, inner, &["partition", "by"]) => {
                    let like = tokens[inner].clone();
                    let comma = || made(Token::Comma, &like);
                    let mark = made(Token::make_word(mark::PARTITION_BY, Some('"')), &like);
                    tokens.splice(inner..inner + 2, [comma(), mark, comma()]);
                    inner += 2;
                }
                _ => {}
            }
            inner += 1;
        }
    }
}

/// `TABLE t` where a query may stand.
fn rewrite_tables(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 0;
    while at < tokens.len() {
        if word_at(tokens, at) != Some("table") || !is_word(tokens, at + 1) {
            at += 1;
            continue;
        }
        // A column may be named so.
        let is_name = matches!(
            word_at(tokens, at + 1),
            Some(
                "from"
                    | "where"
                    | "group"
                    | "having"
                    | "window"
                    | "order"
                    | "limit"
                    | "offset"
                    | "fetch"
                    | "for"
                    | "union"
                    | "except"
                    | "intersect"
            )
        );
        let starts_query = match at.checked_sub(1) {
            _ if is_name => false,
            None => true,
            Some(before) if is_at(tokens, before, &Token::LParen) => true,
            // WITH x AS (...) TABLE x
            Some(before) if is_at(tokens, before, &Token::RParen) => tokens
                .iter()
                .take(before)
                .any(|token| matches!(&token.token, Token::Word(word) if word.value == "with")),
            Some(before) => matches!(
                word_at(tokens, before),
                Some("union" | "all" | "distinct" | "except" | "intersect" | "as")
            ),
        };
        // EXPLAIN TABLE t, DECLARE c CURSOR FOR TABLE t: the word before is the last one of a prefix.
        let after_prefix = at > 0
            && matches!(word_at(tokens, 0), Some("explain" | "declare" | "insert"))
            && !matches!(
                word_at(tokens, at - 1),
                Some("create" | "alter" | "drop" | "truncate" | "temporary")
            );
        if starts_query || after_prefix {
            let like = tokens[at].clone();
            let only = usize::from(word_at(tokens, at + 1) == Some("only") && is_word(tokens, at + 2));
            tokens.splice(at..=at + only, made_words(&["select", "*", "from"], &like));
        }
        at += 1;
    }
}

/// ONLY before the name of a relation.
fn drop_only(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 1;
    while at < tokens.len() {
        let before = is_at(tokens, at - 1, &Token::Comma) || matches!(word_at(tokens, at - 1), Some("from" | "join"));
        if !before || word_at(tokens, at) != Some("only") {
            at += 1;
            continue;
        }
        let bracket = is_at(tokens, at + 1, &Token::LParen);
        let name = at + 1 + usize::from(bracket);
        let qualified = is_at(tokens, name + 1, &Token::Period);
        let end = name + if qualified { 3 } else { 1 };
        if is_word(tokens, name) && (!bracket || word_at(tokens, name) != Some("select")) {
            if bracket && is_at(tokens, end, &Token::RParen) {
                tokens.remove(end);
                tokens.remove(at + 1);
            }
            tokens.remove(at);
        }
        at += 1;
    }
}

/// SELECT without a list and without FROM is one row without columns.
pub fn give_empty_selects_a_row(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 0;
    while at < tokens.len() {
        let named = at > 0 && (word_at(tokens, at - 1) == Some("as") || is_at(tokens, at - 1, &Token::Period));
        let empty = word_at(tokens, at) == Some("select")
            && !named
            && match tokens.get(at + 1) {
                None => true,
                Some(next) if next.token == Token::RParen => true,
                Some(_) => matches!(
                    word_at(tokens, at + 1),
                    Some("union" | "intersect" | "except" | "where" | "limit")
                ),
            };
        if empty {
            let like = tokens[at].clone();
            let mut row: Vec<TokenWithSpan> = made_words(&["from", "(", "values", "("], &like).collect();
            row.push(made(Token::Number("1".to_string(), false), &like));
            row.extend([Token::RParen, Token::RParen].map(|token| made(token, &like)));
            row.extend(made_words(&["as"], &like));
            // A name that no column of the statement has.
            let name = || made(Token::make_word("?", Some('"')), &like);
            row.extend([name(), made(Token::LParen, &like), name(), made(Token::RParen, &like)]);
            tokens.splice(at + 1..at + 1, row);
        }
        at += 1;
    }
}

/// Collations that are how text is compared anyway. Others stay, and the planner refuses them.
fn drop_collations(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 1;
    while at < tokens.len() {
        if word_at(tokens, at) == Some("collate") {
            let qualified = word_at(tokens, at + 1) == Some("pg_catalog") && is_at(tokens, at + 2, &Token::Period);
            let name = if qualified { at + 3 } else { at + 1 };
            let is_bytewise = match tokens.get(name).map(|token| &token.token) {
                Some(Token::Word(word)) => matches!(word.value.as_str(), "default" | "C" | "POSIX" | "ucs_basic"),
                _ => false,
            };
            if is_bytewise {
                tokens.drain(at..=name);
                continue;
            }
        }
        at += 1;
    }
}

/// `pg_catalog.substring(...)`: with a schema it is a function like any other, without the grammar of its name.
fn name_functions(tokens: &mut [TokenWithSpan]) {
    for at in 2..tokens.len().saturating_sub(1) {
        let has_grammar = matches!(
            word_at(tokens, at),
            Some("substring" | "position" | "overlay" | "trim" | "extract" | "ceil" | "floor" | "convert")
        );
        let is_qualified = is_at(tokens, at - 1, &Token::Period) && is_word(tokens, at - 2);
        if !has_grammar || !is_qualified || !is_at(tokens, at + 1, &Token::LParen) {
            continue;
        }
        if let Token::Word(word) = &mut tokens[at].token {
            word.quote_style = Some('"');
            word.value = word.value.to_lowercase();
            word.keyword = Keyword::NoKeyword;
        }
    }
}

/// `::pg_catalog.type` and `CAST(x AS pg_catalog.type)`.
fn drop_type_schemas(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 1;
    while at < tokens.len() {
        let is_type = is_at(tokens, at - 1, &Token::DoubleColon) || word_at(tokens, at - 1) == Some("as");
        if is_type && word_at(tokens, at) == Some("pg_catalog") && is_at(tokens, at + 1, &Token::Period) {
            tokens.drain(at..at + 2);
            // A quoted type name in the system schema is that type: "char" apart, which is another one than char.
            if let Some(Token::Word(word)) = tokens.get_mut(at).map(|token| &mut token.token)
                && word.quote_style.is_some()
                && word.value != "char"
            {
                *word = match Token::make_word(&word.value, None) {
                    Token::Word(word) => word,
                    _ => unreachable!("make_word makes words"),
                };
            }
        }
        at += 1;
    }
}
