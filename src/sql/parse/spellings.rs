//! Forms of PostgreSQL's grammar that `sqlparser` reads in one spelling only, brought into that, on the tokens of a statement.
//!
//! One rule: as in `rewrite.rs`, a form means the same afterwards, and its tokens keep their positions.
//!
//! | written | read as |
//! |---|---|
//! | `trim(BOTH FROM a)`, `trim(FROM a)` | `trim(BOTH ' ' FROM a)` |
//! | `substring(a FOR n FROM m)` | `substring(a FROM m FOR n)` |
//! | `substring(a SIMILAR b ESCAPE c)` | `substring(a FROM b FOR c)` |
//! | `FETCH FIRST (a) ROWS ONLY` | `LIMIT (a)` |
//! | `COLLATION FOR (a)` | `pg_collation_for(a)` |
//! | `FROM current_date` | `FROM current_date()` |
//! | `FROM t *` | `FROM t` |
//! | `JOIN t USING (a) AS b` | `JOIN t USING (a, mark b)` |
//! | `(row).*` | `(row).mark` |
//! | `t.* IS NULL` | `mark(t.*) IS NULL` |

use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::super::statement::mark;
use super::tokens::{closing, is_at, is_word, made, word_at};

/// Whether a pass here has to look at a statement with this (folded, unquoted) word.
pub fn is_looked_for(word: &str) -> bool {
    matches!(word, "trim" | "substring" | "fetch" | "collation") || is_value(word)
}

/// Whether the tokens before a `*` make a statement one for a pass here: `t.*`, `FROM t *`.
pub fn is_looked_for_before_star(tokens: &[TokenWithSpan]) -> bool {
    let Some(last) = tokens.len().checked_sub(1) else {
        return false;
    };
    let before = last.wrapping_sub(1);
    let begins_item = matches!(word_at(tokens, before), Some("from" | "join"))
        || is_at(tokens, before, &Token::Comma)
        || is_at(tokens, before, &Token::Period);
    is_at(tokens, last, &Token::Period) || is_word(tokens, last) && begins_item
}

/// Words that are functions without brackets.
fn is_value(word: &str) -> bool {
    matches!(
        word,
        "current_date"
            | "current_time"
            | "current_timestamp"
            | "localtime"
            | "localtimestamp"
            | "current_user"
            | "current_role"
            | "current_catalog"
            | "current_schema"
            | "session_user"
            | "user"
    )
}

/// Rewrites the tokens of one statement in place.
pub fn rewrite(tokens: &mut Vec<TokenWithSpan>) {
    let mut clauses = Clauses::default();
    let mut at = 0;
    while at < tokens.len() {
        clauses.see(tokens, at);
        match word_at(tokens, at) {
            Some("trim") => trim(tokens, at),
            Some("substring") => substring(tokens, at),
            Some("fetch") => fetch(tokens, at),
            Some("collation") => collation(tokens, at),
            Some("using") => using(tokens, at),
            Some("from" | "join") if clauses.in_from() => from_item(tokens, at + 1),
            None if is_at(tokens, at, &Token::Comma) && clauses.in_from() => from_item(tokens, at + 1),
            _ => {}
        }
        if is_at(tokens, at, &Token::Mul) && is_at(tokens, at.wrapping_sub(1), &Token::Period) {
            let before = at.wrapping_sub(2);
            match is_at(tokens, before, &Token::RParen) || is_at(tokens, before, &Token::RBracket) {
                true => tokens[at] = made(Token::make_word(mark::ALL_FIELDS, Some('"')), &tokens[at].clone()),
                false => at = whole_row(tokens, at),
            }
        }
        at += 1;
    }
}

fn word(text: &str, like: &TokenWithSpan) -> TokenWithSpan {
    made(Token::make_word(text, None), like)
}

fn trim(tokens: &mut Vec<TokenWithSpan>, at: usize) {
    if !is_at(tokens, at + 1, &Token::LParen) {
        return;
    }
    let from = match word_at(tokens, at + 2) {
        Some("both" | "leading" | "trailing") => at + 3,
        _ => at + 2,
    };
    if word_at(tokens, from) == Some("from") {
        let like = tokens[from].clone();
        let blank = Token::SingleQuotedString(" ".to_string());
        tokens.insert(from, made(blank, &like));
    }
}

/// Positions of the words of a call that are not within brackets of their own.
fn words_of_call(tokens: &[TokenWithSpan], open: usize, close: usize) -> Vec<(usize, &str)> {
    let mut depth = 0usize;
    let mut found = Vec::new();
    for at in open + 1..close {
        match tokens[at].token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            _ => found.extend(word_at(tokens, at).map(|word| (at, word))),
        }
    }
    found
}

fn substring(tokens: &mut Vec<TokenWithSpan>, at: usize) {
    let open = at + 1;
    if !is_at(tokens, open, &Token::LParen) {
        return;
    }
    let Some(close) = closing(tokens, open) else { return };
    let words = words_of_call(tokens, open, close);
    let find = |wanted: &str| words.iter().find(|(_, word)| *word == wanted).map(|(at, _)| *at);
    match (find("similar"), find("escape"), find("for"), find("from")) {
        (Some(similar), Some(escape), _, _) if similar < escape && word_at(tokens, similar + 1) != Some("to") => {
            tokens[similar] = word("from", &tokens[similar].clone());
            tokens[escape] = word("for", &tokens[escape].clone());
        }
        (_, _, Some(count), Some(from)) if count < from => {
            let start = tokens[from..close].to_vec();
            tokens.drain(from..close);
            tokens.splice(count..count, start);
        }
        _ => {}
    }
}

fn fetch(tokens: &mut Vec<TokenWithSpan>, at: usize) {
    if !matches!(word_at(tokens, at + 1), Some("first" | "next")) || !is_at(tokens, at + 2, &Token::LParen) {
        return;
    }
    let Some(close) = closing(tokens, at + 2) else { return };
    if matches!(word_at(tokens, close + 1), Some("row" | "rows")) && word_at(tokens, close + 2) == Some("only") {
        tokens.drain(close + 1..close + 3);
        let like = tokens[at].clone();
        tokens.splice(at..at + 2, [word("limit", &like)]);
    }
}

fn collation(tokens: &mut Vec<TokenWithSpan>, at: usize) {
    if word_at(tokens, at + 1) == Some("for") && is_at(tokens, at + 2, &Token::LParen) {
        let like = tokens[at].clone();
        tokens.splice(at..at + 2, [word("pg_collation_for", &like)]);
    }
}

/// The name of a join's merged columns.
fn using(tokens: &mut Vec<TokenWithSpan>, at: usize) {
    if !is_at(tokens, at + 1, &Token::LParen) {
        return;
    }
    let Some(close) = closing(tokens, at + 1) else { return };
    let names_only = (at + 2..close).all(|at| is_word(tokens, at) || is_at(tokens, at, &Token::Comma));
    if !names_only || word_at(tokens, close + 1) != Some("as") {
        return;
    }
    let Some(Token::Word(name)) = tokens.get(close + 2).map(|token| token.token.clone()) else {
        return;
    };
    let like = tokens[close + 2].clone();
    let marked = format!("{}{}", mark::USING_ALIAS, name.value);
    tokens.drain(close + 1..close + 3);
    let alias = [
        made(Token::Comma, &like),
        made(Token::make_word(&marked, Some('"')), &like),
    ];
    tokens.splice(close..close, alias);
}

/// The clauses that the tokens so far leave open, by bracket.
#[derive(Default)]
struct Clauses {
    /// Of the innermost bracket: whether the last SELECT in it has come to its FROM, and not past it.
    from: bool,
    /// Whether there is a SELECT in it.
    select: bool,
    /// The same of the brackets around it.
    outer: Vec<(bool, bool)>,
}

impl Clauses {
    fn see(&mut self, tokens: &[TokenWithSpan], at: usize) {
        match tokens[at].token {
            Token::LParen => {
                self.outer.push((self.from, self.select));
                (self.from, self.select) = (false, false);
            }
            Token::RParen => (self.from, self.select) = self.outer.pop().unwrap_or_default(),
            _ => match word_at(tokens, at) {
                Some("select") => (self.from, self.select) = (false, true),
                // IS DISTINCT FROM
                Some("from") if at > 0 && word_at(tokens, at - 1) == Some("distinct") => {}
                Some("from") => self.from = self.select,
                Some("where" | "group" | "having" | "order" | "window" | "limit" | "on" | "set") => self.from = false,
                _ => {}
            },
        }
    }

    fn in_from(&self) -> bool {
        self.from
    }
}

fn from_item(tokens: &mut Vec<TokenWithSpan>, at: usize) {
    if word_at(tokens, at).is_some_and(is_value) {
        if !is_at(tokens, at + 1, &Token::LParen) && !is_at(tokens, at + 1, &Token::Period) {
            let like = tokens[at].clone();
            let name = match word_at(tokens, at) {
                Some(name) => Token::make_word(name, Some('"')),
                None => return,
            };
            let call = [name, Token::LParen, Token::RParen].map(|token| made(token, &like));
            tokens.splice(at..=at, call);
        }
        return;
    }
    let mut end = at;
    while is_word(tokens, end) && is_at(tokens, end + 1, &Token::Period) {
        end += 2;
    }
    let stands_alone = match tokens.get(end + 2).map(|token| &token.token) {
        None => true,
        Some(Token::RParen | Token::Comma | Token::SemiColon) => true,
        Some(Token::Word(word)) => word.value != "from",
        _ => false,
    };
    if is_word(tokens, end) && is_at(tokens, end + 1, &Token::Mul) && stands_alone {
        tokens.remove(end + 1);
    }
}

/// Rewrites `t.*` before an operator, which ends at `star`; returns its new end.
fn whole_row(tokens: &mut Vec<TokenWithSpan>, star: usize) -> usize {
    let is_operand = match tokens.get(star + 1).map(|token| &token.token) {
        Some(
            Token::Eq
            | Token::Neq
            | Token::Lt
            | Token::Gt
            | Token::LtEq
            | Token::GtEq
            | Token::DoubleColon
            | Token::StringConcat,
        ) => true,
        Some(Token::Word(word)) => {
            word.quote_style.is_none() && matches!(word.value.as_str(), "is" | "in" | "isnull" | "notnull")
        }
        _ => false,
    };
    let mut start = star;
    while start >= 2 && is_at(tokens, start - 1, &Token::Period) && is_word(tokens, start - 2) {
        start -= 2;
    }
    if !is_operand || start == star {
        return star;
    }
    let like = tokens[start].clone();
    tokens.insert(star + 1, made(Token::RParen, &like));
    let call = [
        made(Token::make_word(mark::WHOLE_ROW, Some('"')), &like),
        made(Token::LParen, &like),
    ];
    tokens.splice(start..start, call);
    star + 3
}
