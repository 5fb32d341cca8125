//! Letters exchanged for others.

use hashbrown::HashMap;

use crate::sql::functions::overload::{Row, RowResult};

/// `translate(text, from, to)`: letters of `from` that have no counterpart go.
pub fn translate<'a>(row: &Row<'a>) -> RowResult<'a> {
    let mut exchange: HashMap<char, Option<char>> = HashMap::new();
    let mut to = row.text(2).chars();
    for letter in row.text(1).chars() {
        let other = to.next();
        exchange.entry(letter).or_insert(other);
    }
    let text = row.text(0).chars();
    let made: String = text
        .filter_map(|letter| exchange.get(&letter).copied().unwrap_or(Some(letter)))
        .collect();
    Ok(made.into())
}

/// `replace(text, from, to)`: nothing is not found anywhere.
pub fn replace<'a>(row: &Row<'a>) -> RowResult<'a> {
    let (text, from) = (row.text(0), row.text(1));
    if from.is_empty() || !text.contains(from) {
        return Ok(text.into());
    }
    Ok(text.replace(from, row.text(2)).into())
}

/// Words are letters and digits.
pub fn initcap(text: &str) -> String {
    let mut made = String::with_capacity(text.len());
    let mut within = false;
    for letter in text.chars() {
        match within {
            true => made.extend(one(letter, letter.to_lowercase())),
            false => made.extend(one(letter, letter.to_uppercase())),
        }
        within = letter.is_alphanumeric();
    }
    made
}

/// A letter whose other case is more than one letter stays as it is.
fn one(letter: char, mut other: impl Iterator<Item = char>) -> Option<char> {
    match (other.next(), other.next()) {
        (Some(other), None) => Some(other),
        _ => Some(letter),
    }
}
