//! Positions of errors in the statement's text: characters, counted from 1, as PostgreSQL reports them.
//!
//! The parser's spans hold the position itself in `column` (and a byte index in `line`), so nothing is counted here. A
//! context without text has no positions: a stored definition's are not the statement's.

use sqlparser::tokenizer::{Location, Span};

/// The character position of a location; `None` for a place that is not in the text.
pub fn of_location(text: &str, location: Location) -> Option<usize> {
    (!text.is_empty() && location.line > 0 && location.column > 0).then_some(location.column as usize)
}

/// The position at which a span starts.
pub fn of_span(text: &str, span: Span) -> Option<usize> {
    of_location(text, span.start)
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
}
