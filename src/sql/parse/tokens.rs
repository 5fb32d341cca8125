//! Tokens of one statement by their places: words, brackets, and tokens that are made up.
//!
//! One rule: a token that is made up has the position of the one that it stands for.

use sqlparser::tokenizer::{Token, TokenWithSpan};

/// The unquoted word at `at`, folded.
pub fn word_at(tokens: &[TokenWithSpan], at: usize) -> Option<&str> {
    match tokens.get(at).map(|token| &token.token) {
        Some(Token::Word(word)) if word.quote_style.is_none() => Some(&word.value),
        _ => None,
    }
}

/// The words from `at` on are these.
pub fn words_at(tokens: &[TokenWithSpan], at: usize, words: &[&str]) -> bool {
    words
        .iter()
        .enumerate()
        .all(|(index, word)| word_at(tokens, at + index) == Some(word))
}

pub fn is_at(tokens: &[TokenWithSpan], at: usize, token: &Token) -> bool {
    tokens.get(at).is_some_and(|found| found.token == *token)
}

pub fn is_word(tokens: &[TokenWithSpan], at: usize) -> bool {
    matches!(tokens.get(at).map(|token| &token.token), Some(Token::Word(_)))
}

/// The index of the bracket that closes the one at `open`.
pub fn closing(tokens: &[TokenWithSpan], open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(index);
                }
            }
            _ => {}
        }
    }
    None
}

/// A token made up here, standing where `like` stands.
pub fn made(token: Token, like: &TokenWithSpan) -> TokenWithSpan {
    TokenWithSpan::new(token, like.span)
}

pub fn made_words(words: &[&str], like: &TokenWithSpan) -> impl Iterator<Item = TokenWithSpan> {
    words
        .iter()
        .map(|word| match *word {
            "*" => Token::Mul,
            "-" => Token::Minus,
            "(" => Token::LParen,
            "," => Token::Comma,
            word => Token::make_word(word, None),
        })
        .map(|token| made(token, like))
        .collect::<Vec<_>>()
        .into_iter()
}
