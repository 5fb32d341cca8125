//! The queries of Nexmark, q0 to q22, as materialized views, fed in several commits: each view is kept incrementally, and equal
//! to its query run as a batch after every commit (V1).
//!
//! The queries stand in `tests/nexmark/`. Those that PostgreSQL 15 can say have its answer beside them: `NEXMARK_ROWS=dir` writes
//! the rows as CSV files for it. Windows, and `_timestamp`, are ours alone.

#[path = "../benches/support/nexmark.rs"]
mod events;

use std::path::Path;

use crate::support::queries::{Feed, Query, follow, write_rows};
use crate::support::{self, Server};

use events::{EventKind, Events};

const EVENTS: usize = 10_000;
/// 200 seconds in all.
const GAP_US: i64 = 20_000;
const COMMITS: usize = 8;

/// Views that are computed anew for each reader.
const RECOMPUTED: &[&str] = &[];

#[tokio::test]
async fn nexmark_is_kept_and_equal_to_its_batches() {
    let events: Vec<_> = Events::new(1, GAP_US).take(EVENTS).collect();
    let of = |kind: EventKind| {
        let lines = events.iter().filter(|event| event.kind == kind);
        lines.map(|event| event.line.clone()).collect::<Vec<_>>()
    };
    let rows = [
        ("side_input", events::side_rows()),
        ("person", of(EventKind::Person)),
        ("auction", of(EventKind::Auction)),
        ("bid", of(EventKind::Bid)),
    ];
    write_rows("NEXMARK_ROWS", &rows);
    let feed = Feed::spread(&rows, COMMITS);
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    let client = support::connect(&server).await;
    client.batch_execute(events::TOPICS).await.expect("the topics are made");
    let queries = Query::read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nexmark")));
    assert_eq!(queries.len(), 23);
    follow(&client, &queries, &feed, RECOMPUTED).await;
}
