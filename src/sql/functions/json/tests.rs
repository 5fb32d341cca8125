//! Calls with PostgreSQL 15's answers, as `tests/*.txt` record them: a call on one line, the answer on the next,
//! `= value` or `! state message / detail / hint`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type, Schema};
use datafusion::common::ScalarValue;
use datafusion::config::ConfigOptions;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF};

use super::*;
use crate::sql::functions::casts;
use crate::types::{InputStyle, scalar_from_text, scalar_null};

/// A literal as the recorded calls have it.
fn literal(text: &str) -> (FieldRef, ArrayRef) {
    let of_type = |pg_type: PgType, value: Option<&str>| {
        let value = match value {
            Some(value) => scalar_from_text(&pg_type, value, &InputStyle::default()).expect("it is one"),
            None => scalar_null(&pg_type),
        };
        (Arc::new(pg_type.field("argument", true)), value)
    };
    match text {
        "true" | "false" => return of_type(PgType::Bool, Some(text)),
        _ => {}
    }
    let (value, type_name) = text.rsplit_once("::").expect("a literal has a type");
    let pg_type = PgType::parse(match type_name {
        "int4" => "integer",
        "int8" => "bigint",
        "float4" => "real",
        "float8" => "double precision",
        "bool" => "boolean",
        "int4[]" => "integer[]",
        "char(4)" => "character(4)",
        "timestamp" => "timestamp without time zone",
        "timestamptz" => "timestamp with time zone",
        "timestamp[]" => "timestamp without time zone[]",
        "jsonpath" => "text",
        "time" => "time without time zone",
        other => other,
    })
    .unwrap_or_else(|| panic!("{type_name}"));
    match value {
        "null" => of_type(pg_type, None),
        value => {
            let value = value
                .strip_prefix('\'')
                .and_then(|value| value.strip_suffix('\''))
                .unwrap_or(value);
            of_type(pg_type, Some(&value.replace("''", "'")))
        }
    }
}

/// Parts at commas outside of quotes.
fn arguments(text: &str) -> Vec<&str> {
    let (mut parts, mut from, mut quoted) = (Vec::new(), 0, false);
    let mut depth = 0;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'\'' => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted => depth -= 1,
            b',' if !quoted && depth == 0 => {
                parts.push(text[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    if !text.trim().is_empty() {
        parts.push(text[from..].trim());
    }
    parts
}

fn function_named(name: &str) -> Arc<ScalarUDF> {
    functions().scalar.get(name).unwrap_or_else(|| panic!("{name}")).clone()
}

fn call_of(text: &str) -> (Arc<ScalarUDF>, Vec<(FieldRef, ArrayRef)>) {
    if text.starts_with(|c: char| c.is_ascii_alphabetic()) && !text.starts_with("null::") {
        let (name, rest) = text.split_once('(').expect("a call has arguments");
        let rest = rest.strip_suffix(')').expect("a call is closed");
        return (function_named(name), arguments(rest).into_iter().map(literal).collect());
    }
    // A blank on either side of an operator.
    for symbol in [
        "->>", "->", "#>>", "#>", "#-", "@>", "<@", "?|", "?&", "?", "||", "-", "@?", "@@",
    ] {
        let mut from = 0;
        while let Some(found) = text[from..].find(&format!(" {symbol} ")) {
            let at = from + found;
            from = at + 1;
            if text[..at].matches('\'').count().is_multiple_of(2) && text[..at].contains("::") {
                let right = text[at + symbol.len() + 2..].trim();
                let function = operator(symbol).unwrap_or_else(|| panic!("{symbol}"));
                return (function, vec![literal(&text[..at]), literal(right)]);
            }
        }
    }
    panic!("neither a call nor an operator: {text}")
}

fn evaluate(function: &ScalarUDF, arguments: Vec<(FieldRef, ArrayRef)>) -> Result<ArrayRef, SqlError> {
    let (fields, values): (Vec<FieldRef>, Vec<ArrayRef>) = arguments.into_iter().unzip();
    let types: Vec<DataType> = fields.iter().map(|field| field.data_type().clone()).collect();
    assert_eq!(function.inner().coerce_types(&types)?, types, "{}", function.name());
    let scalars = vec![None; fields.len()];
    let return_field = function.return_field_from_args(ReturnFieldArgs {
        arg_fields: &fields,
        scalar_arguments: &scalars,
    })?;
    let made = function.invoke_with_args(ScalarFunctionArgs {
        args: values.into_iter().map(ColumnarValue::Array).collect(),
        arg_fields: fields,
        number_rows: 1,
        return_field: return_field.clone(),
        config_options: Arc::new(ConfigOptions::default()),
    })?;
    let made = made.into_array(1)?;
    assert_eq!(made.data_type(), return_field.data_type(), "{}", function.name());
    Ok(made)
}

fn shown(value: &ArrayRef, row: usize) -> String {
    if value.is_null(row) {
        return "NULL".to_string();
    }
    match value.data_type() {
        DataType::List(_) => {
            let items = value.as_list::<i32>().value(row);
            let items: Vec<String> = (0..items.len()).map(|at| shown(&items, at)).collect();
            // As `string_agg` answers over no rows.
            if items.is_empty() {
                "NULL".to_string()
            } else {
                items.join(" | ")
            }
        }
        DataType::Struct(_) => {
            let columns = value.as_struct().columns();
            format!("{}={}", shown(&columns[0], row), shown(&columns[1], row))
        }
        data_type => {
            let field = Field::new("value", data_type.clone(), true);
            let texts = casts::to_text(value, &field, TimeZone::UTC).expect("it has a text");
            texts.value(row).to_string()
        }
    }
}

fn answer(call: &str) -> String {
    let (function, arguments) = call_of(call);
    match evaluate(&function, arguments) {
        Ok(value) => format!("= {}", shown(&value, 0).replace('\n', "⏎")),
        Err(error) => {
            let mut text = format!("! {} {}", error.state.0, error.message);
            for more in [&error.detail, &error.hint].into_iter().flatten() {
                text.push_str(" / ");
                text.push_str(more);
            }
            text
        }
    }
}

fn check(recorded: &str) {
    let mut lines = recorded
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("--"));
    let (mut wrong, mut count) = (Vec::new(), 0);
    while let (Some(call), Some(expected)) = (lines.next(), lines.next()) {
        count += 1;
        let found = answer(call);
        if found != expected {
            wrong.push(format!("{call}\n  expected {expected}\n  found    {found}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn functions_answer_as_postgresql_does() {
    check(include_str!("tests/functions.txt"));
}

#[test]
fn paths_answer_as_postgresql_does() {
    check(include_str!("tests/paths.txt"));
}

#[test]
fn depth_is_bounded() {
    const MAX: usize = crate::depth::DEPTH_MAX;
    crate::depth::on_stack(|| {
        let nested = |open: &str, inside: &str, close: &str, depth: usize| {
            format!("{}{inside}{}", open.repeat(depth), close.repeat(depth))
        };
        let document = nested("{\"a\":", "1", "}", MAX);
        let run = |document: &str, path: &str| {
            let function = function_named("jsonb_path_query_array");
            let arguments = [PgType::Jsonb, PgType::Text]
                .iter()
                .zip([document, path])
                .map(|(pg_type, text)| {
                    let value: ArrayRef = Arc::new(StringArray::from(vec![text]));
                    (Arc::new(pg_type.field("argument", true)), value)
                });
            evaluate(&function, arguments.collect()).map(|made| shown(&made, 0))
        };
        for path in [
            "$.**".to_string(),
            "$.**.**{1000}".to_string(),
            format!("${}", ".a".repeat(MAX)),
            nested("(", "1", ")", MAX - 1),
            nested("-", "1", "", MAX - 1),
            nested("!(", "$ == 1", ")", MAX - 2),
            nested("(0)[", "0", "]", MAX - 2),
            format!("${}", nested(" ? (exists (@.a", " ? (@ == 1)", "))", MAX / 3 - 2)),
            format!("1{}", " + 1".repeat(MAX - 1)),
            format!("$ == 1{}", " && $ == 1".repeat(MAX - 2)),
        ] {
            run(&document, &path).unwrap_or_else(|error| panic!("{}: {error:?}", &path[..20.min(path.len())]));
        }
        for path in [
            nested("(", "1", ")", 100_000),
            nested("-", "1", "", 100_000),
            nested("!(", "$ == 1", ")", 100_000),
            nested("$[", "0", "]", 100_000),
            format!("${}", nested(" ? (exists (@.a", " ? (@ == 1)", "))", 100_000)),
            format!("1{}", " + 1".repeat(100_000)),
            format!("$ == 1{}", " || $ == 1".repeat(100_000)),
            format!("${}", ".a".repeat(100_000)),
            // Each level goes to the bottom of the document.
            nested("$.**{1000} ? (exists (", "$.**{1000}", "))", 300),
        ] {
            let error = run(&document, &path).expect_err(&path[..20]);
            assert_eq!(error.state, state::STATEMENT_TOO_COMPLEX, "{}", &path[..20]);
        }
        // One level is added to a document that is just readable.
        let wrapped = evaluate(
            &function_named("jsonb_build_array"),
            vec![literal(&format!("'{document}'::jsonb"))],
        );
        let wrapped = shown(&wrapped.expect("it is written"), 0);
        assert_eq!(
            run(&wrapped, "$").expect_err("too deep").state,
            state::STATEMENT_TOO_COMPLEX
        );
    });
}

/// A row of `a integer` and `bb` of arrays.
fn row() -> (FieldRef, ArrayRef) {
    let members = vec![
        Arc::new(PgType::Text.field("bb", true)),
        Arc::new(PgType::Int4.field("a", true)),
    ];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![Some("x"), None])),
        Arc::new(Int32Array::from(vec![1, 2])),
    ];
    let rows = StructArray::new(members.clone().into(), columns, None);
    (
        Arc::new(Field::new("row", DataType::Struct(members.into()), true)),
        Arc::new(rows),
    )
}

#[test]
fn rows_are_objects_of_their_columns() {
    let (field, rows) = row();
    let first = (field, rows.slice(0, 1));
    for (name, expected) in [
        ("to_json", r#"{"bb":"x","a":1}"#),
        ("row_to_json", r#"{"bb":"x","a":1}"#),
        ("to_jsonb", r#"{"a": 1, "bb": "x"}"#),
    ] {
        let made = evaluate(&function_named(name), vec![first.clone()]).expect("it is made");
        assert_eq!(shown(&made, 0), expected, "{name}");
    }
    let made = evaluate(&function_named("row_to_json"), vec![first, literal("true")]).expect("it is made");
    assert_eq!(shown(&made, 0), "{\"bb\":\"x\",\n \"a\":1}");
}

/// The one value of a query over the columns `n`, `t`, `list` and `part`.
fn aggregated(query: &str, partitions: usize) -> String {
    let list = |items: &[i32]| Some(items.iter().copied().map(Some).collect::<Vec<_>>());
    let lists =
        arrow::array::ListArray::from_iter_primitive::<Int32Type, _, _>(vec![list(&[1]), None, list(&[3]), list(&[])]);
    let schema = Arc::new(Schema::new(vec![
        Field::new("n", DataType::Int32, true),
        Field::new("t", DataType::Utf8, true),
        Field::new("list", lists.data_type().clone(), true),
    ]));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![Some(3), Some(1), None, Some(3)])),
        Arc::new(StringArray::from(vec!["b", "a", "c", "b"])),
        Arc::new(lists),
    ];
    let batch = RecordBatch::try_new(schema, columns).expect("the columns fit");
    let context = SessionContext::new();
    for aggregate in functions().aggregate.values() {
        context.register_udaf(aggregate.as_ref().clone());
    }
    let parts: Vec<Vec<RecordBatch>> = (0..partitions)
        .map(|part| {
            let rows = 4 / partitions;
            vec![batch.slice(part * rows, rows)]
        })
        .collect();
    let table = datafusion::datasource::MemTable::try_new(batch.schema(), parts).expect("a table");
    context.register_table("t", Arc::new(table)).expect("a name");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let made = runtime.block_on(async { context.sql(query).await?.collect().await });
    let made = made.unwrap_or_else(|error| panic!("{query}: {error}"));
    let columns: Vec<String> = made[0]
        .columns()
        .iter()
        .map(|column| ScalarValue::try_from_array(column, 0).expect("a value"))
        .map(|value| value.try_as_str().flatten().unwrap_or("NULL").to_string())
        .collect();
    columns.join("; ")
}

#[test]
fn aggregates_gather_in_order() {
    for partitions in [1, 2, 4] {
        for (query, expected) in [
            ("SELECT json_agg(n ORDER BY n NULLS LAST, t) FROM t", "[1, 3, 3, null]"),
            ("SELECT jsonb_agg(t ORDER BY t DESC) FROM t", r#"["c", "b", "b", "a"]"#),
            (
                "SELECT json_agg(list ORDER BY n NULLS LAST, list) FROM t WHERE t <> 'b'",
                "[null, \n [3]]",
            ),
            ("SELECT json_agg(DISTINCT n ORDER BY n) FROM t", "[1, 3, null]"),
            (
                "SELECT json_agg(DISTINCT n), json_agg(t ORDER BY t) FROM t",
                r#"[1, 3, null]; ["a", "b", "b", "c"]"#,
            ),
            (
                "SELECT jsonb_agg(DISTINCT t ORDER BY t DESC) FROM t",
                r#"["c", "b", "a"]"#,
            ),
            (
                "SELECT json_object_agg(t, n ORDER BY t DESC) FROM t",
                r#"{ "c" : null, "b" : 3, "b" : 3, "a" : 1 }"#,
            ),
            (
                "SELECT jsonb_object_agg(t, n ORDER BY t DESC) FROM t",
                r#"{"a": 1, "b": 3, "c": null}"#,
            ),
            (
                "SELECT json_agg(n), jsonb_agg(n), json_object_agg(t, n), jsonb_object_agg(t, n) FROM t WHERE n > 9",
                "NULL; NULL; NULL; NULL",
            ),
            (
                "SELECT json_agg(n ORDER BY n) FROM t GROUP BY t HAVING t = 'b'",
                "[3, 3]",
            ),
        ] {
            assert_eq!(aggregated(query, partitions), expected, "{query} of {partitions}");
        }
    }
}
