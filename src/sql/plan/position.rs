//! Where in the statement's text an error is: 1-based character positions, as PostgreSQL reports them.
//!
//! The parser's spans hold the position itself in `column` (and a byte index in `line`), so nothing is counted here. A
//! context without text has no positions: a stored definition's are not the statement's.

use datafusion::common::{DataFusionError, SchemaError};
use sqlparser::tokenizer::{Location, Span};

use crate::error::SqlError;

/// The character position of a location; `None` for a place that is not in the text.
pub fn of_location(text: &str, location: Location) -> Option<usize> {
    (!text.is_empty() && location.line > 0 && location.column > 0).then_some(location.column as usize)
}

/// The position at which a span starts.
pub fn of_span(text: &str, span: Span) -> Option<usize> {
    of_location(text, span.start)
}

/// Converts an error of planning, and says where it is if that can be told: from the engine's own span, else by the
/// first place where the missing name stands in the text.
pub fn locate(error: DataFusionError, text: &str) -> SqlError {
    let span = span_of(&error);
    let name = name_of(&error);
    let located = SqlError::from(error);
    if located.position.is_some() || text.is_empty() {
        return located;
    }
    let position = span
        .and_then(|(line, column)| of_location(text, Location { line, column }))
        .or_else(|| name.and_then(|name| find_identifier(text, &name)))
        .or_else(|| quoted_function(&located.message).and_then(|name| find_identifier(text, name)));
    match position {
        Some(position) => located.position(position),
        None => located,
    }
}

fn span_of(error: &DataFusionError) -> Option<(u64, u64)> {
    match error {
        DataFusionError::Diagnostic(diagnostic, inner) => match diagnostic.span {
            Some(span) => Some((span.start.line, span.start.column)),
            None => span_of(inner),
        },
        DataFusionError::Context(_, inner) => span_of(inner),
        DataFusionError::Collection(errors) => errors.first().and_then(span_of),
        _ => None,
    }
}

fn name_of(error: &DataFusionError) -> Option<String> {
    match error {
        DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => name_of(inner),
        DataFusionError::Collection(errors) => errors.first().and_then(name_of),
        DataFusionError::SchemaError(schema, _) => match schema.as_ref() {
            SchemaError::FieldNotFound { field, .. } | SchemaError::AmbiguousReference { field } => {
                Some(match &field.relation {
                    Some(relation) => format!("{}.{}", relation.table(), field.name),
                    None => field.name.clone(),
                })
            }
            _ => None,
        },
        _ => None,
    }
}

/// `function foo(integer) does not exist`: `foo`.
fn quoted_function(message: &str) -> Option<&str> {
    let rest = message
        .strip_prefix("function ")
        .or_else(|| message.strip_prefix("window function "))?;
    rest.split([' ', '(']).next()
}

/// The first whole-word place of an identifier, in either case, outside of string literals.
pub fn find_identifier(text: &str, name: &str) -> Option<usize> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    let wanted: Vec<char> = name.chars().flat_map(char::to_lowercase).collect();
    let chars: Vec<char> = text.chars().collect();
    let mut quoted = false;
    for at in 0..chars.len() {
        if chars[at] == '\'' {
            quoted = !quoted;
        }
        if quoted || wanted.is_empty() || at + wanted.len() > chars.len() {
            continue;
        }
        let same = chars[at..at + wanted.len()]
            .iter()
            .zip(&wanted)
            .all(|(have, want)| have.to_lowercase().eq(std::iter::once(*want)));
        let starts = at == 0 || !(is_word(chars[at - 1]) && is_word(wanted[0]));
        let ends = chars.get(at + wanted.len()).is_none_or(|next| !is_word(*next));
        if same && starts && ends {
            return Some(at + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_a_position_where_there_is_text() {
        assert_eq!(of_location("select nope", Location { line: 9, column: 8 }), Some(8));
        assert_eq!(of_location("select nope", Location { line: 0, column: 0 }), None);
        assert_eq!(of_location("", Location { line: 9, column: 8 }), None);
    }

    #[test]
    fn an_identifier_is_found_as_a_whole_word_outside_of_literals() {
        assert_eq!(find_identifier("select 'ab', abc, AB from t", "ab"), Some(19));
        assert_eq!(find_identifier("select t.x, x", "t.x"), Some(8));
        assert_eq!(find_identifier("select xx", "x"), None);
    }
}
