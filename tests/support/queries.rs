//! A benchmark's queries as materialized views: each against its batch query after every commit.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use futures::SinkExt;
use tokio_postgres::Client;

use super::{bag, same};

/// A query of a file `name.sql`, with the answer of `name.answer` if there is one.
pub struct Query {
    pub name: String,
    pub sql: String,
    /// Rows as PostgreSQL's psql prints them, unaligned.
    pub answer: Option<String>,
}

impl Query {
    /// The queries of a directory, by name.
    pub fn read(dir: &Path) -> Vec<Query> {
        let files = fs::read_dir(dir).expect("the queries are there");
        let mut paths: Vec<_> = files.map(|file| file.expect("readable").path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
        paths.sort();
        let query = |path: &Path| Query {
            name: path.file_stem().expect("a name").to_string_lossy().into_owned(),
            sql: fs::read_to_string(path).expect("readable"),
            answer: fs::read_to_string(path.with_extension("answer")).ok(),
        };
        paths.iter().map(|path| query(path)).collect()
    }

    fn answer_rows(&self) -> Option<Vec<Vec<String>>> {
        let cells = |line: &str| line.split('|').map(str::to_string).collect::<Vec<_>>();
        let mut rows: Vec<_> = self.answer.as_ref()?.lines().map(cells).collect();
        rows.sort();
        Some(rows)
    }
}

/// The commits that bring rows: of each, lines of CSV by topic.
pub struct Feed {
    commits: Vec<Vec<(String, String)>>,
}

impl Feed {
    /// A like part of every topic's rows in each of `commits` commits.
    pub fn spread(rows: &[(&str, Vec<String>)], commits: usize) -> Feed {
        let part = |at: usize| {
            let of = |(topic, lines): &(&str, Vec<String>)| {
                let bound = |at: usize| lines.len() * at / commits;
                let lines = &lines[bound(at)..bound(at + 1)];
                (
                    topic.to_string(),
                    lines.iter().map(|line| format!("{line}\n")).collect(),
                )
            };
            rows.iter().map(of).collect()
        };
        Feed {
            commits: (0..commits).map(part).collect(),
        }
    }
}

/// Writes the rows as CSV files for PostgreSQL into the directory of an environment variable, if it is set.
pub fn write_rows(variable: &str, rows: &[(&str, Vec<String>)]) {
    let Ok(dir) = std::env::var(variable) else { return };
    for (topic, lines) in rows {
        let path = Path::new(&dir).join(format!("{topic}.csv"));
        fs::write(path, lines.join("\n") + "\n").expect("the rows can be written");
    }
}

/// Makes a view of each query, feeds the commits, and compares after each. Views named by `recomputed` are computed anew
/// for each reader, all others kept.
pub async fn follow(client: &Client, queries: &[Query], feed: &Feed, recomputed: &[&str]) {
    for query in queries {
        let create = format!("CREATE MATERIALIZED VIEW {} AS {}", query.name, query.sql);
        let made = client.batch_execute(&create).await;
        made.unwrap_or_else(|error| panic!("{}: {error:?}", query.name));
    }
    let sql = "SELECT name, recomputed FROM millstream.materialized_views WHERE recomputed IS NOT NULL";
    let found = bag(client, sql).await.expect("the list of views");
    let names: Vec<&str> = found.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(names, recomputed, "{found:?}");
    for (number, commit) in feed.commits.iter().enumerate() {
        client.batch_execute("BEGIN").await.expect("a block begins");
        for (topic, lines) in commit {
            let sink = client
                .copy_in::<_, Bytes>(&format!("COPY {topic} FROM STDIN (FORMAT csv)"))
                .await
                .expect("COPY begins");
            let mut sink = std::pin::pin!(sink);
            sink.send(Bytes::from(lines.clone())).await.expect("rows are taken");
            sink.finish().await.unwrap_or_else(|error| panic!("{topic}: {error:?}"));
        }
        client.batch_execute("COMMIT").await.expect("a commit");
        for query in queries {
            let kept = bag(client, &format!("SELECT * FROM {}", query.name)).await;
            let batch = bag(client, &query.sql).await;
            assert_equal(
                &query.name,
                number,
                kept.unwrap_or_else(|state| panic!("{}: {state}", query.name)),
                batch.expect("it runs"),
            );
        }
    }
    for query in queries {
        if let Some(answer) = query.answer_rows() {
            let batch = bag(client, &query.sql).await.expect("it runs");
            assert_equal(&query.name, feed.commits.len(), batch, answer);
        }
    }
}

fn assert_equal(name: &str, commit: usize, left: Vec<Vec<String>>, right: Vec<Vec<String>>) {
    if same(&left, &right) {
        return;
    }
    let only = |of: &[Vec<String>], other: &[Vec<String>]| {
        let rows = of.iter().filter(|row| !other.contains(row)).take(5);
        rows.cloned().collect::<Vec<_>>()
    };
    panic!(
        "{name} differs after commit {commit}: {} and {} rows; on the left only {:?}, on the right only {:?}",
        left.len(),
        right.len(),
        only(&left, &right),
        only(&right, &left)
    );
}
