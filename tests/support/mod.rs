//! Parts that the integration tests share: a server process, a driver connection, a raw connection, a seeded random source.

pub mod fuzz;
pub mod queries;
pub mod raw;
pub mod server;

use std::path::PathBuf;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tempfile::TempDir;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

pub use server::{Refused, Server};

/// A data directory below a temporary one; the server's log stands beside it.
pub fn data_dir() -> (TempDir, PathBuf) {
    let scratch = tempfile::tempdir().expect("a temporary directory can be made");
    let path = scratch.path().join("data");
    (scratch, path)
}

/// A driver connection; it ends with the client.
pub async fn connect(server: &Server) -> Client {
    connect_to(server.port()).await.expect("the server takes connections")
}

pub async fn connect_to(port: u16) -> Result<Client, tokio_postgres::Error> {
    log_in(port, "millstream", "").await
}

/// A driver connection of this user, who gives this password if the server asks for one.
pub async fn log_in(port: u16, user: &str, password: &str) -> Result<Client, tokio_postgres::Error> {
    let mut config = Config::new();
    config
        .host("127.0.0.1")
        .port(port)
        .user(user)
        .password(password)
        .dbname("millstream");
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Rows of the last result of a simple query, NULL as `NULL`, sorted so that two answers compare as bags.
pub async fn bag(client: &Client, sql: &str) -> Result<Vec<Vec<String>>, String> {
    let mut rows = Vec::new();
    for message in client.simple_query(sql).await.map_err(|error| state(&error))? {
        if let SimpleQueryMessage::Row(row) = message {
            let cells = (0..row.len()).map(|at| row.get(at).unwrap_or("NULL").to_string());
            rows.push(cells.collect::<Vec<_>>());
        }
    }
    rows.sort();
    Ok(rows)
}

/// The one value of a query, as text.
pub async fn value(client: &Client, sql: &str) -> String {
    let rows = bag(client, sql).await.unwrap_or_else(|state| panic!("{state}: {sql}"));
    assert_eq!(
        (rows.len(), rows.first().map(Vec::len)),
        (1, Some(1)),
        "one value expected: {sql}"
    );
    rows.concat().concat()
}

/// The SQLSTATE of a server's error, or the client's own words.
pub fn state(error: &tokio_postgres::Error) -> String {
    error
        .code()
        .map_or_else(|| error.to_string(), |code| code.code().to_string())
}

/// Whether two sorted bags are equal, numbers within 1e-9 of each other.
pub fn same(left: &[Vec<String>], right: &[Vec<String>]) -> bool {
    let close = |a: &str, b: &str| match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => (a - b).abs() <= 1e-9 * a.abs().max(b.abs()),
        _ => false,
    };
    let same_row =
        |a: &Vec<String>, b: &Vec<String>| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b || close(a, b));
    left.len() == right.len() && left.iter().zip(right).all(|(a, b)| same_row(a, b))
}

/// The seed of `variable`, or a new one; printed, so that a failure can be repeated.
pub fn seed(variable: &str) -> u64 {
    let seed = match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} must be a number")),
        Err(_) => rand::random_range(0..1_000_000_000),
    };
    println!("{variable}={seed}");
    seed
}

/// Number of repetitions, `usual` unless `variable` says otherwise.
pub fn repeat(variable: &str, usual: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(usual)
}

pub fn random(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}
