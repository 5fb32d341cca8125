//! CREATE TOPIC, CREATE TABLE ... APPEND ONLY, CREATE [MATERIALIZED] VIEW, CREATE SCHEMA.
//!
//! One rule: a definition from here is consistent in itself: every column that it names exists, names
//! are unique, options are known and in range. The meaning of its expressions is the planner's.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use sqlparser::ast::{self, Expr, visit_expressions};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::super::statement::{CreateTopic, CreateView, Name, Statement};
use super::super::system_columns::is_system_column;
use super::cursor::Cursor;
use super::lexer::IDENTIFIER_BYTES_MAX;
use super::missing_type::missing_type;
use super::options::{self, interval_of, watermark_options};
use super::storage;
use crate::catalog::{Check, Column, Topic, Watermark};
use crate::error::{Result, SqlError, state};
use crate::types::{PgType, typmod};

/// Most columns of a topic.
const COLUMNS_MAX: usize = 1600;

pub fn create(cursor: &mut Cursor) -> Result<Statement> {
    cursor.expect(&["create"])?;
    let position = cursor.position();
    let or_replace = cursor.take(&["or", "replace"]);
    let temporary = cursor.take(&["temporary"]) || cursor.take(&["temp"]);
    if temporary
        && matches!(
            cursor.peek_word(0),
            Some("table" | "view" | "topic" | "sequence" | "recursive")
        )
    {
        return Err(SqlError::unsupported(
            "temporary relations are not supported",
            "Create it without TEMPORARY and drop it when done.",
        )
        .position(position));
    }
    cursor.take(&["unlogged"]);
    if cursor.take(&["topic"]) {
        return topic(cursor, false, or_replace, position);
    }
    if cursor.take(&["table"]) {
        return topic(cursor, true, or_replace, position);
    }
    if cursor.take(&["materialized", "view"]) {
        if or_replace {
            return Err(SqlError::unsupported(
                "CREATE OR REPLACE MATERIALIZED VIEW is not supported yet",
                "Drop the view and create it again: it is rebuilt from the log.",
            )
            .position(position));
        }
        return view(cursor, true, false);
    }
    if cursor.take(&["view"]) {
        return view(cursor, false, or_replace);
    }
    if cursor.take(&["schema"]) {
        return schema(cursor);
    }
    if cursor.peek_words(&["consumer", "group"]) {
        return super::group::create(cursor);
    }
    let Some(word) = cursor.peek_word(0) else {
        return Err(cursor.syntax_error());
    };
    match super::unsupported::create(word) {
        Some(error) => Err(error.position(position)),
        None => Err(cursor.syntax_error()),
    }
}

/// `[IF NOT EXISTS] name [AUTHORIZATION role]`.
fn schema(cursor: &mut Cursor) -> Result<Statement> {
    let if_not_exists = cursor.if_not_exists()?;
    let name = if cursor.take(&["authorization"]) {
        cursor.identifier()?
    } else {
        let name = cursor.identifier()?;
        if cursor.take(&["authorization"]) {
            cursor.identifier()?;
        }
        name
    };
    if cursor.peek_word(0) == Some("create") {
        return Err(SqlError::unsupported(
            "CREATE SCHEMA with elements is not supported",
            "Create the schema first, then each relation as schema.name.",
        )
        .position(cursor.position()));
    }
    Ok(Statement::CreateSchema { name, if_not_exists })
}

/// The content of the list in parentheses.
#[derive(Default)]
struct Items {
    columns: Vec<Column>,
    /// Name if given, text, the columns that the expression names.
    checks: Vec<(Option<String>, String, Vec<String>)>,
    /// The column, the delay, and where it was said.
    watermark: Option<(Watermark, usize)>,
}

fn topic(cursor: &mut Cursor, is_table: bool, or_replace: bool, position: usize) -> Result<Statement> {
    if or_replace {
        return Err(SqlError::unsupported(
            "CREATE OR REPLACE is not supported for topics",
            "Drop the topic first, or use CREATE TOPIC IF NOT EXISTS.",
        )
        .position(position));
    }
    let if_not_exists = cursor.if_not_exists()?;
    let name = cursor.name()?;
    if !cursor.next_is(&Token::LParen) && (cursor.at_end() || cursor.peek_word(0) != Some("as")) {
        return Err(cursor.syntax_error());
    }
    if cursor.peek_word(0) == Some("as") {
        return Err(SqlError::unsupported(
            "CREATE TABLE AS is not supported",
            "Create the topic with its columns, then INSERT INTO it SELECT.",
        )
        .position(cursor.position()));
    }
    let items = items(cursor)?;
    let mut partition_by: Option<Vec<String>> = None;
    let mut options = None;
    let mut append_only = !is_table;
    let mut placed = false;
    loop {
        let position = cursor.position();
        if options.is_none() && cursor.peek_word(0) == Some("using") && !std::mem::replace(&mut placed, true) {
            storage::access_method(cursor)?;
        } else if is_table && cursor.take(&["append", "only"]) {
            append_only = true;
        } else if partition_by.is_none() && cursor.take(&["partition", "by"]) {
            partition_by = Some(partition_columns(cursor, &items.columns)?);
        } else if options.is_none() && cursor.take(&["with"]) {
            options = Some(options::topic_options(cursor)?);
        } else if options.is_none() && cursor.take(&["without", "oids"]) {
            options = Some(Default::default());
        } else if matches!(cursor.peek_word(0), Some("inherits" | "on" | "as")) {
            let word = cursor.peek_word(0).unwrap_or_default().to_uppercase();
            return Err(SqlError::unsupported(
                format!("CREATE TABLE ... {word} is not supported"),
                "A topic takes columns, PARTITION BY and WITH.",
            )
            .position(position));
        } else {
            break;
        }
    }
    storage::tablespace(cursor)?;
    cursor.expect_end()?;
    let options = options.unwrap_or_default();
    if options.idle_timeout_us.is_some() && items.watermark.is_none() {
        return Err(SqlError::new(
            state::INVALID_PARAMETER_VALUE,
            "idle_timeout needs a watermark to advance",
        )
        .hint("Add WATERMARK FOR column AS column - INTERVAL '...', or leave idle_timeout out.")
        .position(position));
    }
    let checks = name_checks(&name.name, items.checks)?;
    let topic = Topic {
        oid: 0,
        schema: String::new(),
        name: name.name.clone(),
        columns: items.columns,
        checks,
        partition_by: partition_by.unwrap_or_default(),
        partitions: options.partitions.unwrap_or(1),
        watermark: items.watermark.map(|(watermark, _)| watermark),
        idle_timeout_us: options.idle_timeout_us,
        retention_us: options.retention_us,
        retention_bytes: options.retention_bytes,
        options: options.given,
        is_table,
        schema_id: 0,
        columns_made: 0,
        pinned: None,
    };
    Ok(Statement::CreateTopic(CreateTopic {
        name,
        if_not_exists,
        append_only,
        topic,
    }))
}

/// `(column ..., CHECK ..., WATERMARK ...)`; may be empty.
fn items(cursor: &mut Cursor) -> Result<Items> {
    let mut items = Items::default();
    cursor.expect_token(&Token::LParen)?;
    if !cursor.take_token(&Token::RParen) {
        loop {
            item(cursor, &mut items)?;
            if !cursor.take_token(&Token::Comma) {
                break;
            }
        }
        cursor.expect_token(&Token::RParen)?;
    }
    if let Some((watermark, position)) = &items.watermark {
        check_watermark(watermark, &items.columns).map_err(|error| error.position(*position))?;
    }
    Ok(items)
}

fn item(cursor: &mut Cursor, items: &mut Items) -> Result<()> {
    let position = cursor.position();
    if cursor.peek_words(&["watermark", "for"]) {
        cursor.skip(2);
        let watermark = watermark(cursor)?;
        if items.watermark.replace((watermark, position)).is_some() {
            return Err(SqlError::new(
                state::INVALID_TABLE_DEFINITION,
                "multiple watermarks for one topic are not allowed",
            )
            .position(position));
        }
        return Ok(());
    }
    let name = if cursor.take(&["constraint"]) {
        Some(cursor.identifier()?)
    } else {
        None
    };
    if cursor.take(&["check"]) {
        items.checks.push(check(cursor, name)?);
        return Ok(());
    }
    let next_opens = cursor.parser.peek_nth_token_ref(1).token == Token::LParen;
    match cursor.peek_word(0) {
        Some(word @ ("primary" | "unique" | "foreign")) => return Err(no_keys(word).position(position)),
        Some("exclude") if next_opens || cursor.peek_word(1) == Some("using") => {
            return Err(no_keys("exclude").position(position));
        }
        Some("like") => {
            return Err(SqlError::unsupported(
                "LIKE in a column list is not supported",
                "SHOW CREATE TOPIC prints the columns to copy.",
            )
            .position(position));
        }
        _ if name.is_some() => return Err(cursor.syntax_error()),
        _ => {}
    }
    let column = column(cursor, &mut items.checks)?;
    if is_system_column(&column.name) {
        return Err(SqlError::new(
            state::DUPLICATE_COLUMN,
            format!("column name \"{}\" conflicts with a system column name", column.name),
        )
        .position(position));
    }
    if items.columns.iter().any(|other| other.name == column.name) {
        return Err(SqlError::new(
            state::DUPLICATE_COLUMN,
            format!("column \"{}\" specified more than once", column.name),
        )
        .position(position));
    }
    if items.columns.len() == COLUMNS_MAX {
        return Err(SqlError::new(
            state::TOO_MANY_COLUMNS,
            format!("tables can have at most {COLUMNS_MAX} columns"),
        )
        .position(position));
    }
    items.columns.push(column);
    Ok(())
}

fn no_keys(word: &str) -> SqlError {
    let what = match word {
        "primary" => "PRIMARY KEY",
        "unique" => "UNIQUE",
        "exclude" => "EXCLUDE",
        _ => "REFERENCES",
    };
    SqlError::unsupported(
        format!("{what} is not supported yet"),
        "A topic keeps every row that is appended: leave it out, and use CREATE TOPIC or CREATE TABLE ... APPEND \
         ONLY. A view with DISTINCT ON or GROUP BY shows one row per key.",
    )
}

/// `name type [constraint ...]`.
fn column(cursor: &mut Cursor, checks: &mut Vec<(Option<String>, String, Vec<String>)>) -> Result<Column> {
    let name = cursor.identifier()?;
    let (pg_type, typmod) = column_type(cursor)?;
    let mut column = Column {
        name,
        pg_type,
        not_null: false,
        default: None,
        generated: None,
        id: 0,
        missing: None,
        typmod,
    };
    let mut nullable = false;
    loop {
        let position = cursor.position();
        let constraint = if cursor.take(&["constraint"]) {
            Some(cursor.identifier()?)
        } else {
            None
        };
        if cursor.take(&["not", "null"]) {
            column.not_null = true;
        } else if cursor.take(&["null"]) {
            nullable = true;
        } else if cursor.take(&["default"]) {
            let (_, text) = cursor.expression()?;
            if column.default.replace(text).is_some() {
                return Err(SqlError::new(
                    state::SYNTAX_ERROR,
                    format!("multiple default values specified for column \"{}\"", column.name),
                )
                .position(position));
            }
        } else if cursor.take(&["check"]) {
            checks.push(check(cursor, constraint)?);
        } else if cursor.take(&["generated"]) {
            let text = generated(cursor)?;
            if column.generated.replace(text).is_some() {
                return Err(SqlError::new(
                    state::SYNTAX_ERROR,
                    format!("multiple generation clauses specified for column \"{}\"", column.name),
                )
                .position(position));
            }
        } else if let Some(word @ ("primary" | "unique" | "references")) = cursor.peek_word(0) {
            return Err(no_keys(word).position(position));
        } else if cursor.peek_word(0) == Some("collate") {
            return Err(SqlError::unsupported(
                "collations other than \"C\" are not supported",
                "Text is compared by its bytes: leave COLLATE out.",
            )
            .position(position));
        } else if constraint.is_some() {
            return Err(cursor.syntax_error());
        } else {
            if column.not_null && nullable {
                return Err(SqlError::new(
                    state::SYNTAX_ERROR,
                    format!("conflicting NULL/NOT NULL declarations for column \"{}\"", column.name),
                )
                .position(position));
            }
            if column.default.is_some() && column.generated.is_some() {
                return Err(SqlError::new(
                    state::SYNTAX_ERROR,
                    format!(
                        "both default and generation expression specified for column \"{}\"",
                        column.name
                    ),
                )
                .position(position));
            }
            return Ok(column);
        }
    }
}

/// `name type [constraint ...]` of ALTER TOPIC ... ADD COLUMN.
pub fn added_column(cursor: &mut Cursor) -> Result<Column> {
    let position = cursor.position();
    let mut items = Items::default();
    item(cursor, &mut items)?;
    let column = items.columns.pop();
    let unsupported = |what: &str, hint: &str| Err(SqlError::unsupported(what, hint).position(position));
    match column {
        Some(_) if !items.checks.is_empty() => unsupported(
            "ADD COLUMN ... CHECK is not supported",
            "Rows that are there are not checked again: leave CHECK out.",
        ),
        Some(column) if column.generated.is_some() => unsupported(
            "ADD COLUMN ... GENERATED is not supported",
            "Rows that are there are not computed again: select the expression, or make a view of it.",
        ),
        Some(column) => Ok(column),
        None => unsupported(
            "ALTER TOPIC ... ADD of anything but a column is not supported",
            "Create a topic with the new definition and INSERT INTO it SELECT from the old one.",
        ),
    }
}

/// After GENERATED: `ALWAYS AS (expression) STORED`.
fn generated(cursor: &mut Cursor) -> Result<String> {
    let position = cursor.position();
    let always = cursor.take(&["always"]);
    if !always {
        cursor.expect(&["by", "default"])?;
    }
    cursor.expect(&["as"])?;
    if !always || cursor.peek_word(0) == Some("identity") {
        return Err(SqlError::unsupported(
            "identity columns are not supported",
            "The hidden columns _partition and _offset number the rows of a topic.",
        )
        .position(position));
    }
    let (_, text) = cursor.expression_in_parentheses()?;
    if cursor.peek_word(0) == Some("virtual") {
        return Err(
            SqlError::unsupported("virtual generated columns are not supported", "Use STORED.")
                .position(cursor.position()),
        );
    }
    cursor.expect(&["stored"])?;
    Ok(text)
}

/// 22023 for a NUMERIC that has no such precision or scale.
pub fn numeric_out_of_range(info: &ast::ExactNumberInfo) -> SqlError {
    const PRECISIONS: std::ops::RangeInclusive<u64> = 1..=typmod::PRECISION_MAX as u64;
    let message = match info {
        ast::ExactNumberInfo::PrecisionAndScale(precision, scale) if PRECISIONS.contains(precision) => {
            format!("NUMERIC scale {scale} must be between -1000 and 1000")
        }
        ast::ExactNumberInfo::PrecisionAndScale(precision, _) | ast::ExactNumberInfo::Precision(precision) => {
            format!("NUMERIC precision {precision} must be between 1 and 1000")
        }
        ast::ExactNumberInfo::None => "invalid NUMERIC type modifier".to_string(),
    };
    SqlError::new(state::INVALID_PARAMETER_VALUE, message)
}

/// A type by its name: 42704 if there is none of that name, 0A000 if PostgreSQL has it and this server does not.
fn column_type(cursor: &mut Cursor) -> Result<(PgType, Option<i32>)> {
    if cursor.at_end() {
        return Err(cursor.syntax_error());
    }
    let position = cursor.position();
    let start = cursor.start();
    let written = cursor.run(Parser::parse_data_type)?;
    let text = cursor.slice(start, cursor.previous_end());
    if let Some((pg_type, typmod)) = PgType::parse_written(text).filter(|(pg_type, _)| pg_type.is_for_columns()) {
        // `TEXT ARRAY`, `TEXT ARRAY[3]`: the length says nothing, as in PostgreSQL.
        if !cursor.take(&["array"]) {
            return Ok((pg_type, typmod));
        }
        if cursor.take_token(&Token::LBracket) {
            cursor.run(Parser::parse_literal_uint)?;
            cursor.expect_token(&Token::RBracket)?;
        }
        return Ok((PgType::Array(Box::new(pg_type)), typmod));
    }
    if let ast::DataType::Numeric(info) | ast::DataType::Decimal(info) | ast::DataType::Dec(info) = &written {
        return Err(numeric_out_of_range(info).position(position));
    }
    let base = text
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .next()
        .unwrap_or_default()
        .to_lowercase();
    if matches!(
        base.as_str(),
        "serial" | "bigserial" | "smallserial" | "serial4" | "serial8" | "serial2"
    ) {
        return Err(SqlError::unsupported(
            "serial columns are not supported",
            "Use BIGINT; the hidden columns _partition and _offset number the rows of a topic.",
        )
        .position(position));
    }
    if let Some(error) = missing_type(text) {
        return Err(error.position(position));
    }
    Err(SqlError::new(state::UNDEFINED_OBJECT, format!("type \"{text}\" does not exist")).position(position))
}

/// `(expression)` of a CHECK: its text, and the columns in it.
fn check(cursor: &mut Cursor, name: Option<String>) -> Result<(Option<String>, String, Vec<String>)> {
    let (expr, text) = cursor.expression_in_parentheses()?;
    if cursor.take(&["no"]) {
        cursor.expect(&["inherit"])?;
    }
    let mut columns: Vec<String> = Vec::new();
    let _: ControlFlow<()> = visit_expressions(&expr, |expr| {
        let name = match expr {
            Expr::Identifier(ident) => Some(&ident.value),
            Expr::CompoundIdentifier(parts) => parts.last().map(|ident| &ident.value),
            _ => None,
        };
        if let Some(name) = name
            && !columns.contains(name)
        {
            columns.push(name.clone());
        }
        ControlFlow::Continue(())
    });
    Ok((name, text, columns))
}

/// Gives every CHECK a name, as PostgreSQL does: `topic_column_check` if it names one column, else `topic_check`, with
/// a number where that is taken. 42710 for one given twice.
fn name_checks(topic: &str, checks: Vec<(Option<String>, String, Vec<String>)>) -> Result<Vec<Check>> {
    let mut named: Vec<Check> = Vec::with_capacity(checks.len());
    let mut taken: Vec<String> = checks.iter().filter_map(|(name, _, _)| name.clone()).collect();
    for (name, expr, columns) in checks {
        let name = match name {
            Some(name) if named.iter().any(|check| check.name == name) => {
                return Err(SqlError::new(
                    state::DUPLICATE_OBJECT,
                    format!("check constraint \"{name}\" already exists"),
                ));
            }
            Some(name) => name,
            None => {
                let column = if columns.len() == 1 { Some(&columns[0]) } else { None };
                let name = (0u32..)
                    .map(|number| check_name(topic, column.map(String::as_str), number))
                    .find(|name| !taken.contains(name))
                    .expect("there are more numbers than constraints");
                taken.push(name.clone());
                name
            }
        };
        named.push(Check { name, expr });
    }
    Ok(named)
}

/// Shortens the longer part until the whole fits an identifier.
fn check_name(topic: &str, column: Option<&str>, number: u32) -> String {
    let suffix = match number {
        0 => "check".to_string(),
        number => format!("check{number}"),
    };
    let mut parts = [topic, column.unwrap_or_default()];
    let join = |parts: [&str; 2]| match column {
        Some(_) => format!("{}_{}_{suffix}", parts[0], parts[1]),
        None => format!("{}_{suffix}", parts[0]),
    };
    while join(parts).len() > IDENTIFIER_BYTES_MAX {
        let longer = usize::from(parts[1].len() > parts[0].len());
        let mut end = parts[longer].len() - 1;
        while !parts[longer].is_char_boundary(end) {
            end -= 1;
        }
        parts[longer] = &parts[longer][..end];
    }
    join(parts)
}

/// After WATERMARK FOR: `column AS column [- INTERVAL '...'] [WITH (max_ahead = '...')]`.
fn watermark(cursor: &mut Cursor) -> Result<Watermark> {
    let column = cursor.identifier()?;
    cursor.expect(&["as"])?;
    let position = cursor.position();
    let (expr, _) = cursor.expression()?;
    let not_that = || {
        SqlError::new(
            state::INVALID_TABLE_DEFINITION,
            format!("a watermark is the column, or the column minus a fixed interval: \"{column}\""),
        )
        .hint(format!(
            "Write WATERMARK FOR {column} AS {column} - INTERVAL '5 seconds'."
        ))
        .position(position)
    };
    let mut expr = expr;
    while let Expr::Nested(inner) = expr {
        expr = *inner;
    }
    let is_column = |expr: &Expr| matches!(expr, Expr::Identifier(ident) if ident.value == column);
    let delay_us = match &expr {
        expr if is_column(expr) => 0,
        Expr::BinaryOp {
            left,
            op: ast::BinaryOperator::Minus,
            right,
        } if is_column(left) => interval_of(right)
            .map_err(|error| error.position(position))?
            .ok_or_else(not_that)?,
        _ => return Err(not_that()),
    };
    if delay_us < 0 {
        return Err(SqlError::new(
            state::INVALID_PARAMETER_VALUE,
            "the delay of a watermark cannot be negative",
        )
        .position(position));
    }
    let max_ahead_us = match cursor.take(&["with"]) {
        true => watermark_options(cursor)?,
        false => None,
    };
    Ok(Watermark {
        column,
        delay_us,
        max_ahead_us,
    })
}

fn check_watermark(watermark: &Watermark, columns: &[Column]) -> Result<()> {
    let Some(column) = columns.iter().find(|column| column.name == watermark.column) else {
        return Err(SqlError::new(
            state::UNDEFINED_COLUMN,
            format!("column \"{}\" of the watermark does not exist", watermark.column),
        ));
    };
    match column.pg_type {
        PgType::Timestamp | PgType::TimestampTz => Ok(()),
        ref other => Err(SqlError::new(
            state::DATATYPE_MISMATCH,
            format!(
                "column \"{}\" of the watermark is of type {}",
                watermark.column,
                other.name()
            ),
        )
        .hint("A watermark is for a TIMESTAMP or TIMESTAMPTZ column.")),
    }
}

fn partition_columns(cursor: &mut Cursor, columns: &[Column]) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    cursor.expect_token(&Token::LParen)?;
    loop {
        let position = cursor.position();
        let name = cursor.identifier()?;
        if cursor.next_is(&Token::LParen) {
            return Err(SqlError::unsupported(
                "PARTITION BY an expression is not supported",
                "Add a column GENERATED ALWAYS AS (expression) STORED and partition by that.",
            )
            .position(position));
        }
        if !columns.iter().any(|column| column.name == name) {
            return Err(SqlError::new(
                state::UNDEFINED_COLUMN,
                format!("column \"{name}\" named in partition key does not exist"),
            )
            .position(position));
        }
        if names.contains(&name) {
            return Err(SqlError::new(
                state::DUPLICATE_COLUMN,
                format!("column \"{name}\" appears twice in partition key"),
            )
            .position(position));
        }
        names.push(name);
        if !cursor.take_token(&Token::Comma) {
            break;
        }
    }
    cursor.expect_token(&Token::RParen)?;
    Ok(names)
}

/// `[IF NOT EXISTS] name [(columns)] [WITH (...)] [EMIT ...] AS query [WITH [NO] DATA]`; an EMIT before AS has been
/// taken off with the others.
fn view(cursor: &mut Cursor, materialized: bool, or_replace: bool) -> Result<Statement> {
    let if_not_exists = cursor.if_not_exists()?;
    let name: Name = cursor.name()?;
    let columns = cursor.optional_columns()?;
    if let Some(repeated) = (1..columns.len()).find(|index| columns[..*index].contains(&columns[*index])) {
        return Err(SqlError::new(
            state::DUPLICATE_COLUMN,
            format!("column \"{}\" specified more than once", columns[repeated]),
        ));
    }
    if materialized {
        storage::access_method(cursor)?;
    }
    let options = if cursor.take(&["with"]) {
        options::view_options(cursor, materialized)?
    } else {
        BTreeMap::new()
    };
    if materialized {
        storage::tablespace(cursor)?;
    }
    let emit = cursor.emit();
    cursor.expect(&["as"])?;
    if cursor.at_end() {
        return Err(cursor.syntax_error());
    }
    let start = cursor.start();
    let select = cursor.select()?;
    super::with::refuse_writes(
        &select.query,
        match materialized {
            true => "materialized views must not use data-modifying statements in WITH",
            false => "views must not contain data-modifying statements in WITH",
        },
    )?;
    let select = select.into();
    let end = cursor.previous_end();
    let definition = match emit {
        Some(clause) if clause.span.start >= start && clause.span.end <= end => {
            let before = cursor.slice(start, clause.span.start).trim_end();
            let after = cursor.slice(clause.span.end, end).trim_start();
            format!("{before}\n{after}")
        }
        _ => cursor.slice(start, end).to_string(),
    };
    let mut no_data = false;
    if cursor.take(&["with", "no", "data"]) {
        no_data = true;
    } else if cursor.peek_words(&["with", "data"]) {
        cursor.skip(2);
    } else if cursor.peek_word(0) == Some("with") {
        return Err(SqlError::unsupported(
            "WITH CHECK OPTION is not supported",
            "Views cannot be written to: leave it out.",
        )
        .position(cursor.position()));
    }
    Ok(Statement::CreateView(CreateView {
        name,
        if_not_exists,
        or_replace,
        materialized,
        columns,
        select,
        definition,
        options,
        no_data,
    }))
}
