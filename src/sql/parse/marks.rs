//! Clauses for which `sqlparser`'s tree has no place, brought into one: brackets that it needs, and names that mark the rest.
//!
//! One rule: a mark is a name of `statement::mark`, which stands where the clause belongs; the analyzer takes it out again.
//!
//! | written | read as |
//! |---|---|
//! | `ROLLUP ((a) + 1, ...)`, `CUBE`, `GROUPING SETS` | `ROLLUP (((a) + 1), ...)`: an element that is no list of keys |
//! | `GROUPING SETS (GROUPING SETS (a), b)` | `GROUPING SETS (a, b)` |
//! | `GROUP BY ALL a` | `GROUP BY a` |
//! | `GROUP BY DISTINCT a` | `GROUP BY mark, a` |
//! | `ORDER BY a USING >` | `ORDER BY a DESC` |
//! | `(ORDER BY a ROWS ... EXCLUDE TIES)` | `(ORDER BY a, mark ROWS ...)` |
//! | `f(VARIADIC a)` | `f(mark => a)` |
//! | `ROWS FROM (f(a), g(b))` | `mark(f(a), g(b))` |
//! | `(query) SEARCH DEPTH FIRST BY a SET b` | `(query ORDER BY mark(b, a))` |
//! | `(query) CYCLE a SET b TO x DEFAULT y USING c` | `(query ORDER BY mark(x, y, b, c, a))` |

use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::super::statement::mark;
use super::tokens::{closing, is_at, is_word, made, word_at};
use crate::error::{SqlError, SqlState};

/// 42809
const WRONG_OBJECT_TYPE: SqlState = crate::error::state::WRONG_OBJECT_TYPE;

/// Whether a pass here has to look at a statement with this (folded, unquoted) word.
pub fn is_looked_for(word: &str) -> bool {
    matches!(
        word,
        "rollup" | "cube" | "grouping" | "group" | "using" | "exclude" | "variadic" | "rows" | "search" | "cycle"
    )
}

/// Rewrites the tokens of one statement in place.
pub fn rewrite(tokens: &mut Vec<TokenWithSpan>) -> Result<(), SqlError> {
    flatten_grouping_sets(tokens);
    bracket_grouping_elements(tokens);
    mark_group_by(tokens);
    mark_traversals(tokens);
    rewrite_using(tokens)?;
    mark_exclusions(tokens);
    mark_variadic(tokens);
    mark_rows_from(tokens);
    Ok(())
}

fn marked(name: &str, like: &TokenWithSpan) -> TokenWithSpan {
    made(Token::make_word(name, Some('"')), like)
}

/// The end of the element at `from` in brackets that end at `end`: a comma, or the end.
fn end_of_element(tokens: &[TokenWithSpan], from: usize, end: usize) -> usize {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().take(end).skip(from) {
        match token.token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket => depth = depth.saturating_sub(1),
            Token::Comma if depth == 0 => return at,
            _ => {}
        }
    }
    end
}

/// Sets within sets are as if they stood there themselves.
fn flatten_grouping_sets(tokens: &mut Vec<TokenWithSpan>) {
    // The ends of the brackets around.
    let mut ends: Vec<usize> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        while ends.last().is_some_and(|end| *end < at) {
            ends.pop();
        }
        let begins = word_at(tokens, at) == Some("grouping") && word_at(tokens, at + 1) == Some("sets");
        if !begins || !is_at(tokens, at + 2, &Token::LParen) {
            at += 1;
            continue;
        }
        let Some(end) = closing(tokens, at + 2) else { return };
        let first =
            is_at(tokens, at.saturating_sub(1), &Token::LParen) || is_at(tokens, at.saturating_sub(1), &Token::Comma);
        // Empty brackets are refused where they stand.
        if first && ends.last().is_some_and(|around| end < *around) && end > at + 3 {
            tokens.remove(end);
            tokens.drain(at..at + 3);
            for around in &mut ends {
                *around -= 4;
            }
        } else {
            ends.push(end);
            at += 3;
        }
    }
}

/// An element that begins with a bracket is read as a list of keys, which must end there.
fn bracket_grouping_elements(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 0;
    while at < tokens.len() {
        let open = match word_at(tokens, at) {
            Some("rollup" | "cube") => at + 1,
            Some("grouping") if word_at(tokens, at + 1) == Some("sets") => at + 2,
            _ => {
                at += 1;
                continue;
            }
        };
        at += 1;
        if !is_at(tokens, open, &Token::LParen) {
            continue;
        }
        let Some(mut end) = closing(tokens, open) else { return };
        let mut from = open + 1;
        while from < end {
            let to = end_of_element(tokens, from, end);
            let is_list = closing(tokens, from) == Some(to - 1)
                && !matches!(word_at(tokens, from + 1), Some("select" | "values" | "with"));
            if is_at(tokens, from, &Token::LParen) && to > from + 1 && !is_list {
                let (first, last) = (tokens[from].clone(), tokens[to - 1].clone());
                tokens.insert(to, made(Token::RParen, &last));
                tokens.insert(from, made(Token::LParen, &first));
                end += 2;
                from = to + 3;
            } else {
                from = to + 1;
            }
        }
    }
}

/// `GROUP BY ALL | DISTINCT` before the keys.
fn mark_group_by(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 2;
    while at < tokens.len() {
        if word_at(tokens, at - 2) == Some("group") && word_at(tokens, at - 1) == Some("by") {
            match word_at(tokens, at) {
                Some("all") => {
                    tokens.remove(at);
                }
                Some("distinct") => {
                    let like = tokens[at].clone();
                    tokens[at] = marked(mark::DISTINCT_SETS, &like);
                    tokens.insert(at + 1, made(Token::Comma, &like));
                }
                _ => {}
            }
        }
        at += 1;
    }
}

/// `ORDER BY x USING <`, by the order of the operator.
fn rewrite_using(tokens: &mut Vec<TokenWithSpan>) -> Result<(), SqlError> {
    let mut at = 1;
    while at < tokens.len() {
        // Any word may be a name behind AS or a dot.
        let is_name = word_at(tokens, at - 1) == Some("as") || is_at(tokens, at - 1, &Token::Period);
        if word_at(tokens, at) != Some("using") || is_name {
            at += 1;
            continue;
        }
        let mut operator = at + 1;
        let mut end = at + 2;
        if word_at(tokens, operator) == Some("operator") && is_at(tokens, operator + 1, &Token::LParen) {
            let Some(close) = closing(tokens, operator + 1) else {
                return Ok(());
            };
            operator = close - 1;
            end = close + 1;
        }
        let order = match tokens.get(operator).map(|token| &token.token) {
            Some(Token::Lt) => "asc",
            Some(Token::Gt) => "desc",
            Some(Token::CustomBinaryOperator(symbol)) if symbol == "~<~" => "asc",
            Some(Token::CustomBinaryOperator(symbol)) if symbol == "~>~" => "desc",
            // JOIN ... USING (a), CREATE INDEX ... USING hash
            None | Some(Token::LParen | Token::Word(_) | Token::SingleQuotedString(_)) => {
                at += 1;
                continue;
            }
            Some(other) => {
                let message = format!("operator {other} is not a valid ordering operator");
                return Err(SqlError::new(WRONG_OBJECT_TYPE, message)
                    .hint("Ordering operators must be \"<\" or \">\" members of btree operator families.")
                    .position(tokens[at].span.start.column as usize));
            }
        };
        let like = tokens[at].clone();
        tokens.splice(at..end, [made(Token::make_word(order, None), &like)]);
        at += 1;
    }
    Ok(())
}

/// EXCLUDE at the end of a window's frame.
fn mark_exclusions(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 1;
    while at < tokens.len() {
        let (name, length) = match (word_at(tokens, at), word_at(tokens, at + 1), word_at(tokens, at + 2)) {
            (Some("exclude"), Some("no"), Some("others")) => ("", 3),
            (Some("exclude"), Some("current"), Some("row")) => (mark::EXCLUDE_CURRENT_ROW, 3),
            (Some("exclude"), Some("group"), _) => (mark::EXCLUDE_GROUP, 2),
            (Some("exclude"), Some("ties"), _) => (mark::EXCLUDE_TIES, 2),
            _ => {
                at += 1;
                continue;
            }
        };
        let end = at + length;
        let is_frame = |at: usize| matches!(word_at(tokens, at), Some("rows" | "range" | "groups"));
        // The frame is the last part of the window, and begins with its unit.
        let mut frame = None;
        let mut ordered = false;
        let mut depth = 0usize;
        for before in (0..at).rev() {
            match tokens[before].token {
                Token::RParen => depth += 1,
                Token::LParen if depth == 0 => break,
                Token::LParen => depth -= 1,
                _ if depth > 0 => {}
                _ if is_frame(before) && frame.is_none() => frame = Some(before),
                _ => ordered |= word_at(tokens, before) == Some("order") && word_at(tokens, before + 1) == Some("by"),
            }
        }
        at += 1;
        let Some(frame) = frame.filter(|_| is_at(tokens, end, &Token::RParen)) else {
            continue;
        };
        let like = tokens[at - 1].clone();
        tokens.drain(at - 1..end);
        if name.is_empty() {
            continue;
        }
        let mut added = match ordered {
            true => vec![made(Token::Comma, &like)],
            false => ["order", "by"]
                .map(|word| made(Token::make_word(word, None), &like))
                .into(),
        };
        added.push(marked(name, &like));
        tokens.splice(frame..frame, added);
    }
}

/// SEARCH and CYCLE behind the query of a WITH. ORDER BY has no other use there: PostgreSQL has none in a recursive query.
fn mark_traversals(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 1;
    while at < tokens.len() {
        if !is_at(tokens, at - 1, &Token::RParen) {
            at += 1;
            continue;
        }
        let search = search_clause(tokens, at);
        let begins = search.as_ref().map_or(at, |(end, _)| *end);
        let cycle = cycle_clause(tokens, begins);
        let Some((end, _)) = cycle.as_ref().or(search.as_ref()) else {
            at += 1;
            continue;
        };
        let end = *end;
        let like = tokens[at].clone();
        let word = |word: &str| made(Token::make_word(word, None), &like);
        let mut added = vec![word("order"), word("by")];
        for (_, call) in search.into_iter().chain(cycle) {
            if added.len() > 2 {
                added.push(made(Token::Comma, &like));
            }
            added.extend(call);
        }
        tokens.drain(at..end);
        tokens.splice(at - 1..at - 1, added);
        at += 1;
    }
}

/// `a, b SET c`: where it ends, `c` and the list.
fn columns_and_name(tokens: &[TokenWithSpan], from: usize) -> Option<(usize, TokenWithSpan, Vec<TokenWithSpan>)> {
    let mut at = from;
    let mut columns = Vec::new();
    loop {
        if !is_word(tokens, at) {
            return None;
        }
        columns.push(tokens[at].clone());
        at += 1;
        if !is_at(tokens, at, &Token::Comma) {
            break;
        }
        at += 1;
    }
    let is_named = word_at(tokens, at) == Some("set") && is_word(tokens, at + 1);
    is_named.then(|| (at + 2, tokens[at + 1].clone(), columns))
}

/// A call of a mark with lists of tokens as arguments.
fn marked_call(name: &str, arguments: Vec<Vec<TokenWithSpan>>, like: &TokenWithSpan) -> Vec<TokenWithSpan> {
    let mut call = vec![marked(name, like), made(Token::LParen, like)];
    for (at, argument) in arguments.into_iter().enumerate() {
        if at > 0 {
            call.push(made(Token::Comma, like));
        }
        call.extend(argument);
    }
    call.push(made(Token::RParen, like));
    call
}

/// `SEARCH DEPTH | BREADTH FIRST BY a, b SET c`: where it ends, and its mark.
fn search_clause(tokens: &[TokenWithSpan], at: usize) -> Option<(usize, Vec<TokenWithSpan>)> {
    let name = match (word_at(tokens, at)?, word_at(tokens, at + 1)?) {
        ("search", "depth") => mark::SEARCH_DEPTH,
        ("search", "breadth") => mark::SEARCH_BREADTH,
        _ => return None,
    };
    if word_at(tokens, at + 2) != Some("first") || word_at(tokens, at + 3) != Some("by") {
        return None;
    }
    let (end, set, columns) = columns_and_name(tokens, at + 4)?;
    let mut arguments = vec![vec![set]];
    arguments.extend(columns.into_iter().map(|column| vec![column]));
    Some((end, marked_call(name, arguments, &tokens[at])))
}

/// `CYCLE a, b SET c [TO value DEFAULT value] USING d`: where it ends, and its mark.
fn cycle_clause(tokens: &[TokenWithSpan], at: usize) -> Option<(usize, Vec<TokenWithSpan>)> {
    if word_at(tokens, at) != Some("cycle") {
        return None;
    }
    let like = &tokens[at];
    let (mut end, set, columns) = columns_and_name(tokens, at + 1)?;
    let find = |from: usize, word: &str| (from..tokens.len()).find(|at| word_at(tokens, *at) == Some(word));
    let truth = |value: &str| vec![made(Token::make_word(value, None), like)];
    let (mut value, mut default) = (truth("true"), truth("false"));
    if word_at(tokens, end) == Some("to") {
        let between = find(end, "default")?;
        let using = find(between, "using")?;
        value = tokens[end + 1..between].to_vec();
        default = tokens[between + 1..using].to_vec();
        end = using;
    }
    if word_at(tokens, end) != Some("using") || !is_word(tokens, end + 1) {
        return None;
    }
    let mut arguments = vec![value, default, vec![set], vec![tokens[end + 1].clone()]];
    arguments.extend(columns.into_iter().map(|column| vec![column]));
    Some((end + 2, marked_call(mark::CYCLE, arguments, like)))
}

/// `VARIADIC` before an argument.
fn mark_variadic(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 1;
    while at < tokens.len() {
        let is_argument = is_at(tokens, at - 1, &Token::LParen) || is_at(tokens, at - 1, &Token::Comma);
        let goes_on = !matches!(
            tokens.get(at + 1).map(|token| &token.token),
            None | Some(Token::Comma | Token::RParen | Token::RArrow)
        );
        if is_argument && goes_on && word_at(tokens, at) == Some("variadic") {
            let like = tokens[at].clone();
            tokens[at] = marked(mark::VARIADIC, &like);
            tokens.insert(at + 1, made(Token::RArrow, &like));
        }
        at += 1;
    }
}

/// `ROWS FROM (...)` in FROM.
fn mark_rows_from(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 1;
    while at + 2 < tokens.len() {
        let begins = word_at(tokens, at) == Some("rows") && word_at(tokens, at + 1) == Some("from");
        if begins && is_at(tokens, at + 2, &Token::LParen) {
            let like = tokens[at].clone();
            tokens.splice(at..at + 2, [marked(mark::ROWS_FROM, &like)]);
        }
        at += 1;
    }
}
