//! The statements around a query: EXPLAIN, PREPARE and EXECUTE, cursors.
//!
//! One rule: a statement within a statement is parsed by the same code as one that stands alone.

use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::super::cell::Cell;
use super::super::statement::{CursorDeclaration, ExplainFormat, Fetch, FetchRows, Statement};
use super::cursor::Cursor;
use super::options;
use crate::error::{Result, SqlError, state};

/// `EXPLAIN [(option, ...)] [ANALYZE] [VERBOSE] statement`, `EXPLAIN [ANALYZE] MATERIALIZED VIEW name`.
pub fn explain(cursor: &mut Cursor) -> Result<Statement> {
    cursor.expect(&["explain"])?;
    let mut analyze = false;
    let mut verbose = false;
    let mut format = ExplainFormat::Text;
    if cursor.next_is(&Token::LParen) && !matches!(second_word(cursor), Some("select" | "with" | "values" | "table")) {
        format = explain_options(cursor, &mut analyze, &mut verbose)?;
    } else {
        analyze = cursor.take(&["analyze"]) || cursor.take(&["analyse"]);
        verbose = cursor.take(&["verbose"]);
    }
    if cursor.take(&["materialized", "view"]) {
        let name = cursor.name()?;
        return Ok(Statement::ExplainView { analyze, format, name });
    }
    let position = cursor.position();
    let statement = super::statement(cursor)?;
    let explainable = match &statement {
        Statement::Select(_) | Statement::Insert(_) | Statement::With(_) | Statement::Execute { .. } => true,
        Statement::CreateView(view) => view.materialized && !analyze,
        _ => false,
    };
    if !explainable {
        return Err(SqlError::new(state::SYNTAX_ERROR, "this statement cannot be explained")
            .hint("EXPLAIN takes SELECT, VALUES, INSERT, EXECUTE and CREATE MATERIALIZED VIEW.")
            .position(position));
    }
    Ok(Statement::Explain {
        analyze,
        verbose,
        format,
        statement: Box::new(statement),
    })
}

fn second_word<'c>(cursor: &'c Cursor) -> Option<&'c str> {
    let mut ahead = 1;
    while cursor.parser.peek_nth_token_ref(ahead).token == Token::LParen {
        ahead += 1;
    }
    cursor.peek_word(ahead)
}

fn explain_options(cursor: &mut Cursor, analyze: &mut bool, verbose: &mut bool) -> Result<ExplainFormat> {
    cursor.expect_token(&Token::LParen)?;
    let mut given = ExplainFormat::Text;
    let mut needs_analyze = None;
    loop {
        let position = cursor.position();
        let name = cursor.label()?;
        let value = if cursor.next_is(&Token::Comma) || cursor.next_is(&Token::RParen) {
            None
        } else {
            Some(options::value(cursor)?)
        };
        let flag = || options::boolean(&name, value.as_deref()).map_err(|error| error.position(position));
        match name.as_str() {
            "analyze" | "analyse" => *analyze = flag()?,
            "verbose" => *verbose = flag()?,
            "timing" | "wal" => {
                if flag()? {
                    needs_analyze = Some(name);
                }
            }
            "costs" | "buffers" | "summary" | "settings" => {
                flag()?;
            }
            "format" => {
                given = match value.as_deref().unwrap_or_default().to_lowercase().as_str() {
                    "text" => ExplainFormat::Text,
                    "json" => ExplainFormat::Json,
                    "xml" => ExplainFormat::Xml,
                    "yaml" => ExplainFormat::Yaml,
                    other => {
                        return Err(SqlError::new(
                            state::INVALID_PARAMETER_VALUE,
                            format!("unrecognized value for EXPLAIN option \"format\": \"{other}\""),
                        )
                        .position(position));
                    }
                };
            }
            _ => {
                return Err(
                    SqlError::new(state::SYNTAX_ERROR, format!("unrecognized EXPLAIN option \"{name}\""))
                        .position(position),
                );
            }
        }
        if !cursor.take_token(&Token::Comma) {
            break;
        }
    }
    if let Some(option) = needs_analyze.filter(|_| !*analyze) {
        return Err(SqlError::new(
            state::INVALID_PARAMETER_VALUE,
            format!("EXPLAIN option {} requires ANALYZE", option.to_uppercase()),
        ));
    }
    cursor.expect_token(&Token::RParen)?;
    Ok(given)
}

/// `PREPARE name [(type, ...)] AS statement`.
pub fn prepare(cursor: &mut Cursor) -> Result<Statement> {
    cursor.expect(&["prepare"])?;
    if cursor.peek_word(0) == Some("transaction") {
        return Err(SqlError::unsupported(
            "two-phase commit is not supported",
            "Use COMMIT: a transaction is durable in every topic that it touched, or in none.",
        )
        .position(cursor.position()));
    }
    let name = cursor.identifier()?;
    let mut types = Vec::new();
    if cursor.take_token(&Token::LParen) {
        loop {
            let start = cursor.start();
            cursor.run(Parser::parse_data_type)?;
            types.push(cursor.slice(start, cursor.previous_end()).to_string());
            if !cursor.take_token(&Token::Comma) {
                break;
            }
        }
        cursor.expect_token(&Token::RParen)?;
    }
    cursor.expect(&["as"])?;
    let start = cursor.start();
    let plannable = cursor.next_is(&Token::LParen)
        || matches!(
            cursor.peek_word(0),
            Some("select" | "with" | "values" | "insert" | "update" | "delete" | "merge")
        );
    if !plannable {
        return Err(cursor.syntax_error());
    }
    let statement = super::statement(cursor)?;
    let text = cursor.slice(start, cursor.previous_end()).to_string();
    Ok(Statement::Prepare {
        name,
        types,
        statement: Box::new(statement),
        text,
    })
}

/// `EXECUTE name [(value, ...)]`.
pub fn execute(cursor: &mut Cursor) -> Result<Statement> {
    cursor.expect(&["execute"])?;
    let name = cursor.identifier()?;
    let mut arguments = Vec::new();
    if cursor.take_token(&Token::LParen) && !cursor.take_token(&Token::RParen) {
        let values = cursor.run(|parser| parser.parse_comma_separated(Parser::parse_expr))?;
        arguments = values.into_iter().map(Cell::from).collect();
        cursor.expect_token(&Token::RParen)?;
    }
    Ok(Statement::Execute { name, arguments })
}

/// `DEALLOCATE [PREPARE] name | ALL`.
pub fn deallocate(cursor: &mut Cursor) -> Result<Statement> {
    cursor.expect(&["deallocate"])?;
    cursor.take(&["prepare"]);
    if cursor.take(&["all"]) {
        return Ok(Statement::Deallocate(None));
    }
    Ok(Statement::Deallocate(Some(cursor.identifier()?)))
}

/// `DECLARE name [BINARY] [[IN|A]SENSITIVE] [[NO] SCROLL] CURSOR [WITH|WITHOUT HOLD] FOR query`.
pub fn declare(cursor: &mut Cursor) -> Result<Statement> {
    cursor.expect(&["declare"])?;
    let name = cursor.identifier()?;
    let (mut scroll, mut no_scroll, mut binary) = (false, false, false);
    loop {
        if cursor.take(&["insensitive"]) || cursor.take(&["asensitive"]) {
            continue;
        }
        if cursor.take(&["no", "scroll"]) {
            no_scroll = true;
        } else if cursor.take(&["scroll"]) {
            scroll = true;
        } else if cursor.take(&["binary"]) {
            binary = true;
        } else {
            break;
        }
    }
    if scroll && no_scroll {
        let message = "cannot specify both SCROLL and NO SCROLL";
        return Err(SqlError::new(state::INVALID_CURSOR_DEFINITION, message));
    }
    cursor.expect(&["cursor"])?;
    let hold = cursor.take(&["with", "hold"]);
    if !hold {
        cursor.take(&["without", "hold"]);
    }
    cursor.expect(&["for"])?;
    if cursor.peek_word(0) == Some("subscribe") {
        return Err(super::unsupported::subscribe().position(cursor.position()));
    }
    let select = cursor.select()?;
    super::with::refuse_writes(
        &select.query,
        "DECLARE CURSOR must not contain data-modifying statements in WITH",
    )?;
    Ok(Statement::DeclareCursor {
        select: select.into(),
        declaration: CursorDeclaration {
            name,
            scroll,
            hold,
            binary,
        },
    })
}

/// `FETCH|MOVE [direction] [FROM|IN] name`.
pub fn fetch(cursor: &mut Cursor, is_move: bool) -> Result<Statement> {
    cursor.skip(1);
    let rows = direction(cursor)?;
    if !cursor.take(&["from"]) {
        cursor.take(&["in"]);
    }
    let name = cursor.identifier()?;
    if cursor.peek_word(0) == Some("with") {
        return Err(super::unsupported::subscribe().position(cursor.position()));
    }
    Ok(Statement::Fetch(Fetch {
        cursor: name,
        rows,
        is_move,
    }))
}

fn direction(cursor: &mut Cursor) -> Result<FetchRows> {
    let forward = |count: i64| match count {
        0 => FetchRows::Relative(0),
        1.. => FetchRows::Forward(Some(count.unsigned_abs())),
        _ => FetchRows::Backward(Some(count.unsigned_abs())),
    };
    if let Some(count) = fetch_count(cursor)? {
        return Ok(forward(count));
    }
    // A cursor may be named like a direction: `FETCH prior`.
    let is_name = matches!(cursor.parser.peek_nth_token_ref(1).token, Token::EOF | Token::SemiColon);
    if is_name {
        return Ok(FetchRows::Forward(Some(1)));
    }
    Ok(if cursor.take(&["prior"]) {
        FetchRows::Backward(Some(1))
    } else if cursor.take(&["first"]) {
        FetchRows::Absolute(1)
    } else if cursor.take(&["last"]) {
        FetchRows::Absolute(-1)
    } else if cursor.take(&["absolute"]) {
        FetchRows::Absolute(fetch_count(cursor)?.ok_or_else(|| cursor.syntax_error())?)
    } else if cursor.take(&["relative"]) {
        FetchRows::Relative(fetch_count(cursor)?.ok_or_else(|| cursor.syntax_error())?)
    } else if cursor.take(&["all"]) || cursor.take(&["forward", "all"]) {
        FetchRows::Forward(None)
    } else if cursor.take(&["backward", "all"]) {
        FetchRows::Backward(None)
    } else if cursor.take(&["forward"]) {
        forward(fetch_count(cursor)?.unwrap_or(1))
    } else if cursor.take(&["backward"]) {
        forward(-fetch_count(cursor)?.unwrap_or(1))
    } else {
        cursor.take(&["next"]);
        FetchRows::Forward(Some(1))
    })
}

/// A count of 32 bits with its sign, if one is next.
fn fetch_count(cursor: &mut Cursor) -> Result<Option<i64>> {
    let sign = match cursor.take_token(&Token::Minus) {
        true => Some(-1),
        false => cursor.take_token(&Token::Plus).then_some(1),
    };
    let digits = match &cursor.parser.peek_token_ref().token {
        Token::Number(digits, _) => digits.clone(),
        _ if sign.is_some() => return Err(cursor.syntax_error()),
        _ => return Ok(None),
    };
    let Ok(count) = digits.parse::<i32>() else {
        return Err(cursor.syntax_error());
    };
    cursor.skip(1);
    Ok(Some(sign.unwrap_or(1) * i64::from(count)))
}

/// `CLOSE name | ALL`.
pub fn close(cursor: &mut Cursor) -> Result<Statement> {
    cursor.expect(&["close"])?;
    if cursor.take(&["all"]) {
        return Ok(Statement::Close(None));
    }
    Ok(Statement::Close(Some(cursor.identifier()?)))
}
