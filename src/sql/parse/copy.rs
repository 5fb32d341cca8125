//! COPY FROM STDIN and COPY TO STDOUT, with the options of both syntaxes.
//!
//! One rule: a [`CopyFormat`] that comes out of here is consistent; the checks and their words are PostgreSQL's.

use sqlparser::tokenizer::Token;

use super::super::statement::{CopyFormat, CopyFrom, CopyKind, CopySource, CopyTo, Statement};
use super::cursor::Cursor;
use super::options;
use crate::error::{Result, SqlError, state};

/// Options as given, before they are checked against each other. Positions are for errors.
#[derive(Default)]
struct GivenOptions {
    kind: Option<CopyKind>,
    delimiter: Option<String>,
    null: Option<String>,
    header: Option<Header>,
    quote: Option<String>,
    escape: Option<String>,
    force_quote: Option<Option<Vec<String>>>,
    force_not_null: Option<Vec<String>>,
    force_null: Option<Vec<String>>,
    freeze: bool,
    has_encoding: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Header {
    No,
    Yes,
    Match,
}

pub fn copy(cursor: &mut Cursor) -> Result<Statement> {
    cursor.expect(&["copy"])?;
    let position = cursor.position();
    let mut given = GivenOptions::default();
    let (source, is_query) =
        if cursor.peek_word(0) == Some("binary") && !matches!(cursor.peek_word(1), Some("from" | "to")) {
            // The oldest syntax, for relations only.
            cursor.expect(&["binary"])?;
            given.kind = Some(CopyKind::Binary);
            (relation(cursor)?, false)
        } else {
            source(cursor)?
        };
    let is_from = cursor.take(&["from"]);
    if !is_from {
        cursor.expect(&["to"])?;
    } else if is_query {
        return Err(SqlError::new(state::SYNTAX_ERROR, "syntax error at or near \"FROM\"").position(position));
    }
    end(cursor, is_from)?;
    if cursor.take(&["using"]) {
        cursor.expect(&["delimiters"])?;
        given.delimiter = Some(cursor.string()?);
    }
    cursor.take(&["with"]);
    if cursor.take_token(&Token::LParen) {
        generic_options(cursor, &mut given)?;
    } else {
        plain_options(cursor, &mut given)?;
    }
    if cursor.peek_word(0) == Some("where") {
        return Err(SqlError::unsupported(
            "COPY ... WHERE is not supported",
            "Copy into a topic of its own, then INSERT INTO ... SELECT ... WHERE.",
        )
        .position(cursor.position()));
    }
    let format = given.check(is_from).map_err(|error| error.position(position))?;
    Ok(match source {
        CopySource::Relation(into, columns) if is_from => Statement::CopyFrom(CopyFrom { into, columns, format }),
        source => Statement::CopyTo(CopyTo { source, format }),
    })
}

/// `relation [(columns)]` or `(query)`; whether it is a query.
fn source(cursor: &mut Cursor) -> Result<(CopySource, bool)> {
    if cursor.take_token(&Token::LParen) {
        let position = cursor.position();
        let source = match cursor.peek_word(0) {
            Some("subscribe") => return Err(super::unsupported::subscribe().position(position)),
            Some("with" | "insert" | "update" | "delete") => match super::statement(cursor)? {
                Statement::Select(select) => CopySource::Select(select),
                statement => CopySource::Statement(statement.into()),
            },
            _ => CopySource::Select(cursor.select()?.into()),
        };
        cursor.expect_token(&Token::RParen)?;
        return Ok((source, true));
    }
    Ok((relation(cursor)?, false))
}

/// `relation [(columns)]`
fn relation(cursor: &mut Cursor) -> Result<CopySource> {
    let name = cursor.name()?;
    let columns = cursor.optional_columns()?;
    Ok(CopySource::Relation(name, columns))
}

/// STDIN and STDOUT, each of which PostgreSQL takes for the other; files are the client's.
fn end(cursor: &mut Cursor, is_from: bool) -> Result<()> {
    if cursor.take(&["stdin"]) || cursor.take(&["stdout"]) {
        return Ok(());
    }
    let is_file = matches!(cursor.parser.peek_token_ref().token, Token::SingleQuotedString(_));
    if !is_file && cursor.peek_word(0) != Some("program") {
        return Err(cursor.syntax_error());
    }
    let (what, instead) = if is_from {
        ("COPY FROM a file or program of the server", "COPY ... FROM STDIN")
    } else {
        ("COPY TO a file or program of the server", "COPY ... TO STDOUT")
    };
    Err(SqlError::unsupported(
        format!("{what} is not supported"),
        format!("Use psql's \\copy, which reads and writes the client's files, or {instead}."),
    )
    .position(cursor.position()))
}

fn conflicting() -> SqlError {
    SqlError::new(state::SYNTAX_ERROR, "conflicting or redundant options")
}

/// Sets an option that may be given once.
fn once<T>(option: &mut Option<T>, value: T, position: usize) -> Result<()> {
    match option.replace(value) {
        Some(_) => Err(conflicting().position(position)),
        None => Ok(()),
    }
}

/// After `(`: `FORMAT csv, HEADER true, ...)`.
fn generic_options(cursor: &mut Cursor, given: &mut GivenOptions) -> Result<()> {
    loop {
        let position = cursor.position();
        let name = cursor.label()?;
        match name.as_str() {
            "format" => {
                let format = options::value(cursor)?;
                once(&mut given.kind, kind(&format, position)?, position)?;
            }
            "freeze" => {
                let value = optional_value(cursor)?;
                given.freeze = options::boolean(&name, value.as_deref()).map_err(|error| error.position(position))?;
            }
            "delimiter" => once(&mut given.delimiter, options::value(cursor)?, position)?,
            "null" => once(&mut given.null, options::value(cursor)?, position)?,
            "header" => {
                let header = header(optional_value(cursor)?.as_deref()).map_err(|error| error.position(position))?;
                once(&mut given.header, header, position)?;
            }
            "quote" => once(&mut given.quote, options::value(cursor)?, position)?,
            "escape" => once(&mut given.escape, options::value(cursor)?, position)?,
            "force_quote" => {
                let columns = columns_or_all(cursor, true)?;
                once(&mut given.force_quote, columns, position)?;
            }
            "force_not_null" => {
                let columns = cursor.identifiers_in_parentheses()?;
                once(&mut given.force_not_null, columns, position)?;
            }
            "force_null" => {
                let columns = cursor.identifiers_in_parentheses()?;
                once(&mut given.force_null, columns, position)?;
            }
            "encoding" => {
                let encoding = options::value(cursor)?;
                given.encoding(&encoding, position)?;
            }
            _ => {
                return Err(
                    SqlError::new(state::SYNTAX_ERROR, format!("option \"{name}\" not recognized"))
                        .hint(
                            "The options are: format, delimiter, null, header, quote, escape, force_quote, \
                             force_not_null, force_null, encoding.",
                        )
                        .position(position),
                );
            }
        }
        if !cursor.take_token(&Token::Comma) {
            return cursor.expect_token(&Token::RParen);
        }
    }
}

fn optional_value(cursor: &mut Cursor) -> Result<Option<String>> {
    if cursor.next_is(&Token::Comma) || cursor.next_is(&Token::RParen) {
        return Ok(None);
    }
    options::value(cursor).map(Some)
}

/// The syntax before options had parentheses: `CSV HEADER DELIMITER AS '|'`.
fn plain_options(cursor: &mut Cursor, given: &mut GivenOptions) -> Result<()> {
    loop {
        let position = cursor.position();
        let text = |cursor: &mut Cursor| {
            cursor.take(&["as"]);
            cursor.string()
        };
        if cursor.take(&["csv"]) {
            once(&mut given.kind, CopyKind::Csv, position)?;
        } else if cursor.take(&["binary"]) {
            once(&mut given.kind, CopyKind::Binary, position)?;
        } else if cursor.take(&["freeze"]) {
            given.freeze = true;
        } else if cursor.take(&["header"]) {
            once(&mut given.header, Header::Yes, position)?;
        } else if cursor.take(&["delimiter"]) {
            let delimiter = text(cursor)?;
            once(&mut given.delimiter, delimiter, position)?;
        } else if cursor.take(&["null"]) {
            let null = text(cursor)?;
            once(&mut given.null, null, position)?;
        } else if cursor.take(&["quote"]) {
            let quote = text(cursor)?;
            once(&mut given.quote, quote, position)?;
        } else if cursor.take(&["escape"]) {
            let escape = text(cursor)?;
            once(&mut given.escape, escape, position)?;
        } else if cursor.take(&["force", "quote"]) {
            let columns = columns_or_all(cursor, false)?;
            once(&mut given.force_quote, columns, position)?;
        } else if cursor.take(&["force", "not", "null"]) {
            let columns = plain_columns(cursor)?;
            once(&mut given.force_not_null, columns, position)?;
        } else if cursor.take(&["force", "null"]) {
            let columns = plain_columns(cursor)?;
            once(&mut given.force_null, columns, position)?;
        } else if cursor.take(&["encoding"]) {
            let encoding = cursor.string()?;
            given.encoding(&encoding, position)?;
        } else {
            return Ok(());
        }
    }
}

fn plain_columns(cursor: &mut Cursor) -> Result<Vec<String>> {
    let mut columns = vec![cursor.identifier()?];
    while cursor.take_token(&Token::Comma) {
        columns.push(cursor.identifier()?);
    }
    Ok(columns)
}

fn columns_or_all(cursor: &mut Cursor, parentheses: bool) -> Result<Option<Vec<String>>> {
    if cursor.take_token(&Token::Mul) {
        return Ok(None);
    }
    if parentheses {
        cursor.identifiers_in_parentheses().map(Some)
    } else {
        plain_columns(cursor).map(Some)
    }
}

fn kind(format: &str, position: usize) -> Result<CopyKind> {
    match format {
        "csv" => Ok(CopyKind::Csv),
        "text" => Ok(CopyKind::Text),
        "binary" => Ok(CopyKind::Binary),
        _ => Err(SqlError::new(
            state::INVALID_PARAMETER_VALUE,
            format!("COPY format \"{format}\" not recognized"),
        )
        .hint("The formats are text, csv and binary.")
        .position(position)),
    }
}

fn header(value: Option<&str>) -> Result<Header> {
    if value.is_some_and(|value| value.eq_ignore_ascii_case("match")) {
        return Ok(Header::Match);
    }
    match options::boolean("header", value) {
        Ok(true) => Ok(Header::Yes),
        Ok(false) => Ok(Header::No),
        Err(_) => Err(SqlError::new(
            state::SYNTAX_ERROR,
            "header requires a Boolean value or \"match\"",
        )),
    }
}

impl GivenOptions {
    fn encoding(&mut self, encoding: &str, position: usize) -> Result<()> {
        if std::mem::replace(&mut self.has_encoding, true) {
            return Err(conflicting().position(position));
        }
        let plain: String = encoding
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .collect();
        if !matches!(plain.as_str(), "utf8" | "unicode") {
            return Err(SqlError::unsupported(
                format!("encoding \"{encoding}\" is not supported"),
                "Text is UTF-8: convert the data with iconv first.",
            )
            .position(position));
        }
        Ok(())
    }

    /// The options checked against each other, with defaults.
    fn check(self, is_from: bool) -> Result<CopyFormat> {
        let kind = self.kind.unwrap_or(CopyKind::Text);
        let csv = kind == CopyKind::Csv;
        let unsupported = |message: &str| Err(SqlError::new(state::FEATURE_NOT_SUPPORTED, message));
        let invalid = |message: String| Err(SqlError::new(state::INVALID_PARAMETER_VALUE, message));
        if kind == CopyKind::Binary {
            let unknown = |option: &str| {
                let message = format!("cannot specify {option} in BINARY mode");
                Err(SqlError::new(state::SYNTAX_ERROR, message))
            };
            if self.delimiter.is_some() {
                return unknown("DELIMITER");
            }
            if self.null.is_some() {
                return unknown("NULL");
            }
            if matches!(self.header, Some(Header::Yes | Header::Match)) {
                return unsupported("cannot specify HEADER in BINARY mode");
            }
        }
        let delimiter = self
            .delimiter
            .unwrap_or_else(|| if csv { "," } else { "\t" }.to_string());
        let null = self.null.unwrap_or_else(|| if csv { "" } else { "\\N" }.to_string());
        let &[delimiter] = delimiter.as_bytes() else {
            return unsupported("COPY delimiter must be a single one-byte character");
        };
        if matches!(delimiter, b'\r' | b'\n') {
            return invalid("COPY delimiter cannot be newline or carriage return".to_string());
        }
        if null.contains(['\r', '\n']) {
            return invalid("COPY null representation cannot use newline or carriage return".to_string());
        }
        if !csv && b"\\.abcdefghijklmnopqrstuvwxyz0123456789".contains(&delimiter) {
            return invalid(format!("COPY delimiter cannot be \"{}\"", delimiter as char));
        }
        if !csv && self.quote.is_some() {
            return unsupported("COPY quote available only in CSV mode");
        }
        let quote = self.quote.unwrap_or_else(|| "\"".to_string());
        let &[quote_byte] = quote.as_bytes() else {
            return unsupported("COPY quote must be a single one-byte character");
        };
        if csv && delimiter == quote_byte {
            return invalid("COPY delimiter and quote must be different".to_string());
        }
        if !csv && self.escape.is_some() {
            return unsupported("COPY escape available only in CSV mode");
        }
        let escape = self.escape.unwrap_or(quote);
        let &[escape] = escape.as_bytes() else {
            return unsupported("COPY escape must be a single one-byte character");
        };
        if self.force_quote.is_some() && !csv {
            return unsupported("COPY force quote available only in CSV mode");
        }
        if self.force_quote.is_some() && is_from {
            return unsupported("COPY force quote only available using COPY TO");
        }
        if self.force_not_null.is_some() && !csv {
            return unsupported("COPY force not null available only in CSV mode");
        }
        if self.force_not_null.is_some() && !is_from {
            return unsupported("COPY force not null only available using COPY FROM");
        }
        if self.force_null.is_some() && !csv {
            return unsupported("COPY force null available only in CSV mode");
        }
        if self.force_null.is_some() && !is_from {
            return unsupported("COPY force null only available using COPY FROM");
        }
        if null.as_bytes().contains(&delimiter) {
            return unsupported("COPY delimiter must not appear in the NULL specification");
        }
        if csv && null.as_bytes().contains(&quote_byte) {
            return unsupported("CSV quote character must not appear in the NULL specification");
        }
        if self.header == Some(Header::Match) && !is_from {
            return unsupported("cannot use \"match\" with HEADER in COPY TO");
        }
        if self.freeze {
            return Err(SqlError::unsupported(
                "COPY FREEZE is not supported",
                "Leave FREEZE out.",
            ));
        }
        Ok(CopyFormat {
            kind,
            delimiter,
            null,
            header: matches!(self.header, Some(Header::Yes | Header::Match)),
            header_match: self.header == Some(Header::Match),
            quote: quote_byte,
            escape,
            force_quote: self.force_quote,
            force_not_null: self.force_not_null.unwrap_or_default(),
            force_null: self.force_null.unwrap_or_default(),
        })
    }
}
