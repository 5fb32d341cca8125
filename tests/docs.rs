//! The statements of pages in docs: each is run, in order, and a block of text behind them is the answer of the last one.

use tokio_postgres::{Client, SimpleQueryMessage};

use crate::support::{self, Server};

/// The blocks of a page: their language and their text.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in page.lines() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(language), None) => open = Some((language.to_string(), String::new())),
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some((language, text))) => open = Some((language, format!("{text}{line}\n"))),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block has an end");
    blocks
}

/// The statements of a block: each ends with its line.
fn statements(block: &str) -> Vec<String> {
    let mut statements = Vec::new();
    let mut statement = String::new();
    for line in block.lines() {
        let code = line.split(" -- ").next().unwrap_or_default().trim_end();
        statement.push_str(code);
        statement.push('\n');
        if code.ends_with(';') {
            statements.push(std::mem::take(&mut statement));
        }
    }
    assert!(
        statement.trim().is_empty(),
        "a statement ends with a semicolon: {statement}"
    );
    statements
}

async fn answer(client: &Client, statement: &str) -> String {
    let messages = client.simple_query(statement).await;
    let messages = messages.unwrap_or_else(|error| panic!("{statement}{error:?}"));
    let mut text = String::new();
    for message in messages {
        if let SimpleQueryMessage::Row(row) = message {
            let values: Vec<&str> = (0..row.len()).map(|column| row.get(column).unwrap_or("")).collect();
            text.push_str(&values.join(" | "));
            text.push('\n');
        }
    }
    text
}

/// Runs a page; returns the numbers of its statements and of its answers.
async fn run(page: &str) -> (usize, usize) {
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    let client = support::connect(&server).await;
    let (mut run, mut compared) = (0, 0);
    let mut last = String::new();
    for (language, block) in blocks(page) {
        match language.as_str() {
            "sql" => {
                for statement in statements(&block) {
                    last = answer(&client, &statement).await;
                    run += 1;
                }
            }
            "text" => {
                assert_eq!(last, block);
                compared += 1;
            }
            other => panic!("a block of {other:?}"),
        }
    }
    assert!(server.stop().success());
    (run, compared)
}

#[tokio::test]
async fn the_page_for_users_of_kafka_says_what_happens() {
    let (run, compared) = run(include_str!("../docs/from-kafka.md")).await;
    assert!(run > 25 && compared > 3, "{run} statements, {compared} answers");
}
